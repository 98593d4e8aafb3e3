"""Measures the exported model as its users will run it, through the file door."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from miles.score_file import score_file
from miles.scoring import Model
from training import calibrate, fit
from training.network import OUTPUTS, Network

logger = logging.getLogger(__name__)


def judge(model: Model, folder: Path, work: Path) -> dict[str, Any]:
    """What the judge's own code says of the model's scores on the judge's cases."""
    parts = []
    for mode in ("draft", "candidate"):
        out = work / f"scores_{mode}.parquet"
        n = score_file(folder / "cases" / f"inputs_{mode}.parquet", out, model)
        logger.info("scored %d cases of mode %s", n, mode)
        parts.append(pd.read_parquet(out))
    scores, figures = work / "scores.parquet", work / "figures.json"
    pd.concat(parts).to_parquet(scores)
    done = subprocess.run(
        [sys.executable, folder / "evaluate.py", scores, "--json", figures], capture_output=True, text=True, check=True
    )
    (work / "figures.txt").write_text(done.stdout)
    return json.loads(figures.read_text())


def reliability(cases: Path, work: Path) -> dict[str, list[dict[str, float]]]:
    """Promised against observed frequencies on the judge's cases, from the scores `judge` left in `work`."""
    out = {}
    for mode, event in (("draft", "top10"), ("candidate", "top10_growth_3d")):
        scores = pd.read_parquet(work / f"scores_{mode}.parquet")
        targets = pd.read_parquet(cases / f"targets_{mode}.parquet")
        both = scores.merge(targets[["video_id", event]].dropna(), on="video_id")
        out[mode] = calibrate.reliability(both[event].to_numpy(), both["viral_score"].to_numpy())
    return out


def per_member(network: Network, arrays: fit.Arrays, chosen: np.ndarray) -> dict[str, list[float]]:
    """Each member of the committee by itself, on the calibration month: how much the start matters."""
    rows = np.flatnonzero(chosen)
    drafts = rows[~np.isnan(arrays.draft_event[rows])]
    young = rows[~np.isnan(arrays.velocity[rows]) & (arrays.weight[rows] == 1)]
    out: dict[str, list[float]] = {"draft_spearman": [], "velocity_error_log10": []}
    whole = network.members
    for member in whole:
        network.members = type(whole)([member])
        answer = fit.answers(network, arrays, drafts)[:, OUTPUTS.index("draft_middle")]
        out["draft_spearman"].append(round(float(spearmanr(arrays.draft[drafts], answer)[0]), 4))
        answer = fit.answers(network, arrays, young)[:, OUTPUTS.index("candidate_middle")]
        out["velocity_error_log10"].append(round(float(np.median(np.abs(arrays.velocity[young] - answer))), 4))
    network.members = whole
    return out
