"""Figures of merit with 95% intervals, their baselines and their slices. Pure: frames in, numbers out.

A *table* here is one row per case: what was asked (the columns of inputs_*.parquet of the judge), what came of
it (those of targets_*.parquet) and what the model said (`predicted_multiple`, `viral_score`, …). Definitions
and keys are those of the judge's evaluate.py, so that its figures and ours can stand in one card; where its
code is at hand it is run, and these are for the rest: slices, and an installation's own data.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from miles.candidates import CATEGORY_IDS
from miles.features import AGE_BANDS, MIN_HISTORY

Interval = list[float]  # value, low end, high end of its 95% interval

DRAWS = 200  # of the bootstrap, as the judge has it
SMALLEST_SLICE = 30  # cases; fewer say nothing
COUNTED_SLICE = 100  # cases; a smaller slice is shown, but its interval is wider than what is asked of the worst
TWOFOLD = float(np.log10(2))
NEAR = 3.0  # days between the two videos of a pair
BINS = 10
USUALS = ((1e4, "usual below 10k views"), (1e5, "10k to 100k"), (1e6, "100k to 1M"), (np.inf, "1M and more"))
DURATIONS = ((60, "up to 60 s"), (180, "61 to 180 s"), (np.inf, "longer"))
DRIFT, LAST, SPREAD = (
    "baseline: mean of last 3 - channel median",
    "baseline: last - channel median",
    "baseline: spread of the channel (h_sd) alone",
)
DECAY, DECAY_CATEGORY, LIKES = (
    "baseline: views per day so far x decay by age",
    "baseline: ... x decay by age and category",
    "baseline: likes per view",
)


# --- single figures ---------------------------------------------------------------------------------


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks_a, ranks_b = rankdata(a), rankdata(b)
    if len(ranks_a) < 3 or ranks_a.std() == 0 or ranks_b.std() == 0:
        return float("nan")
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def auroc(event: np.ndarray, score: np.ndarray) -> float:
    event = event.astype(bool)
    yes, no = int(event.sum()), int((~event).sum())
    if yes == 0 or no == 0:
        return float("nan")
    return float((rankdata(score)[event].sum() - yes * (yes + 1) / 2) / (yes * no))


def average_precision(event: np.ndarray, score: np.ndarray) -> float:
    """Ties in a fixed random order."""
    order = np.lexsort((np.random.default_rng(0).random(len(score)), -score))
    hits = event[order].astype(float)
    if not hits.any():
        return float("nan")
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits == 1].mean())


def ece(event: np.ndarray, p: np.ndarray) -> float:
    """Mean gap between promised and observed frequency over ten equally full bins."""
    bins = np.array_split(np.argsort(p, kind="stable"), BINS)
    return float(sum(len(i) / len(p) * abs(event[i].mean() - p[i].mean()) for i in bins if len(i)))


def ece_of_perfect(p: np.ndarray, draws: int = 50, seed: int = 0) -> float:
    """The ECE that these very promises would have on average if they were true: what chance makes of few cases."""
    rng = np.random.default_rng(seed)
    return float(np.mean([ece((rng.random(len(p)) < p).astype(float), p) for _ in range(draws)]))


def median_error(true: np.ndarray, predicted: np.ndarray) -> float:
    """Median of |predicted - true| / true."""
    true = np.maximum(true, 1.0)
    return float(np.median(np.abs(predicted - true) / true))


class Clusters:
    """Bootstrap over channels: every draw takes whole channels, with replacement."""

    def __init__(self, channels: Iterable[object], draws: int | None = None, seed: int = 0) -> None:
        _, inverse = np.unique(np.asarray(channels), return_inverse=True)
        self._n = len(inverse)
        order = np.argsort(inverse, kind="stable")
        start = np.r_[0, np.cumsum(np.bincount(inverse))]
        k = len(start) - 1
        rng = np.random.default_rng(seed)
        self._draws = [
            np.concatenate([order[start[j] : start[j + 1]] for j in rng.integers(0, k, k)]) if k else np.arange(0)
            for _ in range(DRAWS if draws is None else draws)
        ]

    def __call__(self, figure: Callable[[np.ndarray], float]) -> Interval:
        """The figure of all rows, and the interval of its values over the draws; NaN where it has none."""
        whole = figure(np.arange(self._n)) if self._n else float("nan")
        drawn = np.array([figure(rows) for rows in self._draws if len(rows)], dtype=float)
        drawn = drawn[~np.isnan(drawn)]
        if len(drawn) == 0:
            return [float(whole), float("nan"), float("nan")]
        return [float(whole), float(np.percentile(drawn, 2.5)), float(np.percentile(drawn, 97.5))]


def pairs_within(channels: Sequence[object], y: np.ndarray, per_channel: int = 50, seed: int = 0):
    """Pairs (i, j, channel) of one channel's videos whose results differ at least twofold, some per channel."""
    rng = np.random.default_rng(seed)
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    of: list[object] = []
    for channel, rows in pd.Series(np.arange(len(y))).groupby(np.asarray(channels)).groups.items():
        ix = np.asarray(rows)
        if len(ix) < 2:
            continue
        i, j = np.triu_indices(len(ix), 1)
        i, j = ix[i], ix[j]
        apart = np.abs(y[i] - y[j]) >= TWOFOLD
        i, j = i[apart], j[apart]
        if len(i) > per_channel:
            some = rng.choice(len(i), per_channel, replace=False)
            i, j = i[some], j[some]
        first.append(i)
        second.append(j)
        of += [channel] * len(i)
    empty = np.array([], dtype=int)
    return np.concatenate(first or [empty]), np.concatenate(second or [empty]), np.array(of)


def pair_hits(y: np.ndarray, score: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """1 where the score orders a pair as the result does, 0 where not, ½ for a tie."""
    gap = score[i] - score[j]
    return np.where(gap == 0, 0.5, np.sign(gap) == np.sign(y[i] - y[j])).astype(float)


# --- the whole of it, as the judge has it -----------------------------------------------------------


def drafts(table: pd.DataFrame, draws: int | None = None) -> dict[str, Any]:
    """Per kind of channel ("all", "seen channels", "unseen channels") the figures and baselines of drafts."""
    return {name: _drafts(group, draws) for name, group in _kinds(table)}


def _drafts(group: pd.DataFrame, draws: int | None) -> dict[str, Any]:
    y, event = group["outlier"].to_numpy(float), group["top10"].to_numpy(int)
    i, j, of = pairs_within(group["channel_id"], y)
    i2, j2, of2 = pairs_within(group["channel_id"], y, per_channel=400)
    day = days(group["published_at"])
    near = np.abs(day[i2] - day[j2]) <= NEAR
    i2, j2, of2 = i2[near], j2[near], of2[near]
    channels, pairs, near_pairs = Clusters(group["channel_id"], draws), Clusters(of, draws), Clusters(of2, draws)
    multiple, p = filled(group["predicted_multiple"]), filled(group["viral_score"])
    drift = filled(group["h_mean3"] - group["h_med"])
    last, spread = filled(group["h_last"] - group["h_med"]), filled(group["h_sd"])
    figures: dict[str, Any] = {
        "n": len(group),
        "channels": int(group["channel_id"].nunique()),
        "pairs": len(i),
        "pairs_within_3_days": len(i2),
        "base_rate_top10": float(event.mean()),
    }
    for who, order, chance in (
        ("system", multiple, p),
        (DRIFT, drift, drift),
        (LAST, last, last),
        (SPREAD, spread, spread),
    ):
        hits, near_hits = pair_hits(y, order, i, j), pair_hits(y, order, i2, j2)
        figures[who] = {
            "spearman": channels(lambda r, o=order: spearman(y[r], o[r])),
            "auroc_top10": channels(lambda r, c=chance: auroc(event[r], c[r])),
            "avg_precision": channels(lambda r, c=chance: average_precision(event[r], c[r])),
            "pairwise_2x": pairs(lambda r, h=hits: h[r].mean()),
            "pairwise_2x_within_3_days": near_pairs(lambda r, h=near_hits: h[r].mean()),
        }
    figures["system"]["ece"] = channels(lambda r: ece(event[r], p[r]))
    figures["gain over first baseline"] = {
        "spearman": channels(lambda r: spearman(y[r], multiple[r]) - spearman(y[r], drift[r])),
        "auroc_top10": channels(lambda r: auroc(event[r], p[r]) - auroc(event[r], drift[r])),
    }
    return figures


def candidates(table: pd.DataFrame, decay: "Decay", draws: int | None = None) -> dict[str, Any]:
    """Per kind of channel and horizon ("all, 3d" …) the figures and baselines of candidates."""
    out = {}
    for name, all_rows in _kinds(table):
        for horizon, column in (("3d", "predicted_velocity"), ("7d", "predicted_velocity_7d")):
            group = all_rows[all_rows[f"velocity_{horizon}"].notna()].reset_index(drop=True)
            if len(group) < SMALLEST_SLICE:
                continue
            out[f"{name}, {horizon}"] = _candidates(group, horizon, column, decay, draws)
    return out


def _candidates(group: pd.DataFrame, horizon: str, column: str, decay: "Decay", draws: int | None) -> dict[str, Any]:
    v, log = group[f"velocity_{horizon}"].to_numpy(float), group[f"log10_velocity_{horizon}"].to_numpy(float)
    channels = Clusters(group["channel_id"], draws)
    rate = (group["views"] / group["age_days"]).to_numpy(float)
    ages, categories = group["age_days"].to_numpy(float), group["category_id"]
    plain, by_category = rate * decay(horizon, ages), rate * decay(horizon, ages, categories)
    said = np.maximum(filled(group[column]), 1.0)
    figures: dict[str, Any] = {"n": len(group), "channels": int(group["channel_id"].nunique())}
    for who, s in (("system", said), (DECAY, plain), (DECAY_CATEGORY, by_category)):
        figures[who] = {
            "spearman": channels(lambda r, s=s: spearman(log[r], s[r])),
            "median_ape": channels(lambda r, s=s: median_error(v[r], s[r])),
            "within_2x": channels(
                lambda r, s=s: float(np.mean(np.abs(np.log10(np.maximum(s[r], 1)) - log[r]) <= TWOFOLD))
            ),
        }
    figures["gain over decay by age and category"] = {
        "spearman": channels(lambda r: spearman(log[r], said[r]) - spearman(log[r], by_category[r]))
    }
    if horizon != "3d":
        return figures
    inside = held(group)
    low, high = filled(group["velocity_low"]), filled(group["velocity_high"])
    figures["system"]["coverage_80"] = channels(lambda r: inside[r].mean())
    figures["system"]["interval_width_log10"] = float(
        np.median(np.log10(np.maximum(high, 1)) - np.log10(np.maximum(low, 1)))
    )
    p, event = filled(group["viral_score"]), group["top10_growth_3d"].to_numpy(int)
    label: dict[str, Any] = {"base_rate": float(event.mean())}
    for who, s in (("system", p), (DECAY, plain), (LIKES, filled(group["likes"] / group["views"].clip(lower=1)))):
        label[who] = {
            "auroc": channels(lambda r, s=s: auroc(event[r], s[r])),
            "avg_precision": channels(lambda r, s=s: average_precision(event[r], s[r])),
        }
    label["system"]["ece"] = channels(lambda r: ece(event[r], p[r]))
    figures["label top10_growth_3d"] = label
    return figures


class Decay:
    """The simple forecast: views per day so far times the median of what was left of it, by age (and category).

    From candidates to fit: their rate so far, their velocity later, age in days and category.
    """

    EDGES = (0.375, 0.5, 0.75, 1.0, 1.5, 2.0, 3.01)  # days, as the judge has them

    def __init__(self, past: pd.DataFrame) -> None:
        """`past`: age_days, category_id, rate (views per day), velocity_3d, velocity_7d."""
        band = self._band(past["age_days"].to_numpy(float))
        self._factors: dict[tuple[str, int, int | None], float] = {}
        for horizon in ("3d", "7d"):
            ratio = (past[f"velocity_{horizon}"] / past["rate"]).to_numpy(float)
            frame = pd.DataFrame({"band": band, "category": past["category_id"].to_numpy(), "ratio": ratio}).dropna(
                subset=["ratio"]
            )
            overall = float(frame["ratio"].median()) if len(frame) else 1.0
            for b in range(len(self.EDGES)):
                here = frame[frame["band"] == b]
                plain = float(here["ratio"].median()) if len(here) >= SMALLEST_SLICE else overall
                self._factors[horizon, b, None] = plain
                for category, one in here.groupby("category"):
                    if len(one) >= SMALLEST_SLICE:
                        self._factors[horizon, b, int(category)] = float(one["ratio"].median())

    def __call__(self, horizon: str, ages: np.ndarray, categories: pd.Series | None = None) -> np.ndarray:
        groups = [None] * len(ages) if categories is None else [None if pd.isna(c) else int(c) for c in categories]
        return np.array(
            [
                self._factors.get((horizon, b, c), self._factors[horizon, b, None])
                for b, c in zip(self._band(ages), groups, strict=True)
            ]
        )

    def _band(self, ages: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self.EDGES, ages), len(self.EDGES) - 1)


# --- slices -----------------------------------------------------------------------------------------


def slices(table: pd.DataFrame, mode: str, draws: int | None = None) -> list[dict[str, Any]]:
    """The figures of each part of the cases: by category, language, duration, age, channel."""
    out = [{"by": "all", "slice": "all"} | figures_of(table, mode, draws)] if len(table) else []
    for by, labels in slice_labels(table, mode).items():
        for label in dict.fromkeys(labels[labels.notna()].sort_values(kind="stable")):
            group = table[(labels == label).to_numpy()].reset_index(drop=True)
            if len(group) >= SMALLEST_SLICE:
                out.append({"by": by, "slice": str(label)} | figures_of(group, mode, draws))
    return out


def figures_of(group: pd.DataFrame, mode: str, draws: int | None = None) -> dict[str, Any]:
    """What a slice is judged by: order, beside its baseline's, honesty of the probability, of the interval."""
    channels = Clusters(group["channel_id"], draws)
    if mode == "draft":
        y, said = group["outlier"].to_numpy(float), filled(group["predicted_multiple"])
        simple, event = filled(group["h_mean3"] - group["h_med"]), group["top10"].to_numpy(int)
    else:
        y, said = group["log10_velocity_3d"].to_numpy(float), filled(group["predicted_velocity"])
        simple, event = group["simple"].to_numpy(float), group["top10_growth_3d"].to_numpy(int)
    p, inside = filled(group["viral_score"]), held(group, mode)
    return {
        "n": len(group),
        "channels": int(group["channel_id"].nunique()),
        "spearman": channels(lambda r: spearman(y[r], said[r])),
        "baseline": channels(lambda r: spearman(y[r], simple[r])),
        "ece": channels(lambda r: ece(event[r], p[r])),
        "ece_of_perfect": ece_of_perfect(p),
        "promised": float(p.mean()),
        "happened": float(event.mean()),
        "coverage": channels(lambda r: inside[r].mean()),
    }


def slice_labels(table: pd.DataFrame, mode: str) -> dict[str, pd.Series]:
    """Dimension -> for each case the name of its slice, an ordered category; None: in none."""
    names = {number: name for name, number in CATEGORY_IDS.items()}
    category = table["category_id"].map(lambda c: "unknown" if pd.isna(c) else names.get(int(c), "other"))
    language = table["default_language"].map(
        lambda code: code.replace("_", "-").split("-")[0].lower() if isinstance(code, str) and code else "unknown"
    )
    usual = table["h_med"].where(table["h_n"] >= MIN_HISTORY)
    labels = {
        "channel": _ordered(table["seen"].map({True: "seen", False: "unseen"}), ["seen", "unseen"]),
        "category": _common(category),
        "language": _common(language),
        "duration": _steps(table["duration"], DURATIONS, "unknown"),
        "usual of the channel": _steps(10 ** usual.astype(float), USUALS, "no usual (fewer than 5 earlier videos)"),
    }
    if mode == "candidate":
        labels["age"] = _steps(table["age_days"], tuple((upper, name) for name, upper in AGE_BANDS), "unknown")
    return labels


def worst(rows: list[dict[str, Any]], figure: str, best: float | None = None) -> dict[str, Any] | None:
    """The slice where a figure is worst: lowest, or farthest from `best`; of those large enough to be counted."""
    counted = [row for row in rows if row["by"] != "all" and row["n"] >= COUNTED_SLICE and not np.isnan(row[figure][0])]
    if not counted:
        return None

    def badness(row: dict[str, Any]) -> float:
        return -row[figure][0] if best is None else abs(row[figure][0] - best)

    return max(counted, key=badness)


def reliability(table: pd.DataFrame, event: str, draws: int | None = None) -> list[dict[str, Any]]:
    """The calibration curve: per equally full bin what was promised, what happened [with its interval], n."""
    out = []
    p, happened = table["viral_score"].to_numpy(float), table[event].to_numpy(float)
    for rows in np.array_split(np.argsort(p, kind="stable"), BINS):
        if len(rows):
            mean = Clusters(table["channel_id"].to_numpy()[rows], draws)(lambda r, y=happened[rows]: y[r].mean())
            out.append({"promised": float(p[rows].mean()), "observed": mean, "n": len(rows)})
    return out


def held(table: pd.DataFrame, mode: str = "candidate") -> np.ndarray:
    """1 where the outcome lies in the 80% interval, else 0. No growth at all counts as inside from 1 down."""
    low, high = np.maximum(filled(table["velocity_low"]), 0), filled(table["velocity_high"])
    if mode == "draft":
        # a count moved to 24 h by the curve: + 1 as in its logarithm
        log = table["log10_views_24h"].to_numpy(float)
        return ((log >= np.log10(np.maximum(low, 1e-9))) & (log <= np.log10(np.maximum(high, 1e-9)))).astype(float)
    v = table["velocity_3d"].to_numpy(float)
    return (((v >= low) & (v <= high)) | ((v < 1) & (low <= 1))).astype(float)


def filled(x: pd.Series) -> np.ndarray:
    """Numbers; what is missing counts as the median."""
    numbers = pd.to_numeric(x, errors="coerce").replace([np.inf, -np.inf], np.nan)
    return numbers.fillna(numbers.median() if numbers.notna().any() else 0.0).to_numpy(float)


def days(moments: pd.Series) -> np.ndarray:
    return pd.to_datetime(moments, utc=True).dt.as_unit("ns").astype("int64").to_numpy() / 86400e9


def _kinds(table: pd.DataFrame):
    seen = table["seen"].to_numpy(bool)
    for name, rows in (("all", np.ones(len(table), bool)), ("seen channels", seen), ("unseen channels", ~seen)):
        if rows.sum() >= SMALLEST_SLICE:
            yield name, table[rows].reset_index(drop=True)


def _common(labels: pd.Series) -> pd.Series:
    """The common labels, most frequent first; the rare ones together."""
    count = labels.value_counts()
    common = [label for label in count.index if count[label] >= COUNTED_SLICE and label not in ("other", "unknown")]
    kept = labels.where(labels.isin([*common, "unknown"]), "other")
    return _ordered(kept, [*common, "other", "unknown"])


def _steps(x: pd.Series, steps: tuple[tuple[float, str], ...], unknown: str) -> pd.Series:
    numbers = pd.to_numeric(x, errors="coerce").astype(float)
    names = [name for _, name in steps]
    bounds = [upper for upper, _ in steps]
    # a duration belongs to the step that ends with it, everything else begins at its bound
    side = "left" if steps is DURATIONS else "right"
    at = np.minimum(np.searchsorted(bounds, numbers.fillna(0), side=side), len(steps) - 1)
    labels = pd.Series([names[i] for i in at], index=x.index).where(numbers.notna(), unknown)
    return _ordered(labels, [*names, unknown])


def _ordered(labels: pd.Series, order: list[str]) -> pd.Series:
    return labels.astype(pd.CategoricalDtype(order, ordered=True))
