"""All that a database holds after a collection, so that two can be compared: by default everything counts.

What is left out is named below with its reason; a table or a column that a later migration adds is compared until
somebody gives a reason why not.
"""

import json
from typing import Any

from sqlalchemy import text

from miles import db

# Tables that are about the work and not about its result.
ACCOUNTS = {
    "source_requests": "each request that was sent; one that failed is sent again",
    "sources": "when the next request may be sent, and when the breaker was last open (`assert_closed` looks at that)",
    "usage": "how much was asked and how long it took",
    "migrations": "when this database was made",
    "objects": "when each picture was put into the storage; `thumbnails` names the same objects",
    "object_pins": "pictures that a killed worker was about to name; they expire",
}
# Columns that say when, and those that count the tries.
MOMENTS = {
    "candidates": {
        "observed_at", "seen_at", "first_seen_at", "last_seen_at", "changed_at", "published_about",
        "lifetime_velocity",  # views by the age at the moment of the look
    },
    "channels": {"seen_at", "first_seen_at", "last_seen_at", "baseline_at"},
    "snapshots": {"observed_at"},
    "thumbnails": {"fetched_at", "attempts"},
    "collections": {
        "collection_id", "asked_at", "started_at", "finished_at", "alive_at", "listed_at",
        "tries",  # runs that were broken off in a row
    },
    "collection_items": {
        "collection_id",
        "attempts",  # times it was read
        "position",  # in the listing as far as it came; one that is read again numbers what it adds anew
        "promise",  # views for the age at the moment of the listing
    },
    "gone_videos": {"seen_at"},
}  # fmt: skip


# A page that came without a part leaves a look of its own, of the tier "flat", before the whole one: a fact more of
# that moment, and no other state. So of the flat looks those count that a listing gave.
SOURCES = {
    "snapshots": """(
        SELECT snapshots.* FROM snapshots JOIN candidates USING (candidate_id)
        WHERE NOT (snapshots.tier = 'flat' AND candidates.tier = 'full' AND snapshots.source = candidates.source)
    )"""
}
KEYS = ("candidate_id", "channel_key", "collection_id")


def contents() -> dict[str, list[dict[str, Any]]]:
    """The rows of every table, in order, without what may differ."""
    with db.transaction("owner") as connection:
        tables = connection.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1"
            )
        ).all()
        found = {}
        for table in tables:
            if table not in ACCOUNTS:
                rows = connection.scalars(
                    text(f"SELECT to_jsonb(one) - CAST(:left_out AS text[]) FROM {SOURCES.get(table, table)} AS one"),
                    {"left_out": sorted(MOMENTS.get(table, ()))},
                )
                found[table] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return {table: rows for table, rows in found.items() if rows}


def differences(found: dict[str, list[dict[str, Any]]], wanted: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What one has and the other has not; of rows with the same key the columns."""
    said = []
    for table in sorted(found.keys() | wanted.keys()):
        here, there = list(found.get(table, [])), list(wanted.get(table, []))
        for row in list(here):
            if row in there:
                here.remove(row)
                there.remove(row)
        for row in list(here):
            name = next((row[key] for key in KEYS if key in row), None)
            other = next((one for one in there if name and name in one.values()), None)
            if other:
                here.remove(row)
                there.remove(other)
                apart = {key: (row[key], other[key]) for key in row if row[key] != other.get(key)}
                said.append(f"{table} {name}: {apart}")
        said += [f"{table} more: {row}" for row in here] + [f"{table} less: {row}" for row in there]
    return said


def assert_closed() -> None:
    """No source is held."""
    with db.transaction("viewer") as connection:
        held = connection.execute(text("SELECT source, reason FROM sources WHERE resume_at IS NOT NULL")).all()
    assert held == []
