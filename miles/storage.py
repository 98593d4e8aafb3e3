"""Where pictures and clips lie: bytes named by the SHA-256 of themselves, in a folder or in an S3-compatible bucket.

The name makes an object unchangeable and shared by all who have the same picture, and tells when it is damaged:
what does not match its name counts as missing. The database knows the names (`objects`), so nothing that is shown
ever waits for a listing. A bucket (`MILES_STORAGE_URL`) has a bounded folder of copies before it, so a page that
was seen once asks nobody, and a server that does not answer is left alone for a while. The only home of boto3.
Knows nothing about images or the database.
"""

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

from miles import settings
from miles.errors import StorageUnavailable

logger = logging.getLogger(__name__)

KEY = re.compile(r"[0-9a-f]{64}")
HALF = re.compile(r"\.[a-z0-9_]{8}")  # a file that is being stored, as `tempfile` names it
GIVEN_UP = 3600.0  # seconds since such a file grew: whoever wrote it was killed
CHUNK = 1024 * 1024  # bytes of a stream at a time
LARGEST_WHOLE = 64 * 1024 * 1024  # bytes that `get` takes into memory; no picture is near, and clips are for `open`

# Of a page's questions: somebody waits. And of work: large parts over slow lines.
QUICK = {"connect_timeout": 2, "read_timeout": 6, "tries": 3}  # seconds
PATIENT = {"connect_timeout": 5, "read_timeout": 60, "tries": 4}
AT_ONCE = 8  # objects fetched side by side
PART = 16 * 1024 * 1024  # bytes of a part of a large upload; R2 wants all of one size
PARTS_AT_ONCE = 4
LEFT_ALONE = 60.0  # seconds that a server which failed is not asked again
SLOW_FOR = 10.0  # seconds for which nobody waits for pictures, after one did in vain
MISSING_FOR = 60.0  # seconds for which we remember that an object is missing
MOST_MISSING = 10_000  # of those


@dataclass(frozen=True, slots=True)
class Listed:
    """One object, as a listing tells of it."""

    key: str
    bytes: int


class Storage(Protocol):
    """Bytes kept under the SHA-256 of themselves (64 hexadecimal digits).

    Everything raises StorageUnavailable where the storage fails, and ValueError for what is no key.
    """

    @property
    def place(self) -> str:
        """Where it is, for people; without secrets."""

    def put(self, data: bytes) -> str:
        """Keep the bytes; returns their key. Keeping them twice is fine, and mends a damaged object."""

    def put_stream(self, stream: IO[bytes]) -> str:
        """Keep what a stream holds, however long, without having it in memory; returns its key."""

    def get(self, key: str) -> bytes | None:
        """The bytes of a key; None where they are missing or damaged."""

    def open(self, key: str) -> BinaryIO | None:
        """The same for what is too large for the memory: a file to read and to seek in, which the caller closes."""

    def whole(self, key: str) -> bool:
        """Whether the object itself, copies aside, is there and undamaged; reads all of it."""

    def delete(self, key: str) -> None:
        """Forget the bytes of a key; one that is missing is fine."""

    def listed(self) -> Iterator[Listed]:
        """Every object, in no particular order."""

    def check(self) -> None:
        """Write, read and delete a trial. Raises StorageUnavailable with what is to be mended."""

    def sweep(self) -> int:
        """Delete what processes that were killed left half stored an hour ago or longer; returns how many files."""

    def warm(self, keys: Iterable[str], seconds: float) -> None:
        """Have these at hand for `peek`, as far as that is done within so many seconds; the rest comes later."""

    def peek(self, key: str) -> bytes | None:
        """The bytes of a key if they are at hand: what a page asks, which must not wait."""


class Folder:
    """A Storage in a folder, spread over 256 folders so that none gets too long to open."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        return str(self.root)

    def put(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        if self.get(key) is None:
            with self._storing() as file:
                file.write(data)
                self._name(file, key)
        return key

    def put_stream(self, stream: IO[bytes]) -> str:
        with self._storing() as file:
            key = _copy(stream, file)
            self._name(file, key)
        return key

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from error
        return _whole(data, key, self.place)

    def open(self, key: str) -> BinaryIO | None:
        try:
            return self._path(key).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from error

    def whole(self, key: str) -> bool:
        return self.get(key) is not None

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error

    def listed(self) -> Iterator[Listed]:
        for path in self.root.glob("??/*"):
            if KEY.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    yield Listed(path.name, path.stat().st_size)

    def check(self) -> None:
        data = b"a trial"
        key = self.put(data)
        self.delete(key)

    def sweep(self) -> int:
        swept, latest = 0, time.time() - GIVEN_UP
        try:
            for path in self.root.glob(".*"):
                with contextlib.suppress(FileNotFoundError):  # stored since, or swept by somebody else
                    if HALF.fullmatch(path.name) and path.stat().st_mtime < latest:
                        path.unlink()
                        swept += 1
        except OSError as error:
            raise self._unavailable(error) from error
        return swept

    def warm(self, keys: Iterable[str], seconds: float) -> None:
        """All that is here is at hand."""

    def peek(self, key: str) -> bytes | None:
        return self.get(key)

    def has(self, key: str) -> bool:
        """Whether there is something under a key, whole or not."""
        return self._path(key).exists()

    def trim(self, limit: int) -> None:
        """Delete what was used least lately until nine tenths of `limit` bytes are left, if it is more than that."""
        files = []
        for path in self.root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= limit:
            return
        for _, size, path in sorted(files):
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
            if total <= limit * 0.9:
                return

    @contextlib.contextmanager
    def _storing(self) -> Iterator[Any]:
        """A file beside its future place: renamed when it is whole, so that a reader, or a crash, never sees half."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".", delete=False) as file:
                try:
                    yield file
                except BaseException:
                    os.unlink(file.name)  # noqa: PTH108
                    raise
        except OSError as error:
            raise self._unavailable(error) from error

    def _name(self, file: Any, key: str) -> None:
        file.flush()
        os.fsync(file.fileno())
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        os.replace(file.name, path)  # noqa: PTH105  # a name, not a Path

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)[:2] / key

    def _unavailable(self, error: OSError) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self.root} can't be read or written ({error.strerror or error}). Is the disk full, or the folder another"
            " user's?"
        )


class Bucket:
    """A Storage in a bucket of an S3-compatible server. Keys come from boto3's usual places: AWS_* variables,
    ~/.aws, the role of the machine."""

    def __init__(self, address: settings.BucketAddress, folder: str) -> None:
        self.address = address
        self._before = "/".join(filter(None, (address.prefix, folder))) + "/"
        self._making = threading.Lock()

    @property
    def place(self) -> str:
        at = f" at {self.address.endpoint_url}" if self.address.endpoint_url else ""
        return f"s3://{self.address.bucket}/{self._before.rstrip('/')}{at}"

    def put(self, data: bytes) -> str:
        # without a look whether it is there: that costs a request as well, and would leave a damaged one damaged
        key = hashlib.sha256(data).hexdigest()
        with self._asking():
            self._quick.put_object(**self._named(key), Body=data, ContentType="application/octet-stream")
        return key

    def put_stream(self, stream: IO[bytes]) -> str:
        with tempfile.TemporaryFile() as file, self._asking():
            key = _copy(stream, file)
            size = file.tell()
            if self._size(key) != size:
                if size <= PART:
                    file.seek(0)
                    self._patient.put_object(**self._named(key), Body=file)
                else:
                    self._put_parts(key, file, size)
        return key

    def _put_parts(self, key: str, file: IO[bytes], size: int) -> None:
        """A large object in parts. One that broke off goes on: the parts that are there are not sent again."""
        from botocore.exceptions import ClientError

        for attempt in (1, 2):
            upload, there = self._begun(key)
            reading = threading.Lock()

            def put(
                number: int, upload: str = upload, there: dict[int, str] = there, reading: threading.Lock = reading
            ) -> dict[str, Any]:
                with reading:
                    file.seek((number - 1) * PART)
                    part = file.read(PART)
                tag = there.get(number)
                if tag is None or tag.strip('"') != hashlib.md5(part, usedforsecurity=False).hexdigest():
                    tag = self._patient.upload_part(**self._named(key), UploadId=upload, PartNumber=number, Body=part)[
                        "ETag"
                    ]
                return {"PartNumber": number, "ETag": tag}

            try:
                with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
                    parts = list(pool.map(put, range(1, -(-size // PART) + 1)))
                self._patient.complete_multipart_upload(
                    **self._named(key), UploadId=upload, MultipartUpload={"Parts": parts}
                )
                return
            except ClientError as error:
                if attempt == 2 or _code(error) != "NoSuchUpload":  # somebody else ended or swept it
                    raise

    def _begun(self, key: str) -> tuple[str, dict[int, str]]:
        """An upload in parts, the latest that broke off or a new one; and the tags of the parts that it has."""
        name = self._named(key)
        listed = self._patient.list_multipart_uploads(Bucket=name["Bucket"], Prefix=name["Key"])
        open_ones = [one for one in listed.get("Uploads", ()) if one["Key"] == name["Key"]]
        if not open_ones:
            begun = self._patient.create_multipart_upload(**name, ContentType="application/octet-stream")
            return begun["UploadId"], {}
        upload = max(open_ones, key=lambda one: one["Initiated"])["UploadId"]
        pages = self._patient.get_paginator("list_parts").paginate(**name, UploadId=upload)
        return upload, {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", ())}

    def get(self, key: str) -> bytes | None:
        with self._asking():
            for attempt in (1, 2):  # boto3 asks again where there is no answer, but not where one breaks off
                try:
                    answer = self._answer(self._quick, key)
                    if answer is None:
                        return None
                    if answer["ContentLength"] > LARGEST_WHOLE:
                        logger.warning("%s in %s is too large for a picture; it counts as missing.", key, self.place)
                        answer["Body"].close()
                        return None
                    return _whole(answer["Body"].read(), key, self.place)
                except _broken_off():
                    if attempt == 2:
                        raise
        raise AssertionError  # for the type checker: the loop ends in one way or the other

    def open(self, key: str) -> BinaryIO | None:
        with self._asking():
            answer = self._answer(self._patient, key)
            if answer is None:
                return None
            file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # the caller's to close
            try:
                whole = _copy(answer["Body"], file) == key
            except BaseException:
                file.close()
                raise
        if not whole:
            logger.warning("%s in %s is damaged; it counts as missing.", key, self.place)
            file.close()
            return None
        file.seek(0)
        return file

    def whole(self, key: str) -> bool:
        return self.get(key) is not None

    def delete(self, key: str) -> None:
        with self._asking():
            self._patient.delete_object(**self._named(key))

    def listed(self) -> Iterator[Listed]:
        with self._asking():
            pages = self._patient.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.address.bucket, Prefix=self._before):
                for one in page.get("Contents", ()):
                    key = one["Key"].removeprefix(self._before)
                    if KEY.fullmatch(key):
                        yield Listed(key, one["Size"])

    def check(self) -> None:
        trial = {"Bucket": self.address.bucket, "Key": self._before + "trial"}
        with self._asking():
            self._quick.list_objects_v2(Bucket=self.address.bucket, Prefix=self._before, MaxKeys=1)
            self._quick.put_object(**trial, Body=b"a trial")
            self._quick.get_object(**trial)["Body"].read()
            self._quick.delete_object(**trial)

    def sweep(self) -> int:
        """An upload that broke off shows in no listing, and goes on when the same is stored again."""
        return 0

    def warm(self, keys: Iterable[str], seconds: float) -> None:
        """Nothing is ever at hand here; see Nearby."""

    def peek(self, key: str) -> bytes | None:
        _checked(key)
        return None

    def _answer(self, client: Any, key: str) -> Any:
        """The answer whose body is the object; None where it is missing."""
        from botocore.exceptions import ClientError

        try:
            return client.get_object(**self._named(key))
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                return None
            raise

    def _size(self, key: str) -> int | None:
        from botocore.exceptions import ClientError

        try:
            return int(self._patient.head_object(**self._named(key))["ContentLength"])
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self._before + _checked(key)}

    @cached_property
    def _quick(self) -> Any:
        return self._client(**QUICK)

    @cached_property
    def _patient(self) -> Any:
        return self._client(**PATIENT)

    def _client(self, connect_timeout: int, read_timeout: int, tries: int) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise StorageUnavailable(
                "MILES_STORAGE_URL names a bucket, and the package for that is not installed. Install it: "
                "pip install -c constraints.txt boto3"
            ) from error
        authorities = settings.load().ssl_cert_file
        with self._making:  # boto3's sessions are not for several threads; its clients are
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self.address.endpoint_url,
                region_name=self.address.region,
                verify=str(authorities) if authorities else None,
                config=Config(
                    connect_timeout=connect_timeout,
                    read_timeout=read_timeout,
                    retries={"mode": "standard", "total_max_attempts": tries},
                    max_pool_connections=2 * AT_ONCE,
                    # the name checks the content; others than Amazon know boto3's newer checksums in part only
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={"addressing_style": "path"} if self.address.endpoint_url else None,
                ),
            )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns what boto3 raises into one sentence. Its messages may hold addresses, but no secrets."""
        try:
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
        except ImportError:
            self._client(**QUICK)  # says what to install
            raise
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StorageUnavailable(
                f"There are no keys for {self.place}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from error
        except ClientError as error:
            raise StorageUnavailable(self._sentence(error)) from error
        except (Boto3Error, BotoCoreError) as error:
            raise StorageUnavailable(
                f"{self.place} does not answer ({type(error).__name__}). Is the server up, and MILES_STORAGE_URL right?"
            ) from error
        except OSError as error:
            raise StorageUnavailable(
                f"What goes to or comes from {self.place} can't be kept for the moment that takes"
                f" ({error.strerror or error}). Is the disk full?"
            ) from error

    def _sentence(self, error: Any) -> str:
        code, status = _code(error), _status(error)
        if code == "NoSuchBucket" or (status == 404 and code not in ("NoSuchKey", "NoSuchUpload")):
            return f"There is no bucket {self.address.bucket}. Create it, or correct MILES_STORAGE_URL ({self.place})."
        if status in (401, 403) or code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return (
                f"{self.place} refuses the keys ({code}). Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; they must"
                " be allowed to list, read, write and delete there."
            )
        return f"{self.place} answered {status} ({code}). It is asked again later."


class Nearby:
    """A bucket with a bounded folder of copies before it, so that what was shown once is at hand.

    After a failure the bucket is left alone for LEFT_ALONE seconds: a page must not wait for the same silence again
    for each of its pictures.
    """

    def __init__(self, bucket: Bucket, copies: Folder, limit: int) -> None:
        self.bucket = bucket
        self.copies = copies
        self.limit = limit  # bytes
        self._lock = threading.Lock()
        self._coming: dict[str, Future[None]] = {}
        self._missing: dict[str, float] = {}  # when we asked
        self._failed: tuple[float, StorageUnavailable] | None = None
        self._slow_until = 0.0
        self._written: float = limit  # bytes since the last trim; the first write of a process trims
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="storage")

    @property
    def place(self) -> str:
        return self.bucket.place

    def put(self, data: bytes) -> str:
        self._raise_if_failed()
        try:
            key = self.bucket.put(data)
        except StorageUnavailable as error:
            self._fail(error)
            raise
        self._copy(key, data)
        return key

    def put_stream(self, stream: IO[bytes]) -> str:
        key = self.bucket.put_stream(stream)
        self._missing.pop(key, None)
        return key

    def get(self, key: str) -> bytes | None:
        found = self.peek(key)
        if found is not None or self._is_missing(key):
            return found
        self._raise_if_failed()
        try:
            found = self.bucket.get(key)
        except StorageUnavailable as error:
            self._fail(error)
            raise
        if found is None:
            with self._lock:
                if len(self._missing) >= MOST_MISSING:
                    self._missing.clear()
                self._missing[key] = time.monotonic()
        else:
            self._copy(key, found)
        return found

    def open(self, key: str) -> BinaryIO | None:
        return self.bucket.open(key)

    def whole(self, key: str) -> bool:
        return self.bucket.whole(key)

    def delete(self, key: str) -> None:
        self.copies.delete(key)
        self.bucket.delete(key)

    def listed(self) -> Iterator[Listed]:
        return self.bucket.listed()

    def check(self) -> None:
        self.bucket.check()
        self._failed = None

    def sweep(self) -> int:
        return self.copies.sweep()

    def warm(self, keys: Iterable[str], seconds: float) -> None:
        wanted = [key for key in set(keys) if not self.copies.has(key) and not self._is_missing(key)]
        if not wanted or self._failure():
            return
        with self._lock:
            coming = [self._coming.get(key) or self._begin(key) for key in wanted]
        if time.monotonic() < self._slow_until:  # the next picture is not waited for as long as the one before
            return
        if wait_for(coming, seconds).not_done:
            self._slow_until = time.monotonic() + SLOW_FOR

    def peek(self, key: str) -> bytes | None:
        found = self.copies.get(key)
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(self.copies._path(key))  # used just now, says `trim`
        return found

    def _begin(self, key: str) -> Future[None]:
        def fetch() -> None:
            try:
                with contextlib.suppress(StorageUnavailable):  # it is logged, once for all that it concerns
                    self.get(key)
            finally:
                with self._lock:
                    self._coming.pop(key, None)

        self._coming[key] = begun = self._threads.submit(fetch)
        return begun

    def _copy(self, key: str, data: bytes) -> None:
        self._missing.pop(key, None)
        try:
            self.copies.put(data)
            self._written += len(data)
            if self._written > self.limit / 10:
                self._written = 0
                self.copies.trim(self.limit)
        except StorageUnavailable as error:  # it is in the bucket; only the next look will be slower
            logger.warning("A picture can't be kept at hand: %s", error)

    def _is_missing(self, key: str) -> bool:
        asked = self._missing.get(key)
        return asked is not None and time.monotonic() - asked < MISSING_FOR

    def _failure(self) -> StorageUnavailable | None:
        failed = self._failed
        return failed[1] if failed and time.monotonic() - failed[0] < LEFT_ALONE else None

    def _fail(self, error: StorageUnavailable) -> None:
        if not self._failure():
            logger.warning("Left alone for %.0f s: %s", LEFT_ALONE, error)
        self._failed = (time.monotonic(), error)

    def _raise_if_failed(self) -> None:
        if failure := self._failure():
            raise StorageUnavailable(str(failure)) from failure


def problem() -> str | None:
    """What is wrong with the bucket of the settings, in a sentence; None where nothing is, or there is none."""
    if settings.load().bucket is None:
        return None
    try:
        thumbnails().check()
    except StorageUnavailable as error:
        return str(error)
    return None


def warn() -> None:
    """Log what is wrong with the bucket: the rest works without it, and goes on when it is back."""
    if wrong := problem():
        logger.warning("Pictures are neither stored nor shown until this is mended: %s", wrong)


def thumbnails() -> Storage:
    """The storage of this installation's pictures."""
    chosen = settings.load()
    if chosen.bucket is None:
        return Folder(chosen.thumbnails)
    return _nearby(chosen.bucket, chosen.home / "cache" / "thumbnails", chosen.storage_cache_mb * 1_000_000)


@lru_cache(maxsize=4)
def _nearby(address: settings.BucketAddress, copies: Path, limit: int) -> Nearby:
    return Nearby(Bucket(address, "thumbnails"), Folder(copies), limit)


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise ValueError(f"not a SHA-256 in hexadecimal: {key!r}")
    return key


def _whole(data: bytes, key: str, place: str) -> bytes | None:
    if hashlib.sha256(data).hexdigest() == key:
        return data
    logger.warning("%s in %s is damaged; it counts as missing.", key, place)
    return None


def _copy(source: Any, target: IO[bytes]) -> str:
    """Copy a stream; returns the SHA-256 of what it held."""
    digest = hashlib.sha256()
    while part := source.read(CHUNK):
        digest.update(part)
        target.write(part)
    return digest.hexdigest()


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _broken_off() -> tuple[type[Exception], ...]:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    return (ReadTimeoutError, ResponseStreamingError, IncompleteReadError)
