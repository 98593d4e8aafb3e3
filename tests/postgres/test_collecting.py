"""Collecting from a web site on loopback with yt-dlp's generic extractor, into a real database."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from loopback import Answer, Site, picture
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from tables import rows

from miles import (
    collecting,
    collection_run,
    db,
    images,
    items,
    pacing,
    revisits,
    scrape,
    settings,
    storage,
    store,
    thumbnails,
)
from miles.candidates import Candidate, Channel, Observation, Snapshot, Tier
from miles.errors import MilesError, SourceError
from miles.scrape import Found

pytestmark = pytest.mark.usefixtures("database")


def collect(address: str, limit: int = 20) -> collecting.CollectionReport:
    return collecting.collect(address, kind="url", item_limit=limit)


def test_videos_come_in_with_their_counts_dates_and_thumbnails(site: Site) -> None:
    for name, views in (("one", 123), ("two", 4_500_000_000)):
        site.video(name, views=views)
    report = collect(site.feed(["one", "two"]))
    assert (report.state, report.found, report.new, report.failed, report.reason) == ("done", 2, 2, 0, None)
    found = rows(
        "SELECT candidate_id, title, views, duration, published_at, tier, source, platform FROM candidates ORDER BY views"
    )
    assert [row[0] for row in found] == sorted(report.candidate_ids)
    published = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert [row[1:6] for row in found] == [
        ("Video one", 123, 42.0, published, "full"),
        ("Video two", 4_500_000_000, 42.0, published, "full"),
    ]
    assert found[0][6] == f"generic yt-dlp-{scrape.YT_DLP_VERSION}"
    assert found[0][7] == "127.0.0.1"  # the site, not "generic"
    assert rows("SELECT views, exact, tier FROM snapshots ORDER BY views") == [
        (123, True, "full"),
        (4_500_000_000, True, "full"),
    ]
    drawn = picture(seed=sum(b"one"))
    assert rows(
        "SELECT sha256, content_type, width, height, bytes, state FROM thumbnails JOIN candidates USING (candidate_id) WHERE views = 123"
    ) == [(hashlib.sha256(drawn).hexdigest(), "image/png", 64, 36, len(drawn), "stored")]
    assert storage.thumbnails().get(hashlib.sha256(drawn).hexdigest()) == drawn


def test_the_row_of_a_collection_tells_what_came_of_it(site: Site) -> None:
    site.video("one", views=1)
    report = collect(site.feed(["one", "missing"]))
    assert rows("SELECT state, found, new, updated, skipped, failed, reason, kind FROM collections") == [
        ("done", 2, 1, 0, 0, 1, None, "url")
    ]
    assert report.found == report.new + report.updated + report.skipped + report.failed
    outcomes = {item.outcome: item for item in report.items}
    assert outcomes["failed"].reason == "The source answered 404 (Not Found)."
    assert outcomes["new"].title == "Video one"
    assert rows("SELECT service, requests > 2, seconds > 0 FROM usage") == [("yt-dlp", True, True)]


def test_what_was_read_a_moment_ago_is_skipped_without_a_request(site: Site) -> None:
    site.video("one", views=1)
    feed = site.feed(["one"])
    collect(feed)
    site.requests.clear()
    report = collect(feed)
    assert (report.state, report.new, report.skipped) == ("done", 0, 1)
    assert report.items[0].reason == "collected less than 6 h ago"
    assert site.requests == ["/feed.xml"]


def test_a_known_video_gets_another_snapshot_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.video("one", views=100)
    feed = site.feed(["one"])
    collect(feed)
    monkeypatch.setattr(items, "FRESH_HOURS", 0)
    site.video("one", views=175)
    report = collect(feed)
    assert (report.new, report.updated, len(report.candidate_ids)) == (0, 1, 1)
    assert rows("SELECT views FROM snapshots ORDER BY observed_at") == [(100,), (175,)]
    assert rows("SELECT views FROM candidates") == [(175,)]
    assert site.requests.count("/thumbnail/one.png") == 1  # the picture we have is young enough


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"no", status=404), "404"),
        (Answer(b"<html>not a picture</html>", "image/png"), "not a whole picture"),
        (Answer(picture(300, 300)[:200], "image/png"), "not a whole picture"),
        (Answer(bytes(images.MAX_BYTES + 1), "image/png"), "larger than 10 MB"),
        (Answer(status=302, headers={"Location": "file:///etc/hostname"}), "Not a web address"),
    ],
)
def test_a_bad_thumbnail_never_fails_its_video(site: Site, answer: Answer, reason: str) -> None:
    site.video("one", views=1)
    site.pages["/thumbnail/one.png"] = answer
    report = collect(site.feed(["one"]))
    assert (report.state, report.new, report.failed) == ("done", 1, 0)
    [(state, why, sha256)] = rows("SELECT state, reason, sha256 FROM thumbnails")
    assert (state, sha256) == ("failed", None)
    assert reason in why


def test_a_thumbnail_that_fails_later_does_not_replace_the_one_we_have(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.video("one", views=1)
    feed = site.feed(["one"])
    collect(feed)
    monkeypatch.setattr(items, "FRESH_HOURS", 0)
    monkeypatch.setattr(thumbnails, "AGE", timedelta(0))
    site.pages["/thumbnail/one.png"] = Answer(status=500)
    assert collect(feed).updated == 1
    assert rows("SELECT state, reason FROM thumbnails") == [("stored", None)]


def test_one_bad_video_never_stops_the_collection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "CALL_TIMEOUT", 1.0)
    names = ["gone", "broken", "drips", "listless", "good"]
    for name in names:
        site.video(name, views=7)
    site.pages["/watch/gone"] = Answer(status=410)
    site.pages["/watch/broken"] = Answer(b"\xff\xfe\x00garbage", "application/octet-stream", status=500)
    site.pages["/watch/drips"] = Answer(site.pages["/watch/drips"].body, drip=0.2)  # type: ignore[union-attr]
    site.pages["/watch/listless"] = Answer(b"<html><title>No video here</title></html>")
    report = collect(site.feed(names))
    assert (report.state, report.found, report.new, report.failed) == ("done", 5, 1, 4)
    assert all(item.reason for item in report.items if item.outcome == "failed")
    assert any("too slow" in (item.reason or "") for item in report.items)


def test_too_many_requests_ends_the_asking_and_keeps_what_is_in(site: Site) -> None:
    names = [f"v{number}" for number in range(10)]
    for name in names:
        site.video(name, views=7)
    site.pages["/watch/v4"] = Answer(b"slow down", status=429)
    report = collect(site.feed(names))
    assert (report.state, report.error_kind, report.new, report.pending) == ("waiting", "rate_limited", 4, 6)
    assert "is not asked before" in (report.reason or "")
    assert rows("SELECT state, new, failed, pending, reason, resume_at FROM collections") == [
        ("waiting", 4, 0, 6, report.reason, report.resume_at)
    ]
    assert not {"/watch/v5", "/watch/v9"} & set(site.requests)
    assert rows("SELECT count(*) FROM snapshots") == [(4,)]


def test_a_stopped_collection_waits_and_goes_on_where_it_was(site: Site) -> None:
    names = [f"v{number}" for number in range(6)]
    for name in names:
        site.video(name, views=7)
    feed = site.feed(names)
    with db.transaction("operator") as connection:
        collection_id = collecting.ask(connection, feed, "url")
    with pytest.raises(InterruptedError):
        collecting.carry_out(collection_id, stop=lambda: "/media/v2.mp4" in site.requests)
    assert rows("SELECT state, new FROM collections") == [("waiting", 3)]
    report = collecting.carry_out(collection_id)
    assert (report.state, report.found, report.new, report.updated, report.skipped) == ("done", 6, 6, 0, 0)
    assert [site.requests.count(f"/watch/{name}") for name in names] == [1] * 6
    assert rows("SELECT count(*) FROM snapshots") == [(6,)]


def test_a_batch_is_stored_whole_or_not_at_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        site.video(name, views=7)
    original = items.settle

    def fails(connection: Connection, collection_id: int, outcomes: list) -> None:
        original(connection, collection_id, outcomes)
        raise RuntimeError("killed here")

    monkeypatch.setattr(items, "settle", fails)
    with pytest.raises(RuntimeError, match="killed here"):
        collect(site.feed(["one", "two"]))
    assert rows("SELECT state, reason, pending FROM collections") == [("failed", "RuntimeError: killed here", 2)]
    for table in ("candidates", "snapshots", "thumbnails"):
        assert rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert rows("SELECT DISTINCT outcome FROM collection_items") == [("pending",)]


def test_a_collection_that_is_broken_off_says_so_and_keeps_what_came_in(site: Site) -> None:
    names = [f"v{number}" for number in range(8)]
    for name in names:
        site.video(name, views=7)

    def break_off(at: collecting.Progress) -> None:
        if at.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collecting.collect(site.feed(names), kind="url", on_progress=break_off)
    assert rows("SELECT state, reason, new FROM collections") == [("failed", collecting.INTERRUPTED, 5)]
    assert rows("SELECT count(*) FROM candidates") == [(5,)]


def test_what_nobody_works_on_any_more_is_given_up(site: Site) -> None:
    with db.transaction("worker") as connection:
        ids = [collecting.ask(connection, f"topic {number}") for number in range(4)]
        young, command, job, done = ids
        connection.execute(
            text(
                "UPDATE collections SET alive_at = now() - CASE WHEN collection_id = :young THEN interval '5 minutes'"
                " ELSE interval '11 minutes' END, state = CASE WHEN collection_id = :done THEN 'done' ELSE 'running' END"
            ),
            {"young": young, "done": done},
        )
        connection.execute(
            text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status)"
                " VALUES ('default', 'collect', jsonb_build_object('collection_id', cast(:job AS bigint)), 'doing')"
            ),
            {"job": job},
        )
        collecting.give_up_abandoned(connection)
    assert rows("SELECT collection_id, reason FROM collections WHERE state = 'failed'") == [
        (command, collecting.INTERRUPTED)
    ]


def test_the_limit_is_kept(site: Site) -> None:
    names = [f"v{number}" for number in range(9)]
    for name in names:
        site.video(name, views=7)
    assert collect(site.feed(names), limit=4).found == 4
    assert "/watch/v4" not in site.requests


def test_a_page_with_one_video_is_read_once(site: Site) -> None:
    report = collect(site.video("one", views=99))
    assert (report.new, rows("SELECT views FROM candidates")) == (1, [(99,)])
    assert site.requests.count("/watch/one") == 1


def test_a_video_without_a_title_does_not_end_a_list(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = {
        "_type": "playlist", "extractor": "site", "extractor_key": "Site", "webpage_url": f"{site.address}/list",
        "entries": [{"id": "a", "title": "A", "view_count": 1}, {"id": "b"}, {"id": "c", "title": "C", "view_count": 3}],
    }  # fmt: skip
    site.pages["/list"] = Answer(b"<html><title>A list</title></html>")
    resolve = scrape.Source._resolve

    def answer(self: scrape.Source, url: str, extractor: str | None = None) -> dict:
        return listing if url == f"{site.address}/list" else resolve(self, url, extractor)

    monkeypatch.setattr(scrape.Source, "_resolve", answer)
    report = collect(f"{site.address}/list")
    assert (report.state, report.found, report.new, report.failed) == ("done", 3, 2, 1)
    assert rows("SELECT candidate_id, views FROM candidates ORDER BY 1") == [("site:a", 1), ("site:c", 3)]


def test_two_sites_can_name_their_videos_alike(site: Site) -> None:
    site.video("one", views=1)
    site.pages["/other/one"] = site.pages["/watch/one"]
    collect(site.address + "/watch/one")
    collect(site.address + "/other/one")
    assert rows("SELECT count(*) FROM candidates") == [(2,)]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"<html><title>No video here</title></html>", "invalid", "No video was found at this address"),
        (
            b'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title></channel></rss>',
            "invalid",
            "Nothing was found",
        ),
    ],
)
def test_nothing_found_is_said(site: Site, body: bytes, kind: str, words: str) -> None:
    site.pages["/empty"] = Answer(body, "application/rss+xml" if body.startswith(b"<?xml") else "text/html")
    report = collect(site.address + "/empty")
    assert (report.state, report.found, report.error_kind) == ("failed", 0, kind)
    assert words in (report.reason or "")


@pytest.mark.usefixtures("site")  # for its pace: nobody is at port 9
def test_a_source_that_is_not_there_is_said() -> None:
    report = collect("http://127.0.0.1:9/feed.xml")
    assert (report.state, report.error_kind) == ("failed", "transient")
    assert "can't be reached" in (report.reason or "")


@pytest.mark.parametrize(
    ("target", "kind", "limit"),
    [
        ("", "topic", 20),
        ("   ", "topic", 20),
        ("x" * 501, "topic", 20),
        ("food", "mood", 20),
        ("food", "topic", 0),
        ("food", "topic", 501),
    ],
)
def test_a_senseless_request_is_refused_and_leaves_no_row(target: str, kind: str, limit: int) -> None:
    with db.transaction("operator") as connection, pytest.raises(SourceError) as refusal:
        collecting.ask(connection, target, kind, limit)
    assert refusal.value.kind == "invalid"
    assert rows("SELECT count(*) FROM collections") == [(0,)]


# -- waiting, resuming, cancelling


def watched(site: Site) -> list[str]:
    """The videos' pages that were asked for, in order, without those beside them."""
    return [path.removeprefix("/watch/") for path in site.requests if path.startswith("/watch/")]


def videos(site: Site, number: int) -> list[str]:
    names = [f"v{one}" for one in range(number)]
    for name in names:
        site.video(name, views=7)
    return names


def let_the_cool_down_pass() -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE sources SET resume_at = now() WHERE resume_at IS NOT NULL"))


def test_a_refused_collection_goes_on_after_the_cool_down_and_asks_for_nothing_twice(site: Site) -> None:
    names = videos(site, 8)
    site.pages["/watch/v3"] = Answer(status=429)
    feed = site.feed(names)
    first = collect(feed)
    assert (first.state, first.new, first.pending) == ("waiting", 3, 5)
    assert first.resume_at
    asked = len(site.requests)
    early = collect(feed)
    assert (early.collection_id, early.state, len(site.requests)) == (first.collection_id, "waiting", asked)

    site.video("v3", views=7)
    let_the_cool_down_pass()
    report = collect(feed)
    assert (report.collection_id, report.state, report.reason, report.resume_at) == (
        first.collection_id,
        "done",
        None,
        None,
    )
    assert (report.found, report.new, report.pending) == (8, 8, 0)
    assert sorted(watched(site)) == sorted([*names, "v3"])
    assert site.requests.count("/feed.xml") == 1
    assert rows("SELECT count(*), count(DISTINCT candidate_id) FROM snapshots") == [(8, 8)]


def test_a_used_up_budget_makes_the_collection_wait_and_not_one_request_more_is_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "7")
    settings.load.cache_clear()
    names = videos(site, 8)
    report = collect(site.feed(names))
    assert (report.state, report.found) == ("waiting", 8)
    assert "budget of 7 requests an hour is used up" in (report.reason or "")
    assert len([path for path in site.requests if not path.startswith("/thumbnail/")]) == 7
    assert report.new + report.pending == 8
    [(oldest,)] = rows("SELECT min(at) FROM source_requests")
    assert report.resume_at == oldest + pacing.WINDOW

    monkeypatch.setenv("MILES_HOURLY_BUDGET", "100")
    settings.load.cache_clear()
    assert collecting.carry_out(report.collection_id).state == "done"


def test_a_refused_listing_waits_and_is_read_later(site: Site) -> None:
    feed = site.feed(videos(site, 2))
    page = site.pages["/feed.xml"]
    site.pages["/feed.xml"] = Answer(status=429)
    first = collect(feed)
    assert (first.state, first.found, first.pending) == ("waiting", 0, 0)
    site.pages["/feed.xml"] = page
    let_the_cool_down_pass()
    assert (collect(feed).state, collect(feed).skipped) == ("done", 2)


def test_one_source_that_refuses_does_not_hold_up_the_others(site: Site) -> None:
    other = Site()
    try:
        here, there = videos(site, 3), videos(other, 1)
        links = [f"{other.address.replace('127.0.0.1', 'localhost')}/watch/{name}" for name in there]
        links += [f"{site.address}/watch/{name}" for name in here]
        entries = "".join(f"<item><title>x</title><link>{link}</link></item>" for link in links)
        site.pages["/mixed.xml"] = Answer(
            f'<?xml version="1.0"?><rss version="2.0"><channel><title>All</title>{entries}</channel></rss>'.encode(),
            "application/rss+xml",
        )
        other.pages["/watch/v0"] = Answer(status=429)
        report = collect(f"{site.address}/mixed.xml")
        assert (report.state, report.new, report.pending) == ("waiting", 3, 1)
        assert (report.reason or "").startswith("localhost is not asked before")
    finally:
        other.close()


def test_nothing_is_called_done_while_anything_is_pending() -> None:
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, "food")
    with pytest.raises(IntegrityError, match="nothing_is_done"), db.transaction("worker") as connection:
        connection.execute(text("UPDATE collections SET pending = 1, state = 'done'"))
    assert rows("SELECT collection_id, state FROM collections") == [(collection_id, "waiting")]


def test_what_may_pass_is_tried_again_within_the_collection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.05)
    names = videos(site, 4)
    good = site.pages["/watch/v1"]
    answers = iter([Answer(status=503), Answer(status=503)])
    site.pages["/watch/v1"] = lambda: next(answers, good)  # type: ignore[arg-type, return-value]
    report = collect(site.feed(names))
    assert (report.state, report.new) == ("done", 4)
    assert watched(site) == ["v0", "v1", "v2", "v3", "v1", "v1"]  # after the others, not before them
    assert rows("SELECT attempts FROM collection_items ORDER BY position") == [(1,), (3,), (1,), (1,)]


def test_what_failed_for_a_passing_reason_is_tried_again_by_a_resume_and_what_is_gone_is_not(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.01)
    names = videos(site, 4)
    site.pages["/watch/v1"] = Answer(status=503)
    site.pages["/watch/v2"] = Answer(status=410)
    report = collect(site.feed(names))
    assert (report.state, report.new, report.failed) == ("done", 2, 2)
    assert sorted(i.error_kind or "" for i in report.items) == ["", "", "gone", "transient"]
    assert rows("SELECT error_kind, expected FROM collection_items WHERE outcome = 'failed' ORDER BY 1") == [
        ("gone", True),
        ("transient", False),
    ]
    site.requests.clear()
    site.video("v1", views=7)
    with db.transaction("operator") as connection:
        collecting.resume(connection, report.collection_id)
    assert rows("SELECT state, pending FROM collections") == [("waiting", 1)]
    report = collecting.carry_out(report.collection_id)
    assert (report.state, report.new, report.failed) == ("done", 3, 1)
    assert watched(site) == ["v1"]
    with db.transaction("operator") as connection, pytest.raises(MilesError, match="nothing of it failed"):
        collecting.resume(connection, report.collection_id)


def test_what_is_gone_is_skipped_by_every_later_collection(site: Site) -> None:
    names = videos(site, 2)
    site.pages["/watch/v1"] = Answer(status=404)
    collect(site.feed(names))
    site.requests.clear()
    report = collect(site.feed(names, "/another.xml"))
    assert sorted((i.outcome, i.reason) for i in report.items) == [
        ("skipped", "collected less than 6 h ago"),
        ("skipped", "it is gone (The source answered 404 (Not Found).)"),
    ]
    assert watched(site) == []


def test_where_nothing_can_be_read_any_more_the_rest_is_not_tried_and_stays_pending(site: Site) -> None:
    names = videos(site, 15)
    for name in names[3:]:
        site.pages[f"/watch/{name}"] = Answer(status=500)
    report = collect(site.feed(names))
    assert (report.state, report.error_kind, report.new, report.pending) == ("failed", "transient", 3, 12)
    assert f"{collection_run.STREAK} videos in a row could not be read" in (report.reason or "")
    assert "The source answered 500" in (report.reason or "")  # the raw reason
    assert set(watched(site)) == set(names[: 3 + collection_run.STREAK])
    for name in names:
        site.video(name, views=7)
    with db.transaction("operator") as connection:
        collecting.resume(connection, report.collection_id)
    assert (collecting.carry_out(report.collection_id).new, rows("SELECT state FROM collections")) == (15, [("done",)])


def test_a_collection_that_errors_break_off_waits_longer_each_time_and_not_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.01)
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, f"{site.address}/feed.xml", "url")
    site.pages["/feed.xml"] = Answer(status=502)
    for wait in (30, 120, 480):
        report = collecting.carry_out(collection_id)
        assert report.state == "waiting"
        assert report.resume_at
        assert abs(report.resume_at - datetime.now(UTC) - timedelta(seconds=wait)) < timedelta(seconds=60)
    assert collecting.carry_out(collection_id).state == "failed"
    site.feed(videos(site, 1))
    with db.transaction("operator") as connection:
        collecting.resume(connection, collection_id)
    assert collecting.carry_out(collection_id).state == "done"


def test_a_running_collection_can_be_cancelled_and_resumed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_run, "LOOK_UP", 0.0)
    names = videos(site, 8)
    with db.transaction("operator") as connection:
        collection_id = collecting.ask(connection, site.feed(names), "url")

    def cancel(at: collecting.Progress) -> None:
        if at.done == 3:
            with db.transaction("operator") as connection:
                collecting.cancel(connection, collection_id)

    report = collecting.carry_out(collection_id, on_progress=cancel)
    assert (report.state, report.new, report.pending, report.reason) == ("cancelled", 3, 5, collecting.CANCELLED)
    assert watched(site) == names[:3]
    assert collecting.carry_out(collection_id).state == "cancelled"  # a job that comes late does nothing
    assert len(watched(site)) == 3
    with db.transaction("operator") as connection:
        collecting.resume(connection, collection_id)
    report = collecting.carry_out(collection_id)
    assert (report.state, report.new, watched(site)) == ("done", 8, names)


def test_a_done_collection_is_not_done_again(site: Site) -> None:
    report = collect(site.feed(videos(site, 2)))
    asked = len(site.requests)
    again = collecting.carry_out(report.collection_id)
    assert (again.state, again.new, again.candidate_ids) == ("done", 2, report.candidate_ids)
    assert len(site.requests) == asked


def test_how_a_collection_stands_can_be_read_while_it_waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.01)
    names = videos(site, 8)
    collect(site.feed(names[:2], "/before.xml"))
    site.pages["/watch/v2"] = Answer(status=410)
    site.pages["/watch/v3"] = Answer(b"<html>no video</html>")
    site.pages["/watch/v5"] = Answer(status=429)
    report = collect(site.feed(names))
    with db.transaction("viewer") as connection:
        at = collecting.progress(connection, report.collection_id)
    assert (at.state, at.listed, at.found, at.fetched, at.pending) == ("waiting", True, 8, 1, 3)
    assert at.skipped == {"collected less than 6 h ago": 2}
    assert at.failed == {"gone": 1, "invalid": 1}
    assert at.resume_at == report.resume_at
    assert at.resume_at
    assert at.finish_at
    assert at.resume_at <= at.finish_at < at.resume_at + timedelta(minutes=1)
    with db.transaction("viewer") as connection, pytest.raises(MilesError, match="does not exist"):
        collecting.progress(connection, 4711)


# -- what is read first


def listed(name: str, views: int | None, days: float | None = None, **more: object) -> Found:
    now = datetime.now(UTC)
    video = Candidate(
        "youtube", name, name, published_about=None if days is None else now - timedelta(days=days),
        channel=Channel("youtube", "UCx"), **more,
    )  # type: ignore[arg-type]  # fmt: skip
    return Found(f"https://www.youtube.com/watch?v={name}", video.key, Observation(video, Snapshot(now, views), "flat"))


def test_what_is_new_and_promising_is_read_first_then_what_is_due_then_the_rest() -> None:
    hours = timedelta(hours=1)
    look("due", 8 * hours, 8 * hours)
    look("seen", 40 * hours, 13 * hours)  # its look at a day was taken
    found = [
        listed("seen", 10**9), listed("due", 10), listed("small", 50, 2), listed("old", 90_000, 900),
        listed("big", 90_000, 2), listed("unknown", None),
    ]  # fmt: skip
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, "food")
        items.add(connection, collection_id, found, position=0, room=20)
        order = [one.candidate_id.removeprefix("youtube:") for one in items.pending(connection, collection_id)]
    assert order == ["big", "old", "small", "unknown", "due", "seen"]


def test_a_listing_is_kept_before_anything_is_read() -> None:
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, "food")
        items.add(connection, collection_id, [listed("a", 5), listed("b", None)], position=0, room=20)
        items.add(connection, collection_id, [listed("a", 5)], position=0, room=20)  # listed again after a kill
    assert rows("SELECT candidate_id, views, tier FROM candidates ORDER BY 1") == [
        ("youtube:a", 5, "flat"),
        ("youtube:b", None, "flat"),
    ]
    assert rows("SELECT count(*) FROM snapshots WHERE candidate_id = 'youtube:a'") == [(1,)]
    assert rows("SELECT outcome, listed, first FROM collection_items") == [("pending", True, True)] * 2


def test_a_limit_of_what_is_read_leaves_the_rest_to_the_listing(site: Site) -> None:
    names = videos(site, 6)
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, site.feed(names), "url", read_limit=2)
    report = collecting.carry_out(collection_id)
    # a link that says nothing of its video is not called a failure where nobody asked
    assert (report.state, report.new, report.skipped, report.pending) == ("done", 2, 4, 0)
    assert len(watched(site)) == 2
    assert sum("not among the 2 that are read in full" in (item.reason or "") for item in report.items) == 4


def test_two_addresses_of_one_video_are_one_item(site: Site) -> None:
    names = videos(site, 1)
    entries = "".join(
        f"<item><title>x</title><link>{site.address}/{path}</link></item>" for path in ("watch/v0", "moved/v0")
    )
    site.pages["/feed.xml"] = Answer(
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{entries}</channel></rss>'.encode(),
        "application/rss+xml",
    )
    site.pages["/moved/v0"] = Answer(status=302, headers={"Location": f"{site.address}/watch/{names[0]}"})
    report = collect(f"{site.address}/feed.xml")
    assert (report.state, report.found, report.new, len(report.candidate_ids)) == ("done", 1, 1, 1)


# -- looks that are due


def look(
    name: str,
    first: timedelta,
    last: timedelta,
    *,
    sample: bool = False,
    source: str = "youtube yt-dlp-2026.1.1",
    tier: Tier = "full",
    published: timedelta | None = None,
) -> None:
    """A video that was first seen and last seen so long ago."""
    now = datetime.now(UTC)
    video = Candidate(
        "youtube", name, name, url=f"https://www.youtube.com/watch?v={name}",
        published_at=now - published if published else None,
    )  # fmt: skip
    with db.transaction("worker") as connection:
        for age in {first, last}:
            shot = Snapshot(now - age, views=1)
            store.observe(connection, [Observation(video, shot, tier, source)], sample=sample)


def test_videos_are_due_at_six_hours_a_day_three_days_and_a_week() -> None:
    hours, days = (lambda n: timedelta(hours=n)), (lambda n: timedelta(days=n))
    look("fresh", hours(5), hours(5))
    look("six", hours(7), hours(7))
    look("seensix", hours(7), hours(1))  # its second look was already taken
    look("day", hours(25), hours(18))
    look("week", days(8), days(4))
    look("past", days(20), days(19))  # too old to be followed
    look("sample", hours(7), hours(7), sample=True)
    look("imported", hours(7), hours(7), source="trending.parquet")
    with db.transaction("worker") as connection:
        assert [found.key for found in revisits.due(connection, 10)] == ["youtube:six", "youtube:day", "youtube:week"]
        assert [found.key for found in revisits.due(connection, 1)] == ["youtube:six"]


def test_a_video_seen_soon_after_its_publication_is_followed_from_that_on() -> None:
    hours = timedelta(hours=1)
    look("early", 5 * hours, 5 * hours, published=7 * hours)  # seven hours old, seen for five
    look("late", 5 * hours, 5 * hours, published=1000 * hours)
    with db.transaction("worker") as connection:
        assert [found.key for found in revisits.due(connection, 10)] == ["youtube:early"]


def test_only_what_was_read_in_full_and_is_not_gone_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = timedelta(hours=1)
    look("listed", 7 * hours, 7 * hours, tier="flat")
    look("gone", 7 * hours, 7 * hours)
    look("there", 7 * hours, 7 * hours)
    look("relisted", 7 * hours, 7 * hours)
    look("relisted", 1 * hours, 1 * hours, tier="flat")  # a listing is no look
    with db.transaction("worker") as connection:
        connection.execute(text("INSERT INTO gone_videos (candidate_id, reason) VALUES ('youtube:gone', 'private')"))
        assert [found.key for found in revisits.due(connection, 10)] == ["youtube:relisted", "youtube:there"]
    monkeypatch.setenv("MILES_REVISITS", "8h")
    settings.load.cache_clear()
    with db.transaction("worker") as connection:
        assert revisits.due(connection, 10) == []


def test_a_revisit_that_failed_is_not_tried_again_before_the_next_look() -> None:
    look("gone", timedelta(hours=7), timedelta(hours=7))
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, collecting.REVISIT_TARGET, "revisit")
        connection.execute(
            text(
                "INSERT INTO collection_items (collection_id, candidate_id, outcome, reason)"
                " VALUES (:id, 'youtube:gone', 'failed', 'it is private')"
            ),
            {"id": collection_id},
        )
        assert revisits.due(connection, 10) == []
