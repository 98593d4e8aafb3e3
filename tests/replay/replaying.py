"""Talking to the proxy that plays the recorded answers back."""

import json
import urllib.request
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Replay:
    """The running proxy."""

    address: str
    certificate: str

    def faults(self, *rules: dict[str, Any]) -> None:
        """Let the next matching requests fail in these ways, and none else."""
        self._ask("faults", json.dumps({"rules": rules}).encode(), "PUT")

    def requests(self) -> int:
        return self._ask("stats")["requests"]

    def failed(self) -> int:
        """How many requests were let fail since the last reset."""
        return sum(self._ask("stats")["fired"].values())

    def reset(self) -> None:
        self.faults()
        self._ask("reset", b"", "POST")

    def _ask(self, path: str, data: bytes | None = None, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"{self.address}/__replay__/{path}", data, method=method)  # noqa: S310  # loopback
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.loads(answer.read() or b"{}")
