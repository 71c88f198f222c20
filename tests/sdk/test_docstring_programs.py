"""The programs in the docstrings of what is exported, run as they stand against a real server."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

import pinecall_cli
from pinecall_cli import Agent, Pinecall, ReplyStream
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.sdk.listening import PATIENCE_S, Log, chat
from tests.sdk.speaking import conversing
from tests.sdk.test_own_model import SAID
from tests.sdk.test_voice import calling
from tests.sdk.web import Sse, served
from tests.server.meta import NUMBER, notification, post, signature, wrote

RUN = {"Agent", "Pinecall.stream", "Pinecall.token_endpoint", "ReplyStream"}
"""The programs that this module runs."""


def documented() -> Iterator[tuple[str, Any]]:
    """Yield every exported class and function, and the methods of ours, by name."""
    for name in pinecall_cli.__all__:
        found = getattr(pinecall_cli, name)
        yield name, found
        if isinstance(found, type):
            for method, function in inspect.getmembers(found):
                if not method.startswith("_") and callable(function):
                    yield f"{name}.{method}", function


def program(name: str) -> str:
    """Return the program in a docstring."""
    _, _, text = (inspect.getdoc(dict(documented())[name]) or "").partition("\nExample:\n")
    _, _, code = textwrap.dedent(text).partition("::\n\n")
    return textwrap.dedent(code)


def test_every_program_in_a_docstring_is_run_here() -> None:
    having = {
        name
        for name, found in documented()
        if re.search(r"^ *Example:\n.*::\n\n", inspect.getdoc(found) or "", re.M | re.S)
    }
    assert having == RUN


async def started(name: str) -> dict[str, Any]:
    """Run a program as far as an import does, where no event loop runs, and return its names."""
    names: dict[str, Any] = {"__name__": "program"}
    await asyncio.to_thread(exec, compile(program(name), f"<{name}>", "exec"), names)
    return names


@pytest.fixture
def environment(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> EmbeddedServer:
    """The server, where key and address are looked for."""
    monkeypatch.setenv("PINECALL_API_KEY", server.key)
    monkeypatch.setenv("PINECALL_URL", server.url)
    monkeypatch.chdir(tmp_path)
    return server


# --- Agent --------------------------------------------------------------------------------------


async def spoken(server: EmbeddedServer, client: Pinecall, agent: Agent) -> tuple[str, list[Any]]:
    """Return what a call hears first, and what the model knows of it."""
    async with calling(server, client, agent) as call:
        finished = Log()
        call.on("bot.finished", finished)
        await finished.until()
        return call.transcript[0]["content"], await call.get_history()


async def test_an_agent_greets_by_a_function_or_outside_of_the_history(
    environment: EmbeddedServer, client: Pinecall
) -> None:
    names = await started("Agent")
    client.add(names["desk"])
    client.add(names["queue"])
    await client.registered()
    said, history = await spoken(environment, client, names["desk"])
    assert said == "Good day, whoever you are."
    assert history == [{"role": "assistant", "content": said}]
    assert await spoken(environment, client, names["queue"]) == ("Please hold the line.", [])


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://acme.example", 200),
        ("https://shop.acme.example", 200),
        ("http://localhost:3000", 200),
        ("https://acme.example.evil", 403),
        ("http://acme.example", 403),
        ("https://localhost:3000", 403),
    ],
)
async def test_pages_of_an_agents_origins_get_tokens_and_no_others(
    environment: EmbeddedServer, client: Pinecall, origin: str, status: int
) -> None:
    client.add((await started("Agent"))["desk"])
    await client.registered()
    async with httpx.AsyncClient(base_url=environment.url, trust_env=False) as page:
        asked = {"agent_id": "front-desk"}
        answer = await page.get("/webrtc/token", params=asked, headers={"Origin": origin})
    assert answer.status_code == status


async def test_whatsapp_messages_count_when_they_are_signed_with_the_agents_secret(
    environment: EmbeddedServer, client: Pinecall
) -> None:
    desk = (await started("Agent"))["desk"]
    began = Log()
    desk.on("whatsapp.started", began)
    client.add(desk)
    await client.registered()
    assert desk.config.whatsapp is not None
    assert desk.config.whatsapp.phone_number_id == NUMBER
    body = notification(wrote("Hello"))
    for sign in (None, signature(body, "another secret")):
        assert (await post(environment.url, body, sign)).status_code == 401
    assert not began.entries
    assert (await post(environment.url, body, signature(body, "shh"))).status_code == 200
    (call,) = await began.until()
    assert (call.transport, call.agent_id) == ("whatsapp", "front-desk")


# --- pages --------------------------------------------------------------------------------------


async def test_events_of_all_and_of_some_agents_are_mounted_in_starlette(
    environment: EmbeddedServer,
) -> None:
    names = await started("Pinecall.stream")
    pc: Pinecall = names["pc"]
    async with (
        served(names["app"], lifespan="on") as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as http,
        http.stream("GET", "/all/") as whole,
        http.stream("GET", "/day") as part,
    ):
        everything, day = Sse(whole), Sse(part)
        assert await everything.next() == ("connected", {"agents": ["sales", "support", "night"]})
        assert await day.next() == ("connected", {"agents": ["sales", "support"]})
        await pc.registered()
        for agent in ("night", "sales"):
            await chat(pc, agent, f"Hello {agent}")
        while (await everything.until("user.message"))["agent"] != "sales":
            pass
        assert (await day.until("user.message"))["text"] == "Hello sales"
        assert [one["agent"] for one in everything.of("user.message")] == ["night", "sales"]


async def test_a_page_that_is_logged_in_gets_tokens_of_an_agent_in_another_process(
    server: EmbeddedServer,
    client: Pinecall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINECALL_URL", server.url)
    monkeypatch.delenv("PINECALL_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pinecall.key").write_text(server.key + "\n")
    began = Log()
    client.agent("front-desk", llm="script", prompt="x").on("chat.started", began)
    await client.registered()
    names = await started("Pinecall.token_endpoint")
    async with (
        served(names["app"]) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as page,
    ):
        assert (await page.get("/token?channel=chat")).status_code == 401
        page.cookies.set("session", "c2Vzc2lvbg")
        token = (await page.get("/token?channel=chat")).json()
    where = token["server"].replace("http", "ws") + "/chat/ws?token=" + token["token"]
    async with websockets.connect(where, proxy=None) as socket:
        await socket.send(json.dumps({"event": "message", "text": "Hello"}))
        (call,) = await began.until()
    assert call.metadata == {"userId": "ana"}


# --- ReplyStream --------------------------------------------------------------------------------


async def test_a_caller_who_goes_on_ends_the_reply_to_half_of_what_they_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = await started("ReplyStream")
    desk: Agent = names["desk"]
    greeted, continued, spoke, confirmed = Log(), Log(), Log(), Log()
    desk.on("bot.finished", greeted)
    desk.on("turn.end", spoke)
    desk.on("turn.continued", continued)
    desk.on("message.confirmed", confirmed)
    server = EmbeddedServer(engines=Engines(SAID), run_dir=tmp_path)
    async with server, Pinecall(server.key, server.url) as client:
        client.add(desk)
        await client.registered()
        async with conversing(server, desk) as (call, caller):
            await greeted.until()
            caller.speak(0)
            await spoke.until()
            caller.speak(2)
            await continued.until()
            whole = "You asked: Where is my order the seventh"
            await confirmed.until(lambda event, _: event.text.endswith(whole))
            assert not any(m["content"] == "Where is my order" for m in call.transcript)
    assert capsys.readouterr().out.splitlines() == ["given up: turn_continued"]
    assert ReplyStream.__doc__ is not None
