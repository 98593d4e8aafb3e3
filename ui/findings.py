"""What a chart shows, in one sentence computed from its data. Pure."""

import math
from collections.abc import Sequence

from miles import calibration
from miles.browse import Agreement, Histogram, Pattern
from miles.calibration import Check, Interval, Shift
from miles.monitor import Comparison
from ui import words

FALSE_SHARE = 0.05  # of the patterns that are told from chance, at most this share is chance
CLOSE = 2.0  # a prediction within a factor of two is called close


def spread(scores: Histogram, base_rate: float | None) -> str:
    """How the scores of a set lie against the base rate."""
    middle, top = scores.quantile(0.5), scores.quantile(0.95)
    sentence = f"Half of the videos score below {words.in_100(middle)}, one in twenty above {words.in_100(top)}"
    if base_rate:
        above = sum(n for position, n in enumerate(scores.counts) if (position + 0.5) / len(scores.counts) > base_rate)
        sentence += f"; {words.percent(above / scores.n)} are above the base rate"
    return sentence


def agreement(found: Agreement) -> str:
    """How close predicted velocities come to measured ones."""
    near, rank = found.within(CLOSE), found.rank_correlation
    sentence = f"{words.percent(near)} of predicted velocities are within {CLOSE:.0f}× of the measured ones"
    return sentence if rank is None else f"{sentence}; rank correlation {rank:.2f}".replace("-", "−")


def groups(by: str, histograms: Sequence[Histogram]) -> str:
    """Which group scores highest."""
    ranked = sorted(histograms, key=lambda group: -group.quantile(0.5))
    if len(ranked) == 1:
        return f"{name(by, ranked[0].group)}: half score below {words.in_100(ranked[0].quantile(0.5))}"
    best, worst = ranked[0], ranked[-1]
    if round(best.quantile(0.5) * 100) == round(worst.quantile(0.5) * 100):
        return f"Scores hardly differ by {by}: every median is about {words.in_100(best.quantile(0.5))}"
    return (
        f"{name(by, best.group)} scores highest (median {words.in_100(best.quantile(0.5))}), "
        f"{name(by, worst.group)} lowest ({words.in_100(worst.quantile(0.5))})"
    )


def patterns(found: Sequence[Pattern], where: str) -> str:
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


def strongest(found: Sequence[Pattern], most: int) -> list[Pattern]:
    """The patterns that are most surely different from no effect, sorted by effect."""
    sure = sorted(found, key=lambda one: (one.q_value, -abs(math.log(one.lift))))[:most]
    return sorted(sure, key=lambda one: -one.lift)


def quoted(pattern: Pattern) -> str:
    """An n-gram in quotes; the name of a structure as it is, with a capital."""
    return f"“{pattern.pattern}”" if pattern.kind == "ngram" else pattern.pattern[:1].upper() + pattern.pattern[1:]


def name(by: str, group: str) -> str:
    """A group's name for people."""
    if by == "platform":
        return words.platform(group)
    return words.FORMATS.get(group, group) if by == "format" else group


def scope(value: str) -> str:
    """A scope of title patterns for people: "All videos", "Category: Music"."""
    if value == "all":
        return "All videos"
    kind, _, rest = value.partition(":")
    return f"{kind.capitalize()}: {name(kind, rest)}"


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
        f"{sentence}; {len(off)} of {len(check.bins)} groups are off, around {words.in_100(worst.promised)} "
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
    said = f"The score is {score.verdict}" if score else ""
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
