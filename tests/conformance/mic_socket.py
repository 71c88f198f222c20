"""Both uses of ``/mic/ws``, to call and to be called, spelled by hand (sessions.md §7.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.server.peer import PATIENCE_S, bearer

FRAME_S = 0.02


def speaking(**options: Any) -> EmbeddedServer:
    """Return a server with ears and a voice, on a free port."""
    return EmbeddedServer(**({"engines": Engines(), "keys": ["pk_one", "pk_two"]} | options))


async def token(
    server: EmbeddedServer, agent: str = "desk", kind: str = "webrtc", **query: str
) -> str:
    """Return a token of the first organisation."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        answer = await http.get(f"/{kind}/token", params={"agent_id": agent, **query})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


class Microphone:
    """One end of a call: it sends a frame every 20 ms, and remembers all that comes."""

    def __init__(self, socket: websockets.ClientConnection, frame: bytes) -> None:
        self.socket, self.quiet = socket, frame
        self.to_say = bytearray()
        self.seen: list[dict[str, Any]] = []
        """The text frames, in order."""
        self.heard: list[bytes] = []
        """The binary ones."""
        self.order: list[str] = []
        """Of both: the event's name, or ``sound``."""
        self.code: int | None = None
        """That the socket was closed with."""
        self._news = asyncio.Event()

    def say(self, sound: bytes) -> None:
        """Speak, in the format of the call."""
        self.to_say += sound

    async def act(self, action: str, **fields: Any) -> None:
        """Send an action."""
        await self.socket.send(json.dumps({"action": action, **fields}))

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first frame of that name and those fields, which may have come already."""

        def found() -> dict[str, Any] | None:
            alike = (f for f in self.seen if f["event"] == event and fields.items() <= f.items())
            return next(alike, None)

        await self.reached(lambda: found() is not None)
        frame = found()
        assert frame is not None
        return frame

    async def closed(self) -> int:
        """Return the code with which the server closes the socket."""
        await self.reached(lambda: self.code is not None)
        assert self.code is not None
        return self.code

    async def reached(self, what: Callable[[], bool]) -> None:
        """Wait until something has come about."""
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                self._news.clear()
                await self._news.wait()

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the frames of that name that have come."""
        return [frame for frame in self.seen if frame["event"] == event]

    async def speak(self) -> None:
        """Send what is to be said, and silence, at real pace."""
        size = len(self.quiet)
        while True:
            frame = bytes(self.to_say[:size])
            del self.to_say[:size]
            await self.socket.send(frame + self.quiet[len(frame) :])
            await asyncio.sleep(FRAME_S)

    async def listen(self) -> None:
        """Take what comes, until the socket is closed."""
        with suppress(websockets.ConnectionClosedError):  # `code` tells which
            async for message in self.socket:
                if isinstance(message, bytes):
                    self.heard.append(message)
                    self.order.append("sound")
                else:
                    self.seen.append(json.loads(message))
                    self.order.append(self.seen[-1]["event"])
                self._news.set()
        self.code = self.socket.close_code
        self._news.set()


@asynccontextmanager
async def microphone(
    server: EmbeddedServer,
    first: dict[str, Any],
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Microphone]:
    """Open the socket with a first frame, and hold it; sound goes out from ``call.started`` on."""
    url = f"ws{server.url[4:]}/mic/ws{query}"
    mulaw, rate = first.get("encoding") == "mulaw", first.get("sample_rate", 16_000)
    quiet = b"\xff" * 160 if mulaw else bytes(rate // 25)
    async with websockets.connect(url, additional_headers=headers or {}) as socket:
        await socket.send(json.dumps(first))
        end = Microphone(socket, quiet)
        loop = asyncio.get_running_loop()
        listening = loop.create_task(end.listen())
        speaking = loop.create_task(send_from_start(end))
        try:
            yield end
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
            await socket.close()
            await listening


async def send_from_start(end: Microphone) -> None:
    """Send sound as soon as there is a call, until the socket is closed."""
    await end.reached(lambda: bool(end.of("call.started")) or end.code is not None)
    try:
        await end.speak()
    except websockets.ConnectionClosed:
        return


@asynccontextmanager
async def calling(
    server: EmbeddedServer, agent: str = "desk", *, sealed: str = "", **first: Any
) -> AsyncIterator[Microphone]:
    """Call an agent with a token of its owner's backend; ``sealed`` is the token's metadata."""
    query = {"metadata": sealed} if sealed else {}
    start = {"event": "start", "sample_rate": 16_000, "channels": 1, "encoding": "pcm_s16le"}
    if "to" in first:
        start |= {"sample_rate": 8000, "encoding": "mulaw"}
    minted = await token(server, agent, **query)
    async with microphone(server, start | first, query=f"?token={minted}") as end:
        yield end


@asynccontextmanager
async def waiting(server: EmbeddedServer, number: str, **first: Any) -> AsyncIterator[Microphone]:
    """Wait for calls to a number, with the key."""
    start = {"event": "answer", "number": number, "sample_rate": 8000, "encoding": "mulaw"}
    async with microphone(server, start | first, headers=bearer()) as end:
        yield end
