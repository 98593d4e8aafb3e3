"""Which of the videos in memory (`facts`) pass a filter of the pages.

Words are told by the roll-up `title_words`; which channels a name means, and any filter that is not known here, by the
database's indexes.
"""

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from sqlalchemy import Connection, text

from miles import browse, title_words
from miles.browse import AGES, DURATIONS, Filters
from miles.facts import CHANNEL, DAY, EPOCH, NONE, Facts
from miles.patterns import form_bit

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
            codes = [facts.codes.get(kind, {}).get(value, -1) for value in chosen]
            mask &= np.isin(getattr(facts, kind), codes)
    if bands := [name for name in filters.durations if name in DURATIONS]:
        lengths = duration_bands(facts.duration)
        mask &= np.isin(lengths, [list(DURATIONS).index(name) for name in bands])
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
    if filters.text and (having := title_words.having(connection, filters.text, facts.place)) is not None:
        mask &= having
        filters = replace(filters, text="")
    if filters.channel:
        mask &= _of_channels(connection, facts, filters)
        filters = replace(filters, channel="")
    return mask & _asked(connection, facts, filters) if filters.active else mask


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
    numbers = np.frombuffer(bytes(sent or b""), dtype=">i4")
    mask = np.zeros(len(facts), dtype=bool)
    # a video that came in since the columns were loaded is not in them yet
    places = facts.place[numbers[numbers < len(facts.place)]]
    mask[places[places >= 0]] = True
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


def _moment(day: date) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
