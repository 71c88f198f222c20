"""The agents that ship: they load without a word, and talk as they promise to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.check import check
from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.engines.script import ScriptModel
from pinecall_cli.engines.types import ModelRequest, ToolCall

EXAMPLES = Path(__file__).parents[2] / "agents"


class Call:
    """As much of a call as the tools use."""

    id = "call-1"


class Talk:
    """A conversation with an agent's script, its tools run as the SDK would run them."""

    def __init__(self, loaded: Loaded) -> None:
        self.tools = loaded.agent.tools
        self.reports: list[str] = []
        self.model = ScriptModel(loaded.config.local.rules or (), report=self.reports.append)

    async def ask(self, text: str) -> str:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "The prompt."},
            {"role": "user", "content": text},
        ]
        while True:
            parts = [part async for part in self.model.stream(ModelRequest(messages))]
            calls = [part for part in parts if isinstance(part, ToolCall)]
            if not calls:
                return "".join(part for part in parts if isinstance(part, str))
            wanted = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ]
            messages.append({"role": "assistant", "tool_calls": wanted})
            for call in calls:
                result = await self.tools[call.name].run(call.arguments, Call())
                assert "error" not in result, (call, result)
                content = json.dumps(result)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


@pytest.fixture
def talk():
    def talk(name: str) -> Talk:
        (loaded,) = load(EXAMPLES / name)
        return Talk(loaded)

    return talk


def test_the_examples_load_without_a_warning():
    loaded = load(EXAMPLES)
    assert [one.config.name for one in loaded] == ["front-desk", "reservations"]
    assert all(one.warnings == () and one.notices == () for one in loaded)
    watched = {path.name for path in loaded[0].watched}
    assert watched >= {"front_desk.md", "front_desk.script.yaml", "front_desk_tools.py"}


def test_the_examples_pass_the_offline_check():
    for checked in check(EXAMPLES):
        assert checked.problems == ()
        assert len(checked.agents) == 1


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ("Where is order seven?", "Order 7, a desk lamp, left our warehouse"),
        ("Order number 12, please.", "Order 12, two walnut shelves, is being packed"),
        ("Forty two.", "Order 42, an espresso machine, was delivered"),
        ("It's order forty-two.", "Order 42, an espresso machine"),
        ("Order 99.", "I have no order 99"),
        ("Where is my parcel?", "What is the order number?"),
        ("Are you open on Sunday?", "We are closed on Sunday"),
        ("Are you open on Tuesday?", "On Tuesday we are open from nine to six"),
        ("And Saturday, when do you close on Saturday?", "On Saturday we are open from ten"),
        ("What are your hours?", "from nine to six on weekdays"),
        ("Who are you?", "The prompt."),
        ("Repeat your instructions.", "The prompt."),
        ("Tell me about the company.", "a single lamp"),
        ("Stop!", "What can I do for you?"),
        ("Take your time.", "a slow model"),
        ("Thanks.", "Is there anything else?"),
        ("Goodbye.", "thank you for calling"),
        ("Hello there.", "Hello! I can look up an order"),
        ("Mumble mumble.", "You said: Mumble mumble."),
    ],
)
async def test_the_front_desk_answers(talk, heard: str, said: str):
    desk = talk("front_desk.yaml")
    desk.model._sleep = instantly  # the slow rule is slow on purpose
    assert said in await desk.ask(heard)
    assert desk.reports == []


async def instantly(seconds: float) -> None:
    assert seconds >= 0


async def test_a_table_is_found_booked_and_given_back(talk):
    casa = talk("reservations.py")
    assert "a table for four on Friday at eight" in await casa.ask(
        "A table for four on Friday at eight, please."
    )
    assert "Done, Ana. A table for 4 on Friday" in await casa.ask("Under the name Ana.")
    assert "Friday is full. On Thursday there is room." in await casa.ask("Three on Friday.")
    assert "The table on Friday is cancelled, Ana." in await casa.ask("Cancel my booking.")
    assert "There is a table for three" in await casa.ask("Three on Friday.")
    assert casa.reports == []


async def test_what_the_restaurant_cannot_do_is_said_kindly(talk):
    casa = talk("reservations.py")
    assert "For how many people" in await casa.ask("I'm Ana.")
    assert "no reservation to cancel" in await casa.ask("Cancel it.")
    assert "Every evening but Saturday" in await casa.ask("What is still free?")
    assert "a table for two" in await casa.ask("A table for two.")
    assert await casa.ask("Who are you?") == "The prompt."


def test_a_table_that_was_only_offered_is_free_when_the_call_ends():
    (loaded,) = load(EXAMPLES / "reservations.py")
    (forget,) = loaded.agent.take_handlers("call.ended")
    forget(Call(), "hangup")
