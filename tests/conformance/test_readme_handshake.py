"""Connecting, being let in, keeping the connection alive and closing it (README §4-§6)."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest
import websockets

from pinecall_cli.server.app import Limits
from tests.conformance.answered import SCRIPT
from tests.conformance.paragraphs import holds
from tests.server.peer import PATIENCE_S, Peer, bearer, connected, embedded, unauthenticated

# --- being let in -------------------------------------------------------------------------------


@holds("README", "4")
async def test_connected_comes_after_connect_and_not_before():
    async with embedded() as server, unauthenticated(server) as peer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.socket.recv()
        await peer.send("connect", api_key="pk_one")
        assert (await peer.receive())["event"] == "connected"


@holds("README", "4")
async def test_connected_says_organisation_connection_protocol_time_and_whose_server_it_is():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key="pk_one")
        hello = await peer.receive()
    assert hello["org_id"].startswith("org_")
    assert hello["connection_id"].startswith("conn_")
    assert hello["protocol_version"] == "2"
    assert hello["embedded"] is True
    assert hello["ts"] == pytest.approx(time.time(), abs=60)
    assert "pk_one" not in json.dumps(hello)


@holds("README", "4")
async def test_each_key_is_an_organisation_and_each_socket_a_connection_of_its_own():
    async with (
        embedded() as server,
        connected(server) as one,
        connected(server) as again,
        connected(server, "pk_two") as other,
    ):
        hellos = [peer.seen[0] for peer in (one, again, other)]
    assert hellos[0]["org_id"] == hellos[1]["org_id"] != hellos[2]["org_id"]
    assert len({hello["connection_id"] for hello in hellos}) == 3


@holds("README", "4")
async def test_what_a_client_says_of_itself_is_told_to_whoever_wants_its_agents():
    holder = {"name": "pinecall-cli", "version": "0.1.0", "pid": 4711}
    async with embedded() as server, connected(server, client=holder) as one:
        await one.agent("a")
        async with connected(server) as two:
            await two.send("agent.create", agent_id="a")
            await one.until("ping")
            await one.send("pong")
            assert (await two.until("error"))["holder"] == holder


@holds("README", "4")
async def test_agents_and_lines_are_taken_in_any_order_once_connected():
    async with embedded() as server, connected(server) as peer:
        await peer.send("line.create", number="+12186633772")
        await peer.send("agent.create", agent_id="a")
        await peer.send("agent.create", agent_id="b")
        await peer.send("ping")
        answers = [(await peer.receive())["event"] for _ in range(4)]
        assert answers == ["line.created", "agent.created", "agent.created", "pong"]


@holds("README", "4")
@holds("open-questions", "A")
async def test_a_second_connect_is_refused_and_changes_nothing():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        await peer.send("connect", api_key="pk_two")
        assert (await peer.receive())["event"] == "error"
        await peer.send("agent.configure", agent_id="a", prompt="mine")
        assert (await peer.receive())["event"] == "agent.configured"


@holds("README", "4.1")
@pytest.mark.parametrize("key", ["", "pk_wrong", "pk_on", "pk_one ", "PK_ONE", "\u2603"])
async def test_a_wrong_key_is_refused_and_the_socket_is_closed(key: str):
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key=key)
        refusal = await peer.receive()
        assert (refusal["event"], refusal["code"]) == ("error", "INVALID_KEY")
        assert refusal["error"] == "Invalid API key"
        code, reason = await peer.closed()
        assert (code, reason) == (4401, "invalid_key")
        assert "isplaced" not in reason, "a client would not come back"


@holds("README", "4.1")
@pytest.mark.parametrize("api_key", [None, 7, ["pk_one"], {"key": "pk_one"}])
async def test_a_key_that_is_no_text_lets_nobody_in(api_key: object):
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key=api_key)
        assert (await peer.receive())["code"] == "UNAUTHORIZED"
        await peer.send("agent.create", agent_id="a")
        assert (await peer.receive())["code"] == "UNAUTHORIZED"


@holds("README", "4.1")
@holds("open-questions", "A")
async def test_anything_before_connect_is_unauthorised_and_connect_still_works():
    async with embedded() as server, unauthenticated(server) as peer:
        for frame in ('{"event":"agent.create","agent_id":"a"}', '{"event":"ping"}', "no json"):
            await peer.socket.send(frame)
            refusal = await peer.receive()
            assert (refusal["event"], refusal["code"]) == ("error", "UNAUTHORIZED")
        await peer.send("connect", api_key="pk_one")
        assert (await peer.receive())["event"] == "connected"
        assert (await peer.agent("a"))["event"] == "agent.created"


@holds("README", "4")
@holds("open-questions", "A")
async def test_silence_before_connect_ends_after_ten_seconds():
    assert Limits().auth_s == 10
    async with embedded(limits=Limits(auth_s=0.05)) as server, unauthenticated(server) as peer:
        assert (await peer.receive())["code"] == "AUTH_TIMEOUT"
        code, reason = await peer.closed()
        assert code >= 4000
        assert "isplaced" not in reason


@holds("README", "4.2")
async def test_the_registration_of_an_older_generation_is_no_way_in_and_no_fault():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("register", api_key="pk_one", app_id="front-desk")
        assert (await peer.receive())["code"] == "UNAUTHORIZED"
        await peer.send("connect", api_key="pk_one")
        assert (await peer.receive())["event"] == "connected"


# --- heartbeat ----------------------------------------------------------------------------------


@holds("README", "5")
async def test_a_ping_is_answered_with_pong():
    async with embedded() as server, connected(server) as peer:
        await peer.send("ping")
        pong = await peer.receive()
    assert pong["event"] == "pong"
    assert pong["timestamp"] == pytest.approx(time.time(), abs=60)


@holds("README", "5")
@holds("open-questions", "A")
async def test_a_client_that_is_silent_is_asked_and_any_frame_of_its_keeps_it():
    assert (Limits().quiet_s, Limits().patience_s) == (45, 5)
    limits = Limits(quiet_s=0.05, patience_s=5)
    async with embedded(limits=limits) as server, connected(server) as peer:
        await peer.agent("a")
        for answer in ("pong", "ping", "nonsense"):
            await peer.until("ping")
            await peer.send(answer)
        await peer.send("agent.configure", agent_id="a", prompt="still here")
        await peer.until("agent.configured")


@holds("README", "5", "9")
async def test_a_client_that_does_not_answer_is_given_up_and_its_agents_with_it():
    limits = Limits(quiet_s=0.05, patience_s=0.05)
    async with embedded(limits=limits) as server:
        async with connected(server) as peer:
            await peer.agent("a")
            await peer.until("ping")
            code, reason = await peer.closed()
        assert code >= 4000
        assert "isplaced" not in reason, "it is welcome to come back"
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            async with asyncio.timeout(PATIENCE_S):
                while (await http.get("/api/sdk/agents")).json()["total"] > 0:
                    pass


@holds("README", "5")
async def test_pings_of_the_sockets_own_are_answered_too():
    async with embedded() as server, connected(server) as peer:
        async with asyncio.timeout(10):
            await (await peer.socket.ping())


# --- closing ------------------------------------------------------------------------------------


@holds("README", "6")
async def test_a_client_that_leaves_takes_its_agents_with_it():
    async with embedded() as server:
        async with connected(server) as peer, connected(server) as other:
            await peer.agent("a")
            await peer.socket.close(1000, "client_disconnect")
            assert (await other.agent("a"))["event"] == "agent.created"
            code = peer.socket.close_code
        assert code == 1000


@holds("README", "6")
async def test_a_server_that_stops_closes_with_a_reason_that_lets_clients_come_back():
    server = embedded()
    async with server:
        socket = await websockets.connect(f"ws{server.url[4:]}/client")
        peer = Peer(socket)
        await peer.send("connect", api_key="pk_one")
        await peer.until("connected")
        await peer.agent("a", llm=SCRIPT)
    _, reason = await peer.closed()
    assert "isplaced" not in reason


@holds("README", "6")
async def test_only_who_is_displaced_is_closed_with_4001_and_told_so():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            assert (await http.delete("/api/sdk/agents/a")).status_code == 200
        code, reason = await peer.closed()
        assert code == 4001
        assert "Displaced" in reason
