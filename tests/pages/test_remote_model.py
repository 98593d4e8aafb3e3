"""The pages that score drafts, where the model answers from another computer and sleeps until it is asked."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from answering import finished
from scripted import Scripted, answered, problem
from streamlit.delta_generator import DeltaGenerator
from streamlit.testing.v1 import AppTest

from miles import remote, settings
from ui.writing import Writing

ASLEEP = (503, b"<html>Starting</html>", {})


@pytest.fixture
def far(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scripted]]:
    """Points Miles at a server that answers as told, in turn."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.4)
    monkeypatch.setattr(remote, "QUIET", 0.2)
    monkeypatch.setattr(remote, "TICK", 0.1)
    made: list[Scripted] = []

    def point(*answers: Any) -> Scripted:
        made.append(Scripted(*answers))
        monkeypatch.setenv("MILES_PREDICT_URL", made[-1].url)
        monkeypatch.setenv("MILES_PREDICT_KEY", "secret")
        settings.load.cache_clear()
        return made[-1]

    yield point
    for one in made:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was shown as information, even if it is gone at the end of the run."""
    said: list[str] = []
    real = DeltaGenerator.info

    def info(box: DeltaGenerator, body: str, **options: Any) -> DeltaGenerator:
        said.append(body)
        return real(box, body, **options)

    monkeypatch.setattr(DeltaGenerator, "info", info)
    return said


def texts(app: AppTest) -> str:
    """All that is written, without Markdown's escapes."""
    written = (*app.markdown, *app.caption, *app.error, *app.warning, *app.info)
    return "\n".join(str(one.value) for one in written).replace("\\", "")


def test_the_score_lab_says_that_the_model_wakes_up_and_then_shows_the_score(
    far: Callable[..., Scripted], shown: list[str], visit: Callable[..., AppTest]
) -> None:
    server = far(ASLEEP, ASLEEP, answered)
    app = visit("score_lab", title="Street food in 24 hours")
    assert not app.exception
    assert any("The model is waking up" in text for text in shown)
    assert "waking up" not in texts(app)  # gone with the answer
    assert "far-1" in texts(app)
    assert "where 10 in 100 is ordinary" in texts(app)
    assert server.requests[0][1]["Authorization"] == "Bearer secret"
    asked = len(server.requests)
    app.run()
    assert len(server.requests) == asked  # the page runs anew with every click; the question is the same


def test_a_model_that_does_not_wake_up_is_an_error_with_a_way_out(
    far: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, visit: Callable[..., AppTest]
) -> None:
    far(ASLEEP)
    monkeypatch.setattr(remote.Remote.__init__, "__kwdefaults__", {"patience": 1.0})
    app = visit("score_lab", title="Street food in 24 hours")
    assert not app.exception
    assert "could not be reached within 1 s: it answers status 503." in texts(app)
    assert "without MILES_PREDICT_URL the model of this computer is used" in texts(app)
    assert "waking up" not in texts(app)
    assert "in 100" not in texts(app)  # no half of an answer


def test_a_wrong_key_is_an_error_that_names_the_setting(
    far: Callable[..., Scripted], visit: Callable[..., AppTest]
) -> None:
    far(problem(401, "key-required", "A key is needed."))
    app = visit("score_lab", title="Street food in 24 hours")
    assert not app.exception
    assert "MILES_PREDICT_KEY" in texts(app)


def test_the_score_lab_says_where_titles_go(far: Callable[..., Scripted], visit: Callable[..., AppTest]) -> None:
    far(answered)
    app = visit("score_lab")
    assert "are sent to 127.0.0.1 to be scored" in app.title[0].proto.help


def test_recommendations_wait_for_the_model_too(
    far: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, sample_database: str, visit: Callable[..., AppTest]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Writing, "hear", lambda _, sentence: said.append(sentence))
    far(ASLEEP, ASLEEP, answered)
    app = visit("recommendations")
    app.text_input(key="topic").set_value("street food")
    finished(app.button(key="get-concepts").click().run())
    assert any("The model is waking up" in sentence for sentence in said)
    assert "waking up" not in texts(app)
    assert "where 10 in 100 is ordinary" in texts(app)
