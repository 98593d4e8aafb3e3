"""Examine generated clips of all shapes, each in a process of its own: how they end, how long it takes, how much memory.

    python -m benchmarks.bench_clips [--number 200] [--seed 6] [--no-bomb]

Each encoder of the installed PyAV writes one that is left whole; then files that only pretend to be clips (empty, text,
sound alone, 65,000 x 65,000 pixels …); the rest is drawn from all encoders, containers, formats of pixels, sizes, turns,
rates, with and without sound, and 6 of 10 of it is cut off, changed, holed or shuffled at random. Last a bomb: 60,000
frames of 4K in 1.4 MB. Exits with 1 where one ends in anything but what it should: facts that are right, or a sentence.
"""

import argparse
import itertools
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from miles import clip_process
from miles.errors import ClipRefused

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import clip_shapes  # type: ignore[import-not-found]  # the tests import each other without a package
from clip_shapes import TOLD, Shape

BOMB = 60_000  # frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--no-bomb", action="store_true", help="without the one that takes over a minute")
    given = parser.parse_args()
    ends: Counter[tuple[str, str]] = Counter()
    seconds, wrong = [], []
    bombs = [] if given.no_bomb else [Shape("a bomb", "bomb", clip_shapes.bomb(BOMB), frozenset({TOLD}))]
    for shape in itertools.chain(clip_shapes.shapes(given.number, given.seed), bombs):
        begun = time.perf_counter()
        end, problem = examined(shape)
        seconds.append((time.perf_counter() - begun, shape.name))
        ends[shape.fate, end] += 1
        if problem:
            wrong.append(f"{shape.name}: {problem}")
    print("| clip | ended as | number |\n|:-|:-|-:|")
    for (fate, end), number in sorted(ends.items()):
        print(f"| {fate} | {end} | {number} |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds.sort()
    print(
        f"\n{len(seconds)} clips: median {seconds[len(seconds) // 2][0]:.2f} s, 95th percentile"
        f" {seconds[int(len(seconds) * 0.95)][0]:.2f} s, slowest {seconds[-1][0]:.1f} s ({seconds[-1][1]}), a process start"
        f" included; largest process {peak:.0f} MB; wrong: {len(wrong)}"
    )
    print(f"{len(clip_shapes.ways())} pairs of encoder and container to draw from")
    for line in wrong:
        print("WRONG", line)
    sys.exit(bool(wrong))


def examined(shape: Shape) -> tuple[str, str | None]:
    """How a clip ended, and what is wrong with that."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(shape.data)
            file.flush()
            found = clip_process.examine(file)
    except ClipRefused as error:
        return error.kind, None if error.kind in shape.ends else f"{error.kind}: {error}"
    except Exception as error:
        return "an error of ours", f"{type(error).__name__}: {error}"
    return TOLD, clip_shapes.mistake(shape, *found)


if __name__ == "__main__":
    main()
