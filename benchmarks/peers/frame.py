"""What pandas makes of the file, for both peers: one row for each video."""

import numpy as np
import pandas as pd

COLUMNS = [
    "video_id", "fetched_at", "published_at", "title", "channel_id", "channel_title", "category_name", "duration",
    "views",
]  # fmt: skip
BANDS = [0, 15, 30, 60, 180, 600, 3600, np.inf]
LABELS = ["up to 15 s", "15–30 s", "30–60 s", "1–3 min", "3–10 min", "10–60 min", "over 1 h"]


def videos_of(path: str) -> pd.DataFrame:
    """The newest look at each video, with `velocity` (views per day since half a day before or more), `multiple` (of
    the channel's median views) and `band` (of durations)."""
    looks = pd.read_parquet(path, columns=COLUMNS).sort_values(["video_id", "fetched_at"])
    newest = looks.drop_duplicates("video_id", keep="last").set_index("video_id")
    before = looks.join(newest["fetched_at"].rename("last"), on="video_id")
    before = before[before["fetched_at"] <= before["last"] - pd.Timedelta(hours=12)]
    before = before.drop_duplicates("video_id", keep="last").set_index("video_id")
    days = (newest["fetched_at"] - before["fetched_at"]).dt.total_seconds() / 86400
    newest["velocity"] = (newest["views"] - before["views"]) / days
    newest["multiple"] = newest["views"] / newest.groupby("channel_id")["views"].transform("median")
    newest["band"] = pd.cut(newest["duration"], BANDS, labels=LABELS, right=False)
    return newest.reset_index()
