"""Jobs get done even where the dashboard was started alone: it then starts a worker of its own."""

import atexit
import logging
from datetime import timedelta

import streamlit as st

from miles import db, jobs, settings, up

logger = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=1)  # a worker that died is missed after 30 s without a sign of life


@st.cache_resource(show_spinner=False)
def _own() -> list[up.Child]:
    """The workers that this process has started: none or one, the newest last."""
    return []


@st.cache_data(ttl=LOOK_AGAIN, max_entries=1, show_spinner=False)
def ensure() -> None:
    """Start a worker that ends with this process, unless one lives anywhere (or it was told not to)."""
    if not settings.load().start_worker or any(worker.running() for worker in _own()):
        return
    with db.transaction("viewer") as connection:
        if jobs.workers_alive(connection):
            return
    logger.info("No worker is alive; starting one")
    _own()[:] = [up.start_worker()]


def stop() -> None:
    """End the worker that this process has started, if any."""
    for worker in _own():
        worker.stop()
    _own().clear()


atexit.register(stop)
