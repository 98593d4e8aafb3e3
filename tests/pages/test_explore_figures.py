"""Every figure of Trending and Home, computed again from the raw rows with pandas, without Miles' own SQL or metrics."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db, niches
from ui import words

Visit = Callable[..., AppTest]
DAY = pd.Timedelta(days=1)
HALF_A_DAY = pd.Timedelta(hours=12)
BANDS = np.array([0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048])
ERA = pd.Timestamp("2025-03-31", tz="UTC")  # a YouTube Short's views of before don't compare


@pytest.fixture(scope="session")
def worked_out() -> list[pd.DataFrame]:
    """Filled by the first test: the sample is the same for all of them."""
    return []


@pytest.fixture
def raw(sample_database: str, worked_out: list[pd.DataFrame]) -> pd.DataFrame:
    """Each video with all numbers worked out from its snapshots, and its channel's."""
    if not worked_out:
        worked_out.append(work_out())
    return worked_out[0]


def work_out() -> pd.DataFrame:
    db.ready()
    with db.transaction("owner") as connection:
        videos = pd.DataFrame(
            connection.execute(
                text(
                    "SELECT candidate_id, title, candidates.platform, media_type, category, language, duration, published_at,"
                    " channel_key, name AS channel, viral_score, base_rate FROM candidates"
                    " LEFT JOIN channels USING (channel_key)"
                )
            ).mappings()
        ).set_index("candidate_id")
        looks = pd.DataFrame(connection.execute(text("SELECT * FROM snapshots")).mappings())
    for frame, column in ((videos, "published_at"), (looks, "observed_at")):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    looks = looks.sort_values(["candidate_id", "observed_at"])
    seen = looks[looks["views"].notna()]
    videos = videos.join(seen.groupby("candidate_id").last()[["views", "observed_at"]])
    for column in ("likes", "comments"):
        videos[column] = looks[looks[column].notna()].groupby("candidate_id")[column].last()
    videos["engagement"] = (videos["likes"] + videos["comments"].fillna(0)) / videos["views"]
    videos.loc[~(videos["views"] > 0) | ~(videos["likes"] > 0), "engagement"] = np.nan
    age = (videos["observed_at"] - videos["published_at"]) / DAY
    videos["lifetime"] = (videos["views"] / age).where(age >= 1 / 24)
    videos["growth"] = pd.Series(
        {
            key: group.groupby(group["observed_at"].dt.date)["views"].last().astype(int).tolist()
            for key, group in seen.groupby("candidate_id")
        }
    )
    videos["newest"] = looks.groupby("candidate_id")["observed_at"].max()
    videos = videos.join(seen[seen["exact"]].groupby("candidate_id").apply(moving, include_groups=False))
    return videos.join(standing_out(videos, seen))


def moving(group: pd.DataFrame) -> pd.Series:
    """Velocity, the one before, and acceleration of one video from its looks, oldest first."""
    apart = [group.iloc[-1]]
    for _, look in group.iloc[::-1].iterrows():
        if len(apart) < 3 and apart[-1]["observed_at"] - look["observed_at"] >= HALF_A_DAY:
            apart.append(look)
    spans = [(later["observed_at"] - earlier["observed_at"]) / DAY for later, earlier in pairwise(apart)]
    speeds = [
        (later["views"] - earlier["views"]) / days
        for (later, earlier), days in zip(pairwise(apart), spans, strict=True)
    ]
    found = {"velocity": np.nan, "days": np.nan, "before": np.nan, "acceleration": np.nan}
    if speeds:
        found |= {"velocity": speeds[0], "days": spans[0]}
    if len(speeds) > 1:
        found |= {"before": speeds[1], "acceleration": (speeds[0] - speeds[1]) / (sum(spans) / 2)}
    return pd.Series(found)


def standing_out(videos: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """Views against the median of the same channel's other videos of the same format and age."""
    looks = seen[["candidate_id", "observed_at", "views"]].join(
        videos[["published_at", "channel_key", "media_type", "platform"]], on="candidate_id"
    )
    looks["band"] = np.searchsorted(BANDS, (looks["observed_at"] - looks["published_at"]) / DAY, side="right")
    looks["old"] = (looks["platform"] == "youtube") & (looks["media_type"] == "short") & (looks["observed_at"] < ERA)
    looks = looks[(looks["band"] > 0) & looks["channel_key"].notna() & looks["published_at"].notna()]
    by_band = looks.groupby(["candidate_id", "band", "old"]).last().reset_index()
    newest = by_band.sort_values("observed_at").groupby("candidate_id").last().reset_index()
    alike = ["channel_key", "media_type", "band", "old"]
    groups = {key: group.set_index("candidate_id")["views"].astype(float) for key, group in by_band.groupby(alike)}
    found = {}
    for one in newest.itertuples():
        others = groups[one.channel_key, one.media_type, one.band, one.old].drop(one.candidate_id)
        usual = others.median() if len(others) >= 5 else np.nan
        found[one.candidate_id] = {"multiple": one.views / usual if usual > 0 else np.nan, "n": len(others)}
    return pd.DataFrame.from_dict(found, orient="index")


SORTED_BY = {
    "By score": "viral_score",
    "By measured velocity": "velocity",
    "By acceleration": "acceleration",
    "By × usual": "multiple",
    "By engagement rate": "engagement",
    "By views": "views",
    "Newest first": "published_at",
    "By lifetime velocity": "lifetime",
}


def in_order(videos: pd.DataFrame, order: str) -> pd.DataFrame:
    return videos.assign(key=videos.index).sort_values(
        [SORTED_BY[order], "key"], ascending=[False, True], na_position="last", kind="stable"
    )


def within(days: int) -> Callable[[pd.DataFrame], pd.Series]:
    def passes(videos: pd.DataFrame) -> pd.Series:
        first = (videos["newest"].max() - days * DAY).normalize()
        return videos["published_at"] >= first

    return passes


FILTERS: list[tuple[dict, Callable[[pd.DataFrame], pd.Series]]] = [
    ({}, lambda videos: pd.Series(True, videos.index)),
    ({"category": "Comedy"}, lambda videos: videos["category"] == "Comedy"),
    ({"q": "the -garden"}, lambda videos: videos["title"].map(
        lambda title: bool(re.search(r"\bthe\b", title, re.I)) and not re.search(r"\bgarden\b", title, re.I))),
    ({"q": "cook* OR \"long meeting\""}, lambda videos: videos["title"].str.contains(r"\bcook|\blong meeting\b", case=False)),
    ({"format": "Short", "duration": ["15–30 s", "30–60 s"]},
     lambda videos: (videos["media_type"] == "short") & (videos["duration"] >= 15) & (videos["duration"] < 60)),
    ({"within": "7 days"}, within(7)),
    ({"score": ["20", "60"]}, lambda videos: videos["viral_score"].between(0.2, 0.6)),
    ({"multiple": "1.5", "views": "1000"}, lambda videos: (videos["multiple"] >= 1.5) & (videos["views"] >= 1000)),
    ({"velocity": "500"}, lambda videos: videos["velocity"] >= 500),
]  # fmt: skip


def total(app: AppTest) -> int:
    """How many videos a page's line of context says there are."""
    [said] = [re.match(r"([\d,]+) videos · newest", part.value) for part in app.caption if "· newest" in part.value]
    assert said
    return int(said[1].replace(",", ""))


@pytest.mark.parametrize("number", range(len(FILTERS)), ids=[str(address) for address, _ in FILTERS])
def test_the_table_says_what_the_raw_rows_say(visit: Visit, raw: pd.DataFrame, number: int) -> None:
    address, passes = FILTERS[number]
    chosen = raw[passes(raw)]
    assert len(chosen) > 0
    for position, order in enumerate(SORTED_BY):
        if number and position % 3 != number % 3:
            continue  # each filter in some orders, each order with some filters
        app = visit("trending", view="Table", sort=order, **address)
        assert not app.exception
        assert total(app) == len(chosen)
        shown, expected = app.dataframe[0].value, in_order(chosen, order).head(24)
        assert shown["Title"].tolist() == expected["title"].tolist()
        for column, of, factor in (
            ("Score", "viral_score", 100), ("Usual", "multiple", 1), ("Velocity", "velocity", 1),
            ("Acceleration", "acceleration", 1), ("Engagement", "engagement", 100), ("Lifetime", "lifetime", 1),
            ("Views", "views", 1),
        ):  # fmt: skip
            np.testing.assert_allclose(
                shown[column].astype(float), expected[of].astype(float) * factor, rtol=1e-6, err_msg=column
            )
        told = expected["n"].where(expected["multiple"].notna())
        np.testing.assert_array_equal(shown["n"].astype(float), told)
        assert [[] if value is None else list(value) for value in shown["Growth"]] == [
            value if len(value) > 1 else [] for value in expected["growth"]
        ]
        assert shown["Channel"].tolist() == expected["channel"].tolist()
        assert shown["Length"].tolist() == [words.duration(value) for value in expected["duration"]]


def test_the_cards_say_what_the_raw_rows_say(visit: Visit, raw: pd.DataFrame) -> None:
    app = visit("trending", sort="By measured velocity", within="30 days")
    expected = in_order(raw[within(30)(raw)], "By measured velocity").head(24)
    said = [part.value for part in app.markdown]
    first = next(position for position, value in enumerate(said) if value.startswith("**") and "Sample" not in value)
    cards = zip(said[first : first + 48 : 2], said[first + 1 : first + 48 : 2], strict=True)
    now = datetime.now(UTC)
    for (title, numbers), (_, row) in zip(cards, expected.iterrows(), strict=True):
        judged, growing = numbers.split("  \n")
        velocity = growing.split(" ![")[0]
        assert title.startswith(f"**{words.plain(words.shorten(row['title'], 50))}**")
        assert f"{words.age(row['published_at'].to_pydatetime(), now)} · {words.count(row['views'])} views" in title
        assert f"**{words.in_100(row['viral_score'])}**" in judged
        usual = f"**{words.times(row['multiple'])}**" if row["multiple"] > 0 else words.UNKNOWN
        assert judged.endswith(f" {usual} usual")
        assert velocity.startswith(f"**{words.per_day(row['velocity'])}**")
        if row["before"] > 0:
            change = row["velocity"] / row["before"]
            sign = "↑" if change >= 1.005 else "↓" if change <= 0.995 else "→"
            assert sign in velocity
            assert change > 10 or words.change(change).lstrip("+−±") in velocity or sign == "→"
        else:
            assert velocity.endswith("**")


def test_home_says_what_the_raw_rows_say(visit: Visit, raw: pd.DataFrame) -> None:
    with db.transaction("viewer", "local") as connection:
        niches.save(connection, "Comedians", "category=Comedy&sort=By+%C3%97+usual")
        niches.save(connection, "This month", "within=30+days&sort=By+measured+velocity")
    app = visit("home")
    assert not app.exception
    assert total(app) == len(raw)
    said = [part.value for part in app.markdown]
    whole = "\n".join(said)

    comedy = in_order(raw[raw["category"] == "Comedy"], "By × usual")
    month = in_order(raw[within(30)(raw)], "By measured velocity")
    links = [link.label for link in app.page_link]
    assert f"All {len(comedy):,}, by × usual" in links
    assert f"All {len(month):,}, by measured velocity" in links
    for row in (*comedy.head(4).itertuples(), *month.head(4).itertuples()):
        assert any(value.startswith(f"**{words.plain(words.shorten(row.title, 50))}**") for value in said)

    # the one to look at first: of those shown, the furthest above its channel's usual that grows
    candidates = pd.concat([comedy.head(4), month.head(4)])
    best = candidates[candidates["velocity"] > 0].dropna(subset="multiple").sort_values("multiple").iloc[-1]
    reason = next(value for value in said if "its channel's usual (of" in value)
    assert reason.startswith(
        f"**{words.times(best['multiple'])}** its channel's usual (of {words.plural(int(best['n']), 'video')})"
        f", gaining **{words.per_day(best['velocity'])}**"
    )
    if best["before"] > 0 and 0.1 < best["velocity"] / best["before"] < 10:
        change = best["velocity"] / best["before"]
        assert words.change(change).lstrip("+−±") in reason
        assert ("faster" if change > 1 else "slower") in reason
    assert f"Score {words.in_100(best['viral_score'])}, base rate {words.in_100(best['base_rate'])}" in reason

    last_day = raw["newest"].max() - DAY
    movers = raw[
        (raw["newest"] >= last_day) & (raw["observed_at"] >= last_day) & (raw["velocity"] > 0) & (raw["days"] <= 2)
    ].sort_values("velocity", ascending=False)
    gained = [part.value for part in app.caption if part.value.startswith("+")]
    assert len(gained) == min(6, len(movers)) > 0
    for line, row in zip(gained, movers.head(6).itertuples(), strict=True):
        assert line.startswith(f"+{words.count(round(row.velocity * row.days))} views in {row.days:.1f} days")
        assert any(value.startswith(f"**{words.per_day(row.velocity)}**") for value in said)

    for name, known in (("Scored", "viral_score"), ("Velocity measured", "velocity"), ("× usual known", "multiple")):
        assert f"{name} **{words.percent(raw[known].notna().mean())}**" in whole, name
    metrics = {metric.label: metric.value for metric in app.metric}
    with db.transaction("owner") as connection:
        looks = connection.scalar(text("SELECT count(*) FROM snapshots"))
    assert metrics["Videos"] == words.count(len(raw))
    assert metrics["Snapshots"] == words.count(looks)
    ago = words.ago(raw["newest"].max().to_pydatetime(), datetime.now(UTC))
    assert f"Newest snapshot **{ago}**" in whole


def test_the_sample_leaves_no_figure_untried(raw: pd.DataFrame) -> None:
    """Else the comparisons above would say little."""
    for column in ("velocity", "acceleration", "multiple", "engagement", "lifetime"):
        assert raw[column].notna().sum() > 100, column
    for column in ("velocity", "acceleration", "multiple"):
        assert raw[column].isna().any(), column
    assert raw["acceleration"].lt(0).any()
    assert raw["newest"].max() > datetime.now(UTC) - timedelta(days=3650)
