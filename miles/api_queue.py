"""Scores the videos of many requests together: what arrives while the model works goes into its next run.

One run at a time: the model keeps all processors busy by itself, and a score is the same to the last bit
in any company. Nobody waits for company, so a single client is as fast as without. Takes turns, so that a
request of 256 videos does not hold up a request of one. Knows nothing about HTTP, and belongs to no event
loop: the API may be mounted beside anything.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from miles.errors import MilesError, ModelUnavailable

if TYPE_CHECKING:
    from miles.features import ScoreInput
    from miles.scoring import Model, Score

logger = logging.getLogger(__name__)

RUN = 64  # videos in one run: with new titles and pictures about 0.3 s on two cores, which is what others wait
TURN = 16  # videos of one request in a row, while others wait
LOAD_AGAIN = 5.0  # seconds after a failed load; a broken folder must not be read for each request
FIRST_GUESS = 0.01  # seconds for a video, until the first run has been timed
Waiting = Literal["ready", "waking up", "failed"]


class QueueFull(MilesError):
    """Too many videos wait already. `seconds` says when it may be worth asking again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(slots=True, eq=False)
class _Job:
    inputs: "Sequence[ScoreInput]"
    future: "Future[list[Score]]"
    scores: "list[Score]" = field(default_factory=list)  # of the first inputs, as far as scored


class Scorer:
    """Gathers videos into runs of the model; safe between threads. `load` gives the model in force."""

    def __init__(self, load: "Callable[[], Model]", most_waiting: int = 2048) -> None:
        self._load = load
        self._most = most_waiting
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._videos = 0  # waiting or being scored
        self._busy = False  # whether a thread works off the jobs
        self._worker = _thread()
        self._pace = FIRST_GUESS  # seconds for a video, lately
        self._model: Model | None = None
        self._failed: tuple[float, MilesError] | None = None  # when and why the model was not to be had

    @property
    def waiting(self) -> int:
        """Videos that wait or are being scored."""
        return self._videos

    @property
    def state(self) -> Waiting:
        """Whether the model is there."""
        return "ready" if self._model is not None else "failed" if self._failed is not None else "waking up"

    @property
    def model(self) -> "Model | None":
        """The model of the latest run, if there is one."""
        return self._model

    def wake(self) -> None:
        """Begin to load the model, if that has not happened yet."""
        if self._model is None:
            with self._lock:
                self._start()

    def submit(self, inputs: "Sequence[ScoreInput]") -> "Future[list[Score]]":
        """The scores, one for each input in the same order; cancel it to give them up.

        Raises QueueFull. The future raises ModelUnavailable or another MilesError.
        """
        future: Future[list[Score]] = Future()
        if not inputs:
            future.set_result([])
            return future
        with self._lock:
            # a lone request passes whatever the limit, or it could never be answered
            if self._videos and self._videos + len(inputs) > self._most:
                raise QueueFull(f"{self._videos:,} videos are waiting already.", self._videos * self._pace)
            self._videos += len(inputs)
            self._jobs.append(_Job(inputs, future))
            self._start()
        future.add_done_callback(lambda _: self._leave(len(inputs)))
        return future

    def close(self) -> None:
        """Give up what waits and let the run at hand end. It may be used again afterwards."""
        with self._lock:
            jobs, self._jobs = list(self._jobs), deque()
            worker, self._worker = self._worker, _thread()
        for job in jobs:
            job.future.cancel()
        worker.shutdown(wait=True)

    def _leave(self, videos: int) -> None:
        with self._lock:
            self._videos -= videos

    def _start(self) -> None:
        if not self._busy:
            self._busy = True
            self._worker.submit(self._work)

    def _work(self) -> None:
        try:
            model = self._ready_model()
            while True:
                run = self._next_run()
                if not run:
                    return
                if model is None:
                    for job, _ in run:
                        self._drop(job, self._failed[1] if self._failed else ModelUnavailable("There is no model."))
                    continue
                self._score(model, run)
                model = self._ready_model()
        except BaseException:  # a bug here: nobody must wait for ever
            logger.exception("The scoring thread stumbled")
            with self._lock:
                self._busy = False
                jobs, self._jobs = list(self._jobs), deque()
            for job in jobs:
                job.future.cancel()
            raise

    def _ready_model(self) -> "Model | None":
        """The model in force; None where it can't be had, for a while after trying."""
        if self._failed is not None and time.monotonic() - self._failed[0] < LOAD_AGAIN:
            return None
        try:
            self._model = self._load()
            self._failed = None
        except Exception as error:
            logger.exception("The API has no model to score with")
            self._model = None
            told = error if isinstance(error, MilesError) else ModelUnavailable("The model can't be loaded.")
            self._failed = (time.monotonic(), told)
        return self._model

    def _next_run(self) -> "list[tuple[_Job, Sequence[ScoreInput]]]":
        """Up to RUN videos, some of each waiting request in turn. Ends the work where none waits."""
        run: list[tuple[_Job, Sequence[ScoreInput]]] = []
        taken: dict[_Job, int] = {}
        room = RUN
        with self._lock:
            while room and self._jobs:
                job = self._jobs.popleft()
                if job.future.cancelled():
                    continue
                begin = len(job.scores) + taken.get(job, 0)
                part = job.inputs[begin : begin + min(TURN, room)]
                run.append((job, part))
                taken[job] = taken.get(job, 0) + len(part)
                room -= len(part)
                if begin + len(part) < len(job.inputs):
                    self._jobs.append(job)
            if not run:
                self._busy = False
        return run

    def _score(self, model: "Model", run: "list[tuple[_Job, Sequence[ScoreInput]]]") -> None:
        inputs = [video for _, part in run for video in part]
        begun = time.monotonic()
        try:
            scores = iter(model.score(inputs))
        except Exception:
            logger.exception("A run of %d videos failed; scoring each request alone", len(inputs))
            self._score_alone(model, run)
            return
        self._pace += (min((time.monotonic() - begun) / len(inputs), 1.0) - self._pace) / 4
        for job, part in run:
            job.scores += [next(scores) for _ in part]
            self._finish(job)

    def _score_alone(self, model: "Model", run: "list[tuple[_Job, Sequence[ScoreInput]]]") -> None:
        """One request that the model can't score must not take others with it."""
        for job, part in run:
            if job.future.done():
                continue
            try:
                job.scores += model.score(part)
                self._finish(job)
            except Exception as error:
                self._drop(job, error)

    def _finish(self, job: _Job) -> None:
        if len(job.scores) == len(job.inputs) and job.future.set_running_or_notify_cancel():
            job.future.set_result(job.scores)

    def _drop(self, job: _Job, error: BaseException) -> None:
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)
        if not job.future.done() and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="api-scoring")
