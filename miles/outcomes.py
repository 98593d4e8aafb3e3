"""Forecasts whose outcome is known, with what the pages filter and group them by.

`monitor` writes them and judges each version as a whole for the Model page; here any part of them is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from sqlalchemy import Connection, text

from miles import browse, calibration
from miles.calibration import Forecasts
from miles.facts import Facts
from miles.features import AGE_BANDS
from miles.monitor import Basis

Part = Literal["category", "age", "platform", "format", "language", "month", "version"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """The forecasts, and of each: the number of its video (`facts`), the version that made it, the month it was of."""

    forecasts: Forecasts
    number: np.ndarray  # int32
    version: np.ndarray  # str
    month: np.ndarray  # str, "2026-05": of the counts that the score was made from

    def __len__(self) -> int:
        return len(self.number)

    def only(self, which: np.ndarray) -> "Outcomes":
        return Outcomes(
            self.forecasts[which],
            self.number[which],
            self.version[which],
            self.month[which],
        )


def load(connection: Connection, version: str, basis: Basis) -> Outcomes:
    """The latest forecasts of a version whose outcome is known, at most calibration.MOST."""
    browse.plan_by_index(connection)
    found = connection.execute(
        text(f"""
            SELECT one.viral_score, one.base_rate, one.velocity >= one.threshold, one.predicted_velocity, one.velocity_low,
                one.velocity_high, one.velocity, one.age_band, facts.channel, facts.number,
                to_char(one.observed_at, 'YYYY-MM') AS month
            FROM (
                SELECT * FROM forecasts
                WHERE model_version = :version AND basis = :basis AND outcome_at IS NOT NULL
                ORDER BY observed_at DESC, candidate_id LIMIT {calibration.MOST}
            ) AS one JOIN facts USING (candidate_id)
            ORDER BY one.observed_at DESC, one.candidate_id
        """),
        {"version": version, "basis": basis},
    ).all()
    return Outcomes(
        Forecasts.of_rows(found),
        number=np.array([row.number for row in found], dtype=np.int64),
        version=np.full(len(found), version),
        month=np.array([row.month for row in found], dtype=str),
    )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Several as one."""
    return Outcomes(
        Forecasts(**{
            f.name: np.concatenate([getattr(one.forecasts, f.name) for one in parts]) for f in fields(Forecasts)
        }),
        *(np.concatenate([getattr(one, name) for one in parts]) for name in ("number", "version", "month")),
    )  # fmt: skip


def among(outcomes: Outcomes, facts: Facts, members: np.ndarray) -> Outcomes:
    """Those of the videos in `members`; a video that the columns in memory don't have yet is in none."""
    return outcomes.only(_of(outcomes, facts, members, 0).astype(bool))


def labels(outcomes: Outcomes, facts: Facts, part: Part) -> tuple[np.ndarray, list[str]]:
    """For each forecast the position of its group in the returned names, -1 where that is not known.

    Ages and months stand in their order, others by size.
    """
    if part == "age":
        names = [name for name, _ in AGE_BANDS]
        position = {name: at for at, name in enumerate(names)}
        return np.array([position.get(name, -1) for name in outcomes.forecasts.age_band], dtype=np.int64), names
    if part in ("month", "version"):
        found, at = np.unique(outcomes.month if part == "month" else outcomes.version, return_inverse=True)
        return at.astype(np.int64), found.tolist()
    names_by_code = {code: name for name, code in facts.codes.get(part, {}).items()}
    codes, at = np.unique(_of(outcomes, facts, getattr(facts, part), 0), return_inverse=True)
    sizes = np.bincount(at, minlength=len(codes))
    order = [int(one) for one in np.argsort(-sizes, kind="stable") if int(codes[one]) in names_by_code]
    new = np.full(len(codes) + 1, -1, dtype=np.int64)
    new[order] = np.arange(len(order))
    return new[at], [names_by_code[int(codes[one])] for one in order]


def _of(outcomes: Outcomes, facts: Facts, column: np.ndarray, missing: int) -> np.ndarray:
    """The value of a column for the video of each forecast."""
    if not len(facts.place) or not len(outcomes):
        return np.full(len(outcomes), missing)
    inside = outcomes.number < len(facts.place)
    place = np.where(inside, facts.place[np.where(inside, outcomes.number, 0)], -1)
    return np.where(place >= 0, column[place], missing)
