"""Titles taken apart, and lift against a truth that is planted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import patterns
from miles.patterns import RULES, TitledVideo


def rules_of(title: str) -> set[str]:
    return {RULES[number].name for number in patterns.structure(title)}


@pytest.mark.parametrize(
    ("title", "rule"),
    [
        ("7 ways to fold a towel", "List number at the start"),
        ("Top 10 bridges", "List number at the start"),
        ("The race of 1987", "Year"),
        ("A meal for $5", "Money"),
        ("Der Plan für 20 €", "Money"),
        ("The island, part 3", "Episode or part"),
        ("Capítulo 12: la isla", "Episode or part"),
        ("Is it safe?", "Question"),
        ("これは何？", "Question"),
        ("هل هذا آمن؟", "Question"),
        ("We won!", "Exclamation"),
        ("We won!!", "Repeated marks"),
        ("I said NEVER again", "ALL-CAPS word"),
        ("STOP DOING THIS now", "MOSTLY CAPITALS"),
        ("ХВАТИТ ЭТО делать", "MOSTLY CAPITALS"),
        ("A good day 🔥", "Emoji"),
        ("A song (live)", "Brackets"),
        ("新曲【公式】", "Brackets"),
        ("He said “no”", "Quotation marks"),
        ("Soup #food", "Hashtag"),
        ("A walk with @someone", "Mention"),
        ("Rome: a day", "Colon"),
        ("A song | the band", "Parts with | or –"),
        ("And then…", "Ellipsis"),
        ("POV: you forgot", "POV"),
        ("How to boil an egg", "How to"),
        ("What I eat", "I, my, we"),
        ("Your first loaf", "You, your"),
        ("Cats vs dogs", "Versus"),
        ("The best soup", "Superlative"),
        ("Don’t do this", "Warning"),
        ("A song (feat. a friend)", "Featuring"),
        ("मेरी कहानी", "Non-Latin script"),
        ("Мой day in Moscow", "Mixed scripts"),
        ("Short", "Up to 25 characters"),
        ("Short", "1–3 words"),
    ],
)
def test_a_structure_is_seen(title, rule):
    assert rule in rules_of(title)


@pytest.mark.parametrize(
    ("title", "rule"),
    [
        ("1 vs 100 chess", "List number at the start"),  # a match, not a list
        ("2026 looks bright", "Money"),
        ("Room 19870", "Year"),
        ("C# for beginners", "Hashtag"),
        ("mail me at a@b", "Mention"),
        ("It's Nora's cat", "Quotation marks"),
        ("well-known", "Parts with | or –"),
        ("At 12:30 sharp", "Colon"),
        ("𝗕𝗼𝗹𝗱 letters", "Non-Latin script"),  # still Latin, only dressed up
        ("東京の夜", "ALL-CAPS word"),  # a script without capitals
        ("Mistaken", "Warning"),
        ("Your party 5", "Episode or part"),
    ],
)
def test_a_structure_is_not_seen_where_it_is_not(title, rule):
    assert rule not in rules_of(title)


@given(st.text(max_size=200))
def test_every_title_has_one_length_and_one_number_of_words(title):
    found = rules_of(title)
    assert len([rule for rule in found if "characters" in rule]) == 1
    assert len([rule for rule in found if rule.endswith("words") and rule[-7].isdigit()]) == 1


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Don’t STOP", ["don't", "stop"]),
        ("Don´t stop, we`re back", ["don't", "stop", None, "we're", "back"]),  # accents typed for an apostrophe
        ("A song | live", ["a", "song", None, "live"]),
        ("मेरी माँ की कहानी", ["मेरी", "माँ", "की", "कहानी"]),  # vowel signs belong to their word
        ("東京タワーの夜景", ["東京", "タワー", "の", "夜景"]),
        ("สวัสดีครับ เพื่อน", ["สวัสดีครับ", "เพื่อน"]),
        ("𝗕𝗼𝗹𝗱 #Food", ["bold", "#food"]),
        ("أغنية جديدة", ["أغنية", "جديدة"]),
        ("", []),
    ],
)
def test_titles_are_taken_apart_in_any_script(title, words):
    assert patterns.tokens(title) == words


@given(st.text(max_size=200))
def test_any_text_can_be_taken_apart(title):
    assert all(word is None or (word and not word.isspace()) for word in patterns.tokens(title))


def make(
    rng: np.random.Generator,
    channels: int,
    per_channel: int,
    *,
    effect: float,
    spread: float = 0.8,
    share: object = 0.4,
    level: object = 0.0,
    series: float = 0.0,
):
    """Outcomes, a pattern, and the channels of simulated videos; the effect is on ln of the multiple."""
    number = np.repeat(np.arange(channels), per_channel)
    has = rng.random(len(number)) < np.broadcast_to(share, channels)[number]
    # `series`: how much the videos of a channel with the pattern go up and down together
    together = rng.normal(0, series, channels)[number] * has if series else 0.0
    outcomes = np.broadcast_to(level, channels)[number] + effect * has + together + rng.normal(0, spread, len(number))
    return outcomes, has, number


def test_a_planted_lift_is_found_within_its_interval():
    covered = 0
    rng = np.random.default_rng(1)
    for _ in range(100):
        result = patterns.lift(*make(rng, 60, 15, effect=math.log(1.5)))
        assert result is not None
        value, low, high, _, videos, channels = result
        assert 1.1 < value < 2.1
        assert 57 <= channels <= 60  # rarely one uses it always or never
        assert 250 < videos < 470
        covered += low <= 1.5 <= high
    assert 89 <= covered <= 100  # 95% intervals


def bootstrapped(
    rng: np.random.Generator, outcomes: np.ndarray, has: np.ndarray, channels: np.ndarray
) -> tuple[float, float]:
    """The lift's 95% interval from 1,000 draws of whole channels."""
    sizes = np.bincount(channels)
    y = outcomes - (np.bincount(channels, weights=outcomes) / sizes)[channels]
    x = has - (np.bincount(channels, weights=has) / sizes)[channels]
    products, squares = np.bincount(channels, weights=x * y), np.bincount(channels, weights=x * x)
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=1000)
    low, high = np.quantile(drawn @ products / (drawn @ squares), [0.025, 0.975])
    return math.exp(low), math.exp(high)


def test_with_many_channels_the_interval_is_that_of_a_bootstrap_over_channels():
    rng = np.random.default_rng(11)
    ratios = []
    for _ in range(20):
        world = make(rng, 150, 12, effect=0.2, series=0.4)
        result, (low, high) = patterns.lift(*world), bootstrapped(rng, *world)
        assert result is not None
        ratios.append(math.log(result[2] / result[1]) / math.log(high / low))
    assert 0.97 < np.mean(ratios) < 1.1


def test_with_few_channels_the_interval_holds_its_promise_where_a_bootstrap_does_not():
    rng = np.random.default_rng(12)
    held = drawn = 0
    for _ in range(400):
        world = make(rng, 10, 12, effect=0.2, series=0.4)
        result, (low, high) = patterns.lift(*world), bootstrapped(rng, *world)
        assert result is not None
        held += result[1] <= math.exp(0.2) <= result[2]
        drawn += low <= math.exp(0.2) <= high
    assert held / 400 > 0.93
    assert drawn / 400 < held / 400 - 0.02


@pytest.mark.parametrize(
    "world",
    [
        {"channels": 200, "per_channel": 10, "share": 0.3},  # many channels
        {"channels": 12, "per_channel": 10, "share": 0.3},  # barely enough channels
        {"channels": 40, "per_channel": 10, "share": 0.05},  # rare
        {
            "channels": 30,
            "per_channel": 20,
            "share": 0.3,
            "series": 0.5,
        },  # a channel's videos are alike: not independent
        {"channels": 30, "per_channel": 20, "share": np.r_[0.5, np.full(29, 0.04)]},  # one channel weighs most
    ],
)
def test_without_an_effect_about_one_in_twenty_is_called(world):
    rng = np.random.default_rng(2)
    p_values = []
    for _ in range(600):
        result = patterns.lift(*make(rng, effect=0.0, **world))
        assert result is not None
        p_values.append(result[3])
    called = np.mean(np.array(p_values) < 0.05)
    assert 0.01 <= called <= 0.08, called


def test_a_pattern_of_big_channels_only_has_no_lift():
    rng = np.random.default_rng(3)
    level = np.r_[np.full(30, 3.0), np.full(30, 0.0)]  # big and small channels, twentyfold apart
    share = np.r_[np.full(30, 0.8), np.full(30, 0.05)]
    outcomes, has, channels = make(rng, 60, 20, effect=0.0, share=share, level=level)
    naive = math.exp(outcomes[has].mean() - outcomes[~has].mean())
    result = patterns.lift(outcomes, has, channels)
    assert result is not None
    assert naive > 5
    assert result[1] < 1 < result[2]
    assert 0.8 < result[0] < 1.25


def test_there_is_no_lift_where_no_channel_does_both():
    outcomes = np.array([1.0, 2.0, 0.0, 0.5])
    assert patterns.lift(outcomes, np.array([True, True, False, False]), np.array([0, 0, 1, 1])) is None


def test_benjamini_hochberg_gives_the_worked_example():
    q = patterns.benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5]))
    assert q == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_few_of_the_patterns_called_are_false():
    rng = np.random.default_rng(4)
    true, p_values = np.arange(400) < 80, []
    for effective in true:
        result = patterns.lift(*make(rng, 40, 12, effect=0.5 if effective else 0.0))
        assert result is not None
        p_values.append(result[3])
    called = patterns.benjamini_hochberg(np.array(p_values)) < 0.1
    assert called[true].mean() > 0.7
    assert (~true[called]).mean() < 0.2


def test_students_t_is_turned_into_a_normal_deviate():
    # quantiles from a table of Student's t, 97.5%
    for freedom, t in ((5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)):
        assert patterns._as_normal(np.array(t), np.array(float(freedom))) == pytest.approx(1.96, abs=0.02)
        assert patterns._t_quantile(1.959964, np.array(float(freedom))) == pytest.approx(t, rel=0.01)


def titled(rng: np.random.Generator, channels: int = 40, per_channel: int = 30, **facts) -> list[TitledVideo]:
    """Videos whose titles have "purple" (twice the views), "of the" (nothing), and a channel's own word."""
    videos = []
    for channel in range(channels):
        for number in range(per_channel):
            purple = rng.random() < 0.3
            words = ["story", "of the", "purple hat" if purple else "hat", f"only{channel}"]
            multiple = math.exp(rng.normal(0, 0.5) + math.log(2) * purple)
            videos.append(TitledVideo(f"x:{channel}-{number}", " ".join(words), f"x:{channel}", multiple, "x", **facts))
    return videos


def by_name(found: list[patterns.Pattern], scope: str = "all") -> dict[str, patterns.Pattern]:
    return {one.pattern: one for one in found if one.scope == scope}


def test_mining_finds_the_word_that_matters_and_says_how_sure_it_is():
    found = by_name(patterns.mine(titled(np.random.default_rng(5))))
    # "purple" never stands without "the … hat" around it, so that the longest words around it are what is kept
    purple = found["the purple hat"]
    assert purple.kind == "ngram"
    assert 1.8 < purple.lift < 2.2
    assert purple.lift_low < 2 < purple.lift_high
    assert purple.q_value < 1e-6
    assert purple.n_channels == 40
    assert "purple" not in found


def test_mining_agrees_with_the_lift_of_one_pattern():
    videos = titled(np.random.default_rng(6))
    found = by_name(patterns.mine(videos))["the purple hat"]
    result = patterns.lift(
        np.array([math.log(video.outlier_multiple) for video in videos]),
        np.array(["purple" in video.title for video in videos]),
        np.array([int(video.channel_key.split(":")[1]) for video in videos]),
    )
    assert result is not None
    assert (found.lift, found.lift_low, found.lift_high) == pytest.approx(result[:3])
    assert (found.n_videos, found.n_channels) == result[4:]


def test_words_of_one_channel_and_stop_words_are_no_patterns():
    found = by_name(patterns.mine(titled(np.random.default_rng(7))))
    assert not any("only" in name or name in {"of", "the", "of the"} for name in found)


def test_examples_are_the_greatest_of_distinct_channels():
    videos = titled(np.random.default_rng(8))
    examples = by_name(patterns.mine(videos))["the purple hat"].examples
    purple = sorted((v for v in videos if "purple" in v.title), key=lambda v: -v.outlier_multiple)
    assert len(examples) == patterns.EXAMPLES
    assert examples[0] == purple[0].candidate_id
    assert len({key.split("-")[0] for key in examples}) == patterns.EXAMPLES


def test_a_part_of_the_data_has_patterns_of_its_own_if_it_is_large_enough():
    rng = np.random.default_rng(9)
    large = titled(rng, 30, 30, category="Music", language="pt-br", media_type="short")
    small = [
        TitledVideo(f"y:{v.candidate_id}", v.title, f"y:{v.channel_key}", v.outlier_multiple, "y", category="Comedy")
        for v in titled(rng, 15, 30)
    ]
    scopes = {one.scope for one in patterns.mine([*large, *small])}
    assert scopes == {"all", "platform:x", "category:Music", "language:pt", "format:short"}


def test_nothing_comes_of_nothing():
    assert patterns.mine([]) == []
    assert patterns.mine([TitledVideo("x:1", "One", "x:c", 1.0, "x")]) == []


def weekly_corpus(rng: np.random.Generator, *, share, effect) -> patterns.Corpus:
    """80 channels with 60 videos each over 12 weeks; `share` and `effect` of "Question" by week."""
    channel = np.repeat(np.arange(80), 60)
    week = rng.integers(0, 12, len(channel))
    has = rng.random(len(channel)) < np.array([share(one) for one in range(12)])[week]
    outcome = rng.normal(0, 0.6, len(channel)) + has * np.array([effect(one) for one in range(12)])[week]
    bit = patterns.form_bit("Question")
    assert bit is not None
    return patterns.Corpus.of(channel=channel, outcome=outcome, forms=has * bit, week=week)


@pytest.mark.parametrize(
    ("share", "effect", "direction"),
    [
        (lambda week: 0.05 + 0.02 * week, lambda week: 0.3, "rising"),
        (lambda week: 0.3, lambda week: 0.8 if week < 8 else 0.0, "saturated"),
        (lambda week: 0.05 + 0.02 * week, lambda week: 0.8 if week < 8 else 0.0, "saturated"),  # more, for less
        (lambda week: 0.3 - 0.02 * week, lambda week: 0.3, "fading"),
        (lambda week: 0.2, lambda week: 0.3, "steady"),
    ],
)
def test_a_planted_trend_is_named(share, effect, direction):
    corpus = weekly_corpus(np.random.default_rng(13), share=share, effect=effect)
    found = patterns.associations(corpus, "structure", np.ones(len(corpus.channel), dtype=bool))
    (one,) = [one for one in found.surest if one.pattern == "Question"]
    assert one.trend is not None
    assert one.trend.direction == direction
    assert one.trend.growth_low < one.trend.growth < one.trend.growth_high


def test_without_a_trend_one_is_rarely_named():
    rng = np.random.default_rng(14)
    named = 0
    for _ in range(60):
        corpus = weekly_corpus(rng, share=lambda week: 0.2, effect=lambda week: 0.1)
        found = patterns.associations(corpus, "structure", np.ones(len(corpus.channel), dtype=bool))
        (one,) = [one for one in found.surest if one.pattern == "Question"]
        named += one.trend is not None and one.trend.direction != "steady"
    assert named <= 10  # two questions are asked, each wrong one time in twenty


def test_a_planted_difference_between_two_sets_is_the_surest():
    rng = np.random.default_rng(15)
    channel = np.repeat(np.arange(120), 30)
    question, number = (rng.random(len(channel)) < 0.3 for _ in range(2))
    here = rng.random(len(channel)) < 0.5
    outcome = rng.normal(0, 0.6, len(channel)) + question * np.where(here, 0.5, 0.0) + number * 0.2
    bits = question * patterns.form_bit("Question") + number * patterns.form_bit("Number")
    corpus = patterns.Corpus.of(channel=channel, outcome=outcome, forms=bits, week=np.full(len(channel), -1))
    first, *others = patterns.compare(
        patterns.associations(corpus, "structure", here), patterns.associations(corpus, "structure", ~here)
    )
    assert first.here.pattern == "Question"
    assert first.low < math.exp(0.5) < first.high
    assert first.q_value < 0.001
    assert all(other.q_value > 0.01 for other in others)


def corpus_of_words(rng: np.random.Generator, channels: int = 60, per_channel: int = 40) -> patterns.Corpus:
    """Titles with some of 12 words, each word with an effect of its own."""
    channel = np.repeat(np.arange(channels), per_channel)
    has = rng.random((len(channel), 12)) < 0.25
    video, ngram = np.nonzero(has)
    shuffled = rng.permutation(len(video))
    return patterns.Corpus.of(
        channel=channel,
        outcome=np.where(rng.random(len(channel)) < 0.1, np.nan, rng.normal(0, 0.6, len(channel)) + has @ rng.normal(0, 0.3, 12)),
        forms=np.zeros(len(channel)), week=rng.integers(-1, 12, len(channel)),
        ngrams=[f"word {number}" for number in range(12)], hit_video=video[shuffled], hit_ngram=ngram[shuffled],
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.15, 0.7, 1.0])
def test_few_and_many_videos_are_counted_in_two_ways_with_one_result(share: float, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(16)
    corpus = corpus_of_words(rng)
    members = rng.random(len(corpus.channel)) < share
    found = []
    for few in (0.0, 1.1):
        monkeypatch.setattr(patterns, "FEW", few)
        found.append(patterns.associations(corpus, "ngram", members))
    assert found[0].surest == found[1].surest
    assert found[0].tested == found[1].tested == (0 if share == 0 else 12)


def test_of_a_large_set_whole_channels_are_drawn_that_tell_the_same():
    corpus = corpus_of_words(np.random.default_rng(17), channels=400)
    everything = np.ones(len(corpus.channel), dtype=bool)
    whole = patterns.associations(corpus, "ngram", everything)
    drawn = patterns.associations(corpus, "ngram", everything, most_titles=8000)
    assert (whole.titles, whole.of) == (16_000, 16_000)
    assert (drawn.titles, drawn.of) == (8000, 16_000)  # 200 channels with 40 titles each
    lifts = {one.pattern: one for one in whole.surest}
    inside = [one.lift_low <= lifts[one.pattern].lift <= one.lift_high for one in drawn.surest]
    assert sum(inside) >= 11
    few = patterns.associations(corpus, "ngram", everything, most_titles=10)
    assert few.titles == 40  # one channel at least, and whole
