"""What the database knows about a topic: videos that do well and badly, patterns of their titles, words they share."""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection, text

from miles import patterns, wording

MOST_WORDS = 8  # of a topic in a search; more only slow it down
POOL = 1500  # videos of a topic that its vocabulary is read from: enough for stable shares, 20 ms to read
WINNERS, FLOPS = 24, 8
ENOUGH = 20  # videos in one language, to leave those in others out
PER_CHANNEL = 2  # videos of one channel among the winners, so that one star is not a trend


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


def gather(connection: Connection, topic: str, *, platform: str | None = None, language: str | None = None) -> Evidence:
    """What the database knows about a topic: winners, flops, patterns and words.

    All words of the topic in the title, else some of them, else (for scripts without spaces between words) the
    topic as a part of it, else the best of everything.
    """
    words = [word for token in patterns.tokens(topic) if token and (word := re.sub(r"['#@]", "", token))][:MOST_WORDS]
    wide = [word for word in words if word not in wording.stop_words() and len(word) > 2] or words
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
    best = sorted(
        pool, key=lambda video: (-wording.share(wide, video.title) if reach == "some words" else 0, -_merit(video))
    )
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
    own = tuple(word.rstrip("s") for word in wording.words(topic) if len(word) > 2)  # and what is made of them
    found: dict[str, list[Backing]] = defaultdict(list)
    surfaces: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        names = set(wording.words(video.channel or ""))
        usable = [
            word
            if word
            and word[0].isalpha()
            and word not in wording.stop_words()
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
            wording.cased(surfaces[key]),
            len(backed),
            len(by_channel),
            None if gain is None else math.exp(gain),
            tuple(sorted(backed, key=strength, reverse=True)[:4]),
        )
        weight = (gain or 0.0) + 0.12 * math.log(len(by_channel)) + (0.1 if " " in key else 0.0)
        terms.append((weight, term))
    terms.sort(key=lambda pair: (-pair[0], pair[1].text))
    chosen: list[Term] = []
    for _, term in terms:
        # a word and the pair it stands in say the same thing
        if not any(set(wording.words(term.text)) & set(wording.words(other.text)) for other in chosen):
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
    """The videos that share most with a title: its mined words, its structure, then its other words."""
    has = structure(title)

    def shared(video: Backing) -> float:
        alike = len(has & structure(video.title)) / (len(has) or 1)
        own = sum(video in term.examples for term in pick)
        return 1.5 * own + alike + wording.share(wording.words(title), video.title) + 0.3 * strength(video)

    known = dict.fromkeys((*(video for term in pick for video in term.examples), *evidence.winners))
    return sorted(known, key=shared, reverse=True)[:most]  # stable: of two alike the better one


def structure(title: str) -> set[str]:
    return {patterns.RULES[number].name for number in patterns.structure(title)}


def _grams(title: str) -> set[str]:
    """The one to three words long n-grams of a title, as title patterns name them."""
    words = patterns.tokens(title)
    grams = (words[start : start + size] for size in (1, 2, 3) for start in range(len(words) - size + 1))
    return {" ".join(gram) for gram in grams if all(gram)}  # type: ignore[arg-type]  # no None is left


def named(lift: Lift) -> str:
    return lift.pattern if lift.kind == "structure" else f"“{lift.pattern}”"


def strength(video: Backing) -> float:
    """What a video proves: measured results before a predicted chance."""
    return (math.log2(max(video.outlier_multiple, 0.1)) if video.outlier_multiple is not None else -0.5) + _merit(video)


def _merit(video: Backing) -> float:
    return video.viral_score or 0.0


def _language(topic: str, videos: Sequence[Backing]) -> str:
    """The language to write in where none was asked for: the one that clearly leads among the topic's videos.

    A topic in Latin letters is taken for English unless most videos say otherwise: many topics are names.
    """
    named = Counter(video.language.split("-")[0] for video in videos if video.language)
    if named:
        leading, number = named.most_common(1)[0]
        if wording.foreign(topic) or (number >= ENOUGH and number >= 0.6 * named.total()):
            return leading
    return "und" if wording.foreign(topic) else "en"


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
