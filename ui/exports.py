"""The export of a filtered set: links to the whole of it, which the server streams (`miles.downloads`)."""

from datetime import date
from urllib.parse import urlencode

import streamlit as st

from miles import addresses, export
from miles.addresses import Asked

KINDS: dict[export.Format, str] = {"csv": "CSV", "parquet": "Parquet", "jsonl": "JSON lines"}


def button(asked: Asked, published_from: date | None, many: str) -> None:
    """A popover that offers the whole filtered set (`many` in words) in each format."""
    with st.popover("Export", icon=":material/download:", key="export"):
        st.caption(f"{many} in this order, with facts, counts, measures, scores, and where each comes from.")
        for kind, name in KINDS.items():
            st.link_button(name, link(kind, asked, published_from), icon=":material/download:", width="stretch")
        st.caption("From the command line: `python -m miles export --help`")


def link(kind: export.Format, asked: Asked, published_from: date | None = None) -> str:
    """Where the file is, relative to a page: it stands beside the pages, wherever those are served."""
    parts = urlencode(addresses.write(asked, published_from), doseq=True)
    return f"./export/videos.{kind}?{parts}" if parts else f"./export/videos.{kind}"
