"""A filter as it stands in an address, and back."""

from datetime import UTC, date, datetime
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import addresses
from miles.addresses import WITHIN, Asked
from miles.browse import DURATIONS, SORTS, Filters, Place

NEWEST = datetime(2026, 6, 30, 12, tzinfo=UTC)
LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40).map(str.strip)
SOME = st.lists(LETTERS.filter(bool), unique=True, max_size=4).map(tuple)
DAYS = st.dates(date(2005, 1, 1), date(2030, 1, 1))


@st.composite
def asked(draw: st.DrawFn) -> tuple[Asked, date | None]:
    days = sorted(draw(st.lists(DAYS, max_size=2)))
    low, high = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    filters = Filters(
        text=draw(LETTERS),
        platforms=draw(st.lists(st.sampled_from(["youtube", "tiktok", "vimeo"]), unique=True).map(tuple)),
        formats=draw(st.lists(st.sampled_from(["short", "video", "live"]), unique=True).map(tuple)),
        categories=draw(SOME),
        languages=draw(SOME),
        channel=draw(LETTERS),
        durations=draw(st.lists(st.sampled_from(list(DURATIONS)), unique=True).map(tuple)),
        published_from=days[0] if days else None,
        published_to=days[1] if len(days) > 1 else None,
        score_from=low,
        score_to=high,
        views_from=draw(st.integers(0, 10**9)),
        multiple_from=draw(st.sampled_from([0.0, 0.5, 3.0, 12.5])),
        velocity_from=draw(st.integers(0, 10**9)),
    )
    within = draw(st.sampled_from([None, *WITHIN]))
    return Asked(
        addresses.since(filters, within, NEWEST),
        within,
        draw(st.sampled_from(["", "youtube:abc", "tiktok:7~x"])),
        draw(st.sampled_from([None, *SORTS])),
    ), filters.published_from


@given(asked())
def test_what_is_written_is_read_again(case: tuple[Asked, date | None]) -> None:
    what, published_from = case
    assert addresses.read(addresses.as_text(what, published_from), NEWEST) == what


@given(st.dictionaries(st.sampled_from(["q", "platform", "published", "score", "views", "within", "sort", "like", "x"]),
                       st.lists(st.text(max_size=20), max_size=4)))  # fmt: skip
def test_no_address_is_an_error(address: dict[str, list[str]]) -> None:
    found = addresses.read(address, NEWEST)
    assert 0 <= found.filters.score_from <= found.filters.score_to <= 100
    for part in found.broken:
        key, _, value = part.partition("=")
        assert value in address[key]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("platform=YouTube&platform=tiktok", Filters(platforms=("youtube", "tiktok"))),
        ("format=Short", Filters(formats=("short",))),
        ("within=7 days", Filters(published_from=date(2026, 6, 23))),
        ("within=7 days&published=2026-06-29", Filters(published_from=date(2026, 6, 29))),  # the later one
        ("within=7 days&published=2026-01-01&published=2026-06-25",
         Filters(published_from=date(2026, 6, 23), published_to=date(2026, 6, 25))),
        ("score=20&score=100", Filters(score_from=20)),
        ("score=90&score=30", Filters(score_from=30, score_to=90)),
        ("q=a&q=b", Filters(text="a")),  # a field holds one text
    ],
)  # fmt: skip
def test_an_address_means(address: str, expected: Filters) -> None:
    found = addresses.read(address, NEWEST)
    assert (found.filters, found.broken) == (expected, ())


def test_a_saved_filter_of_the_last_days_keeps_counting_from_the_newest_snapshot() -> None:
    saved = addresses.as_text(addresses.read("q=ramen&within=7 days", NEWEST))
    assert parse_qs(saved) == {"q": ["ramen"], "within": ["7 days"]}
    later = addresses.read(saved, datetime(2026, 7, 20, tzinfo=UTC))
    assert later.filters.published_from == date(2026, 7, 13)


def test_broken_parts_are_named_and_the_others_hold() -> None:
    found = addresses.read("format=film&format=Short&published=soon&score=x&sort=up&views=-3&like=me&q=ok", NEWEST)
    assert found.filters == Filters(text="ok", formats=("short",))
    assert found.sort is None
    assert set(found.broken) == {"format=film", "published=soon", "score=x", "sort=up", "views=-3", "like=me"}


@given(
    st.sampled_from(["after", "before"]),
    st.sampled_from(["youtube:abc", "tiktok:7~x"]),
    st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e18, max_value=1e18),
)
def test_a_place_in_a_list_is_read_as_it_was_written(side: str, candidate_id: str, key: float | None) -> None:
    where = Place(side, key, candidate_id)  # type: ignore[arg-type]
    assert addresses.place(addresses.place_text(where), "score") == where


def test_places_of_views_and_dates_are_exact() -> None:
    for sort, key in (("views", 2**53 + 1), ("age", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))):
        where = Place("after", key, "youtube:abc")
        assert addresses.place(addresses.place_text(where), sort) == where  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["x", "after", "after~~", "after~nan~a:b", "after~1e999~a:b", "before~1~nokey", "~~"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert addresses.place(text, "score") is None
    assert addresses.place(text, "age") is None
    assert addresses.place(text, "views") is None
