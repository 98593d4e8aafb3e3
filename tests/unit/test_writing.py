"""Concepts written beside a page: joined, left, and never waited for without end."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from miles import recommend
from miles.concepts import Recommendation, Request, Usage
from miles.errors import ConceptsUnavailable
from miles.grounding import Evidence
from ui import writing

REQUEST = Request("street food")
MADE = Recommendation(REQUEST, (), "offline", Evidence("street food", "nothing", (), (), (), ()), "", Usage(), "m")
PATIENCE = 20  # seconds


class Author:
    """Stands for `recommend`: waits between its steps until it is let on."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.on = threading.Event()
        self.outcome: Recommendation | Exception = MADE
        self.heard: list[str] = []

    def __call__(
        self, model: object, request: Request, *, on_progress: Callable[[str], None], **how: Any
    ) -> Recommendation:
        self.calls.append({"model": model, "request": request, **how})
        on_progress("1 of 5 concepts written")
        self.on.wait(PATIENCE)
        on_progress("2 of 5 concepts written")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch) -> Iterator[Author]:
    standing = Author()
    monkeypatch.setattr(recommend, "recommend", standing)
    yield standing
    standing.on.set()


def begin(request: Request = REQUEST, user: str = "ada", **how: Any) -> writing.Writing:
    return writing.begin(lambda _: "model", user, request, **how)  # type: ignore[arg-type, return-value]


def test_a_request_is_answered_beside_whoever_asked(author: Author):
    asked = begin(offline=True, fresh=True, seed=7)
    assert not asked.done
    author.on.set()
    assert asked.wait(PATIENCE)
    assert asked.made is MADE
    assert asked.said == "2 of 5 concepts written"
    assert author.calls == [
        {"model": "model", "request": REQUEST, "user_id": "ada", "offline": True, "fresh": True, "seed": 7}
    ]


def test_the_same_asked_again_while_it_is_written_is_written_once(author: Author):
    asked = begin()
    assert begin() is asked
    assert begin(user="eve") is not asked  # what belongs to one is not told another
    assert begin(Request("noodles")) is not asked
    assert begin(offline=True) is not asked
    author.on.set()
    assert asked.wait(PATIENCE)
    later = begin()
    assert later is not asked
    assert later.wait(PATIENCE)


def test_a_cancelled_request_ends_at_its_next_step_and_is_not_joined(author: Author):
    asked = begin()
    asked.cancel()
    again = begin()
    assert again is not asked
    author.on.set()
    assert asked.wait(PATIENCE)
    assert (asked.made, asked.failed, asked.bug) == (None, None, None)
    assert again.wait(PATIENCE)
    assert again.made is MADE


def test_why_it_failed_is_kept_for_the_page(author: Author):
    author.outcome = ConceptsUnavailable("No.")
    author.on.set()
    asked = begin()
    assert asked.wait(PATIENCE)
    assert (asked.failed, asked.made) == (author.outcome, None)


def test_a_bug_is_no_endless_wait(author: Author, caplog: pytest.LogCaptureFixture):
    author.outcome = ZeroDivisionError()
    author.on.set()
    asked = begin()
    assert asked.wait(PATIENCE)
    assert asked.bug is author.outcome
    assert "Concepts were not written" in caplog.text


def test_a_model_that_wakes_up_says_so_and_can_be_left(author: Author):
    told: list[Callable[[float | None], None]] = []

    def model(waking: Callable[[float | None], None]) -> Any:
        told.append(waking)
        return "model"

    asked = writing.begin(model, "ada", REQUEST)
    told[0](12.4)
    assert asked.said == "The model is waking up: 12 s"
    told[0](None)
    asked.cancel()
    with pytest.raises(writing.Cancelled):
        told[0](13.0)
