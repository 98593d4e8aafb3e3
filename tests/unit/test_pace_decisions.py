"""When a source may be asked: the decisions, with a clock of the tests' own."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import pacing
from miles.pacing import Breaker, Granted, Held, Limits, finish, grant, refuse, source_of, tried

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ME, OTHER = "me", "other"


def ask(
    now: datetime = NOW,
    limits: Limits = Limits(2.0, 100),  # noqa: B008  # frozen
    *,
    next_at: datetime | None = None,
    oldest: datetime | None = None,
    breaker: Breaker = Breaker(),  # noqa: B008  # frozen
    me: str = ME,
    jitter: float = 0.0,
) -> Granted | Held:
    return grant(now, limits, next_at=next_at, oldest=oldest, breaker=breaker, me=me, jitter=jitter)


def refused(breaker: Breaker, now: datetime, probe: bool = False, asked: timedelta | None = None) -> Breaker:
    return refuse(breaker, now, probe=probe, reason="429", retry_after=asked, jitter=0.0)


def test_the_first_request_is_sent_at_once_and_the_next_one_after_the_delay() -> None:
    assert ask() == Granted(NOW, NOW + timedelta(seconds=2), probe=False)
    assert ask(jitter=0.999).next_at < NOW + timedelta(seconds=3)  # type: ignore[union-attr]


def test_a_request_queues_up_behind_those_that_others_have_reserved() -> None:
    reserved = NOW + timedelta(seconds=20)
    assert ask(next_at=reserved) == Granted(reserved, reserved + timedelta(seconds=2), probe=False)


def test_a_used_up_budget_holds_until_the_hour_of_its_oldest_request_is_over() -> None:
    oldest = NOW - HOUR / 2
    held = ask(oldest=oldest)
    assert isinstance(held, Held)
    assert held.until == oldest + pacing.WINDOW
    assert "budget of 100 requests an hour" in held.reason
    # what is nearly over is waited for
    assert isinstance(ask(oldest=NOW - pacing.WINDOW + timedelta(seconds=5)), Granted)


def test_a_refusal_opens_the_breaker_and_nobody_asks_before_its_time_is_over() -> None:
    breaker = refused(Breaker(), NOW)
    assert (breaker.opened_at, breaker.resume_at) == (NOW, NOW + HOUR)
    for passed in (timedelta(0), HOUR / 2, HOUR - timedelta(microseconds=1)):
        assert ask(NOW + passed, breaker=breaker) == Held(NOW + HOUR, "429")
    assert isinstance(ask(NOW + HOUR, breaker=breaker), Granted)


def test_a_half_open_breaker_lets_one_try_and_the_others_wait_for_it() -> None:
    half = refused(Breaker(), NOW - HOUR)
    assert ask(breaker=half) == Granted(NOW, NOW + timedelta(seconds=2), probe=True)
    leased = Breaker(**{**fields(half), "probe_by": ME, "probe_until": NOW + pacing.LEASE})
    assert ask(NOW, breaker=leased, me=OTHER) == Held(
        NOW + pacing.LEASE, "another worker is trying whether it answers again"
    )
    assert isinstance(ask(breaker=leased), Granted)  # the further requests of the same try
    # a worker that died in the middle of it does not block the source for ever
    assert isinstance(ask(NOW + pacing.LEASE, breaker=leased, me=OTHER), Granted)


def fields(breaker: Breaker) -> dict[str, object]:
    return {name: getattr(breaker, name) for name in Breaker.__slots__}


@pytest.mark.parametrize("outcome", ["ok", "gone", "invalid"])
def test_an_answer_closes_the_breaker(outcome: pacing.Outcome) -> None:
    closed = tried(refused(Breaker(), NOW - HOUR), NOW, outcome=outcome)
    assert closed.state(NOW) == "closed"
    assert closed.closed_at == NOW


@pytest.mark.parametrize("outcome", ["transient", "extractor"])
def test_a_try_that_says_nothing_is_repeated_soon(outcome: pacing.Outcome) -> None:
    breaker = tried(refused(Breaker(), NOW - HOUR), NOW, outcome=outcome)
    assert breaker.resume_at == NOW + pacing.TRY_AGAIN
    assert (breaker.refusals, breaker.probe_by) == (1, None)


def test_each_refused_try_doubles_the_cool_down_up_to_a_day() -> None:
    breaker, now, lengths = refused(Breaker(), NOW), NOW, []
    for _ in range(8):
        assert breaker.resume_at
        lengths.append((breaker.resume_at - now) / HOUR)
        now = breaker.resume_at
        breaker = refused(breaker, now, probe=True)
    assert lengths == [1, 2, 4, 8, 16, 24, 24, 24]


def test_a_source_that_refuses_again_soon_after_it_answered_waits_longer_and_after_a_quiet_day_not() -> None:
    closed = tried(refused(Breaker(), NOW - HOUR), NOW, outcome="ok")
    again = refused(closed, NOW + timedelta(minutes=10))
    assert (again.refusals, again.resume_at) == (2, NOW + timedelta(minutes=10) + 2 * HOUR)
    later = refused(closed, NOW + pacing.QUIET)
    assert (later.refusals, later.resume_at) == (1, NOW + pacing.QUIET + HOUR)


def test_requests_that_were_under_way_do_not_count_as_further_refusals() -> None:
    opened = refused(Breaker(), NOW)
    second = NOW + timedelta(seconds=1)
    assert refused(opened, second) == opened
    assert refused(opened, second, asked=3 * HOUR).resume_at == second + 3 * HOUR


def test_a_longer_retry_after_is_respected_a_shorter_one_is_not_enough() -> None:
    assert refused(Breaker(), NOW, asked=timedelta(seconds=30)).resume_at == NOW + HOUR
    assert refused(Breaker(), NOW, asked=5 * HOUR).resume_at == NOW + 5 * HOUR
    assert refused(Breaker(), NOW, asked=timedelta(days=4000)).resume_at == NOW + pacing.LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://www.youtube.com/youtubei/v1/player", "youtube"),
        ("https://youtu.be/abc", "youtube"),
        ("https://m.youtube.com:443/watch?v=1", "youtube"),
        ("https://www.tiktok.com/@someone", "tiktok"),
        ("https://notyoutube.com/x", "notyoutube.com"),
        ("https://WWW.Example.com/x", "example.com"),
        ("http://127.0.0.1:8899/feed", "127.0.0.1"),
        ("nonsense", "unknown"),
    ],
)
def test_a_source_is_a_site(url: str, source: str) -> None:
    assert source_of(url) == source


@dataclass
class Row:
    """What the database keeps of a source, and the source's own log."""

    limits: Limits
    next_at: datetime | None = None
    breaker: Breaker = field(default_factory=Breaker)
    sent: list[datetime] = field(default_factory=list)
    probes: list[tuple[datetime, str]] = field(default_factory=list)

    def ask(self, now: datetime, me: str, jitter: float) -> Granted | Held:
        oldest = self.sent[-self.limits.budget] if len(self.sent) >= self.limits.budget else None
        decision = grant(
            now, self.limits, next_at=self.next_at, oldest=oldest, breaker=self.breaker, me=me, jitter=jitter
        )
        if isinstance(decision, Granted):
            self.sent.append(decision.at)
            self.next_at = decision.next_at
            if decision.probe:
                self.breaker = Breaker(
                    **{**fields(self.breaker), "probe_by": me, "probe_until": now + pacing.LEASE}  # type: ignore[arg-type]
                )
        return decision


workers = st.sampled_from(["a", "b", "c", "d"])
steps = st.lists(
    st.tuples(
        workers,
        st.floats(0, 900),  # seconds that pass before the step
        st.sampled_from(["ask", "ask", "ask", "ask", "refuse", "answer", "fail"]),
        st.floats(0, 0.999),
    ),
    max_size=150,
)


@given(steps, st.integers(1, 12), st.sampled_from([0.0, 2.0, 45.0]))
def test_whatever_happens_the_source_never_sees_more_than_it_allows(
    events: list[tuple[str, float, str, float]], budget: int, delay: float
) -> None:
    row, now, under_way = Row(Limits(delay, budget)), NOW, {}
    for worker, passed, what, jitter in events:
        now += timedelta(seconds=passed)
        before = row.breaker
        state = before.state(now)
        if what == "ask":
            decision = row.ask(now, worker, jitter)
            if isinstance(decision, Held):
                assert decision.until > now  # a moment to wait for, never a busy loop
                continue
            assert state != "open"
            assert timedelta(0) <= decision.at - now <= pacing.PATIENCE
            if state == "half-open":  # nobody else holds the lease
                assert before.probe_by in (None, worker) or (before.probe_until and before.probe_until <= now)
            under_way[worker] = decision.probe
        elif worker in under_way:
            probe = under_way.pop(worker) and row.breaker.probe_by == worker and state == "half-open"
            if what == "refuse":
                row.breaker = refuse(row.breaker, now, probe=probe, reason="429", retry_after=None, jitter=jitter)
                assert row.breaker.state(now) == "open" or not probe
            elif probe:
                row.breaker = tried(row.breaker, now, outcome="ok" if what == "answer" else "transient")
    for earlier, later in zip(row.sent, row.sent[1:], strict=False):
        assert later - earlier >= timedelta(seconds=delay)
    for earlier, later in zip(row.sent, row.sent[budget:], strict=False):
        assert later - earlier > HOUR  # so no hour holds more than the budget


@given(
    st.lists(st.floats(0, 3700), max_size=30),
    st.integers(0, 40),
    st.integers(1, 15),
    st.sampled_from([0.0, 2.0, 30.0]),
)
def test_the_forecast_is_what_the_decisions_then_give(
    ages: list[float], requests: int, budget: int, delay: float
) -> None:
    limits = Limits(delay, budget)
    row = Row(limits, sent=[NOW - timedelta(seconds=age) for age in sorted(ages, reverse=True)])
    row.next_at = row.sent[-1] + timedelta(seconds=delay * 1.25) if row.sent else None
    expected = finish(NOW, requests, limits, row.sent, NOW)
    now = at = NOW
    for _ in range(requests):
        while isinstance(decision := row.ask(now, "me", jitter=0.5), Held):
            now = decision.until
        now = at = decision.at
    if requests:
        assert abs(expected - at) < timedelta(seconds=1)
