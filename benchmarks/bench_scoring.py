"""How fast, small and exact the shipped model is, against the same network in PyTorch.

    make train DATA=folder                             # once: leaves the network in 32 bits in training/work/fp32
    python -m benchmarks.bench_scoring folder [--rounds N] [--rows N]

Needs benchmarks/requirements.txt. `folder` holds the data sets (Parquet). Each round
takes rows that no round has seen, so nothing comes from memory, and gives the same rows to both sides, one after the
other. Times are end to end, from a title and the bytes of a picture to the scores; ratios are medians over the rounds,
with the worst and the best beside them. Use an otherwise idle computer.

Pictures come twice: as Miles keeps them (JPEG, 1280 x 720 pixels; made from the data's, which are small), and as they
lie in the data (WebP, 224 pixels wide: half of the time of either side goes into the same decoder).

PyTorch runs as one would run it: eager, 32 bits, all processors, titles sorted by length and padded in batches of 32,
pictures opened, converted and resized by Pillow. It answers what the shipped model answers: the last lines compare the
two. Both sides do without a channel's history. Sentence-transformers encodes with its own defaults.
"""

import argparse
import io
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from miles import features, scoring
from miles.features import HISTORY, PAST, ScoreInput
from training import text_encoder

EXACT = Path(__file__).resolve().parent.parent / "training" / "work" / "fp32"
BATCH = 32  # rows; sentence-transformers' own default
LARGE = (1280, 720)  # pixels
ALONE = 24  # drafts scored one by one, per round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--model", type=Path, default=scoring.DEFAULT_FOLDER)
    parser.add_argument("--exact", type=Path, default=EXACT, help="the same network in 32 bits, as training leaves it")
    parser.add_argument("--text-encoder", default=None, help="as given to training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=256, help="per round")
    given = parser.parse_args()
    if not (given.exact / "image.pt").is_file():
        raise SystemExit(f"{given.exact} lacks the network in 32 bits: make it with `make train DATA=folder`.")
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    drafts, titles = read(given.data, given.rounds * (2 * given.rows + ALONE) + given.rows, given.rounds * given.rows)
    ours = scoring.load(given.model)
    eager = Eager(given.exact, given.text_encoder or text_encoder.default_folder(), ours)
    sentences = SentenceTransformer(str(given.text_encoder or text_encoder.default_folder()), device="cpu")
    warm, drafts = drafts[: given.rows], drafts[given.rows :]
    exact = eager.answers(warm)
    served = np.array([[s.predicted_velocity, s.viral_score] for s in ours.score(warm)])
    sentences.encode([draft.title for draft in warm])

    batch, small = Race("title + 1280 x 720 JPEG, batch"), Race("title + 224 px WebP, batch")
    alone, encoded = Race("one draft (1280 x 720), warm"), Race("titles only")
    for i in range(given.rounds):
        rows = drafts[i * (2 * given.rows + ALONE) :][: 2 * given.rows + ALONE]
        as_they_lie, large = rows[: given.rows], [as_kept(draft) for draft in rows[given.rows :]]
        single, large = large[:ALONE], large[ALONE:]
        some = titles[i * given.rows :][: given.rows]
        batch.lap(lambda r=large: ours.score(r), lambda r=large: eager.answers(r), given.rows)
        small.lap(lambda r=as_they_lie: ours.score(r), lambda r=as_they_lie: eager.answers(r), given.rows)
        alone.lap(
            lambda r=single: [ours.score([draft]) for draft in r],
            lambda r=single: [eager.answers([draft]) for draft in r],
            ALONE,
        )
        encoded.lap(lambda s=some: ours.embed_titles(s), lambda s=some: sentences.encode(s), given.rows)
    print(f"{'':30}{'ours':>10}{'theirs':>10}   times faster (worst … best of {given.rounds} rounds)")
    for race in (batch, small, alone, encoded):
        print(race)
    sizes(given.model, given.exact)
    print(f"peak memory of a process that scores {len(drafts)} drafts: {peak(given.model, drafts):.0f} MB")
    identical(given.model, warm)
    middle, logit = (ours.manifest["outputs"].index(f"draft_{name}") for name in ("middle", "logit"))
    for name, one, other in (("predicted_velocity", served[:, 0], middle), ("viral_score", served[:, 1], logit)):
        rho = spearmanr(one, exact[:, other])[0]
        print(f"{name} of {len(warm)} drafts in 8 bits against PyTorch in 32: Spearman {rho:.4f}")


def read(folder: Path, drafts: int, titles: int) -> tuple[list[ScoreInput], list[str]]:
    """Drafts of a title and a picture, and titles alone; no title twice."""
    shown = pd.read_parquet(folder / "youtube_thumbnails_2020_21.parquet", columns=["title", "image"])
    shown = shown.dropna().drop_duplicates("title").sample(frac=1, random_state=0).head(drafts)
    if len(shown) < drafts:
        raise SystemExit(f"There are {len(shown)} thumbnails for {drafts} drafts: ask for fewer --rounds or --rows.")
    named = pd.read_parquet(folder / "youtube_trending_2025_26.parquet", columns=["title"])["title"]
    named = named.dropna().drop_duplicates().sample(titles, random_state=0)
    return [ScoreInput(str(i), row.title, bytes(row.image)) for i, row in enumerate(shown.itertuples())], named.tolist()


def as_kept(draft: ScoreInput) -> ScoreInput:
    """The draft with its picture as a source gives it."""
    out = io.BytesIO()
    shown = Image.open(io.BytesIO(draft.thumbnail or b"")).convert("RGB")
    ImageOps.fit(shown, LARGE, Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return replace(draft, thumbnail=out.getvalue())


class Eager:
    """The shipped network in PyTorch, eager, in 32 bits."""

    def __init__(self, exact: Path, encoder: str | Path, model: scoring.Model) -> None:
        from transformers import AutoModel

        inputs = model.manifest["inputs"]
        self._text = AutoModel.from_pretrained(encoder, dtype=torch.float32).eval()
        self._image = torch.load(exact / "image.pt", weights_only=False).eval()
        self._fusion = torch.load(exact / "miles.pt", weights_only=False).eval()
        self._tokenizer = Tokenizer.from_file(str(exact / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(inputs["max_tokens"])
        self._model, self._width, self._image_width = model, inputs["text_width"], inputs["image_width"]
        self._size = tuple(inputs["image_size"])

    @torch.no_grad()
    def answers(self, drafts: Sequence[ScoreInput]) -> np.ndarray:
        """(n, outputs)"""
        curve, base = self._model.curve, self._model.manifest["draft_base"]
        context = torch.from_numpy(np.stack([features.encode(draft, curve, base).context for draft in drafts]))
        titles, images = self.titles([draft.title for draft in drafts]), self.images(drafts)
        out = []
        for low in range(0, len(drafts), BATCH):
            part = slice(low, low + BATCH)
            n = len(titles[part])
            no_titles, no_past = torch.zeros(n, HISTORY, self._width), torch.full((n, HISTORY, len(PAST)), torch.nan)
            out.append(self._fusion(context[part], titles[part], no_titles, no_past, images[part]))
        return torch.cat(out).numpy()

    def titles(self, titles: list[str]) -> torch.Tensor:
        vectors = torch.zeros(len(titles), self._width)
        order = sorted(range(len(titles)), key=lambda i: len(titles[i]))
        for low in range(0, len(order), BATCH):
            part = order[low : low + BATCH]
            encoded = self._tokenizer.encode_batch([titles[i] for i in part])
            mask = torch.tensor([one.attention_mask for one in encoded])
            states = self._text(input_ids=torch.tensor([one.ids for one in encoded]), attention_mask=mask)
            mean = (states.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[part] = torch.nn.functional.normalize(mean, dim=-1)
        return vectors

    def images(self, drafts: Sequence[ScoreInput]) -> torch.Tensor:
        vectors = torch.full((len(drafts), self._image_width), torch.nan)
        for low in range(0, len(drafts), BATCH):
            shown = [self._opened(draft.thumbnail or b"") for draft in drafts[low : low + BATCH]]
            vectors[low : low + len(shown)] = self._image(torch.from_numpy(np.stack(shown)))
        return vectors

    def _opened(self, picture: bytes) -> np.ndarray:
        """(height, width, 3) uint8"""
        shown = Image.open(io.BytesIO(picture)).convert("RGB")
        return np.asarray(ImageOps.fit(shown, self._size, Image.Resampling.BILINEAR))


class Race:
    """The same work by both sides, in turns."""

    def __init__(self, name: str) -> None:
        self.name, self._rows = name, 0
        self._ours: list[float] = []
        self._theirs: list[float] = []

    def lap(self, ours: Callable[[], object], theirs: Callable[[], object], rows: int) -> None:
        self._rows = rows
        # Who begins changes, lest one always find the memory as the other left it.
        sides = [(self._ours, ours), (self._theirs, theirs)]
        for times, run in sides if len(self._ours) % 2 else sides[::-1]:
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)

    def __str__(self) -> str:
        ratios = np.array(self._theirs) / np.array(self._ours)
        ms = [float(np.median(times)) / self._rows * 1e3 for times in (self._ours, self._theirs)]
        return (
            f"{self.name:30}{ms[0]:7.2f} ms{ms[1]:7.2f} ms   "
            f"{np.median(ratios):5.1f} ({ratios.min():.1f} … {ratios.max():.1f})   {1e3 / ms[0]:,.0f} rows/s"
        )


def sizes(model: Path, exact: Path) -> None:
    served, plain = (sum((folder / name).stat().st_size for name in scoring.FILES) for folder in (model, exact))
    whole = sum(file.stat().st_size for file in model.iterdir())
    print(
        f"files in {model.name}/: {whole / 1e6:.1f} MB; what is served, {served / 1e6:.1f} MB, is {served / plain:.3f}"
    )
    print(f"of the {plain / 1e6:.1f} MB in 32 bits")


def peak(model: Path, drafts: Sequence[ScoreInput]) -> float:
    """MB at most that a fresh process took, which does nothing but load the model and score."""
    code = (
        "import pickle, sys; from miles import scoring; from pathlib import Path\n"
        "inputs = pickle.load(open(sys.argv[2], 'rb'))\n"
        "scoring.load(Path(sys.argv[1])).score(inputs)\n"
        # not ru_maxrss, which a child has from the process that started it
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inputs.pickle"
        file.write_bytes(pickle.dumps(list(drafts)))
        done = subprocess.run([sys.executable, "-c", code, str(model), str(file)], capture_output=True, check=True)
    return int(done.stdout) / 1024


def identical(model: Path, drafts: Sequence[ScoreInput]) -> None:
    """Say whether a score is the same to the last bit alone, in any batch, in any order."""
    together = {score.key: score for score in scoring.load(model).score(drafts)}
    dice, fresh, wrong = random.Random(0), scoring.load(model), 0
    mixed = dice.sample(list(drafts), len(drafts))
    while mixed:
        size = dice.randint(1, 40)
        part, mixed = mixed[:size], mixed[size:]
        wrong += sum(score != together[score.key] for score in fresh.score(part))
    alone = scoring.load(model)
    wrong += sum(alone.score([draft])[0] != together[draft.key] for draft in drafts)
    print(f"scores that differ in any bit, alone or in other batches and orders: {wrong} of {2 * len(drafts)}")


if __name__ == "__main__":
    main()
