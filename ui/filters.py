"""Filters bound to the URL: what a page asks for can be shared by its address.

A broken parameter in an address is ignored, and said so; it never stops a page.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import TypeVar

import streamlit as st

from miles.browse import COUNT_CAP, DURATIONS, Filters, Options
from ui import words

Name = TypeVar("Name", bound=str)

EMPTY: dict[str, object] = {
    "q": "",
    "platform": [],
    "format": [],
    "duration": [],
    "category": [],
    "language": [],
    "channel": "",
    "published": (),
    "score": (0, 100),
}
MOST_LANGUAGES = 60  # a longer list is no help; the rest are a handful of videos each


def bar(options: Options) -> Filters:
    """The search field and, behind a popover, all other filters; for a horizontal container."""
    broken = _broken(options)
    query = st.text_input(
        "Title",
        key="q",
        bind="query-params",
        placeholder="Words of the title",
        label_visibility="collapsed",
        icon=":material/search:",
        help='Words in any order; "in quotes" as a phrase; -word leaves out.',
        width=280,
    )
    active = sum(key in st.query_params for key in EMPTY if key != "q")
    with st.popover(f"Filters · {active}" if active else "Filters", icon=":material/tune:", key="filters"):
        chosen = _fields(options, query or "")
        st.button("Clear all", icon=":material/close:", on_click=_clear, disabled=not chosen.active, width="stretch")
    if broken:
        st.session_state["broken_address"] = (st.context.url, chosen, broken)
    return chosen


def choice(key: str, names: Mapping[Name, str], label: str, default: Name | None = None) -> Name:
    """One of a few values, bound to the URL by `key`: two side by side, more in a list."""
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
            format_func=lambda name: f"{label}: {names[name]}",
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


def how_many(count: int) -> str:
    """A capped count in words."""
    return f"more than {words.full(COUNT_CAP)}" if count > COUNT_CAP else words.full(count)


def of_scope(scope: str) -> dict[str, str]:
    """The filters, as they stand in the URL, of a scope of title patterns ("category:Music")."""
    kind, _, value = scope.partition(":")
    if kind == "format":
        value = words.FORMATS.get(value, value)  # the URL holds what the widget shows
    if kind == "platform":
        value = words.platform(value)
    return {kind: value} if kind in EMPTY and value else {}


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
    days = list(published) if isinstance(published, (tuple, list)) else []
    return Filters(
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
    )


def _several(label: str, key: str, values: Iterable[str], show: Callable[[str], str]) -> list[str]:
    return st.pills(label, list(values), selection_mode="multi", key=key, bind="query-params", format_func=show)


def _clear() -> None:
    for key, empty in EMPTY.items():
        st.session_state[key] = empty


def _broken(options: Options) -> list[str]:
    """What the address asks for that we don't have; Streamlit drops it from the address when a widget is drawn."""
    allowed: dict[str, Iterable[str]] = {
        "platform": {*options.platforms, *map(words.platform, options.platforms)},
        "format": {*options.formats, *words.FORMATS.values()},
        "duration": DURATIONS,
        "category": options.categories,
        "language": list(options.languages)[:MOST_LANGUAGES],
    }
    broken = [
        f"{key}={value}"
        for key, known in allowed.items()
        for value in st.query_params.get_all(key)
        if value and value not in known
    ]
    broken += [f"score={value}" for value in st.query_params.get_all("score") if not _is_score(value)]
    broken += [f"published={value}" for value in st.query_params.get_all("published") if not _is_day(value)]
    return broken


def _is_score(value: str) -> bool:
    try:
        return 0 <= float(value) <= 100
    except ValueError:
        return False


def _is_day(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return not value
    return True
