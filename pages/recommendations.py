"""Recommendations: a topic and a vibe in, concepts out, each with its own score and the videos that back it."""

import streamlit as st

from miles import language_model, settings
from ui import cards, page, recommendations

user = settings.load().user
page.header(
    "Recommendations",
    "A topic and a vibe in, concepts out: each scored, each backed by collected videos.",
    help="More concepts are written than shown: they are scored as drafts, copies of known titles are left out, "
    "and the best that differ from each other stay.",
)

recommendations.prefill(user)
request = recommendations.fields()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    asked = st.button("Get concepts", type=page.strong(), icon=":material/lightbulb:", key="get-concepts")
    price = st.container(gap=None, width=860)  # beside the button, or below it where there is no room

if asked:
    recommendations.begin(user, request, offline=False)
busy = recommendations.settle()
with price:  # after what was asked: it is spent by now
    recommendations.cost(language_model.configured(), request, user)
if busy:
    recommendations.under_way()
else:
    recommendations.failure(user)
    found = recommendations.opened(user)
    if found is not None:
        recommendations.answer(user, found)
    elif recommendations.asked_for() is not None:
        recommendations.not_here()
    elif recommendations.FAILED not in st.session_state:
        recommendations.nothing_asked()

recommendations.earlier(user)
cards.show_open()
