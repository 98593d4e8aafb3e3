"""Server time of each page, cold and warm, at 1% and at all of a data set.

    python benchmarks/bench_pages.py videos.parquet [--share 0.01 1] [--pages home trending]
    python benchmarks/bench_pages.py --home FOLDER            # a MILES_HOME that is filled already; nothing is imported

For each share the videos of that part of the channels are imported and scored in a fresh MILES_HOME by the
commands that a person would use. Then, in a process of its own for each page, the page is run as Streamlit runs
it (the frame in Home.py, then the page; no browser):

    cold     first run of a new process: imports, connection, model and all caches empty
    renewed  the median of five runs, each with the page's cached reads dropped: every query runs
    warm     the median of five runs, as a second visitor meets it

Then each change of Trending that a reader makes: every order, every filter, both ends of the list, similar titles, as a
table. Of each the first run, whose cached reads are all dropped ("asked"), and the median of five as the next
visitor meets it ("warm"); and the 95th percentile and the worst of both over all changes. A niche is pinned to Home.
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
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--share", type=float, nargs="+", default=[0.01, 1.0], help="parts of the channels, 0..1")
    parser.add_argument("--home", type=Path, help="a filled MILES_HOME to read instead of importing")
    parser.add_argument("--pages", nargs="+", help="names of pages; all without it")
    given = parser.parse_args()
    if (given.file is None) == (given.home is None):
        parser.error("give a file to import, or --home")
    print(f"{'share':>6} {'candidates':>11} {'page':<18} {'cold s':>7} {'renewed s':>10} {'warm s':>7}")
    if given.home:
        os.environ.update(MILES_HOME=str(given.home.resolve()), MILES_START_WORKER="0")
        settings.load.cache_clear()
        time_pages("", given.pages)
        return
    for share in given.share:
        with tempfile.TemporaryDirectory(prefix="miles-bench-") as folder:
            os.environ.update(MILES_HOME=folder, MILES_START_WORKER="0")
            os.environ.pop("DATABASE_URL", None)
            settings.load.cache_clear()
            fill(given.file.resolve(), share, Path(folder))
            time_pages(f"{share:.0%}", given.pages)


def fill(file: Path, share: float, folder: Path) -> None:
    """Fill a Miles with a share of the file."""
    from miles import db  # keeps the embedded server alive between the commands

    db.ready()
    source = file if share >= 1 else sample_channels(file, share, folder / "share.parquet")
    for command in (["import", str(source)], ["score"]):
        begun = time.perf_counter()
        miles = [sys.executable, "-W", "ignore", "-m", "miles", *command]
        subprocess.run(miles, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        print(f"{share:>6.0%} {command[0]} took {time.perf_counter() - begun:.0f} s", flush=True)


def time_pages(share: str, names: list[str] | None) -> None:
    """Print a line for each page, and then one for each change of Trending."""
    from sqlalchemy import text

    from miles import db, niches

    db.ready()
    with db.transaction("viewer", settings.load().user) as connection:
        candidates = connection.scalar(text("SELECT count(*) FROM candidates WHERE viral_score IS NOT NULL"))
        if not niches.niches(connection, pinned=True):
            niches.save(connection, "The", "q=the&within=30+days")
    for page in sorted((PROJECT / "pages").glob("*.py")):
        if names and page.stem not in names:
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cold, renewed, warm = pool.apply(open_page, (page,))
        print(f"{share:>6} {candidates:>11,} {page.stem:<18} {cold:>7.2f} {renewed:>10.3f} {warm:>7.3f}", flush=True)
    if not names or "trending" in names:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            times = pool.apply(change_trending)
        print(f"{share:>6} {'a change of Trending':<48} {'asked ms':>9} {'warm ms':>8}")
        for name, (asked, warm) in times.items():
            print(f"{share:>6} {name:<48} {asked * 1e3:>9.0f} {warm * 1e3:>8.0f}")
        for name, pick in (("95th percentile", lambda of: statistics.quantiles(of, n=20)[-1]), ("worst", max)):
            print(f"{share:>6} {name:<48}", *(f"{pick(of) * 1e3:>8.0f}" for of in zip(*times.values(), strict=True)))
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


def changes() -> dict[str, dict[str, str | list[str]]]:
    """Addresses of Trending by what a reader did, made from what the data hold."""
    from sqlalchemy import text

    from miles import addresses, browse, db, similar

    with db.transaction("viewer") as connection:
        options = browse.options(connection)
        word = connection.scalar(
            text("SELECT substring(title, '[[:alpha:]]{4,}') FROM candidates WHERE language LIKE 'en%' LIMIT 1")
        )
        some = browse.page(connection, browse.Filters(), "views", 50).rows[-1]
        alike = None if similar.unavailable(connection) else some.candidate_id
        middle = addresses.place_text(browse.Place("after", some.views, some.candidate_id))
    filters: dict[str, dict[str, str | list[str]]] = {
        "a word": {"q": str(word)},
        "a phrase": {"q": '"how to"'},
        "the beginning of a word": {"q": "cook*"},
        "one word or another, not a third": {"q": "the OR a -official"},
        "all but a word": {"q": "-the"},
        "the greatest category": {"category": next(iter(options.categories))},
        "the smallest category": {"category": list(options.categories)[-1]},
        "a language": {"language": list(options.languages)[1]},
        "a format": {"format": "Short"},
        "two durations": {"duration": ["30–60 s", "1–3 min"]},
        "a channel's word": {"channel": "music"},
        "the last week": {"within": "7 days"},
        "the last day": {"within": "1 day"},
        "scores from 20": {"score": ["20", "100"]},
        "scores to 3": {"score": ["0", "3"]},
        "views from 1M": {"views": "1000000"},
        "3 times the usual": {"multiple": "3"},
        "100K views a day": {"velocity": "100000"},
        "four at once": {
            "q": str(word), "category": next(iter(options.categories)), "language": "en", "within": "90 days"
        },
        "what nobody has": {"q": "zzzzzz"},
    }  # fmt: skip
    asked: dict[str, dict[str, str | list[str]]] = {"nothing": {}, "as a table": {"view": "Table"}}
    for sort in addresses.SORTS.values():
        asked[sort] = {"sort": sort}
        asked[f"{sort}, the last page"] = {"sort": sort, "at": "last"}
    asked["By views, a page in the middle"] = {"sort": "By views", "at": middle}
    for name, address in filters.items():
        asked[name] = address
        asked[f"{name}, by measured velocity, the last page"] = {
            **address,
            "sort": "By measured velocity",
            "at": "last",
        }
    if alike:
        asked["similar titles"] = {"like": alike}
        asked["similar titles of the last month"] = {"like": alike, "within": "30 days"}
    return asked


def change_trending() -> dict[str, tuple[float, float]]:
    """Seconds that each change takes when its reads are asked anew, and when somebody asked the same before."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    times = {}
    first = AppTest.from_file(str(PROJECT / "Home.py"), default_timeout=120)
    first.switch_page("pages/trending.py").run()
    for name, address in changes().items():
        test = AppTest.from_file(str(PROJECT / "Home.py"), default_timeout=120)
        test.switch_page("pages/trending.py")
        for key, value in address.items():
            test.query_params[key] = value

        def run(test: AppTest = test, name: str = name) -> float:
            begun = time.perf_counter()
            test.run()
            seconds = time.perf_counter() - begun
            if test.exception or test.error:
                raise RuntimeError(f"{name}: {(*test.exception, *test.error)[0].value}")
            return seconds

        st.cache_data.clear()
        times[name] = (run(), statistics.median(run() for _ in range(RUNS)))
    return times


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
