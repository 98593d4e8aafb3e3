"""A topic and a vibe in, scored concepts out, each backed by real videos. The only home of openai.

Gather the evidence, write concepts (a language model where a key is set, else the offline generator),
score them, keep the best. `build_prompt`, `parse_reply`, `compose` and `vocabulary` are pure. Knows nothing
about pages; no connection is held while a language model thinks.
"""

import csv
import io
import itertools
import json
import logging
import math
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection, text

from miles import candidates, db, drafts, patterns, settings
from miles.errors import ConceptsUnavailable, MilesError
from miles.features import ScoreInput

logger = logging.getLogger(__name__)

PROMPTS = Path(__file__).parent / "prompts"
OFFLINE = "offline"

MOST_CONCEPTS = 20
LONGEST_TOPIC = 200  # characters
MOST_WORDS = 8  # of a topic in a search; more only slow it down
POOL = 1500  # videos of a topic that its vocabulary is read from: enough for stable shares, 20 ms to read
WINNERS, FLOPS = 24, 8
ENOUGH = 20  # videos in one language, to leave those in others out
PER_CHANNEL = 2  # videos of one channel among the winners, so that one star is not a trend
LONGEST_TITLE = 100  # characters; YouTube's limit
NEAR_COPY = 0.82  # similarity from which a title only rewords another
WORTH_USING = 1.0  # lift of a word below which it goes with worse results
SPREAD = 4  # titles composed offline for each concept shown

REPLY_TIMEOUT = 60.0  # seconds for one answer of the language model; slow local ones need half of it
CONNECT_TIMEOUT = 5.0  # seconds
RETRIES = 1  # by the client, on broken connections, 429 and 5xx
ATTEMPTS = 2  # answers asked for before a malformed one is an error

MARKER = "=====EVIDENCE====="


class Scores(Protocol):
    """What is needed of `scoring.Score`."""

    @property
    def viral_score(self) -> float: ...
    @property
    def base_rate(self) -> float: ...
    @property
    def predicted_multiple(self) -> float | None: ...


class ScoringModel(Protocol):
    """What is needed of `scoring.Model`."""

    @property
    def version(self) -> str: ...
    def score(self, videos: Sequence[ScoreInput], /) -> Sequence[Scores]: ...


@dataclass(frozen=True, slots=True)
class Backing:
    """One video of the evidence."""

    candidate_id: str
    title: str
    url: str | None
    channel: str | None
    channel_key: str | None
    category: str | None
    language: str | None
    views: int | None
    viral_score: float | None  # 0..1
    outlier_multiple: float | None  # views ÷ the channel's usual; None where that is not known
    sample: bool = False


@dataclass(frozen=True, slots=True)
class Lift:
    """A title pattern and what goes with it, as the roll-up measured it."""

    scope: str
    kind: str  # structure | ngram
    pattern: str
    lift: float  # ratio of outlier multiples, within channel
    low: float  # 95% interval
    high: float
    channels: int


@dataclass(frozen=True, slots=True)
class Term:
    """A word or a pair of words that recurs in the titles of a topic."""

    text: str  # as it is mostly written
    videos: int
    channels: int
    lift: float | None  # ratio of geometric mean outlier multiples with and without it, shrunk to 1
    examples: tuple[Backing, ...]  # videos with it, the best first


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the database knows about a topic."""

    topic: str
    reach: Literal["topic", "some words", "everything", "nothing"]  # what the winners were found by
    winners: tuple[Backing, ...]  # best first
    flops: tuple[Backing, ...]  # worst first
    patterns: tuple[Lift, ...]  # structures before n-grams, the topic's own category before all videos
    terms: tuple[Term, ...]  # most useful first
    numbers: tuple[int, ...] = ()  # that titles of the topic use, most common first
    matched: int = 0  # videos of the topic that were read
    language: str = "en"  # that new titles are best written in

    @property
    def category(self) -> str | None:
        """The category of most winners."""
        named = Counter(video.category for video in self.winners if video.category)
        return named.most_common(1)[0][0] if named else None

    def video(self, candidate_id: str) -> Backing | None:
        """A video of the evidence by its id."""
        known = (*self.winners, *(video for term in self.terms for video in term.examples))
        return next((video for video in known if video.candidate_id == candidate_id), None)


@dataclass(frozen=True, slots=True)
class Idea:
    """A concept before it is scored."""

    title: str
    hook: str
    outline: tuple[str, ...]
    thumbnail_idea: str
    hashtags: tuple[str, ...]  # without #
    why: str
    evidence: tuple[str, ...]  # candidate ids


@dataclass(frozen=True, slots=True)
class Concept:
    """An idea for a video, with its own score (as a draft) and the candidates that back it."""

    title: str
    hook: str
    outline: tuple[str, ...]
    thumbnail_idea: str
    hashtags: tuple[str, ...]
    why: str
    evidence: tuple[str, ...]
    viral_score: float  # 0..1
    base_rate: float  # 0..1
    predicted_multiple: float | None  # × the channel's usual; None without a channel

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a language model was asked for."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer to one request, best concept first."""

    topic: str
    vibe: str
    concepts: tuple[Concept, ...]
    generator: str  # the language model's name, or "offline"
    evidence: Evidence
    note: str  # what the reader should know about the evidence and the generator
    usage: Usage
    model_version: str
    query_id: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: each concept's `evidence` holds candidate ids, described under `videos`."""
        used = {key for concept in self.concepts for key in concept.evidence}
        return {
            "topic": self.topic,
            "vibe": self.vibe,
            "generator": self.generator,
            "model_version": self.model_version,
            "note": self.note,
            "concepts": [concept.to_dict() for concept in self.concepts],
            "videos": {key: asdict(video) for key in sorted(used) if (video := self.evidence.video(key))},
            "usage": asdict(self.usage),
        }


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


def language_model() -> LanguageModel | None:
    """The language model that the settings name; None without OPENAI_API_KEY."""
    told = settings.load()
    key = told.openai_api_key.get_secret_value().strip() if told.openai_api_key else ""
    return LanguageModel(told.openai_model, key, told.openai_base_url, REPLY_TIMEOUT) if key else None


def recommend(
    model: ScoringModel,
    *,
    topic: str,
    vibe: str = "",
    n: int = 5,
    platform: str | None = None,
    language: str | None = None,
    user_id: str,
    offline: bool = False,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Recommendation:
    """Concepts for a topic, scored and saved for the user.

    Written by the language model of the settings, or by the offline generator where there is none or
    `offline` asks for it; offline, the same seed gives the same concepts. Opens its own transactions as
    the user, and none while a language model thinks. Raises MilesError for an empty topic,
    ConceptsUnavailable if the language model gives nothing that can be used.
    """
    topic = _one_line(topic, LONGEST_TOPIC)
    vibe = _one_line(vibe, LONGEST_TOPIC)
    if not topic:
        raise MilesError("Concepts need a topic. Say in a few words what the videos are about.")
    if not 1 <= n <= MOST_CONCEPTS:
        raise MilesError(f"Ask for 1 to {MOST_CONCEPTS} concepts, not {n}.")
    say = on_progress or (lambda _: None)
    writer = None if offline else language_model()

    say("Looking for videos on the topic")
    with db.transaction("viewer", user_id) as connection:
        evidence = gather(connection, topic, platform=platform, language=language)
    say(f"Writing concepts with {writer.name}" if writer else "Writing concepts offline")
    bills: list[Usage] = []
    if writer is None:
        ideas = compose(evidence, vibe, n * SPREAD, language=language, seed=seed)
    else:
        messages = build_prompt(evidence, vibe, n + max(2, n // 2), platform=platform, language=language)
        try:
            ideas = ask(writer, messages, evidence, bills.append)
        finally:  # an answer that is of no use was paid for, too
            if bills:
                with db.transaction("viewer", user_id) as connection:
                    _record(connection, sum(bills, Usage()))
    ideas = original(ideas, evidence)
    if not ideas:
        raise ConceptsUnavailable(
            "Every concept came out as a copy of an existing title. Ask again, or put the topic in other words."
        )
    say("Scoring them")
    concepts = rank(ideas, model, evidence, n, language=language)
    generator = writer.name if writer else OFFLINE
    with db.transaction("viewer", user_id) as connection:
        query_id = drafts.save_query(connection, topic, vibe, generator, [concept.to_dict() for concept in concepts])
    return Recommendation(
        topic,
        vibe,
        concepts,
        generator,
        evidence,
        note(evidence, writer, len(concepts), n),
        sum(bills, Usage()),
        model.version,
        query_id,
    )


# --- evidence


def gather(connection: Connection, topic: str, *, platform: str | None = None, language: str | None = None) -> Evidence:
    """What the database knows about a topic: winners, flops, patterns and words.

    All words of the topic in the title, else some of them, else (for scripts without spaces between words) the
    topic as a part of it, else the best of everything.
    """
    words = [word for token in patterns.tokens(topic) if token and (word := re.sub(r"['#@]", "", token))][:MOST_WORDS]
    wide = [word for word in words if word not in _stop_words() and len(word) > 2] or words
    searches: list[tuple[Literal["topic", "some words", "everything"], str, str]] = []
    by_words = "search @@ to_tsquery('simple', search_text(:search))"
    if words:
        searches.append(("topic", by_words, " & ".join(f"'{word}':*" for word in words)))
    if words and not topic.isascii():
        escaped = re.sub(r"([%_\\])", r"\\\1", topic)
        searches.append(("topic", "title ILIKE :search", f"%{escaped}%"))
    if len(words) > 1:
        searches.append(("some words", by_words, " | ".join(f"'{word}':*" for word in wide)))
    searches.append(("everything", "true", ""))
    for reach, condition, search in searches:
        pool = _pool(connection, condition, search, platform, language, everything=reach == "everything")
        if pool:
            break
    else:
        return Evidence(topic, "nothing", (), (), _lifts(connection, None), ())
    if any(not video.sample for video in pool):
        pool = [video for video in pool if not video.sample]  # invented videos back nothing real
    spoken = language or _language(topic, pool)
    same = [video for video in pool if (video.language or spoken).split("-")[0] == spoken.split("-")[0]]
    matched = len(pool)
    if len(same) >= ENOUGH:
        pool = same  # words and examples in another language help little
    # with some words only, a title that has more of them says more
    best = sorted(pool, key=lambda video: (-_share(wide, video.title) if reach == "some words" else 0, -_merit(video)))
    winners = _diverse(best, min(WINNERS, max(4, len(pool) // 2)))  # of few videos, not all can be the good ones
    chosen = {video.candidate_id for video in winners}
    flops = _diverse(
        sorted(
            (v for v in pool if (v.outlier_multiple or 1.0) < 1.0 and v.candidate_id not in chosen),
            key=lambda video: video.outlier_multiple or 0.0,
        ),
        FLOPS,
    )
    evidence = Evidence(
        topic,
        reach,
        winners,
        flops,
        (),
        vocabulary(pool, topic) if reach != "everything" else (),
        numbers(pool),
        matched if reach != "everything" else 0,
        spoken,
    )
    return replace(evidence, patterns=_lifts(connection, evidence.category))


def _pool(
    connection: Connection, condition: str, search: str, platform: str | None, language: str | None, *, everything: bool
) -> list[Backing]:
    """Videos that a search finds: the best scored ones, and a fixed pseudo-random sample of the others."""
    filters = [condition]
    if platform:
        filters.append("platform = :platform")
    if language:
        filters.append("(language = :language OR language LIKE :language || '-%')")
    where = " AND ".join(filters)
    columns = "candidate_id, title, url, channel_key, category, language, views, viral_score, outlier_multiple, sample"
    best = (
        f"SELECT {columns} FROM candidates WHERE {where} ORDER BY viral_score DESC NULLS LAST, candidate_id LIMIT 200"
    )
    if everything:
        statement = f"SELECT found.*, name AS channel FROM ({best}) AS found LEFT JOIN channels USING (channel_key)"
    else:
        # the sample shows what ordinary videos of the topic look like: words are judged against it
        statement = f"""
            WITH matches AS MATERIALIZED (SELECT {columns} FROM candidates WHERE {where}),
            chosen AS (
                (SELECT * FROM matches ORDER BY viral_score DESC NULLS LAST, candidate_id LIMIT 200)
                UNION
                (SELECT * FROM matches ORDER BY hashtext(candidate_id), candidate_id LIMIT {POOL})
            )
            SELECT chosen.*, name AS channel FROM chosen LEFT JOIN channels USING (channel_key)
            ORDER BY viral_score DESC NULLS LAST, candidate_id"""
    parameters = {"search": search, "platform": platform, "language": language.lower() if language else None}
    return [Backing(**row) for row in connection.execute(text(statement), parameters).mappings()]


def _lifts(connection: Connection, category: str | None, limit: int = 200) -> tuple[Lift, ...]:
    """Patterns whose interval excludes "no effect": structures, then n-grams; the category's, then all videos'."""
    rows = connection.execute(
        text(
            "SELECT scope, kind, pattern, lift, lift_low AS low, lift_high AS high, n_channels AS channels"
            " FROM title_patterns WHERE scope IN ('all', :scope) AND (lift_low > 1 OR lift_high < 1) AND q_value <= 0.05"
            " ORDER BY kind DESC, scope = 'all', abs(ln(lift)) DESC, pattern LIMIT :limit"
        ),
        {"scope": f"category:{category}", "limit": limit},
    )
    return tuple(Lift(**row) for row in rows.mappings())


def vocabulary(videos: Sequence[Backing], topic: str, most: int = 24) -> tuple[Term, ...]:
    """Words and pairs of words that titles of a topic share across channels, the most useful first.

    Lift compares outlier multiples (views against the channel's own usual) of titles with and without the
    term; with few videos it is pulled towards 1. Pure.
    """
    own = tuple(word.rstrip("s") for word in _words(topic) if len(word) > 2)  # and what is made of them
    found: dict[str, list[Backing]] = defaultdict(list)
    surfaces: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        names = set(_words(video.channel or ""))
        usable = [
            word
            if word
            and word[0].isalpha()
            and word not in _stop_words()
            and word not in names
            and not word.startswith(own)
            and 3 <= len(word) <= 24
            else None
            for word in patterns.tokens(video.title)
        ]
        pairs = [f"{a} {b}" for a, b in itertools.pairwise(usable) if a and b]
        for key in {*filter(None, usable), *pairs}:
            found[key].append(video)
            written = re.search(re.escape(key), video.title, re.IGNORECASE)
            surfaces[key][written[0] if written else key] += 1
    least = 3 if len(videos) >= ENOUGH else 2
    outcomes = {video.candidate_id: math.log(m) for video in videos if (m := video.outlier_multiple)}
    overall = sum(outcomes.values()) / len(outcomes) if outcomes else 0.0
    terms: list[tuple[float, Term]] = []
    for key, backed in found.items():
        by_channel = {video.channel_key or video.candidate_id for video in backed}
        if len(backed) < least or len(by_channel) < max(2, 0.4 * len(backed)):
            continue  # one channel's habit is not a word of the topic
        known = [outcomes[video.candidate_id] for video in backed if video.candidate_id in outcomes]
        gain = (sum(known) - overall * len(known)) / (len(known) + 8) if len(known) >= 3 else None
        term = Term(
            _cased(surfaces[key]),
            len(backed),
            len(by_channel),
            None if gain is None else math.exp(gain),
            tuple(sorted(backed, key=_strength, reverse=True)[:4]),
        )
        weight = (gain or 0.0) + 0.12 * math.log(len(by_channel)) + (0.1 if " " in key else 0.0)
        terms.append((weight, term))
    terms.sort(key=lambda pair: (-pair[0], pair[1].text))
    chosen: list[Term] = []
    for _, term in terms:
        # a word and the pair it stands in say the same thing
        if not any(set(_words(term.text)) & set(_words(other.text)) for other in chosen):
            chosen.append(term)
        if len(chosen) == most:
            break
    return tuple(chosen)


def numbers(videos: Sequence[Backing], most: int = 6) -> tuple[int, ...]:
    """Numbers from 3 to 100 that several channels put into their titles, the most common first. Pure."""
    by_number: dict[int, set[str]] = defaultdict(set)
    for video in videos:
        for found in re.findall(r"(?<![\w.,:/#-])\d{1,3}(?![\w.,:/%-])", video.title):
            if 3 <= int(found) <= 100:
                by_number[int(found)].add(video.channel_key or video.candidate_id)
    shared = [(len(channels), number) for number, channels in by_number.items() if len(channels) >= 2]
    return tuple(number for _, number in sorted(shared, key=lambda pair: (-pair[0], pair[1]))[:most])


# --- the offline generator


def compose(evidence: Evidence, vibe: str, wanted: int, *, language: str | None = None, seed: int = 0) -> list[Idea]:
    """Ideas from frames filled with the topic's own words, those with the better-lifting patterns first.

    Deterministic by seed; pure. Frames in English are left out where topic or language is another.
    """
    frames = _frames()
    code = (language or evidence.language).split("-")[0]
    english = code == "en" and not _foreign(evidence.topic)
    mood = _mood(vibe)
    capitals = english and _in_title_case(evidence.winners)
    chance = random.Random(f"{seed}|{evidence.topic}|{vibe}")
    terms = [term for term in evidence.terms if term.lift is None or term.lift >= WORTH_USING]
    filled: list[tuple[float, float, dict[str, Any], dict[str, str], list[Term]]] = []
    for number, frame in enumerate(frames["frames"]):
        if not english and not frame.get("any"):
            continue
        needed = ("{term}" in frame["title"].lower()) + ("{other}" in frame["title"])
        if needed > len(terms):
            continue
        picks: list[list[Term]] = [[]]
        if needed == 1:
            picks = [[term] for term in terms[:8]]
        elif needed == 2:
            picks = [[a, b] for place, a in enumerate(terms[:5]) for b in terms[place + 1 : place + 3]]
        for pick in picks:
            slots = _slots(evidence, pick, chance)
            title = _fill(frame["title"], slots)
            slots["title"] = title = _title_case(title) if capitals else title
            fit = 0.25 if mood in frame.get("vibes", ()) else -0.35 if frame.get("vibes") and mood else 0.0
            plain = -0.6 if frame.get("any") and english else 0.0
            words = sum(math.log(term.lift or 1.0) for term in pick)
            lifting = sum(math.log(lift.lift) for lift in carried(title, evidence.patterns))
            filled.append(
                (
                    fit + plain + words + 0.4 * bool(pick) + lifting,
                    chance.random(),
                    {**frame, "id": number},
                    slots,
                    pick,
                )
            )
    filled.sort(key=lambda entry: (-entry[0], entry[1]))
    ideas: list[Idea] = []
    used_frames: Counter[int] = Counter()
    used_terms: Counter[str] = Counter()
    for most_frame, most_term in ((1, 2), (2, 4), (6, 99)):  # variety first, then whatever is left
        for _, _, frame, slots, pick in filled:
            if len(ideas) >= wanted:
                return ideas
            if used_frames[frame["id"]] >= most_frame or any(used_terms[term.text] >= most_term for term in pick):
                continue
            idea = _idea(evidence, frame, slots, pick, mood)
            if any(similarity(idea.title, other.title) >= NEAR_COPY for other in ideas):
                continue
            used_frames[frame["id"]] += 1
            used_terms.update(term.text for term in pick)
            ideas.append(idea)
    return ideas


def carried(title: str, lifts: Sequence[Lift]) -> list[Lift]:
    """The measured patterns that a title carries; of one in several scopes the first. Pure."""
    has = {("structure", name) for name in _structure(title)} | {("ngram", gram) for gram in _grams(title)}
    first: dict[tuple[str, str], Lift] = {}
    for lift in lifts:
        key = (lift.kind, lift.pattern)
        if key in has and key not in first:
            first[key] = lift
    return list(first.values())


def _idea(
    evidence: Evidence, frame: Mapping[str, Any], slots: Mapping[str, str], pick: Sequence[Term], mood: str | None
) -> Idea:
    frames = _frames()
    shape = frames["shapes"][frame["shape"]]
    title = slots["title"]
    touch = frames["vibes"][mood]["touch"] if mood else ""
    outline = [_fill(beat, slots) for beat in shape["outline"]]
    if touch:
        outline.append(touch)
    backing = _backing(title, pick, evidence)
    return Idea(
        title=title,
        hook=_fill(shape["hook"], slots),
        outline=tuple(outline),
        thumbnail_idea=_fill(shape["thumbnail"], slots) + ".",
        hashtags=_hashtags([evidence.topic, *(term.text for term in pick), evidence.category or ""]),
        why=_why(title, pick, backing, evidence),
        evidence=tuple(video.candidate_id for video in backing),
    )


def _backing(title: str, pick: Sequence[Term], evidence: Evidence, most: int = 3) -> list[Backing]:
    """The videos that share most with a title: its mined words, its structure, then its other words."""
    has = _structure(title)

    def shared(video: Backing) -> float:
        alike = len(has & _structure(video.title)) / (len(has) or 1)
        own = sum(video in term.examples for term in pick)
        return 1.5 * own + alike + _share(_words(title), video.title) + 0.3 * _strength(video)

    known = dict.fromkeys((*(video for term in pick for video in term.examples), *evidence.winners))
    return sorted(known, key=shared, reverse=True)[:most]  # stable: of two alike the better one


def _why(title: str, pick: Sequence[Term], backing: Sequence[Backing], evidence: Evidence) -> str:
    """What speaks for a title, with its numbers; an association, never a promise."""
    has = carried(title, evidence.patterns)
    parts = [f"{_measured(lift)}." for lift in has if lift.low > 1][:2]
    parts += [f"Against it – {_measured(lift)}." for lift in has if lift.high < 1][:1]
    for term in pick[:2]:
        lifted = f", {term.lift:.2f}× the topic's average" if term.lift is not None else ""
        parts.append(f"“{term.text}” is in {term.videos} titles of {term.channels} channels on this topic{lifted}.")
    strongest = max(backing, key=_strength, default=None)
    if strongest and strongest.outlier_multiple is not None:
        parts.append(f"Behind it: “{_short(strongest.title)}”, {strongest.outlier_multiple:.1f}× its channel's usual.")
    elif backing and backing[0].viral_score is not None:
        parts.append(f"Behind it: “{_short(backing[0].title)}”, scored {backing[0].viral_score * 100:.0f} in 100.")
    return " ".join(parts) or "No measured pattern backs this one: it is a frame that fits the topic, nothing more."


def _measured(lift: Lift) -> str:
    where = "all videos" if lift.scope == "all" else lift.scope.split(":", 1)[-1]
    return (
        f"{_named(lift)}: {lift.lift:.2f}× the same channel's other titles in {where}"
        f" ({lift.low:.2f}–{lift.high:.2f}, {lift.channels} channels)"
    )


def _slots(evidence: Evidence, pick: Sequence[Term], chance: random.Random) -> dict[str, str]:
    topic = evidence.topic
    term = pick[0].text if pick else topic
    other = pick[1].text if len(pick) > 1 else topic
    number = chance.choice(evidence.numbers or (3, 5, 7, 10))
    return {
        "topic": topic,
        "Topic": _upper_first(topic),
        "term": term,
        "Term": _upper_first(term),
        "other": other,
        "n": str(number),
    }


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Put the slots in, once: what they hold is never a template itself."""
    return re.sub(r"\{(\w+)\}", lambda match: slots[match[1]], template)


def _mood(vibe: str) -> str | None:
    """The vibe of the frames that fits the words of a request; None if none does."""
    asked = set(_words(vibe))
    for name, entry in _frames()["vibes"].items():
        if asked & set(entry["words"]):
            return str(name)
    return None


# --- the language model


class _ReplyConcept(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    hook: str
    outline: list[str]
    thumbnail_idea: str
    hashtags: list[str]
    why: str
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
                "pattern": _named(lift),
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
        title = _one_line(concept.title, 10 * LONGEST_TITLE)
        outline = tuple(beat for line in concept.outline if (beat := _one_line(line, 300)))
        whole = (_one_line(concept.hook, 400), _one_line(concept.thumbnail_idea, 400), _one_line(concept.why, 600))
        if not title or not outline or not all(whole):
            raise _Malformed("The language model left out a part of a concept.")
        if len(title) > LONGEST_TITLE or any(_has_link(part) for part in (title, *outline, *whole, *concept.hashtags)):
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
                hashtags=_hashtags(concept.hashtags),
                why=whole[2],
                evidence=tuple(backing) or tuple(video.candidate_id for video in _backing(title, (), evidence)),
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


def original(ideas: Sequence[Idea], evidence: Evidence) -> list[Idea]:
    """The ideas whose titles copy neither a title of the evidence nor one another. Pure."""
    taken = [video.title for video in (*evidence.winners, *evidence.flops)]
    kept = []
    for idea in ideas:
        if all(similarity(idea.title, title) < NEAR_COPY for title in taken):
            kept.append(idea)
            taken.append(idea.title)
    return kept


def similarity(one: str, other: str) -> float:
    """How much two titles say the same, 0..1: the order of words and punctuation count for little. Pure."""
    a, b = _words(one), _words(other)
    if not a or not b:
        return float(one.strip() == other.strip())
    together = len(set(a) & set(b)) / len(set(a) | set(b))
    return max(together, SequenceMatcher(None, " ".join(a), " ".join(b), autojunk=False).ratio())


def rank(
    ideas: Sequence[Idea], model: ScoringModel, evidence: Evidence, n: int, *, language: str | None = None
) -> tuple[Concept, ...]:
    """Score the ideas as drafts in one batch and keep the best `n` that differ from one another."""
    category = candidates.CATEGORY_IDS.get(evidence.category or "")
    scores = model.score(
        [
            ScoreInput(
                key=str(place),
                title=idea.title,
                category_id=category,
                language=language or (evidence.language if evidence.language != "und" else None),
            )
            for place, idea in enumerate(ideas)
        ]
    )
    scored = sorted(zip(ideas, scores, strict=True), key=lambda pair: -pair[1].viral_score)
    chosen: list[tuple[Idea, Scores]] = []
    for limit in (0.6, 1.0):  # alike ones, and those with the same backing, only where others do not suffice
        for idea, score in scored:
            near = any(similarity(idea.title, other.title) >= limit for other, _ in chosen)
            backed = limit < 1 and idea.evidence and any(idea.evidence == other.evidence for other, _ in chosen)
            if len(chosen) < n and not near and not backed:
                chosen.append((idea, score))
    chosen.sort(key=lambda pair: -pair[1].viral_score)
    return tuple(
        Concept(
            title=idea.title,
            hook=idea.hook,
            outline=idea.outline,
            thumbnail_idea=idea.thumbnail_idea,
            hashtags=idea.hashtags,
            why=idea.why,
            evidence=idea.evidence,
            viral_score=score.viral_score,
            base_rate=score.base_rate,
            predicted_multiple=score.predicted_multiple,
        )
        for idea, score in chosen
    )


def note(evidence: Evidence, writer: LanguageModel | None, made: int, wanted: int) -> str:
    """What the reader should know about these concepts. Pure."""
    parts = [
        {
            "topic": f"Based on {_videos(evidence.matched)} about “{evidence.topic}”.",
            "some words": f"No title has all of “{evidence.topic}”; based on {_videos(evidence.matched)} with some of it.",
            "everything": f"No collected video is about “{evidence.topic}”: the evidence is what does well in general."
            " Collect the topic on the Operations page for better ones.",
            "nothing": "No videos are collected yet, so nothing backs these concepts. Collect the topic first.",
        }[evidence.reach]
    ]
    if writer is None:
        parts.append(
            "Written offline from title frames and the topic's own words, not by a language model"
            " (set OPENAI_API_KEY for one)."
        )
    else:
        parts.append(f"Written by {writer.name} at {writer.place}.")
    if any(video.sample for video in evidence.winners):
        parts.append("The evidence is sample data: invented videos.")
    if made < wanted:
        parts.append(f"{made} instead of {wanted}: more would have repeated a known title or one another.")
    return " ".join(parts)


def to_markdown(recommendation: Recommendation) -> str:
    """The concepts as a document to keep."""
    vibe = f" ({recommendation.vibe})" if recommendation.vibe else ""
    lines = [f"# Concepts: {_plain(recommendation.topic + vibe)}", "", recommendation.note]
    for position, concept in enumerate(recommendation.concepts, start=1):
        lines += [
            "",
            f"## {position}. {_plain(concept.title)}",
            "",
            f"Score: {concept.viral_score * 100:.0f} in 100, where {concept.base_rate * 100:.0f} in 100 is ordinary.",
            "",
            f"- **Hook:** {_plain(concept.hook)}",
            *(f"{beat}. {_plain(line)}" for beat, line in enumerate(concept.outline, start=1)),
            f"- **Thumbnail:** {_plain(concept.thumbnail_idea)}",
            f"- **Hashtags:** {' '.join('#' + tag for tag in concept.hashtags)}",
            f"- **Why:** {_plain(concept.why)}",
        ]
        for key in concept.evidence:
            if video := recommendation.evidence.video(key):
                named = f"[{_plain(video.title)}]({video.url})" if video.url else _plain(video.title)
                lines.append(f"- **Backed by:** {named}{f', {_plain(video.channel)}' if video.channel else ''}")
    return "\n".join(lines) + "\n"


def to_csv(recommendation: Recommendation) -> str:
    """The concepts as a table, one a row; lists are joined with " | ".

    A cell that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow([column.name for column in fields(Concept)])
    for concept in recommendation.concepts:
        values = (getattr(concept, column.name) for column in fields(Concept))
        cells = [" | ".join(value) if isinstance(value, tuple) else value for value in values]
        table.writerow(["'" + cell if isinstance(cell, str) and cell[:1] in "=+-@\t" else cell for cell in cells])
    return out.getvalue()


# --- parts


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
        said = _one_line(getattr(message, "refusal", None) or "", 200)
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


def _record(connection: Connection, usage: Usage) -> None:
    connection.execute(
        text(
            "INSERT INTO usage (service, requests, input_tokens, output_tokens, seconds)"
            " VALUES ('openai', :requests, :input_tokens, :output_tokens, :seconds)"
        ),
        asdict(usage),
    )


def _shown(label: str, video: Backing) -> dict[str, Any]:
    return {
        "label": label,
        "title": _one_line(video.title, 200),
        "channel": _one_line(video.channel or "", 80),
        "views": video.views,
        "multiple": None if video.outlier_multiple is None else round(video.outlier_multiple, 1),
        "score": None if video.viral_score is None else round(video.viral_score, 2),
    }


def _merit(video: Backing) -> float:
    return video.viral_score or 0.0


def _strength(video: Backing) -> float:
    """What a video proves: measured results before a predicted chance."""
    return (math.log2(max(video.outlier_multiple, 0.1)) if video.outlier_multiple is not None else -0.5) + _merit(video)


def _language(topic: str, videos: Sequence[Backing]) -> str:
    """The language to write in where none was asked for: the one that clearly leads among the topic's videos.

    A topic in Latin letters is taken for English unless most videos say otherwise: many topics are names.
    """
    named = Counter(video.language.split("-")[0] for video in videos if video.language)
    if named:
        leading, number = named.most_common(1)[0]
        if _foreign(topic) or (number >= ENOUGH and number >= 0.6 * named.total()):
            return leading
    return "und" if _foreign(topic) else "en"


def _diverse(videos: Sequence[Backing], most: int) -> tuple[Backing, ...]:
    """The first videos with at most PER_CHANNEL of one channel, and no title twice."""
    per_channel: Counter[str] = Counter()
    titles: set[str] = set()
    chosen = []
    for video in videos:
        channel, title = video.channel_key or video.candidate_id, " ".join(_words(video.title)) or video.title
        if per_channel[channel] < PER_CHANNEL and title not in titles:
            per_channel[channel] += 1
            titles.add(title)
            chosen.append(video)
        if len(chosen) == most:
            break
    return tuple(chosen)


def _share(words: Sequence[str], title: str) -> float:
    """The share of some words that a title has."""
    has = set(_words(title))
    return sum(word in has for word in set(words)) / (len(set(words)) or 1)


def _structure(title: str) -> set[str]:
    return {patterns.RULES[number].name for number in patterns.structure(title)}


def _grams(title: str) -> set[str]:
    """The one to three words long n-grams of a title, as title patterns name them."""
    words = patterns.tokens(title)
    grams = (words[start : start + size] for size in (1, 2, 3) for start in range(len(words) - size + 1))
    return {" ".join(gram) for gram in grams if all(gram)}  # type: ignore[arg-type]  # no None is left


def _named(lift: Lift) -> str:
    return lift.pattern if lift.kind == "structure" else f"“{lift.pattern}”"


def _words(value: str) -> list[str]:
    return re.findall(r"\w+", value.replace("'", "").replace("’", "").casefold())


def _cased(surfaces: Counter[str]) -> str:
    """How a word is mostly written by those who do not shout; an acronym of up to three letters stays one."""
    if quiet := next((form for form in surfaces if form.islower()), None):
        return quiet  # a word that anybody writes small is no name
    calm = Counter({form: number for form, number in surfaces.items() if not form.isupper()})
    form = (calm or surfaces).most_common(1)[0][0]
    return " ".join(word.capitalize() if word.isupper() and len(word) > 3 else word for word in form.split())


def _in_title_case(videos: Sequence[Backing]) -> bool:
    """Whether titles on the topic Mostly Look Like This."""
    words = [word for video in videos for word in re.findall(r"[^\W\d_]{4,}", video.title) if not word.isupper()]
    return sum(word[0].isupper() for word in words) > 0.7 * len(words)


def _title_case(title: str) -> str:
    """Capitals as Titles Have Them; what holds a capital already stays as it is."""
    small = {
        "a",
        "an",
        "and",
        "as",
        "at",
        "but",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "the",
        "to",
        "vs",
    }
    words = title.split(" ")
    return " ".join(
        word if word in small and place else re.sub(r"[^\W\d_]", lambda first: first[0].upper(), word, count=1)
        for place, word in enumerate(words)
    )


def _upper_first(value: str) -> str:
    return value[:1].upper() + value[1:]


def _foreign(value: str) -> bool:
    """Whether a text is mostly in another script than the Latin one."""
    letters = [letter for letter in value if letter.isalpha()]
    return sum(letter > "\u024f" for letter in letters) * 2 > len(letters)


def _hashtags(values: Sequence[str]) -> tuple[str, ...]:
    """Up to six hashtags, joined as platforms want them: no spaces, no signs."""
    tags = ("".join(re.findall(r"\w+", value.casefold()))[:40] for value in values)
    return tuple(dict.fromkeys(tag for tag in tags if tag))[:6]


def _has_link(value: str) -> bool:
    return (
        re.search(r"https?:|www\.|\]\(|\b[\w-]+\.(?:com|net|org|io|ly|gg|example)\b", value, re.IGNORECASE) is not None
    )


def _videos(number: int) -> str:
    return f"{number:,} collected video" + ("" if number == 1 else "s")


def _plain(value: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", value)


def _short(title: str) -> str:
    return title if len(title) <= 70 else title[:69].rstrip() + "…"


def _one_line(value: str, longest: int) -> str:
    """Text on one line without control characters and direction overrides, cut to a length."""
    printable = "".join(
        " " if not letter.isprintable() and letter not in "\u200d\ufe0f" else letter for letter in value
    )
    return (candidates.text(" ".join(printable.split()), longest) or "").strip()


@lru_cache(maxsize=1)
def _frames() -> dict[str, Any]:
    return json.loads((PROMPTS / "frames.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    lines = (PROMPTS / "stop_words.txt").read_text(encoding="utf-8").splitlines()
    return patterns.STOP_WORDS.union(word for line in lines if not line.startswith("#") for word in line.split())
