"""`python -m miles …` as a script or a person runs it: a real process."""

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from miles import cli
from miles.settings import PROJECT


def miles(*arguments: str | Path, status: int = 0, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, with what is typed into it, and hold it to its exit status; it never shows a traceback."""
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "miles", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "160"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert outcome.returncode == status, outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr
    return outcome


def explained(*command: str) -> str:
    """What --help says of a command, on one line; in this process: a start of its own for each would take most of the time."""
    outcome = CliRunner().invoke(cli.app, [*command, "--help"], env={"COLUMNS": "160"})
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout.replace("\n", " ")


def refused(*arguments: str) -> None:
    """Hold a wrong use to its exit status, and to an empty stdout; likewise in this process."""
    outcome = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "160"})
    assert (outcome.exit_code, outcome.stdout) == (2, ""), outcome.output
    assert "Usage: " in outcome.stderr


def answer(*arguments: str | Path, status: int = 0) -> dict:
    """The one JSON document that a command prints with --json."""
    return json.loads(miles(*arguments, "--json", status=status).stdout)
