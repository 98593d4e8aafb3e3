"""How the sources stand, on the Operations page: budget, breaker, success, canary, and the age of yt-dlp."""

from datetime import datetime

import streamlit as st

from miles import db, health, jobs, pacing
from miles.health import Canary, Health
from miles.pacing import SourceState
from ui import page, words
from ui.operate import LIVE

BREAKER_HELP = "A refusal (429, 403, a bot check) closes the road for all workers; then one of them tries."


@st.fragment(run_every=LIVE)
def live() -> None:
    """Every source, looked at again every few seconds."""
    with page.guard():
        with db.transaction("viewer") as connection:
            listed = health.sources(connection)
        moment = page.now()
        _yt_dlp(moment)
        for one in listed:
            _card(one, moment)


def _yt_dlp(moment: datetime) -> None:
    installed = health.yt_dlp(moment.date())
    age = "" if installed.age_days is None else f", released {words.plural(installed.age_days, 'day')} ago"
    badge = (
        ":orange-badge[:material/update: update it: sites change, and an old yt-dlp starts to fail]"
        if installed.old
        else ":green-badge[:material/check: fresh]"
        if installed.age_days is not None
        else ""
    )
    st.markdown(f"yt-dlp {installed.version}{age} {badge}")


def _card(one: Health, moment: datetime) -> None:
    with st.container(border=True, gap="small", key=f"source-{one.source}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            name = one.source if "." in one.source else words.platform(one.source)  # a host stays as it is
            st.markdown(f"**{words.plain(name)}** {_badge(one, moment)}", width="stretch")
            if (
                one.state
                and one.state.breaker == "open"
                and st.button(
                    "Try now",
                    key=f"try-{one.source}",
                    icon=":material/play_arrow:",
                    help="Lets one worker ask before the time is over. A refusal makes the wait longer.",
                )
            ):
                with db.transaction("operator") as connection:
                    pacing.try_now(connection, one.source)
                st.rerun()
            if one.has_canary and st.button(
                "Check it now",
                key=f"canary-{one.source}",
                icon=":material/stethoscope:",
                help="The canary: reads one page of a listing that is never empty, through the same pace and budget. If that fails, "
                "the site has changed or refuses, whatever was asked of it.",
            ):
                with db.transaction("operator") as connection:
                    jobs.defer_canary(connection, one.source)
                st.toast("Check queued", icon=":material/check:")
        if one.state:
            _numbers(one.state, moment)
            if one.state.breaker != "closed" and one.state.reason:
                st.caption(f":orange[:material/warning:] Why: {words.plain(one.state.reason)}", help=BREAKER_HELP)
        st.caption(
            _canary(one.canary, moment)
            if one.has_canary
            else "Only collecting tells whether this site can be read: no listing of it is known that is never empty."
        )


def _badge(one: Health, moment: datetime) -> str:
    state = one.state
    if state is None:
        return ":gray-badge[not asked yet]"
    if state.breaker == "open":
        return f":red-badge[:material/block: refuses us; tried again {words.at(state.resume_at, moment)}]"
    if state.breaker == "half-open":
        return ":orange-badge[:material/sync: the next request tries whether it answers again]"
    if state.free_at:
        return f":orange-badge[:material/hourglass: budget used up until {words.clock(state.free_at, moment)}]"
    if one.canary and not one.canary.passed:
        return ":orange-badge[:material/warning: can't be read]"
    return ":green-badge[:material/check: answers]"


def _numbers(state: SourceState, moment: datetime) -> None:
    steps = state.answered_24h + state.failed_24h
    with st.grid(4, min_column_width=150, gap="small"):
        st.metric(
            "Last success",
            words.ago(state.last_success_at, moment),
            border=True,
            height="stretch",
            help="When it last answered a page of a listing or a video, be it that the video is gone.",
        )
        st.metric(
            "Success rate, 24 h",
            words.percent(state.success_rate),
            border=True,
            height="stretch",
            help=f"Of {words.plural(steps, 'page or video', 'pages and videos')}: {state.answered_24h} answered, "
            f"{state.failed_24h} not (network, refusals, answers that can't be read)."
            + (f" The last failure was {words.ago(state.last_failure_at, moment)}." if state.last_failure_at else ""),
        )
        st.metric(
            "Requests this hour",
            f"{words.full(state.used)} of {words.full(state.budget)}",
            border=True,
            height="stretch",
            help="Within the last hour, of MILES_HOURLY_BUDGET. All workers share it; a video read in full takes two.",
        )
        st.metric(
            "Pace",
            f"{state.delay:g} s",
            border=True,
            height="stretch",
            help="Least time between two requests (MILES_REQUEST_DELAY), up to half as much again at random.",
        )
    if state.used:
        st.progress(min(state.used / state.budget, 1.0))


def _canary(canary: Canary | None, moment: datetime) -> str:
    if canary is None:
        return "Not checked yet; a worker reads a listing that is never empty once a day while the source is in use."
    took = f"{words.plural(canary.requests, 'request')}, {canary.seconds:.1f} s, yt-dlp {canary.yt_dlp}"
    if canary.passed:
        return f":green[:material/check:] Checked {words.ago(canary.at, moment)}: it answers ({took})."
    return (
        f":red[:material/error:] Checked {words.ago(canary.at, moment)}: it can't be read ({took}). "
        f"{words.plain(words.shorten(canary.reason or '', 300))}"
    )
