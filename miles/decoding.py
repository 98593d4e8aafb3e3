"""Bytes that are said to be a picture, decoded: upright and in plain colours, or refused with a reason.

Pure: no network, no files. Whoever uploads or publishes a picture chooses its bytes, so they are hostile
until shown otherwise: only formats whose decoder we mean to run, every limit read from the header before a
pixel is decoded, and one large picture at a time, so that memory stays bounded however many ask at once.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from PIL import ExifTags, Image, ImageOps

from miles.errors import ImageRefused

FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
MPO = "MPO"  # what cameras with two lenses write, a JPEG with more JPEGs behind it; Pillow gives it a name of its own
MAX_BYTES = 10 * 1024 * 1024  # YouTube refuses thumbnails over 2 MB (50 MB for podcasts); no real one is near
MAX_PIXELS = 40_000_000  # decoded: 160 MB of memory
MIN_SIDE = 16  # pixels; smaller ones are tracking dots and placeholders, and show nothing
LARGE = 4_000_000  # pixels; twice the largest thumbnail of any site
MAX_SCANS = 200  # of a JPEG, real ones have 10; each walks over all pixels, so thousands take minutes

_LARGE_ONE = threading.Lock()
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of what is refused or mended below. Said once for the process: `catch_warnings` around
# each picture would let threads restore each other's filters.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def whole(data: bytes) -> tuple[str, int, int]:
    """Content type, width and height in pixels of a picture, decoded to its end to be sure of it.

    Raises ImageRefused.
    """
    with _opened(data) as picture:
        width, height = picture.size
        content_type = FORMATS["JPEG" if picture.format == MPO else str(picture.format)]
        # The smallest scale that a JPEG's decoder offers: it reads every byte all the same.
        picture.draft("RGB", (1, 1))
        picture.load()
        return content_type, width, height


def middle(data: bytes, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture as RGB, scaled and cropped to `size` (width, height in pixels).

    The first frame where it moves, turned as its EXIF says, on white where it is transparent.
    Raises ImageRefused.
    """
    with _opened(data) as picture:
        picture.draft("RGB", (2 * size[0], 2 * size[1]))
        picture.load()
        turn = _TURNS.get(_orientation(picture))
        shown = _eight_bits(picture)
        if shown.width * shown.height > LARGE:  # else every copy below costs 160 MB more
            factor = min(shown.width // (4 * size[0]), shown.height // (4 * size[1]))
            shown = shown.reduce(max(factor, 1))
        if turn is not None:
            shown = shown.transpose(turn)
        return ImageOps.fit(_on_white(shown), size, Image.Resampling.BILINEAR)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """A picture of which only the header is read, and found harmless. Any failure inside is a refusal."""
    if len(data) > MAX_BYTES:
        raise ImageRefused(
            f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB. Choose a smaller one.", "too_large"
        )
    # Inside a JPEG's pixels FF is never followed by DA, so this counts scans, and a few bytes of its notes.
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise ImageRefused("The picture is made to take long. Save it again as a plain JPEG.", "too_large")
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as picture:
            width, height = picture.size  # from the header: nothing is decoded yet
            _check_size(width, height)
            with _LARGE_ONE if width * height > LARGE else nullcontext():
                yield picture
    except ImageRefused:
        raise
    except Image.DecompressionBombError as error:
        raise ImageRefused("The picture has too many pixels. Choose a smaller one.", "too_many_pixels") from error
    except Exception as error:  # decoders raise almost anything on broken bytes
        raise ImageRefused(
            "This is not a whole picture. JPEG, PNG, WebP, GIF and AVIF can be read; it may be cut off or damaged.",
            "not_an_image",
        ) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageRefused(
            f"The picture has {width} x {height} pixels, too many. Choose a smaller one.", "too_many_pixels"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(
            f"The picture has {width} x {height} pixels, too few. Choose one of at least {MIN_SIDE} x {MIN_SIDE}.",
            "too_small",
        )


def _orientation(picture: Image.Image) -> int:
    """What EXIF says of how the camera was held; 1 (upright) where it can't be read."""
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # notes beside the pixels, as broken as whoever wrote them likes
        return 1


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture in a mode that can be scaled, 8 bits a channel."""
    if picture.mode.startswith("I;16"):  # convert() would clip all but the darkest 255 of 65536 greys to white
        return picture.point(lambda value: value / 256).convert("L")
    if picture.mode in ("P", "PA", "1"):
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB; what lies under transparent pixels is not part of the picture, and is often black."""
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
