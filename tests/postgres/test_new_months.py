"""The first snapshot of a month keeps other writers of candidates out for a moment; none of them waits in a ring."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from loopback import eventually
from tables import put, rows

from miles import db, removal, rollups, sample
from miles.candidates import Candidate, Channel, Observation, Snapshot

BEFORE, AFTER = datetime(2026, 1, 20, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)
CHANNEL = f"youtube:UC{'c' * 22}"


def videos(at: datetime) -> list[Observation]:
    channels = [
        Channel("youtube", "UC" + letter * 22, f"Channel {letter}", followers=int(at.timestamp())) for letter in "co"
    ]
    return [
        Observation(Candidate("youtube", name * 11, "A title", channel=channel), Snapshot(at, views=at.day))
        for name, channel in zip("abc", (*channels, channels[0]), strict=True)
    ]


def collect() -> None:
    put(videos(BEFORE + timedelta(days=1)))


def measure() -> None:
    with db.transaction("worker") as connection:
        rollups.measure(connection)


def begin_the_month() -> None:
    put(videos(AFTER - timedelta(days=1))[1:2])


def remove() -> None:
    removal.carry_out("channel", CHANNEL)


@pytest.fixture
def stored(database: str) -> str:
    """Videos of the month before, all of them samples, of two channels."""
    put(videos(BEFORE))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE candidates SET sample = true")
    return database


@pytest.mark.parametrize(
    ("removed", "write", "then"),
    [
        (False, collect, "INSERT INTO candidates"),
        (True, begin_the_month, "CREATE TEMP TABLE moments"),
        (False, measure, "UPDATE candidates SET\n    velocity"),
        (True, remove, "DELETE FROM candidates"),
        (False, sample.remove, "DELETE FROM candidates"),
    ],
    ids=["a collection", "another that begins it", "measuring", "a removal", "the end of the sample"],
)
def test_a_new_month_begins_beside(
    stored: str, monkeypatch: pytest.MonkeyPatch, removed: bool, write: Callable[[], object], then: str
) -> None:
    """Also where the other has locked rows, and is only about to write them."""
    if removed:
        with db.transaction("worker") as connection:
            removal.mark(connection, removal.Found("channel", CHANNEL, None, (), 2, 2), "ada")
    locked, go_on = threading.Event(), threading.Event()
    execute = psycopg.Cursor.execute

    def halting(self: psycopg.Cursor, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor:
        asked = query.decode() if isinstance(query, bytes) else str(query)
        if threading.current_thread().name.startswith("other") and then in asked and not locked.is_set():
            first, last = asked.split(then, 1)
            if first.strip():
                execute(self, first.encode())
                query = f"{then}{last}".encode()
            locked.set()
            assert go_on.wait(60)
        return execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", halting)
    with ThreadPoolExecutor(1, "other") as others, ThreadPoolExecutor(1, "month") as months:
        other = others.submit(write)
        try:
            eventually(lambda: locked.is_set() or other.done(), what="the lock")
            month = months.submit(put, videos(AFTER))
            with psycopg.connect(stored, autocommit=True) as connection:
                waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                eventually(
                    lambda: month.done() or connection.execute(waiting).fetchone() is not None, what="the new month"
                )
        finally:
            go_on.set()
        other.result(60)
        month.result(60)
    assert ("youtube:bbbbbbbbbbb", AFTER) in rows("SELECT candidate_id, observed_at FROM snapshots_2026_02")
