"""Sentences over charts are true of what the chart shows."""

from miles.browse import Filters
from miles.calibration import Group, Interval, Top
from miles.distributions import Beside, Spread
from miles.patterns import Association, Difference, Trend
from ui import findings


def scores(group: str, middle: float, above: float = 0.25) -> Spread:
    return Spread(group, 100, 0.1, (0,) * 100, (0.01, middle / 2, middle, middle * 2, 0.4), above)


def pattern(words: str, lift: float, q_value: float, kind: str = "ngram", trend: Trend | None = None) -> Association:
    return Association(kind, words, 100, 20, 0.1, lift, lift * 0.9, lift * 1.1, q_value, q_value, trend)


def test_the_spread_says_where_half_of_the_scores_lie_and_how_many_are_above_the_base_rate() -> None:
    assert findings.spread(scores("all", 0.08)) == (
        "Half of the videos score below 8 in 100, one in twenty above 40 in 100; 25% are above the base rate"
    )
    assert findings.spread(scores("all", 0.001)).startswith("Half of the videos score under 1 in 100,")


def test_groups_that_hardly_differ_are_not_ranked() -> None:
    alike = [scores("Music", 0.07), scores("Gaming", 0.07)]
    assert findings.groups("category", alike).startswith("Scores hardly differ by category")
    apart = [scores("Music", 0.07), scores("Gaming", 0.21)]
    assert findings.groups("category", apart) == "Gaming scores highest (median 21 in 100), Music lowest (7 in 100)"


def test_only_patterns_that_are_told_from_chance_make_the_headline() -> None:
    found = [pattern("loud", 3.0, 0.4), pattern("how to", 1.2, 0.001), pattern("part", 0.8, 0.01)]
    assert findings.patterns(found, "in Music") == "“how to” goes with +20% views, “part” with −20% in Music"
    assert findings.patterns(found[:1], "") == "No title pattern can be told from chance"
    assert findings.patterns(found[2:], "") == "“part” goes with −20% views"


def test_the_surest_difference_between_two_sets_makes_the_headline() -> None:
    one = Difference(pattern("live", 1.3, 0.01), pattern("live", 0.9, 0.2), 1.44, 1.2, 1.7, 0.004)
    other = Difference(pattern("new", 1.1, 0.01), pattern("new", 0.9, 0.2), 1.2, 0.9, 1.6, 0.3)
    assert findings.compared([one, other], "Music", "Gaming") == "“live”: +30% in Music, −10% in Gaming"
    assert findings.compared([other], "Music", "Gaming") == "No pattern can be told to differ between Music and Gaming"


def test_a_trend_is_said_with_its_intervals_or_said_to_be_unknown() -> None:
    rising = Trend((0.1, 0.2), 1.5, 1.2, 1.9, 0.9, 0.7, 1.1, "rising")
    assert findings.trend(pattern("new", 1.1, 0.01, trend=rising)) == (
        "Rising: its share of titles changes by +50% every four weeks (+20% to +90%), its lift of the last 4 weeks is "
        "−10% (−30% to +10%) against the weeks before"
    )
    sudden = Trend((0.1, 0.2), 49.0, 14.6, 165.2, None, None, None, "rising")
    assert findings.trend(pattern("new", 1.1, 0.01, trend=sudden)).startswith(
        "Rising: its share of titles becomes 49× as large every four weeks (15–165×);"
    )
    assert "Too few weeks" in findings.trend(pattern("new", 1.1, 0.01))


def test_how_close_predictions_are_is_said_with_share_ratio_and_rank() -> None:
    assert findings.beside(Beside((), 10, 0.6, -0.5, 0.7)) == (
        "60% of predicted velocities are within 2× of the measured ones, typically 0.70× of them; rank correlation −0.50"
    )


def test_the_highest_scores_are_held_against_the_base_rate() -> None:
    found = [Top(10, Interval(0.9, 0.5, 1)), Top(50, Interval(0.62, 0.5, 0.7)), Top(100, Interval(0.5, 0.4, 0.6))]
    assert findings.top(found, 0.1) == "Of the 50 highest scores 31 came true, 6.2× the base rate"


def test_the_group_that_is_furthest_from_its_promise_is_named() -> None:
    kept = Group("Music", 200, 40, 20, 0.1, Interval(0.1, 0.05, 0.15))
    off = Group("Gaming", 200, 40, 60, 0.1, Interval(0.3, 0.2, 0.4))
    few = Group("Comedy", 20, 4, 1)
    assert findings.judged("category", [kept, few]) == "Promises were kept in every category that has enough outcomes"
    assert findings.judged("category", [kept, off, few]) == (
        "Off in 1 of 2, most in Gaming: promised 10 in 100, happened 30 in 100"
    )
    assert findings.judged("category", [few]) == "No category has enough outcomes to be looked at alone"


def test_a_filter_is_described_in_words() -> None:
    chosen = Filters(text="street food", categories=("Music", "Gaming"), formats=("short",), score_from=20)
    assert findings.described(chosen) == "“street food” · Short · Music, Gaming · score 20–100"
    assert findings.described(Filters()) == "all videos"
