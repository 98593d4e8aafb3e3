"""The Clips page in Streamlit's own test frame, with a fake model and a real database, queue and storage."""

from collections.abc import Callable, Sequence

import clip_maker
import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import clips, db, jobs
from miles.features import ScoreInput
from miles.scoring import Score

pytestmark = pytest.mark.usefixtures("database")
Visit = Callable[..., AppTest]


class FakeModel:
    """Stands for the network: with a title the larger picture is clearly better, without one all are alike."""

    version = "fake-1"

    def score(self, videos: Sequence[ScoreInput]) -> list[Score]:
        most = max(len(one.thumbnail or b"") for one in videos)
        return [self._score(one, len(one.thumbnail or b"") == most) for one in videos]

    def _score(self, video: ScoreInput, largest: bool) -> Score:
        better = bool(video.title) and largest
        return Score(
            video.key, "draft", 0.6 if better else 0.2, None, 400.0 if better else 100.0, 50.0, 900.0, None, 0.1,
            self.version, None,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.data.model", FakeModel)


@pytest.fixture(scope="module")
def data() -> bytes:
    return clip_maker.clip(seconds=3, cuts=(1.0, 2.0), sound="tone")


def texts(app: AppTest) -> str:
    return "\n".join(str(one.value) for one in [*app.markdown, *app.caption, *app.error, *app.warning, *app.header])


def upload(app: AppTest, data: bytes, name: str = "street.mp4") -> AppTest:
    return app.file_uploader[0].upload(name, data).run()


def carry_out(title: str = "") -> int:
    with db.transaction("worker") as connection:
        (clip_id,) = connection.scalars(text("SELECT clip_id FROM clips"))
    clips.carry_out(clip_id, FakeModel)
    return clip_id


def test_an_empty_page_says_what_to_do(visit: Visit) -> None:
    app = visit("clips")
    assert not app.exception
    assert "Choose a video" in texts(app)


def test_an_upload_is_queued_and_the_page_follows_it(visit: Visit, data: bytes) -> None:
    app = upload(visit("clips"), data)
    assert not app.exception
    with db.transaction("worker") as connection:
        assert connection.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'clip'")) == 1
    assert app.file_uploader[0].value is None  # the memory of the upload is given back
    carry_out()
    app.run()
    assert not app.exception
    said = texts(app)
    assert "180 × 320" in said
    assert "2 cuts in 3 s" in said
    assert "−23 LUFS" in said
    assert "no local detector" in said


def test_frames_that_differ_less_than_the_noise_are_a_tie_and_a_title_ranks_them(visit: Visit, data: bytes) -> None:
    app = upload(visit("clips"), data)
    clip_id = carry_out()
    app.run()
    assert "All 3 frames are a tie" in texts(app)
    assert texts(app).count("1= 20 in 100") == 3
    app.text_input(key=f"judged-{clip_id}").set_value("Street food").run()
    said = texts(app)
    assert "are a tie" not in said
    assert "**1. 60 in 100**" in said
    assert said.count("2= 20 in 100") == 2


@pytest.mark.parametrize("title", ["Street food", ""])
def test_frames_go_to_the_score_lab_beside_the_title_of_the_clip(visit: Visit, data: bytes, title: str) -> None:
    app = visit("score_lab", draft="What I wrote of another video")
    app = app.switch_page("pages/clips.py").run()
    if title:
        app.text_input(key="clip-title").set_value(title).run()
    app = upload(app, data)
    carry_out()
    app.run()
    next(one for one in app.button if one.label == "Judge these in the Score lab").click().run()
    assert not app.exception
    assert app.title[0].value == "Score lab"
    assert app.text_input(key="draft").value == title
    assert "frame 1" in texts(app)


def test_one_click_takes_a_frame_into_the_score_lab(visit: Visit, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[tuple[str, dict]] = []
    app = upload(visit("clips", **{"clip-title": "Street food"}), data)
    clip_id = carry_out()
    app.run()
    with db.transaction("viewer", "local") as connection:
        best = clips.frames(connection, clip_id)[0]
    monkeypatch.setattr("ui.links.go", lambda page, address: gone.append((page, address)))
    app.button(key=f"take-{best.at * 1000:.0f}").click().run()
    assert not app.exception
    assert gone == [("pages/score_lab.py", {"draft": "Street food", "my_length": "3"})]
    assert app.session_state["lab frames"] == [best.sha256]


def test_without_measured_winners_no_advice_is_given(visit: Visit, data: bytes) -> None:
    app = upload(visit("clips"), data)
    carry_out()
    assert "Not enough measured" in texts(app.run())


def test_the_length_is_held_against_the_winners_of_the_niche(
    visit: Visit, data: bytes, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("sample_database")
    app = upload(visit("clips"), data)
    carry_out()
    said = texts(app.run())
    assert "Half of the winners last" in said
    assert "this clip lasts 3 s" in said
    assert "An association, not a cause" in said


def test_a_file_that_is_no_video_is_refused_on_the_spot(visit: Visit) -> None:
    app = upload(visit("clips"), b"GIF is not what this is" * 10, "fake.mp4")
    assert not app.exception
    assert "no video that Miles reads" in app.error[0].value.replace("\\", "")
    with db.transaction("worker") as connection:
        assert connection.scalar(text("SELECT count(*) FROM clips")) == 0
    app = upload(app, b"", "empty.mp4")
    assert "The file is empty" in app.error[0].value.replace("\\", "")


def test_a_clip_that_fails_says_why_and_can_be_tried_again(visit: Visit, data: bytes) -> None:
    app = upload(visit("clips"), data[:400])
    jobs.run_worker(wait=False)
    app.run()
    assert "cut off or damaged" in app.error[0].value
    app.button(key="clip-again").click().run()
    assert not app.exception
    with db.transaction("worker") as connection:
        assert connection.scalar(text("SELECT state FROM clips")) == "waiting"


def test_of_several_the_one_of_the_address_is_shown_and_one_can_be_deleted(visit: Visit, data: bytes) -> None:
    app = upload(upload(visit("clips"), data), data + b"\0")
    with db.transaction("viewer", "local") as connection:
        newest, first = (one.clip_id for one in clips.clips(connection))
    app = visit("clips", clip=str(first))
    assert app.selectbox[0].value.clip_id == first
    app.button(key="clip-delete").click().run()
    with db.transaction("viewer", "local") as connection:
        assert [one.clip_id for one in clips.clips(connection)] == [newest]


def test_without_a_model_the_frames_are_shown_without_scores(
    visit: Visit, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miles.errors import ModelUnavailable

    def none() -> FakeModel:
        raise ModelUnavailable("There is no model folder. Run git lfs pull.")

    monkeypatch.setattr("ui.data.model", none)
    app = upload(visit("clips"), data)
    carry_out()
    app.run()
    assert not app.exception
    assert "no model folder" in app.warning[0].value.replace("\\", "")
    assert "At 0" in texts(app) or "At 1" in texts(app)
