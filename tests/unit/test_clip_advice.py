"""Lengths against a niche's winners, on data whose answer is known."""

import numpy as np

from miles import clip_advice


def niche(rng: np.random.Generator, n: int = 4000, *, effect: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    duration = rng.uniform(5, 120, n)
    chance = np.where((duration >= 30) & (duration < 45) & effect, 0.4, 0.15)
    return duration, np.where(rng.random(n) < chance, 3.0, 0.8), rng.integers(0, 200, n)


def test_a_length_that_wins_is_found_with_its_share() -> None:
    found = clip_advice.lengths(*niche(np.random.default_rng(1), effect=True))
    assert found
    best = found.best()
    assert best
    assert (best.low, best.high) == (30.0, 45.0)
    assert best.clear
    assert best.share_low < 0.4 < best.share_high
    assert found.band_of(30.0) is best
    assert found.band_of(44.9) is best
    assert found.band_of(45.0) is not best


def test_where_length_does_not_matter_no_band_is_called_best_most_of_the_time() -> None:
    rng = np.random.default_rng(2)
    called = sum(
        one.clear
        for _ in range(40)
        for found in [clip_advice.lengths(*niche(rng, 2000, effect=False))]
        if found
        for one in found.bands
    )
    assert called <= 40 * 6 * 0.05 * 2  # six bands; twice the 5% that chance is allowed


def test_with_few_winners_or_few_channels_nothing_is_said() -> None:
    duration, multiple, channel = niche(np.random.default_rng(3), effect=True)
    assert clip_advice.lengths(duration[:50], multiple[:50], channel[:50]) is None
    assert clip_advice.lengths(duration, multiple, channel % 5) is None
    assert clip_advice.lengths(duration * np.nan, multiple, channel) is None
    assert clip_advice.lengths(duration[:0], multiple[:0], channel[:0]) is None


def test_one_loud_channel_is_not_taken_for_many() -> None:
    rng = np.random.default_rng(4)
    duration, multiple, channel = niche(rng, effect=False)
    more = 400  # winners of one channel, all of one length
    found = clip_advice.lengths(
        np.append(duration, np.full(more, 20.0)), np.append(multiple, np.full(more, 5.0)), np.append(channel, np.full(more, 999))
    )  # fmt: skip
    assert found
    band = found.band_of(20.0)
    assert band
    assert band.ratio > 2
    assert not band.clear
