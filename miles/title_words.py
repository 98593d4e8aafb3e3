"""The words of all titles with the places where they stand: which titles have the words of a search.

The roll-up `sync` keeps the table `title_words`, a row for each word; `load` reads it whole, and `Words.titles` finds the
titles that the candidates' full-text index would find. Words are folded by the database, as for that index. Knows the
numbers of videos in `facts`, and nothing about who asks.
"""

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from miles import db
from miles.searching import Term
from miles.store import run
from miles.strings import Strings, in_order

ROLLUP = "title_words"  # in `rollups`: up to which number titles are in, and how many they are
PLACES = 1 << 16  # more than a title has: positions end at 16,383
READ_AT_ONCE = 50_000  # words; the server makes at most a gigabyte of their places

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


# --- in memory --------------------------------------------------------------------------------------

# What the database cuts at its spaces, and folds to small letters alone.
_PLAIN = re.compile(r"[a-zA-Z]+(?: [a-zA-Z]+)*")
_CUT = """
SELECT term, lexeme, place FROM unnest(%s::text[]) WITH ORDINALITY AS asked (words, term),
    unnest(to_tsvector('simple', search_text(words))) AS parts (lexeme, positions, weights), unnest(positions) AS place
ORDER BY term, place
"""
_READ = f"""
SELECT {in_order("word")},
    string_agg(int4send(octet_length(places)), '' ORDER BY word), string_agg(places, '' ORDER BY word), max(word)
FROM (SELECT word, places FROM title_words WHERE word > %s ORDER BY word LIMIT %s) AS next_words
"""

Cut = tuple[tuple[str, int], ...]  # the words of a term, folded, each with its place in the term, from 0 on


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """All words of the titles up to a number."""

    upto: int
    words: Strings  # ascending by code point
    places: np.ndarray  # of all words, one after the other: int64, big-endian, number * PLACES + place in the title
    ends: np.ndarray  # (words + 1,) int64: those of word n are from ends[n] to ends[n + 1]

    def titles(self, cut: Cut, *, begins: bool) -> np.ndarray:
        """int64: the numbers of the titles that have these words side by side, maybe several times; the last may go on."""
        last = cut[-1][1]
        where = [self._places(word, goes_on=begins and place == last) - place for word, place in cut]  # where it begins
        found, *others = sorted(where, key=len)  # from the rarest word on
        for other in others:
            found = found[_are_in(found, np.sort(other))]
        return found // PLACES

    def _places(self, word: str, *, goes_on: bool) -> np.ndarray:
        first = bisect.bisect_left(self.words, word)
        # what begins so lies between the beginning and the same with the last of all letters behind it
        past = bisect.bisect_right(self.words, word + "\U0010ffff" * goes_on, lo=first)
        return self.places[self.ends[first] : self.ends[past]].astype(np.int64)


def _are_in(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """(values,) bool: which are among the others; without sorting all of them together, as `np.isin` does."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    return ascending[np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)] == values


def load(connection: Connection) -> Words:
    """Read all words."""
    upto, _ = _state(connection)  # first: what comes in meanwhile does no harm
    parts: list[tuple[bytes, ...]] = []
    with db.psycopg_connection(connection).cursor(binary=True) as cursor:
        newest: str | None = ""
        while newest is not None:
            cursor.execute(_READ.encode(), (newest, READ_AT_ONCE))
            [(*sent, newest)] = cursor.fetchall()
            parts.append(tuple(bytes(one or b"") for one in sent))
    lengths, words, sizes, places = (b"".join(several) for several in zip(*parts, strict=True))
    many = np.frombuffer(sizes, dtype=">i4").astype(np.int64) // 8
    return Words(
        upto=upto,
        words=Strings(lengths, words),
        places=np.frombuffer(places, dtype=">i8"),
        ends=np.concatenate([[0], np.cumsum(many)]),
    )


def cut(connection: Connection, terms: Iterable[Term]) -> dict[Term, Cut]:
    """The words of each term, folded; terms of signs alone, which say nothing, are left out."""
    found: dict[Term, Cut] = {}
    others: list[Term] = []
    first: dict[int, int] = {}
    for term in terms:
        if _PLAIN.fullmatch(term.words):
            found[term] = tuple((word, place) for place, word in enumerate(term.words.lower().split(" ")))
        else:
            others.append(term)
    if others:
        for number, word, place in connection.exec_driver_sql(_CUT, ([term.words for term in others],)):
            before = found.get(others[number - 1], ())
            found[others[number - 1]] = (*before, (word, place - first.setdefault(number, place)))
    return found
