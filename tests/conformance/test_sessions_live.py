"""Live listening: sessions.md §4."""

from __future__ import annotations

import asyncio
import json

import httpx
import websockets

from tests.conformance.paragraphs import holds
from tests.server.calling import calling
from tests.server.live_call import desk, serving, url


@holds("sessions", "4")
async def test_the_socket_speaks_as_the_protocol_says():
    async with serving() as server, desk(server), calling(server) as (caller, call_id):
        async with websockets.connect(url(server, call_id)) as socket:
            assert json.loads(await socket.recv()) == {
                "type": "metadata",
                "sampleRate": 16_000,
                "channels": 1,
                "bitDepth": 16,
                "sessionId": call_id,
            }
            assert len(await socket.recv()) == 1600
            await caller.call.hangup()
            async with asyncio.timeout(10):
                frames = [frame async for frame in socket]
            assert frames[-1] == b""
            assert socket.close_code == 1000


@holds("sessions", "4")
async def test_a_phone_call_is_heard_at_8_khz():
    async with serving() as server, desk(server):
        async with calling(server, to="+13186330963", from_="+14155550100") as (_, call_id):
            async with websockets.connect(url(server, call_id)) as socket:
                assert json.loads(await socket.recv())["sampleRate"] == 8_000
                sizes = {len(await socket.recv()) for _ in range(4)}
            assert max(sizes) == 800


@holds("sessions", "4")
@holds("rest", "10")
async def test_the_player_page_needs_a_key_and_shows_none():
    async with serving() as server, httpx.AsyncClient() as http:
        page = f"{server.url}/live/any/player"
        assert (await http.get(page)).status_code == 401
        answer = await http.get(page, params={"token": "pk_one"})
        assert answer.status_code == 200
        assert "pk_one" not in answer.text
        assert answer.headers["referrer-policy"] == "no-referrer"
