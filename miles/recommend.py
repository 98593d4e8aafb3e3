"""A topic and a vibe in, scored concepts out, each backed by real videos and held against all known titles.

Gather the evidence, write more concepts than are shown (a language model where a key is set, else the offline generator),
score them as drafts in one call, keep the best that differ, and hold those against the whole collection: what only
rewords a known title goes, and others are written in its place. Knows nothing about pages; no connection is held while a
language model thinks.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Connection

from miles import db, kept, lab, language_model, novelty, prompting, spending, wording
from miles.concepts import Concept, Idea, Recommendation, Request, Usage
from miles.errors import ConceptsUnavailable, MilesError
from miles.explain import Scorer
from miles.features import ScoreInput
from miles.grounding import Evidence, gather
from miles.lab import Verdict
from miles.language_model import LanguageModel
from miles.novelty import Newness
from miles.offline import compose

logger = logging.getLogger(__name__)

OFFLINE = "offline"
MOST_CONCEPTS = 20
LONGEST_TOPIC = 200  # characters
SPREAD, MOST_DRAFTS = 8, 80  # titles composed offline for each concept shown, and at most: a third of a second to score
AGAIN = 2  # times that others are asked for in the place of near-copies
ALIKE = 0.6  # similarity of two titles from which only one is shown, where there are others

Scored = tuple[Idea, Verdict]


class ScoringModel(Scorer, Protocol):
    """What is needed of `scoring.Model`; one that can `embed_titles` too finds evidence and near-copies by meaning."""

    @property
    def version(self) -> str: ...


def recommend(
    model: ScoringModel,
    request: Request,
    *,
    user_id: str,
    offline: bool = False,
    fresh: bool = False,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Recommendation:
    """Concepts for a request, scored and saved for the user.

    Written by the language model of the settings, or by the offline generator where there is none or `offline` asks for
    it; offline, the same seed gives the same concepts. What the language model answered to the same request within a day
    is given again, unless it shall be `fresh`. Opens its own transactions as the user, and none while a language model
    thinks. Raises MilesError for an empty topic, ConceptsUnavailable if nothing comes that can be used.
    """
    request = checked(request)
    say = on_progress or (lambda _: None)
    writer = None if offline else language_model.configured()
    fingerprint = spending.fingerprint(request, writer.name, writer.place, model.version) if writer else None
    if fingerprint and not fresh:
        with db.transaction("viewer", user_id) as connection:
            earlier = kept.same(connection, fingerprint, datetime.now(UTC) - spending.REMEMBERED)
        if earlier:
            return earlier

    say("Looking for videos on the topic")
    with db.transaction("viewer", user_id) as connection:
        evidence = gather(connection, request.topic, model=model, platform=request.platform, language=request.language)
    say(f"Writing concepts with {writer.name}" if writer else "Writing concepts offline")
    ledger = spending.Ledger(user_id, writer) if writer else None
    known: dict[str, Newness] = {}  # title -> how new it is, of those that were held against the collection
    scored: list[Scored] = []
    chosen: list[Scored] = []
    avoid: list[str] = []  # every title written so far, near-copies too: another attempt shall differ
    until = time.monotonic() + (writer.timeout if writer else 0.0)  # of all attempts together
    for attempt in range(1 + AGAIN):
        missing = request.number - len(chosen)
        try:
            if writer:
                wanted = language_model.generated(missing)
                written = language_model.write(
                    writer, request, evidence, wanted, avoid=avoid, on_progress=say, meter=ledger, until=until
                )
            else:
                wanted = min(request.number * SPREAD, MOST_DRAFTS)
                written = compose(evidence, request.vibe, wanted, language=request.language, seed=seed, avoid=avoid)
        except ConceptsUnavailable:
            if not chosen:
                raise
            logger.info("No concepts came in the place of near-copies", exc_info=True)
            break
        ideas = original(written, evidence, avoid)
        avoid += [idea.title for idea in written if idea.title not in avoid]
        if not ideas and attempt and not writer:
            break  # frames and words have run out
        say("Scoring them")
        scored += judged(ideas, model, evidence, request.language)
        say("Comparing them with what is known")
        with db.transaction("viewer", user_id) as connection:
            chosen = _novel(connection, model, scored, request.number, known)
        if len(chosen) == request.number:
            break
        say("Asking for others in the place of those that repeat known titles")
    if not chosen:
        raise ConceptsUnavailable(
            "Every concept came out as a copy of an existing title. Ask again, or put the topic in other words."
        )
    copies = sum(newness.copies for newness in known.values())
    made = Recommendation(
        request,
        finished(chosen, known, evidence),
        writer.name if writer else OFFLINE,
        evidence,
        note(evidence, writer, len(chosen), request.number, copies),
        ledger.usage if ledger else Usage(),
        model.version,
        prompt_version=prompting.prompt().version if writer else None,
    )
    with db.transaction("viewer", user_id) as connection:
        return kept.save(connection, made, fingerprint)


def checked(request: Request) -> Request:
    """The request as it is worked on: its words on one line. Raises MilesError where it makes no sense. Pure."""
    topic = wording.one_line(request.topic, LONGEST_TOPIC)
    if not topic:
        raise MilesError("Concepts need a topic. Say in a few words what the videos are about.")
    if not 1 <= request.number <= MOST_CONCEPTS:
        raise MilesError(f"Ask for 1 to {MOST_CONCEPTS} concepts, not {request.number}.")
    return replace(request, topic=topic, vibe=wording.one_line(request.vibe, LONGEST_TOPIC))


def original(ideas: Sequence[Idea], evidence: Evidence, taken: Sequence[str] = ()) -> list[Idea]:
    """The ideas whose titles copy neither a title of the evidence, nor one that is taken, nor one another. Pure."""
    titles = [*(video.title for video in (*evidence.winners, *evidence.flops)), *taken]
    found = []
    for idea in ideas:
        if not any(wording.alike(idea.title, title) for title in titles):
            found.append(idea)
            titles.append(idea.title)
    return found


def as_draft(title: str, evidence: Evidence, language: str | None = None) -> ScoreInput:
    """A concept's title as the model is given it: a draft in the topic's category, without channel and thumbnail."""
    return _drafts([title], evidence, language)[0]


def _drafts(titles: Sequence[str], evidence: Evidence, language: str | None) -> list[ScoreInput]:
    spoken = language or (evidence.language if evidence.language != "und" else None)
    return lab.inputs(titles, category=evidence.category, language=spoken)


def judged(ideas: Sequence[Idea], model: Scorer, evidence: Evidence, language: str | None = None) -> list[Scored]:
    """The ideas with what the model says of their titles, all in one call."""
    if not ideas:
        return []
    return list(zip(ideas, lab.judge_all(model, _drafts([i.title for i in ideas], evidence, language)), strict=True))


def select(scored: Sequence[Scored], n: int) -> list[Scored]:
    """The best `n` that differ from one another, best first; in the order of the Score lab (`lab`). Pure.

    Alike ones, and those with the same backing, come in only where others do not suffice.
    """
    order = sorted(scored, key=lambda one: -one[1].appeal)
    chosen: list[Scored] = []
    for limit in (ALIKE, 1.0):
        for idea, verdict in order:
            if len(chosen) == n:
                break
            near = any(wording.alike(idea.title, other.title, limit) for other, _ in chosen)
            backed = limit < 1 and idea.evidence and any(idea.evidence == other.evidence for other, _ in chosen)
            if not near and not backed:
                chosen.append((idea, verdict))
    return sorted(chosen, key=lambda one: -one[1].appeal)


def _novel(
    connection: Connection, model: object, scored: Sequence[Scored], n: int, known: dict[str, Newness]
) -> list[Scored]:
    """The best `n` that say nothing known; what is found out on the way goes into `known`.

    Only those that would be shown are held against the collection, until none of them is a near-copy.
    """
    while True:
        chosen = select([one for one in scored if one[0].title not in known or not known[one[0].title].copies], n)
        new = [idea.title for idea, _ in chosen if idea.title not in known]
        if not new:
            return chosen
        known.update(zip(new, novelty.check(connection, model, new), strict=True))


def finished(chosen: Sequence[Scored], known: Mapping[str, Newness], evidence: Evidence) -> tuple[Concept, ...]:
    """The concepts as they are shown: places with ties, backing that can back, what speaks against them. Pure."""
    places = lab.places([verdict.appeal for _, verdict in chosen])
    return tuple(
        Concept(
            title=idea.title,
            hook=idea.hook,
            outline=idea.outline,
            thumbnail_idea=idea.thumbnail_idea,
            hashtags=idea.hashtags,
            why=idea.why,
            risk=_risk(idea, verdict),
            evidence=backing(idea, evidence),
            viral_score=verdict.viral_score,
            base_rate=verdict.base_rate,
            predicted_multiple=verdict.multiple,
            nearest=known[idea.title].nearest,
            novelty=None if (likeness := known[idea.title].likeness) is None else max(1.0 - likeness, 0.0),
            place=place,
        )
        for (idea, verdict), place in zip(chosen, places, strict=True)
    )


def backing(idea: Idea, evidence: Evidence) -> tuple[str, ...]:
    """The candidates an idea cites that can back it: of the evidence, on the topic, above their channel's usual. Pure."""
    if not evidence.on_topic:
        return ()
    cited = ((key, evidence.video(key)) for key in dict.fromkeys(idea.evidence))
    return tuple(key for key, video in cited if video and video.above_usual)


def _risk(idea: Idea, verdict: Verdict) -> str:
    if verdict.viral_score >= verdict.base_rate:
        return idea.risk
    chance, usual = verdict.viral_score * 100, verdict.base_rate * 100
    return f"{idea.risk} The model gives it {chance:.0f} in 100, where {usual:.0f} is ordinary."


def note(evidence: Evidence, writer: LanguageModel | None, made: int, wanted: int, copies: int = 0) -> str:
    """What the reader should know about these concepts. Pure."""
    meant = f", {evidence.by_meaning} of them found by meaning and not by word" if evidence.by_meaning else ""
    parts = [
        {
            "topic": f"Based on {_videos(evidence.matched)} about “{evidence.topic}”{meant}.",
            "some words": f"No title has all of “{evidence.topic}”; based on {_videos(evidence.matched)} with some of it.",
            "everything": f"No collected video is about “{evidence.topic}”: nothing backs these concepts."
            " Collect the topic on the Operations page for better ones.",
            "nothing": "No videos are collected yet, so nothing backs these concepts. Collect the topic first.",
        }[evidence.reach]
    ]
    if evidence.on_topic and not evidence.winners:
        parts.append(
            "None of them has enough of the topic and is known to do better than its channel's usual, so nothing backs"
            " these concepts."
        )
    elif evidence.on_topic and evidence.threshold is not None:
        parts.append(
            f"Those that back a concept are above their channel's usual; {evidence.promising} of the"
            f" {len(evidence.winners)} best are also scored above the ordinary {evidence.threshold * 100:.0f} in 100."
        )
    if evidence.on_topic and evidence.without_meaning:
        parts.append(f"Videos were found by their words alone. {evidence.without_meaning}")
    if writer is None:
        parts.append(
            "Written offline from title frames, phrases and words of the topic's own titles, not by a language model"
            " (set OPENAI_API_KEY for one)."
        )
    else:
        parts.append(f"Written by {writer.name} at {writer.place}.")
    if any(video.sample for video in evidence.winners):
        parts.append("The evidence is sample data: invented videos.")
    if copies:
        parts.append(f"Left out for repeating a known title: {copies}.")
    if made < wanted:
        parts.append(f"{made} instead of {wanted}: more would have repeated a known title or one another.")
    return " ".join(parts)


def _videos(number: int) -> str:
    return f"{number:,} collected video" + ("" if number == 1 else "s")
