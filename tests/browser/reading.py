"""A real server and a reader with a real Chromium, for the browser tests."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loopback import free_port
from playwright.sync_api import Browser, BrowserContext, Page, expect

PROJECT = Path(__file__).resolve().parents[2]
SCREENSHOTS = PROJECT / "screenshots"
PATIENCE = 60_000  # ms; the machine may be busy
TALLEST = 4000  # px of a page that a screenshot keeps

expect.set_options(timeout=PATIENCE)


@contextmanager
def serving(database_url: str, home: Path, log: Path) -> Iterator[str]:
    """The dashboard in a process of its own, as `streamlit run Home.py` starts it; gives its address."""
    port = free_port()
    environment = os.environ | {"DATABASE_URL": database_url, "MILES_HOME": str(home), "MILES_START_WORKER": "false"}
    command = [sys.executable, "-m", "streamlit", "run", "Home.py", "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.fileWatcherType", "none"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output)
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def reader(chromium: Browser, width: int = 1440, scheme: str = "light") -> Iterator[BrowserContext]:
    """A reader with a window of their own; whatever is asked of another machine fails the test."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900 if width > 600 else 844},
        color_scheme=scheme,  # type: ignore[arg-type]
        accept_downloads=True,
    )
    context.set_default_timeout(PATIENCE)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    try:
        yield context
    finally:
        context.close()
    strangers = {url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))}
    assert not strangers, f"asked of other machines: {strangers}"


def open_page(context: BrowserContext, address: str) -> Page:
    """Open an address and wait until Streamlit has drawn all of it."""
    page = context.new_page()
    page.goto(address, wait_until="domcontentloaded")
    settle(page)
    return page


def settle(page: Page) -> None:
    """Wait until the page has a title, and nothing runs or is a skeleton any more."""
    page.wait_for_selector("h1, [data-testid=stAlert]")
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')"
        " && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]')"
        " && [...document.images].every(image => image.complete)"
    )
    page.wait_for_timeout(600)  # plotly draws after its data came


def keep(page: Page, name: str) -> None:
    """Keep a screenshot of the whole page."""
    SCREENSHOTS.mkdir(exist_ok=True)
    size = page.viewport_size
    assert size
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(min(height, TALLEST), size["height"])})
    page.wait_for_timeout(400)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.set_viewport_size(size)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310  # our own address
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the dashboard did not start:\n{log.read_text()}")
