"""Niches: one person's own, and no more than they need."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from miles import db, niches
from miles.errors import MilesError


@pytest.fixture(autouse=True)
def migrated(database: str) -> None:
    db.ready()


def test_a_niche_is_its_owners_alone() -> None:
    with db.transaction("viewer", "ada") as connection:
        kept = niches.save(connection, "  Ramen ", "q=ramen&within=7+days")
    with db.transaction("viewer", "bob") as connection:
        niches.save(connection, "Ramen", "q=noodles", pinned=False)
        assert [niche.address for niche in niches.niches(connection)] == ["q=noodles"]
        assert not niches.pin(connection, kept, False)
        assert not niches.delete(connection, kept)
    with db.transaction("viewer") as connection:
        assert niches.niches(connection) == []
    with db.transaction("viewer", "ada") as connection:
        assert niches.niches(connection) == [niches.Niche(kept, "Ramen", "q=ramen&within=7+days", True)]
    for role in ("operator", "worker"):
        with pytest.raises(ProgrammingError, match="permission denied"), db.transaction(role, "ada") as connection:
            connection.execute(text("SELECT * FROM niches"))


def test_a_name_is_used_once_and_the_newer_filter_stands() -> None:
    with db.transaction("viewer", "ada") as connection:
        first = niches.save(connection, "Ramen", "q=ramen")
        assert niches.save(connection, "Ramen", "q=soup", pinned=False) == first
        assert [(niche.address, niche.pinned) for niche in niches.niches(connection)] == [("q=soup", False)]
        assert niches.pin(connection, first, True)
        assert [niche.pinned for niche in niches.niches(connection)] == [True]
        assert niches.delete(connection, first)
        assert niches.niches(connection) == []


@pytest.mark.parametrize(
    ("name", "address", "message"),
    [
        (" \x00 ", "q=ramen", "needs a name"),
        ("Ramen", "", "nothing to save"),
        ("Ramen", "q=" + "x" * 4000, "too long"),
    ],
)
def test_what_cannot_be_kept_says_why(name: str, address: str, message: str) -> None:
    with pytest.raises(MilesError, match=message), db.transaction("viewer", "ada") as connection:
        niches.save(connection, name, address)


def test_nobody_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niches, "MOST", 2)
    with pytest.raises(MilesError, match="without a user"), db.transaction("viewer") as connection:
        niches.save(connection, "Ramen", "q=ramen")
    with db.transaction("viewer", "ada") as connection:
        niches.save(connection, "One", "q=1")
        niches.save(connection, "Two", "q=2")
        niches.save(connection, "Two", "q=22")  # in place of the other is no more
        with pytest.raises(MilesError, match="already"):
            niches.save(connection, "Three", "q=3")
