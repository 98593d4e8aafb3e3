"""Collections that keep only what a filter in yt-dlp's own syntax lets through."""

from datetime import UTC, datetime

import pytest
from loopback import Site
from sqlalchemy import text
from tables import rows

from miles import collecting, db, items
from miles.candidates import Candidate, Observation, Snapshot
from miles.errors import SourceError
from miles.scrape import Found

pytestmark = pytest.mark.usefixtures("database")


def collect(address: str, keep: str | None) -> collecting.CollectionReport:
    return collecting.collect(address, kind="url", keep=keep)


def test_what_a_filter_leaves_out_is_skipped_with_the_reason_and_not_stored(site: Site) -> None:
    for name, views in (("small", 100), ("large", 5000)):
        site.video(name, views=views)
    report = collect(site.feed(["small", "large"]), "view_count > 1000 & duration <= 180")
    assert (report.state, report.found, report.new, report.skipped, report.failed) == ("done", 2, 1, 1, 0)
    [left_out] = [item for item in report.items if item.outcome == "skipped"]
    assert left_out.reason == "the filter leaves it out (view_count > 1000: it is 100)"
    assert rows("SELECT title FROM candidates") == [("Video large",)]
    assert rows("SELECT views FROM snapshots") == [(5000,)]
    with db.transaction("viewer") as connection:
        how = collecting.progress(connection, report.collection_id)
    assert (how.skipped, how.fetched) == ({"the filter leaves it out": 1}, 1)


def test_what_a_filter_has_left_out_is_not_read_again_for_it_within_a_day(site: Site) -> None:
    site.video("small", views=100)
    feed = site.feed(["small"])
    first = collect(feed, "view_count > 1000")
    site.requests.clear()
    again = collect(feed, "view_count > 1000")
    assert again.skipped == 1
    assert again.items[0].reason == first.items[0].reason
    assert site.requests == ["/feed.xml"]
    # another filter, or none, is another question
    assert collect(feed, "view_count > 50").new == 1


def test_a_video_that_fails_the_filter_is_read_again_after_a_day(site: Site) -> None:
    site.video("small", views=100)
    feed = site.feed(["small"])
    collect(feed, "view_count > 1000")
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE collections SET asked_at = asked_at - interval '25 hours'"))
    site.video("small", views=2000)
    assert collect(feed, "view_count > 1000").new == 1


def test_a_bad_filter_is_refused_before_anything_is_asked_and_leaves_no_row(site: Site) -> None:
    with pytest.raises(SourceError, match="Did you mean view_count"):
        collect(site.feed(["one"]), "views > 3")
    assert site.requests == []
    assert rows("SELECT * FROM collections") == []


def test_a_waiting_collection_is_gone_on_with_only_for_the_same_question(site: Site) -> None:
    site.video("one", views=5000)
    feed = site.feed(["one"])
    with db.transaction("worker") as connection:
        waiting = collecting.ask(connection, feed, "url", keep="view_count > 10")
    assert collect(feed, None).collection_id != waiting
    assert collect(feed, "view_count > 10").collection_id == waiting


def listed(name: str, **facts: object) -> Found:
    flat = Observation(
        Candidate("youtube", name, f"Video {name}", media_type="short"),
        Snapshot(datetime(2026, 5, 1, tzinfo=UTC), views=10),
        tier="flat",
    )
    return Found(f"https://www.youtube.com/shorts/{name}", f"youtube:{name}", flat, "Youtube", **facts)  # type: ignore[arg-type]


def test_what_a_listing_says_is_stored_only_where_it_settles_that_the_video_is_kept() -> None:
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, "food", keep="like_count > 3")
        found = [listed("kept"), listed("open", decided=False), listed("out", left_out="the filter leaves it out (x)")]
        assert items.add(connection, collection_id, found, position=0, room=9) == {"youtube:kept", "youtube:open"}
    assert rows("SELECT video_id FROM candidates") == [("kept",)]
    assert rows("SELECT candidate_id, outcome, reason, listed FROM collection_items ORDER BY 1") == [
        ("youtube:kept", "pending", None, True),
        ("youtube:open", "pending", None, False),
        ("youtube:out", "skipped", "the filter leaves it out (x)", False),
    ]
