"""How a caller cuts in, and what a session's limits are: config.md §4.1 and §9."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import connected

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}
STORY = " ".join(["go"] * 60)
"""A word every 180 ms."""


async def stopped(text: str, ms: int, **payload: Any) -> bool:
    """Return whether the agent's greeting stops when the caller says a text for so long."""
    async with speaking({1: text}) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, greeting=STORY, **payload)
        async with calling(server) as end:
            await end.until("bot.speaking")
            end.say(1, ms)
            await end.until("speech.ended")
            said = len(end.of("bot.word"))
            await end.reached(lambda: len(end.of("bot.word")) > said + 4 or cut(end.seen))
            found = cut(end.seen)
            await end.act("hangup")
            await end.closed()
        await peer.until("call.ended")
    return found


def cut(seen: list[dict[str, Any]]) -> bool:
    return any(frame["event"] == "bot.interrupted" for frame in seen)


@holds("config", "4.1", "10")
@pytest.mark.parametrize(
    ("setting", "stops"),
    [
        ({}, True),
        ({"interruption": True}, True),
        ({"interruption": False}, False),
        ({"interruption": {"enabled": False}}, False),
        ({"config": {"interruption": {"enabled": False}}}, False),
        ({"interruption": True, "config": {"interruption": {"enabled": False}}}, True),
    ],
    ids=str,
)
async def test_a_voice_stops_the_agent_unless_it_may_not(setting: dict[str, Any], stops: bool):
    assert await stopped("stop it now", 600, **setting) is stops


@holds("config", "4.1")
@pytest.mark.parametrize(
    ("setting", "text", "stops"),
    [
        ({}, "uh-huh", False),
        ({"backchannel_filter": False, "min_words": 1}, "uh-huh", True),
        ({}, "wait please", True),
        ({"min_words": 3}, "wait please", False),
        ({"min_words": 1}, "wait", True),
        ({}, "wait", False),
    ],
    ids=str,
)
async def test_speech_too_short_for_a_voice_stops_it_by_how_many_words_of_which_kind_it_has(
    setting: dict[str, Any], text: str, stops: bool
):
    long = {"min_duration_ms": 2000}
    assert await stopped(text, 400, interruption=long | setting) is stops


@holds("config", "4.1")
@pytest.mark.parametrize(
    ("setting", "text", "stops"),
    [
        ({}, "wait", True),
        ({"min_volume": 1}, "wait", False),
        ({"min_volume": 1}, "wait please", True),
        ({"min_volume": 0.8}, "wait", True),
        ({"energy_threshold_db": -5}, "wait", False),
        ({"confidence": 0.99}, "wait", False),
        ({"confidence": 0.99}, "wait please", True),
    ],
    ids=str,
)
async def test_a_voice_too_soft_or_too_doubtful_stops_it_by_its_words_alone(
    setting: dict[str, Any], text: str, stops: bool
):
    assert await stopped(text, 600, interruption=setting) is stops


@holds("config", "9")
@holds("sessions", "3.2")
async def test_a_call_is_over_when_its_longest_time_is():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, session_limits={"max_duration_seconds": 0.4})
        async with calling(server) as end:
            assert (await end.until("session.timeout"))["reason"] == "max_duration"
            assert (await end.until("call.ended"))["reason"] == "max_duration"
            assert await end.closed() == 1000
        await peer.until("call.ended")


@holds("config", "9")
@holds("sessions", "3.2")
async def test_a_quiet_caller_is_warned_given_grace_and_let_go():
    limits = {"idle_timeout_seconds": 0.6, "idle_warning_seconds": 0.3, "idle_grace_seconds": 0.2}
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, session_limits=limits)
        async with calling(server) as end:
            warned = await end.until("session.idle_warning")
            assert warned["remaining_seconds"] == 0.3
            assert (await end.until("session.timeout"))["reason"] == "idle_timeout"
            ended = await end.until("call.ended")
        await peer.until("call.ended")
    assert ended["reason"] == "idle_timeout"
    assert ended["duration_seconds"] == pytest.approx(0.8, abs=0.1)


@holds("config", "9")
@holds("sessions", "3.1")
@holds("events", "12")
async def test_a_caller_who_types_is_not_idle():
    limits = {"idle_timeout_seconds": 1.5, "idle_warning_seconds": 0, "idle_grace_seconds": 0}
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm={"provider": "script", "rules": []}, session_limits=limits)
        async with calling(server) as end:
            for _ in range(5):
                heard = len(end.heard)
                await end.reached(lambda heard=heard: len(end.heard) >= heard + 25)  # 0.5 s
                await end.act("inject_text", text="hm")
                await end.until("turn.end")
            assert not end.of("session.timeout")
            await end.until("session.timeout")
        await peer.until("call.ended")


@holds("config", "9")
async def test_a_limit_of_zero_is_none():
    limits = {"max_duration_seconds": 0, "idle_timeout_seconds": 0, "idle_warning_seconds": 0}
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, session_limits=limits)
        async with calling(server) as end:
            await end.reached(lambda: len(end.heard) > 30)
            assert [frame["event"] for frame in end.seen] == ["call.started"]
        await peer.until("call.ended")


@holds("config", "9")
async def test_a_warning_or_a_grace_of_zero_is_none():
    for nothing, warnings in (("idle_warning_seconds", [0.2]), ("idle_grace_seconds", [0.2])):
        limits = {"idle_timeout_seconds": 0.4, "idle_warning_seconds": 0.2}
        limits |= {"idle_grace_seconds": 0.2, nothing: 0}
        async with speaking() as server, connected(server) as peer:
            await peer.agent("desk", llm=SCRIPT, session_limits=limits)
            async with calling(server) as end:
                await end.until("call.ended")
            told = [frame["remaining_seconds"] for frame in end.of("session.idle_warning")]
            assert told == warnings, nothing
            await peer.until("call.ended")


@holds("config", "10")
@holds("sessions", "3.2")
async def test_audio_metrics_come_as_often_as_the_nested_configuration_says():
    asked = {"analysis": {"send_audio_metrics": True, "audio_metrics_interval_ms": 200}}
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, config=asked)
        async with calling(server) as end:
            await end.reached(lambda: len(end.of("audio.metrics")) > 5)
        await peer.until("call.ended")
    for source in ("user", "bot"):
        stamps = [one["timestamp"] for one in end.of("audio.metrics") if one["source"] == source]
        gaps = [later - earlier for earlier, later in pairwise(stamps)]
        assert gaps == pytest.approx([0.2] * len(gaps), abs=0.001)  # on the call's clock
