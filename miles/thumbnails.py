"""The pictures of collected videos: fetched, kept in the storage, noted in `thumbnails`, forgotten when nobody needs them.

A picture that can't be had never fails its video; its row says why. An object is pinned in the database before it is
put into the storage, until the row that names it is committed; only what is neither named nor pinned is deleted. So
cleaning and removing are safe beside collections that write at the same time.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, text

from miles import db, decoding, images, settings, storage
from miles.db import Role
from miles.errors import ImageRefused, MilesError, StorageUnavailable
from miles.images import Image
from miles.store import copy

logger = logging.getLogger(__name__)
T = TypeVar("T")

AGE = timedelta(days=7)  # a picture this young is not fetched again
LARGEST_SIDE = 1280  # pixels; 720p lengthwise or upright. The model looks at 224, a page shows 480
AT_ONCE = 4  # pictures fetched side by side by `repair`; those of one video site mostly come from one server
BATCH = 20  # rows written together
FORGOTTEN_TOGETHER = 100  # objects whose rows are locked while they are deleted
REPAIRED_AT_MOST = 500  # pictures in one run of `repair`: some minutes
TRIES = 3  # of a picture whose server fails; the storage's own failures are tried again for ever
PASSING = ("unreachable", "timeout", "status")  # kinds of ImageRefused that may pass
FEW_MISSING = 20  # pictures; of more than that not most may be missing, else the folder is another one
EXPIRED = timedelta(days=1)  # a pin this old belongs to a process that died; see unused_objects() in the migrations


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is in the storage, and is held there until it is released."""

    sha256: str
    pin: int


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of a look for pictures that are not there; counts of pictures."""

    missing: int  # named by a row, and not in the storage, or damaged there
    restored: int  # of those: taken from the folder that Miles used before, or fetched again
    lost: int  # of those: can't be had any more; their rows say why
    retried: int  # that had failed before and were tried again
    fetched: int  # of the retried: that came
    left: int  # to be done by the next run
    elsewhere: int  # missing ones left alone, because most are: this is not the folder that they were stored in
    unknown: int  # objects in the storage that this database knows nothing of


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
    """The row of a video's thumbnail, fetched and kept now; for `write`."""
    row: dict[str, object] = dict.fromkeys(
        ("sha256", "content_type", "width", "height", "bytes", "reason", "error_kind", "pin")
    )
    row |= {"candidate_id": candidate_id, "state": "failed"}
    try:
        picture = fitting(images.fetch(address))
        kept = keep(picture.data)
        return row | {
            "state": "stored",
            "sha256": kept.sha256,
            "pin": kept.pin,
            "content_type": picture.content_type,
            "width": picture.width,
            "height": picture.height,
            "bytes": len(picture.data),
        }
    except ImageRefused as error:
        return row | {"reason": str(error), "error_kind": error.kind}
    except StorageUnavailable as error:
        logger.warning("A thumbnail could not be stored: %s", error)
        return row | {"reason": f"The thumbnail could not be stored. {error}", "error_kind": "storage"}
    except MilesError as error:
        return row | {"reason": str(error), "error_kind": "other"}


def fitting(picture: Image) -> Image:
    """The picture itself, or a smaller one (JPEG) where it is larger than 720p."""
    if max(picture.width, picture.height) <= LARGEST_SIDE:
        return picture
    return images.check(decoding.scaled_down(picture.data, LARGEST_SIDE))


def write(cursor: psycopg.Cursor, rows: Sequence[dict[str, object]], *, lost: bool = False) -> None:
    """Store rows that `fetch` made, and release what they name.

    A video that was removed meanwhile gets none. A picture that we have stays where a newer one could not be had,
    unless it is `lost`.
    """
    cursor.executemany(
        f"""
        INSERT INTO thumbnails (
            candidate_id, sha256, content_type, width, height, bytes, state, reason, error_kind, attempts
        )
        SELECT candidate_id, %(sha256)s, %(content_type)s, %(width)s, %(height)s, %(bytes)s, %(state)s, %(reason)s,
            %(error_kind)s, (%(state)s = 'failed')::int
        FROM candidates WHERE candidate_id = %(candidate_id)s FOR KEY SHARE
        ON CONFLICT (candidate_id) DO UPDATE SET
            sha256 = excluded.sha256, content_type = excluded.content_type, width = excluded.width,
            height = excluded.height, bytes = excluded.bytes, state = excluded.state, reason = excluded.reason,
            error_kind = excluded.error_kind, fetched_at = now(),
            attempts = CASE WHEN excluded.state = 'failed' THEN thumbnails.attempts + 1 ELSE 0 END
        {"" if lost else "WHERE excluded.state = 'stored' OR thumbnails.state = 'failed'"}
        """,
        rows,
    )
    pins = [row["pin"] for row in rows if row["pin"] is not None]
    if pins:
        cursor.execute("SELECT unpin_objects(%s)", (pins,))


def keep(data: bytes, role: Role = "worker") -> Kept:
    """Put a picture into the storage and hold it there. Raises StorageUnavailable.

    Whoever writes the row that names it releases it in the same transaction.
    """
    (kept,) = keep_all([data], role)
    return kept


def keep_all(pictures: Sequence[bytes], role: Role = "worker") -> list[Kept]:
    """The same of several, in their order."""
    keys = [hashlib.sha256(data).hexdigest() for data in pictures]
    with db.transaction(role) as connection:
        rows = connection.execute(text("SELECT pin, object FROM pin_objects(:keys)"), {"keys": keys})
        pins = {row.object: row.pin for row in rows}
    try:
        stored = storage.thumbnails()
        if len(pictures) == 1:
            stored.put(pictures[0])
        else:
            with ThreadPoolExecutor(storage.AT_ONCE) as pool:  # a folder waits for the disk, a bucket for the network
                list(pool.map(stored.put, pictures))
    except StorageUnavailable:
        with db.transaction(role) as connection:
            release(connection, pins.values())
        raise
    return [Kept(key, pins[key]) for key in keys]


def release(connection: Connection, pins: Iterable[int]) -> None:
    """Hold these no longer: the rows that name them are written, or never will be."""
    connection.execute(text("SELECT unpin_objects(:pins)"), {"pins": sorted(set(pins))})


def forget(keys: Iterable[str]) -> int:
    """Delete from the storage those of these objects that nobody names or is about to name; returns how many.

    Raises StorageUnavailable; what it did not come to is still known, and for the next `clean`.
    """
    stored = storage.thumbnails()
    forgotten = 0
    for batch in _batches(sorted(set(keys)), FORGOTTEN_TOGETHER):
        with db.transaction("worker") as connection:
            locked = connection.scalars(
                text("SELECT sha256 FROM objects WHERE sha256 = ANY(:keys) ORDER BY sha256 FOR UPDATE SKIP LOCKED"),
                {"keys": batch},
            ).all()
            # only now that nobody can pin them any more it is sure that nobody will name them
            unused = connection.scalars(text("SELECT unused_objects(:keys)"), {"keys": list(locked)}).all()
            with ThreadPoolExecutor(storage.AT_ONCE) as pool:
                list(pool.map(stored.delete, unused))
            connection.execute(text("DELETE FROM objects WHERE sha256 = ANY(:keys)"), {"keys": list(unused)})
        forgotten += len(unused)
    return forgotten


def let_go(keys: Iterable[str]) -> None:
    """Forget these now; where the storage fails, the next `clean` does it."""
    try:
        forget(keys)
    except StorageUnavailable as error:
        logger.warning("Pictures that nobody needs any more are deleted later. %s", error)


def clean() -> int:
    """Delete every object that nobody needs; returns how many. Raises StorageUnavailable."""
    with db.transaction("worker") as connection:
        connection.execute(
            text("DELETE FROM object_pins WHERE pinned_at < now() - CAST(:age AS interval)"), {"age": EXPIRED}
        )
    forgotten, after = 0, ""
    while True:
        with db.transaction("worker") as connection:
            page = connection.scalars(
                text("SELECT sha256 FROM objects WHERE sha256 > :after ORDER BY sha256 LIMIT 1000"), {"after": after}
            ).all()
            unused = connection.scalars(text("SELECT unused_objects(:keys)"), {"keys": list(page)}).all()
        if not page:
            return forgotten
        after = page[-1]
        forgotten += forget(unused)


def repair(
    *,
    verify: bool = False,
    everything: bool = False,
    limit: int = REPAIRED_AT_MOST,
    stop: Callable[[], bool] | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Repaired:
    """Look which pictures are not in the storage, and get them again; try again those that failed for a reason that
    may have passed. Raises StorageUnavailable.

    What is there is told from a listing, which knows the size; with `verify` every object is read and compared with
    its hash. Where most pictures are missing in a folder, they were stored on another machine, and are left alone
    unless `everything` says otherwise.
    """
    stopped, tell = stop or (lambda: False), on_progress or (lambda done, total: None)
    stored = storage.thumbnails()
    absent, named, unknown = _absent(stored)
    elsewhere: set[str] = set()
    if isinstance(stored, storage.Folder) and not everything and len(absent) > max(FEW_MISSING, named / 2):
        logger.warning(
            "%d of %d pictures are not in %s: they were stored on another machine. Give all machines the same"
            " MILES_STORAGE_URL, or have them fetched again here with `python -m miles tidy --fetch-all`.",
            len(absent), named, stored.place,
        )  # fmt: skip
        elsewhere, absent = absent, set()
    if verify:
        absent |= _damaged(stored, absent | elsewhere)
    earlier = storage.Folder(settings.load().thumbnails) if settings.load().bucket else None
    restored = set()
    for key in sorted(absent):
        if earlier and (data := earlier.get(key)):
            stored.put(data)  # not pinned: rows name it
            restored.add(key)
    with db.transaction("worker") as connection:
        gone = _of_videos(connection, sorted(absent - restored))
        failed = _to_retry(connection)
    missing_rows = {row[0] for row in gone}
    work = [*gone, *(row for row in failed if row[0] not in missing_rows)]
    came: dict[bool, int] = {True: 0, False: 0}  # by whether it was missing, or had failed before
    lost, done = 0, 0
    for batch in _batches(work[:limit], BATCH):
        if stopped():
            break
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = list(pool.map(lambda one: _again(*one), batch))
        with db.transaction("worker") as connection:
            write(db.psycopg_connection(connection).cursor(), rows, lost=True)
        done += len(batch)
        for row in rows:
            was_missing = row["candidate_id"] in missing_rows
            came[was_missing] += row["state"] == "stored"
            lost += was_missing and row["state"] == "failed"
        tell(done, min(len(work), limit))
    found = Repaired(
        missing=len(absent) + len(elsewhere),
        restored=len(restored) + came[True],
        lost=lost,
        retried=sum(candidate_id not in missing_rows for candidate_id, _ in work[:done]),
        fetched=came[False],
        left=len(work) - done,
        elsewhere=len(elsewhere),
        unknown=unknown,
    )
    logger.info("Pictures looked after: %s", found)
    return found


def _absent(stored: storage.Storage) -> tuple[set[str], int, int]:
    """The keys of objects that rows of `thumbnails` name, and that the storage does not have or has in another size;
    of how many that is; and how many objects it has that are not known here."""
    with db.transaction("worker") as connection:
        cursor = db.psycopg_connection(connection).cursor()
        cursor.execute("CREATE TEMP TABLE in_storage (sha256 text, bytes bigint) ON COMMIT DROP")
        with copy(cursor, "in_storage", ("sha256", "bytes")) as rows:
            for one in stored.listed():
                rows.write_row((one.key, one.bytes))
        cursor.execute("ANALYZE in_storage")
        absent = cursor.execute(
            "SELECT DISTINCT sha256 FROM thumbnails LEFT JOIN in_storage USING (sha256)"
            " WHERE state = 'stored' AND in_storage.bytes IS DISTINCT FROM thumbnails.bytes"
            " AND (in_storage.bytes IS NULL OR thumbnails.bytes IS NOT NULL)"
        ).fetchall()
        named, unknown = cursor.execute(
            "SELECT (SELECT count(DISTINCT sha256) FROM thumbnails WHERE state = 'stored'),"
            " (SELECT count(*) FROM in_storage WHERE NOT EXISTS"
            " (SELECT FROM objects WHERE objects.sha256 = in_storage.sha256))"
        ).fetchone() or (0, 0)
    return {key for (key,) in absent}, named, unknown


def _damaged(stored: storage.Storage, but: set[str]) -> set[str]:
    """The keys of objects that are not what their name says."""
    with db.transaction("worker") as connection:
        keys = set(connection.scalars(text("SELECT DISTINCT sha256 FROM thumbnails WHERE state = 'stored'"))) - but
    with ThreadPoolExecutor(storage.AT_ONCE) as pool:
        return {key for key, whole in zip(sorted(keys), pool.map(stored.whole, sorted(keys)), strict=True) if not whole}


def _of_videos(connection: Connection, keys: Sequence[str]) -> list[tuple[str, str | None]]:
    """(candidate_id, address) of the videos whose picture is one of these."""
    rows = connection.execute(
        text(
            "SELECT candidate_id, thumbnail_url FROM thumbnails JOIN candidates USING (candidate_id)"
            " WHERE sha256 = ANY(:keys) ORDER BY candidate_id"
        ),
        {"keys": list(keys)},
    )
    return [(row.candidate_id, row.thumbnail_url) for row in rows]


def _to_retry(connection: Connection) -> list[tuple[str, str | None]]:
    """(candidate_id, address) of the videos whose picture failed for a reason that may have passed."""
    rows = connection.execute(
        text(
            "SELECT candidate_id, thumbnail_url FROM thumbnails JOIN candidates USING (candidate_id)"
            " WHERE state = 'failed' AND thumbnail_url IS NOT NULL"
            " AND (error_kind = 'storage' OR error_kind = ANY(:passing) AND attempts < :tries)"
            " ORDER BY fetched_at, candidate_id"
        ),
        {"passing": list(PASSING), "tries": TRIES},
    )
    return [(row.candidate_id, row.thumbnail_url) for row in rows]


def _again(candidate_id: str, address: str | None) -> dict[str, object]:
    if address is not None:
        return fetch(candidate_id, address)
    row: dict[str, object] = dict.fromkeys(("sha256", "content_type", "width", "height", "bytes", "pin"))
    reason = "The picture is not in the storage any more, and it has no address to be fetched from."
    return row | {"candidate_id": candidate_id, "state": "failed", "reason": reason, "error_kind": "address"}


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
