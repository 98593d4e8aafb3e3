"""Collections whose pictures go into a bucket: there, missing, damaged, and with its server gone in the middle."""

import hashlib
from collections.abc import Iterator
from typing import Any

import buckets
import pytest
from loopback import Site, picture
from sqlalchemy import text
from tables import rows

from miles import collecting, db, settings, storage, thumbnails

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    buckets.keys(monkeypatch)
    with buckets.server() as address:
        client = buckets.make(address)
        buckets.use(monkeypatch, address)
        yield client


def listed(s3: Any) -> dict[str, int]:
    found = s3.list_objects_v2(Bucket=buckets.NAME).get("Contents", ())
    return {one["Key"].removeprefix("thumbnails/"): one["Size"] for one in found}


def names(*videos: str) -> dict[str, str]:
    """The names of the pictures that the site draws for its videos, by video."""
    return {name: hashlib.sha256(picture(seed=sum(name.encode()))).hexdigest() for name in videos}


def test_a_collection_puts_its_pictures_into_the_bucket_and_the_clean_up_mends_it(site: Site, s3: Any) -> None:
    videos = [f"v{number}" for number in range(6)]
    for number, name in enumerate(videos):
        site.video(name, views=100 + number)
    report = collecting.collect(site.feed(videos), kind="url")
    assert (report.state, report.new) == ("done", 6)
    keys = names(*videos)
    assert set(listed(s3)) == set(keys.values())
    assert rows("SELECT DISTINCT state FROM thumbnails") == [("stored",)]

    s3.delete_object(Bucket=buckets.NAME, Key=f"thumbnails/{keys['v1']}")
    s3.put_object(Bucket=buckets.NAME, Key=f"thumbnails/{keys['v2']}", Body=b"cut")
    size = listed(s3)[keys["v3"]]
    s3.put_object(Bucket=buckets.NAME, Key=f"thumbnails/{keys['v3']}", Body=b"?" * size)
    asked = len(site.requests)
    found = thumbnails.repair(verify=True)
    assert (found.missing, found.restored, found.lost) == (3, 3, 0)
    assert sorted(site.requests[asked:]) == ["/thumbnail/v1.png", "/thumbnail/v2.png", "/thumbnail/v3.png"]
    assert thumbnails.repair(verify=True).missing == 0

    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM candidates WHERE title = 'Video v4'"))
    assert thumbnails.clean() == 1
    assert set(listed(s3)) == set(keys.values()) - {keys["v4"]}


def test_a_bucket_that_goes_in_the_middle_costs_no_video_and_its_pictures_come_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets.keys(monkeypatch)
    videos = [f"v{number}" for number in range(12)]
    for number, name in enumerate(videos):
        site.video(name, views=100 + number)
    put = storage.Bucket.put
    with buckets.server() as address:
        buckets.make(address)
        buckets.use(monkeypatch, address)
        stored: list[bytes] = []

        def until_it_goes(self: storage.Bucket, data: bytes) -> str:
            stored.append(data)
            if len(stored) > 5:  # what is asked now finds nobody
                self.__dict__["_quick"] = storage.Bucket(
                    settings.BucketAddress(buckets.NAME, "", "http://127.0.0.1:9", "us-east-1"), "thumbnails"
                )._quick
            return put(self, data)

        monkeypatch.setattr(storage.Bucket, "put", until_it_goes)
        report = collecting.collect(site.feed(videos), kind="url")
        assert (report.state, report.new, report.failed) == ("done", 12, 0)
        assert rows("SELECT state, error_kind, count(*) FROM thumbnails GROUP BY 1, 2 ORDER BY 3") == [
            ("stored", None, 5),
            ("failed", "storage", 7),
        ]
        assert len(stored) == 6  # after the first failure nobody was asked again
        assert rows("SELECT * FROM object_pins") == []

        monkeypatch.setattr(storage.Bucket, "put", put)
        buckets.use(monkeypatch, address)  # it is back
        found = thumbnails.repair()
        assert (found.missing, found.retried, found.fetched, found.left) == (0, 7, 7, 0)
        assert rows("SELECT DISTINCT state FROM thumbnails") == [("stored",)]
        assert {one.key for one in storage.thumbnails().listed()} == set(names(*videos).values())


def test_pictures_that_another_machine_has_are_left_alone_unless_they_are_wanted_here(site: Site) -> None:
    videos = ["v" * (number + 1) for number in range(30)]  # each with another picture
    for number, name in enumerate(videos):
        site.video(name, views=100 + number)
    assert collecting.collect(site.feed(videos), kind="url", item_limit=30).new == 30
    for key in names(*videos[:25]).values():  # as a worker sees it that has a folder of its own
        storage.thumbnails().delete(key)
    asked = len(site.requests)
    found = thumbnails.repair()
    assert (found.missing, found.elsewhere, found.restored, found.lost, found.left) == (25, 25, 0, 0, 0)
    assert len(site.requests) == asked
    assert rows("SELECT DISTINCT state FROM thumbnails") == [("stored",)]
    found = thumbnails.repair(everything=True)
    assert (found.missing, found.elsewhere, found.restored) == (25, 0, 25)
