"""Title patterns: forms and words of titles, and the views that go with them, channel against itself."""

import streamlit as st

from miles import addresses
from ui import cards, charts, data, filters, findings, page, tables, words

KINDS = {"structure": "Form", "ngram": "Words"}
SHOWN = 24  # patterns in the chart; the table has all

state = page.state()
scopes = data.pattern_scopes()
if not scopes:
    page.header("Title patterns")
    if state.candidates:
        page.too_few_for_patterns()
    else:
        page.nothing_yet("No videos yet, so titles have no patterns.")
    st.stop()

head = st.container()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    scope = filters.choice("scope", {value: findings.scope(value) for value in scopes}, "In")
    kind = filters.choice("kind", KINDS, "Kind")
found = [one for one in data.patterns(scope) if one.kind == kind]
told = [one for one in found if one.q_value < findings.FALSE_SHARE]
where = "" if scope == "all" else f"in {findings.scope(scope)}"
with head:
    page.header(
        "Title patterns",
        f"{len(told)} of {len(found)} patterns can be told from chance · outlier multiples of the same channel,"
        f" with against without · newest snapshot {words.ago(state.newest, page.now())}",
        help="An association, not a cause: it compares videos of the same channel with and without the pattern.",
    )
if not found:
    st.caption(f"Not enough data: no such pattern is in enough videos of enough channels {where}.")
    st.stop()

shown = findings.strongest(found, SHOWN)
charts.show(
    charts.intervals(
        [findings.quoted(one) for one in shown],
        [one.lift for one in shown],
        [one.lift_low for one in shown],
        [one.lift_high for one in shown],
        no_effect=1.0,
        clear=[one in told for one in shown],
        labels=[words.change(one.lift) for one in shown],
        hover=[
            f"{findings.quoted(one)}: {words.change(one.lift)} ({words.change_interval(one.lift_low, one.lift_high)}), "
            f"{words.full(one.n_videos)} videos of {words.full(one.n_channels)} channels, q {words.q_value(one.q_value)}"
            for one in shown
        ],
        ratio=True,
    ),
    title=findings.patterns(shown, where),
    caption=f"Ratio of outlier multiples with 95% interval over channels; the dotted line is no effect, grey can't be told "
    f"from chance (q ≥ {findings.FALSE_SHARE:.2f}). {'The most certain' if len(found) > SHOWN else 'All'} {len(shown)} of {len(found)}.",
)

picked = tables.patterns(told + [one for one in found if one not in told])
if picked is None:
    st.caption(":material/touch_app: Choose a row to see videos with that pattern.")
else:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(f"Far above their channel: {words.plain(findings.quoted(picked))}", anchor=False)
        if picked.kind == "ngram":
            st.page_link(
                "pages/trending.py",
                label="All videos with these words",
                icon=":material/arrow_forward:",
                query_params={"q": f'"{picked.pattern}"', "sort": addresses.SORTS["outlier"]} | filters.of_scope(scope),
            )
    rows, growth = data.rows(picked.examples)
    cards.grid(rows, growth, now=page.now(), key="example")
cards.show_open()
