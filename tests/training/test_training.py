"""The training code. Needs training/requirements.txt; run with `pytest tests/training`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from miles import features
from miles.features import CONTEXT, HISTORY, PAST, GrowthCurve
from training import calibrate, dataset, export, fit
from training.network import IMAGE, OUTPUTS, Network

# Of torch, about itself, while it exports.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore::DeprecationWarning:torch.*")

WIDTH = 16  # of the title vectors in these tests
CURVE = GrowthCurve((0.25, 1.0, 8.0), (-0.5, 0.0, 0.5))


def random_inputs(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows with gaps everywhere, as real ones have."""
    rng = torch.Generator().manual_seed(seed)
    context = torch.randn(n, len(CONTEXT), generator=rng)
    context[torch.rand(context.shape, generator=rng) < 0.3] = torch.nan
    history = torch.randn(n, HISTORY, len(PAST), generator=rng)
    for i in range(n):
        history[i, i % (HISTORY + 1) :] = torch.nan
    image = torch.randn(n, IMAGE, generator=rng)
    image[::2] = torch.nan
    unit = torch.nn.functional.normalize
    return {
        "context": context,
        "title": unit(torch.randn(n, WIDTH, generator=rng), dim=-1),
        "history_titles": unit(torch.randn(n, HISTORY, WIDTH, generator=rng), dim=-1),
        "history": history,
        "image": image,
    }


def run(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


def observations(days: int = 200, channels: int = 12) -> pd.DataFrame:
    """Invented observations in the shape of `read_observations`: a video a day, each seen daily."""
    rng, rows = np.random.default_rng(0), []
    start = datetime(2025, 12, 20, 9, tzinfo=UTC)
    for channel in range(channels):
        for day in range(0, days, 2):
            published = start + timedelta(days=day, hours=channel)
            level = 1e4 * (channel + 1) * 10 ** rng.normal(0, 0.3)
            for seen in range(6):
                at = published + timedelta(hours=17 + 24 * seen)
                age = (at - published) / timedelta(days=1)
                rows.append(
                    {
                        "video_id": f"{channel}-{day:03}",
                        "fetched_at": pd.Timestamp(at),
                        "published_at": pd.Timestamp(published),
                        "views": int(level * age**0.5),
                        "likes": 10,
                        "comments": 1,
                        "countries": 1,
                        "title": f"Title {channel} {day}",
                        "channel_id": f"channel {channel}",
                        "category_id": 20,
                        "default_language": "en",
                        "duration": 300,
                        "age": age,
                    }
                )
    return pd.DataFrame(rows).sort_values(["video_id", "fetched_at"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def cases() -> list[dataset.Case]:
    return dataset.make_cases(observations(), CURVE)


def arrays_of(cases: list[dataset.Case]) -> fit.Arrays:
    encoded = [features.encode(case.input, CURVE, 4.0) for case in cases]
    limits = dataset.thresholds(cases, [fit.outlier_of(c, f) for c, f in zip(cases, encoded, strict=True)])
    titles = sorted({t for c, f in zip(cases, encoded, strict=True) for t in (c.input.title, *f.history_titles)})
    vectors = np.random.default_rng(0).normal(size=(len(titles), WIDTH)).astype(np.float16)
    return fit.to_arrays(cases, encoded, limits, {t: i for i, t in enumerate(titles)}, vectors)


def test_the_exported_fusion_agrees_with_the_trained_one(tmp_path):
    torch.manual_seed(0)
    network = Network(len(CONTEXT), WIDTH, members=2).eval()
    network.mean.normal_()
    for member in network.members:
        torch.nn.init.normal_(member.image.weight)
    export.write_fusion(network, WIDTH, tmp_path / "miles.onnx")
    inputs = random_inputs(25)
    with torch.no_grad():
        trained = network(**inputs).numpy()
    for i in range(25):
        exported = run(tmp_path / "miles.onnx", {k: v[i : i + 1].numpy() for k, v in inputs.items()})
        np.testing.assert_allclose(exported[0], trained[i], atol=1e-4)
    assert np.isfinite(trained).all()
    assert trained.shape == (25, len(OUTPUTS))


def test_exports_say_nothing_of_the_machine_and_repeat_to_the_byte(tmp_path):
    torch.manual_seed(0)
    network = Network(len(CONTEXT), WIDTH, members=1).eval()
    for name in ("a.onnx", "b.onnx"):
        export.write_fusion(network, WIDTH, tmp_path / name)
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    assert b"/training/" not in content
    assert b"site-packages" not in content


def test_nothing_is_learnt_from_a_channel_set_apart_or_published_in_june(cases):
    assert {case.split for case in cases} == {"fit", "calibrate", "look"}
    for case in cases:
        june = case.input.published_at >= dataset.PERIODS.calibrate_until
        assert (case.split == "look") == june
        assert june or not dataset.is_held_out(case.input.channel_id)
        assert (case.split == "fit") == (case.input.published_at < dataset.PERIODS.fit_until)
    held_out = [f"channel {i}" for i in range(12) if dataset.is_held_out(f"channel {i}")]
    assert held_out, "the invented channels should include one that is set apart"


def test_no_case_knows_what_came_after_it(cases):
    for case in cases:
        video = case.input
        until = video.published_at if video.mode == "draft" else video.observed_at
        assert len(video.history) <= HISTORY
        for past in video.history:
            assert past.published_at < video.published_at
            assert past.observed_at < until
        assert (video.views is None) == (case.views_24h is not None)


def test_a_later_observation_changes_no_earlier_case(cases):
    """Cut the data at a moment: cases whose outcome was known by then stay as they were."""
    cut = pd.Timestamp("2026-03-01", tz="UTC")
    daily = observations()
    before = dataset.make_cases(daily[daily["fetched_at"] < cut].reset_index(drop=True), CURVE)
    whole = {(c.input.key, c.input.observed_at): c.input for c in cases}
    assert before
    for case in before:
        assert whole[case.input.key, case.input.observed_at] == case.input


def test_thresholds_look_at_fitted_cases_only(cases):
    encoded = [features.encode(case.input, CURVE, 4.0) for case in cases]
    outliers = [fit.outlier_of(c, f) for c, f in zip(cases, encoded, strict=True)]
    changed = [c if c.split == "fit" else replace(c, velocity_3d=None if c.velocity_3d is None else 9.0) for c in cases]
    assert dataset.thresholds(cases, outliers) == dataset.thresholds(changed, outliers)


def test_the_growth_curve_finds_the_growth():
    curve = dataset.fit_growth_curve(observations())
    assert curve.gain(1.0) == pytest.approx(0, abs=1e-6)
    assert curve.gain(4.0) == pytest.approx(0.5 * np.log10(4), abs=0.03)  # views ~ age ** 0.5


def test_the_same_seed_gives_the_same_network_and_another_another(cases):
    arrays = arrays_of(cases)
    rows = np.arange(len(arrays))
    a, b, c = (fit.answers(fit.fit(arrays, rows, seed, 1, 1), arrays, rows) for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_hiding_a_channel_asks_a_draft_relative_to_all_channels(cases, monkeypatch):
    monkeypatch.setattr(fit, "HIDE", {"channel": 1.0})
    monkeypatch.setattr(fit, "HIDE_NUMBER", 0.0)
    arrays = arrays_of(cases)
    rows = np.flatnonzero(~np.isnan(arrays.draft_event))
    hidden, moved = fit.hide(fit.batch_inputs(arrays, rows), torch.Generator().manual_seed(0))
    assert torch.isnan(hidden["history"]).all()
    views = arrays.draft[rows] + moved.numpy() + 4.0
    expected = [cases[i].views_24h for i in rows]
    np.testing.assert_allclose(views, expected, atol=1e-4)


def expected_calibration_error(event: np.ndarray, p: np.ndarray, bins: int = 10) -> float:
    """Mean gap between promised and observed frequency over ten equally full bins."""
    order = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(len(i) / len(p) * abs(event[i].mean() - p[i].mean()) for i in order if len(i)))


def test_platt_finds_the_true_probabilities_again():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 40_000)
    event = rng.random(40_000) < 1 / (1 + np.exp(-(0.5 * logit - 1)))
    slope, shift = calibrate.platt(logit, event)
    assert (slope, shift) == (pytest.approx(0.5, abs=0.03), pytest.approx(-1, abs=0.05))
    p = 1 / (1 + np.exp(-(slope * logit + shift)))
    assert expected_calibration_error(event, p) < 0.01
    assert expected_calibration_error(event, np.full(40_000, 0.9)) > 0.3


def test_conformal_intervals_hold_as_much_as_they_promise():
    rng = np.random.default_rng(0)
    y, fresh = rng.normal(0, 1, 4000), rng.normal(0, 1, 4000)
    below, above = calibrate.conformal(np.full(4000, -0.5), np.full(4000, 0.5), y, coverage=0.8)
    held = (fresh >= -0.5 - below) & (fresh <= 0.5 + above)
    assert held.mean() == pytest.approx(0.8, abs=0.02)
