"""The visitors that measure the dashboard are those of a browser: they see what it says, and what goes wrong."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import clicks, setup
from benchmarks.visitor import Answer, Visitor
from miles import db


@pytest.fixture(scope="module")
def dashboard(
    database_of: Callable[[str], str], sample_template: str, sample_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[setup.Dashboard]:
    """One on the sample, which visitors of these tests only look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", database_of(sample_template))
        patch.setenv("MILES_HOME", str(sample_home))
        patch.setenv("MILES_START_WORKER", "0")
        with setup.serving(tmp_path_factory.mktemp("dashboard")) as running:
            yield running


def test_a_visitor_opens_every_page_by_its_address_and_none_shows_an_error(dashboard: setup.Dashboard) -> None:
    async def visit(address: str) -> list[Answer]:
        async with Visitor(address) as visitor:
            await visitor.open()
            return [await visitor.open(path) for path in visitor.pages]

    answers = asyncio.run(visit(dashboard.address))
    assert [answer.errors for answer in answers] == [[]] * len(answers)
    assert all(0 < answer.painted <= answer.finished and answer.texts for answer in answers)


def test_a_visitor_walks_from_page_to_page_and_none_shows_an_error(dashboard: setup.Dashboard) -> None:
    async def visit(address: str) -> list[Answer]:
        async with Visitor(address) as visitor:
            await visitor.open()
            return [await visitor.go(path) for path in visitor.pages * 2]

    answers = asyncio.run(visit(dashboard.address))
    assert [answer.errors for answer in answers] == [[]] * len(answers)


def test_a_filter_that_a_visitor_sets_changes_the_page_as_its_address_does(dashboard: setup.Dashboard) -> None:
    async def visit(address: str) -> tuple[Answer, Answer, Answer]:
        async with Visitor(address) as visitor:
            everything = await visitor.open("trending")
            chosen = await visitor.choose(category=["Comedy"], sort="By views")
            return everything, chosen, await visitor.open("trending?category=Comedy&sort=By+views")

    everything, chosen, opened = asyncio.run(visit(dashboard.address))
    assert _shown(chosen) != _shown(everything)
    assert _shown(chosen) == _shown(opened)


AGE = re.compile(r"\b(\d+ (min|h|d|w|mo|y)( ago)?|just now)\b")


def _shown(answer: Answer) -> list[str]:
    """What the page says, without ages: they go on between two looks."""
    return [AGE.sub("", text) for text in answer.texts]


def test_the_words_to_click_with_are_those_of_the_data(sample_database: str) -> None:
    with db.transaction("viewer") as connection:
        known = clicks.words(connection)
    assert "Comedy" in known.categories
    assert len(known.titles) == 300


def test_an_error_that_a_page_shows_is_noticed(
    sample_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def visit(address: str) -> Answer:
        async with Visitor(address) as visitor:
            return await visitor.open("trending")

    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@127.0.0.1:9/nothing")
    with setup.serving(tmp_path) as dashboard:
        answer = asyncio.run(visit(dashboard.address))
    assert len(answer.errors) == 1
    assert "can't be reached" in answer.errors[0]
