"""Removal on request: nothing is left, and nothing of it comes in again by any way."""

import csv
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loopback import FreePace, Site, eventually
from sqlalchemy import text
from tables import put, rows

from miles import (
    collecting,
    db,
    drafts,
    importing,
    items,
    kept,
    removal,
    rollups,
    storage,
    thumbnails,
    tombstones,
    watchlist,
)
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.concepts import Concept, Known, Recommendation, Request, Usage
from miles.errors import MilesError, SourceError
from miles.grounding import Backing, Evidence
from miles.scrape import Found
from miles.store import observe

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GONE = "UC" + "g" * 22  # the channel that is removed
OTHER = "UC" + "o" * 22


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


def video(channel: str, number: int, days: float = 1, **facts) -> Observation:
    name = f"{channel[2]}{number:010}"
    candidate = Candidate(
        "youtube",
        name,
        f"Title of {name}",
        url=f"https://www.youtube.com/watch?v={name}",
        channel=Channel("youtube", channel, f"Channel {channel[2]}", f"https://www.youtube.com/@Channel.{channel[2]}"),
        published_at=NOW - timedelta(days=9),
        media_type="short",
        **facts,
    )
    return Observation(candidate, Snapshot(NOW - timedelta(days=9 - days), 100 * number + int(days)))


def remove(what: str, reason: str | None = None) -> removal.Deleted:
    with db.transaction("viewer") as connection:
        found = removal.find(connection, what)
    return removal.remove(found, "ada", reason)


@pytest.fixture
def two_channels() -> dict[str, str]:
    """Two channels of eight videos with all that hangs on them; returns the keys of pictures by candidate id."""
    put([video(channel, number, days) for channel in (GONE, OTHER) for number in range(8) for days in (1, 3)])
    pictures = {}
    for number, (candidate_id,) in enumerate(rows("SELECT candidate_id FROM candidates ORDER BY 1")):
        stored = thumbnails.keep(b"shared" if number in (0, 8) else bytes([number]))
        pictures[candidate_id] = stored.sha256
        row = dict.fromkeys(("width", "height", "reason", "error_kind")) | {
            "candidate_id": candidate_id, "sha256": stored.sha256, "pin": stored.pin, "content_type": "image/png",
            "bytes": 1, "state": "stored",
        }  # fmt: skip
        with db.transaction("worker") as connection:
            thumbnails.write(db.psycopg_connection(connection).cursor(), [row])
    with db.transaction("owner") as connection:
        for statement in (
            "INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}')",
            "INSERT INTO scores (candidate_id, model_version, mode, viral_score, base_rate, predicted_velocity,"
            " velocity_low, velocity_high) SELECT candidate_id, 'm', 'candidate', 0.5, 0.1, 1, 0, 2 FROM candidates",
            "INSERT INTO forecasts SELECT candidate_id, 'm', 'foresight', current_date, now(), now(), 5, 'x', 0.5, 0.1, 5, 1,"
            " 0, 2 FROM candidates",
            "INSERT INTO title_embeddings SELECT candidate_id, 'e', md5(title)::uuid, '[1,0]' FROM candidates",
            "INSERT INTO title_patterns VALUES ('all', 'structure', 'x', 9, 3, 2, 1, 3, 0.01,"
            " ARRAY['youtube:o0000000001', 'youtube:g0000000001'])",
        ):
            connection.execute(text(statement))
        collection_id = collecting.ask(connection, "food", "topic")
        items.add(
            connection, collection_id,
            [Found(f"https://www.youtube.com/watch?v={c[2]}0000000001", f"youtube:{c[2]}0000000001", None) for c in (GONE, OTHER)],
            position=0, room=10,
        )  # fmt: skip
        items.count(connection, collection_id)
    with db.transaction("viewer", "eve") as connection:
        drafts.save_draft(connection, "Against them", channel_key=f"youtube:{GONE}")
        videos = {key: backing(key) for key in ("youtube:o0000000001", "youtube:g0000000001", "youtube:o0000000002")}
        concept = Concept(
            "A concept", "h", ("o",), "t", (), f"Behind it: “{videos['youtube:g0000000001'].title}”.", "r", tuple(videos),
            0.4, 0.1, None, nearest=Known("youtube:g0000000003", "Video g3 of channel g", None), novelty=0.5,
        )  # fmt: skip
        evidence = Evidence("food", "topic", tuple(videos.values()), (backing("youtube:g0000000002"),), (), ())
        kept.save(connection, Recommendation(Request("food"), (concept,), "offline", evidence, "n", Usage(), "m"))
    return pictures


def backing(key: str) -> Backing:
    return Backing(
        key, f"A title of {key}", f"https://example.org/{key}", f"Channel {key[8]}", f"youtube:{key[8]}", None, None, 1, 0.4, 2
    )  # fmt: skip


def tables() -> list[str]:
    """Every table of ours: not the queue's, and not that of the tombstones themselves."""
    return [
        name
        for (name,) in rows(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = current_schema()::regnamespace AND relname NOT LIKE 'procrastinate%'"
            " AND relname NOT IN ('removed', 'schema_migrations') ORDER BY 1"
        )
    ]


def traces(*words: str) -> list[str]:
    """Rows of any table of ours that hold one of the words."""
    found = []
    for table in tables():
        for (row,) in rows(f"SELECT CAST(t AS text) FROM {table} AS t"):
            found += [f"{table}: {row}" for word in words if word in row]
    return found


def test_of_a_channel_nothing_is_left_and_of_the_other_everything(two_channels: dict[str, str]) -> None:
    before = {table: len(rows(f"SELECT FROM {table}")) for table in tables()}
    deleted = remove("https://www.youtube.com/@channel.G", "asked by its owner")
    assert (deleted.kind, deleted.key, deleted.videos, deleted.snapshots) == ("channel", f"youtube:{GONE}", 8, 16)
    assert traces("g000000000", GONE, "Channel g") == []
    for table in (
        "candidates",
        "snapshots",
        "scores",
        "forecasts",
        "title_embeddings",
        "thumbnails",
        "collection_items",
    ):
        assert len(rows(f"SELECT FROM {table}")) == before[table] / 2
    # its pictures are gone, but for the one that a video of the other channel has, too
    assert {one.key for one in storage.thumbnails().listed()} == {
        key for candidate_id, key in two_channels.items() if candidate_id.startswith("youtube:o")
    }
    assert rows("SELECT channel_key FROM drafts") == [(None,)]
    assert rows("SELECT evidence, concept->'evidence' FROM concepts") == [
        (["youtube:o0000000001", "youtube:o0000000002"],) * 2
    ]
    assert rows("SELECT found, pending FROM collections") == [(1, 1)]
    overview = rows("SELECT data FROM rollups WHERE name = 'overview'")[0][0]
    assert (overview["candidates"], overview["channels"], overview["snapshots"]) == (8, 1, 16)


def test_of_a_video_nothing_is_left_and_its_channel_is_measured_without_it(two_channels: dict[str, str]) -> None:
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
    assert rows("SELECT outlier_n FROM candidates WHERE candidate_id = 'youtube:g0000000002'") == [(7,)]
    deleted = remove("https://youtu.be/g0000000001?t=5")
    assert (deleted.kind, deleted.videos, deleted.snapshots) == ("video", 1, 2)
    assert traces("g0000000001") == []
    assert rows("SELECT outlier_n FROM candidates WHERE candidate_id = 'youtube:g0000000002'") == [(6,)]
    assert rows("SELECT count(*) FROM candidates WHERE scored_change IS DISTINCT FROM changed_at")[0][0] >= 7
    assert len(rows("SELECT FROM candidates")) == 15
    assert storage.thumbnails().get(two_channels["youtube:g0000000001"]) is None


def test_what_was_removed_does_not_come_in_again_by_a_merge(two_channels: dict[str, str]) -> None:
    remove(GONE)
    remove("youtube:o0000000001")
    changes = put([video(channel, number, days=5) for channel in (GONE, OTHER) for number in range(3)])
    assert set(changes.removed) == {"youtube:o0000000001", *(f"youtube:g{number:010}" for number in range(3))}
    assert len(changes.updated) == 2
    assert changes.unchanged == 0
    assert traces("g000000000", GONE, "o0000000001") == []


def test_import_counts_what_it_leaves_out(tmp_path: Path, two_channels: dict[str, str]) -> None:
    remove(GONE)
    file = tmp_path / "videos.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "title", "channel_id", "view_count", "fetched_at"])
        for channel in (GONE, OTHER):
            for number in range(20, 25):
                writer.writerow([f"{channel[2]}{number:010}", "A title", channel, 5, "2026-05-30"])
    report = importing.import_files([file])
    assert (report.new, report.removed, report.updated, report.unchanged, report.rejected) == (5, 5, 0, 0, 0)
    assert traces("g000000002", GONE) == []


def test_a_listing_that_names_what_was_removed_skips_it_without_a_request(two_channels: dict[str, str]) -> None:
    remove(GONE)
    remove("youtube:o0000000003")
    listed = [video(GONE, 30), video(OTHER, 31), video(OTHER, 3)]
    with db.transaction("worker") as connection:
        collection_id = collecting.ask(connection, "food", "topic")
        pending = items.add(
            connection,
            collection_id,
            [Found(str(one.candidate.url), one.candidate.key, one) for one in listed],
            position=0,
            room=10,
        )
    assert pending == {"youtube:o0000000031"}
    became = rows(
        "SELECT candidate_id, outcome, reason FROM collection_items WHERE collection_id = :id ORDER BY 1",
        id=collection_id,
    )
    assert became == [
        ("youtube:g0000000030", "skipped", tombstones.REASON),
        ("youtube:o0000000003", "skipped", tombstones.REASON),
        ("youtube:o0000000031", "pending", None),
    ]
    assert rows("SELECT count(*) FROM candidates WHERE channel_key = :key", key=f"youtube:{GONE}") == [(0,)]


def test_a_video_whose_page_tells_that_its_channel_was_removed_goes_and_its_item_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing does not say whose it is; its own page does."""
    address = site.video("a", views=5)
    from miles import scrape

    original = scrape.Source.extract

    def of_the_channel(self: scrape.Source, found: Found) -> Observation:
        from dataclasses import replace

        observation = original(self, found)
        candidate = replace(observation.candidate, channel=Channel("youtube", GONE))
        return replace(observation, candidate=candidate)

    put([video(GONE, 1)])
    remove(GONE)
    listed = original(scrape.Source(FreePace()), Found(address, None, None))
    put([listed])  # as a listing would: without a channel
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET tier = 'flat'"))
        connection.execute(text("UPDATE snapshots SET tier = 'flat'"))
    monkeypatch.setattr(scrape.Source, "extract", of_the_channel)
    report = collecting.collect(site.feed(["a"]), kind="url")
    assert report.state == "done"
    assert [(item.outcome, item.reason) for item in report.items] == [("skipped", tombstones.REASON)]
    assert rows("SELECT * FROM candidates") == []
    assert rows("SELECT * FROM thumbnails") == []
    assert thumbnails.clean() <= 1


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("@channel.G", "channel"),
        ("https://www.youtube.com/@Channel.g/shorts", "url"),
        (GONE, "channel"),
        (f"https://m.youtube.com/channel/{GONE}/videos", "channel"),
    ],
)
def test_who_asks_for_a_removed_channel_is_told_so(two_channels: dict[str, str], target: str, kind: str) -> None:
    remove(f"youtube:{GONE}")
    with pytest.raises(SourceError, match=r"This channel was removed on request on .* remove --lift"):  # noqa: SIM117
        with db.transaction("operator") as connection:
            collecting.ask(connection, target, kind)
    with pytest.raises(SourceError, match="was removed on request"), db.transaction("operator") as connection:
        watchlist.add(connection, target, kind)
    with db.transaction("operator") as connection:
        watchlist.add(connection, "@channel.o")
        collecting.ask(connection, "@channel.o", "channel")
        collecting.ask(connection, "channel g", "topic")


def test_collections_of_it_end_and_the_watchlist_forgets_it(two_channels: dict[str, str]) -> None:
    with db.transaction("operator") as connection:
        for target in ("@Channel.G", "@channel.o"):
            collecting.ask(connection, target, "channel")
            connection.execute(
                text("INSERT INTO watchlist (target, kind, added_by) VALUES (:target, 'channel', 'ada')"),
                {"target": target},
            )
    remove(GONE)
    assert rows("SELECT target FROM watchlist") == [("@channel.o",)]
    assert rows("SELECT target, state FROM collections WHERE kind = 'channel' ORDER BY 1") == [
        (removal.FORGOTTEN, "cancelled"),
        ("@channel.o", "waiting"),
    ]


def test_something_that_was_never_here_can_be_kept_out() -> None:
    for what, kind, key in (
        ("https://www.youtube.com/shorts/abcdefghijk", "video", "youtube:abcdefghijk"),
        (f"https://www.youtube.com/channel/{GONE}", "channel", f"youtube:{GONE}"),
        ("https://www.tiktok.com/@somebody/video/7300000000000000000", "video", "tiktok:7300000000000000000"),
    ):
        deleted = remove(what)
        assert (deleted.kind, deleted.key, deleted.videos) == (kind, key, 0)
    assert put([video(GONE, 1)]).removed == ("youtube:g0000000001",)


@pytest.mark.parametrize(
    "what", ["", "street food", "@nobody.knows", "https://example.com/x", "vimeo:1", "youtube:'; --", "streetfoods"]
)
def test_what_names_nothing_is_refused_and_changes_nothing(what: str, two_channels: dict[str, str]) -> None:
    with pytest.raises(MilesError, match="no video and no channel that Miles knows"):
        remove(what)
    assert rows("SELECT * FROM removed") == []


def test_tombstones_are_listed_and_lifted(two_channels: dict[str, str]) -> None:
    remove(GONE, "  asked   by its owner ")
    remove("o0000000001")
    with db.transaction("viewer") as connection:
        listed = tombstones.listed(connection)
    assert [(one.kind, one.key, one.reason, one.removed_by) for one in listed] == [
        ("video", "youtube:o0000000001", None, "ada"),
        ("channel", f"youtube:{GONE}", "asked by its owner", "ada"),
    ]
    assert all(one.deleted_at for one in listed)
    with db.transaction("worker") as connection:
        assert tombstones.lift(connection, "@Channel.g").key == f"youtube:{GONE}"
        with pytest.raises(MilesError, match="is not among what was removed"):
            tombstones.lift(connection, "@Channel.g")
    assert put([video(GONE, 1)]).new == ("youtube:g0000000001",)
    assert put([video(OTHER, 1)]).new == ()


def test_a_removal_that_was_broken_off_is_finished(
    two_channels: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "BATCH", 3)
    original, calls = removal._delete_videos, []

    def dies(*arguments) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_delete_videos", dies)
        with pytest.raises(KeyboardInterrupt):
            remove(GONE)
    assert len(rows("SELECT FROM candidates")) == 13
    assert put([video(GONE, 0)]).removed == ("youtube:g0000000000",)  # the tombstone stands already
    (deleted,) = removal.finish()
    assert (deleted.key, deleted.videos) == (f"youtube:{GONE}", 5)
    assert removal.finish() == []
    assert traces("g000000000", GONE) == []
    assert thumbnails.clean() == 2  # pictures of the first three; one of theirs is shared


def test_what_is_being_stored_while_the_tombstone_is_written_is_deleted_with_the_rest() -> None:
    put([video(GONE, 0)])
    storing, go_on = threading.Event(), threading.Event()

    def store() -> None:
        with db.transaction("worker") as connection:
            observe(connection, [video(GONE, 1), video(OTHER, 1)])
            storing.set()
            assert go_on.wait(30)

    with ThreadPoolExecutor(2) as pool:
        stored = pool.submit(store)
        assert storing.wait(30)
        removed = pool.submit(remove, GONE)
        try:
            eventually(lambda: rows("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)], what="waiting")
            assert not removed.done()
        finally:
            go_on.set()
        stored.result(30)
        assert removed.result(60).videos == 2
    assert rows("SELECT candidate_id FROM candidates") == [("youtube:o0000000001",)]


def test_removing_beside_collections_that_store_the_same_leaves_nothing() -> None:
    stop = threading.Event()

    def keep_storing(seed: int) -> int:
        number = 0
        while not stop.is_set():
            put([video(channel, (number + seed) % 12, days=1 + number % 7) for channel in (GONE, OTHER)])
            number += 1
        return number

    with ThreadPoolExecutor(4) as pool:
        storing = [pool.submit(keep_storing, seed) for seed in (0, 4, 8)]
        try:
            eventually(lambda: rows("SELECT count(*) > 10 FROM candidates") == [(True,)], what="storing")
            remove(GONE)
        finally:
            stop.set()
        assert all(one.result(60) for one in storing)
    assert traces("youtube:g0000", GONE) == []
    assert rows("SELECT count(*) > 0 FROM candidates") == [(True,)]


@pytest.mark.parametrize(
    ("address", "keys", "addresses"),
    [
        ("https://www.youtube.com/watch?v=abcdefghijk&t=3s", ["youtube:abcdefghijk"], []),
        ("https://youtu.be/abcdefghijk?si=x", ["youtube:abcdefghijk"], []),
        ("https://m.youtube.com/shorts/abcdefghijk/", ["youtube:abcdefghijk"], []),
        ("http://YouTube.com/@Name/Shorts", [], ["youtube.com/@name/shorts"]),
        ("https://www.youtube.com/@Name/shorts", [], ["youtube.com/@name"]),
        ("https://www.youtube.com/c/Name/", [], ["youtube.com/c/Name"]),
        (f"https://www.youtube.com/channel/{GONE}/videos", [f"youtube:{GONE}"], [f"youtube.com/channel/{GONE}"]),
        ("https://www.tiktok.com/@a.b/video/7300000000000000000?x=1", ["tiktok:7300000000000000000"], []),
        ("https://www.tiktok.com/@A.b", [], ["tiktok.com/@a.b"]),
        ("https://Example.com/Watch?id=7", [], ["example.com/Watch?id=7"]),
        ("@Name", [], ["youtube.com/@name"]),
        ("abcdefghijk", ["youtube:abcdefghijk"], []),
        ("http://[", [], []),
        ("street food", [], []),
    ],
)
def test_one_thing_has_one_name_however_it_is_addressed(address: str, keys: list[str], addresses: list[str]) -> None:
    names = tombstones.names_of(address)
    assert (list(names.keys), list(names.addresses)) == (keys, addresses)
