"""Turns raw answers into promises: probabilities that come true, intervals that hold.

Fitted on a month that the network has not seen (May 2026). Pure: arrays in, numbers out.
"""

import numpy as np

COVERAGE = 0.8  # of the outcomes, which an interval is to hold


def platt(logit: np.ndarray, event: np.ndarray) -> tuple[float, float]:
    """(slope, shift) with P(event) = 1 / (1 + exp(-(slope · logit + shift))); Newton's method."""
    x = np.column_stack([logit, np.ones(len(logit))]).astype(np.float64)
    y, w = event.astype(np.float64), np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (y - p))
        w += step
        if np.abs(step).max() < 1e-9:
            break
    return round(float(w[0]), 6), round(float(w[1]), 6)


def conformal(low: np.ndarray, high: np.ndarray, y: np.ndarray, coverage: float = COVERAGE) -> tuple[float, float]:
    """(below, above) to widen [low, high] by, so that it holds `coverage` of the outcomes.

    Conformalized quantile regression (Romano et al. 2019), each side on its own: success has a
    longer tail upwards than downwards. Negative numbers narrow.
    """
    tail = (1 - coverage) / 2
    level = min(1.0, (1 - tail) * (len(y) + 1) / len(y))
    return (
        round(float(np.quantile(low - y, level, method="higher")), 6),
        round(float(np.quantile(y - high, level, method="higher")), 6),
    )


def reliability(event: np.ndarray, p: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """The calibration curve: per equally full bin, promised, observed, n."""
    order = [i for i in np.array_split(np.argsort(p, kind="stable"), bins) if len(i)]
    return [
        {"promised": round(float(p[i].mean()), 4), "observed": round(float(event[i].mean()), 4), "n": len(i)}
        for i in order
    ]
