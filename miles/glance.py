"""What Home says at a glance: which video to look at first and why, and what to do next.

`standing` reads what the decisions need; the decisions are pure. Which page does what is known to the pages.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

from miles import operations
from miles.browse import Row

OLD = timedelta(hours=24)  # without a new snapshot for so long, what trends is yesterday's
STEPS = 3

Step = Literal[
    "start a worker", "see the sources", "retry failed jobs", "collect", "score", "measure", "save a niche", "score a draft",
    "get ideas", "read the patterns",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to do in this installation."""

    workers: int  # alive
    waiting: int  # jobs
    failed: int  # jobs that nobody has decided about
    unscored: bool  # whether any video waits for its score
    sources_unwell: tuple[str, ...]


def standing(connection: Connection, unwell: Iterable[str] = ()) -> Standing:
    """Read it, with a few lookups."""
    jobs = operations.job_counts(connection)
    return Standing(
        workers=operations.workers(connection),
        waiting=jobs.get("waiting", 0),
        failed=jobs.get("failed", 0),
        unscored=bool(
            connection.scalar(
                text("SELECT EXISTS (SELECT FROM candidates WHERE scored_change IS DISTINCT FROM changed_at)")
            )
        ),
        sources_unwell=tuple(unwell),
    )


def next_steps(
    found: Standing, *, newest: datetime, now: datetime, measured: int, niches: int, drafts: int
) -> tuple[Step, ...]:
    """The STEPS things that make most sense now: first what keeps the numbers from being true, then what makes use of them.

    `measured` counts the videos with a measured velocity, `niches` and `drafts` the reader's own.
    """
    steps: list[tuple[bool, Step]] = [
        (found.workers == 0 and found.waiting > 0, "start a worker"),
        (bool(found.sources_unwell), "see the sources"),
        (found.failed > 0, "retry failed jobs"),
        (now - newest > OLD, "collect"),
        (found.unscored and found.waiting == 0, "score"),
        (measured == 0, "measure"),
        (niches == 0, "save a niche"),
        (drafts == 0, "score a draft"),
        (True, "get ideas"),
        (True, "score a draft"),
        (True, "read the patterns"),
    ]
    return tuple(dict.fromkeys(step for wanted, step in steps if wanted))[:STEPS]


def first(rows: Iterable[Row]) -> Row | None:
    """The one to look at first: of those that are measured to grow, the one furthest above its channel's usual.

    Measures alone decide; the model's score has no part in it. None where no video has both numbers.
    """
    known = [row for row in rows if row.outlier_multiple is not None and row.velocity is not None and row.velocity > 0]
    return max(known, key=lambda row: (row.outlier_multiple, row.velocity), default=None)
