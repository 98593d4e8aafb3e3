"""How the sources stand, and whether yt-dlp can still read them: a canary for each, a tiny question asked once a day.

A canary is one page of a listing, of which only the first entry is looked at, asked through the same pace and budget
as all else. What it came to is kept. Knows nothing about the job queue; `jobs` asks when it is time.
"""

import logging
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, text

from miles import db, operations, pacing, scrape
from miles.errors import MilesError, SourceError, SourcePaused
from miles.pacing import SourceState
from miles.scrape import Found, Source
from miles.targets import SHORTS_FILTER

logger = logging.getLogger(__name__)

EVERY = timedelta(days=1)
IN_USE = timedelta(days=14)  # without a collection for so long a source is left alone
KEEP = timedelta(days=30)
DEADLINE = 120.0  # seconds for one canary, not counting those spent waiting for a permit

# A listing that is never empty. YouTube's is the search that topics use, in one request.
CANARIES = {
    "youtube": f"https://www.youtube.com/results?search_query=music&sp={SHORTS_FILTER}",
    "tiktok": "https://www.tiktok.com/@tiktok",
}


@dataclass(frozen=True, slots=True)
class Canary:
    """What asking a source a small question came to."""

    source: str
    at: datetime
    passed: bool
    error_kind: str | None  # SourceError's
    reason: str | None  # why not, for people
    requests: int
    seconds: float
    yt_dlp: str  # version


@dataclass(frozen=True, slots=True)
class Health:
    """How one source stands."""

    source: str
    state: SourceState | None  # None: never asked
    canary: Canary | None  # the newest
    has_canary: bool

    @property
    def well(self) -> bool:
        """Whether nothing is known to be wrong."""
        return (self.state is None or self.state.breaker == "closed") and (self.canary is None or self.canary.passed)


@dataclass(frozen=True, slots=True)
class YtDlp:
    """The installed yt-dlp."""

    version: str
    age_days: int | None  # since its release; None where its version is no date
    old: bool  # sites change, and it has to follow


def sources(connection: Connection) -> list[Health]:
    """YouTube and every source that was ever asked; those that have a canary first."""
    states = {state.source: state for state in pacing.state(connection)}
    newest = {
        row.source: Canary(**row._mapping)
        for row in connection.execute(
            text(
                "SELECT DISTINCT ON (source) source, at, passed, error_kind, reason, requests, seconds, yt_dlp"
                " FROM canaries ORDER BY source, at DESC, canary_id DESC"
            )
        )
    }
    names = sorted({"youtube", *states, *newest}, key=lambda name: (name not in CANARIES, name != "youtube", name))
    return [Health(name, states.get(name), newest.get(name), name in CANARIES) for name in names]


def yt_dlp(today: date) -> YtDlp:
    """The version of yt-dlp that is installed here, and how old it is."""
    age = operations.age_days(scrape.YT_DLP_VERSION, today)
    return YtDlp(scrape.YT_DLP_VERSION, age, age is not None and age > operations.OLD_YT_DLP.days)


def due(connection: Connection) -> list[str]:
    """Sources whose canary is to be asked: in use, not asked for a day, and not refusing us."""
    asked = connection.execute(
        text(
            "SELECT DISTINCT kind, CASE WHEN kind = 'url' THEN target END AS address FROM collections"
            " WHERE asked_at > now() - CAST(:window AS interval) AND kind <> 'revisit'"
        ),
        {"window": IN_USE},
    )
    used = {
        pacing.source_of(row.address) if row.kind == "url" else "tiktok" if row.kind == "tiktok" else "youtube"
        for row in asked
    }
    known = {one.source: one for one in sources(connection)}
    lately = set(
        connection.scalars(
            text("SELECT source FROM canaries WHERE at > now() - CAST(:every AS interval)"), {"every": EVERY}
        )
    )
    refusing = {name for name, one in known.items() if one.state and one.state.breaker != "closed"}
    return [name for name in CANARIES if name in used - lately - refusing]


def check(source: str) -> None:
    """Raise MilesError for a source that has no canary."""
    if source not in CANARIES:
        raise MilesError(f"{source!r} has no canary; {' and '.join(CANARIES)} have one.")


def ask(source: str) -> Canary:
    """Ask a source its canary now, and keep what it came to.

    Raises SourcePaused where the source may not be asked at the moment; nothing is kept then.
    """
    check(source)
    asking = Source(pacing.Pacer(), deadline=DEADLINE)
    began = time.monotonic()
    problem: SourceError | None = None
    try:
        problem = _wrong(asking.first(CANARIES[source]))
    except SourceError as error:
        problem = error
    except SourcePaused as paused:
        if not asking.requests:
            raise
        problem = SourceError(str(paused), "rate_limited")  # it is the canary that was refused
    finally:
        asking.close()
    seconds = time.monotonic() - began
    with db.transaction("worker") as connection:
        row = connection.execute(
            text(
                "INSERT INTO canaries (source, passed, error_kind, reason, requests, seconds, yt_dlp)"
                " VALUES (:source, :passed, :kind, :reason, :requests, :seconds, :version)"
                " RETURNING source, at, passed, error_kind, reason, requests, seconds, yt_dlp"
            ),
            {
                "source": source,
                "passed": problem is None,
                "kind": problem.kind if problem else None,
                "reason": str(problem)[:1000] if problem else None,
                "requests": asking.requests,
                "seconds": seconds,
                "version": scrape.YT_DLP_VERSION,
            },
        ).one()
        connection.execute(
            text("DELETE FROM canaries WHERE source = :source AND at < now() - CAST(:keep AS interval)"),
            {"source": source, "keep": KEEP},
        )
    canary = Canary(**row._mapping)
    if not canary.passed:
        logger.warning("The canary of %s fails: %s", source, canary.reason)
    return canary


def _wrong(found: Found | None) -> SourceError | None:
    """What is wrong with the first entry of a canary's listing."""
    if found is None:
        return SourceError("A listing that is never empty came empty; yt-dlp may read it no longer.", "extractor")
    given = found.full or found.flat
    if found.key is None or given is None:
        lack = "an id and a title"
    elif given.snapshot.views is None:
        lack = "a count of views"
    else:
        return None
    return SourceError(f"The first entry of the listing lacks {lack}; yt-dlp may be out of date.", "extractor")
