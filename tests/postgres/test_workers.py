"""Several processes that collect from one web site: what it sees of them all together, and what is left when they die."""

import random
import time
from collections.abc import Iterator

import pytest
from everything import contents, differences
from loopback import Site, eventually
from sqlalchemy import text
from tables import rows
from workers import Workers, check_pace

from miles import collecting, db, pacing, settings

pytestmark = pytest.mark.usefixtures("database")

KILLS = 20
EACH = 4  # kills of one collection, before it may go on to its end


@pytest.fixture
def workers(site: Site) -> Iterator[Workers]:
    """With the settings as they are when the test begins."""
    running = Workers()
    yield running
    running.close()


def ask(feed: str) -> int:
    with db.transaction("worker") as connection:
        return collecting.ask(connection, feed, "url")


def forget_all() -> None:
    with db.transaction("owner") as connection:
        connection.execute(
            text("TRUNCATE candidates, channels, collections, sources, gone_videos, objects, object_pins CASCADE")
        )
    for path in settings.load().thumbnails.rglob("*"):
        if path.is_file():
            path.unlink()


def settled() -> int:
    [(items,)] = rows("SELECT found - pending FROM collections")
    return items or 0


def stored_objects() -> set[str]:
    """The pictures in the storage; a killed worker may leave one that it had not given its name yet."""
    return {path.name for path in settings.load().thumbnails.glob("??/*")}


def test_ten_workers_never_exceed_the_budget_nor_the_pace_by_the_sites_own_log(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay, budget = 0.08, 40
    monkeypatch.setenv("MILES_REQUEST_DELAY", str(delay))
    monkeypatch.setenv("MILES_HOURLY_BUDGET", str(budget))
    settings.load.cache_clear()
    feeds = []
    for worker in range(10):
        names = [f"w{worker}v{number}" for number in range(4)]
        for name in names:
            site.video(name, views=7)
        feeds.append(site.feed(names, f"/feed{worker}.xml"))
    ids = [ask(feed) for feed in feeds]
    workers = Workers()
    pids = [workers.run(collection_id) for collection_id in ids]
    assert (
        sum(workers.wait(pid) == 3 for pid in pids) >= 6
    )  # together they want more than twice what there is, and wait
    workers.close()

    counted = [at for at, path in zip(site.times, site.requests, strict=True) if not path.startswith("/thumbnail/")]
    check_pace(counted, budget, delay)
    assert len({path.split("v")[0] for path in site.requests if path.startswith("/watch/")}) > 3  # not one for all
    assert rows("SELECT count(*), count(*) FILTER (WHERE outcome = 'unsent') FROM source_requests") == [(budget, 0)]
    waits = rows(
        "SELECT DISTINCT state, resume_at >= (SELECT min(at) FROM source_requests) + interval '1 hour' FROM collections WHERE state <> 'done'"
    )
    assert waits == [("waiting", True)]

    # an hour later the rest comes, and of all of them everything
    with db.transaction("worker") as connection:
        for statement in (
            "UPDATE source_requests SET at = at - CAST(:hour AS interval)",
            "UPDATE sources SET next_at = next_at - CAST(:hour AS interval)",
        ):
            connection.execute(text(statement), {"hour": pacing.WINDOW})
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "1000")
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    settings.load.cache_clear()
    workers = Workers()
    pids = [workers.run(collection_id) for collection_id in ids]
    assert {workers.wait(pid) for pid in pids} == {0}
    workers.close()
    assert rows("SELECT count(*), count(DISTINCT candidate_id) FROM snapshots") == [(40, 40)]


@pytest.mark.timeout(900)  # it starts forty processes, one after the other
def test_a_worker_killed_at_twenty_random_moments_loses_nothing_and_doubles_nothing(
    site: Site, workers: Workers
) -> None:
    names = [f"v{number}" for number in range(12)]
    for name in names:
        site.video(name, views=len(name) * 1000)
        site.pages[f"/watch/{name}"].delay = 0.05  # type: ignore[union-attr]  # so that some are stored in the middle
    site.pages["/watch/v5"].status = 410  # type: ignore[union-attr]
    feed = site.feed([*names, "missing"])
    assert workers.wait(workers.run(ask(feed))) == 0
    whole = len(site.requests)
    undisturbed, objects = contents(), stored_objects()
    assert len(undisturbed["candidates"]) == len(undisturbed["snapshots"]) == 11
    assert len(objects) == len({row["sha256"] for row in undisturbed["thumbnails"]})

    randomly = random.Random(4)
    killed: list[int] = []  # items that were settled when it died
    collections = 0
    while len(killed) < KILLS:
        collections += 1
        forget_all()
        collection_id = ask(feed)
        site.requests.clear()
        for _ in range(EACH):
            # how many requests were made, or items settled: how fast they come is the machine's affair
            reached, moment = randomly.choice([(lambda: len(site.requests), whole), (settled, len(names))])
            moment = randomly.randrange(moment)
            pid = workers.run(collection_id)
            eventually(lambda: reached() >= moment)  # noqa: B023
            time.sleep(randomly.uniform(0, 0.03))
            workers.kill(pid)
            if workers.wait(pid) != -9:
                break  # it was done before
            assert rows("SELECT state FROM collections") in ([("waiting",)], [("running",)])  # and never done
            killed.append(settled())
        assert workers.wait(workers.run(collection_id)) == 0
        assert not (apart := differences(contents(), undisturbed)), "\n".join(apart)
        assert stored_objects() == objects
    assert collections < KILLS  # most of them were killed, and not only at their last moment
    assert len(set(killed)) >= 2  # before anything was stored, and in the middle
