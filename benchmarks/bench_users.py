"""Twenty people who use one dashboard at once, each with five seconds between clicks.

    python -m benchmarks.bench_users videos.parquet [--users 20] [--minutes 2] [--fraction 1] [--keep FOLDER]

A fresh Miles is filled with the data (see setup.py) and its dashboard served in a process of its own. Somebody has opened
each page once; with --cold nobody has, and all twenty come within five seconds of its start. The visitors (visitor.py) come over loopback: they change pages, set filters that hardly anyone has asked for,
choose views, turn pages and open details; each waits for the answer, looks at it for five seconds and clicks
again. Timers of a page that refreshes itself run as in a browser. The visitors share the processors with the dashboard and
the database.

Prints for each page the number of clicks, median, 95th percentile and greatest time from the click to the end of the
script, errors, and what the dashboard held at most (resident, sampled each second). Exits with 1 where a bar is missed.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import clicks, setup
from benchmarks.visitor import Answer, Visitor

PAUSE = 5.0  # seconds between an answer and the next click
MOST_MS = 1500.0
MOST_MB = 1000.0
# How often people do what. Who is on a page that has no filters goes to another one instead.
WEIGHTS = {"go": 25, "filter": 40, "view": 15, "turn": 12, "details": 8}
PLACES = {"": 3, "trending": 6, "scores": 3, "title_patterns": 4}  # all others: 1


@dataclass(slots=True)
class Seen:
    """What all visitors saw together."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by page
    by_kind: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    painted: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    by_themselves: int = 0

    def note(self, path: str, kind: str, answer: Answer) -> None:
        self.seconds[clicks.page_name(path)].append(answer.finished)
        self.by_kind[kind].append(answer.finished)
        self.painted.append(answer.painted)
        self.errors += answer.errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--cold", action="store_true", help="all come to a dashboard that has just started")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the channels (a trial)")
    parser.add_argument("--keep", type=Path, help="a folder for what was filled, to be used again")
    given = parser.parse_args()
    with setup.filled(given.file, given.fraction, keep=given.keep) as home:
        from miles import db

        with db.transaction("viewer") as connection:
            known = clicks.words(connection)
        with setup.serving(home) as dashboard:
            if not given.cold:
                asyncio.run(_warm(dashboard.address))
            seen, memory = asyncio.run(_crowd(dashboard, known, given.users, given.minutes * 60))
            log = dashboard.log.read_text("utf-8", "replace")
    everything = [one for seconds in seen.seconds.values() for one in seconds]
    print(f"{given.users} users, {len(everything)} clicks in {given.minutes:g} minutes")
    print(f"{'page':<20} {'clicks':>7} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}")
    for name, seconds in (*seen.seconds.items(), ("all pages", everything)):
        middle, high, top = setup.spread(seconds)
        print(f"{name:<20} {len(seconds):>7} {middle:>8.0f} {high:>8.0f} {top:>8.0f}")
    for name, seconds in sorted(seen.by_kind.items()):
        middle, high, top = setup.spread(seconds)
        print(f"  {name:<18} {len(seconds):>7} {middle:>8.0f} {high:>8.0f} {top:>8.0f}")
    painted = setup.spread(seen.painted)
    print(
        f"first paint: median {painted[0]:.0f}, p95 {painted[1]:.0f} ms; fragments by themselves: {seen.by_themselves}"
    )
    print(
        f"memory of the dashboard: {max(memory):,.0f} MB at most (below {MOST_MB:,.0f}), {memory[-1]:,.0f} MB at the end"
    )
    print(f"errors: {len(seen.errors)} (0)", *sorted(set(seen.errors))[:10], sep="\n  ")
    if "Traceback" in log:
        print(f"The log holds a traceback:\n{log[-3000:]}")
    slow = setup.spread(everything)[1]
    print(f"95th percentile {slow:.0f} ms (at most {MOST_MS:.0f})")
    sys.exit(bool(seen.errors or slow > MOST_MS or max(memory) >= MOST_MB or "Traceback" in log))


async def _warm(address: str) -> None:
    async with Visitor(address) as visitor:
        await visitor.open()
        for path in visitor.pages:
            await visitor.open(path)


async def _crowd(
    dashboard: setup.Dashboard, known: clicks.Words, users: int, seconds: float
) -> tuple[Seen, list[float]]:
    seen, memory = Seen(), [dashboard.memory()]
    until = time.monotonic() + seconds

    async def watch() -> None:
        while True:
            await asyncio.sleep(1)
            memory.append(dashboard.memory())
            if len(memory) % 30 == 0:
                clicked = sum(map(len, seen.seconds.values()))
                print(f"  {clicked} clicks, {len(seen.errors)} errors, {memory[-1]:,.0f} MB", flush=True)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(_person(dashboard.address, known, number, users, until, seen) for number in range(users)))
    watching.cancel()
    return seen, memory


async def _person(address: str, known: clicks.Words, number: int, users: int, until: float, seen: Seen) -> None:
    dice = random.Random(number)
    changes = clicks.filters(known, dice)
    for _ in range(dice.randrange(15)):
        next(changes)  # everyone begins with another filter
    await asyncio.sleep(PAUSE * number / users)
    async with Visitor(address) as visitor:
        path = dice.choices(list(PLACES), list(PLACES.values()))[0]
        seen.note(path, "arrive", await visitor.open(path))
        while True:
            await asyncio.sleep(PAUSE)
            if time.monotonic() >= until:
                break
            kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            try:
                answer = await _click(visitor, path, kind, next(changes), dice)
            except LookupError as error:  # the page lacks what stood on it: it has shown an error
                seen.errors.append(str(error))
                answer = None
            if answer is None:
                kind = "go"
                path = dice.choices(visitor.pages, [PLACES.get(one, 1) for one in visitor.pages])[0]
                answer = await visitor.go(path)
            seen.note(path, kind, answer)
        seen.by_themselves += visitor.by_themselves
        seen.errors += visitor.errors


async def _click(visitor: Visitor, path: str, kind: str, change: clicks.Click, dice: random.Random) -> Answer | None:
    """What came back; None where the page has nothing of the kind."""
    if kind == "filter" and path in clicks.FILTERED:
        return await visitor.choose(**change.values)
    if kind == "view" and (views := clicks.views(visitor)):
        return await visitor.choose(**dice.choice(views).values)
    turns = [key for key in ("page-next", "page-last", "page-previous", "page-first") if visitor.can_press(key)]
    if kind == "turn" and turns:
        return await visitor.press(dice.choice(turns))
    if kind == "details" and (videos := visitor.keys("open-")):
        return await visitor.press(dice.choice(videos))
    return None


if __name__ == "__main__":
    main()
