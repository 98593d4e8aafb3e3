"""Ways between pages: a page shows what its address says, and what the reader had set where the address is silent.

Pages bind fields to the address under the same keys (`q`, `category` …), and Streamlit 1.67 mixes such pages up. On a
change of page the browser puts the parameters of the page that is left in front of the link's own; the server drops from
both what a field of that page was bound to, so that "q" of a link from Title patterns never reaches Trending
(`QueryParams.populate_from_query_string`); and a field without a parameter takes what any page held last under its key.
So the frame settles the address before each page runs:

- a link that names parameters shows those, and all other fields as in a fresh session;
- back and forward show what the address says;
- the sidebar, and links without parameters, show the page as it was left, with the filters that were in force last.

Nothing public tells what the browser asked for, so this module alone reaches into Streamlit's run context.
tests/browser/test_linked_pages.py walks each of these ways.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import RerunException, ScriptRunContext, get_script_run_ctx

Address = Mapping[str, str | Sequence[str]]
Pairs = list[tuple[str, str]]

MEMORY = "ways between pages"  # of the session
PASSING = frozenset({"video", "details_why"})  # opens a dialog; nobody wants it again on the way back


@dataclass(slots=True)
class _Memory:
    """What a session knows of its pages, each by its path in the address ("" is Home)."""

    here: str | None = None
    offered: dict[str, set[str]] = field(default_factory=dict)  # the links to a page that were drawn, as in the address
    bound: dict[str, set[str]] = field(default_factory=dict)  # keys of the fields that a page binds to the address
    drawn: set[str] = field(default_factory=set)  # those that the latest run of this page has drawn
    shown: dict[str, Pairs] = field(default_factory=dict)  # the address at the end of a page's latest run
    filters: Pairs = field(default_factory=list)  # what is shared by the pages that filter, as it was left last
    going: Pairs | None = None  # where `go` goes
    untold: Pairs | None = None  # the address that the browser is told when the page has run
    arrivals: int = 0  # how often the address came from elsewhere than the page's own fields


def link(page: str, label: str, to: Address, **look: Any) -> None:
    """A link to a page with the parameters of its address; `look` is what st.page_link takes besides."""
    _memory().offered.setdefault(_path(page), set()).add(urlencode(_pairs(to)))
    st.page_link(page, label=label, query_params=to, **look)


def go(page: str, to: Address) -> None:
    """Leave for another page, as a link does. Ends the run."""
    _memory().going = _pairs(to)
    _unbind()
    st.switch_page(page, query_params=_grouped(_current()))


def bounded(*keys: str) -> None:
    """Drop from the address what no number can be; call it before the number fields with these keys are drawn.

    "1e999" is read as infinite, which ends Streamlit's field for whole numbers in an OverflowError
    (`NumberInputSerde.deserialize`) where other nonsense is dropped by itself.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    with context.session_state.query_params() as known:
        for key in keys:
            if any(_endless(value) for value in known._initial_query_params.get(key, ())):
                del known._initial_query_params[key]
                known.remove_param(key)


def _endless(value: str) -> bool:
    try:
        return not math.isfinite(float(value))
    except ValueError:
        return False


def arrivals() -> int:
    """Grows whenever an address is opened, be it by a link or by the browser; stands still while fields are changed."""
    return _memory().arrivals


@contextmanager
def settled(page: str, *, filtering: Collection[str], filters: Collection[str]) -> Iterator[None]:
    """Around a page's run: settles the address, and notes afterwards what the page shows.

    `filtering` are the pages that share the fields with the keys `filters`.
    """
    _arrive(page, filtering, filters)
    try:
        yield
    except RerunException:  # it runs again at once
        raise
    except BaseException:  # st.stop is one
        _leave(page)
        raise
    _leave(page)


def _arrive(page: str, filtering: Collection[str], filters: Collection[str]) -> None:
    context = get_script_run_ctx()
    memory = _memory()
    left, memory.here = memory.here, page
    if context is None or left is None:
        return  # a fresh session: Streamlit takes the address as it is
    if left == page:
        memory.drawn |= _unbind()  # what a fragment has drawn since
        _stay(context, memory)
        return
    memory.arrivals += 1
    memory.drawn = set()
    asked = parse_qsl(context.query_string, keep_blank_values=True)
    going, memory.going = memory.going, None
    if going is None:
        before, named = split(context.query_string, memory.offered.get(page, ()), memory.bound.get(left, ()))
    else:
        before, named = [], going
    shown = memory.shown.setdefault(left, [])
    if not context.is_history_navigation:
        changed = {key for key, _ in before}
        shown[:] = [*before, *(pair for pair in shown if pair[0] not in changed)]
    if left in filtering:
        memory.filters = [pair for pair in shown if pair[0] in filters]
    wanted = asked if context.is_history_navigation else named
    if not context.is_history_navigation and not named:
        wanted = [pair for pair in memory.shown.get(page, ()) if pair[0] not in PASSING]
        if page in filtering:
            wanted = [*memory.filters, *(pair for pair in wanted if pair[0] not in filters)]
    _settle(context, wanted)
    for key in set().union(*memory.bound.values()):
        if key in st.session_state:
            del st.session_state[key]
    # The browser puts each address that it is told into its history, before or after it changes pages. If told at once,
    # the way back would lead to the old page with the new one's parameters.
    if sorted(wanted) == sorted(shown):
        _tell()
    elif wanted != asked:
        memory.untold = wanted


def _stay(context: ScriptRunContext, memory: _Memory) -> None:
    if memory.untold is not None:  # the run that was to tell it was broken off
        _settle(context, memory.untold)
    elif context.is_history_navigation:
        memory.arrivals += 1
    elif context.query_string in memory.offered.get(memory.here or "", ()):
        asked = parse_qsl(context.query_string)
        if asked != memory.shown.get(memory.here or ""):
            memory.arrivals += 1
            _settle(context, asked)
            _tell()
            context.is_history_navigation = True  # its sense is ours: the address decides, over what the fields hold


def _leave(page: str) -> None:
    memory = _memory()
    now = _unbind()
    if memory.untold is not None:
        memory.untold = None
        _tell()
    for key in memory.drawn - now:  # a field that is not drawn any more gives its parameter up
        st.query_params.pop(key, None)
    memory.drawn = now
    memory.bound.setdefault(page, set()).update(now)
    memory.shown[page] = _current()


def split(asked: str, offered: Iterable[str], bound: Collection[str]) -> tuple[Pairs, Pairs]:
    """What a browser asks for on a change of page: parameters of the page that is left, and those of the link. Pure.

    Told apart by the links to the new page that were drawn; where none fits, by the keys that the old page has bound.
    """
    for way in sorted(offered, key=len, reverse=True):
        if way and (asked == way or asked.endswith(f"&{way}")):
            before = parse_qsl(asked.removesuffix(way), keep_blank_values=True)
            if all(key in bound or key in PASSING for key, _ in before):
                return before, parse_qsl(way, keep_blank_values=True)
    pairs = parse_qsl(asked, keep_blank_values=True)
    return [pair for pair in pairs if pair[0] in bound], [pair for pair in pairs if pair[0] not in bound]


def _memory() -> _Memory:
    return st.session_state.setdefault(MEMORY, _Memory())


def _path(page: str) -> str:
    name = PurePath(page).stem
    return "" if name == "home" else name


def _pairs(address: Address) -> Pairs:
    return [
        (key, one) for key, value in address.items() for one in ([value] if isinstance(value, str) else map(str, value))
    ]


def _grouped(pairs: Pairs) -> dict[str, list[str]]:
    return {key: [one for name, one in pairs if name == key] for key, _ in pairs}


def _current() -> Pairs:
    return [(key, value) for key in st.query_params for value in st.query_params.get_all(key)]


def _settle(context: ScriptRunContext, wanted: Pairs) -> None:
    """Make this the address that fields take their first value from; the browser is told later."""
    _unbind()
    with context.session_state.query_params() as known:
        known.clear_with_no_forward_msg(preserve_embed=True)
        for key, values in _grouped(wanted).items():
            known.set_with_no_forward_msg(key, values if len(values) > 1 else values[0])
        known.set_initial_query_params_from_current()
    context.query_string = urlencode(wanted)


def _tell() -> None:
    st.query_params.from_dict(_grouped(_current()))


def _unbind() -> set[str]:
    """Untie parameters from fields until these are drawn again, so that a change of page drops none; returns their keys."""
    if (context := get_script_run_ctx()) is None:
        return set()
    with context.session_state.query_params() as known:
        keys = set(known._bindings_by_param)
        for widget in list(known._bindings_by_widget):
            known.unbind_widget(widget)
    return keys
