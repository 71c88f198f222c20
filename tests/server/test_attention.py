"""Calls on hold and callers who are muted (protocol: commands.md §9, events.md §4.8)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pinecall_cli.audio.pcm import level_dbfs, samples
from pinecall_cli.audio.tones import NOTE_MS, TUNE_HZ, hold_music
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Command
from tests.fakes.engines import Engines, Recogniser
from tests.server.fast_call import Call

HOLD, UNHOLD = commands.CallHold(call_id="call-1"), commands.CallUnhold(call_id="call-1")
MUTE, UNMUTE = commands.CallMute(call_id="call-1"), commands.CallUnmute(call_id="call-1")


async def held(call: Call, when: dict[int, Command]) -> Call:
    """Hold the call; at each of these positions its agent's owner commands something."""
    pace = call.pace

    async def paced(position: int) -> None:
        if position in when:
            call.session.handle(when[position])
        await pace(position)

    call.pace = paced  # type: ignore[method-assign]
    return await call.hold()


def heard(call: Call, start: int, end: int) -> float:
    return level_dbfs(bytes(call.heard[start * 32 : end * 32]))


async def test_a_caller_on_hold_hears_music_and_makes_no_turns():
    call = Call([(1000, 900, "hello?"), (4000, 900, "hello")], until=8000)
    await held(call, {400: HOLD, 3000: UNHOLD})
    assert heard(call, 0, 400) == float("-inf")
    assert -50 < heard(call, 500, 3000) < -10
    assert [message.text for message in call.of(events.UserMessage)] == ["hello"]
    assert call.names()[:3] == ["call.started", "call.held", "call.unheld"]
    assert heard(call, 3100, 4000) == float("-inf")


async def test_what_the_agent_says_is_heard_over_the_music_of_a_hold():
    call = Call(until=5000)
    reply = commands.BotReply(
        call_id="call-1", message_id="m1", text="one moment please", in_reply_to=""
    )
    await held(call, {200: HOLD, 1000: reply})
    (finished,) = call.of(events.BotFinished)
    assert finished.message_id == "m1"
    assert call.of(events.BotWord)


async def test_a_hold_is_no_idle_time():
    limits = {"idle_timeout_seconds": 3, "idle_warning_seconds": 0, "idle_grace_seconds": 0}
    call = await held(Call(until=6000, session_limits=limits), {100: HOLD})
    assert call.of(events.CallEnded)[0].reason == "hangup"
    call = await held(Call(until=6000, session_limits=limits), {100: HOLD, 200: UNHOLD})
    assert call.of(events.CallEnded)[0].reason == "idle_timeout"


async def test_what_a_muted_caller_says_is_told_when_they_are_heard_again():
    speech = [(1000, 900, "my card is"), (3000, 900, "one two three"), (6500, 900, "thanks")]
    call = await held(Call(speech, until=10_000), {500: MUTE, 5000: UNMUTE})
    assert [message.text for message in call.of(events.UserMessage)] == ["thanks"]
    (unmuted,) = call.of(events.CallUnmuted)
    assert unmuted.muted_transcript == "my card is one two three"
    assert call.names()[:2] == ["call.started", "call.muted"]


async def test_a_sentence_that_a_mute_ends_in_is_told_whole_and_a_long_one_loses_nothing():
    speech = [(700, 15_000, "a very long story")]
    call = await held(Call(speech, until=19_000), {500: MUTE, 15_000: UNMUTE})
    (unmuted,) = call.of(events.CallUnmuted)
    assert unmuted.muted_transcript == "a very long story"


async def test_a_mute_in_which_nothing_was_said_has_no_transcript():
    call = await held(Call(until=3000), {500: MUTE, 600: MUTE, 1000: UNMUTE, 1500: UNMUTE})
    assert [one.muted_transcript for one in call.of(events.CallUnmuted)] == [None, None]
    assert call.names().count("call.muted") == 2


async def test_a_recogniser_that_fails_costs_the_words_and_not_the_call():
    class Deaf(Recogniser):
        async def transcribe(self, pcm: bytes) -> str:
            raise EngineError("the recogniser broke")

    engines = Engines({0: "lost"})
    engines.recogniser = Deaf({})
    call = await held(
        Call([(1000, 900, "lost")], engines=engines, until=4000), {500: MUTE, 2500: UNMUTE}
    )
    (unmuted,) = call.of(events.CallUnmuted)
    assert unmuted.muted_transcript is None
    assert call.of(events.LlmError)
    assert call.of(events.CallEnded)[0].reason == "hangup"


async def test_a_call_that_ends_on_mute_ends():
    call = await held(Call([(1000, 900, "hello")], until=3000), {500: MUTE})
    assert call.names()[-1] == "call.ended"


def test_the_music_goes_on_for_ever_and_has_no_jumps():
    whole = samples(hold_music(0, NOTE_MS * len(TUNE_HZ) * 2, 16_000))
    pieces: list[Any] = []
    for start in range(0, NOTE_MS * len(TUNE_HZ) * 2, 20):
        pieces += samples(hold_music(start, 20, 16_000))
    assert list(whole) == pieces
    assert list(whole[: len(whole) // 2]) == list(whole[len(whole) // 2 :])
    assert max(abs(b - a) for a, b in pairwise(whole)) < 1500
