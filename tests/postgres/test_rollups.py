"""Roll-ups: SQL against the plain definitions, what is written and what is left alone."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from tables import put

from miles import db, metrics, patterns, rollups
from miles.candidates import Candidate, Channel, Observation, Snapshot

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def seen(video: str, age: float, views: int | None, **facts) -> Observation:
    """A look at a video of channel "c" at an age in days; published 10 days before NOW unless said otherwise."""
    published = facts.pop("published_at", NOW - timedelta(days=10))
    shot = {key: facts.pop(key) for key in ("country", "exact", "likes") if key in facts}
    channel, platform = facts.pop("channel", "c"), facts.pop("platform", "youtube")
    candidate = Candidate(
        platform,
        video,
        facts.pop("title", f"Title of {video}"),
        channel=Channel(platform, channel) if channel else None,
        published_at=published,
        **{"media_type": "video", **facts},
    )
    return Observation(candidate, Snapshot((published or NOW) + timedelta(days=age), views, **shot))


def measured(connection: Connection) -> dict[str, tuple]:
    rows = connection.execute(
        text("SELECT video_id, velocity, velocity_days, outlier_multiple, outlier_n, country_count FROM candidates")
    )
    return {row.video_id: tuple(row)[1:] for row in rows}


def invented(rng: random.Random) -> list[Observation]:
    """Random videos: channels small and large, formats, missing dates and counts, Shorts across the change of 2025."""
    looks = []
    for number in range(260):
        era = rng.random() < 0.3
        base = metrics.SHORTS_ERA if era else NOW
        published = base - timedelta(days=rng.uniform(0, 12))
        for _ in range(rng.randint(1, 6)):
            # near the edge of MIN_GAP and of the age bands, too
            age = rng.choice([rng.uniform(0, 14), 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0])
            looks.append(
                seen(
                    f"v{number}",
                    age,
                    None if rng.random() < 0.1 else rng.choice([0, 0, rng.randint(1, 50), rng.randint(1, 10**6)]),
                    published_at=published,
                    channel=f"c{number % 3}" if number % 10 else None,
                    media_type=("short", "video", None)[number // 3 % 3],
                    exact=rng.random() < 0.8,
                    country=rng.choice([None, "DE", "FR", "JP"]),
                    likes=rng.choice([None, 0, 7]),
                )
            )
    return looks


@pytest.mark.parametrize("seed", range(5))
def test_sql_and_the_plain_definitions_agree_on_random_data(database, seed):
    looks = invented(random.Random(seed))
    put(looks)
    with db.transaction("worker") as connection:
        assert rollups.measure(connection) == 260
        stored = measured(connection)
        # as stored: two looks at the same moment are joined
        shots: dict[str, list[Snapshot]] = {}
        for row in connection.execute(text("SELECT * FROM snapshots")):
            video_id = row.candidate_id.removeprefix("youtube:")
            shots.setdefault(video_id, []).append(
                Snapshot(row.observed_at, row.views, country=row.country, exact=row.exact)
            )
    peers = {
        look.candidate.video_id: metrics.Peer(
            look.candidate.video_id,
            look.candidate.channel.key if look.candidate.channel else None,
            look.candidate.media_type,
            look.candidate.published_at,
            tuple(shots[look.candidate.video_id]),
        )
        for look in looks
    }
    with_multiple = with_acceleration = 0
    with db.transaction("viewer") as connection:
        more = {
            row.video_id: row
            for row in connection.execute(
                text(
                    "SELECT video_id, velocity_before, acceleration, engagement_rate, lifetime_velocity,"
                    " views, likes, comments, published_at, observed_at FROM candidates"
                )
            )
        }
    for video_id, peer in peers.items():
        velocity, days, multiple, n, charts = stored[video_id]
        expected = metrics.measured_velocity(peer.snapshots, media_type=peer.media_type)
        assert (velocity is None) == (expected is None), video_id
        if expected is not None:
            assert (velocity, days) == pytest.approx((expected.per_day, expected.days), rel=1e-6)
        row, change = more[video_id], metrics.measured_acceleration(peer.snapshots, media_type=peer.media_type)
        assert (row.acceleration is None) == (row.velocity_before is None) == (change is None), video_id
        if change is not None:
            assert (row.acceleration, row.velocity_before) == pytest.approx((change.per_day, change.before), abs=1e-6)
        with_acceleration += change is not None
        rates = (
            metrics.engagement_rate(row.views, row.likes, row.comments),
            metrics.lifetime_velocity(row.views, row.published_at, row.observed_at),
        )
        for stored_rate, rate in zip((row.engagement_rate, row.lifetime_velocity), rates, strict=True):
            assert stored_rate == (None if rate is None else pytest.approx(rate)), video_id
        outlier = metrics.outlier_multiple(peer, peers.values())
        assert n == outlier.n, video_id
        assert multiple == (None if outlier.multiple is None else pytest.approx(outlier.multiple)), video_id
        countries = {shot.country for shot in peer.snapshots} - {None}
        assert charts == (len(countries) or None)
        with_multiple += multiple is not None
    assert with_multiple > 50  # else the comparison would say little
    assert with_acceleration > 20


def test_measuring_twice_measures_nothing_and_rewrites_nothing(database):
    put(invented(random.Random(1)))
    with db.transaction("worker") as connection:
        rollups.measure(connection)
    with db.transaction("worker") as connection:
        before = connection.execute(text("SELECT candidate_id, xmin FROM candidates ORDER BY 1")).all()
        assert rollups.measure(connection) == 0
        assert connection.execute(text("SELECT candidate_id, xmin FROM candidates ORDER BY 1")).all() == before


def test_one_new_look_measures_that_video_and_moves_only_its_channels_multiples(database):
    put([seen(f"a{n}", 3, 100) for n in range(6)] + [seen(f"b{n}", 3, 100, channel="d") for n in range(6)])
    with db.transaction("worker") as connection:
        assert rollups.measure(connection) == 12
        before = dict(connection.execute(text("SELECT video_id, xmin FROM candidates")).all())
    put([seen("a0", 3.5, 900)])
    with db.transaction("worker") as connection:
        assert rollups.measure(connection) == 1
        rows = measured(connection)
        after = dict(connection.execute(text("SELECT video_id, xmin FROM candidates")).all())
    assert rows["a0"][:4] == (1600.0, 0.5, 9.0, 5)
    assert rows["a1"][2:4] == (1.0, 5)  # the median of the others stays
    assert {video for video in before if before[video] != after[video]} == {"a0"}


def test_the_fifth_other_video_gives_all_of_a_channel_a_multiple(database):
    put([seen(f"a{n}", 3, 100) for n in range(5)])
    with db.transaction("worker") as connection:
        rollups.measure(connection)
        assert measured(connection)["a0"][2:4] == (None, 4)
    put([seen("a5", 3, 300)])
    with db.transaction("worker") as connection:
        assert rollups.measure(connection) == 1
        rows = measured(connection)
    assert rows["a0"][2:4] == (1.0, 5)
    assert rows["a5"][2:4] == (3.0, 5)


def test_measuring_never_touches_changed_at_and_a_change_meanwhile_is_measured_later(database):
    put([seen("a", 3, 100)])
    with db.transaction("worker") as connection:
        before = connection.scalar(text("SELECT changed_at FROM candidates"))
        rollups.measure(connection)
        row = connection.execute(text("SELECT changed_at, measured_change FROM candidates")).one()
        assert (row.changed_at, row.measured_change) == (before, before)
        # a change that comes in after the row was read
        connection.execute(text("UPDATE candidates SET changed_at = clock_timestamp() + interval '1 second'"))
    with db.transaction("worker") as connection:
        assert rollups.measure(connection) == 1


def test_days_are_counted_in_utc_and_follow_what_is_there(database):
    put([seen("a", 3, 1), seen("a", 4, 2), seen("b", 3, 1)])
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
        days = connection.execute(text("SELECT day::text, snapshots, candidates FROM daily_counts ORDER BY day")).all()
        assert [tuple(day) for day in days] == [("2026-05-25", 2, 2), ("2026-05-26", 1, 0)]
        connection.execute(text("DELETE FROM candidates WHERE video_id = 'a'"))
        rollups.refresh(connection)
        days = connection.execute(text("SELECT day::text, snapshots, candidates FROM daily_counts ORDER BY day")).all()
        assert [tuple(day) for day in days] == [("2026-05-25", 1, 1)]


def give_scores(connection: Connection) -> None:
    connection.execute(
        text("INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}') ON CONFLICT DO NOTHING;")
    )
    connection.execute(
        text(
            "UPDATE candidates SET viral_score = views / 1000.0, base_rate = 0.1, model_version = 'm',"
            " predicted_velocity = views, scored_at = now(), scored_change = changed_at"
        )
    )


def test_the_overview_counts_what_is_there(database):
    put(
        [
            seen("a", 1, 100, category="Music", language="en"),
            seen("a", 3, 300),
            seen("b", 3, 1000, category="Music", duration=45.0, media_type="short"),
            seen("c", 3, None, platform="tiktok", category="Comedy"),
        ]
    )
    with db.transaction("worker") as connection:
        rollups.measure(connection)
        connection.execute(text("UPDATE candidates SET sample = true WHERE video_id = 'b'"))
        give_scores(connection)
        rollups.refresh(connection)
    with db.transaction("viewer") as connection:
        found = rollups.overview(connection)
    assert found is not None
    assert {key: found[key] for key in ("candidates", "channels", "snapshots", "scored", "sample")} == {
        "candidates": 3, "channels": 2, "snapshots": 4, "scored": 2, "sample": 1,
    }  # fmt: skip
    assert found["platforms"] == [{"value": "youtube", "n": 2}, {"value": "tiktok", "n": 1}]
    assert found["categories"] == [{"value": "Music", "n": 2}, {"value": "Comedy", "n": 1}]
    assert found["formats"] == [{"value": "video", "n": 2}, {"value": "short", "n": 1}]
    assert found["languages"] == [{"value": "en", "n": 1}]
    assert found["newest_snapshot"] == (NOW - timedelta(days=7)).isoformat()
    assert (found["model_version"], found["base_rate"]) == ("m", pytest.approx(0.1))


def test_an_empty_database_has_an_overview(database):
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
        found = rollups.overview(connection)
    assert found is not None
    assert (found["candidates"], found["newest_snapshot"], found["platforms"]) == (0, None, [])


def with_titles(rng: random.Random) -> list[Observation]:
    looks = []
    for channel in range(15):
        for number in range(20):
            purple = rng.random() < 0.4
            views = round(1000 * (2 if purple else 1) * rng.uniform(0.8, 1.25))
            title = f"Video with {'purple paint' if purple else 'paint'}"
            looks.append(seen(f"{channel}-{number}", 3, views, channel=str(channel), title=title))
    return looks


def test_title_patterns_are_written_with_lift_and_examples(database):
    put(with_titles(random.Random(2)))
    steps = []
    with db.transaction("worker") as connection:
        rollups.refresh(connection, lambda done, total: steps.append((done, total)))
        row = connection.execute(
            text("SELECT * FROM title_patterns WHERE scope = 'all' AND pattern = 'with purple paint'")
        ).one()
        titles = connection.scalars(
            text("SELECT title FROM candidates WHERE candidate_id = ANY(:ids)"), {"ids": row.examples}
        ).all()
    assert row.lift_low < 2 < row.lift_high
    assert row.q_value < 0.001
    assert row.n_channels == 15
    assert titles == ["Video with purple paint"] * patterns.EXAMPLES
    assert steps == [(done, 5) for done in range(6)]


def patterns_written(connection: Connection) -> datetime | None:
    return connection.scalar(text("SELECT refreshed_at FROM rollups WHERE name = 'title_patterns'"))


def test_a_small_change_does_not_compute_the_patterns_again_but_enough_of_them_do(database):
    put(with_titles(random.Random(3)))
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
        first = patterns_written(connection)
    for number in range(3):  # one per cent of 300
        put([seen(f"0-{number}", 3.5, 5000, channel="0", title="Video with paint")])
        with db.transaction("worker") as connection:
            rollups.measure(connection)  # as the scoring job does before it
            rollups.refresh(connection)
            assert patterns_written(connection) == first
    put([seen("0-9", 3.5, 5000, channel="0", title="Video with paint")])
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
        second = patterns_written(connection)
    assert second > first
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
        assert patterns_written(connection) == second
        # after six hours a single change is enough
        connection.execute(text("UPDATE rollups SET refreshed_at = refreshed_at - interval '7 hours'"))
        rollups.refresh(connection)
        assert patterns_written(connection) < second  # … but not none at all
    put([seen("0-10", 3.5, 5000, channel="0", title="Video with paint")])
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
        assert patterns_written(connection) > second


def test_a_second_refresh_waits_for_the_first(database):
    put([seen("a", 3, 1)])
    with db.transaction("worker") as first:
        rollups.refresh(first)
        with db.transaction("worker") as second:
            second.execute(text("SET LOCAL lock_timeout = '200ms'"))
            with pytest.raises(Exception, match="lock timeout"):
                rollups.refresh(second)
            second.rollback()


def test_a_viewer_can_read_the_roll_ups_but_not_write_them(database):
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
    with db.transaction("viewer") as connection:
        assert rollups.overview(connection) is not None
    with pytest.raises(Exception, match="permission denied"), db.transaction("viewer") as connection:
        rollups.write(connection, "overview", {})
