"""The watchlist: what is collected again by itself, when, and never twice at once."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loopback import Site, eventually
from sqlalchemy.exc import IntegrityError
from tables import before, change, rows

from miles import collecting, db, jobs, watchlist
from miles.errors import MilesError, SourceError

pytestmark = pytest.mark.usefixtures("database")

HOUR = timedelta(hours=1)
SLACK = timedelta(minutes=2)  # of a busy machine


def add(target: str = "street food", **how: object) -> int:
    with db.transaction("operator") as connection:
        return watchlist.add(connection, target, **how)[0]  # type: ignore[arg-type]


def entry(watch_id: int) -> watchlist.Entry:
    with db.transaction("viewer") as connection:
        return watchlist.entry(connection, watch_id)


def late(watch_id: int, by: timedelta) -> None:
    change("UPDATE watchlist SET next_at = now() - :by WHERE watch_id = :id", by=by, id=watch_id)


def tick() -> None:
    jobs.watch(timestamp=0)


def end_runs() -> None:
    change("UPDATE collections SET state = 'done', finished_at = now() WHERE state IN ('waiting', 'running')")


def close_to(moment: datetime, expected: datetime) -> bool:
    return abs(moment - expected) < SLACK


# -- what can be watched


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (" street   food ", "topic"),
        ("@cook", "channel"),
        ("#ramen", "hashtag"),
        ("PL0123456789abcdef", "playlist"),
        ("https://example.org/feed", "url"),
    ],
)
def test_every_kind_of_target_can_be_watched_and_is_due_at_once(target: str, kind: str) -> None:
    one = entry(add(target))
    assert (one.target, one.kind, one.every, one.paused_at, one.last) == (
        " ".join(target.split()), kind, watchlist.USUAL, None, None,
    )  # fmt: skip
    assert one.next_at <= datetime.now(UTC)


def test_a_tiktok_user_is_watched_where_it_is_called_one() -> None:
    assert entry(add("@cook", kind="tiktok")).kind == "tiktok"


def test_added_once_more_the_newer_settings_count_and_another_audience_is_another_entry() -> None:
    first = add(added_by="ada")
    again = add(every=3 * HOUR, item_limit=50, read_limit=5, keep="duration <= 180", added_by="eve")
    japan = add(region="jp", language="ja")
    assert first == again != japan
    one = entry(first)
    assert (one.every, one.item_limit, one.read_limit, one.match_filter, one.added_by) == (
        3 * HOUR, 50, 5, "duration <= 180", "ada",
    )  # fmt: skip
    assert (entry(japan).region, entry(japan).language) == ("JP", "ja")


@pytest.mark.parametrize(
    ("target", "how", "words"),
    [
        ("", {}, "Say what to collect"),
        ("\x00", {}, "Say what to collect"),
        ("x" * 501, {}, "1 to 500 characters"),
        ("two words", {"kind": "channel"}, "not a channel"),
        ("food", {"kind": "revisit"}, "MILES_REVISITS"),
        ("food", {"kind": "nonsense"}, "can't be collected"),
        ("food", {"item_limit": 0}, "between 1 and 500"),
        ("food", {"item_limit": 5, "read_limit": 6}, "0 to 5"),
        ("food", {"every": timedelta(minutes=5)}, "between 1h and 31d"),
        ("food", {"every": timedelta(days=40)}, "between 1h and 31d"),
        ("food", {"keep": "views > 3"}, "Did you mean view_count"),
        ("food", {"language": "klingon"}, "no language"),
        ("@cook", {"region": "JP"}, "the same videos for everybody"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence_and_leaves_no_row(target: str, how: dict, words: str) -> None:
    with pytest.raises(MilesError, match=words):
        add(target, **how)
    assert rows("SELECT * FROM watchlist") == []


@pytest.mark.parametrize(
    ("written", "hours"), [("6h", 6), (" 1 H", 1), ("2d", 48), ("every 1 week", 168), ("12 hours", 12), ("31d", 744)]
)
def test_a_cadence_is_read_as_people_write_it(written: str, hours: int) -> None:
    every = watchlist.cadence(written)
    assert every == timedelta(hours=hours)
    assert watchlist.cadence(watchlist.as_written(every)) == every


@pytest.mark.parametrize("written", ["", "6", "h", "30m", "0h", "40d", "-6h", "6h 3d", "99999h"])
def test_what_is_no_cadence_is_said(written: str) -> None:
    with pytest.raises(MilesError):
        watchlist.cadence(written)


def test_the_requests_of_a_run_are_told_beforehand() -> None:
    assert watchlist.most_requests("topic", 20, None) == 2 + 40
    assert watchlist.most_requests("topic", 45, 10) == 6 + 20
    assert watchlist.most_requests("channel", 30, 0) == 2 + 2


def test_a_viewer_may_not_watch_and_an_operator_may() -> None:
    with pytest.raises(Exception, match="permission denied"), db.transaction("viewer") as connection:
        watchlist.add(connection, "food")


def test_an_entry_is_found_by_its_number_or_its_target_where_that_is_one() -> None:
    one = add()
    with db.transaction("viewer") as connection:
        assert (
            watchlist.find(connection, str(one)).watch_id == watchlist.find(connection, " street food").watch_id == one
        )
        with pytest.raises(MilesError, match="not on the watchlist"):
            watchlist.find(connection, "other")
        with pytest.raises(MilesError, match="number 999"):
            watchlist.find(connection, "999")
    other = add(region="JP")
    with db.transaction("viewer") as connection, pytest.raises(MilesError, match=f"{one}, {other}"):
        watchlist.find(connection, "street food")


# -- when


def test_a_tick_begins_what_is_due_with_all_that_the_entry_says() -> None:
    one = add(item_limit=7, read_limit=3, keep="duration <= 180", language="pt", region="BR", every=12 * HOUR)
    add("#later", every=HOUR)
    change("UPDATE watchlist SET next_at = now() + interval '10 minutes' WHERE target = '#later'")
    tick()
    assert rows(
        "SELECT target, kind, item_limit, read_limit, match_filter, language, region, asked_by, watch_id, state"
        " FROM collections"
    ) == [("street food", "topic", 7, 3, "duration <= 180", "pt", "BR", "watchlist", one, "waiting")]
    assert rows("SELECT task_name, priority FROM procrastinate_jobs") == [("collect", jobs.WATCHED)]
    assert close_to(entry(one).next_at, datetime.now(UTC) + 12 * HOUR)
    tick()
    assert rows("SELECT count(*) FROM collections") == [(1,)]


@pytest.mark.parametrize("missed", [1, 9, 1000])
def test_missed_runs_are_made_up_once(missed: int) -> None:
    one = add(every=HOUR)
    late(one, missed * HOUR)
    for _ in range(3):
        tick()
        end_runs()
    assert rows("SELECT count(*) FROM collections") == [(1,)]
    assert close_to(entry(one).next_at, datetime.now(UTC) + HOUR)


def test_ticks_that_come_a_little_late_do_not_move_the_schedule() -> None:
    one = add(every=6 * HOUR)
    late(one, timedelta(minutes=3))
    due = entry(one).next_at
    tick()
    assert entry(one).next_at == due + 6 * HOUR


def test_a_run_that_is_not_over_serves_for_the_next_one_too() -> None:
    one = add(every=HOUR)
    tick()
    late(one, timedelta(minutes=1))
    tick()
    assert rows("SELECT count(*) FROM collections") == [(1,)]
    assert entry(one).next_at > datetime.now(UTC)
    end_runs()
    late(one, timedelta(minutes=1))
    tick()
    assert rows("SELECT count(*) FROM collections") == [(2,)]


def test_a_paused_entry_is_left_alone_and_makes_up_one_run_when_it_is_resumed() -> None:
    one = add(every=HOUR)
    with db.transaction("operator") as connection:
        watchlist.pause(connection, one)
        assert watchlist.next_run(connection) is None
    late(one, 30 * HOUR)
    tick()
    assert rows("SELECT count(*) FROM collections") == [(0,)]
    with db.transaction("operator") as connection:
        watchlist.resume(connection, one)
    for _ in range(3):
        tick()
        end_runs()
    assert rows("SELECT count(*) FROM collections") == [(1,)]


def test_ten_at_once_begin_each_run_once() -> None:
    for number in range(5):
        add(f"topic {number}")
    barrier = threading.Barrier(10)
    problems: list[BaseException] = []

    def begin() -> None:
        barrier.wait()
        try:
            tick()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=begin) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert rows("SELECT watch_id, count(*) FROM collections GROUP BY 1 HAVING count(*) <> 1") == []
    assert rows("SELECT count(*) FROM collections") == [(5,)]
    assert rows("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'collect'") == [(5,)]


def test_ten_who_press_run_now_get_one_run() -> None:
    one = add()
    barrier = threading.Barrier(10)
    outcomes: list[str] = []

    def press() -> None:
        barrier.wait()
        try:
            with db.transaction("operator") as connection:
                jobs.run_watched(connection, one, "ada")
        except MilesError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("begun")

    threads = [threading.Thread(target=press) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("begun") == 1
    assert all("has a run that is not over yet" in one for one in outcomes if one != "begun")
    assert rows("SELECT count(*), min(asked_by) FROM collections") == [(1, "ada")]


def test_the_database_itself_refuses_a_second_run_of_an_entry() -> None:
    one = add()
    tick()
    with pytest.raises(IntegrityError, match="collections_one_run_of_an_entry"), db.transaction("worker") as connection:
        collecting.ask(connection, "street food", watch_id=one)


def test_an_earlier_run_is_not_resumed_beside_a_newer_one() -> None:
    one = add()
    tick()
    [(first,)] = rows("SELECT collection_id FROM collections")
    with db.transaction("operator") as connection:
        jobs.cancel_collection(connection, first)
        second = jobs.run_watched(connection, one, "ada")
    with (
        pytest.raises(MilesError, match=rf"another run of this \(collection {second}\)"),
        db.transaction("operator") as connection,
    ):
        jobs.resume_collection(connection, first)
    with db.transaction("operator") as connection:
        jobs.cancel_collection(connection, second)
        jobs.resume_collection(connection, first)
    assert rows("SELECT state FROM collections ORDER BY collection_id") == [("waiting",), ("cancelled",)]


def test_one_that_can_be_asked_for_no_longer_says_why_and_does_not_stop_the_others() -> None:
    broken, fine = add("broken"), add("fine")
    change("UPDATE watchlist SET match_filter = 'gone_field > 3' WHERE watch_id = :id", id=broken)
    tick()
    assert rows("SELECT watch_id, state FROM collections ORDER BY watch_id") == [(broken, "failed"), (fine, "waiting")]
    last = entry(broken).last
    assert last is not None
    assert "'gone_field'" in (last.reason or "")
    assert entry(broken).next_at > datetime.now(UTC)


def test_ticks_leave_no_trace_and_one_waits_at_most() -> None:
    insert = (
        "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, status)"
        " VALUES ('default', 'watch', :lock, CAST(:state AS procrastinate_job_status))"
    )
    for state in ("succeeded", "failed", "aborted", "todo"):
        change(insert, state=state, lock="watch")
    with pytest.raises(IntegrityError):
        change(insert, state="todo", lock="watch")
    tick()
    assert rows("SELECT status::text FROM procrastinate_jobs") == [("todo",)]
    assert jobs.watch.queueing_lock == "watch"


def test_the_tick_of_a_dead_worker_does_not_keep_other_jobs_from_being_taken_up() -> None:
    for task, lock, state in (("watch", "watch", "doing"), ("watch", "watch", "todo"), ("collect", None, "doing")):
        change(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, status)"
            " VALUES ('default', :task, :lock, CAST(:state AS procrastinate_job_status))",
            task=task, lock=lock, state=state,
        )  # fmt: skip
    jobs.take_up_stalled()
    assert sorted(rows("SELECT task_name, status::text FROM procrastinate_jobs")) == [
        ("collect", "todo"), ("watch", "aborted"), ("watch", "todo"),
    ]  # fmt: skip


def test_a_worker_collects_what_is_due_and_the_entry_tells_what_came_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, views in (("one", 100), ("two", 5000)):
        site.video(name, views=views)
    watch_id = add(site.feed(["one", "two", "missing"]), keep="view_count > 1000", every=HOUR)
    task = jobs.app.periodic_registry.periodic_tasks[("watch", "")]
    monkeypatch.setattr(jobs.app.periodic_registry, "periodic_tasks", {("watch", ""): task})
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            jobs.run_worker(wait=False, heartbeat=0.3, stalled_after=1.5)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        eventually(lambda: (last := entry(watch_id).last) is not None and last.over, seconds=90, what="the run")
    finally:
        done.set()
        worker.join()
    last = entry(watch_id).last
    assert last is not None
    assert (last.state, last.found, last.new, last.skipped, last.failed) == ("done", 3, 1, 1, 1)
    assert rows("SELECT title FROM candidates") == [("Video two",)]


# -- changing it


def test_an_entry_is_changed_and_its_next_run_comes_no_later_than_the_new_cadence() -> None:
    one = add(every=timedelta(days=7))
    tick()
    with db.transaction("operator") as connection:
        watchlist.change(
            connection, one, every=3 * HOUR, item_limit=9, read_limit=None, keep=None, language=None, region="BR"
        )
    changed = entry(one)
    assert (changed.every, changed.item_limit, changed.region) == (3 * HOUR, 9, "BR")
    assert close_to(changed.next_at, datetime.now(UTC) + 3 * HOUR)


def test_an_entry_cannot_become_another_one() -> None:
    one = add()
    add(region="BR")
    with pytest.raises(MilesError, match="already"), db.transaction("operator") as connection:
        watchlist.change(
            connection, one, every=HOUR, item_limit=9, read_limit=None, keep=None, language=None, region="BR"
        )
    assert entry(one).region is None


def test_a_removed_entry_keeps_what_it_collected() -> None:
    one = add()
    tick()
    with db.transaction("operator") as connection:
        watchlist.remove(connection, one)
    assert rows("SELECT target, watch_id FROM collections") == [("street food", None)]
    with pytest.raises(MilesError, match="Nothing on the watchlist"), db.transaction("operator") as connection:
        watchlist.remove(connection, one)


def test_what_a_killed_command_left_is_taken_up_by_the_next_one() -> None:
    one = add()
    with db.transaction("worker") as connection:
        collection_id = watchlist.start(connection, one)
        assert collecting.take_left(connection) is None  # somebody has only just begun it
    change("UPDATE collections SET asked_at = now() - interval '1 hour'")
    with db.transaction("worker") as connection:
        assert collecting.take_left(connection) == collection_id
        assert collecting.take_left(connection) is None


def test_entries_of_before_are_due_every_six_hours(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with before("0010_watchlist", monkeypatch, tmp_path):
        change("INSERT INTO watchlist (target, kind, item_limit, added_by) VALUES ('food', 'topic', 5, 'me')")
    with db.transaction("viewer") as connection:
        [one] = watchlist.entries(connection)
    assert (one.target, one.every, one.item_limit, one.paused_at) == ("food", watchlist.USUAL, 5, None)
    assert one.next_at <= datetime.now(UTC)


def test_asking_with_a_senseless_audience_is_refused() -> None:
    with pytest.raises(SourceError), db.transaction("worker") as connection:
        collecting.ask(connection, "food", language="xx-yy-zz")
