"""Requests for concepts as their owner keeps them: whole, so that one opens again as it was; single concepts starred.

Every function takes a connection of `transaction("viewer", user_id)`; as in `drafts`, row-level security decides whose
rows there are. Of the evidence each video is kept once, under `videos` of the answer and nowhere else but where a concept
names it, so that a video that is removed can be taken out (migration 0019 does).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, text

from miles import drafts
from miles.concepts import Concept, Recommendation, Request, Usage
from miles.grounding import Backing, Evidence

_Kind = TypeVar("_Kind")

OLDER = "Kept by an earlier version of Miles, without its evidence."
UNKNOWN: dict[str, Any] = {
    "risk": "",
    "nearest": None,
    "novelty": None,
    "predicted_multiple": None,
}  # in older concepts


@dataclass(frozen=True, slots=True)
class KeptConcept:
    """A concept of a request that was kept."""

    concept_id: int
    query_id: int
    concept: Concept
    starred: bool


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """A request that was kept, for a list."""

    query_id: int
    request: Request
    generator: str  # the language model's name, or "offline"
    asked_at: datetime
    titles: tuple[str, ...]  # of its concepts, best first
    starred: int  # of its concepts


def save(connection: Connection, made: Recommendation, fingerprint: str | None = None) -> Recommendation:
    """Keep an answer whole; returns it with its number and its moment.

    Requests with the same `fingerprint` would be answered alike. Raises MilesError without a user.
    """
    drafts.remember_user(connection)
    videos: dict[str, Any] = {}
    evidence = _packed(made.evidence, videos)
    answer = {"evidence": {**evidence, "videos": videos}, "note": made.note, "usage": asdict(made.usage)}
    row = connection.execute(
        text(
            "INSERT INTO queries (user_id, topic, vibe, platform, language, number, made, generator, model_version,"
            " prompt_version, answer, fingerprint)"
            " VALUES (current_user_id(), :topic, :vibe, :platform, :language, :number, :made, :generator,"
            " :model_version, :prompt_version, CAST(:answer AS jsonb), :fingerprint) RETURNING query_id, asked_at"
        ),
        {
            **asdict(made.request),
            "made": len(made.concepts),
            "generator": made.generator,
            "model_version": made.model_version,
            "prompt_version": made.prompt_version,
            "answer": json.dumps(answer),
            "fingerprint": fingerprint,
        },
    ).one()
    if made.concepts:
        connection.execute(
            text(
                "INSERT INTO concepts (query_id, position, concept, evidence, viral_score)"
                " VALUES (:query_id, :position, CAST(:concept AS jsonb), :evidence, :score)"
            ),
            [
                {
                    "query_id": row.query_id,
                    "position": position,
                    "concept": json.dumps(asdict(concept)),
                    "evidence": list(concept.evidence),
                    "score": concept.viral_score,
                }
                for position, concept in enumerate(made.concepts, start=1)
            ],
        )
    return replace(made, query_id=row.query_id, asked_at=row.asked_at)


def recommendation(connection: Connection, query_id: int) -> Recommendation | None:
    """One of the user's requests as it was answered, but for concepts that were deleted; None if there is none."""
    row = connection.execute(
        text(
            "SELECT query_id, topic, vibe, platform, language, number, generator, model_version, prompt_version, answer,"
            " asked_at FROM queries WHERE query_id = :query_id"
        ),
        {"query_id": query_id},
    ).one_or_none()
    if row is None:
        return None
    found = tuple(one.concept for one in concepts(connection, query_id))
    answer = row.answer or {}
    return Recommendation(
        request=_request(row, len(found)),
        concepts=found,
        generator=row.generator,
        evidence=_evidence(answer.get("evidence"), row.topic),
        note=answer.get("note", OLDER),
        usage=_known(Usage, answer.get("usage", {})),
        model_version=row.model_version or "",
        query_id=row.query_id,
        asked_at=row.asked_at,
        prompt_version=row.prompt_version,
    )


def same(connection: Connection, fingerprint: str, since: datetime) -> Recommendation | None:
    """The newest answer to a request like it, whole; None where there is none since then, or one of its concepts is gone."""
    query_id = connection.scalar(
        text(
            "SELECT query_id FROM queries WHERE fingerprint = :fingerprint AND asked_at >= :since"
            " AND made = (SELECT count(*) FROM concepts WHERE concepts.query_id = queries.query_id)"
            " ORDER BY asked_at DESC LIMIT 1"
        ),
        {"fingerprint": fingerprint, "since": since},
    )
    found = None if query_id is None else recommendation(connection, query_id)
    return None if found is None else replace(found, cached=True)


def requests(connection: Connection, limit: int = 20) -> list[KeptRequest]:
    """The user's requests, newest first."""
    rows = connection.execute(
        text(
            """
            SELECT query_id, topic, vibe, platform, language, number, generator, asked_at, titles, starred
            FROM (SELECT * FROM queries ORDER BY asked_at DESC, query_id DESC LIMIT :limit) AS latest
            CROSS JOIN LATERAL (
                SELECT coalesce(array_agg(concept->>'title' ORDER BY position), '{}') AS titles, count(starred_at) AS starred
                FROM concepts WHERE concepts.query_id = latest.query_id
            ) AS held
            ORDER BY asked_at DESC, query_id DESC
            """
        ),
        {"limit": limit},
    )
    return [
        KeptRequest(
            row.query_id, _request(row, len(row.titles)), row.generator, row.asked_at, tuple(row.titles), row.starred
        )
        for row in rows
    ]


def concepts(connection: Connection, query_id: int) -> list[KeptConcept]:
    """The concepts of one of the user's requests, best first; empty if it is not theirs."""
    return _concepts(connection, "query_id = :query_id ORDER BY position", {"query_id": query_id})


def concept(connection: Connection, concept_id: int) -> KeptConcept | None:
    """One of the user's concepts; None if there is none."""
    return next(iter(_concepts(connection, "concept_id = :concept_id", {"concept_id": concept_id})), None)


def starred(connection: Connection, limit: int = 50) -> list[KeptConcept]:
    """The user's starred concepts, the one starred last first."""
    return _concepts(
        connection, "starred_at IS NOT NULL ORDER BY starred_at DESC, concept_id DESC LIMIT :limit", {"limit": limit}
    )


def star(connection: Connection, concept_id: int, on: bool = True) -> bool:
    """Star one of the user's concepts, or take its star away; False if there is none."""
    return (
        connection.execute(
            text(
                "UPDATE concepts SET starred_at = CASE WHEN :on THEN coalesce(starred_at, now()) END"
                " WHERE concept_id = :concept_id"
            ),
            {"on": on, "concept_id": concept_id},
        ).rowcount
        > 0
    )


def delete_concept(connection: Connection, concept_id: int) -> bool:
    """Delete one of the user's concepts, with its request if it was the last one; False if there is none."""
    query_id = connection.scalar(
        text("DELETE FROM concepts WHERE concept_id = :concept_id RETURNING query_id"), {"concept_id": concept_id}
    )
    if query_id is None:
        return False
    connection.execute(
        text(
            "DELETE FROM queries WHERE query_id = :query_id"
            " AND NOT EXISTS (SELECT FROM concepts WHERE concepts.query_id = queries.query_id)"
        ),
        {"query_id": query_id},
    )
    return True


def delete(connection: Connection, query_id: int) -> bool:
    """Delete one of the user's requests and its concepts; drafts that began with one stay. False if there is none."""
    return connection.execute(text("DELETE FROM queries WHERE query_id = :id"), {"id": query_id}).rowcount > 0


def _concepts(connection: Connection, which: str, parameters: Mapping[str, Any]) -> list[KeptConcept]:
    rows = connection.execute(
        text(f"SELECT concept_id, query_id, concept, starred_at IS NOT NULL AS starred FROM concepts WHERE {which}"),
        parameters,
    )
    return [
        KeptConcept(row.concept_id, row.query_id, _known(Concept, UNKNOWN | row.concept), row.starred) for row in rows
    ]


def _request(row: Any, made: int) -> Request:
    return Request(row.topic, row.vibe, row.platform, row.language, row.number or max(made, 1))


# --- as JSON ----------------------------------------------------------------------------------------


def _packed(value: Any, videos: dict[str, Any]) -> Any:
    """A value of dataclasses for JSON; of each video its id, and the video itself in `videos`."""
    if isinstance(value, Backing):
        videos[value.candidate_id] = asdict(value)
        return {"video": value.candidate_id}
    if is_dataclass(value):
        return {one.name: _packed(getattr(value, one.name), videos) for one in fields(value)}
    if isinstance(value, tuple | list):
        return [_packed(one, videos) for one in value]
    return value


def _unpacked(value: Any, videos: Mapping[str, Any]) -> Any:
    """The same back; what lists a video that is gone does without it."""
    if isinstance(value, dict):
        if value.keys() == {"video"}:
            return videos.get(value["video"])
        return {name: _unpacked(one, videos) for name, one in value.items()}
    if isinstance(value, list):
        return [unpacked for one in value if (unpacked := _unpacked(one, videos)) is not None]
    return value


def _evidence(packed: Mapping[str, Any] | None, topic: str) -> Evidence:
    none = Evidence(topic, "nothing", (), (), (), ())
    if packed is None:
        return none
    try:
        return _known(Evidence, _unpacked({**packed, "videos": None}, packed["videos"]))
    except ValidationError:  # of another version of Miles; the concepts are what matters
        return none


def _known(kind: type[_Kind], found: Mapping[str, Any]) -> _Kind:
    """A dataclass from what is known of its fields. Raises ValidationError where that is of another shape."""
    names = (one.name for one in fields(kind))  # type: ignore[arg-type]
    adapter = _adapter(kind)  # type: ignore[arg-type]  # a class is hashable
    return adapter.validate_python({name: found[name] for name in names if name in found})


@lru_cache(maxsize=8)
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)
