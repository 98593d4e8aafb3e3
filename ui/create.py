"""What the Create pages share: cached reads, language names, a number with its line of context."""

from collections.abc import Sequence

import streamlit as st

from miles import db, lab, recommend
from miles.features import LANGUAGES, PastVideo
from miles.lab import KnownChannel, Verdict
from ui import charts, data, words

LANGUAGE_NAMES = dict(
    zip(
        LANGUAGES,
        (
            *("English", "Spanish", "Arabic", "Japanese", "Russian", "Thai", "Indonesian", "French", "German"),
            *("Portuguese", "Korean", "Hindi", "Vietnamese", "Turkish", "Italian", "Chinese", "Polish", "Ukrainian"),
            *("Urdu", "Bengali", "Telugu", "Tamil", "Dutch", "Persian"),
        ),
        strict=True,
    )
)
MOST_DRAWN = 15  # titles in a chart; more rows are read better in the table


@st.cache_data(ttl=data.FRESH, max_entries=200, show_spinner=False)
def channels(search: str) -> list[KnownChannel]:
    with db.transaction("viewer") as connection:
        return lab.find_channels(connection, search)


@st.cache_data(ttl=data.FRESH, max_entries=100, show_spinner=False)
def history(channel_key: str) -> tuple[PastVideo, ...]:
    with db.transaction("viewer") as connection:
        return lab.history(connection, channel_key)


@st.cache_data(ttl=data.FRESH, max_entries=1, show_spinner=False)
def platforms() -> list[str]:
    return list(data.options().platforms)


def number(label: str, value: str, below: str, *, help: str) -> None:
    """A number with what it is above and what it compares with below."""
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.caption(label, help=help)
        st.markdown(f"### {value}")
        st.caption(below)


def multiple(verdict: Verdict) -> str:
    """The multiple and its interval: about 1.4× your usual (0.9–2.3×)."""
    if verdict.multiple is None:
        return words.UNKNOWN
    return f"{words.times(verdict.multiple)} ({words.interval(verdict.multiple_low, verdict.multiple_high)})"


def compared(verdicts: Sequence[Verdict]) -> None:
    """A ranked table of titles, and their intervals against the usual where a channel tells it."""
    column = st.column_config
    st.dataframe(
        {
            "Rank": list(range(1, len(verdicts) + 1)),
            "Title": [one.title for one in verdicts],
            "Score": [one.viral_score * 100 for one in verdicts],
            "Base": [
                words.against_base(one.viral_score, one.base_rate).removesuffix(" the base rate") for one in verdicts
            ],
            "Usual": [multiple(one) for one in verdicts],
            "Views": [words.count(one.views) for one in verdicts],
            "Interval": [words.interval(one.views_low, one.views_high, "") for one in verdicts],
        },
        hide_index=True,
        height=min(36 * len(verdicts) + 38, 480),
        key="compared",
        alt="Titles, the best scored first",
        column_config={
            "Rank": column.NumberColumn("#", width=40),
            "Title": column.TextColumn(width="large"),
            "Score": column.ProgressColumn(
                "Score, in 100", min_value=0, max_value=100, format="%.0f", help=words.MEANING["score"], width="small"
            ),
            "Base": column.TextColumn("× base rate", help=words.MEANING["base_rate"], width="small"),
            "Usual": column.TextColumn(
                "× your usual", help="Against the channel's median; 8 of 10 outcomes lie inside.", width="small"
            ),
            "Views": column.TextColumn("Views, first day", width="small"),
            "Interval": column.TextColumn("8 of 10 inside", width="small"),
        },
    )
    if verdicts[0].multiple is None or len(verdicts) > MOST_DRAWN:
        return
    charts.show(
        charts.intervals(
            [words.shorten(one.title, 34) for one in verdicts],
            [one.multiple or 1.0 for one in verdicts],
            [one.multiple_low or 1.0 for one in verdicts],
            [one.multiple_high or 1.0 for one in verdicts],
            no_effect=1.0,
            clear=[(one.multiple_low or 0) > 1 or (one.multiple_high or 2) < 1 for one in verdicts],
            labels=[words.times(one.multiple) for one in verdicts],
            hover=[f"{one.title}<br>{multiple(one)} the usual".replace("<br>", " – ") for one in verdicts],
            axis="times your usual (dotted: your usual)",
            log=True,
        ),
        title=_overlap(verdicts),
        caption=f"{len(verdicts)} titles; the bars hold 8 of 10 outcomes. Grey: the interval holds your usual.",
        key="multiples",
    )


def _overlap(verdicts: Sequence[Verdict]) -> str:
    """What the intervals say together."""
    best, last = verdicts[0], verdicts[-1]
    if (best.multiple_low or 0) > (last.multiple_high or 0):
        return "The best title stands clear of the last one"
    return "The intervals overlap: the titles differ less than a video's luck"


def generator() -> str:
    """Who writes concepts here, as Markdown."""
    writer = recommend.language_model()
    if writer is None:
        return (
            "Written offline from measured patterns and the topic's own words. For a language model, set "
            "`OPENAI_API_KEY` (and `OPENAI_BASE_URL`, `OPENAI_MODEL` for any compatible server) and restart."
        )
    return f"Written by **{words.plain(writer.name)}** at {words.plain(writer.place)}."
