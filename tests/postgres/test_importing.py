"""Files into the database: what is recognised, what is refused, and that nothing is half done."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import records

from miles import importing
from miles.errors import MilesError, UnreadableFile
from miles.importing import Progress, RowError, import_files

MODIFIED = datetime(2026, 3, 1, 12, tzinfo=UTC)
KAGGLE = """\
video_id,trending_date,title,channel_title,category_id,publish_time,tags,views,likes,dislikes,comment_count,thumbnail_link,description
aaaaaaaaaa1,17.14.11,"A title, with a comma",A channel,24,2017-11-13T17:13:01.000Z,"one|""two words\"\"",748374,57527,2966,15954,https://i.example/1.jpg,"First line
second line"
aaaaaaaaaa2,18.01.02,Another,B channel,10,2017-12-30T00:00:00.000Z,[none],5,0,0,0,,
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a file that was last modified at MODIFIED."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (MODIFIED.timestamp(),) * 2)
        return path

    return write


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def table(rows: Sequence[Mapping[str, object]], delimiter: str = ",") -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def videos() -> dict[str, dict[str, Any]]:
    return {row["video_id"]: row for row in records("SELECT * FROM candidates")}


def nothing_stored() -> bool:
    return records("SELECT count(*) AS n FROM candidates") == [{"n": 0}]


INFO = {
    "id": "aaaaaaaaaaa", "title": "A title", "extractor": "youtube", "extractor_key": "Youtube", "_type": "video",
    "webpage_url": "https://www.youtube.com/watch?v=aaaaaaaaaaa", "channel_id": "UC1", "channel": "A channel",
    "channel_follower_count": 1200, "view_count": 10, "like_count": 0, "comment_count": None, "duration": 61,
    "timestamp": 1767225600, "upload_date": "20260101", "tags": ["a", "b"], "categories": ["Music"],
    "epoch": 1767312000, "_version": {"version": "2026.01.01"}, "thumbnail": "https://i.example/a.jpg",
}  # fmt: skip


# ------------------------------------------------------------------------------------- what comes in


def test_kaggles_trending_files_come_in(database: str, write: Any) -> None:
    report = import_files([write("USvideos.csv", KAGGLE)])
    assert (report.new, report.rejected, report.rows, report.snapshots) == (2, 0, 2, 2)
    first, second = (videos()[name] for name in ("aaaaaaaaaa1", "aaaaaaaaaa2"))
    assert first["title"] == "A title, with a comma"
    assert first["description"] == "First line\nsecond line"
    assert first["category"] == "Entertainment"
    assert first["tags"] == ["one", "two words"]
    assert first["published_at"] == datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)
    assert first["observed_at"] == datetime(2017, 11, 14, tzinfo=UTC)
    assert (first["views"], first["likes"], first["comments"]) == (748374, 57527, 15954)
    assert first["thumbnail_url"] == "https://i.example/1.jpg"
    assert (second["tags"], second["description"], second["thumbnail_url"]) == (None, None, None)
    assert second["likes"] == 0  # hidden or none: as given


def test_kaggles_newer_column_names_come_in(database: str, write: Any) -> None:
    row = {
        "video_id": "aaaaaaaaaa1", "title": "A", "publishedAt": "2020-08-11T19:20:14Z", "channelId": "UC1",
        "channelTitle": "A channel", "categoryId": "22", "trending_date": "2020-08-12T00:00:00Z", "tags": "x|y",
        "view_count": "1514614", "likes": "156908", "comment_count": "35313", "thumbnail_link": "https://i.example/a",
    }  # fmt: skip
    import_files([write("US.csv", table([row]))])
    stored = videos()["aaaaaaaaaa1"]
    assert (stored["views"], stored["likes"], stored["comments"]) == (1514614, 156908, 35313)
    assert (stored["category"], stored["channel_key"]) == ("People & Blogs", "youtube:UC1")
    assert stored["observed_at"] == datetime(2020, 8, 12, tzinfo=UTC)
    assert records("SELECT name FROM channels") == [{"name": "A channel"}]


def test_the_answer_of_youtubes_data_api_comes_in(database: str, write: Any) -> None:
    item = {
        "kind": "youtube#video", "id": "aaaaaaaaaaa",
        "snippet": {
            "title": "A title", "publishedAt": "2026-01-02T03:04:05Z", "channelId": "UC1", "channelTitle": "A channel",
            "categoryId": "20", "defaultAudioLanguage": "en-US", "tags": ["one", "two, three"],
            "thumbnails": {"high": {"url": "https://i.example/high.jpg", "width": 480}},
        },
        "contentDetails": {"duration": "PT1M3S"},
        "statistics": {"viewCount": "12", "likeCount": "3", "commentCount": "0"},
    }  # fmt: skip
    report = import_files([write("answer.json", json.dumps({"kind": "youtube#videoListResponse", "items": [item]}))])
    assert report.new == 1
    stored = videos()["aaaaaaaaaaa"]
    assert (stored["duration"], stored["language"], stored["category"]) == (63, "en-us", "Gaming")
    assert stored["tags"] == ["one", "two, three"]
    assert (stored["views"], stored["likes"], stored["comments"]) == (12, 3, 0)
    assert stored["thumbnail_url"] == "https://i.example/high.jpg"
    assert stored["observed_at"] == MODIFIED


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.info.json", json.dumps(INFO)),
        ("a.info.json", json.dumps(INFO, indent=2)),
        ("dump.jsonl", json.dumps(INFO) + "\n\n" + json.dumps(INFO) + "\n"),
        ("list.json", json.dumps([INFO])),
        ("playlist.info.json", json.dumps({"_type": "playlist", "id": "PL", "title": "P", "entries": [INFO, None]})),
        ("no-suffix", "\ufeff" + json.dumps(INFO)),
    ],
)
def test_what_yt_dlp_writes_comes_in(database: str, write: Any, name: str, content: str) -> None:
    report = import_files([write(name, content)])
    assert (report.new, report.rejected) == (1, 0)
    stored = videos()["aaaaaaaaaaa"]
    assert (stored["views"], stored["likes"], stored["comments"]) == (10, 0, None)
    assert stored["observed_at"] == datetime.fromtimestamp(INFO["epoch"], UTC)
    assert (stored["tier"], stored["source"], stored["category"]) == ("full", "yt-dlp 2026.01.01", "Music")
    assert stored["tags"] == ["a", "b"]
    assert records("SELECT name, followers FROM channels") == [{"name": "A channel", "followers": 1200}]


def test_entries_of_a_flat_playlist_are_flat(database: str, write: Any) -> None:
    entry = {
        "_type": "url",
        "ie_key": "Youtube",
        "id": "bbbbbbbbbbb",
        "title": "B",
        "view_count": 3,
        "timestamp": 1767225600,
    }
    import_files([write("p.json", json.dumps({"_type": "playlist", "epoch": 1767312000, "entries": [entry]}))])
    stored = videos()["bbbbbbbbbbb"]
    assert (stored["tier"], stored["published_at"]) == ("flat", None)
    assert stored["published_about"] == datetime.fromtimestamp(1767225600, UTC)
    assert stored["observed_at"] == datetime.fromtimestamp(1767312000, UTC)


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("comma.csv", lambda text: text.encode("utf-8-sig")),
        ("semicolon.csv", lambda text: text.replace(",", ";").encode()),
        ("tab.tsv", lambda text: text.replace(",", "\t").encode()),
        ("latin.csv", lambda text: text.encode("latin-1")),
        ("excel.csv", lambda text: text.encode("utf-16")),
        ("windows.csv", lambda text: text.replace("\n", "\r\n").encode()),
    ],
)
def test_tables_of_text_come_in_however_they_are_written(database: str, write: Any, name: str, encode: Any) -> None:
    content = "Video ID,Title,View-Count,Duration\naaaaaaaaaa1,Käse für alle,12,1:03\naaaaaaaaaa2,Öl,0,PT2M\n"
    report = import_files([write(name, encode(content))])
    assert report.new == 2
    assert {row["title"] for row in videos().values()} == {"Käse für alle", "Öl"}
    assert {row["duration"] for row in videos().values()} == {63, 120}


def test_parquet_comes_in_with_its_own_types(database: str, write: Any) -> None:
    content = parquet(
        video_id=["aaaaaaaaaa1", "aaaaaaaaaa1", "aaaaaaaaaa2"],
        country=pa.array(["DE", "US", None]).dictionary_encode(),
        fetched_at=pa.array([1767312000_000001, 1767398400_000001, None], pa.timestamp("us", "UTC")),
        published_at=pa.array([1767225600] * 3, pa.timestamp("s")),
        title=pa.array(["Old", "New", "Other"], pa.large_string()),
        channel_id=["UC1", "UC1", None],
        channel_title=["A channel", "A channel!", None],
        category_id=[10, 10, 99],
        tags=["a, b,c", "", None],
        default_language=["EN", "und", None],
        duration=pa.array([0, 0, 61], pa.int32()),
        views=pa.array([1.0, 5.0, float("nan")]),
        likes=[0, 0, None],
        comments=pa.array([1, 2, None], pa.uint64()),
    )
    report = import_files([write("videos.parquet", content)])
    assert (report.new, report.snapshots, report.rejected) == (2, 3, 0)
    first, second = (videos()[name] for name in ("aaaaaaaaaa1", "aaaaaaaaaa2"))
    assert (first["title"], first["views"], first["likes"], first["comments"]) == ("New", 5, 0, 2)
    assert (first["tags"], first["language"], first["duration"]) == (["a", "b", "c"], "en", 0)
    assert first["observed_at"] == datetime(2026, 1, 3, 0, 0, 0, 1, tzinfo=UTC)
    assert (second["views"], second["category"], second["channel_key"]) == (None, None, None)
    assert second["last_seen_at"] == MODIFIED
    assert records("SELECT name FROM channels") == [{"name": "A channel!"}]
    assert [r["country"] for r in records("SELECT country FROM snapshots ORDER BY observed_at, country")] == [
        "DE",
        "US",
        None,
    ]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"id": "aaaaaaaaaa1"}, "youtube:aaaaaaaaaa1"),
        ({"id": "7503403688367557906"}, "tiktok:7503403688367557906"),
        ({"id": "Cxxxxxxxxx1", "url": "https://www.instagram.com/reel/Cxxxxxxxxx1/"}, "instagram:Cxxxxxxxxx1"),
        ({"id": "76979871", "extractor": "vimeo"}, "vimeo:76979871"),
        ({"url": "https://youtu.be/aaaaaaaaaa1?t=3"}, "youtube:aaaaaaaaaa1"),
        ({"url": "https://www.youtube.com/watch?app=desktop&v=aaaaaaaaaa1"}, "youtube:aaaaaaaaaa1"),
        ({"url": "https://www.tiktok.com/@someone/video/7503403688367557906"}, "tiktok:7503403688367557906"),
    ],
)
def test_the_platform_is_told_by_a_column_the_address_or_the_form_of_the_id(
    database: str, write: Any, row: dict[str, str], key: str
) -> None:
    report = import_files([write("a.csv", table([{**row, "title": "A"}]))])
    assert report.errors == ()
    assert [r["candidate_id"] for r in records("SELECT candidate_id FROM candidates")] == [key]


def test_a_mapping_names_what_is_not_recognised(database: str, write: Any) -> None:
    content = "video_id,title,Aufrufe,views\naaaaaaaaaa1,A,7,1\n"
    report = import_files([write("a.csv", content)], mapping={"views": "Aufrufe"})
    assert videos()["aaaaaaaaaa1"]["views"] == 7
    assert next(iter(report.columns.values()))["views"] == "Aufrufe"
    import_files([write("b.json", json.dumps([{"nr": "aaaaaaaaaa2", "title": "B", "n": {"seen": 9}}]))],
                 mapping={"video_id": "nr", "views": "n.seen"})  # fmt: skip
    assert videos()["aaaaaaaaaa2"]["views"] == 9


# -------------------------------------------------------------------------------- what stays the same


@pytest.mark.parametrize("name", ["USvideos.csv", "dump.jsonl", "a.parquet"])
def test_importing_twice_changes_nothing(database: str, write: Any, name: str) -> None:
    content = {
        "USvideos.csv": KAGGLE,
        "dump.jsonl": json.dumps(INFO) + "\n" + json.dumps({**INFO, "id": "bbbbbbbbbbb", "epoch": None}) + "\n",
        "a.parquet": parquet(video_id=["aaaaaaaaaa1", "aaaaaaaaaa2"], title=["A", "B"], views=[1, 2]),
    }[name]
    path = write(name, content)
    assert import_files([path]).new == 2
    before = [records(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("candidates", "channels", "snapshots")]
    report = import_files([path])
    assert (report.new, report.updated, report.unchanged, report.snapshots) == (0, 0, 2, 0)
    assert before == [
        records(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("candidates", "channels", "snapshots")
    ]


def test_a_dry_run_tells_what_would_happen_and_changes_nothing(database: str, write: Any) -> None:
    path = write("USvideos.csv", KAGGLE + "aaaaaaaaaa3,18.01.02,,C,1,,,,,,,,\n")
    tried = import_files([path], dry_run=True)
    assert nothing_stored()
    assert records("SELECT to_regclass('snapshots_2017_11')::text AS part") == [{"part": None}]
    done = import_files([path])
    assert tried.dry_run
    assert not done.dry_run
    assert (tried.new, tried.rejected, tried.snapshots, tried.errors) == (2, 1, 2, done.errors)
    assert (done.new, done.rejected, done.snapshots) == (2, 1, 2)
    recognised = next(iter(tried.columns.values()))
    assert (recognised["observed_at"], recognised["comments"]) == ("trending_date", "comment_count")


def test_progress_grows_to_the_end(database: str, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "TEXT_BATCH", 1)
    seen: list[Progress] = []
    import_files([write("a.csv", KAGGLE), write("b.json", json.dumps(INFO))], on_progress=seen.append)
    assert [p.step for p in seen] == ["read", "read", "read", "merge", "done"]
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions)
    assert (seen[-1].fraction, seen[-1].rows) == (1.0, 3)


# ------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"video_id": ""}, "no video id"),
        ({"title": "  "}, "no title"),
        ({"views": "-1"}, "views is out of range: -1"),
        ({"views": "many"}, "views is not a number: many"),
        ({"likes": "9" * 30}, "likes is out of range"),
        ({"published_at": "yesterday"}, "not a date: 'yesterday'"),
        ({"published_at": "1999-01-01"}, "published_at is not believable: 1999-01-01"),
        ({"observed_at": "2999-01-01T00:00:00Z"}, "observed_at is not believable: 2999-01-01"),
        ({"duration": "long"}, "duration is not a number"),
        ({"duration": "-3"}, "duration is out of range"),
        ({"video_id": "unlike anything"}, "unknown platform"),
    ],
)
def test_a_bad_row_is_reported_with_file_line_and_reason_and_the_others_come_in(
    database: str, write: Any, row: dict[str, str], reason: str
) -> None:
    good = {"video_id": "aaaaaaaaaa1", "title": "A\nB", "views": "1", "likes": "", "published_at": "2026-01-01",
            "observed_at": "2026-01-02", "duration": "1"}  # fmt: skip
    path = write(
        "some.csv", table([good, {**good, "video_id": "aaaaaaaaaa2", **row}, {**good, "video_id": "aaaaaaaaaa3"}])
    )
    report = import_files([path])
    assert (report.new, report.rejected, report.rejected_rows, report.rows) == (2, 1, 1, 3)
    (error,) = report.errors
    assert (error.file, error.line) == ("some.csv", 4)  # a header, and two lines of the first row
    assert reason in error.reason
    assert set(videos()) == {"aaaaaaaaaa1", "aaaaaaaaaa3"}


def test_bad_lines_of_json_are_reported_with_their_number(database: str, write: Any) -> None:
    lines = [json.dumps(INFO), "{not json", "", "3", json.dumps({**INFO, "id": "bbbbbbbbbbb", "view_count": -5}),
             json.dumps({**INFO, "id": "ccccccccccc", "thumbnails": "x", "categories": 3, "thumbnail": None})]  # fmt: skip
    report = import_files([write("dump.jsonl", "\n".join(lines) + "\n")])
    assert report.new == 2  # what stands in the wrong form is missing, not fatal
    assert [error.line for error in report.errors] == [2, 4, 5]
    assert "out of range" in report.errors[2].reason


def test_rows_of_another_width_are_reported(database: str, write: Any) -> None:
    report = import_files(
        [write("a.csv", "video_id,title\naaaaaaaaaa1,A\naaaaaaaaaa2,B,C\naaaaaaaaaa3\naaaaaaaaaa4,D\n")]
    )
    assert (report.new, report.rows, report.rejected) == (2, 4, 2)
    assert report.errors == (
        RowError("a.csv", 3, "3 columns where the header has 2"),
        RowError("a.csv", 4, "1 columns where the header has 2"),
    )


def test_rows_of_parquet_are_counted_from_one_across_batches(
    database: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    content = parquet(video_id=[f"aaaaaaaaaa{n}" for n in range(5)], title=["A"] * 5, views=[1, 1, 1, -1, 1])
    report = import_files([write("a.parquet", content)])
    assert [error.line for error in report.errors] == [4]
    assert report.new == 4


def test_a_video_counts_as_rejected_only_if_none_of_its_rows_came_in(database: str, write: Any) -> None:
    content = "video_id,title,views\naaaaaaaaaa1,A,1\naaaaaaaaaa1,A,-1\naaaaaaaaaa2,B,-1\naaaaaaaaaa2,B,-2\n,C,1\n"
    report = import_files([write("a.csv", content)])
    assert (report.new, report.rejected, report.rejected_rows) == (1, 2, 4)


def test_only_the_first_errors_are_kept_but_all_are_counted(
    database: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_ERRORS", 2)
    report = import_files([write("a.csv", "video_id,title,views\n" + "aaaaaaaaaa1,A,-1\n" * 5)])
    assert (len(report.errors), report.rejected_rows, report.rejected) == (2, 5, 1)


GOOD = "video_id,title\naaaaaaaaaa1,A\n"
TABLE = parquet(video_id=["aaaaaaaaaa1"] * 999, title=["A"] * 999)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.json", " \n", "is empty"),
        ("a.csv", "video_id,title\n", "no row"),
        ("a.json", "[]", "without a video"),
        ("a.parquet", parquet(video_id=pa.array([], pa.string()), title=pa.array([], pa.string())), "is empty"),
        ("a.parquet", TABLE[: len(TABLE) // 2], "damaged or truncated"),
        ("a.parquet", TABLE[:8] + b"\xff" * (len(TABLE) - 400) + TABLE[-392:], "damaged or truncated"),
        ("a.parquet", GOOD, "named as Parquet"),
        ("a.csv", TABLE, "named as a table of text"),
        ("a.json", GOOD, "named as JSON"),
        ("a.jsonl", "\x89PNG\r\n\x1a\n\x00\x00", "named as JSON"),
        ("a.bin", "\x89PNG\r\n\x1a\n\x00\x00", "is not text"),
        ("a.csv.gz", b"\x1f\x8b\x08\x00", "is compressed"),
        ("a.csv", GOOD + '"aaaaaaaaaa2,B', "ends inside the quotes of line 3"),
        ("a.csv", GOOD + "aaaaa", "ends in the middle of line 3"),
        ("a.json", json.dumps(INFO)[:-20], "damaged or truncated"),
        ("a.jsonl", json.dumps(INFO) + "\n" + json.dumps(INFO)[:-20], "ends in the middle of line 2"),
        ("a.csv", "name,city\nA,B\n", "no column that Miles knows as title. Its columns: name, city"),
        ("a.json", '[{"name": "A"}]', "no column that Miles knows as title"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_and_nothing_changes(
    database: str, write: Any, name: str, content: str | bytes, message: str
) -> None:
    good = write("good.csv", GOOD)
    bad = write("bad-" + name, content)
    with pytest.raises(UnreadableFile, match=message) as refused:
        import_files([good, bad])
    assert bad.name in str(refused.value)
    assert nothing_stored()


def test_a_missing_file_is_refused(database: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        import_files([tmp_path / "none.csv"])


def test_a_mapping_to_nothing_of_ours_names_what_there_is(database: str, write: Any) -> None:
    with pytest.raises(MilesError, match=r"no column 'colour'.*video_id, title"):
        import_files([write("a.csv", GOOD)], mapping={"colour": "title"})


def test_a_mapping_from_a_column_that_is_not_there_names_those_that_are(database: str, write: Any) -> None:
    with pytest.raises(UnreadableFile, match=r"no column 'n'.*video_id, title"):
        import_files([write("a.csv", GOOD)], mapping={"views": "n"})


# ------------------------------------------------------------------------------------- the two ways in


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\x1f"), max_size=20)
WILD = st.fixed_dictionaries({
    "video_id": st.sampled_from(["aaaaaaaaaa1", "aaaaaaaaaa2", ""]) | TEXTS,
    "title": TEXTS,
    "description": TEXTS,
    "tags": TEXTS | st.sampled_from(["a, b", "a|b", "['x', 'y']", "[", "[none]", ", ,"]),
    "views": TEXTS | st.integers(-5, 2**70).map(str),
    "duration": TEXTS | st.sampled_from(["1:03", "PT3S", "nan", "1e400"]),
    "published_at": TEXTS | st.sampled_from(["20260101", "17.14.11", "1e30", "-1", "2026-01-01T00:00:00+25:00"]),
})  # fmt: skip


@settings(max_examples=60)
@given(rows=st.lists(WILD.filter(lambda row: any(row.values())), min_size=1, max_size=5))
def test_whatever_a_table_holds_each_row_comes_in_or_is_reported(
    database: str, write: Any, rows: list[dict[str, str]]
) -> None:
    """No row makes the import fail; CSV and JSON of the same text say the same."""
    reports = []
    for name, content in (("a.csv", table(rows)), ("a.json", json.dumps(rows))):
        report = import_files([write(name, content)], dry_run=True)
        assert report.rows == len(rows)
        assert report.rejected_rows == len(report.errors)
        assert report.new <= report.rows - report.rejected_rows
        assert (report.new == 0) == (report.rejected_rows == report.rows)
        reports.append((report.new, report.rejected, [error.reason for error in report.errors]))
    assert reports[0] == reports[1]


def test_ten_thousand_rows_are_not_as_many_statements(
    database: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard against work per row; the time that it takes is measured in benchmarks/bench_import.py."""
    rows = [{"video_id": f"{n % 2000:011d}", "title": f"Title {n % 2000}", "views": n, "observed_at": 1767225600 + n} for n in range(10_000)]  # fmt: skip
    path = write("many.csv", table(rows))
    statements: list[object] = []
    for name in ("execute", "executemany"):
        whole = getattr(psycopg.Cursor, name)

        def counting(cursor: psycopg.Cursor, query: Any, *rest: Any, _whole: Any = whole, **how: Any) -> Any:
            statements.append(query)
            return _whole(cursor, query, *rest, **how)

        monkeypatch.setattr(psycopg.Cursor, name, counting)
    report = import_files([path])
    assert (report.new, report.snapshots) == (2000, 10_000)
    assert 5 < len(statements) < 200
