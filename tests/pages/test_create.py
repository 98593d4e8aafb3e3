"""Score lab and Recommendations in Streamlit's own test frame, with a fake model and a real database."""

import io
import math
import string
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db, drafts, explain, recommend, score_candidates, settings, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.errors import ConceptsUnavailable, ModelUnavailable
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


class FakeModel:
    """Stands for the network: longer titles score higher; a channel's history gives a multiple."""

    version = "fake-1"

    def score(self, videos: Sequence[ScoreInput]) -> list[Score]:
        return [self._score(video) for video in videos]

    def _score(self, video: ScoreInput) -> Score:
        chance = min(0.02 + len(video.title) / 200 + (0.1 if video.thumbnail else 0.0), 0.99)
        known = len(video.history) >= 5
        return Score(
            key=video.key,
            mode="draft",
            viral_score=chance,
            predicted_multiple=1.4 if known else None,
            predicted_velocity=14_000.0,
            velocity_low=9_000.0,
            velocity_high=23_000.0,
            predicted_velocity_7d=None,
            base_rate=0.1,
            model_version=self.version,
            note=None if known else "no channel history",
        )


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
    shown = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info, *app.subheader, *app.title]
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
    app.text_input(key="channel").set_value("cook").run()
    assert not app.exception
    shown = texts(app)
    assert "about 1.4×" in shown
    assert "8 of 10 lie in 0.90–2.3×" in shown
    assert "The model notes" not in shown


def test_an_unknown_channel_is_said_to_be_unknown(videos: None):
    app = lab("Title")
    app.text_input(key="channel").set_value("nobody at all").run()
    assert not app.exception
    assert "No collected channel has this name" in texts(app)


def test_several_titles_are_ranked_in_a_table():
    app = lab("short\na much longer title than that\na medium title")
    (table,) = app.dataframe
    assert list(table.value["Title"]) == ["a much longer title than that", "a medium title", "short"]
    assert list(table.value["Rank"]) == [1, 2, 3]
    assert "Best of 3:" in texts(app)


def test_more_titles_than_fit_are_left_out_and_said_so():
    app = lab("\n".join(f"Title number {n}" for n in range(70)))
    assert len(app.dataframe[0].value) == 50
    assert "20 more titles were left out" in texts(app)


@pytest.mark.parametrize("typed", NONSENSE)
def test_no_text_breaks_the_lab(videos: None, typed: str):
    app = lab(typed)
    app.text_input(key="channel").set_value(typed).run()
    assert not app.exception


def test_a_bad_thumbnail_gets_a_clear_message_and_the_title_is_still_scored():
    app = lab("A title of thirty characters..")
    app.file_uploader[0].upload("broken.png", b"\x89PNG not really").run()
    assert not app.exception
    assert "not a whole picture" in texts(app)
    assert "17 in 100" in texts(app)


def test_a_thumbnail_is_scored_with_the_title():
    written = io.BytesIO()
    Image.new("RGB", (320, 180), "teal").save(written, "PNG")
    app = lab("A title of thirty characters..")
    app.file_uploader[0].upload("thumb.png", written.getvalue()).run()
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
    app.file_uploader[0].upload("thumb.png", written.getvalue()).run()
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


# --- Recommendations


def asked(topic: str) -> AppTest:
    app = opened("recommendations")
    app.text_input(key="topic").set_value(topic)
    app.button[0].click().run()
    return app


def test_concepts_come_with_score_backing_and_a_way_to_the_lab(videos: None):
    app = asked("street food")
    assert not app.exception
    shown = texts(app)
    assert "5 concepts on street food" in shown
    assert "where 10 in 100 is ordinary" in shown
    assert "Backed by 3 videos" in shown
    assert "Written offline" in shown
    made = app.session_state["concepts"]
    scores = [concept.viral_score for concept in made.concepts]
    assert scores == sorted(scores, reverse=True)
    assert math.isclose(scores[0], min(0.02 + len(made.concepts[0].title) / 200, 0.99))


def test_a_request_is_remembered_and_can_be_forgotten(videos: None):
    app = asked("street food")
    query_id = app.session_state["concepts"].query_id
    assert any("Earlier requests" in one.label for one in app.expander)
    app.button(key=f"forget-{query_id}").click().run()
    assert not app.exception
    with db.transaction("viewer", "local") as connection:
        assert drafts.queries(connection) == []


def test_an_empty_topic_gets_a_clear_message(videos: None):
    app = asked("   ")
    assert not app.exception
    assert "Concepts need a topic" in texts(app)
    assert "concepts" not in app.session_state


def test_with_no_data_there_are_concepts_and_a_plain_word_about_it():
    app = asked("street food")
    assert not app.exception
    assert "nothing backs these concepts" in texts(app)


@pytest.mark.parametrize("typed", [one for one in NONSENSE if one.strip()])
def test_no_topic_breaks_the_recommendations(videos: None, typed: str):
    app = asked(typed)
    assert not app.exception
    assert "concept" in texts(app)


def test_when_the_language_model_fails_the_offline_generator_is_one_click_away(
    videos: None, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise ConceptsUnavailable("The language model is on strike.")

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    settings.load.cache_clear()
    monkeypatch.setattr(recommend, "ask", refuse)
    app = asked("street food")
    assert not app.exception
    assert "on strike" in texts(app)
    (offline,) = [button for button in app.button if button.label == "Write them offline"]
    offline.click().run()
    assert not app.exception
    assert app.session_state["concepts"].generator == "offline"
    assert "on strike" not in texts(app)


def test_titles_with_markdown_in_them_are_shown_as_they_are(videos: None):
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET title = 'Street food ![x](http://evil/p.png) ' || video_id"))
    shown = texts(asked("street food"))
    assert "![x](http" not in shown
