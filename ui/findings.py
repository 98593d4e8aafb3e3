"""What a chart shows, in one sentence computed from its data. Pure."""

import math
from collections.abc import Sequence

from miles.browse import Agreement, Histogram, Pattern
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
