"""A small ResNet, trained here: no pretrained vision weights can be had offline.

Learns from thumbnails what their titles say (contrastively) and how the videos did within their
month. Says through `measure` how much, or little, it adds to the title.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from miles import scoring
from miles.features import IMAGE_SIZE, pixels
from training.network import IMAGE

logger = logging.getLogger(__name__)

EPOCHS = 9
BATCH = 128
RATE = 3e-3
WIDTHS = (24, 48, 96, 160)
LATEST = 0.2  # share of the videos, the latest, that is kept for measuring


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """Videos with a picture, oldest first; row i of each belongs to video i."""

    pixels: np.ndarray  # (n, height, width, 3) uint8; 72 x 128 for the encoder trained here
    titles: np.ndarray  # (n, w) float32, vectors of the titles
    success: np.ndarray  # (n,) log10 views minus the mean of the month; counts were read only once
    month: np.ndarray  # (n,) months since year 0


class Block(nn.Module):
    """The basic residual block: two 3 × 3 convolutions around a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.short = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if stride != 1 or inner != outer
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


class ImageEncoder(nn.Module):
    """pixels (n, 72, 128, 3) uint8 -> (n, 64) float32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
        blocks, inner = [], WIDTHS[0]
        for width in WIDTHS:
            blocks.append(Block(inner, width, 2))
            inner = width
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Linear(inner, IMAGE)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.out(self.blocks(self.stem(x)).mean((2, 3)))


def read(folder: Path, vector_of, work: Path, size: tuple[int, int] = IMAGE_SIZE) -> Thumbnails:
    """The thumbnails of the data folder; `vector_of(titles) -> (n, w)`."""
    frame = pd.read_parquet(
        folder / "youtube_thumbnails_2020_21.parquet", columns=["title", "published_at", "view_count", "image"]
    )
    return of_frame(frame, vector_of, work / f"pixels-{size[0]}x{size[1]}.npy", size)


def of_frame(frame: pd.DataFrame, vector_of, cache: Path, size: tuple[int, int] = IMAGE_SIZE) -> Thumbnails:
    """The thumbnails of title, published_at, view_count and image (bytes); decoded once into `cache`."""
    frame = frame.sort_values("published_at", kind="stable").reset_index(drop=True)
    if not cache.exists():
        decoded = [pixels(image, size) for image in frame["image"]]
        blank = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        np.save(cache, np.stack([blank if d is None else d for d in decoded]))
    shown = np.load(cache)
    readable = shown.reshape(len(shown), -1).any(axis=1)
    views = np.log10(frame["view_count"].to_numpy(float) + 1)
    month = (frame["published_at"].dt.year * 12 + frame["published_at"].dt.month).to_numpy()
    success = views - pd.Series(views).groupby(month).transform("mean").to_numpy()
    titles = vector_of(frame["title"].fillna("").tolist()).astype(np.float32)
    return Thumbnails(shown[readable], titles[readable], success[readable].astype(np.float32), month[readable])


def fit(data: Thumbnails, seed: int, epochs: int = EPOCHS) -> ImageEncoder:
    """The encoder, fitted on all but the latest videos."""
    torch.manual_seed(seed)
    shuffle, rng = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    encoder, n = ImageEncoder(), int(len(data.pixels) * (1 - LATEST))
    title, success = nn.Linear(data.titles.shape[1], IMAGE), nn.Linear(IMAGE, 1)
    warmth = nn.Parameter(torch.tensor(math.log(10.0)))
    parameters = [*encoder.parameters(), *title.parameters(), *success.parameters(), warmth]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * (n // BATCH))
    encoder.train()
    for epoch in range(epochs):
        started, total, order = time.monotonic(), 0.0, shuffle.permutation(n)
        for low in range(0, n - BATCH + 1, BATCH):
            rows = order[low : low + BATCH]
            shown = _jitter(torch.from_numpy(data.pixels[rows]), rng)
            vector = encoder(shown)
            a, b = F.normalize(vector, dim=-1), F.normalize(title(torch.from_numpy(data.titles[rows]) * 10), dim=-1)
            likeness = a @ b.T * warmth.exp().clamp(max=50)
            same = torch.arange(len(rows))
            loss = (F.cross_entropy(likeness, same) + F.cross_entropy(likeness.T, same)) / 2
            y = torch.from_numpy(data.success[rows])
            loss = 0.3 * loss + F.huber_loss(success(F.dropout(vector, 0.2))[:, 0], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        logger.info("image epoch %d: loss %.4f in %.0f s", epoch + 1, total / (n // BATCH), time.monotonic() - started)
    return encoder.eval()


def _jitter(shown: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror half of the batch and shift it a few pixels: 10,000 pictures are few."""
    if torch.rand(1, generator=rng) < 0.5:
        shown = shown.flip(2)
    dy, dx = (int(torch.randint(-6, 7, (1,), generator=rng)) for _ in range(2))
    return torch.roll(shown, (dy, dx), (1, 2))


@torch.no_grad()
def encode(encoder: nn.Module, shown: np.ndarray) -> np.ndarray:
    """(n, 72, 128, 3) uint8 -> (n, 64) float32."""
    return np.concatenate([encoder(torch.from_numpy(shown[i : i + 256])).numpy() for i in range(0, len(shown), 256)])


class Served:
    """The exported encoder as `miles.scoring` runs it: one picture a run, in 8 bits."""

    def __init__(self, model: Path) -> None:
        self._session = scoring.session(model.read_bytes())

    def encode(self, shown: np.ndarray) -> np.ndarray:
        """(n, 72, 128, 3) uint8 -> (n, 64) float32."""
        return np.concatenate([self._session.run(None, {"pixels": one[None]})[0] for one in shown])


@dataclass(frozen=True, slots=True, eq=False)
class Nudge:
    """How an image moves an answer: a linear map of its vector, and what it was measured to add."""

    weight: np.ndarray  # (64,) log10 views above what the title leads to expect
    bias: float
    spread: float  # standard deviation of the success that it predicts, log10
    title_alone: float  # Spearman with success within the month, latest videos
    with_image: float
    image_alone: float
    n: int
    with_exact_image: float | None = None  # as with_image, by the encoder in 32 bits


def measure(vectors: np.ndarray, data: Thumbnails) -> Nudge:
    """What images add to titles on the latest videos; ridge regressions on the vectors (n, 64) of both."""
    n = int(len(data.pixels) * (1 - LATEST))
    half = n // 2

    def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
        middle, level = x.mean(0), y.mean()
        w = np.linalg.solve((x - middle).T @ (x - middle) + strength * np.eye(x.shape[1]), (x - middle).T @ (y - level))
        return w, float(level - middle @ w)

    # Out of fold, lest the image be asked to explain what the title has learnt by heart.
    expected = np.zeros(n, dtype=np.float64)
    for inside, outside in ((slice(0, half), slice(half, n)), (slice(half, n), slice(0, half))):
        w, b = ridge(data.titles[inside], data.success[inside], 10.0)
        expected[outside] = data.titles[outside] @ w + b
    weight, bias = ridge(vectors[:n], data.success[:n] - expected, 200.0)
    w, b = ridge(data.titles[:n], data.success[:n], 10.0)
    y, title, image = data.success[n:], data.titles[n:] @ w + b, vectors[n:] @ weight + bias
    return Nudge(
        weight=weight,
        bias=bias,
        spread=float(np.std(data.success)),
        title_alone=float(spearmanr(y, title)[0]),
        with_image=float(spearmanr(y, title + image)[0]),
        image_alone=float(spearmanr(y, image)[0]),
        n=len(y),
    )
