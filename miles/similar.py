"""Videos whose titles mean much the same: vectors of titles in Postgres (pgvector), and the nearest to one of them.

The vectors are those that scoring has just worked with (`keep`, in the transaction that writes the scores). Each is
marked with a fingerprint of the text encoder that made it: a new model with the same encoder leaves them as they
are, one with another encoder replaces them. Where the server has no pgvector there is no table of them, and
`unavailable` says so in a sentence.

Vectors of one encoder are looked through one by one until there are INDEX_FROM of them. From then on an IVFFlat
index leads to the likely ones. Measured on 151,539 titles of 384 numbers on 2 busy cores: one by one takes 110 ms;
IVFFlat is built in 4 s, adds 0.05 s to 2,000 new rows, and finds 93% of the 50 nearest in 16 ms; HNSW is built in
90 s, adds 7 s to 2,000 new rows (a fifth of what scoring them takes), and finds 95% in 6 ms. Being quick to
write matters more here: everything that is collected passes through.
"""

import hashlib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sqlalchemy import Connection, text

from miles import browse, db, rollups
from miles.browse import Filters, Row
from miles.errors import MilesError
from miles.store import copy, run

if TYPE_CHECKING:
    import psycopg

TOOK_OFF = 1.5  # times the channel's usual; 9 in 100 videos of half a year of trending lists got there
DID_NOT = 0.9  # times the channel's usual; 45 in 100 of the same videos stayed there or below
CHUNK = 2000  # titles that `catch_up` encodes in one transaction: some seconds
INDEX_FROM = 20_000  # vectors; fewer are looked through in 15 ms
INDEX_AGAIN = 4  # times as many vectors as when the index was made: its lists have become too long
ROWS_FOR_A_LIST = 800
MOST_LISTS = 700  # of the index; more would not fit into the memory that the migration gives to making it
FEW = 10_000  # videos that pass a filter; their vectors are looked through in 0.1 s
MOST_ALIKE = 200  # videos that "similar to this" lists; those further off share a word at most
PROBED = 0.1  # of the lists are looked through for a question: 93% of the 50 nearest are found
LOCK = 0x656D626564  # advisory lock key ("embed")
ROLLUP = "title_embeddings"  # {"encoder": …, "complete": whether each candidate has its vector, "indexed": vectors}
FINGERPRINT = re.compile(r"[0-9a-f]{16}")


class Embedder(Protocol):
    """What is needed of `scoring.Model`."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def embed_titles(self, titles: Sequence[str], /) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Near:
    """A video, and how like its title is to what was asked for."""

    row: Row
    likeness: float  # cosine of the two titles' vectors: 1 is the same, unrelated ones lie about 0.1


@dataclass(frozen=True, slots=True)
class Contrast:
    """Similar titles that went well, and similar ones that did not: most alike first, each channel once."""

    took_off: tuple[Near, ...]  # TOOK_OFF times their channel's usual, or more
    did_not: tuple[Near, ...]  # DID_NOT times, or less


def encoder(manifest: Mapping[str, Any]) -> str | None:
    """Fingerprint of a model's text encoder: what its vectors depend on. None where it has none (a remote one)."""
    try:
        parts = [manifest["files"][name]["sha256"] for name in ("text.onnx", "tokenizer.json")]
        parts += [str(manifest["inputs"]["max_tokens"]), str(manifest["inputs"]["text_width"])]
    except KeyError:
        return None
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def unavailable(connection: Connection) -> str | None:
    """Why nothing similar can be found here, for people; None where it can."""
    if not _has_table(connection):
        return (
            "Similar titles are found with pgvector 0.8 or newer, which this PostgreSQL lacks. Install it, let a "
            "superuser run CREATE EXTENSION vector in Miles' database, and start Miles again."
        )
    if not connection.scalar(text("SELECT EXISTS (SELECT FROM title_embeddings)")):
        return "No title has its vector yet. The next scoring makes them: python -m miles score does it now."
    return None


# --- asking -----------------------------------------------------------------------------------------


def to_video(connection: Connection, candidate_id: str, **wanted: Any) -> list[Near]:
    """The videos nearest to a stored one, itself left out; none where its title has no vector yet.

    `wanted` are the arguments of `nearest`. Raises MilesError where there is no pgvector.
    """
    found = _stored(connection, candidate_id)
    return nearest(connection, *found, leave_out=[candidate_id], **wanted) if found else []


def to_title(connection: Connection, model: Embedder, title: str, **wanted: Any) -> list[Near]:
    """The videos nearest to any title. `wanted` are the arguments of `nearest`; raises as it does."""
    name = encoder(model.manifest)
    return nearest(connection, model.embed_titles([title])[0], name, **wanted) if name and title.strip() else []


def contrast_to_video(connection: Connection, candidate_id: str, n: int = 4) -> Contrast:
    """What became of videos with a similar title. Raises MilesError where there is no pgvector."""
    took_off, did_not = (to_video(connection, candidate_id, n=n, took_off=which) for which in (True, False))
    return Contrast(tuple(took_off), tuple(did_not))


def contrast_to_title(connection: Connection, model: Embedder, title: str, n: int = 4) -> Contrast:
    """What became of videos with a title like this one. Raises MilesError where there is no pgvector."""
    took_off, did_not = (to_title(connection, model, title, n=n, took_off=which) for which in (True, False))
    return Contrast(tuple(took_off), tuple(did_not))


def nearest(
    connection: Connection,
    vector: np.ndarray,
    made_by: str,
    *,
    n: int = 6,
    took_off: bool | None = None,
    filters: Filters = Filters(),  # noqa: B008  # frozen
    per_channel: int | None = 1,
    leave_out: Collection[str] = (),
) -> list[Near]:
    """The `n` videos whose titles lie nearest to a vector that the encoder `made_by` made, nearest first.

    `took_off` wants those only that are measured to have done TOOK_OFF times their channel's usual or more (True),
    or DID_NOT at most (False): the outlier multiple, told from at least 5 other videos of the channel; never
    the model's own score. At most `per_channel` of each channel (None: any number). Raises MilesError
    where there is no pgvector.
    """
    found = _nearest(
        connection,
        vector,
        made_by,
        n=n,
        took_off=took_off,
        filters=filters,
        per_channel=per_channel,
        leave_out=leave_out,
    )
    return [Near(row, found[row.candidate_id]) for row in browse.rows(connection, list(found))]


def keys_like(connection: Connection, candidate_id: str, n: int, filters: Filters) -> dict[str, float]:
    """The `n` videos that pass the filters and whose titles lie nearest to a stored one's: id -> likeness, nearest first.

    Itself is left out, channels may come as often as they do; none where its title has no vector yet. Raises
    MilesError where there is no pgvector.
    """
    found = _stored(connection, candidate_id)
    if found is None:
        return {}
    return _nearest(connection, *found, n=n, filters=filters, per_channel=None, leave_out=[candidate_id])


def keys_to_title(
    connection: Connection,
    model: Embedder,
    title: str,
    n: int,
    filters: Filters = Filters(),  # noqa: B008  # frozen
) -> dict[str, float]:
    """The `n` videos that pass the filters and whose titles lie nearest to any words: id -> likeness, nearest first.

    Channels may come as often as they do. Raises MilesError where there is no pgvector.
    """
    name = encoder(model.manifest)
    if name is None or not title.strip():
        return {}
    return _nearest(connection, model.embed_titles([title])[0], name, n=n, filters=filters, per_channel=None)


def _nearest(
    connection: Connection,
    vector: np.ndarray,
    made_by: str,
    *,
    n: int,
    took_off: bool | None = None,
    filters: Filters,
    per_channel: int | None,
    leave_out: Collection[str] = (),
) -> dict[str, float]:
    """As `nearest`: id -> likeness, nearest first."""
    if not _has_table(connection):
        raise MilesError(unavailable(connection) or "")
    if not FINGERPRINT.fullmatch(made_by):
        raise ValueError(f"not the fingerprint of an encoder: {made_by!r}")
    outcome = {None: "true", True: f"c.outlier_multiple >= {TOOK_OFF}", False: f"c.outlier_multiple <= {DID_NOT}"}
    (table, values), (where, more) = browse.source(filters), browse.conditions(filters)
    where += f" AND {outcome[took_off]} AND c.candidate_id <> ALL(:leave_out)"
    values |= more | {"vector": _literal(vector), "leave_out": list(leave_out)}
    likeness = f"-(e.embedding::halfvec({len(vector)}) <#> CAST(:vector AS halfvec({len(vector)})))"
    order, one_by_one = f"{likeness} DESC", False
    if filters.active:
        # Postgres takes a filter for independent of the likeness. It is not, and a hundred thousand rows may be
        # walked over in vain; where few pass, they are told first and looked through one by one.
        few = connection.scalars(
            text(f"SELECT c.candidate_id FROM {table} AS c WHERE {where} LIMIT {FEW + 1}"), values
        ).all()
        if one_by_one := len(few) <= FEW:
            table, where, values = "candidates", "c.candidate_id = ANY(:few)", {**values, "few": few}
    if not one_by_one and (lists := _index_lists(connection, made_by)):
        # Relaxed: rows may come a little out of order where it has to look on; they are sorted below.
        probes = f"SET LOCAL ivfflat.probes = {math.ceil(lists * PROBED)}"
        run(connection, f"{probes}; SET LOCAL ivfflat.iterative_scan = relaxed_order")
        order = likeness.removeprefix("-")  # in these words the index knows it, and the fingerprint as a literal
    query = text(f"""
        SELECT c.candidate_id, c.channel_key, {likeness} AS likeness
        FROM title_embeddings AS e JOIN {table} AS c ON c.candidate_id = e.candidate_id
        WHERE e.encoder = '{made_by}' AND {where}
        ORDER BY {order} LIMIT :most
    """)
    most = n if per_channel is None else 4 * n
    while True:
        rows = connection.execute(query, {**values, "most": most})
        found = sorted(rows, key=lambda one: (-one.likeness, one.candidate_id))
        chosen = _diverse([(one.candidate_id, one.channel_key) for one in found], n, per_channel)
        if len(chosen) == n or len(found) < most or most > 1000 * n:
            break
        most *= 16  # one channel has them all: look further
    alike = {one.candidate_id: one.likeness for one in found}
    return {candidate_id: min(alike[candidate_id], 1.0) for candidate_id in chosen}


def _index_lists(connection: Connection, made_by: str) -> int:
    """Into how many lists the index has sorted this encoder's vectors; 0 where there is no index of them."""
    state = rollups.read(connection, ROLLUP) or {}
    return _lists(state["indexed"]) if state.get("encoder") == made_by and state["indexed"] else 0


def _diverse(found: Sequence[tuple[str, str | None]], n: int, per_channel: int | None) -> list[str]:
    """The first `n` ids, of each channel only so many; a video whose channel is not known is one of its own."""
    taken: dict[str, int] = {}
    chosen: list[str] = []
    for candidate_id, channel in found:
        of = channel or candidate_id
        taken[of] = taken.get(of, 0) + 1
        if per_channel is None or taken[of] <= per_channel:
            chosen.append(candidate_id)
        if len(chosen) == n:
            break
    return chosen


def _stored(connection: Connection, candidate_id: str) -> tuple[np.ndarray, str] | None:
    if not _has_table(connection):
        raise MilesError(unavailable(connection) or "")
    found = connection.execute(
        text("SELECT embedding::real[] AS vector, encoder FROM title_embeddings WHERE candidate_id = :id"),
        {"id": candidate_id},
    ).one_or_none()
    return (np.array(found.vector, dtype=np.float32), found.encoder) if found else None


def _has_table(connection: Connection) -> bool:
    return connection.scalar(text("SELECT to_regclass('title_embeddings') IS NOT NULL")) is True


def _literal(vector: np.ndarray) -> str:
    return "[" + ",".join(f"{x:.6g}" for x in vector.tolist()) + "]"


# --- keeping ----------------------------------------------------------------------------------------


def keep(connection: Connection, model: Embedder, titles: Mapping[str, str]) -> int:
    """Write the vectors of candidates (id -> title) that have none of this encoder and title; returns how many.

    The candidates have to be locked by the caller's transaction (as those just scored are) or be gone.
    """
    name = encoder(model.manifest)
    if name is None or not titles or not _has_table(connection):
        return 0
    hashes = {candidate_id: hashlib.md5(title.encode()).digest() for candidate_id, title in titles.items()}  # noqa: S324
    known = connection.execute(
        text("SELECT candidate_id, title_md5 FROM title_embeddings WHERE candidate_id = ANY(:ids) AND encoder = :name"),
        {"ids": list(titles), "name": name},
    )
    for candidate_id, title_md5 in known:
        if hashes[candidate_id] == title_md5.bytes:
            del hashes[candidate_id]
    new = sorted(hashes)
    if not new:
        return 0
    # Each distinct title once: the model remembers what it has encoded for the scores.
    vectors = model.embed_titles([titles[candidate_id] for candidate_id in new])
    run(
        connection,
        'CREATE TEMP TABLE embedded (candidate_id text COLLATE "C", title_md5 uuid, embedding halfvec) ON COMMIT DROP',
    )
    cursor, columns = db.psycopg_connection(connection).cursor(), ("candidate_id", "title_md5", "embedding")
    with copy(cursor, "embedded", columns, "(FORMAT binary)") as stream:
        _write(stream, [(candidate_id, hashes[candidate_id]) for candidate_id in new], vectors)
    written = run(
        connection,
        """
        INSERT INTO title_embeddings (candidate_id, encoder, title_md5, embedding)
        SELECT candidate_id, %(name)s, title_md5, embedding FROM embedded JOIN candidates USING (candidate_id)
        ORDER BY candidate_id
        ON CONFLICT (candidate_id) DO UPDATE SET
            encoder = excluded.encoder, title_md5 = excluded.title_md5, embedding = excluded.embedding
        """,
        {"name": name},
    ).rowcount
    run(connection, "DROP TABLE embedded")
    return written


def catch_up(model: Embedder, stop: Callable[[], bool] = lambda: False) -> int:
    """Vectors for candidates that were scored without (before pgvector, or with another encoder), then the index.

    Chunk by chunk in transactions of its own as the worker, so that an interrupted one goes on. Costs a lookup
    where nothing is missing. Returns how many vectors were written.
    """
    name, written = encoder(model.manifest), 0
    if name is None:
        return 0
    after = ""
    while not stop():
        with db.transaction("worker") as connection:
            if not _has_table(connection) or not _is_ours(connection):
                return written
            state = rollups.read(connection, ROLLUP) or {}
            if state.get("encoder") != name:
                state = {"encoder": name, "complete": False, "indexed": 0}
            missing = {} if state["complete"] else _missing(connection, name, after)
            if not missing:
                _index(connection, {**state, "complete": True}, model.manifest["inputs"]["text_width"])
                return written
            after = max(missing)
            written += keep(connection, model, missing)
            rollups.write(connection, ROLLUP, state)
    return written


def _is_ours(connection: Connection) -> bool:
    """Whether nobody else is catching up; they are kept from it until the end of the transaction."""
    return connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK}) is True


def _missing(connection: Connection, name: str, after: str) -> dict[str, str]:
    """The next candidates without a vector of this encoder: id -> title; locked, so that none goes away."""
    found = connection.execute(
        text(
            "SELECT candidate_id, title FROM candidates WHERE candidate_id > :after AND NOT EXISTS ("
            "SELECT FROM title_embeddings AS e WHERE e.candidate_id = candidates.candidate_id AND e.encoder = :name)"
            " ORDER BY candidate_id LIMIT :limit FOR KEY SHARE"
        ),
        {"after": after, "name": name, "limit": CHUNK},
    )
    return {row.candidate_id: row.title for row in found}


def _index(connection: Connection, state: dict[str, Any], width: int) -> None:
    """Make the index where there is none for so many vectors, and write down what there is."""
    count = connection.scalar(
        text("SELECT count(*) FROM title_embeddings WHERE encoder = :name"), {"name": state["encoder"]}
    )
    if count >= INDEX_FROM and count >= INDEX_AGAIN * state["indexed"]:
        connection.execute(
            text("SELECT index_title_embeddings(:name, :width, :lists)"),
            {"name": state["encoder"], "width": width, "lists": _lists(count)},
        )
        state = {**state, "indexed": count}
    if rollups.read(connection, ROLLUP) != state:
        rollups.write(connection, ROLLUP, state)


def _lists(rows: int) -> int:
    return min(max(rows // ROWS_FOR_A_LIST, 1), MOST_LISTS)


def _write(stream: "psycopg.Copy", keys: Sequence[tuple[str, bytes]], vectors: np.ndarray) -> None:
    """Rows of COPY's binary format: text would be four times as long, and slow to write and to read.

    https://www.postgresql.org/docs/current/sql-copy.html; a halfvec is its length, 0, and big-endian halves.
    """
    halves = vectors.astype(">f2")
    width = halves.shape[1].to_bytes(2, "big") + b"\0\0"
    stream.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for (candidate_id, title_md5), half in zip(keys, halves, strict=True):
        fields = (candidate_id.encode(), title_md5, width + half.tobytes())
        stream.write(b"\0\3" + b"".join(len(field).to_bytes(4, "big") + field for field in fields))
    stream.write(b"\xff\xff")
