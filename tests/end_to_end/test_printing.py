"""Agents print, as programs do while they are being written: it is shown, and spoils nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import agent_file
from tests.end_to_end.typed_call import TypedCall, patient_caller

TOOLS = """\
import logging, os, subprocess, sys
from pinecall_cli import tool

print("imported")

@tool
def chatty() -> dict:
    "Print in every way there is."
    print("printed by a tool")
    print("\\x1b[2Jescaped")
    print("on stderr", file=sys.stderr)
    logging.getLogger("crm").warning("logged by a tool")
    if os.environ.get("CHILD"):
        subprocess.run(["echo", "printed by its child"], check=True)
    return {}
"""
PRINTED = ("printed by a tool", "on stderr", "logged by a tool")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: desk, greeting: Hello., tools: [tools.py],"
        " local: {llm: script, script: desk.script.yaml}}",
        tools__py=TOOLS,
        desk__script__yaml="- {on: print, call: chatty, say: Printed.}\n",
    )


def test_beside_json_it_goes_to_stderr_whoever_prints(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    dev = start("dev", desk, "--json", env={"CHILD": "1"})
    dev.ready()
    call = TypedCall(dev, open_terminal("call", "desk", "--caller", patient_caller(desk.parent)))
    assert call.ask("print") == "Printed."
    call.hang_up()
    assert dev.stop() == 143
    assert all(isinstance(json.loads(line), dict) for line in dev.out)
    assert dev.records[-1]["type"] == "dev.stopped"
    for text in (*PRINTED, "printed by its child", "imported"):
        assert any(text in line for line in dev.talk), dev.talk


def test_under_the_live_view_every_line_is_one_of_the_transcript(
    open_terminal: Open, desk: Path
) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("ready")
    terminal.type("tprint\r")
    shown = terminal.shows("Printed.")
    for text in (*PRINTED, "\\x1b[2Jescaped"):
        assert f"  {text}\r\n" in shown
    terminal.type("\x1bq")
    assert terminal.end() == 0


def test_among_plain_lines_it_is_one_of_them(start: Start, open_terminal: Open, desk: Path) -> None:
    dev = start("dev", desk, "--plain")
    dev.shows("speech engines ready")
    call = open_terminal("call", "desk", "--caller", patient_caller(desk.parent))
    call.shows("hang up")
    dev.shows("Hello.")
    call.type("tprint\r")
    shown = dev.shows("Printed.")
    assert "printed by a tool\n" in shown
    assert dev.stop() == 143


def test_how_a_call_ended_is_told_before_the_session_is_over(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    dev = start("dev", desk, "--json")
    dev.ready()
    TypedCall(dev, open_terminal("call", "desk", "--caller", patient_caller(desk.parent)))
    assert dev.stop() == 143
    *_, ended, stopped = (
        one for one in dev.records if one["type"] in ("call.ended", "dev.stopped")
    )
    assert (ended["type"], ended["reason"]) == ("call.ended", "hangup")
    assert stopped["type"] == "dev.stopped"
