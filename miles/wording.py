"""Words and titles as text: how alike two are, how they are written, what may stand in one. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path

from miles import candidates, patterns

NEAR_COPY = 0.82  # similarity from which a title only rewords another
# Words without a capital in titles that have them.
SMALL = frozenset(
    {"a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "vs"}
)
PROMPTS = Path(__file__).parent / "prompts"


def one_line(value: str, longest: int) -> str:
    """Text on one line without control characters and direction overrides, cut to a length."""
    printable = "".join(
        " " if not letter.isprintable() and letter not in "\u200d\ufe0f" else letter for letter in value
    )
    return (candidates.text(" ".join(printable.split()), longest) or "").strip()


def words(value: str) -> list[str]:
    return re.findall(r"\w+", value.replace("'", "").replace("’", "").casefold())


def share(wanted: Sequence[str], title: str) -> float:
    """The share of some words that a title has."""
    has = set(words(title))
    return sum(word in has for word in set(wanted)) / (len(set(wanted)) or 1)


def similarity(one: str, other: str) -> float:
    """How much two titles say the same, 0..1: the order of words and punctuation count for little. Pure."""
    a, b = words(one), words(other)
    if not a or not b:
        return float(one.strip() == other.strip())
    together = len(set(a) & set(b)) / len(set(a) | set(b))
    return max(together, SequenceMatcher(None, " ".join(a), " ".join(b), autojunk=False).ratio())


def short(title: str) -> str:
    return title if len(title) <= 70 else title[:69].rstrip() + "…"


def upper_first(value: str) -> str:
    return value[:1].upper() + value[1:]


def in_title_case(titles: Iterable[str]) -> bool:
    """Whether titles Mostly Look Like This."""
    words = [word for title in titles for word in re.findall(r"[^\W\d_]{4,}", title) if not word.isupper()]
    return sum(word[0].isupper() for word in words) > 0.7 * len(words)


def title_case(title: str) -> str:
    """Capitals as Titles Have Them; what holds a capital already stays as it is."""
    words = title.split(" ")
    return " ".join(
        word if word in SMALL and place else re.sub(r"[^\W\d_]", lambda first: first[0].upper(), word, count=1)
        for place, word in enumerate(words)
    )


def foreign(value: str) -> bool:
    """Whether a text is mostly in another script than the Latin one."""
    letters = [letter for letter in value if letter.isalpha()]
    return sum(letter > "\u024f" for letter in letters) * 2 > len(letters)


def cased(surfaces: Counter[str]) -> str:
    """How a word is mostly written by those who do not shout; an acronym of up to three letters stays one."""
    if quiet := next((form for form in surfaces if form.islower()), None):
        return quiet  # a word that anybody writes small is no name
    calm = Counter({form: number for form, number in surfaces.items() if not form.isupper()})
    form = (calm or surfaces).most_common(1)[0][0]
    return " ".join(word.capitalize() if word.isupper() and len(word) > 3 else word for word in form.split())


def hashtags(values: Sequence[str]) -> tuple[str, ...]:
    """Up to six hashtags, joined as platforms want them: no spaces, no signs."""
    tags = ("".join(re.findall(r"\w+", value.casefold()))[:40] for value in values)
    return tuple(dict.fromkeys(tag for tag in tags if tag))[:6]


def has_link(value: str) -> bool:
    return (
        re.search(r"https?:|www\.|\]\(|\b[\w-]+\.(?:com|net|org|io|ly|gg|example)\b", value, re.IGNORECASE) is not None
    )


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    lines = (PROMPTS / "stop_words.txt").read_text(encoding="utf-8").splitlines()
    return patterns.STOP_WORDS.union(word for line in lines if not line.startswith("#") for word in line.split())
