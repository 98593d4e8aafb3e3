"""`miles remove` and `miles tidy`, and starting with a bucket that does not work: real processes."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import PROJECT, answer, explained, miles, refused
from loopback import eventually
from sqlalchemy import text

from miles import db, storage, thumbnails
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.store import observe

CHANNEL = "UC" + "x" * 22


@pytest.fixture
def videos(database: str) -> None:
    """Three old videos of one channel, each looked at every hour of a day, and one of nobody's."""
    old = datetime.now(UTC).replace(hour=0) - timedelta(days=200)
    with db.transaction("worker") as connection:
        observe(
            connection,
            [
                Observation(
                    Candidate("youtube", f"video{number:06}", "A title", channel=channel, published_at=old),
                    Snapshot(old + timedelta(days=20, hours=hour), 100 + hour),
                )
                for number, channel in enumerate([Channel("youtube", CHANNEL, "Somebody")] * 3 + [None])
                for hour in range(24)
            ],
        )


def count(table: str) -> int:
    with db.transaction("worker") as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


@pytest.mark.parametrize("command", ["remove", "tidy"])
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    assert "Example: " in explained(command)


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove",),  # nothing named
        ("remove", "youtube:video000001", "--list"),
        ("remove", "--list", "--lift", "x"),
    ],
)
def test_wrong_use_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    refused(*arguments)


def test_remove_asks_first_and_then_deletes_lists_and_lifts(videos: None) -> None:
    refused = miles("remove", CHANNEL, status=1, typed="n\n")
    assert "Delete the channel youtube:" in refused.stderr.replace("\n", " ")
    assert "3 videos with 72 snapshots" in refused.stderr.replace("\n", " ")
    assert count("candidates") == 4
    miles("remove", CHANNEL, "--json", status=2)  # it can't ask
    assert count("candidates") == 4

    miles("remove", CHANNEL, "--reason", "asked by its owner", typed="y\n")
    assert (count("candidates"), count("snapshots"), count("channels")) == (1, 24, 0)
    assert answer("remove", "youtube:video000003", "--yes") == {
        "kind": "video", "key": "youtube:video000003", "videos": 1, "snapshots": 24,
    }  # fmt: skip
    listed = answer("remove", "--list")["removed"]
    assert [(one["kind"], one["key"], one["reason"]) for one in listed] == [
        ("video", "youtube:video000003", None),
        ("channel", f"youtube:{CHANNEL}", "asked by its owner"),
    ]
    assert f"youtube:{CHANNEL}" in miles("remove", "--list").stdout

    told = miles("collect", CHANNEL, status=1)
    assert "was removed on request" in told.stderr
    assert answer("remove", "--lift", CHANNEL) == {"kind": "channel", "key": f"youtube:{CHANNEL}"}
    assert "is not among what was removed" in miles("remove", "--lift", CHANNEL, status=1).stderr


def test_import_says_how_many_were_left_out(videos: None, tmp_path: Path) -> None:
    miles("remove", CHANNEL, "--yes")
    file = tmp_path / "videos.csv"
    file.write_text(f"id,title,channel_id,view_count\nvideo000001,A title,{CHANNEL},5\nvideo000009,Another,UC1,5\n")
    report = answer("import", str(file))
    assert (report["new"], report["removed"]) == (1, 1)


def test_tidy_thins_forgets_and_says_so_and_a_dry_run_changes_nothing(videos: None) -> None:
    unneeded = thumbnails.keep(b"of nobody")
    with db.transaction("worker") as connection:
        thumbnails.release(connection, [unneeded.pin])
    told = answer("tidy", "--dry-run")
    assert told["snapshots_removed"] > 60
    assert count("snapshots") == 96
    done = answer("tidy", "--verify")
    assert done["snapshots_removed"] == told["snapshots_removed"] == 96 - count("snapshots")
    assert (done["pictures_forgotten"], done["pictures_missing"]) == (1, 0)
    assert storage.thumbnails().get(unneeded.sha256) is None
    assert answer("tidy")["snapshots_removed"] == 0


def test_a_storage_address_that_makes_no_sense_ends_every_command_with_one_sentence(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILES_STORAGE_URL", "s3://me:the-secret@pictures")
    for command in ("tidy", "worker", "up"):
        told = miles(command, status=1).stderr
        assert "MILES_STORAGE_URL" in told
        assert "keys don't belong into the address" in " ".join(told.split())
        assert "the-secret" not in told


@pytest.fixture
def no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_STORAGE_URL", "s3://pictures?endpoint_url=http://127.0.0.1:9&region=auto")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-of-the-tests")


def test_tidy_without_its_bucket_does_the_rest_and_says_what_to_mend(videos: None, no_bucket: None) -> None:
    told = miles("tidy", status=1)
    assert "does not answer" in told.stderr
    assert "MILES_STORAGE_URL" in told.stderr
    assert count("snapshots") < 40


def test_a_worker_starts_without_its_bucket_and_says_so(database: str, no_bucket: None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "miles", "worker"], cwd=PROJECT, stderr=output, stdout=output
        )
        try:
            eventually(lambda: count("procrastinate_workers") == 1, what="the start of the worker")
            written = log.read_text()
            assert "Pictures are neither stored nor shown until this is mended: s3://pictures/thumbnails" in written
            assert "the-secret" not in written
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        finally:
            worker.kill()
