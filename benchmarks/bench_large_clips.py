"""What large clips take: 500 MB into a folder and into a bucket, one upload that breaks off, and the examination of 4K.

    python -m benchmarks.bench_large_clips [--megabytes 499] [--seconds 3]

Needs no data: a clip of 2160 x 3840 is made and filled up with noise that no player reads, in a temporary folder with a
fresh MILES_HOME. The bucket is moto's S3 server in a process of its own (needs moto[server], see requirements-dev.txt),
so its memory is not in the numbers. Prints seconds, and by how much the memory of the process that takes the clip grew;
of the examination, the memory of its own process. Ends with 1 if what is stored is not what was sent.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import setup

MB = 1_000_000
KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_EC2_METADATA_DISABLED": "true"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=499)
    parser.add_argument("--seconds", type=float, default=3.0, help="of 4K")
    given = parser.parse_args()
    with setup.empty() as home:
        clip = Path(home) / "clip.mp4"
        make(clip, given.seconds, given.megabytes * MB)
        examined(clip, given.seconds)  # first: the largest child of this process is that of the examination
        into_a_folder(clip)
        with s3() as address:
            os.environ.update(KEYS, MILES_STORAGE_URL=f"s3://clips?endpoint_url={address}&region=us-east-1")
            into_a_bucket(clip)


def make(path: Path, seconds: float, size: int) -> None:
    """A clip of 4K, 30 frames a second, upright, filled up to a size."""
    import av

    dice = np.random.default_rng(0)
    scenes = [
        np.kron(dice.integers(0, 255, (40, 24, 3), dtype=np.uint8), np.ones((96, 90, 1), np.uint8)) for _ in (1, 2, 3)
    ]
    frames = int(seconds * 30)
    with av.open(str(path), "w", format="mp4") as target:
        stream: Any = target.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 2160, 3840, "yuv420p"
        for i in range(frames):
            moved = np.ascontiguousarray(np.roll(scenes[i * 3 // frames], i * 8, axis=1))
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    with path.open("ab") as file:
        left = size - file.tell()
        file.write(left.to_bytes(4, "big") + b"free")
        for start in range(8, left, MB):
            file.write(os.urandom(min(MB, left - start)))


def take(clip: Path) -> str:
    """Take a clip in; returns its key."""
    from miles import clips, db, jobs

    with clip.open("rb") as file:
        taken = clips.take(file, clip.name, "", "local", jobs.defer_clip)
    with db.transaction("viewer", "local") as connection:
        known = clips.clip(connection, taken.clip_id)
    assert known
    return known.sha256


def into_a_folder(clip: Path) -> None:
    key = measured(f"{clip.stat().st_size / MB:.0f} MB into a folder", lambda: take(clip))
    check(key)
    measured("the same file again", lambda: take(clip))
    forget()


def into_a_bucket(clip: Path) -> None:
    from miles import settings, storage
    from miles.errors import StorageUnavailable

    settings.load.cache_clear()
    bucket = storage.thumbnails().bucket  # type: ignore[attr-defined]
    bucket._patient.create_bucket(Bucket="clips")
    key = measured("into a bucket", lambda: take(clip))
    check(key)
    forget()
    bucket._patient.delete_object(**bucket._named(key))
    parts = -(-clip.stat().st_size // storage.PART)
    sent: list[int] = []
    send = bucket._patient.upload_part

    def upload_part(broken: bool) -> Callable[..., Any]:
        def upload(**part: Any) -> Any:
            if broken and part["PartNumber"] > parts // 2:
                raise OSError("the line is down")
            sent.append(part["PartNumber"])
            return send(**part)

        return upload

    def breaks_off() -> None:
        try:
            take(clip)
        except StorageUnavailable:
            return
        raise AssertionError("it did not break off")

    bucket._patient.upload_part = upload_part(broken=True)
    measured(f"the same, breaking off after {parts // 2} of {parts} parts", breaks_off)
    before = len(sent)
    bucket._patient.upload_part = upload_part(broken=False)
    key = measured("uploaded again after that", lambda: take(clip))
    print(f"  parts sent: {before}, then {len(sent) - before}")
    check(key)
    del os.environ["MILES_STORAGE_URL"]
    settings.load.cache_clear()


def examined(clip: Path, seconds: float) -> None:
    from miles import clip_process

    with clip.open("rb") as file:
        begun = time.perf_counter()
        probe, frames = clip_process.examine(file)
    took = time.perf_counter() - begun
    assert probe.complete, "not all of it was read"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{probe.width} x {probe.height}, {seconds:g} s at 30 a second, examined: {took:.1f} s, {len(frames)} frames;"
        f" its process {peak:.0f} MB",
        flush=True,
    )


def measured(what: str, work: Callable[[], Any]) -> Any:
    """Do something; print how long it took and by how much this process grew meanwhile."""
    me, over = psutil.Process(), threading.Event()
    before = most = me.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, me.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    begun = time.perf_counter()
    try:
        found = work()
    finally:
        took = time.perf_counter() - begun
        over.set()
        watching.join()
    print(f"{what}: {took:.1f} s, {(most - before) / MB:+.0f} MB of memory", flush=True)
    return found


def check(key: str) -> None:
    """Whether what is stored has the name that it should."""
    import hashlib

    from miles import storage

    stored = storage.thumbnails().open(key)
    with stored or sys.exit("It is not in the storage.") as file:
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # a real file, with readinto
        if digest.hexdigest() != key:
            sys.exit("What is stored is not what was sent.")


def forget() -> None:
    from miles import clips, db

    with db.transaction("operator", "local") as connection:
        for one in clips.clips(connection):
            clips.delete(connection, one.clip_id)


@contextmanager
def s3() -> Iterator[str]:
    """The address of an S3 server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"]
    os.environ["NO_PROXY"] = "127.0.0.1"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
