"""The file door: what goes in comes out scored, and a bad file changes nothing."""

import csv
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from miles import score_file as door
from miles import scoring
from miles.errors import UnreadableFile
from miles.features import ScoreInput
from miles.score_file import OUTPUT, score_file
from miles.scoring import Score

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HISTORY = [
    {
        "title": f"Episode {i}",
        "published_at": f"2026-05-{i:02}T10:00:00",
        "observed_at": f"2026-05-{i + 1:02}T03:00:00",
        "views": 1000 * i,
        "age_days": 0.71,
        "log10_views_24h": 3.5,
    }
    for i in range(1, 8)
]
ROWS = [
    {
        "video_id": "a",
        "title": "Episode 9",
        "category_id": 20,
        "published_at": NOW,
        "history_json": json.dumps(HISTORY),
    },
    {
        "video_id": "b",
        "title": "Seen, twice",
        "published_at": NOW,
        "observed_at": NOW + timedelta(hours=9),
        "views": 900.0,
    },
    {"video_id": "c", "title": "Only a title"},
]


@dataclass
class Listener:
    """Stands in for the model: keeps what it is asked, answers the same to all."""

    asked: list[ScoreInput] = field(default_factory=list)

    def score(self, inputs):
        self.asked += inputs
        return [Score(i.key, i.mode, 0.2, None, 5.0, 1.0, 9.0, None, 0.1, "v", None) for i in inputs]


def write(path: Path, rows: list[dict]) -> Path:
    frame = pd.DataFrame(rows)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.fixture(scope="module")
def model():
    return scoring.load()


@pytest.mark.parametrize("source", ["in.parquet", "in.csv"])
@pytest.mark.parametrize("target", ["out.parquet", "out.csv"])
def test_every_row_comes_out_scored_in_either_format(tmp_path, model, source, target):
    reports = []
    n = score_file(write(tmp_path / source, ROWS), tmp_path / target, model, lambda *at: reports.append(at))
    out = read(tmp_path / target)
    assert n == 3
    assert list(out["video_id"]) == ["a", "b", "c"]
    assert list(out.columns) == OUTPUT.names
    assert list(out["mode"]) == ["draft", "candidate", "draft"]
    assert out["viral_score"].between(0, 1).all()
    assert out["predicted_multiple"].notna().tolist() == [True, False, False]
    assert out["predicted_velocity_7d"].notna().tolist() == [False, True, False]
    assert (out["model_version"] == model.version).all()
    assert reports[-1][0] == 3


def test_formats_agree_and_a_row_scores_the_same_alone(tmp_path, model):
    score_file(write(tmp_path / "in.parquet", ROWS), tmp_path / "a.parquet", model)
    score_file(write(tmp_path / "in.csv", ROWS), tmp_path / "b.parquet", model)
    score_file(write(tmp_path / "one.parquet", ROWS[1:2]), tmp_path / "c.parquet", model)
    a, b, c = (read(tmp_path / f"{name}.parquet") for name in "abc")
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    pd.testing.assert_frame_equal(a[1:2].reset_index(drop=True), c, check_exact=True, check_dtype=False)


def test_a_long_file_is_worked_on_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(door, "ROWS", 4)
    listener, reports = Listener(), []
    rows = [{"video_id": str(i), "title": "t"} for i in range(10)]
    for name in ("in.parquet", "in.csv"):
        score_file(write(tmp_path / name, rows), tmp_path / "out.csv", listener, lambda *at: reports.append(at))
    assert reports == [(4, 10), (8, 10), (10, 10), (4, None), (8, None), (10, None)]
    assert [i.key for i in listener.asked] == [str(i) for i in range(10)] * 2


def test_empty_cells_are_not_known_and_numbers_may_be_written_as_floats(tmp_path):
    row = {
        "title": "t",
        "category_id": 20.0,
        "views": None,
        "likes": float("nan"),
        "default_language": "",
        "history_json": "",
    }
    listener = Listener()
    score_file(write(tmp_path / "in.csv", [row]), tmp_path / "out.csv", listener)
    (video,) = listener.asked
    assert (video.category_id, video.views, video.likes) == (20, None, None)
    assert (video.language, video.history) == (None, ())


def test_the_age_stands_in_for_a_missing_publication(tmp_path):
    row = {"title": "t", "observed_at": NOW, "age_days": 2.0, "views": 5}
    listener = Listener()
    score_file(write(tmp_path / "in.parquet", [row]), tmp_path / "out.parquet", listener)
    assert listener.asked[0].published_at == NOW - timedelta(days=2)


def test_a_thumbnail_may_be_bytes_or_a_path_and_is_never_fetched(tmp_path):
    (tmp_path / "here.jpg").write_bytes(b"picture")
    listener = Listener()
    rows = [{"title": "t", "thumbnail": name} for name in ("here.jpg", "gone.jpg", "https://example.org/a.jpg", None)]
    score_file(write(tmp_path / "in.csv", rows), tmp_path / "out.csv", listener)
    score_file(write(tmp_path / "in.parquet", [{"title": "t", "thumbnail": b"bytes"}]), tmp_path / "out.csv", listener)
    # b"" is a picture that can't be read: the score's note will say so
    assert [i.thumbnail for i in listener.asked] == [b"picture", b"", b"", None, b"bytes"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("in.parquet", b"", "empty"),
        ("in.csv", b"", "empty"),
        ("in.parquet", b"PAR1 not really", "not a readable Parquet"),
        ("in.csv", b"video_id,views\na,1\n", "no column 'title'"),
        ("in.csv", b"title\n\xff\xfe\xff\n", "UTF-8|can't be read"),
        ("in.csv", b"title,views\nt,many\n", "row 1: views should be a number"),
        ("in.csv", b"title,views\nt,1\nt,-1\n", "row 2: views should be zero or more"),
        ("in.csv", b"title,published_at\nt,yesterday\n", "row 1: published_at should be a moment"),
        ("in.csv", b'title,history_json\nt,{"a": 1}\n', "row 1: history_json should be a JSON list"),
        ("in.csv", b"title,history_json\nt,[\n", "row 1: history_json should be a JSON list"),
        ("in.xlsx", b"x", "must end in"),
    ],
)
def test_a_bad_file_is_refused_in_words_and_changes_nothing(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out.csv"
    out.write_text("as before")
    with pytest.raises(UnreadableFile, match=says):
        score_file(tmp_path / name, out, Listener())
    assert out.read_text() == "as before"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "out.csv"])


def test_a_truncated_parquet_file_is_refused(tmp_path):
    whole = write(tmp_path / "in.parquet", ROWS).read_bytes()
    (tmp_path / "in.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match="Parquet"):
        score_file(tmp_path / "in.parquet", tmp_path / "out.csv", Listener())


def test_a_missing_file_or_folder_is_said(tmp_path):
    with pytest.raises(UnreadableFile, match="no file"):
        score_file(tmp_path / "gone.csv", tmp_path / "out.csv", Listener())
    with pytest.raises(UnreadableFile, match="no folder"):
        score_file(write(tmp_path / "in.csv", ROWS), tmp_path / "gone" / "out.csv", Listener())


def test_a_history_longer_than_a_csv_cell_usually_is_can_be_read(tmp_path):
    history = [HISTORY[0] | {"title": "x" * 20_000}] * 20
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["title", "history_json"], ["t", json.dumps(history)]])
    listener = Listener()
    score_file(tmp_path / "in.csv", tmp_path / "out.csv", listener)
    assert len(listener.asked[0].history) == 20
