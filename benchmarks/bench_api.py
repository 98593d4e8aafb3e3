"""How the API bears 50 clients at once, compared with one.

    python -m benchmarks.bench_api [--clients N] [--requests N] [--rounds N]

Serves the API in a process of its own and asks it over loopback from this one. Each round asks first with one
client, then with all of them, so that what else the machine does weighs on both. Every title, picture and history
is met once only: nothing is answered from memory. Prints for each kind of request the median and 95th percentile of one
client and of all, the ratio of that of all to that of one times their number (at most 1: nobody waits longer
than in a fair line; less: they share the model's runs), requests/s, and errors, which must be 0.
"""

import argparse
import asyncio
import base64
import io
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
WORDS = (
    *("bread", "toaster", "pizza", "broken", "trying", "cheapest", "street", "food", "morning", "never", "again"),
    *("how", "why", "this", "that", "with", "my", "your", "first", "last", "day", "hours", "challenge", "versus"),
    *("giant", "tiny", "secret", "world", "kitchen", "grandma", "noodles", "city", "train", "night", "market"),
)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10, help="of each client in each round; one alone sends 50")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    dice = random.Random(0)
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "title": lambda: {"title": title(dice)},
        "title and thumbnail": lambda: {"title": title(dice), "image": thumbnail(dice)},
        "candidate, 20 earlier videos": lambda: candidate(dice),
    }
    print(f"{'':30}{'one client':>18}{f'{given.clients} clients':>18}{'ratio':>8}{'one':>9}{'all':>9}{'':>8}")
    print(f"{'':30}{'p50      p95 ms':>18}{'p50      p95 ms':>18}{'p95':>8}{'req/s':>9}{'req/s':>9}{'errors':>8}")
    worst = 0.0
    failed = 0
    with serving() as (port, process):
        for name, make in kinds.items():
            alone: list[float] = []
            together: list[float] = []
            seconds = [0.0, 0.0]
            errors = 0
            asyncio.run(ask(port, 1, [make() for _ in range(20)]))  # caches of code, not of answers
            for _ in range(given.rounds):
                for times, clients, number in ((alone, 1, 50), (together, given.clients, given.requests)):
                    bodies = [make() for _ in range(clients * number)]
                    begun = time.perf_counter()
                    answered = asyncio.run(ask(port, clients, bodies))
                    seconds[clients > 1] += time.perf_counter() - begun
                    errors += sum(status != 200 for status, _ in answered)
                    times += [took for _, took in answered]
            one, all_ = quantiles(alone), quantiles(together)
            ratio = all_[1] / (one[1] * given.clients)
            worst, failed = max(worst, ratio), failed + errors
            print(
                f"{name:30}{one[0]:9.1f}{one[1]:9.1f}{all_[0]:9.1f}{all_[1]:9.1f}{ratio:8.2f}"
                f"{len(alone) / seconds[0]:9.0f}{len(together) / seconds[1]:9.0f}{errors:8}"
            )
        memory = peak_memory(process)
    print(f"worst ratio {worst:.2f} (at most 1.00), errors {failed} (0), peak memory {memory or '–'} MB (at most 600)")
    sys.exit(bool(failed or worst > 1))


def title(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(4, 12))).capitalize() + f" {dice.randrange(10**6)}"


def thumbnail(dice: random.Random) -> str:
    """A JPEG of 480 x 360 pixels in base64, of about 20 kB."""
    from PIL import Image

    small = Image.frombytes("RGB", (24, 18), dice.randbytes(24 * 18 * 3))
    out = io.BytesIO()
    small.resize((480, 360), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()


def candidate(dice: random.Random) -> dict[str, Any]:
    views = dice.randint(1_000, 1_000_000)
    return {
        "title": title(dice),
        "category_id": dice.choice([10, 20, 22, 24]),
        "duration": dice.randint(10, 180),
        "published_at": NOW.isoformat(),
        "observed_at": (NOW + timedelta(hours=dice.randint(6, 72))).isoformat(),
        "views": views,
        "likes": views // 20,
        "history": [
            {
                "title": title(dice),
                "published_at": (NOW - timedelta(days=2 * n + 2)).isoformat(),
                "observed_at": (NOW - timedelta(days=2 * n + 1)).isoformat(),
                "views": dice.randint(1_000, 1_000_000),
            }
            for n in range(20)
        ],
    }


def peak_memory(process: int) -> int | None:
    """The most that a process ever held, in MB; None where the system does not say."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1000


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return cuts[9] * 1000, cuts[18] * 1000


async def ask(port: int, clients: int, bodies: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """Status and seconds of each request; every client sends its next one when it has its answer."""
    requests = iter([encoded(body) for body in bodies])
    answers: list[tuple[int, float]] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in requests:
            begun = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            head = answer.decode("latin-1").lower()
            await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
            answers.append((int(head.split()[1]), time.perf_counter() - begun))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*itertools.starmap(client, itertools.repeat((), clients)))
    return answers


def encoded(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(data), data)
    )


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """The API as `python -m miles api` serves it, ready to score: its port and its process."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="miles-bench-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILES_API_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "miles", "api", "--host", "127.0.0.1", "--port", str(port)],
            cwd=PROJECT,
            env={**environment, "MILES_HOME": folder},
            stderr=subprocess.DEVNULL,
        )
        try:
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
                        break
                except (urllib.error.URLError, OSError):
                    if process.poll() is not None:
                        raise SystemExit("The API did not start; see `python -m miles api`.") from None
                    time.sleep(0.1)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


if __name__ == "__main__":
    main()
