"""Niches: filters that a person keeps under a name, and sees on Home if they are pinned.

Every function takes a connection of `transaction("viewer", user_id)`. Row-level security decides whose niches there
are; nothing here filters by user, so nothing here can forget to.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from miles import drafts
from miles.candidates import text as cleaned
from miles.errors import MilesError

LONGEST_NAME = 80  # characters
MOST = 100  # of one person; a list that is longer is no help


@dataclass(frozen=True, slots=True)
class Niche:
    """A filter with a name."""

    niche_id: int
    name: str
    address: str  # the filter as `addresses` writes it
    pinned: bool  # shown on Home


def niches(connection: Connection) -> list[Niche]:
    """The user's niches by name."""
    found = connection.execute(
        text("SELECT niche_id, name, address, pinned FROM niches ORDER BY lower(name), niche_id")
    )
    return [Niche(**row) for row in found.mappings()]


def save(connection: Connection, name: str, address: str, *, pinned: bool = True) -> int:
    """Keep a filter under a name, in place of the one of that name; returns its id.

    Raises MilesError if there is no name, no filter, or no room.
    """
    called = cleaned(name, LONGEST_NAME)
    if called is None:
        raise MilesError("A niche needs a name. Type one and save again.")
    if not address:
        raise MilesError("There is nothing to save yet. Set a filter or search for words first.")
    if len(address) > 4000:
        raise MilesError("This filter is too long to be kept. Take some of its values out and save again.")
    drafts.remember_user(connection)
    if (connection.scalar(text("SELECT count(*) FROM niches WHERE name <> :name"), {"name": called}) or 0) >= MOST:
        raise MilesError(f"There are {MOST} niches already. Delete one that you don't need and save again.")
    niche_id: int = connection.execute(
        text(
            "INSERT INTO niches (user_id, name, address, pinned) VALUES (current_user_id(), :name, :address, :pinned)"
            " ON CONFLICT (user_id, name) DO UPDATE SET address = excluded.address, pinned = excluded.pinned"
            " RETURNING niche_id"
        ),
        {"name": called, "address": address, "pinned": pinned},
    ).scalar_one()
    return niche_id


def pin(connection: Connection, niche_id: int, pinned: bool) -> bool:
    """Show a niche on Home, or no longer; False if the user has no such niche."""
    changed = connection.execute(
        text("UPDATE niches SET pinned = :pinned WHERE niche_id = :id"), {"pinned": pinned, "id": niche_id}
    )
    return changed.rowcount > 0


def delete(connection: Connection, niche_id: int) -> bool:
    """Forget a niche; False if the user has no such niche."""
    return connection.execute(text("DELETE FROM niches WHERE niche_id = :id"), {"id": niche_id}).rowcount > 0
