"""Old snapshots thinned to one a day, so that a database that collects for years stays small and nothing it says changes.

Of a day older than MILES_DETAIL_DAYS stays, of each video, the last look on each chart, and every look that a
number rests on: `KEPT` says which. It works in short transactions of some hundred videos each, beside collections,
and goes on where it was broken off. Sample data is not touched.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from miles import db, metrics, monitor, rollups, score_candidates, settings
from miles.features import MIN_AGE
from miles.store import run

logger = logging.getLogger(__name__)

BATCH = 500  # videos in one transaction: a tenth of a second in which collections wait for those videos
STATE = "thinning"  # the row of `rollups` that says up to which day everything is thinned, and as of when


@dataclass(frozen=True, slots=True)
class Thinned:
    """What thinning did."""

    before: datetime | None  # looks before this moment were thinned; None: all are kept
    videos: int  # looked at
    removed: int  # snapshots; with a dry run those that would go
    skipped: int  # videos that somebody else was writing on; the next run looks at them


def thin(
    *,
    now: datetime | None = None,
    days: int | None = None,
    dry_run: bool = False,
    stop: Callable[[], bool] | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Thinned:
    """Thin what became older than `days` (else those of the settings) since the last run, and what changed since."""
    kept_days = settings.load().detail_days if days is None else days
    stopped, tell = stop or (lambda: False), on_progress or (lambda done, total: None)
    if not kept_days:
        return Thinned(None, 0, 0, 0)
    moment = now or datetime.now(UTC)
    before = (moment - timedelta(days=kept_days)).replace(hour=0, minute=0, second=0, microsecond=0)
    with db.transaction("worker") as connection:
        begun = connection.scalar(text("SELECT clock_timestamp()"))
        due = _due(connection, before)
    removed = skipped = done = 0
    for start in range(0, len(due), BATCH):
        if stopped():
            break
        ids = due[start : start + BATCH]
        with db.transaction("worker") as connection:
            free = _lock(connection, ids)
            removed += _thin(connection, free, before, dry_run)
        skipped += len(ids) - len(free)
        done += len(ids)
        tell(done, len(due))
    if done == len(due) and not skipped and not dry_run:
        with db.transaction("worker") as connection:
            rollups.write(connection, STATE, {"until": before.isoformat(), "at": begun and begun.isoformat()})
    logger.info("Thinned %d videos: %d snapshots removed", done - skipped, removed)
    return Thinned(before, done - skipped, removed, skipped)


def _due(connection: Connection, before: datetime) -> list[str]:
    """The videos of which something may go: with two looks at one chart on one day that was not thinned yet, or
    changed since the last run. What is kept of a video depends on its own row and looks alone."""
    state = rollups.read(connection, STATE) or {"until": "2005-01-01T00:00:00+00:00", "at": "2005-01-01T00:00:00+00:00"}
    return list(
        connection.scalars(
            text(
                """
                SELECT candidate_id FROM (
                    SELECT DISTINCT candidate_id FROM (
                        SELECT candidate_id FROM snapshots WHERE observed_at >= :until AND observed_at < :before
                        GROUP BY candidate_id, date_trunc('day', observed_at, 'UTC'), country HAVING count(*) > 1
                    ) AS grown_old
                  UNION
                    SELECT candidate_id FROM candidates WHERE changed_at >= :at AND first_seen_at < :before
                ) AS due JOIN candidates USING (candidate_id) WHERE NOT sample ORDER BY candidate_id
                """
            ),
            {
                "until": datetime.fromisoformat(state["until"]),
                "at": datetime.fromisoformat(state["at"]),
                "before": before,
            },
        )
    )


def _lock(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Those of the videos that nobody is writing on; until the end of the transaction nobody does."""
    return list(
        connection.scalars(
            text(
                "SELECT candidate_id FROM candidates WHERE candidate_id = ANY(:ids)"
                " ORDER BY candidate_id FOR NO KEY UPDATE SKIP LOCKED"
            ),
            {"ids": list(ids)},
        )
    )


def _thin(connection: Connection, ids: Sequence[str], before: datetime, dry_run: bool) -> int:
    earliest, aim, latest = (timedelta(days=share) for share in monitor.WINDOW)
    values = {"ids": list(ids), "before": before, "earliest": earliest, "aim": aim, "latest": latest}
    run(connection, _LOOKS, values)
    run(connection, "CREATE INDEX ON thinning (candidate_id, observed_at); ANALYZE thinning")
    run(connection, f"CREATE TEMP TABLE kept ON COMMIT DROP AS {' UNION '.join(KEPT.values())}", values)
    doomed = (
        "observed_at < %(before)s AND (candidate_id, observed_at) NOT IN (SELECT candidate_id, observed_at FROM kept)"
    )
    if dry_run:
        counted = run(connection, f"SELECT count(*) FROM thinning WHERE {doomed}", values).fetchone()
        return counted[0] if counted else 0
    return run(
        connection,
        f"""
        DELETE FROM snapshots USING (SELECT candidate_id, observed_at FROM thinning WHERE {doomed}) AS doomed
        WHERE snapshots.candidate_id = doomed.candidate_id AND snapshots.observed_at = doomed.observed_at
            AND snapshots.observed_at < %(before)s
        """,
        values,
    ).rowcount


# As in rollups: looks at YouTube's Shorts from before and after the change of 2025 are not compared.
_OLD_ERA = f"(platform = 'youtube' AND media_type = 'short' AND observed_at < '{metrics.SHORTS_ERA.isoformat()}')"

_LOOKS = f"""
CREATE TEMP TABLE thinning ON COMMIT DROP AS
SELECT candidate_id, observed_at, views, country, tier, exact AND views IS NOT NULL AS exact, published_at,
    date_trunc('day', observed_at, 'UTC') AS day, {_OLD_ERA} AS old_era,
    width_bucket(extract(epoch FROM observed_at - published)::float8 / {metrics.DAY},
        ARRAY{list(metrics.AGE_BANDS)}::float8[]) AS band
FROM snapshots JOIN (
    SELECT candidate_id, platform, coalesce(media_type, '') AS media_type, published_at,
        coalesce(published_at, published_about) AS published
    FROM candidates WHERE candidate_id = ANY(%(ids)s)
) AS videos USING (candidate_id)
WHERE snapshots.candidate_id = ANY(%(ids)s)
"""


def _earlier(than: str) -> str:
    """The latest exact look at least MIN_GAP before another one."""
    return f"""LATERAL (
        SELECT observed_at FROM thinning WHERE candidate_id = {than}.candidate_id AND exact
            AND observed_at <= {than}.observed_at - interval '{metrics.MIN_GAP} days'
        ORDER BY observed_at DESC LIMIT 1
    )"""


# Which looks stay, by what for. Each gives (candidate_id, observed_at).
KEPT: dict[str, str] = {
    "one a day on each chart": """
        (SELECT DISTINCT ON (candidate_id, day, country) candidate_id, observed_at FROM thinning
        ORDER BY candidate_id, day, country, views IS NULL, observed_at DESC)""",
    # the look that whatever comes later is measured from
    "the last exact one of a day": """
        (SELECT DISTINCT ON (candidate_id, day) candidate_id, observed_at FROM thinning WHERE exact
        ORDER BY candidate_id, day, observed_at DESC)""",
    # whether a look was due (revisits.py)
    "the last full one of a day": """
        (SELECT DISTINCT ON (candidate_id, day) candidate_id, observed_at FROM thinning WHERE tier = 'full'
        ORDER BY candidate_id, day, observed_at DESC)""",
    "velocity and acceleration": f"""
        (WITH newest AS (
            SELECT DISTINCT ON (candidate_id) candidate_id, observed_at FROM thinning WHERE exact
            ORDER BY candidate_id, observed_at DESC
        ), middle AS (
            SELECT newest.candidate_id, found.observed_at FROM newest, {_earlier("newest")} AS found
        )
        SELECT * FROM newest UNION SELECT * FROM middle
        UNION SELECT middle.candidate_id, found.observed_at FROM middle, {_earlier("middle")} AS found)""",
    "outlier multiples, its own and its channel's": """
        (SELECT DISTINCT ON (candidate_id, band, old_era) candidate_id, observed_at FROM thinning
        WHERE views IS NOT NULL AND band > 0 ORDER BY candidate_id, band, old_era, observed_at DESC)""",
    # what the model is told of a channel's past videos (score_candidates)
    "the history of its channel": f"""
        (SELECT DISTINCT ON (candidate_id) candidate_id, observed_at FROM thinning
        WHERE views IS NOT NULL AND observed_at >= published_at + interval '{MIN_AGE} days'
        ORDER BY candidate_id, observed_at BETWEEN published_at + interval '{score_candidates.FIRST_DAY[0]} days'
            AND published_at + interval '{score_candidates.FIRST_DAY[1]} days' DESC, observed_at)""",
    # monitor.backtest: the first exact look in the first month, and the one that tells what came of it
    "backtests": """
        (WITH first AS (
            SELECT DISTINCT ON (candidate_id) candidate_id, observed_at FROM thinning
            WHERE exact AND observed_at > published_at AND observed_at < published_at + interval '30 days'
            ORDER BY candidate_id, observed_at
        )
        SELECT * FROM first UNION
        SELECT first.candidate_id, later.observed_at FROM first, LATERAL (
            SELECT observed_at FROM thinning WHERE candidate_id = first.candidate_id AND exact
                AND observed_at BETWEEN first.observed_at + %(earliest)s AND first.observed_at + %(latest)s
            ORDER BY abs(extract(epoch FROM observed_at - first.observed_at - %(aim)s)), observed_at LIMIT 1
        ) AS later)""",
    "forecasts and their outcomes": """
        (SELECT candidate_id, observed_at FROM forecasts WHERE candidate_id = ANY(%(ids)s)
        UNION SELECT candidate_id, outcome_at FROM forecasts WHERE candidate_id = ANY(%(ids)s) AND outcome_at IS NOT NULL)""",
}
