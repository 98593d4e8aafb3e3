"""Server time of the Score lab: from a letter typed to the new score, a grid of 20 titles × 5 thumbnails, an explanation.

    python -m benchmarks.bench_lab

Needs no data: a fresh MILES_HOME in a temporary folder, the shipped model, invented titles and pictures.

    typing       the page is run as Streamlit runs it (frame and page, no browser) each time a letter is added to a
                 title, with 10 drafts kept; by themselves, and beside 5 thumbnails and 5 other titles
    grid         20 new titles × 5 new thumbnails (1280 × 720) in one call, nothing of them met before
    explanation  a new title with a new thumbnail, everything hidden in turn

Prints the median, the 95th percentile and the worst, and what they must not exceed; ends with 1 if one does.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks import setup
from benchmarks.bench_explain import thumbnail

TYPED = "We tried every ramen stall in Osaka and ranked them all by the queue"
WORDS = ("ramen", "stall", "queue", "night", "market", "kitchen", "train", "river", "cheap", "secret", "best", "giant")
LIMITS = {"typing": 0.3, "typing beside 5 × 5": 0.3, "grid 20 × 5": 1.0, "explanation": 1.5}  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="grids and explanations")
    given = parser.parse_args()
    with setup.empty():
        found = {**typing(), "grid 20 × 5": grid(given.runs), "explanation": explanation(given.runs)}
    print(f"{'':<22} {'median':>8} {'p95':>8} {'worst':>8} {'limit':>8}   seconds")
    for name, seconds in found.items():
        p95 = float(np.quantile(seconds, 0.95))
        print(
            f"{name:<22} {np.median(seconds):8.3f} {p95:8.3f} {max(seconds):8.3f} {LIMITS[name]:8.3f}   n {len(seconds)}"
        )
    sys.exit(any(float(np.quantile(seconds, 0.95)) > LIMITS[name] for name, seconds in found.items()))


def typing() -> dict[str, list[float]]:
    from streamlit.testing.v1 import AppTest

    from miles import db, drafts, settings

    with db.transaction("viewer", settings.load().user) as connection:
        for number in range(10):
            drafts.save_draft(connection, f"{invented(number)} draft")
    app = AppTest.from_file(str(setup.PROJECT / "Home.py"), default_timeout=120).run()
    app.switch_page("pages/score_lab.py").run()
    alone = typed(app)
    uploader = app.file_uploader(key="thumbnails")
    for number in range(5):
        uploader = uploader.upload(f"{number}.jpg", thumbnail(number))
    uploader.run()
    app.text_area(key="title").set_value("\n".join(invented(number) for number in range(4))).run()
    return {"typing": alone, "typing beside 5 × 5": typed(app)}


def typed(app) -> list[float]:
    """Seconds of each run, one for every letter of TYPED after the first few."""
    seconds = []
    for length in range(6, len(TYPED) + 1):
        begun = time.perf_counter()
        app.text_input(key="draft").set_value(TYPED[:length]).run()
        seconds.append(time.perf_counter() - begun)
        assert not app.exception, app.exception
    return seconds


def grid(runs: int) -> list[float]:
    from miles import lab, scoring, settings

    model = scoring.load(settings.load().model_folder)
    seconds = []
    for run in range(runs + 1):
        titles = [f"{invented(100 * run + number)} {run} {number}" for number in range(20)]
        pictures = [thumbnail(1000 + 5 * run + number) for number in range(5)]
        begun = time.perf_counter()
        verdicts = lab.judge(model, lab.inputs(titles, thumbnails=pictures))
        seconds.append(time.perf_counter() - begun)
        assert len(verdicts) == 100
    return seconds[1:]  # the first warms up


def explanation(runs: int) -> list[float]:
    from miles import explain, lab, scoring, settings

    model = scoring.load(settings.load().model_folder)
    seconds = []
    for run in range(runs + 1):
        (draft,) = lab.inputs([f"{invented(50_000 + run)} {TYPED} {run}"], thumbnails=[thumbnail(5000 + run)])
        begun = time.perf_counter()
        explain.explain(model, draft)
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def invented(number: int, words: Sequence[str] = WORDS) -> str:
    """A title of eight words, another one for each number."""
    dice = np.random.default_rng(number)
    return " ".join(dice.choice(words, 8)).capitalize()


if __name__ == "__main__":
    main()
