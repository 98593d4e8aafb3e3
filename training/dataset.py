"""Cases to learn from: what could be known about a video at a moment, and what came of it.

Reads the shared data folder; its cases are made like those of the judge (first observation per
video and day, worldwide maximum of the counts), and their features by `miles.features`, the code
that serves. Knows nothing about networks.
"""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from miles.features import AGE_BANDS, DAY, HISTORY, GrowthCurve, PastVideo, ScoreInput, category_group

Split = Literal["fit", "calibrate", "look", "none"]
KNOTS = (0.15, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)  # days, of the growth curve
FIRST_DAY = (0.25, 1.5)  # days: the age at which a count can be moved to 24 h
YOUNG = (0.25, 3.0)  # days: the age of the judge's candidates
LATER = {"3d": (2.5, 3.0, 3.5), "7d": (6.0, 7.0, 8.0)}  # days after the observation
OLD_WEIGHT = 0.25  # observations of older candidates: for the product, not for the yardstick


@dataclass(frozen=True, slots=True)
class Periods:
    """The split by time: by publication, what is fitted, what is calibrated on, and what is only looked at."""

    fit_until: datetime
    calibrate_until: datetime


PERIODS = Periods(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))  # of the shared data


@dataclass(frozen=True, slots=True)
class Case:
    """One video at one moment, and what came of it. Values in log10 of views or views per day."""

    input: ScoreInput
    split: Split
    weight: float
    views_24h: float | None = None  # drafts
    velocity_3d: float | None = None  # candidates
    velocity_7d: float | None = None


def is_held_out(channel_id: str) -> bool:
    """Channels set apart for the judge: no video of theirs may be learnt from.

    The same ones whether the id stands alone, or as in a database with the platform before it.
    """
    return int(hashlib.sha256(channel_id.removeprefix("youtube:").encode()).hexdigest(), 16) % 10 == 1


def split_of(channel_id: str, published_at: datetime, periods: Periods = PERIODS) -> Split:
    if published_at >= periods.calibrate_until:
        return "look"
    if is_held_out(channel_id):
        return "none"
    return "fit" if published_at < periods.fit_until else "calibrate"


def periods_of(daily: pd.DataFrame) -> Periods:
    """The same split for data of any span: the last two of its months, or sixths if it is short."""
    first, last = daily["published_at"].min().to_pydatetime(), daily["published_at"].max().to_pydatetime()
    one = min(timedelta(days=30), (last - first) / 6)
    return Periods(last - 2 * one, last - one)


def read_observations(folder: Path) -> pd.DataFrame:
    """One row per video and day, oldest first: counts are the maximum over countries.

    Columns: those of the file, `age` in days, `countries` (how many lists it stood on).
    """
    columns = [
        *("video_id", "country", "fetched_at", "published_at", "title", "channel_id"),
        *("category_id", "default_language", "duration", "views", "likes", "comments"),
    ]
    raw = pd.read_parquet(folder / "youtube_trending_2025_26.parquet", columns=columns)
    raw["day"] = raw["fetched_at"].dt.floor("D")
    daily = (
        raw.groupby(["video_id", "day"], sort=True)
        .agg(
            fetched_at=("fetched_at", "min"),
            views=("views", "max"),
            likes=("likes", "max"),
            comments=("comments", "max"),
            countries=("country", "nunique"),
        )
        .reset_index()
    )
    about = ["title", "channel_id", "category_id", "default_language", "duration", "published_at"]
    first = raw.sort_values("fetched_at", kind="stable").drop_duplicates("video_id").set_index("video_id")
    daily = daily.join(first[about], on="video_id")
    daily["age"] = (daily["fetched_at"] - daily["published_at"]).dt.total_seconds() / DAY
    daily = daily[daily["age"] > 0]
    return daily.sort_values(["video_id", "fetched_at"], kind="stable").reset_index(drop=True)


def fit_growth_curve(daily: pd.DataFrame, periods: Periods = PERIODS) -> GrowthCurve:
    """Slopes of log10(views) in log10(age) between the knots, from consecutive observations."""
    follows = daily["video_id"].eq(daily["video_id"].shift(-1)).to_numpy()
    held_out = {c: is_held_out(c) for c in daily["channel_id"].unique()}
    usable = follows & ~daily["channel_id"].map(held_out).to_numpy()
    usable &= (daily["published_at"] < periods.fit_until).to_numpy() & (daily["views"] > 0).to_numpy()
    a0, a1 = daily["age"].to_numpy(), daily["age"].shift(-1).to_numpy()
    usable &= (a0 >= KNOTS[0]) & (a1 <= KNOTS[-1]) & (a1 - a0 <= 2.5)
    grown = np.log10(daily["views"].shift(-1).to_numpy() + 1) - np.log10(daily["views"].to_numpy() + 1)
    edges = np.log10(KNOTS)
    # How much of each stretch between two knots lies between the two observations.
    covered = np.clip(np.log10(a1[usable])[:, None], edges[:-1], edges[1:])
    covered -= np.clip(np.log10(a0[usable])[:, None], edges[:-1], edges[1:])
    y = np.maximum(grown[usable], 0.0)
    # Absolute deviations by reweighting: a few videos explode, the typical one should not.
    weight = np.ones(len(y))
    slopes = np.zeros(len(KNOTS) - 1)
    for _ in range(15):
        slopes, *_ = np.linalg.lstsq(covered * weight[:, None], y * weight, rcond=None)
        weight = 1 / np.sqrt(np.maximum(np.abs(y - covered @ slopes), 0.02))
    gains = np.concatenate([[0.0], np.cumsum(np.maximum(slopes, 0.0) * np.diff(edges))])
    gains -= np.interp(0.0, edges, gains)
    return GrowthCurve(KNOTS, tuple(round(float(g), 5) for g in gains))


def make_cases(daily: pd.DataFrame, curve: GrowthCurve, periods: Periods = PERIODS) -> list[Case]:
    """Every case to learn from, to calibrate on or to look at, in a fixed order.

    To look at: the latest period, channels set apart among them, each video once per question.
    """
    start = daily["video_id"].ne(daily["video_id"].shift(1)).to_numpy()
    first = daily[start]
    pasts = _pasts(first, curve)
    rows = list(daily.itertuples(index=False))
    bounds = [*np.flatnonzero(start), len(rows)]
    cases: list[Case] = []
    for low, high in pairwise(bounds):
        video = rows[low:high]
        published = video[0].published_at.to_pydatetime()
        split = split_of(video[0].channel_id, published, periods)
        if split == "none":
            continue
        past = pasts[video[0].channel_id]
        if FIRST_DAY[0] <= video[0].age <= FIRST_DAY[1]:
            reached = curve.log_views_24h(video[0].views, video[0].age)
            cases.append(Case(_input(video[0], past, draft=True), split, 1.0, views_24h=reached))
        for i, row in enumerate(video):
            later = {name: _velocity(video, i, *window) for name, window in LATER.items()}
            if later["3d"] is None and later["7d"] is None:
                continue
            young = i == 0 and YOUNG[0] <= row.age <= YOUNG[1]
            if not young and (split == "look" or row.age > 30 or i % 3):  # neighbouring days say the same
                continue
            weight = 1.0 if young else OLD_WEIGHT
            cases.append(
                Case(
                    _input(row, past, draft=False),
                    split,
                    weight,
                    velocity_3d=later["3d"],
                    velocity_7d=later["7d"],
                )
            )
    return cases


def _pasts(first: pd.DataFrame, curve: GrowthCurve) -> dict[str, list[PastVideo]]:
    """Each channel's videos, oldest first, as at their first observation in the first day."""
    pasts: dict[str, list[PastVideo]] = defaultdict(list)
    in_time = first[first["age"].between(*FIRST_DAY)].sort_values(["published_at", "video_id"])
    for row in in_time.itertuples(index=False):
        pasts[row.channel_id].append(
            PastVideo(
                title=row.title,
                published_at=row.published_at.to_pydatetime(),
                observed_at=row.fetched_at.to_pydatetime(),
                views=int(row.views),
                age_days=float(row.age),
                log10_views_24h=curve.log_views_24h(row.views, row.age),
            )
        )
    return pasts


def _input(row, past: list[PastVideo], draft: bool) -> ScoreInput:
    published, observed = row.published_at.to_pydatetime(), row.fetched_at.to_pydatetime()
    until = published if draft else observed
    known = [p for p in past if p.published_at < published and p.observed_at < until][-HISTORY:]
    return ScoreInput(
        key=row.video_id,
        title=row.title if isinstance(row.title, str) else "",
        channel_id=row.channel_id,
        category_id=_whole(row.category_id),
        duration=None if pd.isna(row.duration) else float(row.duration),
        language=row.default_language if isinstance(row.default_language, str) else None,
        published_at=published,
        observed_at=None if draft else observed,
        views=None if draft else int(row.views),
        likes=None if draft else _whole(row.likes),
        comments=None if draft else _whole(row.comments),
        country_count=None if draft else _whole(row.countries),
        history=tuple(known),
    )


def _whole(x: float | int | None) -> int | None:
    return None if pd.isna(x) else int(x)


def _velocity(video: list, i: int, low: float, aim: float, high: float) -> float | None:
    """log10 of the mean new views per day until the observation nearest `aim` days later."""
    best, gap = None, math.inf
    for other in video[i + 1 :]:
        days = (other.fetched_at - video[i].fetched_at).total_seconds() / DAY
        if days > high:
            break
        if days >= low and abs(days - aim) < gap:
            best, gap = (other.views - video[i].views) / days, abs(days - aim)
    return None if best is None else math.log10(max(best, 1.0))


def thresholds(cases: list[Case], outliers: list[float | None]) -> dict[str, float]:
    """The 90th percentiles that define the events, by cohort, from cases to fit only.

    `outliers`: log10 of views over the channel's usual, per case; None where it has no usual.
    """
    by_cohort: dict[str, list[float]] = defaultdict(list)
    for case, outlier in zip(cases, outliers, strict=True):
        if case.split != "fit":
            continue
        group = category_group(case.input.category_id)
        if outlier is not None:
            by_cohort[f"draft|{group}"].append(outlier)
            by_cohort["draft|all"].append(outlier)
        if case.velocity_3d is not None:
            age = (case.input.observed_at - case.input.published_at).total_seconds() / DAY
            band = next(name for name, upper in AGE_BANDS if age < upper)
            by_cohort[f"{band}|{group}"].append(case.velocity_3d)
            by_cohort[f"{band}|all"].append(case.velocity_3d)
    limits = {k: float(np.quantile(v, 0.9)) for k, v in sorted(by_cohort.items()) if len(v) >= 100}
    for band in ("draft", *(name for name, _ in AGE_BANDS)):  # too few cases: the whole band's
        for group in (10, 20, 24, 22, -1):
            limits.setdefault(f"{band}|{group}", limits.get(f"{band}|all", 5.0))
    return {k: round(v, 5) for k, v in limits.items()}
