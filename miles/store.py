"""Observations into tables: the upsert that never loses a fact.

Every way in (yt-dlp, files, sample data) ends here. Observations are staged by COPY, reduced to one
row for each video, and merged by sets. The merge keeps, for each fact, the value of the latest
observation that had one (`seen_at`; of two at the same moment the greater), so that any order,
repetition or splitting of the same observations gives the same rows. Knows nothing about where
observations come from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range
from sqlalchemy import Connection

from miles import db
from miles.candidates import Observation

TAG_SEPARATOR = "\x1f"  # "unit separator": staged tags are one text, so that they compare and copy cheaply

STAGED_FACTS = (
    "candidate_id", "platform", "video_id", "url", "title", "description", "channel_key", "category",
    "duration", "language", "media_type", "published_at", "published_about", "tags", "thumbnail_url",
    "tier", "source", "sample", "first_at", "observed_at",
)  # fmt: skip
STAGED_CHANNELS = (
    "channel_key",
    "platform",
    "channel_id",
    "name",
    "url",
    "followers",
    "sample",
    "first_at",
    "observed_at",
)
STAGED_SNAPSHOTS = (
    "candidate_id", "observed_at", "views", "likes", "comments", "country", "exact", "tier", "source",
)  # fmt: skip

# What a later observation may change. Counts come from the snapshots.
CANDIDATE_FACTS = (
    "url", "title", "description", "channel_key", "category", "duration", "language", "media_type",
    "published_at", "published_about", "tags", "thumbnail_url",
)  # fmt: skip
COUNTS = ("views", "likes", "comments")
CHANNEL_FACTS = ("name", "url", "followers")
NUMBERS = {"duration", "published_at", "published_about", "followers", *COUNTS}  # the others are text
MERGE_MEMORY = "256MB"  # for the sorts of a merge; a million snapshots fit
REMOVAL_LOCK = 0x72656D6F7665  # advisory lock key ("remove"): shared by merges, taken alone to write a tombstone
BULK_ROWS = 20_000  # snapshots of a new month; fewer are not worth keeping other writers out for


@dataclass(frozen=True, slots=True)
class Changes:
    """What a merge did, in videos; `new` and `updated` are candidate ids."""

    new: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: int
    snapshots: int  # rows added or completed
    removed: tuple[str, ...] = ()  # left out: they were removed on request, or their channel was


def observe(connection: Connection, observations: Iterable[Observation], *, sample: bool = False) -> Changes:
    """Store observations; all of them or, on an error, none (the caller owns the transaction)."""
    stage(connection)
    stage_observations(connection, list(observations), sample=sample)
    return merge(connection)


def stage_observations(connection: Connection, rows: Sequence[Observation], *, sample: bool = False) -> None:
    """Add observations to the staging tables."""
    cursor = db.psycopg_connection(connection).cursor()
    with copy(cursor, "staged_facts", STAGED_FACTS) as facts:
        for row in rows:
            video, seen = row.candidate, row.snapshot.observed_at
            facts.write_row((
                video.key, video.platform, video.video_id, video.url, video.title, video.description,
                video.channel.key if video.channel else None, video.category, video.duration, video.language,
                video.media_type, video.published_at, video.published_about,
                TAG_SEPARATOR.join(video.tags) if video.tags else None, video.thumbnail_url,
                row.tier, row.source, sample, seen, seen,
            ))  # fmt: skip
    with copy(cursor, "staged_channels", STAGED_CHANNELS) as channels:
        for row in rows:
            if channel := row.candidate.channel:
                seen = row.snapshot.observed_at
                channels.write_row((
                    channel.key, channel.platform, channel.channel_id, channel.name, channel.url,
                    channel.followers, sample, seen, seen,
                ))  # fmt: skip
    with copy(cursor, "staged_snapshots", STAGED_SNAPSHOTS) as snapshots:
        for row in rows:
            shot = row.snapshot
            snapshots.write_row((
                row.candidate.key, shot.observed_at, shot.views, shot.likes, shot.comments, shot.country,
                shot.exact, row.tier, row.source,
            ))  # fmt: skip


def stage(connection: Connection) -> None:
    """Make the empty staging tables; they vanish with the transaction."""
    run(
        connection,
        """
        CREATE TEMP TABLE IF NOT EXISTS staged_facts (
            candidate_id text COLLATE "C", platform text, video_id text, url text, title text, description text,
            channel_key text COLLATE "C", category text, duration real, language text, media_type text,
            published_at timestamptz, published_about timestamptz, tags text, thumbnail_url text,
            tier text, source text, sample boolean, first_at timestamptz, observed_at timestamptz
        ) ON COMMIT DROP;
        CREATE TEMP TABLE IF NOT EXISTS staged_channels (
            channel_key text COLLATE "C", platform text, channel_id text, name text, url text, followers bigint,
            sample boolean, first_at timestamptz, observed_at timestamptz
        ) ON COMMIT DROP;
        CREATE TEMP TABLE IF NOT EXISTS staged_snapshots (
            candidate_id text COLLATE "C", observed_at timestamptz, views bigint, likes bigint, comments bigint,
            country text, exact boolean, tier text, source text
        ) ON COMMIT DROP;
        TRUNCATE staged_facts, staged_channels, staged_snapshots;
        """,
    )


def copy(cursor: psycopg.Cursor, table: str, columns: tuple[str, ...], options: str = "") -> psycopg.Copy:
    """Open a COPY into a staging table (psycopg's context manager)."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN {options}"
    return cursor.copy(statement.encode())  # type: ignore[return-value]


def merge(connection: Connection) -> Changes:
    """Merge what is staged into channels, candidates and snapshots.

    Rows are taken in the order of their keys, so that two merges at once wait for each other
    instead of locking each other out. (The upsert of candidates locks those too that it leaves as
    they are; what touches them later waits for nobody.) For the same reason new months, which keep
    other writers out, come before any row. New months of many snapshots are filled before the
    partition has its key and its reference to candidates: that takes less than half the time.
    """
    removed = _leave_out_removed(connection)
    run(connection, f"SET LOCAL work_mem = '{MERGE_MEMORY}'; ANALYZE staged_facts; ANALYZE staged_snapshots")
    run(connection, _REDUCE)
    bulk = run(connection, _NEW_PARTITIONS, {"bulk_rows": BULK_ROWS}).fetchall()
    for partition, month, following in bulk:
        run(connection, _fill(partition), {"month": month, "following": following})
    run(
        connection,
        "SELECT ensure_snapshot_partitions(min(observed_at), max(observed_at)) FROM moments HAVING count(*) > 0",
    )
    announce(connection)
    _delete(connection, removed)
    run(connection, _MERGE_CHANNELS)
    changed = run(connection, _MERGE_CANDIDATES).fetchall()
    new = {candidate_id for candidate_id, inserted in changed if inserted}
    for _, month, _ in bulk:
        run(connection, "SELECT attach_snapshot_partition(%(month)s)", {"month": month})
    run(connection, _INSERT_SNAPSHOTS, {"bulk": Multirange(Range(month, following) for _, month, following in bulk)})
    # a candidate whose facts stood, but which gained an older snapshot, must be measured again too
    touched = run(connection, _TOUCH).fetchall()
    updated = ({candidate_id for candidate_id, _ in changed} | {row[0] for row in touched}) - new
    (total,) = run(connection, "SELECT count(*) FROM reduced").fetchone() or (0,)
    (snapshots,) = run(connection, "SELECT coalesce(sum(snapshots), 0)::bigint FROM added").fetchone() or (0,)
    run(connection, "DROP TABLE moments, reduced, reduced_channels, added")
    return Changes(
        new=tuple(sorted(new)),
        updated=tuple(sorted(updated)),
        unchanged=total - len(new) - len(updated),
        snapshots=snapshots,
        removed=removed,
    )


def announce(connection: Connection) -> None:
    """Have it known that this transaction will write candidates; to be called before it locks a row of them.

    Whoever makes a new month of snapshots waits for those that announced themselves, and they for it. Without,
    one that holds rows would wait for the month, and the month's maker for the rows.
    """
    run(connection, "LOCK TABLE candidates IN ROW EXCLUSIVE MODE")


def run(connection: Connection, statement: str, parameters: dict[str, object] | None = None) -> psycopg.Cursor:
    """Run SQL as psycopg takes it (several statements, % left alone) inside the caller's transaction."""
    cursor = db.psycopg_connection(connection).cursor()
    return cursor.execute(statement.encode(), parameters)


def _leave_out_removed(connection: Connection) -> tuple[str, ...]:
    """Take what was removed on request out of what is staged; returns its candidate ids.

    A tombstone that is being written is waited for, and stands for whatever is merged after it.
    """
    run(connection, f"SELECT pg_advisory_xact_lock_shared({REMOVAL_LOCK})")
    if run(connection, "SELECT FROM removed LIMIT 1").fetchone() is None:
        return ()
    found = run(
        connection,
        """
        SELECT DISTINCT candidate_id FROM staged_facts
        WHERE candidate_id IN (SELECT key FROM removed WHERE kind = 'video')
            OR channel_key IN (SELECT key FROM removed WHERE kind = 'channel')
        ORDER BY candidate_id
        """,
    ).fetchall()
    removed = tuple(candidate_id for (candidate_id,) in found)
    for table in ("staged_facts", "staged_snapshots"):
        run(connection, f"DELETE FROM {table} WHERE candidate_id = ANY(%(removed)s)", {"removed": list(removed)})
    run(
        connection,
        "DELETE FROM staged_channels WHERE channel_key IN (SELECT key FROM removed WHERE kind = 'channel')",
    )
    return removed


def _delete(connection: Connection, removed: Sequence[str]) -> None:
    """Delete what a listing brought in before its channel, a removed one, was known."""
    ids: dict[str, object] = {"ids": list(removed)}
    run(connection, "SELECT FROM candidates WHERE candidate_id = ANY(%(ids)s) ORDER BY candidate_id FOR UPDATE", ids)
    run(connection, "DELETE FROM candidates WHERE candidate_id = ANY(%(ids)s)", ids)


def _comparable(value: str, fact: str) -> str:
    """A fact as it is compared where two are of the same moment: the same way on every server."""
    if fact in NUMBERS:
        return value
    if fact == "tags" and "." in value:  # an array in the tables, still one text where staged
        value = f"array_to_string({value}, E'{TAG_SEPARATOR}')"
    return f'{value} COLLATE "C"'


def _moment(moment: str) -> str:
    return f"(extract(epoch FROM {moment}) * 1000000)::bigint"


def _latest(fact: str) -> str:
    """The value and the moment of the latest row of a group that has the fact; the greater one of a tie."""
    return (
        f"(array_agg({fact} ORDER BY observed_at DESC, {_comparable(fact, fact)} DESC) FILTER (WHERE {fact} IS NOT NULL))[1]"
        f" AS {fact}, {_moment(f'max(observed_at) FILTER (WHERE {fact} IS NOT NULL)')} AS {fact}_at"
    )


def _only(fact: str) -> str:
    """The value and the moment of a fact in a row that is alone in its group: what _latest gives, at once."""
    return f"{fact}, CASE WHEN {fact} IS NOT NULL THEN {_moment('observed_at')} END AS {fact}_at"


def _latest_count(count: str) -> str:
    """[moment, count] of the latest row that has the count; arrays compare element by element."""
    return f"max(ARRAY[{_moment('observed_at')}, {count}]) FILTER (WHERE {count} IS NOT NULL) AS {count}"


def _seen_at(facts: Iterable[str]) -> str:
    pairs = ", ".join(f"'{fact}', {fact}_at" for fact in facts)
    return f"jsonb_strip_nulls(jsonb_build_object({pairs}))"


def _newer(table: str, fact: str) -> str:
    """Whether the incoming value of a fact replaces the stored one."""
    stored, incoming = f"({table}.seen_at->>'{fact}')::bigint", f"(excluded.seen_at->>'{fact}')::bigint"
    greater = f"{_comparable(f'excluded.{fact}', fact)} > {_comparable(f'{table}.{fact}', fact)}"
    return (
        f"(excluded.{fact} IS NOT NULL AND ({table}.{fact} IS NULL OR {incoming} > {stored}"
        f" OR ({incoming} = {stored} AND {greater})))"
    )


def _set_facts(table: str, facts: Iterable[str]) -> str:
    """The SET list that takes each newer fact and remembers when it was seen."""
    facts = tuple(facts)
    values = [
        f"{fact} = CASE WHEN {_newer(table, fact)} THEN excluded.{fact} ELSE {table}.{fact} END" for fact in facts
    ]
    moments = ", ".join(
        f"'{fact}', greatest(({table}.seen_at->>'{fact}')::bigint, (excluded.seen_at->>'{fact}')::bigint)"
        for fact in facts
    )
    return ", ".join([*values, f"seen_at = jsonb_strip_nulls(jsonb_build_object({moments}))"])


def _any_newer(table: str, facts: Iterable[str]) -> str:
    return " OR ".join(_newer(table, fact) for fact in facts)


# Most videos of a file have one version of their facts, or came once: those need no aggregates, which
# would take most of the time.
_REDUCE = f"""
CREATE TEMP TABLE moments ON COMMIT DROP AS
SELECT candidate_id, observed_at, max(views) AS views, max(likes) AS likes, max(comments) AS comments,
    min(country COLLATE "C") AS country, bool_or(exact) AS exact, max(tier COLLATE "C") AS tier,
    max(source COLLATE "C") AS source
FROM staged_snapshots GROUP BY candidate_id, observed_at ORDER BY candidate_id, observed_at;
ANALYZE moments;

CREATE TEMP TABLE reduced ON COMMIT DROP AS
WITH counts AS (
    SELECT candidate_id, {", ".join(_latest_count(count) for count in COUNTS)}
    FROM moments GROUP BY candidate_id
), groups AS (
    SELECT candidate_id, count(*) = 1 AS alone FROM staged_facts GROUP BY candidate_id
), facts AS (
    SELECT candidate_id, platform, video_id, {", ".join(_only(fact) for fact in CANDIDATE_FACTS)},
        tier, source, sample, first_at AS first_seen_at, observed_at AS last_seen_at
    FROM staged_facts WHERE candidate_id IN (SELECT candidate_id FROM groups WHERE alone)
  UNION ALL
    SELECT candidate_id, min(platform), min(video_id), {", ".join(_latest(fact) for fact in CANDIDATE_FACTS)},
        max(tier COLLATE "C"),  -- 'full' > 'flat'
        (array_agg(source ORDER BY observed_at DESC, source COLLATE "C" DESC))[1],
        bool_and(sample), min(first_at), max(observed_at)
    FROM staged_facts WHERE candidate_id IN (SELECT candidate_id FROM groups WHERE NOT alone)
    GROUP BY candidate_id
)
SELECT facts.*, views[2] AS views, likes[2] AS likes, comments[2] AS comments,
    to_timestamp(views[1] / 1000000) + (views[1] % 1000000) * interval '1 microsecond' AS observed_at,
    {_seen_at(CANDIDATE_FACTS)} || jsonb_strip_nulls(jsonb_build_object({
    ", ".join(f"'{count}', {count}[1]" for count in COUNTS)
})) AS seen_at
FROM facts LEFT JOIN counts USING (candidate_id);

CREATE TEMP TABLE reduced_channels ON COMMIT DROP AS
SELECT channel_key, platform, channel_id, name, url, followers, sample, first_seen_at, last_seen_at,
    {_seen_at(CHANNEL_FACTS)} AS seen_at
FROM (
    SELECT channel_key, min(platform) AS platform, min(channel_id) AS channel_id,
        {", ".join(_latest(fact) for fact in CHANNEL_FACTS)},
        bool_and(sample) AS sample, min(first_at) AS first_seen_at, max(observed_at) AS last_seen_at
    FROM staged_channels GROUP BY channel_key
) AS channels;
"""

_MERGE_CHANNELS = f"""
INSERT INTO channels
    (channel_key, platform, channel_id, name, url, followers, seen_at, sample, first_seen_at, last_seen_at)
SELECT channel_key, platform, channel_id, name, url, followers, seen_at, sample, first_seen_at, last_seen_at
FROM reduced_channels ORDER BY channel_key
ON CONFLICT (channel_key) DO UPDATE SET
    {_set_facts("channels", CHANNEL_FACTS)},
    sample = channels.sample AND excluded.sample,
    first_seen_at = least(channels.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(channels.last_seen_at, excluded.last_seen_at)
WHERE {_any_newer("channels", CHANNEL_FACTS)}
    OR channels.sample > excluded.sample
    OR excluded.first_seen_at < channels.first_seen_at OR excluded.last_seen_at > channels.last_seen_at
"""

_CANDIDATE_COLUMNS = (
    "candidate_id", "platform", "video_id", *CANDIDATE_FACTS, *COUNTS, "observed_at", "seen_at", "tier", "source",
    "sample", "first_seen_at", "last_seen_at",
)  # fmt: skip

_MERGE_CANDIDATES = f"""
INSERT INTO candidates ({", ".join(_CANDIDATE_COLUMNS)})
SELECT {", ".join(_CANDIDATE_COLUMNS).replace(" tags,", f" string_to_array(tags, E'{TAG_SEPARATOR}'),")}
FROM reduced ORDER BY candidate_id
ON CONFLICT (candidate_id) DO UPDATE SET
    {_set_facts("candidates", (*CANDIDATE_FACTS, *COUNTS))},
    observed_at = greatest(candidates.observed_at, excluded.observed_at),
    tier = greatest(candidates.tier COLLATE "C", excluded.tier),
    source = CASE WHEN (excluded.last_seen_at, excluded.source COLLATE "C") > (candidates.last_seen_at, candidates.source)
        THEN excluded.source ELSE candidates.source END,
    sample = candidates.sample AND excluded.sample,
    first_seen_at = least(candidates.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(candidates.last_seen_at, excluded.last_seen_at),
    changed_at = clock_timestamp()
WHERE {_any_newer("candidates", (*CANDIDATE_FACTS, *COUNTS))}
    OR excluded.tier COLLATE "C" > candidates.tier
    OR candidates.sample > excluded.sample
    OR excluded.first_seen_at < candidates.first_seen_at OR excluded.last_seen_at > candidates.last_seen_at
    OR (excluded.last_seen_at = candidates.last_seen_at AND excluded.source COLLATE "C" > candidates.source)
RETURNING candidate_id, xmax = 0
"""

# The months that begin with so many rows at once that they are loaded before their partition has a key.
_NEW_PARTITIONS = """
SELECT name, month, (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
FROM (
    SELECT date_trunc('month', observed_at, 'UTC') AS month FROM moments
    GROUP BY 1 HAVING count(*) >= %(bulk_rows)s ORDER BY 1
) AS months, new_snapshot_partition(month) AS name
WHERE name IS NOT NULL
"""

_SNAPSHOT_COLUMNS = ", ".join(STAGED_SNAPSHOTS)


def _fill(partition: str) -> str:
    return f"""
        INSERT INTO {partition} ({_SNAPSHOT_COLUMNS}) SELECT {_SNAPSHOT_COLUMNS} FROM moments
        WHERE observed_at >= %(month)s AND observed_at < %(following)s
    """


# A snapshot is never overwritten; two answers for the same moment are joined: what one lacks the other
# gives, and of two counts the greater stands (counts grow, so it is the later look).
_INSERT_SNAPSHOTS = f"""
CREATE TEMP TABLE added ON COMMIT DROP AS
WITH written AS (
    INSERT INTO snapshots ({_SNAPSHOT_COLUMNS}) SELECT {_SNAPSHOT_COLUMNS}
    FROM moments WHERE NOT observed_at <@ %(bulk)s::tstzmultirange  -- made in the order of the key
    ON CONFLICT (candidate_id, observed_at) DO UPDATE SET
        views = greatest(snapshots.views, excluded.views),
        likes = greatest(snapshots.likes, excluded.likes),
        comments = greatest(snapshots.comments, excluded.comments),
        country = least(snapshots.country COLLATE "C", excluded.country),
        exact = snapshots.exact OR excluded.exact,
        tier = greatest(snapshots.tier COLLATE "C", excluded.tier),
        source = greatest(snapshots.source COLLATE "C", excluded.source)
    WHERE (snapshots.views, snapshots.likes, snapshots.comments, snapshots.country, snapshots.exact,
            snapshots.tier, snapshots.source)
        IS DISTINCT FROM (greatest(snapshots.views, excluded.views), greatest(snapshots.likes, excluded.likes),
            greatest(snapshots.comments, excluded.comments), least(snapshots.country COLLATE "C", excluded.country),
            snapshots.exact OR excluded.exact, greatest(snapshots.tier COLLATE "C", excluded.tier),
            greatest(snapshots.source COLLATE "C", excluded.source))
    RETURNING candidate_id
)
SELECT candidate_id, count(*) AS snapshots FROM (
    SELECT candidate_id FROM written
  UNION ALL
    SELECT candidate_id FROM moments WHERE observed_at <@ %(bulk)s::tstzmultirange
) AS together GROUP BY candidate_id
"""

_TOUCH = """
UPDATE candidates SET changed_at = clock_timestamp()
FROM added WHERE added.candidate_id = candidates.candidate_id AND candidates.changed_at < now()
RETURNING candidates.candidate_id
"""
