"""README's own models with their real packages: asked, heard, cut off in the middle, asked again.

The agent is on a real server, the caller has a voice, and the endpoint of the model is the test's.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.sdk.listening import Log
from tests.sdk.speaking import Speaker, conversing
from tests.sdk.stub_models import Stub, model_endpoint

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SAID = {0: "Where is my order", 1: "Which order", 2: "the seventh"}
KEY = "sk-of-the-test-0123456789"
LONG = "Your order with the number seven has left our warehouse on Tuesday. "
"""Four seconds of speech: cut off after two, it was an answer; before, an answer to half a turn."""


def block(first_line: str) -> str:
    """Return the Python of README that begins with a line."""
    (found,) = re.findall(rf"^```python\n({re.escape(first_line)}\n.*?)^```", README, re.M | re.S)
    return str(found)


def in_place(whole: str, other: str) -> str:
    """Return README's program with import, `model` and `ask` of another block."""
    parts = re.fullmatch(r"#.*?\n(from .*?)\n\n(model =.*?)\n\n\n(async def ask.*)\n", other, re.S)
    assert parts
    old = (r"^from openai .*?$", r"^model =.*?$", r"^async def ask.*?(?=\n\n\n@)")
    for pattern, new in zip(old, parts.groups(), strict=True):
        whole, count = re.subn(pattern, lambda _, new=new: new, whole, flags=re.M | re.S)
        assert count == 1
    return whole


WHOLE = block("# own_model.py")
MODELS = {
    "openai": WHOLE,
    "anthropic": in_place(WHOLE, block("# in place of OpenAI: Anthropic")),
    "langchain": in_place(WHOLE, block("# in place of OpenAI: LangChain")),
}


@pytest.fixture(params=MODELS)
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stub]:
    """A model's endpoint, where every package looks for its provider."""
    async with model_endpoint() as endpoint:
        for name, value in {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{endpoint.url}/v1",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": endpoint.url,
        }.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@dataclass
class Desk:
    """README's agent in a call."""

    stub: Stub
    call: Call
    caller: Speaker
    heard: Log
    """Every event of the call, by its name."""

    async def until(self, name: str, count: int = 1) -> Any:
        """Return the so-and-so-many-th event of a name."""

        def so_far() -> list[Any]:
            return [one for one, *_ in self.heard.entries if name_of(one) == name]

        await self.heard.until(lambda *_: len(so_far()) >= count)
        return so_far()[count - 1]


def name_of(event: Any) -> str:
    return str(type(event).__struct_config__.tag)


@pytest.fixture
async def desk(package: str, stub: Stub, tmp_path: Path) -> AsyncIterator[Desk]:
    program: dict[str, Any] = {"__name__": "own_model"}
    exec(compile(MODELS[package], "own_model.py", "exec"), program)
    agent: Agent = program["desk"]
    heard = Log()
    agent.on("*", heard)
    server = EmbeddedServer(engines=Engines(SAID), run_dir=tmp_path)
    async with server, Pinecall(server.key, server.url) as client:
        client.add(agent)
        await client.registered()
        async with conversing(server, agent) as (call, caller):
            made = Desk(stub, call, caller, heard)
            await made.until("bot.finished")
            yield made
    if package != "langchain":  # which keeps one connection pool for all of its models
        await program["model"].close()


async def test_a_reply_cut_off_in_the_middle_ends_the_request_and_the_next_turn_knows_it(
    desk: Desk,
) -> None:
    desk.caller.speak(0)
    first = await desk.stub.asked()
    assert KEY in first.key
    assert first.body["stream"] is True
    assert first.messages[0] == ("system", "You are the front desk of Acme. Be brief.")
    assert first.messages[-2:] == [
        ("assistant", "Acme, good day."),
        ("user", "Where is my order"),
    ]
    first.say("Your order ", "with the number seven has left our warehouse on Tuesday. ", "It")
    started = await desk.until("bot.speaking", 2)
    await desk.heard.until(
        lambda event, *_: name_of(event) == "bot.word" and event.start_time > 2.1
    )
    assert not first.hung_up.is_set()
    desk.caller.speak(1)
    await first.until_hung_up()
    cut = await desk.until("bot.interrupted")
    assert (cut.message_id, cut.reason) == (started.message_id, "user_spoke")

    second = await desk.stub.asked()
    *_, asked, prefix, again = second.messages
    assert asked == ("user", "Where is my order")
    assert prefix[0] == "assistant"
    assert LONG.startswith(prefix[1])
    assert len(prefix[1]) < len(LONG.strip())
    assert again == ("user", "Which order")
    second.say("Number ", "seven.")
    second.finish()
    finished = await desk.until("bot.finished", 2)
    assert finished.message_id != started.message_id
    assert desk.call.transcript[-1] == {"role": "assistant", "content": "Number seven."}
    assert not second.hung_up.is_set()
    assert desk.stub.quiet


async def test_a_caller_who_goes_on_gets_one_answer_to_all_they_said(desk: Desk) -> None:
    desk.caller.speak(0)
    first = await desk.stub.asked()  # and the model thinks
    desk.caller.speak(2)
    continued = await desk.until("turn.continued")
    await first.until_hung_up()
    second = await desk.stub.asked()
    assert second.messages[-1] == ("user", "Where is my order the seventh")
    assert [who for who, _ in second.messages[-2:]] == ["assistant", "user"]
    assert (await desk.until("turn.end", 2)).turn_id == continued.turn_id
    second.say("It is on its way.")
    second.finish()
    await desk.until("bot.finished", 2)
    assert desk.call.transcript == [
        {"role": "assistant", "content": "Acme, good day."},
        {"role": "user", "content": "Where is my order the seventh"},
        {"role": "assistant", "content": "It is on its way."},
    ]


async def test_who_hangs_up_ends_the_request(desk: Desk) -> None:
    desk.caller.speak(0)
    first = await desk.stub.asked()
    first.say("Your order ")
    desk.caller.over = True
    await first.until_hung_up()
    await desk.until("call.ended")
    assert desk.call.status == "ended"
