"""Clips made for tests: scenes of known colours that change at known moments, in any codec and container PyAV writes.

The same call gives the same clip, on a busy machine too: every encoder gets a single thread, and containers are told to
write no random numbers.
"""

import heapq
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

COLOURS = ((200, 60, 40), (30, 120, 200), (60, 180, 70), (220, 200, 60), (120, 50, 160), (40, 40, 60))
RATE = 48_000
ONE_THREAD = {
    # without B-frames: of a clip shorter than their delay x265 gives times of decoding out of memory that it never set,
    # and no container takes those; now and then
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1:bframes=0"},
    "libvpx": {"deadline": "realtime"},
    "libvpx-vp9": {"deadline": "realtime"},
}


def picture(scene: int, moment: float, width: int, height: int) -> np.ndarray:
    """A frame of a scene: its colour with a texture, and a bright square that moves."""
    y, x = np.mgrid[0:height, 0:width]
    texture = (np.sin(x / (5 + scene)) * np.cos(y / (7 + scene)) * 40).astype(np.int16)
    frame = np.clip(np.array(COLOURS[scene % len(COLOURS)])[None, None] + texture[..., None], 0, 255).astype(np.uint8)
    side = max(min(width, height) // 6, 2)
    left = int((0.1 + 0.2 * moment % 0.7) * max(width - side, 1))
    frame[height // 3 : height // 3 + side, left : left + side] = 250
    return frame


def frame_of(shown: np.ndarray, pixels: str) -> av.VideoFrame:
    """A frame in a pixel format; a palette gets the six levels of each colour."""
    if pixels != "pal8":
        return av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(format=pixels, threads=1)
    levels = np.arange(216)
    palette = np.full((256, 4), 255, np.uint8)  # A, R, G, B
    palette[:216, 1:] = np.stack([levels // 36, levels // 6 % 6, levels % 6], axis=-1) * 51
    place = (shown.astype(np.int32) + 25) // 51 @ np.array([36, 6, 1])
    return av.VideoFrame.from_ndarray((place.astype(np.uint8), palette), format="pal8")


def video_stream(
    target: Any, codec: str, width: int, height: int, pixels: str, fps: int, options: dict[str, str] | None = None
) -> Any:
    """A stream for pictures in a container that is written, by one thread."""
    stream = target.add_stream(
        codec, rate=fps, options={"strict": "experimental", **ONE_THREAD.get(codec, {}), **(options or {})}
    )
    stream.width, stream.height, stream.pix_fmt = width, height, pixels
    stream.codec_context.thread_count = 1
    return stream


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
    """The bytes of a clip. `sound` is silence, tone, bass, or tone-silence (its second half silent)."""
    out = io.BytesIO()
    with av.open(
        out, "w", format=container, container_options={"fflags": "+bitexact", **(container_options or {})}
    ) as target:
        stream = video_stream(target, codec, width, height, pixels, fps, options)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        heard: Any = None
        if sound:
            heard = target.add_stream(audio_codec, rate=RATE, layout="stereo")
            heard.bit_rate = 128_000
        stream.codec_context.time_base = Fraction(1, fps * (4 if varying else 1))

        def shown() -> Iterator[tuple[float, Any]]:
            at, i = 0.0, 0
            while at < seconds:
                drawn = np.zeros((height, width, 3), np.uint8) if black else picture(
                    sum(at >= cut for cut in cuts), at, width, height
                )  # fmt: skip
                frame = frame_of(drawn, pixels)
                frame.time_base = stream.codec_context.time_base
                frame.pts = round(at / frame.time_base)
                for packet in stream.encode(frame):
                    yield at, packet
                i += 1
                at += (1, 2, 1, 3)[i % 4] / fps if varying else 1 / fps
            for packet in stream.encode():
                yield at, packet

        parts = [shown(), _sound(heard, sound, seconds)] if sound else [shown()]
        for _, packet in heapq.merge(*parts, key=lambda part: part[0]):
            target.mux(packet)
    return out.getvalue()


def sound_alone(container: str = "mp4", codec: str = "aac") -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options={"fflags": "+bitexact"}) as target:
        heard = target.add_stream(codec, rate=RATE, layout="stereo")
        heard.bit_rate = 128_000
        for _, packet in _sound(heard, "tone", 1.0):
            target.mux(packet)
    return out.getvalue()


def _sound(stream: Any, kind: str, seconds: float) -> Iterator[tuple[float, Any]]:
    """Moments in seconds, and packets."""
    total = int(seconds * RATE)
    moments = np.arange(total) / RATE
    wave = np.sin(2 * np.pi * 997 * moments) * 10 ** (-23 / 20)
    if kind == "silence":
        wave[:] = 0
    elif kind == "tone-silence":
        wave[total // 2 :] = 0
    elif kind == "bass":
        wave = np.sin(2 * np.pi * 60 * moments) * 0.2
    size = 1024
    for i in range(0, total - size, size):
        part = np.ascontiguousarray(np.stack([wave[i : i + size]] * 2).astype(np.float32))
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, i, Fraction(1, RATE)
        for packet in stream.encode(frame):
            yield i / RATE, packet
    for packet in stream.encode():
        yield seconds, packet
