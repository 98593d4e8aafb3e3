"""The parts of the Model page: promises against outcomes, drift, the version in shadow, the card, the history."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import streamlit as st

from miles import calibration, db, jobs, monitor, published, registry
from miles.calibration import Check, Interval
from miles.drafts import Origin
from miles.errors import ModelUnavailable
from miles.monitor import Comparison, Drift, Report
from miles.registry import Activation, Version
from ui import cards, charts, data, findings, page, words

VIEWS = ("Outcomes", "Drift", "Shadow", "About", "History")  # short: all fit side by side on a phone
STATES = {"current": "in force", "shadow": "in shadow", "retired": "retired"}
COLOURS = {"current": "green", "shadow": "blue", "retired": "gray"}

HELP = {
    "skill": "How much smaller the squared error of the probabilities is than that of always saying the "
    "base rate. 100% is perfect, 0% no better than the base rate, below 0 worse.",
    "ece": "Expected calibration error: the mean gap between what was promised and what happened, over ten groups of "
    "forecasts of equal size. Chance alone makes it greater than 0.",
    "coverage": "How many outcomes lay within the interval that was meant to hold 80 of 100.",
    "error": "Half of the predicted velocities were off by less than this share of the measured one.",
}


def summary(version: Version, report: Report | None, now: datetime) -> str:
    """The line under the title: which version, how old, in force since when, how much it scored."""
    parts = [f"Version {words.plain(version.version)}"]
    if version.made:
        parts.append(f"made {_day(version.made)}")
    if version.state == "current" and version.activated_at:
        parts.append(f"in force for {words.age(version.activated_at, now)}")
    else:
        parts.append(STATES[version.state])
    if report is not None:
        parts.append(f"{words.counted(report.scores, 'video')} scored")
        parts.append(f"looked at {words.ago(report.refreshed_at, now)}")
    return " · ".join(parts)


def _day(said: str) -> str:
    """A day of a manifest, which may hold anything, for people."""
    try:
        return words.day(date.fromisoformat(said))
    except ValueError:
        return words.plain(said)


def not_summed_up() -> None:
    page.blank(
        ":material/fact_check:",
        "Not looked at yet.",
        "How a version does is worked out after each scoring, together with the other summaries. Collect something, "
        "or refresh the summaries on the Operations page.",
        lambda: st.page_link("pages/operations.py", label="Open Operations", icon=":material/settings:"),
    )


# --- promises and outcomes --------------------------------------------------------------------------


def foresight(report: Report) -> None:
    """What was said before it happened, against what happened."""
    check = report.foresight
    waiting = [
        f"{words.plural(report.open, 'forecast')} {'waits' if report.open == 1 else 'wait'} for the 3 days to pass"
        if report.open
        else "",
        f"For {words.full(report.untold)} more nobody looked at the video in time" if report.untold else "",
    ]
    counted = (
        f"{words.plural(check.n, 'forecast')} of {words.plural(check.channels, 'channel')} with a known outcome, made "
        f"before it: the velocity to the look nearest to 3 days later, {monitor.WINDOW[0]} to {monitor.WINDOW[2]} days "
        "after the counts that the score was made from. "
        + "".join(f"{part}. " for part in waiting if part)
        + "Only videos that were looked at again can be counted."
    )
    if not check.enough:
        unseen = "A worker looks at new videos again after 3 days; then it is known which of them took off. " + "".join(
            f"{part}. " for part in waiting if part
        )
        page.blank(
            ":material/hourglass_empty:",
            f"{findings.not_enough(check)}.",
            (counted + " " if check.n else unseen)
            + "A score counts here only if it was made before the outcome was seen. Imported history that is scored "
            "afterwards does not, however many videos it has, and neither does sample data.",
        )
        return
    _check(check, findings.promises(check), counted, key="foresight")


ORIGINS: dict[Origin, str] = {
    "own": "One's own",
    "offline": "Concepts written offline",
    "language model": "Concepts of a language model",
}


def published_drafts(found: published.Report | None) -> None:
    """Drafts that were published, all users together, without whose they are."""
    if found is None or not found.every.linked:
        return
    st.header(
        "Drafts that were published",
        anchor=False,
        help="Drafts of the Score lab that were linked to the video they became. What was foretold is the score that they had "
        "when they were saved; what happened is the event of drafts. Nobody sees whose they are.",
    )
    every = found.every
    counted = (
        f"{words.plural(every.linked, 'draft')} of all users and versions linked to a video: of {words.full(every.told)} the "
        f"first day is known, {words.full(every.foretold)} of those were saved before they were published, and of "
        f"{words.full(every.judged)} the channel's usual is known."
    )
    if not every.check.enough:
        page.blank(":material/hourglass_empty:", f"{findings.not_enough(every.check)}.", counted)
    else:
        _check(every.check, findings.promises(every.check), counted, key="published")
    if found.origins.keys() - {"own"}:
        st.markdown("**By whose idea they were**")
        for origin, name in ORIGINS.items():
            if part := found.origins.get(origin):
                st.caption(f"**{name}** ({words.full(part.linked)}): {findings.promises(part.check)}.")


def backtest(report: Report) -> None:
    """The same for looks of the past, asked afterwards; apart from the rest, and labelled."""
    st.header(
        "Backtest, not foresight",
        anchor=False,
        help="The version is asked now about earlier looks, with the counts and the channel history of that time. "
        "The outcome was already there when it was asked.",
    )
    if report.backtest_after is None:
        learnt = "Its manifest does not say until when this version learnt, so it may know some of these videos."
    else:
        learnt = f"Only videos published from {words.day(report.backtest_after)} on, which it did not learn from."
    if report.backtest is None:
        st.caption(
            f"Ask this version about up to {words.full(monitor.BACKTEST)} first looks whose next 3 days are known. {learnt}"
        )
    elif not report.backtest.enough:
        st.caption(f"{findings.not_enough(report.backtest)}. {learnt}")
    else:
        counted = (
            f"{words.plural(report.backtest.n, 'look')} of {words.plural(report.backtest.channels, 'channel')}, chosen by "
            f"chance among first looks whose next 3 days are known. {learnt} Titles and pictures are those of today."
        )
        _check(report.backtest, findings.promises(report.backtest), counted, key="backtest")
    if st.button("Run a backtest", icon=":material/history:", help="Takes a worker about a minute."):
        with db.transaction("operator") as connection:
            jobs.defer_backtest(connection, report.version)
        st.toast("Backtest queued; Operations shows how it goes", icon=":material/check:")


def _check(check: Check, title: str, caption: str, *, key: str) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        charts.show(charts.reliability(check.bins), title=title, caption=caption, key=f"reliability-{key}")
    with right:
        with st.grid(2, min_column_width=150, gap="small"):
            _metric("Brier skill", check.skill, HELP["skill"], digits=0)
            _metric("Calibration error", check.ece, HELP["ece"], digits=1)
            _metric("In 80% interval", check.coverage, HELP["coverage"], digits=0)
            _metric("Typical error", check.error, HELP["error"], digits=0)
        if check.by_age:
            charts.show(
                charts.intervals(
                    [findings.age(one.age_band) for one in check.by_age],
                    [one.share.value * 100 for one in check.by_age],
                    [one.share.low * 100 for one in check.by_age],
                    [one.share.high * 100 for one in check.by_age],
                    no_effect=80,
                    clear=[not one.share.low <= 0.8 <= one.share.high for one in check.by_age],
                    labels=[f"n {words.count(one.n)}" for one in check.by_age],
                    hover=[
                        f"{findings.age(one.age_band)}: {words.percent(one.share.value)} of {one.n:,} within"
                        for one in check.by_age
                    ],
                    axis="outcomes within the 80% interval, in 100",
                    room=76,
                ),
                title=findings.coverage(check),
                caption="By the video's age when it was scored; bars are 95% intervals, the dotted line is what is "
                f"promised. Ages with fewer than {calibration.MIN_FORECASTS} outcomes are left out.",
                key=f"coverage-{key}",
            )


def _metric(label: str, value: Interval | None, help: str, *, digits: int) -> None:
    with st.container(border=True, height="stretch", gap=None):
        st.metric(label, words.UNKNOWN if value is None else words.percent(value.value, digits), help=help)
        if value is not None:
            st.caption(f"{words.percent(value.low, digits)} to {words.percent(value.high, digits)}")


# --- drift ------------------------------------------------------------------------------------------


def drift(found: Drift | None) -> None:
    """PSI of the score and of each input against the reference."""
    if found is None:
        page.blank(
            ":material/compare_arrows:",
            "Nothing to compare yet.",
            "Drift compares the latest videos that this version has scored with those it was calibrated on. It has scored "
            "none that were collected or imported with their views; sample data does not count.",
        )
        return
    recent = f"{words.full(found.recent_n)} videos last seen {words.day(found.recent_from)} to {words.day(found.recent_until)}"
    if not found.shifts:
        reason = (
            f"There are only {recent}; it takes {monitor.LEAST}."
            if found.recent_n < monitor.LEAST
            else "The manifest of this version holds no reference, so the first month that it scored is one; it takes a "
            "month before the latest four weeks to compare them with."
        )
        page.blank(":material/compare_arrows:", "Not enough data to tell drift.", reason)
        return
    span = f"{words.day(found.reference_from)} to {words.day(found.reference_until)}"
    against = (
        f"what it was calibrated on ({words.full(found.reference_n)} looks at videos of {span})"
        if found.from_manifest
        else f"the first month that it scored ({words.full(found.reference_n)} videos, {span}): its manifest holds no reference"
    )
    charts.show(
        shifts(found.shifts),
        title=findings.drift(found.shifts),
        caption=f"A sample of {recent}, against {against}. PSI over the 10 quantile bins of the reference and one for "
        f"“not known”, an empty bin counting as {calibration.EPSILON:g}; by convention below {calibration.STABLE:g} is "
        f"stable, up to {calibration.DRIFTED:g} shifted, above that drifted. With samples of this size chance alone "
        "makes about 0.02, and up to 0.05 of what the videos of a channel share.",
        key="drift",
    )
    st.caption(
        "Drift says that what comes in looks different, not that the scores are wrong: “Outcomes” tells that. Other "
        "topics or ages than the version learnt from are the usual reason."
    )


def shifts(found: Sequence[calibration.Shift]) -> charts.Chart:
    """Bars of PSI, the first on top, with the two limits of the convention."""
    chart = charts.Chart(26 * len(found) + 56)
    colours = {"stable": charts.MUTED, "shifted": charts.accent(), "drifted": charts.contrast()}
    names = ["score" if one.name == calibration.SCORE else one.name for one in found]
    places = list(range(len(found)))
    chart.add(
        "bar",
        x=[one.psi for one in found],
        y=places,
        orientation="h",
        marker={"color": [colours[one.verdict] for one in found], "line": {"width": 0}},
        text=[f"{one.psi:.2f}" + ("" if one.verdict == "stable" else f" {one.verdict}") for one in found],
        textposition="outside",
        cliponaxis=False,
        hovertext=[
            f"{name}: the bin that moved most ({one.where}) held {words.percent(one.before)} and holds "
            f"{words.percent(one.lately)}"
            for name, one in zip(names, found, strict=True)
        ],
        hoverinfo="text",
    )
    for limit in (calibration.STABLE, calibration.DRIFTED):
        chart.upright(limit, below=True, color=charts.MUTED, width=1, dash="dot")
    chart.y.update(tickvals=places, ticktext=names, range=[len(found) - 0.5, -0.5], showgrid=False)
    widest = max([one.psi for one in found] + [calibration.DRIFTED])
    chart.x.update(range=[0, widest * 1.6], title=charts.named("population stability index (PSI)"))
    return chart


# --- the shadow -------------------------------------------------------------------------------------


def shadow(found: Comparison | None, versions: Sequence[Version]) -> None:
    """The version in shadow beside the one in force."""
    beside = next((one.version for one in versions if one.state == "shadow"), None)
    if beside is None:
        page.blank(
            ":material/tonality:",
            "No version scores in shadow.",
            "A version in shadow scores every video beside the one in force, without anybody seeing its scores. Then "
            "this page tells what would change, and which of both has been right more often.",
            lambda: st.code("python -m miles model shadow FOLDER", language=None, width="content"),
        )
        return
    if found is None or found.shadow != beside or not found.n:
        page.blank(
            ":material/tonality:",
            f"{words.plain(beside)} has not scored enough to be compared.",
            "It scores after the version in force, with the next scoring.",
            lambda: st.page_link("pages/operations.py", label="See the jobs", icon=":material/settings:"),
        )
        return
    st.markdown(f"**{findings.shadow(found)}**")
    st.caption(
        f"{words.plain(found.shadow)} beside {words.plain(found.current)}, on {words.plural(found.n, 'video')} that both "
        "have scored as they are now"
        + (f"; {words.full(found.missing)} are not scored by both yet." if found.missing else ".")
    )
    with st.grid(4, min_column_width=150, gap="small"):
        _number("Order of the scores", found.score_rank, "Rank correlation of both scores; 1 is the same order.")
        _number("Order of the velocities", found.velocity_rank, "Rank correlation of both predicted velocities.")
        st.metric(
            "Mean difference",
            words.UNKNOWN if found.mean is None else f"{_points(found.mean)} in 100",
            border=True,
            help="Score of the version in shadow less that of the one in force, over all videos.",
        )
        low, high = found.quantiles.get("0.05"), found.quantiles.get("0.95")
        st.metric(
            "9 in 10 differ by",
            words.UNKNOWN if low is None or high is None else f"{_points(low)} to {_points(high)}",
            border=True,
            help="The middle nine tenths of the differences, in 100.",
        )
    _same_outcomes(found)
    up = [one for one in found.movers if one.shadow > one.current]
    down = [one for one in found.movers if one.shadow < one.current]
    moved = {one.candidate_id: one for one in found.movers}
    for title, movers in (("Would rise most", up), ("Would fall most", down)):
        rows = data.rows(tuple(one.candidate_id for one in movers))
        if rows:
            st.header(title, anchor=False)
            cards.lines(
                rows,
                lambda row: (
                    f"{words.in_100(moved[row.candidate_id].current)} → {words.in_100(moved[row.candidate_id].shadow)}"
                ),
                key=title,
            )
    cards.show_open()


def _same_outcomes(found: Comparison) -> None:
    if found.gain is None or found.current_check is None or found.shadow_check is None:
        st.caption(
            f"Which is right more often can't be told yet: of {words.plural(found.same, 'forecast')} that both made of the "
            f"same counts the outcome is known; it takes {calibration.MIN_FORECASTS}, of {calibration.MIN_CHANNELS} "
            f"channels, {calibration.MIN_HAPPENED} of which took off."
        )
        return
    st.markdown(f"**{findings.better(found.gain)}**")
    left, right = st.columns(2, gap="medium")
    for side, name, check in ((left, "In force", found.current_check), (right, "In shadow", found.shadow_check)):
        with side:
            charts.show(
                charts.reliability(check.bins, 300),
                title=f"{name}: {findings.promises(check)}",
                caption=f"The same {words.plural(found.same, 'outcome')}, all later than both scores.",
                key=f"shadow-{name}",
            )


def _number(label: str, value: float | None, help: str) -> None:
    st.metric(label, words.UNKNOWN if value is None else f"{value:.3f}".replace("-", "−"), border=True, help=help)


def _points(difference: float) -> str:
    """A difference of scores, in 100, with its sign."""
    shown = f"{abs(difference) * 100:.1f}"
    return "±0" if float(shown) == 0 else f"{'+' if difference > 0 else '−'}{shown}"


# --- what it is -------------------------------------------------------------------------------------

EVENTS = {
    "draft": (
        "Draft",
        "Views at 24 hours, against the channel's usual, reach the 90th percentile of the category",
    ),
    "candidate": (
        "Candidate",
        "New views a day over the next 3 days reach the 90th percentile of the age and the category",
    ),
}


def card(version: Version) -> None:
    """Events, base rates, figures, and the model card where the files are here."""
    manifest = version.manifest
    with st.grid(2, min_column_width=300, gap="small"):
        for mode, (name, event) in EVENTS.items():
            rate = manifest.get("base_rates", {}).get(mode)
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{name}**: {event}, both as they were in the data that it learnt from.")
                st.metric(
                    "Base rate", words.in_100(rate), help="How often the event happened in the period of calibration."
                )
    facts = _facts(manifest)
    if facts:
        st.caption(" · ".join(facts))
    rows = list(_figures(manifest))
    if rows:
        st.markdown("**What it reached on data that it had not seen**")
        st.dataframe(
            {
                "Question": [row[0] for row in rows],
                "Figure": [row[1] for row in rows],
                "Reached": [row[2] for row in rows],
                "95% interval": [row[3] for row in rows],
            },
            hide_index=True,
            height="content",
            alt="Figures of the model card with their intervals",
        )
        st.caption("Channels that it never learnt from, in a later month; intervals by bootstrap over channels.")
    else:
        st.caption("The manifest of this version holds no figures.")
    try:
        text = (registry.locate(version.version) / "README.md").read_text(encoding="utf-8")
    except (ModelUnavailable, OSError):
        st.caption("The files of this version are not on this machine, so its model card can't be shown.")
        return
    with st.expander("The whole model card", icon=":material/description:"):
        st.markdown(re.sub(r"^# .*\n|!\[[^\]]*\]\([^)]*\)", "", text))  # the title is above, pictures are files


def _facts(manifest: Mapping[str, Any]) -> list[str]:
    files = manifest.get("files", {})
    size = sum(one.get("bytes", 0) for one in files.values())
    periods = manifest.get("periods", {})
    return [
        part
        for part in (
            f"{size / 1e6:.0f} MB in {len(files)} files" if size else "",
            f"learnt from videos published before {periods['fit_until']}" if "fit_until" in periods else "",
            f"calibrated on those before {periods['calibrate_until']}" if "calibrate_until" in periods else "",
            words.plural(manifest["members"], "network") + " in the committee" if "members" in manifest else "",
        )
        if part
    ]


def _figures(manifest: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    found = []
    for name, (value, low, high) in registry.figures_with_intervals(manifest).items():
        question, _, figure = name.partition(" ")
        found.append((question.capitalize(), figure, f"{value:.3f}", f"{low:.3f} to {high:.3f}"))
    return found


# --- history ----------------------------------------------------------------------------------------

HOW = {"first start": "first start", "upgrade": "upgrade", "activate": "chosen", "rollback": "rolled back to"}


def history(changes: Sequence[Activation], versions: Sequence[Version]) -> None:
    """All versions and every change, and the commands that make one."""
    now = page.now()
    for one in versions:
        with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f":{COLOURS[one.state]}-badge[{STATES[one.state]}] **{words.plain(one.version)}**", width="stretch"
            )
            st.caption(
                (f"made {_day(one.made)} · " if one.made else "")
                + (
                    f"activated {words.ago(one.activated_at, now)} by {words.plain(one.activated_by or '')}"
                    if one.activated_at
                    else "never in force"
                )
            )
    if changes:
        st.dataframe(
            {
                "When": [words.ago(one.at, now) for one in changes],
                "Version": [one.version for one in changes],
                "How": [HOW[one.how] + (", undone since" if one.undone else "") for one in changes],
                "By": [one.by_whom for one in changes],
                "Instead of": [one.replaced for one in changes],
            },
            hide_index=True,
            height="content" if len(changes) <= 10 else 400,
            placeholder=words.UNKNOWN,
            alt="Changes of the version in force, latest first",
        )
    st.caption(
        "From the command line; what runs takes a change up within seconds, and videos are scored again where the version "
        "has not scored them already."
    )
    st.code(
        "python -m miles model list\npython -m miles model activate VERSION|FOLDER\npython -m miles model rollback\n"
        "python -m miles model verify [VERSION|FOLDER]\npython -m miles model shadow VERSION|FOLDER|off",
        language=None,
        wrap_lines=True,
    )
