"""A long run in numbered stages, each of whose products is kept: interrupted, the run goes on where it was.

A product lies in the work folder under the fingerprint of all that made it: the code of its modules, what they
were given, and the products before it. Whatever changes, only what depends on it is made anew.
"""

import hashlib
import json
import logging
import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

logger = logging.getLogger("training")
T = TypeVar("T")

KEPT = 2  # products per stage: the newest, and the one before, should a change be taken back
SAY_EVERY = 10.0  # seconds between two lines of progress


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """A stage's product, and the fingerprint of all that made it."""

    value: T
    fingerprint: str


class Stages:
    """The stages of one run, in the order in which they are asked for."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._total, self._begun = total, 0
        self._started = time.monotonic()

    def begin(self, title: str) -> None:
        """Say that a numbered stage begins."""
        self._begun += 1
        spent = time.monotonic() - self._started
        logger.info("[%d/%d] %s (%s so far)", self._begun, self._total, title, duration(spent))

    def make(self, name: str, make: Callable[[], T], *needs: object, code: Sequence[ModuleType] = ()) -> Made[T]:
        """The product of a step: from the work folder, if everything that makes it is as it was; else made anew.

        `needs`: what it depends on: products of other steps, files and folders (by their content), numbers and
        texts. `code`: the modules that make it.
        """
        mark = fingerprint([name, *needs, *(Path(module.__file__ or "") for module in code)])
        path = self.folder / f"{name}-{mark}.pickle"
        if path.exists():
            with path.open("rb") as file:
                value = pickle.load(file)  # noqa: S301  # written by the lines below
            os.utime(path)  # the newest in use, for `_forget`
            logger.info("%s: kept from before", name)
            return Made(value, mark)
        started = time.monotonic()
        value = make()
        unfinished = path.with_suffix(f".{os.getpid()}")
        with unfinished.open("wb") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
        unfinished.replace(path)  # whole or not at all
        self._forget(name)
        logger.info("%s: made in %s", name, duration(time.monotonic() - started))
        return Made(value, mark)

    def _forget(self, name: str) -> None:
        """Remove all but the newest products of a step."""
        length = len(name) + 1 + FINGERPRINT
        products = [p for p in self.folder.glob(f"{name}-*.pickle") if len(p.stem) == length]
        for old in sorted(products, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)


FINGERPRINT = 16  # hexadecimal digits


def fingerprint(needs: Sequence[object]) -> str:
    """What changes with any of the needs; see `Stages.make`."""
    return hashlib.sha256(json.dumps([_told(one) for one in needs], sort_keys=True).encode()).hexdigest()[:FINGERPRINT]


def _told(one: object) -> Any:
    """What stands for a need in a fingerprint."""
    if isinstance(one, Made):
        return one.fingerprint
    if isinstance(one, Path):
        files = sorted(p for p in one.rglob("*") if p.is_file()) if one.is_dir() else [one]
        return [[p.name, _content(p)] for p in files]
    if isinstance(one, (list, tuple)):
        return [_told(x) for x in one]
    return one if isinstance(one, (str, int, float)) or one is None else repr(one)


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Progress:
    """Says how far a long loop has come and when it will end, every few seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._started = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said < SAY_EVERY or not done:
            return
        self._said = now
        left = (now - self._started) / done * (self._total - done)
        logger.info("%s: %s of %s, about %s left", self._what, f"{done:,}", f"{self._total:,}", duration(left))


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
