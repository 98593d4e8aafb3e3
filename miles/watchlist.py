"""What is collected again by itself: topics, channels, hashtags and the rest, each with its own cadence and budget.

The schedule is a moment in each row, `next_at`. It lives in the database, so it survives restarts; a run that was
missed is made up once, however long nobody worked. An entry never has two runs that are not over: the database
refuses the second. Knows nothing about the job queue; `jobs` carries out what is started here.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from miles import collecting, match_filter, pacing, scrape, tombstones
from miles.errors import MilesError, SourceError
from miles.targets import addresses, kind_of

SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=31)
USUAL = timedelta(hours=6)
CADENCES = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 72, 168))  # to choose from; others will do
ASKED_BY = "watchlist"
PAGE = 20  # entries of a page of a listing


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest collection of an entry."""

    collection_id: int
    state: str  # waiting, running, done, failed, cancelled
    found: int
    new: int
    updated: int
    skipped: int
    failed: int
    reason: str | None
    asked_at: datetime
    finished_at: datetime | None
    resume_at: datetime | None  # of a waiting one that waits for a moment

    @property
    def over(self) -> bool:
        return self.state not in ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that is watched, and how."""

    watch_id: int
    target: str
    kind: str
    every: timedelta
    item_limit: int  # videos that a run lists, at most
    read_limit: int | None  # of them read in full, at most; None: all
    match_filter: str | None  # what to keep
    language: str | None
    region: str | None
    added_by: str
    added_at: datetime
    next_at: datetime
    paused_at: datetime | None
    last: LastRun | None

    @property
    def most_requests(self) -> int:
        return most_requests(self.kind, self.item_limit, self.read_limit)


def cadence(written: str) -> timedelta:
    """How often, as people write it: "6h", "3d", "1 week". Raises MilesError."""
    found = re.fullmatch(r"(?:every\s+)?(\d{1,4})\s*(h|hours?|d|days?|w|weeks?)", written.strip().lower())
    if found is None:
        raise MilesError(f"{written!r} is no cadence. Write hours, days or weeks, like 6h, 3d or 1w.")
    every = timedelta(hours=int(found[1]) * {"h": 1, "d": 24, "w": 168}[found[2][0]])
    if not SHORTEST <= every <= LONGEST:
        raise MilesError(f"{written!r} is not between {as_written(SHORTEST)} and {as_written(LONGEST)}.")
    return every


def as_written(every: timedelta) -> str:
    """A cadence in the form that `cadence` reads."""
    hours = round(every.total_seconds() / 3600)
    return f"{hours // 24}d" if hours % 24 == 0 else f"{hours}h"


def most_requests(kind: str, item_limit: int, read_limit: int | None) -> int:
    """How many requests a run takes where nothing is known yet: its listing, and two for each video."""
    pages = math.ceil(item_limit / PAGE)
    listing = 2 * pages if kind == "topic" else 2 + pages
    return listing + pacing.REQUESTS_EACH * min(item_limit, item_limit if read_limit is None else read_limit)


def entries(connection: Connection) -> list[Entry]:
    """All of the watchlist, in the order in which it was added, each with its newest run."""
    return [_entry(row) for row in connection.execute(text(f"{_ENTRIES} ORDER BY watch_id"))]


def entry(connection: Connection, watch_id: int) -> Entry:
    """One of them. Raises MilesError if there is none of that number."""
    row = connection.execute(text(f"{_ENTRIES} WHERE watch_id = :id"), {"id": watch_id}).one_or_none()
    if row is None:
        raise MilesError(f"Nothing on the watchlist has the number {watch_id}. `python -m miles watch list` shows all.")
    return _entry(row)


def find(connection: Connection, name: str) -> Entry:
    """The entry of a number or a target. Raises MilesError where there is none, or more than one."""
    if re.fullmatch(r"\d{1,18}", name.strip()):
        return entry(connection, int(name))
    found = [one for one in entries(connection) if one.target == " ".join(name.split())]
    if not found:
        raise MilesError(f"{name!r} is not on the watchlist. `python -m miles watch list` shows what is.")
    if len(found) > 1:
        numbers = ", ".join(str(one.watch_id) for one in found)
        raise MilesError(f"{name!r} is on the watchlist more than once. Name one by its number: {numbers}.")
    return found[0]


def add(
    connection: Connection,
    target: str,
    kind: str | None = None,
    every: timedelta = USUAL,
    item_limit: int = 20,
    read_limit: int | None = None,
    keep: str | None = None,
    language: str | None = None,
    region: str | None = None,
    added_by: str = "local",
) -> tuple[int, bool]:
    """Watch something from now on; it is due at once. Returns its number, and whether it is new: the same target for
    the same audience is changed instead. Raises MilesError that names what is wrong with it."""
    target = " ".join(target.replace("\x00", "").split())
    kind = kind or kind_of(target)
    if kind == "revisit":
        raise MilesError("Videos that are due are looked at again by themselves; see MILES_REVISITS.")
    values = _checked(target, kind, every, item_limit, read_limit, keep, language, region)
    tombstones.refuse(connection, target, kind)
    row = connection.execute(
        text(
            """
            INSERT INTO watchlist (target, kind, every, item_limit, read_limit, match_filter, language, region, added_by)
            VALUES (:target, :kind, :every, :item_limit, :read_limit, :match_filter, :language, :region, :added_by)
            ON CONFLICT ON CONSTRAINT watchlist_once DO UPDATE SET every = excluded.every,
                item_limit = excluded.item_limit, read_limit = excluded.read_limit, match_filter = excluded.match_filter
            RETURNING watch_id, xmax = 0 AS new
            """
        ),
        {**values, "target": target, "kind": kind, "added_by": added_by},
    ).one()
    return row.watch_id, row.new


def change(
    connection: Connection,
    watch_id: int,
    *,
    every: timedelta,
    item_limit: int,
    read_limit: int | None,
    keep: str | None,
    language: str | None,
    region: str | None,
) -> None:
    """Give an entry another cadence, budget, filter and audience; its next run comes no later than the new cadence
    says. Raises MilesError."""
    before = entry(connection, watch_id)
    values = _checked(before.target, before.kind, every, item_limit, read_limit, keep, language, region)
    try:
        with connection.begin_nested():
            connection.execute(
                text(
                    """
                    UPDATE watchlist SET every = :every, item_limit = :item_limit, read_limit = :read_limit,
                        match_filter = :match_filter, language = :language, region = :region,
                        next_at = least(next_at, now() + :every)
                    WHERE watch_id = :id
                    """
                ),
                {**values, "id": watch_id},
            )
    except IntegrityError:
        raise MilesError(f"{before.target!r} is watched for that language and region already.") from None


def remove(connection: Connection, watch_id: int) -> None:
    """Stop watching; a run that is under way goes on. Raises MilesError if it was not watched."""
    entry(connection, watch_id)
    connection.execute(text("DELETE FROM watchlist WHERE watch_id = :id"), {"id": watch_id})


def pause(connection: Connection, watch_id: int) -> None:
    """Start no more runs of an entry until it is resumed. Raises MilesError."""
    entry(connection, watch_id)
    connection.execute(
        text("UPDATE watchlist SET paused_at = coalesce(paused_at, now()) WHERE watch_id = :id"), {"id": watch_id}
    )


def resume(connection: Connection, watch_id: int) -> None:
    """Go on with an entry that was paused; what it missed meanwhile is made up once. Raises MilesError."""
    entry(connection, watch_id)
    connection.execute(text("UPDATE watchlist SET paused_at = NULL WHERE watch_id = :id"), {"id": watch_id})


def next_run(connection: Connection) -> datetime | None:
    """When the next entry is due; None: nothing is watched that is not paused."""
    return connection.scalar(text("SELECT min(next_at) FROM watchlist WHERE paused_at IS NULL"))


def start(connection: Connection, watch_id: int, asked_by: str = ASKED_BY) -> int:
    """Ask for a run of an entry now, paused or not; returns the collection's id.

    Raises MilesError while another run of it is not over, and SourceError("invalid") where it can't be asked for.
    """
    connection.execute(text("SELECT FROM watchlist WHERE watch_id = :id FOR UPDATE"), {"id": watch_id})
    one = entry(connection, watch_id)
    if one.last and not one.last.over:
        raise MilesError(
            f"{one.target!r} has a run that is not over yet (collection {one.last.collection_id}, {one.last.state})."
            " Cancel it, or wait for its end."
        )
    collection_id = collecting.ask(
        connection,
        one.target,
        one.kind,
        one.item_limit,
        asked_by,
        read_limit=one.read_limit,
        watch_id=watch_id,
        keep=one.match_filter,
        language=one.language,
        region=one.region,
    )
    _plan(connection, watch_id)
    return collection_id


def start_due(connection: Connection, most: int | None = None) -> list[int]:
    """Ask for a run of each entry that is due, or of so many; returns the collections' ids.

    Each entry is asked for once, whoever else does this at the same moment, and however many of its runs were
    missed. One whose last run is not over gets none: that run serves for both.
    """
    started: list[int] = []
    for watch_id in _due(connection):
        if len(started) == most:
            break
        one = entry(connection, watch_id)
        if one.last and not one.last.over:
            _plan(connection, watch_id)
            continue
        try:
            with connection.begin_nested():
                started.append(start(connection, watch_id))
        except SourceError as error:  # what was right when it was added, and is not any more
            _plan(connection, watch_id)
            connection.execute(
                text(
                    "INSERT INTO collections (target, kind, item_limit, asked_by, watch_id, state, reason, finished_at)"
                    " VALUES (:target, :kind, :item_limit, :asked_by, :id, 'failed', :reason, now())"
                ),
                {"target": one.target, "kind": one.kind, "item_limit": one.item_limit, "asked_by": ASKED_BY,
                 "id": watch_id, "reason": str(error)},
            )  # fmt: skip
    return started


def _due(connection: Connection) -> Sequence[int]:
    """Entries that are due, locked until the end of the transaction, the longest due first."""
    return connection.scalars(
        text(
            "SELECT watch_id FROM watchlist WHERE paused_at IS NULL AND next_at <= now()"
            " ORDER BY next_at, watch_id FOR UPDATE SKIP LOCKED"
        )
    ).all()


def _plan(connection: Connection, watch_id: int) -> None:
    """Set the moment of the next run: a cadence after this one was due, or after now where it is much too late."""
    connection.execute(
        text(
            "UPDATE watchlist SET next_at = CASE WHEN next_at <= now() AND now() - next_at < every / 10"
            " THEN next_at ELSE now() END + every WHERE watch_id = :id"
        ),
        {"id": watch_id},
    )


def _checked(
    target: str,
    kind: str,
    every: timedelta,
    item_limit: int,
    read_limit: int | None,
    keep: str | None,
    language: str | None,
    region: str | None,
) -> dict[str, object]:
    """The columns of an entry. Raises MilesError that names what is wrong."""
    collecting.check(target, kind, item_limit)
    addresses(target, kind, item_limit)  # type: ignore[arg-type]  # `check` has looked at the kind
    if not SHORTEST <= every <= LONGEST:
        raise MilesError(f"A cadence lies between {as_written(SHORTEST)} and {as_written(LONGEST)}.")
    if read_limit is not None and not 0 <= read_limit <= item_limit:
        raise MilesError(f"Of {item_limit} videos 0 to {item_limit} can be read in full, not {read_limit}.")
    audience = scrape.audience(language, region, kind)
    return {
        "every": every,
        "item_limit": item_limit,
        "read_limit": read_limit,
        "match_filter": match_filter.check(keep),
        "language": audience.language,
        "region": audience.region,
    }


def _entry(row: Row) -> Entry:
    last = None
    if row.collection_id is not None:
        last = LastRun(**{field.name: getattr(row, field.name) for field in fields(LastRun)})
    own = {field.name: getattr(row, field.name) for field in fields(Entry) if field.name != "last"}
    return Entry(**own, last=last)


_ENTRIES = """
    SELECT watchlist.*, last.*
    FROM watchlist LEFT JOIN LATERAL (
        SELECT collection_id, state, found, new, updated, skipped, failed, reason, asked_at, finished_at, resume_at
        FROM collections WHERE collections.watch_id = watchlist.watch_id ORDER BY collection_id DESC LIMIT 1
    ) AS last ON true
"""
