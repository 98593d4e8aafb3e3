"""First, previous, next, last: pages of a list that knows its neighbours, not its numbers.

Each page begins beside a video that stands in the address, so the millionth is as near as the second, and a shared
page shows the same videos though new ones have come in above.
"""

import streamlit as st

from miles import addresses
from miles.browse import Page, Place


def turn(listed: Page) -> None:
    """The buttons under a list; none where one page holds all of it."""
    if listed.before is None and listed.after is None:
        return
    with st.container(horizontal=True, horizontal_alignment="center", gap="xsmall"):
        for label, icon, place in (
            ("First", ":material/first_page:", Place() if listed.before else None),
            ("Previous", ":material/chevron_left:", listed.before),
            ("Next", ":material/chevron_right:", listed.after),
            ("Last", ":material/last_page:", Place("last") if listed.after else None),
        ):
            st.button(
                label,
                icon=icon,
                icon_position="right" if label in ("Next", "Last") else "left",
                key=f"page-{label.lower()}",
                disabled=place is None,
                on_click=_go,
                args=(place,),
            )


def _go(place: Place) -> None:
    if place.side == "first":
        st.query_params.pop("at", None)
    else:
        st.query_params["at"] = addresses.place_text(place)
