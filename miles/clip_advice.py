"""What the measured videos of a niche say about a clip: its length against that of the niche's winners.

Nothing else about a clip's inside can be compared: collected videos are looked at from outside, not downloaded, so
there is no measured pattern of cuts, loudness or light, and none is claimed. Pure: columns in, dataclasses out.

A winner has at least WINNER times its channel's usual. How often a band of lengths wins is told with an interval from
a bootstrap over channels, since videos of one channel are alike; a band counts as different from the others only
where the interval of the ratio leaves out 1.
"""

from dataclasses import dataclass

import numpy as np

WINNER = 2.0  # times the channel's usual
LEAST_WINNERS = 30  # below, nothing is said
LEAST_CHANNELS = 10  # with a winner, the same
LEAST_IN_BAND = 20  # videos
DRAWS = 500  # of the bootstrap
SEED = 0
EDGES = (15.0, 30.0, 45.0, 60.0, 90.0, 180.0, 600.0, 1800.0)  # seconds


@dataclass(frozen=True, slots=True)
class Band:
    """Videos of about one length."""

    low: float  # seconds, included
    high: float | None  # not included; None: no end
    videos: int
    winners: int
    share_low: float  # 95% interval of winners / videos
    share_high: float
    ratio: float  # that share over the share of all other videos
    ratio_low: float  # 95% interval
    ratio_high: float

    @property
    def share(self) -> float:
        return self.winners / self.videos

    @property
    def clear(self) -> bool:
        """Whether it wins more often, or less often, than the other lengths beyond chance."""
        return self.ratio_low > 1 or self.ratio_high < 1

    def holds(self, seconds: float) -> bool:
        return self.low <= seconds and (self.high is None or seconds < self.high)


@dataclass(frozen=True, slots=True)
class Lengths:
    """The lengths of a niche's winners."""

    videos: int  # with a known length and multiple
    channels: int
    winners: int
    quartiles: tuple[float, float, float]  # seconds, of the winners
    bands: tuple[Band, ...]  # that have enough videos, the shortest first

    def band_of(self, seconds: float) -> Band | None:
        return next((one for one in self.bands if one.holds(seconds)), None)

    def best(self) -> Band | None:
        """The band that wins most often, of those that clearly win more often than the others; None without one."""
        above = [one for one in self.bands if one.ratio_low > 1]
        return max(above, key=lambda one: one.share) if above else None


def lengths(duration: np.ndarray, multiple: np.ndarray, channel: np.ndarray) -> Lengths | None:
    """What lengths (seconds) go with winning, from videos with their multiples and channels (any numbers).

    None where too few winners or channels are known.
    """
    known = np.isfinite(duration) & np.isfinite(multiple) & (duration > 0)
    duration, won = duration[known].astype(np.float64), multiple[known] >= WINNER
    _, channel = np.unique(channel[known], return_inverse=True)
    if won.sum() < LEAST_WINNERS or len(np.unique(channel[won])) < LEAST_CHANNELS:
        return None
    band = np.searchsorted(EDGES, duration, side="right")
    number, channels = len(EDGES) + 1, int(channel.max()) + 1
    cell = channel * number + band
    videos = np.bincount(cell, minlength=channels * number).reshape(channels, number).astype(np.float64)
    winners = np.bincount(cell[won], minlength=channels * number).reshape(channels, number).astype(np.float64)
    drawn = np.random.default_rng(SEED).multinomial(channels, np.full(channels, 1 / channels), size=DRAWS)
    share, ratio = _shares(drawn @ videos, drawn @ winners)
    _, told = _shares(videos.sum(axis=0), winners.sum(axis=0))
    starts = (0.0, *EDGES)
    bands = tuple(
        Band(
            low=starts[i],
            high=EDGES[i] if i < len(EDGES) else None,
            videos=int(videos[:, i].sum()),
            winners=int(winners[:, i].sum()),
            share_low=float(np.nanquantile(share[:, i], 0.025)),
            share_high=float(np.nanquantile(share[:, i], 0.975)),
            ratio=float(told[i]),
            ratio_low=float(np.nanquantile(ratio[:, i], 0.025)),
            ratio_high=float(np.nanquantile(ratio[:, i], 0.975)),
        )
        for i in range(number)
        if videos[:, i].sum() >= LEAST_IN_BAND and np.isfinite(ratio[:, i]).any() and np.isfinite(told[i])
    )
    low, middle, high = np.quantile(duration[won], (0.25, 0.5, 0.75))
    return Lengths(len(duration), channels, int(won.sum()), (float(low), float(middle), float(high)), bands)


def _shares(videos: np.ndarray, winners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of winners of each band, and that over the share of all other bands; (…, bands), NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = winners / videos
        others = (winners.sum(axis=-1, keepdims=True) - winners) / (videos.sum(axis=-1, keepdims=True) - videos)
        ratio = share / others
    ratio[~np.isfinite(ratio)] = np.nan
    return share, ratio
