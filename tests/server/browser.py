"""A web page for tests: aiortc in the place of a browser, with a microphone and a loudspeaker.

It knows nothing of our server but the protocol's pages (sessions.md §2 and §3).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from typing import Any

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.server.peer import PATIENCE_S, bearer

RATE = 16_000
FRAME = 640
HERE = "https://shop.example"


class LoudIsHello:
    """Hears a greeting in whatever is loud: no mark in the samples survives Opus."""

    name = "loud"

    async def transcribe(self, pcm: bytes) -> str:
        return "hello there" if level_dbfs(pcm) > -40 else ""


class OpusEngines(Engines):
    """Speech engines that work on sound which was coded and decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.recogniser = LoudIsHello()  # type: ignore[assignment]


def speaking(**options: Any) -> EmbeddedServer:
    """Return a server with ears and a voice, on a free port."""
    return EmbeddedServer(**({"engines": OpusEngines(), "keys": ["pk_one", "pk_two"]} | options))


class Microphone(MediaStreamTrack):
    """Sends 20 ms every 20 ms: what is to be said, and silence."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.to_say = bytearray()
        self._sent = 0
        self._begun = 0.0

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        self._begun = self._begun or now
        await asyncio.sleep(max(0.0, self._begun + self._sent * 0.02 - now))
        pcm = bytes(self.to_say[:FRAME]).ljust(FRAME, b"\0")
        del self.to_say[:FRAME]
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = self._sent * FRAME // 2
        self._sent += 1
        return frame


class Browser:
    """One page in one call."""

    def __init__(self, server: EmbeddedServer | None, origin: str | None = HERE) -> None:
        self.url, self.origin = server.url if server else "", origin
        self.microphone = Microphone()
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pc.addTrack(self.microphone)
        self.pc.on("track", self._listen)
        self.seen: list[dict[str, Any]] = []
        self.heard: list[bool] = []
        """Of every 20 ms that were played: whether anything was to be heard."""
        self.stamps: list[int] = []
        """Where each of them stood, in samples at 48 kHz."""
        self.closed = asyncio.Event()
        """The data channel is."""
        self.pinging = True
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.channel = self.pc.createDataChannel("events")
        self.channel.on("open", self._open)
        self.channel.on("message", self._message)
        self.channel.on("close", self.closed.set)

    # --- the call ---

    async def token(self, agent: str = "desk", key: str | None = "pk_one", **query: str) -> str:
        """Return a token, for a key or, without one, for the page's origin."""
        headers = bearer(key) if key else {"Origin": self.origin or ""}
        async with httpx.AsyncClient(base_url=self.url) as http:
            params = {"agent_id": agent, **query}
            answer = await http.get("/webrtc/token", params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    async def offer(self) -> str:
        """Return an offer with all candidates."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def post(self, token: str, sdp: str, **fields: Any) -> httpx.Response:
        """Ask for the call."""
        headers = {"Origin": self.origin} if self.origin else {}
        body = {"sdp": sdp, "type": "offer", "token": token, **fields}
        async with httpx.AsyncClient(base_url=self.url) as http:
            return await http.post("/webrtc/offer", json=body, headers=headers)

    async def call(self, token: str, **fields: Any) -> str:
        """Be connected, and return the call's id."""
        answer = await self.post(token, await self.offer(), **fields)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        await self.pc.setRemoteDescription(RTCSessionDescription(told["sdp"], told["type"]))
        return str(told["session_id"])

    def say(self, pcm: bytes) -> None:
        """Speak."""
        self.microphone.to_say += pcm

    def send(self, action: str, **fields: Any) -> None:
        """Send an action on the data channel."""
        self.channel.send(json.dumps({"action": action, **fields}))

    async def opened(self) -> None:
        """Wait until messages can be sent."""
        await self._reached(lambda: self.channel.readyState == "open")

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first message of that name and those fields, which may have come already."""

        def found() -> dict[str, Any] | None:
            alike = (f for f in self.seen if f["event"] == event and fields.items() <= f.items())
            return next(alike, None)

        await self._reached(lambda: found() is not None)
        message = found()
        assert message is not None
        return message

    async def hears(self, audible: bool = True, frames: int = 1) -> None:
        """Wait until so many of the last frames in a row are sound, or silence."""
        wanted = [audible] * frames
        await self._reached(lambda: self.heard[-frames:] == wanted)

    async def close(self) -> None:
        """Leave, as a page that is closed."""
        self.pinging = False
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def vanish(self) -> None:
        """Be gone without a word, as a machine whose network is cut."""
        self.pinging = False
        ice = self.pc.getTransceivers()[0].receiver.transport.transport._connection
        for protocol in ice._protocols:
            protocol.transport.abort()

    async def _reached(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                self._news.clear()
                await self._news.wait()

    # --- what comes ---

    def _open(self) -> None:
        self._news.set()
        self._spawn(self._ping())

    async def _ping(self) -> None:
        while self.pinging and self.channel.readyState == "open":
            self.channel.send("ping")
            await asyncio.sleep(1)

    def _message(self, message: str | bytes) -> None:
        self.seen.append(json.loads(message))
        self._news.set()

    def _listen(self, track: MediaStreamTrack) -> None:
        self._spawn(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                pcm = bytes(frame.planes[0])[: frame.samples * 4]
                self.heard.append(level_dbfs(pcm) > -50)
                self.stamps.append(frame.pts or 0)
                self._news.set()

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))


@asynccontextmanager
async def browsing(
    server: EmbeddedServer, agent: str = "desk", **fields: Any
) -> AsyncIterator[Browser]:
    """Be a page that has called an agent with a token of its backend's."""
    page = Browser(server)
    try:
        await page.call(await page.token(agent), **fields)
        await page.opened()
        yield page
    finally:
        await page.close()


def quick(**limits: Any) -> Mapping[str, Any]:
    """Return options of a server that waits less."""
    return {"limits": Limits(**limits)}
