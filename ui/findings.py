"""What a chart shows, in one sentence computed from its data. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from miles import addresses, calibration
from miles.addresses import Asked
from miles.browse import Filters
from miles.calibration import Check, Group, Interval, Shift, Top
from miles.distributions import CLOSE, Beside, Spread
from miles.monitor import Comparison
from miles.patterns import FALSE_SHARE, RECENT_WEEKS, Association, Difference
from ui import words


def spread(scores: Spread) -> str:
    """How the scores of a set lie against the base rate."""
    return (
        f"Half of the videos score {_below(scores.middle)}, one in twenty above "
        f"{words.in_100(scores.quantiles[4])}; {words.percent(scores.above)} are above the base rate"
    )


def _about(share: float) -> str:
    said = words.in_100(share)
    return said if said.startswith("under") else f"about {said}"


def _below(probability: float) -> str:
    said = words.in_100(probability)
    return said if said.startswith("under") else f"below {said}"


def beside(found: Beside) -> str:
    """How close predicted velocities come to measured ones."""
    sentence = f"{words.percent(found.close)} of predicted velocities are within {CLOSE:.0f}× of the measured ones"
    if found.ratio is not None:
        sentence += f", typically {words.times(found.ratio)} of them"
    return sentence if found.rank is None else f"{sentence}; rank correlation {found.rank:.2f}".replace("-", "−")


def groups(by: str, found: Sequence[Spread]) -> str:
    """Which group scores highest."""
    ranked = sorted(found, key=lambda group: -group.middle)
    if len(ranked) == 1:
        return f"{name(by, ranked[0].group)}: half score {_below(ranked[0].middle)}"
    best, worst = ranked[0], ranked[-1]
    if round(best.middle * 100) == round(worst.middle * 100):
        return f"Scores hardly differ by {by}: every median is {_about(best.middle)}"
    return (
        f"{name(by, best.group)} scores highest (median {words.in_100(best.middle)}), "
        f"{name(by, worst.group)} lowest ({words.in_100(worst.middle)})"
    )


def top(found: Sequence[Top], base_rate: float | None) -> str:
    """How many of the highest scores came true."""
    if not found:
        return "Too few outcomes to look at the highest scores alone"
    one = next((one for one in found if one.k >= 50), found[-1])
    sentence = f"Of the {one.k} highest scores {round(one.precision.value * one.k)} came true"
    return f"{sentence}, {words.against_base(one.precision.value, base_rate)}" if base_rate else sentence


def judged(by: str, found: Sequence[Group]) -> str:
    """In which groups the event happened as often as promised."""
    told = [one for one in found if one.observed is not None and one.promised is not None]
    if not told:
        return f"No {by} has enough outcomes to be looked at alone"
    off = [one for one in told if not one.observed.low <= one.promised <= one.observed.high]  # type: ignore[operator,union-attr]
    if not off:
        return f"Promises were kept in every {by} that has enough outcomes"
    worst = max(off, key=lambda one: abs(one.observed.value - one.promised))  # type: ignore[operator,union-attr]
    return (
        f"Off in {len(off)} of {len(told)}, most in {name(by, worst.name)}: promised {words.in_100(worst.promised)}, "
        f"happened {words.in_100(worst.observed.value if worst.observed else None)}"
    )


def patterns(found: Sequence[Association], where: str) -> str:
    """The strongest title pattern that is told from chance, up and down."""
    clear = [one for one in found if one.q_value < FALSE_SHARE]
    if not clear:
        return f"No title pattern can be told from chance {where}".strip()
    best, worst = max(clear, key=lambda one: one.lift), min(clear, key=lambda one: one.lift)
    parts = []
    if best.lift > 1:
        parts.append(f"{quoted(best)} goes with {words.change(best.lift)} views")
    if worst.lift < 1:
        parts.append(
            f"{quoted(worst)} with {words.change(worst.lift)}"
            if parts
            else f"{quoted(worst)} goes with {words.change(worst.lift)} views"
        )
    return f"{', '.join(parts)} {where}".strip()


def compared(found: Sequence[Difference], here: str, there: str) -> str:
    """The surest difference between two sets of videos."""
    clear = [one for one in found if one.q_value < FALSE_SHARE]
    if not clear:
        return f"No pattern can be told to differ between {here} and {there}"
    one = clear[0]
    more = "" if len(clear) == 1 else f"; {len(clear)} patterns differ"
    return (
        f"{quoted(one.here)}: {words.change(one.here.lift)} in {here}, {words.change(one.there.lift)} in {there}{more}"
    )


def strongest(found: Sequence[Association], most: int) -> list[Association]:
    """The patterns that are most surely different from no effect, sorted by effect."""
    return sorted(found[:most], key=lambda one: -one.lift)


DIRECTIONS = {"rising": "Rising", "saturated": "Saturated", "fading": "Fading", "steady": "Steady"}


def trend(of: Association) -> str:
    """How a pattern's use and its lift changed lately."""
    if of.trend is None:
        return "Too few weeks with enough titles to tell a trend"
    told = of.trend
    if told.growth >= 3:  # "+4804%" says nothing to anybody
        used = f"becomes {words.times(told.growth)} as large every four weeks ({words.interval(told.growth_low, told.growth_high)})"
    else:
        interval = words.change_interval(told.growth_low, told.growth_high)
        used = f"changes by {words.change(told.growth)} every four weeks ({interval})"
    sentence = f"{DIRECTIONS[told.direction]}: its share of titles {used}"
    if told.lift_change is None:
        return f"{sentence}; too few videos to say whether its lift changed"
    return (
        f"{sentence}, its lift of the last {RECENT_WEEKS} weeks is {words.change(told.lift_change)} "
        f"({words.change_interval(told.lift_change_low, told.lift_change_high)}) against the weeks before"
    )


def quoted(pattern: Association) -> str:
    """An n-gram in quotes; the name of a structure as it is."""
    return f"“{pattern.pattern}”" if pattern.kind == "ngram" else pattern.pattern


def described(filters: Filters) -> str:
    """A set of videos in a few words: "Gaming · English · from 1 Jun 2026"."""
    said = addresses.write(Asked(replace(filters, published_from=None, published_to=None, text="")))
    parts = [f"“{filters.text.strip()}”"] if filters.text.strip() else []
    for key, values in said.items():
        if key in ("score", "views", "multiple", "velocity"):
            parts.append(f"{key} {'–'.join(values)}" + ("" if key == "score" else " and more"))
        else:
            parts.append(", ".join(values))
    if filters.published_from:
        parts.append(f"from {words.day(filters.published_from)}")
    if filters.published_to:
        parts.append(f"until {words.day(filters.published_to)}")
    return " · ".join(parts) or "all videos"


def name(by: str, group: str) -> str:
    """A group's name for people."""
    if by == "platform":
        return words.platform(group)
    if by == "age" and group.rstrip("+")[-1:] in "hd":  # a band of the model
        return age(group)
    return words.FORMATS.get(group, group) if by == "format" else group


def not_enough(check: Check) -> str:
    """How far the outcomes are from saying anything."""
    if not check.n:
        return "No outcome is known yet"
    lacking = [
        f"{have} of {need} {what}"
        for have, need, what in (
            (check.n, calibration.MIN_FORECASTS, "outcomes"),
            (check.channels, calibration.MIN_CHANNELS, "channels"),
            (check.happened, calibration.MIN_HAPPENED, "videos that took off"),
        )
        if have < need
    ]
    return f"Not enough data: {', '.join(lacking)}"


def promises(check: Check) -> str:
    """Whether what was promised happened as often."""
    if check.promised is None or check.skill is None:
        return not_enough(check)
    share = check.happened / check.n
    off = [one for one in check.bins if not one.observed.low <= one.promised <= one.observed.high]
    sentence = f"Promised {words.in_100(check.promised)}, happened {words.in_100(share)}"
    if check.skill.high < 0:
        return f"{sentence}: worse than always saying the base rate"
    if not off:
        return f"{sentence}; every group agrees with its promise"
    # scores near the base rate matter less than those that people act on: the highest group that is off is named
    worst = max(off, key=lambda one: one.promised)
    side = "more" if worst.observed.value > worst.promised else "less"
    return (
        f"{sentence}; {len(off)} of {len(check.bins)} groups {'is' if len(off) == 1 else 'are'} off, around {words.in_100(worst.promised)} "
        f"it happened {side} often"
    )


def coverage(check: Check) -> str:
    """Whether the intervals hold what they promise, at which ages not."""
    off = [one for one in check.by_age if not one.share.low <= 0.8 <= one.share.high]
    if not off:
        return "The intervals hold what they promise at every age"
    wide = [age(one.age_band) for one in off if one.share.value > 0.8]
    narrow = [age(one.age_band) for one in off if one.share.value <= 0.8]
    parts = [f"too narrow at {', '.join(narrow)}"] if narrow else []
    parts += [f"wider than needed at {', '.join(wide)}"] if wide else []
    return f"The intervals are {' and '.join(parts)}"


def age(band: str) -> str:
    """An age band of the model for people: "6-12h" is 6–12 h, "7d+" 7 days and more."""
    number, unit = band.rstrip("hd+"), "h" if "h" in band else "days"
    return f"{number.replace('-', '–')} {unit}" + (" and more" if band.endswith("+") else "")


def drift(shifts: Sequence[Shift]) -> str:
    """What has moved away from the reference."""
    score = next((one for one in shifts if one.name == calibration.SCORE), None)
    inputs = [one for one in shifts if one.name != calibration.SCORE]
    drifted = [one.name for one in inputs if one.verdict == "drifted"]
    shifted = [one.name for one in inputs if one.verdict == "shifted"]
    moved = [
        f"{len(group)} of {len(inputs)} inputs {verdict} ({', '.join(group[:3])}{' …' if len(group) > 3 else ''})"
        for group, verdict in ((drifted, "drifted"), (shifted, "shifted"))
        if group
    ]
    said = ("The score is stable" if score.verdict == "stable" else f"The score {score.verdict}") if score else ""
    return "; ".join(filter(None, (said, *(moved or ["all inputs are stable"]))))


def shadow(found: Comparison) -> str:
    """How much a change of versions would change."""
    if found.mean is None or found.score_rank is None:
        return "Both versions can't be compared yet"
    order = "keep almost the same order" if found.score_rank >= 0.98 else "change their order a little"
    if found.score_rank < 0.9:
        order = "change their order"
    level = abs(found.mean) * 100
    moved = "stay as high" if level < 0.5 else f"{'rise' if found.mean > 0 else 'fall'} by {level:.1f} in 100"
    return f"Scores would {order} (rank correlation {found.score_rank:.2f}) and on average {moved}".replace("-", "−")


def better(gain: Interval) -> str:
    """Which of two versions was nearer to the same outcomes (`gain`: Brier in force less Brier in shadow)."""
    if gain.low > 0:
        return "On the same outcomes the version in shadow was nearer"
    if gain.high < 0:
        return "On the same outcomes the version in force was nearer"
    return "On the same outcomes neither can be told to be better"
