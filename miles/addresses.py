"""A filter as it stands in an address, and back: what a page shows, a link shares, a niche keeps, an export asks for.

    q=street food&category=Howto & Style&duration=30–60 s&within=7 days&score=20&score=100&like=youtube:abc&sort=By views

Whatever is not understood is named and left out; no address is an error. Pure: knows no page, database or clock.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qs, urlencode

from miles.browse import DURATIONS, Filters, Place, Sort
from miles.patterns import form_bit

Value = TypeVar("Value")

FORMATS = {"short": "Short", "video": "Video", "live": "Live"}
WITHIN = {1: "1 day", 3: "3 days", 7: "7 days", 30: "30 days", 90: "90 days"}  # up to the newest snapshot
# What each order is called, in lists to choose from and in addresses.
SORTS: dict[Sort, str] = {
    "score": "By score",
    "velocity": "By measured velocity",
    "acceleration": "By acceleration",
    "outlier": "By × usual",
    "engagement": "By engagement rate",
    "views": "By views",
    "age": "Newest first",
    "lifetime": "By lifetime velocity",
}
LONGEST = 300  # characters of a value
MOST_VALUES = 60  # of one filter
_KEY = re.compile(r"[^:\s]{1,60}:\S{1,200}")


def platform(name: str) -> str:
    """A platform's name as its owners write it."""
    return {"youtube": "YouTube", "tiktok": "TikTok"}.get(name, name.capitalize())


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for."""

    filters: Filters = Filters()  # noqa: RUF009  # frozen; `published_from` of it already counts `within`
    within: int | None = None  # days up to the newest snapshot in which a video was published
    like: str = ""  # key of the video whose title the others are like
    sort: Sort | None = None  # None: the page's own
    broken: tuple[str, ...] = ()  # the parts that are not understood, as they stand in the address


def read(address: Mapping[str, Sequence[str]] | str, newest: datetime | None) -> Asked:
    """What an address asks for. `newest` is the moment of the newest snapshot, which `within` counts from."""
    given = parse_qs(address, keep_blank_values=True) if isinstance(address, str) else address
    broken: list[str] = []

    def several(key: str, known: Callable[[str], Value | None]) -> tuple[Value, ...]:
        found: list[Value] = []
        for text in given.get(key, ())[:MOST_VALUES]:
            value = known(text) if len(text) <= LONGEST else None
            if value is None and text:
                broken.append(f"{key}={text}")
            elif value is not None and value not in found:
                found.append(value)
        return tuple(found)

    def one(key: str, known: Callable[[str], Value | None], missing: Value) -> Value:
        return next(iter(several(key, known)), missing)

    days = several("published", _day)
    scores = several("score", lambda text: _number(text, 100))
    low, high = (scores[0], scores[-1]) if scores else (0, 100)
    within = one("within", _within, None)
    filters = Filters(
        text=one("q", str, ""),
        platforms=several("platform", str.lower),
        formats=several("format", lambda text: text.lower() if text.lower() in FORMATS else None),
        categories=several("category", str),
        languages=several("language", str),
        channel=one("channel", str, ""),
        durations=several("duration", lambda text: text if text in DURATIONS else None),
        published_from=days[0] if days else None,
        published_to=days[-1] if len(given.get("published", ())) > 1 and days else None,
        score_from=round(min(low, high)),
        score_to=round(max(low, high)) if len(given.get("score", ())) > 1 or not scores else 100,
        views_from=round(one("views", lambda text: _number(text, 1e12), 0.0)),
        multiple_from=one("multiple", lambda text: _number(text, 1e6), 0.0),
        velocity_from=round(one("velocity", lambda text: _number(text, 1e12), 0.0)),
        form=one("form", lambda text: text if form_bit(text) else None, ""),
    )
    return Asked(
        since(filters, within, newest),
        within,
        one("like", lambda text: text if _KEY.fullmatch(text) else None, ""),
        one("sort", sort_of, None),
        tuple(broken),
    )


def write(asked: Asked, published_from: date | None = None) -> dict[str, list[str]]:
    """The address of what is asked for; what is at its default is left out.

    `published_from` is the day that was chosen beside `within`, if any.
    """
    filters = asked.filters
    first = filters.published_from if asked.within is None else published_from
    score = (filters.score_from, filters.score_to)
    parts: dict[str, Iterable[object]] = {
        "q": [filters.text.strip()],
        "platform": map(platform, filters.platforms),
        "format": [FORMATS.get(name, name) for name in filters.formats],
        "category": filters.categories,
        "language": filters.languages,
        "channel": [filters.channel.strip()],
        "duration": filters.durations,
        "published": [first or date(1970, 1, 1), filters.published_to] if filters.published_to else [first or ""],
        "within": [WITHIN[asked.within] if asked.within else ""],
        "score": score if score != (0, 100) else (),
        "views": [filters.views_from or ""],
        "multiple": [f"{filters.multiple_from:g}" if filters.multiple_from else ""],
        "velocity": [filters.velocity_from or ""],
        "form": [filters.form],
        "like": [asked.like],
        "sort": [SORTS[asked.sort] if asked.sort else ""],
    }
    written = {key: [str(value) for value in values if value != ""] for key, values in parts.items()}
    return {key: values for key, values in written.items() if values}


def as_text(asked: Asked, published_from: date | None = None) -> str:
    """The same as the part of an address behind its question mark."""
    return urlencode(write(asked, published_from), doseq=True)


def since(filters: Filters, within: int | None, newest: datetime | None) -> Filters:
    """The filters with `within` as a day to begin at; the later one, where one was chosen too."""
    if within is None or newest is None:
        return filters
    first = (newest.astimezone(UTC) - timedelta(days=within)).date()
    return replace(filters, published_from=max(first, filters.published_from or first))


def sort_of(text: str) -> Sort | None:
    """The order of that name."""
    return next((sort for sort, name in SORTS.items() if text in (sort, name)), None)


def place(text: str, sort: Sort) -> Place | None:
    """A place in a list of that order, as `place_text` wrote it; None where it is none."""
    side, _, rest = text.partition("~")
    if side in ("first", "last") and not rest:
        return Place("last" if side == "last" else "first")
    value, _, candidate_id = rest.partition("~")
    if side not in ("after", "before") or not _KEY.fullmatch(candidate_id):
        return None
    key: float | datetime | None = None
    if value:
        try:
            if sort == "age":
                key = datetime.fromisoformat(value)
                if key.tzinfo is None:
                    return None
            else:
                key = int(value) if sort == "views" else float(value)
        except ValueError:
            return None
        if isinstance(key, float | int) and not (math.isfinite(key) and abs(key) < 2**63):
            return None
    return Place("after" if side == "after" else "before", key, candidate_id)


def place_text(where: Place) -> str:
    """A place as one word of an address."""
    if where.side in ("first", "last"):
        return where.side
    key = where.key.isoformat() if isinstance(where.key, datetime) else "" if where.key is None else repr(where.key)
    return f"{where.side}~{key}~{where.candidate_id}"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _within(text: str) -> int | None:
    return next((days for days, name in WITHIN.items() if text in (name, str(days))), None)


def _number(text: str, most: float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= most else None
