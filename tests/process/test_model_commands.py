"""`python -m miles model …` as an operator uses it: real processes on a real database."""

import json
import shutil
from pathlib import Path

import model_versions
import pytest
from commands import answer, explained, miles

from miles import scoring

SHIPPED = json.loads((scoring.DEFAULT_FOLDER / "manifest.json").read_text())["version"]


def listed() -> dict[str, str]:
    return {one["version"]: one["state"] for one in answer("model", "list")["versions"]}


@pytest.mark.usefixtures("database")
def test_an_operator_tries_a_version_takes_it_and_goes_back(tmp_path: Path) -> None:
    assert listed() == {SHIPPED: "current"}
    other = model_versions.made(tmp_path / "other", "0.2.0+test", shift=0.5)
    assert answer("model", "shadow", other) == {"shadow": "0.2.0+test"}
    assert listed() == {SHIPPED: "current", "0.2.0+test": "shadow"}
    shutil.rmtree(other)  # Miles has its own copy
    assert answer("model", "activate", "0.2.0+test")["version"] == "0.2.0+test"
    assert listed() == {"0.2.0+test": "current", SHIPPED: "retired"}
    assert answer("model", "verify")["version"] == "0.2.0+test"
    outcome = answer("model", "rollback")
    assert (outcome["version"], outcome["left"]) == (SHIPPED, "0.2.0+test")
    assert listed() == {SHIPPED: "current", "0.2.0+test": "retired"}
    assert "nothing to go back to" in miles("model", "rollback", status=1).stderr
    shown = miles("model", "list").stdout
    assert "0.2.0+test" in shown
    assert "velocity Spearman" in shown


@pytest.mark.usefixtures("database")
def test_a_damaged_folder_is_refused_with_every_reason_and_changes_nothing(tmp_path: Path) -> None:
    before = listed()
    broken = shutil.copytree(scoring.DEFAULT_FOLDER, tmp_path / "broken")
    (broken / "text.onnx").write_bytes(b"x")
    (broken / "image.onnx").unlink()
    found = answer("model", "verify", broken, status=1)
    assert found["whole"] is False
    assert len(found["problems"]) == 2
    for command in ("activate", "shadow"):
        refusal = " ".join(miles("model", command, broken, status=1).stderr.split())
        assert "text.onnx is damaged" in refusal
        assert "image.onnx is missing" in refusal
    assert listed() == before


def test_a_folder_is_verified_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert "is whole" in miles("model", "verify", scoring.DEFAULT_FOLDER).stdout


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("command", ["activate", "shadow", "verify"])
def test_a_name_that_means_nothing_is_refused(command: str) -> None:
    assert "neither a version" in " ".join(miles("model", command, "9.9.9", status=1).stderr.split())


@pytest.mark.parametrize("command", ["list", "activate", "rollback", "verify", "shadow"])
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    assert "Example: " in explained("model", command)
