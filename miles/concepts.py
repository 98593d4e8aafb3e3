"""Concepts: ideas for videos, scored and backed by real ones; as a document and as a table."""

import csv
import io
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from miles.grounding import Evidence

LONGEST_TITLE = 100  # characters; YouTube's limit


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks concepts for."""

    topic: str
    vibe: str = ""
    platform: str | None = None  # of the evidence; None: any
    language: str | None = None  # of the evidence and of the titles, as in "en"; None: that of the evidence
    number: int = 5


@dataclass(frozen=True, slots=True)
class Idea:
    """A concept before it is scored."""

    title: str
    hook: str
    outline: tuple[str, ...]
    thumbnail_idea: str
    hashtags: tuple[str, ...]  # without #
    why: str
    risk: str  # why it may not work
    evidence: tuple[str, ...]  # candidate ids


@dataclass(frozen=True, slots=True)
class Usage:
    """What a language model was asked for."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    estimated: bool = False  # not all tokens were counted by the server
    cost_usd: float | None = 0.0  # None: no price is known

    def __add__(self, other: "Usage") -> "Usage":
        costs = (self.cost_usd, other.cost_usd)
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
            self.estimated or other.estimated,
            None if None in costs else sum(cost or 0.0 for cost in costs),
        )


@dataclass(frozen=True, slots=True)
class Known:
    """The known title that a concept's is nearest to."""

    candidate_id: str
    title: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Concept:
    """An idea for a video, with its own score (as a draft) and the candidates that back it."""

    title: str
    hook: str
    outline: tuple[str, ...]
    thumbnail_idea: str
    hashtags: tuple[str, ...]
    why: str
    risk: str
    evidence: tuple[str, ...]
    viral_score: float  # 0..1
    base_rate: float  # 0..1
    predicted_multiple: float | None  # × the channel's usual; None without a channel
    nearest: Known | None  # of the whole collection; None where it holds nothing near
    novelty: float | None  # 1 - cosine of the two titles' vectors; None where no vectors are kept
    place: int = 1  # 1 + how many of those shown the model holds for clearly better: equal places are ties

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer to one request, best concept first."""

    request: Request
    concepts: tuple[Concept, ...]
    generator: str  # the language model's name, or "offline"
    evidence: Evidence
    note: str  # what the reader should know about the evidence and the generator
    usage: Usage
    model_version: str
    query_id: int = 0  # of the request as it is kept
    asked_at: datetime | None = None  # when it was kept
    prompt_version: str | None = None  # of the language model's prompt; None offline
    cached: bool = False  # it was made for the same request earlier

    @property
    def topic(self) -> str:
        return self.request.topic

    @property
    def vibe(self) -> str:
        return self.request.vibe

    def to_dict(self) -> dict[str, Any]:
        """For JSON: each concept's `evidence` holds candidate ids, described under `videos`."""
        used = {key for concept in self.concepts for key in concept.evidence}
        return {
            "topic": self.topic,
            "vibe": self.vibe,
            "platform": self.request.platform,
            "language": self.request.language,
            "generator": self.generator,
            "model_version": self.model_version,
            "note": self.note,
            "concepts": [concept.to_dict() for concept in self.concepts],
            "videos": {key: asdict(video) for key in sorted(used) if (video := self.evidence.video(key))},
            "usage": asdict(self.usage),
        }


def to_markdown(recommendation: Recommendation) -> str:
    """The concepts as a document to keep."""
    request = recommendation.request
    vibe = f" ({request.vibe})" if request.vibe else ""
    facts = [
        *([f"asked {recommendation.asked_at:%Y-%m-%d %H:%M} UTC"] if recommendation.asked_at else []),
        *([f"platform {request.platform}"] if request.platform else []),
        *([f"language {request.language}"] if request.language else []),
        f"scored by model {recommendation.model_version}",
    ]
    places = [concept.place for concept in recommendation.concepts]
    lines = [
        f"# Concepts: {_plain(recommendation.topic + vibe)}",
        "",
        _plain(recommendation.note),
        "",
        f"{_plain('; '.join(facts))}. Places with = are level: they differ by less than a comparison can tell.",
    ]
    for concept in recommendation.concepts:
        tie = "=" if places.count(concept.place) > 1 else ""
        lines += [
            "",
            f"## {concept.place}{tie}. {_plain(concept.title)}",
            "",
            f"Score: {concept.viral_score * 100:.0f} in 100, where {concept.base_rate * 100:.0f} in 100 is ordinary.",
            "",
            f"- **Hook:** {_plain(concept.hook)}",
            "- **Outline:**",
            *(f"  {beat}. {_plain(line)}" for beat, line in enumerate(concept.outline, start=1)),
            f"- **Thumbnail:** {_plain(concept.thumbnail_idea)}",
            f"- **Hashtags:** {_plain(' '.join('#' + tag for tag in concept.hashtags))}",
            f"- **Why:** {_plain(concept.why)}",
            *([f"- **Risk:** {_plain(concept.risk)}"] if concept.risk else []),
        ]
        if concept.nearest is not None:
            apart = "" if concept.novelty is None else f" ({concept.novelty * 100:.0f} of 100 apart)"
            lines.append(f"- **Nearest known title:** {_link(concept.nearest.title, concept.nearest.url)}{apart}")
        for key in concept.evidence:
            if video := recommendation.evidence.video(key):
                by = f", {_plain(video.channel)}" if video.channel else ""
                lines.append(f"- **Backed by:** {_link(video.title, video.url)}{by}")
    return "\n".join(lines) + "\n"


COLUMNS = (
    "place", "title", "viral_score", "base_rate", "hook", "outline", "thumbnail_idea", "hashtags", "why", "risk",
    "novelty", "nearest_title", "nearest_url", "evidence", "evidence_titles", "evidence_urls", "topic", "vibe",
    "platform", "language", "generator", "model_version",
)  # fmt: skip


def to_csv(recommendation: Recommendation) -> str:
    """The concepts as a table, one a row; lists are joined with " | ", what is not known is empty.

    A cell that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(COLUMNS)
    request = recommendation.request
    for one in recommendation.concepts:
        near = one.nearest
        videos = [video for key in one.evidence if (video := recommendation.evidence.video(key))]
        cells = (
            one.place, one.title, one.viral_score, one.base_rate, one.hook, one.outline, one.thumbnail_idea,
            one.hashtags, one.why, one.risk, one.novelty, near.title if near else None, near.url if near else None,
            one.evidence, tuple(video.title for video in videos),
            tuple(video.url or "" for video in videos), request.topic, request.vibe, request.platform, request.language,
            recommendation.generator, recommendation.model_version,
        )  # fmt: skip
        table.writerow([_cell(cell) for cell in cells])
    return out.getvalue()


def _cell(value: str | float | tuple[str, ...] | None) -> str | float:
    text = " | ".join(value) if isinstance(value, tuple) else "" if value is None else value
    # https://owasp.org/www-community/attacks/CSV_Injection; some programs look behind leading spaces
    if isinstance(text, str) and (text.lstrip()[:1] in tuple("=+-@'") or text[:1] in ("\t", "\r", "\n")):
        return f"'{text}"
    return text


def _link(title: str, url: str | None) -> str:
    if url is None or not url.startswith(("http://", "https://")):
        return _plain(title)
    return f"[{_plain(title)}]({quote(url, safe=':/?&=#%@+,;~!$')})"


def _plain(value: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", " ".join(value.split()))
