"""The shipped model: its golden scores, its bit-identity, its masks, and its refusals."""

import base64
import io
import json
import math
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from miles import scoring
from miles.errors import ModelUnavailable
from miles.features import PastVideo, ScoreInput

GOLDEN = json.loads((scoring.DEFAULT_FOLDER / "golden.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 6, 1, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def model() -> scoring.Model:
    return scoring.load()


def picture(color: str = "red", size: tuple[int, int] = (320, 180)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


def golden_input(plain: dict) -> ScoreInput:
    def moments(fields: dict) -> dict:
        return {k: datetime.fromisoformat(v) if k.endswith("_at") else v for k, v in fields.items()}

    fields = moments(plain) | {"history": tuple(PastVideo(**moments(p)) for p in plain.get("history", ()))}
    if "thumbnail" in fields:
        fields["thumbnail"] = base64.b64decode(fields["thumbnail"])
    return ScoreInput(**fields)


def many() -> list[ScoreInput]:
    """Sixty videos of every kind: lengths of titles, with and without channel, picture and counts."""
    dice = random.Random(4)
    words = ["bread", "toaster", "pizza", "面包", "привет", "how to", "the last of us", "🎮", "live #1", "خبز"]
    out = []
    for i in range(60):
        published = NOW - timedelta(days=dice.uniform(0.1, 20))
        history = tuple(
            PastVideo(
                " ".join(dice.choices(words, k=dice.randint(1, 14))),
                published - timedelta(days=2 * j + 2),
                published - timedelta(days=2 * j + 1.2),
                dice.randint(100, 10**7),
            )
            for j in range(dice.choice([0, 3, 7, 20]))
        )
        counts = {"observed_at": NOW, "views": dice.randint(0, 10**7), "likes": dice.randint(0, 10**5)}
        out.append(
            ScoreInput(
                key=str(i),
                title=" ".join(dice.choices(words, k=dice.randint(0, 30))),
                thumbnail=picture(dice.choice(["red", "navy"])) if i % 4 == 0 else None,
                category_id=dice.choice([None, 10, 20, 26]),
                duration=dice.choice([None, 30.0, 900.0]),
                published_at=published,
                history=history,
                **(counts if i % 2 else {}),
            )
        )
    return out


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["input"]["key"])
def test_golden_scores_are_reproduced(model, case):
    (score,) = model.score([golden_input(case["input"])])
    for name, stored in case["score"].items():
        got = getattr(score, name)
        if isinstance(stored, float):
            assert got == pytest.approx(stored, rel=GOLDEN["tolerance"], abs=1e-3), name
        else:
            assert got == stored, name


def test_a_score_is_the_same_to_the_last_bit_alone_in_any_batch_and_in_any_order():
    videos = many()
    together = scoring.load().score(videos)
    alone = scoring.load()
    assert [alone.score([v])[0] for v in videos] == together
    shuffled = random.Random(1).sample(videos, len(videos))
    fresh = {s.key: s for s in scoring.load().score(shuffled)}
    assert [fresh[s.key] for s in together] == together


def test_a_remembered_title_scores_as_a_new_one(model):
    videos = many()[:10]
    assert model.score(videos) == model.score(videos)


def test_threads_may_share_a_model(model):
    videos = many()
    expected = scoring.load().score(videos)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: model.score(videos), range(4)):
            assert scores == expected


def test_forgetting_titles_changes_nothing(monkeypatch):
    monkeypatch.setattr(scoring, "TITLES_KEPT", 3)
    monkeypatch.setattr(scoring, "IMAGES_KEPT", 1)
    monkeypatch.setattr(scoring, "CHUNK", 7)
    videos = many()
    assert scoring.load().score(videos) == scoring.load().score(videos[::-1])[::-1]


def test_no_input_no_score(model):
    assert model.score([]) == []


def test_like_titles_lie_closer_than_unlike_ones(model):
    titles = ["How to bake bread", "Baking bread at home", "Top 10 football goals"]
    a, b, c = model.embed_titles(titles)
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-2)
    assert a @ b > a @ c + 0.2


def test_embedded_titles_come_in_order_and_do_not_depend_on_each_other(model, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 7)
    titles = [video.title for video in many()]
    together = scoring.load().embed_titles(titles)
    assert together.shape == (len(titles), model.manifest["inputs"]["text_width"])
    assert together.dtype == np.float32
    assert np.array_equal(together, np.concatenate([model.embed_titles([title]) for title in titles]))
    assert model.embed_titles([]).shape == (0, together.shape[1])


def test_a_title_that_is_hidden_leaves_a_score_of_all_the_rest(model):
    video = next(v for v in many() if v.mode == "draft" and len(v.history) >= 7)
    hidden, blank, named = model.score([replace(video, title=""), replace(video, title="  "), video])
    assert replace(hidden, note=None) == replace(blank, note=None)
    assert hidden.viral_score != named.viral_score
    assert not model.embed_titles([""]).any()


def test_a_draft_with_a_channel_has_a_multiple_and_one_without_says_so(model):
    with_channel = next(v for v in many() if v.mode == "draft" and len(v.history) >= 7)
    score, without = model.score([with_channel, replace(with_channel, history=())])
    assert score.predicted_multiple is not None
    assert score.note is None
    assert without.predicted_multiple is None
    assert "no channel history" in without.note


def test_a_candidate_answers_for_seven_days_and_a_draft_does_not(model):
    for score in model.score(many()):
        assert (score.predicted_velocity_7d is None) == (score.mode == "draft")
        assert score.mode == "draft" or score.predicted_multiple is None


def test_the_title_and_the_picture_matter(model):
    draft = next(v for v in many() if v.mode == "draft" and len(v.history) >= 7)
    one, other = model.score([draft, replace(draft, title="Something else entirely")])
    assert one.viral_score != other.viral_score
    red, blue = model.score([replace(draft, thumbnail=picture(c)) for c in ("red", "navy")])
    assert red.predicted_velocity != blue.predicted_velocity


def test_a_broken_picture_counts_as_none_and_is_said(model):
    draft = ScoreInput("k", "A title")
    none, broken, black = model.score(
        [draft, replace(draft, thumbnail=b"GIF89a"), replace(draft, thumbnail=picture("black"))]
    )
    assert "could not be read" in broken.note
    assert replace(broken, note=none.note) == none
    assert black.predicted_velocity != none.predicted_velocity


def test_an_input_far_from_the_data_is_marked(model):
    old = ScoreInput("k", "A", published_at=NOW - timedelta(days=4000), observed_at=NOW, views=3)
    (score,) = model.score([old])
    assert "outside what the model knows" in score.note


COUNT = st.one_of(st.none(), st.integers(0, 10**13))
TITLE = st.one_of(st.text(max_size=300), st.sampled_from(["", "\ud800", "\x00", "a" * 100_000, "👩‍👩‍👧‍👦" * 50]))


@settings(max_examples=60)
@given(
    TITLE,
    COUNT,
    COUNT,
    COUNT,
    st.one_of(st.none(), st.datetimes()),
    st.one_of(st.none(), st.floats()),
    st.integers(0, 8),
)
def test_any_input_gives_a_score_in_range(model, title, views, likes, category, published, duration, n):
    history = tuple(PastVideo(title, NOW - timedelta(days=i + 2), NOW - timedelta(days=i + 1), views) for i in range(n))
    video = ScoreInput(
        "k", title, b"x", None, category, duration, "en", published, NOW, views, likes, None, None, None, history
    )
    (score,) = model.score([video])
    assert 0 <= score.viral_score <= 1
    assert 0 < score.base_rate < 1
    assert 0 <= score.velocity_low <= score.predicted_velocity <= score.velocity_high < math.inf
    for optional in (score.predicted_multiple, score.predicted_velocity_7d):
        assert optional is None or (math.isfinite(optional) and optional >= 0)


def test_the_base_rate_of_either_event_is_about_one_in_ten(model):
    assert all(0.05 < rate < 0.2 for rate in model.manifest["base_rates"].values())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(scoring.DEFAULT_FOLDER, folder)
    return folder


@pytest.mark.parametrize("name", ["manifest.json", *scoring.FILES])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(ModelUnavailable, match=name):
        scoring.load(copy)


@pytest.mark.parametrize("name", scoring.FILES)
def test_a_damaged_file_is_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    (copy / name).write_bytes(content)
    with pytest.raises(ModelUnavailable, match=f"{name}.*damaged"):
        scoring.load(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 99}, "another version"),
        ({"opset": 99}, "opset 99"),
        ({"calibration": None}, "lacks calibration"),  # None: removed
        ({"inputs": {"context": ["views"]}}, "another version"),
        ({"files": {}}, "lacks"),
        ({"inputs": None}, "incomplete"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, change, says):
    manifest = json.loads((copy / "manifest.json").read_text()) | change
    manifest = {k: v for k, v in manifest.items() if v is not None}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelUnavailable, match=says):
        scoring.load(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"'])
def test_a_manifest_that_is_none_is_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(ModelUnavailable):
        scoring.load(copy)


def test_no_folder_is_a_clear_refusal(tmp_path):
    with pytest.raises(ModelUnavailable, match="no model in"):
        scoring.load(tmp_path / "nowhere")


def test_the_model_folder_stays_small():
    assert sum(file.stat().st_size for file in scoring.DEFAULT_FOLDER.iterdir()) < 35_000_000
