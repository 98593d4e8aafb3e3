"""Plotly's house style: no grid clutter, tight margins, colours from the theme, readable at 390 px."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from miles.calibration import Bin
from ui import words

CONFIG = {"displayModeBar": False, "scrollZoom": False, "responsive": True}
MARGIN = {"l": 8, "r": 12, "t": 8, "b": 8}
FAINT = "rgba(128,140,146,0.22)"
MUTED = "rgba(128,140,146,0.75)"
SOFT = "rgba(60,160,168,0.32)"  # the accent as a surface, on either ground
Properties = dict[str, Any]

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def accent() -> str:
    """The first chart colour of the theme in use."""
    return "#4cb8be" if dark() else "#0b6e75"


def contrast() -> str:
    """The second chart colour of the theme in use."""
    return "#f2a33a" if dark() else "#d97706"


def contrast_text() -> str:
    """The same, dark or light enough to read small letters in."""
    return "#f2a33a" if dark() else "#9a5504"


def dark() -> bool:
    """Whether the reader sees the dark theme."""
    return st.context.theme.type == "dark"


class Chart:
    """What a figure in the house style is made of, `height` px high: traces, axes and layout by plotly's names.

    Plotly checks what is set, with all that is around it, at each step: a figure that is changed piece by piece takes
    several times as long as one that is made at once of all its parts.
    """

    def __init__(self, height: int, *, legend: bool = False) -> None:
        self.traces: list[Properties] = []
        self.x: Properties = {"showgrid": False, "zeroline": False, "automargin": True, "fixedrange": True}
        self.y: Properties = self.x | {"showgrid": True, "gridcolor": FAINT}
        self.shapes: list[Properties] = []
        self.annotations: list[Properties] = []
        self.layout: Properties = {
            "height": height,
            "margin": MARGIN,
            "showlegend": legend,
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "hovermode": "closest",
            "dragmode": False,
            "bargap": 0.08,
        }

    def add(self, kind: str, **trace: Any) -> None:
        """A trace: "bar", "scatter", "heatmap"."""
        self.traces.append({"type": kind, **trace})

    def upright(self, x: float, *, below: bool = False, **line: Any) -> None:
        """A line from the bottom to the top."""
        place = {"type": "line", "xref": "x", "x0": x, "x1": x, "yref": "y domain", "y0": 0, "y1": 1}
        self.shapes.append({**place, "line": line, "layer": "below" if below else "above"})

    def figure(self) -> go.Figure:
        """Raises ValueError if plotly knows no such property."""
        axes = {"xaxis": self.x, "yaxis": self.y, "shapes": self.shapes, "annotations": self.annotations}
        return go.Figure(data=self.traces, layout={**self.layout, **axes})


def named(axis: str) -> Properties:
    """The title of an axis."""
    return {"text": axis, "font": {"size": 12}}


def show(chart: Chart, *, title: str, caption: str | None, alt: str | None = None, key: str | None = None) -> None:
    """A chart under its finding, with a line that says n and how."""
    with st.container(gap="xxsmall"):
        st.markdown(f"**{title}**")
        st.plotly_chart(chart.figure(), config=CONFIG, key=key, alt=alt or title)
        if caption:
            st.caption(caption)


def intervals(
    names: Sequence[str],
    middles: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    no_effect: float | None,
    clear: Sequence[bool],
    labels: Sequence[str],
    hover: Sequence[str],
    axis: str = "",
    ratio: bool = False,
    room: int = 48,
) -> Chart:
    """Dots with bars, the first name on top, and a line at "no effect".

    What is not `clear` of it is grey and hollow. Labels stand at the right. With `ratio` the values are positive
    ratios, on a logarithmic axis labelled with the changes they mean. `room` is the height of what is not rows, in px.
    """
    chart = Chart(30 * len(names) + room)
    _dots(chart, range(len(names)), middles, lows, highs, clear=clear, hover=hover, colour=accent())
    _rows(chart, names, labels)
    _effect_axis(chart, lows, highs, no_effect=no_effect, axis=axis, ratio=ratio)
    return chart


@dataclass(frozen=True, slots=True)
class Side:
    """One of two sets in `pairs`, a value for each name."""

    name: str
    middles: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    hover: Sequence[str]


def pairs(names: Sequence[str], one: Side, other: Side, *, clear: Sequence[bool], labels: Sequence[str]) -> Chart:
    """Two ratios with their bars for each name, the first name on top, and a line at "no effect".

    Round dots for one, square ones for the other; where they can't be told apart (not `clear`) both are hollow.
    """
    chart = Chart(38 * len(names) + 84, legend=True)
    _dots(
        chart, [at - 0.16 for at in range(len(names))], one.middles, one.lows, one.highs,
        clear=clear, hover=one.hover, colour=accent(), name=one.name,
    )  # fmt: skip
    _dots(
        chart, [at + 0.16 for at in range(len(names))], other.middles, other.lows, other.highs,
        clear=clear, hover=other.hover, colour=contrast(), name=other.name, symbol="square",
    )  # fmt: skip
    _rows(chart, names, labels)
    _effect_axis(chart, [*one.lows, *other.lows], [*one.highs, *other.highs], no_effect=1.0, ratio=True)
    chart.layout["margin"] = {**MARGIN, "r": 60, "t": 36}
    return chart


def promised(
    names: Sequence[str],
    promises: Sequence[float],
    middles: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    base: float,
    labels: Sequence[str],
    hover: Sequence[str],
) -> Chart:
    """For each name how often it happened as a dot with its bar, how often it was promised as a square, in 100."""
    chart = Chart(32 * len(names) + 84, legend=True)
    clear = [not low <= said <= high for said, low, high in zip(promises, lows, highs, strict=True)]
    _dots(chart, range(len(names)), middles, lows, highs, clear=clear, hover=hover, colour=accent(), name="happened")
    chart.add(
        "scatter",
        x=list(promises),
        y=list(range(len(names))),
        mode="markers",
        marker={"size": 10, "color": contrast(), "symbol": "square-open", "line": {"width": 2}},
        hovertext=list(hover),
        hoverinfo="text",
        name="promised",
    )
    _rows(chart, names, labels)
    _effect_axis(chart, lows, highs, no_effect=base, axis="in 100")
    chart.layout["margin"] = {**MARGIN, "r": 60, "t": 36}
    return chart


def _dots(
    chart: Chart,
    places: Sequence[float],
    middles: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    clear: Sequence[bool],
    hover: Sequence[str],
    colour: str,
    name: str = "",
    symbol: str = "circle",
) -> None:
    """Dots with bars; those that are not clear hollow, and grey where they have no name to be told by."""
    for told in (True, False):
        at = [number for number, is_clear in enumerate(clear) if is_clear == told]
        if not at:
            continue
        shade = colour if told or name else MUTED
        chart.add(
            "scatter",
            x=[middles[number] for number in at],
            y=[places[number] for number in at],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [highs[number] - middles[number] for number in at],
                "arrayminus": [middles[number] - lows[number] for number in at],
                "color": shade,
                "thickness": 2,
                "width": 0,
            },
            mode="markers",
            marker={"size": 9, "color": shade, "symbol": symbol if told else f"{symbol}-open", "line": {"width": 1.5}},
            hovertext=[hover[number] for number in at],
            hoverinfo="text",
            name=name,
            legendgroup=name,
            showlegend=bool(name) and (told or not any(clear)),
        )


def _rows(chart: Chart, names: Sequence[str], labels: Sequence[str]) -> None:
    """Names at the left and labels at the right of rows, the first on top."""
    chart.layout["margin"] = {**MARGIN, "r": 60}
    chart.annotations += [
        {
            "x": 1, "xref": "paper", "y": position, "yref": "y", "text": label, "showarrow": False,
            "xanchor": "left", "xshift": 8, "font": {"size": 12},
        }
        for position, label in enumerate(labels)
    ]  # fmt: skip
    chart.y.update(
        tickvals=list(range(len(names))),
        ticktext=[words.shorten(name, 26) for name in names],
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
    )


def _effect_axis(
    chart: Chart,
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    no_effect: float | None,
    axis: str = "",
    ratio: bool = False,
) -> None:
    chart.x.update(type="log" if ratio else "linear", showgrid=True, gridcolor=FAINT)
    if axis:
        chart.x.update(title=named(axis))
    if ratio:
        wide = max(highs) / min(lows) > 3
        ticks = (0.1, 0.25, 0.5, 1, 2, 4, 10) if wide else (0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2)
        chart.x.update(tickvals=ticks, ticktext=[words.change(tick) for tick in ticks], tickangle=0)
    if no_effect is not None:
        chart.upright(no_effect, color=MUTED, width=1.5, dash="dot")


def effects(names: Sequence[str], values: Sequence[float], *, labels: Sequence[str], hover: Sequence[str]) -> Chart:
    """Bars to the right (what adds) and to the left (what takes) of nothing, the first name on top."""
    chart = Chart(28 * len(names) + 16)
    widest = max([abs(value) for value in values], default=0.0) or 1.0
    chart.add(
        "bar",
        x=list(values),
        y=list(range(len(names))),
        orientation="h",
        marker={"color": [accent() if value > 0 else contrast() for value in values], "line": {"width": 0}},
        text=list(labels),
        textposition="outside",
        cliponaxis=False,
        hovertext=list(hover),
        hoverinfo="text",
    )
    chart.layout["bargap"] = 0.3
    chart.y.update(
        tickvals=list(range(len(names))), ticktext=list(names), range=[len(names) - 0.5, -0.5], showgrid=False
    )
    # room for the labels outside, whichever side has none
    low, high = min([0.0, *values]), max([0.0, *values])
    chart.x.update(range=[low - 0.28 * widest, high + 0.28 * widest], showticklabels=False)
    chart.upright(0, color=MUTED, width=1)
    return chart


def histogram(counts: Sequence[int], *, mark: float | None = None, mark_label: str = "", height: int = 240) -> Chart:
    """Counts of equal bins over 0..100 on a square-root scale, with a line where something to compare with stands.

    Most videos score low: on a plain scale the others could not be seen.
    """
    chart = Chart(height)
    width = 100 / len(counts)
    chart.add(
        "bar",
        x=[(position + 0.5) * width for position in range(len(counts))],
        y=[count**0.5 for count in counts],
        width=width * 0.92,
        marker={"color": accent(), "line": {"width": 0}},
        hovertemplate="%{customdata}<extra></extra>",
        customdata=[
            f"{position * width:.0f}–{(position + 1) * width:.0f} in 100: {count:,} videos"
            for position, count in enumerate(counts)
        ],
    )
    if mark is not None:
        _mark(chart, mark, mark_label)
    chart.x.update(range=[0, 100], ticksuffix="", title=named("score, in 100"))
    top = max(counts, default=0)
    ticks = [0, *dict.fromkeys(_round_step(top * share) for share in (0.01, 0.06, 0.25, 0.6))]
    chart.y.update(
        tickvals=[tick**0.5 for tick in ticks],
        ticktext=[words.count(tick) for tick in ticks],
        range=[0, max(top, 1) ** 0.5 * 1.04],
        title=named("videos"),
    )
    return chart


def line(moments: Sequence[datetime], values: Sequence[float], *, unit: str, height: int = 220) -> Chart:
    """Values over time as a line with its points."""
    chart = Chart(height)
    chart.add(
        "scatter",
        x=list(moments),
        y=list(values),
        mode="lines+markers" if len(moments) < 80 else "lines",
        line={"color": accent(), "width": 2},
        marker={"size": 5},
        hovertemplate="%{y:,.0f} " + unit + "<br>%{x|%d %b %Y, %H:%M} UTC<extra></extra>",
    )
    _count_axis(chart, min(values, default=0), max(values, default=0))
    return chart


def cumulative(
    groups: Sequence[tuple[str, Sequence[float]]], *, mark: float | None, mark_label: str, height: int = 380
) -> Chart:
    """Shares below 0, 1, 2 … 100 for each group, as lines."""
    chart = Chart(height, legend=len(groups) > 1)
    colours = st.get_option(f"theme.{'dark' if dark() else 'light'}.chartCategoricalColors") or [accent(), contrast()]
    for number, (name, shares) in enumerate(groups):
        chart.add(
            "scatter",
            x=list(range(len(shares))),
            y=[share * 100 for share in shares],
            mode="lines",
            name=name,
            # told apart without colour, too
            line={"width": 2, "dash": DASHES[number % len(DASHES)], "color": colours[number % len(colours)]},
            hovertemplate=f"{name}: %{{y:.0f}}% score below %{{x}} in 100<extra></extra>",
        )
    if mark is not None:
        _mark(chart, mark, mark_label)
    chart.x.update(range=[0, 100], title=named("score, in 100"))
    chart.y.update(range=[0, 101], ticksuffix="%", title=named("of the videos score below"))
    return chart


def rows_of_bins(
    names: Sequence[str],
    counts: Sequence[Sequence[int]],
    labels: Sequence[str],
    *,
    mark: float | None,
    hover: Sequence[str],
) -> Chart:
    """Small multiples: one histogram over 0..100 above the other, on a square-root scale up to its highest bin."""
    chart = Chart(52 * len(names) + 56)
    for position, (bins, said) in enumerate(zip(counts, hover, strict=True)):
        top = max(bins) or 1
        width = 100 / len(bins)
        edges = [number * width for number in range(len(bins) + 1) for _ in (0, 1)]
        heights = [0.0, *((bin_ / top) ** 0.5 * 0.86 for bin_ in bins for _ in (0, 1)), 0.0]
        chart.add(
            "scatter",
            x=edges + edges[:1],
            y=[position + 0.43 - height for height in heights] + [position + 0.43],
            mode="lines",
            line={"width": 0.8, "color": accent()},
            fill="toself",
            fillcolor=SOFT,
            hoveron="fills",
            text=said,
            hoverinfo="text",
        )
    _rows(chart, names, labels)
    if mark is not None:
        chart.upright(mark, color=contrast(), width=2, dash="dot")
    chart.x.update(range=[0, 100], title=named("score, in 100"), showgrid=True, gridcolor=FAINT)
    return chart


def weekly(days: Sequence[date], shares: Sequence[float], *, height: int = 220) -> Chart:
    """Shares of titles by week, from 0 on."""
    chart = Chart(height)
    chart.add(
        "scatter",
        x=list(days),
        y=[share * 100 for share in shares],
        mode="lines+markers",
        line={"color": accent(), "width": 2},
        marker={"size": 5},
        hovertemplate="week of %{x|%d %b %Y}: %{y:.1f}% of titles<extra></extra>",
    )
    chart.y.update(rangemode="tozero", ticksuffix="%", nticks=5)
    return chart


def reliability(bins: Sequence[Bin], height: int = 380) -> Chart:
    """Promised against observed, each point with its 95% interval, and the diagonal on which a promise is kept."""
    chart = Chart(height)
    top = min(max([one.observed.high for one in bins] + [one.promised for one in bins]) * 105 + 1, 100)
    chart.add(
        "scatter",
        x=[0, top],
        y=[0, top],
        mode="lines",
        line={"color": contrast(), "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    chart.add(
        "scatter",
        x=[one.promised * 100 for one in bins],
        y=[one.observed.value * 100 for one in bins],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [(one.observed.high - one.observed.value) * 100 for one in bins],
            "arrayminus": [(one.observed.value - one.observed.low) * 100 for one in bins],
            "color": MUTED,
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        marker={"size": 9, "color": accent()},
        hovertext=[
            f"promised {one.promised * 100:.1f} in 100, happened {one.observed.value * 100:.1f} "
            f"({one.observed.low * 100:.1f}–{one.observed.high * 100:.1f}), {one.n:,} forecasts"
            for one in bins
        ],
        hoverinfo="text",
    )
    ticks = {"rangemode": "tozero", "showgrid": True, "gridcolor": FAINT}
    chart.x.update(title=named("promised, in 100"), range=[0, top], **ticks)
    chart.y.update(title=named("happened, in 100"), **ticks)
    return chart


def density(cells: Sequence[tuple[int, int, int]], bins: int, *, x: str, y: str, height: int = 380) -> Chart:
    """Counts over two logarithmic axes (a cell is 1/`bins` of a decade), with the diagonal."""
    chart = Chart(height)
    if not cells:
        return chart
    low = min(min(cell[0], cell[1]) for cell in cells)
    high = max(max(cell[0], cell[1]) for cell in cells)
    size = high - low + 1
    grid: list[list[float | None]] = [[None] * size for _ in range(size)]
    for across, up, n in cells:
        grid[up - low][across - low] = n
    middles = [(position + 0.5) / bins for position in range(low, high + 1)]
    chart.add(
        "heatmap",
        x=middles,
        y=middles,
        z=[[None if n is None else n**0.5 for n in row] for row in grid],  # the root keeps thin cells visible
        customdata=grid,
        hovertemplate="%{customdata:,} videos<extra></extra>",
        showscale=False,
        xgap=1,
        ygap=1,
    )
    chart.add(
        "scatter",
        x=[low / bins, (high + 1) / bins],
        y=[low / bins, (high + 1) / bins],
        mode="lines",
        line={"color": contrast(), "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    decades = range(-(-low // bins), (high + 1) // bins + 1)
    ticks = {"tickvals": list(decades), "ticktext": [_decade(power) for power in decades], "showgrid": False}
    chart.x.update(title=named(x), **ticks)
    chart.y.update(title=named(y), **ticks)
    return chart


def _mark(chart: Chart, at: float, label: str) -> None:
    """A line with its name, where something to compare with stands."""
    chart.upright(at, color=contrast(), width=2)
    chart.annotations.append(
        {
            "x": at, "y": 1, "yref": "paper", "text": label, "showarrow": False, "yanchor": "top",
            "xanchor": "left" if at < 60 else "right", "xshift": 6 if at < 60 else -6,
            "font": {"color": contrast_text(), "size": 12},
        }
    )  # fmt: skip


def _count_axis(chart: Chart, low: float, high: float) -> None:
    """A vertical axis of counts with about four round ticks, written as everywhere: 20K, 1.5M."""
    # no finer than the two figures that a label shows, or else neighbours read the same
    finest = 10 ** (math.floor(math.log10(max(high, 10))) - 1)
    step = max(_round_step((high - low) / 4), finest)
    ticks = [position * step for position in range(math.floor(low / step), math.ceil(high / step) + 1)]
    chart.y.update(
        tickvals=ticks,
        ticktext=[words.count(tick) for tick in ticks],
        range=[ticks[0], max(ticks[-1], ticks[0] + step)],
    )


def _round_step(rough: float) -> float:
    """The next of 1, 2 or 5 times a power of ten, and no less than 1."""
    if rough <= 1:
        return 1
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _decade(power: int) -> str:
    if power < 0:
        return f"{10**power:g}"
    return f"{10 ** (power % 3)}{['', 'K', 'M', 'B', 'T'][min(power // 3, 4)]}"
