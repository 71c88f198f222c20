"""Phone lines: `line.create`, `line.destroy`, `call.route`, `set_context` (commands.md §11)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.answered import OURS, SCRIPT, THEIRS, reply
from tests.conformance.microphone import Caller, calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded

LINE = f"line:{OURS}"


@asynccontextmanager
async def lined(**agent: Any) -> AsyncIterator[tuple[Peer, Peer, Caller]]:
    """Have a line answer a call; yields its owner, the owner of `desk`, and the caller."""
    async with speaking() as server, connected(server) as line, connected(server) as desk:
        await desk.agent("desk", **({"llm": SCRIPT, "raw_prompt": True} | agent))
        await line.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await line.until("line.created")
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            await line.until("call.started")
            await caller.until("call.started")
            yield line, desk, caller


SHOWS = {
    "provider": "script",
    "rules": [{"on": "prompt", "call": {"show": {"prompt": "{prompt}"}}, "say": "x"}],
}
"""A model that shows a tool its prompt, which takes no time as saying it would."""


async def asked_for(desk: Peer, caller: Caller) -> str:
    """Return the system prompt of the agent that has the call."""
    await caller.act("inject_text", text="prompt")
    frame = await desk.until("llm.tool_call")
    return str(json.loads(frame["tool_calls"][0]["arguments"])["prompt"])


async def created(peer: Peer, number: str = OURS, **config: Any) -> dict[str, Any]:
    """Ask for a line, and return the answer."""
    await peer.send("line.create", number=number, config={"extension_window_ms": 0} | config)
    return await peer.receive()


# --- line.create --------------------------------------------------------------------------------


@holds("commands", "11.1")
@pytest.mark.parametrize("number", ["+12186633772", "sip:desk@acme.com"])
async def test_a_line_is_created_with_its_number_as_often_as_it_is_sent(number: str):
    config = {
        "stt": "soniox/stt-rt-v5",
        "voice": "elevenlabs/sarah",
        "language": "en",
        "turn_detection": {"anything": True},
        "extension_window_ms": 2500,
    }
    async with embedded() as server, connected(server) as peer:
        for _ in range(2):
            answer = await created(peer, number, **config)
            assert (answer["event"], answer["number"]) == ("line.created", number)


@holds("commands", "11.1")
@pytest.mark.parametrize(
    "config",
    [
        {"stt": {"provider": "deepgram", "model": "nova-3"}},
        {"stt": "deepgram:nova-3:es"},
        {"voice": {"provider": "elevenlabs", "voice_id": "x"}},
        {"turn_detection": "smart_turn"},
        {},
    ],
    ids=str,
)
async def test_texts_and_objects_are_taken_in_a_lines_configuration(config: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        assert (await created(peer, **config))["event"] == "line.created"


@holds("commands", "11.1")
@pytest.mark.parametrize(
    "config",
    [{"llm": "openai/gpt-5"}, {"prompt": "x"}, {"tools": []}, {"greeting": "Hi"}],
    ids=lambda config: next(iter(config)),
)
async def test_what_belongs_to_an_agent_is_refused_on_a_line(config: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        answer = await created(peer, **config)
        assert (answer["event"], answer["code"]) == ("line.error", "LINE_CONFIG_ERROR")
        assert answer["number"] == OURS
        assert answer["error"]


@holds("commands", "11.1")
@pytest.mark.parametrize(
    ("number", "config"),
    [("reception", {}), ("", {}), (OURS, {"stt": "deepgram/nova-2"}), (OURS, {"voice": 5})],
)
async def test_a_line_that_cannot_be_is_refused(number: str, config: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        answer = await created(peer, number, **config)
        assert (answer["event"], answer["code"]) == ("line.error", "LINE_CONFIG_ERROR")
        assert answer["number"] == number


@holds("commands", "11.1")
async def test_a_line_that_a_live_process_holds_is_refused():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await created(one)
        await two.send("line.create", number=OURS)
        await one.until("ping")
        await one.send("pong")
        answer = await two.until("line.error")
        assert (answer["code"], answer["number"]) == ("LINE_CONFLICT", OURS)


@holds("commands", "11.1")
async def test_keys_in_the_window_are_the_extension():
    async with speaking() as server, connected(server) as line:
        await line.agent("desk")
        await created(line, extension_window_ms=5000)
        async with calling(server, to=OURS) as caller:
            await caller.until("call.started")
            await caller.act("dtmf", digits="33#")
            started = await line.until("call.started")
            assert (started["extension"], started["owner"]) == ("33", "line")


@holds("commands", "11.1")
async def test_without_a_window_there_is_no_extension():
    async with lined() as (line, _, caller):
        started = next(f for f in line.seen if f["event"] == "call.started")
        assert started["extension"] is None
        assert (started["agent_id"], started["transport"]) == (LINE, "phone")
        await caller.act("dtmf", digits="3")
        assert (await line.until("call.dtmf_received"))["digit"] == "3"


@holds("commands", "11.1", "9")
async def test_a_line_says_why_it_hangs_up():
    async with lined() as (line, _, caller):
        await line.send("call.hangup", call_id=caller.call_id, reason="done")
        assert (await line.until("call.ended"))["reason"] == "done"


# --- line.destroy -------------------------------------------------------------------------------


@holds("commands", "11.2")
async def test_a_line_that_is_destroyed_takes_no_more_calls_and_is_free():
    async with speaking() as server, connected(server) as one, connected(server) as two:
        await one.agent("desk")
        await created(one)
        await one.send("line.destroy", number=OURS)
        answer = await one.receive()
        assert (answer["event"], answer["number"]) == ("line.destroyed", OURS)
        await created(two)
        async with calling(server, to=OURS):
            await two.until("call.started")
        assert await one.settled() == []


@holds("commands", "11.2")
async def test_destroying_a_line_that_is_not_there_is_answered():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await created(one)
        await two.send("line.destroy", number=OURS)
        await two.settled()
        await one.send("line.create", number=OURS)
        assert (await one.until("line.created"))["number"] == OURS, "it is still its owner's"


# --- call.route ---------------------------------------------------------------------------------


@holds("commands", "11.3")
async def test_a_call_goes_on_with_the_agent_under_the_same_id():
    async with lined(greeting="Desk") as (line, desk, caller):
        await line.send("call.route", call_id=caller.call_id, agent="desk", history=True)
        started = await desk.until("call.started")
        routed = await line.until("call.routed")
        ended = await line.until("call.ended")
        assert (await desk.until("bot.speaking"))["text"] == "Desk"
    assert started["call_id"] == routed["call_id"] == ended["call_id"] == caller.call_id
    assert (started["routed_from"], started["owner"]) == (LINE, "agent")
    assert (routed["agent_id"], routed["agent"]) == (LINE, "desk")
    assert (ended["agent_id"], ended["reason"]) == (LINE, "routed")


@holds("commands", "11.3")
@pytest.mark.parametrize(("fields", "primed"), [({}, True), ({"history": False}, False)])
async def test_the_agent_is_told_what_was_said_unless_it_is_not_to_be(
    fields: dict[str, bool], primed: bool
):
    async with lined() as (line, desk, caller):
        await reply(line, caller.call_id, "m1", "Welcome")
        await line.until("bot.finished")
        await line.send("call.route", call_id=caller.call_id, agent="desk", **fields)
        await desk.until("call.started")
        await desk.send("history.get", call_id=caller.call_id, request_id="r")
        messages = (await desk.until("history.data"))["messages"]
    assert messages == ([{"role": "assistant", "content": "Welcome"}] if primed else [])


@holds("commands", "11.3", "11.4")
async def test_a_route_says_greeting_language_variables_and_context():
    async with lined(greeting="Never", prompt="{{plan}}.", llm=SHOWS) as (
        line,
        desk,
        caller,
    ):
        await line.send("set_context", call_id=caller.call_id, key="cart", value={"n": 3})
        await line.send(
            "call.route",
            call_id=caller.call_id,
            agent="desk",
            language="es",
            voice="elevenlabs/lucia",
            stt="deepgram:nova-3:es",
            greeting="Plan {{plan}}",
            prompt_vars={"plan": "gold"},
            context={"vip": True},
        )
        assert (await desk.until("call.started"))["language"] == "es"
        assert (await desk.until("bot.speaking"))["text"] == "Plan gold"
        prompt = await asked_for(desk, caller)
    assert prompt.startswith("gold.")
    for told in ("### cart", "### vip"):
        assert told in prompt


@holds("commands", "11.3")
@pytest.mark.parametrize(
    ("agent", "fields", "reason"),
    [
        ("nobody", {}, "unknown"),
        ("gone", {}, "offline"),
        ("desk", {"voice": "nobody/knows"}, "swap_failed"),
    ],
)
async def test_a_route_that_fails_leaves_the_call_with_the_line(
    agent: str, fields: dict[str, Any], reason: str
):
    async with lined() as (line, desk, caller):
        await desk.agent("gone")
        await desk.send("agent.remove", agent_id="gone")
        await desk.until("agent.removed")
        await line.send("call.route", call_id=caller.call_id, agent=agent, **fields)
        failed = await line.until("call.route_failed")
        assert (failed["agent_id"], failed["call_id"]) == (LINE, caller.call_id)
        assert (failed["agent"], failed["reason"]) == (agent, reason)
        await reply(line, caller.call_id, "m1", "Still")
        await line.until("bot.finished")
        assert await desk.settled() == []


@holds("commands", "11.3")
async def test_a_call_that_is_no_lines_cannot_be_routed():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk")
        async with calling(server) as caller:
            call = (await owner.until("call.started"))["call_id"]
            await owner.send("call.route", call_id=call, agent="desk")
            error = (await owner.settled())[-1]
            assert (error["event"], error["call_id"]) == ("error", call)
            assert "call.ended" not in caller.names()


# --- set_context --------------------------------------------------------------------------------


@holds("commands", "11.4")
async def test_context_is_before_the_model_until_it_is_null():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Base.", raw_prompt=True)

        async def prompt() -> str:
            chat = {"agent_id": "desk", "session_id": "chat-1", "text": "your prompt"}
            await owner.send("llm.chat", **chat)
            return str((await owner.until("llm.chat.done"))["text"])

        assert await prompt() == "Base."
        for value in ({"items": ["tea"]}, "/pricing", 0, False):
            await owner.send("set_context", call_id="chat-1", key="page", value=value)
            told = await prompt()
            assert told.startswith("Base.")
            assert "## UI Context" in told
            assert "### page" in told
        await owner.send("set_context", call_id="chat-1", key="other", value=1)
        await owner.send("set_context", call_id="chat-1", key="page", value=None)
        assert "### page" not in await prompt()
        await owner.send("set_context", call_id="chat-1", key="other", value=None)
        assert await prompt() == "Base."
        assert not [frame for frame in owner.seen if frame["event"] == "error"]


@holds("commands", "11.4")
async def test_context_of_a_line_lives_on_with_the_agent():
    async with lined(prompt="Base.", llm=SHOWS) as (line, desk, caller):
        await line.send("set_context", call_id=caller.call_id, key="page", value="/pricing")
        await line.send("call.route", call_id=caller.call_id, agent="desk")
        await desk.until("call.started")
        prompt = await asked_for(desk, caller)
    assert prompt.startswith("Base.")
    assert "/pricing" in prompt
