"""Shared by the page tests: the app as a reader opens it, in this process, on a database of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

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
