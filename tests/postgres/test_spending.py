"""What the language model costs: the day's limits hold whoever asks at once, and the ledger keeps who asked to itself."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg.errors
import pytest
import sqlalchemy.exc
from language_server import GOOD, QUIET, LanguageServer, Turn, failure, tokens
from sqlalchemy import text
from tables import before, change, rows

from miles import db, language_model, operations, prompting, settings, spending
from miles.concepts import Request, Usage
from miles.errors import ConceptsUnavailable, MilesError, SpendingCapReached
from miles.grounding import Evidence
from miles.language_model import Cost, LanguageModel, Price

needs_database = pytest.mark.usefixtures("database")
WRITER = LanguageModel("scripted-1", "sk-test", None, 20.0, Price(2.0, 8.0))
COST = Cost(1000, 500, 0.006)


@pytest.fixture
def endpoint(database: str) -> Iterator[LanguageServer]:
    with LanguageServer() as running:
        yield running


def limits(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MILES_{name}", value)
    settings.load.cache_clear()


def today() -> spending.Spent:
    with db.transaction("viewer", "ada") as connection:
        return spending.today(connection)


# --- prices and estimates


def test_money_is_tokens_times_the_price_of_a_million():
    assert Price(2.0, 8.0).of(1_500_000, 250_000) == pytest.approx(5.0)


@needs_database
def test_without_prices_the_money_is_unknown_and_never_guessed(monkeypatch: pytest.MonkeyPatch):
    assert spending.expected(replace(WRITER, price=None), Request("street food")).usd is None
    ledger = spending.Ledger("ada", replace(WRITER, price=None))
    ledger.settle(ledger.reserve(replace(COST, usd=None)), Usage(1, 100, 10, 1.0, False, None))
    assert ledger.usage.cost_usd is None
    assert today().usd is None
    assert rows("SELECT cost_usd FROM usage") == [(None,)]


@needs_database
def test_what_a_day_cost_is_unknown_while_a_part_of_it_is():
    ledger = spending.Ledger("ada", WRITER)
    ledger.settle(ledger.reserve(COST), Usage(1, 1000, 500, 1.0, False, 0.006))
    assert today().usd == pytest.approx(0.006)
    unpriced = spending.Ledger("ada", replace(WRITER, price=None))
    unpriced.settle(unpriced.reserve(replace(COST, usd=None)), Usage(1, 1, 1, 1.0, False, None))
    assert today().usd is None
    assert (ledger.usage + unpriced.usage).cost_usd is None


def test_the_estimate_before_sending_is_not_below_what_the_request_comes_to(endpoint: LanguageServer):
    endpoint.turns = [GOOD]
    writer = replace(WRITER, base_url=endpoint.address)
    request = Request("street food", number=2)
    meter = language_model.Unmetered()
    language_model.write(writer, request, Evidence("street food", "nothing", (), (), (), ()), 3, meter=meter)
    cost = spending.expected(writer, request)
    assert cost.usd is not None
    assert meter.usage.cost_usd is not None
    assert cost.tokens_in > meter.usage.input_tokens
    assert cost.tokens_out > meter.usage.output_tokens
    assert cost.usd > meter.usage.cost_usd > 0


def test_more_concepts_are_estimated_dearer():
    one, many = (spending.expected(WRITER, Request("street food", number=number)) for number in (1, 20))
    assert one.tokens_out < many.tokens_out
    assert many.tokens_out == language_model.ceiling(language_model.generated(20))


# --- the day's limits


@needs_database
def test_a_request_is_held_at_its_most_until_it_is_settled():
    ledger = spending.Ledger("ada", WRITER)
    reservation = ledger.reserve(COST)
    assert rows("SELECT pending, estimated, input_tokens, output_tokens FROM usage") == [(True, True, 1000, 500)]
    assert (today().tokens_in, today().tokens_out, today().requests) == (1000, 500, 1)
    ledger.settle(reservation, Usage(1, 700, 90, 2.5, False, 0.002))
    assert rows(
        "SELECT pending, estimated, input_tokens, output_tokens, seconds, cost_usd::float, user_id, model, prompt_version"
        " FROM usage"
    ) == [(False, False, 700, 90, 2.5, 0.002, "ada", "scripted-1", prompting.prompt().version)]


@needs_database
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"DAILY_TOKENS": "4000"}, "3,000 of 4,000 tokens are used .* 1,500 more.* raise MILES_DAILY_TOKENS"),
        (
            {"DAILY_SPEND": "0.015", "PRICE_INPUT": "2", "PRICE_OUTPUT": "8"},
            r"\$0\.0120 of \$0\.0150 are spent .* \$0\.0060 more.* raise MILES_DAILY_SPEND",
        ),
    ],
)
def test_a_request_over_a_limit_is_refused_with_what_to_do(
    variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
):
    limits(monkeypatch, **variables)
    ledger = spending.Ledger("ada", WRITER)
    for _ in range(2):
        with db.transaction("viewer", "ada") as connection:
            spending.check(connection, COST)
        ledger.settle(ledger.reserve(COST), Usage(1, 1000, 500, 1.0, False, 0.006))
    with pytest.raises(SpendingCapReached, match=says) as caught:
        ledger.reserve(COST)
    assert "offline generator" in str(caught.value)
    with db.transaction("viewer", "ada") as connection, pytest.raises(SpendingCapReached, match=says):
        spending.check(connection, COST)
    assert today().requests == 2
    ledger.reserve(Cost(100, 100, 0.001))  # a smaller one still goes


@needs_database
def test_a_limit_holds_for_all_users_together_and_for_one_day(monkeypatch: pytest.MonkeyPatch):
    limits(monkeypatch, DAILY_TOKENS="2000")
    spending.Ledger("ada", WRITER).reserve(COST)
    with pytest.raises(SpendingCapReached):
        spending.Ledger("eve", WRITER).reserve(COST)
    change("UPDATE usage SET at = date_trunc('day', now(), 'UTC') - interval '1 second'")
    assert today() == spending.Spent(0, 0, 0, 0.0, 2000, None)
    spending.Ledger("eve", WRITER).reserve(COST)
    change("UPDATE usage SET at = date_trunc('day', now(), 'UTC') WHERE user_id = 'eve'")
    assert today().requests == 1


@needs_database
def test_no_limit_where_it_is_zero_and_half_a_million_tokens_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch):
    assert today().cap_tokens == 500_000
    limits(monkeypatch, DAILY_TOKENS="0")
    assert today().cap_tokens is None
    spending.Ledger("ada", WRITER).reserve(Cost(10**9, 10**9, None))


@needs_database
def test_of_many_who_ask_at_once_no_more_get_through_than_the_limit_allows(monkeypatch: pytest.MonkeyPatch):
    limits(monkeypatch, DAILY_TOKENS="5000")  # three of 1,500
    outcomes: Counter[str] = Counter()
    start = threading.Barrier(12)

    def ask(user: str) -> None:
        ledger = spending.Ledger(user, WRITER)
        start.wait()
        try:
            ledger.reserve(COST)
            outcomes["sent"] += 1
        except SpendingCapReached:
            outcomes["refused"] += 1

    threads = [threading.Thread(target=ask, args=(f"user {n % 4}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"sent": 3, "refused": 9}
    assert rows("SELECT count(*), sum(input_tokens + output_tokens) FROM usage") == [(3, 4500)]


def test_over_the_limit_nothing_is_sent(endpoint: LanguageServer, monkeypatch: pytest.MonkeyPatch):
    limits(monkeypatch, DAILY_TOKENS="1000")
    endpoint.turns = [GOOD]
    writer = replace(WRITER, base_url=endpoint.address)
    with pytest.raises(SpendingCapReached):
        language_model.write(
            writer,
            Request("street food"),
            Evidence("street food", "nothing", (), (), (), ()),
            3,
            meter=spending.Ledger("ada", writer),
        )
    assert endpoint.asked == []
    assert rows("SELECT count(*) FROM usage") == [(0,)]


def test_an_answer_asked_for_again_is_held_to_the_limit_too(endpoint: LanguageServer, monkeypatch: pytest.MonkeyPatch):
    endpoint.turns = [Turn("nonsense"), GOOD]
    writer = replace(WRITER, base_url=endpoint.address)
    evidence = Evidence("street food", "nothing", (), (), (), ())
    most = language_model.most(writer, language_model.prompting.build_prompt(Request("street food"), evidence, 3), 3)
    limits(monkeypatch, DAILY_TOKENS=str(most.tokens_in + most.tokens_out + 10))
    with pytest.raises(SpendingCapReached):
        language_model.write(writer, Request("street food"), evidence, 3, meter=spending.Ledger("ada", writer))
    assert endpoint.book.requests == 1
    assert (today().tokens_in, today().tokens_out) == (endpoint.book.tokens_in, endpoint.book.tokens_out)


def test_the_ledger_adds_up_over_requests_of_all_fates(endpoint: LanguageServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language_model, "FIRST_WAIT", 0.01)
    writer = replace(WRITER, base_url=endpoint.address)
    fates: list[list[Turn]] = [
        [GOOD],
        [failure(500), failure(429), GOOD],
        [Turn("nonsense"), Turn("again")],
        [failure(400), failure(400), replace(GOOD, streams=False)],
        [Turn(refusal="no")],
        [replace(GOOD, finish="length", text=GOOD.text[:900])],
        [failure(401)],
        [QUIET],
    ]
    used = Usage()
    for fate in fates:
        endpoint.turns = list(fate)
        ledger = spending.Ledger("ada", writer)
        with contextlib.suppress(ConceptsUnavailable):
            language_model.write(
                writer,
                Request("street food"),
                Evidence("street food", "nothing", (), (), (), ()),
                3,
                meter=ledger,
            )
        used += ledger.usage
    (exact,) = rows("SELECT sum(input_tokens), sum(output_tokens) FROM usage WHERE NOT estimated")
    (reckoned,) = rows("SELECT sum(input_tokens), sum(output_tokens), count(*) FROM usage WHERE estimated")
    assert rows("SELECT sum(requests), bool_or(pending) FROM usage") == [(endpoint.book.requests, False)]
    assert reckoned[2] == 1  # the quiet one
    assert (exact[0] + reckoned[0], exact[1] + reckoned[1]) == (used.input_tokens, used.output_tokens)
    quiet_in = sum(len(tokens(message["content"])) for message in endpoint.asked[-1]["messages"])
    assert exact == (endpoint.book.tokens_in - quiet_in, endpoint.book.tokens_out - len(tokens(QUIET.text)))
    assert today().usd == pytest.approx(used.cost_usd, abs=1e-4)


# --- rights


@needs_database
def test_nobody_sees_who_asked_or_settles_what_another_reserved():
    reservation = spending.Ledger("ada", WRITER).reserve(COST)
    spending.Ledger("eve", WRITER).settle(reservation, Usage())
    assert rows("SELECT pending, input_tokens FROM usage") == [(True, 1000)]
    for role in ("viewer", "operator", "worker"):
        with db.transaction(role, "eve") as connection:  # type: ignore[arg-type]
            assert connection.scalar(text("SELECT sum(requests) FROM usage")) == 1
            assert [bill.service for bill in operations.spent(connection)] == ["openai"]
        with (
            pytest.raises(sqlalchemy.exc.ProgrammingError) as caught,
            db.transaction(role, "eve") as connection,  # type: ignore[arg-type]
        ):
            connection.execute(text("SELECT user_id FROM usage"))
        assert isinstance(caught.value.orig, psycopg.errors.InsufficientPrivilege)


@needs_database
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO usage (service, requests) VALUES ('openai', 0)",
        "UPDATE usage SET input_tokens = 0",
        "DELETE FROM usage",
    ],
)
def test_a_viewer_writes_the_ledger_by_its_own_ways_alone(statement: str):
    with (
        pytest.raises(sqlalchemy.exc.ProgrammingError) as caught,
        db.transaction("viewer", "ada") as connection,
    ):
        connection.execute(text(statement))
    assert isinstance(caught.value.orig, psycopg.errors.InsufficientPrivilege)


@needs_database
def test_what_is_settled_stays_as_it_is():
    ledger = spending.Ledger("ada", WRITER)
    reservation = ledger.reserve(COST)
    ledger.settle(reservation, Usage(1, 10, 10, 1.0, False, 0.001))
    ledger.settle(reservation, Usage(1, 0, 0, 1.0, False, 0.0))
    assert rows("SELECT input_tokens FROM usage") == [(10,)]


def test_what_was_spent_before_there_was_a_limit_counts(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with before("0018_spending", monkeypatch, tmp_path):
        change("INSERT INTO usage (service, requests, input_tokens, output_tokens) VALUES ('openai', 2, 300, 40)")
    assert today() == spending.Spent(2, 300, 40, None, 500_000, None)
    assert rows("SELECT user_id, estimated, pending FROM usage") == [(None, False, False)]


# --- the same again


def test_requests_that_would_be_answered_alike_have_one_fingerprint():
    def printed(**changes: str) -> str:
        facts = {"generator": "scripted-1", "place": "here", "model_version": "v1", **changes}
        request = Request(facts.pop("topic", "street food"), number=int(facts.pop("number", "5")))
        return spending.fingerprint(request, **facts)

    assert printed() == printed()
    others = [
        printed(**{name: value})
        for name, value in {
            "topic": "Street food",
            "number": "6",
            "generator": "scripted-2",
            "place": "there",
            "model_version": "v2",
        }.items()
    ]
    assert len({printed(), *others}) == 6


def test_another_prompt_is_another_request(monkeypatch: pytest.MonkeyPatch):
    before = spending.fingerprint(Request("street food"), "scripted-1", "here", "v1")
    changed = replace(spending.prompting.prompt(), version="99")
    monkeypatch.setattr(spending.prompting, "prompt", lambda: changed)
    assert spending.fingerprint(Request("street food"), "scripted-1", "here", "v1") != before


# --- settings


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PRICE_INPUT": "2"}, "MILES_PRICE_INPUT and MILES_PRICE_OUTPUT: one without the other"),
        ({"DAILY_SPEND": "5"}, "MILES_DAILY_SPEND: without MILES_PRICE_INPUT"),
        ({"PRICE_INPUT": "nan", "PRICE_OUTPUT": "1"}, "MILES_PRICE_INPUT"),
        ({"DAILY_TOKENS": "-1"}, "MILES_DAILY_TOKENS"),
        ({"ANSWER_TIMEOUT": "0"}, "MILES_ANSWER_TIMEOUT"),
    ],
)
def test_settings_that_make_no_sense_are_named(variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch):
    limits(monkeypatch, **variables)
    with pytest.raises(MilesError, match=f"{says}.*Correct or unset"):
        settings.load()
