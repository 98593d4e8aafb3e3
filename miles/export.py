"""A filtered set of candidates as a file: CSV, JSON lines or Parquet, streamed.

Rows are read through a server-side cursor and written batch by batch, so that a set of any size takes
the same memory; `pieces` gives the bytes as they come. A file appears under its name only when it is whole.
"""

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from miles.browse import SORTS, Filters, Sort, plan_by_index, subset
from miles.errors import MilesError

Format = Literal["csv", "parquet", "jsonl"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "jsonl")

BATCH = 5_000  # rows; a few MB in memory

_MOMENT = pa.timestamp("us", tz="UTC")
# What an export holds, in this order; the names are those of the database and of yt-dlp.
SCHEMA = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("platform", pa.string()),
        ("video_id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("channel_key", pa.string()),
        ("channel", pa.string()),
        ("channel_followers", pa.int64()),
        ("category", pa.string()),
        ("duration", pa.float32()),  # seconds
        ("language", pa.string()),
        ("media_type", pa.string()),
        ("published_at", _MOMENT),
        ("tags", pa.list_(pa.string())),
        ("views", pa.int64()),
        ("likes", pa.int64()),
        ("comments", pa.int64()),
        ("observed_at", _MOMENT),
        ("velocity", pa.float64()),  # measured views per day
        ("velocity_days", pa.float32()),
        ("outlier_multiple", pa.float64()),
        ("outlier_n", pa.int32()),
        ("country_count", pa.int32()),
        ("viral_score", pa.float64()),
        ("base_rate", pa.float64()),
        ("predicted_multiple", pa.float64()),
        ("predicted_velocity", pa.float64()),
        ("velocity_low", pa.float64()),
        ("velocity_high", pa.float64()),
        ("score_note", pa.string()),
        ("model_version", pa.string()),
        ("scored_at", _MOMENT),
        ("engagement_rate", pa.float64()),  # (likes + comments) for each view
        ("velocity_before", pa.float64()),  # views per day, up to where `velocity` begins
        ("acceleration", pa.float64()),  # views per day, each day
        ("lifetime_velocity", pa.float64()),  # views per day since it was published
        # provenance: where it comes from and how exact it is
        ("source", pa.string()),  # what brought it in, as Miles keeps it
        ("extractor", pa.string()),  # of yt-dlp, where that did
        ("extractor_version", pa.string()),
        ("tier", pa.string()),  # full: read one by one; flat: from a listing
        ("published_about", _MOMENT),  # an approximate date, where there is no exact one
        ("first_seen_at", _MOMENT),
        ("last_seen_at", _MOMENT),
        ("sample", pa.bool_()),  # invented
    ]
)
_EXPRESSIONS = {
    "channel": "ch.name",
    "channel_followers": "ch.followers",
    "extractor": "CASE WHEN c.source LIKE '%yt-dlp-%' THEN split_part(c.source, ' ', 1) END",
    "extractor_version": r"substring(c.source FROM 'yt-dlp-(\S+)$')",
}


class _Writer(Protocol):
    def write(self, batch: list[tuple[Any, ...]]) -> None: ...
    def close(self) -> None: ...


def to_file(
    connection: Connection,
    path: Path,
    kind: Format,
    *,
    filters: Filters | None = None,
    sort: Sort = "score",
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Write the filtered set to `path`; returns the number of rows. An error leaves no file behind.

    Raises MilesError where the folder does not exist or can't be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise MilesError(f"{path} can't be written ({error.strerror}). Choose another place with --output.") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            written = to_stream(connection, file, kind, filters=filters, sort=sort, on_progress=on_progress)
        part.chmod(0o666 & ~_umask())  # mkstemp makes it private; an export is as open as any new file
        part.replace(path)
    except OSError as error:
        raise MilesError(f"{path} could not be written whole ({error.strerror}); nothing was left there.") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def to_stream(
    connection: Connection,
    stream: IO[bytes],
    kind: Format,
    *,
    filters: Filters | None = None,
    sort: Sort = "score",
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Write the filtered set to a binary stream; returns the number of rows."""
    written = 0

    def count(rows: int) -> None:
        nonlocal written
        written = rows
        if on_progress:
            on_progress(rows)

    for piece in pieces(connection, kind, filters=filters, sort=sort, on_progress=count):
        stream.write(piece)
    return written


def pieces(
    connection: Connection,
    kind: Format,
    *,
    filters: Filters | None = None,
    sort: Sort = "score",
    among: Collection[str] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Generator[bytes, None, None]:
    """The bytes of a filtered set (only of those `among`, if given), a piece for each BATCH rows."""
    buffer = _Pieces()
    writer = _WRITERS[kind](buffer)
    rows = 0
    with closing(_batches(connection, filters or Filters(), sort, among)) as batches:
        for batch in batches:
            writer.write(batch)
            rows += len(batch)
            if on_progress:
                on_progress(rows)
            yield buffer.take()
    writer.close()
    yield buffer.take()


def _batches(
    connection: Connection, filters: Filters, sort: Sort, among: Collection[str] | None
) -> Generator[list[tuple[Any, ...]], None, None]:
    plan_by_index(connection)
    chosen, values = subset(filters, among)
    columns = ", ".join(f"{_EXPRESSIONS.get(name, f'c.{name}')} AS {name}" for name in SCHEMA.names)
    found, rest = chosen.split(" AS c WHERE ", 1)
    order = ", ".join(f"c.{key.strip()}" for key in SORTS[sort].split(","))
    statement = text(
        f"SELECT {columns} {found} AS c LEFT JOIN channels ch ON ch.channel_key = c.channel_key"
        f" WHERE {rest} ORDER BY {order}"
    )
    streaming = {"stream_results": True, "max_row_buffer": BATCH}
    with connection.execute(statement, values, execution_options=streaming) as result:
        for partition in result.partitions(BATCH):
            yield [tuple(row) for row in partition]


class _Pieces(io.RawIOBase):
    """What a writer wrote since it was last taken."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.before = 0  # bytes that were taken; Parquet's writer wants to know where it is

    def writable(self) -> bool:
        return True

    def write(self, piece: Any, /) -> int:
        self.written += piece
        return len(piece)

    def tell(self) -> int:
        return self.before + len(self.written)

    def take(self) -> bytes:
        piece, self.written = bytes(self.written), bytearray()
        self.before += len(piece)
        return piece


class _Csv:
    """UTF-8 with a header; moments in ISO 8601, tags joined by |, unknown left empty."""

    def __init__(self, stream: _Pieces) -> None:
        self.text = io.TextIOWrapper(cast("IO[bytes]", stream), encoding="utf-8", newline="")
        self.writer = csv.writer(self.text)
        self.writer.writerow(SCHEMA.names)

    def write(self, batch: list[tuple[Any, ...]]) -> None:
        self.writer.writerows([[_cell(value) for value in row] for row in batch])
        self.text.flush()

    def close(self) -> None:
        self.text.flush()
        self.text.detach()  # the stream is the caller's to close


class _JsonLines:
    """One object a line; moments in ISO 8601, unknown is null."""

    def __init__(self, stream: _Pieces) -> None:
        self.stream = stream

    def write(self, batch: list[tuple[Any, ...]]) -> None:
        for row in batch:
            values = {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in zip(SCHEMA.names, row, strict=True)
            }
            self.stream.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        pass


class _Parquet:
    """Typed columns, compressed."""

    def __init__(self, stream: _Pieces) -> None:
        self.writer = pq.ParquetWriter(stream, SCHEMA, compression="zstd")

    def write(self, batch: list[tuple[Any, ...]]) -> None:
        columns = [
            pa.array(values, type=field.type) for field, values in zip(SCHEMA, zip(*batch, strict=True), strict=True)
        ]
        self.writer.write_batch(pa.record_batch(columns, schema=SCHEMA))

    def close(self) -> None:
        self.writer.close()


_WRITERS: dict[Format, Callable[[_Pieces], _Writer]] = {"csv": _Csv, "jsonl": _JsonLines, "parquet": _Parquet}


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return "|".join(value)
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
