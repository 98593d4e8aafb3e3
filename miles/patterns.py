"""Title patterns: what titles are made of, and what goes along with it.

A pattern is a structure (a number, a question …), found by rule, or an n-gram of one to three words,
mined. Its lift is the ratio of the outlier multiple (geometric mean) of videos with it to those without
it, *within* channels: each channel is its own control, so a pattern that only big channels use has a
lift of 1. An association, never a cause.

How it changes over weeks has two sides: how much of the titles have it (a quasi-Poisson regression of the weekly
shares), and whether its lift of the latest weeks differs from that of the weeks before. Used more without losing its
lift it is rising; as much as ever but with less lift, saturated.

Pure: knows nothing about the database; numpy only.
"""

import math
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np

Kind = Literal["structure", "ngram"]

MIN_VIDEOS = 30  # with the pattern, in channels that have videos with and without it
MIN_CHANNELS = 10  # such channels; fewer are an anecdote
MIN_SCOPE = 500  # videos; a smaller part of the data has no patterns of its own
MAX_NGRAMS = 500  # kept of the scope "all": the most certain ones, after all of them were tested together …
MAX_NGRAMS_OF_PART = 150  # … and of every other scope
EXAMPLES = 5
LONGEST_NGRAM = 3  # words
FLOOR = 1e-3  # the least outlier multiple, so that a video without views has a logarithm
FEW = 0.3  # of all videos: fewer are taken out first, which is faster than passes over all
SAME = 0.9  # a shorter n-gram goes when this share of its videos have one longer n-gram around it
TREND_WEEKS = 12  # up to the newest video: the weeks that a trend is told of …
RECENT_WEEKS = 4  # … and those of them whose lift is held against that of the others
MIN_WEEKS = 6  # with MIN_WEEK titles each; below that there is no trend
MIN_WEEK = 20
MIN_HALF = 5  # channels that tell, in the recent weeks and in those before; fewer don't tell a change of lift
MOST_TITLES = 160_000  # of a set that is asked for while somebody waits; of larger ones, whole channels are drawn
MOST = 300  # patterns of a kind that are shown of a set: the surest, after all of them were tested together
FALSE_SHARE = 0.05  # of the trends that are named, at most this share is chance


@dataclass(frozen=True, slots=True)
class TitledVideo:
    """A video whose outcome is known."""

    candidate_id: str
    title: str
    channel_key: str
    outlier_multiple: float
    platform: str
    media_type: str | None = None
    category: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern within one scope ("all", "category:Music", "format:short" …)."""

    scope: str
    kind: Kind
    pattern: str  # the rule's name, or the words
    n_videos: int  # with it, in the channels that count
    n_channels: int  # that have videos with it and videos without it
    lift: float  # ratio of outlier multiples, with ÷ without
    lift_low: float  # 95% interval over channels
    lift_high: float
    q_value: float  # Benjamini-Hochberg, over all patterns of the scope that are of this kind
    examples: tuple[str, ...]  # candidate ids, greatest multiple first, each of another channel


@dataclass(frozen=True, slots=True)
class Rule:
    """A structure pattern: its name for people, what exactly is looked for, and the test."""

    name: str
    meaning: str
    holds: Callable[[str], object]
    signs: frozenset[str] = frozenset()  # without one of these signs it can't hold: looked at first, for speed
    words: frozenset[str] = frozenset()  # … or one of these words (case folded)


def _found(expression: str) -> Callable[[str], object]:
    return re.compile(expression, re.IGNORECASE).search


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_EMOJI = "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u23e9-\u23fa\u2049\u203c]"
_EMOJIS = re.compile(_EMOJI)
_WORDS = re.compile(r"\w+")
_CAPITALS = re.compile(r"\b[^\W\d_]{3,}\b")

RULES: tuple[Rule, ...] = (
    Rule("Up to 25 characters", "the whole title", lambda t: len(t) <= 25),
    Rule("26–50 characters", "the whole title", lambda t: 25 < len(t) <= 50),
    Rule("51–75 characters", "the whole title", lambda t: 50 < len(t) <= 75),
    Rule("Over 75 characters", "the whole title", lambda t: len(t) > 75),
    Rule("1–3 words", "words between spaces", lambda t: len(t.split()) <= 3),
    Rule("4–7 words", "words between spaces", lambda t: 4 <= len(t.split()) <= 7),
    Rule("8–12 words", "words between spaces", lambda t: 8 <= len(t.split()) <= 12),
    Rule("Over 12 words", "words between spaces", lambda t: len(t.split()) > 12),
    Rule("Number", "any digit", _found(r"\d")),
    Rule("List number at the start", "“7 ways …”, “Top 10 …”", _found(r"^\W*(?:top\s+)?\d{1,3}\s+(?!vs\b)[^\W\d]{2,}")),
    Rule("Year", "1900 to 2099", _found(r"(?<!\d)(?:19|20)\d\d(?!\d)")),
    Rule("Money", "an amount with a currency sign", _found(r"[$€£¥₹₩₽]\s?\d|\d\s?[$€£¥₹₩₽]"), signs=frozenset('$€£¥₹₩₽')),
    Rule("Episode or part", "“Part 2”, “Ep. 5”, “#3”", _found(r"\b(?:ep(?:isode)?|part|pt|parte|cap[ií]tulo)\b\.?\s*\d|#\d")),
    Rule("Question", "a question mark, in any script", _found(r"[?？؟⁇]"), signs=frozenset('?？؟⁇')),
    Rule("Exclamation", "an exclamation mark", _found(r"[!！]"), signs=frozenset('!！')),
    Rule("Repeated marks", "“!!”, “??”, “?!”", _found(r"[!?！？]{2,}"), signs=frozenset('!?！？')),
    Rule("ALL-CAPS word", "one to half of the words in capitals", lambda t: 0 < _capitals(t) <= 0.5),
    Rule("MOSTLY CAPITALS", "over half of the words in capitals", lambda t: _capitals(t) > 0.5),
    Rule("Emoji", "any emoji", lambda t: None if t.isascii() else _EMOJIS.search(t)),
    Rule("Brackets", "( ), [ ] or 【 】", _found(r"[(\[{【（「『]"), signs=frozenset('([{【（「『')),
    Rule("Quotation marks", "words in quotation marks", _found("[\"“”«»„]|(?<!\\w)'[^']+'(?!\\w)"), signs=frozenset('"“”«»„\'')),
    Rule("Hashtag", "#word", _found(r"#[^\W\d]"), signs=frozenset('#')),
    Rule("Mention", "@name", _found(r"(?<!\w)@\w"), signs=frozenset('@')),
    Rule("Colon", "“Topic: …”", _found(r"[^\W\d][:：]\s*\S"), signs=frozenset(':：')),
    Rule("Parts with | or –", "parts split by a bar or a dash", _found(r"\s[-–—]\s|[|｜]"), signs=frozenset('-–—|｜')),
    Rule("Ellipsis", "… or ...", _found(r"…|\.\.\."), signs=frozenset('….')),
    Rule("POV", "the word POV", _found(r"\bpov\b"), words=_words("pov")),
    Rule("How to", "how to, how I", _found(r"\bhow (?:to|i|we)\b|\bc[óo]mo (?:hacer|fazer)\b"), words=_words("how como cómo")),
    Rule("I, my, we", "first person", _found(r"\b(?:i|i'm|i’m|my|me|we|our|yo|mi|mis|eu|meu|minha|je|mon|ma|ich|mein|я|мой)\b"), words=_words("i my me we our yo mi mis eu meu minha je mon ma ich mein я мой")),
    Rule("You, your", "second person", _found(r"\b(?:you|your|you're|tu|tus|você|vous|votre|du|dein|ты|твой)\b"), words=_words("you your tu tus você vous votre du dein ты твой")),
    Rule("Versus", "vs", _found(r"\b(?:vs|versus)\b"), words=_words("vs versus")),
    Rule("Superlative", "best, worst, most, biggest …", _found(r"\b(?:best|worst|most|biggest|smallest|fastest|hardest|greatest|mejor|melhor|лучш\w+)\b")),
    Rule("Warning", "never, stop, don't, mistake …", _found(r"\b(?:never|stop|don['’]?t|avoid|mistakes?|wrong|nunca|не)\b"), words=_words("never stop don dont avoid mistake mistakes wrong nunca не")),
    Rule("Featuring", "feat., ft., with another artist", _found(r"\b(?:feat|ft)\b"), words=_words("feat ft")),
    Rule("English words", "the, of, and, you, this … in a title of Latin letters", lambda t: _non_latin(t) <= 0.1, words=_words("the of and you this with what why is are was my it's he she they who when his her")),
    Rule("Non-Latin script", "most letters are not Latin", lambda t: _non_latin(t) > 0.5),
    Rule("Mixed scripts", "Latin and other letters", lambda t: 0.1 <= _non_latin(t) <= 0.9),
)  # fmt: skip

# Words that say nothing on their own, in the languages that most titles come in.
_STOP_WORDS = """
a an and are as at be but by do for from had has he her his how i if in is it its me my no not of on or our she so
that the their them they this to us was we what when who why will with you your
al con de del el en es la las lo los más mi no para pero por que qué se sin su te un una y ya
ao as com da das do dos e em eu meu na não nas no nos o os ou para por que se sem um uma
au aux avec ce ces dans de des du elle en est et il je le les mais ne on ou par pas pour qui sur un une
che con da del della di e gli i il in la le nel non per si un una
am auf aus bei das dem den der des die ein eine er es für im in ist mit nicht sich und von wie zu zum
een en het in is met niet op te van voor do i na nie się w z ze ve bir bu da de için ile
dan di ini itu ke ku yang untuk dengan và của là cho
а в во и из к как на не но о он по с со та то у что это я і й з не на
في من على عن إلى و يا ما لا هذا مع ال के का की को में से है और पर ने
"""  # English; Spanish, Portuguese, French, Italian; German, Dutch, Polish, Turkish, Indonesian, Vietnamese; others
STOP_WORDS = frozenset(_STOP_WORDS.split())


def structure(title: str) -> tuple[int, ...]:
    """The positions in RULES of the rules that hold for a title."""
    signs, words = frozenset(title), frozenset(_WORDS.findall(title.casefold()))
    return tuple(
        number
        for number, rule in enumerate(RULES)
        if not (rule.signs and rule.signs.isdisjoint(signs))
        and not (rule.words and rule.words.isdisjoint(words))
        and rule.holds(title)
    )


def form_bit(name: str) -> int | None:
    """The bit in `forms` of the rule of that name."""
    return next((1 << number for number, rule in enumerate(RULES) if rule.name == name), None)


def forms(title: str) -> int:
    """The same as bits of one number: bit n is set where RULES[n] holds."""
    return sum(1 << number for number in structure(title))


APOSTROPHES = str.maketrans(dict.fromkeys("’´`‘′ʼ", "'"))  # what people type for one, for str.translate


def tokens(title: str) -> list[str | None]:
    """The words of a title in lower case, None where punctuation parts them.

    Width and fancy-letter variants are folded (NFKC). A hashtag or a mention keeps its sign. A run of Han,
    Hiragana or Katakana is a word: those scripts have no spaces, and where one ends a word mostly ends. What people type
    for an apostrophe is one: "don`t" is a word, and no "t" is left over.
    """
    # before NFKC, which makes an accent that stands alone a space and a mark
    folded = unicodedata.normalize("NFKC", title.translate(APOSTROPHES)).casefold()
    return [word or None for word in _tokenizer().findall(folded)]


def mine(videos: Iterable[TitledVideo]) -> list[Pattern]:
    """Every pattern with enough videos and channels, in every scope that has enough videos."""
    given = list(videos)
    if not given:
        return []
    corpus, order = _corpus_of(given)
    scopes: dict[str, np.ndarray] = {}
    for place, number in enumerate(order):
        for name in _scopes_of(given[number]):
            scopes.setdefault(name, np.zeros(len(given), dtype=bool))[place] = True
    ids = [given[number].candidate_id for number in order]
    return [
        Pattern(
            scope=scope, kind=one.kind, pattern=one.pattern, n_videos=one.n_videos, n_channels=one.n_channels,
            lift=one.lift, lift_low=one.lift_low, lift_high=one.lift_high, q_value=one.q_value,
            examples=tuple(ids[place] for place in examples(corpus, one, members)),
        )
        for scope, members in large_scopes(scopes, np.ones(len(given), dtype=bool))
        for one in told_apart(corpus, members, scope)
    ]  # fmt: skip


def large_scopes(scopes: Mapping[str, np.ndarray], whole: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The whole as "all", and the scopes that are large enough; one that holds all of it says no more than "all"."""
    yield "all", whole
    for scope, members in sorted(scopes.items()):
        if MIN_SCOPE <= members.sum() < whole.sum():
            yield scope, members


def told_apart(corpus: "Corpus", members: np.ndarray, scope: str) -> list["Association"]:
    """The patterns of a scope that are kept: all forms, and the n-grams that are most surely different."""
    found = associations(corpus, "structure", members, trends=False).surest
    table = associations(corpus, "ngram", members, trends=False).table
    first = np.argsort(table.p_value, kind="stable")[: MAX_NGRAMS if scope == "all" else MAX_NGRAMS_OF_PART]
    return [*found, *(table.one(int(at)) for at in first)]


def lift(
    outcomes: np.ndarray, has: np.ndarray, channels: np.ndarray
) -> tuple[float, float, float, float, int, int] | None:
    """Lift, its 95% interval, p, videos and channels of one pattern.

    `outcomes`: log multiples; `has`: booleans; `channels`: numbers of the channels. None where no channel
    has videos both with and without it. What `mine` does, for one pattern.
    """
    where = np.flatnonzero(has)
    demeaned, sizes = _demean(outcomes, channels)
    groups, member = np.unique(channels[where], return_inverse=True)
    estimate = _estimate(
        np.zeros(len(groups), dtype=np.int64),
        np.bincount(member, minlength=len(groups)),
        sizes[groups],
        np.bincount(member, weights=demeaned[where], minlength=len(groups)),
        1,
    )
    if estimate.channels[0] < 2:
        return None
    low, high = estimate.interval()
    return (
        math.exp(estimate.beta[0]), float(low[0]), float(high[0]), float(estimate.p_values()[0]),
        int(estimate.videos[0]), int(estimate.channels[0]),
    )  # fmt: skip


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """q of each p: the least false discovery rate at which it would be called."""
    count = len(p_values)
    order = np.argsort(p_values)
    scaled = p_values[order] * count / np.arange(1, count + 1)
    q_values = np.empty(count)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values


# --- many titles ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Titles as columns, the videos of each channel side by side.

    A hit is an n-gram in a video; hits are sorted by n-gram, then by video, so those of one channel are side by
    side, too: a group.
    """

    channel: np.ndarray  # (videos,) int32, ascending from 0
    outcome: np.ndarray  # (videos,) float64: ln of the outlier multiple; NaN where there is none
    forms: np.ndarray  # (videos,) int64: bits as `forms` gives them
    week: np.ndarray  # (videos,) int32: week of publication, counted from any; -1 where unknown
    ngrams: tuple[str, ...]
    hit_video: np.ndarray  # (hits,) int32
    hit_group: np.ndarray  # (hits,) int32, ascending
    group_ngram: np.ndarray  # (groups,) int32
    group_channel: np.ndarray  # (groups,) int32
    number_of: Mapping[str, int]  # position of each n-gram
    ngram_ends: np.ndarray  # (ngrams + 1,) int64: hits of n-gram n are those from ngram_ends[n] to ngram_ends[n + 1]
    title_ngrams: np.ndarray  # (hits,) int32, the same hits: those of the first video, then those of the second …
    title_ends: np.ndarray  # (videos + 1,) int64: … with those of video n from title_ends[n] to title_ends[n + 1]
    mixed: np.ndarray  # (videos,) int32: all videos, channel by channel in an arbitrary but fixed order

    @classmethod
    def of(
        cls, *, channel: np.ndarray, outcome: np.ndarray, forms: np.ndarray, week: np.ndarray,
        ngrams: Sequence[str] = (), hit_video: np.ndarray | None = None, hit_ngram: np.ndarray | None = None,
        number_of: Mapping[str, int] | None = None, whole: bool = True,
    ) -> "Corpus":  # fmt: skip
        """From videos sorted by channel, and hits in any order, each at most once.

        Of one that is not `whole` no part is taken by `only` and `_draw`, which alone want hits by title, and channels mixed.
        """
        videos = np.zeros(0, dtype=np.int64) if hit_video is None else hit_video.astype(np.int64)
        numbers = np.zeros(0, dtype=np.int64) if hit_ngram is None else hit_ngram.astype(np.int64)
        pairs = np.sort(numbers * max(len(channel), 1) + videos)
        numbers, videos = np.divmod(pairs, max(len(channel), 1))
        of = channel[videos]
        first = np.ones(len(pairs), dtype=bool)
        first[1:] = (numbers[1:] != numbers[:-1]) | (of[1:] != of[:-1])
        by_title = np.argsort(videos, kind="stable") if whole else videos[:0]
        return cls(
            channel=channel.astype(np.int32), outcome=outcome.astype(np.float64), forms=forms.astype(np.int64),
            week=week.astype(np.int32), ngrams=tuple(ngrams), hit_video=videos.astype(np.int32),
            hit_group=(np.cumsum(first) - 1).astype(np.int32), group_ngram=numbers[first].astype(np.int32),
            group_channel=of[first].astype(np.int32), title_ngrams=numbers[by_title].astype(np.int32),
            title_ends=_ends(videos, len(channel)) if whole else videos[:0], number_of=number_of if number_of is not None else {ngram: at for at, ngram in enumerate(ngrams)},
            ngram_ends=_ends(numbers, len(ngrams)), mixed=_mixed(channel) if whole else channel[:0],
        )  # fmt: skip

    def having(self, kind: Kind, pattern: str) -> np.ndarray:
        """(titles,) positions of the videos whose titles have a pattern, ascending; none where it is not known."""
        if kind == "structure":
            return np.flatnonzero(self.forms & (form_bit(pattern) or 0))
        at = self.number_of.get(pattern)
        return self.hit_video[:0] if at is None else self.hit_video[self.ngram_ends[at] : self.ngram_ends[at + 1]]

    def only(self, members: np.ndarray, kind: Kind) -> "Corpus":
        """The videos in `members` alone; if n-grams are asked for with the hits of those that enough of the videos have,
        which keep their numbers."""
        at = np.flatnonzero(members)
        channel = np.cumsum(np.diff(self.channel[at], prepend=self.channel[at[:1]]) > 0)
        if kind == "structure":
            return Corpus.of(
                channel=channel, outcome=self.outcome[at], forms=self.forms[at], week=self.week[at], whole=False
            )
        many = self.title_ends[at + 1] - self.title_ends[at]
        hit_ngram = self.title_ngrams[_runs(self.title_ends[at], many)]
        enough = (np.bincount(hit_ngram, minlength=len(self.ngrams)) >= MIN_VIDEOS)[hit_ngram]
        return Corpus.of(
            channel=channel, outcome=self.outcome[at], forms=self.forms[at], week=self.week[at], ngrams=self.ngrams,
            hit_video=np.repeat(np.arange(len(at)), many)[enough], hit_ngram=hit_ngram[enough],
            number_of=self.number_of, whole=False,
        )  # fmt: skip


Direction = Literal["rising", "saturated", "fading", "steady"]


@dataclass(frozen=True, slots=True)
class Trend:
    """How a pattern changed over the TREND_WEEKS up to the newest video."""

    shares: tuple[float | None, ...]  # of the titles of each week, oldest first; None below MIN_WEEK titles
    growth: float  # of that share, as a factor for four weeks …
    growth_low: float  # … with its 95% interval
    growth_high: float
    lift_change: float | None  # lift of the RECENT_WEEKS ÷ lift of those before; None: too few to tell
    lift_change_low: float | None
    lift_change_high: float | None
    direction: Direction


@dataclass(frozen=True, slots=True)
class Association:
    """One pattern within a set of videos."""

    kind: Kind
    pattern: str
    n_videos: int  # with it, in the channels that count
    n_channels: int  # that have videos with it and videos without it
    share: float  # of all titles of the set that have it
    lift: float  # ratio of outlier multiples, with ÷ without
    lift_low: float  # 95% interval over channels
    lift_high: float
    p_value: float
    q_value: float  # Benjamini-Hochberg, over all patterns of the set that are of this kind
    trend: Trend | None  # None: too few weeks with enough titles, or not asked for


@dataclass(frozen=True, slots=True, eq=False)
class Associations:
    """What was tested of one kind in a set of videos."""

    surest: tuple[Association, ...]  # at most MOST, least p first
    tested: int  # patterns with enough videos and channels
    told: int  # of them with a q below FALSE_SHARE
    videos: int  # with a known outcome
    titles: int  # all that were read
    of: int  # titles of the set; more than `titles` where channels were drawn from it
    table: "_Table"


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """All that were tested, as columns."""

    kind: Kind
    names: Sequence[str]
    number: np.ndarray  # position in `names`
    estimate: "_Estimate"
    share: np.ndarray
    p_value: np.ndarray
    q_value: np.ndarray

    def one(self, at: int, trend: Trend | None = None) -> Association:
        low, high = self.estimate.only(np.array([at])).interval()
        return Association(
            kind=self.kind, pattern=self.names[self.number[at]], n_videos=int(self.estimate.videos[at]),
            n_channels=int(self.estimate.channels[at]), share=float(self.share[at]),
            lift=math.exp(self.estimate.beta[at]), lift_low=float(low[0]), lift_high=float(high[0]),
            p_value=float(self.p_value[at]), q_value=float(self.q_value[at]), trend=trend,
        )  # fmt: skip


def associations(
    corpus: Corpus, kind: Kind, members: np.ndarray, *, trends: bool = True, most_titles: int | None = None
) -> Associations:
    """The patterns of a kind with enough videos and channels among `members` (a bool for each video).

    Of more than `most_titles`, whole channels are drawn: each is its own control, so that the intervals hold for what
    was drawn.
    """
    of = int(np.count_nonzero(members))
    if most_titles is not None and of > most_titles:
        members = _draw(corpus, members, most_titles)
    newest = int(corpus.week.max(initial=-1))
    titles = int(np.count_nonzero(members))
    if titles < FEW * len(members):
        corpus = corpus.only(members, kind)
        members = np.ones(len(corpus.channel), dtype=bool)
    names = [rule.name for rule in RULES] if kind == "structure" else corpus.ngrams
    known = members & ~np.isnan(corpus.outcome)
    everything = np.ones(len(names), dtype=bool)
    estimate = _count(corpus, kind, known, everything)
    tested = np.flatnonzero(
        (estimate.videos >= MIN_VIDEOS) & (estimate.channels >= MIN_CHANNELS) & np.isfinite(estimate.error)
    )
    estimate = estimate.only(tested)
    p_values = estimate.p_values()
    # column 0 is for the weeks before those of the trends, and for videos without a date
    column = np.maximum(corpus.week - newest + TREND_WEEKS, 0) * (corpus.week >= 0) * trends
    weekly = _by_week(corpus, kind, members, column)[tested]
    share = weekly.sum(axis=1) / max(titles, 1)
    table = _Table(kind, names, tested, estimate, share, p_values, benjamini_hochberg(p_values))
    first = np.argsort(p_values, kind="stable")[:MOST]
    shown: Sequence[Trend | None] = [None] * len(first)
    if trends and len(first):
        shown = _trends(corpus, kind, members, known, column, tested[first], weekly[first, 1:]) or shown
    return Associations(
        surest=tuple(table.one(int(at), trend) for at, trend in zip(first, shown, strict=True)),
        tested=len(tested),
        told=int((table.q_value < FALSE_SHARE).sum()),
        videos=int(np.count_nonzero(known)),
        titles=titles,
        of=of,
        table=table,
    )


def _ends(numbers: np.ndarray, count: int) -> np.ndarray:
    """(count + 1,) where each number begins and ends in a sorted list of them."""
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))])


def _runs(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The positions of runs of so many from so far on, one run after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)


def _mixed(channel: np.ndarray) -> np.ndarray:
    """The positions of all videos, channel by channel in an arbitrary but fixed order."""
    ends = _ends(channel, int(channel.max(initial=-1)) + 1)
    order = np.random.default_rng(len(ends) - 1).permutation(len(ends) - 1)
    return _runs(ends[order], np.diff(ends)[order]).astype(np.int32)


def _draw(corpus: Corpus, members: np.ndarray, most: int) -> np.ndarray:
    """The members of the first channels of those that are mixed, up to `most` titles, but of one channel at least."""
    upto = int(1.2 * most / np.mean(members))  # of all that are mixed; most often enough
    while len(drawn := corpus.mixed[:upto][members[corpus.mixed[:upto]]]) <= most and upto < len(members):
        upto *= 2
    if len(drawn) <= most:
        return members
    beyond = corpus.channel[drawn[most]]  # not all of this channel's have a place
    drawn = drawn[:most][corpus.channel[drawn[:most]] != beyond]
    if not len(drawn):
        return members & (corpus.channel == beyond)
    taken = np.zeros(len(members), dtype=bool)
    taken[drawn] = True
    return taken


@dataclass(frozen=True, slots=True)
class Difference:
    """A pattern in two sets of videos that have none in common."""

    here: Association
    there: Association
    ratio: float  # lift here ÷ lift there, with its 95% interval
    low: float
    high: float
    q_value: float  # Benjamini-Hochberg, over all patterns that were tested in both sets


def compare(here: Associations, there: Associations, most: int = MOST) -> list[Difference]:
    """The patterns that were tested in both sets, the surest difference first, at most `most`."""
    one, other = here.table, there.table
    _, at, opposite = np.intersect1d(one.number, other.number, return_indices=True)
    if not len(at):
        return []
    beta, error, freedom = _less(one.estimate.only(at), other.estimate.only(opposite))
    reach = np.minimum(_t_quantile(1.959964, freedom) * error, 20.0)
    p_values = _p_values(beta, error, freedom)
    q_values = benjamini_hochberg(p_values)
    return [
        Difference(
            here=one.one(int(at[place])),
            there=other.one(int(opposite[place])),
            ratio=math.exp(beta[place]),
            low=math.exp(beta[place] - reach[place]),
            high=math.exp(beta[place] + reach[place]),
            q_value=float(q_values[place]),
        )
        for place in np.argsort(p_values, kind="stable")[:most]
    ]


def examples(corpus: Corpus, of: Association, members: np.ndarray, most: int = EXAMPLES) -> list[int]:
    """The videos with a pattern that stand out most, each of another channel."""
    having = corpus.having(of.kind, of.pattern)
    return _standing_out(corpus, having[members[having]], most)


def weekly_shares(corpus: Corpus, members: np.ndarray, of: Association) -> list[tuple[int, int, int]]:
    """(week, titles, titles with it) of each week that has any, oldest first."""
    having = corpus.having(of.kind, of.pattern)
    known = members & (corpus.week >= 0)
    weeks, at = np.unique(corpus.week[known], return_inverse=True)
    totals = np.bincount(at, minlength=len(weeks))
    have = np.bincount(np.searchsorted(weeks, corpus.week[having[known[having]]]), minlength=len(weeks))
    return [(int(week), int(n), int(k)) for week, n, k in zip(weeks, totals, have, strict=True)]


def find_ngrams(titles: Iterable[tuple[int, str]]) -> "Lexicon":
    """The n-grams that are in MIN_VIDEOS titles or more, of numbered titles; reads them once and keeps no title."""
    words, word_video = array("i"), array("q")
    vocabulary: dict[str, int] = {}
    for number, title in titles:
        parts = [-1 if word is None else vocabulary.setdefault(word, len(vocabulary)) for word in tokens(title)]
        words.extend(parts)
        words.append(-1)
        word_video.extend([number] * (len(parts) + 1))
    data = _Words(np.array(words, dtype=np.int64), np.array(word_video, dtype=np.int64), list(vocabulary))
    names: list[str] = []
    videos, numbers = [], []
    levels = list(_ngrams(data))
    for level, (grams, gram_videos, gram_numbers) in enumerate(levels):
        keep = _worth_keeping(grams, gram_numbers, levels[level + 1] if level + 1 < len(levels) else None)
        new_number = np.full(len(grams) + 1, -1, dtype=np.int64)
        new_number[keep] = len(names) + np.arange(len(keep))
        names += [" ".join(grams[at]) for at in keep]
        kept = new_number[gram_numbers] >= 0
        videos.append(gram_videos[kept])
        numbers.append(new_number[gram_numbers[kept]])
    return Lexicon(tuple(names), np.concatenate(videos), np.concatenate(numbers))


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Frequent n-grams, and the titles that they are in, each pair once."""

    ngrams: tuple[str, ...]
    video: np.ndarray  # (hits,) the title's number
    ngram: np.ndarray  # (hits,) position in `ngrams`


def ngrams_in(title: str, known: Mapping[str, int]) -> set[int]:
    """The numbers of the known n-grams that are in a title."""
    words = tokens(title)
    found = set()
    for start in range(len(words)):
        for end in range(start + 1, min(start + LONGEST_NGRAM, len(words)) + 1):
            part = words[start:end]
            if None in part:
                break
            if (number := known.get(" ".join(part))) is not None:  # type: ignore[arg-type]
                found.add(number)
    return found


def _corpus_of(videos: Sequence[TitledVideo]) -> tuple[Corpus, np.ndarray]:
    """The corpus of videos in any order, and the position in `videos` of each of its videos."""
    numbers: dict[str, int] = {}
    channels = np.array([numbers.setdefault(video.channel_key, len(numbers)) for video in videos])
    order = np.argsort(channels, kind="stable")
    lexicon = find_ngrams((place, videos[number].title) for place, number in enumerate(order))
    corpus = Corpus.of(
        channel=channels[order],
        outcome=log_outcome(np.array([videos[number].outlier_multiple for number in order])),
        forms=np.array([forms(videos[number].title) for number in order]),
        week=np.full(len(videos), -1),
        ngrams=lexicon.ngrams,
        hit_video=lexicon.video,
        hit_ngram=lexicon.ngram,
    )
    return corpus, order


def log_outcome(multiples: np.ndarray) -> np.ndarray:
    """ln of outlier multiples, those below FLOOR as FLOOR; NaN stays."""
    return np.log(np.maximum(multiples, FLOOR))


def _scopes_of(video: TitledVideo) -> Iterator[str]:
    yield f"platform:{video.platform}"
    if video.media_type:
        yield f"format:{video.media_type}"
    if video.category:
        yield f"category:{video.category}"
    if video.language:
        yield f"language:{video.language.split('-')[0]}"


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """All titles one after another, -1 where an n-gram must not cross."""

    words: np.ndarray  # (words,) number in `vocabulary`
    word_video: np.ndarray  # (words,) the title that the word stands in
    vocabulary: list[str]


_Level = tuple[list[tuple[str, ...]], np.ndarray, np.ndarray]


def _ngrams(data: _Words) -> Iterator[_Level]:
    """For n = 1, 2, 3: the n-grams of MIN_VIDEOS videos or more, and the (video, n-gram) pairs, sorted.

    An n-gram is only as frequent as its first n-1 words and its last word, so each level is built from
    the one before it.
    """
    size = len(data.vocabulary)
    current = data.words
    grams: list[tuple[str, ...]] = [(word,) for word in data.vocabulary]
    frequent_words: np.ndarray | None = None
    for length in range(1, LONGEST_NGRAM + 1):
        if length > 1:
            assert frequent_words is not None  # noqa: S101  # set by the first level
            ahead = np.full(len(current), -1, dtype=np.int64)
            ahead[: -(length - 1)] = frequent_words[length - 1 :]
            # a word that was left out (-1) ends the n-gram, as the -1 between parts and titles does
            whole = (current >= 0) & (ahead >= 0)
            keys, inverse = np.unique(current[whole] * size + ahead[whole], return_inverse=True)
            grams = [(*grams[key // size], data.vocabulary[key % size]) for key in keys]
            following = np.full(len(current), -1, dtype=np.int64)
            following[whole] = inverse
            current = following
        at = np.flatnonzero(current >= 0)
        pairs = np.unique(data.word_video[at] * max(len(grams), 1) + current[at])
        videos, numbers = np.divmod(pairs, max(len(grams), 1))
        counts = np.bincount(numbers, minlength=len(grams))
        frequent = np.flatnonzero(counts >= MIN_VIDEOS)
        renumber = np.full(len(grams) + 1, -1, dtype=np.int64)  # the last one stands for -1
        renumber[frequent] = np.arange(len(frequent))
        current = renumber[current]
        if length == 1:
            frequent_words = np.where(current >= 0, data.words, -1)
        kept = renumber[numbers] >= 0
        grams = [grams[number] for number in frequent]
        yield grams, videos[kept], renumber[numbers[kept]]


def _worth_keeping(grams: Sequence[tuple[str, ...]], numbers: np.ndarray, longer: _Level | None) -> np.ndarray:
    """The n-grams that say something, and that are not just a part of one longer n-gram."""
    counts = np.bincount(numbers, minlength=len(grams))
    said_longer: dict[tuple[str, ...], int] = {}
    if longer is not None:
        longer_grams, _, longer_numbers = longer
        for gram, count in zip(longer_grams, np.bincount(longer_numbers, minlength=len(longer_grams)), strict=True):
            for part in (gram[:-1], gram[1:]):
                said_longer[part] = max(said_longer.get(part, 0), int(count))
    return np.array(
        [
            number
            for number, gram in enumerate(grams)
            if not all(_says_nothing(word) for word in gram) and said_longer.get(gram, 0) < SAME * counts[number]
        ],
        dtype=np.int64,
    )


# --- lift -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Estimate:
    """Of each pattern: ln of the lift with its error, clustered by channel."""

    beta: np.ndarray
    error: np.ndarray
    freedom: np.ndarray  # degrees of freedom: as many as equally large channels would give
    videos: np.ndarray
    channels: np.ndarray

    def only(self, at: np.ndarray) -> "_Estimate":
        return _Estimate(self.beta[at], self.error[at], self.freedom[at], self.videos[at], self.channels[at])

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.minimum(_t_quantile(1.959964, self.freedom) * self.error, 20.0)
        return np.exp(self.beta - reach), np.exp(self.beta + reach)

    def p_values(self) -> np.ndarray:
        return _p_values(self.beta, self.error, self.freedom)


def _p_values(beta: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Two-sided, of Student's t."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = _as_normal(np.abs(beta) / error, freedom)
    # no spread at all between channels (error 0): certain if there is an effect, nothing if not
    z = np.where(error > 0, z, np.where(beta == 0, 0.0, np.inf))
    return np.array([math.erfc(value / math.sqrt(2)) for value in z])


def _less(one: _Estimate, other: _Estimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The differences of independent estimates: values, errors, degrees of freedom (Welch's)."""
    variance, variance2 = one.error**2, other.error**2
    both = variance + variance2
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = both**2 / (variance**2 / one.freedom + variance2**2 / other.freedom)
    return one.beta - other.beta, np.sqrt(both), np.where(both > 0, freedom, 1.0)


def _demean(outcomes: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes less their channel's mean, and the number of videos of each channel."""
    sizes = np.bincount(channels)
    means = np.bincount(channels, weights=outcomes) / np.maximum(sizes, 1)
    return outcomes - means[channels], sizes


def _estimate(pattern: np.ndarray, have: np.ndarray, sizes: np.ndarray, sums: np.ndarray, patterns: int) -> _Estimate:
    """Regression with channel effects of the outcome on having a pattern, for all patterns at once.

    One entry for each (pattern, channel): `have` of the channel's `sizes` videos have it, and `sums` is
    their summed outcome less the channel's mean. The error is the jackknife over channels (Bell and
    McCaffrey's CR3): honest also where a few channels weigh most.
    """
    # the variance of "has it" within the channel: what the channel can tell
    told = have * (1.0 - have / sizes)
    informative = told > 0
    pattern, have, sums, told = pattern[informative], have[informative], sums[informative], told[informative]
    total = np.bincount(pattern, weights=told, minlength=patterns)
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.bincount(pattern, weights=sums, minlength=patterns) / total
        share = told / total[pattern]
        left = (sums - beta[pattern] * told) / (1.0 - share)
        count = np.bincount(pattern, minlength=patterns)
        variance = np.bincount(pattern, weights=left**2, minlength=patterns) / total**2 * (count - 1) / count
        alike = 1.0 / np.bincount(pattern, weights=share**2, minlength=patterns)
    return _Estimate(
        beta=beta,
        error=np.sqrt(variance),
        freedom=np.maximum(alike - 1.0, 1.0),
        videos=np.bincount(pattern, weights=have, minlength=patterns).astype(np.int64),
        channels=count,
    )


def _count(corpus: Corpus, kind: Kind, known: np.ndarray, wanted: np.ndarray) -> _Estimate:
    """The estimate of each pattern over the videos `known`, whose outcome is known; of those not `wanted` nothing."""
    return (_count_forms if kind == "structure" else _count_ngrams)(corpus, known, wanted)


def _count_forms(corpus: Corpus, known: np.ndarray, wanted: np.ndarray) -> _Estimate:
    at = np.flatnonzero(known)
    channel = corpus.channel[at]
    demeaned, sizes = _demean(corpus.outcome[at], channel)
    rules, have, sums, of = [], [], [], []
    for number, where in _with_form(corpus.forms[at], wanted):
        channels = channel[where]
        first = np.flatnonzero(np.diff(channels, prepend=-1))
        rules.append(np.full(len(first), number))
        have.append(np.diff(first, append=len(where)))
        sums.append(np.add.reduceat(demeaned[where], first))
        of.append(sizes[channels[first]])
    if not rules:
        none = np.zeros(0, dtype=np.int64)
        return _estimate(none, none, none, none, len(RULES))
    return _estimate(np.concatenate(rules), np.concatenate(have), np.concatenate(of), np.concatenate(sums), len(RULES))


def _with_form(forms: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each wanted rule that holds for any of the titles, and the positions of those, ascending."""
    planes = np.ascontiguousarray(forms.astype("<i8").view(np.uint8).reshape(-1, 8).T)  # eight rules for each title
    for number in np.flatnonzero(wanted).tolist():
        where = np.flatnonzero(planes[number // 8] & (1 << number % 8) != 0)
        if len(where):
            yield number, where


def _count_ngrams(corpus: Corpus, known: np.ndarray, wanted: np.ndarray) -> _Estimate:
    if not known.any():
        none = np.zeros(0, dtype=np.int64)
        return _estimate(none, none, none, none, len(corpus.ngrams))
    demeaned = np.zeros(len(known))
    values, sizes = _demean(corpus.outcome[known], corpus.channel[known])
    demeaned[known] = values
    hits = known[corpus.hit_video] & wanted[corpus.group_ngram][corpus.hit_group]
    group, video = corpus.hit_group[hits], corpus.hit_video[hits]
    ngrams, channels = corpus.group_ngram, corpus.group_channel
    have = np.bincount(group, minlength=len(ngrams))
    sums = np.bincount(group, weights=demeaned[video], minlength=len(ngrams))
    some = np.flatnonzero(have)
    return _estimate(ngrams[some], have[some], sizes[channels[some]], sums[some], len(corpus.ngrams))


def _by_week(corpus: Corpus, kind: Kind, members: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(patterns, TREND_WEEKS + 1) how many titles of `members` have each pattern, by the column given to each video."""
    width = TREND_WEEKS + 1
    if kind == "structure":
        at = np.flatnonzero(members)
        columns = column[at]
        found = np.zeros((len(RULES), width), dtype=np.int64)
        for number, where in _with_form(corpus.forms[at], np.ones(len(RULES), dtype=bool)):
            found[number] = np.bincount(columns[where], minlength=width)
        return found
    hits = members[corpus.hit_video]
    ngram = corpus.group_ngram[corpus.hit_group[hits]].astype(np.int64)
    cells = np.bincount(ngram * width + column[corpus.hit_video[hits]], minlength=len(corpus.ngrams) * width)
    return cells.reshape(len(corpus.ngrams), width)


def _trends(
    corpus: Corpus, kind: Kind, members: np.ndarray, known: np.ndarray, column: np.ndarray, numbers: np.ndarray,
    weekly: np.ndarray,
) -> list[Trend] | None:  # fmt: skip
    """The trend of each of these patterns, given how many titles of each week have it; None where too few weeks have
    enough titles."""
    totals = np.bincount(column[members], minlength=TREND_WEEKS + 1)[1:]
    enough = totals >= MIN_WEEK
    if enough.sum() < MIN_WEEKS:
        return None
    wanted = np.zeros(len(RULES) if kind == "structure" else len(corpus.ngrams), dtype=bool)
    wanted[numbers] = True
    middle = TREND_WEEKS - RECENT_WEEKS
    early = _count(corpus, kind, known & (column >= 1) & (column <= middle), wanted).only(numbers)
    late = _count(corpus, kind, known & (column > middle), wanted).only(numbers)
    slope, error = _share_slope(weekly[:, enough], totals[enough], np.flatnonzero(enough))
    freedom = np.full(len(slope), float(enough.sum() - 2))
    reach = np.minimum(_t_quantile(1.959964, freedom) * error, 5.0)
    used = benjamini_hochberg(_p_values(slope, error, freedom))
    tells = np.flatnonzero(
        (early.channels >= MIN_HALF) & (late.channels >= MIN_HALF) & np.isfinite(early.error) & np.isfinite(late.error)
    )
    change, change_error, change_freedom = _less(late.only(tells), early.only(tells))
    change_reach = np.minimum(_t_quantile(1.959964, change_freedom) * change_error, 20.0)
    moved = benjamini_hochberg(_p_values(change, change_error, change_freedom))
    place = {int(at): number for number, at in enumerate(tells)}
    found = []
    for at in range(len(slope)):
        changes: tuple[float | None, float | None, float | None] = (None, None, None)
        less = False
        if (told := place.get(at)) is not None:
            wide = change_reach[told]
            changes = (math.exp(change[told]), math.exp(change[told] - wide), math.exp(change[told] + wide))
            less = bool(moved[told] < FALSE_SHARE and change[told] < 0)
        moves = used[at] < FALSE_SHARE
        found.append(
            Trend(
                shares=tuple(float(k / n) if n >= MIN_WEEK else None for k, n in zip(weekly[at], totals, strict=True)),
                growth=math.exp(4 * slope[at]),
                growth_low=math.exp(4 * (slope[at] - reach[at])),
                growth_high=math.exp(4 * (slope[at] + reach[at])),
                lift_change=changes[0],
                lift_change_low=changes[1],
                lift_change_high=changes[2],
                direction=(
                    "fading" if moves and slope[at] < 0
                    else "saturated" if less
                    else "rising" if moves
                    else "steady"
                ),
            )
        )  # fmt: skip
    return found


def _share_slope(have: np.ndarray, totals: np.ndarray, weeks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pattern: the change of ln(share) a week and its standard error, by quasi-Poisson regression.

    `have` is (patterns, weeks). What the weeks scatter beyond chance (titles come in waves, channels in series)
    widens the error; scatter below chance does not narrow it.
    """
    x = weeks - np.average(weeks, weights=totals)
    level = np.log(np.maximum(have.sum(axis=1), 0.5) / totals.sum())
    slope = np.zeros(len(have))
    for _ in range(25):  # Newton's method; it has come to rest after five or six steps
        expected = totals * np.exp(np.clip(level[:, None] + slope[:, None] * x, -30, 10))
        residual = have - expected
        a, b, c = expected.sum(axis=1), (expected * x).sum(axis=1), (expected * x**2).sum(axis=1)
        u, v = residual.sum(axis=1), (residual * x).sum(axis=1)
        determinant = np.maximum(a * c - b**2, 1e-12)
        step = np.clip((a * v - b * u) / determinant, -1, 1)
        level, slope = level + np.clip((c * u - b * v) / determinant, -3, 3), slope + step
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    scatter = (residual**2 / np.maximum(expected, 1e-9)).sum(axis=1) / max(len(weeks) - 2, 1)
    return slope, np.sqrt(np.maximum(scatter, 1.0) * a / determinant)


def _standing_out(corpus: Corpus, videos: np.ndarray, most: int) -> list[int]:
    videos = videos[~np.isnan(corpus.outcome[videos])]
    first = 100 * most
    if len(videos) > first:  # sorting those that can't be among the first would take most of the time
        least = -np.partition(-corpus.outcome[videos], first)[first]
        found = _standing_out(corpus, videos[corpus.outcome[videos] > least], most)
        if len(found) == most:
            return found
    chosen: dict[int, int] = {}
    for video in videos[np.lexsort((videos, -corpus.outcome[videos]))]:
        if len(chosen) == most:
            break
        chosen.setdefault(int(corpus.channel[video]), int(video))
    return list(chosen.values())


def _as_normal(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The normal deviate with the same tail as Student's t (Wallace 1959; good to 0.02 from 3 degrees on)."""
    return np.sqrt(freedom * np.log1p(t**2 / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)


def _t_quantile(z: float, freedom: np.ndarray) -> np.ndarray:
    """The inverse of `_as_normal`."""
    return np.sqrt(freedom * np.expm1((z * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom))


# --- letters ----------------------------------------------------------------------------------------


def _capitals(title: str) -> float:
    return _capital_share(title)


@lru_cache(maxsize=8)  # two rules ask of the same title
def _capital_share(title: str) -> float:
    """Share of the words (three letters or more, of a script that has capitals) in capitals."""
    words = [word for word in _CAPITALS.findall(title) if word.upper() != word.lower()]
    return sum(word.isupper() for word in words) / len(words) if words else 0.0


def _non_latin(title: str) -> float:
    return _non_latin_share(title)


@lru_cache(maxsize=8)
def _non_latin_share(title: str) -> float:
    """Share of the letters that are not Latin."""
    if title.isascii():
        return 0.0
    letters = [character for character in title if character.isalpha()]
    return sum(not _is_latin(character) for character in letters) / len(letters) if letters else 0.0


@cache
def _is_latin(letter: str) -> bool:
    # NFKC: "𝗯" is a b
    return letter.isascii() or "LATIN" in unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "")


def _says_nothing(word: str) -> bool:
    """A stop word, a single Latin letter, or a number that is not a year."""
    return word in STOP_WORDS or (len(word) == 1 and _is_latin(word)) or (word.isdecimal() and len(word) != 4)


@lru_cache(maxsize=1)
def _tokenizer() -> re.Pattern[str]:
    """Words (captured), or any other character that is not a space (captured as "")."""
    # Python's \w has letters and digits but not the marks that Hindi, Thai, Arabic … write vowels with.
    marks = "".join(map(chr, (code for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M")))
    unspaced = r"[\u4e00-\u9fff\u3400-\u4dbf々]+|[\u3041-\u309f]+|[\u30a0-\u30ff]+"
    letter = rf"(?:(?![\u4e00-\u9fff\u3400-\u4dbf々\u3041-\u30ff])[\w{marks}])"
    return re.compile(rf"([#@]?(?:{unspaced}|{letter}+(?:'{letter}+)*))|[^\s\u200b-\u200f\ufe0f]")
