"""The command line as scripts use it: real processes, exit status, one JSON document on stdout."""

import csv
import json
from pathlib import Path

import pytest
from commands import answer, explained, miles, refused

COMMANDS = ["up", "api", "migrate", "import", "collect", "score", "worker", "recommend", "export", "sample", "status"]


def write_videos(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, fieldnames=["id", "title", "channel_id", "view_count", "fetched_at", "timestamp", "duration"]
        )
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"abcdefghi{number:02}",
            "title": f"Noodles in {number} minutes",
            "channel_id": f"UC{number % 3:022}",
            "view_count": 1000 * number,
            "fetched_at": "2026-03-01T10:00:00Z",
            "timestamp": 1771581600,  # ten days before: the better half of each channel is above its usual
            "duration": 30,
        }
        for number in range(1, 31)
    ]
    return write_videos(tmp_path / "videos.csv", rows)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    assert "Example: " in explained(command)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("import",),  # no file
        ("collect", "food", "--limit", "0"),
        ("score", "--input", "a.csv"),  # no --output
        ("export", "--output", "table.xlsx"),
        ("recommend", "--topic", "food", "--output", "ideas.pdf"),
        ("import", "x.csv", "--map", "title"),
    ],
)
def test_wrong_use_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    refused(*arguments)


def test_import_score_status_recommend_and_export_work_one_after_the_other(
    database: str, videos: Path, tmp_path: Path
) -> None:
    first = answer("import", videos)
    assert (first["new"], first["updated"], first["unchanged"], first["rejected"]) == (30, 0, 0, 0)
    again = answer("import", videos)
    assert (again["new"], again["updated"], again["unchanged"], again["rejected"]) == (0, 0, 30, 0)

    assert answer("score")["scored"] == 30
    assert answer("score")["scored"] == 0
    assert answer("score", "--all")["scored"] == 30

    status = answer("status")
    assert (status["candidates"], status["snapshots"], status["channels"], status["scored"]) == (30, 30, 3, 30)
    assert status["model_version"]
    assert set(status) >= {"jobs", "last_collected_at"}

    concepts = answer("recommend", "--topic", "noodles", "--vibe", "funny")["concepts"]
    assert concepts
    for concept in concepts:
        assert concept["title"]
        assert 0 <= concept["viral_score"] <= 1
        assert set(concept["evidence"]) <= {f"youtube:abcdefghi{number:02}" for number in range(1, 31)}
        assert concept["evidence"]

    for name in ("ideas.md", "ideas.csv", "ideas.json"):
        written = answer(
            "recommend", "--topic", "noodles", "-n", 2, "--platform", "youtube", "--language", "en", "--offline", "--fresh",
            "--output", tmp_path / name,
        )  # fmt: skip
        assert (written["concepts"], written["generator"]) == (2, "offline")
    assert (tmp_path / "ideas.md").read_text().startswith("# Concepts: noodles")
    with (tmp_path / "ideas.csv").open(encoding="utf-8-sig") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert len(json.loads((tmp_path / "ideas.json").read_text())["concepts"]) == 2

    exported = answer("export", "--output", tmp_path / "all.csv")
    assert exported["exported"] == 30
    with (tmp_path / "all.csv").open() as file:
        assert {row["candidate_id"] for row in csv.DictReader(file)} == {
            f"youtube:abcdefghi{number:02}" for number in range(1, 31)
        }


def test_a_bad_row_is_named_the_others_come_in_and_the_status_is_1(database: str, tmp_path: Path) -> None:
    good = {"id": "abcdefghi01", "title": "Good", "channel_id": "UC1", "view_count": 5, "fetched_at": "2026-03-01"}
    file = write_videos(tmp_path / "mixed.csv", [good, {**good, "id": "abcdefghi02", "view_count": -5}])
    outcome = miles("import", file, "--json", status=1)
    document = json.loads(outcome.stdout)
    assert (document["new"], document["rejected"]) == (1, 1)
    assert "mixed.csv:3" in outcome.stderr


def test_a_dry_run_changes_nothing(database: str, videos: Path) -> None:
    assert answer("import", videos, "--dry-run")["new"] == 30
    assert answer("status")["candidates"] == 0


def test_sample_data_comes_and_goes(database: str, videos: Path) -> None:
    answer("import", videos)
    assert answer("sample")["loaded"] > 1500
    assert answer("status")["candidates"] > 1530
    answer("sample", "--remove")
    assert answer("status")["candidates"] == 30


def test_an_unreachable_database_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me:secret@127.0.0.1:9/miles")
    outcome = miles("status", "--json", status=1)
    assert outcome.stdout == ""
    assert "127.0.0.1:9/miles can't be reached" in outcome.stderr
    assert "secret" not in outcome.stderr
    assert "Traceback" not in outcome.stderr
