"""A model on another computer: the real API in a process of its own, and a server that misbehaves on purpose."""

import base64
import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from loopback import eventually, free_port, picture
from PIL import Image
from scripted import Scripted, answered, problem

from miles import explain, remote, scoring, settings
from miles.api_schema import Video
from miles.errors import MilesError, ModelUnavailable
from miles.features import PastVideo, ScoreInput
from miles.remote import Remote
from miles.settings import PROJECT

KEY = "a key of the tests"
DAY_0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 3, 20, 12)  # noqa: DTZ001 - what a file may hold
DRAFT = ScoreInput("a", "I tried street food in 24 hours")


def api(port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PORT": str(port), "MILES_API_KEYS": KEY, "MILES_API_HOST": "127.0.0.1"}
    return subprocess.Popen([sys.executable, "-m", "miles.api"], cwd=PROJECT, env=environment, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> str:
    process.terminate()
    return process.communicate(timeout=120)[1].decode()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of the real API, which needs seconds to start: whoever asks first has to wait for it."""
    port = free_port()
    process = api(port)
    yield f"http://127.0.0.1:{port}"
    ended(process)


@pytest.fixture(scope="module")
def model() -> scoring.Model:
    return scoring.load()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*answers: Any) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(remote, "QUIET", 0.3)
    monkeypatch.setattr(remote, "TICK", 0.1)


# --- The same scores as here


def past(i: int, **facts: Any) -> PastVideo:
    when = DAY_0 + timedelta(days=i)
    return PastVideo(
        f"Video {i}", when, **({"observed_at": when + timedelta(hours=20), "views": 1000 + 37 * i} | facts)
    )


VIDEOS = [
    DRAFT,
    ScoreInput("with a picture", "A title", picture(1280, 720, "JPEG", seed=3)),
    ScoreInput("with a rotten picture", "A title", b"<html>"),
    ScoreInput("with a dot", "A title", picture(1, 1)),
    ScoreInput("a long one", "word " * 1000),
    ScoreInput("of odd characters", "a\0b مقلب 🎬"),
    ScoreInput(
        "with everything",
        "A title",
        picture(90, 160, "PNG", seed=5),
        channel_id="c",
        category_id=20,
        duration=42.5,
        language="pt_BR",
        published_at=DAY_0 + timedelta(days=100),
        likes=5,  # not used: a draft
        history=tuple(past(i) for i in range(90)),
    ),
    ScoreInput(
        "a candidate",
        "A title",
        category_id=-7,
        duration=float("nan"),
        language="x",
        published_at=DAY_0 + timedelta(days=10),
        observed_at=DAY_0 + timedelta(days=10, seconds=40_000, microseconds=123_457),
        views=12_345,
        likes=0,
        comments=7,
        country_count=3,
        followers=9,
        history=(
            *(past(i) for i in range(9)),
            past(9, observed_at=DAY_0 + timedelta(days=30)),  # too late to be known
            past(3, observed_at=None, views=None, age_days=2.0, log10_views_24h=3.25),
            past(4, observed_at=None),  # nobody knows when
        ),
    ),
    ScoreInput("without a zone", "A title", published_at=NAIVE, observed_at=NAIVE + timedelta(hours=9), views=10**14),
    ScoreInput("a live one", "A title", duration=0.0, language="tlh", category_id=99_999, country_count=5_000),
]


def test_a_model_that_is_still_starting_is_waited_for_and_then_scores_bit_for_bit_as_here(
    model: scoring.Model,
) -> None:
    port = free_port()
    waited: list[float | None] = []
    starting: list[subprocess.Popen[bytes]] = []
    later = threading.Timer(1.0, lambda: starting.append(api(port)))
    later.start()
    far = Remote(f"http://127.0.0.1:{port}/predict", KEY)  # with its last part it is meant, too
    try:
        scores = far.telling(waited.append).score(VIDEOS)
    finally:
        later.join()
        log = ended(starting[0])
    expected = model.score(VIDEOS)
    assert scores == expected, log
    assert far.version == model.version
    first = waited[: waited.index(None)]  # a second wait is possible on a busy machine: for the scores
    assert len(first) > 2
    assert first == sorted(first)  # type: ignore[type-var]
    assert waited[-1] is None


def test_a_draft_is_explained_by_a_model_on_another_computer(server: str, model: scoring.Model) -> None:
    video = dataclasses.replace(VIDEOS[6], title="Street food in 24 hours")
    far, near = (explain.explain(one, video) for one in (Remote(server, KEY), model))
    assert far.score == near.score
    assert (far.parts, far.regions) == (near.parts, near.regions)
    assert far.groups == tuple(group for group in near.groups if group.name != "text")
    assert explain.explain(Remote(server, KEY), DRAFT).parts
    assert explain.explain(Remote(server, KEY), ScoreInput("k", "Word")).parts == ()


def test_a_wrong_key_is_said_at_once(server: str) -> None:
    Remote(server, KEY).score([DRAFT])  # awake
    for key in (None, "another"):
        with pytest.raises(ModelUnavailable, match=r"refuses the key\. Set MILES_PREDICT_KEY"):
            Remote(server, key).score([DRAFT])


@given(
    st.builds(
        ScoreInput,
        key=st.text(),
        title=st.text(min_size=1).filter(lambda title: title.replace("\0", "").strip()),
        thumbnail=st.none() | st.just(picture()),
        category_id=st.none() | st.integers(),
        duration=st.none() | st.floats(),
        language=st.none() | st.text(max_size=12),
        published_at=st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
        observed_at=st.none() | st.datetimes(min_value=datetime(9000, 1, 1)),  # noqa: DTZ001
        views=st.none() | st.integers(),
        likes=st.none() | st.integers(),
        comments=st.none() | st.integers(),
        country_count=st.none() | st.integers(),
        history=st.lists(
            st.builds(
                PastVideo,
                title=st.text(),
                published_at=st.datetimes(max_value=datetime(8000, 1, 1)),  # noqa: DTZ001
                observed_at=st.none() | st.datetimes(),
                views=st.none() | st.integers(0),
                age_days=st.none() | st.floats(),
                log10_views_24h=st.none() | st.floats(),
            ),
            max_size=60,
        ).map(tuple),
    )
)
@examples(max_examples=80)
def test_whatever_can_be_scored_here_fits_what_the_api_takes(video: ScoreInput) -> None:
    document, _ = remote._sent(video, "0", {picture(): "cGljdHVyZQ=="})
    Video.model_validate(json.loads(json.dumps(document, allow_nan=False)))


def test_half_a_character_is_sent_as_a_question_mark_as_it_is_read_here() -> None:
    document, _ = remote._sent(ScoreInput("a", "x \ud800"), "0", {})
    assert document["title"] == "x ?"


def test_a_video_without_a_title_is_refused_in_a_sentence(scripted: Callable[..., Scripted]) -> None:
    far = scripted(answered)
    with pytest.raises(MilesError, match="without a title"):
        Remote(far.url).score([DRAFT, ScoreInput("b", " \0 ")])
    assert far.requests == []


# --- Requests


def test_many_videos_go_in_requests_of_at_most_256_and_come_back_in_order(scripted: Callable[..., Scripted]) -> None:
    far = scripted(answered)
    videos = [ScoreInput(f"k{i}", "x" * (1 + i % 300)) for i in range(600)]
    scores = Remote(far.url, "secret").score(videos)
    assert [score.key for score in scores] == [video.key for video in videos]
    assert [score.viral_score for score in scores] == [len(video.title) / 1000 for video in videos]
    assert [len(body) for _, _, body in far.requests] == [256, 44]  # each distinct question once
    path, headers, body = far.requests[0]
    assert path == "/predict"
    assert headers["Authorization"] == "Bearer secret"
    assert body[0] == {"id": "0", "title": "x"}


def test_requests_are_bounded_in_bytes_too(scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_BYTES", 1000)
    far = scripted(answered)
    scores = Remote(far.url).score([ScoreInput("k", f"{i} " + "x" * 300) for i in range(10)])
    assert len(scores) == 10
    assert [len(body) for _, _, body in far.requests] == [3, 3, 3, 1]


def test_a_large_picture_travels_small_once_for_each_title(scripted: Callable[..., Scripted]) -> None:
    far = scripted(answered)
    large = picture(4000, 2250, "PNG")
    Remote(far.url).score([ScoreInput("k", f"Title {i}", large) for i in range(50)])
    assert len(far.requests) == 1
    assert len(json.dumps(far.requests[0][2])) < 100_000


def test_the_same_question_is_not_asked_again_for_a_while(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = scripted(answered)
    near = Remote(far.url)
    first = near.score([DRAFT, ScoreInput("b", DRAFT.title)])
    assert [score.key for score in first] == ["a", "b"]
    assert near.score([dataclasses.replace(DRAFT, key="again")])[0] == dataclasses.replace(first[0], key="again")
    assert near.version == "far-1"  # said with the scores
    assert len(far.requests) == 1
    monkeypatch.setattr(remote, "KEPT_FOR", 0.0)
    near.score([DRAFT])
    assert len(far.requests) == 2


def by(version: str) -> Callable[[list[dict[str, Any]]], Any]:
    def answer(videos: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        status, said, headers = answered(videos)
        return status, [{**one, "model_version": version} for one in said], headers

    return answer


def test_a_model_that_is_replaced_is_asked_again_with_pictures_of_its_size(scripted: Callable[..., Scripted]) -> None:
    far = scripted(answered, by("far-2"))
    near = Remote(far.url)
    near.score([DRAFT])
    far.facts = (200, {"version": "far-2", "inputs": {"image_size": [64, 36]}}, {})
    seen = ScoreInput("b", "Another", picture(640, 360))
    assert {score.model_version for score in near.score([DRAFT, seen])} == {"far-2"}
    assert (near.version, near.image_size) == ("far-2", (64, 36))
    sizes = [Image.open(io.BytesIO(base64.b64decode(body[0]["image"]))).size for _, _, body in far.requests[1:3]]
    assert sizes == [(128, 72), (64, 36)]
    assert near.score([DRAFT])[0].model_version == "far-2"  # what the other one said is forgotten


def test_answers_of_two_models_are_no_answer(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MOST_VIDEOS", 1)
    far = scripted(answered, by("far-2"), answered, by("far-2"))
    with pytest.raises(ModelUnavailable, match="was replaced while it was asked"):
        Remote(far.url).score([DRAFT, ScoreInput("b", "Another")])


@pytest.mark.parametrize("facts", [{}, [], {"version": "x"}, {"version": "x", "inputs": {"image_size": "large"}}])
def test_facts_that_make_no_sense_are_no_miles_api(scripted: Callable[..., Scripted], facts: Any) -> None:
    far = scripted(answered)
    far.facts = (200, facts, {})
    with pytest.raises(ModelUnavailable, match="no Miles API"):
        Remote(far.url).score([DRAFT])


# --- While it wakes, and when it does not


@pytest.mark.parametrize(
    "asleep",
    [
        (503, b"<html>Your space is starting</html>", {}),
        (502, b"", {}),
        (504, b"", {}),
        problem(503, "busy", "The server is busy.", **{"Retry-After": "0"}),
        problem(503, "waking-up", "The model is being loaded."),
        problem(429, "rate-limited", "Too many requests."),
        None,  # hangs up
    ],
)
def test_a_host_that_is_not_awake_is_asked_again(scripted: Callable[..., Scripted], asleep: Any) -> None:
    far = scripted(asleep, asleep, answered)
    assert Remote(far.url).score([DRAFT])[0].model_version == "far-1"
    assert len(far.requests) == 3


def test_nobody_is_told_of_waking_where_the_answer_comes_at_once(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "QUIET", 60.0)
    waited: list[float | None] = []
    Remote(scripted(answered).url).telling(waited.append).score([DRAFT])
    assert waited == []


def test_a_long_first_answer_is_waited_for_and_told(scripted: Callable[..., Scripted]) -> None:
    def slowly(videos: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        eventually(lambda: len(waited) > 2, what="word of the waiting")
        return answered(videos)

    waited: list[float | None] = []
    far = scripted(slowly)
    assert Remote(far.url).telling(waited.append).score([DRAFT])
    assert len(far.requests) == 1
    assert len(waited) > 3
    assert waited[-1] is None


def test_what_retry_after_asks_is_granted_but_no_more_than_the_longest_pause(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.5)
    far = scripted(problem(503, "busy", "Busy.", **{"Retry-After": "3600"}), answered)
    started = time.monotonic()
    Remote(far.url).score([DRAFT])
    assert 0.5 <= time.monotonic() - started < 60


def test_patience_ends_with_a_sentence_and_nothing_is_left_on_the_page(scripted: Callable[..., Scripted]) -> None:
    waited: list[float | None] = []
    far = scripted((503, b"<html>", {}))
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"within 2 s: it answers status 503\. See whether it runs"):
        Remote(far.url, patience=2.0).telling(waited.append).score([DRAFT])
    assert time.monotonic() - started < 30
    assert waited[-1] is None


def test_a_server_that_never_answers_is_given_up(scripted: Callable[..., Scripted]) -> None:
    released = threading.Event()
    far = scripted(lambda videos: released.wait(120) and None)
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match="could not be reached within 1 s"):
        Remote(far.url, patience=1.0).score([DRAFT])
    assert time.monotonic() - started < 30
    released.set()


def test_nothing_there_is_said_after_a_while() -> None:
    with pytest.raises(ModelUnavailable, match="within 1 s: nothing answers there"):
        Remote(f"http://127.0.0.1:{free_port()}", patience=1.0).score([DRAFT])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, {}, {}), "refuses the key"),
        ((403, b"no", {}), "refuses the key"),
        ((404, b"nothing here", {}), "no Miles API"),
        ((405, b"", {}), "no Miles API"),
        ((200, b"<html>Hello</html>", {}), "no Miles API"),
        ((200, {"hello": 1}, {}), "no Miles API"),
        ((200, [], {}), "did not answer what it was asked"),
        ((200, b"x" * 5_000_000, {}), "no Miles API"),
        ((301, b"", {"Location": "https://elsewhere.test/"}), "leads on to https://elsewhere.test/"),
        (problem(422, "invalid", "/0/title: is wrong."), "/0/title: is wrong"),
        (problem(413, "too-large", "The body is larger than 1 MiB."), "larger than 1 MiB"),
        (problem(500, "internal", "This is a fault of the server."), "a fault of the server"),
        (problem(503, "model-unavailable", "The model can't be loaded."), "no model that works: The model can't"),
    ],
)
def test_what_waiting_does_not_mend_is_said_at_once(scripted: Callable[..., Scripted], answer: Any, says: str) -> None:
    far = scripted(answer)
    with pytest.raises(ModelUnavailable, match=says):
        Remote(far.url).score([DRAFT])
    assert len(far.requests) == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda said: said[:-1],  # one too few
        lambda said: said[::-1],  # in another order
        lambda said: [*said, said[0]],
        lambda said: [{**said[0], "viral_score": 1.5}, *said[1:]],
        lambda said: [{**said[0], "viral_score": None}, *said[1:]],
        lambda said: [{key: value for key, value in said[0].items() if key != "base_rate"}, *said[1:]],
    ],
)
def test_half_an_answer_is_none(scripted: Callable[..., Scripted], spoiled: Callable[[Any], Any]) -> None:
    far = scripted(lambda videos: (200, spoiled(answered(videos)[1]), {}))
    with pytest.raises(ModelUnavailable):
        Remote(far.url).score([DRAFT, ScoreInput("b", "Another")])


def test_where_a_later_request_fails_none_is_answered(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MOST_VIDEOS", 2)
    far = scripted(answered, problem(500, "internal", "A fault."))
    with pytest.raises(ModelUnavailable, match="A fault"):
        Remote(far.url).score([ScoreInput(str(i), f"Title {i}") for i in range(4)])


def test_a_host_that_does_not_exist_is_said_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"no computer named nowhere\.invalid"):
        Remote("http://nowhere.invalid").score([DRAFT])
    assert time.monotonic() - started < 60


def test_the_key_is_in_no_message(scripted: Callable[..., Scripted]) -> None:
    far = scripted((401, {}, {}))
    with pytest.raises(ModelUnavailable) as refusal:
        Remote(far.url.replace("//", "//me:hidden@"), "secret").score([DRAFT])
    assert "secret" not in str(refusal.value)
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize("address", ["me-miles.hf.space", "ftp://a.test", "http://", "https:///predict"])
def test_an_address_that_makes_no_sense_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_PREDICT_URL", address)
    settings.load.cache_clear()
    with pytest.raises(MilesError, match="MILES_PREDICT_URL"):
        settings.load()
