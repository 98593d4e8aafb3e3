"""How the scores of a set of videos are spread, and how predicted velocities lie beside measured ones.

Pure: columns in (`facts`), dataclasses out. Everything is counted from the values themselves, nothing from bins.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from miles import calibration
from miles.browse import AGES, DURATIONS
from miles.facts import Facts
from miles.selection import age_bands, duration_bands

Part = Literal["category", "duration", "age", "platform", "format", "language"]
PARTS: tuple[Part, ...] = ("category", "duration", "age", "platform", "format", "language")

BINS = 100  # of a score, each 1 in 100 wide
_EDGES = np.append(np.arange(BINS) / BINS, 1.5)  # 1 itself is in the last bin
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DECADE_BINS = 5  # cells for each factor of ten of a velocity
DECADES = 8  # from 1 view a day on; what lies beyond stands in the first and the last cell
MOST_RANKED = 200_000  # pairs; of twice as many every second: more move the second decimal by nothing
CLOSE = 2.0  # a prediction less than so many times too high or too low is called close


@dataclass(frozen=True, slots=True)
class Spread:
    """The scores of one group."""

    group: str  # "all", or the name of a part
    n: int
    base_rate: float  # mean of the base rates that belong to the scores
    counts: tuple[int, ...]  # of BINS equal bins over 0..1
    quantiles: tuple[float, ...]  # at QUANTILES
    above: float  # share of the scores that are above their base rate

    @property
    def middle(self) -> float:
        return self.quantiles[2]

    def below(self) -> list[float]:
        """Shares of the scores below 0, 1, 2 … 100 in 100."""
        return [0.0, *(np.cumsum(self.counts) / max(self.n, 1)).tolist()]


@dataclass(frozen=True, slots=True)
class Beside:
    """Predicted velocities beside measured ones."""

    cells: tuple[tuple[int, int, int], ...]  # (measured, predicted, n): cells of two logarithmic scales
    n: int
    close: float | None  # share of predictions that are CLOSE
    rank: float | None  # Spearman
    ratio: float | None  # median of predicted ÷ measured


def spread(facts: Facts, members: np.ndarray, group: str = "all") -> Spread | None:
    """The scores of the videos in `members`; None where none is scored."""
    inside = members[facts.by_score]
    scores = facts.scores[inside]
    if not len(scores):
        return None
    if facts.one_base_rate is not None:
        base_rate = facts.one_base_rate
        above = len(scores) - int(np.searchsorted(scores, base_rate, side="right"))
    else:
        base_rates = facts.base_rate[facts.by_score[inside]]
        base_rate = float(base_rates.mean())
        above = int(np.count_nonzero(scores > base_rates))
    return _spread(group, scores, 0.0, base_rate, above)


def by_part(facts: Facts, members: np.ndarray, part: Part, least: int, most: int) -> tuple[Spread, ...]:
    """The same for each group of a part that has `least` scores, at most `most` of them, the largest first.

    Bands of age and duration stand in their own order.
    """
    at = np.flatnonzero(members & ~np.isnan(facts.score))
    if part in ("duration", "age"):
        code = (duration_bands(facts.duration[at]) if part == "duration" else age_bands(facts.age()[at])) + 1
        names = {number + 1: name for number, name in enumerate(DURATIONS if part == "duration" else AGES)}
    else:
        code = getattr(facts, part)[at]
        names = {number: name for name, number in facts.codes.get(part, {}).items()}
    # the scores of each group, one group after the other: those of group n begin at 2n, and end at 2n + 1
    scores = np.sort(facts.score[at] + 2.0 * code)
    firsts = np.arange(code.max(initial=0) + 1) * 2.0
    starts = np.searchsorted(scores, firsts)
    sizes = np.diff(starts, append=len(scores))
    if facts.one_base_rate is not None:
        base_rates = np.full(len(sizes), facts.one_base_rate)
        above = starts + sizes - np.searchsorted(scores, firsts + facts.one_base_rate, side="right")
    else:
        base_rates = np.bincount(code, weights=facts.base_rate[at], minlength=1) / np.maximum(sizes, 1)
        above = np.bincount(code, weights=facts.score[at] > facts.base_rate[at], minlength=1)
    chosen = [int(one) for one in np.argsort(-sizes, kind="stable") if sizes[one] >= least and one in names][:most]
    if part in ("duration", "age"):
        chosen.sort()
    return tuple(
        _spread(
            names[one], scores[starts[one] : starts[one] + sizes[one]], firsts[one], base_rates[one], above[one]
        )
        for one in chosen
    )  # fmt: skip


def _spread(group: str, scores: np.ndarray, first: float, base_rate: float, above: float) -> Spread:
    """From ascending scores that begin at `first` instead of at 0."""
    return Spread(
        group=group,
        n=len(scores),
        base_rate=float(base_rate),
        counts=tuple(np.diff(np.searchsorted(scores, first + _EDGES)).tolist()),
        quantiles=tuple((_quantiles(scores) - first).tolist()),
        above=float(above) / len(scores),
    )


def _quantiles(ordered: np.ndarray) -> np.ndarray:
    """QUANTILES of ascending values, between two of them linear."""
    places = np.array(QUANTILES) * (len(ordered) - 1)
    low, high = ordered[np.floor(places).astype(np.intp)], ordered[np.ceil(places).astype(np.intp)]
    return low + (high - low) * (places - np.floor(places))


def beside(predicted: np.ndarray, measured: np.ndarray) -> Beside:
    """Predicted beside measured velocities (views a day), both known."""
    # less than one view a day (also what platforms take back) counts as one
    one, other = np.maximum(measured, 1.0), np.maximum(predicted, 1.0)
    last = DECADES * DECADE_BINS
    across, up = (np.minimum((np.log10(side) * DECADE_BINS).astype(np.int64), last - 1) for side in (one, other))
    counts = np.bincount(across * last + up, minlength=last * last)
    ratio = other / one
    return Beside(
        cells=tuple((int(at // last), int(at % last), int(counts[at])) for at in np.flatnonzero(counts)),
        n=len(one),
        close=float(((ratio < CLOSE) & (ratio > 1 / CLOSE)).mean()) if len(one) else None,
        rank=calibration.spearman(one[:: _step(one)], other[:: _step(other)]),
        ratio=float(np.median(ratio)) if len(one) else None,
    )


def _step(values: np.ndarray) -> int:
    """Every how many of very many values are ranked."""
    return max(len(values) // MOST_RANKED, 1)


def growth(facts: Facts, members: np.ndarray) -> Beside:
    """Velocity predicted for the days after the newest snapshot, beside that measured up to it."""
    at = np.flatnonzero(members & ~np.isnan(facts.predicted) & ~np.isnan(facts.velocity))
    return beside(facts.predicted[at], facts.velocity[at])
