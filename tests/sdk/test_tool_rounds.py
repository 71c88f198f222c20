"""Rounds of tool calls at other servers: sent twice, answered by hand, told to who listens."""

from __future__ import annotations

from tests.sdk.listening import Log
from tests.sdk.test_foreign_server import foreign


async def test_a_tool_round_sent_twice_is_run_once_and_chats_are_not_counted() -> None:
    async with foreign() as (peer, client):
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say(
            "call.started",
            agent_id="front-desk",
            call_id="CA1",
            **{"from": "+1415", "to": "+1318"},
            transport="phone",
        )
        call = [
            {"id": "c1", "type": "function", "function": {"name": "double", "arguments": '{"n":2}'}}
        ]
        for _ in range(2):
            await peer.say("llm.tool_call", call_id="CA1", msg_id="m1", tool_calls=call)
        result = await peer.hear("llm.tool_result")
        assert result["results"] == [{"tool_call_id": "c1", "result": 4}]
        assert "llm.tool_result" not in await peer.nothing_but_pongs()
        for _ in range(2):
            await peer.say(
                "llm.tool_call",
                agent_id="front-desk",
                call_id="chat-1",
                msg_id="m2",
                tool_calls=call,
            )
            assert (await peer.hear("llm.tool_result"))["call_id"] == "chat-1"
        assert {one.id for one in client.calls()} == {"CA1", "chat-1"}


async def test_an_agent_without_tools_answers_by_hand() -> None:
    async with foreign(tools=None) as (peer, client):
        agent = client.get_agent("front-desk")
        assert agent is not None
        agent.on(
            "llm.tool_call", lambda event, call: call.tool_result(event.msg_id, {"c1": {"ok": 1}})
        )
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say("llm.chat.started", agent_id="front-desk", call_id="chat-1")
        await peer.say(
            "llm.tool_call",
            agent_id="front-desk",
            call_id="chat-1",
            msg_id="m1",
            tool_calls=[{"id": "c1", "name": "x", "arguments": "{}"}],
        )
        result = await peer.hear("llm.tool_result")
        assert result["results"] == [{"tool_call_id": "c1", "result": {"ok": 1}}]


async def test_what_tools_return_is_told_also_where_the_server_does_not() -> None:
    async with foreign() as (peer, client):
        told, in_call = Log(), Log()
        client.on("llm.tool_result", told)
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say("llm.chat.started", agent_id="front-desk", call_id="chat-1")
        client.on("chat.started", lambda call: call.on("llm.tool_result", in_call))
        wanted = {"id": "c1", "name": "double", "arguments": '{"n":2}'}
        for call_id in ("chat-1", "CA-unknown"):
            await peer.say(
                "llm.tool_call",
                agent_id="front-desk",
                call_id=call_id,
                msg_id=f"of-{call_id}",
                tool_calls=[wanted, {**wanted, "id": "c2", "name": "nobody"}],
            )
            await peer.hear("llm.tool_result")
        assert [
            (one.call_id, one.tool_call_id, one.name, one.result) for one, *_ in told.entries
        ] == [
            (call_id, *result)
            for call_id in ("chat-1", "CA-unknown")
            for result in (
                ("c1", "double", 4),
                ("c2", "nobody", {"error": "Unknown tool: nobody"}),
            )
        ]
        assert [one.tool_call_id for (one,) in in_call.entries] == ["c1", "c2"]
        assert [call.id for _, call in told.entries[:2]] == ["chat-1", "chat-1"]
