"""The definitions of the measured numbers."""

from datetime import UTC, datetime, timedelta

import pytest

from miles import metrics
from miles.candidates import Snapshot
from miles.metrics import Acceleration, Outlier, Peer, Velocity

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def seen(days_ago: float, views: int | None, *, exact: bool = True) -> Snapshot:
    return Snapshot(NOW - timedelta(days=days_ago), views, exact=exact)


def peer(key: str, views: int | None, *, age: float = 3.0, seen_at_age: float | None = None, **other) -> Peer:
    published = NOW - timedelta(days=age)
    shot = Snapshot(published + timedelta(days=age if seen_at_age is None else seen_at_age), views)
    return Peer(key, **{"channel_key": "x:c", "media_type": "video", **other}, published=published, snapshots=(shot,))


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        ([], None),
        ([seen(0, 100)], None),  # one look tells no growth
        ([seen(2, 100), seen(0, 500)], Velocity(200.0, 2.0)),
        ([seen(0, 500), seen(2, 100)], Velocity(200.0, 2.0)),  # the order doesn't matter
        ([seen(0.4, 100), seen(0, 500)], None),  # too close
        ([seen(0.5, 100), seen(0, 500)], Velocity(800.0, 0.5)),  # just far enough
        # the latest one that is far enough counts, not the closest and not the first
        ([seen(9, 0), seen(2, 100), seen(0.1, 490), seen(0, 500)], Velocity(200.0, 2.0)),
        (
            [seen(2, 100), seen(1, 300), seen(0, 500, exact=False)],
            Velocity(200.0, 1.0),
        ),  # a rounded count tells nothing
        ([seen(2, 100), seen(1, None), seen(0, 500)], Velocity(200.0, 2.0)),  # nor does a missing one
        ([seen(2, 500), seen(0, 100)], Velocity(-200.0, 2.0)),  # the platform took views back
    ],
)
def test_measured_velocity_is_growth_between_two_exact_looks(snapshots, expected):
    assert metrics.measured_velocity(snapshots) == expected


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        ([seen(2, 100), seen(0, 500)], None),  # two looks tell one velocity
        # 100 a day in the first two days, 400 a day on the third: 300 more, 1.5 days from middle to middle
        ([seen(3, 100), seen(1, 300), seen(0, 700)], Acceleration(200.0, 100.0)),
        ([seen(2, 0), seen(1, 400), seen(0, 500)], Acceleration(-300.0, 400.0)),  # slowing down
        # of looks close together, those far enough apart
        (
            [seen(2.1, 0), seen(2, 10), seen(1.2, 99), seen(1, 210), seen(0.2, 1), seen(0, 410)],
            Acceleration(0.0, 200.0),
        ),
        ([seen(1.3, 0), seen(1, 100), seen(0, 500)], None),  # the first two are too close
        ([seen(2, 0), seen(1, 100, exact=False), seen(0, 500)], None),  # a rounded count tells nothing
    ],
)
def test_acceleration_is_the_change_of_measured_velocity_over_time(snapshots, expected):
    found = metrics.measured_acceleration(snapshots)
    assert (found and (found.per_day, found.before)) == (
        expected and pytest.approx((expected.per_day, expected.before), rel=1e-9, abs=1e-9)
    )


def test_a_shorts_acceleration_never_spans_the_day_that_views_were_redefined():
    start = metrics.SHORTS_ERA - timedelta(days=1)
    shots = [Snapshot(start + timedelta(days=day), views) for day, views in enumerate([0, 100, 300])]
    assert metrics.measured_acceleration(shots, media_type="short") is None
    assert metrics.measured_acceleration(shots, media_type="video") == Acceleration(100.0, 100.0)


def test_a_shorts_velocity_never_spans_the_day_that_views_were_redefined():
    before, after = (metrics.SHORTS_ERA + timedelta(days=d) for d in (-1, 1))
    shots = [Snapshot(before, 100), Snapshot(after, 900)]
    assert metrics.measured_velocity(shots, media_type="short") is None
    assert metrics.measured_velocity(shots, media_type="video") == Velocity(400.0, 2.0)
    assert metrics.measured_velocity(shots, platform="tiktok", media_type="short") == Velocity(400.0, 2.0)
    later = [*shots, Snapshot(after + timedelta(days=1), 1000)]
    assert metrics.measured_velocity(later, media_type="short") == Velocity(100.0, 1.0)


def test_lifetime_velocity_is_views_over_age_and_unknown_for_the_very_young():
    assert metrics.lifetime_velocity(300, NOW - timedelta(days=3), NOW) == 100.0
    assert metrics.lifetime_velocity(300, NOW - timedelta(minutes=5), NOW) is None
    assert metrics.lifetime_velocity(None, NOW - timedelta(days=3), NOW) is None
    assert metrics.lifetime_velocity(300, None, NOW) is None


def test_the_outlier_multiple_compares_with_the_median_of_the_others():
    others = [peer(f"o{views}", views) for views in (10, 20, 30, 40, 1000)]
    assert metrics.outlier_multiple(peer("v", 90), others) == Outlier(3.0, 5)


def test_the_outlier_multiple_leaves_the_video_itself_out():
    video = peer("v", 90)
    others = [peer(f"o{views}", views) for views in (10, 20, 30, 40, 1000)]
    assert metrics.outlier_multiple(video, [*others, video]) == Outlier(3.0, 5)


def test_below_five_others_there_is_no_outlier_multiple_but_their_number():
    others = [peer(f"o{views}", views) for views in (10, 20, 30, 40)]
    assert metrics.outlier_multiple(peer("v", 90), others) == Outlier(None, 4)


@pytest.mark.parametrize(
    "stranger",
    [
        {"channel_key": "x:other"},
        {"media_type": "short"},
        {"media_type": None},
        {"age": 30.0},  # seen at another age
        {"views": None},
    ],
)
def test_only_videos_of_the_channel_the_format_and_the_age_are_others(stranger):
    others = [peer(f"o{views}", views) for views in (10, 20, 30, 40, 1000)]
    stranger = {"views": 5000, **stranger}
    assert metrics.outlier_multiple(peer("v", 90), [*others, peer("s", **stranger)]) == Outlier(3.0, 5)


def test_an_older_video_is_compared_by_what_it_had_at_that_age():
    others = [peer(f"o{views}", views, age=400.0, seen_at_age=3.0) for views in (10, 20, 30, 40, 1000)]
    assert metrics.outlier_multiple(peer("v", 90), others) == Outlier(3.0, 5)


def test_a_usual_of_zero_gives_no_multiple():
    assert metrics.outlier_multiple(peer("v", 90), [peer(f"o{n}", 0) for n in range(5)]) == Outlier(None, 5)


@pytest.mark.parametrize(
    ("days", "band"), [(-0.1, None), (0.0, 0), (0.24, 0), (0.25, 1), (3.9, 4), (4.0, 5), (9999, 14)]
)
def test_each_age_lies_in_one_band(days, band):
    assert metrics.age_band(days) == band


def test_engagement_needs_views_and_likes():
    assert metrics.engagement_rate(1000, 40, 10) == 0.05
    assert metrics.engagement_rate(1000, 40, None) == 0.04
    assert metrics.engagement_rate(1000, 0, 10) is None  # hidden likes
    assert metrics.engagement_rate(0, 0, 0) is None
    assert metrics.engagement_rate(None, 5, 5) is None
