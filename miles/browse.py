"""Reads for the pages that explore: candidates by filter and sort, one candidate, distributions, patterns.

Each question is one bounded query: a page of rows, a capped count, a histogram. Nothing here writes, and
nothing here knows who shows the answer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, text

Sort = Literal["score", "velocity", "outlier", "age", "views"]

# Each order has an index of the same shape in the migrations, so a page is a short walk along it.
SORTS: dict[Sort, str] = {
    "score": "viral_score DESC NULLS LAST, candidate_id",
    "velocity": "velocity DESC NULLS LAST, candidate_id",
    "outlier": "outlier_multiple DESC NULLS LAST, candidate_id",
    "age": "published_at DESC NULLS LAST, candidate_id",
    "views": "views DESC NULLS LAST, candidate_id",
}

# Bands in seconds, [from, to).
DURATIONS: dict[str, tuple[float, float | None]] = {
    "up to 1 min": (0, 60.5),  # a Short of "60 s" may be 60.4
    "1–3 min": (60.5, 180.5),
    "3–10 min": (180.5, 600),
    "10–30 min": (600, 1800),
    "over 30 min": (1800, None),
}
# Age of a video when it was last seen, in days, [from, to).
AGES: dict[str, tuple[float, float | None]] = {
    "under 1 day": (0, 1),
    "1–2 days": (1, 3),
    "3–6 days": (3, 7),
    "1–4 weeks": (7, 28),
    "1–3 months": (28, 91),
    "over 3 months": (91, None),
}

COUNT_CAP = 10_000  # beyond it "more than 10,000" says enough, and counting on would cost a scan
SCORE_BINS = 50  # bins of the score's histogram: 2 in 100 each
DECADE_BINS = 6  # bins for each factor of ten of a velocity
MOST_SNAPSHOTS = 2_000  # of one candidate; a video seen daily in 110 countries for two weeks has 1,500


@dataclass(frozen=True, slots=True)
class Filters:
    """What a set of candidates has in common; the default is all of them. Hashable, so it keys caches."""

    text: str = ""  # words of the title, as typed into a web search: "quoted phrase", or, -not
    platforms: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()  # short, video, live
    categories: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    channel: str = ""  # a channel key, or words of a channel's name
    durations: tuple[str, ...] = ()  # names of DURATIONS
    published_from: date | None = None  # UTC days, both included
    published_to: date | None = None
    score_from: int = 0  # in 100, both included
    score_to: int = 100

    @property
    def active(self) -> int:
        """How many of the filters narrow the set."""
        default = Filters()
        return sum(getattr(self, f.name) != getattr(default, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate as lists show it."""

    candidate_id: str
    platform: str
    video_id: str
    title: str
    url: str | None
    channel_key: str | None
    channel_name: str | None
    followers: int | None
    category: str | None
    duration: float | None  # seconds
    language: str | None
    media_type: str | None
    published_at: datetime | None
    published_about: datetime | None
    views: int | None
    likes: int | None
    comments: int | None
    observed_at: datetime | None
    velocity: float | None  # measured views per day
    velocity_days: float | None  # between the two snapshots that it was measured from
    outlier_multiple: float | None
    outlier_n: int | None  # videos of the channel that it is compared with
    country_count: int | None
    viral_score: float | None
    base_rate: float | None
    predicted_multiple: float | None
    predicted_velocity: float | None  # views per day
    velocity_low: float | None
    velocity_high: float | None
    score_note: str | None
    model_version: str | None
    scored_at: datetime | None
    sample: bool
    thumbnail: str | None  # sha256 in the storage

    @property
    def lifetime_velocity(self) -> float | None:
        """Views per day since it was published: not what it gains now."""
        if self.views is None or self.observed_at is None or self.published_at is None:
            return None
        days = (self.observed_at - self.published_at) / timedelta(days=1)
        return self.views / days if days > 0 else None

    @property
    def channel_baseline(self) -> float | None:
        """The views that are usual for the channel: what the outlier multiple was divided by."""
        if not self.outlier_multiple or self.views is None:
            return None
        return self.views / self.outlier_multiple


ROW_COLUMNS = (
    *(f"c.{f.name}" for f in fields(Row) if f.name not in {"channel_name", "followers", "thumbnail"}),
    "ch.name AS channel_name",
    "ch.followers",
    "t.sha256 AS thumbnail",
)
ROW_JOINS = (
    "LEFT JOIN channels ch ON ch.channel_key = c.channel_key LEFT JOIN thumbnails t ON t.candidate_id = c.candidate_id"
)


@dataclass(frozen=True, slots=True)
class Look:
    """One snapshot as the detail draws it."""

    observed_at: datetime
    views: int | None
    likes: int | None
    comments: int | None
    country: str | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Detail:
    """All there is to say about one candidate."""

    row: Row
    description: str | None
    tags: tuple[str, ...]
    channel_url: str | None
    channel_videos: int  # of this channel, known to Miles
    source: str
    first_seen_at: datetime
    looks: tuple[Look, ...]  # oldest first


@dataclass(frozen=True, slots=True)
class State:
    """How much there is and how old it is."""

    candidates: int
    sample: int  # of them invented
    scored: int
    newest: datetime | None  # the newest look at any video
    base_rate: float | None  # of the newest score
    model_version: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """What the filters offer: each value with its number of videos, the most frequent first."""

    platforms: Mapping[str, int]
    formats: Mapping[str, int]
    categories: Mapping[str, int]
    languages: Mapping[str, int]
    published_from: date | None
    published_to: date | None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Scores of one group: counts of SCORE_BINS equal bins over 0..1."""

    kind: str  # platform, category, duration, age
    group: str
    counts: tuple[int, ...]

    @property
    def n(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The score below which `share` of the group lies, interpolated within its bin."""
        wanted, below = share * self.n, 0
        for position, inside in enumerate(self.counts):
            if inside and below + inside >= wanted:
                return (position + (wanted - below) / inside) / len(self.counts)
            below += inside
        return 1.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Predicted against measured velocity: a density over logarithmic cells, and how well they agree."""

    cells: tuple[tuple[int, int, int], ...]  # (measured, predicted, n); a cell is 1/DECADE_BINS of a decade
    n: int
    correlation: float | None  # Pearson's, of the logarithms
    inside: float | None  # share of measured velocities within the predicted interval
    factor: float | None  # median of the larger ÷ the smaller


@dataclass(frozen=True, slots=True)
class Scores:
    """What the Scores page shows of a set of candidates."""

    histograms: tuple[Histogram, ...]
    agreement: Agreement
    base_rate: float | None

    def of(self, kind: str) -> tuple[Histogram, ...]:
        """The groups of one kind."""
        return tuple(h for h in self.histograms if h.kind == kind)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A title pattern and what goes with it (see miles.patterns)."""

    scope: str
    kind: str  # structure or ngram
    pattern: str
    n_videos: int
    n_channels: int
    lift: float
    lift_low: float
    lift_high: float
    q_value: float
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Day:
    """What came in on one day (UTC)."""

    day: date
    snapshots: int
    candidates: int


def conditions(filters: Filters) -> tuple[str, dict[str, Any]]:
    """The WHERE clause over candidates `c` for a set of filters, and its parameters."""
    clauses: list[str] = []
    values: dict[str, Any] = {}
    if filters.text.strip():
        clauses.append("to_tsvector('simple', c.title) @@ websearch_to_tsquery('simple', :text)")
        values["text"] = filters.text.replace("\x00", " ")
    for column, chosen in (
        ("platform", filters.platforms),
        ("media_type", filters.formats),
        ("category", filters.categories),
        ("language", filters.languages),
    ):
        if chosen:
            clauses.append(f"c.{column} = ANY(:{column})")
            values[column] = list(chosen)
    if filters.channel.strip():
        clauses.append(
            "c.channel_key IN (SELECT channel_key FROM channels WHERE channel_key = :channel"
            " OR to_tsvector('simple', coalesce(name, '')) @@ plainto_tsquery('simple', :channel))"
        )
        values["channel"] = filters.channel.replace("\x00", " ").strip()
    if bands := [DURATIONS[name] for name in filters.durations if name in DURATIONS]:
        clauses.append(
            "("
            + " OR ".join(
                f"(c.duration >= {low}" + (f" AND c.duration < {high})" if high is not None else ")")
                for low, high in bands
            )
            + ")"
        )
    if filters.published_from:
        clauses.append("c.published_at >= :published_from")
        values["published_from"] = datetime.combine(filters.published_from, time(), UTC)
    if filters.published_to and filters.published_to < date.max:
        clauses.append("c.published_at < :published_to")
        values["published_to"] = datetime.combine(filters.published_to + timedelta(days=1), time(), UTC)
    if filters.score_from > 0:
        clauses.append("c.viral_score >= :score_from")
        values["score_from"] = filters.score_from / 100
    if filters.score_to < 100:
        clauses.append("c.viral_score <= :score_to")
        values["score_to"] = filters.score_to / 100
    return " AND ".join(clauses) or "true", values


def page(connection: Connection, filters: Filters, sort: Sort, limit: int, offset: int = 0) -> list[Row]:
    """One page of candidates in the order of `sort`, unknown values last."""
    where, values = conditions(filters)
    found = connection.execute(
        text(f"""
            SELECT {", ".join(ROW_COLUMNS)}
            FROM (SELECT * FROM candidates c WHERE {where} ORDER BY {SORTS[sort]} LIMIT :limit OFFSET :offset) AS c
            {ROW_JOINS}
            ORDER BY {", ".join(f"c.{key.strip()}" for key in SORTS[sort].split(","))}
        """),
        {**values, "limit": limit, "offset": offset},
    )
    return [Row(**row) for row in found.mappings()]


def count(connection: Connection, filters: Filters, cap: int = COUNT_CAP) -> int:
    """How many candidates pass the filters, counted no further than `cap` + 1."""
    where, values = conditions(filters)
    return (
        connection.scalar(
            text(f"SELECT count(*) FROM (SELECT FROM candidates c WHERE {where} LIMIT :cap) AS found"),
            {**values, "cap": cap + 1},
        )
        or 0
    )


def rows(connection: Connection, candidate_ids: Sequence[str]) -> list[Row]:
    """These candidates, in this order; ids that are not known are left out."""
    found = connection.execute(
        text(f"SELECT {', '.join(ROW_COLUMNS)} FROM candidates c {ROW_JOINS} WHERE c.candidate_id = ANY(:ids)"),
        {"ids": list(candidate_ids)},
    )
    by_id = {row["candidate_id"]: Row(**row) for row in found.mappings()}
    return [by_id[key] for key in candidate_ids if key in by_id]


def growth(connection: Connection, candidate_ids: Sequence[str]) -> dict[str, list[int]]:
    """Views of each of these candidates, one for each day that it was seen, oldest first."""
    found = connection.execute(
        text("""
            SELECT candidate_id, max(views) AS views
            FROM snapshots WHERE candidate_id = ANY(:ids) AND views IS NOT NULL
            GROUP BY candidate_id, observed_at::date ORDER BY candidate_id, observed_at::date
        """),
        {"ids": list(candidate_ids)},
    )
    series: dict[str, list[int]] = {}
    for candidate_id, views in found:
        series.setdefault(candidate_id, []).append(views)
    return series


def detail(connection: Connection, candidate_id: str) -> Detail | None:
    """Everything about one candidate, or None where it is not known."""
    found = rows(connection, [candidate_id])
    if not found:
        return None
    facts = connection.execute(
        text("""
            SELECT c.description, c.tags, c.source, c.first_seen_at, ch.url,
                (SELECT count(*) FROM candidates AS same WHERE same.channel_key = c.channel_key) AS channel_videos
            FROM candidates c LEFT JOIN channels ch ON ch.channel_key = c.channel_key
            WHERE c.candidate_id = :id
        """),
        {"id": candidate_id},
    ).one()
    looks = connection.execute(
        # first_seen_at lets the planner leave out the months before the video was known
        text("""
            SELECT observed_at, views, likes, comments, country, exact FROM (
                SELECT * FROM snapshots WHERE candidate_id = :id AND observed_at >= :first
                ORDER BY observed_at DESC LIMIT :most
            ) AS newest ORDER BY observed_at
        """),
        {"id": candidate_id, "first": facts.first_seen_at, "most": MOST_SNAPSHOTS},
    )
    return Detail(
        row=found[0],
        description=facts.description,
        tags=tuple(facts.tags or ()),
        channel_url=facts.url,
        channel_videos=facts.channel_videos,
        source=facts.source,
        first_seen_at=facts.first_seen_at,
        looks=tuple(Look(*look) for look in looks),
    )


def state(connection: Connection) -> State:
    """How much there is and how old it is."""
    found = connection.execute(
        text("""
            SELECT (SELECT count(*) FROM candidates),
                (SELECT count(*) FROM candidates WHERE sample),
                (SELECT count(*) FROM candidates WHERE viral_score IS NOT NULL),
                (SELECT max(last_seen_at) FROM candidates)
        """)
    ).one()
    newest_score = connection.execute(
        text(
            "SELECT base_rate, model_version FROM candidates WHERE viral_score IS NOT NULL ORDER BY scored_at DESC LIMIT 1"
        )
    ).one_or_none()
    base_rate, model_version = newest_score or (None, None)
    return State(*found, base_rate=base_rate, model_version=model_version)


def options(connection: Connection) -> Options:
    """What the filters can offer."""
    found = connection.execute(
        text("""
            SELECT kind, value, sum(n)::bigint FROM (
                SELECT platform, media_type, category, language, count(*) AS n FROM candidates
                GROUP BY platform, media_type, category, language
            ) AS cells
            CROSS JOIN LATERAL (VALUES
                ('platforms', platform), ('formats', media_type), ('categories', category), ('languages', language)
            ) AS by_kind (kind, value)
            WHERE value IS NOT NULL GROUP BY kind, value ORDER BY sum(n) DESC, value
        """)
    )
    by_kind: dict[str, dict[str, int]] = {"platforms": {}, "formats": {}, "categories": {}, "languages": {}}
    for kind, value, n in found:
        by_kind[kind][value] = n
    earliest, latest = connection.execute(text("SELECT min(published_at), max(published_at) FROM candidates")).one()
    return Options(
        **by_kind,
        published_from=earliest.date() if earliest else None,
        published_to=latest.date() if latest else None,
    )


def scores(connection: Connection, filters: Filters) -> Scores:
    """Distribution of the scores by group, and predicted against measured velocity, of a set of candidates."""
    where, values = conditions(filters)
    found = connection.execute(
        text(f"""
            WITH cells AS (
                SELECT platform, category, {_band("duration", DURATIONS)} AS duration,
                    {_band("extract(epoch FROM observed_at - published_at) / 86400", AGES)} AS age,
                    least(floor(viral_score * {SCORE_BINS})::int, {SCORE_BINS - 1}) AS bin, count(*) AS n
                FROM candidates c WHERE viral_score IS NOT NULL AND {where}
                GROUP BY 1, 2, 3, 4, 5
            )
            SELECT kind, value, bin, sum(n)::bigint FROM cells
            CROSS JOIN LATERAL (VALUES
                ('all', ''), ('platform', platform), ('category', category), ('duration', duration), ('age', age)
            ) AS by_kind (kind, value)
            WHERE value IS NOT NULL GROUP BY kind, value, bin
        """),
        values,
    )
    counts: dict[tuple[str, str], list[int]] = {}
    for kind, value, position, n in found:
        counts.setdefault((kind, value), [0] * SCORE_BINS)[position] = n
    histograms = [Histogram(kind, group, tuple(bins)) for (kind, group), bins in counts.items()]
    order = {name: position for position, name in enumerate((*DURATIONS, *AGES))}
    histograms.sort(key=lambda h: (order.get(h.group, 0), -h.n, h.group))
    base_rate = connection.scalar(
        text(f"SELECT base_rate FROM candidates c WHERE viral_score IS NOT NULL AND {where} LIMIT 1"), values
    )
    return Scores(tuple(histograms), _agreement(connection, where, values), base_rate)


def pattern_scopes(connection: Connection) -> list[str]:
    """The scopes that title patterns were measured in, the whole first."""
    found = connection.scalars(
        text("SELECT scope FROM title_patterns GROUP BY scope ORDER BY scope <> 'all', max(n_videos) DESC, scope")
    )
    return list(found)


def patterns(connection: Connection, scope: str) -> list[Pattern]:
    """The title patterns of one scope, the strongest first."""
    found = connection.execute(
        text(f"""
            SELECT {", ".join(f.name for f in fields(Pattern))} FROM title_patterns
            WHERE scope = :scope ORDER BY lift DESC, pattern
        """),
        {"scope": scope},
    )
    return [Pattern(**{**row, "examples": tuple(row["examples"])}) for row in found.mappings()]


def days(connection: Connection, most: int = 30) -> list[Day]:
    """The newest days on which anything came in, oldest first."""
    found = connection.execute(
        text("SELECT day, snapshots, candidates FROM daily_counts ORDER BY day DESC LIMIT :most"), {"most": most}
    ).all()
    return [Day(*row) for row in reversed(found)]


def rollup(connection: Connection, name: str) -> tuple[dict[str, Any], datetime] | None:
    """A roll-up by name with the moment it was made, or None before the first."""
    found = connection.execute(
        text("SELECT data, refreshed_at FROM rollups WHERE name = :name"), {"name": name}
    ).one_or_none()
    if found is None:
        return None
    data = found.data if isinstance(found.data, dict) else json.loads(found.data)
    return data, found.refreshed_at


def channels_named(connection: Connection, channel_key: str) -> str | None:
    """The name of a channel given by key."""
    return connection.scalar(text("SELECT name FROM channels WHERE channel_key = :key"), {"key": channel_key})


def _agreement(connection: Connection, where: str, values: dict[str, Any]) -> Agreement:
    both = f"velocity > 0 AND predicted_velocity > 0 AND {where}"
    found = connection.execute(
        text(f"""
            SELECT floor(log(velocity) * {DECADE_BINS})::int, floor(log(predicted_velocity) * {DECADE_BINS})::int, count(*),
                count(*) FILTER (WHERE velocity BETWEEN velocity_low AND velocity_high),
                sum(log(velocity)), sum(log(predicted_velocity)),
                sum(log(velocity) ^ 2), sum(log(predicted_velocity) ^ 2), sum(log(velocity) * log(predicted_velocity))
            FROM candidates c WHERE {both} GROUP BY 1, 2
        """),
        values,
    ).all()
    n = sum(cell[2] for cell in found)
    if n == 0:
        return Agreement((), 0, None, None, None)
    inside, x, y, xx, yy, xy = (sum(cell[k] for cell in found) for k in range(3, 9))
    spread = (n * xx - x * x) * (n * yy - y * y)
    distances = sorted((abs(m - p) / DECADE_BINS, cell_n) for m, p, cell_n, *_ in found)
    seen, middle = 0, 0.0
    for distance, cell_n in distances:
        seen += cell_n
        if seen * 2 >= n:
            middle = distance
            break
    return Agreement(
        cells=tuple((cell[0], cell[1], cell[2]) for cell in found),
        n=n,
        correlation=(n * xy - x * y) / spread**0.5 if spread > 0 else None,
        inside=inside / n,
        factor=10**middle,
    )


def _band(value: str, bands: Mapping[str, tuple[float, float | None]]) -> str:
    """SQL that names the band of a number; NULL where it is unknown."""
    cases = " ".join(
        f"WHEN {value} < {high} THEN '{name}'" if high is not None else f"WHEN {value} >= {low} THEN '{name}'"
        for name, (low, high) in bands.items()
    )
    return f"CASE {cases} END"
