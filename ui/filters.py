"""Filters bound to the URL: what a page asks for can be shared by its address.

A broken parameter in an address is ignored, and said so; it never stops a page.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import TypeVar

import streamlit as st

from miles import addresses
from miles.addresses import WITHIN, Asked
from miles.browse import DURATIONS, Filters, Options, Place, Sort
from miles.patterns import RULES
from ui import data, links, words

Name = TypeVar("Name", bound=str)

EMPTY: dict[str, object] = {
    "q": "",
    "platform": [],
    "format": [],
    "duration": [],
    "category": [],
    "language": [],
    "channel": "",
    "within": None,
    "published": (),
    "score": (0, 100),
    "views": 0,
    "multiple": 0.0,
    "velocity": 0,
    "form": None,
}
PAGES = ("trending", "scores", "title_patterns")  # those with the bar of filters, by their path in the address
MOST_LANGUAGES = 60  # a longer list is no help; the rest are a handful of videos each
SEARCH_HELP = (
    'Words in any order, without regard to case and accents. `"in quotes"` as a phrase, `begin*` for the beginning of '
    "a word, `one OR other` for either, `-word` leaves out."
)


def bar(options: Options) -> Filters:
    """The search field and, behind a popover, all other filters; for a horizontal container."""
    broken = _broken(options)
    links.bounded("views", "multiple", "velocity")
    query = st.text_input(
        "Title",
        key="q",
        bind="query-params",
        placeholder="Words of the title",
        label_visibility="collapsed",
        icon=":material/search:",
        help=SEARCH_HELP,
        width=260,
    )
    active = sum(key in st.query_params for key in EMPTY if key != "q")
    with st.popover(f"Filters · {active}" if active else "Filters", icon=":material/tune:", key="filters"):
        chosen = _fields(options, query or "")
        st.button("Clear all", icon=":material/close:", on_click=_clear, disabled=not chosen.active, width="stretch")
    if broken:
        st.session_state["broken_address"] = (st.context.url, chosen, broken)
    return chosen


def asked(chosen: Filters, sort: Sort | None = None, like: str = "") -> tuple[Asked, date | None]:
    """What the widgets say, as `addresses.write` takes it; call after `bar`."""
    days = st.session_state.get("published") or ()
    return Asked(chosen, st.session_state.get("within"), like, sort), days[0] if days else None


def like() -> str:
    """The video that `?like=` names, whose title the others shall be like."""
    return addresses.read({"like": st.query_params.get_all("like")[:1]}, None).like


def place(sort: Sort, chosen: object) -> Place:
    """Where in the list the address says that the page begins (`?at=`); its beginning for another list than before."""
    arrival = links.arrivals()
    before, then = st.session_state.get("listed", (None, chosen))
    if before == arrival and then != chosen:
        st.query_params.pop("at", None)
    st.session_state["listed"] = (arrival, chosen)
    text = st.query_params.get("at", "")
    found = addresses.place(text, sort) if text else Place()
    if found is None:
        st.query_params.pop("at", None)
    return found or Place()


def choice(
    key: str, names: Mapping[Name, str], label: str, default: Name | None = None, *, labelled: bool = True
) -> Name:
    """One of a few values, bound to the URL by `key`: two side by side, more in a list.

    Not `labelled` where the names say by themselves what they are of; they also stand in the address then.
    """
    first = default or next(iter(names))
    if len(names) <= 3:
        picked = st.segmented_control(
            label,
            list(names),
            format_func=names.__getitem__,
            default=first,
            required=True,
            key=key,
            bind="query-params",
            label_visibility="collapsed",
        )
    else:
        picked = st.selectbox(
            label,
            list(names),
            format_func=lambda name: f"{label}: {names[name]}" if labelled else names[name],
            index=list(names).index(first),
            key=key,
            bind="query-params",
            label_visibility="collapsed",
            width=250,
        )
    return picked if picked in names else first


def complain(chosen: Filters) -> None:
    """Say which parts of the address were ignored, until the reader chooses something else."""
    where, then, broken = st.session_state.get("broken_address", (None, None, ()))
    if broken and (where, then) == (st.context.url, chosen):
        st.caption(
            ":orange[:material/link_off:] Part of this address is not understood and was ignored: "
            + ", ".join(words.plain(words.shorten(part, 60)) for part in broken)
            + "."
        )


def _fields(options: Options, query: str) -> Filters:
    platforms = _several("Platform", "platform", options.platforms, words.platform)
    formats = _several("Format", "format", options.formats, lambda name: words.FORMATS.get(name, name))
    durations = _several("Duration", "duration", DURATIONS, str)
    categories = st.multiselect(
        "Category", list(options.categories), key="category", bind="query-params", placeholder="All"
    )
    languages = st.multiselect(
        "Language", list(options.languages)[:MOST_LANGUAGES], key="language", bind="query-params", placeholder="All"
    )
    channel = st.text_input(
        "Channel", key="channel", bind="query-params", placeholder="Words of its name", help="Or its key, platform:id."
    )
    within = st.pills(
        "Published within",
        list(WITHIN),
        format_func=WITHIN.__getitem__,
        key="within",
        bind="query-params",
        help="Days up to the newest snapshot. A saved filter keeps counting from the newest one.",
    )
    published = st.date_input(
        "Published (UTC)",
        value=[],
        min_value=options.published_from,
        max_value=options.published_to,
        key="published",
        bind="query-params",
        format="YYYY-MM-DD",
    )
    low, high = st.slider(
        "Score, in 100", 0, 100, (0, 100), key="score", bind="query-params", help=words.MEANING["score"]
    )
    with st.container(horizontal=True, gap="small"):
        views = st.number_input(
            "Views, from", 0, 10**12, 0, 1000, key="views", bind="query-params", help=words.MEANING["views"], width=130
        )
        multiple = st.number_input(
            "× usual, from", 0.0, 1e6, 0.0, 0.5, key="multiple", bind="query-params", format="%g",
            help=words.MEANING["outlier"], width=130,
        )  # fmt: skip
        velocity = st.number_input(
            "Views a day, from", 0, 10**12, 0, 1000, key="velocity", bind="query-params",
            help=words.MEANING["velocity"], width=130,
        )  # fmt: skip
    form = st.selectbox(
        "Title form", [rule.name for rule in RULES], index=None, key="form", bind="query-params", placeholder="Any",
        help="How the title is made: a question, a number, emoji … The page Title patterns says what goes with each.",
    )  # fmt: skip
    days = list(published) if isinstance(published, (tuple, list)) else []
    found = Filters(
        text=query,
        platforms=tuple(platforms),
        formats=tuple(formats),
        categories=tuple(categories),
        languages=tuple(languages),
        channel=channel or "",
        durations=tuple(durations),
        published_from=days[0] if days else None,
        published_to=days[1] if len(days) > 1 else None,
        score_from=low,
        score_to=high,
        views_from=views,
        multiple_from=multiple,
        velocity_from=velocity,
        form=form or "",
    )
    return addresses.since(found, within, data.state().newest)


def _several(label: str, key: str, values: Iterable[str], show: Callable[[str], str]) -> list[str]:
    offered = list(values)
    if not offered:  # a label with nothing below it
        return []
    return st.pills(label, offered, selection_mode="multi", key=key, bind="query-params", format_func=show)


def _clear() -> None:
    for key, empty in EMPTY.items():
        st.session_state[key] = empty
    st.query_params.pop("like", None)


def _broken(options: Options) -> list[str]:
    """What the address asks for that we don't have; Streamlit drops it from the address when a widget is drawn."""
    given = {key: st.query_params.get_all(key) for key in (*EMPTY, "sort", "like")}
    broken = list(addresses.read(given, None).broken)
    offered: dict[str, Iterable[str]] = {
        "platform": {*map(str.lower, options.platforms)},
        "category": options.categories,
        "language": list(options.languages)[:MOST_LANGUAGES],
    }
    for key, known in offered.items():
        unknown = [
            f"{key}={value}" for value in given[key] if (value.lower() if key == "platform" else value) not in known
        ]
        broken += [part for part in unknown if part not in broken and not part.endswith("=")]
    sort = addresses.sort_of(next(iter(given["sort"]), "")) or "score"
    broken += [f"at={at}" for at in st.query_params.get_all("at") if at and addresses.place(at, sort) is None]
    return broken
