"""Settings: what the environment says, and what it says wrongly."""

from pathlib import Path

import pytest

from miles import settings
from miles.errors import MilesError


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("MILES_PORT", "")
    assert settings.load().database_url is None
    assert settings.load().port == 8501


def test_folders_are_absolute_wherever_they_are_given_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILES_HOME", "here")
    assert settings.load().home == tmp_path / "here"


@pytest.mark.parametrize("port", ["eighty", "0", "70000"])
def test_nonsense_names_the_variable_and_what_to_do(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("MILES_PORT", port)
    with pytest.raises(MilesError, match=r"MILES_PORT .*Correct or unset"):
        settings.load()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hush@db/miles")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush")
    assert "hush" not in repr(settings.load())
