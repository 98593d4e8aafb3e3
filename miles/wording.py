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
# Words that stand before a common noun, and those that stand before any noun: what follows one is no verb.
ARTICLES = frozenset(
    ["a", "an", "the", "my", "your", "his", "her", "our", "their", "this", "these", "those", "every", "each"]
)
LEADS = ARTICLES | frozenset(
    [
        "that",
        "no",
        "with",
        "without",
        "of",
        "from",
        "at",
        "on",
        "in",
        "by",
        "and",
        "vs",
        "el",
        "la",
        "los",
        "las",
        "un",
        "una",
        "en",
        "de",
        "con",
        "der",
        "die",
        "das",
        "ein",
        "eine",
        "mit",
        "im",
        "le",
        "les",
        "des",
        "du",
        "dans",
        "avec",
        "o",
        "os",
        "as",
        "um",
        "uma",
        "no",
        "na",
        "com",
        "il",
        "lo",
        "gli",
        "di",
        "con",
    ]
)
# Words that stand before a name without being part of it.
ANY_BEFORE = ARTICLES | frozenset(
    ["and", "vs", "v", "x", "ft", "feat", "with", "without", "in", "at", "from", "by", "on"]
)
_IRREGULAR = {
    **{f"{word}s": word for word in (
        "movie", "cookie", "zombie", "selfie", "brownie", "smoothie", "veggie", "hoodie", "pie", "tie", "genie", "rookie",
        "newbie", "calorie", "birdie", "foodie", "shoe", "toe", "canoe", "house", "horse", "nurse", "cause", "rose",
        "nose", "dose", "purse", "case", "base", "vase", "phase", "phrase", "exercise", "bruise", "cruise", "cheese",
        "sauce", "piece", "space", "place", "face", "race", "dance", "fence", "axe", "ache", "cache", "size", "prize", "maze",
    )},
    "people": "person", "men": "man", "women": "woman", "children": "child", "kids": "kid", "feet": "foot",
    "teeth": "tooth", "mice": "mouse", "knives": "knife", "wives": "wife", "leaves": "leaf", "wolves": "wolf",
    "potatoes": "potato", "tomatoes": "tomato", "heroes": "hero",
}  # fmt: skip
_NO_PLURALS = frozenset(
    [
        "series",
        "species",
        "news",
        "lens",
        "texas",
        "mars",
        "chaos",
        "always",
        "yes",
        "this",
        "his",
        "was",
        "has",
        "does",
        "hers",
        "bias",
        "atlas",
        "gas",
        "bus",
        "plus",
        "minus",
        "pancreas",
        "christmas",
        "canvas",
        "is",
        "las",
        "los",
        "mas",
        "más",
        "des",
        "les",
        "das",
    ]
)
_NO_VERBS = frozenset(
    [
        "king",
        "ring",
        "thing",
        "spring",
        "string",
        "wing",
        "pudding",
        "building",
        "wedding",
        "evening",
        "morning",
        "ceiling",
        "clothing",
        "painting",
        "drawing",
        "bread",
        "seed",
        "speed",
        "weed",
        "breed",
        "need",
        "shed",
        "sled",
        "family",
        "italy",
        "belly",
        "jelly",
        "fly",
        "ally",
        "july",
        "assembly",
        "butterfly",
        "anomaly",
        "monopoly",
        "kindred",
        "hundred",
    ]
)
PROMPTS = Path(__file__).parent / "prompts"
_CAPITAL_WITHIN = re.compile(r"[^\W\d_A-Z][A-Z]\w*")  # as in iPhone
_CONTRACTED = re.compile(r"\w'(?:t|m|re|ve|ll|d)\b|'s$")  # as in don't, I'm, and in what belongs to somebody


def one_line(value: str, longest: int) -> str:
    """Text on one line without control characters and direction overrides, cut to a length."""
    printable = "".join(
        " " if not letter.isprintable() and letter not in "\u200d\ufe0f" else letter for letter in value
    )
    return (candidates.text(" ".join(printable.split()), longest) or "").strip()


def words(value: str) -> list[str]:
    return re.findall(r"\w+", value.translate(patterns.APOSTROPHES).replace("'", "").casefold())


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


def alike(one: str, other: str, limit: float = NEAR_COPY) -> bool:
    """Whether `similarity` reaches a limit, told fast where it clearly does not."""
    a, b = words(one), words(other)
    if a and b and len(set(a) & set(b)) < limit * len(set(a) | set(b)):
        matcher = SequenceMatcher(None, " ".join(a), " ".join(b), autojunk=False)
        if matcher.real_quick_ratio() < limit or matcher.quick_ratio() < limit:
            return False
    return similarity(one, other) >= limit


def singular(word: str) -> str:
    """An English word without its plural ending; other words as they are, or without an s that they don't miss."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.isascii() or word in _NO_PLURALS or word.endswith(("ss", "us", "is", "ics")):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "xes", "sses", "zzes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def plural(phrase: str) -> bool:
    """Whether the last word of an English phrase names several: "street dogs"."""
    said = words(phrase)
    return bool(said) and singular(said[-1]) != said[-1]


def attribute(phrase: str) -> str:
    """A phrase as it stands before a noun: "dogs" in "dog mistakes"."""
    head, space, last = phrase.rpartition(" ")
    one = singular(last.casefold())
    if one == last.casefold() or last.casefold() in ("people", "men", "women", "children"):
        return phrase
    return f"{head}{space}{last[: len(one)] if last.casefold().startswith(one) else one}"


def verbal(phrase: str) -> bool:
    """Whether the last word of a phrase looks like a verb form or an adverb of English: "cooking", "turned", "slowly"."""
    last = (words(phrase) or [""])[-1]
    return len(last) >= 5 and last.endswith(("ing", "ed", "ly")) and last not in _NO_VERBS


def contracted(phrase: str) -> bool:
    """Whether a phrase is part of a sentence or wants a word behind it, and so names no thing: "don't blink", "world's"."""
    return _CONTRACTED.search(phrase.translate(patterns.APOSTROPHES).casefold()) is not None


def short(title: str) -> str:
    return title if len(title) <= 70 else title[:69].rstrip() + "…"


def upper_first(value: str) -> str:
    """With a capital at the beginning; a name that begins small on purpose stays: "iPhone", "eFootball"."""
    return value if _CAPITAL_WITHIN.match(value) else value[:1].upper() + value[1:]


def in_title_case(titles: Iterable[str]) -> bool:
    """Whether titles Mostly Look Like This."""
    words = [word for title in titles for word in re.findall(r"[^\W\d_]{4,}", title) if not word.isupper()]
    return sum(word[0].isupper() for word in words) > 0.7 * len(words)


def capital_within(phrase: str) -> bool:
    """Whether a word has a capital behind a small letter, as names do: "iPhone", "YouTube"."""
    return any(re.search(r"[a-zß-ÿ][A-Z]", word) for word in phrase.split())


def title_case(title: str) -> str:
    """Capitals as Titles Have Them; what holds a capital already stays as it is."""
    words = title.split(" ")
    return " ".join(
        word
        if (word in SMALL and place) or _CAPITAL_WITHIN.match(word)
        else re.sub(r"[^\W\d_]", lambda first: first[0].upper(), word, count=1)
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
