"""python -m training --data FOLDER [--judge FOLDER] [--out model]: makes the model folder.

Reads from top to bottom: cases, vectors of titles, image encoder, network, calibration, export,
evaluation, model card. About ten minutes on two processors. What takes long and depends on little
is kept in training/work; remove it to start afresh.
"""

import argparse
import hashlib
import logging
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import torch

from miles import features, scoring
from training import calibrate, card, dataset, evaluate, export, fit, image_encoder, text_encoder
from training.network import OUTPUTS, Network

logger = logging.getLogger("training")
WORK = Path(__file__).parent / "work"
CALIBRATE_DRAFTS_FROM = datetime(2026, 5, 16, tzinfo=UTC)
IMAGE_TRUST = 0.5  # see attach_image


def main() -> None:
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for chatty in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    WORK.mkdir(exist_ok=True)
    args.out.mkdir(exist_ok=True)

    source = args.text_encoder or text_encoder.default_folder()
    text_encoder.export(text_encoder.load(source), args.out / "text.onnx", export.OPSET)
    export.write_tokenizer(args.out, source)

    logger.info("reading observations")
    daily = dataset.read_observations(args.data)
    curve = dataset.fit_growth_curve(daily)
    cases = dataset.make_cases(daily, curve)
    first_days = [c.views_24h for c in cases if c.split == "fit" and c.views_24h is not None]
    draft_base = round(float(np.median(first_days)), 5)
    encoded = [features.encode(case.input, curve, draft_base) for case in cases]
    outliers = [fit.outlier_of(case, f) for case, f in zip(cases, encoded, strict=True)]
    limits = dataset.thresholds(cases, outliers)
    logger.info("%d cases; encoding their titles", len(cases))

    vectors = Vectors(args.out, args.threads)
    rows_of = vectors.rows_of({t for case in cases for t in (case.input.title, *(p.title for p in case.input.history))})
    arrays = fit.to_arrays(cases, encoded, limits, rows_of, vectors.table)

    thumbnails = image_encoder.read(args.data, vectors.of, WORK)
    images = kept(
        f"image-{args.seed}",
        ["image_encoder.py"],
        lambda: image_encoder.fit(thumbnails, args.seed),
        image_encoder.ImageEncoder,
    )
    nudge = image_encoder.measure(images, thumbnails)

    split = np.array([case.split for case in cases])
    network = fit.fit(arrays, np.flatnonzero(split == "fit"), args.seed, args.members, args.epochs)
    attach_image(network, nudge, outliers)

    facts = {
        "release": args.release,
        "members": args.members,
        "seed": args.seed,
        "made": args.made.isoformat(),
        "inputs": {
            "context": list(features.CONTEXT),
            "max_tokens": text_encoder.MAX_TOKENS,
            "history": features.HISTORY,
            "text_width": int(vectors.table.shape[1]),
            "image_width": int(nudge.weight.shape[0]),
            "image_size": list(features.IMAGE_SIZE),
        },
        "curve": {"ages": list(curve.ages), "gains": list(curve.gains)},
        "draft_base": draft_base,
        "thresholds": limits,
        "known_ranges": known_ranges(arrays, split == "fit"),
    }
    facts |= promises(network, arrays, encoded, split, [case.input.published_at for case in cases])
    export.write_fusion(network, vectors.table.shape[1], args.out / "miles.onnx")
    export.write_image(images, args.out / "image.onnx")
    facts["metrics"] = {"image": image_facts(nudge), "cases": counts(cases)}
    export.write_manifest(args.out, facts)
    model = scoring.load(args.out)
    if args.judge:
        facts["metrics"]["judge"] = evaluate.judge(model, args.judge, WORK)
        facts["metrics"]["reliability"] = evaluate.reliability(args.judge / "cases", WORK)
    facts["metrics"]["seeds"] = evaluate.per_member(network, arrays, split == "calibrate")
    export.write_manifest(args.out, facts)
    export.write_golden(args.out, scoring.load(args.out))
    (args.out / "README.md").write_text(card.write(facts, model), encoding="utf-8")
    logger.info("%s is ready: version %s", args.out, model.version)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets (Parquet)")
    parser.add_argument("--judge", type=Path, help="folder with evaluate.py and cases/; without it no June figures")
    parser.add_argument("--out", type=Path, default=scoring.DEFAULT_FOLDER, help="model folder to write")
    parser.add_argument("--text-encoder", type=Path, help="folder of another BERT (default: all-MiniLM-L6-v2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=2, help="networks in the committee")
    parser.add_argument("--epochs", type=int, default=fit.EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--release", default="0.1.0", help="version; the files' fingerprint is added to it")
    parser.add_argument("--made", type=date.fromisoformat, default=datetime.now(UTC).date())
    return parser.parse_args()


class Vectors:
    """Vectors of titles by the exported encoder, so that training sees what serving sees."""

    def __init__(self, out: Path, threads: int) -> None:
        fingerprint = hashlib.sha256((out / "text.onnx").read_bytes()).hexdigest()[:12]
        self._file = WORK / f"titles-{fingerprint}.npz"
        self._encoder = text_encoder.Served(out / "text.onnx", out / "tokenizer.json", threads)
        self._rows: dict[str, int] = {}
        self.table = np.zeros((0, self._encoder.width), dtype=np.float16)
        if self._file.exists():
            kept_before = np.load(self._file, allow_pickle=True)
            self._rows = {title: i for i, title in enumerate(kept_before["titles"])}
            self.table = kept_before["vectors"]

    def rows_of(self, titles: set[str]) -> dict[str, int]:
        """Title -> its row in `table`."""
        new = sorted(titles - self._rows.keys())
        if new:
            self.table = np.concatenate([self.table, self._encoder.encode(new)])
            self._rows |= {title: len(self._rows) + i for i, title in enumerate(new)}
            np.savez(self._file, titles=np.array(list(self._rows), dtype=object), vectors=self.table)
        return self._rows

    def of(self, titles: list[str]) -> np.ndarray:
        rows = self.rows_of(set(titles))
        return self.table[[rows[title] for title in titles]]


def kept(name: str, sources: list[str], make, blank):
    """A trained module, from training/work if its code has not changed since."""
    code = "".join((Path(__file__).parent / source).read_text() for source in sources)
    file = WORK / f"{name}-{hashlib.sha256(code.encode()).hexdigest()[:12]}.pt"
    if file.exists():
        module = blank()
        module.load_state_dict(torch.load(file))
        return module.eval()
    module = make()
    torch.save(module.state_dict(), file)
    return module


def attach_image(network: Network, nudge: image_encoder.Nudge, outliers: list[float | None]) -> None:
    """Let the image nudge the drafts' answers.

    No data here has images, channels and outcomes together. What the image says of success among
    all videos is scaled to the narrower spread within a channel, and halved (IMAGE_TRUST), since
    part of what makes a thumbnail tell is which channel it betrays.
    """
    within = float(np.std([o for o in outliers if o is not None]))
    scale = IMAGE_TRUST * within / nudge.spread
    for member in network.members:
        with torch.no_grad():
            for row, size in enumerate((scale, scale / within)):  # log10 views; then logits
                member.image.weight[row] = torch.from_numpy(nudge.weight * size).float()
                member.image.bias[row] = nudge.bias * size


def promises(
    network: Network,
    arrays: fit.Arrays,
    encoded: list[features.Features],
    split: np.ndarray,
    published: list[datetime],
) -> dict:
    """Calibration, intervals and base rates, all from the month kept for it."""
    rows = np.flatnonzero(split == "calibrate")
    out = dict(zip(OUTPUTS, fit.answers(network, arrays, rows).T, strict=True))
    alone = dict(zip(OUTPUTS, fit.answers(network, arrays, rows, channel=False).T, strict=True))
    draft_event, velocity_event = arrays.draft_event[rows], arrays.velocity_event[rows]
    asked = ~np.isnan(draft_event)
    # Events of drafts drift by the month: the latest fortnight stands nearest to the future.
    lately = asked & np.array([published[i] >= CALIBRATE_DRAFTS_FROM for i in rows])
    # The yardstick's candidates only: what was first seen within three days of publication.
    young = ~np.isnan(velocity_event) & (arrays.weight[rows] == 1)
    calibration = {
        "draft": calibrate.platt(out["draft_logit"][lately], draft_event[lately]),
        "draft_without_history": calibrate.platt(alone["draft_logit"][lately], draft_event[lately]),
        "candidate": calibrate.platt(out["candidate_logit"][young], velocity_event[young]),
    }
    groups = np.array([scoring.interval_group(encoded[i]) for i in rows])
    intervals = {}
    for group in ("draft", "draft_without_history", *(name for name, _ in features.AGE_BANDS)):
        kind, y = ("draft", arrays.draft[rows]) if group.startswith("draft") else ("candidate", arrays.velocity[rows])
        mine = (groups == group) & ~np.isnan(y)
        intervals[group] = calibrate.conformal(out[f"{kind}_low"][mine], out[f"{kind}_high"][mine], y[mine])
    return {
        "calibration": calibration,
        "intervals": intervals,
        "base_rates": {
            "draft": round(float(draft_event[asked].mean()), 4),
            "candidate": round(float(velocity_event[young].mean()), 4),
        },
    }


def known_ranges(arrays: fit.Arrays, fitted: np.ndarray) -> list[dict]:
    """Where all but one in a thousand of the fitted cases lie; outside, a score says so."""
    names = {
        "log_views": "views",
        "log_age": "age",
        "median": "the channel's usual views",
        "log_duration": "duration",
    }
    ranges = []
    for feature, name in names.items():
        low, high = np.nanquantile(arrays.context[fitted, features.CONTEXT.index(feature)], [0.0005, 0.9995])
        ranges.append({"feature": feature, "name": name, "low": round(float(low), 4), "high": round(float(high), 4)})
    return ranges


def image_facts(nudge: image_encoder.Nudge) -> dict:
    return {
        "n": nudge.n,
        "spearman_title_alone": round(nudge.title_alone, 4),
        "spearman_title_and_image": round(nudge.with_image, 4),
        "spearman_image_alone": round(nudge.image_alone, 4),
    }


def counts(cases: list[dataset.Case]) -> dict[str, int]:
    out: dict[str, int] = {}
    for case in cases:
        name = f"{case.split} {case.input.mode}"
        out[name] = out.get(name, 0) + 1
    return dict(sorted(out.items()))


if __name__ == "__main__":
    main()
