"""Clips that people upload before they publish: taken into the storage, examined by a job, told with their frames scored.

What belongs to a user goes through a connection of `transaction("operator", user_id)` or ("viewer", user_id); row-level
security decides whose rows there are. `carry_out` is the job: the examination itself runs in a process of its own
(`clip_process`), so nothing that a file does reaches the worker.
"""

import dataclasses
import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Literal

from PIL import Image, ImageDraw
from sqlalchemy import Connection, text

from miles import candidates, clip_facts, clip_process, db, drafts, storage, thumbnails
from miles.clip_facts import Frame, Probe
from miles.errors import ClipRefused, MilesError, ModelUnavailable
from miles.explain import Scorer
from miles.features import ScoreInput

logger = logging.getLogger(__name__)

LONGEST_NAME = 120  # characters of a file's name
MOST = 200  # clips of one person
CHUNK = 1 << 20  # bytes read at a time
TOLD_EVERY = 0.5  # seconds between two notes of progress
EXAMINED = 0.9  # of the progress; the rest is scoring
SHEET_COLUMNS, SHEET_SIDE, SHEET_GAP = 4, 320, 8  # of a contact sheet; pixels

State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Clip:
    """An uploaded clip and what is known of it."""

    clip_id: int
    name: str
    title: str  # "" where it is not known yet
    sha256: str  # its key in the storage
    bytes: int
    state: State
    progress: float  # 0..1
    reason: str | None  # why it failed, or is tried again
    error_kind: str | None  # ClipRefused's kind
    probe: Probe | None  # of a done one
    base_rate: float | None  # of the scores of its frames, 0..1
    model_version: str | None
    note: str | None  # why its frames have no score
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed")


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame of a clip, in the storage."""

    at: float  # seconds
    sha256: str
    width: int  # pixels
    height: int
    brightness: float  # 0..1
    sharpness: float  # against the middle of the clip's best frames
    viral_score: float | None  # 0..1, as a thumbnail


@dataclass(frozen=True, slots=True)
class Taken:
    """A clip that was taken in."""

    clip_id: int
    new: bool  # False: the same file was uploaded before
    examine: bool  # whether it still is to be examined


def checked(stream: IO[bytes]) -> tuple[int, clip_facts.Container]:
    """The size and the kind of a file, by its content. Raises ClipRefused; reads no more than its beginning."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if size > clip_facts.MOST_BYTES:
        raise ClipRefused(
            f"The clip has {size / 1e6:,.0f} MB, more than {clip_facts.MOST_BYTES / 1e6:.0f}. Export it smaller: "
            "1080 x 1920 is what sites show.",
            "too_large",
        )
    container = clip_facts.container_of(stream.read(2048))
    stream.seek(0)
    return size, container


def take(
    stream: IO[bytes],
    name: str,
    title: str,
    user_id: str,
    defer: Callable[[Connection, int], None],
    tell: Callable[[float], object] = lambda share: None,
) -> Taken:
    """Put an uploaded file into the storage, in parts, and have it examined; `defer` queues that on the connection.

    The name in the storage is the file's hash: the same file again is the same clip, which is sent only as far as it
    is not there yet, and examined again only where that has failed. Raises ClipRefused and StorageUnavailable.
    """
    size, container = checked(stream)
    key = _hash(stream, size, tell)
    with db.transaction("operator", user_id) as connection:
        drafts.remember_user(connection)
        if (connection.scalar(text("SELECT count(*) FROM clips WHERE sha256 <> :key"), {"key": key}) or 0) >= MOST:
            raise ClipRefused(f"There are {MOST} clips already. Delete one that you don't need.", "too_many")
        known = connection.execute(
            text("SELECT clip_id, state FROM clips WHERE sha256 = :key"), {"key": key}
        ).one_or_none()
        if known and known.state != "failed":
            return Taken(known.clip_id, new=False, examine=known.state != "done")
        (pin,) = connection.scalars(text("SELECT pin FROM pin_objects(:keys)"), {"keys": [key]}).all()
    try:
        stream.seek(0)
        stored = storage.thumbnails().put_stream(stream)
        if stored != key:
            raise ClipRefused("The file changed while it was read. Upload it again.", "damaged")
        with db.transaction("operator", user_id) as connection:
            clip_id: int = connection.execute(
                text(
                    "INSERT INTO clips (user_id, sha256, bytes, name, content_type, title)"
                    " VALUES (current_user_id(), :key, :bytes, :name, :content_type, :title)"
                    " ON CONFLICT (user_id, sha256) DO UPDATE SET state = 'waiting', progress = 0, reason = NULL,"
                    " error_kind = NULL, name = excluded.name, title = excluded.title, asked_at = now(),"
                    " started_at = NULL, finished_at = NULL"
                    " RETURNING clip_id"
                ),
                {
                    "key": key,
                    "bytes": size,
                    "name": candidates.text(name, LONGEST_NAME) or "clip",
                    "content_type": container.content_type,
                    "title": _title(title),
                },
            ).scalar_one()
            defer(connection, clip_id)
    finally:
        with db.transaction("operator", user_id) as connection:
            thumbnails.release(connection, [pin])
    return Taken(clip_id, new=known is None, examine=True)


def _hash(stream: IO[bytes], size: int, tell: Callable[[float], object]) -> str:
    digest, read = hashlib.sha256(), 0
    stream.seek(0)
    while part := stream.read(CHUNK):
        digest.update(part)
        read += len(part)
        tell(read / size)
    return digest.hexdigest()


def _title(typed: str) -> str:
    return candidates.text(" ".join(typed.split()), candidates.MAX_TITLE) or ""


_COLUMNS = (
    "clip_id, name, title, sha256, bytes, state, progress, reason, error_kind, probe, base_rate, model_version, note,"
    " asked_at, started_at, finished_at"
)


def clips(connection: Connection, limit: int = 50) -> list[Clip]:
    """The user's clips, newest first."""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM clips ORDER BY asked_at DESC, clip_id DESC LIMIT :limit"), {"limit": limit}
    )
    return [_clip(row) for row in rows.mappings()]


def clip(connection: Connection, clip_id: int) -> Clip | None:
    """One of the user's clips; None if they have no such clip."""
    row = connection.execute(text(f"SELECT {_COLUMNS} FROM clips WHERE clip_id = :id"), {"id": clip_id}).mappings()
    found = row.one_or_none()
    return None if found is None else _clip(found)


def _clip(row: Any) -> Clip:
    return Clip(**{**row, "probe": None if row["probe"] is None else Probe.read(row["probe"])})


def frames(connection: Connection, clip_id: int) -> list[KeptFrame]:
    """The frames that were chosen of a clip, the best scored first, those without a score in order of time."""
    rows = connection.execute(
        text(
            'SELECT at_seconds AS "at", sha256, width, height, brightness, sharpness, viral_score FROM clip_frames'
            " WHERE clip_id = :id ORDER BY viral_score DESC NULLS LAST, at_seconds"
        ),
        {"id": clip_id},
    )
    return [KeptFrame(**row) for row in rows.mappings()]


def delete(connection: Connection, clip_id: int) -> bool:
    """Forget a clip; its files go with the next daily clean-up. False if the user has no such clip."""
    return connection.execute(text("DELETE FROM clips WHERE clip_id = :id"), {"id": clip_id}).rowcount > 0


def again(connection: Connection, clip_id: int) -> None:
    """Have a failed clip wait again. Raises MilesError if it has not failed."""
    changed = connection.execute(
        text(
            "UPDATE clips SET state = 'waiting', progress = 0, reason = NULL, error_kind = NULL, started_at = NULL,"
            " finished_at = NULL WHERE clip_id = :id AND state = 'failed'"
        ),
        {"id": clip_id},
    )
    if not changed.rowcount:
        raise MilesError("This clip is not among the failed ones any more. Reload the page to see its state.")


def carry_out(clip_id: int, model: Callable[[], Scorer], stop: Callable[[], bool] = lambda: False) -> None:
    """Examine a clip, score its frames, and keep what was found.

    Raises ClipRefused where that can't be done, StorageUnavailable where it can be tried again, and InterruptedError
    where `stop` says so; each is written down. A clip that was deleted meanwhile is no failure.
    """
    with db.transaction("worker") as connection:
        known = connection.execute(
            text(
                "UPDATE clips SET state = 'running', progress = 0, started_at = now(), finished_at = NULL"
                " WHERE clip_id = :id AND state <> 'done' RETURNING sha256, title"
            ),
            {"id": clip_id},
        ).one_or_none()
    if known is None:
        return
    try:
        _examine(clip_id, known.sha256, known.title, model, stop)
    except InterruptedError:
        _set(clip_id, "waiting", None, None)
        raise
    except ClipRefused as error:
        _set(clip_id, "failed", str(error), error.kind)
        raise
    except MilesError as error:
        _set(clip_id, "waiting", str(error), None)  # tried again, or given up by the queue
        raise
    except Exception:
        _set(clip_id, "failed", "Something went wrong in Miles itself; the worker's log has the details.", None)
        raise


def give_up(connection: Connection, clip_id: int, reason: str) -> None:
    """Write down that a clip's job has failed for good."""
    connection.execute(
        text(
            "UPDATE clips SET state = 'failed', reason = :reason, finished_at = now()"
            " WHERE clip_id = :id AND state <> 'done'"
        ),
        {"id": clip_id, "reason": reason},
    )


def _examine(clip_id: int, key: str, title: str, model: Callable[[], Scorer], stop: Callable[[], bool]) -> None:
    told = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > TOLD_EVERY:
            told = time.monotonic()
            with db.transaction("worker") as connection:
                connection.execute(
                    text("UPDATE clips SET progress = :share WHERE clip_id = :id"),
                    {"id": clip_id, "share": share * EXAMINED},
                )

    file = storage.thumbnails().open(key)
    if file is None:
        raise ClipRefused("The clip is not in the storage any more, or damaged there. Upload it again.", "missing")
    with file:
        probe, found = clip_process.examine(file, tell, stop)
    scores, base_rate, version, note = _score(found, title, probe.duration, model)
    kept = thumbnails.keep_all([one.jpeg for one in found]) if found else []
    with db.transaction("worker") as connection:
        # the row first: one that was deleted meanwhile takes no frames
        there = connection.execute(
            text(
                "UPDATE clips SET state = 'done', progress = 1, reason = NULL, error_kind = NULL, finished_at = now(),"
                " probe = CAST(:probe AS jsonb), base_rate = :base_rate, model_version = :version, note = :note"
                " WHERE clip_id = :id"
            ),
            {
                "id": clip_id,
                "probe": json.dumps(dataclasses.asdict(probe)),
                "base_rate": base_rate,
                "version": version,
                "note": note,
            },
        ).rowcount
        connection.execute(text("DELETE FROM clip_frames WHERE clip_id = :id"), {"id": clip_id})
        if there and found:
            connection.execute(
                text(
                    "INSERT INTO clip_frames"
                    " (clip_id, at_seconds, sha256, width, height, brightness, sharpness, viral_score)"
                    " VALUES (:id, :at, :sha256, :width, :height, :brightness, :sharpness, :score)"
                ),
                [
                    {
                        "id": clip_id, "at": one.at, "sha256": place.sha256, "width": one.width, "height": one.height,
                        "brightness": one.brightness, "sharpness": one.sharpness, "score": score,
                    }
                    for one, place, score in zip(found, kept, scores, strict=True)
                ],
            )  # fmt: skip
        thumbnails.release(connection, [one.pin for one in kept])


def _score(
    found: Sequence[Frame], title: str, duration: float, model: Callable[[], Scorer]
) -> tuple[list[float | None], float | None, str | None, str | None]:
    """Scores of the frames, their base rate, the model's version; or why there are none."""
    nothing: list[float | None] = [None] * len(found)
    if not found:
        return nothing, None, None, None
    try:
        scores = model().score(inputs([one.jpeg for one in found], title, duration))
    except ModelUnavailable as error:
        return nothing, None, None, f"The frames have no score. {error}"
    return [one.viral_score for one in scores], scores[0].base_rate, scores[0].model_version, None


def inputs(pictures: Sequence[bytes], title: str, duration: float | None) -> list[ScoreInput]:
    """What the model is given for frames of the same clip as thumbnails of the same draft, in the form of
    `lab.inputs`. Pure."""
    return [
        ScoreInput(key=f"0.{place}", title=title, thumbnail=picture, duration=duration)
        for place, picture in enumerate(pictures)
    ]


def contact_sheet(pictures: Sequence[tuple[float, bytes]]) -> bytes:
    """Frames (seconds, JPEG) side by side in one JPEG, each with its time. Pure."""
    shown = []
    for at, jpeg in pictures:
        with Image.open(io.BytesIO(jpeg)) as picture:
            picture.draft("RGB", (SHEET_SIDE, SHEET_SIDE))
            small = picture.convert("RGB")
        small.thumbnail((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(small)
        words = f"{int(at // 60)}:{at % 60:04.1f}"
        left, top, right, bottom = draw.textbbox((6, 4), words, font_size=18)
        draw.rectangle((left - 4, top - 3, right + 4, bottom + 3), fill="black")
        draw.text((6, 4), words, fill="white", font_size=18)
        shown.append(small)
    columns = min(SHEET_COLUMNS, len(shown))
    width, height = max(one.width for one in shown), max(one.height for one in shown)
    rows = -(-len(shown) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + SHEET_GAP) + SHEET_GAP, rows * (height + SHEET_GAP) + SHEET_GAP),
        "white",
    )
    for place, one in enumerate(shown):
        row, column = divmod(place, columns)
        sheet.paste(
            one,
            (
                SHEET_GAP + column * (width + SHEET_GAP) + (width - one.width) // 2,
                SHEET_GAP + row * (height + SHEET_GAP) + (height - one.height) // 2,
            ),
        )
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=88)
    return out.getvalue()


def _set(clip_id: int, state: State, reason: str | None, kind: str | None) -> None:
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "UPDATE clips SET state = :state, reason = :reason, error_kind = :kind,"
                " finished_at = CASE WHEN :state = 'failed' THEN now() END WHERE clip_id = :id"
            ),
            {"id": clip_id, "state": state, "reason": reason, "kind": kind},
        )
