"""The pictures of collected videos: fetched, kept in the storage, noted in `thumbnails`.

A picture that can't be had never fails its video; its row says why.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import psycopg
from sqlalchemy import Connection, text

from miles import images, storage
from miles.errors import MilesError

logger = logging.getLogger(__name__)

AGE = timedelta(days=7)  # a picture this young is not fetched again


def missing(connection: Connection, addresses: Mapping[str, str]) -> dict[str, str]:
    """Of the addresses by candidate id those whose picture we don't have, or have had for long."""
    recent = connection.scalars(
        text(
            "SELECT candidate_id FROM thumbnails WHERE candidate_id = ANY(:keys) AND state = 'stored'"
            " AND fetched_at > now() - CAST(:age AS interval)"
        ),
        {"keys": list(addresses), "age": AGE},
    ).all()
    return {key: address for key, address in addresses.items() if key not in set(recent)}


def fetch(candidate_id: str, address: str) -> dict[str, object]:
    """The row of a video's thumbnail, fetched now."""
    row: dict[str, object] = dict.fromkeys(("sha256", "content_type", "width", "height", "bytes", "reason"))
    row |= {"candidate_id": candidate_id, "state": "failed"}
    try:
        picture = images.fetch(address)
        return row | {
            "state": "stored",
            "sha256": storage.thumbnails().put(picture.data),
            "content_type": picture.content_type,
            "width": picture.width,
            "height": picture.height,
            "bytes": len(picture.data),
        }
    except MilesError as error:
        return row | {"reason": str(error)}
    except OSError as error:
        logger.warning("A thumbnail could not be stored: %s", error)
        return row | {"reason": f"The thumbnail could not be stored ({error.strerror or error})."}


def write(cursor: psycopg.Cursor, rows: Sequence[dict[str, object]]) -> None:
    """Store rows that `fetch` made."""
    cursor.executemany(
        """
        INSERT INTO thumbnails (candidate_id, sha256, content_type, width, height, bytes, state, reason)
        VALUES (%(candidate_id)s, %(sha256)s, %(content_type)s, %(width)s, %(height)s, %(bytes)s, %(state)s, %(reason)s)
        ON CONFLICT (candidate_id) DO UPDATE SET
            sha256 = excluded.sha256, content_type = excluded.content_type, width = excluded.width,
            height = excluded.height, bytes = excluded.bytes, state = excluded.state, reason = excluded.reason,
            fetched_at = now()
        WHERE excluded.state = 'stored' OR thumbnails.state = 'failed'  -- a picture we have stays
        """,
        rows,
    )
