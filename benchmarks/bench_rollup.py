"""How long the roll-up takes: first on all of a data set, then after 20 videos were looked at again.

    python -m benchmarks.bench_rollup videos.parquet [--rows N]

The file is imported into a fresh PostgreSQL in a temporary folder; the roll-ups run in a process of their own.
Prints the seconds of each step and the process' peak resident memory.
"""

import argparse
import resource
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from benchmarks import setup
from benchmarks.bench_import import miles_import

AGAIN = 20  # videos: what one collection brings
STEPS = ("measure", "days", "facts", "title patterns", "overview")
MOST_SECONDS = 90.0
MOST_SECONDS_AGAIN = 2.0
MOST_MEMORY = 1e9  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N rows")
    given = parser.parse_args()
    with setup.empty() as home:
        file = setup.head(given.file, given.rows, home)
        setup.in_a_process(miles_import, file)
        first, peak = setup.in_a_process(refresh)
        measured, again = setup.in_a_process(refresh_again, AGAIN)
    for title, steps in ((f"all of {file.name}", first), (f"after {measured} videos were seen again", again)):
        print(title)
        for name, seconds in zip(STEPS, steps, strict=True):
            print(f"  {name:15} {seconds:6.2f} s")
        print(f"  {'together':15} {sum(steps):6.2f} s")
    print(f"peak memory {peak / 2**20:,.0f} MB")
    assert sum(first) <= MOST_SECONDS
    assert sum(again) <= MOST_SECONDS_AGAIN
    assert peak < MOST_MEMORY


def refresh() -> tuple[list[float], int]:
    """Seconds of each step of one refresh, and the peak resident memory of this process in bytes."""
    from miles import db, rollups

    db.ready()
    times: list[float] = []
    with db.transaction("worker") as connection:
        rollups.refresh(connection, lambda done, total: times.append(time.perf_counter()))
    steps = [later - earlier for earlier, later in pairwise(times)]
    return steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refresh_again(count: int) -> tuple[int, list[float]]:
    """How many of some videos changed when they were looked at again, and the seconds of each step after it."""
    return look_again(count), refresh()[0]


def look_again(count: int) -> int:
    """Add one later look at some videos, as a re-visit does; returns how many changed."""
    from sqlalchemy import text

    from miles import db
    from miles.candidates import Candidate, Observation, Snapshot
    from miles.store import observe

    db.ready()
    with db.transaction("worker") as connection:
        videos = connection.execute(
            text(
                "SELECT platform, video_id, title, views, observed_at FROM candidates WHERE views IS NOT NULL"
                " ORDER BY md5(candidate_id) LIMIT :count"
            ),
            {"count": count},
        ).all()
        changes = observe(
            connection,
            [
                Observation(
                    Candidate(video.platform, video.video_id, video.title),
                    Snapshot(video.observed_at + timedelta(days=1), video.views + 1000),
                )
                for video in videos
            ],
        )
    return len(changes.updated)


if __name__ == "__main__":
    main()
