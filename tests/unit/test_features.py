"""What the model sees of a video, and what it must not see."""

import io
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from miles.features import (
    CONTEXT,
    GROUPS,
    HISTORY,
    LATEST,
    MIN_HISTORY,
    PAST,
    SETTLED_CHANNEL,
    GrowthCurve,
    PastVideo,
    ScoreInput,
    age_band,
    cohort,
    encode,
    known_past,
    pixels,
)

CURVE = GrowthCurve((0.25, 1.0, 4.0), (-0.5, 0.0, 0.4))
DAY_0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 3, 11, 12)  # noqa: DTZ001 - what the test is about


def past(i: int, hours_until_seen: float = 20, views: int = 1000) -> PastVideo:
    """The video of day `i`, seen some hours after its publication."""
    when = DAY_0 + timedelta(days=i)
    return PastVideo(f"Video {i}", when, when + timedelta(hours=hours_until_seen), views)


def draft(**fields) -> ScoreInput:
    return ScoreInput("k", "A title", **({"published_at": DAY_0 + timedelta(days=10)} | fields))


def candidate(**fields) -> ScoreInput:
    seen = DAY_0 + timedelta(days=10, hours=12)
    return draft(**({"observed_at": seen, "views": 5000} | fields))


def value(video: ScoreInput, name: str) -> float:
    return float(encode(video, CURVE, 4.0).context[CONTEXT.index(name)])


def test_views_and_an_observation_make_a_candidate():
    assert candidate().mode == "candidate"
    assert candidate(views=None).mode == "draft"
    assert candidate(observed_at=None).mode == "draft"
    assert candidate(views=0).mode == "candidate"  # nobody has watched it: known, not missing


def test_a_draft_never_sees_history_that_was_observed_after_its_publication():
    video = draft(history=(past(8), past(9, hours_until_seen=30)))
    assert [title for _, _, title in known_past(video, CURVE)] == ["Video 8"]


def test_a_candidate_sees_history_up_to_its_own_observation():
    video = candidate(history=(past(8), past(9, hours_until_seen=30), past(9, hours_until_seen=40)))
    assert [title for _, _, title in known_past(video, CURVE)] == ["Video 9", "Video 8"]


@pytest.mark.parametrize("later", [10, 11])  # the video itself; one published after it
def test_later_videos_and_the_video_itself_are_no_history(later):
    assert known_past(candidate(history=(past(later, hours_until_seen=4),)), CURVE) == []


def test_history_of_unknown_observation_is_left_out():
    unknown = PastVideo("When was this read?", DAY_0, None, 1000, None, 3.0)
    assert known_past(draft(history=(unknown,)), CURVE) == []


def test_a_draft_without_a_date_may_use_all_that_is_known():
    assert len(known_past(draft(published_at=None, history=(past(1), past(2))), CURVE)) == 2


def test_only_the_latest_twenty_count():
    video = draft(published_at=DAY_0 + timedelta(days=90), history=tuple(past(i) for i in range(30)))
    titles = [title for _, _, title in known_past(video, CURVE)]
    assert titles == [f"Video {i}" for i in range(29, 29 - HISTORY, -1)]


def test_the_order_of_the_history_does_not_matter():
    history = tuple(past(i, views=1000 * (i + 1)) for i in range(8))
    a, b = (encode(draft(history=h), CURVE, 4.0) for h in (history, history[::-1]))
    assert np.array_equal(a.context, b.context, equal_nan=True)
    assert np.array_equal(a.history, b.history)


def test_below_five_earlier_videos_a_draft_has_no_channel():
    few = encode(draft(history=tuple(past(i) for i in range(MIN_HISTORY - 1))), CURVE, 4.0)
    assert (few.usual, few.base, few.history_titles) == (None, 4.0, ())
    assert np.isnan(few.context[GROUPS["channel"]]).all()
    enough = encode(draft(history=tuple(past(i) for i in range(MIN_HISTORY))), CURVE, 4.0)
    assert enough.usual == pytest.approx(CURVE.log_views_24h(1000, 20 / 24))


def test_what_a_draft_is_worth_does_not_hang_on_what_its_siblings_of_the_last_days_reached():
    """Of two videos a day apart the first must not push the second up, whatever their titles."""

    def encoded(sibling_views: int) -> np.ndarray:
        older = tuple(past(i, views=1000 * (1 + i % 3)) for i in range(9))
        sibling = past(14, views=sibling_views)
        return encode(draft(published_at=DAY_0 + timedelta(days=16), history=(*older, sibling)), CURVE, 4.0).context

    usual, hit = encoded(2001), encoded(2_000_000)  # both no lower than the median, which stays
    moved = {name for name, a, b in zip(CONTEXT, usual, hit, strict=True) if not np.isclose(a, b, equal_nan=True)}
    assert "mean3" in moved
    assert moved <= set(LATEST)


def test_what_is_settled_is_older_than_three_days():
    history = tuple(past(i) for i in range(10))
    context = encode(draft(published_at=DAY_0 + timedelta(days=11), history=history), CURVE, 4.0).context
    assert context[CONTEXT.index("settled_n")] == pytest.approx(math.log10(1 + 8))  # days 8 and 9 are 3 and 2 days ago
    fresh = tuple(past(10 - i / 10, hours_until_seen=4) for i in range(1, 8))
    context = encode(draft(published_at=DAY_0 + timedelta(days=11), history=fresh), CURVE, 4.0).context
    assert np.isnan(context[[CONTEXT.index(name) for name in SETTLED_CHANNEL]]).all()


@pytest.mark.parametrize(
    ("earlier", "share"),
    [
        ("Bread baked in a SHOE", 1.0),  # capitals don't count
        ("Bread baked in a shoe 2", 1.0),  # nor numbers: parts of a series
        ("Bread", 0.2),
        ("Ein Schuh", 0.0),
        ("", 0.0),
        ("12 / 13", 0.0),  # no words at all
    ],
)
def test_titles_are_alike_by_the_words_they_share(earlier, share):
    history = (*(past(i) for i in range(5)), replace(past(6), title=earlier))
    row = encode(replace(draft(history=history), title="Bread baked in a shoe"), CURVE, 4.0)
    assert row.history[0, PAST.index("shared_words")] == pytest.approx(share)


def test_counts_are_masked_for_drafts_even_where_they_are_known():
    video = candidate(observed_at=None, likes=10, comments=2, country_count=3)
    assert np.isnan(encode(video, CURVE, 4.0).context[GROUPS["counts"]]).all()


def test_hidden_likes_are_not_known_rather_than_none():
    assert math.isnan(value(candidate(likes=0), "log_likes_per_view"))
    assert value(candidate(likes=50), "log_likes_per_view") == pytest.approx(-2, abs=0.01)


def test_neither_the_hour_of_publication_nor_the_followers_reach_the_model():
    morning, evening = (draft(published_at=DAY_0.replace(hour=h), followers=h) for h in (1, 23))
    a, b = (encode(v, CURVE, 4.0).context for v in (morning, evening))
    assert np.array_equal(a, b, equal_nan=True)


def test_a_moment_without_a_zone_is_utc():
    naive = candidate(published_at=NAIVE, observed_at=NAIVE + timedelta(hours=12))
    assert encode(naive, CURVE, 4.0).age_days == pytest.approx(0.5)


@pytest.mark.parametrize("title", ["", " \t"])
def test_no_title_is_not_known_rather_than_a_title_of_no_letters(title):
    row = encode(ScoreInput("k", title), CURVE, 4.0)
    assert np.isnan(row.context[GROUPS["title"]]).all()


def test_all_but_the_title_may_be_missing():
    row = encode(ScoreInput("k", "Only a title"), CURVE, 4.0)
    assert np.isnan(row.context[GROUPS["video"]]).all()
    assert not np.isnan(row.context[GROUPS["title"]]).any()
    assert row.base == 4.0


def test_groups_cover_the_context_without_overlap():
    covered = [i for part in GROUPS.values() for i in range(len(CONTEXT))[part]]
    assert sorted(covered) == list(range(1, len(CONTEXT)))


def test_the_growth_curve_leaves_views_at_24_hours_alone_and_is_flat_outside():
    assert CURVE.log_views_24h(999, 1.0) == pytest.approx(3.0)
    assert CURVE.log_views_24h(999, 0.25) == pytest.approx(3.5)
    assert CURVE.log_views_24h(999, 400) == CURVE.log_views_24h(999, 4)


@pytest.mark.parametrize(
    ("age", "band"), [(0.1, "6-12h"), (0.5, "12-24h"), (0.99, "12-24h"), (2.5, "2-3d"), (900, "7d+")]
)
def test_age_bands(age, band):
    assert age_band(age) == band


def test_a_rare_category_shares_the_cohort_of_the_rest():
    assert cohort("draft", None, 28) == cohort("draft", None, None) == "draft|-1"
    assert cohort("candidate", 0.7, 10) == "12-24h|10"


@given(
    st.text(max_size=200),
    st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    st.one_of(st.none(), st.integers(0, 10**12)),
    st.one_of(st.none(), st.integers(0, 10**12)),
    st.one_of(st.none(), st.datetimes()),
)
def test_whatever_comes_numbers_are_finite_or_not_known(title, duration, views, likes, published):
    video = ScoreInput("k", title, None, None, 1, duration, "xx", published, DAY_0, views, likes)
    row = encode(video, CURVE, 4.0)
    assert not np.isinf(row.context).any()
    assert math.isfinite(row.base)


def picture(size: tuple[int, int], kind: str, color: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [(480, 360), (1280, 720), (90, 160)])  # 4:3, 16:9, upright
def test_any_picture_becomes_the_same_shape(kind, size):
    shown = pixels(picture(size, kind))
    assert shown is not None
    assert (shown.shape, shown.dtype) == ((72, 128, 3), np.uint8)
    assert shown[..., 0].min() > 200  # red stays red


@pytest.mark.parametrize("broken", [b"", b"<html>", picture((320, 180), "PNG")[:80], picture((4, 4), "PNG")])
def test_a_broken_picture_is_none_and_never_black(broken):
    assert pixels(broken) is None
