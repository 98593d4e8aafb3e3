"""What the Create pages share: cached reads, language names, a number with its line of context."""

from datetime import datetime

import streamlit as st

from miles import candidates, db, explain, lab, language_model, similar
from miles.explain import Explanation
from miles.features import LANGUAGES, PastVideo, ScoreInput
from miles.lab import KnownChannel, Verdict
from miles.remote import Told
from ui import data, words

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
CATEGORIES = sorted(candidates.CATEGORY_IDS)
LONGEST = 43_200  # seconds; a video's length that may be typed in


def language(width: int) -> str | None:
    """The choice of a language, or none; part of the address, under a name that no filter has: values outlive a page."""
    return st.selectbox(
        "Language",
        sorted(LANGUAGE_NAMES, key=LANGUAGE_NAMES.__getitem__),
        index=None,
        key="my_language",
        bind="query-params",
        format_func=LANGUAGE_NAMES.__getitem__,
        placeholder="Any",
        width=width,
    )


@st.cache_data(ttl=data.FRESH, max_entries=200, show_spinner=False)
def channels(search: str) -> list[KnownChannel]:
    with db.transaction("viewer") as connection:
        return lab.find_channels(connection, search)


@st.cache_data(ttl=data.FRESH, max_entries=100, show_spinner=False)
def history(channel_key: str, before: datetime | None = None) -> tuple[PastVideo, ...]:
    with db.transaction("viewer") as connection:
        return lab.history(connection, channel_key, before)


@st.cache_data(ttl=data.FRESH, max_entries=1, show_spinner=False)
def platforms() -> list[str]:
    return list(data.options().platforms)


def number(label: str, value: str, below: str, *, help: str) -> None:
    """A number with what it is above and what it compares with below."""
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.caption(label, help=help)
        st.markdown(f"## {value}")
        st.caption(below)


def multiple(verdict: Verdict) -> str:
    """The multiple and its interval: about 1.4× your usual (0.9–2.3×)."""
    if verdict.multiple is None:
        return words.UNKNOWN
    return f"{words.times(verdict.multiple)} ({words.interval(verdict.multiple_low, verdict.multiple_high)})"


def generator() -> str:
    """Who writes concepts here, as Markdown."""
    writer = language_model.configured()
    if writer is None:
        return (
            "Written offline from measured patterns and the topic's own words. For a language model, set "
            "`OPENAI_API_KEY` (and `OPENAI_BASE_URL`, `OPENAI_MODEL` for any compatible server) and restart."
        )
    return f"Written by **{words.plain(writer.name)}** at {words.plain(writer.place)}."


# Only whose drafts they are may find them in a cache.
@st.cache_data(ttl=data.SLOW, max_entries=20, show_spinner=False, scope="session")
def explanation(video: ScoreInput, version: str) -> Explanation:
    """Why the model in force (of this `version`) scores a draft as it does."""
    return explain.explain(data.model(), video)


@st.cache_data(ttl=data.SLOW, max_entries=20, show_spinner=False, scope="session")
def similar_to(title: str, version: str) -> similar.Contrast | str:
    """What became of videos with a title like this, or why that can't be told."""
    model = data.model()
    if isinstance(model, Told):
        return "The model answers from another computer, which gives scores but no vectors to compare titles by."
    with db.transaction("viewer") as connection:
        return similar.unavailable(connection) or similar.contrast_to_title(connection, model, title)
