"""Thumbnails: fetched with limits, and checked to be the pictures that they say they are.

Whoever publishes a video chooses its thumbnail's address and bytes, so both are hostile until shown
otherwise: web addresses only, a limit on bytes, pixels and time, and only formats whose decoder we
mean to run. Knows nothing about videos or where a picture is kept.
"""

import io
import time
import warnings
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from PIL import Image as Pillow
from urllib3.exceptions import HTTPError

from miles import settings
from miles.deadline import within
from miles.errors import SourceError, UnreadableFile

MAX_BYTES = 10 * 1024 * 1024  # YouTube refuses thumbnails over 2 MB (50 MB for podcasts); no real one is near
MAX_PIXELS = 40_000_000  # decoded: 160 MB of memory
FETCH_TIMEOUT = 20.0  # seconds for all of one picture
READ_TIMEOUT = 8.0  # seconds of silence
MAX_REDIRECTS = 5
CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True, slots=True)
class Image:
    """The bytes of a picture that decodes."""

    data: bytes
    content_type: str
    width: int  # pixels
    height: int  # pixels


def fetch(url: str) -> Image:
    """The picture at a web address. Raises SourceError, UnreadableFile."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceError(f"Not a web address: {url[:100]}", "invalid")
    try:
        return check(within(FETCH_TIMEOUT, lambda: _download(url)))
    except TimeoutError as error:
        raise SourceError(f"The picture did not arrive within {FETCH_TIMEOUT:.0f} s.", "transient") from error
    except (requests.RequestException, HTTPError) as error:
        raise SourceError(f"The picture could not be fetched ({type(error).__name__}).", "transient") from error


def check(data: bytes) -> Image:
    """The picture that these bytes are, decoded once to be sure of it. Raises UnreadableFile."""
    if len(data) > MAX_BYTES:
        raise UnreadableFile(f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB. Choose a smaller one.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(io.BytesIO(data), formats=tuple(CONTENT_TYPES)) as picture:
                width, height = picture.size  # from the header: nothing is decoded yet
                if width * height > MAX_PIXELS:
                    raise UnreadableFile(f"The picture has {width} x {height} pixels, too many. Choose a smaller one.")
                picture.load()
                return Image(data, CONTENT_TYPES[str(picture.format)], width, height)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombWarning, Pillow.DecompressionBombError) as error:
        # Pillow's decoders raise all of these for damaged files
        raise UnreadableFile(
            "This is not a whole picture. JPEG, PNG, WebP and GIF can be read; it may be cut off or damaged."
        ) from error


def _download(url: str) -> bytes:
    started = time.monotonic()
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        chosen = settings.load()
        if chosen.proxy:
            session.proxies = {"http": chosen.proxy, "https": chosen.proxy}
            session.trust_env = False  # the machine's own proxy variables must not win over ours
        # identity: a compressed answer would be a second way to make a bomb
        with session.get(
            url,
            stream=True,
            timeout=READ_TIMEOUT,
            verify=str(chosen.ssl_cert_file)
            if chosen.ssl_cert_file
            else True,  # said of a session, the environment wins
            headers={"Accept-Encoding": "identity", "Accept": "image/*"},
        ) as answer:
            if answer.status_code != 200:
                raise SourceError(
                    f"The picture's server answered {answer.status_code}.",
                    _kind(answer.status_code),
                    answer.status_code,
                )
            length = answer.headers.get("Content-Length", "")
            announced = int(length) if length.isdecimal() else 0
            data = bytearray()
            while chunk := answer.raw.read1(65536, decode_content=False):
                data += chunk
                if max(len(data), announced) > MAX_BYTES:
                    raise SourceError(f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB.", "invalid")
                if time.monotonic() - started > FETCH_TIMEOUT:  # so that an abandoned thread ends too
                    raise TimeoutError
            return bytes(data)


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limited"
    return "transient" if status >= 500 else "gone"
