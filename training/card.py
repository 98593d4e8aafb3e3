"""Writes the model card from what was measured. No figure in it is typed by hand."""

from typing import Any

from miles.scoring import Model


def write(facts: dict[str, Any], model: Model) -> str:
    """model/README.md."""
    manifest = model.manifest
    size = sum(file["bytes"] for file in manifest["files"].values()) / 1e6
    parts = [
        f"# Model card: Miles {model.version}",
        f"Made {facts['made']} by `python -m training`; {size:.0f} MB in all. This page is written by the training run.",
        WHAT.format(**{f"base_{k}": _percent(v) for k, v in facts["base_rates"].items()}),
        PARTS.format(members=facts["members"]),
        DATA.format(cases="\n".join(f"| {k} | {v:,} |" for k, v in facts["metrics"]["cases"].items())),
        _judged(facts["metrics"].get("judge")),
        _reliability(facts["metrics"].get("reliability")),
        SEEDS.format(**{k: ", ".join(f"{x:.3f}" for x in v) for k, v in facts["metrics"]["seeds"].items()}),
        IMAGE.format(**facts["metrics"]["image"]),
        LIMITS,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _percent(x: float) -> str:
    return f"{100 * x:.1f} in 100"


def _figure(x: Any) -> str:
    if isinstance(x, list):
        return f"{x[0]:.3f} [{x[1]:.3f}, {x[2]:.3f}]"
    return f"{x:.3f}" if isinstance(x, float) else f"{x:,}"


def _judged(judged: dict[str, Any] | None) -> str:
    """The figures of the judge's code, each with its 95% interval and its baselines."""
    if judged is None:
        return "## Figures\n\nThis run was not judged (`--judge` was not given)."
    lines = [JUDGED]
    for name, g in judged["draft"].items():
        base = "baseline: mean of last 3 - channel median"
        spread = "baseline: spread of the channel (h_sd) alone"
        system = g["system"]
        lines += [
            f"**Draft, {name}** (n {g['n']:,}, {g['channels']:,} channels, the event in {_percent(g['base_rate_top10'])})\n",
            "| | Miles | drift (last 3 − median) | channel's spread alone |",
            "|---|---|---|---|",
            *(
                f"| {says} | {_figure(system[key])} | {_figure(g[base][key])} | {_figure(g[spread][key])} |"
                for key, says in (
                    ("spearman", "Spearman of `predicted_multiple` with the outlier"),
                    ("auroc_top10", "AUROC of the event"),
                    ("avg_precision", "average precision of the event"),
                    ("pairwise_2x_within_3_days", "which of two videos ≤ 3 days and ≥ 2× apart did better"),
                )
            ),
            f"| calibration error (ECE) | {_figure(system['ece'])} | | |",
            f"| gain in Spearman over drift | {_figure(g['gain over first baseline']['spearman'])} | | |\n",
        ]
    for name, g in judged["candidate"].items():
        plain = "baseline: views per day so far x decay by age"
        base = "baseline: ... x decay by age and category"
        rows = [("spearman", "Spearman"), ("median_ape", "median error"), ("within_2x", "within a factor of 2")]
        lines += [
            f"**Candidate, {name}** (n {g['n']:,}, {g['channels']:,} channels)\n",
            "| | Miles | rate so far × decay by age | … by age and category |",
            "|---|---|---|---|",
            *(f"| {s} | {_figure(g['system'][k])} | {_figure(g[plain][k])} | {_figure(g[base][k])} |" for k, s in rows),
        ]
        if "coverage_80" in g["system"]:
            event = g["label top10_growth_3d"]
            lines += [
                f"| coverage of the 80% interval | {_figure(g['system']['coverage_80'])} | | |",
                f"| AUROC of the event | {_figure(event['system']['auroc'])} | {_figure(event[plain]['auroc'])} | |",
                f"| average precision of the event | {_figure(event['system']['avg_precision'])} "
                f"| {_figure(event[plain]['avg_precision'])} | |",
                f"| calibration error (ECE) | {_figure(event['system']['ece'])} | | |",
            ]
        gain = g["gain over decay by age and category"]["spearman"]
        lines += [f"| gain in Spearman over age and category | {_figure(gain)} | | |\n"]
    return "\n".join(lines)


def _reliability(curves: dict[str, list[dict[str, float]]] | None) -> str:
    if curves is None:
        return ""
    lines = [
        "## Does a probability come true?",
        "",
        "June 2026, all channels, ten equally full bins: promised and observed.",
        "",
    ]
    lines += ["| bin | draft: promised | observed | candidate: promised | observed |", "|---|---|---|---|---|"]
    for i, (d, c) in enumerate(zip(curves["draft"], curves["candidate"], strict=True), start=1):
        cells = (f"{x[key]:.3f}" for x in (d, c) for key in ("promised", "observed"))
        lines.append(f"| {i} | {' | '.join(cells)} |")
    return "\n".join(lines)


WHAT = """
## What it says

Two questions, two events.

- **Draft** (not yet published): will it beat this channel's usual? `viral_score` is the calibrated
  probability that the outlier is at least the 90th percentile of its category in the fitting
  period (`thresholds` in the manifest). The *outlier* is log10 of the views at 24 h minus the median of the
  same over the channel's up to 20 latest earlier videos that were published and observed before
  this one's publication; at least 5 are needed. `predicted_velocity` is views in the first 24 hours,
  `predicted_multiple` that over the channel's usual. The event happens in {base_draft} (base rate, May 2026).
- **Candidate** (published, observed): how fast will it grow next? `viral_score` is the calibrated
  probability that the mean new views per day over the next 3 days are at least the 90th percentile of its age
  band and category. `predicted_velocity` is those views per day; `predicted_velocity_7d` over 7 days.
  The event happens in {base_candidate} (base rate, May 2026).

`velocity_low` and `velocity_high` hold 8 of 10 outcomes (conformal, per age band). *Views at 24 h* are
the first count read 6 to 36 h after publication, moved to 24 h by the growth curve in the manifest.
"""

PARTS = """
## What it is made of

| file | what | runs |
|---|---|---|
| `text.onnx` | all-MiniLM-L6-v2 (BERT family), 8-bit weights per channel | once per distinct title |
| `image.onnx` | a small ResNet, trained here | once per distinct image |
| `miles.onnx` | numbers, title, the channel's earlier titles and image, fused late behind gates; a committee of {members} | once per row |
| `tokenizer.json` | titles to token ids | |
| `manifest.json` | version, checksums, growth curve, thresholds, calibration, intervals, figures | |
| `golden.json` | invented videos and their scores, to be reproduced | |

Three graphs, because a title stands in the history of up to 20 other videos: one graph would
encode it 21 times. Each run has one row and one thread, so a score is the same to the last bit
whatever it is scored with. Everything but the title may be missing: each part has a mask, and
parts were hidden at random in training.
"""

DATA = """
## Data and split

Daily YouTube trending lists of 110 countries, 2025-12-10 to 2026-06-30 (158k videos), and thumbnails of
US trending videos of 2020-21 for the image encoder. Fitted on videos published before 2026-05-01 of
nine tenths of the channels; calibrated (Platt, conformal) on May 2026, drafts' probabilities on its latter half; looked at on June
2026. One choice was made after that look: intervals are asked to hold 83% in May, so as to hold 80% later.
"Unseen channels" were never fitted on.

| split and kind | cases |
|---|---|
{cases}
"""

JUDGED = """## Figures on June 2026

From the judge's own code on its own cases, with 95% intervals (bootstrap over channels):

    python -m miles score --input inputs_draft.parquet --output draft.parquet        # and candidate
    python evaluate.py scores.parquet --json figures.json                            # both, concatenated

The headline is "unseen channels".
"""

SEEDS = """
The members of the committee, each by itself, on May 2026: draft Spearman {draft_spearman};
median error of log10 velocity {velocity_error_log10}. What a different start changes.
"""

IMAGE = """
## What the thumbnail adds

Little, and it is measured on other videos than the rest: US trending videos of 2021, within their
month, {n:,} latest ones kept apart. Spearman with success: title alone {spearman_title_alone:.3f}, title and
image {spearman_title_and_image:.3f}, image alone {spearman_image_alone:.3f}. There, most of it is which channel a thumbnail
betrays. No data at hand has images, channels and outcomes together, so the image only nudges a draft's
answers, by a share chosen by judgement and not measured.
"""

LIMITS = """
## What it cannot do

- It learnt from videos on trending lists only: it knows no flops, and says nothing sure about
  ordinary videos. Inputs far from that data carry the note "outside what the model knows".
- The velocity figures hold for videos still on a list three days later (about a quarter).
- 1 in 100 of the videos is up to 60 seconds long, 14 in 100 up to 180. Half is gaming, a third music.
- Titles in languages other than English are read by an English encoder: for them the numbers and the
  channel's past carry the score.
- Months drift. In June 2026 more drafts beat their channel's usual than in any month before, and their
  probabilities come out too low; a month later they may come out too high.
- Which of two videos of one channel, a few days apart, will do better: see the row of pairs. Where its
  interval holds 0.5, the model can't tell, and a comparison of two titles should say so.
- The AUROC of a draft is mostly the channel's spread: channels that jump, jump. Spearman and
  pairs are the harder test.
- Followers are not used: where they can be had, they were read after the outcome.
- It was never tried on TikTok or Reels.
- What an explanation shows is the model's sensitivity, not a cause: changing a title as the model likes
  it need not change what viewers do.
"""
