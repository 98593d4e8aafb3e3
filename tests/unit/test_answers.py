"""What commands print, for people and for scripts."""

import json

import pytest

from miles.cli.answers import answer, complain

TITLE = "[red]Street[/red] food [/] [4K] [link=x]"


def test_brackets_are_shown_as_they_stand_and_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    answer(False, {"target": TITLE, "new": 12_000, "reason": None, "jobs": {"waiting": 2}}, TITLE)
    complain(TITLE)
    shown = capsys.readouterr()
    assert shown.out.count(TITLE) == 2
    assert "12,000" in shown.out
    assert "waiting 2" in shown.out
    assert shown.err == f"Error: {TITLE}\n"


def test_for_a_script_there_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    answer(True, {"target": "é[x]", "n": 1}, "Collected")
    assert json.loads(capsys.readouterr().out) == {"target": "é[x]", "n": 1}
