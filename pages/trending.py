"""Trending: candidates as cards or as a table, filtered by what stands in the URL, exported whole."""

import streamlit as st

from miles.addresses import SORTS
from ui import cards, data, exports, filters, niches, page, pager, tables, words

PER_PAGE = 24

state = page.state()
if not state.candidates:
    page.header("Trending")
    page.nothing_yet("No videos yet, so nothing can trend.")
    st.stop()

head = st.container()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    chosen = filters.bar(data.options())
    sort = filters.choice("sort", SORTS, "Sort by", labelled=False)
    view = filters.choice("view", {"cards": "Cards", "table": "Table"}, "Show as")
    like = filters.like()
    among = data.alike(like, chosen) if like else None
    many = words.counted(data.count(chosen, among), "video")
    asked = filters.asked(chosen, sort, like)
    niches.menu(*asked)
    exports.button(*asked, many)

with head:
    page.header(
        "Trending",
        f"{many} · newest snapshot {words.ago(state.newest, page.now())} · base rate {words.in_100(state.base_rate)}",
        help=f"**in 100** {words.MEANING['score']}\n\n**usual** {words.MEANING['outlier']}\n\n**/day** {words.MEANING['velocity']}"
        "\n\nUnknown values come last in every order.",
    )
filters.complain(chosen)
if like:
    cards.alike_to(like)

with st.skeleton(height=640):
    listed = data.page(chosen, sort, PER_PAGE, filters.place(sort, (chosen, sort, like)), among)
    if not listed.rows:
        page.no_match()
    elif view == "table":
        tables.candidates(listed.rows, now=page.now())
    else:
        cards.grid(listed.rows, now=page.now(), key="trending")
pager.turn(listed)
cards.show_open()
