"""Each way between pages leads to what its address says: the same that a stranger sees who is sent that address."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from reading import open_page, reader, settle

FILTERED = "q=the&category=Comedy&score=5&score=100"


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def seen(page: Page) -> str:
    """What the page says and what its fields hold, but for how long ago things were: that goes on between two looks."""
    settle(page)
    return page.evaluate(
        """() => {
            const main = document.querySelector('[data-testid=stMain]')
            const fields = [...main.querySelectorAll('input')].map(field => field.value).join('|')
            return (main.innerText + fields).replace(/\\b(\\d+ (min|h|d|w|mo|y)( ago)?|just now)\\b/g, '')
        }"""
    )


def walk(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    expect(page).to_have_title(f"{name} · Miles")
    settle(page)


def follow(page: Page, link: str, title: str) -> None:
    page.get_by_role("link", name=link).first.click()
    expect(page).to_have_title(f"{title} · Miles")
    settle(page)


def of_the_channel(page: Page) -> None:
    page.get_by_role("button", name="Details", exact=True).first.click()
    settle(page)
    follow(page, "of this channel", "Trending")


def alike(page: Page) -> None:
    page.get_by_role("button", name="Details", exact=True).first.click()
    settle(page)
    follow(page, "Similar titles", "Trending")


def with_the_form(page: Page) -> None:
    page.get_by_test_id("stDataFrame").click(position={"x": 20, "y": 55})
    follow(page, "All videos with it", "Trending")


def niche_of_home(page: Page) -> None:
    follow(page, "By views", "Trending")


def niche_of_the_menu(page: Page) -> None:
    page.get_by_role("button", name="Niches").click()
    follow(page, "Short food", "Trending")
    page.keyboard.press("Escape")  # the list of niches stays open


@pytest.mark.parametrize(
    ("start", "way", "keys"),
    [
        ("", niche_of_home, {"format", "category", "sort"}),
        ("", of_the_channel, {"channel"}),
        (f"trending?{FILTERED}&sort=By+views", of_the_channel, {"channel"}),  # to the page it stands on
        (f"trending?{FILTERED}", alike, {"like"}),
        (f"trending?{FILTERED}", niche_of_the_menu, {"format", "category", "sort"}),  # one key of both, another value
        ("title_patterns", with_the_form, {"form", "sort"}),
        ("title_patterns?score=5&score=100", with_the_form, {"form", "sort", "score"}),  # bound on both pages
    ],
)
def test_a_link_shows_what_its_address_says(
    chromium: Browser, dashboard: str, start: str, way: Callable[[Page], None], keys: set[str]
) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{dashboard}/{start}")
        before = page.url
        way(page)
        assert set(asked(page)) == keys
        assert seen(page) == seen(open_page(context, page.url))
        here = page.url
        for _ in range(4):  # the browser keeps each change of the address
            page.go_back()
            settle(page)
            if page.url == before:
                break
        assert page.url == before
        assert seen(page) == seen(open_page(context, before))
        for _ in range(4):
            page.go_forward()
            settle(page)
        assert page.url == here
        assert seen(page) == seen(open_page(context, here))


def test_filters_stay_on_the_way_through_the_sidebar(chromium: Browser, dashboard: str) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{dashboard}/trending?{FILTERED}&sort=By+views")
        walk(page, "Scores")
        assert asked(page) == parse_qs(FILTERED)
        assert seen(page) == seen(open_page(context, page.url))
        page.get_by_placeholder("Words of the title").fill("a")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("q=a&"))
        walk(page, "Home")
        assert asked(page) == {}
        walk(page, "Score lab")
        assert asked(page) == {}
        walk(page, "Trending")
        assert asked(page) == parse_qs(FILTERED) | {"q": ["a"], "sort": ["By views"]}
        assert seen(page) == seen(open_page(context, page.url))
        page.get_by_role("button", name="Filters").click()
        page.get_by_role("button", name="Clear all").click()
        expect(page).not_to_have_url(re.compile("category"))
        walk(page, "Title patterns")
        assert asked(page) == {}


def test_a_draft_stays_in_the_score_lab_and_a_filter_out_of_it(chromium: Browser, dashboard: str) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{dashboard}/score_lab?draft=I+tried+street+food&title=Under+one+dollar")
        walk(page, "Trending")
        assert asked(page) == {}
        walk(page, "Score lab")
        assert asked(page) == {"draft": ["I tried street food"], "title": ["Under one dollar"]}
        assert seen(page) == seen(open_page(context, page.url))
