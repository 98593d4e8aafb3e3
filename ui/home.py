"""The parts of Home: the one to look at first, niches, movers, the data and the sources at a glance, what to do next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import parse_qs

import streamlit as st

from miles import addresses, drafts, glance, settings
from miles.addresses import Asked
from miles.browse import Filters, Mover, Row, State
from miles.db import transaction
from miles.glance import Step
from miles.health import Health
from miles.niches import Niche
from ui import cards, data, links, niches, page, words

SHOWN = 6  # niches; more are a click away
IN_A_ROW = 4
MOVERS = 6

STEPS: dict[Step, tuple[str, str, str, str]] = {  # page, label, why, icon
    "start a worker": (
        "pages/operations.py", "Start a worker", "Jobs wait and nobody does them: `python -m miles worker`.",
        ":material/engineering:",
    ),
    "see the sources": (
        "pages/operations.py", "See the sources", "A source refuses, or can't be read.", ":material/sensors_off:",
    ),
    "retry failed jobs": (
        "pages/operations.py", "Look at failed jobs", "Some work failed and waits for your decision.", ":material/error:",
    ),
    "collect": (
        "pages/operations.py", "Collect now", "The newest snapshot is over a day old.", ":material/download:",
    ),
    "score": (
        "pages/operations.py", "Score what is new", "Some videos have no score yet: `python -m miles score`.",
        ":material/speed:",
    ),
    "measure": (
        "pages/operations.py", "Look a second time", "No velocity is measured yet; it takes two looks at a video.",
        ":material/history:",
    ),
    "save a niche": (
        "pages/trending.py", "Save your niche", "Set a filter on Trending and give it a name; it shows up here.",
        ":material/bookmark_add:",
    ),
    "score a draft": (
        "pages/score_lab.py", "Score a draft", "Try a title and a thumbnail before you publish.", ":material/science:",
    ),
    "get ideas": (
        "pages/recommendations.py", "Get ideas", "Concepts for a topic, each with the videos that back it.",
        ":material/lightbulb:",
    ),
    "read the patterns": (
        "pages/title_patterns.py", "Read the patterns", "Words and forms of titles that go with more views.",
        ":material/title:",
    ),
}  # fmt: skip


def first(row: Row, now: datetime) -> None:
    """The video to look at before any other, and the measures that say so."""
    with st.container(border=True, gap="small", height="stretch"):
        st.markdown(
            ":primary[:material/visibility:] **Look at this first**",
            help="Of your niches and the biggest movers: the video furthest above its channel's usual, of those that are"
            " measured to grow. Measures alone decide, not the score.",
        )
        with st.grid("auto", min_column_width=180, gap="medium"):  # on a phone the picture stands above the words
            with st.container(gap=None):
                st.image(cards.picture(row), width="stretch", alt=cards.picture_alt(row))
            with st.container(gap="xsmall"):
                st.markdown(f"**{words.plain(words.shorten(row.title, 80))}**")
                st.caption(cards.byline(row, now))
                st.markdown(said_of(row))
                if len(row.growth) > 1:
                    st.image(cards.sparkline(row.growth, 160, 36), width=160, alt=cards.sparkline_alt(row.growth))
                cards.opening(row, key="first")


def said_of(row: Row) -> str:
    """Why a video stands out, in a sentence of its measures (Markdown). Pure."""
    said = (
        f"**{words.times(row.outlier_multiple)}** its channel's usual (of {words.plural(row.outlier_n or 0, 'video')})"
    )
    said += f", gaining **{words.per_day(row.velocity)}**"
    if row.growth_change is not None and row.velocity is not None and row.velocity > 0:
        faster = row.growth_change >= 1
        if 0.995 < row.growth_change < 1.005:
            said += ", as fast as before"
        elif row.growth_change > 10:
            said += ", over ten times as fast as before"
        else:
            moved = words.change(row.growth_change).lstrip("+−±")
            said += f", {moved} {'faster' if faster else 'slower'} than before"
    if row.viral_score is not None:
        said += f". Score {words.in_100(row.viral_score)}, base rate {words.in_100(row.base_rate)}"
    return said + "."


def next_steps(state: State, now: datetime, followed: int) -> None:
    """The three things that make most sense now."""
    with transaction("viewer", settings.load().user) as connection:
        kept = len(drafts.drafts(connection, 1))
    steps = glance.next_steps(
        data.standing(), newest=state.newest or now, now=now, measured=data.coverage().with_velocity, niches=followed,
        drafts=kept,
    )  # fmt: skip
    with st.container(border=True, gap="small", height="stretch"):
        st.markdown(":primary[:material/checklist:] **Next**")
        for step in steps:
            path, label, why, icon = STEPS[step]
            with st.container(gap=None):
                st.page_link(path, label=f"**{label}**", icon=icon)
                st.caption(why)


def niche_rows(niche: Niche, state: State) -> tuple[Sequence[Row], int]:
    """The first videos of a niche in its own order, and how many it has."""
    asked = addresses.read(parse_qs(niche.address), state.newest)
    among = data.alike(asked.like, asked.filters) if asked.like else None
    listed = data.page(asked.filters, asked.sort or "score", IN_A_ROW, among=among)
    return listed.rows, data.count(asked.filters, among)


def niche(one: Niche, rows: Sequence[Row], count: int, now: datetime) -> None:
    """A niche: its name, how many videos, and its first ones as cards."""
    address = niches.address(one)
    order = addresses.sort_of(next(iter(address.get("sort", [])), "")) or "score"
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(words.plain(one.name), anchor=False)
        links.link(
            "pages/trending.py",
            label=f"All {words.full(count)}, {addresses.SORTS[order].lower()}",
            help=f"All videos of {words.plain(one.name)} on Trending",
            icon=":material/arrow_forward:",
            icon_position="right",
            to=address,
        )
    if rows:
        cards.grid(rows, now=now, key=f"niche-{one.niche_id}")
    else:
        st.caption("No video passes this filter now. Widen it, or collect more of it.")


def follow(state: State) -> None:
    """The way to a first niche: a few words, or one of the greatest categories."""
    with st.container(border=True, gap="small"):
        st.markdown(
            ":primary[:material/bookmark_add:] **What do you make videos about?**",
            help="It becomes a niche: a saved filter, pinned to this page. On Trending you can save any other.",
        )
        with (
            st.form("follow", border=False),
            st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
        ):
            topic = st.text_input(
                "Topic", placeholder="street food", label_visibility="collapsed", max_chars=60, width=280
            )
            if st.form_submit_button("Follow", type=page.strong(), icon=":material/bookmark_add:"):
                _follow(topic, Filters(text=topic))
        greatest = list(data.options().categories)[:3]
        if greatest:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.caption("Or follow", width="content")
                for category in greatest:
                    if st.button(words.plain(category), key=f"follow-{category}", type="tertiary"):
                        _follow(category, Filters(categories=(category,)))


def movers(
    by_id: Mapping[str, Mover],
    to: datetime | None,
    rows: Sequence[Row],
    now: datetime,
) -> None:
    """What gained most since yesterday, each with its growth."""
    lately = to is not None and now - to < 2 * glance.OLD
    st.header(
        "Biggest movers since yesterday" if lately else f"Biggest movers of the data's last day, {words.day(to)}",
        anchor=False,
        help="Of the videos seen on the last day of the data, those that gained most views a day between their two newest"
        " looks, which lie at most two days apart.",
    )
    with st.grid("auto", min_column_width=330, gap="small"):
        for row in rows:
            one = by_id[row.candidate_id]
            with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
                st.image(cards.picture(row), width=96, alt=cards.picture_alt(row))
                with st.container(gap=None, width="stretch"):
                    cards.title_button(row, key="mover", wrap=False)
                    st.markdown(cards.pace(row))
                    usual = f" · {words.times(row.outlier_multiple)} usual" if row.outlier_multiple is not None else ""
                    sample = " · sample" if row.sample else ""
                    st.caption(f"+{words.count(one.gained)} views in {one.days:.1f} days{usual}{sample}")


def at_a_glance(state: State, found: Sequence[Health], now: datetime) -> None:
    """How much there is, how fresh it is, of how many videos what is known, and how each source stands."""
    st.header("The data", anchor=False)
    known, days = data.coverage(), data.days()

    def share(number: int) -> str:
        return f"**{words.percent(number / known.candidates if known.candidates else None)}**"

    with st.grid(3, min_column_width=250, gap="small"):
        page.total("Videos", state.candidates, [day.candidates for day in days], "first seen")
        page.total("Snapshots", data.snapshots(), [day.snapshots for day in days], "taken")
        with st.container(border=True, height="stretch", gap="xxsmall"):
            old = state.newest is not None and now - state.newest > glance.OLD
            st.markdown(
                f"{':orange[:material/history:]' if old else ':green[:material/check_circle:]'}"
                f" Newest snapshot **{words.ago(state.newest, now)}**",
                help=f"{state.newest:%d %b %Y, %H:%M} UTC." if state.newest else None,
            )
            st.markdown(
                f":material/speed: Scored {share(known.scored)}", help=f"{words.full(known.scored)} of {words.full(known.candidates)} videos."
            )  # fmt: skip
            st.markdown(
                f":material/trending_up: Velocity measured {share(known.with_velocity)}",
                help=f"{words.full(known.with_velocity)} videos were seen twice or more, exactly and far enough apart.",
            )
            st.markdown(
                f":material/bar_chart: × usual known {share(known.with_outlier)}",
                help=f"{words.full(known.with_outlier)} videos are of a channel with at least 5 others to compare with.",
            )
            for one in found:
                st.markdown(source_line(one, now), help=one.canary.reason if one.canary else None)
            st.page_link(
                "pages/operations.py", label="Sources and jobs", icon=":material/arrow_forward:", icon_position="right"
            )


def source_line(one: Health, now: datetime) -> str:
    """A source's state with a sign beside the colour (Markdown). Pure."""
    name = f"**{words.plain(words.platform(one.source))}**"
    if one.state is not None and one.state.breaker != "closed":
        return f":orange[:material/pause_circle:] {name} pauses"
    if one.canary is not None and not one.canary.passed:
        return f":red[:material/error:] {name} can't be read"
    if one.state is None and one.canary is None:
        return f":gray[:material/circle:] {name} not asked yet"
    asked = f", asked {words.ago(one.canary.at, now)}" if one.canary else ""
    return f":green[:material/check_circle:] {name} answers{asked}"


def _follow(name: str, filters: Filters) -> None:
    if not name.strip():
        st.warning("Write what your videos are about.", icon=":material/edit:")
    elif niches.keep(name.strip(), Asked(filters, sort="score")):
        st.rerun()
