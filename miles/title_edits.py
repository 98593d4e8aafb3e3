"""Other ways to write a title that keep what it says: shorter, calmer, with its number first. Pure, by rule.

Each rule changes form alone: it takes away what does not name the subject, or moves and rewrites what is there. None adds
a claim. Whether an edit is any better is for the model to say (`lab.suggest`).
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Rule = Literal[
    "without hashtags", "without the part in brackets", "without emojis", "first part alone", "parts the other way round",
    "without capitals throughout", "calmer punctuation", "numbers as digits", "number first", "as a question",
]  # fmt: skip

SHORTEST = 12  # letters and digits that an edit must leave: less names no subject
_SEPARATOR = re.compile(r"\s+[|｜·•–—-]\s+|\s*[|｜]\s*")
_BRACKETED = re.compile(r"\s*(\([^()]*\)|\[[^\[\]]*\]|【[^【】]*】)\s*")
_HASHTAG = re.compile(r"(?:^|\s)#\w+")
_DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), start=2
    )
} | {"twenty": "20", "thirty": "30", "fifty": "50"}
_INVERTS = frozenset((
    "can", "is", "are", "do", "does", "did", "should", "could", "would", "will", "am", "was", "were", "has", "have", "had",
))  # fmt: skip
_ASKS = _INVERTS | {"why", "what", "who", "where", "when", "how", "which"}
_LEAD = re.compile(r"^(?:the|my|our|these|here are(?: the| my)?|this is)\s+(?=(?:top\s+)?\d+\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edit:
    """A title written another way."""

    rule: Rule
    title: str


def edits(title: str) -> list[Edit]:
    """All edits that change the title and leave enough of it, each text once."""
    title = " ".join(title.split())
    seen = {title}
    found = []
    for rule, write in _RULES.items():
        edited = " ".join(write(title).split()).strip(" ,;:|-–—")
        if edited and edited not in seen and sum(letter.isalnum() for letter in edited) >= SHORTEST:
            seen.add(edited)
            found.append(Edit(rule, edited))
    return found


def _without_hashtags(title: str) -> str:
    return _HASHTAG.sub(" ", title)


def _without_brackets(title: str) -> str:
    return _BRACKETED.sub(" ", title)


def _without_emojis(title: str) -> str:
    # what follows an emoji and belongs to it: joiners, skin tones, the mark that asks for colour
    return "".join(
        " " if unicodedata.category(c) in ("So", "Sk") and ord(c) > 0x2000 else c
        for c in title
        if c not in "\u200d\ufe0f\ufe0e"
    )


def _first_part(title: str) -> str:
    return _SEPARATOR.split(title)[0]


def _swapped(title: str) -> str:
    parts = _SEPARATOR.split(title)
    between = _SEPARATOR.search(title)
    return f"{parts[1]}{between[0]}{parts[0]}" if len(parts) == 2 and between else title


def _calm_capitals(title: str) -> str:
    """Words in capitals of 4 letters or more in small ones; shorter ones are mostly abbreviations."""
    words = title.split(" ")
    loud = [word for word in words if _is_loud(word)]
    letters = [letter for letter in title if letter.isalpha()]
    if letters and sum(letter.isupper() for letter in letters) > 0.7 * len(letters) and len(loud) > 1:
        lowered = title.lower()
        first = next((i for i, letter in enumerate(lowered) if letter.isalpha()), 0)
        return re.sub(r"\bi\b", "I", lowered[:first] + lowered[first:].capitalize())
    return " ".join(
        (word.capitalize() if place == 0 else word.lower()) if _is_loud(word) else word
        for place, word in enumerate(words)
    )


def _is_loud(word: str) -> bool:
    return len(word) >= 4 and word.isupper() and sum(letter.isalpha() for letter in word) >= 4


def _calm_punctuation(title: str) -> str:
    title = re.sub(r"[!?]*\?[!?]*", "?", title)
    title = re.sub(r"\.{3,}|…", " ", title)
    return re.sub(r"!+", "", title)


def _digits(title: str) -> str:
    # "one" is often no number ("the one"), and of "three hundred" a rule makes nonsense
    if re.search(r"\b(hundred|thousand|million)\b", title, re.IGNORECASE):
        return title
    return re.sub(
        rf"(?<!-)\b({'|'.join(_DIGITS)})\b(?!-)", lambda found: _DIGITS[found[0].lower()], title, flags=re.IGNORECASE
    )


def _number_first(title: str) -> str:
    return _LEAD.sub("", title)


def _question(title: str) -> str:
    """A question mark where there is a question without one: how-tos and statements ("Why I left") are left alone."""
    words = re.findall(r"[^\W\d_]+", title.lower())
    if title.rstrip()[-1:] in ("?", "!", ".", "…") or len(words) < 3 or words[0] not in _ASKS:
        return title
    asks = words[0] in _INVERTS or words[1] in _INVERTS
    return f"{title}?" if asks else title


_RULES: dict[Rule, Callable[[str], str]] = {
    "without hashtags": _without_hashtags,
    "without the part in brackets": _without_brackets,
    "without emojis": _without_emojis,
    "first part alone": _first_part,
    "parts the other way round": _swapped,
    "without capitals throughout": _calm_capitals,
    "calmer punctuation": _calm_punctuation,
    "numbers as digits": _digits,
    "number first": _number_first,
    "as a question": _question,
}
