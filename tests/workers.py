"""Processes that carry out collections, to be counted and to be killed: forked from one that has everything loaded."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable

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


SLACK = 1.0  # seconds that a busy machine may need to send what it has the permit for


def check_pace(asked: Iterable[float], budget: int, delay: float) -> None:
    """All of a budget was asked, and no more, and no two of them (moments in seconds) closer than the pace lets them.

    Of any two, however far apart: workers that kept the pace each for itself would be several times as fast.
    """
    moments = sorted(asked)
    assert len(moments) == budget
    for number, first in enumerate(moments):
        for distance, later in enumerate(moments[number:]):
            assert later - first >= distance * delay - SLACK


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
        self._process.communicate(timeout=10)

    def _told(self, command: str, number: int) -> int:
        assert self._process.stdin
        assert self._process.stdout
        print(command, number, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())
