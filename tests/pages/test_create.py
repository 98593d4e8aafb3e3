"""The Score lab in Streamlit's own test frame, with a fake model and a real database."""

import io
import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from fake_model import FakeModel
from PIL import Image
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db, drafts, explain, score_candidates, settings, store, thumbnails
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.errors import ModelUnavailable
from miles.features import ScoreInput
from miles.scoring import Score

HOME = Path(__file__).resolve().parents[2] / "Home.py"
NOW = datetime.now(UTC)
NONSENSE = [
    "x" * 50_000,
    "🎬🔥" * 300,
    "a\x00b",
    "مقلب مضحك في السوق",
    "'; DROP TABLE drafts; --",
    "**bold** [link](http://x) $\\frac{1}{2}$ :material/home: <script>",
    "\n\n\n",
    "\u202e\u200b",
]


class ReadingModel(FakeModel):
    """One that also tells titles apart: by their letters."""

    manifest: ClassVar[dict] = {
        "files": {"text.onnx": {"sha256": "a"}, "tokenizer.json": {"sha256": "b"}},
        "inputs": {"max_tokens": 64, "text_width": 26},
    }

    def embed_titles(self, titles: Sequence[str]) -> np.ndarray:
        counts = np.array([[title.lower().count(letter) for letter in string.ascii_lowercase] for title in titles])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def _model(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("MILES_START_WORKER", "false")
    settings.load.cache_clear()
    monkeypatch.setattr("ui.data.model", FakeModel)


@pytest.fixture
def videos(database: str) -> None:
    channel = Channel("youtube", "cook", name="The Cook")
    rows = [
        Observation(
            Candidate(
                "youtube",
                f"v{n}",
                f"Street food at the night market, stall {n}",
                url=f"https://example.org/{n}",
                channel=channel if n < 8 else Channel("youtube", f"c{n}", name=f"Channel {n}"),
                published_at=NOW - timedelta(days=n + 2),
            ),
            Snapshot(NOW - timedelta(days=n + 1), views=1000 + n),
        )
        for n in range(20)
    ]
    with db.transaction("worker") as connection:
        store.observe(connection, rows)
        connection.execute(text("UPDATE candidates SET viral_score = 0.4, base_rate = 0.1, outlier_multiple = 2.0"))


def opened(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(HOME), default_timeout=60)
    app.run()
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page(f"pages/{page}.py").run()
    return app


def texts(app: AppTest) -> str:
    shown = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info, *app.header, *app.title]
    return "\n".join(str(element.value) for element in shown)


def lab(typed: str = "", **query: str) -> AppTest:
    app = opened("score_lab", **query)
    if typed:
        app.text_area(key="title").set_value(typed).run()
    assert not app.exception
    return app


# --- Score lab


def test_an_empty_lab_says_what_to_do():
    assert "Type a title to see its score" in texts(lab())


def test_a_title_gets_its_score_with_base_rate_and_interval():
    shown = texts(lab("A title of thirty characters.."))
    assert "17 in 100" in shown
    assert "where 10 in 100 is ordinary" in shown
    assert "8 of 10 lie in 9K–23K" in shown
    assert "The model notes" in shown


def test_a_title_in_the_address_is_scored_at_once():
    app = AppTest.from_file(str(HOME), default_timeout=60)
    app.run()
    app.query_params["title"] = "A title of thirty characters.."
    app.switch_page("pages/score_lab.py").run()
    assert app.text_area(key="title").value == "A title of thirty characters.."
    assert "17 in 100" in texts(app)


def test_with_a_channel_the_multiple_stands_with_its_interval(videos: None):
    app = lab("A title of thirty characters..")
    app.text_input(key="my_channel").set_value("cook").run()
    assert not app.exception
    shown = texts(app)
    assert "about 1.4×" in shown
    assert "8 of 10 lie in 0.90–2.3×" in shown
    assert "The model notes" not in shown


def test_an_unknown_channel_is_said_to_be_unknown(videos: None):
    app = lab("Title")
    app.text_input(key="my_channel").set_value("nobody at all").run()
    assert not app.exception
    assert "No collected channel has this name" in texts(app)


def test_several_titles_are_ranked_in_a_table():
    app = lab("short\na much longer title than that, which goes on and on\na medium title")
    (table,) = app.dataframe
    assert list(table.value["Title"]) == [
        "a much longer title than that, which goes on and on",
        "a medium title",
        "short",
    ]
    assert list(table.value["Place"]) == ["1", "2", "3"]
    assert "Most views expected, clearly ahead of the other 2: a much longer title" in texts(app).replace("\\", "")


def test_what_differs_by_less_than_the_noise_is_a_tie():
    app = lab("a medium title\na medium title.\nquite another one that is a lot longer than those two are")
    (table,) = app.dataframe
    assert list(table.value["Place"]) == ["1", "2=", "2="]
    app.text_area(key="title").set_value("a medium title\na medium title.").run()
    assert list(app.dataframe[0].value["Place"]) == ["1=", "1="]
    assert "All 2 are level" in texts(app)


def test_the_title_that_is_being_typed_is_judged_with_the_others():
    app = lab("short\na medium title")
    app.text_input(key="draft").set_value("a much longer title than that").run()
    assert not app.exception
    assert list(app.dataframe[0].value["Title"]) == ["a much longer title than that", "a medium title", "short"]
    app.text_area(key="title").set_value("").run()
    assert not app.dataframe
    assert "17 in 100" in texts(app) or "16 in 100" in texts(app)


def png(colour: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (320, 180), colour).save(written, "PNG")
    return written.getvalue()


def test_every_title_is_judged_with_every_thumbnail_and_each_cell_is_explained():
    app = lab("short\na much longer title than that", why="true")
    app.file_uploader(key="thumbnails").upload("one.png", png("teal")).upload("two.png", png("red")).run()
    assert not app.exception
    table = app.dataframe[0].value
    assert len(table) == 4
    assert list(table["Title"]) == ["a much longer title than that"] * 2 + ["short"] * 2
    assert all(cell.startswith("data:image/jpeg;base64,") for cell in table["Thumbnail"])
    assert "2 titles × 2 thumbnails" in texts(app)
    app.selectbox(key="explained").select("short").run()
    app.selectbox(key="explained-picture").select_index(1).run()
    assert not app.exception
    assert "“short” adds most" in texts(app)


def test_frames_that_another_page_sends_are_judged_until_they_are_left_out():
    kept = thumbnails.keep(png("teal"))
    app = lab("A title of thirty characters..")
    app.session_state["lab frames"] = [kept.sha256, "0" * 64]  # the second is not in the storage
    app.run()
    assert not app.exception
    assert "27 in 100" in texts(app)
    assert "not in the storage any more" in texts(app)
    app.button(key="no-frames").click().run()
    assert "17 in 100" in texts(app)


def test_the_same_thumbnail_twice_is_judged_once():
    app = lab("short")
    app.file_uploader(key="thumbnails").upload("one.png", png("teal")).upload("again.png", png("teal")).run()
    assert not app.exception
    assert not app.dataframe


def test_rows_of_a_spreadsheet_are_pasted_as_they_are():
    app = lab("Nr\tTitle\tOwner\n1\tshort\tAnn\n2\ta much longer title than that\tBen")
    assert list(app.dataframe[0].value["Title"]) == ["a much longer title than that", "short"]
    assert "Columns that are not used: Nr, Owner" in texts(app)


def test_titles_are_loaded_from_a_file_and_results_downloaded():
    app = lab()
    app.file_uploader(key="table").upload("titles.csv", b"title;note\nshort;x\na much longer title than that;y\n").run()
    assert not app.exception
    assert app.text_area(key="title").value == "short\na much longer title than that"
    assert "2 titles from titles" in texts(app)
    assert len(app.dataframe[0].value) == 2
    assert app.get("download_button")


def test_a_file_that_is_no_table_is_refused_in_a_sentence():
    app = lab("short")
    app.file_uploader(key="table").upload("titles.csv", b"\x00\x01\x02").run()
    assert not app.exception
    assert "not a table of text" in texts(app)
    assert app.text_area(key="title").value == "short"


def test_a_published_video_fills_in_what_is_known_of_it(videos: None):
    kept = thumbnails.keep(png("teal"))
    row = dict.fromkeys(("width", "height", "reason", "error_kind")) | {
        "candidate_id": "youtube:v3", "sha256": kept.sha256, "pin": kept.pin, "content_type": "image/png",
        "bytes": 1, "state": "stored",
    }  # fmt: skip
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET category = 'Comedy', duration = 41.6, language = 'en'"))
        thumbnails.write(db.psycopg_connection(connection).cursor(), [row])
    app = lab()
    app.text_input(key="source").set_value("youtube:v3").run()
    assert not app.exception
    assert app.text_area(key="title").value == "Street food at the night market, stall 3"
    assert app.text_input(key="my_channel").value == "youtube:cook"
    assert (app.selectbox(key="my_category").value, app.number_input(key="my_length").value) == ("Comedy", 42)
    shown = texts(app)
    assert "32 in 100" in shown  # 40 letters, and 10 for the thumbnail
    app.text_area(key="title").set_value("My own title").run()
    assert app.text_area(key="title").value == "My own title"  # filled in once, then the reader's


def test_a_published_video_that_is_not_collected_can_be(videos: None):
    app = lab()
    app.text_input(key="source").set_value("https://youtu.be/aaaaaaaaaaa").run()
    assert "not collected yet" in texts(app)
    app.button(key="collect-published").click().run()
    assert not app.exception
    with db.transaction("viewer") as connection:
        asked_for = connection.execute(text("SELECT target, kind, item_limit, asked_by FROM collections")).one()
    assert tuple(asked_for) == ("https://youtu.be/aaaaaaaaaaa", "url", 1, "local")
    assert "Being collected" in texts(app)
    app.text_input(key="source").set_value("nonsense here").run()
    assert not app.exception
    assert "not the address of a video" in texts(app)


def test_edits_that_the_model_likes_better_are_shown_with_their_score(monkeypatch: pytest.MonkeyPatch):
    class Brief(FakeModel):  # likes short titles
        def _score(self, video: ScoreInput) -> Score:
            given = super()._score(video)
            brief = max(0.8 - len(video.title) / 100, 0.01)
            return replace(given, viral_score=brief, predicted_velocity=10 ** (3 + brief))

    monkeypatch.setattr("ui.data.model", Brief)
    app = lab("Ramen in a back street of Osaka | Full episode with everything you need")
    shown = texts(app)
    assert "Edits the model likes" in shown
    assert "first part alone: 49 in 100 instead of 9 in 100, expected views" in shown
    app.button(key="edit-0").click().run()
    assert not app.exception
    assert (app.text_area(key="title").value or "").splitlines()[-1] == "Ramen in a back street of Osaka"
    assert app.dataframe[0].value["Title"].iloc[0] == "Ramen in a back street of Osaka"


def test_edits_within_the_noise_are_not_shown():
    shown = texts(lab("Ramen in a back street of Osaka | Full episode with everything you need"))
    assert "Edits the model likes" not in shown
    assert "none is scored higher by more than the noise" in shown


def test_more_titles_than_fit_are_left_out_and_said_so():
    app = lab("\n".join(f"Title number {n}" for n in range(70)))
    assert len(app.dataframe[0].value) == 50
    assert "20 more titles were left out" in texts(app)


@pytest.mark.parametrize("typed", NONSENSE)
def test_no_text_breaks_the_lab(videos: None, typed: str):
    app = lab(typed)
    app.text_input(key="my_channel").set_value(typed).run()
    assert not app.exception


def test_a_bad_thumbnail_gets_a_clear_message_and_the_title_is_still_scored():
    app = lab("A title of thirty characters..")
    app.file_uploader(key="thumbnails").upload("broken.png", b"\x89PNG not really").run()
    assert not app.exception
    assert "not a whole picture" in texts(app)
    assert "17 in 100" in texts(app)


def test_a_thumbnail_is_scored_with_the_title():
    written = io.BytesIO()
    Image.new("RGB", (320, 180), "teal").save(written, "PNG")
    app = lab("A title of thirty characters..")
    app.file_uploader(key="thumbnails").upload("thumb.png", written.getvalue()).run()
    assert not app.exception
    assert "27 in 100" in texts(app)
    app.button(key="save").click().run()
    assert not app.exception
    with db.transaction("viewer", "local") as connection:
        (draft,) = drafts.drafts(connection)
    assert draft.thumbnail_sha256 is not None
    assert draft.viral_score == pytest.approx(0.27)


def test_a_draft_is_saved_listed_and_deleted():
    app = lab("A title of thirty characters..")
    app.button(key="save").click().run()
    assert not app.exception
    assert "Your drafts" in texts(app)
    with db.transaction("viewer", "local") as connection:
        (draft,) = drafts.drafts(connection)
    assert draft.title == "A title of thirty characters.."
    app.button(key=f"delete-{draft.draft_id}").click().run()
    assert not app.exception
    with db.transaction("viewer", "local") as connection:
        assert drafts.drafts(connection) == []


def test_drafts_are_named_and_compared():
    for title in ("short one", "a much longer title than that, which goes on and on"):
        app = lab(title)
        app.text_input(key="draft-name").set_value(f"My {title[:5]}")
        app.button(key="save").click().run()
    with db.transaction("viewer", "local") as connection:
        kept = drafts.drafts(connection)
    assert [draft.name for draft in kept] == ["My a muc", "My short"]
    app = lab()
    app.multiselect(key="compare").set_value([draft.draft_id for draft in kept]).run()
    assert not app.exception
    (table,) = app.dataframe
    assert list(table.value["Place"]) == ["1", "2"]
    assert table.value["Draft"].iloc[0].startswith("My a muc: a much longer")


def opened_draft(title: str = "Stall number twelve") -> tuple[AppTest, int]:
    app = lab(title)
    app.button(key="save").click().run()
    with db.transaction("viewer", "local") as connection:
        (draft,) = drafts.drafts(connection)
    app.button(key=f"more-{draft.draft_id}").click().run()
    assert not app.exception
    return app, draft.draft_id


def test_a_draft_is_linked_to_what_it_was_published_as_and_collected():
    app, draft_id = opened_draft()
    app.text_input(key=f"name-{draft_id}").set_value("Twelve")
    app.text_input(key=f"url-{draft_id}").set_value("https://youtu.be/aaaaaaaaaaa")
    app.button(key=f"keep-{draft_id}").click().run()
    assert not app.exception
    with db.transaction("viewer", "local") as connection:
        (draft,) = drafts.drafts(connection)
        target = connection.scalar(text("SELECT target FROM collections"))
        jobs = connection.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'collect'"))
    assert (draft.name, draft.published_url) == ("Twelve", "https://youtu.be/aaaaaaaaaaa")
    assert (target, jobs) == ("https://youtu.be/aaaaaaaaaaa", 1)
    assert "published, not collected yet" in texts(lab())


def test_a_link_that_is_no_video_is_refused_in_the_draft():
    app, draft_id = opened_draft()
    app.text_input(key=f"url-{draft_id}").set_value("https://www.youtube.com/@someone")
    app.button(key=f"keep-{draft_id}").click().run()
    assert not app.exception
    assert "not the address of a video" in texts(app)
    with db.transaction("viewer", "local") as connection:
        assert drafts.drafts(connection)[0].published_url is None
        assert connection.scalar(text("SELECT count(*) FROM collections")) == 0


def test_what_became_of_a_draft_stands_beside_what_was_foretold(videos: None):
    _, draft_id = opened_draft()
    with db.transaction("viewer", "local") as connection:
        drafts.set_link(connection, draft_id, "https://example.org/3", "youtube:v3")
    app = lab()
    app.button(key=f"more-{draft_id}").click().run()
    shown = texts(app)
    assert "1K so far" in shown
    assert "its first day is not over" in shown
    with db.transaction("owner") as connection:
        connection.execute(
            text("INSERT INTO draft_outcomes VALUES (:id, 'youtube:v3', now(), now(), 30000, 2.1, true, true)"),
            {"id": draft_id},
        )
    app = lab()
    assert "came to 2.1× usual" in texts(app)
    app.button(key=f"more-{draft_id}").click().run()
    assert not app.exception
    shown = texts(app)
    assert "30K views in the first day" in shown
    assert "The views lie above the interval" in shown
    assert "It took off" in shown


def test_the_drafts_of_another_user_are_not_listed():
    with db.transaction("viewer", "eve") as connection:
        drafts.save_draft(connection, "Of Eve")
    assert "Your drafts" not in texts(lab())


def test_why_it_scores_so_is_worked_out_only_when_it_is_opened(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    explained = explain.explain
    monkeypatch.setattr(
        explain, "explain", lambda model, video: (asked.append(video.title), explained(model, video))[1]
    )
    closed = lab(title="A title of thirty characters..")
    assert asked == []
    assert "cannot see" not in texts(closed)
    shown = texts(lab(title="A title of thirty characters..", why="true"))
    assert asked == ["A title of thirty characters.."]
    assert "Model sensitivity, not cause" in shown
    # 12 letters, dots included, and a space: 13 of the 200 that would make 100 in 100
    assert "“characters..” adds most (+6.5)" in shown.replace("\\", "")
    assert "What this score cannot see" in shown
    assert "The thumbnail: none was given" in shown.replace("\\", "")


def test_a_thumbnail_is_explained_with_the_title():
    written = io.BytesIO()
    Image.new("RGB", (320, 180), "teal").save(written, "PNG")
    app = lab(title="A title of thirty characters..", why="true")
    app.file_uploader(key="thumbnails").upload("thumb.png", written.getvalue()).run()
    assert not app.exception
    shown = texts(app)
    assert "Most hangs on the title (+15.0)" in shown  # 15 for 30 letters, 10 for the thumbnail
    assert "No part of the thumbnail moves the score" in shown  # the fake sees only whether there is one


def test_of_several_titles_the_best_is_explained_until_another_is_chosen():
    app = lab(title="short\na much longer title than that", why="true")
    assert app.selectbox(key="explained").value == "a much longer title than that"
    app.selectbox(key="explained").select("short").run()
    assert not app.exception
    assert "“short” adds most" in texts(app)
    app.text_area(key="title").set_value("another one\nand one more").run()
    assert not app.exception
    assert app.selectbox(key="explained").value == "and one more"


def test_what_became_of_similar_titles_stands_beside_the_score(videos: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ui.data.model", ReadingModel)
    score_candidates.score_pending(ReadingModel())  # type: ignore[arg-type]
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET outlier_multiple = 0.3 WHERE video_id = 'v12'"))
    app = lab(title="Street food at the night market", why="true")
    shown = texts(app)
    assert "Took off: 1.5× their channel's usual or more" in shown
    opened = [button for button in app.button if button.key and button.key.startswith("similar-draft-")]
    assert [button.key for button in opened if "-down-" in button.key] == ["similar-draft-down-youtube:v12"]
    assert len([button for button in opened if "-up-" in button.key]) == 4
    opened[-1].click().run()
    assert not app.exception
    assert "Street food at the night market, stall 12" in texts(app)  # its details are open


def test_without_any_stored_vector_the_explanation_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ui.data.model", ReadingModel)
    assert "python -m miles score" in texts(lab(title="Street food", why="true")).replace("\\", "")


@pytest.mark.parametrize("typed", NONSENSE)
def test_no_title_breaks_its_explanation(typed: str):
    app = lab(why="true")
    app.text_area(key="title").set_value(typed).run()
    assert not app.exception


def test_without_a_model_the_lab_opens_with_a_clear_message(monkeypatch: pytest.MonkeyPatch):
    def missing() -> FakeModel:
        raise ModelUnavailable("The model is damaged. Restore it.")

    with db.transaction("viewer", "local") as connection:
        drafts.save_draft(connection, "Kept draft")
    monkeypatch.setattr("ui.data.model", missing)
    shown = texts(lab("Title"))
    assert "The model is damaged" in shown.replace("\\", "")
    assert "Your drafts" in shown
