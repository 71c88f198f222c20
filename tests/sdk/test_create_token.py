"""Tokens for pages: minted with the key, given out behind the application's own login."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import Route

from pinecall_cli import Token
from pinecall_cli.agent.define import Agent, collecting
from pinecall_cli.errors import (
    ConflictError,
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    PinecallError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.sdk import offers
from pinecall_cli.sdk.answers import RequestTimeoutError
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.token_endpoint import KeyExposedError, TokenEndpoint
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.listening import Log
from tests.sdk.web import Page, served


def desk(client: Pinecall, **options: Any) -> Agent:
    return client.agent("front-desk", llm="script", prompt="x", **options)


async def chat_with(token: Token) -> Any:
    where = f"{token.server.replace('http', 'ws')}/chat/ws?token={token.token}"
    return await websockets.connect(where, proxy=None)


# --- create_token -------------------------------------------------------------------------------


async def test_a_token_waits_for_the_registration_and_seals_metadata(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = desk(client)  # not registered yet: nothing was awaited
    token = await client.create_token("chat", "front-desk", metadata={"userId": "u1"})
    assert token.server == server.url
    assert token.expires_in == 60
    assert token.token not in repr(token)
    began = Log()
    agent.on("chat.started", began)
    async with await chat_with(token):
        (call,) = await began.until()
        assert call.metadata == {"userId": "u1"}


async def test_an_agent_mints_its_own(server: EmbeddedServer, client: Pinecall) -> None:
    token = await desk(client).create_token("webrtc")
    assert token.as_json() == {
        "token": token.token,
        "server": server.url,
        "expiresIn": token.expires_in,
    }
    assert (await desk(client).create_token("stream", scope="observe")).token
    with pytest.raises(NotFoundError, match="no call"):
        await desk(client).create_token("stream", call_id="nowhere")


async def test_a_client_without_agents_mints_for_those_of_other_processes(
    server: EmbeddedServer, client: Pinecall
) -> None:
    desk(client)
    await client.registered()
    other = await asyncio.to_thread(Pinecall, server.key, server.url)  # never connected
    assert (await other.create_token("webrtc", "front-desk")).token
    assert not other.connected
    with pytest.raises(NotFoundError, match="nobody"):
        await other.create_token("webrtc", "nobody")


async def test_minting_for_an_own_agent_connects(server: EmbeddedServer) -> None:
    made = await asyncio.to_thread(Pinecall, server.key, server.url)
    desk(made)
    assert (await made.create_token("chat", "front-desk")).token
    await made.disconnect()


async def test_what_keeps_an_agent_from_registering_keeps_it_from_tokens(
    server: EmbeddedServer, client: Pinecall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk(client)
    await client.registered()
    async with Pinecall(server.key, server.url) as second:
        desk(second)
        with pytest.raises(ConflictError, match="held by another"):
            await second.create_token("chat", "front-desk")
    monkeypatch.setattr(offers, "REQUEST_TIMEOUT", 0.05)
    nowhere = Pinecall("pk_x", "http://127.0.0.1:9")
    desk(nowhere)
    with pytest.raises(RequestTimeoutError, match="was not registered within"):
        await nowhere.create_token("chat", "front-desk")
    await nowhere.disconnect()


async def test_wrong_keys_and_metadata_are_errors_of_their_own(server: EmbeddedServer) -> None:
    keyless = Pinecall("", server.url)
    with pytest.raises(NotAuthorisedError, match="no API key"):
        await keyless.create_token("chat", "front-desk")
    wrong = await asyncio.to_thread(Pinecall, "pk_wrong", server.url)
    with pytest.raises(NotAuthorisedError):
        await wrong.create_token("chat", "front-desk")
    for metadata in ({"note": "x" * 3000}, {"note": {1, 2}}):
        with pytest.raises(UsageError, match="cannot be sealed"):
            await wrong.create_token("chat", "front-desk", metadata=metadata)
    with pytest.raises(KeyExposedError, match="where a browser can see it"):
        await wrong.create_token("chat", "front-desk", metadata={"key": "pk_wrong"})


async def test_a_file_under_the_command_line_mints_through_its_host(
    server: EmbeddedServer, client: Pinecall
) -> None:
    with collecting():
        handle = Pinecall()
        agent = desk(handle)
    handle._key = Secret(server.key)
    with pytest.raises(ServerUnreachableError, match="still being loaded"):
        await handle.create_token("chat", "front-desk")
    handle._key = Secret("")
    release = client.adopt(handle)
    client.add(agent, replace(agent.config, name="dev-ana-front-desk"))
    assert (await handle.create_token("chat", "front-desk")).token
    assert client.local_id("front-desk") == "dev-ana-front-desk"
    release()


# --- the endpoint -------------------------------------------------------------------------------


def user_of(scope: Any) -> Mapping[str, str] | None:
    """The application's own login: here a header that a session would stand for."""
    name = dict(scope["headers"]).get(b"x-user", b"").decode()
    return {"userId": name} if name else None


@pytest.mark.parametrize("apart", [False, True])
async def test_a_page_gets_a_token_once_it_is_logged_in(
    server: EmbeddedServer, client: Pinecall, apart: bool
) -> None:
    agent = desk(client)
    await client.registered()
    began = Log()
    agent.on("chat.started", began)
    web = await asyncio.to_thread(Pinecall, server.key, server.url) if apart else client
    endpoint = web.token_endpoint("front-desk", authorise=user_of)
    app = Starlette(routes=[Route("/token", endpoint)])
    async with served(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as page:
        refused = await page.get("/token")
        assert (refused.status_code, refused.json()) == (401, {"detail": "log in first"})
        answer = await page.get("/token?channel=chat", headers={"X-User": "ana"})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        assert answer.json().keys() == {"token", "server", "expiresIn"}
        assert server.key not in answer.text + str(answer.headers)
        token = Token(token=answer.json()["token"], server=answer.json()["server"])
        async with await chat_with(token):
            (call,) = await began.until()
            assert call.metadata == {"userId": "ana"}
        voice = await page.post("/token", headers={"X-User": "ana"})
        assert voice.json()["token"].startswith("wrtc_")


class Minter:
    """Stands where a client stands; what it raises or returns is given to it."""

    def __init__(self, outcome: Exception | Token) -> None:
        self.outcome = outcome
        self.asked: list[Any] = []

    async def create_token(
        self, channel: str, agent_id: str, metadata: Mapping[str, Any] | None = None
    ) -> Token:
        self.asked.append((channel, agent_id, metadata))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


GOOD = Token(token="wrtc_x", server="https://voice.example")


async def asked(
    outcome: Exception | Token = GOOD,
    path: str = "/token",
    authorise: Any = lambda scope: True,
    **scope: Any,
) -> tuple[int, dict[str, Any], Minter]:
    minter = Minter(outcome)
    endpoint = TokenEndpoint(minter, "desk", authorise=authorise, secret=lambda: "pk_secret")
    page = Page(endpoint, path, **scope)
    await page.served
    return page.status, json.loads(page.bodies[0]), minter


async def test_admission_may_be_async_and_may_seal_nothing() -> None:
    async def later(scope: Any) -> bool:
        return True

    assert (await asked(authorise=later))[2].asked == [("webrtc", "desk", None)]
    for no in (False, None):
        assert (await asked(authorise=lambda scope, no=no: no))[0] == 401
    status, _, minter = await asked(authorise=lambda scope: {})
    assert (status, minter.asked[0][2]) == (200, {})


async def test_pages_get_what_is_for_pages_and_nothing_else() -> None:
    for channel in ("stream", "admin", ""):
        status, body, minter = await asked(path=f"/token?channel={channel}")
        assert (status, minter.asked) == (403, [])
        assert body == {"detail": "`channel` is none of webrtc, chat"}
    assert (await asked(method="DELETE"))[0] == 405


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("same-site", 200), ("none", 200), ("cross-site", 403)],
)
async def test_a_page_of_another_site_has_no_tokens(site: str, status: int) -> None:
    assert (await asked(headers=[(b"sec-fetch-site", site.encode())]))[0] == status


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (NotFoundError("no agent"), 404),
        (ConflictError("taken"), 404),
        (NotAuthorisedError("bad key pk_secret"), 503),
        (InfrastructureError("nobody"), 503),
        (ServerUnreachableError("nobody"), 503),
        (RequestTimeoutError("late"), 503),
        (PinecallError("odd"), 500),
        (KeyExposedError("key"), 500),
    ],
)
async def test_reasons_are_for_whoever_runs_the_application(
    problem: PinecallError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    found, body, _ = await asked(problem)
    assert found == status
    assert problem.message not in str(body)
    assert problem.message.replace("pk_secret", "***") in caplog.text


@pytest.mark.parametrize(
    "token",
    [
        Token(token="pk_secret", server="https://voice.example"),
        Token(token="wrtc_x", server="https://pk_secret@voice.example"),
    ],
)
async def test_an_answer_with_the_key_in_it_is_not_sent(
    token: Token, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    status, body, _ = await asked(token)
    assert (status, body) == (500, {"detail": "no token can be given out"})
    assert "about to go where a browser can see it" in caplog.text
    assert "pk_secret" not in caplog.text


def test_an_endpoint_says_who_may_have_a_token() -> None:
    client = Pinecall("")
    with pytest.raises(UsageError, match="`authorise`"):
        client.token_endpoint("desk", authorise=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one channel"):
        client.token_endpoint("desk", authorise=user_of, channels=())
    endpoint = client.token_endpoint(Agent("desk"), authorise=user_of)
    assert repr(endpoint) == "<TokenEndpoint of desk: webrtc, chat>"


async def test_an_endpoint_is_an_application_by_itself(tmp_path: Path) -> None:
    made = EmbeddedServer(engines=Engines(), keys=["pk_one"], run_dir=tmp_path)
    async with made, Pinecall(made.key, made.url) as client:
        desk(client)
        endpoint = client.token_endpoint("front-desk", authorise=lambda scope: True)
        async with served(endpoint, lifespan="on") as url:
            async with httpx.AsyncClient(trust_env=False) as page:
                assert (await page.get(url)).status_code == 200
