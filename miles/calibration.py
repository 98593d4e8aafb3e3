"""Whether promises came true, and whether what comes in still looks like what the model learnt from.

Pure: arrays in, dataclasses out; knows nothing about databases or pages. `training` uses it for the
distributions that it leaves in the manifest, `monitor` for what happened since.

Intervals are 95% by bootstrap over channels: videos of one channel rise and fall together. Those of shares are no
narrower than Wilson's, which knows that nothing in 200 is not never.

Drift is told by the population stability index, PSI = Σ (q − p) · ln(q / p) over the bins, p being the share of
the reference in a bin and q that of the recent videos. The bins are the 10 quantile bins of the reference (each
value its own where there are no more than 10), and one more for "not known"; a share below 0.0001 counts as
0.0001. By convention a PSI below 0.1 is stable, up to 0.25 shifted, above that drifted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from miles import features

BINS = 10
EPSILON = 1e-4  # the share that an empty bin counts as
STABLE, DRIFTED = 0.1, 0.25  # PSI; see the module's first lines
RESAMPLES = 400  # of the bootstrap; the ends of an interval move by some percent of its width with the seed
MOST = 20_000  # forecasts looked at, the latest; more don't narrow an interval that a person would notice
MOST_GROUPS = 2_000  # of channels that are drawn together

# Of fewer outcomes nothing is said.
MIN_FORECASTS = 100
MIN_CHANNELS = 20
MIN_HAPPENED = 5

Verdict = Literal["stable", "shifted", "drifted"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecasts of about the same probability: what was promised, and how often it happened."""

    promised: float
    observed: Interval
    n: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many outcomes lay within the 80% intervals of one age band."""

    age_band: str
    share: Interval
    n: int


@dataclass(frozen=True, slots=True)
class Check:
    """Forecasts against what happened. All but the counts is None where there is not enough data."""

    n: int
    channels: int
    happened: int
    promised: float | None = None  # mean probability
    bins: tuple[Bin, ...] = ()
    brier: Interval | None = None  # mean squared error of the probability; 0 is perfect
    skill: Interval | None = None  # 1 − Brier / Brier of always saying the base rate; below 0 is worse than that
    ece: Interval | None = None  # mean gap between promised and observed over the bins
    coverage: Interval | None = None
    by_age: tuple[Coverage, ...] = ()
    error: Interval | None = None  # median of |predicted − measured| / measured
    rank: float | None = None  # Spearman of predicted and measured velocity

    @property
    def enough(self) -> bool:
        return self.brier is not None


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What was foretold and what happened, as columns of the same length n.

    Velocities are in views per day; `channel` is any key by which videos belong together.
    """

    probability: np.ndarray
    base_rate: np.ndarray
    happened: np.ndarray  # bool
    predicted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    measured: np.ndarray
    age_band: np.ndarray
    channel: np.ndarray

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Any]]) -> "Forecasts":
        """From rows whose columns begin with the fields in their order; a channel is a text or a number."""
        columns = list(zip(*rows, strict=True)) or [()] * len(fields(cls))
        kinds = [np.float64, np.float64, bool, *[np.float64] * 4, str, None if rows else np.int64]
        return cls(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=False)))

    def __getitem__(self, which: np.ndarray) -> "Forecasts":
        """Those at some places, or those that a mask holds."""
        return Forecasts(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


def check(given: Forecasts, *, seed: int = 0) -> Check:
    """Compare forecasts with outcomes."""
    n, happened = len(given.probability), int(given.happened.sum())
    channels, group = _groups(given.channel, seed)
    if n < MIN_FORECASTS or channels < MIN_CHANNELS or happened < MIN_HAPPENED:
        return Check(n, channels, happened)
    weights = _resamples(int(group.max()) + 1, seed)
    p, y = given.probability.astype(np.float64), given.happened.astype(np.float64)
    one = np.ones(n)

    def sums(values: np.ndarray) -> np.ndarray:
        """(1 + RESAMPLES,) weighted sums over the forecasts; the first is the plain one."""
        return weights @ np.bincount(group, weights=values, minlength=weights.shape[1])

    order = np.argsort(p, kind="stable")
    which = np.empty(n, dtype=np.intp)
    for number, part in enumerate(np.array_split(order, BINS)):
        which[part] = number
    bins, gaps = [], np.zeros(len(weights))
    for number in range(BINS):
        mine = (which == number).astype(np.float64)
        in_bin, promised, seen = sums(mine), sums(mine * p), sums(mine * y)
        gaps += np.abs(promised - seen)
        bins.append(Bin(float(promised[0] / in_bin[0]), _share(seen, in_bin), int(in_bin[0])))
    size = sums(one)
    squares, base_squares = sums((p - y) ** 2), sums((given.base_rate - y) ** 2)
    inside = ((given.measured >= given.low) & (given.measured <= given.high)).astype(np.float64)
    by_age = []
    for band, _ in features.AGE_BANDS:
        mine = (given.age_band == band).astype(np.float64)
        if mine.sum() >= MIN_FORECASTS:
            by_age.append(Coverage(band, _share(sums(mine * inside), sums(mine)), int(mine.sum())))
    return Check(
        n=n,
        channels=channels,
        happened=happened,
        promised=float(p.mean()),
        bins=tuple(bins),
        brier=_interval(squares / size),
        skill=_interval(1 - squares / base_squares),
        ece=_interval(gaps / size),
        coverage=_share(sums(inside), size),
        by_age=tuple(by_age),
        error=_interval(_medians(np.abs(given.predicted - given.measured) / given.measured, group, weights)),
        rank=spearman(given.predicted, given.measured),
    )


@dataclass(frozen=True, slots=True)
class Top:
    """How often the event happened among the k highest scores."""

    k: int
    precision: Interval


@dataclass(frozen=True, slots=True)
class Group:
    """Forecasts of one group against what happened; all but the counts is None where there are too few."""

    name: str
    n: int
    channels: int
    happened: int
    promised: float | None = None  # mean probability
    observed: Interval | None = None  # how often it happened
    brier: Interval | None = None
    ece: Interval | None = None
    skill: Interval | None = None
    top: Top | None = None  # of the tenth with the highest scores


def precision(given: Forecasts, ks: Sequence[int], *, seed: int = 0) -> tuple[Top, ...]:
    """How often the event happened among the k highest scores, for each k that leaves as many out.

    Among equal scores those that come first in the data are taken.
    """
    n = len(given.probability)
    _, group = _groups(given.channel, seed)
    asked = [k for k in ks if 2 * k <= n]
    if not asked:
        return ()
    weights = _resamples(int(group.max(initial=0)) + 1, seed)
    # a resample may have fewer of the first ones: it goes on further down
    reach = [min(n, 10 * k + 100) for k in asked]
    order = np.argsort(-given.probability, kind="stable")[: max(reach)]
    drawn = weights[:, group[order]].astype(np.int32)
    before = np.cumsum(drawn, axis=1) - drawn
    happened = given.happened[order].astype(np.int32)
    found = []
    for k, most in zip(asked, reach, strict=True):
        taken = np.clip(k - before[:, :most], 0, drawn[:, :most])
        found.append(Top(k, _share(taken @ happened[:most], taken.sum(axis=1))))
    return tuple(found)


def groups(given: Forecasts, which: np.ndarray, names: Sequence[str], *, seed: int = 0) -> tuple[Group, ...]:
    """Forecasts against outcomes for each group: `which` is its position in `names`, -1 for none.

    Channels are drawn once for all of them. Bins of a group's calibration error hold a tenth of its forecasts each.
    """
    _, channel = _groups(given.channel, seed)
    drawn = int(channel.max(initial=0)) + 1
    weights = _resamples(drawn, seed)
    p, y = given.probability, given.happened.astype(np.float64)
    found = []
    for number, name in enumerate(names):
        at = np.flatnonzero(which == number)
        counted = Group(name, len(at), len(np.unique(given.channel[at])), int(y[at].sum()))
        if len(at) < MIN_FORECASTS or counted.channels < MIN_CHANNELS or counted.happened < MIN_HAPPENED:
            found.append(counted)
            continue

        def sums(values: np.ndarray, at: np.ndarray = at) -> np.ndarray:
            return weights @ np.bincount(channel[at], weights=values, minlength=drawn)

        size = sums(np.ones(len(at)))
        squares = sums((p[at] - y[at]) ** 2)
        usual = sums((given.base_rate[at] - y[at]) ** 2)
        tenth = np.empty(len(at), dtype=np.intp)
        for place, part in enumerate(np.array_split(np.argsort(p[at], kind="stable"), BINS)):
            tenth[part] = place
        apart = np.bincount(tenth * drawn + channel[at], weights=p[at] - y[at], minlength=BINS * drawn)
        gaps = np.abs(weights @ apart.reshape(BINS, drawn).T).sum(axis=1)
        whole = size > 0  # a resample may leave a group empty
        top = precision(given[at], [len(at) // 10], seed=seed)
        found.append(
            Group(
                *(counted.name, counted.n, counted.channels, counted.happened),
                promised=float(p[at].mean()),
                observed=_share(sums(y[at]), size),
                brier=_interval(squares[whole] / size[whole]),
                ece=_interval(gaps[whole] / size[whole]),
                skill=_interval(1 - squares[usual > 0] / usual[usual > 0]),
                top=top[0] if top else None,
            )
        )
    return tuple(found)


def gain(one: Forecasts, other: Forecasts, *, seed: int = 0) -> Interval | None:
    """Brier of `one` less that of `other` on the same outcomes: above 0, the other is better. None: not enough."""
    n, happened = len(one.probability), int(one.happened.sum())
    channels, group = _groups(one.channel, seed)
    if n < MIN_FORECASTS or channels < MIN_CHANNELS or happened < MIN_HAPPENED:
        return None
    weights = _resamples(int(group.max()) + 1, seed)
    y = one.happened.astype(np.float64)
    difference = (one.probability - y) ** 2 - (other.probability - y) ** 2
    total, size = (weights @ np.bincount(group, weights=values) for values in (difference, np.ones(n)))
    return _interval(total / size)


def spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Rank correlation, ties sharing their mean rank; None below 3 pairs and where one side is constant."""
    if len(one) < 3:
        return None
    ranks = []
    for values in (one, other):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _groups(channel: np.ndarray, seed: int) -> tuple[int, np.ndarray]:
    """How many channels there are, and for each row its channel as a number; beyond MOST_GROUPS channels, drawn
    groups of channels, which vary by as much and take less memory."""
    names, number = np.unique(channel, return_inverse=True)
    if len(names) > MOST_GROUPS:
        number = np.random.default_rng(seed).permutation(len(names))[number] % MOST_GROUPS
    return len(names), number


@lru_cache(maxsize=8)
def _resamples(groups: int, seed: int) -> np.ndarray:
    """(1 + RESAMPLES, groups) how often each group is drawn; the first row draws each once. Read only."""
    dice = np.random.default_rng(seed)
    drawn = dice.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    made = np.vstack([np.ones(groups), drawn])
    made.flags.writeable = False
    return made


def _interval(values: np.ndarray) -> Interval:
    """The first value, and where 95% of the others lie."""
    low, high = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (values[0], values[0])
    return Interval(float(values[0]), float(min(low, values[0])), float(max(high, values[0])))


def _share(of: np.ndarray, size: np.ndarray) -> Interval:
    """A share with its interval, no narrower than Wilson's: where nothing happened, every resample agrees."""
    drawn = size > 0  # a resample may leave a group empty
    found = _interval(of[drawn] / size[drawn])
    n, z = float(size[0]), 1.96
    middle = (found.value + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * float(np.sqrt(found.value * (1 - found.value) / n + z**2 / (4 * n**2)))
    return Interval(found.value, min(found.low, max(middle - reach, 0.0)), max(found.high, min(middle + reach, 1.0)))


def _medians(values: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted median for each row of weights."""
    order = np.argsort(values, kind="stable")
    ordered, of = values[order], group[order]
    medians = []
    for row in weights:
        reached = np.cumsum(row[of])
        medians.append(ordered[min(int(np.searchsorted(reached, reached[-1] / 2)), len(ordered) - 1)])
    return np.array(medians)


# --- drift ------------------------------------------------------------------------------------------

# The inputs that are watched -> their names for people; those of one-hot groups are put together.
WATCHED = {
    "log_age": "age",
    "log_views": "views",
    "log_rate": "views per day so far",
    "log_likes_per_view": "likes per view",
    "log_comments_per_view": "comments per view",
    "log_countries": "countries",
    "above_usual": "views against the channel's usual",
    "n": "known videos of the channel",
    "median": "the channel's usual views",
    "sd": "spread of the channel's views",
    "log_gap": "days between the channel's videos",
    "log_duration": "duration",
    "characters": "length of the title",
    "capitals": "capitals in the title",
    "digits": "digits in the title",
    "non_ascii": "letters beyond English",
    "question": "questions in the title",
}
GROUPED = {"category": "category", "language": "language"}  # prefix of the one-hot inputs -> name for people
SCORE = "viral_score"


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one input, or the score, has moved from its reference."""

    name: str  # for people
    psi: float
    # which bin moved most: the share there in the reference, and lately
    before: float
    lately: float
    where: str  # "low", "middle", "high" part of the reference's values, or "not known"

    @property
    def verdict(self) -> Verdict:
        return "stable" if self.psi < STABLE else "shifted" if self.psi <= DRIFTED else "drifted"


def inputs(context: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """What is watched, by its names for people: the inputs of contexts (n, len(features.CONTEXT)), NaN where not
    known, and the viral_score (n,) of the same candidates.

    A group of one-hot inputs becomes the number of the one that is set.
    """
    at = {name: position for position, name in enumerate(features.CONTEXT)}
    found = {label: context[:, at[name]] for name, label in WATCHED.items() if name in at}
    for prefix, label in GROUPED.items():
        members = [position for name, position in at.items() if name.startswith(f"{prefix}_")]
        if members:
            hot = context[:, members]
            unknown = np.isnan(hot).any(axis=1)
            found[label] = np.where(unknown, np.nan, np.nan_to_num(hot).argmax(axis=1))
    return found | {SCORE: scores}


def reference(watched: Mapping[str, np.ndarray], first: date, until: date) -> dict[str, Any]:
    """The distributions of what `inputs` returned, as they stand in a manifest under "reference".

    `first` and `until` are the days that the candidates are of.
    """
    return {
        "n": len(watched[SCORE]),
        "from": first.isoformat(),
        "until": until.isoformat(),
        "inputs": {name: distribution(values) for name, values in watched.items()},
    }


def distribution(values: np.ndarray) -> dict[str, Any]:
    """A reference for `psi` as it stands in a manifest: {"edges": inner edges of the bins, "shares": of all values
    in each bin (one more than edges), "missing": share that is not known}."""
    known = np.sort(values[~np.isnan(values)].astype(np.float64))
    distinct = np.unique(known)
    if len(distinct) <= BINS:
        edges = distinct[1:]
    else:
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
        edges = edges[edges > distinct[0]]
    shares = _shares(edges, known, len(values))
    return {
        "edges": edges.tolist(),  # unrounded: many values lie exactly on one
        "shares": [round(float(share), 6) for share in shares],
        "missing": round(1 - len(known) / max(len(values), 1), 6),
    }


def shift(name: str, reference: Mapping[str, Any], values: np.ndarray) -> Shift:
    """How far `values` have moved from a reference made by `distribution`; see the module's first lines."""
    edges = np.asarray(reference["edges"], dtype=np.float64)
    known = values[~np.isnan(values)].astype(np.float64)
    before = np.array([*reference["shares"], reference["missing"]], dtype=np.float64)
    lately = np.array([*_shares(edges, known, len(values)), 1 - len(known) / max(len(values), 1)])
    p, q = np.maximum(before, EPSILON), np.maximum(lately, EPSILON)
    parts = (q - p) * np.log(q / p)
    most = int(parts.argmax())
    return Shift(
        name=name,
        psi=float(parts.sum()),
        before=float(before[most]),
        lately=float(lately[most]),
        where=_where(most, len(edges) + 1),
    )


def _shares(edges: np.ndarray, known: np.ndarray, total: int) -> np.ndarray:
    # a value on an edge lies above it
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return counts / max(total, 1)


def _where(number: int, bins: int) -> str:
    if number == bins:
        return "not known"
    place = (number + 0.5) / bins
    return "low" if place < 1 / 3 else "high" if place > 2 / 3 else "middle"
