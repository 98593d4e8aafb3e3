"""Writes the model folder: ONNX files, tokenizer, manifest, golden scores.

Three graphs rather than one, because they are run a different number of times: a title once
however many videos list it in their history, an image once, the fusion once per row.
"""

import base64
import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image
from torch import Tensor, nn

from miles.features import CONTEXT, HISTORY, PAST, PastVideo, ScoreInput
from miles.scoring import FILES, SCHEMA, Model
from training.network import IMAGE, OUTPUTS
from training.text_encoder import strip

OPSET = 20
CALIBRATION_PICTURES = 200
TOLERANCE = 0.02  # relative; processors without VNNI round 8-bit sums differently


class FusionGraph(nn.Module):
    """The network with its inputs as separate arguments, in the order of the manifest."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, context: Tensor, title: Tensor, history_titles: Tensor, history: Tensor, image: Tensor) -> Tensor:
        return self.network(context, title, history_titles, history, image)


def write_fusion(network: nn.Module, width: int, path: Path, opset: int = OPSET) -> None:
    """Any number of rows from two on: one row alone would be summed in another order (`miles.scoring` doubles it)."""
    n = 3
    example = (
        torch.zeros(n, len(CONTEXT)),
        torch.zeros(n, width),
        torch.zeros(n, HISTORY, width),
        torch.zeros(n, HISTORY, len(PAST)),
        torch.zeros(n, IMAGE),
    )
    names = ["context", "title", "history_titles", "history", "image"]
    rows = torch.export.Dim.DYNAMIC(min=2, max=4096)
    _export(FusionGraph(network).eval(), example, path, names, "answers", opset, {name: {0: rows} for name in names})


def write_image(encoder: nn.Module, path: Path, examples: np.ndarray, opset: int = OPSET) -> None:
    """The encoder in 8 bits. `examples` (n, height, width, 3) uint8 are pictures to fix the scales by.

    Static: activations are unsigned, on scales measured here; weights are signed, one scale per channel, and take
    7 of their 8 bits, since processors without VNNI overflow with all of them.
    """
    plain = path.with_suffix(".float.onnx")
    write_plain_image(encoder, plain, examples, opset)
    quantize_static(
        plain,
        path,
        _Pictures(examples[:CALIBRATION_PICTURES]),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
    plain.unlink()
    strip(path)


def write_plain_image(encoder: nn.Module, path: Path, examples: np.ndarray, opset: int = OPSET) -> None:
    """The encoder in 32 bits: what 8 bits are measured against. One picture a run, of the size of the examples."""
    _export(encoder.eval(), (torch.from_numpy(examples[:1]),), path, ["pixels"], "embedding", opset)


class _Pictures(CalibrationDataReader):
    """Pictures one by one, as the quantiser asks for them."""

    def __init__(self, shown: np.ndarray) -> None:
        self._left = iter(shown)

    def get_next(self) -> dict[str, np.ndarray] | None:
        one = next(self._left, None)
        return None if one is None else {"pixels": one[None]}


def _export(
    module: nn.Module,
    example: tuple,
    path: Path,
    names: list[str],
    output: str,
    opset: int,
    free: dict[str, Any] | None = None,
) -> None:
    """`free`: which dimensions of which inputs may be of any size."""
    torch.onnx.export(
        module,
        example,
        str(path),
        input_names=names,
        output_names=[output],
        dynamic_shapes=free,
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    strip(path)


def write_manifest(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """manifest.json: what `miles.scoring` needs to serve the files beside it, and to trust them."""
    files = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for name in FILES
    }
    # Whatever changes a score changes the version; what was measured of it does not.
    serving = {k: v for k, v in facts.items() if k not in ("metrics", "made")}
    fingerprint = hashlib.sha256(json.dumps([files, serving], sort_keys=True).encode()).hexdigest()
    manifest = {"schema": SCHEMA, "version": f"{facts['release']}+{fingerprint[:8]}", "opset": OPSET, "files": files}
    manifest |= {"outputs": list(OUTPUTS)} | facts
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def golden_inputs() -> list[ScoreInput]:
    """Invented videos that take every path: drafts, candidates, a channel, a picture, nonsense."""
    start = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    past = tuple(
        PastVideo(
            title=title,
            published_at=start + timedelta(days=3 * i),
            observed_at=start + timedelta(days=3 * i, hours=17),
            views=views,
            age_days=17 / 24,
        )
        for i, (title, views) in enumerate(
            [
                ("I baked bread in a flower pot", 41_000),
                ("Can a toaster make pizza?", 230_000),
                ("My kitchen tour", 18_500),
                ("Five knives, one onion", 52_000),
                ("Baking bread with no oven", 310_000),
                ("A quiet Sunday soup", 22_000),
                ("The 100-layer pancake", 480_000),
            ]
        )
    )
    later = start + timedelta(days=40)
    picture = BytesIO()
    ramp = np.linspace(0, 255, 320)[None, :, None] * np.ones((180, 1, 3)) * np.array([1.0, 0.6, 0.2])
    Image.fromarray(ramp.astype(np.uint8)).save(picture, "PNG")
    known: dict[str, Any] = {"category_id": 26, "duration": 45.0, "language": "en", "published_at": later}
    counted: dict[str, Any] = known | {"observed_at": later + timedelta(hours=20), "views": 64_000}
    return [
        ScoreInput("title only", "How to peel a mango in ten seconds"),
        ScoreInput("draft with a channel", "Bread baked in a lunch box", history=past, **known),
        ScoreInput(
            "draft with a picture", "Bread baked in a lunch box", thumbnail=picture.getvalue(), history=past, **known
        ),
        ScoreInput("draft with a broken picture", "Bread baked in a lunch box", thumbnail=b"no picture", **known),
        ScoreInput("draft with too short a history", "Bread baked in a lunch box", history=past[:3], **known),
        ScoreInput("candidate", "Bread baked in a lunch box", likes=5_100, comments=240, country_count=2, **counted),
        ScoreInput("candidate with a channel", "Bread baked in a lunch box", history=past, likes=5_100, **counted),
        ScoreInput("candidate of unknown age", "面包 🍞 #bread", observed_at=later, views=900),
        ScoreInput("candidate without views", "Привет, это тест", observed_at=later, views=0, published_at=start),
        ScoreInput("no title", ""),
    ]


def write_golden(folder: Path, model: Model) -> None:
    """Scores to be reproduced by whoever loads the folder, within the tolerance."""
    videos = golden_inputs()
    cases = [
        {"input": _plain(asdict(video)), "score": asdict(score)}
        for video, score in zip(videos, model.score(videos), strict=True)
    ]
    golden = {"tolerance": TOLERANCE, "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """As JSON has it: moments in ISO 8601, pictures in base64, nothing that is not known."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None and v != ()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
