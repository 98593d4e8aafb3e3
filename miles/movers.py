"""The roll-up "movers": what gained most views on the last day of the data.

from, to: ISO times of that day, or null
videos: [{"candidate_id": "youtube:abc", "gained": views, "days": between its two newest looks}, …], fastest first
"""

from datetime import timedelta

from sqlalchemy import Connection, text

MOVING = timedelta(days=1)  # before the newest snapshot: what was seen since is moving now
SPAN = 2.0  # days; a velocity over more says nothing about yesterday
MOST = 50


def roll_up(connection: Connection) -> dict:
    """The videos seen on the last day of the data that gain most views a day; measured before (rollups.measure)."""
    newest = connection.scalar(text("SELECT max(last_seen_at) FROM candidates"))
    if newest is None:
        return {"from": None, "to": None, "videos": []}
    found = connection.execute(
        text(
            "SELECT candidate_id, round(velocity * velocity_days)::bigint AS gained, velocity_days AS days FROM candidates"
            " WHERE last_seen_at >= :since AND observed_at >= :since AND velocity > 0 AND velocity_days <= :span"
            " ORDER BY velocity DESC, candidate_id LIMIT :most"
        ),
        {"since": newest - MOVING, "span": SPAN, "most": MOST},
    )
    return {
        "from": (newest - MOVING).isoformat(),
        "to": newest.isoformat(),
        "videos": [dict(row._mapping) for row in found],
    }
