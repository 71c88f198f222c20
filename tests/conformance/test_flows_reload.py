"""flows.md §7: what changes for calls that are up, and what for those that come."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conformance.desk import OURS, Frame, desk, names, of, place, whole, with_number
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, bearer

TELLS_PROMPT: Frame = {"provider": "script", "rules": [{"say": "{prompt}"}]}
NEWER: Frame = {"provider": "script", "rules": [{"say": "Anew."}]}
HOUSE = {"name": "house", "description": "d", "tools": [], "activation": "always"}


async def chat(owner: Peer, text: str, session: str = "chat-1") -> str:
    """Write to ``desk`` and return its answer."""
    await owner.send("llm.chat", agent_id="desk", session_id=session, text=text)
    return str((await owner.until("llm.chat.done", session_id=session))["text"])


@holds("flows", "7")
async def test_an_agents_new_defaults_are_for_the_next_call():
    async with desk(greeting="Hi.") as (server, owner):
        async with calling(server) as caller:
            await owner.until("bot.finished")
            await owner.send("agent.configure", agent_id="desk", llm=NEWER, greeting="Hello.")
            assert (await owner.until("agent.configured"))["agent_id"] == "desk"
            await caller.act("inject_text", text="x")
            await owner.until("message.confirmed", text="You said x.")
            await whole(caller, owner)
        async with calling(server) as caller:
            await owner.until("message.confirmed", text="Hello.")
            await caller.act("inject_text", text="x")
            await owner.until("message.confirmed", text="Anew.")


@holds("flows", "7")
async def test_one_calls_own_configuration_is_used_from_its_next_turn_and_by_no_other():
    async with desk() as (server, owner):
        async with calling(server) as one, calling(server) as two:
            await one.until("call.started")
            await two.until("call.started")
            await owner.send(
                "session.configure", session_id=one.call_id, llm=NEWER, voice="elevenlabs/valentina"
            )
            configured = await owner.until("session.configured")
            assert configured["session_id"] == one.call_id
            await one.act("inject_text", text="x")
            await two.act("inject_text", text="y")
            await one.until("message.confirmed", text="Anew.")
            await two.until("message.confirmed", text="You said y.")


@holds("flows", "7")
async def test_a_configuration_is_applied_before_the_reply_that_follows_it():
    async with desk() as (server, owner), calling(server) as caller:
        id = (await owner.until("call.started"))["call_id"]
        await owner.send("session.configure", session_id=id, voice="elevenlabs/valentina")
        await owner.send("bot.reply", call_id=id, message_id="m1", text="¡Claro!", in_reply_to="")
        await owner.until("bot.finished", message_id="m1")
        frames = await whole(caller, owner)
    assert place(owner.seen, "session.configured") < place(owner.seen, "bot.speaking")
    assert frames[-1]["reason"] == "hangup"


@holds("flows", "7")
async def test_a_language_that_the_browser_changes_is_told_and_one_of_ours_is_not():
    async with desk(language="en") as (server, owner), calling(server) as caller:
        id = (await owner.until("call.started"))["call_id"]
        await owner.send("session.configure", session_id=id, language="pt")
        await owner.until("session.configured")
        await caller.act("configure", language="es")
        updated = await owner.until("call.updated")
        frames = await whole(caller, owner)
    assert updated["language"] == "es"
    assert len(of(frames, "call.updated")) == 1
    assert frames[-1]["language"] == "es"


@holds("flows", "7")
@pytest.mark.parametrize(
    ("event", "fields", "prompt"),
    [
        ("history.set_instructions", {"prompt": "Hello {{who}}."}, "Hello Bo."),
        ("history.set_vars", {"vars": {"who": "Ana"}}, "Be kind, Ana."),
        ("history.add_context", {"text": "It rains."}, "Be kind, Bo."),
    ],
)
async def test_prompt_variables_and_context_are_used_by_the_next_generation(
    event: str, fields: dict[str, Any], prompt: str
):
    config = {"prompt": "Be kind, {{who}}.", "vars": {"who": "Bo"}, "raw_prompt": True}
    async with desk(llm=TELLS_PROMPT, **config) as (_, owner):
        assert await chat(owner, "x") == "Be kind, Bo."
        await owner.send(event, call_id="chat-1", request_id="rq", **fields)
        updated = await owner.until("history.updated")
        assert updated["count"] == 2
        now = await chat(owner, "x")
        assert now.startswith(prompt)
        assert ("It rains." in now) is (event == "history.add_context")
        assert await chat(owner, "x", "chat-2") == "Be kind, Bo."


@holds("flows", "7")
async def test_skills_change_for_one_session_or_for_those_that_come():
    config = {"prompt": "Hm.", "raw_prompt": True}
    async with desk(llm=TELLS_PROMPT, **config) as (_, owner):
        assert await chat(owner, "x") == "Hm."
        skill = HOUSE | {"instructions": "Offer tea."}
        await owner.send("session.configure", session_id="chat-1", skills=[skill])
        await owner.until("session.configured")
        assert "Offer tea." in await chat(owner, "x")
        assert "Offer tea." not in await chat(owner, "x", "chat-2")
        await owner.send("agent.configure", agent_id="desk", skills=[skill])
        await owner.until("agent.configured")
        assert "Offer tea." in await chat(owner, "x", "chat-3")


@holds("flows", "7.1")
async def test_creating_an_agent_again_replaces_its_configuration_whole():
    origin = "https://shop.example"
    async with desk(greeting="Hi.", allowed_origins=[origin]) as (server, owner):
        again = await owner.agent("desk", preparing=False)
        assert again["event"] == "agent.created"
        async with httpx.AsyncClient(base_url=server.url, headers={"Origin": origin}) as http:
            refused = await http.get("/webrtc/token", params={"agent_id": "desk"})
        async with calling(server) as caller:
            await owner.until("call.started")
            await caller.act("inject_text", text="hello")
            await owner.until("turn.end")
            frames = await whole(caller, owner)
    assert refused.status_code in (401, 403)
    assert not of(frames, "bot.speaking"), "neither the greeting nor the model is there any more"


@holds("flows", "7.1")
async def test_a_removed_agent_takes_no_calls_and_its_live_ones_go_on():
    async with desk() as (server, owner), calling(server) as caller:
        id = (await owner.until("call.started"))["call_id"]
        await owner.send("agent.remove", agent_id="desk")
        assert (await owner.until("agent.removed"))["agent_id"] == "desk"
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            gone = await http.get("/webrtc/token", params={"agent_id": "desk"})
        assert gone.status_code == 404
        await caller.act("inject_text", text="hello")
        await caller.until("message.confirmed", text="You said hello.")
        ended = await whole(caller, owner)
    assert ended[0]["call_id"] == id
    assert (ended[-1]["event"], ended[-1]["reason"]) == ("call.ended", "hangup")


@holds("flows", "7.1")
async def test_numbers_come_and_go_beside_a_call_that_is_up():
    async with desk() as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_="+14155550123") as caller:
            await owner.until("call.started")
            await owner.send("channel.remove", agent_id="desk", type="phone", ref=OURS)
            await owner.until("channel.removed", ref=OURS)
            await with_number(owner, "+13186330977")
            await caller.act("inject_text", text="hello")
            await owner.until("message.confirmed", text="You said hello.")
            frames = await whole(caller, owner)
    assert names(frames)[-1] == "call.ended"
