"""What yt-dlp's errors and answers mean; the sources themselves are replayed elsewhere."""

import io
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loopback import FreePace
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, IncompleteRead, ProxyError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError, UserNotLive

from miles import scrape, settings
from miles.errors import MilesError, SourceError

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def answered(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(), "https://example.com", {}, status=status))


def raised(inner: Exception, *, wrapped: bool = True) -> Exception:
    """An error as yt-dlp raises it: the extractor's around the network's, its own around both."""
    try:
        try:
            raise inner
        except Exception as cause:
            raise ExtractorError("Unable to download webpage", cause=cause) from cause
    except ExtractorError as error:
        if not wrapped:
            return error
        return DownloadError(f"ERROR: {error}", error.exc_info)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(
    ("inner", "kind", "status"),
    [
        (answered(429), "rate_limited", 429),
        (answered(403), "rate_limited", 403),
        (answered(404), "gone", 404),
        (answered(410), "gone", 410),
        (answered(408), "transient", 408),
        (answered(500), "transient", 500),
        (answered(503), "transient", 503),
        (TransportError("reset by peer"), "transient", None),
        (IncompleteRead(10, 20), "transient", None),
        (ProxyError("no route"), "transient", None),
        (CertificateVerifyError("self-signed"), "invalid", None),
        (json.JSONDecodeError("cut", "{", 1), "extractor", None),
    ],
)
def test_the_type_of_an_error_says_what_to_do(inner: Exception, kind: str, status: int | None, wrapped: bool) -> None:
    problem = scrape._source_error(raised(inner, wrapped=wrapped))
    assert (problem.kind, problem.status) == (kind, status)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnsupportedError("https://example.com"), "invalid"),
        (GeoRestrictedError("not in your country"), "gone"),
        (UserNotLive(), "gone"),
        (ExtractorError("Private video", expected=True), "gone"),
        (ExtractorError("Sign in to confirm you're not a bot", expected=True), "rate_limited"),
        (ExtractorError("Sign in to confirm your age", expected=True), "gone"),
        (ExtractorError("Unable to extract title"), "extractor"),
        (KeyError("contents"), "extractor"),  # the shape of an answer changed
    ],
)
def test_an_extractor_says_what_it_expected(error: Exception, kind: str) -> None:
    assert scrape._source_error(error).kind == kind


def test_what_is_no_error_of_a_source_surfaces() -> None:
    with pytest.raises(MemoryError):
        scrape._source_error(MemoryError())


def test_a_message_is_one_line_without_advice_for_bug_reports() -> None:
    error = DownloadError(
        "ERROR: \x1b[0;31m[site] abc: Unable\n to read; please report this issue on https://example.com ."
    )
    problem = scrape._source_error(error)
    assert "[site] abc: Unable to read" in str(problem)
    assert "please report" not in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("thumbnails", "expected"),
    [
        # yt-dlp's guesses have no size and come last, as the best
        ([{"url": "a", "width": 168}, {"url": "b", "width": 336}, {"url": "guess/maxresdefault.webp"}], "b"),
        ([{"url": "a", "width": 720}, {"url": "huge", "width": 4000}], "a"),
        ([{"url": "first"}, {"url": "last"}], "last"),
        ([{"width": 10}], None),
        (None, None),
    ],
)
def test_the_widest_picture_with_a_size_is_the_thumbnail(thumbnails: list | None, expected: str | None) -> None:
    assert scrape._thumbnail({"thumbnails": thumbnails}) == expected


def test_a_thumbnail_without_a_list_is_taken() -> None:
    assert scrape._thumbnail({"thumbnail": "https://example.com/a.jpg"}) == "https://example.com/a.jpg"


def test_only_a_channels_own_tab_lends_its_channel_to_its_entries() -> None:
    owner = {"channel_id": "UCowner", "channel": "Owner", "channel_follower_count": 7}
    assert scrape._with_channel({"id": "v"}, {"id": "UCowner", **owner}) == {"id": "v", **owner}
    assert scrape._with_channel({"id": "v"}, {"id": "PLplaylist", **owner}) == {"id": "v"}
    assert (
        scrape._with_channel({"id": "v", "channel_id": "UCother"}, {"id": "UCowner", **owner})["channel_id"]
        == "UCother"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", timedelta(minutes=2)),
        ("0", timedelta(0)),
        ("-5", timedelta(0)),
        ("Mon, 04 May 2026 12:10:00 GMT", timedelta(minutes=10)),
        ("Mon, 04 May 2026 11:00:00 GMT", timedelta(0)),  # over
        ("soon", None),
        ("9" * 400, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected: timedelta | None) -> None:
    assert scrape.retry_after(value, NOW) == expected


def test_settings_reach_yt_dlp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "no-certifi" not in scrape._Downloader(FreePace(), bool).params["compat_opts"]
    assert scrape._Downloader(FreePace(), bool).params["cookiefile"] is None
    monkeypatch.setenv("MILES_PROXY", "http://127.0.0.1:1")
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(other, "/nowhere/ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ca.pem")
    settings.load.cache_clear()
    params = scrape._Downloader(FreePace(), bool).params
    assert params["proxy"] == "http://127.0.0.1:1"
    assert "no-certifi" in params["compat_opts"]
    assert params["skip_download"] is True
    assert {os.environ["REQUESTS_CA_BUNDLE"], os.environ["CURL_CA_BUNDLE"]} == {"/etc/ca.pem"}  # curl_cffi reads these
    monkeypatch.setenv("MILES_COOKIES", str(tmp_path / "nowhere.txt"))
    settings.load.cache_clear()
    with pytest.raises(MilesError, match="MILES_COOKIES names"):
        scrape._Downloader(FreePace(), bool)


@pytest.mark.parametrize(
    ("language", "region", "kind", "expected"),
    [
        (None, " ", "channel", (None, None)),
        ("JA", "jp", "topic", ("ja", "JP")),
        ("pt-pt", None, "hashtag", ("pt-PT", None)),
        ("zh_tw", "TW", "url", ("zh-TW", "TW")),
    ],
)
def test_an_audience_is_taken_as_people_write_it(
    language: str | None, region: str | None, kind: str, expected: tuple[str | None, str | None]
) -> None:
    audience = scrape.audience(language, region, kind)
    assert (audience.language, audience.region) == expected


@pytest.mark.parametrize(
    ("language", "region", "kind", "words"),
    [
        ("klingon", None, "topic", "no language that YouTube can be asked in"),
        (None, "XX", "topic", "'XX' is no country"),
        (None, "Japan", "topic", "two letters"),
        ("ja", None, "channel", "the same videos for everybody"),
        (None, "JP", "playlist", "the same videos for everybody"),
        (None, "JP", "tiktok", "the same videos for everybody"),
    ],
)
def test_an_audience_that_no_source_knows_is_refused(
    language: str | None, region: str | None, kind: str, words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        scrape.audience(language, region, kind)


def test_the_languages_of_a_browser_come_in_order() -> None:
    def spoken(language: str, region: str | None) -> str:
        return scrape._accept_language(scrape.Audience(language, region))

    assert spoken("ja", "JP") == "ja-JP,ja;q=0.9,en;q=0.8"
    assert spoken("pt-PT", "BR") == "pt-PT,pt;q=0.9,en;q=0.8"
    assert spoken("en", None) == "en"
