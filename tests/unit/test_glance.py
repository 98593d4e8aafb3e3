"""What Home says first, and what it says to do next."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from miles import glance
from miles.browse import Row
from miles.glance import Standing, Step
from ui.home import STEPS, said_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FINE = Standing(workers=1, waiting=0, failed=0, unscored=False, sources_unwell=())
ROW = Row(
    **dict.fromkeys(Row.__dataclass_fields__, None)  # type: ignore[arg-type]
    | {"candidate_id": "youtube:a", "title": "A", "sample": False, "viral_score": 0.37, "base_rate": 0.09}
)


def steps(standing: Standing = FINE, *, old: bool = False, measured: int = 9, niches: int = 1, drafts: int = 1):
    newest = NOW - timedelta(days=2 if old else 0.5)
    return glance.next_steps(standing, newest=newest, now=NOW, measured=measured, niches=niches, drafts=drafts)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (steps(), ("get ideas", "score a draft", "read the patterns")),  # all is well: make something of it
        (steps(drafts=0), ("score a draft", "get ideas", "read the patterns")),
        (steps(niches=0, drafts=0), ("save a niche", "score a draft", "get ideas")),
        (steps(old=True, niches=0), ("collect", "save a niche", "get ideas")),
        (steps(measured=0), ("measure", "get ideas", "score a draft")),
        # what waits is being done, or nobody is there to do it
        (steps(replace(FINE, unscored=True)), ("score", "get ideas", "score a draft")),
        (steps(replace(FINE, unscored=True, waiting=1)), ("get ideas", "score a draft", "read the patterns")),
        (steps(replace(FINE, workers=0)), ("get ideas", "score a draft", "read the patterns")),
        (
            steps(Standing(0, 3, 2, True, ("youtube",)), old=True, niches=0),
            ("start a worker", "see the sources", "retry failed jobs"),
        ),
    ],
)
def test_the_next_steps_are_three_and_the_most_urgent_come_first(found: tuple[Step, ...], expected: tuple[Step, ...]):
    assert found == expected


def test_every_step_leads_somewhere() -> None:
    assert set(STEPS) == set(Step.__args__)  # type: ignore[attr-defined]


def test_the_first_to_look_at_is_the_furthest_above_its_channels_usual_that_grows() -> None:
    def row(key: str, multiple: float | None, velocity: float | None) -> Row:
        return replace(ROW, candidate_id=key, outlier_multiple=multiple, velocity=velocity)

    rows = [row("a", 3.0, 10.0), row("b", 9.0, -1.0), row("c", 5.0, 7.0), row("d", 99.0, None), row("e", None, 1e9)]
    assert glance.first(rows) == rows[2]
    assert glance.first([row("x", 5.0, 7.0), row("y", 5.0, 8.0)]) == row("y", 5.0, 8.0)  # as far: the faster one
    assert glance.first([rows[1], rows[3], rows[4]]) is None


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (None, "gaining **1.2K/day**. Score"),
        (0.0, "gaining **1.2K/day**. Score"),
        (1000.0, ", 20% faster than before. Score"),
        (2400.0, ", 50% slower than before. Score"),
        (1200.0, ", as fast as before. Score"),
        (1.0, ", over ten times as fast as before. Score"),
    ],
)
def test_why_it_comes_first_is_a_sentence_of_its_measures(before: float | None, expected: str) -> None:
    said = said_of(replace(ROW, outlier_multiple=2.34, outlier_n=14, velocity=1200.0, velocity_before=before))
    assert said.startswith("**2.3×** its channel's usual (of 14 videos), gaining **1.2K/day**")
    assert expected in said
    assert said.endswith("Score 37 in 100, base rate 9 in 100.")
