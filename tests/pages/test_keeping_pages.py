"""Pages whose pictures lie in a bucket, working and not; and removal as an operator asks for it on a page."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import buckets
import pytest
from loopback import Answer, Site, picture
from streamlit.testing.v1 import AppTest
from tables import rows

from miles import db, jobs, rollups, settings, storage, thumbnails
from miles.browse import Row
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.store import observe
from ui import cards

Visit = Callable[..., AppTest]
NUMBER = 12


@pytest.fixture
def bucket(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Twelve videos whose pictures lie in a bucket of a server on loopback; gives the server's address."""
    buckets.keys(monkeypatch)
    with buckets.server() as address:
        buckets.make(address)
        use(monkeypatch, address)
        fill()
        yield address


def fill() -> None:
    now = datetime.now(UTC)
    with db.transaction("worker") as connection:
        observe(
            connection,
            [
                Observation(
                    Candidate(
                        "youtube", f"video{number:06}", f"Number {number}", published_at=now - timedelta(days=5),
                        channel=Channel("youtube", "UC" + "x" * 22, "Somebody"),
                    ),
                    Snapshot(now - timedelta(days=1), 100 + number),
                )
                for number in range(NUMBER)
            ],
        )  # fmt: skip
    for number in range(NUMBER):
        data = picture(seed=number)
        kept = thumbnails.keep(data)
        row = dict.fromkeys(("width", "height", "reason", "error_kind")) | {
            "candidate_id": f"youtube:video{number:06}", "sha256": kept.sha256, "pin": kept.pin, "state": "stored",
            "content_type": "image/png", "bytes": len(data),
        }  # fmt: skip
        with db.transaction("worker") as connection:
            thumbnails.write(db.psycopg_connection(connection).cursor(), [row])
    with db.transaction("worker") as connection:
        rollups.refresh(connection)


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Another dashboard, which has no copies yet, with its bucket at an address."""
    monkeypatch.setenv("MILES_HOME", str(settings.load().home.parent / f"home-{time.monotonic_ns()}"))
    buckets.use(monkeypatch, address)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the cards show, in their order: "picture" or "tile"."""
    shown: list[str] = []
    original = cards.picture

    def noting(row: Row) -> bytes | str:
        found = original(row)
        shown.append("tile" if isinstance(found, str) else "picture")
        return found

    monkeypatch.setattr(cards, "picture", noting)
    return shown


def test_pictures_of_a_bucket_are_shown_and_are_at_hand_after_that(
    visit: Visit, bucket: str, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, bucket)
    app = visit("trending")
    assert not app.exception
    assert drawn == ["picture"] * NUMBER
    copies = [path for path in (settings.load().home / "cache").rglob("*") if path.is_file()]
    assert len(copies) == NUMBER


@pytest.mark.parametrize("how", ["not there", "hangs", "refuses", "nonsense"])
def test_a_bucket_that_does_not_work_costs_the_pictures_and_a_moment(
    visit: Visit, bucket: str, drawn: list[str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site()
    answers = {
        "hangs": Answer(b"", delay=60),
        "refuses": Answer(b"<Error><Code>InvalidAccessKeyId</Code></Error>", "application/xml", 403),
        "nonsense": Answer(b"hello", status=200),
    }
    if how != "not there":
        for (key,) in rows("SELECT sha256 FROM thumbnails"):
            site.pages[f"/pictures/thumbnails/{key}"] = answers[how]
    use(monkeypatch, "http://127.0.0.1:9" if how == "not there" else site.address)
    visit("scores")  # what is imported and cached is not the bucket's fault
    drawn.clear()
    begun = time.monotonic()
    try:
        app = visit("trending")
        took = time.monotonic() - begun
    finally:
        site.close()
    assert not app.exception
    assert not app.error
    assert drawn == ["tile"] * NUMBER
    assert took < 20  # twelve pictures that were each waited for would take at least 24 s where it hangs


@pytest.mark.parametrize(("what", "left"), [("This video", NUMBER - 1), ("All of its channel", 0)])
def test_a_video_or_its_channel_is_removed_from_its_details(visit: Visit, bucket: str, what: str, left: int) -> None:
    key = "youtube:video000003"
    app = visit("trending", video=key)
    assert not app.exception
    app.radio(key=f"remove-what-{key}").set_value(what)
    app.text_input(key=f"remove-why-{key}").set_value("asked by its owner")
    [button] = [button for button in app.button if button.label == "Remove"]
    app = button.click().run()
    assert not app.exception
    assert "Tick the box first" in app.warning[-1].value
    assert rows("SELECT * FROM procrastinate_jobs WHERE task_name = 'remove'") == []

    app.checkbox(key=f"remove-sure-{key}").check()
    [button] = [button for button in app.button if button.label == "Remove"]
    app = button.click().run()
    assert not app.exception
    assert "removal is queued" in app.success[-1].value
    jobs.run_worker(wait=False)
    assert rows("SELECT status::text FROM procrastinate_jobs WHERE task_name = 'remove'") == [("succeeded",)]
    assert rows("SELECT count(*) FROM candidates") == [(left,)]
    assert rows("SELECT reason FROM removed") == [("asked by its owner",)]
    assert len(list(storage.thumbnails().listed())) == left

    app = visit("operations", show="Installation")
    assert not app.exception
    assert any("Removed on request" in part.value for part in app.caption)
