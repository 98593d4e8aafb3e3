"""Schedules outside Miles: the workflow and the cron lines that the docs give name commands that there are."""

import re
import shlex
from typing import Any

import pytest
import typer
import yaml

from miles import collecting
from miles.cli import app
from miles.settings import PROJECT

WORKFLOW = PROJECT / "deploy" / "github-collect.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return yaml.safe_load(WORKFLOW.read_text())


def commands(written: str) -> list[list[str]]:
    """The arguments of each `python -m miles …` of a script or a page."""
    found = re.findall(r"python -m miles ((?:\"[^\"]*\"|'[^']*'|[^\s;|&`]+|[ ])+)", written)
    return [shlex.split(one) for one in found]


def check(arguments: list[str]) -> None:
    """Raise for a command or an option that there is not; run nothing."""
    command: Any = typer.main.get_command(app)
    name = "miles"
    while hasattr(command, "commands"):
        name, *arguments = arguments
        if name not in command.commands:
            raise LookupError(f"No such command: {name}")
        command = command.commands[name]
    command.make_context(name, list(arguments))


def scripts(workflow: dict[Any, Any]) -> list[str]:
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def test_the_workflow_runs_commands_that_there_are(workflow: dict[Any, Any]) -> None:
    found = [one for script in scripts(workflow) for one in commands(script)]
    assert {one[0] for one in found} == {"migrate", "collect", "tidy"}
    for one in found:
        check(one)


@pytest.mark.parametrize("wrong", [["collet", "x"], ["collect", "x", "--limt", "20"], ["collect"], ["tidy", "x"]])
def test_a_command_that_is_not_there_would_be_found(wrong: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|Missing|unexpected extra"):
        check(wrong)


def test_the_workflow_comes_every_six_hours_alone_and_ends(workflow: dict[Any, Any]) -> None:
    triggers = workflow[True]  # YAML 1.1 reads the key `on` so
    (schedule,) = triggers["schedule"]
    assert re.fullmatch(r"\d{1,2} \*/6 \* \* \*", schedule["cron"])
    assert set(triggers) == {"schedule", "workflow_dispatch"}  # never for a stranger's pull request
    assert workflow["concurrency"] == {"group": "miles-collect", "cancel-in-progress": False}
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_the_workflow_pins_its_actions_and_takes_secrets_from_secrets(workflow: dict[Any, Any]) -> None:
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", one) for one in used)
    assert any(step.get("with", {}).get("cache") == "pip" for step in steps)
    (job,) = workflow["jobs"].values()
    for name in ("DATABASE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert job["env"][name] == f"${{{{ secrets.{name} }}}}"
    for script in scripts(workflow):  # what is typed into settings is never made part of a script
        assert "${{" not in script
        assert not re.search(r"echo.*\$(DATABASE_URL|AWS_)", script)


def test_the_workflow_does_not_run_in_this_repository() -> None:
    folder = PROJECT / ".github" / "workflows"
    assert not folder.exists() or not [path for path in folder.iterdir() if "collect" in path.name]


def test_due_videos_are_asked_for_by_the_name_that_collections_give_them(workflow: dict[Any, Any]) -> None:
    asked = [one for script in scripts(workflow) for one in commands(script) if "revisit" in one]
    assert [one[1] for one in asked] == [collecting.REVISIT_TARGET]


def test_the_cron_lines_of_the_docs_run_commands_that_there_are() -> None:
    page = (PROJECT / "docs" / "collecting.md").read_text()
    lines = [line for line in page.splitlines() if re.match(r"[\d*/,]+ [\d*/,]+ \* \* ", line)]
    assert len(lines) >= 2
    for line in lines:
        assert "flock -n " in line
        (one,) = commands(line)
        check(one)
