"""flows.md §1, §10, §12: a process that comes, is cut off, comes back, and is refused."""

from __future__ import annotations

import httpx

from pinecall_cli.server.app import Limits
from tests.conformance.desk import (
    OURS,
    SCRIPT,
    desk,
    hears_always,
    names,
    of,
    of_call,
    registered,
    told,
    whole,
    with_number,
)
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import bearer, connected, embedded, unauthenticated

CHANNELS = [
    {"type": "phone", "ref": OURS},
    {"type": "whatsapp", "ref": "123456789012345", "accessToken": "EAA"},
]


@holds("flows", "1")
async def test_a_process_boots_and_everything_it_sends_is_answered_in_order():
    async with embedded() as server, unauthenticated(server) as process:
        await process.send("connect", api_key="pk_one")
        # What an application did before it was registered comes out in one go.
        await process.send("agent.create", agent_id="Front Desk", prompt="Be kind.")
        for channel in CHANNELS:
            await process.send("channel.add", agent_id="front-desk", **channel)
        await process.send("dev.config", callers=["+34600123456"])
        await process.send("llm.chat", agent_id="front-desk", session_id="s-1", text="hello")
        await process.send("ping")
        pong = await process.until("pong")
    assert names(process.seen)[:4] == [
        *("connected", "agent.created", "channel.added", "channel.added"),
    ]
    connected_, created, phone, whatsapp = process.seen[:4]
    assert connected_["org_id"]
    assert created["agent_id"] == "front-desk"
    assert (phone["type"], phone["ref"]) == ("phone", OURS)
    assert (whatsapp["type"], whatsapp["ref"]) == ("whatsapp", "123456789012345")
    assert pong
    assert not of(process.seen, "error")


@holds("flows", "10")
@holds("open-questions", "A", "B")
async def test_a_call_outlives_its_agents_socket_and_is_announced_to_the_next():
    async with embedded(engines=hears_always("hello")) as server:
        async with connected(server) as first:
            await registered(first, llm=SCRIPT, preparing=False)
            await with_number(first)
            call = calling(server, to=OURS, from_="+14155550123")
            caller = await call.__aenter__()
            id = (await first.until("call.started"))["call_id"]
        try:
            # The server's model goes on without the socket.
            await caller.act("inject_text", text="hello")
            await caller.until("message.confirmed", text="You said hello.")
            async with connected(server) as second:
                back = await second.agent("desk", llm=SCRIPT, preparing=False)
                again = await second.until("call.started")
                await second.send("bot.reply", call_id="gone", message_id="m0", text="x")
                await second.send("history.get", call_id=id, request_id="rq")
                data = await second.until("history.data")
                await caller.act("inject_text", text="still there")
                await second.until("message.confirmed", text="You said still there.")
                await caller.hang_up()
                frames = await told(second, id)
        finally:
            await call.__aexit__(None, None, None)
    assert back["event"] in ("agent.created", "agent.resumed")
    assert (again["call_id"], again["from"]) == (id, "+14155550123")
    assert [m["content"] for m in data["messages"]] == ["hello", "You said hello."]
    assert frames[0] == again
    assert (frames[-1]["event"], frames[-1]["direction"]) == ("call.ended", "inbound")


@holds("flows", "10")
@holds("open-questions", "B")
async def test_a_call_whose_agent_does_not_come_back_ends_after_the_grace():
    async with embedded(limits=Limits(grace_s=0.05), engines=hears_always("")) as server:
        async with connected(server) as first:
            await registered(first)
            call = calling(server)
            caller = await call.__aenter__()
            await first.until("call.started")
        ended = await caller.until("call.ended")
        await call.__aexit__(None, None, None)
    assert ended["reason"] == "agent_disconnected"


@holds("flows", "10", "12")
async def test_a_half_open_holder_is_no_conflict():
    async with embedded(limits=Limits(patience_s=0.05)) as server, connected(server) as dead:
        await dead.agent("fd")
        async with connected(server) as fresh:
            assert (await fresh.agent("fd"))["event"] in ("agent.created", "agent.resumed")


@holds("flows", "12")
@holds("open-questions", "A")
async def test_a_live_holder_keeps_its_name_until_an_operator_takes_it():
    async with embedded() as server, connected(server) as p1, connected(server) as p2:
        await p1.agent("fd")
        await p2.send("agent.create", agent_id="fd")
        await p1.until("ping")
        await p1.send("pong")
        refused = await p2.until("error")
        assert (refused["code"], refused["agent_id"]) == ("AGENT_CONFLICT_FATAL", "fd")
        assert refused["error"]
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            kicked = await http.delete("/api/sdk/agents/fd")
        displaced = await p1.until("agent.displaced")
        assert (displaced["agent_id"], displaced["reason"]) == ("fd", "Kicked via API")
        assert await p1.closed() == (4001, "Displaced by API")
        assert (await p2.agent("fd"))["event"] == "agent.created"
    assert kicked.status_code == 200
    answer = kicked.json()
    assert answer["success"] is True
    assert answer["displaced"] == "fd"
    assert answer["org_id"]


@holds("open-questions", "A")
async def test_a_kick_hangs_up_and_closes_the_socket_only_with_its_last_agent():
    async with desk() as (server, owner):
        await owner.agent("other")
        async with calling(server) as caller:
            await owner.until("call.started")
            async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
                assert (await http.delete("/api/sdk/agents/desk")).status_code == 200
            ended = await caller.until("call.ended")
        await owner.until("agent.displaced")
        await owner.send("agent.configure", agent_id="other", prompt="still here")
        await owner.until("agent.configured", agent_id="other")
    assert ended["reason"] == "hangup"


@holds("flows", "10")
@holds("events", "4.1")
async def test_a_call_is_announced_again_only_to_whoever_lost_it_and_as_it_stands_now():
    async with embedded(engines=hears_always("")) as server:
        async with connected(server) as first:
            await registered(first, llm=SCRIPT, preparing=False, language="en")
            call = calling(server)
            caller = await call.__aenter__()
            id = (await first.until("call.started"))["call_id"]
            # A client forgets what it knew of a call that is announced again.
            await registered(first, llm=SCRIPT, preparing=False, language="en")
            assert not of_call(await first.settled(), id)
            await caller.act("configure", language="es")
            await first.until("call.updated", language="es")
        async with connected(server) as second:
            await registered(second, llm=SCRIPT, preparing=False, language="en")
            again = await second.until("call.started")
            await whole(caller, second)
        await call.__aexit__(None, None, None)
    assert (again["call_id"], again["language"]) == (id, "es")
