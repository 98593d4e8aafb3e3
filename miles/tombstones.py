"""What was removed on request and is never collected again: who asks for it is refused, what is listed of it left out.

A tombstone names a video or a channel by its key, and by the addresses under which it may be asked for, each in one
form (`names_of`). Knows nothing about how things are deleted; that is `removal`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Connection, text

from miles import targets
from miles.errors import MilesError, SourceError

Kind = Literal["video", "channel"]

REASON = "it was removed on request"  # of an item that is skipped
LISTED_TABS = r"/(shorts|videos|streams|featured|live|playlists|about|community|posts)$"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Something that is never collected again."""

    kind: Kind
    key: str
    reason: str | None
    removed_by: str
    removed_at: datetime
    deleted_at: datetime | None  # None: it is still being deleted


def listed(connection: Connection, limit: int = 1000) -> list[Tombstone]:
    """What is never collected again, newest first."""
    rows = connection.execute(
        text(
            "SELECT kind, key, reason, removed_by, removed_at, deleted_at FROM removed"
            " ORDER BY removed_at DESC, key LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [Tombstone(**row) for row in rows.mappings()]


def lift(connection: Connection, what: str) -> Tombstone:
    """Let something be collected again; what was deleted stays deleted. Raises MilesError if it has no tombstone."""
    what = " ".join(what.split())
    names = names_of(what)
    row = (
        connection.execute(
            text(
                "DELETE FROM removed WHERE (kind, key) = ("
                " SELECT kind, key FROM removed WHERE key = ANY(:keys) OR names && CAST(:names AS text[])"
                " ORDER BY key = :what DESC, kind LIMIT 1)"
                " RETURNING kind, key, reason, removed_by, removed_at, deleted_at"
            ),
            {"what": what, "keys": [what, *names.keys], "names": [*names.addresses, *handle(what)]},
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise MilesError(f"{what} is not among what was removed. `python -m miles remove --list` shows all of it.")
    return Tombstone(**row)


def refuse(connection: Connection, target: str, kind: str) -> None:
    """Raise SourceError("invalid") where a target names something that was removed."""
    if kind not in ("channel", "url", "tiktok"):
        return
    names = asked(target, kind)
    hit = connection.execute(
        text(
            "SELECT kind, removed_at FROM removed WHERE key = ANY(:keys) OR names && CAST(:names AS text[])"
            " ORDER BY kind LIMIT 1"
        ),
        {"keys": list(names.keys), "names": list(names.addresses)},
    ).first()
    if hit is not None:
        raise SourceError(
            f"This {hit.kind} was removed on request on {hit.removed_at:%Y-%m-%d} and is not collected again."
            f" `python -m miles remove --lift {target}` allows it.",
            "invalid",
        )


@dataclass(frozen=True, slots=True)
class Removed:
    """Which of what was asked about is removed."""

    videos: frozenset[str]  # keys
    channels: frozenset[str]  # keys
    addresses: frozenset[str]  # as they were given


def among(
    connection: Connection, videos: Iterable[str], channels: Iterable[str] = (), addresses: Iterable[str] = ()
) -> Removed:
    """Which of these were removed."""
    names = {address: names_of(address) for address in addresses}
    asked = {
        "videos": [*videos, *(key for one in names.values() for key in one.keys)],
        "channels": list(channels),
        "names": [name for one in names.values() for name in one.addresses],
    }
    rows = connection.execute(
        text(
            "SELECT kind, key, names FROM removed WHERE kind = 'video' AND key = ANY(:videos)"
            " OR kind = 'channel' AND key = ANY(:channels) OR kind = 'video' AND names && CAST(:names AS text[])"
        ),
        asked,
    ).all()
    keys = {kind: frozenset(row.key for row in rows if row.kind == kind) for kind in ("video", "channel")}
    hit = {name for row in rows for name in row.names}
    return Removed(
        keys["video"],
        keys["channel"],
        frozenset(
            address for address, one in names.items() if keys["video"] & set(one.keys) or hit & set(one.addresses)
        ),
    )


@dataclass(frozen=True, slots=True)
class Names:
    """What an address or a key says about what it names."""

    keys: tuple[str, ...]  # of a video or a channel
    addresses: tuple[str, ...]  # in the one form in which we compare them


def names_of(what: str) -> Names:
    """The keys and the compared form of an address; of anything else the key that it may be."""
    keys: list[str] = []
    if not re.match(r"https?://", what):
        if re.fullmatch(targets.CHANNEL_ID, what) or re.fullmatch(r"[\w-]{11}", what):
            keys.append(f"youtube:{what}")
        return Names(tuple(keys), tuple(handle(what)))
    try:
        parts = urlsplit(what)
    except ValueError:
        return Names((), ())
    host = re.sub(r"^(www|m)\.", "", (parts.hostname or "").lower())
    path = parts.path.rstrip("/")
    if host in ("youtube.com", "youtu.be", "youtube-nocookie.com", "music.youtube.com"):
        video = parse_qs(parts.query).get("v", [""])[0] if path == "/watch" else ""
        if found := re.fullmatch(r"/(?:shorts|embed|live|v)/([\w-]{11})", path):
            video = found[1]
        if host == "youtu.be":
            video = path.removeprefix("/")
        if re.fullmatch(r"[\w-]{11}", video):
            return Names((f"youtube:{video}",), ())
        path = re.sub(LISTED_TABS, "", path)
        if found := re.fullmatch(rf"/channel/({targets.CHANNEL_ID})", path):
            keys.append(f"youtube:{found[1]}")
        host = "youtube.com"
    elif found := re.fullmatch(r"/@[\w.]+/(?:video|photo)/(\d{15,20})", path):
        return Names((f"tiktok:{found[1]}",), ()) if host == "tiktok.com" else Names((), (f"{host}{path}",))
    if re.match(r"/@", path):
        path = path.lower()  # handles are the same in any case
    query = f"?{parts.query}" if parts.query and host != "youtube.com" else ""
    return Names(tuple(keys), (f"{host}{path}{query}",) if path or query else ())


def name_of(address: str) -> str | None:
    """The compared form of an address, where it has one."""
    return next(iter(names_of(address).addresses), None)


def handle(what: str) -> list[str]:
    return [f"youtube.com/{what.lower()}"] if re.fullmatch(r"@[\w.\-·]+", what) else []


def asked(target: str, kind: str) -> Names:
    """The names of all the addresses that a target stands for."""
    try:
        found = [names_of(address) for address in targets.addresses(target, kind, 1)]  # type: ignore[arg-type]
    except SourceError:
        return Names((), ())
    return Names(
        tuple({key for one in found for key in one.keys}), tuple({name for one in found for name in one.addresses})
    )
