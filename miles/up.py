"""Start all of Miles and end what was started: database, one worker, the dashboard.

The supervisor behind `python -m miles up`, and the worker that a dashboard starts for itself where
`streamlit run Home.py` is all that runs. Knows processes, nothing of what they do.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fasteners
import psutil

from miles import db, settings, storage
from miles.errors import AlreadyRunning, MilesError

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0  # seconds until the dashboard must answer; importing Streamlit cold takes up to ten
STOP_TIMEOUT = 15.0  # seconds for a child to finish what it holds before it is killed
RESTART_WAIT = 3.0  # seconds before a worker that died is started again; it must not spin
PARENT_POLL = 2.0  # seconds between two looks at whether the parent still lives


@dataclass
class Child:
    """One process of ours and the file that its output goes to."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # a session of its own: Ctrl-C reaches the supervisor alone, which ends the others in order
            self.process = subprocess.Popen(
                self.command,
                cwd=settings.PROJECT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The end of its log, for the message that says why it died."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-5:]) if self.log.exists() else ""


def up(port: int | None = None, say: Callable[[str], None] = print) -> None:
    """Run everything until Ctrl-C or SIGTERM. Raises AlreadyRunning or another MilesError."""
    home = settings.load().home
    home.mkdir(parents=True, exist_ok=True)
    lock = fasteners.InterProcessLock(home / "up.lock")
    if not lock.acquire(blocking=False):
        raise AlreadyRunning(f"Miles is already running{_where(home)}. Stop that one first, or set another MILES_HOME.")
    try:
        _run(port or settings.load().port, home, say)
    finally:
        (home / "up.json").unlink(missing_ok=True)
        lock.release()


def start_worker() -> Child:
    """A worker that ends with this process: what a dashboard starts that was started alone."""
    child = _worker(settings.load().home)
    child.start()
    return child


def end_with(parent: int) -> None:
    """Ask this process to end (SIGTERM) as soon as the process `parent` is gone."""
    try:
        watched = psutil.Process(parent)
    except psutil.NoSuchProcess:
        os.kill(os.getpid(), signal.SIGTERM)
        return

    def watch() -> None:
        while watched.is_running() and watched.status() != psutil.STATUS_ZOMBIE:
            time.sleep(PARENT_POLL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def _worker(home: Path) -> Child:
    return _child("worker", ["--parent", str(os.getpid())], home)


def _child(command: str, arguments: list[str], home: Path, environment: dict[str, str] | None = None) -> Child:
    log = home / "logs" / f"{command}.log"
    return Child(command, [sys.executable, "-m", "miles", command, *arguments], environment or {}, log)


def _run(port: int, home: Path, say: Callable[[str], None]) -> None:
    _check_port(port)
    say("Starting the database …" if settings.load().database_url is None else f"Connecting to {db.place()} …")
    db.ready()
    if wrong := storage.problem():
        say(f"Pictures are neither stored nor shown until this is mended: {wrong}")
    address = f"http://localhost:{port}"
    dashboard = _child("dashboard", [str(port), str(os.getpid())], home, {"MILES_START_WORKER": "0"})
    children = [_worker(home), dashboard]
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        for child in children:
            child.start()
        _wait_until_answering(dashboard, address, stopping)
        if stopping.is_set():
            return
        (home / "up.json").write_text(json.dumps({"pid": os.getpid(), "address": address}))
        say(f"Miles is running: {address}")
        say(f"It keeps everything in {home} and logs to {home / 'logs'}. Ctrl-C ends it.")
        _watch(children, stopping)
    finally:
        say("Stopping …")
        for child in reversed(children):
            child.stop()


def _watch(children: list[Child], stopping: threading.Event) -> None:
    """Until asked to stop: a dead worker is started again, a dead dashboard is the end."""
    while not stopping.wait(0.5):
        for child in children:
            if not child.ended():
                continue
            if child.name == "dashboard":
                raise MilesError(f"The dashboard ended by itself. The end of {child.log}:\n{child.last_words()}")
            logger.warning("The worker ended by itself (see %s); starting it again.", child.log)
            if not stopping.wait(RESTART_WAIT):
                child.start()


def _wait_until_answering(dashboard: Child, address: str, stopping: threading.Event) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not stopping.wait(0.2):
        if dashboard.ended():
            raise MilesError(f"The dashboard did not start. The end of {dashboard.log}:\n{dashboard.last_words()}")
        if time.monotonic() > deadline:
            raise MilesError(
                f"The dashboard does not answer at {address} after {START_TIMEOUT:.0f} s; see {dashboard.log}."
            )
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310  # our own http address
                return
        except (urllib.error.URLError, OSError):
            continue


def _check_port(port: int) -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104  # only a trial
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, port))
            except OSError as error:
                raise AlreadyRunning(
                    f"Port {port} is taken by another program. Choose another one: "
                    f"python -m miles up --port {port + 1} (or set MILES_PORT={port + 1})."
                ) from error


def _where(home: Path) -> str:
    try:
        mark = json.loads((home / "up.json").read_text())
        return f" at {mark['address']} (process {mark['pid']})"
    except (OSError, ValueError, KeyError):
        return " and still starting"
