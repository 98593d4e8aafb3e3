"""What the explanations say in a sentence, and the picture they are painted on."""

import io

import numpy as np
import pytest
from PIL import Image

from miles.explain import REGIONS, Effect, Group, GroupName, Part, Region
from ui import charts, why, words


def part(text: str, points: float) -> Part:
    return Part(0, len(text), text, Effect(points, 1.0))


def group(name: GroupName, points: float) -> Group:
    return Group(name, Effect(points, 1.0), 0.2)


def regions(**points: float) -> list[Region]:
    """All regions without effect but those named, as r1c3=2.0."""
    return [Region(row, column, Effect(points.get(f"r{row}c{column}", 0.0), 1.0)) for row, column in REGIONS]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([part("why", 1.24), part("not", -0.6)], "“why” adds most (+1.2), “not” takes most (−0.6)"),
        ([part("a", 0.3), part("b", 0.2)], "“a” adds most (+0.3)"),
        ([part("a", -0.3)], "“a” takes most (−0.3)"),
        ([part("a", 0.04), part("b", -0.04)], "No single word moves the score"),
    ],
)
def test_the_words_that_move_the_score_most_are_named(parts: list[Part], sentence: str) -> None:
    assert why.said_of_words(parts) == sentence


def test_the_group_that_moves_it_most_is_named_with_its_sign() -> None:
    assert why.said_of_groups([group("text", 1), group("channel", -7.6)]) == "Most hangs on the channel's past (−7.6)"
    assert why.said_of_groups([group("text", 0.01)]) == "No group of facts moves the score"


def test_a_part_of_the_picture_is_named_by_its_place() -> None:
    assert "top row's left edge takes most (−0.4)" in why.said_of_regions(regions(r0c0=-0.4, r2c2=0.3))
    assert "bottom row's right edge adds most (+2.0)" in why.said_of_regions(regions(r3c3=2))
    assert why.said_of_regions(regions(r1c1=0.049)) == "No part of the thumbnail moves the score"


@pytest.mark.parametrize(
    ("value", "shown"), [(2.14, "+2.1"), (-0.3, "−0.3"), (0.04, "±0"), (-0.04, "±0"), (12, "+12.0")]
)
def test_a_difference_in_100_has_a_sign_and_one_digit(value: float, shown: str) -> None:
    assert words.points(value) == shown


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(charts, "dark", lambda: False)
    out = io.BytesIO()
    Image.new("RGB", (640, 480), (128, 128, 128)).save(out, "PNG")
    return out.getvalue()


def test_what_adds_is_painted_teal_and_what_takes_orange_and_the_rest_is_left_alone(grey: bytes) -> None:
    drawn = why.overlay(grey, regions(r1c3=2.0, r2c0=-1.0))
    assert drawn
    shown = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")).astype(int)
    assert shown.shape == (288, 512, 3)
    adds, takes = shown[72 + 8, 384 + 8], shown[144 + 8, 8]  # corners: the number stands in the middle
    assert adds[2] > adds[0] + 40  # teal: more blue than red
    assert takes[0] > takes[2] + 20  # orange: more red than blue
    changed = (shown != 128).any(axis=-1)
    changed[72:144, 384:] = changed[144:216, :128] = False
    assert not changed.any()


def test_without_a_picture_or_an_effect_nothing_is_painted(grey: bytes) -> None:
    assert why.overlay(grey, regions(r0c0=0.01)) is None
    assert why.overlay(b"no picture", regions(r0c0=1.0)) is None


def test_bars_of_effects_leave_room_for_their_labels_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "dark", lambda: False)
    chart = charts.effects(["a", "b"], [3.0, -1.0], labels=["+3.0", "−1.0"], hover=["", ""]).figure()
    low, high = chart.layout.xaxis.range
    assert low < -1.0
    assert high > 3.0
    assert chart.data[0].marker.color == (charts.accent(), charts.contrast())
    charts.effects(["a"], [0.0], labels=["±0"], hover=[""]).figure()
