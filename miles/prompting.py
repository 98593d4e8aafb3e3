"""What a language model is asked for concepts, and what is taken of its answers.

The words stand in `prompts/concepts.md`. Knows nothing about networks; all of it is pure.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from miles import wording
from miles.concepts import LONGEST_TITLE, Idea, Request
from miles.errors import ConceptsUnavailable
from miles.grounding import WINNERS, Backing, Evidence, backing_of, named

PROMPT = Path(__file__).parent / "prompts" / "concepts.md"
MARKER = "<<<EVIDENCE>>>"  # no string of the evidence holds a "<"
PATTERNS = 20  # in a prompt
NONE = "holds no JSON with concepts"
BYTES_PER_TOKEN = 3  # of UTF-8; tokenizers come to 3 for JSON and most scripts and to 4 or 5 for English prose
# What servers turn into control tokens wherever it stands in a message: <|im_start|>, </s>, [INST], [/SYSTEM_PROMPT]
_CONTROL = re.compile(r"[<>]|\[(?=/?[A-Z_ ]+\])")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BEGINNING = re.compile(r'<think>|(?<!\\)"concepts"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")


class Malformed(ConceptsUnavailable):
    """An answer without the shape that was asked for: worth asking once more."""


class ReplyConcept(BaseModel):
    """A concept as a language model writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    hook: str
    outline: list[str]
    thumbnail_idea: str
    hashtags: list[str]
    why: str
    risk: str
    evidence: list[str]


class Reply(BaseModel):
    """The whole answer; its schema goes to servers that hold their models to one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    concepts: list[ReplyConcept]


@dataclass(frozen=True, slots=True)
class Prompt:
    version: str
    parts: dict[str, str]  # by name: system, user, and what is put into the latter


@lru_cache(maxsize=1)
def prompt() -> Prompt:
    """The prompt as its file has it."""
    return read_prompt(PROMPT.read_text(encoding="utf-8"))


def read_prompt(document: str) -> Prompt:
    """A prompt from its document: the version in the first line, then parts under headings. Pure."""
    version = re.match(r"<!-- version: (\S+)\. ", document)
    if version is None:
        raise ValueError("the prompt's first line names no version")
    _, *sections = re.split(r"^# (.+)\n", document, flags=re.MULTILINE)
    return Prompt(version[1], {name: body.strip() for name, body in zip(sections[::2], sections[1::2], strict=True)})


def tokens(text: str) -> int:
    """About how many tokens a text is, rather too many than too few."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def build_prompt(
    request: Request, evidence: Evidence, wanted: int, *, avoid: Iterable[str] = ()
) -> list[dict[str, str]]:
    """The messages for a language model.

    `wanted` is how many concepts it is to write, `avoid` titles that it wrote in vain. Titles are other people's words:
    they stand as JSON strings between two markers, and neither a marker nor a server's control token can be written in
    them.
    """
    parts = prompt().parts
    avoided = [wording.one_line(title, 200) for title in avoid]
    material = {
        "doing_well": [_shown(f"E{place}", video) for place, video in enumerate(evidence.winners[:WINNERS], start=1)],
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
            for lift in evidence.patterns[:PATTERNS]
        ],
        "words": [
            {"word": term.text, "titles": term.videos, "lift": None if term.lift is None else round(term.lift, 2)}
            for term in evidence.terms
        ],
        **_lengths(evidence),
        **({"taken": avoided} if avoided else {}),
    }
    asked = {
        "topic": request.topic,
        "vibe": request.vibe or "any",
        "platform": request.platform or "any",
        "language": request.language
        or (evidence.language if evidence.language != "und" else "the language of the topic"),
        "concepts": wanted,
    }
    user = Template(parts["user"]).substitute(  # once: what is put in is never a template itself
        request=_data(asked),
        reach=f"{parts[evidence.reach]}\n" if evidence.reach != "topic" else "",
        taken=f"{parts['taken']}\n" if avoided else "",
        marker=MARKER,
        evidence=_data(material, indent=1),
        wanted=wanted,
    )
    return [{"role": "system", "content": parts["system"]}, {"role": "user", "content": user}]


class Reader:
    """Takes the concepts out of an answer as it arrives in pieces, wherever in it their JSON stands.

    Only whole concepts count; where the pieces begin and end makes no difference. What a local reasoning model thinks
    aloud (<think>…</think>) is no answer.
    """

    def __init__(self) -> None:
        self.concepts: list[ReplyConcept] = []
        self.problem = NONE  # what is wrong where there are none
        self.ended = False  # the list of concepts was closed
        self._text = ""
        self._begin = 0  # what lies before is thought
        self._at: int | None = None  # in the list of concepts

    def feed(self, piece: str) -> int:
        """Take a piece; returns how many whole concepts there are by now."""
        self._text += piece
        if re.search(r"[}\]>]", piece):
            self._read()
        return len(self.concepts)

    def _read(self) -> None:
        thought = self._text.rfind("</think>") + len("</think>")
        if thought > max(self._begin, len("</think>") - 1):
            self._begin, self._at, self.concepts, self.ended = thought, None, [], False
            self.problem = NONE
        while not (self.ended and self.concepts):
            if self._at is None:
                found = _BEGINNING.search(self._text, self._begin)
                if found is None or found[0] == "<think>":
                    return
                self._at, self.ended = found.end(), False
            self._at = _BETWEEN.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches anything
            if self._text[self._at : self._at + 1] == "]":
                self.ended = True
                self._begin, self._at = self._at + 1, None
                continue
            try:
                found_here, self._at = json.JSONDecoder().raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                return  # not whole yet, or never
            self._take(found_here)

    def _take(self, found: object) -> None:
        try:
            self.concepts.append(ReplyConcept.model_validate(found))
        except ValidationError as error:
            first = error.errors()[0]
            self.problem = (
                f"has a wrong shape ({'.'.join(map(str, ('concepts', *first['loc'])))}: {first['msg'].lower()})"
            )


def parse_reply(reply: str, evidence: Evidence) -> list[Idea]:
    """The ideas in a language model's whole answer; see `ideas`."""
    reader = Reader()
    reader.feed(reply)
    return ideas(reader, evidence)


def ideas(reader: Reader, evidence: Evidence) -> list[Idea]:
    """The ideas in what was read of an answer. Raises Malformed where none can be used.

    A concept that lacks a part is left out, and so is one that breaks the rules: a title that is too long, a link
    anywhere, words that a title of the evidence dictates. Labels that name no winner are dropped; a concept left
    without backing gets the winners nearest to its title.
    """
    labels = {f"E{place}": video for place, video in enumerate(evidence.winners[:WINNERS], start=1)}
    known = [f" {' '.join(wording.words(video.title))} " for video in (*evidence.winners, *evidence.flops)]
    taken, problem = [], reader.problem
    for concept in reader.concepts:
        title = wording.one_line(concept.title, 10 * LONGEST_TITLE)
        outline = tuple(beat for line in concept.outline if (beat := wording.one_line(line, 300)))
        hook, thumbnail = wording.one_line(concept.hook, 400), wording.one_line(concept.thumbnail_idea, 400)
        why, risk = wording.one_line(concept.why, 600), wording.one_line(concept.risk, 400)
        if not (title and hook and outline and thumbnail and why and risk):
            problem = "leaves out a part of each concept"
            continue
        if len(title) > LONGEST_TITLE or any(
            wording.has_link(part) for part in (title, hook, thumbnail, why, risk, *outline, *concept.hashtags)
        ):
            problem = "holds only concepts with links or endless titles"
            continue
        if _dictated(title, known, 1) or any(_dictated(part, known, 3) for part in (hook, thumbnail, *outline)):
            problem = "only repeats titles of the evidence"
            continue
        cited = [labels[label] for raw in concept.evidence if (label := raw.strip().strip("[]").upper()) in labels]
        backing = tuple(dict.fromkeys(video.candidate_id for video in cited))[:4]
        taken.append(
            Idea(
                title=title,
                hook=hook,
                outline=outline[:8],
                thumbnail_idea=thumbnail,
                hashtags=wording.hashtags(concept.hashtags),
                why=why,
                risk=risk,
                evidence=backing or tuple(video.candidate_id for video in backing_of(title, (), evidence)),
            )
        )
    if not taken:
        raise Malformed(f"The language model's answer {problem}.")
    return taken


def _dictated(part: str, known: Sequence[str], least: int) -> bool:
    """Whether a part of a concept, of at least so many words, stands word for word in a title."""
    words = wording.words(part)
    return len(words) >= least and any(f" {' '.join(words)} " in title for title in known)


def _data(value: object, indent: int | None = None) -> str:
    """JSON of which no string holds a marker or a control token: their brackets are escaped, as JSON allows."""

    def escaped(string: re.Match[str]) -> str:
        return _CONTROL.sub(lambda letter: f"\\u{ord(letter[0]):04x}", string[0])

    return _STRING.sub(escaped, json.dumps(value, ensure_ascii=False, indent=indent))


def _lengths(evidence: Evidence) -> dict[str, Any]:
    """How long titles and videos are that took off, and those that did not, where that is known."""
    told = evidence.lengths
    if told is None or told.winners_title is None:
        return {}
    measured = {
        "title_took_off": told.winners_title,
        "title_did_not": told.flops_title,
        "video_took_off": told.winners_duration,
        "video_did_not": told.flops_duration,
    }
    return {"lengths": {name: [round(s.low), round(s.high)] for name, s in measured.items() if s}}


def _shown(label: str, video: Backing) -> dict[str, Any]:
    return {
        "label": label,
        "title": wording.one_line(video.title, 200),
        "channel": wording.one_line(video.channel or "", 80),
        "views": video.views,
        "multiple": None if video.outlier_multiple is None else round(video.outlier_multiple, 1),
        "score": None if video.viral_score is None else round(video.viral_score, 2),
    }
