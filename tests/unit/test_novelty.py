"""What is looked for to tell whether a title is new, and what counts as a copy."""

import pytest

from miles import novelty, wording
from miles.novelty import Newness


@pytest.mark.parametrize(
    ("title", "search"),
    [
        ("Pasta", "('pasta')"),
        ("Pasta at home", "('pasta' & 'home')"),  # of two words none may be missing
        ("The best pasta at home", "('pasta' & 'best') | ('pasta' & 'home') | ('best' & 'home')"),
        ("What is it?", "('what' & 'is') | ('what' & 'it') | ('is' & 'it')"),  # nothing but small words
        ("Don't eat “pasta”!", "('pasta' & 'don') | ('pasta' & 'eat') | ('don' & 'eat')"),
        ("🔥", ""),
    ],
)
def test_titles_are_looked_for_that_lack_one_of_the_telling_words_at_most(title: str, search: str):
    assert novelty.asked(title) == search


def test_of_a_long_title_the_longest_words_are_looked_for():
    search = novelty.asked(" ".join(letter * length for length, letter in enumerate("abcdefghijklmnop", start=3)))
    words = {word.strip("()' ") for part in search.split("|") for word in part.split("&")}
    assert len(words) == novelty.TELLING
    assert "aaa" not in words


@pytest.mark.parametrize(
    ("likeness", "same_words", "copies"),
    [
        (0.5, 0.2, False),
        (novelty.REWORDING, 0.2, True),  # the same in other words
        (0.5, wording.NEAR_COPY, True),  # the same words about something else
        (None, 0.7, False),  # no vectors are kept
        (None, 0.9, True),
    ],
)
def test_a_copy_says_the_same_or_uses_the_same_words(likeness: float | None, same_words: float, copies: bool):
    assert Newness(None, likeness, same_words).copies is copies
