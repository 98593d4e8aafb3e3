"""Home, Trending, Scores and Title patterns as a reader meets them: empty, full, and asked for nonsense."""

import sys
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from miles import addresses, browse, db, niches, patterns, rollups, scoring, settings, similar

Visit = Callable[..., AppTest]
PAGES = ("home", "trending", "scores", "title_patterns")


def said(app: AppTest) -> str:
    """All that a page says in running text."""
    return "\n".join(
        str(part.value) for kind in ("title", "header", "subheader", "markdown", "caption") for part in app.get(kind)
    )


def titles(app: AppTest) -> list[str]:
    return [part.value for part in app.markdown if part.value.startswith("**") and "usual" not in part.value]


@pytest.mark.usefixtures("sample_database")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_on_the_sample_and_says_that_it_is_one(visit: Visit, name: str) -> None:
    app = visit(name)
    assert not app.exception
    assert not app.error
    assert "Every video, channel and number here is invented" in said(app)
    assert "newest snapshot" in said(app)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_any_data_and_says_what_to_do(visit: Visit, name: str) -> None:
    app = visit(name)
    assert not app.exception
    assert not app.error
    if name == "home":
        assert [button.label for button in app.button] == ["Collect now", "Load sample data"]
        program, *rest = app.code[0].value.split()
        assert rest == ["-m", "miles", "import", "FILE"]
        assert (settings.PROJECT / program).samefile(sys.executable)
    else:
        assert "Get videos in" in [link.value for link in app.page_link]


def test_a_database_that_does_not_answer_is_one_sentence(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:secret@127.0.0.1:9/nothing")
    settings.load.cache_clear()
    db.close()
    app = visit("home")
    assert not app.exception
    [error] = app.error
    plain = error.value.replace("\\", "")
    assert "The database at 127.0.0.1:9/nothing can't be reached" in plain
    assert "DATABASE_URL" in plain
    assert "secret" not in plain
    db.close()


@pytest.mark.usefixtures("database")
def test_a_topic_can_be_collected_from_the_empty_home(visit: Visit) -> None:
    app = visit("home")
    app.text_input[0].set_value("street food")
    app.button[0].click().run()
    assert not app.exception
    with db.transaction("operator") as connection:
        assert connection.execute(text("SELECT target, state FROM collections")).all() == [("street food", "waiting")]
        jobs = connection.scalars(text("SELECT task_name FROM procrastinate_jobs")).all()
    assert any("collect" in job for job in jobs)
    assert "no worker is running" in app.warning[0].value


@pytest.mark.usefixtures("database")
def test_an_empty_topic_is_not_collected(visit: Visit) -> None:
    app = visit("home")
    app.button[0].click().run()
    assert "Write what the videos should be about" in app.warning[0].value
    with db.transaction("operator") as connection:
        assert connection.scalar(text("SELECT count(*) FROM collections")) == 0


@pytest.mark.usefixtures("database")
def test_the_sample_is_loaded_by_a_job(visit: Visit) -> None:
    app = visit("home")
    app.button[1].click().run()
    assert not app.exception
    with db.transaction("operator") as connection:
        assert connection.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'")) == 1


@pytest.mark.usefixtures("sample_database")
def test_filters_in_the_address_narrow_trending(visit: Visit) -> None:
    everything = visit("trending")
    with db.transaction("viewer") as connection:
        category, n = connection.execute(
            text("SELECT category, count(*) FROM candidates GROUP BY category ORDER BY 2 LIMIT 1")
        ).one()
    narrowed = visit("trending", category=category)
    assert f"{n} videos" in narrowed.caption[1].value or f"{n} videos" in said(narrowed)
    assert said(everything) != said(narrowed)


@pytest.mark.usefixtures("sample_database")
@pytest.mark.parametrize(
    "address",
    [
        {"category": "Nonsense"},
        {"platform": ["sample", "nowhere"]},
        {"score": "abc"},
        {"score": ["-5", "400"]},
        {"published": "yesterday"},
        {"duration": "a while"},
        {"at": "x"},
        {"at": "after~NaN~youtube:abc"},
        {"at": "before~~"},
        {"at": "after~2026-01-01~youtube:abc"},
        {"sort": "DROP TABLE"},
        {"within": "a while"},
        {"views": "-1"},
        {"multiple": "many"},
        {"velocity": "1e99"},
        {"velocity": "1e999"},  # infinite, which no whole number is
        {"views": "-inf"},
        {"multiple": "nan"},
        {"like": "nobody"},
        {"view": "hologram"},
        {"q": "\"unclosed (and) & | ! ' <> \\"},
        {"channel": "%%%"},
        {"video": "nobody:nothing"},
        {"video": "not a key"},
    ],
    ids=str,
)
def test_a_broken_address_never_breaks_trending(visit: Visit, address: dict) -> None:
    app = visit("trending", **address)
    assert not app.exception
    assert not app.error
    assert app.title[0].value == "Trending"
    ignored = [part.value for part in app.caption if "not understood" in part.value]
    assert bool(ignored) == bool({"view", "q", "channel", "video"}.isdisjoint(address))


@pytest.mark.usefixtures("sample_database")
def test_a_search_without_a_match_says_so(visit: Visit) -> None:
    app = visit("trending", q="zzzz-no-such-word")
    assert "No video passes these filters" in said(app)


@pytest.mark.usefixtures("sample_database")
@pytest.mark.parametrize("sort", addresses.SORTS)
def test_trending_sorts_by_what_is_chosen(visit: Visit, sort: browse.Sort) -> None:
    app = visit("trending", view="Table")
    app.selectbox(key="sort").select(sort).run()
    assert not app.exception
    table = app.dataframe[0].value
    column = {
        "score": "Score", "velocity": "Velocity", "acceleration": "Acceleration", "outlier": "Usual",
        "engagement": "Engagement", "views": "Views", "lifetime": "Lifetime",
    }  # fmt: skip
    if sort in column:
        values = table[column[sort]].dropna().tolist()
        assert values == sorted(values, reverse=True)
        assert len(values) == len(table)
    # the address says it in the same words, and opens the same list
    again = visit("trending", view="Table", sort=addresses.SORTS[sort])
    assert again.dataframe[0].value["Title"].tolist() == table["Title"].tolist()


def turn(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


@pytest.mark.usefixtures("sample_database")
def test_pages_are_turned_to_the_end_and_back_and_a_new_filter_starts_at_the_first(visit: Visit) -> None:
    app = visit("trending", view="Table")
    first = app.dataframe[0].value["Title"].tolist()
    assert [button.disabled for button in app.button if (button.key or "").startswith("page-")] == [1, 1, 0, 0]
    turn(app, "Next")
    second = app.dataframe[0].value["Title"].tolist()
    assert len(second) == len(first) == 24
    assert second != first
    shared = visit("trending", view="Table", at=app.query_params["at"])
    assert shared.dataframe[0].value["Title"].tolist() == second
    turn(app, "Previous")
    assert app.dataframe[0].value["Title"].tolist() == first
    turn(app, "Last")
    assert [button.disabled for button in app.button if (button.key or "").startswith("page-")] == [0, 0, 1, 1]
    last = app.dataframe[0].value["Title"].tolist()
    turn(app, "Previous")
    turn(app, "Next")
    assert app.dataframe[0].value["Title"].tolist() == last
    app.text_input(key="q").set_value("the").run()
    assert "at" not in app.query_params
    assert not [button for button in app.button if button.label == "Previous" and not button.disabled]


@pytest.mark.usefixtures("sample_database")
def test_an_address_without_its_page_is_the_first_page(visit: Visit) -> None:
    app = visit("trending", view="Table")
    first = app.dataframe[0].value["Title"].tolist()
    turn(app, "Next")
    turn(app, "First")
    assert app.dataframe[0].value["Title"].tolist() == first
    assert "at" not in app.query_params


@pytest.mark.usefixtures("sample_database")
def test_a_niche_is_saved_opened_replaced_unpinned_and_deleted(visit: Visit) -> None:
    app = visit("trending", view="Table", q="the", within="30 days", sort="By views", score=["5", "100"])
    titles_then = app.dataframe[0].value["Title"].tolist()
    box = next(box for box in app.text_input if box.label == "Name of this filter")
    box.set_value("My *niche*")
    turn(app, "Save filter")
    assert not app.exception
    with db.transaction("viewer", "local") as connection:
        [niche] = niches.niches(connection)
    assert (niche.name, niche.pinned) == ("My *niche*", True)
    assert parse_qs(niche.address) == {"q": ["the"], "within": ["30 days"], "sort": ["By views"], "score": ["5", "100"]}
    opened = visit("trending", view="Table", **parse_qs(niche.address))
    assert opened.dataframe[0].value["Title"].tolist() == titles_then
    home = visit("home")
    assert "My \\*niche\\*" in [heading.value for heading in home.header]
    turn(opened, "Unpin")
    assert not any("niche" in heading.value for heading in visit("home").header)
    turn(opened, "Delete")
    assert not opened.exception
    with db.transaction("viewer", "local") as connection:
        assert niches.niches(connection) == []


@pytest.mark.usefixtures("sample_database")
def test_a_niche_without_a_name_or_a_filter_is_not_saved(visit: Visit) -> None:
    app = visit("trending")
    turn(app, "Save filter")
    assert "needs a name" in app.warning[0].value
    box = next(box for box in app.text_input if box.label == "Name of this filter")
    box.set_value("Everything")
    turn(app, "Save filter")
    assert "nothing to save" in app.warning[0].value
    with db.transaction("viewer", "local") as connection:
        assert niches.niches(connection) == []


@pytest.mark.usefixtures("sample_database")
def test_videos_with_a_similar_title_are_listed_and_left_again(visit: Visit) -> None:
    with db.transaction("worker") as connection:
        some = connection.execute(text("SELECT candidate_id, title FROM candidates ORDER BY candidate_id LIMIT 300"))
        given = {row.candidate_id: row.title for row in some}
        similar.keep(connection, scoring.load(), given)
    key = next(iter(given))
    app = visit("trending", view="Table", like=key, sort="By views")
    assert not app.exception
    assert "200 videos" in said(app)
    assert "Titles most like" in said(app)
    with db.transaction("viewer") as connection:
        near = similar.to_video(connection, key, n=200, per_channel=None)
    views = [one.row.views for one in near]
    assert app.dataframe[0].value["Views"].tolist() == sorted(views, reverse=True)[:24]
    turn(app, "Show all")
    assert "200 videos" not in said(app)


@pytest.mark.usefixtures("sample_database")
def test_details_open_from_the_address_with_snapshots_and_score(visit: Visit) -> None:
    with db.transaction("viewer") as connection:
        key = connection.scalar(
            text("SELECT candidate_id FROM candidates WHERE velocity IS NOT NULL ORDER BY views DESC LIMIT 1")
        )
    app = visit("trending", video=key)
    assert not app.exception
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Score"].endswith("in 100")
    assert all("−" not in metric.delta for metric in app.metric)  # with a minus sign the arrow would point up
    assert metrics["Measured velocity"].endswith("/day")
    assert "Base rate 10 in 100" in said(app)
    assert any("snapshots" in caption.value for caption in app.caption)


@pytest.mark.usefixtures("sample_database")
def test_details_tell_why_it_scored_so_when_asked(visit: Visit) -> None:
    """With the shipped model, and the vectors of some titles."""
    with db.transaction("worker") as connection:
        some = connection.execute(
            text(
                "SELECT candidate_id, title FROM candidates WHERE outlier_multiple IS NOT NULL ORDER BY candidate_id LIMIT 200"
            )
        )
        similar.keep(connection, scoring.load(), {row.candidate_id: row.title for row in some})
    with db.transaction("viewer") as connection:
        key = connection.scalar(
            text(
                "SELECT candidate_id FROM candidates JOIN title_embeddings USING (candidate_id)"
                " WHERE likes > 0 ORDER BY candidate_id LIMIT 1"
            )
        )
    assert "not cause" not in said(visit("trending", video=key))
    app = visit("trending", video=key, details_why="true")
    assert not app.exception
    shown = said(app)
    assert "Model sensitivity, not cause" in shown
    assert "Before anyone had seen it" in shown
    assert "What this score cannot see" in shown
    assert "Took off: 1.5× their channel's usual or more" in shown
    like = [button for button in app.button if (button.key or "").startswith(f"similar-{key}-up-")]
    assert len(like) == 4
    title = like[0].label.strip("*")
    like[0].click().run()
    assert not app.exception
    assert app.query_params["video"] == like[0].key.removeprefix(f"similar-{key}-up-")
    assert f"**{title}**" in said(app)


@pytest.mark.usefixtures("sample_database")
def test_a_score_stands_beside_its_base_rate_and_is_never_a_bare_fraction(visit: Visit) -> None:
    app = visit("trending")
    assert "base rate 10 in 100" in said(app)
    assert any("in 100** " in part.value for part in app.markdown)


@pytest.mark.usefixtures("sample_database")
@pytest.mark.parametrize("address", [{}, {"shape": "Cumulative", "by": "Age"}, {"view": "Against measured"}], ids=str)
def test_scores_follow_the_filter(visit: Visit, address: dict) -> None:
    whole, part = visit("scores", **address), visit("scores", **address, score=["50", "100"])
    assert said(whole) != said(part)
    assert not part.exception


@pytest.mark.usefixtures("sample_database")
def test_nothing_scored_says_how_to_score(visit: Visit) -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET viral_score = NULL, model_version = NULL, base_rate = NULL"))
        rollups.refresh(connection)
    assert "python -m miles score" in said(visit("scores"))


@pytest.mark.usefixtures("sample_database")
def test_patterns_show_lift_interval_and_channels(visit: Visit) -> None:
    app = visit("title_patterns")
    table = app.dataframe[0].value
    assert {"Pattern", "Effect", "Interval", "Videos", "Channels", "q"} <= set(table.columns)
    assert (table["Channels"] >= 10).all()
    assert "can be told from chance" in said(app)


@pytest.mark.usefixtures("sample_database")
@pytest.mark.parametrize(
    "address",
    [{"kind": "x"}, {"against": "nonsense"}, {"against": "category=Nonsense"}, {"category": "Nonsense"}, {"form": "?"}],
    ids=str,
)
def test_a_broken_address_of_patterns_shows_all_of_them(visit: Visit, address: dict) -> None:
    app = visit("title_patterns", **address)
    assert not app.exception
    assert app.dataframe[0].value.equals(visit("title_patterns").dataframe[0].value)


@pytest.mark.usefixtures("sample_database")
def test_patterns_follow_the_filter_and_compare_it_with_everything_else(visit: Visit) -> None:
    with db.transaction("viewer") as connection:
        category = connection.scalar(
            text("SELECT category FROM candidates WHERE category IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
        )
    whole, part = visit("title_patterns"), visit("title_patterns", category=category)
    assert not part.dataframe[0].value.equals(whole.dataframe[0].value)
    both = visit("title_patterns", category=category, against="rest")
    assert not both.exception
    assert {"Here", "There", "Ratio", "q", "Channels"} <= set(both.dataframe[0].value.columns)
    assert f"Round: {category}. Square: everything else" in said(both)


@pytest.mark.usefixtures("sample_database")
def test_every_form_of_titles_leads_to_its_videos(visit: Visit) -> None:
    with db.transaction("viewer") as connection:
        titles = connection.scalars(text("SELECT title FROM candidates")).all()
    wanted = sum(patterns.form_bit("Number") & patterns.forms(title) != 0 for title in titles)
    assert 0 < wanted < len(titles)
    app = visit("trending", form="Number")
    assert not app.exception
    assert f"{wanted:,} videos" in said(app)
