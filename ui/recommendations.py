"""The parts of the Recommendations page: what is asked, what it costs, concepts as cards, what they rest on, what was kept."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from miles import db, drafts, grounding, jobs, kept, lab, language_model, novelty, published, recommend, spending
from miles.browse import Row
from miles.concepts import Concept, Known, Recommendation, Request, to_csv, to_markdown
from miles.drafts import Draft
from miles.errors import ConceptsUnavailable, MilesError, SpendingCapReached
from miles.grounding import Backing, Evidence, Lift, Spread
from miles.kept import KeptConcept
from miles.language_model import Cost, LanguageModel
from miles.recommend import OFFLINE, ScoringModel
from miles.remote import Told
from ui import cards, charts, create, data, links, page, score_lab, words, writing
from ui.writing import Writing

VIBES = ("Funny", "Calm", "Dramatic", "Educational", "Personal", "Energetic")
USUAL = 5  # concepts
LISTED = 30  # earlier requests
MOST_PATTERNS = 10  # in a chart
PATIENCE = {True: 3.0, False: 0.5}  # seconds that a page waits for concepts written offline, and for others: before it
# shows how far they are. Offline they take half a second; from an answer that was kept, others take less.
LOOK = 0.7  # seconds between two looks how far they are

WRITING = "concepts being written"  # these are of the session
FAILED = "concepts failed"  # the request, its error, and whether it was to be written offline
ANSWERED = "request answered"  # the number of the one that was answered last, and whether from what was kept
PREFILLED = "request opened"  # the number of the one whose words were put into the fields


@dataclass(frozen=True, slots=True)
class Opened:
    """A request that was kept, with what became of its concepts."""

    made: Recommendation
    concepts: Sequence[KeptConcept]
    drafts: Mapping[int, Sequence[Draft]]  # by the concept that they began with


# --- asking -----------------------------------------------------------------------------------------


def fields() -> Request:
    """What to ask for; all of it is part of the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        topic = st.text_input(
            "Topic", key="topic", bind="query-params", placeholder="street food",
            max_chars=recommend.LONGEST_TOPIC, width=270,
        )  # fmt: skip
        own = st.text_input(
            "Vibe in your own words", key="mood", bind="query-params", placeholder="like a heist film",
            max_chars=recommend.LONGEST_TOPIC, width=210,
        )  # fmt: skip
        language = create.language(width=140)
        platform = st.selectbox(
            "Platform", create.platforms(), index=None, key="my_platform", bind="query-params",
            format_func=words.platform, placeholder="Any", width=130,
            help="Whose videos the concepts rest on.",
        )  # fmt: skip
        links.bounded("number")
        number = st.number_input(
            "Concepts", 1, recommend.MOST_CONCEPTS, USUAL, key="number", bind="query-params", width=130
        )
    vibe = st.pills("Vibe", VIBES, key="vibe", bind="query-params")
    return Request(topic, ", ".join(part for part in (vibe, own.strip()) if part), platform, language, int(number))


def address(request: Request, query_id: int | None = None) -> dict[str, str]:
    """The address of the page with a request in its fields, and its answer opened. Pure."""
    chosen = next((one for one in VIBES if request.vibe == one or request.vibe.startswith(f"{one}, ")), None)
    given = {
        "topic": request.topic,
        "vibe": chosen,
        "mood": request.vibe.removeprefix(chosen or "").removeprefix(", "),
        "my_language": create.LANGUAGE_NAMES.get(request.language or ""),  # an address has the words of a choice
        "my_platform": words.platform(request.platform) if request.platform else None,
        "number": str(request.number),
        "request": None if query_id is None else str(query_id),
    }
    return {key: value for key, value in given.items() if value}


def prefill(user: str) -> None:
    """Put the words of the request that the address opens into the fields, once, where the address has none for them."""
    query_id = asked_for()
    if query_id is None or st.session_state.get(PREFILLED) == query_id:
        return
    st.session_state[PREFILLED] = query_id
    if "topic" in st.query_params:
        return
    with db.transaction("viewer", user) as connection:
        made = kept.recommendation(connection, query_id)
    if made is not None:
        asked, platform = made.request, made.request.platform
        chosen: dict[str, object] = {**address(asked), "number": asked.number}
        if "my_language" in chosen:
            chosen["my_language"] = asked.language
        if platform:
            chosen["my_platform"] = platform if platform in create.platforms() else None
        st.session_state.update(chosen)


def asked_for() -> int | None:
    """The number of the request that the address opens; -1 where that is none."""
    written = st.query_params.get("request")
    if written is None:
        return None
    return int(written) if re.fullmatch(r"[0-9]{1,15}", written) else -1


def cost(writer: LanguageModel | None, request: Request, user: str) -> None:
    """Who writes, what that may cost at most, and what of today's limits is used; before anything is sent."""
    st.caption(create.generator(), width="stretch")
    if writer is None:
        return
    most = spending.expected(writer, replace(request, topic=request.topic or "a topic"))
    with db.transaction("viewer", user) as connection:
        today = spending.today(connection)
        try:
            spending.check(connection, most)
            refused = None
        except SpendingCapReached as error:
            refused = str(error)
    used = f"{words.count(today.tokens_in + today.tokens_out)}" + (
        f" of {words.count(today.cap_tokens)} tokens" if today.cap_tokens is not None else " tokens"
    )
    if today.usd is not None and (today.cap_usd is not None or today.usd > 0):
        used += f", {money(today.usd)}" + (f" of {money(today.cap_usd)}" if today.cap_usd is not None else "")
    st.caption(
        f":material/toll: {words.plural(request.number, 'concept')}: {at_most(most)}. Used today: {words.plain(used)}.",
        help="Tokens are reckoned from the fullest prompt and the longest answer that is accepted; most answers need a third"
        " of it. Prices are those of MILES_PRICE_INPUT and MILES_PRICE_OUTPUT, limits MILES_DAILY_TOKENS and"
        " MILES_DAILY_SPEND; days end at midnight UTC. The same request within a day costs nothing.",
    )
    if refused and FAILED not in st.session_state:
        st.caption(f":orange[:material/block:] {words.plain(refused)}")


def at_most(most: Cost) -> str:
    """What a request may come to, in words, as Markdown. Pure."""
    tokens = f"at most {words.count(most.tokens_in)} tokens in and {words.count(most.tokens_out)} out"
    return f"{tokens}, {words.plain(money(most.usd))}" if most.usd is not None else f"{tokens}; no price is set"


def money(usd: float) -> str:
    """A sum: $1.20; small ones with two digits that matter: $0.0043. Pure."""
    if usd >= 0.095 or usd <= 0:
        return f"${usd:,.2f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"


def begin(user: str, request: Request, *, offline: bool, fresh: bool = False) -> None:
    """Have a request answered; what was asked before is left."""
    if (before := st.session_state.get(WRITING)) is not None and before.request != request:
        before.cancel()
    st.session_state.pop(FAILED, None)
    shown = st.query_params.pop("request", None)
    try:
        asked = recommend.checked(request)
        # offline only another seed makes other concepts
        seed = int(shown) if fresh and shown and shown.isdigit() else 0
        st.session_state[WRITING] = writing.begin(_scoring, user, asked, offline=offline, fresh=fresh, seed=seed)
    except MilesError as error:
        st.session_state[FAILED] = (request, error, True)
        return
    with st.spinner("Looking for videos on the topic"):
        st.session_state[WRITING].wait(PATIENCE[offline or language_model.configured() is None])


def _scoring(waking: "writing.Waking") -> ScoringModel:
    model = data.model()
    # the page's own box that says "waking up" can't be written to from another thread
    return model.remote.telling(waking) if isinstance(model, Told) else model


def settle() -> bool:
    """Take what came of the request that is being written, if it is done; whether one is still under way."""
    current: Writing | None = st.session_state.get(WRITING)
    if current is None:
        return False
    if not current.done:
        return True
    del st.session_state[WRITING]
    if current.bug is not None:
        raise current.bug
    if current.failed is not None:
        offline = current.offline or language_model.configured() is None
        st.session_state[FAILED] = (current.request, current.failed, offline)
    elif current.made is not None:
        st.session_state[ANSWERED] = (current.made.query_id, current.made.cached)
        st.session_state[PREFILLED] = current.made.query_id
        st.query_params["request"] = str(current.made.query_id)
    return False


@st.fragment(run_every=LOOK)
def under_way() -> None:
    """How far the concepts are, and a way to leave them; runs again by itself until they are there."""
    current: Writing | None = st.session_state.get(WRITING)
    if current is None or current.done:
        st.rerun()
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f":material/edit_note: **{words.plain(current.said)}**  \n"
                f":gray[{words.plain(words.shorten(current.request.topic, 60))} · {current.seconds:.0f} s]",
                width="stretch",
            )
            if st.button("Cancel", icon=":material/close:", key="cancel-concepts"):
                current.cancel()
                del st.session_state[WRITING]
                st.toast("Cancelled; nothing is kept of it", icon=":material/close:")
                st.rerun()
        if counted := re.match(r"(\d+) of (\d+)", current.said):
            st.progress(min(int(counted[1]) / max(int(counted[2]), 1), 1.0))


def failure(user: str) -> None:
    """Why there are no concepts, and what can be done now."""
    if (failed := st.session_state.get(FAILED)) is None:
        return
    request, error, offline = failed
    if offline or not isinstance(error, ConceptsUnavailable | SpendingCapReached):  # of no use to ask again as it is
        st.warning(words.plain(str(error)), icon=":material/edit:")
        return
    st.error(words.plain(str(error)), title="The language model gave no concepts", icon=":material/error:")
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Write them offline", icon=":material/wifi_off:", type=page.strong(), key="write-offline",
            on_click=_again, args=(user, request, True),
        )  # fmt: skip
        st.button("Try again", icon=":material/refresh:", key="try-again", on_click=_again, args=(user, request, False))


def _again(user: str, request: Request, offline: bool) -> None:
    begin(user, request, offline=offline)


def anew(user: str, made: Recommendation) -> None:
    """A button that has an opened request answered again; a callback, so that the address is this run's already."""
    st.button(
        "Ask anew",
        icon=":material/refresh:",
        type="tertiary",
        key="ask-anew",
        help="Other concepts for the same request"
        + ("." if made.generator == OFFLINE else "; they cost what they cost the first time."),
        on_click=_anew,
        args=(user, made),
    )


def _anew(user: str, made: Recommendation) -> None:
    begin(user, made.request, offline=made.generator == OFFLINE, fresh=True)


# --- the answer -------------------------------------------------------------------------------------


def opened(user: str) -> Opened | None:
    """The request that the address names; None where it is not the user's, or not there."""
    query_id = asked_for()
    if query_id is None or query_id < 0:
        return None
    with db.transaction("viewer", user) as connection:
        made = kept.recommendation(connection, query_id)
        if made is None:
            return None
        begun: dict[int, list[Draft]] = {}
        for draft in drafts.drafts(connection, query_id=query_id):
            begun.setdefault(draft.concept_id or 0, []).append(draft)
        return Opened(made, kept.concepts(connection, query_id), begun)


def nothing_asked() -> None:
    """The page before anything was asked."""

    def where_videos_come_from() -> None:
        st.caption("No videos are collected yet, so nothing could back them.", text_alignment="center")
        links.link("pages/home.py", label="Get videos in", icon=":material/add_circle:", to={})

    page.blank(
        ":material/lightbulb:",
        "Say what your videos are about.",
        "More concepts are written than shown. Each is scored, compared with every known title, and backed by videos.",
        None if page.state().candidates else where_videos_come_from,
    )


def not_here() -> None:
    """The address opens a request that is not there."""
    st.info(
        "This request is not here (any more). It was deleted, or belongs to another user or another installation.",
        icon=":material/search_off:",
    )


def answer(user: str, found: Opened) -> None:
    """The concepts as cards, with what the reader should know about them, and what they rest on."""
    made = found.made
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(
            f"{words.plural(len(made.concepts), 'concept')} on {words.plain(made.topic)}"
            + (f", {words.plain(made.vibe.lower())}" if made.vibe else ""),
            anchor=False,
            width="stretch",
        )
        anew(user, made)
        name = f"concepts-{made.query_id}"
        st.download_button(
            "Markdown", to_markdown(made), f"{name}.md", "text/markdown", icon=":material/download:", on_click="ignore"
        )
        st.download_button(
            "CSV",
            to_csv(made).encode("utf-8-sig"),
            f"{name}.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    if st.session_state.get(ANSWERED) == (made.query_id, True):
        st.info(
            f"The same request was answered {words.ago(made.asked_at, page.now())}: these are those concepts, at no cost."
            " “Ask anew” gets others.",
            icon=":material/history:",
        )
    st.caption(" · ".join(part for part in (words.plain(made.note), spent(made), _asked(made)) if part))
    rows = _rows(made)
    ties = [one.concept.place for one in found.concepts]
    with st.grid(2, min_column_width=380, gap="small"):
        for one in found.concepts:
            card(user, made, one, ties, rows, found.drafts.get(one.concept_id, ()))
    evidence(made.evidence)


def spent(made: Recommendation) -> str:
    """What an answer took, as Markdown. Pure."""
    used = made.usage
    if not used.requests:
        return ""
    about = "about " if used.estimated else ""
    parts = [f"{about}{words.count(used.input_tokens)} tokens in, {words.count(used.output_tokens)} out"]
    if used.cost_usd:
        parts.append(words.plain(money(used.cost_usd)))
    return ", ".join([*parts, f"{used.seconds:.0f} s"])


def _asked(made: Recommendation) -> str:
    where = [words.platform(made.request.platform)] if made.request.platform else []
    if made.request.language:
        where.append(create.LANGUAGE_NAMES.get(made.request.language, made.request.language))
    return " · ".join([*(words.plain(one) for one in where), f"asked {words.ago(made.asked_at, page.now())}"])


def _rows(made: Recommendation) -> dict[str, Row]:
    """The videos that stand beside the concepts and under them, as they are now."""
    ids = [
        key for one in made.concepts for key in (*one.evidence, *([one.nearest.candidate_id] if one.nearest else []))
    ]
    found = data.rows(tuple(dict.fromkeys(ids)))
    return {row.candidate_id: row for row in found}


def standing(place: int, places: Sequence[int]) -> str:
    """A place as in a contest: 1, or 1= where others share it. Pure."""
    return f"{place}=" if list(places).count(place) > 1 else str(place)


def card(
    user: str,
    made: Recommendation,
    one: KeptConcept,
    places: Sequence[int],
    rows: Mapping[str, Row],
    begun: Sequence[Draft],
) -> None:
    """One concept: its score, why, what may go wrong, how to film it, what backs it, and what became of it."""
    concept = one.concept
    with st.container(border=True, height="stretch", gap="small", key=f"concept-{one.concept_id}"):
        st.markdown(f"### {words.plain(concept.title)}")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f":gray-badge[{standing(concept.place, places)}]",
                help=f"Its place. {words.plain(score_lab.told_by())}",
                width="content",
            )
            st.markdown(
                f":primary[:material/bolt:] **{words.in_100(concept.viral_score)}**",
                help=f"{words.MEANING['score']} Scored as a draft, from its title alone.",
                width="content",
            )
            st.caption(f"where {words.in_100(concept.base_rate)} is ordinary", width="stretch")
            _keep_button(user, one)
            if st.button(
                "Delete", key=f"drop-{one.concept_id}", icon=":material/delete:", type="tertiary", help="Delete it"
            ):
                with db.transaction("viewer", user) as connection:
                    kept.delete_concept(connection, one.concept_id)
                st.rerun()
        st.markdown(words.plain(concept.why))
        if concept.risk:
            st.markdown(f":orange[:material/warning:] {words.plain(concept.risk)}")
        st.markdown(f"**Hook.** {words.plain(concept.hook)}")
        with st.expander("How to film it", icon=":material/movie:"):
            st.markdown("\n".join(f"{beat}. {words.plain(line)}" for beat, line in enumerate(concept.outline, start=1)))
            st.markdown(f"**Thumbnail.** {words.plain(concept.thumbnail_idea)}")
            st.caption(" ".join(f"\\#{words.plain(tag)}" for tag in concept.hashtags))
        _novelty(concept, rows, one.concept_id)
        st.space("stretch")
        _backing(concept, rows, one.concept_id)
        for draft in begun:
            _draft(draft)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            links.link("pages/score_lab.py", label="Open in Score lab", icon=":material/science:", to=to_lab(made, one))
            _published(user, made, one, begun)


def to_lab(made: Recommendation, one: KeptConcept) -> dict[str, str]:
    """The address of the Score lab with a concept in its fields. Pure."""
    video = recommend.as_draft(one.concept.title, made.evidence, made.request.language)
    category = made.evidence.category
    given = {
        "draft": one.concept.title,
        "my_language": create.LANGUAGE_NAMES.get(video.language or ""),  # an address has the words of a choice
        "my_category": category if category in create.CATEGORIES else None,
        "concept": str(one.concept_id),
    }
    return {key: value for key, value in given.items() if value}


def _keep_button(user: str, one: KeptConcept) -> None:
    if st.button(
        "Kept" if one.starred else "Keep",
        key=f"star-{one.concept_id}",
        icon=":material/bookmark_added:" if one.starred else ":material/bookmark_add:",
        type="tertiary",
        help="Take it out of “Kept concepts”" if one.starred else "List it under “Kept concepts”",
    ):
        with db.transaction("viewer", user) as connection:
            kept.star(connection, one.concept_id, not one.starred)
        st.rerun()


def _novelty(concept: Concept, rows: Mapping[str, Row], concept_id: int) -> None:
    """The known title that is nearest, opened by a click."""
    if concept.nearest is None:
        return
    with st.container(gap=None):
        st.caption(
            "Nearest known title" + ("" if concept.novelty is None else f", {concept.novelty * 100:.0f} of 100 apart"),
            help="Of all collected videos. The distance is 1 − the cosine of the two titles' vectors. Up to"
            f" {(1 - novelty.REWORDING) * 100:.0f} of 100 a title only rewords the other, and is left out.",
        )
        known: Known = concept.nearest
        if (row := rows.get(known.candidate_id)) is not None:
            cards.title_button(row, key=f"nearest-{concept_id}", width=80)
        else:
            st.markdown(words.plain(known.title))


def _backing(concept: Concept, rows: Mapping[str, Row], concept_id: int) -> None:
    shown = [rows[key] for key in concept.evidence if key in rows]
    if not shown:
        st.caption(":orange[:material/link_off:] No collected video backs this one.")
        return
    st.caption(f"Backed by {words.plural(len(shown), 'video')}")
    cards.lines(shown, _facts, key=f"backing-{concept_id}")


def _facts(row: Row) -> str:
    facts = [words.in_100(row.viral_score)] if row.viral_score is not None else []
    if row.outlier_multiple is not None:
        facts.append(f"{words.times(row.outlier_multiple)} usual")
    return " · ".join([*facts, words.apart(words.plain(words.shorten(row.channel_name or "channel unknown", 24)))])


# --- what became of a concept -----------------------------------------------------------------------


def _draft(draft: Draft) -> None:
    """A draft that began with a concept, and what came of it."""
    if not draft.published_url:
        st.caption(f":material/edit_note: Draft “{words.plain(words.shorten(score_lab.label(draft), 60))}”")
        return
    with st.expander(f"Published: {score_lab.stage(draft)}", icon=":material/rocket_launch:"):
        score_lab.outcome(draft)


def _published(user: str, made: Recommendation, one: KeptConcept, begun: Sequence[Draft]) -> None:
    """Where the address goes that a concept was published at."""
    if any(draft.published_url for draft in begun):
        return
    with st.popover("Published it", icon=":material/link:", type="tertiary", key=f"published-{one.concept_id}"):
        url = st.text_input(
            "Its address",
            key=f"url-of-{one.concept_id}",
            placeholder="https://www.youtube.com/shorts/…",
            help="Miles looks at the video now and again at its re-visits, and shows here what came of the prediction.",
        )
        if st.button("Follow it", type=page.strong(), key=f"follow-{one.concept_id}"):
            try:
                follow(user, made, one, begun, url)
            except MilesError as error:
                st.error(words.plain(str(error)), icon=":material/error:")
            else:
                st.toast("Linked; Miles looks at it now and follows it", icon=":material/link:")
                st.rerun()


def follow(user: str, made: Recommendation, one: KeptConcept, begun: Sequence[Draft], url: str) -> None:
    """Link a concept, through its newest draft or one that is made of it, to the address it was published at.

    Raises MilesError.
    """
    address = published.address_of(url)
    foretold, with_it, video = None, False, recommend.as_draft(one.concept.title, made.evidence, made.request.language)
    if not begun:
        model = data.model()
        (verdict,) = lab.judge(model, [video])
        foretold = score_lab.foretold(verdict)
        with_it = (verdict.viral_score, verdict.model_version) == (one.concept.viral_score, made.model_version)
    with db.transaction("operator") as connection:
        collection_id = jobs.defer_collection(connection, address, "url", 1, user)
    with db.transaction("viewer", user) as connection:
        draft_id = (
            begun[0].draft_id
            if begun
            else drafts.save_draft(
                connection,
                one.concept.title,
                category=made.evidence.category,
                language=video.language,
                foretold=foretold,
                concept_id=one.concept_id,
                foretold_with_it=with_it,
            )
        )
        published.link(connection, draft_id, address, collection_id)


# --- what they rest on ------------------------------------------------------------------------------


def evidence(known: Evidence) -> None:
    """Patterns, lengths and words that were measured, and flops as contrast."""
    if not (known.patterns or known.flops or known.terms):
        return
    with st.expander("What these rest on", icon=":material/query_stats:"):
        if known.patterns:
            _patterns(known.patterns)
        if known.lengths is not None:
            with st.grid(2, min_column_width=220, gap="small"):
                _length("Titles", known.lengths.winners_title, known.lengths.flops_title, "characters")
                _length("Videos", known.lengths.winners_duration, known.lengths.flops_duration, "seconds")
        if known.terms:
            st.markdown("**Words of the topic**", help="How videos with the word do, against the topic's average.")
            st.markdown(" · ".join(_term(term) for term in known.terms[:16]))
        if known.flops:
            _flops(known.flops)


def _term(term: grounding.Term) -> str:
    moved = "" if term.lift is None else f" {words.change(term.lift)}"
    return f"{words.plain(term.text)} :gray[{words.plural(term.videos, 'title')}{moved}]"


def _patterns(lifts: Sequence[Lift]) -> None:
    # a word that is a structure too is told once: “pov” and POV:
    by_name = {grounding.named(one).strip("“”:").casefold(): one for one in reversed(lifts)}
    shown = sorted(by_name.values(), key=lambda one: -abs(math.log(one.lift)))[:MOST_PATTERNS]
    shown.sort(key=lambda one: -one.lift)
    best = max(shown, key=lambda one: abs(math.log(one.lift)))
    charts.show(
        charts.intervals(
            [html.escape(words.shorten(grounding.named(one), 30)) for one in shown],
            [one.lift for one in shown],
            [one.low for one in shown],
            [one.high for one in shown],
            no_effect=1.0,
            clear=[one.low > 1 or one.high < 1 for one in shown],
            labels=[words.change(one.lift) for one in shown],
            hover=[
                html.escape(
                    f"{grounding.named(one)}: {words.change_interval(one.low, one.high)}, {scope(one)},"
                    f" {words.plural(one.channels, 'channel')}"
                )
                for one in shown
            ],
            axis="views against the same channels' other titles",
            ratio=True,
        ),
        title=words.plain(f"{grounding.named(best)}: {words.change(best.lift)} in {scope(best)}"),
        caption=f"The {len(shown)} strongest of {len(lifts)} measured title patterns; the bars are 95% intervals."
        " What goes with better results, not what brings them.",
        key="evidence-patterns",
    )


def scope(lift: Lift) -> str:
    """Among which videos a pattern was measured, in words. Pure."""
    if lift.scope == "all":
        return "all videos"
    return "this topic" if lift.scope == "topic" else lift.scope.partition(":")[2]


def _length(what: str, up: Spread | None, down: Spread | None, unit: str) -> None:
    if up is None and down is None:
        return

    def said(one: Spread | None) -> str:
        if one is None:
            return words.UNKNOWN
        return words.duration(one.middle) if unit == "seconds" else f"{one.middle:.0f} {unit}"

    half = "" if up is None else f"half of them in {up.low:.0f}–{up.high:.0f} {unit}; "
    create.number(
        f"{what} that do well",
        said(up),
        f"{half}flops: {said(down)}",
        help="The middle of the winners' lengths, and the range in which half of them lie.",
    )


def _flops(flops: Sequence[Backing]) -> None:
    st.markdown("**Flops on the same topic**", help="Below their channel's usual; the worst first.")
    found = data.rows(tuple(one.candidate_id for one in flops))
    if found:
        with st.grid(2, min_column_width=340, gap="small") as cells:
            for row in found:
                with cells.cell():
                    cards.lines([row], _facts, key="flop")


# --- what was kept ----------------------------------------------------------------------------------


def earlier(user: str) -> None:
    """The user's kept concepts and earlier requests: opened again, deleted."""
    with db.transaction("viewer", user) as connection:
        found, starred = kept.requests(connection, LISTED), kept.starred(connection, LISTED)
    if starred:
        with st.expander(f"Kept concepts ({len(starred)})", icon=":material/bookmarks:"):
            for one in starred:
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    links.link(
                        "pages/recommendations.py",
                        label=words.plain(words.shorten(one.concept.title, 90)),
                        to={"request": str(one.query_id)},
                        width="stretch",
                    )
                    st.caption(words.in_100(one.concept.viral_score), width="content")
                    if st.button(
                        "Take out", key=f"unstar-{one.concept_id}", icon=":material/bookmark_remove:", type="tertiary",
                        help="Take it out; its request stays",
                    ):  # fmt: skip
                        with db.transaction("viewer", user) as connection:
                            kept.star(connection, one.concept_id, on=False)
                        st.rerun()
    if found:
        with st.expander(f"Earlier requests ({len(found)})", icon=":material/history:"):
            for query in found:
                with st.container(
                    horizontal=True, vertical_alignment="center", gap="small", key=f"query-{query.query_id}"
                ):
                    with st.container(gap=None, width="stretch"):
                        links.link(
                            "pages/recommendations.py",
                            label=words.plain(words.shorten(query.request.topic, 60))
                            + (
                                f" · {words.plain(words.shorten(query.request.vibe, 40))}" if query.request.vibe else ""
                            ),
                            to=address(query.request, query.query_id),
                        )
                        st.caption(
                            f"{words.plain(query.generator)} · {words.ago(query.asked_at, page.now())} · "
                            + words.plain(words.shorten(" / ".join(query.titles), 140))
                        )
                    if st.button(
                        "Delete", key=f"forget-{query.query_id}", icon=":material/delete:", type="tertiary",
                        help="Delete it with its concepts; drafts that began with one stay",
                    ):  # fmt: skip
                        with db.transaction("viewer", user) as connection:
                            kept.delete(connection, query.query_id)
                        if asked_for() == query.query_id:
                            st.query_params.pop("request", None)
                        st.rerun()
