"""Why a score is what it is: what becomes of it when a word, a part of the picture or a group of facts is hidden.

Works with whatever has `score(inputs)`: the model of this process or a remote one. All that is asked goes in one
call, so each distinct title and picture is encoded once. Pure and deterministic. It tells how the model answers,
not why videos do well: LABEL says so wherever it is shown.
"""

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from PIL import Image

from miles import features
from miles.features import MIN_HISTORY, ScoreInput

if TYPE_CHECKING:  # the network itself is not needed
    from miles.scoring import Score

LABEL = "Model sensitivity, not cause"
MOST_PARTS = 12  # of a title; more would be small print, and each costs a run of the text encoder
GRID = 4  # cells across and down the picture
REGIONS = tuple((row, column) for row in range(GRID) for column in range(GRID))

GroupName = Literal["text", "image", "channel", "details", "counts"]


class Scorer(Protocol):
    """What is needed of `scoring.Model`: one score per input, each from its own input alone."""

    def score(self, inputs: Sequence[ScoreInput], /) -> "Sequence[Score]": ...


@dataclass(frozen=True, slots=True)
class Effect:
    """What something adds to a score: the score with it against the score without."""

    points: float  # viral_score with - without, × 100: above 0 it adds, below it takes
    ratio: float  # predicted velocity with ÷ without; where the channel stays known also the multiple's


@dataclass(frozen=True, slots=True)
class Part:
    """A word, or a few that stand together, of the title."""

    start: int  # title[start:end]
    end: int
    text: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class Region:
    """A cell of the picture as the model sees it (its middle 16:9)."""

    row: int  # 0 … GRID - 1, from the top
    column: int  # from the left
    effect: Effect


@dataclass(frozen=True, slots=True)
class Group:
    """All that is of one kind."""

    name: GroupName
    effect: Effect
    score: float  # viral_score without it, 0 … 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score and what it rests on. Effects need not add up: what goes together is hidden one at a time."""

    title: str
    score: "Score"
    parts: tuple[Part, ...]  # in the order of the title
    regions: tuple[Region, ...]  # row by row; none where there is no picture, or it could not be read
    groups: tuple[Group, ...]  # those that were known
    as_draft: "Score | None"  # a candidate's score before anyone had seen it: of another event, with its own base rate
    unseen: tuple[str, ...]  # what the score could not take into account, for people
    label: str = LABEL


def explain(scorer: Scorer, video: ScoreInput) -> Explanation:
    """Hide one thing at a time and see what the score becomes; one call of `scorer.score`.

    At most 1 + MOST_PARTS + GRID² + 6 inputs. Hidden is: a part of the title cut out; a cell of the picture in the
    picture's mean colour; the title, the picture, the channel's history, the facts (category, language,
    length), or likes, comments and charts not known. Views so far are never hidden: they are what a
    candidate's question is about, and the model never learnt to do without; `as_draft` is the answer to the other.
    """
    titled = getattr(scorer, "needs_title", False)  # then what hides all of the title can't be asked
    spans = [span for span in title_parts(video.title) if not titled or cut(video.title, *span).strip()]
    image_size = getattr(scorer, "image_size", features.IMAGE_SIZE)
    shown = None if video.thumbnail is None else features.pixels(video.thumbnail, image_size)
    pictures = [] if shown is None else occluded(shown)
    groups = without(video, shown is not None)
    if titled:
        groups.pop("text", None)
    asked = [
        video,
        *(replace(video, title=cut(video.title, *span)) for span in spans),
        *(replace(video, thumbnail=picture) for picture in pictures),
        *groups.values(),
    ]
    if video.mode == "candidate":
        asked.append(replace(video, views=None, observed_at=None, likes=None, comments=None, country_count=None))
    # Two of them may be the same (of a title with one word, the word and the title).
    distinct = {one: place for place, one in enumerate(dict.fromkeys(asked))}
    answers = scorer.score([replace(one, key=str(place)) for one, place in distinct.items()])
    scores = iter([answers[distinct[one]] for one in asked])
    base = replace(next(scores), key=video.key)

    def effect(hidden: "Score") -> Effect:
        return Effect(
            points=100 * (base.viral_score - hidden.viral_score),
            ratio=base.predicted_velocity / max(hidden.predicted_velocity, 1e-9),
        )

    return Explanation(
        title=video.title,
        score=base,
        parts=tuple(Part(*span, video.title[slice(*span)], effect(next(scores))) for span in spans),
        regions=tuple(Region(*cell, effect(next(scores))) for cell, _ in zip(REGIONS, pictures, strict=False)),
        groups=tuple(Group(name, effect(one := next(scores)), one.viral_score) for name in groups),
        as_draft=next(scores, None),
        unseen=unseen(video, shown is not None),
    )


def without(video: ScoreInput, readable: bool = True) -> dict[GroupName, ScoreInput]:
    """The video without each group of facts that is known of it. Pure."""
    hidden: dict[GroupName, ScoreInput] = {}
    if video.title.strip():
        hidden["text"] = replace(video, title="")
    if video.thumbnail is not None and readable:
        hidden["image"] = replace(video, thumbnail=None)
    if len(video.history) >= (MIN_HISTORY if video.mode == "draft" else 1):  # a draft's channel does not count below
        hidden["channel"] = replace(video, history=())
    if (video.category_id, video.duration, video.language) != (None, None, None):
        hidden["details"] = replace(video, category_id=None, duration=None, language=None)
    if video.mode == "candidate" and (video.likes, video.comments, video.country_count) != (None, None, None):
        hidden["counts"] = replace(video, likes=None, comments=None, country_count=None)
    return hidden


def unseen(video: ScoreInput, readable: bool = True) -> tuple[str, ...]:
    """What a score of this video cannot take into account: what is missing of it, then what no score sees. Pure."""
    found = []
    if video.thumbnail is None:
        found.append("The thumbnail: none was given.")
    elif not readable:
        found.append("The thumbnail: it could not be read.")
    if len(video.history) < MIN_HISTORY:
        found.append(
            f"What is usual for the channel: {len(video.history) or 'none'} of its earlier videos"
            f" {'is' if len(video.history) == 1 else 'are'} known, and it takes {MIN_HISTORY}."
        )
    details = [
        name
        for name, value in (
            ("category", video.category_id),
            ("language", video.language),
            ("length", video.duration),
        )
        if value is None
    ]
    if details:
        found.append(f"{', '.join(details).capitalize()}: not given.")
    if video.mode == "candidate":
        if video.published_at is None:
            found.append("How old the video is: the time of publishing is not known.")
        if not video.likes or not video.comments:  # 0 is how YouTube shows hidden ones
            found.append("Likes or comments: hidden, or not collected.")
    return (
        *found,
        "The video itself: its first seconds, its sound, what happens in it.",
        "What else is published that day, and to whom the platform shows it.",
    )


# --- the picture ------------------------------------------------------------------------------------


def occluded(shown: np.ndarray) -> list[bytes]:
    """The picture (h, w, 3) uint8 as PNGs, one for each of REGIONS, that cell painted in the mean colour. Pure."""
    height, width, _ = shown.shape
    mean = shown.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    pictures = []
    for row, column in REGIONS:
        hidden = shown.copy()
        hidden[
            row * height // GRID : (row + 1) * height // GRID,
            column * width // GRID : (column + 1) * width // GRID,
        ] = mean
        written = io.BytesIO()
        Image.fromarray(hidden).save(written, "PNG", compress_level=1)
        pictures.append(written.getvalue())
    return pictures


# --- the title --------------------------------------------------------------------------------------

# Scripts that are written without spaces between words, by the first word of their letters' Unicode names, and
# how many letters make a piece: a Chinese or Japanese word has mostly two, a Thai one about four.
_UNSPACED = {"CJK": 2, "HIRAGANA": 3, "KATAKANA": 6, "THAI": 4, "LAO": 4, "KHMER": 4, "MYANMAR": 4}
_CHUNK = re.compile(r"\S+")
_JOINERS = frozenset("'’‑-_./&@#%+$€£")  # inside or around a word they belong to it


def title_parts(title: str, most: int = MOST_PARTS) -> list[tuple[int, int]]:
    """The words of a title as (start, end), at most `most`: of longer titles the shortest neighbours go together.

    Words are what stands between spaces; runs of emojis, and of ! ? | and the like, are parts of their own; writing
    without spaces is cut into pieces of about a word. Pure, any title.
    """
    spans = [span for chunk in _CHUNK.finditer(title) for span in _words(title, *chunk.span())]
    while len(spans) > most:
        # the pair that is shortest together; the first of such
        place = min(range(len(spans) - 1), key=lambda i: spans[i + 1][1] - spans[i][0])
        spans[place : place + 2] = [(spans[place][0], spans[place + 1][1])]
    return spans


def cut(title: str, start: int, end: int) -> str:
    """The title without title[start:end], its spaces mended. Pure."""
    return " ".join(f"{title[:start]}{title[end:]}".split())


def _words(title: str, start: int, end: int) -> list[tuple[int, int]]:
    """A chunk without spaces, title[start:end], as words, emojis, marks and pieces of unspaced writing."""
    runs: list[tuple[int, int, str]] = []
    for i in range(start, end):
        kind = _kind(title[i])
        if runs and (kind == "joined" or kind == runs[-1][2]):
            runs[-1] = (runs[-1][0], i + 1, runs[-1][2])
        elif runs and runs[-1][2] == "joined":  # an opening bracket, a #: it goes with what follows
            runs[-1] = (runs[-1][0], i + 1, kind)
        else:
            runs.append((i, i + 1, kind))
    spans = []
    for low, high, kind in runs:
        size = _UNSPACED.get(kind)
        spans += [(low, high)] if size is None else _pieces(title, low, high, size)
    return spans


def _kind(letter: str) -> str:
    """What a letter runs together with: "word", "mark", "emoji", a script of _UNSPACED, or "joined" (anything)."""
    category = unicodedata.category(letter)
    if letter in _JOINERS or category[0] == "M" or category in {"Cf", "Ps", "Pe", "Pi", "Pf", "Sk", "Lm"}:
        return "joined"
    if category[0] in "LN":
        script = unicodedata.name(letter, "").split(" ", 1)[0]
        return script if script in _UNSPACED else "word"
    if category in {"So", "Cn", "Co", "Cs"}:
        return "emoji"
    return "mark"


def _pieces(title: str, low: int, high: int, size: int) -> list[tuple[int, int]]:
    """A run cut into pieces of at most `size` letters of about one length; marks stay with their letter."""
    letters = [i for i in range(low, high) if _kind(title[i]) != "joined"]
    count = max(-(-len(letters) // size), 1)
    starts = [low, *(letters[k * len(letters) // count] for k in range(1, count)), high]
    return list(pairwise(starts))
