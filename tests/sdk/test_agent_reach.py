"""What an agent does at its server: channels, takeover, bridges, greetings of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import ConflictError, NotFoundError, PinecallError, UsageError
from pinecall_cli.protocol import commands
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.dials import DialError
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.sdk.listening import Log
from tests.sdk.test_foreign_server import foreign
from tests.sdk.test_voice import calling, registered

OURS, THEIRS = "+13186330963", "+14155550123"
SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}


async def channels(server: EmbeddedServer) -> set[str]:
    """Return the kinds and numbers of front-desk's channels, as the server has them."""
    async with Rest(server.url, Secret(server.key)) as rest:
        config = await rest.agent_config("front-desk")
    return {f"{one['type']} {one['ref']}" for one in config["channels"]}


@asynccontextmanager
async def chatting(client: Pinecall, agent: Agent) -> AsyncIterator[Call]:
    """Open a text session with an agent, by a message that is answered."""
    began = Log()
    agent.on("chat.started", began)
    chat = commands.LlmChat(
        agent_id=agent.name, session_id="chat-1", text="one", metadata={"userId": "u_9"}
    )
    client.send(chat)
    (call,) = await began.until()
    yield call
    await call.hangup()


# --- channels -----------------------------------------------------------------------------------


async def test_channels_come_and_go(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client)
    await agent.add_phone_number(OURS, voice="elevenlabs/daniel", ringing=True)
    await agent.add_whatsapp("42", "EAA", app_secret="shh")
    await agent.add_chat(language="es")
    await agent.add_webrtc(voice="elevenlabs/sarah")
    there = {f"phone {OURS}", "whatsapp 42", "chat None", "webrtc None"}
    assert await channels(server) == there
    await agent.remove_phone(OURS)
    await agent.remove_whatsapp("42")
    assert await channels(server) == {"chat None", "webrtc None"}


async def test_channels_added_before_the_connection_come_with_it(server: EmbeddedServer):
    made: list[Pinecall] = []

    def outside() -> None:
        one = Pinecall(server.key, server.url)
        agent = one.agent("front-desk", llm="script")
        asyncio.run(keep(agent))
        made.append(one)

    async def keep(agent: Agent) -> None:
        await agent.add_phone_number(OURS)
        await agent.add_phone_number(THEIRS)
        await agent.remove_phone(THEIRS)

    await asyncio.to_thread(outside)
    async with made[0] as client:
        await client.registered()
        assert await channels(server) == {f"phone {OURS}"}


async def test_a_number_of_anothers_is_a_conflict(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client)
    async with Pinecall(server.key, server.url) as other:
        desk = other.agent("other", llm="script", phone_numbers=[OURS])
        await other.registered()
        with pytest.raises(ConflictError, match="claimed"):
            await agent.add_phone_number(OURS)
        assert desk.wire is not None


# --- sessions -----------------------------------------------------------------------------------


async def test_a_person_takes_over_writes_and_gives_back(server: EmbeddedServer, client: Pinecall):
    agent = client.agent("front-desk", llm=SCRIPT)
    await client.registered()
    told = Log()
    for event in ("session.paused", "session.resumed"):
        agent.on(event, told)
    async with chatting(client, agent) as call:
        assert agent.call(call.id) is call
        await agent.pause(call.id)
        await agent.pause(contact="u_9")
        await agent.pause()
        await agent.send_message("A person.", session_id=call.id)
        await agent.send_message("Again.", contact="u_9")
        await agent.resume(call.id)
        await agent.resume(contact="u_9")
        await agent.resume()
        assert [m["content"] for m in await call.get_history()][-2:] == ["A person.", "Again."]
    assert len(told.entries) == 6
    assert agent.call("chat-1") is None


async def test_what_cannot_be_taken_over_fails_where_it_was_asked(
    server: EmbeddedServer, client: Pinecall
):
    agent = await registered(client)
    with pytest.raises(PinecallError, match="no session"):
        await agent.pause("chat-9")
    with pytest.raises(PinecallError, match="no such session or contact"):
        await agent.send_message("Hello?", contact="nobody")


async def test_one_session_is_configured_alone(server: EmbeddedServer, client: Pinecall):
    agent = client.agent("front-desk", llm=SCRIPT, prompt="One.")
    await client.registered()
    async with chatting(client, agent) as call:
        await agent.configure_session(call.id, prompt="Two.")
        assert "prompt" in call.overrides
    with pytest.raises(NotFoundError):
        agent.configure_session("chat-9", prompt="x")


async def test_a_frame_without_a_method_can_be_sent(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client)
    configured = Log()
    agent.on("agent.configured", configured)
    agent.send("agent.configure", prompt="Sent by hand.")
    await configured.until()


async def test_callers_are_routed_for_the_whole_client(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client)
    agent.route_callers([THEIRS])
    await agent.add_phone_number(OURS)
    async with Rest(server.url, Secret(server.key)) as rest:
        answer = await rest._request("GET", "/api/sdk/agents")
    assert answer.json()["dev_callers"] == [THEIRS]


# --- bridges ------------------------------------------------------------------------------------


async def test_one_agent_calls_another(server: EmbeddedServer, client: Pinecall):
    desk = client.agent("desk", llm=SCRIPT, greeting="Desk.")
    judge = client.agent("judge", llm=SCRIPT)
    await client.registered()
    inbound = Log()
    desk.on("call.started", inbound)
    call = await judge.bridge("desk", greeting="Judge.", metadata={"spec": 1}, media={"live": True})
    assert (call.direction, call.agent_id, call.metadata) == ("outbound", "judge", {"spec": 1})
    (other,) = await inbound.until()
    assert other.direction == "inbound"
    await call.hangup()


async def test_a_bridge_to_nobody_says_so(server: EmbeddedServer, client: Pinecall):
    judge = client.agent("judge", llm=SCRIPT)
    await client.registered()
    with pytest.raises(DialError, match="not online"):
        await judge.bridge("nobody")


async def test_a_call_that_nobody_tells_of_times_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pinecall_cli.sdk.dials.DIAL_TIMEOUT", 0.05)
    async with foreign(phone_numbers=[OURS]) as (peer, client):
        await peer.say("agent.created", agent_id="front-desk")
        await client.registered()
        agent = client.get_agent("front-desk")
        assert agent is not None
        with pytest.raises(DialError) as failed:
            await agent.dial(THEIRS)
    assert failed.value.reason == "timeout"


def test_an_agent_of_no_client_says_what_to_do():
    with pytest.raises(UsageError) as refused:
        Agent("a").dial(THEIRS)
    assert "Pinecall().run(agent)" in str(refused.value.fix)
    assert Agent("a").call("c1") is None


# --- greetings ----------------------------------------------------------------------------------


def plain(call: Call) -> str:
    return f"Hello {call.metadata['userId']}"


async def later(call: Call) -> str:
    await asyncio.sleep(0)
    return f"Hello {call.metadata['userId']}"


@pytest.mark.parametrize("greeting", [plain, later])
async def test_a_greeting_may_be_made_for_each_call(
    server: EmbeddedServer, client: Pinecall, greeting: Any
):
    agent = await registered(client, greeting=greeting)
    async with calling(server, client, agent) as call:
        finished = Log()
        call.on("bot.finished", finished)
        await finished.until()
        assert [m["content"] for m in await call.get_history()] == ["Hello u1"]


async def test_a_greeting_may_stay_out_of_the_history(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client, greeting={"text": "Please hold.", "add_to_history": False})
    async with calling(server, client, agent) as call:
        finished = Log()
        call.on("bot.finished", finished)
        await finished.until()
        assert call.transcript == [{"role": "assistant", "content": "Please hold."}]
        assert await call.get_history() == []


async def test_a_greeting_that_fails_is_told_and_the_call_goes_on(
    server: EmbeddedServer, client: Pinecall
):
    def broken(call: Call) -> str:
        raise LookupError("no such customer")

    problems = Log()
    client.on("error", problems)
    agent = await registered(client, greeting=broken)
    async with calling(server, client, agent) as call:
        (problem,) = await problems.until()
        assert isinstance(problem, LookupError)
        assert not (await call.say("Good day.")).interrupted


async def test_a_greeting_of_the_servers_can_become_one_of_ours(
    server: EmbeddedServer, client: Pinecall
):
    agent = await registered(client, greeting="Said by the server.")
    configured = Log()
    agent.on("agent.configured", configured)
    agent.update(greeting=plain)
    await configured.until()
    async with calling(server, client, agent) as call:
        finished = Log()
        call.on("bot.finished", finished)
        await finished.until()
        assert [m["content"] for m in await call.get_history()] == ["Hello u1"]
