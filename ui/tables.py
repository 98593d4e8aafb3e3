"""Candidates as a table: numbers that line up, one row for each; a click on a row opens the details."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from miles.browse import Row
from ui import cards, pictures, words


def candidates(rows: Sequence[Row], *, now: datetime) -> None:
    """One page of candidates."""
    column = st.column_config

    def open_clicked() -> None:
        if clicked := st.session_state["details"]:
            st.query_params["video"] = rows[clicked["row"]].candidate_id

    pictures.warm(rows)
    frame = pd.DataFrame(  # the score comes first: a phone shows no more than the picture, it and half of the title
        {
            "Picture": [cards.small_picture(row) for row in rows],
            "Score": [None if row.viral_score is None else row.viral_score * 100 for row in rows],
            "Title": [row.title for row in rows],
            "Details": ["Details"] * len(rows),
            "Usual": [row.outlier_multiple for row in rows],
            "n": pd.array([row.outlier_n if row.outlier_multiple is not None else None for row in rows], dtype="Int64"),
            "Velocity": [row.velocity for row in rows],
            "Growth": [list(row.growth) if len(row.growth) > 1 else None for row in rows],
            "Acceleration": [row.acceleration for row in rows],
            "Engagement": [None if row.engagement_rate is None else row.engagement_rate * 100 for row in rows],
            "Views": pd.array([row.views for row in rows], dtype="Int64"),
            "Age": [words.age(row.published_at, now) for row in rows],
            "Lifetime": [row.lifetime_velocity for row in rows],
            "Length": [words.duration(row.duration) for row in rows],
            "Channel": [row.channel_name for row in rows],
            "Category": [row.category for row in rows],
            "Language": [row.language for row in rows],
            "Original": [cards.original(row) for row in rows],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        height=min(44 * len(rows) + 40, 900),
        row_height=44,
        key="table",
        placeholder=words.UNKNOWN,
        alt="Candidates, one in each row",
        column_config={
            "Picture": column.ImageColumn("", width=84, pinned=True),
            "Title": column.TextColumn(width=300, pinned=True),
            "Details": column.ButtonColumn("", width=84, type="tertiary", on_click=open_clicked, key="details"),
            "Score": column.ProgressColumn(
                "In 100", min_value=0, max_value=100, format="%.0f", help=words.MEANING["score"], width=110, pinned=True
            ),
            "Usual": column.NumberColumn("× usual", format="%.2f×", help=words.MEANING["outlier"], width="small"),
            "n": column.NumberColumn("of n", help="Other videos of the channel that it is compared with.", width=60),
            "Velocity": column.NumberColumn(
                "Views a day", format="compact", help=words.MEANING["velocity"], width="small"
            ),
            "Growth": column.LineChartColumn("Growth", help="Views over the days it was seen.", width="small"),
            "Acceleration": column.NumberColumn(
                "Acceleration", format="compact", help=words.MEANING["acceleration"], width="small"
            ),
            "Engagement": column.NumberColumn(format="%.1f%%", help=words.MEANING["engagement"], width="small"),
            "Views": column.NumberColumn(format="compact", help=words.MEANING["views"], width="small"),
            "Age": column.TextColumn(width="small", help="Time since it was published."),
            "Lifetime": column.NumberColumn(
                "Lifetime a day", format="compact", help=words.MEANING["lifetime"], width="small"
            ),
            "Length": column.TextColumn(width="small"),
            "Original": column.LinkColumn(display_text="Open", width="small"),
        },
    )
