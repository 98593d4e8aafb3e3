"""Files of videos into the database: yt-dlp's JSON, CSV and Parquet, recognised by what is in them.

A file is read in batches, its columns are recognised by their usual names, checked and brought into
our units by sets (Arrow), and staged by COPY; one merge at the end brings all of them in, or none.
A row that can't be a video is left out, and reported with its file, line and reason; a file that is
not what it says stops the import. Knows nothing about yt-dlp itself, the network or scoring.

A row that does not say when it was observed counts as observed when its file was last modified: the
same file imported twice changes nothing.
"""

import ast
import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from sqlalchemy import Connection

from miles import candidates, db, store
from miles.candidates import Observation, RejectedRow
from miles.errors import MilesError, UnreadableFile

# Ours -> the names others use for it, the likeliest first; compared in lower case without punctuation.
COLUMNS: dict[str, tuple[str, ...]] = {
    "video_id": ("video_id", "videoId", "id.videoId", "yt-id", "youtube_id", "aweme_id", "id"),
    "title": ("title", "snippet.title", "video_title", "fulltitle", "caption"),
    "platform": ("platform", "extractor_key", "extractor", "ie_key"),
    "url": ("webpage_url", "original_url", "video_url", "url", "link"),
    "description": ("description", "snippet.description", "video_description"),
    "channel_id": ("channel_id", "channelId", "snippet.channelId", "uploader_id", "user"),
    "channel_name": (
        "channel_title", "channelTitle", "snippet.channelTitle", "channel_name", "channel", "uploader", "user",
    ),
    "channel_url": ("channel_url", "uploader_url"),
    "followers": ("channel_follower_count", "subscriberCount", "channel_subscribers", "subscribers", "followers"),
    "category": ("category_name", "category", "categories"),
    "category_id": ("category_id", "categoryId", "snippet.categoryId"),
    "duration": ("duration", "contentDetails.duration", "duration_seconds", "duration_string"),
    "language": (
        "language", "default_language", "defaultLanguage", "snippet.defaultLanguage", "default_audio_language",
        "defaultAudioLanguage", "snippet.defaultAudioLanguage", "lang",
    ),
    "media_type": ("media_type", "live_status"),
    "published_at": (
        "published_at", "publishedAt", "snippet.publishedAt", "publish_time", "timestamp", "upload_date",
        "release_timestamp", "created_at", "created", "publish_date", "date",
    ),
    "observed_at": (
        "observed_at", "fetched_at", "collected_at", "scraped_at", "trending_date", "trendingDate", "epoch",
    ),
    "views": ("view_count", "views", "viewCount", "statistics.viewCount", "video_views", "play_count"),
    "likes": ("like_count", "likes", "likeCount", "statistics.likeCount", "video_likes"),
    "comments": ("comment_count", "comments", "commentCount", "statistics.commentCount", "video_comments"),
    "country": ("country", "country_code", "region", "region_code", "trending_country"),
    "tags": ("tags", "snippet.tags", "hashtags", "video_tags"),
    "thumbnail_url": (
        "thumbnail_url", "thumbnail_link", "thumbnail", "snippet.thumbnails.maxres.url",
        "snippet.thumbnails.high.url", "snippet.thumbnails.default.url",
    ),
}  # fmt: skip

MAX_ERRORS = 1000  # rows reported one by one; beyond, they are only counted
BATCH = 65_536  # rows; wide ones take about 50 MB with their copies
TEXT_BATCH = 16_384  # rows of a CSV or JSON lines file, which are Python objects first
MISSING = {"", "nan", "none", "null", "na", "n/a", "nat", "\\n"}  # how files write a missing number or date
YOUTUBE_ID = r"^[0-9A-Za-z_-]{11}$"
TIKTOK_ID = r"^[67][0-9]{18}$"  # 64 bits, the upper 32 of them seconds since 1970: 2015 to 2038
# The id in an address, for files that hold only the address.
ID_IN_URL = r"(?:[?&]v=|youtu\.be/|/shorts/|/embed/|/live/|/video/|/reels?/|/p/|vimeo\.com/)(?P<id>[0-9A-Za-z_-]+)"
SITES = {
    "youtube": r"^(?:https?://)?(?:[\w-]+\.)*(?:youtube(?:-nocookie)?\.com|youtu\.be)(?:[/?#]|$)",
    "tiktok": r"^(?:https?://)?(?:[\w-]+\.)*tiktok\.com(?:[/?#]|$)",
    "instagram": r"^(?:https?://)?(?:[\w-]+\.)*instagram\.com(?:[/?#]|$)",
    "facebook": r"^(?:https?://)?(?:[\w-]+\.)*(?:facebook\.com|fb\.watch)(?:[/?#]|$)",
    "vimeo": r"^(?:https?://)?(?:[\w-]+\.)*vimeo\.com(?:[/?#]|$)",
    "twitter": r"^(?:https?://)?(?:[\w-]+\.)*(?:twitter|x)\.com(?:[/?#]|$)",
    "reddit": r"^(?:https?://)?(?:[\w-]+\.)*reddit\.com(?:[/?#]|$)",
}
MEDIA_TYPES: dict[str, candidates.MediaType] = {
    "video": "video", "not_live": "video", "short": "short", "shorts": "short", "reel": "short",
    "live": "live", "livestream": "live", "is_live": "live", "was_live": "live", "is_upcoming": "live",
    "post_live": "live",
}  # fmt: skip

Format = Literal["json", "csv", "parquet"]
NAMED: dict[str, Format] = {
    ".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: for a progress bar."""

    step: Literal["read", "merge", "done"]
    file: Path | None
    fraction: float  # 0..1 of all files' bytes; merging comes after 1.0 is reached
    rows: int


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that did not come in."""

    file: str
    line: int  # 1-based: the line of a text file, the row of a Parquet file, the item of a JSON document
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did; with a dry run, what it would have done. Counts of videos, unless said otherwise."""

    new: int
    updated: int
    unchanged: int
    rejected: int  # videos of which no row came in
    rows: int  # rows read
    rejected_rows: int
    snapshots: int  # snapshots added or completed
    removed: int  # left out: they were removed on request, or their channel was
    errors: tuple[RowError, ...]  # the first MAX_ERRORS of the rejected rows
    columns: Mapping[str, Mapping[str, str]]  # file -> ours -> theirs, as recognised
    dry_run: bool


def import_files(
    paths: Sequence[Path],
    *,
    mapping: Mapping[str, str] | None = None,
    dry_run: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> ImportReport:
    """Bring the videos of these files in, in one transaction of its own.

    `mapping` names columns that are not recognised ({"views": "Aufrufe"}). Raises UnreadableFile if one
    of the files is empty, truncated or not what it says, MilesError if the mapping names no column of
    ours; then nothing has changed. A dry run does it all and takes it back.
    """
    mapping = dict(mapping or {})
    if unknown := [ours for ours in mapping if ours not in COLUMNS]:
        raise MilesError(f"There is no column {unknown[0]!r} to map to. Miles knows: {', '.join(COLUMNS)}.")
    files = [_File.open(Path(path), mapping) for path in paths]
    db.ready()
    with db.transaction("worker") as connection:
        errors = _Errors()
        store.stage(connection)
        rows = 0
        done, total = 0, sum(file.size for file in files) or 1
        report = on_progress or (lambda progress: None)
        for file in files:
            for batch_rows, position in file.stage(connection, errors):
                rows += batch_rows
                report(Progress("read", file.path, min((done + position) / total, 1.0), rows))
            done += file.size
        report(Progress("merge", None, 1.0, rows))
        rejected = errors.videos_left_out(connection)
        changes = store.merge(connection)
        if dry_run:
            connection.rollback()
    report(Progress("done", None, 1.0, rows))
    return ImportReport(
        new=len(changes.new),
        updated=len(changes.updated),
        unchanged=changes.unchanged,
        rejected=rejected,
        rows=rows + errors.unread,
        rejected_rows=errors.total,
        snapshots=changes.snapshots,
        removed=len(changes.removed),
        errors=tuple(errors.first),
        columns={str(file.path): file.columns for file in files},
        dry_run=dry_run,
    )


class _Errors:
    """The rejected rows of an import: the first of them, their number, and their videos."""

    def __init__(self) -> None:
        self.first: list[RowError] = []
        self.total = 0
        self._videos: set[str] = set()
        self._nameless = 0  # rows that do not even name their video
        self.unread = 0  # rows that are not even rows, and so in no batch

    def add(self, file: str, line: int, reason: str, video: str | None = None) -> None:
        self.total += 1
        if video:
            self._videos.add(video)
        else:
            self._nameless += 1
        if len(self.first) < MAX_ERRORS:
            self.first.append(RowError(file, line, reason))

    def add_unread(self, file: str, line: int, reason: str) -> None:
        self.unread += 1
        self.add(file, line, reason)

    def videos_left_out(self, connection: Connection) -> int:
        """How many videos have rejected rows and nothing else; nameless rows count as a video each."""
        if not self._videos:
            return self._nameless
        (staged,) = store.run(
            connection,
            "SELECT count(DISTINCT video_id) FROM staged_facts WHERE video_id = ANY(%(videos)s)",
            {"videos": sorted(self._videos)},
        ).fetchone() or (0,)
        return self._nameless + len(self._videos) - staged


# ---------------------------------------------------------------------------------------- the formats


class _File(ABC):
    """One file to import: its format told by its content, then its rows staged batch by batch."""

    def __init__(self, path: Path, size: int, mapping: Mapping[str, str], modified: datetime) -> None:
        self.path = path
        self.size = size
        self.mapping = mapping
        self.modified = modified  # when its rows were observed, where they don't say
        self.columns: dict[str, str] = {}

    @staticmethod
    def open(path: Path, mapping: Mapping[str, str]) -> "_File":
        """Look at the first bytes. Raises UnreadableFile."""
        try:
            status = path.stat()
            with path.open("rb") as stream:
                head = stream.read(4096)
        except OSError as error:
            raise UnreadableFile(f"{path} can't be read: {error.strerror or error}.") from error
        if not head.strip():
            raise UnreadableFile(f"{path} is empty.")
        if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh")):
            raise UnreadableFile(f"{path} is compressed. Unpack it, then import what is inside.")
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        found: Format = "parquet" if head[:4] == b"PAR1" else "json" if start[:1] in (b"{", b"[") else "csv"
        named = NAMED.get(path.suffix.lower(), found)
        if named != found:
            kind = {"json": "JSON", "csv": "a table of text", "parquet": "Parquet"}
            raise UnreadableFile(f"{path} is named as {kind[named]}, but what is inside is not.")
        kinds: dict[Format, type[_ParquetFile] | type[_JsonFile] | type[_CsvFile]]
        kinds = {"parquet": _ParquetFile, "json": _JsonFile, "csv": _CsvFile}
        modified = datetime.fromtimestamp(status.st_mtime, UTC).replace(microsecond=0)
        return kinds[found](path, status.st_size, mapping, modified)

    @abstractmethod
    def stage(self, connection: Connection, errors: _Errors) -> Iterator[tuple[int, int]]:
        """Stage all rows; yields after each batch its number of rows and the position in the file (bytes)."""

    def recognise(self, names: Iterable[str]) -> dict[str, str]:
        """Which of their columns is which of ours. Raises UnreadableFile where that is no table of videos."""
        theirs: dict[str, str] = {}
        for name in names:
            theirs.setdefault(_plain(name), name)
        found = {}
        for ours, usual in COLUMNS.items():
            if ours in self.mapping:
                if _plain(self.mapping[ours]) not in theirs:
                    raise UnreadableFile(
                        f"{self.path} has no column {self.mapping[ours]!r} (to be {ours}). Its columns: "
                        f"{_listed(theirs.values())}."
                    )
                found[ours] = theirs[_plain(self.mapping[ours])]
            else:
                match = next((theirs[plain] for plain in map(_plain, usual) if plain in theirs), None)
                if match is not None and match not in self.mapping.values():
                    found[ours] = match
        if "title" not in found or not ({"video_id", "url"} & found.keys()):
            missing = "title" if "title" not in found else "video_id"
            raise UnreadableFile(
                f"{self.path} has no column that Miles knows as {missing}. Its columns: {_listed(theirs.values())}. "
                f"If one of them is it, say so: {missing}=<its name>."
            )
        return found

    def _damaged(self, reason: object) -> UnreadableFile:
        return UnreadableFile(f"{self.path} is damaged or truncated: {str(reason).strip().splitlines()[0]}")


class _ParquetFile(_File):
    def stage(self, connection: Connection, errors: _Errors) -> Iterator[tuple[int, int]]:
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                self.columns = self.recognise(file.schema_arrow.names)
                total = file.metadata.num_rows
                if total == 0:
                    raise UnreadableFile(f"{self.path} is empty: it has columns, but no row.")
                row = 1
                for batch in file.iter_batches(BATCH, columns=sorted(set(self.columns.values()))):
                    raw = {ours: batch.column(theirs) for ours, theirs in self.columns.items()}
                    for ours, column in raw.items():
                        if pa.types.is_nested(column.type) and ours != "tags":
                            raise UnreadableFile(
                                f"{self.path}: column {self.columns[ours]!r} is nested ({column.type})."
                            )
                        column.validate(full=True)  # text that is not UTF-8
                    lines = pa.array(range(row, row + batch.num_rows), pa.int64())
                    _stage_table(connection, raw, lines, self, errors)
                    row += batch.num_rows
                    yield batch.num_rows, self.size * (row - 1) // total
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise self._damaged(error) from error


class _CsvFile(_File):
    def stage(self, connection: Connection, errors: _Errors) -> Iterator[tuple[int, int]]:
        with self._text() as stream:
            lines = _Lines(stream)
            reader = csv.reader(lines, delimiter=self._delimiter(), strict=True)
            try:
                header = next(reader)
            except (csv.Error, StopIteration) as error:
                raise UnreadableFile(f"{self.path} is not a table: it has no header.") from error
            self.columns = self.recognise(header)
            places = {ours: header.index(theirs) for ours, theirs in self.columns.items()}
            position = 0
            for batch in _batches(self._records(reader, lines, len(header), errors), TEXT_BATCH):
                raw = {ours: pa.array([record[place] for _, record in batch]) for ours, place in places.items()}
                _stage_table(connection, raw, pa.array([line for line, _ in batch]), self, errors)
                position = lines.characters  # of bytes: near enough for a progress bar
                yield len(batch), min(position, self.size)
            if reader.line_num < 2:
                raise UnreadableFile(f"{self.path} is empty: it has a header, but no row.")

    def _records(
        self, reader: Iterator[list[str]], lines: "_Lines", width: int, errors: _Errors
    ) -> Iterator[tuple[int, list[str]]]:
        """Each record with the line it starts on; those of another width are rejected."""
        while True:
            line = lines.number + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.ended:
                    raise self._damaged(f"it ends inside the quotes of line {line}.") from error
                errors.add_unread(self.path.name, line, f"not a row of a CSV file: {error}")
                continue
            if not any(record):
                continue
            if len(record) != width:
                if len(record) < width and not lines.last.endswith(("\n", "\r")):
                    raise self._damaged(f"it ends in the middle of line {line}.")
                errors.add_unread(self.path.name, line, f"{len(record)} columns where the header has {width}")
                continue
            yield line, record

    def _text(self) -> io.TextIOWrapper:
        """The file as text: UTF-8, UTF-16 by its mark, else Windows' Latin."""
        with self.path.open("rb") as stream:
            head = stream.read(4096)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return self.path.open(encoding="utf-16", newline="")
        if b"\x00" in head:
            raise UnreadableFile(f"{self.path} is not text, nor any other format that Miles reads.")
        try:
            with self.path.open(encoding="utf-8-sig") as stream:
                for _ in iter(partial(stream.read, 1 << 20), ""):
                    pass
            return self.path.open(encoding="utf-8-sig", newline="")
        except UnicodeDecodeError:
            return self.path.open(encoding="cp1252", errors="replace", newline="")

    def _delimiter(self) -> str:
        """The separator that splits the header into the most columns."""
        with self._text() as stream:
            header = stream.readline()
        return max(",;\t|", key=header.count)


class _JsonFile(_File):
    def stage(self, connection: Connection, errors: _Errors) -> Iterator[tuple[int, int]]:
        self.columns = dict(self.mapping)
        empty = True
        try:
            items = self._lines(errors) if self._has_lines() else self._document(errors)
            for batch in _batches(items, TEXT_BATCH):
                empty = False
                self._stage_items(connection, [(line, item) for line, item, _ in batch], errors)
                yield len(batch), batch[-1][2]
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(error) from error
        if empty and not errors.total:
            raise UnreadableFile(f"{self.path} is empty: it is JSON without a video in it.")

    def _has_lines(self) -> bool:
        """Whether this is JSON lines: its first line is whole, and something follows it."""
        with self.path.open("rb") as stream:
            first = next((line for line in stream if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
            follows = any(line.strip() for line in stream)
        try:
            return isinstance(json.loads(first.decode("utf-8-sig")), dict) and follows
        except (json.JSONDecodeError, UnicodeDecodeError):
            return False

    def _lines(self, errors: _Errors) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        position = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                position += len(line)
                if not line.strip():
                    continue
                try:
                    item = json.loads(line.decode("utf-8-sig"))
                except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                    if not line.endswith(b"\n"):
                        raise self._damaged(f"it ends in the middle of line {number}.") from error
                    errors.add_unread(self.path.name, number, f"not JSON: {error}")
                    continue
                for video in self._videos(item, number, errors):
                    yield number, video, position

    def _document(self, errors: _Errors) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        document = json.loads(self.path.read_text(encoding="utf-8-sig"))
        number = 0
        for item in document if isinstance(document, list) else [document]:
            for video in self._videos(item, number + 1, errors):
                number += 1
                yield number, video, self.size * (number > 0)

    def _videos(self, item: object, line: int, errors: _Errors) -> Iterator[Mapping[str, Any]]:
        """The videos in one JSON value: itself, the entries of a playlist, the items of an API's answer."""
        if not isinstance(item, Mapping):
            errors.add_unread(self.path.name, line, f"not a video but {type(item).__name__}")
            return
        inner = item.get("entries", item.get("items"))
        if item.get("_type") in ("playlist", "multi_video") or isinstance(inner, list):
            if not inner:
                errors.add_unread(self.path.name, line, f"a list without videos: {item.get('title') or item.get('id')}")
                return
            for entry in inner:
                if entry is not None:  # yt-dlp's place for a video that could not be read
                    told = {"epoch": item["epoch"]} if item.get("epoch") else {}
                    yield from self._videos({**told, **entry} if isinstance(entry, Mapping) else entry, line, errors)
            return
        yield item

    def _stage_items(
        self, connection: Connection, items: Sequence[tuple[int, Mapping[str, Any]]], errors: _Errors
    ) -> None:
        observations: list[Observation] = []
        others: list[tuple[int, dict[str, str]]] = []
        now = datetime.now(UTC)
        for line, item in items:
            if self.mapping or not _from_yt_dlp(item):
                others.append((line, _flat(item)))
                continue
            try:
                observations.append(_observation(item, self.modified, self.path.name, now))
            except RejectedRow as error:
                errors.add(self.path.name, line, str(error), candidates.text(item.get("id")))
        store.stage_observations(connection, observations)
        if others:
            names = dict.fromkeys(name for _, row in others for name in row)
            found = self.recognise(names)
            self.columns = {**self.columns, **found}
            raw = {
                ours: pa.array([row.get(theirs) for _, row in others], pa.string()) for ours, theirs in found.items()
            }
            _stage_table(connection, raw, pa.array([line for line, _ in others]), self, errors)


class _Lines:
    """The lines of a stream, and which one was given last."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._stream = iter(stream)
        self.number = 0
        self.characters = 0
        self.last = ""
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._stream, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self.number += 1
        self.characters += len(line)
        self.last = line
        return line


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower()) or name


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def _from_yt_dlp(item: Mapping[str, Any]) -> bool:
    return bool({"extractor", "extractor_key", "ie_key", "webpage_url_domain"} & item.keys())


def _observation(info: Mapping[str, Any], modified: datetime, file: str, now: datetime) -> Observation:
    """What a yt-dlp info dict in a file says. Raises RejectedRow."""
    observed_at = parse_moment(str(info["epoch"])) if info.get("epoch") else modified
    version = info.get("_version")
    source = f"yt-dlp {version['version']}" if isinstance(version, Mapping) and version.get("version") else file
    flat = info.get("_type") in ("url", "url_transparent")
    row = candidates.from_info(info, observed_at, "flat" if flat else "full", source)
    for name, moment in (
        ("observed_at", observed_at),
        ("published_at", row.candidate.published_at or row.candidate.published_about),
    ):
        if moment is not None and not candidates.believable(moment, now):
            raise RejectedRow(f"{name} is not believable: {moment:%Y-%m-%d}")
    return row


def _flat(item: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A JSON object as one row of text: {"snippet": {"title": "a"}} becomes {"snippet.title": "a"}."""
    row: dict[str, str] = {}
    for name, value in item.items():
        if isinstance(value, Mapping):
            row |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            row[f"{prefix}{name}"] = store.TAG_SEPARATOR.join(_text(part) for part in value)
        elif value is not None:
            row[f"{prefix}{name}"] = _text(value)
    return row


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()  # JSON can hold half a character


# ------------------------------------------------------------------------------------ single values


def parse_moment(value: str) -> datetime:
    """UTC from ISO 8601, YYYYMMDD, Kaggle's YY.DD.MM, or seconds (milli-, micro-) since 1970. Raises RejectedRow."""
    cleaned = value.strip()
    try:
        if re.fullmatch(r"\d{8}", cleaned):
            return datetime.strptime(cleaned, "%Y%m%d").replace(tzinfo=UTC)
        if match := re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", cleaned):
            year, day, month = map(int, match.groups())
            return datetime(2000 + year, month, day, tzinfo=UTC)
        if re.fullmatch(r"-?\d+(\.\d*)?([eE][+-]?\d+)?", cleaned):
            seconds = float(cleaned)
            while 1e11 < abs(seconds) < inf:  # seconds reach 1e11 in the year 5138
                seconds /= 1000
            return datetime.fromtimestamp(seconds, UTC)
        moment = datetime.fromisoformat(cleaned.removesuffix(" UTC"))
    except (ValueError, OverflowError, OSError):
        raise RejectedRow(f"not a date: {value[:60]!r}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_duration(value: str) -> float:
    """Seconds from "63", "1:03", "00:01:03" or ISO 8601's "PT1M3S". Raises RejectedRow."""
    cleaned = value.strip()
    if len(cleaned) > 1 and (
        match := re.fullmatch(
            r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
            cleaned,
        )
    ):
        part = {unit: float(amount or 0) for unit, amount in match.groupdict().items()}
        cleaned = str((((part["w"] * 7 + part["d"]) * 24 + part["h"]) * 60 + part["m"]) * 60 + part["s"])
    elif re.fullmatch(r"\d+(:[0-5]?\d){1,2}(\.\d+)?", cleaned):
        seconds = 0.0
        for piece in cleaned.split(":"):
            seconds = seconds * 60 + float(piece)
        cleaned = str(seconds)
    amount = candidates.seconds(cleaned)
    if amount is None:
        raise RejectedRow(f"duration is not a number: {value[:60]!r}")
    return amount


def _list(value: str) -> Iterable[object]:
    """A list as JSON or Python writes it, else what stands between its commas."""
    for read in (json.loads, ast.literal_eval):
        try:
            return list(read(value))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return value[1:-1].split(",")


def parse_tags(value: str) -> str | None:
    """Tags as staged, from "a|b", Kaggle's `a|"b"`, "a, b", or a list as JSON or Python writes it."""
    cleaned = value.strip()
    parts: Iterable[object]
    if store.TAG_SEPARATOR in cleaned:
        parts = cleaned.split(store.TAG_SEPARATOR)
    elif cleaned == "[none]":
        return None  # so do Kaggle's files say that there are none
    elif cleaned.startswith("[") and cleaned.endswith("]"):
        parts = _list(cleaned)
    elif "|" in cleaned:
        parts = (part.strip('"') for part in cleaned.split("|"))
    else:
        parts = cleaned.split(",")
    names = (str(part).strip() for part in parts if part is not None)
    return store.TAG_SEPARATOR.join(name for name in names if name) or None


def parse_category(value: str) -> str | None:
    """The name of a category given by id, by name, or as the first of a list."""
    first = value.split(store.TAG_SEPARATOR, maxsplit=1)[0].strip("[]'\" ").split("', '")[0]
    return candidates.youtube_category(first)


# ---------------------------------------------------------------------------------- columns by sets


class _Rows:
    """A batch of rows whose columns are being checked: the first reason against each row is kept."""

    def __init__(self, raw: Mapping[str, pa.Array], count: int) -> None:
        self.raw = raw
        self.count = count
        self.reasons = pa.nulls(count, pa.string())

    def reject(self, mask: pa.Array, reason: str | pa.Array) -> pa.Array:
        """Keep the reason for the rows of the mask; returns the mask without nulls."""
        mask = pc.fill_null(mask, False)
        if pc.any(mask).as_py():
            self.reasons = pc.if_else(pc.and_(mask, pc.is_null(self.reasons)), reason, self.reasons)
        return mask

    def missing(self, kind: pa.DataType) -> pa.Array:
        return pa.nulls(self.count, kind)

    def text(self, name: str, longest: int = 2000) -> pa.Array:
        """Trimmed text without NUL; "" is missing."""
        if name not in self.raw:
            return self.missing(pa.string())
        column = _decoded(self.raw[name])
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            column = pc.binary_join(column.cast(pa.list_(pa.string())), store.TAG_SEPARATOR)
        if pa.types.is_floating(column.type):  # ids that once stood beside missing ones
            column = column.cast(pa.decimal128(38, 0), safe=False)
        column = column.cast(pa.string())
        if pc.any(pc.match_substring(column, "\x00")).as_py():
            column = pc.replace_substring(column, "\x00", "")
        column = pc.utf8_trim_whitespace(column)
        if (pc.max(pc.binary_length(column)).as_py() or 0) > longest:
            column = pc.utf8_slice_codeunits(column, 0, longest)
        return _where(pc.not_equal(column, ""), column)

    def numbers(self, name: str) -> pa.Array:
        """Numbers >= 0 (int64 or double); what is not one is a reason to reject the row."""
        if name not in self.raw:
            return self.missing(pa.int64())
        column = _decoded(self.raw[name])
        if not _is_number(column.type):
            column = self.given(name)
            plain = pc.replace_substring(column, ",", "")
            good = pc.match_substring_regex(plain, r"^[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?$")
            self.reject(pc.invert(good), pc.binary_join_element_wise(f"{name} is not a number: ", column, ""))
            plain = _where(good, plain)
            whole = pc.all(pc.fill_null(pc.match_substring_regex(plain, r"^-?\d{1,18}$"), True)).as_py()
            column = plain.cast(pa.int64() if whole else pa.float64())
        if pa.types.is_integer(column.type) and not pa.types.is_uint64(column.type):
            column = column.cast(pa.int64())
            bad = pc.or_(pc.less(column, 0), pc.greater(column, candidates.MAX_COUNT))
        else:
            column = column.cast(pa.float64())
            column = _where(pc.is_finite(column), column) if pc.any(pc.is_nan(column)).as_py() else column
            bad = pc.or_(pc.less(column, 0.0), pc.greater(column, float(candidates.MAX_COUNT)))
        if not pc.any(bad).as_py():
            return column
        bad = self.reject(bad, pc.binary_join_element_wise(f"{name} is out of range: ", column.cast(pa.string()), ""))
        return _where(pc.invert(bad), column)

    def counts(self, name: str) -> pa.Array:
        return self.numbers(name).cast(pa.int64(), safe=False)

    def moments(self, name: str, now: datetime) -> pa.Array:
        """UTC to the microsecond, between 2005 and tomorrow; what is not is a reason to reject the row."""
        kind = pa.timestamp("us", "UTC")
        if name not in self.raw:
            return self.missing(kind)
        column = _decoded(self.raw[name])
        if pa.types.is_temporal(column.type):
            column = column.cast(kind, safe=False)
        else:
            column = self.parsed(name, parse_moment, kind, self.given(name))
        earliest = pa.scalar(candidates.EARLIEST, kind)
        bad = pc.or_(pc.less(column, earliest), pc.greater(column, pa.scalar(now + candidates.CLOCK_SLACK, kind)))
        if not pc.any(bad).as_py():
            return column
        days = pc.cast(column, pa.string())
        bad = self.reject(bad, pc.binary_join_element_wise(f"{name} is not believable: ", days, ""))
        return _where(pc.invert(bad), column)

    def parsed(
        self, name: str, parse: Callable[[str], Any], kind: pa.DataType, column: pa.Array | None = None
    ) -> pa.Array:
        """A column of text through a function of one value (called once for each distinct one)."""
        encoded = pc.dictionary_encode(self.text(name, 10_000) if column is None else column)
        values: list[Any] = []
        reasons: list[str | None] = []
        for value in encoded.dictionary.to_pylist():
            try:
                values.append(parse(value))
                reasons.append(None)
            except RejectedRow as error:
                values.append(None)
                reasons.append(str(error) if name in str(error) else f"{name}: {error}")
        if any(reasons):
            told = pa.array(reasons, pa.string()).take(encoded.indices)
            self.reject(pc.is_valid(told), told)
        return pa.array(values, kind).take(encoded.indices)

    def given(self, name: str) -> pa.Array:
        """Text without the ways to write a missing number or date."""
        column = pc.utf8_trim_whitespace(_decoded(self.raw[name]).cast(pa.string()))
        return _where(pc.invert(pc.is_in(pc.utf8_lower(column), pa.array(sorted(MISSING)))), column)


def _decoded(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _where(mask: pa.Array, column: pa.Array) -> pa.Array:
    """The column where the mask holds, null elsewhere."""
    return pc.if_else(pc.fill_null(mask, False), column, pa.scalar(None, column.type))


def _stage_table(
    connection: Connection, raw: Mapping[str, pa.Array], lines: pa.Array, file: _File, errors: _Errors
) -> None:
    """Check a batch of rows (ours -> their values, as they are), report the bad ones, stage the others."""
    rows = _Rows(raw, len(lines))
    table = _typed(rows, file.modified, datetime.now(UTC))
    if rows.reasons.null_count < rows.count:
        bad = pc.is_valid(rows.reasons)
        for line, reason, video in zip(
            lines.filter(bad).to_pylist(),
            rows.reasons.filter(bad).to_pylist(),
            table.column("video_id").filter(bad).to_pylist(),
            strict=True,
        ):
            errors.add(file.path.name, line, reason, video)
        table = table.filter(pc.invert(bad))
    table = table.append_column("source", pa.repeat(pa.scalar(file.path.name), table.num_rows))
    table = table.append_column("sample", pa.repeat(pa.scalar(False), table.num_rows))
    table = table.append_column("exact", pa.repeat(pa.scalar(True), table.num_rows))

    # What the merge wants of the wide columns is only which versions there were, and when: for
    # observations of the same videos on many days that is a small part of the rows.
    facts = _versions(table, store.STAGED_FACTS)
    facts = facts.set_column(facts.schema.get_field_index("tags"), "tags", _tags(facts.column("tags").combine_chunks()))
    _copy(connection, "staged_facts", store.STAGED_FACTS, facts)
    channels = table.drop_columns("url").rename_columns({"channel_name": "name", "channel_url": "url"})
    channels = channels.filter(pc.is_valid(channels.column("channel_key")))
    _copy(connection, "staged_channels", store.STAGED_CHANNELS, _versions(channels, store.STAGED_CHANNELS))
    _copy(connection, "staged_snapshots", store.STAGED_SNAPSHOTS, table)


def _typed(rows: _Rows, modified: datetime, now: datetime) -> pa.Table:
    """The columns in our names, units and types; reasons against rows are left in `rows`."""
    url = rows.text("url")
    named_in_url = pc.struct_field(pc.extract_regex(url, ID_IN_URL), "id")
    video_id = pc.coalesce(rows.text("video_id", 200), named_in_url)
    rows.reject(pc.is_null(video_id), "no video id")
    platform = _platforms(rows, video_id, url)
    rows.reject(
        pc.is_null(platform), pc.binary_join_element_wise("unknown platform: add a column 'platform' or 'url'; id ",
                                                          pc.fill_null(video_id, "none"), ""),
    )  # fmt: skip
    title = rows.text("title", candidates.MAX_TITLE)
    rows.reject(pc.is_null(title), "no title")
    published_at = rows.moments("published_at", now)
    observed_at = pc.fill_null(rows.moments("observed_at", now), pa.scalar(modified, pa.timestamp("us", "UTC")))
    duration = (
        pc.round(rows.numbers("duration").cast(pa.float64()), 3)
        if "duration" not in rows.raw or _is_number(_decoded(rows.raw["duration"]).type)
        else rows.parsed("duration", parse_duration, pa.float64(), rows.given("duration"))
    )
    media_type = rows.parsed("media_type", lambda kind: MEDIA_TYPES.get(kind.lower()), pa.string())
    channel_id = rows.text("channel_id", 200)
    return pa.table({
        "candidate_id": pc.binary_join_element_wise(platform, video_id, ":"),
        "platform": platform,
        "video_id": video_id,
        "url": url,
        "title": title,
        "description": rows.text("description", candidates.MAX_DESCRIPTION),
        "channel_key": pc.binary_join_element_wise(platform, channel_id, ":"),
        "channel_id": channel_id,
        "channel_name": rows.text("channel_name"),
        "channel_url": rows.text("channel_url"),
        "followers": rows.counts("followers"),
        "category": pc.coalesce(
            rows.parsed("category", parse_category, pa.string()),
            rows.parsed("category_id", parse_category, pa.string()),
        ),
        "duration": duration,
        "language": rows.parsed("language", candidates.language, pa.string()),
        "media_type": pc.if_else(
            pc.fill_null(pc.match_substring(url, "/shorts/"), False), pa.scalar("short"), media_type
        ),
        "published_at": published_at,
        "published_about": rows.missing(pa.timestamp("us", "UTC")),
        "tags": rows.text("tags", 10_000),
        "thumbnail_url": rows.text("thumbnail_url"),
        "tier": pc.if_else(pc.is_valid(published_at), pa.scalar("full"), pa.scalar("flat")),
        "observed_at": observed_at,
        "views": rows.counts("views"),
        "likes": rows.counts("likes"),
        "comments": rows.counts("comments"),
        "country": pc.utf8_upper(rows.text("country", 10)),
    })  # fmt: skip


def _platforms(rows: _Rows, video_id: pa.Array, url: pa.Array) -> pa.Array:
    """The platform of each row: what it says, else its address's, else the one that has such ids."""
    platform = rows.parsed("platform", candidates.platform, pa.string())
    for site, address in SITES.items() if "url" in rows.raw else ():
        platform = pc.coalesce(platform, _where(pc.match_substring_regex(url, address), pa.repeat(site, rows.count)))
    for site, shape in (("youtube", YOUTUBE_ID), ("tiktok", TIKTOK_ID)):
        if platform.null_count:
            matching = pc.match_substring_regex(video_id, shape)
            platform = pc.coalesce(platform, _where(matching, pa.repeat(site, rows.count)))
    return platform


def _versions(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The distinct versions of the facts among the rows, with the first and last moment of each."""
    keys = [column for column in columns if column not in ("first_at", "observed_at")]
    grouped = table.group_by(keys).aggregate([("observed_at", "min"), ("observed_at", "max")])
    return grouped.rename_columns({"observed_at_min": "first_at", "observed_at_max": "observed_at"})


def _tags(column: pa.Array) -> pa.Array:
    """parse_tags for a column; the usual "a, b" by sets."""
    special = pc.fill_null(pc.match_substring_regex(column, r'[|"\[\x1f]|,\s*,|^\s*,|,\s*$|\s,|,\s\s'), False)
    usual = pc.replace_substring(pc.replace_substring(column, ", ", store.TAG_SEPARATOR), ",", store.TAG_SEPARATOR)
    if not pc.any(special).as_py():
        return usual
    parsed = [parse_tags(value) for value in column.filter(special).to_pylist()]
    return pc.replace_with_mask(usual, special, pa.array(parsed, pa.string()))


def _copy(connection: Connection, table: str, columns: tuple[str, ...], rows: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pa.csv.write_csv(rows.select(columns), buffer, pa.csv.WriteOptions(include_header=False))
    with store.copy(db.psycopg_connection(connection).cursor(), table, columns, "(FORMAT csv)") as copy:
        copy.write(memoryview(buffer.getvalue()))
