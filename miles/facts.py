"""Numbers of all videos as columns in memory, and which of them pass a filter.

The roll-up `sync` keeps the table `facts`: one narrow row for each video. `load` reads it whole, in the binary form
that PostgreSQL sends and numpy understands (about a million rows a second), and `selection.passing` answers a filter
in milliseconds, so that distributions and title patterns of any part of the data need no query of their own.

Knows nothing about filters and pages; `ui/data.py` keeps what `load` returns for all of its visitors.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from sqlalchemy import Connection, text

from miles import db, patterns, title_words
from miles.store import copy, run
from miles.strings import Strings, in_order

logger = logging.getLogger(__name__)

ROLLUP = "facts"  # in `rollups`: what `version` compares
NONE = np.iinfo(np.int64).min  # -infinity as PostgreSQL sends a moment that is not known
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # from which it counts microseconds
SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
CHANNEL = "hashtextextended('channel ' || channel_key, 0)"  # a channel as the table has it, as SQL
READ_AT_ONCE = 20_000  # titles

# The table as sent: name, type there, SQL that sends it and leaves no NULL (each row is then as long as any other).
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("number", ">i4", "int4send(number)"),
    ("channel", ">i8", "int8send(channel)"),
    ("platform", ">i2", "int2send(platform)"),
    ("format", ">i2", "int2send(coalesce(format, 0::smallint))"),
    ("category", ">i2", "int2send(coalesce(category, 0::smallint))"),
    ("language", ">i2", "int2send(coalesce(language, 0::smallint))"),
    ("duration", ">f4", "float4send(coalesce(duration, 'NaN'::real))"),
    ("published", ">i8", "timestamptz_send(coalesce(published_at, '-infinity'::timestamptz))"),
    ("observed", ">i8", "timestamptz_send(coalesce(observed_at, '-infinity'::timestamptz))"),
    ("views", ">i8", "int8send(coalesce(views, -1))"),
    ("score", ">f8", "float8send(coalesce(viral_score, 'NaN'::float8))"),
    ("base_rate", ">f8", "float8send(coalesce(base_rate, 'NaN'::float8))"),
    ("multiple", ">f8", "float8send(coalesce(outlier_multiple, 'NaN'::float8))"),
    ("velocity", ">f8", "float8send(coalesce(velocity, 'NaN'::float8))"),
    ("predicted", ">f8", "float8send(coalesce(predicted_velocity, 'NaN'::float8))"),
    ("acceleration", ">f8", "float8send(coalesce(acceleration, 'NaN'::float8))"),
    ("engagement", ">f8", "float8send(coalesce(engagement_rate, 'NaN'::float8))"),
    ("lifetime", ">f8", "float8send(coalesce(lifetime_velocity, 'NaN'::float8))"),
    ("forms", ">i8", "int8send(forms)"),
)
_SENT = np.dtype([(name, kind) for name, kind, _ in _COLUMNS])
_READ = f"""
SELECT string_agg({" || ".join(sql for *_, sql in _COLUMNS)}, '') FROM facts WHERE number >= %s AND number < %s
"""
NUMBERS_AT_ONCE = 2_000_000  # the server makes at most a gigabyte of them


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Columns of the same length, the videos of each channel side by side."""

    version: str  # changes with what is in the tables
    number: np.ndarray  # int32
    channel: np.ndarray  # int32, ascending from 0
    channel_hash: np.ndarray  # (channels,) int64, ascending: what the table has in place of `channel`
    platform: np.ndarray  # int16, as the next three: a code in `codes`, 0 unknown
    format: np.ndarray
    category: np.ndarray
    language: np.ndarray
    duration: np.ndarray  # float32, seconds; NaN unknown, as in all that are floats
    published: np.ndarray  # int64, microseconds since EPOCH; NONE unknown
    observed: np.ndarray  # the same
    views: np.ndarray  # int64; -1 unknown
    score: np.ndarray  # float64, as the next seven
    base_rate: np.ndarray
    multiple: np.ndarray
    velocity: np.ndarray  # views per day, as the next
    predicted: np.ndarray
    acceleration: np.ndarray  # views per day, each day
    engagement: np.ndarray  # likes and comments for each view
    lifetime: np.ndarray  # views per day since publishing
    by_score: np.ndarray  # (scored videos,) int32, their positions, the least score first
    scores: np.ndarray  # the same, float64: those scores, ascending
    one_base_rate: float | None  # that of all scores, if they have the same one, as those of one model have
    rank: np.ndarray  # int32, the position of its candidate's id in `ids`
    ids: Strings  # (at least as many,) ascending, as the database sorts them
    corpus: patterns.Corpus  # the same videos in the same order
    words: title_words.Words  # of the titles, which it knows by their videos' numbers
    codes: Mapping[str, Mapping[str, int]]  # kind -> value -> code
    place: np.ndarray  # (highest number + 1,) position of a number, -1 where there is none

    def __len__(self) -> int:
        return len(self.number)

    def candidate_ids(self, at: Iterable[int]) -> list[str]:
        """Those of the videos at these positions."""
        return [self.ids[int(self.rank[one])] for one in at]

    def age(self) -> np.ndarray:
        """Microseconds from publishing to the newest look; NONE where either is unknown."""
        known = (self.published != NONE) & (self.observed != NONE)
        return np.where(known, self.observed - self.published, NONE)

    def scopes(self) -> dict[str, np.ndarray]:
        """The parts of the data that title patterns are kept of, by name ("category:Music"), as bools."""
        found: dict[str, np.ndarray] = {}
        for kind, values in self.codes.items():
            for value, code in values.items():
                name = f"{kind}:{value.split('-')[0] if kind == 'language' else value}"
                mask = (getattr(self, kind) == code) & np.isfinite(self.multiple)
                found[name] = found[name] | mask if name in found else mask
        return found


def version(connection: Connection) -> str:
    """What stands for the present content of the tables."""
    return str(connection.scalar(text("SELECT refreshed_at FROM rollups WHERE name = :name"), {"name": ROLLUP}))


def load(connection: Connection) -> Facts:
    """Read all columns."""
    now = version(connection)  # first: what changes meanwhile has a later one, and is read the next time
    ids, sorted_by_id = _ids(connection)
    codes: dict[str, dict[str, int]] = {}
    for code, kind, value in connection.execute(text("SELECT code, kind, value FROM fact_codes")):
        codes.setdefault(kind, {})[value] = code
    rows = _rows(connection, int(sorted_by_id.max(initial=-1)))
    if not (old := np.isin(rows["number"], sorted_by_id)).all():
        rows = rows[old]
    channel_hash, channel = np.unique(rows["channel"].astype(np.int64), return_inverse=True)
    order = np.argsort(channel, kind="stable")
    columns = {
        name: rows[name][order].astype(np.dtype(kind).newbyteorder("="))
        for name, kind, _ in _COLUMNS
        if name != "channel"
    }
    forms = columns.pop("forms")
    place = np.full(int(columns["number"].max(initial=-1)) + 1, -1, dtype=np.int32)
    place[columns["number"]] = np.arange(len(order), dtype=np.int32)
    by_number = np.argsort(sorted_by_id).astype(np.int32)
    rank = by_number[np.searchsorted(sorted_by_id, columns["number"], sorter=by_number)]
    scored = np.flatnonzero(~np.isnan(columns["score"]))
    by_score = scored[np.argsort(columns["score"][scored])].astype(np.int32)
    base_rates = np.unique(columns["base_rate"][scored])
    published = columns["published"]
    ngrams, videos = [], []
    for ngram, numbers in connection.execute(text("SELECT ngram, videos FROM title_ngrams ORDER BY ngram")):
        ngrams.append(ngram)
        videos.append(np.frombuffer(numbers, dtype="<i4"))
    hit_video = np.concatenate(videos) if videos else np.zeros(0, dtype=np.int32)
    hit_ngram = np.repeat(np.arange(len(ngrams)), [len(one) for one in videos])
    within = hit_video < len(place)
    at = place[hit_video[within]]
    return Facts(
        version=now,
        channel=channel[order].astype(np.int32),
        channel_hash=channel_hash,
        **columns,
        by_score=by_score,
        scores=columns["score"][by_score],
        one_base_rate=float(base_rates[0]) if len(base_rates) == 1 else None,
        rank=rank,
        ids=ids,
        corpus=patterns.Corpus.of(
            channel=channel[order],
            outcome=patterns.log_outcome(columns["multiple"]),
            forms=forms,
            week=np.where(published == NONE, -1, week_of(published)),
            ngrams=ngrams,
            hit_video=at[at >= 0],
            hit_ngram=hit_ngram[within][at >= 0],
        ),
        words=title_words.load(connection),
        codes=codes,
        place=place,
    )


def _rows(connection: Connection, highest: int) -> np.ndarray:
    """The table, up to a number."""
    parts = []
    with db.psycopg_connection(connection).cursor(binary=True) as cursor:
        for begin in range(0, highest + 1, NUMBERS_AT_ONCE):
            cursor.execute(_READ.encode(), (begin, begin + NUMBERS_AT_ONCE))
            [(sent,)] = cursor.fetchall()
            parts.append(np.frombuffer(bytes(sent or b""), dtype=_SENT))
    return np.concatenate(parts) if parts else np.empty(0, dtype=_SENT)


def _ids(connection: Connection) -> tuple[Strings, np.ndarray]:
    """The candidates' ids, ascending, and (ids,) the number of each."""
    asked = f"SELECT {in_order('candidate_id')}, string_agg(int4send(number), '' ORDER BY candidate_id) FROM facts"
    lengths, ids, numbers = (bytes(sent or b"") for sent in connection.execute(text(asked)).one())
    return Strings(lengths, ids), np.frombuffer(numbers, dtype=">i4").astype(np.int32)


def week_of(moment: np.ndarray) -> np.ndarray:
    """The number of the week, Monday to Sunday (UTC), from that of EPOCH on."""
    return np.maximum((moment // DAY + EPOCH.weekday()) // 7, 0)


def monday(week: int) -> date:
    """The first day of a week as `week_of` counts them."""
    return (EPOCH + timedelta(days=7 * week - EPOCH.weekday())).date()


# --- the roll-up ------------------------------------------------------------------------------------

_CODES = """
INSERT INTO fact_codes (kind, value)
SELECT kind, value FROM (
    SELECT CASE grouping(platform, media_type, category, language)
            WHEN 7 THEN 'platform' WHEN 11 THEN 'format' WHEN 13 THEN 'category' ELSE 'language' END AS kind,
        coalesce(platform, media_type, category, language) AS value
    FROM candidates GROUP BY GROUPING SETS ((platform), (media_type), (category), (language))
) AS found WHERE value IS NOT NULL
EXCEPT SELECT kind, value FROM fact_codes
ORDER BY kind, value
"""

_FACTS = (
    "title_hash", "channel", "platform", "format", "category", "language", "duration", "published_at", "observed_at",
    "views", "viral_score", "base_rate", "outlier_multiple", "velocity", "predicted_velocity", "acceleration",
    "engagement_rate", "lifetime_velocity",
)  # fmt: skip

# Compared with what is there and written only where it differs: whatever changed a video, and whether or not it said
# so, the facts follow.
_NOW = f"""
CREATE TEMP TABLE facts_now ON COMMIT DROP AS
SELECT candidate_id, hashtextextended(title, 0) AS title_hash, coalesce({CHANNEL}, hashtextextended('video ' || candidate_id, 0)) AS channel,
    platforms.code AS platform, formats.code AS format, categories.code AS category, languages.code AS language,
    duration, published_at, observed_at, views, viral_score, base_rate, outlier_multiple, velocity, predicted_velocity,
    acceleration, engagement_rate, lifetime_velocity
FROM candidates
    JOIN fact_codes AS platforms ON platforms.kind = 'platform' AND platforms.value = platform
    LEFT JOIN fact_codes AS formats ON formats.kind = 'format' AND formats.value = media_type
    LEFT JOIN fact_codes AS categories ON categories.kind = 'category' AND categories.value = category
    LEFT JOIN fact_codes AS languages ON languages.kind = 'language' AND languages.value = language;
ANALYZE facts_now;
"""
_CHANGES = (
    """
    DELETE FROM facts USING facts_now
    WHERE facts.candidate_id = facts_now.candidate_id AND facts.title_hash <> facts_now.title_hash
    """,
    f"""
    UPDATE facts SET ({", ".join(_FACTS)}) = ({", ".join(f"facts_now.{name}" for name in _FACTS)})
    FROM facts_now WHERE facts.candidate_id = facts_now.candidate_id
        AND ({", ".join(f"facts.{name}" for name in _FACTS)})
        IS DISTINCT FROM ({", ".join(f"facts_now.{name}" for name in _FACTS)})
    """,
)
_NEW = """
SELECT candidate_id, title FROM facts_now JOIN candidates USING (candidate_id)
WHERE NOT EXISTS (SELECT FROM facts WHERE facts.candidate_id = facts_now.candidate_id)
"""
_WRITE_NEW = f"""
INSERT INTO facts (candidate_id, {", ".join(_FACTS)}, forms)
SELECT candidate_id, {", ".join(_FACTS)}, forms FROM facts_now JOIN titles_read USING (candidate_id) ORDER BY channel
"""


def sync(connection: Connection, *, words: bool = True) -> int:
    """Bring the facts up to what the candidates say, and read the titles that are new; returns how many changed.

    Without `words` their n-grams are left to `mine`, which the caller runs next.
    """
    run(connection, _CODES)
    run(connection, _NOW)
    changed = sum(run(connection, statement).rowcount for statement in _CHANGES)
    changed += _take_in(connection, words=words)
    run(connection, "DROP TABLE facts_now")
    gone = connection.scalar(text("SELECT count(*) FROM facts")) != _known(connection)  # those that were deleted
    if changed or gone:
        _mark(connection)
    return changed


def _known(connection: Connection) -> int | None:
    return connection.scalar(text("SELECT (data->>'videos')::bigint FROM rollups WHERE name = :name"), {"name": ROLLUP})


def _mark(connection: Connection) -> None:
    """Give the tables' content a new version."""
    connection.execute(
        text(
            "INSERT INTO rollups (name, data, refreshed_at)"
            " SELECT :name, jsonb_build_object('videos', count(*)), clock_timestamp() FROM facts"
            " ON CONFLICT (name) DO UPDATE SET data = excluded.data, refreshed_at = excluded.refreshed_at"
        ),
        {"name": ROLLUP},
    )


def _take_in(connection: Connection, *, words: bool) -> int:
    """Write the facts of new videos, whose titles are read for their forms and the known n-grams; returns how many."""
    names = list(connection.scalars(text("SELECT ngram FROM title_ngrams"))) if words else []
    known = {ngram: at for at, ngram in enumerate(names)}
    found: dict[int, list[int]] = {}  # position in `names` -> lines in titles_read
    run(connection, "CREATE TEMP TABLE titles_read (line integer, candidate_id text, forms bigint) ON COMMIT DROP")
    connect = db.psycopg_connection(connection)
    read = 0
    with connect.cursor(name="unread") as unread, connect.cursor() as cursor:
        unread.itersize = READ_AT_ONCE
        unread.execute(_NEW)
        while rows := unread.fetchmany(READ_AT_ONCE):
            with copy(cursor, "titles_read", ("line", "candidate_id", "forms")) as target:
                for line, (candidate_id, title) in enumerate(rows, start=read):
                    target.write_row((line, candidate_id, patterns.forms(title)))
                    for at in patterns.ngrams_in(title, known) if known else ():
                        found.setdefault(at, []).append(line)
            read += len(rows)
    if read:
        run(connection, "ANALYZE titles_read")
        run(connection, _WRITE_NEW)
    if found:
        numbers = np.empty(read, dtype="<i4")
        for line, number in run(connection, "SELECT line, number FROM titles_read JOIN facts USING (candidate_id)"):
            numbers[line] = number
        for at, lines in found.items():
            connection.execute(
                text("UPDATE title_ngrams SET videos = videos || :more WHERE ngram = :ngram"),
                {"ngram": names[at], "more": np.sort(numbers[lines]).tobytes()},
            )
    run(connection, "DROP TABLE titles_read")
    return read


def mine(connection: Connection) -> int:
    """Find the n-grams of all titles anew; returns how many there are."""
    with db.psycopg_connection(connection).cursor(name="titles") as cursor:
        cursor.itersize = READ_AT_ONCE
        cursor.execute("SELECT number, title FROM facts JOIN candidates USING (candidate_id)")
        found = patterns.find_ngrams(cursor)
    run(connection, "DELETE FROM title_ngrams")
    order = np.lexsort((found.video, found.ngram))
    videos = found.video[order].astype("<i4")
    ends = np.cumsum(np.bincount(found.ngram, minlength=len(found.ngrams)))
    with copy(db.psycopg_connection(connection).cursor(), "title_ngrams", ("ngram", "videos")) as target:
        for at, ngram in enumerate(found.ngrams):
            target.write_row((ngram, videos[ends[at - 1] if at else 0 : ends[at]].tobytes()))
    _mark(connection)
    logger.info("%d words and phrases", len(found.ngrams))
    return len(found.ngrams)
