"""Stored pictures for pages: fetched side by side, at hand after that, and never waited for long."""

from collections.abc import Iterable

from miles import storage
from miles.browse import Row
from miles.errors import StorageUnavailable

PATIENCE = 2.0  # seconds that a page waits for its pictures; what comes later is there at the next look


class NotHere(Exception):
    """There is no such picture, or it did not come in time. Raised and not returned: a cache must not keep that."""


def warm(rows: Iterable[Row]) -> None:
    """Have the pictures of these at hand; where they lie in a folder that is nothing to do."""
    storage.thumbnails().warm([row.thumbnail for row in rows if row.thumbnail], PATIENCE)


def read(key: str) -> bytes:
    """A stored picture. Raises NotHere."""
    stored = storage.thumbnails()
    stored.warm([key], PATIENCE)
    try:
        kept = stored.peek(key)
    except StorageUnavailable as error:
        raise NotHere from error
    if kept is None:
        raise NotHere
    return kept
