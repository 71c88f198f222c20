"""Every command fits the terminal, from 40 columns to 200, and cuts nothing that matters."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from pinecall_cli.app import COMMANDS, build
from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import COMMAND, agent_file
from tests.end_to_end.terminal import Terminal
from tests.end_to_end.typed_call import TypedCall, patient_caller
from tests.view.screen import Screen

WIDTHS = (40, 80, 120, 200)
ADDRESS = "12 Long Acre, Covent Garden, London WC2E 9LH, United Kingdom"
RULES = """\
- {on: address, call: {look_up: {of: shop}}, say: "It is {result.address}."}
- {say: "You said: {text}"}
"""
TOOLS = f'''\
from pinecall_cli import tool


@tool
def look_up(of: str) -> dict:
    """Look something up."""
    return {{"of": of, "address": "{ADDRESS}", "open": ["Monday to Friday 9 to 18"]}}
'''
QUERIES = {
    "call +15005550001 --agent a-desk-with-a-name --yes": ("+15005550001", "busy"),
    "agents": ("a-desk-with-a-name", "pinecall-cli"),
    "logs": ("a-desk-with-a-name", "to +15005550001", "busy"),
    "config list --show-origin": ("run_dir", "default"),
}
"""What each query has to show, whatever the width."""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: a-desk-with-a-name, greeting: Hello., tools: [tools.py],"
        " local: {llm: script, script: desk.script.yaml}}",
        desk__script__yaml=RULES,
        tools__py=TOOLS,
    )


def seen(terminal: Terminal, width: int) -> str:
    """Return all that was on the screen, in one line without spaces; fail if a line is too wide."""
    screen = Screen(width)
    screen.feed(terminal.drawn.decode())
    assert screen.synchronized == 0
    assert screen.cursor_shown
    return "".join("".join(screen.text).split())


def has(told: str, *words: str) -> None:
    """Check that these words were on the screen, in their order wherever a line was broken."""
    for text in words:
        assert "".join(text.split()) in told, f"`{text}` was cut: {told[-3000:]}"


@pytest.mark.parametrize("width", WIDTHS)
def test_help_fits_and_names_every_option(open_terminal: Open, tmp_path: Path, width: int) -> None:
    calls = [f"{shlex.quote(str(COMMAND))} {name} --help" for name in COMMANDS]
    terminal = open_terminal("-c", "; ".join(calls), size=(24, width), command="/bin/sh")
    assert terminal.end() == 0
    told = seen(terminal, width)
    group = typer.main.get_command(build())
    for command in group.commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            if option.name not in ("install_completion", "show_completion"):
                has(told, max(option.opts, key=len) if option.opts[0][0] == "-" else "")


@pytest.mark.parametrize("width", WIDTHS)
def test_dev_fits(open_terminal: Open, desk: Path, width: int) -> None:
    terminal = open_terminal("dev", desk, size=(24, width))
    terminal.shows("t type")
    terminal.type("tYour address please, the whole of it, so that I can find you\r")
    terminal.shows("speech engines")
    terminal.shows("Kingdom.")
    terminal.type("\x1b?")
    terminal.shows("hang up")
    terminal.type("q")
    assert terminal.end() == 0
    told = seen(terminal, width)
    has(told, "Your address please, the whole of it, so that I can find you", f"It is {ADDRESS}.")
    has(told, 'look_up(of="shop")', '"open": [', "Monday to Friday 9 to 18")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_call_and_who_listens_to_it_fit(
    start: Start, open_terminal: Open, desk: Path, width: int
) -> None:
    dev = start("dev", desk, "--json")
    dev.ready()
    caller = patient_caller(desk.parent)
    terminal = open_terminal(
        "call", "a-desk-with-a-name", "--caller", caller, "-q", size=(24, width)
    )
    call = TypedCall(dev, terminal)
    listener = open_terminal("listen", "--no-audio", "-q", size=(24, width))
    listener.shows("Hello.")
    follower = open_terminal("logs", call.id, "-f", "-q", size=(24, width))
    follower.shows("Hello.")
    call.ask("Your address please")
    call.hang_up()
    assert (listener.end(), follower.end()) == (0, 0)
    for one in (terminal, listener, follower):
        has(seen(one, width), f"It is {ADDRESS}.", "call ended")


@pytest.mark.parametrize("width", WIDTHS)
def test_queries_fit(start: Start, open_terminal: Open, desk: Path, width: int) -> None:
    dev = start("dev", desk, "--json")
    dev.wait("dev.ready")
    pinecall = shlex.quote(str(COMMAND))
    for query, words in QUERIES.items():
        # What is said on stderr is broken by the terminal itself, as every program's is.
        terminal = open_terminal(
            "-c", f"{pinecall} {query} 2>talk", size=(24, width), command="/bin/sh"
        )
        assert terminal.end() == (1 if "+1" in query else 0), (desk.parent / "talk").read_text()
        has(seen(terminal, width), *words)
        assert not re.search(r"…", terminal.text), terminal.text
