"""The way from the calibration on Scores to the Model page, which says more of the same version."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect
from reading import open_page, reader, serving, settle

JUDGED = "0.0.1+elder"


@pytest.fixture
def with_versions(
    database_of: Callable[[str], str], sample_template: str, sample_home: Path, tmp_path: Path
) -> Iterator[str]:
    """A dashboard whose database knows two versions of before; the one that is asked for is the default of no page."""
    address = database_of(sample_template)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.cursor().executemany(
            "INSERT INTO model_versions (model_version, manifest, state, activated_at) VALUES (%s, '{}', 'retired', %s)",
            [(JUDGED, "2024-01-01"), ("0.0.2+younger", "2025-01-01")],
        )
    with serving(address, sample_home, tmp_path / "log") as dashboard:
        yield dashboard


def said(page: Page) -> str:
    settle(page)
    return page.get_by_test_id("stMain").inner_text()


def test_calibration_leads_to_the_model_page_of_the_version_that_it_judges(
    chromium: Browser, with_versions: str
) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{with_versions}/scores?view=Calibration&q=the&version={quote(JUDGED)}")
        settle(page)
        page.get_by_role("link", name="Intervals, drift and versions").click()
        expect(page).to_have_title("Model · Miles")
        settle(page)
        assert parse_qs(urlsplit(page.url).query) == {"version": [JUDGED]}  # no filter comes along
        assert f"Version {JUDGED}" in said(page)
        assert f"Version {JUDGED}" in said(open_page(context, page.url))
