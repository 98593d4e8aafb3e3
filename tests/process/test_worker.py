"""A dashboard started alone gets its jobs done: the worker that it starts for itself."""

from collections.abc import Iterator

import psutil
import pytest
from loopback import eventually
from sqlalchemy import text

from miles import db, jobs, settings
from ui import worker


def workers_of_ours() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "worker" in child.cmdline()]


@pytest.fixture
def alone(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MILES_START_WORKER", "1")
    settings.load.cache_clear()
    worker.ensure.clear()
    yield
    worker.stop()
    worker.ensure.clear()


def rolled_up() -> bool:
    with db.transaction("viewer") as connection:
        return connection.execute(
            text("SELECT count(*) > 0 FROM procrastinate_jobs WHERE task_name = 'roll_up' AND status = 'succeeded'")
        ).scalar_one()


def test_it_starts_one_worker_which_does_the_jobs(alone: None) -> None:
    with db.transaction("worker") as connection:
        jobs.defer_roll_up(connection)
    worker.ensure()
    eventually(rolled_up, what="the roll-up")
    worker.ensure.clear()
    worker.ensure()
    assert len(workers_of_ours()) == 1


def test_it_starts_none_where_it_is_told_not_to(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_START_WORKER", "0")
    settings.load.cache_clear()
    worker.ensure()
    assert workers_of_ours() == []
