from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol.ids import slugify
from pinecall_cli.server.agents.organisation import Organisation, Organisations
from pinecall_cli.server.tokens import OUTSTANDING, Grant, Tokens, TooManyTokens
from tests.server.peer import bearer, connected, embedded

ORG = Organisation("org_1", "pk_one")
GRANT = Grant("webrtc", ORG, "front-desk", {"user": "u_9"})


class Clock:
    """A clock that stands still unless it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_token_stands_for_its_grant_once():
    tokens = Tokens()
    token = tokens.mint(GRANT)
    assert token.startswith("wrtc_")
    assert len(token) >= 43
    assert tokens.consume(token, "webrtc") == GRANT
    assert tokens.consume(token, "webrtc") is None


def test_a_token_is_good_for_sixty_seconds():
    clock = Clock()
    tokens = Tokens(now=clock)
    early, late = tokens.mint(GRANT), tokens.mint(GRANT)
    clock.now = 59.9
    assert tokens.consume(early, "webrtc") == GRANT
    clock.now = 60.0
    assert tokens.consume(late, "webrtc") is None


def test_a_token_of_another_channel_is_refused_and_used_up():
    tokens = Tokens()
    token = tokens.mint(Grant("chat", ORG, "front-desk"))
    assert token.startswith("cht_")
    assert tokens.consume(token, "webrtc") is None
    assert tokens.consume(token, "chat") is None


@given(st.text())
def test_no_made_up_token_is_good(text: str):
    tokens = Tokens()
    token = tokens.mint(GRANT)
    for guess in (text, token + text[:1] + "x", token[:-1], "wrtc_" + text, ""):
        assert tokens.consume(guess, "webrtc") is None
    assert tokens.consume(token, "webrtc") == GRANT


def test_tokens_are_all_different():
    tokens = Tokens()
    assert len({tokens.mint(GRANT) for _ in range(1_000)}) == 1_000


def test_only_so_many_wait_to_be_used_until_the_oldest_expire():
    clock = Clock()
    tokens = Tokens(now=clock)
    for _ in range(OUTSTANDING):
        tokens.mint(GRANT)
    with pytest.raises(TooManyTokens):
        tokens.mint(GRANT)
    clock.now = 60.0
    assert tokens.mint(GRANT)


def test_an_organisation_is_found_by_its_key_alone_and_keeps_its_id():
    organisations = Organisations(["pk_one", "pk_two", "pk_one"])
    one, two = organisations
    assert organisations.of_key("pk_one") == one
    assert organisations.of_header("bearer pk_two") == two
    assert one.id != two.id
    assert one.id == next(iter(Organisations(["pk_one"]))).id
    for header in (None, "", "pk_one", "Basic pk_one", "Bearer", "Bearer pk_three"):
        assert organisations.of_header(header) is None
    assert "pk_one" not in repr(one)


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
