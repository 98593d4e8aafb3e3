"""Where each number comes from: which look, by which extractor, exact or rounded, counted by which rules."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of one snapshot."""

    fetched_at: datetime
    views: int | None
    exact: bool  # False: the source rounds its counts
    tier: Literal["flat", "full"]  # flat: a listing, or a part of the video's page
    source: str  # as it is stored: the extractor and its version, or the file it came from
    extractor: str | None  # yt-dlp's; None: it came from a file
    extractor_version: str | None
    date: Literal["exact", "approximate"] | None  # how well the date of publication is known
    # Since 2025-03-31 every start of a YouTube Short counts as a view: never compare across it unmarked
    view_era: Literal["views", "shorts before 2025-03-31", "shorts since 2025-03-31"]


def of(connection: Connection, candidate_id: str) -> list[Provenance]:
    """Of each snapshot of a candidate, oldest first."""
    rows = connection.execute(
        text(
            "SELECT fetched_at, views, exact, tier, source, extractor, extractor_version, date, view_era"
            " FROM snapshot_provenance WHERE candidate_id = :id ORDER BY fetched_at"
        ),
        {"id": candidate_id},
    )
    return [Provenance(**row) for row in rows.mappings()]
