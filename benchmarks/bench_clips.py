"""Examine generated clips of all shapes, each in a process of its own: how they end, how long it takes, how much memory.

    python -m benchmarks.bench_clips [--number 200] [--seed 6]

The clips are of every codec and container that the installed PyAV writes and Miles reads, of odd sizes, turned, with
varying frame rates, with and without sound; six of ten are then cut off, changed, holed or shuffled at random. Exits
with 1 where a clip ends in anything but facts or a sentence, or a whole one is refused or told wrongly.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter

from miles import clip_process
from miles.errors import ClipRefused
from tests import clip_maker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=6)
    given = parser.parse_args()
    ends: Counter[tuple[str, str]] = Counter()
    seconds, wrong = [], []
    for shape in clip_maker.shapes(given.number, given.seed):
        begun = time.perf_counter()
        try:
            with tempfile.TemporaryFile() as file:
                file.write(shape.data)
                file.flush()
                probe, frames = clip_process.examine(file)
            ends[shape.fate, "told"] += 1
            turned_wrongly = shape.upright is not None and shape.upright != (probe.height > probe.width)
            if shape.fate == "whole" and (abs(probe.duration - shape.seconds) > 0.35 or not frames or turned_wrongly):
                wrong.append(f"{shape.name}: {probe}")
        except ClipRefused as error:
            ends[shape.fate, error.kind] += 1
            if shape.fate == "whole":
                wrong.append(f"{shape.name}: {error}")
        except Exception as error:
            wrong.append(f"{shape.name}: {type(error).__name__}: {error}")
        seconds.append(time.perf_counter() - begun)
    print("| clip | ended as | number |\n|:-|:-|-:|")
    for (fate, end), number in sorted(ends.items()):
        print(f"| {fate} | {end} | {number} |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds.sort()
    print(
        f"\n{len(seconds)} clips: median {seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s each (a process"
        f" start included); largest process {peak:.0f} MB; wrong: {len(wrong)}"
    )
    for line in wrong:
        print("WRONG", line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
