"""The Operations page in Streamlit's own test frame, on a real database and queue."""

from pathlib import Path

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db, jobs, operations, settings

HOME = Path(__file__).resolve().parents[2] / "Home.py"


@pytest.fixture(autouse=True)
def _fresh(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("MILES_START_WORKER", "false")
    settings.load.cache_clear()


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
