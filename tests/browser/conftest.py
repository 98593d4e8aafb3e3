"""Shared by the browser tests: a real server on the sample, and a real Chromium that may reach nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright
from psycopg import sql
from reading import serving


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server that most tests share writes what it has to say."""
    return tmp_path_factory.mktemp("dashboard") / "log"


@pytest.fixture(scope="session")
def dashboard(server: str, sample_template: str, sample_home: Path, log: Path) -> Iterator[str]:
    """Address of a dashboard on the sample."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE browser TEMPLATE {}").format(sql.Identifier(sample_template)))
    with serving(server.replace("/postgres?", "/browser?"), sample_home, log) as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium (or that of MILES_CHROMIUM), else Playwright's own."""
    path = os.environ.get("MILES_CHROMIUM") or which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
