"""Tools, skills and the prompt of one generation: config.md §6, §7 and §8."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pinecall_cli.engines.types import ToolCall
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.conformance.told_model import ToldModel, ask, serving
from tests.server.peer import Peer, connected

LLM = "openai/gpt-5-mini"


def function(name: str, **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": parameters}
    return {
        "type": "function",
        "function": {"name": name, "description": f"Do {name}.", "parameters": schema},
    }


BOOKING = {
    "name": "booking",
    "description": "Books tables",
    "instructions": "Ask for the day, {{who}}.",
    "tools": [function("book")],
    "knowledge_base": "kb_b",
    "rag_top_k": 4,
    "activation": "model",
}


async def agent(peer: Peer, **payload: Any) -> None:
    created = await peer.agent("desk", **({"llm": LLM, "preparing": False} | payload))
    assert created["event"] == "agent.created", created


# --- tools ----------------------------------------------------------------------------------------


@holds("config", "6")
async def test_a_tool_reaches_the_model_as_it_came_whatever_its_schema_says():
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "orderId": {"type": "string", "description": "of the order"},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "lines": {"type": "array", "items": {"type": "number", "default": 1}},
            "fixed": {"const": True},
            "odd": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/x"}]},
        },
        "$defs": {"x": {"type": "integer", "minimum": 3}},
        "required": ["orderId"],
    }
    tool = {
        "type": "function",
        "function": {"name": "lookupOrder", "description": "…", "parameters": schema},
    }
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, tools=[tool])
        await ask(peer, "hello")
    assert model.requests[-1].tools == [tool]


@holds("config", "6")
async def test_a_skills_tool_stands_for_a_global_one_of_its_name_while_it_is_active():
    model = ToldModel()
    mine = function("book", day={"type": "string"})
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, tools=[function("book")], skills=[BOOKING | {"tools": [mine]}])
        await ask(peer, "hello")
        assert model.tools["book"] == function("book")["function"]
        await peer.send("skill.load", agent_id="desk", call_id="chat-1", skill="booking")
        await ask(peer, "hello")
        assert model.tools["book"] == mine["function"]
        assert [t["function"]["name"] for t in model.requests[-1].tools].count("book") == 1


# --- skills ---------------------------------------------------------------------------------------


@holds("config", "7")
async def test_the_model_may_load_the_skills_that_are_the_models_and_sees_what_they_are_for():
    others = [
        {"name": "mine", "description": "By hand", "tools": [], "activation": "manual"},
        {"name": "base", "description": "Always", "tools": [], "activation": "always"},
    ]
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, skills=[BOOKING, *others], prompt="Be kind.")
        await ask(peer, "hello")
        assert set(model.tools) == {"loadSkill"}
        assert model.tools["loadSkill"]["parameters"]["properties"]["name"]["enum"] == ["booking"]
        assert "booking: Books tables" in model.prompt
        assert "By hand" not in model.prompt
        assert not [frame for frame in peer.seen if frame["event"] == "skill.loaded"]


@holds("config", "7")
async def test_a_loaded_skill_works_from_the_next_request_on_and_is_told():
    load = ToolCall("call_1", "loadSkill", '{"name":"booking"}')
    unload = ToolCall("call_2", "unloadSkill", '{"name":"booking"}')
    model = ToldModel(load, "Which day?", unload, "Bye.")
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, skills=[BOOKING], vars={"who": "Ana"})
        assert await ask(peer, "a table, please") == "Which day?"
        (loaded,) = told(peer, "skill.loaded")
        assert (loaded["skill"], loaded["by"], loaded["call_id"]) == ("booking", "model", "chat-1")
        assert "Ask for the day, Ana." in model.prompt
        assert set(model.tools) == {"book", "unloadSkill"}
        assert not told(peer, "llm.tool_call")
        assert await ask(peer, "thanks") == "Bye."
        assert told(peer, "skill.unloaded")[0]["by"] == "model"
        assert "Ask for the day" not in model.prompt
        assert set(model.tools) == {"loadSkill"}


@holds("config", "7")
async def test_a_manual_skill_is_loaded_by_the_application_alone_and_pages_are_told():
    model = ToldModel(ToolCall("call_1", "loadSkill", '{"name":"mine"}'), "No.")
    mine = {"name": "mine", "description": "", "tools": [function("x")], "activation": "manual"}
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, skills=[BOOKING, mine])
        async with calling(server) as end:
            call = (await end.until("call.started"))["call_id"]
            await end.act("inject_text", text="load mine")
            await end.until("bot.finished")
            assert not end.of("skill.loaded")
            await peer.send("skill.load", agent_id="desk", call_id=call, skill="mine")
            assert (await end.until("skill.loaded"))["by"] == "manual"
            await end.act("inject_text", text="again")
            await end.reached(lambda: len(end.of("bot.finished")) == 2)
            assert "x" in model.tools
            await peer.send("skill.unload", agent_id="desk", call_id=call, skill="mine")
            assert (await end.until("skill.unloaded"))["skill"] == "mine"
        await peer.until("call.ended")


@holds("config", "7", "8")
async def test_a_raw_prompt_has_neither_house_style_nor_a_note_on_skills():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, prompt="Be kind.", raw_prompt=True, skills=[BOOKING])
        await ask(peer, "hello")
        assert model.prompt == "Be kind."
        assert "loadSkill" in model.tools
        await peer.send("skill.load", agent_id="desk", call_id="chat-1", skill="booking")
        await ask(peer, "hello")
        assert "Ask for the day" in model.prompt


# --- the prompt -----------------------------------------------------------------------------------


@holds("config", "8")
async def test_the_sections_of_a_prompt_stand_in_their_order():
    model = ToldModel()
    base = "BASE <{{RAG_CONTEXT}}> <{{MEMORY}}>"
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, prompt=base, skills=[BOOKING | {"activation": "always"}])
        await ask(peer, "hello")
        ids = {"call_id": "chat-1", "agent_id": "desk"}
        await peer.send("history.add_context", **ids, request_id="r", text="They wrote twice.")
        await peer.send("set_context", **ids, key="page", value="/pricing")
        await peer.send("set_context", **ids, key="cart", value={"items": 2})
        await peer.until("history.updated")
        await ask(peer, "hello")
        prompt = model.prompt
        marks = ["BASE <> <>", "Markdown", "Ask for the day", "They wrote twice."]
        marks += ["## UI Context", "### page\n/pricing", "### cart\n{", '"items": 2']
        places = [prompt.find(mark) for mark in marks]
        assert -1 not in places, (places, prompt)
        assert places == sorted(places)
        for key in ("page", "cart"):
            await peer.send("set_context", **ids, key=key, value=None)
        await ask(peer, "hello")
        assert "UI Context" not in model.prompt


@holds("config", "8")
async def test_the_house_style_is_the_channels():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, prompt="Be kind.")
        await ask(peer, "hello")
        assert model.prompt.startswith("Be kind.")
        assert "Markdown" in model.prompt
        async with calling(server) as end:
            await end.act("inject_text", text="hello")
            await end.until("bot.speaking")
        assert re.search("short.* sentences", model.prompt)
        assert re.search("[Nn]o markdown", model.prompt)
        assert "emoji" in model.prompt


@holds("config", "8")
async def test_a_prompt_set_in_the_call_stands_over_the_channels_and_that_over_the_agents():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, prompt="agent", raw_prompt=True)
        await ask(peer, "hello", "chat-0")
        assert model.prompt == "agent"
        await peer.send("channel.add", agent_id="desk", type="chat", prompt="channel")
        await peer.until("channel.added")
        await ask(peer, "hello")
        assert model.prompt == "channel"
        await peer.send(
            "history.set_instructions", call_id="chat-1", request_id="r", prompt="call {{day}}"
        )
        await peer.until("history.updated")
        await ask(peer, "hello")
        assert re.fullmatch("call [A-Z][a-z]+day", model.prompt)


@holds("config", "8")
async def test_variables_of_the_call_win_over_the_agents_and_those_over_the_built_in_ones():
    model = ToldModel()
    prompt = "{{name}} {{Name}} {{day}} {{nobody}}."
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, prompt=prompt, raw_prompt=True, vars={"name": "Ana", "day": "payday"})
        await ask(peer, "hello")
        assert model.prompt == "Ana  payday ."
        await peer.send(
            "history.set_vars", call_id="chat-1", request_id="r", vars={"name": "{{day}}"}
        )
        await peer.until("history.updated")
        await ask(peer, "hello")
        assert model.prompt == "{{day}}  payday ."


@holds("config", "8")
@pytest.mark.parametrize("timezone", [None, "Asia/Tokyo", "America/Lima", "No/Such"])
async def test_dates_and_times_are_those_of_the_timezone(timezone: str | None):
    model = ToldModel()
    prompt = "{{date}}|{{time}}|{{day}}|{{datetime}}|{{date_block}}"
    given = {} if timezone is None else {"timezone": timezone}
    known = ZoneInfo(timezone) if timezone and timezone != "No/Such" else UTC
    async with serving(model) as server, connected(server) as peer:
        await agent(peer, prompt=prompt, raw_prompt=True, **given)
        before = datetime.now(known)
        await ask(peer, "hello")
        after = datetime.now(known)
    date, time, day, both, block = model.prompt.split("|")
    assert date in {f"{at:%Y-%m-%d}" for at in (before, after)}
    assert time in {f"{at:%H:%M}" for at in (before, after)}
    assert day in {f"{at:%A}" for at in (before, after)}
    assert both == f"{date} {time}"
    assert day in block
    assert time in block


def told(peer: Peer, event: str) -> list[dict[str, Any]]:
    return [frame for frame in peer.seen if frame["event"] == event]
