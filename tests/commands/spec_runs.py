"""Runs of `pinecall test` in this process: an agent, specs that pass and fail, what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.app import run

AGENT = """\
name: desk
llm: openai/gpt-5
greeting: Desk, good day.
prompt: You work for {{company}}.
prompt_vars: {company: Acme}
tools: [desk_tools.py]
phone_numbers: ["+13186330963"]
local:
  llm: script
  script:
    - on: order (?P<number>\\w+)
      call: {lookup: {number: "{number}"}}
      say: "Order {number} is {result.status}, look {result.times}."
    - on: who are you
      say: "{prompt}"
    - on: be slow
      first_token_ms: 400
      say: That took a while.
    - on: break
      say: "{nothing}broken"
    - on: steer
      say: "{text}"
    - on: leave
      call: {leave: {}}
      say: Goodbye.
    - say: "You said: {text}"
"""
TOOLS = """\
from pinecall_cli import Call, tool

print("loaded the tools")
times = 0


@tool
def lookup(number: str) -> dict:
    '''Look up an order.'''
    global times
    times += 1
    print("looked up", number)
    return {"status": "sent", "times": times}


@tool
async def leave(call: Call) -> str:
    '''Hang up.'''
    await call.hangup()
    return "gone"
"""
ORDERS = """\
agent: ../desk.yaml
description: Orders
steps:
  - say: Where is order 7?
    expect:
      - tool: lookup
        args: {number: "7"}
      - says: Order 7 is sent, look 1
      - within_ms: {reply: 20000, first_token: 20000}
  - say: And order 8?
    expect: [{says: look 2}]
expect:
  - event: llm.chat.ended
  - not_event: llm.error
"""
MOCKED = """\
agent: ../desk.yaml
description: Mocked, and under another name
vars: {company: Initech}
mocks:
  lookup: {status: lost, times: twice}
steps:
  - say: Where is order 7?
    expect: [{tool: lookup}, {says: "Order 7 is lost, look twice"}]
  - say: Who are you?
    expect: [{says: You work for Initech}]
"""
WRONG = """\
agent: ../desk.yaml
description: Wrong on purpose
steps:
  - say: Where is order 7?
    expect:
      - says: delivered
"""


@dataclass
class Done:
    """A command line that has been run."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def document(self) -> dict[str, Any]:
        (line,) = self.lines
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def error(self) -> str:
        """What stderr says from the first error on."""
        return self.err[self.err.index("error: ") :]


Test = Callable[..., Done]
"""Runs `pinecall test` with some words."""


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, "utf-8")


def shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go into a folder with an agent and two specs that pass."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    write(
        {
            "desk.yaml": AGENT,
            "desk_tools.py": TOOLS,
            "specs/a.spec.yaml": ORDERS,
            "specs/b.spec.yaml": MOCKED,
        }
    )
    return folder


def runner(folder: Path, capsys: pytest.CaptureFixture[str]) -> Test:
    """Return what runs `pinecall test` in that folder."""

    def test(*words: str | Path) -> Done:
        assert Path.cwd() == folder
        code = run(["test", *map(str, words)])
        return Done(code, *capsys.readouterr())

    return test


def shape(lines: list[str]) -> list[str]:
    """Return lines without what the clock says."""
    return [line.partition(" (text, ")[0].partition(" in ")[0] for line in lines]
