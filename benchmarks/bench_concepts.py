"""Offline concepts against a plain template list, by the model's own score, on fixed topics.

    python -m benchmarks.bench_concepts --home HOME      # a MILES_HOME with collected, scored videos (use a copy)
    python -m benchmarks.bench_concepts FILE             # a data set: imported, measured and scored first

For each of TOPICS both write the same number of titles: the generator from what the collection knows of the topic, the list
from TEMPLATES with the topic put in. Both are scored alike, as drafts; once all of them count, once the best SHOWN, chosen by
the same selection. The difference is the mean over topics, with a 95% interval from a paired bootstrap over topics.

It is the model that judges, and the generator was made with the model's help (its evidence is picked by scores, its selection is by the
model): a higher score says that the model likes these titles better, not that people will. Beside it stands what the
model has no part in: near-copies of known titles, how alike the titles of a topic are, words of the topic's own titles in
them, backing by videos above their channel's usual, time.

The selected titles of both are compared before near-copies are taken out; the time is that of a whole request as the product
answers it, twice for each topic, the second one counted.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import setup

TOPICS = (
    # games, of which the data set has most
    "minecraft", "roblox", "gta 5", "fortnite", "horror games", "speedrun", "pokemon", "free fire", "mobile legends", "chess",
    "zombies", "survival challenge", "boss fight", "racing games", "minecraft house", "brawl stars", "clash royale", "fifa",
    # music, film, people
    "love song", "rap battle", "official trailer", "spider-man", "star wars", "anime opening", "k-pop dance", "lofi", "piano",
    "christmas songs", "wedding dance", "harry potter",
    # everything else, of which it has little
    "street food", "cooking", "dogs", "funny cats", "car repair", "electric cars", "personal finance", "guitar lessons",
    "football highlights", "makeup tutorial", "gym workout", "magic tricks", "travel vlog", "school life", "prank", "cars",
    # other languages
    "comida callejera", "kochen", "terror", "futebol",
)  # fmt: skip
TEMPLATES = (
    "You won't believe this {topic}", "The ultimate guide to {topic}", "Top 10 {topic} tips", "{topic} for beginners",
    "How to master {topic}", "{topic} hacks you need to know", "The best {topic} ever", "Everything about {topic}",
    "5 {topic} mistakes to avoid", "{topic}: before and after", "I tried {topic} for a week", "{topic} gone wrong",
    "{topic} like a pro", "The secret of {topic}", "Why everyone loves {topic}", "{topic} challenge", "My {topic} story",
    "10 things you didn't know about {topic}", "{topic} explained", "{topic} vs reality", "Is {topic} worth it?",
    "The truth about {topic}", "Best {topic} moments", "{topic} compilation", "{topic} in 60 seconds", "Try not to laugh: {topic}",
    "{topic} that will blow your mind", "What nobody tells you about {topic}", "How I got into {topic}", "{topic} day in the life",
    "The most satisfying {topic}", "{topic} life hacks", "{topic} you have to see", "Epic {topic} fails", "{topic} reaction",
    "Stop doing {topic} wrong", "{topic} transformation", "The real reason behind {topic}", "{topic} on a budget",
    "A day of {topic}", "Crazy {topic}", "POV: {topic}", "{topic} Q&A", "24 hours of {topic}", "Learn {topic} fast",
)  # fmt: skip
SHOWN = 5
WRITTEN = 40
DRAWS = 10_000  # of the bootstrap
USER = "bench_concepts"


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two wrote on one topic."""

    titles: list[str]
    scores: np.ndarray  # of all: chances in 100
    appeals: np.ndarray  # log10 of the views expected in the first day
    shown: list[int]  # positions of those selected
    copies: int  # of those shown
    alike: float  # mean cosine between two of those shown
    own_words: float  # share of those shown with a word of the topic's titles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", type=Path, nargs="?", help="a data set to import")
    source.add_argument("--home", type=Path, help="a MILES_HOME with data")
    parser.add_argument("--topics", type=int, default=len(TOPICS), help="how many of the topics")
    given = parser.parse_args()
    if given.home:
        with setup.running(given.home.resolve()):
            report(TOPICS[: given.topics])
    else:
        with setup.empty():
            fill(given.file)
            report(TOPICS[: given.topics])


def fill(file: Path) -> None:
    from miles import db, importing, registry, rollups, score_candidates

    importing.import_files([file])
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
    score_candidates.score_pending(registry.active_model())


def report(topics: Sequence[str]) -> None:
    from miles import db, grounding, offline, recommend, registry
    from miles.concepts import Idea, Request

    model = registry.active_model()
    made: list[tuple[Side, Side]] = []
    backed: list[bool] = []
    known: list[int] = []
    seconds: list[float] = []
    lookups: list[float] = []
    for topic in topics:
        with db.transaction("viewer", USER) as connection:
            grounding.gather(connection, topic, model=model)
            begun = time.perf_counter()
            evidence = grounding.gather(connection, topic, model=model)
            lookups.append(time.perf_counter() - begun)
            ideas = recommend.original(offline.compose(evidence, "", WRITTEN), evidence)
            plain = [template.format(topic=topic) for template in TEMPLATES[: len(ideas)]]
            plain = [title[:1].upper() + title[1:] for title in plain]
            ideas = ideas[: len(plain)]
            bare = [Idea(title, "", (), "", (), "", "", ()) for title in plain]
            made.append((side(connection, model, ideas, evidence), side(connection, model, bare, evidence)))
        known.append(evidence.matched)
        request = Request(topic, number=SHOWN)
        took, answer = timed(partial(recommend.recommend, model, request, user_id=USER, offline=True))
        seconds.append(took)
        backed += [bool(one.evidence) for one in answer.concepts]
        forget(answer.query_id)
    print(
        f"{model.version}: {len(topics)} topics, {sum(len(ours.titles) for ours, _ in made)} titles of each, {SHOWN} shown"
    )
    print(f"{'mean over topics':<44}{'generator':>10}{'list':>10}{'difference':>12}   95% interval    better in")
    rows: list[tuple[str, Callable[[Side], float], int]] = [
        ("score of those shown, in 100", lambda one: float(one.scores[one.shown].mean()), 2),
        ("score of all written, in 100", lambda one: float(one.scores.mean()), 2),
        ("first-day views of those shown, log10", lambda one: float(one.appeals[one.shown].mean()), 3),
        ("first-day views of all written, log10", lambda one: float(one.appeals.mean()), 3),
        ("likeness of two of those shown, cosine", lambda one: one.alike, 2),
        ("with a word of the topic's titles, share", lambda one: one.own_words, 2),
        ("near-copies of known titles, share", lambda one: one.copies / len(one.shown), 3),
    ]
    for name, value, digits in rows:
        print(compared(name, [(value(ours), value(plain)) for ours, plain in made], digits))
    least = [number >= 20 for number in known]
    for name, some in (
        ("score of those shown, 20 videos or more known", True),
        ("score of those shown, fewer known", False),
    ):
        pairs = [(float(a.scores[a.shown].mean()), float(b.scores[b.shown].mean()))
                 for (a, b), enough in zip(made, least, strict=True) if enough is some]  # fmt: skip
        if pairs:
            print(compared(f"{name} ({len(pairs)})", pairs, 2))
    print(f"backed by videos above their channel's usual: {sum(backed)} of {len(backed)} concepts shown")
    for name, taken in (("a request", seconds), ("of it the evidence", lookups)):
        print(
            f"{name}, s: p50 {np.quantile(taken, 0.5):.2f}, p95 {np.quantile(taken, 0.95):.2f}, worst {max(taken):.2f}"
        )


def side(connection: Any, model: Any, ideas: Sequence[Any], evidence: Any) -> Side:
    from miles import novelty, recommend, wording

    scored = recommend.judged(ideas, model, evidence)
    best = {idea.title for idea, _ in recommend.select(scored, SHOWN)}
    shown = [place for place, (idea, _) in enumerate(scored) if idea.title in best]
    titles = [ideas[place].title for place in shown]
    vectors = model.embed_titles(titles)
    pairs = [float(vectors[a] @ vectors[b]) for a, b in itertools.combinations(range(len(titles)), 2)]
    words = {word for term in evidence.terms for word in wording.words(term.text)}
    words |= {word for phrase in (*evidence.before, *evidence.after) for word in wording.words(phrase.text)}
    words -= wording.stop_words()
    return Side(
        [idea.title for idea in ideas],
        np.array([100 * verdict.viral_score for _, verdict in scored]),
        np.log10([max(verdict.appeal, 1.0) for _, verdict in scored]),
        shown,
        sum(newness.copies for newness in novelty.check(connection, model, titles)),
        float(np.mean(pairs)) if pairs else 0.0,
        float(np.mean([bool(words & set(wording.words(title))) for title in titles])),
    )


def compared(name: str, pairs: Sequence[tuple[float, float]], digits: int) -> str:
    """A line of the table: both means, their difference with its interval, and in how many topics which is higher."""
    ours, plain = np.array(pairs).T
    chance = np.random.default_rng(0)
    drawn = (ours - plain)[chance.integers(0, len(pairs), (DRAWS, len(pairs)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    wins, losses = int((ours > plain).sum()), int((ours < plain).sum())
    return (
        f"{name:<44}{ours.mean():>10.{digits}f}{plain.mean():>10.{digits}f}{(ours - plain).mean():>+12.{digits}f}"
        f"   {low:+.{digits}f} to {high:+.{digits}f}   {wins} higher, {losses} lower"
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and answer of the second time, when pages and titles have been met."""
    forget(work().query_id)
    begun = time.perf_counter()
    answer = work()
    return time.perf_counter() - begun, answer


def forget(query_id: int) -> None:
    from miles import db, kept

    with db.transaction("viewer", USER) as connection:
        kept.delete(connection, query_id)


if __name__ == "__main__":
    main()
