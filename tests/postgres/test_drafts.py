"""Drafts: kept for their owner, invisible and untouchable for everyone else."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from miles import db, drafts
from miles.drafts import Foretold
from miles.errors import MilesError


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


FORETOLD = Foretold(0.25, 0.1, 1.5, 14_000.0, 9_000.0, 23_000.0, "1")


def test_a_draft_comes_back_as_it_was_saved():
    upload = drafts.Upload("a" * 64, "image/webp", 1234)
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(
            connection, "  My title ", name=" First  try ", category="Music", duration=42, language="en",
            foretold=FORETOLD, upload=upload,
        )  # fmt: skip
    with db.transaction("viewer", "ada") as connection:
        (draft,) = drafts.drafts(connection)
        size = connection.scalar(text("SELECT bytes FROM uploads WHERE draft_id = :id"), {"id": draft.draft_id})
    assert (draft.title, draft.name, draft.category, draft.duration, draft.language) == (
        "My title", "First try", "Music", 42, "en",
    )  # fmt: skip
    assert (draft.viral_score, draft.base_rate, draft.predicted_multiple) == (0.25, 0.1, 1.5)
    assert (draft.predicted_views, draft.views_low, draft.views_high, draft.model_version) == (
        14_000,
        9_000,
        23_000,
        "1",
    )
    assert draft.thumbnail_sha256 == "a" * 64
    assert size == 1234
    assert (draft.published_url, draft.outcome) == (None, None)


def test_a_draft_is_named_and_the_name_taken_away():
    with db.transaction("viewer", "ada") as connection:
        draft_id = drafts.save_draft(connection, "Ada's")
        for written, kept in ((" The   one ", "The one"), ("x" * 200, "x" * drafts.LONGEST_NAME), ("  ", None)):
            assert drafts.rename_draft(connection, draft_id, written) is True
            assert drafts.drafts(connection)[0].name == kept


def test_nobody_names_or_links_the_draft_of_another():
    with db.transaction("viewer", "ada") as connection:
        draft_id = drafts.save_draft(connection, "Ada's")
    with db.transaction("viewer", "eve") as connection:
        assert drafts.rename_draft(connection, draft_id, "Eve's") is False
        assert drafts.set_link(connection, draft_id, "https://youtu.be/aaaaaaaaaaa") is False
    with db.transaction("viewer", "ada") as connection:
        (draft,) = drafts.drafts(connection)
    assert (draft.name, draft.published_url) == (None, None)


@pytest.mark.parametrize("column", ["viral_score", "views_low", "created_at", "model_version", "thumbnail_sha256"])
def test_what_was_foretold_cannot_be_rewritten(column: str):
    with db.transaction("viewer", "ada") as connection:
        drafts.save_draft(connection, "Ada's", foretold=FORETOLD)
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction("viewer", "ada") as connection:
        connection.execute(text(f"UPDATE drafts SET {column} = NULL"))


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
