"""A Miles for benchmarks: a fresh home with a PostgreSQL of its own, filled with a data set, a part or a multiple of it.

`filled` imports and rolls up as Miles does. Only the network is left out: a stand-in makes scores, forecasts and vectors of
titles of the usual spread, which no page is faster or slower for, and which saves minutes. With `copies` every video is
there several times: a synthetic multiple, to see what grows with the data.

    with setup.filled(Path("videos.parquet"), share=0.01) as home, setup.serving(home) as dashboard:
        ...

A share is one of the channels, with all of their videos, chosen by their order of appearance.
"""

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil

PROJECT = Path(__file__).resolve().parent.parent
CENTRES = 500  # of the invented vectors: titles lie near one of so many
SHIFT = timedelta(hours=7)  # by which each copy of a video is older than the one before
START = 90  # seconds that a dashboard may take to start
DONE = "filled.json"  # in a home that is complete


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard that runs."""

    port: int
    process: psutil.Process
    log: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> float:
        """What it and its children hold now, in MB (resident)."""
        return sum(one.memory_info().rss for one in (self.process, *self.process.children(recursive=True))) / 1e6


@contextmanager
def filled(file: Path, share: float = 1.0, copies: int = 1, keep: Path | None = None) -> Iterator[Path]:
    """The MILES_HOME of a Miles with a share of the file's channels, each video `copies` times.

    Until the end this process' environment points to it, and its database runs. With `keep`, a folder, it is left
    there and found again by the next benchmark that asks for the same.
    """
    with tempfile.TemporaryDirectory(prefix="miles-bench-") as scratch:
        home = (keep.resolve() if keep else Path(scratch)) / f"share-{share:g}-copies-{copies}"
        complete = (home / DONE).exists()
        if not complete:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
        with running(home):
            if not complete:
                source = file.resolve() if share >= 1 else part(file, share, home / "part.parquet")
                for name, step, arguments in (
                    ("import", _import, (source,)),
                    ("measure and invent scores", _stand_in, ()),
                    *((f"copy {copies} times", _multiply, (copies,)) for _ in range(copies > 1)),
                    ("roll up", _roll_up, ()),
                    ("invent vectors", _vectors, (copies,)),
                ):
                    begun = time.perf_counter()
                    in_a_process(step, *arguments)
                    print(f"  {name}: {time.perf_counter() - begun:.0f} s", flush=True)
                (home / "part.parquet").unlink(missing_ok=True)
                (home / DONE).write_text(json.dumps({"file": file.name, "share": share, "copies": copies}))
            yield home


@contextmanager
def empty(**variables: str) -> Iterator[Path]:
    """The MILES_HOME, in a temporary folder, of a Miles without data; see `running`."""
    with tempfile.TemporaryDirectory(prefix="miles-bench-") as folder, running(Path(folder), **variables):
        yield Path(folder)


@contextmanager
def running(home: Path, **variables: str) -> Iterator[None]:
    """The database of a home runs, and this process' environment, and that of its children, points to it: of the
    variables that Miles reads only these are set."""
    for name in list(os.environ):
        if name.startswith("MILES_") or name == "DATABASE_URL":
            del os.environ[name]
    os.environ |= {"MILES_HOME": str(home), "MILES_START_WORKER": "0", **variables}
    from miles import db, settings  # after MILES_HOME is set; holds the server for all that follow

    settings.load.cache_clear()
    db.ready()
    try:
        yield
    finally:
        db.close()


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module answers in a process of its own: caches are empty, memory is given back."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def part(file: Path, share: float, target: Path) -> Path:
    """Write the rows of a share of the channels, chosen by their order of appearance."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    channels = pc.unique(table["channel_id"])
    step = round(1 / share)
    chosen = channels.take(list(range(0, len(channels), step)))
    pq.write_table(table.filter(pc.is_in(table["channel_id"], chosen)), target)
    return target


def head(file: Path, rows: int | None, folder: Path) -> Path:
    """The file, or one in the folder with its first rows."""
    if rows is None:
        return file.resolve()
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(file).slice(0, rows), folder / file.name)
    return folder / file.name


@contextmanager
def serving(home: Path, script: str = "Home.py", *arguments: str) -> Iterator[Dashboard]:
    """A Streamlit server in a process of its own, that of Miles if nothing else is said."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
    log = home / f"streamlit-{port}.log"
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.fileWatcherType", "none"]
    command += ["--browser.gatherUsageStats", "false", *(["--", *arguments] if arguments else [])]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output)
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, log)
            yield Dashboard(port, psutil.Process(process.pid), log)
        finally:
            process.terminate()
            process.wait(30)


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Until a server answers. Raises SystemExit with the end of its log if it does not."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310  # our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"The server at {address} did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")


def spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and greatest, in milliseconds."""
    if not seconds:
        return (float("nan"),) * 3
    middle, high, top = np.quantile(seconds, (0.5, 0.95, 1.0), method="inverted_cdf") * 1000
    return float(middle), float(high), float(top)


# --- steps, each in a process of its own -------------------------------------------------------------


def _import(file: Path) -> None:
    from miles import db, importing

    db.ready()
    importing.import_files([file])


# As the model's: most videos near the base rate, those that stand out above, with an error.
_SCORES = """
UPDATE candidates SET viral_score = 1 / (1 + exp(2.3 - 0.9 * ln(coalesce(nullif(outlier_multiple, 0), 1)) - dice)),
    base_rate = 0.1, predicted_multiple = greatest(coalesce(outlier_multiple, 1), 0.01) * exp(dice / 3),
    predicted_velocity = guess, velocity_low = guess / 4, velocity_high = guess * 4,
    model_version = :version, scored_at = now(), scored_change = changed_at
FROM (
    SELECT candidate_id AS id, dice,
        greatest(coalesce(velocity, lifetime_velocity, 100) * exp(least(greatest(dice, -2), 2)), 1) AS guess
    FROM candidates CROSS JOIN LATERAL (SELECT ((hashtext(candidate_id) & 65535) / 65536.0 - 0.5) * 3 AS dice) AS thrown
) AS made WHERE id = candidate_id
"""
_KEPT_SCORES = """
INSERT INTO scores (candidate_id, model_version, mode, viral_score, base_rate, predicted_multiple, predicted_velocity,
    velocity_low, velocity_high, scored_at, scored_change)
SELECT candidate_id, model_version, 'candidate', viral_score, base_rate, predicted_multiple, predicted_velocity,
    velocity_low, velocity_high, scored_at, scored_change FROM candidates
"""
_FORECASTS = """
INSERT INTO forecasts (candidate_id, model_version, basis, observed_day, observed_at, scored_at, views, age_band,
    viral_score, base_rate, threshold, predicted_velocity, velocity_low, velocity_high, outcome_at, velocity)
SELECT candidate_id, model_version, 'backtest', (moment AT TIME ZONE 'UTC')::date, moment, scored_at, views,
    CASE WHEN age < 0.5 THEN '6-12h' WHEN age < 1 THEN '12-24h' WHEN age < 2 THEN '1-2d' WHEN age < 3 THEN '2-3d'
        WHEN age < 7 THEN '3-7d' ELSE '7d+' END,
    viral_score, base_rate, 50000, predicted_velocity, velocity_low, velocity_high, observed_at, greatest(velocity, 1)
FROM candidates CROSS JOIN LATERAL (
    SELECT observed_at - interval '3 days' AS moment,
        extract(epoch FROM observed_at - interval '3 days' - published_at) / 86400 AS age
) AS look
WHERE velocity IS NOT NULL AND views IS NOT NULL AND age > 0
"""


def _stand_in() -> None:
    from sqlalchemy import text

    from miles import db, registry, rollups

    db.ready()
    with db.transaction("worker") as connection:
        rollups.measure(connection)
        version = registry.adopt(connection)
        connection.execute(text(_SCORES), {"version": version})
        connection.execute(text(_KEPT_SCORES))
        connection.execute(text(_FORECASTS))
    _tidy()


def _roll_up() -> None:
    from miles import db, monitor, rollups

    db.ready()
    with db.transaction("worker") as connection:
        rollups.refresh(connection, everything=True)
        monitor.refresh(connection)
    _tidy()


def _tidy() -> None:
    """As autovacuum would, in its own time."""
    from sqlalchemy import text

    from miles import db

    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


class StandIn:
    """The text encoder of the shipped model, as far as anyone can see: vectors near one of CENTRES, by title."""

    def __init__(self) -> None:
        from miles import registry, settings

        self.manifest = registry.read_manifest(settings.load().model_folder)
        self._centres = np.random.default_rng(0).normal(size=(CENTRES, self.manifest["inputs"]["text_width"]))

    def embed_titles(self, titles: Sequence[str]) -> np.ndarray:
        seeds = [zlib.crc32(title.encode("utf-8", "replace")) for title in titles]
        noise = np.random.default_rng(seeds[0]).normal(size=(len(titles), self._centres.shape[1]))
        made = self._centres[np.array(seeds) % CENTRES] + 0.8 * noise
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


_COPIED_VECTORS = """
INSERT INTO title_embeddings (candidate_id, encoder, title_md5, embedding)
SELECT e.candidate_id || '~' || n, encoder, title_md5, embedding
FROM title_embeddings AS e CROSS JOIN generate_series(1, :copies - 1) AS n WHERE position('~' IN e.candidate_id) = 0
"""


def _vectors(copies: int) -> None:
    from sqlalchemy import text

    from miles import db, similar

    db.ready()
    if copies > 1:  # those of the originals first, then the same for their copies
        with db.transaction("worker") as connection:
            originals = connection.execute(
                text("SELECT candidate_id, title FROM candidates WHERE position('~' IN candidate_id) = 0")
            )
            encoder = StandIn()
            for some in originals.partitions(5000):
                similar.keep(connection, encoder, {row.candidate_id: row.title for row in some})
        with db.transaction("owner") as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(_COPIED_VECTORS), {"copies": copies})
    similar.catch_up(StandIn())
    _tidy()


# --- copies ------------------------------------------------------------------------------------------

# What differs in the nth copy, by table: its key and that of its channel, all moments, the counts. A score is a little less
# for each copy, so that they do not all stand side by side.
_KEYS = ("candidate_id", "video_id", "channel_key", "channel_id")
_MOMENTS = ("published_at", "published_about", "observed_at", "first_seen_at", "last_seen_at", "outcome_at")
_COUNTS = ("views", "likes", "comments")
_RATES = (
    "velocity", "velocity_before", "acceleration", "predicted_velocity", "velocity_low", "velocity_high", "threshold",
)  # fmt: skip
_COPIED = ("channels", "candidates", "snapshots", "scores", "forecasts")


def _multiply(copies: int) -> None:
    """Copy what is there. Indexes are dropped meanwhile, and references not checked: they come from a whole."""
    from sqlalchemy import text

    from miles import db

    db.ready()
    with db.transaction("owner") as connection:
        indexes = connection.execute(
            text("""
                SELECT indexname, indexdef FROM pg_indexes
                WHERE schemaname = current_schema() AND tablename = ANY(:tables)
                    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = to_regclass(quote_ident(indexname)))
            """),
            {"tables": list(_COPIED)},
        ).all()
        connection.execute(
            text("""
                SELECT ensure_snapshot_partitions(
                    min(observed_at) - make_interval(secs => :back), max(observed_at)) FROM snapshots
            """),
            {"back": SHIFT.total_seconds() * copies},
        )
        for index in indexes:
            connection.execute(text(f'DROP INDEX "{index.indexname}"'))
    with ThreadPoolExecutor(2) as two:  # the work is the database's
        list(two.map(_copy, range(1, copies)))
        list(two.map(_make_index, [index.indexdef for index in indexes]))
    _tidy()


def _copy(number: int) -> None:
    from sqlalchemy import text

    from miles import db

    with db.transaction("owner") as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        for table in _COPIED:
            columns = connection.scalars(
                text("""
                    SELECT column_name FROM information_schema.columns
                    WHERE table_schema = current_schema() AND table_name = :table AND is_generated = 'NEVER'
                """),
                {"table": table},
            ).all()
            own = " AND position('~' IN " + ("channel_key" if table == "channels" else "candidate_id") + ") = 0"
            # only the originals: another process may have written its copies already
            connection.execute(
                text(
                    f"INSERT INTO {table} ({', '.join(columns)})"
                    f" SELECT {', '.join(_changed(column) for column in columns)}"
                    f" FROM {table} CROSS JOIN (SELECT {number} AS n) AS copy WHERE true{own}"
                )
            )


def _changed(column: str) -> str:
    """A column of the nth copy as SQL."""
    back, key = f"interval '{SHIFT.total_seconds():.0f} seconds' * n", f"{column} || '~' || n"
    own = {
        **dict.fromkeys(_KEYS, key),
        **dict.fromkeys(_MOMENTS, f"{column} - {back}"),
        **dict.fromkeys(_COUNTS, f"({column} * (1 + 0.03 * n))::bigint"),
        **dict.fromkeys(_RATES, f"{column} * (1 + 0.03 * n)"),
        "observed_day": f"((observed_at - {back}) AT TIME ZONE 'UTC')::date",
        "viral_score": "viral_score * (1 - 0.01 * n)",
    }
    return own.get(column, column)


def _make_index(definition: str) -> None:
    from sqlalchemy import text

    from miles import db

    with db.transaction("owner") as connection:
        connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        connection.execute(text(definition))
