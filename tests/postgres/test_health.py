"""How the sources stand: canaries through the same pace, what is kept of them, when they are asked."""

from datetime import date

import pytest
from loopback import Answer, Site
from tables import change, rows

from miles import collecting, db, health, jobs, pacing, scrape, settings
from miles.errors import MilesError, SourcePaused

pytestmark = pytest.mark.usefixtures("database")


def stands(source: str) -> health.Health:
    with db.transaction("viewer") as connection:
        return next(one for one in health.sources(connection) if one.source == source)


@pytest.fixture
def feed(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose canary is one page with a video."""
    site.video("one", views=5)
    monkeypatch.setitem(health.CANARIES, "127.0.0.1", f"{site.address}/watch/one")
    return site


def test_a_fresh_installation_knows_youtube_and_nothing_of_it() -> None:
    with db.transaction("viewer") as connection:
        [youtube] = health.sources(connection)
    assert (youtube.source, youtube.state, youtube.canary, youtube.has_canary) == ("youtube", None, None, True)
    assert youtube.well


def test_a_canary_that_is_answered_passes_is_kept_and_counts_for_the_budget(feed: Site) -> None:
    canary = health.ask("127.0.0.1")
    one = stands("127.0.0.1")
    assert one.canary == canary
    assert one.state is not None
    assert canary.requests == one.state.used == len(feed.requests)
    assert canary.yt_dlp == scrape.YT_DLP_VERSION
    assert (canary.passed, canary.error_kind, canary.reason) == (True, None, None)
    assert one.well
    assert one.state.last_success_at is not None


def test_a_canary_whose_answer_has_lost_a_part_fails(feed: Site) -> None:
    page = feed.pages["/watch/one"]
    assert isinstance(page, Answer)
    feed.pages["/watch/one"] = Answer(page.body.replace(b"userInteractionCount", b"moved"))
    canary = health.ask("127.0.0.1")
    assert (canary.passed, canary.error_kind) == (False, "extractor")
    assert "lacks a count of views" in (canary.reason or "")


def test_a_canary_that_fails_says_why_and_the_newest_one_counts(feed: Site) -> None:
    feed.pages["/watch/one"] = Answer(b"gone", status=404)
    failed = health.ask("127.0.0.1")
    assert (failed.passed, failed.error_kind) == (False, "gone")
    assert "404" in (failed.reason or "")
    assert not stands("127.0.0.1").well
    feed.pages["/watch/one"] = Answer(b"", status=503)
    assert health.ask("127.0.0.1").error_kind == "transient"
    assert stands("127.0.0.1").canary != failed
    assert rows("SELECT count(*) FROM canaries") == [(2,)]


def test_a_canary_that_is_refused_opens_the_breaker_and_the_next_one_is_not_asked(feed: Site) -> None:
    feed.pages["/watch/one"] = Answer(b"", status=429)
    refused = health.ask("127.0.0.1")
    assert (refused.passed, refused.error_kind) == (False, "rate_limited")
    state = stands("127.0.0.1").state
    assert state is not None
    assert state.breaker == "open"
    asked = len(feed.requests)
    with pytest.raises(SourcePaused):
        health.ask("127.0.0.1")
    assert len(feed.requests) == asked
    assert rows("SELECT count(*) FROM canaries") == [(1,)]
    jobs.canary(source="127.0.0.1")  # nothing to be learned now is no failure of the job


def test_old_results_are_forgotten(feed: Site) -> None:
    health.ask("127.0.0.1")
    change("UPDATE canaries SET at = at - interval '31 days'")
    health.ask("127.0.0.1")
    assert rows("SELECT count(*) FROM canaries") == [(1,)]


def due() -> list[str]:
    with db.transaction("viewer") as connection:
        return health.due(connection)


def test_a_canary_is_due_once_a_day_while_the_source_is_in_use_and_does_not_refuse() -> None:
    assert due() == []  # nobody collects
    with db.transaction("worker") as connection:
        collecting.ask(connection, "food")
        collecting.ask(connection, "https://example.org/feed", "url")  # which has none
    assert due() == ["youtube"]
    change(
        "INSERT INTO canaries (source, passed, requests, seconds, yt_dlp) VALUES ('youtube', true, 1, 0.5, '2026.1.1')"
    )
    assert due() == []
    change("UPDATE canaries SET at = now() - interval '25 hours'")
    assert due() == ["youtube"]
    change("INSERT INTO sources (source, opened_at, resume_at) VALUES ('youtube', now(), now() + interval '1 hour')")
    assert due() == []
    change("UPDATE sources SET resume_at = NULL")
    change("UPDATE collections SET asked_at = now() - interval '15 days'")
    assert due() == []


def test_a_refresh_has_due_canaries_asked_once() -> None:
    with db.transaction("worker") as connection:
        collecting.ask(connection, "@cook", "tiktok")
        collecting.ask(connection, "https://youtu.be/abc", "url")
    for _ in range(2):
        jobs.refresh(timestamp=0)
    asked = rows("SELECT args->>'source' FROM procrastinate_jobs WHERE task_name = 'canary' ORDER BY 1")
    assert asked == [("tiktok",), ("youtube",)]


def test_a_source_without_a_canary_is_said() -> None:
    for ask in (health.ask, health.check):
        with pytest.raises(MilesError, match=r"'example\.org' has no canary; youtube and tiktok"):
            ask("example.org")


@pytest.mark.parametrize(
    ("version", "today", "age", "old"),
    [
        ("2026.10.26", date(2026, 11, 21), 26, False),
        ("2026.10.26", date(2026, 12, 26), 61, True),
        ("unknown", date(2026, 11, 21), None, False),
    ],
)
def test_the_age_of_yt_dlp_is_told(
    version: str, today: date, age: int | None, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "YT_DLP_VERSION", version)
    assert health.yt_dlp(today) == health.YtDlp(version, age, old)


def test_the_last_success_is_known_however_long_ago_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    settings.load.cache_clear()
    monkeypatch.setattr(pacing, "PRUNE_EVERY", 1)
    pacer = pacing.Pacer()

    def step(outcome: pacing.Outcome) -> None:
        permit = pacer.permit("https://www.youtube.com/")
        assert permit
        pacer.settle([permit], outcome)

    for outcome in ("ok", "ok", "transient", "transient"):
        step(outcome)  # type: ignore[arg-type]
    change("UPDATE source_requests SET at = at - interval '3 days'")
    step("ok")  # prunes
    assert rows("SELECT number FROM source_requests ORDER BY number") == [(2,), (4,), (5,)]
    change("DELETE FROM source_requests WHERE number = 5")
    state = stands("youtube").state
    assert state is not None
    assert state.last_success_at is not None
    assert state.last_failure == "transient"
    assert (state.answered_24h, state.failed_24h, state.requests_24h, state.success_rate) == (0, 0, 0, None)
