"""Thumbnails are hostile until shown otherwise."""

import gzip
import time
import zlib

import pytest
from loopback import Answer, Site, picture

from miles import images, settings
from miles.errors import ImageRefused


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_a_real_picture_is_recognised_by_what_it_holds(kind: str, content_type: str) -> None:
    image = images.check(picture(120, 90, kind))
    assert (image.content_type, image.width, image.height) == (content_type, 120, 90)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><body>not here</body></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
        picture(300, 300, "JPEG")[:-400],  # cut off
        picture(300, 300, "PNG")[:60],  # cut off after its header
        picture(64, 36, "BMP"),  # a real picture of a kind that no site serves
        picture(64, 36, "TIFF"),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"GIF89a" + bytes(20),
    ],
)
def test_what_is_no_whole_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageRefused, match="not a whole picture"):
        images.check(data)


@pytest.mark.parametrize("size", [(50_000, 50_000), (8_000, 5_001), (100_000, 30_000)])
def test_a_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ImageRefused, match=r"too many|not a whole picture"):
        images.check(png_header(*size))


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(ImageRefused, match="larger than 10 MB"):
        images.check(bytes(images.MAX_BYTES + 1))


def test_a_picture_is_fetched(site: Site) -> None:
    site.pages["/a.webp"] = Answer(picture(200, 100, "WEBP"), "image/jpeg")  # the announced type is not believed
    image = images.fetch(site.address + "/a.webp")
    assert (image.data, image.content_type) == (picture(200, 100, "WEBP"), "image/webp")


def test_a_redirect_is_followed_and_a_circle_is_not(site: Site) -> None:
    site.pages["/a"] = Answer(status=302, headers={"Location": "/b"})
    site.pages["/b"] = Answer(picture(), "image/png")
    site.pages["/c"] = Answer(status=302, headers={"Location": "/c"})
    assert images.fetch(site.address + "/a").width == 64
    with pytest.raises(ImageRefused, match="more than 3 times"):
        images.fetch(site.address + "/c")
    assert site.requests.count("/c") == images.MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "address", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "data:image/png;base64,AAAA", "a.png"]
)
def test_only_web_addresses_are_asked(address: str) -> None:
    with pytest.raises(ImageRefused, match="Not a web address") as refusal:
        images.fetch(address)
    assert refusal.value.kind == "address"


def test_a_redirect_out_of_the_web_is_not_followed(site: Site) -> None:
    site.pages["/a"] = Answer(status=302, headers={"Location": "file:///etc/hostname"})
    with pytest.raises(ImageRefused, match="Not a web address"):
        images.fetch(site.address + "/a")


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_status_says_what_to_do(site: Site, status: int) -> None:
    site.pages["/a"] = Answer(status=status)
    with pytest.raises(ImageRefused, match=str(status)) as refusal:
        images.fetch(site.address + "/a")
    assert (refusal.value.kind, refusal.value.status) == ("status", status)


def test_an_answer_that_is_too_large_is_not_read_to_its_end(site: Site) -> None:
    site.pages["/announced"] = Answer(b"x", length=images.MAX_BYTES * 100)
    site.pages["/real"] = Answer(bytes(images.MAX_BYTES + 100_000))
    for path in ("/announced", "/real"):
        with pytest.raises(ImageRefused, match="larger than 10 MB"):
            images.fetch(site.address + path)


def test_an_answer_that_is_cut_off_is_refused(site: Site) -> None:
    whole = picture(300, 200)
    site.pages["/a"] = Answer(whole[:-100], "image/png", length=len(whole))
    with pytest.raises(ImageRefused) as refusal:
        images.fetch(site.address + "/a")
    assert refusal.value.kind == "unreachable"


def test_a_compressed_answer_is_not_unpacked(site: Site) -> None:
    site.pages["/a"] = Answer(gzip.compress(picture()), "image/png", headers={"Content-Encoding": "gzip"})
    with pytest.raises(ImageRefused):
        images.fetch(site.address + "/a")


def test_an_answer_that_drips_ends_in_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FETCH_TIMEOUT", 0.5)
    site.pages["/a"] = Answer(picture(), "image/png", drip=0.5)  # all of it would take a minute
    started = time.monotonic()
    with pytest.raises(ImageRefused, match="did not arrive"):
        images.fetch(site.address + "/a")
    assert time.monotonic() - started < 20


def test_a_server_that_is_not_there_is_transient() -> None:
    with pytest.raises(ImageRefused, match="ConnectionRefusedError") as refusal:
        images.fetch("http://127.0.0.1:9/a.png")
    assert refusal.value.kind == "unreachable"


def test_pictures_go_through_the_proxy_of_the_settings(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_PROXY", site.address)
    settings.load.cache_clear()
    site.pages["http://pictures.invalid/a.png"] = Answer(picture(), "image/png")  # a proxy is asked for whole addresses
    assert images.fetch("http://pictures.invalid/a.png").width == 64
