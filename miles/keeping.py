"""The daily clean-up: removals finished, old snapshots thinned, pictures forgotten that nobody needs, others fetched again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, text

from miles import removal, retention, rollups, storage, thumbnails
from miles.retention import Thinned
from miles.thumbnails import Repaired

STATE = "tidy"  # the row of `rollups` that says when the last clean-up began
EVERY = timedelta(hours=24)

Progress = Callable[[str, int, int], object]  # what is done, how many, of how many


@dataclass(frozen=True, slots=True)
class Tidied:
    """What a clean-up did."""

    removals_finished: int
    snapshots: Thinned
    pictures_forgotten: int
    pictures: Repaired | None  # None: a dry run, or it was stopped before
    half_stored: int = 0  # files of processes that were killed while they stored something


def due(connection: Connection) -> bool:
    """Whether the last clean-up began a day ago, or none ever did."""
    return bool(
        connection.scalar(
            text(
                "SELECT NOT EXISTS (SELECT FROM rollups WHERE name = :name"
                " AND refreshed_at > now() - CAST(:every AS interval))"
            ),
            {"name": STATE, "every": EVERY},
        )
    )


def begin(connection: Connection) -> None:
    """Write down that one begins; one that fails is not begun again before its time."""
    rollups.write(connection, STATE, {})


def tidy(
    *,
    verify: bool = False,
    fetch_all: bool = False,
    dry_run: bool = False,
    stop: Callable[[], bool] | None = None,
    on_progress: Progress | None = None,
) -> Tidied:
    """Clean up now; what is done stays done when it is broken off. With `verify` every stored picture is read;
    with `fetch_all` missing ones are fetched even where most are missing.

    A dry run only says which snapshots would go. Raises StorageUnavailable, after the database's part is done.
    """
    stopped, tell = stop or (lambda: False), on_progress or (lambda what, done, total: None)
    finished = [] if dry_run else removal.finish()
    thinned = retention.thin(
        dry_run=dry_run, stop=stopped, on_progress=lambda done, total: tell("Thinning", done, total)
    )
    if dry_run or stopped():
        return Tidied(len(finished), thinned, 0, None)
    forgotten = thumbnails.clean()
    swept = storage.thumbnails().sweep()
    repaired = thumbnails.repair(
        verify=verify,
        everything=fetch_all,
        stop=stopped,
        on_progress=lambda done, total: tell("Fetching pictures", done, total),
    )
    return Tidied(len(finished), thinned, forgotten, repaired, swept)
