"""What a person writes, and the addresses under which a site lists it."""

import pytest

from miles import targets
from miles.errors import SourceError

CHANNEL = "UC" + "x" * 22


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("street food", "topic", ["https://www.youtube.com/results?search_query=street+food&sp=EgIQCQ%3D%3D", "ytsearch7:street food"]),
        (" #shorts: best of ", "topic", ["https://www.youtube.com/results?search_query=%23shorts%3A+best+of&sp=EgIQCQ%3D%3D", "ytsearch7:#shorts: best of"]),
        ("#streetfood", "hashtag", ["https://www.youtube.com/hashtag/streetfood/shorts", "https://www.youtube.com/hashtag/streetfood"]),
        ("straßenküche", "hashtag", ["https://www.youtube.com/hashtag/stra%C3%9Fenk%C3%BCche/shorts", "https://www.youtube.com/hashtag/stra%C3%9Fenk%C3%BCche"]),
        ("https://www.youtube.com/hashtag/cats", "hashtag", ["https://www.youtube.com/hashtag/cats/shorts", "https://www.youtube.com/hashtag/cats"]),
        ("@some.one", "channel", ["https://www.youtube.com/@some.one/shorts", "https://www.youtube.com/@some.one/videos"]),
        (CHANNEL, "channel", [f"https://www.youtube.com/channel/{CHANNEL}/shorts", f"https://www.youtube.com/channel/{CHANNEL}/videos"]),
        # a tab that is named is the one that is meant
        ("https://www.youtube.com/@some.one/videos", "channel", ["https://www.youtube.com/@some.one/videos"]),
        ("https://www.youtube.com/@some.one/", "url", ["https://www.youtube.com/@some.one/shorts", "https://www.youtube.com/@some.one/videos"]),
        ("https://www.tiktok.com/@someone", "channel", ["https://www.tiktok.com/@someone"]),
        ("PL" + "a" * 16, "playlist", ["https://www.youtube.com/playlist?list=PL" + "a" * 16]),
        ("UUSH" + "a" * 22, "playlist", ["https://www.youtube.com/playlist?list=UUSH" + "a" * 22]),
        ("https://www.youtube.com/playlist?list=PLx", "playlist", ["https://www.youtube.com/playlist?list=PLx"]),
        ("@some.one", "tiktok", ["https://www.tiktok.com/@some.one"]),
        ("some.one", "tiktok", ["https://www.tiktok.com/@some.one"]),
        ("https://www.tiktok.com/@someone", "tiktok", ["https://www.tiktok.com/@someone"]),
        ("https://example.com/feed.xml", "url", ["https://example.com/feed.xml"]),
    ],
)  # fmt: skip
def test_a_target_becomes_addresses(target: str, kind: targets.Kind, expected: list[str]) -> None:
    assert targets.addresses(target, kind, 7) == expected


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("", "topic"),
        ("two words", "hashtag"),
        ("#", "hashtag"),
        ("just a name", "channel"),
        ("not a playlist", "playlist"),
        ("two words", "tiktok"),
        ("file:///etc/passwd", "url"),
        ("ytsearch500:everything", "url"),  # yt-dlp's own prefixes are not for visitors
        ("example.com/video", "url"),
        ("https://", "url"),
    ],
)
def test_what_names_nothing_is_refused(target: str, kind: targets.Kind) -> None:
    with pytest.raises(SourceError) as refusal:
        targets.addresses(target, kind, 7)
    assert refusal.value.kind == "invalid"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("street food", "topic"),
        ("#streetfood", "hashtag"),
        ("@someone", "channel"),
        ("UC" + "a" * 22, "channel"),
        ("PL" + "a" * 32, "playlist"),
        ("https://example.com/x", "url"),
        ("mail me @home", "topic"),
        ("PLANETS", "topic"),
    ],
)
def test_a_target_tells_its_kind(target: str, kind: str) -> None:
    assert targets.kind_of(target) == kind
