"""Listening in on a call, and recording it, over the real sockets of a server."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.errors import NotAuthorisedError, NotFoundError
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.live import LiveAudio
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.server.peer import connected

GREETING = "a greeting that goes on for quite a while so that there is something to be heard"


class Caller:
    """A silent caller on a call that is held in the background."""

    def __init__(self, call: MicCall) -> None:
        self.call = call
        self.started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.events: list[str] = []
        self.more = asyncio.Event()

    async def until(self, event: str) -> None:
        async with asyncio.timeout(10):
            while event not in self.events:
                self.more.clear()
                await self.more.wait()

    def hear(self, received: Received) -> None:
        fields = received.fields()
        self.events.append(fields["event"])
        self.more.set()
        if fields["event"] == "call.started":
            self.started.set_result(fields["call_id"])

    async def silence(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(self.call.rate // 25)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def calling(server: EmbeddedServer, **numbers: str) -> AsyncIterator[tuple[Caller, str]]:
    async with Rest(server.url, Secret("pk_one")) as rest:
        token = await rest.token("webrtc", "desk")
    async with await MicCall.dial(token.server, token.token, **numbers) as call:
        caller = Caller(call)
        held = asyncio.create_task(
            call.hold(caller.silence, play=lambda frame: None, hear=caller.hear)
        )
        async with asyncio.timeout(10):
            call_id = await caller.started
        yield caller, call_id
        await call.hangup()
        async with asyncio.timeout(10):
            await held


@asynccontextmanager
async def desk(server: EmbeddedServer, **payload: Any) -> AsyncIterator[None]:
    async with connected(server) as peer:
        await peer.agent("desk", greeting=GREETING, **payload)
        await peer.send("channel.add", agent_id="desk", type="phone", ref="+13186330963")
        await peer.until("channel.added")
        yield


def serving(**options: Any) -> EmbeddedServer:
    return EmbeddedServer(**({"engines": Engines(), "keys": ["pk_one", "pk_two"]} | options))


def url(server: EmbeddedServer, call_id: str, token: str = "pk_one") -> str:
    return f"ws{server.url[4:]}/live/{call_id}/ws?token={token}"


async def test_a_call_is_heard_from_where_one_joins_to_its_end():
    async with serving() as server, desk(server):
        async with calling(server) as (caller, call_id):
            audio = await LiveAudio.open(server.url, Secret("pk_one"), call_id)
            assert audio.rate == 16_000
            loud = 0
            async with asyncio.timeout(10):
                async for sound in audio:
                    loud += level_dbfs(sound) > -40
                    if loud == 5:
                        await caller.call.hangup()
        assert loud >= 5
        assert audio.ended


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


async def test_a_phone_call_is_heard_at_8_khz():
    async with serving() as server, desk(server):
        async with calling(server, to="+13186330963", from_="+14155550100") as (_, call_id):
            async with websockets.connect(url(server, call_id)) as socket:
                assert json.loads(await socket.recv())["sampleRate"] == 8_000
                sizes = {len(await socket.recv()) for _ in range(4)}
            assert max(sizes) == 800


async def test_only_the_owners_key_lets_one_listen():
    async with serving() as server, desk(server), calling(server) as (_, call_id):
        with pytest.raises(NotAuthorisedError):
            await LiveAudio.open(server.url, Secret("pk_wrong"), call_id)
        with pytest.raises(NotFoundError):
            await LiveAudio.open(server.url, Secret("pk_two"), call_id)
        with pytest.raises(NotFoundError):
            await LiveAudio.open(server.url, Secret("pk_one"), "no-such-call")


async def test_an_agent_may_keep_its_calls_to_itself_and_the_reason_is_said():
    async with serving() as server, desk(server, media={"live": False}):
        async with calling(server) as (_, call_id):
            with pytest.raises(NotAuthorisedError, match="media"):
                await LiveAudio.open(server.url, Secret("pk_one"), call_id)


async def test_the_player_page_needs_a_key_and_shows_none():
    async with serving() as server, httpx.AsyncClient() as http:
        page = f"{server.url}/live/any/player"
        assert (await http.get(page)).status_code == 401
        answer = await http.get(page, params={"token": "pk_one"})
        assert answer.status_code == 200
        assert "pk_one" not in answer.text
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_every_call_is_recorded_in_stereo_where_the_server_is_told_to(tmp_path: Path):
    async with serving(record=tmp_path) as server, desk(server):
        async with calling(server) as (caller, call_id):
            await caller.until("bot.word")
    recording = tmp_path / f"{call_id}.wav"
    assert recording.stat().st_mode & 0o777 == 0o600
    with wave.open(str(recording)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 16_000)
        pcm = sound.readframes(sound.getnframes())
    left = b"".join(pcm[i : i + 2] for i in range(0, len(pcm), 4))
    right = b"".join(pcm[i + 2 : i + 4] for i in range(0, len(pcm), 4))
    assert not any(left)
    assert level_dbfs(right) > -40
    lines = [json.loads(line) for line in (tmp_path / f"{call_id}.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "call.started"
    assert lines[-1]["event"] == "call.ended"


async def test_an_agent_that_asks_for_it_is_recorded_beside_the_call_log(tmp_path: Path):
    async with serving(data=tmp_path) as server, desk(server, media={"recording": True}):
        async with calling(server) as (_, call_id):
            pass
    assert (tmp_path / "recordings" / f"{call_id}.wav").exists()


async def test_a_call_outlives_a_recording_that_cannot_be_written(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    async with serving(record=blocked) as server, desk(server):
        async with calling(server) as (caller, _):
            await caller.until("bot.word")
        assert caller.events[-1] == "call.ended"
