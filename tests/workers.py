"""Processes that carry out collections, to be counted and to be killed: forked from one that has everything loaded."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise

from tables import rows

from miles.settings import PROJECT

PROGRAM = """
import os, sys
from miles import collecting, db
print(0, flush=True)
for line in sys.stdin:
    command, number = line.split()
    if command == "run":
        child = os.fork()
        if not child:
            report = collecting.carry_out(int(number))
            db.close()
            os._exit({"done": 0, "waiting": 3}.get(report.state, 4))
        print(child, flush=True)
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(int(number), 0)[1]), flush=True)
"""


EARLY = 0.02  # seconds by which two clocks may differ


def check_pace(asked: Iterable[float], budget: int, delay: float) -> None:
    """All of a budget was asked (Unix, s), and no more; no two permits are closer than the pace lets them, and at no
    moment had more been asked than there were permits for. How late a busy machine asks is no matter.
    """
    arrived = sorted(asked)
    permitted = [float(at) for (at,) in rows("SELECT extract(epoch FROM at) FROM source_requests ORDER BY at")]
    assert len(arrived) == len(permitted) == budget
    assert all(later - earlier >= delay - 1e-6 for earlier, later in pairwise(permitted))
    assert [at for at, from_then_on in zip(arrived, permitted, strict=True) if at < from_then_on - EARLY] == []


class Workers:
    """`run` begins a collection in a process of its own; `wait` gives 0 where it is done, 3 where it waits."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=PROJECT, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

        assert self._process.stdout
        assert self._process.stdout.readline() == "0\n", "it did not start"

    def run(self, collection_id: int) -> int:
        return self._told("run", collection_id)

    def wait(self, pid: int) -> int:
        """The exit status; -9 of one that was killed."""
        return self._told("wait", pid)

    @staticmethod
    def kill(pid: int) -> None:
        """Nothing that it could do anything about. (One that has ended meanwhile is still there until `wait`.)"""
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self._process.communicate(timeout=120)

    def _told(self, command: str, number: int) -> int:
        assert self._process.stdin
        assert self._process.stdout
        print(command, number, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())
