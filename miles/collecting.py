"""From "collect this" to candidates, snapshots and thumbnails in the database: asking, following, ending.

A collection that may not ask any more (a refusal, a used-up budget) waits until it may; it is done when nothing is
pending, and not before. What one run of it does lies in `collection_run`. Knows nothing about the job queue or the
model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

from miles import db, items, match_filter, pacing, scrape, tombstones
from miles.collection_run import ABANDONED, INTERRUPTED, CollectionReport, Progress, Run, give_up, wait
from miles.errors import MilesError, SourceError
from miles.items import LISTED_ONLY, Item
from miles.revisits import TARGET as REVISIT_TARGET
from miles.scrape import Source
from miles.targets import kind_of

# what those who collect look for here
__all__ = [
    "INTERRUPTED",
    "LISTED_ONLY",
    "REVISIT_TARGET",
    "CollectionReport",
    "Item",
    "Progress",
    "give_up",
    "kind_of",
    "wait",
]

LONGEST_TARGET = 500  # characters
LARGEST_LIMIT = 500  # videos: two hours of the default budget
CANCELLED = "It was cancelled; what came in is kept."
FOLLOWED_KINDS = ("topic", "hashtag")  # collections whose new channels are looked at


@dataclass(frozen=True, slots=True)
class CollectionProgress:
    """How a collection stands, live."""

    collection_id: int
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    reason: str | None
    resume_at: datetime | None  # of a waiting one
    listed: bool  # whether its listing was read to the end, so that `found` stands
    found: int
    fetched: int  # new and updated
    pending: int
    skipped: dict[str, int]  # by reason
    failed: dict[str, int]  # by kind of error
    listed_only: dict[str, int]  # of the fetched ones those that could not be read in full, by kind of error
    finish_at: datetime | None  # when it can be done under pace and budget; None: nothing is pending, or nobody knows


def ask(
    connection: Connection,
    target: str,
    kind: str = "topic",
    item_limit: int = 20,
    asked_by: str = "local",
    *,
    read_limit: int | None = None,
    parent_id: int | None = None,
    watch_id: int | None = None,
    keep: str | None = None,
    language: str | None = None,
    region: str | None = None,
) -> int:
    """Write down that something is to be collected; returns the collection's id. Raises SourceError("invalid").

    `read_limit` is how many videos are read in full; the others are known from the listing. `keep` is a filter in
    yt-dlp's own syntax, `language` and `region` those of the audience that the listing is asked for as.
    """
    target = " ".join(target.split())
    check(target, kind, item_limit)
    tombstones.refuse(connection, target, kind)
    audience = scrape.audience(language, region, kind)
    return connection.execute(
        text(
            "INSERT INTO collections (target, kind, item_limit, asked_by, read_limit, parent_id, watch_id,"
            " match_filter, language, region) VALUES (:target, :kind, :item_limit, :asked_by, :read_limit, :parent_id,"
            " :watch_id, :match_filter, :language, :region) RETURNING collection_id"
        ),
        {
            "target": target,
            "kind": kind,
            "item_limit": item_limit,
            "asked_by": asked_by,
            "read_limit": read_limit,
            "parent_id": parent_id,
            "watch_id": watch_id,
            "match_filter": match_filter.check(keep),
            "language": audience.language,
            "region": audience.region,
        },
    ).scalar_one()


def check(target: str, kind: str, item_limit: int) -> None:
    """Raise SourceError("invalid") for what can't be collected."""
    if not target or len(target) > LONGEST_TARGET:
        raise SourceError(
            f"Say what to collect in 1 to {LONGEST_TARGET} characters: a topic, a channel, a hashtag or an address.",
            "invalid",
        )
    if kind not in ("topic", "channel", "hashtag", "playlist", "tiktok", "url", "revisit"):
        raise SourceError(
            f"{kind!r} can't be collected. Choose topic, channel, hashtag, playlist, tiktok or url.", "invalid"
        )
    if not 1 <= item_limit <= LARGEST_LIMIT:
        raise SourceError(f"The limit has to lie between 1 and {LARGEST_LIMIT}.", "invalid")


def collect(
    target: str,
    *,
    kind: str = "topic",
    item_limit: int = 20,
    asked_by: str = "local",
    on_progress: Callable[[Progress], object] | None = None,
    keep: str | None = None,
    language: str | None = None,
    region: str | None = None,
) -> CollectionReport:
    """Collect now, in this process. Goes on with the same collection where one waits, or was killed, that no job
    will take up."""
    with db.transaction("worker") as connection:
        collection_id = ask(connection, target, kind, item_limit, asked_by, keep=keep, language=language, region=region)
        if (before := _waiting(connection, collection_id)) is not None:
            connection.execute(text("DELETE FROM collections WHERE collection_id = :id"), {"id": collection_id})
            collection_id = before
    return carry_out(collection_id, on_progress=on_progress, again=False)


def carry_out(
    collection_id: int,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    on_stored: Callable[[Connection], None] | None = None,
    stop: Callable[[], bool] | None = None,
    again: bool = True,
    source: Source | None = None,
) -> CollectionReport:
    """Do what was asked, or the rest of it; always ends in a report, never in a SourceError or SourcePaused.

    Where nothing may be asked any more, and where errors that may pass broke it off and `again` is true, the
    collection waits: the report says until when, and the caller sees to it that it is called again then.
    `on_stored` runs in the transaction that ends the run, if anything came in. With `stop()` true the collection
    goes back to waiting and InterruptedError is raised.
    """
    return Run(collection_id, on_progress, on_stored, stop, again, source).carry_out()


def paused(connection: Connection, collection_id: int) -> bool:
    """Whether a collection waits because it was told to, and not because whoever did it died."""
    return bool(
        connection.scalar(
            text("SELECT state = 'waiting' AND resume_at IS NOT NULL FROM collections WHERE collection_id = :id"),
            {"id": collection_id},
        )
    )


def cancel(connection: Connection, collection_id: int) -> None:
    """End a collection that waits or runs; a running one stops within seconds. What came in is kept.

    Raises MilesError if it is over already.
    """
    cancelled = connection.execute(
        text(
            "UPDATE collections SET state = 'cancelled', reason = :reason, resume_at = NULL, finished_at = now()"
            " WHERE collection_id = :id AND state IN ('waiting', 'running')"
        ),
        {"id": collection_id, "reason": CANCELLED},
    )
    if not cancelled.rowcount:
        raise MilesError(f"Collection {collection_id} is over already, so it can't be cancelled.")


def resume(connection: Connection, collection_id: int) -> None:
    """Have a collection that waits, failed or was cancelled go on now, with all that could not be read for reasons
    that may have passed. Raises MilesError if it runs, or has nothing left to do."""
    row = connection.execute(
        text("SELECT state, listed_at, watch_id FROM collections WHERE collection_id = :id FOR UPDATE"),
        {"id": collection_id},
    ).one_or_none()
    if row is None:
        raise MilesError(f"Collection {collection_id} does not exist.")
    newer = connection.scalar(
        text(
            "SELECT collection_id FROM collections WHERE watch_id = :watch_id AND collection_id <> :id"
            " AND state IN ('waiting', 'running')"
        ),
        {"watch_id": row.watch_id, "id": collection_id},
    )
    if newer is not None:
        raise MilesError(
            f"The watchlist has begun another run of this (collection {newer}). Wait for its end, or cancel it first."
        )
    if row.state == "running":
        raise MilesError(f"Collection {collection_id} is running; there is nothing to resume.")
    reopened = items.reopen(connection, collection_id, ("transient", "rate_limited", "extractor"))
    if row.state == "done" and not reopened:
        raise MilesError(f"Collection {collection_id} is done, and nothing of it failed that could be tried again.")
    connection.execute(
        text(
            "UPDATE collections SET state = 'waiting', reason = NULL, resume_at = NULL, finished_at = NULL, tries = 0"
            " WHERE collection_id = :id"
        ),
        {"id": collection_id},
    )
    items.count(connection, collection_id)


def give_up_abandoned(connection: Connection) -> None:
    """Mark as failed what runs no more: begun by a command that was killed, and nobody's job."""
    connection.execute(
        text(
            f"""
            UPDATE collections SET state = 'failed', finished_at = now(),
                reason = :reason
            WHERE state = 'running' AND alive_at < now() - CAST(:age AS interval) AND NOT {_HAS_JOB}
            """
        ),
        {"age": ABANDONED, "reason": INTERRUPTED},
    )


def left_waiting(connection: Connection) -> list[int]:
    """Collections that may go on, and that no job will take up: begun by a command, and paused or killed."""
    return list(connection.scalars(text(f"{_LEFT} ORDER BY collection_id"), {"age": ABANDONED}))


def take_left(connection: Connection) -> int | None:
    """One of those of the watchlist; it runs from now on, so that nobody else takes it. None: there is none."""
    return connection.execute(
        text(
            "UPDATE collections SET state = 'running', alive_at = now() WHERE collection_id = ("
            f" {_LEFT} AND watch_id IS NOT NULL ORDER BY collection_id LIMIT 1 FOR UPDATE SKIP LOCKED"
            ") RETURNING collection_id"
        ),
        {"age": ABANDONED},
    ).scalar_one_or_none()


def progress(connection: Connection, collection_id: int) -> CollectionProgress:
    """How a collection stands. Raises MilesError if there is none of that number."""
    row = connection.execute(
        text(
            "SELECT state, reason, resume_at, listed_at IS NOT NULL AS listed, read_limit FROM collections"
            " WHERE collection_id = :id"
        ),
        {"id": collection_id},
    ).one_or_none()
    if row is None:
        raise MilesError(f"Collection {collection_id} does not exist.")
    counted = connection.execute(
        text(
            """
            SELECT outcome, error_kind, split_part(reason, ' (', 1) AS why, count(*) AS number
            FROM collection_items WHERE collection_id = :id GROUP BY 1, 2, 3 ORDER BY number DESC, 1, 2, 3
            """
        ),
        {"id": collection_id},
    ).all()
    skipped: dict[str, int] = {}
    failed: dict[str, int] = {}
    listed_only: dict[str, int] = {}
    for one in counted:
        if one.outcome == "skipped":
            skipped[one.why] = skipped.get(one.why, 0) + one.number
        elif one.outcome == "failed":
            failed[one.error_kind or "gone"] = failed.get(one.error_kind or "gone", 0) + one.number
        elif one.outcome != "pending" and one.error_kind:
            listed_only[one.error_kind] = listed_only.get(one.error_kind, 0) + one.number
    fetched = sum(one.number for one in counted if one.outcome in ("new", "updated"))
    pending = sum(one.number for one in counted if one.outcome == "pending")
    return CollectionProgress(
        collection_id=collection_id,
        state=row.state,
        reason=row.reason,
        resume_at=row.resume_at,
        listed=row.listed,
        found=sum(one.number for one in counted),
        fetched=fetched,
        pending=pending,
        skipped=skipped,
        failed=failed,
        listed_only=listed_only,
        finish_at=_finish_at(connection, collection_id, row.resume_at)
        if pending and row.state in ("waiting", "running")
        else None,
    )


def new_channels(connection: Connection, collection_id: int, number: int) -> list[str]:
    """Addresses of the channels that a collection has come across and that were never listed, best first.

    The best are those with the most promising of its videos. There are at most `number` for each collection, those
    counted that are followed already.
    """
    return list(
        connection.scalars(
            text(
                """
                SELECT channels.url FROM collection_items AS item
                JOIN candidates USING (candidate_id) JOIN channels USING (channel_key)
                JOIN collections ON collections.collection_id = item.collection_id
                WHERE item.collection_id = :id AND collections.kind = ANY(:kinds)
                    AND channels.platform = 'youtube' AND channels.url IS NOT NULL AND channels.baseline_at IS NULL
                    AND NOT EXISTS (
                        SELECT FROM collections AS asked WHERE asked.target = channels.url AND asked.kind = 'channel'
                    )
                GROUP BY channels.channel_key, channels.url
                ORDER BY max(item.promise) DESC, channels.channel_key
                LIMIT greatest(:number - (SELECT count(*) FROM collections AS child WHERE child.parent_id = :id), 0)
                """
            ),
            {"id": collection_id, "kinds": list(FOLLOWED_KINDS), "number": number},
        )
    )


def _waiting(connection: Connection, collection_id: int) -> int | None:
    """An earlier one like this collection that waits or was killed, and no job will take up; it runs from now on."""
    return connection.execute(
        text(
            f"""
            UPDATE collections SET state = 'running', alive_at = now() WHERE collection_id = (
                SELECT collections.collection_id FROM collections
                JOIN collections AS asked ON asked.collection_id = :id AND collections.collection_id < :id
                    AND ROW ({_SAME.format("collections")}) IS NOT DISTINCT FROM ROW ({_SAME.format("asked")})
                WHERE (collections.state = 'waiting'
                    OR (collections.state = 'running' AND collections.alive_at < now() - CAST(:age AS interval)))
                    AND NOT {_HAS_JOB}
                ORDER BY collections.collection_id DESC LIMIT 1 FOR UPDATE OF collections SKIP LOCKED
            ) RETURNING collection_id
            """
        ),
        {"id": collection_id, "age": ABANDONED},
    ).scalar_one_or_none()


def _finish_at(connection: Connection, collection_id: int, resume_at: datetime | None) -> datetime | None:
    """When what is pending can have been read, if no other collection asks the same sources meanwhile."""
    places = connection.scalars(
        text("SELECT url FROM collection_items WHERE collection_id = :id AND outcome = 'pending'"),
        {"id": collection_id},
    )
    requests: dict[str, int] = {}
    for place in places:
        source = pacing.source_of(place)
        requests[source] = requests.get(source, 0) + pacing.REQUESTS_EACH
    ends = [pacing.expected_finish(connection, source, number, resume_at) for source, number in requests.items()]
    return max(ends, default=None)


_SAME = ", ".join(
    f"{{0}}.{column}"
    for column in ("target", "kind", "item_limit", "read_limit", "match_filter", "language", "region", "watch_id")
)
_HAS_JOB = """EXISTS (
    SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')
        AND (args->>'collection_id')::bigint = collections.collection_id
)"""
_LEFT = f"""
    SELECT collection_id FROM collections WHERE state = 'waiting' AND NOT {_HAS_JOB}
        AND coalesce(resume_at, asked_at + CAST(:age AS interval)) <= now()
"""
