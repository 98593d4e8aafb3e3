"""Numbers and moments in words for people: 54K, 1.2M, 18 h ago, 37 in 100. Unknown is an em dash.

Pure: knows nothing about Streamlit, the database or the clock (`now` is passed in).
"""

import math
import unicodedata
from datetime import UTC, date, datetime

from miles.addresses import FORMATS, platform

__all__ = ["FORMATS", "platform"]  # beside what is written here

UNKNOWN = "—"


def known(value: float | None) -> bool:
    """Whether there is a finite number (a data frame turns None into NaN)."""
    return value is not None and math.isfinite(value)


def count(value: float | None) -> str:
    """A count in at most four characters and a unit: 870, 5.4K, 54K, 1.2M."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0:
        return f"−{count(-value)}"
    for unit, size in (("", 1), ("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)):
        scaled = value / size
        if round(scaled, 0 if scaled >= 9.95 else 1) < 1000 or unit == "T":
            break
    if unit == "":
        return f"{value:.0f}" if value >= 9.95 or value == int(value) else f"{value:.1f}"
    return f"{scaled:.0f}{unit}" if scaled >= 9.95 else f"{scaled:.1f}".removesuffix(".0") + unit


def per_day_each_day(value: float | None) -> str:
    """An acceleration: +1.2K/day each day, −300/day each day."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{'+' if value > 0 else ''}{count(value)}/day each day"


def full(value: float | None) -> str:
    """A count with all its digits: 1,234,567."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.0f}".replace("-", "−")


def per_day(value: float | None) -> str:
    """A velocity: 54K/day."""
    return UNKNOWN if not known(value) else f"{count(value)}/day"


def times(value: float | None) -> str:
    """A multiple: 0.42×, 1.4×, 23×."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value >= 9.95:
        return f"{count(value)}×"
    return f"{value:.1f}×" if value >= 0.95 else f"{value:.2f}×"


def interval(low: float | None, high: float | None, unit: str = "×") -> str:
    """An interval with its unit said once: 0.9–2.3×, 12K–80K/day."""
    if not known(low) or not known(high):
        return UNKNOWN
    write = times if unit == "×" else count
    return f"{write(low).removesuffix('×')}–{write(high).removesuffix('×')}{unit}"


def in_100(probability: float | None) -> str:
    """A probability as people count it: 37 in 100. Below a half in 100, "under 1"; never 0 or 100."""
    if probability is None or not math.isfinite(probability):
        return UNKNOWN
    hundred = probability * 100
    if hundred < 0.5:
        return "under 1 in 100"
    if hundred > 99.5:
        return "over 99 in 100"
    return f"{hundred:.0f} in 100"


def against_base(probability: float | None, base_rate: float | None) -> str:
    """How often the event happens beside its base rate: "3.5× the base rate"."""
    if probability is None or base_rate is None or not known(probability) or not base_rate > 0:
        return UNKNOWN
    return f"{times(probability / base_rate)} the base rate"


def percent(share: float | None, digits: int = 0) -> str:
    """A share: 12%; below nothing −3%, and never −0%."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    shown = f"{abs(share) * 100:.{digits}f}%"
    return f"−{shown}" if share < 0 and float(shown[:-1]) else shown


def change(ratio: float | None) -> str:
    """A ratio as a signed change: 1.05 → +5%, 0.9 → −10%, 1 → ±0%."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    amount = (ratio - 1) * 100
    shown = f"{abs(amount):.0f}" if abs(amount) >= 0.95 else f"{abs(amount):.1f}"
    return "±0%" if float(shown) == 0 else f"{'+' if amount > 0 else '−'}{shown}%"


def points(difference: float) -> str:
    """A difference of scores, in 100, with its sign: +2.1, −0.3, ±0."""
    shown = f"{abs(difference):.1f}"
    return "±0" if float(shown) == 0 else f"{'+' if difference > 0 else '−'}{shown}"


def change_interval(low: float | None, high: float | None) -> str:
    """Two ratios as an interval of changes: −3% to +9%."""
    return UNKNOWN if not known(low) or not known(high) else f"{change(low)} to {change(high)}"


def q_value(value: float) -> str:
    """A share of chance findings: 0.023, "< 0.001"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """How long a video is: 42 s, 3:20, 1:02:05."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago, in one unit: 40 min, 18 h, 3 d, 5 w, 7 mo, 2 y."""
    if moment is None:
        return UNKNOWN
    seconds = max((now - moment).total_seconds(), 0)
    for unit, size, longest in (
        ("min", 60, 60),
        ("h", 3600, 48),
        ("d", 86400, 14),
        ("w", 604800, 9),
        ("mo", 2629800, 24),
    ):
        if seconds < size * longest:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 31557600)} y"


def ago(moment: datetime | None, now: datetime) -> str:
    """When, from here: just now, 18 h ago."""
    if moment is None:
        return UNKNOWN
    return "just now" if (now - moment).total_seconds() < 60 else f"{age(moment, now)} ago"


def clock(moment: datetime, now: datetime) -> str:
    """A time of the day, with the day where it is another one: 14:32 UTC, 5 Mar 14:32 UTC."""
    there, here = moment.astimezone(UTC), now.astimezone(UTC)
    return f"{'' if there.date() == here.date() else f'{there.day} {there:%b} '}{there:%H:%M} UTC"


def at(moment: datetime | None, now: datetime) -> str:
    """When, from here on: in 35 min (14:32 UTC)."""
    if moment is None:
        return UNKNOWN
    away = "within a minute" if (moment - now).total_seconds() < 60 else f"in {age(now, moment)}"
    return f"{away} ({clock(moment, now)})"


def day(moment: datetime | date | None) -> str:
    """A date: 5 Mar 2026 (UTC)."""
    if moment is None:
        return UNKNOWN
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y}"


def plural(number: float, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 video, 54K videos."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def counted(number: int, one: str) -> str:
    """The same with all digits: 1 video, 157,958 videos."""
    return f"{full(number)} {one}{'' if number == 1 else 's'}"


def shorten(title: str, width: float) -> str:
    """Cut a title at a word so that it takes at most `width` columns (an ideograph takes two)."""
    used, cut = 0.0, 0
    for position, letter in enumerate(title):
        if unicodedata.east_asian_width(letter) in "WF":
            used += 2
        else:
            used += 1.3 if letter.isupper() else 1
        if used > width:
            head = title[:cut]
            at_word = head.rsplit(" ", 1)[0]
            return (at_word if len(at_word) > len(head) * 0.6 else head).rstrip(" ,.;:|-–—") + "…"
        if used <= width - 1:
            cut = position + 1
    return title


def plain(value: str) -> str:
    """Text that Markdown must show as it is: a title may hold `*`, `$`, `[` or `:material/…:`."""
    return "".join(f"\\{letter}" if letter in _MARKDOWN else letter for letter in " ".join(value.split()))


_MARKDOWN = frozenset("\\`*_{}[]()#+-.!|<>~$:&")


def apart(value: str) -> str:
    """A name between other words, so that one written from right to left does not take the numbers beside it along."""
    turned = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in value)
    return f"\u2068{value}\u2069" if turned else value


# What each number is, in a sentence; the help of every metric that shows it.
MEANING = {
    "score": "Score (viral_score): of 100 videos like this one, how many reach the top tenth of their kind. A calibrated "
    "probability, not a promise for this one; the Model page defines it under About.",
    "base_rate": "How often the event happens among all videos that the model was measured on.",
    "velocity": "Measured velocity: views gained per day between two snapshots of the video.",
    "lifetime": "Lifetime velocity: all views divided by the video's age. It says nothing about today.",
    "acceleration": "Acceleration: how much the measured velocity changes each day, between the newest one and the one "
    "measured before it. It takes three snapshots.",
    "engagement": "Engagement rate: likes and comments for each view. Not given where likes are hidden.",
    "predicted_velocity": "Views per day that the model expects, with its interval.",
    "outlier": "Outlier multiple: views divided by the median of the same channel's other videos of the same "
    "format at about the same age. Not given below 5 such videos.",
    "lift": "The outlier multiple of videos with the pattern against that of the same channel's videos without it, as a change.",
    "views": "Views at the newest snapshot.",
}

# Why a number may be missing.
MISSING = {
    "score": "Not scored yet.",
    "velocity": "Not measured yet: it takes two snapshots some hours apart.",
    "acceleration": "Not measured yet: it takes three snapshots some hours apart.",
    "engagement": "Likes are hidden or not known.",
    "outlier": "Not enough videos of this channel to say what is usual.",
    "lifetime": "The exact time of publishing is not known.",
}
