"""The parts of the Operations page that are about the installation: live jobs, versions, what to press."""

from collections.abc import Callable
from datetime import datetime

import streamlit as st
from sqlalchemy import Connection

from miles import db, jobs, operations, settings, storage
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
    "refresh": "Look for what is due",
    "canary": "Check a source",
    "backtest": "Look back with a model",
    "load_sample": "Load sample data",
    "remove_sample": "Remove sample data",
    "tidy": "Daily clean-up",
    "remove": "Remove on request",
    "clip": "Look at a clip",
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


def actions() -> None:
    """Work that can be asked for at any time."""
    with st.container(horizontal=True, gap="small"):
        action("Score what is new", ":material/bolt:", jobs.defer_score, "Scoring queued")
        action("Refresh the summaries", ":material/functions:", jobs.defer_roll_up, "Roll-up queued")
        if data.state().sample:
            action("Remove sample data", ":material/delete:", jobs.defer_remove_sample, "Removal queued")
        else:
            action("Load sample data", ":material/science:", jobs.defer_load_sample, "Sample data queued")


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
                st.caption(f":orange[:material/warning:] {words.plain(words.shorten(job.reason, 300))}")
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


@st.cache_data(ttl=data.FRESH, max_entries=1, show_spinner=False, refresh_mode="background")
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
                    f"{words.plain(storage.thumbnails().place)} ({words.count(status.thumbnails)}, {_size(status.thumbnail_bytes)})",
                ),
                ("**State**", ""),
                ("Counted", words.ago(status.counted_at or moment, moment)),
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
