"""Cached reads for the pages: one function for each question, with a ttl and a bound.

An entry is shared by all sessions of this process; nothing personal goes through here.
"""

from typing import TYPE_CHECKING

import streamlit as st

from miles import browse, db, registry
from miles.browse import Day, Detail, Filters, Options, Pattern, Row, Scores, Sort, State

if TYPE_CHECKING:
    from miles.scoring import Model

FRESH = 30  # seconds; newly collected videos show within half a minute
SLOW = 300  # seconds; for what reads all rows of a set, and changes little


def model() -> "Model":
    """The model in force, kept by this process until another one comes into force. Raises ModelUnavailable."""
    return registry.active_model()


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def state() -> State:
    with db.transaction("viewer") as connection:
        return browse.state(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def options() -> Options:
    with db.transaction("viewer") as connection:
        return browse.options(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def snapshots() -> int:
    with db.transaction("viewer") as connection:
        return browse.snapshots(connection)


@st.cache_data(ttl=FRESH, max_entries=100, show_spinner=False)
def page(filters: Filters, sort: Sort, limit: int, offset: int = 0) -> tuple[list[Row], dict[str, list[int]]]:
    """A page of candidates, and the growth of each for its sparkline."""
    with db.transaction("viewer") as connection:
        rows = browse.page(connection, filters, sort, limit, offset)
        return rows, browse.growth(connection, [row.candidate_id for row in rows])


@st.cache_data(ttl=FRESH, max_entries=100, show_spinner=False)
def count(filters: Filters) -> int:
    with db.transaction("viewer") as connection:
        return browse.count(connection, filters)


@st.cache_data(ttl=FRESH, max_entries=100, show_spinner=False)
def rows(candidate_ids: tuple[str, ...]) -> tuple[list[Row], dict[str, list[int]]]:
    """These candidates in this order (the unknown left out), and the growth of each."""
    with db.transaction("viewer") as connection:
        return browse.rows(connection, candidate_ids), browse.growth(connection, candidate_ids)


@st.cache_data(ttl=FRESH, max_entries=50, show_spinner=False)
def detail(candidate_id: str) -> Detail | None:
    with db.transaction("viewer") as connection:
        return browse.detail(connection, candidate_id)


@st.cache_data(ttl=SLOW, max_entries=30, show_spinner=False)
def scores(filters: Filters) -> Scores:
    with db.transaction("viewer") as connection:
        return browse.scores(connection, filters)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def pattern_scopes() -> list[str]:
    with db.transaction("viewer") as connection:
        return browse.pattern_scopes(connection)


@st.cache_data(ttl=FRESH, max_entries=30, show_spinner=False)
def patterns(scope: str) -> list[Pattern]:
    with db.transaction("viewer") as connection:
        return browse.patterns(connection, scope)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def days() -> list[Day]:
    with db.transaction("viewer") as connection:
        return browse.days(connection)
