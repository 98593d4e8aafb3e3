"""Exports over HTTP: GET /export/videos.csv?…, the whole filtered set, streamed as it is read.

The address behind the question mark is that of the Trending page (`addresses`), so a view and its file are one. It
stands beside the pages and is as open as they are: it shows what every visitor can see there, as miles_viewer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from anyio import CancelScope
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from miles import addresses, browse, db, export, similar
from miles.errors import MilesError

logger = logging.getLogger(__name__)

TYPES: dict[export.Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
}
AT_ONCE = 4  # exports that read at the same time; each holds a connection, further ones wait
GIVE_UP = "2min"  # without taking a piece; a reader that has gone must not hold a transaction open for ever

_turns = asyncio.Semaphore(AT_ONCE)


async def download(request: Request) -> Response:
    """The export that the path names ("videos.csv", "videos.parquet", "videos.jsonl")."""
    _, _, ending = str(request.path_params["name"]).rpartition(".")
    kind = next((one for one in export.FORMATS if request.path_params["name"] == f"videos.{one}"), None)
    if kind is None:
        return PlainTextResponse(f"There is no export as {ending[:20]}: {', '.join(export.FORMATS)}.\n", 404)
    given = {key: request.query_params.getlist(key) for key in request.query_params}
    await _turns.acquire()
    rows = _rows(kind, given)
    try:
        first = await run_in_threadpool(next, rows)  # what is wrong is told before the answer has begun
    except BaseException as error:
        _turns.release()
        if isinstance(error, MilesError):
            return PlainTextResponse(f"{error}\n", 503)
        raise
    name = f"miles-videos-{datetime.now(UTC):%Y-%m-%d}.{kind}"
    return _Streamed(
        first,
        rows,
        media_type=TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


class _Streamed(StreamingResponse):
    """Pieces as they are made; when it ends, however it does, so does their transaction."""

    def __init__(self, first: bytes, rest: Generator[bytes, None, None], **more: Any) -> None:
        super().__init__(self._all(first, rest), **more)
        self._rest = rest

    @staticmethod
    async def _all(first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
        yield first
        while (piece := await run_in_threadpool(_next, rest)) is not None:
            yield piece

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):  # a reader who hangs up cancels this
                await run_in_threadpool(self._rest.close)
            _turns.release()


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def _rows(kind: export.Format, given: dict[str, list[str]]) -> Generator[bytes, None, None]:
    """The pieces of the file, read in a transaction that ends with them."""
    db.ready()
    with db.transaction("viewer") as connection:
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{GIVE_UP}'"))
        asked = addresses.read(given, browse.state(connection).newest)
        among = None
        if asked.like:
            among = similar.keys_like(connection, asked.like, similar.MOST_ALIKE, asked.filters)
        with closing(
            export.pieces(connection, kind, filters=asked.filters, sort=asked.sort or "score", among=among)
        ) as pieces:
            yield from pieces
