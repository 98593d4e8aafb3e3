"""yt-dlp's filter language as Miles takes it: checked before anything is asked, evaluated by yt-dlp itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import match_filter_func

from miles import match_filter
from miles.errors import SourceError


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (None, None),
        ("  \x00 ", None),
        (" duration <= 180  &  view_count > 1000 ", "duration <= 180 & view_count > 1000"),
        ("!is_live & like_count >? 100", "!is_live & like_count >? 100"),
        ("title ~= '(?i)ramen|noodle' & tags *= food", "title ~= '(?i)ramen|noodle' & tags *= food"),
        ("upload_date >= 20260101 & channel != 'A \\& B'", "upload_date >= 20260101 & channel != 'A \\& B'"),
        ("duration < 3min & language", "duration < 3min & language"),
    ],
)
def test_what_yt_dlp_reads_is_taken(written: str | None, kept: str | None) -> None:
    assert match_filter.check(written) == kept


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("views over ten", "'views over ten' is no condition"),
        ("duration <=", "no condition"),
        ("duration <= 180 &", "'' is no condition"),
        ("-", "no condition"),  # yt-dlp's "ask me"
        ("duration <= 180 & Views > 3", "'Views > 3' is no condition"),
        ("views > 1000", "can't ask for 'views': no video says it. Did you mean view_count?"),
        ("view_cuont > 1000", "Did you mean view_count?"),
        ("zzz > 1", "'zzz': no video says it. docs/collecting.md"),
        ("filesize < 10M", "'filesize'"),  # of formats Miles reads none
        ("upload_date > 2026-01-01", "like 20260131"),
        ("is_live = True", "Write is_live or !is_live"),
        ("duration <= short", "a number with a word"),
        ("duration = short", "a number with a word"),
        ("view_count ~= 10", "a number as text"),
        ("title ~= '('", "is not one"),
        ("tags > 5", "use *="),
        ("x" * 501, "at most 500"),
    ],
)
def test_a_slip_is_one_sentence_that_names_it(written: str, words: str) -> None:
    with pytest.raises(SourceError) as refused:
        match_filter.check(written)
    assert words in str(refused.value)
    assert refused.value.kind == "invalid"
    assert "\n" not in str(refused.value)


def test_every_field_is_one_that_yt_dlp_documents() -> None:
    documented = InfoExtractor.__doc__ or ""
    # what yt-dlp itself adds to each answer
    added = {"extractor", "extractor_key", "fulltitle", "duration_string", "original_url", "language"}
    assert [field for field in match_filter.FIELDS if f"{field}:" not in documented and field not in added] == []


NUMBERS = st.one_of(st.none(), st.integers(0, 10**7))
PARTS = st.sampled_from(
    ["view_count > 1000", "duration <= 180", "like_count >? 10", "title *= noodle", "!is_live", "language", "tags *= a"]
)


@given(
    parts=st.lists(PARTS, min_size=1, max_size=4),
    info=st.fixed_dictionaries(
        {
            "view_count": NUMBERS, "duration": NUMBERS, "like_count": NUMBERS,
            "title": st.sampled_from(["noodles", "rice"]), "is_live": st.sampled_from([None, True, False]),
            "language": st.sampled_from([None, "en"]), "tags": st.sampled_from([None, [], ["a"]]),
        }
    ),
    whole=st.booleans(),
)  # fmt: skip
def test_the_verdict_is_yt_dlps_own(parts: list[str], info: dict, whole: bool) -> None:
    expression = " & ".join(parts)
    theirs = match_filter_func(expression)(info, incomplete=not whole) is None
    assert (match_filter.of_page(expression, info, whole=whole) is None) == theirs
    # a listing with the same facts, exact ones: what it does not say decides nothing
    assert (match_filter.of_listing(expression, info, exact=True).refused is None) == (
        match_filter_func(expression)(info, incomplete=True) is None
    )


def test_a_page_says_which_condition_leaves_it_out_and_why() -> None:
    page = {"duration": 421, "view_count": 5000, "tags": ["a", "b"]}
    for expression, reason in (
        ("view_count > 10 & duration <= 180", "the filter leaves it out (duration <= 180: it is 421)"),
        ("like_count > 10", "the filter leaves it out (like_count > 10: it does not say)"),
        ("tags *= c", "the filter leaves it out (tags *= c: it is a, b)"),
        ("view_count > 10", None),
    ):
        assert match_filter.of_page(expression, page) == reason


@pytest.mark.parametrize(
    ("expression", "entry", "exact", "refused", "decided"),
    [
        ("duration <= 180", {"duration": 421}, True, True, True),
        ("duration <= 180", {"duration": 42}, True, False, True),
        ("duration <= 180", {"duration": None}, True, False, False),  # its page will tell
        ("like_count > 5 & duration <= 180", {"duration": 42}, True, False, False),
        ("upload_date > 20260101", {"upload_date": "20200101"}, True, False, False),  # a listing's dates are guesses
        ("view_count > 1000", {"view_count": 1000}, True, True, True),
        ("view_count > 1000", {"view_count": 1000}, False, False, False),  # "1K" may be 1,049
        ("view_count > 1000", {"view_count": 800}, False, True, True),
        ("view_count > 1000", {"view_count": 54_000}, False, False, True),
        ("view_count < 55000", {"view_count": 54_000}, False, False, False),
        ("!is_live", {}, True, False, False),
    ],
)
def test_a_listing_decides_only_what_it_says_for_sure(
    expression: str, entry: dict, exact: bool, refused: bool, decided: bool
) -> None:
    verdict = match_filter.of_listing(expression, entry, exact=exact)
    assert ((verdict.refused is not None), verdict.decided) == (refused, decided)
