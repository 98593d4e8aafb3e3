"""The API beside the dashboard, in one process: made at its first request.

So a dashboard whose API nobody asks starts as fast as without one. It uses the model version that the database says
is in force, which the pages share. Knows nothing about what the API does.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from fastapi import FastAPI

    from miles.scoring import Model


class Beside:
    """An ASGI app that stands for the API until it is made. `make` gives it."""

    def __init__(self, make: "Callable[[], FastAPI] | None" = None) -> None:
        self._make = make or _of_this_installation
        self._making: asyncio.Task[FastAPI] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._making is None:
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
        # shielded: a client that goes away must not stop what others wait for
        app: ASGIApp = await asyncio.shield(self._making)
        await app(scope, receive, send)

    @asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """From the server's start to its end; mounted apps are told of neither."""
        answer_at_once()
        try:
            yield
        finally:
            if self._making is not None:
                await asyncio.to_thread((await self._making).state.service.close)


def answer_at_once() -> None:
    """Let no connection of this process wait for acknowledgements (Nagle).

    uvicorn writes head and body apart. asyncio turns the waiting off only on sockets made for TCP by name, and those
    of Streamlit and uvicorn are not: every answer took 40 ms longer. Connections inherit it from where they come in.
    """
    for place in psutil.Process().net_connections("tcp"):
        if place.status == psutil.CONN_LISTEN and place.fd >= 0:  # Windows tells no fd
            with socket.socket(fileno=os.dup(place.fd)) as listening:
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _of_this_installation() -> "FastAPI":
    from miles import api

    def in_force() -> "Model":
        from miles import db, registry

        db.ready()
        return registry.active_model()

    return api.create_app(in_force, wake=False)
