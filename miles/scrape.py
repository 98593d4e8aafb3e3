"""What video sites say about videos, through yt-dlp, whose only home this is.

A `Source` is one yt-dlp for one collection: `discover` walks a listing lazily and cheaply (flat),
`extract` reads one video in full. What goes wrong comes out as SourceError, whose kind says what
to do about it. Knows nothing about the database; of pictures only their addresses.
"""

import hashlib
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

import yt_dlp
from yt_dlp.networking.exceptions import (
    CertificateVerifyError,
    HTTPError,
    NoSupportingHandlers,
    TransportError,
    UnsupportedRequest,
)
from yt_dlp.utils import DownloadCancelled, GeoRestrictedError, UnsupportedError, UserNotLive, YoutubeDLError

from miles import settings
from miles.candidates import Observation, RejectedRow, from_info
from miles.deadline import within
from miles.errors import SourceError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Kind = Literal["topic", "channel", "hashtag", "url"]

YT_DLP_VERSION = version("yt-dlp")
READ_TIMEOUT = 15.0  # seconds of silence; each read and each retry starts it again, hence the next one
CALL_TIMEOUT = 90.0  # seconds for one video, or for one page of a listing, retries included
RETRIES = 2  # yt-dlp repeats what is worth repeating (5xx, broken transfers); 429 and 403 it never does
LONGEST_RETRY_WAIT = 10.0  # seconds
PAGE_PAUSE = 0.1  # of the delay between extractions: between the two or three requests of one of them
REDIRECTIONS = 5  # a result may point to another result; nobody needs a longer chain
NESTING = 2  # a list of lists of videos
LARGEST_THUMBNAIL = 1280  # pixels wide; larger ones only cost time: the model looks at 224

# yt-dlp tells these apart by their text alone, and only YouTube's extractor says them.
BLOCKED = re.compile(r"not a bot|rate-limited by YouTube|IP is likely being blocked|captcha challenge", re.IGNORECASE)
LISTS = {"playlist", "multi_video", "compat_list"}


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a listing."""

    url: str
    key: str | None  # candidate id; None where only the video's own page tells it
    flat: Observation | None  # what the listing itself says
    extractor: str | None = None  # yt-dlp's key of the extractor that reads the url
    full: Observation | None = None  # where the listing was the video itself


def addresses(target: str, kind: Kind, limit: int) -> list[str]:
    """The addresses to try for a target, best first. Raises SourceError("invalid")."""
    target = target.strip()
    if not target:
        raise SourceError("Nothing to collect was named. Give a topic, a channel, a hashtag or an address.", "invalid")
    if kind == "topic":
        return [f"ytsearch{limit}:{target}"]
    if kind == "hashtag":
        tag = re.sub(r"^(https?://)?(www\.)?youtube\.com/hashtag/|^#", "", target).split("/")[0]
        if not tag or re.search(r"\s", tag):
            raise SourceError(f"{target!r} is not a hashtag. Write one word, like #streetfood.", "invalid")
        page = f"https://www.youtube.com/hashtag/{quote(tag)}"
        return [f"{page}/shorts", page]
    if kind == "channel" and not re.match(r"https?://", target):
        if re.fullmatch(r"UC[\w-]{22}", target):
            target = f"https://www.youtube.com/channel/{target}"
        elif re.fullmatch(r"@[\w.\-·]{1,60}", target):
            target = f"https://www.youtube.com/{target}"
        else:
            raise SourceError(f"{target!r} is not a channel. Write its @handle or its address.", "invalid")
    if not re.match(r"https?://[^/\s]+", target):
        raise SourceError(f"{target!r} is not a web address. It has to begin with https://.", "invalid")
    if root := re.fullmatch(r"(https?://(?:www\.|m\.)?youtube\.com/(?:@[^/?#]+|(?:channel|c|user)/[^/?#]+))/?", target):
        # the Shorts tab first: that is what Miles is about; a channel without one has its videos
        return [f"{root[1]}/shorts", f"{root[1]}/videos"]
    return [target]


class Source:
    """One yt-dlp with its limits; for one collection, in one thread.

    `delay` is the number of seconds between two full extractions, `deadline` how long all of it may take.
    """

    def __init__(self, *, delay: float | None = None, deadline: float = 600.0) -> None:
        self._delay = settings.load().request_delay if delay is None else delay
        self._ends = time.monotonic() + deadline
        self._last_extraction = -float("inf")
        self._downloader = _Downloader(self._delay)
        self._requests_before = 0
        #: why no further request may be made, once the source has refused one
        self.refused: SourceError | None = None

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return self._requests_before + self._downloader.request_count

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() >= self._ends

    def close(self) -> None:
        self._downloader.close()

    def discover(self, target: str, kind: Kind, limit: int) -> Iterator[Found]:
        """Walk a listing, asking for its next page only when it is needed; each video once.

        Raises SourceError, also after entries: those stay good.
        """
        self._downloader.prepare(kind)
        seen: set[str] = set()
        failure: SourceError | None = None
        for address in addresses(target, kind, limit):
            try:
                for found in self._listing(address):
                    name = found.key or found.url
                    if name not in seen:
                        seen.add(name)
                        yield found
                    if len(seen) == limit:
                        return
            except SourceError as error:
                if seen or error.kind in ("rate_limited", "transient"):
                    raise
                failure = error  # a channel without a Shorts tab: its videos are next
            if seen:
                return
        if failure:
            raise failure

    def extract(self, found: Found) -> Observation:
        """All that a video's own page says. Waits its turn first. Raises SourceError."""
        if found.full:
            return found.full
        pause = self._last_extraction + self._delay - time.monotonic()
        time.sleep(max(0.0, min(pause, self._ends - time.monotonic())))
        try:
            info = self._call(lambda: self._resolve(found.url, found.extractor))
        finally:
            self._last_extraction = time.monotonic()
        if info.get("_type") in LISTS:
            raise SourceError("This is a list, not a video. Collect its address instead.", "invalid")
        full = self._full(info)
        if found.flat and found.flat.candidate.media_type == "short":
            # the listing gave its /shorts/ address; a watch page does not always say so
            full = replace(full, candidate=replace(full.candidate, media_type="short"))
        return full

    def _listing(self, address: str, nesting: int = 0) -> Iterator[Found]:
        info = self._call(lambda: self._resolve(address))
        if info.get("_type") not in LISTS:
            full = self._full(info)
            yield Found(str(info.get("webpage_url") or address), full.candidate.key, None, full=full)
            return
        source = _source(info)
        entries = iter(info.get("entries") or ())
        count = 0
        for position in itertools.count(1):
            entry = self._call(lambda: next(entries, None))
            if entry is None:
                break
            count += 1
            if entry.get("_type", "video") == "video":  # some sites list whole videos
                extra = {key: info.get(key) for key in ("extractor", "extractor_key", "webpage_url", "original_url")}
                url = str(entry.get("webpage_url") or address)
                try:
                    full = self._full({**extra, "playlist_index": position, **entry})
                except SourceError as error:
                    if error.kind == "rate_limited":
                        raise
                    yield Found(f"{url}#{position}", None, None)  # one bad entry is not the end of the list
                else:
                    yield Found(url, full.candidate.key, None, full=full)
            elif entry.get("ie_key") == "YoutubeTab":
                if nesting < NESTING:
                    yield from self._listing(str(entry["url"]), nesting + 1)
            else:
                yield _flat(_with_channel(entry, info), source)
        if count == 0 and self._downloader.warnings:
            # a failed answer ("200 {}") ends in an empty list and warnings, just like "no results" without them
            raise SourceError(
                f"The source gave an empty answer instead of a list ({self._downloader.warnings[-1]}). Try again later.",
                "transient",
            )

    def _resolve(self, url: str, extractor: str | None = None) -> dict[str, Any]:
        """Follow a result that points to another one."""
        overlay: dict[str, Any] = {}
        for _ in range(REDIRECTIONS):
            info = self._downloader.extract_info(url, download=False, ie_key=extractor, process=False)
            if info is None:
                raise SourceError("The source gave nothing. Its yt-dlp extractor may be out of date.", "extractor")
            if info.get("_type") not in ("url", "url_transparent"):
                return {**info, **overlay}
            if info["_type"] == "url_transparent":  # as yt-dlp does: what the outer page says stands
                hidden = ("_type", "url", "id", "extractor", "extractor_key", "ie_key")
                overlay = {**{k: v for k, v in info.items() if v is not None and k not in hidden}, **overlay}
            url, extractor = str(info["url"]), info.get("ie_key")
        raise SourceError("The address leads in circles.", "extractor")

    def _full(self, info: Mapping[str, Any]) -> Observation:
        if not info.get("title"):
            # a video that is gone, or whose page was refused: with ignore_no_formats_error the reason is a warning
            reasons = self._downloader.warnings or ["it has no title"]
            blocked = next(filter(BLOCKED.search, reasons), None)
            if blocked:
                raise self._refuse(blocked)
            reason = re.sub(r"^\[[\w:]+\] ", "", reasons[-1])
            raise SourceError(f"The video is not available ({_short(reason)}).", "gone")
        return _observation(info, "full", _source(info))

    def _call(self, function: Callable[[], T]) -> T:
        """Run one step of yt-dlp within its time; every error comes out as SourceError."""
        if self.refused:
            raise self.refused
        downloader = self._downloader
        downloader.start_step()
        try:
            result = within(min(CALL_TIMEOUT, self._ends - time.monotonic()), function)
        except TimeoutError:
            # the late call still holds this yt-dlp
            self._requests_before += downloader.request_count
            downloader.cancelled = True
            self._downloader = _Downloader(self._delay)
            late = "The time for this collection is over" if self.out_of_time else "The source is too slow"
            raise SourceError(f"{late}; it can be collected again later.", "transient") from None
        except SourceError:
            raise
        except Exception as error:
            problem = _source_error(error, downloader)
            if problem.kind == "rate_limited":
                raise self._refuse(str(problem), problem.status) from error
            raise problem from error
        finally:
            downloader.end_step()
        if downloader.limited:
            # the page was still good, but one of its requests was refused: not one more
            self._refuse("too many requests", downloader.limited)
        return result

    def _refuse(self, reason: str, status: int | None = None) -> SourceError:
        self.refused = SourceError(
            f"The source refuses further requests from this address ({_short(reason)}). Wait an hour or more, "
            "then retry; a greater MILES_REQUEST_DELAY asks more slowly.",
            "rate_limited",
            status,
        )
        return self.refused


class _Downloader(yt_dlp.YoutubeDL):
    """yt-dlp with our options, which counts its requests and remembers what it was refused."""

    def __init__(self, delay: float) -> None:
        self.request_count = 0
        self.limited: int | None = None  # the status of an answer "too many requests" in this step
        self.cancelled = False
        self.warnings: list[str] = []
        self._errors: list[HTTPError] = []
        chosen = settings.load()
        if chosen.ssl_cert_file:
            # curl_cffi, which yt-dlp takes for sites that want a browser's handshake, lets these win over SSL_CERT_FILE
            os.environ.update(dict.fromkeys(("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), str(chosen.ssl_cert_file)))
        super().__init__(
            {
                "logger": _Log(self.warnings),
                "color": "never",
                "quiet": True,
                "noprogress": True,
                "cachedir": False,
                "skip_download": True,
                "noplaylist": True,  # of a video within a playlist, the video
                "ignore_no_formats_error": True,  # metadata is all we want
                "proxy": chosen.proxy,
                # without it yt-dlp trusts certifi's authorities, and those only
                "compat_opts": {"no-certifi"} if chosen.ssl_cert_file else set(),
                "socket_timeout": READ_TIMEOUT,
                "extractor_retries": RETRIES,
                "retry_sleep_functions": {"extractor": lambda n: min(LONGEST_RETRY_WAIT, delay * 2**n)},
                "sleep_interval_requests": delay * PAGE_PAUSE,
                "extractor_args": {
                    # the player's script and stream manifests are for those who download
                    "youtube": {"player_skip": ["js"], "skip": ["hls", "dash", "translated_subs"]},
                    "youtubetab": {"approximate_date": [""]},
                },
            }
        )

    def prepare(self, kind: Kind) -> None:
        # a search needs nothing from YouTube's home page, which is 700 kB; a channel's tab has its followers there
        self.params["extractor_args"]["youtubetab"]["skip"] = ["webpage"] if kind == "topic" else []

    def start_step(self) -> None:
        self.limited = None
        self.warnings.clear()

    def end_step(self) -> None:
        for answer in self._errors:  # yt-dlp leaves their connections open
            answer.close()
        self._errors.clear()

    def urlopen(self, req: Any) -> Any:
        if self.cancelled:
            raise DownloadCancelled("this collection has gone on without us")
        self.request_count += 1
        try:
            return super().urlopen(req)
        except HTTPError as error:
            self._errors.append(error)
            if error.status == 429:
                self.limited = error.status
            raise


class _Log:
    """What yt-dlp has to say goes to our log; warnings are kept, because some answers fail with nothing else."""

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings

    def debug(self, message: str) -> None:
        logger.debug(message)

    def warning(self, message: str) -> None:
        self._warnings.append(message)
        logger.debug(message)

    def error(self, message: str) -> None:
        logger.debug(message)


def _source_error(error: Exception, downloader: _Downloader) -> SourceError:  # noqa: PLR0911  # one for each kind
    """What went wrong, chosen by type and status."""
    chain = _causes(error)
    reason = _short(str(error))
    if refused := _first(chain, HTTPError):
        return SourceError(
            f"The source answered {refused.status} ({refused.reason}).", _kind(refused.status), refused.status
        )
    if downloader.limited:
        return SourceError(reason, "rate_limited", downloader.limited)
    if _first(chain, CertificateVerifyError):
        return SourceError(
            "The source's certificate is not trusted. Behind a proxy of your own, name its certificate in SSL_CERT_FILE.",
            "invalid",
        )
    if _first(chain, TransportError):
        return SourceError(f"The source can't be reached ({reason}). Check the network and MILES_PROXY.", "transient")
    if _first(chain, UnsupportedError, UnsupportedRequest, NoSupportingHandlers):
        return SourceError(f"No video was found at this address ({reason}).", "invalid")
    if _first(chain, GeoRestrictedError, UserNotLive):
        return SourceError(f"The video is not available here ({reason}).", "gone")
    if BLOCKED.search(str(error)):
        return SourceError(reason, "rate_limited")
    if any(isinstance(cause, YoutubeDLError) and getattr(cause, "expected", False) for cause in chain):
        return SourceError(f"The source says: {reason}.", "gone")
    if isinstance(error, YoutubeDLError) or _first(chain, json.JSONDecodeError, LookupError, TypeError, ValueError):
        return SourceError(
            f"The answer can't be read ({reason}). yt-dlp {YT_DLP_VERSION} may be out of date: update it.", "extractor"
        )
    raise error


def _kind(status: int) -> str:
    if status in (403, 429):
        return "rate_limited"
    return "transient" if status >= 500 or status == 408 else "gone"


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those it came from; yt-dlp keeps them in attributes of its own."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [getattr(one, "cause", None), (getattr(one, "exc_info", None) or (None, None))[1], one.__cause__]
    return found


E = TypeVar("E", bound=BaseException)


def _first(chain: list[BaseException], *types: type[E]) -> E | None:
    return next((error for error in chain if isinstance(error, types)), None)


def _short(message: str) -> str:
    """A message of yt-dlp without its prefix and its advice for bug reports, on one line."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", message).removeprefix("ERROR: ").split("; please report this issue")[0]
    return " ".join(message.split()).rstrip(".")[:300]


def _source(info: Mapping[str, Any]) -> str:
    """Where a fact comes from: the extractor and the version of yt-dlp."""
    return f"{info.get('extractor') or 'generic'} yt-dlp-{YT_DLP_VERSION}"


def _with_channel(entry: Mapping[str, Any], listing: Mapping[str, Any]) -> dict[str, Any]:
    """A channel's own tab names the channel once, for all of its entries."""
    names = (
        "channel_id",
        "channel",
        "channel_url",
        "channel_follower_count",
        "uploader_id",
        "uploader",
        "uploader_url",
    )
    if entry.get("channel_id") or not listing.get("channel_id") or listing.get("id") != listing["channel_id"]:
        return dict(entry)  # a playlist belongs to who made it, its videos to others
    return {**entry, **{name: listing.get(name) for name in names if listing.get(name) is not None}}


def _flat(entry: dict[str, Any], source: str) -> Found:
    url, extractor = str(entry["url"]), entry.get("ie_key")
    try:
        flat = _observation(entry, "flat", source) if extractor else None
    except SourceError:  # a deleted video in a playlist, a feed that gives links only: its page will tell
        flat = None
    return Found(url, flat.candidate.key if flat else None, flat, extractor)


def _observation(info: Mapping[str, Any], tier: Literal["flat", "full"], source: str) -> Observation:
    try:
        observation = from_info({**info, "thumbnail": _thumbnail(info)}, datetime.now(UTC), tier, source)
    except RejectedRow as error:
        raise SourceError(f"The answer can't be used: {error}.", "extractor") from error
    if (info.get("extractor_key") or info.get("ie_key")) != "Generic":
        return observation
    # yt-dlp names a video of an unknown site by the last part of its address, which is not unique
    address = str(info.get("webpage_url") or info.get("original_url") or info.get("url"))
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    candidate = replace(
        observation.candidate,
        platform=urlsplit(address).hostname or "web",
        video_id=f"{observation.candidate.video_id}-{mark}",
    )
    if candidate.channel:
        candidate = replace(candidate, channel=replace(candidate.channel, platform=candidate.platform))
    return replace(observation, candidate=candidate)


def _thumbnail(info: Mapping[str, Any]) -> str | None:
    """The widest picture that the source itself lists with its size.

    yt-dlp adds names by guess to YouTube's, without a size and preferred; many don't exist.
    """
    listed = [one for one in info.get("thumbnails") or () if one.get("url")]
    sized = [one for one in listed if 0 < (one.get("width") or 0) <= LARGEST_THUMBNAIL]
    if sized:
        return str(max(sized, key=lambda one: one["width"])["url"])
    return str(info["thumbnail"]) if info.get("thumbnail") else (str(listed[-1]["url"]) if listed else None)
