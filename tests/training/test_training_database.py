"""Training from an installation's own database: a real PostgreSQL filled with invented channels."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from conftest import observations, picture
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from miles import db, registry, scoring, settings, storage
from miles.candidates import YOUTUBE_CATEGORIES, Candidate, Channel, Observation, Snapshot
from miles.errors import MilesError
from miles.store import observe
from training import __main__ as training
from training import database, dataset

# Of torch, about itself, while it exports.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore::DeprecationWarning:torch.*"),
    pytest.mark.usefixtures("database"),
    pytest.mark.timeout(1800),  # a whole run; half a minute on a machine of its own
]

DAYS = 200
START = (datetime.now(UTC) - timedelta(days=DAYS + 6)).replace(hour=9, minute=0, second=0, microsecond=0)
LITTLE = database.Needed(100, 100, 20, 20, 20, 20, 5)


@pytest.fixture(scope="module")
def daily() -> pd.DataFrame:
    return observations(DAYS, channels=24, every=4, start=START)


def fill(daily: pd.DataFrame, *, sample: bool = False, exact: bool = True) -> None:
    """Put observations into the database as a collection would have."""
    rows = [
        Observation(
            Candidate(
                "youtube", row.video_id, row.title, channel=Channel("youtube", row.channel_id),
                category=YOUTUBE_CATEGORIES[row.category_id], duration=float(row.duration),
                language=row.default_language, published_at=row.published_at.to_pydatetime(),
            ),
            Snapshot(row.fetched_at.to_pydatetime(), row.views, row.likes, row.comments, exact=exact),
        )
        for row in daily.itertuples(index=False)
    ]  # fmt: skip
    with db.transaction("worker") as connection:
        observe(connection, rows, sample=sample)


@pytest.fixture
def arguments(bert: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def given(*more: str) -> list[str]:
        return [
            *("--from-database", "--text-encoder", str(bert), "--work", str(tmp_path / "work")),
            *("--epochs", "2", "--threads", "1", "--made", "2026-11-21", *more),
        ]

    return given


def test_observations_are_read_as_from_files(daily: pd.DataFrame):
    fill(daily)
    with database.reading() as connection:
        read = database.read_observations(connection)
    assert list(read["video_id"]) == [f"youtube:{video}" for video in daily["video_id"]]
    for column in ("views", "likes", "comments", "duration", "category_id", "age"):
        assert read[column].to_numpy() == pytest.approx(daily[column].to_numpy(float), abs=1e-6), column
    assert (read["published_at"] == daily["published_at"]).all()
    assert list(read["title"]) == list(daily["title"])
    assert read["countries"].isna().all()  # on no chart: not known, rather than none
    ours = dataset.make_cases(read, dataset.fit_growth_curve(read), dataset.periods_of(read))
    theirs = dataset.make_cases(daily, dataset.fit_growth_curve(daily), dataset.periods_of(daily))
    assert [c.views_24h for c in ours] == [c.views_24h for c in theirs]
    assert [c.velocity_3d for c in ours] == [c.velocity_3d for c in theirs]


def test_looks_within_an_hour_are_one_and_gaps_stay_gaps():
    published = START + timedelta(hours=1)
    bare = Candidate("youtube", "bare", "NA", published_at=published)
    looks = [
        (2.0, Snapshot(published + timedelta(hours=2, minutes=5), 100, country="DE")),
        (2.0, Snapshot(published + timedelta(hours=2, minutes=9), 105, country="FR")),
        (26.0, Snapshot(published + timedelta(hours=26), 900)),
        (50.0, Snapshot(published + timedelta(hours=50), None)),  # looked at, but views are hidden
        (80.0, Snapshot(published + timedelta(hours=80), 1000, exact=False)),
    ]
    with db.transaction("worker") as connection:
        observe(connection, [Observation(bare, shot) for _, shot in looks])
        observe(connection, [Observation(Candidate("youtube", "undated", "x"), Snapshot(published, 5))])
    with database.reading() as connection:
        read = database.read_observations(connection)
    assert list(read["views"]) == [105, 900]
    assert read["countries"].fillna(0).tolist() == [2, 0]
    assert read["title"].tolist() == ["NA", "NA"]
    assert read["channel_id"].tolist() == ["youtube:bare"] * 2  # a video without a channel stands for itself
    assert read["likes"].isna().all()
    assert read["duration"].isna().all()


def test_reading_cannot_write():
    with pytest.raises(DBAPIError, match="read-only"), database.reading() as connection:
        connection.execute(text("DELETE FROM candidates"))


def test_the_sample_is_never_learnt_from(daily: pd.DataFrame):
    fill(daily.head(200), sample=True)
    with pytest.raises(MilesError, match="sample does not count"), database.reading() as connection:
        database.read_observations(connection)


def test_too_little_is_refused_with_the_number_that_is_missing(
    daily: pd.DataFrame, arguments: Callable[..., list[str]], tmp_path: Path
):
    fill(daily)
    with pytest.raises(SystemExit) as refused:
        training.main(arguments())
    says = str(refused.value)
    found = re.search(r"needs 5,000 draft cases to fit, has ([\d,]+): ([\d,]+) more", says)
    assert found, says
    has, more = (int(number.replace(",", "")) for number in found.groups())
    assert has + more == 5000
    assert 200 < has < len(daily) / 5
    assert "100 channels to fit" in says
    assert "watchlist" in says
    assert not (tmp_path / "miles" / "models").exists()


def test_enough_makes_a_model_beside_the_shipped_one_that_can_be_put_in_force(
    daily: pd.DataFrame,
    arguments: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
):
    fill(daily)
    monkeypatch.setattr(database, "NEEDED", LITTLE)
    shipped = (scoring.DEFAULT_FOLDER / "manifest.json").read_bytes()
    out = training.main(arguments())
    model = scoring.load(out)
    assert out == settings.load().home / "models" / model.version
    assert (scoring.DEFAULT_FOLDER / "manifest.json").read_bytes() == shipped
    assert registry.verify(out) == []
    found = json.loads((out / "evaluation.json").read_text())
    assert found["judged"]["draft"]["all"]["n"] >= LITTLE.look_drafts
    assert found["judged"]["draft"]["unseen channels"]["channels"] >= 2
    card = (out / "README.md").read_text()
    assert "The database of one installation" in card
    assert "too few thumbnails" in card
    periods = model.manifest["periods"]
    span = datetime.fromisoformat(periods["calibrate_until"]) - datetime.fromisoformat(periods["fit_until"])
    assert timedelta(days=29) <= span <= timedelta(days=31)
    with db.transaction("owner") as connection:
        assert registry.activate(connection, out, by="test").version == model.version


def test_thumbnails_are_read_where_they_are_stored(daily: pd.DataFrame):
    old = daily[daily["video_id"].str.startswith("0-")]
    fill(old)
    shown = picture(1)
    with db.transaction("worker") as connection:
        key = storage.thumbnails().put(shown)
        connection.execute(
            text(
                "INSERT INTO thumbnails (candidate_id, sha256, content_type, width, height, bytes, state)"
                " SELECT candidate_id, CASE WHEN candidate_id LIKE '%0' THEN :key ELSE repeat('0', 64) END,"
                " 'image/jpeg', 64, 36, 9, 'stored' FROM candidates"
            ),
            {"key": key},
        )
    with database.reading() as connection:
        read = database.read_thumbnails(connection)
    assert 0 < len(read) < old["video_id"].nunique()  # those whose file is gone are left out
    assert set(read["image"]) == {shown}
    assert set(read.columns) == {"title", "published_at", "view_count", "image"}
    assert read["view_count"].min() > 0
