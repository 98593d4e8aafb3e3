"""What the language model costs: reckoned before a request is sent, held to the day's limits, written down after it.

The ledger is the table `usage`, with a row for each request to the server: before it is sent, with the most that it may
come to; when its answer has ended, however it did, with what it came to. Days are those of UTC, and limits hold for all
users of an installation together. No price is known here but the one that the settings name.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from sqlalchemy import Connection, text

from miles import db, language_model, prompting, settings
from miles.concepts import Request, Usage
from miles.errors import SpendingCapReached
from miles.grounding import FLOPS, WINNERS, Backing, Evidence, Lengths, Lift, Spread, Term
from miles.language_model import Cost, LanguageModel

REMEMBERED = timedelta(days=1)  # for how long an answer answers the same request again


@dataclass(frozen=True, slots=True)
class Spent:
    """What the language model was asked for since midnight (UTC), pending requests at their most."""

    requests: int
    tokens_in: int
    tokens_out: int
    usd: float | None  # None: of some requests no price was known
    cap_tokens: int | None  # that a day may take; None: no limit
    cap_usd: float | None


class Ledger:
    """The meter of one user's requests to a language model: keeps to the day's limits and writes everything down.

    Each step is a transaction of its own, so that others see it at once.
    """

    def __init__(self, user_id: str, writer: LanguageModel) -> None:
        self.user_id, self.writer = user_id, writer
        self.usage = Usage()  # of all requests so far

    def reserve(self, most: Cost) -> int:
        """Raises SpendingCapReached."""
        with db.transaction("viewer", self.user_id) as connection:
            return reserve(connection, most, self.writer.name)

    def settle(self, reservation: int, usage: Usage) -> None:
        self.usage += usage
        with db.transaction("viewer", self.user_id) as connection:
            record(connection, reservation, usage)


def estimate(writer: LanguageModel, messages: Sequence[Mapping[str, str]], wanted: int) -> Cost:
    """What a request may come to at most."""
    return language_model.most(writer, messages, wanted)


def expected(writer: LanguageModel, request: Request, wanted: int | None = None) -> Cost:
    """What a request may come to at most, before its topic is looked up: with the fullest evidence there usually is."""
    full = "A title as long as most titles get, of some sixty to eighty letters"
    video = Backing("", full, None, "The name of some channel", None, None, None, 1_234_567, 0.25, 12.5)
    lift = Lift("category:Travel & Events", "structure", "Question or exclamation", 1.25, 1.05, 1.45, 1234)
    evidence = Evidence(
        request.topic,
        "everything",
        (video,) * WINNERS,
        (video,) * FLOPS,
        (lift,) * prompting.PATTERNS,
        (Term("some words", 123, 45, 1.23, ()),) * 24,
        lengths=Lengths(*(Spread(1234.0, 1234.0, 1234.0, 99),) * 4),
    )
    number = language_model.generated(request.number) if wanted is None else wanted
    return estimate(writer, prompting.build_prompt(request, evidence, number), number)


def check(connection: Connection, cost: Cost) -> None:
    """Raises SpendingCapReached if a request that may cost so much would not be sent now."""
    so_far = today(connection)
    over_tokens = so_far.cap_tokens is not None and (
        so_far.tokens_in + so_far.tokens_out + cost.tokens_in + cost.tokens_out > so_far.cap_tokens
    )
    if over_tokens or (so_far.cap_usd is not None and (so_far.usd or 0.0) + (cost.usd or 0.0) > so_far.cap_usd):
        raise SpendingCapReached(_refusal(so_far, cost, over_tokens))


def reserve(connection: Connection, most: Cost, model: str) -> int:
    """Write a request down before it is sent; returns its number in the ledger. Raises SpendingCapReached.

    Whoever else reserves waits until this transaction ends.
    """
    told = settings.load()
    reserved: int | None = connection.scalar(
        text(
            "SELECT reserve_usage(:model, :prompt, :tokens_in, :tokens_out, CAST(:usd AS numeric),"
            " CAST(:most_tokens AS bigint), CAST(:most_usd AS numeric))"
        ),
        {
            **asdict(most),
            "model": model,
            "prompt": prompting.prompt().version,
            "most_tokens": told.daily_tokens or None,
            "most_usd": told.daily_spend,
        },
    )
    if reserved is None:
        check(connection, most)  # says which limit
        raise SpendingCapReached(_refusal(today(connection), most, told.daily_spend is None))
    return reserved


def record(connection: Connection, reservation: int, usage: Usage) -> None:
    """Write down what a reserved request came to."""
    connection.execute(
        text(
            "SELECT settle_usage(:reservation, :requests, :input_tokens, :output_tokens, :seconds,"
            " CAST(:cost_usd AS numeric), :estimated)"
        ),
        {**asdict(usage), "reservation": reservation},
    )


def today(connection: Connection) -> Spent:
    """What today's requests came to, of all users, and the limits."""
    told = settings.load()
    row = connection.execute(text("SELECT * FROM spent_today()")).one()
    return Spent(
        row.requests,
        row.tokens_in,
        row.tokens_out,
        None if row.unpriced else float(row.usd),
        told.daily_tokens or None,
        told.daily_spend,
    )


def fingerprint(request: Request, generator: str, place: str, model_version: str) -> str:
    """The same for requests that would be answered alike: same words, same language model, same prompt, same scores. Pure."""
    asked = [asdict(request), generator, place, prompting.prompt().version, model_version]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _refusal(so_far: Spent, cost: Cost, tokens: bool) -> str:
    if tokens:
        spent = f"{so_far.tokens_in + so_far.tokens_out:,} of {so_far.cap_tokens:,} tokens are used or on hold"
        needed, setting = f"{cost.tokens_in + cost.tokens_out:,} more", "MILES_DAILY_TOKENS"
    else:
        spent = f"{_usd(so_far.usd)} of {_usd(so_far.cap_usd)} are spent or on hold"
        needed, setting = f"{_usd(cost.usd)} more", "MILES_DAILY_SPEND"
    return (
        f"Today's limit for the language model leaves too little: {spent}, and this request may take {needed}. Wait for "
        f"tomorrow (UTC), ask for fewer concepts, raise {setting}, or use the offline generator."
    )


def _usd(amount: float | None) -> str:
    return f"${amount or 0.0:,.2f}" if (amount or 0.0) >= 1 else f"${amount or 0.0:.4f}"
