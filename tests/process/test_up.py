"""`python -m miles up`, and the dashboard alone, as a person runs them: real processes, a real port, a home of their own."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from loopback import eventually, free_port

from miles.settings import PROJECT

STARTED = "Miles is running: http://localhost:"


class Run:
    """One `up`, its output read line by line."""

    def __init__(self, home: Path, port: int) -> None:
        environment = {**os.environ, "MILES_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "miles", "up", "--port", str(port)],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until_started(self) -> str:
        assert self.process.stdout
        seen = ""
        for line in self.process.stdout:
            seen += line
            if STARTED in line:
                return seen
        pytest.fail(f"It ended before it started:\n{seen}")

    def end(self, number: int = signal.SIGINT) -> str:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=120)
        return rest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[tuple[Run, int]]:
    port = free_port()
    run = Run(home, port)
    try:
        run.until_started()
        yield run, port
    finally:
        if run.process.poll() is None:
            run.end()
        if run.process.stdout:
            run.process.stdout.close()


def postgres_of(home: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(home / "postgres") in " ".join(process.info["cmdline"] or ())
    ]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310  # our own address
            return answer.status == 200
    except OSError:
        return False


def test_it_starts_everything_says_where_and_ends_everything_on_ctrl_c(running: tuple[Run, int], home: Path) -> None:
    run, port = running
    with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health") as answer:
        assert answer.read() == b"ok"
    children = psutil.Process(run.process.pid).children(recursive=True)
    commands = [" ".join(child.cmdline()) for child in children]
    assert any("miles worker" in command for command in commands), commands
    assert any("miles dashboard" in command for command in commands), commands
    assert postgres_of(home)

    run.end()

    assert run.process.returncode == 0
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    eventually(lambda: postgres_of(home) == [], what="the end of the database")


def test_started_twice_it_says_that_it_is_already_running_and_where(running: tuple[Run, int], home: Path) -> None:
    _, port = running
    again = Run(home, free_port())
    output, _ = again.process.communicate(timeout=120)
    assert again.process.returncode == 1
    assert f"already running at http://localhost:{port}" in output


def test_a_taken_port_is_named_together_with_the_way_to_choose_another(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))  # noqa: S104
        other.listen()
        port = other.getsockname()[1]
        run = Run(home, port)
        output, _ = run.process.communicate(timeout=120)
    assert run.process.returncode == 1
    assert f"Port {port} is taken" in output
    assert "--port" in output


def test_a_killed_supervisor_leaves_nothing_running(running: tuple[Run, int], home: Path) -> None:
    run, _ = running
    started = [*psutil.Process(run.process.pid).children(recursive=True), *postgres_of(home)]
    run.process.kill()
    run.process.wait()
    _, alive = psutil.wait_procs(started, timeout=120)
    assert alive == []
    eventually(lambda: postgres_of(home) == [], what="the end of the database")


def test_a_worker_that_dies_is_started_again(running: tuple[Run, int]) -> None:
    run, _ = running
    supervisor = psutil.Process(run.process.pid)

    def workers() -> list[psutil.Process]:
        alive = (child for child in supervisor.children() if child.status() != psutil.STATUS_ZOMBIE)
        return [child for child in alive if "worker" in child.cmdline()]

    (first,) = workers()
    first.kill()
    eventually(lambda: [worker for worker in workers() if worker.pid != first.pid] != [], what="another worker")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_dashboard_that_was_started_alone_gives_the_database_back_when_it_is_told_to_end(
    home: Path, number: signal.Signals
) -> None:
    port = free_port()
    dashboard = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "streamlit", "run", "Home.py", "--server.port", str(port),
         "--server.headless", "true", "--server.fileWatcherType", "none"],
        cwd=PROJECT,
        env={**os.environ, "MILES_HOME": str(home), "MILES_START_WORKER": "0"},
    )  # fmt: skip
    try:
        eventually(lambda: answers(f"http://localhost:{port}/_stcore/health"), what="an answer")
        eventually(lambda: postgres_of(home) != [], what="the database")  # which is still being set up
        dashboard.send_signal(number)
        dashboard.wait(60)
    finally:
        dashboard.kill()
    eventually(lambda: postgres_of(home) == [], what="the end of the database")
