"""From a topic to a draft, as a reader goes: concepts, the lab, back; and a language model that takes its time."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from language_server import GOOD, LanguageServer, failure
from playwright.sync_api import Browser, Page, expect
from reading import keep, open_page, reader, serving, settle

ANSWERED = re.compile(r"\d+ concepts? on ")


def ask(page: Page, topic: str) -> None:
    page.get_by_label("Topic", exact=True).fill(topic)
    page.get_by_label("Topic", exact=True).press("Enter")
    settle(page)
    page.get_by_role("button", name="Get concepts").click()


def test_from_a_topic_over_concepts_and_the_lab_to_a_draft_and_back(chromium: Browser, dashboard: str) -> None:
    with reader(chromium) as context:
        page = open_page(context, f"{dashboard}/recommendations")
        ask(page, "cooking")
        expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible()
        settle(page)
        expect(page).to_have_url(re.compile(r"request=\d+"))
        keep(page, "recommendations-answer-1440-light")
        title = page.locator("h3").first.inner_text()
        page.get_by_role("link", name="Open in Score lab").first.click()
        expect(page.get_by_role("heading", name="Score lab")).to_be_visible()
        settle(page)
        expect(page.get_by_label("Title", exact=True)).to_have_value(title)
        back = page.get_by_role("link", name=re.compile("From a concept"))
        expect(back).to_be_visible()
        page.get_by_role("button", name="Save draft").click()
        expect(page.get_by_text("from a concept ·")).to_be_visible()
        back.click()
        expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible()
        expect(page.get_by_text(re.compile("Draft “"))).to_be_visible()
        again = open_page(context, page.url)  # as somebody opens it who kept the address
        expect(again.locator("h3").first).to_have_text(title)


def test_an_answer_that_takes_its_time_is_counted_and_a_failure_leads_on(
    chromium: Browser, database_of: Callable[[str], str], sample_template: str, sample_home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with LanguageServer() as writer:
        writer.turns = [replace(GOOD, pace=0.05), failure(401)]
        for name, value in {
            "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": writer.address, "OPENAI_MODEL": "scripted-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        with (
            serving(database_of(sample_template), sample_home, tmp_path / "log") as dashboard,
            reader(chromium) as context,
        ):
            page = open_page(context, f"{dashboard}/recommendations?number=2")
            expect(page.get_by_text("at most")).to_be_visible()
            ask(page, "cooking")
            expect(page.get_by_text(re.compile(r"[1-3] of \d concepts written"))).to_be_visible()
            expect(page.get_by_role("button", name="Cancel")).to_be_visible()
            keep(page, "recommendations-writing-1440-light")
            expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible()  # nobody touched anything
            settle(page)
            ask(page, "dancing")
            expect(page.get_by_test_id("stAlert")).to_contain_text("refuses the key")
            keep(page, "recommendations-failure-1440-light")
            page.get_by_role("button", name="Write them offline").click()
            expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible()
            expect(page.get_by_text(re.compile("Written offline"))).to_be_visible()
    assert "Traceback" not in (tmp_path / "log").read_text()
