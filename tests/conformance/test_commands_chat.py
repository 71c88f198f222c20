"""`llm.chat`: text turns over the agent socket (commands.md §8.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.answered import SCRIPT
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded

LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


async def write(peer: Peer, text: str, session: str = "test-1", **fields: Any) -> None:
    await peer.send("llm.chat", agent_id="desk", session_id=session, text=text, **fields)


def names(frames: list[dict[str, Any]]) -> list[str]:
    """Return the names of frames, tokens as one."""
    told = [frame["event"] for frame in frames]
    return [n for at, n in enumerate(told) if n != "llm.chat.token" or told[at - 1] != n]


@holds("commands", "8.4")
async def test_sender_and_owner_each_hear_their_own_family():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT)
        await write(sender, "hello")
        done = await sender.until("llm.chat.done")
        await owner.until("chat.response")
    assert names(sender.seen[1:]) == ["llm.chat.started", "llm.chat.token", "llm.chat.done"]
    assert names(owner.seen[2:]) == ["llm.chat.started", "chat.message", "chat.response"]
    assert done["text"] == "You said hello."
    assert {frame["session_id"] for frame in sender.seen[1:]} == {"test-1"}
    assert {frame["call_id"] for frame in owner.seen[2:]} == {"test-1"}


@holds("commands", "8.4")
async def test_a_connection_that_is_both_gets_both_families():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await write(peer, "hello", metadata={"console": True})
        await peer.until("llm.chat.done")
        told = [frame["event"] for frame in peer.seen[2:]]
    for event in ("chat.message", "chat.response", "llm.chat.token", "llm.chat.done"):
        assert event in told
    started = next(f for f in peer.seen if f["event"] == "llm.chat.started")
    assert started["metadata"] == {"console": True}


@holds("commands", "8.4")
async def test_an_id_opens_a_session_once_and_another_opens_another():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        for session in ("test-1", "test-1", "test-2"):
            await write(peer, "hello", session)
            await peer.until("llm.chat.done", session_id=session)
        await peer.send("history.get", call_id="test-1", request_id="r")
        assert len((await peer.until("history.data"))["messages"]) == 4
        await peer.send("history.get", call_id="test-2", request_id="r")
        assert len((await peer.until("history.data"))["messages"]) == 2
    told = [f["call_id"] for f in peer.seen if f["event"] == "llm.chat.started"]
    assert sorted(set(told)) == ["test-1", "test-2"]


@holds("commands", "8.4")
async def test_the_text_is_trimmed():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await write(peer, " \n hello\t ")
        assert (await peer.until("chat.message"))["text"] == "hello"
        assert (await peer.until("llm.chat.done"))["text"] == "You said hello."


@holds("commands", "8.4")
async def test_tools_are_run_by_the_owner_and_watched_by_the_sender():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT, tools=[LOOKUP])
        await write(sender, "order")
        call = await owner.until("llm.tool_call")
        (wish,) = call["tool_calls"]
        assert json.loads(wish["arguments"]) == {"id": "7"}
        result = {"tool_call_id": wish["id"], "result": {"status": "shipped"}}
        about = {"call_id": "test-1", "msg_id": call["msg_id"]}
        await owner.send("llm.tool_result", **about, results=[result])
        await sender.until("llm.chat.done")
    told = names(sender.seen[1:])
    assert told[:3] == ["llm.chat.started", "llm.chat.tool_call", "llm.chat.tool_result"]
    watched = next(f for f in sender.seen if f["event"] == "llm.chat.tool_call")
    assert [one["name"] for one in watched["tool_calls"]] == ["lookup"]
    assert "llm.tool_call" not in told


@holds("commands", "8.4")
async def test_any_connection_of_the_organisation_may_write_and_none_of_another():
    async with (
        embedded() as server,
        connected(server) as owner,
        connected(server) as colleague,
        connected(server, "pk_two") as stranger,
    ):
        await owner.agent("desk", llm=SCRIPT)
        await write(colleague, "hello", "test-1")
        await colleague.until("llm.chat.done")
        await write(stranger, "hello", "test-2")
        error = await stranger.receive()
        assert error["event"] == "llm.chat.error"
        assert error["session_id"] == "test-2"
        assert "test-2" not in str(owner.seen)


@holds("commands", "8.4")
@pytest.mark.parametrize(
    "fields", [{"agent_id": "nobody"}, {"text": " "}, {"session_id": ""}, {"text": 7}], ids=str
)
async def test_what_cannot_be_answered_is_an_error_of_the_chat(fields: dict[str, Any]):
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT)
        frame = {"agent_id": "desk", "session_id": "test-1", "text": "hi"}
        await sender.send("llm.chat", **(frame | fields))
        error = await sender.receive()
        assert (error["event"], bool(error["error"])) == ("llm.chat.error", True)
        assert await owner.settled() == []


@holds("commands", "8.4")
async def test_a_chat_without_a_model_is_the_applications_to_answer():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk")
        await write(sender, "hello")
        turn = await owner.until("turn.end", text="hello")
        said = {"text": "By code.", "in_reply_to": turn["message_id"]}
        await owner.send("bot.reply", call_id="test-1", message_id="m1", **said)
        assert (await sender.until("llm.chat.done"))["text"] == "By code."
