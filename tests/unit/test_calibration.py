"""Promises against outcomes, and drift: figures that can be checked by hand or against a known truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import calibration, features
from miles.calibration import EPSILON, Forecasts


def world(n: int, *, channels: int, seed: int = 1, bias: float = 0.0, together: float = 0.0) -> Forecasts:
    """Videos whose event happens with the probability that is said, plus `bias`; `together` couples those of a
    channel. Outcomes lie within the intervals in exactly 8 of 10 cases, predictions are 25% too high."""
    dice = np.random.default_rng(seed)
    channel = np.arange(n) % channels
    p = dice.beta(0.6, 4, size=n)
    luck = (1 - together) * dice.random(n) + together * dice.random(channels)[channel]
    measured = np.full(n, 1000.0)
    outside = np.arange(n) % 5 == 0
    return Forecasts(
        probability=p,
        base_rate=np.full(n, 0.13),
        happened=luck < p + bias,
        predicted=measured * 1.25,
        low=np.where(outside, 2000.0, 500.0),
        high=np.full(n, 4000.0),
        measured=measured,
        age_band=np.where(np.arange(n) % 2 == 0, "6-12h", "1-2d"),
        channel=channel.astype(str),
    )


def test_honest_probabilities_are_told_to_be_honest() -> None:
    found = calibration.check(world(20_000, channels=2000))
    assert found.enough
    assert found.ece is not None
    assert found.ece.value < 0.015
    inside = sum(one.observed.low - 0.005 <= one.promised <= one.observed.high + 0.005 for one in found.bins)
    assert inside >= 9  # of ten 95% intervals
    assert found.skill is not None
    assert found.skill.low > 0


def test_too_modest_probabilities_are_told_by_how_much() -> None:
    found = calibration.check(world(20_000, channels=2000, bias=0.2))
    assert found.ece is not None
    assert found.ece.value == pytest.approx(0.2, abs=0.02)
    assert found.ece.low > 0.15
    assert all(one.observed.low > one.promised for one in found.bins)


def test_the_figures_are_those_of_their_definitions() -> None:
    given = world(5000, channels=500)
    found = calibration.check(given)
    happened = given.happened.astype(float)
    brier = float(np.mean((given.probability - happened) ** 2))
    assert found.brier is not None
    assert found.skill is not None
    assert found.brier.value == pytest.approx(brier)
    assert found.skill.value == pytest.approx(1 - brier / float(np.mean((0.13 - happened) ** 2)))
    assert found.coverage is not None
    assert found.coverage.value == pytest.approx(0.8)
    assert found.error is not None
    assert found.error.value == pytest.approx(0.25)
    assert [(one.age_band, one.n) for one in found.by_age] == [("6-12h", 2500), ("1-2d", 2500)]
    assert (found.n, found.channels, found.happened) == (5000, 500, int(given.happened.sum()))
    assert sum(one.n for one in found.bins) == 5000
    gaps = sum(one.n * abs(one.promised - one.observed.value) for one in found.bins)
    assert found.ece is not None
    assert found.ece.value == pytest.approx(gaps / 5000)


def test_an_interval_knows_that_videos_of_a_channel_rise_and_fall_together() -> None:
    alone = calibration.check(world(4000, channels=100, together=0.0)).brier
    coupled = calibration.check(world(4000, channels=100, together=0.9)).brier
    assert alone is not None
    assert coupled is not None
    assert coupled.high - coupled.low > 2 * (alone.high - alone.low)


def test_drawing_groups_of_channels_gives_about_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    given = world(8000, channels=4000)
    grouped = calibration.check(given).brier
    monkeypatch.setattr(calibration, "MOST_GROUPS", 10_000)
    single = calibration.check(given).brier
    assert grouped is not None
    assert single is not None
    assert grouped.value == pytest.approx(single.value, rel=1e-9)
    assert grouped.high - grouped.low == pytest.approx(single.high - single.low, rel=0.25)


@pytest.mark.parametrize(
    "given",
    [
        world(0, channels=1),
        world(99, channels=99),  # too few videos
        world(5000, channels=19),  # too few channels
        world(5000, channels=100, bias=-1.0),  # the event never happened
    ],
)
def test_too_little_is_said_to_be_too_little(given: Forecasts) -> None:
    found = calibration.check(given)
    assert not found.enough
    assert found.n == len(given.probability)
    assert found.bins == ()
    assert calibration.gain(given, given) is None


def test_the_better_of_two_versions_is_told_from_the_same_outcomes() -> None:
    honest = world(20_000, channels=2000)
    blurred = Forecasts(
        **{name: getattr(honest, name) for name in Forecasts.__slots__ if name != "probability"},
        probability=np.clip(honest.probability + 0.2, 0, 1),
    )
    better = calibration.gain(blurred, honest)
    assert better is not None
    assert better.low > 0
    none = calibration.gain(honest, honest)
    assert none is not None
    assert (none.value, none.low, none.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 2, 2, 3], 1.0),  # ties share their rank
        ([1, 1, 1], [1, 2, 3], None),  # a constant has no order
        ([1, 2], [1, 2], None),  # too few
        ([], [], None),
    ],
)
def test_rank_correlation(one: list[float], other: list[float], expected: float | None) -> None:
    found = calibration.spearman(np.array(one, dtype=float), np.array(other, dtype=float))
    assert found == expected if expected is None else found == pytest.approx(expected)


def test_nothing_in_a_hundred_is_not_never() -> None:
    sure = world(1000, channels=1000)
    rare = Forecasts(
        **{name: getattr(sure, name) for name in Forecasts.__slots__ if name not in ("probability", "happened")},
        probability=np.where(np.arange(1000) < 900, 0.001, 0.9),
        happened=np.arange(1000) >= 905,
    )
    lowest = calibration.check(rare).bins[0]
    assert lowest.observed.value == 0
    assert lowest.observed.high == pytest.approx(1.96**2 / (100 + 1.96**2))  # Wilson's, of 0 in 100
    assert lowest.observed.low == 0


# -- drift


def test_psi_is_what_its_formula_says() -> None:
    reference = {"edges": [1.0], "shares": [0.5, 0.5], "missing": 0.0}
    lately = np.array([0.0] * 8 + [1.0] * 2)
    found = calibration.shift("x", reference, lately)
    assert found.psi == pytest.approx(0.3 * math.log(0.8 / 0.5) + -0.3 * math.log(0.2 / 0.5))
    assert found.verdict == "drifted"
    assert (found.before, found.lately, found.where) == (0.5, 0.2, "high")


def test_what_is_not_known_any_more_is_drift_too() -> None:
    reference = calibration.distribution(np.random.default_rng(1).normal(size=5000))
    values = np.random.default_rng(2).normal(size=2000)
    values[:1000] = np.nan
    found = calibration.shift("x", reference, values)
    assert found.where == "not known"
    assert found.psi == pytest.approx((0.5 - EPSILON) * math.log(0.5 / EPSILON) + 0.5 * math.log(2), rel=0.05)
    assert found.verdict == "drifted"


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "stable"), (0.45, "shifted"), (1.0, "drifted")])
def test_a_shift_of_a_normal_distribution_is_found(shift: float, verdict: str) -> None:
    # the PSI of two normal distributions that lie d apart is about d²
    reference = calibration.distribution(np.random.default_rng(1).normal(size=20_000))
    found = calibration.shift("x", reference, np.random.default_rng(2).normal(size=20_000) + shift)
    assert found.verdict == verdict
    assert found.psi == pytest.approx(shift**2, abs=0.05)


def test_each_of_a_few_values_has_a_bin_of_its_own() -> None:
    rare = np.array([0.0] * 95 + [1.0] * 5)  # every decile is 0
    reference = calibration.distribution(rare)
    assert reference == {"edges": [1.0], "shares": [0.95, 0.05], "missing": 0.0}
    assert calibration.shift("x", reference, np.array([0.0, 1.0])).verdict == "drifted"
    assert calibration.distribution(np.array([])) == {"edges": [], "shares": [0.0], "missing": 1.0}


@given(
    st.lists(st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=200),
    st.lists(st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=200),
)
def test_psi_is_zero_against_itself_and_never_negative(one: list[float], other: list[float]) -> None:
    reference = calibration.distribution(np.array(one, dtype=np.float32))
    assert sum(reference["shares"]) + reference["missing"] == pytest.approx(1, abs=1e-4)
    assert calibration.shift("x", reference, np.array(one, dtype=np.float32)).psi == pytest.approx(0, abs=1e-6)
    assert calibration.shift("x", reference, np.array(other, dtype=np.float32)).psi >= 0


def test_one_hot_inputs_are_watched_as_one() -> None:
    music = features.encode(
        features.ScoreInput("a", "A title", category_id=10, language="de"), features.GrowthCurve((1.0,), (0.0,)), 4.0
    )
    unknown = features.encode(features.ScoreInput("b", "Another"), features.GrowthCurve((1.0,), (0.0,)), 4.0)
    found = calibration.inputs(np.array([music.context, unknown.context]), np.array([0.1, 0.2]))
    assert found[calibration.SCORE].tolist() == [0.1, 0.2]
    assert found["category"][0] == features.CATEGORIES.index(10)
    assert found["language"][0] == features.LANGUAGES.index("de")
    assert np.isnan(found["category"][1])
    assert found["length of the title"][0] == pytest.approx(math.log10(8), rel=1e-6)
    assert {*calibration.WATCHED} <= {*features.CONTEXT}
