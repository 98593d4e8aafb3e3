"""Serves an ASGI app over HTTP, alone in its process: the only home of uvicorn.

Adds to it what a server on an open port needs: nobody may take for ever to say what they want.
"""

import asyncio
import contextlib
import logging
import socket

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from miles.errors import AlreadyRunning

logger = logging.getLogger(__name__)

HEAD_TIME = 10.0  # seconds for all of a request's head, from the connection or its first byte on
IDLE_TIME = 30  # seconds that a connection may lie idle between two requests
STOP_TIME = 15  # seconds for requests at hand when the server is asked to end


class Impatient(H11Protocol):
    """HTTP/1.1 whose requests must say what they want in time; uvicorn alone waits for ever."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it, as asyncio means it
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # some of a head, but not all
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._head is None:  # not anew for each byte that drips in
            self._head = self.loop.call_later(HEAD_TIME, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for the app, which is told its sockets when it is run."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Impatient,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the API reads X-Forwarded-For itself, and believes only MILES_API_PROXIES
            timeout_keep_alive=IDLE_TIME,
            timeout_graceful_shutdown=STOP_TIME,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve on; port 0 is any. Raises AlreadyRunning where it can't be had."""
    try:
        place = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
        place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see api_beside.answer_at_once
        return place
    except OSError as error:
        raise AlreadyRunning(
            f"The API can't listen on {host}, port {port} ({error.strerror or error}). "
            f"Choose another port: python -m miles api --port {port + 1}."
        ) from error


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM, then let requests at hand be answered. Raises AlreadyRunning."""
    place = listen(host, port)
    with place, contextlib.suppress(KeyboardInterrupt):
        name, number = place.getsockname()[:2]
        logger.info("The API listens on http://%s:%d", f"[{name}]" if ":" in name else name, number)
        server(app).run(sockets=[place])
