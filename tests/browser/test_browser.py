"""What only a browser shows: first opening, downloads, details, shared addresses. Screenshots are kept."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect
from reading import keep, open_page, reader, serving, settle


def test_a_page_opened_first_on_a_fresh_server_has_its_frame(
    chromium: Browser, database_of: Callable[[str], str], tmp_path: Path, sample_template: str, sample_home: Path
) -> None:
    address = database_of(sample_template)
    with serving(address, sample_home, tmp_path / "log") as dashboard, reader(chromium) as context:
        page = open_page(context, f"{dashboard}/trending")
        expect(page.get_by_role("heading", name="Trending")).to_be_visible()
        expect(page.get_by_test_id("stSidebarNav")).to_contain_text("Operate")
        expect(page.get_by_test_id("stSidebar")).to_contain_text("Newest snapshot")


def test_without_data_home_shows_three_ways_in(
    chromium: Browser, database_of: Callable[[str], str], tmp_path: Path
) -> None:
    with serving(database_of("template"), tmp_path, tmp_path / "log") as dashboard:
        for width in (1440, 390):
            with reader(chromium, width) as context:
                page = open_page(context, dashboard)
                for way in ("Collect a topic", "Import a file", "Load sample data"):
                    expect(page.get_by_role("heading", name=way)).to_be_visible()
                keep(page, f"home-empty-{width}-light")


def test_an_unreachable_database_is_one_sentence(chromium: Browser, tmp_path: Path) -> None:
    nowhere = "postgresql://somebody:secret@127.0.0.1:9/nothing"
    with serving(nowhere, tmp_path, tmp_path / "log") as dashboard, reader(chromium) as context:
        page = open_page(context, dashboard)
        expect(page.get_by_test_id("stAlert")).to_contain_text("The database at 127.0.0.1:9/nothing can't be reached")
        assert "secret" not in page.content()
        keep(page, "home-unreachable-1440-light")


def test_a_filtered_view_is_shared_by_its_address(chromium: Browser, dashboard: str) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{dashboard}/trending")
        page.get_by_placeholder("Words of the title").fill("the")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("q=the"))
        page.get_by_text("Table", exact=True).click()
        expect(page).to_have_url(re.compile("view=Table"))
        settle(page)
        found = page.get_by_text(re.compile(r"videos · newest snapshot")).inner_text().split(" ·")[0]
        again = open_page(context, page.url)
        expect(again.get_by_text(re.compile(r"videos · newest snapshot"))).to_contain_text(found)
        expect(again.get_by_test_id("stDataFrame")).to_be_visible()
        keep(again, "trending-table-1440-light")


def test_details_open_on_a_click_and_leave_the_address_when_closed(chromium: Browser, dashboard: str) -> None:
    for width in (1440, 390):
        with reader(chromium, width) as context:
            page = open_page(context, f"{dashboard}/trending?sort=By+views")
            page.get_by_role("button", name="Details").first.click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("snapshots")
            expect(dialog).to_contain_text("Base rate")
            expect(page).to_have_url(re.compile("video=sample"))
            settle(page)
            page.screenshot(path=f"screenshots/details-{width}-light.png")
            dialog.get_by_text("Why it scored so").click()
            expect(page).to_have_url(re.compile("details_why=true"))
            expect(dialog).to_contain_text("Model sensitivity, not cause")
            dialog.get_by_label("Close").click()
            expect(dialog).to_have_count(0)
            expect(page).to_have_url(f"{dashboard}/trending?sort=By+views")


def test_the_whole_filtered_set_is_downloaded(chromium: Browser, dashboard: str) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{dashboard}/trending?category=Comedy")
        said = page.get_by_text(re.compile(r"videos · newest snapshot")).inner_text()
        page.get_by_role("button", name="Export").click()
        link = page.get_by_role("link", name="CSV")
        link.evaluate("link => link.removeAttribute('target')")  # its own tab would close before we see the file
        with page.expect_download() as download:
            link.click()
        assert re.fullmatch(r"miles-videos-\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
        assert f"{len(rows):,} videos" in said
        assert {row["category"] for row in rows} == {"Comedy"}


def test_filters_stand_behind_one_button_on_a_phone(chromium: Browser, dashboard: str) -> None:
    with reader(chromium, 390) as context:
        page = open_page(context, f"{dashboard}/trending")
        expect(page.get_by_text("Category", exact=True)).to_be_hidden()
        page.get_by_role("button", name="Filters").click()
        expect(page.get_by_text("Category", exact=True)).to_be_visible()
        page.screenshot(path="screenshots/filters-390-light.png")
