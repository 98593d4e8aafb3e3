"""Work in the background: procrastinate, whose only home this is, on the same Postgres.

Tasks are a few lines that call one module each. A job is deferred on the caller's own connection, so
row and job commit or vanish together. A job whose worker died is taken up again by whichever worker
notices; every task can be run again, because what it did is in the database and what is left is not.
A job that cannot succeed ends as failed with its reason in `job_failures`.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from procrastinate.tasks import Task, configure_task
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from miles import collecting, db, health, operations, pacing, revisits, settings, watchlist
from miles.errors import (
    DatabaseUnavailable,
    MilesError,
    ModelUnavailable,
    SourceError,
    SourcePaused,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from miles import removal, scoring

# What a task needs beside the database (numpy, the model's runtime) is imported when it runs: pages that only
# defer jobs import this module too.

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 4  # of a job with an error that may pass; waits of 30 s, 2 min and 8 min lie between them
FIRST_WAIT = 30  # seconds
WAIT_GROWTH = 4
# Which collection comes first; all other work (scoring, summing up) is short and comes with ASKED ones, before the others.
ASKED = 0  # by a person
WATCHED = -10  # by the watchlist
REVISITED = -20  # looks that are due
FOLLOWED = -30  # channels that others came across
FOLLOW_LIMIT = 30  # videos of such a channel: one page of its Shorts
FOLLOW_READ = 5  # of them read in full, the most promising
FOLLOW_SHARE = 0.5  # of the hour's budget: where more is used, no channel is followed
MAX_TAKEN_UP = 5  # attempts of a job whose workers die; then it may well be what kills them
HEARTBEAT = 5.0  # seconds between signs of life of a worker
STALLED_AFTER = 30.0  # seconds without one: the worker is dead
SHUTDOWN_PATIENCE = 20.0  # seconds a stopping worker waits before it asks its jobs to stop in the middle
REVISIT_BUDGET = 60  # videos that one refresh looks at again; at the default pace ten minutes
MISSED = timedelta(hours=1)  # a tick of the schedule that nobody saw counts so long; the one after it serves as well
TICK = operations.TICK
KEEP_JOBS = timedelta(days=14)  # finished jobs are history after that; failed ones stay until someone decides


# a server that went away, a deadlock: SQLAlchemy's name for it, and psycopg's where its cursors are used directly
DATABASE_TROUBLE = (DatabaseUnavailable, OperationalError, psycopg.OperationalError)
PASSING_TROUBLE = (*DATABASE_TROUBLE, StorageUnavailable)  # worth another try some time later


async def _as_worker(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("SET ROLE miles_worker")
    await connection.commit()


# Opened by run_worker alone. To defer, the caller's connection is used instead, with a manager of its own:
# inside a running worker the app's connector is asynchronous, and tasks are not.
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(),
    periodic_defaults={"max_delay": MISSED.total_seconds()},
)
_DEFERRING = JobManager(procrastinate.SyncPsycopgConnector())


class _Retry(BaseRetryStrategy):
    """Try again what may pass by itself, more and more slowly; fail at once otherwise."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, JobAborted):  # its worker is shutting down: the next one goes on
            return RetryDecision(retry_at=datetime.now(UTC))
        if isinstance(exception, _Paused):
            return RetryDecision(retry_at=exception.until)
        if not isinstance(exception, PASSING_TROUBLE) or job.attempts + 1 >= MAX_ATTEMPTS:
            return None
        return RetryDecision(
            retry_in={"seconds": FIRST_WAIT * WAIT_GROWTH**job.attempts},
            priority=job.priority
            - 1,  # a job that waits holds up those of its lock that come after it, but not above it
        )


class _Paused(MilesError):
    """A collection waits, and so does its job."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


# As many collections at once as there are workers, but never two of the same thing (a lock for each target):
# the pace of a source is theirs together.
@app.task(name="collect", retry=_Retry(), pass_context=True)
def collect(context: procrastinate.JobContext, collection_id: int) -> None:
    """Carry out one collection, then have what it brought in scored and rolled up."""

    def follow_up(connection: Connection) -> None:
        defer_score(connection)
        defer_roll_up(connection)
        _follow_channels(connection, collection_id)

    with db.transaction("worker") as connection:
        if collecting.paused(connection, collection_id):  # its worker did not die: this is a first attempt again
            connection.execute(
                text("UPDATE procrastinate_jobs SET attempts = 0 WHERE id = :id"), {"id": context.job.id}
            )
    try:
        report = collecting.carry_out(collection_id, on_stored=follow_up, stop=context.should_abort)
    except InterruptedError as error:
        raise JobAborted from error
    if report.state == "waiting":
        raise _Paused(report.reason or "The collection waits.", report.resume_at or datetime.now(UTC))
    if report.state == "failed":
        raise SourceError(report.reason or "The collection failed.", report.error_kind or "extractor")


@app.task(name="score", lock="score", retry=_Retry(), pass_context=True)
def score(context: procrastinate.JobContext) -> None:
    """Score what has changed since it was scored; batch by batch, so a later run goes on."""
    from miles import rollups, score_candidates

    loaded = model()
    with db.transaction("worker") as connection:
        rollups.measure(connection)  # the model looks at what is measured

    def stop() -> bool:  # whoever puts another version in force has a score job of its own waiting
        return context.should_abort() or model().version != loaded.version

    score_candidates.score_pending(loaded, stop=stop)
    shadow = shadow_model()
    if shadow is not None and not stop():
        score_candidates.score_shadow(shadow, stop=stop)
    if context.should_abort():
        raise JobAborted
    with db.transaction("worker") as connection:
        defer_roll_up(connection)


@app.task(name="roll_up", lock="roll_up", retry=_Retry())
def roll_up() -> None:
    """Measure what changed and summarise it for the pages, then look how the model versions do."""
    from miles import monitor, rollups

    with db.transaction("worker") as connection:
        rollups.refresh(connection)
    with db.transaction("worker") as connection:
        monitor.refresh(connection)


@app.task(name="backtest", lock="score", retry=_Retry(), pass_context=True)
def backtest(context: procrastinate.JobContext, model_version: str) -> None:
    """Ask a version about looks whose next days are known, for the Model page."""
    from miles import monitor, registry

    loaded = model()
    if loaded.version != model_version:
        loaded = registry.load(model_version)
    monitor.backtest(loaded, stop=context.should_abort)
    if context.should_abort():
        raise JobAborted
    with db.transaction("worker") as connection:
        monitor.refresh(connection)


# Looks at the clock of the watchlist's own, and is gone again. Only one waits at a time (the queueing lock), so none
# pile up behind long collections; what a tick misses the next one does, so none is tried again either.
@app.periodic(cron="* * * * *")
@app.task(name=TICK, lock=TICK, queueing_lock=TICK)
def watch(timestamp: int) -> None:
    """Every minute: begin the runs of the watchlist that are due."""
    with db.transaction("worker") as connection:
        for collection_id in watchlist.start_due(connection):
            _defer_collect(connection, collection_id, WATCHED)
        connection.execute(
            text(
                "DELETE FROM procrastinate_jobs WHERE task_name = :tick"
                " AND status IN ('succeeded', 'failed', 'cancelled', 'aborted')"
            ),
            {"tick": TICK},
        )


@app.periodic(cron="0 * * * *")
@app.task(name="refresh", lock="refresh", retry=_Retry())
def refresh(timestamp: int) -> None:
    """Every hour: look again at videos that are due, and take up what was left."""
    with db.transaction("worker") as connection:
        if revisits.due(connection, 1) and not _already_asked(connection, collecting.REVISIT_TARGET, "revisit"):
            defer_collection(
                connection, collecting.REVISIT_TARGET, "revisit", REVISIT_BUDGET, "schedule", priority=REVISITED
            )
        collecting.give_up_abandoned(connection)
        for collection_id in collecting.left_waiting(connection):
            _defer_collect(connection, collection_id, WATCHED)
        for source in health.due(connection):
            defer_canary(connection, source)
        _tidy_if_due(connection)
        if connection.scalar(
            text("SELECT EXISTS (SELECT FROM candidates WHERE scored_change IS DISTINCT FROM changed_at)")
        ):
            defer_score(connection)  # what a failed job has left
        connection.execute(
            text(
                "DELETE FROM procrastinate_jobs WHERE status IN ('succeeded', 'cancelled', 'aborted')"
                " AND (SELECT max(at) FROM procrastinate_events WHERE job_id = procrastinate_jobs.id)"
                " < now() - CAST(:age AS interval)"
            ),
            {"age": KEEP_JOBS},
        )


@app.task(name="canary", retry=_Retry())
def canary(source: str) -> None:
    """Ask a source its canary."""
    try:
        health.ask(source)
    except SourcePaused as paused:  # nothing to be learned now; asked again when it is due
        logger.info("The canary of %s is not asked: %s", source, paused)


@app.task(name="tidy", lock="tidy", retry=_Retry(), pass_context=True)
def tidy(context: procrastinate.JobContext) -> None:
    """Every day: thin old snapshots, forget pictures that nobody needs, fetch others again."""
    from miles import keeping

    with db.transaction("worker") as connection:
        keeping.begin(connection)
    tidied = keeping.tidy(stop=context.should_abort)
    if context.should_abort():
        raise JobAborted
    if tidied.snapshots.removed or tidied.removals_finished:
        with db.transaction("worker") as connection:
            defer_roll_up(connection)


# One at a time: two decoders would need the memory of two, and a second processor is for everything else.
@app.task(name="clip", lock="clip", retry=_Retry(), pass_context=True)
def clip(context: procrastinate.JobContext, clip_id: int) -> None:
    """Look at an uploaded clip: its facts, its cuts, its frames and their scores."""
    from miles import clips

    try:
        clips.carry_out(clip_id, model, context.should_abort)
    except InterruptedError as error:
        raise JobAborted from error


@app.task(name="remove", lock="remove", retry=_Retry())
def remove(kind: Literal["video", "channel"], key: str, names: list[str], by: str, reason: str | None) -> None:
    """Delete everything of a video or a channel, and never collect it again."""
    from miles import removal

    removal.remove(removal.Found(kind, key, None, tuple(names), 0, 0), by, reason)
    with db.transaction("worker") as connection:
        defer_score(connection)  # the channel's other videos are told apart anew


@app.task(name="load_sample", lock="sample", retry=_Retry())
def load_sample() -> None:
    """Make the sample data with its summaries, then have it scored (which sums up again)."""
    from miles import sample

    sample.load()
    with db.transaction("worker") as connection:
        defer_score(connection)


@app.task(name="remove_sample", lock="sample", retry=_Retry())
def remove_sample() -> None:
    """Remove the sample data and what was summarised from it."""
    from miles import sample

    sample.remove()


def model() -> "scoring.Model":
    """The model in force. Raises ModelUnavailable, each time until it is there."""
    from miles import registry

    return registry.active_model()


def shadow_model() -> "scoring.Model | None":
    """The model that scores beside the one in force; None if there is none, or its files are not here."""
    from miles import registry

    with db.transaction("worker") as connection:
        version = registry.shadow(connection)
    if version is None:
        return None
    try:
        return registry.load(version)
    except ModelUnavailable as error:  # the scores that people see are done, and must not fail for its sake
        logger.warning("Version %s does not score in shadow: %s", version, error)
        return None


def defer_collection(
    connection: Connection,
    target: str,
    kind: str = "topic",
    item_limit: int = 20,
    asked_by: str = "local",
    *,
    priority: int = ASKED,
    read_limit: int | None = None,
    parent_id: int | None = None,
    keep: str | None = None,
    language: str | None = None,
    region: str | None = None,
) -> int:
    """Ask for a collection; returns its id. Row and job commit together. Raises SourceError("invalid").

    `priority` is ASKED, WATCHED, REVISITED or FOLLOWED; the rest is `collecting.ask`'s.
    """
    collection_id = collecting.ask(
        connection, target, kind, item_limit, asked_by, read_limit=read_limit, parent_id=parent_id,
        keep=keep, language=language, region=region,
    )  # fmt: skip
    _defer_collect(connection, collection_id, priority)
    return collection_id


def run_watched(connection: Connection, watch_id: int, asked_by: str) -> int:
    """Have an entry of the watchlist collected now; returns the collection's id. Raises MilesError while its last
    run is not over."""
    collection_id = watchlist.start(connection, watch_id, asked_by)
    _defer_collect(connection, collection_id, ASKED)
    return collection_id


def cancel_collection(connection: Connection, collection_id: int) -> None:
    """End a collection that waits or runs, and its job. Raises MilesError if it is over already."""
    collecting.cancel(connection, collection_id)
    for (job_id,) in connection.execute(
        text(
            "SELECT id FROM procrastinate_jobs WHERE task_name = 'collect' AND status = 'todo'"
            " AND (args->>'collection_id')::bigint = :id FOR UPDATE"
        ),
        {"id": collection_id},
    ).all():
        connection.execute(text("SELECT procrastinate_cancel_job_v1(:id, false, false)"), {"id": job_id})


def resume_collection(connection: Connection, collection_id: int, at: datetime | None = None) -> None:
    """Have a collection go on, now or at a moment, with what is pending and what failed for reasons that may have passed.

    Raises MilesError if it runs, or has nothing left to do.
    """
    if at is None:
        collecting.resume(connection, collection_id)
    job_id = connection.scalar(
        text(
            "SELECT id FROM procrastinate_jobs WHERE task_name = 'collect' AND status = 'todo'"
            " AND (args->>'collection_id')::bigint = :id FOR UPDATE"
        ),
        {"id": collection_id},
    )
    if job_id is None:
        _defer_collect(connection, collection_id, ASKED, at)
    else:
        connection.execute(
            text("UPDATE procrastinate_jobs SET scheduled_at = :at, priority = :priority WHERE id = :id"),
            {"id": job_id, "at": at, "priority": ASKED},
        )
        _tell_workers(connection)


def defer_score(connection: Connection) -> None:
    """Have everything that is unscored scored; once, however often it is asked for."""
    _defer_once(connection, score)


def defer_roll_up(connection: Connection) -> None:
    """Have the pages' summaries made anew; once, however often it is asked for."""
    _defer_once(connection, roll_up)


def defer_backtest(connection: Connection, model_version: str) -> None:
    """Have a version asked about the past; unless that is waiting to be done."""
    _defer_unless_waiting(connection, backtest, "model_version", model_version)


def defer_canary(connection: Connection, source: str) -> None:
    """Have a source's canary asked; unless that is waiting to be done. Raises MilesError where it has none."""
    health.check(source)
    _defer_unless_waiting(connection, canary, "source", source)


def defer_removal(connection: Connection, found: "removal.Found", by: str, reason: str | None = None) -> None:
    """Have everything deleted of what `removal.find` found."""
    arguments = {"kind": found.kind, "key": found.key, "names": list(found.names), "by": by, "reason": reason}
    _defer(connection, remove, **arguments)  # type: ignore[arg-type]  # the task's own


def defer_clip(connection: Connection, clip_id: int) -> None:
    """Have an uploaded clip looked at; unless that waits, or runs. A job for it that had failed is over with this."""
    connection.execute(
        text(
            "DELETE FROM procrastinate_jobs WHERE task_name = 'clip' AND status = 'failed'"
            " AND (args->>'clip_id')::bigint = :id"
        ),
        {"id": clip_id},
    )
    _defer_unless_waiting(connection, clip, "clip_id", clip_id)


def retry_clip(connection: Connection, clip_id: int) -> None:
    """Have a failed clip of the connection's user looked at again. Raises MilesError if it has not failed."""
    from miles import clips

    clips.again(connection, clip_id)
    defer_clip(connection, clip_id)


def defer_load_sample(connection: Connection) -> None:
    _defer_once(connection, load_sample)


def defer_remove_sample(connection: Connection) -> None:
    _defer_once(connection, remove_sample)


def retry(connection: Connection, job_id: int) -> None:
    """Queue a failed job again. Raises MilesError if it is not there or has not failed."""
    revived = connection.execute(
        text(
            "UPDATE procrastinate_jobs SET status = 'todo', attempts = 0, priority = 0, scheduled_at = NULL, worker_id = NULL"
            " WHERE id = :id AND status = 'failed' RETURNING task_name, (args->>'collection_id')::bigint AS collection_id"
        ),
        {"id": job_id},
    ).one_or_none()
    if revived is None:
        raise MilesError(f"Job {job_id} is not among the failed ones any more. Reload the page to see its state.")
    connection.execute(text("DELETE FROM job_failures WHERE job_id = :id"), {"id": job_id})
    if revived.collection_id is not None:
        collecting.resume(connection, revived.collection_id)
    _tell_workers(connection)


def workers_alive(connection: Connection) -> int:
    """How many workers have given a sign of life lately."""
    return connection.execute(
        text("SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :age)"),
        {"age": STALLED_AFTER},
    ).scalar_one()


def run_worker(
    *,
    concurrency: int = 1,
    wait: bool = True,
    heartbeat: float = HEARTBEAT,
    stalled_after: float = STALLED_AFTER,
    patience: float = SHUTDOWN_PATIENCE,
) -> None:
    """Work off jobs until SIGTERM or SIGINT; with `wait=False` until none is left.

    A stopping worker gives its jobs `patience` seconds to end, then has them stop in the middle and go back
    among the waiting ones. Jobs of workers that gave no sign of life for `stalled_after` seconds are taken
    up again, at once and for as long as this worker lives.
    """
    asyncio.run(_work(concurrency, wait, heartbeat, stalled_after, patience))


async def _work(concurrency: int, wait: bool, heartbeat: float, stalled_after: float, patience: float) -> None:
    connector = procrastinate.PsycopgConnector(
        conninfo=db.conninfo(), configure=_as_worker, min_size=1, max_size=concurrency + 4
    )
    with app.replace_connector(connector):
        async with app.open_async():
            await asyncio.to_thread(take_up_stalled, stalled_after)
            watch = asyncio.create_task(_watch_for_stalled(stalled_after))
            try:
                await app.run_worker_async(
                    concurrency=concurrency,
                    wait=wait,
                    update_heartbeat_interval=heartbeat,
                    stalled_worker_timeout=stalled_after,
                    shutdown_graceful_timeout=patience,
                    task_middleware=[_keep_reason],
                )
            except ConnectorException as error:
                raise DatabaseUnavailable(
                    f"The worker has lost the database at {db.place()}. Start it again when the database is back; "
                    "what was being done is taken up again."
                ) from error
            finally:
                watch.cancel()


async def _watch_for_stalled(stalled_after: float) -> None:
    while True:
        await asyncio.sleep(stalled_after / 2)
        try:
            await asyncio.to_thread(take_up_stalled, stalled_after)
        except DATABASE_TROUBLE as error:
            logger.warning("Looking for jobs of dead workers failed, trying again: %s", error)


def take_up_stalled(stalled_after: float = STALLED_AFTER) -> list[int]:
    """Queue again the running jobs whose worker is gone; returns their ids.

    A job that has been started MAX_TAKEN_UP times without ever ending becomes failed instead.
    """
    with db.transaction("worker") as connection:
        # one at a time, each with a fresh look: a job must not be taken from the worker that just took it up
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('miles stalled jobs'))"))
        stalled = connection.execute(
            text(
                """
                UPDATE procrastinate_jobs SET
                    status = (CASE WHEN queueing_lock IS NOT NULL THEN 'aborted'  -- another tick may wait already
                        WHEN attempts + 1 >= :most THEN 'failed' ELSE 'todo' END)::procrastinate_job_status,
                    attempts = attempts + 1, scheduled_at = NULL, worker_id = NULL, abort_requested = false
                WHERE status = 'doing' AND NOT EXISTS (
                    SELECT FROM procrastinate_workers
                    WHERE id = worker_id AND last_heartbeat > now() - make_interval(secs => :age)
                )
                RETURNING id, task_name, status::text, args
                """
            ),
            {"most": MAX_TAKEN_UP, "age": stalled_after},
        ).all()
        for job in stalled:
            if job.status == "failed":
                reason = f"The worker died {MAX_TAKEN_UP} times while doing this. Look at its log and its memory, then retry."
                _write_reason(connection, job.id, reason)
                if "collection_id" in job.args:
                    collecting.give_up(connection, job.args["collection_id"], reason)
                if "clip_id" in job.args:
                    _give_up_clip(connection, job.args["clip_id"], reason)
        if stalled:
            logger.info(
                "Taking up jobs of a dead worker: %s", ", ".join(f"{job.task_name} {job.id}" for job in stalled)
            )
            _tell_workers(connection)
        return [job.id for job in stalled]


def _keep_reason(call_next: Callable[[], Any], context: procrastinate.JobContext, worker: object) -> Any:
    """Around each job: why it failed is written down, and forgotten when it has succeeded after all."""
    job_id, collection_id = context.job.id, context.job.task_kwargs.get("collection_id")
    clip_id = context.job.task_kwargs.get("clip_id")
    try:
        result = call_next()
    except JobAborted:
        raise
    except BaseException as error:
        again = context.task.get_retry_exception(error, context.job)
        reason = str(error) if isinstance(error, MilesError) else f"{type(error).__name__}: {error}"
        try:
            with db.transaction("worker") as connection:
                _write_reason(connection, job_id, reason)
                if again and isinstance(collection_id, int):
                    collecting.wait(connection, collection_id)
                if not again and isinstance(clip_id, int):
                    _give_up_clip(connection, clip_id, reason)
        except DATABASE_TROUBLE:
            logger.exception(
                "The reason of a failed job could not be stored", extra={"job_id": job_id, "reason": reason}
            )
        raise
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM job_failures WHERE job_id = :id"), {"id": job_id})
    return result


def _give_up_clip(connection: Connection, clip_id: int, reason: str) -> None:
    from miles import clips

    clips.give_up(connection, clip_id, reason)


def _tell_workers(connection: Connection) -> None:
    """Wake them: the queue itself tells them of new jobs only."""
    connection.execute(
        text(
            "SELECT pg_notify('procrastinate_any_queue_v1', json_build_object('type', 'job_inserted', 'job_id', 0)::text)"
        )
    )


def _write_reason(connection: Connection, job_id: int | None, reason: str) -> None:
    connection.execute(
        text(
            "INSERT INTO job_failures (job_id, reason) VALUES (:id, :reason)"
            " ON CONFLICT (job_id) DO UPDATE SET reason = excluded.reason, at = now()"
        ),
        {"id": job_id, "reason": reason[:2000].replace("\x00", "")},
    )


def _tidy_if_due(connection: Connection) -> None:
    from miles import keeping

    if keeping.due(connection):
        _defer_once(connection, tidy)


def _already_asked(connection: Connection, target: str, kind: str) -> bool:
    """Whether the same collection still waits or runs."""
    return connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM collections WHERE target = :target AND kind = :kind"
            " AND state IN ('waiting', 'running'))"
        ),
        {"target": target, "kind": kind},
    ).scalar_one()


def _defer_collect(connection: Connection, collection_id: int, priority: int, at: datetime | None = None) -> None:
    lock = connection.execute(
        text("SELECT 'collect ' || kind || ' ' || target FROM collections WHERE collection_id = :id"),
        {"id": collection_id},
    ).scalar_one()
    _defer(connection, collect, lock=lock, priority=priority, at=at, collection_id=collection_id)


def _follow_channels(connection: Connection, collection_id: int) -> None:
    """Have the Shorts of the best channels listed that a collection has come across and nobody has listed.

    It is the least of the work: it waits for all other, and is left out where half of the hour's budget is used.
    """
    number = settings.load().follow_channels
    found = collecting.new_channels(connection, collection_id, number) if number else []
    keep = connection.scalar(
        text("SELECT match_filter FROM collections WHERE collection_id = :id"), {"id": collection_id}
    )
    if not found or pacing.spent_share(connection, "youtube") > FOLLOW_SHARE:
        return
    for address in found:
        defer_collection(
            connection, address, "channel", FOLLOW_LIMIT, "discovery",
            priority=FOLLOWED, read_limit=FOLLOW_READ, parent_id=collection_id, keep=keep,
        )  # fmt: skip


def _defer(
    connection: Connection,
    task: Task,
    *,
    lock: str | None = None,
    priority: int = 0,
    at: datetime | None = None,
    **arguments: Any,
) -> None:
    configure_task(
        name=task.name,
        job_manager=_DEFERRING,
        lock=lock or task.lock,
        queue=task.queue,
        priority=priority,
        schedule_at=at,
        connection=db.psycopg_connection(connection),
    ).defer(**arguments)


def _defer_unless_waiting(connection: Connection, task: Task, argument: str, value: str | int) -> None:
    """Queue a task with one argument, unless the same waits or runs."""
    waiting = connection.scalar(
        text(
            "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE task_name = :name AND status IN ('todo', 'doing')"
            " AND args->>:argument = :value)"
        ),
        {"name": task.name, "argument": argument, "value": str(value)},
    )
    if not waiting:
        arguments: dict[str, Any] = {argument: value}
        _defer(connection, task, lock=task.lock or f"{task.name} {value}", **arguments)


def _defer_once(connection: Connection, task: Task) -> None:
    """Queue a task without arguments, unless it waits already.

    The waiting job is locked until the caller's transaction ends: it can't start before what the caller
    wrote is there for it to see. (procrastinate's queueing lock knows no such thing; its refusal would also
    end the caller's transaction, and a job to be retried could not go back among the waiting ones.)
    """
    waiting = connection.execute(
        text(
            "SELECT id FROM procrastinate_jobs WHERE task_name = :name AND status = 'todo'"
            " AND (scheduled_at IS NULL OR scheduled_at <= now()) LIMIT 1 FOR SHARE SKIP LOCKED"
        ),
        {"name": task.name},
    ).first()
    if waiting is None:
        _defer(connection, task)
