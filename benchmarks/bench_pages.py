"""Server time of each page, cold and warm, at 1% and at all of a data set.

    python benchmarks/bench_pages.py videos.parquet [--share 0.01 1]

For each share the videos of that part of the channels are imported and scored in a fresh MILES_HOME by the
commands that a person would use. Then, in a process of its own for each page, the page is run as Streamlit runs
it (the frame in Home.py, then the page; no browser):

    cold     first run of a new process: imports, connection, model and all caches empty
    renewed  the median of five runs, each with the page's cached reads dropped: every query runs
    warm     the median of five runs, as a second visitor meets it
"""

import argparse
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from miles import settings

PROJECT = Path(__file__).resolve().parent.parent
RUNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--share", type=float, nargs="+", default=[0.01, 1.0], help="parts of the channels, 0..1")
    given = parser.parse_args()
    print(f"{'share':>6} {'candidates':>11} {'page':<18} {'cold s':>7} {'renewed s':>10} {'warm s':>7}")
    for share in given.share:
        with tempfile.TemporaryDirectory(prefix="miles-bench-") as folder:
            os.environ.update(MILES_HOME=folder, MILES_START_WORKER="0")
            os.environ.pop("DATABASE_URL", None)
            settings.load.cache_clear()
            measure(given.file.resolve(), share, Path(folder))


def measure(file: Path, share: float, folder: Path) -> None:
    """Fill a Miles with a share of the file and print a line for each page."""
    from miles import db  # keeps the embedded server alive between the commands

    db.ready()
    source = file if share >= 1 else sample_channels(file, share, folder / "share.parquet")
    for command in (["import", str(source)], ["score"]):
        begun = time.perf_counter()
        miles = [sys.executable, "-W", "ignore", "-m", "miles", *command]
        subprocess.run(miles, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        print(f"{share:>6.0%} {command[0]} took {time.perf_counter() - begun:.0f} s", flush=True)
    from sqlalchemy import text

    with db.transaction("viewer") as connection:
        candidates = connection.scalar(text("SELECT count(*) FROM candidates WHERE viral_score IS NOT NULL"))
    for page in sorted((PROJECT / "pages").glob("*.py")):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cold, renewed, warm = pool.apply(open_page, (page,))
        print(f"{share:>6.0%} {candidates:>11,} {page.stem:<18} {cold:>7.2f} {renewed:>10.3f} {warm:>7.3f}", flush=True)
    db.close()


def sample_channels(file: Path, share: float, target: Path) -> Path:
    """Write the rows of a share of the channels, chosen by their order of appearance."""
    table = pq.read_table(file)
    channels = pc.unique(table["channel_id"])
    step = round(1 / share)
    pq.write_table(
        table.filter(pc.is_in(table["channel_id"], channels.take(list(range(0, len(channels), step))))), target
    )
    return target


def open_page(page: Path) -> tuple[float, float, float]:
    """Seconds of the cold run, and the medians of the renewed and the warm ones."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # Streamlit misses its server, which is not what is measured
    started = time.perf_counter()
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    test = AppTest.from_file(str(PROJECT / "Home.py"), default_timeout=120)
    test.switch_page(str(page.relative_to(PROJECT)))

    def run() -> float:
        begun = time.perf_counter()
        test.run()
        seconds = time.perf_counter() - begun
        if test.exception or test.error:
            raise RuntimeError(f"{page.name}: {(*test.exception, *test.error)[0].value}")
        return seconds

    run()
    cold = time.perf_counter() - started
    renewed = []
    for _ in range(RUNS):
        st.cache_data.clear()
        renewed.append(run())
    return cold, statistics.median(renewed), statistics.median(run() for _ in range(RUNS))


if __name__ == "__main__":
    main()
