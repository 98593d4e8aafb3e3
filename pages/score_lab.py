"""Score lab: titles × thumbnails in, a ranked grid of chances with intervals and ties out; drafts and what became of them."""

import streamlit as st

from miles import candidates, lab, settings
from miles.errors import MilesError
from ui import cards, create, data, links, page, score_lab, words

user = settings.load().user
page.header(
    "Score lab",
    "What the model expects of a video before it is published. One variant is judged, several are compared.",
    help=f"{data.where_scored()} A score is a chance among videos like it, not a promise for this one.",
)

concept = score_lab.begun_with(user)
form, result = st.columns([5, 6], gap="large")
with form:
    address = st.text_input(
        "Begin with a published video",
        key="source",
        bind="query-params",
        placeholder="Its address, or leave this empty",
        help="Its title, thumbnail, channel and facts are filled in from what Miles collected.",
    )
    known = score_lab.prefill(address)
    draft = st.text_input(
        "Title",
        key="draft",
        bind="query-params",
        live="250ms",
        placeholder="I tried street food in 24 hours",
        help="Scored while you type.",
    )
    typed = st.text_area(
        "More titles, one a line",
        key="title",
        bind="query-params",
        height=96,
        placeholder="The stall that never closes\nStreet food under one dollar",
        help=f"Up to {lab.MOST_TITLES} titles, also pasted from a spreadsheet. The address of this page holds them: share it,"
        " or keep it. Scored when you leave the field (Ctrl + Enter).",
    )
    with st.expander("Titles from a file", icon=":material/table:"):
        st.file_uploader(
            "CSV with a column “title”", type=["csv", "tsv", "txt"], key="table", on_change=score_lab.load_table,
            max_upload_size=5,
        )  # fmt: skip
        score_lab.table_said()
    uploads = st.file_uploader(
        "Thumbnails",
        type=score_lab.TYPES,
        accept_multiple_files=True,
        max_upload_size=10,
        key="thumbnails",
        help=f"Up to {lab.MOST_PICTURES}; every one is judged with every title.",
    )
    with st.container(horizontal=True, gap="small"):
        search = st.text_input(
            "Your channel",
            key="my_channel",
            bind="query-params",
            placeholder="Part of its name",
            help="A channel that Miles has collected. Its earlier videos tell what is usual for you.",
            width="stretch",
        )
        found = create.channels(search) if search.strip() else []
        channel = (
            st.selectbox(
                "Which one",
                found,
                format_func=lambda one: f"{words.shorten(one.name, 32)} · {words.plural(one.videos, 'video')}",
                width="stretch",
            )
            if found
            else None
        )
    if search.strip() and not found:
        st.caption(":orange[:material/search_off:] No collected channel has this name. Collect it on Operations first.")
    with st.expander("Category, language, length", icon=":material/tune:"), st.container(horizontal=True, gap="small"):
        category = st.selectbox(
            "Category",
            create.CATEGORIES,
            index=None,
            key="my_category",
            bind="query-params",
            placeholder="Any",
            width=200,
        )
        language = create.language(width=200)
        links.bounded("my_length")
        duration = st.number_input(
            "Length in seconds",
            min_value=1,
            max_value=create.LONGEST,
            value=None,
            key="my_length",
            bind="query-params",
            placeholder="Not known",
            width=200,
        )
    shown = score_lab.thumbnails_of(uploads, known)
    score_lab.previews(shown)

titles = lab.joined(draft, typed)
model, verdicts, judged = None, [], []
with result:
    try:
        model = data.model()
    except MilesError as error:
        st.error(words.plain(str(error)), title="There is no model to score with", icon=":material/error:")
    else:
        if titles.kept:
            before = known.published_at if known and channel and known.channel_key == channel.channel_key else None
            judged = lab.inputs(
                titles.kept,
                thumbnails=[one.data for one in shown],
                category=category,
                duration=duration,
                language=language,
                channel_key=channel.channel_key if channel else None,
                history=create.history(channel.channel_key, before) if channel else (),
            )
            verdicts = lab.judge(model, judged)
        else:
            page.blank(":material/science:", "Type a title to see its score.", "It is scored while you type.")

if model is not None and verdicts:
    best = verdicts[0]
    picture = shown[best.picture] if best.picture is not None else None
    video = next(one for one in judged if one.title == best.title and one.thumbnail == (picture and picture.data))
    with result:
        if len(verdicts) > 1:
            st.markdown(f"**{words.plain(score_lab.said(verdicts, shown))}**")
            first = (
                ""
                if sum(one.place == 1 for one in verdicts) == 1
                else f": {words.plain(score_lab.called(best, shown))}"
            )
            st.caption(f"The figures of the first{first}", help=score_lab.told_by())
        score_lab.numbers(best)
        if best.note:
            st.caption(f":orange[:material/info:] The model notes: {words.plain(best.note)}.")
        st.caption(
            "Most of what a video gets comes from its channel, its topic and its luck; title and thumbnail move it a"
            f" little. Model {words.plain(best.model_version)}."
        )
        if titles.left_out or titles.cut:
            parts = [
                f"{words.plural(titles.left_out, 'more title')} {'was' if titles.left_out == 1 else 'were'} left out"
                if titles.left_out
                else "",
                f"{words.plural(titles.cut, 'title')} cut" if titles.cut else "",
            ]
            st.caption(
                f":orange[:material/content_cut:] {' and '.join(filter(None, parts))}: {lab.MOST_TITLES} titles of"
                f" {candidates.MAX_TITLE:,} characters fit."
            )
        if titles.unused:
            st.caption(f":material/table: Columns that are not used: {words.plain(', '.join(titles.unused[:6]))}.")
        score_lab.suggestions(lab.suggest(model, video))
        score_lab.save_button(user, verdicts, judged, shown, category, concept)
    if len(verdicts) > 1:
        score_lab.grid(verdicts, shown)
    score_lab.why_so(judged, best, shown)

score_lab.mine(user, model)
cards.show_open()
