"""A topic and a vibe in, scored concepts out, each backed by real videos.

Gather the evidence, write concepts (a language model where a key is set, else the offline generator),
score them, keep the best. Knows nothing about pages; no connection is held while a language model thinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from miles import candidates, db, drafts, language_model, wording
from miles.concepts import Concept, Idea, Recommendation, Request, Usage
from miles.errors import ConceptsUnavailable, MilesError
from miles.features import ScoreInput
from miles.grounding import Evidence, gather
from miles.language_model import LanguageModel
from miles.offline import compose

OFFLINE = "offline"
MOST_CONCEPTS = 20
LONGEST_TOPIC = 200  # characters
SPREAD = 4  # titles composed offline for each concept shown


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


def recommend(
    model: ScoringModel,
    request: Request,
    *,
    user_id: str,
    offline: bool = False,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Recommendation:
    """Concepts for a request, scored and saved for the user.

    Written by the language model of the settings, or by the offline generator where there is none or
    `offline` asks for it; offline, the same seed gives the same concepts. Opens its own transactions as
    the user, and none while a language model thinks. Raises MilesError for an empty topic,
    ConceptsUnavailable if the language model gives nothing that can be used.
    """
    request = checked(request)
    wanted, platform, language = request.number, request.platform, request.language
    say = on_progress or (lambda _: None)
    writer = None if offline else language_model.configured()

    say("Looking for videos on the topic")
    with db.transaction("viewer", user_id) as connection:
        evidence = gather(connection, request.topic, platform=platform, language=language)
    say(f"Writing concepts with {writer.name}" if writer else "Writing concepts offline")
    bills: list[Usage] = []
    if writer is None:
        ideas = compose(evidence, request.vibe, wanted * SPREAD, language=language, seed=seed)
    else:
        messages = language_model.build_prompt(
            evidence, request.vibe, wanted + max(2, wanted // 2), platform=platform, language=language
        )
        try:
            ideas = language_model.ask(writer, messages, evidence, bills.append)
        finally:  # an answer that is of no use was paid for, too
            if bills:
                with db.transaction("viewer", user_id) as connection:
                    language_model._record(connection, sum(bills, Usage()))
    ideas = original(ideas, evidence)
    if not ideas:
        raise ConceptsUnavailable(
            "Every concept came out as a copy of an existing title. Ask again, or put the topic in other words."
        )
    say("Scoring them")
    concepts = rank(ideas, model, evidence, wanted, language=language)
    generator = writer.name if writer else OFFLINE
    with db.transaction("viewer", user_id) as connection:
        query_id = drafts.save_query(
            connection, request.topic, request.vibe, generator, [concept.to_dict() for concept in concepts]
        )
    return Recommendation(
        request,
        concepts,
        generator,
        evidence,
        note(evidence, writer, len(concepts), wanted),
        sum(bills, Usage()),
        model.version,
        query_id,
    )


def checked(request: Request) -> Request:
    """The request as it is worked on: its words on one line. Raises MilesError where it makes no sense. Pure."""
    topic = wording.one_line(request.topic, LONGEST_TOPIC)
    if not topic:
        raise MilesError("Concepts need a topic. Say in a few words what the videos are about.")
    if not 1 <= request.number <= MOST_CONCEPTS:
        raise MilesError(f"Ask for 1 to {MOST_CONCEPTS} concepts, not {request.number}.")
    return replace(request, topic=topic, vibe=wording.one_line(request.vibe, LONGEST_TOPIC))


def original(ideas: Sequence[Idea], evidence: Evidence) -> list[Idea]:
    """The ideas whose titles copy neither a title of the evidence nor one another. Pure."""
    taken = [video.title for video in (*evidence.winners, *evidence.flops)]
    kept = []
    for idea in ideas:
        if all(wording.similarity(idea.title, title) < wording.NEAR_COPY for title in taken):
            kept.append(idea)
            taken.append(idea.title)
    return kept


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
            near = any(wording.similarity(idea.title, other.title) >= limit for other, _ in chosen)
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
            risk=idea.risk,
            evidence=idea.evidence,
            viral_score=score.viral_score,
            base_rate=score.base_rate,
            predicted_multiple=score.predicted_multiple,
            nearest=None,
            novelty=None,
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


def _videos(number: int) -> str:
    return f"{number:,} collected video" + ("" if number == 1 else "s")
