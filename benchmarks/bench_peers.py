"""The same three questions to Miles, to Datasette and to a plain pandas page, over the same file in the same run.

    pip install -r benchmarks/requirements-peers.txt
    python -m benchmarks.bench_peers videos.parquet [--rounds 12] [--fraction 1] [--keep FOLDER]

    fastest       the 24 fastest videos of a category in the last 30 days, whose title has a phrase or the
                  beginning of a word
    distribution  how velocity (in Miles: score) is spread by category and by duration, of a category's or all videos
                  of 30 days
    words         which title words go with more views than the channel usually gets, in a category's last 90 days

Each has a server in a process of its own on loopback, and gets each question in turn with the same values, so that what
else the machine does weighs on all. "First" is a question that was not asked before, "again" the same once more.

    Miles      the functions behind the pages Trending, Scores and Title patterns in a process of their own, nothing
               remembered but the columns in memory ("answer"); and those pages, from the click to the end of the
               script (visitor.py)
    Datasette  SQLite with indexes and a full-text index, one row for each video, velocity and multiple worked out
               while loading, a table of title words; ANALYZE; asked over HTTP for JSON and for the HTML page
    pandas     benchmarks/peers/pandas_page.py, one frame behind st.cache_data; the same visitor as Miles

An answer is compared with an answer (Datasette's JSON), a page with a page. Datasette and pandas are asked for less: medians and means, no intervals, no control for the channel beyond the
multiple, no correction for many questions. The time to load is printed too. The last table is for the README.
"""

import argparse
import asyncio
import multiprocessing
import random
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import clicks, setup
from benchmarks.visitor import Value, Visitor

PANDAS_PAGE = str(Path(__file__).resolve().parent / "peers" / "pandas_page.py")
QUESTIONS = ("fastest", "distribution", "words")
SEED = 11
SQL_LIMIT = 60_000  # ms that Datasette gives a query; its own default is 1,000
SQL = {
    "fastest": """
        SELECT videos.video_id, videos.title, channel_title, views, velocity, multiple
        FROM videos JOIN titles ON titles.rowid = videos.rowid
        WHERE titles MATCH :q AND category_name = :category AND published_at >= :since
        ORDER BY velocity DESC LIMIT 24
    """,
    "distribution": """
        SELECT category_name, band, bin, count(*) AS n, avg(velocity) AS mean
        FROM videos WHERE published_at >= :since AND velocity > 0 AND (:category = '' OR category_name = :category)
        GROUP BY 1, 2, 3
    """,
    "words": """
        SELECT word, count(*) AS n, avg(log_multiple) - (
            SELECT avg(log_multiple) FROM videos WHERE category_name = :category AND published_at >= :since
        ) AS lift
        FROM videos JOIN words ON words.video = videos.rowid
        WHERE category_name = :category AND published_at >= :since
        GROUP BY word HAVING count(*) >= 20 ORDER BY lift DESC LIMIT 50
    """,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the channels (a trial)")
    parser.add_argument("--keep", type=Path, help="a folder for what was filled, to be used again")
    given = parser.parse_args()
    begun = time.perf_counter()
    with setup.filled(given.file, given.fraction, keep=given.keep) as home:
        print(f"Miles filled in {time.perf_counter() - begun:.0f} s", flush=True)
        file = (
            given.file.resolve()
            if given.fraction >= 1
            else setup.part(given.file, given.fraction, home / "peers.parquet")
        )
        begun = time.perf_counter()
        newest = setup.in_a_process(load_sqlite, file, home / "peers.db")
        print(f"SQLite loaded in {time.perf_counter() - begun:.0f} s", flush=True)
        from miles import db

        with db.transaction("viewer") as connection:
            known = clicks.words(connection)
        with (
            setup.serving(home) as miles,
            setup.serving(home, PANDAS_PAGE, str(file)) as pandas,
            datasette(home) as address,
            answering() as answer,
        ):
            times, errors, memory = asyncio.run(_race(miles, pandas, address, answer, known, newest, given.rounds))
        for name in ("peers.parquet", "peers.db"):
            (home / name).unlink(missing_ok=True)
    slower = _report(times, memory)
    print("\n".join(["Missed:", *errors, *slower]) if errors or slower else "Miles is ahead on each.")
    sys.exit(bool(errors or slower))


# --- Datasette --------------------------------------------------------------------------------------


def load_sqlite(file: Path, target: Path) -> int:
    """Make the database that an analyst would; returns the moment of the newest look, in seconds since 1970."""
    import numpy as np

    from benchmarks.peers.frame import videos_of

    videos = videos_of(str(file))
    videos["log_multiple"] = np.log(videos["multiple"].clip(lower=1e-3))
    videos["bin"] = np.floor(np.log10(videos["velocity"].clip(lower=1)) * 5) / 5
    videos["band"] = videos["band"].astype("str")
    for name in ("fetched_at", "published_at"):
        videos[name] = videos[name].astype("datetime64[s, UTC]").astype("int64")
    target.unlink(missing_ok=True)
    connection = sqlite3.connect(target)
    videos.to_sql("videos", connection, index=False)
    words = videos["title"].fillna("").str.lower().str.findall(r"\w{3,}").map(set)
    connection.execute("CREATE TABLE words (word TEXT, video INTEGER)")
    rows = ((word, at) for at, several in enumerate(words, start=1) for word in several)
    connection.executemany("INSERT INTO words VALUES (?, ?)", rows)
    connection.executescript("""
        CREATE VIRTUAL TABLE titles USING fts5 (title, content='videos', prefix='3 4');
        INSERT INTO titles (titles) VALUES ('rebuild');
        CREATE UNIQUE INDEX videos_id ON videos (video_id);
        CREATE INDEX videos_velocity ON videos (velocity);
        CREATE INDEX videos_category ON videos (category_name, published_at, velocity, band, bin, log_multiple);
        CREATE INDEX videos_published ON videos (published_at, velocity, category_name, band, bin);
        CREATE INDEX words_video ON words (video, word);
        ANALYZE;
        VACUUM;
    """)
    connection.close()
    return int(videos["fetched_at"].max())


@contextmanager
def datasette(home: Path) -> Iterator[str]:
    """Datasette on that database."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    log = home / "datasette.log"
    command = [sys.executable, "-m", "datasette", "serve", "--immutable", str(home / "peers.db"), "--port", str(port)]
    command += ["--setting", "sql_time_limit_ms", str(SQL_LIMIT), "--setting", "max_returned_rows", "10000"]
    command += ["--setting", "facet_time_limit_ms", str(SQL_LIMIT)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            setup.wait_for(f"http://127.0.0.1:{port}/-/versions.json", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def ask_datasette(address: str, question: str, form: str, given: dict[str, Any]) -> tuple[float, int]:
    """Seconds, and bytes of the answer."""
    query = urllib.parse.urlencode({"sql": SQL[question], **given})
    begun = time.perf_counter()
    with urllib.request.urlopen(f"{address}/peers{form}?{query}", timeout=120) as answer:  # noqa: S310  # our own
        size = len(answer.read())
    return time.perf_counter() - begun, size


# --- Miles' functions -------------------------------------------------------------------------------


@contextmanager
def answering() -> Iterator[Connection]:
    """A process that answers with Miles' functions, and says how long each took."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_answers, args=(there,), daemon=True)
    process.start()
    try:
        here.recv()  # it has read its columns
        yield here
    finally:
        here.send(None)
        process.join(30)


def _answers(asked: Connection) -> None:
    from miles import browse, db, distributions, facts, patterns, selection

    db.ready()
    with db.transaction("viewer") as connection:
        known = facts.load(connection)
    asked.send("ready")
    while (wanted := asked.recv()) is not None:
        question, category, search, since = wanted
        filters = browse.Filters(
            text=search if question == "fastest" else "",
            categories=(category,),
            published_from=datetime.fromtimestamp(since, UTC).date(),
        )
        begun = time.perf_counter()
        with db.transaction("viewer") as connection:
            if question == "fastest":
                browse.page(connection, filters, "velocity", 24)
            else:
                chosen = selection.passing(connection, known, filters)
        if question == "distribution":
            distributions.spread(known, chosen)
            for part in ("category", "duration"):
                distributions.by_part(known, chosen, part, 30, 12)  # type: ignore[arg-type]
        elif question == "words":
            patterns.associations(known.corpus, "ngram", chosen)
        asked.send(time.perf_counter() - begun)


async def _answer(asked: Connection, question: str, category: str, search: str, newest: int) -> tuple[float, list[str]]:
    asked.send((question, category, search, _values(question, category, search, newest)["since"]))
    return await asyncio.to_thread(asked.recv), []


# --- the race ---------------------------------------------------------------------------------------

Times = dict[tuple[str, str, str], list[float]]  # (question, who, first or again) -> seconds


async def _race(
    miles: setup.Dashboard,
    pandas: setup.Dashboard,
    address: str,
    answer: Connection,
    known: clicks.Words,
    newest: int,
    rounds: int,
) -> tuple[Times, list[str], dict[str, float]]:
    times: Times = defaultdict(list)
    errors: list[str] = []
    dice = random.Random(SEED)
    async with Visitor(miles.address) as ours, Visitor(pandas.address) as theirs:
        begun = time.perf_counter()
        errors += (await theirs.open()).errors
        print(f"pandas page loaded in {time.perf_counter() - begun:.0f} s", flush=True)
        for path in clicks.FILTERED:  # all have been up for a while
            await ours.open(path)
        for question in QUESTIONS:
            ask_datasette(address, question, ".json", _values(question, "Music", '"the"', newest))
        for number in range(rounds):
            print(f"  round {number + 1} of {rounds}", flush=True)
            for question in QUESTIONS:
                category = known.categories[number % len(known.categories)]
                search = _search(known, dice, phrase=number % 2 == 0)
                sides: list[tuple[str, Callable[[], Awaitable[tuple[float, list[str]]]]]] = [
                    ("Miles answer", partial(_answer, answer, question, category, search, newest)),
                    ("Miles page", partial(_miles, ours, question, category, search)),
                    ("pandas page", partial(_pandas, theirs, question, category, search)),
                    *(
                        (f"Datasette {name}", partial(_datasette, address, question, form, category, search, newest))
                        for name, form in (("JSON", ".json"), ("page", ""))
                    ),
                ]
                for turn in ("first", "again"):
                    dice.shuffle(sides)
                    for who, ask in sides:
                        seconds, wrong = await ask()
                        times[question, who, turn].append(seconds)
                        errors += [f"{who}, {question}: {one}" for one in wrong]
    return times, errors, {"Miles": miles.memory(), "pandas": pandas.memory()}


def _search(known: clicks.Words, dice: random.Random, *, phrase: bool) -> str:
    while True:
        title = [word for word in dice.choice(known.titles).lower().split() if word.isalpha() and word.isascii()]
        if len(title) > 1:
            at = dice.randrange(len(title) - 1)
            return f'"{title[at]} {title[at + 1]}"' if phrase else f"{title[at][:4]}*"


def _values(question: str, category: str, search: str, newest: int) -> dict[str, Any]:
    days = 90 if question == "words" else 30
    return {"q": search, "category": category, "since": newest - days * 86_400}


async def _datasette(
    address: str, question: str, form: str, category: str, search: str, newest: int
) -> tuple[float, list[str]]:
    given = _values(question, category, search, newest)
    seconds, _ = await asyncio.to_thread(ask_datasette, address, question, form, given)
    return seconds, []


async def _pandas(visitor: Visitor, question: str, category: str, search: str) -> tuple[float, list[str]]:
    values: dict[str, Value] = {
        "show": [question.capitalize()],
        "category": category,
        "days": 90 if question == "words" else 30,
        "q": search if question == "fastest" else "",
    }
    answer = await visitor.choose(**values)
    return answer.finished, answer.errors


async def _miles(visitor: Visitor, question: str, category: str, search: str) -> tuple[float, list[str]]:
    """The page is there already; what is timed is the change of its filters."""
    page = dict(zip(QUESTIONS, clicks.FILTERED, strict=True))[question]
    values: dict[str, Value] = {"category": [category], "within": ["90 days" if question == "words" else "30 days"]}
    if question == "fastest":
        values |= {"q": search, "sort": "By measured velocity"}
    if question == "words":
        kinds = visitor.options("kind") if visitor.has("kind") else ()
        values |= {"kind": [kinds[-1]]} if kinds else {}
    await visitor.open(page)
    if question == "words" and "kind" not in values:
        values |= {"kind": [visitor.options("kind")[-1]]}
    answer = await visitor.choose(**values)
    return answer.finished, answer.errors


PAIRS = (("Miles answer", "Datasette JSON"), ("Miles page", "Datasette page"), ("Miles page", "pandas page"))


def _report(times: Times, memory: dict[str, float]) -> list[str]:
    """Print the table; returns where Miles is not ahead."""
    slower = []
    sides = ("Miles answer", "Datasette JSON", "Miles page", "Datasette page", "pandas page")
    print("\nMedian (95th percentile) in ms; × as long as Miles' answer or page:\n")
    print("| question | | " + " | ".join(sides) + " |")
    print("|---" * (len(sides) + 2) + "|")
    for question in QUESTIONS:
        for turn in ("first", "again"):
            found = {who: setup.spread(times[question, who, turn]) for who in sides}
            ratios = {theirs: found[theirs][0] / found[ours][0] for ours, theirs in PAIRS}
            cells = [
                f"{found[who][0]:.0f} ({found[who][1]:.0f})" + (f", {ratios[who]:.1f} ×" if who in ratios else "")
                for who in sides
            ]
            print(f"| {question} | {turn} | " + " | ".join(cells) + " |")
            slower += [
                f"{question}, {turn}: {ours} {found[ours][0]:.0f} ms, {theirs} {found[theirs][0]:.0f} ms"
                for ours, theirs in PAIRS
                if ratios[theirs] <= 1
            ]
    print(f"\nMemory at the end: Miles {memory['Miles']:,.0f} MB, pandas {memory['pandas']:,.0f} MB")
    return slower


if __name__ == "__main__":
    main()
