"""Score lab: a title and a thumbnail in, the chance of taking off with its interval and base rate out."""

import streamlit as st

from miles import candidates, db, drafts, images, lab, settings, thumbnails
from miles.errors import MilesError, StorageUnavailable
from ui import cards, create, data, page, words

user = settings.load().user
page.header(
    "Score lab",
    "What the model expects of a video before it is published. One title is judged, several are compared.",
    help=f"{data.where_scored()} A score is a chance among videos like it, not a promise for this one.",
)

form, result = st.columns([5, 6], gap="large")
with form:
    typed = st.text_area(
        "Titles, one a line",
        key="title",
        bind="query-params",
        height=112,
        placeholder="I tried street food in 24 hours\nThe stall that never closes",
        help=f"Up to {lab.MOST_TITLES} titles. The address of this page holds them: share it, or keep it.",
    )
    with st.container(horizontal=True, gap="small"):
        search = st.text_input(
            "Your channel",
            key="channel",
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
            sorted(candidates.CATEGORY_IDS),
            index=None,
            key="category",
            bind="query-params",
            placeholder="Any",
            width=200,
        )
        language = create.language(width=200)
        duration = st.number_input(
            "Length in seconds",
            min_value=1,
            max_value=43_200,
            value=None,
            key="duration",
            bind="query-params",
            placeholder="Not known",
            width=200,
        )
    upload = st.file_uploader(
        "Thumbnail", type=["jpg", "jpeg", "png", "webp", "gif", "avif"], max_upload_size=10, help="Judged with every title."
    )

picture = None
if upload is not None:
    try:
        picture = images.check(upload.getvalue())
    except MilesError as error:
        form.error(words.plain(f"{error} The titles are judged without it."), icon=":material/broken_image:")
    else:
        form.image(picture.data, width=320, alt="The thumbnail that is judged")

titles = lab.read_titles(typed)
verdicts: list[lab.Verdict] = []
with result:
    try:
        model = data.model()
    except MilesError as error:
        st.error(words.plain(str(error)), title="There is no model to score with", icon=":material/error:")
    else:
        if titles.kept:
            judged = lab.inputs(
                titles.kept,
                thumbnail=picture.data if picture else None,
                category=category,
                duration=duration,
                language=language,
                channel_key=channel.channel_key if channel else None,
                history=create.history(channel.channel_key) if channel else (),
            )
            verdicts = lab.judge(model, judged)
        else:
            with st.container(border=True, horizontal_alignment="center", gap="xsmall"):
                st.space("small")
                st.markdown("### :material/science:", text_alignment="center")
                st.markdown("**Type a title to see its score.**", text_alignment="center")
                st.caption("It is scored as soon as you leave the field (Ctrl + Enter).", text_alignment="center")
                st.space("small")

if verdicts:
    best = verdicts[0]
    with result:
        if len(verdicts) > 1:
            st.markdown(f"**Best of {len(verdicts)}:** {words.plain(words.shorten(best.title, 120))}")
        with st.grid(3, min_column_width=140, gap="small"):
            create.number(
                "Score",
                words.in_100(best.viral_score),
                f"where {words.in_100(best.base_rate)} is ordinary",
                help=words.MEANING["score"],
            )
            create.number(
                "Against your usual",
                f"about {words.times(best.multiple)}" if best.multiple is not None else words.UNKNOWN,
                f"8 of 10 lie in {words.interval(best.multiple_low, best.multiple_high)}"
                if best.multiple is not None
                else "name a channel with 5 videos or more",
                help="Views in the first 24 hours, divided by what the channel's videos usually have by then.",
            )
            create.number(
                "First-day views",
                words.count(best.views),
                f"8 of 10 lie in {words.interval(best.views_low, best.views_high, '')}",
                help="The model's middle guess and its 80% interval."
                + ("" if best.multiple is not None else " Without a channel it is that of a middling channel."),
            )
        if best.note:
            st.caption(f":orange[:material/info:] The model notes: {words.plain(best.note)}.")
        st.caption(
            "Most of what a video gets comes from its channel, its topic and its luck; title and thumbnail move it a"
            f" little. Model {words.plain(best.model_version)}."
        )
        if titles.left_out or titles.cut:
            st.caption(
                f":orange[:material/content_cut:] {titles.left_out} more titles were left out and {titles.cut} cut:"
                f" {lab.MOST_TITLES} titles of {candidates.MAX_TITLE} characters fit."
            )
        if st.button(
            "Save draft" if len(verdicts) == 1 else "Save the best as a draft",
            icon=":material/bookmark_add:",
            key="save",
        ):
            kept, done = None, "Draft saved"
            try:
                if picture:
                    stored = thumbnails.keep(picture.data, "viewer")
                    kept = drafts.Upload(stored.sha256, picture.content_type, len(picture.data), stored.pin)
            except StorageUnavailable as error:  # the words and the score are what a draft is about
                done = words.plain(f"Draft saved without its picture. {error}")
            with db.transaction("viewer", user) as connection:
                drafts.save_draft(
                    connection,
                    best.title,
                    channel_key=channel.channel_key if channel else None,
                    viral_score=best.viral_score,
                    predicted_multiple=best.multiple,
                    model_version=best.model_version,
                    upload=kept,
                )
            st.toast(done, icon=":material/bookmark_added:")
    if len(verdicts) > 1:
        create.compared(verdicts)
    create.why_so(judged, best.title)

with db.transaction("viewer", user) as connection:
    mine = drafts.drafts(connection, limit=30)
if mine:
    st.subheader(
        "Your drafts", anchor=False, help="Only you see them. Each keeps the score that it had when it was saved."
    )
    with st.container(gap="xsmall", height=340 if len(mine) > 6 else "content"):
        for draft in mine:
            with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"draft-{draft.draft_id}"):
                st.page_link(
                    "pages/score_lab.py",
                    label=words.plain(words.shorten(draft.title, 80)),
                    icon=":material/image:" if draft.thumbnail_sha256 else ":material/title:",
                    query_params={"title": draft.title},
                    width="stretch",
                )
                st.caption(
                    f"{words.in_100(draft.viral_score)} · {words.ago(draft.created_at, page.now())}", width="content"
                )
                if st.button(
                    "Delete",
                    key=f"delete-{draft.draft_id}",
                    icon=":material/delete:",
                    type="tertiary",
                    help="Delete it",
                ):
                    with db.transaction("viewer", user) as connection:
                        drafts.delete_draft(connection, draft.draft_id)
                    st.toast("Draft deleted", icon=":material/delete:")
                    st.rerun()
cards.show_open()
