"""Shared by the page tests: the app as a reader opens it, in this process, on a database of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import streamlit as st
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db, rollups, sample, settings
from tests import conftest as shared

HOME = Path(__file__).resolve().parents[2] / "Home.py"
PATIENCE = 60  # seconds for one run; the machine may be busy, and what is slow is measured in benchmarks/


@pytest.fixture(autouse=True)
def no_cached_answers() -> Iterator[None]:
    """Each test asks its own database, not what another one left in Streamlit's caches."""
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def visit() -> Callable[..., AppTest]:
    """Opens a page by the name of its file, with the parameters of an address."""

    def visit(name: str, **address: str | list[str]) -> AppTest:
        app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
        for key, value in address.items():
            app.query_params[key] = value
        return app.switch_page(f"pages/{name}.py").run() if name != "home" or address else app

    return visit


@pytest.fixture(scope="session")
def sample_template(server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database that holds the sample, with scores; made once, cloned for each test."""
    name = "template_sample"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", server.replace("/postgres?", f"/{name}?"))
        patch.setenv("MILES_HOME", str(tmp_path_factory.mktemp("sample")))
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
def sample_database(server: str, sample_template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that holds the sample, and Miles pointed at it."""
    yield from shared._database(server, sample_template, monkeypatch)
