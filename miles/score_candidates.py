"""Scores what is in the database: gathers what the model needs, asks it, writes down what it says.

Works in chunks, each in a transaction of its own as the worker, so that an interruption costs at most the
running chunk and the next run goes on from there. Several processes may score at once: each takes a chunk's
channels under advisory locks, and looks again under the lock what is still to be done.

A version in shadow is asked the same and writes into `scores` alone: what pages show stays the current one's.
What either says of the next days is kept in `forecasts` as long as these days have not passed (see monitor.py).
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Connection, text

from miles import db, features, similar, storage
from miles.candidates import CATEGORY_IDS
from miles.features import DAY, HISTORY, MIN_AGE, PastVideo, ScoreInput
from miles.store import copy, run

if TYPE_CHECKING:  # the network itself is not needed to gather and to write
    from miles.scoring import Model, Score

logger = logging.getLogger(__name__)

CHUNK = 2000  # candidates: some seconds of the model, and one transaction
SLICE = 250  # candidates asked of the model at once; between slices it can be stopped
BUCKETS = 64  # channels are locked by their hash: few locks, whatever the number of channels
LOCK = 0x73636F72  # first half of the advisory lock keys ("scor"); the second is the bucket
RESUME_WITHIN = "1 day"  # an interrupted "everything" that is older starts over
DEADLOCK_TRIES = 3  # a collection may hold the same videos in another order
PICTURES_WITHIN = 60.0  # seconds in which the pictures of a chunk are fetched side by side; then one by one
FIRST_DAY = (0.25, 1.5)  # days; the first look at that age tells a past video's views at 24 h best
# From counts that are older than this nothing is foretold: the look that tells what came of it, 2.5 to 3.5 days
# later, has been taken, or never will be
FORETOLD_WITHIN = timedelta(days=3.5)

Progress = Callable[[int, int], object]


def score_pending(
    model: "Model",
    *,
    everything: bool = False,
    candidate_ids: Iterable[str] | None = None,
    on_progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> int:
    """Score the candidates that changed since they were scored, or were scored by another model.

    `everything` scores the others again, too; interrupted, it goes on the next time where it was (within
    RESUME_WITHIN and with the same model). `candidate_ids` limits it to those. `on_progress` is called with the
    candidates done and their number; `stop` is asked every SLICE candidates, and what was scored is kept.
    Returns how many scores were written. The vectors of the titles are kept with them (see similar.py).
    """
    ids = None if candidate_ids is None else sorted(set(candidate_ids))
    since = _begin(model, everything, resume=ids is None)
    work = _Work(model, since, shadow=False)
    written = _work_off(work, _pending(work, ids), on_progress, stop)
    if everything and ids is None and not (stop and stop()):
        _finish()
    if ids is None:
        similar.catch_up(model, stop or (lambda: False))
    return written


def score_shadow(model: "Model", *, on_progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> int:
    """Let a version in shadow score what it has not scored as it is now. Candidates keep the current scores.

    Arguments and answer are those of `score_pending`.
    """
    _begin(model, everything=False, resume=False)
    work = _Work(model, None, shadow=True)
    return _work_off(work, _pending(work, None), on_progress, stop)


def _work_off(
    work: "_Work", pending: "list[_Key]", on_progress: Progress | None, stop: Callable[[], bool] | None
) -> int:
    tell = on_progress or (lambda done, total: None)
    stopped = stop or (lambda: False)
    total, done, written = len(pending), 0, 0
    tell(0, total)
    # What others are at is left to them at first. Then it is waited for: they may have begun before a change.
    for wait in (False, True):
        passed_over: list[_Key] = []
        for chunk in _chunks(pending):
            if stopped():
                return written
            outcome = _score_chunk(work, chunk, wait, stopped, partial(_tell, tell, done, total))
            passed_over += outcome.passed_over
            written += outcome.written
            done += len(chunk) - len(outcome.passed_over)
            tell(done, total)
        pending = passed_over
    logger.info("Scored %d candidates with %s", written, work.model.version, extra={"scored": written})
    return written


def _tell(on_progress: Progress, before: int, total: int, more: int) -> None:
    on_progress(before + more, total)


@dataclass(frozen=True, slots=True)
class _Work:
    """Whom to ask, and what counts as done."""

    model: "Model"
    since: datetime | None  # a score that is older counts as none
    shadow: bool

    @property
    def needed(self) -> str:
        return _NEEDED_IN_SHADOW if self.shadow else _NEEDED

    @property
    def parameters(self) -> dict[str, Any]:
        return {"version": self.model.version, "since": self.since}


@dataclass(frozen=True, slots=True)
class _Key:
    candidate_id: str
    bucket: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    written: int
    passed_over: list[_Key]  # another process is at their channels


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What the model is given for one candidate, and the state of the row that it was read from."""

    video: ScoreInput
    changed_at: datetime


# --- what is to be done -----------------------------------------------------------------------------

_NEEDED = """(candidates.scored_change IS DISTINCT FROM changed_at OR model_version IS DISTINCT FROM %(version)s
    OR scored_at < %(since)s)"""
_NEEDED_IN_SHADOW = """NOT EXISTS (
    SELECT FROM scores WHERE scores.candidate_id = candidates.candidate_id AND scores.model_version = %(version)s
        AND scores.scored_change = changed_at
)"""


def _begin(model: "Model", everything: bool, resume: bool) -> datetime | None:
    """Write down the model; for `everything`, the moment before which a score is old."""
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO model_versions (model_version, manifest) VALUES (:version, cast(:manifest AS jsonb))"
                " ON CONFLICT (model_version) DO UPDATE SET manifest = excluded.manifest"
                " WHERE model_versions.manifest <> excluded.manifest"
            ),
            {"version": model.version, "manifest": json.dumps(dict(model.manifest))},
        )
        if not everything:
            return None
        if not resume:
            return connection.scalar(text("SELECT clock_timestamp()"))
        return connection.scalar(
            text(
                "INSERT INTO rollups AS unfinished (name, data, refreshed_at)"
                " VALUES ('rescore', jsonb_build_object('model_version', cast(:version AS text)), clock_timestamp())"
                " ON CONFLICT (name) DO UPDATE SET data = excluded.data, refreshed_at = CASE"
                " WHEN unfinished.data = excluded.data"
                f" AND unfinished.refreshed_at > excluded.refreshed_at - interval '{RESUME_WITHIN}'"
                " THEN unfinished.refreshed_at ELSE excluded.refreshed_at END"
                " RETURNING refreshed_at"
            ),
            {"version": model.version},
        )


def _finish() -> None:
    with db.transaction("worker") as connection:
        run(connection, "DELETE FROM rollups WHERE name = 'rescore'")


def _pending(work: _Work, ids: list[str] | None) -> list[_Key]:
    """The candidates to score, those of a channel together: they share the titles of its history.

    Each process begins elsewhere, so that two don't ask for the same locks.
    """
    among = "" if ids is None else " AND candidate_id = ANY(%(ids)s)"
    with db.transaction("worker") as connection:
        rows = run(
            connection,
            f"SELECT candidate_id, hashtext(coalesce(channel_key, candidate_id)) & {BUCKETS - 1} AS bucket"
            f" FROM candidates WHERE {work.needed}{among}"
            f" ORDER BY (hashtext(coalesce(channel_key, candidate_id)) & {BUCKETS - 1}) < %(first)s, bucket,"
            " channel_key, candidate_id",
            {**work.parameters, "ids": ids, "first": os.getpid() % BUCKETS},
        )
        return [_Key(*row) for row in rows]


def _chunks(keys: Sequence[_Key]) -> Iterator[Sequence[_Key]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


# --- one chunk --------------------------------------------------------------------------------------


def _score_chunk(
    work: _Work,
    keys: Sequence[_Key],
    wait: bool,
    stopped: Callable[[], bool],
    tell: Callable[[int], object],
) -> _Outcome:
    with db.transaction("worker") as connection:
        ours = _lock(connection, {key.bucket for key in keys}, wait)
        passed_over = [key for key in keys if key.bucket not in ours]
        mine = [key.candidate_id for key in keys if key.bucket in ours]
        taken = 0 if work.shadow or work.since is not None else _take_over(connection, work.model.version, mine)
        gathered = _gather(connection, work, mine)
        scores: list[Score] = []
        for start in range(0, len(gathered), SLICE):
            if start and stopped():
                break
            scores += work.model.score([one.video for one in gathered[start : start + SLICE]])
            tell(len(scores))
        written = _write(connection, work, scores, gathered)
        if not work.shadow:
            similar.keep(connection, work.model, {one.video.key: one.video.title for one in gathered[: len(scores)]})
    return _Outcome(taken + written, passed_over)


def _lock(connection: Connection, buckets: set[int], wait: bool) -> set[int]:
    """Take the buckets until the end of the transaction; those that another process has are left out, or waited
    for in their order (so that two processes never wait for each other)."""
    taken: set[int] = set()
    for bucket in sorted(buckets):
        if wait:
            run(connection, f"SELECT pg_advisory_xact_lock({LOCK}, {bucket})")
            taken.add(bucket)
        elif run(connection, f"SELECT pg_try_advisory_xact_lock({LOCK}, {bucket})").fetchone() == (True,):
            taken.add(bucket)
    return taken


# country_count is of the day of the newest counts: the model learnt "on how many charts today".
_VIDEOS = """
SELECT candidate_id, channel_key, title, category, duration, language, published_at, observed_at, views, likes,
    comments, charts.country_count, followers, sha256, changed_at
FROM candidates
    LEFT JOIN thumbnails USING (candidate_id)
    LEFT JOIN (SELECT channel_key, followers FROM channels) AS channels USING (channel_key)
    LEFT JOIN LATERAL (
        SELECT nullif(count(DISTINCT country), 0) AS country_count FROM snapshots
        WHERE snapshots.candidate_id = candidates.candidate_id
            AND snapshots.observed_at >= date_trunc('day', candidates.observed_at)
            AND snapshots.observed_at < date_trunc('day', candidates.observed_at) + interval '1 day'
    ) AS charts ON true
WHERE candidate_id = ANY(%(ids)s) AND {needed}
ORDER BY channel_key, published_at DESC, candidate_id
"""

# The same of earlier looks at them: the counts are those of that moment, title and picture those of today.
_LOOKS = """
SELECT candidates.candidate_id, channel_key, title, category, duration, language, published_at, look.observed_at,
    look.views, look.likes, look.comments, charts.country_count, NULL AS followers, sha256, changed_at
FROM unnest(%(ids)s::text[], %(moments)s::timestamptz[]) AS wanted (id, moment)
    JOIN candidates ON candidates.candidate_id = id
    JOIN snapshots AS look ON look.candidate_id = id AND look.observed_at = moment
    LEFT JOIN thumbnails ON thumbnails.candidate_id = id
    LEFT JOIN LATERAL (
        SELECT nullif(count(DISTINCT country), 0) AS country_count FROM snapshots
        WHERE snapshots.candidate_id = id AND snapshots.observed_at >= date_trunc('day', moment)
            AND snapshots.observed_at < date_trunc('day', moment) + interval '1 day'
    ) AS charts ON true
ORDER BY channel_key, published_at DESC, candidates.candidate_id
"""

# Of each video of the channels the look that tells its views at 24 h best, latest publication first.
_PAST = f"""
SELECT channel_key, title, published_at, look.observed_at, look.views
FROM candidates, LATERAL (
    SELECT observed_at, views FROM snapshots
    WHERE snapshots.candidate_id = candidates.candidate_id AND views IS NOT NULL
        AND observed_at >= published_at + interval '{MIN_AGE} days'
    ORDER BY observed_at BETWEEN published_at + interval '{FIRST_DAY[0]} days'
        AND published_at + interval '{FIRST_DAY[1]} days' DESC, observed_at
    LIMIT 1
) AS look
WHERE channel_key = ANY(%(channels)s) AND published_at IS NOT NULL
ORDER BY channel_key, published_at DESC, candidate_id
"""


def _gather(connection: Connection, work: _Work, ids: list[str]) -> list[_Gathered]:
    """The inputs of the candidates that are (still) to be scored."""
    statement = _VIDEOS.format(needed=work.needed)
    return _with_history(connection, run(connection, statement, {"ids": ids, **work.parameters}).fetchall())


def input_of(connection: Connection, candidate_id: str) -> ScoreInput | None:
    """What a model is given for a candidate as it is now, or None where it is not known."""
    rows = run(connection, _VIDEOS.format(needed="true"), {"ids": [candidate_id]}).fetchall()
    return _with_history(connection, rows)[0].video if rows else None


def inputs_at(
    connection: Connection, looks: Sequence[tuple[str, datetime]], *, pictures: bool = True
) -> list[ScoreInput]:
    """What a model would have been given for candidates at earlier looks, (candidate_id, observed_at) of a snapshot.

    Counts and channel history are those known then. In no particular order; without `pictures`, no thumbnails.
    """
    ids, moments = [key for key, _ in looks], [moment for _, moment in looks]
    rows = run(connection, _LOOKS, {"ids": ids, "moments": moments}).fetchall()
    return [one.video for one in _with_history(connection, rows, pictures)]


def _with_history(connection: Connection, rows: Sequence[tuple], pictures: bool = True) -> list[_Gathered]:
    channels = sorted({row[1] for row in rows if row[1] is not None})
    past: dict[str, list[PastVideo]] = {}
    for channel, title, published, observed, views in run(connection, _PAST, {"channels": channels}):
        past.setdefault(channel, []).append(PastVideo(title, published, observed, views))
    stored = storage.thumbnails()
    if pictures:
        stored.warm([row[13] for row in rows if row[13] is not None], PICTURES_WITHIN)
    return [
        _Gathered(
            ScoreInput(
                key=candidate_id,
                title=title,
                thumbnail=stored.get(sha256) if pictures and sha256 is not None else None,
                channel_id=channel,
                category_id=CATEGORY_IDS.get(category),
                duration=duration,
                language=language,
                published_at=published,
                observed_at=observed,
                views=views,
                likes=likes,
                comments=comments,
                country_count=countries,
                followers=followers,
                history=_known(past.get(channel, []), published, observed if views is not None else published),
            ),
            changed_at,
        )
        for (
            candidate_id, channel, title, category, duration, language, published, observed, views, likes, comments,
            countries, followers, sha256, changed_at,
        ) in rows
    ]  # fmt: skip


def _known(
    past: Sequence[PastVideo], published: datetime | None, known_until: datetime | None
) -> tuple[PastVideo, ...]:
    """The latest of a channel's videos (given latest first) that were published before, and seen by then."""
    known: list[PastVideo] = []
    for video in past:
        if len(known) == HISTORY:
            break
        seen = video.observed_at is not None and (known_until is None or video.observed_at < known_until)
        if seen and (published is None or video.published_at < published):
            known.append(video)
    return tuple(known)


def history(connection: Connection, channel_key: str, before: datetime | None = None) -> tuple[PastVideo, ...]:
    """What a draft of this channel is compared with: its latest videos, as a score of one is; those that were
    published and seen `before` a moment, where one is given."""
    past = [PastVideo(*row[1:]) for row in run(connection, _PAST, {"channels": [channel_key]})]
    return _known(past, before, before)


# --- writing ----------------------------------------------------------------------------------------

_SCORED = (
    "candidate_id", "mode", "viral_score", "base_rate", "predicted_multiple", "predicted_velocity", "velocity_low",
    "velocity_high", "predicted_velocity_7d", "note", "scored_change",
)  # fmt: skip
_FORETOLD = ("observed_at", "views", "age_band", "threshold")

# Rows are locked in the order of their keys; one that was deleted meanwhile is left out.
_KEEP = f"""
WITH present AS (
    SELECT candidate_id, sample FROM candidates WHERE candidate_id IN (SELECT candidate_id FROM scored)
    ORDER BY candidate_id FOR NO KEY UPDATE
), foretold AS (
    INSERT INTO forecasts (
        candidate_id, model_version, basis, observed_day, scored_at, observed_at, views, age_band, threshold,
        viral_score, base_rate, predicted_velocity, velocity_low, velocity_high
    )
    SELECT candidate_id, %(version)s, 'foresight', (observed_at AT TIME ZONE 'UTC')::date, clock_timestamp(),
        observed_at, views, age_band, threshold,
        viral_score, base_rate, predicted_velocity, velocity_low, velocity_high
    FROM scored JOIN present USING (candidate_id)
    WHERE threshold IS NOT NULL AND NOT sample
        AND observed_at BETWEEN clock_timestamp() - %(within)s AND clock_timestamp()
    ON CONFLICT DO NOTHING
), kept AS (
    INSERT INTO scores (model_version, scored_at, {", ".join(_SCORED)})
    SELECT %(version)s, clock_timestamp(), {", ".join(_SCORED)} FROM scored JOIN present USING (candidate_id)
    ON CONFLICT (candidate_id, model_version) DO UPDATE SET
        scored_at = excluded.scored_at, {", ".join(f"{name} = excluded.{name}" for name in _SCORED[1:])}
)
"""
_WRITE = f"""{_KEEP}
UPDATE candidates SET
    viral_score = scored.viral_score, base_rate = scored.base_rate, predicted_multiple = scored.predicted_multiple,
    predicted_velocity = scored.predicted_velocity, velocity_low = scored.velocity_low,
    velocity_high = scored.velocity_high, score_note = scored.note, model_version = %(version)s,
    scored_at = clock_timestamp(), scored_change = scored.scored_change
FROM scored JOIN present USING (candidate_id) WHERE candidates.candidate_id = scored.candidate_id
"""
_WRITE_IN_SHADOW = f"{_KEEP} SELECT FROM scored JOIN present USING (candidate_id)"

# A version that comes back into force, or out of the shadow, has scored most of it already.
_TAKE_OVER = """
WITH standing AS (
    SELECT candidate_id FROM candidates JOIN scores USING (candidate_id)
    WHERE candidate_id = ANY(%(ids)s) AND scores.model_version = %(version)s
        AND candidates.model_version IS DISTINCT FROM scores.model_version
        AND scores.scored_change = candidates.changed_at
    ORDER BY candidate_id FOR NO KEY UPDATE OF candidates
)
UPDATE candidates SET
    viral_score = scores.viral_score, base_rate = scores.base_rate, predicted_multiple = scores.predicted_multiple,
    predicted_velocity = scores.predicted_velocity, velocity_low = scores.velocity_low,
    velocity_high = scores.velocity_high, score_note = scores.note, model_version = scores.model_version,
    scored_at = scores.scored_at, scored_change = scores.scored_change
FROM standing JOIN scores USING (candidate_id)
WHERE candidates.candidate_id = standing.candidate_id AND scores.model_version = %(version)s
    AND scores.scored_change = candidates.changed_at
"""


def _take_over(connection: Connection, version: str, ids: list[str]) -> int:
    return run(connection, _TAKE_OVER, {"ids": ids, "version": version}).rowcount


def event(manifest: Mapping[str, Any], video: ScoreInput) -> tuple[str, float] | None:
    """The age band, and the views per day over the next 3 days from which on the event has happened; None for
    drafts, and where the age is not known."""
    if video.mode == "draft" or video.published_at is None or video.observed_at is None:
        return None
    age = (video.observed_at - video.published_at).total_seconds() / DAY
    limit = manifest.get("thresholds", {}).get(features.cohort("candidate", age, video.category_id))
    return None if age <= 0 or limit is None else (features.age_band(age), 10 ** float(limit))


def _write(connection: Connection, work: _Work, scores: Sequence["Score"], gathered: Sequence[_Gathered]) -> int:
    if not scores:
        return 0
    run(
        connection,
        """
        CREATE TEMP TABLE scored (
            candidate_id text COLLATE "C" PRIMARY KEY, mode text, viral_score float8, base_rate float8,
            predicted_multiple float8, predicted_velocity float8, velocity_low float8, velocity_high float8,
            predicted_velocity_7d float8, note text, scored_change timestamptz,
            observed_at timestamptz, views bigint, age_band text, threshold float8
        ) ON COMMIT DROP
        """,
    )
    given = {one.video.key: one for one in gathered}
    with copy(db.psycopg_connection(connection).cursor(), "scored", (*_SCORED, *_FORETOLD)) as rows:
        for score in scores:
            video, changed_at = given[score.key].video, given[score.key].changed_at
            band, threshold = event(work.model.manifest, video) or (None, None)
            rows.write_row((
                score.key, score.mode, score.viral_score, score.base_rate, score.predicted_multiple,
                score.predicted_velocity, score.velocity_low, score.velocity_high, score.predicted_velocity_7d,
                score.note, changed_at, video.observed_at, video.views, band, threshold,
            ))  # fmt: skip
    run(connection, "ANALYZE scored")
    for attempt in range(1, DEADLOCK_TRIES + 1):
        try:
            with connection.begin_nested():
                statement = _WRITE_IN_SHADOW if work.shadow else _WRITE
                return run(connection, statement, {"version": work.model.version, "within": FORETOLD_WITHIN}).rowcount
        except psycopg.errors.DeadlockDetected:
            if attempt == DEADLOCK_TRIES:
                raise
            logger.info("Waited for each other with a collection; writing the scores again")
    raise AssertionError("unreachable")
