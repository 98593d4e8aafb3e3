"""A whole training run on invented data: repeatable to the byte, resumable, and never half done."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from miles import registry, scoring
from miles.errors import MilesError
from training import __main__ as training
from training import evaluate, fit, stages, trials

# Of torch, about itself, while it exports.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore::DeprecationWarning:torch.*"),
    pytest.mark.timeout(1800),  # whole runs; half a minute each on a machine of their own
]


class Killed(BaseException):
    """What an interruption looks like from inside."""


def options(data: Path, bert: Path, folder: Path, *more: str) -> list[str]:
    return [
        *("--data", str(data), "--text-encoder", str(bert), "--out", str(folder / "model")),
        *("--work", str(folder / "work"), "--epochs", "2", "--image-epochs", "1", "--threads", "1"),
        *("--made", "2026-11-21", *more),
    ]


@pytest.fixture(scope="module")
def whole(data_folder: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ and work/ of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert training.main(options(data_folder, bert, folder)) == folder / "model"
    return folder


def test_a_run_makes_a_whole_model_with_all_that_it_promises(whole: Path):
    folder = whole / "model"
    assert registry.verify(folder) == []
    model = scoring.load(folder)
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["model_version"] == model.version
    assert set(found) >= {"judged", "slices", "reliability", "missing", "ordinary"}
    assert found["judged"]["draft"]["unseen channels"]["n"] > 30
    assert found["slices"]["candidate"]
    metrics = model.manifest["metrics"]
    assert metrics["judge"] == found["judged"]  # what the registry shows
    assert len(metrics["seeds"]) == trials.SEEDS
    assert len({json.dumps(s["figures"]) for s in metrics["seeds"]}) == trials.SEEDS
    assert set(metrics["random_split"]["random"]) == set(metrics["random_split"]["protocol"]) != set()
    assert metrics["followed"]["3d"] > 0.9  # these invented videos are seen daily
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# Model card: Miles {model.version}")
    assert "reliability.svg" in card
    assert (folder / "reliability.svg").read_text().startswith("<svg")
    assert not list(folder.glob(".*"))


def test_an_interrupted_run_goes_on_where_it_was_and_ends_with_the_same_bytes(
    whole: Path, data_folder: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed after two networks, and again after the export; in another folder, so the whole is also repeated."""
    fitted = []
    real_fit = fit.fit

    def fit_two(*given: Any) -> Any:
        if len(fitted) == 2:
            raise Killed
        fitted.append(given[2])
        return real_fit(*given)

    def killed(*_: Any) -> None:
        raise Killed

    old = tmp_path / "model" / "old"
    old.mkdir(parents=True)
    arguments = options(data_folder, bert, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit", fit_two)
        with pytest.raises(Killed):
            training.main(arguments)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit", lambda *given: fitted.append(given[2]) or real_fit(*given))
        patch.setattr(evaluate, "measure", killed)
        with pytest.raises(Killed):
            training.main(arguments)
    assert fitted == [0, 1, 2, 0]  # each network once, then the one of the random split
    assert old.exists(), "what was there stays until the new one is whole"

    with monkeypatch.context() as patch:
        for module, name in ((fit, "fit"), (training, "exported_text"), (training, "prepare")):
            patch.setattr(module, name, killed)
        patch.setattr(training.image_encoder, "fit", killed)
        patch.setattr(training.Vectors, "_encode", killed)
        training.main(arguments)
    assert not old.exists()
    for path in sorted((whole / "model").iterdir()):
        assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes(), path.name
    assert len(list((tmp_path / "model").iterdir())) == len(list((whole / "model").iterdir()))


def test_another_seed_makes_another_version_and_fits_anew(whole: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    monkeypatch.setattr(stages.Stages, "make", lambda self, name, make, *needs, code=(): made.append(name) or make())
    run = stages.Stages(whole / "other", 1)
    args = training.arguments(["--data", "x", "--seed", "1"])
    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit", lambda *given: given[2])
        seeds = training.fit_members(run, args, None, None, np.zeros(1), [], None)  # type: ignore[arg-type]
    assert seeds == [1000, 1001, 1002]
    assert made == ["network-0", "network-1", "network-2"]


def test_the_evaluation_runs_alone_and_says_the_same(whole: Path, tmp_path: Path):
    shutil.copytree(whole / "model", tmp_path / "model")
    for name in ("README.md", "evaluation.json", "reliability.svg"):
        (tmp_path / "model" / name).write_text("gone")
    evaluate.main(
        [
            *("--model", str(tmp_path / "model"), "--cases", str(whole / "work" / "cases")),
            *("--work", str(tmp_path / "work"), "--fp32", str(whole / "model")),
        ]
    )
    before = json.loads((whole / "model" / "evaluation.json").read_text())
    after = json.loads((tmp_path / "model" / "evaluation.json").read_text())
    assert after["judged"] == before["judged"]
    assert after["slices"] == before["slices"]
    assert after["missing"] == before["missing"]
    assert after["fp32"]["draft viral_score"] == 1.0
    assert after["fp32"]["bytes"] == after["fp32"]["bytes_fp32"]
    assert "What 8 bits cost" in (tmp_path / "model" / "README.md").read_text()
    assert registry.verify(tmp_path / "model") == []


def test_hidden_parts_are_hidden(whole: Path):
    rows = {
        row["hidden"]: row for row in json.loads((whole / "model" / "evaluation.json").read_text())["missing"]["draft"]
    }
    assert rows["nothing"]["no_history"] == 0
    assert rows["the channel's history"]["no_history"] == 1
    assert rows["nothing"]["spearman"] != rows["category, duration, language"]["spearman"]
    assert rows["nothing"]["spearman"][0] > rows["the channel's history"]["spearman"][0]  # the level is lost


def test_the_cases_to_look_at_are_later_and_hold_no_answer(whole: Path):
    for mode in ("draft", "candidate"):
        inputs = pd.read_parquet(whole / "work" / "cases" / f"inputs_{mode}.parquet")
        targets = pd.read_parquet(whole / "work" / "cases" / f"targets_{mode}.parquet")
        assert (inputs["published_at"] >= pd.Timestamp("2026-06-01", tz="UTC")).all()
        assert list(inputs["video_id"]) == list(targets["video_id"])
        assert inputs["video_id"].is_unique
        assert not set(inputs) & {"outlier", "top10", "velocity_3d", "top10_growth_3d"}
        assert 0 < (~targets["seen"]).sum() < len(targets)
        if mode == "draft":
            assert inputs["views"].isna().all()
            assert (inputs["h_n"] >= 5).all()


def test_a_step_is_made_anew_when_anything_that_makes_it_changes(tmp_path: Path):
    made = []
    data = tmp_path / "data.txt"
    data.write_text("1")

    def run(*needs: object) -> stages.Made[int]:
        return stages.Stages(tmp_path / "work", 1).make("step", lambda: made.append(1) or len(made), *needs, code=[fit])

    first = run(data, 0.5)
    assert run(data, 0.5) == first
    assert len(made) == 1
    assert run(data, 0.6).fingerprint != first.fingerprint
    data.write_text("2")
    second = run(data, 0.5)
    assert second.fingerprint != first.fingerprint
    assert run(second).fingerprint != run(first).fingerprint
    assert len(made) == 5
    assert len(list((tmp_path / "work").glob("step-*"))) == stages.KEPT


def test_a_step_that_was_killed_leaves_nothing_that_looks_whole(tmp_path: Path):
    def half() -> np.ndarray:
        raise Killed

    run = stages.Stages(tmp_path, 1)
    with pytest.raises(Killed):
        run.make("step", half)
    assert run.make("step", lambda: 7).value == 7


def test_a_long_loop_says_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: now[0])
    progress = stages.Progress("titles", 400)
    with caplog.at_level("INFO"):
        for done in range(100, 401, 100):
            now[0] += 30
            progress(done)
    assert "titles: 100 of 400, about 1 min 30 s left" in caplog.text
    assert stages.duration(59.4) == "59 s"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--data", "{tmp}"], "There is no youtube_trending_2025_26.parquet in"),
        (["--data", "{data}", "--device", "cuda"], "no GPU"),
        (["--data", "{data}", "--judge", "{tmp}"], "has no evaluate.py"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(
    given: list[str], says: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)
    given = [one.format(tmp=tmp_path, data=data_folder) for one in given]
    with pytest.raises(SystemExit, match=says):
        training.main([*given, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "model")])
    assert not (tmp_path / "model").exists()


def test_a_model_of_ones_own_never_replaces_the_shipped_one(tmp_path: Path):
    with pytest.raises(MilesError, match="does not replace it"):
        training.where_to(training.SHIPPED, from_database=True)
    assert training.where_to(None, from_database=False) == training.SHIPPED
    assert training.where_to(None, from_database=True) is None
    assert isinstance(training.arguments(["--from-database"]), argparse.Namespace)
