"""The example with Starlette, `agents/web/shop.py`: an application, and an agent like any other."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.agent.load import load
from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.listening import PATIENCE_S
from tests.sdk.web import served

FILE = Path(__file__).parents[2] / "agents" / "web" / "shop.py"


def imported() -> ModuleType:
    """Import the file anew, as a server does."""
    spec = importlib.util.spec_from_file_location("shop", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def shop(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The application, and a browser on its pages."""
    monkeypatch.setenv("PINECALL_API_KEY", server.key)
    monkeypatch.setenv("PINECALL_URL", server.url)
    module = await asyncio.to_thread(imported)
    async with (
        served(module.app, lifespan="on") as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as browser,
    ):
        await module.pc.registered()
        yield browser


async def test_a_customer_logs_in_and_writes_to_the_agent_that_knows_them(
    shop: httpx.AsyncClient, server: EmbeddedServer
) -> None:
    assert (await shop.get("/token")).status_code == 401
    answer = await shop.post("/login", json={"name": "ana", "password": "lantern"})
    assert answer.status_code == 204
    assert "HttpOnly" in answer.headers["set-cookie"]
    answer = await shop.get("/token?channel=chat")
    assert server.key not in answer.text
    token = answer.json()
    where = token["server"].replace("http", "ws") + "/chat/ws?token=" + token["token"]
    origin: Any = str(shop.base_url).rstrip("/")  # as a browser says where a page is from
    async with websockets.connect(where, proxy=None, origin=origin) as socket:

        async def said() -> Any:
            async with asyncio.timeout(PATIENCE_S):
                while (frame := json.loads(await socket.recv()))["event"] != "chat.done":
                    pass
            return frame["text"]

        assert await said() == "Welcome to the lamp shop."
        for asked, answered in [
            ("How much is the red lamp?", "The red lamp is 40 euros."),
            ("Who am I?", "You are ana."),
        ]:
            await socket.send(json.dumps({"event": "message", "text": asked}))
            assert await said() == answered


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"name": "ana", "password": "candle"}', 403),
        ('{"name": "nobody", "password": ""}', 403),
        ('{"name": "nobody", "password": "None"}', 403),
        ('{"name": "ana"}', 400),
        ("[]", 400),
        ("<form>", 400),
    ],
)
async def test_nobody_else_gets_a_token(shop: httpx.AsyncClient, body: str, status: int) -> None:
    assert (await shop.post("/login", content=body)).status_code == status
    shop.cookies.set("session", "guessed")
    assert (await shop.get("/token")).status_code == 401


async def test_a_customer_opens_chats_and_no_calls(shop: httpx.AsyncClient) -> None:
    await shop.post("/login", json={"name": "bo", "password": "candle"})
    assert (await shop.get("/token?channel=webrtc")).status_code == 403


async def test_the_page_asks_only_for_what_there_is(shop: httpx.AsyncClient) -> None:
    page = (await shop.get("/")).text
    paths = set(re.findall(r'fetch\("(/[^"?]*)', page))
    assert paths == {"/login", "/token"}
    for path in paths:
        assert (await shop.post(path)).status_code != 404
    assert "innerHTML" not in page


def test_under_the_command_line_it_is_an_agent_like_any_other() -> None:
    (loaded,) = load(FILE, limit=PATIENCE_S)
    assert loaded.config.name == "web-shop"
    assert loaded.warnings == ()
    assert "shop" not in sys.modules
