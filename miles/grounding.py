"""What the database knows about a topic: videos that do well and badly, patterns of their titles, words they share.

Videos are found by the words of the topic (full text) and by its meaning (vectors of titles, where they are kept and the
model is here), and the two lists are fused by reciprocal ranks. A winner's views are above its channel's usual, and its
score is above the base rate of the model that gave it: it was likelier to take off than a video at large. Where fewer than
FEW are, those follow that are above their channel's usual whatever their score. Nothing else backs a concept.
"""

import itertools
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from sqlalchemy import Connection, text

from miles import browse, patterns, rollups, similar, wording
from miles.browse import Filters

MOST_WORDS = 8  # of a topic in a search; more only slow it down
BEST = 150  # videos by score, and as many by meaning
POOL = 400  # other videos of a topic that its vocabulary is read from: enough for stable shares, 30 ms to read
MANY = 6_000  # videos with the words: up to here all are looked at (30 ms), beyond it an index is walked along
WINNERS, FLOPS = 24, 8
FEW = 8  # winners; with fewer, the score is not asked for
ENOUGH = 20  # videos in one language, to leave those in others out
PER_CHANNEL = 2  # videos of one channel among the winners, so that one star is not a trend
RANKS = 60  # of reciprocal rank fusion: Cormack, Clarke and Büttcher, 2009
ON_TOPIC = 0.55  # cosine of a title's vector and the topic's; see docs/experiments.md
HALF = 0.5  # of a topic's words: a title that is found by some of them is on the topic with more
TIME = r"(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)"


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
    base_rate: float | None = None  # of the event that `viral_score` is the chance of, 0..1
    duration: float | None = None  # seconds

    @property
    def above_usual(self) -> bool:
        """Whether it can back a concept: more views than its channel's usual, or, where no usual is known, a chance
        above the ordinary one."""
        if self.outlier_multiple is not None:
            return self.outlier_multiple > 1
        return self.viral_score is not None and self.promising

    @property
    def promising(self) -> bool:
        """Whether its chance of taking off is above the ordinary one; true where it was never scored."""
        return self.viral_score is None or self.base_rate is None or self.viral_score >= self.base_rate


@dataclass(frozen=True, slots=True)
class Lift:
    """A title pattern and what goes with it, as it was measured."""

    scope: str  # topic | category:… | all
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
    examples: tuple[Backing, ...]  # videos with it that can back a concept, the best first
    noun: bool = True  # mostly ends a phrase, as names of things do
    common: bool = False  # an article or the like stands before it now and then: no name
    measured: int = 0  # videos with a known multiple …
    stayed: int = 0  # … and of them those that stayed below their channel's usual


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that titles of the topic begin with before it, or end with behind it."""

    text: str
    videos: int
    channels: int
    lift: float | None  # as that of a term


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle half of some lengths."""

    low: float
    middle: float
    high: float
    videos: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long titles (characters) and videos (seconds) of a topic are; None where fewer than 5 are known."""

    winners_title: Spread | None
    flops_title: Spread | None
    winners_duration: Spread | None
    flops_duration: Spread | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the database knows about a topic."""

    topic: str
    reach: Literal["topic", "some words", "everything", "nothing"]  # what the winners were found by
    winners: tuple[Backing, ...]  # best first
    flops: tuple[Backing, ...]  # worst first
    patterns: tuple[Lift, ...]  # structures before n-grams; the topic's own, then its category's, then all videos'
    terms: tuple[Term, ...]  # most useful first
    numbers: tuple[int, ...] = ()  # that titles of the topic use, most common first
    matched: int = 0  # videos of the topic that were read
    language: str = "en"  # that new titles are best written in
    by_meaning: int = 0  # of the matched ones those that were found by meaning alone
    without_meaning: str = ""  # why nothing was looked for by meaning
    threshold: float | None = None  # the score from which a video is a winner: the model's base rate
    lengths: Lengths | None = None
    before: tuple[Phrase, ...] = ()  # most useful first, as the next
    after: tuple[Phrase, ...] = ()
    several: bool = False  # whether the topic is a plural of something: "dogs", not "Star Wars"
    times: tuple[str, ...] = ()  # "24 hours", "100 days": as titles of the topic have them, most common first

    @property
    def on_topic(self) -> bool:
        """Whether its videos are about the topic, so that they can back a concept."""
        return self.reach in ("topic", "some words")

    @property
    def promising(self) -> int:
        """How many winners are scored above the ordinary chance."""
        return sum(video.viral_score is not None and video.promising for video in self.winners)

    @property
    def category(self) -> str | None:
        """The category of most winners."""
        named = Counter(video.category for video in self.winners if video.category)
        return named.most_common(1)[0][0] if named else None

    def video(self, candidate_id: str) -> Backing | None:
        """A video of the evidence by its id."""
        known = (*self.winners, *(video for term in self.terms for video in term.examples))
        return next((video for video in known if video.candidate_id == candidate_id), None)


def gather(
    connection: Connection,
    topic: str,
    *,
    model: object = None,
    platform: str | None = None,
    language: str | None = None,
) -> Evidence:
    """What the database knows about a topic: winners, flops, patterns, words, lengths.

    All words of the topic in the title, or (where `model` can embed and vectors are kept) a title of about its meaning;
    else some of its words; else the best of everything.
    """
    filters = Filters(platforms=(platform,) if platform else (), languages=_spoken(connection, language))
    sought = topic_words(topic)
    wide = [word for word in sought if word not in wording.stop_words() and len(word) > 2] or sought
    alike, without = _by_meaning(connection, model, topic, filters)
    reach: Literal["topic", "some words", "everything"] = "topic"
    best, others = _by_words(connection, sought, filters) if sought else ([], [])
    if not best and not alike and len(wide) > 1:
        reach = "some words"
        best, others = _by_words(connection, wide, filters, some=True)
    if not best and not alike:
        reach = "everything"
        best, others = _keys(connection, filters, pool=0)
    if not best and not alike:
        lifts, several = _lifts(connection, None), wording.plural(topic)
        return Evidence(topic, "nothing", (), (), lifts, (), without_meaning=without, several=several)
    known = _videos(connection, [*best, *alike, *others])
    if any(not video.sample for video in known.values()):
        known = {key: video for key, video in known.items() if not video.sample}  # invented videos back nothing real
    spoken = language or _language(topic, [] if reach == "everything" else list(known.values()))
    same = {k: v for k, v in known.items() if (v.language or spoken).split("-")[0] == spoken.split("-")[0]}
    pool = same if len(same) >= ENOUGH else known  # words and examples in another language help little
    ranked = sorted(fused(best, list(alike)).items(), key=lambda pair: -pair[1])
    found = [pool[key] for key, _ in ranked if key in pool]
    if reach == "some words":  # a title that has more of them says more
        pool = {key: video for key, video in pool.items() if wording.share(wide, video.title) > HALF}
        found = [video for video in found if video.candidate_id in pool]
        found.sort(key=lambda video: -wording.share(wide, video.title))
    able = [video for video in found if video.above_usual]
    winners = _diverse([video for video in able if video.promising], WINNERS)
    if len(winners) < FEW:
        winners = _diverse([*winners, *able], FEW)
    failed = [v for v in pool.values() if v.outlier_multiple is not None and v.outlier_multiple <= similar.DID_NOT]
    flops = _diverse(sorted(failed, key=lambda video: (video.outlier_multiple, video.candidate_id)), FLOPS)
    rates = Counter(video.base_rate for video in winners if video.base_rate is not None)
    evidence = Evidence(
        topic,
        reach,
        winners,
        flops,
        (),
        (),
        language=spoken,
        without_meaning=without,
        threshold=rates.most_common(1)[0][0] if rates else None,
    )
    lifts = _lifts(connection, evidence.category)
    if reach == "everything":
        return replace(evidence, patterns=lifts, several=wording.plural(topic))
    of_topic = list(pool.values())
    before, after = around(of_topic, topic)
    return replace(
        evidence,
        patterns=(*own_lifts(of_topic), *lifts),
        terms=vocabulary(of_topic, topic),
        numbers=numbers(of_topic),
        times=times(of_topic),
        matched=len(known),
        by_meaning=sum(not says(known[key].title, sought) for key in alike if key in known),
        lengths=lengths(of_topic),
        several=plural(of_topic, topic),
        before=before,
        after=after,
    )


def topic_words(topic: str) -> list[str]:
    """The words of a topic to search for: those that name something, or all where none does. Pure."""
    words = [word for token in patterns.tokens(topic) if token and (word := re.sub(r"['#@]", "", token))]
    return ([word for word in words if word not in patterns.STOP_WORDS] or words)[:MOST_WORDS]


def typed(words: Sequence[str], *, some: bool = False) -> str:
    """Words as a search of titles: long ones may go on ("recip*"), of short ones singular and plural are meant. Pure."""
    places = []
    for word in words:
        stem = wording.singular(word)
        whole = len(stem) >= 5 or not stem.isascii()
        places.append(f"{stem}*" if whole else " OR ".join(dict.fromkeys((word, stem, f"{stem}s"))))
    return " OR ".join(places) if some else " ".join(places)


def says(title: str, words: Sequence[str]) -> bool:
    """Whether a title has all of some words, as a search of them has it. Pure."""
    stems = [wording.singular(word) for word in words]
    said = wording.words(unicodedata.normalize("NFKC", title))
    return all(
        any(word.startswith(stem) if len(stem) >= 5 else wording.singular(word) == stem for word in said)
        for stem in stems
    )


def fused(*rankings: Sequence[str]) -> dict[str, float]:
    """Reciprocal rank fusion: what stands high in several rankings stands first. Pure."""
    worth: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for place, key in enumerate(ranking, start=1):
            worth[key] += 1 / (RANKS + place)
    return dict(worth)


# --- questions to the database ----------------------------------------------------------------------


def _spoken(connection: Connection, language: str | None) -> tuple[str, ...]:
    """A language with its regional forms ("pt": "pt-br"), as the last roll-up knows them."""
    if not language:
        return ()
    wanted = language.lower()
    known = [choice["value"] for choice in (rollups.overview(connection) or {}).get("languages", ())]
    return (wanted, *(name for name in known if name.startswith(f"{wanted}-")))


def _by_meaning(connection: Connection, model: object, topic: str, filters: Filters) -> tuple[dict[str, float], str]:
    """The videos nearest to a topic that are near enough (id -> likeness), and why none were looked for."""
    if not hasattr(model, "embed_titles"):
        return {}, "The model answers from another computer, which gives scores but no vectors."
    if wording.foreign(topic):
        return {}, "The model knows too few words of this script to compare meanings."
    if without := similar.unavailable(connection):
        return {}, without
    near = similar.keys_to_title(connection, model, topic, BEST, filters)  # type: ignore[arg-type]  # it embeds
    return {key: likeness for key, likeness in near.items() if likeness >= ON_TOPIC}, ""


def _by_words(
    connection: Connection, words: Sequence[str], filters: Filters, *, some: bool = False
) -> tuple[list[str], list[str]]:
    return _keys(connection, replace(filters, text=typed(words, some=some)), pool=POOL)


def _keys(connection: Connection, filters: Filters, pool: int) -> tuple[list[str], list[str]]:
    """The ids of the BEST by score that pass the filters, and of `pool` others as they come.

    The others show what ordinary videos of the topic look like: words are judged against them. Where MANY pass,
    both are met soon on a walk along an index (ids are as good as random); fewer are looked at, all of them.
    """
    few = browse.count(connection, filters, cap=MANY) <= MANY
    browse.plan_by_index(connection)
    chosen, values = browse.subset(filters)
    values |= {"best": BEST, "pool": pool}
    by_score = browse.SORTS["score"]
    if not few:
        best = connection.scalars(text(f"SELECT candidate_id {chosen} ORDER BY {by_score} LIMIT :best"), values)
        others = connection.scalars(text(f"SELECT candidate_id {chosen} ORDER BY candidate_id LIMIT :pool"), values)
        return list(best), list(others)
    found = connection.execute(
        text(f"""
            WITH found AS MATERIALIZED (SELECT c.candidate_id, c.viral_score {chosen})
            (SELECT true AS best, candidate_id FROM found ORDER BY {by_score} LIMIT :best)
            UNION ALL
            (SELECT false, candidate_id FROM found ORDER BY hashtext(candidate_id), candidate_id LIMIT :pool)
        """),
        values,
    ).all()
    return [key for best, key in found if best], [key for best, key in found if not best]


def _videos(connection: Connection, candidate_ids: Sequence[str]) -> dict[str, Backing]:
    """These videos by id, in this order."""
    found = connection.execute(
        text("""
            SELECT candidate_id, title, url, name AS channel, channel_key, category, language, views, viral_score,
                outlier_multiple, sample, base_rate, duration
            FROM candidates LEFT JOIN (SELECT channel_key, name FROM channels) AS channels USING (channel_key)
            WHERE candidate_id = ANY(:ids)
        """),
        {"ids": list(dict.fromkeys(candidate_ids))},
    )
    by_id = {row["candidate_id"]: Backing(**row) for row in found.mappings()}
    return {key: by_id[key] for key in dict.fromkeys(candidate_ids) if key in by_id}


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


# --- what a topic's titles have in common -----------------------------------------------------------


def own_lifts(videos: Sequence[Backing]) -> tuple[Lift, ...]:
    """The structures whose effect is told from the topic's own videos, within channels; mostly few. Pure."""
    known = sorted((v.channel_key, v.title, v.outlier_multiple) for v in videos if v.channel_key and v.outlier_multiple)
    if len(known) < patterns.MIN_VIDEOS:
        return ()
    _, channels = np.unique([channel for channel, _, _ in known], return_inverse=True)
    corpus = patterns.Corpus.of(
        channel=channels,
        outcome=patterns.log_outcome(np.array([multiple for _, _, multiple in known])),
        forms=np.array([patterns.forms(title) for _, title, _ in known]),
        week=np.full(len(known), -1),
    )
    found = patterns.associations(corpus, "structure", np.ones(len(known), dtype=bool), trends=False)
    return tuple(
        Lift("topic", one.kind, one.pattern, one.lift, one.lift_low, one.lift_high, one.n_channels)
        for one in found.surest
        if one.q_value <= patterns.FALSE_SHARE and (one.lift_low > 1 or one.lift_high < 1)
    )


@lru_cache(maxsize=2000)
def _tokens(title: str) -> tuple[str | None, ...]:
    return tuple(patterns.tokens(title))


def vocabulary(videos: Sequence[Backing], topic: str, most: int = 24) -> tuple[Term, ...]:
    """Words and pairs of words that titles of a topic share across channels, the most useful first.

    Lift compares outlier multiples (views against the channel's own usual) of titles with and without the
    term; with few videos it is pulled towards 1. Pure.
    """
    own = tuple(wording.singular(word) for word in wording.words(topic) if len(word) > 2)  # and what is made of them
    found: dict[str, list[Backing]] = defaultdict(list)
    ends: Counter[str] = Counter()  # titles in which a term ends a phrase …
    led: Counter[str] = Counter()  # … in which "the", "in", "my" stands before it …
    articled: Counter[str] = Counter()  # … and in which an article or the like does
    before: dict[str, Counter[str]] = defaultdict(Counter)  # what else stands before it
    for video in videos:
        names = set(wording.words(video.channel or ""))
        tokens = _tokens(video.title)
        usable = [
            token
            if token
            and token[0].isalpha()
            and token not in wording.stop_words()
            and token not in names
            and not (own and token.startswith(own))
            and 3 <= len(token) <= 24
            else None
            for token in tokens
        ]
        spans = [(at, at + 1) for at, token in enumerate(usable) if token]
        spans += [(at, at + 2) for at, (a, b) in enumerate(itertools.pairwise(usable)) if a and b]
        seen = set()
        for start, end in spans:
            key = " ".join(tokens[start:end])  # type: ignore[arg-type]  # no None is in a span
            if key in seen:
                continue
            seen.add(key)
            found[key].append(video)
            ends[key] += end == len(usable) or usable[end] is None
            ahead = tokens[start - 1] if start else None
            led[key] += ahead in wording.LEADS
            articled[key] += ahead in wording.ARTICLES
            if ahead and ahead not in wording.ANY_BEFORE and ahead not in own:
                before[key][ahead] += 1
    least = 3 if len(videos) >= ENOUGH else 2
    outcomes = _outcomes(videos)
    terms: list[tuple[float, str, Term]] = []
    for key, backed in found.items():
        by_channel = {video.channel_key or video.candidate_id for video in backed}
        if len(backed) < least or len(by_channel) < max(2, 0.4 * len(backed)):
            continue  # one channel's habit is not a word of the topic
        gain = _gain(backed, outcomes)
        known = [video.outlier_multiple for video in backed if video.outlier_multiple is not None]
        term = Term(
            key,
            len(backed),
            len(by_channel),
            None if gain is None else math.exp(gain),
            tuple(sorted((v for v in backed if v.above_usual), key=strength, reverse=True)[:4]),
            noun=ends[key] >= 0.6 * len(backed)
            and not wording.contracted(key)
            # always behind the same word, it is the end of something longer: "duty" of "call of duty"
            and max(before[key].values(), default=0) < 0.6 * len(backed)
            and (led[key] >= 0.15 * len(backed) or (" " in key and not wording.verbal(key)) or wording.foreign(key)),
            common=articled[key] >= 0.25 * len(backed),
            measured=len(known),
            stayed=sum(multiple < 1 for multiple in known),
        )
        weight = (gain or 0.0) + 0.12 * math.log(len(by_channel)) + (0.1 if " " in key else 0.0)
        terms.append((weight, key, term))
    terms.sort(key=lambda entry: (-entry[0], entry[1]))
    chosen: list[Term] = []
    taken: set[str] = set()
    for _, key, term in terms:
        # a word and the pair it stands in say the same thing
        parts = {wording.singular(word) for word in wording.words(key)}
        if parts & taken:
            continue
        taken |= parts
        chosen.append(replace(term, text=_written(key, found[key], term.common)))
        if len(chosen) == most:
            break
    return tuple(chosen)


def around(videos: Sequence[Backing], topic: str, most: int = 12) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...]]:
    """What several channels write before the topic (from where a phrase begins) and behind it (to where one ends).

    One to four words each, in any language: "how to make", "for beginners". Pure.
    """
    named = tuple(token for token in patterns.tokens(topic) if token)
    sides: tuple[dict[str, list[Backing]], ...] = (defaultdict(list), defaultdict(list))
    for video in videos if named else ():
        tokens = _tokens(video.title)
        names = set(wording.words(video.channel or ""))
        for at in range(len(tokens) - len(named) + 1):
            if tokens[at : at + len(named)] != named:
                continue
            ahead = list(itertools.takewhile(lambda token: token is not None, reversed(tokens[:at])))[::-1]
            behind = list(itertools.takewhile(lambda token: token is not None, tokens[at + len(named) :]))
            # beside words on both sides, those on one of them are no whole phrase with the topic
            for side, words, other in zip(sides, (ahead, behind), (behind, ahead), strict=True):
                if not other and 1 <= len(words) <= 4 and not any(word in names or word[0] in "#@" for word in words):  # type: ignore
                    side[" ".join(words)].append(video)  # type: ignore[arg-type]
            break
    outcomes = _outcomes(videos)
    least = 3 if len(videos) >= 10 * ENOUGH else 2
    answer = []
    for side in sides:
        kept = []
        for key, backed in side.items():
            channels = {video.channel_key or video.candidate_id for video in backed}
            if len(channels) >= least:
                gain = _gain(backed, outcomes)
                written = wording.cased(_surfaces(key, backed))
                phrase = Phrase(written, len(backed), len(channels), None if gain is None else math.exp(gain))
                kept.append(((gain or 0.0) + 0.12 * math.log(len(channels)), phrase))
        kept.sort(key=lambda pair: (-pair[0], pair[1].text))
        answer.append(tuple(phrase for _, phrase in kept[:most]))
    return answer[0], answer[1]


def plural(videos: Sequence[Backing], topic: str) -> bool:
    """Whether a topic names several of something that titles name one of, too. Pure."""
    said = wording.words(topic)
    if not wording.plural(topic):
        return False
    one = (*said[:-1], wording.singular(said[-1]))
    tokens = (_tokens(video.title) for video in videos)
    return any(title[at : at + len(one)] == one for title in tokens for at in range(len(title) - len(one) + 1))


def _outcomes(videos: Sequence[Backing]) -> dict[str, float]:
    """ln of the outlier multiples, less their mean."""
    known = {video.candidate_id: math.log(max(m, patterns.FLOOR)) for video in videos if (m := video.outlier_multiple)}
    middle = sum(known.values()) / len(known) if known else 0.0
    return {key: outcome - middle for key, outcome in known.items()}


def _gain(videos: Sequence[Backing], outcomes: Mapping[str, float]) -> float | None:
    """How much better some videos do than the average, as a logarithm, pulled to 0; None where under 3 are known."""
    known = [outcomes[video.candidate_id] for video in videos if video.candidate_id in outcomes]
    return sum(known) / (len(known) + 8) if len(known) >= 3 else None


def _surfaces(key: str, videos: Sequence[Backing]) -> Counter[str]:
    """How a term is written in titles."""
    search = re.compile(re.escape(key), re.IGNORECASE).search
    written = (search(video.title) for video in videos[:60])
    return Counter(match[0] for match in written if match) or Counter([key])


def _written(key: str, videos: Sequence[Backing], common: bool) -> str:
    """A term as it is mostly written; a common word small, also where every title has capitals throughout."""
    surfaces = _surfaces(key, videos)
    shouted = Counter({form: number for form, number in surfaces.items() if not form.isupper()})
    return key if common and shouted and key.isascii() else wording.cased(surfaces)


def numbers(videos: Sequence[Backing], most: int = 6) -> tuple[int, ...]:
    """Numbers from 3 to 100 that several channels put into their titles, the most common first. Pure."""
    by_number: dict[int, set[str]] = defaultdict(set)
    for video in videos:
        for found in re.findall(r"(?<![\w.,:/#-])\d{1,3}(?![\w.,:/%-])", video.title):
            if 3 <= int(found) <= 100:
                by_number[int(found)].add(video.channel_key or video.candidate_id)
    shared = [(len(channels), number) for number, channels in by_number.items() if len(channels) >= 2]
    return tuple(number for _, number in sorted(shared, key=lambda pair: (-pair[0], pair[1]))[:most])


def times(videos: Sequence[Backing], most: int = 4) -> tuple[str, ...]:
    """Spans of time that several channels put into their titles ("24 hours"), the most common first. Pure."""
    by_span: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        for number, unit in re.findall(rf"(?<![\w.,:/#-])(\d{{1,3}})[ -]({TIME})\b", video.title.casefold()):
            if int(number) > 1:
                by_span[f"{int(number)} {unit.rstrip('s')}s"].add(video.channel_key or video.candidate_id)
    shared = [(len(channels), span) for span, channels in by_span.items() if len(channels) >= 2]
    return tuple(span for _, span in sorted(shared, key=lambda pair: (-pair[0], pair[1]))[:most])


def lengths(videos: Sequence[Backing]) -> Lengths:
    """How long titles and videos are that took off, and those that did not. Pure."""
    known = [(video, video.outlier_multiple) for video in videos if video.outlier_multiple is not None]
    went = [video for video, multiple in known if multiple >= similar.TOOK_OFF]
    failed = [video for video, multiple in known if multiple <= similar.DID_NOT]
    return Lengths(
        *(_spread([float(len(video.title)) for video in some]) for some in (went, failed)),
        *(_spread([video.duration for video in some if video.duration]) for some in (went, failed)),
    )


def _spread(values: Sequence[float]) -> Spread | None:
    if len(values) < 5:
        return None
    low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return Spread(low, middle, high, len(values))


def carried(title: str, lifts: Sequence[Lift]) -> list[Lift]:
    """The measured patterns that a title carries; of one in several scopes the first. Pure."""
    has = {("structure", name) for name in structure(title)} | {("ngram", gram) for gram in _grams(title)}
    first: dict[tuple[str, str], Lift] = {}
    for lift in lifts:
        key = (lift.kind, lift.pattern)
        if key in has and key not in first:
            first[key] = lift
    return list(first.values())


def backing_of(title: str, pick: Sequence[Term], evidence: Evidence, most: int = 3) -> list[Backing]:
    """The videos that share most with a title: its mined words, its structure, then its other words.

    Only such as can back one: on the topic, and above their channel's usual.
    """
    if not evidence.on_topic:
        return []
    has = structure(title)

    def shared(video: Backing) -> float:
        alike = len(has & structure(video.title)) / (len(has) or 1)
        own = sum(video in term.examples for term in pick)
        return 1.5 * own + alike + wording.share(wording.words(title), video.title) + 0.3 * strength(video)

    known = dict.fromkeys((*(video for term in pick for video in term.examples), *evidence.winners))
    return sorted((v for v in known if v.above_usual), key=shared, reverse=True)[:most]  # of two alike the better one


@lru_cache(maxsize=4000)
def structure(title: str) -> frozenset[str]:
    return frozenset(patterns.RULES[number].name for number in patterns.structure(title))


def _grams(title: str) -> set[str]:
    """The one to three words long n-grams of a title, as title patterns name them."""
    words = patterns.tokens(title)
    grams = (words[start : start + size] for size in (1, 2, 3) for start in range(len(words) - size + 1))
    return {" ".join(gram) for gram in grams if all(gram)}  # type: ignore[arg-type]  # no None is left


def named(lift: Lift) -> str:
    return lift.pattern if lift.kind == "structure" else f"“{lift.pattern}”"


def strength(video: Backing) -> float:
    """What a video proves: measured results before a predicted chance."""
    measured = math.log2(max(video.outlier_multiple, 0.1)) if video.outlier_multiple is not None else -0.5
    return measured + (video.viral_score or 0.0)


def _language(topic: str, videos: Sequence[Backing]) -> str:
    """The language to write in where none was asked for: the one that clearly leads among the topic's videos.

    A topic in Latin letters is taken for English unless most videos say otherwise: many topics are names.
    """
    named = Counter(video.language.split("-")[0] for video in videos if video.language)
    if named:
        leading, number = named.most_common(1)[0]
        clear = number >= ENOUGH and number >= 0.6 * named.total()
        if wording.foreign(topic) or clear or (number == named.total() > 1):
            return leading
    if not wording.foreign(topic):
        return "en"
    return "hi" if re.search("[\u0900-\u097f]", topic) else "und"


def _diverse(videos: Sequence[Backing], most: int) -> tuple[Backing, ...]:
    """The first videos with at most PER_CHANNEL of one channel, and no title twice."""
    per_channel: Counter[str] = Counter()
    titles: set[str] = set()
    chosen = []
    for video in videos:
        channel, title = video.channel_key or video.candidate_id, " ".join(wording.words(video.title)) or video.title
        if per_channel[channel] < PER_CHANNEL and title not in titles:
            per_channel[channel] += 1
            titles.add(title)
            chosen.append(video)
        if len(chosen) == most:
            break
    return tuple(chosen)
