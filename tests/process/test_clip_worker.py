"""A clip through a real worker process: queued by one, examined by another, scored by the shipped model."""

import io
import subprocess
import sys
import time

import clip_maker
import pytest
from sqlalchemy import text

from miles import clips, db, jobs, settings


@pytest.mark.usefixtures("database")
def test_a_worker_takes_up_clips_keeps_the_reason_of_a_bad_one_and_scores_a_good_one() -> None:
    data = clip_maker.clip(seconds=2, cuts=(1.0,), sound="tone")
    bad = clips.take(io.BytesIO(data[:200]), "bad.mp4", "", "ann", jobs.defer_clip)
    good = clips.take(io.BytesIO(data), "good.mp4", "Street food in 24 hours", "ann", jobs.defer_clip)
    worker = subprocess.Popen([sys.executable, "-m", "miles", "worker"], cwd=settings.PROJECT)
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with db.transaction("worker") as connection:
                if connection.scalar(text("SELECT bool_and(state IN ('done', 'failed')) FROM clips")):
                    break
            time.sleep(0.3)
    finally:
        worker.terminate()
        worker.wait(30)
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
