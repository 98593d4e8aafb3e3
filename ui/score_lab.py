"""The parts of the Score lab: what comes in, the ranked grid, suggested edits, why, and the user's drafts."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from miles import db, decoding, drafts, images, jobs, kept, lab, published, settings, thumbnails
from miles.drafts import Draft
from miles.errors import ImageRefused, MilesError, StorageUnavailable
from miles.explain import Scorer
from miles.features import ScoreInput
from miles.kept import KeptConcept
from miles.lab import MOST_PICTURES, Published, Suggestions, Verdict
from ui import charts, create, data, links, page, pictures, why, words

LEAST = 0.01  # times the usual; where an interval ends in a chart
MOST_DRAWN = 15  # variants in a chart; more rows are read better in the table
WAIT = "3s"  # between two looks whether a published video has been collected
LISTED = 30  # drafts
OPEN = "open draft"  # of the session: whose dialog is open
NAMED = "draft named for"  # of the session: the concept whose title was put into the draft's name
FRAMES = "lab frames"  # of the session: keys of stored pictures that another page sends here
TYPES = ["jpg", "jpeg", "png", "webp", "gif", "avif"]
EDITED = {"as a question": "asked as a question"}  # rules whose name wants a verb


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail to judge."""

    name: str
    data: bytes
    content_type: str


# --- what comes in ----------------------------------------------------------------------------------


def offer_frames(keys: Sequence[str]) -> None:
    """Have stored pictures judged in the lab beside what is uploaded there; replaces those sent before."""
    st.session_state[FRAMES] = list(keys)


def load_table() -> None:
    """Put the titles of the file that was just chosen into the field; a callback."""
    file = st.session_state["table"]
    st.session_state.pop("table said", None)
    if file is None:
        return
    try:
        found = lab.read_table(file.getvalue())
    except MilesError as error:
        st.session_state["table said"] = (False, str(error))
        return
    st.session_state["title"] = "\n".join(found.kept)
    unused = f" Not used: {', '.join(found.unused[:6])}." if found.unused else ""
    left = f" {found.left_out} more were left out." if found.left_out else ""
    st.session_state["table said"] = (
        True,
        f"{words.plural(len(found.kept), 'title')} from {file.name}.{left}{unused}",
    )


def table_said() -> None:
    """What came of the file that was loaded last."""
    if (said := st.session_state.get("table said")) is None:
        return
    if said[0]:
        st.caption(f":material/table: {words.plain(said[1])}")
    else:
        st.error(words.plain(said[1]), icon=":material/error:")


def prefill(address: str) -> Published | None:
    """The collected video at an address, whose title, channel and facts are put into the empty fields once.

    Before those fields are drawn. Where the video was not collected, a button has it collected.
    """
    if not address.strip():
        st.session_state.pop("prefilled", None)
        return None
    known = _published(address)
    if known is None:
        _collect(address)
        return None
    st.caption(
        f":material/link: {words.plain(words.shorten(known.title, 60))} · "
        + words.plain(words.shorten(known.channel_name or "channel unknown", 30))
        + ("" if known.thumbnail_sha256 else " · no thumbnail stored")
    )
    if st.session_state.get("prefilled") != known.candidate_id:
        st.session_state["prefilled"] = known.candidate_id
        here = lab.read_titles(st.session_state.get("title") or "").kept
        if known.title not in here:
            st.session_state["title"] = "\n".join([known.title, *here])
        for field, value in (
            ("my_channel", known.channel_key),
            ("my_category", known.category if known.category in create.CATEGORIES else None),
            ("my_language", known.language if known.language in create.LANGUAGE_NAMES else None),
            ("my_length", round(known.duration) if known.duration and 1 <= known.duration <= create.LONGEST else None),
        ):
            if value and not st.session_state.get(field):
                st.session_state[field] = value
    return known


def begun_with(user: str) -> KeptConcept | None:
    """The user's concept that the address names, said so; its title becomes the draft's name, once.

    Before the field for that name is drawn.
    """
    named = st.query_params.get("concept")
    if named is None:
        if st.session_state.pop(NAMED, None) is not None:
            st.session_state.pop("draft-name", None)
        return None
    with db.transaction("viewer", user) as connection:
        found = kept.concept(connection, int(named)) if re.fullmatch("[0-9]{1,15}", named) else None
    if found is None:
        st.caption(":orange[:material/link_off:] The concept that this address names is not here (any more).")
        return None
    if st.session_state.get(NAMED) != found.concept_id:
        st.session_state[NAMED] = found.concept_id
        st.session_state["draft-name"] = words.shorten(found.concept.title, 40)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        links.link(
            "pages/recommendations.py",
            label=f"From a concept: {words.plain(words.shorten(found.concept.title, 60))}",
            icon=":material/lightbulb:",
            to={"request": str(found.query_id)},
            width="stretch",
        )
        st.button(
            "Not from it", icon=":material/close:", type="tertiary", key="no-concept",
            help="Save drafts as ideas of your own", on_click=_let_go,
        )  # fmt: skip
    return found


def _let_go() -> None:
    st.query_params.pop("concept", None)


@st.cache_data(ttl=3, max_entries=50, show_spinner=False)
def _published(address: str) -> Published | None:
    with db.transaction("viewer") as connection:
        return lab.find_published(connection, address)


def _collect(address: str) -> None:
    try:
        url = published.address_of(address)
    except MilesError as error:
        st.caption(f":orange[:material/link_off:] {words.plain(str(error))}")
        return
    asked = st.session_state.get("asked for")
    if asked and asked[0] == url:
        _waiting(url, asked[1])
        return
    st.caption(":orange[:material/search_off:] This video was not collected yet.")
    if st.button("Collect it", icon=":material/download:", key="collect-published"):
        with db.transaction("operator") as connection:
            number = jobs.defer_collection(connection, url, "url", 1, settings.load().user)
        st.session_state["asked for"] = (url, number)
        st.rerun()


@st.fragment(run_every=WAIT)
def _waiting(url: str, collection_id: int) -> None:
    """Looks every few seconds whether the video is there, and what became of its collection."""
    with page.guard():
        with db.transaction("viewer") as connection:
            there = lab.find_published(connection, url)
            state = lab.collection_state(connection, collection_id)
        if there is not None:
            st.rerun()
        if state is None or state.over:
            reason = (state and state.reason) or "The video was not found."
            st.caption(f":orange[:material/error:] It could not be collected. {words.plain(reason)}")
        else:
            st.caption(
                ":material/hourglass_empty: Being collected; its title and thumbnail come as soon as it is read."
            )


def thumbnails_of(uploads: Sequence, known: Published | None) -> list[Picture]:
    """The pictures to judge, each once: uploads, the published video's, frames of a clip. What can't be read is named."""
    found: dict[str, Picture] = {}
    stored = [(known.thumbnail_sha256, "published")] if known and known.thumbnail_sha256 else []
    stored += [(key, f"frame {n}") for n, key in enumerate(st.session_state.get(FRAMES, ()), start=1)]
    given = [(one.name, one.getvalue()) for one in uploads]
    if st.session_state.get(FRAMES):
        st.button(
            "Leave out the frames of the clip", icon=":material/close:", type="tertiary", key="no-frames",
            on_click=offer_frames, args=((),),
        )  # fmt: skip
    for key, name in stored:
        try:
            given.append((name, pictures.read(key)))
        except pictures.NotHere:
            st.caption(f":orange[:material/broken_image:] The picture “{name}” is not in the storage any more.")
    for name, content in given:
        try:
            content_type = _checked(content)
        except ImageRefused as error:
            st.error(words.plain(f"{name}: {error} The titles are judged without it."), icon=":material/broken_image:")
            continue
        found.setdefault(hashlib.sha256(content).hexdigest(), Picture(name, content, content_type))
    if len(found) > MOST_PICTURES:
        st.caption(f":orange[:material/content_cut:] The first {MOST_PICTURES} of {len(found)} thumbnails are judged.")
    return list(found.values())[:MOST_PICTURES]


# A session's own, since nobody else may see what was uploaded.
@st.cache_data(max_entries=40, show_spinner=False, scope="session")
def _checked(content: bytes) -> str:
    return images.check(content).content_type


@st.cache_data(max_entries=40, show_spinner=False, scope="session")
def small(content: bytes) -> str:
    """A data URL of a small picture, for a table's cell."""
    return f"data:image/jpeg;base64,{base64.b64encode(decoding.scaled_down(content, 128)).decode()}"


def previews(shown: Sequence[Picture]) -> None:
    """The thumbnails that are judged, each with its name."""
    width = 320 if len(shown) == 1 else 150
    with st.container(horizontal=True, gap="small"):
        for one in shown:
            with st.container(width=width, gap="xxsmall"):
                st.image(_preview(one.data), width=width, alt=f"The thumbnail {one.name}")
                st.caption(words.plain(words.shorten(one.name, width / 8)))


@st.cache_data(max_entries=40, show_spinner=False, scope="session")
def _preview(content: bytes) -> bytes:
    return decoding.scaled_down(content, 640)


# --- the grid ---------------------------------------------------------------------------------------


def numbers(best: Verdict) -> None:
    """The three numbers of one variant."""
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


def standing(verdict: Verdict, verdicts: Sequence[Verdict]) -> str:
    """A place as in a contest: 1, or 1= where others share it. Pure."""
    return f"{verdict.place}=" if sum(one.place == verdict.place for one in verdicts) > 1 else str(verdict.place)


def said(verdicts: Sequence[Verdict], shown: Sequence[Picture] = ()) -> str:
    """What the grid says in a sentence. Pure."""
    level = sum(one.place == 1 for one in verdicts)
    if level == 1:
        others = "the other" if len(verdicts) == 2 else f"the other {len(verdicts) - 1}"
        return f"Most views expected, clearly ahead of {others}: {called(verdicts[0], shown)}"
    if level == len(verdicts):
        return f"All {level} are level: the views expected of them differ by less than a comparison can tell"
    return (
        f"{level} of {len(verdicts)} are level at the top: the views expected of them differ by less than can be told"
    )


def told_by() -> str:
    """How variants are put in order, for people. Pure."""
    return (
        "In order of the views that the model expects from title, thumbnail and facts alone: so it was right about which"
        " of two titles of one channel did better in 69 of 100 pairs. Level (=): below a factor of"
        f" {10**lab.CLEAR:.1f}, where it was right in fewer than 2 of 3. The score answers another question, whether a"
        " video beats its channel's usual by far, so its order may differ."
    )


def called(verdict: Verdict, shown: Sequence[Picture]) -> str:
    """A variant in words. Pure."""
    title = words.shorten(verdict.title, 100)
    return title if verdict.picture is None or len(shown) < 2 else f"{title} · {shown[verdict.picture].name}"


def grid(verdicts: Sequence[Verdict], shown: Sequence[Picture]) -> None:
    """Every variant with its place, score and interval; beside several thumbnails as titles × thumbnails."""
    if len(shown) > 1 and len({one.title for one in verdicts}) > 1:
        charts.show(
            matrix(verdicts, shown),
            title=f"{words.plural(len({one.title for one in verdicts}), 'title')} × {len(shown)} thumbnails",
            caption="Views expected from title, thumbnail and facts alone, against the best, in percent. Framed: level with it.",
            alt="What is expected of every title with every thumbnail, against the best",
            key="matrix",
        )
    column = st.column_config
    with_pictures = any(one.picture is not None for one in verdicts) and len(shown) > 1
    columns = {
        "Place": [standing(one, verdicts) for one in verdicts],
        "Appeal": [words.times(one.appeal / verdicts[0].appeal) for one in verdicts],
        "Score": [one.viral_score * 100 for one in verdicts],
        "Title": [one.title for one in verdicts],
        "Base": [words.against_base(one.viral_score, one.base_rate).removesuffix(" the base rate") for one in verdicts],
        "Usual": [create.multiple(one) for one in verdicts],
        "Views": [words.count(one.views) for one in verdicts],
        "Interval": [words.interval(one.views_low, one.views_high, "") for one in verdicts],
    }
    if with_pictures:
        drawn = [small(one.data) for one in shown]
        columns["Thumbnail"] = [drawn[one.picture or 0] for one in verdicts]
    if verdicts[0].multiple is None:
        del columns["Usual"]
    st.dataframe(
        columns,
        hide_index=True,
        column_order=[
            "Place",
            *(["Thumbnail"] if with_pictures else []),
            *(one for one in columns if one not in ("Place", "Thumbnail")),
        ],
        height="content" if len(verdicts) <= MOST_DRAWN else 480,
        row_height=44 if with_pictures else 35,
        key="compared",
        alt="Variants, the one with the most expected views first",
        column_config={
            "Place": column.TextColumn(
                "Place",
                width=52,
                help="1 + how many are clearly better. " + told_by(),
            ),
            "Thumbnail": column.ImageColumn("", width=84),
            "Title": column.TextColumn(width="large"),
            "Score": column.ProgressColumn(
                "Score, in 100", min_value=0, max_value=100, format="%.0f", help=words.MEANING["score"], width=110
            ),
            "Appeal": column.TextColumn(
                "× the first",
                width="small",
                help="Views expected from title, thumbnail and facts alone, against the first.",
            ),
            "Base": column.TextColumn("× base rate", help=words.MEANING["base_rate"], width="small"),
            "Usual": column.TextColumn(
                "× your usual", help="Against the channel's median; 8 of 10 outcomes lie inside.", width="small"
            ),
            "Views": column.TextColumn("Views, first day", width="small"),
            "Interval": column.TextColumn("8 of 10 inside", width="small"),
        },
    )
    st.caption(told_by())
    st.download_button(
        "Download as CSV",
        lab.write_table(verdicts, [one.name for one in shown]),
        "score-lab.csv",
        "text/csv",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        key="download",
    )
    if verdicts[0].multiple is None or len(verdicts) > MOST_DRAWN:
        return
    charts.show(
        charts.intervals(
            [words.shorten(called(one, shown), 34) for one in verdicts],
            [one.multiple or 1.0 for one in verdicts],
            [max(one.multiple_low or 1.0, LEAST) for one in verdicts],
            [max(one.multiple_high or 1.0, LEAST) for one in verdicts],
            no_effect=1.0,
            clear=[(one.multiple_low or 0) > 1 or (one.multiple_high or 2) < 1 for one in verdicts],
            labels=[words.times(one.multiple) for one in verdicts],
            hover=[
                f"{html.escape(called(one, shown), quote=False)}: {create.multiple(one)} the usual" for one in verdicts
            ],
            axis="against your usual",
            ratio=True,
        ),
        title=_overlap(verdicts),
        caption=f"{len(verdicts)} variants; the bars hold 8 of 10 outcomes. Grey: the interval holds your usual.",
        key="multiples",
    )


def matrix(verdicts: Sequence[Verdict], shown: Sequence[Picture]) -> charts.Chart:
    """Titles × thumbnails as a heat map, the best title on top; what is level with the best is framed."""
    titles = list(dict.fromkeys(one.title for one in verdicts))
    by_cell = {(one.title, one.picture or 0): one for one in verdicts}
    rows = [[by_cell[title, column] for column in range(len(shown))] for title in titles]
    best = max(one.appeal for one in verdicts)
    chart = charts.Chart(30 * len(titles) + 60)
    ground = "#1b2a30" if charts.dark() else "#eef3f4"
    chart.add(
        "heatmap",
        z=[[100 * one.appeal / best for one in row] for row in rows],
        x=list(range(len(shown))),
        y=list(range(len(titles))),
        text=[[f"{100 * one.appeal / best:.0f}" for one in row] for row in rows],
        texttemplate="%{text}",
        hovertext=[
            [
                f"{html.escape(called(one, shown), quote=False)}: {words.in_100(one.viral_score)}, place {standing(one, verdicts)}"
                for one in row
            ]
            for row in rows
        ],
        hoverinfo="text",
        colorscale=[[0, ground], [1, "#1d7a80" if charts.dark() else charts.accent()]],  # numbers stay readable on it
        showscale=False,
        xgap=3,
        ygap=3,
    )
    chart.shapes += [
        {
            "type": "rect", "x0": x - 0.47, "x1": x + 0.47, "y0": y - 0.44, "y1": y + 0.44,
            "line": {"color": charts.contrast(), "width": 2},
        }
        for y, row in enumerate(rows)
        for x, one in enumerate(row)
        if one.place == 1
    ]  # fmt: skip
    chart.x.update(
        tickvals=list(range(len(shown))),
        ticktext=[html.escape(words.shorten(one.name, 14), quote=False) for one in shown],
        side="top",
        showgrid=False,
    )
    chart.y.update(
        tickvals=list(range(len(titles))),
        ticktext=[html.escape(words.shorten(title, 28), quote=False) for title in titles],
        autorange="reversed",
        showgrid=False,
    )
    return chart


def _overlap(verdicts: Sequence[Verdict]) -> str:
    """What the intervals say together."""
    best, last = verdicts[0], verdicts[-1]
    if (best.multiple_low or 0) > (last.multiple_high or 0):
        return "The best variant stands clear of the last one"
    return "The intervals overlap: the variants differ less than a video's luck"


# --- edits and reasons ------------------------------------------------------------------------------


def suggestions(found: Suggestions, add: str = "title") -> None:
    """Edits that the model scores clearly higher, each with a button that takes it into the comparison."""
    if not found.tried:
        return
    if not found.better:
        st.caption(
            f":material/edit_note: {words.plural(found.tried, 'edit')} of the best title tried (shorter, calmer, its number"
            " first …): none is scored higher by more than the noise."
        )
        return
    st.markdown(
        "**Edits the model likes**",
        help="Written by rule so that the meaning stays, and scored as drafts; shown only where the difference is more"
        " than noise. The model knows which titles went with success, not whether changing one brings it.",
    )
    for number, one in enumerate(found.better):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f"{words.plain(words.shorten(one.title, 100))}  \n:gray[{EDITED.get(one.rule, one.rule)}: "
                f"{words.in_100(one.score)} instead of {words.in_100(one.before)}, expected views {words.change(one.ratio)}]",
                width="stretch",
            )
            st.button("Compare", key=f"edit-{number}", icon=":material/add:", on_click=_add, args=(one.title, add))
    st.caption("What the model likes, of the edits tried: correlation, not cause.")


def _add(title: str, field: str) -> None:
    here = lab.read_titles(st.session_state.get(field) or "").kept
    st.session_state[field] = "\n".join(dict.fromkeys([*here, title]))


def why_so(judged: Sequence[ScoreInput], best: Verdict, shown: Sequence[Picture]) -> None:
    """Why a variant scores as it does, worked out when it is opened; which one is chosen among several."""
    opened = st.expander("Why this score", icon=":material/search_insights:", key="why", bind="query-params")
    if not opened.open:
        return
    with opened:
        titles = list(dict.fromkeys(video.title for video in judged))
        chosen, column = titles[0], best.picture or 0
        with st.container(horizontal=True, gap="small"):
            if len(titles) > 1:
                chosen = st.selectbox("Of which title", titles, index=titles.index(best.title), key="explained")
            if len(shown) > 1:
                column = st.selectbox(
                    "With which thumbnail",
                    range(len(shown)),
                    index=column,
                    format_func=lambda place: shown[place].name,
                    key="explained-picture",
                )
        video = next(
            one
            for one in judged
            if one.title == chosen and (one.thumbnail is None or one.thumbnail == shown[column].data)
        )
        version = data.model().version
        why.explained(create.explanation(video, version), video.thumbnail, key="why-draft")
        why.similar(create.similar_to(video.title, version), key="similar-draft")


# --- drafts -----------------------------------------------------------------------------------------


def foretold(verdict: Verdict) -> drafts.Foretold:
    """What is kept of a verdict with its draft. Pure."""
    return drafts.Foretold(
        verdict.viral_score, verdict.base_rate, verdict.multiple,
        verdict.views, verdict.views_low, verdict.views_high, verdict.model_version,
    )  # fmt: skip


def save_button(
    user: str,
    verdicts: Sequence[Verdict],
    judged: Sequence[ScoreInput],
    shown: Sequence[Picture],
    category: str | None,
    concept: KeptConcept | None = None,
) -> None:
    """Keeps a variant as a draft: the only one, or the one that is chosen; with the concept that it began with."""
    chosen = verdicts[0]
    with (
        st.popover("Save a draft", icon=":material/bookmark_add:")
        if len(verdicts) > 1
        else st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    ):
        if len(verdicts) > 1:
            place = st.selectbox(
                "Variant",
                range(len(verdicts)),
                format_func=lambda place: words.shorten(called(verdicts[place], shown), 60),
                key="variant",
            )
            chosen = verdicts[place]
        name = st.text_input(
            "Name", key="draft-name", placeholder="Name of the draft (optional)", max_chars=drafts.LONGEST_NAME,
            label_visibility="collapsed", width=240,
        )  # fmt: skip
        if st.button("Save draft", icon=":material/bookmark_add:", key="save"):
            picture = None if chosen.picture is None else shown[chosen.picture]
            st.toast(
                save(user, chosen, judged[0], picture, category=category, name=name, concept=concept),
                icon=":material/bookmark_added:",
            )


def save(
    user: str,
    verdict: Verdict,
    video: ScoreInput,
    picture: Picture | None,
    *,
    category: str | None,
    name: str | None,
    concept: KeptConcept | None = None,
) -> str:
    """Keep a variant as a draft; returns what to say of it."""
    stored, done = None, "Draft saved"
    try:
        if picture:
            there = thumbnails.keep(picture.data, "viewer")
            stored = drafts.Upload(there.sha256, picture.content_type, len(picture.data), there.pin)
    except StorageUnavailable as error:  # the words and the score are what a draft is about
        done = words.plain(f"Draft saved without its picture. {error}")
    with db.transaction("viewer", user) as connection:
        drafts.save_draft(
            connection,
            verdict.title,
            name=name,
            channel_key=video.channel_id,
            category=category,
            duration=video.duration,
            language=video.language,
            foretold=foretold(verdict),
            upload=stored,
            concept_id=concept.concept_id if concept else None,
        )
    return done


def mine(user: str, model: Scorer | None) -> None:
    """The user's drafts: opened, named, compared, linked to what they were published as, deleted."""
    with db.transaction("viewer", user) as connection:
        found = drafts.drafts(connection, limit=LISTED)
    if not found:
        return
    st.header(
        "Your drafts", anchor=False, help="Only you see them. Each keeps the score that it had when it was saved."
    )
    if len(found) > 1:
        by_id = {one.draft_id: one for one in found}
        chosen = st.multiselect(
            "Compare drafts",
            list(by_id),
            format_func=lambda draft_id: words.shorten(label(by_id[draft_id]), 50),
            key="compare",
            placeholder="Compare drafts",
            label_visibility="collapsed",
        )
        if len(chosen) > 1 and model is not None:
            compare([by_id[one] for one in chosen], model)
    with st.container(gap="xsmall", height=340 if len(found) > 6 else "content"):
        for draft in found:
            _row(user, draft)
    opened = st.session_state.get(OPEN)
    if opened is not None and "video" not in st.query_params:  # one dialog at a time
        _more(user, opened)


def label(draft: Draft) -> str:
    """What a draft is called: by its name, else its title; a name that only begins the title says no more. Pure."""
    if not draft.name or draft.title.startswith(draft.name.rstrip("…")):
        return draft.title
    return f"{draft.name}: {draft.title}"


def _row(user: str, draft: Draft) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"draft-{draft.draft_id}"):
        links.link(
            "pages/score_lab.py",
            label=words.plain(words.shorten(label(draft), 80)),
            icon=":material/image:" if draft.thumbnail_sha256 else ":material/title:",
            to=_address(draft),
            width="stretch",
        )
        st.caption(
            ("" if draft.origin == "own" else ":material/lightbulb: from a concept · ")
            + f"{words.in_100(draft.viral_score)} · {words.ago(draft.created_at, page.now())}"
            + (f" · {stage(draft)}" if draft.published_url else ""),
            width="content",
        )
        st.button(
            "More",
            key=f"more-{draft.draft_id}",
            icon=":material/more_horiz:",
            type="tertiary",
            help="Name it, link it to what it was published as",
            on_click=_open,
            args=(draft.draft_id,),
        )
        if st.button(
            "Delete", key=f"delete-{draft.draft_id}", icon=":material/delete:", type="tertiary", help="Delete it"
        ):
            with db.transaction("viewer", user) as connection:
                drafts.delete_draft(connection, draft.draft_id)
            st.toast("Draft deleted", icon=":material/delete:")
            st.rerun()


def _address(draft: Draft) -> dict[str, str]:
    given = {
        "title": draft.title,
        "my_channel": draft.channel_key,
        "my_category": draft.category,
        "my_language": create.LANGUAGE_NAMES.get(draft.language or ""),  # an address has the words of a choice
        "my_length": None if draft.duration is None else str(round(draft.duration)),
        "concept": None if draft.concept_id is None else str(draft.concept_id),
    }
    return {key: value for key, value in given.items() if value}


def stage(draft: Draft) -> str:
    """How far a published draft is followed, in a few words. Pure."""
    if draft.outcome is not None:
        return f"came to {came_to(draft)}"
    return (
        "published, not collected yet" if draft.candidate_id is None else f"published, {words.count(draft.views)} views"
    )


def came_to(draft: Draft) -> str:
    """The outcome of a draft: its multiple, or its views where no usual is known. Pure."""
    told = draft.outcome
    if told is None:
        return words.UNKNOWN
    return f"{words.times(told.multiple)} usual" if told.multiple is not None else f"{words.count(told.views)} views"


def _open(draft_id: int) -> None:
    st.session_state[OPEN] = draft_id


def _close() -> None:
    st.session_state.pop(OPEN, None)


@st.dialog("Draft", icon=":material/edit_note:", width="medium", on_dismiss=_close)
def _more(user: str, draft_id: int) -> None:
    with page.guard():
        with db.transaction("viewer", user) as connection:
            draft = next((one for one in drafts.drafts(connection, LISTED) if one.draft_id == draft_id), None)
        if draft is None:
            st.info("This draft is not there any more.")
            return
        st.markdown(f"**{words.plain(draft.title)}**")
        if draft.query_id is not None:
            links.link(
                "pages/recommendations.py", label="The concept that it began with", icon=":material/lightbulb:",
                to={"request": str(draft.query_id)},
            )  # fmt: skip
        name = st.text_input("Name", draft.name or "", max_chars=drafts.LONGEST_NAME, key=f"name-{draft_id}")
        url = st.text_input(
            "Published as",
            draft.published_url or "",
            key=f"url-{draft_id}",
            placeholder="https://www.youtube.com/shorts/…",
            help="The address of the video that it became. Miles looks at it now, and again at its re-visits.",
        )
        if st.button("Save", type=page.strong(), key=f"keep-{draft_id}"):
            try:
                _keep(user, draft, name, url)
            except MilesError as error:
                st.error(words.plain(str(error)), icon=":material/error:")
            else:
                _close()
                st.rerun()
        if draft.published_url:
            outcome(draft)


def _keep(user: str, draft: Draft, name: str, url: str) -> None:
    """Write down a name and a link; a new link is collected. Raises MilesError."""
    with db.transaction("viewer", user) as connection:
        drafts.rename_draft(connection, draft.draft_id, name)
    if not url.strip():
        with db.transaction("viewer", user) as connection:
            drafts.set_link(connection, draft.draft_id, None)
        return
    address = published.address_of(url)
    if address == draft.published_url:
        return
    with db.transaction("operator") as connection:
        collection_id = jobs.defer_collection(connection, address, "url", 1, user)
    with db.transaction("viewer", user) as connection:
        published.link(connection, draft.draft_id, address, collection_id)
    st.toast("Linked; Miles looks at it now and follows it", icon=":material/link:")


def outcome(draft: Draft) -> None:
    """What was foretold beside what came of it."""
    told = draft.outcome
    left, right = st.columns(2)
    with left:
        create.number(
            "Foretold",
            words.in_100(draft.viral_score),
            f"8 of 10 in {words.interval(draft.views_low, draft.views_high, '')} views"
            if draft.views_high is not None
            else "saved before intervals were kept",
            help=words.MEANING["score"],
        )
    with right:
        if told is None:
            create.number(
                "Came to",
                words.UNKNOWN if draft.views is None else f"{words.count(draft.views)} so far",
                unsettled(draft),
                help="Told by the first look 6 to 36 hours after publication.",
            )
        else:
            create.number(
                "Came to",
                came_to(draft),
                f"{words.count(told.views)} views in the first day",
                help="Views at 24 hours, over what the channel's videos usually had when it was published.",
            )
    if told is not None:
        st.markdown(verdict_on(draft))


def unsettled(draft: Draft) -> str:
    """Why the outcome of a linked draft is not known, in words. Pure."""
    if draft.candidate_id is None:
        return "not collected yet"
    if draft.published_at is None:
        return "when it was published is not known"
    return "its first day is not over, or nobody looked 6 to 36 h after publication"


def verdict_on(draft: Draft) -> str:
    """Prediction against outcome in a sentence, with what it does not say. Pure."""
    told = draft.outcome
    if told is None:
        return ""
    parts = []
    if draft.views_low is not None and draft.views_high is not None:
        inside = draft.views_low <= told.views <= draft.views_high
        parts.append(
            "The views lie within the interval."
            if inside
            else f"The views lie {'above' if told.views > draft.views_high else 'below'} the interval, as 1 in 5 do."
        )
    if told.happened is None:
        parts.append("Its channel's usual was not known, so whether it took off is not told.")
    elif draft.viral_score is not None:
        parts.append(
            f"It {'took off' if told.happened else 'did not take off'}; of drafts with this score {words.in_100(draft.viral_score)} do."
        )
    if not told.foresight:
        parts.append(
            ":orange[:material/warning:] It was saved after it was published, so it does not count as foresight."
        )
    return " ".join(parts) + " One video proves nothing: the Model page has all of them together."


def compare(chosen: Sequence[Draft], model: Scorer) -> None:
    """Drafts side by side, scored now by the model in force, each with its own thumbnail and channel."""
    videos, shown = [], []
    for draft in chosen:
        picture = _stored(draft.thumbnail_sha256)
        shown.append(picture)
        videos += lab.inputs(
            [draft.title],
            thumbnails=[picture] if picture else [],
            category=draft.category,
            duration=draft.duration,
            language=draft.language,
            channel_key=draft.channel_key,
            history=create.history(draft.channel_key) if draft.channel_key else (),
        )
    verdicts = lab.judge_all(model, videos)
    order = sorted(range(len(chosen)), key=lambda i: -verdicts[i].appeal)
    column = st.column_config
    st.dataframe(
        {
            "Place": [standing(verdicts[i], verdicts) for i in order],
            "Thumbnail": [small(picture) if (picture := shown[i]) else None for i in order],
            "Draft": [label(chosen[i]) for i in order],
            "Now": [verdicts[i].viral_score * 100 for i in order],
            "Saved": [words.in_100(chosen[i].viral_score) for i in order],
            "Usual": [create.multiple(verdicts[i]) for i in order],
            "Channel": [chosen[i].channel_name for i in order],
            "Came to": [came_to(chosen[i]) for i in order],
        },
        hide_index=True,
        row_height=44,
        height="content",
        placeholder=words.UNKNOWN,
        key="drafts-compared",
        alt="The chosen drafts, the best scored first",
        column_config={
            "Place": column.TextColumn(width=52, help="1 + how many are clearly better; = where several are level."),
            "Thumbnail": column.ImageColumn("", width=84),
            "Draft": column.TextColumn(width="large"),
            "Now": column.ProgressColumn(
                "Score now, in 100",
                min_value=0,
                max_value=100,
                format="%.0f",
                help=words.MEANING["score"],
                width="small",
            ),
            "Saved": column.TextColumn("When saved", width="small"),
            "Usual": column.TextColumn("× usual", width="small"),
        },
    )


def _stored(key: str | None) -> bytes | None:
    try:
        return pictures.read(key) if key else None
    except pictures.NotHere:
        return None
