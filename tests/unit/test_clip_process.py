"""The process that examines a clip: its limits hold, and whatever happens in it ends in a sentence."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import clip_maker
import clip_shapes
import psutil
import pytest

from miles import clip_facts, clip_process
from miles.errors import ClipRefused


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as opened:
        yield opened


def written(file: IO[bytes], data: bytes) -> IO[bytes]:
    file.write(data)
    file.flush()
    return file


def pretend(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Have the process run another program, after the same limits."""
    started = subprocess.Popen

    def start(command: list[str], **rest: object) -> subprocess.Popen:
        limits = "import sys; from miles import clip_process; clip_process._limit(*map(int, sys.argv[1:]));"
        return started([sys.executable, "-c", limits + program, *command[3:]], **rest)  # type: ignore[call-overload]

    monkeypatch.setattr(clip_process.subprocess, "Popen", start)


def test_one_that_hangs_is_killed_in_time_and_leaves_nothing(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import time; time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(ClipRefused) as refused:
        clip_process.examine(written(file, b"a clip"), seconds=2)
    assert refused.value.kind == "took_too_long"
    assert time.monotonic() - begun < 50
    assert not [one for one in psutil.Process().children() if "clip_process" in " ".join(one.cmdline())]


def test_one_that_computes_without_end_is_stopped_by_the_system(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "\nwhile True: pass")
    begun = time.monotonic()
    with pytest.raises(ClipRefused) as refused:
        clip_process.examine(written(file, b"a clip"), seconds=100, cpu_seconds=1)
    assert refused.value.kind == "took_too_long"
    assert time.monotonic() - begun < 60  # by its processor time, not by the clock


def test_a_real_clip_that_takes_too_long_is_stopped_and_told_so(file: IO[bytes]) -> None:
    written(file, clip_shapes.bomb(60_000))
    for limits in ({"seconds": 3.0}, {"cpu_seconds": 2}):
        with pytest.raises(ClipRefused) as refused:
            clip_process.examine(file, **limits)  # type: ignore[arg-type]
        assert (refused.value.kind, str(refused.value)) == ("took_too_long", clip_facts.TOOK_TOO_LONG)


def test_it_can_not_fill_the_disk(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import tempfile\nwith tempfile.TemporaryFile() as much: much.write(bytes(10_000_000))")
    with pytest.raises(RuntimeError, match="File too large"):
        clip_process.examine(written(file, b"a clip"))


def test_one_whose_parent_is_gone_ends_by_itself(file: IO[bytes]) -> None:
    program = "import sys, time; from miles import clip_process; clip_process._limit(1, 10**9, 60); time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == -14  # SIGALRM


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS sets no limit of memory")
def test_memory_beyond_the_limit_is_refused(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        monkeypatch,
        "import os\ntry:\n    x = bytearray(400_000_000)\nexcept MemoryError:\n    os._exit(clip_process.TOO_MUCH_MEMORY)",
    )
    with pytest.raises(ClipRefused) as refused:
        clip_process.examine(written(file, b"a clip"), memory=100_000_000)
    assert refused.value.kind == "too_much_memory"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS sets no limit of memory")
def test_a_real_clip_that_needs_more_memory_than_it_may_have_ends_in_a_sentence(file: IO[bytes]) -> None:
    data = clip_maker.clip(width=2048, height=1152, seconds=0.4, cuts=(), options={"preset": "ultrafast"})
    with pytest.raises(ClipRefused) as refused:
        clip_process.examine(written(file, data), memory=12_000_000)
    assert refused.value.kind in ("too_much_memory", "damaged")


def test_a_crash_of_the_decoder_is_told_as_a_damaged_clip(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ClipRefused) as refused:
        clip_process.examine(written(file, b"a clip"))
    assert refused.value.kind == "damaged"


def test_a_defect_of_ours_surfaces_as_one(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "raise KeyError('ours')")
    with pytest.raises(RuntimeError, match="ours"):
        clip_process.examine(written(file, b"a clip"))


def test_it_stops_in_the_middle_when_asked(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(InterruptedError):
        clip_process.examine(written(file, b"a clip"), stop=lambda: True)


def test_it_knows_none_of_our_secrets(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret-key")
    pretend(monkeypatch, "import os, json; print(json.dumps({'refused': repr(dict(os.environ)), 'kind': 'x'}))")
    with pytest.raises(ClipRefused) as told:
        clip_process.examine(written(file, b"a clip"))
    assert "a-secret-key" not in str(told.value)
    assert "OMP_NUM_THREADS" in str(told.value)


def test_progress_is_told_while_it_reads(file: IO[bytes]) -> None:
    told: list[float] = []
    data = clip_maker.clip(container="matroska", seconds=4, cuts=())
    clip_process.examine(written(file, data), told.append)
    assert told == sorted(told)
    assert len(told) >= 3
