"""How files write dates, durations, tags and names of columns."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import importing
from miles.candidates import RejectedRow
from miles.importing import parse_category, parse_duration, parse_moment, parse_tags


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2017-11-13T17:13:01.000Z", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),
        ("2017-11-13T17:13:01+02:00", datetime(2017, 11, 13, 15, 13, 1, tzinfo=UTC)),
        ("2017-11-13 17:13:01", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),
        ("2017-11-13 17:13:01 UTC", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),
        ("2017-11-13", datetime(2017, 11, 13, tzinfo=UTC)),
        ("20171113", datetime(2017, 11, 13, tzinfo=UTC)),  # yt-dlp's upload_date
        ("17.13.11", datetime(2017, 11, 13, tzinfo=UTC)),  # Kaggle's YY.DD.MM
        ("1510593181", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),
        ("1510593181.5", datetime(2017, 11, 13, 17, 13, 1, 500000, tzinfo=UTC)),
        ("1510593181000", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),  # milliseconds
    ],
)
def test_a_moment_is_read_as_files_write_it(value: str, expected: datetime) -> None:
    assert parse_moment(value) == expected


@pytest.mark.parametrize("value", ["yesterday", "17.31.31", "20171399", "2017-13-01", "1e400", "9" * 400])
def test_what_is_no_moment_is_rejected(value: str) -> None:
    with pytest.raises(RejectedRow, match="not a date"):
        parse_moment(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("63", 63), ("63.25", 63.25), ("1:03", 63), ("00:08", 8), ("1:02:03", 3723), ("PT1M3S", 63), ("PT2H", 7200),
     ("P1DT1S", 86401), ("PT0S", 0), ("P0D", 0)],
)  # fmt: skip
def test_a_duration_is_read_as_files_write_it(value: str, expected: float) -> None:
    assert parse_duration(value) == expected


@pytest.mark.parametrize("value", ["long", "P", "1:99", "-1", "1e400", "PT" + "9" * 400 + "S"])
def test_what_is_no_duration_is_rejected(value: str) -> None:
    with pytest.raises(RejectedRow, match="duration"):
        parse_duration(value)


TAGS = [
    ("a, b,c", ["a", "b", "c"]),
    ('one|"two words"|"three, four"', ["one", "two words", "three, four"]),
    ("['x', 'y z']", ["x", "y z"]),
    ('["x", null]', ["x"]),
    ("[x, y]", ["x", "y"]),
    ("[none]", None),
    ("[]", None),
    (", ,", None),
    ("a,,b", ["a", "b"]),
    ("a\x1fb, c", ["a", "b, c"]),  # a list of JSON or Parquet
    ("one", ["one"]),
]


@pytest.mark.parametrize(("value", "expected"), TAGS)
def test_tags_are_read_as_files_write_them(value: str, expected: list[str] | None) -> None:
    found = parse_tags(value)
    assert (found.split("\x1f") if found else None) == expected


@given(st.lists(st.sampled_from([value for value, _ in TAGS]) | st.text("ab ,|[]\"'\x1f\t", max_size=12), max_size=5))
def test_tags_by_sets_are_those_of_each_value(values: list[str]) -> None:
    column = pa.array([value.strip() or None for value in values], pa.string())
    assert importing._tags(column).to_pylist() == [value and parse_tags(value) for value in column.to_pylist()]


@pytest.mark.parametrize(("value", "expected"), [("24", "Entertainment"), ("['Music']", "Music"), ("Own", "Own")])
def test_a_category_is_read_as_files_write_it(value: str, expected: str) -> None:
    assert parse_category(value) == expected


def test_no_name_of_a_column_is_claimed_twice_but_by_channel_and_user() -> None:
    """TikTok's "user" is id and name at once; all else would make one column two facts."""
    names = [
        importing._plain(name)
        for usual in importing.COLUMNS.values()
        for name in dict.fromkeys(map(importing._plain, usual))
    ]
    assert {name for name in names if names.count(name) > 1} == {"user"}
