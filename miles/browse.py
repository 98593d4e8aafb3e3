"""Reads for the pages that explore: candidates by filter and sort, one candidate, what there is.

Each question is one bounded query: a page of rows, a capped count, a histogram. Nothing here writes, and
nothing here knows who shows the answer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, text

from miles import db, metrics, searching
from miles.patterns import form_bit
from miles.rollups import AGE_BANDS, DURATION_BANDS, overview, read

Sort = Literal["score", "velocity", "acceleration", "outlier", "engagement", "views", "age", "lifetime"]

# What each order goes by, the greatest first and the unknown last. Each has an index of the same shape in the
# migrations, so a page is a short walk along it, wherever it begins.
KEYS: dict[Sort, str] = {
    "score": "viral_score",
    "velocity": "velocity",
    "acceleration": "acceleration",
    "outlier": "outlier_multiple",
    "engagement": "engagement_rate",
    "views": "views",
    "age": "published_at",
    "lifetime": "lifetime_velocity",
}
SORTS: dict[Sort, str] = {sort: f"{key} DESC NULLS LAST, candidate_id" for sort, key in KEYS.items()}
_BACKWARDS: dict[Sort, str] = {sort: f"{key} ASC NULLS FIRST, candidate_id DESC" for sort, key in KEYS.items()}


def _from_to(bands: Iterable[tuple[float | None, str]]) -> dict[str, tuple[float, float | None]]:
    """[from, to) of each band by name."""
    ends = [(end, name) for end, name in bands]
    starts = [0.0, *(end for end, _ in ends if end is not None)]
    return {name: (start, end) for start, (end, name) in zip(starts, ends, strict=True)}


# The same bands as in the roll-ups, so that a filtered page and the whole one say the same things.
DURATIONS = _from_to(DURATION_BANDS)  # seconds
AGES = _from_to(AGE_BANDS)  # days from publishing to the newest look

COUNT_CAP = 10_000  # before the first roll-up no more are counted
MOST_SNAPSHOTS = 2_000  # of one candidate; a video seen daily in 110 countries for two weeks has 1,500


@dataclass(frozen=True, slots=True)
class Filters:
    """What a set of candidates has in common; the default is all of them. Hashable, so it keys caches."""

    text: str = ""  # words of the title, as `searching` reads them: "quoted phrase", begin*, one OR other, -not
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
    views_from: int = 0
    multiple_from: float = 0.0  # times the channel's usual
    velocity_from: int = 0  # measured views per day
    form: str = ""  # name of a rule that the title follows (patterns.RULES)

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
    velocity_before: float | None  # measured up to where that begins
    acceleration: float | None  # views per day, each day, from the one to the other
    outlier_multiple: float | None
    outlier_n: int | None  # videos of the channel that it is compared with
    country_count: int | None
    growth: Sequence[int]  # views as last seen on each of its newest days, oldest first; of the last roll-up
    viral_score: float | None
    base_rate: float | None
    predicted_multiple: float | None
    predicted_velocity: float | None  # views per day
    velocity_low: float | None
    velocity_high: float | None
    score_note: str | None
    model_version: str | None
    sample: bool
    thumbnail: str | None  # sha256 in the storage

    @property
    def lifetime_velocity(self) -> float | None:
        """Views per day since it was published: not what it gains now."""
        return metrics.lifetime_velocity(self.views, self.published_at, self.observed_at)

    @property
    def engagement_rate(self) -> float | None:
        """Likes and comments for each view."""
        return metrics.engagement_rate(self.views, self.likes, self.comments)

    @property
    def growth_change(self) -> float | None:
        """The newest measured velocity ÷ the one before; None where that was no growth."""
        if self.velocity is None or self.velocity_before is None or self.velocity_before <= 0:
            return None
        return self.velocity / self.velocity_before

    @property
    def channel_baseline(self) -> float | None:
        """The views that are usual for the channel: what the outlier multiple was divided by."""
        if not self.outlier_multiple or self.views is None:
            return None
        return self.views / self.outlier_multiple


_ELSEWHERE = {
    "channel_name": "ch.name", "followers": "ch.followers", "thumbnail": "t.sha256", "growth": "coalesce(c.growth, '{}')",
}  # fmt: skip
_ROWS = (
    f"SELECT {', '.join(_ELSEWHERE.get(f.name, f'c.{f.name}') for f in fields(Row))} FROM candidates c"
    " LEFT JOIN channels ch ON ch.channel_key = c.channel_key LEFT JOIN thumbnails t ON t.candidate_id = c.candidate_id"
    " WHERE c.candidate_id = ANY(%s)"
)


Key = float | datetime | None  # what a list is sorted by; None where that is not known


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list a page begins or ends: beside one candidate, or at one of the list's ends."""

    side: Literal["first", "after", "before", "last"] = "first"
    key: Key = None
    candidate_id: str = ""

    @property
    def backwards(self) -> bool:
        """Whether the page that it asks for ends there."""
        return self.side in ("before", "last")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of candidates, and where its neighbours are; None where there is none."""

    rows: tuple[Row, ...]
    before: Place | None
    after: Place | None


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
    channel_videos: int  # of this channel, known to Miles
    source: str
    first_seen_at: datetime
    looks: tuple[Look, ...]  # oldest first


@dataclass(frozen=True, slots=True)
class State:
    """How much there is and how old it is."""

    candidates: int
    sample: int  # of them invented
    newest: datetime | None  # the newest look at any video
    base_rate: float | None  # of the newest score
    model_version: str | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of how many videos what is known, as of the last roll-up."""

    candidates: int
    channels: int
    scored: int
    with_velocity: int
    with_outlier: int


@dataclass(frozen=True, slots=True)
class Mover:
    """What a video gained between its two newest looks."""

    candidate_id: str
    gained: int  # views
    days: float


@dataclass(frozen=True, slots=True)
class Movers:
    """The videos that gained most on the last day of the data, the fastest first."""

    videos: tuple[Mover, ...]
    to: datetime | None  # the end of that day


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
        sought, values = searching.condition(filters.text, "c.search")
        clauses.append(sought)
    for column, chosen in (
        ("platform", filters.platforms),
        ("media_type", filters.formats),
        ("category", filters.categories),
        ("language", filters.languages),
    ):
        if chosen:
            clauses.append(f"c.{column} = ANY(:{column})")
            values[column] = list(chosen)
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
    if (bit := form_bit(filters.form)) is not None:
        # most forms are in many titles: each is looked up where it is met
        clauses.append("EXISTS (SELECT FROM facts WHERE facts.candidate_id = c.candidate_id AND forms & :form <> 0)")
        values["form"] = bit
    for column, least in (
        ("views", filters.views_from),
        ("outlier_multiple", filters.multiple_from),
        ("velocity", filters.velocity_from),
    ):
        if least > 0:
            clauses.append(f"c.{column} >= :{column}_from")
            values[f"{column}_from"] = least
    return " AND ".join(clauses) or "true", values


def source(filters: Filters) -> tuple[str, dict[str, Any]]:
    """The candidates to filter, as SQL for FROM, and its parameters.

    A channel has few videos: they are fetched first, behind OFFSET 0, or else the planner walks along
    the whole index of the order in search of them (half a second instead of one millisecond).
    """
    if not filters.channel.strip():
        return "candidates", {}
    found, values = channels(filters)
    return f"(SELECT * FROM candidates WHERE channel_key = ANY(ARRAY({found})) OFFSET 0)", values


def channels(filters: Filters) -> tuple[str, dict[str, Any]]:
    """The keys of the channels that a filter means, as SQL and its parameters."""
    return (
        "SELECT channel_key FROM channels WHERE channel_key = :channel"
        " OR to_tsvector('simple', search_text(coalesce(name, ''))) @@ plainto_tsquery('simple', search_text(:channel))",
        {"channel": searching.clean(filters.channel)},
    )


def subset(filters: Filters, among: Collection[str] | None = None) -> tuple[str, dict[str, Any]]:
    """The candidates that pass the filters, as SQL from FROM on, and its parameters; only those `among`, if given."""
    where, values = conditions(filters)
    table, more = source(filters)
    if among is not None:
        where, more = f"c.candidate_id = ANY(:among) AND {where}", {**more, "among": list(among)}
    return f"FROM {table} AS c WHERE {where}", {**values, **more}


def page(connection: Connection, sort: Sort, limit: int, place: Place = Place()) -> Page:  # frozen
    """One page of all candidates in the order of `sort`, unknown values last: a short walk along the order's own index.

    Pages of those that pass filters are chosen by `selection.page`.
    """
    plan_by_index(connection)
    keys = _walk(connection, sort, limit + 1, place)
    more = len(keys) > limit
    keys = keys[:limit]
    if place.backwards:
        keys.reverse()
    return paged(rows(connection, [candidate_id for _, candidate_id in keys]), keys, place, more=more)


def paged(listed: Iterable[Row], keys: Sequence[tuple[Key, str]], place: Place, *, more: bool) -> Page:
    """A page of candidates from a place on, given each one's value that the list is sorted by, and its id; `more` says
    whether others follow in the direction that was asked for."""
    if not keys:
        return Page((), None, None)
    return Page(
        tuple(listed),
        before=Place("before", *keys[0]) if (more if place.backwards else place.side == "after") else None,
        after=Place("after", *keys[-1]) if (place.side == "before" if place.backwards else more) else None,
    )


def _walk(connection: Connection, sort: Sort, most: int, place: Place) -> list[tuple[Key, str]]:
    """The candidates from a place on."""
    keys: list[tuple[Key, str]] = []
    for step in _steps(place, sort):
        found = connection.execute(
            text(
                f"SELECT {KEYS[sort]} AS key, candidate_id FROM candidates"
                f" WHERE {step} ORDER BY {_order(place, sort)} LIMIT :most"
            ),
            {"key": place.key, "id": place.candidate_id, "most": most - len(keys)},
        )
        keys += [(row.key, row.candidate_id) for row in found]
        if len(keys) == most:
            break
    return keys


def _order(place: Place, sort: Sort) -> str:
    return (_BACKWARDS if place.backwards else SORTS)[sort]


def _steps(place: Place, sort: Sort) -> list[str]:
    """The candidates on a place's side as conditions, one after the other in the list's order.

    One condition for all of them (with OR) would walk the index from its beginning.
    """
    key = KEYS[sort]
    if place.side in ("first", "last"):
        return ["true"]
    if place.side == "after":
        if place.key is None:
            return [f"{key} IS NULL AND candidate_id > :id"]
        return [f"{key} = :key AND candidate_id > :id", f"{key} < :key", f"{key} IS NULL"]
    if place.key is None:
        return [f"{key} IS NULL AND candidate_id < :id", f"{key} IS NOT NULL"]
    return [f"{key} = :key AND candidate_id < :id", f"{key} > :key"]


def count(connection: Connection, filters: Filters, cap: int) -> int:
    """How many candidates pass the filters, counted no further than `cap` + 1."""
    plan_by_index(connection)
    chosen, values = subset(filters)
    return (
        connection.scalar(
            text(f"SELECT count(*) FROM (SELECT {chosen} LIMIT :cap) AS found"),
            {**values, "cap": cap + 1},
        )
        or 0
    )


def plan_by_index(connection: Connection) -> None:
    """For this transaction: no plan that reads whole tables, nor one that was made for other filters."""
    db.configure(connection, {"enable_seqscan": "off", "plan_cache_mode": "force_custom_plan"})


def rows(connection: Connection, candidate_ids: Sequence[str]) -> list[Row]:
    """These candidates, in this order; ids that are not known are left out."""
    if not candidate_ids:
        return []
    # straight from the driver, which reads numbers as they are: more of it would take most of the time
    with db.psycopg_connection(connection).cursor(binary=True) as cursor:
        by_id = {values[0]: Row(*values) for values in cursor.execute(_ROWS, (list(candidate_ids),))}
    return [by_id[key] for key in candidate_ids if key in by_id]


def detail(connection: Connection, candidate_id: str) -> Detail | None:
    """Everything about one candidate, or None where it is not known."""
    found = rows(connection, [candidate_id])
    if not found:
        return None
    facts = connection.execute(
        text("""
            SELECT c.description, c.tags, c.source, c.first_seen_at,
                (SELECT count(*) FROM candidates AS same WHERE same.channel_key = c.channel_key) AS channel_videos
            FROM candidates c WHERE c.candidate_id = :id
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
        channel_videos=facts.channel_videos,
        source=facts.source,
        first_seen_at=facts.first_seen_at,
        looks=tuple(Look(*look) for look in looks),
    )


def state(connection: Connection) -> State:
    """How much there is (as of the last roll-up) and how old it is."""
    plan_by_index(connection)
    sample, newest = connection.execute(
        text("SELECT (SELECT count(*) FROM candidates WHERE sample), (SELECT max(last_seen_at) FROM candidates)")
    ).one()
    top = connection.execute(
        text(
            "SELECT base_rate, model_version FROM candidates ORDER BY viral_score DESC NULLS LAST, candidate_id LIMIT 1"
        )
    ).one_or_none()
    base_rate, model_version = top or (None, None)
    return State(max(how_many(connection), sample), sample, newest, base_rate, model_version)


def how_many(connection: Connection) -> int:
    """How many candidates there are, as of the last roll-up; before there was one, a look at the first COUNT_CAP."""
    rolled_up = connection.scalar(text("SELECT (data->>'candidates')::bigint FROM rollups WHERE name = 'overview'"))
    if rolled_up:
        return int(rolled_up)
    found = connection.scalar(
        text("SELECT count(*) FROM (SELECT FROM candidates LIMIT :cap) AS found"), {"cap": COUNT_CAP}
    )
    return found or 0


def coverage(connection: Connection) -> Coverage:
    """Of how many videos what is known; zeros before the first roll-up."""
    found = overview(connection) or {}
    return Coverage(**{field.name: found.get(field.name) or 0 for field in fields(Coverage)})


def movers(connection: Connection) -> Movers:
    """What moved most on the last day of the data, as of the last roll-up."""
    found = read(connection, "movers") or {"videos": [], "to": None}
    return Movers(
        tuple(Mover(**one) for one in found["videos"]), datetime.fromisoformat(found["to"]) if found["to"] else None
    )


def options(connection: Connection) -> Options:
    """What the filters can offer, from the roll-up; nothing before the first one."""
    found = overview(connection) or {}
    earliest, latest = connection.execute(text("SELECT min(published_at), max(published_at) FROM candidates")).one()
    return Options(
        **{
            kind: {choice["value"]: choice["n"] for choice in found.get(kind, ())}
            for kind in ("platforms", "formats", "categories", "languages")
        },
        published_from=earliest.date() if earliest else None,
        published_to=latest.date() if latest else None,
    )


def days(connection: Connection, most: int = 30) -> list[Day]:
    """The newest days on which anything came in, oldest first."""
    found = connection.execute(
        text("SELECT day, snapshots, candidates FROM daily_counts ORDER BY day DESC LIMIT :most"), {"most": most}
    ).all()
    return [Day(*row) for row in reversed(found)]


def snapshots(connection: Connection) -> int:
    """How many snapshots there are, as of the last roll-up."""
    return connection.scalar(text("SELECT coalesce(sum(snapshots), 0)::bigint FROM daily_counts")) or 0
