"""What video sites say about videos, through yt-dlp, whose only home this is.

A `Source` is one yt-dlp for one collection: `discover` walks a listing lazily and cheaply (flat),
`extract` reads one video in full. Before every single request it takes a permit of its `Pace`. What goes
wrong comes out as SourceError, whose kind says what to do about it, or as SourcePaused, where nothing may be
asked for a while. Knows nothing about the database; of pictures only their addresses.
"""

import hashlib
import io
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import (
    CertificateVerifyError,
    HTTPError,
    NoSupportingHandlers,
    TransportError,
    UnsupportedRequest,
)
from yt_dlp.utils import (
    DownloadCancelled,
    GeoRestrictedError,
    ISO3166Utils,
    UnsupportedError,
    UserNotLive,
    YoutubeDLError,
)

from miles import match_filter, settings
from miles.candidates import Channel, MediaType, Observation, RejectedRow, from_info, platform
from miles.deadline import within
from miles.errors import MilesError, SourceError, SourcePaused
from miles.targets import AUDIENCE_KINDS, Audience, Kind, addresses

logger = logging.getLogger(__name__)

T = TypeVar("T")

YT_DLP_VERSION = version("yt-dlp")
READ_TIMEOUT = 15.0  # seconds of silence; each read and each retry starts it again, hence the next one
CALL_TIMEOUT = 90.0  # seconds for one video, or for one page of a listing, retries included
RETRIES = 2  # yt-dlp repeats what is worth repeating (5xx, broken transfers); 429 and 403 it never does
LONGEST_RETRY_WAIT = 10.0  # seconds
REDIRECTIONS = 5  # a result may point to another result; nobody needs a longer chain
NESTING = 2  # a list of lists of videos
LARGEST_THUMBNAIL = 1280  # pixels wide; larger ones only cost time: the model looks at 224
SURE_THUMBNAIL = "/hqdefault.jpg"  # the largest of YouTube's that every video has, listed or not

# Of three results of a topic: from the search for Shorts, and from the plain one; see `Source.discover`.
SHARES = (2, 1)

# yt-dlp tells these apart by their text alone, and only YouTube's extractor says them.
BLOCKED = re.compile(r"not a bot|rate-limited by YouTube|IP is likely being blocked|captcha challenge", re.IGNORECASE)
# Likewise: a part of a page could not be read, though the rest makes a video. (A retry that helped says other words.)
BROKEN = re.compile(r"Failed to parse JSON|initial player response|Giving up after|Error reading response")
TRANSLATING = re.compile(r'Preferring "[\w-]+" translated fields')
LISTS = {"playlist", "multi_video", "compat_list"}
YOUTUBE = {"Youtube", "YoutubeTab"}
UNSPOKEN = ("id", "url", "channel_id", "channel_url")  # what a listing says in no language


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a listing."""

    url: str
    key: str | None  # candidate id; None where only the video's own page tells it
    flat: Observation | None  # what the listing itself says
    extractor: str | None = None  # yt-dlp's key of the extractor that reads the url
    full: Observation | None = None  # where the listing was the video itself
    short: bool = False  # the listing gave its /shorts/ address
    left_out: str | None = None  # why the filter leaves it out
    decided: bool = True  # False: only its own page tells whether the filter keeps it


@dataclass(frozen=True, slots=True)
class ChannelListing:
    """What the first page of a channel's tab says about the channel."""

    channel: Channel
    media_type: MediaType
    views: tuple[int, ...]  # of its newest videos, as far as they came with that page


class IncompleteAnswer(SourceError):
    """A video came without facts that its page has, because a part of the answer failed. Another try may be whole."""

    def __init__(self, message: str, kind: str, observation: Observation) -> None:
        super().__init__(message, kind)
        self.observation = observation


class LeftOut(MilesError):
    """The filter leaves a video out whose own page was read."""


class Pace(Protocol):
    """Who says when a request may be sent (`pacing.Pacer`); a permit is its own affair."""

    def permit(self, url: str, wanted: Callable[[], bool]) -> Any:
        """Wait for the moment of a request. None: no longer wanted. Raises SourcePaused."""

    def refused(self, permit: Any, reason: str, asked: timedelta | None) -> SourcePaused:
        """The source refused it, perhaps with a time to wait."""

    def settle(self, permits: Iterable[Any], outcome: Any) -> None:
        """What came of the step that took these: "ok", or the kind of its error."""


class Source:
    """One yt-dlp with its limits; for one collection, in one thread.

    `deadline` is how many seconds all of it may take, not counting those spent waiting for permits. With
    `stop()` true a wait ends in InterruptedError. What the `keep` filter leaves out is said of each entry, and by
    `extract` as LeftOut. Listings are asked for as by somebody of the `audience`; videos never are, so that what is
    known of a video does not depend on who found it.
    """

    def __init__(
        self,
        pace: Pace,
        *,
        deadline: float = 600.0,
        stop: Callable[[], bool] = lambda: False,
        keep: str | None = None,
        audience: Audience = Audience(),  # noqa: B008  # frozen
    ) -> None:
        self._pace = pace
        self._stop = stop
        self._keep = keep
        self._audience = audience
        self._ends = time.monotonic() + deadline
        self._downloader = _Downloader(pace, stop)
        self._requests_before = 0
        self._waited_before = 0.0
        self._tab: _Tab | None = None

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return self._requests_before + self._downloader.request_count

    @property
    def seconds_left(self) -> float:
        return self._ends + self._waited_before + self._downloader.waited() - time.monotonic()

    @property
    def out_of_time(self) -> bool:
        return self.seconds_left <= 0

    def close(self) -> None:
        self._downloader.close()

    def discover(self, target: str, kind: Kind, limit: int) -> Iterator[Found]:
        """Walk a listing, asking for its next page only when it is needed; each video once.

        A topic has two listings: YouTube keeps Shorts out of its plain search. They are merged two to one, in the
        order of each, and what one lacks the other fills. Raises SourceError or SourcePaused, also after
        entries: those stay good.
        """
        self._speak_as(self._audience if kind in AUDIENCE_KINDS else Audience())
        self._downloader.prepare(kind)
        self._tab = None
        places = addresses(target, kind, limit)
        if kind == "topic":
            yield from self._merged(places, limit)
            return
        failure: SourceError | None = None
        for address in places:
            count = 0
            try:
                for found in itertools.islice(_each_once(self._listing(address), set()), limit):
                    count += 1
                    yield found
            except SourceError as error:
                if count or error.kind not in ("gone", "invalid"):
                    raise
                failure = error  # a channel without a Shorts tab: its videos are next
            if count:
                return
        if failure:
            raise failure

    def channel(self) -> ChannelListing | None:
        """What the listing just walked says about its channel; None where it was not a channel's tab.

        Entries that came with a page but were beyond the limit count too; nothing is asked for them.
        """
        if self._tab is None:
            return None
        tab, self._tab = self._tab, None
        self._downloader.offline = True
        try:
            while (entry := self._call(lambda: next(tab.entries, None))) is not None:
                tab.note(entry)
        except (_PageEnd, SourceError) as end:
            logger.debug("The page ends here: %s", end)
        finally:
            self._downloader.offline = False
        return tab.listing()

    def extract(self, found: Found) -> Observation:
        """All that a video's own page says. Raises LeftOut, SourceError or SourcePaused."""
        if found.full:
            return found.full
        self._speak_as(Audience())
        info = self._call(lambda: self._resolve(found.url, found.extractor))
        if info.get("_type") in LISTS:
            raise SourceError("This is a list, not a video. Collect its address instead.", "invalid")
        full = self._full(info)
        if found.short:
            # the listing gave its /shorts/ address; a watch page does not always say so
            full = replace(full, candidate=replace(full.candidate, media_type="short"))
        lack = self._downloader.lack()
        if self._keep and (why := match_filter.of_page(self._keep, self._filled(info), whole=lack is None)):
            raise LeftOut(why)
        if lack:
            raise IncompleteAnswer(f"A part of the answer is missing ({lack.reason}).", lack.kind, full)
        return full

    def first(self, address: str) -> Found | None:
        """The first entry of a listing, with the least of requests; None where it is empty."""
        self._downloader.prepare("topic")
        return next(self._listing(address), None)

    def _merged(self, places: list[str], limit: int) -> Iterator[Found]:
        """The results of both searches of a topic, merged by their shares; what one lacks the other fills.

        One that fails is raised at the end, when the other has given its share of the limit: all of that, or, where
        nothing more may be asked, what is here already. The share of the one that failed is left open: the next try
        gives it, and then the same has come in as if nothing had failed.
        """
        seen: set[str] = set()
        shares = dict(zip((_each_once(self._listing(address), seen) for address in places), SHARES, strict=True))
        at_an_end: set[Iterator[Found]] = set()
        failed: set[Iterator[Found]] = set()
        failure: MilesError | None = None
        left = limit
        try:
            while left > 0 and len(at_an_end | failed) < len(shares):
                for listing, share in shares.items():
                    if listing in failed:
                        left -= share
                    if listing in at_an_end | failed:
                        continue
                    taken = 0
                    try:
                        for found in itertools.islice(listing, min(share, max(left, 0))):
                            taken += 1
                            left -= 1
                            yield found
                    except (SourceError, SourcePaused) as error:
                        failure = failure or error
                        self._downloader.offline |= isinstance(error, SourcePaused)
                        if isinstance(error, SourcePaused) or error.kind not in ("gone", "invalid"):
                            failed.add(listing)
                            left -= share - taken
                    except _PageEnd:
                        failed.add(listing)
                        left -= share - taken
                    if taken < share:
                        at_an_end.add(listing)
        finally:
            self._downloader.offline = False
        if failure:
            raise failure

    def _listing(self, address: str, nesting: int = 0) -> Iterator[Found]:
        info = self._call(lambda: self._resolve(address))
        if info.get("_type") not in LISTS:
            yield self._alone(info, address)
            return
        source = _source(info)
        entries = iter(info.get("entries") or ())
        tab = self._tab = _Tab.of(info, entries) if nesting == 0 and self._downloader.plain else None
        failure: SourceError | None = None
        for position in itertools.count(1):
            entry = self._call(lambda: next(entries, None))
            if entry is None:
                failure = self._cut_short(position - 1) or failure
                break
            if entry.get("_type", "video") == "video":  # some sites list whole videos
                yield self._whole(entry, info, address, position)
            elif entry.get("ie_key") == "YoutubeTab":
                if nesting < NESTING:
                    try:
                        yield from self._listing(str(entry["url"]), nesting + 1)
                    except SourceError as error:  # of a list of lists one may be gone, or broken: the others are not
                        logger.info("A list within a list could not be read: %s", error, extra={"url": entry["url"]})
                        if error.kind == "rate_limited":
                            raise
                        failure = failure or (error if error.kind not in ("gone", "invalid") else None)
            else:
                if tab:
                    tab.note(entry)
                yield self._judged(self._understood(_flat(_with_channel(entry, info), source)), entry)
        if failure:
            raise failure

    def _cut_short(self, count: int) -> SourceError | None:
        """Why a list that ended after so many entries is not whole; yt-dlp takes a page that failed for the end."""
        if count == 0 and self._downloader.warnings:
            # a failed answer ("200 {}") ends in an empty list and warnings, just like "no results" without them
            return SourceError(
                f"The source gave an empty answer instead of a list ({self._downloader.warnings[-1]}). Try again later.",
                "transient",
            )
        if lack := self._downloader.lack():
            return SourceError(f"The rest of the list can't be read ({lack.reason}).", lack.kind)
        return None

    def _alone(self, info: dict[str, Any], address: str) -> Found:
        """The one entry of an address that is a video itself."""
        full = self._full(info)
        url = str(info.get("webpage_url") or address)
        if self._downloader.plain:
            return self._judged(Found(url, full.candidate.key, None, full=full), info)
        return Found(url, full.candidate.key, None, info.get("extractor_key"))  # to be read as every video is

    def _whole(self, entry: dict[str, Any], info: dict[str, Any], address: str, position: int) -> Found:
        """An entry that is the whole video."""
        extra = {key: info.get(key) for key in ("extractor", "extractor_key", "webpage_url", "original_url")}
        url = str(entry.get("webpage_url") or address)
        try:
            full = self._full({**extra, "playlist_index": position, **entry})
        except SourceError:
            return Found(f"{url}#{position}", None, None)  # one bad entry is not the end of the list
        return self._judged(Found(url, full.candidate.key, None, full=full), entry)

    def _understood(self, found: Found) -> Found:
        """An entry without what its listing says in words that yt-dlp does not read: it knows English counts and
        dates alone, and titles come translated."""
        return found if self._downloader.plain or found.extractor not in YOUTUBE else replace(found, flat=None)

    def _judged(self, found: Found, entry: Mapping[str, Any]) -> Found:
        """An entry with what the filter says of it."""
        if self._keep is None:
            return found
        if found.full:
            return replace(found, left_out=match_filter.of_page(self._keep, self._filled(entry)))
        said = entry if found.flat else {name: entry.get(name) for name in UNSPOKEN}
        exact = found.flat is None or found.flat.snapshot.exact
        verdict = match_filter.of_listing(self._keep, self._filled(said), exact=exact)
        return replace(found, left_out=verdict.refused, decided=verdict.decided)

    def _filled(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """With what yt-dlp adds to an answer before it filters: dates of time stamps, durations in words."""
        filled = dict(info)
        self._downloader._fill_common_fields(filled, final=False)
        return filled

    def _speak_as(self, audience: Audience) -> None:
        """Go on as somebody else, with the same limits."""
        if self._downloader.audience == audience:
            return
        self._requests_before += self._downloader.request_count
        self._waited_before += self._downloader.waited()
        self._downloader.close()
        self._downloader = _Downloader(self._pace, self._stop, audience)

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
            # a video that is gone, or whose page failed: with ignore_no_formats_error the reason is a warning
            if lack := self._downloader.lack():
                raise SourceError(f"The video's page can't be read ({lack.reason}).", lack.kind)
            reasons = self._downloader.warnings or ["it has no title"]
            reason = _plain(reasons[-1])
            raise SourceError(f"The video is not available ({reason}).", "gone", expected=True)
        return _observation(info, "full", _source(info))

    def _call(self, function: Callable[[], T]) -> T:
        """Run one step of yt-dlp within its time; every error comes out as SourceError or SourcePaused."""
        downloader = self._downloader
        downloader.start_step()
        outcome = "ok"
        try:
            result = within(min(CALL_TIMEOUT, self.seconds_left), function, pauses=downloader.waited)
        except TimeoutError:
            # the late call still holds this yt-dlp
            outcome = "transient"
            self._requests_before += downloader.request_count
            self._waited_before += downloader.waited()
            downloader.cancelled = True
            self._downloader = _Downloader(self._pace, self._stop, downloader.audience)
            late = "The time for this collection is over" if self.out_of_time else "The source is too slow"
            raise SourceError(f"{late}; it can be collected again later.", "transient") from None
        except DownloadCancelled:
            if downloader.offline:
                raise _PageEnd from None
            raise InterruptedError("the collection was asked to stop; it goes on when it is run again") from None
        except SourceError as error:
            outcome = error.kind
            raise
        except MilesError:  # the database is away
            raise
        except Exception as error:
            problem = self._problem(downloader, error)
            outcome = problem.kind if isinstance(problem, SourceError) else ""  # a refusal is noted already
            raise problem from error
        else:
            if refusal := self._refusal(downloader):
                outcome = ""
                raise refusal
            if lack := downloader.lack():
                outcome = lack.kind
            return result
        finally:
            permits = downloader.end_step()
            if outcome:
                self._pace.settle(permits, outcome)

    def _problem(self, downloader: "_Downloader", error: Exception) -> MilesError:
        """What an error of yt-dlp is to those who called."""
        if downloader.paused:
            return downloader.paused
        problem = _source_error(error)
        forbidden = problem.kind == "rate_limited" or (problem.kind == "extractor" and downloader.forbidden())
        if forbidden and downloader.permits:
            reason = str(problem) if problem.kind == "rate_limited" else "The source answered 403 (Forbidden)."
            return self._pace.refused(downloader.permits[-1], reason.rstrip("."), None)
        return problem

    def _refusal(self, downloader: "_Downloader") -> SourcePaused | None:
        """The refusal within a step that ended well: what came may lack something, and not one request more."""
        if downloader.paused:
            return downloader.paused
        blocked = next(filter(BLOCKED.search, downloader.warnings), None)
        return (
            self._pace.refused(downloader.permits[-1], _plain(blocked), None)
            if blocked and downloader.permits
            else None
        )


class _PageEnd(Exception):
    """What is here already has been read."""


@dataclass(frozen=True, slots=True)
class _Lack:
    """Why an answer is not whole."""

    reason: str
    kind: str


class _Downloader(yt_dlp.YoutubeDL):
    """yt-dlp with our options, which asks for a permit before each request and remembers what failed."""

    def __init__(self, pace: Pace, stop: Callable[[], bool], audience: Audience = Audience()) -> None:  # noqa: B008
        self.audience = audience
        self.request_count = 0
        self.permits: list[Any] = []  # of this step
        self.paused: SourcePaused | None = None  # in this step
        self.cancelled = False
        self.offline = False  # what is here already may be read, nothing more
        self.warnings: list[str] = []  # of this step
        self._pace = pace
        self._stop = stop
        self._waits = 0.0
        self._waiting_since: float | None = None
        self._failed: dict[str, HTTPError | TransportError] = {}  # requests of this step whose last try failed
        self._errors: list[HTTPError] = []
        chosen = settings.load()
        if chosen.ssl_cert_file:
            # curl_cffi, which yt-dlp takes for sites that want a browser's handshake, lets these win over SSL_CERT_FILE
            os.environ.update(dict.fromkeys(("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), str(chosen.ssl_cert_file)))
        if chosen.cookies and not chosen.cookies.is_file():
            raise MilesError(f"MILES_COOKIES names {chosen.cookies}, which is not a file. Correct or unset it.")
        delay = chosen.request_delay.usual
        spoken = {"Accept-Language": _accept_language(audience)} if audience.language else {}
        super().__init__(
            {
                "http_headers": spoken,
                "logger": _Log(self.warnings),
                "color": "never",
                "quiet": True,
                "noprogress": True,
                "cachedir": False,
                "skip_download": True,
                "noplaylist": True,  # of a video within a playlist, the video
                "ignore_no_formats_error": True,  # metadata is all we want
                "proxy": chosen.proxy,
                "cookiefile": str(chosen.cookies) if chosen.cookies else None,
                # without it yt-dlp trusts certifi's authorities, and those only
                "compat_opts": {"no-certifi"} if chosen.ssl_cert_file else set(),
                "socket_timeout": READ_TIMEOUT,
                "extractor_retries": RETRIES,
                "retry_sleep_functions": {"extractor": lambda n: min(LONGEST_RETRY_WAIT, delay * 2**n)},
                "extractor_args": {
                    # the player's script and stream manifests are for those who download
                    "youtube": {
                        "player_skip": ["js"],
                        "skip": ["hls", "dash", "translated_subs"],
                        **({"lang": [audience.language]} if audience.language else {}),
                    },
                    "youtubetab": {"approximate_date": [""]},
                },
            }
        )

        # whether what a listing says is in words that yt-dlp reads, and a title the video's own
        self.plain = audience.language in (None, "en")
        if audience.region:  # YouTube's own cookie for it; yt-dlp keeps what it finds there
            self.get_info_extractor("Youtube")._set_cookie(".youtube.com", "PREF", f"gl={audience.region}")

    def save_cookies(self) -> None:
        """The file of cookies is the operator's: it is read, never written."""

    def prepare(self, kind: Kind) -> None:
        # a search needs nothing from YouTube's home page, which is 700 kB; a channel's tab has its followers there
        self.params["extractor_args"]["youtubetab"]["skip"] = ["webpage"] if kind == "topic" else []

    def start_step(self) -> None:
        self.paused = None
        self.permits = []
        self.warnings.clear()
        self._failed.clear()

    def end_step(self) -> list[Any]:
        """The permits that the step took."""
        for answer in self._errors:  # yt-dlp leaves their connections open
            answer.close()
        self._errors.clear()
        return list(self.permits)

    def waited(self) -> float:
        """Seconds spent waiting for permits, so far."""
        since = self._waiting_since
        return self._waits + (time.monotonic() - since if since else 0.0)

    def forbidden(self) -> bool:
        """Whether requests of this step were refused with 403, of which yt-dlp then only says that something lacks."""
        return any(isinstance(error, HTTPError) and error.status == 403 for error in self._failed.values())

    def lack(self) -> _Lack | None:
        """What the last step could not get or not read, though it ended well; None: nothing."""
        for error in self._failed.values():
            return _Lack(_short(str(error)), "transient")
        broken = next((w for w in self.warnings if BROKEN.search(w) and "Retrying (" not in w), None)
        return _Lack(_plain(broken), "extractor") if broken else None

    def urlopen(self, req: Any) -> Any:
        if self.offline:
            raise DownloadCancelled("nothing more is asked for")
        url = req if isinstance(req, str) else str(req.url)
        if self.audience.region:
            _set_region(req, self.audience.region)
        permit = self._permit(url)
        self.permits.append(permit)
        self.request_count += 1
        try:
            answer = super().urlopen(req)
        except HTTPError as error:
            self._errors.append(error)
            if error.status == 429:
                asked = retry_after(error.response.headers.get("Retry-After"), datetime.now(UTC))
                self.paused = self._pace.refused(permit, f"it answered 429 ({error.reason})", asked)
            elif _kind(error.status) != "gone":
                self._failed[url] = error
            raise
        except TransportError as error:
            self._failed[url] = error
            raise
        self._failed.pop(url, None)
        return answer

    def _permit(self, url: str) -> Any:
        if self.cancelled:
            raise DownloadCancelled("this collection has gone on without us")
        if self.paused is None:
            self._waiting_since = time.monotonic()
            try:
                permit = self._pace.permit(url, lambda: not (self.cancelled or self._stop()))
            except SourcePaused as paused:
                self.paused = paused
            else:
                if permit is None:
                    raise DownloadCancelled("nobody waits for it any more")
                return permit
            finally:
                self._waits += time.monotonic() - self._waiting_since
                self._waiting_since = None
        # yt-dlp is told what the source would say; it asks no further then, and loses nothing that it has
        answer = HTTPError(Response(io.BytesIO(), url, {}, status=429))
        self._errors.append(answer)
        raise answer


@dataclass(slots=True)
class _Tab:
    """A channel's tab while it is walked."""

    channel: Channel
    entries: Iterator[Any]
    views: dict[str, list[int]] = field(default_factory=dict)  # by format

    @classmethod
    def of(cls, info: Mapping[str, Any], entries: Iterator[Any]) -> "_Tab | None":
        owner = _with_channel({}, info)
        if not owner:
            return None
        site = platform(str(info.get("extractor_key") or info.get("extractor")))
        return cls(Channel(site, str(owner["channel_id"]), owner.get("channel"), owner.get("channel_url")), entries)

    def note(self, entry: Mapping[str, Any]) -> None:
        count = entry.get("view_count")
        if isinstance(count, int):
            self.views.setdefault("short" if "/shorts/" in str(entry.get("url")) else "video", []).append(count)

    def listing(self) -> ChannelListing | None:
        if not self.views:
            return None
        media_type: MediaType = (
            "short" if len(self.views.get("short", ())) >= len(self.views.get("video", ())) else "video"
        )
        return ChannelListing(self.channel, media_type, tuple(self.views[media_type]))


class _Log:
    """What yt-dlp has to say goes to our log; warnings are kept, because some answers fail with nothing else."""

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings

    def debug(self, message: str) -> None:
        logger.debug(message)

    def warning(self, message: str) -> None:
        if not TRANSLATING.search(message):  # of what we asked for ourselves
            self._warnings.append(message)
        logger.debug(message)

    def error(self, message: str) -> None:
        logger.debug(message)


def _source_error(error: Exception) -> SourceError:  # noqa: PLR0911  # one for each kind
    """What went wrong, chosen by type and status."""
    chain = _causes(error)
    reason = _short(str(error))
    if refused := _first(chain, HTTPError):
        return SourceError(
            f"The source answered {refused.status} ({refused.reason}).",
            _kind(refused.status),
            refused.status,
            expected=_kind(refused.status) == "gone",
        )
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
        return SourceError(f"The video is not available here ({reason}).", "gone", expected=True)
    if BLOCKED.search(str(error)):
        return SourceError(reason, "rate_limited")
    if any(isinstance(cause, YoutubeDLError) and getattr(cause, "expected", False) for cause in chain):
        return SourceError(f"The source says: {reason}.", "gone", expected=True)
    if isinstance(error, YoutubeDLError) or _first(chain, json.JSONDecodeError, LookupError, TypeError, ValueError):
        return SourceError(
            f"The answer can't be read ({reason}). yt-dlp {YT_DLP_VERSION} may be out of date: update it.", "extractor"
        )
    raise error


def languages() -> list[str]:
    """The codes of the languages that YouTube can be asked in."""
    from yt_dlp.extractor.youtube import YoutubeTabIE

    return sorted(YoutubeTabIE._SUPPORTED_LANG_CODES)


def regions() -> dict[str, str]:
    """The names of all countries by their codes."""
    return dict(ISO3166Utils._country_map)


def audience(language: str | None, region: str | None, kind: str) -> Audience:
    """For whom to ask, as people write it. Raises SourceError("invalid") for what no source knows."""
    language, region = (language or "").strip(), (region or "").strip().upper()
    known = {code.lower(): code for code in languages()} if language else {}
    if language and language.lower().replace("_", "-") not in known:
        raise SourceError(
            f"{language!r} is no language that YouTube can be asked in. Its codes are {', '.join(sorted(known.values()))}.",
            "invalid",
        )
    if region and region not in regions():
        raise SourceError(f"{region!r} is no country. Write its two letters, like JP or BR.", "invalid")
    if (language or region) and kind not in AUDIENCE_KINDS:
        raise SourceError(
            f"A {kind} lists the same videos for everybody, so language and region are for topics, hashtags and"
            " addresses.",
            "invalid",
        )
    return Audience(known.get(language.lower().replace("_", "-")), region or None)


def _accept_language(audience: Audience) -> str:
    """What a browser of that language says: "ja-JP,ja;q=0.9,en;q=0.8"."""
    language = str(audience.language)
    local = [f"{language}-{audience.region}"] if audience.region and "-" not in language else []
    wanted = list(dict.fromkeys([*local, language, language.partition("-")[0], "en"]))
    return ",".join([wanted[0], *(f"{one};q={0.9 - at / 10:.1f}" for at, one in enumerate(wanted[1:]))])


def _set_region(request: Any, region: str) -> None:
    """YouTube's API takes the country from the body of a request, and yt-dlp has no setting for it."""
    if not isinstance(getattr(request, "data", None), bytes) or "/youtubei/" not in str(request.url):
        return
    body = json.loads(request.data)
    body.setdefault("context", {}).setdefault("client", {})["gl"] = region
    request.data = json.dumps(body).encode()


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for: seconds, or a date."""
    if not value:
        return None
    try:
        return timedelta(seconds=max(0, int(value)))
    except (ValueError, OverflowError):
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(timedelta(0), (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now)


def _each_once(listing: Iterator[Found], seen: set[str]) -> Iterator[Found]:
    for found in listing:
        name = found.key or found.url
        if name not in seen:
            seen.add(name)
            yield found


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
    """A message of yt-dlp without its prefix and its advice for bug reports and command lines, on one line."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", message).removeprefix("ERROR: ")
    message = re.split(r"; please report this issue|\. Use --cookies", message)[0]
    return " ".join(message.split()).rstrip(".")[:300]


def _plain(warning: str) -> str:
    """A warning of yt-dlp without the name of the extractor."""
    return _short(re.sub(r"^\[[\w:]+\] ", "", warning))


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
    short = flat is not None and flat.candidate.media_type == "short"
    return Found(url, flat.candidate.key if flat else None, flat, extractor, short=short)


def _observation(info: Mapping[str, Any], tier: Literal["flat", "full"], source: str) -> Observation:
    try:
        chosen = {"thumbnail": _thumbnail(info), "language": info.get("language") or _spoken(info)}
        observation = from_info({**info, **chosen}, datetime.now(UTC), tier, source)
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


def _spoken(info: Mapping[str, Any]) -> str | None:
    """The language of a video's sound, which sites say of its formats; of a dubbed one the original's."""
    languages: dict[int, set[str | None]] = {}
    for one in info.get("formats") or ():
        if one.get("acodec") != "none":
            languages.setdefault(_preference(one, "language_preference", -1), set()).add(one.get("language"))
    best = languages[max(languages)] if languages else set()
    return best.pop() if len(best) == 1 else None  # of several alike nobody knows which was spoken


def _thumbnail(info: Mapping[str, Any]) -> str | None:
    """The widest picture that the source itself lists with its size.

    yt-dlp adds names by guess to YouTube's, without a size and preferred; many don't exist.
    """
    listed = [one for one in info.get("thumbnails") or () if one.get("url")]
    sized = [one for one in listed if 0 < (one.get("width") or 0) <= LARGEST_THUMBNAIL]
    if sized:
        return str(max(sized, key=lambda one: one["width"])["url"])
    if info.get("thumbnail"):
        return str(info["thumbnail"])
    sure = [one for one in listed if urlsplit(str(one["url"])).path.endswith(SURE_THUMBNAIL)]
    # the last of the preferred ones: sites list the worst first
    best = max(sure or listed[::-1], key=lambda one: _preference(one, "preference", -1000), default=None)
    return str(best["url"]) if best else None


def _preference(one: Mapping[str, Any], name: str, usual: int) -> int:
    return int(one[name]) if one.get(name) is not None else usual
