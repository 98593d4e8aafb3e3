"""What is told about a clip, and which files are clips at all. Pure: no decoder, so pages can import it."""

from dataclasses import dataclass
from typing import Any

from miles.errors import ClipRefused

MOST_BYTES = 500_000_000
MOST_PIXELS = 4096 * 2304  # of a frame: 4K; a decoder keeps up to 16 of them, 14 MB each
READ = "MP4, MOV, WebM, MKV, AVI, WMV, FLV, MPEG, TS, OGG and GIF"

TOOK_TOO_LONG = (
    "Reading the clip took too long, so it was stopped. Export it as MP4 (H.264), at most 1080 x 1920, and try again."
)
TOOK_TOO_MUCH = (
    "Reading the clip takes more memory than a clip may have. It is damaged, or very large: export it again as MP4"
    " (H.264), at most 1080 x 1920."
)


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file."""

    name: str
    demuxer: str  # ffmpeg's name
    content_type: str


MP4 = Container("MP4", "mov", "video/mp4")
_SIGNATURES: tuple[tuple[int, bytes, Container], ...] = (
    *((4, kind, MP4) for kind in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")),
    (0, b"\x1a\x45\xdf\xa3", Container("WebM or MKV", "matroska", "video/x-matroska")),
    (8, b"AVI ", Container("AVI", "avi", "video/x-msvideo")),
    (0, b"FLV\x01", Container("FLV", "flv", "video/x-flv")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("WMV", "asf", "video/x-ms-wmv")),
    (0, b"OggS", Container("OGG", "ogg", "video/ogg")),
    (0, b"\x00\x00\x01\xba", Container("MPEG", "mpeg", "video/mpeg")),
    (0, b"GIF8", Container("GIF", "gif", "image/gif")),
)
_TS = Container("TS", "mpegts", "video/mp2t")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\x00", b"MM\x00*")
_SOUNDS = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a clip is like."""

    container: str
    codec: str
    width: int  # pixels, as shown: turned, and with square pixels
    height: int
    turned: int  # degrees, by what the file says of how the camera was held
    frames: int  # decoded
    fps: float | None  # frames a second; None of a single frame
    duration: float  # seconds
    looked_at: float  # seconds of it that were read
    complete: bool  # whether that is all
    cuts: tuple[float, ...]  # seconds
    brightness: float  # of the first 3 s, 0..1
    motion: float | None  # of the first 3 s, without cuts: change of a pixel's brightness a second, in full ranges
    changes: tuple[float | None, ...]  # of each second: change of brightness from look to look, 0..1
    has_sound: bool
    loudness: float | None  # LUFS of the whole (EBU R 128); None without sound, or below the gate
    silence: float | None  # share of windows of 100 ms below -50 dB of full scale
    voice: float | None  # share of those that are not, and have most of their energy between 150 and 4,000 Hz
    levels: tuple[float | None, ...]  # of each second: the loudest window, in dB of full scale
    notes: tuple[str, ...]  # what was left out

    @property
    def cuts_per_minute(self) -> float | None:
        return len(self.cuts) * 60 / self.looked_at if self.looked_at > 0 else None

    @property
    def shape(self) -> str:
        """upright | square | wide"""
        ratio = self.width / self.height
        return "upright" if ratio < 0.95 else "square" if ratio <= 1.05 else "wide"

    @classmethod
    def read(cls, data: dict[str, Any]) -> "Probe":
        """From JSON, where `dataclasses.asdict` wrote it."""
        values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in data.items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that could be the thumbnail."""

    at: float  # seconds
    jpeg: bytes
    width: int  # pixels of the JPEG
    height: int
    brightness: float  # 0..1
    sharpness: float  # against the middle of the clip's best frames


def container_of(head: bytes) -> Container:
    """The kind of a clip by its first 1 KB or more. Raises ClipRefused for what is none."""
    if not head:
        raise ClipRefused("The file is empty. Export the video again and upload it once more.", "empty")
    for at, mark, container in _SIGNATURES:
        if head[at : at + len(mark)] == mark and (container.name != "AVI" or head[:4] == b"RIFF"):
            return container
    for first, length in ((0, 188), (4, 192)):  # the sync byte that begins each packet
        if len(head) > first + 2 * length and all(head[first + i * length] == 0x47 for i in range(3)):
            return _TS
    if head.startswith(_PICTURES) or head[8:12] == b"WEBP":
        raise ClipRefused("This is a picture, not a video. Upload it as a thumbnail in the Score lab.", "not_a_video")
    if head.startswith(_SOUNDS) or head[8:12] == b"WAVE":
        raise ClipRefused("The file has sound but no picture. Upload a video.", "no_picture")
    raise ClipRefused(f"This is no video that Miles reads. {READ} can be read.", "not_a_video")
