"""Scores the rows of a file: Parquet or CSV in, Parquet or CSV out.

Knows nothing about the command line. Columns in: `title`, and any of `video_id, channel_id,
category_id, duration` (seconds), `default_language, published_at, observed_at, age_days, views,
likes, comments, country_count, followers, thumbnail` (bytes, or the path of a file), and
`history_json` (a JSON list of the channel's earlier videos: `title, published_at, observed_at,
views, age_days, log10_views_24h`). Columns out: OUTPUT. Each row is scored from itself alone.
"""

import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from miles.errors import UnreadableFile
from miles.features import PastVideo, ScoreInput
from miles.scoring import Model, Score

ROWS = 1024  # read, scored and written at a time; a history can be 5 kB, a thumbnail 100 kB
MAX_THUMBNAIL = 20_000_000  # bytes of a file named in the thumbnail column
csv.field_size_limit(50_000_000)  # characters; the default of 131,072 is less than a long history

OUTPUT = pa.schema(
    [
        ("video_id", pa.string()),
        ("mode", pa.string()),
        ("viral_score", pa.float64()),
        ("predicted_multiple", pa.float64()),
        ("predicted_velocity", pa.float64()),
        ("velocity_low", pa.float64()),
        ("velocity_high", pa.float64()),
        ("predicted_velocity_7d", pa.float64()),
        ("base_rate", pa.float64()),
        ("model_version", pa.string()),
        ("note", pa.string()),
    ]
)


def score_file(
    input_path: Path, output_path: Path, model: Model, on_progress: Callable[[int, int | None], None] | None = None
) -> int:
    """Score every row of one file into another; returns how many.

    `on_progress(rows done, rows in all or None)` is called after each part. The output appears
    whole or not at all. Raises UnreadableFile where the input is not what its name says.
    """
    input_path, output_path = Path(input_path), Path(output_path)
    for path in (input_path, output_path):
        if path.suffix.lower() not in (".parquet", ".csv"):
            raise UnreadableFile(f"{path.name} must end in .parquet or .csv.")
    total, parts = _read(input_path)
    done = 0
    handle, name = tempfile.mkstemp(prefix=f".{output_path.stem}-", suffix=output_path.suffix, dir=_folder(output_path))
    os.close(handle)
    unfinished = Path(name)
    try:
        with _writer(unfinished) as write:
            for part in parts:
                inputs = [to_input(row, done + i + 1, input_path) for i, row in enumerate(part)]
                write(model.score(inputs))
                done += len(inputs)
                if on_progress is not None:
                    on_progress(done, total)
        # mkstemp makes private files; the output should be as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o666 & ~mask)
        unfinished.replace(output_path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return done


def to_input(row: Mapping[str, Any], number: int, path: Path) -> ScoreInput:
    """One row of the file as a ScoreInput. Empty cells are not known; nonsense is refused."""

    def problem(column: str, value: Any, wanted: str) -> UnreadableFile:
        return UnreadableFile(f"{path.name}, row {number}: {column} should be {wanted}, but is {str(value)[:60]!r}.")

    def number_in(column: str, source: Mapping[str, Any] = row) -> float | None:
        value = _known(source.get(column))
        if value is None:
            return None
        try:
            x = float(value)
        except (TypeError, ValueError):
            raise problem(column, value, "a number") from None
        return x if math.isfinite(x) else None

    def count_in(column: str, source: Mapping[str, Any] = row) -> int | None:
        x = number_in(column, source)
        if x is not None and x < 0:
            raise problem(column, x, "zero or more")
        return None if x is None else int(x)

    def moment_in(column: str, source: Mapping[str, Any] = row) -> datetime | None:
        value = _known(source.get(column))
        if value is None:
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            raise problem(column, value, "a moment like 2026-06-01T12:00:00Z") from None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    def text_in(column: str, source: Mapping[str, Any] = row) -> str | None:
        value = _known(source.get(column))
        return None if value is None else str(value)

    published, observed, age = moment_in("published_at"), moment_in("observed_at"), number_in("age_days")
    if published is None and observed is not None and age is not None and 0 <= age < 40_000:
        published = observed - timedelta(days=age)
    history = []
    for past in _history(row, problem):
        when = moment_in("published_at", past)
        if when is None:
            continue  # without it nobody can tell whether it came earlier
        history.append(
            PastVideo(
                title=text_in("title", past) or "",
                published_at=when,
                observed_at=moment_in("observed_at", past),
                views=count_in("views", past),
                age_days=number_in("age_days", past),
                log10_views_24h=number_in("log10_views_24h", past),
            )
        )
    return ScoreInput(
        key=text_in("video_id") or "",
        title=text_in("title") or "",
        thumbnail=_thumbnail(row.get("thumbnail"), path),
        channel_id=text_in("channel_id"),
        category_id=count_in("category_id"),
        duration=number_in("duration"),
        language=text_in("default_language"),
        published_at=published,
        observed_at=observed,
        views=count_in("views"),
        likes=count_in("likes"),
        comments=count_in("comments"),
        country_count=count_in("country_count"),
        followers=count_in("followers"),
        history=tuple(history),
    )


def _known(value: Any) -> Any:
    """None for what a table has in the place of nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return None if isinstance(value, str) and not value.strip() else value


def _history(row: Mapping[str, Any], problem: Callable[[str, Any, str], UnreadableFile]) -> list[dict[str, Any]]:
    text = _known(row.get("history_json"))
    if text is None:
        return []
    try:
        history = json.loads(text)
    except (TypeError, ValueError):
        raise problem("history_json", text, "a JSON list of earlier videos") from None
    if not isinstance(history, list) or not all(isinstance(past, dict) for past in history):
        raise problem("history_json", text, "a JSON list of earlier videos")
    return history


def _thumbnail(value: Any, path: Path) -> bytes | None:
    """The picture's bytes; for a name that leads nowhere b"", which the score's note will report."""
    value = _known(value)
    if value is None or isinstance(value, bytes):
        return value
    if str(value).lower().startswith(("http://", "https://")):
        return b""  # scoring a file never goes to the network
    file = path.parent / str(value)
    try:
        return file.read_bytes() if file.stat().st_size <= MAX_THUMBNAIL else b""
    except (OSError, ValueError):
        return b""


def _read(path: Path) -> tuple[int | None, Iterator[list[dict[str, Any]]]]:
    """How many rows the file has, if it says so, and the rows in parts."""
    if not path.is_file():
        raise UnreadableFile(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise UnreadableFile(f"{path.name} is empty.")
    if path.suffix.lower() == ".parquet":
        try:
            table = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableFile(
                f"{path.name} is not a readable Parquet file: truncated, or something else."
            ) from error
        _check_columns(path, table.schema_arrow.names)
        return table.metadata.num_rows, _parquet_rows(path, table)
    with _open_csv(path) as file:
        _check_columns(path, _header(path, file))
    return None, _csv_rows(path)


def _check_columns(path: Path, names: list[str]) -> None:
    if "title" not in names:
        raise UnreadableFile(f"{path.name} has no column 'title'; it has: {', '.join(names)[:200] or 'none'}.")


def _parquet_rows(path: Path, table: pq.ParquetFile) -> Iterator[list[dict[str, Any]]]:
    wanted = {*ScoreInput.__dataclass_fields__, "video_id", "default_language", "age_days", "history_json"}
    columns = [name for name in table.schema_arrow.names if name in wanted]
    try:
        for part in table.iter_batches(ROWS, columns=columns):
            yield part.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(f"{path.name} can't be read to its end: it is damaged.") from error


def _open_csv(path: Path):
    return path.open(encoding="utf-8-sig", newline="")


def _header(path: Path, file) -> list[str]:
    try:
        return list(csv.DictReader(file).fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(f"{path.name} is not a CSV file in UTF-8.") from error


def _csv_rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    with _open_csv(path) as file:
        part: list[dict[str, Any]] = []
        try:
            for row in csv.DictReader(file, strict=True):
                part.append(row)
                if len(part) == ROWS:
                    yield part
                    part = []
        except (UnicodeDecodeError, csv.Error) as error:
            raise UnreadableFile(f"{path.name} can't be read to its end: {error}.") from error
        if part:
            yield part


def _folder(path: Path) -> Path:
    if not path.parent.is_dir():
        raise UnreadableFile(f"There is no folder {path.parent} to write {path.name} into.")
    return path.parent


class _writer:
    """Writes scores to a Parquet or CSV file, part by part: `with _writer(path) as write: write(scores)`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Callable[[list[Score]], None]:
        if self._path.suffix.lower() == ".parquet":
            self._out = pq.ParquetWriter(self._path, OUTPUT)
            return lambda scores: self._out.write_table(pa.Table.from_pylist([_row(s) for s in scores], OUTPUT))
        self._out = self._path.open("w", encoding="utf-8", newline="")
        rows = csv.DictWriter(self._out, OUTPUT.names)
        rows.writeheader()
        return lambda scores: rows.writerows(_row(s) for s in scores)

    def __exit__(self, *_: object) -> None:
        self._out.close()


def _row(score: Score) -> dict[str, Any]:
    row = {name: getattr(score, name) for name in score.__slots__}
    return {"video_id": row.pop("key")} | row
