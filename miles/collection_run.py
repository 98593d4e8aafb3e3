"""One run of one collection: list, read, store, and say how it stands.

List cheaply and write down each id as it is found, with what the listing says; leave out what is known; read the
rest in full, the most promising first, at the source's pace. Results are stored in small batches, each whole:
facts, thumbnails, what became of each id and the counts commit together. So a kill at any moment leaves nothing
half-written, and the same collection run again goes on where it stopped.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Literal

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from miles import db, items, pacing, revisits, store, thumbnails, tombstones
from miles.candidates import Observation
from miles.errors import MilesError, SourceError, SourcePaused
from miles.items import LISTED_ONLY, Item, Pending, Settled
from miles.scrape import ChannelListing, Found, IncompleteAnswer, LeftOut, Source
from miles.targets import Audience, Kind

logger = logging.getLogger(__name__)

BATCH = 5  # videos stored together: at the default pace about half a minute of work
PAGE = 20  # entries of a listing written down together; a page of a search has as many
SETUP_TIME = 120.0  # seconds of a run's deadline for its listing
TIME_EACH = 30.0  # seconds of it for each video; a healthy one takes 2 s, and waiting for permits does not count
# Tries of one video within a run; what fails for good is tried again by whoever resumes or collects it again.
ATTEMPTS = {"transient": 3, "extractor": 2}
RETRY_WAIT = 1.0  # seconds before the second try of what failed, four times as long before the third
STREAK = 8  # videos in a row that could not be read: the source is down, or yt-dlp out of date
RUNS = 4  # of a collection that errors break off, with waits of 30 s, 2 min and 8 min between
FIRST_WAIT = timedelta(seconds=30)
LOOK_UP = 2.0  # seconds between two signs of life, and looks whether somebody has cancelled the collection
ABANDONED = timedelta(minutes=10)  # without a sign of life; the longest call takes a minute and a half
INTERRUPTED = "It was interrupted. Resume it, or collect it again; what came in is kept."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection is, in videos."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What came of a collection so far; the counts are of videos and add up to `found`."""

    collection_id: int
    target: str
    kind: str
    state: Literal["done", "failed", "waiting", "cancelled"]
    found: int
    new: int
    updated: int
    skipped: int
    failed: int
    pending: int  # still to be read in full; none of a done one
    candidate_ids: tuple[str, ...]  # new and updated ones
    reason: str | None  # why it is not done, for people
    error_kind: str | None  # of a failed or waiting one: SourceError's kind
    resume_at: datetime | None  # of a waiting one: when it can go on
    items: tuple[Item, ...]
    seconds: float  # that this run took

    @property
    def listed_only(self) -> int:
        """How many of the new and updated ones are known from the listing alone."""
        return sum((item.reason or "").startswith(LISTED_ONLY) for item in self.items)


def wait(connection: Connection, collection_id: int) -> None:
    """Put a failed collection back among those that wait: it will be tried again."""
    connection.execute(
        text(
            "UPDATE collections SET state = 'waiting', finished_at = NULL"
            " WHERE collection_id = :id AND state IN ('running', 'failed')"
        ),
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


class _Cancelled(Exception):
    """Somebody has ended this collection, or taken it over."""


class Run:
    """One run of one collection."""

    def __init__(
        self,
        collection_id: int,
        on_progress: Callable[[Progress], object] | None,
        on_stored: Callable[[Connection], None] | None,
        stop: Callable[[], bool] | None,
        again: bool,
        source: Source | None,
    ) -> None:
        self.collection_id = collection_id
        self.on_progress = on_progress or (lambda at: None)
        self.on_stored = on_stored
        self.asked_to_stop = stop or (lambda: False)
        self.again = again
        self.given_source = source
        self.started = time.monotonic()
        self.looked_up = self.started
        self.cancelled = False
        self.problem: SourceError | None = None  # what broke it off
        self.held: dict[str, SourcePaused] = {}  # sources that may not be asked now
        self.read = 0  # videos read in full by this run
        self.streak = 0  # videos in a row that could not be read
        self.last_error = SourceError("")
        self.broken: list[SourceError] = []  # why videos could not be read that are not gone
        self.observed: list[tuple[Pending, Observation]] = []  # read and not yet stored
        self.settled: list[Settled] = []  # likewise, without facts of their own
        self.keeper = ThreadPoolExecutor(1, thread_name_prefix="keeper")  # stores a batch while the next is read
        self.keeping: Future[None] | None = None

    def carry_out(self) -> CollectionReport:
        with db.transaction("worker") as connection:
            row = connection.execute(_START, {"id": self.collection_id}).one_or_none()
            if row is None:
                return self._over(connection)
            self.target, self.kind, self.limit, self.read_limit = row.target, row.kind, row.item_limit, row.read_limit
            self.listed, self.tries = row.listed_at is not None, row.tries
            if row.tries:  # what errors of the last run have left
                items.reopen(connection, self.collection_id, ("transient",))
        source = self.given_source or Source(
            pacing.Pacer(),
            deadline=SETUP_TIME + TIME_EACH * self.limit,
            stop=self._ends,
            keep=row.match_filter,
            audience=Audience(row.language, row.region),
        )
        try:
            if not self.listed:
                self._list(source)
            if not self.problem or self.problem.kind != "invalid":
                self._read_all(source)
            self._stored()
        except _Cancelled:
            self._store()
            self._stored()
        except InterruptedError:
            self._store()
            self._stored()
            if not self.cancelled:
                with db.transaction("worker") as connection:
                    wait(connection, self.collection_id)
                raise
        except BaseException as error:  # Ctrl-C, or a bug: the row must not say for ever that it is running
            interrupted = not isinstance(error, Exception)
            with contextlib.suppress(Exception):
                self._stored()
            with contextlib.suppress(MilesError, SQLAlchemyError), db.transaction("worker") as connection:
                give_up(
                    connection, self.collection_id, INTERRUPTED if interrupted else f"{type(error).__name__}: {error}"
                )
            raise
        finally:
            if self.given_source is None:
                source.close()
            self.keeper.shutdown()
        return self._end(source)

    def _ends(self) -> bool:
        """Whether this run is to stop: its worker is, or somebody has cancelled the collection."""
        if self.asked_to_stop():
            return True
        if not self.cancelled and time.monotonic() - self.looked_up >= LOOK_UP:
            self.looked_up = time.monotonic()
            with db.transaction("worker") as connection:
                alive = connection.execute(
                    text("UPDATE collections SET alive_at = now() WHERE collection_id = :id AND state = 'running'"),
                    {"id": self.collection_id},
                )
            self.cancelled = alive.rowcount == 0
        return self.cancelled

    def _check(self) -> None:
        if self._ends():
            if self.cancelled:
                raise _Cancelled
            raise InterruptedError("the collection was asked to stop; it goes on when it is run again")

    def _list(self, source: Source) -> None:
        """Write down what there is; tried again where it fails for a reason that may pass at once."""
        for attempt in range(1, max(ATTEMPTS.values()) + 1):
            self.problem = None
            try:
                self._list_once(source)
            except SourcePaused as paused:
                self.held[paused.source] = paused
                return
            except SourceError as error:
                # what is listed so far stays, and is read in full
                self.problem = error
                if attempt >= ATTEMPTS.get(error.kind, 1) or source.out_of_time:
                    return
                self._pause(attempt)
            else:
                return

    def _list_once(self, source: Source) -> None:
        if self.kind == "revisit":
            with db.transaction("worker") as connection:
                self._add(connection, revisits.due(connection, self.limit), 0)
        else:
            self._list_pages(source, self.kind)
        with db.transaction("worker") as connection:
            connection.execute(
                text("UPDATE collections SET listed_at = now() WHERE collection_id = :id"), {"id": self.collection_id}
            )
        self.listed = True

    def _list_pages(self, source: Source, kind: Kind) -> None:
        page: list[Found] = []
        position = 0
        try:
            for one in source.discover(self.target, kind, self.limit):
                page.append(one)
                if len(page) == PAGE:
                    self._stored()
                    with db.transaction("worker") as connection:
                        self._add(connection, page, position)
                    position, page = position + len(page), []
                    self._store()
                    self._check()
        finally:  # an error on the second page does not lose the first
            channel = source.channel()
            self._stored()
            with db.transaction("worker") as connection:
                self._add(connection, page, position)
                if channel:
                    _set_baseline(connection, channel)
            self._store()

    def _add(self, connection: Connection, found: Sequence[Found], position: int) -> None:
        there = connection.execute(
            text("SELECT count(*) FROM collection_items WHERE collection_id = :id"), {"id": self.collection_id}
        ).scalar_one()
        pending = items.add(connection, self.collection_id, found, position=position, room=max(self.limit - there, 0))
        items.count(connection, self.collection_id)
        whole = [
            (Pending(one.key, one, listed=False, first=False, attempts=0), one.full)
            for one in found
            if one.full and one.key and one.key in pending
        ]
        self.observed += whole
        self.read += len(whole)

    def _read_all(self, source: Source) -> None:
        """Read what is pending; at the end once more what failed for a reason that may pass."""
        self._stored()
        with db.transaction("worker") as connection:
            left = items.pending(connection, self.collection_id)
            total, done = connection.execute(
                text("SELECT found, found - pending FROM collections WHERE collection_id = :id"),
                {"id": self.collection_id},
            ).one()
        if self.read_limit is not None:
            if not self.listed:
                return  # nobody knows yet which the most promising are
            beyond = self._leave_to_listing(left)
            left, done = left[: len(left) - beyond], done + beyond
        for attempt in range(1, max(ATTEMPTS.values()) + 1):
            again: list[Pending] = []
            for one in left:
                self._check()
                if not self._may_ask(one):
                    continue
                if self._read(source, one, attempt):
                    again.append(one)
                elif self._may_ask(one):  # and it was not what made the source refuse
                    done += 1
                if len(self.observed) + len(self.settled) >= BATCH:
                    self._store()
                self.on_progress(Progress(done, total))
                if self._broken_off(source):
                    return
            self._store()
            left = [one for one in again if self._may_ask(one)]
            if not left:
                return
            self._pause(attempt)

    def _may_ask(self, one: Pending) -> bool:
        return pacing.source_of(one.found.url) not in self.held

    def _leave_to_listing(self, left: Sequence[Pending]) -> int:
        """Settle what is not to be read in full, because the more promising ones are: the last of what is left."""
        with db.transaction("worker") as connection:
            read = connection.execute(
                text(
                    "SELECT count(*) FROM collection_items"
                    " WHERE collection_id = :id AND attempts > 0 AND outcome <> 'pending'"
                ),
                {"id": self.collection_id},
            ).scalar_one()
        beyond = left[max((self.read_limit or 0) - read, 0) :]
        why = f"not among the {self.read_limit} that are read in full"
        for one in beyond:
            if one.listed:
                self._keep_listing(one, f"{LISTED_ONLY} It is {why}.")
            else:  # a link and nothing else: no fault of anybody's
                self.settled.append(Settled(one.candidate_id, "skipped", why, attempted=False))
            if len(self.settled) >= PAGE:
                self._store()
        self._store()
        return len(beyond)

    def _read(self, source: Source, one: Pending, attempt: int) -> bool:
        """Read one video in full; whether another try in this run may help."""
        try:
            observation = source.extract(one.found)
        except SourcePaused as paused:
            self.held[paused.source] = self.held[pacing.source_of(one.found.url)] = paused
            return False
        except LeftOut as left_out:
            self.streak = 0
            self.read += 1
            self.settled.append(Settled(one.candidate_id, "skipped", str(left_out)))
            return False
        except SourceError as error:
            logger.info("A video could not be read: %s", error, extra={"url": one.found.url, "kind": error.kind})
            self.streak = 0 if error.kind in ("gone", "invalid") else self.streak + 1
            self.last_error = error
            if attempt < ATTEMPTS.get(error.kind, 1):
                self.settled.append(Settled(one.candidate_id, "pending", str(error), error.kind, error.expected))
                return True
            if error.kind != "gone":
                self.broken.append(error)
            if isinstance(error, IncompleteAnswer):
                # better than the listing, and not what a whole look is: it will be looked at again
                self.observed.append((replace(one, why=error), replace(error.observation, tier="flat")))
            else:
                self._keep_listing(one, str(error), error)
            return False
        self.streak = 0
        self.read += 1
        self.observed.append((one, observation))
        return False

    def _keep_listing(self, one: Pending, why: str, error: SourceError | None = None) -> None:
        """What becomes of a video whose page was not read: it is known by its listing, if that says anything."""
        kind, expected = (error.kind, error.expected) if error else (None, False)
        if one.listed:
            why = why if why.startswith(LISTED_ONLY) else f"{LISTED_ONLY} {why}"
        self.settled.append(
            Settled(one.candidate_id, one.reached if one.listed else "failed", why, kind, expected, error is not None)
        )

    def _broken_off(self, source: Source) -> bool:
        """Whether to go on makes no sense: the time is over, or nothing can be read any more."""
        if self.streak >= STREAK:
            self.problem = SourceError(
                f"{STREAK} videos in a row could not be read; the others were not tried. {self.last_error}",
                self.last_error.kind,
            )
        elif source.out_of_time:
            self.problem = SourceError("The time for this run is over; the rest is collected later.", "transient")
        else:
            return False
        self._store()
        return True

    def _pause(self, attempt: int) -> None:
        """The wait before the next try of what failed, unless this run is to stop meanwhile."""
        end = time.monotonic() + RETRY_WAIT * 4 ** (attempt - 1)
        while time.monotonic() < end:
            self._check()
            time.sleep(min(0.2, RETRY_WAIT))

    def _store(self) -> None:
        """Have stored what came, in order, while the next is read; at most one batch is under way."""
        self._stored()
        if self.observed or self.settled:
            self.keeping = self.keeper.submit(self._keep, self.observed, self.settled)
            self.observed, self.settled = [], []

    def _stored(self) -> None:
        """Wait until what was given to `_store` is stored; raises what kept it from that."""
        keeping, self.keeping = self.keeping, None
        if keeping:
            keeping.result()

    def _keep(self, observed: list[tuple[Pending, Observation]], settled: list[Settled]) -> None:
        """One transaction: facts, thumbnails, what became of each, and the counts."""
        pictures = _pictures(observed, settled)
        with db.transaction("worker") as connection:
            kept = [
                (one, observation)
                for one, observation in observed
                if one.candidate_id == observation.candidate.key
                or items.rename(connection, self.collection_id, one.candidate_id, observation.candidate.key)
            ]
            changes = store.observe(connection, [observation for _, observation in kept]) if kept else None
            new, removed = (set(changes.new), set(changes.removed)) if changes else (set(), set())
            for one, observation in kept:
                key = observation.candidate.key
                if key in removed:  # the listing had not said whose it is
                    settled.append(Settled(key, "skipped", tombstones.REASON))
                    continue
                settled.append(
                    Settled(
                        key,
                        "new" if key in new else one.reached,
                        f"A part of it is missing. {one.why}" if one.why else None,
                        one.why.kind if one.why else None,
                    )
                )
            thumbnails.write(db.psycopg_connection(connection).cursor(), pictures)
            items.settle(connection, self.collection_id, settled)
            items.count(connection, self.collection_id)

    def _end(self, source: Source) -> CollectionReport:
        with db.transaction("worker") as connection:
            items.count(connection, self.collection_id)
            became = items.what_became(connection, self.collection_id)
            pending = any(item.outcome == "pending" for item in became)
            if not self.problem and not pending and self.listed:
                self.problem = self._verdict(became)
            state, reason, resume_at = self._outcome(pending)
            connection.execute(
                text(
                    "UPDATE collections SET state = :state, reason = :reason, resume_at = :resume_at, tries = :tries,"
                    " finished_at = CASE WHEN :state = 'waiting' THEN NULL ELSE now() END"
                    " WHERE collection_id = :id AND state = 'running'"
                ),
                {
                    "id": self.collection_id,
                    "state": state,
                    "reason": reason,
                    "resume_at": resume_at,
                    "tries": (0 if self.read else self.tries) + 1 if self.problem else 0,
                },
            )
            connection.execute(
                text("INSERT INTO usage (service, requests, seconds) VALUES ('yt-dlp', :requests, :seconds)"),
                {"requests": source.requests, "seconds": time.monotonic() - self.started},
            )
            report = self._report(connection, became)
            if report.candidate_ids and self.on_stored:
                self.on_stored(connection)
        return report

    def _outcome(self, pending: bool) -> tuple[str, str | None, datetime | None]:
        """State, reason and the moment to go on, of a run that has ended."""
        if self.held and (pending or not self.listed):
            first = min(self.held.values(), key=lambda paused: paused.until)
            return "waiting", str(first), first.until
        if self.problem is None:
            return "done", None, None
        tries = 0 if self.read else self.tries
        if self.again and self.problem.kind == "transient" and tries + 1 < RUNS:
            return "waiting", str(self.problem), datetime.now(UTC) + FIRST_WAIT * 4**tries
        return "failed", str(self.problem), None

    def _over(self, connection: Connection) -> CollectionReport:
        """The report of a collection that has nothing left to do, or was cancelled."""
        return self._report(connection, items.what_became(connection, self.collection_id))

    def _report(self, connection: Connection, became: tuple[Item, ...]) -> CollectionReport:
        row = connection.execute(
            text(
                "SELECT collection_id, target, kind, state, found, new, updated, skipped, failed, pending, reason,"
                " resume_at FROM collections WHERE collection_id = :id"
            ),
            {"id": self.collection_id},
        ).one_or_none()
        if row is None:
            raise MilesError(f"Collection {self.collection_id} does not exist; nothing was collected.")
        return CollectionReport(
            **row._mapping,
            candidate_ids=tuple(item.candidate_id for item in became if item.outcome in ("new", "updated")),
            error_kind=self.problem.kind if self.problem else "rate_limited" if self.held else None,
            items=became,
            seconds=time.monotonic() - self.started,
        )

    def _verdict(self, became: Sequence[Item]) -> SourceError | None:
        """Why a collection that ran to its end has failed all the same."""
        if not became and self.kind != "revisit":
            return SourceError(
                f"Nothing was found for {self.target!r}. Try other words, or another way of naming it.", "invalid"
            )
        # videos that are gone are no fault of the source; if every page fails for another reason, something is wrong
        if self.broken and not any(item.outcome in ("new", "updated") and not item.reason for item in became):
            last = self.broken[-1]
            return SourceError(f"No video's own page could be read. {last}", last.kind, last.status)
        if became and all(item.outcome == "failed" for item in became):
            return SourceError(f"None of the {len(became)} videos could be read. {became[0].reason}", "gone")
        return None


def _pictures(observed: Sequence[tuple[Pending, Observation]], settled: Sequence[Settled]) -> list[dict[str, object]]:
    """The thumbnails of what is about to be stored."""
    found = [observation.candidate for _, observation in observed]
    wanted = {candidate.key: candidate.thumbnail_url for candidate in found if candidate.thumbnail_url}
    with db.transaction("worker") as connection:
        rows = connection.execute(
            text("SELECT candidate_id, thumbnail_url FROM candidates WHERE candidate_id = ANY(:keys)"),
            {"keys": [one.candidate_id for one in settled if one.outcome in ("new", "updated")]},
        )
        wanted |= {row.candidate_id: row.thumbnail_url for row in rows if row.thumbnail_url}
        wanted = thumbnails.missing(connection, wanted)
    return [thumbnails.fetch(key, address) for key, address in wanted.items()]


def _set_baseline(connection: Connection, listing: ChannelListing) -> None:
    """What the listing of a channel's tab says of the channel: the usual views of its newest videos."""
    connection.execute(
        text(
            "UPDATE channels SET baseline_views = :views, baseline_n = :n, baseline_format = :format,"
            " baseline_at = now() WHERE channel_key = :key"
        ),
        {
            "views": median(listing.views),
            "n": len(listing.views),
            "format": listing.media_type,
            "key": listing.channel.key,
        },
    )


_START = text(
    "UPDATE collections SET state = 'running', started_at = now(), alive_at = now(), finished_at = NULL, reason = NULL, resume_at = NULL"
    " WHERE collection_id = :id AND state IN ('waiting', 'running', 'failed')"
    " RETURNING target, kind, item_limit, read_limit, listed_at, tries, match_filter, language, region"
)
