"""Drafts and saved concepts: kept for their owner, invisible and untouchable for everyone else."""

import pytest
from sqlalchemy import text

from miles import db, drafts
from miles.errors import MilesError

CONCEPT = {"title": "A title", "hook": "A hook", "evidence": ["youtube:a", "youtube:b"], "viral_score": 0.4}


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


def test_a_draft_comes_back_as_it_was_saved():
    upload = drafts.Upload("a" * 64, "image/webp", 1234)
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(
            connection, "  My title ", viral_score=0.25, predicted_multiple=1.5, model_version="1", upload=upload
        )
    with db.transaction("viewer", "ada") as connection:
        (draft,) = drafts.drafts(connection)
        size = connection.scalar(text("SELECT bytes FROM uploads WHERE draft_id = :id"), {"id": draft.draft_id})
    assert (draft.title, draft.viral_score, draft.predicted_multiple) == ("My title", 0.25, 1.5)
    assert draft.thumbnail_sha256 == "a" * 64
    assert size == 1234


def test_the_newest_draft_comes_first():
    for title in ("first", "second", "third"):
        with db.transaction("viewer", "ada") as connection:
            drafts.save_draft(connection, title)
    with db.transaction("viewer", "ada") as connection:
        assert [draft.title for draft in drafts.drafts(connection, limit=2)] == ["third", "second"]


@pytest.mark.parametrize("title", ["", "   ", "\x00"])
def test_a_draft_without_a_title_is_refused(title: str):
    with pytest.raises(MilesError, match="needs a title"), db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, title)


@pytest.mark.parametrize("title", ["x" * 50_000, "🎬" * 400, "a\x00b", "مقلب مضحك", "'; DROP TABLE drafts; --"])
def test_any_text_can_be_a_title(title: str):
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, title)
        (draft,) = drafts.drafts(connection)
    assert draft.title == title.replace("\x00", "")[:1000]


def test_nobody_sees_or_deletes_the_drafts_of_another():
    with db.transaction("viewer", "ada") as connection:
        draft_id = drafts.save_draft(connection, "Ada's")
    with db.transaction("viewer", "eve") as connection:
        assert drafts.drafts(connection) == []
        assert drafts.delete_draft(connection, draft_id) is False
    with db.transaction("viewer", "ada") as connection:
        assert drafts.delete_draft(connection, draft_id) is True
        assert drafts.drafts(connection) == []


def test_without_a_user_nothing_is_saved():
    with pytest.raises(MilesError, match="without a user"), db.transaction("viewer") as connection:
        drafts.save_draft(connection, "Nobody's")
    with pytest.raises(MilesError, match="without a user"), db.transaction("viewer") as connection:
        drafts.save_query(connection, "cats", "calm", "offline", [CONCEPT])


def test_a_query_keeps_its_concepts_in_order():
    with db.transaction("viewer", "ada") as connection:
        query_id = drafts.save_query(
            connection, "cats", "calm", "offline", [CONCEPT, {**CONCEPT, "title": "Another", "viral_score": 0.2}]
        )
    with db.transaction("viewer", "ada") as connection:
        (query,) = drafts.queries(connection)
        assert (query.topic, query.vibe, query.generator) == ("cats", "calm", "offline")
        assert query.titles == ("A title", "Another")
        assert drafts.concepts(connection, query_id)[0] == CONCEPT


def test_nobody_sees_or_deletes_the_queries_of_another():
    with db.transaction("viewer", "ada") as connection:
        query_id = drafts.save_query(connection, "cats", "calm", "offline", [CONCEPT])
    with db.transaction("viewer", "eve") as connection:
        assert drafts.queries(connection) == []
        assert drafts.concepts(connection, query_id) == []
        assert drafts.delete_query(connection, query_id) is False
    with db.transaction("viewer", "ada") as connection:
        assert drafts.delete_query(connection, query_id) is True
        assert drafts.concepts(connection, query_id) == []
