"""Scoring of what is in the database: what the model is given, what is written, interruptions, neighbours."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from tables import put, rows

from miles import db, score_candidates, storage
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.features import PastVideo, ScoreInput
from miles.score_candidates import score_pending
from miles.scoring import Score

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Fake:
    """A model that needs no network: its score follows from the input's key, and it remembers what it was asked."""

    def __init__(self, version: str = "fake-1", before: Callable[[int], None] = lambda asked: None) -> None:
        self.version = version
        self.manifest = {"version": version, "base_rate": 0.1}
        self.asked: list[ScoreInput] = []
        self.before = before

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        self.before(len(self.asked))
        self.asked += inputs
        return [
            Score(
                key=video.key,
                mode=video.mode,
                viral_score=int(hashlib.sha256(video.key.encode()).hexdigest()[:4], 16) / 65535,
                predicted_multiple=None if video.mode == "candidate" else 1.5,
                predicted_velocity=float(video.views or 7),
                velocity_low=1.0,
                velocity_high=1e6,
                predicted_velocity_7d=3.0,
                base_rate=0.1,
                model_version=self.version,
                note=f"{len(video.history)} earlier videos",
            )
            for video in inputs
        ]


def seen(
    video: str, age: float, views: int | None, *, published_days_ago: float = 10, channel="c", **facts
) -> Observation:
    shot = {key: facts.pop(key) for key in ("country", "likes", "comments") if key in facts}
    published = NOW - timedelta(days=published_days_ago)
    candidate = Candidate(
        "youtube", video, f"Title of {video}", channel=Channel("youtube", channel), published_at=published, **facts
    )
    return Observation(candidate, Snapshot(published + timedelta(days=age), views, **shot))


@pytest.fixture
def many(database, monkeypatch) -> int:
    """60 videos of 20 channels, to be scored in chunks of 10, four at a time."""
    put([seen(f"v{n}", 3, 100 + n, channel=f"c{n % 20}") for n in range(60)])
    monkeypatch.setattr(score_candidates, "CHUNK", 10)
    monkeypatch.setattr(score_candidates, "SLICE", 4)
    return 60


def test_a_score_is_written_for_the_version_and_on_the_candidate(database):
    put([seen("v", 3, 250)])
    model = Fake()
    assert score_pending(model) == 1
    expected = model.score(model.asked)[0]
    assert rows(
        "SELECT viral_score, base_rate, predicted_velocity, velocity_low, velocity_high, score_note, model_version,"
        " scored_change = changed_at, predicted_multiple FROM candidates"
    ) == [(expected.viral_score, 0.1, 250.0, 1.0, 1e6, "0 earlier videos", "fake-1", True, None)]
    assert rows("SELECT candidate_id, model_version, mode, viral_score, predicted_velocity_7d, note FROM scores") == [
        ("youtube:v", "fake-1", "candidate", expected.viral_score, 3.0, "0 earlier videos")
    ]
    assert rows("SELECT model_version, manifest FROM model_versions") == [("fake-1", model.manifest)]


def test_only_what_changed_is_scored_again(database):
    put([seen("a", 3, 1), seen("b", 3, 1)])
    model = Fake()
    assert score_pending(model) == 2
    assert score_pending(model) == 0
    put([seen("b", 4, 9)])
    assert score_pending(model) == 1
    assert [video.key for video in model.asked[2:]] == ["youtube:b"]
    assert rows("SELECT count(*) FROM scores") == [(2,)]


def test_another_model_scores_all_and_the_old_scores_stay(database):
    put([seen("a", 3, 1), seen("b", 3, 1)])
    score_pending(Fake("old"))
    assert score_pending(Fake("new")) == 2
    assert rows("SELECT model_version, count(*) FROM scores GROUP BY 1 ORDER BY 1") == [("new", 2), ("old", 2)]
    assert rows("SELECT DISTINCT model_version FROM candidates") == [("new",)]


def test_given_ids_are_scored_alone(database):
    put([seen("a", 3, 1), seen("b", 3, 1)])
    assert score_pending(Fake(), candidate_ids=["youtube:b", "youtube:none"]) == 1
    assert rows("SELECT video_id FROM candidates WHERE scored_at IS NOT NULL") == [("b",)]
    assert score_pending(Fake(), candidate_ids=[]) == 0


def test_the_model_is_given_the_newest_counts_the_category_and_the_picture(database):
    facts = {"category": "Music", "duration": 61.0, "language": "pt-br"}
    put(
        [
            seen("v", 1, 100, likes=5, country="DE", **facts),
            seen("v", 3, 300, likes=9, comments=2, country="FR"),
            seen("v", 3.01, 300, country="JP"),  # the same day, another chart
        ]
    )
    key = storage.thumbnails().put(b"a picture")
    with db.transaction("worker") as connection:
        connection.execute(
            text("INSERT INTO thumbnails (candidate_id, sha256, state) VALUES ('youtube:v', :key, 'stored')"),
            {"key": key},
        )
    model = Fake()
    score_pending(model)
    (video,) = model.asked
    assert video == ScoreInput(
        key="youtube:v",
        title="Title of v",
        thumbnail=b"a picture",
        channel_id="youtube:c",
        category_id=10,
        duration=61.0,
        language="pt-br",
        published_at=NOW - timedelta(days=10),
        observed_at=NOW - timedelta(days=10 - 3.01),
        views=300,
        likes=9,
        comments=2,
        country_count=2,
    )


def test_a_picture_that_is_lost_does_not_stop_the_scoring(database):
    put([seen("v", 3, 1)])
    rows_of = "INSERT INTO thumbnails (candidate_id, sha256, state) VALUES ('youtube:v', repeat('a', 64), 'stored')"
    with db.transaction("worker") as connection:
        connection.execute(text(rows_of))
    model = Fake()
    assert score_pending(model) == 1
    assert model.asked[0].thumbnail is None


def test_history_is_what_was_published_before_and_seen_before(database):
    put(
        [
            seen("v", 2, 100, published_days_ago=5),  # seen three days ago
            seen("early", 0.1, 1, published_days_ago=9),  # too young to say anything …
            seen("early", 0.5, 20, published_days_ago=9),  # … this is the look that counts
            seen("early", 5, 999, published_days_ago=9),
            seen("old", 100, 70, published_days_ago=300),  # never seen young: its first look
            seen("old", 200, 71, published_days_ago=300),
            seen("late", 8, 55, published_days_ago=9),  # seen only after the video's own look
            seen("after", 0.5, 5, published_days_ago=4),  # published after it
            seen("uncounted", 1, None, published_days_ago=8),
            seen("other", 1, 5, published_days_ago=8, channel="d"),
        ]
    )
    model = Fake()
    score_pending(model)
    history = {video.key: video.history for video in model.asked}
    assert history["youtube:v"] == tuple(
        PastVideo(f"Title of {name}", NOW - timedelta(days=ago), NOW - timedelta(days=ago - age), views)
        for name, ago, age, views in (("early", 9, 0.5, 20), ("old", 300, 100, 70))
    )
    assert history["youtube:other"] == ()


def test_a_video_without_counts_is_scored_as_a_draft_from_what_was_seen_before_its_publication(database):
    put(
        [
            seen("v", 2, None, published_days_ago=5),
            seen("known", 1, 20, published_days_ago=9),
            seen("seen later", 5, 20, published_days_ago=9),
        ]
    )
    model = Fake()
    score_pending(model)
    (video,) = [video for video in model.asked if video.key == "youtube:v"]
    assert video.mode == "draft"
    assert [past.title for past in video.history] == ["Title of known"]
    assert rows("SELECT mode FROM scores WHERE candidate_id = 'youtube:v'") == [("draft",)]


def test_at_most_the_twenty_latest_earlier_videos_are_history(database):
    put(
        [seen("v", 1, 1, published_days_ago=2)] + [seen(f"p{n:02}", 1, n, published_days_ago=30 + n) for n in range(30)]
    )
    model = Fake()
    score_pending(model)
    (video,) = [video for video in model.asked if video.key == "youtube:v"]
    assert [past.title for past in video.history] == [f"Title of p{n:02}" for n in range(20)]


def test_scoring_never_touches_changed_at(many):
    before = rows("SELECT candidate_id, changed_at FROM candidates ORDER BY 1")
    score_pending(Fake())
    assert rows("SELECT candidate_id, changed_at FROM candidates ORDER BY 1") == before


def test_progress_goes_up_to_all(many):
    told: list[tuple[int, int]] = []
    score_pending(Fake(), on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 60)
    assert told[-1] == (60, 60)
    assert told == sorted(told)


def test_an_interruption_loses_at_most_the_running_chunk_and_nothing_is_scored_twice(many):
    def interrupt(asked: int) -> None:
        if asked >= 24:
            raise KeyboardInterrupt

    first = Fake(before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        score_pending(first)
    assert rows("SELECT count(*) FROM candidates WHERE scored_at IS NOT NULL") == [(20,)]
    second = Fake()
    assert score_pending(second) == 40
    kept = {video.key for video in first.asked[:20]}
    assert kept.isdisjoint(video.key for video in second.asked)
    assert rows("SELECT count(*) FROM scores") == [(60,)]


def test_asked_to_stop_it_keeps_what_is_scored(many):
    model = Fake()
    assert score_pending(model, stop=lambda: len(model.asked) >= 14) == 14
    assert rows("SELECT count(*) FROM candidates WHERE scored_at IS NOT NULL") == [(14,)]
    assert score_pending(Fake()) == 46


def test_an_interrupted_rescoring_of_everything_goes_on_where_it_was(many):
    score_pending(Fake())
    model = Fake()
    assert score_pending(model, everything=True, stop=lambda: len(model.asked) >= 20) == 20
    model = Fake()
    assert score_pending(model, everything=True) == 40
    # finished: the next one starts over
    assert score_pending(Fake(), everything=True) == 60
    assert rows("SELECT count(*) FROM rollups") == [(0,)]


def test_everything_of_given_ids_scores_those_again(many):
    score_pending(Fake())
    assert score_pending(Fake(), everything=True, candidate_ids=["youtube:v1", "youtube:v2"]) == 2


def test_a_change_during_the_scoring_is_scored_again(database):
    put([seen("v", 3, 100)])

    def meanwhile(asked: int) -> None:
        if asked == 0:
            put([seen("v", 4, 900)])

    assert score_pending(Fake(before=meanwhile)) == 1
    assert rows("SELECT scored_change IS DISTINCT FROM changed_at, predicted_velocity FROM candidates") == [
        (True, 100.0)
    ]
    assert score_pending(Fake()) == 1
    assert rows("SELECT scored_change IS DISTINCT FROM changed_at, predicted_velocity FROM candidates") == [
        (False, 900.0)
    ]


def test_a_video_deleted_during_the_scoring_is_left_out(database):
    put([seen("v", 3, 100), seen("w", 3, 100)])

    def meanwhile(_: int) -> None:
        with db.transaction("worker") as connection:
            connection.execute(text("DELETE FROM candidates WHERE video_id = 'v'"))

    assert score_pending(Fake(before=meanwhile)) == 1
    assert rows("SELECT candidate_id FROM scores") == [("youtube:w",)]


def test_two_at_once_share_the_work_and_leave_nothing(many):
    start = threading.Barrier(2)
    models = [Fake(), Fake()]
    written: list[int] = []

    def work(model: Fake) -> None:
        start.wait()
        written.append(score_pending(model))

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    asked = [video.key for model in models for video in model.asked]
    assert sum(written) == 60
    assert len(asked) == len(set(asked)) == 60


def test_what_another_process_is_at_is_waited_for(database):
    """A video that came in while another process held its channel is scored before `score_pending` returns."""
    put([seen("v", 3, 100)])
    begun, added = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        begun.set()
        assert added.wait(30)

    slow = threading.Thread(target=score_pending, args=(Fake(before=hold),))
    slow.start()
    assert begun.wait(30)
    put([seen("w", 3, 100)])
    later = threading.Timer(0.5, added.set)
    later.start()
    assert score_pending(Fake()) == 1
    slow.join(30)
    assert rows("SELECT video_id FROM candidates WHERE scored_at IS NULL") == []


def test_a_viewer_may_not_write_scores(database):
    with pytest.raises(Exception, match="permission denied"), db.transaction("viewer") as connection:
        connection.execute(text("UPDATE candidates SET viral_score = 1"))
