"""Collecting with the unmodified yt-dlp from recorded YouTube answers, sound and broken."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yt_dlp
from replaying import Replay
from sqlalchemy import text

from miles import collecting, db, scrape, settings, storage, targets

pytestmark = pytest.mark.usefixtures("database")

SHORTS_CHANNEL = "UCh8gHdtzO2tXd593_bjErWg"  # its Shorts tab is recorded


def rows(statement: str, **parameters: object) -> list[tuple]:
    with db.transaction("viewer") as connection:
        return [tuple(row) for row in connection.execute(text(statement), parameters)]


def asked_directly(replay: Replay, *places: str, **options: object) -> list[dict[str, Any]]:
    """What yt-dlp itself returns, with nothing of Miles between."""
    options |= {
        "proxy": replay.address, "compat_opts": {"no-certifi"}, "skip_download": True, "quiet": True, "no_warnings": True,
        "ignore_no_formats_error": True, "ignoreerrors": True, "cachedir": False,
    }  # fmt: skip
    with yt_dlp.YoutubeDL(options) as downloader:
        infos = [downloader.extract_info(place, download=False) for place in places]
    return [entry for info in infos if info for entry in info.get("entries", [info]) if entry]


def merged(replay: Replay, topic: str, limit: int) -> list[dict[str, Any]]:
    """Both searches of a topic as yt-dlp returns them: two of the Shorts, then one of the others, each video once."""
    shorts, others = (
        iter(asked_directly(replay, address, extract_flat="in_playlist", playlistend=limit))
        for address in targets.addresses(topic, "topic", limit)
    )
    found: dict[str, dict[str, Any]] = {}
    lists = [(shorts, 2), (others, 1)]
    while lists and len(found) < limit:
        for one in list(lists):
            entries, share = one
            for _ in range(share if len(lists) > 1 else 1):
                entry = next((e for e in entries if e["id"] not in found), None)
                if entry is None:
                    lists.remove(one)
                    break
                if len(found) < limit:
                    found[entry["id"]] = entry
    return asked_directly(replay, *(entry["url"] for entry in found.values()))


@pytest.mark.parametrize(("topic", "limit"), [("street food", 10), ("cirque du soleil", 20), ("#shorts", 25)])
def test_a_topic_brings_in_what_yt_dlp_itself_returns(replay: Replay, topic: str, limit: int) -> None:
    report = collecting.collect(topic, item_limit=limit)
    assert (report.state, report.failed, report.reason) == ("done", 0, None)
    assert report.new == report.found > limit / 2
    expected = {
        f"youtube:{e['id']}": (
            e["title"],
            e["view_count"],
            e.get("like_count"),
            e.get("comment_count"),
            e.get("duration"),
        )
        for e in merged(replay, topic, limit)
    }
    stored = rows("SELECT candidate_id, title, views, likes, comments, duration FROM candidates")
    assert {key: (*facts,) for key, *facts in stored} == expected
    shots = rows("SELECT candidate_id, views, tier, exact FROM snapshots")
    assert {key: views for key, views, *_ in shots} == {key: facts[1] for key, facts in expected.items()}
    assert {tuple(rest) for _, _, *rest in shots} == {("full", True)}


def test_thumbnails_come_through_the_proxy_and_are_stored(replay: Replay) -> None:
    report = collecting.collect("street food", item_limit=5)
    kept = rows("SELECT candidate_id, sha256, content_type, width, bytes FROM thumbnails WHERE state = 'stored'")
    assert {row[0] for row in kept} == set(report.candidate_ids)
    for _, sha256, content_type, width, size in kept:
        data = storage.thumbnails().get(sha256)
        assert data is not None
        assert len(data) == size
        assert (content_type, width > 100) == ("image/jpeg", True)


def test_a_second_collection_only_asks_for_the_list(replay: Replay) -> None:
    collecting.collect("street food", item_limit=10)
    before = replay.requests()
    report = collecting.collect("street food", item_limit=10)
    assert (report.new, report.updated, report.skipped) == (0, 0, report.found)
    assert replay.requests() - before <= 2


def test_the_shorts_tab_of_a_channel(replay: Replay) -> None:
    listed = asked_directly(
        replay, f"https://www.youtube.com/channel/{SHORTS_CHANNEL}/shorts", extract_flat="in_playlist", playlistend=15
    )
    report = collecting.collect(SHORTS_CHANNEL, kind="channel", item_limit=15)
    # their watch pages are not recorded: what the list says is kept, and said to be that
    assert (report.state, report.found, report.new, report.listed_only) == ("done", 15, 15, 15)
    assert all((item.reason or "").startswith(collecting.LISTED_ONLY) for item in report.items)
    stored = rows("SELECT video_id, title, views, media_type, tier FROM candidates")
    assert {row[:3] for row in stored} == {(e["id"], e["title"], e["view_count"]) for e in listed}
    assert {row[3:] for row in stored} == {("short", "flat")}
    assert rows("SELECT DISTINCT exact, tier FROM snapshots") == [(False, "flat")]  # "1.2M views"
    [(name, followers)] = rows("SELECT name, followers FROM channels")
    assert name == "Doobydobap"
    assert followers > 1_000_000


def test_a_handle_names_the_same_channel(replay: Replay) -> None:
    report = collecting.collect("@Doobydobap", kind="channel", item_limit=3)
    assert report.new == 3
    assert rows("SELECT DISTINCT channel_key FROM candidates") == [(f"youtube:{SHORTS_CHANNEL}",)]


def test_an_address_of_one_video(replay: Replay) -> None:
    [entry] = asked_directly(replay, "ytsearch1:cirque du soleil")
    report = collecting.collect(entry["webpage_url"], kind="url")
    assert report.candidate_ids == (f"youtube:{entry['id']}",)
    assert rows("SELECT views FROM candidates") == [(entry["view_count"],)]


def test_a_tiktok_page(replay: Replay) -> None:
    # read with curl_cffi, which has its own ways with proxies and certificates
    report = collecting.collect("https://www.tiktok.com/@illojuan/video/7571863205253778710", kind="url")
    assert (report.state, report.candidate_ids) == ("done", ("tiktok:7571863205253778710",))
    assert rows("SELECT views, likes, comments, tier FROM candidates") == [(192_100, 25_500, 146, "full")]


def test_too_many_requests_on_the_second_page_keeps_the_first(replay: Replay) -> None:
    # the first page of each of both searches comes, and nothing after them
    replay.faults({"match": {"endpoint": "search"}, "after": 2, "action": "status", "status": 429})
    report = collecting.collect("cirque du soleil", item_limit=60)
    assert (report.state, report.error_kind) == ("failed", "rate_limited")
    assert "is not asked before" in (report.reason or "")
    assert 30 <= report.found < 60
    assert report.new == report.listed_only == report.found  # nothing more was asked of a source that refuses
    assert rows("SELECT DISTINCT tier FROM candidates") == [("flat",)]
    assert rows("SELECT state, new, reason FROM collections") == [("failed", report.found, report.reason)]


@pytest.mark.parametrize("endpoint", ["watch", "player"])
def test_too_many_requests_for_videos_ends_the_asking(replay: Replay, endpoint: str) -> None:
    replay.faults({"match": {"endpoint": endpoint}, "after": 3, "action": "status", "status": 429})
    report = collecting.collect("cirque du soleil", item_limit=20)
    assert (report.state, report.error_kind, report.found) == ("failed", "rate_limited", 20)
    full = rows("SELECT count(*) FROM candidates WHERE tier = 'full'")[0][0]
    assert 1 <= full <= 4
    assert (report.new, report.listed_only) == (20, 20 - full)
    assert replay.requests() < 20 + 20  # thumbnails, and hardly anything else


def test_a_bot_check_without_any_facts_ends_the_asking(replay: Replay) -> None:
    replay.faults(
        {"match": {"endpoint": "player"}, "action": "bot_check"},
        {"match": {"endpoint": "watch"}, "action": "status", "status": 404},
    )
    report = collecting.collect("cirque du soleil", item_limit=10)
    assert (report.state, report.found) == ("failed", 10)
    assert rows("SELECT count(*) FROM candidates WHERE tier = 'full'") == [(0,)]


def test_one_broken_page_does_not_stop_the_others(replay: Replay) -> None:
    replay.faults({"match": {"endpoint": "watch"}, "after": 2, "count": 1, "action": "garbage"})
    report = collecting.collect("cirque du soleil", item_limit=8)
    assert (report.state, report.found, report.new) == ("done", 8, 8)
    assert rows("SELECT count(*) >= 7 FROM candidates WHERE tier = 'full'") == [(True,)]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"action": "status", "status": 503}, "transient"),
        ({"action": "reset"}, "transient"),
        ({"action": "truncate"}, "transient"),
        ({"action": "empty_json"}, "transient"),  # looks like "no results"
        ({"action": "cut_json"}, "extractor"),
        ({"action": "garbage"}, "extractor"),
        ({"action": "status", "status": 429}, "rate_limited"),
        ({"action": "status", "status": 403}, "rate_limited"),
    ],
)
def test_a_search_that_fails_says_why_and_is_never_no_results(replay: Replay, fault: dict[str, Any], kind: str) -> None:
    replay.faults({"match": {"endpoint": "search"}, **fault})
    report = collecting.collect("cirque du soleil", item_limit=5)
    assert (report.state, report.found, report.error_kind) == ("failed", 0, kind)
    assert "Nothing was found" not in (report.reason or "")
    assert rows("SELECT state, reason FROM collections") == [("failed", report.reason)]


def test_a_source_that_hangs_does_not_hold_the_collection(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "CALL_TIMEOUT", 1.0)
    replay.faults({"match": {"endpoint": "watch"}, "after": 2, "count": 1, "action": "drip", "bytes_per_second": 50})
    report = collecting.collect("cirque du soleil", item_limit=6)
    assert (report.state, report.found, report.new, report.listed_only) == ("done", 6, 6, 1)


def test_an_unknown_channel_is_said(replay: Replay) -> None:
    report = collecting.collect("@nobodyhasthishandle123", kind="channel", item_limit=5)
    assert (report.state, report.found) == ("failed", 0)
    assert report.reason
    assert report.error_kind in ("gone", "invalid")


def test_a_certificate_that_is_not_trusted_is_said(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    settings.load.cache_clear()
    report = collecting.collect("cirque du soleil", item_limit=5)
    assert (report.state, report.error_kind) == ("failed", "invalid")
    assert "SSL_CERT_FILE" in (report.reason or "")


def test_the_command_collects_and_says_so_in_json(replay: Replay) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miles", "collect", "street food", "--limit", "6", "--json"],
        cwd=settings.PROJECT, env=os.environ, capture_output=True, timeout=120, text=True, check=False,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert document["found"] == document["new"] + document["updated"] + document["skipped"] + document["failed"] > 0
    assert sorted(document["candidate_ids"]) == [
        row[0] for row in rows("SELECT candidate_id FROM candidates ORDER BY 1")
    ]
