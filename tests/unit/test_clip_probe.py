"""What is told about a clip, on clips whose facts are known because the test made them."""

import io
from fractions import Fraction

import av
import clip_maker
import numpy as np
import pytest
from PIL import Image

from miles import clip_facts, clip_probe
from miles.errors import ClipRefused


def probed(data: bytes) -> tuple[clip_facts.Probe, list[clip_facts.Frame]]:
    return clip_probe.examine(io.BytesIO(data))


def test_length_shape_rate_and_cuts_are_those_of_the_clip() -> None:
    probe, _ = probed(clip_maker.clip(seconds=4, cuts=(1.0, 2.4), fps=25, width=180, height=320))
    assert (probe.width, probe.height, probe.shape, probe.codec) == (180, 320, "upright", "h264")
    assert probe.duration == pytest.approx(4, abs=0.05)
    assert probe.fps == pytest.approx(25, abs=0.1)
    assert probe.cuts == pytest.approx((1.0, 2.4), abs=0.1)
    assert probe.cuts_per_minute == pytest.approx(30, abs=0.5)
    assert probe.complete
    assert not probe.has_sound
    assert probe.loudness is probe.silence is probe.voice is None


def test_what_moves_is_no_cut() -> None:
    probe, _ = probed(clip_maker.clip(seconds=3, cuts=()))
    assert probe.cuts == ()
    assert probe.motion is not None
    assert probe.motion > 0.005


def test_a_fade_is_no_cut() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 160, "yuv420p"
        one, other = (clip_maker.picture(scene, 0, 160, 160).astype(float) for scene in (0, 1))
        for i in range(100):
            mixed = one + (other - one) * min(max((i - 25) / 50, 0), 1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(mixed.astype(np.uint8), format="rgb24")):
                target.mux(packet)
        for packet in stream.encode():
            target.mux(packet)
    probe, _ = probed(out.getvalue())
    assert probe.cuts == ()


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_clip_is_told_and_shown_upright(degrees: int) -> None:
    plain, frames = probed(clip_maker.clip(seconds=1, cuts=()))
    turned, shown = probed(clip_maker.clip(seconds=1, cuts=(), rotation=degrees))
    lying = abs(degrees) == 90
    assert (turned.width, turned.height) == ((320, 180) if lying else (180, 320))
    assert (shown[0].width, shown[0].height) == (turned.width, turned.height)
    straight = np.asarray(Image.open(io.BytesIO(frames[0].jpeg)).convert("RGB"), dtype=float)
    seen = np.asarray(Image.open(io.BytesIO(shown[0].jpeg)).convert("RGB"), dtype=float)
    # the display matrix says how far the picture is to be turned against the clock; ffmpeg's own sign
    back = np.rot90(seen, -degrees // 90)
    assert np.abs(back - straight).mean() < np.abs(np.rot90(back, 2) - straight).mean() / 2
    assert plain.turned == 0
    assert turned.turned == degrees % 360


def test_pixels_that_are_not_square_are_shown_square() -> None:
    probe, frames = probed(clip_maker.clip(seconds=1, cuts=(), aspect=Fraction(4, 3)))
    assert (probe.width, probe.height) == (240, 320)
    assert (frames[0].width, frames[0].height) == (240, 320)


def test_loudness_is_that_of_ebu_r_128_and_silence_is_counted() -> None:
    # EBU Tech 3341: a stereo sine of about 1 kHz at -23 dBFS in both channels reads -23 LUFS
    tone, _ = probed(clip_maker.clip(seconds=3, sound="tone"))
    assert tone.loudness == pytest.approx(-23.0, abs=0.5)
    assert (tone.silence, tone.voice) == (0.0, 1.0)
    half, _ = probed(clip_maker.clip(seconds=3, sound="tone-silence"))
    assert half.silence == pytest.approx(0.5, abs=0.06)
    assert half.voice == pytest.approx(0.5, abs=0.06)
    silent, _ = probed(clip_maker.clip(seconds=2, sound="silence"))
    assert silent.has_sound
    assert (silent.loudness, silent.silence) == (None, 1.0)


def test_bass_alone_is_not_in_the_voice_band() -> None:
    probe, _ = probed(clip_maker.clip(seconds=2, sound="bass", container="webm", codec="libvpx", audio_codec="libopus"))
    assert probe.voice == 0
    assert probe.silence == 0


def test_a_varying_frame_rate_keeps_its_moments() -> None:
    probe, _ = probed(clip_maker.clip(seconds=3, varying=True))
    assert probe.duration == pytest.approx(3, abs=0.15)
    assert probe.cuts == pytest.approx((1.0, 2.0), abs=0.15)


def test_one_frame_of_each_scene_is_suggested_and_none_twice() -> None:
    _, frames = probed(clip_maker.clip(seconds=4, cuts=(1.0, 2.0, 3.0)))
    assert len(frames) == 4
    assert sorted(int(one.at) for one in frames) == [0, 1, 2, 3]
    for one in frames:
        with Image.open(io.BytesIO(one.jpeg)) as picture:
            assert picture.size == (one.width, one.height)


def test_no_shot_is_left_out_for_two_frames_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_probe, "SUGGESTED", 4)
    monkeypatch.setattr(clip_probe, "ALIKE", 0.0)  # frames of one shot differ enough
    _, frames = probed(clip_maker.clip(seconds=4, cuts=(1.0, 2.0, 3.0)))
    assert [int(one.at) for one in frames] == [0, 1, 2, 3]


def test_of_a_black_clip_no_frame_is_suggested_and_the_reason_told() -> None:
    probe, frames = probed(clip_maker.clip(black=True, seconds=1))
    assert frames == []
    assert probe.brightness == 0
    assert "black" in " ".join(probe.notes)


def test_sharp_frames_come_before_blurred_ones() -> None:
    out = io.BytesIO()
    rng = np.random.default_rng(3)
    sharp = rng.integers(0, 255, (160, 160, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).resize((8, 8)).resize((160, 160)))
    with av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 160, "yuv420p"
        for shown in [blurred] * 10 + [sharp] * 10:
            for packet in stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")):
                target.mux(packet)
        for packet in stream.encode():
            target.mux(packet)
    _, frames = probed(out.getvalue())
    assert all(one.at >= 1.0 for one in frames)
    assert frames


def test_a_cut_off_clip_is_told_as_far_as_it_goes() -> None:
    data = clip_maker.clip(container="matroska", seconds=3)
    probe, frames = probed(data[: len(data) * 2 // 3])
    assert 0.3 < probe.duration < 3
    assert frames


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not_a_video"),  # a picture
        (b"<html>hello</html>" * 20, "not_a_video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not_a_video"),  # a playlist would open other files
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not_a_video"),
        (b"PK\x03\x04" + bytes(100), "not_a_video"),
        (b"ID3\x04" + bytes(200), "no_picture"),  # an MP3
        (b"\x00\x00\x00\x20ftypisom" + bytes(300), "damaged"),
        (b"\x1a\x45\xdf\xa3" + bytes(300), "damaged"),
        (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(300), "damaged"),
    ],
)
def test_what_is_no_clip_is_refused_with_a_reason(data: bytes, kind: str) -> None:
    with pytest.raises(ClipRefused) as refused:
        probed(data)
    assert refused.value.kind == kind
    assert str(refused.value).endswith(".")


def test_sound_alone_is_refused_and_so_is_a_cover_picture() -> None:
    with pytest.raises(ClipRefused) as refused:
        probed(clip_maker.sound_alone())
    assert refused.value.kind == "no_picture"


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = clip_maker.clip(width=4608, height=2592, seconds=0.1, cuts=(), codec="mjpeg", container="matroska",
                           pixels="yuvj420p", fps=10)  # fmt: skip
    with pytest.raises(ClipRefused) as refused:
        probed(data)
    assert refused.value.kind == "too_many_pixels"
    assert "4608 x 2592" in str(refused.value)


def test_a_long_clip_is_told_as_far_as_it_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_probe, "MOST_SECONDS", 2.0)
    probe, _ = probed(clip_maker.clip(seconds=5, cuts=(1.0, 4.0)))
    assert not probe.complete
    assert probe.duration == pytest.approx(5, abs=0.1)
    assert probe.looked_at == pytest.approx(2, abs=0.2)
    assert len(probe.cuts) == 1
    assert "Only the first 2 s" in probe.notes[0]


def test_memory_does_not_grow_with_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_probe, "KEPT", 6)
    kept = []
    monkeypatch.setattr(
        clip_probe._Examination, "_keep", lambda self, *a, f=clip_probe._Examination._keep: (f(self, *a), kept.append(len(self.best)))
    )  # fmt: skip
    probed(clip_maker.clip(container="matroska", seconds=20, cuts=tuple(range(1, 20)), fps=8, width=64, height=64))
    assert max(kept) <= 7


def test_a_probe_survives_json() -> None:
    import dataclasses
    import json

    probe, _ = probed(clip_maker.clip(seconds=1, sound="tone"))
    assert clip_facts.Probe.read(json.loads(json.dumps(dataclasses.asdict(probe)))) == probe
