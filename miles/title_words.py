"""Which videos' titles have the words of a search, told from a roll-up: each word with the places where it stands.

The same answer as that of the candidates' full-text index: a frequent word is one row to read here, and a hundred
thousand rows there. Words are cut and folded by the database, as
for that index. Knows the numbers of videos in `facts`, and nothing about who asks.
"""

import numpy as np
from sqlalchemy import Connection, text

from miles import facts, searching
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


# What begins so lies between the beginning and the same with the last of all letters behind it.
_WORDS = """
SELECT term, place, (SELECT (data->>'upto')::bigint FROM rollups WHERE name = %s) AS upto,
    CASE WHEN goes_on
        THEN (SELECT string_agg(places, '') FROM title_words WHERE word >= lexeme AND word < lexeme || chr(1114111))
        ELSE (SELECT places FROM title_words WHERE word = lexeme)
    END AS places
FROM (
    SELECT term, lexeme, place, begins AND place = max(place) OVER (PARTITION BY term) AS goes_on
    FROM unnest(%s::text[], %s::boolean[]) WITH ORDINALITY AS asked (words, begins, term),
        unnest(to_tsvector('simple', search_text(words))) AS parts (lexeme, positions, weights), unnest(positions) AS place
) AS cut
ORDER BY term, place
"""


def having(connection: Connection, typed: str, place: np.ndarray) -> np.ndarray | None:
    """(videos,) bool: whose titles a search finds; None where not all of their titles are taken in yet.

    `place` is that of `facts.Facts`: the position of each number, -1 where there is no such video.
    """
    asked = searching.terms(typed)
    begins = _begins(connection, [term for terms in asked for term in terms], upto=len(place) - 1)
    if begins is None:
        return None
    videos = int(place.max(initial=-1)) + 1
    found = {term: _titles(by_word, place, videos) for term, by_word in begins.items()}
    passing = np.ones(videos, dtype=bool)
    for terms in asked:
        told = [~found[term] if term.negated else found[term] for term in terms if term in found]
        if told:  # one that is of signs alone says nothing
            passing &= np.logical_or.reduce(told)
    if found or (asked and all(len(terms) == 1 and terms[0].negated for terms in asked)):
        return passing
    return np.zeros(videos, dtype=bool)  # a search for nothing finds nothing


def _begins(connection: Connection, terms: list[Term], upto: int) -> dict[Term, list[np.ndarray]] | None:
    """For each word of a term the places where the term would begin, going by that word; terms without any are left out.
    None where titles up to this number are not all taken in."""
    asked = (ROLLUP, [term.words for term in terms], [term.begins for term in terms])
    rows = connection.exec_driver_sql(_WORDS, asked)
    begins: dict[Term, list[np.ndarray]] = {}
    first: dict[Term, int] = {}
    for number, position, taken, places in rows:
        if (taken or 0) < upto:
            return None
        term = terms[number - 1]
        stands = np.frombuffer(bytes(places or b""), dtype=">i8").astype(np.int64)
        begins.setdefault(term, []).append(stands - (position - first.setdefault(term, position)))
    return begins


def _titles(by_word: list[np.ndarray], place: np.ndarray, videos: int) -> np.ndarray:
    """(videos,) bool: which titles have the words side by side: where all of them say that the term begins."""
    where, *others = sorted(by_word, key=len)  # from the rarest word on
    for other in others:
        where = where[np.isin(where, other)]
    mask = np.zeros(videos, dtype=bool)
    mask[facts.positions(place, where // PLACES)] = True
    return mask
