"""Concepts as a document and as a table: whole, and safe to open."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from miles.concepts import COLUMNS, Concept, Known, Recommendation, Request, Usage, to_csv, to_markdown
from miles.grounding import Backing, Evidence

VIDEO = Backing(
    "youtube:a", "Night *market*", "https://example.org/a(1)", "The <Cook>", "youtube:c", None, "en", 9, 0.4, 2.0
)
CONCEPT = Concept(
    title="A stall that opens at midnight",
    hook="A shutter rolls up",
    outline=("First", "Second"),
    thumbnail_idea="Steam",
    hashtags=("street_food", "night"),
    why="It leans on a question.",
    risk="Somebody was first.",
    evidence=("youtube:a", "youtube:gone"),
    viral_score=0.37,
    base_rate=0.1,
    predicted_multiple=None,
    nearest=Known("youtube:b", "A stall at noon", "javascript:alert(1)"),
    novelty=0.42,
    place=1,
)
MADE = Recommendation(
    Request("street food", "calm", "youtube", "en", 2), (CONCEPT, replace(CONCEPT, title="Other", place=2)), "scripted-1",
    Evidence("street food", "topic", (VIDEO,), (), (), ()), "Based on 9 videos.", Usage(), "m-1", 12,
    datetime(2026, 5, 1, 12, tzinfo=UTC),
)  # fmt: skip


def table(made: Recommendation) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(made))))


def test_the_document_says_all_of_a_concept_and_what_it_rests_on():
    document = to_markdown(MADE)
    for part in (
        "# Concepts: street food (calm)",
        "asked 2026-05-01 12:00 UTC; platform youtube; language en; scored by model m-1.",
        "## 1. A stall that opens at midnight",
        "## 2. Other",
        "Score: 37 in 100, where 10 in 100 is ordinary.",
        "  2. Second",
        "- **Hashtags:** \\#street\\_food \\#night",
        "- **Risk:** Somebody was first.",
        "- **Nearest known title:** A stall at noon (42 of 100 apart)",  # its address is none to follow
        "- **Backed by:** [Night \\*market\\*](https://example.org/a%281%29), The \\<Cook\\>",
    ):
        assert part in document
    assert "javascript" not in document


def test_level_concepts_are_marked_in_the_document():
    document = to_markdown(replace(MADE, concepts=(CONCEPT, replace(CONCEPT, title="Other"))))
    assert "## 1=. A stall" in document
    assert "## 1=. Other" in document


def test_words_of_others_stay_words_in_the_document():
    document = to_markdown(
        replace(MADE, concepts=(replace(CONCEPT, title="# [x](http://evil)\n\n<b> | `", why="$x$ ~a~"),))
    )
    assert "## 1. \\# \\[x\\](http://evil) \\<b\\> \\| \\`" in document
    assert "- **Why:** \\$x\\$ \\~a\\~" in document


def test_the_table_has_a_row_for_each_concept_with_what_it_rests_on():
    first, second = table(MADE)
    assert tuple(first) == COLUMNS
    assert (first["title"], second["title"], second["place"]) == (CONCEPT.title, "Other", "2")
    assert (float(first["viral_score"]), float(first["novelty"])) == (0.37, 0.42)
    assert first["outline"] == "First | Second"
    assert (first["evidence"], first["evidence_titles"]) == ("youtube:a | youtube:gone", VIDEO.title)
    assert (first["topic"], first["platform"], first["generator"]) == ("street food", "youtube", "scripted-1")


def test_what_is_not_known_is_empty_in_the_table():
    (row,) = table(
        replace(
            MADE,
            request=Request("x"),
            concepts=(replace(CONCEPT, nearest=None, novelty=None, evidence=()),),
        )
    )
    for name in ("novelty", "nearest_title", "nearest_url", "evidence", "evidence_urls", "platform", "vibe"):
        assert row[name] == ""


@pytest.mark.parametrize("start", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "'=1"])
@pytest.mark.parametrize("field", ["title", "hook", "thumbnail_idea", "why", "risk", "outline", "hashtags"])
def test_no_cell_is_a_formula(field: str, start: str):
    value = (start, "more") if field in ("outline", "hashtags") else start
    (row,) = table(replace(MADE, concepts=(replace(CONCEPT, **{field: value}),)))  # type: ignore[arg-type]
    assert row[field].startswith("'")
    assert row[field][1:].split(" | ")[0].strip() == start.strip()


def test_a_topic_that_begins_like_a_formula_is_no_formula_either():
    assert table(replace(MADE, request=Request("=1+1", "@calm")))[0]["topic"] == "'=1+1"
