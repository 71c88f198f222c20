"""Listening in on the loudspeaker, and a terminal that answers a call by its microphone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.audio.wav import read_wav
from pinecall_cli.engines.moonshine import Moonshine
from tests.audio.room import needs_a_room
from tests.audio_clips.wer import Clip, word_error_rate
from tests.end_to_end.program import Program, agent_file
from tests.end_to_end_audio.conftest import Enter, Open, Start

NOBODYS = "+14155550123"
SAID = "On Saturday we are open from ten to four, and on Sunday the shop is closed."
CALLER = """
steps:
  - wait: greeting
  - silence: 3s
  - say: What are your hours?
  - wait: reply
  - silence: 2s
  - hangup
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: desk, greeting: 'Welcome to the shop. How can I help you today?',"
        " local: {llm: script, script: s.script.yaml}}",
        s__script__yaml=f'- say: "{SAID}"\n',
        caller__yaml=CALLER,
    )


def on_a_call(start: Start, desk: Path) -> Program:
    """Let a virtual caller call, with no sound device at all."""
    dev = start("dev", desk, "--json")
    dev.ready()
    call = start("call", "desk", "--caller", desk.with_name("caller.yaml"), "--json")
    call.wait("call.started")
    return call


@needs_a_room
def test_a_call_is_heard_on_the_loudspeaker_as_it_was_recorded(
    enter: Enter, start: Start, desk: Path, recogniser: Moonshine, tmp_path: Path
) -> None:
    room = enter()
    call = on_a_call(start, desk)
    with room.tape("spk.monitor") as ear:
        listen = start("listen", "--json", "--record", tmp_path / "kept.wav", room=room)
        assert call.end() == 0, call.talk
        assert listen.end() == 0, listen.talk
        heard = ear.words(recogniser)
    assert word_error_rate([(SAID, heard[heard.lower().rfind("on saturday") :])]) <= 0.15
    assert listen.records[-1]["type"] == "call.summary"
    kept, rate = read_wav(tmp_path / "kept.wav")
    assert rate == 16_000
    assert level_dbfs(kept) > -50


@needs_a_room
def test_without_its_loudspeaker_listening_goes_on_in_writing(
    enter: Enter, start: Start, desk: Path, tmp_path: Path
) -> None:
    room = enter()
    call = on_a_call(start, desk)
    with room.tape("spk.monitor") as ear:
        listen = start("listen", "--json", "--record", tmp_path / "kept.wav", room=room)
        ear.until(lambda tape: tape.stretches())
    room.lose_the_sound_server()
    assert listen.hears("`default` has stopped: listening goes on without sound")
    assert call.end() == 0, call.talk
    assert listen.end() == 0, listen.talk
    assert listen.records[-1]["type"] == "call.summary"
    assert listen.of("bot.corrected")[-1]["data"]["text"] == SAID  # what was heard of it: all
    kept, rate = read_wav(tmp_path / "kept.wav")
    assert len(kept) / 2 / rate > 6  # long after the loudspeaker was gone
    assert not [line for line in listen.talk if "Traceback" in line or "ALSA" in line]


@needs_a_room
def test_on_a_terminal_the_meter_moves_and_is_gone_when_the_call_is(
    enter: Enter, start: Start, open_terminal: Open, desk: Path
) -> None:
    room = enter()
    call = on_a_call(start, desk)
    terminal = open_terminal("listen", room=room)
    terminal.shows("● live")
    terminal.shows(SAID[:30])
    room.lose_the_sound_server()
    terminal.shows("listening goes on without sound")
    assert call.end() == 0, call.talk
    assert terminal.end() == 0
    assert "call ended — hangup" in terminal.text
    assert not terminal.text.rstrip().endswith("Ctrl-C leaves")
    assert terminal.before == terminal.after
    assert terminal.cursor_shown


@needs_a_room
def test_a_machine_without_a_loudspeaker_says_what_works_without(
    enter: Enter, start: Start, desk: Path
) -> None:
    room = enter("--no-devices")
    on_a_call(start, desk)
    listen = start("listen", "--json", room=room)
    assert listen.end() == 3
    assert "--no-audio" in listen.records[-1]["error"]["hint"]


@needs_a_room
def test_a_terminal_rings_and_whoever_answers_is_heard_and_hears(
    enter: Enter,
    open_terminal: Open,
    desk: Path,
    clip: Callable[[str], Clip],
    recogniser: Moonshine,
) -> None:
    room = enter()
    said = clip("caller_02")
    terminal = open_terminal(
        *("call", NOBODYS, "--agent", desk, "--greeting", "This is the shop calling back."),
        room=room,
    )
    terminal.shows("enter answer")
    with room.tape("spk.monitor") as ear:
        terminal.type("\r")
        terminal.shows("This is the shop calling back.")
        ear.until(lambda tape: tape.stretches())
        ear.wait_for_quiet(600)
        room.say(said.path)
        terminal.shows(SAID[:30])
        ear.until(lambda tape: len(tape.stretches()) >= 2)
        terminal.type("h")
        assert terminal.end() == 0
        heard = ear.words(recogniser)
    assert word_error_rate([("this is the shop calling back", heard[:30])]) <= 0.4
    told = re.findall(r"caller › (.*)", terminal.text)[-1]
    assert word_error_rate([(said.text, told)]) <= 0.3
    assert "call ended — hangup" in terminal.text
    assert terminal.before == terminal.after
    assert terminal.cursor_shown
