"""A clip through a real worker process: queued by one, examined by another, scored by the shipped model."""

import io
import json
import subprocess
import sys
from pathlib import Path

import clip_maker
import pytest
from loopback import eventually
from sqlalchemy import text

from miles import clips, db, jobs, settings


def all_examined() -> bool:
    with db.transaction("worker") as connection:
        return connection.scalar(text("SELECT bool_and(state IN ('done', 'failed')) FROM clips")) or False


@pytest.mark.usefixtures("database")
def test_a_worker_takes_up_clips_keeps_the_reason_of_a_bad_one_and_scores_a_good_one() -> None:
    data = clip_maker.clip(seconds=2, cuts=(1.0,), sound="tone")
    bad = clips.take(io.BytesIO(data[:200]), "bad.mp4", "", "ann", jobs.defer_clip)
    good = clips.take(io.BytesIO(data), "good.mp4", "Street food in 24 hours", "ann", jobs.defer_clip)
    worker = subprocess.Popen([sys.executable, "-m", "miles", "worker"], cwd=settings.PROJECT)
    try:
        eventually(all_examined, 200, "the end of both")
    finally:
        worker.terminate()
        worker.wait(60)
    with db.transaction("viewer", "ann") as connection:
        failed, done = clips.clip(connection, bad.clip_id), clips.clip(connection, good.clip_id)
        frames = clips.frames(connection, good.clip_id)
    assert failed
    assert (failed.state, failed.error_kind) == ("failed", "damaged")
    assert done
    assert (done.state, done.note) == ("done", None)
    assert done.probe
    assert len(frames) == 2
    assert all(one.viral_score is not None and 0 < one.viral_score < 1 for one in frames)
    with db.transaction("viewer") as connection:
        reasons = connection.scalars(text("SELECT reason FROM job_failures")).all()
    assert len(reasons) == 1
    assert "damaged" in reasons[0]


def test_the_command_line_tells_what_is_in_a_clip_and_why_another_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(clip_maker.clip(seconds=2, cuts=(1.0,)))
    (tmp_path / "bad.mp4").write_bytes(b"not a video at all")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "miles", "clip", *words], cwd=settings.PROJECT, capture_output=True, text=True, check=False
        )  # fmt: skip

    told = run(str(tmp_path / "good.mp4"), "--frames", str(tmp_path / "frames"), "--json")
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert len(facts["cuts"]) == 1
    assert len(list((tmp_path / "frames").glob("*.jpg"))) == len(facts["frames_at"]) == 2
    refused = run(str(tmp_path / "bad.mp4"))
    assert refused.returncode == 1
    assert "no video that Miles reads" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
