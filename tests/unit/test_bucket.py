"""Pictures in a bucket: against a real S3 server on loopback (moto's), and against servers that fail."""

import hashlib
import io
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import buckets
import moto.settings
import pytest
from loopback import Answer, Site, eventually
from moto.core.responses import ActionAuthenticatorMixin

from miles import settings, storage
from miles.errors import MilesError, StorageUnavailable

ADDRESS = "s3://pictures/miles?endpoint_url={}&region=us-east-1"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    buckets.keys(monkeypatch)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with buckets.server() as address:
        yield address


@pytest.fixture
def s3(server: str) -> Iterator[Any]:
    """A client of the server, on which the bucket is; both are emptied afterwards."""
    client = buckets.make(server)
    yield client
    for one in client.list_objects_v2(Bucket="pictures").get("Contents", ()):
        client.delete_object(Bucket="pictures", Key=one["Key"])
    client.delete_bucket(Bucket="pictures")


@pytest.fixture
def bucket(server: str, s3: Any) -> storage.Bucket:
    return storage.Bucket(address(server), "thumbnails")


@pytest.fixture
def nearby(bucket: storage.Bucket, tmp_path: Path) -> storage.Nearby:
    return storage.Nearby(bucket, storage.Folder(tmp_path / "copies"), 10_000_000)


def address(endpoint: str) -> settings.BucketAddress:
    return settings.BucketAddress("pictures", "miles", endpoint, "us-east-1")


def key_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def objects(s3: Any) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket="pictures").get("Contents", ())
    return {one["Key"]: s3.get_object(Bucket="pictures", Key=one["Key"])["Body"].read() for one in listed}


# --- what a bucket does -----------------------------------------------------------------------------


def test_what_is_put_in_comes_out_by_its_hash(bucket: storage.Bucket, s3: Any) -> None:
    key = bucket.put(b"a picture")
    assert key == key_of(b"a picture")
    assert bucket.get(key) == b"a picture"
    assert objects(s3) == {f"miles/thumbnails/{key}": b"a picture"}


def test_two_writers_of_the_same_bytes_leave_one_whole_object(bucket: storage.Bucket, s3: Any) -> None:
    data = os.urandom(300_000)
    with ThreadPoolExecutor(2) as pool:  # of more than two at one name moto itself answers some with 500
        assert set(pool.map(lambda _: bucket.put(data), range(16))) == {key_of(data)}
    assert list(objects(s3).values()) == [data]


def test_a_missing_key_is_none_and_deleting_it_is_fine(bucket: storage.Bucket) -> None:
    key = key_of(b"never")
    bucket.delete(key)
    assert bucket.get(key) is None
    assert bucket.open(key) is None


def test_a_damaged_object_counts_as_missing_and_is_mended_by_keeping_it_again(bucket: storage.Bucket, s3: Any) -> None:
    key = bucket.put(b"a picture")
    s3.put_object(Bucket="pictures", Key=f"miles/thumbnails/{key}", Body=b"a pictuRe")
    assert bucket.get(key) is None
    assert bucket.open(key) is None
    bucket.put(b"a picture")
    assert bucket.get(key) == b"a picture"


def test_a_long_stream_goes_up_in_parts_and_comes_down_as_a_file_to_seek_in(
    bucket: storage.Bucket, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PART", 5 * 1024 * 1024)  # S3's least
    data = os.urandom(12 * 1024 * 1024 + 17)
    key = bucket.put_stream(io.BytesIO(data))
    assert key == key_of(data)
    assert s3.head_object(Bucket="pictures", Key=f"miles/thumbnails/{key}")["ETag"].strip('"').endswith("-3")
    stored = bucket.open(key)
    assert stored is not None
    with stored:
        stored.seek(-17, io.SEEK_END)
        assert stored.read() == data[-17:]


def test_a_stream_that_is_there_already_is_not_sent_again(bucket: storage.Bucket, s3: Any) -> None:
    key = bucket.put_stream(io.BytesIO(b"a clip"))
    before = s3.head_object(Bucket="pictures", Key=f"miles/thumbnails/{key}")["ETag"]
    s3.put_object(Bucket="pictures", Key=f"miles/thumbnails/{key}", Body=b"a cliP")  # same size, told by its tag
    bucket.put_stream(io.BytesIO(b"a clip"))
    assert s3.head_object(Bucket="pictures", Key=f"miles/thumbnails/{key}")["ETag"] != before


def test_what_is_too_large_for_a_picture_is_not_taken_into_memory(
    bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGEST_WHOLE", 1000)
    assert bucket.get(bucket.put(bytes(1001))) is None


def test_the_listing_names_our_objects_and_no_others(bucket: storage.Bucket, s3: Any) -> None:
    kept = {bucket.put(bytes([number])) for number in range(25)}
    s3.put_object(Bucket="pictures", Key="miles/thumbnails/readme.txt", Body=b"not ours")
    s3.put_object(Bucket="pictures", Key=f"miles/other/{key_of(b'x')}", Body=b"x")
    assert {(one.key, one.bytes) for one in bucket.listed()} == {(key, 1) for key in kept}


def test_a_check_leaves_nothing_behind(bucket: storage.Bucket, s3: Any) -> None:
    bucket.check()
    assert objects(s3) == {}


@pytest.mark.parametrize("key", ["", "../../x", "A" * 64, "0" * 63])
def test_nothing_but_a_hash_can_be_named(bucket: storage.Bucket, key: str) -> None:
    for ask in (bucket.get, bucket.open, bucket.delete, bucket.peek):
        with pytest.raises(ValueError, match="not a SHA-256"):
            ask(key)


# --- when it fails ----------------------------------------------------------------------------------


def said(call: Any) -> str:
    with pytest.raises(StorageUnavailable) as caught:
        call()
    message = str(caught.value)
    assert "the-secret" not in message
    assert "\n" not in message
    return message


def test_a_bucket_that_does_not_exist_is_one_sentence_whatever_is_asked(server: str) -> None:
    bucket = storage.Bucket(address(server), "thumbnails")
    for ask in (
        bucket.check,
        lambda: bucket.put(b"x"),
        lambda: bucket.get(key_of(b"x")),
        lambda: bucket.open(key_of(b"x")),
        lambda: list(bucket.listed()),
        lambda: bucket.put_stream(io.BytesIO(b"x")),
    ):
        assert said(ask).startswith("There is no bucket pictures. Create it, or correct MILES_STORAGE_URL")


def test_a_wrong_key_is_one_sentence(bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put(b"x")
    # from here on the server asks who is there, as Amazon's does, and knows nobody
    with monkeypatch.context() as patch:
        patch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        patch.setattr(ActionAuthenticatorMixin, "request_count", 0)
        for ask in (bucket.check, lambda: bucket.put(b"x"), lambda: bucket.get(key_of(b"x"))):
            assert "refuses the keys (InvalidAccessKeyId). Check AWS_ACCESS_KEY_ID" in said(ask)


def test_no_key_at_all_is_one_sentence(bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "Set AWS_ACCESS_KEY_ID" in said(bucket.check)


def test_a_server_that_is_not_there_is_one_sentence_within_seconds() -> None:
    bucket = storage.Bucket(address("http://127.0.0.1:9"), "thumbnails")
    begun = time.monotonic()
    assert "does not answer (EndpointConnectionError)" in said(lambda: bucket.get(key_of(b"x")))
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>Bad gateway</html>", status=502),
        Answer(b"no XML at all", status=500),
        Answer(b"x" * 10, length=1000),  # cut off in the middle
    ],
)
def test_a_server_that_answers_nonsense_is_one_sentence(answer: Answer) -> None:
    site = Site()
    key = key_of(b"x")
    site.pages[f"/pictures/miles/thumbnails/{key}"] = answer
    try:
        said(lambda: storage.Bucket(address(site.address), "thumbnails").get(key))
    finally:
        site.close()


def test_a_server_that_stops_in_the_middle_is_one_sentence_and_what_was_seen_is_still_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with buckets.server() as place:
        buckets.make(place)
        bucket = storage.Bucket(address(place), "thumbnails")
        nearby = storage.Nearby(bucket, storage.Folder(tmp_path), 10_000_000)
        seen, unseen = nearby.put(b"seen"), bucket.put(b"unseen")
    assert nearby.get(seen) == b"seen"
    assert "does not answer" in said(lambda: nearby.get(unseen))
    asked: list[object] = []
    monkeypatch.setattr(bucket, "get", asked.append)
    monkeypatch.setattr(bucket, "put", asked.append)
    for _ in range(20):
        said(lambda: nearby.get(unseen))
        said(lambda: nearby.put(b"another"))
    assert asked == []  # it is left alone meanwhile


def test_without_the_package_one_sentence_says_what_to_install(
    bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] in ("boto3", "botocore")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert said(bucket.check).endswith("pip install -c constraints.txt boto3")


def test_a_full_disk_at_the_copies_costs_nothing_but_the_copy(
    nearby: storage.Nearby, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    key = nearby.put(b"a picture")
    assert nearby.get(key) == b"a picture"
    assert nearby.peek(key) is None


# --- copies at hand ---------------------------------------------------------------------------------


def test_what_was_fetched_once_is_at_hand_and_asks_nobody(nearby: storage.Nearby, s3: Any) -> None:
    key = nearby.bucket.put(b"a picture")
    assert nearby.peek(key) is None
    assert nearby.get(key) == b"a picture"
    s3.delete_object(Bucket="pictures", Key=f"miles/thumbnails/{key}")
    assert nearby.peek(key) == nearby.get(key) == b"a picture"
    nearby.delete(key)
    assert nearby.peek(key) is None


def test_a_damaged_copy_is_fetched_again(nearby: storage.Nearby) -> None:
    key = nearby.put(b"a picture")
    (nearby.copies.root / key[:2] / key).write_bytes(b"a pictuRe")
    assert nearby.get(key) == b"a picture"
    assert nearby.peek(key) == b"a picture"


def test_copies_stay_within_their_bound_and_the_least_used_go_first(bucket: storage.Bucket, tmp_path: Path) -> None:
    nearby = storage.Nearby(bucket, storage.Folder(tmp_path / "copies"), 100_000)
    loved = nearby.put(b"loved" * 100)
    for number in range(40):
        nearby.put(bytes([number]) * 5000)
        assert nearby.peek(loved) is not None
        past = time.time() - 1000 + number  # written in this order, long ago
        for path in nearby.copies.root.glob("??/*"):
            if path.name != loved and path.stat().st_mtime > time.time() - 100:
                os.utime(path, (past, past))
    sizes = [path.stat().st_size for path in nearby.copies.root.glob("??/*")]
    assert 50_000 < sum(sizes) <= 110_000
    assert len(list(bucket.listed())) == 41


def test_a_page_of_pictures_is_fetched_side_by_side(nearby: storage.Nearby, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [nearby.bucket.put(bytes([number]) * 100) for number in range(24)]
    asked: list[str] = []
    met = threading.Barrier(storage.AT_ONCE)  # passed where so many are at it side by side
    original = nearby.bucket.get

    def get(key: str) -> bytes | None:
        asked.append(key)
        if len(asked) <= storage.AT_ONCE:
            met.wait(60)
        return original(key)

    monkeypatch.setattr(nearby.bucket, "get", get)
    nearby.warm(kept, 120)
    assert all(nearby.peek(key) for key in kept)
    assert not met.broken
    nearby.warm(kept, 120)
    assert len(asked) == 24  # nothing is asked for twice


def test_a_page_does_not_wait_for_a_server_that_hangs_and_gets_its_pictures_later(
    nearby: storage.Nearby, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [nearby.bucket.put(bytes([number])) for number in range(20)]
    go_on = threading.Event()
    original = nearby.bucket.get

    def hanging(key: str) -> bytes | None:
        go_on.wait(120)
        return original(key)

    monkeypatch.setattr(nearby.bucket, "get", hanging)
    begun = time.monotonic()
    nearby.warm(kept, 1.0)
    for key in kept:
        nearby.warm([key], 1.0)
        assert nearby.peek(key) is None
    assert time.monotonic() - begun < 10  # once for all of them, not each for its own
    go_on.set()
    eventually(lambda: all(nearby.peek(key) for key in kept[: storage.AT_ONCE]), what="what was asked for")


def test_a_missing_object_is_asked_for_once_a_minute(nearby: storage.Nearby, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = nearby.bucket.get
    monkeypatch.setattr(nearby.bucket, "get", lambda key: (asked.append(key), original(key))[1])
    key = key_of(b"a picture")
    for _ in range(5):
        assert nearby.get(key) is None
        nearby.warm([key], 5)
    assert asked == [key]
    nearby.put(b"a picture")  # and is there as soon as somebody here has kept it
    assert nearby.get(key) == b"a picture"


# --- the setting ------------------------------------------------------------------------------------


def chosen(monkeypatch: pytest.MonkeyPatch, url: str) -> settings.Settings:
    monkeypatch.setenv("MILES_STORAGE_URL", url)
    settings.load.cache_clear()
    return settings.load()


def test_the_setting_leads_to_the_bucket(server: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen(monkeypatch, ADDRESS.format(server))
    kept = storage.thumbnails()
    key = kept.put(b"a picture")
    assert objects(s3) == {f"miles/thumbnails/{key}": b"a picture"}
    assert kept.place == f"s3://pictures/miles/thumbnails at {server}"
    assert storage.thumbnails() is kept  # one for all threads: it remembers who does not answer
    assert (settings.load().home / "cache" / "thumbnails" / key[:2] / key).exists()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://pictures", settings.BucketAddress("pictures", "", None, None)),
        ("s3://pictures/", settings.BucketAddress("pictures", "", None, None)),
        ("s3://pictures/a/b/", settings.BucketAddress("pictures", "a/b", None, None)),
        (
            "s3://p-1.x/m?endpoint_url=https://abc.r2.cloudflarestorage.com&region=auto",
            settings.BucketAddress("p-1.x", "m", "https://abc.r2.cloudflarestorage.com", "auto"),
        ),
        (
            "s3://p_1?region=eu-west-1&endpoint_url=https%3A%2F%2Fabc.storage.supabase.co%2Fstorage%2Fv1%2Fs3",
            settings.BucketAddress("p_1", "", "https://abc.storage.supabase.co/storage/v1/s3", "eu-west-1"),
        ),
    ],
)
def test_an_address_is_taken_apart(monkeypatch: pytest.MonkeyPatch, url: str, address: settings.BucketAddress) -> None:
    assert chosen(monkeypatch, url).bucket == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("pictures", "names no bucket"),
        ("https://pictures", "names no bucket"),
        ("s3://", "names no bucket"),
        ("s3:///pictures", "names no bucket"),
        ("s3://p", "names no bucket"),
        ("s3://pictures#x", "names no bucket"),
        ("s3://AKIA:the-secret@pictures", "keys don't belong into the address"),
        ("s3://pictures?endpoint_url=ftp://x", "endpoint_url is not a web address"),
        ("s3://pictures?endpoint_url=https://me:the-secret@x", "endpoint_url is not a web address"),
        ("s3://pictures?endpoint=https://x", "endpoint_url and region, not endpoint"),
        ("s3://pictures/a//b", "single slashes"),
        ("s3://pictures/a b", "its prefix may hold"),
    ],
)
def test_an_address_that_makes_no_sense_is_one_sentence(monkeypatch: pytest.MonkeyPatch, url: str, why: str) -> None:
    with pytest.raises(MilesError) as caught:
        chosen(monkeypatch, url)
    assert "MILES_STORAGE_URL" in str(caught.value)
    assert why in str(caught.value)
    assert "the-secret" not in str(caught.value)


def test_days_of_detail_are_enough_for_forecasts_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_DETAIL_DAYS", "13")
    settings.load.cache_clear()
    with pytest.raises(MilesError, match="at least 14, or 0 for all"):
        settings.load()
