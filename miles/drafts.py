"""Drafts of the Score lab, each its owner's alone; `kept` has the concepts that were made for them.

Every function takes a connection of `transaction("viewer", user_id)`. Row-level security decides whose
rows there are; nothing here filters by user, so nothing here can forget to.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from miles import candidates
from miles.errors import MilesError

LONGEST_NAME = 80  # characters

Origin = Literal["own", "offline", "language model"]  # whose idea a draft was: its user's, or who wrote its concept


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a published draft came to in its first day."""

    views: float  # at 24 hours
    multiple: float | None  # over the channel's usual at publication; None: none known
    happened: bool | None  # the event of drafts
    foresight: bool  # it was saved before it was published


@dataclass(frozen=True, slots=True)
class Draft:
    """A video not yet published, as it was scored when it was saved; and the video that became of it, if it is linked."""

    draft_id: int
    title: str
    name: str | None  # what its owner calls it
    channel_key: str | None
    channel_name: str | None
    category: str | None
    duration: float | None  # seconds
    language: str | None
    thumbnail_sha256: str | None  # its key in the storage
    viral_score: float | None  # 0..1
    base_rate: float | None  # 0..1
    predicted_multiple: float | None  # × the channel's usual
    predicted_views: float | None  # in the first 24 hours
    views_low: float | None  # 8 of 10 outcomes lie between low and high
    views_high: float | None
    model_version: str | None
    created_at: datetime
    published_url: str | None
    candidate_id: str | None  # of the video it became, once it is collected
    published_at: datetime | None
    views: int | None  # at the newest look
    observed_at: datetime | None
    origin: Origin
    concept_id: int | None  # that it began with, while that is kept
    query_id: int | None  # of the request that the concept was made for
    outcome: Outcome | None  # None: its first day is not known, or not yet


@dataclass(frozen=True, slots=True)
class Foretold:
    """What the model said of a draft when it was saved."""

    viral_score: float  # 0..1
    base_rate: float  # 0..1
    multiple: float | None  # × the channel's usual
    views: float  # in the first 24 hours
    views_low: float
    views_high: float
    model_version: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a user gave, after it was stored."""

    sha256: str  # its key in the storage
    content_type: str
    size: int  # bytes
    pin: int | None = None  # by which `thumbnails.keep` holds it there until the draft is saved


def save_draft(
    connection: Connection,
    title: str,
    *,
    name: str | None = None,
    channel_key: str | None = None,
    category: str | None = None,
    duration: float | None = None,
    language: str | None = None,
    foretold: Foretold | None = None,
    upload: Upload | None = None,
    concept_id: int | None = None,
    foretold_with_it: bool = False,
) -> int:
    """Keep a draft; returns its id. Raises MilesError if the title is empty.

    `concept_id` is the concept that it began with; one that is not the user's is left out. With `foretold_with_it` the
    concept was scored the same, so the draft counts as saved when that was: what it foretells has been known since.
    """
    cleaned = candidates.text(title, candidates.MAX_TITLE)
    if cleaned is None:
        raise MilesError("A draft needs a title. Type one and save again.")
    remember_user(connection)
    draft_id: int = connection.execute(
        text(
            "INSERT INTO drafts"
            " (user_id, title, name, thumbnail_sha256, channel_key, category, duration, language, viral_score, base_rate,"
            " predicted_multiple, predicted_views, views_low, views_high, model_version, concept_id, origin, created_at)"
            " SELECT current_user_id(), :title, :name, :sha256, :channel_key, :category, :duration, :language, :score,"
            " :base_rate, :multiple, :views, :low, :high, :version, concept_id,"
            " CASE WHEN concept_id IS NULL THEN 'own' WHEN generator = 'offline' THEN 'offline' ELSE 'language model' END,"
            " CASE WHEN :with_it THEN coalesce(asked_at, now()) ELSE now() END"
            " FROM (VALUES (CAST(:concept_id AS bigint))) AS asked (concept_id_asked)"
            " LEFT JOIN (concepts JOIN queries USING (query_id)) ON concept_id = concept_id_asked"
            " RETURNING draft_id"
        ),
        {
            "title": cleaned,
            "name": _name(name),
            "sha256": upload.sha256 if upload else None,
            "channel_key": channel_key,
            "category": category,
            "duration": duration,
            "language": language,
            "score": foretold and foretold.viral_score,
            "base_rate": foretold and foretold.base_rate,
            "multiple": foretold and foretold.multiple,
            "views": foretold and foretold.views,
            "low": foretold and foretold.views_low,
            "high": foretold and foretold.views_high,
            "version": foretold and foretold.model_version,
            "concept_id": concept_id,
            "with_it": foretold_with_it,
        },
    ).scalar_one()
    if upload:
        connection.execute(
            text(
                "INSERT INTO uploads (user_id, draft_id, sha256, content_type, bytes)"
                " VALUES (current_user_id(), :draft_id, :sha256, :content_type, :size)"
            ),
            {
                "draft_id": draft_id,
                "sha256": upload.sha256,
                "content_type": upload.content_type,
                "size": upload.size,
            },
        )
        if upload.pin is not None:
            connection.execute(text("SELECT unpin_objects(:pins)"), {"pins": [upload.pin]})
    return draft_id


def drafts(connection: Connection, limit: int = 100, *, query_id: int | None = None) -> list[Draft]:
    """The user's drafts, newest first, with what became of those that were published; with `query_id` only those that
    began with a concept of that request."""
    rows = connection.execute(
        text(
            """
            SELECT draft_id, drafts.title, drafts.name, drafts.channel_key, channels.name AS channel_name,
                drafts.category, drafts.duration, drafts.language, thumbnail_sha256, drafts.viral_score,
                drafts.base_rate, drafts.predicted_multiple, predicted_views, drafts.views_low, drafts.views_high,
                drafts.model_version, created_at, published_url, video.candidate_id,
                video.published_at, video.views, video.observed_at, origin, concept_id, begun.query_id,
                told.views AS told_views, told.multiple, told.happened, told.foresight
            FROM drafts
                LEFT JOIN channels USING (channel_key)
                LEFT JOIN candidates AS video ON video.candidate_id = coalesce(published_key, (
                    SELECT min(item.candidate_id) FROM collection_items AS item
                    WHERE item.collection_id = published_by HAVING count(*) = 1
                ))
                LEFT JOIN draft_outcomes AS told USING (draft_id)
                LEFT JOIN (SELECT concept_id, query_id FROM concepts) AS begun USING (concept_id)
            """
            + ("WHERE begun.query_id = :query_id" if query_id is not None else "")
            + """
            ORDER BY created_at DESC, draft_id DESC LIMIT :limit
            """
        ),
        {"limit": limit} | ({"query_id": query_id} if query_id is not None else {}),
    )
    found = []
    for row in rows.mappings():
        given = dict(row)
        views, multiple, happened, foresight = (
            given.pop(name) for name in ("told_views", "multiple", "happened", "foresight")
        )
        told = None if views is None else Outcome(views, multiple, happened, foresight)
        found.append(Draft(**given, outcome=told))
    return found


def rename_draft(connection: Connection, draft_id: int, name: str) -> bool:
    """Call a draft something, or nothing; False if the user has no such draft."""
    return _changed(connection, draft_id, "name = :name", name=_name(name))


def set_link(
    connection: Connection, draft_id: int, url: str | None, key: str | None = None, collection_id: int | None = None
) -> bool:
    """Say where a draft was published (None: nowhere); False if the user has no such draft. An outcome of another
    address is forgotten."""
    return _changed(
        connection,
        draft_id,
        "published_url = :url, published_key = :key, published_by = :collection,"
        " linked_at = CASE WHEN CAST(:url AS text) IS NOT NULL THEN now() END",
        url=url,
        key=key,
        collection=collection_id,
    )


def _changed(connection: Connection, draft_id: int, change: str, **values: Any) -> bool:
    done = connection.execute(
        text(f"UPDATE drafts SET {change} WHERE draft_id = :draft_id"), {"draft_id": draft_id, **values}
    )
    return done.rowcount > 0


def _name(written: str | None) -> str | None:
    return candidates.text(" ".join((written or "").split()), LONGEST_NAME)


def delete_draft(connection: Connection, draft_id: int) -> bool:
    """Delete a draft and its uploads; False if the user has no such draft."""
    return connection.execute(text("DELETE FROM drafts WHERE draft_id = :id"), {"id": draft_id}).rowcount > 0


def remember_user(connection: Connection) -> None:
    """The user's row, made when it is first needed. Raises MilesError if the transaction is nobody's."""
    if connection.scalar(text("SELECT current_user_id()")) is None:
        raise MilesError("Nothing can be saved without a user. Set MILES_USER, or log in.")
    connection.execute(text("INSERT INTO users (user_id) VALUES (current_user_id()) ON CONFLICT DO NOTHING"))
