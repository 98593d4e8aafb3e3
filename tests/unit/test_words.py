"""Numbers and moments in words."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ui import words

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (7, "7"),
        (0.4, "0.4"),  # a velocity may be below one view a day
        (870, "870"),
        (999.6, "1K"),  # rounds up into the next unit, never "1000"
        (1_000, "1K"),
        (5_430, "5.4K"),
        (9_960, "10K"),
        (54_321, "54K"),
        (999_499, "999K"),
        (999_999, "1M"),
        (1_234_567, "1.2M"),
        (2_000_000_000, "2B"),
        (-54_321, "−54K"),  # a velocity can be negative: views get removed
        (None, "—"),
        (math.nan, "—"),  # a data frame's missing value
    ],
)
def test_a_count_takes_at_most_four_characters_and_a_unit(value: float | None, written: str) -> None:
    assert words.count(value) == written


@given(some.floats(0, 1e15))
def test_a_written_count_is_never_far_from_the_count(value: float) -> None:
    written = words.count(value)
    number = float(written.rstrip("KMBT")) * {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(written[-1], 1)
    assert number == pytest.approx(value, rel=0.06, abs=0.06)
    assert len(written.rstrip("KMBT").replace(".", "")) <= 4


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        (0.37, "37 in 100"),
        (0.001, "under 1 in 100"),  # a probability is never shown as impossible
        (0.999, "over 99 in 100"),  # nor as certain
        (None, "—"),
    ],
)
def test_a_probability_is_counted_in_hundred(probability: float | None, written: str) -> None:
    assert words.in_100(probability) == written


@pytest.mark.parametrize(
    ("value", "written"), [(0.424, "0.42×"), (1.44, "1.4×"), (23.4, "23×"), (4_200, "4.2K×"), (None, "—")]
)
def test_a_multiple_has_two_figures(value: float | None, written: str) -> None:
    assert words.times(value) == written


@pytest.mark.parametrize(
    ("share", "written"), [(0.123, "12%"), (-0.0312, "−3%"), (-0.001, "0%"), (0.0, "0%"), (None, "—")]
)
def test_a_share_below_nothing_has_a_sign_and_no_share_is_minus_nothing(share: float | None, written: str) -> None:
    assert words.percent(share) == written


def test_all_digits_of_a_count_stand_with_its_noun() -> None:
    assert words.counted(1, "video") == "1 video"
    assert words.counted(157_958, "video") == "157,958 videos"


def test_a_name_from_right_to_left_does_not_turn_what_stands_beside_it() -> None:
    assert words.apart("قناة الفرقدين") == "\u2068قناة الفرقدين\u2069"
    assert words.apart("Zoe Daily") == "Zoe Daily"


def test_an_interval_says_its_unit_once() -> None:
    assert words.interval(0.9, 2.3) == "0.90–2.3×"
    assert words.interval(12_000, 80_000, "/day") == "12K–80K/day"
    assert words.interval(None, 2.3) == "—"


@pytest.mark.parametrize(
    ("ratio", "written"), [(1.05, "+5%"), (0.9, "−10%"), (1.0, "±0%"), (1.0004, "±0%"), (1.004, "+0.4%")]
)
def test_a_change_carries_its_sign(ratio: float, written: str) -> None:
    assert words.change(ratio) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(42, "42 s"), (59.7, "1:00"), (200, "3:20"), (3725, "1:02:05"), (0, "0 s"), (None, "—")],
)
def test_a_duration_reads_like_a_player(seconds: float | None, written: str) -> None:
    assert words.duration(seconds) == written


@pytest.mark.parametrize(
    ("back", "written"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=40), "40 min ago"),
        (timedelta(hours=18), "18 h ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=2), "2 d ago"),
        (timedelta(days=13), "13 d ago"),
        (timedelta(days=30), "4 w ago"),
        (timedelta(days=100), "3 mo ago"),
        (timedelta(days=800), "2 y ago"),
        (timedelta(days=-1), "just now"),  # another machine's clock may be ahead
    ],
)
def test_a_moment_is_told_from_here(back: timedelta, written: str) -> None:
    assert words.ago(NOW - back, NOW) == written


def test_a_day_is_in_utc() -> None:
    assert words.day(datetime.fromisoformat("2026-03-05T23:30:00-05:00")) == "6 Mar 2026"
    assert words.day(date(2026, 3, 5)) == "5 Mar 2026"
    assert words.day(None) == "—"


def test_against_the_base_rate_needs_a_base_rate() -> None:
    assert words.against_base(0.37, 0.1) == "3.7× the base rate"
    assert words.against_base(0.37, 0.0) == "—"
    assert words.against_base(0.37, None) == "—"


@given(some.text(max_size=300), some.integers(8, 80))
def test_a_shortened_title_fits(title: str, width: int) -> None:
    short = words.shorten(title, width)
    assert short == title or (short.endswith("…") and title.startswith(short[:-1]))
    assert len(short) <= width


def test_an_ideograph_takes_two_columns() -> None:
    assert words.shorten("あ" * 20, 40) == "あ" * 20
    assert words.shorten("あ" * 21, 40) == "あ" * 19 + "…"


@given(some.text(max_size=100))
def test_a_title_can_not_write_markdown(title: str) -> None:
    plain = words.plain(title)
    unescaped = plain.replace("\\\\", "")
    for letter in "*_`[$:<":
        assert f"{letter}" not in unescaped.replace(f"\\{letter}", "")


def test_a_plural_follows_its_number() -> None:
    assert words.plural(1, "video") == "1 video"
    assert words.plural(54_000, "video") == "54K videos"
    assert words.plural(2, "country", "countries") == "2 countries"
