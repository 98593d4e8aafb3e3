"""The API over real HTTP: many clients at once, slow and vanishing ones, and the ways it is started."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from loopback import eventually, free_port

from miles import api, api_gate, api_server, scoring
from miles.api_beside import answer_at_once
from miles.features import ScoreInput
from miles.scoring import Score
from miles.settings import PROJECT, Settings

TITLE = {"title": "I baked bread with a broken toaster"}


class Served:
    """An API on a port of its own, in threads of this process."""

    def __init__(self, load: Callable[[], Any], **variables: Any) -> None:
        variables = {"timeout": 300, **variables}  # a busy machine is no failure
        chosen = Settings(**{f"MILES_API_{name.upper()}": value for name, value in variables.items()})
        self.app = api.create_app(load, chosen)
        self.socket = api_server.listen("127.0.0.1", 0)
        self.port: int = self.socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.server = api_server.server(self.app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self) -> "Served":
        self.thread.start()
        eventually(lambda: self.server.started, what="the start of the server")
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(120)
        self.socket.close()
        assert not self.thread.is_alive()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(120)
        return connection


class Slow:
    """A model that scores when it is told to."""

    version = "slow"
    manifest: dict[str, Any] = {}  # noqa: RUF012  # never changed

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.titles: list[str] = []

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        self.titles += [video.title for video in inputs]
        assert self.go_on.wait(120)
        return [Score(v.key, v.mode, 0.2, None, 10.0, 1.0, 100.0, None, 0.1, self.version, None) for v in inputs]


@pytest.fixture(scope="module")
def model() -> scoring.Model:
    return scoring.load()


def head(body: str, *more: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: here", "Content-Type: application/json", *more]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()


def everything(connection: socket.socket) -> bytes:
    """What arrives until the other side closes."""
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def reset_or_closed() -> contextlib.AbstractContextManager[None]:
    """A closing comes as a reset where bytes were still on their way to the other side."""
    return contextlib.suppress(ConnectionError)


def is_refused(connection: socket.socket, body: str) -> bool:
    """Whether the other side closes before the end of what drips."""
    try:
        for byte in body.encode():
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
    except ConnectionError:
        return True
    return False


def test_fifty_clients_at_once_are_all_answered_as_if_alone(model: scoring.Model) -> None:
    videos = [{"title": f"Bread number {n}", "category_id": n % 30} for n in range(300)]
    with Served(lambda: model) as served, ThreadPoolExecutor(50) as pool:
        sessions = threading.local()

        def ask(video: dict[str, Any]) -> tuple[int, Any]:
            if not hasattr(sessions, "mine"):
                sessions.mine = requests.Session()
            answer = sessions.mine.post(f"{served.address}/predict", json=video)
            return answer.status_code, answer.json()

        answers = list(pool.map(ask, videos))
        alone = [ask(video) for video in videos[::30]]
    assert {status for status, _ in answers} == {200}
    assert alone == answers[::30]


def test_a_body_that_drips_in_is_given_up_and_does_not_hold_up_others(
    model: scoring.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_gate, "BODY_TIME", 1.0)
    with Served(lambda: model) as served, ThreadPoolExecutor(1) as pool:
        dripping = served.connect()
        long = json.dumps({"title": "a" * 500})
        dripping.sendall(head(long))
        refused = pool.submit(is_refused, dripping, long)
        connections = [served.connect() for _ in range(60)]
        body = json.dumps(TITLE)
        for connection in connections:
            connection.sendall(head(body))
            connection.sendall(body[:1].encode())
        assert requests.post(f"{served.address}/predict", json=TITLE, timeout=60).status_code == 200
        for connection in connections:
            answer = everything(connection)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert b"tag:miles,2026:problem/slow-body" in answer
            connection.close()
        assert refused.result()
        dripping.close()


def test_a_head_that_drips_in_is_given_up(model: scoring.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "HEAD_TIME", 0.7)
    with Served(lambda: model) as served:
        silent, dripping = served.connect(), served.connect()
        body = json.dumps(TITLE)
        with reset_or_closed():
            for at in range(3):
                dripping.sendall(head(body)[at : at + 1])
                time.sleep(0.3)
        assert everything(silent) == b""
        with reset_or_closed():
            assert everything(dripping) == b""
        busy = served.connect()
        busy.sendall(head(body) + body.encode())
        time.sleep(1.0)  # longer than a head may take, but this one lies idle between two requests
        busy.sendall(head(body, "Connection: close") + body.encode())
        assert everything(busy).count(b"HTTP/1.1 200 ") == 2
        for connection in (silent, dripping, busy):
            connection.close()


def test_no_answer_waits_for_the_acknowledgement_of_its_head(model: scoring.Model) -> None:
    def at_once(connection: socket.socket) -> bool:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with Served(lambda: model) as served:
        assert at_once(served.socket)
    with socket.socket() as others:  # as Streamlit makes its own
        others.bind(("127.0.0.1", 0))
        others.listen()
        assert not at_once(others)
        answer_at_once()
        assert at_once(others)
        with socket.create_connection(others.getsockname()), others.accept()[0] as connection:
            assert at_once(connection)


def test_who_goes_away_is_not_scored() -> None:
    slow = Slow()
    with Served(lambda: slow) as served:
        first = served.connect()
        body = json.dumps({"title": "first"})
        first.sendall(head(body) + body.encode())
        eventually(lambda: slow.titles == ["first"])
        gone = served.connect()
        body = json.dumps({"title": "gone"})
        gone.sendall(head(body) + body.encode())
        eventually(lambda: requests.get(f"{served.address}/health", timeout=60).json()["waiting"] == 2)
        gone.close()
        eventually(lambda: requests.get(f"{served.address}/health", timeout=60).json()["waiting"] == 1)
        half = served.connect()  # goes away in the middle of its body
        half.sendall(head(body) + body[:5].encode())
        half.close()
        slow.go_on.set()
        answer = requests.post(f"{served.address}/predict", json={"title": "last"}, timeout=60)
        assert answer.status_code == 200
        first.close()
    assert slow.titles == ["first", "last"]


@pytest.mark.parametrize("announced", [True, False])
def test_who_sends_too_much_reads_why(model: scoring.Model, announced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal must not be lost in a reset connection while they are still sending."""
    monkeypatch.setattr(api_gate, "LINGER", 60.0)
    monkeypatch.setattr(api_gate, "BODY_TIME", 120.0)
    large = b" " * (12 * 2**20)

    def parts() -> Iterator[bytes]:
        for at in range(0, len(large), 2**16):
            yield large[at : at + 2**16]

    with Served(lambda: model, body_mb=1) as served:
        for _ in range(3):
            answer = requests.post(
                f"{served.address}/predict",
                data=large if announced else parts(),
                headers={"Content-Type": "application/json"},
                timeout=60,
            )
            assert answer.status_code == 413
            assert answer.json()["type"] == "tag:miles,2026:problem/too-large"


def test_who_asks_first_is_refused_before_sending(model: scoring.Model) -> None:
    with Served(lambda: model, body_mb=1, keys="a-key") as served:
        for more, status in ((["X-API-Key: a-key"], b"413"), ([], b"401")):
            connection = served.connect()
            connection.sendall(
                "\r\n".join(
                    [
                        *("POST /predict HTTP/1.1", "Host: here", "Content-Type: application/json"),
                        *("Content-Length: 9999999", "Expect: 100-continue", "Connection: close", *more, "", ""),
                    ]
                ).encode()
            )
            answer = everything(connection)
            assert answer.startswith(b"HTTP/1.1 " + status), answer
            connection.close()


def test_garbage_on_the_wire_is_refused_and_the_server_goes_on(model: scoring.Model) -> None:
    with Served(lambda: model) as served:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        ):
            with served.connect() as connection, reset_or_closed():
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                assert not everything(connection).startswith(b"HTTP/1.1 5")
        assert requests.post(f"{served.address}/predict", json=TITLE, timeout=60).status_code == 200


def test_asked_to_end_it_answers_what_it_has_taken_on() -> None:
    slow = Slow()
    with ThreadPoolExecutor(1) as pool, Served(lambda: slow) as served:
        waiting = pool.submit(requests.post, f"{served.address}/predict", json=TITLE, timeout=60)
        eventually(lambda: bool(slow.titles))
        served.server.should_exit = True
        time.sleep(0.3)
        slow.go_on.set()
        assert waiting.result().status_code == 200


# --- as it is started -------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `python …` in the checkout, with variables; ends it after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env={**os.environ, "MILES_HOME": str(tmp_path / "home"), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)


def answering(address: str, process: subprocess.Popen[str]) -> Callable[[], bool]:
    def answers() -> bool:
        assert process.poll() is None, process.communicate()[0]
        try:
            return requests.get(address, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    return answers


def test_served_alone_it_needs_no_database_and_ends_on_ctrl_c(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    port = free_port()
    process = start("-m", "miles", "api", PORT=str(port), MILES_API_KEYS="a-key")
    eventually(answering(f"http://127.0.0.1:{port}/ready", process))
    answer = requests.post(
        f"http://127.0.0.1:{port}/predict", json=TITLE, headers={"Authorization": "Bearer a-key"}, timeout=60
    )
    assert answer.status_code == 200
    assert "server" not in answer.headers
    assert requests.post(f"http://127.0.0.1:{port}/predict", json=TITLE, timeout=60).status_code == 401
    assert not (tmp_path / "home").exists()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"0.0.0.0:{port}" in output
    assert "a-key" not in output
    assert "Traceback" not in output


def test_a_taken_port_is_named_together_with_the_way_to_choose_another(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = start("-m", "miles", "api", "--port", str(port))
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"port {port}" in output
    assert "--port" in output


def test_it_lies_beside_the_dashboard_that_up_starts(start: Callable[..., subprocess.Popen[str]]) -> None:
    port = free_port()
    process = start("-W", "ignore", "-m", "miles", "up", "--port", str(port), MILES_API_TIMEOUT="300")
    site = f"http://127.0.0.1:{port}"
    eventually(answering(f"{site}/_stcore/health", process))
    health = requests.get(f"{site}/api/health", timeout=60).json()
    assert health["status"] in ("waking up", "ready")
    ends = time.monotonic() + 120
    while (answer := requests.post(f"{site}/api/predict", json=TITLE, timeout=60)).status_code == 503:
        # a busy machine may ask to come back; whoever does is answered
        assert time.monotonic() < ends, answer.text
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == scoring.load().version
    assert requests.get(f"{site}/api/nothing", timeout=60).headers["content-type"] == "application/problem+json"
    assert requests.get(f"{site}/api/openapi.json", timeout=60).json()["servers"] == [{"url": "/api"}]
    page = requests.get(f"{site}/trending", timeout=60)
    assert (page.status_code, "streamlit" in page.text.lower()) == (200, True)


def test_a_dashboard_whose_api_nobody_asks_does_not_load_it(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(
        "-W", "ignore", "-c", "import sys, Home; print(Home.app, sorted({'fastapi', 'onnxruntime'} & set(sys.modules)))"
    )
    output, _ = process.communicate(timeout=120)
    assert output.strip().endswith("[]"), output
