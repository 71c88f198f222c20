"""Calls by microphone from a terminal: the live view, its keys, and how it is left."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audio.room import needs_a_room
from tests.end_to_end.program import agent_file
from tests.end_to_end.terminal import Terminal
from tests.end_to_end_audio.conftest import Enter, Open

BAR = re.compile(r"mic (\S+)")


@pytest.fixture
def parrot(tmp_path: Path) -> Path:
    """An agent that says what it heard, of the sentences that are said to it here.

    Not with "{text}": what a sentence ends with is up to the recogniser, and to how its last sound
    came through the virtual microphone.
    """
    return agent_file(
        tmp_path,
        "{name: parrot, llm: script, greeting: Go on.,"
        " local: {llm: script, script: s.script.yaml}}",
        s__script__yaml='- {on: delivery address, say: "Which address?"}\n'
        "- {on: real person, say: Here is one.}\n"
        '- {say: "Pardon: {text}"}\n',
    )


def levels(terminal: Terminal) -> set[str]:
    """Return what the microphone's meter has shown."""
    return set(BAR.findall(terminal.text))


@needs_a_room
def test_a_call_from_the_dev_view_is_heard_metered_and_hung_up(
    enter: Enter, open_terminal: Open, parrot: Path, clip
) -> None:
    room = enter()
    terminal = open_terminal("dev", parrot, room=room)
    terminal.shows("engines ready")
    with room.tape("spk.monitor") as ear:
        terminal.type("c")
        terminal.shows("Go on.")
        ear.until(lambda tape: tape.stretches())
        ear.wait_for_quiet(600)
        silent = levels(terminal)
        room.say(clip("caller_02").path)
        terminal.shows("Which address?")
        assert levels(terminal) - silent
        ear.wait_for_quiet(400)
    terminal.type("h")
    terminal.shows("call ended")
    terminal.type("q")
    assert terminal.end() == 0
    assert terminal.before == terminal.after
    assert terminal.cursor_shown


@needs_a_room
def test_without_echo_cancellation_a_call_says_that_it_is_half_duplex(
    enter: Enter,
    open_terminal: Open,
    parrot: Path,
    without: Callable[[str, str], dict[str, str]],
    clip,
) -> None:
    room = enter("--echo")
    hidden = without("pywebrtc_audio", "ImportError('not installed')")
    terminal = open_terminal("call", parrot, room=room, **hidden)
    terminal.shows("half-duplex: you are not heard while the agent speaks")
    with room.tape("spk.monitor") as ear:
        ear.until(lambda tape: tape.stretches())
        ear.wait_for_quiet(800)
        room.say(clip("caller_08").path)
        terminal.shows("Here is one.")
        ear.wait_for_quiet(400)
    terminal.type("q")
    assert terminal.end() == 0
    assert terminal.before == terminal.after
