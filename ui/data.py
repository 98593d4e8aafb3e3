"""Cached reads for the pages: one function for each question, with a ttl and a bound.

An entry is shared by all sessions of this process; nothing personal goes through here.
"""

from typing import TYPE_CHECKING

import streamlit as st

from miles import browse, db, settings
from miles.browse import Day, Detail, Filters, Options, Pattern, Row, Scores, Sort, State

if TYPE_CHECKING:
    from miles.scoring import Model

FRESH = 30  # seconds; newly collected videos show within half a minute
SLOW = 300  # seconds; for what reads all rows of a set, and changes little


@st.cache_resource(show_spinner=False)
def model() -> "Model":
    """The model of this process, loaded and verified once. Raises ModelUnavailable."""
    from miles import scoring  # onnxruntime takes a second to import; only the pages that score need it

    return scoring.load(settings.load().model_folder)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def state() -> State:
    with db.transaction("viewer") as connection:
        return browse.state(connection)


@st.cache_data(ttl=SLOW, max_entries=1, show_spinner=False)
def options() -> Options:
    with db.transaction("viewer") as connection:
        return browse.options(connection)


@st.cache_data(ttl=FRESH, max_entries=1, show_spinner=False)
def snapshots() -> int:
    with db.transaction("viewer") as connection:
        return browse.snapshots(connection)
