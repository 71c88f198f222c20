"""Who is connected, over HTTP: rest.md §3.1 and §3.2."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.conformance.paragraphs import holds
from tests.server.peer import bearer, connected, embedded

PHONE = "+13186330963"


@holds("rest", "1", "1.1", "3", "3.1")
async def test_agents_are_listed_to_their_own_organisation():
    async with (
        embedded() as server,
        connected(server) as peer,
        connected(server, "pk_two") as other,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("front-desk", llm="script")
        await other.agent("elsewhere")
        await peer.send("channel.add", agent_id="front-desk", type="phone", ref=PHONE)
        await peer.send("channel.add", agent_id="front-desk", type="webrtc")
        await peer.agent("dev-front-desk")
        await peer.send("channel.add", agent_id="dev-front-desk", type="phone", ref=PHONE)
        await peer.send("llm.chat", agent_id="front-desk", session_id="chat-1", text="hi")
        await peer.until("llm.chat.done")
        body = (await http.get("/api/sdk/agents", headers=bearer())).json()
        assert body["success"] is True
        assert body["total"] == 2
        assert body["phone_map"] == {PHONE: "front-desk"}
        assert body["dev_overrides"] == {PHONE: "dev-front-desk"}
        assert body["dev_callers"] is None
        desk = body["agents"][0]
        assert desk["slug"] == "front-desk"
        assert desk["phones"] == [PHONE]
        assert desk["channels"]["phone"] == {"count": 1, "refs": [PHONE]}
        assert desk["channels"]["webrtc"] == {"count": 1, "refs": []}
        assert desk["live_calls"] == 1
        assert desk["active"] is True
        assert desk["since"] == pytest.approx(time.time(), abs=60)


@holds("rest", "1.1", "3.1", "3.2")
@pytest.mark.parametrize("headers", [{}, bearer("pk_no"), {"Authorization": "pk_one"}])
async def test_nothing_is_told_without_a_key(headers: dict[str, str]):
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        for method, path in (
            ("GET", "/api/sdk/agents"),
            ("GET", "/api/sdk/agents/a/config"),
            ("DELETE", "/api/sdk/agents/a"),
        ):
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["success"] is False


@holds("rest", "3.2")
async def test_a_kick_hangs_up_tells_the_holder_and_closes_its_last_agents_socket():
    async with (
        embedded() as server,
        connected(server) as peer,
        connected(server) as sender,
        httpx.AsyncClient(base_url=server.url, headers=bearer()) as http,
    ):
        await peer.agent("a", llm="script")
        await peer.agent("b")
        await sender.send("llm.chat", agent_id="a", session_id="chat-1", text="hi")
        await sender.until("llm.chat.done")
        kicked = await http.delete("/api/sdk/agents/a")
        assert kicked.json()["displaced"] == "a"
        assert kicked.json()["success"] is True
        told = await peer.until("agent.displaced")
        assert (told["agent_id"], told["reason"]) == ("a", "Kicked via API")
        ended = await peer.until("llm.chat.ended")
        assert (ended["call_id"], ended["reason"]) == ("chat-1", "hangup")
        assert (await http.get("/api/sdk/agents")).json()["total"] == 1
        assert await peer.settled() == []  # it has another agent, so it stays
        assert (await http.delete("/api/sdk/agents/b")).status_code == 200
        assert await peer.closed() == (4001, "Displaced by API")
        assert (await sender.agent("a"))["event"] == "agent.created"


@holds("rest", "3.1", "3.2")
async def test_agents_of_others_and_unknown_ones_cannot_be_kicked_or_read():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("a")
        for slug, key in (("a", "pk_two"), ("nobody", "pk_one")):
            answer = await http.delete(f"/api/sdk/agents/{slug}", headers=bearer(key))
            assert answer.status_code == 404
            config = await http.get(f"/api/sdk/agents/{slug}/config", headers=bearer(key))
            assert config.status_code == 404


@holds("rest", "3.1")
async def test_a_configuration_is_shown_as_it_came_without_its_secrets():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url, headers=bearer()) as http,
    ):
        llm = {"provider": "openai", "model": "gpt-5", "api_key": "sk-1", "max_tokens": 5}
        await peer.agent("a", prompt="hi", llm=llm, allowed_origins=["https://a.test"])
        await peer.send("channel.add", agent_id="a", type="phone", ref=PHONE, language="es")
        await peer.until("channel.added")
        body = (await http.get("/api/sdk/agents/a/config")).json()
        assert body == {
            "agent": "a",
            "config": {"prompt": "hi", "llm": llm | {"api_key": "***"}},
            "allowed_origins": ["https://a.test"],
            "channels": [
                {"type": "phone", "ref": PHONE, "ringing": False, "config": {"language": "es"}}
            ],
        }
