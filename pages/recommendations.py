"""Recommendations: a topic and a vibe in, concepts out, each with its own score and the videos that back it."""

import streamlit as st

from miles import concepts, db, drafts, language_model, recommend, settings
from miles.errors import ConceptsUnavailable, MilesError
from ui import cards, create, data, page, words

VIBES = ("Funny", "Calm", "Dramatic", "Educational", "Personal", "Energetic")

user = settings.load().user
writer = language_model.configured()
page.header(
    "Recommendations",
    "A topic and a vibe in, concepts out: each scored, each backed by collected videos.",
    help="More concepts are written than shown: they are scored as drafts, copies of known titles are left out, "
    "and the best that differ from each other stay.",
)

with st.form("request"):
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        topic = st.text_input(
            "Topic", key="topic", bind="query-params", placeholder="street food", max_chars=200, width=270
        )
        own = st.text_input(
            "Vibe in your own words",
            key="mood",
            bind="query-params",
            placeholder="like a heist film",
            max_chars=200,
            width=210,
        )
        language = create.language(width=140)
        platform = st.selectbox(
            "Platform",
            create.platforms(),
            index=None,
            key="my_platform",
            bind="query-params",
            format_func=words.platform,
            placeholder="Any",
            width=130,
        )
        number = st.number_input(
            "Concepts", 1, recommend.MOST_CONCEPTS, 5, key="number", bind="query-params", width=130
        )
    vibe = st.pills("Vibe", VIBES, key="vibe", bind="query-params")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        asked = st.form_submit_button("Get concepts", type="primary", icon=":material/lightbulb:")
        st.caption(create.generator(), width="stretch")

failed = st.session_state.get("concepts_failed")
offline = st.session_state.pop("write_offline", False)
if failed and not asked and not offline:
    st.error(words.plain(failed), title="The language model gave no concepts", icon=":material/error:")
    st.button(
        "Write them offline",
        icon=":material/wifi_off:",
        on_click=lambda: st.session_state.update(write_offline=True),
    )

if asked or offline:
    st.session_state.pop("concepts_failed", None)
    st.session_state.pop("concepts", None)
    progress = st.empty()
    with progress.status("Looking for videos on the topic") as status:
        try:
            st.session_state["concepts"] = recommend.recommend(
                data.model(),
                concepts.Request(
                    topic,
                    ", ".join(part for part in (vibe, own.strip()) if part),
                    platform=platform,
                    language=language,
                    number=int(number),
                ),
                user_id=user,
                offline=offline,
                on_progress=lambda step: status.update(label=step),
            )
        except ConceptsUnavailable as error:
            st.session_state["concepts_failed"] = str(error)
            st.rerun()
        except MilesError as error:
            st.session_state["concepts_refused"] = str(error)
    progress.empty()
    if refused := st.session_state.pop("concepts_refused", None):
        st.warning(words.plain(refused), icon=":material/edit:")

made: concepts.Recommendation | None = st.session_state.get("concepts")
if made is not None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(
            f"{words.plural(len(made.concepts), 'concept')} on {words.plain(made.topic)}"
            + (f", {words.plain(made.vibe.lower())}" if made.vibe else ""),
            anchor=False,
            width="stretch",
        )
        name = f"concepts-{made.query_id}"
        st.download_button(
            "Markdown", concepts.to_markdown(made), f"{name}.md", "text/markdown", icon=":material/download:"
        )
        st.download_button("CSV", concepts.to_csv(made), f"{name}.csv", "text/csv", icon=":material/download:")
    st.caption(words.plain(made.note) + (f" {made.usage.seconds:.0f} s." if made.usage.requests else ""))
    with st.grid(2, min_column_width=380, gap="small") as cells:
        for place, concept in enumerate(made.concepts):
            with cells.cell():
                create.concept(concept, place)

with db.transaction("viewer", user) as connection:
    earlier = drafts.queries(connection, limit=12)
if earlier:
    with st.expander("Earlier requests", icon=":material/history:"):
        for query in earlier:
            with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"query-{query.query_id}"):
                with st.container(gap=None, width="stretch"):
                    st.markdown(
                        f"**{words.plain(query.topic)}**" + (f" · {words.plain(query.vibe)}" if query.vibe else "")
                    )
                    st.caption(words.plain(" / ".join(query.titles)))
                st.caption(f"{words.plain(query.generator)} · {words.ago(query.asked_at, page.now())}", width="content")
                if st.button(
                    "Delete",
                    key=f"forget-{query.query_id}",
                    icon=":material/delete:",
                    type="tertiary",
                    help="Delete it",
                ):
                    with db.transaction("viewer", user) as connection:
                        drafts.delete_query(connection, query.query_id)
                    st.rerun()
cards.show_open()
