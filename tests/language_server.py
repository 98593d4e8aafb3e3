"""An OpenAI-compatible server on loopback that misbehaves on purpose, and keeps a book of its own.

Each answer is a `Turn`, taken in order, the last again and again. The book says what a provider would have counted:
requests that arrived, tokens that were read and written. Its tokens are about as long as those of real tokenizers; a
streamed answer comes token by token.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


def tokens(text: str) -> list[str]:
    return re.findall(r"\s*(?:[A-Za-z]{1,8}|[^\W\d_]{1,2}|\d{1,3}|[^\w\s]{1,3}|_)|\s+", text)


@dataclass(frozen=True)
class Turn:
    """How one request is answered."""

    text: str = ""
    status: int = 200
    body: bytes | None = None  # as it is, instead of an answer; an error's, or none of the protocol
    headers: dict[str, str] = field(default_factory=dict)
    streams: bool = True  # False: answers whole, though it is asked for a stream
    counts: bool = True  # False: never says how many tokens
    finish: str | None = "stop"
    refusal: str | None = None
    wait: float = 0.0  # seconds before anything
    drip: float = 0.0  # seconds between two bytes
    pace: float = 0.0  # seconds between two tokens
    stall: int | None = None  # tokens after which nothing more comes, though the connection stays
    cut: int | None = None  # bytes of the body after which the connection ends, without a word
    broken: str | None = None  # an error in the midst of the stream
    reports: Any = None  # instead of the true count


@dataclass
class Book:
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class LanguageServer:
    """Answers chat completions by its `turns`; `asked` are the bodies that came, `book` what they cost."""

    def __init__(self) -> None:
        self.turns: list[Turn | Callable[[dict[str, Any]], Turn]] = []
        self.asked: list[dict[str, Any]] = []
        self.book = Book()
        self.hung_up = threading.Event()  # somebody left before an answer was whole
        self.closing = threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.asked.append(request)
                    server.book.requests += 1
                    turn = server.turns.pop(0) if len(server.turns) > 1 else server.turns[0]
                turn = turn(request) if callable(turn) else turn
                try:
                    server._answer(self, request, turn)
                except OSError:
                    server.hung_up.set()
                    self.close_connection = True

            do_GET = do_POST

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, request: dict[str, Any], turn: Turn) -> None:
        self.closing.wait(turn.wait)
        streamed = bool(request.get("stream")) and turn.streams and turn.body is None
        parts = [turn.body] if turn.body is not None else self._parts(request, turn, streamed)
        handler.send_response(turn.status)
        kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
        length = {"Transfer-Encoding": "chunked"} if streamed else {"Content-Length": str(len(parts[0]))}
        for name, value in {"Content-Type": kind, **length, **turn.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        left = turn.cut
        for number, part in enumerate(parts):
            self.closing.wait(60 if number == turn.stall else turn.pace)
            if streamed:
                self._write_down(_written(part))
            raw = b"%x\r\n%s\r\n" % (len(part), part) if streamed else part
            if left is not None and left < len(part):
                handler.wfile.write((b"%x\r\n" % len(part) if streamed else b"") + part[:left])
                handler.close_connection = True
                return
            left = None if left is None else left - len(part)
            for piece in [bytes([byte]) for byte in raw] if turn.drip else [raw]:
                handler.wfile.write(piece)
                self.closing.wait(turn.drip)
        if streamed:
            handler.wfile.write(b"0\r\n\r\n")

    def _parts(self, request: dict[str, Any], turn: Turn, streamed: bool) -> list[bytes]:
        """What is sent of an answer, one after the other."""
        read, written = sum(len(tokens(message["content"])) for message in request["messages"]), len(tokens(turn.text))
        with self._lock:
            self.book.tokens_in += read
        usage = {"prompt_tokens": read, "completion_tokens": written} if turn.reports is None else turn.reports
        if streamed:
            return list(_stream(request, turn, usage))
        self._write_down(written)
        return [_whole(turn, usage)]

    def _write_down(self, written: int) -> None:
        with self._lock:
            self.book.tokens_out += written


def _choice(kind: str, message: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion" + (".chunk" if kind == "delta" else ""),
        "created": 1,
        "model": "scripted-1",
        "choices": [{"index": 0, kind: message, "finish_reason": finish}],
    }


def _whole(turn: Turn, usage: object) -> bytes:
    message = {"role": "assistant", "content": turn.text if turn.refusal is None else None, "refusal": turn.refusal}
    return json.dumps(
        {**_choice("message", message, turn.finish), **({"usage": usage} if turn.counts else {})}, ensure_ascii=False
    ).encode()


def _stream(request: dict[str, Any], turn: Turn, usage: object) -> Iterator[bytes]:
    def event(document: dict[str, Any]) -> bytes:
        return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()

    yield event(_choice("delta", {"role": "assistant", "content": ""}, None))
    for piece in tokens(turn.text):
        yield event(_choice("delta", {"content": piece}, None))
    if turn.refusal is not None:
        yield event(_choice("delta", {"refusal": turn.refusal}, None))
    if turn.broken is not None:
        yield event({"error": {"message": turn.broken, "code": 500}})
        return
    if turn.finish is not None:
        yield event(_choice("delta", {}, turn.finish))
    if turn.counts and (request.get("stream_options") or {}).get("include_usage"):
        yield event({**_choice("delta", {}, None), "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _written(event: bytes) -> int:
    """The tokens of one event of a stream: one, or none."""
    return int(b'"delta": {"content": "' in event and b'"role"' not in event)


def concept(title: str, **changes: Any) -> dict[str, Any]:
    return {
        "title": title,
        "hook": "Look at this queue.",
        "outline": ["Arrive.", "Eat.", "Decide."],
        "thumbnail_idea": "A plate under a neon sign",
        "hashtags": ["streetfood"],
        "why": "Night markets do better here.",
        "risk": "Rain empties the stalls.",
        "evidence": ["E1", "E2"],
        **changes,
    }


def concepts(*titles: str, **changes: Any) -> str:
    return json.dumps({"concepts": [concept(title, **changes) for title in titles]}, ensure_ascii=False)


def failure(status: int, message: str = "later", code: str | None = None, **headers: str) -> Turn:
    body = json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()
    return Turn(status=status, body=body, headers=headers)


GOOD = Turn(concepts("Three stalls, one verdict", "The queue that never ends", "What the last customer gets"))
QUIET = replace(GOOD, counts=False)
