"""Why a score is what it is, drawn: what each word, part of the picture and group of facts adds or takes.

And beside it what became of real videos with a similar title. Draws what `miles.explain` and `miles.similar` found.
"""

import io
from collections.abc import Sequence

import streamlit as st
from PIL import Image, ImageDraw, ImageFont

from miles import decoding
from miles.errors import ImageRefused
from miles.explain import GRID, Explanation, Group, Part, Region
from miles.similar import DID_NOT, TOOK_OFF, Contrast, Near
from ui import cards, charts, words

SMALL = 0.05  # in 100; what moves a score by less is drawn as nothing
SHOWN = (512, 288)  # px of the picture, 16:9 as the model sees it
STRONGEST = 150  # of 255: how opaque the cell that moves the score most is painted
MARKED = 4  # cells that have their number written in
GROUPS = {
    "text": "the title",
    "image": "the thumbnail",
    "channel": "the channel's past",
    "details": "category, language, length",
    "counts": "likes, comments, charts",
}
ROWS = ("top", "upper", "lower", "bottom")
COLUMNS = ("left edge", "left middle", "right middle", "right edge")


def explained(found: Explanation, picture: bytes | None, *, key: str) -> None:
    """The effects of words, picture and groups, and what the score does not see."""
    st.caption(
        f":orange[:material/info:] **{found.label}.** Each number is what the score, in 100, loses when that is hidden"
        " from the model; below zero, it gains. What goes together is hidden one at a time, so they need not add up."
    )
    left, right = st.columns(2, gap="large")
    with left:
        if found.parts:
            charts.show(
                charts.effects(
                    [words.shorten(part.text, 18) for part in found.parts],
                    [part.effect.points for part in found.parts],
                    labels=[words.points(part.effect.points) for part in found.parts],
                    hover=[
                        f"{words.points(part.effect.points)} in 100, predicted views {words.change(part.effect.ratio)}"
                        for part in found.parts
                    ],
                ),
                title=words.plain(said_of_words(found.parts)),
                caption="Each word of the title cut out"
                + (", short neighbours together." if any(" " in part.text for part in found.parts) else "."),
                alt=said_of_words(found.parts),
                key=f"{key}-words",
            )
        st.markdown("**What this score cannot see**\n" + "\n".join(f"- {words.plain(line)}" for line in found.unseen))
    with right:
        if found.groups:
            charts.show(
                charts.effects(
                    [GROUPS[group.name][:1].upper() + GROUPS[group.name][1:] for group in found.groups],
                    [group.effect.points for group in found.groups],
                    labels=[words.points(group.effect.points) for group in found.groups],
                    hover=[
                        f"{words.in_100(group.score)} without it, predicted views {words.change(group.effect.ratio)}"
                        for group in found.groups
                    ],
                ),
                title=said_of_groups(found.groups),
                caption="All that is of one kind hidden.",
                key=f"{key}-groups",
            )
        if picture is not None and found.regions:
            _picture(picture, found.regions)
        if found.as_draft is not None:
            st.markdown(
                f"**Before anyone had seen it** the model gives it {words.in_100(found.as_draft.viral_score)}, where"
                f" {words.in_100(found.as_draft.base_rate)} is ordinary. That is another question: whether it beats"
                " its channel's usual."
            )


def _picture(picture: bytes, regions: Sequence[Region]) -> None:
    sentence = said_of_regions(regions)
    drawn = overlay(picture, regions)
    with st.container(gap="xxsmall"):
        st.markdown(f"**{sentence}**")
        if drawn:
            st.image(drawn, width=SHOWN[0], alt=f"The thumbnail with what its parts add or take. {sentence}.")
        st.caption(f"{GRID} × {GRID} parts painted over in turn." + (" Teal adds, orange takes." if drawn else ""))


def similar(found: Contrast | str, *, key: str) -> None:
    """Real videos with a similar title, those that took off beside those that did not."""
    st.markdown(
        "**Similar titles, and what became of them**",
        help="Nearest by the meaning of their titles, one of each channel. What became of them is measured: their"
        " views against their channel's other videos at about the same age. The score has no part in it.",
    )
    if isinstance(found, str):
        st.caption(f":orange[:material/extension_off:] {words.plain(found)}")
        return
    left, right = st.columns(2, gap="large")
    for side, title, near, name in (
        (left, f":material/trending_up: Took off: {TOOK_OFF:g}× their channel's usual or more", found.took_off, "up"),
        (
            right,
            f":material/trending_down: Did not: {DID_NOT:g}× their channel's usual or less",
            found.did_not,
            "down",
        ),
    ):
        with side:
            st.markdown(title)
            _near(near, key=f"{key}-{name}")


def _near(near: Sequence[Near], key: str) -> None:
    if not near:
        st.caption("None of the collected videos, or none whose channel's usual is known.")
        return
    likeness = {one.row.candidate_id: one.likeness for one in near}
    cards.lines(
        [one.row for one in near],
        lambda row: (
            f"**{words.times(row.outlier_multiple)}** usual · {words.percent(max(likeness[row.candidate_id], 0.0))} alike"
            f" · {words.apart(words.plain(words.shorten(row.channel_name or 'channel unknown', 24)))}"
        ),
        key=key,
    )


# --- in words -----------------------------------------------------------------------------------------


def said_of_words(parts: Sequence[Part]) -> str:
    """Which word adds most, and which takes most. Pure."""
    adds = max(parts, key=lambda part: part.effect.points)
    takes = min(parts, key=lambda part: part.effect.points)
    said = [
        f"“{words.shorten(part.text, 24)}” {verb} most ({words.points(part.effect.points)})"
        for part, verb, sign in ((adds, "adds", 1), (takes, "takes", -1))
        if sign * part.effect.points >= SMALL
    ]
    return ", ".join(said) or "No single word moves the score"


def said_of_groups(groups: Sequence[Group]) -> str:
    """Which group moves the score most. Pure."""
    most = max(groups, key=lambda group: abs(group.effect.points))
    if abs(most.effect.points) < SMALL:
        return "No group of facts moves the score"
    return f"Most hangs on {GROUPS[most.name]} ({words.points(most.effect.points)})"


def said_of_regions(regions: Sequence[Region]) -> str:
    """Which part of the picture moves the score most. Pure."""
    most = max(regions, key=lambda region: abs(region.effect.points))
    if abs(most.effect.points) < SMALL:
        return "No part of the thumbnail moves the score"
    verb = "adds" if most.effect.points > 0 else "takes"
    return f"In the thumbnail the {ROWS[most.row]} row's {COLUMNS[most.column]} {verb} most ({words.points(most.effect.points)})"


# --- the picture --------------------------------------------------------------------------------------


def overlay(picture: bytes, regions: Sequence[Region]) -> bytes | None:
    """The picture as the model sees it, each part painted by what it adds or takes, as PNG.

    None if it can't be read, or if no part moves the score.
    """
    widest = max(abs(region.effect.points) for region in regions)
    if widest < SMALL:
        return None
    try:
        shown = decoding.middle(picture, SHOWN).convert("RGBA")
    except ImageRefused:
        return None
    paint = Image.new("RGBA", SHOWN)
    pen = ImageDraw.Draw(paint)
    font = ImageFont.load_default(20)
    marked = sorted(regions, key=lambda region: -abs(region.effect.points))[:MARKED]
    for region in regions:
        points = region.effect.points
        if abs(points) < SMALL:
            continue
        left, right = (SHOWN[0] * (region.column + step) // GRID for step in (0, 1))
        top, bottom = (SHOWN[1] * (region.row + step) // GRID for step in (0, 1))
        colour = charts.accent() if points > 0 else charts.contrast()
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        pen.rectangle((left, top, right - 1, bottom - 1), (red, green, blue, round(STRONGEST * abs(points) / widest)))
        if region in marked:
            label = words.points(points).replace("−", "-")  # the font that comes with Pillow has no minus
            middle = ((left + right) / 2, (top + bottom) / 2)
            box = pen.textbbox(middle, label, font=font, anchor="mm")
            pen.rounded_rectangle((box[0] - 6, box[1] - 4, box[2] + 6, box[3] + 4), 5, fill=(0, 0, 0, 190))
            pen.text(middle, label, font=font, anchor="mm", fill=(255, 255, 255, 255))
    written = io.BytesIO()
    Image.alpha_composite(shown, paint).convert("RGB").save(written, "PNG")
    return written.getvalue()
