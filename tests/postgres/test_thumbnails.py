"""Pictures in the storage and their rows: kept, forgotten beside writers, found missing and fetched again."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loopback import Answer, Site, eventually, picture
from PIL import Image
from sqlalchemy import text
from tables import rows

from miles import collecting, db, drafts, images, settings, storage, thumbnails
from miles.candidates import Candidate, Observation, Snapshot
from miles.errors import StorageUnavailable
from miles.store import observe

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


def video(name: str, address: str | None = None) -> str:
    with db.transaction("worker") as connection:
        observe(
            connection, [Observation(Candidate("youtube", name, "A title", thumbnail_url=address), Snapshot(NOW, 5))]
        )
    return f"youtube:{name}"


def note(candidate_id: str, kept: thumbnails.Kept, size: int) -> None:
    row = {
        "candidate_id": candidate_id, "sha256": kept.sha256, "pin": kept.pin, "content_type": "image/png", "width": 64,
        "height": 36, "bytes": size, "state": "stored", "reason": None, "error_kind": None,
    }  # fmt: skip
    with db.transaction("worker") as connection:
        thumbnails.write(db.psycopg_connection(connection).cursor(), [row])


def add(name: str, data: bytes, address: str | None = None) -> str:
    """A video with a stored picture; returns the picture's key."""
    candidate_id = video(name, address)
    kept = thumbnails.keep(data)
    note(candidate_id, kept, len(data))
    return kept.sha256


def stored(key: str) -> bytes | None:
    return storage.thumbnails().get(key)


# --- kept and forgotten -----------------------------------------------------------------------------


def test_what_is_named_stays_and_what_nobody_names_goes() -> None:
    named = add("a", b"named")
    unneeded = add("b", b"of a video that is deleted")
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM candidates WHERE candidate_id = 'youtube:b'"))
    assert thumbnails.clean() == 1
    assert stored(named) == b"named"
    assert stored(unneeded) is None
    assert rows("SELECT sha256 FROM objects") == [(named,)]
    assert rows("SELECT * FROM object_pins") == []


def test_a_picture_that_two_videos_share_stays_until_both_are_gone() -> None:
    key = add("a", b"shared")
    assert add("b", b"shared") == key
    for name, left in (("a", b"shared"), ("b", None)):
        with db.transaction("worker") as connection:
            connection.execute(text("DELETE FROM candidates WHERE candidate_id = :id"), {"id": f"youtube:{name}"})
        thumbnails.let_go([key])
        assert stored(key) == left


def test_the_picture_of_somebodys_draft_stays_until_the_draft_is_deleted() -> None:
    kept = thumbnails.keep(b"a draft's", "viewer")
    with db.transaction("viewer", "ada") as connection:
        upload = drafts.Upload(kept.sha256, "image/png", 9, kept.pin)
        draft_id = drafts.save_draft(connection, "A draft", upload=upload)
    assert rows("SELECT * FROM object_pins") == []
    assert thumbnails.clean() == 0
    assert stored(kept.sha256) == b"a draft's"
    with db.transaction("viewer", "ada") as connection:
        drafts.delete_draft(connection, draft_id)
    assert thumbnails.clean() == 1
    assert stored(kept.sha256) is None


def test_what_somebody_is_about_to_name_is_not_deleted_until_a_day_has_passed() -> None:
    kept = thumbnails.keep(b"about to be named")
    assert thumbnails.clean() == 0
    assert thumbnails.forget([kept.sha256]) == 0
    assert stored(kept.sha256) == b"about to be named"
    with db.transaction("owner") as connection:
        connection.execute(text("UPDATE object_pins SET pinned_at = now() - interval '25 hours'"))
    assert thumbnails.clean() == 1
    assert stored(kept.sha256) is None


def test_whoever_keeps_a_picture_while_it_is_being_deleted_has_it_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = thumbnails.keep(b"a picture")
    with db.transaction("worker") as connection:
        thumbnails.release(connection, [kept.pin])
    deleting, go_on = threading.Event(), threading.Event()
    original = storage.Folder.delete

    def slowly(self: storage.Folder, key: str) -> None:
        deleting.set()
        assert go_on.wait(30)
        original(self, key)

    monkeypatch.setattr(storage.Folder, "delete", slowly)
    with ThreadPoolExecutor(2) as pool:
        cleaned = pool.submit(thumbnails.clean)
        assert deleting.wait(30)
        again = pool.submit(thumbnails.keep, b"a picture")
        # it waits for the one that deletes, and only then puts the picture there
        eventually(lambda: rows("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)], what="waiting")
        assert not again.done()
        go_on.set()
        assert cleaned.result(30) == 1
        assert again.result(30).sha256 == kept.sha256
    assert stored(kept.sha256) == b"a picture"
    assert rows("SELECT sha256 FROM objects") == [(kept.sha256,)]


def test_cleaning_beside_many_writers_never_takes_a_picture_that_a_row_names() -> None:
    pictures = [bytes([number]) * 50 for number in range(12)]  # few, so that all meet at the same ones
    names = [video(f"v{number}") for number in range(40)]
    stop = threading.Event()

    def keep_cleaning() -> None:
        while not stop.is_set():
            thumbnails.clean()

    def change(number: int) -> None:
        for round_ in range(6):
            data = pictures[(number + round_) % len(pictures)]
            note(names[number], thumbnails.keep(data), len(data))

    with ThreadPoolExecutor(6) as pool:
        cleaning = pool.submit(keep_cleaning)
        list(pool.map(change, range(len(names))))
        stop.set()
        cleaning.result(60)
    named = [key for (key,) in rows("SELECT DISTINCT sha256 FROM thumbnails")]
    assert named
    assert all(stored(key) is not None for key in named)
    thumbnails.clean()
    assert {one.key for one in storage.thumbnails().listed()} == set(named)


def test_a_storage_that_fails_while_cleaning_loses_no_trace_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        kept = thumbnails.keep(bytes([number]))
        with db.transaction("worker") as connection:
            thumbnails.release(connection, [kept.pin])

    def fails(self: storage.Folder, key: str) -> None:
        raise StorageUnavailable("It is down.")

    with monkeypatch.context() as patch:
        patch.setattr(storage.Folder, "delete", fails)
        with pytest.raises(StorageUnavailable, match="It is down"):
            thumbnails.clean()
        thumbnails.let_go([key for (key,) in rows("SELECT sha256 FROM objects")])  # only says so
    assert rows("SELECT count(*) FROM objects") == [(5,)]
    assert thumbnails.clean() == 5
    assert list(storage.thumbnails().listed()) == []


def test_a_picture_that_can_not_be_kept_leaves_no_pin_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: storage.Folder, data: bytes) -> str:
        raise StorageUnavailable("It is down.")

    monkeypatch.setattr(storage.Folder, "put", fails)
    with pytest.raises(StorageUnavailable):
        thumbnails.keep(b"x")
    assert rows("SELECT * FROM object_pins") == []


def test_the_picture_of_a_video_that_was_removed_meanwhile_is_not_named() -> None:
    kept = thumbnails.keep(b"too late")
    note("youtube:gone", kept, 8)
    assert rows("SELECT * FROM thumbnails") == []
    assert thumbnails.clean() == 1


# --- missing, damaged, failed -----------------------------------------------------------------------


def site_with(site: Site, **pictures: bytes) -> dict[str, str]:
    for name, data in pictures.items():
        site.pages[f"/{name}.png"] = Answer(data, "image/png")
    return {name: f"{site.address}/{name}.png" for name in pictures}


def test_missing_cut_and_damaged_pictures_are_fetched_again(site: Site) -> None:
    drawn = {name: picture(seed=seed) for seed, name in enumerate(("whole", "missing", "cut", "damaged"))}
    addresses = site_with(site, **drawn)
    keys = {name: add(name, data, addresses[name]) for name, data in drawn.items()}
    folder = settings.load().thumbnails
    (folder / keys["missing"][:2] / keys["missing"]).unlink()
    (folder / keys["cut"][:2] / keys["cut"]).write_bytes(drawn["cut"][:-5])
    (folder / keys["damaged"][:2] / keys["damaged"]).write_bytes(drawn["damaged"][:-1] + b"?")

    found = thumbnails.repair()
    assert (found.missing, found.restored, found.lost, found.left) == (2, 2, 0, 0)
    assert stored(keys["missing"]) == drawn["missing"]
    assert stored(keys["cut"]) == drawn["cut"]
    assert stored(keys["damaged"]) is None  # its size is right; only reading it tells
    found = thumbnails.repair(verify=True)
    assert (found.missing, found.restored) == (1, 1)
    assert stored(keys["damaged"]) == drawn["damaged"]
    assert thumbnails.repair(verify=True).missing == 0
    assert sorted(site.requests) == ["/cut.png", "/damaged.png", "/missing.png"]
    assert rows("SELECT * FROM object_pins") == []


def test_a_picture_that_is_another_one_by_now_takes_the_lost_ones_place(site: Site) -> None:
    before, after = picture(seed=1), picture(seed=2)
    addresses = site_with(site, a=after)
    key = add("a", before, addresses["a"])
    storage.thumbnails().delete(key)
    assert thumbnails.repair().restored == 1
    assert rows("SELECT sha256, state FROM thumbnails") == [(hashlib.sha256(after).hexdigest(), "stored")]
    assert thumbnails.clean() == 1  # what is left of the old one: its row in `objects`


def test_what_can_not_be_had_any_more_says_why_and_is_not_asked_for_ever(site: Site) -> None:
    with_address, without = add("a", b"1", f"{site.address}/gone.png"), add("b", b"2")
    for key in (with_address, without):
        storage.thumbnails().delete(key)
    found = thumbnails.repair()
    assert (found.missing, found.restored, found.lost) == (2, 0, 2)
    assert rows("SELECT candidate_id, state, sha256, reason FROM thumbnails ORDER BY 1") == [
        ("youtube:a", "failed", None, "The picture's server answered 404."),
        ("youtube:b", "failed", None, "The picture is not in the storage any more, and it has no address to be fetched from."),
    ]  # fmt: skip
    for _ in range(5):
        thumbnails.repair()
    assert site.requests == ["/gone.png"] * thumbnails.TRIES


def test_a_picture_that_the_storage_refused_comes_when_it_is_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.video("a", views=5)
    with monkeypatch.context() as patch:

        def down(self: storage.Folder, data: bytes) -> str:
            raise StorageUnavailable("The bucket is down.")

        patch.setattr(storage.Folder, "put", down)
        report = collecting.collect(f"{site.address}/watch/a", kind="url")
    assert report.state == "done"
    assert report.new == 1  # no picture never fails its video
    ((reason, kind),) = rows("SELECT reason, error_kind FROM thumbnails WHERE state = 'failed'")
    assert (reason, kind) == ("The thumbnail could not be stored. The bucket is down.", "storage")
    found = thumbnails.repair()
    assert (found.missing, found.retried, found.fetched) == (0, 1, 1)
    ((key,),) = rows("SELECT sha256 FROM thumbnails WHERE state = 'stored'")
    assert stored(key) == picture(seed=sum(b"a"))


def test_a_run_does_so_many_and_leaves_the_rest_to_the_next(site: Site) -> None:
    drawn = {f"p{number}": picture(seed=number) for number in range(7)}
    addresses = site_with(site, **drawn)
    for name, data in drawn.items():
        storage.thumbnails().delete(add(name, data, addresses[name]))
    told: list[tuple[int, int]] = []
    found = thumbnails.repair(limit=4, on_progress=lambda done, total: told.append((done, total)))
    assert (found.missing, found.restored, found.left) == (7, 4, 3)
    assert told[-1] == (4, 4)
    assert thumbnails.repair(stop=lambda: True).left == 3
    assert thumbnails.repair().restored == 3


def test_objects_that_nobody_here_knows_are_counted_and_left_alone() -> None:
    add("a", b"known")
    other = storage.thumbnails().put(b"of another installation that shares the bucket")
    assert thumbnails.repair().unknown == 1
    thumbnails.clean()
    assert stored(other) is not None


# --- what is stored ---------------------------------------------------------------------------------


@pytest.fixture
def large(site: Site) -> str:
    out = io.BytesIO()
    Image.effect_mandelbrot((3000, 2000), (-2, -1.5, 1, 1.5), 30).convert("RGB").save(out, "PNG")
    return site_with(site, large=out.getvalue())["large"]


def test_a_picture_beyond_720p_is_stored_as_a_smaller_one(large: str) -> None:
    video("a", large)
    row = thumbnails.fetch("youtube:a", large)
    assert (row["width"], row["height"], row["content_type"], row["state"]) == (1280, 853, "image/jpeg", "stored")
    kept = stored(str(row["sha256"]))
    assert kept is not None
    assert len(kept) == row["bytes"]
    with Image.open(io.BytesIO(kept)) as opened:
        opened.load()
        assert opened.size == (1280, 853)


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (64, 36)])
def test_a_picture_up_to_720p_is_stored_to_the_byte(site: Site, size: tuple[int, int]) -> None:
    drawn = picture(*size)
    row = thumbnails.fetch("youtube:a", site_with(site, a=drawn)["a"])
    assert stored(str(row["sha256"])) == drawn
    assert (row["width"], row["height"]) == size


def test_an_upright_photo_is_turned_before_it_is_made_smaller() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (2560, 1440), "red").save(out, "JPEG", exif=exif)
    smaller = thumbnails.fitting(images.check(out.getvalue()))
    assert (smaller.width, smaller.height) == (720, 1280)


# --- moving into a bucket ---------------------------------------------------------------------------


def test_pictures_of_the_folder_that_was_used_before_are_moved_and_not_fetched(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = picture(seed=3)
    key = add("a", drawn, site_with(site, a=drawn)["a"])
    elsewhere = storage.Folder(tmp_path / "bucket")  # stands for it: only where it lies matters here
    monkeypatch.setattr(storage, "thumbnails", lambda: elsewhere)
    monkeypatch.setenv("MILES_STORAGE_URL", "s3://pictures")
    settings.load.cache_clear()
    found = thumbnails.repair()
    assert (found.missing, found.restored) == (1, 1)
    assert elsewhere.get(key) == drawn
    assert site.requests == []
