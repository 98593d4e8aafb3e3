"""Collections on the Operations page: those under way, live, and what became of the others."""

from datetime import datetime

import streamlit as st

from miles import collecting, db, jobs, operations
from miles.collecting import CollectionProgress
from miles.operations import Collection
from ui import page, words
from ui.operate import BADGES, KINDS, LIVE

WIDEST_REASON = 300  # characters
KINDS_OF_ERROR = {
    "transient": "network or server trouble",
    "rate_limited": "refused",
    "gone": "gone",
    "extractor": "not readable",
    "invalid": "not a video",
}


@st.fragment(run_every=LIVE)
def live() -> None:
    """Collections that run or wait, looked at again every few seconds."""
    with page.guard():
        with db.transaction("viewer") as connection:
            listed = operations.under_way(connection)
            stands = [collecting.progress(connection, one.collection_id) for one in listed]
        before = st.session_state.get("under way")
        st.session_state["under way"] = [one.collection_id for one in listed]
        if before is not None and set(before) - {one.collection_id for one in listed}:
            st.rerun()  # one is over: the list below has it now
        if not listed:
            st.caption(":gray[:material/inbox:] Nothing is being collected. Name something above.")
        for one, stand in zip(listed, stands, strict=True):
            _card(one, stand, page.now())


def _card(one: Collection, stand: CollectionProgress, moment: datetime) -> None:
    with st.container(border=True, gap="xsmall", key=f"collection-{one.collection_id}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"{BADGES[one.state]} {KINDS.get(one.kind, one.kind)} {_target(one)}", width="stretch")
            if one.state == "waiting" and st.button(
                "Go on now",
                key=f"resume-{one.collection_id}",
                icon=":material/play_arrow:",
                help="Does not wait any longer. A source that refuses us is still left alone.",
            ):
                with db.transaction("operator") as connection:
                    jobs.resume_collection(connection, one.collection_id)
                st.rerun()
            if st.button(
                "Cancel", key=f"stop-{one.collection_id}", icon=":material/close:", help="What came in is kept."
            ):
                with db.transaction("operator") as connection:
                    jobs.cancel_collection(connection, one.collection_id)
                st.rerun()
        if stand.found:
            settled = stand.found - stand.pending
            st.progress(settled / stand.found, text=f"{settled} of {stand.found}{'' if stand.listed else ' so far'}")
        st.caption(counted(stand))
        st.caption(_when(one, stand, moment))


def counted(stand: CollectionProgress) -> str:
    """How many were found and what became of them, with reasons."""
    if not stand.found:
        return "Nothing listed yet." if stand.state in ("waiting", "running") else "Nothing was listed."
    parts = [
        f"{words.full(stand.found)} found{'' if stand.listed else ' so far'}",
        f"{words.full(stand.fetched)} fetched",
    ]
    if stand.listed_only:
        parts.append(
            f"{sum(stand.listed_only.values())} of them by the listing alone{_reasons(_named(stand.listed_only))}"
        )
    if stand.skipped:
        parts.append(f"{sum(stand.skipped.values())} skipped{_reasons(stand.skipped)}")
    if stand.failed:
        parts.append(f"{sum(stand.failed.values())} failed{_reasons(_named(stand.failed))}")
    if stand.pending:
        parts.append(f"{words.full(stand.pending)} to read")
    return " · ".join(parts)


def _named(by_kind: dict[str, int]) -> dict[str, int]:
    return {KINDS_OF_ERROR.get(kind, kind): number for kind, number in by_kind.items()}


def _reasons(by_reason: dict[str, int]) -> str:
    named = sorted(by_reason.items(), key=lambda one: -one[1])
    shown = [f"{number} {words.plain(words.shorten(reason, 60))}" for reason, number in named[:4]]
    return f" ({', '.join(shown)}{', …' if len(named) > 4 else ''})"


def _when(one: Collection, stand: CollectionProgress, moment: datetime) -> str:
    parts = []
    if one.state == "waiting" and one.reason:
        parts.append(f":orange[:material/warning:] {words.plain(words.shorten(one.reason, WIDEST_REASON).rstrip('.'))}")
    if one.state == "waiting":
        parts.append(
            f"goes on {words.at(one.resume_at, moment)}"
            if one.resume_at and one.resume_at > moment
            else "waits for a free worker"
        )
    if stand.finish_at:
        parts.append(f"can be done {words.at(stand.finish_at, moment)}, under the pace and budget that all share")
    parts.append(f"asked {words.ago(one.asked_at, moment)} by {_who(one.asked_by)}")
    shown = " · ".join(parts)
    return shown[0].upper() + shown[1:]


def history() -> None:
    """What was collected; for the chosen row what became of each id, and how to go on with it."""
    with db.transaction("viewer") as connection:
        listed = [one for one in operations.collections(connection, limit=50) if one.finished_at]
    if not listed:
        return
    moment = page.now()
    column = st.column_config
    st.caption("Choose a row to see what became of each video.")
    event = st.dataframe(
        {
            "What": [one.target for one in listed],
            "Kind": [KINDS.get(one.kind, one.kind) for one in listed],
            "State": [one.state for one in listed],
            "Found": [one.found for one in listed],
            "New": [one.new for one in listed],
            "Updated": [one.updated for one in listed],
            "Skipped": [one.skipped for one in listed],
            "Failed": [one.failed for one in listed],
            "Asked": [words.ago(one.asked_at, moment) for one in listed],
            "By": [_who(one.asked_by) for one in listed],
            "Reason": [one.reason or "" for one in listed],
        },
        hide_index=True,
        height="content" if len(listed) <= 10 else 400,
        on_select="rerun",
        selection_mode="single-row",
        key="collections",
        alt="Collections that are over, newest first",
        column_config={
            "What": column.TextColumn(width="medium", pinned=True),
            **{name: column.NumberColumn(width="small") for name in ("Found", "New", "Updated", "Failed")},
            "Skipped": column.NumberColumn(
                width="small", help="Read in the last hours, gone, or left out by the filter."
            ),
        },
    )
    rows = event.selection.rows
    if rows and rows[0] < len(listed):
        _details(listed[rows[0]])


def _details(one: Collection) -> None:
    with db.transaction("viewer") as connection:
        items = operations.items(connection, one.collection_id)
        stand = collecting.progress(connection, one.collection_id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{BADGES[one.state]} {_target(one)}: {counted(stand)}", width="stretch")
        if (one.state != "done" or stand.failed or stand.listed_only) and st.button(
            "Resume",
            key=f"again-{one.collection_id}",
            icon=":material/replay:",
            help="Goes on with what was not read, and tries again what failed for a reason that may have passed.",
        ):
            with db.transaction("operator") as connection:
                jobs.resume_collection(connection, one.collection_id)
            st.rerun()
    if one.reason:
        st.caption(f":orange[:material/warning:] {words.plain(words.shorten(one.reason, WIDEST_REASON))}")
    if items:
        st.dataframe(
            {
                "Video": [item.title or item.candidate_id for item in items],
                "Outcome": [item.outcome for item in items],
                "Reason": [item.reason or "" for item in items],
                "Original": [item.url for item in items],
            },
            hide_index=True,
            height="content" if len(items) <= 10 else 400,
            key="items",
            alt="What became of each video",
            column_config={
                "Video": st.column_config.TextColumn(width="large", pinned=True),
                "Original": st.column_config.LinkColumn(display_text="Open", width="small"),
            },
        )


def _who(asked_by: str) -> str:
    return {"watchlist": "the watchlist", "schedule": "the schedule", "discovery": "another collection"}.get(
        asked_by, words.plain(asked_by)
    )


def _target(one: Collection) -> str:
    return f"**{words.plain(words.shorten(one.target, 80))}**"
