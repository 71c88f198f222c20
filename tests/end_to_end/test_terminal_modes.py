"""What a command leaves behind when the ground is taken from under it: a signal, a dead server."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import Program, agent_file
from tests.end_to_end.terminal import Terminal
from tests.end_to_end.test_terminal import CTRL_C, left_tidy
from tests.end_to_end.typed_call import PATIENT, patient_caller

LEAVE: dict[str, tuple[Callable[[Terminal], None], int]] = {
    "ctrl-c": (lambda terminal: terminal.type(CTRL_C), 130),
    "sigterm": (lambda terminal: terminal.signal(signal.SIGTERM), 143),
    "sighup": (lambda terminal: terminal.signal(signal.SIGHUP), 129),
}
COMMANDS = {
    "dev": (("dev", "other.yaml"), "q quit"),
    "call": (("call", "desk", "--caller", "patient.caller.yaml"), "hang up"),
    "dialled call": (("call", "+15005550006", "--agent", "desk", "--yes"), "☎ outgoing call —"),
    "listen": (("listen", "--no-audio"), "Hello."),
    "logs -f": (("logs", "-f"), "Hello."),
    "chat": (("chat", "desk"), "desk"),
    "server": (("server", "--port", "0"), "http://"),
}
"""Command lines, and what each shows once it runs."""
RULES = """\
- {on: leave, call: leave, say: done}
- {on: cut, call: cut, say: done}
"""
TOOLS = """\
from pinecall_cli import tool

@tool
async def leave() -> dict:
    raise SystemExit(3)

@tool
async def cut() -> dict:
    raise KeyboardInterrupt
"""
ENGINES_NEEDED = 60.0
"""Seconds until the speech engines have been loaded, where many tests run at once."""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    agent_file(tmp_path, "{name: other}", name="other.yaml")
    patient_caller(tmp_path)
    return agent_file(
        tmp_path,
        "{name: desk, greeting: Hello., tools: [tools.py],"
        " local: {llm: script, script: desk.script.yaml}}",
        desk__script__yaml=RULES,
        tools__py=TOOLS,
    )


def talked_to(start: Start, desk: Path) -> Program:
    """Return a call that goes on, with a greeting behind it, for others to look at."""
    call = start("call", "desk", "--caller", "-", "--json", stdin=PATIENT)
    call.wait("bot.finished")
    return call


@pytest.mark.parametrize("way", LEAVE)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_goes_on_leaves_the_terminal_as_it_was(
    start: Start, open_terminal: Open, desk: Path, command: str, way: str
) -> None:
    (words, shown), (leave, code) = COMMANDS[command], LEAVE[way]
    if command not in ("dev", "server"):
        start("dev", desk, "--json").ready()
    if command in ("listen", "logs -f"):
        talked_to(start, desk)
    terminal = open_terminal(*words, size=(24, 100))
    terminal.shows(shown, patience=ENGINES_NEEDED)
    leave(terminal)
    left_tidy(terminal, code)


@pytest.mark.parametrize(
    ("command", "says", "code"),
    [
        ("call", "", 3),
        ("dialled call", "", 3),
        ("listen", "", 3),
        ("logs -f", "lost http://", None),
        ("chat", "", None),
        ("dev", "reconnecting", None),
    ],
)
def test_a_server_that_is_killed_leaves_no_terminal_in_disorder(
    start: Start, open_terminal: Open, desk: Path, command: str, says: str, code: int | None
) -> None:
    server = start("server", "--port", "0", "--json")
    url = server.wait("server.ready")["url"]
    there = ("--server", url)
    start("dev", desk, *there, "--json").wait("dev.ready")
    if command in ("listen", "logs -f"):
        call = start("call", "desk", "--caller", "-", *there, "--json", stdin=PATIENT)
        call.wait("bot.finished", patience=ENGINES_NEEDED)
    words, shown = COMMANDS[command]
    terminal = open_terminal(*words, *there, size=(24, 100))
    terminal.shows(shown, patience=ENGINES_NEEDED)
    server.kill()
    if code is None:
        if says:
            terminal.shows(says)
        terminal.type(CTRL_C)
    left_tidy(terminal, 130 if code is None else code, within=45.0)


@pytest.mark.parametrize("tool", ["leave", "cut"])
def test_a_tool_that_would_end_the_program_leaves_the_terminal_as_it_was(
    open_terminal: Open, desk: Path, tool: str
) -> None:
    dev = open_terminal("dev", desk)
    dev.shows("t type")
    dev.type(f"t{tool}\r")
    dev.shows(f"{tool}()")
    dev.type(CTRL_C)
    assert dev.end() == 130  # what the tool raised is on the screen: it is the developer's
    assert dev.after == dev.before
    assert dev.cursor_shown
