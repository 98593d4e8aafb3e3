"""From a topic to a draft, as a reader goes: concepts, the lab, back; and a language model that takes its time."""

import re
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from language_server import GOOD, LanguageServer, failure
from playwright.sync_api import Browser, Page, expect
from psycopg import sql
from reading import PATIENCE, keep, open_page, reader, serving, settle

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
        expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible(timeout=PATIENCE)
        settle(page)
        expect(page).to_have_url(re.compile(r"request=\d+"), timeout=PATIENCE)
        keep(page, "recommendations-answer-1440-light")
        title = page.locator("h3").first.inner_text()
        page.get_by_role("link", name="Open in Score lab").first.click()
        expect(page.get_by_role("heading", name="Score lab")).to_be_visible(timeout=PATIENCE)
        settle(page)
        expect(page.get_by_label("Title", exact=True)).to_have_value(title, timeout=PATIENCE)
        back = page.get_by_role("link", name=re.compile("From a concept"))
        expect(back).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Save draft").click()
        expect(page.get_by_text("from a concept ·")).to_be_visible(timeout=PATIENCE)
        back.click()
        expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text(re.compile("Draft “"))).to_be_visible(timeout=PATIENCE)
        again = open_page(context, page.url)  # as somebody opens it who kept the address
        expect(again.locator("h3").first).to_have_text(title, timeout=PATIENCE)


def test_an_answer_that_takes_its_time_is_counted_and_a_failure_leads_on(
    chromium: Browser, server: str, sample_template: str, sample_home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE written TEMPLATE {}").format(sql.Identifier(sample_template)))
    with LanguageServer() as writer:
        writer.turns = [replace(GOOD, pace=0.05), failure(401)]
        for name, value in {
            "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": writer.address, "OPENAI_MODEL": "scripted-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        address = server.replace("/postgres?", "/written?")
        with serving(address, sample_home, tmp_path / "log") as dashboard, reader(chromium) as context:
            page = open_page(context, f"{dashboard}/recommendations?number=2")
            expect(page.get_by_text("at most")).to_be_visible(timeout=PATIENCE)
            ask(page, "cooking")
            expect(page.get_by_text(re.compile(r"[1-3] of \d concepts written"))).to_be_visible(timeout=PATIENCE)
            expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=PATIENCE)
            keep(page, "recommendations-writing-1440-light")
            expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible(
                timeout=PATIENCE
            )  # nobody touched anything
            settle(page)
            ask(page, "dancing")
            expect(page.get_by_test_id("stAlert")).to_contain_text("refuses the key", timeout=PATIENCE)
            keep(page, "recommendations-failure-1440-light")
            page.get_by_role("button", name="Write them offline").click()
            expect(page.get_by_role("heading", name=ANSWERED)).to_be_visible(timeout=PATIENCE)
            expect(page.get_by_text(re.compile("Written offline"))).to_be_visible(timeout=PATIENCE)
    assert "Traceback" not in (tmp_path / "log").read_text()
