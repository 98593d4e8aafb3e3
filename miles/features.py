"""A video as the model sees it: the same code makes the inputs of training and of serving.

Pure: knows nothing about ONNX, databases or files. A number that is not known is NaN in what
leaves this module; the network turns NaN into a mask of its own, never into a zero.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import numpy as np

from miles import decoding
from miles.errors import ImageRefused

Mode = Literal["draft", "candidate"]

HISTORY = 20  # earlier videos of the channel that count; MODEL: "up to 20 latest"
MIN_HISTORY = 5  # below it a channel has no "usual" to compare with
MIN_AGE = 0.15  # days (3.6 h); below it a count says little about the first day
SETTLED = 3.0  # days before this video; what is published later shares its luck with it, see `_settled`
DAY = 86400.0  # seconds

CATEGORIES = (1, 2, 10, 15, 17, 19, 20, 22, 23, 24, 25, 26, 27, 28)  # YouTube category ids
LANGUAGES = (
    *("en", "es", "ar", "ja", "ru", "th", "id", "fr", "de", "pt", "ko", "hi"),
    *("vi", "tr", "it", "zh", "pl", "uk", "ur", "bn", "te", "ta", "nl", "fa"),
)
CATEGORY_GROUPS = (10, 20, 24, 22)  # the cohorts of the events; every other category is -1
AGE_BANDS = (("6-12h", 0.5), ("12-24h", 1.0), ("1-2d", 2.0), ("2-3d", 3.0), ("3-7d", 7.0), ("7d+", math.inf))

VIDEO = (
    *(f"category_{c}" for c in CATEGORIES),
    "category_other",
    *(f"language_{code}" for code in LANGUAGES),
    "language_other",
    *("log_duration", "is_60s", "is_180s"),
    *("weekday_sin", "weekday_cos"),
)
TITLE = ("characters", "words", "capitals", "digits", "question", "exclamation", "non_ascii", "pipe", "quote")
COUNTS = (
    *("log_age", "log_views", "log_rate", "log_views_24h", "log_likes_per_view", "log_comments_per_view"),
    *("log_countries", "above_usual"),
)
CHANNEL = (
    *("n", "median", "mean3", "mean5", "last", "second_last", "sd", "mad", "max", "min", "p75", "p25", "trend"),
    *("log_days_since", "log_gap", "log_span", "same_level"),
)
SETTLED_CHANNEL = (
    *("settled_n", "settled_mean3", "settled_mean5", "settled_last", "settled_second_last", "settled_sd"),
    *("settled_mad", "settled_max", "settled_min", "settled_p75", "settled_p25", "settled_log_days_since"),
    *("settled_pace_3d", "settled_pace_7d", "settled_pace_14d", "settled_pace_30d"),
)
CONTEXT = ("is_candidate", *VIDEO, *TITLE, *COUNTS, *CHANNEL, *SETTLED_CHANNEL)
#: Which slice of the context belongs to which group: what explanations and training mask together.
GROUPS = {
    "video": slice(1, 1 + len(VIDEO)),
    "title": slice(1 + len(VIDEO), 1 + len(VIDEO) + len(TITLE)),
    "counts": slice(CONTEXT.index(COUNTS[0]), CONTEXT.index(CHANNEL[0])),
    "channel": slice(CONTEXT.index(CHANNEL[0]), len(CONTEXT)),
}
#: What tells how the channel's last few days went, siblings of this very video among them.
LATEST = ("mean3", "mean5", "last", "second_last", "sd", "mad", "max", "min", "p75", "p25", "trend")
PAST = ("deviation", "log_days_before", "shared_words")  # per earlier video: log10 views, log10 (days + 1), 0 to 1


@dataclass(frozen=True, slots=True)
class PastVideo:
    """An earlier video of the same channel, as it was known at some moment."""

    title: str
    published_at: datetime
    observed_at: datetime | None = None
    views: int | None = None
    age_days: float | None = None  # at the observation
    log10_views_24h: float | None = None  # views moved to the age of 24 h; computed here if missing


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """One video to score. Only the title must be known.

    With `views` and `observed_at` it is a candidate (already published), else a draft.
    """

    key: str
    title: str
    thumbnail: bytes | None = None  # an encoded image: JPEG, WebP, PNG …
    channel_id: str | None = None
    category_id: int | None = None  # YouTube category id
    duration: float | None = None  # seconds
    language: str | None = None  # like "en" or "pt-BR"
    published_at: datetime | None = None
    observed_at: datetime | None = None
    views: int | None = None
    likes: int | None = None
    comments: int | None = None
    country_count: int | None = None  # countries where it is on the trending list
    followers: int | None = None  # not used: read after the outcome, it leaks it
    history: tuple[PastVideo, ...] = ()

    @property
    def mode(self) -> Mode:
        return "candidate" if self.views is not None and self.observed_at is not None else "draft"


@dataclass(frozen=True, slots=True)
class GrowthCurve:
    """How views grow with age: piecewise linear in log10(age), 0 at 24 h.

    `ages` in days, rising; `gains` in log10(views) relative to the age of one day.
    """

    ages: tuple[float, ...]
    gains: tuple[float, ...]

    def gain(self, age_days: float) -> float:
        """log10(views at this age / views at 24 h); flat outside the curve."""
        return float(np.interp(math.log10(max(age_days, 1e-3)), [math.log10(a) for a in self.ages], self.gains))

    def log_views_24h(self, views: float, age_days: float) -> float:
        """log10 of the views that a video with `views` at `age_days` has at the age of 24 h."""
        return math.log10(max(views, 0.0) + 1.0) - self.gain(age_days)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the network is given for one video, beside the vectors of the titles and the image."""

    mode: Mode
    context: np.ndarray  # (len(CONTEXT),) float32, NaN = not known
    history_titles: tuple[str, ...]  # latest first, at most HISTORY
    history: np.ndarray  # (len(history_titles), len(PAST)) float32
    base: float  # log10 of the views per day that the network's answer is relative to
    usual: float | None  # log10 of the channel's median views at 24 h; None below MIN_HISTORY
    age_days: float | None


def encode(video: ScoreInput, curve: GrowthCurve, draft_base: float) -> Features:
    """The features of one video, from itself and its channel's past alone.

    `draft_base` (log10 views in 24 h) stands in where no channel tells what is usual.
    """
    mode = video.mode
    published, observed = _utc(video.published_at), _utc(video.observed_at)
    age = None
    if mode == "candidate" and published is not None and observed is not None:
        age = max((observed - published).total_seconds() / DAY, 1.0 / 24)
    past = known_past(video, curve)
    # A candidate's own counts say most; even one earlier video then helps. A draft needs a usual.
    if mode == "draft" and len(past) < MIN_HISTORY:
        past = []
    values = [value for _, value, _ in past]  # latest first
    usual = _quantile(sorted(values), 0.5) if values else None

    counts, rate = _counts(video, age, usual, curve) if mode == "candidate" else ([math.nan] * len(COUNTS), None)
    base = rate if rate is not None else usual if usual is not None else draft_base
    reference = observed if mode == "candidate" else published
    context = [
        1.0 if mode == "candidate" else 0.0,
        *_video(video, published),
        *_title(video.title),
        *counts,
        *_channel(past, usual, draft_base, published or reference),
        *_settled(past, usual, published or reference),
    ]
    words = _words(video.title)
    rows = [
        (value - (usual or 0.0), _log_days(published or reference, when), _shared(words, _words(title)))
        for when, value, title in past
    ]
    return Features(
        mode=mode,
        context=np.array(context, dtype=np.float32),
        history_titles=tuple(title for _, _, title in past),
        history=np.array(rows, dtype=np.float32).reshape(len(rows), len(PAST)),
        base=base,
        usual=usual if len(values) >= MIN_HISTORY else None,
        age_days=age,
    )


def known_past(video: ScoreInput, curve: GrowthCurve) -> list[tuple[datetime, float, str]]:
    """The channel's latest earlier videos: (published, log10 views at 24 h, title), latest first.

    Only what was published before this video, and observed before its publication (draft) or its
    observation (candidate): a later look would tell the network how things went on.
    """
    published, observed = _utc(video.published_at), _utc(video.observed_at)
    known_until = observed if video.mode == "candidate" else published
    past = []
    for other in video.history:
        when = _aware(other.published_at)
        seen = _utc(other.observed_at)
        age = other.age_days
        if age is None and seen is not None:
            age = (seen - when).total_seconds() / DAY
        if published is not None and when >= published:
            continue
        if known_until is not None:
            # Not knowing when a count was read, we can't rule out that it was read too late.
            at = seen.timestamp() if seen is not None else None if age is None else when.timestamp() + age * DAY
            if at is None or at >= known_until.timestamp():
                continue
        value = other.log10_views_24h
        if value is None:
            if other.views is None or age is None or not age >= MIN_AGE:
                continue
            value = curve.log_views_24h(other.views, age)
        if not math.isfinite(value):
            continue
        past.append((when, min(max(float(value), 0.0), 11.0), other.title))
    past.sort(key=lambda row: (row[0], row[2], row[1]), reverse=True)
    return past[:HISTORY]


def category_group(category_id: int | None) -> int:
    """The cohort of a category: Music 10, Gaming 20, Entertainment 24, People & Blogs 22, rest -1."""
    return category_id if category_id in CATEGORY_GROUPS else -1


def age_band(age_days: float | None) -> str:
    """The cohort of an age; younger than 6 h counts as the first band, unknown as the second."""
    if age_days is None:
        return "12-24h"
    return next(name for name, upper in AGE_BANDS if age_days < upper or upper == math.inf)


def cohort(mode: Mode, age_days: float | None, category_id: int | None) -> str:
    """The key of a threshold or a base rate in the manifest."""
    band = "draft" if mode == "draft" else age_band(age_days)
    return f"{band}|{category_group(category_id)}"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else _aware(moment)


def _log(x: float) -> float:
    return math.log10(max(x, 0.0) + 1.0)


def _log_days(reference: datetime | None, when: datetime) -> float:
    return math.nan if reference is None else _log((reference - when).total_seconds() / DAY)


def _quantile(ordered: Sequence[float], q: float) -> float:
    """Linear between neighbours, as numpy does it, without its overhead on 20 numbers."""
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _video(video: ScoreInput, published: datetime | None) -> list[float]:
    out = (
        [math.nan] * (len(CATEGORIES) + 1)
        if video.category_id is None
        else [
            *(float(video.category_id == c) for c in CATEGORIES),
            float(video.category_id not in CATEGORIES),
        ]
    )
    code = (video.language or "").replace("_", "-").split("-")[0].lower()
    out += (
        [math.nan] * (len(LANGUAGES) + 1)
        if not code
        else [
            *(float(code == known) for known in LANGUAGES),
            float(code not in LANGUAGES),
        ]
    )
    seconds = video.duration
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:  # a live stream has 0
        out += [math.nan] * 3
    else:
        out += [_log(seconds), float(seconds <= 60), float(seconds <= 180)]
    # The weekday, never the hour: snapshots come at about 02 UTC, so the hour would leak the age.
    day = math.nan if published is None else published.weekday() * 2 * math.pi / 7
    return [*out, math.sin(day), math.cos(day)]


def _title(title: str) -> list[float]:
    if not title.strip():  # not known, as it was now and then in training; what an explanation asks
        return [math.nan] * len(TITLE)
    n = max(len(title), 1)
    letters = max(sum(c.isalpha() for c in title), 1)
    return [
        _log(len(title)),
        _log(len(title.split())),
        sum(c.isupper() for c in title) / letters,
        sum(c.isdigit() for c in title) / n,
        float("?" in title),
        float("!" in title),
        sum(ord(c) > 127 for c in title) / n,
        float("|" in title),
        float('"' in title or "“" in title or "«" in title),
    ]


def _counts(video: ScoreInput, age: float | None, usual: float | None, curve: GrowthCurve) -> tuple[list[float], float]:
    """The counts of a candidate, and log10 of its views per day so far."""
    views = max(float(video.views or 0), 0.0)
    # An unknown age is taken for a day: the most common age at the first observation.
    rate = math.log10((views + 1.0) / (age if age is not None else 1.0))
    at_24h = math.nan if age is None else curve.log_views_24h(views, age)
    # YouTube shows hidden likes and closed comments as 0: not known rather than none.
    likes = math.log10((video.likes + 0.5) / (views + 1.0)) if video.likes else math.nan
    comments = math.log10((video.comments + 0.5) / (views + 1.0)) if video.comments else math.nan
    return [
        math.nan if age is None else math.log10(age),
        _log(views),
        rate,
        at_24h,
        likes,
        comments,
        math.nan if video.country_count is None else _log(max(video.country_count - 1, 0)),
        math.nan if usual is None else at_24h - usual,
    ], rate


def _channel(
    past: Sequence[tuple[datetime, float, str]],
    usual: float | None,
    draft_base: float,
    reference: datetime | None,
) -> list[float]:
    """Level, spread, drift and rhythm of the channel; deviations in log10 from its median."""
    if not past or usual is None:
        return [math.nan] * len(CHANNEL)
    deviations = [value - usual for _, value, _ in past]  # latest first
    ordered = sorted(deviations)
    n = len(deviations)
    mean = sum(deviations) / n
    sd = math.sqrt(sum((d - mean) ** 2 for d in deviations) / (n - 1)) if n > 1 else math.nan
    newest, oldest = past[0][0], past[-1][0]
    span = (newest - oldest).total_seconds() / DAY
    # Slope against the position, oldest to newest: how much a video gains on the one before it.
    middle = (n - 1) / 2
    trend = (
        sum((middle - i) * d for i, d in enumerate(deviations)) / sum((middle - i) ** 2 for i in range(n))
        if n > 2
        else math.nan
    )
    return [
        _log(n),
        usual - draft_base,
        sum(deviations[:3]) / min(n, 3),
        sum(deviations[:5]) / min(n, 5),
        deviations[0],
        deviations[1] if n > 1 else math.nan,
        sd,
        _quantile(sorted(abs(d) for d in deviations), 0.5),
        ordered[-1],
        ordered[0],
        _quantile(ordered, 0.75),
        _quantile(ordered, 0.25),
        trend,
        _log_days(reference, newest),
        _log(span / max(n - 1, 1)),
        _log(span),
        float(n >= MIN_HISTORY),
    ]


def _settled(
    past: Sequence[tuple[datetime, float, str]], usual: float | None, reference: datetime | None
) -> list[float]:
    """The channel without its last three days; deviations in log10 from its median.

    Of two videos a day apart, the first stands in the second's past. Whoever looks at it ranks the
    second high because the first did well, and so against the first: right for the level of a forecast,
    wrong for the question which of two titles is better.
    """
    if usual is None or reference is None:
        return [math.nan] * len(SETTLED_CHANNEL)
    ages = [(reference - when).total_seconds() / DAY for when, _, _ in past]
    chosen = [(age, value - usual) for age, (_, value, _) in zip(ages, past, strict=True) if age > SETTLED]
    if not chosen:
        return [math.nan] * len(SETTLED_CHANNEL)
    deviations = [deviation for _, deviation in chosen]  # latest first
    ordered = sorted(deviations)
    n = len(deviations)
    mean = sum(deviations) / n
    paces = []
    for days in (3.0, 7.0, 14.0, 30.0):  # the more recent, the more it counts
        weights = [math.exp(-(age - chosen[0][0]) / days) for age, _ in chosen]
        paces.append(sum(w * d for w, d in zip(weights, deviations, strict=True)) / sum(weights))
    return [
        _log(n),
        sum(deviations[:3]) / min(n, 3),
        sum(deviations[:5]) / min(n, 5),
        deviations[0],
        deviations[1] if n > 1 else math.nan,
        math.sqrt(sum((d - mean) ** 2 for d in deviations) / (n - 1)) if n > 1 else math.nan,
        _quantile(sorted(abs(d) for d in deviations), 0.5),
        ordered[-1],
        ordered[0],
        _quantile(ordered, 0.75),
        _quantile(ordered, 0.25),
        _log(chosen[0][0]),
        *paces,
    ]


@lru_cache(maxsize=4096)
def _words(title: str) -> frozenset[str]:
    """The words of a title, without numbers: two parts of a series are alike."""
    return frozenset(word for word in re.findall(r"\w+", title.lower()) if not word.isdigit())


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of common words among all words of two titles, 0 to 1; works in any language with spaces."""
    either = len(one | other)
    return len(one & other) / either if either else 0.0


IMAGE_SIZE = (128, 72)  # pixels, width and height, as the shipped image encoder takes it


def pixels(image: bytes, size: tuple[int, int] = IMAGE_SIZE) -> np.ndarray | None:
    """A picture as the image encoder takes it: (height, width, 3) uint8, the middle 16:9 of it.

    None if it can't be read: an unreadable picture must never pass for a black one. Cropping to
    16:9 also removes the bars of YouTube's 4:3 thumbnails.
    """
    try:
        return np.asarray(decoding.middle(image, size), dtype=np.uint8)
    except ImageRefused:
        return None
