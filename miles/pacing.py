"""How often each source may be asked: one pace, one budget, one circuit breaker for all processes together.

A source is a site ("youtube", "tiktok", else a host): what bans us is its view of our address. Before every
request a Pacer takes a permit. All permits of a source come from one row of the database, locked for the
moment of the decision: each reserves the next free moment, so ten workers queue up instead of meeting, and no
hour ever holds more requests than the budget. A refusal opens the breaker for everybody, also across restarts;
when its time is over one worker tries, and the others wait for what comes of it.

The unit of all of it is the request, since that is what a source counts and what its log shows; a video read in
full takes two. The decisions are pure functions; the clock is the database's, which all machines share. Knows
nothing about yt-dlp.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import Connection, text

from miles import db, settings
from miles.errors import SourcePaused

logger = logging.getLogger(__name__)

Outcome = Literal["ok", "gone", "invalid", "transient", "extractor", "rate_limited"]

# The budget's hour: some seconds longer, for what a request takes from its permit to the source's own clock.
WINDOW = timedelta(hours=1, seconds=10)
JITTER = 0.5  # a pause lasts 1 to 1.5 times the delay; a steady beat is what robots have
PATIENCE = timedelta(minutes=2)  # a permit further away is not waited for: the collection goes back to the queue
COOL_DOWN = timedelta(hours=1)  # after the first refusal; doubled by each further one
LONGEST_COOL_DOWN = timedelta(hours=24)
COOL_DOWN_JITTER = 0.1
LONGEST_RETRY_AFTER = timedelta(days=7)  # what a source may ask for; more is a mistake
QUIET = timedelta(hours=24)  # without a refusal, after which the next one is a first one again
LEASE = timedelta(minutes=2)  # for one try of a half-open breaker; longer than a step may take
TRY_AGAIN = timedelta(minutes=5)  # after a try that said nothing, because the network failed
KEEP = timedelta(hours=25)  # of the requests; the success rate looks at 24
PRUNE_EVERY = 200  # requests
NAP = 0.5  # seconds; how soon a waiting permit notices that nobody wants it any more
REFUSED = "it refused a request from this address"
REQUESTS_EACH = 2  # a video's full extraction: its page and the player's answer
SITES = {
    "youtube": ("youtube.com", "youtu.be", "youtube-nocookie.com", "youtubei.googleapis.com"),
    "tiktok": ("tiktok.com", "tiktokv.com", "byteoversea.com"),
    "instagram": ("instagram.com",),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source allows."""

    delay: float  # seconds, at least, between two requests
    budget: int  # requests, at most, in any hour


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether a source may be asked. Closed: yes. Open: no. Half-open: one holder of the lease may try."""

    opened_at: datetime | None = None
    resume_at: datetime | None = None  # None: closed
    reason: str | None = None
    refusals: int = 0  # times it opened without QUIET between
    closed_at: datetime | None = None
    probe_by: str | None = None
    probe_until: datetime | None = None

    def state(self, now: datetime) -> Literal["closed", "open", "half-open"]:
        if self.resume_at is None:
            return "closed"
        return "open" if now < self.resume_at else "half-open"


@dataclass(frozen=True, slots=True)
class Granted:
    """A request may be sent, at its moment."""

    at: datetime
    next_at: datetime  # the earliest moment of the request after it
    probe: bool  # it tries whether a source that refused answers again


@dataclass(frozen=True, slots=True)
class Held:
    """No request may be sent before a moment."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request, taken and waited for."""

    source: str
    number: int
    probe: bool


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source stands."""

    source: str
    breaker: Literal["closed", "open", "half-open"]
    reason: str | None  # why it is not closed
    opened_at: datetime | None  # when it last opened, open or not
    resume_at: datetime | None  # when it is tried again
    used: int  # requests in the last hour
    budget: int  # requests an hour
    free_at: datetime | None  # when the budget has room again; None: it has
    delay: float  # seconds between two requests
    requests_24h: int
    answered_24h: int  # steps (a page of a listing, a video) that the source answered, be it with "gone"
    failed_24h: int  # steps that it did not: network, refusals, answers that can't be read
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str | None  # its kind

    @property
    def success_rate(self) -> float | None:
        """Of the steps of the last 24 h; None without any."""
        steps = self.answered_24h + self.failed_24h
        return self.answered_24h / steps if steps else None


def source_of(url: str) -> str:
    """The source that an address belongs to: a site's name, else its host."""
    host = (urlsplit(url).hostname or "").lower()
    for site, domains in SITES.items():
        if any(host == domain or host.endswith("." + domain) for domain in domains):
            return site
    return host.removeprefix("www.") or "unknown"


def limits_of(source: str) -> Limits:
    """The limits of a source by the settings."""
    chosen = settings.load()
    return Limits(delay=chosen.request_delay.of(source), budget=int(chosen.hourly_budget.of(source)))


# -- decisions (pure)


def grant(
    now: datetime,
    limits: Limits,
    *,
    next_at: datetime | None,
    oldest: datetime | None,
    breaker: Breaker,
    me: str,
    jitter: float,
) -> Granted | Held:
    """Whether and when the next request may be sent.

    `oldest` is the moment of the request that is `limits.budget` requests back: the next one has to be an hour
    later. `jitter` lies between 0 and 1.
    """
    state = breaker.state(now)
    if state == "open" and breaker.resume_at:
        return Held(breaker.resume_at, breaker.reason or REFUSED)
    if state == "half-open" and breaker.probe_by != me and breaker.probe_until and now < breaker.probe_until:
        return Held(breaker.probe_until, "another worker is trying whether it answers again")
    by_pace = max(now, next_at or now)
    by_budget = oldest + WINDOW if oldest else now
    at = max(by_pace, by_budget)
    if at - now > PATIENCE:
        spent = f"the budget of {limits.budget} requests an hour is used up"
        return Held(at, spent if by_budget > by_pace else "many others are waiting for it")
    pause = timedelta(seconds=limits.delay * (1 + JITTER * jitter))
    return Granted(at, at + pause, probe=state == "half-open")


def refuse(
    breaker: Breaker, now: datetime, *, probe: bool, reason: str, retry_after: timedelta | None, jitter: float
) -> Breaker:
    """The breaker after the source has refused a request.

    A request that was under way when the breaker opened changes nothing but what the source itself asks for.
    """
    asked = min(retry_after or timedelta(0), LONGEST_RETRY_AFTER)
    if breaker.resume_at is not None and not probe:
        return replace(breaker, resume_at=max(breaker.resume_at, now + asked))
    lately = probe or (breaker.closed_at is not None and now - breaker.closed_at < QUIET)
    refusals = breaker.refusals + 1 if lately else 1
    cool_down = min(COOL_DOWN * 2 ** min(refusals - 1, 10), LONGEST_COOL_DOWN) * (1 + COOL_DOWN_JITTER * jitter)
    return Breaker(
        opened_at=now,
        resume_at=now + max(cool_down, asked),
        reason=reason,
        refusals=refusals,
        closed_at=breaker.closed_at,
    )


def tried(breaker: Breaker, now: datetime, *, outcome: Outcome) -> Breaker:
    """The breaker after the one try of its half-open time: closed if the source answered, else a little later again.

    (A refusal is `refuse`'s.)
    """
    if outcome in ("ok", "gone", "invalid"):
        return Breaker(opened_at=breaker.opened_at, refusals=breaker.refusals, closed_at=now)
    return replace(breaker, resume_at=now + TRY_AGAIN, probe_by=None, probe_until=None)


def finish(now: datetime, requests: int, limits: Limits, recent: Sequence[datetime], start: datetime) -> datetime:
    """When so many requests can have been sent, at the mean pause, beginning at `start`.

    `recent` are the moments of the requests of the last hour, oldest first.
    """
    pause = timedelta(seconds=limits.delay * (1 + JITTER / 2))
    moments = [moment for moment in recent if now - moment < WINDOW]
    at = max(now, start, moments[-1] + pause if moments else now)
    for number in range(requests):
        if number:
            at += pause
        if len(moments) >= limits.budget:
            at = max(at, moments[len(moments) - limits.budget] + WINDOW)
        moments.append(at)
    return at


# -- what is shared


class Pacer:
    """Takes permits for one collection; safe to use from several threads.

    Each permit is one short transaction of its own. What it writes need not survive a crash of the database
    server (nothing is asked during one); a refusal does.
    """

    def __init__(self) -> None:
        self._me = uuid.uuid4().hex

    def permit(self, url: str, wanted: Callable[[], bool] = lambda: True) -> Permit | None:
        """Wait for the moment at which a request may be sent. None if it was no longer `wanted()` by then.

        Raises SourcePaused where the source must not be asked for longer than PATIENCE.
        """
        source = source_of(url)
        with db.transaction("worker") as connection:
            permit, wait = self._take(connection, source)
        if wait <= 0:
            return permit
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, NAP))
            if not wanted():
                self._give_back(permit)
                return None
        if held := self._opened_meanwhile(permit):
            self._give_back(permit)
            raise held
        return permit

    def refused(self, permit: Permit, reason: str, asked: timedelta | None = None) -> SourcePaused:
        """The source has refused this request (it limits us, or takes us for a robot): nobody asks it any more."""
        with db.transaction("worker") as connection:
            now, breaker = _locked(connection, permit.source)
            mine = permit.probe and breaker.probe_by == self._me
            breaker = refuse(breaker, now, probe=mine, reason=reason, retry_after=asked, jitter=random.random())
            _write(connection, permit.source, breaker)
            _note(connection, [permit], "rate_limited")
        logger.warning("%s refused a request (%s); it is asked again from %s", permit.source, reason, breaker.resume_at)
        return _paused(permit.source, Held(breaker.resume_at or now, reason))

    def settle(self, permits: Iterable[Permit], outcome: Outcome) -> None:
        """What came of a step that took these permits; what failed is the fault of the last one."""
        last = {permit.source: permit for permit in permits}  # of each source
        if not last:
            return
        *others, final = last.values()
        with db.transaction("worker") as connection:
            connection.execute(_UNHURRIED)
            _note(connection, others, "ok")
            _note(connection, [final], outcome)
            for permit in last.values():
                if permit.probe:
                    now, breaker = _locked(connection, permit.source)
                    if breaker.probe_by == self._me and breaker.state(now) == "half-open":
                        _write(
                            connection,
                            permit.source,
                            tried(breaker, now, outcome=outcome if permit is final else "ok"),
                        )

    def _take(self, connection: Connection, source: str) -> tuple[Permit, float]:
        """A permit, and the seconds until its moment."""
        connection.execute(_UNHURRIED)
        row = connection.execute(_LOCK, {"source": source}).one_or_none()
        if row is None:
            connection.execute(_NEW, {"source": source})
            row = connection.execute(_LOCK, {"source": source}).one()
        limits = limits_of(source)
        number = row.last_number + 1
        # the time as it is once we have the lock, not when we began to wait for it
        now, oldest = connection.execute(_NOW, {"source": source, "back": number - limits.budget}).one()
        decision = grant(
            now,
            limits,
            next_at=row.next_at,
            oldest=oldest,
            breaker=_breaker(row),
            me=self._me,
            jitter=random.random(),
        )
        if isinstance(decision, Held):
            raise _paused(source, decision)
        connection.execute(
            _GRANT,
            {
                "source": source,
                "number": number,
                "at": decision.at,
                "next_at": decision.next_at,
                "probe_by": self._me if decision.probe else None,
                "probe_until": now + LEASE if decision.probe else None,
            },
        )
        if number % PRUNE_EVERY == 0:
            connection.execute(_PRUNE, {"source": source, "keep": KEEP})
        return Permit(source, number, decision.probe), (decision.at - now).total_seconds()

    def _opened_meanwhile(self, permit: Permit) -> SourcePaused | None:
        with db.transaction("worker") as connection:
            row = connection.execute(_READ, {"source": permit.source}).one()
        breaker = _breaker(row)
        if breaker.state(row.now) == "closed" or (breaker.probe_by == self._me and permit.probe):
            return None
        return _paused(permit.source, Held(max(breaker.resume_at or row.now, row.now), breaker.reason or REFUSED))

    def _give_back(self, permit: Permit) -> None:
        """A request that was not sent; its moment is gone, but it is no request of the source's."""
        with db.transaction("worker") as connection:
            connection.execute(_UNHURRIED)
            _note(connection, [permit], "unsent")


def state(connection: Connection) -> list[SourceState]:
    """How each source stands that was ever asked, by name."""
    states = []
    for row in connection.execute(_STATE, {"window": WINDOW}):
        limits, breaker = limits_of(row.source), _breaker(row)
        position = breaker.state(row.now)
        states.append(
            SourceState(
                source=row.source,
                breaker=position,
                reason=breaker.reason if position != "closed" else None,
                opened_at=row.opened_at,
                resume_at=row.resume_at,
                used=row.used,
                budget=limits.budget,
                free_at=_free_at(connection, row.source, row.last_number, limits, row.now),
                delay=limits.delay,
                requests_24h=row.requests_24h,
                answered_24h=row.answered_24h,
                failed_24h=row.failed_24h,
                last_success_at=row.last_success_at,
                last_failure_at=row.last_failure_at,
                last_failure=row.last_failure,
            )
        )
    return states


def expected_finish(connection: Connection, source: str, requests: int, start: datetime | None = None) -> datetime:
    """When so many further requests to a source can have been sent, from `start` on, if nobody else asks it meanwhile."""
    row = connection.execute(_READ, {"source": source}).one_or_none()
    now = row.now if row else connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    recent = connection.scalars(
        text("SELECT at FROM source_requests WHERE source = :source AND at > :since ORDER BY number"),
        {"source": source, "since": now - WINDOW},
    ).all()
    return finish(now, requests, limits_of(source), recent, max(start or now, (row.resume_at if row else None) or now))


def spent_share(connection: Connection, source: str) -> float:
    """How much of a source's hourly budget is used, 0 to 1."""
    used = connection.execute(
        text(
            "SELECT count(*) FROM source_requests WHERE source = :source AND at > clock_timestamp() - CAST(:window AS interval)"
        ),
        {"source": source, "window": WINDOW},
    ).scalar_one()
    return used / limits_of(source).budget


def try_now(connection: Connection, source: str) -> bool:
    """Let an open breaker be tried at once instead of at its time; False if it is not open."""
    opened = connection.execute(
        text(
            "UPDATE sources SET resume_at = clock_timestamp(), probe_by = NULL, probe_until = NULL"
            " WHERE source = :source AND resume_at > clock_timestamp()"
        ),
        {"source": source},
    )
    return opened.rowcount > 0


def _paused(source: str, held: Held) -> SourcePaused:
    return SourcePaused(
        f"{source} is not asked before {held.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {held.reason}.",
        source,
        held.until,
    )


def _breaker(row: object) -> Breaker:
    return Breaker(**{name: getattr(row, name) for name in Breaker.__slots__})


def _locked(connection: Connection, source: str) -> tuple[datetime, Breaker]:
    row = connection.execute(_LOCK, {"source": source}).one()
    return connection.execute(text("SELECT clock_timestamp()")).scalar_one(), _breaker(row)


def _write(connection: Connection, source: str, breaker: Breaker) -> None:
    connection.execute(_BREAKER, {"source": source} | {name: getattr(breaker, name) for name in Breaker.__slots__})


def _note(connection: Connection, permits: Sequence[Permit], outcome: str) -> None:
    for permit in permits:
        connection.execute(
            # a refusal that was written at once stands, whatever the step says later
            text(
                "UPDATE source_requests SET outcome = :outcome"
                " WHERE source = :source AND number = :number AND outcome IS DISTINCT FROM 'rate_limited'"
            ),
            {"outcome": outcome, "source": permit.source, "number": permit.number},
        )


def _free_at(connection: Connection, source: str, last_number: int, limits: Limits, now: datetime) -> datetime | None:
    oldest = connection.execute(_NOW, {"source": source, "back": last_number + 1 - limits.budget}).one().oldest
    return oldest + WINDOW if oldest and oldest + WINDOW > now else None


_UNHURRIED = text("SET LOCAL synchronous_commit = off")
_ROW = f"source, next_at, last_number, {', '.join(Breaker.__slots__)}"
_LOCK = text(f"SELECT {_ROW} FROM sources WHERE source = :source FOR UPDATE")
_READ = text(f"SELECT {_ROW}, clock_timestamp() AS now FROM sources WHERE source = :source")
_NEW = text("INSERT INTO sources (source) VALUES (:source) ON CONFLICT DO NOTHING")
_NOW = text(
    "SELECT clock_timestamp() AS now,"
    " (SELECT at FROM source_requests WHERE source = :source AND number = :back) AS oldest"
)
_GRANT = text(
    """
    WITH noted AS (INSERT INTO source_requests (source, number, at) VALUES (:source, :number, :at))
    UPDATE sources SET last_number = :number, next_at = :next_at,
        probe_by = coalesce(:probe_by, probe_by), probe_until = coalesce(:probe_until, probe_until)
    WHERE source = :source
    """
)
_BREAKER = text(
    f"UPDATE sources SET {', '.join(f'{name} = :{name}' for name in Breaker.__slots__)} WHERE source = :source"
)
_PRUNE = text(  # all but the last answer and the last failure, however old they are
    """
    DELETE FROM source_requests WHERE source = :source AND at < clock_timestamp() - :keep
        AND number NOT IN (
            SELECT max(number) FROM source_requests
            WHERE source = :source AND outcome IS NOT NULL AND outcome <> 'unsent'
            GROUP BY outcome IN ('ok', 'gone', 'invalid')
        )
    """
)
_STATE = text(
    f"""
    SELECT {_ROW}, clock_timestamp() AS now, counted.*
    FROM sources CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE at > clock_timestamp() - CAST(:window AS interval) AND sent) AS used,
            count(*) FILTER (WHERE sent AND today) AS requests_24h,
            count(*) FILTER (WHERE answered AND today) AS answered_24h,
            count(*) FILTER (WHERE NOT answered AND today) AS failed_24h,
            max(at) FILTER (WHERE answered) AS last_success_at, max(at) FILTER (WHERE NOT answered) AS last_failure_at,
            (array_agg(outcome ORDER BY number DESC) FILTER (WHERE NOT answered))[1] AS last_failure
        FROM (
            SELECT number, at, outcome, outcome IS DISTINCT FROM 'unsent' AS sent,
                at > clock_timestamp() - interval '24 hours' AS today,
                CASE WHEN outcome IN ('ok', 'gone', 'invalid') THEN true WHEN outcome <> 'unsent' THEN false END AS answered
            FROM source_requests
            WHERE source_requests.source = sources.source
        ) AS requests
    ) AS counted
    ORDER BY source
    """
)
