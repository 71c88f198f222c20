"""Levels and framing of PCM."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio import pcm

whole_samples = st.binary(max_size=400).map(lambda data: data[: len(data) // 2 * 2])


def tone(amplitude: float, length: int = 1600, period: int = 16) -> bytes:
    wave = (amplitude * math.sin(2 * math.pi * at / period) for at in range(length))
    return pcm.from_samples(array("h", [round(value) for value in wave]))


def test_silence_and_nothing_have_no_level():
    assert pcm.level_dbfs(b"") == -math.inf
    assert pcm.level_dbfs(bytes(640)) == -math.inf


def test_a_square_wave_of_full_scale_is_0_dbfs_and_a_sine_3_less():
    assert pcm.level_dbfs(b"\x00\x80" * 100) == 0
    assert pcm.level_dbfs(tone(32767)) == pytest.approx(-3.01, abs=0.01)


def test_half_the_amplitude_is_6_db_less():
    assert pcm.level_dbfs(tone(16000)) - pcm.level_dbfs(tone(8000)) == pytest.approx(6.02, abs=0.01)


@given(whole_samples)
def test_no_pcm_is_louder_than_full_scale(data: bytes):
    assert pcm.level_dbfs(data) <= 0


def test_half_a_sample_is_refused():
    with pytest.raises(pcm.AudioFormatError):
        pcm.level_dbfs(b"abc")


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_silence_lasts_as_long_as_asked(rate: int):
    assert pcm.duration_ms(pcm.silence(20, rate), rate) == 20
    assert not any(pcm.silence(20, rate))


@given(whole_samples, st.sampled_from([8000, 16000]), st.integers(1, 40))
def test_frames_are_equally_long_and_lose_nothing(data: bytes, rate: int, ms: int):
    frames = list(pcm.frames(data, rate, ms))
    assert {len(frame) for frame in frames} <= {2 * rate * ms // 1000}
    joined = b"".join(frames)
    assert joined[: len(data)] == data
    assert not any(joined[len(data) :])


def test_the_first_and_the_last_sound_above_a_level_are_found():
    sound = pcm.from_samples(array("h", [0, 100, -104, 0, 105, 60, 0]))
    assert (pcm.first_above(sound, -50), pcm.last_above(sound, -50)) == (2, 5)
    assert pcm.first_above(bytes(8), -50) is None
    assert pcm.last_above(b"", -50) is None


@given(whole_samples)
def test_samples_there_and_back_are_the_same(data: bytes):
    assert pcm.from_samples(pcm.samples(data)) == data


def test_two_sides_alternate_and_the_shorter_one_falls_silent():
    assert pcm.interleave(b"aabb", b"xx") == b"aaxxbb\0\0"
