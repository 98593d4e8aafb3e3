"""A source that fails in every way it can, alone and all together; and after it, as if nothing had been.

Faults are injected at the proxy. Each run has to end by itself, with what could be had stored and what could not
named; then the faults stop, the collection is resumed, and the database has to hold what that of an undisturbed run
holds (`everything.py` says what of it is not compared, and why).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from everything import assert_closed, contents, differences
from replaying import Replay
from sqlalchemy import text
from tables import rows

from miles import collecting, collection_run, db, scrape, thumbnails

pytestmark = pytest.mark.usefixtures("database")

TOPIC, LIMIT = "cirque du soleil", 12
SOURCE = {"host": r"youtube|googleapis"}  # pictures come from other servers, which no breaker is about
LONGEST = 60.0  # seconds of a run; its faults are set to pass within a fraction
Rule = dict[str, Any]
Contents = dict[str, list[dict[str, Any]]]
TOGETHER: list[Rule] = [
    {"match": SOURCE, "after": 14, "count": 1, "action": "status", "status": 429},
    *(
        {"match": SOURCE, "share": 0.06, "seed": 3, **fault}
        for fault in (
            {"action": "status", "status": 503},
            {"action": "hang", "seconds": 20},
            {"action": "truncate"},
            {"action": "cut_json"},
            {"action": "garbage"},
            {"action": "drip", "bytes_per_second": 500},
            {"action": "reset"},
        )
    ),
]


@dataclass
class Undisturbed:
    """What a run leaves that never sees a fault; made once."""

    contents: Contents | None = None


@pytest.fixture(scope="module")
def kept() -> Undisturbed:
    return Undisturbed()


@pytest.fixture
def undisturbed(replay: Replay, kept: Undisturbed) -> Contents:
    if kept.contents is None:
        report = collecting.collect(TOPIC, item_limit=LIMIT)
        assert (report.state, report.new, report.reason) == ("done", LIMIT, None)
        kept.contents = contents()
        assert len(kept.contents["snapshots"]) == 2 * LIMIT  # one look by the listing, one by the page
        with db.transaction("owner") as connection:
            connection.execute(text("TRUNCATE candidates, channels, collections, sources, gone_videos, usage CASCADE"))
            connection.execute(text("ALTER SEQUENCE collections_collection_id_seq RESTART"))
        replay.reset()
    return kept.contents


@contextmanager
def impatience() -> Iterator[None]:
    """Time-outs that fit faults which would last for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrape, "READ_TIMEOUT", 1.0)
        patch.setattr(scrape, "CALL_TIMEOUT", 4.0)
        patch.setattr(collection_run, "RETRY_WAIT", 0.05)
        yield


def run(collection_id: int) -> collecting.CollectionReport:
    """One run; it ends by itself, its counts add up, and for all that is not whole it says why."""
    with impatience():
        report = collecting.carry_out(collection_id)
    assert report.seconds < LONGEST
    assert report.found == report.new + report.updated + report.skipped + report.failed + report.pending
    full = {row[0] for row in rows("SELECT candidate_id FROM candidates WHERE tier = 'full'")}
    for item in report.items:
        assert item.outcome == "pending" or item.candidate_id in full or item.reason, item
    if report.state != "done":
        assert report.reason
        assert report.error_kind
    assert rows("SELECT count(*) FROM gone_videos") == [(0,)]  # a fault is never taken for the video's own end
    return report


def begin() -> int:
    with db.transaction("worker") as connection:
        return collecting.ask(connection, TOPIC, item_limit=LIMIT)


def asked(replay: Replay) -> list[float]:
    """When the source was asked (Unix, s)."""
    return [entry["t"] for entry in replay.log() if "youtube" in entry["host"] or "googleapis" in entry["host"]]


def assert_nothing_was_asked_while_the_breaker_was_open(replay: Replay) -> None:
    [(opened, resume)] = rows("SELECT extract(epoch FROM opened_at), extract(epoch FROM resume_at) FROM sources")
    assert resume - opened >= 3600
    assert max(asked(replay)) <= opened


def finish(replay: Replay, collection_id: int) -> collecting.CollectionReport:
    """The faults are over: the cool-down passes, and the collection is resumed."""
    replay.faults()
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE sources SET resume_at = now() WHERE resume_at IS NOT NULL"))
        state = connection.scalar(text("SELECT state FROM collections"))
        left = connection.scalar(text("SELECT count(*) FROM collection_items WHERE error_kind IS NOT NULL"))
        if state != "done" or left:
            collecting.resume(connection, collection_id)
    report = collecting.carry_out(collection_id)
    thumbnails.repair()  # as every hour
    return report


FAULTS: dict[str, Callable[[], list[Rule]]] = {
    "429 at once": lambda: [{"match": SOURCE, "action": "status", "status": 429}],
    "429 after 9": lambda: [{"match": SOURCE, "after": 9, "action": "status", "status": 429}],
    "429 after 20": lambda: [{"match": SOURCE, "after": 20, "action": "status", "status": 429}],
    "30% 5xx of everything": lambda: [{"share": 0.3, "action": "status", "status": 503}],
    "60% 5xx": lambda: [{"match": SOURCE, "share": 0.6, "action": "status", "status": 500}],
    "hangs": lambda: [{"match": SOURCE, "share": 0.15, "action": "hang", "seconds": 20}],
    "truncated": lambda: [{"match": SOURCE, "share": 0.3, "action": "truncate"}],
    "cut JSON": lambda: [{"match": SOURCE, "share": 0.3, "action": "cut_json"}],
    "empty JSON": lambda: [{"match": SOURCE, "share": 0.3, "action": "empty_json"}],
    "garbage": lambda: [{"match": SOURCE, "share": 0.3, "action": "garbage"}],
    "slow drip": lambda: [{"match": SOURCE, "share": 0.1, "action": "drip", "bytes_per_second": 500}],
    "resets": lambda: [{"match": SOURCE, "share": 0.3, "action": "reset"}],
    "bot check after 3": lambda: [{"match": {"endpoint": ["player", "watch"]}, "after": 6, "action": "bot_check"}],
    "the search for Shorts": lambda: [
        {"match": {"endpoint": "search"}, "count": 40, "share": 0.5, "action": "status", "status": 503}
    ],
    "all together": lambda: TOGETHER,
}


@pytest.mark.parametrize("name", FAULTS)
def test_after_faults_the_database_is_as_if_there_had_been_none(
    replay: Replay, undisturbed: Contents, name: str
) -> None:
    replay.faults(*FAULTS[name](), seed=7)
    collection_id = begin()
    report = run(collection_id)
    assert replay.failed() > 0
    if report.state == "waiting" and report.error_kind == "rate_limited":
        assert_nothing_was_asked_while_the_breaker_was_open(replay)
        before = len(asked(replay))
        assert run(collection_id).state == "waiting"  # too early
        assert len(asked(replay)) == before
    report = finish(replay, collection_id)
    assert (report.state, report.reason, report.new) == ("done", None, LIMIT)
    assert_closed()
    assert not (apart := differences(contents(), undisturbed)), "\n".join(apart)


SHORTS_TAB = "https://www.youtube.com/channel/UCh8gHdtzO2tXd593_bjErWg/shorts"  # two pages of it are recorded


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"action": "status", "status": 503}, "transient"),
        ({"action": "empty_json"}, "extractor"),  # yt-dlp itself takes it for the end, with a warning
        ({"action": "cut_json"}, "extractor"),
        ({"action": "truncate"}, "transient"),
        ({"action": "status", "status": 429}, "rate_limited"),
    ],
)
def test_a_second_page_that_fails_is_not_the_end_of_the_list(replay: Replay, fault: Rule, kind: str) -> None:
    replay.faults({"match": {"endpoint": "browse"}, **fault})
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, SHORTS_TAB, "url", 60, read_limit=0)
    report = run(collection_id)
    assert (report.found, report.error_kind) == (48, kind)  # the first page
    assert report.state != "done"
    assert report.pending == 48  # who is to be read, and who is left to the listing, only the whole of it tells
    report = finish(replay, collection_id)
    assert (report.state, report.reason, report.new) == ("done", None, 60)


@pytest.mark.parametrize("done", [0, 3, 7])
def test_a_proxy_that_is_killed_in_the_middle(replay: Replay, undisturbed: Contents, done: int) -> None:
    """At its first page, or while videos are read: from there on nobody answers."""
    # answers that take their time, so that the kill falls into one
    replay.faults({"match": SOURCE, "action": "slow", "seconds": 0.2})
    collection_id = begin()
    timer = threading.Timer(0.3, replay.kill)
    if done == 0:
        timer.start()

    def kill(at: collecting.Progress) -> None:
        if at.done == done and not timer.is_alive() and replay.process.poll() is None:
            timer.start()

    with impatience():
        report = collecting.carry_out(collection_id, on_progress=kill if done else None)
    timer.join()
    assert replay.process.poll() is not None
    assert report.seconds < LONGEST
    assert (report.state, report.error_kind) == ("waiting", "transient")  # it is tried again by itself, later
    assert report.new + report.pending == report.found
    assert rows("SELECT count(*) FROM gone_videos") == [(0,)]
    replay.start()
    report = finish(replay, collection_id)
    assert (report.state, report.reason, report.new) == ("done", None, LIMIT)
    assert not (apart := differences(contents(), undisturbed)), "\n".join(apart)
