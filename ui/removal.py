"""Removing a video or its channel for good, for the operator: asked for at the foot of a video's details."""

import streamlit as st

from miles import db, jobs, settings, tombstones
from miles.browse import Detail
from ui import page, words

VIDEO, CHANNEL = "This video", "All of its channel"
LONGEST_REASON = 200  # characters


def of_video(found: Detail) -> None:
    """The form; what it asks for is done by a job."""
    row = found.row
    if row.sample:  # the sample goes as a whole
        return
    with (
        st.expander("Remove for good", icon=":material/delete_forever:"),
        st.form(f"remove-{row.candidate_id}", border=False),
    ):
        st.caption(
            "Deletes its snapshots, scores, forecasts and picture, and what drafts and concepts say of it, and never"
            " collects it again. It can't be brought back; only the ban can be lifted (`python -m miles remove --lift`)."
        )
        choices = [VIDEO, CHANNEL] if row.channel_key else [VIDEO]
        what = st.radio(
            "What",
            choices,
            horizontal=True,
            format_func=lambda one: one if one == VIDEO else f"{one} ({words.plural(found.channel_videos, 'video')})",
            key=f"remove-what-{row.candidate_id}",
        )
        reason = st.text_input(
            "Why", max_chars=LONGEST_REASON, placeholder="asked by its owner", key=f"remove-why-{row.candidate_id}"
        )
        sure = st.checkbox("Yes, delete it", key=f"remove-sure-{row.candidate_id}")
        if not st.form_submit_button("Remove", icon=":material/delete_forever:"):
            return
        if not sure:
            st.warning("Nothing was removed. Tick the box first.", icon=":material/check_box:")
            return
        from miles import removal  # numpy and Pillow, for this click alone

        with page.guard(), db.transaction("operator") as connection:
            named = removal.find(
                connection, row.channel_key if what == CHANNEL and row.channel_key else row.candidate_id
            )
            jobs.defer_removal(connection, named, settings.load().user, reason.replace("\x00", "") or None)
        st.success(
            "Its removal is queued; a worker does it. The Operations page shows when it is done.",
            icon=":material/check:",
        )


def kept_out() -> None:
    """What was removed, and is never collected again."""
    with db.transaction("viewer") as connection:
        stones = tombstones.listed(connection)
    if not stones:
        return
    moment = page.now()
    st.caption("Removed on request, and kept out. `python -m miles remove --lift KEY` lets something in again.")
    st.dataframe(
        {
            "Key": [one.key for one in stones],
            "What": [one.kind for one in stones],
            "Removed": [words.ago(one.removed_at, moment) for one in stones],
            "State": ["deleted" if one.deleted_at else "being deleted" for one in stones],
            "By": [one.removed_by for one in stones],
            "Reason": [one.reason for one in stones],
        },
        hide_index=True,
        height="content" if len(stones) <= 10 else 400,
        key="removed",
        alt="What was removed on request",
    )
