"""The daily clean-up and removals as jobs on the real queue."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from tables import rows

from miles import db, jobs, keeping, removal, settings, storage, thumbnails
from miles.candidates import Candidate, Observation, Snapshot
from miles.errors import StorageUnavailable
from miles.store import observe

pytestmark = pytest.mark.usefixtures("database")

OLD = datetime.now(UTC).replace(hour=0) - timedelta(days=150)


@pytest.fixture(autouse=True)
def no_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those jobs run that a test has deferred."""
    monkeypatch.setattr(jobs.app.periodic_registry, "periodic_tasks", {})


def work_off() -> None:
    jobs.run_worker(wait=False, heartbeat=0.3, stalled_after=1.5)


def tidies() -> list[tuple]:
    return rows("SELECT status::text FROM procrastinate_jobs WHERE task_name = 'tidy' ORDER BY id")


@pytest.fixture
def old_looks() -> str:
    """A video that was looked at every hour of an old day."""
    with db.transaction("worker") as connection:
        observe(
            connection,
            [
                Observation(Candidate("youtube", "abcdefghijk", "A title"), Snapshot(OLD + timedelta(hours=hour), hour))
                for hour in range(24)
            ],
        )
    return "youtube:abcdefghijk"


def test_the_clean_up_is_asked_for_once_a_day_and_done_by_a_worker(old_looks: str) -> None:
    jobs.refresh(timestamp=0)
    jobs.refresh(timestamp=1)
    assert tidies() == [("todo",)]
    work_off()
    assert tidies() == [("succeeded",)]
    assert rows("SELECT count(*) < 8 FROM snapshots") == [(True,)]
    assert rows("SELECT sum(snapshots)::int = (SELECT count(*) FROM snapshots) FROM daily_counts") == [(True,)]
    jobs.refresh(timestamp=2)
    assert tidies() == [("succeeded",)]
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE rollups SET refreshed_at = now() - interval '25 hours' WHERE name = 'tidy'"))
    jobs.refresh(timestamp=3)  # a day later, or whenever somebody works again
    assert tidies() == [("succeeded",), ("todo",)]


def test_a_clean_up_whose_storage_fails_says_so_and_is_tried_again(
    old_looks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = thumbnails.keep(b"of nobody")
    with db.transaction("worker") as connection:
        thumbnails.release(connection, [kept.pin])
    jobs.refresh(timestamp=0)
    with monkeypatch.context() as patch:

        def down(self: storage.Folder, key: str) -> None:
            raise StorageUnavailable("The bucket is down. It is asked again later.")

        patch.setattr(storage.Folder, "delete", down)
        work_off()
    assert rows("SELECT status::text, scheduled_at > now() FROM procrastinate_jobs WHERE task_name = 'tidy'") == [
        ("todo", True)
    ]
    assert ("The bucket is down. It is asked again later.",) in rows("SELECT reason FROM job_failures")
    assert rows("SELECT count(*) < 8 FROM snapshots") == [(True,)]  # the database's part is done
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE procrastinate_jobs SET scheduled_at = NULL"))
    work_off()
    assert tidies() == [("succeeded",)]
    assert storage.thumbnails().get(kept.sha256) is None


def test_an_operator_has_something_removed_by_a_job(old_looks: str) -> None:
    with db.transaction("operator") as connection:
        found = removal.find(connection, old_looks)
        jobs.defer_removal(connection, found, "ada", "asked by its owner")
    assert rows("SELECT count(*) FROM candidates") == [(1,)]
    work_off()
    assert rows("SELECT count(*) FROM candidates") == [(0,)]
    assert rows("SELECT kind, key, reason, removed_by, deleted_at IS NOT NULL FROM removed") == [
        ("video", old_looks, "asked by its owner", "ada", True)
    ]


def test_an_operator_can_not_lift_or_write_a_tombstone_itself() -> None:
    for statement in (
        "DELETE FROM removed",
        "INSERT INTO removed (kind, key, removed_by) VALUES ('video', 'youtube:x', 'eve')",
    ):
        with pytest.raises(Exception, match="permission denied"), db.transaction("operator") as connection:
            connection.execute(text(statement))


def test_a_viewer_pins_and_releases_and_can_touch_no_object(tmp_path: Path) -> None:
    kept = thumbnails.keep(b"a draft's", "viewer")
    with db.transaction("viewer", "ada") as connection:
        thumbnails.release(connection, [kept.pin])
    for statement in ("DELETE FROM objects", "DELETE FROM object_pins", "SELECT unused_objects(ARRAY['x'])"):
        with pytest.raises(Exception, match="permission denied"), db.transaction("viewer", "ada") as connection:
            connection.execute(text(statement))


def test_a_broken_off_removal_is_finished_by_the_clean_up(old_looks: str) -> None:
    with db.transaction("worker") as connection:
        removal.mark(connection, removal.find(connection, old_looks), "ada")
    assert rows("SELECT count(*) FROM candidates") == [(1,)]
    assert keeping.tidy(dry_run=True).removals_finished == 0
    assert keeping.tidy().removals_finished == 1
    assert rows("SELECT count(*) FROM candidates") == [(0,)]


def test_all_is_kept_where_the_settings_say_so(old_looks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_DETAIL_DAYS", "0")
    settings.load.cache_clear()
    assert keeping.tidy().snapshots.removed == 0
    assert rows("SELECT count(*) FROM snapshots") == [(24,)]


def test_the_clean_up_sweeps_what_killed_processes_left_half_stored() -> None:
    key = storage.thumbnails().put(b"a picture")
    half = settings.load().thumbnails / ".a1b2c3d4"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    assert keeping.tidy(dry_run=True).half_stored == 0
    assert half.exists()
    assert keeping.tidy().half_stored == 1
    assert not half.exists()
    assert storage.thumbnails().get(key) == b"a picture"
