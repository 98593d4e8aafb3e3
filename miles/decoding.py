"""Bytes that are said to be a picture, decoded: upright and in plain colours, or refused with a reason.

Pure: no network, no files. Whoever uploads or publishes a picture chooses its bytes, so they are hostile
until shown otherwise: only formats whose decoder we mean to run, every limit read from the header before a
pixel is decoded, and one large picture at a time, so that memory stays bounded however many ask at once.
"""

import io
import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import ExifTags, Image, ImageOps

from miles.errors import ImageRefused

T = TypeVar("T")

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
MAX_SCANS = 100  # of a JPEG; real ones have 10. Each walks over all pixels: at 40 megapixels 50 ms
MAX_PARTS = 10_000  # chunks, segments, blocks; a large PNG has 1,300. Pillow takes up to 5 µs and more for each
MAX_FILLING = 10_000  # bytes between a JPEG's segments, which Pillow skips one by one

# A thread rather than a lock: memory that is freed by many threads is kept by each for itself (glibc's arenas).
_ONE_AT_A_TIME = ThreadPoolExecutor(1, thread_name_prefix="large-picture")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {turn for way, turn in _TURNS.items() if way >= 5}

# Pillow warns of what is refused or mended below. Said once for the process: `catch_warnings` around
# each picture would let threads restore each other's filters.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def whole(data: bytes) -> tuple[str, int, int]:
    """Content type, width and height in pixels of a picture, decoded to its end to be sure of it.

    Raises ImageRefused.
    """
    return _decoded(data, _read)


def middle(data: bytes, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture as RGB, scaled and cropped to `size` (width, height in pixels).

    The first frame where it moves, turned as its EXIF says, on white where it is transparent.
    Raises ImageRefused.
    """
    return _decoded(data, lambda picture: _middle(picture, size))


def shrunk(data: bytes, size: tuple[int, int]) -> bytes:
    """The middle of a picture as a PNG of `size`: what is made of that is to the bit what is made of the picture.

    Raises ImageRefused.
    """
    out = io.BytesIO()
    middle(data, size).save(out, "PNG", compress_level=1)
    return out.getvalue()


def scaled_down(data: bytes, side: int) -> bytes:
    """The whole picture as a JPEG that is at most `side` pixels wide and high. Raises ImageRefused."""
    out = io.BytesIO()
    _decoded(data, lambda picture: _scaled_down(picture, side)).save(out, "JPEG", quality=90)
    return out.getvalue()


def _decoded(data: bytes, work: Callable[[Image.Image], T]) -> T:
    """`work` on a picture of which only the header is read, and found harmless. Any failure is a refusal."""
    if len(data) > MAX_BYTES:
        raise ImageRefused(
            f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB. Choose a smaller one.", "too_large"
        )
    if not _is_plain(data):
        raise ImageRefused("The picture is put together so that reading it takes long. Save it anew.", "too_complex")
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as picture:
            width, height = picture.size
            _check_size(width, height)
            if width * height > LARGE:
                return _ONE_AT_A_TIME.submit(_finished, picture, work).result()
            return work(picture)
    except ImageRefused:
        raise
    except Image.DecompressionBombError as error:
        raise ImageRefused("The picture has too many pixels. Choose a smaller one.", "too_many_pixels") from error
    except Exception as error:  # decoders raise almost anything on broken bytes
        raise ImageRefused(
            "This is not a whole picture. JPEG, PNG, WebP, GIF and AVIF can be read; it may be cut off or damaged.",
            "not_an_image",
        ) from error


def _finished(picture: Image.Image, work: Callable[[Image.Image], T]) -> T:
    """`work`, and the picture's memory given back before anything else is begun."""
    try:
        return work(picture)
    finally:
        picture.close()


def _read(picture: Image.Image) -> tuple[str, int, int]:
    width, height = picture.size
    content_type = FORMATS["JPEG" if picture.format == MPO else str(picture.format)]
    picture.draft("RGB", (1, 1))  # the smallest scale that a JPEG's decoder offers; it reads every byte all the same
    picture.load()
    return content_type, width, height


def _middle(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return ImageOps.fit(_upright(picture, size), size, Image.Resampling.BILINEAR)


def _scaled_down(picture: Image.Image, side: int) -> Image.Image:
    shown = _upright(picture, (side, side))
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    return shown


def _upright(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in RGB as it is meant to be seen; a JPEG no larger than it must be to cover `size`."""
    if picture.format in (
        "JPEG",
        MPO,
    ):  # whose decoder can scale as it reads: 1280 x 720 pixels take a quarter of the time
        lies = _TURNS.get(_orientation(picture)) in _ON_ITS_SIDE
        picture.draft("RGB", (size[1], size[0]) if lies else size)
    picture.load()
    turn = _TURNS.get(_orientation(picture))
    shown = _eight_bits(picture)
    if shown.width * shown.height > LARGE:  # else every copy below costs 160 MB more
        factor = min(shown.width // (2 * size[0]), shown.height // (2 * size[1]))
        shown = shown.reduce(max(factor, 1))
    if turn is not None:
        shown = shown.transpose(turn)
    return _on_white(shown)


def _is_plain(data: bytes) -> bool:
    """Whether the parts of a file are few enough to be read in a moment; true of what is no picture, too."""
    if data.startswith(b"\xff\xd8"):
        return _is_plain_jpeg(data)
    if data.startswith(b"\x89PNG"):
        return _is_plain_png(data)
    return not data.startswith(b"GIF8") or _is_plain_gif(data)


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # inside a JPEG's pixels, FF is followed by 00 or D0 … D7
_END, _SCAN = 0xD9, 0xDA


def _is_plain_jpeg(data: bytes) -> bool:
    at, parts, scans, filling = 2, 0, 0, 0
    while found := _MARKER.search(data, at):
        code = data[found.end() - 1]
        if code == _END:
            return True
        parts += 1
        filling += 0 if scans else found.end() - 2 - at
        scans += code == _SCAN
        if scans > MAX_SCANS or parts > MAX_PARTS or filling > MAX_FILLING:
            return False
        at = found.end() + max(int.from_bytes(data[found.end() : found.end() + 2]), 2)
    return len(data) - at <= MAX_FILLING or scans > 0


def _is_plain_png(data: bytes) -> bool:
    at = 8
    for _ in range(MAX_PARTS):
        if at >= len(data):
            return True
        at += 12 + int.from_bytes(data[at : at + 4])
    return False


def _is_plain_gif(data: bytes) -> bool:
    """The blocks before the first frame."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    inside = False  # an extension, which is a list of lengths and bytes that ends with a length of 0
    for _ in range(MAX_PARTS):
        if at >= len(data) or (not inside and data[at] in b",;"):
            return True
        if inside:
            inside = data[at] > 0
            at += 1 + data[at]
        else:
            inside = data[at] == ord("!")
            at += 2 if inside else 1
    return False


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
