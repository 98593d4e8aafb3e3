"""The offline generator: titles from measured frames and from phrases that the topic's own titles share. Pure.

A title is a frame (frames.json, by language) filled with the topic and with things its titles name, or the topic between
words that several channels write around it ("how to make … at home"). What carries patterns and words with lift comes
first; the model has the last word on the order (`recommend`).
"""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from miles import patterns, wording
from miles.concepts import LONGEST_TITLE, Idea
from miles.grounding import Backing, Evidence, Lift, Phrase, Spread, Term, backing_of, carried, named, strength

PROMPTS = Path(__file__).parent / "prompts"
WORTH_USING = 1.0  # lift of a word below which it goes with worse results
LIST_NUMBERS = (3, 5, 7, 10)  # for lists, where the topic's titles have none
LONGEST_LIST = 12  # greater numbers count something else
TIMES = ("24 hours", "7 days", "30 days")  # where the topic's titles have none
LONGEST_NAMED = 50  # characters of a topic in a title; of a longer one the first words
CALM = "calm"  # frames of this vibe alone are for those who ask for it
WRITTEN = 3  # titles with the topic inside a sentence, to tell how it is spelt
ACRONYM = 4  # letters of the longest topic that may be one
ENOUGH = 8  # videos of which lengths are told
BARE = 10  # of so many drafts one may be a frame with nothing in it but the topic, while others are left
OUTRIGHT = 0.5  # share of a word's videos below their channel's usual from which it is a risk


@dataclass(frozen=True, slots=True)
class Draft:
    """A title with what it was made of."""

    title: str
    origin: str  # the frame or the mined words: variety is counted by it
    shape: str
    pick: tuple[Term, ...]
    slots: Mapping[str, str]
    phrases: tuple[Phrase, ...] = ()
    fit: float = 0.0  # to the vibe

    @property
    def parts(self) -> "tuple[Phrase | Term, ...]":
        """What it is made of that was mined."""
        return (*self.phrases, *self.pick)


def compose(
    evidence: Evidence,
    vibe: str,
    wanted: int,
    *,
    language: str | None = None,
    seed: int = 0,
    avoid: Sequence[str] = (),
) -> list[Idea]:
    """Ideas with the better-lifting patterns and words first, none of them titled like one to `avoid`.

    Deterministic by seed; pure. Fewer than wanted where frames and words run out.
    """
    chance = random.Random(f"{seed}|{evidence.topic}|{vibe}")
    mood = _mood(vibe)
    code = (language or evidence.language).split("-")[0]
    english = code == "en" and not wording.foreign(evidence.topic)
    if english:  # among English words nobody reads "from Pro Max to нуля"
        evidence = replace(evidence, terms=tuple(term for term in evidence.terms if not wording.foreign(term.text)))
    capitals = english and wording.in_title_case(video.title for video in evidence.winners)
    drafts = [
        *_from_frames(evidence, code if english or code != "en" else "any", mood, chance),
        *_from_phrases(evidence),
    ]
    weighed = []
    for draft in [*drafts, *_longer(drafts, evidence)]:
        if len(draft.title) <= LONGEST_TITLE:
            title = wording.title_case(draft.title) if capitals else draft.title
            weighed.append((_weight(title, draft, evidence), chance.random(), title, draft))
    weighed.sort(key=lambda entry: (-entry[0], entry[1]))
    ideas: list[Idea] = []
    taken = list(avoid)
    done: set[str] = set()
    used: Counter[str] = Counter()
    terms: Counter[str] = Counter()
    bare = 0
    # variety and the topic's own words first, then whatever is left
    for most_origin, most_term, most_bare in (
        (1, 3, wanted // BARE),
        (2, 6, wanted // BARE),
        (2, 6, wanted),
        (6, 99, wanted),
    ):
        for _, _, title, draft in weighed:
            if len(ideas) >= wanted:
                return ideas
            alone = not draft.pick and not draft.phrases
            if title in done or (alone and bare >= most_bare) or used[draft.origin] >= most_origin:
                continue
            if any(terms[term.text] >= most_term for term in draft.pick):
                continue
            done.add(title)  # chosen, or too much like one that is
            if any(wording.alike(title, other) for other in taken):
                continue
            taken.append(title)
            bare += alone
            used[draft.origin] += 1
            terms.update(term.text for term in draft.pick)
            ideas.append(_idea(title, draft, evidence, mood, chance))
    return ideas


# --- titles -----------------------------------------------------------------------------------------


def _from_frames(evidence: Evidence, code: str, mood: str | None, chance: random.Random) -> Iterator[Draft]:
    frames = _frames()["frames"]
    kind = _kind(evidence)
    terms = _usable(evidence)
    for frame in frames["en"] if code == "en" else [*frames.get(code, ()), *frames["any"]]:
        template = frame["title"]
        vibes = frame.get("vibes", ())
        if kind not in frame.get("for", (kind,)) or (vibes == [CALM] and mood != CALM):
            continue
        for pick in _picks(template, terms):
            slots = _slots(evidence, pick, chance)
            fit = 0.25 if mood in vibes else -0.35 if vibes and mood else 0.0
            yield Draft(_fill(template, slots), template, frame["shape"], pick, slots, fit=fit)


def _picks(template: str, terms: Sequence[Term]) -> list[tuple[Term, ...]]:
    """The terms to fill a template with: none, one or two at a time."""
    slots = set(re.findall(r"\{(\w+)\}", template))
    if not slots & {"term", "Term", "other", "Other"}:
        return [()]
    # no article stands before a name: "the Bangkok"
    common = re.search(r"\b(?:the|every|an?) (?:\{attr\} )?\{term\}", template) is not None
    fitting = [term for term in terms if term.common or not common]
    if slots & {"other", "Other"}:
        return [(a, b) for place, a in enumerate(fitting[:6]) for b in fitting[place + 1 : place + 3]]
    return [(term,) for term in fitting[:10]]


def _from_phrases(evidence: Evidence) -> Iterator[Draft]:
    """The topic between words that several channels write before and behind it, and beside a thing of the topic."""
    terms = _usable(evidence)[:4]
    topic = _spelled(evidence)
    before = [phrase for phrase in evidence.before if _worth(phrase)]
    after = [phrase for phrase in evidence.after if _worth(phrase)]
    leading = [phrase for phrase in after if phrase.text.casefold().split()[0] in patterns.STOP_WORDS]  # "at home"
    pairs: list[tuple[Phrase | None, Phrase | None]] = [(a, b) for a in before[:4] for b in leading[:4]]
    pairs += [(a, None) for a in before] + [(None, b) for b in after]
    for head, tail in pairs:
        said = [head.text if head else "", topic, tail.text if tail else ""]
        title = wording.upper_first(" ".join(part for part in said if part))
        phrases = tuple(phrase for phrase in (head, tail) if phrase)
        origin = " ".join([head.text if head else "", "…", tail.text if tail else ""])
        slots = _slots(evidence, (), random.Random(title))
        if head and tail:
            yield Draft(title, origin, "story", (), slots, phrases)
        for term in terms:
            yield Draft(f"{title}: {term.text}", origin, "reveal", (term,), {**slots, **_named(term)}, phrases)


def _worth(phrase: Phrase) -> bool:
    return phrase.lift is None or phrase.lift >= WORTH_USING


def _longer(drafts: Iterable[Draft], evidence: Evidence) -> list[Draft]:
    """Drafts with a thing of the topic in brackets or behind a bar, where that structure goes with better results."""
    lifted = {lift.pattern for lift in evidence.patterns if lift.kind == "structure" and lift.low > 1}
    written = {"Brackets": "{} ({})", "Parts with | or –": "{} | {}"}
    terms = _usable(evidence)[:3]
    return [
        Draft(
            written[pattern].format(draft.title.rstrip("."), term.text), draft.origin, draft.shape, (term,),
            {**draft.slots, **_named(term)}, draft.phrases, draft.fit,
        )
        for pattern in written if pattern in lifted
        for draft in drafts if not draft.pick and "(" not in draft.title
        for term in terms
    ]  # fmt: skip


def _weight(title: str, draft: Draft, evidence: Evidence) -> float:
    """What speaks for a title before the model is asked: lifts of its patterns and words, as logarithms."""
    weight = draft.fit + 0.3 * bool(draft.pick) + 0.3 * bool(draft.phrases)
    weight += sum(math.log(part.lift) for part in draft.parts if part.lift)
    weight += sum(math.log(lift.lift) for lift in carried(title, evidence.patterns))
    usual = evidence.lengths.winners_title if evidence.lengths else None
    if usual and not usual.low <= len(title) <= usual.high:
        weight -= 0.1
    return weight


def _usable(evidence: Evidence) -> list[Term]:
    """The terms that can stand where a thing stands, and don't go with worse results."""
    return [term for term in evidence.terms if term.noun and (term.lift is None or term.lift >= WORTH_USING)]


def _kind(evidence: Evidence) -> str:
    if evidence.several:
        return "things"
    last = (wording.words(evidence.topic) or [""])[-1]
    return "activity" if last.endswith("ing") and wording.verbal(evidence.topic) else "thing"


def _spelled(evidence: Evidence) -> str:
    """The topic as titles write it inside a sentence, where it was typed without capitals: "minecraft", "Minecraft"."""
    topic = _brief(evidence.topic)
    if topic != topic.lower():
        return topic
    search = re.compile(rf"(?<=\w )\b{re.escape(topic)}\b", re.IGNORECASE).search
    whole = re.compile(rf"\b{re.escape(topic)}\b", re.IGNORECASE).search
    forms = Counter(match[0] for video in evidence.winners if (match := whole(video.title)))
    named = Counter({form: number for form, number in forms.items() if wording.capital_within(form)})
    if named and max(named.values()) == max(number for form, number in forms.items() if not form.isupper()):
        return named.most_common(1)[0][0]  # "iPhone", however the rest of a title is written
    if sum(map(str.isalpha, topic)) <= ACRONYM and forms[topic.upper()] * 2 > forms.total():
        return topic.upper()
    calm = (video.title for video in evidence.winners if not wording.in_title_case([video.title]))
    written = Counter(match[0] for title in calm if (match := search(title)) and not match[0].isupper())
    return written.most_common(1)[0][0] if written.total() >= WRITTEN else topic


def _brief(topic: str) -> str:
    """The first words of a topic that is too long for a title."""
    if len(topic) <= LONGEST_NAMED:
        return topic
    return topic[: LONGEST_NAMED + 1].rpartition(" ")[0] or topic[:LONGEST_NAMED]


def _named(term: Term, place: str = "term") -> dict[str, str]:
    return {place: term.text, wording.upper_first(place): wording.upper_first(term.text)}


def _slots(evidence: Evidence, pick: Sequence[Term], chance: random.Random) -> dict[str, str]:
    """What the templates' slots stand for; those of things are missing where no thing is known."""
    topic = _spelled(evidence)
    several = evidence.several
    time = chance.choice(evidence.times or TIMES)
    listed = [number for number in evidence.numbers if number <= LONGEST_LIST] or LIST_NUMBERS
    attribute = wording.attribute(topic) if several else topic
    slots = {
        "topic": topic,
        "Topic": wording.upper_first(topic),
        "attr": attribute,
        "Attr": wording.upper_first(attribute),
        "n": str(chance.choice(listed)),
        "time": time,
        "Time": wording.upper_first(time),
        "is": "are" if several else "is",
        "Is": "Are" if several else "Is",
        "it": "they" if several else "it",
        "looks": "look" if several else "looks",
        "meets": "meet" if several else "meets",
    }
    others = [term for term in _usable(evidence) if term not in pick]
    chance.shuffle(others)
    for place, term in zip(("term", "other"), (*pick, *others), strict=False):
        slots |= _named(term, place)
    return slots


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Put the slots in, once: what they hold is never a template itself."""
    return re.sub(r"\{(\w+)\}", lambda match: slots[match[1]], template)


def _fillable(templates: Iterable[str], slots: Mapping[str, str]) -> list[str]:
    """The templates filled, without those that want a thing where none is known."""
    return [_fill(one, slots) for one in templates if set(re.findall(r"\{(\w+)\}", one)) <= slots.keys()]


# --- the rest of an idea ----------------------------------------------------------------------------


def _idea(title: str, draft: Draft, evidence: Evidence, mood: str | None, chance: random.Random) -> Idea:
    frames = _frames()
    shape = frames["shapes"][draft.shape]
    outline = _fillable(shape["outline"], draft.slots)
    if mood:
        outline.append(frames["vibes"][mood]["touch"])
    if advice := _length(evidence):
        outline.append(advice)
    backing = backing_of(title, draft.pick, evidence)
    return Idea(
        title=title,
        hook=chance.choice(_fillable(shape["hooks"], draft.slots)),
        outline=tuple(outline),
        thumbnail_idea=chance.choice(_fillable(shape["thumbnails"], draft.slots)) + ".",
        hashtags=wording.hashtags([evidence.topic, *(term.text for term in draft.pick), evidence.category or ""]),
        why=_why(title, draft, backing, evidence),
        risk=_risk(title, draft, evidence),
        evidence=tuple(video.candidate_id for video in backing),
    )


def _length(evidence: Evidence) -> str | None:
    """How long the topic's videos are that took off, and those that did not."""
    told = evidence.lengths
    if told is None or (went := told.winners_duration) is None or went.videos < ENOUGH:
        return None
    other = told.flops_duration
    beside = f"; of {other.videos} that did not, {_seconds(other)}" if other and other.videos >= ENOUGH else ""
    return (
        f"Length: of {went.videos} videos on the topic that took off, the middle half is {_seconds(went)} long{beside}."
    )


def _seconds(spread: Spread) -> str:
    if spread.high < 120:
        return f"{spread.low:.0f} to {spread.high:.0f} s"
    return f"{spread.low / 60:.1f} to {spread.high / 60:.1f} min"


def _why(title: str, draft: Draft, backing: Sequence[Backing], evidence: Evidence) -> str:
    """What speaks for a title, with its numbers; an association, never a promise."""
    parts = [f"{_measured(lift)}." for lift in carried(title, evidence.patterns) if lift.low > 1][:2]
    for part in draft.parts[:2]:
        lifted = f", {part.lift:.2f}× the topic's average" if part.lift is not None else ""
        parts.append(f"“{part.text}” is in {part.videos} titles of {part.channels} channels on this topic{lifted}.")
    strongest = max(backing, key=strength, default=None)
    if strongest and strongest.outlier_multiple is not None:
        multiple = f"{strongest.outlier_multiple:.1f}× its channel's usual"
        parts.append(f"Behind it: “{wording.short(strongest.title)}”, {multiple}.")
    elif strongest and strongest.viral_score is not None:
        chance = f"scored {strongest.viral_score * 100:.0f} in 100; its channel's usual is not known"
        parts.append(f"Behind it: “{wording.short(strongest.title)}”, {chance}.")
    return " ".join(parts) or "No measured pattern backs this one: it is a frame that fits the topic, nothing more."


def _risk(title: str, draft: Draft, evidence: Evidence) -> str:
    """What was measured against a title: patterns that do worse, words that often fail, failures that are alike."""
    parts = [f"{_measured(lift)}." for lift in carried(title, evidence.patterns) if lift.high < 1][:1]
    for term in draft.pick:
        if term.measured >= 3 and term.stayed >= OUTRIGHT * term.measured:
            parts.append(
                f"“{term.text}”: {term.stayed} of {term.measured} videos with it stayed below their channel's usual."
            )
    said = {word for term in draft.pick for word in wording.words(term.text)}
    alike = [video for video in evidence.flops if said & set(wording.words(video.title))]
    if alike and len(parts) < 2:
        multiple = f"{alike[0].outlier_multiple or 0.0:.1f}× its channel's usual"
        parts.append(f"“{wording.short(alike[0].title)}” shares its words and came to {multiple}.")
    usual = evidence.lengths.winners_title if evidence.lengths else None
    if usual and usual.videos >= ENOUGH and len(parts) < 2 and not usual.low <= len(title) <= usual.high:
        side = "shorter" if len(title) < usual.low else "longer"
        parts.append(
            f"Its {len(title)} characters are {side} than the middle half of titles that took off on this topic"
            f" ({usual.low:.0f} to {usual.high:.0f})."
        )
    return " ".join(parts) or (
        "Nothing measured speaks against it, which is no promise."
        if evidence.on_topic
        else "Nothing about this topic was measured, so nothing is known against it either."
    )


def _measured(lift: Lift) -> str:
    where = {"all": "all videos", "topic": "videos on this topic"}.get(lift.scope, lift.scope.split(":", 1)[-1])
    return (
        f"{named(lift)}: {lift.lift:.2f}× the same channel's other titles in {where}"
        f" ({lift.low:.2f}–{lift.high:.2f}, {lift.channels} channels)"
    )


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
