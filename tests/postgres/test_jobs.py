"""Jobs on the real queue: deferred with their rows, taken up again after a kill, failing with a reason."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from loopback import Answer, Site, eventually
from procrastinate.app import App
from sqlalchemy import text
from tables import change, rows

from miles import collecting, collection_run, db, items, jobs, sample, score_candidates, settings, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.errors import MilesError, SourceError
from miles.features import ScoreInput
from miles.scoring import Score
from miles.scrape import Found

pytestmark = pytest.mark.usefixtures("database")

SCHEDULE = dict(jobs.app.periodic_registry.periodic_tasks)
HEARTBEAT, STALLED_AFTER = 0.3, 3.0  # seconds: a killed worker is noticed quickly, a busy one is not taken for one


@pytest.fixture(autouse=True)
def no_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time of the day, only those jobs run that a test has deferred, and they don't wait between tries."""
    monkeypatch.setattr(jobs.app.periodic_registry, "periodic_tasks", {})
    monkeypatch.setattr(collection_run, "RETRY_WAIT", 0.01)


def scalar(statement: str, **parameters: object) -> Any:
    [[value]] = rows(statement, **parameters)
    return value


def defer_collection(address: str, kind: str = "url") -> int:
    with db.transaction("operator") as connection:
        return jobs.defer_collection(connection, address, kind)


def work_off() -> None:
    """Do all jobs that wait, in this process."""
    jobs.run_worker(wait=False, heartbeat=HEARTBEAT, stalled_after=STALLED_AFTER)


class EvenModel:
    """Scores without a network, as slowly as it is told to; what is tested is the job, not the model."""

    version = "even-1"
    manifest: ClassVar[dict[str, str]] = {"version": "even-1"}

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds  # for each call

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        time.sleep(self.seconds)
        return [
            Score(
                key=one.key, mode="candidate", viral_score=0.5, predicted_multiple=None, predicted_velocity=10.0,
                velocity_low=1.0, velocity_high=100.0, predicted_velocity_7d=5.0, base_rate=0.1,
                model_version=self.version, note=None,
            )
            for one in inputs
        ]  # fmt: skip


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model for the jobs that run in this process."""
    monkeypatch.setattr(jobs, "model", EvenModel)


def with_model(seconds: float) -> str:
    """What a worker process runs first, to have such a model too."""
    return f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_jobs; jobs.model = lambda: test_jobs.EvenModel({seconds})"


StartWorker = Callable[..., subprocess.Popen]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker in a process of its own; `before` is Python that it runs first."""
    running: list[subprocess.Popen] = []

    def start(before: str = "", patience: float = 20.0) -> subprocess.Popen:
        program = (
            "import logging, sys\nsys.path.insert(0, 'tests')\n"
            "logging.basicConfig(level=logging.INFO)\n"
            f"from miles import jobs\njobs.app.periodic_registry.periodic_tasks.clear()\n{before}\n"
            f"jobs.run_worker(heartbeat={HEARTBEAT}, stalled_after={STALLED_AFTER}, patience={patience})"
        )
        with (tmp_path / f"worker-{len(running)}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", program], cwd=settings.PROJECT, stdout=log, stderr=log)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def waiting_for_a_lock() -> bool:
    """Whether a query about the roll-ups waits for a table that someone else has locked."""
    with db.transaction("owner") as connection:  # a new one each time: within one, this view stands still
        return connection.execute(
            text(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE '%rollups%' AND datname = current_database())"
            )
        ).scalar_one()


def held_up(site: Site, name: str) -> threading.Event:
    """Nobody gets past this video's page before the event, however late whoever watches them is."""
    go_on, page = threading.Event(), site.pages[f"/watch/{name}"]
    assert isinstance(page, Answer)

    def answer() -> Answer:
        assert go_on.wait(120)
        return page

    site.pages[f"/watch/{name}"] = answer
    return go_on


def kill(worker: subprocess.Popen) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


# -- deferring


def test_row_and_job_commit_together() -> None:
    collection_id = defer_collection("street food", "topic")
    assert rows("SELECT collection_id, state, target, kind, asked_by FROM collections") == [
        (collection_id, "waiting", "street food", "topic", "local")
    ]
    assert rows("SELECT task_name, args, status::text FROM procrastinate_jobs") == [
        ("collect", {"collection_id": collection_id}, "todo")
    ]


def test_a_transaction_that_is_rolled_back_leaves_neither_row_nor_job() -> None:
    def ask_and_fail() -> None:
        with db.transaction("operator") as connection:
            jobs.defer_collection(connection, "street food")
            jobs.defer_score(connection)
            raise RuntimeError("the page broke")

    with pytest.raises(RuntimeError):
        ask_and_fail()
    assert scalar("SELECT count(*) FROM collections") == 0
    assert scalar("SELECT count(*) FROM procrastinate_jobs") == 0


def test_a_senseless_collection_is_refused_without_a_job() -> None:
    with db.transaction("operator") as connection, pytest.raises(SourceError, match="1 to 500 characters"):
        jobs.defer_collection(connection, "  ")
    assert scalar("SELECT count(*) FROM procrastinate_jobs") == 0


def test_the_same_work_is_queued_once_also_within_one_transaction() -> None:
    for _ in range(2):
        with db.transaction("operator") as connection:
            for defer in (jobs.defer_score, jobs.defer_roll_up, jobs.defer_load_sample, jobs.defer_remove_sample):
                defer(connection)
                defer(connection)
    assert sorted(row[0] for row in rows("SELECT task_name FROM procrastinate_jobs")) == [
        "load_sample", "remove_sample", "roll_up", "score",
    ]  # fmt: skip


def test_work_is_queued_again_while_the_same_is_running() -> None:
    with db.transaction("operator") as connection:
        jobs.defer_score(connection)
    change("UPDATE procrastinate_jobs SET status = 'doing'")
    with db.transaction("operator") as connection:
        jobs.defer_score(connection)
    assert rows("SELECT status::text FROM procrastinate_jobs ORDER BY id") == [("doing",), ("todo",)]


def test_a_waiting_job_does_not_start_before_those_who_count_on_it_have_committed() -> None:
    def fetched() -> int | None:
        with db.transaction("worker") as connection:
            return connection.execute(text("SELECT id FROM procrastinate_fetch_job_v2(NULL, NULL)")).scalar()

    with db.transaction("operator") as connection:
        jobs.defer_score(connection)
    with db.transaction("operator") as connection:
        jobs.defer_score(connection)  # finds it waiting, and counts on it
        assert fetched() is None
    assert fetched() is not None


def test_a_viewer_cannot_ask_for_work() -> None:
    for defer in (jobs.defer_score, lambda connection: jobs.defer_collection(connection, "street food")):
        with pytest.raises(Exception, match="permission denied"), db.transaction("viewer") as connection:
            defer(connection)
    assert scalar("SELECT count(*) FROM procrastinate_jobs") == 0


# -- doing


@pytest.mark.usefixtures("model")
def test_a_collection_is_done_then_scored_and_rolled_up(site: Site) -> None:
    site.video("one", views=5)
    defer_collection(site.feed(["one"]))
    work_off()
    assert rows("SELECT state, new FROM collections") == [("done", 1)]
    assert rows("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id") == [
        ("collect", "succeeded"), ("score", "succeeded"), ("roll_up", "succeeded"),
    ]  # fmt: skip
    assert rows("SELECT viral_score, model_version, scored_change = changed_at FROM candidates") == [
        (0.5, "even-1", True)
    ]
    overview = scalar("SELECT data FROM rollups WHERE name = 'overview'")
    assert (overview["candidates"], overview["scored"]) == (1, 1)


def test_without_a_model_a_score_job_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILES_MODEL", str(tmp_path / "no-model"))
    settings.load.cache_clear()
    with db.transaction("operator") as connection:
        jobs.defer_score(connection)
    work_off()
    [(status, reason)] = rows("SELECT status::text, reason FROM procrastinate_jobs JOIN job_failures ON job_id = id")
    assert status == "failed"
    assert "model" in reason


@pytest.mark.usefixtures("model")
def test_sample_data_comes_and_goes_by_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_a_little() -> None:  # all of it takes ten seconds, and is tested where it is made
        video = Candidate("youtube", "made-up", "A made-up video")
        with db.transaction("worker") as connection:
            store.observe(connection, [Observation(video, Snapshot(datetime.now(UTC), views=5))], sample=True)

    monkeypatch.setattr(sample, "load", load_a_little)
    with db.transaction("operator") as connection:
        jobs.defer_load_sample(connection)
    work_off()
    assert rows("SELECT sample, viral_score FROM candidates") == [(True, 0.5)]
    assert scalar("SELECT data->>'candidates' FROM rollups WHERE name = 'overview'") == "1"
    with db.transaction("operator") as connection:
        jobs.defer_remove_sample(connection)
    work_off()
    assert scalar("SELECT count(*) FROM candidates") == 0
    assert scalar("SELECT data->>'candidates' FROM rollups WHERE name = 'overview'") == "0"


def test_jobs_run_with_the_rights_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def ask(self: App, **options: object) -> None:
        [row] = await self.connector.execute_query_all_async("SELECT current_user AS name")
        seen.append(row["name"])

    monkeypatch.setattr(App, "run_worker_async", ask)
    work_off()
    assert seen == ["miles_worker"]


# -- failing


def test_a_job_that_cannot_succeed_fails_with_its_reason_and_can_be_retried(site: Site) -> None:
    site.pages["/page"] = Answer(b"<html><title>No video here</title></html>")
    collection_id = defer_collection(site.address + "/page")
    work_off()
    [(job_id, status, reason, attempts)] = rows(
        "SELECT id, status::text, reason, attempts FROM procrastinate_jobs JOIN job_failures ON job_id = id"
    )
    assert (status, attempts) == ("failed", 1)
    assert reason.startswith("No video was found at this address")
    assert rows("SELECT state, reason FROM collections") == [("failed", reason)]

    site.video("one", views=5)
    site.pages["/page"] = site.pages["/watch/one"]
    with db.transaction("operator") as connection:
        jobs.retry(connection, job_id)
    assert rows("SELECT state FROM collections") == [("waiting",)]
    work_off()
    assert scalar("SELECT status::text FROM procrastinate_jobs WHERE id = :id", id=job_id) == "succeeded"
    assert rows("SELECT collection_id, state, new, reason FROM collections") == [(collection_id, "done", 1, None)]
    assert rows("SELECT reason FROM job_failures WHERE job_id = :id", id=job_id) == []


def test_only_a_failed_job_can_be_retried() -> None:
    defer_collection("street food", "topic")
    job_id = scalar("SELECT id FROM procrastinate_jobs")
    for wrong in (job_id, job_id + 1000):
        with db.transaction("operator") as connection, pytest.raises(MilesError, match="not among the failed ones"):
            jobs.retry(connection, wrong)


@pytest.mark.usefixtures("site")  # for its pace: nobody is at port 9
def test_what_may_pass_is_tried_again_later_and_not_for_ever() -> None:
    defer_collection("http://127.0.0.1:9/feed")
    before = datetime.now(UTC)
    for wait in (30, 120, 480):
        work_off()
        [(status, scheduled_at, reason)] = rows(
            "SELECT status::text, scheduled_at, reason FROM procrastinate_jobs JOIN job_failures ON job_id = id"
        )
        assert status == "todo"
        assert timedelta(0) <= scheduled_at - before - timedelta(seconds=wait) < timedelta(seconds=60)
        assert "can't be reached" in reason  # visible while it waits
        assert rows("SELECT state, resume_at FROM collections") == [("waiting", scheduled_at)]
        change("UPDATE procrastinate_jobs SET scheduled_at = NULL")
    work_off()
    assert scalar("SELECT status::text FROM procrastinate_jobs") == "failed"
    assert rows("SELECT state FROM collections") == [("failed",)]


def test_a_job_that_waits_for_its_next_try_does_not_hold_up_others(site: Site) -> None:
    defer_collection("http://127.0.0.1:9/feed")
    work_off()
    site.video("one", views=5)
    defer_collection(site.feed(["one"]))
    work_off()
    assert rows("SELECT state FROM collections ORDER BY collection_id") == [("waiting",), ("done",)]


def refuse_after(site: Site, number: int) -> str:
    """The address of a feed of ten videos, of which the site answers so many and then too many requests."""
    names = [f"v{one}" for one in range(10)]
    for name in names:
        site.video(name, views=7)
    site.pages[f"/watch/v{number}"] = Answer(status=429)
    return site.feed(names)


@pytest.mark.usefixtures("model")
def test_a_refused_collection_waits_with_its_job_and_comes_to_its_end_after_the_cool_down(site: Site) -> None:
    defer_collection(refuse_after(site, 4))
    work_off()
    [(status, scheduled_at, reason)] = rows(
        "SELECT status::text, scheduled_at, reason FROM procrastinate_jobs JOIN job_failures ON job_id = id"
        " WHERE task_name = 'collect'"
    )
    assert status == "todo"
    assert "is not asked before" in reason
    assert rows("SELECT state, new, pending, resume_at, reason FROM collections") == [
        ("waiting", 4, 6, scheduled_at, reason)
    ]
    assert scheduled_at - datetime.now(UTC) > timedelta(minutes=59)
    asked = len(site.requests)
    work_off()  # nothing is due
    assert len(site.requests) == asked

    site.video("v4", views=7)
    change("UPDATE sources SET resume_at = now()")
    change("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
    work_off()
    assert rows("SELECT state, new, pending, reason, resume_at FROM collections") == [("done", 10, 0, None, None)]
    assert [site.requests.count(f"/watch/v{one}") for one in range(10)] == [1, 1, 1, 1, 2, 1, 1, 1, 1, 1]
    assert rows("SELECT status::text FROM procrastinate_jobs WHERE task_name = 'collect'") == [("succeeded",)]
    assert rows("SELECT breaker.resume_at FROM sources AS breaker") == [(None,)]


def test_pauses_are_no_deaths_of_workers(site: Site) -> None:
    defer_collection(refuse_after(site, 0))
    for _ in range(jobs.MAX_TAKEN_UP + 1):
        work_off()
        change("UPDATE procrastinate_jobs SET scheduled_at = now()")
    assert rows("SELECT status::text, attempts FROM procrastinate_jobs") == [("todo", 1)]


def test_a_waiting_collection_does_not_hold_up_others_nor_run_twice_at_once(site: Site) -> None:
    feed = refuse_after(site, 0)
    defer_collection(feed)
    defer_collection(feed)
    work_off()
    assert rows("SELECT state FROM collections ORDER BY collection_id") == [("waiting",), ("waiting",)]
    assert rows("SELECT lock FROM procrastinate_jobs") == [(f"collect url {feed}",)] * 2
    assert site.requests.count("/feed.xml") == 1  # the second one waits for the first


def test_a_cancelled_collection_is_off_the_queue_and_can_be_resumed(site: Site) -> None:
    collection_id = defer_collection(refuse_after(site, 4))
    work_off()
    with db.transaction("operator") as connection:
        jobs.cancel_collection(connection, collection_id)
    assert rows("SELECT state, new, pending, resume_at FROM collections") == [("cancelled", 4, 6, None)]
    assert rows("SELECT status::text FROM procrastinate_jobs WHERE task_name = 'collect'") == [("cancelled",)]
    with db.transaction("operator") as connection, pytest.raises(MilesError, match="over already"):
        jobs.cancel_collection(connection, collection_id)

    site.video("v4", views=7)
    change("UPDATE sources SET resume_at = now()")
    with db.transaction("operator") as connection:
        jobs.resume_collection(connection, collection_id)
    assert rows("SELECT state FROM collections") == [("waiting",)]
    work_off()
    assert rows("SELECT state, new, pending FROM collections") == [("done", 10, 0)]
    with db.transaction("operator") as connection, pytest.raises(MilesError, match="is done"):
        jobs.resume_collection(connection, collection_id)


def test_a_waiting_collection_can_be_resumed_before_its_time(site: Site) -> None:
    collection_id = defer_collection(refuse_after(site, 4))
    work_off()
    with db.transaction("operator") as connection:
        jobs.resume_collection(connection, collection_id)
    assert rows("SELECT status::text, scheduled_at FROM procrastinate_jobs WHERE task_name = 'collect'") == [
        ("todo", None)
    ]
    asked = len(site.requests)
    work_off()  # the breaker knows better
    assert len(site.requests) == asked
    assert rows("SELECT state FROM collections") == [("waiting",)]


def test_collections_run_in_the_order_of_who_asked(site: Site) -> None:
    wanted = [
        ("/revisit", jobs.REVISITED),
        ("/found", jobs.FOLLOWED),
        ("/watched", jobs.WATCHED),
        ("/asked", jobs.ASKED),
    ]
    for path, priority in wanted:
        site.video(path[1:], views=1)
        with db.transaction("operator") as connection:
            jobs.defer_collection(connection, site.feed([path[1:]], path + ".xml"), "url", priority=priority)
    work_off()
    assert [path for path in site.requests if path.endswith(".xml")] == [
        "/asked.xml", "/watched.xml", "/revisit.xml", "/found.xml",
    ]  # fmt: skip


@pytest.mark.usefixtures("model")
def test_channels_that_a_topic_comes_across_are_listed_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_FOLLOW_CHANNELS", "2")
    settings.load.cache_clear()
    found = [
        Candidate(
            "youtube", f"v{n}", f"Video {n}", url=f"https://www.youtube.com/shorts/v{n}",
            channel=Channel("youtube", f"UC{n}", url=f"https://www.youtube.com/channel/UC{n}"),
        )
        for n in range(4)
    ]  # fmt: skip

    def topic() -> int:
        with db.transaction("worker") as connection:
            collection_id = collecting.ask(connection, "street food", "topic")
            listed = [
                Found(c.url or "", c.key, Observation(c, Snapshot(datetime.now(UTC), views=10**n), "flat"))
                for n, c in enumerate(found)
            ]
            items.add(connection, collection_id, listed, position=0, room=20)
            return collection_id

    first = topic()
    with db.transaction("worker") as connection:
        jobs._follow_channels(connection, first)
    followed = "SELECT target, kind, item_limit, read_limit, parent_id FROM collections WHERE asked_by = 'discovery' ORDER BY 1"
    assert rows(followed) == [
        (f"https://www.youtube.com/channel/UC{n}", "channel", jobs.FOLLOW_LIMIT, jobs.FOLLOW_READ, first)
        for n in (2, 3)
    ]
    assert rows("SELECT DISTINCT priority FROM procrastinate_jobs") == [(jobs.FOLLOWED,)]
    with db.transaction("worker") as connection:
        jobs._follow_channels(connection, first)  # as after a pause: no more than two for each collection
        second = topic()
        jobs._follow_channels(connection, second)  # the next best, the others are asked for
    assert rows("SELECT parent_id, count(*) FROM collections WHERE asked_by = 'discovery' GROUP BY 1 ORDER BY 1") == [
        (first, 2),
        (second, 2),
    ]
    # no channel where the budget is needed for what was asked
    change("UPDATE channels SET baseline_at = NULL")
    change("DELETE FROM collections WHERE asked_by = 'discovery'")
    change("INSERT INTO sources (source) VALUES ('youtube')")
    change(
        "INSERT INTO source_requests (source, number, at) SELECT 'youtube', n, now() FROM generate_series(1, 300) AS n"
    )
    with db.transaction("worker") as connection:
        jobs._follow_channels(connection, first)
    assert scalar("SELECT count(*) FROM collections WHERE asked_by = 'discovery'") == 0


def test_a_bug_fails_the_job_and_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from miles import rollups

    def broken(connection: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(rollups, "refresh", broken)
    with db.transaction("operator") as connection:
        jobs.defer_roll_up(connection)
    work_off()
    assert rows("SELECT status::text, reason FROM procrastinate_jobs JOIN job_failures ON job_id = id") == [
        ("failed", "ZeroDivisionError: division by zero")
    ]


# -- surviving


def test_a_collection_whose_worker_is_killed_is_taken_up_and_nothing_is_lost_or_doubled(
    site: Site, start_worker: StartWorker
) -> None:
    names = [f"v{number}" for number in range(12)]
    for number, name in enumerate(names):
        site.video(name, views=1000 + number)
    go_on = held_up(site, "v7")
    defer_collection(site.feed(names))
    first = start_worker()
    eventually(lambda: scalar("SELECT new FROM collections") >= 5, what="the first batch")
    kill(first)
    go_on.set()
    stored = scalar("SELECT count(*) FROM candidates")
    assert 5 <= stored < 12
    assert rows("SELECT status::text FROM procrastinate_jobs") == [("doing",)]

    start_worker()
    eventually(lambda: scalar("SELECT state FROM collections") == "done", what="the rest of the collection")
    assert rows("SELECT found, new, updated, skipped, failed FROM collections") == [(12, 12, 0, 0, 0)]
    assert rows("SELECT views FROM candidates ORDER BY views") == [(1000 + number,) for number in range(12)]
    assert scalar("SELECT count(*) FROM snapshots") == 12
    assert rows("SELECT state, count(*) FROM thumbnails GROUP BY state") == [("stored", 12)]
    # what the first worker had stored was not asked for again
    assert [site.requests.count(f"/watch/{name}") for name in names[:stored]] == [1] * stored
    eventually(lambda: scalar("SELECT status::text FROM procrastinate_jobs WHERE task_name = 'collect'") == "succeeded")
    assert scalar("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'collect'") == 1


def test_a_scoring_whose_worker_is_killed_is_taken_up_and_nothing_is_scored_twice(start_worker: StartWorker) -> None:
    now = datetime.now(UTC)
    number = 2 * score_candidates.CHUNK + 300
    with db.transaction("worker") as connection:
        store.observe(
            connection,
            [Observation(Candidate("youtube", f"v{n}", f"Video {n}"), Snapshot(now, views=n)) for n in range(number)],
        )
    with db.transaction("operator") as connection:
        jobs.defer_score(connection)
    first = start_worker(with_model(0.15))
    eventually(lambda: scalar("SELECT count(*) FROM scores") > 0, what="the first scores")
    kill(first)
    eventually(lambda: not rows("SELECT FROM pg_locks WHERE locktype = 'advisory'"), what="the end of its transaction")
    before = dict(rows("SELECT candidate_id, scored_at FROM scores"))
    assert 0 < len(before) < number
    assert rows("SELECT status::text FROM procrastinate_jobs") == [("doing",)]

    start_worker(with_model(0))
    eventually(
        lambda: scalar("SELECT count(*) FROM candidates WHERE viral_score IS NOT NULL") == number, what="all scores"
    )
    after = dict(rows("SELECT candidate_id, scored_at FROM scores"))
    assert len(after) == number
    assert {key: after[key] for key in before} == before
    eventually(
        lambda: (
            rows("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id")
            == [("score", "succeeded"), ("roll_up", "succeeded")]
        ),
        what="the end of both jobs",
    )


def test_a_roll_up_whose_worker_is_killed_is_taken_up_and_leaves_no_half(start_worker: StartWorker) -> None:
    now = datetime.now(UTC)
    videos = [Candidate("youtube", f"v{number}", f"Video {number}") for number in range(50)]
    with db.transaction("worker") as connection:
        for days, views in ((3, 100), (1, 300)):
            store.observe(
                connection, [Observation(v, Snapshot(now - timedelta(days=days), views=views)) for v in videos]
            )
    with db.transaction("operator") as connection:
        jobs.defer_roll_up(connection)
    with db.transaction("owner") as blocker:  # stops the job before its last step
        blocker.execute(text("LOCK TABLE rollups IN ACCESS EXCLUSIVE MODE"))
        first = start_worker()
        eventually(waiting_for_a_lock, what="the roll-up's last step")
        kill(first)
    assert rows("SELECT status::text FROM procrastinate_jobs") == [("doing",)]
    assert scalar("SELECT count(*) FROM candidates WHERE velocity IS NOT NULL") == 0
    assert scalar("SELECT count(*) FROM daily_counts") == 0

    start_worker()
    eventually(lambda: scalar("SELECT status::text FROM procrastinate_jobs") == "succeeded", what="the roll-up")
    assert rows("SELECT DISTINCT round(velocity) FROM candidates") == [(100.0,)]
    assert scalar("SELECT data->>'candidates' FROM rollups WHERE name = 'overview'") == "50"


def test_a_stopping_worker_lets_its_job_go_on_elsewhere(site: Site, start_worker: StartWorker) -> None:
    names = [f"v{number}" for number in range(12)]
    for name in names:
        site.video(name, views=7, delay=0.2)
    go_on = held_up(site, "v4")
    defer_collection(site.feed(names))
    first = start_worker(patience=0.1)
    eventually(lambda: "/watch/v4" in site.requests, what="the fifth video")
    assert scalar("SELECT count(*) FROM procrastinate_workers") == 1
    first.send_signal(signal.SIGTERM)
    go_on.set()
    assert first.wait(120) == 0
    assert scalar("SELECT count(*) FROM procrastinate_workers") == 0
    assert rows("SELECT status::text FROM procrastinate_jobs") == [("todo",)]
    [(state, new)] = rows("SELECT state, new FROM collections")
    assert state == "waiting"
    assert 0 < new < 12

    start_worker()
    eventually(lambda: scalar("SELECT state FROM collections") == "done", what="the rest of the collection")
    assert rows("SELECT found, new FROM collections") == [(12, 12)]
    assert [site.requests.count(f"/watch/{name}") for name in names] == [1] * 12


def test_the_job_of_a_living_worker_is_left_alone() -> None:
    defer_collection("street food", "topic")
    change(
        "WITH one AS (INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id) UPDATE procrastinate_jobs SET status = 'doing', worker_id = one.id FROM one"
    )
    assert jobs.take_up_stalled(STALLED_AFTER) == []
    change("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '4 seconds'")
    assert len(jobs.take_up_stalled(STALLED_AFTER)) == 1
    assert jobs.take_up_stalled(STALLED_AFTER) == []


def test_a_job_that_keeps_killing_its_workers_fails_in_the_end() -> None:
    defer_collection("street food", "topic")
    for _ in range(jobs.MAX_TAKEN_UP):
        assert scalar("SELECT status::text FROM procrastinate_jobs") == "todo"
        change("UPDATE procrastinate_jobs SET status = 'doing'")
        change("UPDATE collections SET state = 'running'")
        assert len(jobs.take_up_stalled(STALLED_AFTER)) == 1
    [(status, reason)] = rows("SELECT status::text, reason FROM procrastinate_jobs JOIN job_failures ON job_id = id")
    assert status == "failed"
    assert "died 5 times" in reason
    assert rows("SELECT state, reason FROM collections") == [("failed", reason)]


def test_workers_alive_are_those_that_gave_a_sign_lately(start_worker: StartWorker) -> None:
    def alive() -> int:
        with db.transaction("viewer") as connection:
            return jobs.workers_alive(connection)

    assert alive() == 0
    start_worker()
    start_worker()
    eventually(lambda: alive() == 2, what="two workers")
    change("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
    eventually(lambda: alive() == 2, what="their next signs of life")


# -- the schedule


def test_the_watchlist_is_looked_at_every_minute_and_the_rest_every_hour() -> None:
    schedule = {task.task.name: task.cron for task in SCHEDULE.values()}
    assert schedule["watch"] == "* * * * *"
    assert schedule["refresh"] == "0 * * * *"


def test_a_refresh_asks_for_what_is_due_and_only_once() -> None:
    seen = datetime.now(UTC) - timedelta(hours=7)
    video = Candidate("youtube", "abc", "A video", url="https://www.youtube.com/watch?v=abc")
    with db.transaction("worker") as connection:
        store.observe(connection, [Observation(video, Snapshot(seen, views=1), source="youtube yt-dlp-2026.1.1")])
    jobs.refresh(timestamp=0)
    assert rows("SELECT target, kind, item_limit, asked_by FROM collections ORDER BY collection_id") == [
        (collecting.REVISIT_TARGET, "revisit", jobs.REVISIT_BUDGET, "schedule")
    ]
    # the video that is due has no score yet
    assert scalar("SELECT count(*) FROM procrastinate_jobs WHERE task_name IN ('collect', 'score')") == 2
    jobs.refresh(timestamp=1)  # it still waits: nobody asks for it twice
    assert scalar("SELECT count(*) FROM collections") == 1


def test_a_refresh_forgets_old_finished_jobs_and_keeps_failed_ones() -> None:
    for _ in range(3):
        defer_collection("street food", "topic")
    [(old,), (failed,), (young,)] = rows("SELECT id FROM procrastinate_jobs ORDER BY id")
    change("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id IN (:old, :young)", old=old, young=young)
    change("UPDATE procrastinate_jobs SET status = 'failed' WHERE id = :failed", failed=failed)
    change(
        "UPDATE procrastinate_events SET at = now() - interval '15 days' WHERE job_id IN (:old, :failed)",
        old=old,
        failed=failed,
    )
    jobs.refresh(timestamp=0)
    assert rows("SELECT id FROM procrastinate_jobs WHERE task_name = 'collect' ORDER BY id") == [(failed,), (young,)]
