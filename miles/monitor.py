"""How each model version does on what has happened since it spoke, and whether its inputs still look the same.

A forecast is what a version said of a candidate's next 3 days before they had passed (`score_candidates` writes
it down, the first of each day of observation). Its outcome is the velocity to the exact snapshot nearest to 3 days
later, within 2.5 to 3.5 days, and it counts only if that snapshot was taken after the score was made; the table
itself refuses anything else. Imported history that is scored afterwards has no forecasts: nothing about it can be
foresight. `backtest` asks a version about earlier looks all the same, and keeps that apart.

`refresh` runs after each roll-up, in the caller's transaction as the worker. What it finds stands in `rollups`
under "model:VERSION" and "model shadow"; pages read it with `report` and `comparison`. How drafts did that were
published is `published`'s to tell.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sqlalchemy import Connection, text

from miles import calibration, db, features, published, registry, rollups, score_candidates
from miles.calibration import Check, Forecasts, Interval, Shift
from miles.store import copy, run

if TYPE_CHECKING:
    from miles.scoring import Model

logger = logging.getLogger(__name__)

Basis = Literal["foresight", "backtest"]

WINDOW = (2.5, 3.0, 3.5)  # days after the observation: earliest, aim and latest of the look that tells
GIVE_UP_AFTER = timedelta(days=10)  # a look that has not come by then was not taken
KEEP_OPEN = timedelta(days=40)  # forecasts without outcome; they are counted as such for that long
KEEP_TOLD = timedelta(days=400)  # forecasts with outcome: a year and a month, to compare the same season

RECENT = timedelta(days=28)  # up to the newest look: what is held against the reference
SAMPLE = 1_000  # candidates of each side; the PSI of 11 bins is then about 0.02 by chance alone, and
# up to 0.05 of what the videos of a channel share
LEAST = 300  # fewer than that say nothing about a shape
DRIFT_EVERY = timedelta(hours=1)  # the window moves by the day; to gather a sample takes a second
PATIENCE = 100  # what took a second is computed again after that many: it never takes more than 1% of the time
BACKTEST = 2_000  # looks; an interval of about ± 2 points around a coverage of 80%
MOVERS = 10  # candidates that the shadow would move most, in each direction


@dataclass(frozen=True, slots=True)
class Drift:
    """How far inputs and score have moved; `shifts` is empty where there is nothing to compare with."""

    from_manifest: bool  # the reference is what the version learnt from; else the first month that it scored
    reference_from: date | None
    reference_until: date | None
    reference_n: int
    recent_from: date | None
    recent_until: date | None
    recent_n: int
    shifts: tuple[Shift, ...]  # the score first, then the inputs, greatest PSI first


@dataclass(frozen=True, slots=True)
class Report:
    """How one version does."""

    version: str
    scores: int  # candidates that it has scored
    open: int  # forecasts whose days have not passed yet
    untold: int  # forecasts whose days have passed, and nobody looked in time
    foresight: Check
    backtest: Check | None  # None: none was made
    backtest_after: date | None  # publication; videos before that it may have learnt from. None: not known
    drift: Drift | None
    refreshed_at: datetime


@dataclass(frozen=True, slots=True)
class Mover:
    """A candidate that the version in shadow sees differently."""

    candidate_id: str
    title: str
    url: str | None
    current: float  # viral_score
    shadow: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The version in shadow beside the one in force, on the candidates that both have scored as they are now."""

    current: str
    shadow: str
    n: int
    missing: int  # candidates that the shadow has not scored yet
    score_rank: float | None  # Spearman of both viral_scores
    velocity_rank: float | None
    mean: float | None  # shadow less current, viral_score
    quantiles: dict[str, float]  # of that difference: "0.05", "0.25", "0.5", "0.75", "0.95"
    movers: tuple[Mover, ...]  # greatest differences, up first
    same: int  # forecasts with outcome that both have made of the same counts
    current_check: Check | None  # on those
    shadow_check: Check | None
    gain: Interval | None  # Brier of the current one less that of the shadow
    refreshed_at: datetime


# --- outcomes ---------------------------------------------------------------------------------------

_TELL = """
UPDATE forecasts SET outcome_at = seen.observed_at, velocity = greatest(
    (seen.views - forecasts.views) / (extract(epoch FROM seen.observed_at - forecasts.observed_at)::float8 / 86400), 1)
FROM (
    SELECT open.candidate_id, open.model_version, open.observed_day, look.observed_at, look.views
    FROM forecasts AS open CROSS JOIN LATERAL (
        SELECT snapshots.observed_at, snapshots.views FROM snapshots
        WHERE snapshots.candidate_id = open.candidate_id AND snapshots.views IS NOT NULL AND exact
            AND snapshots.observed_at BETWEEN open.observed_at + %(earliest)s AND open.observed_at + %(latest)s
            AND snapshots.observed_at > open.scored_at
        ORDER BY abs(extract(epoch FROM snapshots.observed_at - open.observed_at - %(aim)s)), snapshots.observed_at
        LIMIT 1
    ) AS look
    WHERE open.outcome_at IS NULL AND open.basis = 'foresight'
        AND open.observed_at BETWEEN %(now)s - %(give_up)s AND %(now)s - %(latest)s
) AS seen
WHERE forecasts.candidate_id = seen.candidate_id AND forecasts.model_version = seen.model_version
    AND forecasts.basis = 'foresight' AND forecasts.observed_day = seen.observed_day
"""


def tell_outcomes(connection: Connection, now: datetime) -> int:
    """Write down what came of the forecasts whose 3.5 days have passed; returns how many those are."""
    earliest, aim, latest = (timedelta(days=days) for days in WINDOW)
    told = run(
        connection,
        _TELL,
        {"earliest": earliest, "aim": aim, "latest": latest, "now": now, "give_up": GIVE_UP_AFTER},
    ).rowcount
    run(
        connection,
        "DELETE FROM forecasts WHERE observed_at < %(now)s - %(open)s AND outcome_at IS NULL"
        " OR scored_at < %(now)s - %(told)s",
        {"now": now, "open": KEEP_OPEN, "told": KEEP_TOLD},
    )
    return told


def _forecasts(connection: Connection, version: str, basis: Basis, beside: str | None = None) -> Forecasts:
    """The latest forecasts with outcome of a version; with `beside` only those that this version made, too, of
    the same counts."""
    shared = """ AND EXISTS (
        SELECT FROM forecasts AS other WHERE other.candidate_id = one.candidate_id AND other.model_version = %(beside)s
            AND other.basis = one.basis AND other.observed_day = one.observed_day
            AND other.observed_at = one.observed_at AND other.outcome_at = one.outcome_at
    )"""
    rows = run(
        connection,
        "SELECT one.viral_score, one.base_rate, one.velocity >= one.threshold, one.predicted_velocity,"
        " one.velocity_low, one.velocity_high, one.velocity, one.age_band, coalesce(channel_key, candidate_id)"
        " FROM forecasts AS one JOIN candidates USING (candidate_id)"
        " WHERE one.model_version = %(version)s AND basis = %(basis)s AND one.outcome_at IS NOT NULL"
        f"{shared if beside else ''} ORDER BY one.observed_at DESC, candidate_id LIMIT {calibration.MOST}",
        {"version": version, "basis": basis, "beside": beside},
    ).fetchall()
    return Forecasts.of_rows(rows)


# --- the roll-up ------------------------------------------------------------------------------------


def refresh(connection: Connection, *, now: datetime | None = None) -> None:
    """Tell outcomes, then write anew the report of each version for which something changed."""
    moment = now or datetime.now(UTC)
    run(connection, f"SELECT pg_advisory_xact_lock({registry.LOCK})")
    tell_outcomes(connection, moment)
    known = registry.versions(connection)
    scored = registry.count_scores(connection)
    counts = _count_forecasts(connection, moment)
    for one in known:
        before = rollups.read(connection, _name(one.version)) or {}
        tallies = {"scores": scored.get(one.version, 0), **counts.get(one.version, dict.fromkeys(_TALLIES, 0))}
        data = before | {"tallies": tallies}
        for basis in ("foresight", "backtest"):
            last = before.get(basis)
            if last is None or (last["of"] != tallies[basis] and _may_again(last, moment)):
                begun = time.perf_counter()
                found = calibration.check(_forecasts(connection, one.version, basis))
                data[basis] = {"of": tallies[basis], "check": asdict(found), **_took(begun, moment)}
        if one.state != "retired":
            data["drift"] = _drift(connection, one, before.get("drift"), moment)
        if data != before:
            rollups.write(connection, _name(one.version), data)
    _compare(connection, known, moment)
    published.refresh(connection)


_TALLIES = ("foresight", "backtest", "open", "untold")


def _count_forecasts(connection: Connection, now: datetime) -> dict[str, dict[str, int]]:
    rows = run(
        connection,
        "SELECT model_version, count(*) FILTER (WHERE outcome_at IS NOT NULL AND basis = 'foresight'),"
        " count(*) FILTER (WHERE basis = 'backtest'),"
        " count(*) FILTER (WHERE outcome_at IS NULL AND observed_at >= %(now)s - %(latest)s),"
        " count(*) FILTER (WHERE outcome_at IS NULL AND observed_at < %(now)s - %(latest)s)"
        " FROM forecasts GROUP BY model_version",
        {"now": now, "latest": timedelta(days=WINDOW[2])},
    )
    return {version: dict(zip(_TALLIES, tallies, strict=True)) for version, *tallies in rows}


def _took(begun: float, now: datetime) -> dict[str, Any]:
    return {"at": now.isoformat(), "seconds": round(time.perf_counter() - begun, 3)}


def _may_again(last: Mapping[str, Any], now: datetime) -> bool:
    """Whether enough time has passed since a part was computed, for how long that took."""
    return now - datetime.fromisoformat(last["at"]) >= timedelta(seconds=PATIENCE * last["seconds"])


def _name(version: str) -> str:
    return f"model:{version}"


# --- drift ------------------------------------------------------------------------------------------


def _drift(
    connection: Connection, version: registry.Version, before: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any] | None:
    """The roll-up's part about drift; that of before where it is young enough."""
    if before is not None and now - datetime.fromisoformat(before["at"]) < DRIFT_EVERY:
        return dict(before)
    if not {"curve", "draft_base"} <= version.manifest.keys():  # not one of ours
        return None
    span = connection.execute(
        text(
            "SELECT min(candidates.observed_at) AS first, max(candidates.observed_at) AS last"
            " FROM candidates JOIN scores USING (candidate_id)"
            " WHERE scores.model_version = :version AND mode = 'candidate' AND NOT sample"
        ),
        {"version": version.version},
    ).one()
    if span.last is None:
        return None
    recent_from = span.last - RECENT
    recent = _sample(connection, version, recent_from, span.last)
    reference = version.manifest.get("reference") or (before or {}).get("reference")
    if reference is None:
        reference = _first_month(connection, version, recent_from)
    shifts: list[Shift] = []
    if reference is not None and len(recent[calibration.SCORE]) >= LEAST:
        shifts = [
            calibration.shift(name, reference["inputs"][name], values)
            for name, values in recent.items()
            if name in reference["inputs"]
        ]
        shifts.sort(key=lambda one: (one.name != calibration.SCORE, -one.psi, one.name))
    return {
        "at": now.isoformat(),
        "reference": None if version.manifest.get("reference") else reference,  # the first month stays the first
        "from_manifest": bool(version.manifest.get("reference")),
        "reference_from": (reference or {}).get("from"),
        "reference_until": (reference or {}).get("until"),
        "reference_n": (reference or {}).get("n", 0),
        "recent_from": recent_from.date().isoformat(),
        "recent_until": span.last.date().isoformat(),
        "recent_n": len(recent[calibration.SCORE]),
        "shifts": [asdict(one) for one in shifts],
    }


def _first_month(connection: Connection, version: registry.Version, before: datetime) -> dict[str, Any] | None:
    """The reference from the first month of looks with enough of them, if that lies before the recent ones."""
    month = connection.scalar(
        text(
            "SELECT min(month) FROM ("
            " SELECT date_trunc('month', candidates.observed_at) AS month"
            " FROM candidates JOIN scores USING (candidate_id)"
            " WHERE scores.model_version = :version AND mode = 'candidate' AND NOT sample"
            " GROUP BY 1 HAVING count(*) >= :least) AS months"
        ),
        {"version": version.version, "least": LEAST},
    )
    if month is None:
        return None
    end = (month + timedelta(days=32)).replace(day=1)
    if end > before:
        return None
    found = _sample(connection, version, month, end)
    return calibration.reference(found, month.date(), (end - timedelta(days=1)).date())


def _sample(
    connection: Connection, version: registry.Version, first: datetime, until: datetime
) -> dict[str, np.ndarray]:
    """The watched inputs and the scores of candidates whose newest look lies in a span; always the same ones.

    Whole channels are drawn: their history is what takes long to read, and they share it.
    """
    rows = run(
        connection,
        "SELECT candidate_id, candidates.observed_at, scores.viral_score"
        " FROM candidates JOIN scores USING (candidate_id)"
        " WHERE scores.model_version = %(version)s AND mode = 'candidate' AND NOT sample"
        " AND candidates.observed_at BETWEEN %(first)s AND %(until)s"
        " ORDER BY hashtext(coalesce(channel_key, candidate_id)), candidate_id LIMIT %(most)s",
        {"version": version.version, "first": first, "until": until, "most": SAMPLE},
    ).fetchall()
    curve = features.GrowthCurve(tuple(version.manifest["curve"]["ages"]), tuple(version.manifest["curve"]["gains"]))
    videos = score_candidates.inputs_at(connection, [(key, moment) for key, moment, _ in rows], pictures=False)
    context = [features.encode(video, curve, version.manifest["draft_base"]).context for video in videos]
    stacked = np.array(context, dtype=np.float32).reshape(len(context), len(features.CONTEXT))
    return calibration.inputs(stacked, np.array([score for *_, score in rows], dtype=np.float64))


# --- the shadow -------------------------------------------------------------------------------------


def _compare(connection: Connection, known: Sequence[registry.Version], now: datetime) -> None:
    """Write the roll-up that holds the version in shadow against the one in force."""
    states = {one.state: one.version for one in known}
    current, shadow = states.get("current"), states.get("shadow")
    if current is None or shadow is None:
        run(connection, "DELETE FROM rollups WHERE name = 'model shadow'")
        return
    both: dict[str, object] = {"current": current, "shadow": shadow}
    state = connection.execute(
        text(
            "SELECT max(scored_at) AS scored, (SELECT count(*) FROM forecasts WHERE model_version = :shadow"
            " AND basis = 'foresight' AND outcome_at IS NOT NULL) AS told"
            " FROM scores WHERE model_version IN (:current, :shadow)"
        ),
        both,
    ).one()
    seen = {**both, "scored": state.scored and state.scored.isoformat(), "told": state.told}
    before = rollups.read(connection, "model shadow")
    if before is not None and before["seen"] == seen:
        return
    if before is not None and before["seen"]["shadow"] == shadow and not _may_again(before, now):
        return
    begun = time.perf_counter()
    pairs = (
        "FROM candidates JOIN scores AS one USING (candidate_id) JOIN scores AS other USING (candidate_id)"
        " WHERE one.model_version = %(current)s AND other.model_version = %(shadow)s"
        " AND one.scored_change = changed_at AND other.scored_change = changed_at"
    )
    rows = run(
        connection,
        "SELECT one.viral_score, other.viral_score, one.predicted_velocity, other.predicted_velocity " + pairs,
        both,
    ).fetchall()
    scores = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
    difference = scores[:, 1] - scores[:, 0]
    movers: list[tuple] = []
    for direction in ("DESC", "ASC"):
        sign = "<" if direction == "DESC" else ">"
        movers += run(
            connection,
            f"SELECT candidate_id, one.viral_score, other.viral_score {pairs} AND one.viral_score {sign} other.viral_score"
            f" ORDER BY other.viral_score - one.viral_score {direction}, candidate_id LIMIT {MOVERS}",
            both,
        ).fetchall()
    mine, theirs = (_forecasts(connection, a, "foresight", beside=b) for a, b in ((current, shadow), (shadow, current)))
    gain = calibration.gain(mine, theirs)
    scored = int(connection.scalar(text("SELECT count(*) FROM candidates WHERE scored_change = changed_at")) or 0)
    rollups.write(
        connection,
        "model shadow",
        {
            "seen": seen,
            "n": len(rows),
            "missing": max(scored - len(rows), 0),
            "score_rank": calibration.spearman(scores[:, 0], scores[:, 1]),
            "velocity_rank": calibration.spearman(scores[:, 2], scores[:, 3]),
            "mean": float(difference.mean()) if len(rows) else None,
            "quantiles": {str(q): float(np.quantile(difference, q)) for q in rollups.QUANTILES} if len(rows) else {},
            "movers": [{"candidate_id": key, "current": one, "shadow": other} for key, one, other in movers],
            "same": len(mine.probability),
            "current_check": asdict(calibration.check(mine)),
            "shadow_check": asdict(calibration.check(theirs)),
            "gain": gain and asdict(gain),
            **_took(begun, now),
        },
    )


# --- backtest ---------------------------------------------------------------------------------------

# The first exact look at each video in its first month, and the one that tells what came of it.
_PAST_LOOKS = """
SELECT candidate_id, category, published_at, first.observed_at, first.views, later.observed_at, later.views
FROM candidates CROSS JOIN LATERAL (
    SELECT observed_at, views FROM snapshots
    WHERE snapshots.candidate_id = candidates.candidate_id AND exact AND views IS NOT NULL
        AND observed_at > published_at AND observed_at < published_at + interval '30 days'
    ORDER BY observed_at LIMIT 1
) AS first CROSS JOIN LATERAL (
    SELECT observed_at, views FROM snapshots
    WHERE snapshots.candidate_id = candidates.candidate_id AND exact AND views IS NOT NULL
        AND observed_at BETWEEN first.observed_at + %(earliest)s AND first.observed_at + %(latest)s
    ORDER BY abs(extract(epoch FROM observed_at - first.observed_at - %(aim)s)), observed_at LIMIT 1
) AS later
WHERE NOT sample AND published_at IS NOT NULL AND published_at >= coalesce(CAST(%(after)s AS timestamptz), '-infinity')
ORDER BY hashtext(candidate_id), candidate_id LIMIT %(most)s
"""


def backtest(model: "Model", *, stop: Callable[[], bool] | None = None) -> int:
    """Ask a version about the first looks at up to BACKTEST videos whose next days are known; returns how many.

    It is no foresight: the version may know how things went on, unless its manifest says until when it learnt;
    then only videos published later are taken.
    """
    stopped = stop or (lambda: False)
    earliest, aim, latest = (timedelta(days=days) for days in WINDOW)
    with db.transaction("worker") as connection:
        found = run(
            connection,
            _PAST_LOOKS,
            {
                "earliest": earliest, "aim": aim, "latest": latest,
                "after": learnt_until(model.manifest), "most": BACKTEST,
            },
        ).fetchall()  # fmt: skip
    written = 0
    for start in range(0, len(found), score_candidates.SLICE):
        if stopped():
            break
        part = {row[0]: row for row in found[start : start + score_candidates.SLICE]}
        with db.transaction("worker") as connection:
            videos = score_candidates.inputs_at(connection, [(key, row[3]) for key, row in part.items()])
            scores = {score.key: score for score in model.score(videos)}
            rows = []
            for video in videos:
                event = score_candidates.event(model.manifest, video)
                if event is not None:
                    rows.append((video, event, scores[video.key], *part[video.key][5:]))
            written += _write_backtest(connection, model.version, rows)
    logger.info("Backtest of %s: %d looks", model.version, written)
    return written


def learnt_until(manifest: Mapping[str, Any]) -> date | None:
    """The day of publication up to which a version has seen videos; None where its manifest doesn't say."""
    said = manifest.get("periods", {}).get("calibrate_until")
    return None if said is None else date.fromisoformat(said)


_BACKTESTED = (
    "candidate_id", "model_version", "basis", "observed_day", "observed_at", "scored_at", "views", "age_band",
    "viral_score", "base_rate", "threshold", "predicted_velocity", "velocity_low", "velocity_high", "outcome_at",
    "velocity",
)  # fmt: skip


def _write_backtest(connection: Connection, version: str, rows: Sequence[tuple]) -> int:
    run(connection, "CREATE TEMP TABLE told (LIKE forecasts) ON COMMIT DROP")
    now = datetime.now(UTC)
    with copy(db.psycopg_connection(connection).cursor(), "told", _BACKTESTED) as target:
        for video, (band, threshold), score, outcome_at, views in rows:
            days = (outcome_at - video.observed_at).total_seconds() / features.DAY
            target.write_row((
                video.key, version, "backtest", video.observed_at.astimezone(UTC).date(), video.observed_at, now,
                video.views, band, score.viral_score, score.base_rate, threshold, score.predicted_velocity,
                score.velocity_low, score.velocity_high, outcome_at, max((views - video.views) / days, 1.0),
            ))  # fmt: skip
    return run(
        connection,
        "INSERT INTO forecasts SELECT told.* FROM told JOIN candidates USING (candidate_id) ON CONFLICT DO NOTHING",
    ).rowcount


# --- what the page reads ----------------------------------------------------------------------------


def report(connection: Connection, version: registry.Version) -> Report | None:
    """How a version does, as the latest roll-up found it; None before the first one."""
    row = connection.execute(
        text("SELECT data, refreshed_at FROM rollups WHERE name = :name"), {"name": _name(version.version)}
    ).one_or_none()
    if row is None:
        return None
    tallies = row.data["tallies"]
    return Report(
        version=version.version,
        scores=tallies["scores"],
        open=tallies["open"],
        untold=tallies["untold"],
        foresight=_read_check(row.data["foresight"]["check"]),
        backtest=_read_check(row.data["backtest"]["check"]) if tallies["backtest"] else None,
        backtest_after=learnt_until(version.manifest),
        drift=_read_drift(row.data.get("drift")),
        refreshed_at=row.refreshed_at,
    )


def _read_part(data: Mapping[str, Any]) -> published.Part:
    linked, told, foretold, judged = data["counts"]
    return published.Part(linked, told, foretold, judged, _read_check(data["check"]))


def published_drafts(connection: Connection) -> published.Report | None:
    """How drafts that were published did, as the latest roll-up found it; None before the first one."""
    row = connection.execute(
        text("SELECT data, refreshed_at FROM rollups WHERE name = :name"), {"name": published.ROLLUP}
    ).one_or_none()
    if row is None or "parts" not in row.data:  # as an earlier version wrote it: the next roll-up does it anew
        return None
    parts = {name: _read_part(one) for name, one in row.data["parts"].items()}
    return published.Report(parts.pop(published.EVERY), parts, row.refreshed_at)


def comparison(connection: Connection) -> Comparison | None:
    """The version in shadow beside the one in force; None without a shadow, or before the roll-up saw it."""
    row = connection.execute(text("SELECT data, refreshed_at FROM rollups WHERE name = 'model shadow'")).one_or_none()
    if row is None:
        return None
    data = row.data
    moved = {one["candidate_id"]: one for one in data["movers"]}
    titles = connection.execute(
        text("SELECT candidate_id, title, url FROM candidates WHERE candidate_id = ANY(:ids)"), {"ids": list(moved)}
    )
    known = {found.candidate_id: found for found in titles}
    return Comparison(
        current=data["seen"]["current"],
        shadow=data["seen"]["shadow"],
        n=data["n"],
        missing=data["missing"],
        score_rank=data["score_rank"],
        velocity_rank=data["velocity_rank"],
        mean=data["mean"],
        quantiles=data["quantiles"],
        movers=tuple(
            Mover(key, known[key].title, known[key].url, one["current"], one["shadow"])
            for key, one in moved.items()
            if key in known
        ),
        same=data["same"],
        current_check=_read_check(data["current_check"]),
        shadow_check=_read_check(data["shadow_check"]),
        gain=_read_interval(data["gain"]),
        refreshed_at=row.refreshed_at,
    )


def _read_interval(data: Mapping[str, float] | None) -> Interval | None:
    return None if data is None else Interval(**data)


def _read_check(data: Mapping[str, Any]) -> Check:
    intervals = {name: _read_interval(data[name]) for name in ("brier", "skill", "ece", "coverage", "error")}
    return Check(
        n=data["n"],
        channels=data["channels"],
        happened=data["happened"],
        promised=data["promised"],
        bins=tuple(calibration.Bin(one["promised"], Interval(**one["observed"]), one["n"]) for one in data["bins"]),
        by_age=tuple(
            calibration.Coverage(one["age_band"], Interval(**one["share"]), one["n"]) for one in data["by_age"]
        ),
        rank=data["rank"],
        **intervals,
    )


def _read_drift(data: Mapping[str, Any] | None) -> Drift | None:
    if data is None:
        return None
    days = {
        name: data[name] and date.fromisoformat(data[name])
        for name in ("reference_from", "reference_until", "recent_from", "recent_until")
    }
    return Drift(
        from_manifest=data["from_manifest"],
        reference_n=data["reference_n"],
        recent_n=data["recent_n"],
        shifts=tuple(Shift(**one) for one in data["shifts"]),
        **days,
    )
