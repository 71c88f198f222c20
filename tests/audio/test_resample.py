"""The resampler in numbers: length, alignment, noise, aliases, and cutting up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pinecall_cli.audio.pcm import AudioFormatError
from pinecall_cli.audio.resample import Resampler, SteadyResampler, resample

PAIRS = [
    (8000, 16000),
    (16000, 8000),
    (24000, 8000),
    (24000, 16000),
    (24000, 48000),
    (44100, 16000),
    (16000, 44100),
    (48000, 16000),
    (16000, 48000),
]
DOWN = [pair for pair in PAIRS if pair[0] > pair[1]]
AMPLITUDE = 16000


def tone(hz: float, rate: int, seconds: float = 1) -> bytes:
    at = np.arange(int(rate * seconds)) / rate
    return np.rint(AMPLITUDE * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


def values(pcm: bytes) -> NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def db(power: float) -> float:
    return 10 * math.log10(power)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("length", [0, 1, 2, 100, 1601, 40_000])
def test_the_length_is_exact_to_the_sample(rate_in: int, rate_out: int, length: int):
    made = resample(bytes(2 * length), rate_in, rate_out)
    assert len(made) // 2 == -(-length * rate_out // rate_in)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_tone_keeps_its_place_and_its_strength_70_db_above_the_noise(rate_in: int, rate_out: int):
    made = values(resample(tone(1000, rate_in), rate_in, rate_out))
    at = np.arange(len(made)) / rate_out
    expected = AMPLITUDE * np.sin(2 * np.pi * 1000 * at)
    inner = slice(rate_out // 50, -rate_out // 50)
    error = made[inner] - expected[inner]
    assert db((AMPLITUDE**2 / 2) / (error**2).mean()) > 70


@pytest.mark.parametrize(("rate_in", "rate_out"), DOWN)
@pytest.mark.parametrize("above", [1.25, 1.4])
def test_what_the_lower_rate_cannot_hold_is_70_db_down(rate_in: int, rate_out: int, above: float):
    hz = above * rate_out / 2
    made = values(resample(tone(hz, rate_in), rate_in, rate_out))[rate_out // 50 : -rate_out // 50]
    assert db((made**2).mean() / (AMPLITUDE**2 / 2) + 1e-12) < -70


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_constant_stays_a_constant(rate_in: int, rate_out: int):
    made = values(resample(b"\x10\x27" * rate_in, rate_in, rate_out))
    assert np.all(made[rate_out // 50 : -rate_out // 50] == 10000)


@settings(deadline=None, max_examples=40)
@given(
    pair=st.sampled_from([*PAIRS, (11025, 16000)]),
    cuts=st.lists(st.integers(0, 900), max_size=12),
    seed=st.integers(0, 9),
)
def test_how_a_stream_is_cut_up_changes_no_sample(
    pair: tuple[int, int], cuts: list[int], seed: int
):
    noise = np.random.default_rng(seed).integers(-32768, 32768, 3000).astype("<i2").tobytes()
    stream, made, at = Resampler(*pair), b"", 0
    for cut in cuts:
        made += stream.process(noise[at : at + 2 * cut])
        at += 2 * cut
    made += stream.process(noise[at:]) + stream.flush()
    assert made == resample(noise, *pair)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_stream_is_late_by_less_than_a_millisecond_and_a_half(rate_in: int, rate_out: int):
    stream = Resampler(rate_in, rate_out)
    made = sum(len(stream.process(bytes(2 * rate_in // 50))) for _ in range(50)) // 2
    assert rate_out - made <= 0.0015 * rate_out


def test_equal_rates_change_nothing():
    stream = Resampler(16000, 16000)
    assert stream.process(b"abcd") + stream.flush() == b"abcd"


def test_a_stream_begins_anew_after_flush():
    stream, sound = Resampler(24000, 16000), tone(700, 24000, 0.1)
    assert stream.process(sound) + stream.flush() == stream.process(sound) + stream.flush()


def test_loud_sound_is_clipped_and_never_wraps():
    square = np.where(np.arange(4000) % 40 < 20, 32767, -32768).astype("<i2").tobytes()
    made = values(resample(square, 16000, 48000))
    assert made.max() == 32767
    assert np.abs(np.diff(made)).max() < 40_000


@pytest.mark.parametrize("rates", [(0, 8000), (8000, 0), (-1, 8000)])
def test_impossible_rates_are_refused(rates: tuple[int, int]):
    with pytest.raises(AudioFormatError):
        Resampler(*rates)


def test_half_a_sample_is_refused():
    with pytest.raises(AudioFormatError):
        Resampler(8000, 16000).process(b"abc")


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_steady_resampler_gives_each_frame_whole_and_all_a_little_late(
    rate_in: int, rate_out: int
) -> None:
    sound = tone(440, rate_in)
    size, stream = rate_in // 50 * 2, SteadyResampler(rate_in, rate_out)
    frames = [stream.process(sound[at : at + size]) for at in range(0, len(sound), size)]
    assert {len(frame) for frame in frames} == {rate_out // 50 * 2}
    out, straight = b"".join(frames), Resampler(rate_in, rate_out).process(sound)
    late = len(out) - len(straight)
    assert 0 < late <= 2 * rate_out // 400
    assert out == bytes(late) + straight


def test_a_frame_that_is_not_whole_at_both_rates_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="no whole number"):
        SteadyResampler(44_100, 16_000).process(bytes(2))
