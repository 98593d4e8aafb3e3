"""Cached reads for the pages: one function for each question, with a ttl and a bound.

An entry is shared by all sessions of this process; nothing personal goes through here. What is older than its ttl is
given once more while it is read again in the background, for one more ttl: nobody waits for what was known before. What
every visitor asks for first is never older (`ui/warm.py`).
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import streamlit as st

from miles import (
    browse,
    calibration,
    db,
    distributions,
    explain,
    glance,
    health,
    monitor,
    outcomes,
    patterns,
    published,
    registry,
    score_candidates,
    selection,
    settings,
)
from miles import facts as columns
from miles.browse import (
    Coverage,
    Day,
    Detail,
    Filters,
    Mover,
    Options,
    Page,
    Place,
    Row,
    Sort,
    State,
)
from miles.calibration import Check, Group, Top
from miles.distributions import Beside, Spread
from miles.explain import Explanation
from miles.facts import Facts
from miles.glance import Standing
from miles.health import Health
from miles.monitor import Basis, Comparison, Report
from miles.outcomes import Outcomes
from miles.patterns import Association, Associations, Difference
from miles.registry import Activation, Version
from miles.similar import MOST_ALIKE, Contrast, contrast_to_video, keys_like, unavailable
from ui.waking import Waking

if TYPE_CHECKING:
    from miles.remote import Remote, Told
    from miles.scoring import Model

Spreads = tuple[Spread | None, tuple[Spread, ...]]
Weeks = list[tuple[date, int, int]]

FRESH = 30  # seconds; newly collected videos show within a minute
SLOW = 300  # seconds; for what reads all rows of a set, and changes little


@dataclass(frozen=True, slots=True)
class Judged:
    """Forecasts of a set of videos against what happened."""

    check: Check
    top: tuple[Top, ...]
    groups: tuple[Group, ...]
    growth: Beside
    base_rate: float | None  # mean of those that stood beside the scores


def model() -> "Model | Told":
    """The model that judges drafts: the one in force, kept by this process until another one comes into force.

    With MILES_PREDICT_URL the one that answers there; while it wakes up, the page says so where it asks.
    Raises ModelUnavailable.
    """
    chosen = settings.load()
    if chosen.predict_url is None:
        return registry.active_model()
    key = chosen.predict_key.get_secret_value() if chosen.predict_key else None
    return _remote(chosen.predict_url, key).telling(Waking())


@st.cache_resource(show_spinner=False)
def _remote(url: str, key: str | None) -> "Remote":
    from miles.remote import Remote

    return Remote(url, key)


def where_scored() -> str:
    """Where drafts go to be scored, in a sentence."""
    if (url := settings.load().predict_url) is None:
        return "Nothing leaves this computer."
    return f"Titles and thumbnails are sent to {urlsplit(url).hostname} to be scored."


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def model_versions() -> list[Version]:
    with db.transaction("viewer") as connection:
        return registry.versions(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def model_activations() -> list[Activation]:
    with db.transaction("viewer") as connection:
        return registry.activations(connection)


@st.cache_data(ttl=FRESH, max_entries=20, show_spinner=False, refresh_mode="background")
def model_report(version: str) -> Report | None:
    """How a version does, as the latest roll-up found it."""
    known = next(one for one in model_versions() if one.version == version)
    with db.transaction("viewer") as connection:
        return monitor.report(connection, known)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def model_comparison() -> Comparison | None:
    with db.transaction("viewer") as connection:
        return monitor.comparison(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def published_drafts() -> published.Report | None:
    """How drafts that were published did, all users together."""
    with db.transaction("viewer") as connection:
        return monitor.published_drafts(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def state() -> State:
    with db.transaction("viewer") as connection:
        return browse.state(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def options() -> Options:
    with db.transaction("viewer") as connection:
        return browse.options(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def snapshots() -> int:
    with db.transaction("viewer") as connection:
        return browse.snapshots(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def coverage() -> Coverage:
    with db.transaction("viewer") as connection:
        return browse.coverage(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def movers(most: int) -> tuple[dict[str, Mover], datetime | None, list[Row]]:
    """The biggest movers by id, the end of their day, and their rows."""
    with db.transaction("viewer") as connection:
        found = browse.movers(connection)
        rows = browse.rows(connection, [one.candidate_id for one in found.videos[:most]])
        return {one.candidate_id: one for one in found.videos}, found.to, rows


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def sources() -> list[Health]:
    with db.transaction("viewer") as connection:
        return health.sources(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def standing() -> Standing:
    """What there is to do, but for what is the reader's own."""
    with db.transaction("viewer") as connection:
        unwell = [one.source for one in health.sources(connection) if not one.well]
        return glance.standing(connection, unwell)


@st.cache_data(ttl=FRESH, max_entries=100, show_spinner=False, refresh_mode="background")
def page(
    filters: Filters,
    sort: Sort,
    limit: int,
    place: Place = Place(),  # noqa: B008  # frozen
    among: tuple[str, ...] | None = None,
) -> Page:
    """A page of the candidates that pass the filters, or of those `among` (of which all pass)."""
    if among is None and not filters.active:
        with db.transaction("viewer") as connection:
            return browse.page(connection, sort, limit, place)
    known = facts()
    chosen = members(known, filters, among)
    with db.transaction("viewer") as connection:
        return selection.page(connection, known, chosen, sort, limit, place)


@st.cache_data(ttl=FRESH, max_entries=100, show_spinner=False, refresh_mode="background")
def count(filters: Filters, among: tuple[str, ...] | None = None) -> int:
    """How many pass the filters, or are those `among`, as of the last roll-up."""
    if filters.active or among is not None:
        return int(members(facts(), filters, among).sum())
    with db.transaction("viewer") as connection:
        return browse.how_many(connection)


@st.cache_data(ttl=FRESH, max_entries=50, show_spinner=False, refresh_mode="background")
def alike(candidate_id: str, filters: Filters) -> tuple[str, ...]:
    """The videos that pass the filters and whose titles are most like this one's; none where that can't be told."""
    with db.transaction("viewer") as connection:
        if unavailable(connection):
            return ()
        return tuple(keys_like(connection, candidate_id, MOST_ALIKE, filters))


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def no_likeness() -> str | None:
    """Why no similar titles can be found here; None where they can."""
    with db.transaction("viewer") as connection:
        return unavailable(connection)


@st.cache_data(ttl=FRESH, max_entries=100, show_spinner=False, refresh_mode="background")
def rows(candidate_ids: tuple[str, ...]) -> list[Row]:
    """These candidates in this order, the unknown left out."""
    with db.transaction("viewer") as connection:
        return browse.rows(connection, candidate_ids)


@st.cache_data(ttl=FRESH, max_entries=50, show_spinner=False, refresh_mode="background")
def detail(candidate_id: str) -> Detail | None:
    with db.transaction("viewer") as connection:
        return browse.detail(connection, candidate_id)


# --- what is computed from columns in memory --------------------------------------------------------

_columns: list[Facts] = []  # what this process has read last: one or none


@st.cache_resource(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def facts() -> Facts:
    """The numbers of all videos, read again in the background when the roll-up has changed them."""
    with db.transaction("viewer") as connection:
        if not _columns or _columns[0].version != columns.version(connection):
            _columns[:] = [columns.load(connection)]
    return _columns[0]


def members(known: Facts, filters: Filters, among: tuple[str, ...] | None = None) -> np.ndarray:
    """Which of these videos pass the filters; or which are those `among`, if given.

    Whoever goes on with the same columns says which: `facts` may give newer ones, of another length, at the next call.
    """
    return _members(known, known.version, filters, among)


@st.cache_resource(ttl=SLOW, max_entries=40, show_spinner=False, refresh_mode="background")
def _members(_known: Facts, version: str, filters: Filters, among: tuple[str, ...] | None) -> np.ndarray:
    if among is not None:
        with db.transaction("viewer") as connection:
            return selection.among(connection, _known, among)
    mask, rest = selection.by_columns(_known, filters)
    if not rest.active:
        return mask
    with db.transaction("viewer") as connection:
        return mask & selection.found(connection, _known, rest)


@st.cache_data(ttl=SLOW, max_entries=60, show_spinner=False, refresh_mode="background")
def _spreads(_known: Facts, version: str, filters: Filters, part: distributions.Part, least: int, most: int) -> Spreads:
    return whole_spread(filters), distributions.by_part(_known, members(_known, filters), part, least, most)


def spreads(filters: Filters, part: distributions.Part, *, least: int, most: int) -> Spreads:
    """The scores of a set of videos, and those of its groups."""
    known = facts()
    return _spreads(known, known.version, filters, part, least, most)


@st.cache_data(ttl=SLOW, max_entries=60, show_spinner=False, refresh_mode="background")
def _whole(_known: Facts, version: str, filters: Filters) -> Spread | None:
    return distributions.spread(_known, members(_known, filters))


def whole_spread(filters: Filters) -> Spread | None:
    """The scores of a set of videos; None where none is scored."""
    known = facts()
    return _whole(known, known.version, filters)


@st.cache_data(ttl=SLOW, max_entries=30, show_spinner=False, refresh_mode="background")
def _growth(_known: Facts, version: str, filters: Filters) -> Beside:
    return distributions.growth(_known, members(_known, filters))


def growth_beside(filters: Filters) -> Beside:
    """Predicted beside measured velocities of a set of videos."""
    known = facts()
    return _growth(known, known.version, filters)


@st.cache_resource(ttl=SLOW, max_entries=8, show_spinner=False, refresh_mode="background")
def _outcomes(version: str, basis: Basis, known: str) -> Outcomes:
    with db.transaction("viewer") as connection:
        return outcomes.load(connection, version, basis)


@st.cache_data(ttl=SLOW, max_entries=30, show_spinner=False, refresh_mode="background")
def _judged(
    _known: Facts, known_version: str, version: str, basis: Basis, filters: Filters, part: outcomes.Part
) -> Judged:
    chosen = members(_known, filters)
    told = outcomes.among(_outcomes(version, basis, known_version), _known, chosen)
    parted = told
    if part == "version":
        every = [_outcomes(one.version, basis, known_version) for one in model_versions()]
        parted = outcomes.among(outcomes.joined(every), _known, chosen)
    which, names = outcomes.labels(parted, _known, part)
    return Judged(
        check=calibration.check(told.forecasts),
        top=calibration.precision(told.forecasts, (10, 20, 50, 100, 200, 500, 1000)),
        groups=calibration.groups(parted.forecasts, which, names),
        growth=distributions.beside(told.forecasts.predicted, told.forecasts.measured),
        base_rate=float(told.forecasts.base_rate.mean()) if len(told) else None,
    )


def judged(version: str, basis: Basis, filters: Filters, part: outcomes.Part) -> Judged:
    """The forecasts of a version for a set of videos, against what happened."""
    known = facts()
    return _judged(known, known.version, version, basis, filters, part)


@st.cache_data(ttl=SLOW, max_entries=60, show_spinner=False, refresh_mode="background")
def _patterns(_known: Facts, version: str, filters: Filters, kind: patterns.Kind) -> Associations:
    return patterns.associations(_known.corpus, kind, members(_known, filters), most_titles=patterns.MOST_TITLES)


def associations(filters: Filters, kind: patterns.Kind) -> Associations:
    """The title patterns of a set of videos."""
    known = facts()
    return _patterns(known, known.version, filters, kind)


@st.cache_data(ttl=SLOW, max_entries=30, show_spinner=False, refresh_mode="background")
def _compared(
    _known: Facts, version: str, filters: Filters, other: Filters, kind: patterns.Kind
) -> tuple[Associations, list[Difference]]:
    here = members(_known, filters)
    there = patterns.associations(
        _known.corpus, kind, members(_known, other) & ~here, trends=False, most_titles=patterns.MOST_TITLES
    )
    return there, patterns.compare(associations(filters, kind), there)


def compared(filters: Filters, other: Filters, kind: patterns.Kind) -> tuple[Associations, list[Difference]]:
    """The title patterns of the other videos, those of the first set left out; and where both sets differ."""
    known = facts()
    return _compared(known, known.version, filters, other, kind)


@st.cache_data(ttl=SLOW, max_entries=60, show_spinner=False, refresh_mode="background")
def _pattern(_known: Facts, version: str, filters: Filters, of: Association) -> tuple[tuple[str, ...], Weeks]:
    chosen = members(_known, filters)
    places = patterns.examples(_known.corpus, of, chosen)
    weeks = patterns.weekly_shares(_known.corpus, chosen, of)
    return (
        tuple(_known.candidate_ids(places)),
        [(columns.monday(week), titles, have) for week, titles, have in weeks],
    )


def pattern(filters: Filters, of: Association) -> tuple[tuple[str, ...], Weeks]:
    """Example videos of a title pattern, and by week: the Monday, titles, titles with it."""
    known = facts()
    return _pattern(known, known.version, filters, of)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
def days() -> list[Day]:
    with db.transaction("viewer") as connection:
        return browse.days(connection)


def explanation(candidate_id: str) -> tuple[Explanation, bytes | None] | None:
    """Why the model in force here scores a candidate so, and its picture; None where it is not known.

    Raises ModelUnavailable.
    """
    return _explanation(candidate_id, registry.active_model().version)


@st.cache_data(ttl=SLOW, max_entries=50, show_spinner=False, refresh_mode="background")
def _explanation(candidate_id: str, version: str) -> tuple[Explanation, bytes | None] | None:
    with db.transaction("viewer") as connection:
        video = score_candidates.input_of(connection, candidate_id)
    return None if video is None else (explain.explain(registry.active_model(), video), video.thumbnail)


@st.cache_data(ttl=SLOW, max_entries=50, show_spinner=False, refresh_mode="background")
def similar(candidate_id: str) -> Contrast | str:
    """What became of videos with a similar title, or why that can't be told."""
    with db.transaction("viewer") as connection:
        return unavailable(connection) or contrast_to_video(connection, candidate_id)
