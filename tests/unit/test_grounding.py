"""What is read from the titles of a topic: words, phrases, numbers, lengths; what backs a title."""

from dataclasses import replace

import pytest
from topics import LIFTS, VIDEOS, evidence, video

from miles import grounding
from miles.grounding import Evidence, Spread


def test_words_that_go_with_better_results_come_first_and_say_by_how_much():
    terms = grounding.vocabulary(VIDEOS, "street food")
    by_text = {term.text.casefold(): term for term in terms}
    assert "night" in terms[0].text.casefold() or "market" in terms[0].text.casefold()
    assert terms[0].lift is not None
    assert terms[0].lift > 1.2
    assert by_text["grandmother"].lift is not None
    assert by_text["grandmother"].lift < 0.9
    assert by_text["grandmother"].channels == 8


def test_the_topic_itself_and_stop_words_are_no_vocabulary():
    words = {word for term in grounding.vocabulary(VIDEOS, "street foods") for word in term.text.casefold().split()}
    assert words.isdisjoint({"street", "food", "foods", "with", "my", "the", "through"})


def test_one_channels_habit_is_no_word_of_the_topic():
    habit = [video(n, f"Dragonfruit street food {n}", 9.0, channel="One") for n in range(30, 50)]
    assert "dragonfruit" not in {
        term.text.casefold() for term in grounding.vocabulary([*VIDEOS, *habit], "street food")
    }


def test_without_measured_results_words_have_no_lift():
    bare = [replace(one, outlier_multiple=None) for one in VIDEOS]
    assert {term.lift for term in grounding.vocabulary(bare, "street food")} == {None}


@pytest.mark.parametrize("multiple", [0.0, None])
def test_videos_without_views_do_not_break_the_vocabulary(multiple: float | None):
    grounding.vocabulary([replace(one, outlier_multiple=multiple) for one in VIDEOS], "street food")


def test_numbers_are_those_that_several_channels_use():
    titles = ["24 hours in Lima", "I ate for 24 hours", "Only 7 dollars", "100% real 10:30", "4K 60fps", "2024 recap"]
    assert grounding.numbers([video(n, title) for n, title in enumerate(titles)]) == (24,)


def test_a_word_is_a_thing_where_it_ends_phrases_behind_an_article_or_the_like():
    titles = [f"Spicy {thing} in the kitchen" for thing in ("noodles", "rice", "soup", "bread", "beans", "cake")]
    things = {
        term.text.casefold(): term for term in grounding.vocabulary([video(n, t) for n, t in enumerate(titles)], "x")
    }
    assert things["kitchen"].noun
    assert things["kitchen"].common
    assert not things["spicy"].noun


def test_the_end_of_something_longer_is_no_thing():
    titles = [f"{name} in the Call of Duty" for name in ("Anna", "Ben", "Cleo", "Dina", "Emil", "Finn")]
    titles += [f"{name} says don`t blink" for name in ("Gus", "Hana", "Ines", "Jon", "Kai", "Lea")]
    terms = grounding.vocabulary([video(n, title) for n, title in enumerate(titles)], "x")
    things = {term.text.casefold() for term in terms if term.noun}
    assert not things & {"duty", "don't blink", "blink", "t blink"}
    assert not any(word in ("t", "s") for term in terms for word in term.text.split())


def test_only_videos_above_their_channels_usual_stand_for_a_word():
    terms = grounding.vocabulary(VIDEOS, "street food")
    assert all(one.above_usual for term in terms for one in term.examples)
    grandmother = next(term for term in terms if term.text == "grandmother")
    assert grandmother.examples == ()
    assert (grandmother.measured, grandmother.stayed) == (8, 8)


@pytest.mark.parametrize(
    ("multiple", "score", "able"),
    [
        (1.2, 0.0, True),
        (1.0, 0.9, False),  # no better than its channel's other videos, whatever the model thought
        (0.4, 0.9, False),
        (None, 0.2, True),  # no usual known: the chance alone
        (None, 0.05, False),
        (None, None, False),
    ],
)
def test_what_backs_a_concept_does_better_than_usual(multiple: float | None, score: float | None, able: bool):
    assert replace(video(1, "A title", multiple), viral_score=score).above_usual is able


def test_phrases_around_the_topic_are_those_of_several_channels():
    titles = [
        "How to make pasta",
        "How to make PASTA!",
        "Rome | how to make pasta",
        "Pasta at home | Rome",
        "Pasta at home",
        "Why pasta at home",  # words on both sides: none of them makes a phrase with the topic alone
        "My pasta",
    ]
    before, after = grounding.around([video(n, title) for n, title in enumerate(titles)], "pasta")
    assert [phrase.text for phrase in before] == ["how to make"]
    assert (before[0].videos, before[0].channels) == (3, 3)
    assert [phrase.text for phrase in after] == ["at home"]
    assert after[0].videos == 2
    one = grounding.around([video(n, title, channel="One") for n, title in enumerate(titles)], "pasta")
    assert one == ((), ())


def test_spans_of_time_are_those_that_several_channels_use():
    titles = [
        "24 hours in Lima",
        "I ate for 24 Hours",
        "A 24-hour queue",
        "100 days of rice",
        "1 day of rice",
        "2 day rice",
    ]
    assert grounding.times([video(n, title) for n, title in enumerate(titles)]) == ("24 hours",)


def test_lengths_tell_what_took_off_from_what_did_not():
    went = [video(n, "x" * 40, 2.0, duration=20.0 + n) for n in range(5)]
    failed = [video(10 + n, "x" * 70, 0.5, duration=300.0) for n in range(5)]
    told = grounding.lengths([*went, *failed, video(99, "x", None)])
    assert told.winners_title == Spread(40.0, 40.0, 40.0, 5)
    assert told.flops_title == Spread(70.0, 70.0, 70.0, 5)
    assert told.winners_duration == Spread(21.0, 22.0, 23.0, 5)
    assert grounding.lengths(went[:4]).winners_title is None


def test_a_topics_own_patterns_are_told_within_its_channels():
    videos = [
        video(n, f"{'Which' if asking else 'This'} pasta{'?' if asking else ''}", multiple, channel=f"{n // 6}")
        for n in range(72)
        for asking in [n % 2 == 1]
        for multiple in [(2.0 if asking else 1.0) * (1 + n % 6 / 10) * (n // 6 + 1)]  # big channels and small ones
    ]
    (question,) = [lift for lift in grounding.own_lifts(videos) if lift.pattern == "Question"]
    assert question.scope == "topic"
    assert 1 < question.low < question.lift < question.high
    assert question.channels == 12
    assert grounding.own_lifts(VIDEOS[:5]) == ()


def test_reciprocal_ranks_put_what_two_rankings_share_first():
    worth = grounding.fused(["a", "b", "c"], ["c", "d"])
    assert sorted(worth, key=lambda key: -worth[key]) == ["c", "a", "b", "d"] or worth["b"] == worth["d"]
    assert worth["c"] > worth["a"] > worth["b"]


@pytest.mark.parametrize(
    ("topic", "search"),
    [
        ("street food", "street* food OR foods"),
        ("dogs", "dogs OR dog"),
        ("the recipes of my mother", "recipe* mother*"),
        ("料理", "料理*"),
        ("what is it", "what OR whats is OR iss it OR its"),  # nothing but small words: all of them
    ],
)
def test_short_words_are_sought_in_singular_and_plural_and_long_ones_by_their_beginning(topic: str, search: str):
    assert grounding.typed(grounding.topic_words(topic)) == search


def test_backing_is_on_the_topic_and_shares_most_with_the_title():
    known = evidence()
    (best, *_) = grounding.backing_of("Night market at midnight", [known.terms[0]], known)
    assert "night market" in best.title
    assert grounding.backing_of("Night market", (), replace(known, reach="everything")) == []
    assert grounding.backing_of("Night market", (), Evidence("x", "nothing", (), (), LIFTS, ())) == []


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("The DOGS of the street", True),
        ("A dog in Streets", True),
        ("Streets and a dogma", False),
        ("Only a dog", False),
    ],
)
def test_a_title_that_has_the_words_was_not_found_by_its_meaning_alone(title: str, found: bool):
    assert grounding.says(title, ["dogs", "street"]) is found
