"""Scores: how they are spread, how predictions lie beside what was measured, and whether they came true."""

import streamlit as st

from ui import data, filters, page, scores, words

state = page.state()
if not state.candidates:
    page.header("Scores")
    page.nothing_yet("No videos yet, so there are no scores.")
    st.stop()

head = st.container()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    chosen = filters.bar(data.options())
    view = filters.choice("view", scores.VIEWS, "Show")
with head, st.skeleton(height=64):
    whole = data.whole_spread(chosen)
    page.header(
        "Scores",
        f"{words.counted(whole.n, 'scored video') if whole else 'No scored videos'} · base rate "
        f"{words.in_100(whole.base_rate if whole else state.base_rate)} · newest snapshot {words.ago(state.newest, page.now())}",
        help=words.MEANING["score"],
    )
filters.complain(chosen)

with st.skeleton(height=640):
    if view == "growth":
        scores.growth(chosen)
    elif view == "outcomes":
        scores.calibrated(chosen)
    else:
        scores.spread(chosen)
