"""Recommendations against a real database: what backs them, what is new, and a language model on loopback."""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import pytest
from language_server import LanguageServer, Turn, concepts, failure
from sqlalchemy import event, text
from tables import change, rows

from miles import db, grounding, kept, novelty, recommend, settings, similar, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.concepts import Recommendation, Request
from miles.errors import ConceptsUnavailable
from miles.features import ScoreInput
from miles.scoring import Score

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WIDTH = 64


class FakeModel:
    """Stands for `scoring.Model`: what it expects depends on the title alone; it has no vectors."""

    version = "fake-1"

    def score(self, videos: Sequence[ScoreInput]) -> list[Score]:
        chances = [0.05 + (sum(map(ord, video.title)) % 90) / 100 for video in videos]
        return [
            Score(video.key, "draft", chance, None, 1e4 * chance, 1e3 * chance, 1e5 * chance, None, 0.1, "fake-1", None)
            for video, chance in zip(videos, chances, strict=True)
        ]


class Reader(FakeModel):
    """It knows that hawkers and vendors are about street food; other words are only themselves, in any order."""

    ABOUT = ("street", "food", "hawker", "wok", "vendors")
    manifest: ClassVar = {
        "files": {"text.onnx": {"sha256": "a"}, "tokenizer.json": {"sha256": "t"}},
        "inputs": {"max_tokens": 64, "text_width": WIDTH},
    }

    def embed_titles(self, titles: Sequence[str]) -> np.ndarray:
        return np.array([self.vector(title.casefold()) for title in titles], dtype=np.float32)

    def vector(self, title: str) -> np.ndarray:
        """Half what it is about, half what else it says, in whatever order."""
        words = set(re.findall(r"\w+", title))
        rest = sorted(words - set(self.ABOUT) - {"the", "that", "of", "a"})
        own = np.random.default_rng(zlib.crc32(" ".join(rest).encode())).normal(size=WIDTH)
        own[0] = 0.0
        whole = own / np.linalg.norm(own) * bool(rest)
        whole[0] = 1.0 if words & set(self.ABOUT) else 0.0
        return whole / (np.linalg.norm(whole) or 1.0)


def video(
    number: int, title: str, channel: int, *, category: str = "Travel & Events", language: str = "en"
) -> Observation:
    return Observation(
        Candidate(
            "youtube",
            f"v{number:03}",
            title,
            url=f"https://example.org/v{number}",
            channel=Channel("youtube", f"c{channel}", name=f"Channel {channel}"),
            category=category,
            language=language,
            published_at=NOW - timedelta(days=3),
        ),
        Snapshot(NOW, views=1000 * number),
    )


@pytest.fixture
def videos(database: str) -> None:
    rows = [
        *(video(n, f"Street food tour of the night market, stall {n}", n) for n in range(1, 9)),
        *(video(20 + n, f"Street food with my grandmother {n}", n) for n in range(1, 9)),
        *(video(40 + n, f"One channel, street food number {n}", 99) for n in range(1, 9)),
        *(video(60 + n, f"Piano music for rain {n}", n, category="Music") for n in range(1, 5)),
        video(80, "Comida callejera en Lima", 50, language="es"),
        video(81, "屋台料理めぐり 東京編", 51, language="ja"),
    ]
    with db.transaction("worker") as connection:
        store.observe(connection, rows)
        connection.execute(text("INSERT INTO model_versions (model_version, manifest) VALUES ('fake-1', '{}')"))
        connection.execute(
            text(
                "UPDATE candidates SET viral_score = CASE WHEN title LIKE '%night market%' THEN 0.8"
                " WHEN title LIKE 'One channel%' THEN 0.7 ELSE 0.2 END, base_rate = 0.1,"
                " outlier_multiple = CASE WHEN title LIKE '%night market%' THEN 3.0"
                " WHEN title LIKE '%grandmother%' THEN 0.4 WHEN title LIKE 'One channel%' THEN 1.5"
                " ELSE 1.1 END, outlier_n = 9"
            )
        )
        connection.execute(
            text(
                "INSERT INTO title_patterns VALUES"
                " ('category:Travel & Events', 'structure', 'Question', 90, 40, 1.3, 1.1, 1.5, 0.01, '{youtube:v001}'),"
                " ('all', 'structure', 'Emoji', 90, 40, 0.8, 0.7, 0.9, 0.01, '{youtube:v002}'),"
                " ('all', 'structure', 'Number', 90, 40, 1.01, 0.9, 1.1, 0.9, '{youtube:v003}')"
            )
        )


def embedded() -> Reader:
    """The vectors of all titles are kept."""
    model = Reader()
    with db.transaction("worker") as connection:
        known = connection.execute(
            text("SELECT candidate_id, title FROM candidates ORDER BY candidate_id FOR KEY SHARE")
        )
        similar.keep(connection, model, {row.candidate_id: row.title for row in known})
    return model


def ask(topic: str, model: FakeModel | None = None, *, offline: bool = False, **wanted: Any) -> Recommendation:
    fresh = wanted.pop("fresh", False)
    return recommend.recommend(
        model or FakeModel(), Request(topic, **wanted), user_id="ada", offline=offline, fresh=fresh
    )


def gathered(topic: str, model: FakeModel | None = None, **filters: Any) -> grounding.Evidence:
    with db.transaction("viewer") as connection:
        return grounding.gather(connection, topic, model=model or FakeModel(), **filters)


@pytest.fixture
def writer(videos: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LanguageServer]:
    """A language model is set, and it is the one on loopback."""
    with LanguageServer() as running:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret")
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        monkeypatch.setenv("OPENAI_MODEL", "scripted-1")
        settings.load.cache_clear()
        yield running


# --- evidence


def test_the_evidence_is_on_the_topic_best_first_and_of_many_channels(videos: None):
    evidence = gathered("street food")
    assert evidence.reach == "topic"
    assert evidence.matched == 24
    assert all("street food" in one.title.casefold() for one in evidence.winners)
    scores = [one.viral_score or 0.0 for one in evidence.winners]
    assert scores == sorted(scores, reverse=True)
    assert sum(one.channel == "Channel 99" for one in evidence.winners) == grounding.PER_CHANNEL


def test_winners_are_above_their_channels_usual_and_scored_above_the_base_rate(videos: None):
    change("UPDATE candidates SET base_rate = 0.75")
    evidence = gathered("street food")
    assert {one.viral_score for one in evidence.winners} == {0.8}
    assert evidence.threshold == 0.75
    assert all((one.outlier_multiple or 0.0) > 1 for one in evidence.winners)


def test_where_few_reach_the_base_rate_those_above_their_channels_usual_follow(videos: None):
    change(
        "UPDATE candidates SET viral_score = 0.5, base_rate = CASE WHEN video_id IN ('v001', 'v002') THEN 0.1 ELSE 0.9 END"
    )
    evidence = gathered("street food")
    assert {one.candidate_id for one in evidence.winners[:2]} == {"youtube:v001", "youtube:v002"}
    assert len(evidence.winners) == grounding.FEW
    assert evidence.promising == 2
    assert all((one.outlier_multiple or 0.0) > 1 for one in evidence.winners)


def test_flops_are_the_contrast_and_never_winners(videos: None):
    evidence = gathered("street food")
    assert evidence.flops
    assert all(one.outlier_multiple == 0.4 for one in evidence.flops)
    assert {one.candidate_id for one in evidence.flops}.isdisjoint(one.candidate_id for one in evidence.winners)


def test_only_patterns_with_an_effect_count_the_topics_category_first(videos: None):
    evidence = gathered("street food")
    assert [(lift.scope, lift.pattern) for lift in evidence.patterns if lift.scope != "topic"] == [
        ("category:Travel & Events", "Question"),
        ("all", "Emoji"),
    ]


@pytest.mark.parametrize("topic", ["food stree", "Streets Foods", "the food of the street", "ＳＴＲＥＥＴ food"])
def test_a_topic_is_found_in_other_forms_and_another_order(videos: None, topic: str):
    assert gathered(topic).matched == 24


def test_a_topic_that_no_title_has_whole_falls_back_to_some_of_its_words(videos: None):
    evidence = gathered("street food physics")
    assert evidence.reach == "some words"
    assert "food" in evidence.winners[0].title.casefold()


def test_a_title_with_too_few_of_the_topics_words_backs_nothing(videos: None):
    evidence = gathered("food for quantum physics teachers")
    assert evidence.reach == "some words"
    assert evidence.winners == ()


def test_a_topic_in_a_script_without_spaces_is_found_inside_titles(videos: None):
    evidence = gathered("料理")
    assert evidence.reach == "topic"
    assert [one.candidate_id for one in evidence.winners] == ["youtube:v081"]


def test_an_unknown_topic_says_so_and_claims_no_backing(videos: None):
    answer = ask("zeppelin maintenance")
    assert answer.evidence.reach == "everything"
    assert "No collected video is about “zeppelin maintenance”" in answer.note
    assert len(answer.concepts) == 5
    assert all(one.evidence == () for one in answer.concepts)


def test_platform_and_language_narrow_the_evidence(videos: None):
    assert [one.candidate_id for one in gathered("comida", language="es").winners] == ["youtube:v080"]
    assert gathered("street food", language="es").reach == "everything"
    assert gathered("street food", platform="tiktok").reach == "nothing"


def test_invented_videos_back_nothing_where_there_are_real_ones(videos: None):
    with db.transaction("worker") as connection:
        store.observe(connection, [video(90, "Street food sample", 70)], sample=True)
    change("UPDATE candidates SET viral_score = 0.99, outlier_multiple = 5 WHERE sample")
    assert not any(one.sample for one in gathered("street food").winners)
    assert all(one.sample for one in gathered("sample").winners)


def test_a_title_that_shares_no_word_with_the_topic_is_found_by_its_meaning(videos: None):
    with db.transaction("worker") as connection:
        store.observe(connection, [video(95, "The hawker with the oldest wok in town", 60)])
    change("UPDATE candidates SET viral_score = 0.9, base_rate = 0.1, outlier_multiple = 4 WHERE video_id = 'v095'")
    assert "youtube:v095" not in {one.candidate_id for one in gathered("street food").winners}
    model = embedded()
    evidence = gathered("street food", model)
    assert "youtube:v095" in {one.candidate_id for one in evidence.winners}
    assert evidence.by_meaning == 1
    assert not any("piano" in one.title.casefold() for one in evidence.winners)
    only = gathered("vendors", model)
    assert only.reach == "topic"
    assert {one.candidate_id for one in only.winners} >= {"youtube:v095", "youtube:v001"}
    answer = ask("vendors", model)
    assert "found by meaning and not by word" in answer.note
    assert all(one.evidence for one in answer.concepts)


@pytest.mark.parametrize("how", ["no vectors yet", "no pgvector", "a model elsewhere"])
def test_without_vectors_words_are_enough_and_the_note_says_so(videos: None, how: str):
    model = FakeModel() if how == "a model elsewhere" else Reader()
    if how == "no pgvector":
        change("DROP TABLE title_embeddings")
    answer = ask("street food", model)
    assert answer.evidence.matched == 24
    assert "Videos were found by their words alone." in answer.note
    assert all(one.novelty is None for one in answer.concepts)
    assert len(answer.concepts) == 5


@pytest.mark.parametrize(
    "topic", ["'", "a:*", "!&|()<->", "🔥🔥", "x" * 60_000, "\\", "%_%", "''':*", "a" * 300 + " b"]
)
def test_no_topic_breaks_the_search(videos: None, topic: str):
    assert ask(topic).concepts


@pytest.mark.parametrize("many", [0, 10**6])
def test_no_question_reads_a_whole_table(videos: None, monkeypatch: pytest.MonkeyPatch, many: int):
    monkeypatch.setattr(grounding, "MANY", many)
    model = embedded()
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, values: Any, *_: object) -> None:
        sent.append((statement, values))

    with db.transaction("viewer", "ada") as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # of so few rows it would read them all
        event.listen(connection, "before_cursor_execute", note)
        grounding.gather(connection, "street food", model=model)
        grounding.gather(connection, "street food physics", model=model, platform="youtube", language="en")
        grounding.gather(connection, "zeppelin", model=FakeModel())
        novelty.check(connection, model, ["A quiet street food morning", "🔥"])
        event.remove(connection, "before_cursor_execute", note)
        asked = [one for one in sent if one[0].lstrip().startswith(("SELECT", "WITH"))]
        assert len(asked) > 15
        for statement, values in asked:
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values))
            assert not re.search(r"Seq Scan on (candidates|channels|title_patterns)", plan), f"{statement}\n{plan}"


@pytest.mark.parametrize("many", [0, 10**6])
def test_a_topic_of_many_videos_is_answered_alike_from_an_index(
    videos: None, monkeypatch: pytest.MonkeyPatch, many: int
):
    monkeypatch.setattr(grounding, "MANY", many)
    evidence = gathered("street food")
    assert evidence.matched == 24
    assert evidence.winners[0].viral_score == 0.8


# --- offline


def test_without_a_key_the_offline_generator_writes_and_says_so(videos: None):
    answer = ask("street food", vibe="funny", number=4)
    assert answer.generator == "offline"
    assert "not by a language model" in answer.note
    assert len(answer.concepts) == 4
    for one in answer.concepts:
        cited = [answer.evidence.video(key) for key in one.evidence]
        assert cited
        assert all(
            video and (video.outlier_multiple or 0) > 1 and "street food" in video.title.casefold() for video in cited
        )
        assert one.base_rate == 0.1
        assert one.risk
    again = ask("street food", vibe="funny", number=4)
    assert again.to_dict()["concepts"] == answer.to_dict()["concepts"]


def test_an_empty_database_gives_concepts_that_claim_nothing(database: str):
    answer = ask("street food")
    assert len(answer.concepts) == 5
    assert "No videos are collected yet" in answer.note
    assert all(one.evidence == () for one in answer.concepts)


def test_a_recommendation_is_kept_whole_and_for_its_user_only(videos: None):
    answer = ask("street food", embedded(), vibe="calm")
    with db.transaction("viewer", "ada") as connection:
        assert kept.recommendation(connection, answer.query_id) == answer
    with db.transaction("viewer", "eve") as connection:
        assert kept.recommendation(connection, answer.query_id) is None


# --- what is new


def test_the_best_concepts_are_held_against_the_whole_collection(videos: None):
    model = embedded()
    answer = ask("street food", model)
    assert all(one.nearest is not None and one.novelty is not None for one in answer.concepts)
    for one in answer.concepts:
        alike = (model.embed_titles([one.title]) @ model.embed_titles([one.nearest.title]).T).item()  # type: ignore[union-attr]
        assert one.novelty == pytest.approx(1 - alike, abs=0.01)
        assert one.novelty > 1 - novelty.REWORDING


@pytest.mark.parametrize(
    ("known", "vectors"),
    [
        ("THREE stalls and one verdict!", False),  # almost the same words, about something else
        ("A verdict: stalls, three of them", True),  # the same words otherwise; by meaning alone
    ],
)
def test_a_near_copy_of_a_title_of_another_topic_is_replaced(writer: LanguageServer, known: str, vectors: bool):
    with db.transaction("worker") as connection:
        store.observe(connection, [video(96, known, 61, category="Gaming")])
    model = embedded() if vectors else FakeModel()
    copy = "Verdict of three stalls, them" if vectors else "Three stalls, one verdict"
    writer.turns = [
        Turn(concepts(copy, "What the last customer gets")),
        Turn(concepts("A wedding in a kitchen corner")),
    ]
    answer = ask("street food", model, number=2)
    assert {one.title for one in answer.concepts} == {"What the last customer gets", "A wedding in a kitchen corner"}
    assert "Left out for repeating a known title: 1." in answer.note
    assert len(writer.asked) == 2
    assert copy in json.dumps(writer.asked[1]["messages"])  # it is told what to avoid
    assert answer.usage.requests == 2
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (writer.book.tokens_in, writer.book.tokens_out)


def test_who_only_copies_is_asked_a_bounded_number_of_times(writer: LanguageServer):
    writer.turns = [Turn(concepts("PIANO music for rain: 1", "Rain, 2: piano music for"))]
    with pytest.raises(ConceptsUnavailable, match="copy of an existing title"):
        ask("street food", number=2)
    assert len(writer.asked) == 1 + recommend.AGAIN
    assert rows("SELECT count(*) FROM queries") == [(0,)]


def test_a_failure_while_others_are_asked_for_keeps_what_there_is(writer: LanguageServer):
    writer.turns = [
        Turn(concepts("Piano music for rain: 1", "A wedding in a corner")),
        failure(401),
    ]
    answer = ask("street food", number=2)
    assert [one.title for one in answer.concepts] == ["A wedding in a corner"]
    assert "1 instead of 2" in answer.note


def test_the_offline_generator_goes_on_where_its_titles_are_known(videos: None):
    first = ask("street food", number=3)
    with db.transaction("worker") as connection:
        store.observe(connection, [video(200 + n, one.title, 70 + n) for n, one in enumerate(first.concepts)])
    second = ask("street food", number=3)
    assert len(second.concepts) == 3
    assert {one.title for one in first.concepts}.isdisjoint(one.title for one in second.concepts)


# --- the language model


def test_with_a_key_the_language_model_writes(writer: LanguageServer):
    writer.turns = [Turn(concepts("Three stalls, one verdict", "The queue that never ends", "What the last one gets"))]
    said: list[str] = []
    answer = recommend.recommend(
        FakeModel(), Request("street food", "calm", number=2), user_id="ada", on_progress=said.append
    )
    assert answer.generator == "scripted-1"
    assert len(answer.concepts) == 2
    assert all(answer.evidence.video(key) for one in answer.concepts for key in one.evidence)
    assert said[0] == "Looking for videos on the topic"
    assert answer.prompt_version


def test_offline_on_request_asks_nobody(writer: LanguageServer):
    assert ask("street food", offline=True).generator == "offline"
    assert writer.asked == []


def test_the_same_request_within_a_day_is_answered_from_what_is_kept(writer: LanguageServer):
    writer.turns = [Turn(concepts("Three stalls, one verdict", "The queue that never ends", "What the last one gets"))]
    first, second = ask("street food", number=2), ask("street food", number=2)
    assert len(writer.asked) == 1
    assert second.cached
    assert (second.query_id, second.concepts) == (first.query_id, first.concepts)
    assert not ask("street food", number=2, fresh=True).cached
    assert len(writer.asked) == 2
    change("UPDATE queries SET asked_at = asked_at - interval '25 hours'")
    ask("street food", number=2)
    assert len(writer.asked) == 3


def test_a_label_that_backs_nothing_is_no_backing(writer: LanguageServer):
    change("UPDATE candidates SET outlier_multiple = 0.9")
    writer.turns = [Turn(concepts("Three stalls, one verdict", "The queue that never ends", "What the last one gets"))]
    answer = ask("street food", number=2)
    assert all(one.evidence == () for one in answer.concepts)
    assert "nothing backs these concepts" in answer.note
