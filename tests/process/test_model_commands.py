"""`python -m miles model …` as an operator uses it: real processes on a real database."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import model_versions
import pytest

from miles import scoring

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = json.loads((scoring.DEFAULT_FOLDER / "manifest.json").read_text())["version"]


def miles(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "miles", "model", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == status, outcome.stdout + outcome.stderr
    return outcome


def answer(*arguments: str | Path, status: int = 0) -> dict:
    return json.loads(miles(*arguments, "--json", status=status).stdout)


def listed() -> dict[str, str]:
    return {one["version"]: one["state"] for one in answer("list")["versions"]}


@pytest.mark.usefixtures("database")
def test_an_operator_tries_a_version_takes_it_and_goes_back(tmp_path: Path) -> None:
    assert listed() == {SHIPPED: "current"}
    other = model_versions.made(tmp_path / "other", "0.2.0+test", shift=0.5)
    assert answer("shadow", other) == {"shadow": "0.2.0+test"}
    assert listed() == {SHIPPED: "current", "0.2.0+test": "shadow"}
    shutil.rmtree(other)  # Miles has its own copy
    assert answer("activate", "0.2.0+test")["version"] == "0.2.0+test"
    assert listed() == {"0.2.0+test": "current", SHIPPED: "retired"}
    assert answer("verify")["version"] == "0.2.0+test"
    outcome = answer("rollback")
    assert (outcome["version"], outcome["left"]) == (SHIPPED, "0.2.0+test")
    assert listed() == {SHIPPED: "current", "0.2.0+test": "retired"}
    assert "nothing to go back to" in miles("rollback", status=1).stderr
    shown = miles("list").stdout
    assert "0.2.0+test" in shown
    assert "velocity Spearman" in shown


@pytest.mark.usefixtures("database")
def test_a_damaged_folder_is_refused_with_every_reason_and_changes_nothing(tmp_path: Path) -> None:
    before = listed()
    broken = shutil.copytree(scoring.DEFAULT_FOLDER, tmp_path / "broken")
    (broken / "text.onnx").write_bytes(b"x")
    (broken / "image.onnx").unlink()
    found = answer("verify", broken, status=1)
    assert found["whole"] is False
    assert len(found["problems"]) == 2
    for command in ("activate", "shadow"):
        refusal = " ".join(miles(command, broken, status=1).stderr.split())
        assert "text.onnx is damaged" in refusal
        assert "image.onnx is missing" in refusal
    assert listed() == before


def test_a_folder_is_verified_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert "is whole" in miles("verify", scoring.DEFAULT_FOLDER).stdout


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("command", ["activate", "shadow", "verify"])
def test_a_name_that_means_nothing_is_refused(command: str) -> None:
    assert "neither a version" in " ".join(miles(command, "9.9.9", status=1).stderr.split())


@pytest.mark.parametrize("command", ["list", "activate", "rollback", "verify", "shadow"])
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    assert "Example: " in miles(command, "--help").stdout.replace("\n", " ")
