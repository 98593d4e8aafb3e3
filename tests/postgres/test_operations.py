"""What the Operations page and `status` read, and the few things an operator decides."""

import re
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import event, text

from miles import collecting, db, jobs, operations, rollups, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.errors import MilesError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


def seen(number: int) -> Observation:
    channel = Channel("youtube", "c", name="Channel")
    return Observation(
        Candidate("youtube", f"v{number}", f"Title {number}", channel=channel), Snapshot(NOW, views=10 + number)
    )


def listed() -> list[operations.Job]:
    with db.transaction("viewer") as connection:
        return operations.jobs(connection)


def collection(target: str = "street food") -> int:
    with db.transaction("operator") as connection:
        return jobs.defer_collection(connection, target)


def end(job_id: int, state: str) -> None:
    """What a worker does to the queue."""
    with db.transaction("worker") as connection:
        connection.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing', attempts = attempts + 1 WHERE id = :id"),
            {"id": job_id},
        )
        connection.execute(
            text("UPDATE procrastinate_jobs SET status = CAST(:state AS procrastinate_job_status) WHERE id = :id"),
            {"id": job_id, "state": state},
        )


def test_the_status_of_an_empty_database_is_all_zeros():
    with db.transaction("viewer") as connection:
        status = operations.status(connection)
    assert (status.candidates, status.snapshots, status.channels, status.scored, status.sample) == (0, 0, 0, 0, 0)
    assert status.jobs == {"waiting": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0}
    assert status.model_version is None
    assert status.last_collected_at is None
    assert status.newest_snapshot_at is None
    assert status.workers == 0
    assert status.versions.postgres.split(".")[0].isdigit()


def test_the_status_counts_what_there_is():
    with db.transaction("worker") as connection:
        store.observe(connection, [seen(1), seen(2)])
        store.observe(connection, [seen(3)], sample=True)
        connection.execute(
            text("INSERT INTO model_versions (model_version, manifest) VALUES ('m1', '{}')"),
        )
        connection.execute(
            text(
                "UPDATE candidates SET viral_score = 0.4, model_version = 'm1', scored_at = now(),"
                " scored_change = changed_at WHERE candidate_id = 'youtube:v1'"
            )
        )
        connection.execute(text("INSERT INTO procrastinate_workers DEFAULT VALUES"))
        connection.execute(
            text("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '5 minutes')")
        )
    collection()
    with db.transaction("viewer") as connection:
        status = operations.status(connection)
        assert operations.workers(connection) == jobs.workers_alive(connection) == 1
    assert (status.candidates, status.snapshots, status.channels) == (3, 3, 1)
    assert (status.scored, status.unscored, status.sample) == (1, 2, 1)
    assert status.model_version == "m1"
    assert status.newest_snapshot_at == NOW
    assert status.counted_at is None, "before the first roll-up it is counted now"
    assert status.jobs["waiting"] == 1
    assert status.workers == 1


def test_the_status_after_a_roll_up_is_read_from_it_and_says_of_when_it_is():
    with db.transaction("owner") as connection:
        store.observe(connection, [seen(1), seen(2)])
        connection.execute(text("INSERT INTO objects (sha256) VALUES (repeat('0', 64))"))
        connection.execute(
            text(
                "INSERT INTO thumbnails (candidate_id, state, sha256, bytes)"
                " VALUES ('youtube:v1', 'stored', repeat('0', 64), 7000), ('youtube:v2', 'failed', NULL, NULL)"
            )
        )
        rollups.refresh(connection)
    with db.transaction("worker") as connection:
        store.observe(connection, [seen(3)])
        before = operations.status(connection)
        rollups.refresh(connection)
    with db.transaction("viewer") as connection:
        after = operations.status(connection)
    assert (before.candidates, before.snapshots, before.channels) == (2, 2, 1)
    assert (before.thumbnails, before.thumbnail_bytes) == (1, 7000)
    assert before.unscored == 3, "what waits is counted now"
    assert (after.candidates, after.snapshots) == (3, 3)
    assert before.counted_at is not None
    assert after.counted_at is not None
    assert before.counted_at < after.counted_at


def test_the_status_after_a_roll_up_reads_no_whole_table_of_videos():
    with db.transaction("worker") as connection:
        store.observe(connection, [seen(number) for number in range(40)])
        rollups.refresh(connection)
    sent: list[tuple[str, dict]] = []

    def note(_1: object, _2: object, statement: str, values: dict, *_3: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            sent.append((statement, values))

    with db.transaction("viewer") as connection:
        event.listen(connection, "before_cursor_execute", note)
        operations.status(connection)
        event.remove(connection, "before_cursor_execute", note)
        assert any("unscored" in statement for statement, _ in sent)
        for statement, values in sent:
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values))
            assert not re.search(r"Seq Scan on (candidates|snapshots|channels|thumbnails)", plan), plan


def test_only_a_collection_that_brought_something_counts_as_collected():
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO collections (target, kind, item_limit, asked_by, state, new, finished_at) VALUES"
                " ('a', 'topic', 5, 'x', 'done', 2, :early), ('b', 'topic', 5, 'x', 'failed', 0, :late)"
            ),
            {"early": NOW, "late": NOW.replace(hour=20)},
        )
    with db.transaction("viewer") as connection:
        assert operations.status(connection).last_collected_at == NOW


def test_a_waiting_collection_shows_its_target():
    collection("night markets")
    (job,) = listed()
    assert (job.task, job.state, job.target, job.kind) == ("collect", "waiting", "night markets", "topic")
    assert job.queued_at is not None
    assert job.started_at is None
    assert job.ended_at is None


def test_a_failed_job_shows_its_reason_and_can_be_retried():
    collection()
    (job,) = listed()
    end(job.job_id, "failed")
    with db.transaction("worker") as connection:
        connection.execute(
            text("INSERT INTO job_failures (job_id, reason) VALUES (:id, 'The site said no.')"), {"id": job.job_id}
        )
    (job,) = listed()
    assert (job.state, job.reason) == ("failed", "The site said no.")
    assert job.ended_at is not None
    with db.transaction("operator") as connection:
        jobs.retry(connection, job.job_id)
    (job,) = listed()
    assert (job.state, job.reason, job.ended_at) == ("waiting", None, None)


def test_running_jobs_come_first_and_done_ones_last():
    for target in ("done", "failed", "running", "waiting"):
        collection(target)
    by_target = {job.target: job.job_id for job in listed()}
    end(by_target["done"], "succeeded")
    end(by_target["failed"], "failed")
    with db.transaction("worker") as connection:
        connection.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = :id"), {"id": by_target["running"]}
        )
    assert [job.target for job in listed()] == ["running", "waiting", "failed", "done"]
    with db.transaction("viewer") as connection:
        assert [job.target for job in operations.jobs(connection, limit=2)] == ["running", "waiting"]


def test_a_running_collection_says_how_far_it_is():
    collection_id = collection()
    (job,) = listed()
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = :id"), {"id": job.job_id})
        connection.execute(
            text(
                "UPDATE collections SET state = 'running', found = 20, new = 3, skipped = 2 WHERE collection_id = :id"
            ),
            {"id": collection_id},
        )
    (job,) = listed()
    assert job.progress == "5 of 20: 3 new, 0 updated, 2 skipped"


def test_a_waiting_job_can_be_cancelled_and_its_collection_says_so():
    collection_id = collection()
    (job,) = listed()
    with db.transaction("operator") as connection:
        operations.cancel(connection, job.job_id)
    (job,) = listed()
    assert job.state == "cancelled"
    with db.transaction("viewer") as connection:
        (cancelled,) = operations.collections(connection)
    assert (cancelled.collection_id, cancelled.state) == (collection_id, "cancelled")
    assert cancelled.reason == collecting.CANCELLED


@pytest.mark.parametrize("state", ["doing", "succeeded", "failed", None])
def test_what_does_not_wait_cannot_be_cancelled(state: str | None):
    collection()
    job_id = listed()[0].job_id
    if state == "doing":
        with db.transaction("worker") as connection:
            connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
    elif state:
        end(job_id, state)
    with pytest.raises(MilesError, match="not waiting"), db.transaction("operator") as connection:
        operations.cancel(connection, job_id if state else 999)
    with db.transaction("viewer") as connection:
        assert operations.collections(connection)[0].state == "waiting"


def test_the_items_of_a_collection_come_with_their_outcome_failed_ones_first():
    collection_id = collection()
    with db.transaction("worker") as connection:
        store.observe(connection, [seen(1)])
        connection.execute(
            text(
                "INSERT INTO collection_items (collection_id, candidate_id, outcome, reason) VALUES"
                " (:id, 'youtube:v1', 'new', NULL), (:id, 'youtube:gone', 'failed', 'It is private.')"
            ),
            {"id": collection_id},
        )
    with db.transaction("viewer") as connection:
        gone, new = operations.items(connection, collection_id)
    assert (gone.candidate_id, gone.title, gone.outcome, gone.reason) == (
        "youtube:gone",
        None,
        "failed",
        "It is private.",
    )
    assert (new.title, new.outcome) == ("Title 1", "new")


def test_a_viewer_may_not_cancel():
    collection()
    job_id = listed()[0].job_id
    with pytest.raises(Exception, match="permission denied"), db.transaction("viewer") as connection:
        operations.cancel(connection, job_id)
    assert listed()[0].state == "waiting"


def test_what_services_were_asked_for_is_summed_over_the_last_days():
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO usage (service, requests, input_tokens, output_tokens, seconds, at) VALUES"
                " ('openai', 1, 100, 20, 1.5, now()), ('openai', 2, 50, 5, 0.5, now()),"
                " ('openai', 9, 9, 9, 9, now() - interval '40 days')"
            )
        )
    with db.transaction("viewer") as connection:
        assert operations.spent(connection) == [operations.Spent("openai", 3, 150, 25, 2.0)]


def test_what_is_said_about_the_queue_is_what_the_queue_does():
    assert operations.ALIVE == jobs.STALLED_AFTER


def test_the_ticks_of_the_schedule_are_no_jobs_that_anybody_follows():
    with db.transaction("worker") as connection:
        connection.execute(
            text("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('default', :tick)"),
            {"tick": operations.TICK},
        )
    assert listed() == []
    with db.transaction("viewer") as connection:
        assert operations.job_counts(connection)["waiting"] == 0


def test_what_is_under_way_comes_running_first_then_what_goes_on_soonest():
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO collections (target, kind, item_limit, asked_by, state, resume_at) VALUES"
                " ('later', 'topic', 5, 'x', 'waiting', now() + interval '2 hours'),"
                " ('soon', 'topic', 5, 'x', 'waiting', now() + interval '1 hour'),"
                " ('next', 'topic', 5, 'x', 'waiting', NULL), ('now', 'topic', 5, 'x', 'running', NULL),"
                " ('over', 'topic', 5, 'x', 'failed', NULL)"
            )
        )
    with db.transaction("viewer") as connection:
        assert [one.target for one in operations.under_way(connection)] == ["now", "next", "soon", "later"]


@pytest.mark.parametrize(
    ("version", "age"),
    [
        ("2026.3.17", 45),
        ("2026.03.17.232108", 45),  # a nightly
        ("2026.5.2", 0),  # ahead of us: another time zone
        ("1.2.3", None),
        ("2026.13.40", None),
    ],
)
def test_the_age_of_yt_dlp_is_read_from_its_version(version: str, age: int | None):
    assert operations.age_days(version, date(2026, 5, 1)) == age
