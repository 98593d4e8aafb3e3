"""Jobs get done even where the dashboard was started alone: it then starts a worker of its own."""

import logging
from datetime import timedelta

import streamlit as st

from miles import db, jobs, settings, up

logger = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=1)  # a worker that died is missed after 30 s without a sign of life


@st.cache_resource(ttl=LOOK_AGAIN, max_entries=1, show_spinner=False)
def ensure() -> None:
    """Start a worker that ends with this process, unless one lives anywhere (or it was told not to)."""
    if not settings.load().start_worker:
        return
    with db.transaction("viewer") as connection:
        alive = jobs.workers_alive(connection)
    if alive == 0:
        logger.info("No worker is alive; starting one, process %s", up.start_worker().pid)
