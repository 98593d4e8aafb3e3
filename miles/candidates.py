"""What a collected video is: Candidate, Channel, Snapshot, and the observation that joins them.

Pure: knows nothing about the network, the database or the clock. Loose dictionaries (a yt-dlp info
dict) become dataclasses here and nowhere else. Missing is None, never 0 or "".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import Any, Literal

Tier = Literal["flat", "full"]
MediaType = Literal["video", "short", "live"]

EARLIEST = datetime(2005, 1, 1, tzinfo=UTC)  # no video site of today is older; YouTube opened that year
MAX_TITLE = 1000  # characters; captions on TikTok reach 2,200, but a title column is not for essays
MAX_DESCRIPTION = 5000  # characters; YouTube's own limit
CLOCK_SLACK = timedelta(days=1)  # a file written in another time zone may be ahead of us
MAX_COUNT = 2**62  # fits a bigint with room for sums of two

# YouTube's category ids, as in its Data API (videoCategories.list) and in yt-dlp's `categories`.
YOUTUBE_CATEGORIES: dict[int, str] = {
    1: "Film & Animation",
    2: "Autos & Vehicles",
    10: "Music",
    15: "Pets & Animals",
    17: "Sports",
    19: "Travel & Events",
    20: "Gaming",
    22: "People & Blogs",
    23: "Comedy",
    24: "Entertainment",
    25: "News & Politics",
    26: "Howto & Style",
    27: "Education",
    28: "Science & Technology",
    29: "Nonprofits & Activism",
}
CATEGORY_IDS = {name: number for number, name in YOUTUBE_CATEGORIES.items()}


class RejectedRow(ValueError):
    """One row can't become an observation; the message is the reason, for people."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Who published a video. Key: `platform:channel_id`."""

    platform: str
    channel_id: str
    name: str | None = None
    url: str | None = None
    followers: int | None = None

    @property
    def key(self) -> str:
        return f"{self.platform}:{self.channel_id}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """The facts of one video. Key: `platform:video_id`."""

    platform: str
    video_id: str
    title: str
    url: str | None = None
    description: str | None = None
    channel: Channel | None = None
    category: str | None = None
    duration: float | None = None  # seconds
    language: str | None = None  # BCP 47, lower case, e.g. "en", "pt-br"
    media_type: MediaType | None = None
    published_at: datetime | None = None  # exact, UTC
    published_about: datetime | None = None  # approximate ("3 weeks ago"); never feeds a velocity
    tags: tuple[str, ...] | None = None
    thumbnail_url: str | None = None

    @property
    def key(self) -> str:
        return f"{self.platform}:{self.video_id}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts of a candidate at one moment."""

    observed_at: datetime  # UTC
    views: int | None = None
    likes: int | None = None
    comments: int | None = None
    country: str | None = None  # ISO 3166 code of the chart it was seen on, if any
    exact: bool = True  # False: the source rounds ("1.2M views")


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one video: its facts and counts as a source gave them at one moment."""

    candidate: Candidate
    snapshot: Snapshot
    tier: Tier = "full"
    source: str = "yt-dlp"  # the extractor and its version, or the file it came from


def youtube_category(value: object) -> str | None:
    """The name of a YouTube category given by id (24, "24") or by name."""
    if value is None or value == "":
        return None
    try:
        number = int(float(str(value)))
    except OverflowError:
        return None
    except ValueError:
        return str(value).strip() or None
    return YOUTUBE_CATEGORIES.get(number)


def from_info(info: Mapping[str, Any], observed_at: datetime, tier: Tier, source: str) -> Observation:
    """Turn one yt-dlp info dict into an Observation.

    `observed_at` is when the answer was fetched; an info dict that was written to a file knows it
    itself (`epoch`), which is then taken by the caller. Raises RejectedRow.
    """
    video_id = text(info.get("id"))
    if not video_id:
        raise RejectedRow("no video id")
    title = text(info.get("title"), MAX_TITLE)
    if not title:
        raise RejectedRow("no title")
    site = platform(str(info.get("extractor_key") or info.get("ie_key") or info.get("extractor") or "generic"))
    url = text(info.get("webpage_url")) or text(info.get("original_url")) or text(info.get("url"))
    published = _moment(info.get("timestamp") or info.get("release_timestamp"), info.get("upload_date"))
    exact_date = tier == "full"
    shorts_tab = tier == "flat" and url is not None and "/shorts/" in url
    views = count(info.get("view_count"), "view_count")
    return Observation(
        Candidate(
            platform=site,
            video_id=video_id,
            title=title,
            url=url,
            # a flat listing cuts the description off, so it must not replace a whole one
            description=text(info.get("description"), MAX_DESCRIPTION) if exact_date else None,
            channel=_channel(info, site),
            category=youtube_category(next(iter(_list(info.get("categories"))), None)),
            duration=seconds(info.get("duration")),
            language=language(info.get("language")),
            media_type=_media_type(info, url),
            published_at=published if exact_date else None,
            published_about=None if exact_date else published,
            tags=tuple(tag for part in _list(info.get("tags")) if (tag := text(part))) or None,
            thumbnail_url=_thumbnail_url(info),
        ),
        Snapshot(
            observed_at=observed_at,
            views=views,
            likes=count(info.get("like_count"), "like_count"),
            comments=count(info.get("comment_count"), "comment_count"),
            exact=exact_date or not (shorts_tab or _rounded(views)),
        ),
        tier=tier,
        source=source,
    )


def text(value: object, longest: int = 2000) -> str | None:
    """A trimmed string without NUL (Postgres refuses it), or None."""
    if value is None:
        return None
    cleaned = str(value).replace("\x00", "").encode("utf-8", "replace").decode().strip()
    return cleaned[:longest] or None


def count(value: object, name: str) -> int | None:
    """A count >= 0, or None where it is missing. Raises RejectedRow."""
    amount = number(value, name)
    if amount is None:
        return None
    return value if isinstance(value, int) else int(amount)


def number(value: object, name: str) -> float | None:
    """A number from 0 to MAX_COUNT, or None where it is missing. Raises RejectedRow."""
    if value is None or value == "":
        return None
    try:
        amount = float(str(value).replace(",", ""))
    except ValueError:
        raise RejectedRow(f"{name} is not a number: {value!r}") from None
    if isnan(amount):
        return None
    if not 0 <= amount <= MAX_COUNT:
        raise RejectedRow(f"{name} is out of range: {value}")
    return amount


def seconds(value: object) -> float | None:
    """A duration to the millisecond, or None where it is missing. Raises RejectedRow."""
    amount = number(value, "duration")
    return None if amount is None else round(amount, 3)


def language(value: object) -> str | None:
    """A language code in lower case; "und" and the like are missing."""
    code = text(value, 35)
    return None if code is None or code.lower() in {"und", "unknown", "none", "zxx", "null"} else code.lower()


def believable(moment: datetime, now: datetime) -> bool:
    """Whether a moment can be when a video was published or seen (a day of slack for clocks)."""
    return EARLIEST <= moment <= now + CLOCK_SLACK


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _moment(timestamp: object, upload_date: object) -> datetime | None:
    """UTC from a Unix timestamp (s), else from yt-dlp's YYYYMMDD (midnight)."""
    try:
        if timestamp is not None:
            return datetime.fromtimestamp(float(str(timestamp)), UTC)
        if upload_date:
            return datetime.strptime(str(upload_date), "%Y%m%d").replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise RejectedRow(f"not a date: {timestamp or upload_date!r}") from None
    return None


def platform(extractor: str) -> str:
    """yt-dlp's extractor (or its key) in lower case without its part: "YoutubeTab" -> "youtube"."""
    key = extractor.strip().lower()
    for known in ("youtube", "tiktok", "instagram", "facebook", "vimeo", "twitter", "reddit"):
        if key.startswith(known):
            return known
    return key.split(":")[0] or "generic"


def _rounded(views: int | None) -> bool:
    """Whether a count looks like one that a listing rounds ("1.2M views", "43K"): three digits and zeros.

    Tabs and playlists do, searches do not, and which does is not said. An exact count that looks so too is rare,
    and calling it rounded costs nothing but that it feeds no velocity.
    """
    return views is not None and views >= 1000 and not str(views)[3:].strip("0")


def _channel(info: Mapping[str, Any], site: str) -> Channel | None:
    channel_id = text(info.get("channel_id") or info.get("uploader_id"))
    if channel_id is None:
        return None
    return Channel(
        platform=site,
        channel_id=channel_id,
        name=text(info.get("channel") or info.get("uploader")),
        url=text(info.get("channel_url") or info.get("uploader_url")),
        followers=count(info.get("channel_follower_count"), "channel_follower_count"),
    )


def _media_type(info: Mapping[str, Any], url: str | None) -> MediaType | None:
    kind = info.get("media_type")
    if kind == "short" or (url and "/shorts/" in url):
        return "short"
    if kind == "livestream" or info.get("live_status") in ("is_live", "was_live", "is_upcoming", "post_live"):
        return "live"
    if kind == "video" or info.get("duration"):
        return "video"
    return None


def _thumbnail_url(info: Mapping[str, Any]) -> str | None:
    if address := text(info.get("thumbnail")):
        return address
    listed = [t for t in _list(info.get("thumbnails")) if isinstance(t, Mapping) and t.get("url")]
    if not listed:
        return None
    best = max(listed, key=lambda t: tuple(n if isinstance(n := t.get(k), int) else 0 for k in ("preference", "width")))
    return text(best["url"])
