"""Every endpoint of the list, who may ask, and what is the hosted service's alone: rest.md §1."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conformance.paragraphs import holds
from tests.fakes.engines import Engines
from tests.server.peer import bearer, connected, embedded

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "Yes."}]}
OURS, PUBLIC = "+13186330963", "+51987654321"
WHATSAPP = {"type": "whatsapp", "ref": "123456789012345", "accessToken": "EAA"}

KEYED = [
    ("GET", "/webrtc/token?agent_id=desk"),
    ("GET", "/chat/token?agent_id=desk"),
    ("GET", "/stream/token?agent_id=desk"),
    ("GET", "/api/sdk/agents"),
    ("DELETE", "/api/sdk/agents/desk"),
    ("GET", "/api/sdk/agents/desk/config"),
    ("GET", "/api/sdk/phone-numbers"),
    ("GET", "/api/sdk/twilio-balance"),
    ("GET", "/api/memory/search?agent=desk&q=x"),
    ("GET", "/api/memory/desk/%2B34600"),
    ("DELETE", "/api/memory/desk/%2B34600"),
    ("POST", "/v1/audio/speech"),
    ("GET", "/v1/audio/voices"),
    ("POST", "/v1/audio/transcriptions"),
    ("GET", "/v1/calls/x/events"),
    ("GET", "/v1/agents/desk/calls"),
    ("GET", "/live/x/player"),
    ("POST", "/api/scribe"),
    ("GET", "/api/orgs/me"),
    ("GET", "/api/usage/calls"),
    ("GET", "/api/conversations"),
    ("GET", "/api/conversations/x"),
    ("GET", "/api/models/access"),
]
"""What a key or a token is needed for."""
PUBLIC_PATHS = [
    ("/webrtc/ice-servers", 200),
    ("/api/sdk/agent-info/desk", 200),
    ("/api/sdk/voices", 200),
    ("/api/rates/models", 200),
]
HOSTED_TEXT = [
    ("GET", "/api/orgs/me/stats"),
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("GET", "/api/twilio"),
    ("POST", "/api/twilio"),
    ("DELETE", "/api/twilio/x"),
    ("GET", "/api/phones"),
    ("POST", "/api/phones/import"),
    ("GET", "/api/phones/search"),
    ("POST", "/api/phones/provision"),
    ("DELETE", "/api/phones/x"),
    ("GET", "/api/usage/summary"),
    ("GET", "/api/session"),
    ("PUT", "/api/credentials"),
    ("GET", "/api/knowledge"),
    ("POST", "/api/knowledge"),
    ("GET", "/api/knowledge/kb"),
    ("DELETE", "/api/knowledge/kb"),
    ("POST", "/api/knowledge/kb/reindex"),
    ("POST", "/api/knowledge/kb/docs"),
    ("GET", "/api/knowledge/kb/docs/d"),
    ("DELETE", "/api/knowledge/kb/docs/d"),
    ("POST", "/api/knowledge/kb/query"),
]
"""Of the hosted service alone; its clients echo the body as it is."""
HOSTED_JSON = [
    ("GET", "/api/sdk/twilio-balance"),
    ("GET", "/api/memory/search?agent=desk&q=x"),
    ("GET", "/api/memory/desk/%2B34600"),
    ("DELETE", "/api/memory/desk/%2B34600"),
    ("GET", "/api/models/access?service=llm&model=x"),
]
"""Likewise; their clients look at `success` and `error`."""


@holds("rest", "1", "1.1", "1.2", "10")
async def test_what_needs_a_key_is_a_401_without_one_and_with_a_wrong_one():
    async with embedded(engines=Engines()) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        for headers in ({}, bearer("pk_no"), {"Authorization": "Basic pk_one"}):
            async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
                for method, path in KEYED:
                    answer = await http.request(method, path)
                    assert answer.status_code == 401, (path, headers)
                    assert "html" not in answer.headers["content-type"]
        assert (await peer.settled()) == []


@holds("rest", "1.1", "1.2", "8")
@pytest.mark.parametrize(("path", "status"), PUBLIC_PATHS)
async def test_what_is_public_is_told_without_a_key_and_with_any(path: str, status: int):
    async with embedded(engines=Engines()) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        for headers in ({}, bearer(), bearer("pk_no")):
            async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
                answer = await http.get(path)
                assert answer.status_code == status, headers
                assert answer.headers["content-type"] == "application/json"


@holds("rest", "1.2", "7", "9")
async def test_what_is_the_hosted_services_alone_is_a_501_with_a_sentence():
    async with embedded() as server:
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            for method, path in HOSTED_TEXT:
                answer = await http.request(method, path)
                assert answer.status_code == 501, path
                assert answer.headers["content-type"].startswith("text/plain"), path
                assert "embedded server" in answer.text
                assert "\n" not in answer.text


@holds("rest", "3.7", "4", "8")
async def test_what_answers_in_json_says_that_it_failed_and_why():
    async with embedded() as server:
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            for method, path in HOSTED_JSON:
                answer = await http.request(method, path)
                assert answer.status_code == 501, path
                body = answer.json()
                assert body["success"] is False
                assert "embedded server" in body["error"]


@holds("rest", "3", "3.3")
async def test_an_agents_contact_menu_has_whatever_it_can_be_reached_by():
    path = "/api/sdk/agent-info/front-desk"
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        assert (await http.get(path)).status_code == 404
        await peer.agent("Front Desk", llm=SCRIPT, prompt="secret")
        menu: list[dict[str, Any]] = [{"type": "webrtc"}, {"type": "chat"}]
        assert (await http.get(path)).json() == {"agent": "front-desk", "channels": menu}
        await peer.send("channel.add", agent_id="Front Desk", type="phone", ref=OURS)
        await peer.send("channel.add", agent_id="Front Desk", **WHATSAPP)
        await peer.settled()
        menu.append({"type": "phone", "numbers": [OURS]})
        assert (await http.get(path)).json()["channels"] == menu
        await peer.send("channel.add", agent_id="Front Desk", **WHATSAPP, phone=PUBLIC)
        await peer.settled()
        menu.append({"type": "whatsapp", "phone": PUBLIC})
        assert (await http.get(path)).json()["channels"] == menu


@holds("rest", "3.1")
async def test_lines_are_owners_of_numbers_and_no_agents_unless_asked_for():
    async with embedded(engines=Engines()) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await peer.until("line.created")
        await peer.send("dev.config", callers=["+34600123456"])
        await peer.settled()
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            found = (await http.get("/api/sdk/agents")).json()
            more = (await http.get("/api/sdk/agents?include_lines=1")).json()
    assert [agent["slug"] for agent in found["agents"]] == ["desk"]
    assert found["phone_map"] == more["phone_map"] == {OURS: f"line:{OURS}"}
    assert found["dev_callers"] == ["+34600123456"]
    assert {agent["slug"] for agent in more["agents"]} == {"desk", f"line:{OURS}"}
    assert (found["total"], more["total"]) == (1, 2)
    row = found["agents"][0]
    assert row.keys() >= {"slug", "org_id", "phones", "channels", "active", "since", "live_calls"}
    assert row["channels"] == {
        "phone": {"count": 0, "refs": []},
        "webrtc": {"count": 0, "refs": []},
    }


@holds("rest", "3.2")
async def test_a_kick_of_one_agent_of_several_leaves_the_socket_open():
    async with embedded() as server, connected(server) as peer:
        for name in ("desk", "shop"):
            await peer.agent(name, llm=SCRIPT)
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            answer = await http.delete("/api/sdk/agents/desk")
            body = answer.json()
            assert (answer.status_code, body["success"], body["displaced"]) == (200, True, "desk")
            assert body["org_id"]
            assert (await http.delete("/api/sdk/agents/desk")).status_code == 404
        displaced = await peer.until("agent.displaced")
        assert displaced["agent_id"] == "desk"
        assert await peer.settled() == []


@holds("rest", "8")
async def test_the_models_that_need_no_key_are_those_this_server_runs_itself():
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        found = (await http.get("/api/rates/models")).json()
    assert found.keys() == {"models", "managedProviders"}
    for model in found["models"]:
        assert model.keys() == {"service", "provider", "model", "managed"}
    assert {model["service"] for model in found["models"]} == {"stt", "tts", "llm"}
    assert found["managedProviders"] == {
        "stt": ["moonshine"],
        "tts": ["hibari"],
        "llm": ["script"],
    }
