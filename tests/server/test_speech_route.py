"""Text made audible over HTTP: rest.md §5.1 and §5.2, and the voices of §3.5 and §3.6."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import httpx
import pytest
import websockets

from pinecall_cli.engines.types import Speech
from pinecall_cli.engines.worker import CALLS, OTHERS, rank
from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import MS_PER_CHARACTER, Engines, Voice
from tests.server.peer import PATIENCE_S, bearer, connected, embedded

WISH = {"input": "One two. Three four!", "voice": "hibari/heart"}
SPOKEN_MS = (8 + 11) * MS_PER_CHARACTER + 200
"""Both sentences, and the pause between them."""
PATH = "/v1/audio/speech"


def client(server: EmbeddedServer, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=bearer() | headers, timeout=PATIENCE_S)


async def test_a_hosted_voice_is_spoken_by_the_offline_one_and_whoever_runs_the_server_is_told():
    told: list[str] = []
    async with embedded(engines=Engines(), notice=told.append) as server, client(server) as http:
        wish = WISH | {"voice": "elevenlabs/sarah", "model": "elevenlabs/auto"}
        assert (await http.post(PATH, json=wish)).status_code == 200
    assert told == ["voice elevenlabs/sarah → offline hibari/heart"]


async def test_a_voice_that_breaks_in_the_middle_leaves_a_body_that_is_seen_to_be_cut_short(
    caplog: pytest.LogCaptureFixture,
):
    class Hoarse(Voice):
        async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
            if self.said:
                raise EngineError("the voice broke")
            return await super().synthesise(text, speed=speed)

    engines = Engines()
    engines.synthesiser = Hoarse()
    async with embedded(engines=engines) as server, client(server) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(PATH, json=WISH)
    assert [r.message for r in caplog.records] == ["an audio answer was cut off: the voice broke"]


async def test_a_reader_that_takes_nothing_is_let_go_and_its_place_is_free():
    limits = Limits(spoken_texts=1, stalled_s=0.2)
    async with embedded(engines=Engines(), limits=limits) as server, client(server) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps(WISH | {"input": "x" * 5_000, "sample_rate": 24_000}).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer pk_one\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await reader.readuntil(b"\r\n\r\n")
        assert (await http.post(PATH, json=WISH)).status_code == 429
        async with asyncio.timeout(PATIENCE_S):
            while (await http.post(PATH, json=WISH)).status_code == 429:
                pass
        writer.transport.abort()


async def test_what_is_spoken_for_a_request_waits_for_what_is_spoken_in_calls():
    class Ranked(Voice):
        ranks: ClassVar[list[int]] = []

        async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
            self.ranks.append(rank())
            return await super().synthesise(text, speed=speed)

    engines = Engines()
    engines.synthesiser = Ranked()
    async with embedded(engines=engines) as server, connected(server) as peer:
        async with client(server) as http:
            await peer.agent("desk", llm="script", greeting="Hello!")
            token = (await http.get("/webrtc/token?agent_id=desk")).json()["token"]
            start = {"event": "start", "sample_rate": 16_000, "channels": 1}
            url = f"ws{server.url[4:]}/mic/ws?token={token}"
            async with websockets.connect(url) as caller:
                await caller.send(json.dumps(start | {"encoding": "pcm_s16le"}))
                await peer.until("bot.speaking")
            assert Ranked.ranks == [CALLS]
            assert (await http.post(PATH, json=WISH)).status_code == 200
            assert Ranked.ranks[1:] == [OTHERS, OTHERS]


async def test_a_page_may_ask_with_a_key_and_read_the_answer():
    page = {"Origin": "https://anywhere.example"}
    async with embedded(engines=Engines()) as server, client(server) as http:
        asked = await http.options(
            PATH, headers=page | {"Access-Control-Request-Headers": "authorization,content-type"}
        )
        assert asked.status_code == 204
        assert "Authorization" in asked.headers["access-control-allow-headers"]
        answer = await http.post(PATH, json=WISH, headers=page)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        assert "X-Sample-Rate" in answer.headers["access-control-expose-headers"]
