"""The parts of the Operations page: live jobs, collections, the watchlist, the installation."""

from collections.abc import Callable
from datetime import datetime

import streamlit as st
from sqlalchemy import Connection

from miles import db, jobs, operations, settings
from miles.operations import Job
from ui import data, page, words

LIVE = 3  # seconds between two looks at the jobs

KINDS = {
    "detect": "What it looks like",
    "topic": "Topic",
    "channel": "Channel",
    "hashtag": "Hashtag",
    "playlist": "Playlist",
    "tiktok": "TikTok user",
    "url": "Address",
    "revisit": "Re-visit",
}
ASKED = ["detect", "topic", "channel", "hashtag", "playlist", "tiktok", "url"]  # kinds that a person can ask for
TASKS = {
    "collect": "Collect",
    "score": "Score",
    "roll_up": "Refresh summaries",
    "refresh": "Scheduled refresh",
    "load_sample": "Load sample data",
    "remove_sample": "Remove sample data",
}
BADGES = {
    "waiting": ":gray-badge[:material/schedule: waiting]",
    "running": ":blue-badge[:material/sync: running]",
    "done": ":green-badge[:material/check: done]",
    "failed": ":red-badge[:material/error: failed]",
    "cancelled": ":gray-badge[:material/block: cancelled]",
}


def action(label: str, icon: str, defer: Callable[[Connection], None], done: str) -> None:
    """A button that queues a job."""
    if st.button(label, icon=icon, key=f"action-{label}"):
        with db.transaction("operator") as connection:
            defer(connection)
        st.toast(done, icon=":material/check:")


def has_sample() -> bool:
    return data.state().sample > 0


@st.fragment(run_every=LIVE)
def live_jobs() -> None:
    """Jobs with state and reason, looked at again every few seconds."""
    with page.guard():
        with db.transaction("viewer") as connection:
            counts = operations.job_counts(connection)
            listed = operations.jobs(connection, limit=20)
            alive = operations.workers(connection)
        st.caption(
            f"{words.plural(alive, 'worker')} · "
            + " · ".join(
                f"{number} {state}" for state, number in counts.items() if number or state in ("waiting", "failed")
            )
        )
        if not listed:
            st.caption(":gray[:material/inbox:] No jobs yet. What you collect shows here, with its progress.")
        for job in listed:
            _job(job)


def _job(job: Job) -> None:
    moment = page.now()
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small", key=f"job-{job.job_id}"):
        with st.container(gap=None, width="stretch"):
            what = TASKS.get(job.task, words.plain(job.task))
            if job.target:
                what += f" {KINDS.get(job.kind or '', '').lower()} **{words.plain(words.shorten(job.target, 80))}**"
            st.markdown(f"{BADGES[job.state]} {what}")
            if job.reason and job.state != "done":
                st.caption(f":orange[{words.plain(words.shorten(job.reason, 300))}]")
            st.caption(_when(job, moment))
        if job.state == "failed" and st.button(
            "Retry", key=f"retry-{job.job_id}", icon=":material/replay:", help="Queue it again"
        ):
            with db.transaction("operator") as connection:
                jobs.retry(connection, job.job_id)
            st.rerun()
        if job.state == "waiting" and st.button(
            "Cancel", key=f"cancel-{job.job_id}", icon=":material/close:", help="Take it off the queue"
        ):
            with db.transaction("operator") as connection:
                operations.cancel(connection, job.job_id)
            st.rerun()


def _when(job: Job, moment: datetime) -> str:
    parts = [f"job {job.job_id}"]
    if job.progress:
        parts.append(job.progress)
    if job.ended_at:
        parts.append(f"ended {words.ago(job.ended_at, moment)}")
        if job.started_at:
            parts.append(f"took {words.duration((job.ended_at - job.started_at).total_seconds())}")
    elif job.state == "running" and job.started_at:
        parts.append(f"started {words.ago(job.started_at, moment)}")
    elif job.due_at and job.due_at > moment:
        parts.append(f"tried again in {words.duration((job.due_at - moment).total_seconds())}")
    elif job.queued_at:
        parts.append(f"queued {words.ago(job.queued_at, moment)}")
    if job.attempts > 1:
        parts.append(f"{job.attempts} attempts")
    return " · ".join(parts)


def collections() -> None:
    """What was collected, and for the chosen row what became of each id."""
    with db.transaction("viewer") as connection:
        listed = operations.collections(connection, limit=50)
    if not listed:
        st.caption(":gray[:material/inbox:] Nothing was collected yet.")
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
            "By": [one.asked_by for one in listed],
            "Reason": [one.reason for one in listed],
        },
        hide_index=True,
        height="content" if len(listed) <= 10 else 400,
        on_select="rerun",
        selection_mode="single-row",
        key="collections",
        alt="Collections, newest first",
        column_config={
            "What": column.TextColumn(width="medium", pinned=True),
            **{name: column.NumberColumn(width="small") for name in ("Found", "New", "Updated", "Skipped", "Failed")},
            "Skipped": column.NumberColumn(width="small", help="Seen in the last hours, or not wanted."),
        },
    )
    rows = event.selection.rows
    if not rows or rows[0] >= len(listed):
        return
    chosen = listed[rows[0]]
    with db.transaction("viewer") as connection:
        items = operations.items(connection, chosen.collection_id)
    st.markdown(f"**{words.plain(chosen.target)}**: {words.plural(len(items), 'video')}")
    if items:
        st.dataframe(
            {
                "Video": [item.title or item.candidate_id for item in items],
                "Outcome": [item.outcome for item in items],
                "Reason": [item.reason for item in items],
                "Original": [item.url for item in items],
            },
            hide_index=True,
            height="content" if len(items) <= 10 else 400,
            key="items",
            alt="What became of each video",
            column_config={
                "Video": column.TextColumn(width="large", pinned=True),
                "Original": column.LinkColumn(display_text="Open", width="small"),
            },
        )


def watchlist() -> None:
    """What is collected again by itself, and when next."""
    with db.transaction("viewer") as connection:
        watched = operations.watchlist(connection)
        alive = operations.workers(connection)
    moment = page.now()
    following = operations.next_refresh(moment)
    topics = [topic.strip() for topic in settings.load().refresh_topics.split(",") if topic.strip()]
    hours, minutes = divmod(int((following - moment).total_seconds() // 60), 60)
    st.caption(
        f"Next at {following:%H:%M} UTC, in {f'{hours} h ' if hours else ''}{minutes} min"
        + (" (a worker has to run then)." if not alive else ".")
        + " Videos seen before are looked at again 6 h, 1 d, 3 d and 7 d after they were first seen."
    )
    if topics:
        st.caption(f"From `MILES_REFRESH_TOPICS`: {words.plain(', '.join(topics))}.")
    if not watched:
        st.caption(":gray[:material/inbox:] Nothing is watched. Name it above and choose the six-hourly button.")
    for one in watched:
        with st.container(
            border=True, horizontal=True, vertical_alignment="center", gap="small", key=f"watch-{one.watch_id}"
        ):
            with st.container(gap=None, width="stretch"):
                st.markdown(f"{KINDS[one.kind]} **{words.plain(words.shorten(one.target, 90))}**")
                last = (
                    f"last {words.ago(one.last_collected_at, moment)}, {one.last_new} new"
                    if one.last_collected_at
                    else "not collected yet"
                )
                st.caption(f"up to {one.item_limit} videos · {last} · added by {words.plain(one.added_by)}")
            if st.button("Remove", key=f"unwatch-{one.watch_id}", icon=":material/close:", type="tertiary"):
                with db.transaction("operator") as connection:
                    operations.unwatch(connection, one.watch_id)
                st.rerun()


@st.cache_data(ttl=data.FRESH, max_entries=1, show_spinner=False)
def _status() -> operations.Status:
    with db.transaction("viewer") as connection:
        return operations.status(connection)


def installation() -> None:
    """Versions, counts, and where everything lies."""
    status = _status()
    moment = page.now()
    versions = status.versions
    with st.grid(4, min_column_width=150, gap="small"):
        st.metric("Videos", words.count(status.candidates), border=True, help=words.full(status.candidates))
        st.metric("Snapshots", words.count(status.snapshots), border=True, help=words.full(status.snapshots))
        st.metric("Channels", words.count(status.channels), border=True, help=words.full(status.channels))
        st.metric(
            "Scored",
            words.percent(status.scored / status.candidates) if status.candidates else words.UNKNOWN,
            border=True,
            help=f"{words.full(status.scored)} of {words.full(status.candidates)}; {words.full(status.unscored)} wait.",
        )
    age = versions.yt_dlp_age_days
    old = age is not None and age > operations.OLD_YT_DLP.days
    yt_dlp = versions.yt_dlp + (f", {age} days old" if age is not None else "")
    if old:
        yt_dlp += " · :orange[:material/update: update it: sites change, and an old yt-dlp starts to fail]"
    st.markdown(
        "\n".join(
            f"| {name} | {value} |"
            for name, value in (
                ("**Versions**", ""),
                (":-", ":-"),
                ("Miles", versions.miles),
                ("Model", words.plain(status.model_version) if status.model_version else "nothing scored yet"),
                ("yt-dlp", yt_dlp),
                ("PostgreSQL", versions.postgres),
                (
                    "Streamlit, ONNX Runtime, procrastinate",
                    f"{versions.streamlit}, {versions.onnxruntime}, {versions.procrastinate}",
                ),
                ("**Where it lies**", ""),
                ("Database", f"{words.plain(db.place())} ({_size(status.database_bytes)})"),
                ("Home", words.plain(str(settings.load().home))),
                (
                    "Thumbnails",
                    f"{words.plain(str(settings.load().thumbnails))} ({words.count(status.thumbnails)}, {_size(status.thumbnail_bytes)})",
                ),
                ("**State**", ""),
                ("Workers", f"{status.workers} alive"),
                ("Last collection", words.ago(status.last_collected_at, moment)),
                ("Newest snapshot", words.ago(status.newest_snapshot_at, moment)),
                ("Sample videos", words.full(status.sample)),
            )
        )
    )
    with db.transaction("viewer") as connection:
        bills = operations.spent(connection)
    for bill in bills:
        st.caption(
            f"{words.plain(bill.service)}, last 30 days: {words.plural(bill.requests, 'request')}, "
            f"{words.count(bill.input_tokens)} tokens in, {words.count(bill.output_tokens)} out, {bill.seconds:.0f} s."
        )


def _size(size: int) -> str:
    """Bytes for people: 1.4 GB."""
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
