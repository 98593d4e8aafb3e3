"""The Score lab: titles and tables in, the grid, ties, edits, and a table out."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles import lab
from miles.errors import UnreadableFile
from miles.features import PastVideo, ScoreInput
from miles.scoring import Score
from miles.title_edits import edits

SCORE = Score("", "draft", 0.2, None, 14_000.0, 9_000.0, 23_000.0, None, 0.1, "m", None)


class ByLength:
    """Likes short titles, each letter by so much log10 of views; and a known channel, which says nothing of titles."""

    def __init__(self, each: float = 0.1) -> None:
        self.each = each
        self.calls: list[int] = []

    def score(self, inputs: Sequence[ScoreInput]) -> list[Score]:
        self.calls.append(len(inputs))
        return [self._one(video) for video in inputs]

    def _one(self, video: ScoreInput) -> Score:
        length = 0 if video.history else len(video.title)
        views = 10 ** (6 - self.each * length + 0.01 * bool(video.thumbnail))
        return replace(SCORE, key=video.key, predicted_velocity=views, viral_score=1 / (1 + length))


# --- ties


def test_what_lies_closer_than_the_measured_gap_is_a_tie() -> None:
    assert lab.clearly_better(10_000 * 10 ** (lab.CLEAR + 0.001), 10_000)
    assert not lab.clearly_better(10_000 * 10 ** (lab.CLEAR - 0.001), 10_000)
    assert not lab.clearly_better(10_000, 10_000)
    assert not lab.clearly_better(10_000, 20_000)


def test_the_gap_is_where_the_measured_curve_reaches_two_in_three() -> None:
    slope = 3.849  # benchmarks/bench_ties.py
    assert 1 / (1 + math.exp(-slope * lab.CLEAR)) == pytest.approx(lab.RIGHT, abs=0.005)


def test_a_place_counts_those_that_are_clearly_better() -> None:
    appeals = [10 ** (5 - steps * lab.CLEAR) for steps in (0, 0.6, 1.2, 1.9)]
    # the second is a tie with the first, the third with the second but not with the first
    assert lab.places(appeals) == [1, 1, 2, 3]
    assert lab.places(appeals[::-1]) == [3, 2, 1, 1]
    assert lab.places([]) == []


@given(st.lists(st.floats(0, 1e10), min_size=1, max_size=12))
def test_places_follow_the_appeal_whatever_it_is(appeals: list[float]) -> None:
    places = lab.places(appeals)
    best_first = sorted(zip(appeals, places, strict=True), reverse=True)
    assert best_first[0][1] == 1
    assert [place for _, place in best_first] == sorted(places)


def test_variants_are_ordered_without_the_channel_and_judged_with_it() -> None:
    past = (PastVideo("t", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), 5),)
    model = ByLength()
    verdicts = lab.judge(model, lab.inputs(["aaaa", "a"], history=past, channel_key="youtube:x"))
    assert model.calls == [4]
    assert [(one.title, one.place) for one in verdicts] == [("a", 1), ("aaaa", 2)]
    assert {one.viral_score for one in verdicts} == {1.0}  # the channel's
    assert verdicts[0].appeal == pytest.approx(10**5.9)


# --- the grid


def test_every_title_stands_beside_every_thumbnail_and_all_is_asked_at_once() -> None:
    model = ByLength()
    verdicts = lab.judge(model, lab.inputs(["aa", "a"], thumbnails=[b"x", b"y", b"z"]))
    assert model.calls == [6]
    assert [(one.title, one.picture) for one in verdicts] == [(title, n) for title in ("a", "aa") for n in range(3)]
    assert {one.place for one in verdicts} == {1}  # a letter is noise


def test_without_thumbnails_there_is_one_variant_a_title() -> None:
    (one,) = lab.judge(ByLength(), lab.inputs(["a"]))
    assert (one.picture, one.place) == (None, 1)


# --- titles in


def test_rows_pasted_from_a_spreadsheet_give_the_column_that_is_called_title() -> None:
    found = lab.read_titles('Nr\tTitle\tNote\n1\t"Two\nlines"\tx\n2\tSecond\ty\n\n3\t\tz')
    assert found.kept == ("Two lines", "Second")
    assert found.unused == ("Nr", "Note")


def test_pasted_rows_without_names_give_their_first_column() -> None:
    assert lab.read_titles("First\t12\nSecond\t13").kept == ("First", "Second")


@pytest.mark.parametrize(
    ("data", "titles"),
    [
        (b"title,n\nA b,1\nC,2\n", ("A b", "C")),
        (b"\xef\xbb\xbfn;TITLE\n1;A, b\n", ("A, b",)),  # with a mark, semicolons
        ("title\nstra\u00dfe\n".encode("utf-16"), ("stra\u00dfe",)),
        ("title\nstra\u00dfe\n".encode("cp1252"), ("stra\u00dfe",)),
        (b"One title\nAnother\n", ("One title", "Another")),  # no names
        (b'title\n"=cmd|x"\n\'=1+1\n', ("=cmd|x", "=1+1")),  # what we wrote ourselves comes back
        (b"title\r\nA\r\n\r\nA\r\n", ("A",)),
    ],
)
def test_tables_of_titles_are_read_as_spreadsheets_write_them(data: bytes, titles: tuple[str, ...]) -> None:
    assert lab.read_table(data).kept == titles


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "No title"),
        (b"\n\n", "No title"),
        (b"title\n", "No title"),
        (b"\x00\x01", "not a table"),
        (b"x" * (lab.LARGEST_TABLE + 1), "larger than"),
        (b'title\n"' + b"x" * 200_000, "can't be read"),
    ],
)
def test_a_file_without_titles_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    csv.field_size_limit(10**9)  # as an import leaves it
    with pytest.raises(UnreadableFile, match=said):
        lab.read_table(data)


@given(st.binary(max_size=400))
def test_no_file_breaks_the_reading(data: bytes) -> None:
    try:
        found = lab.read_table(data)
    except UnreadableFile:
        return
    assert found.kept


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading(typed: str) -> None:
    for title in lab.read_titles(typed).kept:
        assert title.strip()
        assert "\n" not in title
        assert "\t" not in title


def test_the_title_being_typed_comes_first_and_once() -> None:
    assert lab.joined(" B ", "A\nB").kept == ("B", "A")
    assert lab.joined("", "A").kept == ("A",)
    many = lab.joined("new", "\n".join(f"t{n}" for n in range(60)))
    assert (len(many.kept), many.kept[0], many.left_out) == (lab.MOST_TITLES, "new", 11)


# --- out


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=6))
def test_what_is_written_is_read_again(titles: list[str]) -> None:
    kept = lab.read_titles("\n".join(title.replace("\t", " ") for title in titles)).kept
    if not kept:
        return
    verdicts = lab.judge(ByLength(), lab.inputs(kept))
    assert set(lab.read_table(lab.write_table(verdicts)).kept) == set(kept)


def test_no_cell_is_a_formula() -> None:
    written = lab.write_table(lab.judge(ByLength(), lab.inputs(["=1+1"], thumbnails=[b"x"])), ["@evil.png"])
    (row,) = csv.DictReader(io.StringIO(written.decode("utf-8-sig")))
    assert (row["title"], row["thumbnail"]) == ("'=1+1", "'@evil.png")
    assert float(row["viral_score"]) == pytest.approx(0.2)
    assert float(row["views_without_channel"]) == pytest.approx(10**5.61, rel=1e-4)


# --- edits


def test_only_edits_beyond_the_noise_are_suggested_best_first() -> None:
    title = "Ramen in a back street of Osaka (official) | Full episode #ramen"
    found = lab.suggest(ByLength(0.02), lab.inputs([title])[0])
    assert found.tried >= 4
    assert found.better[0].title == "Ramen in a back street of Osaka (official)"
    ratios = [one.ratio for one in found.better]
    assert ratios == sorted(ratios, reverse=True)
    assert min(ratios) >= 10**lab.CLEAR
    assert all(one.score > one.before for one in found.better)
    assert lab.suggest(ByLength(0.001), lab.inputs([title])[0]).better == ()


def test_a_title_that_no_rule_changes_costs_no_scoring() -> None:
    model = ByLength()
    assert lab.suggest(model, lab.inputs(["plain title of some words"])[0]) == lab.Suggestions((), 0)
    assert model.calls == []


@pytest.mark.parametrize(
    ("title", "rule", "edited"),
    [
        ("Street food in Osaka #food #japan", "without hashtags", "Street food in Osaka"),
        ("Street food in Osaka (official video)", "without the part in brackets", "Street food in Osaka"),
        ("Street food in Osaka \U0001f525\U0001f44d\U0001f3fd", "without emojis", "Street food in Osaka"),
        ("Street food in Osaka | Episode 4", "first part alone", "Street food in Osaka"),
        ("Street food | Osaka at night", "parts the other way round", "Osaka at night | Street food"),
        ("STREET FOOD IN OSAKA FOR USA FANS", "without capitals throughout", "Street food in osaka for usa fans"),
        ("The BEST street food of the USA", "without capitals throughout", "The best street food of the USA"),
        ("Street food in Osaka!!!", "calmer punctuation", "Street food in Osaka"),
        ("Is street food safe?!?!", "calmer punctuation", "Is street food safe?"),
        ("I ate at five stalls today", "numbers as digits", "I ate at 5 stalls today"),
        ("My top 10 street foods", "number first", "top 10 street foods"),
        ("Why is street food so cheap", "as a question", "Why is street food so cheap?"),
    ],
)
def test_an_edit_changes_form_alone(title: str, rule: str, edited: str) -> None:
    assert {one.rule: one.title for one in edits(title)}[rule] == edited  # type: ignore[index]


@pytest.mark.parametrize(
    "title",
    [
        "Why I left my job for ramen",  # a statement
        "How to cook ramen at home",  # no question
        "NASA and the USA today",  # names
        "twenty-five ways of rice",  # part of a number
        "Cat | Dog",  # what is left would name nothing
        "",
        "🔥🔥🔥",
    ],
)
def test_what_would_change_the_meaning_is_left_alone(title: str) -> None:
    assert [
        one
        for one in edits(title)
        if one.rule not in ("without emojis", "without capitals throughout", "parts the other way round")
    ] == []


@given(st.text(max_size=200))
def test_edits_of_anything_are_other_titles_each_once(title: str) -> None:
    found = [one.title for one in edits(title)]
    assert len(set(found)) == len(found)
    assert " ".join(title.split()) not in found
    assert all(one.strip() == one and one for one in found)


@pytest.mark.parametrize("blank", ["\u200b", "\u2060 \u200d", "\u3164", "\u2800\u2800", "\u202e", "\t\x00 "])
def test_what_nobody_can_see_is_no_title(blank: str) -> None:
    assert lab.joined(blank, f"{blank}\nStreet food\n").kept == ("Street food",)


@pytest.mark.parametrize("seen", ["😂", "\u202eשלום", "👨\u200d👩\u200d👧", "=1+1", "<b>"])
def test_what_can_be_seen_is_a_title_however_odd(seen: str) -> None:
    assert lab.joined(seen, "").kept == (seen,)


def test_a_quote_that_never_ends_is_told_and_not_guessed_at() -> None:
    with pytest.raises(UnreadableFile, match="a quote never ends"):
        lab.read_table(b'title,views\nfirst,1\n"second,2\nthird,3\n')
    assert lab.read_table(b'title\n"over\ntwo lines"\n5" pizza\n').kept == ("over two lines", '5" pizza')
