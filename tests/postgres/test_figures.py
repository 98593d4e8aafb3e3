"""Every figure of Scores and Title patterns, counted again from the raw rows with pandas, for many filters."""

import math
import random
import re
import string
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event, text

from miles import (
    browse,
    calibration,
    db,
    distributions,
    facts,
    metrics,
    outcomes,
    patterns,
    rollups,
    searching,
    selection,
    title_words,
)
from miles.browse import AGES, DURATIONS, Filters
from miles.facts import Facts
from miles.searching import Term

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WORDS = ("purple", "paint", "cat", "the", "race", "slow", "bread", "Étude", "猫")
ENDS = ("", "?", "!", " 🔥", " #food", " (live)", " 2024", " PART 2", " vs you")


@pytest.fixture
def filled(database: str) -> pd.DataFrame:
    """A database with 3,000 invented videos, and its raw rows as a frame."""
    rng, columns = random.Random(7), []
    for number in range(3_000):
        title = " ".join(rng.choices(WORDS, k=rng.randint(1, 6))) + rng.choice(ENDS)
        published = None if number % 31 == 0 else NOW - timedelta(days=rng.uniform(0.01, 120))
        observed = (
            None if number % 41 == 0 else (published or NOW) + timedelta(days=rng.choice([-0.01, 0.25, 1, 5, 40]))
        )
        effect = 0.3 * ("purple" in title) + 0.2 * title.endswith("?")
        score = None if number % 7 == 0 else rng.random() ** 3
        if score and number % 5 == 0:  # at the edge of a bin, or at the base rate
            score = round(score, 2) if number % 4 else float(number % 8 == 0)
        columns.append(
            (
                f"youtube:v{number}", "youtube" if number % 9 else "tiktok", f"youtube:c{rng.randint(0, 60)}", title,
                rng.choice([None, "Music", "Gaming", "Comedy"]), rng.choice([None, "en", "en-GB", "ja"]),
                rng.choice([None, "short", "video"]), rng.choice([None, 15.0, 30.0, 59.9, 60.0, 600.0, 4000.0]),
                published, observed, rng.choice([None, rng.randint(0, 10**6)]),
                score, rng.choice([0.1, 0.08]) if number % 9 else 0.1,
                None if number % 3 == 0 else math.exp(rng.gauss(effect, 0.6)),
                None if number % 4 == 0 else rng.choice([-5.0, 0.0, 0.4, 10 ** rng.uniform(0, 9)]),
                None if number % 5 == 0 else 10 ** rng.uniform(0, 6),
            )
        )  # fmt: skip
    names = (
        "candidate_id", "platform", "channel_key", "title", "category", "language", "media_type", "duration",
        "published_at", "observed_at", "views", "viral_score", "base_rate", "outlier_multiple", "velocity",
        "predicted_velocity",
    )  # fmt: skip
    rows = [dict(zip(names, row, strict=True)) for row in columns]
    for row in rows:
        row["video_id"] = row["candidate_id"].removeprefix("youtube:")
        row["candidate_id"] = f"{row['platform']}:{row['video_id']}"
        row["channel_key"] = f"{row['platform']}:{row['channel_key'].removeprefix('youtube:')}"
    with db.transaction("worker") as connection:
        connection.execute(
            text(
                "INSERT INTO channels (channel_key, platform, channel_id, name, first_seen_at, last_seen_at)"
                " VALUES (:key, :platform, :id, replace(:id, 'c', 'Named '), :now, :now)"
            ),
            [
                {"key": key, "platform": key.partition(":")[0], "id": key.partition(":")[2], "now": NOW}
                for key in sorted({row["channel_key"] for row in rows})
            ],
        )
        connection.execute(
            text(
                f"INSERT INTO candidates (video_id, {', '.join(names)}, tier, source, first_seen_at, last_seen_at, measured_change)"
                f" VALUES (:video_id, {', '.join(f':{name}' for name in names)}, 'full', 'test', now(), now(), now())"
            ),
            rows,
        )
        connection.execute(text("UPDATE candidates SET changed_at = measured_change"))
        rollups.refresh(connection, everything=True)
    frame = pd.DataFrame(rows)
    frame["words"] = frame["title"].str.casefold()
    return frame


Rows = Callable[[pd.DataFrame], pd.Series]
FILTERS: list[tuple[Filters, Rows]] = [
    (Filters(), lambda d: d["title"] != ""),
    (Filters(categories=("Music",)), lambda d: d["category"] == "Music"),
    (Filters(categories=("Music", "Nowhere"), languages=("en",)), lambda d: (d["category"] == "Music") & (d["language"] == "en")),
    (Filters(platforms=("tiktok",), formats=("short",)), lambda d: (d["platform"] == "tiktok") & (d["media_type"] == "short")),
    (Filters(durations=("30–60 s", "10–60 min")), lambda d: d["duration"].between(30, 59.99) | d["duration"].between(600, 3599)),
    (
        Filters(published_from=date(2026, 5, 2), published_to=date(2026, 5, 20)),
        lambda d: (d["published_at"] >= "2026-05-02T00:00Z") & (d["published_at"] < "2026-05-21T00:00Z"),
    ),
    (Filters(score_from=10, score_to=60), lambda d: d["viral_score"].between(0.1, 0.6)),
    (
        Filters(views_from=1000, multiple_from=1.2, velocity_from=5),
        lambda d: (d["views"] >= 1000) & (d["outlier_multiple"] >= 1.2) & (d["velocity"] >= 5),
    ),
    (Filters(text="purple -cat"), lambda d: d["words"].str.contains("purple") & ~d["words"].str.contains("cat")),
    (Filters(channel="youtube:c7", form="Question"), lambda d: (d["channel_key"] == "youtube:c7") & d["title"].str.endswith("?")),
    (Filters(channel="named 7"), lambda d: d["channel_key"].str.endswith(":c7")),
    (Filters(channel="Named 9", text="the", categories=("Music",)), lambda d: d["channel_key"].str.endswith(":c9") & d["words"].str.contains("the") & (d["category"] == "Music")),
    (Filters(channel="nobody", text=" "), lambda d: d["title"] == ""),
    (Filters(channel=" ", text=" "), lambda d: d["title"] != ""),
    (Filters(form="Hashtag"), lambda d: d["title"].str.contains("#")),
    (Filters(text="nothing has this"), lambda d: d["title"] == ""),
]  # fmt: skip


def given(filters: Filters) -> tuple[Facts, np.ndarray]:
    with db.transaction("viewer") as connection:
        known = facts.load(connection)
        return known, selection.passing(connection, known, filters)


def within(d: pd.DataFrame, name: str) -> pd.Series:
    """The rows of a band of ages or durations."""
    if name in DURATIONS:
        low, high = DURATIONS[name]
        value = d["duration"]
    else:
        low, high = AGES[name]
        value = (pd.to_datetime(d["observed_at"]) - pd.to_datetime(d["published_at"])) / pd.Timedelta(days=1)
        low = -1 if low == 0 else low
    return (value >= low) & (value < (high or math.inf))


@pytest.mark.parametrize(("filters", "rows"), FILTERS, ids=range(len(FILTERS)))
def test_the_figures_of_scores_are_those_of_the_raw_rows(filled: pd.DataFrame, filters: Filters, rows: Rows) -> None:
    known, members = given(filters)
    chosen = filled[rows(filled)]
    assert members.sum() == len(chosen)
    scored = chosen[chosen["viral_score"].notna()]
    found = distributions.spread(known, members)
    assert (found is None) == scored.empty
    if found is not None:
        expected(found, scored)
    for part in distributions.PARTS:
        column = {"format": "media_type"}.get(part, part)
        if part in ("duration", "age"):
            wanted = {name: scored[within(scored, name)] for name in (DURATIONS if part == "duration" else AGES)}
        else:
            wanted = {str(value): group for value, group in scored.groupby(column)}
        groups = distributions.by_part(known, members, part, 3, 100)
        assert {one.group for one in groups} == {name for name, group in wanted.items() if len(group) >= 3}
        for one in groups:
            expected(one, wanted[one.group])
    both = chosen[chosen["velocity"].notna() & chosen["predicted_velocity"].notna()]
    beside = distributions.growth(known, members)
    assert beside.n == len(both) == sum(n for *_, n in beside.cells)
    if len(both) < 3:
        return
    measured, predicted = both["velocity"].clip(lower=1), both["predicted_velocity"].clip(lower=1)
    assert beside.rank == pytest.approx(measured.rank().corr(predicted.rank()))
    ratio = predicted / measured
    assert beside.close == pytest.approx(((ratio > 0.5) & (ratio < 2)).mean())
    assert beside.ratio == pytest.approx(ratio.median())
    cells = pd.DataFrame({
        "measured": np.floor(np.log10(measured) * 5).clip(upper=39),
        "predicted": np.floor(np.log10(predicted) * 5).clip(upper=39),
    }).value_counts()  # fmt: skip
    assert {(m, p): n for m, p, n in beside.cells} == cells.to_dict()


def test_the_figures_of_scores_that_have_one_base_rate_are_those_of_the_raw_rows(filled: pd.DataFrame) -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET base_rate = 0.1 WHERE base_rate IS NOT NULL"))
        facts.sync(connection)
    known, members = given(Filters())
    assert known.one_base_rate == 0.1
    scored = filled[filled["viral_score"].notna()].assign(base_rate=0.1)
    assert (scored["viral_score"] == 0.1).any()  # which is not above it
    expected(distributions.spread(known, members), scored)  # type: ignore[arg-type]
    groups = distributions.by_part(known, members, "category", 3, 100)
    assert len(groups) == 3
    for one in groups:
        expected(one, scored[scored["category"] == one.group])


def expected(found: distributions.Spread, rows: pd.DataFrame) -> None:
    score = rows["viral_score"]
    assert found.n == len(rows)
    assert found.base_rate == pytest.approx(rows["base_rate"].mean())
    assert found.above == pytest.approx((score > rows["base_rate"]).mean())
    assert found.quantiles == pytest.approx(score.quantile(list(distributions.QUANTILES)).tolist())
    assert list(found.counts) == np.histogram(score, np.arange(101) / 100)[0].tolist()
    assert found.below()[37] == pytest.approx((score < 0.37).mean())


def of_pattern(d: pd.DataFrame, one: patterns.Association) -> pd.Series:
    if one.kind == "structure":
        return d["title"].map(lambda title: bool(patterns.form_bit(one.pattern) & patterns.forms(title)))  # type: ignore[operator]
    spaced = d["title"].map(lambda title: " " + " ".join(word or "|" for word in patterns.tokens(title)) + " ")
    return spaced.str.contains(f" {one.pattern} ", regex=False)


@pytest.mark.parametrize("kind", ["structure", "ngram"])
@pytest.mark.parametrize(("filters", "rows"), FILTERS[:8], ids=range(8))
def test_the_figures_of_title_patterns_are_those_of_the_raw_rows(
    filled: pd.DataFrame, filters: Filters, rows: Rows, kind: patterns.Kind
) -> None:
    known, members = given(filters)
    chosen = filled[rows(filled)]
    found = patterns.associations(known.corpus, kind, members)
    assert (found.titles, found.videos) == (len(chosen), chosen["outlier_multiple"].notna().sum())
    assert found.tested > 0 or len(chosen) < 300
    for one in found.surest:
        having = of_pattern(chosen, one)
        assert one.share == pytest.approx(having.mean())
        told = chosen[chosen["outlier_multiple"].notna()]
        # a regression on having the pattern with an effect for each channel, the plain way
        outcome, has = np.log(told["outlier_multiple"]), of_pattern(told, one).astype(float)
        channel = told["channel_key"]
        x, y = has - has.groupby(channel).transform("mean"), outcome - outcome.groupby(channel).transform("mean")
        assert one.lift == pytest.approx(math.exp((x * y).sum() / (x * x).sum()))
        tells = (x * x).groupby(channel).sum() > 0
        assert one.n_channels == tells.sum()
        assert one.n_videos == has[channel.map(tells)].sum()
        if one.trend is not None:
            days = pd.to_datetime(chosen["published_at"]).dt.tz_localize(None)
            monday = days.dt.floor("D") - pd.to_timedelta(days.dt.day_of_week, unit="D")
            every = pd.to_datetime(filled["published_at"]).dt.tz_localize(None)
            newest = every.max().floor("D") - pd.Timedelta(days=every.max().weekday())
            for back, share in enumerate(reversed(one.trend.shares)):
                week = monday == newest - pd.Timedelta(weeks=back)
                assert share == (pytest.approx(having[week].mean()) if week.sum() >= patterns.MIN_WEEK else None)
    # the interval and q of the first, by leaving out one channel after the other
    if found.surest:
        one = found.surest[0]
        told = chosen[chosen["outlier_multiple"].notna()]
        outcome, has = np.log(told["outlier_multiple"]), of_pattern(told, one).astype(float)
        x = has - has.groupby(told["channel_key"]).transform("mean")
        y = outcome - outcome.groupby(told["channel_key"]).transform("mean")
        tells = sorted(key for key, value in (x * x).groupby(told["channel_key"]).sum().items() if value > 0)
        left = np.array([
            (x * y)[told["channel_key"] != key].sum() / (x * x)[told["channel_key"] != key].sum() for key in tells
        ])  # fmt: skip
        error = math.sqrt((len(tells) - 1) / len(tells) * ((left - math.log(one.lift)) ** 2).sum())
        assert found.table.estimate.error[np.argmin(found.table.p_value)] == pytest.approx(error)


@pytest.mark.parametrize("sort", browse.SORTS)
def test_pages_of_the_chosen_come_in_the_order_of_the_tables(filled: pd.DataFrame, sort: browse.Sort) -> None:
    with db.transaction("viewer") as connection:
        known = facts.load(connection)
        order = connection.scalars(text(f"SELECT candidate_id FROM candidates ORDER BY {browse.SORTS[sort]}")).all()
        for filters, rows in FILTERS:
            chosen = selection.passing(connection, known, filters)
            wanted = set(filled["candidate_id"][rows(filled)])
            listed: list[str] = []
            place: browse.Place | None = browse.Place()
            while place is not None:
                page = selection.page(connection, known, chosen, sort, 700, place)
                listed += [row.candidate_id for row in page.rows]
                place = page.after
            assert listed == [one for one in order if one in wanted], filters


def test_a_title_that_changes_and_a_video_that_goes_are_followed(filled: pd.DataFrame) -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("UPDATE candidates SET title = 'purple cat??' WHERE candidate_id = 'youtube:v1'"))
        connection.execute(text("DELETE FROM candidates WHERE candidate_id = 'youtube:v2'"))
        before = facts.version(connection)
        assert facts.sync(connection) == 2  # the old title's row goes, the new one's comes
        assert facts.version(connection) != before
        assert facts.sync(connection) == 0
        known = facts.load(connection)
        places = np.intersect1d(
            known.corpus.having("ngram", "purple"), known.corpus.having("structure", "Repeated marks")
        )
        assert known.candidate_ids(places) == ["youtube:v1"]
    assert len(known) == len(filled) - 1


def test_a_different_number_of_deletions_alone_makes_a_new_version(filled: pd.DataFrame) -> None:
    with db.transaction("worker") as connection:
        before = facts.version(connection)
        connection.execute(text("DELETE FROM candidates WHERE candidate_id = 'youtube:v2'"))
        facts.sync(connection)
        assert facts.version(connection) != before


@pytest.mark.usefixtures("filled")
def test_the_columns_and_their_questions_read_no_whole_table_but_the_facts() -> None:
    """`facts` and `title_words` are the roll-ups that are meant to be read whole; all else is met by an index."""
    statements = [
        "SELECT code, kind, value FROM fact_codes",
        "SELECT number, candidate_id FROM facts WHERE number = ANY('{1,2,3}')",
        "SELECT refreshed_at FROM rollups WHERE name = 'facts'",
        """SELECT * FROM forecasts WHERE model_version = 'm' AND basis = 'backtest' AND outcome_at IS NOT NULL
           ORDER BY observed_at DESC, candidate_id LIMIT 20000""",
    ]
    with db.transaction("viewer") as connection:
        from miles import browse

        browse.plan_by_index(connection)
        known = facts.load(connection)
        sent: dict[str, dict] = {}

        def note(_1: object, _2: object, statement: str, values: dict, *_3: object) -> None:
            if statement.lstrip().startswith(("SELECT", "WITH")):
                sent.setdefault(statement, values)

        event.listen(connection, "before_cursor_execute", note)
        for filters, _ in FILTERS[8:]:
            selection.passing(connection, known, filters)
            if filters.text.strip() or filters.channel.strip():
                selection._asked(connection, known, filters)
        event.remove(connection, "before_cursor_execute", note)
        assert any("FROM channels" in statement for statement in sent)
        assert any("JOIN facts" in statement for statement in sent)
        for statement, values in sent.items():
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values))
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
        for statement in statements:
            plan = "\n".join(connection.scalars(text(f"EXPLAIN {statement}")))
            assert "Seq Scan" not in plan or "on fact_codes" in plan, plan
            assert "Sort" not in plan, plan


SEARCHES = (
    "the", "THE", "étude", "etude", "猫", "cat*", "p*", '"the cat"', '"the cat" -race', '"purple pa"*', "-the", "-the -cat",
    "the OR bread", "the OR -bread", "slow OR OR", "!!!", "-!!!", "the -!!!", "!!! -the", "🔥", "#food", "part 2", '"PART 2"',
    "no-such-word", "vs you", "2024", "", '"', "the the the", '"cat cat"', "slow-bread", "x OR y OR -z",
)  # fmt: skip


def words_and_index_agree(known: Facts, typed: str) -> bool:
    with db.transaction("viewer") as connection:
        told = selection._having(connection, known, searching.terms(typed))
        asked = selection._asked(connection, known, Filters(text=typed or '"'))
    return bool((told == asked).all())


def test_the_roll_up_of_words_finds_what_the_full_text_index_finds(filled: pd.DataFrame) -> None:
    with db.transaction("viewer") as connection:
        known = facts.load(connection)
        assert selection._having(connection, known, searching.terms("the cat")).any()
    rng = random.Random(3)
    by_chance = {
        " ".join(
            rng.choice(("", "", "", "-"))
            + (f'"{" ".join(rng.choices(WORDS, k=rng.randint(1, 3)))}"' if rng.random() < 0.4 else rng.choice(WORDS)[: rng.randint(1, 6)])
            + rng.choice(("", "", "*"))
            + rng.choice(("", "", " OR"))
            for _ in range(rng.randint(1, 4))
        )
        for _ in range(150)
    }  # fmt: skip
    assert [typed for typed in (*SEARCHES, *sorted(by_chance)) if not words_and_index_agree(known, typed)] == []


@pytest.mark.usefixtures("filled")
def test_plain_words_are_cut_as_the_database_cuts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    plain = ["http www com", "e E nan inf", "x" * 300, "TRUE and or not", "lt gt amp"] + [
        " ".join("".join(rng.choices(string.ascii_letters, k=rng.randint(1, 12))) for _ in range(rng.randint(1, 5)))
        for _ in range(300)
    ]
    terms = [Term(words) for words in plain]
    with db.transaction("viewer") as connection:
        told = title_words.cut(connection, terms)
        monkeypatch.setattr(title_words, "_PLAIN", re.compile("(?!)"))
        assert told == title_words.cut(connection, terms)


def test_words_of_new_titles_come_in_and_those_of_removed_ones_go(filled: pd.DataFrame) -> None:
    with db.transaction("worker") as connection:
        connection.execute(
            text("UPDATE candidates SET title = 'Quixotic étude', changed_at = now() WHERE candidate_id = 'youtube:v1'")
        )
        connection.execute(text("DELETE FROM candidates WHERE candidate_id = 'youtube:v2'"))
        facts.sync(connection)
        known = facts.load(connection)
        quixotic = Filters(text="quixotic")
        assert not selection._having(connection, known, searching.terms("quixotic")).any(), (
            "not all titles are taken in"
        )
        assert known.candidate_ids(np.flatnonzero(selection.passing(connection, known, quixotic))) == ["youtube:v1"]
        title_words.sync(connection)
        known = facts.load(connection)
    for typed in ("quixotic", '"quixotic etude"', "the", "-the"):
        assert words_and_index_agree(known, typed)
    count = text("SELECT octet_length(places) FROM title_words WHERE word = 'quixotic'")
    with db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM candidates WHERE candidate_id = 'youtube:v1'"))
        rollups.refresh(connection)
        assert connection.scalar(count), "a number that nobody has"
        rollups.refresh(connection, everything=True)
        assert connection.scalar(count) is None
        known = facts.load(connection)
    assert words_and_index_agree(known, "the")


def test_the_figures_of_calibration_are_those_of_the_raw_rows(filled: pd.DataFrame) -> None:
    rng = np.random.default_rng(3)
    rows = filled[filled["viral_score"].notna() & filled["published_at"].notna()].sample(900, random_state=1).copy()
    rows["observed"] = [NOW - timedelta(days=float(days)) for days in rng.uniform(5, 70, len(rows))]
    rows["happened"] = rng.random(len(rows)) < rows["viral_score"]
    rows["age_band"] = rng.choice(["6-12h", "1-2d", "7d+"], len(rows))
    with db.transaction("worker") as connection:
        connection.execute(text("INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}')"))
        connection.execute(
            text(
                "INSERT INTO forecasts (candidate_id, model_version, basis, observed_day, observed_at, scored_at, views,"
                " age_band, viral_score, base_rate, threshold, predicted_velocity, velocity_low, velocity_high,"
                " outcome_at, velocity) VALUES (:id, 'm', 'backtest', :at, :at, now(), 1, :age, :score, :base, 100, :predicted,"
                " 1, 1000, :later, :velocity)"
            ),
            [
                {
                    "id": row.candidate_id, "at": row.observed, "age": row.age_band, "score": row.viral_score,
                    "base": row.base_rate, "predicted": 50 + number, "later": row.observed + timedelta(days=3),
                    "velocity": 200.0 if row.happened else 20.0,
                }
                for number, row in enumerate(rows.itertuples())
            ],
        )  # fmt: skip
    for filters, wanted in (FILTERS[0], (Filters(score_from=10), lambda d: d["viral_score"] >= 0.1)):
        chosen = rows[wanted(rows)]
        known, members = given(filters)
        with db.transaction("viewer") as connection:
            told = outcomes.among(outcomes.load(connection, "m", "backtest"), known, members)
        assert len(told) == len(chosen)
        p, y = chosen["viral_score"], chosen["happened"].astype(float)
        check = calibration.check(told.forecasts)
        assert check.brier is not None
        assert check.ece is not None
        assert check.skill is not None
        assert check.brier.value == pytest.approx(((p - y) ** 2).mean())
        assert check.brier.low < check.brier.value < check.brier.high
        assert check.skill.value == pytest.approx(1 - ((p - y) ** 2).mean() / ((chosen["base_rate"] - y) ** 2).mean())
        order = chosen.sort_values("viral_score")
        tenths = [order.iloc[part] for part in np.array_split(np.arange(len(order)), 10)]
        gaps = [abs(t["viral_score"].mean() - t["happened"].mean()) * len(t) for t in tenths]
        assert check.ece.value == pytest.approx(sum(gaps) / len(chosen))
        assert [one.observed.value for one in check.bins] == pytest.approx([t["happened"].mean() for t in tenths])
        for one in calibration.precision(told.forecasts, (10, 50, 100)):
            best = chosen.sort_values("viral_score", ascending=False).head(one.k)
            assert one.precision.value == pytest.approx(best["happened"].mean())
            assert one.precision.low <= one.precision.value <= one.precision.high
        for part, column in (("category", "category"), ("age", "age_band"), ("month", None), ("version", None)):
            which, names = outcomes.labels(told, known, part)  # type: ignore[arg-type]
            key = chosen["observed"].map(lambda at: f"{at:%Y-%m}") if part == "month" else chosen.get(column or "", "m")
            groups = {one.name: one for one in calibration.groups(told.forecasts, which, names)}
            for name, of in chosen.groupby(key if part != "version" else chosen["title"] * 0 + "m"):
                group = groups[str(name)]
                assert (group.n, group.happened) == (len(of), of["happened"].sum())
                assert group.channels == of["channel_key"].nunique()
                if group.brier is not None and group.observed is not None:
                    assert group.brier.value == pytest.approx(((of["viral_score"] - of["happened"]) ** 2).mean())
                    assert group.observed.value == pytest.approx(of["happened"].mean())
                    assert group.promised == pytest.approx(of["viral_score"].mean())


def test_ages_of_facts_are_those_of_metrics() -> None:
    assert facts.DAY == metrics.DAY * facts.SECOND
    assert facts.monday(int(facts.week_of(np.array([0]))[0])) == date(1999, 12, 27)
