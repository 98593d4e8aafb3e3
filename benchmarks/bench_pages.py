"""Server time of each page and of each change of its filters, at 1% and at all of a data set, and at ten times as much.

    python -m benchmarks.bench_pages videos.parquet [--sizes 0.01 1 10] [--rounds N] [--keep FOLDER]

For each size a fresh Miles is filled (see setup.py; beyond 1 each video is there several times: synthetic) and its dashboard
served in a process of its own. One visitor (visitor.py) comes over loopback, as a browser would:

    first     the page is opened as the first one ever of a new server: imports, connection, empty caches
    painted   warm: from the click to the first thing that the page draws
    warm      warm: from the click to the end of the script, all of it arrived
    change    a filter is set, or another view chosen, that nobody has asked for: its queries run

Prints median and 95th percentile; exits with 1 where a bar is missed (MOST_… below).
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks import clicks, setup
from benchmarks.visitor import Answer, Visitor

MOST_MS = 300.0  # 95th percentile of each page and of its changes, at all of the data
MOST_TIMES = 2.0  # as long at ten times the data
MOST_PAINTED_MS = 500.0
RUNS = 60  # warm runs of each page
SEED = 7

Times = dict[tuple[str, str], list[float]]  # (page, what) -> seconds
Note = Callable[[str, str, Answer], None]  # page, what, what came back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--sizes", type=float, nargs="+", default=[0.01, 1.0, 10.0],
        help="shares of the channels up to 1; beyond, copies of all (with --fraction, of that share)",
    )  # fmt: skip
    parser.add_argument("--fraction", type=float, default=1.0, help="take this share for all of the data (a trial)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each kind of change is made on each page")
    parser.add_argument("--keep", type=Path, help="a folder for what was filled, to be used again")
    given = parser.parse_args()
    p95: dict[float, dict[str, float]] = {}
    failed: list[str] = []
    for size in given.sizes:
        copies = max(round(size), 1)
        name = f"{size:.0%} of the data" if copies == 1 else f"synthetic, {copies} times the data"
        print(f"## {name}", flush=True)
        begun = time.perf_counter()
        with setup.filled(given.file, min(size, 1.0) * given.fraction, copies, given.keep) as home:
            print(f"filled in {time.perf_counter() - begun:.0f} s", flush=True)
            known = _words()
            times, errors, memory = _measure(home, known, given.rounds)
        p95[size] = _report(times, memory)
        failed += [f"{name}: {one} ({number} times)" for one, number in Counter(errors).items()]
        if size == 1:
            failed += _missed(times)
    for page, slow in p95.get(10.0, {}).items():
        usual = max(p95.get(1.0, {}).get(page, slow), 1.0)
        print(f"ten times the data, {page}: {slow / usual:.2f} times as long (at most {MOST_TIMES:.0f})")
        if slow > MOST_TIMES * usual:
            failed.append(f"{page}: {slow / usual:.2f} times as long at ten times the data")
    print("\n".join(["Missed:", *failed]) if failed else "All bars are met, no error.")
    sys.exit(bool(failed))


def _words() -> clicks.Words:
    from miles import db

    with db.transaction("viewer") as connection:
        return clicks.words(connection)


def _measure(home: Path, known: clicks.Words, rounds: int) -> tuple[Times, list[str], float]:
    times: Times = defaultdict(list)
    errors: list[str] = []

    def note(page: str, what: str, answer: Answer) -> None:
        times[page, what].append(answer.finished)
        if what == "warm":
            times[page, "painted"].append(answer.painted)
        errors.extend(answer.errors)

    with setup.serving(home) as dashboard:
        pages = asyncio.run(_pages(dashboard.address))
    for path in pages:
        print(f"  first: {clicks.page_name(path)}", flush=True)
        with setup.serving(home) as dashboard:
            note(clicks.page_name(path), "first", asyncio.run(_once(dashboard.address, path)))
    with setup.serving(home) as dashboard:
        asyncio.run(_visit(dashboard.address, known, rounds, note, errors))
        memory = dashboard.memory()
    return times, errors, memory


async def _pages(address: str) -> list[str]:
    async with Visitor(address) as visitor:
        await visitor.open()
        return visitor.pages


async def _once(address: str, path: str) -> Answer:
    async with Visitor(address) as visitor:
        return await visitor.open(path)


async def _visit(address: str, known: clicks.Words, rounds: int, note: Note, errors: list[str]) -> None:
    async with Visitor(address) as visitor:

        async def fresh(path: str) -> bool:
            """Open the page as a new visitor does, untimed; whether there is something to measure."""
            answer = await visitor.open(path)
            errors.extend(answer.errors)
            return not answer.errors

        await fresh("")
        sound = [path for path in visitor.pages if await fresh(path)]
        print("  warm", flush=True)
        for _ in range(RUNS):  # page after page, so that what else the machine does weighs on all
            for path in sound:
                note(clicks.page_name(path), "warm", await visitor.go(path))
        for path in sound:
            page = clicks.page_name(path)
            if not await fresh(path):
                continue
            for click in clicks.views(visitor) * 2:
                if all(visitor.has(key) for key in click.values):
                    note(page, click.kind, await visitor.choose(**click.values))
        for path in clicks.FILTERED:
            page = clicks.page_name(path)
            changes = clicks.filters(known, random.Random(SEED))
            for number in range(clicks.ROUND * rounds):
                click = next(changes)
                if number % clicks.ROUND == 0:
                    print(f"  {page}: round {number // clicks.ROUND + 1} of {rounds}", flush=True)
                if await fresh(path):
                    note(page, click.kind, await visitor.choose(**click.values))
        await _turn(visitor, rounds, note)


async def _turn(visitor: Visitor, rounds: int, note: Note) -> None:
    """Trending's pages, one after the other and the last; one video's details, and those like it."""
    for _ in range(rounds):
        await visitor.open("trending")
        for name in ("next", "next", "last", "previous"):
            if visitor.can_press(f"page-{name}"):
                note("Trending", f"{name} page", await visitor.press(f"page-{name}"))
        opening = visitor.keys("open-trending-")[:3]
        for key in opening:
            note("Trending", "details", await visitor.press(key))
        for key in opening:
            video = key.removeprefix("open-trending-")
            note("Trending", "like this video", await visitor.open(f"trending?like={video}"))


def _report(times: Times, memory: float) -> dict[str, float]:
    """Print a line for each page and one for each of its changes; returns the pages' 95th percentiles in ms."""
    print(f"{'page':<16} {'first':>7} {'painted p50':>12} {'p95':>6} {'warm p50':>9} {'p95':>6} {'change p50':>11} {'p95':>6} {'max ms':>7}")  # fmt: skip
    found: dict[str, float] = {}
    for page in dict.fromkeys(page for page, _ in times):
        first, painted, warm = (setup.spread(times[page, what]) for what in ("first", "painted", "warm"))
        changes = setup.spread(_changes(times, page))
        found[page] = max(warm[1], changes[1] if changes[1] == changes[1] else 0.0)
        print(
            f"{page:<16} {first[0]:>7.0f} {painted[0]:>12.0f} {painted[1]:>6.0f} {warm[0]:>9.0f} {warm[1]:>6.0f}"
            f" {changes[0]:>11.0f} {changes[1]:>6.0f} {changes[2]:>7.0f}"
        )
    for (page, what), seconds in sorted(times.items()):
        if what not in ("first", "painted", "warm"):
            middle, high, top = setup.spread(seconds)
            print(f"  {page:<16} {what:<34} {middle:>6.0f} {high:>6.0f} {top:>6.0f}  of {len(seconds)}")
    print(f"memory of the dashboard at the end: {memory:,.0f} MB", flush=True)
    return found


def _changes(times: Times, page: str) -> list[float]:
    return [
        one
        for (of, what), seconds in times.items()
        if of == page and what not in ("first", "painted", "warm")
        for one in seconds
    ]


def _missed(times: Times) -> list[str]:
    missed = []
    for page in dict.fromkeys(page for page, _ in times):
        for what, most, seconds in (
            ("painted", MOST_PAINTED_MS, times[page, "painted"]),
            ("warm", MOST_MS, times[page, "warm"]),
            ("change", MOST_MS, _changes(times, page)),
        ):
            if seconds and (slow := setup.spread(seconds)[1]) > most:
                missed.append(f"{page}, {what}: {slow:.0f} ms (at most {most:.0f})")
    return missed


if __name__ == "__main__":
    main()
