"""The Operations page in Streamlit's own test frame, on a real database and queue."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import collecting, db, items, jobs, operations, pacing, settings, watchlist

HOME = Path(__file__).resolve().parents[2] / "Home.py"


pytestmark = pytest.mark.usefixtures("database")


def opened(**query: str) -> AppTest:
    app = AppTest.from_file(str(HOME), default_timeout=60)
    app.run()
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page("pages/operations.py").run()
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    shown = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info, *app.toast]
    return "\n".join(str(element.value) for element in shown)


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def listed() -> list[operations.Job]:
    with db.transaction("viewer") as connection:
        return operations.jobs(connection)


def test_without_a_worker_the_page_says_how_to_start_one():
    assert "python -m miles worker" in texts(opened())


def test_with_a_worker_it_does_not():
    with db.transaction("worker") as connection:
        connection.execute(text("INSERT INTO procrastinate_workers DEFAULT VALUES"))
    assert "python -m miles worker" not in texts(opened())


@pytest.mark.parametrize(
    ("target", "kind"),
    [("street food", "topic"), ("@cook", "channel"), ("#ramen", "hashtag"), ("https://example.org/v", "url")],
)
def test_collect_now_queues_a_job_of_the_kind_that_it_looks_like(target: str, kind: str):
    app = opened()
    app.text_input(key="target").set_value(target)
    press(app, "Collect now")
    (job,) = listed()
    assert (job.task, job.state, job.target, job.kind) == ("collect", "waiting", target, kind)
    assert "Collection queued" in texts(app)


@pytest.mark.parametrize("target", ["", "   ", "x" * 50_000, "\x00", "\n"])
def test_nothing_and_essays_are_refused_with_a_sentence(target: str):
    app = opened()
    app.text_input(key="target").set_value(target)
    press(app, "Collect now")
    assert app.error
    assert listed() == []


@pytest.mark.parametrize(
    "target", ["🍜🔥", "سوق الليل", "'; DROP TABLE jobs; --", "*[a](b)* $x$ :material/home:", "a\x00b"]
)
def test_any_topic_can_be_collected_and_is_shown_as_it_is(target: str):
    app = opened()
    app.text_input(key="target").set_value(target)
    press(app, "Collect now")
    assert listed()[0].target == target.replace("\x00", "")


def test_a_failed_job_shows_its_reason_and_a_retry_button():
    with db.transaction("operator") as connection:
        jobs.defer_collection(connection, "street food")
    job_id = listed()[0].job_id
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'failed'"))
        connection.execute(
            text("INSERT INTO job_failures (job_id, reason) VALUES (:id, 'The site answers 429')"), {"id": job_id}
        )
    app = opened(show="Jobs")
    assert "The site answers 429" in texts(app)
    app.button(key=f"retry-{job_id}").click().run()
    assert not app.exception
    assert listed()[0].state == "waiting"


def test_a_waiting_job_can_be_cancelled():
    with db.transaction("operator") as connection:
        jobs.defer_collection(connection, "street food")
    job_id = listed()[0].job_id
    app = opened(show="Jobs")
    app.button(key=f"cancel-{job_id}").click().run()
    assert not app.exception
    assert listed()[0].state == "cancelled"


def test_a_job_that_started_meanwhile_gives_a_sentence_instead_of_an_exception():
    with db.transaction("operator") as connection:
        jobs.defer_collection(connection, "street food")
    job_id = listed()[0].job_id
    app = opened(show="Jobs")
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
    app.button(key=f"cancel-{job_id}").click().run()
    assert not app.exception
    assert listed()[0].state == "running"


@pytest.mark.parametrize(
    ("label", "task"),
    [("Score what is new", "score"), ("Refresh the summaries", "roll_up"), ("Load sample data", "load_sample")],
)
def test_each_action_queues_its_job(label: str, task: str):
    press(opened(show="Jobs"), label)
    assert [job.task for job in listed()] == [task]


def test_collections_are_listed_with_their_counts():
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO collections (target, kind, item_limit, asked_by, state, found, new, failed, finished_at)"
                " VALUES ('street food', 'topic', 20, 'local', 'done', 12, 11, 1, now())"
            )
        )
    (table,) = opened(show="Collections").dataframe
    assert list(table.value["New"]) == [11]
    assert list(table.value["What"]) == ["street food"]


def test_the_installation_names_versions_and_places():
    shown = texts(opened(show="Installation"))
    assert "yt-dlp" in shown
    assert "days old" in shown
    assert "PostgreSQL" in shown
    assert str(settings.load().home).replace("_", "\\_") in shown.replace("\\-", "-").replace("\\.", ".")


@pytest.mark.parametrize("show", ["Collections", "Watchlist", "Sources", "Jobs", "Installation", "nonsense"])
def test_every_view_opens_on_an_empty_database(show: str):
    opened(show=show)


# -- collections under way


def running(**columns: object) -> int:
    """A collection that runs, with items of every outcome."""
    with db.transaction("worker") as connection:
        collection_id = jobs.defer_collection(connection, "street food", item_limit=40)
        for number in range(10):
            outcome, reason, kind = {
                0: ("new", None, None),
                1: ("updated", None, None),
                2: ("skipped", "collected less than 6 h ago", None),
                3: ("skipped", "the filter leaves it out (duration <= 180: it is 421)", None),
                4: ("failed", "The source answered 503.", "transient"),
            }.get(number, ("pending", None, None))
            connection.execute(
                text(
                    "INSERT INTO collection_items (collection_id, candidate_id, outcome, reason, error_kind, url) VALUES"
                    " (:id, :key, :outcome, :reason, :kind, 'https://www.youtube.com/watch?v=a')"
                ),
                {"id": collection_id, "key": f"youtube:v{number}", "outcome": outcome, "reason": reason, "kind": kind},
            )
        columns = {"state": "running", "started_at": datetime.now(UTC), "listed_at": datetime.now(UTC), **columns}
        for name, value in columns.items():
            connection.execute(
                text(f"UPDATE collections SET {name} = :value WHERE collection_id = :id"),
                {"value": value, "id": collection_id},
            )
        items.count(connection, collection_id)
    return collection_id


def state_of(collection_id: int) -> str:
    with db.transaction("viewer") as connection:
        return collecting.progress(connection, collection_id).state


def test_a_running_collection_tells_what_became_of_its_videos_and_when_it_can_be_done():
    running()
    shown = texts(opened())
    assert "10 found · 2 fetched · 2 skipped (1 collected less than 6 h ago, 1 the filter leaves it out)" in shown
    assert "1 failed (1 network or server trouble) · 5 to read" in shown
    assert "Can be done" in shown
    assert "under the pace and budget that all share" in shown


def test_a_waiting_collection_says_until_when_and_why_and_can_go_on_or_be_cancelled():
    collection_id = running(
        state="waiting", resume_at=datetime.now(UTC) + timedelta(hours=2), reason="youtube refuses us"
    )
    app = opened()
    assert "youtube refuses us" in texts(app)
    assert "goes on in 1 h (" in texts(app)
    app.button(key=f"resume-{collection_id}").click().run()
    assert not app.exception
    with db.transaction("viewer") as connection:
        assert collecting.progress(connection, collection_id).resume_at is None
    app.button(key=f"stop-{collection_id}").click().run()
    assert not app.exception
    assert state_of(collection_id) == "cancelled"
    assert listed()[0].state == "cancelled"
    assert "Nothing is being collected." in texts(app)


def test_a_running_collection_can_be_cancelled():
    collection_id = running()
    app = opened()
    app.button(key=f"stop-{collection_id}").click().run()
    assert not app.exception
    assert state_of(collection_id) == "cancelled"


def test_a_filter_goes_with_the_collection_and_a_slip_in_it_is_said_before_anything_is_queued():
    app = opened()
    app.text_input(key="target").set_value("street food")
    app.text_input(key="ask-keep").set_value("views > 1000")
    press(app, "Collect now")
    assert "Did you mean view\\_count" in texts(app)
    assert listed() == []
    app.text_input(key="ask-keep").set_value("view_count > 1000")
    app.selectbox(key="ask-region").set_value("JP")
    app.number_input(key="ask-read").set_value(5)
    press(app, "Collect now")
    with db.transaction("viewer") as connection:
        row = connection.execute(text("SELECT match_filter, region, language, read_limit FROM collections")).one()
    assert tuple(row) == ("view_count > 1000", "JP", None, 5)


# -- the watchlist


def watched() -> list[watchlist.Entry]:
    with db.transaction("viewer") as connection:
        return watchlist.entries(connection)


def test_something_is_added_run_edited_paused_and_removed():
    app = opened(show="Watchlist")
    assert "Nothing is watched" in texts(app)
    app.text_input(key="target").set_value("street food")
    app.selectbox(key="ask-every").set_value("12h")
    app.text_input(key="ask-keep").set_value("duration <= 180")
    press(app, "Add to the watchlist")
    [one] = watched()
    assert (one.target, one.every, one.match_filter) == ("street food", timedelta(hours=12), "duration <= 180")
    assert "Added to the watchlist" in texts(app)
    assert "Every 12 hours · up to 20 videos (at most 42 requests) · keeps `duration <= 180`" in texts(app)
    assert "Due now · not collected yet" in texts(app)

    app.button(key=f"run-{one.watch_id}").click().run()
    assert not app.exception
    assert [(job.task, job.state, job.target) for job in listed()] == [("collect", "waiting", "street food")]
    assert app.button(key=f"run-{one.watch_id}").disabled

    app.selectbox(key=f"edit-{one.watch_id}-every").set_value("3h")
    app.number_input(key=f"edit-{one.watch_id}-limit").set_value(7)
    app.text_input(key=f"edit-{one.watch_id}-keep").set_value("")
    press(app, "Save")
    [changed] = watched()
    assert (changed.every, changed.item_limit, changed.match_filter) == (timedelta(hours=3), 7, None)

    app.button(key=f"pause-{one.watch_id}").click().run()
    assert watched()[0].paused_at
    assert "Paused just now" in texts(app)
    app.button(key=f"pause-{one.watch_id}").click().run()
    assert watched()[0].paused_at is None

    app.button(key=f"unwatch-{one.watch_id}").click().run()
    assert not app.exception
    assert watched() == []


def test_the_last_run_of_an_entry_is_told_with_its_reason():
    with db.transaction("worker") as connection:
        watch_id, _ = watchlist.add(connection, "street food")
        collection_id = watchlist.start(connection, watch_id)
        connection.execute(
            text(
                "UPDATE collections SET state = 'failed', found = 5, new = 2, failed = 3, reason = 'The site is down',"
                " finished_at = now() WHERE collection_id = :id"
            ),
            {"id": collection_id},
        )
    shown = texts(opened(show="Watchlist"))
    assert (
        "last just now, failed, 2 new, 0 updated, 0 skipped, 3 failed: :orange[:material/warning:] The site is down"
        in shown
    )


# -- the sources


def test_a_fresh_installation_names_youtube_and_the_age_of_yt_dlp():
    shown = texts(opened(show="Sources"))
    assert "**YouTube** :gray-badge[not asked yet]" in shown
    assert "yt-dlp 20" in shown
    assert "Not checked yet" in shown


def test_a_source_shows_its_budget_its_breaker_and_its_canary():
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO sources (source, last_number, opened_at, resume_at, reason)"
                " VALUES ('youtube', 4, now(), now() + interval '50 minutes', 'it answered 429')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO source_requests (source, number, at, outcome) VALUES"
                " ('youtube', 1, now() - interval '3 minutes', 'ok'), ('youtube', 2, now() - interval '2 minutes', 'ok'),"
                " ('youtube', 3, now() - interval '2 minutes', 'gone'), ('youtube', 4, now(), 'rate_limited')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO canaries (source, passed, error_kind, reason, requests, seconds, yt_dlp)"
                " VALUES ('youtube', false, 'extractor', 'The first entry lacks a title', 1, 0.4, '2026.1.1')"
            )
        )
    app = opened(show="Sources")
    shown = texts(app)
    assert "refuses us; tried again in 49 min (" in shown or "refuses us; tried again in 50 min (" in shown
    assert "it answered 429" in shown
    assert "Checked just now: it can't be read (1 request, 0.4 s, yt-dlp 2026.1.1)" in shown
    assert {metric.label: metric.value for metric in app.metric} == {
        "Last success": "2 min ago",
        "Success rate, 24 h": "75%",
        "Requests this hour": "4 of 500",
        "Pace": "2.5 s",
    }
    app.button(key="canary-youtube").click().run()
    app.button(key="canary-youtube").click().run()
    assert not app.exception
    assert [(job.task, job.state) for job in listed()] == [("canary", "waiting")]  # asked for twice, once is enough
    app.button(key="try-youtube").click().run()
    assert not app.exception
    with db.transaction("viewer") as connection:
        assert pacing.state(connection)[0].breaker == "half-open"
