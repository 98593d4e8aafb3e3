"""What people type into a search field, as a full-text query: words, "phrases", begin*, one OR other, -not.

Nothing that is typed is an error: a quote that is not closed ends with the text; an OR beside nothing and signs alone
are left out. How letters compare (accents, case, scripts without spaces) is `search_text` in the database.
Pure: makes SQL text and its parameters, asks nothing.
"""

import re
from dataclasses import dataclass

LONGEST = 300  # characters of a search that are read
MOST_TERMS = 24

_PARTS = re.compile(r'(?P<no>-)?(?:"(?P<phrase>[^"]*)(?:"|$)|(?P<word>[^\s"]+))(?P<begin>\*+)?')


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase that a title has, or has not."""

    words: str
    begins: bool = False  # the last word may go on
    negated: bool = False


def clean(typed: str) -> str:
    """Typed text as the database takes it: without NUL and half characters."""
    return typed.replace("\x00", " ").encode("utf-8", "replace").decode().strip()


def terms(typed: str) -> tuple[tuple[Term, ...], ...]:
    """The alternatives of each place: a title must match one of every inner tuple."""
    places: list[tuple[Term, ...]] = []
    alternative = False
    for number, part in enumerate(_PARTS.finditer(clean(typed)[:LONGEST])):
        if number == MOST_TERMS:
            break
        if part["word"] == "OR" and not part["no"]:
            alternative = bool(places)
            continue
        phrase = part["phrase"]
        words = (part["word"].rstrip("*") if phrase is None else phrase).strip()
        begins = part["begin"] is not None if phrase is not None else part["word"].endswith("*")
        if any(letter.isalnum() for letter in words):
            term = Term(words, begins, part["no"] is not None)
            if alternative:
                places[-1] = (*places[-1], term)
            else:
                places.append((term,))
            alternative = False
    return tuple(places)


def condition(typed: str, column: str) -> tuple[str, dict[str, object]]:
    """A search of a tsvector column as a SQL condition, and its parameters. One without a word is never true."""
    values: dict[str, object] = {}
    asked, left_out = [], []
    for place in terms(typed):
        alternatives = []
        for term in place:
            name = f"term_{len(values)}"
            values[name] = term.words
            alternatives.append(f"{'!!' * term.negated}search_term(:{name}, {str(term.begins).lower()})")
        if len(place) == 1 and place[0].negated:
            left_out.append(alternatives[0].removeprefix("!!"))
        else:
            asked.append(f"({' || '.join(alternatives)})")
    if not values:
        return "false", {}
    if not asked:  # what all but some titles have is no search: the index would be read from end to end
        return f"NOT {column} @@ ({' || '.join(left_out)})", values
    return f"{column} @@ ({' && '.join(asked + [f'!!{one}' for one in left_out])})", values
