"""Writes the model card and its figure from what was measured. No figure in it is typed by hand.

`facts` is the manifest: what the training run knows of itself. `found` is evaluation.json: what
`training.evaluate` measured. Pure: numbers in, text out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training import figures

MISSING = "not measured"
FP32_BYTES = "bytes_fp32"


def write(facts: dict[str, Any], found: dict[str, Any], size: int) -> str:
    """model/README.md. `size`: bytes of the ONNX and JSON files of the folder."""
    measured = facts["metrics"]
    parts = [
        f"# Model card: Miles {facts['version']}",
        f"Made {facts['made']} by `python -m training`; {size / 1e6:.0f} MB in all. This page is written by the "
        "training run and by `python -m training.evaluate`; every figure in it comes from `manifest.json` or "
        "`evaluation.json` beside it.",
        _what(facts),
        PARTS.format(
            members=facts["members"],
            **facts.get("encoders", {"text": "a BERT-family encoder", "image": "a ResNet-family encoder"}),
        ),
        _data(facts, found),
        _bars(bars(facts, found, size)),
        _judged(found),
        _reliability(found),
        _slices(found),
        _missing(found),
        _trials(measured),
        _bits(found.get("fp32")),
        _image(measured.get("image")),
        _ordinary(found.get("ordinary")),
        _limits(facts, found),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


# --- words for numbers ------------------------------------------------------------------------------


def percent(x: float | None, digits: int = 1) -> str:
    return MISSING if x is None else f"{100 * x:.{digits}f} in 100"


def figure(x: Any) -> str:
    """A number; with its interval if it has one."""
    if isinstance(x, (list, tuple)):
        if x[0] is None:
            return "–"
        return f"{x[0]:.3f}" if x[1] is None else f"{x[0]:.3f} [{x[1]:.3f}, {x[2]:.3f}]"
    if x is None:
        return "–"
    return f"{x:.3f}" if isinstance(x, float) else f"{x:,}"


def views(x: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if x >= unit:
            return f"{x / unit:.1f}{name}"
    return f"{x:.0f}" if x >= 10 or x == 0 else f"{x:.2g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


# --- bars -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing that was asked of the model, what was reached, and how that compares."""

    name: str
    must: str
    aim: str
    reached: str
    verdict: str  # "aim", "must", "missed", "not measured"


def bars(facts: dict[str, Any], found: dict[str, Any], size: int) -> list[Bar]:
    """What was asked of the model, in the order of the list of demands."""
    judged, slices = found["judged"], found["slices"]
    draft = judged["draft"].get("unseen channels", {})
    unseen, seen = (judged["candidate"].get(f"{kind} channels, 3d", {}) for kind in ("unseen", "seen"))
    every_draft, every = judged["draft"].get("all", {}), judged["candidate"].get("all, 3d", {})

    def get(source: dict[Any, Any], *path: Any) -> Any:
        for key in path:
            source = source.get(key, {}) if isinstance(source, dict) else {}
        return source or None

    def least(low: float) -> Callable[[float], bool]:
        return lambda x: x >= low

    def most(high: float) -> Callable[[float], bool]:
        return lambda x: x <= high

    def between(low: float, high: float) -> Callable[[float], bool]:
        return lambda x: low <= x <= high

    def never(_: float) -> bool:  # there is nothing more to aim at
        return False

    def bar(name: str, must: str, aim: str, value: Any, good: Callable, best: Callable, says: str = "") -> Bar:
        number = value[0] if isinstance(value, list) else value
        if number is None:
            return Bar(name, must, aim, MISSING, MISSING)
        verdict = "aim" if best(number) else "must" if good(number) else "missed"
        return Bar(name, must, aim, figure(value) + says, verdict)

    gain = get(draft, "gain over first baseline", "spearman")
    pairs = get(draft, "system", "pairwise_2x_within_3_days")
    all_pairs = get(every_draft, "system", "pairwise_2x_within_3_days")
    growth = get(unseen, "label top10_growth_3d", "system")
    worst = {mode: figures.worst(_numbers(rows), "coverage", 0.8) for mode, rows in slices.items()}
    by = {mode: {(row["by"], row["slice"]): row for row in rows} for mode, rows in slices.items()}

    def chance(mode: str, *where: str) -> str:
        row = by[mode].get(where)
        return f"; true promises would have {row['ece_of_perfect']:.3f}" if row else ""

    def where(mode: str) -> str:
        row = worst[mode]
        return f" ({row['by']}: {row['slice']}, n {row['n']:,})" if row else ""

    fp32 = found.get("fp32") or {}
    correlations = [v for k, v in fp32.items() if k not in ("n", "bytes", FP32_BYTES)]
    share = fp32["bytes"] / fp32[FP32_BYTES] if fp32 else None
    return [
        bar("draft Spearman, unseen channels", "≥ 0.33", "> 0.42", get(draft, "system", "spearman"), least(0.33), least(0.42)),
        bar("… gain over drift", "interval above 0", "", gain, lambda _: gain[1] > 0, never),
        bar("draft AUROC, unseen channels", "≥ 0.75", "> 0.80", get(draft, "system", "auroc_top10"), least(0.75), least(0.80)),
        bar("title pairs ≤ 3 days apart, all channels", "interval above 0.50", "> 0.66", all_pairs,
            lambda _: all_pairs[1] > 0.5, least(0.66)),
        bar("… unseen channels", "interval above 0.50", "> 0.66", pairs, lambda _: pairs[1] > 0.5, least(0.66)),
        bar("draft ECE, all channels", "≤ 0.03", "≤ 0.01", get(every_draft, "system", "ece"), most(0.03), most(0.01),
            chance("draft", "all", "all")),
        bar("… unseen channels", "≤ 0.03", "≤ 0.01", get(draft, "system", "ece"), most(0.03), most(0.01),
            chance("draft", "channel", "unseen")),
        bar("velocity 3 d Spearman, unseen channels", "≥ 0.88", "> 0.93", get(unseen, "system", "spearman"), least(0.88), least(0.93)),
        bar("… seen channels", "≥ 0.91", "> 0.95", get(seen, "system", "spearman"), least(0.91), least(0.95)),
        bar("velocity median error, unseen channels", "≤ 0.40", "< 0.30", get(unseen, "system", "median_ape"), most(0.40), most(0.30)),
        bar("80% interval coverage, candidates", "0.76 to 0.84", "0.79 to 0.81", get(every, "system", "coverage_80"),
            between(0.76, 0.84), between(0.79, 0.81)),
        bar("… their worst slice", "0.70 to 0.90", "0.75 to 0.85", get(worst, "candidate", "coverage"),
            between(0.70, 0.90), between(0.75, 0.85), where("candidate")),
        bar("80% interval coverage, drafts", "0.76 to 0.84", "0.79 to 0.81",
            get(by["draft"], ("all", "all"), "coverage"), between(0.76, 0.84), between(0.79, 0.81)),
        bar("… their worst slice", "0.70 to 0.90", "0.75 to 0.85", get(worst, "draft", "coverage"),
            between(0.70, 0.90), between(0.75, 0.85), where("draft")),
        bar("growth AUROC, unseen channels", "≥ 0.95", "> 0.975", growth and growth["auroc"], least(0.95), least(0.975)),
        bar("growth ECE, unseen channels", "≤ 0.02", "≤ 0.005", growth and growth["ece"], most(0.02), most(0.005),
            chance("candidate", "channel", "unseen")),
        bar("int8 against fp32 scores, lowest Spearman", "≥ 0.995", "≥ 0.999", min(correlations, default=None),
            least(0.995), least(0.999)),
        bar("files, share of fp32", "≤ 0.25", "", share, most(0.25), never),
        bar("files, MB", "≤ 60", "≤ 35", size / 1e6, most(60), most(35)),
    ]  # fmt: skip


def _bars(rows: list[Bar]) -> str:
    words = {"aim": "aim reached", "must": "reached", "missed": "**missed**", MISSING: MISSING}
    body = [(b.name, b.must, b.aim, b.reached, words[b.verdict]) for b in rows]
    return "\n\n".join(
        [
            "## What was asked, and what was reached",
            table(("", "must", "aim", "reached", ""), body),
            f"The worst slice is taken among those of {figures.COUNTED_SLICE} cases or more. Speed and memory are "
            "measured by `benchmarks/`; that a score is the same to the last bit in any batch is a test.",
        ]
    )


# --- sections ---------------------------------------------------------------------------------------


def _what(facts: dict[str, Any]) -> str:
    periods = facts["periods"]
    return WHAT.format(
        **{f"base_{k}": percent(v) for k, v in facts["base_rates"].items()},
        calibrated=f"{periods['fit_until']} to {periods['calibrate_until']}",
    )


def _data(facts: dict[str, Any], found: dict[str, Any]) -> str:
    data, periods, followed = facts["data"], facts["periods"], facts["metrics"].get("followed")
    cases = table(("split and kind", "cases"), [(k, f"{v:,}") for k, v in facts["metrics"]["cases"].items()])
    lines = [
        "## Data and split",
        f"{data['name']}: {data['videos']:,} videos of {data['channels']:,} channels, observed on "
        f"{data['observations']:,} video-days from {data['from']} to {data['to']}.",
        f"Fitted on videos published before {periods['fit_until']} of nine tenths of the channels (the others are "
        f"set apart by hash of their id, and nothing of theirs is learnt from); calibrated on those published "
        f'before {periods["calibrate_until"]}; looked at on later ones. "Unseen channels" are those set apart: '
        "other channels **and** a later time.",
        cases,
    ]
    for mode, c in found["cases"].items():
        lines.append(
            f"Measured by {found['measured_by']}, mode {mode}: {c['n']:,} cases of {c['channels']:,} channels "
            f"({c['unseen_channels']:,} unseen), published {c['from']} to {c['to']}."
        )
    if followed:
        lines.append(
            f"**What the velocity is conditional on:** of {followed['n']:,} videos first seen within three days, "
            f"{percent(followed['3d'], 0)} were seen again about 3 days later and {percent(followed['7d'], 0)} about 7. "
            "Only these have an outcome, so the velocity figures hold for videos that are still on a list by then."
        )
    return "\n\n".join(lines)


def _judged(found: dict[str, Any]) -> str:
    """The figures of the judge's code, each with its 95% interval and its baselines."""
    judged = found["judged"]
    lines = [
        "## Figures",
        f"Measured by {found['measured_by']}, with 95% intervals (bootstrap over channels). The headline is "
        '"unseen channels". To compute them again:',
        "    python -m training.evaluate --model model --judge FOLDER --data FOLDER",
    ]
    for name, g in judged["draft"].items():
        system, drift, spread = g["system"], g[figures.DRIFT], g[figures.SPREAD]
        rows = [
            (says, *(figure(who.get(key)) for who in (system, drift, spread)))
            for key, says in (
                ("spearman", "Spearman of `predicted_multiple` with the outlier"),
                ("auroc_top10", "AUROC of the event"),
                ("avg_precision", "average precision of the event"),
                ("pairwise_2x_within_3_days", "which of two videos ≤ 3 days and ≥ 2× apart did better"),
            )
        ]
        rows += [
            ("calibration error (ECE)", figure(system.get("ece")), "", ""),
            ("gain in Spearman over drift", figure(g["gain over first baseline"]["spearman"]), "", ""),
            ("gain in AUROC over drift", figure(g["gain over first baseline"]["auroc_top10"]), "", ""),
        ]
        lines += [
            f"**Draft, {name}** (n {g['n']:,}, {g['channels']:,} channels, {g['pairs_within_3_days']:,} pairs, the event "
            f"in {percent(g['base_rate_top10'])})",
            table(("", "Miles", "drift (last 3 − median)", "channel's spread alone"), rows),
        ]
    for name, g in judged["candidate"].items():
        plain, base = g[figures.DECAY], g[figures.DECAY_CATEGORY]
        rows = [
            (says, figure(g["system"][key]), figure(plain[key]), figure(base[key]))
            for key, says in (("spearman", "Spearman"), ("median_ape", "median error"), ("within_2x", "within a factor of 2"))
        ]  # fmt: skip
        gain = g["gain over decay by age and category"]["spearman"]
        rows.append(("gain in Spearman over age and category", figure(gain), "", ""))
        if "coverage_80" in g["system"]:
            event = g["label top10_growth_3d"]
            rows += [
                ("coverage of the 80% interval", figure(g["system"]["coverage_80"]), "", ""),
                ("width of the interval, log10", figure(g["system"]["interval_width_log10"]), "", ""),
                *(
                    (f"{says} of the event ({percent(event['base_rate'])})",
                     figure(event["system"][key]), figure(event[figures.DECAY][key]), "")
                    for key, says in (("auroc", "AUROC"), ("avg_precision", "average precision"))
                ),
                ("calibration error (ECE)", figure(event["system"].get("ece")), "", ""),
            ]  # fmt: skip
        lines += [
            f"**Candidate, {name}** (n {g['n']:,}, {g['channels']:,} channels)",
            table(("", "Miles", "rate so far × decay by age", "… by age and category"), rows),
        ]
    return "\n\n".join(lines)


def _reliability(found: dict[str, Any]) -> str:
    curves = found["reliability"]
    rows = []
    for i in range(max(map(len, curves.values()), default=0)):
        cells = []
        for mode in curves:
            one = curves[mode][i] if i < len(curves[mode]) else None
            cells += ["", ""] if one is None else [figure(float(one["promised"])), figure(one["observed"])]
        rows.append((str(i + 1), *cells))
    head = ["bin", *(f"{mode}: {what}" for mode in curves for what in ("promised", "happened"))]
    return "\n\n".join(
        [
            "## Does a probability come true?",
            "![Reliability: promised against observed frequency, drafts and candidates](reliability.svg)",
            "All channels, equally full bins of `viral_score`: what was promised, and how often the event happened.",
            table(head, rows),
        ]
    )


def _slices(found: dict[str, Any]) -> str:
    lines = [
        "## Slices",
        "Order (Spearman, beside the baseline's: drift for drafts, rate × decay by age and category for candidates), "
        "honesty of the probability (ECE, beside what true promises would have with so few cases; promised and happened on "
        "the whole) and of the 80% interval (coverage). Intervals of an ECE lie high: drawing cases again adds noise. "
        f"Slices of fewer than {figures.SMALLEST_SLICE} cases are left out.",
    ]
    for mode, rows in found["slices"].items():
        lines += [
            f"**{mode.capitalize()}**",
            table(
                ("by", "slice", "n", "Spearman", "baseline", "ECE", "if true", "promised", "happened", "coverage"),
                [
                    (
                        *(r["by"], r["slice"], f"{r['n']:,}", figure(r["spearman"]), figure(r["baseline"])),
                        *(figure(r["ece"]), figure(r["ece_of_perfect"]), figure(r["promised"])),
                        *(figure(r["happened"]), figure(r["coverage"])),
                    )
                    for r in rows
                ],
            ),
        ]
        said = []
        for key, words, best in (
            ("spearman", "order", None),
            ("ece", "ECE", 0.0),
            ("coverage", "coverage", 0.8),
        ):
            if (w := figures.worst(_numbers(rows), key, best)) is not None:
                said.append(f"{words} {w[key][0]:.3f} ({w['by']}: {w['slice']})")
        if said:
            lines.append(f"Worst slice with {figures.COUNTED_SLICE} cases or more: {'; '.join(said)}.")
    return "\n\n".join(lines)


def _missing(found: dict[str, Any]) -> str:
    if not found.get("missing"):
        return ""
    lines = [
        "## What it does with parts missing",
        "The same cases (whole channels, drawn at random) with parts hidden. No case here has a thumbnail. "
        "Spearman is with views here (in 24 h; new per day), since without a channel a draft has no multiple.",
    ]
    for mode, rows in found["missing"].items():
        lines.append(
            table(
                (f"{mode}: hidden", "n", "Spearman", "AUROC", "ECE", "coverage", 'noted "no channel history"'),
                [
                    (
                        *(r["hidden"], f"{r['n']:,}", figure(r["spearman"]), figure(r["auroc"])),
                        *(figure(r["ece"]), figure(r["coverage"]), percent(r["no_history"], 0)),
                    )
                    for r in rows
                ],
            )
        )
    return "\n\n".join(lines)


def _trials(measured: dict[str, Any]) -> str:
    lines = []
    if seeds := measured.get("seeds"):
        names = list(seeds[0]["figures"])
        lines += [
            "## How much the start and the split matter",
            f"{len(seeds)} networks, each by itself, that differ in their seed and in the channels they never met; "
            "latest period:",
            table(
                ("seed", *names),
                [
                    *((str(s["seed"]), *(figure(s["figures"][k]) for k in names)) for s in seeds),
                    ("spread (highest − lowest)", *(figure(_spread([s["figures"][k] for s in seeds])) for k in names)),
                ],
            ),
        ]
    if random := measured.get("random_split"):
        lines += [
            "A random split flatters. One network fitted on a random nine tenths of the videos of all channels and "
            "measured on the others, beside one fitted and measured by the protocol (unseen channels, later):",
            table(
                ("", "random split", "protocol"),
                [(k, figure(random["random"][k]), figure(random["protocol"][k])) for k in random["random"]],
            ),
        ]
    return "\n\n".join(lines)


def _spread(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(max(known) - min(known)) if known else None


def _bits(fp32: dict[str, Any] | None) -> str:
    if not fp32:
        return ""
    rows = [(k, f"{v:.5f}") for k, v in fp32.items() if k not in ("n", "bytes", FP32_BYTES)]
    return "\n\n".join(
        [
            "## What 8 bits cost",
            f"The scores of the shipped files against those of the same model in 32 bits, {fp32['n']:,} cases, Spearman. "
            f"The files are {fp32['bytes'] / 1e6:.1f} MB against {fp32[FP32_BYTES] / 1e6:.1f} MB.",
            table(("score", "Spearman"), rows),
        ]
    )


def _image(image: dict[str, Any] | None) -> str:
    if not image:
        return (
            "## What the thumbnail adds\n\nNothing in this model: there were too few thumbnails to learn from. "
            "A thumbnail that is given leaves the score as it is."
        )
    return IMAGE.format(**({"spearman_title_and_image_in_32_bits": image["spearman_title_and_image"]} | image))


def _ordinary(ordinary: dict[str, Any] | None) -> str:
    if not ordinary:
        return ""
    lines = [
        "## Ordinary videos",
        "Trending lists know no flops. What the model says of videos that were never on one:",
    ]
    if r := ordinary.get("random"):
        for mode in ("draft", "candidate"):
            d = r[mode]
            low, middle, high = d["viral_score"]
            speeds = ", ".join(views(x) for x in d["velocity"])
            lines.append(
                f"- **{r['n']:,} results of random searches, as {mode}s** (half of them have at most "
                f'{r["median_views"]:,.0f} views): {percent(d["no_history"], 0)} carry "no channel history", '
                f'{percent(d["outside"], 0)} "outside what the model knows". `viral_score` {low:.3f} … {middle:.3f} … '
                f"{high:.3f} (5%, middle, 95%; base rate {d['base_rate']:.3f}), `predicted_velocity` {speeds}. "
                + (
                    f"For {percent(d['more_in_a_day_than_they_ever_had'], 0)} it promises more views in a day than the "
                    "video has had in its life: without a channel it can only take a video for one that trends. Spearman "
                    f"with their views: {figure(r['title_spearman'])}."
                    if mode == "draft"
                    else f"They had {views(d['median_rate_so_far'])} views a day so far in the middle; for "
                    f"{percent(d['above_rate'], 0)} it promises more than that."
                )
            )
    if c := ordinary.get("channels"):
        lines.append(
            f"- **{c['n']:,} videos of {c['channels']:,} whole channels (2018)**: which of two titles of one channel, "
            f"at least twofold apart, did better, from the title alone ({c['pairs']:,} pairs; a coin has 0.500): by "
            f"`predicted_velocity` {figure(c['by_predicted_velocity'])}, by `viral_score` {figure(c['by_viral_score'])}. "
            f'{percent(c["said"]["no_history"], 0)} carry "no channel history".'
        )
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def _limits(facts: dict[str, Any], found: dict[str, Any]) -> str:
    """What it cannot do; what can be counted is counted."""
    data, followed = facts["data"], facts["metrics"].get("followed")
    lines = []
    if data.get("trending"):
        lines.append(
            "It learnt from videos on trending lists only: it knows no flops. Inputs far from that data carry the note "
            '"outside what the model knows", and a draft without a known channel "no channel history"; such scores are '
            "guesses about a video that trends."
        )
    else:
        lines.append(
            "It learnt from what this installation has collected: what was never looked for, it does not know. Inputs "
            'far from that data carry the note "outside what the model knows".'
        )
    if followed:
        lines.append(
            f"Velocity holds for videos that are observed again: {percent(followed['3d'], 0)} at 3 days, "
            f"{percent(followed['7d'], 0)} at 7."
        )
    shares = data["shares"]
    top = ", ".join(f"{name} {percent(share, 0)}" for name, share in shares["categories"].items())
    lines.append(
        f"Of its videos {percent(shares['up_to_60_s'])} are up to 60 s long and {percent(shares['up_to_180_s'], 0)} up "
        f"to 180 s. Categories: {top}. {percent(shares['english'], 0)} of those with a known language are English."
    )
    rows = found["slices"]["draft"]
    here = [r for r in rows if r["by"] == "channel"]
    if here:
        lines.append(
            "Months drift. In the period looked at the event of a draft happened in "
            + ", ".join(
                f"{percent(r['happened'])} ({r['slice']} channels, promised {percent(r['promised'])})" for r in here
            )
            + f"; in the calibration period in {percent(facts['base_rates']['draft'])}."
        )
    pairs = found["judged"]["draft"].get("all", {}).get("system", {}).get("pairwise_2x_within_3_days")
    if pairs and pairs[1] is not None:
        told = (
            "It can't tell which of two videos of one channel, published within 3 days, did better"
            if pairs[1] <= 0.5
            else "Which of two videos of one channel, published within 3 days, did better it tells a little better than a coin"
        )
        lines.append(f"{told}: {figure(pairs)}. A comparison of two titles says so.")
    spread = found["judged"]["draft"].get("all", {}).get(figures.SPREAD, {}).get("auroc_top10")
    if spread:
        lines.append(
            f"Much of a draft's AUROC is the channel's spread (alone {figure(spread)}): channels that jump, jump. "
            "Spearman and pairs are the harder test."
        )
    lines += STANDING
    return "## What it cannot do\n\n" + "\n".join(f"- {line}" for line in lines)


def _numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Slices with NaN again where JSON has null."""
    nan = float("nan")
    return [
        {k: [nan if x is None else x for x in v] if isinstance(v, list) else v for k, v in row.items()} for row in rows
    ]


# --- the figure -------------------------------------------------------------------------------------

SIDE, LEFT, TOP, GAP = 300, 56, 44, 84  # px: a panel's side, margins, between panels
INK, LINE, FAINT = "#1f2933", "#2563eb", "#9aa5b1"


def reliability_figure(curves: dict[str, list[dict[str, Any]]]) -> str:
    """An SVG: per question promised against observed frequency, with 95% intervals, axes as long as the highest of them."""
    width, height = LEFT + len(curves) * (SIDE + GAP) - GAP + 24, TOP + SIDE + 56
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Reliability: promised against observed frequency</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for i, (mode, curve) in enumerate(curves.items()):
        out += _panel(LEFT + i * (SIDE + GAP), mode, curve)
    return "\n".join([*out, "</svg>"]) + "\n"


def _panel(left: float, mode: str, curve: list[dict[str, Any]]) -> list[str]:
    highest = max([0.1, *(max(one["promised"], one["observed"][2] or one["observed"][0]) for one in curve)])
    step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.25) if s * 5 >= highest or s == 0.25)
    upper = step * -(-highest // step)

    def x(p: float) -> str:
        return f"{left + SIDE * p / upper:.1f}"

    def y(p: float) -> str:
        return f"{TOP + SIDE * (1 - p / upper):.1f}"

    out = [
        f'<text x="{left}" y="{TOP - 16}" font-size="14" font-weight="600" fill="{INK}">{mode.capitalize()}s</text>',
        f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="{FAINT}"/>',
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(upper)}" y2="{y(upper)}" stroke="{FAINT}" stroke-dasharray="5 4"/>',
    ]
    for k in range(round(upper / step) + 1):
        mark = k * step
        out += [
            f'<text x="{x(mark)}" y="{TOP + SIDE + 18}" text-anchor="middle" fill="{INK}">{mark:.2g}</text>',
            f'<text x="{left - 8}" y="{float(y(mark)) + 4:.1f}" text-anchor="end" fill="{INK}">{mark:.2g}</text>',
        ]
    out += [
        f'<text x="{left + SIDE / 2}" y="{TOP + SIDE + 40}" text-anchor="middle" fill="{INK}">promised (viral_score)</text>',
        f'<text transform="translate({left - 40} {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle" fill="{INK}">happened</text>',
        f'<polyline fill="none" stroke="{LINE}" stroke-width="1.5" points="'
        + " ".join(f"{x(one['promised'])},{y(one['observed'][0])}" for one in curve)
        + '"/>',
    ]
    for one in curve:
        middle, low, high = one["observed"]
        if low is not None:
            out.append(
                f'<line x1="{x(one["promised"])}" x2="{x(one["promised"])}" y1="{y(low)}" y2="{y(high)}" stroke="{LINE}"/>'
            )
        out.append(f'<circle cx="{x(one["promised"])}" cy="{y(middle)}" r="3.5" fill="{LINE}"/>')
    return out


# --- standing text ----------------------------------------------------------------------------------

WHAT = """
## What it says

Two questions, two events.

- **Draft** (not yet published): will it beat this channel's usual? `viral_score` is the calibrated
  probability that the outlier is at least the 90th percentile of its category in the fitting
  period (`thresholds` in the manifest). The *outlier* is log10 of the views at 24 h minus the median of the
  same over the channel's up to 20 latest earlier videos that were published and observed before
  this one's publication; at least 5 are needed. `predicted_velocity` is views in the first 24 hours,
  `predicted_multiple` that over the channel's usual. The event happens in {base_draft} (base rate,
  {calibrated}).
- **Candidate** (published, observed): how fast will it grow next? `viral_score` is the calibrated
  probability that the mean new views per day over the next 3 days are at least the 90th percentile of its age
  band and category. `predicted_velocity` is those views per day; `predicted_velocity_7d` over 7 days.
  The event happens in {base_candidate} (base rate, {calibrated}).

`velocity_low` and `velocity_high` hold 8 of 10 outcomes (conformal, per age band). *Views at 24 h* are
the first count read 6 to 36 h after publication, moved to 24 h by the growth curve in the manifest.
Every score comes with the base rate of its event, and with a note where something is missing or unusual.
"""

PARTS = """
## What it is made of

| file | what | runs |
|---|---|---|
| `text.onnx` | {text}, in 8 bits | once per distinct title |
| `image.onnx` | {image}, in 8 bits | once per distinct image |
| `miles.onnx` | numbers, title, the channel's earlier titles and image, fused late behind gates; a committee of {members} | once per row |
| `tokenizer.json` | titles to token ids | |
| `manifest.json` | version, checksums, growth curve, thresholds, calibration, intervals | |
| `golden.json` | invented videos and their scores, to be reproduced | |
| `evaluation.json`, `reliability.svg` | the figures of this page | |

Three graphs, because a title stands in the history of up to 20 other videos: one graph would
encode it 21 times. Each run has one row and one thread, so a score is the same to the last bit
whatever it is scored with. Everything but the title may be missing: each part has a mask, and
parts were hidden at random in training.
"""

IMAGE = """
## What the thumbnail adds

Little, and it is measured on other videos than the rest: those whose thumbnails are at hand, within their
month, {n:,} latest ones kept apart. Spearman with success: title alone {spearman_title_alone:.3f}, title and
image {spearman_title_and_image:.3f} (in 32 bits {spearman_title_and_image_in_32_bits:.3f}), image alone
{spearman_image_alone:.3f}. There, much of it is which channel a thumbnail
betrays. Where no data has images, channels and outcomes together, the image only nudges a draft's
answers, by a share chosen by judgement and not measured.
"""

STANDING = (
    "Titles in languages that the text encoder did not learn: the numbers and the channel's past carry the score.",
    "Followers are not used: where they can be had, they were read after the outcome.",
    "It was never tried on TikTok or Reels.",
    "What an explanation shows is the model's sensitivity, not a cause: changing a title as the model likes it need "
    "not change what viewers do.",
)
