"""How often the model is right about which of two titles does better, by how far apart it scores them.

    python benchmarks/bench_ties.py CASES        # a folder with inputs_draft.parquet and targets_draft.parquet

`miles.lab` calls two variants a tie unless the model was right in 2 of 3 such comparisons; what it orders them by, and
its constant, come from here. CASES are videos that the model never learnt from, in the form that `python -m training` leaves in
training/work. Each pair is two videos of one channel, published at most 3 days apart. Both are scored as the Score
lab scores two titles of one draft: with the same channel history (that of the earlier one), category, length and
language, so that the titles alone tell them apart. "Right" is the order of their views at 24 hours.

P(right) = 1 / (1 + exp(-slope · gap)), gap in log-odds of viral_score or in log10 of predicted views, is fitted without an intercept (no gap is a
coin); intervals are 95% by bootstrap over channels. The gap from which on 2 of 3 are right is log(2) / slope.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from miles import scoring
from miles.score_file import to_input

NEAR = pd.Timedelta(days=3)
PER_CHANNEL = 6  # pairs, so that no channel says it all
DRAWS = 400  # of the bootstrap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--model", type=Path, default=scoring.DEFAULT_FOLDER)
    parser.add_argument("--most", type=int, default=2500, help="pairs")
    given = parser.parse_args()
    table = pd.read_parquet(given.cases / "inputs_draft.parquet").merge(
        pd.read_parquet(given.cases / "targets_draft.parquet")[["video_id", "log10_views_24h"]], on="video_id"
    )
    pairs = near_pairs(table)[: given.most]
    model = scoring.load(given.model)
    print(f"{model.version}: {len(pairs)} pairs of {table.channel_id.iloc[pairs[:, 0]].nunique()} channels")
    drafts = [to_input(row, n, given.cases) for n, row in enumerate(table.to_dict("records"))]
    better = np.sign(np.diff(table.log10_views_24h.to_numpy()[pairs], axis=1)[:, 0])
    channels = table.channel_id.to_numpy()[pairs[:, 0]]
    for name, bare in (("with the channel's history", False), ("without a channel", True)):
        videos = []
        for earlier, later in pairs:
            shared = replace(drafts[earlier], history=(), channel_id=None) if bare else drafts[earlier]
            videos += [replace(shared, key="a"), replace(shared, key="b", title=drafts[later].title)]
        scores = model.score(videos)
        for by, value in (
            ("viral_score, in log-odds", lambda one: log_odds(one.viral_score)),
            ("predicted views, in log10", lambda one: math.log10(one.predicted_velocity)),
        ):
            told = np.array([value(one) for one in scores]).reshape(-1, 2)
            report(f"{name}, by {by}", told[:, 1] - told[:, 0], better, channels)


def log_odds(chance: float) -> float:
    p = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def near_pairs(table: pd.DataFrame) -> np.ndarray:
    """(n, 2) rows of videos of one channel at most NEAR apart with other titles, the earlier first; shuffled."""
    dice = np.random.default_rng(0)
    found: list[tuple[int, int]] = []
    when, titles = table.published_at.to_numpy(), table.title.to_numpy()
    for rows in table.sort_values("published_at").groupby("channel_id").indices.values():
        ordered = rows[np.argsort(when[rows], kind="stable")]
        near = [
            (i, j)
            for at, i in enumerate(ordered)
            for j in ordered[at + 1 :]
            if when[j] - when[i] <= NEAR.to_timedelta64() and titles[i] != titles[j]
        ]
        found += [near[k] for k in dice.permutation(len(near))[:PER_CHANNEL]]
    return np.array(found)[dice.permutation(len(found))]


def report(name: str, gap: np.ndarray, better: np.ndarray, channels: np.ndarray) -> None:
    towards = gap * better  # above 0: right
    told = (gap != 0) & (better != 0)
    towards, of = towards[told], np.unique(channels[told], return_inverse=True)[1]
    rows = [np.flatnonzero(of == k) for k in range(of.max() + 1)]
    dice = np.random.default_rng(1)
    draws = [np.concatenate([rows[k] for k in dice.integers(0, len(rows), len(rows))]) for _ in range(DRAWS)]

    def interval(figure) -> str:
        low, high = np.quantile([figure(towards[one]) for one in draws], [0.025, 0.975])
        return f"{figure(towards):.3f} [{low:.3f}, {high:.3f}]"

    print(f"\n{name}: n {len(towards)}, right {interval(lambda x: float((x > 0).mean()))}, slope {interval(slope)}")
    print(f"  right in 2 of 3 from a gap of {interval(lambda x: math.log(2) / max(slope(x), 1e-9))} on")
    for low, high in zip(
        *(np.quantile(np.abs(towards), q) for q in ([0, 0.25, 0.5, 0.75], [0.25, 0.5, 0.75, 1])), strict=True
    ):
        inside = towards[(np.abs(towards) >= low) & (np.abs(towards) <= high)]
        print(f"  gap {low:.3f} to {high:.3f}: n {len(inside)}, right {(inside > 0).mean():.3f}")


def slope(towards: np.ndarray) -> float:
    """The slope of the logistic curve through (0, ½) that fits best: Newton's method on one number."""
    k = 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(k * towards, -30, 30)))
        step = ((1 - p) * towards).sum() / max((p * (1 - p) * towards**2).sum(), 1e-12)
        k += float(np.clip(step, -5, 5))
        if abs(step) < 1e-9:
            break
    return k


if __name__ == "__main__":
    main()
