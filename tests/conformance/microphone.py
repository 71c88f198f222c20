"""A caller on the microphone socket (protocol: sessions.md §7.2), frames spelled by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines, utterance
from tests.server.peer import PATIENCE_S, bearer, embedded

FRAME_S = 0.02
MULAW_SILENCE = 0xFF


def speaking(texts: dict[int, str] | None = None, **options: Any) -> EmbeddedServer:
    """Return a server that hears marked tones as ``texts`` and answers with tones."""
    return embedded(**({"engines": Engines(texts)} | options))


class Caller:
    """One end of a call: it sends 20 ms every 20 ms, and remembers all it is told."""

    def __init__(self, socket: websockets.ClientConnection, *, phone: bool) -> None:
        self.seen: list[dict[str, Any]] = []
        self.heard: list[bytes] = []
        """Every frame of sound, in order."""
        self._socket, self._phone = socket, phone
        self._to_say = b""
        self._sent = 0
        self._news = asyncio.Event()

    @property
    def call_id(self) -> str:
        """The call's id, once it has been told."""
        return str(next(f["call_id"] for f in self.seen if "call_id" in f))

    def say(self, number: int, ms: int = 400) -> None:
        """Speak: what, stands under ``number`` in the texts of the server's engines."""
        pcm = utterance(number, ms)
        # On a phone no mark survives: any sound at half the rate, as loud as voice.
        self._to_say += b"\x0f\x8f" * (ms * 4) if self._phone else pcm

    def rest(self, ms: int) -> None:
        """Be silent for so long between what is said before and after, on the call's clock."""
        self._to_say += bytes([MULAW_SILENCE]) * (ms * 8) if self._phone else bytes(ms * 32)

    async def act(self, action: str, **fields: Any) -> None:
        """Send an action."""
        await self._socket.send(json.dumps({"action": action, **fields}))

    async def hang_up(self) -> None:
        """End the call, and wait for its end to be told."""
        await self.act("hangup")
        await self.until("call.ended")

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first frame of that name and those fields, which may have come already."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for frame in self.seen:
                    if frame["event"] == event and fields.items() <= frame.items():
                        return frame
                self._news.clear()
                await self._news.wait()

    async def hears(self, *, sound: bool) -> None:
        """Wait until the next frame of sound, or of silence, comes."""
        async with asyncio.timeout(PATIENCE_S):
            begun = len(self.heard)
            while not any(loud(frame) is sound for frame in self.heard[begun:]):
                self._news.clear()
                await self._news.wait()

    async def silence(self, seconds: float) -> None:
        """Wait until what was to be said has been sent, and so much of the call after it."""
        frames = round(seconds / FRAME_S)
        until = self._sent + len(self._to_say) // (160 if self._phone else 640) + frames
        async with asyncio.timeout(PATIENCE_S):
            while self._sent < until:
                self._news.clear()
                await self._news.wait()

    async def closed(self) -> int:
        """Return the code with which the server closes the socket."""
        async with asyncio.timeout(PATIENCE_S):
            await self._socket.wait_closed()
        return self._socket.close_code or 0

    def names(self) -> list[str]:
        """Return the names of all frames but words, in order."""
        return [frame["event"] for frame in self.seen if frame["event"] != "bot.word"]

    async def listen(self) -> None:
        """Take what comes until the server closes the socket."""
        with suppress(websockets.ConnectionClosed):
            while True:
                message = await self._socket.recv()
                if isinstance(message, str):
                    self.seen.append(json.loads(message))
                else:
                    self.heard.append(message)
                self._news.set()

    async def speak(self) -> None:
        """Send the microphone's frames, at the pace of the call."""
        size = 160 if self._phone else 640
        quiet = bytes([MULAW_SILENCE]) if self._phone else b"\0"
        with suppress(websockets.ConnectionClosed):
            while True:
                frame, self._to_say = self._to_say[:size], self._to_say[size:]
                await self._socket.send(frame.ljust(size, quiet))
                self._sent += 1
                self._news.set()
                await asyncio.sleep(FRAME_S)


def loud(frame: bytes) -> bool:
    """Tell whether a frame of sound is more than silence, in either encoding."""
    return any(byte not in (0x00, 0x7F, MULAW_SILENCE) for byte in frame)


@asynccontextmanager
async def calling(
    server: EmbeddedServer,
    agent: str = "desk",
    *,
    key: str = "pk_one",
    to: str | None = None,
    from_: str | None = None,
    **start: Any,
) -> AsyncIterator[Caller]:
    """Call an agent, or with ``to`` a number; the call has not begun yet."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(key)) as http:
        answer = await http.get("/webrtc/token", params={"agent_id": agent})
        token = answer.json()["token"]
    phone = to is not None
    first: dict[str, Any] = {"event": "start", "channels": 1}
    first |= {"sample_rate": 8000 if phone else 16_000}
    first |= {"encoding": "mulaw" if phone else "pcm_s16le"}
    first |= {} if to is None else {"to": to}
    first |= {} if from_ is None else {"from": from_}
    async with websockets.connect(f"ws{server.url[4:]}/mic/ws?token={token}") as socket:
        await socket.send(json.dumps(first | start))
        caller = Caller(socket, phone=phone)
        tasks = [asyncio.create_task(caller.listen()), asyncio.create_task(caller.speak())]
        try:
            yield caller
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
