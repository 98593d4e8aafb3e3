"""The frame of every page: errors told in one sentence, title with its line of context, the state of the data.

`Home.py` opens the frame around each page, so that a page holds only its own content.
"""

import logging
import runpy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Literal

import streamlit as st

from miles import db, jobs, settings
from miles.errors import DatabaseUnavailable, MilesError, ModelUnavailable
from ui import charts, data, filters, links, words, worker

logger = logging.getLogger(__name__)

READING_WIDTH = 1280  # px; lines and rows of cards that are longer tire the eye
STALE = timedelta(hours=24)  # what is due is looked at every hour: a day without is worth saying

_inside_frame: ContextVar[bool] = ContextVar("inside_frame", default=False)

TITLES: dict[type[MilesError], str] = {
    DatabaseUnavailable: "The database does not answer",
    ModelUnavailable: "There is no model to score with",
}


def now() -> datetime:
    """The moment of this run, in UTC."""
    return datetime.now(UTC)


@contextmanager
def guard() -> Iterator[None]:
    """Show a MilesError as one clear message and stop; let everything else surface as the bug it is.

    Around the whole page in Home.py; a fragment or dialog, which runs alone, opens its own.
    """
    try:
        yield
    except MilesError as error:
        logger.warning("Shown to the user: %s", error)
        st.error(words.plain(str(error)), title=TITLES.get(type(error), "This did not work"), icon=":material/error:")
        st.stop()


@contextmanager
def frame(path: str) -> Iterator[None]:
    """Start the database, settle the address, show the banner and the state of the data, and guard what is inside.

    `path` is the page's in the address.
    """
    with (
        st.container(horizontal_alignment="center"),
        st.container(width=READING_WIDTH),
        guard(),
        links.settled(path, filtering=filters.PAGES, filters=filters.EMPTY),
    ):
        db.ready()
        worker.ensure()
        state = data.state()
        _foot(state)
        if state.sample:
            _sample_banner(state)
        token = _inside_frame.set(True)
        try:
            yield
        finally:
            _inside_frame.reset(token)


def header(title: str, context: str | None = None, *, icon: str | None = None, help: str | None = None) -> None:
    """The page's title and one line under it: how many, how fresh, what the base rate is."""
    _framed()
    with st.container(gap="xxsmall"):
        st.title(title, icon=icon, help=help, anchor=False)
        if context:
            st.caption(context)


def strong() -> Literal["primary", "secondary"]:
    """How the button that matters most is drawn: in the accent, where its label can be read.

    Streamlit writes a main button's label in white, and what is chosen in the accent itself. On dark ground no accent
    has the contrast for both (4.5 each), and what is chosen stands on every page.
    """
    return "secondary" if charts.dark() else "primary"


def state() -> data.State:
    """How much there is and how old it is; what a page that reads before its header begins with."""
    _framed()
    return data.state()


def nothing_yet(what: str) -> None:
    """The empty state of a page that needs collected videos: says what is missing and where to get it."""
    blank(
        ":material/inbox:",
        what,
        "Collect a topic, import a file, or look around with sample data.",
        lambda: st.page_link("pages/home.py", label="Get videos in", icon=":material/add_circle:"),
    )


def total(label: str, value: int, series: Sequence[float], what: str) -> None:
    """A number with what came in on each of the last days, as bars."""
    st.metric(
        label,
        words.count(value),
        border=True,
        height="stretch",
        chart_data=list(series) if len(series) > 1 else None,
        chart_type="bar",
        help=f"{words.full(value)}; the bars are those {what} on each of the last {len(series)} days with any.",
    )


def no_match() -> None:
    """The empty state of a list whose filters nothing passes."""
    blank(
        ":material/filter_alt_off:",
        "No video passes these filters.",
        "Widen the dates or the score, or clear the filters.",
    )


def not_scored() -> None:
    """The empty state of a page that needs scores where nothing is scored yet."""
    blank(
        ":material/speed:",
        "Nothing is scored yet.",
        "A worker scores new videos by itself; `python -m miles score` does it now.",
        lambda: st.page_link("pages/operations.py", label="See the jobs", icon=":material/settings:"),
    )


def too_few_for_patterns(*, narrowed: bool) -> None:
    """The empty state of the title patterns where none could be measured; `narrowed` where filters are set."""
    blank(
        ":material/title:",
        "Not enough data for title patterns.",
        "A pattern is told from 30 videos of 10 channels on, each with enough other videos to say what is usual. "
        + ("Widen the filters, or collect more." if narrowed else "Collect more, or wait for the next roll-up."),
        lambda: st.page_link("pages/operations.py", label="Collect more", icon=":material/download:"),
    )


def blank(icon: str, what: str, hint: str, more: Callable[[], object] | None = None) -> None:
    """A box in the place of what is not there yet: what that is, what brings it, and below it what `more` draws."""
    with st.container(border=True, horizontal_alignment="center", gap="xsmall"):
        st.space("small")
        st.header(what, icon=icon, anchor=False, text_alignment="center")
        st.caption(hint, text_alignment="center")
        if more:
            more()
        st.space("small")


def _foot(state: data.State) -> None:
    """The state of the data at the foot of the sidebar."""
    with st.sidebar:
        if state.newest is None:
            st.caption(":gray[:material/circle:] No videos yet")
            return
        moment = now()
        old = moment - state.newest > STALE
        dot = ":orange[:material/history:]" if old else ":green[:material/check_circle:]"
        st.caption(
            f"{dot} Newest snapshot {words.ago(state.newest, moment)}  \n{words.counted(state.candidates, 'video')}",
            help=f"The newest look at any video was on {state.newest:%d %b %Y, %H:%M} UTC. "
            + (
                "Nothing was collected for more than a day; collect again on the Operations page."
                if old
                else "While a worker runs, Miles collects what is on the watchlist and looks again at what is due."
            ),
        )


def _sample_banner(state: data.State) -> None:
    if state.sample == state.candidates:
        text = "**Sample data.** Every video, channel and number here is invented."
    else:
        text = f"**Sample data** is mixed in: {words.full(state.sample)} invented videos beside the real ones."
    with st.container(horizontal=True, vertical_alignment="center", border=True, gap="small"):
        st.markdown(f":orange-badge[:material/science: Sample] {text}", width="stretch")
        if st.button("Remove it", icon=":material/delete:", type="tertiary"):
            with db.transaction("operator") as connection:
                jobs.defer_remove_sample(connection)
            st.toast("The sample is being removed; real videos stay.", icon=":material/delete:")


def _framed() -> None:
    """Make sure that the page that calls this runs inside the frame.

    Because our folder is named pages/, Streamlit runs a page's file alone, without Home.py, when its address
    is the first one that is opened after the server started. Home.py then runs it again, inside.
    """
    if not _inside_frame.get():
        runpy.run_path(str(settings.PROJECT / "Home.py"))
        st.stop()
