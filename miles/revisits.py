"""Which videos are due for another look, so that their growth is measured and not guessed.

The looks are at the ages of MILES_REVISITS: after publication where we saw a video within a day of it (then all
videos are looked at at the same ages), else after we first saw it. Only what was read in full once is followed.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, text

from miles import settings
from miles.scrape import Found

TARGET = "videos that are due"
SOON = timedelta(days=1)  # seen so soon after its publication, a video is followed from that on
EXTRACTORS = {"youtube": "Youtube"}  # yt-dlp's; others are recognised by their address


def due(connection: Connection, limit: int, among: Sequence[str] | None = None) -> list[Found]:
    """Videos whose next look is due, the earliest looks first, of those the most promising; of all, or `among` ids.

    A look is due once its age is reached and the video was not read in full since. After an attempt that failed
    the next look decides again; what is gone is never looked at again.
    """
    steps = settings.load().revisits
    if not steps:
        return []
    rows = connection.execute(
        text(
            """
            SELECT candidates.candidate_id, url, platform, media_type
            FROM candidates
            CROSS JOIN LATERAL (
                SELECT CASE WHEN published_at BETWEEN first_seen_at - CAST(:soon AS interval) AND first_seen_at
                    THEN published_at ELSE first_seen_at END AS start
            ) AS followed
            CROSS JOIN LATERAL (
                SELECT max(start + step) AS due_at, max(step) AS step
                FROM unnest(CAST(:steps AS interval[])) AS step WHERE start + step <= now()
            ) AS looks
            WHERE NOT sample AND url IS NOT NULL AND tier = 'full' AND source LIKE '%yt-dlp%'
                AND first_seen_at > now() - CAST(:window AS interval)
                AND (CAST(:among AS text[]) IS NULL OR candidates.candidate_id = ANY(:among))
                AND due_at > first_seen_at  -- its first look was a look too
                AND NOT EXISTS (
                    SELECT FROM snapshots WHERE snapshots.candidate_id = candidates.candidate_id
                        AND snapshots.tier = 'full' AND snapshots.observed_at >= due_at
                )
                AND NOT EXISTS (SELECT FROM gone_videos WHERE gone_videos.candidate_id = candidates.candidate_id)
                AND NOT EXISTS (
                    SELECT FROM collection_items JOIN collections USING (collection_id)
                    WHERE collection_items.candidate_id = candidates.candidate_id
                        AND outcome = 'failed' AND asked_at >= due_at
                )
            ORDER BY step, viral_score DESC NULLS LAST, views DESC NULLS LAST, candidates.candidate_id LIMIT :limit
            """
        ),
        {
            "steps": list(steps),
            "soon": SOON,
            "window": 2 * max(steps),
            "limit": limit,
            "among": None if among is None else list(among),
        },
    )
    return [
        Found(row.url, row.candidate_id, None, EXTRACTORS.get(row.platform), short=row.media_type == "short")
        for row in rows
    ]
