"""A limit on how long one call may take, whatever the other side of the network does.

A socket's time-out starts again with every byte, so an answer that drips never trips it. Knows
nothing about what is called.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, function: Callable[[], T], *, pauses: Callable[[], float] = lambda: 0.0) -> T:
    """The result of `function()`, or TimeoutError after so many seconds, not counting those of its `pauses()`.

    The call runs in a daemon thread; one that is late is abandoned there, so it must hold nothing
    that others wait for.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="within")
    start, before = time.monotonic(), pauses()
    thread.start()
    while thread.is_alive() and (left := start + seconds + pauses() - before - time.monotonic()) > 0:
        thread.join(left)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return results[0]
