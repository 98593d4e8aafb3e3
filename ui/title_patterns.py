"""The parts of the Title patterns page: what goes with each pattern, how it changes, and where two niches differ."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from miles import addresses, patterns
from miles.browse import Filters, Options
from miles.patterns import Association, Associations, Difference
from ui import cards, charts, data, filters, findings, links, niches, page, words

KINDS: dict[patterns.Kind, str] = {"structure": "Form", "ngram": "Words"}
SHOWN = 24  # patterns in the chart; the table has more
SHOWN_PAIRS = 16
REST = "rest"  # in the address: everything that the filter leaves out
MOST_OFFERED = 12  # categories, and languages, to compare with

METHOD = (
    "An association, not a cause. Each channel is its own control: the outlier multiples of its videos with the pattern are "
    "held against those without it, and the ratios are averaged over channels by how much each can tell. Intervals are 95%, "
    "by the jackknife over channels. Of the patterns with q below 0.05 at most one in twenty is chance."
)


def against(options: Options, chosen: Filters) -> str:
    """A list of what the filter can be compared with, bound to the address by hand; returns the address, or ""."""
    offered = {"": "Compare with …"}
    if chosen.active:
        offered[REST] = "Everything else"
    for niche in niches.kept():
        offered[niche.address] = f"Niche: {niche.name}"
    for key, name, values in (
        ("category", "Category", list(options.categories)[:MOST_OFFERED]),
        ("format", "Format", [addresses.FORMATS.get(value, value) for value in options.formats]),
        ("language", "Language", list(options.languages)[:MOST_OFFERED]),
    ):
        for value in values:
            offered[addresses.as_text(addresses.read({key: [value]}, None))] = f"{name}: {value}"
    asked = st.query_params.get("against", "")
    if asked and asked not in offered and addresses.read(asked, None).filters.active:
        offered[asked] = f"Filter: {words.shorten(findings.described(addresses.read(asked, None).filters), 40)}"
    if st.session_state.get("against") not in offered:
        st.session_state["against"] = asked if asked in offered else ""
    picked = st.selectbox(
        "Compare with", list(offered), format_func=offered.__getitem__, key="against", on_change=_keep_against,
        label_visibility="collapsed", width=230,
    )  # fmt: skip
    return picked or ""


def _keep_against() -> None:
    if st.session_state["against"]:
        st.query_params["against"] = st.session_state["against"]
    else:
        st.query_params.pop("against", None)


def one(found: Associations, chosen: Filters, where: str) -> Association | None:
    """The patterns of one set of videos as a chart and a table; returns the one of the chosen row."""
    shown = findings.strongest(found.surest, SHOWN)
    said = [_said(one) for one in shown]
    charts.show(
        charts.intervals(
            [findings.quoted(one) for one in shown],
            [one.lift for one in shown],
            [one.lift_low for one in shown],
            [one.lift_high for one in shown],
            no_effect=1.0,
            clear=[one.q_value < patterns.FALSE_SHARE for one in shown],
            labels=[words.change(one.lift) for one in shown],
            hover=said,
            ratio=True,
        ),
        title=findings.patterns(shown, where),
        caption="Views against the channel's usual, with the pattern against without it in the same channel, with 95% "
        f"interval; the dotted line is no effect, hollow grey can't be told from chance (q ≥ {patterns.FALSE_SHARE:.2f}). "
        f"{'The most certain' if found.tested > len(shown) else 'All'} {len(shown)} of {words.full(found.tested)}.",
        alt="; ".join(said),
    )
    return _table(found)


def _table(found: Associations) -> Association | None:
    column = st.column_config
    rows = found.surest
    frame = pd.DataFrame(
        {
            "Pattern": [findings.quoted(one) for one in rows],
            "Effect": [words.change(one.lift) for one in rows],
            "Interval": [words.change_interval(one.lift_low, one.lift_high) for one in rows],
            "Videos": [one.n_videos for one in rows],
            "Channels": [one.n_channels for one in rows],
            "q": [words.q_value(one.q_value) for one in rows],
            "Share": [one.share * 100 for one in rows],
            "Weeks": [
                None if one.trend is None else [(share or 0.0) * 100 for share in one.trend.shares] for one in rows
            ],
            "Trend": [words.UNKNOWN if one.trend is None else findings.DIRECTIONS[one.trend.direction] for one in rows],
        }
    )
    event = st.dataframe(
        frame,
        hide_index=True,
        height=min(36 * len(rows) + 38, 420),
        on_select="rerun",
        selection_mode="single-row",
        key="patterns",
        alt="Title patterns, the surest first, with effect, interval, videos, channels, q-value, share of titles and trend",
        column_config={
            "Pattern": column.TextColumn(pinned=True, width="medium"),
            "Effect": column.TextColumn(help=words.MEANING["lift"], width="small"),
            "Interval": column.TextColumn("95% interval", help="By the jackknife over channels.", width="small"),
            "Videos": column.NumberColumn(
                format="localized", help="With the pattern, in the channels that count.", width="small"
            ),
            "Channels": column.NumberColumn(
                format="localized", help="Independent channels that have videos with and without it.", width="small"
            ),
            "q": column.TextColumn(
                help="Share of chance findings among all patterns at least this sure (Benjamini-Hochberg).", width="small"
            ),
            "Share": column.NumberColumn("Of titles", format="%.1f%%", help="Share of all titles here that have it."),
            "Weeks": column.LineChartColumn(
                f"{patterns.TREND_WEEKS} weeks", help="Share of the titles of each week up to the newest video.",
                y_min=0, width="small",
            ),
            "Trend": column.TextColumn(
                help="Rising: a growing share of titles. Saturated: as many titles as ever, but its lift of the last "
                f"{patterns.RECENT_WEEKS} weeks is below that of the weeks before. Fading: a shrinking share. Steady: "
                "neither can be told.",
                width="small",
            ),
        },
    )  # fmt: skip
    chosen = event.selection.rows
    return rows[chosen[0]] if chosen and chosen[0] < len(rows) else None


def pair(found: Sequence[Difference], here: str, there: str) -> Association | None:
    """The patterns of two sets of videos side by side, the surest differences first."""
    shown = sorted(found[:SHOWN_PAIRS], key=lambda one: -one.ratio)
    names = [findings.quoted(one.here) for one in shown]
    said = [
        f"{name}: {words.change(one.here.lift)} in {here}, {words.change(one.there.lift)} in {there}, "
        f"ratio {words.change(one.ratio)} ({words.change_interval(one.low, one.high)}), q {words.q_value(one.q_value)}"
        for name, one in zip(names, shown, strict=True)
    ]
    charts.show(
        charts.pairs(
            names,
            _side(here, [one.here for one in shown], said),
            _side(there, [one.there for one in shown], said),
            clear=[one.q_value < patterns.FALSE_SHARE for one in shown],
            labels=[words.change(one.ratio) for one in shown],
        ),
        title=findings.compared(found, here, there),
        caption=f"Round: {here}. Square: {there}, without the videos that are in both. Sorted by the ratio of both effects, "
        f"which stands at the right; hollow where they can't be told apart (q ≥ {patterns.FALSE_SHARE:.2f}). The "
        f"{len(shown)} surest of {len(found)} patterns that both have.",
        alt="; ".join(said),
    )
    frame = pd.DataFrame(
        {
            "Pattern": [findings.quoted(one.here) for one in found],
            "Here": [words.change(one.here.lift) for one in found],
            "Here, interval": [words.change_interval(one.here.lift_low, one.here.lift_high) for one in found],
            "There": [words.change(one.there.lift) for one in found],
            "There, interval": [words.change_interval(one.there.lift_low, one.there.lift_high) for one in found],
            "Ratio": [words.change(one.ratio) for one in found],
            "Ratio, interval": [words.change_interval(one.low, one.high) for one in found],
            "q": [words.q_value(one.q_value) for one in found],
            "Channels": [f"{one.here.n_channels:,} · {one.there.n_channels:,}" for one in found],
            "Of titles": [f"{words.percent(one.here.share, 1)} · {words.percent(one.there.share, 1)}" for one in found],
        }
    )
    event = st.dataframe(
        frame,
        hide_index=True,
        height=min(36 * len(found) + 38, 420),
        on_select="rerun",
        selection_mode="single-row",
        key="pairs",
        alt=f"Title patterns in {here} beside those in {there}, the surest difference first",
        column_config={
            "Pattern": st.column_config.TextColumn(pinned=True, width="medium"),
            "Ratio": st.column_config.TextColumn(help="Effect here ÷ effect there, as a change."),
            "q": st.column_config.TextColumn(help="Of all patterns that both have (Benjamini-Hochberg)."),
            "Channels": st.column_config.TextColumn(help="Independent channels, here · there."),
            "Of titles": st.column_config.TextColumn(help="Share of the titles, here · there."),
        },
    )
    chosen = event.selection.rows
    return found[chosen[0]].here if chosen and chosen[0] < len(found) else None


def _side(name: str, found: Sequence[Association], said: Sequence[str]) -> charts.Side:
    return charts.Side(
        name,
        [one.lift for one in found],
        [one.lift_low for one in found],
        [one.lift_high for one in found],
        said,
    )


def detail(picked: Association, chosen: Filters) -> None:
    """How a pattern's use went by week, and the videos with it that stand out most."""
    ids, weeks = data.pattern(chosen, picked)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(words.plain(findings.quoted(picked)), anchor=False, help=_meaning(picked))
        links.link(
            "pages/trending.py", label="All videos with it", icon=":material/arrow_forward:", icon_position="right",
            to=_videos_with(picked, chosen),
        )  # fmt: skip
    if picked.trend is not None:
        known = [(monday, have / titles) for monday, titles, have in weeks if titles >= patterns.MIN_WEEK]
        charts.show(
            charts.weekly([monday for monday, _ in known], [share for _, share in known]),
            title=words.plain(findings.trend(picked)),
            caption=f"Share of the titles published in each week that have it; weeks below {patterns.MIN_WEEK} titles are left "
            f"out. The trend is that of the last {patterns.TREND_WEEKS} weeks; both changes with 95% intervals.",
            key="weekly",
        )
    else:
        st.caption(findings.trend(picked))
    rows = data.rows(ids)
    if rows:
        st.markdown("**Furthest above their channel**")
        cards.grid(rows, now=page.now(), key="example")


def _videos_with(picked: Association, chosen: Filters) -> dict[str, list[str]]:
    """Trending's address: the filters of this page and the pattern."""
    address = addresses.write(*filters.asked(chosen, "outlier"))
    if picked.kind == "structure":
        return {**address, "form": [picked.pattern]}
    return {**address, "q": [" ".join([*address.get("q", ()), f'"{picked.pattern}"'])]}


def _meaning(picked: Association) -> str:
    rule = next((rule for rule in patterns.RULES if rule.name == picked.pattern), None)
    looked_for = f"Looked for: {rule.meaning}." if rule and picked.kind == "structure" else "These words side by side."
    return words.plain(f"{looked_for} {_said(picked)}.")


def _said(one: Association) -> str:
    return (
        f"{findings.quoted(one)}: {words.change(one.lift)} ({words.change_interval(one.lift_low, one.lift_high)}), "
        f"{words.full(one.n_videos)} videos of {words.full(one.n_channels)} channels, q {words.q_value(one.q_value)}"
    )


def other_set(address: str) -> tuple[Filters, str]:
    """The set to compare with and its name."""
    if address == REST:
        return Filters(), "everything else"
    filters_there = addresses.read(address, data.state().newest).filters
    return filters_there, findings.described(filters_there)


def keep_as_other(chosen: Filters) -> None:
    """A button that puts the filter in force on the other side, so that another one can be chosen for this side."""
    if st.button(
        "Keep as the other side", icon=":material/compare_arrows:", help="Then change the filter, and compare both."
    ):
        st.query_params["against"] = addresses.as_text(*filters.asked(chosen))
        st.session_state.pop("against", None)
        st.rerun()
