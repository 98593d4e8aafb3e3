"""A model that answers from another computer: the dashboard's scores over `POST /predict` (MILES_PREDICT_URL).

`Remote` scores as `scoring.Model` does. A host that sleeps until it is asked is waited for, and whoever waits is
told; what is answered is all of it or an error that says what to do. The only home of requests. Knows nothing
about pages.
"""

import base64
import json
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import ConfigDict, TypeAdapter, ValidationError
from urllib3.exceptions import NameResolutionError

from miles import __version__, decoding
from miles.api_schema import MOST_PAST, MOST_VIDEOS, MOST_VIEWS, Prediction
from miles.candidates import MAX_TITLE
from miles.errors import ImageRefused, MilesError, ModelUnavailable
from miles.features import IMAGE_SIZE, GrowthCurve, PastVideo, ScoreInput, known_past

if TYPE_CHECKING:
    from miles.scoring import Score

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 180.0  # seconds until a host that sleeps is given up; the slowest need two minutes to start
CONNECT_TIMEOUT = 10.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two attempts, doubled each time
QUIET = 2.0  # seconds within which a host that is awake answers; before it nobody is told of waking
TICK = 0.5  # seconds between two times that who waits is told
MOST_BYTES = 6_000_000  # of one request; the API takes 16 MiB, a proxy before it often less
LONGEST_ANSWER = 4_000_000  # bytes; one of 256 videos has 200,000
KEPT, KEPT_FOR = 2_000, 300.0  # answers, seconds: each click runs a page anew, with the same questions
ASLEEP = (408, 425, 429, 502, 503, 504)  # answers of a host, or of what stands before it, that may get better

OnWaking = Callable[[float | None], None]
ANY_CURVE = GrowthCurve((1.0,), (0.0,))  # only to see which earlier videos count; their values are the server's


class _Answer(Prediction):
    """What the server says of one video; a later one may say more."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


_ANSWERS = TypeAdapter(list[_Answer])


@dataclass(frozen=True, slots=True)
class _NotYet:
    """An attempt that may go better later."""

    why: str
    after: float = 0.0  # seconds, as the server asks


@dataclass(frozen=True, slots=True)
class Facts:
    """What has to be known of a model to ask it."""

    version: str
    image_size: tuple[int, int]  # width and height in pixels of what it sees of a picture


class Remote:
    """A model behind an address. Safe to share between threads; make it once and keep it."""

    needs_title = True  # unlike the network itself, the API takes no video without one

    def __init__(self, url: str, key: str | None = None, *, patience: float = PATIENCE) -> None:
        self.url = url.rstrip("/").removesuffix("/predict")
        self.place = urlsplit(self.url).netloc.rpartition("@")[2]
        self._headers = {"User-Agent": f"Miles/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._patience = patience
        self._lock = threading.Lock()
        self._known: OrderedDict[ScoreInput, tuple[float, Score]] = OrderedDict()
        self._facts: tuple[float, Facts] | None = None  # when they were asked for, and what they were

    def telling(self, on_waking: OnWaking) -> "Told":
        """The same model; `on_waking(seconds)` is called again and again while it is waited for, then with None."""
        return Told(self, on_waking)

    @property
    def version(self) -> str:
        """The version of the model that answers. Raises ModelUnavailable."""
        return self.facts().version

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height in pixels of what it sees of a picture. Raises ModelUnavailable."""
        return self.facts().image_size

    def facts(self, on_waking: OnWaking | None = None) -> "Facts":
        """What the model is, as it was said within the last minutes; else asked for. Raises ModelUnavailable."""
        known = self._facts
        if known is None or time.monotonic() - known[0] > KEPT_FOR:
            document = self._ask("GET", "/model", None, on_waking)
            try:
                width, height = document["inputs"].get("image_size", IMAGE_SIZE)
                known = (time.monotonic(), Facts(str(document["version"]), (int(width), int(height))))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self._no_api() from error
            self._facts = known
        return known[1]

    def score(self, inputs: Sequence[ScoreInput], /, on_waking: OnWaking | None = None) -> "list[Score]":
        """One score per input, in the same order. Raises ModelUnavailable, MilesError for an empty title."""
        from miles.scoring import Score

        now = time.monotonic()
        nameless = [replace(video, key="") for video in inputs]  # the same question, whatever it is called
        with self._lock:
            known = {
                video: self._known[video][1]
                for video in nameless
                if video in self._known and now - self._known[video][0] <= KEPT_FOR
            }
        asked = [video for video in dict.fromkeys(nameless) if video not in known]
        answers, sent = self._answers(asked, on_waking) if asked else ([], [])
        for video, answer, (_, said) in zip(asked, answers, sent, strict=True):
            known[video] = Score(
                key="",
                mode=answer.mode,
                viral_score=answer.viral_score,
                predicted_multiple=answer.predicted_multiple,
                predicted_velocity=answer.predicted_velocity,
                velocity_low=answer.velocity_low,
                velocity_high=answer.velocity_high,
                predicted_velocity_7d=answer.predicted_velocity_7d,
                base_rate=answer.base_rate,
                model_version=answer.model_version,
                note="; ".join((*answer.notes, *said)) or None,
            )
        self._remember({video: known[video] for video in asked})
        if len({score.model_version for score in known.values()}) > 1:  # replaced since the others were answered
            return self.score(inputs, on_waking)
        return [replace(known[video], key=given.key) for video, given in zip(nameless, inputs, strict=True)]

    def _answers(
        self, asked: Sequence[ScoreInput], on_waking: OnWaking | None
    ) -> tuple[list[_Answer], list[tuple[dict[str, Any], list[str]]]]:
        """The answers to distinct questions, all by one model; and what was sent, with notes on what was not."""
        for _ in range(2):  # a model that is replaced meanwhile may look at pictures in another size
            facts = self.facts(on_waking)
            pictures = {video.thumbnail for video in asked if video.thumbnail is not None}
            small = {image: _small(image, facts.image_size) for image in pictures}
            sent = [_sent(video, str(place), small) for place, video in enumerate(asked)]
            answers: list[_Answer] = []
            for batch in _batches([one for one, _ in sent]):
                answers += self._predict(batch, on_waking)
            if {answer.model_version for answer in answers} == {facts.version}:
                return answers, sent
            self._facts = None
            with self._lock:
                self._known.clear()
        raise ModelUnavailable(f"The model at {self.place} was replaced while it was asked. Try again.")

    def _remember(self, new: "Mapping[ScoreInput, Score]") -> None:
        now = time.monotonic()
        with self._lock:
            self._known.update((video, (now, score)) for video, score in new.items())
            while len(self._known) > KEPT:
                self._known.popitem(last=False)

    def _predict(self, batch: Sequence[Mapping[str, Any]], on_waking: OnWaking | None) -> list[_Answer]:
        """The answers to one request, each to its own question. Raises ModelUnavailable."""
        document = self._ask("POST", "/predict", batch, on_waking)
        try:
            answers = _ANSWERS.validate_python(document)
        except ValidationError as error:
            raise self._no_api() from error
        if [answer.id for answer in answers] != [video["id"] for video in batch]:
            raise ModelUnavailable(f"The model at {self.place} did not answer what it was asked. Try again later.")
        return answers

    def _ask(self, method: str, path: str, body: object, on_waking: OnWaking | None) -> Any:
        """The JSON that is answered, waited for while the host wakes. Raises ModelUnavailable."""
        begun = time.monotonic()
        told = False

        def tick() -> None:
            nonlocal told
            waited = time.monotonic() - begun
            if waited > self._patience:
                raise TimeoutError
            if on_waking is not None and waited > QUIET:
                told = True
                on_waking(waited)

        pause, why = FIRST_PAUSE, "it has not answered"
        try:
            while True:
                outcome = _ticking(lambda: self._attempt(method, path, body), tick)
                if not isinstance(outcome, _NotYet):
                    return outcome
                logger.info("The remote model is waited for: %s", outcome.why)
                why = outcome.why
                until = time.monotonic() + max(pause, min(outcome.after, LONGEST_PAUSE))
                while (left := until - time.monotonic()) > 0:
                    tick()
                    time.sleep(min(TICK, left))
                pause = min(2 * pause, LONGEST_PAUSE)
        except TimeoutError as error:
            raise ModelUnavailable(
                f"The model at {self.place} could not be reached within {self._patience:.0f} s: {why}. "
                "See whether it runs, and try again; without MILES_PREDICT_URL the model of this computer is used."
            ) from error
        finally:
            if told and on_waking is not None:
                on_waking(None)

    def _attempt(self, method: str, path: str, body: object) -> Any:
        """One request: the JSON of its answer, or why to try again. Raises ModelUnavailable."""
        try:
            with requests.request(
                method,
                self.url + path,
                data=json.dumps(body).encode() if body is not None else None,
                headers={**self._headers, "Content-Type": "application/json", "Accept": "application/json"},
                timeout=(CONNECT_TIMEOUT, self._patience),
                allow_redirects=False,
                stream=True,
            ) as answer:
                content = b""
                for part in answer.iter_content(65_536):
                    content += part
                    if len(content) > LONGEST_ANSWER:
                        raise self._no_api()
                return self._read(answer, content)
        except requests.exceptions.SSLError as error:
            raise ModelUnavailable(
                f"The certificate of {self.place} is not valid for that name. Correct MILES_PREDICT_URL."
            ) from error
        except requests.exceptions.ConnectionError as error:
            if isinstance(getattr(error.args[0] if error.args else None, "reason", None), NameResolutionError):
                raise ModelUnavailable(
                    f"There is no computer named {self.place}. Correct MILES_PREDICT_URL, or see to the network."
                ) from error
            return _NotYet("nothing answers there")
        except (requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError):
            return _NotYet("its answer broke off")
        except requests.exceptions.RequestException as error:
            raise ModelUnavailable(
                f"{self.place} can't be asked ({type(error).__name__}). Correct MILES_PREDICT_URL."
            ) from error

    def _read(self, answer: requests.Response, content: bytes) -> Any:
        """What an answer says: its JSON, or why to try again. Raises ModelUnavailable."""
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        problem = document if isinstance(document, dict) else {}
        detail = str(problem.get("detail", ""))[:300] or f"status {answer.status_code}"
        status = answer.status_code
        if status == 200 and document is not None:
            return document
        if status in (401, 403):
            raise ModelUnavailable(
                f"The model at {self.place} refuses the key. Set MILES_PREDICT_KEY to one of its keys."
            )
        if str(problem.get("type", "")).endswith("model-unavailable"):
            raise ModelUnavailable(f"The computer at {self.place} has no model that works: {detail}")
        if status in ASLEEP:
            after = answer.headers.get("Retry-After", "")
            return _NotYet(f"it answers {detail}", float(after) if after.isdecimal() else 0.0)
        if 300 <= status < 400:
            where = answer.headers.get("Location", "elsewhere")[:200]
            raise ModelUnavailable(f"{self.place} leads on to {where}. Set MILES_PREDICT_URL to where the API is.")
        if status in (200, 404, 405):
            raise self._no_api()
        raise ModelUnavailable(f"The model at {self.place} did not answer: {detail}")

    def _no_api(self) -> ModelUnavailable:
        return ModelUnavailable(
            f"At {self.place} answers something that is no Miles API. Set MILES_PREDICT_URL to the address before /predict."
        )


@dataclass(frozen=True, slots=True)
class Told:
    """A remote model, and who is told while it wakes up."""

    remote: Remote
    on_waking: OnWaking
    needs_title = True

    @property
    def version(self) -> str:
        return self.remote.facts(self.on_waking).version

    @property
    def image_size(self) -> tuple[int, int]:
        return self.remote.facts(self.on_waking).image_size

    def score(self, inputs: Sequence[ScoreInput], /) -> "list[Score]":
        return self.remote.score(inputs, self.on_waking)


def _ticking(work: Callable[[], T], tick: Callable[[], None]) -> T:
    """The result of `work`, done in a thread; meanwhile `tick` is called here, and ends the waiting if it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="remote")
    thread.start()
    while thread.is_alive():
        thread.join(TICK)
        if thread.is_alive():
            tick()
    if errors:
        raise errors[0]
    return results[0]


def _batches(videos: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The videos in order, as many in each request as it may hold."""
    batch: list[dict[str, Any]] = []
    size = 0
    for video in videos:
        bytes_ = len(json.dumps(video))
        if batch and (len(batch) == MOST_VIDEOS or size + bytes_ > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(video)
        size += bytes_
    if batch:
        yield batch


def _sent(video: ScoreInput, name: str, pictures: Mapping[bytes, str | None]) -> tuple[dict[str, Any], list[str]]:
    """A video as the API takes it, and notes on what it is not told. `pictures`: what `_small` makes of each.

    Whatever the model makes nothing of, or no more of than of the API's limit, is left out or cut to it.
    """
    if not video.title.replace("\0", "").strip():
        raise MilesError("A video without a title can't be scored by a model on another computer. Give it one.")
    notes = []
    image = pictures[video.thumbnail] if video.thumbnail is not None else None
    if video.thumbnail is not None and image is None:
        notes.append("the thumbnail could not be read and was left out")
    language = (video.language or "").replace("_", "-").split("-")[0].lower() or None  # all that the model looks at
    if language and not (language.isascii() and language.isalpha() and 2 <= len(language) <= 8):
        language = "mis"  # ISO 639: one without a code, and to the model one that it does not know
    seconds = video.duration
    document = {
        "id": name,
        "title": _title(video.title),
        "image": image,
        "category_id": None if video.category_id is None else min(max(video.category_id, 0), 10_000),
        "duration": min(seconds, 1e7) if seconds is not None and math.isfinite(seconds) and seconds > 0 else None,
        "language": language,
        "published_at": _moment(video.published_at),
        "observed_at": _moment(video.observed_at),
        "views": _count(video.views),
        "likes": _count(video.likes) if video.mode == "candidate" else None,
        "comments": _count(video.comments) if video.mode == "candidate" else None,
        "country_count": None if video.country_count is None else min(max(video.country_count, 0), 1_000),
        "history": [_past(one) for one in _useful(video)],
    }
    if video.mode == "draft":
        document |= {"views": None, "observed_at": None}
    return {name: value for name, value in document.items() if value not in (None, [])}, notes


def _small(image: bytes, size: tuple[int, int]) -> str | None:
    """A picture as the model will see it, in base64: to it the same bits, in some 30 KB. None: unreadable."""
    try:
        return base64.b64encode(decoding.shrunk(image, size)).decode()
    except ImageRefused:
        return None


def _useful(video: ScoreInput) -> list[PastVideo]:
    """The earlier videos that count, the latest first, no more than the API takes: it would cut, or refuse."""
    counting = [one for one in video.history if known_past(replace(video, history=(one,)), ANY_CURVE)]
    latest = sorted(counting, key=lambda one: (_moment(one.published_at), one.title), reverse=True)
    return latest[:MOST_PAST]


def _past(one: PastVideo) -> dict[str, Any]:
    facts = {
        "title": _title(one.title),
        "published_at": _moment(one.published_at),
        "observed_at": _moment(one.observed_at),
        "views": _count(one.views),
        "age_days": None if one.age_days is None else min(max(one.age_days, 0.0), 40_000.0),
        "log10_views_24h": None if one.log10_views_24h is None else min(max(one.log10_views_24h, 0.0), 13.0),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _title(title: str) -> str:
    # The API takes no NUL; the tokenizer drops it like every other control character.
    return title.replace("\0", "\1")[:MAX_TITLE].encode("utf-8", "replace").decode("utf-8")


def _count(count: int | None) -> int | None:
    return None if count is None else min(max(int(count), 0), MOST_VIEWS)


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
