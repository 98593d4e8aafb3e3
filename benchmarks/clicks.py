"""What people click: changes of the filters with values that are in the data, and the views that a page offers.

One list for all benchmarks of the dashboard, so that they speak of the same clicks.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from benchmarks.visitor import Value, Visitor

FILTERED = ("trending", "scores", "title_patterns")
BANDS = ("15–30 s", "30–60 s", "1–3 min", "3–10 min", "10–60 min")
ROUND = 17  # clicks that `filters` makes of one draw
FORMS = ("Number", "Question", "Emoji", "Quotation marks", "Hashtag", "MOSTLY CAPITALS", "How to", "I, my, we")
RARE_FORMS = ("Money", "POV", "How to", "Warning", "Mention")  # in less than one of a hundred titles
FILTERS = {
    "q", "platform", "format", "duration", "category", "language", "channel", "within", "published", "score", "views",
    "multiple", "velocity", "form", "None",
}  # fmt: skip
VIEWED = {"view", "by", "shape", "kind", "show", "sort", "basis"}  # keys of what changes how a page shows its set


@dataclass(frozen=True, slots=True)
class Click:
    """One change on a page."""

    kind: str  # as reports name it
    values: dict[str, Value]  # of widgets, by key


@dataclass(frozen=True, slots=True)
class Words:
    """What the filters can be set to."""

    titles: tuple[str, ...]
    frequent: tuple[str, ...]  # words
    categories: tuple[str, ...]
    languages: tuple[str, ...]
    channels: tuple[str, ...]


def words(connection: Connection) -> Words:
    """The most frequent values and words, and titles and channels by chance (always the same ones)."""

    def column(statement: str) -> tuple[str, ...]:
        return tuple(connection.scalars(text(statement)))

    by_chance = "SELECT {} FROM candidates JOIN channels USING (channel_key) ORDER BY md5(candidate_id) LIMIT 300"
    most = "SELECT {0} FROM candidates WHERE {0} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 12"
    return Words(
        column(by_chance.format("title")),
        column("SELECT word FROM title_words ORDER BY octet_length(places) DESC LIMIT 12"),
        column(most.format("category")),
        column(most.format("language")),
        column(by_chance.format("name")),
    )


def page_name(path: str) -> str:
    return path.replace("_", " ").capitalize() or "Home"


def filters(known: Words, dice: random.Random) -> Iterator[Click]:
    """Changes of one filter after the other, without end and hardly ever twice the same; ROUND of them are one of each."""
    while True:
        title = [word for word in dice.choice(known.titles).split() if word.isalpha()] or ["the"]
        at = dice.randrange(len(title))
        low = dice.randrange(0, 60)
        yield Click("word", {"q": title[at]})
        yield Click("frequent word", {"q": dice.choice(known.frequent)})
        yield Click("phrase", {"q": f'"{" ".join(title[at : at + 2])}"'})
        yield Click("beginning of a word", {"q": f"{title[at][:4]}*"})
        yield Click("category", {"category": [dice.choice(known.categories)]})
        yield Click("language", {"language": [dice.choice(known.languages)]})
        yield Click("duration", {"duration": [dice.choice(BANDS)]})
        yield Click("platform", {"platform": ["YouTube"]})
        yield Click("published within", {"within": [dice.choice(("7 days", "30 days", "90 days"))]})
        yield Click("score", {"score": (float(low), float(dice.randrange(low, 101)))})
        yield Click("views from", {"views": dice.randrange(1, 3000) * 1000})
        yield Click("× usual from", {"multiple": dice.randrange(2, 40) / 4})
        yield Click("velocity from", {"velocity": dice.randrange(1, 400) * 1000})
        yield Click("channel", {"channel": dice.choice(known.channels)})
        yield Click("title form", {"form": dice.choice(FORMS)})
        yield Click("rare title form", {"form": dice.choice(RARE_FORMS)})
        niche: dict[str, Value] = {"category": [dice.choice(known.categories)], "within": ["30 days"]}
        yield Click("three at once", {**niche, "views": dice.randrange(1, 50) * 1000})


def views(visitor: Visitor) -> list[Click]:
    """All other ways to look at the same set that the present page offers."""
    return [
        Click(f"{key}: {option}", {key: [option] if visitor.kind(key) == "button_group" else option})
        for key in visitor.choices
        if key in VIEWED
        for option in visitor.options(key)
    ]
