"""Everything of a video or a channel deleted on request, and never collected again.

First a tombstone is written, alone and committed: from then on no collection, import or listing brings it in
(`store.merge` leaves it out, and waits for nobody but for the moment in which a tombstone is written). Then what is
there is deleted in short transactions; a removal that was broken off is finished by the next `finish`.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from miles import db, items, targets, thumbnails
from miles.errors import MilesError
from miles.store import REMOVAL_LOCK, announce
from miles.tombstones import Kind, Names, asked, name_of, names_of

logger = logging.getLogger(__name__)

BATCH = 500  # videos deleted in one transaction
FORGOTTEN = "(removed on request)"  # what stands in place of the target of a collection


@dataclass(frozen=True, slots=True)
class Found:
    """What a person named, and how much there is of it."""

    kind: Kind
    key: str
    title: str | None  # of the video, or the channel's name; None: nothing of it is here
    names: tuple[str, ...]  # other ways to ask for it
    videos: int
    snapshots: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a removal deleted."""

    kind: Kind
    key: str
    videos: int
    snapshots: int


def find(connection: Connection, what: str) -> Found:
    """What a key (youtube:…), an address, an id of YouTube or an @handle means; a video or channel that is not here
    can be named, too, where its key is plain from that. Raises MilesError."""
    what = " ".join(what.split())
    names = names_of(what)
    row = connection.execute(
        text(
            """
            SELECT 'video' AS kind, candidate_id AS key, title, url FROM candidates
            WHERE candidate_id = ANY(:keys) OR url = :what
          UNION ALL
            SELECT 'channel', channel_key, name, url FROM channels
            WHERE channel_key = ANY(:keys) OR url = :what
                OR lower(regexp_replace(rtrim(url, '/'), '^https?://(www\\.|m\\.)?', '')) = ANY(:addresses)
            ORDER BY kind DESC LIMIT 1
            """
        ),
        {
            "keys": [what, *names.keys],
            "what": what,
            "addresses": [name.lower() for name in names.addresses],
        },
    ).one_or_none()
    if row is None:
        kind, key = _plain(what, names)
        return Found(kind, key, None, tuple(sorted({*names.addresses, *_names(kind, key, None)})), 0, 0)
    videos, snapshots = connection.execute(
        text(
            "SELECT count(DISTINCT candidate_id), count(snapshots.observed_at)"
            " FROM candidates LEFT JOIN snapshots USING (candidate_id) WHERE "
            + ("candidate_id = :key" if row.kind == "video" else "channel_key = :key")
        ),
        {"key": row.key},
    ).one()
    known = {*names.addresses, *_names(row.kind, row.key, row.url)}
    return Found(row.kind, row.key, row.title, tuple(sorted(known)), videos, snapshots)


def mark(connection: Connection, found: Found, by: str, reason: str | None = None) -> None:
    """Write the tombstone. It stands from the commit on; what is being stored meanwhile is waited for."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({REMOVAL_LOCK})"))
    connection.execute(
        text(
            "INSERT INTO removed AS standing (kind, key, names, reason, removed_by)"
            " VALUES (:kind, :key, :names, :reason, :by) ON CONFLICT (kind, key) DO UPDATE SET"
            " names = array(SELECT DISTINCT unnest(standing.names || excluded.names)), deleted_at = NULL,"
            " reason = coalesce(excluded.reason, standing.reason)"
        ),
        {
            "kind": found.kind,
            "key": found.key,
            "names": list(found.names),
            "reason": " ".join((reason or "").split())[:500] or None,
            "by": by,
        },
    )


def remove(found: Found, by: str, reason: str | None = None) -> Deleted:
    """Write the tombstone, then delete all there is, and summarise what is left."""
    with db.transaction("worker") as connection:
        mark(connection, found, by, reason)
    deleted = carry_out(found.kind, found.key)
    summarise()
    return deleted


def carry_out(kind: Kind, key: str) -> Deleted:
    """Delete what there is of something that has its tombstone. Can be broken off and run again."""
    from miles import rollups  # numpy

    with db.transaction("worker") as connection:
        names = connection.scalar(
            text("SELECT names FROM removed WHERE kind = :kind AND key = :key"), {"kind": kind, "key": key}
        )
    if names is None:
        raise MilesError(f"{key} has not been marked as removed, so nothing was deleted.")
    videos = snapshots = 0
    pictures: set[str] = set()
    more = True
    while more:
        with db.transaction("worker") as connection:
            # the roll-up writes on these rows, too: its lock first, then the rows in the order of every writer
            connection.execute(text(f"SELECT pg_advisory_xact_lock({rollups.LOCK})"))
            announce(connection)
            ids = connection.scalars(
                text(
                    "SELECT candidate_id FROM candidates WHERE "
                    + ("candidate_id = :key" if kind == "video" else "channel_key = :key")
                    + " ORDER BY candidate_id LIMIT :most FOR UPDATE"
                ),
                {"key": key, "most": BATCH},
            ).all()
            if kind == "video":
                _touch_siblings(connection, key)
            videos += len(ids)
            snapshots += _delete_videos(connection, kind, key, list(ids), names, pictures)
            more = len(ids) == BATCH
    with db.transaction("worker") as connection:
        if kind == "channel":
            connection.execute(text("DELETE FROM channels WHERE channel_key = :key"), {"key": key})
        _forget_what_wasasked(connection, key, set(names))
        connection.execute(
            text("UPDATE removed SET deleted_at = now() WHERE kind = :kind AND key = :key"), {"kind": kind, "key": key}
        )
    thumbnails.let_go(pictures)
    logger.info("Removed %s %s: %d videos, %d snapshots", kind, key, videos, snapshots)
    return Deleted(kind, key, videos, snapshots)


def finish() -> list[Deleted]:
    """Finish removals that were broken off."""
    with db.transaction("worker") as connection:
        rows = connection.execute(text("SELECT kind, key FROM removed WHERE deleted_at IS NULL ORDER BY key")).all()
    return [carry_out(row.kind, row.key) for row in rows]


def summarise() -> None:
    """Measure and summarise anew, so that no number and no example rests on what is gone."""
    from miles import monitor, rollups

    with db.transaction("worker") as connection:
        rollups.refresh(connection, everything=True)
    with db.transaction("worker") as connection:
        monitor.refresh(connection)


def _names(kind: Kind, key: str, url: str | None) -> set[str]:
    """The compared forms of the addresses of something, beside its key."""
    names = set(names_of(url).addresses) if url else set()
    if kind == "channel" and key.startswith("youtube:"):
        names.add(f"youtube.com/channel/{key.removeprefix('youtube:')}")
    return names


def _plain(what: str, names: Names) -> tuple[Kind, str]:
    """The kind and key of something that is not here. Raises MilesError where that can't be told."""
    for key in (*names.keys, what):
        if re.fullmatch(rf"youtube:{targets.CHANNEL_ID}", key):
            return "channel", key
        if re.fullmatch(r"youtube:[\w-]{11}|tiktok:\d{15,20}", key) and key != f"youtube:{what}":  # a word may be an id
            return "video", key
    raise MilesError(
        f"{what or 'Nothing'} is no video and no channel that Miles knows. Give its key, like youtube:dQw4w9WgXcQ, or"
        " its address."
    )


def _touch_siblings(connection: Connection, key: str) -> None:
    """Have the other videos of a video's channel measured and scored again: their numbers rest on it."""
    connection.execute(
        text(
            """
            WITH siblings AS (
                SELECT candidate_id FROM candidates
                WHERE channel_key = (SELECT channel_key FROM candidates WHERE candidate_id = :key) AND candidate_id <> :key
                ORDER BY candidate_id FOR NO KEY UPDATE
            )
            UPDATE candidates SET changed_at = clock_timestamp()
            FROM siblings WHERE candidates.candidate_id = siblings.candidate_id
            """
        ),
        {"key": key},
    )


def _delete_videos(
    connection: Connection, kind: Kind, key: str, ids: list[str], names: Iterable[str], pictures: set[str]
) -> int:
    """Delete videos and all that names them; returns how many snapshots they had. Adds to `pictures` the keys of
    theirs."""
    named = [*ids, key] if kind == "video" else ids
    pictures.update(
        connection.scalars(
            text("SELECT sha256 FROM thumbnails WHERE candidate_id = ANY(:ids) AND sha256 IS NOT NULL"), {"ids": ids}
        )
    )
    snapshots = connection.execute(text("DELETE FROM snapshots WHERE candidate_id = ANY(:ids)"), {"ids": ids}).rowcount
    addresses = [row.candidate_id for row in connection.execute(_LINKS) if name_of(row.candidate_id[8:]) in set(names)]
    collections = connection.scalars(
        text("DELETE FROM collection_items WHERE candidate_id = ANY(:ids) RETURNING collection_id"),
        {"ids": [*named, *addresses]},
    ).all()
    for collection_id in sorted(set(collections)):
        items.count(connection, collection_id)
    connection.execute(text("DELETE FROM gone_videos WHERE candidate_id = ANY(:ids)"), {"ids": [*named, *addresses]})
    connection.execute(
        text("SELECT forget_in_drafts(:ids, :channel)"),
        {"ids": named, "channel": key if kind == "channel" else None},
    )
    connection.execute(
        text(
            "UPDATE title_patterns SET examples = array("
            " SELECT one FROM unnest(examples) WITH ORDINALITY AS given (one, place) WHERE one <> ALL (:ids) ORDER BY place)"
            " WHERE examples && CAST(:ids AS text[])"
        ),
        {"ids": ids},
    )
    # scores, forecasts, vectors and the rows of pictures go with their video
    connection.execute(text("DELETE FROM candidates WHERE candidate_id = ANY(:ids)"), {"ids": ids})
    return snapshots


_LINKS = text("SELECT DISTINCT candidate_id FROM collection_items WHERE candidate_id LIKE 'address:%'")


def _forget_what_wasasked(connection: Connection, key: str, names: set[str]) -> None:
    """End collections of it, and take its name out of the record of what was asked and out of the watchlist."""

    def means_it(rows: Sequence) -> list[int]:
        return [
            row.id for row in rows if key in (told := asked(row.target, row.kind)).keys or names & set(told.addresses)
        ]

    collected = connection.execute(
        text("SELECT collection_id AS id, target, kind FROM collections WHERE kind IN ('channel', 'url', 'tiktok')")
    ).all()
    connection.execute(
        text(
            "UPDATE collections SET target = :forgotten,"
            " reason = CASE WHEN state IN ('waiting', 'running') THEN 'It was removed on request.' END,"
            " finished_at = coalesce(finished_at, now()), resume_at = NULL,"
            " state = CASE WHEN state IN ('waiting', 'running') THEN 'cancelled' ELSE state END"
            " WHERE collection_id = ANY(:ids)"
        ),
        {"ids": means_it(collected), "forgotten": FORGOTTEN},
    )
    watched = connection.execute(
        text("SELECT watch_id AS id, target, kind FROM watchlist WHERE kind IN ('channel', 'url', 'tiktok')")
    ).all()
    connection.execute(text("DELETE FROM watchlist WHERE watch_id = ANY(:ids)"), {"ids": means_it(watched)})
