"""What the API takes and gives, and how that becomes the model's input and output.

Strict where a mistake would go unnoticed (a field that is not known, a number as text), lenient where
meaning is plain (null for not known, a data: prefix before an image, 12.0 for 12). Knows nothing
about HTTP.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from miles.candidates import MAX_TITLE
from miles.features import PastVideo, ScoreInput

MOST_VIDEOS = 256  # in one request
MOST_PAST = 50  # earlier videos of a channel; the model looks at the latest 20
MOST_VIEWS = 10**13  # all people on earth, a thousand times over
LONGEST_ADDRESS = 2048  # characters of image_url
VISIBLE = r"^[^\x00]*[^\s\x00][^\x00]*$"  # at least one character to be seen, and no NUL
MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?")


def _moment(value: Any) -> Any:
    """A moment of RFC 3339, in UTC; one without a zone is taken for UTC."""
    if isinstance(value, datetime):  # made in Python, not sent
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    wrong = PydanticCustomError("moment", "should be a moment such as 2026-06-01T12:00:00Z")
    if not isinstance(value, str) or not MOMENT.fullmatch(value.upper()):
        raise wrong
    try:
        moment = datetime.fromisoformat(value.upper())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def _whole(value: Any) -> Any:
    """12.0 is 12: what tables with gaps make of a count."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
# The limits first: what stands after a validator is not part of the document's schema.
Count = Annotated[int, Field(ge=0, le=MOST_VIEWS), BeforeValidator(_whole)]
Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE, pattern=VISIBLE)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=VISIBLE)]


class Strict(BaseModel):
    """Fields that are not known are refused: a typo must not pass for "not given"."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Past(Strict):
    """An earlier video of the same channel, as it was known before this one was published (a draft) or
    observed (a candidate). One that was observed later is left out: it would tell how things went on."""

    title: str = Field(max_length=MAX_TITLE, description="Its title.")
    published_at: Moment = Field(description="When it was published.")
    observed_at: Moment | None = Field(None, description="When its views were read.")
    views: Count | None = Field(None, description="Views at that moment.")
    age_days: float | None = Field(
        None, ge=0, le=40_000, description="Its age at that moment, in days; else taken from the two moments."
    )
    log10_views_24h: float | None = Field(
        None, ge=0, le=13, description="log10 of its views 24 hours after publication, where that is known."
    )


class Video(Strict):
    """One video to score. Only the title must be known; null is the same as left out.

    With `views` it is a candidate (already published), else a draft.
    """

    title: Title = Field(description="The title.")
    id: Name | None = Field(None, description="Any name of yours; the answer repeats it.")
    image_url: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_ADDRESS,
        description="Web address of the thumbnail; public addresses only, at most 10 MB and 40 megapixels.",
        json_schema_extra={"format": "uri"},
    )
    image: str | None = Field(
        None,
        min_length=1,
        description="The thumbnail itself in base64 (JPEG, PNG, WebP, GIF or AVIF); a `data:` prefix may stand before it.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    channel_id: Name | None = Field(None, description="The channel; `history` holds what is known of it.")
    category_id: Annotated[int, Field(ge=0, le=10_000), BeforeValidator(_whole)] | None = Field(
        None, description="YouTube's category id, such as 20 for Gaming."
    )
    duration: float | None = Field(None, ge=0, le=10_000_000, description="Length in seconds; 0 is not known.")
    language: Annotated[str, Field(max_length=35, pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$")] | None = Field(
        None, description='Language tag, such as "en" or "pt-BR".'
    )
    published_at: Moment | None = Field(None, description="When it was or will be published.")
    observed_at: Moment | None = Field(
        None, description="When views, likes and comments were read; left out, the moment of the request."
    )
    views: Count | None = Field(None, description="Views so far. Makes it a candidate.")
    likes: Count | None = Field(None, description="Likes so far; 0 is taken for hidden.")
    comments: Count | None = Field(None, description="Comments so far; 0 is taken for closed.")
    country_count: Annotated[int, Field(ge=0, le=1_000), BeforeValidator(_whole)] | None = Field(
        None, description="In how many countries it is on the trending list."
    )
    history: list[Past] = Field(
        default=[],
        max_length=MOST_PAST,
        description="Earlier videos of the channel. From five on a draft has a `predicted_multiple`.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "required": ["image", "image_url"],
                "properties": {"image": {"type": "string"}, "image_url": {"type": "string"}},
            }
        }
    )

    @model_validator(mode="after")
    def _one_image(self) -> "Video":
        if self.image is not None and self.image_url is not None:
            raise PydanticCustomError("two_images", "should have image or image_url, not both")
        return self


def _one_or_many(value: Any) -> str | None:
    return "many" if isinstance(value, list) else "one" if isinstance(value, dict) else None


Videos = Annotated[
    Annotated[Video, Tag("one")] | Annotated[list[Video], Field(max_length=MOST_VIDEOS), Tag("many")],
    Discriminator(
        _one_or_many, custom_error_type="shape", custom_error_message="should be one video or a list of them"
    ),
]


class Prediction(BaseModel):
    """What the model says about one video. Velocities are views per day."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    id: str | None = Field(description="The `id` of the request.")
    mode: Literal["draft", "candidate"] = Field(
        description="Which of the two questions was answered; see `GET /model`."
    )
    viral_score: float = Field(ge=0, le=1, description="Calibrated probability of the mode's event.")
    base_rate: float = Field(ge=0, le=1, description="How often that event happens at all.")
    predicted_multiple: float | None = Field(
        ge=0, description="Draft: predicted views in the first 24 hours ÷ the channel's usual; null without history."
    )
    predicted_velocity: float = Field(
        ge=0, description="Draft: views in the first 24 hours. Candidate: mean new views per day over the next 3 days."
    )
    velocity_low: float = Field(ge=0, description="8 of 10 outcomes lie between low and high.")
    velocity_high: float = Field(ge=0, description="8 of 10 outcomes lie between low and high.")
    predicted_velocity_7d: float | None = Field(
        ge=0, description="Candidate: mean new views per day over the next 7 days; null for a draft."
    )
    model_version: str = Field(description="The model that said it.")
    notes: list[str] = Field(description="What was missing, unusual or left out.")


class Health(BaseModel):
    """Whether the server lives, and whether it can score."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    status: Literal["ready", "waking up", "failed"] = Field(description="`ready`: predictions are answered at once.")
    ready: bool
    model_version: str | None = Field(description="null until the model is loaded.")
    version: str = Field(description="Of Miles.")
    uptime_seconds: float = Field(ge=0)
    waiting: int = Field(ge=0, description="Videos that wait to be scored.")


class Definition(BaseModel):
    """One of the two questions."""

    model_config = ConfigDict(extra="forbid")

    asks: str
    viral_score: str
    predicted_velocity: str
    predicted_multiple: str | None
    interval: str
    base_rate: float = Field(ge=0, le=1)


class ModelFacts(BaseModel):
    """The model in use, from its manifest."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    version: str
    made: str | None = Field(description="The day of its training.")
    definitions: dict[Literal["draft", "candidate"], Definition]
    base_rates: dict[str, float] = Field(description="How often each mode's event happens.")
    thresholds: dict[str, float] = Field(
        description="log10 of the event's threshold for each cohort, frozen at training."
    )
    known_ranges: list[dict[str, Any]] = Field(
        description="Outside these ranges of an input a score is marked as outside what the model knows."
    )
    inputs: dict[str, Any] = Field(description="What the network reads.")
    metrics: dict[str, Any] = Field(description="How well it did on videos it had not seen, with 95% intervals.")
    files: dict[str, Any] = Field(description="Its files with size and SHA-256.")


# --- in and out -------------------------------------------------------------------------------------


def decode_image(text: str) -> bytes:
    """The bytes of an image in base64, with or without a data: prefix. Raises ValueError."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError("The data: address should be of the form data:image/png;base64,…")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("This is not base64.") from None
    if not data:
        raise ValueError("This is empty.")
    return data


def to_input(video: Video, thumbnail: bytes | None, now: datetime) -> tuple[ScoreInput, list[str]]:
    """The model's input, and notes on what was taken otherwise than it was sent. Raises ValueError."""
    notes = []
    observed = video.observed_at
    if video.views is not None and observed is None:
        observed = now
        notes.append("observed_at was not given: taken for the moment of the request")
    if video.views is None and (given := [name for name in ("likes", "comments") if getattr(video, name) is not None]):
        notes.append(f"{' and '.join(given)} not used: without views this is a draft")
    if observed is not None and video.published_at is not None and observed < video.published_at:
        raise ValueError("A video can't be observed before it was published; correct published_at or observed_at.")
    made = ScoreInput(
        key=video.id or "",
        title=video.title,
        thumbnail=thumbnail,
        channel_id=video.channel_id,
        category_id=video.category_id,
        duration=video.duration,
        language=video.language,
        published_at=video.published_at,
        observed_at=observed,
        views=video.views,
        likes=video.likes,
        comments=video.comments,
        country_count=video.country_count,
        history=tuple(
            PastVideo(
                title=past.title,
                published_at=past.published_at,
                observed_at=past.observed_at,
                views=past.views,
                age_days=past.age_days,
                log10_views_24h=past.log10_views_24h,
            )
            for past in video.history
        ),
    )
    return made, notes
