"""The fields that say what to collect and how; of the form on the Operations page, and of a watchlist entry's own."""

from dataclasses import dataclass
from datetime import timedelta

import streamlit as st

from miles import collecting, scrape, watchlist
from miles.watchlist import Entry

KEEP_HELP = (
    "What to keep, in yt-dlp's own match-filter syntax: conditions joined by &. "
    "`duration <= 180 & view_count > 1000`, `!is_live & title *= ramen`, `upload_date >= 20260101`."
)


@dataclass(frozen=True, slots=True)
class How:
    """How something is collected, as it was entered; nothing of it is checked yet."""

    item_limit: int
    read_limit: int | None
    keep: str | None
    language: str | None
    region: str | None


def how(key: str, entry: Entry | None = None) -> How:
    """The fields beside the target; `entry` has what they say at first."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        item_limit = st.number_input(
            "At most",
            1,
            collecting.LARGEST_LIMIT,
            entry.item_limit if entry else 20,
            key=f"{key}-limit",
            width=130,
            help="Videos that a run lists. Each that is read in full takes two requests, about 5 s.",
        )
        read_limit = st.number_input(
            "Of them in full",
            0,
            collecting.LARGEST_LIMIT,
            entry.read_limit if entry else None,
            key=f"{key}-read",
            width=140,
            placeholder="all",
            help="The most promising ones; the others are known by what the listing says.",
        )
        keep = st.text_input(
            "Keep only",
            entry.match_filter or "" if entry else "",
            key=f"{key}-keep",
            placeholder="duration <= 180 & view_count > 1000",
            width=330,
            help=KEEP_HELP,
        )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        codes = scrape.languages()
        language = st.selectbox(
            "Language",
            codes,
            index=codes.index(entry.language) if entry and entry.language in codes else None,
            key=f"{key}-language",
            placeholder="any",
            width=130,
            help="The language that a search or hashtag is asked in. A channel lists the same for everybody.",
        )
        names = scrape.regions()
        region = st.selectbox(
            "Region",
            list(names),
            index=list(names).index(entry.region) if entry and entry.region in names else None,
            key=f"{key}-region",
            format_func=lambda code: f"{names[code]} ({code})",
            placeholder="where this machine is",
            width=270,
            help="The country for which a search or hashtag is asked. Videos locked elsewhere stay locked.",
        )
    return How(int(item_limit), None if read_limit is None else int(read_limit), keep, language, region)


def cadence(key: str, at_first: timedelta = watchlist.USUAL) -> str | None:
    """How often; in words that `watchlist.cadence` reads."""
    choices = [watchlist.as_written(every) for every in sorted({*watchlist.CADENCES, at_first})]
    return st.selectbox(
        "Again every",
        choices,
        index=choices.index(watchlist.as_written(at_first)),
        key=f"{key}-every",
        accept_new_options=True,
        width=130,
        help="For the watchlist. How often it collects: choose, or write hours, days or weeks like 8h, 2d, 1w.",
    )
