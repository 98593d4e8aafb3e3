"""Sentences over charts are true of what the chart shows."""

import pytest

from miles.browse import Agreement, Histogram, Pattern
from ui import findings


def histogram(group: str, **counts: int) -> Histogram:
    """50 bins with counts given by bin, e.g. _3=10: ten scores between 6 and 8 in 100."""
    return Histogram("category", group, tuple(counts.get(f"_{position}", 0) for position in range(50)))


def pattern(words: str, lift: float, q_value: float, kind: str = "ngram") -> Pattern:
    return Pattern("all", kind, words, 100, 20, lift, lift * 0.9, lift * 1.1, q_value, ())


def test_the_median_lies_within_its_bin() -> None:
    assert histogram("Music", _3=10, _4=10).quantile(0.5) == pytest.approx(0.08)
    assert histogram("Music", _3=10).quantile(0.5) == pytest.approx(0.07)


def test_the_spread_counts_what_is_above_the_base_rate() -> None:
    sentence = findings.spread(histogram("Music", _0=75, _40=25), 0.1)
    assert sentence.endswith("25% are above the base rate")


def test_groups_that_hardly_differ_are_not_ranked() -> None:
    alike = [histogram("Music", _3=10), histogram("Gaming", _3=40)]
    assert findings.groups("category", alike).startswith("Scores hardly differ by category")
    apart = [histogram("Music", _3=10), histogram("Gaming", _10=40)]
    assert findings.groups("category", apart) == "Gaming scores highest (median 21 in 100), Music lowest (7 in 100)"


def test_only_patterns_that_are_told_from_chance_make_the_headline() -> None:
    found = [pattern("loud", 3.0, 0.4), pattern("how to", 1.2, 0.001), pattern("part", 0.8, 0.01)]
    assert findings.patterns(found, "in Music") == "“how to” goes with +20% views, “part” with −20% in Music"
    assert findings.patterns(found[:1], "") == "No title pattern can be told from chance"
    assert findings.patterns(found[2:], "") == "“part” goes with −20% views"


def test_predictions_on_the_diagonal_agree() -> None:
    exact = Agreement(tuple((cell, cell, 10) for cell in range(20)))
    assert exact.rank_correlation == pytest.approx(1)
    assert exact.within(2) == 1
    turned = Agreement(tuple((cell, 20 - cell, 10) for cell in range(20)))
    assert turned.rank_correlation == pytest.approx(-1)
    assert "−1.00" in findings.agreement(turned)


def test_agreement_is_unknown_where_nothing_varies() -> None:
    assert Agreement(((3, 3, 5), (3, 4, 5))).rank_correlation is None
    assert Agreement(()).within(2) is None
