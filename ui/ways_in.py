"""The ways to get videos into an empty Miles."""

import sys
from pathlib import Path

import streamlit as st

from miles import browse, db, jobs, settings
from miles.errors import MilesError
from ui import page, words


def three() -> None:
    """Collect a topic, import a file, load sample data: the empty state of Home."""
    with st.grid(3, min_column_width=260, gap="small"):
        with st.container(border=True, height="stretch", gap="small"):
            st.markdown("## :material/travel_explore: Collect a topic")
            st.caption("Searches YouTube with yt-dlp, stores what it finds and scores it. Needs a network.")
            with st.form("collect", border=False):
                topic = st.text_input("Topic", placeholder="street food", label_visibility="collapsed", max_chars=200)
                if st.form_submit_button(
                    "Collect now", type=page.strong(), icon=":material/download:", width="stretch"
                ):
                    _collect(topic)
        with st.container(border=True, height="stretch", gap="small"):
            st.markdown("## :material/upload_file: Import a file")
            st.caption("yt-dlp JSON, JSON lines, CSV or Parquet; columns are recognised by their usual names.")
            st.code(f"{_python()} -m miles import FILE", language="bash", wrap_lines=True)
            st.caption("`--dry-run` shows what would happen, `--map ours=theirs` names a column.")
        with st.container(border=True, height="stretch", gap="small"):
            st.markdown("## :material/science: Load sample data")
            st.caption("About 2,000 invented videos of 60 invented channels, to look around. One click removes them.")
            st.space("stretch")
            if st.button("Load sample data", icon=":material/science:", width="stretch"):
                with db.transaction("operator") as connection:
                    jobs.defer_load_sample(connection)
                st.session_state["waiting_for"] = "The sample"
    _waiting()


def _python() -> Path:
    """The Python that runs this, as it is called from the checkout: .venv/bin/python after `make run`."""
    program = Path(sys.executable)
    return program.relative_to(settings.PROJECT) if program.is_relative_to(settings.PROJECT) else program


def _collect(topic: str) -> None:
    if not topic.strip():
        st.warning("Write what the videos should be about.", icon=":material/edit:")
        return
    try:
        with db.transaction("operator") as connection:
            jobs.defer_collection(connection, topic.strip(), asked_by=settings.load().user)
    except MilesError as error:
        st.warning(words.plain(str(error)))
        return
    st.session_state["waiting_for"] = f"“{words.plain(topic.strip())}”"


@st.fragment(run_every=3)
def _waiting() -> None:
    """Says that a job was asked for, and opens the full page when its first videos are there."""
    what = st.session_state.get("waiting_for")
    if what is None:
        return
    with db.transaction("operator") as connection:
        alive = jobs.workers_alive(connection)
        arrived = browse.state(connection).candidates > 0
    if arrived:
        del st.session_state["waiting_for"]
        st.cache_data.clear()
        st.rerun()
    if alive:
        st.info(
            f"{what} is on its way; this page opens up when the first videos are in.", icon=":material/hourglass_top:"
        )
    else:
        st.warning(
            f"{what} is waiting: no worker is running. Start one with `python -m miles worker`, or all of Miles with "
            "`python -m miles up`.",
            icon=":material/hourglass_disabled:",
        )
    st.page_link("pages/operations.py", label="Follow it on Operations", icon=":material/settings:")
