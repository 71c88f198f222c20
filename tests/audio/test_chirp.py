"""A chirp in a recording: found where it is, as loud as it is, and nowhere else."""

from __future__ import annotations

import math
import random
from array import array

import pytest

from pinecall_cli.audio.chirp import LEVEL, chirp, find
from pinecall_cli.audio.pcm import from_samples, samples, silence

RATE = 16_000


def recording(at_ms: int, gain: float, noise: float = 0.0) -> bytes:
    """Return 1 s of noise with a chirp in it."""
    chance = random.Random(7)
    heard = [chance.gauss(0, noise * 32767) for _ in range(RATE)]
    begin = RATE * at_ms // 1000
    for at, value in enumerate(samples(chirp(RATE)), begin):
        heard[at] += gain * value
    return from_samples(array("h", (max(-32768, min(32767, round(v))) for v in heard)))


@pytest.mark.parametrize("at_ms", [0, 137, 800])
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
def test_a_chirp_is_found_to_the_millisecond_and_the_decibel(at_ms: int, gain: float):
    found = find(recording(at_ms, gain), RATE)
    assert found is not None
    assert found.at_ms == pytest.approx(at_ms, abs=1)
    assert found.level_db == pytest.approx(20 * math.log10(gain), abs=1)


def test_a_chirp_is_found_in_noise_that_is_louder():
    found = find(recording(300, 0.1, noise=2 * 0.1 * LEVEL), RATE)
    assert found is not None
    assert found.at_ms == pytest.approx(300, abs=1)


def test_the_louder_of_two_is_the_way_and_not_the_walls():
    direct, wall = samples(recording(200, 0.5)), samples(recording(260, 0.2))
    both = from_samples(array("h", (a + b for a, b in zip(direct, wall, strict=True))))
    found = find(both, RATE)
    assert found is not None
    assert found.at_ms == pytest.approx(200, abs=1)


@pytest.mark.parametrize(
    "sound",
    [b"", silence(50, RATE), silence(1000, RATE), recording(0, 0.0, noise=0.05)],
    ids=["nothing", "too short", "silence", "noise"],
)
def test_where_there_is_none_none_is_found(sound: bytes):
    assert find(sound, RATE) is None


def test_a_chirp_begins_and_ends_without_a_click():
    values = samples(chirp(RATE))
    assert abs(values[0]) < 10
    assert abs(values[-1]) < 200
    assert max(values) <= LEVEL * 32768
