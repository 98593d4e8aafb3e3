"""`python -m miles watch …`, `health` and the filter of `collect`, as a script uses them."""

import json

import pytest
from commands import answer, explained, miles, refused
from loopback import Site
from sqlalchemy import text

from miles import db

pytestmark = pytest.mark.usefixtures("database")


def listed() -> list[dict]:
    return answer("watch", "list")["watchlist"]


def test_what_is_watched_is_added_changed_paused_resumed_and_removed() -> None:
    added = answer(
        "watch", "add", "street food", "--every", "12h", "--limit", "30", "--read", "5",
        "--keep", "duration <= 180", "--language", "pt", "--region", "br",
    )  # fmt: skip
    assert (added["every"], added["item_limit"], added["read_limit"], added["match_filter"], added["region"]) == (
        "12h", 30, 5, "duration <= 180", "BR",
    )  # fmt: skip
    assert "Changed" in miles("watch", "add", "street food", "--language", "pt", "--region", "BR").stdout
    [one] = listed()
    assert (one["every"], one["item_limit"], one["match_filter"], one["last"]) == ("6h", 20, None, None)
    number = str(one["watch_id"])
    miles("watch", "pause", "street food")
    assert listed()[0]["paused_at"]
    assert "paused" in miles("watch", "list").stdout
    miles("watch", "resume", number)
    assert listed()[0]["paused_at"] is None
    miles("watch", "remove", number)
    assert listed() == []
    assert "Nothing is watched" in miles("watch", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("watch", "add", "food", "--every", "often"), "is no cadence"),
        (("watch", "add", "food", "--keep", "views > 3"), "Did you mean view_count?"),
        (("watch", "add", "food", "--region", "Japan"), "is no country"),
        (("watch", "add", "@cook", "--language", "ja"), "the same videos for everybody"),
        (("watch", "remove", "food"), "not on the watchlist"),
        (("watch", "run", "7"), "has the number 7"),
        (("collect", "food", "--match-filter", "duration <="), "is no condition"),
        (("health", "--canary", "example.org"), "has no canary"),
    ],
)
def test_what_makes_no_sense_ends_with_one_sentence_and_status_1(arguments: tuple[str, ...], words: str) -> None:
    outcome = miles(*arguments, status=1)
    assert words in outcome.stderr
    assert outcome.stdout == ""


@pytest.mark.parametrize("arguments", [("watch", "add"), ("watch", "nonsense"), ("watch", "add", "a", "--limit", "0")])
def test_wrong_use_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    refused(*arguments)


@pytest.mark.parametrize("command", ["add", "list", "remove", "pause", "resume", "run"])
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    assert "Example: " in explained("watch", command)


def test_a_run_collects_what_is_due_and_what_is_named_and_nothing_twice(site: Site) -> None:
    for name, views in (("one", 100), ("two", 5000)):
        site.video(name, views=views)
    feed = site.feed(["one", "two"])
    miles("watch", "add", feed, "--keep", "view_count > 1000")
    assert answer("watch", "add", site.feed(["one"], "/other.xml"))["kind"] == "url"
    ran = answer("watch", "run")["ran"]
    assert [(one["state"], one["found"], one["new"], one["skipped"]) for one in ran] == [
        ("done", 2, 1, 1), ("done", 1, 1, 0),
    ]  # fmt: skip
    assert answer("watch", "run")["ran"] == []
    assert "Nothing is due" in miles("watch", "run").stdout
    [again] = answer("watch", "run", feed)["ran"]  # named: whether or not it is due
    assert (again["new"], again["skipped"]) == (0, 2)
    assert listed()[0]["last"]["state"] == "done"
    with db.transaction("viewer") as connection:
        assert connection.scalar(text("SELECT count(*) FROM candidates WHERE viral_score IS NOT NULL")) == 2


def test_a_run_that_fails_says_so_in_its_status_and_the_others_still_run(site: Site) -> None:
    site.video("one", views=1)
    miles("watch", "add", f"{site.address}/nothing.xml")
    miles("watch", "add", site.feed(["one"]))
    outcome = miles("watch", "run", "--json", status=1)
    assert [one["state"] for one in json.loads(outcome.stdout)["ran"]] == ["failed", "done"]
    assert "nothing.xml: The source answered 404" in outcome.stderr


def test_a_filter_of_collect_keeps_what_passes(site: Site) -> None:
    for name, views in (("one", 100), ("two", 5000)):
        site.video(name, views=views)
    report = answer("collect", site.feed(["one", "two"]), "--match-filter", "view_count > 1000")
    assert (report["new"], report["skipped"]) == (1, 1)


def test_health_tells_how_each_source_stands_and_what_is_wrong_by_its_status() -> None:
    document = answer("health")
    assert document["yt_dlp"]["version"]
    assert [(one["source"], one["state"]) for one in document["sources"]] == [("youtube", None)]
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO sources (source, opened_at, resume_at, reason)"
                " VALUES ('youtube', now(), now() + interval '1 hour', 'it answered 429 (Too Many Requests)')"
            )
        )
    outcome = miles("health", status=1)
    assert "open until" in outcome.stdout
    assert "youtube: it answered 429" in outcome.stderr
    # while it refuses, the canary is not asked either
    assert "is not asked before" in miles("health", "--canary", "youtube", status=1).stderr
