"""What can be collected, as people write it: a topic, @channel, #hashtag, a playlist, an address. Pure.

Knows the addresses under which sites list such things; nothing is asked here.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

from miles.errors import SourceError

Kind = Literal["topic", "channel", "hashtag", "playlist", "tiktok", "url"]

SHORTS_FILTER = "EgIQCQ=="  # YouTube's own name for "Type: Shorts"
AUDIENCE_KINDS = ("topic", "hashtag", "url")  # a channel or a playlist lists the same videos for everybody
CHANNEL_ID = r"UC[\w-]{22}"
PLAYLIST_ID = r"(?:PL|UU|FL|OLAK|RD)[\w-]{10,}"


@dataclass(frozen=True, slots=True)
class Audience:
    """For whom a listing is asked for; sites answer people of different places differently."""

    language: str | None = None  # YouTube's code of it, like "ja" or "pt-PT"
    region: str | None = None  # ISO 3166 code of the country, like "JP"

    def __bool__(self) -> bool:
        return self.language is not None or self.region is not None


def kind_of(target: str) -> Kind:
    """What a target written without its kind means: #hashtag, @channel, a playlist's id, an address, else a topic."""
    target = target.strip()
    if target.startswith("#"):
        return "hashtag"
    if re.fullmatch(rf"@\S+|{CHANNEL_ID}", target):
        return "channel"
    if re.fullmatch(PLAYLIST_ID, target):
        return "playlist"
    return "url" if re.match(r"https?://", target) else "topic"


def addresses(target: str, kind: Kind, limit: int) -> list[str]:
    """The addresses for a target. Raises SourceError("invalid").

    Those of a topic are read side by side; of others the second is for those that lack the first.
    """
    target = target.strip()
    if not target:
        raise SourceError("Nothing to collect was named. Give a topic, a channel, a hashtag or an address.", "invalid")
    if kind == "topic":
        query = urlencode({"search_query": target, "sp": SHORTS_FILTER})
        return [f"https://www.youtube.com/results?{query}", f"ytsearch{limit}:{target}"]
    if kind == "hashtag":
        tag = re.sub(r"^(https?://)?(www\.)?youtube\.com/hashtag/|^#", "", target).split("/")[0]
        if not tag or re.search(r"\s", tag):
            raise SourceError(f"{target!r} is not a hashtag. Write one word, like #streetfood.", "invalid")
        page = f"https://www.youtube.com/hashtag/{quote(tag)}"
        return [f"{page}/shorts", page]
    address = target if re.match(r"https?://", target) else _named(target, kind)
    if not re.match(r"https?://[^/\s]+", address):
        raise SourceError(f"{target!r} is not a web address. It has to begin with https://.", "invalid")
    if root := re.fullmatch(
        r"(https?://(?:www\.|m\.)?youtube\.com/(?:@[^/?#]+|(?:channel|c|user)/[^/?#]+))/?", address
    ):
        # the Shorts tab first: that is what Miles is about; a channel without one has its videos
        return [f"{root[1]}/shorts", f"{root[1]}/videos"]
    return [address]


def _named(target: str, kind: Kind) -> str:
    """The address of what is named without one."""
    if kind == "channel":
        if re.fullmatch(CHANNEL_ID, target):
            return f"https://www.youtube.com/channel/{target}"
        if re.fullmatch(r"@[\w.\-·]{1,60}", target):
            return f"https://www.youtube.com/{target}"
        raise SourceError(f"{target!r} is not a channel. Write its @handle or its address.", "invalid")
    if kind == "playlist":
        if re.fullmatch(PLAYLIST_ID, target):
            return f"https://www.youtube.com/playlist?list={target}"
        raise SourceError(f"{target!r} is not a playlist. Write its id or its address.", "invalid")
    if kind == "tiktok":
        if re.fullmatch(r"@?[\w.]{1,24}", target):
            return f"https://www.tiktok.com/@{target.removeprefix('@')}"
        raise SourceError(f"{target!r} is not a name on TikTok. Write it as @name.", "invalid")
    return target
