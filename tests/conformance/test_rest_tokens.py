"""Tokens: rest.md §2."""

from __future__ import annotations

import json

import httpx
import pytest

from pinecall_cli.protocol.ids import slugify
from tests.conformance.paragraphs import holds
from tests.server.peer import bearer, connected, embedded


@holds("rest", "2", "2.1", "2.2")
async def test_a_key_mints_for_its_own_agents_alone():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("Front Desk")
        for path, prefix in (("/webrtc/token", "wrtc_"), ("//chat/token", "cht_")):
            params = {"agent_id": "front-desk"}
            answer = await http.get(server.url + path, params=params, headers=bearer())
            assert answer.status_code == 200
            body = answer.json()
            assert body["token"].startswith(prefix)
            assert (body["server"], body["expires_in"]) == (server.url, 60)
            assert "access-control-allow-origin" not in answer.headers
        for headers, status in ((bearer("pk_two"), 404), (bearer("pk_no"), 401), ({}, 401)):
            params = {"agent_id": "front-desk"}
            refused = await http.get("/webrtc/token", params=params, headers=headers)
            assert refused.status_code == status
            assert refused.json()["detail"]
        offline = await http.get("/chat/token", params={"agent_id": "x"}, headers=bearer())
        assert offline.json() == {"detail": "Agent 'x' is not online"}


@holds("rest", "2.1", "2.3")
async def test_what_a_key_seals_comes_out_and_what_will_not_seal_is_refused():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("a")

        async def mint(**params: str) -> httpx.Response:
            return await http.get(
                "/webrtc/token", params={"agent_id": "a", **params}, headers=bearer()
            )

        minted = await mint(metadata='{"userId":"u_9"}')
        grant = server.server.tokens.consume(minted.json()["token"], "webrtc")
        assert grant is not None
        assert (grant.metadata, grant.agent) == ({"userId": "u_9"}, slugify("a"))
        for bad in ("no json", "[1]", '"text"', json.dumps({"x": "y" * 3000}), "[" * 2000):
            assert (await mint(metadata=bad)).status_code == 422
        assert (await mint(scope="supervise")).status_code == 403
        missing = await http.get("/webrtc/token", headers=bearer())
        assert missing.status_code == 422


ALLOWED = ["https://*.acme.com", "http://localhost:*"]


@holds("rest", "2.2", "2.3")
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://shop.acme.com", 200),
        ("http://localhost:3000", 200),
        ("https://acme.com", 403),
        ("https://evilacme.com", 403),
        ("https://shop.acme.com.evil.com", 403),
        ("http://shop.acme.com", 403),
        ("http://localhost.evil.com:80", 403),
        ("null", 403),
        ("https://evil.com#.acme.com", 403),
    ],
)
async def test_a_page_gets_a_token_exactly_if_its_origin_is_allowed(origin: str, status: int):
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("a", allowed_origins=ALLOWED)
        await peer.agent("private")
        ask = {"agent_id": "a", "metadata": '{"admin":true}'}
        answer = await http.get("/chat/token", params=ask, headers={"Origin": origin})
        assert answer.status_code == status
        cors = answer.headers.get("access-control-allow-origin")
        assert cors == (origin if status == 200 else None)
        if status == 200:
            grant = server.server.tokens.consume(answer.json()["token"], "chat")
            assert grant is not None
            assert grant.metadata == {}
        preflight = await http.options("/chat/token", params=ask, headers={"Origin": origin})
        assert preflight.headers.get("access-control-allow-origin") == cors
        assert "access-control-allow-headers" not in preflight.headers
        private = {"agent_id": "private"}
        refused = await http.get("/chat/token", params=private, headers={"Origin": origin})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


@holds("rest", "2.3")
async def test_a_key_sent_by_a_foreign_page_mints_but_the_page_cannot_read_it():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("a")
        headers = bearer() | {"Origin": "https://evil.com"}
        answer = await http.get("/webrtc/token", params={"agent_id": "a"}, headers=headers)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
