"""The proxy that plays the recorded answers back: started, told what to let fail, killed, and its log read."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


class Replay:
    """A running proxy. One that is started again plays on at the same address, with the same log."""

    def __init__(self, shared: str, state: Path, *options: str) -> None:
        self._folder = Path(shared) / "replay"
        self._state = state
        self._options = options
        self._reset_at = 0.0  # Unix, s
        self.port = 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, str(self._folder / "replay_proxy.py"), "--recordings", str(self._folder / "recordings"),
                "--port", str(self.port), "--log", str(self._state / "access.jsonl"), "--state", str(self._state), *self._options,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout
        ready = re.match(r"READY (\S+):(\d+) ca=(\S+)", self.process.stdout.readline())
        assert ready, "the proxy did not start"
        self.address, self.certificate, self.port = f"{ready[1]}:{ready[2]}", ready[3], int(ready[2])

    def kill(self) -> None:
        """As a machine does that goes down: no word to those who wait for an answer."""
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout
        self.process.stdout.close()

    def faults(self, *rules: dict[str, Any], as_of: str | None = None, seed: int = 0) -> None:
        """Let the next matching requests fail in these ways, and none else; play what was recorded until a day."""
        self._ask("faults", json.dumps({"rules": rules, "as_of": as_of, "seed": seed}).encode(), "PUT")

    def requests(self) -> int:
        return self._ask("stats")["requests"]

    def failed(self) -> int:
        """How many requests were let fail since the last reset."""
        return sum(self._ask("stats")["fired"].values())

    def log(self) -> list[dict[str, Any]]:
        """The requests that came since the last reset, in the order of their answers; `t` is when each came (Unix, s).

        One that came before it may be answered, and so written down, only now.
        """
        entries = map(json.loads, (self._state / "access.jsonl").read_text(encoding="utf-8").splitlines())
        return [entry for entry in entries if entry["t"] >= self._reset_at]

    def reset(self) -> None:
        self.faults()
        self._ask("reset", b"", "POST")
        self._reset_at = time.time()

    def _ask(self, path: str, data: bytes | None = None, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"{self.address}/__replay__/{path}", data, method=method)  # noqa: S310  # loopback
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.loads(answer.read() or b"{}")
