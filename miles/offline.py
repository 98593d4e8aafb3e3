"""The offline generator: ideas from title frames, filled with the words and patterns mined from the evidence. Pure."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from miles import wording
from miles.concepts import Idea
from miles.grounding import Backing, Evidence, Lift, Term, backing_of, carried, named, strength

PROMPTS = Path(__file__).parent / "prompts"
WORTH_USING = 1.0  # lift of a word below which it goes with worse results


def compose(evidence: Evidence, vibe: str, wanted: int, *, language: str | None = None, seed: int = 0) -> list[Idea]:
    """Ideas from frames filled with the topic's own words, those with the better-lifting patterns first.

    Deterministic by seed; pure. Frames in English are left out where topic or language is another.
    """
    frames = _frames()
    code = (language or evidence.language).split("-")[0]
    english = code == "en" and not wording.foreign(evidence.topic)
    mood = _mood(vibe)
    capitals = english and wording.in_title_case(video.title for video in evidence.winners)
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
            slots["title"] = title = wording.title_case(title) if capitals else title
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
            if any(wording.similarity(idea.title, other.title) >= wording.NEAR_COPY for other in ideas):
                continue
            used_frames[frame["id"]] += 1
            used_terms.update(term.text for term in pick)
            ideas.append(idea)
    return ideas


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
    backing = backing_of(title, pick, evidence)
    return Idea(
        title=title,
        hook=_fill(shape["hook"], slots),
        outline=tuple(outline),
        thumbnail_idea=_fill(shape["thumbnail"], slots) + ".",
        hashtags=wording.hashtags([evidence.topic, *(term.text for term in pick), evidence.category or ""]),
        why=_why(title, pick, backing, evidence),
        risk=_risk(title, pick, evidence),
        evidence=tuple(video.candidate_id for video in backing),
    )


def _why(title: str, pick: Sequence[Term], backing: Sequence[Backing], evidence: Evidence) -> str:
    """What speaks for a title, with its numbers; an association, never a promise."""
    has = carried(title, evidence.patterns)
    parts = [f"{_measured(lift)}." for lift in has if lift.low > 1][:2]
    for term in pick[:2]:
        lifted = f", {term.lift:.2f}× the topic's average" if term.lift is not None else ""
        parts.append(f"“{term.text}” is in {term.videos} titles of {term.channels} channels on this topic{lifted}.")
    strongest = max(backing, key=strength, default=None)
    if strongest and strongest.outlier_multiple is not None:
        parts.append(
            f"Behind it: “{wording.short(strongest.title)}”, {strongest.outlier_multiple:.1f}× its channel's usual."
        )
    elif backing and backing[0].viral_score is not None:
        parts.append(
            f"Behind it: “{wording.short(backing[0].title)}”, scored {backing[0].viral_score * 100:.0f} in 100."
        )
    return " ".join(parts) or "No measured pattern backs this one: it is a frame that fits the topic, nothing more."


def _risk(title: str, pick: Sequence[Term], evidence: Evidence) -> str:
    """What was measured against a title."""
    parts = [f"{_measured(lift)}." for lift in carried(title, evidence.patterns) if lift.high < 1][:1]
    said = {word for term in pick for word in wording.words(term.text)}
    if alike := [video for video in evidence.flops if said & set(wording.words(video.title))]:
        parts.append(
            f"“{wording.short(alike[0].title)}” has it too and came to {alike[0].outlier_multiple or 0.0:.1f}×"
            " its channel's usual."
        )
    return " ".join(parts) or "Nothing measured speaks against it, which is no promise."


def _measured(lift: Lift) -> str:
    where = "all videos" if lift.scope == "all" else lift.scope.split(":", 1)[-1]
    return (
        f"{named(lift)}: {lift.lift:.2f}× the same channel's other titles in {where}"
        f" ({lift.low:.2f}–{lift.high:.2f}, {lift.channels} channels)"
    )


def _slots(evidence: Evidence, pick: Sequence[Term], chance: random.Random) -> dict[str, str]:
    topic = evidence.topic
    term = pick[0].text if pick else topic
    other = pick[1].text if len(pick) > 1 else topic
    number = chance.choice(evidence.numbers or (3, 5, 7, 10))
    return {
        "topic": topic,
        "Topic": wording.upper_first(topic),
        "term": term,
        "Term": wording.upper_first(term),
        "other": other,
        "n": str(number),
    }


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Put the slots in, once: what they hold is never a template itself."""
    return re.sub(r"\{(\w+)\}", lambda match: slots[match[1]], template)


def _mood(vibe: str) -> str | None:
    """The vibe of the frames that fits the words of a request; None if none does."""
    asked = set(wording.words(vibe))
    for name, entry in _frames()["vibes"].items():
        if asked & set(entry["words"]):
            return str(name)
    return None


@lru_cache(maxsize=1)
def _frames() -> dict[str, Any]:
    return json.loads((PROMPTS / "frames.json").read_text(encoding="utf-8"))
