"""What stands in the tables of the database at hand, past all rights: what tests look at and set up."""

from collections.abc import Sequence
from typing import Any

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
