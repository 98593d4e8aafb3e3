"""What the API answers when it can't answer: RFC 9457 problem details, one kind for each situation.

A `type` never changes once published: programs may rely on it. It is a tag URI (RFC 4151), a name
rather than an address; docs/api.md lists them all. Knows nothing about models or images.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

TYPES = "tag:miles,2026:problem/"  # what every `type` begins with
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A situation: the end of its `type`, its HTTP status, and its title, which never varies."""

    name: str
    status: int
    title: str


MALFORMED = Kind("malformed", 400, "The request can't be read")
NO_KEY = Kind("key-required", 401, "A valid API key is needed")
NOT_FOUND = Kind("not-found", 404, "There is nothing at this address")
NOT_ALLOWED = Kind("method-not-allowed", 405, "This address does not take that method")
SLOW_BODY = Kind("slow-body", 408, "The request did not arrive in time")
TOO_LARGE = Kind("too-large", 413, "The request is too large")
NOT_JSON = Kind("not-json", 415, "The request is not JSON")
INVALID = Kind("invalid", 422, "The request does not fit the schema")
IMAGE = Kind("image-refused", 422, "An image can't be used")
TOO_MANY = Kind("rate-limited", 429, "Too many requests")
INTERNAL = Kind("internal", 500, "Something went wrong here")
BUSY = Kind("busy", 503, "The server is busy")
TIMED_OUT = Kind("timed-out", 503, "The answer took too long")
NO_MODEL = Kind("model-unavailable", 503, "The model is not available")
WAKING = Kind("waking-up", 503, "The model is still being loaded")

KINDS: tuple[Kind, ...] = (
    *(MALFORMED, NO_KEY, NOT_FOUND, NOT_ALLOWED, SLOW_BODY, TOO_LARGE, NOT_JSON, INVALID, IMAGE),
    *(TOO_MANY, INTERNAL, BUSY, TIMED_OUT, NO_MODEL, WAKING),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request."""

    pointer: str  # JSON pointer (RFC 6901) into the body; "" is all of it
    detail: str  # a sentence
    code: str  # for programs, e.g. "missing", "too_long", or the kind of an image's refusal


class Problem(Exception):
    """Ends a request with a problem document. `detail` is read by whoever sent the request."""

    def __init__(
        self, kind: Kind, detail: str, *, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        #: names this one occurrence; the log has it too
        self.instance = f"urn:uuid:{uuid4()}"

    def response(self) -> Response:
        document: dict[str, Any] = {
            "type": TYPES + self.kind.name,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": self.instance,
        }
        if self.faults:
            document["errors"] = [
                {"pointer": fault.pointer, "detail": fault.detail, "code": fault.code} for fault in self.faults
            ]
        # ASCII: a sentence may quote what was sent, and not all of that can be encoded
        return Response(
            json.dumps(document), self.kind.status, media_type=MEDIA_TYPE, headers={**PLAIN_HEADERS, **self.headers}
        )


PLAIN_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def pointer(*path: str | int) -> str:
    """The JSON pointer of a path: ("a", 0) is /a/0."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


# --- for the OpenAPI document -----------------------------------------------------------------------


class FaultOut(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(title="Fault", extra="forbid")

    pointer: str = Field(description="JSON pointer (RFC 6901) into the request's body; empty for all of it.")
    detail: str = Field(description="What is wrong there, and what would be right.")
    code: str = Field(description="The same for programs, such as `missing` or `too_many_pixels`.")


class ProblemOut(BaseModel):
    """A problem (RFC 9457)."""

    model_config = ConfigDict(title="Problem", extra="forbid")

    type: str = Field(description="Names the kind of problem; never changes.")
    title: str = Field(description="The kind of problem in words; the same whenever `type` is the same.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened this time, and what to do.")
    instance: str = Field(description="Names this one occurrence; the server's log has it too.")
    errors: list[FaultOut] | None = Field(None, description="Every fault of the request, where there are several.")


@dataclass(frozen=True, slots=True)
class Example:
    """A problem as the document shows it."""

    kind: Kind
    detail: str
    faults: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # name -> what it says


EXAMPLES = (
    Example(MALFORMED, "The body is not JSON: Expecting ',' delimiter at character 27."),
    Example(
        NO_KEY,
        "Send a key as `Authorization: Bearer …` or `X-API-Key: …`.",
        headers={"WWW-Authenticate": "How to authenticate: `Bearer`."},
    ),
    Example(SLOW_BODY, "The body did not arrive within 10 s."),
    Example(TOO_LARGE, "The body is larger than 16 MiB. Send fewer videos, or smaller images."),
    Example(NOT_JSON, "Send the body as Content-Type: application/json."),
    Example(
        INVALID,
        "2 faults. /0/title: is missing. /3/views: should be 0 or more.",
        faults=(Fault("/0/title", "is missing", "missing"), Fault("/3/views", "should be 0 or more", "too_small")),
    ),
    Example(
        IMAGE,
        "/image_url: The address leads to a private network, which is not fetched from.",
        faults=(Fault("/image_url", "The address leads to a private network, which is not fetched from.", "address"),),
    ),
    Example(
        TOO_MANY,
        "More than 600 requests in a minute. Try again in 3 s.",
        headers={
            "Retry-After": "Seconds to wait.",
            "RateLimit-Limit": "Requests a minute.",
            "RateLimit-Remaining": "Requests that may follow at once.",
            "RateLimit-Reset": "Seconds until all of them may.",
        },
    ),
    Example(INTERNAL, "This is a fault of the server. Its log has it under the name in `instance`."),
    Example(BUSY, "2,048 videos are waiting already. Try again in 4 s.", headers={"Retry-After": "Seconds to wait."}),
    Example(TIMED_OUT, "There was no answer within 30 s. Send fewer videos at once, or try again later."),
    Example(NO_MODEL, "The model can't be loaded; the server's log says why."),
    Example(WAKING, "The model is being loaded. Try again in 1 s.", headers={"Retry-After": "Seconds to wait."}),
)


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for a route that may answer with these kinds, an example for each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for example in (example for example in EXAMPLES if example.kind in kinds):
        kind = example.kind
        problem = Problem(kind, example.detail, faults=example.faults)
        problem.instance = "urn:uuid:3f2c9a52-6f0e-4d5c-9a55-1d0a5b3f7e21"
        told = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        if kind.title not in told["description"]:
            told["description"] += f"; or: {kind.title[0].lower()}{kind.title[1:]}"
        told["content"][MEDIA_TYPE]["examples"][kind.name] = {
            "summary": kind.title,
            "value": json.loads(bytes(problem.response().body)),
        }
        for name, says in example.headers.items():
            told.setdefault("headers", {})[name] = {
                "description": says,
                "schema": {"type": "string"},
            }
    return responses
