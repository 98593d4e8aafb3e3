"""What the pages read instead of whole tables: measured numbers on each candidate, and small summaries.

`refresh` runs after collecting, importing and scoring. It works in the caller's transaction as the worker,
one at a time in the whole database; a second one waits. The definitions are those of `metrics.py` and
`patterns.py`. What is there is what is summarised, sample data included; `overview` says how much of it is
sample, so that a page can say so.

The roll-up "overview" (`overview()`):

    candidates, channels, snapshots, scored, drafts_scored, with_velocity, with_outlier, sample, thumbnails: counts
    thumbnail_bytes: of the stored ones, all together
    newest_snapshot: ISO time or null
    model_version: of the latest score, or null; base_rate: mean over the scored, or null
    platforms, formats, categories, languages: [{"value": "youtube", "n": 123}, …], greatest first
"""

import json
import logging
from collections.abc import Callable
from datetime import timedelta

import numpy as np
from sqlalchemy import Connection, text

from miles import db, facts, metrics, movers, patterns, title_words
from miles.store import announce, copy, run

logger = logging.getLogger(__name__)

LOCK = 0x726F6C6C7570  # advisory lock key ("rollup")
PATTERNS_AFTER_SHARE = 0.01  # of the videos measured anew: fewer don't move a lift that a person would notice
PATTERNS_AFTER = timedelta(hours=6)  # … but after this time they are told anyway
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_FILTER_VALUES = 200  # languages and categories that a filter offers
# What sorting a million snapshots takes, for this transaction only.
WORK_MEMORY = "160MB"
LINE_DAYS = 90  # the newest days of a video's growth that its line shows
FEW = 10_000  # videos; so many are looked up in less time than a million snapshots are read

DURATION_BANDS = (
    (15, "up to 15 s"), (30, "15–30 s"), (60, "30–60 s"), (180, "1–3 min"), (600, "3–10 min"), (3600, "10–60 min"),
    (None, "over 1 h"),
)  # fmt: skip
AGE_BANDS = (
    (0.25, "under 6 h"), (1, "6–24 h"), (3, "1–3 days"), (7, "3–7 days"), (28, "1–4 weeks"), (365, "1–12 months"),
    (None, "over a year"),
)  # fmt: skip

Progress = Callable[[int, int], object]


def refresh(connection: Connection, on_progress: Progress | None = None, *, everything: bool = False) -> None:
    """Measure what changed, then write all roll-ups anew.

    Title patterns are the dear part: they are computed again only when PATTERNS_AFTER_SHARE of the videos
    changed since the last time, when PATTERNS_AFTER has passed and something changed, or with `everything`.
    `on_progress` is called with the steps done and their number.
    """
    tell = on_progress or (lambda done, total: None)
    tell(0, 5)
    measure(connection)
    tell(1, 5)
    _count_days(connection)
    tell(2, 5)
    due = everything or _patterns_are_due(connection)
    facts.sync(connection, words=not due)
    title_words.sync(connection, anew=due)
    tell(3, 5)
    if due:
        _write_patterns(connection)
    tell(4, 5)
    write(connection, "overview", _overview(connection))
    write(connection, "movers", movers.roll_up(connection))
    tell(5, 5)


def measure(connection: Connection) -> int:
    """Measure the candidates that changed since they were last measured; returns how many those were.

    The outlier multiples of the other videos of their channels move with them. Only rows whose numbers
    change are written, and never `changed_at`.
    """
    run(connection, f"SELECT pg_advisory_xact_lock({LOCK})")
    run(connection, f"SET LOCAL work_mem = '{WORK_MEMORY}'")
    run(connection, _MEASURING)
    row = run(connection, "SELECT count(*) FILTER (WHERE changed), count(*) FROM measuring").fetchone()
    changed, concerned = row or (0, 0)
    if changed:
        run(connection, _LOOKS.format(fence="OFFSET 0" if concerned <= FEW else ""))
        run(connection, _GROWN)
        run(connection, _STANDING_OUT)
        announce(connection)
        run(connection, _WRITE_MEASURED)
        # refreshed_at stays: it tells when the patterns were computed
        run(
            connection,
            "UPDATE rollups SET data = jsonb_set(data, '{changed}', to_jsonb((data->>'changed')::bigint"
            f" + {int(changed)})) WHERE name = 'title_patterns'",
        )
    run(connection, "DROP TABLE IF EXISTS pending, measuring, looks, grown, standing_out, differing")
    return changed


def overview(connection: Connection) -> dict | None:
    """The roll-up "overview", as the module's first lines describe it; None before the first refresh."""
    return read(connection, "overview")


def read(connection: Connection, name: str) -> dict | None:
    return connection.scalar(text("SELECT data FROM rollups WHERE name = :name"), {"name": name})


def write(connection: Connection, name: str, data: dict) -> None:
    connection.execute(
        text(
            "INSERT INTO rollups (name, data, refreshed_at) VALUES (:name, cast(:data AS jsonb), clock_timestamp())"
            " ON CONFLICT (name) DO UPDATE SET data = excluded.data, refreshed_at = excluded.refreshed_at"
        ),
        {"name": name, "data": json.dumps(data)},
    )


# --- measured numbers -------------------------------------------------------------------------------

# The candidates that changed, and the other videos of their channels. Postgres can't tell how few changed, so
# it is told to take the index of those.
_MEASURING = """
DROP TABLE IF EXISTS pending, measuring, looks, grown, standing_out, differing;
SET LOCAL enable_seqscan = off;
CREATE TEMP TABLE pending ON COMMIT DROP AS
SELECT candidate_id, channel_key, platform, coalesce(media_type, '') AS media_type,
    coalesce(published_at, published_about) AS published, changed_at, true AS changed
FROM candidates WHERE measured_change IS DISTINCT FROM changed_at;
SET LOCAL enable_seqscan = on;
ANALYZE pending;
CREATE TEMP TABLE measuring ON COMMIT DROP AS
SELECT * FROM pending
UNION ALL
SELECT candidate_id, channel_key, platform, coalesce(media_type, ''), coalesce(published_at, published_about),
    changed_at, false
FROM (SELECT DISTINCT channel_key FROM pending) AS channels JOIN candidates USING (channel_key)
WHERE measured_change IS NOT DISTINCT FROM changed_at;
ANALYZE measuring;
"""

# Their snapshots. Postgres overrates what a video has of them and would read all that there are; the fence
# (OFFSET 0) makes it look up each video, which is what few videos want.
_LOOKS = """
CREATE TEMP TABLE looks ON COMMIT DROP AS
SELECT measuring.*, observed_at, views, country, exact
FROM measuring CROSS JOIN LATERAL (
    SELECT observed_at, views, country, exact FROM snapshots
    WHERE snapshots.candidate_id = measuring.candidate_id {fence}
) AS seen;
ANALYZE looks (candidate_id, channel_key);
"""

_ERA = f"""(platform = 'youtube' AND media_type = 'short' AND observed_at < '{metrics.SHORTS_ERA.isoformat()}')"""

# Velocity, its acceleration and charts of the candidates that changed: metrics.measured_velocity and
# metrics.measured_acceleration, by sets.
_GROWN = f"""
CREATE TEMP TABLE grown ON COMMIT DROP AS
WITH shots AS (
    SELECT candidate_id, observed_at, views, {_ERA} AS old_era,
        first_value(observed_at) OVER newest_first AS newest_at,
        first_value(views) OVER newest_first AS newest_views,
        first_value({_ERA}) OVER newest_first AS newest_old_era
    FROM looks
    WHERE changed AND exact AND views IS NOT NULL
    WINDOW newest_first AS (PARTITION BY candidate_id ORDER BY observed_at DESC)
), pairs AS (
    SELECT DISTINCT ON (candidate_id) candidate_id, old_era, old_era = newest_old_era AS comparable,
        observed_at AS middle_at, views AS middle_views, newest_views - views AS gained,
        extract(epoch FROM newest_at - observed_at)::float8 / {metrics.DAY} AS days
    FROM shots WHERE observed_at <= newest_at - interval '{metrics.MIN_GAP} days'
    ORDER BY candidate_id, observed_at DESC
), earlier_pairs AS (
    SELECT DISTINCT ON (candidate_id) candidate_id,
        (middle_views - views) / (extract(epoch FROM middle_at - observed_at)::float8 / {metrics.DAY}) AS velocity,
        extract(epoch FROM middle_at - observed_at)::float8 / {metrics.DAY} AS days
    FROM shots JOIN pairs USING (candidate_id)
    WHERE comparable AND shots.old_era = pairs.old_era
        AND observed_at <= middle_at - interval '{metrics.MIN_GAP} days'
    ORDER BY candidate_id, observed_at DESC
), charts AS (
    SELECT candidate_id, nullif(count(DISTINCT country), 0) AS country_count
    FROM looks WHERE changed GROUP BY candidate_id
), days AS (
    SELECT DISTINCT ON (candidate_id, day) candidate_id, (observed_at AT TIME ZONE 'UTC')::date AS day, views
    FROM looks WHERE changed AND views IS NOT NULL ORDER BY candidate_id, day, observed_at DESC
), lines AS (
    SELECT candidate_id, (array_agg(views ORDER BY day))[greatest(count(*) - {LINE_DAYS - 1}, 1):] AS growth
    FROM days GROUP BY candidate_id
)
SELECT candidate_id, country_count, growth,
    CASE WHEN comparable THEN gained / pairs.days END AS velocity, CASE WHEN comparable THEN pairs.days END AS velocity_days,
    earlier_pairs.velocity AS velocity_before,
    (gained / pairs.days - earlier_pairs.velocity) / ((pairs.days + earlier_pairs.days) / 2) AS acceleration
FROM measuring LEFT JOIN pairs USING (candidate_id) LEFT JOIN earlier_pairs USING (candidate_id)
    LEFT JOIN charts USING (candidate_id) LEFT JOIN lines USING (candidate_id)
WHERE changed
"""

# metrics.outlier_multiple by sets. A video's place in its group's sorted views tells which of them is the
# median of the others: from its own place on, the others lie one further.
_STANDING_OUT = f"""
CREATE TEMP TABLE standing_out ON COMMIT DROP AS
WITH aged AS (
    SELECT candidate_id, channel_key, media_type, views, observed_at, {_ERA} AS old_era,
        width_bucket(extract(epoch FROM observed_at - published)::float8 / {metrics.DAY},
            ARRAY{list(metrics.AGE_BANDS)}::float8[]) AS band
    FROM looks WHERE views IS NOT NULL AND channel_key IS NOT NULL
), seen AS (
    SELECT DISTINCT ON (candidate_id, band, old_era) *
    FROM aged WHERE band > 0 ORDER BY candidate_id, band, old_era, observed_at DESC
), ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY channel_key, media_type, band, old_era ORDER BY views, candidate_id) AS place,
        count(*) OVER (PARTITION BY channel_key, media_type, band, old_era) - 1 AS others,
        row_number() OVER (PARTITION BY candidate_id ORDER BY observed_at DESC) AS recency
    FROM seen
), sorted AS (
    SELECT channel_key, media_type, band, old_era, array_agg(views::float8 ORDER BY place) AS all_views
    FROM ranked WHERE others >= {metrics.MIN_PEERS} GROUP BY channel_key, media_type, band, old_era
), newest AS (
    SELECT candidate_id, views, others,
        (all_views[(others + 1) / 2 + CASE WHEN (others + 1) / 2 >= place THEN 1 ELSE 0 END]
            + all_views[others / 2 + 1 + CASE WHEN others / 2 + 1 >= place THEN 1 ELSE 0 END]) / 2 AS usual
    FROM ranked LEFT JOIN sorted USING (channel_key, media_type, band, old_era)
    WHERE recency = 1
)
SELECT candidate_id, coalesce(others, 0) AS outlier_n, views / nullif(usual, 0) AS outlier_multiple
FROM measuring LEFT JOIN newest USING (candidate_id)
"""

# Rows are locked in the order of their keys, as every writer of candidates does, so that none waits in a ring.
_WRITE_MEASURED = """
ANALYZE grown;
ANALYZE standing_out;
CREATE TEMP TABLE differing ON COMMIT DROP AS
SELECT candidate_id, measuring.changed, measuring.changed_at, grown.velocity, grown.velocity_days,
    grown.velocity_before, grown.acceleration, grown.country_count, grown.growth,
    standing_out.outlier_multiple, standing_out.outlier_n
FROM measuring JOIN candidates USING (candidate_id) JOIN standing_out USING (candidate_id)
    LEFT JOIN grown USING (candidate_id)
WHERE measuring.changed
    OR (candidates.outlier_multiple, candidates.outlier_n)
        IS DISTINCT FROM (standing_out.outlier_multiple, standing_out.outlier_n);
ANALYZE differing;
SELECT FROM candidates WHERE candidate_id IN (SELECT candidate_id FROM differing)
ORDER BY candidate_id FOR NO KEY UPDATE;
UPDATE candidates SET
    velocity = differing.velocity, velocity_days = differing.velocity_days,
    velocity_before = differing.velocity_before, acceleration = differing.acceleration,
    country_count = differing.country_count, growth = differing.growth,
    outlier_multiple = differing.outlier_multiple, outlier_n = differing.outlier_n,
    measured_change = differing.changed_at
FROM differing WHERE differing.candidate_id = candidates.candidate_id AND differing.changed;
UPDATE candidates SET outlier_multiple = differing.outlier_multiple, outlier_n = differing.outlier_n
FROM differing WHERE differing.candidate_id = candidates.candidate_id AND NOT differing.changed;
"""


# --- summaries --------------------------------------------------------------------------------------


def _count_days(connection: Connection) -> None:
    """Snapshots and new candidates for each day (UTC)."""
    run(
        connection,
        """
        CREATE TEMP TABLE counted ON COMMIT DROP AS
        SELECT day, coalesce(snapshots, 0) AS snapshots, coalesce(candidates, 0) AS candidates
        FROM (SELECT (observed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS snapshots FROM snapshots GROUP BY 1) AS s
        FULL JOIN (
            SELECT (first_seen_at AT TIME ZONE 'UTC')::date AS day, count(*) AS candidates FROM candidates GROUP BY 1
        ) AS c USING (day);
        DELETE FROM daily_counts WHERE day NOT IN (SELECT day FROM counted);
        INSERT INTO daily_counts (day, snapshots, candidates) SELECT day, snapshots, candidates FROM counted
        ON CONFLICT (day) DO UPDATE SET snapshots = excluded.snapshots, candidates = excluded.candidates
        WHERE (daily_counts.snapshots, daily_counts.candidates) IS DISTINCT FROM (excluded.snapshots, excluded.candidates);
        DROP TABLE counted;
        """,
    )


def _patterns_are_due(connection: Connection) -> bool:
    """Whether enough was measured since the patterns were computed (`measure` keeps the count)."""
    state = connection.execute(
        text("SELECT data, clock_timestamp() - refreshed_at AS age FROM rollups WHERE name = 'title_patterns'")
    ).one_or_none()
    if state is None:
        return True
    changed = state.data["changed"]
    return changed > PATTERNS_AFTER_SHARE * state.data["videos"] or (changed > 0 and state.age > PATTERNS_AFTER)


def _write_patterns(connection: Connection) -> None:
    """Find the words of all titles anew, and replace the stored patterns of all videos and of large parts of them."""
    facts.mine(connection)
    known = facts.load(connection)
    found = [
        (scope, one, patterns.examples(known.corpus, one, members))
        for scope, members in patterns.large_scopes(known.scopes(), np.isfinite(known.multiple))
        for one in patterns.told_apart(known.corpus, members, scope)
    ]
    run(connection, "DELETE FROM title_patterns")
    columns = (
        "scope", "kind", "pattern", "n_videos", "n_channels", "lift", "lift_low", "lift_high", "q_value", "examples",
    )  # fmt: skip
    with copy(db.psycopg_connection(connection).cursor(), "title_patterns", columns) as rows:
        for scope, one, places in found:
            rows.write_row([scope, *(getattr(one, column) for column in columns[1:-1]), known.candidate_ids(places)])
    videos = int(np.isfinite(known.multiple).sum())
    write(connection, "title_patterns", {"videos": videos, "patterns": len(found), "changed": 0})
    logger.info("%d title patterns from %d videos", len(found), videos)


def counted(connection: Connection) -> dict:
    """How much there is, counted now, which takes seconds where there are millions; with the names of the "overview"."""
    totals = connection.execute(
        text(
            "SELECT count(*) AS candidates, count(viral_score) AS scored,"
            " count(*) FILTER (WHERE viral_score IS NOT NULL AND observed_at IS NULL) AS drafts_scored,"
            " count(velocity) AS with_velocity, count(outlier_multiple) AS with_outlier,"
            " count(*) FILTER (WHERE sample) AS sample, max(observed_at) AS newest_snapshot,"
            " (array_agg(model_version ORDER BY scored_at DESC NULLS LAST))[1] AS model_version,"
            " avg(base_rate) AS base_rate, (SELECT count(*) FROM snapshots) AS snapshots,"
            " (SELECT count(*) FROM channels) AS channels FROM candidates"
        )
    ).one()
    pictures = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE state = 'stored') AS thumbnails,"
            " coalesce(sum(bytes), 0)::bigint AS thumbnail_bytes FROM thumbnails"
        )
    ).one()
    newest = totals.newest_snapshot and totals.newest_snapshot.isoformat()
    return {**totals._mapping, "newest_snapshot": newest, **pictures._mapping}


def _overview(connection: Connection) -> dict:
    filters = connection.execute(
        text(
            "SELECT platform, media_type, category, language, count(*) AS n, grouping(platform, media_type, category) AS which"
            " FROM candidates GROUP BY GROUPING SETS ((platform), (media_type), (category), (language))"
            " ORDER BY n DESC, platform, media_type, category, language"
        )
    ).all()

    def choices(which: int, column: str) -> list[dict]:
        found = [row for row in filters if row.which == which and getattr(row, column) is not None]
        return [{"value": getattr(row, column), "n": row.n} for row in found[:MAX_FILTER_VALUES]]

    return {
        **counted(connection),
        "platforms": choices(0b011, "platform"),
        "formats": choices(0b101, "media_type"),
        "categories": choices(0b110, "category"),
        "languages": choices(0b111, "language"),
    }
