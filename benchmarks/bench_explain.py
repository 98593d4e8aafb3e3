"""How long an explanation takes, what vectors of titles cost the scoring, and how fast similar titles are found.

    python -m benchmarks.bench_explain videos.parquet [--rows N] [--network N]

First, without a database: explanations of drafts with titles of the file, with an invented thumbnail and
without, each title and picture new to the model. Then the file is imported into a fresh PostgreSQL in a
temporary folder and scored twice by a model that answers at once, without and with vectors (random ones; of the
same encoder, so that all of keeping them is in it), and the index is made. The vectors' share of a real scoring is
that difference against the network's time for the first `--network` videos. Last, similar titles are asked for
with the answers compared with those of looking at every vector.

Random vectors have no neighbourhoods: for the questions each is drawn near one of 500 centres.
"""

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks import setup
from benchmarks.bench_import import miles_import
from benchmarks.bench_score import AtOnce, with_network

EXPLAINED = 40  # drafts
ASKED = 60  # videos whose neighbours are asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N rows")
    parser.add_argument("--network", type=int, default=4000, help="how many videos the network scores (0: none)")
    given = parser.parse_args()
    setup.in_a_process(explanations, given.file)
    with setup.empty() as home:
        setup.in_a_process(miles_import, setup.head(given.file, given.rows, home))
        setup.in_a_process(keeping, given.network)
        setup.in_a_process(neighbours)


# --- explanations -----------------------------------------------------------------------------------


def explanations(file: Path) -> None:
    from miles import explain, scoring, settings
    from miles.features import ScoreInput

    titles = pq.read_table(file, columns=["title"]).slice(0, 20_000)["title"].unique().to_pylist()
    drafts = [
        ScoreInput("draft", title, thumbnail=thumbnail(number), category_id=24)
        for number, title in enumerate(sorted(titles, key=len, reverse=True)[:: max(len(titles) // EXPLAINED, 1)])
    ]
    model = scoring.load(settings.load().model_folder)
    model.score([ScoreInput("warm", "warming up", thumbnail=thumbnail(-1))])
    for name, videos in (
        ("title and thumbnail", drafts),
        ("title alone", [ScoreInput("draft", f"{one.title} again", category_id=24) for one in drafts]),
    ):
        seconds = []
        for video in videos:
            begun = time.perf_counter()
            explain.explain(model, video)
            seconds.append(time.perf_counter() - begun)
        print(f"explain {name:<20} {told(seconds)}  of {len(videos)}", flush=True)


def thumbnail(number: int) -> bytes:
    """A picture like no other, 1280 x 720 as JPEG."""
    noise = np.random.default_rng(number + 1).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).resize((1280, 720), Image.Resampling.BICUBIC).save(written, "JPEG", quality=88)
    return written.getvalue()


# --- keeping vectors --------------------------------------------------------------------------------


def at_once(version: str, vectors: bool) -> Any:
    """A model that answers without looking, with the shipped encoder's fingerprint where it has vectors."""
    model = Embedding() if vectors else AtOnce()
    model.version = version
    return model


class Embedding(setup.StandIn, AtOnce):
    """Answers at once, with invented vectors of titles."""


def keeping(network: int) -> None:
    from sqlalchemy import text

    from miles import db, similar
    from miles.score_candidates import score_pending

    db.ready()
    plain, embedding = at_once("plain", False), at_once("embedding", True)
    begun = time.perf_counter()
    count = score_pending(plain)
    without = time.perf_counter() - begun
    catch_up = similar.catch_up
    similar.catch_up = lambda *_: 0  # the index apart
    begun = time.perf_counter()
    score_pending(embedding)
    with_vectors = time.perf_counter() - begun
    similar.catch_up = catch_up
    begun = time.perf_counter()
    similar.catch_up(embedding)
    index = time.perf_counter() - begun
    with db.transaction("worker") as connection:
        size = connection.scalar(text("SELECT pg_size_pretty(pg_total_relation_size('title_embeddings'))"))
    more = with_vectors - without + index
    print(f"scores of {count:,}: {without:.1f} s; with vectors {with_vectors:.1f} s, and {index:.1f} s index; {size}")
    if network:
        scored, seconds = with_network(network)
        whole = seconds * count / scored
        print(
            f"network: {scored:,} in {seconds:.1f} s, {whole:.0f} s for all; vectors add {more / whole:.1%}", flush=True
        )


# --- asking -----------------------------------------------------------------------------------------


def neighbours() -> None:
    from sqlalchemy import text

    from miles import db, similar
    from miles.browse import Filters

    db.ready()
    similar.catch_up(at_once("embedding", True))  # those that the network replaced
    with db.transaction("viewer") as connection:
        ids = connection.scalars(
            text("SELECT candidate_id FROM candidates ORDER BY md5(candidate_id) LIMIT :n"), {"n": ASKED}
        ).all()
        categories = connection.scalars(
            text("SELECT category FROM candidates WHERE category IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC")
        ).all()
    with db.transaction("worker") as connection:  # as a roll-up would measure a tenth
        connection.execute(
            text("UPDATE candidates SET outlier_multiple = CASE hashtext(candidate_id) & 15 WHEN 0 THEN 2 ELSE 0.8 END")
        )
    questions: dict[str, dict[str, Any]] = {
        "all": {},
        "took off": {"took_off": True},
        "did not": {"took_off": False},
        "commonest category": {"filters": Filters(categories=(categories[0],))},
        "rarest category": {"filters": Filters(categories=(categories[-1],))},
        "50 of all": {"n": 50, "per_channel": None},
    }
    through_index = similar._index_lists
    for name, wanted in questions.items():
        seconds, found, exact = [], [], []
        for candidate_id in ids:
            begun = time.perf_counter()
            with db.transaction("viewer") as connection:
                near = similar.to_video(connection, candidate_id, **wanted)
            seconds.append(time.perf_counter() - begun)
            found.append({one.row.candidate_id for one in near})
        if name == "50 of all":
            similar._index_lists = lambda *_: 0
            for candidate_id in ids:
                with db.transaction("viewer") as connection:
                    exact.append({one.row.candidate_id for one in similar.to_video(connection, candidate_id, **wanted)})
            similar._index_lists = through_index
        recall = statistics.mean(len(a & b) / len(b) for a, b in zip(found, exact, strict=True)) if exact else None
        print(f"similar {name:<20} {told(seconds)}" + (f"  recall {recall:.2f}" if recall else ""), flush=True)


def told(seconds: Sequence[float]) -> str:
    return "median {:6.0f} ms  p95 {:6.0f} ms  worst {:6.0f} ms".format(*setup.spread(seconds))


if __name__ == "__main__":
    main()
