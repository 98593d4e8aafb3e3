"""What Miles adds to yt-dlp: time against bare yt-dlp for the same addresses, and memory over many videos.

    python -m benchmarks.bench_collect shared [--rounds N] [--videos N]

`shared` is the folder that holds `replay/` (recorded answers and the proxy that plays them). Both sides ask the same
proxy for the same addresses, without any delay for politeness, in processes of their own that are warm: all recorded
watch pages that can be read, and the picture of each. Bare yt-dlp has the options that Miles sets, so that both send
the same requests, and throws away what it gets; Miles keeps its account of requests, and stores facts, looks and
pictures. They take turns, and the one to begin alternates; the ratio is of the sums.

Then one process collects topics until it has read `--videos` videos in full, some of them several times, for the
recordings have fewer; memory is the process' peak at a tenth of the way and at the end.
"""

import argparse
import json
import multiprocessing
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from multiprocessing.pool import Pool
from pathlib import Path

from benchmarks import setup

TOPICS = (
    "cirque du soleil", "covid", "music video", "street food", "live concert", "dance", "official audio", "how to",
    "best of", "news today", "game trailer", "cover", "remix", "lyrics", "behind the scenes", "tutorial",
)  # fmt: skip
MOST_OVERHEAD = 0.15  # of bare yt-dlp's time
MOST_GROWTH = 1.1  # of memory, from a tenth of the videos to all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--rounds", type=int, default=6, help="times that both read all")
    parser.add_argument("--videos", type=int, default=2000, help="read by one process for its memory; 0: none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, playing(given.shared, Path(folder)) as (address, certificate):
        unhindered = {"MILES_REQUEST_DELAY": "0", "MILES_HOURLY_BUDGET": "1000000"}
        with setup.empty(MILES_PROXY=address, SSL_CERT_FILE=certificate, **unhindered):
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as bare, context.Pool(1) as miles:
                addresses = miles.apply(readable, (recorded(given.shared),))
                compare(given.rounds, address, addresses, bare, miles)
            if given.videos:
                setup.in_a_process(remember, given.videos)


@contextmanager
def playing(shared: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The proxy's address and the certificate to trust."""
    replay = shared.resolve() / "replay"
    process = subprocess.Popen(
        [
            sys.executable, str(replay / "replay_proxy.py"), "--recordings", str(replay / "recordings"), "--port", "0",
            "--unknown", "corpus", "--synth-watch", "--state", str(folder / "replay"),
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    try:
        ready = re.match(r"READY (\S+) ca=(\S+)", process.stdout.readline())
        assert ready, "the proxy did not start"
        yield ready[1], ready[2]
    finally:
        process.terminate()
        process.wait(10)


def compare(rounds: int, proxy: str, addresses: list[str], bare: Pool, miles: Pool) -> None:
    sides = {"bare yt-dlp": (bare, by_yt_dlp), "Miles": (miles, by_miles)}
    for pool, read in sides.values():  # imports, connections, what the proxy makes once
        pool.apply(read, (addresses,))
    times: dict[str, list[float]] = {name: [] for name in sides}
    asked: dict[str, int] = {}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            pool, read = sides[name]
            before = requests(proxy)
            times[name].append(pool.apply(read, (addresses,)))
            asked[name] = requests(proxy) - before
        print(f"{len(addresses)} videos  " + "  ".join(f"{name} {times[name][-1]:6.2f} s" for name in sides)
              + f"  {asked['Miles']} requests each")  # fmt: skip
        assert asked["Miles"] == asked["bare yt-dlp"], asked
    overhead = sum(times["Miles"]) / sum(times["bare yt-dlp"]) - 1
    each = [mine / theirs - 1 for mine, theirs in zip(times["Miles"], times["bare yt-dlp"], strict=True)]
    print(f"overhead {overhead:.1%} (median of the rounds {statistics.median(each):.1%}); at most {MOST_OVERHEAD:.0%}")
    assert overhead <= MOST_OVERHEAD


def requests(proxy: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{proxy}/__replay__/stats") as answer:
        return json.load(answer)["requests"]


def recorded(shared: Path) -> list[str]:
    """The addresses of the videos whose watch pages are recorded."""
    manifest = shared / "replay" / "recordings" / "manifest.jsonl"
    entries = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    parts = ("watch_page", "next")
    videos = sorted(
        {entry["key"]["videoId"] for entry in entries if entry["endpoint"] in parts and "videoId" in entry["key"]}
    )
    return [f"https://www.youtube.com/watch?v={video_id}" for video_id in videos]


def readable(addresses: list[str]) -> list[str]:
    """Those of which yt-dlp can read a video with a picture, and nothing in its answers fails."""
    from miles.errors import MilesError
    from miles.pacing import Pacer
    from miles.scrape import Found, Source

    source, good = Source(Pacer()), []
    for address in addresses:
        try:
            if source.extract(Found(address, None, None, "Youtube")).candidate.thumbnail_url:
                good.append(address)
        except MilesError:  # refused by the recording itself: no breaker is to remember that
            forget()
    return good


def by_yt_dlp(addresses: list[str]) -> float:
    """Seconds of yt-dlp alone."""
    import yt_dlp

    from miles import scrape, settings

    chosen = settings.load()
    options = {
        "proxy": chosen.proxy, "compat_opts": {"no-certifi"}, "quiet": True, "no_warnings": True, "skip_download": True,
        "cachedir": False, "ignore_no_formats_error": True, "noplaylist": True,
        "extractor_args": {"youtube": {"player_skip": ["js"], "skip": ["hls", "dash", "translated_subs"]}},
    }  # fmt: skip
    start = time.perf_counter()
    with yt_dlp.YoutubeDL(options) as downloader:
        for address in addresses:
            info = downloader.extract_info(address, download=False)
            picture = scrape._thumbnail(info)
            assert picture
            with suppress(yt_dlp.networking.exceptions.HTTPError):  # some recorded videos' pictures are not there
                downloader.urlopen(picture).read()
    return time.perf_counter() - start


def by_miles(addresses: list[str]) -> float:
    """Seconds of a collection of them."""
    from sqlalchemy import text

    from miles import collecting, db, items
    from miles.scrape import Found

    forget()
    start = time.perf_counter()
    with db.transaction("worker") as connection:
        # as a re-visit: a collection whose list is known
        collection_id = collecting.ask(connection, collecting.REVISIT_TARGET, "revisit", len(addresses))
        found = [Found(one, f"youtube:{one[-11:]}", None, "Youtube") for one in addresses]
        items.add(connection, collection_id, found, position=0, room=len(found))
        connection.execute(
            text("UPDATE collections SET listed_at = now() WHERE collection_id = :id"), {"id": collection_id}
        )
    report = collecting.carry_out(collection_id)
    seconds = time.perf_counter() - start
    assert (report.state, report.new, report.reason) == ("done", len(addresses), None), report
    assert not [item for item in report.items if item.reason]
    return seconds


def forget() -> None:
    from sqlalchemy import text

    from miles import db

    with db.transaction("owner") as connection:
        connection.execute(text("TRUNCATE candidates, channels, collections, sources, gone_videos CASCADE"))


def remember(videos: int) -> None:
    """Print the peak resident memory of this process after a tenth of the videos and after all."""
    from miles import collecting, items

    items.FRESH_HOURS = 0
    read, tenth = 0, 0.0
    start = time.perf_counter()
    for topic in cycle(TOPICS):
        report = collecting.collect(topic, item_limit=50)
        read += report.new + report.updated
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if not tenth and read >= videos / 10:
            tenth = peak
            print(f"peak memory after {read:,} videos {tenth:,.0f} MB")
        if read >= videos:
            break
    seconds = time.perf_counter() - start
    print(f"peak memory after {read:,} videos {peak:,.0f} MB ({read / seconds:.1f} videos/s)")
    assert peak <= tenth * MOST_GROWTH


if __name__ == "__main__":
    main()
