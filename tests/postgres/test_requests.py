"""Each request of yt-dlp has a permit, and what came of it is told; on loopback, without a database."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loopback import Answer, FreePace, Site

from miles import scrape, settings
from miles.deadline import within
from miles.errors import SourceError, SourcePaused

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_no_request_is_sent_without_a_permit_and_an_answer_settles_it(site: Site) -> None:
    pace = FreePace()
    source = scrape.Source(pace)
    source.extract(scrape.Found(site.video("one", views=7), None, None))
    assert [url.removeprefix(site.address) for url in pace.asked] == site.requests
    assert pace.outcomes == [(pace.asked, "ok")]
    assert source.requests == len(site.requests) > 0


def test_while_a_source_is_paused_nothing_is_sent(site: Site) -> None:
    pace, address = FreePace(), site.video("one", views=7)
    pace.hold = SourcePaused("not before tomorrow", "127.0.0.1", NOW)
    source = scrape.Source(pace)
    for step in (
        lambda: source.extract(scrape.Found(address, None, None)),
        lambda: list(source.discover(address, "url", 5)),
    ):
        with pytest.raises(SourcePaused):
            step()
    assert site.requests == []
    assert pace.outcomes == []
    pace.hold = None
    assert source.extract(scrape.Found(address, None, None)).snapshot.views == 7


def test_too_many_requests_is_a_refusal_with_the_time_that_the_source_asks_for(site: Site) -> None:
    pace = FreePace()
    site.pages["/watch/one"] = Answer(status=429, headers={"Retry-After": "7200"})
    with pytest.raises(SourcePaused):
        scrape.Source(pace).extract(scrape.Found(f"{site.address}/watch/one", None, None))
    [(permit, reason, asked)] = pace.refusals
    assert (permit, asked) == (f"{site.address}/watch/one", timedelta(hours=2))
    assert "429" in reason
    assert pace.outcomes == []  # the refusal says it


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Answer(status=404), "gone"), (Answer(status=503), "transient"), (Answer(b"<html>nothing</html>"), "invalid")],
)
def test_what_came_of_a_step_is_told(site: Site, answer: Answer, outcome: str) -> None:
    pace = FreePace()
    site.pages["/watch/one"] = answer
    with pytest.raises(SourceError) as problem:
        scrape.Source(pace).extract(scrape.Found(f"{site.address}/watch/one", None, None))
    assert problem.value.kind == outcome
    assert [told for _, told in pace.outcomes] == [outcome]


def test_waiting_for_permits_does_not_count_as_slowness(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowPace(FreePace):
        waited = 0.0

        def permit(self, url: str, wanted: Callable[[], bool]) -> str | None:
            start = time.monotonic()
            time.sleep(0.4)
            self.waited += time.monotonic() - start
            return super().permit(url, wanted)

    pace, start = SlowPace(), time.monotonic()
    source = scrape.Source(pace, deadline=100)
    assert source.extract(scrape.Found(site.video("one", views=7), None, None)).snapshot.views == 7
    assert pace.waited >= 0.4
    assert 0 < 100 - source.seconds_left <= time.monotonic() - start - pace.waited


def test_a_call_has_its_time_without_its_pauses() -> None:
    paused = 0.0

    def slow() -> str:
        nonlocal paused
        for _ in range(20):
            start = time.monotonic()
            time.sleep(0.05)
            paused += time.monotonic() - start
        return "done"

    assert within(0.7, slow, pauses=lambda: paused) == "done"
    with pytest.raises(TimeoutError):
        within(0.2, lambda: time.sleep(5), pauses=lambda: 0.1)  # what was paused before does not count


def test_a_wait_for_a_permit_ends_when_the_collection_is_stopped(site: Site) -> None:
    source = scrape.Source(FreePace(), stop=lambda: True)
    with pytest.raises(InterruptedError):
        source.extract(scrape.Found(site.video("one", views=7), None, None))
    assert site.requests == []


def test_cookies_are_sent_where_they_belong_never_written_and_never_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jar = tmp_path / "cookies.txt"
    written = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tsession\thush-hush\n"
    jar.write_text(written)
    monkeypatch.setenv("MILES_COOKIES", str(jar))
    settings.load.cache_clear()
    caplog.set_level(logging.DEBUG)
    source = scrape.Source(FreePace())
    site.pages["/watch/two"] = Answer(status=500)
    source.extract(scrape.Found(site.video("one", views=7), None, None))
    with pytest.raises(SourceError) as problem:
        source.extract(scrape.Found(f"{site.address}/watch/two", None, None))
    source.close()
    assert "session=hush-hush" in site.headers[0].get("Cookie", "")
    assert "hush-hush" not in caplog.text + str(problem.value) + repr(settings.load())
    assert jar.read_text() == written
