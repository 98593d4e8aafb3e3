"""How Miles stands, for whoever keeps it running: counts, jobs, collections, versions.

Reads need a viewer's connection, `cancel` an operator's. What work is and how it is asked for lies in `jobs`.
"""

import re
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from typing import Literal

from sqlalchemy import Connection, Row, text

import miles
from miles import db, rollups
from miles.errors import MilesError

State = Literal["waiting", "running", "done", "failed", "cancelled"]

STATES: dict[str, State] = {  # the queue's words -> ours
    "todo": "waiting",
    "doing": "running",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "aborting": "running",
    "aborted": "cancelled",
}
ALIVE = 30.0  # seconds since a worker's last sign of life; jobs.STALLED_AFTER, without importing the queue
TICK = "watch"  # the queue's look at the watchlist, each minute: no work that anybody follows
OLD_YT_DLP = timedelta(days=60)  # sites change, and yt-dlp follows within weeks: an older one starts to fail


@dataclass(frozen=True, slots=True)
class Versions:
    """What this installation is made of."""

    miles: str
    yt_dlp: str
    yt_dlp_age_days: int | None  # since it was released; None where its version is no date
    postgres: str
    streamlit: str
    onnxruntime: str
    procrastinate: str


@dataclass(frozen=True, slots=True)
class Status:
    """How much there is, how fresh it is, and whether somebody works on it."""

    candidates: int
    snapshots: int
    channels: int
    scored: int
    unscored: int  # new, or changed since they were scored
    sample: int  # of the candidates, the invented ones
    model_version: str | None  # of the newest score
    jobs: dict[str, int]  # by state
    workers: int  # with a sign of life lately
    last_collected_at: datetime | None  # when the last collection that brought anything ended
    newest_snapshot_at: datetime | None
    database_bytes: int
    thumbnails: int  # stored
    thumbnail_bytes: int
    counted_at: datetime | None  # the roll-up that the numbers in _ROLLED_UP are of; None: counted now
    versions: Versions


_ROLLED_UP = (
    "candidates", "snapshots", "channels", "scored", "sample", "model_version", "thumbnails", "thumbnail_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work, as a person follows it."""

    job_id: int
    task: str  # collect, score, roll_up, refresh, load_sample, remove_sample
    state: State
    target: str | None  # of a collection
    kind: str | None
    progress: str | None  # what a collection has so far
    reason: str | None  # why it failed, or is tried again
    attempts: int  # that have ended
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None  # of a waiting one that waits for a moment


@dataclass(frozen=True, slots=True)
class Collection:
    """What was asked for and what came of it; counts are of videos."""

    collection_id: int
    target: str
    kind: str
    item_limit: int
    asked_by: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    found: int
    new: int
    updated: int
    skipped: int
    failed: int
    pending: int  # still to be read; none of a done one
    reason: str | None
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    resume_at: datetime | None  # of a waiting one that waits for a moment


@dataclass(frozen=True, slots=True)
class CollectedItem:
    """What became of one id that a collection found."""

    candidate_id: str
    title: str | None  # None: nothing of it was stored
    url: str | None
    outcome: Literal["pending", "new", "updated", "skipped", "failed"]
    reason: str | None
    error_kind: str | None  # SourceError's, where it could not be read (in full)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one outside service was asked for."""

    service: str
    requests: int
    input_tokens: int
    output_tokens: int
    seconds: float


def status(connection: Connection) -> Status:
    """Everything at a glance; how much there is as of the last roll-up, before the first one counted now."""
    rolled_up = connection.execute(
        text("SELECT data, refreshed_at FROM rollups WHERE name = 'overview' AND data ? 'thumbnails'")
    ).one_or_none()
    found = rolled_up.data if rolled_up else rollups.counted(connection)
    db.configure(connection, {"enable_seqscan": "off"})  # what waits has an index, which the planner underrates
    row = connection.execute(
        text(
            """
            SELECT (SELECT count(*) FROM candidates WHERE scored_change IS DISTINCT FROM changed_at) AS unscored,
                (SELECT max(last_seen_at) FROM candidates) AS newest_snapshot_at,
                (SELECT max(finished_at) FROM collections WHERE new + updated > 0) AS last_collected_at,
                pg_database_size(current_database()) AS database_bytes
            """
        )
    ).one()
    return Status(
        **{name: found[name] for name in _ROLLED_UP},
        counted_at=rolled_up.refreshed_at if rolled_up else None,
        unscored=row.unscored,
        jobs=job_counts(connection),
        workers=workers(connection),
        last_collected_at=row.last_collected_at,
        newest_snapshot_at=row.newest_snapshot_at,
        database_bytes=row.database_bytes,
        versions=versions(connection),
    )


def job_counts(connection: Connection) -> dict[str, int]:
    """How many jobs there are in each state; every state is named."""
    counts: dict[str, int] = dict.fromkeys(STATES.values(), 0)
    for queue_state, number in connection.execute(
        text("SELECT status::text, count(*) FROM procrastinate_jobs WHERE task_name <> :tick GROUP BY status"),
        {"tick": TICK},
    ):
        counts[STATES[queue_state]] += number
    return counts


def workers(connection: Connection) -> int:
    """How many workers gave a sign of life lately."""
    return connection.execute(
        text("SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :age)"),
        {"age": ALIVE},
    ).scalar_one()


def jobs(connection: Connection, limit: int = 25) -> list[Job]:
    """Jobs with state and reason: running ones first, then waiting and failed ones, then the latest of the rest."""
    rows = connection.execute(
        text(
            """
            SELECT jobs.id AS job_id, task_name AS task, jobs.status::text AS queue_state, attempts, scheduled_at AS due_at,
                target, kind, collections.state AS collection_state, found, new, updated, skipped,
                collections.failed AS failed_items,
                coalesce(job_failures.reason, CASE WHEN jobs.status <> 'succeeded' THEN collections.reason END) AS reason,
                events.queued_at, events.started_at, events.ended_at
            FROM (
                SELECT *, CASE status WHEN 'doing' THEN 0 WHEN 'todo' THEN 1 WHEN 'failed' THEN 2 ELSE 3 END AS place
                FROM procrastinate_jobs WHERE task_name <> :tick ORDER BY place, id DESC LIMIT :limit
            ) AS jobs
            LEFT JOIN collections ON collections.collection_id = (jobs.args->>'collection_id')::bigint
            LEFT JOIN job_failures ON job_failures.job_id = jobs.id
            CROSS JOIN LATERAL (
                SELECT min(at) FILTER (WHERE type = 'deferred') AS queued_at,
                    max(at) FILTER (WHERE type = 'started') AS started_at,
                    max(at) FILTER (WHERE type IN ('succeeded', 'failed', 'cancelled', 'aborted')) AS ended_at
                FROM procrastinate_events WHERE procrastinate_events.job_id = jobs.id
            ) AS events
            ORDER BY place, jobs.id DESC
            """
        ),
        {"limit": limit, "tick": TICK},
    )
    found = []
    for row in rows:
        state = STATES[row.queue_state]
        over = state in ("done", "failed", "cancelled")
        found.append(
            Job(
                job_id=row.job_id,
                task=row.task,
                state=state,
                target=row.target,
                kind=row.kind,
                progress=_progress(row) if row.found else None,
                reason=row.reason,
                attempts=row.attempts,
                queued_at=row.queued_at,
                started_at=row.started_at,
                ended_at=row.ended_at if over else None,
                due_at=row.due_at if state == "waiting" else None,
            )
        )
    return found


def cancel(connection: Connection, job_id: int) -> None:
    """Take a waiting job off the queue. Raises MilesError if it no longer waits."""
    job = connection.execute(
        text("SELECT status::text, (args->>'collection_id')::bigint FROM procrastinate_jobs WHERE id = :id FOR UPDATE"),
        {"id": job_id},
    ).one_or_none()
    if job is None or job[0] != "todo":
        raise MilesError(f"Job {job_id} is not waiting any more, so it can't be cancelled.")
    connection.execute(text("SELECT procrastinate_cancel_job_v1(:id, false, false)"), {"id": job_id})
    connection.execute(
        text(
            "UPDATE collections SET state = 'cancelled', reason = 'It was cancelled; what came in is kept.',"
            " resume_at = NULL, finished_at = now() WHERE collection_id = :id AND state = 'waiting'"
        ),
        {"id": job[1]},
    )


_COLLECTIONS = f"SELECT {', '.join(field.name for field in fields(Collection))} FROM collections"


def collections(connection: Connection, limit: int = 20) -> list[Collection]:
    """The latest collections, newest first."""
    rows = connection.execute(
        text(f"{_COLLECTIONS} ORDER BY asked_at DESC, collection_id DESC LIMIT :limit"),
        {"limit": limit},
    )
    return [Collection(**row) for row in rows.mappings()]


def under_way(connection: Connection, limit: int = 20) -> list[Collection]:
    """Collections that run or wait, running ones first, then those that go on soonest."""
    rows = connection.execute(
        text(
            f"{_COLLECTIONS} WHERE state IN ('waiting', 'running')"
            " ORDER BY state, resume_at NULLS FIRST, collection_id LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [Collection(**row) for row in rows.mappings()]


def items(connection: Connection, collection_id: int, limit: int = 500) -> list[CollectedItem]:
    """What became of each id of a collection: pending and failed ones first, then new, updated and skipped ones."""
    rows = connection.execute(
        text(
            "SELECT candidate_id, title, coalesce(candidates.url, item.url) AS url, outcome, reason, error_kind"
            " FROM collection_items AS item LEFT JOIN candidates USING (candidate_id) WHERE collection_id = :id"
            " ORDER BY array_position(ARRAY['pending', 'failed', 'new', 'updated', 'skipped'], outcome), candidate_id"
            " LIMIT :limit"
        ),
        {"id": collection_id, "limit": limit},
    )
    return [CollectedItem(**row) for row in rows.mappings()]


def spent(connection: Connection, days: int = 30) -> list[Spent]:
    """What outside services were asked for in the last days."""
    rows = connection.execute(
        text(
            "SELECT service, sum(requests)::bigint AS requests, sum(input_tokens)::bigint AS input_tokens,"
            " sum(output_tokens)::bigint AS output_tokens, sum(seconds) AS seconds"
            " FROM usage WHERE at > now() - make_interval(days => :days) GROUP BY service ORDER BY service"
        ),
        {"days": days},
    )
    return [Spent(**row) for row in rows.mappings()]


def versions(connection: Connection) -> Versions:
    """What is installed here and runs there."""
    yt_dlp = metadata.version("yt-dlp")
    return Versions(
        miles=miles.__version__,
        yt_dlp=yt_dlp,
        yt_dlp_age_days=age_days(yt_dlp, datetime.now(UTC).date()),
        postgres=str(connection.scalar(text("SELECT split_part(current_setting('server_version'), ' ', 1)"))),
        streamlit=metadata.version("streamlit"),
        onnxruntime=metadata.version("onnxruntime"),
        procrastinate=metadata.version("procrastinate"),
    )


def age_days(version: str, today: date) -> int | None:
    """Days since a version that is a date ("2026.3.17") was released; None for any other. Pure."""
    numbers = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})\b", version)
    if numbers is None:
        return None
    try:
        released = date(*(int(number) for number in numbers.groups()))
    except ValueError:
        return None
    return max((today - released).days, 0)


def _progress(row: Row) -> str:
    done = row.new + row.updated + row.skipped + row.failed_items
    counted = f"{row.new} new, {row.updated} updated, {row.skipped} skipped"
    if row.failed_items:
        counted += f", {row.failed_items} failed"
    return counted if row.collection_state in ("done", "failed") else f"{done} of {row.found}: {counted}"
