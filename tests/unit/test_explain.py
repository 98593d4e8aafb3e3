"""Explanations: what is hidden of a title, a picture and the facts, and that the differences told are those asked for."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from miles import explain, features, scoring
from miles.features import PastVideo, ScoreInput
from miles.scoring import Score

NOW = datetime(2026, 6, 1, 18, tzinfo=UTC)
CELL = np.zeros((72, 128), dtype=bool)
CELL[18:36, 96:128] = True  # row 1, column 3


class Adding:
    """A scorer whose answers are sums of what it is shown, so that every effect is known beforehand."""

    def __init__(self) -> None:
        self.calls: list[list[ScoreInput]] = []

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        self.calls.append(list(inputs))
        return [self._score(video) for video in inputs]

    def _score(self, video: ScoreInput) -> Score:
        chance, views = 0.10, 1000.0
        chance += 0.04 * ("secret" in video.title) - 0.02 * ("boring" in video.title)
        views *= 2.0 if "secret" in video.title else 1.0
        chance += 0.05 * (len(video.history) >= 5) + 0.01 * (video.category_id is not None)
        chance += 0.03 * (video.likes is not None) + 0.2 * (video.mode == "candidate")
        shown = features.pixels(video.thumbnail) if video.thumbnail else None
        if shown is not None:
            chance += 0.02 + 0.06 * float((shown[CELL] == (255, 0, 0)).all())
        return Score(video.key, video.mode, chance, None, views, 1.0, 1e6, None, 0.1, "adding", None)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def picture() -> np.ndarray:
    """Noise, and one red cell."""
    pixels = np.random.default_rng(3).integers(0, 200, (72, 128, 3), dtype=np.uint8)
    pixels[CELL] = (255, 0, 0)
    return pixels


def channel(n: int = 8) -> tuple[PastVideo, ...]:
    return tuple(
        PastVideo(f"Video {i}", NOW - timedelta(days=3 * i + 3), NOW - timedelta(days=3 * i + 2), 1000 + 90 * i)
        for i in range(n)
    )


def draft(**fields) -> ScoreInput:
    return ScoreInput(**{"key": "d", "title": "A secret and a boring box", "published_at": NOW} | fields)


def candidate(**fields) -> ScoreInput:
    counts = {"observed_at": NOW + timedelta(days=1), "views": 900, "likes": 30, "comments": 4, "country_count": 2}
    return draft(key="c", **counts | fields)


def words(title: str, most: int = explain.MOST_PARTS) -> list[str]:
    return [title[start:end] for start, end in explain.title_parts(title, most)]


# ------------------------------------------------------------------------------------------ the title


@pytest.mark.parametrize(
    ("title", "parts"),
    [
        ("Don't stop the re-run", ["Don't", "stop", "the", "re-run"]),  # inside a word they belong to it
        ("(In 24 hours) [4K] #shorts", ["(In", "24", "hours)", "[4K]", "#shorts"]),  # brackets go with their word
        ("Really?! Yes | No…", ["Really", "?!", "Yes", "|", "No", "…"]),  # marks that a title is judged by
        ("fire🔥🔥 now", ["fire", "🔥🔥", "now"]),  # emojis beside a word
        ("👨‍👩‍👧 👍🏽 🇩🇪 1️⃣", ["👨‍👩‍👧", "👍🏽", "🇩🇪", "1️⃣"]),  # joined, toned, flags, keycaps: never torn
        ("나는 길거리 음식을", ["나는", "길거리", "음식을"]),  # Korean has spaces
        ("我在家里做蛋糕", ["我", "在家", "里做", "蛋糕"]),  # Chinese has none
        ("僕が24時間でラーメン！", ["僕", "が", "24", "時間", "で", "ラーメン", "！"]),  # Japanese changes its script
        ("เวลา", ["เวลา"]),  # Thai, one word
        ("مقلب في السوق", ["مقلب", "في", "السوق"]),
        ("é1 ñ", ["é1", "ñ"]),
        ("", []),
        (" \t\n ", []),
    ],
)
def test_a_title_falls_into_its_words(title: str, parts: list[str]) -> None:
    assert words(title) == parts


def test_of_a_long_title_the_shortest_neighbours_go_together() -> None:
    assert words("extraordinary a b photographs", most=3) == ["extraordinary", "a b", "photographs"]
    assert words("one two three four five six", most=2) == ["one two three four", "five six"]
    assert words("x " * 300, most=1) == [("x " * 300).strip()]


@given(st.text(max_size=120), st.integers(1, 15))
def test_every_letter_of_any_title_is_in_one_part(title: str, most: int) -> None:
    spans = explain.title_parts(title, most)
    assert len(spans) <= most
    inside = [i for start, end in spans for i in range(start, end)]
    assert inside == sorted(set(inside))
    assert {i for i, letter in enumerate(title) if not letter.isspace()} <= set(inside)
    for start, end in spans:
        assert title[start:end].strip()
        assert title[start:end] == title[start:end].strip()
        assert len("".join(explain.cut(title, start, end).split())) == len("".join(title.split())) - len(
            "".join(title[start:end].split())
        )


def test_what_is_cut_out_leaves_no_double_space() -> None:
    assert explain.cut("one two  three", 4, 7) == "one three"
    assert explain.cut("one", 0, 3) == ""


# ---------------------------------------------------------------------------------------- the picture


def test_each_cell_is_painted_in_the_mean_colour_and_nothing_else_changes() -> None:
    shown = picture()
    mean = shown.reshape(-1, 3).mean(axis=0).round()
    covered = np.zeros((72, 128), dtype=int)
    for hidden in explain.occluded(shown):
        again = features.pixels(hidden)
        assert again is not None
        changed = (again != shown).any(axis=-1)
        assert (again[changed] == mean).all()
        covered += (again == mean).all(axis=-1)
        assert 18 * 32 * 0.95 <= changed.sum() <= 18 * 32
    assert (covered >= 1).all()


def test_the_picture_that_cells_are_hidden_in_is_the_one_that_was_scored() -> None:
    out = io.BytesIO()
    Image.fromarray(picture()).resize((1280, 720)).save(out, "JPEG")
    shown = features.pixels(out.getvalue())
    assert shown is not None
    assert np.array_equal(features.pixels(png(shown)), shown)


@pytest.mark.parametrize("thumbnail", [None, b"", b"no picture", png(picture())[:300]])
def test_without_a_readable_picture_there_are_no_cells_and_it_says_so(thumbnail: bytes | None) -> None:
    found = explain.explain(Adding(), draft(thumbnail=thumbnail))
    assert found.regions == ()
    assert "image" not in [group.name for group in found.groups]
    assert found.unseen[0].startswith("The thumbnail: ")


# ---------------------------------------------------------------------------------------- the effects


def test_a_word_adds_what_the_score_loses_without_it() -> None:
    found = explain.explain(Adding(), draft())
    told = {part.text: (part.effect.points, part.effect.ratio) for part in found.parts}
    assert list(told) == ["A", "secret", "and", "a", "boring", "box"]
    assert told["secret"] == pytest.approx((4.0, 2.0))
    assert told["boring"] == pytest.approx((-2.0, 1.0))
    assert told["box"] == pytest.approx((0.0, 1.0))
    assert [found.title[part.start : part.end] for part in found.parts] == list(told)


def test_the_cell_that_matters_is_told_by_its_place() -> None:
    found = explain.explain(Adding(), draft(thumbnail=png(picture())))
    assert [(region.row, region.column) for region in found.regions] == list(explain.REGIONS)
    effects = {(region.row, region.column): region.effect.points for region in found.regions}
    assert effects.pop((1, 3)) == pytest.approx(6.0)
    assert list(effects.values()) == pytest.approx([0.0] * 15)


def test_groups_are_hidden_as_a_whole() -> None:
    video = candidate(history=channel(), category_id=24, thumbnail=png(picture()))
    found = explain.explain(Adding(), video)
    points = {group.name: group.effect.points for group in found.groups}
    assert points == pytest.approx({"text": 2.0, "image": 8.0, "channel": 5.0, "details": 1.0, "counts": 3.0})
    for group in found.groups:
        assert group.score == pytest.approx(found.score.viral_score - group.effect.points / 100)


@pytest.mark.parametrize(
    ("video", "groups"),
    [
        (draft(), ["text"]),
        (draft(title=""), []),
        (draft(history=channel(4)), ["text"]),  # too few to say what is usual: they do not count
        (candidate(history=channel(1)), ["text", "channel", "counts"]),  # one helps a candidate
        (candidate(likes=None, comments=None, country_count=None), ["text"]),
        (draft(duration=50), ["text", "details"]),
        (draft(likes=7), ["text"]),  # a draft's likes are no input
    ],
)
def test_only_what_is_known_can_be_hidden(video: ScoreInput, groups: list[str]) -> None:
    assert [group.name for group in explain.explain(Adding(), video).groups] == groups


def test_a_candidate_is_also_told_as_the_draft_it_was_and_its_views_are_never_hidden() -> None:
    scorer = Adding()
    found = explain.explain(scorer, candidate())
    assert found.as_draft is not None
    assert found.as_draft.mode == "draft"
    [asked] = scorer.calls
    assert {video.views for video in asked if video.mode == "candidate"} == {900}
    assert [video.likes for video in asked if video.mode == "draft"] == [None]
    assert explain.explain(scorer, draft()).as_draft is None


def test_all_is_asked_in_one_call_and_nothing_twice() -> None:
    scorer = Adding()
    video = candidate(history=channel(), category_id=24, thumbnail=png(picture()), title="word " * 40)
    found = explain.explain(scorer, video)
    [asked] = scorer.calls
    assert len({replace(one, key="") for one in asked}) == len(asked) == len({one.key for one in asked})
    assert len(asked) <= 1 + explain.MOST_PARTS + explain.GRID**2 + 6
    assert len(found.parts) == explain.MOST_PARTS
    assert found.score.key == "c"
    (alone,) = explain.explain(scorer, draft(title="secret")).parts  # the word is the title: one question
    assert len(scorer.calls[1]) == 2
    assert alone.effect.points == pytest.approx(4.0)


def test_effects_of_the_shipped_model_are_the_differences_of_its_scores_bit_for_bit() -> None:
    model = scoring.load()
    video = candidate(history=channel(), category_id=24, thumbnail=png(picture()), title="A secret 🔥 box")
    found = explain.explain(model, video)
    assert found == explain.explain(scoring.load(), video)
    assert found.score == model.score([video])[0]
    (without,) = model.score([replace(video, title="A 🔥 box")])
    effect = next(part.effect for part in found.parts if part.text == "secret")
    assert effect.points == 100 * (found.score.viral_score - without.viral_score)
    assert effect.ratio == found.score.predicted_velocity / without.predicted_velocity
    numbers = [one.effect for one in (*found.parts, *found.regions, *found.groups)]
    assert all(math.isfinite(one.points) and one.ratio > 0 for one in numbers)
    assert any(one.points for one in numbers)


# --------------------------------------------------------------------------------------------- unseen


def test_what_is_missing_is_named_before_what_no_score_sees() -> None:
    bare = explain.unseen(draft(published_at=None))
    assert bare[0] == "The thumbnail: none was given."
    assert bare[1] == "What is usual for the channel: none of its earlier videos are known, and it takes 5."
    assert bare[2] == "Category, language, length: not given."
    whole = draft(thumbnail=b"x", history=channel(), category_id=1, language="en", duration=9)
    assert explain.unseen(whole) == bare[3:]
    assert len(bare) == 5


def test_hidden_likes_and_an_unknown_age_of_a_candidate_are_named() -> None:
    told = " ".join(explain.unseen(candidate(likes=0, published_at=None)))
    assert "Likes or comments: hidden" in told
    assert "How old the video is" in told
    assert "Likes" not in " ".join(explain.unseen(candidate()))
    assert "1 of its earlier videos is known" in " ".join(explain.unseen(candidate(history=channel(1))))


def test_the_label_says_that_it_is_no_cause() -> None:
    assert explain.explain(Adding(), draft()).label == explain.LABEL == "Model sensitivity, not cause"
