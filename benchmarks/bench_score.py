"""How fast what is in the database gets scored, and how much of that is the database's part.

    python -m benchmarks.bench_score videos.parquet [--rows N] [--videos N]

The file is imported into a fresh PostgreSQL in a temporary folder. First a model that answers at once: what
remains is gathering the inputs and writing the scores, of every candidate. Then the network in `model/`, for the
first `--videos` candidates. Prints seconds, candidates/s, and the database's share.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import setup
from benchmarks.bench_import import miles_import

if TYPE_CHECKING:
    from miles.features import ScoreInput
    from miles.scoring import Score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N rows")
    parser.add_argument("--videos", type=int, default=5000, help="how many the network scores (0: none)")
    given = parser.parse_args()
    with setup.empty() as home:
        setup.in_a_process(miles_import, setup.head(given.file, given.rows, home))
        count, seconds = setup.in_a_process(at_once)
        own = seconds / max(count, 1)
        print(f"database alone {count:9,} in {seconds:7.1f} s  {1 / own:9,.0f} candidates/s")
        if given.videos:
            count, seconds = setup.in_a_process(with_network, given.videos)
            print(f"with network   {count:9,} in {seconds:7.1f} s  {count / seconds:9,.0f} candidates/s")
            print(f"database's share {own * count / seconds:.0%}")


class AtOnce:
    """Answers without looking."""

    version = "at-once"
    manifest: dict[str, Any] = {"version": version}  # noqa: RUF012  # never changed

    def score(self, inputs: Sequence["ScoreInput"]) -> list["Score"]:
        from miles.scoring import Score

        return [
            Score(video.key, video.mode, 0.1, None, 100.0, 10.0, 1000.0, 50.0, 0.1, self.version, None)
            for video in inputs
        ]


def at_once() -> tuple[int, float]:
    from miles import db
    from miles.score_candidates import score_pending

    db.ready()
    started = time.perf_counter()
    return score_pending(AtOnce()), time.perf_counter() - started  # type: ignore[arg-type]


def with_network(count: int) -> tuple[int, float]:
    """Seconds that the network takes for some candidates, loading it left out."""
    from sqlalchemy import text

    from miles import db, scoring, settings
    from miles.score_candidates import score_pending

    db.ready()
    model = scoring.load(settings.load().model_folder)
    with db.transaction("worker") as connection:
        # whole channels, as a full run meets them
        ids = connection.scalars(
            text("SELECT candidate_id FROM candidates ORDER BY md5(channel_key), candidate_id LIMIT :count"),
            {"count": count},
        ).all()
    started = time.perf_counter()
    return score_pending(model, candidate_ids=ids), time.perf_counter() - started


if __name__ == "__main__":
    main()
