"""Every picture that somebody could send on purpose or by accident: shown right, or refused with a reason.

Right means the colours that a person sees in a browser on a white page, not merely something of the right shape.
"""

import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from miles import decoding, features, images
from miles.errors import ImageRefused
from miles.settings import PROJECT

RED, BLUE, GREEN, WHITE, BLACK, GREY = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255), (0, 0, 0), (128,) * 3
Colour = tuple[int, int, int]
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF"]


def halves(left: Colour = RED, right: Colour = BLUE, size: tuple[int, int] = (320, 180)) -> Image.Image:
    """A picture whose left half has one colour, and whose right half another."""
    picture = Image.new("RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *between: bytes) -> bytes:
    """A PNG written by hand: kinds that Pillow can't write, and lies. `pixels` are rows without filter bytes."""
    row = len(pixels) // height if height else 0
    rows = b"".join(b"\0" + pixels[y * row : (y + 1) * row] for y in range(height)) if row else pixels
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *between,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def with_chunks(*chunks: bytes) -> bytes:
    """The halves as a PNG, with chunks of notes before the pixels."""
    whole = encoded(halves())
    at = whole.index(b"IDAT") - 4
    return whole[:at] + b"".join(chunks) + whole[at:]


def with_segments(whole: bytes, *segments: bytes) -> bytes:
    """A JPEG with notes (APP2) after its first two bytes."""
    notes = b"".join(b"\xff\xe2" + struct.pack(">H", len(data) + 2) + data for data in segments)
    return whole[:2] + notes + whole[2:]


def seen(data: bytes) -> tuple[Colour, Colour]:
    """The colours of the left and the right half, as the model is given them."""
    shown = features.pixels(data)
    assert shown is not None
    assert (shown.shape, shown.dtype) == ((72, 128, 3), np.uint8)
    assert shown.flags.c_contiguous
    left, right = shown[8:64, 8:56].reshape(-1, 3), shown[8:64, 72:120].reshape(-1, 3)
    for half in (left, right):
        assert int(np.ptp(half.astype(int), axis=0).max()) <= 24, "a half is not of one colour"
    return tuple(map(int, np.median(left, axis=0))), tuple(map(int, np.median(right, axis=0)))  # type: ignore[return-value]


def assert_shown(data: bytes, left: Colour, right: Colour, near: int = 12) -> None:
    images.check(data)
    for got, wanted in zip(seen(data), (left, right), strict=True):
        assert max(abs(a - b) for a, b in zip(got, wanted, strict=True)) <= near, (got, wanted)


def assert_refused(data: bytes, *kinds: str) -> None:
    with pytest.raises(ImageRefused) as refusal:
        images.check(data)
    assert refusal.value.kind in kinds
    assert str(refusal.value).endswith(".")
    assert features.pixels(data) is None  # never a black one


# --- Shown right


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_that_sites_serve_is_shown(kind: str) -> None:
    assert_shown(encoded(halves(), kind), RED, BLUE)


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("subsampling", [0, 2])  # 4:4:4, 4:2:0
def test_a_progressive_jpeg_is_shown(quality: int, subsampling: int) -> None:
    data = encoded(halves(), "JPEG", progressive=True, quality=quality, subsampling=subsampling)
    assert_shown(data, RED, BLUE)


def test_a_cmyk_jpeg_is_shown_as_printed() -> None:
    ink = Image.new("CMYK", (320, 180), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    ink.paste((255, 255, 0, 0), (160, 0, 320, 180))
    assert_shown(encoded(ink, "JPEG", quality=95), RED, BLUE)


def test_grey_and_black_and_white_pictures_are_shown() -> None:
    grey = halves(GREY, WHITE).convert("L")
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "AVIF"):
        assert_shown(encoded(grey, kind), GREY, WHITE)
    assert_shown(encoded(halves(BLACK, WHITE).convert("1")), BLACK, WHITE)


@pytest.mark.parametrize("level", [0, 300, 0x8000, 0xFFFF])
def test_sixteen_bits_of_grey_keep_their_brightness(level: int) -> None:
    """Pillow's own conversion clips at 255 of 65,535: nearly every such picture would be white."""
    pixels = struct.pack(">H", level) * 320 * 180
    assert_shown(png(320, 180, 16, 0, pixels), (level >> 8,) * 3, (level >> 8,) * 3, near=1)


def test_sixteen_bits_of_colour_and_of_transparency_are_shown() -> None:
    red, blue = struct.pack(">3H", 0xFFFF, 0, 0), struct.pack(">3H", 0, 0, 0xFFFF)
    assert_shown(png(320, 180, 16, 2, (red * 160 + blue * 160) * 180), RED, BLUE)
    opaque, clear = struct.pack(">4H", 0xFFFF, 0, 0, 0xFFFF), struct.pack(">4H", 0, 0, 0, 0)
    assert_shown(png(320, 180, 16, 6, (opaque * 160 + clear * 160) * 180), RED, WHITE)
    grey = struct.pack(">H", 0x8000) * 320 * 180
    assert_shown(png(320, 180, 16, 0, grey, chunk(b"tRNS", struct.pack(">H", 0x1234))), GREY, GREY)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_what_is_transparent_is_white_not_the_black_that_lies_under_it(kind: str) -> None:
    picture = halves().convert("RGBA")
    picture.paste((0, 0, 0, 0), (160, 0, 320, 180))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert_shown(encoded(picture, kind, **options), RED, WHITE)


def test_half_transparent_colours_are_mixed_with_white() -> None:
    picture = Image.new("RGBA", (320, 180), (255, 0, 0, 128))
    picture.paste((0, 0, 0, 128), (160, 0, 320, 180))
    assert_shown(encoded(picture), (255, 127, 127), (127, 127, 127), near=2)
    grey = Image.new("LA", (320, 180), (0, 128))
    assert_shown(encoded(grey), (127,) * 3, (127,) * 3, near=2)


def test_an_opaque_picture_with_an_alpha_channel_is_the_same_as_without() -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (180, 320, 3), dtype=np.uint8))
    plain, alpha = features.pixels(encoded(noise)), features.pixels(encoded(noise.convert("RGBA")))
    assert plain is not None
    assert np.array_equal(plain, alpha)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_is_looked_up_and_its_transparent_colour_is_white(kind: str) -> None:
    picture = Image.new("P", (320, 180), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255, 0, 0, 0])
    picture.paste(1, (160, 0, 320, 180))
    assert_shown(encoded(picture, kind), RED, BLUE)
    picture.paste(2, (160, 0, 320, 180))
    assert_shown(encoded(picture, kind, transparency=2), RED, WHITE)


def test_a_palette_with_a_transparency_for_each_colour_is_shown() -> None:
    picture = Image.new("P", (320, 180), 0)
    picture.putpalette([255, 0, 0, 0, 0, 0])
    picture.paste(1, (160, 0, 320, 180))
    assert_shown(encoded(picture, transparency=bytes([254, 3])), RED, WHITE)


def test_a_colour_that_stands_for_transparent_is_white() -> None:
    assert_shown(encoded(halves(RED, BLACK), transparency=BLACK), RED, WHITE)


TURNED = {  # EXIF orientation -> how the camera stored a picture that is to be seen upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("size", [(320, 180), (3200, 1800)])  # the second one is reduced before it is turned
def test_a_picture_is_turned_as_its_exif_says(kind: str, orientation: int, size: tuple[int, int]) -> None:
    upright = halves(RED, BLUE, size)
    ImageDraw.Draw(upright).rectangle((0, 0, size[0], size[1] // 2), fill=GREEN)  # no two orientations look alike
    turn = TURNED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = features.pixels(encoded(stored, kind, exif=exif.tobytes()))
    assert shown is not None
    corners = [tuple(shown[y, x]) for y, x in ((10, 10), (10, 117), (62, 10), (62, 117))]
    for got, wanted in zip(corners, (GREEN, GREEN, RED, BLUE), strict=True):
        assert max(abs(int(a) - b) for a, b in zip(got, wanted, strict=True)) <= 12


BROKEN_EXIF = [
    b"Exif\0\0" + bytes(range(200)),  # no such notes
    b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 300,  # 65,535 notes, all beyond the end
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",  # orientation 99
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0",  # orientation "x"
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\0\0\0\x40\0\0\0\0\0\0\0\0",  # 1,073,741,824 orientations
    b"Exif\0\0" + bytes(65_000),
]


@pytest.mark.parametrize("exif", BROKEN_EXIF)
def test_notes_of_the_camera_that_make_no_sense_change_nothing(exif: bytes) -> None:
    assert_shown(encoded(halves(), "JPEG", exif=exif), RED, BLUE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_a_moving_picture_the_first_frame_is_shown(kind: str) -> None:
    others = [halves(GREEN, BLACK), halves(WHITE, GREEN)]
    data = encoded(halves(), kind, save_all=True, append_images=others, duration=100, loop=0)
    assert_shown(data, RED, BLUE)


def test_a_first_frame_that_fills_only_a_part_of_its_picture_is_put_where_it_belongs() -> None:
    screen = b"GIF89a" + struct.pack("<HHBBB", 320, 180, 0x80, 1, 0) + bytes([*RED, *BLUE])  # two colours
    frame = encoded(Image.new("P", (160, 180), 0), "GIF")
    at = frame.index(b",")
    moved = b"," + struct.pack("<HH", 160, 0) + frame[at + 5 : at + 9] + b"\0" + frame[frame.index(b"\x08", at + 10) :]
    shown = features.pixels(screen + moved)
    assert shown is not None
    assert tuple(shown[36, 100]) == RED  # the frame


def test_of_a_camera_with_two_lenses_the_first_picture_is_shown() -> None:
    data = encoded(halves(), "MPO", save_all=True, append_images=[halves(GREEN, BLACK)])
    assert images.check(data).content_type == "image/jpeg"
    assert_shown(data, RED, BLUE)


def test_a_huge_colour_profile_is_carried_past() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    huge = profile + np.random.default_rng(2).bytes(5_000_000)
    assert_shown(encoded(halves(), "JPEG", icc_profile=huge), RED, BLUE)
    assert_shown(encoded(halves(), "WEBP", icc_profile=huge), RED, BLUE)
    assert_shown(encoded(halves(), "PNG", icc_profile=huge[:900_000]), RED, BLUE)


def test_notes_of_megabytes_are_carried_past() -> None:
    notes = [b"x" * 65_000] * 100
    assert_shown(with_segments(encoded(halves(), "JPEG"), *notes), RED, BLUE)
    assert_shown(with_chunks(*(chunk(b"tEXt", b"k%d\0" % i + note) for i, note in enumerate(notes[:20]))), RED, BLUE)
    assert_shown(with_chunks(chunk(b"miLe", bytes(6_000_000))), RED, BLUE)  # a chunk that nobody knows


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("tail", [b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(3000), b"\xff\xd8\xff" * 500])
def test_garbage_after_a_whole_picture_changes_nothing(kind: str, tail: bytes) -> None:
    assert_shown(encoded(halves(), kind) + tail, RED, BLUE)


@pytest.mark.parametrize("size", [(30_000, 16), (16, 30_000), (65_000, 100), (2_000, 17)])
def test_of_an_extreme_shape_the_middle_is_shown(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, GREEN)
    width, height = min(size[0], size[1] * 16 // 9 + 2), min(size[1], size[0] * 9 // 16 + 2)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    picture.paste(RED, (left, top, left + width, top + height))
    picture.paste(BLUE, (size[0] // 2, top, left + width, top + height))
    assert_shown(encoded(picture), RED, BLUE, near=40)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((kind, mode) for kind in ("PNG", "WEBP") for mode in ("RGB", "RGBA", "L")), ("PNG", "P"), ("JPEG", "RGB")],
)
def test_a_large_picture_looks_like_a_small_one(kind: str, mode: str) -> None:
    drawn = Image.linear_gradient("L").resize((4000, 2250)).convert("RGB")
    small, large = (
        features.pixels(encoded(picture.quantize() if mode == "P" else picture.convert(mode), kind))
        for picture in (drawn.resize((640, 360)), drawn)
    )
    assert small is not None
    assert large is not None
    assert np.abs(small.astype(int) - large.astype(int)).max() <= 8


# --- Refused


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF\x04\0\0\0WEBP",
        b"\x89PNG\r\n\x1a\n",
        bytes(1000),
        b"<!doctype html><html><body><img src=a.png></body></html>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='320' height='180'><rect/></svg>",
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 320 180\n(/etc/passwd) run\n",
        b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 180, 320, 8, 3) + bytes(14) + bytes(320 * 180 * 3),  # PSD
        b"P6 320 180 255\n" + bytes(320 * 180 * 3),
        b"/* XPM */\nstatic char * a[] = {\n};",
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert_refused(data, "not_an_image")


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "PCX", "TGA", "PPM", "JPEG2000", "EPS", "PDF", "ICNS", "DDS"])
def test_pictures_of_kinds_that_no_site_serves_are_refused(kind: str) -> None:
    """Each decoder is code that a stranger's bytes run through; EPS even starts a program."""
    assert_refused(encoded(halves(size=(64, 64)), kind), "not_an_image")


def test_an_archive_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("picture.png", encoded(halves()))
    assert_refused(out.getvalue(), "not_an_image")


@pytest.mark.parametrize("kind", FORMATS)
def test_garbage_before_a_picture_is_refused(kind: str) -> None:
    assert_refused(b"<html>" + encoded(halves(), kind), "not_an_image")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_picture_that_is_cut_off_is_refused(kind: str, part: float) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (180, 320, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    assert_refused(data[: int(len(data) * part)], "not_an_image")


def test_a_picture_with_a_broken_checksum_is_refused() -> None:
    data = bytearray(encoded(halves()))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    assert_refused(bytes(data), "not_an_image")


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_dot_or_a_line_is_refused(kind: str, size: tuple[int, int]) -> None:
    assert_refused(encoded(Image.new("RGB", size, RED), kind), "too_small")


@pytest.mark.parametrize("size", [(0, 0), (0, 180), (320, 0)])
def test_a_picture_of_no_size_is_refused(size: tuple[int, int]) -> None:
    assert_refused(png(*size, 8, 2, b"\0"), "not_an_image", "too_small")
    assert_refused(b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0) + b";", "not_an_image", "too_small")


def bombs() -> dict[str, bytes]:
    """Small files that announce more than 40 megapixels."""
    jpeg = bytearray(encoded(halves(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    avif = bytearray(encoded(halves(), "AVIF"))
    at = avif.index(b"ispe") + 8
    avif[at : at + 8] = struct.pack(">II", 12_000, 12_000)
    webp = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", 16_383 | 16_383 << 14) + bytes(5)
    return {
        "PNG": png(50_000, 50_000, 8, 2, bytes(2000)),
        "PNG just over": png(8_000, 5_001, 8, 2, bytes(2000)),
        "PNG line": png(2**31 - 1, 16, 1, 0, bytes(2000)),
        "JPEG": bytes(jpeg),
        "GIF": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + encoded(halves(), "GIF")[13:],
        "WEBP": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
        "AVIF": bytes(avif),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_at_its_header(name: str) -> None:
    bomb = bombs()[name]
    started = time.thread_time()
    assert_refused(bomb, "too_many_pixels")
    assert time.thread_time() - started < 1


@pytest.mark.parametrize(
    ("kind", "head"), [(b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0"), (b"iCCP", b"profile\0\0")]
)
def test_a_bomb_in_the_notes_is_refused(kind: bytes, head: bytes) -> None:
    """Notes of a PNG are compressed too: 64 MB in 64 KB."""
    assert_refused(with_chunks(chunk(kind, head + zlib.compress(bytes(64 << 20), 9))), "not_an_image")


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_takes_minutes() -> None:
    data = encoded(Image.new("RGB", (2000, 2000), RED), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert features.pixels(data[:-2] + data[last:-2] * 80 + data[-2:]) is not None
    started = time.thread_time()
    assert_refused(data[:-2] + data[last:-2] * 5_000 + data[-2:], "too_complex")
    assert time.thread_time() - started < 0.5


def long_ways() -> dict[str, bytes]:
    """Files of 2 MB whose every few bytes are a part of their own, each of which Pillow looks at in Python."""
    jpeg, gif, many = encoded(halves(), "JPEG"), encoded(halves(), "GIF"), 2_000_000
    at = 13 + 3 * (2 << (gif[10] & 7))
    return {
        "JPEG comments": jpeg[:2] + b"\xff\xfe\0\2" * (many // 4) + jpeg[2:],
        "JPEG notes of the camera": jpeg[:2] + b"\xff\xe1\0\x08Exif\0\0" * (many // 10) + jpeg[2:],
        "JPEG filling": jpeg[:2] + b"\xff" * many + jpeg[2:],
        "JPEG junk": jpeg[:2] + bytes(many) + jpeg[2:],
        "JPEG nothing else": jpeg[:2] + bytes(many),
        "PNG unknown chunks": with_chunks(chunk(b"miLe", b"") * (many // 12)),
        "PNG empty pixels": with_chunks(chunk(b"IDAT", b"") * (many // 12)),
        "GIF comments": gif[:at] + b"!\xfe\0" * (many // 3) + gif[at:],
        "GIF comment in pieces": gif[:at] + b"!\xfe" + b"\1a" * (many // 2) + b"\0" + gif[at:],
        "GIF junk": gif[:at] + bytes(many) + gif[at:],
    }


@pytest.mark.parametrize("name", long_ways())
def test_a_file_of_countless_parts_is_refused_at_once(name: str) -> None:
    long = long_ways()[name]
    started = time.thread_time()
    assert_refused(long, "too_complex")
    assert time.thread_time() - started < 0.5


def test_a_large_photograph_is_not_taken_for_one_of_countless_parts() -> None:
    noise = Image.fromarray(np.random.default_rng(4).integers(0, 256, (1500, 2000, 3), dtype=np.uint8))
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        assert features.pixels(encoded(noise, "JPEG", quality=90, **options)) is not None
    assert features.pixels(encoded(noise)) is not None
    assert features.pixels(encoded(noise.quantize(method=Image.Quantize.FASTOCTREE), "GIF")) is not None


def test_a_second_header_inside_does_not_change_the_size() -> None:
    whole = encoded(halves())
    end = whole.rindex(b"IEND") - 4
    lie = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    assert_shown(whole[:end] + lie + whole[end:], RED, BLUE)
    assert_refused(whole[:33] + lie + whole[33:], "too_many_pixels")


def test_a_file_over_ten_megabytes_is_refused_unread() -> None:
    assert_refused(encoded(halves(), "JPEG") + bytes(decoding.MAX_BYTES), "too_large")


# --- Whatever comes


@given(
    kind=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    cut=st.floats(0.2, 1),
)
@examples(max_examples=150)
def test_damage_gives_a_picture_or_a_refusal_and_never_anything_else(
    kind: str, changes: list[tuple[float, int]], cut: float
) -> None:
    data = bytearray(SMALL[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    damaged = bytes(data[: int(len(data) * cut)])
    shown = features.pixels(damaged)
    assert shown is None or shown.shape == (72, 128, 3)
    try:
        assert images.check(damaged).content_type in decoding.FORMATS.values()
    except ImageRefused as refusal:
        assert refusal.kind  # noqa: PT017 - either outcome is right


SMALL = {kind: encoded(halves(size=(48, 27)), kind) for kind in FORMATS}


def test_threads_that_decode_leave_the_filters_of_warnings_alone() -> None:
    """`warnings.catch_warnings` in threads does not: one restores what another has set."""
    before = list(warnings.filters)
    work: list[Callable[[], object]] = [lambda data=data: features.pixels(data) for data in broken_notes() * 5]
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


LARGEST = """
import sys, threading
sys.path[:0] = [{project!r}, {tests!r}]
from PIL import Image
from test_hostile_images import encoded, halves
from miles import features, images

def peak():  # of this process so far, in MB; ru_maxrss would be that of its parent before
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024

large = (7600, 5200)
small = halves(size=large)
worst = [
    encoded(Image.new("P", large), "PNG", transparency=0),
    encoded(small, "JPEG", progressive=True, subsampling=0),
    encoded(small.convert("RGBA"), "WEBP", lossless=True, method=0),
]
del small
open("/proc/self/clear_refs", "w").write("5")  # forget the peak of making them
before = peak()
work = [lambda data=data: shown.append(features.pixels(data)) for data in worst * 3]
shown, threads = [], [threading.Thread(target=one) for one in work]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(shown) == 9 and all(one is not None for one in shown)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory from /proc")
def test_memory_is_bounded_however_many_large_pictures_come_at_once() -> None:
    """The largest that are taken, nine at once, as an API under attack decodes them; and nothing is complained of."""
    script = LARGEST.format(project=str(PROJECT), tests=str(PROJECT / "tests" / "unit"))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert float(ran.stdout) < 900, "MB; one WebP of 40 megapixels takes 610, nine at once without a limit 3,200"


COMPLAINTS = """
import sys
sys.path[:0] = [{project!r}, {tests!r}]
from test_hostile_images import bombs, broken_notes, long_ways
from miles import features, images
from miles.errors import ImageRefused
for data in (*bombs().values(), *long_ways().values(), *broken_notes()):
    features.pixels(data)
    try:
        images.check(data)
    except ImageRefused:
        pass
"""


def broken_notes() -> list[bytes]:
    """Pictures that Pillow warns of."""
    return [
        with_chunks(chunk(b"acTL", bytes(8))),  # an animation of no frames
        png(9_500, 9_500, 1, 0, bytes(9_500 * 1_188)),  # 90 megapixels, from where it warns of bombs
        *(encoded(halves(), "JPEG", exif=exif) for exif in BROKEN_EXIF),
    ]


def test_nothing_is_written_to_the_log_of_whoever_runs_miles() -> None:
    script = COMPLAINTS.format(project=str(PROJECT), tests=str(PROJECT / "tests" / "unit"))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
