"""Scores videos with the network in `model/`: the only home of onnxruntime.

Knows nothing about pages, databases or where videos come from. Titles and images are encoded
once each, however many rows share them. Every title, image and row is a run of its own, on one
thread: sums are then made in one order, so a score is the same to the last bit whatever stands
beside it. Several runs at a time keep all processors busy.
"""

import hashlib
import logging
import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from miles import features, model_folder
from miles.errors import ModelUnavailable
from miles.features import CONTEXT, HISTORY, Features, GrowthCurve, ScoreInput

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
Vectors = dict[str, np.ndarray]

DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "model"
SCHEMA = 1  # of manifest.json; a model made for another one is refused
OPSETS = range(17, 24)  # ONNX operator sets that the pinned onnxruntime runs
FILES = ("text.onnx", "image.onnx", "miles.onnx", "tokenizer.json")
CHUNK = 1024  # rows worked on at a time: 32 MB of vectors of earlier titles
TOKENS_A_RUN = 512  # of titles of one length; with more, what lies between two steps outgrows the cache
ROWS_A_RUN = 24  # the quickest per row; with more, vectors of earlier titles outgrow the cache
TITLES_KEPT = 65_536  # vectors; 50 MB. Videos of one channel share most of their history
IMAGES_KEPT = 4_096
LONGEST_TITLE = 1_000  # characters; the encoder reads 64 tokens anyway
HIGHEST = 10.0  # log10 views per day; nothing on YouTube ever came near


@dataclass(frozen=True, slots=True)
class Score:
    """What the model says about one video.

    For a draft, `predicted_velocity` is views in the first 24 hours, and `predicted_multiple`
    that over the channel's usual (so `velocity_low / predicted_velocity * predicted_multiple` is
    the low end of the multiple). For a candidate it is mean new views per day over the next
    3 days. `viral_score` is P(event), the event being that of the mode; see the model card.
    """

    key: str
    mode: Literal["draft", "candidate"]
    viral_score: float  # calibrated probability, 0 … 1
    predicted_multiple: float | None  # times the channel's usual; None for candidates, or without history
    predicted_velocity: float  # views per day
    velocity_low: float  # views per day; 8 of 10 outcomes lie between low and high
    velocity_high: float  # views per day
    predicted_velocity_7d: float | None  # views per day over the next 7 days; None for drafts
    base_rate: float  # how often the event happens at all, 0 … 1
    model_version: str
    note: str | None  # what was missing or unusual, in words for a person


class Model:
    """A loaded model folder. Safe to share between threads; make it once and keep it."""

    def __init__(self, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        self.version: str = manifest["version"]
        width, height = manifest["inputs"]["image_size"]
        self.image_size: tuple[int, int] = width, height  # pixels, as the image encoder takes pictures
        self.curve = GrowthCurve(tuple(manifest["curve"]["ages"]), tuple(manifest["curve"]["gains"]))
        self._text = TitleEncoder(
            files["text.onnx"], files["tokenizer.json"].decode(), manifest["inputs"]["max_tokens"]
        )
        self._image = session(files["image.onnx"])
        self._fusion = session(files["miles.onnx"])
        self._rows_a_run = 1 if self._fusion.get_inputs()[0].shape[0] == 1 else ROWS_A_RUN
        self._titles = _Recent(TITLES_KEPT)
        self._images = _Recent(IMAGES_KEPT)
        self._outputs = {name: i for i, name in enumerate(manifest["outputs"])}
        self._together = Together(_processors())

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        """One score per input, in the same order; each depends on its own input alone."""
        scores: list[Score] = []
        for low in range(0, len(inputs), CHUNK):
            scores += self._score_chunk(inputs[low : low + CHUNK])
        return scores

    def embed_titles(self, titles: Sequence[str]) -> np.ndarray:
        """Unit vectors of titles, (n, text_width) float32: the dot product of two is their likeness.

        The vectors that `score` works with, from the same memory: a title that was scored lately costs nothing.
        """
        vectors = np.zeros((len(titles), self.manifest["inputs"]["text_width"]), dtype=np.float32)
        for low in range(0, len(titles), CHUNK):
            part = titles[low : low + CHUNK]
            made, _ = self._encode(part, [])
            vectors[low : low + len(part)] = [made[_clean(title)] for title in part]
        return vectors

    def _score_chunk(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        base = self.manifest["draft_base"]
        rows = [features.encode(video, self.curve, base) for video in inputs]
        titles, images = self._encode(
            (title for video, row in zip(inputs, rows, strict=True) for title in (video.title, *row.history_titles)),
            [video.thumbnail for video in inputs if video.thumbnail is not None],
        )

        def answer(part: Sequence[int]) -> np.ndarray:
            return self._answer([inputs[i] for i in part], [rows[i] for i in part], titles, images)

        parts = self._together.run(_in_parts(answer, range(len(inputs)), self._rows_a_run))
        answers = [one for part in parts for one in part]
        return [self._read(*row, images) for row in zip(inputs, rows, answers, strict=True)]

    def _encode(
        self, titles: Iterable[str], images: Sequence[bytes]
    ) -> tuple["Vectors", dict[bytes, np.ndarray | None]]:
        """Cleaned title -> (384,) float16, and encoded picture -> (64,) float32, or None where it can't be read.

        From memory where it was met lately; what is new, side by side.
        """
        wanted = list(dict.fromkeys(map(_clean, titles)))
        found = self._titles.get(wanted)
        # No title is no vector, as where training hid it; the encoder would make a title's of nothing.
        nothing = np.zeros(self.manifest["inputs"]["text_width"], dtype=np.float16)
        found |= {title: nothing for title in wanted if not title.strip()}
        new = [title for title in wanted if title not in found]
        names = {image: hashlib.sha256(image).hexdigest() for image in images}
        seen = self._images.get(list(names.values()))
        unseen = {name: image for image, name in names.items() if name not in seen}

        pictures = _in_parts(lambda part: [self._encode_image(image) for image in part], list(unseen.values()), 8)
        batches = self._text.jobs(new)
        jobs: list[Callable[[], Any]] = [*batches, *pictures]
        done = self._together.run(jobs)
        made: Vectors = {}
        for batch, vectors in done[: len(batches)]:
            made |= zip((new[i] for i in batch), (vector.copy() for vector in vectors), strict=True)
        shown = dict(zip(unseen, (one for part in done[len(batches) :] for one in part), strict=True))
        self._titles.put(made)
        self._images.put(shown)
        return found | made, {image: (seen | shown)[name] for image, name in names.items()}

    def _encode_image(self, image: bytes) -> np.ndarray | None:
        shown = features.pixels(image, self.image_size)
        return None if shown is None else self._image.run(None, {"pixels": shown[None]})[0][0]

    def _answer(
        self,
        videos: Sequence[ScoreInput],
        rows: Sequence[Features],
        titles: Mapping[str, np.ndarray],
        images: Mapping[bytes, np.ndarray | None],
    ) -> np.ndarray:
        """The network's answers, (rows, len(outputs)) float32."""
        shape = self.manifest["inputs"]
        # One row runs beside a copy of itself: onnxruntime sums a single row in another order than several.
        n = max(len(rows), min(self._rows_a_run, 2))
        given = {
            "context": np.empty((n, len(CONTEXT)), dtype=np.float32),
            "title": np.empty((n, shape["text_width"]), dtype=np.float32),
            "history_titles": np.zeros((n, HISTORY, shape["text_width"]), dtype=np.float32),
            "history": np.full((n, HISTORY, len(features.PAST)), np.nan, dtype=np.float32),
            "image": np.full((n, shape["image_width"]), np.nan, dtype=np.float32),
        }
        for i in range(n):
            video, row = videos[i % len(rows)], rows[i % len(rows)]
            given["context"][i] = row.context
            given["title"][i] = titles[_clean(video.title)]
            given["history"][i, : len(row.history)] = row.history
            for j, title in enumerate(row.history_titles):
                given["history_titles"][i, j] = titles[_clean(title)]
            image = images[video.thumbnail] if video.thumbnail is not None else None
            if image is not None:
                given["image"][i] = image
        return self._fusion.run(None, given)[0][: len(rows)]

    def _read(
        self,
        video: ScoreInput,
        row: Features,
        answer: np.ndarray,
        images: Mapping[bytes, np.ndarray | None],
    ) -> Score:
        """The answers in the words of the product: calibrated, in views per day, with a note."""

        def value(name: str) -> float:
            return float(answer[self._outputs[f"{row.mode}_{name}"]])

        group = interval_group(row)
        slope, shift = self.manifest["calibration"][
            "draft_without_history" if group == "draft_without_history" else row.mode
        ]
        below, above = self.manifest["intervals"][group]
        middle = value("middle")
        low = min(value("low") - below, middle)
        high = max(value("high") + above, middle)
        return Score(
            key=video.key,
            mode=row.mode,
            viral_score=1 / (1 + math.exp(-min(max(slope * value("logit") + shift, -30.0), 30.0))),
            predicted_multiple=10**middle if row.mode == "draft" and row.usual is not None else None,
            predicted_velocity=_views(row.base + middle),
            velocity_low=_views(row.base + low),
            velocity_high=_views(row.base + high),
            predicted_velocity_7d=_views(row.base + value("7d")) if row.mode == "candidate" else None,
            base_rate=self.manifest["base_rates"][row.mode],
            model_version=self.version,
            note=self._note(video, row, images),
        )

    def _note(self, video: ScoreInput, row: Features, images: Mapping[bytes, np.ndarray | None]) -> str | None:
        notes = []
        if row.mode == "draft" and row.usual is None:
            notes.append("no channel history: fewer than 5 earlier videos that were observed in time")
        if row.mode == "candidate" and row.age_days is None:
            notes.append("age unknown: taken for one day")
        if video.thumbnail is not None and images[video.thumbnail] is None:
            notes.append("the thumbnail could not be read and was left out")
        strange = [
            says["name"]
            for says in self.manifest["known_ranges"]
            if not math.isnan(x := float(row.context[CONTEXT.index(says["feature"])]))
            and not says["low"] <= x <= says["high"]
        ]
        if strange:
            notes.append("outside what the model knows: " + ", ".join(strange))
        return "; ".join(notes) or None


class TitleEncoder:
    """text.onnx with its tokenizer: titles to vectors, in runs of titles of one length."""

    def __init__(self, model: bytes, vocabulary: str, max_tokens: int) -> None:
        self._session = session(model)
        self._tokenizer = tokenizer(vocabulary, max_tokens)
        ids, vectors = self._session.get_inputs()[0], self._session.get_outputs()[0]
        # (tokens, titles): see training/text_encoder.py; (1, tokens): an encoder that takes one title a run
        self._tokens_a_run = 0 if ids.shape[0] == 1 else TOKENS_A_RUN
        self.width: int = vectors.shape[1]

    def jobs(self, titles: Sequence[str]) -> list[Callable[[], tuple[list[int], np.ndarray]]]:
        """Pieces of work to be done in any order; each gives rows of `titles` and their (rows, width) float16."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(titles))] if titles else []
        batches: list[list[int]] = []
        # Longest first, so that no processor is left with a long one at the end.
        for i in sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True):
            length, last = len(ids[i]), batches[-1] if batches else []
            if last and len(ids[last[0]]) == length and (len(last) + 1) * length <= self._tokens_a_run:
                last.append(i)
            else:
                batches.append([i])
        return [partial(self._run, batch, [ids[i] for i in batch]) for batch in batches]

    def _run(self, batch: list[int], ids: list[list[int]]) -> tuple[list[int], np.ndarray]:
        tokens = np.array(ids, dtype=np.int64)
        if not tokens.size:
            return batch, np.zeros((len(batch), self.width), dtype=np.float16)
        given = np.ascontiguousarray(tokens.T) if self._tokens_a_run else tokens
        # Half precision whether or not it is kept: a remembered title must score the same.
        return batch, self._session.run(None, {"ids": given})[0].astype(np.float16)


class Together:
    """Does pieces of work side by side, on all processors: on this thread, and on helpers if they are free."""

    def __init__(self, threads: int) -> None:
        self._helpers = max(threads - 1, 0)
        self._pool = ThreadPoolExecutor(max(self._helpers, 1), thread_name_prefix="scoring")

    def run(self, jobs: Sequence[Callable[[], R]]) -> list[R]:
        """What the jobs give, in their order. Jobs must not call this themselves.

        The helpers begin at the end: so one works on titles while another decodes pictures, which Pillow
        partly does under Python's lock.
        """
        results: dict[int, R] = {}
        waiting = deque(enumerate(jobs))

        def work(take: Callable[[], tuple[int, Callable[[], R]]]) -> None:
            while waiting:
                try:
                    i, job = take()
                except IndexError:  # another thread was faster
                    return
                results[i] = job()

        helpers = [self._pool.submit(work, waiting.pop) for _ in range(min(self._helpers, len(jobs) - 1))]
        try:
            work(waiting.popleft)
        finally:
            waiting.clear()  # after a failure; else it is empty
            started = [helper for helper in helpers if not helper.cancel()]
            wait(started)
        for helper in started:
            helper.result()
        return [results[i] for i in range(len(jobs))]


def _in_parts(work: Callable[[Sequence[T]], R], items: Sequence[T], most: int) -> list[Callable[[], R]]:
    """The work in parts of at most so many items, fewer if that leaves a processor without any."""
    size = max(1, min(most, math.ceil(len(items) / (2 * _processors()))))
    return [partial(work, items[i : i + size]) for i in range(0, len(items), size)]


def load(folder: Path = DEFAULT_FOLDER) -> Model:
    """The model in a folder, every file checked against the manifest. Takes about half a second.

    Raises ModelUnavailable if a file is missing, damaged, or made for another version of Miles.
    """
    folder = Path(folder)
    manifest = model_folder.manifest(folder)
    _check(manifest, folder)
    files = {}
    for name in FILES:
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise ModelUnavailable(
                f"The model's file {name} is missing from {folder}; restore it from the repository."
            ) from error
        if hashlib.sha256(files[name]).hexdigest() != manifest["files"][name]["sha256"]:
            raise ModelUnavailable(
                f"The model's file {name} in {folder} is damaged: its checksum is not the manifest's. "
                "Restore it from the repository."
            )
    try:
        return Model(manifest, files)
    except Exception as error:  # onnxruntime and tokenizers raise bare exceptions
        raise ModelUnavailable(f"The model in {folder} can't be started: {error}") from error


def interval_group(row: Features) -> str:
    """Which conformal correction a row takes: its age band, or its kind of draft."""
    if row.mode == "draft":
        return "draft" if row.usual is not None else "draft_without_history"
    return features.age_band(row.age_days)


def _check(manifest: Any, folder: Path) -> None:
    """Refuse what this code can't serve, before it gives wrong scores."""
    try:
        schema, opset = manifest["schema"], manifest["opset"]
        context, listed = tuple(manifest["inputs"]["context"]), set(manifest["files"])
        complete = {"version", "outputs", "curve", "draft_base", "calibration", "intervals", "base_rates"}
        missing = (complete | {"known_ranges"}) - set(manifest) | (set(FILES) - listed)
    except (KeyError, TypeError) as error:
        raise ModelUnavailable(f"The manifest in {folder} is incomplete; restore it from the repository.") from error
    if missing:
        raise ModelUnavailable(f"The manifest in {folder} lacks {', '.join(sorted(missing))}; restore it.")
    if schema != SCHEMA or context != CONTEXT:
        raise ModelUnavailable(
            f"The model in {folder} was made for another version of Miles. Take code and model from the same version."
        )
    if opset not in OPSETS:
        raise ModelUnavailable(f"The model in {folder} needs ONNX opset {opset}; this Miles runs 17 to 23.")


def tokenizer(vocabulary: str, max_tokens: int) -> Tokenizer:
    """The tokenizer of a tokenizer.json, made to cut and never to pad."""
    made = Tokenizer.from_str(vocabulary)
    made.no_padding()
    made.enable_truncation(max_tokens)
    return made


def session(model: bytes) -> onnxruntime.InferenceSession:
    """A graph made ready to run as it is served."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one order of sums; see the first lines of this module
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        # makes one node of two, which then takes ten times as long (measured in onnxruntime 1.31)
        disabled_optimizers=["SkipLayerNormFusion"],
    )


def _processors() -> int:
    # Not os.cpu_count(): a container often may use fewer than the machine has.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 16)


def _clean(title: str) -> str:
    """A title that the tokenizer takes: no lone surrogates, no novels."""
    return title[:LONGEST_TITLE].encode("utf-8", "replace").decode("utf-8")


def _views(log: float) -> float:
    return 10 ** min(max(log, 0.0), HIGHEST)


class _Recent:
    """The most recently used values, by name; safe between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, names: Sequence[str]) -> dict[str, Any]:
        with self._lock:
            found = {name: self._kept[name] for name in names if name in self._kept}
            for name in found:
                self._kept.move_to_end(name)
            return found

    def put(self, values: Mapping[str, Any]) -> None:
        with self._lock:
            self._kept.update(values)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
