"""What is in a clip: its facts, its cuts, how loud it is, and the frames that could be its thumbnail. The only home of PyAV.

Whoever uploads a clip chooses its bytes, and a decoder is a large piece of C: this runs in a process of its own, within
limits (`clip_process`). Only containers that we mean to read are opened, told from their first bytes and never from
a name; playlists and other files that name further files are none of them, and nothing else is opened. Every frame is
looked at once, small; only the best of each stretch of time is kept, as a JPEG, so memory does not grow with length.

Knows nothing of storage, database and model.
"""

import bisect
import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any

import av
import av.error
import av.filter
import numpy as np
from av.audio.resampler import AudioResampler
from av.stream import Disposition
from PIL import Image

from miles.clip_facts import (
    MOST_PIXELS,
    TOOK_TOO_LONG,
    TOOK_TOO_MUCH,
    Frame,
    Probe,
    container_of,
)
from miles.errors import ClipRefused

MOST_SECONDS = 600.0  # of a clip that are looked at; short videos end long before
WORK_SECONDS = 75.0  # of work after which no more is read: what came until then is told
LOOKS_A_SECOND = 15  # frames a second that are looked at; a cut is between two of them all the same
SIDE = 160  # pixels: each look is squeezed into a square of it
BLOCK = 5  # pixels; its squares are averaged to tell motion from noise
BINS = 4  # of each colour, in the histogram of a look

# Of a cut: how much of the picture has another colour (0..1), how much brighter or darker it is (of 255), and how many
# times what is usual around it. The first two together, or the second alone where it is large.
CUT_COLOUR = 0.30
CUT_CHANGE = 15.0
CUT_CHANGE_ALONE = 45.0
CUT_ABOVE_USUAL = 3.0
CUT_APART = 0.15  # seconds; a flash is one cut, not two
AROUND = 0.6  # seconds before and after, for what is usual

DARK, BRIGHT, FLAT = 22.0, 240.0, 10.0  # mean and spread of brightness (of 255): outside it shows nothing
KEPT = 48  # stretches of time of which the best frame is kept
SUGGESTED = 12  # frames in the end
ALIKE = 0.10  # of two frames; closer ones are one
BLURRED = 0.2  # of the usual sharpness of the clip's best frames
LARGEST_SIDE = 1280  # pixels, of a kept frame
SILENT = -50.0  # dB of full scale; a window of sound below it is silence
VOICE_BAND = (150.0, 4000.0)  # Hz: most of a voice's energy
VOICE_SHARE = 0.75  # of a window's energy that must lie there
RATE = 48_000  # Hz, at which sound is measured
MOST_BAD = 200  # packets in a row that can't be decoded; then the rest is taken for damaged
LONGEST_STILL = 600.0  # seconds from one frame to the next; more is a broken clock
FIRST = 3.0  # seconds: what decides whether somebody stays

Tell = Callable[[float], object]


@dataclass(slots=True)
class _Look:
    """One frame, small."""

    at: float  # seconds
    luma: np.ndarray  # (SIDE / BLOCK, SIDE / BLOCK) float32, means of blocks, 0..255
    colours: np.ndarray  # (BINS ** 3,) float32, shares
    brightness: float  # 0..255
    spread: float
    sharpness: float

    @property
    def shows_something(self) -> bool:
        return DARK < self.brightness < BRIGHT and self.spread > FLAT


@dataclass(slots=True)
class _Best:
    """The best frame of a stretch of time."""

    look: _Look
    jpeg: bytes
    width: int
    height: int


def examine(file: IO[bytes], tell: Tell = lambda share: None) -> tuple[Probe, list[Frame]]:
    """Probe a clip and choose frames of it, in order of time; `tell` gets the share that is done.

    Raises ClipRefused with what is wrong, and MemoryError where the process' limit is reached.
    """
    file.seek(0)
    container = container_of(file.read(2048))
    file.seek(0)
    try:
        with av.open(
            file,
            format=container.demuxer,
            options={"max_pixels": str(MOST_PIXELS), "analyzeduration": "5000000", "probesize": "5000000"},
            io_open=_nothing_else,
            metadata_errors="replace",
            buffer_size=1 << 18,
        ) as opened:
            return _Examination(opened, container.name, tell).run()
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):  # often what a damaged header asks for
            raise ClipRefused(TOOK_TOO_MUCH, "too_much_memory") from error
        raise _damaged() from error


def _damaged() -> ClipRefused:
    return ClipRefused(
        "The clip can't be read: it is cut off or damaged. Export it again, or upload the original.", "damaged"
    )


def _nothing_else(url: str, flags: int, options: dict[str, str]) -> Any:
    raise ClipRefused("The clip wants other files to be opened, which is not done.", "not_a_video")


class _Examination:
    """One pass over an opened clip."""

    def __init__(self, opened: Any, container: str, tell: Tell) -> None:
        self.opened = opened
        self.container = container
        self.tell = tell
        self.notes: list[str] = []
        pictures = [one for one in opened.streams.video if not one.disposition & Disposition.attached_pic]
        sounds = [one for one in opened.streams.audio if one.codec_context is not None]
        if not pictures:
            raise ClipRefused(
                "The file has sound but no picture. Upload a video."
                if sounds
                else "There is no picture in the file. Upload a video.",
                "no_picture",
            )
        readable = [one for one in pictures if one.codec_context is not None]
        if not readable:
            raise ClipRefused(
                "The picture is written in a way that can't be read here. Export it again as MP4 (H.264).", "damaged"
            )
        self.stream = readable[0]
        _check_size(self.stream.codec_context.width, self.stream.codec_context.height)
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = 2
        self.stated = _stated_seconds(opened, self.stream)
        self.sound = _Sound(sounds[0], self.notes) if sounds else None
        self.looks: list[_Look] = []
        self.best: dict[int, _Best] = {}
        self.stretch = max(min(self.stated or 30.0, MOST_SECONDS) / KEPT * 1.01, 0.1)  # seconds
        self.frames = 0
        self.shape: tuple[int, int, int] | None = None  # width, height as shown, turn in degrees
        self.end = 0.0  # seconds, of the last frame
        self.complete = True
        self.deadline = time.monotonic() + WORK_SECONDS

    def run(self) -> tuple[Probe, list[Frame]]:
        told = 0.0
        for at, frame in self._frames():
            self._take(at, frame)
            if at - told > 0.5 and self.stated:
                told = at
                self.tell(min(at / min(self.stated, MOST_SECONDS), 1.0))
            if at > MOST_SECONDS:
                self.complete = False
                break
        if not self.looks:
            raise _damaged() if self.complete else ClipRefused(TOOK_TOO_LONG, "took_too_long")
        if not self.complete:
            self.notes.append(f"Only the first {self.end:.0f} s were looked at.")
        changes, cuts = changes_and_cuts(self.looks)
        chosen = self._suggested(cuts)
        return self._probe(changes, cuts), chosen

    def _frames(self) -> Iterator[tuple[float, Any]]:
        """Frames with their seconds from the first one, rising; what can't be decoded is left out."""
        first: float | None = None
        last, bad = 0.0, 0
        step = 1 / _rate(self.stream)
        for packet in self._packets():
            if packet.stream.type == "audio":
                if self.sound:
                    self.sound.take(packet)
                continue
            decoded = self._decoded(packet)
            bad = 0 if decoded else bad + 1
            if bad > MOST_BAD:
                break
            for frame in decoded:
                if first is None and frame.time is not None:
                    first = frame.time
                at = frame.time - first if frame.time is not None and first is not None else last + step
                if not last <= at < last + LONGEST_STILL:  # a broken clock
                    at = last + step if self.frames else 0.0
                last = at
                self.frames += 1
                self.end = at + step
                yield at, frame
        if self.sound:
            self.sound.finish()

    def _packets(self) -> Iterator[Any]:
        """Packets of picture and sound until the file ends, breaks off, or the time is over."""
        packets = self.opened.demux(self.stream, *([self.sound.stream] if self.sound else []))
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self._damage(error)
                return
            if packet is None:
                return
            yield packet
            if time.monotonic() > self.deadline:
                self.complete = False
                return

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except av.error.FFmpegError as error:
            self._damage(error)
            return []

    def _damage(self, error: Exception) -> None:
        if isinstance(error, MemoryError):
            raise error
        self.notes.append("A part of the clip is damaged and was left out.")

    def _take(self, at: float, frame: Any) -> None:
        if self.shape is None or at - self.looks[-1].at >= 1 / LOOKS_A_SECOND - 0.001:
            _check_size(frame.width, frame.height)
            if self.shape is None:
                self.shape = _shown(frame, self.stream)
            look = _look(at, frame)
            self.looks.append(look)
            self._keep(look, frame)

    def _keep(self, look: _Look, frame: Any) -> None:
        if not look.shows_something:
            return
        place = int(look.at / self.stretch)
        known = self.best.get(place)
        if known and look.sharpness <= known.look.sharpness * 1.05:
            return
        width, height, _ = _shown(frame, self.stream)
        jpeg, size = _jpeg(frame, width, height)
        self.best[place] = _Best(look, jpeg, *size)
        if len(self.best) > KEPT:
            self.stretch *= 2
            merged: dict[int, _Best] = {}
            for one in self.best.values():
                there = int(one.look.at / self.stretch)
                if there not in merged or one.look.sharpness > merged[there].look.sharpness:
                    merged[there] = one
            self.best = merged

    def _probe(self, changes: np.ndarray, cuts: list[float]) -> Probe:
        assert self.shape  # noqa: S101  # there are looks
        width, height, turn = self.shape
        seen = max(self.end, self.sound.end if self.sound and self.complete else 0.0)
        duration = seen if self.complete or not self.stated else max(self.stated, seen)
        early = [one for one in self.looks if one.at < FIRST]
        motion = [
            change / max(self.looks[i + 1].at - self.looks[i].at, 1 / LOOKS_A_SECOND) / 255
            for i, change in enumerate(changes)
            if self.looks[i + 1].at < FIRST and self.looks[i + 1].at not in set(cuts)
        ]
        if self.sound and not self.sound.windows:
            self.notes.append("Its sound could not be read.")
        return Probe(
            container=self.container,
            codec=self.stream.codec_context.codec.canonical_name,
            width=width,
            height=height,
            turned=turn,
            frames=self.frames,
            fps=self.frames / self.end if self.frames > 1 else None,
            duration=duration,
            looked_at=self.end,
            complete=self.complete,
            cuts=tuple(round(at, 3) for at in cuts),
            brightness=float(np.mean([one.brightness for one in early])) / 255,
            motion=float(np.mean(motion)) if motion else None,
            changes=_by_second([one.at for one in self.looks[1:]], changes / 255, self.end, np.mean),
            has_sound=self.sound is not None,
            loudness=self.sound.loudness if self.sound else None,
            silence=self.sound.share(self.sound.silent) if self.sound else None,
            voice=self.sound.share(self.sound.voiced) if self.sound else None,
            levels=self.sound.levels() if self.sound else (),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _suggested(self, cuts: list[float]) -> list[Frame]:
        """The sharpest frame of each shot, and of those that are left the sharpest which differ from all others."""
        best = list(self.best.values())
        if not best:
            self.notes.append("Every frame is black, white or blank.")
            return []
        usual = float(np.median([one.look.sharpness for one in best]))
        sharp = sorted(
            (one for one in best if one.look.sharpness >= BLURRED * usual), key=lambda one: -one.look.sharpness
        )
        shots = [bisect.bisect(cuts, one.look.at) for one in sharp]
        first = [shot not in shots[:place] for place, shot in enumerate(shots)]
        chosen: list[_Best] = []
        for one, _ in sorted(zip(sharp, first, strict=True), key=lambda pair: not pair[1]):  # else as sharp as before
            if len(chosen) < SUGGESTED and all(_difference(one.look, other.look) >= ALIKE for other in chosen):
                chosen.append(one)
        return [
            Frame(
                at=one.look.at,
                jpeg=one.jpeg,
                width=one.width,
                height=one.height,
                brightness=one.look.brightness / 255,
                sharpness=one.look.sharpness / usual if usual else 1.0,
            )
            for one in sorted(chosen, key=lambda one: one.look.at)
        ]


class _Sound:
    """The first sound track, measured in windows of 100 ms."""

    def __init__(self, stream: Any, notes: list[str]) -> None:
        self.stream = stream
        self.loudness: float | None = None  # LUFS of the whole (EBU R 128), as ffmpeg's ebur128 measures it
        self.windows: list[tuple[float, float]] = []  # level in dB of full scale, share of energy in the voice band
        self.end = 0.0  # seconds
        self._notes = notes
        self._failed = 0
        self._resampler = AudioResampler(format="flt", layout="stereo", rate=RATE)
        self._graph = av.filter.Graph()
        ends = (
            self._graph.add_abuffer(format="flt", sample_rate=RATE, layout="stereo", time_base=Fraction(1, RATE)),
            self._graph.add("ebur128", "metadata=1"),
            self._graph.add("abuffersink"),
        )
        self._graph.link_nodes(*ends).configure()
        self._given = 0  # samples

    def take(self, packet: Any) -> None:
        if self._failed > MOST_BAD:
            return
        try:
            for frame in packet.decode():
                self._push(frame)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):  # a sound track that breaks off leaves the pictures as they are
            self._failed += 1
            if self._failed == 1:
                self._notes.append("A part of the sound is damaged and was left out.")

    def finish(self) -> None:
        try:
            self._push(None)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            pass

    def share(self, test: Callable[[float, float], bool]) -> float | None:
        return sum(test(*one) for one in self.windows) / len(self.windows) if self.windows else None

    @staticmethod
    def silent(level: float, voice: float) -> bool:
        return level < SILENT

    @staticmethod
    def voiced(level: float, voice: float) -> bool:
        return level >= SILENT and voice >= VOICE_SHARE

    def levels(self) -> tuple[float | None, ...]:
        """Level of each second, in dB of full scale."""
        levels = [one[0] for one in self.windows]
        return _by_second([i / 10 for i in range(len(levels))], np.array(levels), len(levels) / 10, np.max)

    def _push(self, frame: Any) -> None:
        for part in self._resampler.resample(frame):
            if self._given / RATE > MOST_SECONDS + 60:
                return
            part.pts, part.time_base = self._given, Fraction(1, RATE)
            self._given += part.samples
            self._graph.push(part)
            self._pull()

    def _pull(self) -> None:
        while True:
            try:
                window = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # written for each window about all until then; below the gate there is nothing to tell
            loudness = float(window.metadata.get("lavfi.r128.I", "nan"))
            self.loudness = loudness if loudness > -69.9 else None
            samples = np.asarray(window.to_ndarray(), dtype=np.float64).reshape(-1, 2).mean(axis=1)
            self.end += len(samples) / RATE
            self.windows.append(_measured(samples))


def _measured(samples: np.ndarray) -> tuple[float, float]:
    """Level in dB of full scale, and the share of the energy in the voice band (0..1)."""
    energy = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    pitch = np.fft.rfftfreq(len(samples), 1 / RATE)
    total = float(energy.sum())
    inside = float(energy[(pitch >= VOICE_BAND[0]) & (pitch <= VOICE_BAND[1])].sum())
    power = float(np.mean(samples**2))
    return max(10 * math.log10(power), -120.0) if power > 0 else -120.0, inside / total if total > 0 else 0.0


def changes_and_cuts(looks: list[_Look]) -> tuple[np.ndarray, list[float]]:
    """How much brightness changes from each look to the next (n - 1 means, of 255), and the seconds of hard cuts.

    A cut changes the colours or the brightness of much of the picture at once, and stands out from what moves
    around it; a pan, a zoom or a fade does not.
    """
    if len(looks) < 2:
        return np.zeros(0), []
    luma = np.stack([one.luma for one in looks])
    colours = np.stack([one.colours for one in looks])
    at = np.array([one.at for one in looks])
    changes = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2))
    recolour = np.abs(np.diff(colours, axis=0)).sum(axis=1) / 2
    cuts: list[float] = []
    found = ((recolour >= CUT_COLOUR) & (changes >= CUT_CHANGE)) | (changes >= CUT_CHANGE_ALONE)
    for i in np.flatnonzero(found):
        near = (np.abs(at[1:] - at[i + 1]) <= AROUND) & (np.arange(len(changes)) != i)
        usual = float(np.median(changes[near])) if near.any() else 0.0
        if changes[i] < CUT_ABOVE_USUAL * usual:
            continue
        if not cuts or at[i + 1] - cuts[-1] >= CUT_APART:
            cuts.append(float(at[i + 1]))
    return changes, cuts


def _look(at: float, frame: Any) -> _Look:
    small = frame.reformat(width=SIDE, height=SIDE, format="rgb24", interpolation="AREA").to_ndarray()
    luma = small @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    edges = luma[1:-1, 1:-1] * 4 - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    codes = (small // (256 // BINS)).astype(np.int32) @ np.array([BINS * BINS, BINS, 1], dtype=np.int32)
    cells = SIDE // BLOCK
    return _Look(
        at=at,
        luma=luma.reshape(cells, BLOCK, cells, BLOCK).mean(axis=(1, 3)).astype(np.float32),
        colours=np.bincount(codes.ravel(), minlength=BINS**3).astype(np.float32) / codes.size,
        brightness=float(luma.mean()),
        spread=float(luma.std()),
        sharpness=float(edges.var()),
    )


def _difference(one: _Look, other: _Look) -> float:
    """How different two frames are: 0 the same, 1 nothing in common."""
    colours = float(np.abs(one.colours - other.colours).sum()) / 2
    return (colours + float(np.abs(one.luma - other.luma).mean()) / 64) / 2


def _shown(frame: Any, stream: Any) -> tuple[int, int, int]:
    """Width and height as a player shows them, and the turn in degrees that its frames need for it."""
    width, height = frame.width, frame.height
    shape = stream.sample_aspect_ratio
    if shape and 0.1 < shape < 10:
        width = max(round(width * float(shape)), 1)
    turn = int(round(frame.rotation / 90) * 90) % 360
    return (height, width, turn) if turn % 180 else (width, height, turn)


def _jpeg(frame: Any, width: int, height: int) -> tuple[bytes, tuple[int, int]]:
    """The frame as it is shown, at most LARGEST_SIDE pixels wide and high."""
    scale = min(LARGEST_SIDE / max(width, height), 1.0)
    size = max(round(width * scale), 16), max(round(height * scale), 16)
    turn = int(round(frame.rotation / 90) * 90) % 360
    lying = size[::-1] if turn % 180 else size
    pixels = frame.reformat(width=lying[0], height=lying[1], format="rgb24", interpolation="AREA").to_ndarray()
    picture = Image.fromarray(pixels)
    if turn:
        picture = picture.rotate(turn, expand=True)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue(), size


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ClipRefused(
            f"The clip has {width} x {height} pixels, more than 4K. Export it smaller: 1080 x 1920 is what sites show.",
            "too_many_pixels",
        )


def _stated_seconds(opened: Any, stream: Any) -> float | None:
    """The duration that the file states; None where it states none, or nonsense."""
    stated = opened.duration / av.time_base if opened.duration else None
    if stated is None and stream.duration and stream.time_base:
        stated = float(stream.duration * stream.time_base)
    return stated if stated and 0 < stated < 86_400 * 7 else None


def _rate(stream: Any) -> float:
    rate = float(stream.average_rate or stream.guessed_rate or 30)
    return rate if 0.1 < rate < 1000 else 30.0


def _by_second(
    at: list[float], values: np.ndarray, end: float, combine: Callable[[Any], Any]
) -> tuple[float | None, ...]:
    """The values of each second combined; None for a second without one."""
    seconds: list[list[float]] = [[] for _ in range(min(math.ceil(end), int(MOST_SECONDS) + 61))]
    for moment, value in zip(at, values.tolist(), strict=True):
        if int(moment) < len(seconds):
            seconds[int(moment)].append(value)
    return tuple(round(float(combine(one)), 4) if one else None for one in seconds)
