"""The pure parts of making a recommendation: what is original, what is shown and in which order, what is said of it."""

from collections.abc import Sequence

import pytest
from topics import VIDEOS, evidence, idea, score

from miles import lab, offline, recommend
from miles.concepts import Idea, Request
from miles.errors import MilesError
from miles.features import ScoreInput
from miles.grounding import Evidence
from miles.novelty import Newness
from miles.scoring import Score


def test_ideas_that_copy_the_evidence_or_each_other_are_left_out():
    stolen = VIDEOS[0].title.upper()
    flop = VIDEOS[8].title + "!"
    kept = recommend.original([idea(stolen), idea("Fresh one"), idea("Fresh one."), idea(flop)], evidence())
    assert [one.title for one in kept] == ["Fresh one"]


class LengthModel:
    """A fake: the longer the title, the more views it expects."""

    version = "length"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, videos: Sequence[ScoreInput]) -> list[Score]:
        self.batches.append(len(videos))
        assert all(one.mode == "draft" for one in videos)
        return [score(one.key, 10.0 * 1.2 ** len(one.title), len(one.title) / 200) for one in videos]


def shown(ideas: Sequence[Idea], n: int) -> list[str]:
    return [one.title for one, _ in recommend.select(recommend.judged(ideas, LengthModel(), evidence()), n)]


def test_all_are_scored_in_one_batch_and_the_best_kept_in_order():
    model = LengthModel()
    scored = recommend.judged(offline.compose(evidence(), "", 20), model, evidence())
    assert model.batches == [20]
    chosen = recommend.select(scored, 5)
    appeals = [verdict.appeal for _, verdict in chosen]
    assert len(chosen) == 5
    assert appeals == sorted(appeals, reverse=True)
    assert appeals[0] == max(verdict.appeal for _, verdict in scored)


def test_a_draft_has_the_topics_category_and_language_and_no_channel():
    draft = recommend.as_draft("A title", evidence(language="pt"))
    assert (draft.title, draft.category_id, draft.language, draft.channel_id) == ("A title", 19, "pt", None)
    assert recommend.as_draft("A title", evidence(language="und")).language is None


def test_alike_ones_fill_up_only_where_different_ones_do_not_suffice():
    alike = [idea("One long title about dumplings tonight"), idea("One long title about dumplings today")]
    assert shown([*alike, idea("Short")], 2) == [alike[0].title, "Short"]
    assert len(shown(alike, 2)) == 2


def test_ideas_with_the_same_backing_fill_up_last():
    one, other, third = (
        idea("A first title of some length", "a"),
        idea("Another, quite different", "a"),
        idea("Third", "b"),
    )
    assert shown([one, other, third], 2) == [one.title, third.title]


def finished(*titles: str, likeness: float | None = 0.4) -> tuple[recommend.Concept, ...]:
    new = Newness(None, likeness, 0.0)
    chosen = recommend.judged([idea(title, "youtube:v0", "youtube:v8") for title in titles], LengthModel(), evidence())
    return recommend.finished(chosen, dict.fromkeys(titles, new), evidence())


def test_what_the_model_cannot_tell_apart_shares_a_place():
    long, alike, short = "A title of thirty letters here", "A title of thirty letters too", "A short one"
    assert [one.place for one in finished(long, alike, short)] == [1, 1, 3]
    assert lab.CLEAR > 0


def test_a_concept_cites_only_what_can_back_it():
    (concept,) = finished("A title")
    assert concept.evidence == ("youtube:v0",)  # v8 came to half of its channel's usual
    assert recommend.backing(idea("A title", "youtube:v0", "youtube:unknown"), evidence()) == ("youtube:v0",)
    assert recommend.backing(idea("A title", "youtube:v0"), evidence(reach="everything")) == ()


def test_novelty_is_the_distance_to_the_nearest_known_title():
    (concept,) = finished("A title")
    assert concept.novelty == pytest.approx(0.6)
    (without,) = finished("A title", likeness=None)
    assert without.novelty is None


def test_a_chance_below_the_ordinary_one_is_a_risk():
    low, high = finished("Short one", "A title that is as long as titles of this kind get")
    assert low.risk == "Risk The model gives it 4 in 100, where 10 is ordinary."
    assert high.risk == "Risk"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"by_meaning": 3}, "about “street food”, 3 of them found by meaning"),
        ({"winners": ()}, "so nothing backs these concepts"),
        ({"threshold": 0.1}, "8 of the 8 best are also scored above the ordinary 10 in 100"),
        ({"without_meaning": "No vectors."}, "found by their words alone. No vectors."),
        ({"reach": "everything"}, "nothing backs these concepts"),
        ({"reach": "some words"}, "No title has all of “street food”"),
    ],
)
def test_the_note_says_what_the_evidence_is(facts: dict, said: str):
    assert said in recommend.note(evidence(**facts), None, 5, 5)


def test_the_note_says_what_was_left_out():
    said = recommend.note(evidence(), None, 3, 5, 4)
    assert "Left out for repeating a known title: 4." in said
    assert "3 instead of 5" in said
    nothing = Evidence("street food", "nothing", (), (), (), ())
    assert "nothing backs these concepts" in recommend.note(nothing, None, 5, 5)


@pytest.mark.parametrize("wrong", [Request(" \x00 "), Request("x", number=0), Request("x", number=21)])
def test_a_request_that_makes_no_sense_is_refused(wrong: Request):
    with pytest.raises(MilesError):
        recommend.checked(wrong)


def test_a_request_is_worked_on_without_line_breaks():
    assert recommend.checked(Request("street\n food", "a\u202eb")) == Request("street food", "a b")
