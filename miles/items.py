"""The items of a collection: every id it found, what is still to be read of it, what became of it.

An item is written when it is found, as pending, with all that reading it later needs; so a collection can be
broken off anywhere and taken up by anybody. Functions take a connection and never commit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import log10
from typing import Literal

from sqlalchemy import Connection, text

from miles import db, revisits, store, tombstones
from miles.candidates import Observation
from miles.errors import SourceError
from miles.scrape import Found

Outcome = Literal["pending", "new", "updated", "skipped", "failed"]

FRESH_HOURS = 6  # a full look younger than this is not worth another request
LEFT_OUT_HOURS = 24  # a video that a filter left out after a full look is not looked at for it again before
UNKNOWN_AGE = 30.0  # days; of a listed video without a date
LISTED_ONLY = "Known only from the listing."
NEW, DUE, OTHER = 0, 1, 2  # whose turn it is: what we have never read, what is to be measured again, the rest


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one video of a collection."""

    candidate_id: str
    outcome: Outcome
    reason: str | None = None
    title: str | None = None
    error_kind: str | None = None  # SourceError's, where it could not be read (in full)


@dataclass(frozen=True, slots=True)
class Pending:
    """A video that is still to be read in full."""

    candidate_id: str
    found: Found
    listed: bool  # what the listing says of it is stored
    first: bool  # this collection brought it in
    attempts: int
    why: SourceError | None = None  # what is missing of it

    @property
    def reached(self) -> Outcome:
        """What becomes of it when it is read, or when the listing has to do."""
        return "new" if self.first else "updated"


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of an attempt; `outcome` pending means another one."""

    candidate_id: str
    outcome: Outcome
    reason: str | None = None
    error_kind: str | None = None
    expected: bool = False
    attempted: bool = True


def promise(observation: Observation | None, now: datetime) -> float:
    """How much reading a listed video in full may be worth: views for its age, on a scale of decades.

    Approximate dates will do: this decides about the order of requests, and about nothing that is shown.
    """
    if observation is None or not observation.snapshot.views:
        return 0.0
    published = observation.candidate.published_at or observation.candidate.published_about
    days = max((now - published).total_seconds() / 86400, 0.0) if published else UNKNOWN_AGE
    return log10(1 + observation.snapshot.views) - 0.5 * log10(1 + days)


def add(
    connection: Connection,
    collection_id: int,
    found: Sequence[Found],
    *,
    position: int,
    room: int,
    refuse: Callable[[Observation], str | None] = lambda observation: None,
) -> set[str]:
    """Write down what a listing gave, from a position of it on, at most `room` items; returns those that are pending.

    What was read lately, is gone for good, is left out by the collection's filter, or is refused (with a reason) is
    skipped; of the rest what the listing says is stored, where the filter keeps it by that alone (not where it is
    the whole video: that is for `settle`). An item that is there already stays.
    """
    found = _named(connection, found)
    present = set(connection.scalars(_PRESENT, {"id": collection_id, "keys": [key_of(one) for one in found]}))
    places = [(place, one) for place, one in enumerate(found, position) if key_of(one) not in present][:room]
    if not places:
        return set()
    keys = [key_of(one) for _, one in places]
    read = set(connection.scalars(_READ, {"keys": keys}))
    fresh = set(connection.scalars(_FRESH, {"keys": keys, "fresh": timedelta(hours=FRESH_HOURS)}))
    gone = {row.candidate_id: row.reason for row in connection.execute(_GONE, {"keys": keys})}
    left_out = {
        row.candidate_id: row.reason
        for row in connection.execute(
            _LEFT_OUT, {"id": collection_id, "keys": keys, "since": timedelta(hours=LEFT_OUT_HOURS)}
        )
    }
    removed = tombstones.among(connection, keys, _channels(found), [one.url for one in found])
    wanting = {one.key for one in revisits.due(connection, len(keys), among=keys)} if read else set()
    now = datetime.now(UTC)
    rows: list[dict[str, object]] = []
    listed: list[Observation] = []
    for key, (place, one) in zip(keys, places, strict=True):
        given = one.full or one.flat
        reason = None
        if key in removed.videos or one.url in removed.addresses or removed.channels.intersection(_channels([one])):
            reason = tombstones.REASON
        elif key in gone:
            reason = f"it is gone ({gone[key]})"
        elif key in fresh:
            reason = f"collected less than {FRESH_HOURS} h ago"
        else:
            reason = one.left_out or left_out.get(key) or (refuse(given) if given else None)
        stored = reason is None and one.flat is not None and one.decided and says_something(one.flat)
        if stored and one.flat:
            listed.append(one.flat)
        rows.append(
            {
                "collection_id": collection_id,
                "candidate_id": key,
                "outcome": "skipped" if reason else "pending",
                "reason": reason,
                "url": one.url,
                "extractor": one.extractor,
                "short": one.short,
                "listed": stored,
                "turn": NEW if key not in read else DUE if key in wanting else OTHER,
                "promise": promise(given, now),
                "position": place,
            }
        )
    new = set(store.observe(connection, listed).new) if listed else set()
    connection.execute(_ADD, [{**row, "first": row["candidate_id"] in new} for row in rows])
    return {str(row["candidate_id"]) for row in rows if row["outcome"] == "pending"}


def _channels(found: Sequence[Found]) -> list[str]:
    """The keys of the channels that a listing names."""
    given = [one.full or one.flat for one in found]
    return [one.candidate.channel.key for one in given if one and one.candidate.channel]


def says_something(flat: Observation) -> bool:
    """Whether a listing tells more of a video than where it is; of what is deleted it gives neither of these."""
    video = flat.candidate
    return flat.snapshot.views is not None or video.channel is not None or video.media_type == "short"


def key_of(one: Found) -> str:
    """The id of an item; where the video's own is not known yet, its address."""
    return one.key or f"address:{one.url[:300]}"


def pending(connection: Connection, collection_id: int) -> list[Pending]:
    """What is still to be read: what is new by its promise, then what is due for another look, then the rest."""
    rows = connection.execute(
        text(
            "SELECT candidate_id, url, extractor, short, listed, first, attempts FROM collection_items"
            " WHERE collection_id = :id AND outcome = 'pending'"
            " ORDER BY attempts, turn, promise DESC, position, candidate_id"
        ),
        {"id": collection_id},
    )
    return [
        Pending(
            row.candidate_id,
            Found(
                row.url,
                None if row.candidate_id.startswith("address:") else row.candidate_id,
                None,
                row.extractor,
                short=row.short,
            ),
            row.listed,
            row.first,
            row.attempts,
        )
        for row in rows
    ]


def settle(connection: Connection, collection_id: int, outcomes: Sequence[Settled]) -> None:
    """Write down what came of attempts; what is gone by the source's own word is remembered for good."""
    if not outcomes:
        return
    cursor = db.psycopg_connection(connection).cursor()
    cursor.executemany(
        """
        UPDATE collection_items SET outcome = %(outcome)s, reason = %(reason)s, error_kind = %(error_kind)s,
            expected = %(expected)s, attempts = attempts + %(attempted)s::int
        WHERE collection_id = %(collection_id)s AND candidate_id = %(candidate_id)s
        """,
        [
            {
                "collection_id": collection_id,
                "candidate_id": one.candidate_id,
                "outcome": one.outcome,
                "reason": one.reason,
                "error_kind": one.error_kind,
                "expected": one.expected,
                "attempted": one.attempted,
            }
            for one in outcomes
        ],
    )
    gone = [one for one in outcomes if one.error_kind == "gone" and one.expected]
    cursor.executemany(
        "INSERT INTO gone_videos (candidate_id, reason) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [(one.candidate_id, (one.reason or "").removeprefix(LISTED_ONLY).strip()) for one in gone],
    )


def rename(connection: Connection, collection_id: int, before: str, after: str) -> bool:
    """An item known by its address alone has told its id. False if that was found already: then the first stays."""
    taken = connection.execute(_PRESENT, {"id": collection_id, "keys": [after]}).first()
    statement = (
        "DELETE FROM collection_items WHERE collection_id = :id AND candidate_id = :before"
        if taken
        else "UPDATE collection_items SET candidate_id = :after WHERE collection_id = :id AND candidate_id = :before"
    )
    connection.execute(text(statement), {"id": collection_id, "before": before, "after": after})
    return taken is None


def reopen(connection: Connection, collection_id: int, kinds: Sequence[str]) -> int:
    """Make what could not be read for these kinds of reasons pending again; returns how many."""
    return connection.execute(
        text(
            "UPDATE collection_items SET outcome = 'pending', reason = NULL, error_kind = NULL, attempts = 0"
            " WHERE collection_id = :id AND error_kind = ANY(:kinds) AND outcome <> 'pending'"
        ),
        {"id": collection_id, "kinds": list(kinds)},
    ).rowcount


def count(connection: Connection, collection_id: int) -> None:
    """Set the counts of a collection to those of its items, so that running it again counts nothing twice."""
    connection.execute(_COUNT, {"id": collection_id})


def what_became(connection: Connection, collection_id: int) -> tuple[Item, ...]:
    """Every item of a collection, by id."""
    rows = connection.execute(
        text(
            "SELECT candidate_id, outcome, reason, title, error_kind"
            " FROM collection_items LEFT JOIN candidates USING (candidate_id)"
            " WHERE collection_id = :id ORDER BY candidate_id"
        ),
        {"id": collection_id},
    )
    return tuple(Item(**row) for row in rows.mappings())


def _named(connection: Connection, found: Sequence[Found]) -> list[Found]:
    """The same, with the keys of videos that a listing only links to, where we know them by their address."""
    links = [one.url for one in found if one.key is None]
    if not links:
        return list(found)
    rows = connection.execute(
        text("SELECT url, candidate_id FROM candidates WHERE url = ANY(:links)"), {"links": links}
    )
    known = {row.url: row.candidate_id for row in rows}
    named: dict[str, Found] = {}
    for one in found:
        sure = replace(one, key=one.key or known.get(one.url))
        named.setdefault(key_of(sure), sure)  # two addresses of one video
    return list(named.values())


_READ = text("SELECT candidate_id FROM candidates WHERE candidate_id = ANY(:keys) AND tier = 'full'")
_PRESENT = text("SELECT candidate_id FROM collection_items WHERE collection_id = :id AND candidate_id = ANY(:keys)")
_FRESH = text(
    "SELECT DISTINCT candidate_id FROM snapshots WHERE candidate_id = ANY(:keys)"
    " AND tier = 'full' AND observed_at > now() - CAST(:fresh AS interval)"
)
_GONE = text("SELECT candidate_id, reason FROM gone_videos WHERE candidate_id = ANY(:keys)")
_LEFT_OUT = text(
    """
    SELECT DISTINCT ON (candidate_id) candidate_id, collection_items.reason
    FROM collections AS this
    JOIN collections AS earlier ON earlier.match_filter = this.match_filter
        AND earlier.asked_at > now() - CAST(:since AS interval) AND earlier.collection_id <> this.collection_id
    JOIN collection_items ON collection_items.collection_id = earlier.collection_id
    WHERE this.collection_id = :id AND candidate_id = ANY(:keys) AND outcome = 'skipped' AND attempts > 0
    ORDER BY candidate_id, earlier.collection_id DESC
    """
)
_ADD = text(
    """
    INSERT INTO collection_items
        (collection_id, candidate_id, outcome, reason, url, extractor, short, listed, first, turn, promise, position)
    VALUES (:collection_id, :candidate_id, :outcome, :reason, :url, :extractor, :short, :listed, :first, :turn,
        :promise, :position)
    ON CONFLICT (collection_id, candidate_id) DO NOTHING
    """
)
_COUNT = text(
    """
    UPDATE collections SET found = counted.found, new = counted.new, updated = counted.updated,
        skipped = counted.skipped, failed = counted.failed, pending = counted.pending
    FROM (
        SELECT count(*) AS found, count(*) FILTER (WHERE outcome = 'new') AS new,
            count(*) FILTER (WHERE outcome = 'updated') AS updated,
            count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
            count(*) FILTER (WHERE outcome = 'failed') AS failed,
            count(*) FILTER (WHERE outcome = 'pending') AS pending
        FROM collection_items WHERE collection_id = :id
    ) AS counted
    WHERE collection_id = :id
    """
)
