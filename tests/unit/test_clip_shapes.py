"""Clips of all shapes, whole and damaged, end in facts or in a sentence. All 200: benchmarks/bench_clips.py."""

import io
import tempfile

import clip_maker
import pytest

from miles import clip_probe, clip_process
from miles.clip_facts import Frame, Probe
from miles.errors import ClipRefused

HERE = len(clip_maker.WRITTEN)  # one of each codec and container


def examined(shape: clip_maker.Shape) -> tuple[Probe, list[Frame]] | ClipRefused:
    try:
        return clip_probe.examine(io.BytesIO(shape.data))
    except ClipRefused as error:
        return error


def check(probe: Probe, frames: list[Frame], shape: clip_maker.Shape) -> None:
    assert probe.duration > 0, shape.name
    assert 0 <= probe.brightness <= 1, shape.name
    assert all(0 <= at <= probe.looked_at for at in probe.cuts), shape.name
    assert all(one.jpeg[:2] == b"\xff\xd8" and one.at <= probe.looked_at for one in frames), shape.name
    if shape.fate == "whole":
        assert probe.duration == pytest.approx(shape.seconds, abs=0.35), shape.name
        assert shape.upright is None or shape.upright == (probe.height > probe.width), shape.name
        assert frames, shape.name


def test_every_codec_and_container_that_is_read_is_told_or_refused() -> None:
    told, refused = 0, []
    for shape in clip_maker.shapes(HERE):
        found = examined(shape)
        if isinstance(found, ClipRefused):
            refused.append((shape, str(found)))
        else:
            check(*found, shape)
            told += 1
    assert all(shape.fate != "whole" and said.endswith(".") for shape, said in refused), refused
    assert told >= HERE / 2
    assert len(refused) >= 2


def test_a_process_of_its_own_finds_the_same() -> None:
    for shape in clip_maker.shapes(2, seed=1):
        with tempfile.TemporaryFile() as file:
            file.write(shape.data)
            file.flush()
            wanted = examined(shape)
            if isinstance(wanted, ClipRefused):
                with pytest.raises(ClipRefused) as refused:
                    clip_process.examine(file)
                assert (str(refused.value), refused.value.kind) == (str(wanted), wanted.kind)
            else:
                assert clip_process.examine(file) == wanted
