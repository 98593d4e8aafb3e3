"""The offline generator: titles from frames and mined words, and what is said of them."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topics import VIDEOS, evidence, video

from miles import grounding, offline, recommend, wording
from miles.grounding import Evidence, Lift, Phrase, Term


def test_the_offline_generator_is_deterministic_by_seed():
    assert offline.compose(evidence(), "funny", 12) == offline.compose(evidence(), "funny", 12)
    assert offline.compose(evidence(), "funny", 12) != offline.compose(evidence(), "funny", 12, seed=1)


def test_offline_concepts_are_whole_and_backed():
    ideas = offline.compose(evidence(), "calm", 20)
    assert len(ideas) == 20
    winners = {one.candidate_id for one in evidence().winners}
    for idea in ideas:
        assert idea.title
        assert "{" not in "".join([idea.title, idea.hook, *idea.outline, idea.thumbnail_idea])
        assert idea.hook
        assert len(idea.outline) >= 4
        assert idea.why
        assert "streetfood" in idea.hashtags
        assert idea.evidence
        assert winners.issuperset(idea.evidence)
    assert len({idea.title for idea in ideas}) == 20


def test_offline_concepts_use_the_words_that_lift_on_the_topic():
    titles = " ".join(idea.title for idea in offline.compose(evidence(), "", 8)).casefold()
    assert "night market" in titles
    without = offline.compose(evidence(terms=()), "", 8)
    assert not any("market" in idea.title.casefold() for idea in without)


def test_patterns_that_lift_move_their_frames_up():
    def questions(lifts: tuple[Lift, ...]) -> int:
        """How far up questions stand, all in all."""
        ideas = offline.compose(evidence(patterns=lifts), "", 60)
        return -min(place for place, idea in enumerate(ideas) if "?" in idea.title)

    strong = (Lift("all", "structure", "Question", 2.0, 1.5, 2.5, 100),)
    weak = (Lift("all", "structure", "Question", 0.5, 0.4, 0.6, 100),)
    assert questions(strong) > questions(()) > questions(weak)


def test_why_gives_the_numbers_of_the_narrowest_scope():
    ideas = offline.compose(evidence(), "", 20)
    asking = next(idea for idea in ideas if "?" in idea.title)
    assert "Question: 1.30× the same channel's other titles in Travel & Events (1.10–1.50, 120 channels)" in asking.why


def test_a_pattern_that_does_worse_is_a_risk_and_no_reason():
    worse = replace(evidence().patterns[0], lift=0.8, low=0.7, high=0.9)
    ideas = offline.compose(replace(evidence(), patterns=(worse,)), "", 40)
    asking = [idea for idea in ideas if grounding.carried(idea.title, (worse,))]
    assert asking
    assert all("0.80×" in idea.risk and "0.80×" not in idea.why for idea in asking)


def test_a_vibe_changes_the_concepts_and_an_unknown_one_does_not_break_them():
    funny = [idea.title for idea in offline.compose(evidence(), "funny", 8)]
    calm = [idea.title for idea in offline.compose(evidence(), "calm and slow", 8)]
    assert funny != calm
    assert len(offline.compose(evidence(), "liminal 🌀 vaporwave", 8)) == 8


@pytest.mark.parametrize(
    ("topic", "language"),
    [("屋台料理", None), ("طعام الشارع", None), ("comida callejera", "es")],
)
def test_english_frames_are_not_mixed_with_another_language(topic: str, language: str | None):
    ideas = offline.compose(evidence(topic=topic, terms=()), "", 8, language=language)
    assert ideas
    words = {word for idea in ideas for word in idea.title.casefold().split()}
    assert words.isdisjoint({"the", "is", "i", "my", "this", "you"})


def test_without_any_video_there_are_concepts_that_claim_no_backing():
    nothing = Evidence("street food", "nothing", (), (), (), ())
    ideas = offline.compose(nothing, "", 8)
    assert len(ideas) == 8
    assert all(idea.evidence == () for idea in ideas)
    assert all("No measured pattern backs this one" in idea.why for idea in ideas)
    assert "nothing backs these concepts" in recommend.note(nothing, None, 8, 8)


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=200), st.text(max_size=60), st.lists(st.text(min_size=1), max_size=6))
def test_no_topic_vibe_or_title_breaks_the_generator(topic: str, vibe: str, titles: list[str]):
    videos = [video(n, title) for n, title in enumerate(titles)]
    known = evidence(
        topic=topic, winners=tuple(videos), flops=(), terms=grounding.vocabulary(videos * 2, topic), numbers=()
    )
    for idea in recommend.original(offline.compose(known, vibe, 6), known):
        assert idea.title


def titles(wanted: int = 40, **facts) -> list[str]:
    return [idea.title for idea in offline.compose(evidence(**facts), "", wanted)]


def test_most_titles_hold_a_thing_of_the_topic_while_there_are_any():
    things = ("night market", "noodles", "food truck", "queue")
    made = titles(12, terms=tuple(Term(thing, 9, 9, 1.2, (), common=True) for thing in things))
    assert sum(any(thing in title.casefold() for thing in things) for title in made) >= 9


def test_titles_are_made_of_what_channels_write_around_the_topic():
    before, after = (Phrase("how to make", 9, 8, 1.4),), (Phrase("at home", 5, 5, 1.2), Phrase("Tycoon", 5, 5, 1.2))
    made = titles(60, topic="pasta", terms=(), before=before, after=after)
    assert "How to make pasta at home" in made
    assert not any("How to make pasta Tycoon" in title for title in made)
    (idea,) = [
        one
        for one in offline.compose(evidence(topic="pasta", terms=(), before=before, after=after), "", 60)
        if one.title == "How to make pasta at home"
    ]
    assert "“how to make” is in 9 titles of 8 channels on this topic, 1.40× the topic's average." in idea.why


def test_what_goes_with_worse_results_is_not_used():
    poor = (Term("grandmother", 8, 8, 0.6, (), common=True),)
    assert not any("grandmother" in title.casefold() for title in titles(terms=poor))
    assert any("grandmother" in title.casefold() for title in titles(terms=(replace(poor[0], lift=1.2),)))


def test_words_that_name_nothing_stand_in_no_noun_slot():
    assert not any("spicy" in title.casefold() for title in titles(terms=(Term("Spicy", 8, 8, 2.0, (), noun=False),)))


@pytest.mark.parametrize(
    ("topic", "several", "wrong"),
    [
        ("dogs", True, r"\b(?:dogs (?:mistakes|tricks|facts|day|ending)|is dogs|dogs is|it looks)\b"),
        ("street food", False, r"\b(?:are street food|street food are|they look)\b"),
        ("star wars", False, r"\bstar war\b|\bare star wars|star wars are\b"),
    ],
)
def test_grammar_follows_the_topics_number(topic: str, several: bool, wrong: str):
    made = titles(80, topic=topic, several=several)
    assert len(made) > 30
    assert not [title for title in made if re.search(wrong, title, re.IGNORECASE)]


def test_english_titles_hold_no_words_of_another_script():
    terms = tuple(replace(term, text=text) for term, text in zip(evidence().terms, ("нуля", "واجي"), strict=False))
    made = " ".join(titles(terms=terms))
    assert not re.search("[Ѐ-ӿ؀-ۿ]", made)
    own = " ".join(idea.title for idea in offline.compose(evidence(topic="улица", terms=terms[:1]), "", 40))
    assert "нуля" in own.casefold()


def test_no_article_stands_before_a_name():
    named = titles(80, terms=(Term("Bangkok", 9, 9, 1.5, ()), Term("Lima", 9, 9, 1.5, ())))
    assert any("Bangkok" in title for title in named)
    assert not any(re.search(r"\b(?:the|every) (?:street food )?(?:Bangkok|Lima)", title) for title in named)


@pytest.mark.parametrize(("title", "written"), [("Modded GTA 5 is back", "GTA 5"), ("I play gta 5 and lose", "gta 5")])
def test_a_topic_is_written_as_titles_write_it(title: str, written: str):
    winners = tuple(video(n, title, 2.0) for n in range(3))
    assert any(written in one for one in titles(topic="gta 5", winners=winners, terms=()))


def test_a_name_with_a_capital_inside_is_written_so_whatever_the_rest_of_the_titles_looks_like():
    winners = tuple(video(n, f"The NEW iPhone {n} Is Here", 2.0) for n in range(3))
    made = titles(topic="iphone", winners=winners, terms=())
    assert made
    assert all("iPhone" in one for one in made)


@pytest.mark.parametrize("language", ["de", "es", "pt", "fr", "hi"])
def test_other_languages_have_frames_of_their_own(language: str):
    made = titles(topic="tango", language=language, terms=())
    bare = {one["title"].replace("{Topic}", "Tango") for one in offline._frames()["frames"]["any"]}
    assert len([title for title in made if title not in bare]) >= 6


def test_a_word_that_often_fails_is_a_risk():
    risky = Term("ladle", 10, 9, 1.1, tuple(VIDEOS[:1]), common=True, measured=8, stayed=6)
    ideas = [idea for idea in offline.compose(evidence(terms=(risky,)), "", 20) if "ladle" in idea.title.casefold()]
    assert ideas
    assert all("“ladle”: 6 of 8 videos with it stayed below their channel's usual." in idea.risk for idea in ideas)


def test_how_long_to_make_it_is_told_from_what_took_off():
    short = [video(n, f"Street food {n}", 2.0, duration=20.0 + n) for n in range(10)]
    ideas = offline.compose(evidence(lengths=grounding.lengths(short)), "", 3)
    assert all(
        "of 10 videos on the topic that took off, the middle half is 22 to 27 s long" in idea.outline[-1]
        for idea in ideas
    )


def test_titles_to_avoid_are_avoided():
    first = titles(10)
    again = [idea.title for idea in offline.compose(evidence(), "", 10, avoid=first)]
    assert len(again) == 10
    assert not any(wording.alike(one, other) for one in again for other in first)


def test_hook_outline_and_picture_name_the_topics_things():
    for idea in offline.compose(evidence(), "", 20):
        said = " ".join([idea.hook, *idea.outline, idea.thumbnail_idea]).casefold()
        assert any(thing in said for thing in ("night market", "stall", "tour"))
