"""``pinecall test`` by voice: specs played at once, with the speech engines that come with us.

One run for all of it: a call takes as long as it takes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.app import run

AGENT = """\
name: desk
llm: openai/gpt-5
prompt: You are brief.
greeting: Hello.
tools: [tools.py]
phone_numbers: ["+13186330963"]
local:
  llm: script
  script:
    - on: order
      call: {lookup_order: {order_id: ORD-12345}}
      say: "It has {result.status}, and it will be with you on Friday between nine and eleven."
    - on: leave
      call: {hang_up: {}}
      say: Goodbye.
    - say: "Yes?"
"""
TOOLS = """\
from pinecall_cli import Call, tool


@tool
def lookup_order(order_id: str) -> dict:
    '''Look up an order.'''
    return {"status": "been lost"}


@tool
async def hang_up(call: Call) -> None:
    '''End the call.'''
    await call.hangup()
"""
SPECS = {
    "issue": """\
agent: desk.yaml
mode: voice
steps:
  - say: Where is my order?
    expect:
      - tool: lookup_order
        args: {order_id: ORD-12345}
      - says: "(?i)shipped"
      - not_says: eleven
      - within_ms: {first_audio: 20000}
  - interrupt: {after_words: 4, say: "Please stop."}
    expect: [{event: bot.interrupted}]
mocks: {lookup_order: {status: shipped}}
""",
    "phone": """\
agent: desk.yaml
mode: voice
from: "+14155550100"
to: "+13186330963"
line: {band: phone, noise_db: -50, seed: 7}
steps:
  - wait: greeting
    expect: [{says: "^Hello"}]
  - press: 12#
    expect: [{event: call.dtmf_received, digit: "2"}]
  - silence: 500ms
  - hangup
expect:
  - event: call.started
    direction: inbound
    from: "+14155550100"
""",
    "wrong": """\
agent: desk.yaml
mode: voice
steps:
  - say: Where is my order?
    expect:
      - says: been delivered
      - within_ms: {first_audio: 1}
""",
    "left": """\
agent: desk.yaml
mode: voice
steps:
  - say: You can leave the call now.
    expect: [{tool: hang_up}]
  - say: Are you still there?
""",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "desk.yaml").write_text(AGENT)
    (tmp_path / "tools.py").write_text(TOOLS)
    for name, text in SPECS.items():
        (tmp_path / f"{name}.spec.yaml").write_text(text)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_calls_are_held_and_judged(capsys: pytest.CaptureFixture[str]):
    code = run(["test", "--json", "--workers", "4"])
    body = json.loads(capsys.readouterr().out)
    found = {one["file"].partition(".")[0]: one for one in body["results"]}
    assert found.keys() == SPECS.keys()

    def failed(name: str) -> list[Any]:
        return [(f["line"], f["message"], f["found"]) for f in found[name]["failures"]]

    assert failed("issue") == []
    assert failed("phone") == []
    assert found["issue"]["opening"]["said"] == ["Hello."]
    ask, cut = found["issue"]["steps"]
    assert ask["tools"][0]["result"] == {"status": "shipped"}
    assert ask["said"][0].startswith("It has shipped, and")
    assert cut["said"], "it goes on after the interruption"
    assert "order" in ask["heard"].lower()

    said, slow = failed("wrong")
    assert said[:2] == (6, "expected says `been delivered`")
    assert said[2][0].startswith('said: "It has been lost')
    assert slow[:2] == (7, "expected first_audio within 1 ms")
    assert [message for _, message, _ in failed("left")] == [  # the agent hung up
        "the call ended before `say: Are you still there?`"
    ]
    assert code == 1
