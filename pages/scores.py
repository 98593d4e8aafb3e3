"""Scores: how they are spread by platform, category, duration and age, and how predictions hold up."""

import streamlit as st

from miles.browse import DECADE_BINS
from ui import charts, data, filters, findings, page, words

GROUPS = {"category": "Category", "duration": "Duration", "age": "Age", "platform": "Platform", "format": "Format"}
MOST_GROUPS = 15
FEW = 30  # videos; the spread of fewer says little

state = page.state()
if not state.candidates:
    page.header("Scores")
    page.nothing_yet("No videos yet, so there are no scores.")
    st.stop()

head = st.container()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    chosen = filters.bar(data.options())
found = data.scores(chosen)
whole = next(iter(found.of("all")), None)
with head:
    page.header(
        "Scores",
        f"{words.full(whole.n) if whole else 'no'} scored videos · base rate {words.in_100(found.base_rate)}"
        f" · newest snapshot {words.ago(state.newest, page.now())}",
        help=words.MEANING["score"],
    )
filters.complain(chosen)

if whole is None:
    if chosen.active:
        page.no_match()
    else:
        page.not_scored()
    st.stop()

left, right = st.columns(2, gap="medium")
with left:
    charts.show(
        charts.histogram(
            whole.counts,
            mark=None if found.base_rate is None else found.base_rate * 100,
            mark_label=f"base rate {words.in_100(found.base_rate)}",
            height=380,
        ),
        title=findings.spread(whole, found.base_rate),
        caption=f"viral_score of {words.full(whole.n)} videos, in bins of 2 in 100.",
    )
with right:
    if found.agreement.n:
        charts.show(
            charts.density(found.agreement.cells, DECADE_BINS, x="measured views a day", y="predicted views a day"),
            title=findings.agreement(found.agreement),
            caption=f"{words.full(found.agreement.n)} videos with both, on logarithmic scales; on the dotted line a "
            "prediction equals what was measured between the two newest snapshots.",
        )
    else:
        st.markdown("**Predicted against measured velocity**")
        st.caption("Not enough data: a measured velocity takes two snapshots of the same video, some hours apart.")

by = filters.choice("by", GROUPS, "By")
groups = [group for group in found.of(by) if group.n >= FEW][:MOST_GROUPS]
if not groups:
    st.caption(f"Not enough data by {GROUPS[by].lower()}: no group has {FEW} scored videos.")
    st.stop()
if by in {"category", "platform", "format"}:
    groups.sort(key=lambda group: -group.quantile(0.5))
charts.show(
    charts.intervals(
        [findings.name(by, group.group) for group in groups],
        [group.quantile(0.5) * 100 for group in groups],
        [group.quantile(0.25) * 100 for group in groups],
        [group.quantile(0.75) * 100 for group in groups],
        no_effect=None if found.base_rate is None else found.base_rate * 100,
        clear=[True] * len(groups),
        labels=[f"n {words.count(group.n)}" for group in groups],
        hover=[
            f"{findings.name(by, group.group)}: median {words.in_100(group.quantile(0.5))}, "
            f"half between {group.quantile(0.25) * 100:.0f} and {group.quantile(0.75) * 100:.0f}, {group.n:,} videos"
            for group in groups
        ],
        axis="score, in 100",
    ),
    title=findings.groups(by, groups),
    caption=f"Median and middle half of the scores; the dotted line is the base rate. Groups below {FEW} videos are left out.",
)
