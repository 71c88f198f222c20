"""The spoilt line: band, noise and loss, the same for the same seed."""

from __future__ import annotations

import math
from array import array

import pytest

from pinecall_cli.audio.pcm import frames, level_dbfs
from pinecall_cli.caller.line import Line
from pinecall_cli.caller.steps import LineQuality


def tone(hz: float, rate: int) -> bytes:
    turn = 2 * math.pi * hz / rate
    return array("h", [int(10_000 * math.sin(turn * n)) for n in range(rate)]).tobytes()


def through(line: Line, pcm: bytes, rate: int) -> bytes:
    return b"".join(line.process(frame) for frame in frames(pcm, rate))


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize(("hz", "low", "high"), [(100, -60, -30), (1000, -1, 1), (3900, -60, -2)])
def test_a_telephone_lets_300_to_3400_hz_through(rate, hz, low, high):
    pcm = tone(hz, rate)
    change = level_dbfs(through(Line(LineQuality("phone"), rate), pcm, rate)) - level_dbfs(pcm)
    assert low < change < high


def test_noise_is_as_loud_as_it_says():
    noise = through(Line(LineQuality(noise_db=-35), 16_000), bytes(32_000), 16_000)
    assert level_dbfs(noise) == pytest.approx(-35, abs=0.5)


def test_lost_frames_are_silence_and_as_many_as_it_says():
    line = Line(LineQuality(loss=0.1, seed=3), 8000)
    lost = sum(not any(line.process(b"\1" * 320)) for _ in range(2000))
    assert 150 < lost < 250


def test_a_perfect_line_changes_nothing():
    frame = tone(440, 8000)[:320]
    assert Line(LineQuality(), 8000).process(frame) == frame


def test_the_same_seed_spoils_in_the_same_way():
    one, same, other = (
        through(Line(LineQuality("phone", -30, 0.1, seed), 8000), tone(440, 8000), 8000)
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_the_loudest_sound_does_not_wrap_around():
    pcm = array("h", [32_767] * 320 + [-32_768] * 320).tobytes()
    spoilt = array("h", through(Line(LineQuality("phone", -6), 16_000), pcm, 16_000))
    assert len(spoilt) == 640
    assert max(spoilt[:8]) > 0
