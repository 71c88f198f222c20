"""Files are saved while a call goes on, and the call takes them, or is not harmed by them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import Program, Record, agent_file, spoken
from tests.end_to_end.typed_call import TypedCall, patient_caller

GOAL_MS = 250
"""From the save to the last acknowledgement, in the words of the contract."""
SAVES = 5
"""The best of so many counts: the machine may be busy with other tests."""
AGENT = """\
name: shop
prompt: !file prompt.md
raw_prompt: true
llm: script
greeting: Hello.
tools: [tools.py]
local: {llm: script, script: rules.script.yaml}
"""
RULES = """\
- on: who are you
  say: "{prompt}"
- on: stock
  call: {stock: {item: tea}}
  say: "{result.left} left."
- say: "You said: {text}"
"""
TOOLS = """\
from pinecall_cli import tool

@tool
def stock(item: str) -> dict:
    \"""Tell how much is left.\"""
    return {"left": "Three"}
"""


class Shop:
    """An agent with a prompt file and a tool, the ``dev`` that runs it, and a call to it."""

    def __init__(self, folder: Path, start: Start, open_terminal: Open) -> None:
        self.folder = folder / "files"
        self.file = agent_file(
            self.folder,
            AGENT,
            prompt__md="I am the tea shop.",
            rules__script__yaml=RULES,
            tools__py=TOOLS,
        )
        self.prompt = self.folder / "prompt.md"
        self.tools = self.folder / "tools.py"
        self.dev: Program = start("dev", self.file, "--json")
        self.dev.ready()
        self.call = TypedCall(
            self.dev, open_terminal("call", "shop", "--caller", patient_caller(folder))
        )

    def saved(self, path: Path, text: str, *, outcome: str = "dev.reloaded") -> Record:
        """Save a file in place and return the receipt."""
        since = self.dev.mark()
        path.write_text(text, encoding="utf-8")
        return self.dev.wait(outcome, since=since)


@pytest.fixture
def shop(tmp_path: Path, start: Start, open_terminal: Open) -> Shop:
    return Shop(tmp_path, start, open_terminal)


def test_a_live_call_takes_new_prompts_and_tools_and_no_broken_file(shop: Shop) -> None:
    call = shop.call
    assert call.ask("Who are you?") == "I am the tea shop."

    receipts = [shop.saved(shop.prompt, f"I am shop {n}.") for n in range(SAVES - 1)]
    receipts.append(shop.saved(shop.prompt, "I am the coffee shop."))
    for receipt in receipts:
        assert receipt["agent"] == "shop"
        assert receipt["calls"] == [call.id]
        assert receipt["changed"] == ["prompt"]
        assert [Path(file).name for file in receipt["files"]] == ["prompt.md"]
    assert min(receipt["applied_ms"] for receipt in receipts) <= GOAL_MS
    assert call.ask("Who are you?") == "I am the coffee shop."

    failed = shop.saved(shop.file, AGENT + "vioce: x/y\n", outcome="dev.reload_failed")
    (error,) = failed["errors"]
    assert (error["code"], error["line"], error["column"]) == ("unknown_key", 8, 1)
    assert "voice" in error["hint"]
    assert call.ask("Hello?") == "You said: Hello?"
    assert call.ask("Who are you?") == "I am the coffee shop."
    shop.saved(shop.file, AGENT)

    assert call.ask("What is in stock?") == "Three left."
    receipt = shop.saved(shop.tools, TOOLS.replace("Three", "Seven"))
    assert receipt["changed"] == ["stock"]
    assert receipt["calls"] == [call.id]
    assert call.ask("What is in stock?") == "Seven left."

    failed = shop.saved(shop.tools, "def stock(:\n", outcome="dev.reload_failed")
    assert failed["errors"][0]["code"] == "python_syntax"
    assert failed["errors"][0]["line"] == 1
    assert failed["errors"][0]["file"].endswith("tools.py")
    assert call.ask("What is in stock?") == "Seven left."

    ended = call.hang_up()
    assert ended["reason"] == "hangup"
    questions = [m["content"] for m in ended["messages"] if m["role"] == "user"]
    assert len(questions) == 7, "one call, from the first turn to the last"


def test_every_way_of_saving_a_file_reaches_the_call(shop: Shop) -> None:
    call, dev, prompt = shop.call, shop.dev, shop.prompt

    # As vim and many others do: a new file takes the old one's place.
    for n in (1, 2):
        since = dev.mark()
        aside = shop.folder / "4913"
        aside.write_text(f"I was renamed {n}.", encoding="utf-8")
        aside.rename(prompt)
        assert dev.wait("dev.reloaded", since=since)["calls"] == [call.id]
    assert call.ask("Who are you?") == "I was renamed 2."

    # Saves that come faster than a reload: the last one stands.
    since = dev.mark()
    for n in range(20):
        prompt.write_text(f"I am save {n}.", encoding="utf-8")
    prompt.write_text("I am the final save.", encoding="utf-8")
    dev.wait("dev.reloaded", since=since, where=lambda r: "final" in str(r.get("prompt_diff")))
    assert call.ask("Who are you?") == "I am the final save."

    # Deleted, and written again.
    since = dev.mark()
    prompt.unlink()
    failed = dev.wait("dev.reload_failed", since=since)
    assert failed["errors"][0]["code"] == "missing_file"
    assert call.ask("Who are you?") == "I am the final save."
    receipt = shop.saved(prompt, "I am back.")
    assert receipt["calls"] == [call.id]
    assert call.ask("Who are you?") == "I am back."

    # The agent's own file too, and with another tool in it.
    since = dev.mark()
    shop.file.unlink()
    dev.wait("dev.reload_failed", since=since)
    more = shop.folder / "more.py"
    more.write_text(TOOLS.replace("stock", "weight"), encoding="utf-8")
    receipt = shop.saved(shop.file, AGENT.replace("tools.py", "tools.py, more.py"))
    assert "weight" in receipt["changed"]
    assert call.ask("Who are you?") == "I am back."
    # A file that has just been named is watched like the others.
    assert shop.saved(more, more.read_text().replace("Three", "Two"))["changed"] == ["weight"]
    call.hang_up()


def test_a_model_in_another_process_is_asked_with_the_new_prompt(
    tmp_path: Path, start: Start
) -> None:
    stub = start(command=(sys.executable, Path(__file__).with_name("stub_model.py")))
    port = stub.wait("listening")["port"]
    folder = tmp_path / "files"
    file = agent_file(
        folder,
        "{name: shop, prompt: !file prompt.md, raw_prompt: true, greeting: Hello.,"
        " local: {llm: openai/stub-model}}",
        prompt__md="I am the tea shop.",
    )
    dev = start(
        *("dev", file, "--json"),
        env={"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sk-of-the-stub"},
    )
    dev.ready()
    steps = (
        'steps: [{wait: greeting}, {say: "Who are you?"}, {wait: reply}, {silence: 1500ms},'
        ' {say: "And who are you now?"}, {wait: reply}]'
    )
    call = start("call", "shop", "--caller", "-", "--json", stdin=steps)

    first = call.wait("turn.end")
    call.wait("bot.finished", where=lambda r: r["seq"] > first["seq"])
    since = dev.mark()
    (folder / "prompt.md").write_text("I am the coffee house.", encoding="utf-8")
    receipt = dev.wait("dev.reloaded", since=since)
    assert call.end() == 0

    call_id = call.records[-1]["call_id"]
    assert receipt["calls"] == [call_id]
    before, after = stub.of("asked")[0], stub.of("asked")[-1]
    assert before["path"] == "/v1/chat/completions"
    assert before["key"] == "Bearer sk-of-the-stub"
    assert before["model"] == "stub-model"
    assert before["messages"][0] == {"role": "system", "content": "I am the tea shop."}
    assert after["messages"][0] == {"role": "system", "content": "I am the coffee house."}
    assert after["messages"][3] == {"role": "assistant", "content": "I am the tea shop."}
    said = list(spoken(call.records).values())
    assert [said[0], said[1], said[-1]] == [
        "Hello.",
        "I am the tea shop.",
        "I am the coffee house.",
    ]
