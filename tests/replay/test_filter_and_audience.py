"""Filters and audiences with the unmodified yt-dlp: what comes in, and what is really sent."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import yt_dlp
from replaying import Replay
from sqlalchemy import text
from tables import rows
from yt_dlp.utils import match_filter_func

from miles import collecting, db, health

pytestmark = pytest.mark.usefixtures("database")


@pytest.mark.parametrize(
    "keep",
    [
        "duration <= 600",
        "title ~= '(?i)india|best' & !is_live & like_count >? 1",
        "upload_date >= 20230101 & view_count > 100000",
    ],
)
def test_a_filter_keeps_what_yt_dlps_own_keeps(replay: Replay, keep: str) -> None:
    everything = collecting.collect("street food", item_limit=12)
    addresses = [f"https://www.youtube.com/watch?v={key.split(':')[1]}" for key in everything.candidate_ids]
    kept: set[str] = set()
    options = {
        "proxy": replay.address, "compat_opts": {"no-certifi"}, "skip_download": True, "quiet": True,
        "no_warnings": True, "ignore_no_formats_error": True, "cachedir": False, "match_filter": match_filter_func(keep),
    }  # fmt: skip
    with yt_dlp.YoutubeDL(options) as downloader:
        downloader.add_post_processor(_Noting(kept), when="after_filter")
        for address in addresses:
            downloader.extract_info(address, download=False)
    assert 0 < len(kept) < len(addresses)  # else this test says nothing
    with db.transaction("owner") as connection:
        connection.execute(text("TRUNCATE collections, candidates CASCADE"))
    report = collecting.collect("street food", item_limit=12, keep=keep)
    assert (report.state, report.found) == ("done", everything.found)
    assert set(report.candidate_ids) == kept == {row[0] for row in rows("SELECT candidate_id FROM candidates")}
    assert report.skipped == everything.found - len(kept)
    assert all(
        "the filter leaves it out (" in (item.reason or "") for item in report.items if item.outcome == "skipped"
    )


class _Noting(yt_dlp.postprocessor.PostProcessor):
    """Writes down which videos yt-dlp goes on with."""

    def __init__(self, kept: set[str]) -> None:
        super().__init__()
        self._kept = kept

    def run(self, info: dict[str, Any]) -> tuple[list, dict[str, Any]]:
        self._kept.add(f"youtube:{info['id']}")
        return [], info


def test_what_the_listing_itself_refuses_costs_no_request(replay: Replay) -> None:
    collecting.collect("street food", item_limit=10, keep="duration > 999999")
    assert replay.requests() <= 2  # both searches, and not one video


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each request of yt-dlp carries as it goes out."""
    noted: list[dict[str, Any]] = []
    send = yt_dlp.YoutubeDL.urlopen

    def urlopen(self: yt_dlp.YoutubeDL, request: Any) -> Any:
        plain = isinstance(request, str)
        address = request if plain else request.url
        body = None if plain or not isinstance(request.data, bytes) else request.data
        client = json.loads(body)["context"]["client"] if body and "/youtubei/" in address else {}
        noted.append(
            {
                "path": urlsplit(address).path,
                "hl": client.get("hl"),
                "gl": client.get("gl"),
                "cookie": self.cookiejar.get_cookie_header(address) or "",
                "spoken": self.params["http_headers"]["Accept-Language"],
            }
        )
        return send(self, request)

    monkeypatch.setattr(yt_dlp.YoutubeDL, "urlopen", urlopen)
    return noted


def test_language_and_region_reach_the_searches_and_not_the_videos(replay: Replay, sent: list[dict[str, Any]]) -> None:
    report = collecting.collect("street food", item_limit=3, language="ja", region="JP")
    assert report.new == 3
    searches = [one for one in sent if one["path"] == "/youtubei/v1/search"]
    assert len(searches) == 2  # the Shorts and the others
    for one in searches:
        assert (one["hl"], one["gl"], one["spoken"]) == ("ja", "JP", "ja-JP,ja;q=0.9,en;q=0.8")
        assert "gl=JP" in one["cookie"]
        assert "hl=ja" in one["cookie"]
    videos = sent[len(searches) :]
    assert videos
    for one in videos:  # the same facts for everybody
        assert one["hl"] in (None, "en")
        assert one["gl"] != "JP"
        assert "gl=" not in one["cookie"]
        assert one["spoken"].startswith("en")
    # counts in words that yt-dlp does not read are not stored
    assert rows("SELECT count(*) FROM snapshots WHERE tier = 'flat'") == [(0,)]


def test_a_region_alone_keeps_what_the_listing_says(replay: Replay, sent: list[dict[str, Any]]) -> None:
    collecting.collect("street food", item_limit=3, region="BR")
    searches = [one for one in sent if one["path"] == "/youtubei/v1/search"]
    assert [(one["hl"], one["gl"]) for one in searches] == [("en", "BR")] * 2
    assert rows("SELECT count(*) FROM snapshots WHERE tier = 'flat' AND views > 0") == [(3,)]


def test_without_an_audience_nothing_of_one_is_sent(replay: Replay, sent: list[dict[str, Any]]) -> None:
    collecting.collect("street food", item_limit=2)
    assert all(one["gl"] in (None, "US") and "gl=" not in one["cookie"] for one in sent)


def test_a_hashtags_page_is_asked_for_in_its_region(replay: Replay, sent: list[dict[str, Any]]) -> None:
    collecting.collect("#shorts", kind="hashtag", item_limit=3, region="BR")
    pages = [one for one in sent if one["path"].startswith("/hashtag/")]
    assert pages
    assert all("gl=BR" in one["cookie"] for one in pages)


def test_the_canary_of_youtube_is_one_request_and_passes_what_was_recorded(replay: Replay) -> None:
    canary = health.ask("youtube")
    assert (canary.passed, canary.reason) == (True, None)
    assert canary.requests == replay.requests() == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"action": "empty_json"}, "transient"),
        ({"action": "garbage"}, "extractor"),
        ({"action": "status", "status": 503}, "transient"),
        ({"action": "status", "status": 429}, "rate_limited"),
    ],
)
def test_the_canary_fails_with_the_kind_of_what_went_wrong(replay: Replay, fault: dict[str, Any], kind: str) -> None:
    replay.faults({"match": {"endpoint": "search"}, **fault})
    canary = health.ask("youtube")
    assert (canary.passed, canary.error_kind) == (False, kind)
    assert canary.reason
