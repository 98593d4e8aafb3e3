"""Words and titles as text."""

import pytest

from miles import wording


@pytest.mark.parametrize(
    ("one", "other", "copy"),
    [
        ("I ate street food for 24 hours", "I Ate Street Food For 24 Hours!!!", True),
        ("I ate street food for 24 hours", "I ate street food for 48 hours", True),
        ("for 24 hours I ate street food", "I ate street food for 24 hours", True),  # another order
        ("Three stalls, one verdict", "I ate street food for 24 hours", False),
        ("🔥", "🔥", True),
        ("🔥", "💧", False),
    ],
)
def test_near_copies_are_told_from_new_titles(one: str, other: str, copy: bool):
    assert (wording.similarity(one, other) >= wording.NEAR_COPY) is copy


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("dogs", "dog"),
        ("recipes", "recipe"),
        ("stories", "story"),
        ("movies", "movie"),
        ("classes", "class"),
        ("boxes", "box"),
        ("houses", "house"),
        ("people", "person"),
        ("chess", "chess"),
        ("physics", "physics"),
        ("news", "news"),
        ("tennis", "tennis"),
        ("gas", "gas"),
        ("kochen", "kochen"),
        ("料理", "料理"),
    ],
)
def test_a_plural_is_told_from_a_word_that_ends_in_s(word: str, one: str):
    assert wording.singular(word) == one
    assert wording.plural(f"old {word}") is (word != one)


@pytest.mark.parametrize(
    ("phrase", "before_a_noun"),
    [
        ("Street dogs", "Street dog"),
        ("movies", "movie"),
        ("personal finance", "personal finance"),
        ("people", "people"),
        ("Stories", "story"),
    ],
)
def test_a_phrase_before_a_noun_is_singular(phrase: str, before_a_noun: str):
    assert wording.attribute(phrase) == before_a_noun


@pytest.mark.parametrize(
    ("word", "verb"),
    [("cooking", True), ("turned", True), ("slowly", True), ("pudding", False), ("bread", False), ("red", False)],
)
def test_verb_forms_are_told_by_their_endings(word: str, verb: bool):
    assert wording.verbal(word) is verb


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("iPhone in 10 seconds", "iPhone in 10 seconds"),  # begins small on purpose
        ("eFootball", "eFootball"),
        ("street food", "Street food"),
        ("éclair day", "Éclair day"),
        ("", ""),
    ],
)
def test_a_name_that_begins_small_on_purpose_keeps_its_beginning(value: str, written: str) -> None:
    assert wording.upper_first(value) == written


def test_capitals_of_titles_leave_names_as_they_are() -> None:
    assert wording.title_case("is iPhone still worth it") == "Is iPhone Still Worth it"
    assert wording.title_case("iPhone day") == "iPhone Day"


@pytest.mark.parametrize(
    ("phrase", "part"),
    [
        ("don't blink", True),
        ("don`t blink", True),  # as many type it
        ("we´re back", True),
        ("the world's", True),  # best
        ("coupe d'afrique", False),
        ("garry's mod", False),
        ("rock'n'roll", False),
        ("sri lanka", False),
    ],
)
def test_parts_of_sentences_are_told_from_things(phrase: str, part: bool) -> None:
    assert wording.contracted(phrase) is part
