"""Title patterns: what titles are made of, and what goes along with it.

A pattern is a structure (a number, a question …), found by rule, or an n-gram of one to three words,
mined. Its lift is the ratio of the outlier multiple (geometric mean) of videos with it to those without
it, *within* channels: each channel is its own control, so a pattern that only big channels use has a
lift of 1. An association, never a cause.

Pure: knows nothing about the database; numpy only.
"""

import math
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
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
SAME = 0.9  # a shorter n-gram goes when this share of its videos have one longer n-gram around it


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


def _found(expression: str) -> Callable[[str], object]:
    return re.compile(expression, re.IGNORECASE).search


_EMOJI = "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u23e9-\u23fa\u2049\u203c]"
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
    Rule("Money", "an amount with a currency sign", _found(r"[$€£¥₹₩₽]\s?\d|\d\s?[$€£¥₹₩₽]")),
    Rule("Episode or part", "“Part 2”, “Ep. 5”, “#3”", _found(r"\b(?:ep(?:isode)?|part|pt|parte|cap[ií]tulo)\b\.?\s*\d|#\d")),
    Rule("Question", "a question mark, in any script", _found(r"[?？؟⁇]")),
    Rule("Exclamation", "an exclamation mark", _found(r"[!！]")),
    Rule("Repeated marks", "“!!”, “??”, “?!”", _found(r"[!?！？]{2,}")),
    Rule("ALL-CAPS word", "one to half of the words in capitals", lambda t: 0 < _capitals(t) <= 0.5),
    Rule("MOSTLY CAPITALS", "over half of the words in capitals", lambda t: _capitals(t) > 0.5),
    Rule("Emoji", "any emoji", _found(_EMOJI)),
    Rule("Brackets", "( ), [ ] or 【 】", _found(r"[(\[{【（「『]")),
    Rule("Quotation marks", "words in quotation marks", _found("[\"“”«»„]|(?<!\\w)'[^']+'(?!\\w)")),
    Rule("Hashtag", "#word", _found(r"#[^\W\d]")),
    Rule("Mention", "@name", _found(r"(?<!\w)@\w")),
    Rule("Colon", "“Topic: …”", _found(r"[^\W\d][:：]\s*\S")),
    Rule("Parts with | or –", "parts split by a bar or a dash", _found(r"\s[-–—]\s|[|｜]")),
    Rule("Ellipsis", "… or ...", _found(r"…|\.\.\.")),
    Rule("POV", "the word POV", _found(r"\bpov\b")),
    Rule("How to", "how to, how I", _found(r"\bhow (?:to|i|we)\b|\bc[óo]mo (?:hacer|fazer)\b")),
    Rule("I, my, we", "first person", _found(r"\b(?:i|i'm|i’m|my|me|we|our|yo|mi|mis|eu|meu|minha|je|mon|ma|ich|mein|я|мой)\b")),
    Rule("You, your", "second person", _found(r"\b(?:you|your|you're|tu|tus|você|vous|votre|du|dein|ты|твой)\b")),
    Rule("Versus", "vs", _found(r"\b(?:vs|versus)\b")),
    Rule("Superlative", "best, worst, most, biggest …", _found(r"\b(?:best|worst|most|biggest|smallest|fastest|hardest|greatest|mejor|melhor|лучш\w+)\b")),
    Rule("Warning", "never, stop, don't, mistake …", _found(r"\b(?:never|stop|don['’]?t|avoid|mistakes?|wrong|nunca|не)\b")),
    Rule("Featuring", "feat., ft., with another artist", _found(r"\b(?:feat|ft)\b")),
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
    return tuple(number for number, rule in enumerate(RULES) if rule.holds(title))


def tokens(title: str) -> list[str | None]:
    """The words of a title in lower case, None where punctuation parts them.

    Width and fancy-letter variants are folded (NFKC). A hashtag or a mention keeps its sign. A run of Han,
    Hiragana or Katakana is a word: those scripts have no spaces, and where one ends a word mostly ends.
    """
    folded = unicodedata.normalize("NFKC", title).casefold().replace("’", "'")
    return [word or None for word in _tokenizer().findall(folded)]


def mine(videos: Iterable[TitledVideo]) -> list[Pattern]:
    """Every pattern with enough videos and channels, in every scope that has enough videos.

    Reads the videos once and keeps numbers of them, not titles: about 1 kB for each video.
    """
    data = _read(videos)
    if len(data.ids) == 0:
        return []
    hits = _Hits.of(*_all_patterns(data))
    results: list[Pattern] = []
    for scope, members in _scopes(data):
        results += _lifts(data, hits, scope, members)
    return results


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


# --- reading titles ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Videos as numbers; `words` is all titles one after another, -1 where an n-gram must not cross."""

    ids: list[str]
    channels: np.ndarray  # (videos,) number of the channel
    outcomes: np.ndarray  # (videos,) ln of the outlier multiple
    scopes: dict[str, np.ndarray]  # name -> the videos that belong to it
    words: np.ndarray  # (words,) number in `vocabulary`
    word_video: np.ndarray  # (words,) the video that the word stands in
    vocabulary: list[str]
    rule_video: np.ndarray  # (rule hits,)
    rule: np.ndarray  # (rule hits,) number in RULES


def _read(videos: Iterable[TitledVideo]) -> _Data:
    ids: list[str] = []
    channels, outcomes = array("i"), array("d")
    words, word_video = array("i"), array("i")
    rule, rule_video = array("h"), array("i")
    channel_numbers: dict[str, int] = {}
    vocabulary: dict[str, int] = {}
    scopes: dict[str, array[int]] = {}
    for number, video in enumerate(videos):
        ids.append(video.candidate_id)
        channels.append(channel_numbers.setdefault(video.channel_key, len(channel_numbers)))
        outcomes.append(math.log(max(video.outlier_multiple, FLOOR)))
        for scope in _scopes_of(video):
            scopes.setdefault(scope, array("i")).append(number)
        found = structure(video.title)
        rule.extend(found)
        rule_video.extend([number] * len(found))
        parts = [-1 if word is None else vocabulary.setdefault(word, len(vocabulary)) for word in tokens(video.title)]
        words.extend(parts)
        words.append(-1)
        word_video.extend([number] * (len(parts) + 1))
    return _Data(
        ids=ids,
        channels=np.array(channels, dtype=np.int64),
        outcomes=np.array(outcomes, dtype=np.float64),
        scopes={name: np.array(members, dtype=np.int64) for name, members in scopes.items()},
        words=np.array(words, dtype=np.int64),
        word_video=np.array(word_video, dtype=np.int64),
        vocabulary=list(vocabulary),
        rule_video=np.array(rule_video, dtype=np.int64),
        rule=np.array(rule, dtype=np.int64),
    )


def _scopes_of(video: TitledVideo) -> Iterator[str]:
    yield f"platform:{video.platform}"
    if video.media_type:
        yield f"format:{video.media_type}"
    if video.category:
        yield f"category:{video.category}"
    if video.language:
        yield f"language:{video.language.split('-')[0]}"


def _scopes(data: _Data) -> Iterator[tuple[str, np.ndarray]]:
    """The scopes that are large enough; one that holds every video says no more than "all"."""
    yield "all", np.arange(len(data.ids))
    for scope, members in sorted(data.scopes.items()):
        if MIN_SCOPE <= len(members) < len(data.ids):
            yield scope, members


def _all_patterns(data: _Data) -> tuple[list[tuple[Kind, str]], np.ndarray, np.ndarray]:
    """The patterns, and the hits as (video, number of the pattern), each at most once."""
    names: list[tuple[Kind, str]] = [("structure", rule.name) for rule in RULES]
    videos, numbers = [data.rule_video], [data.rule]
    levels = list(_ngrams(data))
    for level, (grams, gram_videos, gram_numbers) in enumerate(levels):
        keep = _worth_keeping(grams, gram_numbers, levels[level + 1] if level + 1 < len(levels) else None)
        new_number = np.full(len(grams), -1, dtype=np.int64)
        new_number[keep] = len(names) + np.arange(len(keep))
        names += [("ngram", " ".join(grams[at])) for at in keep]
        kept = new_number[gram_numbers] >= 0
        videos.append(gram_videos[kept])
        numbers.append(new_number[gram_numbers[kept]])
    return names, np.concatenate(videos), np.concatenate(numbers)


_Level = tuple[list[tuple[str, ...]], np.ndarray, np.ndarray]


def _ngrams(data: _Data) -> Iterator[_Level]:
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
class _Hits:
    """The (video, pattern) pairs sorted by pattern and channel; `group` numbers the (pattern, channel) pairs."""

    names: list[tuple[Kind, str]]
    video: np.ndarray  # (hits,)
    pattern: np.ndarray  # (hits,)

    @classmethod
    def of(cls, names: list[tuple[Kind, str]], video: np.ndarray, pattern: np.ndarray) -> "_Hits":
        order = np.argsort(pattern, kind="stable")
        return cls(names, video[order], pattern[order])


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
        with np.errstate(divide="ignore", invalid="ignore"):
            z = _as_normal(np.abs(self.beta) / self.error, self.freedom)
        # no spread at all between channels (error 0): certain if there is an effect, nothing if not
        z = np.where(self.error > 0, z, np.where(self.beta == 0, 0.0, np.inf))
        return np.array([math.erfc(value / math.sqrt(2)) for value in z])


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


def _lifts(data: _Data, hits: _Hits, scope: str, members: np.ndarray) -> list[Pattern]:
    inside = np.zeros(len(data.ids), dtype=bool)
    inside[members] = True
    channel_count = int(data.channels.max()) + 1
    demeaned = np.zeros(len(data.ids))
    demeaned[members], sizes = _demean(data.outcomes[members], data.channels[members])
    here = inside[hits.video]
    video, pattern = hits.video[here], hits.pattern[here]
    groups, group = np.unique(pattern * channel_count + data.channels[video], return_inverse=True)
    estimate = _estimate(
        groups // channel_count,
        np.bincount(group, minlength=len(groups)),
        sizes[groups % channel_count],
        np.bincount(group, weights=demeaned[video], minlength=len(groups)),
        len(hits.names),
    )
    tested = np.flatnonzero(
        (estimate.videos >= MIN_VIDEOS) & (estimate.channels >= MIN_CHANNELS) & np.isfinite(estimate.error)
    )
    if len(tested) == 0:
        return []
    estimate = estimate.only(tested)
    p_values = estimate.p_values()
    low, high = estimate.interval()
    # two families: rules that were laid down beforehand must not pay for thousands of mined n-grams
    mined = np.array([hits.names[number][0] == "ngram" for number in tested])
    q_values = np.empty(len(tested))
    for family in (mined, ~mined):
        q_values[family] = benjamini_hochberg(p_values[family])
    order = np.argsort(p_values, kind="stable")
    ngrams_left = MAX_NGRAMS if scope == "all" else MAX_NGRAMS_OF_PART
    kept: list[Pattern] = []
    for at in order:
        number = int(tested[at])
        kind, name = hits.names[number]
        if kind == "ngram":
            if ngrams_left == 0:
                continue
            ngrams_left -= 1
        start, stop = np.searchsorted(pattern, (number, number + 1))
        kept.append(
            Pattern(
                scope=scope,
                kind=kind,
                pattern=name,
                n_videos=int(estimate.videos[at]),
                n_channels=int(estimate.channels[at]),
                lift=math.exp(estimate.beta[at]),
                lift_low=float(low[at]),
                lift_high=float(high[at]),
                q_value=float(q_values[at]),
                examples=_examples(data, video[start:stop]),
            )
        )
    return kept


def _examples(data: _Data, videos: np.ndarray) -> tuple[str, ...]:
    """The videos that stand out most, each of another channel."""
    chosen: dict[int, str] = {}
    for video in videos[np.lexsort((videos, -data.outcomes[videos]))]:
        if len(chosen) == EXAMPLES:
            break
        chosen.setdefault(int(data.channels[video]), data.ids[video])
    return tuple(chosen.values())


def _as_normal(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The normal deviate with the same tail as Student's t (Wallace 1959; good to 0.02 from 3 degrees on)."""
    return np.sqrt(freedom * np.log1p(t**2 / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)


def _t_quantile(z: float, freedom: np.ndarray) -> np.ndarray:
    """The inverse of `_as_normal`."""
    return np.sqrt(freedom * np.expm1((z * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom))


# --- letters ----------------------------------------------------------------------------------------


def _capitals(title: str) -> float:
    """Share of the words (three letters or more, of a script that has capitals) in capitals."""
    words = [word for word in _CAPITALS.findall(title) if word.upper() != word.lower()]
    return sum(word.isupper() for word in words) / len(words) if words else 0.0


def _non_latin(title: str) -> float:
    """Share of the letters that are not Latin."""
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
