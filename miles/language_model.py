"""Ideas from any OpenAI-compatible language model: the only home of openai.

Each request is read in a thread of its own, streamed where the server can: whoever waits hears of every piece, can leave
at any moment, and is never held longer than the limit, whether the server is silent or sends a byte now and then. What is
asked and what is taken of the answer stands in `prompting`; what it costs is told to a `Meter`.
"""

import contextlib
import email.utils
import json
import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from miles import prompting, settings, wording
from miles.concepts import Idea, Request, Usage
from miles.errors import ConceptsUnavailable
from miles.grounding import Evidence
from miles.prompting import Malformed

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0  # seconds
RETRIES = 2  # requests sent again after 429, 5xx, a broken connection or a broken answer
ATTEMPTS = 2  # answers asked for before a malformed one is an error
FIRST_WAIT = 0.5  # seconds before the first retry, where the server names none; doubled for each further one
LONGEST_WAIT = 30.0  # seconds that a server may ask to wait; whoever asks for more is not waited for
TICK = 0.5  # seconds between two signs of life while nothing comes
TOKENS_PER_CONCEPT = 800  # at most; one in English takes 300, in a script of its own two or three times as many
TOKENS_THOUGHT = 8000  # that a reasoning model may use besides
LARGEST_ANSWER = 8_000_000  # bytes, as they come over the network: a streamed token is some 300
MOST_TOKENS = 10_000_000  # a server that claims more for one answer is not believed


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in USD."""

    input: float
    output: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Where an OpenAI-compatible language model answers."""

    name: str
    api_key: str = field(repr=False)
    base_url: str | None  # None: OpenAI itself
    timeout: float  # seconds for a whole answer, with all that is tried again
    price: Price | None = None  # None: not known

    @property
    def place(self) -> str:
        return self.base_url or "api.openai.com"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request may come to at most."""

    tokens_in: int
    tokens_out: int
    usd: float | None  # None: no price is known


class Meter(Protocol):
    """What is told of each request to the server, before and after."""

    def reserve(self, most: Cost) -> int:
        """Asked before each request; whatever is raised here keeps it from being sent. Returns a number for `settle`."""

    def settle(self, reservation: int, usage: Usage) -> None:
        """Told what a request came to, however it ended."""


class Unmetered:
    """A meter that lets everything pass and adds it up."""

    def __init__(self) -> None:
        self.usage = Usage()

    def reserve(self, most: Cost) -> int:
        return 0

    def settle(self, reservation: int, usage: Usage) -> None:
        self.usage += usage


def configured() -> LanguageModel | None:
    """The language model that the settings name; None without OPENAI_API_KEY."""
    told = settings.load()
    key = told.openai_api_key.get_secret_value().strip() if told.openai_api_key else ""
    if not key:
        return None
    known = told.price_input is not None and told.price_output is not None
    price = Price(told.price_input or 0.0, told.price_output or 0.0) if known else None
    return LanguageModel(told.openai_model, key, told.openai_base_url, told.answer_timeout, price)


def generated(number: int) -> int:
    """How many concepts are asked for, to have so many good ones."""
    return number + max(2, number // 2)


def ceiling(wanted: int) -> int:
    """The most tokens that an answer with so many concepts may have."""
    return wanted * TOKENS_PER_CONCEPT + TOKENS_THOUGHT


def most(writer: LanguageModel, messages: Iterable[Mapping[str, str]], wanted: int) -> Cost:
    """What a request may come to at most, its tokens reckoned by the length of its text."""
    tokens_in = sum(prompting.tokens(message["content"]) + 8 for message in messages)
    tokens_out = ceiling(wanted)
    return Cost(tokens_in, tokens_out, None if writer.price is None else writer.price.of(tokens_in, tokens_out))


def write(
    writer: LanguageModel,
    request: Request,
    evidence: Evidence,
    wanted: int,
    *,
    avoid: Sequence[str] = (),
    on_progress: Callable[[str], None] | None = None,
    meter: Meter | None = None,
    until: float | None = None,
) -> list[Idea]:
    """Ideas for a request, `wanted` of them where the model has as many, by `until` (`time.monotonic`) at the latest.

    What came whole of an answer that broke off is taken; a malformed answer is asked for once more. `on_progress` hears
    a sentence at every piece and twice a second while nothing comes; what it raises ends the request and passes through.
    Raises ConceptsUnavailable, and whatever `meter` raises.
    """
    messages = prompting.build_prompt(request, evidence, wanted, avoid=avoid)
    say = on_progress or (lambda _: None)
    until = time.monotonic() + writer.timeout if until is None else until
    return _Conversation(writer, messages, wanted, say, meter or Unmetered(), until).ideas(evidence)


@dataclass
class _Heard:
    """What one request came to, as far as it got."""

    began: float
    reader: prompting.Reader = field(default_factory=prompting.Reader)
    sent: bool = False  # the server has the request
    answered: bool = False  # it answered in the protocol
    size: int = 0  # of the text, bytes of UTF-8
    refusal: str = ""
    finish: str | None = None  # why the answer ended, in the server's words
    tokens: tuple[int, int] | None = None  # in and out, as the server counted them
    late: bool = False
    error: Exception | None = None

    def take(self, answer: object) -> None:
        """Take a piece of a streamed answer, or a whole one."""
        self.tokens = _tokens(answer) or self.tokens
        choice = _part(answer, "choices", 0)
        piece = next((found for name in ("delta", "message") if (found := _part(choice, name)) is not None), None)
        if choice is None or piece is None:
            return
        self.answered = True
        content, refusal, finish = _part(piece, "content"), _part(piece, "refusal"), _part(choice, "finish_reason")
        if isinstance(content, str):
            self.size += len(content.encode(errors="replace"))
            self.reader.feed(content)
        if isinstance(refusal, str):
            self.refusal += refusal[:1000]
        if isinstance(finish, str):
            self.finish = finish

    def usage(self, writer: LanguageModel, sent: Cost) -> Usage:
        """What it has to be taken to have cost: as the server counted, else reckoned."""
        status = getattr(self.error, "status_code", None)
        tokens, estimated = self.tokens, False
        if tokens is None:
            tokens = (0, 0)  # never sent, or turned away before a model read it
            if self.answered or (self.sent and status is None and not isinstance(self.error, _NoProtocol)):
                tokens, estimated = (sent.tokens_in, -(-self.size // prompting.BYTES_PER_TOKEN)), True
        cost = 0.0 if tokens == (0, 0) else None if writer.price is None else writer.price.of(*tokens)
        return Usage(int(self.sent), *tokens, time.monotonic() - self.began, estimated, cost)


class _NoProtocol(Exception):
    """What answered speaks another protocol."""


class _Conversation:
    """Everything that is asked of a server for one set of ideas, within one limit of time."""

    def __init__(
        self,
        writer: LanguageModel,
        messages: list[dict[str, str]],
        wanted: int,
        say: Callable[[str], None],
        meter: Meter,
        end: float,
    ) -> None:
        self.writer, self.messages, self.wanted, self.say, self.meter = writer, messages, wanted, say, meter
        self.most = most(writer, messages, wanted)
        self.end = end

    def ideas(self, evidence: Evidence) -> list[Idea]:
        forms = _forms(self.most.tokens_out)
        form = next(forms)
        attempts = retries = 0
        while True:
            heard = self._ask(form)
            if heard.reader.concepts:
                # what came whole is good, however the answer ended; a refusal in its midst is none
                with contextlib.suppress(Malformed):
                    return self._taken(heard, evidence)
            if _declined(heard):
                said = wording.one_line(heard.refusal, 200)
                raise ConceptsUnavailable(
                    f"{self.writer.name} declined to write about this topic{f' (“{said}”)' if said else ''}. Put it in "
                    "other words, or use the offline generator."
                )
            if heard.late:
                raise ConceptsUnavailable(
                    f"The language model at {self.writer.place} did not answer within {self.writer.timeout:.0f} s. Try "
                    "again, choose a faster model (OPENAI_MODEL) or allow it more time (MILES_ANSWER_TIMEOUT); the "
                    "offline generator works without it."
                )
            if heard.error is not None:
                simpler = next(forms, None) if _is_too_much(heard.error) else None
                if simpler is not None:
                    logger.info("%s refuses the form of the request; asking more simply", self.writer.name)
                    form = simpler
                    continue
                if retries < RETRIES and _may_pass(heard.error):
                    self._wait(heard.error, retries)
                    retries += 1
                    continue
                raise ConceptsUnavailable(_explain(heard.error, self.writer)) from heard.error
            attempts += 1
            try:
                return self._taken(heard, evidence)
            except Malformed as error:
                if attempts >= ATTEMPTS:
                    raise ConceptsUnavailable(
                        f"{error} It was asked {attempts} times; try another model (OPENAI_MODEL), or use the offline "
                        "generator."
                    ) from error
                logger.info("%s gave a malformed answer (%s); asking again", self.writer.name, error)
                self.say(f"{self.writer.name} gave an answer that can't be used; asking again")

    def _taken(self, heard: _Heard, evidence: Evidence) -> list[Idea]:
        if not heard.reader.concepts:
            if not heard.answered:
                raise Malformed(f"What answers at {self.writer.place} is not an OpenAI-compatible server.")
            if heard.finish == "length":
                raise Malformed("The language model's answer was cut off before its first concept was whole.")
        return prompting.ideas(heard.reader, evidence)

    def _ask(self, form: Mapping[str, Any]) -> _Heard:
        """Send one request and hear it to its end, or to the limit; settled with the meter in any case."""
        heard = _Heard(time.monotonic())
        reservation = self.meter.reserve(self.most)
        try:
            self._hear(heard, form)
        finally:
            self.meter.settle(reservation, heard.usage(self.writer, self.most))
        return heard

    def _hear(self, heard: _Heard, form: Mapping[str, Any]) -> None:
        call = _Call(self.writer, {"model": self.writer.name, "messages": self.messages, **form}, self.end)
        call.start()
        try:
            while True:
                left = self.end - time.monotonic()
                if left <= 0:
                    heard.late = True
                    return
                with contextlib.suppress(queue.Empty):
                    kind, what = call.inbox.get(timeout=min(TICK, left))
                    if kind == "end":
                        return
                    if kind == "error":
                        heard.error = what
                        heard.late = time.monotonic() >= self.end
                    else:
                        heard.take(what)
                        if heard.size > self.most.tokens_out * prompting.BYTES_PER_TOKEN:
                            heard.finish = "length"  # it rambles
                            return
                self.say(self._progress(heard))
        finally:
            heard.sent = call.sent
            call.close()

    def _progress(self, heard: _Heard) -> str:
        if done := len(heard.reader.concepts):
            return f"{min(done, self.wanted)} of {self.wanted} concepts written"
        waited = time.monotonic() - (self.end - self.writer.timeout)
        doing = "is writing" if heard.size else "is thinking" if heard.answered else "has the request"
        return f"{self.writer.name} {doing} ({waited:.0f} of at most {self.writer.timeout:.0f} s)"

    def _wait(self, error: Exception, retries: int) -> None:
        """Wait before another request, as long as the server asks for. Raises ConceptsUnavailable if that is too long."""
        asked = _asked_to_wait(error)
        seconds = FIRST_WAIT * 2**retries * random.uniform(0.75, 1.25) if asked is None else asked
        if seconds > min(LONGEST_WAIT, self.end - time.monotonic()):
            raise ConceptsUnavailable(
                _explain(error, self.writer)
                if asked is None
                else f"The language model at {self.writer.place} asks to wait {seconds:.0f} s. Ask again then; the offline "
                "generator works without it."
            ) from error
        logger.info("%s failed (%s); asking again in %.1f s", self.writer.name, type(error).__name__, seconds)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.say(f"{self.writer.name} is busy; asking again in {left:.0f} s")
            time.sleep(min(TICK, left))


class _Call(threading.Thread):
    """One request to the server, read in a thread: what comes is put into `inbox`, "end" at last."""

    def __init__(self, writer: LanguageModel, parameters: dict[str, Any], end: float) -> None:
        super().__init__(name="language model", daemon=True)
        self.writer, self.parameters, self.seconds = writer, parameters, max(0.1, end - time.monotonic())
        self.inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.sent = False
        self.closed = False
        self._sockets: list[socket.socket] = []

    def run(self) -> None:
        import openai

        try:
            with openai.OpenAI(
                api_key=self.writer.api_key,
                base_url=self.writer.base_url,
                timeout=openai.Timeout(self.seconds, connect=min(CONNECT_TIMEOUT, self.seconds)),
                max_retries=0,  # each request is counted; who sends it again is `_Conversation`
                # nobody's evidence is sent on to where somebody else says
                http_client=openai.DefaultHttpxClient(
                    follow_redirects=False, event_hooks={"request": [self._watch], "response": [_bound]}
                ),
            ) as client:
                # its overloads know no plain dicts
                create: Any = client.chat.completions.with_streaming_response.create
                with create(**self.parameters) as response:
                    for piece in _pieces(response):
                        if self.closed:
                            return
                        self.inbox.put(("piece", piece))
        except Exception as error:
            self.inbox.put(("error", error))
        finally:
            self.inbox.put(("end", None))

    def _watch(self, request: Any) -> None:
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event.endswith("connect_tcp.complete") or event.endswith("start_tls.complete"):
            self._sockets.append(details["return_value"].get_extra_info("socket"))
            if self.closed:
                self.close()
        elif event.endswith("send_request_headers.started"):
            self.sent = True

    def close(self) -> None:
        """Hang up, whatever the thread is waiting for."""
        self.closed = True
        for connection in self._sockets:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


def _pieces(response: Any) -> Iterator[object]:
    """The pieces of a streamed answer, or the only one of a server that does not stream."""
    content_type = response.headers.get("Content-Type", "")
    if "json" in content_type or "html" in content_type:
        try:
            yield json.loads(b"".join(response.iter_bytes()))
        except ValueError as error:
            raise _NoProtocol from error
    else:
        yield from response.parse()


def _bound(response: Any) -> None:
    """Let no answer grow beyond what memory is meant for."""
    import httpx2  # what openai itself speaks HTTP with

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in self.stream:
                size += len(chunk)
                if size > LARGEST_ANSWER:
                    raise _NoProtocol
                yield chunk

        def close(self) -> None:
            self.stream.close()

    response.stream = Bounded(response.stream)


def _forms(tokens: int) -> Iterator[dict[str, Any]]:
    """How to ask for the answer, the strictest first: servers that only resemble OpenAI's refuse one thing or another."""
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "concepts", "strict": True, "schema": prompting.Reply.model_json_schema()},
    }
    counted = {"stream": True, "stream_options": {"include_usage": True}}
    yield {"response_format": schema, **counted, "max_completion_tokens": tokens}
    yield {"response_format": schema, **counted}  # some know no limit, or none beyond their context
    yield {"response_format": {"type": "json_object"}, **counted}
    yield {"stream": True}
    yield {}


def _declined(heard: _Heard) -> bool:
    filtered = "content_filter" in (heard.finish, getattr(heard.error, "code", None))
    return filtered or bool(heard.refusal)


def _is_too_much(error: Exception) -> bool:
    """Whether a server refuses something of the request's form, or may."""
    import openai

    if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
        return error.code != "model_not_found"
    return isinstance(error, openai.APIStatusError) and error.status_code == 501


def _may_pass(error: Exception) -> bool:
    """Whether the same request may be answered if it is sent again."""
    import openai

    if isinstance(error, openai.APIStatusError):
        quota = error.code in ("insufficient_quota", "billing_hard_limit_reached")
        return not quota and (error.status_code in (408, 409, 429) or error.status_code >= 500)
    # a broken connection, an error in the midst of a stream, or pieces that are none
    return isinstance(error, openai.OpenAIError | ValueError)


def _asked_to_wait(error: Exception) -> float | None:
    """Seconds that a server asks to wait; None where it does not say."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            seconds = float(headers.get(name, "")) * unit
            return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124  # not a number
    with contextlib.suppress(ValueError, TypeError):
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max((moment.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    return None


def _explain(error: Exception, writer: LanguageModel) -> str:
    """What went wrong and what to do, by the type of the error."""
    import openai

    status = getattr(error, "status_code", None)
    if isinstance(error, openai.APITimeoutError):
        what = "can't be reached in time. Check the network and OPENAI_BASE_URL"
    elif isinstance(error, openai.APIConnectionError):
        what = "can't be reached, or hangs up. Check the network and OPENAI_BASE_URL"
    elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        what = "refuses the key. Correct OPENAI_API_KEY"
    elif isinstance(error, openai.NotFoundError):
        what = f"knows no model “{writer.name}” there. Correct OPENAI_MODEL or OPENAI_BASE_URL"
    elif isinstance(error, openai.RateLimitError):
        what = "allows no more requests now. Wait, or check the account's quota"
    elif isinstance(error, openai.APIStatusError) and error.code == "context_length_exceeded":
        what = "can't read as much as the evidence is. Choose a model with a longer context (OPENAI_MODEL)"
    elif isinstance(error, openai.APIStatusError) and 300 <= error.status_code < 400:
        to = wording.one_line(error.response.headers.get("location", ""), 200)
        what = f"sends on to {to or 'elsewhere'}. Correct OPENAI_BASE_URL"
    elif isinstance(error, openai.APIStatusError):
        what = f"answered with HTTP {status}. Try again later"
    elif isinstance(error, openai.APIError):
        said = wording.one_line(error.message, 200)
        what = f"broke off{f' (“{said}”)' if said else ''}. Try again later"
    else:
        what = "gave an answer that is none of OpenAI's protocol. Check OPENAI_BASE_URL"
    return f"The language model at {writer.place} {what}; the offline generator works without it."


def _tokens(answer: object) -> tuple[int, int] | None:
    """Tokens in and out as a server counted them; None where it did not, or nonsense."""
    counts = [_part(answer, "usage", name) for name in ("prompt_tokens", "completion_tokens")]
    known = [count for count in counts if isinstance(count, int) and not isinstance(count, bool)]
    if len(known) < len(counts) or not all(0 <= count <= MOST_TOKENS for count in known) or not sum(known):
        return None
    return known[0], known[1]


def _part(thing: object, *path: str | int) -> Any:
    """A part of an answer, whose shape nobody vouches for; None where it has no such part."""
    for step in path:
        if isinstance(step, int):
            thing = thing[step] if isinstance(thing, list) and len(thing) > step else None
        else:
            thing = thing.get(step) if isinstance(thing, dict) else getattr(thing, step, None)
    return thing
