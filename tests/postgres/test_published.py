"""Drafts linked to what they were published as: followed, told by the first day, judged without names."""

from datetime import UTC, datetime, timedelta

import pytest
from loopback import Answer, Site
from sqlalchemy import text

from miles import collecting, db, drafts, jobs, kept, lab, monitor, published, removal, revisits, store
from miles.candidates import Candidate, Channel, Observation, Snapshot
from miles.concepts import Concept, Recommendation, Request, Usage
from miles.drafts import Draft, Foretold
from miles.errors import MilesError
from miles.features import PastVideo, ScoreInput
from miles.grounding import Evidence

NOW = datetime.now(UTC).replace(microsecond=0)
MANIFEST = """{
    "version": "m", "curve": {"ages": [0.25, 1.0, 3.0], "gains": [-0.4, 0.0, 0.3]}, "draft_base": 4.0,
    "thresholds": {"draft|-1": 0.3, "draft|all": 0.3}
}"""
KEY = "youtube:aaaaaaaaaaa"
URL = "https://www.youtube.com/shorts/aaaaaaaaaaa"
FORETOLD = Foretold(0.25, 0.1, 1.5, 1_500.0, 800.0, 3_000.0, "m")


@pytest.fixture(autouse=True)
def _database(database: str) -> None:
    with db.transaction("owner") as connection:
        connection.execute(
            text("INSERT INTO model_versions (model_version, manifest) VALUES ('m', CAST(:manifest AS jsonb))"),
            {"manifest": MANIFEST},
        )


def seen(
    video: str, views: int, *, published_days: float, age_hours: float = 24.0, channel: str = "mine"
) -> Observation:
    """A look at a video that was published so many days ago, at an age."""
    published_at = NOW - timedelta(days=published_days)
    return Observation(
        Candidate(
            "youtube", video, f"Title of {video}", url=f"https://www.youtube.com/watch?v={video}",
            channel=Channel("youtube", channel, name=channel), published_at=published_at, category="Comedy",
        ),
        Snapshot(published_at + timedelta(hours=age_hours), views=views),
    )  # fmt: skip


def collect(*observations: Observation) -> None:
    with db.transaction("worker") as connection:
        store.observe(connection, list(observations))


def usual(channel: str = "mine", videos: int = 6) -> None:
    """Earlier videos of a channel that had 1,000 views after a day."""
    collect(*(seen(f"past{n}{channel[:6]:_<6}", 999, published_days=20 + n, channel=channel) for n in range(videos)))


def saved(
    user: str = "ada",
    *,
    days_ago: float = 5.0,
    title: str = "Draft",
    link: str | None = URL,
    concept: int | None = None,
) -> int:
    with db.transaction("viewer", user) as connection:
        draft_id = drafts.save_draft(connection, title, foretold=FORETOLD, concept_id=concept)
        if link:
            published.link(connection, draft_id, link, None)
    with db.transaction("owner") as connection:
        connection.execute(
            text("UPDATE drafts SET created_at = :at WHERE draft_id = :id"),
            {"at": NOW - timedelta(days=days_ago), "id": draft_id},
        )
    return draft_id


def kept_concept(user: str = "ada", *, generator: str = "scripted-1", days_ago: float = 6.0) -> int:
    """A concept that was made for a user some days ago; its number."""
    made = Recommendation(
        Request("street food", number=1),
        (Concept(
            "One stall, one night", "h", ("o",), "t", ("food",), "w", "r", (), 0.25, 0.1, None, nearest=None, novelty=None
        ),),
        generator, Evidence("street food", "nothing", (), (), (), ()), "n", Usage(), "m",
    )  # fmt: skip
    with db.transaction("viewer", user) as connection:
        query_id = kept.save(connection, made).query_id
        (one,) = kept.concepts(connection, query_id)
    with db.transaction("owner") as connection:
        connection.execute(
            text("UPDATE queries SET asked_at = :at WHERE query_id = :id"),
            {"at": NOW - timedelta(days=days_ago), "id": query_id},
        )
    return one.concept_id


def refresh() -> None:
    with db.transaction("worker") as connection:
        published.refresh(connection)


def mine(user: str = "ada") -> Draft:
    with db.transaction("viewer", user) as connection:
        (draft,) = drafts.drafts(connection)
    return draft


def test_a_published_draft_is_told_by_its_first_day_against_its_channels_usual():
    usual()
    saved()
    collect(seen("aaaaaaaaaaa", 3_999, published_days=4))
    refresh()
    draft = mine()
    assert draft.candidate_id == KEY
    assert draft.outcome is not None
    assert draft.outcome.views == pytest.approx(4_000)
    assert draft.outcome.multiple == pytest.approx(4.0)
    assert (draft.outcome.happened, draft.outcome.foresight) == (True, True)  # 4 is over 10 ** 0.3


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        (3, False),  # too early to tell the first day
        (6, True),
        (36, True),
        (40, False),  # too late
    ],
)
def test_only_a_look_6_to_36_hours_after_publication_tells(hours: float, told: bool):
    usual()
    saved()
    collect(seen("aaaaaaaaaaa", 3_999, published_days=4, age_hours=hours))
    refresh()
    assert (mine().outcome is not None) is told


def test_a_look_at_another_age_is_moved_to_24_hours_by_the_growth_curve():
    saved()
    collect(seen("aaaaaaaaaaa", 999, published_days=4, age_hours=6))
    refresh()
    told = mine().outcome
    assert told is not None
    assert told.views == pytest.approx(1_000 * 10**0.4)
    assert (told.multiple, told.happened) == (None, None)  # of this channel nothing else is known


def test_what_was_saved_after_publication_is_told_but_is_no_foresight():
    usual()
    saved(days_ago=3)
    collect(seen("aaaaaaaaaaa", 1_999, published_days=4))
    refresh()
    told = mine().outcome
    assert told is not None
    assert told.foresight is False
    with db.transaction("viewer") as connection:
        report = monitor.published_drafts(connection)
    assert report is not None
    every = report.every
    assert (every.linked, every.told, every.foretold, every.judged) == (1, 1, 0, 0)


def test_what_is_published_later_does_not_change_the_usual_of_then():
    usual()
    saved()
    collect(
        seen("aaaaaaaaaaa", 1_999, published_days=4),
        *(seen(f"later{n}aaaaa", 9_000_000, published_days=2 + n / 10) for n in range(8)),
    )
    refresh()
    told = mine().outcome
    assert told is not None
    assert told.multiple == pytest.approx(2.0)


def test_an_address_that_hides_the_video_is_told_by_its_collection():
    usual()
    with db.transaction("operator") as connection:
        collection_id = collecting.ask(connection, "https://example.org/watch/1", "url", 1, "ada")
    with db.transaction("viewer", "ada") as connection:
        draft_id = drafts.save_draft(connection, "Draft", foretold=FORETOLD)
        published.link(connection, draft_id, "https://example.org/watch/1", collection_id)
    assert mine().candidate_id is None
    collect(seen("aaaaaaaaaaa", 1_999, published_days=-0.0 + 2))
    with db.transaction("worker") as connection:
        connection.execute(
            text("INSERT INTO collection_items (collection_id, candidate_id, outcome) VALUES (:id, :key, 'new')"),
            {"id": collection_id, "key": KEY},
        )
    refresh()
    draft = mine()
    assert draft.candidate_id == KEY
    assert draft.outcome is not None


def test_a_linked_video_is_followed_by_revisits():
    collect(seen("aaaaaaaaaaa", 100, published_days=1.0, age_hours=1))
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "UPDATE candidates SET source = 'Youtube yt-dlp-1', tier = 'full', first_seen_at = now() - interval '20 h'"
            )
        )
        assert [one.key for one in revisits.due(connection, 5)] == [KEY]


def test_another_link_forgets_what_the_first_came_to():
    usual()
    draft_id = saved()
    collect(seen("aaaaaaaaaaa", 1_999, published_days=4))
    refresh()
    assert mine().outcome is not None
    with db.transaction("viewer", "ada") as connection:
        published.link(connection, draft_id, "https://youtu.be/bbbbbbbbbbb", None)
    assert mine().outcome is None
    with db.transaction("viewer", "ada") as connection:
        drafts.set_link(connection, draft_id, None)
    refresh()
    assert (mine().published_url, mine().outcome) == (None, None)


def test_nobody_sees_what_came_of_the_drafts_of_another():
    usual()
    saved("ada")
    collect(seen("aaaaaaaaaaa", 1_999, published_days=4))
    refresh()
    for user, rows in (("ada", 1), ("eve", 0)):
        with db.transaction("viewer", user) as connection:
            assert connection.scalar(text("SELECT count(*) FROM draft_outcomes")) == rows


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO draft_outcomes SELECT draft_id, 'youtube:aaaaaaaaaaa', now(), now(), 1, 9, true, true FROM drafts",
        "UPDATE draft_outcomes SET happened = true",
        "DELETE FROM draft_outcomes",
        "SELECT * FROM draft_forecasts()",
        "SELECT * FROM drafts_to_tell()",
        "SELECT tell_draft(1, 'youtube:aaaaaaaaaaa', now(), now(), 1, 9, true)",
    ],
)
def test_an_owner_writes_no_outcome_and_reads_nobodys_forecasts(statement: str):
    saved()
    with pytest.raises(Exception, match="permission denied"), db.transaction("viewer", "ada") as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("table", ["drafts", "draft_outcomes"])
def test_a_worker_tells_outcomes_without_reading_drafts(table: str):
    with pytest.raises(Exception, match="permission denied"), db.transaction("worker") as connection:
        connection.execute(text(f"SELECT * FROM {table}"))


def test_removing_a_video_takes_its_link_and_its_outcome_along():
    usual()
    saved()
    collect(seen("aaaaaaaaaaa", 1_999, published_days=4))
    refresh()
    with db.transaction("worker") as connection:
        found = removal.find(connection, KEY)
    removal.remove(found, "ada", None)
    draft = mine()
    assert (draft.title, draft.published_url, draft.candidate_id, draft.outcome) == ("Draft", None, None, None)


def test_the_loop_closes_from_a_concept_to_what_came_of_it(site: Site):
    """Concept, draft, address, collected by the job that the link asked for, told, shown to its owner alone."""
    page = site.video("one-night", views=3_999)
    site.pages["/watch/one-night"] = Answer(
        site.pages["/watch/one-night"].body.replace(  # type: ignore[union-attr]
            b"2026-03-04T05:06:07Z", f"{NOW - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}".encode()
        )
    )
    concept_id = kept_concept(days_ago=3)
    with db.transaction("operator") as connection:
        collection_id = jobs.defer_collection(connection, page, "url", 1, "ada")
    with db.transaction("viewer", "ada") as connection:
        draft_id = drafts.save_draft(
            connection, "One stall, one night", foretold=FORETOLD, concept_id=concept_id, foretold_with_it=True
        )
        published.link(connection, draft_id, page, collection_id)
    assert mine().candidate_id is None
    collecting.carry_out(collection_id)
    refresh()
    draft = mine()
    assert (draft.concept_id, draft.origin) == (concept_id, "language model")
    assert draft.outcome is not None
    assert draft.outcome.foresight is True  # the concept was there before the video
    with db.transaction("viewer", "eve") as connection:
        assert drafts.drafts(connection) == []
    with db.transaction("viewer") as connection:
        report = monitor.published_drafts(connection)
    assert report is not None
    assert (report.origins["language model"].linked, report.origins["language model"].told) == (1, 1)


def test_together_published_drafts_are_judged_once_there_are_enough():
    videos = [(f"video{n:06d}", f"chan{n % 25:02d}") for n in range(150)]
    for number in range(25):
        usual(f"chan{number:02d}")
    for number, (video, _) in enumerate(videos):
        saved("ada" if number % 2 else "eve", title=video, link=f"https://youtu.be/{video}")
    collect(*(
        seen(video, 4_000 if number % 4 == 0 else 900, published_days=4, channel=channel)
        for number, (video, channel) in enumerate(videos)
    ))  # fmt: skip
    refresh()
    with db.transaction("viewer") as connection:
        report = monitor.published_drafts(connection)
    assert report is not None
    every = report.every
    assert (every.linked, every.told, every.foretold, every.judged) == (150, 150, 150, 150)
    assert every.check.enough
    assert (every.check.n, every.check.channels) == (150, 25)
    assert every.check.happened == 38  # every fourth
    assert every.check.promised == pytest.approx(0.25)
    assert every.check.coverage is not None
    assert every.check.coverage.value == pytest.approx(112 / 150)  # 900 views lie in the interval, 4,000 don't
    assert report.origins == {"own": every}


def test_concepts_that_were_published_are_judged_apart_from_ones_own_ideas():
    by_origin = {}
    for origin, generator in (("offline", "offline"), ("language model", "scripted-1")):
        by_origin[origin] = kept_concept(generator=generator)
    for number in range(25):
        usual(f"chan{number:02d}")
    videos = [f"video{n:06d}" for n in range(120)]
    for video in videos:
        saved(title=video, link=f"https://youtu.be/{video}", concept=by_origin["language model"])
    saved(title="other", link=URL, concept=by_origin["offline"])
    saved(title="mine", link=None)  # not linked: no part of it
    collect(*(
        seen(video, 4_000 if number % 4 == 0 else 900, published_days=4, channel=f"chan{number % 25:02d}")
        for number, video in enumerate(videos)
    ))  # fmt: skip
    refresh()
    with db.transaction("viewer") as connection:
        report = monitor.published_drafts(connection)
    assert report is not None
    assert set(report.origins) == {"offline", "language model"}
    model, offline = report.origins["language model"], report.origins["offline"]
    assert (model.linked, model.judged, model.check.enough) == (120, 120, True)
    assert (offline.linked, offline.told, offline.check.enough) == (1, 0, False)
    assert (report.every.linked, report.every.judged, report.every.check.n) == (121, 120, 120)


def test_of_few_published_drafts_only_the_numbers_are_said():
    refresh()
    with db.transaction("viewer") as connection:
        report = monitor.published_drafts(connection)
    assert report is not None
    assert (report.every.linked, report.every.check.n, report.every.check.enough) == (0, 0, False)
    assert report.origins == {}


def test_a_channel_below_five_videos_has_no_usual_to_beat():
    manifest = {"curve": {"ages": [1.0, 2.0], "gains": [0.0, 0.1]}, "draft_base": 4.0, "thresholds": {"draft|all": 0.3}}
    past = tuple(PastVideo("t", NOW - timedelta(days=9 + n), NOW - timedelta(days=8 + n), 999) for n in range(6))
    for videos, multiple, happened in ((4, None, None), (6, pytest.approx(1.0), True)):
        draft = ScoreInput("", "", published_at=NOW, history=past[:videos])
        _, outlier, came = published.outcome(manifest, draft, 9_999, 1.0)
        assert (outlier, came) == (multiple, happened)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("https://youtu.be/aaaaaaaaaaa", "https://youtu.be/aaaaaaaaaaa"),
        (" www.youtube.com/watch?v=aaaaaaaaaaa ", "https://www.youtube.com/watch?v=aaaaaaaaaaa"),
        ("aaaaaaaaaaa", "https://www.youtube.com/watch?v=aaaaaaaaaaa"),
        ("https://www.instagram.com/reel/abc/", "https://www.instagram.com/reel/abc/"),
    ],
)
def test_an_address_is_taken_as_people_write_it(written: str, address: str):
    assert published.address_of(written) == address


@pytest.mark.parametrize(
    "written",
    [
        "",
        "my video",
        "https://",
        "https://www.youtube.com/@someone",  # a channel
        "https://www.youtube.com/channel/UC" + "a" * 22,
        "https://www.youtube.com/playlist?list=PL0123456789",
        "https://example.org",
        "javascript:alert(1)",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_what_is_no_address_of_a_video_is_refused(written: str):
    with pytest.raises(MilesError, match="not the address of a video"):
        published.address_of(written)


def test_a_collected_video_is_found_by_any_form_of_its_address():
    collect(seen("aaaaaaaaaaa", 100, published_days=3), seen("bbbbbbbbbbb", 100, published_days=3))
    with db.transaction("viewer") as connection:
        for address in (URL, "https://youtu.be/aaaaaaaaaaa?si=x", "https://m.youtube.com/watch?v=aaaaaaaaaaa&t=3", KEY):
            found = lab.find_published(connection, address)
            assert found is not None
            assert (found.candidate_id, found.channel_name, found.category) == (KEY, "mine", "Comedy")
        assert lab.find_published(connection, "https://youtu.be/ccccccccccc") is None
        assert lab.find_published(connection, " ") is None
