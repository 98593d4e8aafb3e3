"""What belongs to one user: drafts from the Score lab, and the concepts that were made for them.

Every function takes a connection of `transaction("viewer", user_id)`. Row-level security decides whose
rows there are; nothing here filters by user, so nothing here can forget to.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from miles import candidates
from miles.errors import MilesError


@dataclass(frozen=True, slots=True)
class Draft:
    """A video not yet published, as it was scored when it was saved."""

    draft_id: int
    title: str
    channel_key: str | None
    channel_name: str | None
    thumbnail_sha256: str | None  # its key in the storage
    viral_score: float | None  # 0..1
    predicted_multiple: float | None  # × the channel's usual
    model_version: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a user gave, after it was stored."""

    sha256: str  # its key in the storage
    content_type: str
    size: int  # bytes
    pin: int | None = None  # by which `thumbnails.keep` holds it there until the draft is saved


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """A request for concepts and what came of it."""

    query_id: int
    topic: str
    vibe: str
    generator: str  # the language model's name, or "offline"
    asked_at: datetime
    titles: tuple[str, ...]  # of its concepts, best first


def save_draft(
    connection: Connection,
    title: str,
    *,
    channel_key: str | None = None,
    viral_score: float | None = None,
    predicted_multiple: float | None = None,
    model_version: str | None = None,
    upload: Upload | None = None,
) -> int:
    """Keep a draft; returns its id. Raises MilesError if the title is empty."""
    cleaned = candidates.text(title, candidates.MAX_TITLE)
    if cleaned is None:
        raise MilesError("A draft needs a title. Type one and save again.")
    remember_user(connection)
    draft_id: int = connection.execute(
        text(
            "INSERT INTO drafts"
            " (user_id, title, thumbnail_sha256, channel_key, viral_score, predicted_multiple, model_version)"
            " VALUES (current_user_id(), :title, :sha256, :channel_key, :score, :multiple, :version)"
            " RETURNING draft_id"
        ),
        {
            "title": cleaned,
            "sha256": upload.sha256 if upload else None,
            "channel_key": channel_key,
            "score": viral_score,
            "multiple": predicted_multiple,
            "version": model_version,
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


def drafts(connection: Connection, limit: int = 100) -> list[Draft]:
    """The user's drafts, newest first."""
    rows = connection.execute(
        text(
            "SELECT draft_id, title, channel_key, channels.name AS channel_name, thumbnail_sha256, viral_score,"
            " predicted_multiple, model_version, created_at"
            " FROM drafts LEFT JOIN channels USING (channel_key)"
            " ORDER BY created_at DESC, draft_id DESC LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [Draft(**row) for row in rows.mappings()]


def delete_draft(connection: Connection, draft_id: int) -> bool:
    """Delete a draft and its uploads; False if the user has no such draft."""
    return _delete(connection, "drafts", "draft_id", draft_id)


def save_query(
    connection: Connection, topic: str, vibe: str, generator: str, concepts: Sequence[Mapping[str, Any]]
) -> int:
    """Keep a request with its concepts (each with `evidence` and `viral_score`), best first; returns its id."""
    remember_user(connection)
    query_id: int = connection.execute(
        text(
            "INSERT INTO queries (user_id, topic, vibe, generator)"
            " VALUES (current_user_id(), :topic, :vibe, :generator) RETURNING query_id"
        ),
        {"topic": topic, "vibe": vibe, "generator": generator},
    ).scalar_one()
    for position, concept in enumerate(concepts, start=1):
        connection.execute(
            text(
                "INSERT INTO concepts (query_id, position, concept, evidence, viral_score)"
                " VALUES (:query_id, :position, CAST(:concept AS jsonb), :evidence, :score)"
            ),
            {
                "query_id": query_id,
                "position": position,
                "concept": json.dumps(concept),
                "evidence": list(concept["evidence"]),
                "score": concept["viral_score"],
            },
        )
    return query_id


def queries(connection: Connection, limit: int = 20) -> list[SavedQuery]:
    """The user's requests for concepts, newest first."""
    rows = connection.execute(
        text(
            "SELECT query_id, topic, vibe, generator, asked_at,"
            " array(SELECT concept->>'title' FROM concepts WHERE concepts.query_id = queries.query_id ORDER BY position)"
            " AS titles"
            " FROM queries ORDER BY asked_at DESC, query_id DESC LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [SavedQuery(**{**row, "titles": tuple(row["titles"])}) for row in rows.mappings()]


def concepts(connection: Connection, query_id: int) -> list[dict[str, Any]]:
    """The concepts of one of the user's requests as they were saved, best first; empty if it is not theirs."""
    return list(
        connection.scalars(
            text("SELECT concept FROM concepts WHERE query_id = :query_id ORDER BY position"), {"query_id": query_id}
        )
    )


def delete_query(connection: Connection, query_id: int) -> bool:
    """Delete a request and its concepts; False if the user has no such request."""
    return _delete(connection, "queries", "query_id", query_id)


def _delete(connection: Connection, table: str, key: str, value: int) -> bool:
    return connection.execute(text(f"DELETE FROM {table} WHERE {key} = :value"), {"value": value}).rowcount > 0


def remember_user(connection: Connection) -> None:
    """The user's row, made when it is first needed. Raises MilesError if the transaction is nobody's."""
    if connection.scalar(text("SELECT current_user_id()")) is None:
        raise MilesError("Nothing can be saved without a user. Set MILES_USER, or log in.")
    connection.execute(text("INSERT INTO users (user_id) VALUES (current_user_id()) ON CONFLICT DO NOTHING"))
