"""Clips of all shapes: every encoder of the installed PyAV, whole, damaged in every way, and files that only pretend.

What can be written is asked of the wheel itself: a container says which codecs it takes, an encoder at which size it
opens. Nothing is tried and forgiven: what was promised and fails is an error of the test.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import av.error
import clip_maker
import numpy as np
from av.codec import Codec
from PIL import Image

from miles.clip_facts import Frame, Probe

CONTAINERS = ("mp4", "mov", "matroska", "webm", "avi", "flv", "asf", "ogg", "gif", "mpegts", "mpeg")
# These two take any codec, and have a name for few: what they can be read for is not to be asked of them.
STREAMED = {
    "mpegts": {"libx264", "libx265", "mpeg1video", "mpeg2video", "mpeg4"},
    "mpeg": {"libx264", "libx265", "mpeg1video", "mpeg2video"},
}
# SVT-AV1 gives its threads real-time priority where it may, as root: then it starves a small machine for minutes, and
# waits for itself for ever. AV1 is read all the same, from one clip that it wrote once, as nobody in particular:
# clip_maker.clip(codec="libsvtav1", width=102, height=182, fps=12, seconds=1.5, cuts=(0.75,)).
LEFT_OUT = {"libsvtav1", "vnull"}  # the second writes nothing at all
AV1 = Path(__file__).parent / "clips" / "av1.mp4"
IN_HARDWARE = 1 << 18 | 1 << 19  # AV_CODEC_CAP_HARDWARE, AV_CODEC_CAP_HYBRID
FIXED = ((176, 144), (352, 288), (720, 576), (1280, 720))  # that some encoders insist upon
SOUNDS = {
    "mp4": "aac", "mov": "pcm_s16le", "webm": "libopus", "matroska": "flac", "avi": "pcm_s16le", "flv": "aac",
    "asf": "wmav2", "mpegts": "mp2", "mpeg": "mp2", "ogg": "libopus",
}  # fmt: skip
TURNED = ("mp4", "mov", "matroska")  # containers that hold a display matrix
VARYING = ("mp4", "matroska", "webm")
READ_AS = {"v308": "rawvideo", "v408": "rawvideo", "v410": "rawvideo", "h263p": "h263"}  # of the same layout
OPTIONS = {
    "dnxhd": {"profile": "dnxhr_lb"},  # its other profiles have one size each
    "cinepak": {"max_extra_cb_iterations": "0", "max_strips": "1"},  # slow otherwise
}
IN_PARTS = ({}, {}, {"moov_size": "30000"}, {"movflags": "+frag_keyframe+empty_moov"})  # where an MP4 has its index
DAMAGES = ("cut off", "cut off", "cut off", "flipped", "holes", "shuffled")

TOLD = "told"
BROKEN = frozenset({TOLD, "damaged", "not_a_video", "no_picture", "empty", "too_many_pixels", "too_much_memory"})


@dataclass(frozen=True)
class Way:
    """How a picture can be written."""

    container: str
    encoder: str
    pixels: tuple[str, ...]  # formats, the encoder's own favourite first


@dataclass(frozen=True)
class Shape:
    """A file of the test's making."""

    name: str
    fate: str
    data: bytes
    ends: frozenset[str]  # how it may end: told, or kinds of ClipRefused
    seconds: float | None = None  # None: not known
    upright: bool | None = None  # as shown; None of a square one, or not known
    codec: str | None = None  # FFmpeg's name of what the encoder writes


def mistake(shape: Shape, probe: Probe, frames: Sequence[Frame]) -> str | None:
    """What is told wrongly of a file that was read; None where nothing is."""
    inside = all(0 <= at <= probe.looked_at for at in [*probe.cuts, *(one.at for one in frames)])
    wrong = {
        "was read": TOLD not in shape.ends,
        "makes no sense": not (probe.duration > 0 and 0 <= probe.brightness <= 1 and inside),
        "has a frame that is no JPEG": any(one.jpeg[:2] != b"\xff\xd8" for one in frames),
    }
    if shape.fate == "whole":
        wrong |= {
            f"lasts {shape.seconds} s": shape.seconds is not None and abs(probe.duration - shape.seconds) > 0.35,
            f"is upright: {shape.upright}": shape.upright not in (None, probe.height > probe.width),
            f"is {shape.codec}": shape.codec != probe.codec,
            "has frames": not frames,
        }
    said = ", ".join(what for what, so in wrong.items() if so)
    return f"{said}; told as {probe}" if said else None


# --- what the wheel writes --------------------------------------------------------------------------


@lru_cache
def encoders() -> dict[str, Codec]:
    """Encoders of pictures that need no hardware and whose work can be decoded, by name."""
    found = {}
    for name in sorted(av.codecs_available):
        try:
            codec = Codec(name, "w")
            Codec(codec.canonical_name, "r")
        except av.codec.codec.UnknownCodecError:
            continue
        if name in LEFT_OUT or codec.type != "video" or codec.name != name or codec.capabilities & IN_HARDWARE:
            continue
        found[name] = codec
    return found


@lru_cache
def ways() -> tuple[Way, ...]:
    """Every encoder in every container that Miles reads and that takes it."""
    return tuple(
        Way(container, name, _pixels(codec))
        for name, codec in encoders().items()
        for container in CONTAINERS
        if (name in STREAMED[container] if container in STREAMED else _takes(container, name))
    )


def _pixels(codec: Codec) -> tuple[str, ...]:
    names = [one.name for one in codec.video_formats or ()]
    drawn = [one for one in names if one != "pal8"]  # any picture can be had in those
    return tuple(drawn or names or ["rgb24"])


def _takes(container: str, encoder: str) -> bool:
    """Whether a container takes what the encoder writes; by its own word, and by the header that it writes."""
    pixels = _pixels(encoders()[encoder])[0]
    size = _first_size(encoder, pixels)
    if size is None or (pixels == "pal8" and container == "asf"):  # whose muxer loses the palette
        return False
    try:
        clip_maker.clip(
            container=container, codec=encoder, pixels=pixels, width=size[0], height=size[1], seconds=0.04, cuts=(),
            options=OPTIONS.get(encoder),
        )  # fmt: skip
    except ValueError:  # what add_stream raises where the container has no name for the codec
        return False
    except av.error.FFmpegError:  # it has a name, and yet no place for it
        return False
    return True


@lru_cache(maxsize=4096)
def opens(encoder: str, pixels: str, width: int, height: int, fps: int) -> bool:
    """Whether an encoder takes pictures of this size at this rate; by opening it and giving it one."""
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, pixels
    context.framerate, context.time_base, context.thread_count = Fraction(fps), Fraction(1, fps), 1
    context.options = {"strict": "experimental", **clip_maker.ONE_THREAD.get(encoder, {}), **OPTIONS.get(encoder, {})}
    frame = clip_maker.frame_of(np.zeros((height, width, 3), np.uint8), pixels)
    frame.pts, frame.time_base = 0, context.time_base
    try:
        context.open()
        context.encode(frame)
        context.encode(None)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _first_size(encoder: str, pixels: str, fps: int = 25) -> tuple[int, int] | None:
    return next((size for size in ((64, 96), *FIXED) if opens(encoder, pixels, *size, fps)), None)


def _size(encoder: str, pixels: str, width: int, height: int, fps: int) -> tuple[int, int]:
    """The size wanted, or the nearest that the encoder takes."""
    for step in (1, 2, 4, 8, 16):
        size = max(width // step * step, 32), max(height // step * step, 32)
        if opens(encoder, pixels, *size, fps):
            return size
    size = _first_size(encoder, pixels, fps)
    assert size, f"{encoder} takes no size of {pixels}"
    return size


# --- the shapes -------------------------------------------------------------------------------------


def shapes(number: int, seed: int = 6) -> Iterator[Shape]:
    """That many files, the same for a seed: each encoder's work once and whole, everything of `pretenders`, and then
    any way of writing, in any size, rate and turn, with and without sound, half of them damaged."""
    rng = np.random.default_rng(seed)
    for i, shape in enumerate(_all(rng)):
        if i == number:
            return
        yield shape


def _all(rng: np.random.Generator) -> Iterator[Shape]:
    by_encoder: dict[str, list[Way]] = {}
    for way in ways():
        by_encoder.setdefault(way.encoder, []).append(way)
    for some in by_encoder.values():
        yield _drawn(some[int(rng.integers(len(some)))], "whole", rng, plain=True)
    for container in ("mp4", "matroska", "webm"):
        written = remuxed(AV1.read_bytes(), container)
        yield Shape(f"{container}, AV1", "whole", written, frozenset({TOLD}), seconds=1.5, upright=True, codec="av1")
    yield from pretenders(rng)
    while True:
        fate = "whole" if rng.random() < 0.4 else DAMAGES[int(rng.integers(len(DAMAGES)))]
        yield _drawn(ways()[int(rng.integers(len(ways())))], fate, rng)


def _drawn(way: Way, fate: str, rng: np.random.Generator, *, plain: bool = False) -> Shape:
    """A clip written in a way; a plain one in the encoder's favourite format of pixels."""
    pixels = way.pixels[0 if plain else int(rng.integers(len(way.pixels)))]
    fps = 25 if way.container in STREAMED else int(rng.choice([5, 12, 24, 25, 30, 60]))
    if _first_size(way.encoder, pixels, fps) is None:
        pixels, fps = way.pixels[0], 25
    width, height = _size(way.encoder, pixels, *(int(side) for side in rng.integers(32, 330, 2)), fps)
    rotation = int(rng.choice([0, 90, 180, -90])) if way.container in TURNED else 0
    seconds = float(rng.uniform(0.3, 0.4 if width * height > 200_000 else 1.0 if plain else 2.0))
    heard = SOUNDS.get(way.container) if rng.random() < 0.6 else None
    varying = way.container in VARYING and way.encoder not in ONE_RATE and rng.random() < 0.4
    data = clip_maker.clip(
        container=way.container, codec=way.encoder, pixels=pixels, width=width, height=height, fps=fps,
        cuts=(seconds / 2,), seconds=seconds, rotation=rotation, varying=varying,
        sound=str(rng.choice(["tone", "silence", "bass"])) if heard else None, audio_codec=heard or "aac",
        options=OPTIONS.get(way.encoder),
        container_options=IN_PARTS[int(rng.integers(len(IN_PARTS)))] if way.container == "mp4" else None,
    )  # fmt: skip
    words = [
        f"{way.container}/{way.encoder} {pixels} {width}x{height} {fps}/s", f"turned {rotation}°" if rotation else "",
        "sound" if heard else "", "varying" if varying else "", fate,
    ]  # fmt: skip
    lying = abs(rotation) == 90
    return Shape(
        name=", ".join(filter(None, words)),
        fate=fate,
        data=data if fate == "whole" else damaged(data, fate, rng),
        ends=frozenset({TOLD}) if fate == "whole" else BROKEN,
        seconds=seconds,
        upright=None if width == height else (height > width) != lying,
        codec=READ_AS.get(way.encoder, encoders()[way.encoder].canonical_name),
    )


def remuxed(data: bytes, container: str) -> bytes:
    """The pictures of a clip, as they are, in another container."""
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(out, "w", format=container, container_options={"fflags": "+bitexact"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:  # the last one only says that it is over
                packet.stream = stream
                target.mux(packet)
    return out.getvalue()


ONE_RATE = frozenset({"mpeg1video", "mpeg2video"})  # they write no time of their own


def damaged(data: bytes, fate: str, rng: np.random.Generator) -> bytes:
    """The same bytes as `fate` leaves them."""
    if fate == "cut off":
        return data[: int(rng.integers(len(data)))]
    changed = np.frombuffer(data, dtype=np.uint8).copy()
    if fate == "flipped":
        places = rng.integers(0, len(data), max(len(data) // 200, 8))
        changed[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
    elif fate == "holes":
        for _ in range(4):
            start = int(rng.integers(len(data)))
            changed[start : start + len(data) // 20] = 0
    elif fate == "shuffled":
        piece = max(len(data) // 16, 1)
        order = rng.permutation(16)
        changed = np.concatenate([changed[i * piece : (i + 1) * piece] for i in order])
    return changed.tobytes()


# --- files that pretend -----------------------------------------------------------------------------


def pretenders(rng: np.random.Generator) -> Iterator[Shape]:
    """Files that are no clip, or one that nobody should have to read."""

    def one(name: str, data: bytes, *ends: str) -> Shape:
        return Shape(name, "pretends", data, frozenset(ends))

    still = io.BytesIO()
    Image.fromarray(clip_maker.picture(0, 0, 180, 320)).save(still, "JPEG")
    plain = clip_maker.clip(seconds=1)
    yield one("zero-length", b"", "empty")
    yield one("garbage", rng.bytes(100_000), "not_a_video")
    yield one("garbage behind the beginning of an MP4", plain[:32] + rng.bytes(100_000), "damaged")
    yield one("text as mp4", b"Dear diary, this is no video.\n" * 400, "not_a_video")
    yield one("a page as mp4", b"<!doctype html><title>Log in</title>" + b" " * 4000, "not_a_video")
    yield one("a playlist that names files", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" * 40, "not_a_video")
    yield one("a picture as mp4", still.getvalue(), "not_a_video")
    yield one("an archive as mp4", b"PK\x03\x04" + rng.bytes(5000), "not_a_video")
    yield one("sound alone in MP4", clip_maker.sound_alone(), "no_picture")
    yield one("sound alone in WebM", clip_maker.sound_alone("webm", "libopus"), "no_picture")
    yield one("sound alone in OGG", clip_maker.sound_alone("ogg", "libopus"), "no_picture")
    yield one("sound alone as MP3", clip_maker.sound_alone("mp3", "libmp3lame"), "no_picture")
    yield one("an index without its pictures", _without_pictures(plain), "damaged")
    yield one("one still picture", clip_maker.clip(seconds=0.04, cuts=()), TOLD)
    yield one("huge by its header, GIF", huge_gif(), "too_many_pixels", "damaged")
    yield one("small pictures under a huge header, AVI", huge_avi(header=True), TOLD, "too_many_pixels")
    yield one("huge by its pictures, AVI", huge_avi(header=False), "too_many_pixels", "damaged")
    yield one("huge by its header, MKV", huge_matroska(), "too_many_pixels", "damaged")
    yield one("a clock that jumps by a year", jumping_clock(), TOLD)
    yield one("1,000 tracks", many_tracks(1000), TOLD, "damaged", "too_much_memory")


def _without_pictures(mp4: bytes) -> bytes:
    """An MP4 whose sample data are left out, and its index kept."""
    at = mp4.index(b"mdat") - 4
    (size,) = struct.unpack(">I", mp4[at : at + 4])
    return mp4[:at] + mp4[at + size :]


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF of a canvas of any size, each frame of which paints one pixel: 24 bytes a frame."""
    frame = (
        b"\x21\xf9\x04\x00\x01\x00\x00\x00" + b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\x00\x02\x02\x4c\x01\x00"
    )
    return (
        b"GIF89a"
        + struct.pack("<HH", width, height)
        + b"\x80\x00\x00"
        + b"\xc8\x3c\x28\x28\x3c\xc8"
        + frame * frames
        + b";"
    )


def huge_gif() -> bytes:
    return gif(65_535, 65_535, 3)


def bomb(frames: int) -> bytes:
    """So many frames of 4K in two dozen bytes each."""
    return gif(4096, 2304, frames)


def huge_avi(*, header: bool) -> bytes:
    """An MJPEG whose header, or whose pictures, say 65,000 × 65,000."""
    data = bytearray(
        clip_maker.clip(container="avi", codec="mjpeg", pixels="yuvj420p", width=64, height=96, seconds=0.4)
    )
    if header:
        at = data.index(b"strf") + 12  # BITMAPINFOHEADER: its size, then width and height
        struct.pack_into("<II", data, at, 65_000, 65_000)
        return bytes(data)
    at = -1
    while (at := data.find(b"\xff\xc0\x00\x11\x08", at + 1)) >= 0:  # SOF0 with three components
        struct.pack_into(">HH", data, at + 5, 65_000, 65_000)
    return bytes(data)


def huge_matroska() -> bytes:
    """A rawvideo track that says 40,000 × 40,000, and holds a few bytes."""
    data = bytearray(
        clip_maker.clip(container="matroska", codec="rawvideo", pixels="yuv420p", width=200, height=300, seconds=0.2)
    )
    for name, was in ((b"\xb0", 200), (b"\xba", 300)):  # PixelWidth, PixelHeight
        length = (was.bit_length() + 7) // 8
        place = data.index(name + bytes([0x80 | length]) + was.to_bytes(length, "big"))
        data[place + 2 : place + 2 + length] = b"\xff" * length
    return bytes(data)


def jumping_clock() -> bytes:
    """A clip whose later half comes a year after the earlier."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska", container_options={"fflags": "+bitexact"}) as target:
        stream = clip_maker.video_stream(target, "libx264", 64, 96, "yuv420p", 25, {"bf": "0"})
        for i in range(50):
            frame = clip_maker.frame_of(clip_maker.picture(i // 25, i / 25, 64, 96), "yuv420p")
            frame.time_base, frame.pts = Fraction(1, 25), i + (0 if i < 25 else 25 * 86_400 * 365)
            for packet in stream.encode(frame):
                target.mux(packet)
        for packet in stream.encode():
            target.mux(packet)
    return out.getvalue()


def many_tracks(number: int) -> bytes:
    """A container with so many tracks of pictures, one frame each."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska", container_options={"fflags": "+bitexact"}) as target:
        streams: list[Any] = [clip_maker.video_stream(target, "mjpeg", 32, 48, "yuvj420p", 25) for _ in range(number)]
        for place, stream in enumerate(streams):
            frame = clip_maker.frame_of(clip_maker.picture(place, 0, 32, 48), "yuvj420p")
            frame.time_base, frame.pts = Fraction(1, 25), 0
            for packet in [*stream.encode(frame), *stream.encode()]:
                target.mux(packet)
    return out.getvalue()
