"""A web site on loopback for tests: pages with videos, a feed of them, pictures, hostile answers; and a pace to ask it at."""

import io
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from miles.errors import SourcePaused


@dataclass
class Answer:
    """What the site answers; `drip` sends one byte each so many seconds."""

    body: bytes = b""
    content_type: str = "text/html"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds
    drip: float = 0.0  # seconds
    length: int | None = None  # announced, where it is not the truth


class Site:
    """Answers of `pages` by path; `requests` are the paths that were asked for, in order, `headers` what came with them, `times` when."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.pages: dict[str, Answer | Callable[[], Answer]] = {}
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []  # of each of them
        self.times: list[float] = []  # likewise; Unix, seconds
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def do_HEAD(self) -> None:
                site.answer(self, body=False)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bool = True) -> None:
        self.requests.append(handler.path)
        self.headers.append(dict(handler.headers))
        self.times.append(time.time())
        page = self.pages.get(handler.path, Answer(b"nothing here", status=404))
        page = page() if callable(page) else page
        self.closing.wait(page.delay)
        try:
            handler.send_response(page.status)
            handler.send_header("Content-Type", page.content_type)
            handler.send_header("Content-Length", str(len(page.body) if page.length is None else page.length))
            for name, value in page.headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            if not body:
                return
            if page.drip:
                for byte in page.body:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if self.closing.wait(page.drip):
                        return
            else:
                handler.wfile.write(page.body)
        except OSError:
            pass  # the other side has had enough

    def video(self, name: str, *, views: int, title: str | None = None, delay: float = 0.0, thumbnail: str = "") -> str:
        """Add a page with one video; returns its address."""
        self.pages[f"/watch/{name}"] = Answer(
            self._video_page(name, views, title or f"Video {name}", thumbnail), delay=delay
        )
        return f"{self.address}/watch/{name}"

    def feed(self, names: list[str], path: str = "/feed.xml") -> str:
        """Add a feed that lists videos; returns its address."""
        items = "".join(
            f"<item><title>Video {name}</title><link>{self.address}/watch/{name}</link></item>" for name in names
        )
        body = f'<?xml version="1.0"?><rss version="2.0"><channel><title>All</title>{items}</channel></rss>'
        self.pages[path] = Answer(body.encode(), "application/rss+xml")
        return self.address + path

    def _video_page(self, name: str, views: int, title: str, thumbnail: str) -> bytes:
        facts = {
            "@context": "https://schema.org",
            "@type": "VideoObject",
            "name": title,
            "description": f"What happens in {name}",
            "thumbnailUrl": thumbnail or f"{self.address}/thumbnail/{name}.png",
            "contentUrl": f"{self.address}/media/{name}.mp4",
            "uploadDate": "2026-03-04T05:06:07Z",
            "duration": "PT42S",
            "interactionStatistic": {
                "@type": "InteractionCounter",
                "interactionType": "https://schema.org/WatchAction",
                "userInteractionCount": views,
            },
        }
        self.pages[f"/media/{name}.mp4"] = Answer(bytes(16), "video/mp4")
        if not thumbnail:
            self.pages[f"/thumbnail/{name}.png"] = Answer(picture(seed=sum(name.encode())), "image/png")
        return f'<html><head><script type="application/ld+json">{json.dumps(facts)}</script></head></html>'.encode()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


class FreePace:
    """A pace without limits that writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusals: list[tuple[str, str, timedelta | None]] = []
        self.outcomes: list[tuple[list[str], str]] = []
        self.hold: SourcePaused | None = None  # until it is taken away

    def permit(self, url: str, wanted: Callable[[], bool]) -> str | None:
        if self.hold:
            raise self.hold
        self.asked.append(url)
        return url if wanted() else None

    def refused(self, permit: str, reason: str, asked: timedelta | None) -> SourcePaused:
        self.refusals.append((permit, reason, asked))
        return SourcePaused("not before tomorrow", "example.com", datetime.now(UTC) + timedelta(days=1))

    def settle(self, permits: Iterable[str], outcome: str) -> None:
        self.outcomes.append((list(permits), outcome))


def picture(width: int = 64, height: int = 36, kind: str = "PNG", seed: int = 0) -> bytes:
    """A small drawn picture, another one for each seed."""
    image = Image.new("RGB", (width, height), (seed % 256, seed * 7 % 256, seed * 13 % 256))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def eventually(condition: Callable[[], bool], seconds: float = 120.0, what: str = "it") -> None:
    """Wait until a condition holds; for so long only that what never comes is a failure, however busy the machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


# Below those that systems hand out by themselves, and each process of the tests has a hundred of its own: a port stays
# free until the server that is told of it has started.
PORTS = itertools.count(10_000 + os.getpid() % 200 * 100)


def free_port() -> int:
    """A port that nobody listens on, another one each time."""
    for port in PORTS:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is only closing is free, as for a server
            try:
                trial.bind(("0.0.0.0", port))  # noqa: S104
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the count has no end")
