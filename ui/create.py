"""What the Create pages share: cached reads, language names, a number with its line of context."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from miles import candidates, concepts, db, explain, lab, language_model, similar
from miles.browse import Row
from miles.explain import Explanation
from miles.features import LANGUAGES, PastVideo, ScoreInput
from miles.lab import KnownChannel, Verdict
from miles.remote import Told
from ui import cards, data, links, words

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
        st.markdown(f"### {value}")
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


def concept(one: concepts.Concept, place: int) -> None:
    """One concept as a card: its score, why, how to film it, and the videos that back it."""
    with st.container(border=True, height="stretch", gap="small", key=f"concept-{place}"):
        st.markdown(f"#### {words.plain(one.title)}")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f":primary[:material/bolt:] **{words.in_100(one.viral_score)}**",
                help=f"{words.MEANING['score']} Scored as a draft, from its title alone.",
                width="content",
            )
            st.caption(f"where {words.in_100(one.base_rate)} is ordinary", width="content")
        st.markdown(words.plain(one.why))
        st.caption(f"**Risk.** {words.plain(one.risk)}")
        with st.expander("How to film it", icon=":material/movie:"):
            st.markdown(f"**Hook.** {words.plain(one.hook)}")
            st.markdown("\n".join(f"{beat}. {words.plain(line)}" for beat, line in enumerate(one.outline, start=1)))
            st.markdown(f"**Thumbnail.** {words.plain(one.thumbnail_idea)}")
            st.caption(" ".join(f"\\#{words.plain(tag)}" for tag in one.hashtags))
        st.space("stretch")
        _backing(one.evidence, place)
        links.link(
            "pages/score_lab.py",
            label="Open in Score lab",
            icon=":material/science:",
            to={"title": one.title},
        )


def _backing(candidate_ids: Sequence[str], place: int) -> None:
    rows, _ = data.rows(tuple(candidate_ids))
    if not rows:
        st.caption(":orange[:material/link_off:] No collected video backs this one.")
        return
    st.caption(f"Backed by {words.plural(len(rows), 'video')}")
    cards.lines(rows, _backing_facts, key=f"backing-{place}")


def _backing_facts(row: Row) -> str:
    facts = [words.in_100(row.viral_score)] if row.viral_score is not None else []
    if row.outlier_multiple is not None:
        facts.append(f"{words.times(row.outlier_multiple)} usual")
    return " · ".join([*facts, words.plain(words.shorten(row.channel_name or "channel unknown", 24))])


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
