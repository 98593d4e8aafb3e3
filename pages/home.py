"""Home: which video to look at first, what takes off in the reader's niches, how fresh the data is, what to do next."""

import streamlit as st

from miles import glance
from ui import cards, data, home, niches, page, ways_in, words

state = page.state()
if state.newest is None:
    page.header("Welcome to Miles", "Collect short videos, score them, see what takes off and what to make next.")
    ways_in.three()
    st.stop()

now = page.now()
page.header(
    "What is taking off",
    f"{words.counted(state.candidates, 'video')} · newest snapshot {words.ago(state.newest, now)}"
    f" · base rate {words.in_100(state.base_rate)}",
    help=f"**in 100** {words.MEANING['score']}\n\n**usual** {words.MEANING['outlier']}\n\n**/day** {words.MEANING['velocity']}",
)

with st.skeleton(height=640):
    followed = [niche for niche in niches.kept() if niche.pinned]
    in_niches = [(niche, home.niche_rows(niche, state)) for niche in followed[: home.SHOWN]]
    by_id, day, moving = data.movers(home.MOVERS)
    best = glance.first([row for _, (rows, _) in in_niches for row in rows] or moving) or glance.first(moving)

with st.grid(2 if best else 1, min_column_width=360, gap="small") as top:
    if best:
        home.first(best, now)
    home.next_steps(state, now, len(followed))

for niche, (rows, count) in in_niches:
    home.niche(niche, rows, count, now)
if not followed:
    home.follow(state)
if moving:
    home.movers(by_id, day, moving, now)

home.at_a_glance(state, data.sources(), now)
cards.show_open()
