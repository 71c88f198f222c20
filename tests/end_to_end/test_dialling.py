"""A terminal that dials: it rings when nobody else answers, and is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open
from tests.end_to_end.program import agent_file

CTRL_C = "\x03"
NOBODYS = "+14155550123"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: desk, local: {llm: script, script: [{say: Hello.}]}}",
    )


@pytest.mark.parametrize(("key", "code", "said"), [("r", 1, "rejected"), (CTRL_C, 130, "canceled")])
def test_this_terminal_rings_and_says_no(
    open_terminal: Open, desk: Path, key: str, code: int, said: str
) -> None:
    terminal = open_terminal("call", NOBODYS, "--agent", desk)
    terminal.shows("enter answer")
    assert terminal.raw
    terminal.type(key)
    assert terminal.end() == code
    assert said in terminal.text
    assert terminal.after == terminal.before
    assert terminal.cursor_shown


def test_d_dials_what_is_typed(open_terminal: Open, desk: Path) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("ready · waiting for a call")
    terminal.type("d911\r")
    terminal.shows("`911` is an emergency number")
    terminal.type("d+1 500 555 0001\r")
    terminal.shows("call ended — busy")
    terminal.type(f"d{NOBODYS}\r")
    terminal.shows("enter answer")
    terminal.type("r")
    terminal.shows("call ended — rejected")
    terminal.type("q")
    assert terminal.end() == 0
    assert terminal.after == terminal.before
