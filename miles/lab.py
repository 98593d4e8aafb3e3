"""The Score lab: titles of a video not yet published in, what the model says of each out, best first.

Knows nothing about pages; what belongs to the user lies in `drafts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from miles import candidates, score_candidates
from miles.explain import Scorer
from miles.features import PastVideo, ScoreInput

if TYPE_CHECKING:
    from miles.scoring import Score

MOST_TITLES = 50  # compared at once


@dataclass(frozen=True, slots=True)
class Titles:
    """What somebody typed, one title a line."""

    kept: tuple[str, ...]
    left_out: int  # over MOST_TITLES
    cut: int  # shortened to what a title may have


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says about one title."""

    title: str
    viral_score: float  # 0..1
    base_rate: float  # 0..1
    multiple: float | None  # × the channel's usual in the first 24 h; None without a known channel
    multiple_low: float | None  # 8 of 10 outcomes lie between low and high
    multiple_high: float | None
    views: float  # in the first 24 h
    views_low: float
    views_high: float
    model_version: str
    note: str | None  # what was missing or unusual


@dataclass(frozen=True, slots=True)
class KnownChannel:
    """A channel to choose from."""

    channel_key: str
    name: str
    videos: int  # known to Miles


def read_titles(typed: str) -> Titles:
    """The titles in a text: one a line, without empty and repeated lines. Pure."""
    cleaned = (candidates.text(" ".join(line.split()), 100_000) for line in typed.splitlines())
    lines = list(dict.fromkeys(line for line in cleaned if line))
    kept = lines[:MOST_TITLES]
    return Titles(
        kept=tuple(line[: candidates.MAX_TITLE] for line in kept),
        left_out=len(lines) - len(kept),
        cut=sum(len(line) > candidates.MAX_TITLE for line in kept),
    )


def inputs(
    titles: Sequence[str],
    *,
    thumbnail: bytes | None = None,
    category: str | None = None,
    duration: float | None = None,
    language: str | None = None,
    channel_key: str | None = None,
    history: tuple[PastVideo, ...] = (),
) -> list[ScoreInput]:
    """What the model is given for titles of the same draft. Pure."""
    return [
        ScoreInput(
            key=str(place),
            title=title,
            thumbnail=thumbnail,
            channel_id=channel_key,
            category_id=candidates.CATEGORY_IDS.get(category or ""),
            duration=duration,
            language=language,
            history=history,
        )
        for place, title in enumerate(titles)
    ]


def judge(model: Scorer, drafts: Sequence[ScoreInput]) -> list[Verdict]:
    """Score drafts in one batch; best first, of two alike in the order given."""
    verdicts = [verdict(draft.title, score) for draft, score in zip(drafts, model.score(drafts), strict=True)]
    return sorted(verdicts, key=lambda one: -one.viral_score)


def verdict(title: str, score: "Score") -> Verdict:
    """A draft's score; the interval of the multiple is that of the views, over the same usual. Pure."""
    multiple = score.predicted_multiple
    usual = score.predicted_velocity / multiple if multiple else None
    return Verdict(
        title=title,
        viral_score=score.viral_score,
        base_rate=score.base_rate,
        multiple=multiple,
        multiple_low=score.velocity_low / usual if usual else None,
        multiple_high=score.velocity_high / usual if usual else None,
        views=score.predicted_velocity,
        views_low=score.velocity_low,
        views_high=score.velocity_high,
        model_version=score.model_version,
        note=score.note,
    )


def find_channels(connection: Connection, search: str, limit: int = 8) -> list[KnownChannel]:
    """Channels whose name holds the search, or whose key it is; those with most videos first."""
    wanted = candidates.text(" ".join(search.split()), 100)
    if wanted is None:
        return []
    escaped = wanted.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    rows = connection.execute(
        text(
            """
            SELECT channel_key, coalesce(name, channel_key) AS name, videos
            FROM channels CROSS JOIN LATERAL (
                SELECT count(*) AS videos FROM candidates WHERE candidates.channel_key = channels.channel_key
            ) AS counted
            WHERE name ILIKE :pattern OR channel_key = :wanted
            ORDER BY channel_key = :wanted DESC, lower(name) = lower(:wanted) DESC, videos DESC, name LIMIT :limit
            """
        ),
        {"pattern": f"%{escaped}%", "wanted": wanted, "limit": limit},
    )
    return [KnownChannel(**row) for row in rows.mappings()]


def history(connection: Connection, channel_key: str) -> tuple[PastVideo, ...]:
    """The channel's latest videos, as candidates of it are scored with."""
    return score_candidates.history(connection, channel_key)
