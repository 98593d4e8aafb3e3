"""What the exploring pages read, on a small database made for the purpose."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from miles import browse, db, rollups, store
from miles.browse import Filters
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


def found(connection: Connection, filters: Filters, sort: browse.Sort = "score") -> list[str]:
    ids = [row.video_id for row in browse.page(connection, filters, sort, 10)]
    assert browse.count(connection, filters) == len(ids)
    return ids


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
def test_an_unknown_value_comes_last(viewer: Connection, sort: browse.Sort, expected: list[str]) -> None:
    assert found(viewer, Filters(), sort) == expected


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
    assert found(viewer, filters) == expected


def test_pages_follow_each_other_without_gap_or_overlap(viewer: Connection) -> None:
    pages = [browse.page(viewer, Filters(), "score", 1, offset) for offset in range(5)]
    assert [row.video_id for rows in pages for row in rows] == ["v1", "v3", "v2", "v4"]


def test_a_count_stops_at_its_cap(viewer: Connection) -> None:
    assert browse.count(viewer, Filters(), cap=2) == 3


def test_a_row_tells_lifetime_from_measured_velocity(viewer: Connection) -> None:
    by_id = {row.video_id: row for row in browse.page(viewer, Filters(), "score", 10)}
    assert by_id["v1"].velocity == pytest.approx(1000)  # 2,000 views in two days
    assert by_id["v3"].velocity is None
    assert by_id["v3"].lifetime_velocity == pytest.approx(80_000)
    assert by_id["v4"].viral_score is None


def test_rows_keep_the_order_that_was_asked_for(viewer: Connection) -> None:
    rows = browse.rows(viewer, ["youtube:v3", "youtube:gone", "youtube:v1"])
    assert [row.video_id for row in rows] == ["v3", "v1"]


def test_growth_has_one_value_for_each_day(viewer: Connection) -> None:
    assert browse.growth(viewer, ["youtube:v1", "youtube:v3"]) == {"youtube:v1": [500, 2500], "youtube:v3": [80_000]}


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
        assert browse.scores(connection, Filters()).histograms == ()
        assert browse.pattern_scopes(connection) == []
        assert browse.days(connection) == []


def test_options_name_what_there_is(viewer: Connection) -> None:
    options = browse.options(viewer)
    assert options.platforms == {"youtube": 3, "tiktok": 1}
    assert list(options.categories) == ["Howto & Style", "Comedy"]
    assert (options.published_from, options.published_to) == (date(2026, 1, 11), date(2026, 1, 14))


def test_a_filtered_distribution_counts_the_same_as_the_rolled_up_one(viewer: Connection) -> None:
    rolled_up = browse.scores(viewer, Filters())
    counted = browse.scores(viewer, Filters(published_from=date(2020, 1, 1)))
    assert {(h.kind, h.group): h.counts for h in counted.histograms} == {
        (h.kind, h.group): h.counts for h in rolled_up.histograms
    }
    assert sorted(counted.agreement.cells) == sorted(rolled_up.agreement.cells)
    assert counted.base_rate == pytest.approx(rolled_up.base_rate)
    assert counted.agreement.n == 1
    comedy = browse.scores(viewer, Filters(categories=("Comedy",)))
    assert [h.n for h in comedy.of("all")] == [1]


def test_patterns_come_strongest_first_and_by_scope(viewer: Connection) -> None:
    with db.transaction("worker") as worker:
        worker.execute(
            text(
                "INSERT INTO title_patterns (scope, kind, pattern, n_videos, n_channels, lift, lift_low, lift_high,"
                " q_value, examples) VALUES ('all', 'ngram', 'bread', 40, 12, 1.1, 1.0, 1.2, 0.04, '{youtube:v1}'),"
                " ('all', 'structure', 'question', 40, 12, 1.4, 1.2, 1.6, 0.01, '{}'),"
                " ('category:Comedy', 'ngram', 'pov', 30, 10, 2, 1.5, 2.5, 0.001, '{}')"
            )
        )
    with db.transaction("viewer") as connection:
        assert browse.pattern_scopes(connection) == ["all", "category:Comedy"]
        assert [one.pattern for one in browse.patterns(connection, "all")] == ["question", "bread"]
        assert browse.patterns(connection, "all")[1].examples == ("youtube:v1",)


def test_the_pages_sorts_walk_along_an_index(viewer: Connection) -> None:
    with db.transaction("owner") as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # four rows would always be scanned
        for sort, order in browse.SORTS.items():
            plan = "\n".join(connection.scalars(text(f"EXPLAIN SELECT * FROM candidates c ORDER BY {order} LIMIT 24")))
            assert "Index Scan" in plan, sort
            assert "Sort" not in plan, sort
