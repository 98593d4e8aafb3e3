"""Published drafts: what they foretold against what came of them, for their owner and, without names, for the calibration.

A draft is linked to the address that it was published at; a collection looks at it, and re-visits follow it like any
other video. Its outcome is that of drafts in the model card: views at 24 hours, from the first exact look 6 to 36 hours
after publication moved by the growth curve, over the channel's usual as it was known at publication. It counts as
foresight only if the draft was saved before the video was published. The worker tells outcomes without seeing drafts:
functions of migrations 0016 and 0019 hand it keys and moments, and take what it found. Drafts that began with a concept are
counted apart, too: whether ideas of a generator keep their promises is another question than whether one's own do.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from miles import calibration, drafts, features, lab, registry, rollups, score_candidates
from miles.calibration import Check, Forecasts
from miles.candidates import CATEGORY_IDS
from miles.drafts import Origin
from miles.errors import MilesError
from miles.features import GrowthCurve, ScoreInput
from miles.score_candidates import FIRST_DAY
from miles.store import run

ROLLUP = "published drafts"
EVERY = "every"  # in the roll-up beside the origins
LONGEST = 2000  # characters of an address


@dataclass(frozen=True, slots=True)
class Part:
    """How some published drafts did, all users together; counts of drafts."""

    linked: int
    told: int  # whose first day is known
    foretold: int  # of those: saved before they were published
    judged: int  # of those: of a channel whose usual is known
    check: Check


@dataclass(frozen=True, slots=True)
class Report:
    """How published drafts did. `monitor.published_drafts` reads it."""

    every: Part
    origins: dict[Origin, Part]  # those that there are, by whose idea they were
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
    counts: dict[str, list[int]] = {EVERY: [0, 0, 0, 0]}
    for origin, *numbers in run(
        connection, "SELECT origin, linked, told, foretold, judged FROM count_published_drafts() ORDER BY origin"
    ):
        counts[origin] = numbers
        counts[EVERY] = [sum(pair) for pair in zip(counts[EVERY], numbers, strict=True)]
    before = rollups.read(connection, ROLLUP) or {}
    judged = {part: numbers[3] for part, numbers in counts.items()}
    if {part: one["counts"][3] for part, one in before.get("parts", {}).items()} == judged:
        checks = {part: one["check"] for part, one in before["parts"].items()}
    else:
        rows = run(connection, f"SELECT * FROM draft_forecasts() LIMIT {calibration.MOST}").fetchall()
        checks = {
            part: asdict(calibration.check(_forecasts([row[1:] for row in rows if part in (EVERY, row[0])])))
            for part in counts
        }
    data = {"parts": {part: {"counts": numbers, "check": checks[part]} for part, numbers in counts.items()}}
    if data != before:
        rollups.write(connection, ROLLUP, data)


def _forecasts(rows: Sequence[Sequence[Any]]) -> Forecasts:
    return Forecasts.of_rows([(*numbers, max(measured, 1.0), "draft", channel) for *numbers, measured, channel in rows])
