"""python -m training --data FOLDER [--judge FOLDER]: makes a model folder.

Reads from top to bottom: observations, cases, vectors of titles, image encoder, networks, calibration,
export, trials, evaluation with the model card. `--from-database` learns from what this installation has
collected instead. Every product is kept in training/work: an interrupted run goes on where it was.
"""

import argparse
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from miles import calibration, features, registry, scoring
from miles.candidates import CATEGORY_IDS
from miles.errors import MilesError
from training import (
    calibrate,
    database,
    dataset,
    evaluate,
    export,
    figures,
    fit,
    image_encoder,
    network,
    preparation,
    resnet,
    stages,
    text_encoder,
    trials,
)
from training.network import OUTPUTS, Network
from training.preparation import Prepared, prepare
from training.stages import Made, Stages

logger = logging.getLogger("training")
WORK = Path(__file__).parent / "work"
STAGES = 9
IMAGE_TRUST = 0.5  # see attach_image
ENCODED_AT_ONCE = 8192  # titles; an interruption costs at most so many
SHIPPED = scoring.DEFAULT_FOLDER


def main(argv: Sequence[str] | None = None) -> Path:
    """Train as the arguments say; returns the model folder."""
    args = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for chatty in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        out = train(args)
        if args.from_database:
            logger.info("Put it in force with: python -m miles model activate %s", out)
        return out
    except MilesError as error:
        raise SystemExit(str(error)) from error


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder with the data sets (Parquet)")
    source.add_argument("--from-database", action="store_true", help="learn from this installation's own database")
    parser.add_argument("--judge", type=Path, help="folder with the judge's evaluate.py and cases/ to measure by")
    parser.add_argument("--out", type=Path, help="model folder to write (default: model/; from a database, MILES_HOME)")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for what is kept between runs")
    parser.add_argument(
        "--text-encoder", help="another encoder's folder, or name on the hub (default: all-MiniLM-L6-v2)"
    )
    parser.add_argument(
        "--image-encoder",
        help="a Hugging Face ResNet's folder, or name on the hub (default: a small one, trained here)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=3, help="networks in the committee")
    parser.add_argument("--epochs", type=int, default=fit.EPOCHS)
    parser.add_argument("--image-epochs", type=int, default=image_encoder.EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks are fitted")
    parser.add_argument("--release", default="0.1.0", help="version; the files' fingerprint is added to it")
    parser.add_argument("--made", type=date.fromisoformat, default=datetime.now(UTC).date())
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> Path:
    """The whole run. Raises MilesError where there is too little to learn from, or a place that must not be taken."""
    device = start_torch(args.device, args.threads)
    run = Stages(args.work, STAGES)
    source = FromDatabase() if args.from_database else FromFiles(args.data)
    out = where_to(args.out, args.from_database)
    judge = evaluate.of_judge(args.judge) if args.judge else None

    run.begin("observations")
    daily = run.make("observations", source.observations, source.observed, code=[dataset, database])
    periods = source.periods(daily.value)

    run.begin("cases and their features")
    prepared = run.make(
        "cases", lambda: prepare(daily.value, periods), daily, repr(periods), code=[dataset, features, fit, preparation]
    )
    cases = prepared.value
    source.check(cases, periods)

    run.begin("vectors of titles")
    folder, exact = empty(args.work / "new"), empty(args.work / "fp32")
    encoder, vectors = text_branch(run, args, cases.cases, folder, exact)
    rows_of = vectors.rows_of(titles_of(cases.cases))
    arrays = fit.to_arrays(cases.cases, cases.encoded, cases.limits, rows_of, vectors.table)

    run.begin("image encoder")
    nudge, image_size = image_branch(run, args, source, vectors, encoder, folder, exact, device)

    run.begin("networks")
    split = np.array([case.split for case in cases.cases])
    needs = [prepared, encoder, repr(device), args.seed, args.epochs]
    fold = fit.folds(cases.cases, args.members)
    members = fit_members(run, args, arrays, np.flatnonzero(split == "fit"), fold, needs, device)
    committee = together([member.value for member in members[: args.members]], arrays)
    if nudge is not None:
        attach_image(committee, nudge, cases.outliers)

    run.begin("calibration")
    promised = promises(committee, arrays, cases, split, fold)

    run.begin("trials: seeds, and a random split")
    tried = run.make(
        "trials",
        lambda: try_out(args, arrays, cases, [m.value for m in members], device),
        *needs, args.members,
        code=[fit, network, trials, figures],
    )  # fmt: skip

    run.begin("export")
    facts = told(args, cases, known_ranges(arrays, split == "fit"), periods, vectors, image_size)
    facts |= promised | {"data": source.about(daily.value)}
    facts["reference"] = reference(committee, arrays, promised["calibration"], split, periods)
    facts["metrics"] = {
        "image": None if nudge is None else image_facts(nudge),
        "cases": counts(cases.cases),
        "followed": evaluate.followed(daily.value),
        **tried.value,
    }
    export.write_fusion(committee, vectors.table.shape[1], folder / "miles.onnx")
    shutil.copyfile(folder / "miles.onnx", exact / "miles.onnx")
    torch.save(committee, exact / "miles.pt")
    for one in (folder, exact):
        export.write_manifest(one, facts)
    export.write_golden(folder, scoring.load(folder))

    run.begin("evaluation and model card")
    evaluate.measure(folder, judge or own_cases(args, cases), args.work, args.data, exact)
    out = out or registry.kept_in(scoring.load(folder).version)
    put(folder, out)
    logger.info("%s is ready", out)
    return out


def start_torch(device: str, threads: int) -> torch.device:
    """Where to fit, and always the same sums. Raises MilesError if a GPU is asked for and there is none."""
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise MilesError("There is no GPU that this PyTorch can use. Leave out --device, or install PyTorch for it.")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA repeats itself only with it
    return torch.device("cuda" if there and device != "cpu" else "cpu")


def where_to(asked: Path | None, from_database: bool) -> Path | None:
    """The folder to write; None: one named by the version, in MILES_HOME."""
    if not from_database:
        return asked or SHIPPED
    if asked is not None and asked.resolve() == SHIPPED.resolve():
        raise MilesError(
            f"{asked} is the model that Miles ships: one of your own does not replace it. Leave out --out, or name "
            "another folder, and put it in force with `python -m miles model activate FOLDER`."
        )
    return asked


def put(folder: Path, out: Path) -> None:
    """Move a finished model folder to its place; until then what was there is untouched."""
    out.parent.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    shutil.copytree(folder, copy / "new")
    if out.exists():
        out.rename(copy / "old")
    (copy / "new").rename(out)
    shutil.rmtree(copy)


# --- where the data comes from ----------------------------------------------------------------------


class FromFiles:
    """The shared data sets: trending lists, and thumbnails of other videos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = folder / "youtube_thumbnails_2020_21.parquet"
        observed = folder / "youtube_trending_2025_26.parquet"
        for file in (observed, self.pictures):
            if not file.is_file():
                raise MilesError(f"There is no {file.name} in {folder}; --data wants the folder of the data sets.")
        self.observed = observed

    def observations(self) -> pd.DataFrame:
        return dataset.read_observations(self.folder)

    def periods(self, daily: pd.DataFrame) -> dataset.Periods:
        return dataset.PERIODS

    def check(self, cases: Prepared, periods: dataset.Periods) -> None:
        """Shared data is what it is."""

    def thumbnails(self, vectors: "Vectors", run: Stages, size: tuple[int, int]) -> image_encoder.Thumbnails:
        return image_encoder.read(self.folder, vectors.of, run.folder, size)

    def about(self, daily: pd.DataFrame) -> dict[str, Any]:
        return about("Daily YouTube trending lists", daily) | {"trending": True}


class FromDatabase:
    """What this installation has collected."""

    def __init__(self) -> None:
        with database.reading() as connection:
            self.observed = self.pictures = database.state(connection)

    def observations(self) -> pd.DataFrame:
        with database.reading() as connection:
            return database.read_observations(connection)

    def periods(self, daily: pd.DataFrame) -> dataset.Periods:
        return dataset.periods_of(daily)

    def check(self, cases: Prepared, periods: dataset.Periods) -> None:
        database.check(cases.cases, [f.usual for f in cases.encoded], periods, database.NEEDED)

    def thumbnails(self, vectors: "Vectors", run: Stages, size: tuple[int, int]) -> image_encoder.Thumbnails | None:
        with database.reading() as connection:
            frame = database.read_thumbnails(connection)
        if len(frame) < database.THUMBNAILS:
            logger.info("%d thumbnails of the %d that are needed: images stay out", len(frame), database.THUMBNAILS)
            return None
        cache = run.folder / f"pixels-{stages.fingerprint([self.pictures, *size])}.npy"
        return image_encoder.of_frame(frame, vectors.of, cache, size)

    def about(self, daily: pd.DataFrame) -> dict[str, Any]:
        return about("The database of one installation", daily) | {"trending": False}


def about(name: str, daily: pd.DataFrame) -> dict[str, Any]:
    """What was learnt from, in numbers for the card."""
    videos = daily.drop_duplicates("video_id")
    names = {number: name for name, number in CATEGORY_IDS.items()}
    categories = videos["category_id"].value_counts(normalize=True).head(4)
    known = videos["default_language"].dropna().astype(str)
    seconds = videos["duration"].dropna().astype(float)
    return {
        "name": name,
        "observations": len(daily),
        "videos": len(videos),
        "channels": int(videos["channel_id"].nunique()),
        "from": str(daily["fetched_at"].min().date()),
        "to": str(daily["fetched_at"].max().date()),
        "shares": {
            "categories": {names.get(int(c), f"category {c}"): round(float(x), 4) for c, x in categories.items()},
            "up_to_60_s": round(float((seconds <= 60).mean()), 4) if len(seconds) else None,
            "up_to_180_s": round(float((seconds <= 180).mean()), 4) if len(seconds) else None,
            "english": round(float(known.str.lower().str.startswith("en").mean()), 4) if len(known) else None,
        },
    }


# --- cases ------------------------------------------------------------------------------------------


def own_cases(args: argparse.Namespace, prepared: Prepared) -> evaluate.Yardstick:
    """Without a judge: the latest period of the run's own data."""
    folder = args.work / "cases"
    evaluate.write_cases(folder, prepared.cases, prepared.encoded, prepared.curve, prepared.limits)
    return evaluate.of_run(folder)


def empty(folder: Path) -> Path:
    """The folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# --- the text branch --------------------------------------------------------------------------------


def text_branch(
    run: Stages, args: argparse.Namespace, cases: Sequence[dataset.Case], folder: Path, exact: Path
) -> tuple[Made, "Vectors"]:
    """Write text.onnx and tokenizer.json, in 8 bits into `folder` and in 32 into `exact`."""
    encoder_from = source_of(args.text_encoder) if args.text_encoder else text_encoder.default_folder()
    examples = some_titles(cases)
    encoder = run.make(
        "text-encoder", lambda: exported_text(encoder_from, examples), encoder_from, examples, code=[text_encoder]
    )
    plain = run.make("text-encoder-exact", lambda: exact_text(encoder_from), encoder_from, code=[text_encoder])
    for place, files in ((folder, encoder.value), (exact, plain.value)):
        for name, content in files.items():
            (place / name).write_bytes(content)
    return encoder, Vectors(args.work, encoder.fingerprint, folder, args.threads)


def titles_of(cases: Sequence[dataset.Case]) -> set[str]:
    return {title for case in cases for title in (case.input.title, *(past.title for past in case.input.history))}


def some_titles(cases: Sequence[dataset.Case]) -> list[str]:
    """Examples for the scales of the text encoder's activations, of cases to fit; the same whenever these are."""
    titles = sorted(titles_of([case for case in cases if case.split == "fit"]))
    chosen = np.random.default_rng(0).permutation(len(titles))[: text_encoder.CALIBRATION_TITLES]
    return [titles[i] for i in chosen]


def source_of(asked: str) -> Path | str:
    """A folder of a Hugging Face encoder, or else its name on the hub."""
    return Path(asked) if Path(asked).is_dir() else asked


def exported_text(source: Path | str, titles: list[str]) -> dict[str, bytes]:
    """The 8-bit ONNX file of a Hugging Face encoder and its tokenizer, by name."""
    with tempfile.TemporaryDirectory() as folder:
        text_encoder.export(text_encoder.load(source), Path(folder) / "text.onnx", export.OPSET, titles)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


def exact_text(source: Path | str) -> dict[str, bytes]:
    """The same in 32 bits: what 8 bits are measured against."""
    with tempfile.TemporaryDirectory() as folder:
        text_encoder.export_plain(text_encoder.load(source), Path(folder) / "text.onnx", export.OPSET)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


class Vectors:
    """Vectors of titles by the exported encoder, so that training sees what serving sees. Kept as they are made."""

    def __init__(self, work: Path, fingerprint: str, folder: Path, threads: int) -> None:
        self._folder = work / f"titles-{fingerprint}"
        self._folder.mkdir(exist_ok=True)
        self._encoder = text_encoder.Served(folder / "text.onnx", folder / "tokenizer.json", threads)
        self.max_tokens = self._encoder.max_tokens
        self._rows: dict[str, int] = {}
        self._parts = [np.zeros((0, self._encoder.width), dtype=np.float16)]
        for file in sorted(self._folder.glob("*.npz")):
            part = np.load(file, allow_pickle=True)
            self._add(list(part["titles"]), part["vectors"])
        self.table = np.concatenate(self._parts)

    def _add(self, titles: list[str], vectors: np.ndarray) -> None:
        self._rows |= {title: len(self._rows) + i for i, title in enumerate(titles)}
        self._parts.append(vectors)

    def rows_of(self, titles: set[str]) -> dict[str, int]:
        """Title -> its row in `table`."""
        new = sorted(titles - self._rows.keys())
        progress = stages.Progress("titles", len(new))
        for low in range(0, len(new), ENCODED_AT_ONCE):
            part = new[low : low + ENCODED_AT_ONCE]
            vectors = self._encode(part)
            self._add(part, vectors)
            file = self._folder / f"{len(self._rows):09}.npz"
            np.savez(file.with_suffix(".unfinished"), titles=np.array(part, dtype=object), vectors=vectors)
            file.with_suffix(".unfinished.npz").rename(file)
            progress(low + len(part))
        if new:
            self.table = np.concatenate(self._parts)
        return self._rows

    def _encode(self, titles: list[str]) -> np.ndarray:
        return self._encoder.encode(titles)

    def of(self, titles: list[str]) -> np.ndarray:
        rows = self.rows_of(set(titles))
        return self.table[[rows[title] for title in titles]]


# --- the image branch -------------------------------------------------------------------------------


def image_branch(
    run: Stages,
    args: argparse.Namespace,
    source: "FromFiles | FromDatabase",
    vectors: Vectors,
    text: Made,
    folder: Path,
    exact: Path,
    device: torch.device,
) -> tuple[image_encoder.Nudge | None, tuple[int, int]]:
    """Write image.onnx, in 8 bits into `folder` and in 32 into `exact`; returns how images move the answers, or None
    where there are too few to learn from, and the size of the pictures that the encoder takes.

    Without thumbnails of its own a model keeps the shipped encoder, and its network does not listen to it.
    """
    taken = source_of(args.image_encoder) if args.image_encoder else None
    pretrained, size = (None, features.IMAGE_SIZE) if taken is None else resnet.load(taken)
    pictures = source.thumbnails(vectors, run, size)
    if pictures is None:
        for one in (folder, exact):
            shutil.copyfile(SHIPPED / "image.onnx", one / "image.onnx")
        return None, features.IMAGE_SIZE

    def fitted() -> nn.Module:
        if pretrained is not None:
            return resnet.fit(pretrained, pictures, device)
        return image_encoder.fit(pictures, args.seed, args.image_epochs)

    encoder = run.make(
        "image-encoder",
        fitted,
        text, source.pictures, taken, args.seed, args.image_epochs,
        code=[image_encoder] if taken is None else [image_encoder, resnet],
    )  # fmt: skip
    served = run.make(
        "image-branch", lambda: serve_images(encoder.value, pictures), encoder, code=[image_encoder, export]
    )
    files, nudge = served.value
    (folder / "image.onnx").write_bytes(files["8 bits"])
    (exact / "image.onnx").write_bytes(files["32 bits"])
    torch.save(encoder.value, exact / "image.pt")
    return nudge, size


def serve_images(
    encoder: nn.Module, pictures: image_encoder.Thumbnails
) -> tuple[dict[str, bytes], image_encoder.Nudge]:
    """The encoder's ONNX files, and what its images tell as they are served."""
    examples = pictures.pixels[:: max(1, len(pictures.pixels) // export.CALIBRATION_PICTURES)]
    with tempfile.TemporaryDirectory() as folder:
        rounded, exact = Path(folder) / "8.onnx", Path(folder) / "32.onnx"
        export.write_image(encoder, rounded, examples)
        export.write_plain_image(encoder, exact, examples)
        unrounded = image_encoder.measure(image_encoder.encode(encoder, pictures.pixels), pictures)
        nudge = image_encoder.measure(image_encoder.Served(rounded).encode(pictures.pixels), pictures)
        files = {"8 bits": rounded.read_bytes(), "32 bits": exact.read_bytes()}
    return files, replace(nudge, with_exact_image=unrounded.with_image)


# --- networks ---------------------------------------------------------------------------------------


def fit_members(
    run: Stages,
    args: argparse.Namespace,
    arrays: fit.Arrays,
    rows: np.ndarray,
    fold: np.ndarray,
    needs: list,
    device: torch.device,
) -> list[Made[Network]]:
    """Networks by themselves, each from another start: the committee, and more if it takes more to tell the spread.

    Each never meets the channels of its fold: on them it is asked what to promise for channels to come.
    """
    return [
        run.make(
            f"network-{i}",
            lambda seed=args.seed * 1000 + i, left_out=fold == i: fit.fit(
                arrays, rows, seed, 1, args.epochs, device, left_out
            ),
            *needs, i, args.members,
            code=[fit, network],
        )
        for i in range(max(args.members, trials.SEEDS))
    ]  # fmt: skip


def together(alone: list[Network], arrays: fit.Arrays) -> Network:
    """One network whose answer is the mean of theirs."""
    committee = Network(arrays.context.shape[1], arrays.vectors.shape[1], 0)
    committee.mean.copy_(alone[0].mean)
    committee.scale.copy_(alone[0].scale)
    committee.members = nn.ModuleList(one.members[0] for one in alone)
    return committee.eval()


def try_out(
    args: argparse.Namespace, arrays: fit.Arrays, prepared: Prepared, alone: list[Network], device: torch.device
) -> dict[str, Any]:
    """How much the start matters, and how much a random split flatters."""
    bases = np.array([f.base for f in prepared.encoded])
    unseen, latest = trials.unseen(prepared.cases), trials.latest(prepared.cases)

    def measure(one: Network) -> dict[str, float]:
        out = {}
        for name, rows in (("unseen channels", unseen), ("all", latest)):
            found = trials.figures_of(one, arrays, rows, bases)
            out |= {f"{figure}, {name}": value for figure, value in found.items()}
        return out

    seeds = trials.over_seeds([(args.seed * 1000 + i, one) for i, one in enumerate(alone)], measure)
    inside, outside = trials.random_split(prepared.cases, args.seed)
    flattered = fit.fit(arrays, inside, args.seed * 1000, 1, args.epochs, device)
    random = trials.figures_of(flattered, arrays, outside, bases)
    honest = trials.figures_of(alone[0], arrays, unseen, bases)
    shared = [name for name in random if name in honest]
    return {
        "seeds": seeds,
        "random_split": {
            "random": {name: random[name] for name in shared},
            "protocol": {name: honest[name] for name in shared},
        },
    }


def attach_image(committee: Network, nudge: image_encoder.Nudge, outliers: list[float | None]) -> None:
    """Let the image nudge the drafts' answers.

    No data here has images, channels and outcomes together. What the image says of success among
    all videos is scaled to the narrower spread within a channel, and halved (IMAGE_TRUST), since
    part of what makes a thumbnail tell is which channel it betrays.
    """
    within = float(np.std([o for o in outliers if o is not None]))
    scale = IMAGE_TRUST * within / nudge.spread
    for member in committee.members:
        with torch.no_grad():
            for row, size in enumerate((scale, scale / within)):  # log10 views; then logits
                member.image.weight[row] = torch.from_numpy(nudge.weight * size).float()
                member.image.bias[row] = nudge.bias * size


# --- promises ---------------------------------------------------------------------------------------


def promises(
    committee: Network, arrays: fit.Arrays, prepared: Prepared, split: np.ndarray, fold: np.ndarray
) -> dict[str, Any]:
    """Calibration, intervals and base rates, all from the period kept for it.

    Probabilities are calibrated as they are served: by the committee, on the whole month. Intervals are
    cross-conformal (Vovk 2015): on the channels that some member never met, each row by that member, so that what is
    promised holds for channels to come. A member alone errs a little more than the committee: on the safe side.
    """
    month = np.flatnonzero(split == "calibrate")
    served = dict(zip(OUTPUTS, fit.answers(committee, arrays, month).T, strict=True))
    alone = dict(zip(OUTPUTS, fit.answers(committee, arrays, month, channel=False).T, strict=True))
    draft_event, velocity_event = arrays.draft_event[month], arrays.velocity_event[month]
    asked = ~np.isnan(draft_event)
    # The yardstick's candidates only: what was first seen within three days of publication.
    young = ~np.isnan(velocity_event) & (arrays.weight[month] == 1)
    calibration = {
        "draft": calibrate.platt(served["draft_logit"][asked], draft_event[asked]),
        "draft_without_history": calibrate.platt(alone["draft_logit"][asked], draft_event[asked]),
        "candidate": calibrate.platt(served["candidate_logit"][young], velocity_event[young]),
    }
    rows = np.flatnonzero((split == "calibrate") & (fold >= 0))
    out = dict(zip(OUTPUTS, fit.strangers(committee, arrays, rows, fold).T, strict=True))
    groups = np.array([scoring.interval_group(prepared.encoded[i]) for i in rows])
    intervals = {}
    for group in ("draft", "draft_without_history", *(name for name, _ in features.AGE_BANDS)):
        kind, y = ("draft", arrays.draft[rows]) if group.startswith("draft") else ("candidate", arrays.velocity[rows])
        mine = (groups == group) & ~np.isnan(y)
        if mine.sum() < figures.SMALLEST_SLICE:  # too few of this kind: all of its mode
            mine = np.array([g.startswith("draft") == group.startswith("draft") for g in groups]) & ~np.isnan(y)
        intervals[group] = calibrate.conformal(out[f"{kind}_low"][mine], out[f"{kind}_high"][mine], y[mine])
    return {
        "calibration": calibration,
        "intervals": intervals,
        "base_rates": {
            "draft": round(float(draft_event[asked].mean()), 4),
            "candidate": round(float(velocity_event[young].mean()), 4),
        },
    }


def known_ranges(arrays: fit.Arrays, fitted: np.ndarray) -> list[dict[str, Any]]:
    """Where all but one in a thousand of the fitted cases lie; outside, a score says so."""
    names = {
        "log_views": "views",
        "log_age": "age",
        "median": "the channel's usual views",
        "log_duration": "duration",
    }
    ranges = []
    for feature, name in names.items():
        values = arrays.context[fitted, features.CONTEXT.index(feature)]
        if np.isnan(values).all():
            continue
        low, high = np.nanquantile(values, [0.0005, 0.9995])
        ranges.append({"feature": feature, "name": name, "low": round(float(low), 4), "high": round(float(high), 4)})
    return ranges


def reference(
    committee: Network,
    arrays: fit.Arrays,
    calibrated: dict[str, tuple[float, float]],
    split: np.ndarray,
    periods: dataset.Periods,
) -> dict[str, Any]:
    """How the candidates of the period kept for calibration, and their scores, are spread: drift is told from it."""
    candidate = arrays.context[:, features.CONTEXT.index("is_candidate")] == 1
    rows = np.flatnonzero((split == "calibrate") & candidate)
    slope, shift = calibrated["candidate"]
    logits = fit.answers(committee, arrays, rows)[:, OUTPUTS.index("candidate_logit")].astype(np.float64)
    scores = 1 / (1 + np.exp(-np.clip(slope * logits + shift, -30, 30)))
    watched = calibration.inputs(arrays.context[rows], scores)
    return calibration.reference(watched, periods.fit_until.date(), periods.calibrate_until.date())


def told(
    args: argparse.Namespace,
    prepared: Prepared,
    ranges: list[dict[str, Any]],
    periods: dataset.Periods,
    vectors: Vectors,
    image_size: tuple[int, int],
) -> dict[str, Any]:
    """What the manifest says of how the model was made, and what serving needs beside the graphs."""
    return {
        "release": args.release,
        "members": args.members,
        "seed": args.seed,
        "made": args.made.isoformat(),
        "encoders": {
            "text": "all-MiniLM-L6-v2" if args.text_encoder is None else Path(args.text_encoder).name,
            "image": "a small ResNet, trained on thumbnails",
        },
        "inputs": {
            "context": list(features.CONTEXT),
            "max_tokens": vectors.max_tokens,
            "history": features.HISTORY,
            "text_width": int(vectors.table.shape[1]),
            "image_width": network.IMAGE,
            "image_size": list(image_size),
        }
        | {
            name: Path(given).name
            for name, given in (("text_encoder", args.text_encoder), ("image_encoder", args.image_encoder))
            if given
        },
        "curve": {"ages": list(prepared.curve.ages), "gains": list(prepared.curve.gains)},
        "draft_base": prepared.draft_base,
        "thresholds": prepared.limits,
        "known_ranges": ranges,
        "periods": {
            "fit_until": periods.fit_until.date().isoformat(),
            "calibrate_until": periods.calibrate_until.date().isoformat(),
        },
    }


def image_facts(nudge: image_encoder.Nudge) -> dict[str, Any]:
    return {
        "n": nudge.n,
        "spearman_title_alone": round(nudge.title_alone, 4),
        "spearman_title_and_image": round(nudge.with_image, 4),
        "spearman_title_and_image_in_32_bits": round(nudge.with_exact_image or nudge.with_image, 4),
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
