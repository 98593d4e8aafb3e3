"""Ideas from any OpenAI-compatible language model: what it is asked, what is taken of its answers. The only home of openai."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection, text

from miles import settings, wording
from miles.concepts import LONGEST_TITLE, Idea, Usage
from miles.errors import ConceptsUnavailable
from miles.grounding import WINNERS, Backing, Evidence, backing_of, named

logger = logging.getLogger(__name__)

PROMPTS = Path(__file__).parent / "prompts"
REPLY_TIMEOUT = 60.0  # seconds for one answer of the language model; slow local ones need half of it
CONNECT_TIMEOUT = 5.0  # seconds
RETRIES = 1  # by the client, on broken connections, 429 and 5xx
ATTEMPTS = 2  # answers asked for before a malformed one is an error
MARKER = "=====EVIDENCE====="


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Where an OpenAI-compatible language model answers."""

    name: str
    api_key: str = field(repr=False)
    base_url: str | None  # None: OpenAI itself
    timeout: float  # seconds for one answer

    @property
    def place(self) -> str:
        return self.base_url or "api.openai.com"


def configured() -> LanguageModel | None:
    """The language model that the settings name; None without OPENAI_API_KEY."""
    told = settings.load()
    key = told.openai_api_key.get_secret_value().strip() if told.openai_api_key else ""
    return LanguageModel(told.openai_model, key, told.openai_base_url, REPLY_TIMEOUT) if key else None


class _ReplyConcept(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    hook: str
    outline: list[str]
    thumbnail_idea: str
    hashtags: list[str]
    why: str
    risk: str
    evidence: list[str]


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    concepts: list[_ReplyConcept]


def build_prompt(
    evidence: Evidence, vibe: str, wanted: int, *, platform: str | None = None, language: str | None = None
) -> list[dict[str, str]]:
    """The messages for a language model. Pure.

    Titles are other people's words: they stand as JSON strings between two markers, which they can't contain.
    """
    shown = evidence.winners[:WINNERS]
    material = {
        "doing_well": [_shown(f"E{place}", video) for place, video in enumerate(shown, start=1)],
        "doing_badly": [_shown(f"F{place}", video) for place, video in enumerate(evidence.flops, start=1)],
        "patterns": [
            {
                "pattern": named(lift),
                "lift": round(lift.lift, 2),
                "low": round(lift.low, 2),
                "high": round(lift.high, 2),
                "channels": lift.channels,
                "in": lift.scope,
            }
            for lift in evidence.patterns[:20]
        ],
        "words": [
            {"word": term.text, "titles": term.videos, "lift": None if term.lift is None else round(term.lift, 2)}
            for term in evidence.terms
        ],
    }
    request = {
        "topic": evidence.topic,
        "vibe": vibe or "any",
        "platform": platform or "any",
        "language": language or (evidence.language if evidence.language != "und" else "the language of the topic"),
        "concepts": wanted,
    }
    data = json.dumps(material, ensure_ascii=False, indent=1).replace(MARKER, "")
    reach = {
        "topic": "",
        "some words": "Only some words of the topic were found in titles; the evidence may be about something near it.\n",
        "everything": "No video on this topic is known; the evidence is what does well in general. Say so in `why`.\n",
        "nothing": "No videos are known at all. Leave `evidence` empty and say in `why` that nothing backs it yet.\n",
    }[evidence.reach]
    return [
        {"role": "system", "content": (PROMPTS / "concepts.md").read_text(encoding="utf-8")},
        {
            "role": "user",
            "content": f"Request: {json.dumps(request, ensure_ascii=False)}\n{reach}{MARKER}\n{data}\n{MARKER}\n"
            f"Write {wanted} concepts for the request above the evidence.",
        },
    ]


def parse_reply(reply: str, evidence: Evidence) -> list[Idea]:
    """The ideas in a language model's answer. Pure.

    The answer must have the whole shape, or it is refused with ConceptsUnavailable; of well-formed concepts,
    those that break the rules of a title (too long, a link) are left out. Labels that name no winner are
    dropped; a concept left without backing gets the winners nearest to its title.
    """
    parsed = _validated(reply)
    labels = {f"E{place}": video for place, video in enumerate(evidence.winners[:WINNERS], start=1)}
    ideas = []
    for concept in parsed.concepts:
        title = wording.one_line(concept.title, 10 * LONGEST_TITLE)
        outline = tuple(beat for line in concept.outline if (beat := wording.one_line(line, 300)))
        whole = (
            wording.one_line(concept.hook, 400),
            wording.one_line(concept.thumbnail_idea, 400),
            wording.one_line(concept.why, 600),
            wording.one_line(concept.risk, 400),
        )
        if not title or not outline or not all(whole):
            raise _Malformed("The language model left out a part of a concept.")
        if len(title) > LONGEST_TITLE or any(
            wording.has_link(part) for part in (title, *outline, *whole, *concept.hashtags)
        ):
            logger.info("A concept of the language model is too long or holds a link; left out")
            continue
        named = [labels[label] for raw in concept.evidence if (label := raw.strip().strip("[]").upper()) in labels]
        backing = list(dict.fromkeys(video.candidate_id for video in named))[:4]
        ideas.append(
            Idea(
                title=title,
                hook=whole[0],
                outline=outline[:8],
                thumbnail_idea=whole[1],
                hashtags=wording.hashtags(concept.hashtags),
                why=whole[2],
                risk=whole[3],
                evidence=tuple(backing) or tuple(video.candidate_id for video in backing_of(title, (), evidence)),
            )
        )
    if not ideas:
        raise _Malformed("The language model gave no concept that can be used.")
    return ideas


def ask(
    writer: LanguageModel,
    messages: Sequence[Mapping[str, str]],
    evidence: Evidence,
    on_usage: Callable[[Usage], None],
) -> list[Idea]:
    """Ideas from a language model; a malformed answer is asked for once more. Raises ConceptsUnavailable."""
    import openai

    # Servers that only resemble OpenAI's refuse a schema, or any response format: each refusal moves on by one.
    formats = _formats()
    chosen = next(formats)
    attempts = 0
    with openai.OpenAI(
        api_key=writer.api_key,
        base_url=writer.base_url,
        timeout=openai.Timeout(writer.timeout, connect=CONNECT_TIMEOUT),
        max_retries=RETRIES,
    ) as client:
        while True:
            started = time.monotonic()
            try:
                create: Any = client.chat.completions.create  # its overloads know no plain dicts
                answer = create(model=writer.name, messages=list(messages), **chosen)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                following = next(formats, None)
                if following is None:
                    raise ConceptsUnavailable(_explain(error, writer)) from error
                logger.info("%s refuses the response format; asking for a simpler one", writer.name)
                chosen = following
                continue
            except (openai.OpenAIError, ValueError) as error:
                raise ConceptsUnavailable(_explain(error, writer)) from error
            spent = getattr(answer, "usage", None)
            on_usage(
                Usage(
                    1,
                    getattr(spent, "prompt_tokens", None) or 0,
                    getattr(spent, "completion_tokens", None) or 0,
                    time.monotonic() - started,
                )
            )
            attempts += 1
            try:
                return parse_reply(_content(answer, writer), evidence)
            except _Malformed as error:
                if attempts >= ATTEMPTS:
                    raise ConceptsUnavailable(
                        f"{error} It was asked {attempts} times; try another model (OPENAI_MODEL), or use the "
                        "offline generator."
                    ) from error
                logger.info("%s gave a malformed answer (%s); asking again", writer.name, error)


class _Malformed(ConceptsUnavailable):
    """An answer without the shape that was asked for: worth asking once more."""


def _validated(reply: str) -> _Reply:
    """The reply in its shape, wherever in the answer it stands. Raises _Malformed."""
    decoder = json.JSONDecoder()
    reply = re.sub(r"<think>.*?</think>", "", reply, flags=re.DOTALL)  # local reasoning models think aloud
    problem = "holds no JSON"
    start = reply.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError):
            start = reply.find("{", start + 1)
            continue
        if isinstance(found, dict) and "concepts" in found:
            try:
                return _Reply.model_validate(found)
            except ValidationError as error:
                first = error.errors()[0]
                problem = f"has a wrong shape ({'.'.join(map(str, first['loc']))}: {first['msg'].lower()})"
        start = reply.find("{", end)
    raise _Malformed(f"The language model's answer {problem}.")


def _formats() -> Iterator[dict[str, Any]]:
    """The response formats to ask for, the strictest first."""
    schema = _Reply.model_json_schema()
    yield {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "concepts", "strict": True, "schema": schema},
        }
    }
    yield {"response_format": {"type": "json_object"}}
    yield {}


def _content(answer: Any, writer: LanguageModel) -> str:
    """The text of a whole answer. Raises ConceptsUnavailable on a refusal or a cut answer."""
    choices = getattr(answer, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise _Malformed(f"What answers at {writer.place} is not an OpenAI-compatible server.")
    message, reason = choices[0].message, choices[0].finish_reason
    if getattr(message, "refusal", None) or reason == "content_filter":
        said = wording.one_line(getattr(message, "refusal", None) or "", 200)
        raise ConceptsUnavailable(
            f"{writer.name} declined to write about this topic{f' (“{said}”)' if said else ''}. Put it in other words, "
            "or use the offline generator."
        )
    if reason == "length":
        raise _Malformed("The language model's answer was cut off before its end.")
    return message.content if isinstance(message.content, str) else ""


def _explain(error: Exception, writer: LanguageModel) -> str:
    """What went wrong and what to do, by the type of the error."""
    import openai

    status = getattr(error, "status_code", None)
    if isinstance(error, openai.APITimeoutError):
        what = f"did not answer within {writer.timeout:.0f} s. Try again, or choose a faster model (OPENAI_MODEL)"
    elif isinstance(error, openai.APIConnectionError):
        what = "can't be reached. Check the network and OPENAI_BASE_URL"
    elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        what = "refuses the key. Correct OPENAI_API_KEY"
    elif isinstance(error, openai.NotFoundError):
        what = f"knows no model “{writer.name}” there. Correct OPENAI_MODEL or OPENAI_BASE_URL"
    elif isinstance(error, openai.RateLimitError):
        what = "allows no more requests now. Wait, or check the account's quota"
    elif isinstance(error, openai.APIStatusError):
        what = f"answered with HTTP {status}. Try again later"
    else:
        what = "gave an answer that is none of OpenAI's protocol. Check OPENAI_BASE_URL"
    return f"The language model at {writer.place} {what}; the offline generator works without it."


def _shown(label: str, video: Backing) -> dict[str, Any]:
    return {
        "label": label,
        "title": wording.one_line(video.title, 200),
        "channel": wording.one_line(video.channel or "", 80),
        "views": video.views,
        "multiple": None if video.outlier_multiple is None else round(video.outlier_multiple, 1),
        "score": None if video.viral_score is None else round(video.viral_score, 2),
    }


def _record(connection: Connection, usage: Usage) -> None:
    connection.execute(
        text(
            "INSERT INTO usage (service, requests, input_tokens, output_tokens, seconds)"
            " VALUES ('openai', :requests, :input_tokens, :output_tokens, :seconds)"
        ),
        asdict(usage),
    )
