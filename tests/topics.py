"""An invented topic: its videos, and the evidence made of them."""

from dataclasses import replace

from miles import grounding
from miles.concepts import Idea
from miles.grounding import Backing, Evidence, Lift
from miles.scoring import Score


def video(number: int, title: str, multiple: float | None = 1.0, channel: str | None = None, **facts) -> Backing:
    return Backing(
        candidate_id=f"youtube:v{number}",
        title=title,
        url=f"https://example.org/{number}",
        channel=channel or f"Channel {number}",
        channel_key=f"youtube:c{channel or number}",
        category="Travel & Events",
        language="en",
        views=1000,
        viral_score=0.3,
        base_rate=0.1,
        outlier_multiple=multiple,
        **facts,
    )


VIDEOS = [
    *(video(n, f"Street food tour through the night market, stall {n}", 3.0) for n in range(8)),
    *(video(10 + n, f"Street food with my grandmother {n} 24", 0.5) for n in range(8)),
    *(video(20 + n, f"Ordinary street food vlog {n} 24", 1.0) for n in range(4)),
]
LIFTS = (
    Lift("category:Travel & Events", "structure", "Question", 1.3, 1.1, 1.5, 120),
    Lift("all", "structure", "Question", 1.05, 1.01, 1.1, 900),
    Lift("all", "ngram", "or", 0.9, 0.8, 0.98, 80),
)


def evidence(**facts) -> Evidence:
    whole = Evidence(
        topic="street food",
        reach="topic",
        winners=tuple(VIDEOS[:8]),
        flops=tuple(VIDEOS[8:12]),
        patterns=LIFTS,
        terms=grounding.vocabulary(VIDEOS, "street food"),
        numbers=(24,),
        matched=len(VIDEOS),
    )
    return replace(whole, **facts)


def idea(title: str, *backing: str) -> Idea:
    return Idea(title, "Hook", ("One", "Two"), "Thumb", ("tag",), "Why", "Risk", backing)


def score(key: str, views: float, chance: float = 0.2) -> Score:
    """What a model says of a draft whose only news is how many views it expects."""
    return Score(key, "draft", chance, None, views, views / 10, views * 10, None, 0.1, "fake-1", None)
