"""The same three questions to Miles, to Datasette and to a plain pandas page, over the same file in the same run.

    pip install -r benchmarks/requirements-peers.txt
    python -m benchmarks.bench_peers videos.parquet [--rounds 12] [--fraction 1] [--keep FOLDER]

    fastest       the 24 fastest videos whose title has a phrase or the beginning of a word
    distribution  how velocity (in Miles: score) is spread by category and by duration
    words         which title words go with more views than the channel usually gets

each of a part (a category's last 30 days; for words 90) and of a year of all categories.

Each has a server in a process of its own on loopback, and gets each question in turn with the same values, so that what
else the machine does weighs on all. "First" is a question that was not asked before, "again" the same once more.

    Miles      the functions behind the pages Trending, Scores and Title patterns in a process of their own, nothing
               remembered but the columns in memory ("answer"); and those pages, from the click to the end of the
               script, with pictures, sparklines and charts (visitor.py)
    Datasette  SQLite with indexes and a full-text index, one row for each video, velocity and multiple worked out
               while loading, a table of title words; ANALYZE; asked over HTTP for JSON and for the HTML page
    pandas     benchmarks/peers/pandas_page.py, one frame behind st.cache_data; the same visitor as Miles

An answer is held against an answer (Datasette's JSON) and a Streamlit page against a Streamlit page (pandas'): there
Miles must be ahead. The page of Datasette, a bare table of what was asked for, stands beside them: to draw twenty-four
cards or a chart with Streamlit takes longer than to write such a table, whatever answers. Datasette and pandas are asked
for less: means, no intervals, no control for the channel beyond the multiple, no correction for many questions, no
pictures. Their answers come by HTTP, Miles' do not: how long Datasette takes to say nothing is printed, and so is the time
to load. The last table is for the README.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import clicks, setup
from benchmarks.visitor import Value, Visitor

PEERS = Path(__file__).resolve().parent / "peers"
PANDAS_PAGE, BARE_PAGE = str(PEERS / "pandas_page.py"), str(PEERS / "bare_page.py")
QUESTIONS = ("fastest", "distribution", "words")
SCOPES = ("part", "year")
SEED = 11
DAY = 86_400  # seconds
SQL_LIMIT = 60_000  # ms that Datasette gives a query; its own default is 1,000
SQL = {
    "fastest": """
        SELECT videos.video_id, videos.title, channel_title, views, velocity, multiple
        FROM videos JOIN titles ON titles.rowid = videos.rowid
        WHERE titles MATCH :q AND {scope}
        ORDER BY velocity DESC LIMIT 24
    """,
    "distribution": """
        SELECT category_name, band, bin, count(*) AS n, avg(velocity) AS mean
        FROM videos WHERE velocity > 0 AND {scope}
        GROUP BY 1, 2, 3
    """,
    "words": """
        SELECT word, count(*) AS n, avg(log_multiple) - (
            SELECT avg(log_multiple) FROM videos WHERE {scope}
        ) AS lift
        FROM videos JOIN words ON words.video = videos.rowid
        WHERE {scope}
        GROUP BY word HAVING count(*) >= 20 ORDER BY lift DESC LIMIT 50
    """,
}
SQL_SCOPE = {"part": "category_name = :category AND published_at >= :since", "year": "published_at >= :since"}


@dataclass(frozen=True, slots=True)
class Question:
    """One question, with the values that all are asked it with."""

    name: str
    scope: str
    category: str  # "" in the scope of a year
    days: int  # before the newest look
    since: int  # the same as a moment, in seconds since 1970
    search: str  # phrase in quotation marks, or a beginning with a *; "" where the question has none


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
            nothing = statistics.median(_fetched(f"{address}/-/versions.json") for _ in range(50))
            print(f"Datasette says nothing in {nothing * 1e3:.1f} ms")
        with setup.serving(home, BARE_PAGE) as bare:
            print(f"Streamlit shows nothing but a word in {asyncio.run(_bare(bare)) * 1e3:.1f} ms")
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


def ask_datasette(address: str, form: str, asked: Question) -> float:
    """Seconds that the answer takes."""
    sql = SQL[asked.name].replace("{scope}", SQL_SCOPE[asked.scope])
    query = urllib.parse.urlencode({"sql": sql, "q": asked.search, "category": asked.category, "since": asked.since})
    return _fetched(f"{address}/peers{form}?{query}")


def _fetched(address: str) -> float:
    begun = time.perf_counter()
    with urllib.request.urlopen(address, timeout=120) as answer:  # noqa: S310  # our own
        answer.read()
    return time.perf_counter() - begun


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
        filters = browse.Filters(
            text=wanted.search,
            categories=(wanted.category,) if wanted.category else (),
            published_from=datetime.fromtimestamp(wanted.since, UTC).date(),
        )
        begun = time.perf_counter()
        if wanted.name == "fastest":
            with db.transaction("viewer") as connection:
                chosen = selection.passing(connection, known, filters)
                selection.page(connection, known, chosen, "velocity", 24)
        else:
            chosen, rest = selection.by_columns(known, filters)
            assert not rest.active  # nothing is left to ask the database for
        if wanted.name == "distribution":
            distributions.spread(known, chosen)
            for part in ("category", "duration"):
                distributions.by_part(known, chosen, part, 30, 12)  # type: ignore[arg-type]
        elif wanted.name == "words":
            patterns.associations(known.corpus, "ngram", chosen, most_titles=patterns.MOST_TITLES)
        asked.send(time.perf_counter() - begun)


async def _answer(asked: Connection, question: Question) -> tuple[float, list[str]]:
    asked.send(question)
    return await asyncio.to_thread(asked.recv), []


# --- the race ---------------------------------------------------------------------------------------

Times = dict[tuple[str, str, str, str], list[float]]  # (question, scope, who, first or again) -> seconds


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
        for number in range(-1, rounds):
            print(f"  round {number + 1} of {rounds}", flush=True)
            for asked in _questions(known, dice, number, newest):
                sides: list[tuple[str, Callable[[], Awaitable[tuple[float, list[str]]]]]] = [
                    ("Miles answer", partial(_answer, answer, asked)),
                    ("Miles page", partial(_miles, ours, asked)),
                    ("pandas page", partial(_pandas, theirs, asked)),
                    ("Datasette JSON", partial(_datasette, address, ".json", asked)),
                    ("Datasette page", partial(_datasette, address, "", asked)),
                ]
                for turn in ("first", "again"):
                    dice.shuffle(sides)
                    for who, ask in sides:
                        seconds, wrong = await ask()
                        errors += [f"{who}, {asked.name}: {one}" for one in wrong]
                        if number >= 0:  # the round before the first is for all to get up
                            times[asked.name, asked.scope, who, turn].append(seconds)
    return times, errors, {"Miles": miles.memory(), "pandas": pandas.memory()}


async def _bare(bare: setup.Dashboard) -> float:
    times = []
    async with Visitor(bare.address) as visitor:
        await visitor.open()
        for number in range(20):
            times.append((await visitor.choose(q=f"word {number}")).finished)
            await asyncio.sleep(0.2)  # else TCP's late acknowledgements, 40 ms, would be all that is measured
    return statistics.median(times)


def _questions(known: clicks.Words, dice: random.Random, number: int, newest: int) -> Iterator[Question]:
    """Each question in each scope, with values that were not asked before."""
    for name in QUESTIONS:
        search = _search(known, dice, phrase=number % 2 == 0) if name == "fastest" else ""
        category = known.categories[number % len(known.categories)]
        for scope, among, days in (("part", category, 90 if name == "words" else 30), ("year", "", 364 - number)):
            since = (newest // DAY - days) * DAY
            yield Question(name, scope, among, days, since, search)


def _search(known: clicks.Words, dice: random.Random, *, phrase: bool) -> str:
    while True:
        title = [word for word in dice.choice(known.titles).lower().split() if word.isalpha() and word.isascii()]
        if len(title) > 1:
            at = dice.randrange(len(title) - 1)
            return f'"{title[at]} {title[at + 1]}"' if phrase else f"{title[at][:4]}*"


async def _datasette(address: str, form: str, asked: Question) -> tuple[float, list[str]]:
    return await asyncio.to_thread(ask_datasette, address, form, asked), []


async def _pandas(visitor: Visitor, asked: Question) -> tuple[float, list[str]]:
    values: dict[str, Value] = {
        "show": [asked.name.capitalize()],
        "category": asked.category or "All",
        "days": asked.days,
        "q": asked.search,
    }
    answer = await visitor.choose(**values)
    return answer.finished, answer.errors


async def _miles(visitor: Visitor, asked: Question) -> tuple[float, list[str]]:
    """The page is there already; what is timed is the change of its filters."""
    page = dict(zip(QUESTIONS, clicks.FILTERED, strict=True))[asked.name]
    since = datetime.fromtimestamp(asked.since, UTC)
    values: dict[str, Value] = {"category": [asked.category] if asked.category else []}
    values |= {"published": [f"{day:%Y/%m/%d}" for day in (since, since + timedelta(days=asked.days))]}
    if asked.name == "fastest":
        values |= {"q": asked.search, "sort": "By measured velocity"}
    await visitor.open(page)
    if asked.name == "words":
        values |= {"kind": [visitor.options("kind")[-1]]}
    answer = await visitor.choose(**values)
    return answer.finished, answer.errors


ALIKE = (("Miles answer", "Datasette JSON"), ("Miles page", "pandas page"))  # where Miles must be ahead
PAIRS = (*ALIKE, ("Miles page", "Datasette page"))


def _report(times: Times, memory: dict[str, float]) -> list[str]:
    """Print the table; returns where Miles is not ahead."""
    slower = []
    sides = ("Miles answer", "Datasette JSON", "Miles page", "Datasette page", "pandas page")
    print("\nMedian (95th percentile) in ms; × as long as Miles' answer or page:\n")
    print("| question | of | | " + " | ".join(sides) + " |")
    print("|---" * (len(sides) + 3) + "|")
    for question, scope, turn in itertools.product(QUESTIONS, SCOPES, ("first", "again")):
        found = {who: setup.spread(times[question, scope, who, turn]) for who in sides}
        ratios = {theirs: found[theirs][0] / found[ours][0] for ours, theirs in PAIRS}
        cells = [
            f"{found[who][0]:.0f} ({found[who][1]:.0f})" + (f", {ratios[who]:.1f} ×" if who in ratios else "")
            for who in sides
        ]
        print(f"| {question} | {scope} | {turn} | " + " | ".join(cells) + " |")
        slower += [
            f"{question} of a {scope}, {turn}: {ours} {found[ours][0]:.0f} ms, {theirs} {found[theirs][0]:.0f} ms"
            for ours, theirs in ALIKE
            if ratios[theirs] <= 1
        ]
    print(f"\nMemory at the end: Miles {memory['Miles']:,.0f} MB, pandas {memory['pandas']:,.0f} MB")
    return slower


if __name__ == "__main__":
    main()
