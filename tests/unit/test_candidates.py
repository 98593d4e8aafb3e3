"""From a yt-dlp info dict to an observation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import candidates
from miles.candidates import Channel, RejectedRow, from_info

SEEN = datetime(2026, 2, 1, tzinfo=UTC)
INFO = {
    "id": "aaaaaaaaaaa", "title": " A title ", "extractor_key": "Youtube",
    "webpage_url": "https://www.youtube.com/watch?v=aaaaaaaaaaa", "description": "Text", "channel_id": "UC1",
    "channel": "A channel", "uploader": "@achannel", "channel_follower_count": 5, "categories": ["Music"],
    "duration": 61.0004, "language": "pt-BR", "timestamp": 1767225600, "upload_date": "20260101", "tags": ["a", "", "b"],
    "view_count": 3, "like_count": 0, "thumbnail": "https://i.example/a.jpg",
}  # fmt: skip


def observed(tier: candidates.Tier = "full", **changes: Any) -> candidates.Observation:
    return from_info({**INFO, **changes}, SEEN, tier, "yt-dlp test")


def test_an_info_dict_becomes_an_observation() -> None:
    row = observed()
    video, shot = row.candidate, row.snapshot
    assert (video.key, video.title, video.url) == ("youtube:aaaaaaaaaaa", "A title", INFO["webpage_url"])
    assert video.channel == Channel("youtube", "UC1", "A channel", None, 5)
    assert (video.category, video.duration, video.language, video.media_type) == ("Music", 61.0, "pt-br", "video")
    assert (video.published_at, video.published_about) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert (video.tags, video.thumbnail_url) == (("a", "b"), "https://i.example/a.jpg")
    assert (shot.observed_at, shot.views, shot.likes, shot.comments, shot.exact) == (SEEN, 3, 0, None, True)
    assert (row.tier, row.source) == ("full", "yt-dlp test")


def test_missing_is_none_never_zero_or_empty() -> None:
    row = from_info({"id": "a", "title": "T", "tags": [], "description": "", "view_count": None}, SEEN, "full", "s")
    facts = [
        getattr(row.candidate, name)
        for name in row.candidate.__slots__
        if name not in ("platform", "video_id", "title")
    ]
    assert facts == [None] * len(facts)
    assert (row.snapshot.views, row.snapshot.likes, row.snapshot.comments) == (None, None, None)


def test_a_flat_listing_gives_no_exact_date_and_no_description() -> None:
    video = observed("flat").candidate
    assert (video.published_at, video.description) == (None, None)
    assert video.published_about == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_shorts_tab_rounds_its_counts() -> None:
    url = "https://www.youtube.com/shorts/aaaaaaaaaaa"
    flat = observed("flat", webpage_url=url)
    assert (flat.snapshot.exact, flat.candidate.media_type) == (False, "short")
    assert observed("full", webpage_url=url).snapshot.exact


@pytest.mark.parametrize(
    ("views", "exact"),
    [
        (999, True),
        (1000, False),  # "1K"
        (43_000, False),
        (1_200_000, False),
        (1_234_000, True),  # no listing rounds to four digits
        (1_566_000_625, True),  # a search says them all
        (None, True),
    ],
)
def test_a_count_that_a_listing_may_have_rounded_is_not_called_exact(views: int | None, exact: bool) -> None:
    assert observed("flat", view_count=views).snapshot.exact is exact
    assert observed("full", view_count=views).snapshot.exact


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "no video id"),
        ({"title": " \x00 "}, "no title"),
        ({"view_count": -1}, "view_count is out of range: -1"),
        ({"like_count": 2**63}, "like_count is out of range"),
        ({"comment_count": "many"}, "comment_count is not a number"),
        ({"duration": float("inf")}, "duration is out of range"),
        ({"timestamp": "soon"}, "not a date"),
        ({"timestamp": None, "upload_date": "20261301"}, "not a date"),
        ({"timestamp": 1e300}, "not a date"),
        ({"channel_follower_count": -3}, "channel_follower_count is out of range"),
    ],
)
def test_what_can_not_be_is_rejected_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRow, match=reason):
        observed(**changes)


@pytest.mark.parametrize(
    ("extractor", "platform"),
    [
        ("Youtube", "youtube"),
        ("YoutubeTab", "youtube"),
        ("youtube:search", "youtube"),
        ("TikTok", "tiktok"),
        ("vimeo:channel", "vimeo"),
        ("BiliBili", "bilibili"),
        (":", "generic"),
    ],
)
def test_the_platform_is_the_extractor_without_its_part(extractor: str, platform: str) -> None:
    assert candidates.platform(extractor) == platform


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (10, "Music"),
        ("24", "Entertainment"),
        (24.0, "Entertainment"),
        ("Own", "Own"),
        (99, None),
        ("", None),
        ("inf", None),
    ],
)
def test_a_category_is_given_by_id_or_name(value: object, name: str | None) -> None:
    assert candidates.youtube_category(value) == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [("EN", "en"), ("zh-Hans", "zh-hans"), ("und", None), ("zxx", None), (" ", None), (None, None)],
)
def test_an_undetermined_language_is_missing(value: object, expected: str | None) -> None:
    assert candidates.language(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), ("1,234", 1234), (12.0, 12), (float("nan"), None), ("", None), (2**53 + 1, 2**53 + 1)],
)
def test_counts_are_kept_as_given(value: object, expected: int | None) -> None:
    assert candidates.count(value, "views") == expected


@pytest.mark.parametrize(
    ("moment", "believed"),
    [
        (SEEN, True),
        (SEEN + timedelta(hours=23), True),
        (SEEN + timedelta(hours=25), False),
        (datetime(2004, 12, 31, tzinfo=UTC), False),
    ],
)
def test_a_moment_is_believed_from_2005_to_tomorrow(moment: datetime, believed: bool) -> None:
    assert candidates.believable(moment, SEEN) is believed


def test_text_is_what_postgres_can_store() -> None:
    assert candidates.text(" a\x00b\ud800 ") == "ab?"
    assert candidates.text("x" * 5000, 10) == "x" * 10


def test_the_best_thumbnail_is_taken_where_none_is_named() -> None:
    listed = [{"url": "small", "width": 1}, {"url": "best", "preference": 1}, {"width": 9}, "odd"]
    assert observed(thumbnail=None, thumbnails=listed).candidate.thumbnail_url == "best"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [*INFO, "thumbnails", "live_status", "media_type", "extractor", "original_url", "release_timestamp"]


@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6), tier=st.sampled_from(["flat", "full"]))
def test_whatever_an_extractor_answers_is_an_observation_or_a_rejected_row(
    changes: dict[str, Any], tier: candidates.Tier
) -> None:
    try:
        row = observed(tier, **changes)
    except RejectedRow:
        return
    assert row.candidate.title.strip()
    assert row.candidate.platform
    for amount in (row.snapshot.views, row.snapshot.likes, row.snapshot.comments, row.candidate.duration):
        assert amount is None or 0 <= amount <= candidates.MAX_COUNT
