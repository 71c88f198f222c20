"""Tool results, skills and the pre-turn barrier (commands.md §8.1-§8.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.answered import SCRIPT, answered
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded


def tool(name: str) -> dict[str, Any]:
    """Return a tool's definition as it travels."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


async def called(peer: Peer, text: str = "order") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write something that makes the agent call a tool; return the frame, and its calls."""
    await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text=text)
    frame = await peer.until("llm.tool_call", call_id="chat-1")
    return frame, frame["tool_calls"]


async def results(peer: Peer, frame: dict[str, Any], *given: dict[str, Any]) -> None:
    """Answer a round of tools."""
    ids = [one["id"] for one in frame["tool_calls"]]
    answers = [{"tool_call_id": id} | one for id, one in zip(ids, given, strict=True)]
    await peer.send("llm.tool_result", call_id="chat-1", msg_id=frame["msg_id"], results=answers)


async def messages(peer: Peer) -> list[dict[str, Any]]:
    await peer.send("history.get", call_id="chat-1", request_id="r")
    found: list[dict[str, Any]] = (await peer.until("history.data"))["messages"]
    return found


# --- llm.tool_result ----------------------------------------------------------------------------


@holds("commands", "8.1")
@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"result": {"status": "shipped"}}, "It is shipped."),
        ({"result": {"status": 7}}, "It is 7."),
        ({"result": {"status": "lost"}, "unknown_field": [1]}, "It is lost."),
    ],
)
async def test_the_result_of_a_tool_goes_into_the_answer(result: dict[str, Any], says: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, tools=[tool("lookup")])
        frame, (call,) = await called(peer)
        assert call["name"] == "lookup"
        assert json.loads(call["arguments"]) == {"id": "7"}
        await results(peer, frame, result)
        assert (await peer.until("llm.chat.done"))["text"] == says
        kept = await messages(peer)
    assert [message["role"] for message in kept] == ["user", "assistant", "tool", "assistant"]
    assert kept[1]["tool_calls"][0]["id"] == kept[2]["tool_call_id"] == call["id"]


@holds("commands", "8.1")
@pytest.mark.parametrize(
    "result",
    [
        {"result": {"error": "Unknown tool: lookup"}},
        {"result": None},
        {},
        {"result": "text"},
        {"result": [1, 2]},
        {"result": False},
    ],
    ids=str,
)
async def test_any_result_even_none_or_an_error_lets_the_turn_go_on(result: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, tools=[tool("lookup")])
        frame, _ = await called(peer)
        await results(peer, frame, result)
        while (await peer.receive())["event"] not in ("llm.chat.done", "llm.chat.error"):
            pass
        assert (await messages(peer))[2]["role"] == "tool"


@holds("commands", "8.1")
async def test_an_ephemeral_result_serves_its_reply_and_leaves_no_trace():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, tools=[tool("lookup")])
        frame, _ = await called(peer)
        await results(peer, frame, {"result": {"status": "secret"}, "ephemeral": True})
        assert (await peer.until("llm.chat.done"))["text"] == "It is secret."
        kept = await messages(peer)
    assert [message["role"] for message in kept] == ["user", "assistant"]
    assert "tool_calls" not in kept[1]


BOTH = {
    "provider": "script",
    "rules": [{"on": "both", "call": {"one": {}, "two": {}}, "say": "Spoken."}],
}
QUIET = {"result": 1, "no_followup": True}


@holds("commands", "8.1")
@pytest.mark.parametrize(("second", "says"), [(QUIET, ""), ({"result": 2}, "Spoken.")])
async def test_there_is_no_follow_up_only_if_every_tool_of_the_round_wants_none(
    second: dict[str, Any], says: str
):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=BOTH, tools=[tool("one"), tool("two")])
        frame, calls = await called(peer, "both")
        assert [call["name"] for call in calls] == ["one", "two"]
        await results(peer, frame, QUIET, second)
        assert (await peer.until("llm.chat.done"))["text"] == says


@holds("commands", "8.1")
async def test_results_nobody_waits_for_are_ignored():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, tools=[tool("lookup")])
        frame, (call,) = await called(peer)
        stray = {"tool_call_id": call["id"], "result": {"status": "wrong"}}
        await peer.send("llm.tool_result", call_id="chat-1", msg_id="msg_other", results=[stray])
        await results(peer, frame, {"result": {"status": "right"}})
        assert (await peer.until("llm.chat.done"))["text"] == "It is right."
        await results(peer, frame, {"result": {"status": "late"}})
        assert await peer.settled() == []


@holds("commands", "8.1")
async def test_a_tool_is_called_and_answered_in_a_voice_call():
    async with answered({0: "order"}, llm=SCRIPT, tools=[tool("lookup")], preparing=False) as (
        owner,
        caller,
    ):
        caller.say(0)
        frame = await owner.until("llm.tool_call")
        result = {"tool_call_id": frame["tool_calls"][0]["id"], "result": {"status": "here"}}
        about = {"call_id": caller.call_id, "msg_id": frame["msg_id"]}
        await owner.send("llm.tool_result", **about, results=[result])
        await owner.until("message.confirmed", text="It is here.")


# --- skill.load, skill.unload -------------------------------------------------------------------


@holds("commands", "8.2")
@pytest.mark.parametrize("activation", ["model", "manual"])
async def test_a_skill_is_loaded_for_the_next_turn_and_unloaded_again(activation: str):
    skill = {
        "name": "booking",
        "description": "Tables",
        "instructions": "Ask for how many.",
        "tools": [],
        "activation": activation,
    }
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Base.", raw_prompt=True, skills=[skill])

        async def prompt() -> str:
            text = "your prompt"
            await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text=text)
            return str((await peer.until("llm.chat.done"))["text"])

        assert "Ask for how many." not in await prompt()
        for event, answer, active in (
            ("skill.load", "skill.loaded", True),
            ("skill.unload", "skill.unloaded", False),
        ):
            await peer.send(event, call_id="chat-1", skill="booking")
            told = await peer.until(answer)
            assert (told["call_id"], told["skill"], told["by"]) == ("chat-1", "booking", "manual")
            assert told["agent_id"] == "desk"
            assert ("Ask for how many." in await prompt()) is active


@holds("commands", "8.2")
async def test_a_skill_that_is_not_there_is_not_loaded_and_the_session_goes_on():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text="hi")
        await peer.until("llm.chat.done")
        await peer.send("skill.load", call_id="chat-1", skill="cooking")
        assert "skill.loaded" not in [frame["event"] for frame in await peer.settled()]
        await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text="still?")
        assert (await peer.until("llm.chat.done"))["text"] == "You said still?."


# --- llm.ready ----------------------------------------------------------------------------------


@holds("commands", "8.3")
async def test_ready_with_the_turn_of_the_barrier_releases_it_and_another_does_not():
    async with answered({0: "hello"}, llm=SCRIPT, preparing={"timeout_ms": 5000}) as (
        owner,
        caller,
    ):
        caller.say(0)
        held = await owner.until("llm.before")
        about = {"call_id": caller.call_id, "agent_id": "desk"}
        await owner.send("llm.ready", **about, turn=held["turn"] + 7)
        assert "bot.speaking" not in [frame["event"] for frame in await owner.settled()]
        await owner.send("llm.ready", **about, turn=held["turn"])
        await owner.until("message.confirmed", text="You said hello.")
    assert "llm.preparing_timeout" not in [frame["event"] for frame in owner.seen]


@holds("commands", "8.3")
async def test_ready_without_a_turn_releases_what_is_held():
    async with answered({0: "hello"}, llm=SCRIPT, preparing={"timeout_ms": 5000}) as (
        owner,
        caller,
    ):
        caller.say(0)
        await owner.until("llm.before")
        await owner.send("llm.ready", call_id=caller.call_id, agent_id="desk")
        await owner.until("message.confirmed", text="You said hello.")
    assert "llm.preparing_timeout" not in [frame["event"] for frame in owner.seen]


@holds("commands", "8.3")
async def test_a_client_that_never_says_ready_is_not_waited_for_long():
    async with answered({0: "hello"}, llm=SCRIPT) as (owner, caller):
        caller.say(0)
        await owner.until("llm.before")
        await owner.until("message.confirmed", text="You said hello.")


@holds("commands", "8.3")
async def test_ready_when_nothing_is_held_does_nothing():
    async with answered(llm=SCRIPT) as (owner, caller):
        await owner.send("llm.ready", call_id=caller.call_id, agent_id="desk", turn=1)
        await owner.send("llm.ready", call_id=caller.call_id, agent_id="desk")
        assert await owner.settled() == []
