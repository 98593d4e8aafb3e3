"""Every recorded search, tab and watch page that yt-dlp can read comes in field for field, and none twice.

What is expected is written down here from yt-dlp's own answer, with nothing of Miles between; the proxy plays what
was recorded, at each day it was recorded on, and nothing else.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yt_dlp
from replaying import Replay
from sqlalchemy import text
from tables import records

from miles import collecting, db, scrape, thumbnails

SHARED = os.environ.get("MILES_SHARED")
pytestmark = [
    pytest.mark.skipif(not SHARED, reason="MILES_SHARED does not name the folder of recordings"),
    pytest.mark.usefixtures("database"),
]
LONGEST_DESCRIPTION = 5000  # characters
# Searches for channels and for playlists: what they list are no videos.
OTHER_TYPES = ("EgIQAg==", "EgIQAvABAQ==", "EgIQAw==", "EgIQA_ABAQ==")
WATCHING = ("watch_page", "next", "player", "player_part", "reel_item_watch")
SLACK = timedelta(days=1)  # of a date that yt-dlp works out from "3 weeks ago" at the moment it is asked


def recordings() -> Iterator[dict[str, Any]]:
    manifest = Path(SHARED or ".") / "replay" / "recordings" / "manifest.jsonl"
    if not manifest.is_file():
        return
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "continuation" not in entry["key"]:
            yield entry


def dates(*endpoints: str) -> dict[tuple[str, ...], list[str]]:
    """The days on which each thing was recorded."""
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for entry in recordings():
        if entry["endpoint"] in endpoints:
            key = entry["key"]
            names = {"search": ("query", "params"), "browse": ("browseId", "tab")}.get(entry["endpoint"], ("videoId",))
            found[tuple(key.get(name) or "" for name in names)].add(entry["recorded"][:10])
    return {key: sorted(days) for key, days in sorted(found.items())}


NO_CHANNELS = ("UCAUc4iz6edWerIjlnL8OSSw", "UCoaO4U_p7G7AwalqSbGCZOA")  # what is recorded of them is that
# Of these even yt-dlp reads nothing: private, no id, a bot check, a page of 2020 whose player it does not know.
UNREADABLE = {
    "8VajtrESJzA": "gone", "INVALID_ID_": "gone", "_cMxraX_5RE": "rate_limited", "bvwohQavFV8": "rate_limited",
    "fC0pIEpECWQ": "extractor",
}  # fmt: skip
PARTS = 8  # of the watch pages

SEARCHES = {key: days for key, days in dates("search").items() if key[1] not in OTHER_TYPES}
LISTS = dates("browse")
VIDEOS = dates(*WATCHING)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have tests of their own, and would be most of the time of these."""
    monkeypatch.setattr(thumbnails, "missing", lambda connection, addresses: {})


def forget_all() -> None:
    with db.transaction("owner") as connection:
        connection.execute(text("TRUNCATE candidates, channels, collections, sources, gone_videos CASCADE"))


class Heard:
    """What yt-dlp warns of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Not of interest."""

    error = info = debug

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def asked_directly(replay: Replay, address: str, **options: Any) -> dict[str, Any] | None:
    """What yt-dlp itself returns."""
    options = {
        "proxy": replay.address, "compat_opts": {"no-certifi"}, "skip_download": True, "quiet": True, "no_warnings": True,
        "ignore_no_formats_error": True, "ignoreerrors": True, "cachedir": False, "noplaylist": True,
    } | options  # fmt: skip
    with yt_dlp.YoutubeDL(options) as downloader:
        return downloader.extract_info(address, download=False)


def listed_directly(replay: Replay, address: str) -> list[dict[str, Any]]:
    """The videos of a listing, each once; a channel's own tab names the channel for all of them."""
    info = asked_directly(
        replay, address, extract_flat="in_playlist", extractor_args={"youtubetab": {"approximate_date": [""]}}
    )
    found: dict[str, dict[str, Any]] = {}
    for entry in (info or {}).get("entries", []):
        if entry and entry.get("ie_key") == "Youtube":
            if info["channel_id"] == info["id"] if info and info.get("channel_id") else False:
                entry |= {
                    name: info[name]
                    for name in ("channel_id", "channel", "channel_url", "channel_follower_count")
                    if not entry.get(name) and info.get(name) is not None
                }
            found.setdefault(entry["id"], entry)
    return list(found.values())


def moment(info: dict[str, Any]) -> datetime | None:
    """When it was published."""
    if stamp := info.get("timestamp") or info.get("release_timestamp"):
        return datetime.fromtimestamp(stamp, UTC)
    return datetime.strptime(info["upload_date"], "%Y%m%d").replace(tzinfo=UTC) if info.get("upload_date") else None


def kind_of_media(info: dict[str, Any]) -> str | None:
    if info.get("media_type") == "short" or "/shorts/" in (info.get("webpage_url") or info.get("url") or ""):
        return "short"
    if info.get("media_type") == "livestream" or info.get("live_status") not in (None, "not_live"):
        return "live"
    return "video" if info.get("media_type") or info.get("duration") else None


def pictures(info: dict[str, Any]) -> list[str]:
    """The widest of those with a size, none wider than 1280; without any those that every video has, or its page names."""
    listed = info.get("thumbnails") or []
    sized = [one for one in listed if one.get("width") and one["width"] <= 1280]
    if sized:
        return [max(sized, key=lambda one: one["width"])["url"]]
    return [one["url"] for one in listed if one["url"].endswith(("/hqdefault.jpg", "/maxresdefault.jpg"))]


def title(info: dict[str, Any]) -> str:
    """Without the moment of asking, which yt-dlp adds to that of a live stream."""
    return re.sub(r" \d{4}-\d\d-\d\d \d\d:\d\d$", "", info["title"]) if info.get("is_live") else info["title"]


def expected(info: dict[str, Any], tier: str) -> dict[str, Any]:
    """The row of a video whose facts yt-dlp gave."""
    channel_id = info.get("channel_id") or info.get("uploader_id")
    clean = lambda value: value.replace("\x00", "").strip() or None if value else None  # noqa: E731
    full = tier == "full"
    return {
        "candidate_id": f"youtube:{info['id']}",
        "platform": "youtube",
        "video_id": info["id"],
        "url": info.get("webpage_url") if full else info["url"],
        "title": clean(title(info)),
        "description": clean((info.get("description") or "")[:LONGEST_DESCRIPTION]) if full else None,
        "category": (info.get("categories") or [None])[0] if full else None,
        "duration": info.get("duration"),
        "language": info["language"].lower() if info.get("language") else None,
        "media_type": kind_of_media(info),
        "tags": info.get("tags") or None,
        "views": info.get("view_count"),
        "likes": info.get("like_count"),
        "comments": info.get("comment_count"),
        "tier": tier,
        "channel_id": channel_id,
        "name": clean(info.get("channel") or info.get("uploader")) if channel_id else None,
        "channel_url": (info.get("channel_url") or info.get("uploader_url")) if channel_id else None,
        "followers": info.get("channel_follower_count") if channel_id else None,
    }


STORED = """
    SELECT candidate_id, candidates.platform, video_id, candidates.url, title, description, category, duration, language,
        media_type, tags, views, likes, comments, tier, channel_id, name, channels.url AS channel_url, followers,
        thumbnail_url, published_at, published_about
    FROM candidates LEFT JOIN channels USING (channel_key) ORDER BY candidate_id
"""


def differences(direct: list[dict[str, Any]], tier: str) -> dict[str, Any]:
    """Of what is stored what is not as yt-dlp gave it: by video and field (stored, given)."""
    stored = {row["video_id"]: row for row in records(STORED)}
    found: dict[str, Any] = dict.fromkeys({info["id"] for info in direct} - stored.keys(), "not stored")
    found |= dict.fromkeys(stored.keys() - {info["id"] for info in direct}, "not given")
    for info in direct:
        if info["id"] not in stored:
            continue
        row, wanted = stored[info["id"]], expected(info, tier)
        if wanted["duration"] and row["duration"] == pytest.approx(
            wanted["duration"], rel=1e-7
        ):  # single precision; years of a stream
            wanted["duration"] = row["duration"]
        wrong = {name: (row[name], wanted[name]) for name in wanted if row[name] != wanted[name]}
        if row["thumbnail_url"] not in (pictures(info) or [None]):
            wrong["thumbnail_url"] = (row["thumbnail_url"], pictures(info))
        said, exact, about = moment(info), row["published_at"], row["published_about"]
        if tier == "full" and (exact, about) != (said, None):
            wrong["published_at"] = (exact, said)
        if tier == "flat" and (
            exact or (about is None) != (said is None) or (about and said and abs(about - said) > SLACK)
        ):
            wrong["published_about"] = (about, said)
        found |= {info["id"]: wrong} if wrong else {}
    shots = records("SELECT video_id, snapshots.views, snapshots.tier, snapshots.source, exact FROM snapshots"
                 " JOIN candidates USING (candidate_id) ORDER BY 1")  # fmt: skip
    given = sorted((info["id"], info.get("view_count"), tier) for info in direct)
    if [(shot["video_id"], shot["views"], shot["tier"]) for shot in shots] != given:
        found["snapshots"] = shots
    assert all(shot["source"].endswith(f" yt-dlp-{scrape.YT_DLP_VERSION}") for shot in shots)
    assert tier == "flat" or all(shot["exact"] for shot in shots)
    return found


def assert_listed(replay: Replay, address: str) -> None:
    """All that yt-dlp lists there comes in by its listing, as it gives it and once."""
    direct = listed_directly(replay, address)
    forget_all()
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, address, "url", collecting.LARGEST_LIMIT, read_limit=0)
    report = collecting.carry_out(collection_id)
    assert report.found == len(direct)
    assert differences(direct, "flat") == {}
    if report.reason and "Incomplete data" in report.reason:  # YouTube answered a page without its videos
        assert (report.state, report.error_kind, report.pending) == ("failed", "extractor", len(direct))
        heard = Heard()
        asked_directly(replay, address, extract_flat="in_playlist", logger=heard, no_warnings=False)
        assert any("Incomplete data" in said for said in heard.warnings)
        return
    assert report.new == len(direct)
    if direct:
        assert (report.state, report.reason) == ("done", None)
    else:
        assert report.error_kind in ("gone", "invalid")


@pytest.mark.parametrize(("query", "params"), SEARCHES, ids=["-".join(key) for key in SEARCHES])
def test_a_recorded_search_comes_in_as_yt_dlp_reads_it(recorded: Replay, query: str, params: str) -> None:
    asked = {"search_query": query} | ({"sp": params} if params else {})
    for day in SEARCHES[query, params]:
        recorded.faults(as_of=day)
        assert_listed(recorded, f"https://www.youtube.com/results?{urlencode(asked)}")
    assert records(STORED)  # of the last day


@pytest.mark.parametrize(("browse_id", "tab"), LISTS, ids=["-".join(key) for key in LISTS])
def test_a_recorded_tab_or_playlist_comes_in_as_yt_dlp_reads_it(recorded: Replay, browse_id: str, tab: str) -> None:
    for day in LISTS[browse_id, tab]:
        recorded.faults(as_of=day)
        part = f"channel/{browse_id}/{tab}" if tab else f"playlist?list={browse_id.removeprefix('VL')}"
        assert_listed(recorded, f"https://www.youtube.com/{part}")
    assert bool(records(STORED)) != (browse_id in NO_CHANNELS)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_recorded_watch_page_comes_in_as_yt_dlp_reads_it(recorded: Replay, part: int) -> None:
    videos = [video_id for (video_id,) in list(VIDEOS)[part::PARTS]]
    assert videos
    for video_id in videos:
        for day in VIDEOS[video_id,]:
            recorded.faults(as_of=day)
            address = f"https://www.youtube.com/watch?v={video_id}"
            info = asked_directly(recorded, address, format="bestaudio/best")  # whose language is the video's
            forget_all()
            report = collecting.collect(address, kind="url")
            # yt-dlp makes a title up where there is none
            readable = info is not None and info["title"] != f"youtube video #{video_id}"
            assert readable != (video_id in UNREADABLE), (video_id, day)
            assert (video_id, day, differences([info] if info and readable else [], "full")) == (video_id, day, {})
            kind = report.error_kind or (report.items[0].error_kind if report.items else None)
            assert kind == UNREADABLE.get(video_id), (video_id, day, report.reason)
