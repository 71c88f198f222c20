"""No devices, no PortAudio, devices that go away: one sentence with the way out, and text works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audio.room import needs_a_room
from tests.end_to_end.program import agent_file
from tests.end_to_end_audio.conftest import Enter, Open, Start

NO_PORTAUDIO = "sounddevice", "OSError('PortAudio library not found')"
HARDWARE = Path("/dev/snd").exists()

Without = Callable[[str, str], dict[str, str]]


@pytest.fixture
def parrot(tmp_path: Path) -> Path:
    """An agent that says what it heard."""
    return agent_file(
        tmp_path,
        "{name: parrot, llm: script, greeting: Go on.,"
        " local: {llm: script, script: s.script.yaml}}",
        s__script__yaml='- say: "You said: {text}"\n',
    )


def test_without_portaudio_a_call_says_what_to_install(
    start: Start, parrot: Path, without: Without
) -> None:
    call = start("call", parrot, "--json", **without(*NO_PORTAUDIO))
    assert call.end() == 3
    (record,) = call.of("error")
    assert record["error"]["code"] == "portaudio_missing"
    assert "is not installed" in record["error"]["message"]
    assert "--input FILE.wav" in record["error"]["hint"]
    assert not [line for line in call.talk if "Traceback" in line]


def test_without_portaudio_the_list_of_devices_says_the_same(
    start: Start, without: Without
) -> None:
    hidden = without(*NO_PORTAUDIO)
    listed = [start("call", "--list-devices", *more, **hidden) for more in ((), ("--json",))]
    assert [one.end() for one in listed] == [3, 3]
    assert listed[0].talk[0].startswith("error: PortAudio")
    assert json.loads(listed[1].out[-1])["error"]["code"] == "portaudio_missing"


def test_without_portaudio_text_still_reaches_the_agent_from_the_dev_view(
    open_terminal: Open, parrot: Path, without: Without
) -> None:
    terminal = open_terminal("dev", parrot, **without(*NO_PORTAUDIO))
    terminal.shows("engines ready")
    terminal.type("c")
    terminal.shows("PortAudio, which reaches microphone and loudspeaker, is not installed")
    terminal.type("t")
    terminal.type("hello there\r")
    terminal.shows("You said: hello there")
    terminal.type("\x1b")
    terminal.type("q")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text


@needs_a_room
@pytest.mark.skipif(HARDWARE, reason="this machine has sound hardware")
def test_a_machine_without_devices_says_so(enter: Enter, start: Start, parrot: Path) -> None:
    room = enter("--no-devices")
    listed = start("call", "--list-devices", "--json", room=room)
    call = start("call", parrot, room=room)
    assert listed.end() == 0
    assert json.loads(listed.out[-1]) == {"devices": []}
    assert call.end() == 3
    assert call.hears("error: there is no ")
    assert call.hears("need no audio device")


@needs_a_room
def test_devices_are_listed_and_named(enter: Enter, start: Start, parrot: Path) -> None:
    room = enter()
    listed = [start("call", "--list-devices", *more, room=room) for more in ((), ("--json",))]
    wrong = start("call", parrot, "--device", "gramophone", room=room)
    assert [one.end() for one in listed] == [0, 0]
    devices = json.loads(listed[1].out[-1])["devices"]
    assert [set(device) for device in devices] == [
        {"id", "name", "input", "output", "default"} for _ in devices
    ]
    assert [device["name"] for device in devices if device["default"]] == ["default"]
    assert len(listed[0].out) == len(devices)
    (default,) = [line for line in listed[0].out if line.startswith("*")]
    assert default.split()[2:] == ["default", "(input", "+", "output)"]
    assert wrong.end() == 3
    assert wrong.hears("error: no microphone is called `gramophone`")
    assert wrong.hears("fix: `pinecall call --list-devices` shows what there is")


@needs_a_room
def test_a_device_that_goes_away_ends_the_call_with_one_sentence(
    enter: Enter, start: Start, parrot: Path
) -> None:
    room = enter()
    call = start("call", parrot, "--json", room=room)
    call.wait("bot.finished")
    room.lose_the_sound_server()
    assert call.end() == 3
    (record,) = call.of("error")
    assert record["error"]["code"] == "audio_device_lost"
    assert record["error"]["message"].endswith("`default` has stopped")
    assert "--list-devices" in record["error"]["hint"]
    assert not [line for line in call.talk if "Traceback" in line or "ALSA" in line]


@needs_a_room
def test_in_the_dev_view_a_device_that_goes_away_ends_the_call_and_nothing_else(
    enter: Enter, open_terminal: Open, parrot: Path
) -> None:
    room = enter()
    terminal = open_terminal("dev", parrot, room=room)
    terminal.shows("engines ready")
    terminal.type("c")
    terminal.shows("Go on.")
    room.lose_the_sound_server()
    terminal.shows("`default` has stopped")
    terminal.shows("call ended")
    terminal.type("t")
    terminal.type("hello there\r")
    terminal.shows("You said: hello there")
    terminal.type("\x1b")
    terminal.type("q")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text
