"""The HTTP API in this process: what it answers, what it refuses, and how it refuses."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from loopback import eventually, picture
from PIL import ExifTags, Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from miles import (
    api,
    api_examples,
    api_gate,
    api_problems,
    api_queue,
    api_schema,
    decoding,
    features,
    images,
    scoring,
    settings,
)
from miles.api_beside import Beside
from miles.errors import ImageRefused, MilesError, ModelUnavailable
from miles.features import PastVideo, ScoreInput
from miles.scoring import Score
from miles.settings import Settings

TITLE = "I baked bread with a broken toaster"
PICTURE = picture(320, 180, seed=5)
REMOTE = ("203.0.113.9", 40000)


@pytest.fixture(scope="module")
def model() -> scoring.Model:
    return scoring.load()


class Stub:
    """Answers every video alike, as fast or as slowly as a test wants."""

    version = "stub"

    def __init__(self) -> None:
        self.manifest = json.loads((scoring.DEFAULT_FOLDER / "manifest.json").read_text(encoding="utf-8"))
        self.runs: list[list[str]] = []  # titles
        self.go_on = threading.Event()
        self.go_on.set()

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        self.runs.append([video.title for video in inputs])
        assert self.go_on.wait(120)
        for video in inputs:
            if video.title == "a bug":
                raise RuntimeError("a bug in the model")
        return [Score(v.key, v.mode, 0.2, None, 10.0, 1.0, 100.0, None, 0.1, self.version, None) for v in inputs]


def make(load: Callable[[], Any], **variables: Any) -> TestClient:
    """A client of an API of its own; variables without their MILES_API_."""
    variables = {"timeout": 300, **variables}  # a busy machine is no failure
    chosen = Settings(**{f"MILES_API_{name.upper()}": value for name, value in variables.items()})
    return TestClient(api.create_app(load, chosen))


def remote(client: TestClient) -> TestClient:
    """The same API asked over the network."""
    return TestClient(client.app, client=REMOTE)


@pytest.fixture
def client(model: scoring.Model) -> Iterator[TestClient]:
    with make(lambda: model) as client:
        yield client


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.go_on.set()


def problem(response: Any, status: int, name: str) -> dict[str, Any]:
    """The problem document that a response is, checked to be a whole one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    document = response.json()
    assert document["type"] == f"tag:miles,2026:problem/{name}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["instance"].startswith("urn:uuid:")
    return document


def faults(response: Any, name: str = "invalid") -> dict[str, str]:
    """Pointer -> code of everything that a 422 finds wrong."""
    return {fault["pointer"]: fault["code"] for fault in problem(response, 422, name)["errors"]}


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- predictions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", api_examples.REQUESTS)
def test_every_documented_request_is_answered(client: TestClient, name: str) -> None:
    sent = api_examples.REQUESTS[name]["value"]
    answer = client.post("/predict", json=sent)
    assert answer.status_code == 200, answer.text
    for said, asked in zip(*((x if isinstance(x, list) else [x]) for x in (answer.json(), sent)), strict=True):
        assert api_schema.Prediction.model_validate(said).id == asked.get("id")
        assert said["mode"] == ("candidate" if "views" in asked else "draft")
        assert said["velocity_low"] <= said["predicted_velocity"] <= said["velocity_high"]


def test_documented_answers_have_the_form_of_real_ones() -> None:
    for example in api_examples.ANSWERS.values():
        for said in example["value"] if isinstance(example["value"], list) else [example["value"]]:
            api_schema.Prediction.model_validate(said)


def test_the_answer_is_the_models_own(client: TestClient, model: scoring.Model) -> None:
    published = datetime(2026, 6, 1, 16, tzinfo=UTC)
    past = [(f"Bread {n}", published - timedelta(days=3 * n + 2), 10_000 * (n + 1)) for n in range(6)]
    video = ScoreInput(
        key="mine",
        title=TITLE,
        thumbnail=PICTURE,
        channel_id="UC-bread",
        category_id=26,
        duration=58.5,
        language="pt-BR",
        published_at=published,
        observed_at=published + timedelta(hours=20),
        views=51_800,
        likes=3_900,
        comments=412,
        country_count=3,
        history=tuple(PastVideo(title, at, at + timedelta(days=1), views) for title, at, views in past),
    )
    sent = {
        "id": "mine",
        "title": TITLE,
        "image": in_base64(PICTURE),
        "channel_id": "UC-bread",
        "category_id": 26,
        "duration": 58.5,
        "language": "pt-BR",
        "published_at": "2026-06-01T18:00:00+02:00",
        "observed_at": "2026-06-02T12:00:00Z",
        "views": 51_800,
        "likes": 3_900,
        "comments": 412,
        "country_count": 3,
        "history": [
            {
                "title": title,
                "published_at": at.isoformat(),
                "observed_at": (at + timedelta(days=1)).isoformat(),
                "views": views,
            }
            for title, at, views in past
        ],
    }
    (score,) = model.score([video])
    said = client.post("/predict", json=sent).json()
    assert said.pop("id") == "mine"
    assert said.pop("notes") == (score.note.split("; ") if score.note else [])
    assert said == {name: getattr(score, name) for name in said}  # to the last bit
    assert set(said) | {"key", "note"} == set(Score.__slots__)
    assert client.post("/predict", json={**sent, "views": None}).json()["mode"] == "draft"


def test_a_list_is_answered_in_its_order_and_each_as_if_alone(client: TestClient) -> None:
    videos = [{"id": str(n), "title": f"{TITLE} {n}", "category_id": n % 30} for n in range(40)]
    together = client.post("/predict", json=videos).json()
    assert [said["id"] for said in together] == [str(n) for n in range(40)]
    assert [client.post("/predict", json=video).json() for video in videos[:6]] == together[:6]
    assert client.post("/predict", json=[]).json() == []


def test_256_videos_are_taken_and_not_one_more(client: TestClient) -> None:
    assert len(client.post("/predict", json=[{"title": TITLE}] * 256).json()) == 256
    answer = client.post("/predict", json=[{"title": TITLE}] * 257)
    assert faults(answer) == {"": "too_long"}
    assert "256" in answer.json()["detail"]


def test_null_is_not_known_and_twelve_point_nought_is_twelve(client: TestClient) -> None:
    alone = client.post("/predict", json={"title": TITLE}).json()
    nothing = {name: None for name in api_schema.Video.model_fields if name not in ("title", "history")}
    assert client.post("/predict", json={**nothing, "title": TITLE}).json() == alone
    whole = client.post("/predict", json={"title": TITLE, "category_id": 20}).json()
    assert client.post("/predict", json={"title": TITLE, "category_id": 20.0}).json() == whole != alone


def test_counts_without_their_moment_were_read_now_and_the_note_says_so(client: TestClient) -> None:
    published = (datetime.now(UTC) - timedelta(hours=20)).isoformat()
    said = client.post("/predict", json={"title": TITLE, "published_at": published, "views": 5000}).json()
    assert said["mode"] == "candidate"
    assert any("observed_at" in note for note in said["notes"])


def test_likes_without_views_are_not_used_and_the_note_says_so(client: TestClient) -> None:
    said = client.post("/predict", json={"title": TITLE, "likes": 5, "comments": 1}).json()
    assert said["mode"] == "draft"
    assert any("likes and comments" in note for note in said["notes"])


def test_a_video_is_not_observed_before_it_is_published(client: TestClient) -> None:
    wrong = {"title": TITLE, "published_at": "2026-06-02T00:00:00Z", "observed_at": "2026-06-01T00:00:00Z", "views": 1}
    assert faults(client.post("/predict", json=wrong)) == {"/observed_at": "observed_before_published"}
    assert faults(client.post("/predict", json=[{"title": "a"}, wrong])) == {
        "/1/observed_at": "observed_before_published"
    }


def test_moments_at_the_ends_of_the_calendar_are_answered_or_refused(client: TestClient) -> None:
    for published in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        sent = {"title": TITLE, "published_at": published, "history": [{"title": "a", "published_at": published}]}
        assert faults(client.post("/predict", json=sent)) == {
            "/published_at": "moment",
            "/history/0/published_at": "moment",
        }
    for published in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        sent = {"title": TITLE, "published_at": published, "history": [{"title": "a", "published_at": published}]}
        assert client.post("/predict", json=sent).status_code == 200


# --- images -----------------------------------------------------------------------------------------


def test_an_image_counts_with_and_without_a_data_prefix(client: TestClient, model: scoring.Model) -> None:
    plain = client.post("/predict", json={"title": TITLE, "image": in_base64(PICTURE)}).json()
    for prefix in ("data:image/png;base64,", "DATA:image/png;charset=utf-8;BASE64,"):
        assert client.post("/predict", json={"title": TITLE, "image": prefix + in_base64(PICTURE)}).json() == plain
    wrapped = base64.encodebytes(PICTURE).decode()  # in lines, as mail programs write it
    assert client.post("/predict", json={"title": TITLE, "image": wrapped}).json() == plain
    assert plain["viral_score"] == model.score([ScoreInput("", TITLE, PICTURE)])[0].viral_score
    assert plain["viral_score"] != client.post("/predict", json={"title": TITLE}).json()["viral_score"]


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("this is no base64", "not_base64"),
        ("data:image/png," + in_base64(PICTURE), "not_base64"),  # percent-encoded, by its own word
        ("data:", "not_base64"),
        ("====", "not_base64"),
        ("   ", "not_base64"),
        (in_base64(b"no picture at all"), "not_an_image"),
        (in_base64(PICTURE[:100]), "not_an_image"),  # cut off
        (in_base64(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not_an_image"),
    ],
)
def test_what_is_no_image_is_refused_and_never_passes_for_a_black_one(
    client: TestClient, image: str, code: str
) -> None:
    answer = client.post("/predict", json={"title": TITLE, "image": image})
    assert faults(answer, "image-refused") == {"/image": code}


def test_image_and_image_url_together_are_refused(client: TestClient) -> None:
    both = {"title": TITLE, "image": in_base64(PICTURE), "image_url": "https://example.com/a.png"}
    assert faults(client.post("/predict", json=both)) == {"": "two_images"}
    assert faults(client.post("/predict", json=[{"title": TITLE}, both])) == {"/1": "two_images"}


def test_every_bad_image_of_a_list_is_named(client: TestClient) -> None:
    videos = [{"title": TITLE, "image": in_base64(data)} for data in (b"x", PICTURE, b"y")]
    assert faults(client.post("/predict", json=videos), "image-refused") == {
        "/0/image": "not_an_image",
        "/2/image": "not_an_image",
    }


@pytest.mark.parametrize(
    ("mode", "kind", "size"),
    [
        ("RGB", "JPEG", (480, 360)),
        ("RGB", "JPEG", (3000, 200)),
        ("CMYK", "JPEG", (320, 180)),
        ("L", "JPEG", (129, 73)),
        ("RGBA", "PNG", (200, 300)),
        ("P", "GIF", (64, 64)),
        ("RGB", "WEBP", (16, 16)),
        ("I;16", "PNG", (320, 180)),
        ("RGB", "PNG", (128, 72)),
    ],
)
def test_what_is_kept_of_an_image_is_to_the_bit_what_the_model_would_see(
    mode: str, kind: str, size: tuple[int, int]
) -> None:
    dice = np.random.default_rng(1)
    if mode == "I;16":
        image = Image.fromarray(dice.integers(0, 2**16, (size[1], size[0]), dtype=np.uint16))
    else:
        image = Image.fromarray(dice.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8), "RGBA").convert(mode)
    out = io.BytesIO()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    image.save(out, kind, **({"exif": turned} if kind == "JPEG" else {}))
    kept = decoding.shrunk(out.getvalue(), features.IMAGE_SIZE)
    assert np.array_equal(features.pixels(kept), features.pixels(out.getvalue()))
    assert len(kept) < 40_000


def test_a_note_says_so_where_the_model_leaves_an_image_out(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "pixels", lambda *_: None)
    said = client.post("/predict", json={"title": TITLE, "image": in_base64(picture(320, 180, seed=77))}).json()
    assert any("left out" in note for note in said["notes"])
    assert said["viral_score"] == client.post("/predict", json={"title": TITLE}).json()["viral_score"]


def test_an_address_is_fetched_once_however_many_videos_name_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(url: str) -> images.Image:
        asked.append(url)
        return images.Image(PICTURE, "image/png", 320, 180)

    monkeypatch.setattr(images, "fetch", fetch)
    videos = [{"title": TITLE, "image_url": f"https://example.com/{n % 2}.png"} for n in range(8)]
    said = client.post("/predict", json=videos).json()
    assert sorted(asked) == ["https://example.com/0.png", "https://example.com/1.png"]
    assert said == [client.post("/predict", json={"title": TITLE, "image": in_base64(PICTURE)}).json()] * 8


@pytest.mark.parametrize("kind", ["address", "unreachable", "timeout", "status", "too_large", "too_many_pixels"])
def test_an_address_that_gives_no_image_is_a_problem_of_the_request(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def fetch(url: str) -> images.Image:
        raise ImageRefused("The picture can't be had.", kind)

    monkeypatch.setattr(images, "fetch", fetch)
    answer = client.post("/predict", json=[{"title": TITLE}, {"title": TITLE, "image_url": "https://example.com/a"}])
    assert faults(answer, "image-refused") == {"/1/image_url": kind}
    assert "can't be had" in answer.json()["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://[::1]/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/a.png",
        "file:///etc/passwd",
        "gopher://example.com/",
        "not an address",
    ],
)
def test_no_address_of_this_machine_or_its_network_is_fetched(
    client: TestClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILES_IMAGE_NETWORKS", raising=False)  # with which other tests reach their own sites
    settings.load.cache_clear()
    answer = client.post("/predict", json={"title": TITLE, "image_url": url})
    assert faults(answer, "image-refused") == {"/image_url": "address"}


def test_only_so_many_images_wait(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_IMAGES", 3)
    fetching, let_go = threading.Event(), threading.Event()

    def fetch(url: str) -> images.Image:
        fetching.set()
        assert let_go.wait(120)
        return images.Image(PICTURE, "image/png", 320, 180)

    monkeypatch.setattr(images, "fetch", fetch)
    with make(lambda: stub) as client, ThreadPoolExecutor(1) as pool:
        videos = [{"title": TITLE, "image_url": f"https://example.com/{n}.png"} for n in range(3)]
        first = pool.submit(client.post, "/predict", json=videos)
        assert fetching.wait(120)
        busy = client.post("/predict", json={"title": TITLE, "image": in_base64(PICTURE)})
        let_go.set()
        problem(busy, 503, "busy")
        assert busy.headers["retry-after"] == "5"
        assert first.result().status_code == 200


# --- what is refused --------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"title": "a"} and more',
        b'{"title": "a", "duration": NaN}',
        b'{"title": "a", "duration": Infinity}',
        b'{"title": "a", "duration": -Infinity}',
        b'{"title": "a", "views": ' + b"9" * 5000 + b"}",  # more digits than Python converts
        b'{"title": "a", "title": "b"}',
        b'[{"title": "a", "history": [{"title": "x", "title": "y", "published_at": "2026-01-01"}]}]',
        b'{"title": "half of \\ud83d"}',
        b'{"\\udc00": 1, "title": "a"}',
        b'{"title": "\xff"}',
        b"[" * 100_000,
        b"[" + b"[]," * 1_000_000 + b"[]]",  # 3 MB that would unpack to 60
        b'{"title": "a", %s}' % b", ".join(b'"%d": 0' % n for n in range(100)),
        b'{"a":' * 100_000,
        '{"title": "a"}'.encode("utf-16"),
        b"{'title': 'a'}",
        b'{"title": "a",}',
        b'{"title": "a\nb"}',  # a bare line feed
    ],
)
def test_what_is_not_plain_json_is_malformed(client: TestClient, body: bytes) -> None:
    problem(client.post("/predict", content=body, headers=JSON), 400, "malformed")


def test_a_whole_pair_of_surrogates_and_a_byte_order_mark_are_fine(client: TestClient) -> None:
    for body in (b'{"title": "\\ud83d\\ude00"}', b'\xef\xbb\xbf{"title": "a"}', '{"title": "😀"}'.encode()):
        assert client.post("/predict", content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({}, {"/title": "missing"}),
        ({"title": None}, {"/title": "string_type"}),
        ({"title": 7}, {"/title": "string_type"}),
        ({"title": ""}, {"/title": "string_too_short"}),
        ({"title": " \t\n"}, {"/title": "string_pattern_mismatch"}),
        ({"title": "nul \x00"}, {"/title": "string_pattern_mismatch"}),
        ({"title": "a" * 1001}, {"/title": "string_too_long"}),
        ({"title": "a", "id": "nul \x00"}, {"/id": "string_pattern_mismatch"}),
        ({"title": "a", "views": "7"}, {"/views": "int_type"}),
        ({"title": "a", "views": True}, {"/views": "int_type"}),
        ({"title": "a", "views": 1.5}, {"/views": "int_type"}),
        ({"title": "a", "views": -1}, {"/views": "greater_than_equal"}),
        ({"title": "a", "views": 10**400}, {"/views": "less_than_equal"}),
        ({"title": "a", "duration": 10**400}, {"/duration": "float_type"}),
        ({"title": "a", "duration": "58"}, {"/duration": "float_type"}),
        ({"title": "a", "language": "english please"}, {"/language": "string_pattern_mismatch"}),
        ({"title": "a", "published_at": "yesterday"}, {"/published_at": "moment"}),
        ({"title": "a", "published_at": 1780000000}, {"/published_at": "moment"}),
        ({"title": "a", "published_at": "1780000000"}, {"/published_at": "moment"}),
        ({"title": "a", "published_at": "2026-02-30T00:00:00Z"}, {"/published_at": "moment"}),
        ({"title": "a", "image_url": ""}, {"/image_url": "string_too_short"}),
        ({"title": "a", "image_url": "https://e.com/" + "a" * 2048}, {"/image_url": "string_too_long"}),
        ({"title": "a", "titel": "b"}, {"/titel": "extra_forbidden"}),
        ({"title": "a", "a/b~c": 1}, {"/a~1b~0c": "extra_forbidden"}),
        ({"title": "a", "history": None}, {"/history": "list_type"}),
        ({"title": "a", "history": [{"title": "b"}]}, {"/history/0/published_at": "missing"}),
        (
            {"title": "a", "history": [{"title": "b", "published_at": "2026-01-01T00:00:00Z"}] * 51},
            {"/history": "too_long"},
        ),
        ([{"title": "a"}, {"title": ""}, {}], {"/1/title": "string_too_short", "/2/title": "missing"}),
        ([["title"]], {"/0": "model_attributes_type"}),
        ("title", {"": "shape"}),
        (7, {"": "shape"}),
        (None, {"": "shape"}),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_schema_is_named_field_by_field(
    client: TestClient, sent: Any, found: dict[str, str]
) -> None:
    assert faults(client.post("/predict", content=json.dumps(sent), headers=JSON)) == found


def test_a_number_that_overflows_is_no_infinity(client: TestClient) -> None:
    answer = client.post("/predict", content=b'{"title": "a", "duration": 1e999}', headers=JSON)
    assert faults(answer) == {"/duration": "finite_number"}


def test_of_very_many_faults_fifty_are_told(client: TestClient) -> None:
    document = problem(client.post("/predict", json=[{}] * 256), 422, "invalid")
    assert len(document["errors"]) == api.FAULTS_TOLD
    assert document["detail"].startswith("256 faults.")


@pytest.mark.parametrize("headers", [
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/xml+json"},
    {"Content-Type": ""},
    {},
    {**JSON, "Content-Encoding": "gzip"},
])  # fmt: skip
def test_other_kinds_of_bodies_are_refused_unread(client: TestClient, headers: dict[str, str]) -> None:
    problem(client.post("/predict", content=b'{"title": "a"}', headers=headers), 415, "not-json")


def test_json_with_a_charset_is_json(client: TestClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post("/predict", content=b'{"title": "a"}', headers=headers).status_code == 200


def in_parts(data: bytes, size: int = 65536) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def test_a_body_over_the_limit_is_refused_announced_or_not(stub: Stub) -> None:
    with make(lambda: stub, body_mb=1) as client:
        fits = json.dumps({"title": TITLE}).encode().ljust(2**20)
        for body in (fits, in_parts(fits)):
            assert client.post("/predict", content=body, headers=JSON).status_code == 200
        for body in (fits + b" ", in_parts(fits + b" ")):
            document = problem(client.post("/predict", content=body, headers=JSON), 413, "too-large")
            assert "1 MiB" in document["detail"]


def test_only_so_much_is_held_in_memory_at_once(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "BODIES_HELD", 1)
    stub.go_on.clear()
    with make(lambda: stub, body_mb=1) as client, ThreadPoolExecutor(1) as pool:
        large = json.dumps({"title": TITLE}).encode().ljust(2**20)
        first = pool.submit(client.post, "/predict", content=large, headers=JSON)
        eventually(lambda: bool(stub.runs))
        second = client.post("/predict", json={"title": TITLE})
        stub.go_on.set()
        problem(second, 503, "busy")
        assert second.headers["retry-after"]
        assert first.result().status_code == 200
        assert client.post("/predict", content=large, headers=JSON).status_code == 200


def test_nothing_there_and_no_such_method(client: TestClient) -> None:
    for path in ("/nothing", "/predict/", "/docs", "/../etc/passwd"):
        problem(client.get(path), 404, "not-found")
    answer = client.get("/predict")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    problem(client.request("BREW", "/model"), 405, "method-not-allowed")


# --- keys and rates ---------------------------------------------------------------------------------


def test_without_keys_only_this_machine_is_answered(stub: Stub) -> None:
    client = make(lambda: stub)
    assert client.post("/predict", json={"title": TITLE}).status_code == 200
    answer = remote(client).post("/predict", json={"title": TITLE})
    assert "MILES_API_KEYS" in problem(answer, 401, "key-required")["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"
    for local in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert TestClient(client.app, client=(local, 1)).get("/health").status_code == 200
        assert TestClient(client.app, client=(local, 1)).post("/predict", json={"title": "a"}).status_code == 200
    for far in ("::ffff:203.0.113.9", "2001:db8::1", "10.0.0.1"):
        assert TestClient(client.app, client=(far, 1)).post("/predict", json={"title": "a"}).status_code == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_behind_a_proxy_on_this_machine_nobody_is_local(stub: Stub, header: str) -> None:
    client = make(lambda: stub)
    answer = client.post("/predict", json={"title": TITLE}, headers={header: "127.0.0.1"})
    problem(answer, 401, "key-required")


def test_a_public_api_answers_everyone(stub: Stub) -> None:
    assert remote(make(lambda: stub, public=True)).post("/predict", json={"title": TITLE}).status_code == 200


def test_with_keys_one_of_them_is_needed_from_everywhere(stub: Stub) -> None:
    client = make(lambda: stub, keys="first, zweiter-schlüssel")
    for headers in (
        {"X-API-Key": "first"},
        {"Authorization": "Bearer first"},
        {"Authorization": "bearer   first"},
        {"X-API-Key": "first", "Authorization": "Bearer first"},
        {"X-API-Key": "zweiter-schlüssel".encode()},
    ):
        for one in (client, remote(client)):
            assert one.post("/predict", json={"title": TITLE}, headers=headers).status_code == 200, headers
            assert one.get("/model", headers=headers).status_code == 200
    for headers in (
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "firs"},
        {"X-API-Key": "first,"},
        {"X-API-Key": "first, zweiter-schlüssel".encode()},
        {"Authorization": "first"},
        {"Authorization": "Basic first"},
        {"Authorization": "Bearer wrong", "X-API-Key": "first"},  # which one was meant?
        {"X-API-Key": b"\xff\xfe"},
    ):
        for path in ("/predict", "/model"):
            method = "POST" if path == "/predict" else "GET"
            answer = client.request(method, path, json={"title": TITLE}, headers=headers)
            document = problem(answer, 401, "key-required")
            assert "first" not in json.dumps(document)


def test_a_key_is_asked_for_before_anything_else_is_looked_at(stub: Stub) -> None:
    client = make(lambda: stub, keys="first", body_mb=1)
    for content in (b"not json", b" " * 2**21):
        problem(client.post("/predict", content=content), 401, "key-required")


def test_health_and_document_need_no_key_and_tell_no_secret(model: scoring.Model) -> None:
    with make(lambda: model, keys="hush-hush") as client:
        eventually(lambda: client.get("/ready").status_code == 200)
        for path in ("/health", "/ready", "/openapi.json", "/"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "hush" not in answer.text
            assert str(Path(__file__).parents[2]) not in answer.text


def test_the_rate_is_counted_for_each_key_and_told(stub: Stub) -> None:
    client = make(lambda: stub, keys="one,two", rate=3)
    for left in (2, 1, 0):
        answer = client.post("/predict", json={"title": TITLE}, headers={"X-API-Key": "one"})
        assert answer.status_code == 200
        assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("3", str(left))
    answer = client.post("/predict", json={"title": TITLE}, headers={"X-API-Key": "one"})
    problem(answer, 429, "rate-limited")
    assert answer.headers["retry-after"] == "20"  # one of three a minute
    assert answer.headers["ratelimit-remaining"] == "0"
    assert int(answer.headers["ratelimit-reset"]) in (59, 60)
    assert client.get("/model", headers={"X-API-Key": "one"}).status_code == 429
    assert client.post("/predict", json={"title": TITLE}, headers={"X-API-Key": "two"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_refused_requests_are_counted_too_and_wrong_keys_for_their_address(stub: Stub) -> None:
    client = make(lambda: stub, keys="right", rate=2)
    for guess in ("a", "b"):
        answer = client.post("/predict", json={"title": TITLE}, headers={"X-API-Key": guess})
        problem(answer, 401, "key-required")
        assert answer.headers["ratelimit-limit"] == "2"
    problem(client.post("/predict", json={"title": TITLE}, headers={"X-API-Key": "c"}), 429, "rate-limited")
    for _ in range(2):
        problem(client.post("/predict", content=b"{", headers={"X-API-Key": "right", **JSON}), 400, "malformed")
    problem(client.post("/predict", json={"title": TITLE}, headers={"X-API-Key": "right"}), 429, "rate-limited")


def test_unless_told_otherwise_the_network_is_rationed_and_this_machine_is_not(stub: Stub) -> None:
    client = make(lambda: stub, public=True)
    assert "ratelimit-limit" not in client.post("/predict", json={"title": TITLE}).headers
    far = remote(client).post("/predict", json={"title": TITLE})
    assert far.headers["ratelimit-limit"] == str(api_gate.DEFAULT_RATE)
    free = make(lambda: stub, public=True, rate=0)
    assert "ratelimit-limit" not in remote(free).post("/predict", json={"title": TITLE}).headers


def test_a_bucket_fills_again_steadily() -> None:
    now = 100.0
    buckets = api_gate.Buckets(lambda: now)
    assert [buckets.take("a", 60).remaining for _ in range(60)] == list(range(59, -1, -1))
    refused = buckets.take("a", 60)
    assert (refused.wait, refused.remaining, refused.reset) == (1, 0, 60)
    now += 1.0
    assert buckets.take("a", 60).wait == 0
    assert buckets.take("a", 60).wait == 1
    now += 3600.0  # never more than a minute's worth
    assert buckets.take("a", 60).remaining == 59


def test_only_so_many_clients_are_remembered() -> None:
    buckets = api_gate.Buckets(lambda: 0.0, kept=2)
    assert [buckets.take(name, 1).wait > 0 for name in ("a", "b", "a", "c", "a", "b")] == [
        *(False, False, True),  # a's second
        *(False, True, False),  # c pushed b out, who begins anew
    ]


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "name", "local"),
    [
        ("203.0.113.9", None, "", "203.0.113.9", False),
        ("127.0.0.1", None, "", "127.0.0.1", True),
        ("127.0.0.1", "198.51.100.7", "", "127.0.0.1", False),  # not configured: not believed, but not local
        ("127.0.0.1", "198.51.100.7", "127.0.0.1", "198.51.100.7", False),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", False),  # nobody forges being local
        ("10.1.2.3", "6.6.6.6, 198.51.100.7", "10.0.0.0/8", "198.51.100.7", False),  # what is left of it may be forged
        ("10.1.2.3", "198.51.100.7, 10.9.9.9", "10.0.0.0/8", "198.51.100.7", False),  # a chain of ours
        ("203.0.113.9", "198.51.100.7", "10.0.0.0/8", "203.0.113.9", False),  # a stranger's claim
        ("10.1.2.3", "6.6.6.6, 198.51.100.7", "*", "198.51.100.7", False),
        ("10.1.2.3", None, "*", "10.1.2.3", False),
        ("10.1.2.3", "nonsense" * 50, "*", ("nonsense" * 50)[:100], False),
        ("2001:db8:1:2:3:4:5:6", None, "", "2001:db8:1:2::/64", False),
        ("2001:db8:1:2:9:9:9:9", None, "", "2001:db8:1:2::/64", False),  # the same customer
        ("::ffff:198.51.100.7", None, "", "198.51.100.7", False),
        ("fe80::1%eth0", None, "", "fe80::/64", False),
    ],
)
def test_who_asks(peer: str, forwarded: str | None, proxies: str, name: str, local: bool) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    request = api_gate.Request({"type": "http", "headers": headers, "client": (peer, 1)})
    assert api_gate.client(request, Settings(MILES_API_PROXIES=proxies).proxies) == api_gate.Client(name, local)


@pytest.mark.parametrize(("variable", "value"), [("KEYS", " , "), ("PROXIES", "10.0.0.0/8,nowhere"), ("RATE", "-1")])
def test_settings_that_make_no_sense_are_refused(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"MILES_API_{variable}"):
        Settings(**{f"MILES_API_{variable}": value})


def test_no_key_shows_in_the_settings() -> None:
    assert "hush" not in repr(Settings(MILES_API_KEYS="hush"))


# --- the queue --------------------------------------------------------------------------------------


def ask(client: TestClient, title: str) -> Any:
    return client.post("/predict", json={"title": title})


def test_what_arrives_while_the_model_works_is_scored_together(stub: Stub) -> None:
    stub.go_on.clear()
    with make(lambda: stub) as client, ThreadPoolExecutor(20) as pool:
        first = pool.submit(ask, client, "first")
        eventually(lambda: stub.runs == [["first"]])
        others = [pool.submit(ask, client, f"other {n}") for n in range(19)]
        eventually(lambda: client.get("/health").json()["waiting"] == 20)
        stub.go_on.set()
        assert all(future.result().status_code == 200 for future in (first, *others))
    assert [len(run) for run in stub.runs] == [1, 19]


def test_many_at_once_get_what_each_would_get_alone(client: TestClient) -> None:
    videos = [{"title": f"{TITLE} {n}", "category_id": n} for n in range(40)]
    with ThreadPoolExecutor(20) as pool:
        together = [answer.json() for answer in pool.map(lambda video: client.post("/predict", json=video), videos)]
    assert together == [client.post("/predict", json=video).json() for video in videos]


def test_a_long_list_does_not_hold_up_a_single_video(stub: Stub) -> None:
    stub.go_on.clear()
    scorer = api_queue.Scorer(lambda: stub)
    done: list[str] = []
    blocker = scorer.submit([ScoreInput("", "blocker")])
    eventually(lambda: bool(stub.runs))
    long = scorer.submit([ScoreInput(str(n), f"long {n}") for n in range(256)])
    short = scorer.submit([ScoreInput("", "short")])
    long.add_done_callback(lambda _: done.append("long"))
    short.add_done_callback(lambda _: done.append("short"))
    stub.go_on.set()
    assert [score.key for score in long.result(120)] == [str(n) for n in range(256)]
    assert (len(short.result(120)), len(blocker.result(120))) == (1, 1)
    assert done == ["short", "long"]
    assert "short" in stub.runs[1]
    assert all(len(run) <= api_queue.RUN for run in stub.runs)
    assert scorer.waiting == 0
    scorer.close()


def test_too_many_waiting_videos_are_turned_away_and_told_when_to_come_back(stub: Stub) -> None:
    stub.go_on.clear()
    with make(lambda: stub, queue=3) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, client, "first")]
        eventually(lambda: client.get("/health").json()["waiting"] == 1)
        waiting.append(pool.submit(client.post, "/predict", json=[{"title": "second"}] * 2))
        eventually(lambda: client.get("/health").json()["waiting"] == 3)
        full = ask(client, "one too many")
        stub.go_on.set()
        assert "3 videos" in problem(full, 503, "busy")["detail"]
        assert int(full.headers["retry-after"]) >= 1
        assert all(future.result().status_code == 200 for future in waiting)
        assert client.post("/predict", json=[{"title": "alone"}] * 9).status_code == 200  # nobody else is there


def test_an_answer_that_takes_too_long_is_given_up_and_what_waits_is_not_scored(stub: Stub) -> None:
    stub.go_on.clear()
    with make(lambda: stub, timeout=0.3) as client:
        problem(ask(client, "first"), 503, "timed-out")
        problem(ask(client, "second"), 503, "timed-out")
        stub.go_on.set()
        eventually(lambda: client.get("/health").json()["waiting"] == 0)
        eventually(lambda: ask(client, "third").status_code == 200)
    assert "second" not in [title for run in stub.runs for title in run]


def test_a_video_that_the_model_stumbles_over_takes_nobody_with_it(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.go_on.clear()
    with make(lambda: stub) as client, ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, client, "first")
        eventually(lambda: bool(stub.runs))
        others = [pool.submit(ask, client, title) for title in ("fine", "a bug", "also fine")]
        eventually(lambda: client.get("/health").json()["waiting"] == 4)
        stub.go_on.set()
        fine, bug, also = (future.result() for future in others)
        assert first.result().status_code == fine.status_code == also.status_code == 200
        document = problem(bug, 500, "internal")
        assert ask(client, "later").status_code == 200
    assert "a bug in the model" not in document["detail"]
    logged = [record for record in caplog.records if document["instance"] in record.getMessage()]
    assert logged
    assert "a bug in the model" in str(logged[0].exc_info)


def test_a_model_that_can_not_be_loaded_is_tried_again_but_not_for_each_request(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    broken = True

    def load() -> Stub:
        tried.append(1)
        if broken:
            raise ModelUnavailable("/a/secret/folder/miles.onnx is damaged")
        return stub

    with make(load) as client:
        for _ in range(3):
            assert "secret" not in problem(ask(client, "a"), 503, "model-unavailable")["detail"]
        assert len(tried) == 1
        assert client.get("/health").json()["status"] == "failed"
        problem(client.get("/ready"), 503, "model-unavailable")
        problem(client.get("/model"), 503, "model-unavailable")
        broken = False
        monkeypatch.setattr(api_queue, "LOAD_AGAIN", 0.0)
        assert ask(client, "a").status_code == 200
        assert client.get("/ready").json()["model_version"] == "stub"


def test_the_first_request_waits_for_the_model_and_health_says_waking_up(stub: Stub) -> None:
    come = threading.Event()

    def load() -> Stub:
        assert come.wait(120)
        return stub

    with make(load) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, client, "first")
        health = client.get("/health").json()
        assert (health["status"], health["ready"], health["model_version"]) == ("waking up", False, None)
        waking = client.get("/ready")
        problem(waking, 503, "waking-up")
        assert waking.headers["retry-after"] == "1"
        come.set()
        assert first.result().status_code == 200
        assert client.get("/health").json()["status"] == "ready"


def test_a_new_version_in_force_is_used_from_the_next_run_on(stub: Stub) -> None:
    newer = Stub()
    newer.version = "newer"
    in_force = [stub]
    with make(lambda: in_force[0]) as client:
        assert ask(client, "a").json()["model_version"] == "stub"
        in_force[0] = newer
        assert ask(client, "b").json()["model_version"] == "newer"
        assert client.get("/health").json()["model_version"] == "newer"


def test_what_is_cancelled_is_not_scored_and_the_rest_goes_on(stub: Stub) -> None:
    stub.go_on.clear()
    scorer = api_queue.Scorer(lambda: stub)
    first = scorer.submit([ScoreInput("", "first")])
    eventually(lambda: bool(stub.runs))
    given_up = scorer.submit([ScoreInput("", "given up")] * 100)
    kept = scorer.submit([ScoreInput("", "kept")])
    assert given_up.cancel()
    assert scorer.waiting == 2
    stub.go_on.set()
    assert len(first.result(120)) == len(kept.result(120)) == 1
    assert ["given up"] * 16 not in stub.runs
    assert scorer.waiting == 0
    scorer.close()


def test_closing_gives_up_what_waits_and_can_be_opened_again(stub: Stub) -> None:
    stub.go_on.clear()
    scorer = api_queue.Scorer(lambda: stub)
    running = scorer.submit([ScoreInput("", "running")])
    eventually(lambda: bool(stub.runs))
    waiting = scorer.submit([ScoreInput("", "waiting")])

    def let_go_on() -> None:
        eventually(waiting.cancelled)
        stub.go_on.set()

    letting = threading.Thread(target=let_go_on)
    letting.start()
    scorer.close()
    letting.join()
    assert len(running.result(0)) == 1
    with pytest.raises(CancelledError):
        waiting.result(0)
    assert len(scorer.submit([ScoreInput("", "again")]).result(120)) == 1
    scorer.close()


# --- about ------------------------------------------------------------------------------------------


def test_the_model_says_what_its_numbers_mean_and_how_good_they_are(client: TestClient, model: scoring.Model) -> None:
    facts = client.get("/model").json()
    assert facts["version"] == model.version
    assert facts["definitions"]["draft"]["base_rate"] == facts["base_rates"]["draft"]
    assert "90th percentile" in facts["definitions"]["candidate"]["viral_score"]
    assert facts["metrics"] == json.loads(json.dumps(model.manifest["metrics"]))
    assert facts["inputs"]["context"]


def test_health_answers_monitors_that_ask_only_for_the_head(client: TestClient) -> None:
    for path in ("/health", "/"):
        answer = client.head(path)
        assert answer.status_code == 200
        assert answer.content == b""


def test_a_ping_tells_by_its_status_alone(stub: Stub) -> None:
    come, fail = threading.Event(), False

    def load() -> Stub:
        assert come.wait(120)
        if fail:
            raise ModelUnavailable("It is damaged.")
        return stub

    with make(load) as client:
        assert client.get("/ping").status_code == 204
        come.set()
        eventually(lambda: client.get("/ping").status_code == 200)
    fail = True
    with make(load) as client:
        eventually(lambda: client.get("/ping").status_code == 503)
        problem(client.get("/ping"), 503, "model-unavailable")


def test_health_counts_the_time(client: TestClient) -> None:
    before = client.get("/health").json()["uptime_seconds"]
    time.sleep(0.3)
    assert client.get("/health").json()["uptime_seconds"] > before


def test_every_problem_has_an_example_and_a_place_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    assert {example.kind for example in api_problems.EXAMPLES} | {api_problems.NOT_FOUND, api_problems.NOT_ALLOWED} == (
        set(api_problems.KINDS)
    )
    for kind in api_problems.KINDS:
        assert f"| `{kind.name}` | {kind.status} |" in guide, kind
    assert len({kind.name for kind in api_problems.KINDS}) == len(api_problems.KINDS)


def test_the_document_asks_for_a_key_where_one_is_needed(stub: Stub) -> None:
    for variables, wanted in (({"keys": "a-key"}, [{"Bearer": []}, {"Key": []}]), ({}, None)):
        document = make(lambda: stub, **variables).get("/openapi.json").json()
        assert document["paths"]["/predict"]["post"].get("security") == wanted
        assert "security" not in document["paths"]["/health"]["get"]


def test_examples_of_problems_keep_to_the_documented_form(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    told = 0
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                for example in response["content"].get("application/problem+json", {}).get("examples", {}).values():
                    assert api_problems.ProblemOut.model_validate(example["value"]).status == int(status)
                    told += 1
    assert told > 15


def test_mounted_under_another_app_it_works_without_lifespan_events(model: scoring.Model) -> None:
    beside = api.create_app(lambda: model, Settings(), wake=False)
    client = TestClient(Starlette(routes=[Mount("/api", beside)]))
    assert client.get("/api/health").json()["status"] in ("waking up", "ready")
    assert client.post("/api/predict", json={"title": TITLE}).json()["model_version"] == model.version
    assert client.get("/api/openapi.json").json()["servers"] == [{"url": "/api"}]
    problem(client.get("/api/nothing"), 404, "not-found")


def test_the_api_beside_the_dashboard_is_made_once_by_its_first_request(stub: Stub) -> None:
    made = []

    def make() -> FastAPI:
        time.sleep(0.1)
        made.append(api.create_app(lambda: stub, Settings(), wake=False))
        return made[-1]

    beside = Beside(make)
    with TestClient(Starlette(routes=[Mount("/api", beside)], lifespan=beside.running)) as client:
        assert made == []
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: client.post("/api/predict", json={"title": TITLE}), range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
    assert len(made) == 1


# --- where it listens -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "said", "where"),
    [
        ({}, (None, None), ("127.0.0.1", 8600)),
        ({"PORT": "7860"}, (None, None), ("0.0.0.0", 7860)),  # noqa: S104
        ({"PORT": "7860", "MILES_API_PORT": 9000}, (None, None), ("0.0.0.0", 9000)),  # noqa: S104
        ({"PORT": "7860", "MILES_API_HOST": "10.0.0.5"}, (None, 80), ("10.0.0.5", 80)),
        ({"PORT": "tcp://10.0.0.1:80"}, ("::1", 81), ("::1", 81)),  # others use the name too
    ],
)
def test_where_it_listens(
    variables: dict[str, Any], said: tuple[str | None, int | None], where: tuple[str, int]
) -> None:
    assert api.place(Settings(**variables), *said) == where


@pytest.mark.parametrize("port", ["tcp://10.0.0.1:80", "0", "70000", "-1", "٣"])
def test_a_platform_port_that_is_none_is_named(port: str) -> None:
    with pytest.raises(MilesError, match="PORT="):
        api.place(Settings(PORT=port))
