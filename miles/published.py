"""Published drafts: what they foretold against what came of them, for their owner and, without names, for the calibration.

A draft is linked to the address that it was published at; a collection looks at it, and re-visits follow it like any
other video. Its outcome is that of drafts in the model card: views at 24 hours, from the first exact look 6 to 36 hours
after publication moved by the growth curve, over the channel's usual as it was known at publication. It counts as
foresight only if the draft was saved before the video was published. The worker tells outcomes without seeing drafts:
functions of migration 0016 hand it keys and moments, and take what it found.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from miles import calibration, drafts, features, lab, registry, rollups, score_candidates
from miles.calibration import Check, Forecasts
from miles.candidates import CATEGORY_IDS
from miles.errors import MilesError
from miles.features import GrowthCurve, ScoreInput
from miles.score_candidates import FIRST_DAY
from miles.store import run

ROLLUP = "published drafts"
LONGEST = 2000  # characters of an address


@dataclass(frozen=True, slots=True)
class Report:
    """How published drafts did, all users together; counts of drafts. `monitor.published_drafts` reads it."""

    linked: int
    told: int  # whose first day is known
    foretold: int  # of those: saved before they were published
    judged: int  # of those: of a channel whose usual is known
    check: Check
    refreshed_at: datetime


def link(connection: Connection, draft_id: int, address: str, collection_id: int | None) -> None:
    """Say where a draft was published. `connection` is the owner's; raises MilesError, also for what is no address."""
    url = address_of(address)
    known = lab.find_published(connection, url)
    drafts.set_link(connection, draft_id, url, known.candidate_id if known else lab.key_of(url), collection_id)


def address_of(written: str) -> str:
    """The address of a video as somebody wrote it. Raises MilesError where it can't be one. Pure."""
    url = "".join(written.split())
    if url and not url.lower().startswith(("http://", "https://")):
        url = f"https://{url}" if "." in url.partition("/")[0] else f"https://www.youtube.com/watch?v={url}"
    host, _, path = url.partition("://")[2].partition("/")
    if len(url) > LONGEST or "." not in host or not path.strip("/") or _is_listing(host.lower(), url):
        raise MilesError("This is not the address of a video. Copy it from the browser: it begins with https://.")
    return url


def _is_listing(host: str, url: str) -> bool:
    """Whether the address is on a site whose videos we know by their addresses, and is of none."""
    return host.removeprefix("www.").removeprefix("m.") in ("youtube.com", "youtu.be") and lab.key_of(url) is None


# --- outcomes ---------------------------------------------------------------------------------------

_LOOKS = f"""
SELECT candidate_id, channel_key, category, published_at, look.observed_at, look.views
FROM candidates CROSS JOIN LATERAL (
    SELECT observed_at, views FROM snapshots
    WHERE snapshots.candidate_id = candidates.candidate_id AND exact AND views IS NOT NULL
        AND observed_at BETWEEN published_at + interval '{FIRST_DAY[0]} days' AND published_at + interval '{FIRST_DAY[1]} days'
    ORDER BY observed_at LIMIT 1
) AS look
WHERE candidate_id = ANY(%(ids)s)
"""


def tell(connection: Connection) -> int:
    """Write down what came of published drafts whose first day is known by now, as the worker; returns of how many."""
    waiting = run(connection, "SELECT draft_id, candidate_id, model_version FROM drafts_to_tell()").fetchall()
    if not waiting:
        return 0
    looks = {row[0]: row for row in run(connection, _LOOKS, {"ids": sorted({key for _, key, _ in waiting})})}
    manifests = {one.version: one.manifest for one in registry.versions(connection)}
    current = registry.current(connection)
    told = 0
    for draft_id, candidate_id, version in waiting:
        manifest = manifests.get(version or "") or manifests.get(current or "")
        if candidate_id not in looks or not manifest or "curve" not in manifest:
            continue
        _, channel, category, published, observed, views = looks[candidate_id]
        past = score_candidates.history(connection, channel, published) if channel else ()
        at_24h, outlier, happened = outcome(
            manifest,
            ScoreInput("", "", published_at=published, category_id=CATEGORY_IDS.get(category), history=past),
            views,
            (observed - published).total_seconds() / features.DAY,
        )
        connection.execute(
            text("SELECT tell_draft(:draft, :video, :published, :observed, :views, :multiple, :happened)"),
            {
                "draft": draft_id,
                "video": candidate_id,
                "published": published,
                "observed": observed,
                "views": 10**at_24h,
                "multiple": None if outlier is None else 10**outlier,
                "happened": happened,
            },
        )
        told += 1
    return told


def outcome(
    manifest: dict[str, Any], draft: ScoreInput, views: float, age_days: float
) -> tuple[float, float | None, bool | None]:
    """log10 of the views at 24 h; log10 of that over the channel's usual; whether the event of drafts happened. Pure.

    `draft` has the moment of publication and the history known then; without a usual the last two are None.
    """
    curve = GrowthCurve(tuple(manifest["curve"]["ages"]), tuple(manifest["curve"]["gains"]))
    at_24h = max(curve.log_views_24h(views, age_days), 0.0)
    usual = features.encode(draft, curve, manifest["draft_base"]).usual
    if usual is None:
        return at_24h, None, None
    thresholds = manifest.get("thresholds", {})
    limit = thresholds.get(features.cohort("draft", None, draft.category_id), thresholds.get("draft|all"))
    return at_24h, at_24h - usual, None if limit is None else at_24h - usual >= limit


# --- for everybody, without names -------------------------------------------------------------------


def refresh(connection: Connection) -> None:
    """Tell outcomes, then write anew how published drafts did; as the worker, with the other reports."""
    tell(connection)
    counts = connection.execute(text("SELECT linked, told, foretold, judged FROM count_published_drafts()")).one()
    before = rollups.read(connection, ROLLUP) or {}
    data = {"counts": list(counts), "check": before.get("check")}
    if before.get("counts", [0, 0, 0, -1])[3] != counts.judged:
        data["check"] = asdict(calibration.check(_forecasts(connection)))
    if data != before:
        rollups.write(connection, ROLLUP, data)


def _forecasts(connection: Connection) -> Forecasts:
    rows = run(connection, f"SELECT * FROM draft_forecasts() LIMIT {calibration.MOST}").fetchall()
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    numbers = [np.array(column, dtype=np.float64) for column in columns]
    return Forecasts(
        probability=numbers[0],
        base_rate=numbers[1],
        happened=numbers[2].astype(bool),
        predicted=numbers[3],
        low=numbers[4],
        high=numbers[5],
        measured=np.maximum(numbers[6], 1.0),
        age_band=np.full(len(rows), "draft"),
        channel=numbers[7].astype(np.int64),
    )
