"""Clips made for tests: scenes of known colours that change at known moments, in any codec and shape PyAV writes."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

COLOURS = ((200, 60, 40), (30, 120, 200), (60, 180, 70), (220, 200, 60), (120, 50, 160), (40, 40, 60))
RATE = 48_000


def picture(scene: int, moment: float, width: int, height: int) -> np.ndarray:
    """A frame of a scene: its colour with a texture, and a bright square that moves."""
    y, x = np.mgrid[0:height, 0:width]
    texture = (np.sin(x / (5 + scene)) * np.cos(y / (7 + scene)) * 40).astype(np.int16)
    frame = np.clip(np.array(COLOURS[scene % len(COLOURS)])[None, None] + texture[..., None], 0, 255).astype(np.uint8)
    side = max(min(width, height) // 6, 2)
    left = int((0.1 + 0.2 * moment % 0.7) * max(width - side, 1))
    frame[height // 3 : height // 3 + side, left : left + side] = 250
    return frame


def clip(
    *,
    container: str = "mp4",
    codec: str = "libx264",
    width: int = 180,
    height: int = 320,
    fps: int = 25,
    cuts: Sequence[float] = (1.0, 2.0),
    seconds: float = 3.0,
    rotation: int = 0,
    black: bool = False,
    varying: bool = False,
    sound: str | None = None,
    audio_codec: str = "aac",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> bytes:
    """The bytes of a clip. `sound` is silence, tone, or tone-silence (its second half silent)."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=container_options or {}) as target:
        stream: Any = target.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        heard: Any = None
        if sound:
            heard = target.add_stream(audio_codec, rate=RATE, layout="stereo")
            heard.bit_rate = 128_000
        tick = Fraction(1, fps)
        at, i = 0.0, 0
        stream.codec_context.time_base = Fraction(1, fps * (4 if varying else 1))
        while at < seconds:
            shown = np.zeros((height, width, 3), np.uint8) if black else picture(
                sum(at >= cut for cut in cuts), at, width, height
            )  # fmt: skip
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(format=pixels)
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(at / frame.time_base)
            for packet in stream.encode(frame):
                target.mux(packet)
            i += 1
            at += float(tick) * ((1, 2, 1, 3)[i % 4] if varying else 1)
        for packet in stream.encode():
            target.mux(packet)
        if heard:
            for packet in _sound(heard, sound or "", seconds):
                target.mux(packet)
    return out.getvalue()


def sound_alone(container: str = "mp4", codec: str = "aac") -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        heard = target.add_stream(codec, rate=RATE, layout="stereo")
        heard.bit_rate = 128_000
        for packet in _sound(heard, "tone", 1.0):
            target.mux(packet)
    return out.getvalue()


def _sound(stream: Any, kind: str, seconds: float) -> list[Any]:
    total = int(seconds * RATE)
    moments = np.arange(total) / RATE
    wave = np.sin(2 * np.pi * 997 * moments) * 10 ** (-23 / 20)
    if kind == "silence":
        wave[:] = 0
    elif kind == "tone-silence":
        wave[total // 2 :] = 0
    elif kind == "bass":
        wave = np.sin(2 * np.pi * 60 * moments) * 0.2
    packets: list[Any] = []
    size = 1024
    for i in range(0, total - size, size):
        part = np.ascontiguousarray(np.stack([wave[i : i + size]] * 2).astype(np.float32))
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, i, Fraction(1, RATE)
        packets += stream.encode(frame)
    return [*packets, *stream.encode()]


# --- all shapes -------------------------------------------------------------------------------------

# container, codec, pixel format, whether odd sizes are possible, container that holds rotation
WRITTEN: tuple[tuple[str, str, str, bool], ...] = (
    ("mp4", "libx264", "yuv420p", False),
    ("mp4", "libx264", "yuv444p", True),
    ("mp4", "libx265", "yuv420p", False),
    ("mp4", "mpeg4", "yuv420p", False),
    ("mp4", "libsvtav1", "yuv420p", False),
    ("mov", "prores_ks", "yuv422p10le", False),
    ("mov", "qtrle", "rgb24", True),
    ("mov", "mjpeg", "yuvj420p", False),
    ("mov", "png", "rgb24", True),
    ("webm", "libvpx", "yuv420p", True),
    ("webm", "libvpx-vp9", "yuv420p", True),
    ("matroska", "ffv1", "yuv444p", True),
    ("matroska", "libx264", "yuv420p10le", False),
    ("avi", "huffyuv", "rgb24", True),
    ("avi", "utvideo", "yuv422p", False),
    ("avi", "mpeg4", "yuv420p", False),
    ("avi", "msmpeg4", "yuv420p", False),
    ("avi", "zmbv", "bgr0", True),
    ("avi", "rawvideo", "yuv420p", False),
    ("flv", "flv", "yuv420p", False),
    ("flv", "libx264", "yuv420p", False),
    ("asf", "wmv1", "yuv420p", False),
    ("asf", "wmv2", "yuv420p", False),
    ("mpegts", "mpeg2video", "yuv420p", False),
    ("mpegts", "libx264", "yuv420p", False),
    ("mpeg", "mpeg1video", "yuv420p", False),
    ("mpeg", "mpeg2video", "yuv420p", False),
    ("gif", "gif", "rgb8", True),
)
SOUNDS = {
    "mp4": "aac", "mov": "pcm_s16le", "webm": "libopus", "matroska": "flac", "avi": "pcm_s16le", "flv": "aac",
    "asf": "wmav2", "mpegts": "mp2", "mpeg": "mp2",
}  # fmt: skip
QUICK = {
    "libsvtav1": {"preset": "11"}, "libvpx": {"deadline": "realtime"}, "libvpx-vp9": {"deadline": "realtime"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
}  # fmt: skip
FATES = ("whole", "whole", "whole", "cut off", "cut off", "cut off", "flipped", "holes", "sound alone", "shuffled")


@dataclass(frozen=True)
class Shape:
    """A clip of the test's making."""

    name: str
    fate: str  # of FATES
    data: bytes
    seconds: float
    upright: bool | None  # as shown; None of a square one


def shapes(number: int, seed: int = 6) -> Iterator[Shape]:
    """Clips of all shapes, the same for a seed: codecs, sizes, rotations, rates, with and without sound, and damaged."""
    rng = np.random.default_rng(seed)
    for i in range(number):
        container, codec, pixels, odd = WRITTEN[i % len(WRITTEN)]
        width, height = (int(side) for side in rng.integers(32, 330, 2))
        if not odd:
            width, height = width // 8 * 8, height // 8 * 8
        rotation = int(rng.choice([0, 90, 180, -90])) if container in ("mp4", "mov") else 0
        fps = 25 if container in ("mpeg", "mpegts") else int(rng.choice([5, 12, 24, 25, 30, 60]))
        seconds = float(rng.uniform(0.3, 2.0))
        heard = SOUNDS.get(container) if rng.random() < 0.6 else None
        varying = container in ("mp4", "matroska", "webm") and rng.random() < 0.4
        fate = FATES[int(rng.integers(len(FATES)))]
        name = f"{i} {container}/{codec} {width}x{height} {rotation}° {fps}/s {'sound ' if heard else ''}{'varying ' if varying else ''}{fate}"
        if fate == "sound alone" and heard and container != "webm":
            yield Shape(name, fate, sound_alone(container, heard), 1.0, None)
            continue
        fate = "whole" if fate == "sound alone" else fate
        data = _tried(
            container=container, codec=codec, width=width, height=height, fps=fps, cuts=(seconds / 2,), seconds=seconds,
            rotation=rotation, varying=varying, sound=str(rng.choice(["tone", "silence", "bass"])) if heard else None,
            audio_codec=heard or "aac", pixels=pixels,
            options=QUICK.get(codec),
        )  # fmt: skip
        lying = abs(rotation) == 90
        upright = None if width == height else (height > width) != lying
        yield Shape(name, fate, damaged(data, fate, rng), seconds, upright)


def _tried(**wanted: Any) -> bytes:
    """A clip, tried again where the encoder gave packets out of order: with several threads some do, now and then."""
    for _ in range(3):
        try:
            return clip(**wanted)
        except av.error.ArgumentError:
            continue
    return clip(**{**wanted, "varying": False, "sound": None})


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
