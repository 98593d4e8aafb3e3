"""Sample data: the same for a seed, true to its own rules, and gone without a trace."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text
from tables import rows

from miles import db, patterns, rollups, sample, settings, storage
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.store import observe

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TABLES = ("channels", "candidates", "snapshots", "scores", "thumbnails", "collections", "watchlist")


@pytest.fixture
def small(monkeypatch):
    """A sample of three niches with few videos: quick to draw."""
    monkeypatch.setattr(sample, "NICHES", sample.NICHES[:3])
    monkeypatch.setattr(sample, "VIDEOS_PER_CHANNEL", (8, 12))


def contents() -> dict[str, list[str]]:
    """Every row of the tables that videos live in, as text."""
    return {
        table: [row[0] for row in rows(f"SELECT CAST({table} AS text) FROM {table} ORDER BY 1")] for table in TABLES
    }


def files() -> list[str]:
    folder: Path = settings.load().thumbnails
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def add_real_videos() -> None:
    """Two channels of real videos, measured, with a score and a picture."""
    with db.transaction("worker") as connection:
        observe(
            connection,
            [
                Observation(
                    Candidate(
                        "youtube", f"{channel}-{number}", "A real title", channel=Channel("youtube", channel),
                        published_at=NOW - timedelta(days=9), category="Music", media_type="video",
                    ),
                    Snapshot(NOW - timedelta(days=9 - age), 100 * number + age),
                )
                for channel in ("c", "d") for number in range(7) for age in (1, 3)
            ],
        )  # fmt: skip
        rollups.measure(connection)
        connection.execute(text("INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}')"))
        connection.execute(
            text(
                "INSERT INTO scores (candidate_id, model_version, mode, viral_score, base_rate, predicted_velocity,"
                " velocity_low, velocity_high) SELECT candidate_id, 'm', 'candidate', 0.5, 0.1, 1, 0, 2 FROM candidates"
            )
        )
        connection.execute(
            text("INSERT INTO thumbnails (candidate_id, sha256, state) VALUES ('youtube:c-1', :key, 'stored')"),
            {"key": storage.thumbnails().put(b"a real picture")},
        )


def test_the_whole_sample_is_about_two_thousand_videos_of_sixty_channels():
    videos = list(sample.invent(7))
    assert 1900 <= len(videos) <= 2100
    assert len({video.channel.key for video in videos}) == 60
    assert len({video.channel.name for video in videos}) == 60
    assert len({video.video_id for video in videos}) == len(videos)
    assert {video.media_type for video in videos} == {"short", "video"}
    assert len({video.title for video in videos}) > 0.8 * len(videos)


def test_the_same_seed_invents_the_same_and_another_seed_others():
    first, again, other = (list(sample.invent(seed)) for seed in (7, 7, 8))
    assert first == again
    assert {video.title for video in first} != {video.title for video in other}
    assert sample.draw(first[0], 7) == sample.draw(again[0], 7)
    assert sample.draw(first[0], 7) != sample.draw(first[1], 7)


def test_views_only_grow_and_every_look_lies_between_publication_and_now():
    for video in sample.invent(3):
        ages = [video.age - before for before, _, _, _ in video.looks]
        views = [seen for _, seen, _, _ in video.looks]
        assert views == sorted(views)
        assert ages == sorted(ages)
        assert ages[0] > 0
        assert all(before >= 0 for before, _, _, _ in video.looks)
        assert all(likes <= seen for _, seen, likes, _ in video.looks)


def test_thumbnails_are_whole_pictures_in_both_shapes():
    videos = list(sample.invent(7))
    for media_type, shape, kind in (("short", (225, 400), "WEBP"), ("video", (400, 225), "JPEG")):
        video = next(video for video in videos if video.media_type == media_type)
        with Image.open(io.BytesIO(sample.draw(video, 7))) as picture:
            picture.load()
            assert (picture.size, picture.format) == (shape, kind)
            assert len(picture.convert("RGB").getcolors(100_000) or []) > 100  # something is drawn


def test_everything_that_is_loaded_is_marked_and_measured(database, small):
    told = []
    loaded = sample.load(now=NOW, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (loaded, loaded)
    assert rows("SELECT count(*) FROM candidates WHERE sample AND platform = 'sample' AND url IS NULL") == [(loaded,)]
    assert rows("SELECT count(*) FROM candidates") == [(loaded,)]
    assert rows("SELECT count(*), bool_and(sample) FROM channels") == [(15, True)]
    assert rows(f"SELECT max(observed_at) <= '{NOW.isoformat()}' FROM snapshots") == [(True,)]
    assert rows("SELECT count(*) FROM thumbnails WHERE state = 'stored'") == [(loaded,)]
    assert {row[0] for row in rows("SELECT sha256 FROM thumbnails")} == set(files())
    assert rows("SELECT count(*) FROM candidates WHERE measured_change IS DISTINCT FROM changed_at") == [(0,)]
    assert rows("SELECT count(velocity) > 0.9 * count(*) FROM candidates") == [(True,)]
    with db.transaction("viewer") as connection:
        assert rollups.overview(connection)["sample"] == loaded


def test_loading_twice_changes_nothing(database, small):
    assert sample.load(now=NOW) > 0
    before = contents()
    assert sample.load(now=NOW + timedelta(days=1)) == 0
    assert sample.load(seed=8, now=NOW) == 0
    assert contents() == before


def test_removing_leaves_the_real_rows_as_they_were_to_the_last_byte(database, small):
    add_real_videos()
    before, files_before = contents(), files()
    loaded = sample.load(now=NOW)
    assert len(contents()["candidates"]) == 14 + loaded
    assert sample.remove() == loaded
    assert contents() == before
    assert files() == files_before
    with db.transaction("viewer") as connection:
        overview = rollups.overview(connection)
        assert (overview["sample"], overview["candidates"]) == (0, 14)
        assert connection.scalar(text("SELECT count(*) FROM title_patterns")) == 0


def test_removing_twice_or_from_nothing_is_fine(database, small):
    assert sample.remove() == 0
    sample.load(now=NOW)
    assert sample.remove() > 0
    assert sample.remove() == 0
    assert all(content == [] for content in contents().values())


def test_a_picture_that_a_real_video_shares_stays(database, small):
    add_real_videos()
    sample.load(now=NOW)
    ((key,),) = rows("SELECT sha256 FROM thumbnails JOIN candidates USING (candidate_id) WHERE sample LIMIT 1")
    with db.transaction("worker") as connection:
        connection.execute(
            text("INSERT INTO thumbnails (candidate_id, sha256, state) VALUES ('youtube:d-1', :key, 'stored')"),
            {"key": key},
        )
    sample.remove()
    assert storage.thumbnails().get(key) is not None


def test_after_a_failure_nothing_is_loaded_and_the_next_try_succeeds(database, small, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(sample, "draw", lambda video, seed: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sample.load(now=NOW)
    assert all(content == [] for content in contents().values())
    assert sample.load(now=NOW) > 0


def test_the_title_patterns_find_what_the_generator_put_in(database, monkeypatch):
    monkeypatch.setattr(sample, "draw", lambda video, seed: video.video_id.encode())  # not about pictures
    sample.load(now=NOW)
    found = {
        pattern: (q_value, estimate)
        for pattern, q_value, estimate in rows(
            "SELECT pattern, q_value, ln(lift) FROM title_patterns WHERE scope = 'all' AND kind = 'structure'"
        )
    }
    for name, effect in sample.EFFECTS.items():
        q_value, estimate = found[name]
        assert estimate == pytest.approx(effect, abs=0.25), name
        assert estimate * effect > 0, name
        assert q_value < 0.01 or abs(effect) < 0.4, name
    # what has no effect, and does not go along with something that has one, is mostly not called
    without = [found[name][0] < 0.05 for name in ("Exclamation", "Emoji", "Brackets", "Superlative") if name in found]
    assert sum(without) <= 1
    assert {rule.name for rule in patterns.RULES} >= set(sample.EFFECTS)
