"""Concepts being written, each request in a thread of its own: no page waits for a language model, and any can leave it.

Knows nothing about Streamlit. A request that is asked for twice while it is written is written once.
"""

import logging
import threading
import time
from collections.abc import Callable

from miles import recommend
from miles.concepts import Recommendation, Request
from miles.errors import MilesError
from miles.recommend import ScoringModel

logger = logging.getLogger(__name__)


Waking = Callable[[float | None], None]


class Cancelled(Exception):  # raised through whoever writes, and caught here
    """The reader does not want the concepts any more."""


class Writing:
    """A request while it is answered, and what came of it."""

    def __init__(self, user: str, request: Request, *, offline: bool, fresh: bool, seed: int) -> None:
        self.user, self.request, self.offline, self.fresh, self.seed = user, request, offline, fresh, seed
        self.said = "Looking for videos on the topic"  # how far it is
        self.made: Recommendation | None = None
        self.failed: MilesError | None = None  # why there are none
        self.bug: Exception | None = None  # what no one foresaw
        self.begun = time.monotonic()
        self._done = threading.Event()
        self._cancelled = threading.Event()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    def wait(self, seconds: float) -> bool:
        """Whether it is done within so many seconds."""
        return self._done.wait(seconds)

    def cancel(self) -> None:
        """Leave it. What was sent so far is paid for; nothing is kept of it."""
        self._cancelled.set()
        _leave(self)

    def hear(self, said: str) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.said = said

    def run(self, model: ScoringModel) -> None:
        try:
            self.made = recommend.recommend(
                model, self.request, user_id=self.user, offline=self.offline, fresh=self.fresh, seed=self.seed,
                on_progress=self.hear,
            )  # fmt: skip
        except Cancelled:
            logger.info("A request for concepts was cancelled")
        except MilesError as error:
            self.failed = error
        except Exception as error:
            logger.exception("Concepts were not written")
            self.bug = error
        finally:
            _leave(self)
            self._done.set()


_under_way: list[Writing] = []
_lock = threading.Lock()


def begin(
    model: Callable[[Waking], ScoringModel],
    user: str,
    request: Request,
    *,
    offline: bool = False,
    fresh: bool = False,
    seed: int = 0,
) -> Writing:
    """Have a request answered, or join whoever of the user asked the same a moment ago.

    `model` gives the model that scores; it is told whom to tell while that wakes up. Raises ModelUnavailable.
    """
    new = Writing(user, request, offline=offline, fresh=fresh, seed=seed)

    def waking(seconds: float | None) -> None:
        if seconds is not None:
            new.hear(f"The model is waking up: {seconds:.0f} s")

    scoring = model(waking)
    with _lock:
        for one in _under_way:
            if (one.user, one.request, one.offline, one.fresh) == (user, request, offline, fresh):
                return one
        _under_way.append(new)
    threading.Thread(target=new.run, args=(scoring,), name="concepts", daemon=True).start()
    return new


def _leave(writing: Writing) -> None:
    with _lock:
        if writing in _under_way:
            _under_way.remove(writing)
