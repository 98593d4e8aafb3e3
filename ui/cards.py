"""A candidate as a card and in full: thumbnail, title, score, multiple, velocity, growth.

Pictures that Miles has stored are shown; for others a tile is drawn, so that a page looks the same
without network and tells no video site who is looking.
"""

import base64
import html
import io
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import streamlit as st
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from miles.browse import Detail, Row
from miles.errors import ModelUnavailable, StorageUnavailable
from miles.similar import MOST_ALIKE
from ui import charts, data, links, pictures, words
from ui.words import known

TILE = (480, 270)  # px, 16:9: one height for every card, whatever the picture's shape
CARD_WIDTH = 232  # px; below it a card's numbers wrap
TITLE_WIDTH = 52  # columns of text that fit in two lines beside a small picture …
CARD_TITLE = 50  # … and in two lines of a card
LEAST_GROWTH = 1 / 24  # days between the first look and the last, below which a line would show no growth
NARROW = "\u202f"  # a thin space that does not break

_GLYPHS = {
    "Music": "♪",
    "Gaming": "✦",
    "Sports": "◉",
    "News & Politics": "¶",
    "Education": "✎",
    "Science & Technology": "⚙",
}


def grid(rows: Sequence[Row], *, now: datetime, key: str) -> None:
    """Candidates as cards of one height, as many in a row as fit."""
    pictures.warm(rows)
    with st.grid("auto", min_column_width=CARD_WIDTH, gap="small"):
        for row in rows:
            card(row, now=now, key=key)


def card(row: Row, *, now: datetime, key: str) -> None:
    """One candidate, about 320 px high. `key` tells apart the same candidate in two lists of a page."""
    with st.container(border=True, gap="xxsmall", height="stretch", key=f"card-{key}-{row.candidate_id}"):
        st.image(picture(row), width="stretch", alt=picture_alt(row))
        st.markdown(f"**{words.plain(words.shorten(row.title, CARD_TITLE))}**  \n:small[:gray[{byline(row, now)}]]")
        st.space("stretch")
        st.markdown(numbers(row), help=_missing(row))
        opening(row, key=key)


def numbers(row: Row) -> str:
    """Score and multiple, and below them the velocity with its line, as Markdown.

    One element rather than one for each number: what a page of cards costs is the number of its elements.
    """
    usual = f"**{words.times(row.outlier_multiple)}**" if known(row.outlier_multiple) else words.UNKNOWN
    scored = f":primary[:material/bolt:]{NARROW}**{words.in_100(row.viral_score)}**"
    return f"{scored} &ensp; {usual} usual  \n{pace(row)}"


def _missing(row: Row) -> str | None:
    """Why a number of the card is not known; None where all are."""
    reasons = {"score": row.viral_score, "outlier": row.outlier_multiple}
    return "\n\n".join(words.MISSING[name] for name, value in reasons.items() if not known(value)) or None


def opening(row: Row, *, key: str) -> None:
    """The button that opens a card's details, from which everything else is a click away."""
    st.button(
        "Details",
        key=f"open-{key}-{row.candidate_id}",
        type="tertiary",
        icon=":material/open_in_full:",
        help=words.plain(row.title),
        on_click=_open,
        args=(row.candidate_id,),
    )


def alike_to(candidate_id: str) -> None:
    """Says that a list holds videos whose titles are like this one's, and lets the reader leave that."""
    if reason := data.no_likeness():
        st.caption(f":orange[:material/extension_off:] {words.plain(reason)}")
        return
    row = next(iter(data.rows((candidate_id,))), None)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(
            f":material/join_inner: Titles most like **{words.plain(words.shorten(row.title, 60))}**, at most {MOST_ALIKE}"
            if row
            else ":orange[:material/link_off:] The video that this address compares with is not in Miles (any more).",
            width="content",
            help="By the meaning of their titles: the nearest vectors, of those that pass the filters.",
        )
        st.button("Show all", icon=":material/close:", type="tertiary", key="like-none", on_click=_like, args=("",))


def _like(candidate_id: str) -> None:
    """List the titles that are like this one's; "" for all again."""
    st.query_params.pop("video", None)
    st.query_params.pop("at", None)
    if candidate_id:
        st.query_params["like"] = candidate_id
    else:
        st.query_params.pop("like", None)


def byline(row: Row, now: datetime) -> str:
    """Channel · age · views, as Markdown."""
    published = row.published_at or row.published_about
    parts = [
        words.apart(words.plain(words.shorten(row.channel_name, 14))) if row.channel_name else "channel unknown",
        f"{'' if row.published_at else 'about '}{words.age(published, now)}" if published else "date unknown",
        f"{words.count(row.views)} views",
    ]
    return " · ".join(parts) + (" · sample" if row.sample else "")


def pace(row: Row) -> str:
    """The velocity and the line of its growth, as Markdown."""
    if len(row.growth) < 3:  # between two points every growth looks the same
        return velocity(row)
    return f"{velocity(row)} ![{words.plain(sparkline_alt(row.growth))}]({_address(sparkline(row.growth))})"


def velocity(row: Row) -> str:
    """Measured velocity with its change, else the lifetime one and said so, as Markdown."""
    if row.velocity is not None:
        return f"**{words.per_day(row.velocity)}**{change(row)}"
    if row.lifetime_velocity is not None:
        return f"{words.per_day(row.lifetime_velocity)} :gray[lifetime]"
    return words.UNKNOWN


def change(row: Row) -> str:
    """How the measured velocity moved from the one before; empty where that is not known.

    Without colour: no green or red can be read in the grey of a caption.
    """
    if row.growth_change is None or row.velocity is None:
        return ""
    if row.velocity <= 0 or row.growth_change > 10:  # a share that large says no more than the sign
        return "" if row.velocity <= 0 else " ↑ over 10×"
    moved = words.change(row.growth_change).lstrip("+−±")
    if row.growth_change >= 1.005:
        return f" ↑{moved}"
    return f" ↓{moved}" if row.growth_change <= 0.995 else " →"


def picture(row: Row) -> bytes | str:
    """The stored thumbnail on a 16:9 ground with the duration in its corner, else a drawn tile (SVG)."""
    if row.thumbnail:
        with suppress(pictures.NotHere):
            return _thumbnail(row.thumbnail, words.duration(row.duration))
    return tile(row.category, row.duration, row.media_type)


def tile(category: str | None, duration: float | None, media_type: str | None = None) -> str:
    """A neutral tile (SVG) that says the category, for a video without a stored thumbnail."""
    width, height = TILE
    ground, ink = ("#1d2a30", "#7f929b") if charts.dark() else ("#e8eef0", "#70838c")
    label = html.escape(category or {"short": "Short"}.get(media_type or "", "Video"))
    glyph = _GLYPHS.get(category or "", "▶")
    corner = ""
    if duration is not None:
        length = words.duration(duration)
        wide = 12 * len(length) + 16
        corner = (
            f'<rect x="{width - wide - 10}" y="{height - 40}" width="{wide}" height="30" rx="6" fill="#000" opacity=".62"/>'
            f'<text x="{width - 10 - wide / 2}" y="{height - 19}" fill="#fff" font-size="19" text-anchor="middle">{length}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="{width}" height="{height}" rx="12" fill="{ground}"/>'
        f'<text x="{width / 2}" y="132" fill="{ink}" opacity=".75" font-size="60" text-anchor="middle">{glyph}</text>'
        f'<text x="{width / 2}" y="180" fill="{ink}" font-size="21" text-anchor="middle">{label}</text>{corner}</svg>'
    )


def sparkline(values: Sequence[float], width: int = 56, height: int = 20) -> str:
    """A small line (SVG) without axes: the shape of a growth."""
    low, high = min(values), max(values)
    span = (high - low) or 1
    points = " ".join(
        f"{2 + position * (width - 4) / (len(values) - 1):.1f},{height - 3 - (value - low) / span * (height - 6):.1f}"
        for position, value in enumerate(values)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<polyline points="{points}" fill="none" stroke="{charts.accent()}" stroke-width="2"'
        ' stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )


def lines(rows: Sequence[Row], facts: Callable[[Row], str], *, key: str) -> None:
    """Candidates as a narrow list: thumbnail, title to open it, and a line of `facts` (Markdown)."""
    pictures.warm(rows)
    for row in rows:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.image(picture(row), width=88, alt=picture_alt(row))
            with st.container(gap=None, width="stretch"):
                title_button(row, key=key, wrap=False)  # two lines of a button stand centred
                st.caption(facts(row) + (" · sample" if row.sample else ""))


def title_button(row: Row, *, key: str, width: int = TITLE_WIDTH, wrap: bool = True) -> None:
    """A title that opens its details."""
    st.button(
        words.plain(words.shorten(row.title, width)),
        key=f"{key}-{row.candidate_id}",
        type="tertiary",
        help=words.plain(row.title),
        wrap=wrap,
        on_click=_open,
        args=(row.candidate_id,),
    )


def original(row: Row) -> str | None:
    """Where the video itself can be seen: its address, or the one that YouTube's key tells where an import held none."""
    if row.url or row.sample or row.platform != "youtube" or not re.fullmatch(r"[\w-]{11}", row.video_id):
        return row.url
    return f"https://www.youtube.com/watch?v={row.video_id}"


def picture_alt(row: Row) -> str:
    """What a screen reader says of a card's picture."""
    return f"Thumbnail of {row.title}" if row.thumbnail else "No thumbnail stored"


def sparkline_alt(growth: Sequence[float]) -> str:
    """What a screen reader says of a growth."""
    return f"Views from {words.count(growth[0])} to {words.count(growth[-1])} over {len(growth)} days"


def show_open() -> None:
    """Open the details that the URL asks for (`?video=platform:id`). Last call of a page with cards."""
    if candidate_id := st.query_params.get("video"):
        _details(candidate_id)


def _open(candidate_id: str) -> None:
    st.query_params["video"] = candidate_id


def _close() -> None:
    st.query_params.pop("video", None)


@st.dialog("Video", width="large", icon=":material/play_circle:", on_dismiss=_close)
def _details(candidate_id: str) -> None:
    from ui import page, removal  # page needs this module's neighbours; the frame is not needed to draw a card

    with page.guard():
        # what was clicked in here may be another one than what it was opened with
        found = data.detail(st.query_params.get("video", candidate_id))
        if found is None:
            st.info(
                "This video is not in Miles (any more). The address may be from another installation.",
                icon=":material/search_off:",
            )
            return
        _facts(found, page.now())
        removal.of_video(found)


def _facts(found: Detail, now: datetime) -> None:
    row = found.row
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.image(picture(row), width="stretch", alt=f"Thumbnail of {row.title}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if address := original(row):
                st.link_button("Open original", address, icon=":material/open_in_new:")
            if row.channel_key:
                links.link(
                    "pages/trending.py",
                    label=f"{words.plural(found.channel_videos, 'video')} of this channel",
                    icon=":material/subscriptions:",
                    to={"channel": row.channel_key},
                )
            links.link(
                "pages/trending.py",
                label="Similar titles",
                icon=":material/join_inner:",
                to={"like": row.candidate_id},
            )
    with right:
        st.markdown(f"**{words.plain(row.title)}**")
        st.caption(
            " · ".join(
                part
                for part in (
                    words.apart(words.plain(row.channel_name)) if row.channel_name else None,
                    words.plural(row.followers, "follower") if row.followers is not None else None,
                    row.category,
                    words.FORMATS.get(row.media_type or ""),
                    words.duration(row.duration) if row.duration is not None else None,
                    row.language,
                    f"published {words.day(row.published_at)} ({words.ago(row.published_at, now)})"
                    if row.published_at
                    else None,
                    "sample" if row.sample else None,
                )
                if part
            )
        )
        _score(row)
    _numbers(row)
    _growth(found)
    _why(row)
    with st.expander("Facts", icon=":material/info:"):
        st.markdown(
            "\n".join(
                f"- {name}: {value}"
                for name, value in (
                    ("Key", f"`{row.candidate_id}`"),
                    ("Platform", row.platform),
                    ("Likes", words.full(row.likes)),
                    ("Comments", words.full(row.comments)),
                    (
                        "Engagement",
                        words.UNKNOWN
                        if row.engagement_rate is None
                        else f"{row.engagement_rate:.1%} (likes and comments ÷ views)",
                    ),
                    ("Charts it was seen on", f"{row.country_count} countries" if row.country_count else words.UNKNOWN),
                    ("First seen", f"{found.first_seen_at.astimezone(UTC):%d %b %Y, %H:%M} UTC"),
                    ("Source", words.plain(found.source)),
                    ("Model", row.model_version or words.UNKNOWN),
                    ("Tags", words.plain(", ".join(found.tags[:20])) if found.tags else words.UNKNOWN),
                )
            )
        )
        if found.description:
            st.text(found.description)


def _score(row: Row) -> None:
    if row.viral_score is None:
        st.metric("Score", words.UNKNOWN, icon=":material/bolt:", help=words.MISSING["score"])
        return
    st.metric("Score", words.in_100(row.viral_score), icon=":material/bolt:", help=_score_help(row))
    st.caption(
        f"Base rate {words.in_100(row.base_rate)}, so {words.against_base(row.viral_score, row.base_rate)}."
        + (f" {words.plain(row.score_note)}" if row.score_note else "")
    )


def _numbers(row: Row) -> None:
    with st.grid(4, min_column_width=140, gap="small"):
        st.metric(
            "Views",
            words.count(row.views),
            help=f"{words.MEANING['views']} {words.full(row.views)}",
            border=True,
            height="stretch",
        )
        st.metric(
            "Measured velocity",
            words.per_day(row.velocity),
            help=_velocity_help(row),
            border=True,
            height="stretch",
        )
        st.metric(
            "Acceleration",
            words.per_day_each_day(row.acceleration),
            # st.metric tells down from up by the hyphen-minus alone
            delta=None if row.growth_change is None else words.change(row.growth_change).replace("−", "-"),
            delta_description=None if row.growth_change is None else f"from {words.per_day(row.velocity_before)}",
            help=words.MEANING["acceleration"] if row.acceleration is not None else words.MISSING["acceleration"],
            border=True,
            height="stretch",
        )
        st.metric(
            "Engagement",
            words.percent(row.engagement_rate, 1),
            help=words.MEANING["engagement"] if row.engagement_rate is not None else words.MISSING["engagement"],
            border=True,
            height="stretch",
        )
        st.metric(
            "Lifetime velocity",
            words.per_day(row.lifetime_velocity),
            help=words.MEANING["lifetime"] if row.lifetime_velocity is not None else words.MISSING["lifetime"],
            border=True,
            height="stretch",
        )
        st.metric(
            "Predicted velocity",
            words.per_day(row.predicted_velocity),
            help=f"{words.MEANING['predicted_velocity']} Interval {words.interval(row.velocity_low, row.velocity_high, '/day')}.",
            border=True,
            height="stretch",
        )
        st.metric(
            "Against usual",
            words.times(row.outlier_multiple),
            help=(
                f"{words.MEANING['outlier']} Compared with {row.outlier_n} videos; usual is "
                f"{words.count(row.channel_baseline)} views."
                if row.outlier_multiple is not None
                else words.MISSING["outlier"]
            ),
            border=True,
            height="stretch",
        )
    if row.outlier_multiple is not None:
        st.caption(
            f"Channel baseline: {words.count(row.channel_baseline)} views, the median of "
            f"{words.plural(row.outlier_n or 0, 'other video')} of this channel at about the same age."
        )


def _growth(found: Detail) -> None:
    looks = [look for look in found.looks if look.views is not None]
    if len(looks) < 2:
        st.caption(f"{words.plural(len(looks), 'snapshot')} so far; growth needs two.")
        return
    first, last = looks[0], looks[-1]
    assert first.views is not None  # noqa: S101  # filtered above
    assert last.views is not None  # noqa: S101
    days = (last.observed_at - first.observed_at).total_seconds() / 86400
    countries = {look.country for look in looks if look.country}
    charted = f" on the charts of {words.plural(len(countries), 'country', 'countries')}" if countries else ""
    if days < LEAST_GROWTH:
        st.caption(
            f"{words.plural(len(looks), 'snapshot')}{charted}, all taken within {words.duration(max(days * 86400, 1))}: "
            "growth needs looks that lie hours apart."
        )
        return
    charts.show(
        charts.line([look.observed_at for look in looks], [look.views or 0 for look in looks], unit="views"),
        title=f"{words.count(first.views)} to {words.count(last.views)} views in {days:.1f} days",
        caption=f"{words.plural(len(looks), 'snapshot')}{charted}"
        + (". Some counts are rounded by the source." if not all(look.exact for look in looks) else "."),
        key=f"growth-{found.row.candidate_id}",
    )


def _why(row: Row) -> None:
    """Why it scored so, and what became of similar titles; worked out when it is opened."""
    if row.viral_score is None:
        return
    # in the address under another name than the Score lab's own, over which this may be open
    opened = st.expander("Why it scored so", icon=":material/search_insights:", key="details_why", bind="query-params")
    if not opened.open:
        return
    from ui import why  # draws with this module

    with opened:
        try:
            explained = data.explanation(row.candidate_id)
        except ModelUnavailable as error:
            st.error(words.plain(str(error)), title="There is no model to explain with", icon=":material/error:")
        except StorageUnavailable as error:
            st.error(words.plain(str(error)), title="Its picture can't be read now", icon=":material/error:")
        else:
            if explained is not None:
                why.explained(*explained, key=f"why-{row.candidate_id}")
        why.similar(data.similar(row.candidate_id), key=f"similar-{row.candidate_id}")


def _score_help(row: Row) -> str:
    if row.viral_score is None:
        return words.MISSING["score"]
    return f"{words.MEANING['score']} Base rate: {words.in_100(row.base_rate)}."


def _velocity_help(row: Row) -> str:
    if row.velocity is not None:
        between = f" Measured over {row.velocity_days:.1f} days." if row.velocity_days else ""
        return f"{words.MEANING['velocity']} {words.full(row.velocity)} a day.{between}"
    if row.lifetime_velocity is not None:
        return f"{words.MISSING['velocity']} {words.MEANING['lifetime']}"
    return words.MISSING["velocity"]


def small_picture(row: Row) -> str:
    """The same for a table's cell: a data URL of a small picture."""
    drawn = picture(row)
    if isinstance(drawn, str):
        return _address(drawn)
    return _shrunk(row.thumbnail or "", drawn)


def _address(drawn: str) -> str:
    """A drawing (SVG) as an address that holds all of it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


@st.cache_data(max_entries=2000, show_spinner=False)
def _shrunk(key: str, _drawn: bytes) -> str:
    with Image.open(io.BytesIO(_drawn)) as image:
        written = io.BytesIO()
        image.resize((128, 72), Image.Resampling.LANCZOS).save(written, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


@st.cache_data(max_entries=2000, show_spinner=False)
def _thumbnail(key: str, corner: str) -> bytes:
    """A stored picture, letterboxed to a tile, as JPEG. Raises pictures.NotHere where it is gone or unreadable."""
    kept = pictures.read(key)
    try:
        with Image.open(io.BytesIO(kept)) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise pictures.NotHere from error
    width, height = TILE
    scale = min(width / image.width, height / image.height)
    image = image.resize(
        (max(round(image.width * scale), 1), max(round(image.height * scale), 1)), Image.Resampling.LANCZOS
    )
    ground = Image.new("RGB", TILE, "#0b1215")
    ground.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    if corner != words.UNKNOWN:
        pen = ImageDraw.Draw(ground, "RGBA")
        font = ImageFont.load_default(20)
        long = math.ceil(pen.textlength(corner, font=font))
        pen.rounded_rectangle((width - long - 26, height - 40, width - 10, height - 10), 6, fill=(0, 0, 0, 170))
        pen.text((width - long - 18, height - 37), corner, font=font, fill="#ffffff")
    written = io.BytesIO()
    ground.save(written, "JPEG", quality=86)
    return written.getvalue()
