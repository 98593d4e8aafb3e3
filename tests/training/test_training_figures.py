"""The figures of the model card: that they measure what they say, and that the card shows them all."""

import importlib.util
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training import card, evaluate, figures

SHARED = os.environ.get("MILES_SHARED", "")  # read here: no test sees the developer's variables


def drafts(n: int = 600, seed: int = 0, honest: bool = True) -> pd.DataFrame:
    """A table of drafts whose outlier is half foretold; probabilities as they come true, or not."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.6, n)
    outlier = rng.normal(0, 0.5, n)
    event = rng.random(n) < (p if honest else p / 3)
    middle = 4.5 + outlier / 2 + rng.normal(0, 0.2, n)
    return pd.DataFrame(
        {
            "video_id": [f"v{i}" for i in range(n)],
            "channel_id": [f"c{i % 60}" for i in range(n)],
            "seen": [i % 60 >= 12 for i in range(n)],
            "published_at": pd.Timestamp("2026-06-01", tz="UTC") + pd.to_timedelta(np.arange(n) // 20, "D"),
            "category_id": rng.choice([10, 20, 24, 99], n, p=[0.3, 0.5, 0.15, 0.05]),
            "default_language": rng.choice(np.array(["en", "pt-BR", None], dtype=object), n),
            "duration": rng.choice([30, 60, 61, 180, 181, np.nan], n),
            "h_n": rng.choice([3.0, 8.0, 20.0], n),
            "h_med": rng.uniform(3.5, 6.5, n),
            "h_mean3": rng.uniform(3.5, 6.5, n),
            "h_last": rng.uniform(3.5, 6.5, n),
            "h_sd": rng.uniform(0, 1, n),
            "outlier": outlier,
            "log10_views_24h": 4.5 + outlier,
            "top10": event.astype(int),
            "viral_score": p,
            "predicted_multiple": 10 ** (middle - 4.5),
            "velocity_low": 10 ** (middle - 0.4),
            "velocity_high": 10 ** (middle + 0.4),
        }
    )


def candidates(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = drafts(n, seed).drop(columns=["outlier", "log10_views_24h", "top10", "predicted_multiple"])
    log = rng.uniform(1, 6, n)
    said = log + rng.normal(0, 0.3, n)
    age = rng.uniform(0.25, 3, n)
    return table.assign(
        age_days=age,
        views=10 ** (log + rng.normal(0, 0.5, n)) * age,
        likes=1.0,
        velocity_3d=10**log,
        log10_velocity_3d=log,
        velocity_7d=10**log / 2,
        log10_velocity_7d=log - np.log10(2),
        top10_growth_3d=(rng.random(n) < table["viral_score"]).astype(float),
        predicted_velocity=10**said,
        predicted_velocity_7d=10 ** (said - 0.3),
        velocity_low=10 ** (said - 0.4),
        velocity_high=10 ** (said + 0.4),
        simple=10 ** rng.uniform(1, 6, n),
    )


def past(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    age, category = rng.uniform(0.25, 3, n), rng.choice([10, 20], n)
    rate = 10 ** rng.uniform(2, 5, n)
    return pd.DataFrame(
        {
            "age_days": age,
            "category_id": category,
            "rate": rate,
            "velocity_3d": rate * np.where(category == 10, 0.5, 0.1),
            "velocity_7d": rate * 0.05,
        }
    )


def test_a_coin_and_an_oracle_are_told_apart():
    rng = np.random.default_rng(0)
    y = rng.normal(0, 1, 2000)
    event = y > 1
    assert figures.spearman(y, y**3) == pytest.approx(1)
    assert abs(figures.spearman(y, rng.normal(0, 1, 2000))) < 0.06
    assert figures.auroc(event, y) == 1
    assert figures.auroc(event, rng.random(2000)) == pytest.approx(0.5, abs=0.05)
    assert figures.average_precision(event, y) == 1
    assert figures.average_precision(event, rng.random(2000)) == pytest.approx(event.mean(), abs=0.05)
    assert np.isnan(figures.auroc(np.zeros(5), np.arange(5)))
    assert np.isnan(figures.spearman(np.ones(5), np.arange(5.0)))


def test_true_promises_have_no_more_error_than_chance_makes():
    p = np.random.default_rng(0).uniform(0, 1, 3000)
    event = (np.random.default_rng(1).random(3000) < p).astype(float)
    assert figures.ece(event, p) < 2 * figures.ece_of_perfect(p) < 0.06
    assert figures.ece(event, p / 3) > 0.2
    assert figures.ece_of_perfect(p[:100]) > 2 * figures.ece_of_perfect(p)


def test_the_bootstrap_draws_whole_channels():
    """A channel's videos are alike: an interval that took them for independent would be far too narrow."""
    level = np.repeat(np.random.default_rng(0).normal(0, 1, 40), 50)
    channels = np.repeat(np.arange(40), 50)
    mean, low, high = figures.Clusters(channels)(lambda r: level[r].mean())
    _, narrow_low, narrow_high = figures.Clusters(np.arange(2000))(lambda r: level[r].mean())
    assert low < mean < high
    assert high - low > 3 * (narrow_high - narrow_low)


def test_every_case_is_in_one_slice_of_each_kind():
    for mode, table in (("draft", drafts()), ("candidate", candidates())):
        for by, labels in figures.slice_labels(table, mode).items():
            assert labels.notna().all(), by
    labels = figures.slice_labels(drafts(), "draft")
    duration = drafts()["duration"]
    assert set(labels["duration"][duration == 60]) == {"up to 60 s"}
    assert set(labels["duration"][duration == 61]) == {"61 to 180 s"}
    assert set(labels["duration"][duration.isna()]) == {"unknown"}
    assert set(labels["language"]) == {"en", "pt", "unknown"}
    assert set(labels["category"]) == {"Gaming", "Music", "other"}  # rare ones together
    assert (labels["usual of the channel"][drafts()["h_n"] == 3].str.startswith("no usual")).all()


def test_a_slice_has_the_figures_of_its_own_cases():
    table = drafts()
    rows = {(r["by"], r["slice"]): r for r in figures.slices(table, "draft", draws=20)}
    music = table[table["category_id"] == 10]
    assert rows["category", "Music"]["n"] == len(music)
    assert rows["category", "Music"]["spearman"][0] == pytest.approx(
        figures.spearman(music["outlier"].to_numpy(), music["predicted_multiple"].to_numpy())
    )
    inside = music["log10_views_24h"].between(np.log10(music["velocity_low"]), np.log10(music["velocity_high"]))
    assert rows["category", "Music"]["coverage"][0] == pytest.approx(inside.mean())
    assert sum(r["n"] for r in rows.values() if r["by"] == "channel") == len(table)


def test_the_worst_slice_is_the_farthest_and_large_enough():
    rows = [
        {"by": "all", "slice": "all", "n": 9000, "coverage": [0.1, 0, 0]},
        {"by": "age", "slice": "a", "n": 500, "coverage": [0.78, 0, 0]},
        {"by": "age", "slice": "b", "n": 500, "coverage": [0.86, 0, 0]},
        {"by": "age", "slice": "tiny", "n": 40, "coverage": [0.2, 0, 0]},
    ]
    worst = figures.worst(rows, "coverage", 0.8)
    assert worst is not None
    assert worst["slice"] == "b"
    assert figures.worst(rows[-1:], "coverage", 0.8) is None


def test_the_simple_forecast_is_what_was_left_of_the_rate_before():
    decay = figures.Decay(past())
    ages = np.array([0.4, 1.2, 2.9])
    np.testing.assert_allclose(decay("3d", ages, pd.Series([10, 20, 10])), [0.5, 0.1, 0.5])
    np.testing.assert_allclose(decay("7d", ages), 0.05)
    plain = decay("3d", ages)
    np.testing.assert_allclose(decay("3d", ages, pd.Series([None, 99, None])), plain)  # an unknown category: of all
    assert np.isfinite(figures.Decay(past().head(0))("3d", ages)).all()


def test_videos_that_are_seen_again_are_counted():
    def seen(video: str, *days: float) -> list[dict[str, Any]]:
        start = pd.Timestamp("2026-03-01", tz="UTC")
        return [{"video_id": video, "fetched_at": start + pd.Timedelta(days=d), "age": 0.5 + d} for d in days]

    daily = pd.DataFrame([*seen("a", 0, 1, 3), *seen("b", 0, 1), *seen("c", 0, 7), *seen("d", 0)])
    old = pd.DataFrame([{"video_id": "old", "fetched_at": pd.Timestamp("2026-03-01", tz="UTC"), "age": 9.0}])
    found = evaluate.followed(pd.concat([daily, old]))
    assert (found["n"], found["3d"], found["7d"], found["videos"]) == (4, 0.25, 0.25, 5)


def found(draft: pd.DataFrame, candidate: pd.DataFrame) -> dict[str, Any]:
    """evaluation.json of invented tables."""
    tables = {"draft": draft, "candidate": candidate}
    part = {"n": 500, "spearman": [0.8, 0.7, 0.9], "auroc": [0.7, 0.6, 0.8], "ece": [0.02, 0.01, 0.03]}
    said = {"no_history": 1.0, "outside": 0.25, "viral_score": [0.1, 0.2, 0.3], "base_rate": 0.1}
    whole = {
        "model_version": "0.0.0+test",
        "measured_by": "invented cases",
        "cases": {mode: evaluate._cases(table) for mode, table in tables.items()},
        "judged": {"draft": figures.drafts(draft, 20), "candidate": figures.candidates(candidate, figures.Decay(past()), 20)},
        "reliability": {mode: figures.reliability(t, evaluate.EVENTS[mode], 20) for mode, t in tables.items()},
        "slices": {mode: figures.slices(table, mode, 20) for mode, table in tables.items()},
        "missing": {mode: [{"hidden": "nothing", "coverage": [0.8, 0.7, 0.9], "no_history": 0.0} | part] for mode in tables},
        "ordinary": {
            "random": {
                "n": 60, "median_views": 157.0, "title_spearman": [0.1, 0.0, 0.2],
                "draft": said | {"velocity": [10.0, 2e3, 3e6], "more_in_a_day_than_they_ever_had": 0.95},
                "candidate": said | {"velocity": [1.0, 2.0, 3.0], "median_rate_so_far": 0.4, "above_rate": 0.8},
            },
            "channels": {
                "n": 90, "channels": 6, "pairs": 30, "said": said,
                "by_predicted_velocity": [0.51, 0.49, 0.53], "by_viral_score": [0.48, 0.46, 0.5],
            },
        },
        "fp32": {"n": 100, "draft viral_score": 0.9991, "bytes": 24e6, "bytes_fp32": 100e6},
    }  # fmt: skip
    return json.loads(json.dumps(evaluate._tidy(whole)))


FACTS: dict[str, Any] = {
    "version": "0.0.0+test",
    "made": "2026-11-21",
    "members": 2,
    "encoders": {"text": "some BERT", "image": "some ResNet"},
    "base_rates": {"draft": 0.098, "candidate": 0.093},
    "periods": {"fit_until": "2026-05-01", "calibrate_until": "2026-06-01"},
    "data": {
        "name": "Invented", "trending": True, "videos": 10, "channels": 2, "observations": 50, "from": "a", "to": "b",
        "shares": {"categories": {"Gaming": 0.5}, "up_to_60_s": 0.01, "up_to_180_s": 0.14, "english": None},
    },
    "metrics": {
        "image": None,
        "cases": {"fit draft": 1234},
        "followed": {"n": 4321, "3d": 0.23, "7d": 0.09},
        "seeds": [{"seed": s, "figures": {"draft Spearman": x}} for s, x in enumerate((0.371, 0.382, 0.393))],
        "random_split": {"random": {"draft Spearman": 0.551}, "protocol": {"draft Spearman": 0.377}},
    },
}  # fmt: skip


def leaves(x: Any) -> list[list[float]]:
    """All figures with an interval, wherever they stand."""
    if isinstance(x, list) and len(x) == 3 and all(isinstance(v, float) for v in x):
        return [x]
    values = x.values() if isinstance(x, dict) else x if isinstance(x, list) else ()
    return [leaf for value in values for leaf in leaves(value)]


def test_the_card_shows_every_figure_that_was_measured():
    measured = found(drafts(), candidates())
    text = card.write(FACTS, measured, 26_000_000)
    judged = measured["judged"]
    for part in (judged["draft"], judged["candidate"]):
        for group in part.values():  # what the judge gives beyond our tables: a third baseline, far pairs
            group.pop(figures.LAST, None)
            group.get("label top10_growth_3d", {}).pop(figures.LIKES, None)
            for who in group.values():
                if isinstance(who, dict):
                    who.pop("pairwise_2x", None)
    shown = leaves([judged, measured["slices"], measured["reliability"], measured["missing"]])
    assert len(shown) > 150
    for one in shown:
        assert card.figure(one) in text, one
    for says in (
        "0.371",
        "0.022",
        "0.551",
        "0.99910",
        "4,321",
        "23 in 100",
        "reliability.svg",
        "1,234",
        "not measured",
    ):
        assert says in text, says
    assert "nan" not in text
    assert "None" not in text


def test_a_missed_bar_is_called_missed():
    def verdicts(draft: pd.DataFrame) -> dict[str, str]:
        return {bar.name: bar.verdict for bar in card.bars(FACTS, found(draft, candidates()), 26_000_000)}

    good = verdicts(drafts())
    bad = verdicts(drafts(honest=False).assign(predicted_multiple=np.random.default_rng(5).random(600)))
    assert good["draft Spearman, unseen channels"] == "aim"
    assert bad["draft Spearman, unseen channels"] == "missed"
    assert bad["draft ECE, all channels"] == "missed"
    assert bad["files, MB"] == "aim"
    assert bad["files, share of fp32"] == "must"


def test_the_reliability_figure_is_an_image_with_a_point_for_each_bin():
    curves = found(drafts(), candidates())["reliability"]
    root = ET.fromstring(card.reliability_figure(curves))  # noqa: S314  # our own
    points = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(points) == sum(map(len, curves.values())) == 20
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)
    for point in points:
        assert 0 < float(point.get("cx") or 0) < width
        assert 0 < float(point.get("cy") or 0) < height


def test_a_score_without_its_base_rate_or_note_is_not_let_through():
    scores = pd.DataFrame(
        {
            "mode": ["draft", "draft", "candidate"],
            "base_rate": [0.1, 0.1, 0.09],
            "model_version": "v",
            "predicted_multiple": [1.2, None, None],
            "note": [None, "no channel history: fewer than 5", None],
        }
    )
    evaluate.be_honest(scores)
    for column, value in (("base_rate", None), ("model_version", None), ("note", None)):
        with pytest.raises(AssertionError):
            evaluate.be_honest(scores.assign(**{column: value}))


@pytest.mark.skipif(not SHARED, reason="MILES_SHARED names no folder with the judge's code")
def test_our_figures_are_the_judges():
    """On invented scores of the judge's own cases, within what rounding makes."""
    folder = Path(SHARED) / "judge"
    spec = importlib.util.spec_from_file_location("judge", folder / "evaluate.py")
    assert spec
    assert spec.loader
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    rng = np.random.default_rng(0)

    def table(mode: str) -> pd.DataFrame:
        inputs = pd.read_parquet(folder / "cases" / f"inputs_{mode}.parquet")
        targets = pd.read_parquet(folder / "cases" / f"targets_{mode}.parquet")
        both = targets.merge(inputs.drop(columns=["channel_id"]), on="video_id").head(2500)
        noise = 10 ** rng.normal(0, 0.5, len(both))
        both["viral_score"] = rng.random(len(both))
        both["predicted_multiple"] = noise
        both["predicted_velocity"] = both.get("velocity_3d", 1.0) * noise
        both["predicted_velocity_7d"] = both.get("velocity_7d", 1.0) * noise
        both["velocity_low"], both["velocity_high"] = both["predicted_velocity"] / 3, both["predicted_velocity"] * 3
        return both

    def same(ours: dict[str, Any], theirs: dict[str, Any]) -> int:
        n = 0
        for key, value in ours.items():
            if isinstance(value, dict):
                n += same(value, theirs[key])
            else:
                np.testing.assert_allclose(value, theirs[key], rtol=1e-9, err_msg=key)
                n += 1
        return n

    def decay(horizon: str, ages: np.ndarray, categories: pd.Series | None = None) -> np.ndarray:
        return code.decay(ages, horizon, categories)

    judged = table("draft")
    assert same(figures.drafts(judged, 20), code.draft(judged, 20)) > 60
    judged = table("candidate")
    assert same(figures.candidates(judged, decay, 20), code.candidate(judged, 20)) > 60  # type: ignore[arg-type]
