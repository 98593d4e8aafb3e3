"""The Score lab: titles × thumbnails of a video not yet published in, what the model says of each out, best first.

Knows nothing about pages; what belongs to the user lies in `drafts`.

**Order and ties.** A model that expects 14,000 and 14,300 views has not told which title is better. So it was
measured how often it is right (`benchmarks/bench_ties.py`; model 0.1.0, 2,500 pairs of videos of 1,234 channels, published
at most 3 days apart, all later than what it learnt from; the two titles scored as variants of one draft, with the same
facts and no thumbnail). By predicted views without the channel's history it orders 0.685 of the pairs as their views at
24 hours do [95% interval 0.666 to 0.703], by viral_score 0.603; with the history, which is the same for both,
0.564 and 0.539. Therefore variants are ordered by the views that the model expects from title, thumbnail and facts alone
(`appeal`), and two count as different only where that was right in RIGHT of such pairs: P(right) =
1 / (1 + exp(-slope · gap)), slope 3.85 [3.42, 4.27] for a gap in log10 views, so from CLEAR on. Everything closer is a
tie: `place` counts only the variants that are clearly better. Chances, multiples and intervals are those with the channel.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from miles import candidates, score_candidates, tombstones
from miles.errors import UnreadableFile
from miles.explain import Scorer
from miles.features import PastVideo, ScoreInput
from miles.title_edits import Rule, edits

if TYPE_CHECKING:
    from miles.scoring import Score

MOST_TITLES = 50  # compared at once
MOST_PICTURES = 8  # thumbnails, each beside every title
LONGEST_CELL = 100_000  # characters
UNREADABLE = "This CSV can't be read: a cell is too long, or a quote never ends."
UNSEEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}  # categories of Unicode
BLANK = "\u115f\u1160\u3164\uffa0\u2800"  # letters by Unicode, and yet nothing is drawn
END = "the end of the table"  # a last line that we add; see `read_table`
LARGEST_TABLE = 5_000_000  # bytes of a file of titles
TITLE_COLUMNS = ("title", "titles", "video title", "headline")  # in any case; of a table with a row of names

RIGHT = 2 / 3  # of comparisons
CLEAR = 0.18  # log10 of predicted views, a factor of 1.5; 95% interval 0.162 to 0.203


@dataclass(frozen=True, slots=True)
class Titles:
    """What somebody typed, pasted or loaded, one title a line or row."""

    kept: tuple[str, ...]
    left_out: int  # over MOST_TITLES
    cut: int  # shortened to what a title may have
    unused: tuple[str, ...] = ()  # names of columns that are not titles


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says about one title, with one of the thumbnails or without any."""

    title: str
    picture: int | None  # which of the thumbnails, from 0
    place: int  # 1 + how many of the others are clearly better
    appeal: float  # first-day views expected from title, thumbnail and facts alone; what variants are ordered by
    viral_score: float  # 0..1
    base_rate: float  # 0..1
    multiple: float | None  # × the channel's usual in the first 24 h; None without a known channel
    multiple_low: float | None  # 8 of 10 outcomes lie between low and high
    multiple_high: float | None
    views: float  # in the first 24 h
    views_low: float
    views_high: float
    model_version: str
    note: str | None  # what was missing or unusual


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Another way to write a title, as the model scores it."""

    rule: Rule
    title: str
    score: float  # 0..1
    before: float  # of the title as it was, 0..1
    ratio: float  # of its appeal to that of the title as it was


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The edits whose score is clearly higher, best first, of all that were tried."""

    better: tuple[Suggestion, ...]
    tried: int


@dataclass(frozen=True, slots=True)
class KnownChannel:
    """A channel to choose from."""

    channel_key: str
    name: str
    videos: int  # known to Miles


@dataclass(frozen=True, slots=True)
class Asked:
    """How a collection stands that was asked for from the lab."""

    over: bool
    reason: str | None  # why it failed, for people


@dataclass(frozen=True, slots=True)
class Published:
    """A collected video, as a draft begins with it."""

    candidate_id: str
    title: str
    channel_key: str | None
    channel_name: str | None
    category: str | None
    duration: float | None  # seconds
    language: str | None
    published_at: datetime | None
    thumbnail_sha256: str | None  # its key in the storage


# --- titles in --------------------------------------------------------------------------------------


def read_titles(typed: str) -> Titles:
    """The titles in a text: one a line, without empty and repeated ones; rows pasted from a spreadsheet, whose cells
    are separated by tabs, as `read_table` has it. Pure."""
    if "\t" in typed.strip():
        return _of_rows(list(csv.reader(io.StringIO(typed.replace("\0", "")), delimiter="\t")))
    return _cleaned(typed.splitlines())


def read_table(data: bytes) -> Titles:
    """The titles of a CSV file (comma, semicolon or tab; UTF-8, UTF-16 or Windows-1252).

    Those of the column called "title", else of the first one. Raises UnreadableFile. Pure.
    """
    if len(data) > LARGEST_TABLE:
        raise UnreadableFile(f"This file is larger than {LARGEST_TABLE // 1_000_000} MB. {MOST_TITLES} titles fit.")
    try:
        content = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        content = data.decode("cp1252", "replace")
    if "\0" in content:
        raise UnreadableFile("This is not a table of text. Save it as CSV and load it again.")
    first = content.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=lambda one: (first.count(one), one == ","))
    try:
        *rows, last = csv.reader(io.StringIO(content.rstrip("\r\n") + f"\r\n{END}", newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise UnreadableFile(UNREADABLE) from error
    if last != [END]:  # a quote that never ended has swallowed it
        raise UnreadableFile(UNREADABLE)
    if any(
        len(cell) > LONGEST_CELL for row in rows for cell in row
    ):  # csv's own limit is the process's: imports raise it
        raise UnreadableFile(UNREADABLE)
    found = _of_rows(rows)
    if not found.kept:
        raise UnreadableFile("No title is in this file. It wants a column called “title”, or titles in its first one.")
    return found


def joined(first: str, typed: str) -> Titles:
    """The title of a field of its own, then those of a text as `read_titles` has them; each once. Pure."""
    one, more = read_titles(" ".join(first.split())), read_titles(typed)
    distinct = list(dict.fromkeys([*one.kept, *more.kept]))
    return Titles(
        kept=tuple(distinct[:MOST_TITLES]),
        left_out=more.left_out + max(len(distinct) - MOST_TITLES, 0),
        cut=one.cut + more.cut,
        unused=more.unused,
    )


def _of_rows(rows: Sequence[Sequence[str]]) -> Titles:
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        return Titles((), 0, 0)
    names = [" ".join(cell.split()) for cell in filled[0]]
    place = next((i for i, name in enumerate(names) if name.lower() in TITLE_COLUMNS), None)
    column = place or 0
    titles = [_unguarded(row[column]) for row in (filled if place is None else filled[1:]) if len(row) > column]
    unused = tuple(name for i, name in enumerate(names) if name and i != place) if place is not None else ()
    return replace(_cleaned(titles), unused=unused)


def _seen(letter: str) -> bool:
    """Whether there is something to see: not of a space, a joiner or a mark of direction."""
    return unicodedata.category(letter) not in UNSEEN and letter not in BLANK


def _cleaned(lines: Sequence[str]) -> Titles:
    cleaned = (candidates.text(" ".join(line.split()), 100_000) for line in lines)
    distinct = list(dict.fromkeys(line for line in cleaned if line and any(map(_seen, line))))
    kept = distinct[:MOST_TITLES]
    return Titles(
        kept=tuple(line[: candidates.MAX_TITLE] for line in kept),
        left_out=len(distinct) - len(kept),
        cut=sum(len(line) > candidates.MAX_TITLE for line in kept),
    )


# --- scoring ----------------------------------------------------------------------------------------


def inputs(
    titles: Sequence[str],
    *,
    thumbnails: Sequence[bytes] = (),
    category: str | None = None,
    duration: float | None = None,
    language: str | None = None,
    channel_key: str | None = None,
    history: tuple[PastVideo, ...] = (),
) -> list[ScoreInput]:
    """What the model is given for each title with each thumbnail of the same draft, title by title. Pure."""
    return [
        ScoreInput(
            key=f"{row}.{column}",
            title=title,
            thumbnail=thumbnail,
            channel_id=channel_key,
            category_id=candidates.CATEGORY_IDS.get(category or ""),
            duration=duration,
            language=language,
            history=history,
        )
        for row, title in enumerate(titles)
        for column, thumbnail in enumerate(thumbnails or (None,))
    ]


def judge(model: Scorer, drafts: Sequence[ScoreInput]) -> list[Verdict]:
    """Score what `inputs` made in one call; best first, of two alike in the order given."""
    return sorted(judge_all(model, drafts), key=lambda one: -one.appeal)


def judge_all(model: Scorer, drafts: Sequence[ScoreInput]) -> list[Verdict]:
    """The same in the order of the drafts."""
    scores, appeals = _with_appeal(model, drafts)
    ranks = places(appeals)
    return [
        verdict(draft, score, place, appeal)
        for draft, score, place, appeal in zip(drafts, scores, ranks, appeals, strict=True)
    ]


def _with_appeal(model: Scorer, drafts: Sequence[ScoreInput]) -> "tuple[list[Score], list[float]]":
    """The scores of drafts, and the views that are expected of them without their channels."""
    bare = [replace(draft, key=f"bare {draft.key}", channel_id=None, history=()) for draft in drafts if draft.history]
    scores = list(model.score([*drafts, *bare]))
    alone = iter(scores[len(drafts) :])
    appeals = [
        (next(alone) if draft.history else score).predicted_velocity
        for draft, score in zip(drafts, scores[: len(drafts)], strict=True)
    ]
    return scores[: len(drafts)], appeals


def verdict(draft: ScoreInput, score: "Score", place: int, appeal: float) -> Verdict:
    """A draft's score; the interval of the multiple is that of the views, over the same usual. Pure."""
    multiple = score.predicted_multiple
    usual = score.predicted_velocity / multiple if multiple else None
    return Verdict(
        title=draft.title,
        picture=None if draft.thumbnail is None else int(draft.key.partition(".")[2] or 0),
        place=place,
        appeal=appeal,
        viral_score=score.viral_score,
        base_rate=score.base_rate,
        multiple=multiple,
        multiple_low=score.velocity_low / usual if usual else None,
        multiple_high=score.velocity_high / usual if usual else None,
        views=score.predicted_velocity,
        views_low=score.velocity_low,
        views_high=score.velocity_high,
        model_version=score.model_version,
        note=score.note,
    )


def places(appeals: Sequence[float]) -> list[int]:
    """Of each 1 + how many are clearly better: those that share a place are ties with the best of it. Pure."""
    return [1 + sum(clearly_better(other, one) for other in appeals) for one in appeals]


def clearly_better(one: float, other: float) -> bool:
    """Whether the first appeal is higher by more than the noise of a comparison; see the module's first lines. Pure."""
    return math.log10(max(one, 1.0)) - math.log10(max(other, 1.0)) >= CLEAR


def suggest(model: Scorer, draft: ScoreInput) -> Suggestions:
    """Edits by rule that keep the meaning, scored; only those that are clearly better. It is what the model likes of
    titles like them, not what an edit does."""
    tried = edits(draft.title)
    if not tried:
        return Suggestions((), 0)
    scores, appeals = _with_appeal(
        model, [draft, *(replace(draft, key=str(n), title=edit.title) for n, edit in enumerate(tried))]
    )
    better = [
        Suggestion(edit.rule, edit.title, score.viral_score, scores[0].viral_score, appeal / max(appeals[0], 1.0))
        for edit, score, appeal in zip(tried, scores[1:], appeals[1:], strict=True)
        if clearly_better(appeal, appeals[0])
    ]
    return Suggestions(tuple(sorted(better, key=lambda one: -one.ratio)), len(tried))


# --- out --------------------------------------------------------------------------------------------

COLUMNS = (
    "place", "title", "thumbnail", "viral_score", "base_rate", "multiple", "multiple_low", "multiple_high",
    "first_day_views", "views_low", "views_high", "views_without_channel", "model_version", "note",
)  # fmt: skip


def write_table(verdicts: Sequence[Verdict], pictures: Sequence[str] = ()) -> bytes:
    """Verdicts as CSV (UTF-8 with the mark that spreadsheets look for); `pictures` are names of the thumbnails.

    A cell that a spreadsheet would take for a formula begins with an apostrophe; `read_table` takes it away. Pure.
    """
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    for one in verdicts:
        rows.writerow([
            one.place, _guarded(one.title), "" if one.picture is None else _guarded(pictures[one.picture]),
            *(
                "" if value is None else f"{value:.6g}"
                for value in (
                    one.viral_score, one.base_rate, one.multiple, one.multiple_low, one.multiple_high,
                    one.views, one.views_low, one.views_high, one.appeal,
                )
            ),
            one.model_version, one.note or "",
        ])  # fmt: skip
    return out.getvalue().encode("utf-8-sig")


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell[:1] in _FORMULA or cell[:1] == "'" else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and (cell[1:2] in _FORMULA or cell[1:2] == "'") else cell


_FORMULA = frozenset("=+-@\t\r")  # https://owasp.org/www-community/attacks/CSV_Injection


# --- what is known ----------------------------------------------------------------------------------


def find_channels(connection: Connection, search: str, limit: int = 8) -> list[KnownChannel]:
    """Channels whose name holds the search, or whose key it is; those with most videos first."""
    wanted = candidates.text(" ".join(search.split()), 100)
    if wanted is None:
        return []
    escaped = wanted.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    rows = connection.execute(
        text(
            """
            SELECT channel_key, coalesce(name, channel_key) AS name, videos
            FROM channels CROSS JOIN LATERAL (
                SELECT count(*) AS videos FROM candidates WHERE candidates.channel_key = channels.channel_key
            ) AS counted
            WHERE name ILIKE :pattern OR channel_key = :wanted
            ORDER BY channel_key = :wanted DESC, lower(name) = lower(:wanted) DESC, videos DESC, name LIMIT :limit
            """
        ),
        {"pattern": f"%{escaped}%", "wanted": wanted, "limit": limit},
    )
    return [KnownChannel(**row) for row in rows.mappings()]


def find_published(connection: Connection, address: str) -> Published | None:
    """The collected video that an address (or a key, or YouTube's id) names; None where it was not collected."""
    wanted = candidates.text(" ".join(address.split()), 2000)
    if wanted is None:
        return None
    named = tombstones.names_of(wanted)
    keys = list(named.keys) if wanted.startswith(("http://", "https://")) else [wanted, *named.keys]
    row = connection.execute(
        text(
            """
            SELECT candidate_id, title, channel_key, name AS channel_name, category, duration, language, published_at,
                sha256 AS thumbnail_sha256
            FROM candidates
                LEFT JOIN (SELECT channel_key, name FROM channels) AS channels USING (channel_key)
                LEFT JOIN (SELECT candidate_id, sha256 FROM thumbnails) AS thumbnails USING (candidate_id)
            WHERE """
            # by its key where the address says it; looking through all addresses takes a while
            + ("candidate_id = ANY(:keys)" if keys else "url = :wanted")
            + " ORDER BY candidate_id LIMIT 1"
        ),
        {"keys": keys, "wanted": wanted},
    ).one_or_none()
    return None if row is None else Published(**row._mapping)


def collection_state(connection: Connection, collection_id: int) -> Asked | None:
    """How a collection stands; None where there is none any more."""
    row = connection.execute(
        text(
            "SELECT state IN ('done', 'failed', 'cancelled') AS over, coalesce(collections.reason, ("
            " SELECT min(item.reason) FROM collection_items AS item WHERE item.collection_id = collections.collection_id"
            ")) AS reason FROM collections WHERE collection_id = :id"
        ),
        {"id": collection_id},
    ).one_or_none()
    return None if row is None else Asked(row.over, row.reason)


def key_of(address: str) -> str | None:
    """The key of the video that an address names, where the address says it (YouTube's and TikTok's do). Pure."""
    keys = tombstones.names_of(address).keys
    return keys[0] if len(keys) == 1 and not keys[0].startswith("youtube:UC") else None


def history(connection: Connection, channel_key: str, before: datetime | None = None) -> tuple[PastVideo, ...]:
    """The channel's latest videos, as candidates of it are scored with; `before` a moment, as they were known then."""
    return score_candidates.history(connection, channel_key, before)
