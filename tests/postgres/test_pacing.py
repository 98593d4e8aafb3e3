"""The pace that all processes share: permits, budgets and the breaker in a real database."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from loopback import eventually
from sqlalchemy import text
from tables import change, rows
from workers import EARLY

from miles import db, pacing, settings
from miles.errors import SourcePaused

pytestmark = pytest.mark.usefixtures("database")

URL = "https://www.youtube.com/watch?v=abc"


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    settings.load.cache_clear()
    return


def permit(pacer: pacing.Pacer, url: str = URL) -> pacing.Permit:
    given = pacer.permit(url)
    assert given
    return given


def state(source: str = "youtube") -> pacing.SourceState:
    with db.transaction("viewer") as connection:
        [found] = [one for one in pacing.state(connection) if one.source == source]
    return found


def let_hours_pass(hours: float) -> None:
    """Move everything that is written down into the past."""
    change(
        "UPDATE sources SET next_at = next_at - :past, opened_at = opened_at - :past, resume_at = resume_at - :past,"
        " closed_at = closed_at - :past, probe_until = probe_until - :past",
        past=timedelta(hours=hours),
    )
    change("UPDATE source_requests SET at = at - :past", past=timedelta(hours=hours))


def take_permits(number: int, sent: Any) -> None:
    """A worker process: so many requests, or fewer where the budget says so."""
    pacer = pacing.Pacer()
    try:
        for _ in range(number):
            pacer.permit(URL)
            sent.put(time.time())
    except SourcePaused:
        pass
    db.close()


def test_ten_processes_together_keep_the_pace_and_never_exceed_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0.04")
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "35")
    context = multiprocessing.get_context("spawn")
    sent = context.Queue()
    workers = [context.Process(target=take_permits, args=(10, sent)) for _ in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    moments = sorted(sent.get(timeout=60) for _ in range(35))
    assert sent.empty()
    reserved = [row[0] for row in rows("SELECT at FROM source_requests ORDER BY number")]
    assert len(reserved) == 35
    assert all(timedelta(seconds=0.04) <= later - earlier for earlier, later in pairwise(reserved))
    assert all(moment >= at.timestamp() - EARLY for moment, at in zip(moments, reserved, strict=True))
    assert (state().used, state().budget) == (35, 35)
    free_at = state().free_at
    assert free_at
    assert free_at - reserved[0] == pacing.WINDOW


def test_the_budget_is_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "4")
    settings.load.cache_clear()
    pacer = pacing.Pacer()
    permit(pacer)
    permit(pacer)
    let_hours_pass(0.7)
    permit(pacer)
    permit(pacer)
    with pytest.raises(SourcePaused, match="budget of 4 requests an hour"):
        pacer.permit(URL)
    let_hours_pass(0.4)  # the first two are more than an hour ago
    assert state().used == 2
    permit(pacer)
    permit(pacer)
    with pytest.raises(SourcePaused) as held:
        pacer.permit(URL)
    [(third,)] = rows("SELECT at FROM source_requests WHERE number = 3")
    assert held.value.until == third + pacing.WINDOW


def test_each_source_has_a_budget_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "2,tiktok=1")
    settings.load.cache_clear()
    pacer = pacing.Pacer()
    permit(pacer)
    permit(pacer, "https://www.tiktok.com/@someone")
    permit(pacer)
    for url in (URL, "https://m.tiktok.com/x"):
        with pytest.raises(SourcePaused):
            pacer.permit(url)
    assert (state("tiktok").budget, state("tiktok").used) == (1, 1)


def test_a_refusal_stops_everybody_and_survives_restarts() -> None:
    first = pacing.Pacer()
    paused = first.refused(permit(first), "it answered 429 (Too Many Requests)")
    for pacer in (first, pacing.Pacer()):
        with pytest.raises(SourcePaused, match="429") as held:
            pacer.permit(URL)
        assert held.value.until == paused.until
    db.close()  # as a new process finds it
    with pytest.raises(SourcePaused):
        pacing.Pacer().permit(URL)
    assert rows("SELECT count(*) FROM source_requests") == [(1,)]
    now = state()
    assert (now.breaker, now.resume_at, now.last_failure) == ("open", paused.until, "rate_limited")
    permit(first, "https://example.com/other")  # other sources are not meant


def test_a_longer_retry_after_is_respected() -> None:
    pacer = pacing.Pacer()
    paused = pacer.refused(permit(pacer), "429", timedelta(hours=7))
    opened = state().opened_at
    assert opened
    assert paused.until == opened + timedelta(hours=7)


def test_after_the_cool_down_exactly_one_tries_and_its_success_lets_the_others_go_on() -> None:
    first, second = pacing.Pacer(), pacing.Pacer()
    first.refused(permit(first), "429")
    let_hours_pass(1.2)
    assert state().breaker == "half-open"
    page = permit(second)
    assert page.probe
    with pytest.raises(SourcePaused, match="another worker is trying"):
        first.permit(URL)
    rest = permit(second)  # a video takes two requests
    with pytest.raises(SourcePaused):
        first.permit(URL)
    second.settle([page, rest], "ok")
    assert state().breaker == "closed"
    assert not permit(first).probe


def test_of_many_that_ask_at_once_one_gets_the_try() -> None:
    pacer = pacing.Pacer()
    pacer.refused(permit(pacer), "429")
    let_hours_pass(1.2)
    given: list[pacing.Permit | None] = []
    held: list[SourcePaused] = []

    def ask() -> None:
        try:
            given.append(pacing.Pacer().permit(URL))
        except SourcePaused as paused:
            held.append(paused)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(given), len(held)) == (1, 7)


def test_a_refused_try_opens_for_longer() -> None:
    pacer = pacing.Pacer()
    first = pacer.refused(permit(pacer), "429")
    opened = state().opened_at
    assert opened
    assert timedelta(hours=1) <= first.until - opened <= timedelta(hours=1.1)
    let_hours_pass(1.2)
    trying = permit(pacer)
    second = pacer.refused(trying, "429")
    pacer.settle([trying], "rate_limited")
    again = state()
    assert again.opened_at
    assert timedelta(hours=2) <= second.until - again.opened_at <= timedelta(hours=2.2)
    assert again.breaker == "open"


def test_a_try_whose_worker_died_is_left_to_the_next_one() -> None:
    pacer = pacing.Pacer()
    pacer.refused(permit(pacer), "429")
    let_hours_pass(1.2)
    permit(pacer)
    with pytest.raises(SourcePaused):
        pacing.Pacer().permit(URL)
    let_hours_pass(pacing.LEASE / timedelta(hours=1))
    assert permit(pacing.Pacer()).probe


def test_a_permit_that_waits_is_void_when_the_breaker_opens_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_REQUEST_DELAY", "3")
    settings.load.cache_clear()
    first, second = pacing.Pacer(), pacing.Pacer()
    sent = permit(first)
    outcome: list[object] = []

    def ask() -> None:
        try:
            outcome.append(second.permit(URL))
        except SourcePaused as paused:
            outcome.append(paused)

    waiting = threading.Thread(target=ask)
    waiting.start()
    eventually(lambda: rows("SELECT count(*) FROM source_requests") == [(2,)], what="the second permit")
    first.refused(sent, "429")
    waiting.join()
    assert isinstance(outcome[0], SourcePaused)
    assert rows("SELECT outcome FROM source_requests ORDER BY number") == [("rate_limited",), ("unsent",)]
    assert state().used == 1


def test_a_permit_that_nobody_wants_any_more_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_REQUEST_DELAY", "60")
    settings.load.cache_clear()
    pacer = pacing.Pacer()
    permit(pacer)
    start = time.monotonic()
    assert pacer.permit(URL, wanted=lambda: False) is None
    assert time.monotonic() - start < 30
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE sources SET next_at = now() + interval '1 day'"))
    with pytest.raises(SourcePaused, match="many others are waiting"):
        pacer.permit(URL)


def test_the_state_counts_steps_not_requests() -> None:
    pacer = pacing.Pacer()
    for outcome in ("ok", "ok", "gone", "transient"):
        pacer.settle([permit(pacer), permit(pacer)], outcome)  # type: ignore[arg-type]
    now = state()
    assert (now.breaker, now.requests_24h, now.used) == ("closed", 8, 8)
    assert (now.answered_24h, now.failed_24h, now.success_rate) == (3, 1, 0.75)
    assert now.last_failure == "transient"
    assert now.last_success_at
    assert now.last_failure_at
    assert now.last_success_at < now.last_failure_at
    let_hours_pass(25)
    assert (state().requests_24h, state().success_rate) == (0, None)
    assert state().last_success_at == now.last_success_at - timedelta(hours=25)  # it is known however old it is


def test_a_step_at_two_sources_fails_at_the_last_one() -> None:
    pacer = pacing.Pacer()
    pacer.settle([permit(pacer, "https://a.example/page"), permit(pacer, "https://b.example/media")], "transient")
    assert (state("a.example").success_rate, state("b.example").success_rate) == (1.0, 0.0)


def test_an_operator_can_have_a_source_tried_before_its_time_and_a_viewer_cannot() -> None:
    pacer = pacing.Pacer()
    pacer.refused(permit(pacer), "429")
    with pytest.raises(Exception, match="permission denied"), db.transaction("viewer") as connection:
        pacing.try_now(connection, "youtube")
    with db.transaction("operator") as connection:
        assert pacing.try_now(connection, "youtube")
        assert not pacing.try_now(connection, "youtube")
    assert permit(pacer).probe


def test_requests_are_forgotten_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PRUNE_EVERY", 3)
    pacer = pacing.Pacer()
    permit(pacer)
    permit(pacer)
    let_hours_pass(26)
    permit(pacer)
    assert rows("SELECT number FROM source_requests") == [(3,)]


def test_the_end_of_further_requests_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_HOURLY_BUDGET", "10")
    settings.load.cache_clear()
    pacer = pacing.Pacer()
    for _ in range(4):
        permit(pacer)
    [(first, now)] = rows("SELECT min(at), clock_timestamp() FROM source_requests")

    def foretold(requests: int) -> datetime:
        with db.transaction("viewer") as connection:
            return pacing.expected_finish(connection, "youtube", requests)

    assert abs(foretold(6) - now) < timedelta(seconds=5)
    assert abs(foretold(7) - first - pacing.WINDOW) < timedelta(seconds=5)
    with db.transaction("viewer") as connection:  # a source that nobody has asked yet
        assert abs(pacing.expected_finish(connection, "elsewhere.example", 3) - now) < timedelta(seconds=5)


def test_a_permit_and_its_settlement_cost_milliseconds() -> None:
    """A bound that only a scan or a wait would break, at the quickest of many: a busy machine slows some of them.

    `benchmarks` measures the figure.
    """
    pacer = pacing.Pacer()
    permit(pacer)

    def timed(step: Callable[[], object]) -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    assert min(timed(lambda: pacer.settle([permit(pacer)], "ok")) for _ in range(100)) < 0.02
