"""Which videos' titles have the words of a search, told from a roll-up: each word with the places where it stands.

The same answer as that of the candidates' full-text index, for those who need all of the videos and not a page of them: a
frequent word is one row to read here, and a hundred thousand rows there. Words are cut and folded by the database, as
for that index. Knows the numbers of videos in `facts`, and nothing about who asks.
"""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from miles import searching
from miles.searching import Term
from miles.store import run

ROLLUP = "title_words"  # in `rollups`: up to which number titles are in, and how many they are
PLACES = 1 << 16  # more than a title has: positions end at 16,383

_ADD = f"""
INSERT INTO title_words (word, places)
SELECT lexeme, string_agg(int8send(number::bigint * {PLACES} + place), '')
FROM facts JOIN candidates USING (candidate_id),
    unnest(search) AS parts (lexeme, positions, weights), unnest(positions) AS place
WHERE number > %s GROUP BY lexeme
ON CONFLICT (word) DO UPDATE SET places = title_words.places || excluded.places
"""


# --- the roll-up ------------------------------------------------------------------------------------


def sync(connection: Connection, *, anew: bool = False) -> None:
    """Take in the titles that are new in `facts`.

    Those that are gone stay, as numbers that nobody has, until it is done `anew`, which begins from nothing if there are any.
    """
    upto, taken = _state(connection)
    newest, known = connection.execute(
        text("SELECT coalesce(max(number), 0), count(*) FILTER (WHERE number <= :upto) FROM facts"), {"upto": upto}
    ).one()
    if anew and known < taken:
        run(connection, "DELETE FROM title_words")
        upto, taken = 0, 0
    if newest <= upto:
        return
    connection.exec_driver_sql(_ADD, (upto,))
    connection.execute(
        text(
            "INSERT INTO rollups (name, data, refreshed_at)"
            " SELECT :name, jsonb_build_object('upto', CAST(:newest AS bigint), 'titles', :taken + count(*)), clock_timestamp()"
            " FROM facts WHERE number > :upto"
            " ON CONFLICT (name) DO UPDATE SET data = excluded.data, refreshed_at = excluded.refreshed_at"
        ),
        {"name": ROLLUP, "newest": newest, "taken": taken, "upto": upto},
    )


def _state(connection: Connection) -> tuple[int, int]:
    """Up to which number titles were taken in, and how many; zeros before the first time."""
    found = connection.execute(
        text("SELECT (data->>'upto')::bigint, (data->>'titles')::bigint FROM rollups WHERE name = :name"),
        {"name": ROLLUP},
    ).one_or_none()
    return tuple(found) if found else (0, 0)


# --- the answer -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Words:
    """A term as the database cuts it: one word for each position, counted from the first one."""

    of: Term
    words: tuple[str, ...]
    positions: tuple[int, ...]


def having(connection: Connection, typed: str, place: np.ndarray) -> np.ndarray | None:
    """(videos,) bool: whose titles a search finds; None where not all of their titles are taken in yet.

    `place` is that of `facts.Facts`: the position of each number, -1 where there is no such video.
    """
    if _state(connection)[0] < len(place) - 1:
        return None
    asked = searching.terms(typed)
    videos = int(place.max(initial=-1)) + 1
    cut = _cut(connection, [term for terms in asked for term in terms])
    found = {term: _titles(connection, words, place, videos) for term, words in cut.items()}
    passing = np.ones(videos, dtype=bool)
    for terms in asked:
        told = [~found[term] if term.negated else found[term] for term in terms if term in found]
        if told:  # one that is of signs alone says nothing
            passing &= np.logical_or.reduce(told)
    if found or (asked and all(len(terms) == 1 and terms[0].negated for terms in asked)):
        return passing
    return np.zeros(videos, dtype=bool)  # a search for nothing finds nothing


def _cut(connection: Connection, terms: list[Term]) -> dict[Term, _Words]:
    """The words of each term; terms without any are left out."""
    rows = connection.execute(
        text(
            "SELECT term, lexeme, place FROM unnest(CAST(:terms AS text[])) WITH ORDINALITY AS asked (words, term),"
            " unnest(to_tsvector('simple', search_text(words))) AS parts (lexeme, positions, weights),"
            " unnest(positions) AS place ORDER BY term, place"
        ),
        {"terms": [term.words for term in terms]},
    ).all()
    cut: dict[Term, _Words] = {}
    for number, term in enumerate(terms, start=1):
        mine = [row for row in rows if row.term == number]
        if mine:
            cut[term] = _Words(
                term, tuple(row.lexeme for row in mine), tuple(row.place - mine[0].place for row in mine)
            )
    return cut


def _titles(connection: Connection, words: _Words, place: np.ndarray, videos: int) -> np.ndarray:
    """(videos,) bool: which titles have the words side by side."""
    parts = [
        _places(connection, word, begins=words.of.begins and at == len(words.words) - 1) - position
        for at, (word, position) in enumerate(zip(words.words, words.positions, strict=True))
    ]
    parts.sort(key=len)  # from the rarest word on
    where = parts[0]
    for other in parts[1:]:
        where = where[np.isin(where, other)]
    numbers = where // PLACES
    at = place[numbers[numbers < len(place)]]  # a later one came in since the columns were loaded
    mask = np.zeros(videos, dtype=bool)
    mask[at[at >= 0]] = True
    return mask


def _places(connection: Connection, word: str, *, begins: bool) -> np.ndarray:
    """Where a word stands, or any word that begins so."""
    statement = (
        "SELECT string_agg(places, '') FROM title_words WHERE word ^@ :word"
        if begins
        else "SELECT places FROM title_words WHERE word = :word"
    )
    found = connection.scalar(text(statement), {"word": word})
    return np.frombuffer(bytes(found or b""), dtype=">i8").astype(np.int64)
