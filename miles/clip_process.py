"""A clip is examined in a process of its own: limited in time and memory, without keys, and gone afterwards.

`examine` starts it and watches over it; run as a program this file is that process: the clip on standard input, lines
of JSON on standard output, the last of them the result. A decoder that hangs is killed, one that crashes takes nobody
with it, and either ends in a sentence.
"""

import base64
import dataclasses
import json
import logging
import math
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import psutil

from miles import settings
from miles.clip_facts import TOOK_TOO_LONG, TOOK_TOO_MUCH, Frame, Probe
from miles.errors import ClipRefused

logger = logging.getLogger(__name__)

SECONDS = 150.0  # of the clock; the examination itself stops reading after half of it
CPU_SECONDS = 240  # of all threads; two decode
MEMORY = 1_500_000_000  # bytes beyond what the libraries themselves take
WRITTEN = 4_000_000  # bytes in any file: the process has no business with files
LONGEST_LINE = 16_000_000  # bytes; a result with all of its frames has 6 MB
POLL = 0.25  # seconds between two looks at the process
KILLED_FOR_TIME = {-signal.SIGXCPU, -signal.SIGALRM}
TOO_MUCH_MEMORY = 12  # exit status


def examine(
    file: IO[bytes],
    tell: Callable[[float], object] = lambda share: None,
    stop: Callable[[], bool] = lambda: False,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    cpu_seconds: int = CPU_SECONDS,
) -> tuple[Probe, list[Frame]]:
    """What `clip_probe.examine` finds in a clip (a real file, open for reading); `tell` gets the share that is done.

    Raises ClipRefused, and InterruptedError where `stop` says so.
    """
    file.seek(0)
    lines: queue.Queue[bytes | None] = queue.Queue(maxsize=100)
    deadline = time.monotonic() + seconds
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            [sys.executable, "-m", "miles.clip_process", str(math.ceil(seconds)), str(memory), str(cpu_seconds)],
            cwd=settings.PROJECT,
            # nothing of ours, no keys above all; threads of the arithmetic would only count as memory
            env={
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LC_ALL": "C.UTF-8",
            },
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        ) as process,
    ):
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True, name="clip")
        reader.start()
        answer: dict[str, Any] | None = None
        try:
            while (line := _next(lines, process.pid, deadline, memory, stop)) is not None:
                said = json.loads(line)
                if "progress" in said:
                    tell(float(said["progress"]))
                else:
                    answer = said
            process.wait(max(deadline - time.monotonic(), 1.0))
        except subprocess.TimeoutExpired as error:
            raise ClipRefused(TOOK_TOO_LONG, "took_too_long") from error
        finally:
            process.kill()
            process.wait()
            while reader.is_alive():  # it may wait for room in the queue
                _empty(lines)
                reader.join(0.05)
        if answer is None:
            complaints.seek(0)
            raise _died(process.returncode, complaints.read(20_000).decode("utf-8", "replace"))
    if "refused" in answer:
        raise ClipRefused(answer["refused"], answer["kind"])
    return Probe.read(answer["probe"]), [
        Frame(**{**one, "jpeg": base64.b64decode(one["jpeg"])}) for one in answer["frames"]
    ]


def _next(
    lines: "queue.Queue[bytes | None]", pid: int, deadline: float, memory: int, stop: Callable[[], bool]
) -> bytes | None:
    while True:
        try:
            return lines.get(timeout=POLL)
        except queue.Empty:
            pass
        if stop():
            raise InterruptedError
        if time.monotonic() > deadline:
            raise ClipRefused(TOOK_TOO_LONG, "took_too_long")
        try:
            if psutil.Process(pid).memory_info().rss > memory + 500_000_000:  # where the system sets no limit for us
                raise ClipRefused(TOOK_TOO_MUCH, "too_much_memory")
        except psutil.NoSuchProcess:
            pass


def _read(source: IO[bytes] | None, lines: "queue.Queue[bytes | None]") -> None:
    assert source  # noqa: S101  # a pipe
    while (line := source.readline(LONGEST_LINE)).endswith(b"\n"):
        lines.put(line)
    lines.put(None)


def _empty(lines: "queue.Queue[bytes | None]") -> None:
    while not lines.empty():
        lines.get_nowait()


def _died(status: int, complaints: str) -> Exception:
    """What to tell of a process that ended without an answer."""
    if status in KILLED_FOR_TIME:
        return ClipRefused(TOOK_TOO_LONG, "took_too_long")
    if status == TOO_MUCH_MEMORY:
        return ClipRefused(TOOK_TOO_MUCH, "too_much_memory")
    if status < 0:  # by a signal: the decoder's own fault, or the system's for want of memory
        logger.warning("A clip's decoder ended by signal %s: %s", -status, complaints[-500:])
        return ClipRefused(
            "The clip makes its decoder fail, so it can't be used. It is damaged, or larger than it says. "
            "Export it again as MP4 (H.264).",
            "damaged",
        )
    return RuntimeError(f"the examination of a clip ended with {status}: {complaints[-2000:]}")


def _limit(seconds: int, memory: int, cpu_seconds: int) -> None:
    """What the process may use from here on. Its parent is another defence, and the system's own the last."""
    import resource

    used = psutil.Process().memory_info().vms
    for what, most in (
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, WRITTEN),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(what, (wanted, hard))
        except (OSError, ValueError):  # macOS knows no limit of memory; the parent looks at that too
            logger.debug("no limit %s", what)
    signal.alarm(seconds)  # for the case that the parent is gone


def main() -> None:
    """The process itself."""
    import os

    import av.logging

    from miles import clip_probe

    os.nice(5)  # pages come first
    av.logging.set_level(None)
    _limit(*map(int, sys.argv[1:4]))

    def say(message: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    try:
        probe, frames = clip_probe.examine(sys.stdin.buffer, lambda share: say({"progress": round(share, 3)}))
    except ClipRefused as error:
        say({"refused": str(error), "kind": error.kind})
    except MemoryError:
        os._exit(TOO_MUCH_MEMORY)  # there may be none left to end in order
    else:
        say(
            {
                "probe": dataclasses.asdict(probe),
                "frames": [
                    {**dataclasses.asdict(one), "jpeg": base64.b64encode(one.jpeg).decode("ascii")} for one in frames
                ],
            }
        )


if __name__ == "__main__":
    main()
