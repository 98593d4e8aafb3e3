"""Collecting with the unmodified yt-dlp from recorded YouTube answers, sound and broken."""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

import pytest
import yt_dlp
from replaying import Replay
from sqlalchemy import text
from tables import rows

from miles import collecting, collection_run, db, scrape, settings, storage, targets

pytestmark = pytest.mark.usefixtures("database")

SHORTS_CHANNEL = "UCh8gHdtzO2tXd593_bjErWg"  # its Shorts tab is recorded


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
    # one look by the listing, one by the video's own page
    full = rows("SELECT candidate_id, views, exact FROM snapshots WHERE tier = 'full'")
    assert sorted(full) == sorted((key, facts[1], True) for key, facts in expected.items())
    listed = rows("SELECT candidate_id FROM snapshots WHERE tier = 'flat'")
    assert sorted(listed) == sorted((key,) for key in expected)


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


@pytest.mark.parametrize("limit", [3, 40])
def test_one_listing_gives_the_channels_baseline(replay: Replay, limit: int) -> None:
    page = asked_directly(
        replay, f"https://www.youtube.com/channel/{SHORTS_CHANNEL}/shorts", extract_flat="in_playlist", playlistend=48
    )
    needed = replay.requests()
    replay.reset()
    replay.faults({"match": {"endpoint": ["watch", "player", "next"]}, "action": "status", "status": 404})
    collecting.collect(SHORTS_CHANNEL, kind="channel", item_limit=limit)
    [(views, number, format_, at)] = rows(
        "SELECT baseline_views, baseline_n, baseline_format, baseline_at FROM channels"
    )
    # all that came with the page counts, whatever the limit; nothing is asked for it
    assert (number, format_) == (len(page), "short")
    assert views == statistics.median(entry["view_count"] for entry in page)
    assert at
    videos, pictures = replay.failed(), limit
    assert replay.requests() - videos - pictures <= needed


@pytest.mark.parametrize(
    ("kind", "target", "address"),
    [
        ("playlist", "PL8dPuuaLjXtOAKed_MxxWBNaPno5h3Zs8", "https://www.youtube.com/playlist?list=PL8dPuuaLjXtOAKed_MxxWBNaPno5h3Zs8"),
        # all Shorts of a channel
        ("playlist", "UUSHBR8-60-B28hp2BmDPdntcQ", "https://www.youtube.com/playlist?list=UUSHBR8-60-B28hp2BmDPdntcQ"),
        ("hashtag", "#martingarrix", "https://www.youtube.com/hashtag/martingarrix/shorts"),
        # without a recorded Shorts tab: its videos
        ("channel", "UCsXVk37bltHxD1rDPwtNM8Q", "https://www.youtube.com/channel/UCsXVk37bltHxD1rDPwtNM8Q/videos"),
        ("url", "https://www.youtube.com/channel/UCR-DXc1voovS8nhAvccRZhg/streams", "https://www.youtube.com/channel/UCR-DXc1voovS8nhAvccRZhg/streams"),
    ],
)  # fmt: skip
def test_every_kind_of_listing_comes_in_as_yt_dlp_reads_it(
    replay: Replay, kind: str, target: str, address: str
) -> None:
    direct = asked_directly(replay, address, extract_flat="in_playlist", playlistend=25)
    assert len(direct) == 25
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, target, kind, 25, read_limit=0)
    report = collecting.carry_out(collection_id)
    assert (report.state, report.found, report.new, report.listed_only) == ("done", 25, 25, 25)
    assert rows("SELECT candidate_id, title, views, duration, tier FROM candidates ORDER BY 1") == sorted(
        (f"youtube:{e['id']}", e["title"], e.get("view_count"), e.get("duration"), "flat") for e in direct
    )
    shots = rows("SELECT views, exact FROM snapshots WHERE views >= 1000")
    assert not any(exact for views, exact in shots if not str(views)[3:].strip("0"))  # "1.2M views"


def test_what_is_gone_is_never_asked_for_again(replay: Replay) -> None:
    first = collecting.collect(SHORTS_CHANNEL, kind="channel", item_limit=5)
    assert {item.error_kind for item in first.items} == {"gone"}
    replay.reset()
    again = collecting.collect(SHORTS_CHANNEL, kind="channel", item_limit=5)
    assert (again.state, again.skipped) == ("done", 5)
    assert all((item.reason or "").startswith("it is gone (") for item in again.items)
    assert replay.requests() <= 3  # the tab


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
    assert (report.state, report.error_kind) == ("waiting", "rate_limited")
    assert "is not asked before" in (report.reason or "")
    assert 30 <= report.found == report.pending < 60  # nothing more was asked of a source that refuses
    assert replay.requests() == 3
    assert rows("SELECT tier, count(*) FROM candidates GROUP BY tier") == [("flat", report.found)]
    assert rows("SELECT state, pending, reason, resume_at FROM collections") == [
        ("waiting", report.found, report.reason, report.resume_at)
    ]


FACTS = (
    "SELECT candidate_id, title, description, channel_key, category, duration, language, media_type, published_at, tags,"
    " thumbnail_url, views, likes, comments, tier FROM candidates ORDER BY 1"
)


@pytest.fixture
def undisturbed(replay: Replay) -> list[tuple]:
    """What a collection brings in that never sees a fault."""
    collecting.collect("cirque du soleil", item_limit=12)
    facts = rows(FACTS)
    forget_all()
    replay.reset()
    return facts


def forget_all() -> None:
    with db.transaction("owner") as connection:
        connection.execute(text("TRUNCATE candidates, channels, collections, sources, gone_videos CASCADE"))


def let_the_cool_down_pass() -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE sources SET resume_at = now() WHERE resume_at IS NOT NULL"))


@pytest.mark.parametrize(
    "fault",
    [
        {"match": {"endpoint": "watch"}, "after": 3, "action": "status", "status": 429},
        {"match": {"endpoint": "player"}, "after": 3, "action": "status", "status": 429},
        {"match": {"endpoint": "player"}, "after": 3, "action": "bot_check"},
        {"match": {"endpoint": "search"}, "action": "status", "status": 429},
        {"match": {"endpoint": ["watch", "player"]}, "after": 3, "action": "status", "status": 403},
    ],
)
def test_a_refusal_ends_the_asking_and_after_it_the_rest_comes_in_as_if_nothing_had_been(
    replay: Replay, undisturbed: list[tuple], fault: dict[str, Any]
) -> None:
    replay.faults(fault)
    report = collecting.collect("cirque du soleil", item_limit=12)
    assert (report.state, report.error_kind) == ("waiting", "rate_limited")
    assert rows("SELECT count(*) <= 3 FROM candidates WHERE tier = 'full'") == [(True,)]
    assert report.found == report.new + report.pending
    asked = replay.requests()
    held = collecting.collect("cirque du soleil", item_limit=12)  # too early
    assert (held.collection_id, held.state, replay.requests()) == (report.collection_id, "waiting", asked)

    replay.faults()
    let_the_cool_down_pass()
    report = collecting.collect("cirque du soleil", item_limit=12)
    assert (report.collection_id, report.state, report.pending, report.new) == (held.collection_id, "done", 0, 12)
    assert rows(FACTS) == undisturbed
    assert rows("SELECT resume_at FROM sources WHERE source = 'youtube'") == [(None,)]


def test_the_breaker_opens_again_for_longer_when_the_try_is_refused(replay: Replay) -> None:
    replay.faults({"match": {"endpoint": "watch"}, "action": "status", "status": 429, "headers": {"Retry-After": "60"}})
    collecting.collect("cirque du soleil", item_limit=6)
    asked = replay.requests()
    let_the_cool_down_pass()
    report = collecting.collect("cirque du soleil", item_limit=6)
    assert report.state == "waiting"
    assert replay.requests() == asked + 1  # one try, and not one more
    assert rows("SELECT refusals, resume_at - opened_at >= interval '2 hours' FROM sources") == [(2, True)]


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 503, "count": 3},
        {"action": "reset", "count": 3},
        {"action": "truncate", "count": 3},
        {"action": "garbage", "count": 1},
        {"action": "cut_json", "count": 1},
        {"action": "empty_json", "count": 1},
        {"action": "consent", "count": 1},
    ],
)
@pytest.mark.parametrize("endpoint", ["watch", "player"])
def test_an_answer_that_lacks_a_part_is_asked_for_again_until_it_is_whole(
    replay: Replay, undisturbed: list[tuple], monkeypatch: pytest.MonkeyPatch, endpoint: str, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.05)
    replay.faults({"match": {"endpoint": endpoint}, "after": 4, **fault})
    report = collecting.collect("cirque du soleil", item_limit=12)
    assert (report.state, report.new) == ("done", 12)
    assert [item.reason for item in report.items if item.reason] == []
    assert rows(FACTS) == undisturbed


def test_what_stays_broken_is_kept_as_far_as_it_came_and_comes_whole_the_next_time(
    replay: Replay, undisturbed: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.05)
    replay.faults({"match": {"endpoint": "watch"}, "share": 0.5, "action": "status", "status": 503})
    first = collecting.collect("cirque du soleil", item_limit=12)
    assert (first.found, first.pending) == (12, 0)
    lacking = [item for item in first.items if item.error_kind]
    assert all(item.error_kind == "transient" and item.reason for item in lacking)
    replay.faults()
    second = collecting.collect("cirque du soleil", item_limit=12)
    assert (second.state, second.updated, second.skipped) == ("done", len(lacking), 12 - len(lacking))
    assert rows(FACTS) == undisturbed


def test_an_extractor_that_reads_nothing_any_more_stops_the_hammering(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.05)
    replay.faults({"match": {"endpoint": ["watch", "player", "next"]}, "action": "garbage"})
    report = collecting.collect("cirque du soleil", item_limit=30)
    assert (report.state, report.error_kind, report.found) == ("failed", "extractor", 30)
    assert "8 videos in a row could not be read" in (report.reason or "")
    assert "Failed to extract any player response" in (report.reason or "")  # the raw reason
    assert report.pending == 30
    assert rows("SELECT count(*) FROM gone_videos") == [(0,)]
    assert replay.requests() < 8 * 5 + 10


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
    state = "waiting" if kind == "rate_limited" else "failed"
    assert (report.state, report.found, report.error_kind) == (state, 0, kind)
    assert "Nothing was found" not in (report.reason or "")
    assert rows("SELECT state, reason FROM collections") == [(state, report.reason)]


def test_a_source_that_hangs_does_not_hold_the_collection(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "CALL_TIMEOUT", 1.0)
    replay.faults({"match": {"endpoint": "watch"}, "after": 2, "count": 1, "action": "drip", "bytes_per_second": 50})
    report = collecting.collect("cirque du soleil", item_limit=6)
    assert (report.state, report.found, report.new, report.listed_only) == ("done", 6, 6, 0)  # read at the second try


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
