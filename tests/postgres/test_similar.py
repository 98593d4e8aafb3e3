"""Vectors of titles in the database: when they are made, what is nearest, and what is said where there is no pgvector."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from sqlalchemy import make_url, text
from tables import rows

from miles import db, similar
from miles.browse import Filters
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.errors import MilesError
from miles.features import ScoreInput
from miles.score_candidates import score_pending
from miles.scoring import Score
from miles.store import observe

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SUBJECTS = ("bread", "trains", "guitars", "cats", "chess")
WIDTH = 8


class Reader:
    """A model that reads which SUBJECTS a title names, and scores all alike; remembers what it was asked to embed."""

    version = "reader-1"

    def __init__(self, name: str = "a", width: int = WIDTH) -> None:
        self.manifest = {
            "files": {"text.onnx": {"sha256": name}, "tokenizer.json": {"sha256": "t"}},
            "inputs": {"max_tokens": 64, "text_width": width},
        }
        self.embedded: list[str] = []

    def embed_titles(self, titles: Sequence[str]) -> np.ndarray:
        self.embedded += titles
        return np.array([self.vector(title) for title in titles], dtype=np.float32)

    def vector(self, title: str) -> np.ndarray:
        named = [float(subject in title) for subject in SUBJECTS]
        rest = [0.01 * len(title), *[0.0] * (self.manifest["inputs"]["text_width"] - len(SUBJECTS) - 1)]
        whole = np.array([*named, *rest])
        return whole / np.linalg.norm(whole)

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        return [
            Score(one.key, one.mode, 0.5, None, 10.0, 1.0, 100.0, 5.0, 0.1, self.version, None)
            for one in inputs
        ]  # fmt: skip


def put(titles: dict[str, str], channel: Callable[[str], str] = lambda video: video, **facts) -> None:
    """Videos with these titles (video_id -> title), each of its own channel."""
    published = NOW - timedelta(days=9)
    with db.transaction("worker") as connection:
        observe(
            connection,
            [
                Observation(
                    Candidate(
                        "youtube", video, title, channel=Channel("youtube", channel(video)), published_at=published, **facts
                    ),
                    Snapshot(published + timedelta(days=2), 100),
                )
                for video, title in titles.items()
            ],
        )  # fmt: skip


def measured(multiples: dict[str, float | None]) -> None:
    with db.transaction("worker") as connection:
        for video, multiple in multiples.items():
            connection.execute(
                text("UPDATE candidates SET outlier_multiple = :multiple, outlier_n = 9 WHERE video_id = :video"),
                {"multiple": multiple, "video": video},
            )


def found(title: str, model: Reader | None = None, **wanted) -> list[str]:
    with db.transaction("viewer") as connection:
        return [near.row.video_id for near in similar.to_title(connection, model or Reader(), title, **wanted)]


@pytest.fixture
def kitchen(database: str) -> Reader:
    """Two videos about bread, one about both, two about other things; scored."""
    put({"b1": "bread", "b2": "more bread", "both": "bread and cats", "t": "night trains", "g": "old guitars"})
    model = Reader()
    score_pending(model)  # type: ignore[arg-type]
    return model


# ------------------------------------------------------------------------------------------- keeping


def test_the_vectors_are_written_with_the_scores_exactly_as_the_model_gave_them(kitchen: Reader) -> None:
    stored = rows("SELECT candidate_id, encoder, title_md5, embedding::real[] FROM title_embeddings ORDER BY 1")
    assert len(stored) == 5
    for candidate_id, encoder, title_md5, vector in stored:
        [(title, md5)] = rows(f"SELECT title, md5(title)::uuid FROM candidates WHERE candidate_id = '{candidate_id}'")
        assert (encoder, title_md5) == (similar.encoder(kitchen.manifest), uuid.UUID(str(md5)))
        assert np.array_equal(np.array(vector, np.float16), kitchen.vector(title).astype(np.float32).astype(np.float16))


def test_a_score_that_is_not_written_leaves_no_vector(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put({"b": "bread"})

    def fail(*_: object) -> int:
        raise RuntimeError("no space left")

    monkeypatch.setattr(similar, "_write", fail)
    with pytest.raises(RuntimeError, match="no space left"):
        score_pending(Reader())  # type: ignore[arg-type]
    assert rows("SELECT count(viral_score) FROM candidates") == [(0,)]
    assert rows("SELECT count(*) FROM title_embeddings") == [(0,)]


def test_only_a_changed_title_is_embedded_again(kitchen: Reader) -> None:
    kitchen.embedded.clear()
    put({"b1": "bread", "t": "slow trains"})
    measured({})
    with db.transaction("worker") as connection:  # as another look at the counts would
        connection.execute(text("UPDATE candidates SET changed_at = clock_timestamp()"))
    assert score_pending(kitchen) == 5  # type: ignore[arg-type]
    assert kitchen.embedded == ["slow trains"]
    assert found("slow trains")[0] == "t"


def test_a_new_model_with_the_same_encoder_leaves_the_vectors_and_one_with_another_makes_them_anew(
    kitchen: Reader,
) -> None:
    same = Reader()
    same.version = "reader-2"
    assert score_pending(same) == 5  # type: ignore[arg-type]
    assert same.embedded == []
    wider = Reader("b", width=12)
    wider.version = "reader-3"
    assert score_pending(wider) == 5  # type: ignore[arg-type]
    assert len(wider.embedded) == 5
    assert rows("SELECT DISTINCT encoder, vector_dims(embedding) FROM title_embeddings") == [
        (similar.encoder(wider.manifest), 12)
    ]
    assert found("bread", wider)[0] == "b1"
    assert found("bread", same) == []  # nothing of that encoder is left; never compared with another's


@pytest.mark.parametrize("changed", ["text.onnx", "tokenizer.json", "max_tokens", "text_width"])
def test_whatever_changes_the_vectors_changes_the_fingerprint(changed: str) -> None:
    other = Reader()
    before = similar.encoder(other.manifest)
    if changed in other.manifest["files"]:
        other.manifest["files"][changed] = {"sha256": "other"}
    else:
        other.manifest["inputs"][changed] = 7
    assert similar.encoder(other.manifest) != before


def test_a_model_without_an_encoder_of_its_own_scores_and_keeps_no_vectors(database: str) -> None:
    put({"b": "bread"})
    remote = Reader()
    remote.manifest = {"version": "remote"}
    assert score_pending(remote) == 1  # type: ignore[arg-type]
    assert rows("SELECT count(*) FROM title_embeddings") == [(0,)]


def test_what_was_scored_without_vectors_gets_them_with_the_next_scoring(
    kitchen: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "CHUNK", 2)
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM title_embeddings WHERE candidate_id <> 'youtube:b1'"))
        connection.execute(text("DELETE FROM rollups WHERE name = :name"), {"name": similar.ROLLUP})
    kitchen.embedded.clear()
    asked = iter([False, True, True])
    assert similar.catch_up(kitchen, lambda: next(asked)) == 2  # told to stop after the first chunk
    assert score_pending(kitchen) == 0  # type: ignore[arg-type]  # nothing to score, two vectors to make
    assert len(kitchen.embedded) == 4
    assert rows("SELECT count(*) FROM title_embeddings") == [(5,)]
    assert similar.catch_up(kitchen) == 0


def test_a_deleted_video_takes_its_vector_along(kitchen: Reader) -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM candidates WHERE video_id = 'b1'"))
    assert found("bread") == ["b2", "both", "t", "g"]


# -------------------------------------------------------------------------------------------- asking


def test_the_nearest_come_first_with_how_near_they_are(kitchen: Reader) -> None:
    with db.transaction("viewer") as connection:
        near = similar.to_title(connection, kitchen, "bread")
    assert [one.row.video_id for one in near] == ["b1", "b2", "both", "t", "g"]
    assert near[0].likeness == pytest.approx(1.0, abs=1e-3)
    assert near[2].likeness == pytest.approx(
        float(kitchen.vector("bread") @ kitchen.vector("bread and cats")), abs=1e-3
    )
    assert all(one.likeness <= 1 for one in near)


def test_a_stored_video_is_not_its_own_neighbour(kitchen: Reader) -> None:
    with db.transaction("viewer") as connection:
        assert [one.row.video_id for one in similar.to_video(connection, "youtube:b1", n=2)] == ["b2", "both"]
        assert similar.to_video(connection, "youtube:nobody") == []


def test_what_took_off_is_measured_against_its_channel_and_never_the_score(kitchen: Reader) -> None:
    measured({"b1": 1.5, "b2": 0.9, "both": 0.91, "t": None, "g": 40.0})
    assert found("bread", took_off=True) == ["b1", "g"]
    assert found("bread", took_off=False) == ["b2"]
    with db.transaction("viewer") as connection:
        contrast = similar.contrast_to_video(connection, "youtube:both")
    assert [near.row.video_id for near in contrast.took_off] == ["b1", "g"]
    assert [near.row.video_id for near in contrast.did_not] == ["b2"]


def test_each_channel_is_named_once_however_many_videos_it_has(database: str) -> None:
    put({f"same{n}": f"bread {n}" for n in range(60)}, channel=lambda _: "baker")
    put({"other": "cats on trains with guitars"})
    score_pending(Reader())  # type: ignore[arg-type]
    one, other = found("bread", n=2)
    assert one.startswith("same")
    assert other == "other"
    assert len(found("bread", n=30, per_channel=None)) == 30
    assert found("bread", n=3, per_channel=2)[-1] == "other"


def test_filters_narrow_what_is_near(kitchen: Reader) -> None:
    put({"m": "bread song"}, category="Music")
    score_pending(kitchen)  # type: ignore[arg-type]
    assert found("bread", filters=Filters(categories=("Music",))) == ["m"]
    assert found("bread", filters=Filters(text="trains")) == ["t"]
    assert found("bread", filters=Filters(channel="youtube:g")) == ["g"]
    assert found("bread", filters=Filters(text="nothing like it")) == []


@pytest.mark.parametrize("title", ["", " ", "\x00", "🍞" * 500, "'; DROP TABLE title_embeddings; --"])
def test_any_title_may_be_asked_about(kitchen: Reader, title: str) -> None:
    assert len(found(title)) in {0, 5}


def test_a_made_up_fingerprint_never_reaches_the_database(kitchen: Reader) -> None:
    with db.transaction("viewer") as connection, pytest.raises(ValueError, match="fingerprint"):
        similar.nearest(connection, np.ones(8), "' OR true --")


# ------------------------------------------------------------------------------------------ the index


@pytest.fixture
def indexed(database: str, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """600 videos in an index of 60 lists."""
    monkeypatch.setattr(similar, "INDEX_FROM", 500)
    monkeypatch.setattr(similar, "ROWS_FOR_A_LIST", 10)
    put({f"v{n}": " ".join((SUBJECTS[n % 5], SUBJECTS[n % 4], "!" * (n % 17))) for n in range(600)})
    model = Reader()
    score_pending(model)  # type: ignore[arg-type]
    return model


def plan(model: Reader, monkeypatch: pytest.MonkeyPatch, **wanted) -> str:
    """How Postgres would find what `nearest` asks for, reading whole tables only where there is no other way."""
    with db.transaction("viewer") as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        asked: list[tuple] = []
        execute = connection.execute
        monkeypatch.setattr(connection, "execute", lambda *given: (asked.append(given), execute(*given))[1])
        similar.to_title(connection, model, "bread", **wanted)
        query, values = next(given for given in asked if "likeness" in str(given[0]))
        return "\n".join(execute(text(f"EXPLAIN {query}"), values).scalars())


def test_many_vectors_get_an_index_which_finds_what_looking_at_each_finds(
    indexed: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows("SELECT reloptions FROM pg_class WHERE relname = 'title_embeddings_near'") == [(["lists=60"],)]
    assert "title_embeddings_near" in plan(indexed, monkeypatch)
    through_index = found("bread", n=50)
    monkeypatch.setattr(similar, "_index_lists", lambda *_: 0)
    assert "title_embeddings_near" not in plan(indexed, monkeypatch)
    assert len(set(through_index) & set(found("bread", n=50))) >= 40


def test_a_filter_that_few_pass_is_answered_in_full(indexed: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    far = {f"far{n}": f"chess problem {n}" for n in range(7)}
    put(far, category="Education")
    score_pending(indexed)  # type: ignore[arg-type]
    only = Filters(categories=("Education",))
    assert set(found("bread", n=20, filters=only)) == set(far)
    monkeypatch.setattr(similar, "FEW", 0)  # the index goes on looking until it has them
    assert set(found("bread", n=20, filters=only)) == set(far)


def test_the_index_is_made_again_when_there_are_many_more(indexed: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "INDEX_AGAIN", 1.5)
    put({f"w{n}": f"bread {n}" for n in range(200)})
    score_pending(indexed)  # type: ignore[arg-type]
    assert rows("SELECT reloptions FROM pg_class WHERE relname = 'title_embeddings_near'") == [(["lists=60"],)]
    put({f"x{n}": f"cats {n}" for n in range(100)})
    score_pending(indexed)  # type: ignore[arg-type]
    assert rows("SELECT reloptions FROM pg_class WHERE relname = 'title_embeddings_near'") == [(["lists=90"],)]


def test_another_encoder_gets_an_index_of_its_own(indexed: Reader) -> None:
    other = Reader("b", width=10)
    other.version = "reader-b"
    score_pending(other)  # type: ignore[arg-type]
    [(definition,)] = rows("SELECT pg_get_indexdef('title_embeddings_near'::regclass)")
    assert "halfvec(10)" in definition
    assert str(similar.encoder(other.manifest)) in definition
    assert len(found("bread", other)) == 6


# ---------------------------------------------------------------------------------------- no pgvector


@pytest.fixture
def without_pgvector(server: str, empty_database: str) -> str:
    """A database whose owner, no superuser, is not let create the extension; Miles pointed at it and migrated."""
    name = make_url(empty_database).database
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            b"DO $$ BEGIN CREATE ROLE plain_owner LOGIN CREATEROLE;"
            b" EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )  # fmt: skip
        # the roles were made by another login of this server
        connection.execute(b"GRANT miles_viewer, miles_operator, miles_worker TO plain_owner")
        connection.execute(f"ALTER DATABASE {name} OWNER TO plain_owner".encode())
    return empty_database


@pytest.fixture
def as_plain_owner(without_pgvector: str, monkeypatch: pytest.MonkeyPatch) -> str:
    from miles import settings

    db.close()
    monkeypatch.setenv("DATABASE_URL", without_pgvector.replace("postgres:@", "plain_owner:@"))
    settings.load.cache_clear()
    db.migrate()
    return without_pgvector


def test_without_pgvector_everything_is_scored_and_similarity_says_what_is_missing(as_plain_owner: str) -> None:
    put({"b": "bread", "c": "more bread"})
    assert score_pending(Reader()) == 2  # type: ignore[arg-type]
    assert rows("SELECT count(viral_score), to_regclass('title_embeddings')::text FROM candidates") == [(2, None)]
    with db.transaction("viewer") as connection:
        reason = similar.unavailable(connection)
    assert reason
    assert "pgvector 0.8" in reason
    for ask in (
        lambda connection: similar.to_title(connection, Reader(), "bread"),
        lambda connection: similar.to_video(connection, "youtube:b"),
        lambda connection: similar.contrast_to_video(connection, "youtube:b"),
    ):
        with db.transaction("viewer") as connection, pytest.raises(MilesError, match="CREATE EXTENSION vector"):
            ask(connection)


def test_a_server_that_gets_pgvector_later_is_caught_up_with(as_plain_owner: str) -> None:
    put({"b": "bread", "c": "more bread"})
    score_pending(Reader())  # type: ignore[arg-type]
    with psycopg.connect(as_plain_owner, autocommit=True) as connection:  # a superuser does it
        connection.execute(b"CREATE EXTENSION vector")
    assert db.migrate() == []
    with db.transaction("viewer") as connection:
        reason = similar.unavailable(connection)
    assert reason
    assert "python -m miles score" in reason
    assert score_pending(Reader()) == 0  # type: ignore[arg-type]
    assert found("bread") == ["b", "c"]


def test_an_extension_that_was_there_before_miles_serves_every_role(as_plain_owner: str) -> None:
    with psycopg.connect(as_plain_owner, autocommit=True) as connection:
        connection.execute(b"CREATE EXTENSION vector")
        # what 0004_roles does to all functions that it finds
        connection.execute(b"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
        connection.execute(b"ALTER ROLE plain_owner SUPERUSER")
    try:
        db.migrate()
        put({"b": "bread"})
        score_pending(Reader())  # type: ignore[arg-type]
        assert found("bread") == ["b"]
    finally:
        with psycopg.connect(as_plain_owner, autocommit=True) as connection:
            connection.execute(b"ALTER ROLE plain_owner NOSUPERUSER")


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_vectors_are_the_workers(kitchen: Reader, role: db.Role) -> None:
    for statement in (
        "DELETE FROM title_embeddings",
        "SELECT index_title_embeddings('a', 8, 1)",
        "SELECT ensure_title_embeddings()",
    ):
        with pytest.raises(Exception, match="permission denied"), db.transaction(role) as connection:
            connection.execute(text(statement))
