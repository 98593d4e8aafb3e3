"""The export of a filtered set: made when the button is clicked, never before."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from miles import db, export
from miles.browse import Filters, Sort

KINDS: dict[export.Format, str] = {"csv": "CSV", "parquet": "Parquet", "jsonl": "JSON lines"}
TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "jsonl": "application/jsonl"}


def button(filters: Filters, sort: Sort, many: str) -> None:
    """A popover that offers the whole filtered set (`many` in words) in each format."""
    with st.popover("Export", icon=":material/download:", key="export"):
        st.caption(f"{many[:1].upper()}{many[1:]} videos, with facts, counts, measures and scores.")
        for kind, name in KINDS.items():
            st.download_button(
                name,
                data=_maker(filters, sort, kind),
                file_name=f"miles-videos.{kind}",
                mime=TYPES[kind],
                key=f"export-{kind}",
                icon=":material/download:",
                on_click="ignore",
                width="stretch",
            )
        st.caption("From the command line: `python -m miles export --help`")


def _maker(filters: Filters, sort: Sort, kind: export.Format) -> Callable[[], bytes]:
    def make() -> bytes:
        # streamed to a file first: the rows of a large set must not lie in memory as Python objects
        with tempfile.TemporaryDirectory(prefix="miles-export-") as folder:
            path = Path(folder) / f"videos.{kind}"
            with db.transaction("viewer") as connection:
                export.to_file(connection, path, kind, filters=filters, sort=sort)
            return path.read_bytes()

    return make
