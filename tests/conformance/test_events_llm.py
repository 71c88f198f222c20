"""events.md §9: tools, skills, the moment before a generation, and models that fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.desk import BROKEN, LOOKUP, Frame, desk, names, of, one, place, whole
from tests.conformance.microphone import Caller, calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer

TWO = {
    "provider": "script",
    "rules": [
        {"on": "both", "call": {"lookup": {"id": "42"}, "weather": {"city": "Lima"}}, "say": "So."},
        {"say": "Hm."},
    ],
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@asynccontextmanager
async def in_a_call(**payload: Any) -> AsyncIterator[tuple[Peer, Caller]]:
    """Be in a call of ``desk``; yields its owner and the caller."""
    async with desk(**payload) as (server, owner), calling(server) as caller:
        await owner.until("call.started")
        await caller.until("call.started")
        yield owner, caller


async def answer(owner: Peer, call: Frame, result: Any = None, **flags: Any) -> None:
    """Answer a round of tools, all in one frame."""
    await owner.send(
        "llm.tool_result",
        call_id=call["call_id"],
        msg_id=call["msg_id"],
        results=[
            {"tool_call_id": wish["id"], "result": result, **flags} for wish in call["tool_calls"]
        ],
    )


# -- tools -------------------------------------------------------------------------------------


@holds("events", "9.1")
async def test_a_round_of_tools_is_one_frame_with_arguments_as_json_text():
    async with in_a_call(llm=TWO, tools=[LOOKUP, WEATHER]) as (owner, caller):
        await caller.act("inject_text", text="both")
        call = await owner.until("llm.tool_call")
        assert (call["agent_id"], call["call_id"]) == ("desk", caller.call_id)
        assert call["msg_id"]
        wishes = call["tool_calls"]
        assert [wish["name"] for wish in wishes] == ["lookup", "weather"]
        assert all(isinstance(wish["arguments"], str) for wish in wishes)
        assert [json.loads(wish["arguments"]) for wish in wishes] == [
            {"id": "42"},
            {"city": "Lima"},
        ]
        assert len({wish["id"] for wish in wishes}) == 2
        await answer(owner, call)
        await owner.until("bot.speaking")
    assert len(of(owner.seen, "llm.tool_call")) == 1


@holds("events", "9.1")
async def test_every_round_has_a_message_id_of_its_own_also_across_calls():
    async with desk(tools=[LOOKUP]) as (server, owner):
        ids = []
        for _ in range(2):
            async with calling(server) as caller:
                await caller.until("call.started")
                for _ in range(2):
                    await caller.act("inject_text", text="order")
                    call = await owner.until("llm.tool_call")
                    ids.append(call["msg_id"])
                    await answer(owner, call, {"status": "up"}, no_followup=True)
                    await caller.until("llm.tool_result", tool_call_id=call["tool_calls"][0]["id"])
                await whole(caller, owner)
    assert len(ids) == len(set(ids)) == 4


@holds("events", "9.1", "9.3")
async def test_switching_skills_is_the_servers_own_and_asks_the_client_nothing():
    skills = [
        {
            "name": "booking",
            "description": "books tables",
            "instructions": "Ask for the day.",
            "tools": [LOOKUP],
            "activation": "model",
        }
    ]
    llm = {
        "provider": "script",
        "rules": [{"on": "book", "call": {"loadSkill": {"name": "booking"}}, "say": "Which day?"}],
    }
    async with in_a_call(llm=llm, skills=skills) as (owner, caller):
        await caller.act("inject_text", text="book a table")
        loaded = await owner.until("skill.loaded")
        assert (loaded["skill"], loaded["by"]) == ("booking", "model")
        assert (loaded["agent_id"], loaded["call_id"]) == ("desk", caller.call_id)
        await owner.until("message.confirmed", text="Which day?")
    assert not of(owner.seen, "llm.tool_call")


@holds("events", "9.3")
@holds("open-questions", "C")
async def test_skills_that_the_application_switches_are_manual_and_those_always_on_say_nothing():
    skills = [
        {"name": "vip", "description": "d", "tools": [], "activation": "manual"},
        {"name": "house", "description": "d", "tools": [], "activation": "always"},
    ]
    async with in_a_call(skills=skills) as (owner, caller):
        for command, event in (("load", "skill.loaded"), ("unload", "skill.unloaded")):
            await owner.send(f"skill.{command}", call_id=caller.call_id, skill="vip")
            told = await owner.until(event)
            assert (told["skill"], told["by"]) == ("vip", "manual")
        frames = await whole(caller, owner)
    assert not [f for f in frames if f.get("skill") == "house"]


# -- the barrier -------------------------------------------------------------------------------


@holds("events", "9.2", "8")
async def test_a_generation_is_held_between_the_end_of_the_turn_and_its_first_event():
    async with in_a_call(preparing=True, tools=[LOOKUP]) as (owner, caller):
        await caller.act("inject_text", text="order")
        before = await owner.until("llm.before")
        assert (before["agent_id"], before["call_id"]) == ("desk", caller.call_id)
        assert before["turn"] == 1
        await owner.send("llm.ready", call_id=caller.call_id, agent_id="desk", turn=1)
        call = await owner.until("llm.tool_call")
        await answer(owner, call, {"status": "on its way"})
        await owner.until("bot.speaking")
        frames = await whole(caller, owner)
    order = [place(frames, n) for n in ("turn.end", "llm.before", "llm.tool_call", "bot.speaking")]
    assert order == sorted(order)
    assert not of(frames, "llm.preparing_timeout")


@holds("events", "9.2")
async def test_an_agent_that_asked_to_be_waited_for_is_told_when_its_time_is_up():
    async with in_a_call(preparing={"timeout_ms": 60}) as (owner, caller):
        await caller.act("inject_text", text="hello")
        await owner.until("llm.before")
        timeout = await owner.until("llm.preparing_timeout")
        assert (timeout["agent_id"], timeout["call_id"]) == ("desk", caller.call_id)
        assert (timeout["turn"], timeout["budget_ms"]) == (1, 60)
        assert timeout["waited_ms"] >= 55
        await owner.until("bot.speaking")


@holds("events", "9.2")
async def test_an_agent_that_asked_for_nothing_is_waited_for_and_not_told():
    async with in_a_call(preparing=None) as (owner, caller):
        await caller.act("inject_text", text="hello")
        await owner.until("llm.before", turn=1)
        await owner.until("bot.speaking")
        frames = await whole(caller, owner)
    assert not of(frames, "llm.preparing_timeout")


@holds("events", "9.2")
@pytest.mark.parametrize("preparing", [False, {"enabled": False}])
async def test_an_agent_that_switched_the_barrier_off_is_not_asked(preparing: Any):
    async with in_a_call(preparing=preparing) as (owner, caller):
        await caller.act("inject_text", text="hello")
        await owner.until("bot.speaking")
        frames = await whole(caller, owner)
    assert not of(frames, "llm.before")


@holds("events", "9.2")
@holds("open-questions", "C")
async def test_a_chat_is_held_once_and_only_if_the_agent_asked():
    for preparing, times in ((True, 1), (None, 0)):
        async with desk(preparing=preparing) as (_, owner):
            for text in ("one", "two"):
                await owner.send("llm.chat", agent_id="desk", session_id="chat-1", text=text)
                if times and text == "one":
                    before = await owner.until("llm.before")
                    assert (before["call_id"], before["turn"]) == ("chat-1", 1)
                    await owner.send("llm.ready", call_id="chat-1", agent_id="desk", turn=1)
                await owner.until("llm.chat.done")
        assert len(of(owner.seen, "llm.before")) == times


# -- what goes wrong, and what is not sent ------------------------------------------------------


@holds("events", "9.5", "2.3")
@holds("open-questions", "C")
async def test_a_model_that_fails_is_an_llm_error_of_the_call_and_the_caller_hears_nothing():
    async with in_a_call(server=BROKEN) as (owner, caller):
        await caller.act("inject_text", text="hello")
        error = await owner.until("llm.error")
        assert (error["agent_id"], error["call_id"]) == ("desk", caller.call_id)
        assert error["error"]
        frames = await whole(caller, owner)
    assert not of(owner.seen, "error")
    assert not of(frames, "bot.speaking")
    assert frames[-1]["reason"] == "hangup"


@holds("events", "9.4")
async def test_without_a_memory_nothing_is_said_of_one():
    async with in_a_call(memory={"enabled": True, "remember": ["name"]}) as (owner, caller):
        await caller.act("inject_text", text="hello")
        await owner.until("bot.finished")
        frames = await whole(caller, owner)
    assert "memory.ops" not in names(frames)


@holds("events", "9.1")
async def test_the_result_of_a_tool_is_shown_to_whoever_watches_the_call():
    async with in_a_call(tools=[LOOKUP]) as (owner, caller):
        await caller.act("inject_text", text="order")
        call = await owner.until("llm.tool_call")
        await answer(owner, call, {"status": "lost"})
        result = await caller.until("llm.tool_result")
        (wish,) = call["tool_calls"]
        assert (result["tool_call_id"], result["name"]) == (wish["id"], "lookup")
        assert result["result"] == {"status": "lost"}
    assert one(caller.seen, "llm.tool_call")["tool_calls"] == call["tool_calls"]
