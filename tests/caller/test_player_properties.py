"""Whatever the server sends, and in whatever order, the caller keeps its manners."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from pinecall_cli.caller.player import Player
from pinecall_cli.caller.steps import (
    Hangup,
    Interrupt,
    LineQuality,
    Play,
    Press,
    Say,
    Silence,
    Wait,
)
from pinecall_cli.protocol import events
from pinecall_cli.protocol.events_llm import ToolCall
from tests.caller.conversation import FRAME, RATE, Run, said, sound

IDS = st.sampled_from(["", "m1", "m2", "m3"])
MAYBE = st.one_of(IDS, st.just(UNSET))
TOOLS = st.sampled_from(["c1", "c2"])
EVENTS = st.one_of(
    st.builds(events.BotSpeaking, message_id=IDS),
    st.builds(events.BotWord, message_id=IDS, word=st.just("w"), word_index=st.integers(-2, 9)),
    st.builds(events.BotFinished, message_id=MAYBE),
    st.builds(
        events.BotInterrupted,
        message_id=MAYBE,
        reason=st.sampled_from([UNSET, "user_spoke", "continuation", "cancelled", "?"]),
    ),
    st.builds(
        events.LlmToolCall,
        msg_id=IDS,
        tool_calls=st.tuples(st.builds(ToolCall, id=TOOLS, name=st.just("t"))),
    ),
    st.builds(events.LlmToolResult, tool_call_id=st.one_of(TOOLS, st.just(UNSET))),
    st.builds(events.LlmToolResult, results=st.just([{"tool_call_id": "c1"}, {}])),
    st.builds(events.SpeechStarted),
    st.builds(events.SpeechEnded),
    st.builds(events.UserSpeaking, text=st.just("hm")),
    st.builds(events.TurnEnd),
    st.builds(events.TurnContinued),
    st.builds(events.CallEnded),
)
SECONDS = st.floats(0, 3, allow_nan=False)
STEPS = st.lists(
    st.one_of(
        st.builds(Wait, st.one_of(st.sampled_from(["greeting", "reply"]), SECONDS), SECONDS),
        st.builds(Say, st.sampled_from(["One", "Two"])),
        st.builds(Play, st.just(Path("file.wav"))),
        st.builds(Silence, SECONDS),
        st.builds(Interrupt, st.just("One"), after_words=st.integers(1, 4), timeout=SECONDS),
        st.builds(Interrupt, st.just("Two"), after=SECONDS, timeout=SECONDS),
        st.builds(Press, st.just("1#")),
        st.builds(Hangup),
    ),
    max_size=6,
)
LINES = st.sampled_from([None, LineQuality(noise_db=-40, loss=0.2)])
CLOCK = st.sampled_from([0.0, 0.02, 0.02, 0.02, 0.5, -0.1, 5.0])
SOUNDS = {"One": sound(0.2), "Two": sound(0.05)[:-37], Path("file.wav"): sound(0.5)}


@settings(max_examples=200)
@given(
    steps=STEPS,
    script=st.lists(st.one_of(EVENTS, CLOCK), max_size=120),
    stay=st.one_of(st.none(), st.floats(0, 4)),
    line=LINES,
)
def test_any_interleaving_gives_whole_frames_and_silence_after_the_end(steps, script, stay, line):
    player, now, hung_up, pressed = (
        Player(steps, SOUNDS, rate=RATE, stay=stay, line=line),
        0.0,
        0,
        0,
    )
    for item in script:
        if isinstance(item, float):
            now += item
            frame = player.next_frame(now)
            assert len(frame) == FRAME
            if player.done:
                assert not any(frame)
        else:
            player.on_event(item, now)
        for action in player.actions():
            assert not hung_up
            hung_up += isinstance(action, Hangup)
            pressed += isinstance(action, Press)
        assert not hung_up or player.done
    assert pressed <= sum(isinstance(step, Press) for step in steps)
    assert (player.failure is None) == (player.outcome in {None, "ok"})


@settings(max_examples=60)
@given(steps=STEPS)
def test_in_front_of_a_silent_agent_every_caller_comes_to_an_end(steps):
    assert Run(steps, seconds=60.0, lengths={"One": 0.2, "Two": 0.1}).player.done


@settings(max_examples=60)
@given(steps=STEPS, script=st.lists(EVENTS, max_size=20))
def test_hearing_an_event_twice_changes_nothing(steps, script):
    once, twice = (Player(steps, SOUNDS, rate=RATE) for _ in range(2))
    for number, event in enumerate(script):
        now = number / 50
        once.on_event(event, now)
        twice.on_event(event, now)
        twice.on_event(event, now)
        assert once.next_frame(now) == twice.next_frame(now)
        assert once.actions() == twice.actions()
        assert once.outcome == twice.outcome


@given(replies=st.lists(st.floats(0.2, 3), min_size=3, max_size=3), gap=st.floats(0.05, 2))
def test_the_caller_never_speaks_into_an_agent_it_waits_for(replies, gap):
    script, at = [*said("m0", 0.5, 1.5)], 1.5
    spans = [(0.5, 1.5)]
    for number, length in enumerate(replies):
        # The caller begins within 20 ms of being allowed to, and speaks for a second.
        begin = at + (0.0 if number == 0 else 0.7) + 1.04 + gap
        at = begin + length
        spans.append((begin, at))
        script += said(f"m{number + 1}", begin, at)
    steps = [Wait("greeting"), Say("One"), Wait("reply"), Say("Two"), Wait("reply"), Say("Three")]
    run = Run(steps, script)
    assert run.outcome == "ok"
    for begin, end in run.spoken:
        assert all(end <= b + 0.021 or begin >= e - 0.021 for b, e in spans)
