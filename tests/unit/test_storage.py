import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from miles import settings, storage


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
    with pytest.raises(OSError, match="No space left"):
        folder.put(b"a picture")
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_thumbnails_lie_where_the_settings_say() -> None:
    key = storage.thumbnails().put(b"a picture")
    assert (settings.load().thumbnails / key[:2] / key).read_bytes() == b"a picture"
