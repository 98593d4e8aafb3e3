"""Every page for everybody: by axe-core's rules in both themes, by keyboard alone, on a phone."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from reading import keep, open_page, reader, settle

PAGES = [
    "",
    "trending",
    "trending?view=Table",
    "scores",
    "scores?view=Against+measured",
    "scores?view=Calibration",
    "title_patterns",
    "score_lab",
    "score_lab?draft=I+tried+street+food&title=Street+food+under+one+dollar",
    "clips",
    "recommendations",
    "operations",
    "operations?show=Watchlist",
    "operations?show=Sources",
    "operations?show=Jobs",
    "operations?show=Installation",
    "model",
    "model?show=History",
]

# What Streamlit draws so itself and no argument or theme changes: rule, and what its markup has.
STREAMLITS_OWN = {
    ("list", "stSidebarNavItems"),  # sections of the navigation are <div> in a <ul>
    ("listitem", "<li"),  # and its links stand in them
    ("svg-img-alt", "metric_chart"),  # the bars of st.metric; the number and its help say what they show
    ("presentation-role-conflict", "stFileUploaderDropzone"),
}

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SPOKEN = """() => {
    const element = document.activeElement
    const labelled = (element.getAttribute('aria-labelledby') || '').split(' ').map(id => document.getElementById(id))
    return [element.getAttribute('aria-label'), ...labelled.map(one => one && one.innerText), element.innerText,
        element.labels && [...element.labels].map(label => label.innerText).join(' '), element.placeholder]
        .filter(Boolean).join(' | ')
}"""
TURNED_ROUND = """() => {
    const one = document.activeElement
    const again = one === document.body || (one.dataset.met && !one.closest('[data-testid=stDataFrame]'))
    one.dataset.met = 'yes'
    return again
}"""
# What a mouse can use and Tab has not met: not hidden, not off, not one of a group that arrows walk through.
MISSED = """() => [...document.querySelectorAll('[data-testid=stMain] :is(button, a[href], input, textarea, [role=button])')]
    .filter(one => one.checkVisibility() && !one.disabled && !one.dataset.met && one.type !== 'file')
    .filter(one => !one.closest('[role=radiogroup], [role=slider], [data-testid=stDataFrame], [kind=elementToolbar]'))
    .filter(one => !one.closest('.modebar, [aria-hidden=true]') && one.tabIndex >= -1)
    .filter(one => !(one.tabIndex === -1 && one.closest('[data-testid=stNumberInput], [data-testid=stSelectbox]')))
    .filter(one => !(one.tabIndex === -1 && one.closest('[data-testid=stMultiSelect], [data-testid=stDateInput]')))
    .map(one => one.outerHTML.slice(0, 160))"""


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """Everything that is wrong anywhere, told at once."""
    found: list[str] = []
    yield found
    assert not found, "\n".join(found)


# both widths and both themes, each once
@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (390, "light")])
def test_every_page_can_be_read_by_everybody(
    chromium: Browser, dashboard: str, log: Path, errors: list[str], width: int, scheme: str
) -> None:
    with reader(chromium, width, scheme) as context:
        page = open_page(context, dashboard)
        for name in PAGES:
            page.goto(f"{dashboard}/{name}", wait_until="domcontentloaded")
            settle(page)
            keep(page, f"{name.translate(str.maketrans('?=&+', '----')) or 'home'}-{width}-{scheme}")
            expect(page.locator("[data-testid=stException]")).to_have_count(0)
            wider = page.evaluate(
                "[document.documentElement, ...document.querySelectorAll('[data-testid=stMain]')]"
                ".map(part => part.scrollWidth - part.clientWidth)"
            )
            if max(wider) > 0:
                errors.append(f"/{name} scrolls sideways by {max(wider)} px")
            found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": RULES}).response
            for broken in found["violations"]:
                for node in broken["nodes"]:
                    own = any(broken["id"] == rule and part in node["html"] for rule, part in STREAMLITS_OWN)
                    if broken["impact"] in ("serious", "critical") and not own:
                        errors.append(f"/{name} {broken['id']}: {node['html'][:200]} {node['failureSummary'][:200]}")
            levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => +one.tagName[1])")
            if levels[:1] != [1] or any(below - above > 1 for above, below in pairwise(levels)):
                errors.append(f"/{name} has headings out of order: {levels}")
            ground = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
            assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 24, 28)"}[scheme]
    assert "Traceback" not in log.read_text()


def test_every_control_is_reached_by_tab(chromium: Browser, dashboard: str, errors: list[str]) -> None:
    with reader(chromium) as context:
        page = open_page(context, dashboard)
        for name in PAGES:
            page.goto(f"{dashboard}/{name}", wait_until="domcontentloaded")
            settle(page)
            for _ in range(600):  # in a table from cell to cell
                page.keyboard.press("Tab")
                if page.evaluate(TURNED_ROUND):
                    break
            errors += [f"/{name}: Tab does not come to {one}" for one in page.evaluate(MISSED)]


def walk_to(page: Page, name: str) -> None:
    """Tab to the control of that name."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if name in page.evaluate(SPOKEN):
            return
    raise AssertionError(f"Tab does not come to {name}")


def test_a_reader_without_a_mouse_filters_sorts_opens_and_turns_pages(chromium: Browser, dashboard: str) -> None:
    with reader(chromium) as context:
        page = open_page(context, dashboard)
        walk_to(page, "Trending")
        page.keyboard.press("Enter")
        expect(page).to_have_title("Trending · Miles")
        settle(page)
        walk_to(page, "Words of the title")
        page.keyboard.type("the")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("q=the"))
        settle(page)
        walk_to(page, "Filters")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Category", exact=True)).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_text("Category", exact=True)).to_be_hidden()
        assert "Filters" in page.evaluate(SPOKEN)
        walk_to(page, "Sort by")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("sort="))
        settle(page)
        walk_to(page, "Cards")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        expect(page).to_have_url(re.compile("view=Table"))
        settle(page)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Space")
        expect(page).not_to_have_url(re.compile("view=Table"))
        settle(page)
        walk_to(page, "Details")
        opener = page.evaluate("document.activeElement.closest('[class*=st-key-]').className")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Base rate")
        settle(page)
        assert page.evaluate("document.querySelector('[role=dialog]').contains(document.activeElement)")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page).not_to_have_url(re.compile("video="))
        settle(page)
        assert page.evaluate("document.activeElement.closest('[class*=st-key-]')?.className") == opener
        walk_to(page, "Next")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("at=after"))
