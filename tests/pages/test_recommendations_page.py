"""Recommendations in Streamlit's own test frame: a fake scoring model, a scripted language model, a real database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from answering import finished
from fake_model import FakeModel
from language_server import GOOD, LanguageServer, Turn, concepts, failure
from loopback import eventually
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import db, drafts, kept, recommend, rollups, settings, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.concepts import Recommendation, Request
from miles.kept import KeptConcept
from ui import recommendations

NOW = datetime.now(UTC)
NONSENSE = [
    "x" * 10_000,
    "🎬🔥" * 300,
    "a\x00b",
    "مقلب مضحك في السوق",
    "'; DROP TABLE queries; --",
    "**bold** [link](http://x) $\\frac{1}{2}$ :material/home: <script>alert(1)</script>",
    "\u202e\u200bgnp.exe",
]


@pytest.fixture(autouse=True)
def _model(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.data.model", FakeModel)


@pytest.fixture
def videos(database: str) -> None:
    rows = [
        Observation(
            Candidate(
                "youtube",
                f"v{n}",
                f"Street food at the night market, stall {n}",
                url=f"https://example.org/{n}",
                channel=Channel("youtube", f"c{n % 12}", name=f"Channel {n % 12}"),
                published_at=NOW - timedelta(days=n + 2),
            ),
            Snapshot(NOW - timedelta(days=n + 1), views=1000 + n),
        )
        for n in range(30)
    ]
    with db.transaction("worker") as connection:
        store.observe(connection, rows)
        connection.execute(
            text(
                "UPDATE candidates SET viral_score = 0.4, base_rate = 0.1, duration = 40,"
                " outlier_multiple = CASE WHEN right(video_id, 1) = '7' THEN 0.2 ELSE 2.0 END"
            )
        )


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Iterator[LanguageServer]:
    """A language model in the settings that answers well."""
    with LanguageServer() as running:
        running.turns = [GOOD]
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret")
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        monkeypatch.setenv("OPENAI_MODEL", "scripted-1")
        settings.load.cache_clear()
        yield running


def said(app: AppTest) -> str:
    """All that stands on the page, without the backslashes of Markdown."""
    shown = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info, *app.header, *app.title]
    return "\n".join(str(element.value) for element in shown).replace("\\", "")


def ask(visit, topic: str = "street food", **address: str) -> AppTest:
    app = visit("recommendations", topic=topic, **address)
    return finished(app.button(key="get-concepts").click().run())


def ask_again(app: AppTest) -> Request:
    """What is asked by the fields as they stand."""
    return answered(finished(app.button(key="get-concepts").click().run())).request


def answered(app: AppTest) -> Recommendation:
    """What the address of the page opens, as it is kept."""
    with db.transaction("viewer", "local") as connection:
        found = kept.recommendation(connection, int(app.query_params["request"][0]))
    assert found is not None
    return found


def held(app: AppTest) -> list[KeptConcept]:
    with db.transaction("viewer", "local") as connection:
        return kept.concepts(connection, int(app.query_params["request"][0]))


def mine() -> list[drafts.Draft]:
    with db.transaction("viewer", "local") as connection:
        return drafts.drafts(connection)


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


# --- asking


def test_before_anything_is_asked_the_page_says_what_to_do(visit):
    shown = said(visit("recommendations"))
    assert "Say what your videos are about" in shown
    assert "No videos are collected yet" in shown
    assert "Written offline" in shown
    assert "tokens" not in shown  # nobody to pay


def test_concepts_come_with_score_reasons_backing_and_evidence(visit, videos: None):
    app = ask(visit)
    made = answered(app)
    shown = said(app)
    assert f"{len(made.concepts)} concepts on street food" in shown
    assert "where 10 in 100 is ordinary" in shown
    for one in made.concepts:
        for part in (one.title, one.why, one.hook, one.thumbnail_idea, *one.outline):
            assert " ".join(part.split()) in shown
    assert "Backed by " in shown
    assert any(one.label == "What these rest on" for one in app.expander)
    assert "Flops on the same topic" in shown
    assert "Videos that do well" in shown  # their lengths
    assert "Written offline" in shown


def test_level_concepts_share_their_place(visit, videos: None, writer: LanguageServer):
    writer.turns = [
        Turn(
            concepts(
                "A stall at midnight, one",
                "A queue at sunset, two",
                "What the very last customer of the night gets to eat for free",
            )
        )
    ]
    app = ask(visit, number="3")
    assert [one.place for one in answered(app).concepts] == [1, 2, 2]
    badges = [one.value for one in app.markdown if one.value.startswith(":gray-badge[")]
    assert badges == [":gray-badge[1]", ":gray-badge[2=]", ":gray-badge[2=]"]


def test_an_empty_topic_gets_a_clear_message(visit, videos: None):
    app = ask(visit, topic="   ")
    assert "Concepts need a topic" in said(app)
    assert "request" not in app.query_params


def test_with_no_data_there_are_concepts_and_a_plain_word_about_it(visit):
    assert "nothing backs these concepts" in said(ask(visit))


@pytest.mark.parametrize("typed", NONSENSE)
def test_no_topic_breaks_the_page(visit, videos: None, typed: str):
    app = visit("recommendations")
    app.text_input(key="topic").set_value(typed)
    app.text_input(key="mood").set_value(typed)
    shown = said(finished(app.button(key="get-concepts").click().run()))
    assert any(
        part in shown
        for part in ("concepts on", "1 concept on", "Concepts need a topic", "put the topic in other words")
    )
    assert "](http" not in "".join(str(one.value) for one in app.markdown)


def test_titles_with_markdown_in_them_are_shown_as_they_are(visit, videos: None):
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET title = 'Street food ![x](http://evil/p.png) ' || video_id"))
    app = ask(visit)
    assert "![x](http" not in "".join(str(one.value) for one in (*app.markdown, *app.caption))


# --- a language model


def test_what_it_costs_stands_there_before_anything_is_sent(
    visit, videos: None, writer: LanguageServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MILES_PRICE_INPUT", "0.5")
    monkeypatch.setenv("MILES_PRICE_OUTPUT", "2")
    monkeypatch.setenv("MILES_DAILY_SPEND", "1.5")
    settings.load.cache_clear()
    shown = said(visit("recommendations", topic="street food"))
    assert writer.asked == []
    assert "Written by **scripted-1** at " in shown
    assert "5 concepts: at most" in shown
    assert "Used today: 0 of 500K tokens, $0.00 of $1.50" in shown
    after = said(ask(visit))
    assert "Used today: 0 of" not in after
    assert "sk-test-secret" not in shown + after


def test_a_language_models_concepts_say_who_wrote_them_and_what_they_took(visit, videos: None, writer: LanguageServer):
    app = ask(visit, number="2")
    assert answered(app).generator == "scripted-1"
    shown = said(app)
    assert "Written by scripted-1" in shown
    assert f"{answered(app).usage.output_tokens} out" in shown.replace(",", "")


def test_the_same_request_is_answered_from_what_was_kept_until_it_is_asked_anew(
    visit, videos: None, writer: LanguageServer
):
    first = ask(visit, number="2")
    again = ask(visit, number="2")
    assert len(writer.asked) == 1
    assert again.query_params["request"] == first.query_params["request"]
    assert "at no cost" in said(again)
    writer.turns = [Turn(concepts("Quite another stall tonight", "One more queue to stand in", "A third"))]
    anew = finished(again.button(key="ask-anew").click().run())
    assert len(writer.asked) == 2
    assert anew.query_params["request"] != first.query_params["request"]
    assert "at no cost" not in said(anew)


def test_offline_asking_anew_brings_other_concepts(visit, videos: None):
    app = ask(visit)
    before = {one.title for one in answered(app).concepts}
    anew = finished(app.button(key="ask-anew").click().run())
    assert {one.title for one in answered(anew).concepts} != before


def test_progress_is_shown_and_the_request_can_be_cancelled(visit, videos: None, writer: LanguageServer):
    writer.turns = [replace(GOOD, pace=0.05)]
    app = visit("recommendations", topic="street food", number="2")
    app.button(key="get-concepts").click().run()
    assert not app.exception
    assert "Cancel" in labels(app)
    assert "scripted-1" in said(app) or "concepts written" in said(app)
    app.button(key="cancel-concepts").click().run()
    assert not app.exception
    assert "Cancel" not in labels(app)
    assert "Say what your videos are about" in said(app)
    assert writer.hung_up.wait(60)
    with db.transaction("viewer", "local") as connection:
        assert kept.requests(connection) == []


def test_leaving_the_page_loses_nothing(visit, videos: None, writer: LanguageServer):
    writer.turns = [replace(GOOD, pace=0.02)]
    app = visit("recommendations", topic="street food", number="2")
    app.button(key="get-concepts").click().run()
    app.switch_page("pages/trending.py").run()

    def answered_meanwhile() -> bool:
        with db.transaction("viewer", "local") as connection:
            return bool(kept.requests(connection))

    eventually(answered_meanwhile, what="the answer")
    app.switch_page("pages/recommendations.py").run()
    assert "concepts on street food" in said(finished(app))


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        (failure(401, "bad key"), "refuses the key"),
        (Turn("I would love to help!"), "JSON"),
        (Turn(refusal="I can't help with that."), "declined"),
        (Turn('{"concepts": [{"title": "Half a conc', finish="length"), "was cut off"),
    ],
)
def test_when_the_language_model_fails_the_offline_generator_is_one_click_away(
    visit, videos: None, writer: LanguageServer, turn: Turn, why: str
):
    writer.turns = [turn]
    app = ask(visit)
    shown = said(app)
    assert why in shown
    assert "Half a conc" not in shown
    assert "request" not in app.query_params
    assert {"Write them offline", "Try again"} <= set(labels(app))
    finished(app.button(key="write-offline").click().run())
    assert answered(app).generator == "offline"
    assert why not in said(app)


def test_after_a_failure_it_can_be_tried_again(visit, videos: None, writer: LanguageServer):
    writer.turns = [failure(401), GOOD]
    app = ask(visit, number="2")
    finished(app.button(key="try-again").click().run())
    assert answered(app).generator == "scripted-1"


def test_at_the_days_limit_nothing_is_sent_and_offline_is_offered(
    visit, videos: None, writer: LanguageServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MILES_DAILY_TOKENS", "100")
    settings.load.cache_clear()
    assert "Today's limit" in said(visit("recommendations", topic="street food"))
    app = ask(visit)
    assert writer.asked == []
    assert "Today's limit" in said(app)
    finished(app.button(key="write-offline").click().run())
    assert answered(app).generator == "offline"


def test_what_nobody_foresaw_is_no_endless_wait(visit, videos: None, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(recommend, "recommend", broken)
    app = visit("recommendations", topic="street food")
    app.button(key="get-concepts").click().run()
    assert [one.message for one in app.exception] or app.exception
    monkeypatch.undo()


# --- kept


def test_a_request_is_opened_again_by_its_address_with_its_words_in_the_fields(visit, videos: None):
    with db.transaction("worker") as connection:
        rollups.refresh(connection)  # what there is to choose from
    app = ask(visit, vibe="Calm", mood="like a heist film", number="3", my_language="English", my_platform="YouTube")
    again = visit("recommendations", request=app.query_params["request"][0])
    assert not again.exception
    assert answered(app).request == Request("street food", "Calm, like a heist film", "youtube", "en", 3)
    assert (again.selectbox(key="my_language").value, again.selectbox(key="my_platform").value) == ("en", "youtube")
    asked = visit("recommendations", **recommendations.address(answered(app).request))
    assert ask_again(asked) == answered(app).request
    assert answered(app).concepts[0].title in said(again)
    assert again.text_input(key="topic").value == "street food"
    assert again.text_input(key="mood").value == "like a heist film"
    assert again.number_input(key="number").value == 3


@pytest.mark.parametrize("number", ["999", "-1", "x", "1" * 40, "1; DROP TABLE queries"])
def test_an_address_of_no_request_says_so(visit, number: str):
    app = visit("recommendations", request=number)
    assert not app.exception
    assert "not here (any more)" in said(app)


def test_nobody_opens_the_request_of_another(visit, videos: None, monkeypatch: pytest.MonkeyPatch):
    number = ask(visit).query_params["request"][0]
    monkeypatch.setenv("MILES_USER", "eve")
    settings.load.cache_clear()
    app = visit("recommendations", request=number)
    assert "not here (any more)" in said(app)
    assert not any("Earlier requests" in one.label for one in app.expander)


def test_requests_are_listed_and_can_be_deleted(visit, videos: None):
    app = ask(visit)
    number = app.query_params["request"][0]
    assert any(one.label == "Earlier requests (1)" for one in app.expander)
    app.button(key=f"forget-{number}").click().run()
    assert not app.exception
    assert "request" not in app.query_params
    assert not any("Earlier requests" in one.label for one in app.expander)


def test_a_concept_is_kept_and_taken_out_again(visit, videos: None):
    app = ask(visit)
    one = held(app)[1]
    app.button(key=f"star-{one.concept_id}").click().run()
    assert any(expander.label == "Kept concepts (1)" for expander in app.expander)
    app.button(key=f"unstar-{one.concept_id}").click().run()
    assert not app.exception
    assert not any("Kept concepts" in expander.label for expander in app.expander)


def test_a_deleted_concept_leaves_the_others(visit, videos: None):
    app = ask(visit)
    first, *others = held(app)
    app.button(key=f"drop-{first.concept_id}").click().run()
    assert not app.exception
    assert [one.concept_id for one in held(app)] == [one.concept_id for one in others]
    assert f"{len(others)} concepts on" in said(app)


def test_both_downloads_are_offered(visit, videos: None):
    assert {"Markdown", "CSV"} <= {one.proto.label for one in ask(visit).get("download_button")}


# --- what becomes of a concept


def test_a_concept_opens_in_the_lab_and_is_saved_as_a_draft_that_remembers_it(visit, videos: None):
    app = ask(visit)
    one = held(app)[0]
    address = recommendations.to_lab(answered(app), one)
    lab = visit("score_lab", **address)
    assert not lab.exception
    assert lab.text_input(key="draft").value == one.concept.title
    assert lab.selectbox(key="my_language").value == "en"
    assert lab.text_input(key="draft-name").value
    assert f"{one.concept.viral_score * 100:.0f} in 100" in said(lab)  # the lab judges as the page did
    lab.button(key="save").click().run()
    assert not lab.exception
    (draft,) = mine()
    assert (draft.concept_id, draft.origin, draft.title) == (one.concept_id, "offline", one.concept.title)
    assert draft.name is not None
    assert "from a concept" in said(lab)
    again = visit("recommendations", request=app.query_params["request"][0])
    assert f"Draft “{draft.title[:30]}" in said(again)


def test_in_the_lab_a_concept_can_be_let_go(visit, videos: None):
    app = ask(visit)
    lab = visit("score_lab", **recommendations.to_lab(answered(app), held(app)[0]))
    lab.button(key="no-concept").click().run()
    lab.button(key="save").click().run()
    assert not lab.exception
    assert [(one.concept_id, one.origin) for one in mine()] == [(None, "own")]


@pytest.mark.parametrize("number", ["999", "x", "-1"])
def test_a_concept_that_is_not_there_stops_no_draft(visit, number: str):
    lab = visit("score_lab", draft="A title", concept=number)
    assert not lab.exception
    assert "not here (any more)" in said(lab)
    lab.button(key="save").click().run()
    assert [one.origin for one in mine()] == ["own"]


def test_a_concept_is_linked_to_what_it_was_published_as_and_its_outcome_shown(visit, videos: None):
    app = ask(visit)
    one = held(app)[0]
    with db.transaction("owner") as connection:  # it was asked for before the video was published
        connection.execute(text("UPDATE queries SET asked_at = now() - interval '9 days'"))
    app.text_input(key=f"url-of-{one.concept_id}").set_value("my video").run()
    app.button(key=f"follow-{one.concept_id}").click().run()
    assert "not the address of a video" in said(app)
    assert mine() == []
    app.text_input(key=f"url-of-{one.concept_id}").set_value("https://youtu.be/aaaaaaaaaaa").run()
    app.button(key=f"follow-{one.concept_id}").click().run()
    assert not app.exception
    (draft,) = mine()
    assert (draft.published_url, draft.concept_id) == ("https://youtu.be/aaaaaaaaaaa", one.concept_id)
    assert draft.viral_score == one.concept.viral_score
    assert draft.created_at < NOW - timedelta(days=8)  # the score is the same: it has foretold since then
    with db.transaction("viewer") as connection:
        assert connection.scalar(text("SELECT target FROM collections")) == "https://youtu.be/aaaaaaaaaaa"
    assert any("Published: published, not collected yet" in expander.label for expander in app.expander)
    seen = Candidate(
        "youtube", "aaaaaaaaaaa", "It", url="https://youtu.be/aaaaaaaaaaa", published_at=NOW - timedelta(days=2)
    )
    with db.transaction("worker") as connection:
        store.observe(connection, [Observation(seen, Snapshot(NOW - timedelta(days=1), views=30_000))])
    with db.transaction("owner") as connection:
        connection.execute(
            text(
                "INSERT INTO draft_outcomes VALUES (:id, 'youtube:aaaaaaaaaaa', now(), now(), 30000, 2.1, true, true)"
            ),
            {"id": draft.draft_id},
        )
    again = visit("recommendations", request=app.query_params["request"][0])
    assert any("Published: came to 2.1× usual" in expander.label for expander in again.expander)
    assert "30K views in the first day" in said(again)
    assert "It took off" in said(again)


def test_a_concept_that_another_model_scored_foretells_only_from_now_on(
    visit, videos: None, monkeypatch: pytest.MonkeyPatch
):
    app = ask(visit)
    one = held(app)[0]
    with db.transaction("owner") as connection:
        connection.execute(text("UPDATE queries SET asked_at = now() - interval '9 days'"))
    monkeypatch.setattr(FakeModel, "version", "fake-2")
    app.text_input(key=f"url-of-{one.concept_id}").set_value("https://youtu.be/aaaaaaaaaaa").run()
    app.button(key=f"follow-{one.concept_id}").click().run()
    assert not app.exception
    (draft,) = mine()
    assert (draft.model_version, draft.created_at > NOW - timedelta(days=1)) == ("fake-2", True)


# --- words


@pytest.mark.parametrize(
    ("usd", "shown"), [(0.0, "$0.00"), (0.004321, "$0.0043"), (0.0199, "$0.020"), (0.5, "$0.50"), (1234.5, "$1,234.50")]
)
def test_a_sum_has_two_digits_that_matter(usd: float, shown: str):
    assert recommendations.money(usd) == shown
