"""Requests and answers as the OpenAPI document shows them. Every request here is answered by a test."""

from typing import Any

#: A red square of 64 × 36 pixels, as PNG.
TINY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAkAQMAAAADwq7RAAAAA1BMVEWyOi6Y38QSAAAADUlEQVR42mNgGAWUAgABRAABvcWnEQAA"
    "AABJRU5ErkJggg=="
)

_HISTORY = [
    {
        "title": title,
        "published_at": f"2026-05-{day:02}T16:00:00Z",
        "observed_at": f"2026-05-{day + 1:02}T16:00:00Z",
        "views": views,
    }
    for title, day, views in (
        ("I built a bread oven from flowerpots", 24, 118_000),
        ("The cheapest sourdough starter that works", 20, 83_400),
        ("Bakers rate my worst loaf", 16, 240_500),
        ("Why your crust goes soft", 12, 96_100),
        ("One dough, five breads", 8, 71_900),
    )
]

DRAFT: dict[str, Any] = {
    "id": "variant-a",
    "title": "I baked bread with a broken toaster",
    "channel_id": "UC-bread",
    "category_id": 26,
    "duration": 58,
    "language": "en",
    "published_at": "2026-06-01T16:00:00Z",
    "history": _HISTORY,
}
CANDIDATE: dict[str, Any] = {
    "title": "I baked bread with a broken toaster",
    "category_id": 26,
    "duration": 58,
    "language": "en",
    "published_at": "2026-06-01T16:00:00Z",
    "observed_at": "2026-06-02T10:00:00Z",
    "views": 51_800,
    "likes": 3_900,
    "comments": 412,
    "history": _HISTORY,
}

REQUESTS: dict[str, dict[str, Any]] = {
    "title": {"summary": "A title alone", "value": {"title": "I baked bread with a broken toaster"}},
    "draft": {"summary": "A draft with what is known of its channel", "value": DRAFT},
    "candidate": {"summary": "A published video and its counts", "value": CANDIDATE},
    "image": {
        "summary": "A thumbnail in base64",
        "value": {"title": "I baked bread with a broken toaster", "image": f"data:image/png;base64,{TINY_PNG}"},
    },
    "list": {
        "summary": "Several videos at once",
        "value": [DRAFT, {**DRAFT, "id": "variant-b", "title": "Toaster bread, but the toaster is broken"}],
    },
}

_SAID: dict[str, Any] = {
    "id": None,
    "mode": "draft",
    "viral_score": 0.12,
    "base_rate": 0.1,
    "predicted_multiple": None,
    "predicted_velocity": 61_000.0,
    "velocity_low": 9_800.0,
    "velocity_high": 410_000.0,
    "predicted_velocity_7d": None,
    "model_version": "1.0.0+00000000",
    "notes": ["no channel history: fewer than 5 earlier videos that were observed in time"],
}
_DRAFT_SAID = {
    **_SAID,
    "id": "variant-a",
    "viral_score": 0.21,
    "predicted_multiple": 1.4,
    "predicted_velocity": 134_000.0,
    "velocity_low": 55_000.0,
    "velocity_high": 360_000.0,
    "notes": [],
}

ANSWERS: dict[str, dict[str, Any]] = {
    "title": {"summary": "To a title alone (figures invented)", "value": _SAID},
    "candidate": {
        "summary": "To a published video (figures invented)",
        "value": {**_SAID, "mode": "candidate", "predicted_velocity_7d": 31_000.0, "notes": []},
    },
    "list": {
        "summary": "To a list: one for each, in the same order (figures invented)",
        "value": [_DRAFT_SAID, {**_DRAFT_SAID, "id": "variant-b", "viral_score": 0.17, "predicted_multiple": 1.1}],
    },
}
