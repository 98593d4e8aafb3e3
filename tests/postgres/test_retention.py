"""Thinning: what goes, what stays, and that no number that rests on the looks changes."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from tables import put

from miles import db, metrics, monitor, retention, revisits, rollups, score_candidates, settings
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.store import observe, run

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    pass


def look(name: str, moment: datetime, views: int | None, **facts) -> Observation:
    shot = {key: facts.pop(key) for key in ("country", "exact", "likes") if key in facts}
    tier = facts.pop("tier", "full")
    channel = facts.pop("channel", "c")
    candidate = Candidate(
        facts.pop("platform", "youtube"),
        name,
        f"Title of {name}",
        channel=Channel("youtube", channel) if channel else None,
        **{"published_at": NOW - 200 * DAY, "media_type": "video", "url": f"https://example.com/{name}", **facts},
    )
    return Observation(candidate, Snapshot(moment, views, **shot), tier, "youtube yt-dlp-2026.10.26")


def moments(name: str = "v") -> list[datetime]:
    with db.transaction("worker") as connection:
        return list(
            connection.scalars(
                text("SELECT observed_at FROM snapshots WHERE candidate_id = :id ORDER BY 1"), {"id": f"youtube:{name}"}
            )
        )


def count() -> int:
    with db.transaction("worker") as connection:
        return connection.execute(text("SELECT count(*) FROM snapshots")).scalar_one()


def invented(rng: random.Random, videos: int = 120) -> list[Observation]:
    """Videos of few channels that were looked at often, now and then on a chart or rounded, some across the change
    of what a view of a Short is, some not for months."""
    looks = []
    for number in range(videos):
        base = metrics.SHORTS_ERA if rng.random() < 0.3 else NOW - rng.choice([20, 100, 150]) * DAY
        published = base - rng.uniform(0, 6) * DAY
        facts = {
            "channel": f"c{number % 4}" if number % 15 else None,
            "media_type": ("short", "video", None)[number % 3],
            **({"published_at": published} if number % 7 else {"published_at": None, "published_about": published}),
        }
        span = rng.choice([2, 10, 60])
        for _ in range(rng.randint(2, 40)):
            age = rng.choice([rng.uniform(0, span), rng.uniform(0, 2), 0.25, 0.5, 1.0, 2.0, 2.5, 3.5])
            looks.append(
                look(
                    f"v{number}",
                    min(published + age * DAY, NOW),
                    None if rng.random() < 0.1 else rng.choice([0, rng.randint(1, 50), rng.randint(1, 10**6)]),
                    exact=rng.random() < 0.8,
                    tier=rng.choice(["flat", "full"]),
                    country=rng.choice([None, None, "DE", "FR"]),
                    **facts,
                )
            )
    return looks


def measured_anew() -> dict[str, dict]:
    """Every measured number, measured from what there is."""
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET measured_change = NULL"))
        rollups.measure(connection)
        rows = connection.execute(
            text("SELECT candidate_id, to_jsonb(candidates) - 'measured_change' AS facts FROM candidates")
        )
        return {row.candidate_id: row.facts for row in rows}


def what_the_model_sees() -> dict[str, object]:
    """The inputs of every candidate now, at its first looks for the backtest, and what came of those."""
    earliest, aim, latest = (timedelta(days=days) for days in monitor.WINDOW)
    with db.transaction("worker") as connection:
        ids = list(connection.scalars(text("SELECT candidate_id FROM candidates ORDER BY 1")))
        now = {key: score_candidates.input_of(connection, key) for key in ids}
        past = run(
            connection,
            monitor._PAST_LOOKS,
            {"earliest": earliest, "aim": aim, "latest": latest, "after": None, "most": 10_000},
        ).fetchall()
        at = score_candidates.inputs_at(connection, [(row[0], row[3]) for row in past])
        due = [found.key for found in revisits.due(connection, 10_000)]
    assert len(past) > 20
    return {"now": now, "past": past, "at": {video.key: video for video in at}, "due": due}


@pytest.mark.parametrize("seed", range(4))
def test_no_number_changes_by_thinning(seed: int) -> None:
    put(invented(random.Random(seed)))
    before, seen, number = measured_anew(), what_the_model_sees(), count()
    outcome = retention.thin(now=NOW, days=30)
    assert outcome.removed == number - count()
    assert outcome.removed > 50
    assert outcome.skipped == 0
    assert measured_anew() == before
    assert what_the_model_sees() == seen
    assert retention.thin(now=NOW, days=30).removed == 0


# Those that look forward, or at what the invented videos lack, have tests of their own.
OWN_TESTS = {"the last exact one of a day", "the last full one of a day", "forecasts and their outcomes"}


@pytest.mark.parametrize("rule", [rule for rule in retention.KEPT if rule not in OWN_TESTS])
def test_each_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it some number changes: that shows what the test above can see."""
    put(invented(random.Random(0), videos=400))
    before, seen = measured_anew(), what_the_model_sees()
    monkeypatch.delitem(retention.KEPT, rule)
    retention.thin(now=NOW, days=14)
    assert (measured_anew(), what_the_model_sees()) != (before, seen)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_seen_later_is_measured_as_if_nothing_had_been_thinned(seed: int) -> None:
    put(invented(random.Random(100 + seed)))

    def shots() -> dict[str, list[Snapshot]]:
        found: dict[str, list[Snapshot]] = {}
        with db.transaction("worker") as connection:
            for row in connection.execute(text("SELECT candidate_id, observed_at, views, exact FROM snapshots")):
                found.setdefault(row.candidate_id, []).append(Snapshot(row.observed_at, row.views, exact=row.exact))
        return found

    before = shots()
    assert retention.thin(now=NOW, days=30).removed
    after = shots()
    for later in (timedelta(hours=1), timedelta(hours=13), 3 * DAY):
        for key, kept in after.items():
            new = Snapshot(NOW + later, 2_000_000, exact=True)
            assert metrics.measured_velocity([*kept, new]) == metrics.measured_velocity([*before[key], new])


def test_recent_days_keep_every_look_and_older_ones_one_on_each_chart() -> None:
    old = NOW.replace(hour=0) - 100 * DAY
    hours = [old + timedelta(hours=hour) for hour in (1, 7, 13, 19)]
    # velocity rests on later looks, outlier multiples and the channel's history on earlier ones
    recent = [NOW - timedelta(hours=hours) for hours in (2, 8, 14, 20, 26)]
    first = [NOW - 200 * DAY + timedelta(hours=hours) for hours in (7, 26, 85)]
    put([look("v", moment, 100 + at) for at, moment in enumerate([*first, *hours, *recent])])
    put([look("v", moment + timedelta(minutes=9), 100, country="DE") for moment in hours[:2]])
    retention.thin(now=NOW, days=90)
    kept = moments()
    assert set(recent) <= set(kept)
    # the last of all, and the last on the German chart
    assert [moment for moment in kept if old <= moment < old + DAY] == [hours[1] + timedelta(minutes=9), hours[3]]


def test_a_forecast_keeps_the_looks_that_it_and_its_outcome_rest_on() -> None:
    old = NOW.replace(hour=0) - 100 * DAY
    looks = [old + timedelta(hours=hour) for hour in range(0, 120, 6)]
    put([look("v", moment, 100 + at) for at, moment in enumerate(looks)])
    with db.transaction("worker") as connection:
        connection.execute(text("INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}')"))
        connection.execute(
            text(
                "INSERT INTO forecasts VALUES ('youtube:v', 'm', 'foresight', :day, :at, :at, 100, 'x', 0.5, 0.1, 5, 1, 0,"
                " 2, :outcome, 3)"
            ),
            {"day": looks[1].date(), "at": looks[1], "outcome": looks[13]},
        )
    retention.thin(now=NOW, days=90)
    assert {looks[1], looks[13]} <= set(moments())
    assert len(moments()) < 12


def test_the_last_exact_and_the_last_full_look_of_a_day_stay_beside_the_last_one() -> None:
    old = NOW.replace(hour=0) - 100 * DAY
    put([look("v", old + timedelta(days=-90 + 10 * at), at) for at in range(8)])
    put([look("v", old + timedelta(hours=hour), 100 + hour) for hour in (1, 2)])  # full and exact
    put([look("v", old + timedelta(hours=hour), 100 + hour, tier="flat") for hour in (3, 4)])  # exact
    put([look("v", old + timedelta(hours=hour), 100, tier="flat", exact=False) for hour in (5, 6)])
    put([look("v", NOW - at * DAY, 10_000 - at) for at in range(3)])
    retention.thin(now=NOW, days=90)
    assert [round((moment - old) / timedelta(hours=1)) for moment in moments() if old < moment < old + DAY] == [2, 4, 6]


def test_zero_days_keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    put([look("v", NOW - 150 * DAY + timedelta(hours=hour), hour) for hour in range(24)])
    monkeypatch.setenv("MILES_DETAIL_DAYS", "0")
    settings.load.cache_clear()
    assert retention.thin(now=NOW) == retention.Thinned(None, 0, 0, 0)
    assert count() == 24
    monkeypatch.delenv("MILES_DETAIL_DAYS")
    settings.load.cache_clear()
    assert retention.thin(now=NOW).removed > 15


def test_a_dry_run_says_what_would_go_and_leaves_it() -> None:
    put([look("v", NOW - 150 * DAY + timedelta(hours=hour), hour) for hour in range(24)])
    told = retention.thin(now=NOW, dry_run=True)
    assert count() == 24
    assert retention.thin(now=NOW).removed == told.removed == 24 - count()


def test_the_next_run_looks_only_at_what_grew_old_or_changed() -> None:
    names = [f"v{number}" for number in range(20)]
    put([look(name, NOW - 150 * DAY + timedelta(hours=hour), hour) for name in names for hour in range(24)])
    assert retention.thin(now=NOW).videos == 20
    assert retention.thin(now=NOW + DAY).videos == 0
    # an old file brings looks at an old day
    put([look("v3", NOW - 149 * DAY + timedelta(hours=hour), 30 + hour) for hour in range(10)])
    later = retention.thin(now=NOW + 2 * DAY)
    assert later.videos == 1
    assert later.removed >= 8


def test_videos_that_somebody_is_writing_on_are_left_to_the_next_run() -> None:
    names = [f"v{number}" for number in range(10)]
    put([look(name, NOW - 150 * DAY + timedelta(hours=hour), hour) for name in names for hour in range(24)])
    with db.transaction("worker") as connection:
        observe(connection, [look("v4", NOW, 1000)])
        with ThreadPoolExecutor(1) as pool:  # it does not wait
            outcome = pool.submit(retention.thin, now=NOW).result(60)
    assert (outcome.videos, outcome.skipped) == (9, 1)
    assert len(moments("v4")) == 25
    again = retention.thin(now=NOW)
    assert again.skipped == 0
    assert len(moments("v4")) < 12


def test_a_run_that_is_stopped_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    names = [f"v{number}" for number in range(10)]
    put([look(name, NOW - 150 * DAY + timedelta(hours=hour), hour) for name in names for hour in range(24)])
    told: list[tuple[int, int]] = []
    first = retention.thin(
        now=NOW, stop=lambda: len(told) == 2, on_progress=lambda done, total: told.append((done, total))
    )
    assert first.videos == 6
    assert told == [(3, 10), (6, 10)]
    second = retention.thin(now=NOW)
    assert second.removed == first.removed / 6 * 4


def test_sample_data_is_left_as_it_is() -> None:
    with db.transaction("worker") as connection:
        rows = [look("v", NOW - 150 * DAY + timedelta(hours=hour), hour) for hour in range(24)]
        observe(connection, rows, sample=True)
    assert retention.thin(now=NOW).removed == 0
