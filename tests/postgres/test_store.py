"""The merge: whatever way the same observations arrive, the same rows come of them."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tables import records

from miles import db, store
from miles.candidates import Candidate, Channel, Observation, Snapshot

START = datetime(2026, 1, 31, 22, tzinfo=UTC)  # two hours before a month ends: moments lie in two partitions
MOMENTS = [START + timedelta(hours=hour, microseconds=hour) for hour in range(5)]

WORDS = st.sampled_from(["a", "B", "ä", "z z", "Zebra", "no, 1", "日本", "a\tb"])
COUNTS = st.none() | st.integers(0, 3) | st.just(2**40)
CHANNELS = st.none() | st.builds(
    Channel,
    platform=st.just("youtube"),
    channel_id=st.sampled_from(["UC1", "UC2"]),
    name=st.none() | WORDS,
    url=st.none() | WORDS,
    followers=COUNTS,
)
CANDIDATES = st.builds(
    Candidate,
    platform=st.just("youtube"),
    video_id=st.sampled_from(["v1", "v2", "v3"]),
    title=WORDS,
    url=st.none() | WORDS,
    description=st.none() | WORDS,
    channel=CHANNELS,
    category=st.none() | WORDS,
    duration=st.none() | st.sampled_from([0.0, 12.5, 61.0]),
    language=st.none() | st.sampled_from(["en", "pt-br"]),
    media_type=st.none() | st.sampled_from(["video", "short", "live"]),
    published_at=st.none() | st.sampled_from(MOMENTS),
    published_about=st.none() | st.sampled_from(MOMENTS),
    tags=st.none() | st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    thumbnail_url=st.none() | WORDS,
)
OBSERVATIONS = st.builds(
    Observation,
    CANDIDATES,
    st.builds(
        Snapshot,
        observed_at=st.sampled_from(MOMENTS),
        views=COUNTS,
        likes=COUNTS,
        comments=COUNTS,
        country=st.none() | st.sampled_from(["DE", "US"]),
        exact=st.booleans(),
    ),
    tier=st.sampled_from(["flat", "full"]),
    source=st.sampled_from(["one.csv", "Two.csv"]),
)
# (observation, sample): what is stored by one call has one flag
ROWS = st.lists(st.tuples(OBSERVATIONS, st.booleans()), min_size=1, max_size=12)

Row = tuple[Observation, bool]


@pytest.fixture(params=["in bulk", "row by row"], autouse=True)
def way_of_new_months(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that holds for a merge holds for both ways to fill a month's new partition."""
    if request.param == "in bulk":
        monkeypatch.setattr(store, "BULK_ROWS", 1)


def observation(video_id: str = "v1", at: datetime = START, views: int | None = 1, **facts: Any) -> Observation:
    tier, source = facts.pop("tier", "full"), facts.pop("source", "test")
    facts = {"title": "A title", **facts}
    return Observation(Candidate("youtube", video_id, **facts), Snapshot(at, views=views), tier, source)


def write(*rows: Observation, sample: bool = False) -> store.Changes:
    with db.transaction("worker") as connection:
        return store.observe(connection, rows, sample=sample)


def tables() -> dict[str, list[dict[str, Any]]]:
    """All that the merge writes, but when it wrote it."""
    return {
        "channels": records("SELECT * FROM channels ORDER BY channel_key"),
        "candidates": [
            {name: value for name, value in row.items() if name != "changed_at"}
            for row in records("SELECT * FROM candidates ORDER BY candidate_id")
        ],
        "snapshots": records("SELECT * FROM snapshots ORDER BY candidate_id, observed_at"),
    }


def empty() -> None:
    with db.transaction("owner") as connection:
        connection.execute(text("DELETE FROM candidates"))  # cheaper than TRUNCATE for a few rows
        connection.execute(text("DELETE FROM channels"))
        connection.execute(text("DROP TABLE IF EXISTS snapshots_2026_01, snapshots_2026_02"))


def arrive(parts: Sequence[Sequence[Row]]) -> None:
    for part in parts:
        for flag in (False, True):
            if rows := [row for row, sample in part if sample is flag]:
                write(*rows, sample=flag)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[list[Row]], list[list[Row]]]:
    """The same rows in two ways: at once, and in another order, some repeated, split anywhere."""
    rows = draw(ROWS)
    repeated = rows + draw(st.lists(st.sampled_from(rows), max_size=4))
    shuffled = draw(st.permutations(repeated))
    cuts = sorted(draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    parts = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    return [rows], parts


@settings(max_examples=60)
@given(ways=arrivals())
def test_any_order_repetition_and_splitting_of_the_same_observations_gives_the_same_rows(
    database: str, ways: tuple[list[list[Row]], list[list[Row]]]
) -> None:
    whole, parts = ways
    empty()
    arrive(whole)
    expected = tables()
    empty()
    arrive(parts)
    assert tables() == expected
    assert {row["video_id"] for row in expected["candidates"]} == {row.candidate.video_id for row, _ in whole[0]}


@settings(max_examples=40)
@given(rows=st.lists(OBSERVATIONS, min_size=1, max_size=8))
def test_each_fact_is_the_latest_known_one_and_none_is_lost(database: str, rows: list[Observation]) -> None:
    """Against the rule written out in Python, where the tables are checked against themselves above."""
    empty()
    for row in rows:
        write(row)
    for stored in records("SELECT * FROM candidates"):
        mine = [row for row in rows if row.candidate.key == stored["candidate_id"]]
        for fact in ("title", "description", "category", "duration", "language", "media_type", "thumbnail_url"):
            known = [
                (row.snapshot.observed_at, value) for row in mine if (value := getattr(row.candidate, fact)) is not None
            ]
            latest = [value for moment, value in known if moment == max(known)[0]]
            assert stored[fact] in latest if latest else stored[fact] is None
        for count in store.COUNTS:
            known = [
                (row.snapshot.observed_at, value) for row in mine if (value := getattr(row.snapshot, count)) is not None
            ]
            assert stored[count] == (max(known)[1] if known else None)
        assert stored["first_seen_at"] == min(row.snapshot.observed_at for row in mine)
        assert stored["last_seen_at"] == max(row.snapshot.observed_at for row in mine)
        assert stored["tier"] == max(row.tier for row in mine)
    moments = {(row.candidate.key, row.snapshot.observed_at) for row in rows}
    assert {(row["candidate_id"], row["observed_at"]) for row in records("SELECT * FROM snapshots")} == moments


@pytest.mark.parametrize("hours", [1, -1, 0], ids=["later", "earlier", "at the same moment"])
def test_a_missing_field_never_overwrites_a_known_one(database: str, hours: int) -> None:
    channel = Channel("youtube", "UC1", name="A channel", url="https://example.org", followers=7)
    write(observation(description="long", tags=("a", "b"), duration=0.0, language="en", channel=channel))
    before = tables()
    write(
        observation(at=START + timedelta(hours=hours), views=None, channel=Channel("youtube", "UC1"), tier="flat"),
        observation(at=START + timedelta(hours=hours), views=None, tier="flat"),
    )
    after = tables()
    for table in ("channels", "candidates"):
        lost = {"first_seen_at", "last_seen_at", "seen_at"}
        for old, new in zip(before[table], after[table], strict=True):
            assert {k: v for k, v in old.items() if k not in lost} == {k: v for k, v in new.items() if k not in lost}
    assert before["snapshots"][0] in after["snapshots"]


def test_a_snapshot_is_never_overwritten_only_completed(database: str) -> None:
    write(observation(views=10))
    write(observation(views=None))
    write(observation(views=7))
    assert [row["views"] for row in records("SELECT views FROM snapshots")] == [10]
    changes = write(
        Observation(Candidate("youtube", "v1", "A title"), Snapshot(START, views=10, likes=3), source="test")
    )
    assert [(row["views"], row["likes"]) for row in records("SELECT views, likes FROM snapshots")] == [(10, 3)]
    assert (changes.updated, changes.snapshots) == (("youtube:v1",), 1)


@pytest.mark.parametrize("sample_first", [True, False])
def test_a_sample_row_never_marks_a_real_one_as_sample(database: str, sample_first: bool) -> None:
    channel = Channel("youtube", "UC1", name="A channel")
    for sample in (sample_first, not sample_first):
        write(observation(channel=channel), sample=sample)
    assert records("SELECT sample FROM candidates UNION ALL SELECT sample FROM channels") == [{"sample": False}] * 2


def test_only_what_is_sample_is_marked_so(database: str) -> None:
    write(observation("v1"), sample=True)
    write(observation("v2"))
    assert records("SELECT video_id FROM candidates WHERE sample") == [{"video_id": "v1"}]


def test_changes_tell_what_is_new_updated_and_unchanged(database: str) -> None:
    first = write(observation("v1"), observation("v2"), observation("v1"))
    assert (first.new, first.updated, first.unchanged, first.snapshots) == (("youtube:v1", "youtube:v2"), (), 0, 2)
    second = write(observation("v1"), observation("v2", title="Another title"), observation("v3"))
    # at the same moment the greater title stands: "Another title" > "A title"
    assert (second.new, second.updated, second.unchanged) == (("youtube:v3",), ("youtube:v2",), 1)
    third = write(observation("v1"), observation("v2"), observation("v3"))
    assert (third.new, third.updated, third.unchanged, third.snapshots) == ((), (), 3, 0)
    assert write() == store.Changes((), (), 0, 0)


@pytest.mark.parametrize(
    ("row", "moves"),
    [
        (observation(), False),  # the same again
        (observation(views=None), False),  # less than is known
        (observation(title="A"), False),  # another title of the same moment, and the lesser
        (observation(title="B title"), True),
        (observation(views=2), True),
        (observation(tier="flat"), False),
        (observation(at=START + timedelta(hours=1)), True),
        (observation(at=START - timedelta(hours=1), views=0), True),  # an older snapshot gives a velocity
    ],
)
def test_changed_at_moves_exactly_when_something_changed(database: str, row: Observation, moves: bool) -> None:
    write(observation("v1"), observation("v2"))
    before = {r["video_id"]: r["changed_at"] for r in records("SELECT video_id, changed_at FROM candidates")}
    changes = write(row)
    after = {r["video_id"]: r["changed_at"] for r in records("SELECT video_id, changed_at FROM candidates")}
    assert (after["v1"] > before["v1"]) is moves
    assert (changes.updated == ("youtube:v1",)) is moves
    assert after["v2"] == before["v2"]


def test_an_older_snapshot_that_changes_no_fact_moves_changed_at_too(database: str) -> None:
    write(observation(at=START, views=1), observation(at=START + timedelta(hours=2), views=9))
    before = records("SELECT changed_at FROM candidates")
    changes = write(observation(at=START + timedelta(hours=1), views=5))
    assert (changes.updated, changes.snapshots) == (("youtube:v1",), 1)
    assert records("SELECT changed_at FROM candidates") != before


def test_one_bad_row_leaves_nothing_behind(database: str) -> None:
    rows = [observation("v1"), observation("v2", views=-1)]
    with pytest.raises(Exception, match="tally"), db.transaction("worker") as connection:
        store.observe(connection, rows)
    assert tables() == {"channels": [], "candidates": [], "snapshots": []}


def test_a_snapshot_of_no_candidate_is_refused(database: str) -> None:
    def merge_a_lone_snapshot() -> None:
        with db.transaction("worker") as connection:
            store.stage(connection)
            cursor = db.psycopg_connection(connection).cursor()
            with store.copy(cursor, "staged_snapshots", store.STAGED_SNAPSHOTS) as copy:
                copy.write_row(("youtube:v1", START, 1, None, None, None, True, "full", "test"))
            store.merge(connection)

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        merge_a_lone_snapshot()
    assert tables() == {"channels": [], "candidates": [], "snapshots": []}


def test_two_connections_that_merge_the_same_rows_lose_nothing_and_do_not_lock_each_other_out(database: str) -> None:
    def rows(way: int) -> list[Observation]:
        numbers = range(300) if way else range(299, -1, -1)
        return [
            observation(
                f"v{number}",
                at=START + timedelta(hours=number % 3),
                views=number,
                description=f"of {way}" if number % 2 == way else None,
                channel=Channel("youtube", f"UC{number % 20}", followers=number if way else None),
            )
            for number in numbers
        ]

    errors: list[BaseException] = []
    started = threading.Barrier(2)

    def merge(way: int) -> None:
        try:
            for _ in range(3):
                with db.transaction("worker") as connection:
                    started.wait(30)
                    store.observe(connection, rows(way))
        except BaseException as error:
            started.abort()
            errors.append(error)

    threads = [threading.Thread(target=merge, args=(way,)) for way in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []
    together = tables()
    empty()
    write(*rows(0))
    write(*rows(1))
    assert together == tables()
    assert len(together["candidates"]) == len(together["snapshots"]) == 300
    assert all(row["description"] for row in together["candidates"])


def test_snapshots_land_in_the_partition_of_their_month(database: str) -> None:
    write(*(observation(at=moment) for moment in MOMENTS))
    found = records("SELECT tableoid::regclass::text AS part, count(*) AS n FROM snapshots GROUP BY 1 ORDER BY 1")
    assert found == [{"part": "snapshots_2026_01", "n": 2}, {"part": "snapshots_2026_02", "n": 3}]


def test_a_month_comes_in_bulk_only_if_it_is_new_and_large(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[str] = []
    fill = store._fill

    def watched(partition: str) -> str:
        filled.append(partition)
        return fill(partition)

    monkeypatch.setattr(store, "_fill", watched)
    monkeypatch.setattr(store, "BULK_ROWS", 3)  # MOMENTS: two lie in January, three in February
    changes = write(*(observation(at=moment) for moment in MOMENTS), observation("v2"))
    assert filled == ["snapshots_2026_01", "snapshots_2026_02"]
    assert (changes.new, changes.snapshots) == (("youtube:v1", "youtube:v2"), 6)
    filled.clear()
    changes = write(
        *(observation(f"v{number}", at=MOMENTS[-1]) for number in range(4)),
        observation(at=START - timedelta(days=31), views=0),
    )
    assert filled == []
    assert (changes.new, changes.updated) == (("youtube:v0", "youtube:v3"), ("youtube:v1", "youtube:v2"))
    assert changes.snapshots == 4  # v1 had its last moment already


def test_a_partition_is_like_one_that_postgres_makes(database: str) -> None:
    """Whichever way it was filled: same columns, key, reference, checks, triggers and rights."""
    write(*(observation(at=moment) for moment in MOMENTS))
    with db.transaction("owner") as connection:
        connection.execute(
            text(
                "CREATE TABLE snapshots_2025_01 PARTITION OF snapshots FOR VALUES FROM ('2025-01-01Z') TO ('2025-02-01Z')"
            )
        )

    def looks(partition: str) -> list[str]:
        found = records(f"""
            SELECT 'constraint ' || json_build_array(conname, contype, pg_get_constraintdef(oid), convalidated,
                conislocal, coninhcount, connoinherit, condeferrable, conparentid) AS it
            FROM pg_constraint WHERE conrelid = '{partition}'::regclass
          UNION ALL
            SELECT 'index ' || json_build_array(pg_get_indexdef(indexrelid), indisprimary, indisvalid, indisready,
                (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = indexrelid))
            FROM pg_index WHERE indrelid = '{partition}'::regclass
          UNION ALL
            SELECT 'trigger ' || json_build_array(tgfoid::regproc, tgtype, tgenabled, tgparentid, tgconstrrelid::regclass)
            FROM pg_trigger WHERE tgrelid = '{partition}'::regclass
          UNION ALL
            SELECT 'column ' || json_build_array(attname, attnum, atttypid::regtype, attnotnull, attislocal,
                attinhcount, attcollation::regcollation, attidentity, attacl,
                (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum))
            FROM pg_attribute WHERE attrelid = '{partition}'::regclass
          UNION ALL
            SELECT 'table ' || json_build_array(relkind, relpersistence, relispartition, relowner::regrole, relam,
                reloptions, relrowsecurity, relreplident, relchecks, relhastriggers,
                coalesce(relacl, acldefault('r', relowner))::text,
                (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = pg_class.oid))
            FROM pg_class WHERE oid = '{partition}'::regclass
        """)
        return sorted(row["it"].replace(partition, "PARTITION") for row in found)

    expected = looks("snapshots_2025_01")
    assert looks("snapshots_2026_01") == expected
    assert looks("snapshots_2026_02") == expected
    assert {line.split()[0] for line in expected} == {"constraint", "index", "trigger", "column", "table"}


def test_a_snapshot_goes_with_its_candidate(database: str) -> None:
    write(*(observation(at=moment) for moment in MOMENTS), observation("v2"))
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM candidates WHERE video_id = 'v1'"))
    assert records("SELECT candidate_id FROM snapshots") == [{"candidate_id": "youtube:v2"}]
