from __future__ import annotations

from typing import Any

import pytest

from pinecall_cli.protocol.events import AudioMetrics
from pinecall_cli.server.voice.meters import Meter, Meters, interval_ms
from tests.fakes.engines import tone


def asking(**analysis: Any) -> dict[str, Any]:
    return {"config": {"analysis": {"send_audio_metrics": True, **analysis}}}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"config": None},
        {"config": {"analysis": True}},
        {"config": {"analysis": {"send_audio_metrics": "yes"}}},
        {"config": {"analysis": {"audio_metrics_interval_ms": 100}}},
    ],
)
def test_nothing_is_measured_where_nobody_asked(config: Any):
    assert interval_ms(config) is None
    told: list[Any] = []
    meters = Meters(config, epoch=0, emit=told.append)
    meters.agent(tone(1_000), 1_000, speech=True)
    meters.caller(tone(1_000), 1_000, speech=True, voice=1.0)
    assert told == []


@pytest.mark.parametrize(
    ("asked", "given"),
    [(50, 50), (0, 20), (-5, 20), (10**9, 10_000), (True, 100), ("x", 100), (float("nan"), 100)],
)
def test_an_interval_is_what_was_asked_for_within_reason(asked: Any, given: int):
    assert interval_ms(asking(audio_metrics_interval_ms=asked)) == given


def test_each_interval_is_told_of_once_with_the_level_of_its_sound():
    told: list[Any] = []
    meter = Meter("user", epoch=1_000.0, emit=told.append)
    for step in range(10):
        loud = step < 5
        meter.take(tone(20) if loud else bytes(640), (step + 1) * 20, 100, speech=loud, voice=0.95)
    first, second = told
    assert isinstance(first, AudioMetrics)
    assert (first.timestamp, second.timestamp) == (1_000.1, 1_000.2)
    # A sine of 8000 of 32768, whose RMS is its amplitude over the root of two.
    assert first.peak == pytest.approx(8_000 / 32_768, abs=0.001)
    assert first.rms == pytest.approx(8_000 / 32_768 / 2**0.5, abs=0.002)
    assert (first.is_speech, first.vad_prob) == (True, 0.95)
    assert (second.energy_db, second.rms, second.peak, second.is_speech) == (-60.0, 0, 0, False)


def test_asking_in_the_middle_begins_a_new_interval():
    told: list[Any] = []
    meters = Meters({}, epoch=0, emit=told.append)
    meters.configure(asking())
    for step in range(4):
        meters.agent(bytes(640), step * 20, speech=False)
    meters.configure(asking(audio_metrics_interval_ms=40))
    meters.agent(bytes(640), 100, speech=False)
    assert told == []
    meters.agent(bytes(640), 120, speech=False)
    assert [one.timestamp for one in told] == [0.12]
