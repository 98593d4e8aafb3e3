"""Visitors of a Streamlit dashboard without a browser: they speak its websocket's protocol, click, and take the time.

A visitor keeps what a browser keeps: the address, the values of the widgets on the page, the timers of fragments that run
again by themselves. So the server does for it what it does for a person: every click is one rerun of the script, and its
answer crosses the wire. What a browser does with the answer, and its requests for pictures, is left out.

    async with Visitor(address) as visitor:
        answer = await visitor.open("trending?category=Music")
        answer = await visitor.choose(sort="By views")
        answer = await visitor.go("scores")
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.NumberInput_pb2 import NumberInput
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PATIENCE = 60  # seconds for one answer
MAIN = 0  # of a delta's path: the page itself, not the sidebar
UNSEEN = {None, "empty", "favicon"}  # kinds of elements that draw nothing

Value = str | float | bool | Sequence[str] | Sequence[float]


@dataclass(slots=True)
class Answer:
    """What came back for one click. Times in seconds from the click on."""

    painted: float = 0.0  # the first thing on the page itself
    finished: float = 0.0  # the script has ended, all of it has arrived
    messages: int = 0
    size: int = 0  # bytes, as the server made them (before compression)
    errors: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # headings and captions, to see that it is what was asked for


@dataclass(frozen=True, slots=True)
class _Widget:
    id: str
    kind: str
    integer: bool
    parameter: str  # of the address, "" where it is not bound to it
    fragment: str
    options: tuple[str, ...]
    disabled: bool


class Visitor:
    def __init__(self, address: str) -> None:
        self.address = address
        self._wire: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._pages: dict[str, str] = {}  # path -> script hash
        self._page = ""  # script hash
        self._path = ""
        self._query: dict[str, list[str]] = {}
        self._widgets: dict[str, _Widget] = {}  # by key, of the present page
        self._values: dict[str, WidgetState] = {}  # by widget id: what was chosen
        self._answer: Answer | None = None
        self._asked = 0.0
        self._waiting: asyncio.Future[None] | None = None
        self._expects_fragment = False
        self.by_themselves = 0  # fragments that ran without a click
        self.errors: list[str] = []  # outside of any click

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Close the tab."""
        self._stop_timers()
        wire, reading, self._wire, self._reading = self._wire, self._reading, None, None
        if reading:
            reading.cancel()
        if wire:
            await wire.close()

    async def open(self, address: str = "") -> Answer:
        """Open an address (`trending?category=Music`) in a new tab, closing the old one. Connecting counts."""
        await self.leave()
        self._path, _, query = address.partition("?")
        self._query = parse_qs(query, keep_blank_values=True)
        self._page, self._widgets, self._values = "", {}, {}
        self._asked = time.perf_counter()
        self._wire = await connect(
            f"{self.address.replace('http', 'ws', 1)}/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            ping_interval=None,
        )
        self._reading = asyncio.create_task(self._read(self._wire))
        return await self._rerun(page_name=self._path, since=self._asked)

    async def go(self, path: str) -> Answer:
        """Choose a page in the navigation; its address for the home page is ""."""
        self._path, self._page, self._query = path, self._pages[path], {}
        self._values = {}
        return await self._rerun()

    async def choose(self, **values: Value) -> Answer:
        """Set widgets by their keys, one after the other but in one go."""
        fragment = ""
        for key, value in values.items():
            widget = self._widget(key)
            self._values[widget.id] = _state(widget, value)
            fragment = widget.fragment
            if widget.parameter:
                several = [value] if isinstance(value, str | int | float) else value
                written = [str(one) for one in several if one != ""]
                self._query.pop(widget.parameter, None)
                if written:
                    self._query[widget.parameter] = written
        return await self._rerun(fragment=fragment)

    async def press(self, key: str) -> Answer:
        """Press a button."""
        widget = self._widget(key)
        return await self._rerun(pressed=WidgetState(id=widget.id, trigger_value=True), fragment=widget.fragment)

    @property
    def pages(self) -> list[str]:
        """The addresses in the navigation, that of the home page as ""; known once a page was opened."""
        return list(self._pages)

    def has(self, key: str) -> bool:
        """Whether a widget with this key is on the page."""
        return key in self._widgets

    def can_press(self, key: str) -> bool:
        """Whether a button is on the page that is not greyed out."""
        return key in self._widgets and not self._widgets[key].disabled

    def keys(self, beginning: str) -> list[str]:
        """The keys of the widgets on the page that begin so."""
        return [key for key in self._widgets if key.startswith(beginning)]

    def options(self, key: str) -> tuple[str, ...]:
        """What a widget that is on the page offers."""
        return self._widget(key).options

    def kind(self, key: str) -> str:
        """What Streamlit calls this sort of widget."""
        return self._widget(key).kind

    @property
    def choices(self) -> list[str]:
        """The keys of the lists and rows of buttons on the page that one of several is chosen from."""
        return [key for key, one in self._widgets.items() if one.kind in ("selectbox", "button_group") and one.options]

    def _widget(self, key: str) -> _Widget:
        try:
            return self._widgets[key]
        except KeyError:
            known = ", ".join(sorted(self._widgets))
            raise LookupError(f"No widget {key!r} on /{self._path}; there are {known}") from None

    # --- asking ---

    async def _rerun(
        self, page_name: str = "", pressed: WidgetState | None = None, fragment: str = "", since: float | None = None
    ) -> Answer:
        self._asked = since or time.perf_counter()
        self._answer = answer = Answer()
        self._expects_fragment = bool(fragment)
        self._waiting = asyncio.get_running_loop().create_future()
        if not fragment:
            self._stop_timers()
        try:
            await self._send(page_name, pressed, fragment)
            await asyncio.wait_for(self._waiting, PATIENCE)
        except (TimeoutError, ConnectionClosed) as error:
            answer.errors.append(f"/{self._path}: no answer ({type(error).__name__})")
            answer.finished = answer.finished or time.perf_counter() - self._asked
        self._answer = None
        return answer

    async def _send(
        self, page_name: str = "", pressed: WidgetState | None = None, fragment: str = "", by_itself: bool = False
    ) -> None:
        assert self._wire, "open an address first"
        message = BackMsg()
        state = message.rerun_script
        state.query_string = urlencode(self._query, doseq=True)
        state.page_script_hash, state.page_name = self._page, page_name
        state.fragment_id, state.is_auto_rerun = fragment, by_itself
        state.context_info.url = f"{self.address}/{self._path}"
        state.context_info.timezone, state.context_info.locale = "UTC", "en-US"
        # an empty list of widgets is sent as one, or else the server would keep what it has
        state.widget_states.widgets.extend(self._values.values())
        if pressed is not None:
            state.widget_states.widgets.append(pressed)
        await self._wire.send(message.SerializeToString())

    async def _repeat(self, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.by_themselves += 1
            await self._send(fragment=fragment, by_itself=True)

    def _stop_timers(self, only: Sequence[str] | None = None) -> None:
        for name in list(self._timers) if only is None else only:
            if timer := self._timers.pop(name, None):
                timer.cancel()

    # --- reading ---

    async def _read(self, wire: ClientConnection) -> None:
        try:
            async for data in wire:
                assert isinstance(data, bytes)
                message = ForwardMsg()
                message.ParseFromString(data)
                if self._answer:
                    self._answer.messages += 1
                    self._answer.size += len(data)
                self._take(message)
            self._complain("the server closed the connection")
        except Exception as error:  # or else nobody would hear of it: this task has no one who waits for it
            self._complain(f"{type(error).__name__}: {error}")
        self._done()

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            if not message.metadata.run.fragment_ids:  # not of a fragment alone
                self._widgets = {}
                self._page = message.new_session.page_script_hash
        elif kind == "navigation":
            self._pages = {one.url_pathname if not one.is_default else "": one.page_script_hash
                           for one in message.navigation.app_pages}  # fmt: skip
            self._page = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self._query = parse_qs(message.page_info_changed.query_string, keep_blank_values=True)
        elif kind == "auto_rerun":
            self._stop_timers([message.auto_rerun.fragment_id])
            self._timers[message.auto_rerun.fragment_id] = asyncio.create_task(
                self._repeat(message.auto_rerun.fragment_id, message.auto_rerun.interval)
            )
        elif kind == "stop_auto_rerun":
            self._stop_timers(message.stop_auto_rerun.fragment_ids)
        elif kind == "page_not_found":
            self._complain(f"no page {message.page_not_found.page_name!r}")
        elif kind == "delta":
            self._draw(message)
        elif kind == "script_finished":
            if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self._complain("the script does not compile")
                self._done()
            elif message.script_finished == (
                ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
                if self._expects_fragment
                else ForwardMsg.FINISHED_SUCCESSFULLY
            ):
                self._done()

    def _draw(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        kind = element.WhichOneof("type") if message.delta.WhichOneof("type") == "new_element" else None
        if kind in UNSEEN:
            return
        drawn = getattr(element, kind)
        if self._answer and not self._answer.painted and message.metadata.delta_path[0] == MAIN:
            self._answer.painted = time.perf_counter() - self._asked
        if kind == "exception":
            self._complain(f"{drawn.type}: {drawn.message}")
        elif kind == "alert" and drawn.format == Alert.ERROR:
            self._complain(f"{drawn.title} {drawn.body}".strip())
        elif kind in ("heading", "markdown") and self._answer:
            self._answer.texts.append(drawn.body)
        identity = getattr(drawn, "id", "")
        if identity.startswith("$$ID-"):
            key = identity.split("-", 2)[2]
            integer = kind == "number_input" and drawn.data_type == NumberInput.INT
            parameter = getattr(drawn, "query_param_key", "")
            options = tuple(getattr(one, "content", one) for one in getattr(drawn, "options", ()))
            disabled = getattr(drawn, "disabled", False)
            self._widgets[key] = _Widget(
                identity, kind, integer, parameter, message.delta.fragment_id, options, disabled
            )
            if getattr(drawn, "set_value", False):  # the script has chosen another value
                self._values.pop(identity, None)

    def _complain(self, what: str) -> None:
        (self._answer.errors if self._answer else self.errors).append(f"/{self._path}: {what}")

    def _done(self) -> None:
        if self._answer and self._waiting and not self._waiting.done():
            self._answer.finished = time.perf_counter() - self._asked
            here = {widget.id for widget in self._widgets.values()}
            if not self._expects_fragment:
                self._values = {name: value for name, value in self._values.items() if name in here}
            self._waiting.set_result(None)


def _state(widget: _Widget, value: Any) -> WidgetState:
    state = WidgetState(id=widget.id)
    if widget.kind in ("multiselect", "button_group", "date_input"):
        state.string_array_value.data.extend([value] if isinstance(value, str) else value)
    elif widget.kind == "slider":
        state.double_array_value.data.extend(value)
    elif widget.kind == "number_input" and widget.integer:
        state.int_value = value
    elif widget.kind == "number_input":
        state.double_value = value
    elif widget.kind == "checkbox":
        state.bool_value = value
    else:
        state.string_value = value
    return state
