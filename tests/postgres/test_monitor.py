"""What versions foretold and what came of it: what counts as foresight, the roll-up, the shadow, drift, backtests."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from tables import change, rows

from miles import calibration, db, monitor, registry, score_candidates
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.features import ScoreInput
from miles.scoring import Score
from miles.store import observe

NOW = datetime.now(UTC).replace(microsecond=0)
MANIFEST = {
    "thresholds": {f"{band}|{group}": 3.0 for band in ("6-12h", "12-24h", "1-2d", "7d+") for group in (10, 20, 24, 22, -1)},
    "curve": {"ages": [0.15, 1.0, 8.0], "gains": [-0.6, 0.0, 0.45]},
    "draft_base": 4.9,
    "base_rates": {"candidate": 0.1},
}  # fmt: skip


class Fake:
    """A version without a network: the score is a share of the views, and says 1.3 times the true velocity."""

    def __init__(self, version: str = "one", scale: float = 1.0, **manifest: object) -> None:
        self.version = version
        self.manifest = {"version": version, **MANIFEST, **manifest}
        self.scale = scale
        self.asked: list[ScoreInput] = []

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        self.asked += inputs
        return [
            Score(
                key=video.key, mode=video.mode,
                viral_score=min(self.scale * (0.9 if (video.views or 0) % 10 == 1 else 0.05), 1.0),
                predicted_multiple=None, predicted_velocity=1300.0, velocity_low=500.0, velocity_high=5000.0,
                predicted_velocity_7d=None, base_rate=0.1, model_version=self.version, note=None,
            )
            for video in inputs
        ]  # fmt: skip


def seen(video: str, at: datetime, views: int, *, channel: str = "c", exact: bool = True, **facts) -> Observation:
    published = facts.pop("published_at", NOW - timedelta(days=30))
    candidate = Candidate("youtube", video, f"Title of {video}", channel=Channel("youtube", channel),
                          published_at=published, **facts)  # fmt: skip
    return Observation(candidate, Snapshot(at, views, exact=exact))


def store(observations: Sequence[Observation], *, sample: bool = False) -> None:
    with db.transaction("worker") as connection:
        observe(connection, observations, sample=sample)


def score(model: Fake, scored_at: datetime | None = None) -> None:
    """Score what is there; `scored_at` moves the clock of what was written."""
    score_candidates.score_pending(model)  # type: ignore[arg-type]
    if scored_at is not None:
        change("UPDATE forecasts SET scored_at = :at WHERE outcome_at IS NULL", at=scored_at)


def refresh(now: datetime = NOW) -> None:
    with db.transaction("worker") as connection:
        monitor.refresh(connection, now=now)


def report(version: str = "one") -> monitor.Report:
    with db.transaction("viewer") as connection:
        found = next(one for one in registry.versions(connection) if one.version == version)
        told = monitor.report(connection, found)
    assert told is not None
    return told


def told() -> list[tuple]:
    return rows("SELECT candidate_id, outcome_at, velocity FROM forecasts ORDER BY 1")


pytestmark = pytest.mark.usefixtures("database")


# -- what is a forecast


def test_a_score_of_fresh_counts_is_kept_with_the_event_that_it_is_about() -> None:
    at = NOW - timedelta(hours=3)
    store([seen("v", at, 1001, published_at=at - timedelta(hours=8), category="Music")])
    score(Fake())
    assert rows("SELECT candidate_id, model_version, basis, observed_at, views, age_band, viral_score, threshold, outcome_at"
                " FROM forecasts") == [
        ("youtube:v", "one", "foresight", at, 1001, "6-12h", 0.9, pytest.approx(1000), None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "observation",
    [
        seen("old", NOW - timedelta(days=4), 1001),  # imported later: the days that it is about have passed
        seen("undated", NOW - timedelta(hours=3), 1001, published_at=None),  # no age, no event
        Observation(Candidate("youtube", "draft", "Never seen with counts"), Snapshot(NOW - timedelta(hours=3), None)),
    ],
)
def test_what_can_be_no_foresight_is_not_kept(observation: Observation) -> None:
    store([observation])
    score(Fake())
    assert rows("SELECT count(*) FROM scores") == [(1,)]
    assert rows("SELECT count(*) FROM forecasts") == [(0,)]


def test_a_sample_has_no_forecasts() -> None:
    store([seen("v", NOW - timedelta(hours=3), 1001)], sample=True)
    score(Fake())
    assert rows("SELECT count(*) FROM forecasts") == [(0,)]


def test_the_first_score_of_a_day_stands_and_each_version_has_its_own() -> None:
    early = (NOW - timedelta(days=2)).replace(hour=1)
    store([seen("v", early, 1001)])
    score(Fake())
    store([seen("v", early + timedelta(hours=20), 2000)])
    score(Fake())
    score(Fake("two"))
    store([seen("v", early + timedelta(hours=24), 3000)])
    score(Fake())
    assert rows("SELECT model_version, views FROM forecasts ORDER BY 1, 2") == [
        ("one", 1001), ("one", 3000), ("two", 2000),
    ]  # fmt: skip


# -- what came of it


def foretold(at: datetime, views: int = 1001, video: str = "v") -> None:
    """A forecast made at `at`, right after the counts were seen."""
    store([seen(video, at, views)])
    score(Fake())
    change(
        "INSERT INTO forecasts SELECT candidate_id, 'one', 'foresight', CAST(:at AS date), CAST(:at AS timestamptz),"
        " CAST(:at AS timestamptz) + interval '1 min', :views, '7d+', 0.9, 0.1, 1000, 1300, 500, 5000, NULL, NULL"
        " FROM candidates WHERE video_id = :video ON CONFLICT DO NOTHING",
        at=at, views=views, video=video,
    )  # fmt: skip


def test_the_outcome_is_the_velocity_to_the_look_nearest_to_three_days_later() -> None:
    at = NOW - timedelta(days=5)
    foretold(at)
    store([seen("v", at + timedelta(days=days), 1001 + gained) for days, gained in ((1, 1), (2.6, 2), (3.1, 6200))])
    refresh()
    assert told() == [("youtube:v", at + timedelta(days=3.1), pytest.approx(2000))]


def test_a_look_before_the_score_was_made_never_counts() -> None:
    at = NOW - timedelta(days=5)
    foretold(at)
    store([seen("v", at + timedelta(days=3), 9000)])
    change("UPDATE forecasts SET scored_at = :late", late=at + timedelta(days=3, hours=1))
    refresh()
    assert told() == [("youtube:v", None, None)]
    with pytest.raises(Exception, match="forecasts_check"):  # not even by hand
        change("UPDATE forecasts SET outcome_at = observed_at + interval '3 days', velocity = 5")


@pytest.mark.parametrize(
    "look",
    [
        seen("v", NOW - timedelta(days=5) + timedelta(days=2.4), 9000),  # too early
        seen("v", NOW - timedelta(days=5) + timedelta(days=3.6), 9000),  # too late
        seen("v", NOW - timedelta(days=5) + timedelta(days=3), 9000, exact=False),  # a rounded count
    ],
)
def test_other_looks_tell_no_outcome(look: Observation) -> None:
    foretold(NOW - timedelta(days=5))
    store([look])
    refresh()
    assert told() == [("youtube:v", None, None)]
    assert (report().open, report().untold) == (0, 1)


def test_nothing_is_told_before_all_looks_are_in() -> None:
    at = NOW - timedelta(days=3.2)
    foretold(at)
    store([seen("v", at + timedelta(days=2.6), 9000)])
    refresh()
    assert told() == [("youtube:v", None, None)]
    assert (report().open, report().untold) == (1, 0)


def test_shrinking_counts_are_a_velocity_of_one() -> None:
    at = NOW - timedelta(days=5)
    foretold(at, views=5000)
    store([seen("v", at + timedelta(days=3), 10)])
    refresh()
    assert told()[0][2] == 1


def test_forecasts_are_forgotten_in_time() -> None:
    foretold(NOW - timedelta(days=5))
    refresh(NOW + monitor.KEEP_OPEN)
    assert told() == []


# -- the report


def many(n: int, version: str = "one") -> None:
    """Forecasts of as many videos of as many channels, with outcomes: 0.3 is said and 30% happen."""
    at = NOW - timedelta(days=6)
    store([seen(f"m{i}", at, 1000 + i, channel=f"c{i}") for i in range(n)])
    change(
        "INSERT INTO model_versions (model_version, manifest, state, activated_at) VALUES (:v, '{}', 'retired', now())"
        " ON CONFLICT DO NOTHING",
        v=version,
    )
    change(
        "INSERT INTO forecasts (candidate_id, model_version, basis, observed_day, observed_at, scored_at, views, age_band,"
        " viral_score, base_rate, threshold, predicted_velocity, velocity_low, velocity_high, outcome_at, velocity)"
        " SELECT 'youtube:m' || i, :version, 'foresight', CAST(:at AS date), :at, :at + interval '1 min',"
        " 1000, '7d+', 0.3, 0.1, 1000, 1300, 500, 5000, :at + interval '3 days',"
        " CASE WHEN i % 10 < 3 THEN 2000 ELSE 600 END FROM generate_series(0, :last) AS i",
        version=version, at=at, last=n - 1,
    )  # fmt: skip


def test_the_report_holds_forecasts_against_outcomes() -> None:
    many(200)
    refresh()
    found = report().foresight
    assert (found.n, found.channels, found.happened) == (200, 200, 60)
    assert found.enough
    assert found.coverage is not None
    assert found.coverage.value == 1.0
    assert found.ece is not None
    assert found.skill is not None
    assert report().backtest is None


def test_too_few_outcomes_are_said_to_be_too_few() -> None:
    many(30)
    refresh()
    found = report().foresight
    assert not found.enough
    assert found.n == 30


def test_a_roll_up_without_news_writes_nothing_anew() -> None:
    many(120)
    refresh()
    before = rows("SELECT name, refreshed_at FROM rollups ORDER BY 1")
    refresh()
    assert rows("SELECT name, refreshed_at FROM rollups ORDER BY 1") == before


def test_before_the_first_roll_up_there_is_no_report() -> None:
    score(Fake())
    with db.transaction("viewer") as connection:
        (version,) = registry.versions(connection)
        assert monitor.report(connection, version) is None


def test_what_took_long_is_not_computed_again_at_once() -> None:
    many(120)
    refresh()
    change("DELETE FROM forecasts WHERE candidate_id IN (SELECT candidate_id FROM forecasts LIMIT 5)")
    refresh()
    assert report().foresight.n == 120
    refresh(NOW + timedelta(days=1))
    assert report().foresight.n == 115


# -- the shadow


def in_states(**states: str) -> None:
    for version, state in states.items():
        change(
            "UPDATE model_versions SET state = :state, activated_at = now() WHERE model_version = :v",
            v=version,
            state=state,
        )


def comparison() -> monitor.Comparison | None:
    with db.transaction("viewer") as connection:
        return monitor.comparison(connection)


def test_a_shadow_scores_beside_and_candidates_keep_the_current_score() -> None:
    store([seen(f"v{i}", NOW - timedelta(hours=3), 1000 + i) for i in range(20)])
    score(Fake())
    shadow = Fake("two", scale=0.5)
    assert score_candidates.score_shadow(shadow) == 20  # type: ignore[arg-type]
    assert rows("SELECT DISTINCT model_version FROM candidates") == [("one",)]
    assert rows("SELECT model_version, count(*) FROM scores GROUP BY 1 ORDER BY 1") == [("one", 20), ("two", 20)]
    assert rows("SELECT count(*) FROM forecasts WHERE model_version = 'two'") == [(20,)]
    assert score_candidates.score_shadow(shadow) == 0  # type: ignore[arg-type]
    store([seen("v3", NOW - timedelta(hours=1), 5000)])
    assert score_candidates.score_shadow(shadow) == 1  # type: ignore[arg-type]


def test_the_comparison_says_how_both_differ_and_who_moves_most() -> None:
    store([seen(f"v{i}", NOW - timedelta(hours=3), 1000 + i) for i in range(20)])
    score(Fake())
    score_candidates.score_shadow(Fake("two", scale=0.5))  # type: ignore[arg-type]
    in_states(one="current", two="shadow")
    refresh()
    found = comparison()
    assert found is not None
    assert (found.current, found.shadow, found.n, found.missing) == ("one", "two", 20, 0)
    assert found.score_rank == pytest.approx(1.0)
    assert found.velocity_rank is None  # both say the same of all: a constant has no order
    assert found.mean == pytest.approx(-(2 * 0.45 + 18 * 0.025) / 20)
    assert [(one.candidate_id, one.current, one.shadow) for one in found.movers[:2]] == [
        ("youtube:v1", 0.9, 0.45), ("youtube:v11", 0.9, 0.45),
    ]  # fmt: skip
    assert len(found.movers) == 10
    assert found.gain is None
    in_states(two="retired")
    refresh()
    assert comparison() is None


def test_both_are_held_against_the_same_outcomes() -> None:
    many(200)
    many(150, "two")  # of 50 outcomes only one of them spoke
    in_states(one="current", two="shadow")
    refresh()
    found = comparison()
    assert found is not None
    assert found.same == 150
    assert found.gain is not None
    assert found.current_check is not None
    assert found.current_check.n == 150


def test_a_version_that_comes_back_takes_its_standing_scores_over() -> None:
    store([seen(f"v{i}", NOW - timedelta(days=9), 1000 + i) for i in range(10)])
    one, two = Fake(), Fake("two", scale=0.5)
    score(one)
    score(two)
    store([seen("v0", NOW - timedelta(days=8), 5001)])
    one.asked.clear()
    assert score_candidates.score_pending(one) == 10  # type: ignore[arg-type]
    assert [video.key for video in one.asked] == ["youtube:v0"]  # the only one that changed
    assert rows("SELECT DISTINCT model_version FROM candidates") == [("one",)]
    assert rows("SELECT count(*) FROM candidates JOIN scores USING (candidate_id) WHERE scores.model_version = 'one'"
                " AND candidates.viral_score = scores.viral_score AND candidates.scored_change = changed_at") == [(10,)]  # fmt: skip


# -- drift


def crowd(name: str, at: datetime, views: int, n: int = 320) -> list[Observation]:
    return [seen(f"{name}{i}", at, views + i, channel=f"{name}{i}", published_at=at - timedelta(hours=20)) for i in range(n)]  # fmt: skip


def test_without_a_reference_in_the_manifest_the_first_month_is_it() -> None:
    store(crowd("a", datetime(2026, 1, 15, tzinfo=UTC), 1_000))
    store(crowd("b", datetime(2026, 6, 15, tzinfo=UTC), 900_000))
    score(Fake())
    in_states(one="current")
    refresh()
    drift = report().drift
    assert drift is not None
    assert not drift.from_manifest
    assert str(drift.reference_from) == "2026-01-01"
    assert str(drift.reference_until) == "2026-01-31"
    assert (drift.reference_n, drift.recent_n) == (320, 320)
    found = {one.name: one for one in drift.shifts}
    assert drift.shifts[0].name == calibration.SCORE
    assert found["views"].verdict == "drifted"
    assert found["views"].where == "high"
    assert found["age"].psi == pytest.approx(0, abs=1e-9)


def test_one_month_alone_has_nothing_to_be_compared_with() -> None:
    store(crowd("a", datetime(2026, 1, 15, tzinfo=UTC), 1_000))
    score(Fake())
    in_states(one="current")
    refresh()
    drift = report().drift
    assert drift is not None
    assert drift.shifts == ()
    assert drift.recent_n == 320


def test_the_reference_of_the_manifest_goes_before() -> None:
    store(crowd("a", datetime(2026, 1, 15, tzinfo=UTC), 1_000))
    first = Fake()
    score(first)
    with db.transaction("worker") as connection:
        looks = [(f"youtube:a{i}", datetime(2026, 1, 15, tzinfo=UTC)) for i in range(320)]
        videos = score_candidates.inputs_at(connection, looks)
    from miles import features

    context = np.array([features.encode(v, features.GrowthCurve((0.15, 1.0, 8.0), (-0.6, 0.0, 0.45)), 4.9).context for v in videos])  # fmt: skip
    watched = calibration.inputs(context, np.full(320, 0.05))
    learnt = calibration.reference(watched, date(2025, 12, 1), date(2025, 12, 31))
    score(Fake("two", reference=learnt))
    in_states(two="current")
    refresh()
    drift = report("two").drift
    assert drift is not None
    assert drift.from_manifest
    assert str(drift.reference_from) == "2025-12-01"
    assert max(one.psi for one in drift.shifts if one.name != calibration.SCORE) == pytest.approx(0, abs=1e-9)


def test_drift_is_not_told_from_a_handful() -> None:
    store(crowd("a", datetime(2026, 1, 15, tzinfo=UTC), 1_000))
    store(crowd("b", datetime(2026, 6, 15, tzinfo=UTC), 1_000, n=50))
    score(Fake())
    in_states(one="current")
    refresh()
    drift = report().drift
    assert drift is not None
    assert drift.recent_n == 50
    assert drift.shifts == ()


# -- backtests


def history(n: int, published: datetime) -> list[Observation]:
    """Videos that were seen at the age of 10 h, and again three days later with 2,000 more views a day."""
    looks = []
    for i in range(n):
        first = published + timedelta(hours=10)
        facts = {"channel": f"h{i}", "published_at": published}
        looks.append(seen(f"h{i}", first, 1000 + i, **facts))
        looks.append(seen(f"h{i}", first + timedelta(days=3), 7000 + i, **facts))
    return looks


def test_a_backtest_asks_about_the_first_look_and_stays_apart() -> None:
    published = datetime(2026, 2, 1, tzinfo=UTC)
    store(history(130, published))
    model = Fake()
    score(model)
    model.asked.clear()
    assert monitor.backtest(model) == 130  # type: ignore[arg-type]
    assert {video.observed_at for video in model.asked} == {published + timedelta(hours=10)}
    assert {video.views for video in model.asked} == set(range(1000, 1130))
    refresh()
    found = report()
    assert found.foresight.n == 0
    assert found.backtest is not None
    assert (found.backtest.n, found.backtest.happened) == (130, 130)
    assert found.backtest_after is None
    assert rows("SELECT DISTINCT velocity FROM forecasts") == [(pytest.approx(2000),)]
    assert monitor.backtest(model) == 0  # type: ignore[arg-type]


def test_a_backtest_leaves_out_what_the_version_learnt_from() -> None:
    store(history(5, datetime(2026, 2, 1, tzinfo=UTC)))
    model = Fake(periods={"calibrate_until": "2026-02-02"})
    score(model)
    assert monitor.backtest(model) == 0  # type: ignore[arg-type]
    assert monitor.backtest(Fake(periods={"calibrate_until": "2026-02-01"})) == 5  # type: ignore[arg-type]


def test_a_stopped_backtest_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_candidates, "SLICE", 2)
    store(history(5, datetime(2026, 2, 1, tzinfo=UTC)))
    model = Fake()
    score(model)
    asked = iter([False, True])
    assert monitor.backtest(model, stop=lambda: next(asked)) == 2  # type: ignore[arg-type]
    assert monitor.backtest(model) == 3  # type: ignore[arg-type]
