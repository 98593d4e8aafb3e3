"""Where facts or addresses are missing or odd: the details of a video, fields bound to the address."""

from collections.abc import Callable

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db

Visit = Callable[..., AppTest]


@pytest.fixture
def imported(database: str) -> str:
    """Key of a YouTube video as some imports leave it: without an address, all its looks of one minute."""
    assert database
    with db.transaction("owner") as connection:
        connection.execute(
            text(
                "INSERT INTO candidates (candidate_id, platform, video_id, title, tier, source, first_seen_at, last_seen_at)"
                " VALUES ('youtube:a-b_c123456', 'youtube', 'a-b_c123456', 'Soup', 'full', 'test', now() - interval '1 h', now())"
            )
        )
        connection.execute(text("SELECT ensure_snapshot_partitions(now() - interval '1 minute', now())"))
        connection.execute(
            text(
                "INSERT INTO snapshots (candidate_id, observed_at, views, exact, tier, source)"
                " SELECT 'youtube:a-b_c123456', now() - seconds * interval '1 s', 500, true, 'full', 'test'"
                " FROM generate_series(1, 3) AS seconds"
            )
        )
    return "youtube:a-b_c123456"


def originals(app: AppTest) -> list[str]:
    return [link.proto.url for link in app.get("link_button") if link.proto.label == "Open original"]


def opened(visit: Visit, key: str) -> AppTest:
    app = visit("trending", video=key)
    assert not app.exception
    assert "Views" in [metric.label for metric in app.metric]
    return app


def test_a_youtube_video_without_an_address_is_opened_by_its_key(visit: Visit, imported: str) -> None:
    assert originals(opened(visit, imported)) == ["https://www.youtube.com/watch?v=a-b_c123456"]


@pytest.mark.usefixtures("sample_database")
def test_an_invented_video_leads_nowhere(visit: Visit) -> None:
    with db.transaction("viewer") as connection:
        key = connection.scalar(text("SELECT candidate_id FROM candidates WHERE sample LIMIT 1"))
    assert originals(opened(visit, key)) == []


@pytest.mark.parametrize(
    ("name", "address"), [("score_lab", {"my_length": "1e999"}), ("recommendations", {"number": "inf"})]
)
@pytest.mark.usefixtures("database")
def test_no_number_in_an_address_ends_a_page_of_create(visit: Visit, name: str, address: dict[str, str]) -> None:
    app = visit(name, **address)
    assert not app.exception
    assert not set(address) & set(app.query_params)


def test_looks_of_one_minute_are_no_growth(visit: Visit, imported: str) -> None:
    app = opened(visit, imported)
    assert any("growth needs looks that lie hours apart" in caption.value for caption in app.caption)
    assert any(caption.value.startswith("1 video ·") for caption in app.caption)
    assert not any("views in 0.0 days" in part.value for part in app.markdown)
