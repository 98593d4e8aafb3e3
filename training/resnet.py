"""A ResNet from Hugging Face as the image encoder: loaded by `transformers`, frozen, with a projection learnt here.

For where pretrained weights can be had (`--image-encoder microsoft/resnet-50`, or any folder of a ResNet). The size of
the pictures and their normalisation are those of the model's own image processor; the normalisation becomes part of the
exported graph, the size goes into the manifest. Runs on a GPU where there is one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, ResNetModel

from miles.errors import MilesError
from training import image_encoder, stages
from training.network import IMAGE

BATCH = 64  # pictures
STRIDE = 32  # pixels; a ResNet halves its input five times
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of the ridge, tried on the latest fifth of what is fitted


class ResNet(nn.Module):
    """pixels (n, height, width, 3) uint8 -> (n, 64) float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: ResNetModel, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.out = nn.Linear(model.config.hidden_sizes[-1], IMAGE)

    def features(self, x: Tensor) -> Tensor:
        """What the frozen part says: (n, hidden)."""
        x = (x.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return self.model(pixel_values=x).pooler_output.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def load(source: str | Path) -> tuple[ResNet, tuple[int, int]]:
    """The encoder of a Hugging Face folder or name, and the pictures it takes (width and height in pixels).

    Raises MilesError if it is not a ResNet.
    """
    kind = AutoConfig.from_pretrained(source).model_type
    if kind != "resnet":
        raise MilesError(f"--image-encoder takes a ResNet, and {source} is a {kind}. Try microsoft/resnet-50.")
    processor = AutoImageProcessor.from_pretrained(source, backend="pil")
    encoder = ResNet(ResNetModel.from_pretrained(source), list(processor.image_mean), list(processor.image_std))
    return encoder.eval(), picture_size(processor.size)


def picture_size(asked: Any) -> tuple[int, int]:
    """Width and height of a 16:9 picture with about as many pixels as the square that an image processor asks for."""
    side = asked.get("shortest_edge") or asked.get("height") or 224
    return tuple(max(STRIDE, STRIDE * round(side * stretch / STRIDE)) for stretch in (4 / 3, 3 / 4))


@torch.no_grad()
def encoded(encoder: ResNet, shown: np.ndarray, device: torch.device) -> np.ndarray:
    """What the frozen part says of pictures: (n, height, width, 3) uint8 -> (n, hidden) float32."""
    encoder = encoder.to(device)
    progress, parts = stages.Progress("pictures", len(shown)), []
    for low in range(0, len(shown), BATCH):
        parts.append(encoder.features(torch.from_numpy(shown[low : low + BATCH]).to(device)).cpu().numpy())
        progress(low)
    encoder.to("cpu")
    return np.concatenate(parts)


def fit(encoder: ResNet, data: image_encoder.Thumbnails, device: torch.device) -> ResNet:
    """Learn the projection, on all but the latest videos.

    A ridge regression of titles' vectors and success on the frozen features, of which the 64 directions are kept
    that explain most (reduced-rank regression): exact, and the same each time.
    """
    n = int(len(data.pixels) * (1 - image_encoder.LATEST))
    x = encoded(encoder, data.pixels[:n], device).astype(np.float64)
    middle, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - middle) / spread
    titles = data.titles[:n] - data.titles[:n].mean(0)
    success = (data.success[:n] - data.success[:n].mean())[:, None]
    # as much for success as for all of the title
    y = np.concatenate([titles / (np.linalg.norm(titles) + 1e-9), success / (np.linalg.norm(success) + 1e-9)], axis=1)

    def ridge(rows: slice, strength: float) -> np.ndarray:
        return np.linalg.solve(x[rows].T @ x[rows] + strength * np.eye(x.shape[1]), x[rows].T @ y[rows])

    early, late = slice(0, int(n * 0.8)), slice(int(n * 0.8), n)
    strength = min(STRENGTHS, key=lambda s: float(((x[late] @ ridge(early, s) - y[late]) ** 2).sum()))
    weight = ridge(slice(None), strength)
    directions = np.linalg.svd(x @ weight, full_matrices=False)[2][:IMAGE]
    projection = np.zeros((x.shape[1], IMAGE))
    projection[:, : len(directions)] = weight @ directions.T
    projection /= np.maximum((x @ projection).std(0), 1e-9)  # directions of length 1, as the network expects
    with torch.no_grad():
        encoder.out.weight.copy_(torch.from_numpy(projection.T / spread))
        encoder.out.bias.copy_(torch.from_numpy(-(middle / spread) @ projection))
    return encoder.eval()
