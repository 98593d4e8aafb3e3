"""What the exploring pages read, on a small database made for the purpose."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sqlalchemy import Connection, event, text
from tables import before, put

from miles import browse, db, facts, rollups, selection, store, title_words
from miles.browse import Filters, Page, Place, Sort
from miles.candidates import Candidate, Channel, Observation, Snapshot

START = datetime(2026, 1, 10, tzinfo=UTC)
BAKER = Channel("youtube", "UCbaker", "The Slow Baker", followers=1200)
RIDER = Channel("tiktok", "rider", "rider", followers=None)


def seen(
    number: int,
    title: str,
    *,
    views: int = 1000,
    channel: Channel = BAKER,
    days: float = 1,
    language: str | None = "en",
    media_type: str = "short",
    duration: float | None = 42,
    category: str | None = "Howto & Style",
) -> Observation:
    return Observation(
        Candidate(
            channel.platform,
            f"v{number}",
            title,
            url=f"https://example.org/{number}",
            channel=channel,
            category=category,
            duration=duration,
            language=language,
            media_type=media_type,  # type: ignore[arg-type]
            published_at=START + timedelta(days=number),
        ),
        Snapshot(START + timedelta(days=number + days), views=views, likes=5),
    )


VIDEOS = [
    seen(1, "How to bake bread in a cold oven", views=500),
    seen(1, "How to bake bread in a cold oven", views=2500, days=3),
    seen(2, "Bread that failed: what I learned", views=90, language="de", duration=700, media_type="video"),
    seen(3, "POV: the oven is on fire", views=80_000, category="Comedy"),
    seen(4, "Night ride through the rain", channel=RIDER, views=7, language=None, category=None, duration=None),
]
SCORED = {"youtube:v1": 0.8, "youtube:v2": 0.05, "youtube:v3": 0.31}


@pytest.fixture
def viewer(database: str) -> Iterator[Connection]:
    """A viewer's connection to a database with four videos, three of them scored, rolled up."""
    db.ready()
    with db.transaction("worker") as connection:
        store.observe(connection, VIDEOS)
        connection.execute(
            text(
                "UPDATE candidates SET viral_score = :score, base_rate = 0.1, predicted_velocity = 900,"
                " velocity_low = 100, velocity_high = 5000, model_version = 'test', scored_at = now(),"
                " scored_change = changed_at WHERE candidate_id = :id"
            ),
            [{"id": key, "score": score} for key, score in SCORED.items()],
        )
        rollups.refresh(connection)
    with db.transaction("viewer") as connection:
        yield connection


@pytest.fixture
def many(database: str) -> Iterator[Connection]:
    """40 videos with equal and with unknown numbers."""
    db.ready()
    with db.transaction("worker") as connection:
        videos = [
            seen(number, f"Video {number}", views=100 * (number % 6), channel=RIDER if number % 2 else BAKER)
            for number in range(40)
        ]
        store.observe(connection, videos)
        connection.execute(
            text(
                "UPDATE candidates SET viral_score = CASE WHEN n % 4 > 0 THEN (n % 7) / 10.0 END,"
                " velocity = CASE WHEN n % 3 > 0 THEN n % 5 * 1e5 / 3 END,"
                " acceleration = CASE WHEN n % 5 > 2 THEN (n % 6 - 3) / 7.0 END,"
                " outlier_multiple = CASE WHEN n % 2 > 0 THEN n % 9 / 3.0 END,"
                " published_at = CASE WHEN n % 6 > 0 THEN date_trunc('week', published_at) END"
                " FROM (SELECT candidate_id, substring(video_id, 2)::int AS n FROM candidates) AS numbered"
                " WHERE numbered.candidate_id = candidates.candidate_id"
            )
        )
        rollups.write(connection, "overview", {"candidates": 40})
        facts.sync(connection)
    with db.transaction("viewer") as connection:
        yield connection


def chosen(connection: Connection, filters: Filters, sort: Sort, limit: int = 10, place: Place = Place()) -> Page:  # noqa: B008
    """A page of those that pass the filters, from columns that are read anew."""
    known = facts.load(connection)
    return selection.page(connection, known, selection.passing(connection, known, filters), sort, limit, place)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("score", ["v1", "v3", "v2", "v4"]),
        ("views", ["v3", "v1", "v2", "v4"]),
        ("age", ["v4", "v3", "v2", "v1"]),
        ("velocity", ["v1", "v4", "v2", "v3"]),  # only v1 has two snapshots; the others by key
        ("outlier", ["v4", "v1", "v2", "v3"]),  # nobody has five others to be compared with
    ],
)
def test_an_unknown_value_comes_last(viewer: Connection, sort: Sort, expected: list[str]) -> None:
    for listed in (browse.page(viewer, sort, 10), chosen(viewer, Filters(), sort)):
        assert [row.video_id for row in listed.rows] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(text="bread"), ["v1", "v2"]),
        (Filters(text='"bake bread"'), ["v1"]),
        (Filters(text="bread -failed"), ["v1"]),
        (Filters(text='"unclosed & ) ! quote'), []),  # nothing that is typed is an error
        (Filters(text="nul\x00byte"), []),
        (Filters(platforms=("tiktok",)), ["v4"]),
        (Filters(formats=("video",)), ["v2"]),
        (Filters(categories=("Comedy", "Music")), ["v3"]),
        (Filters(languages=("de",)), ["v2"]),
        (Filters(channel="baker"), ["v1", "v3", "v2"]),
        (Filters(channel="tiktok:rider"), ["v4"]),
        (Filters(channel="nobody"), []),
        (Filters(durations=("10–60 min",)), ["v2"]),
        (Filters(durations=("30–60 s", "10–60 min")), ["v1", "v3", "v2"]),
        (Filters(published_from=date(2026, 1, 13)), ["v3", "v4"]),
        (Filters(published_to=date(2026, 1, 11)), ["v1"]),  # the last day belongs to the range
        (Filters(published_from=date(2026, 1, 12), published_to=date(2026, 1, 12)), ["v2"]),
        (Filters(published_to=date.max), ["v1", "v3", "v2", "v4"]),
        (Filters(score_from=31), ["v1", "v3"]),
        (Filters(score_to=30), ["v2"]),  # what has no score passes no score filter
        (Filters(text="bread", languages=("en",), score_from=50), ["v1"]),
    ],
)
def test_filters_narrow_the_set(viewer: Connection, filters: Filters, expected: list[str]) -> None:
    assert [row.video_id for row in chosen(viewer, filters, "score").rows] == expected
    assert browse.count(viewer, filters, cap=100) == len(expected)  # as the tables tell it


@pytest.mark.parametrize("sort", browse.SORTS)
@pytest.mark.parametrize("all_of_them", [True, False], ids=["all", "chosen"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_pages_follow_each_other_both_ways_without_gap_or_overlap(
    many: Connection, sort: Sort, all_of_them: bool, size: int
) -> None:
    """With equal and with unknown values in every order."""
    known = facts.load(many)
    expected = many.scalars(text(f"SELECT candidate_id FROM candidates ORDER BY {browse.SORTS[sort]}")).all()

    def walk(place: Place, onwards: Literal["before", "after"]) -> list[list[str]]:
        pages = []
        while place is not None:
            if all_of_them:
                listed = browse.page(many, sort, size, place)
            else:
                listed = selection.page(many, known, np.ones(len(known), dtype=bool), sort, size, place)
            pages.append([row.candidate_id for row in listed.rows])
            # what a page says of its neighbours is so
            assert (listed.before is None) == (pages[-1][0] == expected[0])
            assert (listed.after is None) == (pages[-1][-1] == expected[-1])
            place = getattr(listed, onwards)
        return pages

    forwards, backwards = walk(Place(), "after"), walk(Place("last"), "before")
    assert [one for page in forwards for one in page] == expected
    assert [one for page in reversed(backwards) for one in page] == expected
    assert len(forwards) == len(backwards) == -(-len(expected) // size)


def test_a_page_beside_a_video_that_is_gone_goes_on_where_it_was(many: Connection) -> None:
    whole = browse.page(many, "views", 40).rows
    for at in (0, 20, 38):
        key, nobody = whole[at].views, whole[at].candidate_id + "!"  # just behind it
        for side, beside in (("after", at + 1), ("before", at)):
            place = Place(side, key, nobody)  # type: ignore[arg-type]
            assert browse.page(many, "views", 1, place).rows == whole[beside : beside + 1]
            assert chosen(many, Filters(), "views", 1, place).rows == whole[beside : beside + 1]


def test_what_came_in_or_went_since_the_columns_were_read_is_not_listed(many: Connection) -> None:
    known = facts.load(many)
    everything = np.ones(len(known), dtype=bool)
    before = [row.candidate_id for row in selection.page(many, known, everything, "views", 40).rows]
    with db.transaction("worker") as connection:
        store.observe(connection, [seen(number, "New", views=10**6) for number in (100, 99)])  # among and behind them
        connection.execute(text("DELETE FROM candidates WHERE candidate_id = :id"), {"id": before[0]})
        facts.sync(connection)
    assert [row.candidate_id for row in selection.page(many, known, everything, "views", 40).rows] == before[1:]
    beside = Place("after", known.views[0] + 10**7, "youtube:v100")  # greater than all, so they all follow
    assert len(selection.page(many, known, everything, "views", 40, beside).rows) == 39
    after = selection.page(many, known, everything, "views", 3, Place("after", None, "youtube:v99"))
    assert after == Page((), None, None)
    assert [row.views for row in chosen(many, Filters(views_from=10**6), "views").rows] == [10**6, 10**6]


def test_only_some_are_listed_and_counted(many: Connection) -> None:
    some = [row.candidate_id for row in browse.page(many, "views", 40).rows[::7]]
    known = facts.load(many)
    told = selection.among(many, known, [*some, "youtube:gone"])
    assert [row.candidate_id for row in selection.page(many, known, told, "views", 40).rows] == some
    assert told.sum() == len(some)
    assert not selection.among(many, known, []).any()


def test_a_count_stops_at_its_cap(viewer: Connection) -> None:
    assert browse.count(viewer, Filters(views_from=1), cap=2) == 3
    assert browse.count(viewer, Filters(views_from=1), cap=9) == 4


def test_all_are_counted_by_the_roll_up_and_before_there_is_one_by_a_look(viewer: Connection) -> None:
    assert browse.how_many(viewer) == browse.state(viewer).candidates == 4
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM rollups"))
    with db.transaction("viewer") as connection:
        assert browse.how_many(connection) == browse.state(connection).candidates == 4


def test_a_row_tells_lifetime_from_measured_velocity(viewer: Connection) -> None:
    by_id = {row.video_id: row for row in browse.page(viewer, "score", 10).rows}
    assert by_id["v1"].velocity == pytest.approx(1000)  # 2,000 views in two days
    assert by_id["v3"].velocity is None
    assert by_id["v3"].lifetime_velocity == pytest.approx(80_000)
    assert by_id["v4"].viral_score is None


def test_rows_keep_the_order_that_was_asked_for(viewer: Connection) -> None:
    rows = browse.rows(viewer, ["youtube:v3", "youtube:gone", "youtube:v1"])
    assert [row.video_id for row in rows] == ["v3", "v1"]


def test_growth_has_one_value_for_each_day(viewer: Connection) -> None:
    growth = {row.video_id: row.growth for row in browse.page(viewer, "score", 10).rows}
    assert growth == {"v1": [500, 2500], "v2": [90], "v3": [80_000], "v4": [7]}


def test_a_detail_has_its_snapshots_in_order(viewer: Connection) -> None:
    detail = browse.detail(viewer, "youtube:v1")
    assert detail is not None
    assert [look.views for look in detail.looks] == [500, 2500]
    assert detail.channel_videos == 3
    assert detail.row.channel_name == "The Slow Baker"
    assert browse.detail(viewer, "youtube:gone") is None


def test_the_state_says_how_old_the_data_is(viewer: Connection) -> None:
    state = browse.state(viewer)
    assert (state.candidates, state.sample, state.base_rate, state.model_version) == (4, 0, 0.1, "test")
    assert state.newest == START + timedelta(days=5)
    assert browse.snapshots(viewer) == 5


def test_an_empty_database_has_a_state_too(database: str) -> None:
    db.ready()
    with db.transaction("viewer") as connection:
        assert browse.state(connection) == browse.State(0, 0, None, None, None)
        assert browse.options(connection).platforms == {}
        assert browse.days(connection) == []


def test_options_name_what_there_is(viewer: Connection) -> None:
    options = browse.options(viewer)
    assert options.platforms == {"youtube": 3, "tiktok": 1}
    assert list(options.categories) == ["Howto & Style", "Comedy"]
    assert (options.published_from, options.published_to) == (date(2026, 1, 11), date(2026, 1, 14))


SEARCHED = [
    "How to cook Crème Brûlée at home",
    "COOKING with fire: no. 7",
    "𝗕𝗼𝗹𝗱 𝘁𝗿𝗶𝗰𝗸𝘀🔥for noobs",
    "ПРИВЕТ, мир! Ёлка и пельмени",
    "今日の簡単レシピ：火鍋の作り方",
    "วิธีทำข้าวผัดง่ายๆ",
    "مُحَمَّد يطبخ الكُشَري",
    "Don't try this: how-to guide #shorts",
    "Cook fast, eat slow",
]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("creme brulee", [0]),  # without its accents
        ("CRÈME", [0]),
        ("cook", [0, 8]),  # a whole word …
        ("cook*", [0, 1, 8]),  # … or its beginning
        ('"how to"', [0, 7]),  # a phrase, and a word of two
        ('"to how"', []),
        ('"cook f"*', [8]),  # a phrase whose last word goes on
        ("cook -home", [8]),
        ("-cook*", [2, 3, 4, 5, 6, 7]),
        ('-"eat slow" cook', [0]),
        ("fire OR home", [0, 1]),
        ("cook* fire OR home", [0, 1]),  # OR joins its neighbours
        ("bold tricks", [2]),  # letters in costume, and an emoji between words
        ("привет елка", [3]),
        ("火鍋", [4]),  # without spaces between words, parts are found
        ("レシピ 作り方", [4]),
        ("鍋火", []),
        ("ข้าวผัด", [5]),
        ("محمد الكشري", [6]),  # without vowel points
        ("don't", [7]),
        ("#shorts", [7]),
        ("7", [1]),
        ("*", []),  # nothing to search for
        ("-", []),
        ('""', []),
        ("OR", []),
        ("🔥", []),
        ("OR cook OR", [0, 8]),
        ('cook "eat', [8]),  # an open quote ends with the text
        ("cook & | ! ( ) <-> : * ' \\ %", [0, 8]),
        ("nul\x00byte \ud800 ☃*", []),
        ("cook " + "* " * 500, [0, 8]),
        ("a" * 5000, []),
    ],
)
def test_titles_are_searched_in_every_language(database: str, typed: str, expected: list[int]) -> None:
    db.ready()
    with db.transaction("worker") as connection:
        store.observe(connection, [seen(number, title) for number, title in enumerate(SEARCHED)])
        facts.sync(connection)
        title_words.sync(connection)
    with db.transaction("viewer") as connection:
        hits = chosen(connection, Filters(text=typed), "age", 20).rows
        condition, values = browse.subset(Filters(text=typed))
        by_index = connection.scalars(text(f"SELECT video_id {condition}"), values).all()
    assert sorted(int(row.video_id[1:]) for row in hits) == sorted(int(name[1:]) for name in by_index) == expected


EACH_FILTER = [
    Filters(),
    Filters(text="bread"),
    Filters(text='"bake bread" OR ove* -rain'),
    Filters(platforms=("tiktok",)),
    Filters(formats=("video", "short")),
    Filters(categories=("Comedy",)),
    Filters(languages=("de", "en")),
    Filters(channel="baker"),
    Filters(channel="youtube:UCbaker"),
    Filters(durations=("up to 15 s", "over 1 h")),
    Filters(published_from=date(2026, 1, 11)),
    Filters(published_to=date(2026, 1, 13)),
    Filters(score_from=20, score_to=80),
    Filters(views_from=100),
    Filters(multiple_from=1.5),
    Filters(velocity_from=10),
    Filters(text="bread", categories=("Howto & Style",), languages=("en",), published_from=date(2026, 1, 1)),
]


def test_no_question_of_the_lists_reads_a_whole_table(viewer: Connection) -> None:
    """Each statement that is sent, for each order and filter and from each place of a list, by its plan.

    Reading a whole table is forbidden, so its name in a plan tells that no index would serve.
    """
    sent: dict[str, dict | tuple] = {}

    def note(_1: object, _2: object, statement: str, values: dict | tuple, *_3: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            sent.setdefault(statement, values)

    known = facts.load(viewer)
    event.listen(viewer, "before_cursor_execute", note)
    for filters in EACH_FILTER:
        browse.count(viewer, filters, cap=9)
        told = selection.passing(viewer, known, filters)
        for sort in browse.SORTS:
            beside = browse.page(viewer, sort, 1).after
            assert beside is not None
            for place in (
                Place(),
                Place("last"),
                replace(beside, side="after"),
                replace(beside, side="before"),
                Place("after", None, "youtube:v1"),
                Place("before", None, "youtube:v1"),
            ):
                browse.page(viewer, sort, 1, place)
                selection.page(viewer, known, told, sort, 1, place)
    ids = ["youtube:v1", "youtube:v2"]
    selection.among(viewer, known, ids)
    sent[browse._ROWS] = (ids,)  # which goes straight to the driver
    browse.detail(viewer, "youtube:v1")
    browse.state(viewer)
    browse.options(viewer)
    browse.days(viewer)
    browse.snapshots(viewer)
    event.remove(viewer, "before_cursor_execute", note)
    assert len(sent) > 90
    for statement, values in sent.items():
        plan = "\n".join(row[0] for row in viewer.exec_driver_sql(f"EXPLAIN {statement}", values))
        assert not re.search(r"Seq Scan on (candidates|snapshots|channels|thumbnails)", plan), f"{statement}\n{plan}"


def test_the_pages_sorts_walk_along_an_index(many: Connection) -> None:
    """From any place: neither sorted as a whole nor walked from the beginning."""
    browse.plan_by_index(many)
    many.execute(text("SET LOCAL enable_sort = off"))  # forty rows would rather be sorted
    for sort, key in browse.KEYS.items():
        for side in ("first", "after", "before", "last"):
            for value in (None, 1):
                place = Place(side, value, "youtube:v1")
                order = (browse._BACKWARDS if side in ("before", "last") else browse.SORTS)[sort]
                for step in browse._steps(place, sort):
                    limits = step.replace(":key", "now()" if sort == "age" else "1").replace(":id", "'youtube:v1'")
                    asked = f"SELECT candidate_id FROM candidates WHERE {limits} ORDER BY {order} LIMIT 24"
                    plan = "\n".join(many.scalars(text(f"EXPLAIN {asked}")))
                    assert f"using candidates_by_{'date' if sort == 'age' else sort}" in plan, plan
                    assert "Sort" not in plan, plan
                    assert "Filter" not in plan or "IS NULL" in plan, plan
                    if key in step:
                        assert "Index Cond" in plan, plan


def test_lists_of_an_older_database_have_their_lines_and_orders(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with before("0022_lists", monkeypatch, tmp_path):
        put(VIDEOS)
        with db.transaction("owner") as connection:
            connection.execute(
                text(
                    "INSERT INTO fact_codes (kind, value) VALUES ('platform', 'youtube');"
                    " INSERT INTO facts (candidate_id, title_hash, channel, platform, forms)"
                    " SELECT candidate_id, 0, 0, code, 0 FROM candidates, fact_codes WHERE candidate_id = 'youtube:v1'"
                )
            )
    with db.transaction("viewer") as connection:
        [row] = browse.rows(connection, ["youtube:v1"])
        [lifetime] = facts.load(connection).lifetime
    assert row.growth == [500, 2500]
    assert lifetime == pytest.approx(row.lifetime_velocity)
