"""Niches: a filter saved under a name, opened again by its address, pinned to Home."""

from datetime import date
from urllib.parse import parse_qs

import streamlit as st

from miles import addresses, db, niches, settings
from miles.addresses import Asked
from miles.errors import MilesError
from miles.niches import Niche
from ui import data, links, page, words


def kept() -> list[Niche]:
    """The reader's niches."""
    return _of(settings.load().user)


@st.cache_data(ttl=data.FRESH, max_entries=100, show_spinner=False)  # forgotten with each change made here
def _of(user: str) -> list[Niche]:
    with db.transaction("viewer", user) as connection:
        return niches.niches(connection)


def address(niche: Niche) -> dict[str, list[str]]:
    """A niche's filter, as a link to a page takes it."""
    return parse_qs(niche.address)


def keep(name: str, asked: Asked, published_from: date | None = None, *, pinned: bool = True) -> bool:
    """Save a filter under a name and say so; False (and why) if it can't be."""
    address = addresses.as_text(asked, published_from) if asked.filters.active or asked.like else ""
    try:
        with db.transaction("viewer", settings.load().user) as connection:
            niches.save(connection, name, address, pinned=pinned)
    except MilesError as error:
        st.warning(words.plain(str(error)), icon=":material/edit:")
        return False
    _of.clear()
    st.toast(f"Saved: {words.plain(name)}", icon=":material/bookmark_added:")
    return True


def menu(asked: Asked, published_from: date | None) -> None:
    """A popover that saves the filter in force, and lists those saved."""
    with st.popover("Niches", icon=":material/bookmark:", key="niches"):
        with st.form("save_niche", border=False, clear_on_submit=True):
            name = st.text_input(
                "Name of this filter", placeholder="Street food, last week", max_chars=niches.LONGEST_NAME,
                help="A niche is a saved filter with its order. One of the same name is replaced.",
            )  # fmt: skip
            pinned = st.checkbox("Pin to Home", value=True)
            if st.form_submit_button(
                "Save filter", icon=":material/bookmark_add:", type=page.strong(), width="stretch"
            ):
                keep(name, asked, published_from, pinned=pinned)
        saved = kept()
        if not saved:
            st.caption("None saved yet. Set a filter, then give it a name.")
        for niche in saved:
            with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall"):
                links.link("pages/trending.py", label=words.plain(niche.name), to=address(niche), width="stretch")
                # words rather than icons alone: a screen reader says them
                st.button(
                    "Unpin" if niche.pinned else "Pin",
                    key=f"pin-{niche.niche_id}",
                    type="tertiary",
                    help="No longer show it on Home" if niche.pinned else "Show it on Home",
                    on_click=_pin,
                    args=(niche.niche_id, not niche.pinned),
                )
                st.button(
                    "Delete",
                    key=f"delete-{niche.niche_id}",
                    type="tertiary",
                    help="Delete this niche; its videos stay",
                    on_click=_delete,
                    args=(niche.niche_id,),
                )


def _pin(niche_id: int, pinned: bool) -> None:
    with db.transaction("viewer", settings.load().user) as connection:
        niches.pin(connection, niche_id, pinned)
    _of.clear()


def _delete(niche_id: int) -> None:
    with db.transaction("viewer", settings.load().user) as connection:
        niches.delete(connection, niche_id)
    _of.clear()
