"""How new a title is: the nearest known title of the whole collection, by meaning and by words.

By meaning: the nearest vector (pgvector), where vectors are kept and the model is here to make one. By words: titles
that share all but one of its telling words, found by full text and compared letter by letter. The vectors
say little of scripts other than the Latin one, whose words the encoder mostly does not know; there words alone count. A
title that only rewords a known one is no concept.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from miles import browse, patterns, similar, wording
from miles.concepts import Known

REWORDING = 0.85  # cosine of two titles' vectors from which they say the same; measured, see docs/experiments.md
TELLING = 9  # words of a title that are looked for; the longest, which are the rarest
LOOKED_AT = 60  # titles that share those, of which the most alike is told
WORTH_NAMING = 0.5  # lexical similarity below which no known title is named as the nearest, where there are no vectors


@dataclass(frozen=True, slots=True)
class Newness:
    """A title beside the nearest known one."""

    nearest: Known | None
    likeness: float | None  # cosine of the two titles' vectors; None where no vectors are kept
    same_words: float  # lexical similarity of the known title that is most alike by its words, 0..1

    @property
    def copies(self) -> bool:
        """Whether the title says what a known one says."""
        return self.same_words >= wording.NEAR_COPY or (self.likeness is not None and self.likeness >= REWORDING)


def check(connection: Connection, model: object, titles: Sequence[str]) -> list[Newness]:
    """Each title beside the nearest of all that are known."""
    by_words = _by_words(connection, titles)
    by_meaning = _by_meaning(connection, model, titles)
    answers = []
    for title, alike, near in zip(titles, by_words, by_meaning, strict=True):
        closest = max(alike, key=lambda known: wording.similarity(title, known.title), default=None)
        same = wording.similarity(title, closest.title) if closest else 0.0
        likeness = near[1] if near else None
        if near and same < wording.NEAR_COPY:
            closest = near[0]
        elif same < WORTH_NAMING:
            closest = None
        answers.append(Newness(closest, likeness, same))
    return answers


def asked(title: str) -> str:
    """The search for titles that share all but one of a title's telling words, as to_tsquery reads it. Pure."""
    said = list(dict.fromkeys(re.findall(r"[^\W_]+", title.casefold())))  # "don't" is two words to the index
    telling = [
        word for word in said if word not in patterns.STOP_WORDS and (len(word) > 1 or not word.isascii())
    ] or said
    telling = sorted(telling, key=len, reverse=True)[:TELLING]
    fewest = len(telling) - (len(telling) > 2)
    quoted = [f"'{word}'" for word in telling]
    return " | ".join(f"({' & '.join(some)})" for some in itertools.combinations(quoted, fewest) if some)


def _by_words(connection: Connection, titles: Sequence[str]) -> list[list[Known]]:
    browse.plan_by_index(connection)
    found: list[list[Known]] = [[] for _ in titles]
    rows = connection.execute(
        text("""
            SELECT place, candidate_id, title, url
            FROM unnest(CAST(:queries AS text[])) WITH ORDINALITY AS asked (query, place)
            CROSS JOIN LATERAL (
                SELECT candidate_id, title, url FROM candidates
                WHERE search @@ to_tsquery('simple', search_text(asked.query)) LIMIT :most
            ) AS found
        """),
        {"queries": [asked(title) for title in titles], "most": LOOKED_AT},
    )
    for place, *known in rows:
        found[place - 1].append(Known(*known))
    return found


def _by_meaning(connection: Connection, model: object, titles: Sequence[str]) -> list[tuple[Known, float] | None]:
    """The known title whose vector is nearest to each, with its likeness; None where that can't be told."""
    if not hasattr(model, "embed_titles") or similar.unavailable(connection):
        return [None for _ in titles]
    near = [
        {} if wording.foreign(title) else similar.keys_to_title(connection, model, title, 1)  # type: ignore[arg-type]
        for title in titles
    ]
    rows = connection.execute(
        text("SELECT candidate_id, title, url FROM candidates WHERE candidate_id = ANY(:ids)"),
        {"ids": [key for keys in near for key in keys]},
    )
    known = {row.candidate_id: Known(*row) for row in rows}
    return [next(((known[key], likeness) for key, likeness in keys.items() if key in known), None) for keys in near]
