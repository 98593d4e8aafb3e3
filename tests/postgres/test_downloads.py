"""Exports over HTTP: what the address asks for, streamed, and nothing left behind by a reader who hangs up."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from miles import db, downloads, export, rollups, settings, store
from miles.candidates import Candidate, Channel, Observation, Snapshot

START = datetime(2026, 1, 10, tzinfo=UTC)
APP = Starlette(routes=[Route("/export/{name}", downloads.download)])


@pytest.fixture
def client(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """40 videos, read in batches of ten."""
    monkeypatch.setattr(export, "BATCH", 10)
    monkeypatch.setattr(downloads, "_turns", asyncio.Semaphore(downloads.AT_ONCE))
    db.ready()
    with db.transaction("worker") as connection:
        seen = [
            Observation(
                Candidate(
                    "youtube", f"v{number:02d}", f"Video {number}", channel=Channel("youtube", "UC1", "Kanal Ö"),
                    category="Music" if number < 5 else "Gaming", published_at=START + timedelta(days=number),
                ),
                Snapshot(START + timedelta(days=41 + look), views=1000 * number + 10 * look, likes=5, comments=3),
                source="youtube yt-dlp-2026.01.09" if number % 2 else "import videos.csv",
            )
            for number in range(40)
            for look in range(3)
        ]  # fmt: skip
        store.observe(connection, seen)
        rollups.refresh(connection)
    yield TestClient(APP)
    with db.transaction("owner") as connection:
        left = connection.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
                " AND pid <> pg_backend_pid()"
            )
        )
    assert left == 0, "a transaction was left open"


def test_every_format_is_the_whole_filtered_set_in_its_order(client: TestClient) -> None:
    asked = {"category": "Gaming", "sort": "By views"}
    files = {kind: client.get(f"/export/videos.{kind}", params=asked) for kind in export.FORMATS}
    for kind, answer in files.items():
        assert answer.status_code == 200
        assert answer.headers["content-type"] == downloads.TYPES[kind]
        assert answer.headers["content-disposition"].startswith('attachment; filename="miles-videos-20')
    expected = [f"youtube:v{number:02d}" for number in reversed(range(5, 40))]
    rows = list(csv.DictReader(io.StringIO(files["csv"].text)))
    assert [row["candidate_id"] for row in rows] == expected
    assert [json.loads(line)["candidate_id"] for line in files["jsonl"].text.splitlines()] == expected
    table = pq.read_table(io.BytesIO(files["parquet"].content)).to_pylist()
    assert [row["candidate_id"] for row in table] == expected
    first = table[0]
    assert (first["source"], first["extractor"], first["extractor_version"], first["tier"]) == (
        "youtube yt-dlp-2026.01.09", "youtube", "2026.01.09", "full",
    )  # fmt: skip
    assert (table[1]["source"], table[1]["extractor"]) == ("import videos.csv", None)
    assert first["velocity"] == pytest.approx(10)
    assert first["acceleration"] == pytest.approx(0)
    assert first["engagement_rate"] == pytest.approx(8 / 39_020)
    assert first["first_seen_at"] == START + timedelta(days=41)
    assert first["last_seen_at"] == START + timedelta(days=43)


def test_relative_days_search_and_broken_parts_mean_what_they_do_on_the_page(client: TestClient) -> None:
    answer = client.get("/export/videos.csv?within=7 days&q=video*&format=film&sort=up&score=x")
    # the newest snapshot is of day 43: published on day 36 or later
    assert [row["video_id"] for row in csv.DictReader(io.StringIO(answer.text))] == ["v36", "v37", "v38", "v39"]


def test_an_unknown_file_is_not_found(client: TestClient) -> None:
    for name in ("videos.xlsx", "videos", "scores.csv", "..%2fvideos.csv"):
        assert client.get(f"/export/{name}").status_code == 404


def test_a_database_that_does_not_answer_is_a_sentence(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    db.close()
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:secret@127.0.0.1:9/nothing")
    settings.load.cache_clear()
    answer = client.get("/export/videos.csv")
    assert answer.status_code == 503
    assert "can't be reached" in answer.text
    assert "secret" not in answer.text
    db.close()
    monkeypatch.setenv("DATABASE_URL", database)
    settings.load.cache_clear()


def test_bytes_go_out_while_rows_are_still_to_be_read(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever hangs up ends the reading: no more batches, no open transaction, the turn given back."""
    read: list[int] = []
    whole = export.pieces

    def counting(*args: object, **options: object) -> Iterator[bytes]:
        return whole(*args, **options, on_progress=read.append)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "pieces", counting)
    sent: list[tuple[int, int]] = []  # bytes of a piece, and rows that were read by then

    async def hang_up_after_two_pieces() -> None:
        gone = asyncio.Event()

        async def receive() -> dict:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            if message["type"] == "http.response.body":
                sent.append((len(message["body"]), read[-1]))
                if len(sent) == 2:
                    gone.set()
                    await asyncio.sleep(120)  # cancelled meanwhile, as a dead connection is

        scope = {
            "type": "http", "method": "GET", "path": "/export/videos.jsonl", "raw_path": b"/export/videos.jsonl",
            "query_string": b"", "headers": [], "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        await APP(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(hang_up_after_two_pieces())
    assert [rows for _, rows in sent] == [10, 20]
    assert read == [10, 20]
    assert downloads._turns._value == downloads.AT_ONCE


def test_a_large_set_takes_no_more_memory_than_a_small_one(client: TestClient) -> None:
    """What is held at any time is a piece, whatever the number of rows."""
    with db.transaction("worker") as connection:
        look = Observation(Candidate("youtube", "x", "y" * 100), Snapshot(START, views=1))
        many = [replace(look, candidate=replace(look.candidate, video_id=f"m{number}")) for number in range(2000)]
        store.observe(connection, many)
        rollups.refresh(connection)
    for kind in export.FORMATS:
        with db.transaction("viewer") as connection:
            sizes = [len(piece) for piece in export.pieces(connection, kind)]
        assert len(sizes) > 200
        assert max(sizes[:-1]) < 40_000, kind  # the last holds Parquet's table of contents
