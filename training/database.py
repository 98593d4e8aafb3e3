"""Observations and thumbnails from an installation's own database, in the form that `dataset` reads from files.

Reads only, as the worker and in a read-only transaction. Sample data never counts: it is made up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import pandas as pd
from sqlalchemy import Connection, text

from miles import db, storage
from miles.candidates import CATEGORY_IDS
from miles.errors import MilesError
from miles.features import DAY, MIN_HISTORY
from training.dataset import FIRST_DAY, Case, Periods

THUMBNAILS = 2_000  # below it the image encoder learns nothing (it has 190k weights), and is left out


@dataclass(frozen=True, slots=True)
class Needed:
    """How much is enough, in cases. Fewer fit nothing, or leave figures whose intervals say nothing."""

    fit_drafts: int = 5_000  # with a usual of their channel; of these 500 are events
    fit_candidates: int = 5_000
    calibrate_drafts: int = 500  # 50 events: the least that two numbers of a calibration can be read from
    calibrate_candidates: int = 500
    look_drafts: int = 200
    look_candidates: int = 200
    channels: int = 100  # fitted ones, with a usual


NEEDED = Needed()

# One row per video and hour: what one look at several charts saw is one observation, as in the shared data.
# Rounded counts ("1.2M") are left out: what grows between two of them is mostly the rounding.
_OBSERVATIONS = """
SELECT candidate_id AS video_id, max(snapshots.observed_at) AS fetched_at, max(snapshots.views) AS views,
    max(snapshots.likes) AS likes, max(snapshots.comments) AS comments,
    nullif(count(DISTINCT snapshots.country), 0) AS countries
FROM snapshots JOIN candidates USING (candidate_id)
WHERE NOT candidates.sample AND candidates.published_at IS NOT NULL AND snapshots.views IS NOT NULL
    AND snapshots.exact AND snapshots.observed_at > candidates.published_at
GROUP BY candidate_id, date_trunc('hour', snapshots.observed_at)
"""

# A video without a channel stands for itself: it has no past, and is set apart, or not, alone.
_ABOUT = """
SELECT candidate_id AS video_id, title, coalesce(channel_key, candidate_id) AS channel_id, category,
    language AS default_language, duration, published_at
FROM candidates WHERE NOT sample AND published_at IS NOT NULL
"""

# What was measured last stands for success; within a month of publication, as `image_encoder` compares.
_THUMBNAILS = """
SELECT title, published_at, views AS view_count, sha256
FROM candidates JOIN thumbnails USING (candidate_id)
WHERE NOT sample AND state = 'stored' AND published_at IS NOT NULL AND views IS NOT NULL
    AND observed_at >= published_at + interval '2 days'
ORDER BY published_at, candidate_id
"""

_STATE = """
SELECT (SELECT count(*) FROM snapshots), (SELECT max(observed_at) FROM snapshots), (SELECT count(*) FROM candidates),
    (SELECT max(changed_at) FROM candidates), (SELECT count(*) FROM thumbnails WHERE state = 'stored')
"""


@contextmanager
def reading() -> Iterator[Connection]:
    """A transaction that can't write."""
    with db.transaction("worker") as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        yield connection


def state(connection: Connection) -> str:
    """What changes with every observation: tells whether what was read before still stands."""
    return f"{db.place()} {tuple(connection.execute(text(_STATE)).one())}"


def read_observations(connection: Connection) -> pd.DataFrame:
    """The same table as `dataset.read_observations`; `countries`, counts and facts may be missing (NaN)."""
    daily = _frame(connection, _OBSERVATIONS)
    about = _frame(connection, _ABOUT).set_index("video_id")
    if daily.empty:
        raise MilesError(
            "There is nothing to learn from in the database: no video was observed with its exact views and time of "
            "publication. Collect first (the sample does not count)."
        )
    about["category_id"] = about.pop("category").map(CATEGORY_IDS)
    daily = daily.join(about, on="video_id")
    for column in ("fetched_at", "published_at"):
        daily[column] = pd.to_datetime(daily[column], utc=True)
    for column in ("views", "likes", "comments", "countries", "duration", "category_id"):
        daily[column] = pd.to_numeric(daily[column]).astype(float)
    daily["age"] = (daily["fetched_at"] - daily["published_at"]).dt.total_seconds() / DAY
    return daily.sort_values(["video_id", "fetched_at"], kind="stable").reset_index(drop=True)


def read_thumbnails(connection: Connection) -> pd.DataFrame:
    """title, published_at, view_count, image (bytes): what `image_encoder.read` takes; may be empty."""
    frame = _frame(connection, _THUMBNAILS)
    stored = storage.thumbnails()
    frame["image"] = [stored.get(key) for key in frame.pop("sha256")]
    frame["published_at"] = pd.to_datetime(frame["published_at"], utc=True)
    return frame[frame["image"].notna()].reset_index(drop=True)


def _frame(connection: Connection, query: str) -> pd.DataFrame:
    """The rows of a query, over COPY: a million of them in a few seconds, without a million tuples."""
    csv = BytesIO()
    cursor = db.psycopg_connection(connection).cursor()
    with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)") as copy:
        for block in copy:
            csv.write(block)
    csv.seek(0)
    # only what is empty is missing: there are videos called "NA" and "null"
    texts = dict.fromkeys(("video_id", "title", "channel_id", "category", "default_language", "sha256"), "string")
    frame = pd.read_csv(csv, keep_default_na=False, na_values=[""], dtype=texts)
    for name in texts.keys() & set(frame.columns):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame


def check(cases: list[Case], usuals: list[float | None], periods: Periods, needed: Needed = NEEDED) -> None:
    """Refuse what is too little to learn from, naming all that is missing and by how much.

    `usuals`: of each case, its channel's usual; None without one. Raises MilesError.
    """
    counted = dict.fromkeys(("fit", "calibrate", "look"), 0)
    had: dict[str, int] = {f"{split}_{kind}": 0 for split in counted for kind in ("drafts", "candidates")}
    channels = set()
    for case, usual in zip(cases, usuals, strict=True):
        if case.input.mode == "draft" and usual is not None:
            had[f"{case.split}_drafts"] += 1
            if case.split == "fit":
                channels.add(case.input.channel_id)
        elif case.input.mode == "candidate" and case.velocity_3d is not None:
            had[f"{case.split}_candidates"] += 1
    had["channels"] = len(channels)
    missing = [
        f"it needs {want:,} {_WORDS[name]}, has {had[name]:,}: {want - had[name]:,} more"
        for name in Needed.__slots__
        if had[name] < (want := getattr(needed, name))
    ]
    if missing:
        raise MilesError(
            f"The database holds too little to learn from: {'; '.join(missing)}. A draft case is a video first observed "
            f"{FIRST_DAY[0] * 24:.0f} to {FIRST_DAY[1] * 24:.0f} h after its publication, with {MIN_HISTORY} earlier ones "
            "of its channel observed so before; a candidate case is a video observed again 3 days later. Fitted is what "
            f"was published before {periods.fit_until:%Y-%m-%d}, calibrated on what came before "
            f"{periods.calibrate_until:%Y-%m-%d}. Put channels on the watchlist and let Miles go on collecting."
        )


_WORDS = {
    "fit_drafts": "draft cases to fit",
    "fit_candidates": "candidate cases to fit",
    "calibrate_drafts": "draft cases to calibrate on",
    "calibrate_candidates": "candidate cases to calibrate on",
    "look_drafts": "draft cases to look at",
    "look_candidates": "candidate cases to look at",
    "channels": f"channels to fit, each with {MIN_HISTORY} observed videos or more",
}
