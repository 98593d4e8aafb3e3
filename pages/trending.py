"""Trending: candidates as cards or as a table, filtered by what stands in the URL, exported whole."""

import streamlit as st

from miles.browse import COUNT_CAP, Sort
from ui import cards, data, exports, filters, page, tables, words

SORTS: dict[Sort, str] = {
    "score": "Score",
    "velocity": "Measured velocity",
    "outlier": "Against the channel",
    "age": "Newest",
    "views": "Views",
}
PER_PAGE = 24

state = page.state()
if not state.candidates:
    page.header("Trending")
    page.nothing_yet("No videos yet, so nothing can trend.")
    st.stop()

head = st.container()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    chosen = filters.bar(data.options())
    sort = filters.choice("sort", SORTS, "Sort by")
    view = filters.choice("view", {"cards": "Cards", "table": "Table"}, "Show as")
    found = data.count(chosen)
    many = filters.how_many(found)
    exports.button(chosen, sort, many)

with head:
    page.header(
        "Trending",
        f"{many[:1].upper()}{many[1:]} videos · newest snapshot {words.ago(state.newest, page.now())}"
        f" · base rate {words.in_100(state.base_rate)}",
        help=f"**in 100** {words.MEANING['score']}\n\n**usual** {words.MEANING['outlier']}\n\n**/day** {words.MEANING['velocity']}"
        "\n\nUnknown values come last in every order.",
    )
filters.complain(chosen)

listed = st.container()
pages = max(-(-min(found, COUNT_CAP) // PER_PAGE), 1)
page.first_page_for((chosen, sort))
with st.container(horizontal_alignment="center"):
    number = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1

with listed:
    found_page, growth = data.page(chosen, sort, PER_PAGE)
    rows = found_page.rows
    if not rows:
        page.no_match()
    elif view == "table":
        tables.candidates(rows, growth, now=page.now())
    else:
        cards.grid(rows, growth, now=page.now(), key="trending")
cards.show_open()
