"""Whenever and however it ends, the terminal is as it was, and the shell learns why."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import agent_file, opened
from tests.end_to_end.stub_server import StubServer
from tests.end_to_end.terminal import Terminal
from tests.end_to_end.typed_call import patient_caller

CTRL_C = "\x03"
WITHIN_S = 6.0
"""The contract says 2, on a machine that does not run other tests; what hangs here does for 60."""
TOOLS = """\
import time
from pinecall_cli import tool

@tool
def stuck() -> dict:
    "Hang, as a driver or a database does."
    open("begun", "w").close()
    time.sleep(60)
    return {}

@tool
async def blocking() -> dict:
    "Hold up the event loop, as one should not."
    open("begun", "w").close()
    time.sleep(60)
    return {}
"""
"""Tools that never end; each says that it has begun by opening a pipe."""
RULES = """\
- {on: stuck, call: stuck, say: done}
- {on: blocking, call: blocking, say: done}
- say: "You said: {text}"
"""


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Return a pipe in the working directory, for a tool to open."""
    os.mkfifo(tmp_path / "begun")
    return tmp_path / "begun"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: desk, greeting: Hello., tools: [tools.py],"
        " local: {llm: script, script: desk.script.yaml}}",
        desk__script__yaml=RULES,
        tools__py=TOOLS,
    )


def left_tidy(terminal: Terminal, code: int, within: float = WITHIN_S) -> None:
    """Check that the program ends in time, with this code, and leaves the terminal as it was."""
    assert terminal.end(within=within) == code, terminal.text
    assert terminal.after == terminal.before
    assert terminal.cursor_shown
    assert "Traceback" not in terminal.text


def test_ctrl_c_while_an_agent_file_is_imported(
    open_terminal: Open, tmp_path: Path, begun: Path
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("open('begun', 'w').close()\nimport time\ntime.sleep(60)\n", encoding="utf-8")
    terminal = open_terminal("dev", slow)
    opened(begun)
    terminal.type(CTRL_C)
    left_tidy(terminal, 130)


def test_ctrl_c_while_the_server_is_deaf(open_terminal: Open, desk: Path) -> None:
    with StubServer(deaf=True) as server:
        terminal = open_terminal("dev", desk, "--server", server.url, "--api-key", "k")
        assert server.greeted.wait(30)
        terminal.type(CTRL_C)
        left_tidy(terminal, 130)


def test_ctrl_c_while_the_engines_load(open_terminal: Open, desk: Path) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("loading the speech engines")
    terminal.type(CTRL_C)
    left_tidy(terminal, 130)


def test_ctrl_c_while_something_is_typed(open_terminal: Open, desk: Path) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("q quit")
    assert terminal.raw
    terminal.type("thalf a sen")
    terminal.shows("half a sen")
    terminal.type(CTRL_C)
    left_tidy(terminal, 130)


def test_a_number_that_is_refused_is_there_again_to_be_mended(
    open_terminal: Open, desk: Path
) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("ready · waiting for a call")
    terminal.type("d+1500\r")
    terminal.shows("error: `+1500` is too short")
    drawn = terminal.text.count("+1500")
    terminal.type("d")
    terminal.shows_times("+1500", drawn + 1)
    terminal.type("5550001\r")
    terminal.shows("busy")
    terminal.type("d5\r")  # what was called is not there again
    terminal.shows("error: `5` has no country code")
    terminal.type("d+15005550003\r")  # and a + begins another number
    terminal.shows("rejected")
    terminal.type("q")
    left_tidy(terminal, 0)


def test_what_is_typed_before_the_agents_are_there_is_not_lost(
    open_terminal: Open, desk: Path
) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("t type")
    assert terminal.raw, "what the keys do is not shown before they do it"
    terminal.type("tquestions\r")
    terminal.shows("You said: questions")
    terminal.type("\x1b")
    terminal.shows("t type")
    terminal.type(CTRL_C)
    left_tidy(terminal, 130)


@pytest.mark.parametrize("tool", ["stuck", "blocking"])
def test_ctrl_c_while_a_tool_hangs(open_terminal: Open, desk: Path, begun: Path, tool: str) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("ready")
    terminal.type(f"t{tool}\r")
    opened(begun)
    terminal.type(CTRL_C)
    left_tidy(terminal, 130)


def test_a_second_ctrl_c_ends_it_at_once(open_terminal: Open, desk: Path, begun: Path) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("ready")
    terminal.type("tstuck\r")
    opened(begun)
    terminal.type(CTRL_C)
    terminal.shows("stopped: interrupted")
    terminal.type(CTRL_C)
    left_tidy(terminal, 130)


def test_ctrl_c_in_a_call_ends_it_on_both_sides(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    dev = open_terminal("dev", desk)
    dev.shows("ready")
    call = start("call", "desk", "--caller", "-", "--json", stdin="steps: [{silence: 30m}]")
    call.wait("call.started")
    dev.shows("listening")
    dev.type(CTRL_C)
    left_tidy(dev, 130)
    assert call.end() == 0, call.talk


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda call: call.type(CTRL_C), 130),
        (lambda call: call.signal(signal.SIGTERM), 143),
        (lambda call: call.type("q"), 0),
        (lambda call: call.type("h"), 0),
        (lambda call: call.type("thalf a sen" + CTRL_C), 130),
    ],
    ids=["ctrl-c", "sigterm", "q", "h", "typing"],
)
def test_the_caller_s_own_terminal_is_left_tidy(
    start: Start, open_terminal: Open, desk: Path, leave: Callable[[Terminal], None], code: int
) -> None:
    dev = start("dev", desk, "--json")
    dev.wait("dev.ready")
    call = open_terminal("call", "desk", "--caller", patient_caller(desk.parent))
    call.shows("hang up")
    leave(call)
    left_tidy(call, code)
    assert dev.wait("call.ended")["reason"] in ("hangup", "disconnected")


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda dev: dev.type("q"), 0),
        (lambda dev: dev.type("\x04"), 0),
        (lambda dev: dev.signal(signal.SIGTERM), 143),
    ],
    ids=["q", "ctrl-d", "sigterm"],
)
def test_other_ways_to_leave_dev(
    open_terminal: Open, desk: Path, leave: Callable[[Terminal], None], code: int
) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("q quit")
    leave(terminal)
    left_tidy(terminal, code)
