"""A laptop's room: the microphone hears the loudspeaker, and the agent must not hear itself."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.audio.room import needs_a_room
from tests.audio_clips.wer import word_error_rate
from tests.end_to_end.program import agent_file, understood
from tests.end_to_end_audio.conftest import Enter, Start

NUMBER = "+13186330963"
BUFFER_MS = 60
"""The most that a loudspeaker may hold back."""
STORY = (
    "Gladly. Acme began with a single lamp, built on a kitchen table in nineteen seventy-four. "
    "The neighbours wanted one each, and then their neighbours did. Within ten years there were "
    "shelves, and chairs, and a clock that nobody has ever managed to set. Today forty people "
    "work here, and the first lamp still burns above the table."
)


@pytest.fixture
def teller(tmp_path: Path) -> Path:
    """An agent that answers everything with a long story."""
    return agent_file(
        tmp_path,
        "{name: teller, llm: script, greeting: 'Hello, this is the story line. Go ahead.',"
        f" phone_numbers: ['{NUMBER}'], local: {{llm: script, script: s.script.yaml}}}}",
        s__script__yaml=f'- say: "{STORY}"\n',
    )


@needs_a_room
def test_the_agent_does_not_interrupt_itself_and_a_person_can(
    enter: Enter, start: Start, teller: Path, clip
) -> None:
    room = enter("--echo")
    with room.tape("spk.monitor") as ear:
        call = start("call", teller, "--json", room=room)
        call.wait("bot.finished")
        assert not call.of("user.message", "bot.interrupted")

        asked = call.mark()
        room.say(clip("caller_02").path)
        told = call.wait("bot.finished", since=asked)
        assert told["duration_ms"] > 12_000
        (heard,) = call.of("user.message", since=asked)
        assert word_error_rate([(clip("caller_02").text, heard["text"])]) <= 0.3
        assert not call.of("bot.interrupted", since=asked)

        ear.wait_for_quiet(400)
        asked, before = call.mark(), ear.ms
        room.say(clip("caller_03").path)
        call.wait("bot.word", since=asked, where=lambda record: record["word_index"] == 9)
        over = call.mark()
        room.say(clip("caller_04").path)
        cut = call.wait("bot.interrupted", since=over)
        assert cut["reason"] == "user_spoke"
        assert 9 <= cut["words_spoken"] < len(STORY.split())
        call.wait("bot.speaking", since=over)
        assert word_error_rate([(clip("caller_04").text, understood(call.records[over:]))]) <= 0.3

    # Nothing that waited to be played was played after the interruption.
    start_ms, end_ms = next(one for one in ear.stretches(apart_ms=1000) if one[0] >= before)
    assert end_ms - start_ms <= cut["played_ms"] + BUFFER_MS

    call.signal(signal.SIGTERM)
    assert call.end() == 143
    assert call.records[-1]["type"] == "call.summary"


@needs_a_room
def test_on_a_telephone_the_agent_does_not_interrupt_itself_either(
    enter: Enter, start: Start, teller: Path, clip
) -> None:
    room = enter("--echo")
    call = start("call", teller, "--to", NUMBER, "--json", room=room)
    assert call.wait("call.started")["transport"] == "phone"
    call.wait("bot.finished")
    asked = call.mark()
    room.say(clip("caller_03").path)
    call.wait("bot.word", since=asked, where=lambda record: record["word_index"] == 12)
    assert word_error_rate([(clip("caller_03").text, understood(call.records))]) <= 0.3
    assert not call.of("bot.interrupted")
    call.signal(signal.SIGINT)
    assert call.end() == 130


@needs_a_room
def test_without_cancellation_a_quiet_room_serves_as_well(
    enter: Enter, start: Start, teller: Path, clip
) -> None:
    room = enter()
    call = start("call", teller, "--no-aec", "--device", "default:default", "--json", room=room)
    call.wait("bot.finished")
    asked = call.mark()
    room.say(clip("caller_03").path)
    call.wait("bot.word", since=asked)
    assert word_error_rate([(clip("caller_03").text, understood(call.records))]) <= 0.3
    call.signal(signal.SIGINT)
    assert call.end() == 130


@needs_a_room
def test_without_cancellation_an_echo_is_a_nuisance_and_no_crash(
    enter: Enter, start: Start, teller: Path, clip
) -> None:
    room = enter("--echo")
    call = start("call", teller, "--no-aec", "--json", room=room)
    call.wait("bot.interrupted")  # it hears its own greeting
    call.signal(signal.SIGINT)
    assert call.end() == 130
    assert not call.of("error")
