"""What the numbers mean: velocity, outlier multiple, engagement rate, defined once in plain Python.

Pure: knows nothing about databases, files or the clock. The roll-up (`rollups.py`) computes the same by
sets in SQL from the same constants, and a test holds the two together.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from miles.candidates import Snapshot

DAY = 86400.0  # seconds
MIN_GAP = 0.5  # days; between closer snapshots the counts' own delays outweigh the growth
MIN_PEERS = 5  # other videos; below it a channel has no "usual"
# Since this day YouTube counts every start of a Short as a view: counts from before and after don't compare.
SHORTS_ERA = datetime(2025, 3, 31, tzinfo=UTC)
# Days. A video is compared with others seen at about its age; each band is twice as long as the one before,
# as views grow with the logarithm of the age.
AGE_BANDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)


@dataclass(frozen=True, slots=True)
class Velocity:
    """Measured growth."""

    per_day: float  # views per day; below 0 where the platform took views back
    days: float  # between the two snapshots


@dataclass(frozen=True, slots=True)
class Acceleration:
    """How a measured velocity changes."""

    per_day: float  # views per day, each day; below 0 where growth slows down
    before: float  # views per day: the velocity that the newest one is compared with


@dataclass(frozen=True, slots=True)
class Outlier:
    """How far a video stands out from its channel."""

    multiple: float | None  # times the channel's usual; None where `n` is below MIN_PEERS, or the usual is 0
    n: int  # other videos it was compared with


@dataclass(frozen=True, slots=True)
class Peer:
    """A video with its snapshots, as the outlier multiple sees it."""

    key: str
    channel_key: str | None
    media_type: str | None  # the format
    published: datetime | None  # an approximate date will do: the age bands are wide
    snapshots: tuple[Snapshot, ...]
    platform: str = "youtube"


def measured_velocity(
    snapshots: Iterable[Snapshot], *, platform: str = "youtube", media_type: str | None = None
) -> Velocity | None:
    """Δviews / Δt between the newest exact snapshot and the latest one at least MIN_GAP days before it.

    None where there is no such pair, or where a YouTube Short's pair lies across SHORTS_ERA.
    """
    looks = _apart(snapshots, 2)
    if len(looks) < 2 or not _comparable(looks, platform, media_type):
        return None
    (newest, views), (before, seen) = looks
    days = _days(newest - before)
    return Velocity(per_day=(views - seen) / days, days=days)


def measured_acceleration(
    snapshots: Iterable[Snapshot], *, platform: str = "youtube", media_type: str | None = None
) -> Acceleration | None:
    """The difference of two measured velocities ÷ the time between the middles of their spans.

    The newer one is `measured_velocity`; the older one ends where that begins, and begins at the latest exact
    snapshot at least MIN_GAP days earlier. None where there are no three such snapshots, or where those of a YouTube
    Short lie on both sides of SHORTS_ERA.
    """
    looks = _apart(snapshots, 3)
    if len(looks) < 3 or not _comparable(looks, platform, media_type):
        return None
    (newest, views), (middle, seen), (oldest, first) = looks
    now, before = (views - seen) / _days(newest - middle), (seen - first) / _days(middle - oldest)
    return Acceleration(per_day=(now - before) / (_days(newest - oldest) / 2), before=before)


def lifetime_velocity(views: int | None, published_at: datetime | None, observed_at: datetime | None) -> float | None:
    """Views per day since publication. It rewards age, so it is always shown as "lifetime".

    None where something is missing or the video is younger than an hour (the quotient means nothing).
    """
    if views is None or published_at is None or observed_at is None:
        return None
    age = _days(observed_at - published_at)
    return views / age if age >= 1 / 24 else None


def outlier_multiple(video: Peer, others: Iterable[Peer]) -> Outlier:
    """Views ÷ the median of the same channel's other videos of the same format at about the same age.

    "About the same age": in the same of AGE_BANDS. Of each other video its newest snapshot in that band
    counts, whatever its age is today.
    """
    own = _newest_by_band(video)
    if not own or video.channel_key is None:
        return Outlier(None, 0)
    group, views = max(own.items(), key=lambda item: item[1][0])
    peers = [
        seen[group][1]
        for other in others
        if other.key != video.key
        and (other.channel_key, other.media_type) == (video.channel_key, video.media_type)
        and group in (seen := _newest_by_band(other))
    ]
    usual = median(peers) if len(peers) >= MIN_PEERS else 0
    return Outlier(views[1] / usual if usual > 0 else None, len(peers))


def engagement_rate(views: int | None, likes: int | None, comments: int | None) -> float | None:
    """(Likes + comments) ÷ views. None without views or likes; unknown comments count as none.

    0 likes on a video with views mostly means that they are hidden; that too is None.
    """
    if not views or not likes:
        return None
    return (likes + (comments or 0)) / views


def _apart(snapshots: Iterable[Snapshot], most: int) -> list[tuple[datetime, int]]:
    """Exact looks at the views, newest first: the newest, then each time the latest at least MIN_GAP days earlier."""
    exact = sorted((shot.observed_at, shot.views) for shot in snapshots if shot.exact and shot.views is not None)
    found: list[tuple[datetime, int]] = []
    for moment, views in reversed(exact):
        if len(found) < most and (not found or _days(found[-1][0] - moment) >= MIN_GAP):
            found.append((moment, views))
    return found


def _comparable(looks: Iterable[tuple[datetime, int]], platform: str, media_type: str | None) -> bool:
    """Whether all of them count the same thing as views."""
    return len({_era(moment, platform, media_type) for moment, _ in looks}) == 1


def age_band(age_days: float) -> int | None:
    """The number of the band in AGE_BANDS; None before publication (a premiere, or a wrong clock)."""
    return bisect_right(AGE_BANDS, age_days) - 1 if age_days >= 0 else None


def _newest_by_band(video: Peer) -> dict[tuple[int, bool], tuple[datetime, int]]:
    """For each (age band, era): when the video was last seen in it, and its views then."""
    newest: dict[tuple[int, bool], tuple[datetime, int]] = {}
    if video.published is None:
        return newest
    for shot in sorted(video.snapshots, key=lambda shot: shot.observed_at):
        band = age_band(_days(shot.observed_at - video.published))
        if shot.views is not None and band is not None:
            newest[band, _era(shot.observed_at, video.platform, video.media_type)] = (shot.observed_at, shot.views)
    return newest


def _era(moment: datetime, platform: str, media_type: str | None) -> bool:
    """False for counts of YouTube Shorts from before SHORTS_ERA."""
    return not (platform == "youtube" and media_type == "short" and moment < SHORTS_ERA)


def _days(span: timedelta) -> float:
    return span.total_seconds() / DAY
