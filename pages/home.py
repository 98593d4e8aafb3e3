"""Home: what is taking off now, how fresh the data is, what came in, and what to do next."""

from datetime import timedelta

import streamlit as st

from miles.browse import Filters, Sort
from ui import cards, data, page, ways_in, words

RECENT = timedelta(days=7)  # "now" is the last week of the data, not of the calendar

state = page.state()
if state.newest is None:
    page.header("Welcome to Miles", "Collect short videos, score them, see what takes off and what to make next.")
    ways_in.three()
    st.stop()

now = page.now()
page.header(
    "What is taking off",
    f"{words.full(state.candidates)} videos · newest snapshot {words.ago(state.newest, now)}"
    f" · base rate {words.in_100(state.base_rate)}",
    help=f"Published in the last {RECENT.days} days of the data, up to {words.day(state.newest)}.",
)

days = data.days()
with st.grid(2, min_column_width=260, gap="small"):
    page.total("Videos", state.candidates, [day.candidates for day in days], "first seen")
    page.total("Snapshots", data.snapshots(), [day.snapshots for day in days], "taken")

recent = Filters(published_from=(state.newest - RECENT).date())
lists: tuple[tuple[Sort, str, str], ...] = (
    ("score", "Highest score", words.MEANING["score"]),
    ("velocity", "Fastest now, measured", words.MEANING["velocity"]),
)
for sort, title, why in lists:
    listed, growth = data.page(recent, sort, 4)
    rows = [row for row in listed.rows if (row.viral_score if sort == "score" else row.velocity) is not None]
    if rows:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.subheader(title, help=why, anchor=False)
            st.page_link(
                "pages/trending.py", label="See all", icon=":material/arrow_forward:", icon_position="right",
                query_params={"sort": sort, "published": [str(recent.published_from), str(state.newest.date())]},
            )  # fmt: skip
        cards.grid(rows, growth, now=now, key=sort)

ways_in.next_steps(state, now)
cards.show_open()
