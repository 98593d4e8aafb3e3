"""What the real yt-dlp wrote of real videos comes in as it is. Needs MILES_SHARED, the folder of recordings."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from miles import db
from miles.importing import import_files

SHARED = os.environ.get("MILES_SHARED")
pytestmark = pytest.mark.skipif(not SHARED, reason="MILES_SHARED does not name the folder of recordings")
FOLDER = Path(SHARED or ".") / "replay" / "recordings" / "infojson"


def test_each_recorded_info_json_comes_in_with_its_own_counts(database: str) -> None:
    files = sorted(FOLDER.glob("*.info.json"))
    report = import_files(files)
    assert report.errors == ()
    infos = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert report.new == len({info["id"] for info in infos}) >= 20
    with db.transaction("viewer") as connection:
        stored = {row["video_id"]: row for row in connection.execute(text("SELECT * FROM candidates")).mappings()}
    for info in infos:
        row = stored[info["id"]]
        assert row["title"] == info["title"].strip()
        assert (row["views"], row["likes"], row["comments"]) == (
            info.get("view_count"), info.get("like_count"), info.get("comment_count"),
        )  # fmt: skip
        assert row["platform"] == info["extractor_key"].lower()
        if info.get("epoch"):
            assert row["observed_at"] == datetime.fromtimestamp(info["epoch"], UTC)
        if info.get("duration") is not None:
            assert row["duration"] == pytest.approx(info["duration"])
        if info.get("timestamp"):
            assert row["published_at"] == datetime.fromtimestamp(info["timestamp"], UTC)


def test_recorded_searches_come_in_flat_and_a_full_answer_completes_them(database: str) -> None:
    listings = sorted(FOLDER.glob("*_flat.jsonl"))
    report = import_files(listings)
    assert report.errors == ()
    lines = [json.loads(line) for file in listings for line in file.read_text(encoding="utf-8").splitlines()]
    assert report.new == len({line["id"] for line in lines})
    with db.transaction("viewer") as connection:
        assert connection.scalar(text("SELECT count(*) FROM candidates WHERE tier = 'flat'")) == report.new
        rounded = connection.scalar(text("SELECT count(*) FROM snapshots WHERE NOT exact"))
    assert rounded >= 96  # the Shorts tab's
    again = import_files(listings)
    assert (again.new, again.updated, again.snapshots) == (0, 0, 0)
    assert import_files(sorted(FOLDER.glob("*.info.json"))).rejected == 0
