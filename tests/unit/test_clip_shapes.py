"""Clips of all shapes, whole, damaged and pretended, end in facts or in a sentence. All 200: benchmarks/bench_clips.py."""

import io
import tempfile

import clip_shapes
import pytest
from clip_shapes import Shape

from miles import clip_probe, clip_process
from miles.clip_facts import Frame, Probe
from miles.errors import ClipRefused

HERE = 110  # each encoder's work, AV1, what pretends, and some that are damaged


def examined(shape: Shape) -> tuple[Probe, list[Frame]] | ClipRefused:
    try:
        return clip_probe.examine(io.BytesIO(shape.data))
    except ClipRefused as error:
        return error


@pytest.fixture(scope="module")
def made() -> list[Shape]:
    return list(clip_shapes.shapes(HERE))


def test_every_encoder_of_the_wheel_is_among_them_and_every_container_that_is_read(made: list[Shape]) -> None:
    names = " ".join(one.name for one in made if one.fate == "whole")
    assert all(f"/{way.encoder} " in names for way in clip_shapes.ways())
    assert {way.container for way in clip_shapes.ways()} == set(clip_shapes.CONTAINERS)
    assert {one.codec for one in made} >= {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "prores", "gif", "mjpeg"}
    assert {one.fate for one in made} > {"whole", "pretends", "cut off"}


def test_each_is_told_rightly_or_refused_with_a_reason(made: list[Shape]) -> None:
    wrong = []
    for shape in made:
        found = examined(shape)
        if not isinstance(found, ClipRefused):
            problem = clip_shapes.mistake(shape, *found)
        else:
            problem = None if found.kind in shape.ends and str(found).endswith(".") else f"{found.kind}: {found}"
        if problem:
            wrong.append(f"{shape.name}: {problem}")
    assert wrong == []


def test_a_process_of_its_own_finds_the_same(made: list[Shape]) -> None:
    whole = next(one for one in made if one.fate == "whole")
    cut = next(one for one in made if one.fate == "cut off")
    for shape in (whole, cut):
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


def test_the_same_seed_gives_the_same_clips(made: list[Shape]) -> None:
    again = list(clip_shapes.shapes(40))
    # what they are, not their bytes: some encoders leave memory between the lines as they found it
    assert [(one.name, one.fate) for one in again] == [(one.name, one.fate) for one in made[:40]]


def test_a_bomb_of_tiny_frames_is_told_as_far_as_the_time_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_probe, "WORK_SECONDS", 1.0)
    data = clip_shapes.bomb(60_000)
    assert len(data) < 1_500_000  # and 2 TB of pixels
    probe, _ = clip_probe.examine(io.BytesIO(data))
    assert not probe.complete
    assert probe.looked_at < 600
    assert "Only the first" in " ".join(probe.notes)
