"""A whole voice call at full speed: real turn-taking, conversation and speaker, told engines."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from pinecall_cli.engines.worker import CALLS, INTERIM, rank
from pinecall_cli.protocol import commands, events
from pinecall_cli.server.voice.speaking import SILENCE
from tests.fakes.engines import Engines, Recogniser
from tests.server.fast_call import LONG, Call


async def test_a_question_is_answered_in_the_order_of_the_protocol():
    call = await Call([(500, 900, "hello there")], until=5000).hold()
    assert call.names()[:7] == [
        "call.started",
        "speech.started",
        "user.speaking",
        "speech.ended",
        "user.message",
        "turn.end",
        "bot.speaking",
    ]
    tail = [name for name in call.names() if name not in ("bot.word", "turn.latency")][-4:]
    assert tail == ["bot.speaking", "message.confirmed", "bot.finished", "call.ended"]
    assert [word.word for word in call.of(events.BotWord)] == ["You", "said", "hello", "there."]
    ended = call.of(events.CallEnded)[0]
    assert ended.messages == [
        {"role": "user", "content": "hello there"},
        {"role": "assistant", "content": "You said hello there."},
    ]


async def test_words_are_told_when_they_are_played():
    call = await Call(greeting="aaaa bbbb cccc", until=3000).hold()
    at = {
        event.word: at
        for event, at in zip(call.events, call.at, strict=True)
        if isinstance(event, events.BotWord)
    }
    assert at["bbbb"] - at["aaaa"] == pytest.approx(300, abs=20)
    assert at["cccc"] - at["bbbb"] == pytest.approx(300, abs=20)


async def test_the_parts_of_the_latency_add_up_to_what_the_audio_shows():
    call = await Call([(500, 900, "hello")], until=4000).hold()
    (latency,) = call.of(events.TurnLatency)
    parts = (
        latency.vad,
        latency.asr,
        latency.eou,
        latency.tools,
        latency.llm_ttft,
        latency.tts_ttfb,
        latency.playout,
        latency.other,
    )
    assert sum(parts) == latency.e2e
    first = next(i for i in range(0, len(call.heard), 2) if call.heard[i : i + 2] != b"\0\0")
    assert first // 32 - 1400 == pytest.approx(latency.e2e, abs=40)


async def test_the_greeting_is_spoken_and_remembered():
    call = await Call(greeting="Hello {{name}}!", vars={"name": "Ana"}, until=2000).hold()
    speaking = call.of(events.BotSpeaking)[0]
    assert speaking.text == "Hello Ana!"
    assert call.conversation.history == [{"role": "assistant", "content": "Hello Ana!"}]


async def test_a_caller_who_cuts_in_late_leaves_the_heard_prefix_behind():
    call = await Call([(500, 800, "tell me a story"), (5000, 900, "stop")], until=8000).hold()
    (cut,) = call.of(events.BotInterrupted)
    assert cut.reason == "user_spoke"
    words = [w.word for w in call.of(events.BotWord) if w.message_id == cut.message_id]
    assert cut.words_spoken == len(words)
    assert cut.last_word == words[-1]
    assert 0 < len(words) < 15
    history = call.conversation.history
    assert history[1] == {"role": "assistant", "content": " ".join(words)}
    assert [turn.turn_id for turn in call.of(events.TurnEnd)] == [1, 2]


async def test_the_agent_is_silent_within_100_ms_of_a_barge_in():
    call = await Call(
        [(500, 800, "tell me a story"), (5000, 3000, "stop right there")], until=8100
    ).hold()
    after = bytes(call.heard[(5000 + 300 + 100) * 32 : 8000 * 32])
    assert after == bytes(len(after))
    before = bytes(call.heard[5000 * 32 : 5200 * 32])
    assert before != bytes(len(before))


async def test_an_early_interruption_continues_the_turn_and_forgets_the_reply():
    call = await Call([(500, 800, "tell me a story"), (2500, 900, "about cats")], until=9500).hold()
    names = call.names()
    assert names.index("turn.continued") < names.index("bot.interrupted")
    (cut,) = call.of(events.BotInterrupted)
    assert cut.reason == "continuation"
    assert cut.played_ms < 2000
    assert [turn.turn_id for turn in call.of(events.TurnEnd)] == [1, 1]
    assert call.conversation.history[0]["content"] == "tell me a story about cats"
    assert not [m for m in call.conversation.history if m["content"] == "tell me a story"]


async def test_tools_run_between_the_turn_and_the_reply():
    call = Call([(500, 800, "where is my order")], until=5000)

    def run_tool(event: events.Event) -> None:
        if isinstance(event, events.LlmToolCall):
            result = commands.ToolResult(
                tool_call_id=event.tool_calls[0].id, result={"status": "shipped"}
            )
            call.session.handle(
                commands.LlmToolResult(call_id="call-1", msg_id=event.msg_id, results=[result])
            )

    call.watchers.append(run_tool)
    await call.hold()
    names = call.names()
    assert names.index("turn.end") < names.index("llm.tool_call") < names.index("bot.speaking")
    assert " ".join(w.word for w in call.of(events.BotWord)) == "It is shipped."
    roles = [message["role"] for message in call.conversation.history]
    assert roles == ["user", "assistant", "tool", "assistant"]


async def test_without_a_model_the_application_answers():
    call = Call([(500, 800, "hello")], rules=None, until=5000)

    def answer(event: events.Event) -> None:
        if isinstance(event, events.TurnEnd):
            for action, more in (
                ("start", {"in_reply_to": event.message_id}),
                ("chunk", {"token": "Good "}),
                ("chunk", {"token": "day."}),
                ("end", {}),
            ):
                call.session.handle(
                    commands.BotReplyStream(
                        call_id="call-1", message_id="msg_mine", action=action, **more
                    )
                )

    call.watchers.append(answer)
    await call.hold()
    assert " ".join(w.word for w in call.of(events.BotWord)) == "Good day."
    assert call.of(events.BotFinished)[0].message_id == "msg_mine"
    assert call.conversation.history[-1] == {"role": "assistant", "content": "Good day."}


async def test_a_stale_reply_is_rejected_and_not_spoken():
    call = Call([(500, 800, "hello")], rules=None, until=4000)

    def answer(event: events.Event) -> None:
        if isinstance(event, events.TurnEnd):
            call.session.handle(
                commands.BotReply(
                    call_id="call-1", message_id="msg_old", text="Late.", in_reply_to="msg_gone"
                )
            )

    call.watchers.append(answer)
    await call.hold()
    (rejected,) = call.of(events.ReplyRejected)
    assert rejected.reason == "message_obsolete"
    assert not call.of(events.BotSpeaking)


async def test_a_reply_to_the_current_turn_gets_its_latency_measured():
    call = Call([(500, 800, "hello")], rules=None, until=4000)

    def answer(event: events.Event) -> None:
        if isinstance(event, events.TurnEnd):
            call.session.handle(
                commands.BotReply(
                    call_id="call-1",
                    message_id="msg_a",
                    text="Hi.",
                    in_reply_to=str(event.message_id),
                )
            )

    call.watchers.append(answer)
    await call.hold()
    assert call.of(events.TurnLatency)[0].message_id == "msg_a"


async def test_what_is_said_in_a_row_is_played_in_that_order():
    call = Call(rules=None, until=4000)

    def say(event: events.Event) -> None:
        if isinstance(event, events.CallStarted):
            for name in ("msg_1", "msg_2"):
                call.session.handle(
                    commands.BotReply(call_id="call-1", message_id=name, text=name, in_reply_to="")
                )

    call.watchers.append(say)
    await asyncio.wait_for(call.hold(), 30)
    assert [e.message_id for e in call.of(events.BotFinished)] == ["msg_1", "msg_2"]


async def test_cancelling_a_message_silences_it():
    call = Call(rules=None, until=4000)

    def act(event: events.Event) -> None:
        match event:
            case events.CallStarted():
                call.session.handle(
                    commands.BotReply(call_id="c", message_id="m", text=LONG, in_reply_to="")
                )
            case events.BotWord(word_index=2):
                call.session.handle(commands.BotCancel(call_id="c", message_id="m"))

    call.watchers.append(act)
    await call.hold()
    (cut,) = call.of(events.BotInterrupted)
    assert (cut.reason, cut.words_spoken) == ("cancelled", 3)


async def test_the_agent_hangs_up():
    call = Call(rules=None, until=60_000)

    def act(event: events.Event) -> None:
        if isinstance(event, events.CallStarted):
            call.session.handle(commands.CallHangup(call_id="c"))

    call.watchers.append(act)
    await call.hold()
    assert call.of(events.CallEnded)[0].reason == "hangup"
    assert call.session.clock_ms < 100


async def test_a_quiet_caller_is_warned_and_then_let_go():
    limits = {"idle_timeout_seconds": 5, "idle_warning_seconds": 2, "idle_grace_seconds": 1}
    call = await Call(until=60_000, session_limits=limits).hold()
    at = dict(zip(call.names(), call.at, strict=True))
    warnings = call.of(events.SessionIdleWarning)
    assert [warning.remaining_seconds for warning in warnings] == [2, 1]
    assert at["session.timeout"] == pytest.approx(6000, abs=40)
    assert call.of(events.CallEnded)[0].reason == "idle_timeout"


async def test_a_long_call_ends_at_its_limit():
    call = await Call(
        [(500, 900, "hello")], until=60_000, session_limits={"max_duration_seconds": 3}
    ).hold()
    assert call.of(events.SessionTimeout)[0].reason == "max_duration"
    assert call.of(events.CallEnded)[0].reason == "max_duration"


async def test_a_new_prompt_is_used_from_the_next_turn_of_the_same_call():
    call = Call(
        [(500, 600, "prompt"), (5000, 600, "prompt")],
        rules=[{"say": "{prompt}"}],
        prompt="old",
        raw_prompt=True,
        until=8000,
    )

    def change(event: events.Event) -> None:
        if isinstance(event, events.BotFinished) and call.session.clock_ms < 4000:
            call.session.handle(commands.HistorySetInstructions(call_id="c", prompt="new"))

    call.watchers.append(change)
    await call.hold()
    assert [w.word for w in call.of(events.BotWord)] == ["old", "new"]


async def test_a_caller_whose_audio_stops_counts_as_silent():
    call = Call([(500, 900, "hello")], until=5000)
    whole = call.receive

    def stalled() -> list[bytes]:
        return [] if call.session.clock_ms > 1600 else whole()

    call.receive = stalled  # type: ignore[method-assign]
    await call.hold()
    assert call.of(events.TurnEnd)[0].text == "hello"


async def test_a_muted_caller_is_not_heard():
    call = Call([(500, 900, "hello")], until=4000)
    call.session.mute(True)
    await call.hold()
    assert not call.of(events.UserMessage)


async def test_typed_text_is_answered_aloud():
    call = Call(until=4000)

    def act(event: events.Event) -> None:
        if isinstance(event, events.CallStarted):
            call.session.inject("good morning")

    call.watchers.append(act)
    await call.hold()
    assert " ".join(w.word for w in call.of(events.BotWord)) == "You said good morning."


async def test_an_uninterruptible_agent_finishes_its_sentence():
    call = await Call(
        [(500, 800, "tell me a story"), (5000, 900, "stop")], until=16_000, interruption=False
    ).hold()
    assert not call.of(events.BotInterrupted)
    assert [turn.text for turn in call.of(events.TurnEnd)] == ["tell me a story", "stop"]


async def test_interim_words_wait_for_others_turns_and_are_given_up_for_the_whole_turn():
    class Stuck(Recogniser):
        """Never gets to interim words."""

        asked: ClassVar[list[int]] = []
        given_up = 0

        async def transcribe(self, pcm: bytes) -> str:
            self.asked.append(rank())
            if rank() == INTERIM:
                try:
                    await asyncio.Event().wait()
                finally:
                    self.given_up += 1
            return await super().transcribe(pcm)

    engines = Engines()
    engines.recogniser = stuck = Stuck({0: "hello there"})
    call = await Call([(500, 900, "hello there")], engines=engines, until=5000).hold()
    assert [turn.text for turn in call.of(events.TurnEnd)] == ["hello there"]
    assert stuck.asked == [INTERIM, CALLS]
    assert stuck.given_up == 1


async def test_the_tape_lays_both_sides_beside_each_other():
    call = Call([(500, 900, "hello")], greeting="aaaa", until=4000)
    caller, agent = bytearray(), bytearray()
    call.session.tape.listen(lambda one, other: (caller.extend(one), agent.extend(other)))
    await call.hold()
    assert bytes(agent) == bytes(call.heard)
    assert bytes(caller) == bytes(call.audio[: len(caller)])
    assert len(caller) == len(agent)


def test_silence_is_twenty_milliseconds():
    assert len(SILENCE) == 640
