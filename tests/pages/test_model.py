"""The Model page as an operator meets it: on nothing, on the sample, with outcomes, drift and a shadow."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import streamlit as st
from sqlalchemy import text
from streamlit.testing.v1 import AppTest
from tables import change

from miles import calibration, db, monitor, registry, rollups, scoring
from miles.calibration import Bin, Check, Coverage, Interval, Shift
from ui import findings

Visit = Callable[..., AppTest]
VIEWS = ("Outcomes", "Drift", "Shadow", "About", "History")
NOW = datetime.now(UTC).replace(microsecond=0)
SHIPPED = registry.read_manifest(scoring.DEFAULT_FOLDER)["version"]


def said(app: AppTest) -> str:
    shown = [*app.title, *app.header, *app.markdown, *app.caption, *app.error, *app.warning, *app.code, *app.toast]
    return "\n".join(str(part.value) for part in shown).replace("\\", "")


def metrics(app: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in app.metric}


def refresh(now: datetime = NOW) -> None:
    with db.transaction("worker") as connection:
        monitor.refresh(connection, now=now)


@pytest.fixture
def versions(database: str) -> None:
    """The shipped version in force; another one in its shadow."""
    registry.forget()
    registry.active_model()
    change(
        "INSERT INTO model_versions (model_version, manifest, state)"
        " SELECT 'next', manifest, 'shadow' FROM model_versions"
    )


def videos(n: int) -> None:
    """As many videos of as many channels, scored by both versions; the shadow scores the first ones higher."""
    change(
        "INSERT INTO channels (channel_key, platform, channel_id, first_seen_at, last_seen_at)"
        " SELECT 'youtube:c' || i, 'youtube', 'c' || i, now(), now() FROM generate_series(1, :n) AS i",
        n=n,
    )
    change(
        "INSERT INTO candidates (candidate_id, platform, video_id, title, channel_key, tier, source, first_seen_at,"
        " last_seen_at, published_at) SELECT 'youtube:v' || i, 'youtube', 'v' || i, 'Video *' || i || '*',"
        " 'youtube:c' || i, 'full', 'test', now(), now(), now() - interval '9 days' FROM generate_series(1, :n) AS i",
        n=n,
    )
    change(
        "INSERT INTO scores (candidate_id, model_version, mode, viral_score, base_rate, predicted_velocity,"
        " velocity_low, velocity_high, scored_change)"
        " SELECT candidate_id, model_versions.model_version, 'candidate',"
        " least(substr(video_id, 2)::float / 500 + CASE WHEN state = 'shadow' AND video_id < 'v2' THEN 0.3 ELSE 0 END, 1),"
        " 0.1, substr(video_id, 2)::float, 1, 1000, changed_at FROM candidates CROSS JOIN model_versions"
    )
    change("UPDATE candidates SET scored_change = changed_at, model_version = :v, viral_score = 0.2", v=SHIPPED)


def outcomes(n: int, basis: str = "foresight", *, version: str = SHIPPED) -> None:
    """What a version foretold of the first n videos, and what came of it: 3 in 10 happen. The shipped version says
    0.3 of each, another one knows."""
    change(
        "INSERT INTO forecasts (candidate_id, model_version, basis, observed_day, observed_at, scored_at, views, age_band,"
        " viral_score, base_rate, threshold, predicted_velocity, velocity_low, velocity_high, outcome_at, velocity)"
        " SELECT 'youtube:v' || i, :version, :basis, CAST(:at AS date), :at, :at + interval '1 min', 1000, '6-12h',"
        " CASE WHEN :knows THEN CASE WHEN i % 10 < 3 THEN 0.8 ELSE 0.1 END ELSE 0.3 END, 0.1, 1000, 1300, 500, 5000,"
        " :at + interval '3 days', CASE WHEN i % 10 < 3 THEN 2000 ELSE 600 END FROM generate_series(1, :n) AS i",
        version=version, basis=basis, at=NOW - timedelta(days=6), n=n, knows=version != SHIPPED,
    )  # fmt: skip


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_opens_on_an_empty_database(visit: Visit, view: str) -> None:
    registry.forget()
    app = visit("model", show=view)
    assert not app.exception
    assert not app.error
    assert SHIPPED in said(app)
    assert "in force" in said(app)


@pytest.mark.usefixtures("sample_database")
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_opens_on_the_sample_whose_outcomes_do_not_count(visit: Visit, view: str) -> None:
    registry.forget()
    registry.active_model()
    refresh()
    app = visit("model", show=view)
    assert not app.exception
    assert not app.error
    assert "Every video, channel and number here is invented" in said(app)
    if view == "Outcomes":
        assert "No outcome is known yet" in said(app)
        assert "neither does sample data" in said(app)


def test_without_any_model_the_page_says_what_to_do(
    visit: Visit, database: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miles import settings

    monkeypatch.setenv("MILES_MODEL", str(tmp_path))
    settings.load.cache_clear()
    registry.forget()
    app = visit("model")
    assert not app.exception
    assert "There is no model" in app.error[0].value


@pytest.mark.usefixtures("versions")
def test_outcomes_are_shown_with_their_figures_and_counted(visit: Visit) -> None:
    videos(150)
    outcomes(150)
    refresh()
    app = visit("model")
    assert not app.exception
    assert "Promised 30 in 100, happened 30 in 100" in said(app)
    assert "150 forecasts of 150 channels" in said(app)
    assert metrics(app)["In 80% interval"] == "100%"
    assert metrics(app)["Typical error"] == "117%"
    assert "6–12 h" in said(app)
    assert "Run a backtest" in [button.label for button in app.button]


@pytest.mark.usefixtures("versions")
def test_too_few_outcomes_are_not_drawn(visit: Visit) -> None:
    videos(40)
    outcomes(40)
    refresh()
    app = visit("model")
    assert "Not enough data: 40 of 100 outcomes" in said(app)
    assert not metrics(app)


@pytest.mark.usefixtures("versions")
def test_a_backtest_is_queued_and_shown_apart(visit: Visit) -> None:
    app = visit("model", show="Outcomes")
    assert "No outcome is known yet" not in said(app)  # nothing was summed up
    refresh()
    import streamlit as st

    st.cache_data.clear()
    app = visit("model")
    next(button for button in app.button if button.label == "Run a backtest").click().run()
    assert not app.exception
    with db.transaction("viewer") as connection:
        queued = connection.execute(text("SELECT task_name, args->>'model_version' FROM procrastinate_jobs")).all()
    assert queued == [("backtest", SHIPPED)]
    videos(150)
    outcomes(150, "backtest")
    refresh(NOW + timedelta(hours=1))
    st.cache_data.clear()
    app = visit("model")
    assert "No outcome is known yet" in said(app)  # of foresight
    assert "150 looks of 150 channels" in said(app)


@pytest.mark.usefixtures("versions")
def test_the_shadow_is_compared_and_its_movers_lead_to_their_details(visit: Visit) -> None:
    videos(150)
    outcomes(150)
    outcomes(150, version="next")
    refresh()
    app = visit("model", show="Shadow")
    assert not app.exception
    assert "change their order" in said(app)
    assert "On the same outcomes the version in shadow was nearer" in said(app)
    assert "Would rise most" in said(app)
    mover = next(button for button in app.button if "Video" in button.label)
    mover.click().run()
    assert not app.exception
    assert "youtube:v" in str(app.query_params["video"])


@pytest.mark.usefixtures("versions")
def test_a_shadow_that_has_not_scored_is_said_to_be_so(visit: Visit) -> None:
    refresh()
    assert "next has not scored enough to be compared" in said(visit("model", show="Shadow"))
    change("UPDATE model_versions SET state = 'retired' WHERE state = 'shadow'")
    import streamlit as st

    st.cache_data.clear()
    assert "No version scores in shadow" in said(visit("model", show="Shadow"))


@pytest.mark.usefixtures("versions")
def test_drift_is_shown_with_its_convention(visit: Visit) -> None:
    refresh()
    with db.transaction("worker") as connection:
        data = rollups.read(connection, f"model:{SHIPPED}")
        assert data is not None
        shift = {"name": "views", "psi": 0.31, "before": 0.1, "lately": 0.3, "where": "high"}
        score = {"name": calibration.SCORE, "psi": 0.02, "before": 0.1, "lately": 0.11, "where": "low"}
        data["drift"] = {
            "at": NOW.isoformat(), "reference": None, "from_manifest": True, "reference_from": "2026-05-01",
            "reference_until": "2026-05-31", "reference_n": 11000, "recent_from": "2026-10-01",
            "recent_until": "2026-10-28", "recent_n": 1000, "shifts": [score, shift],
        }  # fmt: skip
        rollups.write(connection, f"model:{SHIPPED}", data)
    app = visit("model", show="Drift")
    assert not app.exception
    assert "The score is stable; 1 of 1 inputs drifted (views)" in said(app)
    for part in ("10 quantile bins", "0.0001", "below 0.1 is stable", "0.25 shifted", "1 May 2026 to 31 May 2026"):
        assert part in said(app)


@pytest.mark.usefixtures("versions")
def test_the_card_tells_events_base_rates_and_figures(visit: Visit) -> None:
    app = visit("model", show="About")
    assert not app.exception
    assert "90th percentile" in said(app)
    assert [one.label for one in app.metric] == ["Base rate", "Base rate"]
    (table,) = app.dataframe
    assert list(table.value["Figure"]) == ["Spearman", "AUROC", "Spearman", "AUROC"]
    assert "## " in said(app)  # the whole card, below


@pytest.mark.usefixtures("versions")
def test_another_version_is_chosen_by_the_address(visit: Visit) -> None:
    assert "Version next · " in said(visit("model", version="next"))
    nonsense = visit("model", version="nonsense")
    assert not nonsense.exception
    assert f"Version {SHIPPED}" in said(nonsense)


@pytest.mark.usefixtures("versions")
def test_the_history_tells_who_changed_what(visit: Visit) -> None:
    with db.transaction("worker") as connection:
        change("UPDATE model_versions SET state = 'retired' WHERE state = 'shadow'")
        registry.activate(connection, scoring.DEFAULT_FOLDER, "ann *b*")
    app = visit("model", show="History")
    assert not app.exception
    assert list(app.dataframe[0].value["How"]) == ["chosen", "first start"]
    assert "python -m miles model rollback" in said(app)


# -- findings


def checked(**changes: object) -> Check:
    known = Interval(0.1, 0.05, 0.15)
    facts: dict = {
        "n": 1000, "channels": 500, "happened": 100, "promised": 0.1, "bins": (Bin(0.1, known, 1000),),
        "brier": known, "skill": Interval(0.4, 0.3, 0.5), "ece": known, "coverage": Interval(0.8, 0.78, 0.82),
        "by_age": (), "error": known, "rank": 0.9,
    }  # fmt: skip
    return Check(**facts | changes)


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (checked(), "Promised 10 in 100, happened 10 in 100; every group agrees with its promise"),
        (
            checked(bins=(Bin(0.1, Interval(0.1, 0.05, 0.15), 500), Bin(0.6, Interval(0.3, 0.2, 0.4), 500))),
            "Promised 10 in 100, happened 10 in 100; 1 of 2 groups is off, around 60 in 100 it happened less often",
        ),
        (checked(skill=Interval(-0.2, -0.3, -0.1)), "Promised 10 in 100, happened 10 in 100: worse than always"),
        (Check(0, 0, 0), "No outcome is known yet"),
        (Check(50, 5, 1), "Not enough data: 50 of 100 outcomes, 5 of 20 channels, 1 of 5 videos that took off"),
    ],
)
def test_the_finding_about_promises_follows_from_the_figures(check: Check, sentence: str) -> None:
    assert findings.promises(check).startswith(sentence)


def test_the_finding_about_intervals_names_the_ages_that_are_off() -> None:
    narrow = Coverage("7d+", Interval(0.7, 0.65, 0.75), 500)
    wide = Coverage("6-12h", Interval(0.9, 0.85, 0.95), 500)
    right = Coverage("1-2d", Interval(0.81, 0.79, 0.83), 500)
    assert findings.coverage(checked(by_age=(right,))) == "The intervals hold what they promise at every age"
    assert findings.coverage(checked(by_age=(narrow, wide, right))) == (
        "The intervals are too narrow at 7 days and more and wider than needed at 6–12 h"
    )


def test_the_finding_about_drift_counts_by_verdict() -> None:
    def moved(name: str, psi: float) -> Shift:
        return Shift(name, psi, 0.1, 0.2, "low")

    assert findings.drift([moved(calibration.SCORE, 0.2), moved("age", 0.05)]) == (
        "The score shifted; all inputs are stable"
    )
    assert findings.drift([moved(calibration.SCORE, 0.0), moved("a", 0.5), moved("b", 0.12)]) == (
        "The score is stable; 1 of 2 inputs drifted (a); 1 of 2 inputs shifted (b)"
    )


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Interval(0.02, 0.01, 0.03), "version in shadow was nearer"),
        (Interval(-0.02, -0.03, -0.01), "version in force was nearer"),
        (Interval(0.0, -0.01, 0.01), "neither can be told"),
    ],
)
def test_a_version_is_better_only_where_the_interval_leaves_no_doubt(gain: Interval, said: str) -> None:
    assert said in findings.better(gain)


def test_published_drafts_are_counted_until_there_are_enough_to_be_judged(versions: None, visit: Visit) -> None:
    refresh()
    assert "Drafts that were published" not in said(visit("model"))
    videos(120)
    change("INSERT INTO users (user_id) VALUES ('ada')")
    change(
        "INSERT INTO drafts (user_id, title, viral_score, base_rate, predicted_views, views_low, views_high, published_url,"
        " published_key, linked_at) SELECT 'ada', 'Secret plan ' || i, 0.1, 0.1, 10, 5, 20, 'https://youtu.be/' || i,"
        " 'youtube:v' || i, now() FROM generate_series(1, 120) AS i"
    )
    tell = (
        "INSERT INTO draft_outcomes SELECT draft_id, published_key, now(), now(), 12, 1, draft_id % 10 = 0, true"
        " FROM drafts ORDER BY draft_id LIMIT :n ON CONFLICT DO NOTHING"
    )
    change(tell, n=30)
    refresh()
    st.cache_data.clear()
    shown = said(visit("model"))
    assert "Drafts that were published" in shown
    assert "120 drafts of all users and versions linked to a video: of 30 the first day is known" in shown
    change(tell, n=120)
    refresh()
    st.cache_data.clear()
    shown = said(visit("model"))
    assert "of 120 the channel's usual is known" in shown
    assert "Secret plan" not in shown
    assert "By whose idea" not in shown  # all of them their users'
    change("UPDATE drafts SET origin = 'offline' WHERE draft_id % 2 = 0")
    refresh()
    st.cache_data.clear()
    shown = said(visit("model"))
    assert "By whose idea they were" in shown
    assert "**Concepts written offline** (60): Not enough data: 60 of 100 outcomes" in shown
    assert "**One's own** (60)" in shown
