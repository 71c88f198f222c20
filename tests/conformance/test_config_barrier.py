"""The barrier before a turn: config.md §11."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.conformance.told_model import ToldModel, ask, serving
from tests.server.peer import connected

LLM = "openai/gpt-5-mini"


@holds("config", "11")
async def test_an_agent_that_says_nothing_of_it_is_asked_and_told_of_nothing():
    async with serving(ToldModel()) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM)
        async with calling(server) as end:
            for _ in range(4):
                await end.act("inject_text", text="hello")
                await peer.until("llm.before")
                await peer.until("bot.finished")
            assert not end.of("llm.preparing_timeout")
        await peer.until("call.ended")
    befores = [frame for frame in peer.seen if frame["event"] == "llm.before"]
    assert [frame["turn"] for frame in befores] == [1, 2, 3, 4]
    assert not [f for f in peer.seen if f["event"] == "llm.preparing_timeout"]


@holds("config", "11")
@pytest.mark.parametrize("preparing", [True, {}, {"enabled": True}], ids=str)
async def test_an_agent_that_asks_for_it_is_waited_for_until_it_is_ready(preparing: Any):
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, preparing=preparing, prompt="{{x}}", raw_prompt=True)
        async with calling(server) as end:
            await end.act("inject_text", text="hello")
            before = await peer.until("llm.before")
            ids = {"agent_id": "desk", "call_id": before["call_id"]}
            await peer.send("history.set_vars", **ids, request_id="r", vars={"x": "ready"})
            await peer.send("llm.ready", **ids, turn=before["turn"])
            await peer.until("bot.speaking")
            assert model.prompt == "ready"
        await peer.until("call.ended")
    assert not [f for f in peer.seen if f["event"] == "llm.preparing_timeout"]


@holds("config", "11")
@pytest.mark.parametrize(
    ("preparing", "budget"), [({"timeout_ms": 120}, 120), ({"timeout_ms": 0}, 0), (True, 1500)]
)
async def test_a_budget_that_runs_out_is_told(preparing: Any, budget: int):
    async with serving(ToldModel()) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, preparing=preparing)
        async with calling(server) as end:
            await end.act("inject_text", text="hello")
            late = await peer.until("llm.preparing_timeout")
            assert (late["turn"], late["budget_ms"]) == (1, budget)
            assert late["waited_ms"] >= budget - 20
            await peer.until("bot.speaking")
        await peer.until("call.ended")


@holds("config", "11")
async def test_being_ready_for_another_turn_lets_nothing_go():
    async with serving(ToldModel()) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, preparing={"timeout_ms": 300})
        async with calling(server) as end:
            await end.act("inject_text", text="hello")
            before = await peer.until("llm.before")
            ids = {"agent_id": "desk", "call_id": before["call_id"]}
            await peer.send("llm.ready", **ids, turn=before["turn"] + 1)
            await peer.until("llm.preparing_timeout")
            await end.until("bot.finished")
            await end.act("inject_text", text="again")
            await peer.until("llm.before", turn=2)
            await peer.send("llm.ready", **ids)
            await peer.until("bot.finished")
        await peer.until("call.ended")
    assert len([f for f in peer.seen if f["event"] == "llm.preparing_timeout"]) == 1


@holds("config", "11")
@pytest.mark.parametrize("preparing", [False, {"enabled": False}], ids=str)
async def test_whoever_switches_it_off_is_not_asked(preparing: Any):
    async with serving(ToldModel()) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, preparing=preparing)
        async with calling(server) as end:
            await end.act("inject_text", text="hello")
            await peer.until("bot.finished")
        await peer.until("call.ended")
    assert "llm.before" not in [frame["event"] for frame in peer.seen]


@holds("config", "11")
async def test_a_chat_is_held_once_and_only_where_that_is_asked_for():
    async with serving(ToldModel()) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM)
        await ask(peer, "hello")
        assert "llm.before" not in [frame["event"] for frame in peer.seen]
        await peer.agent("desk", llm=LLM, preparing=True)
        await peer.send("llm.chat", agent_id="desk", session_id="chat-2", text="hello")
        await peer.until("llm.before")
        await peer.send("llm.ready", agent_id="desk", call_id="chat-2")
        await peer.until("llm.chat.done", session_id="chat-2")
        await ask(peer, "again", "chat-2")
    befores = [frame for frame in peer.seen if frame["event"] == "llm.before"]
    assert [frame["call_id"] for frame in befores] == ["chat-2"]
