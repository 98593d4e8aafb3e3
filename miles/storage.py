"""Where thumbnails lie: files named by the SHA-256 of what is in them.

The name makes a file unchangeable and shared by all who have the same picture; no listing of the
folder is ever needed, because the database knows the names. An object store can take the folder's
place behind `Storage`. Knows nothing about images or the database.
"""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Protocol

from miles import settings

KEY = re.compile(r"[0-9a-f]{64}")


class Storage(Protocol):
    """Bytes kept under the SHA-256 of themselves."""

    def put(self, data: bytes) -> str:
        """Keep the bytes; returns their key (64 hexadecimal digits). Keeping them twice is fine."""

    def get(self, key: str) -> bytes | None:
        """The bytes of a key, or None where they are missing. Raises ValueError for what is no key."""

    def delete(self, key: str) -> None:
        """Forget the bytes of a key; one that is missing is fine."""


class Folder:
    """A Storage in a folder, spread over 256 folders so that none gets too long to open."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        path = self._path(key)
        if path.exists():
            return key
        path.parent.mkdir(parents=True, exist_ok=True)
        # written beside its place and then renamed: a reader, or a crash, never sees half a file
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)  # noqa: PTH105  # a name from mkstemp, not a Path
        except BaseException:
            os.unlink(name)  # noqa: PTH108
            raise
        return key

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"not a SHA-256 in hexadecimal: {key!r}")
        return self.root / key[:2] / key


def thumbnails() -> Storage:
    """The storage of this installation's thumbnails."""
    return Folder(settings.load().thumbnails)
