"""Measures a finished model folder as its users run it, and writes its card.

    python -m training.evaluate --model model --judge FOLDER [--data FOLDER] [--fp32 FOLDER]

Scores the judge's cases (or an installation's own, made by `write_cases` in the same form) through the file
door, runs the judge's own code on the scores, and adds what it does not ask: slices, missing parts, ordinary
videos, 8 bits against 32. Writes evaluation.json, reliability.svg and README.md into the model folder; the
manifest, and so the model's version, stay as they are.
"""

import argparse
import importlib.util
import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from miles import scoring
from miles.errors import MilesError
from miles.features import DAY, MIN_HISTORY, Features, GrowthCurve, ScoreInput, cohort, known_past
from miles.score_file import score_file, to_input
from miles.scoring import Model, Score
from training import card, figures
from training.dataset import FIRST_DAY, LATER, YOUNG, Case, is_held_out
from training.figures import Decay, filled

logger = logging.getLogger("training.evaluate")

MODES = ("draft", "candidate")
EVENTS = {"draft": "top10", "candidate": "top10_growth_3d"}
SOME = 2000  # cases per question where the same ones are scored over and over
NO_HISTORY, OUTSIDE = "no channel history", "outside what the model knows"  # how those notes begin
HIDDEN: dict[str, dict[str, dict[str, Any]]] = {
    "draft": {
        "nothing": {},
        "category, duration, language": {"category_id": None, "duration": None, "language": None},
        "the channel's history": {"history": ()},
        "all but title and day": {"category_id": None, "duration": None, "language": None, "history": ()},
    },
    "candidate": {
        "nothing": {},
        "category, duration, language": {"category_id": None, "duration": None, "language": None},
        "likes, comments, countries": {"likes": None, "comments": None, "country_count": None},
        "the channel's history": {"history": ()},
        "all but title, age and views": {
            **{"category_id": None, "duration": None, "language": None, "history": ()},
            **{"likes": None, "comments": None, "country_count": None},
        },
    },
}


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Cases to measure by: a folder in the judge's form, and the simple forecast to compare with."""

    cases: Path  # holds inputs_*.parquet and targets_*.parquet
    decay: Callable[..., np.ndarray]  # horizon, ages in days, categories or None -> share of the rate so far
    script: Path | None = None  # the judge's own code
    source: str = "the judge's cases"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=scoring.DEFAULT_FOLDER, help="model folder to measure")
    parser.add_argument("--judge", type=Path, help="folder with evaluate.py and cases/")
    parser.add_argument("--cases", type=Path, help="instead: cases that a training run left in training/work")
    parser.add_argument("--data", type=Path, help="folder with the data sets: adds ordinary videos to the figures")
    parser.add_argument("--fp32", type=Path, help="the same model in 32 bits: adds the price of 8 bits")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work", help="folder for the scores")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        yardstick = of_judge(args.judge) if args.judge else of_run(args.cases) if args.cases else None
        if yardstick is None:
            raise MilesError("Say what to measure by: --judge FOLDER, or --cases FOLDER of a training run.")
        measure(args.model, yardstick, args.work, args.data, args.fp32)
    except MilesError as error:
        raise SystemExit(str(error)) from error


def of_judge(folder: Path) -> Yardstick:
    script = folder / "evaluate.py"
    spec = importlib.util.spec_from_file_location("judge", script)
    if not script.exists() or spec is None or spec.loader is None:
        raise MilesError(f"{folder} has no evaluate.py: --judge wants the folder that holds it and cases/.")
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)

    def decay(horizon: str, ages: np.ndarray, categories: pd.Series | None = None) -> np.ndarray:
        return code.decay(ages, horizon, categories)

    return Yardstick(folder / "cases", decay, script)


def of_run(folder: Path, source: str = "cases of the run's own data") -> Yardstick:
    """The cases that `write_cases` left in a folder."""
    past = folder / "past.parquet"
    if not past.exists():
        raise MilesError(f"{folder} has no past.parquet: --cases wants a folder that a training run has written.")
    return Yardstick(folder, Decay(pd.read_parquet(past)), source=source)


def measure(
    folder: Path, yardstick: Yardstick, work: Path, data: Path | None = None, fp32: Path | None = None
) -> dict[str, Any]:
    """All figures of a model folder; written into it together with its card."""
    model = scoring.load(folder)
    tables = score(model, yardstick, work)
    logger.info("measuring %s", " and ".join(f"{len(table):,} cases of mode {m}" for m, table in tables.items()))
    found: dict[str, Any] = {
        "model_version": model.version,
        "measured_by": yardstick.source,
        "cases": {mode: _cases(table) for mode, table in tables.items()},
        "judged": judge(yardstick, tables, work),
        "reliability": {
            mode: figures.reliability(table[table[EVENTS[mode]].notna()], EVENTS[mode])
            for mode, table in tables.items()
        },
        "slices": {mode: figures.slices(_asked(table, mode), mode) for mode, table in tables.items()},
    }
    logger.info("measuring with parts missing")
    some = {mode: _some(yardstick.cases, mode, tables[mode]) for mode in tables}
    found["missing"] = {mode: missing(model, mode, *some[mode]) for mode in tables}
    if data is not None:
        logger.info("measuring on ordinary videos")
        found["ordinary"] = ordinary(model, data)
    if fp32 is not None:
        logger.info("comparing with 32 bits")
        found["fp32"] = compare(model, folder, fp32, {mode: videos for mode, (videos, _) in some.items()})
    write(folder, model, found)
    return found


def write(folder: Path, model: Model, found: dict[str, Any]) -> None:
    """evaluation.json, reliability.svg, README.md; in the manifest the figures that the registry shows."""
    found = _tidy(found)
    manifest = dict(model.manifest) | {"metrics": model.manifest["metrics"] | {"judge": found["judged"]}}
    (folder / "manifest.json").write_text(_json(manifest), encoding="utf-8", newline="\n")
    (folder / "evaluation.json").write_text(_json(found), encoding="utf-8", newline="\n")
    (folder / "reliability.svg").write_text(card.reliability_figure(found["reliability"]), encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".onnx", ".json"))
    (folder / "README.md").write_text(card.write(manifest, found, size), encoding="utf-8")
    logger.info("%s: card written for version %s", folder, model.version)


# --- scoring ----------------------------------------------------------------------------------------


def score(model: Model, yardstick: Yardstick, work: Path) -> dict[str, pd.DataFrame]:
    """Mode -> table (see training.figures) of the cases, scored through the file door."""
    tables = {}
    for mode in MODES:
        path = yardstick.cases / f"inputs_{mode}.parquet"
        if not path.exists():
            raise MilesError(f"{yardstick.cases} has no {path.name}; it should hold the judge's cases.")
        inputs, targets = pd.read_parquet(path), pd.read_parquet(yardstick.cases / f"targets_{mode}.parquet")
        out = work / f"scores_{mode}.parquet"
        n = score_file(path, out, model)
        logger.info("scored %d cases of mode %s", n, mode)
        scores = pd.read_parquet(out)
        be_honest(scores)
        about = inputs.drop(columns=[c for c in inputs if c in targets and c != "video_id"])
        table = targets.merge(about, on="video_id", how="left").merge(scores, on="video_id", how="left")
        if mode == "candidate":
            rate = (table["views"] / table["age_days"]).to_numpy(float)
            table["simple"] = rate * yardstick.decay("3d", table["age_days"].to_numpy(float), table["category_id"])
        tables[mode] = table
    return tables


def be_honest(scores: pd.DataFrame) -> None:
    """Every score must come with its base rate, its version and, without a usual to compare with, its note."""
    assert scores["base_rate"].between(0, 1, inclusive="neither").all(), "a score lacks its base rate"
    assert scores["model_version"].notna().all(), "a score lacks its version"
    bare = (scores["mode"] == "draft") & scores["predicted_multiple"].isna()
    said = scores["note"].fillna("").str.contains(NO_HISTORY, regex=False)
    assert (said == bare).all(), f"a draft without history lacks its note: {NO_HISTORY}"


def judge(yardstick: Yardstick, tables: dict[str, pd.DataFrame], work: Path) -> dict[str, Any]:
    """What the judge's own code says of the scores that `score` left in `work`; ours, where it has none."""
    if yardstick.script is None:
        return {
            "draft": figures.drafts(tables["draft"]),
            "candidate": figures.candidates(tables["candidate"], yardstick.decay),
        }
    scores, answer = work / "scores.parquet", work / "figures.json"
    pd.concat([pd.read_parquet(work / f"scores_{mode}.parquet") for mode in MODES]).to_parquet(scores)
    arguments = [sys.executable, yardstick.script, scores, "--dir", yardstick.cases, "--json", answer]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MilesError(f"The judge's code failed: {done.stderr.strip().splitlines()[-1:]}")
    (work / "figures.txt").write_text(done.stdout)
    return json.loads(answer.read_text())


def _asked(table: pd.DataFrame, mode: str) -> pd.DataFrame:
    return table[table[EVENTS[mode]].notna()].reset_index(drop=True)


def _cases(table: pd.DataFrame) -> dict[str, Any]:
    published = pd.to_datetime(table["published_at"], utc=True)
    return {
        "n": len(table),
        "channels": int(table["channel_id"].nunique()),
        "unseen_channels": int(table.loc[~table["seen"].astype(bool), "channel_id"].nunique()),
        "from": str(published.min().date()),
        "to": str(published.max().date()),
    }


# --- missing parts ----------------------------------------------------------------------------------


def _some(cases: Path, mode: str, table: pd.DataFrame) -> tuple[list[ScoreInput], pd.DataFrame]:
    """Whole channels, up to SOME cases: the inputs and their rows of the table, in the same order."""
    path = cases / f"inputs_{mode}.parquet"
    asked = _asked(table, mode)
    channels = asked["channel_id"].drop_duplicates().sample(frac=1, random_state=0)
    size = asked["channel_id"].value_counts()
    taken = set(channels[size[channels].cumsum().to_numpy() <= max(SOME, size.max())])
    rows = asked[asked["channel_id"].isin(taken)].reset_index(drop=True)
    wanted = set(rows["video_id"])
    given = {row["video_id"]: row for row in pd.read_parquet(path).to_dict("records") if row["video_id"] in wanted}
    return [to_input(_plain(given[v]), i + 1, path) for i, v in enumerate(rows["video_id"])], rows


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a frame with None for what is missing."""
    return {k: None if not isinstance(v, (list, np.ndarray)) and pd.isna(v) else v for k, v in row.items()}


def missing(model: Model, mode: str, videos: list[ScoreInput], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The figures of the same cases with parts of their inputs hidden.

    Order is judged on views here (24 h; or new views per day): without a channel a draft has no multiple.
    """
    y = rows["log10_views_24h" if mode == "draft" else "log10_velocity_3d"].to_numpy(float)
    event = rows[EVENTS[mode]].to_numpy(int)
    channels = figures.Clusters(rows["channel_id"])
    out = []
    for name, hidden in HIDDEN[mode].items():
        scores = model.score([replace(video, **hidden) for video in videos])
        said = pd.DataFrame([asdict(one) for one in scores])
        table = rows.assign(**{c: said[c] for c in ("velocity_low", "velocity_high")})
        v, p = said["predicted_velocity"].to_numpy(float), said["viral_score"].to_numpy(float)
        inside = figures.held(table, mode)
        out.append(
            {
                "hidden": name,
                "n": len(rows),
                "spearman": channels(lambda r, v=v: figures.spearman(y[r], v[r])),
                "auroc": channels(lambda r, p=p: figures.auroc(event[r], p[r])),
                "ece": channels(lambda r, p=p: figures.ece(event[r], p[r])),
                "coverage": channels(lambda r, i=inside: i[r].mean()),
                "no_history": _share(scores, NO_HISTORY),
            }
        )
    return out


def _share(scores: Iterable[Score], note: str) -> float:
    return float(np.mean([note in (one.note or "") for one in scores]))


# --- ordinary videos --------------------------------------------------------------------------------


def ordinary(model: Model, data: Path) -> dict[str, Any]:
    """What the model says of videos that were never on a trending list: the low end."""
    out: dict[str, Any] = {}
    random, whole = data / "youtube_random_2024.parquet", data / "youtube_182_channels_2018.parquet"
    if random.exists():
        out["random"] = _random(model, pd.read_parquet(random))
    if whole.exists():
        out["channels"] = _whole_channels(model, pd.read_parquet(whole))
    return out


def _random(model: Model, frame: pd.DataFrame) -> dict[str, Any]:
    """Results of random searches: first as drafts, then as candidates.

    When they were read is not known; the day after the latest publication is the earliest it can have been.
    """
    published = pd.to_datetime(frame["created"], utc=True, format="mixed")
    read = published.max().to_pydatetime() + timedelta(days=1)
    drafts, seen = [], []
    for key, title, when, views, likes, comments in zip(
        *(frame["yt-id"], frame["title"].fillna(""), published, frame["view-count"]),
        *(frame["like-count"], frame["comment-count"]),
        strict=True,
    ):
        draft = ScoreInput(key, title, published_at=when.to_pydatetime())
        drafts.append(draft)
        counts = {"likes": likes, "comments": comments}
        known = {k: None if pd.isna(v) else int(v) for k, v in counts.items()}
        seen.append(replace(draft, observed_at=read, views=int(views), **known))
    views = frame["view-count"].to_numpy(float)
    a, b = model.score(drafts), model.score(seen)
    day = np.array([one.predicted_velocity for one in a])
    rate = views / np.array([(read - video.published_at) / timedelta(days=1) for video in drafts])
    new = np.array([one.predicted_velocity for one in b])
    return {
        "n": len(frame),
        "median_views": float(np.median(views)),
        "draft": _said(a) | {"more_in_a_day_than_they_ever_had": float(np.mean(day > views))},
        "candidate": _said(b)
        | {"median_rate_so_far": float(np.median(rate)), "above_rate": float(np.mean(new > rate))},
        "title_spearman": figures.Clusters(frame["channel-id"])(lambda r: figures.spearman(views[r], day[r])),
    }


def _said(scores: Sequence[Score]) -> dict[str, Any]:
    p = np.array([one.viral_score for one in scores])
    return {
        "no_history": _share(scores, NO_HISTORY),
        "outside": _share(scores, OUTSIDE),
        "viral_score": [float(x) for x in np.quantile(p, [0.05, 0.5, 0.95])],
        "base_rate": scores[0].base_rate,
        "velocity": [float(x) for x in np.quantile([one.predicted_velocity for one in scores], [0.05, 0.5, 0.95])],
    }


def _whole_channels(model: Model, frame: pd.DataFrame) -> dict[str, Any]:
    """Which of two titles of one channel, at least twofold apart, did better: from the title alone."""
    frame = frame.dropna(subset=["video_views"]).drop_duplicates("video_id").reset_index(drop=True)
    y = np.log10(frame["video_views"].to_numpy(float) + 1)
    i, j, of = figures.pairs_within(frame["channel_id"], y)
    used = np.unique(np.r_[i, j])
    titles = frame["video_title"].fillna("").to_numpy()
    scores = model.score([ScoreInput(str(k), titles[k]) for k in used])
    by_velocity, by_chance = np.zeros(len(frame)), np.zeros(len(frame))
    by_velocity[used] = [one.predicted_velocity for one in scores]
    by_chance[used] = [one.viral_score for one in scores]
    channels = figures.Clusters(of)
    hits = {name: figures.pair_hits(y, s, i, j) for name, s in (("velocity", by_velocity), ("score", by_chance))}
    return {
        "n": len(frame),
        "channels": int(frame["channel_id"].nunique()),
        "pairs": len(i),
        "by_predicted_velocity": channels(lambda r: hits["velocity"][r].mean()),
        "by_viral_score": channels(lambda r: hits["score"][r].mean()),
        "said": _said(scores),
    }


# --- 8 bits against 32 ------------------------------------------------------------------------------


def compare(model: Model, folder: Path, fp32: Path, videos: dict[str, list[ScoreInput]]) -> dict[str, Any]:
    """Rank correlations of the scores of the model and of its twin in 32 bits, and their sizes in bytes."""
    twin = scoring.load(fp32)
    out: dict[str, Any] = {}
    for mode, some in videos.items():
        a, b = model.score(some), twin.score(some)
        names = ("viral_score", "predicted_multiple" if mode == "draft" else "predicted_velocity")
        for name in names:
            x, y = (filled(pd.Series([getattr(one, name) for one in scores])) for scores in (a, b))
            out[f"{mode} {name}"] = figures.spearman(x, y)
    out["n"] = sum(map(len, videos.values()))
    out["bytes"] = sum((folder / name).stat().st_size for name in model.manifest["files"])
    out["bytes_fp32"] = sum((fp32 / name).stat().st_size for name in twin.manifest["files"])
    return out


# --- cases of one's own -----------------------------------------------------------------------------


def write_cases(
    folder: Path, cases: Sequence[Case], encoded: Sequence[Features], curve: GrowthCurve, limits: dict[str, float]
) -> dict[str, int]:
    """Write the cases to look at in the judge's form; returns how many of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    targets: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    past = []
    for case, f in zip(cases, encoded, strict=True):
        video, mode = case.input, case.input.mode
        if mode == "candidate" and case.split == "fit" and case.weight == 1:
            past.append(_decayed(case, f))
        if case.split != "look" or (mode == "draft" and (f.usual is None or case.views_24h is None)):
            continue
        limit = limits[cohort(mode, f.age_days, video.category_id)]
        targets[mode].append(
            {"video_id": video.key, "channel_id": video.channel_id, "seen": not is_held_out(str(video.channel_id))}
            | (_draft_outcome(case, f, limit) if mode == "draft" else _candidate_outcome(case, limit))
        )
        inputs[mode].append(_as_row(case, f, curve))
    for mode in MODES:
        pd.DataFrame(inputs[mode], columns=None if inputs[mode] else ["video_id"]).to_parquet(
            folder / f"inputs_{mode}.parquet"
        )
        pd.DataFrame(targets[mode], columns=None if targets[mode] else ["video_id"]).to_parquet(
            folder / f"targets_{mode}.parquet"
        )
    pd.DataFrame(past, columns=["age_days", "category_id", "rate", "velocity_3d", "velocity_7d"]).to_parquet(
        folder / "past.parquet"
    )
    return {mode: len(rows) for mode, rows in inputs.items()}


def _draft_outcome(case: Case, f: Features, limit: float) -> dict[str, Any]:
    assert case.views_24h is not None
    assert f.usual is not None
    outlier = case.views_24h - f.usual
    return {"outlier": outlier, "log10_views_24h": case.views_24h, "top10": int(outlier >= limit)}


def _candidate_outcome(case: Case, limit: float) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, log in (("3d", case.velocity_3d), ("7d", case.velocity_7d)):
        out[f"log10_velocity_{name}"] = math.nan if log is None else log
        out[f"velocity_{name}"] = math.nan if log is None else 10**log
    happened = math.nan if case.velocity_3d is None else float(case.velocity_3d >= limit)
    return out | {"top10_growth_3d": happened}


def _decayed(case: Case, f: Features) -> dict[str, Any]:
    return {
        "age_days": f.age_days,
        "category_id": case.input.category_id,
        "rate": (case.input.views or 0) / max(f.age_days or 1.0, 1e-3),
        "velocity_3d": math.nan if case.velocity_3d is None else 10**case.velocity_3d,
        "velocity_7d": math.nan if case.velocity_7d is None else 10**case.velocity_7d,
    }


def _as_row(case: Case, f: Features, curve: GrowthCurve) -> dict[str, Any]:
    """A row of inputs_*.parquet; the h_* are what the simple baselines are made of."""
    video = case.input
    values = [value for _, value, _ in known_past(video, curve)]  # latest first
    median = float(np.median(values)) if len(values) >= MIN_HISTORY else math.nan
    history = [
        {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(past).items()} for past in video.history
    ]
    return {
        "video_id": video.key,
        "channel_id": video.channel_id,
        "title": video.title,
        "category_id": video.category_id,
        "duration": video.duration,
        "default_language": video.language,
        "published_at": video.published_at,
        "observed_at": video.observed_at,
        "age_days": f.age_days,
        "views": video.views,
        "likes": video.likes,
        "comments": video.comments,
        "country_count": video.country_count,
        "h_n": float(len(values)),
        "h_med": median,
        "h_mean3": float(np.mean(values[:3])) if values else math.nan,
        "h_last": values[0] if values else math.nan,
        "h_sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        "history_json": json.dumps(history, ensure_ascii=False),
    }


def followed(daily: pd.DataFrame) -> dict[str, Any]:
    """Of the videos first seen young, how many were seen again when their growth is read: for these it holds."""
    days = (daily["fetched_at"] - daily.groupby("video_id")["fetched_at"].transform("min")).dt.total_seconds() / DAY
    young = daily.loc[(days == 0) & daily["age"].between(*YOUNG), "video_id"]
    again = {
        name: int(daily.loc[days.between(low, high), "video_id"].drop_duplicates().isin(young).sum())
        for name, (low, _, high) in LATER.items()
    }
    counts = {"n": len(young), **{name: again[name] / max(len(young), 1) for name in again}}
    drafts = daily.loc[(days == 0) & daily["age"].between(*FIRST_DAY), "video_id"]
    return counts | {"first_day": len(drafts), "videos": int(daily["video_id"].nunique())}


def _tidy(x: Any) -> Any:
    """Five digits; null for what could not be measured."""
    if isinstance(x, dict):
        return {k: _tidy(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_tidy(v) for v in x]
    if isinstance(x, (bool, str, int)) or x is None:
        return x
    return None if math.isnan(x) else float(f"{x:.5g}")


def _json(x: Any) -> str:
    return json.dumps(x, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
