"""A whole request that a language model answers: what is kept, what is asked once a day only, what stays when it fails."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from language_server import GOOD, LanguageServer, Turn, concepts, failure
from tables import change, rows
from topics import score

from miles import db, kept, language_model, prompting, recommend, settings, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.concepts import Recommendation, Request
from miles.errors import ConceptsUnavailable, SpendingCapReached
from miles.features import ScoreInput
from miles.scoring import Score

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
REQUEST = Request("street food", "calm", number=2)
FIRST, SECOND, THIRD = "Three stalls, one verdict", "The queue that never ends", "What the last customer gets"


class FakeModel:
    """The longer the title, the more views it expects."""

    version = "fake-1"

    def score(self, videos: Sequence[ScoreInput]) -> list[Score]:
        return [score(one.key, 10.0 * 1.2 ** len(one.title)) for one in videos]


@pytest.fixture
def endpoint(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LanguageServer]:
    """A scripted language model that the settings name, and some videos to learn from."""
    channels = [Channel("youtube", f"c{n}", name=f"Channel {n}") for n in range(8)]
    with db.transaction("worker") as connection:
        store.observe(
            connection,
            [
                Observation(
                    Candidate(
                        "youtube",
                        f"v{n:03}",
                        f"Street food tour of the night market, stall {n}",
                        channel=channels[n % 8],
                        language="en",
                        published_at=NOW - timedelta(days=3),
                    ),
                    Snapshot(NOW, views=1000 * (n + 1)),
                )
                for n in range(12)
            ],
        )
    with LanguageServer() as running:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret")
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        monkeypatch.setenv("OPENAI_MODEL", "scripted-1")
        monkeypatch.setenv("MILES_PRICE_INPUT", "2")
        monkeypatch.setenv("MILES_PRICE_OUTPUT", "8")
        settings.load.cache_clear()
        running.turns = [GOOD]
        yield running


def ask(request: Request = REQUEST, user_id: str = "ada", **options: Any) -> Recommendation:
    return recommend.recommend(FakeModel(), request, user_id=user_id, **options)


def test_what_it_took_is_in_the_answer_and_in_the_ledger(endpoint: LanguageServer):
    made = ask()
    assert made.generator == "scripted-1"
    assert made.prompt_version == prompting.prompt().version
    assert [one.risk for one in made.concepts] == ["Rain empties the stalls."] * 2
    book, used = endpoint.book, made.usage
    assert (used.requests, used.input_tokens, used.output_tokens) == (1, book.tokens_in, book.tokens_out)
    assert used.cost_usd == pytest.approx((book.tokens_in * 2 + book.tokens_out * 8) / 1e6)
    assert rows("SELECT input_tokens, output_tokens, user_id, prompt_version FROM usage") == [
        (book.tokens_in, book.tokens_out, "ada", made.prompt_version)
    ]


def test_the_same_request_within_a_day_takes_no_tokens(endpoint: LanguageServer):
    made = ask()
    again = ask(replace(REQUEST, topic=" street \n food"))
    assert again.cached
    assert not made.cached
    assert replace(again, cached=False) == made
    assert endpoint.book.requests == 1
    assert rows("SELECT count(*) FROM usage") == [(1,)]


@pytest.mark.parametrize(
    "other",
    [
        lambda: ask(fresh=True),
        lambda: ask(user_id="eve"),
        lambda: ask(replace(REQUEST, vibe="loud")),
        lambda: ask(replace(REQUEST, number=3)),
    ],
    ids=["fresh", "another user", "another vibe", "another number"],
)
def test_another_request_or_a_fresh_one_is_asked_anew(endpoint: LanguageServer, other: Callable[[], Recommendation]):
    ask()
    assert not other().cached
    assert endpoint.book.requests == 2


@pytest.mark.parametrize("thing", ["OPENAI_MODEL", "prompt", "model"])
def test_another_model_or_prompt_is_asked_anew(endpoint: LanguageServer, thing: str, monkeypatch: pytest.MonkeyPatch):
    ask()
    if thing == "OPENAI_MODEL":
        monkeypatch.setenv("OPENAI_MODEL", "scripted-2")
        settings.load.cache_clear()
    elif thing == "prompt":
        changed = replace(prompting.prompt(), version="99")
        monkeypatch.setattr(prompting, "prompt", lambda: changed)
    else:
        monkeypatch.setattr(FakeModel, "version", "fake-2")
    assert not ask().cached
    assert endpoint.book.requests == 2


def test_an_answer_is_given_again_for_a_day_and_no_longer(endpoint: LanguageServer):
    ask()
    change("UPDATE queries SET asked_at = now() - interval '23 hours 59 minutes'")
    assert ask().cached
    change("UPDATE queries SET asked_at = now() - interval '24 hours 1 minute'")
    assert not ask().cached


def test_a_failure_is_not_remembered(endpoint: LanguageServer):
    endpoint.turns = [failure(401)]
    with pytest.raises(ConceptsUnavailable):
        ask()
    endpoint.turns = [GOOD]
    assert not ask().cached
    with db.transaction("viewer", "ada") as connection:
        assert len(kept.requests(connection)) == 1


def test_offline_asks_nobody_though_a_language_model_is_set(endpoint: LanguageServer):
    assert ask(offline=True).generator == "offline"
    assert endpoint.asked == []
    assert rows("SELECT count(*) FROM usage") == [(0,)]


def test_over_the_days_limit_offline_still_works(endpoint: LanguageServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MILES_DAILY_TOKENS", "100")
    settings.load.cache_clear()
    with pytest.raises(SpendingCapReached, match="offline generator"):
        ask()
    assert endpoint.asked == []
    assert len(ask(offline=True).concepts) == 2


def test_tokens_of_an_answer_of_no_use_are_counted_too(endpoint: LanguageServer):
    endpoint.turns = [Turn("nonsense")]
    with pytest.raises(ConceptsUnavailable):
        ask()
    book = endpoint.book
    assert book.requests == 2
    assert rows("SELECT sum(requests), sum(input_tokens), sum(output_tokens) FROM usage") == [
        (2, book.tokens_in, book.tokens_out)
    ]


def test_in_the_place_of_near_copies_others_are_asked_for_and_the_copies_are_named(endpoint: LanguageServer):
    stolen = "STREET FOOD tour of the night market: stall 1"
    endpoint.turns = [Turn(concepts(stolen, FIRST)), Turn(concepts(SECOND))]
    made = ask()
    assert {one.title for one in made.concepts} == {FIRST, SECOND}
    before, after = (request["messages"][1]["content"] for request in endpoint.asked)
    assert "`taken`" not in before
    assert '"taken": [' in after
    assert stolen in after.split(prompting.MARKER)[1]
    assert FIRST in after.split(prompting.MARKER)[1]
    assert made.usage.requests == endpoint.book.requests == 2


def test_all_that_is_asked_for_one_request_keeps_within_one_limit_of_time(
    endpoint: LanguageServer, monkeypatch: pytest.MonkeyPatch
):
    limits: list[float] = []
    real = language_model.write

    def write(*arguments: Any, **options: Any) -> Any:
        limits.append(options["until"])
        return real(*arguments, **options)

    monkeypatch.setattr(language_model, "write", write)
    endpoint.turns = [Turn(concepts(FIRST)), Turn(concepts(SECOND))]
    ask()
    assert len(limits) == 2
    assert len(set(limits)) == 1
