"""`python -m miles …` as a script or a person runs it: a real process."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


def answer(*arguments: str | Path, status: int = 0) -> dict:
    """The one JSON document that a command prints with --json."""
    return json.loads(miles(*arguments, "--json", status=status).stdout)
