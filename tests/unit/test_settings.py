"""Settings: what the environment says, and what it says wrongly."""

import re
from datetime import timedelta
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


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("MILES_REFRESH_TOPICS", "README.md lists those that are read"),  # of an earlier version
        ("MILES_HOURLY_BUDGETS", "Did you mean MILES_HOURLY_BUDGET?"),
        ("miles_prot", "Did you mean MILES_PORT?"),
    ],
)
def test_a_variable_that_nothing_reads_is_named_once_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, words: str
) -> None:
    monkeypatch.setenv(variable, "street food")
    for _ in range(3):
        settings.load()
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"{variable} is set, but this version of Miles does not read it. " in record.message
    assert words in record.message
    assert "street food" not in record.message  # it may be a secret


def test_no_variable_that_is_read_is_called_unknown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MILES_FORMER", "")  # an empty variable is an unset one
    monkeypatch.setenv("miles_port", "8600")
    monkeypatch.setenv("MILES_DETAIL_DAYS", "90")
    monkeypatch.setenv("MILESTONE", "1")
    assert settings.load().port == 8600
    assert caplog.records == []
    written = set(re.findall(r"MILES_[A-Z_]+[A-Z]", (settings.PROJECT / "README.md").read_text()))
    assert {"MILES_HOME", "MILES_USER"} < written
    assert settings.strangers(dict.fromkeys(written, "x")) == []


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hush@db/miles")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush")
    assert "hush" not in repr(settings.load())


def test_limits_are_for_every_source_or_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.load().request_delay.of("youtube"), settings.load().hourly_budget.of("youtube")) == (2.5, 500)
    settings.load.cache_clear()
    monkeypatch.setenv("MILES_REQUEST_DELAY", "4, TikTok=10")
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "vimeo.com=50")
    chosen = settings.load()
    assert (chosen.request_delay.of("tiktok"), chosen.request_delay.of("youtube")) == (10, 4)
    assert (chosen.hourly_budget.of("vimeo.com"), chosen.hourly_budget.of("youtube")) == (50, 500)


def test_revisits_are_ages_in_hours_and_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_REVISITS", "3d, 6H,3d")
    assert settings.load().revisits == (timedelta(hours=6), timedelta(days=3))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MILES_REQUEST_DELAY", "fast", "'fast' is neither a number nor source=number"),
        ("MILES_REQUEST_DELAY", "-1", "neither a number"),
        ("MILES_REQUEST_DELAY", "nan", "neither a number"),
        ("MILES_REQUEST_DELAY", "=3", "neither a number"),
        ("MILES_HOURLY_BUDGET", "0", "at least 1 request an hour"),
        ("MILES_HOURLY_BUDGET", "500,tiktok=0", "at least 1 request an hour"),
        ("MILES_REVISITS", "6", "'6' is not an age"),
        ("MILES_REVISITS", "0h", "is not an age"),
        ("MILES_FOLLOW_CHANNELS", "-1", "greater than or equal to 0"),
    ],
)
def test_limits_that_make_no_sense_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(MilesError, match=f"{variable} .*{words}"):
        settings.load()
