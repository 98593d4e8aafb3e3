"""From "collect this" to candidates, snapshots and thumbnails in the database.

List cheaply, leave out what is known, read the rest in full at the source's pace, and store in small
batches, each whole: facts, thumbnails, what became of each id and the counts commit together. So a
kill at any moment leaves nothing half-written, and the same collection run again goes on where it
stopped. Knows nothing about the job queue or the model.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from miles import db, images, pacing, storage, store
from miles.candidates import Observation
from miles.errors import MilesError, SourceError, SourcePaused
from miles.scrape import Found, Source
from miles.targets import Kind, kind_of

logger = logging.getLogger(__name__)

Outcome = Literal["new", "updated", "skipped", "failed"]

FRESH_HOURS = 6  # a full snapshot younger than this is not worth another request
BATCH = 5  # videos stored together: at the default pace about half a minute of work
LONGEST_TARGET = 500  # characters
LARGEST_LIMIT = 500  # videos: more than an hour at the default pace, and what a guest may ask for in two
SETUP_TIME = 120.0  # seconds of a collection's deadline for its listing
TIME_EACH = 30.0  # seconds of it for each video; a healthy one takes 2 s and the delay
THUMBNAIL_AGE = timedelta(days=7)  # a picture this young is not fetched again
# When a video is looked at again after it was first seen: views grow fast at first.
REVISITS = (timedelta(hours=6), timedelta(days=1), timedelta(days=3), timedelta(days=7))
INTERRUPTED = "It was interrupted. Collect it again; what came in is kept."
LISTED_ONLY = "Known only from the listing."
REVISIT_TARGET = "videos that are due"


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one video of a collection."""

    candidate_id: str
    outcome: Outcome
    reason: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection is, in videos."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What came of a collection; the counts are of videos and add up to `found`."""

    collection_id: int
    target: str
    kind: str
    state: Literal["done", "failed"]
    found: int
    new: int
    updated: int
    skipped: int
    failed: int
    candidate_ids: tuple[str, ...]  # new and updated ones
    reason: str | None  # why it failed, for people
    error_kind: str | None  # of a failed one: SourceError's kind
    items: tuple[Item, ...]
    seconds: float

    @property
    def listed_only(self) -> int:
        """How many of the new and updated ones are known from the listing alone."""
        return sum(item.outcome in ("new", "updated") and item.reason is not None for item in self.items)


def ask(connection: Connection, target: str, kind: str = "topic", item_limit: int = 20, asked_by: str = "local") -> int:
    """Write down that something is to be collected; returns the collection's id. Raises SourceError("invalid")."""
    target = " ".join(target.split())
    if not target or len(target) > LONGEST_TARGET:
        raise SourceError(
            f"Say what to collect in 1 to {LONGEST_TARGET} characters: a topic, a channel, a hashtag or an address.",
            "invalid",
        )
    if kind not in ("topic", "channel", "hashtag", "url", "revisit"):
        raise SourceError(f"{kind!r} can't be collected. Choose topic, channel, hashtag or url.", "invalid")
    if not 1 <= item_limit <= LARGEST_LIMIT:
        raise SourceError(f"The limit has to lie between 1 and {LARGEST_LIMIT}.", "invalid")
    return connection.execute(
        text(
            "INSERT INTO collections (target, kind, item_limit, asked_by)"
            " VALUES (:target, :kind, :item_limit, :asked_by) RETURNING collection_id"
        ),
        {"target": target, "kind": kind, "item_limit": item_limit, "asked_by": asked_by},
    ).scalar_one()


def collect(
    target: str,
    *,
    kind: str = "topic",
    item_limit: int = 20,
    asked_by: str = "local",
    on_progress: Callable[[Progress], object] | None = None,
) -> CollectionReport:
    """Collect now, in this process."""
    with db.transaction("worker") as connection:
        collection_id = ask(connection, target, kind, item_limit, asked_by)
    return carry_out(collection_id, on_progress=on_progress)


def carry_out(
    collection_id: int,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    on_stored: Callable[[Connection], None] | None = None,
    stop: Callable[[], bool] | None = None,
    source: Source | None = None,
) -> CollectionReport:
    """Do what was asked, or the rest of it; always ends in a report, never in a SourceError.

    `on_stored` runs in the transaction that ends the collection, if anything came in. With `stop()` true
    the collection goes back to waiting and InterruptedError is raised.
    """
    return _Run(collection_id, on_progress, on_stored, stop, source).carry_out()


def wait(connection: Connection, collection_id: int) -> None:
    """Put a failed collection back among those that wait: it will be tried again."""
    connection.execute(
        text("UPDATE collections SET state = 'waiting', finished_at = NULL WHERE collection_id = :id"),
        {"id": collection_id},
    )


def give_up(connection: Connection, collection_id: int, reason: str) -> None:
    """Mark a collection that nobody works on any more as failed."""
    connection.execute(
        text(
            "UPDATE collections SET state = 'failed', reason = :reason, finished_at = now()"
            " WHERE collection_id = :id AND state IN ('waiting', 'running')"
        ),
        {"id": collection_id, "reason": reason},
    )


def give_up_abandoned(connection: Connection) -> None:
    """Mark as failed what runs no more: begun by a command that was killed, long ago, and nobody's job."""
    connection.execute(
        text(
            """
            UPDATE collections SET state = 'failed', finished_at = now(),
                reason = :reason
            WHERE state = 'running' AND started_at < now() - 2 * make_interval(secs => :setup + :each * item_limit)
                AND NOT EXISTS (
                    SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')
                        AND (args->>'collection_id')::bigint = collections.collection_id
                )
            """
        ),
        {"setup": SETUP_TIME, "each": TIME_EACH, "reason": INTERRUPTED},
    )


def due(connection: Connection, limit: int) -> list[Found]:
    """Videos whose next look is due, those with the nearest look first.

    A look is due once its age is reached and no snapshot was taken since; after an attempt that failed
    the next look decides again.
    """
    rows = connection.execute(
        text(
            """
            SELECT candidates.candidate_id, url, platform
            FROM candidates
            CROSS JOIN LATERAL (
                SELECT max(first_seen_at + step) AS due_at
                FROM unnest(CAST(:steps AS interval[])) AS step WHERE first_seen_at + step <= now()
            ) AS looks
            WHERE NOT sample AND url IS NOT NULL AND source LIKE '%yt-dlp%'
                AND first_seen_at > now() - CAST(:window AS interval)
                AND due_at IS NOT NULL AND coalesce(observed_at, first_seen_at) < due_at
                AND NOT EXISTS (
                    SELECT FROM collection_items JOIN collections USING (collection_id)
                    WHERE collection_items.candidate_id = candidates.candidate_id
                        AND outcome = 'failed' AND asked_at >= due_at
                )
            ORDER BY first_seen_at DESC, candidates.candidate_id LIMIT :limit
            """
        ),
        {"steps": list(REVISITS), "window": 2 * REVISITS[-1], "limit": limit},
    )
    extractors = {"youtube": "Youtube"}  # others are recognised by their address
    return [Found(url, candidate_id, None, extractors.get(platform)) for candidate_id, url, platform in rows]


class _Run:
    """One run of one collection."""

    def __init__(
        self,
        collection_id: int,
        on_progress: Callable[[Progress], object] | None,
        on_stored: Callable[[Connection], None] | None,
        stop: Callable[[], bool] | None,
        source: Source | None,
    ) -> None:
        self.collection_id = collection_id
        self.on_progress = on_progress or (lambda at: None)
        self.on_stored = on_stored
        self.stop = stop or (lambda: False)
        self.given_source = source
        self.started = time.monotonic()
        self.titles: dict[str, str] = {}
        self.problem: SourceError | None = None
        self.halted = False  # no further request may be made
        self.read = 0  # videos read in full by this run
        self.refusals: list[SourceError] = []  # why others could not be
        # read in full, or only listed with the reason why, and not yet stored
        self.pending: list[tuple[Observation, str | None]] = []
        self.settled: list[Item] = []  # skipped and failed, not yet stored

    def carry_out(self) -> CollectionReport:
        with db.transaction("worker") as connection:
            row = connection.execute(
                text(
                    "UPDATE collections SET state = 'running', started_at = now(), finished_at = NULL, reason = NULL"
                    " WHERE collection_id = :id RETURNING target, kind, item_limit"
                ),
                {"id": self.collection_id},
            ).one_or_none()
            if row is None:
                raise MilesError(f"Collection {self.collection_id} does not exist; nothing was collected.")
            self.target, self.kind, self.limit = row
        source = self.given_source or Source(
            pacing.Pacer(), deadline=SETUP_TIME + TIME_EACH * self.limit, stop=self.stop
        )
        try:
            self._collect(source)
        except InterruptedError:
            raise
        except BaseException as error:  # Ctrl-C, or a bug: the row must not say for ever that it is running
            interrupted = not isinstance(error, Exception)
            with contextlib.suppress(MilesError, SQLAlchemyError), db.transaction("worker") as connection:
                give_up(
                    connection, self.collection_id, INTERRUPTED if interrupted else f"{type(error).__name__}: {error}"
                )
            raise
        finally:
            if self.given_source is None:
                source.close()
        return self._end(source)

    def _collect(self, source: Source) -> None:
        found = self._list(source)
        self._store(found=len(found))
        found = _named(found)
        finished, fresh = self._known(found)
        for position, one in enumerate(found, 1):
            if self.stop():
                self._store()
                with db.transaction("worker") as connection:
                    wait(connection, self.collection_id)
                raise InterruptedError("the collection was asked to stop; it goes on when it is run again")
            if one.key in finished:
                pass  # stored before this run was interrupted
            elif one.key in fresh:
                self.settled.append(Item(one.key or "", "skipped", f"collected less than {FRESH_HOURS} h ago"))
            elif self.problem and self.halted:
                self._keep_listing(one, str(self.problem))
            else:
                self._read(source, one)
            if len(self.pending) >= BATCH:
                self._store()
            self.on_progress(Progress(position, len(found)))
        self._store()

    def _list(self, source: Source) -> list[Found]:
        found: list[Found] = []
        try:
            if self.kind == "revisit":
                with db.transaction("worker") as connection:
                    return due(connection, self.limit)
            kind: Kind = self.kind
            for one in source.discover(self.target, kind, self.limit):
                found.append(one)
        except SourcePaused as paused:
            self.problem, self.halted = SourceError(str(paused), "rate_limited"), True
        except SourceError as error:
            # what is listed so far stays, and is read in full unless the source wants no more of us
            self.problem = error
            self.halted = error.kind == "rate_limited" or source.out_of_time
        return found

    def _known(self, found: Sequence[Found]) -> tuple[set[str], set[str]]:
        """Which of the listed videos an interrupted run of this collection has stored; which were just seen."""
        keys = [one.key for one in found if one.key]
        with db.transaction("worker") as connection:
            finished = connection.scalars(
                text(
                    "SELECT candidate_id FROM collection_items WHERE collection_id = :id AND candidate_id = ANY(:keys)"
                    " AND outcome <> 'failed' AND (reason IS NULL OR outcome = 'skipped')"
                ),
                {"id": self.collection_id, "keys": keys},
            ).all()
            fresh = connection.scalars(
                text(
                    "SELECT DISTINCT candidate_id FROM snapshots WHERE candidate_id = ANY(:keys)"
                    " AND tier = 'full' AND observed_at > now() - CAST(:fresh AS interval)"
                ),
                {"keys": keys, "fresh": timedelta(hours=FRESH_HOURS)},
            ).all()
        return set(finished), set(fresh)

    def _read(self, source: Source, one: Found) -> None:
        try:
            self.pending.append((source.extract(one), None))
            self.read += 1
        except SourcePaused as paused:
            self.problem, self.halted = SourceError(str(paused), "rate_limited"), True
            self._keep_listing(one, str(paused))
        except SourceError as error:
            logger.info("A video could not be read: %s", error, extra={"url": one.url, "kind": error.kind})
            self.refusals.append(error)
            if error.kind == "rate_limited" or source.out_of_time:
                self.problem, self.halted = error, True
            self._keep_listing(one, str(error))

    def _keep_listing(self, one: Found, why: str) -> None:
        """A video whose page could not be read is known by its listing, if that says more than its address."""
        if one.full:
            self.pending.append((one.full, None))
        elif one.flat and (one.flat.snapshot.views is not None or one.flat.candidate.channel):
            self.pending.append((one.flat, f"{LISTED_ONLY} {why}"))
        else:
            self.settled.append(Item(one.key or f"address:{one.url[:300]}", "failed", why))

    def _store(self, found: int | None = None) -> None:
        """One transaction: facts, thumbnails, what became of each, and the counts."""
        pictures = self._pictures()
        with db.transaction("worker") as connection:
            if self.pending:
                changes = store.observe(connection, [observation for observation, _ in self.pending])
                new = set(changes.new)
                for observation, reason in self.pending:
                    candidate = observation.candidate
                    outcome: Outcome = "new" if candidate.key in new else "updated"
                    self.settled.append(Item(candidate.key, outcome, reason, candidate.title))
            cursor = db.psycopg_connection(connection).cursor()
            _write_thumbnails(cursor, pictures)
            _write_items(cursor, self.collection_id, self.settled)
            connection.execute(
                text(f"UPDATE collections SET {_COUNTS} WHERE collection_id = :id"),
                {"id": self.collection_id, "found": found},
            )
        self.titles |= {item.candidate_id: item.title for item in self.settled if item.title}
        self.pending, self.settled = [], []

    def _pictures(self) -> list[dict[str, object]]:
        addresses = {o.candidate.key: o.candidate.thumbnail_url for o, _ in self.pending if o.candidate.thumbnail_url}
        with db.transaction("worker") as connection:
            recent = connection.scalars(
                text(
                    "SELECT candidate_id FROM thumbnails WHERE candidate_id = ANY(:keys) AND state = 'stored'"
                    " AND fetched_at > now() - CAST(:age AS interval)"
                ),
                {"keys": list(addresses), "age": THUMBNAIL_AGE},
            ).all()
        return [_picture(key, address) for key, address in addresses.items() if key not in recent]

    def _end(self, source: Source) -> CollectionReport:
        seconds = time.monotonic() - self.started
        with db.transaction("worker") as connection:
            items = tuple(
                Item(candidate_id, outcome, reason, self.titles.get(candidate_id))
                for candidate_id, outcome, reason in connection.execute(
                    text(
                        "SELECT candidate_id, outcome, reason FROM collection_items"
                        " WHERE collection_id = :id ORDER BY candidate_id"
                    ),
                    {"id": self.collection_id},
                )
            )
            self.problem = self.problem or self._verdict(items)
            kept = tuple(item.candidate_id for item in items if item.outcome in ("new", "updated"))
            counts = connection.execute(
                text(
                    f"UPDATE collections SET {_COUNTS}, state = :state, reason = :reason, finished_at = now()"
                    " WHERE collection_id = :id RETURNING found, new, updated, skipped, failed"
                ),
                {
                    "id": self.collection_id,
                    "found": len(items),
                    "state": "failed" if self.problem else "done",
                    "reason": str(self.problem) if self.problem else None,
                },
            ).one()
            connection.execute(
                text("INSERT INTO usage (service, requests, seconds) VALUES ('yt-dlp', :requests, :seconds)"),
                {"requests": source.requests, "seconds": seconds},
            )
            if kept and self.on_stored:
                self.on_stored(connection)
        return CollectionReport(
            collection_id=self.collection_id,
            target=self.target,
            kind=self.kind,
            state="failed" if self.problem else "done",
            found=counts.found,
            new=counts.new,
            updated=counts.updated,
            skipped=counts.skipped,
            failed=counts.failed,
            candidate_ids=kept,
            reason=str(self.problem) if self.problem else None,
            error_kind=self.problem.kind if self.problem else None,
            items=items,
            seconds=seconds,
        )

    def _verdict(self, items: Sequence[Item]) -> SourceError | None:
        """Why a collection that ran to its end has failed all the same."""
        if not items and self.kind != "revisit":
            return SourceError(
                f"Nothing was found for {self.target!r}. Try other words, or another way of naming it.", "invalid"
            )
        # videos that are gone are no fault of the source; if every page fails for another reason, something is wrong
        broken = [error for error in self.refusals if error.kind != "gone"]
        if broken and not self.read:
            return SourceError(f"No video's own page could be read. {broken[-1]}", broken[-1].kind, broken[-1].status)
        if items and all(item.outcome == "failed" for item in items):
            return SourceError(f"None of the {len(items)} videos could be read. {items[0].reason}", "gone")
        return None


# The counts are always those of the items, so that a collection that is run again counts nothing twice.
_COUNTS = (
    ", ".join(
        f"{outcome} = (SELECT count(*) FROM collection_items"
        f" WHERE collection_items.collection_id = collections.collection_id AND outcome = '{outcome}')"
        for outcome in ("new", "updated", "skipped", "failed")
    )
    + ", found = coalesce(:found, found)"
)


def _named(found: Sequence[Found]) -> list[Found]:
    """The same, with the keys of videos that a listing only links to, where we know them by their address."""
    links = [one.url for one in found if one.key is None]
    if not links:
        return list(found)
    with db.transaction("worker") as connection:
        rows = connection.execute(
            text("SELECT url, candidate_id FROM candidates WHERE url = ANY(:links)"), {"links": links}
        )
        known = {row.url: row.candidate_id for row in rows}
    return [replace(one, key=one.key or known.get(one.url)) for one in found]


def _write_items(cursor: psycopg.Cursor, collection_id: int, items: Sequence[Item]) -> None:
    cursor.executemany(
        """
        INSERT INTO collection_items AS item (collection_id, candidate_id, outcome, reason)
        VALUES (%(collection_id)s, %(candidate_id)s, %(outcome)s, %(reason)s)
        ON CONFLICT (collection_id, candidate_id) DO UPDATE SET
            -- what this collection brought in stays new when the rest of it is run later
            outcome = CASE WHEN item.outcome = 'new' THEN 'new' ELSE excluded.outcome END,
            reason = excluded.reason
        """,
        [
            {"collection_id": collection_id, "candidate_id": i.candidate_id, "outcome": i.outcome, "reason": i.reason}
            for i in items
        ],
    )


def _write_thumbnails(cursor: psycopg.Cursor, rows: Sequence[dict[str, object]]) -> None:
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


def _picture(candidate_id: str, address: str) -> dict[str, object]:
    """The row of a video's thumbnail, fetched now; a failed one never fails its video."""
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
