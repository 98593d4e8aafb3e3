"""Text and image encoders from Hugging Face: loaded by the real transformers code, tiny and random, exported and run."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from miles import features, scoring
from miles.errors import MilesError
from miles.features import ScoreInput
from training import __main__ as training_run
from training import export, image_encoder, resnet, text_encoder

# Of torch and transformers, about themselves, while they export.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

WORDS = [
    "bake",
    "bread",
    "win",
    "the",
    "last",
    "game",
    "new",
    "song",
    "live",
    "at",
    "night",
    "best",
    "not",
    "cook",
    "fast",
]
SMALL = {"vocab_size": 60, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
BERTS = {
    "bert": transformers.BertConfig(**SMALL, intermediate_size=96, max_position_embeddings=80),
    "electra": transformers.ElectraConfig(
        **SMALL, embedding_size=64, intermediate_size=96, max_position_embeddings=80, hidden_act="gelu"
    ),
    "roberta": transformers.RobertaConfig(**SMALL, intermediate_size=96, max_position_embeddings=80),
    "xlm-roberta": transformers.XLMRobertaConfig(**SMALL, intermediate_size=96, max_position_embeddings=80),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=60, dim=64, n_layers=2, n_heads=4, hidden_dim=96, max_position_embeddings=80
    ),
}
OTHERS = {
    # positions as distances between words
    "mpnet": transformers.MPNetConfig(**SMALL, intermediate_size=96, max_position_embeddings=80),
    # another activation
    "relu": transformers.BertConfig(**SMALL, intermediate_size=96, max_position_embeddings=80, hidden_act="relu"),
    # words narrower than what follows
    "narrow": transformers.ElectraConfig(**SMALL, embedding_size=32, intermediate_size=96, max_position_embeddings=80),
}


def titles(n: int) -> list[str]:
    """Of every length from none to more than the encoder reads."""
    rng = np.random.default_rng(n)
    return [" ".join(rng.choice(WORDS, i % 70)) for i in range(n)]


def saved(folder: Path, config: transformers.PreTrainedConfig) -> Path:
    """A folder as `save_pretrained` leaves it, with weights large enough for the words to tell."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.3)
    model.save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def by_transformers(folder: Path, ids: list[list[int]]) -> np.ndarray:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = [model(input_ids=torch.tensor([one])).last_hidden_state for one in ids]
    return np.stack([torch.nn.functional.normalize(s.mean(1), dim=-1)[0].numpy() for s in states])


def exported(loaded: text_encoder.Loaded, folder: Path) -> text_encoder.Served:
    text_encoder.export(loaded, folder / "text.onnx", export.OPSET, titles(200))
    return text_encoder.Served(folder / "text.onnx", folder / "tokenizer.json", threads=2)


@pytest.mark.parametrize("kind", BERTS)
def test_what_is_built_like_bert_becomes_the_fast_graph_and_gives_what_transformers_gives(tmp_path, kind):
    loaded = text_encoder.load(saved(tmp_path, BERTS[kind]))
    assert isinstance(loaded.network, text_encoder.TextEncoder)
    some = titles(140)
    ids = text_encoder.token_ids(loaded, some)
    expected = by_transformers(tmp_path, ids)
    with torch.no_grad():
        ours = np.concatenate([loaded.network(torch.tensor([one])).numpy() for one in ids])
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    vectors = exported(loaded, tmp_path).encode(some)
    assert (vectors * expected).sum(1).min() > 0.93  # 8 bits, and words of 4; random weights suffer most
    assert (vectors * expected).sum(1).mean() > 0.985


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_encoder_is_exported_one_title_a_run(tmp_path, kind):
    loaded = text_encoder.load(saved(tmp_path, OTHERS[kind]))
    assert isinstance(loaded.network, text_encoder.Pooled)
    some = titles(80)
    vectors = exported(loaded, tmp_path).encode(some)
    expected = by_transformers(tmp_path, text_encoder.token_ids(loaded, some))
    assert (vectors * expected).sum(1).mean() > 0.97


@pytest.mark.parametrize("kind", ["bert", "mpnet"])  # titles of a length together; titles one by one
def test_a_title_has_the_same_vector_alone_and_beside_any_other(tmp_path, kind):
    served = exported(text_encoder.load(saved(tmp_path, (BERTS | OTHERS)[kind])), tmp_path)
    some = titles(150)
    together = served.encode(some)
    assert np.array_equal(together, np.concatenate([served.encode([title]) for title in some]))
    assert np.array_equal(together[::-1], served.encode(some[::-1]))


def test_an_export_repeats_to_the_byte(tmp_path):
    loaded = text_encoder.load(saved(tmp_path, BERTS["bert"]))
    contents = []
    for _ in range(2):
        text_encoder.export(loaded, tmp_path / "text.onnx", export.OPSET, titles(50))
        contents.append((tmp_path / "text.onnx").read_bytes())
    assert contents[0] == contents[1]


def test_titles_longer_than_the_encoder_reads_are_cut(tmp_path):
    short = transformers.BertConfig(**SMALL, intermediate_size=96, max_position_embeddings=12)
    served = exported(text_encoder.load(saved(tmp_path, short)), tmp_path)
    assert served.max_tokens == 12
    one, other = served.encode(["bread " * 10, "bread " * 90])  # with both ends 12 tokens
    assert np.array_equal(one, other)


def test_outlying_channels_are_shrunk_where_that_lessens_the_error():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(0, 0.1, (500, 32)).astype(np.float32), rng.normal(0, 1, (32, 16)).astype(np.float32)
    x[:, 3] *= 300
    plain = text_encoder.round_linear(x, weight, [None])
    chosen = text_encoder.round_linear(x, weight, text_encoder.capped(x))
    assert chosen.shrink is not None
    assert chosen.shrink[3] > 1
    assert chosen.error < plain.error / 3


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pictures(seed + 1, 64, 40)[0]).save(out, "PNG")
    return out.getvalue()


def pictures(n: int, width: int, height: int) -> np.ndarray:
    """Noise, smooth where it is one octave up: (n, height, width, 3) uint8."""
    rng = np.random.default_rng(n)
    coarse = rng.integers(0, 256, (n, height // 8, width // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return (0.8 * coarse + 0.2 * rng.integers(0, 256, coarse.shape)).astype(np.uint8)


def test_the_exported_image_encoder_agrees_with_the_trained_one(tmp_path):
    torch.manual_seed(0)
    encoder = image_encoder.ImageEncoder().eval()
    shown = pictures(40, 128, 72)
    export.write_image(encoder, tmp_path / "image.onnx", shown)
    exported, trained = (
        image_encoder.Served(tmp_path / "image.onnx").encode(shown),
        image_encoder.encode(encoder, shown),
    )
    assert np.corrcoef(exported.ravel(), trained.ravel())[0, 1] > 0.99  # 8 bits
    alone = [image_encoder.Served(tmp_path / "image.onnx").encode(one[None])[0] for one in shown[:5]]
    assert np.array_equal(exported[:5], alone)


@pytest.fixture(scope="module")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a tiny ResNet with random weights and a normalisation of its own."""
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], layer_type="bottleneck"
    )
    model = transformers.ResNetModel(config).train()
    with torch.no_grad():  # so that its normalisations have seen something
        model(pixel_values=torch.randn(16, 3, 64, 96))
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 64},
                "crop_pct": 0.875,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
            }
        )
    )
    return folder


def test_a_resnet_sees_what_transformers_shows_it(tiny_resnet):
    encoder, (width, height) = resnet.load(tiny_resnet)
    assert (width, height) == (96, 64)  # about 16:9 and 64 x 64 pixels, in steps of 32
    shown = pictures(3, width, height)
    values = (shown.transpose(0, 3, 1, 2) / 255 - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    model = transformers.ResNetModel.from_pretrained(tiny_resnet).eval()
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(values).float()).pooler_output.flatten(1)
        np.testing.assert_allclose(encoder.features(torch.from_numpy(shown)), expected, atol=1e-4)


def test_the_sizes_of_resnet_50_make_a_wide_picture():
    assert resnet.picture_size({"shortest_edge": 224}) == (288, 160)


def test_an_exported_resnet_agrees_with_the_one_that_was_loaded(tmp_path, tiny_resnet):
    encoder, size = resnet.load(tiny_resnet)
    shown = pictures(60, *size)
    export.write_image(encoder, tmp_path / "image.onnx", shown)
    export.write_plain_image(encoder, tmp_path / "exact.onnx", shown)
    loaded = image_encoder.encode(encoder, shown)
    exact = image_encoder.Served(tmp_path / "exact.onnx").encode(shown)
    np.testing.assert_allclose(exact, loaded, atol=1e-4)
    rounded = image_encoder.Served(tmp_path / "image.onnx").encode(shown)
    assert np.corrcoef(rounded.ravel(), loaded.ravel())[0, 1] > 0.98  # 8 bits


def test_a_projection_finds_what_pictures_tell_of_titles_and_success(tiny_resnet):
    encoder, size = resnet.load(tiny_resnet)
    shown = pictures(400, *size)
    known = resnet.encoded(encoder, shown, torch.device("cpu"))
    known = (known - known.mean(0)) / known.std(0)
    success = known[:, 3] - known[:, 5]
    titles = known[:, :8] / np.linalg.norm(known[:, :8], axis=1, keepdims=True)
    month = np.zeros(len(shown), dtype=int)
    data = image_encoder.Thumbnails(shown, titles.astype(np.float32), success.astype(np.float32), month)
    fitted = resnet.fit(encoder, data, torch.device("cpu"))
    vectors = image_encoder.encode(fitted, shown)
    assert vectors.shape == (400, 64)
    assert image_encoder.measure(vectors, data).image_alone > 0.8
    assert np.array_equal(vectors, image_encoder.encode(resnet.fit(encoder, data, torch.device("cpu")), shown))


def test_what_is_no_resnet_is_refused(tmp_path):
    with pytest.raises(MilesError, match=r"takes a ResNet.*bert"):
        resnet.load(saved(tmp_path, BERTS["bert"]))


def test_a_model_with_encoders_from_hugging_face_is_trained_loaded_and_scores(tmp_path, data_folder, tiny_resnet):
    text = saved(tmp_path / "mpnet", OTHERS["mpnet"])
    given = ["--data", data_folder, "--out", tmp_path / "model", "--work", tmp_path / "work", "--text-encoder", text]
    given += ["--image-encoder", tiny_resnet, "--epochs", 1, "--members", 1, "--device", "cpu"]
    training_run.main([str(one) for one in given])
    model = scoring.load(tmp_path / "model")
    assert model.image_size == (96, 64)
    assert model.manifest["inputs"]["text_width"] == SMALL["hidden_size"]
    assert model.manifest["inputs"]["image_encoder"] == tiny_resnet.name
    assert features.pixels(picture(1), model.image_size).shape == (64, 96, 3)
    plain = ScoreInput("plain", "how to bake bread")
    drafts = [plain, *(replace(plain, key=str(i), thumbnail=picture(i)) for i in range(3))]
    scores = model.score(drafts)
    assert len({score.predicted_velocity for score in scores}) == 4
    assert [model.score([draft])[0] for draft in drafts] == scores
