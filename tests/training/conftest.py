"""Invented data in the shape of the real: small enough for a whole training run in seconds."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from training import figures

WORDS = [
    "how",
    "to",
    "bake",
    "bread",
    "win",
    "the",
    "last",
    "game",
    "new",
    "song",
    "live",
    "night",
    "best",
    "try",
    "fast",
]
START = datetime(2025, 12, 20, 9, tzinfo=UTC)


def observations(
    days: int = 200, channels: int = 24, every: int = 4, seed: int = 0, start: datetime = START
) -> pd.DataFrame:
    """Observations in the shape of `read_observations`: a video now and then, each seen daily.

    A channel's next videos do somewhat like its last, and a video that starts well goes on well: there is
    something to learn.
    """
    rng, rows = np.random.default_rng(seed), []
    for channel in range(channels):
        drift = 0.0
        for day in range(channel % every, days, every):
            published = start + timedelta(days=day, hours=channel % 7)
            drift = 0.7 * drift + rng.normal(0, 0.25)
            level, growth = 1e4 * (1 + channel % 5) * 10 ** (drift + rng.normal(0, 0.1)), rng.uniform(0.2, 0.8)
            title = " ".join(rng.choice(WORDS, 4))
            for seen in range(5):
                at = published + timedelta(hours=17 + 24 * seen)
                age = (at - published) / timedelta(days=1)
                views = int(level * age**growth)
                rows.append(
                    {
                        "video_id": f"{channel}-{day:03}",
                        "fetched_at": pd.Timestamp(at),
                        "published_at": pd.Timestamp(published),
                        "views": views,
                        "likes": int(views * growth / 10),
                        "comments": views // 200,
                        "countries": 1 + seen % 2,
                        "title": f"{title} {channel}",
                        "channel_id": f"channel {channel}",
                        "category_id": (20, 10, 24)[channel % 3],
                        "default_language": ("en", "es")[channel % 2],
                        "duration": (45, 150, 600)[(channel + day) % 3],
                        "age": age,
                    }
                )
    return pd.DataFrame(rows).sort_values(["video_id", "fetched_at"]).reset_index(drop=True)


def picture(seed: int) -> bytes:
    shown = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(shown).resize((64, 36)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="session", autouse=True)
def few_draws() -> Iterator[None]:
    """Intervals from a few draws: what a run takes longest for says nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DRAWS", 20)
        yield


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What --data takes: trending lists, thumbnails, and ordinary videos, all invented."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    daily = observations()
    raw = daily.drop(columns=["age", "countries"]).assign(country="US")
    for column in ("fetched_at", "published_at"):
        raw[column] = raw[column].astype("datetime64[us, UTC]")
    raw.to_parquet(folder / "youtube_trending_2025_26.parquet")
    n = 200
    pd.DataFrame(
        {
            "title": [" ".join(rng.choice(WORDS, 4)) for _ in range(n)],
            "published_at": pd.date_range("2020-09-01", periods=n, freq="D", tz="UTC").as_unit("us"),
            "view_count": rng.integers(10_000, 1_000_000, n),
            "image": [picture(i) for i in range(n)],
        }
    ).to_parquet(folder / "youtube_thumbnails_2020_21.parquet")
    pd.DataFrame(
        {
            "yt-id": [f"r{i}" for i in range(60)],
            "title": [" ".join(rng.choice(WORDS, 3)) for _ in range(60)],
            "created": [f"2020-01-{1 + i % 28:02}T10:00:00Z" for i in range(60)],
            "channel-id": [f"small {i % 30}" for i in range(60)],
            "view-count": rng.integers(0, 500, 60),
            "like-count": [None if i % 10 == 0 else 3.0 for i in range(60)],
            "comment-count": 0.0,
        }
    ).to_parquet(folder / "youtube_random_2024.parquet")
    pd.DataFrame(
        {
            "channel_id": [f"whole {i % 6}" for i in range(90)],
            "video_id": [f"w{i}" for i in range(90)],
            "video_title": [" ".join(rng.choice(WORDS, 3)) for _ in range(90)],
            "video_views": rng.integers(100, 100_000, 90).astype(float),
        }
    ).to_parquet(folder / "youtube_182_channels_2018.parquet")
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a tiny BERT with random weights."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *map(str, range(40))])}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=80,
    )
    BertModel(config).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 32
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
