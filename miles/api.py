"""The HTTP API: `POST /predict`, `GET /model`, `GET /health`. Needs no database and no Streamlit.

`create_app` makes it; `python -m miles api` serves it alone, Home.py mounts it beside the dashboard.
Which request may pass is decided in `api_gate`, what it may hold in `api_schema`, when it is scored in
`api_queue`, and how an error reads in `api_problems`; this module puts them together.
"""

import asyncio
import functools
import logging
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Body, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from miles import __version__, api_examples, api_gate, api_schema, decoding, images, settings
from miles.api_gate import Gate
from miles.api_problems import (
    BUSY,
    IMAGE,
    INTERNAL,
    INVALID,
    MALFORMED,
    NO_KEY,
    NO_MODEL,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_JSON,
    PLAIN_HEADERS,
    SLOW_BODY,
    TIMED_OUT,
    TOO_LARGE,
    TOO_MANY,
    WAKING,
    Fault,
    FaultOut,
    Problem,
    ProblemOut,
    documented,
    pointer,
)
from miles.api_queue import QueueFull, Scorer
from miles.api_schema import Definition, Health, ModelFacts, Prediction, Video, Videos
from miles.errors import ImageRefused, MilesError
from miles.features import IMAGE_SIZE
from miles.settings import Settings

if TYPE_CHECKING:
    from miles.features import ScoreInput
    from miles.scoring import Model, Score

logger = logging.getLogger(__name__)

FETCHES = 32  # images fetched at once; most of it is waiting, and slow servers must not hold up the others
CHECKS = 4  # images from requests decoded at once
MOST_IMAGES = 1024  # that wait for it; four full requests
BODIES_HELD = 8  # bodies of the greatest size that may be in memory at once; smaller ones, accordingly more
FAULTS_TOLD = 50  # of one request
DEFAULT_PORT = 8600  # of `python -m miles api`

DEFINITIONS = {
    "draft": {
        "asks": "Not yet published: will it beat this channel's usual?",
        "viral_score": "Calibrated probability that the views after 24 hours, over the channel's median, reach the "
        "90th percentile of the category as it was at training.",
        "predicted_velocity": "Views in the first 24 hours.",
        "predicted_multiple": "Predicted views after 24 hours ÷ the median of the channel's up to 20 latest videos; "
        "null where fewer than 5 of them are known.",
        "interval": "velocity_low to velocity_high holds 8 of 10 outcomes (conformal).",
    },
    "candidate": {
        "asks": "Already published and observed: how fast will it grow next?",
        "viral_score": "Calibrated probability that the mean new views per day over the next 3 days reach the 90th "
        "percentile of the age band and category as they were at training.",
        "predicted_velocity": "Mean new views per day over the next 3 days; predicted_velocity_7d over 7 days.",
        "predicted_multiple": None,
        "interval": "velocity_low to velocity_high holds 8 of 10 outcomes (conformal, per age band).",
    },
}
DESCRIPTION = """\
Scores short videos, before and after they are published, with the model of this Miles.

- `viral_score` is a calibrated probability of an event that `GET /model` defines; `base_rate` says how often
  that event happens at all.
- Velocities are views per day, with an interval that holds 8 of 10 outcomes.
- An image that can't be used is an error, never silently left out; `notes` say what was missing or unusual.
- Every error is a problem document (RFC 9457), whose `type` never changes.
"""


class Service:
    """What all requests share: the gate, the scoring queue, the images' threads. Safe between threads."""

    def __init__(self, load: "Callable[[], Model]", chosen: Settings) -> None:
        self.settings = chosen
        self.gate = Gate(chosen)
        self.scorer = Scorer(load, chosen.api_queue)
        self.begun = time.monotonic()
        self._fetching, self._checking = _image_threads()
        self._lock = threading.Lock()
        self._pictures = 0  # that wait or are being looked at
        self._bytes = 0  # of bodies in memory

    def close(self) -> None:
        """End the threads; what still waits is given up. It may be used again afterwards."""
        ending = self._fetching, self._checking
        self._fetching, self._checking = _image_threads()
        for threads in ending:
            threads.shutdown(wait=False, cancel_futures=True)
        self.scorer.close()

    async def guard(self, request: Request, answer: "Callable[[Request], Awaitable[Response]]", body: bool) -> Response:
        """One request from admission to answer, whatever happens on the way."""
        headers: dict[str, str] = {}
        held = 0
        begun = time.monotonic()

        def claim(size: int) -> None:
            nonlocal held
            with self._lock:
                if self._bytes + size > BODIES_HELD * self._largest:
                    raise Problem(
                        BUSY, "Too much is being received at once. Try again in 1 s.", headers={"Retry-After": "1"}
                    )
                self._bytes += size
            held += size

        try:
            headers = self.gate.admit(request)
            async with asyncio.timeout(self.settings.api_timeout):
                if body:
                    api_gate.must_be_json(request)
                    request._json = api_gate.parse(await api_gate.read_body(request, self._largest, claim))
                    request._body = b"{}"  # parsed above; FastAPI asks for it only to see that there is one
                response = await _unless_gone(request, answer(request))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except TimeoutError:
            seconds = f"{self.settings.api_timeout:g}"
            response = Problem(
                TIMED_OUT, f"There was no answer within {seconds} s. Send fewer videos at once, or try again later."
            ).response()
        except Exception as error:
            response = _answer_for(error)
        finally:
            with self._lock:
                self._bytes -= held
        response.headers.update({**PLAIN_HEADERS, **headers})
        took = round((time.monotonic() - begun) * 1000)
        logger.info(
            "%s %s: %d in %d ms",
            *(request.method, request.url.path, response.status_code, took),
            extra={"status": response.status_code, "milliseconds": took, "bytes": held},
        )
        return response

    @property
    def _largest(self) -> int:
        return self.settings.api_body_mb * 2**20

    async def predict(self, videos: Sequence[Video], at: Callable[[int], tuple[str | int, ...]]) -> list[Prediction]:
        """Predictions in the order of the videos. `at(i)` is the path of the i-th in the body."""
        thumbnails = await self._thumbnails(videos, at)
        now = datetime.now(UTC)
        inputs: list[ScoreInput] = []
        notes: list[list[str]] = []
        faults = []
        for i, video in enumerate(videos):
            try:
                made, said = api_schema.to_input(video, thumbnails.get(i), now)
            except ValueError as error:
                faults.append(Fault(pointer(*at(i), "observed_at"), str(error), "observed_before_published"))
                continue
            inputs.append(made)
            notes.append(said)
        if faults:
            raise _invalid(faults)
        try:
            scores = await asyncio.wrap_future(self.scorer.submit(inputs))
        except QueueFull as full:
            wait = min(max(round(full.seconds), 1), 60)
            raise Problem(BUSY, f"{full} Try again in {wait} s.", headers={"Retry-After": str(wait)}) from full
        except MilesError as error:
            # its message names folders of this machine: for the log, which has it, not for strangers
            raise Problem(NO_MODEL, "The model can't be used; the server's log says why.") from error
        return [_prediction(*one) for one in zip(videos, scores, notes, strict=True)]

    async def _thumbnails(
        self, videos: Sequence[Video], at: Callable[[int], tuple[str | int, ...]]
    ) -> Mapping[int, bytes]:
        """Index -> the checked image of each video that has one. Raises Problem naming every bad one."""
        wanted: dict[int, tuple[str, str]] = {}
        for i, video in enumerate(videos):
            if video.image is not None:
                wanted[i] = ("image", video.image)
            elif video.image_url is not None:
                wanted[i] = ("image_url", video.image_url)
        distinct = dict.fromkeys(wanted.values())
        with self._lock:
            if distinct and self._pictures and self._pictures + len(distinct) > MOST_IMAGES:
                raise Problem(BUSY, "Too many images are waiting. Try again in 5 s.", headers={"Retry-After": "5"})
            self._pictures += len(distinct)
        # before the model is there nobody knows what it will see: images then wait as they came
        size = None if self.scorer.model is None else getattr(self.scorer.model, "image_size", IMAGE_SIZE)
        try:
            work: list[Future[bytes]] = [
                (self._fetching if source[0] == "image_url" else self._checking).submit(_look_at, *source, size)
                for source in distinct
            ]
            try:
                outcomes = await asyncio.gather(*map(asyncio.wrap_future, work), return_exceptions=True)
            finally:
                for future in work:
                    future.cancel()
        finally:
            with self._lock:
                self._pictures -= len(distinct)
        told = dict(zip(distinct, outcomes, strict=True))
        faults = []
        for i, source in wanted.items():
            outcome = told[source]
            if isinstance(outcome, ImageRefused):
                faults.append(Fault(pointer(*at(i), source[0]), str(outcome), outcome.kind))
            elif isinstance(outcome, BaseException):
                raise outcome
        if faults:
            raise Problem(IMAGE, _sentence(faults), faults=faults[:FAULTS_TOLD])
        return {i: told[source] for i, source in wanted.items()}  # type: ignore[misc]  # no exception is left

    def health(self) -> Health:
        self.scorer.wake()
        state, model = self.scorer.state, self.scorer.model
        return Health(
            status=state,
            ready=state == "ready",
            model_version=model.version if model else None,
            version=__version__,
            uptime_seconds=round(time.monotonic() - self.begun, 1),
            waiting=self.scorer.waiting,
        )

    async def manifest(self) -> Mapping[str, Any]:
        """That of the model in force; waits for it if need be. Raises Problem."""
        self.scorer.wake()
        while True:
            if model := self.scorer.model:
                return model.manifest
            if self.scorer.state == "failed":
                raise Problem(NO_MODEL, "The model can't be loaded; the server's log says why.")
            await asyncio.sleep(0.05)


def _image_threads() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    return (
        ThreadPoolExecutor(FETCHES, thread_name_prefix="api-fetching"),
        ThreadPoolExecutor(CHECKS, thread_name_prefix="api-checking"),
    )


def _look_at(kind: str, given: str, size: tuple[int, int] | None) -> bytes:
    """What a model that sees `size` sees of an image, from its base64 or its address. Raises ImageRefused.

    As small as that here already, so that decoding is done beside the model's runs and not in them.
    """
    if kind == "image_url":
        image = images.fetch(given)
    else:
        try:
            image = images.check(api_schema.decode_image(given))
        except ValueError as error:
            raise ImageRefused(str(error), "not_base64") from error
    return image.data if size is None else decoding.shrunk(image.data, size)


def _prediction(video: Video, score: "Score", notes: list[str]) -> Prediction:
    return Prediction(
        id=video.id,
        mode=score.mode,
        viral_score=score.viral_score,
        base_rate=score.base_rate,
        predicted_multiple=score.predicted_multiple,
        predicted_velocity=score.predicted_velocity,
        velocity_low=score.velocity_low,
        velocity_high=score.velocity_high,
        predicted_velocity_7d=score.predicted_velocity_7d,
        model_version=score.model_version,
        notes=notes + (score.note.split("; ") if score.note else []),
    )


async def _unless_gone(request: Request, answer: Awaitable[Response]) -> Response:
    """The answer; given up as soon as whoever asked has gone. Raises ClientDisconnect."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, gone = asyncio.ensure_future(answer), asyncio.ensure_future(hang_up())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            logger.info("A client went away before its answer was ready")
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


# --- errors -----------------------------------------------------------------------------------------


def _answer_for(error: Exception) -> Response:
    """The problem document for an exception; for one that nobody foresaw, with a traceback in the log."""
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, RequestValidationError):
        problem = _invalid([_fault(one) for one in error.errors()])
    elif isinstance(error, HTTPException):
        problem = _http_problem(error)
    else:
        problem = Problem(INTERNAL, "This is a fault of the server. Its log has it under the name in `instance`.")
        logger.error("Unforeseen, told the client as %s", problem.instance, exc_info=error)
    if problem.kind.status >= 500 and problem.kind is not INTERNAL:
        logger.warning("%s: %s (%s)", problem.kind.title, problem.detail, problem.instance)
    return problem.response()


def _http_problem(error: HTTPException) -> Problem:
    """What Starlette and FastAPI raise by themselves."""
    kind, detail = {
        404: (NOT_FOUND, "There is nothing here. See GET /openapi.json for what there is."),
        405: (NOT_ALLOWED, "Use one of the methods in the Allow header."),
    }.get(error.status_code, (MALFORMED, str(error.detail)))
    return Problem(kind, detail, headers=error.headers)


def _fault(error: Mapping[str, Any]) -> Fault:
    """A fault in our words from one of pydantic's."""
    path = list(error["loc"])[1:]  # without "body"
    if path and path[0] in ("one", "many"):  # which of the two shapes it was taken for
        path = path[1:]
    kind = str(error["type"])
    text = str(error["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        text = "is missing"
    elif kind == "extra_forbidden":
        text = "is not a field that is known here"
    elif kind == "string_pattern_mismatch":
        text = (
            "should be a language tag such as en or pt-BR"
            if path[-1:] == ["language"]
            else "should have a visible character, and no NUL"
        )
    elif kind == "too_long" and not path:
        text = f"should be at most {api_schema.MOST_VIDEOS} videos"
    for name in ("Input", "String", "List", "Number"):
        text = text.removeprefix(f"{name} ")
    return Fault(pointer(*(str(step)[:100] for step in path)), text, kind)


def _invalid(faults: Sequence[Fault]) -> Problem:
    return Problem(INVALID, _sentence(faults), faults=faults[:FAULTS_TOLD])


def _sentence(faults: Sequence[Fault]) -> str:
    first = " ".join(f"{fault.pointer or 'The body'}: {fault.detail.rstrip('.')}." for fault in faults[:3])
    return first if len(faults) == 1 else f"{len(faults)} faults. {first}{' …' if len(faults) > 3 else ''}"


# --- the app ----------------------------------------------------------------------------------------


class _Guarded(APIRoute):
    """A route behind the gate, whose body is read with limits before FastAPI sees it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        has_body = self.body_field is not None

        async def guarded(request: Request) -> Response:
            service: Service = request.app.state.service
            return await service.guard(request, answer, has_body)

        return guarded


#: Only for the document: `Gate` decides, before anything else of a request is read.
KEYS = [
    Depends(HTTPBearer(auto_error=False, scheme_name="Bearer", description="A key of MILES_API_KEYS.")),
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="Key", description="The same key.")),
]
_ADMISSION = (NO_KEY, TOO_MANY)
_READING = (MALFORMED, SLOW_BODY, TOO_LARGE, NOT_JSON)
_WORKING = (INTERNAL, BUSY, TIMED_OUT, NO_MODEL)


def create_app(
    load: "Callable[[], Model] | None" = None, chosen: Settings | None = None, *, wake: bool = True
) -> FastAPI:
    """The API as an ASGI app.

    `load` gives the model in force and is asked before every run, so it should remember its answer;
    by default the model of MILES_MODEL, loaded once. With `wake` it is loaded when the server starts, else
    at the first request (also where a parent app does not pass lifespan events on).
    """
    chosen = chosen or settings.load()
    service = Service(load or _shipped(chosen), chosen)
    keys = KEYS if chosen.keys else []  # where none is needed the document must not ask for one

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if wake:
            service.scorer.wake()
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Miles",
        version=__version__,
        summary="Will this video take off?",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the usual viewers are loaded from elsewhere; Miles works without a network
        redoc_url=None,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.service = service
    app.router.route_class = _Guarded

    @app.post(
        "/predict",
        summary="Score one video, or up to 256",
        operation_id="predict",
        tags=["predictions"],
        dependencies=keys,
        responses={
            200: {
                "description": "A prediction for one video; for a list, a list in the same order.",
                "headers": _RATE_HEADERS,
                "content": {"application/json": {"examples": api_examples.ANSWERS}},
            },
            **documented(*_ADMISSION, *_READING, INVALID, IMAGE, *_WORKING),
        },
    )
    async def predict(
        videos: Annotated[Videos, Body(openapi_examples=api_examples.REQUESTS)],
    ) -> Prediction | list[Prediction]:
        """Only the title must be known; each further fact makes the answer better.

        A list is answered whole or not at all: one image that can't be used fails it, and the problem says which.
        """
        if isinstance(videos, Video):
            return (await service.predict([videos], lambda _: ()))[0]
        return await service.predict(videos, lambda i: (i,))

    @app.get(
        "/model",
        summary="The model in use",
        operation_id="model",
        tags=["about"],
        dependencies=keys,
        responses=documented(*_ADMISSION, *_WORKING),
    )
    async def model() -> ModelFacts:
        """Version, definitions of the events, base rates, and how well it did on videos it had not seen."""
        return _facts(await service.manifest())

    async def health(_: Request) -> Response:
        return JSONResponse(service.health().model_dump(), headers=PLAIN_HEADERS)

    async def ready(_: Request) -> Response:
        state = service.health()
        if state.status == "failed":
            return Problem(NO_MODEL, "The model can't be loaded; the server's log says why.").response()
        if not state.ready:
            return Problem(
                WAKING, "The model is being loaded. Try again in 1 s.", headers={"Retry-After": "1"}
            ).response()
        return JSONResponse(state.model_dump(), headers=PLAIN_HEADERS)

    async def ping(_: Request) -> Response:
        """As RunPod's load balancer asks: 204 while the model is being loaded."""
        state = service.health()
        if state.status == "failed":
            return Problem(NO_MODEL, "The model can't be loaded; the server's log says why.").response()
        return Response(status_code=200 if state.ready else 204, headers=PLAIN_HEADERS)

    async def index(request: Request) -> Response:
        return JSONResponse(
            {"name": "Miles", "version": __version__, "predict": "predict", "model": "model", "health": "health",
             "openapi": "openapi.json"}
        )  # fmt: skip

    # Open to everyone: whoever watches over a server has no key.
    open_routes: Iterable[tuple[str, Any, dict[str, Any]]] = (
        (
            "/health",
            health,
            {
                "summary": "Whether the server lives, and whether it can score",
                "description": "Always 200 while the process answers; the first call begins to load the model.",
                "responses": {200: {"model": Health}},
            },
        ),
        (
            "/ready",
            ready,
            {
                "summary": "Whether the server can score",
                "description": "As `/health`, but 503 until the model is loaded: for load balancers.",
                "responses": {200: {"model": Health}, **documented(NO_MODEL, WAKING)},
            },
        ),
    )
    for path, answer, documentation in open_routes:
        name = path.removeprefix("/")
        app.router.add_api_route(
            path,
            answer,
            route_class_override=APIRoute,
            operation_id=name,
            tags=["about"],
            response_model=None,
            **documentation,
        )
        app.router.add_route(path, answer, methods=["HEAD"], include_in_schema=False)
    app.router.add_route("/ping", ping, methods=["GET", "HEAD"], include_in_schema=False)
    app.router.add_route("/", index, methods=["GET", "HEAD"], include_in_schema=False)

    async def told(_: Request, error: Exception) -> Response:
        return _answer_for(error)

    for kind in (HTTPException, RequestValidationError, Problem, Exception):
        app.add_exception_handler(kind, told)
    app.openapi = functools.partial(_document, app)  # type: ignore[method-assign]
    return app


_RATE_HEADERS = {
    "RateLimit-Limit": {"description": "Requests a minute, where they are limited.", "schema": {"type": "string"}},
    "RateLimit-Remaining": {"description": "Requests that may follow at once.", "schema": {"type": "string"}},
    "RateLimit-Reset": {"description": "Seconds until all of them may.", "schema": {"type": "string"}},
}


def serve(host: str | None = None, port: int | None = None) -> None:
    """Serve the API alone until asked to end. Raises MilesError for a port that is none, or taken."""
    from miles import api_server

    chosen = settings.load()
    api_server.serve(create_app(chosen=chosen), *place(chosen, host, port))


def place(chosen: Settings, host: str | None = None, port: int | None = None) -> tuple[str, int]:
    """Where to listen: as said, else as set, else as a hosting platform says. Raises MilesError."""
    platform = chosen.platform_port
    port = port or chosen.api_port
    if port is None and platform is not None:
        if not re.fullmatch("[0-9]{1,5}", platform) or not 1 <= int(platform) <= 65535:
            raise MilesError(f"PORT={platform} is no port. Unset it, or say --port.")
        port = int(platform)
    usual = "127.0.0.1" if platform is None else "0.0.0.0"  # noqa: S104  # a container is reached from outside
    return host or chosen.api_host or usual, port or DEFAULT_PORT


def _shipped(chosen: Settings) -> "Callable[[], Model]":
    @functools.lru_cache(maxsize=1)
    def load() -> "Model":
        from miles import scoring  # onnxruntime takes a second to import

        return scoring.load(chosen.model_folder)

    return load


def _facts(manifest: Mapping[str, Any]) -> ModelFacts:
    rates = manifest["base_rates"]
    defined = manifest.get("definitions", DEFINITIONS)
    return ModelFacts(
        version=manifest["version"],
        made=manifest.get("made"),
        definitions={mode: Definition(**defined[mode], base_rate=rates[mode]) for mode in ("draft", "candidate")},
        base_rates=rates,
        thresholds=manifest.get("thresholds", {}),
        known_ranges=manifest.get("known_ranges", []),
        inputs=manifest["inputs"],
        metrics=manifest.get("metrics", {}),
        files=manifest["files"],
    )


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the problem's schema that every error shares."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=[
                {"name": "predictions", "description": "What the model says about videos."},
                {"name": "about", "description": "What the server is and how it does."},
            ],
            license_info=app.license_info,
        )
        schemas = document["components"]["schemas"]
        schemas["Problem"] = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas["Problem"].pop("$defs", None)
        schemas["Problem"]["properties"]["errors"] = {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Fault"},
            "description": ProblemOut.model_fields["errors"].description,
        }
        schemas["Fault"] = FaultOut.model_json_schema()
        app.openapi_schema = document
    return app.openapi_schema


def main() -> None:
    """`python -m miles.api`: what `python -m miles api` does, without the command line's and the database's libraries."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        serve()
    except MilesError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
