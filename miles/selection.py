"""Which of the videos in memory (`facts`) pass a filter of the pages, and pages of those.

Which channels a name means, and any filter that is not known here, is told by the database's indexes.
"""

import bisect
from collections.abc import Collection
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from sqlalchemy import Connection, text

from miles import browse, searching, title_words
from miles.browse import AGES, DURATIONS, Filters, Key, Page, Place, Sort
from miles.facts import CHANNEL, DAY, EPOCH, NONE, Facts
from miles.patterns import form_bit
from miles.searching import Term

_DEFAULT = Filters()
_IN_MEMORY = frozenset({
    "platforms", "formats", "categories", "languages", "durations", "published_from", "published_to", "score_from",
    "score_to", "views_from", "multiple_from", "velocity_from", "form",
}) & {f.name for f in fields(Filters)}  # fmt: skip


def passing(connection: Connection, facts: Facts, filters: Filters) -> np.ndarray:
    """(videos,) bool: which pass the filters."""
    mask, rest = by_columns(facts, filters)
    return mask & found(connection, facts, rest) if rest.active else mask


def by_columns(facts: Facts, filters: Filters) -> tuple[np.ndarray, Filters]:
    """(videos,) bool: which pass the filters that the columns can answer; and those filters that they can't."""
    mask = np.ones(len(facts), dtype=bool)
    for kind, chosen in (
        ("platform", filters.platforms),
        ("format", filters.formats),
        ("category", filters.categories),
        ("language", filters.languages),
    ):
        if chosen:
            codes = facts.codes.get(kind, {})
            wanted = np.zeros(max(codes.values(), default=0) + 1, dtype=bool)
            wanted[[codes[value] for value in chosen if value in codes]] = True
            mask &= wanted[getattr(facts, kind)]
    if bands := [DURATIONS[name] for name in filters.durations if name in DURATIONS]:
        within = [
            (facts.duration >= low) & (facts.duration < (np.inf if high is None else high)) for low, high in bands
        ]
        mask &= np.logical_or.reduce(within)
    if filters.published_from:
        mask &= facts.published >= _moment(filters.published_from)
    if filters.published_to and filters.published_to < date.max:
        mask &= (facts.published != NONE) & (facts.published < _moment(filters.published_to + timedelta(days=1)))
    if filters.score_from > 0:
        mask &= facts.score >= filters.score_from / 100
    if filters.score_to < 100:
        mask &= facts.score <= filters.score_to / 100
    for column, least in (
        (facts.views, filters.views_from),
        (facts.multiple, filters.multiple_from),
        (facts.velocity, filters.velocity_from),
    ):
        if least > 0:
            mask &= column >= least
    if (bit := form_bit(filters.form)) is not None:
        mask &= (facts.corpus.forms & bit) != 0
    rest = replace(filters, **{name: getattr(_DEFAULT, name) for name in _IN_MEMORY})
    return mask, replace(rest, text=rest.text.strip(), channel=rest.channel.strip())


def found(connection: Connection, facts: Facts, filters: Filters) -> np.ndarray:
    """(videos,) bool: which pass filters that the columns can't answer."""
    mask = np.ones(len(facts), dtype=bool)
    if filters.text and facts.words.upto >= len(facts.place) - 1:  # where not all titles are taken in, the index tells
        mask &= _having(connection, facts, searching.terms(filters.text))
        filters = replace(filters, text="")
    if filters.channel:
        mask &= _of_channels(connection, facts, filters)
        filters = replace(filters, channel="")
    return mask & _asked(connection, facts, filters) if filters.active else mask


def _having(connection: Connection, facts: Facts, asked: tuple[tuple[Term, ...], ...]) -> np.ndarray:
    """Whose titles a search finds."""
    cut = title_words.cut(connection, {term for terms in asked for term in terms})
    having = {term: _at(facts, facts.words.titles(words, begins=term.begins)) for term, words in cut.items()}
    mask = np.ones(len(facts), dtype=bool)
    for terms in asked:
        told = [~having[term] if term.negated else having[term] for term in terms if term in having]
        if told:  # one that is of signs alone says nothing
            mask &= np.logical_or.reduce(told)
    if having or (asked and all(len(terms) == 1 and terms[0].negated for terms in asked)):
        return mask
    return np.zeros(len(facts), dtype=bool)  # a search for nothing finds nothing


def _of_channels(connection: Connection, facts: Facts, filters: Filters) -> np.ndarray:
    """Which are of the channels that a filter means."""
    browse.plan_by_index(connection)
    meant, values = browse.channels(filters)
    hashes = list(connection.scalars(text(f"SELECT {CHANNEL} FROM ({meant}) AS meant"), values))
    return np.isin(facts.channel_hash, np.array(hashes, dtype=np.int64))[facts.channel]


def _asked(connection: Connection, facts: Facts, filters: Filters) -> np.ndarray:
    """Those that the database's indexes find; it reads the wide row of each."""
    browse.plan_by_index(connection)
    chosen, values = browse.subset(filters)
    sent = connection.scalar(
        text(
            f"WITH chosen AS MATERIALIZED (SELECT c.candidate_id {chosen})"
            " SELECT string_agg(int4send(number), '') FROM chosen JOIN facts USING (candidate_id)"
        ),
        values,
    )
    return _at(facts, _numbers(sent))


def among(connection: Connection, facts: Facts, candidate_ids: Collection[str]) -> np.ndarray:
    """(videos,) bool: which are these candidates."""
    sent = connection.scalar(
        text("SELECT string_agg(int4send(number), '') FROM facts WHERE candidate_id = ANY(:ids)"),
        {"ids": list(candidate_ids)},
    )
    return _at(facts, _numbers(sent))


def _numbers(sent: bytes | None) -> np.ndarray:
    """Numbers as int4send gives them."""
    return np.frombuffer(bytes(sent or b""), dtype=">i4")


def _at(facts: Facts, numbers: np.ndarray) -> np.ndarray:
    """(videos,) bool: which have these numbers; those that are not there, or came in later, are left out."""
    at = facts.place[numbers[numbers < len(facts.place)]]
    mask = np.zeros(len(facts), dtype=bool)
    mask[at[at >= 0]] = True
    return mask


def duration_bands(durations: np.ndarray) -> np.ndarray:
    """The position in DURATIONS of the band of each duration (seconds); -1 where it is not known."""
    ends = [end for _, end in DURATIONS.values() if end is not None]
    return np.where(np.isnan(durations), -1, np.searchsorted(np.array(ends, dtype=np.float32), durations, side="right"))


def age_bands(ages: np.ndarray) -> np.ndarray:
    """The position in AGES of the band of each age (as `Facts.age` gives it); -1 where it is not known."""
    ends = np.array([end for _, end in AGES.values() if end is not None]) * DAY
    # those that were seen before they came out are in the first band
    return np.where(ages == NONE, -1, np.searchsorted(ends.astype(np.int64), ages, side="right"))


def _moment(of: date) -> int:
    """A moment, or the beginning of a day (UTC), as the columns have it."""
    if not isinstance(of, datetime):
        of = datetime(of.year, of.month, of.day, tzinfo=UTC)
    return (of - EPOCH) // timedelta(microseconds=1)


# --- a page of them ---------------------------------------------------------------------------------

_KEYS: dict[Sort, str] = {
    "score": "score",
    "velocity": "velocity",
    "acceleration": "acceleration",
    "outlier": "multiple",
    "engagement": "engagement",
    "views": "views",
    "age": "published",
    "lifetime": "lifetime",
}


def page(
    connection: Connection,
    facts: Facts,
    chosen: np.ndarray,
    sort: Sort,
    limit: int,
    place: Place = Place(),  # noqa: B008  # frozen
) -> Page:
    """One page of the chosen (videos,) in the same order as `browse.page`: the greatest first, unknown values last, equal
    ones by their candidate id.

    The order is that of the columns; the rows are read as they are now, and one that is gone is left out.
    """
    at = np.flatnonzero(chosen)
    height, rank = _heights(facts, sort, at), facts.rank[at]
    if place.candidate_id:
        beside, between = _height(place.key), _rank(facts, place.candidate_id)
        on = (height > beside) | ((height == beside) & (rank > between))
        if place.backwards:
            on = (height < beside) | ((height == beside) & (rank < between))
        at, height, rank = at[on], height[on], rank[on]
    if place.backwards:
        height, rank = -height, -rank
    first = _first(height, rank, limit + 1)
    listed = at[first[:limit]][:: -1 if place.backwards else 1]
    ids = facts.candidate_ids(listed)
    rows = {row.candidate_id: row for row in browse.rows(connection, ids)}
    keys = [(_key(facts, sort, at), one) for at, one in zip(listed, ids, strict=True) if one in rows]
    return browse.paged(rows.values(), keys, place, more=len(first) > limit)


def _heights(facts: Facts, sort: Sort, at: np.ndarray) -> np.ndarray:
    """float64 to go by, the smallest first: minus the value, infinite where that is not known."""
    values = getattr(facts, _KEYS[sort])[at]
    known = ~np.isnan(values) if values.dtype.kind == "f" else values >= 0 if sort == "views" else values != NONE
    return np.where(known, -values.astype(np.float64), np.inf)


def _height(key: Key) -> float:
    """The same of the value that a page begins or ends at."""
    if key is None:
        return np.inf
    return -float(_moment(key) if isinstance(key, datetime) else key)


def _key(facts: Facts, sort: Sort, at: int) -> Key:
    """The value that a video is sorted by, None where it is not known."""
    value = -_heights(facts, sort, np.array([at]))[0]
    if np.isinf(value):
        return None
    if sort == "age":
        return EPOCH + timedelta(microseconds=int(value))
    return int(value) if sort == "views" else float(value)


def _rank(facts: Facts, candidate_id: str) -> float:
    """The rank of a candidate; between two where it is not known (any more)."""
    at = bisect.bisect_left(facts.ids, candidate_id)
    return at if at < len(facts.ids) and facts.ids[at] == candidate_id else at - 0.5


def _first(height: np.ndarray, rank: np.ndarray, most: int) -> np.ndarray:
    """Where the first of them are, in their order; partitioned before sorted, as few are wanted of many."""
    among = np.arange(len(height))
    if len(height) > most:
        edge = np.partition(height, most - 1)[most - 1]
        before, level = np.flatnonzero(height < edge), np.flatnonzero(height == edge)
        wanted = most - len(before)
        among = np.concatenate([before, level[np.argpartition(rank[level], wanted - 1)[:wanted]]])
    return among[np.lexsort((rank[among], height[among]))]
