"""How agents are registered, refused, and taken away (README §8, §10)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.faults import Faults
from tests.conformance.answered import OURS, SCRIPT
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import PATIENCE_S, Peer, bearer, connected, embedded


async def agents(server: EmbeddedServer, key: str = "pk_one") -> list[str]:
    """Return the slugs of an organisation's agents that are online."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(key)) as http:
        return [one["slug"] for one in (await http.get("/api/sdk/agents")).json()["agents"]]


async def token(server: EmbeddedServer, agent: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        return await http.get("/webrtc/token", params={"agent_id": agent})


async def kick(server: EmbeddedServer, agent: str, key: str = "pk_one") -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(key)) as http:
        return await http.delete(f"/api/sdk/agents/{agent}")


# --- messages -----------------------------------------------------------------------------------


@holds("README", "8", "8.1")
async def test_create_and_channels_are_answered_one_by_one_in_the_order_they_came():
    channels: list[dict[str, Any]] = [
        {"type": "phone", "ref": OURS},
        {"type": "webrtc"},
        {"type": "chat"},
        {"type": "phone", "ref": "12"},
        {"type": "whatsapp", "ref": "1234", "accessToken": "EAA"},
    ]
    async with embedded() as server, connected(server) as peer:
        await peer.send("agent.create", agent_id="a")
        for channel in channels:
            await peer.send("channel.add", agent_id="a", **channel)
        told = [await peer.receive() for _ in range(6)]
    assert [f["event"] for f in told] == [
        "agent.created",
        "channel.added",
        "channel.added",
        "channel.added",
        "error",
        "channel.added",
    ]
    assert {frame["agent_id"] for frame in told} == {"a"}
    assert [f.get("type") for f in told[1:4]] == ["phone", "webrtc", "chat"]


@holds("README", "8.1")
@holds("open-questions", "A")
async def test_creating_ones_own_agent_again_replaces_its_configuration_and_is_answered_the_same():
    async with embedded() as server, connected(server) as peer:
        first = await peer.agent("a", llm=SCRIPT, prompt="One.", raw_prompt=True)
        again = await peer.agent("a", llm=SCRIPT, prompt="Two.", raw_prompt=True)
        assert (first["event"], first["agent_id"]) == ("agent.created", "a")
        assert (again["event"], again["agent_id"]) == ("agent.created", "a")
        await peer.send("llm.chat", agent_id="a", session_id="chat-1", text="your prompt")
        assert (await peer.until("llm.chat.done"))["text"] == "Two."
        assert await agents(server) == ["a"]


@holds("README", "8.1")
async def test_creating_ones_own_agent_again_keeps_its_channels_and_its_calls():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("a", llm=SCRIPT)
        await peer.send("channel.add", agent_id="a", type="phone", ref=OURS)
        await peer.until("channel.added")
        async with calling(server, "a") as caller:
            started = await peer.until("call.started")
            await peer.agent("a", llm=SCRIPT)
            assert "call.ended" not in caller.names()
            await peer.send("call.hangup", call_id=started["call_id"])
            await caller.until("call.ended", reason="hangup")
        async with calling(server, "a", to=OURS):
            await peer.until("call.started", to=OURS)


@holds("README", "8.1")
async def test_one_connection_may_have_many_agents_and_an_organisation_many_connections():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        for peer, name in ((one, "a"), (one, "b"), (two, "c")):
            assert (await peer.agent(name))["event"] == "agent.created"
        assert sorted(await agents(server)) == ["a", "b", "c"]


@holds("README", "8.1", "9")
async def test_organisations_know_nothing_of_each_others_agents():
    async with embedded() as server, connected(server) as one, connected(server, "pk_two") as two:
        assert (await one.agent("a"))["event"] == "agent.created"
        assert (await two.agent("a"))["event"] == "agent.created"
        await two.agent("b")
        assert await agents(server) == ["a"]
        assert (await kick(server, "b")).status_code == 404
        await one.send("llm.chat", agent_id="b", session_id="chat-1", text="hi")
        assert (await one.receive())["event"] == "llm.chat.error"


# --- readiness ----------------------------------------------------------------------------------


@holds("README", "8.2")
async def test_an_agent_is_there_from_created_to_the_end_of_its_socket():
    async with embedded() as server:
        assert (await token(server, "a")).status_code == 404
        async with connected(server) as peer:
            await peer.agent("a")
            assert (await token(server, "a")).status_code == 200
        async with asyncio.timeout(PATIENCE_S):  # until the server has seen the socket close
            while (gone := await token(server, "a")).status_code == 200:
                pass
    assert gone.status_code == 404
    assert gone.json()["detail"] == "Agent 'a' is not online"


@holds("README", "8.2", "8.4")
async def test_an_agent_that_is_displaced_is_there_no_more():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        await kick(server, "a")
        await peer.closed()
        assert (await token(server, "a")).status_code == 404


# --- refusals -----------------------------------------------------------------------------------


async def refused(peer: Peer, **frame: Any) -> list[dict[str, Any]]:
    """Send `agent.create`, and return all that is answered."""
    await peer.send("agent.create", **frame)
    return await peer.settled()


@holds("README", "8.3")
@pytest.mark.parametrize(
    "payload",
    [
        {"agent_id": "!!!"},
        {"agent_id": ""},
        {"stt": "deepgram/nova-2"},
        {"stt": "nobody/knows"},
        {"voice": 5},
        {"voice": "nobody/knows"},
        {"tools": "none"},
        {"session_limits": {"max_duration_seconds": -1}},
        {"allowed_origins": ["*"]},
        {"allowed_origins": "https://acme.com"},
    ],
    ids=str,
)
async def test_what_cannot_be_registered_ends_in_a_registration_error(payload: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        told = await refused(peer, **({"agent_id": "a"} | payload))
        assert {frame["event"] for frame in told} == {"error"}
        assert told[-1]["code"] == "REGISTRATION_ERROR"
        for error in told:
            assert error["agent_id"] == payload.get("agent_id", "a")
            assert error["error"]
        assert await agents(server) == []
        assert (await peer.agent("b"))["event"] == "agent.created"


@holds("README", "8.3")
async def test_a_registration_without_an_id_is_refused_and_harms_nothing():
    async with embedded() as server, connected(server) as peer:
        (told,) = await refused(peer)
        assert told["code"] == "REGISTRATION_ERROR"
        assert (await peer.agent("a"))["event"] == "agent.created"


@holds("README", "8.3")
@holds("open-questions", "A")
@pytest.mark.parametrize("code", ["PROVIDER_KEY_REQUIRED", "MODEL_NOT_ALLOWED"])
async def test_a_refusal_that_settles_nothing_is_followed_by_one_that_does(code: str):
    async with embedded(faults=Faults(refuse=code)) as server, connected(server) as peer:
        told = await refused(peer, agent_id="a", llm="openai/gpt-5.4-nano")
    assert [frame["code"] for frame in told] == [code, "REGISTRATION_ERROR"]
    assert {frame["agent_id"] for frame in told} == {"a"}


@holds("README", "8.3")
@pytest.mark.parametrize(
    "code", ["REGISTRATION_ERROR", "SERVER_AT_CAPACITY", "AGENT_CONFLICT_FATAL"]
)
async def test_a_refusal_that_settles_the_registration_comes_alone(code: str):
    async with embedded(faults=Faults(refuse=code)) as server, connected(server) as peer:
        told = await refused(peer, agent_id="a")
    assert [frame["code"] for frame in told] == [code]


@holds("README", "8.3")
@pytest.mark.parametrize("as_typed", [OURS, "1 (318) 633-0963", "13186330963", " +1-318-6330963 "])
async def test_a_number_in_use_is_named_exactly_as_it_was_sent(as_typed: str):
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("sales")
        await one.send("channel.add", agent_id="sales", type="phone", ref=OURS)
        await one.until("channel.added")
        await two.agent("front-desk")
        await two.send("channel.add", agent_id="front-desk", type="phone", ref=as_typed)
        refusal = await two.receive()
    assert (refusal["event"], refusal["code"]) == ("error", "PHONE_IN_USE")
    assert refusal["phone"] == as_typed
    assert refusal["agent_id"] == "front-desk"
    assert refusal["error"].startswith("PHONE_IN_USE")
    assert "'sales'" in refusal["error"]


# --- capacity -----------------------------------------------------------------------------------


@holds("README", "8.3", "10")
@holds("open-questions", "A")
async def test_a_full_server_says_how_full_it_is():
    async with embedded(limits=Limits(agents=2)) as server, connected(server) as peer:
        for name in ("a", "b"):
            assert (await peer.agent(name))["event"] == "agent.created"
        (refusal,) = await refused(peer, agent_id="c")
        assert refusal["code"] == "SERVER_AT_CAPACITY"
        assert (refusal["used"], refusal["limit"], refusal["agent_id"]) == (2, 2, "c")
        assert refusal["error"].startswith("SERVER_AT_CAPACITY: Maximum clients (2) reached (2/2 ")
        assert (await peer.agent("a"))["event"] == "agent.created", "it has its place"


@holds("README", "10")
async def test_a_place_that_is_given_up_can_be_taken():
    async with embedded(limits=Limits(agents=1)) as server, connected(server) as other:
        async with connected(server) as peer:
            await peer.agent("a")
            (refusal,) = await refused(other, agent_id="b")
            assert refusal["code"] == "SERVER_AT_CAPACITY"
        async with asyncio.timeout(PATIENCE_S):  # until the server has seen the socket close
            while (await other.agent("b"))["event"] != "agent.created":
                pass


@holds("README", "10")
async def test_an_agent_that_found_no_place_is_not_said_to_be_offline():
    async with embedded(limits=Limits(agents=1)) as server, connected(server) as peer:
        await peer.agent("a")
        await refused(peer, agent_id="b")
        full, unknown = await token(server, "b"), await token(server, "nobody")
    assert full.status_code == 503
    assert full.json()["detail"].startswith("SERVER_AT_CAPACITY")
    assert unknown.status_code == 404


@holds("README", "10")
async def test_lines_take_no_place_of_an_agent():
    async with embedded(limits=Limits(agents=1)) as server, connected(server) as peer:
        for number in (OURS, "+14155550123"):
            await peer.send("line.create", number=number)
            assert (await peer.receive())["event"] == "line.created"
        assert (await peer.agent("a"))["event"] == "agent.created"


@holds("README", "10")
@holds("open-questions", "A")
async def test_without_a_limit_any_number_of_agents_is_taken():
    async with embedded() as server, connected(server) as peer:
        for number in range(150):
            await peer.send("agent.create", agent_id=f"agent-{number}")
        told = await peer.settled()
    assert [frame["event"] for frame in told] == ["agent.created"] * 150


# --- removal, displacement, kick ----------------------------------------------------------------


@holds("README", "8.4")
@holds("open-questions", "A")
async def test_a_kicked_agent_is_told_so_and_its_name_is_free():
    async with embedded() as server, connected(server) as peer, connected(server) as other:
        org = peer.seen[0]["org_id"]
        await peer.agent("a")
        await peer.agent("b")
        answer = await kick(server, "a")
        assert answer.json() == {"success": True, "displaced": "a", "org_id": org}
        told = await peer.until("agent.displaced")
        assert (told["agent_id"], told["reason"]) == ("a", "Kicked via API")
        assert (await other.agent("a"))["event"] == "agent.created"
        await peer.send("agent.configure", agent_id="b", prompt="still here")
        await peer.until("agent.configured")
        await kick(server, "b")
        assert await peer.closed() == (4001, "Displaced by API")


@holds("README", "8.4")
@holds("open-questions", "A")
async def test_the_calls_of_a_kicked_agent_end():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        async with calling(server) as caller:
            await peer.until("call.started")
            await kick(server, "desk")
            assert (await caller.until("call.ended"))["reason"] == "hangup"
        await peer.until("agent.displaced")
        await peer.until("call.ended", reason="hangup")


@holds("README", "8.4")
async def test_nobody_can_be_kicked_who_is_not_there():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        assert (await kick(server, "nobody")).status_code == 404
        assert (await kick(server, "a", "pk_two")).status_code == 404
        assert (await kick(server, "a", "pk_wrong")).status_code == 401
        assert await peer.settled() == []
