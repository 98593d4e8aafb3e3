"""Exports: whole, typed, streamed, and never half there."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from miles import db, export, store
from miles.browse import Filters
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.errors import MilesError

START = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def filled(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 videos, read in batches of ten."""
    monkeypatch.setattr(export, "BATCH", 10)
    db.ready()
    with db.transaction("worker") as connection:
        store.observe(
            connection,
            [
                Observation(
                    Candidate(
                        "youtube",
                        f"v{number:02d}",
                        f'Video {number}, "quoted"\nand broken',
                        channel=Channel("youtube", "UC1", "Kanal Ö") if number % 2 else None,
                        category="Music" if number < 5 else None,
                        tags=("a", "b") if number == 0 else None,
                        published_at=START,
                    ),
                    Snapshot(START + timedelta(days=1), views=number),
                )
                for number in range(25)
            ],
        )


def write(path: Path, kind: export.Format, filters: Filters | None = None) -> int:
    with db.transaction("viewer") as connection:
        return export.to_file(connection, path, kind, filters=filters, sort="views")


@pytest.mark.usefixtures("filled")
def test_every_format_holds_the_same_rows(tmp_path: Path) -> None:
    files = {kind: tmp_path / f"videos.{kind}" for kind in export.FORMATS}
    assert [write(path, kind) for kind, path in files.items()] == [25, 25, 25]
    with files["csv"].open(encoding="utf-8", newline="") as file:
        as_csv = list(csv.DictReader(file))
    as_lines = [json.loads(line) for line in files["jsonl"].read_text(encoding="utf-8").splitlines()]
    as_parquet = pq.read_table(files["parquet"]).to_pylist()

    ids = [row["candidate_id"] for row in as_parquet]
    assert ids == [f"youtube:v{number:02d}" for number in reversed(range(25))]  # most views first, all batches
    assert [row["candidate_id"] for row in as_csv] == [row["candidate_id"] for row in as_lines] == ids
    assert as_csv[-1]["title"] == as_lines[-1]["title"] == as_parquet[-1]["title"] == 'Video 0, "quoted"\nand broken'
    assert (as_csv[-1]["tags"], as_lines[-1]["tags"], as_parquet[-1]["tags"]) == ("a|b", ["a", "b"], ["a", "b"])
    assert as_parquet[-1]["published_at"] == START
    assert as_lines[-1]["published_at"] == as_csv[-1]["published_at"] == START.isoformat()
    assert (as_csv[-1]["channel"], as_lines[-1]["channel"]) == ("", None)  # unknown is empty, not 0
    assert as_parquet[0]["viral_score"] is None
    assert as_csv[-2]["channel"] == "Kanal Ö"


@pytest.mark.usefixtures("filled")
def test_an_export_holds_the_filtered_set_only(tmp_path: Path) -> None:
    assert write(tmp_path / "music.csv", "csv", Filters(categories=("Music",))) == 5
    assert write(tmp_path / "channel.csv", "csv", Filters(channel="kanal")) == 12


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("kind", export.FORMATS)
def test_an_empty_set_is_a_whole_file(tmp_path: Path, kind: export.Format) -> None:
    assert write(tmp_path / "none", kind, Filters(text="nothing like it")) == 0
    if kind == "parquet":
        assert pq.read_table(tmp_path / "none").schema.equals(export.SCHEMA)
    elif kind == "csv":
        assert (tmp_path / "none").read_text().strip() == ",".join(export.SCHEMA.names)
    else:
        assert (tmp_path / "none").read_bytes() == b""


@pytest.mark.usefixtures("filled")
def test_a_failed_export_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "videos.csv"
    path.write_text("old")

    def stop(rows: int) -> None:
        if rows > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), db.transaction("viewer") as connection:
        export.to_file(connection, path, "csv", on_progress=stop)
    assert [file.name for file in tmp_path.iterdir()] == ["videos.csv"]
    assert path.read_text() == "old"


@pytest.mark.usefixtures("filled")
def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MilesError, match="can't be written"):
        write(tmp_path / "missing" / "videos.csv", "csv")


@pytest.mark.usefixtures("filled")
def test_rows_are_read_in_batches(tmp_path: Path) -> None:
    told: list[int] = []
    with db.transaction("viewer") as connection:
        export.to_file(connection, tmp_path / "videos.jsonl", "jsonl", on_progress=told.append)
    assert told == [10, 20, 25]
