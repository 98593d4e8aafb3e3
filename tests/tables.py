"""What stands in the tables of the database at hand, past all rights: what tests look at and set up."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from miles import db, store
from miles.candidates import Observation


def rows(statement: str, **parameters: object) -> list[tuple]:
    with db.transaction("owner") as connection:
        return [tuple(row) for row in connection.execute(text(statement), parameters)]


def change(statement: str, **parameters: object) -> None:
    with db.transaction("owner") as connection:
        connection.execute(text(statement), parameters)


def records(statement: str) -> list[dict[str, Any]]:
    """The rows with their columns' names."""
    with db.transaction("owner") as connection:
        return [dict(row) for row in connection.execute(text(statement)).mappings()]


def put(observations: Sequence[Observation], *, sample: bool = False) -> store.Changes:
    """Keep what was observed, as a collection does."""
    with db.transaction("worker") as connection:
        return store.observe(connection, observations, sample=sample)


@contextmanager
def before(migration: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """The empty database as it was before a migration ("0018_spending"), which is then what `db.migrate` does first."""
    shutil.copytree(db.MIGRATIONS, folder / "before", ignore=lambda _, names: [n for n in names if n >= migration])
    with monkeypatch.context() as patch:
        patch.setattr(db, "MIGRATIONS", folder / "before")
        db.migrate()
        yield
    assert db.migrate()[0] == migration
