"""Title patterns: forms and words of titles, and the views that go with them, each channel against itself."""

import streamlit as st

from ui import cards, data, filters, findings, page, title_patterns, words

state = page.state()
if not state.candidates:
    page.header("Title patterns")
    page.nothing_yet("No videos yet, so titles have no patterns.")
    st.stop()

head = st.container()
options = data.options()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    chosen = filters.bar(options)
    kind = filters.choice("kind", title_patterns.KINDS, "Kind")
    against = title_patterns.against(options, chosen)
    if chosen.active and not against:
        title_patterns.keep_as_other(chosen)
with head, st.skeleton(height=64):
    found = data.associations(chosen, kind)
    page.header(
        "Title patterns",
        f"{words.full(found.told)} of {words.full(found.tested)} patterns can be told from chance · outlier multiples of "
        f"{words.full(found.videos)} videos among {words.full(found.titles)} titles"
        + (f" of whole channels, drawn from {words.full(found.of)}" if found.of > found.titles else "")
        + f" · newest snapshot {words.ago(state.newest, page.now())}",
        help=title_patterns.METHOD,
    )
filters.complain(chosen)

here = findings.described(chosen)
if not found.tested:
    page.too_few_for_patterns(narrowed=bool(chosen.active))
    st.stop()
with st.skeleton(height=640):
    if against:
        other, there = title_patterns.other_set(against)
        opposite, differences = data.compared(chosen, other, kind)
        if differences:
            picked = title_patterns.pair(differences, here, there)
        else:
            st.caption(
                f"Not enough data to compare: no such pattern is in enough videos of enough channels in {there}."
            )
            picked = title_patterns.one(found, chosen, "")
    else:
        picked = title_patterns.one(found, chosen, f"in {here}" if chosen.active else "")

if picked is None:
    st.caption(":material/touch_app: Choose a row to see how it changed by week and the videos with that pattern.")
else:
    title_patterns.detail(picked, chosen)
cards.show_open()
