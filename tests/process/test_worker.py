"""A dashboard started alone gets its jobs done: the worker that it starts for itself."""

import time
from collections.abc import Iterator

import psutil
import pytest
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


def wait_for(statement: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with db.transaction("viewer") as connection:
            if connection.scalar(text(statement)):
                return
        time.sleep(0.2)
    pytest.fail(f"Not true within 30 s: {statement}")


def test_it_starts_one_worker_which_does_the_jobs(alone: None) -> None:
    with db.transaction("worker") as connection:
        jobs.defer_roll_up(connection)
    worker.ensure()
    wait_for("SELECT count(*) > 0 FROM procrastinate_jobs WHERE task_name = 'roll_up' AND status = 'succeeded'")
    worker.ensure.clear()
    worker.ensure()
    assert len(workers_of_ours()) == 1


def test_it_starts_none_where_it_is_told_not_to(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_START_WORKER", "0")
    settings.load.cache_clear()
    worker.ensure()
    assert workers_of_ours() == []
