"""How long thinning takes, and how long a collection waits for it meanwhile.

    python -m benchmarks.bench_thin [--videos N]

Invents N videos (50,000) with 20 looks each, six hours apart, up to 200 days ago, in a fresh PostgreSQL in a temporary
folder. While they are thinned, another process stores looks at ten of the videos again and again. Prints the
seconds of the first run and of one on the next day, how many snapshots went, and the longest waits of the other process.
"""

import argparse
import multiprocessing
import os
import resource
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import setup

LOOKS = 20
WRITTEN = 10  # videos of one batch of the collection
OVER = "over"  # the file that tells the writing process to end
LONGEST_WAIT = 2.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=50_000)
    given = parser.parse_args()
    with setup.empty() as home:
        invent(given.videos)
        alone = setup.in_a_process(write, given.videos, 5.0)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            writing = pool.apply_async(write, (given.videos, 600.0))
            time.sleep(1)
            seconds, removed, peak = pool.apply(thin, (0,))
            (home / OVER).touch()
            waits = writing.get(60)
            again, more, _ = pool.apply(thin, (1,))
    print(f"{given.videos * LOOKS:,} snapshots of {given.videos:,} videos")
    print(f"first run      {seconds:6.1f} s, {removed:,} removed, peak memory {peak / 2**20:,.0f} MB")
    print(f"the next day   {again:6.1f} s, {more:,} removed")
    for name, found in (("alone", alone), ("meanwhile", waits)):
        found.sort()
        print(
            f"storing {WRITTEN} looks {name:10} {len(found):5} times: median {found[len(found) // 2] * 1000:.0f} ms,"
            f" 99% {found[int(len(found) * 0.99)] * 1000:.0f} ms, longest {found[-1] * 1000:.0f} ms"
        )
    assert waits[-1] < LONGEST_WAIT


def invent(videos: int) -> None:
    """Videos of channels of twenty, measured, with their looks written straight into the tables."""
    from sqlalchemy import text

    from miles import db, rollups

    with db.transaction("worker") as connection:
        for statement in (
            "SELECT ensure_snapshot_partitions(now() - interval '220 days', now())",
            "INSERT INTO channels (channel_key, platform, channel_id, first_seen_at, last_seen_at)"
            " SELECT 'youtube:c' || n, 'youtube', 'c' || n, now(), now() FROM generate_series(0, :videos / 20) AS n",
            "INSERT INTO candidates (candidate_id, platform, video_id, channel_key, title, media_type, published_at,"
            " views, observed_at, tier, source, first_seen_at, last_seen_at)"
            " SELECT 'youtube:v' || n, 'youtube', 'v' || n, 'youtube:c' || n / 20, 'Title ' || n, 'short',"
            " now() - interval '1 day' * (100 + n % 100), 20000, now() - interval '1 day' * (95 + n % 100), 'full',"
            " 'youtube yt-dlp-2026.10.26', now() - interval '200 days', now() FROM generate_series(1, :videos) AS n",
            "INSERT INTO snapshots (candidate_id, observed_at, views, exact, tier, source)"
            " SELECT 'youtube:v' || n, now() - interval '1 day' * (100 + n % 100) + interval '6 hours' * look,"
            " 1000 * look, true, 'full', 'youtube yt-dlp-2026.10.26'"
            " FROM generate_series(1, :videos) AS n, generate_series(1, :looks) AS look",
        ):
            connection.execute(text(statement), {"videos": videos, "looks": LOOKS} if ":" in statement else {})
        rollups.measure(connection)
    with db.transaction("owner") as connection:
        connection.execute(text("ANALYZE"))


def thin(days_later: int) -> tuple[float, int, int]:
    """Seconds of a run, snapshots removed, peak memory in bytes."""
    from miles import retention

    begun = time.perf_counter()
    found = retention.thin(now=datetime.now(UTC) + timedelta(days=days_later))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return time.perf_counter() - begun, found.removed, peak


def write(videos: int, seconds: float) -> list[float]:
    """Seconds of each of many small merges, as a collection does them."""
    from miles import db
    from miles.candidates import Candidate, Observation, Snapshot
    from miles.store import observe

    took: list[float] = []
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and not Path(os.environ["MILES_HOME"], OVER).exists():
        number += 1
        seen = [
            Observation(
                Candidate("youtube", f"v{(number * 7919 + at * 101) % videos + 1}", "Title"),
                Snapshot(datetime.now(UTC), 30_000),
            )
            for at in range(WRITTEN)
        ]
        begun = time.perf_counter()
        with db.transaction("worker") as connection:
            observe(connection, seen)
        took.append(time.perf_counter() - begun)
        time.sleep(0.02)
    return took


if __name__ == "__main__":
    main()
