"""What the fit owes to chance and to the split: several seeds, and a random split beside the honest one.

Measures networks in PyTorch on the latest period's cases, each by itself, without calibration; the finished
model is measured by `training.evaluate`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from training import figures, fit
from training.dataset import Case, is_held_out
from training.network import OUTPUTS, Network

SEEDS = 3
RANDOM_SHARE = 0.1  # of the videos, kept for measuring by the random split


def figures_of(network: Network, arrays: fit.Arrays, rows: np.ndarray, bases: np.ndarray) -> dict[str, float]:
    """Order and events of one network on some cases. `bases`: Features.base of all cases."""
    drafts = rows[~np.isnan(arrays.draft_event[rows])]
    seen = rows[~np.isnan(arrays.velocity[rows]) & (arrays.weight[rows] == 1)]
    out = {}
    if len(drafts) >= figures.SMALLEST_SLICE:
        said = fit.answers(network, arrays, drafts)
        out["draft Spearman"] = figures.spearman(arrays.draft[drafts], said[:, OUTPUTS.index("draft_middle")])
        out["draft AUROC"] = figures.auroc(arrays.draft_event[drafts], said[:, OUTPUTS.index("draft_logit")])
    if len(seen) >= figures.SMALLEST_SLICE:
        said = fit.answers(network, arrays, seen)
        middle = said[:, OUTPUTS.index("candidate_middle")]
        true = arrays.velocity[seen]
        out["velocity Spearman"] = figures.spearman(true + bases[seen], middle + bases[seen])
        out["velocity median error"] = figures.median_error(10 ** (true + bases[seen]), 10 ** (middle + bases[seen]))
        out["growth AUROC"] = figures.auroc(arrays.velocity_event[seen], said[:, OUTPUTS.index("candidate_logit")])
    return {name: round(value, 4) for name, value in out.items() if not np.isnan(value)}


def unseen(cases: Sequence[Case]) -> np.ndarray:
    """The headline's rows: of the latest period, of channels set apart."""
    return np.flatnonzero([c.split == "look" and is_held_out(str(c.input.channel_id)) for c in cases])


def latest(cases: Sequence[Case]) -> np.ndarray:
    return np.flatnonzero([c.split == "look" for c in cases])


def random_split(cases: Sequence[Case], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows to measure, by drawing videos and not by time or channel, of what is not looked at."""
    keys = sorted({c.input.key for c in cases if c.split != "look"})
    apart = set(np.random.default_rng(seed).choice(keys, max(1, round(len(keys) * RANDOM_SHARE)), replace=False))
    inside = np.array([c.split != "look" for c in cases])
    measured = np.array([c.input.key in apart for c in cases]) & inside
    return np.flatnonzero(inside & ~measured), np.flatnonzero(measured)


def over_seeds(
    networks: Sequence[tuple[int, Network]], measure: Callable[[Network], dict[str, float]]
) -> list[dict[str, Any]]:
    return [{"seed": seed, "figures": measure(network)} for seed, network in networks]
