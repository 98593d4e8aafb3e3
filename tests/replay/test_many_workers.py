"""Ten processes that collect at once, and what the proxy's own log says of them all together."""

import pytest
from replaying import Replay
from workers import Workers, check_pace

from miles import collecting, db, settings

pytestmark = pytest.mark.usefixtures("database")


def test_ten_workers_never_exceed_the_budget_nor_the_pace_by_the_proxys_log(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay, budget = 0.08, 50
    monkeypatch.setenv("MILES_REQUEST_DELAY", str(delay))
    monkeypatch.setenv("MILES_HOURLY_BUDGET", str(budget))
    settings.load.cache_clear()
    with db.transaction("worker") as connection:
        ids = [collecting.ask(connection, f"music {number}", item_limit=20) for number in range(10)]
    workers = Workers()
    pids = [workers.run(collection_id) for collection_id in ids]
    assert {workers.wait(pid) for pid in pids} == {3}  # each wants 42 requests, so all of them wait
    workers.close()
    log = [entry for entry in replay.log() if "youtube" in entry["host"] or "googleapis" in entry["host"]]
    check_pace([entry["t"] for entry in log], budget, delay)
