"""A phone line on a real server: one caller on the microphone socket, two owners, many watchers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.sdk.live import LiveAudio
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.commands.office import OURS, PATIENCE_S, THEIRS, office, pinecall
from tests.fakes.engines import Engines
from tests.server.calling import calling
from tests.server.dialled import said
from tests.server.peer import Peer, bearer, connected

LINE = f"line:{OURS}"
SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}


@asynccontextmanager
async def line_and_desk(
    server: EmbeddedServer, window_ms: int = 0, **agent: Any
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Connect a line's owner and the owner of an agent, who know nothing of each other."""
    async with connected(server, server.key) as line, connected(server, server.key) as desk:
        await desk.agent("desk", **({"greeting": "Desk here.", "llm": SCRIPT} | agent))
        config = {"extension_window_ms": window_ms}
        await line.send("line.create", number=OURS, config=config)
        await line.until("line.created", number=OURS)
        yield line, desk


async def hand_over(line: Peer, desk: Peer, call_id: str) -> None:
    await line.send("bot.reply", call_id=call_id, message_id="m1", text="Welcome.", in_reply_to="")
    await line.until("bot.finished", message_id="m1")
    await line.send("call.route", call_id=call_id, agent="desk")
    await line.until("call.ended", reason="routed")
    await desk.until("bot.finished")


@asynccontextmanager
async def attached(
    server: EmbeddedServer, **log: str
) -> AsyncIterator[websockets.ClientConnection]:
    url = str(httpx.URL(f"ws{server.url[4:]}/v1/attach", params=log))
    async with websockets.connect(url, additional_headers=bearer(server.key)) as socket:
        async with asyncio.timeout(PATIENCE_S):
            yield socket


async def told(server: EmbeddedServer, call_id: str) -> list[dict[str, Any]]:
    """Follow a call's log to its end, and return it."""
    async with attached(server, call=call_id) as socket:
        entries = [json.loads(text) async for text in socket]
        assert (socket.close_code, socket.close_reason) == (1000, "call_ended")
    return entries


async def read(server: EmbeddedServer, owner: str) -> list[str]:
    """Return the types of what the log of an agent or a line holds."""
    types: list[str] = []
    async with attached(server, agent=owner) as socket:
        while "log.caught_up" not in types:
            types.append(json.loads(await socket.recv())["type"])
    return types[:-1]


async def test_whoever_calls_listens_or_reads_is_in_one_call_that_goes_on():
    async with EmbeddedServer(engines=Engines()) as server, line_and_desk(server) as (line, desk):
        async with calling(server, to=OURS, from_=THEIRS) as (caller, call_id):
            started = await line.until("call.started")
            assert (started["call_id"], started["owner"]) == (call_id, "line")
            reading = asyncio.create_task(told(server, call_id))
            audio = await LiveAudio.open(server.url, Secret(server.key), call_id)
            await hand_over(line, desk, call_id)
            async with asyncio.timeout(PATIENCE_S):
                await anext(aiter(audio))
            await caller.call.hangup()
            assert (await desk.until("call.ended"))["reason"] == "hangup"
            async with asyncio.timeout(PATIENCE_S):
                async for _ in audio:
                    pass
            assert audio.ended
            log = await reading
        assert caller.events.count("call.ended") == 1
        assert caller.call.ended is not None
        assert caller.call.ended.reason == "hangup"
        async with httpx.AsyncClient(base_url=server.url, headers=bearer(server.key)) as http:
            (row,) = (await http.get("/v1/calls")).json()["calls"]
            listed = (await http.get("/api/sdk/agents", params={"include_lines": 1})).json()
        of_line, of_desk = await read(server, LINE), await read(server, "desk")
    types = [entry["type"] for entry in log if entry["type"] != "log.caught_up"]
    assert [types.count(one) for one in ("call.started", "call.routed", "call.ended")] == [1, 1, 1]
    assert types[-1] == "call.summary"
    assert of_line[0] == "call.started"
    assert of_desk[0] == "call.routed"
    assert "call.ended" not in of_line
    stored = [one["type"] for one in log if not one["ephemeral"] and one["type"] in types]
    assert of_line + of_desk == stored
    assert (row["agent"], row["reason"], row["live"]) == ("desk", "hangup", False)
    assert listed["phone_map"] == {OURS: LINE}
    assert {agent["slug"] for agent in listed["agents"]} == {"desk", LINE}


async def test_a_listener_hears_no_more_when_the_agent_is_not_to_be_heard():
    async with (
        EmbeddedServer(engines=Engines()) as server,
        line_and_desk(server, media={"live": False}) as (line, desk),
        calling(server, to=OURS, from_=THEIRS) as (caller, call_id),
    ):
        await line.until("call.started")
        audio = await LiveAudio.open(server.url, Secret(server.key), call_id)
        await hand_over(line, desk, call_id)
        async with asyncio.timeout(PATIENCE_S):
            async for _ in audio:
                pass
        assert "call.ended" not in caller.events, "the call itself goes on"


@pytest.mark.parametrize("keys", ["33#", None])
async def test_the_command_line_calls_a_line_and_ends_with_an_agent(keys: str | None):
    engines = Engines()
    engines.recogniser.transcribe = said("a table")  # type: ignore[method-assign]
    press = [] if keys is None else [{"press": keys}]
    caller = {"steps": [*press, {"wait": "greeting"}, {"silence": "1m"}]}

    async def receptionist(line: Peer, desk: Peer) -> str | None:
        started = await line.until("call.started")
        await hand_over(line, desk, started["call_id"])
        await desk.send("call.hangup", call_id=started["call_id"])
        extension: str | None = started["extension"]
        return extension

    async with office(engines=engines) as server, line_and_desk(server, 2500) as (line, desk):
        answering = asyncio.create_task(receptionist(line, desk))
        done = await pinecall(
            *("call", "desk", "--to", OURS, "--from", THEIRS, "--caller", "-", "--json"),
            stdin=json.dumps(caller).encode(),
        )
        assert done.code == 0, done.err
        assert await answering == (None if keys is None else "33")
    assert done.types.count("call.ended") == 1
    assert done.types[-2:] == ["call.ended", "call.summary"]
    said_ = [record["text"] for record in done.records if record["type"] == "bot.speaking"]
    assert said_ == ["Welcome.", "Desk here."]
    assert done.records[-1]["reason"] == "hangup"
