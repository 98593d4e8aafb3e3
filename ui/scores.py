"""The parts of the Scores page: how scores are spread, predictions beside measurements, promises against outcomes."""

from collections.abc import Sequence

import streamlit as st

from miles import calibration, distributions, monitor, outcomes
from miles.browse import Filters
from miles.calibration import Group, Interval
from miles.distributions import DECADE_BINS, Spread
from ui import charts, data, filters, findings, links, page, words

VIEWS = {"spread": "Distribution", "growth": "Against measured", "outcomes": "Calibration"}
PARTS: dict[distributions.Part, str] = {
    "category": "Category", "duration": "Duration", "age": "Age", "platform": "Platform", "format": "Format",
    "language": "Language",
}  # fmt: skip
TOLD_PARTS: dict[outcomes.Part, str] = {
    "age": "Age", "category": "Category", "platform": "Platform", "format": "Format", "language": "Language",
    "version": "Model version", "month": "Month",
}  # fmt: skip
BASES: dict[monitor.Basis, str] = {"foresight": "Foretold", "backtest": "Backtest"}
SHAPES = {"histogram": "Histogram", "cumulative": "Cumulative"}
MOST_GROUPS = 12
MOST_LINES = 6  # cumulative lines that can be told apart
FEW = 30  # videos; the spread of fewer says little

HELP = {
    "brier": "Mean squared error of the probabilities: 0 is perfect. What always saying the base rate would get stands "
    "below it.",
    "ece": "Expected calibration error: the mean gap between what was promised and what happened, over ten groups of "
    "forecasts of equal size. Chance alone makes it greater than 0.",
    "top": "Of the tenth of the forecasts with the highest scores, how many came true.",
}


def spread(chosen: Filters) -> None:
    """Histogram or cumulative curve of the whole set, and of each of its groups."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        by = filters.choice("by", PARTS, "By")
        shape = filters.choice("shape", SHAPES, "Drawn as")
    whole, groups = data.spreads(chosen, by, least=FEW, most=MOST_GROUPS)
    if whole is None:
        _none(chosen)
        return
    base, label = whole.base_rate * 100, f"base rate {words.in_100(whole.base_rate)}"
    title, n = findings.spread(whole), f"Scores of {words.counted(whole.n, 'video')}"
    left, right = st.columns(2, gap="medium")
    with left:
        if shape == "histogram":
            charts.show(
                charts.histogram(_halved(whole.counts), mark=base, mark_label=label, height=380),
                title=title,
                caption=f"{n}, in bins of 2 in 100, on a square-root scale; the line is the base rate that belongs to these scores.",
                alt=f"Histogram. {n}: {title}",
            )
        else:
            charts.show(
                charts.cumulative([("All", whole.below())], mark=base, mark_label=label),
                title=title,
                caption=f"{n}: how many of 100 score below each value.",
                alt=f"Cumulative distribution. {n}: {title}",
            )
    if not groups:
        with right:
            st.caption(f"Not enough data by {PARTS[by].lower()}: no group has {FEW} scored videos.")
        return
    if by not in ("duration", "age"):
        groups = tuple(sorted(groups, key=lambda group: -group.middle))
    names = [findings.name(by, group.group) for group in groups]
    with right:
        charts.show(
            charts.intervals(
                names,
                [group.middle * 100 for group in groups],
                [group.quantiles[1] * 100 for group in groups],
                [group.quantiles[3] * 100 for group in groups],
                no_effect=base,
                clear=[True] * len(groups),
                labels=[f"n {words.count(group.n)}" for group in groups],
                hover=[_told(name, group) for name, group in zip(names, groups, strict=True)],
                axis="score, in 100",
            ),
            title=findings.groups(by, groups),
            caption="Median and middle half of the scores; the dotted line is the base rate. "
            + _left_out(f"Groups below {FEW} videos", len(groups)),
            alt="; ".join(_told(name, group) for name, group in zip(names, groups, strict=True)),
        )
    if shape == "histogram":
        charts.show(
            charts.rows_of_bins(
                names,
                [_halved(group.counts) for group in groups],
                [f"{words.percent(group.above)}" for group in groups],
                mark=base,
                hover=[_told(name, group) for name, group in zip(names, groups, strict=True)],
            ),
            title=_most_above(by, groups),
            caption="The same bins and scale for each group, each as high as its highest; at the right how many score above "
            "their own base rate.",
            alt="; ".join(
                f"{name}: {words.percent(group.above)} above its base rate"
                for name, group in zip(names, groups, strict=True)
            ),
        )
    else:
        largest = sorted(groups, key=lambda group: -group.n)[:MOST_LINES]
        charts.show(
            charts.cumulative(
                [(findings.name(by, group.group), group.below()) for group in largest], mark=base, mark_label=label
            ),
            title=_most_above(by, groups),
            caption=f"The {len(largest)} largest groups: how many of 100 of each score below each value. A line further to "
            "the right is a group with higher scores.",
            alt="; ".join(_told(findings.name(by, group.group), group) for group in largest),
        )


def growth(chosen: Filters) -> None:
    """Predicted beside measured velocity, of all videos that have both."""
    found = data.growth_beside(chosen)
    if not found.n:
        page.blank(
            ":material/scatter_plot:",
            "No predicted velocity can be held against a measured one yet.",
            "A measured velocity takes two snapshots of the same video, some hours apart, and a prediction takes a score.",
        )
        return
    charts.show(
        charts.density(found.cells, DECADE_BINS, x="measured views a day", y="predicted views a day", height=460),
        title=findings.beside(found),
        caption=f"{words.full(found.n)} videos with both, on logarithmic scales, fewer than one view a day as one; on the "
        "dotted line both are equal. These are not the same days: measured is what a video gained up to its newest "
        "snapshot, predicted what it will gain in the 3 days after it, and most videos slow down. Calibration holds "
        "predictions against the days that they were made for.",
        alt=f"Density of predicted against measured velocity: {findings.beside(found)}",
    )


def usual_basis(version: str) -> monitor.Basis:
    """What a version is judged by before anybody chooses: its backtest until enough of its forecasts came true or not."""
    report = data.model_report(version)
    return "backtest" if report and report.backtest and not report.foresight.enough else "foresight"


def calibrated(chosen: Filters) -> None:
    """Forecasts whose outcome is known: are promises kept, are the highest scores right, and in which groups not."""
    versions = {one.version: one.version for one in data.model_versions()}
    if not versions:
        page.not_scored()
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        version = (
            filters.choice("version", versions, "Version", labelled=False)
            if len(versions) > 1
            else next(iter(versions))
        )
        basis = filters.choice("basis", BASES, "Outcomes", usual_basis(version))
        by = filters.choice("told", TOLD_PARTS, "By")
        links.link(
            "pages/model.py", label="Intervals, drift and versions", icon=":material/arrow_forward:",
            icon_position="right", to={"version": version},
        )  # fmt: skip
    found = data.judged(version, basis, chosen, by)
    check = found.check
    what = (
        "made before the outcome was seen"
        if basis == "foresight"
        else "made afterwards from the counts of that time: a backtest, not foresight"
    )
    counted = (
        f"{words.plural(check.n, 'forecast')} of {words.plural(check.channels, 'channel')}, {what}; outcome: the views a "
        f"day up to the look nearest to 3 days later ({monitor.WINDOW[0]} to {monitor.WINDOW[2]}). Only videos that were looked at "
        "again can be counted."
    )
    if not check.enough:
        page.blank(
            ":material/hourglass_empty:",
            f"{findings.not_enough(check)}.",
            (f"{counted} " if check.n else "Whether a score came true is known when its video is looked at again. ")
            + "A worker looks at videos again after 3 days by itself. A backtest asks a version about looks whose next days "
            "are known already; start it on the Model page.",
        )
        return
    base = found.base_rate or 0.0
    left, right = st.columns([3, 2], gap="medium")
    with left:
        charts.show(
            charts.reliability(check.bins),
            title=findings.promises(check),
            caption=f"{counted} Ten groups of equal size; bars are 95% intervals over channels.",
            alt="; ".join(
                f"promised {one.promised * 100:.0f}, happened {one.observed.value * 100:.0f} in 100"
                for one in check.bins
            ),
        )
    with right:
        with st.grid(2, min_column_width=150, gap="small"):
            _metric("Brier score", check.brier, HELP["brier"], f"base rate alone {_usual(check):.3f}", "{:.3f}")
            _metric("Calibration error", check.ece, HELP["ece"], "in 100", "{:.1f}", 100)
        st.caption(
            f"Base rate {words.in_100(base)}; it happened to {words.in_100(check.happened / check.n)} of these.",
            help=words.MEANING["base_rate"],
        )
        if found.top:
            charts.show(
                charts.intervals(
                    [f"highest {one.k}" for one in found.top],
                    [one.precision.value * 100 for one in found.top],
                    [one.precision.low * 100 for one in found.top],
                    [one.precision.high * 100 for one in found.top],
                    no_effect=base * 100,
                    clear=[one.precision.low > base for one in found.top],
                    labels=[f"{one.precision.value * 100:.0f}" for one in found.top],
                    hover=[
                        f"of the {one.k} highest scores {words.percent(one.precision.value)} came true "
                        f"({words.percent(one.precision.low)}–{words.percent(one.precision.high)})"
                        for one in found.top
                    ],
                    axis="came true, in 100",
                ),
                title=findings.top(found.top, base),
                caption="Precision among the k highest scores; the dotted line is the base rate.",
                alt="; ".join(f"highest {one.k}: {words.percent(one.precision.value)}" for one in found.top),
            )
    _parts(by, found.groups, base)
    if found.growth.n:
        charts.show(
            charts.density(found.growth.cells, DECADE_BINS, x="measured views a day", y="predicted views a day"),
            title=findings.beside(found.growth),
            caption="The same forecasts: views a day that were predicted for the 3 days, against those measured over them.",
            alt=f"Density of predicted against measured velocity: {findings.beside(found.growth)}",
        )


def _parts(by: outcomes.Part, found: Sequence[Group], base: float) -> None:
    """Promised and happened for each group, and the figures of each as a table."""
    enough = [one for one in found if one.observed is not None][:MOST_GROUPS]
    title = findings.judged(TOLD_PARTS[by].lower(), found)
    if not enough:
        st.caption(
            f"{title}: it takes {calibration.MIN_FORECASTS} outcomes of {calibration.MIN_CHANNELS} channels, "
            f"{calibration.MIN_HAPPENED} of which came true."
        )
        return
    names = [findings.name(by, one.name) for one in enough]
    said = [
        f"{name}: promised {words.in_100(one.promised)}, happened {_three(one.observed, 100, '{:.0f}')} in 100, {one.n:,} forecasts"
        for name, one in zip(names, enough, strict=True)
    ]
    charts.show(
        charts.promised(
            names,
            [(one.promised or 0) * 100 for one in enough],
            [one.observed.value * 100 for one in enough if one.observed],
            [one.observed.low * 100 for one in enough if one.observed],
            [one.observed.high * 100 for one in enough if one.observed],
            base=base * 100,
            labels=[f"n {words.count(one.n)}" for one in enough],
            hover=said,
        ),
        title=title,
        caption="Dots with 95% intervals: how often it happened; squares: how often it was promised; the dotted line is the "
        "base rate. " + _left_out("Groups with too few outcomes", len(enough)),
        alt="; ".join(said),
    )
    st.dataframe(
        {
            TOLD_PARTS[by]: names,
            "Forecasts": [one.n for one in enough],
            "Channels": [one.channels for one in enough],
            "Promised": [f"{(one.promised or 0) * 100:.1f}" for one in enough],
            "Happened": [_three(one.observed, 100, "{:.1f}") for one in enough],
            "Brier": [_three(one.brier, 1, "{:.3f}") for one in enough],
            "ECE": [_three(one.ece, 100, "{:.1f}") for one in enough],
            "Highest tenth": [_three(one.top.precision if one.top else None, 100, "{:.0f}") for one in enough],
        },
        hide_index=True,
        height="content",
        placeholder=words.UNKNOWN,
        alt=f"Calibration by {TOLD_PARTS[by].lower()}, with 95% intervals",
        column_config={
            "Promised": st.column_config.TextColumn(help="Mean score, in 100."),
            "Happened": st.column_config.TextColumn(help="How often it happened, in 100, with its 95% interval."),
            "Brier": st.column_config.TextColumn(help=HELP["brier"]),
            "ECE": st.column_config.TextColumn("Calibration error", help=HELP["ece"]),
            "Highest tenth": st.column_config.TextColumn(help=HELP["top"]),
        },
    )


def _halved(counts: Sequence[int]) -> list[int]:
    return [counts[at] + counts[at + 1] for at in range(0, len(counts), 2)]


def _told(name: str, group: Spread) -> str:
    return (
        f"{name}: median {words.in_100(group.middle)}, half between {group.quantiles[1] * 100:.0f} and "
        f"{group.quantiles[3] * 100:.0f}, {group.n:,} videos"
    )


def _most_above(by: str, groups: Sequence[Spread]) -> str:
    most, least = (choose(groups, key=lambda group: group.above) for choose in (max, min))
    if len(groups) == 1:
        return f"{words.percent(most.above)} of {findings.name(by, most.group)} score above the base rate"
    return (
        f"Above the base rate are {words.percent(most.above)} of {findings.name(by, most.group)}, "
        f"{words.percent(least.above)} of {findings.name(by, least.group)}"
    )


def _left_out(few: str, shown: int) -> str:
    return f"{few} are left out" + (f", and all beyond the {MOST_GROUPS} largest." if shown == MOST_GROUPS else ".")


def _three(value: Interval | None, factor: float, form: str) -> str:
    if value is None:
        return words.UNKNOWN
    middle, low, high = (form.format(one * factor).replace("-", "−") for one in (value.value, value.low, value.high))
    return f"{middle} ({low}–{high})"


def _usual(check: calibration.Check) -> float:
    """Brier score of always saying the base rate."""
    assert check.brier is not None and check.skill is not None  # noqa: S101, PT018  # there is enough
    return check.brier.value / (1 - check.skill.value)


def _metric(label: str, value: Interval | None, help: str, below: str, form: str, factor: float = 1) -> None:
    with st.container(border=True, height="stretch", gap=None):
        st.metric(label, words.UNKNOWN if value is None else form.format(value.value * factor), help=help)
        if value is not None:
            st.caption(f"{form.format(value.low * factor)} to {form.format(value.high * factor)} · {below}")


def _none(chosen: Filters) -> None:
    if chosen.active:
        page.no_match()
    else:
        page.not_scored()
