"""What is asked of yt-dlp for a target, and what its errors mean; the sources themselves are replayed elsewhere."""

import io
import json
import os

import pytest
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, IncompleteRead, ProxyError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError, UserNotLive

from miles import scrape, settings
from miles.errors import SourceError

CHANNEL = "UC" + "x" * 22


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("street food", "topic", ["ytsearch7:street food"]),
        (" #shorts: best of ", "topic", ["ytsearch7:#shorts: best of"]),
        ("#streetfood", "hashtag", ["https://www.youtube.com/hashtag/streetfood/shorts", "https://www.youtube.com/hashtag/streetfood"]),
        ("straßenküche", "hashtag", ["https://www.youtube.com/hashtag/stra%C3%9Fenk%C3%BCche/shorts", "https://www.youtube.com/hashtag/stra%C3%9Fenk%C3%BCche"]),
        ("https://www.youtube.com/hashtag/cats", "hashtag", ["https://www.youtube.com/hashtag/cats/shorts", "https://www.youtube.com/hashtag/cats"]),
        ("@some.one", "channel", ["https://www.youtube.com/@some.one/shorts", "https://www.youtube.com/@some.one/videos"]),
        (CHANNEL, "channel", [f"https://www.youtube.com/channel/{CHANNEL}/shorts", f"https://www.youtube.com/channel/{CHANNEL}/videos"]),
        # a tab that is named is the one that is meant
        ("https://www.youtube.com/@some.one/videos", "channel", ["https://www.youtube.com/@some.one/videos"]),
        ("https://www.youtube.com/@some.one/", "url", ["https://www.youtube.com/@some.one/shorts", "https://www.youtube.com/@some.one/videos"]),
        ("https://www.tiktok.com/@someone", "channel", ["https://www.tiktok.com/@someone"]),
        ("https://example.com/feed.xml", "url", ["https://example.com/feed.xml"]),
    ],
)  # fmt: skip
def test_a_target_becomes_addresses(target: str, kind: scrape.Kind, expected: list[str]) -> None:
    assert scrape.addresses(target, kind, 7) == expected


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("", "topic"),
        ("two words", "hashtag"),
        ("#", "hashtag"),
        ("just a name", "channel"),
        ("file:///etc/passwd", "url"),
        ("ytsearch500:everything", "url"),  # yt-dlp's own prefixes are not for visitors
        ("example.com/video", "url"),
        ("https://", "url"),
    ],
)
def test_what_names_nothing_is_refused(target: str, kind: scrape.Kind) -> None:
    with pytest.raises(SourceError) as refusal:
        scrape.addresses(target, kind, 7)
    assert refusal.value.kind == "invalid"


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
    problem = scrape._source_error(raised(inner, wrapped=wrapped), scrape._Downloader(0))
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
    assert scrape._source_error(error, scrape._Downloader(0)).kind == kind


def test_what_is_no_error_of_a_source_surfaces() -> None:
    with pytest.raises(MemoryError):
        scrape._source_error(MemoryError(), scrape._Downloader(0))


def test_a_message_is_one_line_without_advice_for_bug_reports() -> None:
    error = DownloadError(
        "ERROR: \x1b[0;31m[site] abc: Unable\n to read; please report this issue on https://example.com ."
    )
    problem = scrape._source_error(error, scrape._Downloader(0))
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


def test_settings_reach_yt_dlp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no-certifi" not in scrape._Downloader(5).params["compat_opts"]
    monkeypatch.setenv("MILES_PROXY", "http://127.0.0.1:1")
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(other, "/nowhere/ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ca.pem")
    settings.load.cache_clear()
    params = scrape._Downloader(5).params
    assert (params["proxy"], params["sleep_interval_requests"]) == ("http://127.0.0.1:1", 0.5)
    assert "no-certifi" in params["compat_opts"]
    assert params["skip_download"] is True
    assert {os.environ["REQUESTS_CA_BUNDLE"], os.environ["CURL_CA_BUNDLE"]} == {"/etc/ca.pem"}  # curl_cffi reads these


def test_full_extractions_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(scrape.time, "sleep", slept.append)
    source = scrape.Source(delay=5)
    info = {"id": "v", "title": "A video", "extractor": "site", "extractor_key": "Site"}
    monkeypatch.setattr(source, "_resolve", lambda url, extractor: dict(info))
    for _ in range(2):
        source.extract(scrape.Found("https://example.com/v", None, None))
    assert slept[0] == 0
    assert 4.5 < slept[1] <= 5


def test_after_a_refusal_nothing_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    source = scrape.Source(delay=0)
    asked: list[str] = []

    def refuse(url: str, extractor: str | None = None) -> dict:
        asked.append(url)
        raise raised(answered(429))

    monkeypatch.setattr(source, "_resolve", refuse)
    for _ in range(3):
        with pytest.raises(SourceError) as refusal:
            source.extract(scrape.Found("https://example.com/v", None, None))
        assert refusal.value.kind == "rate_limited"
    assert len(asked) == 1
