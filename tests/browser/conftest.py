"""Shared by the browser tests: a real server on the sample, and a real Chromium that may reach nothing else."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright
from reading import serving


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server that most tests share writes what it has to say."""
    return tmp_path_factory.mktemp("dashboard") / "log"


@pytest.fixture(scope="session")
def shared_database(database_of: Callable[[str], str], sample_template: str) -> str:
    """Address of the database of that server: the sample, and a saved filter of its user."""
    address = database_of(sample_template)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("INSERT INTO users (user_id) VALUES ('local')")
        connection.execute(
            "INSERT INTO niches (user_id, name, address, pinned) VALUES ('local', 'Short food', %s, true)",
            ["format=Short&category=Comedy&sort=By+views"],
        )
    return address


@pytest.fixture(scope="session")
def dashboard(shared_database: str, sample_home: Path, log: Path) -> Iterator[str]:
    """Address of a dashboard on the sample."""
    with serving(shared_database, sample_home, log) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium (or that of MILES_CHROMIUM), else Playwright's own.

    Of a module, not of the session: while Playwright is open, no other test of this process can run an event loop.
    """
    path = os.environ.get("MILES_CHROMIUM") or which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
