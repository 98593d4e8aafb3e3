"""Requests for concepts as they are kept: whole, for their owner alone, and without videos that were removed."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import ProgrammingError

from miles import db, drafts, kept, removal, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.concepts import Concept, Known, Recommendation, Request, Usage
from miles.errors import MilesError
from miles.grounding import Backing, Evidence, Lift, Term

NOW = datetime.now(UTC)
LONG = "A title of the night market that is so long that words about it can't hold it whole, not ever"


def backing(key: str, title: str = "") -> Backing:
    return Backing(
        f"youtube:{key}", title or f"Title of {key}", f"https://example.org/{key}", "Cook", "youtube:cook", "Comedy", "en",
        1000, 0.4, 2.0,
    )  # fmt: skip


WINNERS = (backing("aaaaaaaaaaa"), backing("bbbbbbbbbbb", LONG))
TERM = Term("night market", 12, 9, 1.2, (WINNERS[0], backing("ccccccccccc")))
LIFT = Lift("all", "structure", "question", 1.2, 1.1, 1.3, 40)


def concept(title: str, *evidence: str, score: float = 0.4, **changed: object) -> Concept:
    made = Concept(
        title=title,
        hook="A lid is lifted",
        outline=("One stall", "Another “stall”"),
        thumbnail_idea="Steam",
        hashtags=("food", "küche"),
        why="Behind it: “Title of aaaaaaaaaaa”, 2.0× its channel's usual.",
        risk="Somebody was first.",
        evidence=evidence,
        viral_score=score,
        base_rate=0.1,
        predicted_multiple=None,
        nearest=Known("youtube:ddddddddddd", "A near title", None),
        novelty=0.31,
    )
    return replace(made, **changed)  # type: ignore[arg-type]


MADE = Recommendation(
    request=Request("street food", "calm", "youtube", "en", 4),
    concepts=(
        concept("First", "youtube:aaaaaaaaaaa", "youtube:bbbbbbbbbbb"),
        concept("Second", "youtube:ccccccccccc", score=0.3, why="Nothing is quoted.", nearest=None, novelty=None),
        concept("Third", score=0.1, why="“A near title” is near."),
    ),
    generator="scripted-1",
    evidence=Evidence(
        "street food", "topic", WINNERS, (backing("eeeeeeeeeee"),), (LIFT,), (TERM,), (3, 7), 42, "en"
    ),
    note="Based on 42 collected videos.",
    usage=Usage(2, 900, 120, 1.5),
    model_version="m-1",
    prompt_version="7",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


def saved(made: Recommendation = MADE, user: str = "ada", fingerprint: str | None = None) -> Recommendation:
    with db.transaction("viewer", user) as connection:
        return kept.save(connection, made, fingerprint)


def reopened(query_id: int, user: str = "ada") -> Recommendation | None:
    with db.transaction("viewer", user) as connection:
        return kept.recommendation(connection, query_id)


def ids(query_id: int, user: str = "ada") -> list[int]:
    with db.transaction("viewer", user) as connection:
        return [one.concept_id for one in kept.concepts(connection, query_id)]


def test_a_request_opens_again_whole():
    made = saved()
    assert made.asked_at is not None
    assert replace(made, query_id=0, asked_at=None) == MADE
    assert reopened(made.query_id) == made


def test_each_video_of_the_evidence_is_kept_once():
    query_id = saved().query_id
    with db.transaction("viewer", "ada") as connection:
        answer = connection.scalar(text("SELECT answer FROM queries WHERE query_id = :id"), {"id": query_id})
    assert json.dumps(answer).count("Title of aaaaaaaaaaa") == 1  # a winner and a term's example
    assert set(answer["evidence"]["videos"]) == {f"youtube:{letter * 11}" for letter in "abce"}


def test_a_request_without_any_data_opens_again_too():
    made = saved(replace(MADE, evidence=Evidence("x", "nothing", (), (), (), ()), generator="offline"))
    assert reopened(made.query_id) == made


def test_what_an_earlier_version_kept_opens_with_what_there_is():
    with db.transaction("viewer", "ada") as connection:
        drafts.remember_user(connection)
        query_id = connection.scalar(
            text(
                "INSERT INTO queries (user_id, topic, vibe, generator) VALUES ('ada', 'cats', '', 'offline')"
                " RETURNING query_id"
            )
        )
        old = {
            "title": "Old", "hook": "h", "outline": ["o"], "thumbnail_idea": "t", "hashtags": [], "why": "w",
            "evidence": ["youtube:aaaaaaaaaaa"], "viral_score": 0.2, "base_rate": 0.1, "unheard of": 1,
        }  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO concepts (query_id, position, concept, evidence, viral_score)"
                " VALUES (:id, 1, CAST(:concept AS jsonb), :evidence, 0.2)"
            ),
            {"id": query_id, "concept": json.dumps(old), "evidence": old["evidence"]},
        )
    made = reopened(query_id)
    assert made is not None
    assert (made.request, made.note, made.evidence.reach) == (Request("cats", number=1), kept.OLDER, "nothing")
    (one,) = made.concepts
    assert (one.title, one.outline, one.risk, one.nearest) == ("Old", ("o",), "", None)


def test_evidence_of_another_shape_leaves_the_concepts_readable():
    query_id = saved().query_id
    with db.transaction("owner") as connection:
        connection.execute(text("""UPDATE queries SET answer = jsonb_set(answer, '{evidence,reach}', '"moon"')"""))
    made = reopened(query_id)
    assert made is not None
    assert made.concepts == MADE.concepts
    assert made.evidence.reach == "nothing"


def test_requests_are_listed_newest_first_with_their_titles():
    first, second = saved().query_id, saved(replace(MADE, request=Request("cats"))).query_id
    with db.transaction("viewer", "ada") as connection:
        kept.star(connection, ids(first)[1])
        listed = kept.requests(connection)
        assert [one.query_id for one in kept.requests(connection, limit=1)] == [second]
    assert [(one.query_id, one.request.topic, one.starred) for one in listed] == [
        (second, "cats", 0),
        (first, "street food", 1),
    ]
    assert listed[1].titles == ("First", "Second", "Third")
    assert listed[1].request == MADE.request


def test_a_starred_concept_is_listed_until_its_star_is_taken_away():
    first, second, _ = ids(saved().query_id)
    with db.transaction("viewer", "ada") as connection:
        assert kept.star(connection, first)
    with db.transaction("viewer", "ada") as connection:
        assert kept.star(connection, second)
        assert kept.star(connection, first)  # again: it stays where it is
        assert [one.concept_id for one in kept.starred(connection)] == [second, first]
        assert kept.star(connection, second, on=False)
        (one,) = kept.starred(connection)
    assert (one.concept, one.starred) == (MADE.concepts[0], True)


def test_a_deleted_concept_is_gone_and_the_last_one_takes_its_request_along():
    query_id = saved().query_id
    first, second, third = ids(query_id)
    with db.transaction("viewer", "ada") as connection:
        assert kept.delete_concept(connection, second)
        assert not kept.delete_concept(connection, second)
    made = reopened(query_id)
    assert made is not None
    assert [one.title for one in made.concepts] == ["First", "Third"]
    with db.transaction("viewer", "ada") as connection:
        kept.delete_concept(connection, first)
        kept.delete_concept(connection, third)
    assert reopened(query_id) is None


def test_an_answer_is_found_again_by_its_fingerprint_for_as_long_as_it_is_asked_for():
    made = saved(fingerprint="f")
    with db.transaction("viewer", "ada") as connection:
        assert kept.same(connection, "f", NOW - timedelta(days=1)) == replace(made, cached=True)
        assert kept.same(connection, "g", NOW - timedelta(days=1)) is None
        assert kept.same(connection, "f", datetime.now(UTC) + timedelta(minutes=1)) is None
    newer = saved(fingerprint="f")
    with db.transaction("viewer", "ada") as connection:
        assert kept.same(connection, "f", NOW - timedelta(days=1)) == replace(newer, cached=True)
        kept.delete_concept(connection, ids(newer.query_id)[0])  # it is not whole any more
        assert kept.same(connection, "f", NOW - timedelta(days=1)) == replace(made, cached=True)


def test_nobody_sees_stars_or_deletes_what_another_asked_for():
    query_id = saved(fingerprint="f").query_id
    first, *_ = ids(query_id)
    with db.transaction("viewer", "eve") as connection:
        assert kept.recommendation(connection, query_id) is None
        assert kept.concepts(connection, query_id) == []
        assert kept.concept(connection, first) is None
        assert kept.requests(connection) == []
        assert kept.same(connection, "f", NOW - timedelta(days=1)) is None
        assert kept.star(connection, first) is False
        assert kept.delete_concept(connection, first) is False
        assert kept.delete(connection, query_id) is False
    with db.transaction("viewer", "ada") as connection:
        assert kept.starred(connection) == []
        assert kept.delete(connection, query_id) is True
    assert reopened(query_id) is None


def test_without_a_user_nothing_is_kept():
    with pytest.raises(MilesError, match="without a user"), db.transaction("viewer") as connection:
        kept.save(connection, MADE)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE concepts SET viral_score = 0.9",
        "UPDATE concepts SET concept = '{}'",
        "UPDATE queries SET asked_at = now()",
        "UPDATE queries SET answer = NULL",
    ],
)
def test_what_was_answered_cannot_be_rewritten(statement: str):
    saved()
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction("viewer", "ada") as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("role", ["operator", "worker"])
def test_nobody_but_a_viewer_reads_requests(role: db.Role):
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction(role, "ada") as connection:
        connection.execute(text("SELECT * FROM queries"))


# --- what is removed --------------------------------------------------------------------------------


def remove(key: str) -> None:
    with db.transaction("worker") as connection:
        seen = Candidate(
            "youtube", key, f"Title of {key}", url=f"https://example.org/{key}", channel=Channel("youtube", "cook")
        )
        store.observe(connection, [Observation(seen, Snapshot(NOW, views=10))])
        found = removal.find(connection, f"youtube:{key}")
    removal.remove(found, "ada", None)


def test_a_removed_video_leaves_evidence_backing_and_words():
    query_id = saved().query_id
    remove("aaaaaaaaaaa")
    made = reopened(query_id)
    assert made is not None
    assert made.evidence.winners == (WINNERS[1],)
    assert made.evidence.terms[0].examples == (TERM.examples[1],)
    assert made.evidence.patterns == (LIFT,)
    assert made.concepts[0].evidence == ("youtube:bbbbbbbbbbb",)
    assert made.concepts[0].why == "Behind it: “…”, 2.0× its channel's usual."
    assert made.concepts[1:] == MADE.concepts[1:]
    with db.transaction("owner") as connection:
        for table in ("queries", "concepts"):
            held = " ".join(connection.scalars(text(f"SELECT to_jsonb({table})::text FROM {table}")))
            assert "aaaaaaaaaaa" not in held


def test_a_removed_video_whose_long_title_was_quoted_short_leaves_no_trace_of_it():
    quoted = replace(MADE, concepts=(concept("One", "youtube:bbbbbbbbbbb", why=f"Like “{LONG[:69].rstrip()}…”."),))
    query_id = saved(quoted).query_id
    remove("bbbbbbbbbbb")
    made = reopened(query_id)
    assert made is not None
    assert made.concepts[0].why == "Like “…”."


def test_a_removed_video_is_nobodys_nearest_title():
    query_id = saved().query_id
    remove("ddddddddddd")
    made = reopened(query_id)
    assert made is not None
    assert [one.nearest for one in made.concepts] == [None, None, None]
    assert made.concepts[2].why == "“…” is near."
    assert made.concepts[0].why == MADE.concepts[0].why


# --- a concept becomes a draft ----------------------------------------------------------------------


def test_a_draft_remembers_the_concept_that_it_began_with():
    made = saved()
    first, *_ = ids(made.query_id)
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, "Of my own")
        drafts.save_draft(connection, "First, edited", concept_id=first)
        offline = saved(replace(MADE, generator="offline"))
        drafts.save_draft(connection, "Of another", concept_id=ids(offline.query_id)[0])
        found = drafts.drafts(connection)
        (of_request,) = drafts.drafts(connection, query_id=made.query_id)
    assert [(one.title, one.origin, one.query_id) for one in found] == [
        ("Of another", "offline", offline.query_id),
        ("First, edited", "language model", made.query_id),
        ("Of my own", "own", None),
    ]
    assert (of_request.title, of_request.concept_id) == ("First, edited", first)


def test_a_draft_stays_and_keeps_its_origin_when_its_concept_is_deleted():
    made = saved()
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, "Draft", concept_id=ids(made.query_id)[0])
        kept.delete(connection, made.query_id)
        (draft,) = drafts.drafts(connection)
    assert (draft.concept_id, draft.query_id, draft.origin) == (None, None, "language model")


def test_nobody_begins_a_draft_with_the_concept_of_another():
    first, *_ = ids(saved().query_id)
    with db.transaction("viewer", "eve") as connection:
        drafts.save_draft(connection, "Eve's", concept_id=first)
        assert [(one.concept_id, one.origin) for one in drafts.drafts(connection)] == [(None, "own")]
    with pytest.raises(ProgrammingError, match="row-level security"), db.transaction("viewer", "eve") as connection:
        connection.execute(
            text("INSERT INTO drafts (user_id, title, concept_id, origin) VALUES ('eve', 'x', :id, 'offline')"),
            {"id": first},
        )


def test_a_draft_that_foretells_what_its_concept_did_counts_from_then_on():
    made = saved()
    with db.transaction("owner") as connection:
        connection.execute(text("UPDATE queries SET asked_at = now() - interval '3 days'"))
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, "Then", concept_id=ids(made.query_id)[0], foretold_with_it=True)
        drafts.save_draft(connection, "Now", concept_id=ids(made.query_id)[0])
        drafts.save_draft(connection, "Nobody's", foretold_with_it=True)  # no concept: now
        by_title = {one.title: one for one in drafts.drafts(connection)}
    assert by_title["Then"].created_at < NOW - timedelta(days=2)
    assert by_title["Now"].created_at > NOW - timedelta(days=2)
    assert by_title["Nobody's"].created_at > NOW - timedelta(days=2)


def test_what_one_user_keeps_is_found_by_indexes_among_that_of_many():
    made = saved(fingerprint="f")
    first, *_ = ids(made.query_id)
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, "Draft", concept_id=first)
    with db.transaction("owner") as connection:
        for statement in (
            "INSERT INTO users (user_id) SELECT 'user ' || n FROM generate_series(1, 50) AS n",
            "INSERT INTO queries (user_id, topic, vibe, generator, asked_at, fingerprint, made) SELECT 'user ' || 1 + n % 50, 't', '',"
            " 'offline', now() - n * interval '1 minute', 'f' || n, 3 FROM generate_series(1, 10000) AS n",
            "INSERT INTO concepts (query_id, position, concept, evidence, viral_score, starred_at)"
            " SELECT query_id, n, jsonb_build_object('title', 'x'), '{youtube:x}', 0.1,"
            " CASE WHEN n = 4 AND query_id % 50 = 0 THEN now() END FROM queries, generate_series(4, 6) AS n"
            " WHERE user_id <> 'ada'",
            "INSERT INTO drafts (user_id, title, created_at) SELECT 'user ' || 1 + n % 50, 't', now() - n * interval '1 minute'"
            " FROM generate_series(1, 10000) AS n",
            "ANALYZE queries, concepts, drafts",
        ):
            connection.execute(text(statement))
    sent: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        sent.append((statement, parameters))

    with db.transaction("viewer", "ada") as connection:
        event.listen(connection, "before_cursor_execute", note)
        kept.recommendation(connection, made.query_id)
        kept.same(connection, "f", NOW - timedelta(days=1))
        kept.requests(connection)
        kept.starred(connection)
        kept.concept(connection, first)
        drafts.drafts(connection, query_id=made.query_id)
        event.remove(connection, "before_cursor_execute", note)
        assert len(sent) > 6
        for statement, parameters in sent:
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))
            assert not re.search(r"Seq Scan on (queries|concepts|drafts)", plan), f"{statement}\n{plan}"
