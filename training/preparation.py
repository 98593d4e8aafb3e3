"""Cases with their features, as training wants them. Knows nothing about files or networks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from miles import features
from training import dataset, fit, stages


@dataclass(frozen=True, slots=True)
class Prepared:
    """Cases with their features; row i of each list belongs to case i."""

    curve: features.GrowthCurve
    cases: list[dataset.Case]
    draft_base: float  # log10 views
    encoded: list[features.Features]
    outliers: list[float | None]
    limits: dict[str, float]


def prepare(daily: pd.DataFrame, periods: dataset.Periods) -> Prepared:
    curve = dataset.fit_growth_curve(daily, periods)
    cases = dataset.make_cases(daily, curve, periods)
    first_days = [c.views_24h for c in cases if c.split == "fit" and c.views_24h is not None]
    draft_base = round(float(np.median(first_days)), 5) if first_days else 0.0
    encoded = []
    progress = stages.Progress("features", len(cases))
    for i, case in enumerate(cases):
        encoded.append(features.encode(case.input, curve, draft_base))
        progress(i)
    outliers = [fit.outlier_of(case, f) for case, f in zip(cases, encoded, strict=True)]
    return Prepared(curve, cases, draft_base, encoded, outliers, dataset.thresholds(cases, outliers))
