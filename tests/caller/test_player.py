"""The virtual caller's timing: when it speaks, waits, interrupts and hangs up."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    plays,
    says,
)
from pinecall_cli.errors import Where
from pinecall_cli.protocol import events
from pinecall_cli.protocol.events_llm import ToolCall
from tests.caller.conversation import Run, said

GREETING = said("m1", 0.5, 2.0)


def near(*spans: tuple[float, float]) -> object:
    return [pytest.approx(span, abs=0.021) for span in spans]


def test_the_caller_speaks_when_the_greeting_has_ended():
    run = Run(says(["Hello"]), [*GREETING, *said("m2", 4.0, 5.0)])
    assert run.spoken == near((2.0, 3.0))
    assert run.outcome == "ok"


def test_without_a_greeting_the_caller_speaks_after_three_seconds():
    run = Run(says(["Hello"]), said("m2", 5.0, 6.0))
    assert run.spoken == near((3.0, 4.0))


def test_a_line_that_is_told_of_the_call_late_has_three_seconds_from_then_on_to_greet():
    began = events.CallStarted(from_="+14155550123", to="+13186330963")
    told = [(0.0, began), (2.5, began), *said("m1", 3.5, 4.0), *said("m2", 6.0, 7.0)]
    run = Run(says(["Hello"]), told)
    assert run.spoken == near((4.0, 5.0))


def test_a_greeting_that_begins_just_in_time_is_heard_out():
    run = Run(says(["Hello"]), [*said("m1", 2.9, 6.0), *said("m2", 8.0, 9.0)])
    assert run.spoken == near((6.0, 7.0))


def test_the_second_text_comes_700_ms_after_the_reply():
    run = Run(says(["One", "Two"]), [*GREETING, *said("m2", 4.0, 5.0), *said("m3", 8.0, 9.0)])
    assert run.spoken == near((2.0, 3.0), (5.7, 6.7))
    assert run.outcome == "ok"


def test_a_reply_in_two_messages_is_one_reply_when_the_gap_is_short():
    script = [*GREETING, *said("m2", 4.0, 5.0), *said("m3", 5.5, 7.0), *said("m4", 10, 11)]
    assert Run(says(["One", "Two"]), script).spoken == near((2.0, 3.0), (7.7, 8.7))


def test_while_a_tool_runs_the_reply_is_not_over():
    call = events.LlmToolCall(msg_id="l1", tool_calls=(ToolCall(id="c1", name="look"),))
    script = [
        *GREETING,
        *said("m2", 4.0, 4.5),
        (4.6, call),
        (7.0, events.LlmToolResult(tool_call_id="c1", result={})),
        *said("m3", 7.5, 8.5),
        *said("m4", 11, 12),
    ]
    assert Run(says(["One", "Two"]), script).spoken == near((2.0, 3.0), (9.2, 10.2))


def test_a_tool_whose_answer_is_void_is_waited_for_no_more():
    call = events.LlmToolCall(msg_id="l1", tool_calls=(ToolCall(id="c1", name="look"),))
    script = [*GREETING, (4.0, call), (4.5, events.TurnContinued()), *said("m2", 5.0, 6.0)]
    assert Run(says(["One", "Two"]), script, seconds=9).spoken == near((2.0, 3.0), (6.7, 7.7))


def test_a_reply_that_is_over_before_it_is_waited_for_counts():
    steps = [Wait("greeting"), Say("One"), Silence(5.0), Wait("reply"), Say("Two")]
    run = Run(steps, [*GREETING, *said("m2", 4.0, 5.0), *said("m3", 10, 11)])
    assert run.spoken == near((2.0, 3.0), (8.0, 9.0))


def test_the_rest_of_a_reply_that_was_spoken_into_is_no_answer():
    cut = events.BotInterrupted(message_id="m2", reason="user_spoke")
    script = [
        *GREETING,
        *[e for e in said("m2", 4.0, 9.0, words=40) if e[0] < 5.6],
        (5.6, cut),
        *said("m3", 8.0, 9.0),
        *said("m4", 12, 13),
    ]
    steps = [
        Wait("greeting"),
        Say("One"),
        Interrupt("No, wait", after_words=9),
        Wait("reply"),
        Say("Two"),
    ]
    run = Run(steps, script, lengths={"No, wait": 0.4})
    assert run.spoken == near((2.0, 3.0), (5.0, 5.4), (9.7, 10.7))


def test_an_interruption_begins_at_the_nth_word():
    script = [*GREETING, *said("m2", 4.0, 8.0, words=8), *said("m3", 12, 13)]
    run = Run([Wait("greeting"), Say("One"), Interrupt("Stop", after_words=5)], script)
    assert run.spoken == near((2.0, 3.0), (6.0, 7.0))
    assert run.outcome == "ok"


def test_an_interruption_begins_some_time_into_the_reply_that_plays():
    steps = [Wait(4.5), Interrupt("Stop", after=0.8)]
    run = Run(steps, [*said("m1", 4.0, 9.0), *said("m2", 12, 13)])
    assert run.spoken == near((4.8, 5.8))


def test_a_reply_that_ends_before_the_interruption_fails_the_call():
    where = Where("angry.yaml", 4, 5)
    steps = [Wait("greeting"), Say("One"), Interrupt("Stop", after_words=5, where=where)]
    run = Run(steps, [*GREETING, *said("m2", 4.0, 5.0, words=4)])
    assert run.outcome == "reply_ended_before_interrupt"
    assert run.actions == [(5.0, Hangup())]
    failure = run.player.failure
    assert failure is not None
    assert (failure.exit_code, failure.code) == (1, "reply_ended_before_interrupt")
    assert failure.where == where


def test_the_last_word_may_be_the_one_to_interrupt_even_if_the_end_comes_with_it():
    script = [*GREETING, *said("m2", 4.0, 4.001, words=4), *said("m3", 8, 9)]
    run = Run([Wait("greeting"), Say("One"), Interrupt("Stop", after_words=4)], script)
    assert run.outcome == "ok"
    assert len(run.spoken) == 2


def test_a_reply_that_was_void_is_not_the_one_to_interrupt():
    script = [
        *GREETING,
        (4.0, events.BotSpeaking(message_id="m2")),
        (4.2, events.BotInterrupted(message_id="m2", reason="continuation")),
        *said("m3", 5.0, 9.0, words=8),
        *said("m4", 12, 13),
    ]
    run = Run([Wait("greeting"), Say("One"), Interrupt("Stop", after_words=3)], script)
    assert run.spoken == near((2.0, 3.0), (6.0, 7.0))


def test_pause_and_silence_last_as_long_as_they_say():
    steps = [Wait("greeting"), Say("One"), Silence(0.35), Say("Two"), Silence(4.0), Hangup()]
    run = Run(steps, GREETING)
    assert run.spoken == near((2.0, 3.0), (3.36, 4.36))
    assert run.actions == [(pytest.approx(8.36, abs=0.03), Hangup())]
    assert run.outcome == "ok"


def test_keys_are_pressed_once_when_their_step_comes():
    run = Run(says(["Hi"], press="12#"), [*GREETING, *said("m2", 4, 5)])
    assert run.actions[0] == (2.0, Press("12#"))
    assert [type(action) for _, action in run.actions] == [Press, Hangup]


def test_a_wait_over_thirty_seconds_hangs_up():
    run = Run(says(["One", "Two"]), GREETING)
    assert run.outcome == "caller_timeout"
    assert run.ended == pytest.approx(33.0, abs=0.05)
    assert run.actions == [(run.ended, Hangup())]


def test_a_step_may_have_a_time_limit_of_its_own():
    steps = [Wait("greeting"), Say("One"), Wait("reply", timeout=2.0)]
    run = Run(steps, GREETING)
    assert (run.outcome, run.ended) == ("caller_timeout", pytest.approx(5.0, abs=0.05))


def test_an_interruption_waits_no_longer_than_others():
    run = Run([Interrupt("Stop", after_words=1, timeout=3.0)])
    assert (run.outcome, run.ended) == ("caller_timeout", pytest.approx(3.0))


def test_a_wait_for_seconds_has_no_time_limit():
    run = Run([Wait(40.0, timeout=3.0), Hangup()])
    assert (run.outcome, run.ended) == ("ok", pytest.approx(40.0))


def test_after_the_last_step_the_caller_stays_until_the_answer_is_over():
    run = Run(says(["Hi"]), [*GREETING, *said("m2", 4, 5), *said("m3", 6, 7)])
    assert run.outcome == "ok"
    assert run.ended == pytest.approx(9.0, abs=0.03)


@pytest.mark.parametrize(("stay", "ended"), [(0.0, 5.0), (0.5, 5.5), (6.0, 11.0)])
def test_stay_says_how_long(stay, ended):
    run = Run(says(["Hi"]), [*GREETING, *said("m2", 4, 5)], stay=stay)
    assert (run.outcome, run.ended) == ("ok", pytest.approx(ended, abs=0.03))


def test_an_agent_that_does_not_answer_within_ten_seconds_fails_the_call():
    run = Run(says(["Hi"]), GREETING)
    assert run.outcome == "no_answer"
    assert run.ended == pytest.approx(13.0, abs=0.03)
    assert run.player.failure is not None


def test_a_tool_that_takes_longer_than_that_is_waited_for():
    call = events.LlmToolCall(msg_id="l1", tool_calls=(ToolCall(id="c1", name="look"),))
    result = events.LlmToolResult(tool_call_id="c1", result=1)
    script = [*GREETING, (4.0, call), (18.0, result), *said("m2", 19, 20)]
    run = Run(says(["Hi"]), script)
    assert (run.outcome, run.ended) == ("ok", pytest.approx(22.0, abs=0.03))


def test_a_tool_that_never_returns_is_not_waited_for_for_ever():
    call = events.LlmToolCall(msg_id="l1", tool_calls=(ToolCall(id="c1", name="look"),))
    run = Run(says(["Hi"]), [*GREETING, (4.0, call)])
    assert run.outcome == "no_answer"
    assert run.ended == pytest.approx(33.0, abs=0.05)


def test_when_the_agent_hangs_up_first_the_rest_is_dropped_and_all_is_well():
    run = Run(says(["One", "Two"]), [*GREETING, (2.5, events.CallEnded(reason="hangup"))])
    assert run.outcome == "ok"
    assert run.spoken == near((2.0, 2.5))
    assert run.actions == []
    assert run.player.failure is None


def test_a_file_is_the_microphone_until_it_and_the_reply_end():
    file = Path("question.wav")
    script = [
        *GREETING,
        (2.3, events.SpeechStarted()),
        (5.0, events.SpeechEnded()),
        *said("m2", 5.6, 8.0),
    ]
    run = Run(plays(file), script, lengths={file: 4.0})
    assert run.spoken == near((2.0, 6.0))
    assert (run.outcome, run.ended) == ("ok", pytest.approx(10.0, abs=0.03))


def test_a_file_that_goes_on_with_noise_after_the_answer_needs_no_second_one():
    file = Path("noisy.wav")
    script = [
        *GREETING,
        (2.3, events.SpeechStarted()),
        (3.0, events.SpeechEnded()),
        *said("m2", 4.0, 5.0),
    ]
    run = Run(plays(file), script, lengths={file: 8.0})
    assert (run.outcome, run.ended) == ("ok", pytest.approx(10.0, abs=0.03))


def test_a_file_heard_a_moment_late_still_wants_its_answer():
    file = Path("question.wav")
    script = [*GREETING, (3.2, events.SpeechEnded()), *said("m2", 4.0, 5.0)]
    run = Run(plays(file), script)
    assert (run.outcome, run.ended) == ("ok", pytest.approx(7.0, abs=0.03))


def test_a_word_that_comes_late_does_not_bring_its_message_back():
    late = (2.1, events.BotWord(message_id="m1", word="late", word_index=9))
    run = Run(says(["Hi"]), [*GREETING, late, *said("m2", 4, 5)])
    assert (run.outcome, run.ended) == ("ok", pytest.approx(7.0, abs=0.03))


def test_an_application_that_cancels_its_words_has_answered():
    script = [
        *GREETING,
        (4.0, events.BotSpeaking(message_id="m2")),
        (4.5, events.BotInterrupted(message_id="m2", reason="cancelled")),
    ]
    assert Run(says(["Hi"]), script).ended == pytest.approx(6.5, abs=0.03)


def test_the_line_spoils_what_is_sent_and_nothing_after_the_end():
    run = Run([Wait(1.0), Hangup()], line=LineQuality(noise_db=-30))
    assert all(any(frame) for frame in run.frames[:-1])
    assert not any(run.player.next_frame(run.ended + 0.02))


def test_a_step_whose_sound_was_not_rendered_is_refused():
    with pytest.raises(ValueError, match="no sound was rendered for 'Hi'"):
        Player([Say("Hi")], {})
    with pytest.raises(ValueError, match="noise"):
        Player([Play(Path("noise.wav"))], {})
