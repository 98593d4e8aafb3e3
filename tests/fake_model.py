"""A stand-in for the network, for tests of the pages that score drafts."""

from collections.abc import Sequence

from miles.features import ScoreInput
from miles.scoring import Score


class FakeModel:
    """Stands for the network: longer titles score higher, 40 letters ten times as many views; a channel's history gives a multiple."""

    version = "fake-1"

    def score(self, videos: Sequence[ScoreInput]) -> list[Score]:
        return [self._score(video) for video in videos]

    def _score(self, video: ScoreInput) -> Score:
        chance = min(0.02 + len(video.title) / 200 + (0.1 if video.thumbnail else 0.0), 0.99)
        known = len(video.history) >= 5
        return Score(
            key=video.key,
            mode="draft",
            viral_score=chance,
            predicted_multiple=1.4 if known else None,
            predicted_velocity=14_000.0 * 10 ** ((len(video.title) - 30) / 40),
            velocity_low=9_000.0,
            velocity_high=23_000.0,
            predicted_velocity_7d=None,
            base_rate=0.1,
            model_version=self.version,
            note=None if known else "no channel history",
        )
