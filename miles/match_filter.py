"""What to keep, in yt-dlp's own match-filter syntax: `duration <= 180 & view_count > 1000`. Pure.

yt-dlp itself evaluates it: on what a listing says, as far as it says it, and again on a video's own page. Checked
before anything is fetched, so that a slip of the pen is one sentence and not an hour of requests. With `scrape` the
only module that knows yt-dlp.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yt_dlp.utils import match_filter_func, match_str

from miles.errors import SourceError

LONGEST = 500  # characters
LEFT_OUT = "the filter leaves it out"
ROUNDED_DOWN = 1.1  # a rounded count of a listing ("1.2M") may be this much more

NUMBERS = (
    "age_limit", "average_rating", "channel_follower_count", "chapter_number", "comment_count",
    "concurrent_view_count", "disc_number", "dislike_count", "duration", "end_time", "episode_number", "like_count",
    "modified_timestamp", "release_timestamp", "release_year", "repost_count", "save_count", "season_number",
    "start_time", "timestamp", "track_number", "view_count",
)  # fmt: skip
DATES = ("modified_date", "release_date", "upload_date")
TEXTS = (
    "album", "album_artist", "album_type", "alt_title", "artist", "availability", "channel", "channel_id",
    "channel_url", "chapter", "composer", "creator", "description", "display_id", "duration_string", "episode",
    "extractor", "extractor_key", "fulltitle", "genre", "id", "language", "license", "live_status", "location",
    "media_type", "original_url", "season", "series", "thumbnail", "title", "track", "uploader", "uploader_id",
    "uploader_url", "webpage_url",
)  # fmt: skip
FLAGS = ("channel_is_verified", "is_live", "playable_in_embed", "was_live")
LISTS = ("album_artists", "artists", "cast", "categories", "chapters", "composers", "creators", "genres", "tags")
# What yt-dlp may say of a video before it looks at formats, each with a value of its type.
FIELDS: dict[str, Any] = {
    **dict.fromkeys(NUMBERS, 1),
    **dict.fromkeys(DATES, "20260131"),
    **dict.fromkeys(TEXTS, "text"),
    **dict.fromkeys(FLAGS, True),
    **{name: ["text"] for name in LISTS},
}
# What people write, and what they mean.
MEANT = {
    "views": "view_count", "likes": "like_count", "comments": "comment_count", "length": "duration",
    "seconds": "duration", "followers": "channel_follower_count", "subscribers": "channel_follower_count",
    "date": "upload_date", "published": "upload_date", "name": "title", "channel_name": "channel", "user": "uploader",
    "short": "media_type", "is_short": "media_type", "category": "categories", "tag": "tags",
}  # fmt: skip
EXAMPLE = "like duration <= 180 & view_count > 1000"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter says of an entry of a listing."""

    refused: str | None  # why it is left out
    decided: bool  # False: only the video's own page tells


def check(expression: str | None) -> str | None:
    """A filter as it is kept; None for none. Raises SourceError("invalid") with one sentence that names the slip."""
    cleaned = " ".join((expression or "").replace("\x00", "").split())
    if not cleaned:
        return None
    if len(cleaned) > LONGEST:
        raise SourceError(f"A filter has at most {LONGEST} characters.", "invalid")
    for part in _parts(cleaned):
        _check_part(part.strip())
    return cleaned


def of_listing(expression: str, entry: Mapping[str, Any], *, exact: bool) -> Verdict:
    """What a filter says of an entry of a listing: what the entry does not say, and approximate dates, decide nothing.

    Without `exact` its count of views is rounded down, and refused only where no count that rounds so would pass.
    """
    known = {name: value for name, value in entry.items() if value is not None and name not in _APPROXIMATE}
    variants = [known]
    if not exact and isinstance(known.get("view_count"), int):
        variants.append({**known, "view_count": int(known["view_count"] * ROUNDED_DOWN)})
    decided = True
    for part in _parts(expression):
        answers = [_passes(part, one, incomplete=True) for one in variants]
        if not any(answers):
            return Verdict(_why(part, known), decided=True)
        decided = decided and all(answers) and _field(part) in known
    return Verdict(None, decided)


def of_page(expression: str, info: Mapping[str, Any], *, whole: bool = True) -> str | None:
    """Why a filter leaves a video out whose own page was read; None: it is kept. Of a page that is not `whole` the
    missing parts decide nothing."""
    if match_filter_func(expression)(info, incomplete=not whole) is None:
        return None
    for part in _parts(expression):
        if not _passes(part, info, incomplete=not whole):
            return _why(part, info)
    raise AssertionError("a filter whose every part passes")


_APPROXIMATE = ("timestamp", "upload_date", "release_timestamp", "release_date", "release_year")


def _parts(expression: str) -> list[str]:
    return re.split(r"(?<!\\)&", expression)  # as yt-dlp does


def _field(part: str) -> str:
    found = re.match(r"[\s!]*([a-z_]+)", part)
    return found[1] if found else ""


def _passes(part: str, info: Mapping[str, Any], *, incomplete: bool) -> bool:
    return bool(match_str(part, dict(info), incomplete))


def _why(part: str, info: Mapping[str, Any]) -> str:
    value = info.get(_field(part))
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    shown = "it does not say" if value is None else f"it is {str(value)[:60]}"
    return f"{LEFT_OUT} ({part.strip()}: {shown})"


def _check_part(part: str) -> None:
    try:
        match_str(part, {}, incomplete=True)
    except ValueError:
        raise SourceError(
            f"{part!r} is no condition of a filter. Write field, comparison and value, joined by &, {EXAMPLE}.",
            "invalid",
        ) from None
    field = _field(part)
    if field not in FIELDS:
        near = [MEANT[field]] if field in MEANT else difflib.get_close_matches(field, FIELDS, n=1)
        hint = f"Did you mean {near[0]}?" if near else "docs/collecting.md lists the fields."
        raise SourceError(f"A filter can't ask for {field!r}: no video says it. {hint}", "invalid")
    value = re.match(r"[a-z_]+\s*!?\s*([*^$~<>]?=|[<>])\s*\??\s*(.*)", part)
    if value is None:  # a field alone
        return
    operator, text = value[1], value[2].strip("\"'")
    if text in ("", "="):  # yt-dlp reads "duration <=" as less than "="
        raise SourceError(f"{part!r} is no condition of a filter: it lacks a value. Write it {EXAMPLE}.", "invalid")
    if field in DATES and operator in ("<", ">", "<=", ">=", "=") and not re.fullmatch(r"\d{8}", text):
        raise SourceError(f"{part!r} does not name a date. Write it as year, month and day, like 20260131.", "invalid")
    if field in FLAGS:
        raise SourceError(f"{field} is yes or no. Write {field} or !{field}.", "invalid")
    try:
        match_str(part, {field: FIELDS[field]})
    except re.error as error:
        raise SourceError(f"The pattern in {part!r} is not one ({error}).", "invalid") from None
    except ValueError:
        raise SourceError(f"{part!r} compares a number as text. Use <, <=, >, >= or =.", "invalid") from None
    except TypeError:
        problem = "compares a list as a number; use *=" if field in LISTS else "compares a number with a word"
        raise SourceError(f"{part!r} {problem}.", "invalid") from None
    if field in NUMBERS and operator == "=" and not re.search(r"\d", text):
        raise SourceError(f"{part!r} compares a number with a word.", "invalid")
