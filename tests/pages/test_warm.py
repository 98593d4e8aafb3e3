"""What was known is given at once while it is read again; what everybody asks for is read ahead."""

import asyncio
import threading
import time

import pytest
from streamlit.runtime.caching import cache_utils

from miles import browse, db
from miles.browse import State
from miles.errors import DatabaseUnavailable
from ui import data, warm


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the caches believe to have passed, besides those that have."""
    passed = [0.0]
    monkeypatch.setattr(cache_utils, "TTLCACHE_TIMER", lambda: time.monotonic() + passed[0])
    return passed


@pytest.mark.usefixtures("sample_database")
def test_nobody_waits_for_what_was_known_before(later: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    data.state.clear()
    before = data.state()
    assert before.candidates > 0
    read, go_on = browse.state, threading.Event()
    reading = threading.Event()

    def slow(connection: object) -> State:
        reading.set()
        assert go_on.wait(30)
        return read(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(browse, "state", slow)
    with db.transaction("worker") as connection:
        connection.exec_driver_sql(
            "DELETE FROM candidates WHERE candidate_id IN (SELECT min(candidate_id) FROM candidates)"
        )
    later[0] += data.FRESH + 1
    assert data.state() == before  # at once, though the question is not answered yet
    assert reading.wait(30)
    go_on.set()
    deadline = time.monotonic() + 30
    while data.state() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert data.state().sample == before.sample - 1


@pytest.mark.usefixtures("sample_database")
def test_what_every_page_asks_first_is_read_before_anybody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def a_moment() -> None:
        async with warm.kept():
            for _ in range(600):
                await asyncio.sleep(0.1)
                if done.is_set():
                    return

    done, touch = threading.Event(), warm.touch
    monkeypatch.setattr(warm, "touch", lambda: (touch(), done.set()))
    asyncio.run(a_moment())
    assert done.is_set()

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    for name in ("state", "options", "coverage", "movers", "count"):
        monkeypatch.setattr(browse, name, unexpected)
    touch()


def test_a_database_that_does_not_answer_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def down() -> None:
        asked.set()
        raise DatabaseUnavailable("away")

    async def a_moment() -> None:
        async with warm.kept():
            for _ in range(100):
                await asyncio.sleep(0.05)
                if asked.is_set():
                    return

    monkeypatch.setattr(warm, "touch", down)
    asyncio.run(a_moment())
    assert asked.is_set()
