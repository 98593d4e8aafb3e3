"""Plotly's house style: no grid clutter, tight margins, colours from the theme, readable at 390 px."""

import math
from collections.abc import Sequence
from datetime import datetime

import plotly.graph_objects as go
import streamlit as st

from ui import words

CONFIG = {"displayModeBar": False, "scrollZoom": False, "responsive": True}
MARGIN = {"l": 8, "r": 12, "t": 8, "b": 8}
FAINT = "rgba(128,140,146,0.22)"
MUTED = "rgba(128,140,146,0.75)"


def accent() -> str:
    """The first chart colour of the theme in use."""
    return "#4cb8be" if dark() else "#0b6e75"


def contrast() -> str:
    """The second chart colour of the theme in use."""
    return "#f2a33a" if dark() else "#d97706"


def dark() -> bool:
    """Whether the reader sees the dark theme."""
    return st.context.theme.type == "dark"


def figure(height: int, *, legend: bool = False) -> go.Figure:
    """An empty figure in the house style, `height` px high."""
    chart = go.Figure()
    chart.update_layout(
        height=height,
        margin=MARGIN,
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
        hovermode="closest",
        dragmode=False,
        bargap=0.08,
    )
    chart.update_xaxes(showgrid=False, zeroline=False, automargin=True, fixedrange=True)
    chart.update_yaxes(showgrid=True, gridcolor=FAINT, zeroline=False, automargin=True, fixedrange=True)
    return chart


def show(chart: go.Figure, *, title: str, caption: str | None, alt: str | None = None, key: str | None = None) -> None:
    """A chart under its finding, with a line that says n and how."""
    with st.container(gap="xxsmall"):
        st.markdown(f"**{title}**")
        st.plotly_chart(chart, config=CONFIG, key=key, alt=alt or title)
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
) -> go.Figure:
    """Dots with bars, the first name on top, and a line at "no effect".

    What is not `clear` of it is grey. Labels stand at the right. With `ratio` the values are positive ratios,
    on a logarithmic axis labelled with the changes they mean.
    """
    row_height = 30
    chart = figure(height=row_height * len(names) + 48)
    chart.update_layout(margin={**MARGIN, "r": 60})
    colours = [accent() if is_clear else MUTED for is_clear in clear]
    for position, (low, high, colour) in enumerate(zip(lows, highs, colours, strict=True)):
        chart.add_shape(
            type="line", x0=low, x1=high, y0=position, y1=position, line={"color": colour, "width": 3}, opacity=0.55
        )
    chart.add_scatter(
        x=list(middles),
        y=list(range(len(names))),
        mode="markers",
        marker={"size": 10, "color": colours},
        hovertext=list(hover),
        hoverinfo="text",
    )
    for position, label in enumerate(labels):
        chart.add_annotation(
            x=1, xref="paper", y=position, text=label, showarrow=False, xanchor="left", xshift=8, font={"size": 12}
        )
    chart.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(names),
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
    )
    chart.update_xaxes(type="log" if ratio else "linear", showgrid=True, gridcolor=FAINT)
    if axis:
        chart.update_xaxes(title={"text": axis, "font": {"size": 12}})
    if ratio:
        wide = max(highs) / min(lows) > 3
        ticks = (0.1, 0.25, 0.5, 1, 2, 4, 10) if wide else (0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2)
        chart.update_xaxes(tickvals=ticks, ticktext=[words.change(tick) for tick in ticks], tickangle=0)
    if no_effect is not None:
        chart.add_vline(x=no_effect, line={"color": MUTED, "width": 1.5, "dash": "dot"})
    return chart


def effects(names: Sequence[str], values: Sequence[float], *, labels: Sequence[str], hover: Sequence[str]) -> go.Figure:
    """Bars to the right (what adds) and to the left (what takes) of nothing, the first name on top."""
    chart = figure(height=28 * len(names) + 16)
    widest = max([abs(value) for value in values], default=0.0) or 1.0
    chart.add_bar(
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
    chart.update_layout(bargap=0.3)
    chart.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(names), range=[len(names) - 0.5, -0.5], showgrid=False
    )
    # room for the labels outside, whichever side has none
    low, high = min([0.0, *values]), max([0.0, *values])
    chart.update_xaxes(range=[low - 0.28 * widest, high + 0.28 * widest], showticklabels=False)
    chart.add_vline(x=0, line={"color": MUTED, "width": 1})
    return chart


def histogram(
    counts: Sequence[int], *, mark: float | None = None, mark_label: str = "", height: int = 240
) -> go.Figure:
    """Counts of equal bins over 0..100, with a line where something to compare with stands."""
    chart = figure(height)
    width = 100 / len(counts)
    chart.add_bar(
        x=[(position + 0.5) * width for position in range(len(counts))],
        y=list(counts),
        width=width * 0.92,
        marker={"color": accent(), "line": {"width": 0}},
        hovertemplate="%{customdata}: %{y:,} videos<extra></extra>",
        customdata=[f"{position * width:.0f}–{(position + 1) * width:.0f} in 100" for position in range(len(counts))],
    )
    if mark is not None:
        chart.add_vline(x=mark, line={"color": contrast(), "width": 2})
        chart.add_annotation(
            x=mark, y=1, yref="paper", text=mark_label, showarrow=False, xanchor="left", yanchor="top", xshift=6,
            font={"color": contrast(), "size": 12},
        )  # fmt: skip
    chart.update_xaxes(range=[0, 100], ticksuffix="", title={"text": "score, in 100", "font": {"size": 12}})
    _count_axis(chart, 0, max(counts, default=0))
    return chart


def line(moments: Sequence[datetime], values: Sequence[float], *, unit: str, height: int = 220) -> go.Figure:
    """Values over time as a line with its points."""
    chart = figure(height)
    chart.add_scatter(
        x=list(moments),
        y=list(values),
        mode="lines+markers" if len(moments) < 80 else "lines",
        line={"color": accent(), "width": 2},
        marker={"size": 5},
        hovertemplate="%{y:,.0f} " + unit + "<br>%{x|%d %b %Y, %H:%M} UTC<extra></extra>",
    )
    _count_axis(chart, min(values, default=0), max(values, default=0))
    return chart


def density(cells: Sequence[tuple[int, int, int]], bins: int, *, x: str, y: str, height: int = 380) -> go.Figure:
    """Counts over two logarithmic axes (a cell is 1/`bins` of a decade), with the diagonal."""
    chart = figure(height)
    if not cells:
        return chart
    low = min(min(cell[0], cell[1]) for cell in cells)
    high = max(max(cell[0], cell[1]) for cell in cells)
    size = high - low + 1
    grid: list[list[float | None]] = [[None] * size for _ in range(size)]
    for across, up, n in cells:
        grid[up - low][across - low] = n
    middles = [(position + 0.5) / bins for position in range(low, high + 1)]
    chart.add_heatmap(
        x=middles,
        y=middles,
        z=[[None if n is None else n**0.5 for n in row] for row in grid],  # the root keeps thin cells visible
        customdata=grid,
        hovertemplate="%{customdata:,} videos<extra></extra>",
        showscale=False,
        xgap=1,
        ygap=1,
    )
    chart.add_scatter(
        x=[low / bins, (high + 1) / bins],
        y=[low / bins, (high + 1) / bins],
        mode="lines",
        line={"color": contrast(), "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    decades = range(-(-low // bins), (high + 1) // bins + 1)
    ticks = {"tickvals": list(decades), "ticktext": [_decade(power) for power in decades], "showgrid": False}
    chart.update_xaxes(title={"text": x, "font": {"size": 12}}, **ticks)
    chart.update_yaxes(title={"text": y, "font": {"size": 12}}, **ticks)
    return chart


def _count_axis(chart: go.Figure, low: float, high: float) -> None:
    """A vertical axis of counts with about four round ticks, written as everywhere: 20K, 1.5M."""
    # no finer than the two figures that a label shows, or else neighbours read the same
    finest = 10 ** (math.floor(math.log10(max(high, 10))) - 1)
    step = max(_round_step((high - low) / 4), finest)
    ticks = [position * step for position in range(math.floor(low / step), math.ceil(high / step) + 1)]
    chart.update_yaxes(
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
