"""Each snapshot says where it comes from."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from miles import db, metrics, provenance, store
from miles.candidates import Candidate, MediaType, Observation, Snapshot, Tier

pytestmark = pytest.mark.usefixtures("database")

BEFORE, AFTER = metrics.SHORTS_ERA - timedelta(days=1), metrics.SHORTS_ERA + timedelta(days=1)


def look(
    at: datetime,
    tier: Tier = "full",
    source: str = "youtube yt-dlp-2026.10.26",
    media_type: MediaType = "short",
    platform: str = "youtube",
    published: dict[str, datetime] | None = None,
) -> None:
    video = Candidate(platform, "v", "A video", media_type=media_type, **(published or {}))  # type: ignore[arg-type]
    shot = Snapshot(at, views=7, exact=tier == "full")
    with db.transaction("worker") as connection:
        store.observe(connection, [Observation(video, shot, tier, source)])


def of(key: str = "youtube:v") -> list[provenance.Provenance]:
    with db.transaction("viewer") as connection:
        return provenance.of(connection, key)


def test_a_snapshot_knows_its_look_its_extractor_and_its_era() -> None:
    look(BEFORE, "flat", "youtube:tab yt-dlp-2025.3.1", published={"published_about": BEFORE})
    [rounded] = of()
    assert (rounded.fetched_at, rounded.views, rounded.exact, rounded.tier) == (BEFORE, 7, False, "flat")
    assert (rounded.extractor, rounded.extractor_version) == ("youtube:tab", "2025.3.1")
    assert (rounded.date, rounded.view_era) == ("approximate", "shorts before 2025-03-31")
    look(AFTER, published={"published_at": BEFORE})
    _, exact = of()
    assert (exact.exact, exact.tier, exact.extractor, exact.extractor_version) == (
        True,
        "full",
        "youtube",
        "2026.10.26",
    )
    assert (exact.date, exact.view_era) == ("exact", "shorts since 2025-03-31")


@pytest.mark.parametrize(("platform", "media_type"), [("youtube", "video"), ("tiktok", "short")])
def test_only_shorts_of_youtube_have_two_eras(platform: str, media_type: MediaType) -> None:
    look(BEFORE, platform=platform, media_type=media_type)
    look(AFTER, platform=platform, media_type=media_type)
    assert [one.view_era for one in of(f"{platform}:v")] == ["views", "views"]


def test_a_snapshot_from_a_file_names_the_file_and_no_extractor() -> None:
    look(AFTER, source="trending.parquet")
    [one] = of()
    assert (one.source, one.extractor, one.extractor_version, one.date) == ("trending.parquet", None, None, None)


def test_the_era_changes_where_the_metrics_say_so() -> None:
    """The view's boundary is written out in a migration; it must stay that of the metrics."""
    for at in (metrics.SHORTS_ERA - timedelta(microseconds=1), metrics.SHORTS_ERA):
        look(at)
    assert [one.view_era for one in of()] == ["shorts before 2025-03-31", "shorts since 2025-03-31"]


def test_snapshots_can_be_chosen_by_where_they_come_from() -> None:
    look(BEFORE, source="youtube yt-dlp-2025.3.1")
    look(datetime.now(UTC))
    with db.transaction("viewer") as connection:
        counted = connection.execute(
            text("SELECT extractor_version, view_era, count(*) FROM snapshot_provenance GROUP BY 1, 2 ORDER BY 1")
        ).all()
    assert [tuple(row) for row in counted] == [
        ("2025.3.1", "shorts before 2025-03-31", 1),
        ("2026.10.26", "shorts since 2025-03-31", 1),
    ]
