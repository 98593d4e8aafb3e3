"""The watchlist on the Operations page: what is collected again by itself, how, when next, and what came of it."""

from datetime import datetime

import streamlit as st

from miles import db, jobs, watchlist
from miles.watchlist import Entry, LastRun
from ui import asking, page, words
from ui.operate import BADGES, KINDS


def entries(user: str, *, worker: bool) -> None:
    """All entries with what can be done to them."""
    with db.transaction("viewer") as connection:
        listed = watchlist.entries(connection)
    if not listed:
        st.caption(
            ":gray[:material/inbox:] Nothing is watched. Name it above and add it to the watchlist; a worker collects "
            "it again as often as you say."
        )
        return
    each_hour = sum(one.most_requests / (one.every.total_seconds() / 3600) for one in listed if not one.paused_at)
    st.caption(
        f"{words.plural(len(listed), 'entry', 'entries')} · at most {words.count(each_hour)} requests an hour on average, "
        "where nothing is known yet. Channels that runs come across and looks at known videos are not counted."
        + ("" if worker else " Runs begin when a worker does.")
    )
    for one in listed:
        _card(one, user, page.now())


def _card(one: Entry, user: str, moment: datetime) -> None:
    with st.container(border=True, gap="xsmall", key=f"watch-{one.watch_id}"):
        st.markdown(f"{_state(one)} {KINDS[one.kind]} **{words.plain(words.shorten(one.target, 90))}**")
        st.caption(_how(one))
        st.caption(f"{_next(one, moment)} · {_last(one.last, moment)}")
        with st.container(horizontal=True, gap="small"):
            under_way = one.last is not None and not one.last.over
            if st.button(
                "Run now",
                key=f"run-{one.watch_id}",
                icon=":material/play_arrow:",
                disabled=under_way,
                help="A run is under way." if under_way else None,
            ):
                with db.transaction("operator") as connection:
                    jobs.run_watched(connection, one.watch_id, user)
                st.toast("Run queued", icon=":material/check:")
                st.rerun()
            with st.popover("Edit", icon=":material/edit:"):
                _edit(one)
            if st.button(
                "Resume" if one.paused_at else "Pause",
                key=f"pause-{one.watch_id}",
                icon=":material/play_circle:" if one.paused_at else ":material/pause:",
            ):
                with db.transaction("operator") as connection:
                    (watchlist.resume if one.paused_at else watchlist.pause)(connection, one.watch_id)
                st.rerun()
            if st.button(
                "Remove",
                key=f"unwatch-{one.watch_id}",
                icon=":material/close:",
                type="tertiary",
                help="What was collected stays.",
            ):
                with db.transaction("operator") as connection:
                    watchlist.remove(connection, one.watch_id)
                st.rerun()


def _edit(one: Entry) -> None:
    with st.form(f"edit-{one.watch_id}", border=False):
        every = asking.cadence(f"edit-{one.watch_id}", one.every)
        how = asking.how(f"edit-{one.watch_id}", one)
        saved = st.form_submit_button("Save", type=page.strong(), icon=":material/check:")
    if saved:
        with page.guard(), db.transaction("operator") as connection:
            watchlist.change(
                connection,
                one.watch_id,
                every=watchlist.cadence(every or ""),
                item_limit=how.item_limit,
                read_limit=how.read_limit,
                keep=how.keep,
                language=how.language,
                region=how.region,
            )
        st.toast("Saved", icon=":material/check:")
        st.rerun()


def _state(one: Entry) -> str:
    if one.last and not one.last.over:
        return BADGES[one.last.state]
    if one.paused_at:
        return ":gray-badge[:material/pause: paused]"
    if one.last and one.last.state == "failed":
        return BADGES["failed"]
    return ":green-badge[:material/event_repeat: on]"


def _how(one: Entry) -> str:
    hours = one.every.total_seconds() / 3600
    parts = [
        f"Every {words.plural(hours / 24, 'day') if hours % 24 == 0 else words.plural(hours, 'hour')}",
        f"up to {words.plural(one.item_limit, 'video')}"
        + ("" if one.read_limit is None else f", {one.read_limit} in full")
        + f" (at most {one.most_requests} requests)",
    ]
    if one.language or one.region:
        parts.append(" in ".join(filter(None, (one.language, one.region))))
    if one.match_filter:
        quoted = one.match_filter.replace("`", "'")
        parts.append(f"keeps `{quoted}`")
    return " · ".join(parts)


def _next(one: Entry, moment: datetime) -> str:
    if one.paused_at:
        return f"Paused {words.ago(one.paused_at, moment)}"
    return "Due now" if one.next_at <= moment else f"Next {words.at(one.next_at, moment)}"


def _last(run: LastRun | None, moment: datetime) -> str:
    if run is None:
        return "not collected yet"
    counts = f"{run.new} new, {run.updated} updated, {run.skipped} skipped, {run.failed} failed"
    reason = f": :orange[:material/warning:] {words.plain(words.shorten(run.reason, 200))}" if run.reason else ""
    if run.over:
        return f"last {words.ago(run.finished_at or run.asked_at, moment)}, {run.state}, {counts}{reason}"
    return f"{run.state} since {words.ago(run.asked_at, moment)}, {counts}{reason}"
