"""Why the text encoder runs with one thread in each of two callers: the ways to use two processors, in turns.

    python -m benchmarks.bench_threads [--rounds N] [--batches N]

Needs no data: the text encoder of `model/`, and invented titles of 6 to 40 tokens, eight of the same length a run. Each round
encodes all of them in every way; printed are medians over the rounds, and how many times that of the way in use. Use an
otherwise idle computer with two processors or more.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import onnxruntime

from miles import scoring

TITLES = 8  # of a run: all have the same length, so nothing is padded
TOKENS = (6, 40)  # in a title
WORDS = (1000, 20_000)  # the tokens drawn from: none of the special ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=48, help="runs of eight titles in a round")
    given = parser.parse_args()
    dice = np.random.default_rng(0)
    batches = [dice.integers(*WORDS, (int(tokens), TITLES)) for tokens in dice.integers(*TOKENS, given.batches)]
    ways = {"two callers, one thread each": partial(encode, session(1, False), 2)}  # as `scoring` does it
    for callers, spinning in product((2, 1), (False, True)):
        name = f"{('one caller', 'two callers')[callers - 1]}, two threads, {'' if spinning else 'no '}spinning"
        ways[name] = partial(encode, session(2, spinning), callers)
    ways["one caller, one thread"] = partial(encode, session(1, False), 1)

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name in [*ways, *list(ways) * given.rounds]:  # the first turn warms up
        seconds[name].append(timed(ways[name], batches))
    medians = {name: float(np.median(times[1:])) for name, times in seconds.items()}
    used = next(iter(medians.values()))
    print(f"{given.batches} runs of {TITLES} titles, {given.rounds} rounds")
    for name, median in sorted(medians.items(), key=lambda one: one[1]):
        print(f"{name:36}{median * 1e3:8.1f} ms {median / used:6.2f}")


def session(threads: int, spinning: bool) -> onnxruntime.InferenceSession:
    """The text encoder as `scoring.session` makes it, but for the threads of a run and how they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(
        (scoring.DEFAULT_FOLDER / "text.onnx").read_bytes(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],
    )


def encode(text: onnxruntime.InferenceSession, callers: int, batches: list[np.ndarray]) -> None:
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda tokens: text.run(None, {"ids": tokens}), batches))


def timed(run: Callable[[list[np.ndarray]], None], batches: list[np.ndarray]) -> float:
    begun = time.perf_counter()
    run(batches)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
