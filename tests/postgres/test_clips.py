"""Clips in the database, the storage and the queue: whose they are, what becomes of them, what is left of them."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import buckets
import clip_maker
import clip_shapes
import pytest
from sqlalchemy import text

from miles import clip_process, clips, db, jobs, settings, storage, thumbnails
from miles.errors import ClipRefused, MilesError, ModelUnavailable, StorageUnavailable
from miles.scoring import Score

pytestmark = pytest.mark.usefixtures("database")


class Judge:
    """Scores a picture by its size, so that the test knows the order."""

    def score(self, inputs: Any) -> list[Score]:
        return [
            Score(one.key, "draft", min(len(one.thumbnail or b"") / 1e5, 0.9), None, 10.0, 5.0, 20.0, None, 0.1, "test", None)
            for one in inputs
        ]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> bytes:
    return clip_maker.clip(seconds=2, cuts=(1.0,), sound="tone")


def take(data: bytes, user: str = "ann", name: str = "street.mp4", title: str = "") -> clips.Taken:
    return clips.take(io.BytesIO(data), name, title, user, jobs.defer_clip)


def seen(clip_id: int, user: str = "ann") -> clips.Clip | None:
    with db.transaction("viewer", user) as connection:
        return clips.clip(connection, clip_id)


def queued() -> list[tuple[str, dict]]:
    with db.transaction("worker") as connection:
        rows = connection.execute(
            text("SELECT status::text, args FROM procrastinate_jobs WHERE task_name = 'clip' ORDER BY id")
        )
        return [(row.status, row.args) for row in rows]


def run_queue() -> None:
    jobs.run_worker(wait=False)


def test_a_clip_is_stored_queued_examined_and_its_frames_scored(data: bytes) -> None:
    taken = take(data, title="  Street   food ")
    waiting = seen(taken.clip_id)
    assert waiting
    assert (waiting.state, waiting.title, waiting.bytes) == ("waiting", "Street food", len(data))
    assert queued() == [("todo", {"clip_id": taken.clip_id})]
    clips.carry_out(taken.clip_id, Judge)
    done = seen(taken.clip_id)
    assert done
    assert (done.state, done.progress, done.model_version, done.base_rate, done.note) == ("done", 1, "test", 0.1, None)
    assert done.probe
    assert done.probe.cuts == pytest.approx((1.0,), abs=0.1)
    with db.transaction("viewer", "ann") as connection:
        frames = clips.frames(connection, taken.clip_id)
    assert len(frames) == 2
    scores = [one.viral_score for one in frames]
    assert scores == sorted(scores, reverse=True)
    assert all(storage.thumbnails().get(one.sha256)[:2] == b"\xff\xd8" for one in frames)


def test_the_same_file_again_is_the_same_clip_and_is_not_examined_twice(data: bytes) -> None:
    first = take(data)
    again = take(data, name="copy.mp4")
    assert (again.clip_id, again.new, again.examine) == (first.clip_id, False, True)
    clips.carry_out(first.clip_id, Judge)
    assert take(data).examine is False
    assert len(queued()) == 1
    assert take(data, user="bob").clip_id != first.clip_id  # another person's is their own


def test_nobody_sees_or_touches_anothers_clip(data: bytes) -> None:
    taken = take(data)
    clips.carry_out(taken.clip_id, Judge)
    assert seen(taken.clip_id, "bob") is None
    with db.transaction("viewer", "bob") as connection:
        assert clips.clips(connection) == []
        assert clips.frames(connection, taken.clip_id) == []
    with db.transaction("operator", "bob") as connection:
        assert not clips.delete(connection, taken.clip_id)
    with pytest.raises(MilesError, match="not among the failed"), db.transaction("operator", "bob") as connection:
        jobs.retry_clip(connection, taken.clip_id)
    with db.transaction("viewer") as connection:  # nobody in particular
        assert clips.clips(connection) == []
    assert seen(taken.clip_id)


def test_a_clip_that_can_not_be_read_fails_with_its_reason_stays_and_can_be_tried_again(data: bytes) -> None:
    taken = take(data[:300])  # the beginning of an MP4
    run_queue()
    failed = seen(taken.clip_id)
    assert failed
    assert (failed.state, failed.error_kind) == ("failed", "damaged")
    assert failed.reason
    assert "damaged" in failed.reason
    assert queued() == [("failed", {"clip_id": taken.clip_id})]
    with db.transaction("operator", "ann") as connection:
        jobs.retry_clip(connection, taken.clip_id)
    again = seen(taken.clip_id)
    assert again
    assert (again.state, again.reason) == ("waiting", None)
    assert queued() == [("todo", {"clip_id": taken.clip_id})]
    run_queue()
    assert queued() == [("failed", {"clip_id": taken.clip_id})]


@pytest.mark.parametrize(
    ("limits", "clip", "kind", "said"),
    [
        ({"seconds": 2.0}, clip_shapes.bomb(60_000), "took_too_long", "took too long"),
        ({"cpu_seconds": 1}, clip_shapes.bomb(60_000), "took_too_long", "took too long"),
        ({"memory": 12_000_000}, clip_shapes.bomb(60_000), "too_much_memory", "more memory than a clip may have"),
        ({}, clip_shapes.gif(5000, 5000, 3), "too_many_pixels", "5000 x 5000 pixels"),
    ],
    ids=["clock", "processor", "memory", "pixels"],
)
def test_a_job_that_goes_over_a_limit_is_stopped_and_the_clip_says_which(
    limits: dict[str, Any], clip: bytes, kind: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = clip_process.examine
    monkeypatch.setattr(clip_process, "examine", lambda *given: examine(*given, **limits))
    taken = take(clip, name="bomb.gif")
    run_queue()
    failed = seen(taken.clip_id)
    assert failed
    assert (failed.state, failed.error_kind) == ("failed", kind)
    assert failed.reason
    assert said in failed.reason
    assert queued() == [("failed", {"clip_id": taken.clip_id})]


def test_the_operations_page_can_retry_it_too(data: bytes) -> None:
    taken = take(data[:300])
    run_queue()
    with db.transaction("operator") as connection:
        (job_id,) = connection.scalars(text("SELECT id FROM procrastinate_jobs WHERE task_name = 'clip'"))
        jobs.retry(connection, job_id)
    run_queue()
    failed = seen(taken.clip_id)
    assert failed
    assert failed.state == "failed"


def test_uploading_a_failed_one_again_has_it_examined_again(data: bytes) -> None:
    taken = take(data)
    storage.thumbnails().delete(seen(taken.clip_id).sha256)  # type: ignore[union-attr]
    with pytest.raises(ClipRefused, match="Upload it again"):
        clips.carry_out(taken.clip_id, Judge)
    again = take(data)
    assert (again.clip_id, again.new, again.examine) == (taken.clip_id, False, True)
    clips.carry_out(taken.clip_id, Judge)
    done = seen(taken.clip_id)
    assert done
    assert done.state == "done"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "empty"), (b"hello " * 100, "not_a_video"), (b"#EXTM3U\n/etc/passwd", "not_a_video"), (b"\xff\xd8\xff", "not_a_video")],
)  # fmt: skip
def test_what_is_no_clip_changes_nothing(content: bytes, kind: str) -> None:
    with pytest.raises(ClipRefused) as refused:
        take(content)
    assert refused.value.kind == kind
    assert queued() == []
    assert not list(storage.thumbnails().listed())


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.mp4"
    with path.open("wb") as file:
        file.write(b"\x00\x00\x00\x20ftypisom")
        file.truncate(500_000_001)
    with path.open("rb") as file, pytest.raises(ClipRefused) as refused:
        clips.take(file, path.name, "", "ann", jobs.defer_clip)
    assert refused.value.kind == "too_large"


def test_where_the_storage_fails_nothing_is_queued(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    home = settings.load().home
    home.mkdir(parents=True, exist_ok=True)
    settings.load().thumbnails.write_text("a file where the folder should be")
    with pytest.raises(StorageUnavailable):
        take(data)
    assert queued() == []
    with db.transaction("worker") as connection:
        assert connection.scalar(text("SELECT count(*) FROM object_pins")) == 0


def test_where_the_storage_is_away_the_job_waits_and_the_clip_says_why(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = take(data)

    def away(*_: object) -> None:
        raise StorageUnavailable("The bucket does not answer.")

    monkeypatch.setattr(storage.Folder, "open", away)
    run_queue()
    waiting = seen(taken.clip_id)
    assert waiting
    assert (waiting.state, waiting.reason) == ("waiting", "The bucket does not answer.")
    assert queued()[0][0] == "todo"


def test_without_a_model_the_frames_are_kept_and_the_reason_told(data: bytes) -> None:
    def none() -> Judge:
        raise ModelUnavailable("There is no model folder.")

    taken = take(data)
    clips.carry_out(taken.clip_id, none)
    done = seen(taken.clip_id)
    assert done
    assert done.state == "done"
    assert done.note
    assert "no model folder" in done.note
    with db.transaction("viewer", "ann") as connection:
        assert [one.viral_score for one in clips.frames(connection, taken.clip_id)] == [None, None]


def test_a_stopped_job_leaves_the_clip_waiting(data: bytes) -> None:
    taken = take(data)
    with pytest.raises(InterruptedError):
        clips.carry_out(taken.clip_id, Judge, stop=lambda: True)
    waiting = seen(taken.clip_id)
    assert waiting
    assert waiting.state == "waiting"


def test_a_job_whose_workers_keep_dying_ends_as_a_failed_clip(data: bytes) -> None:
    taken = take(data)
    with db.transaction("worker") as connection:
        connection.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing', attempts = :most WHERE task_name = 'clip'"),
            {"most": jobs.MAX_TAKEN_UP - 1},
        )
    jobs.take_up_stalled()
    failed = seen(taken.clip_id)
    assert failed
    assert failed.state == "failed"
    assert failed.reason
    assert "worker died" in failed.reason


def test_a_clip_deleted_while_it_is_examined_leaves_nothing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take(data)
    score: Callable[..., Any] = clips._score

    def delete_first(*given: Any) -> Any:
        with db.transaction("operator", "ann") as connection:
            clips.delete(connection, taken.clip_id)
        return score(*given)

    monkeypatch.setattr(clips, "_score", delete_first)
    clips.carry_out(taken.clip_id, Judge)
    assert seen(taken.clip_id) is None
    thumbnails.clean()
    assert not list(storage.thumbnails().listed())


def test_the_clean_up_keeps_what_a_clip_needs_and_forgets_it_with_the_clip(data: bytes) -> None:
    taken = take(data)
    clips.carry_out(taken.clip_id, Judge)
    assert thumbnails.clean() == 0
    assert len(list(storage.thumbnails().listed())) == 3
    with db.transaction("operator", "ann") as connection:
        assert clips.delete(connection, taken.clip_id)
    assert thumbnails.clean() == 3
    assert not list(storage.thumbnails().listed())


def test_a_contact_sheet_holds_every_frame(data: bytes) -> None:
    from PIL import Image

    taken = take(data)
    clips.carry_out(taken.clip_id, Judge)
    with db.transaction("viewer", "ann") as connection:
        frames = clips.frames(connection, taken.clip_id)
    pictures = [(one.at, storage.thumbnails().get(one.sha256) or b"") for one in frames] * 3
    with Image.open(io.BytesIO(clips.contact_sheet(pictures))) as sheet:
        assert sheet.width > 4 * 180
        assert 2 * 320 < sheet.height < 2 * 320 + 100


# --- in a bucket ------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    buckets.keys(monkeypatch)
    with buckets.server() as address:
        client = buckets.make(address)
        buckets.use(monkeypatch, address)
        yield client


def test_in_a_bucket_too(s3: Any, data: bytes) -> None:
    taken = take(data)
    clips.carry_out(taken.clip_id, Judge)
    done = seen(taken.clip_id)
    assert done
    assert done.state == "done"


def test_an_upload_that_broke_off_goes_on_with_the_parts_that_are_missing(
    s3: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PART", 5 * 1024 * 1024)
    monkeypatch.setattr(storage, "PARTS_AT_ONCE", 1)
    large = data + bytes(range(256)) * 90_000  # 23 MB: five parts
    sent: list[int] = []
    bucket = storage.thumbnails().bucket  # type: ignore[attr-defined]
    client = bucket._patient
    upload_part = client.upload_part

    def break_off_at(number: int | None) -> Callable[..., Any]:
        def send(**given: Any) -> Any:
            if given["PartNumber"] == number:
                raise OSError("the line is down")
            sent.append(given["PartNumber"])
            return upload_part(**given)

        return send

    monkeypatch.setattr(client, "upload_part", break_off_at(4))
    with pytest.raises(StorageUnavailable):
        take(large)
    before = set(sent)
    assert {1, 2, 3} <= before
    assert queued() == []
    monkeypatch.setattr(client, "upload_part", break_off_at(None))
    sent.clear()
    taken = take(large)
    assert set(sent) == {1, 2, 3, 4, 5} - before
    stored = storage.thumbnails().open(seen(taken.clip_id).sha256)  # type: ignore[union-attr]
    assert stored
    with stored:
        assert stored.read() == large
    sent.clear()
    assert take(large).clip_id == taken.clip_id
    assert sent == []


def test_a_person_can_not_fill_the_storage_with_clips_without_end(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MOST", 1)
    take(data)
    take(data)  # the same one
    with pytest.raises(ClipRefused, match="Delete one"):
        take(data + b"\0")
