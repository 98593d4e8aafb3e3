import hashlib
import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from miles import settings, storage
from miles.errors import StorageUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> storage.Folder:
    return storage.Folder(tmp_path / "kept")


def test_what_is_put_in_comes_out_by_its_hash(folder: storage.Folder) -> None:
    key = folder.put(b"a picture")
    assert key == hashlib.sha256(b"a picture").hexdigest()
    assert folder.get(key) == b"a picture"


def test_the_same_bytes_are_kept_once(folder: storage.Folder) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: folder.put(b"a picture"), range(40)))
    assert len(keys) == 1
    assert [path.read_bytes() for path in folder.root.rglob("*") if path.is_file()] == [b"a picture"]


def test_a_missing_key_is_none_and_deleting_it_is_fine(folder: storage.Folder) -> None:
    key = hashlib.sha256(b"never").hexdigest()
    folder.delete(key)
    assert folder.get(key) is None


def test_a_deleted_key_is_gone(folder: storage.Folder) -> None:
    key = folder.put(b"a picture")
    folder.delete(key)
    assert folder.get(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "../../etc/passwd",
        "A" * 64,  # upper case is another file on some systems
        "0" * 63,
        "0" * 64 + "/x",
    ],
)
def test_nothing_outside_the_folder_can_be_named(folder: storage.Folder, key: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        folder.get(key)


def test_a_write_that_fails_leaves_no_file(folder: storage.Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageUnavailable, match=r"No space left.*Is the disk full"):
        folder.put(b"a picture")
    with pytest.raises(StorageUnavailable, match="No space left"):
        folder.put_stream(io.BytesIO(b"a clip"))
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_a_damaged_file_counts_as_missing_and_is_mended_by_keeping_it_again(folder: storage.Folder) -> None:
    key = folder.put(b"a picture")
    (folder.root / key[:2] / key).write_bytes(b"a pict")
    assert folder.get(key) is None
    folder.put(b"a picture")
    assert folder.get(key) == b"a picture"


def test_a_stream_is_kept_by_its_hash_and_opened_to_seek_in(folder: storage.Folder) -> None:
    data = bytes(range(256)) * 10_000
    key = folder.put_stream(io.BytesIO(data))
    assert key == hashlib.sha256(data).hexdigest()
    stored = folder.open(key)
    assert stored is not None
    with stored:
        stored.seek(1000)
        assert stored.read(5) == data[1000:1005]
    assert folder.open(hashlib.sha256(b"never").hexdigest()) is None


def test_the_listing_names_each_object_once_and_no_half_written_file(folder: storage.Folder) -> None:
    kept = {folder.put(bytes([number]) * number) for number in range(1, 30)}
    (folder.root / ".tmp123").write_bytes(b"half")
    assert {one.key for one in folder.listed()} == kept
    assert sum(one.bytes for one in folder.listed()) == sum(range(1, 30))
    folder.check()
    assert {one.key for one in folder.listed()} == kept


def test_what_a_killed_process_left_half_stored_goes_after_an_hour_and_nothing_else(folder: storage.Folder) -> None:
    key = folder.put(b"a picture")
    program = "import sys, os; from pathlib import Path; from miles.storage import Folder\n"
    program += "with Folder(Path(sys.argv[1]))._storing() as file: file.write(b'half'); file.flush(); os._exit(9)"
    killed = subprocess.run([sys.executable, "-c", program, folder.root], cwd=settings.PROJECT, check=False)
    assert killed.returncode == 9
    [left] = [path for path in folder.root.iterdir() if path.is_file()]
    assert left.read_bytes() == b"half"
    (folder.root / ".notes-of-its-owner").write_bytes(b"")
    folder.root.joinpath("kept.txt").write_bytes(b"")
    for path in folder.root.rglob("*"):
        if path != left:
            os.utime(path, (0, 0))
    assert folder.sweep() == 0  # it may be stored at this moment
    long_ago = time.time() - storage.GIVEN_UP - 1
    os.utime(left, (long_ago, long_ago))
    assert folder.sweep() == 1
    assert {path.name for path in folder.root.iterdir()} == {key[:2], ".notes-of-its-owner", "kept.txt"}
    assert folder.get(key) == b"a picture"
    assert storage.Folder(folder.root / "never made").sweep() == 0


def test_a_folder_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="can't be read or written"):
        storage.Folder(tmp_path / "file" / "folder").check()


def test_thumbnails_lie_where_the_settings_say() -> None:
    key = storage.thumbnails().put(b"a picture")
    assert (settings.load().thumbnails / key[:2] / key).read_bytes() == b"a picture"
