"""events.md §2, §3: what a client needs to find whom an event is for, and registration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.desk import OURS, desk, hears_always, names, of, one, whole, with_number
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import bearer, connected, embedded, unauthenticated

UNSTAMPED = {"connected", "authenticated", "ping", "pong", "error"}
"""Events of the connection itself."""


@holds("events", "2.1")
async def test_every_event_but_the_connections_own_names_its_agent():
    async with desk(hears_always("hello"), greeting="Hi.") as (server, owner):
        await with_number(owner, ringing=True)
        await owner.send("agent.configure", agent_id="desk", prompt="Be kind.")
        await owner.send("channel.configure", agent_id="desk", ref=OURS, language="en")
        async with calling(server, to=OURS, from_="+14155550123") as caller:
            id = (await owner.until("call.ringing"))["call_id"]
            await owner.send("call.accept", agent_id="desk", call_id=id)
            await owner.until("call.started")
            await owner.send("session.configure", session_id=id, language="es")
            await owner.send("history.get", call_id=id, request_id="rq_1_abcdef")
            await owner.send("call.hold", call_id=id)
            await owner.send("call.unhold", call_id=id)
            await owner.until("bot.finished")
            await caller.act("inject_text", text="hello")
            await owner.until("turn.latency")
            await whole(caller, owner)
        await owner.send("llm.chat", agent_id="desk", session_id="chat-1", text="hello")
        await owner.until("llm.chat.done")
        await owner.send("channel.remove", agent_id="desk", ref=OURS)
        await owner.until("channel.removed")
    assert len(set(names(owner.seen))) > 15
    for frame in owner.seen:
        if frame["event"] not in UNSTAMPED:
            assert frame["agent_id"] == "desk", frame
        if frame["event"].split(".")[0] in ("call", "bot", "turn", "speech", "user", "message"):
            assert frame["call_id"] == id, frame


@holds("events", "2.1", "2.2")
async def test_an_agent_is_named_by_its_slug_and_a_line_by_its_number():
    async with embedded() as server, connected(server) as owner:
        created = await owner.agent("Front  Desk_2!")
        assert (created["event"], created["agent_id"]) == ("agent.created", "front-desk-2")
        await owner.send("line.create", number=OURS, config={"extension_window_ms": 0})
        line = await owner.until("line.created")
        assert (line["number"], line["agent_id"]) == (OURS, f"line:{OURS}")


@holds("events", "2.3")
async def test_events_of_our_own_carry_what_a_client_that_does_not_know_them_needs():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await caller.act("inject_text", text="hello")
        latency = await owner.until("turn.latency")
        assert (latency["agent_id"], latency["call_id"]) == ("desk", caller.call_id)


@holds("events", "3")
async def test_a_key_lets_in_and_the_answer_comes_after_it():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key="pk_one")
        hello = await peer.receive()
    assert hello["event"] == "connected"
    assert hello["org_id"]
    assert hello["connection_id"]
    assert hello["protocol_version"] == "2"


@holds("events", "3")
async def test_a_ping_is_answered_and_a_silent_client_is_asked():
    from pinecall_cli.server.app import Limits

    async with embedded(limits=Limits(quiet_s=0.05)) as server, connected(server) as peer:
        assert (await peer.receive())["event"] == "ping"
        await peer.send("pong")
        await peer.send("ping")
        pong = await peer.until("pong")
    assert isinstance(pong["timestamp"], float)


@holds("events", "3")
async def test_agents_are_created_configured_and_acknowledged_by_name():
    async with embedded() as server, connected(server) as peer:
        assert (await peer.agent("desk"))["event"] == "agent.created"
        await peer.send("agent.configure", agent_id="desk", prompt="Be kind.")
        configured = await peer.receive()
    assert (configured["event"], configured["agent_id"]) == ("agent.configured", "desk")


@holds("events", "3")
@pytest.mark.parametrize(
    "channel",
    [
        {"type": "phone", "ref": "+1 (318) 633-0963"},
        {"type": "whatsapp", "ref": "123456789012345", "accessToken": "EAA"},
        {"type": "webrtc"},
        {"type": "chat"},
    ],
    ids=lambda channel: channel["type"],
)
async def test_a_channel_is_acknowledged_with_the_ref_as_it_was_sent(channel: dict[str, Any]):
    async with desk() as (_, owner):
        await owner.send("channel.add", agent_id="desk", **channel)
        added = await owner.receive()
    assert (added["event"], added["agent_id"]) == ("channel.added", "desk")
    assert (added["type"], added.get("ref")) == (channel["type"], channel.get("ref"))


@holds("events", "3")
async def test_channels_are_configured_and_removed_by_their_ref():
    async with desk() as (_, owner):
        await with_number(owner)
        await owner.send("channel.configure", agent_id="desk", ref=OURS, language="es")
        configured = await owner.receive()
        await owner.send("channel.remove", agent_id="desk", ref=OURS)
        removed = await owner.receive()
    about = {"agent_id": "desk", "ref": OURS}
    assert configured["event"] == "channel.configured"
    assert about.items() <= configured.items()
    assert removed["event"] == "channel.removed"
    assert about.items() <= removed.items()


@holds("events", "3")
async def test_a_number_that_is_taken_is_an_error_with_the_ref_as_it_was_sent():
    async with desk() as (server, owner), connected(server) as other:
        await with_number(owner)
        await other.agent("other")
        await other.send("channel.add", agent_id="other", type="phone", ref="+1 318 633 0963")
        error = await other.receive()
    assert (error["event"], error["code"], error["agent_id"]) == ("error", "PHONE_IN_USE", "other")
    assert error["phone"] == "+1 318 633 0963"
    assert error["error"] == f"PHONE_IN_USE: {OURS} is claimed by 'desk'"


@holds("events", "3")
async def test_a_full_server_says_how_full_it_is():
    from pinecall_cli.server.app import Limits

    async with embedded(limits=Limits(agents=1)) as server, connected(server) as peer:
        await peer.agent("one")
        error = await peer.agent("two")
    assert (error["code"], error["agent_id"]) == ("SERVER_AT_CAPACITY", "two")
    assert error["error"].startswith("SERVER_AT_CAPACITY: ")
    assert "(1/1 slots used)" in error["error"]
    assert (error["used"], error["limit"]) == (1, 1)


@holds("events", "3")
async def test_an_agent_that_is_taken_away_is_told_why():
    import httpx

    async with desk() as (server, owner):
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            assert (await http.delete("/api/sdk/agents/desk")).status_code == 200
        displaced = await owner.until("agent.displaced")
    assert (displaced["agent_id"], displaced["reason"]) == ("desk", "Kicked via API")


@holds("events", "3")
async def test_what_goes_well_is_never_acknowledged_by_an_error():
    async with desk(hears_always("hello")) as (server, owner):
        await with_number(owner)
        await owner.send("dev.config", callers=["+34600123456"])
        async with calling(server, to=OURS, from_="+34600123456") as caller:
            await caller.until("call.started")
            await owner.send("bot.clear", call_id=caller.call_id)
            await owner.send("set_context", call_id=caller.call_id, key="page", value="/")
            await owner.send("llm.ready", call_id=caller.call_id, agent_id="desk")
            frames = await whole(caller, owner)
    assert not of(owner.seen, "error")
    assert one(frames, "call.ended")
