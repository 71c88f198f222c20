"""Both uses of the microphone socket, to call and to be called (protocol: sessions.md §7.2).

The frames are spelled by hand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines, utterance
from tests.server.peer import PATIENCE_S, bearer, embedded, token

FRAME_MS = 20
MULAW_SILENCE = 0xFF


def speaking(texts: dict[int, str] | None = None, **options: Any) -> EmbeddedServer:
    """Return a server that hears marked tones as ``texts`` and answers with tones."""
    return embedded(**({"engines": Engines(texts)} | options))


class Caller:
    """One end of a call: it sends 20 ms every 20 ms, and remembers all it is told."""

    def __init__(self, socket: websockets.ClientConnection, *, rate: int, mulaw: bool) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        """The text frames, in order."""
        self.heard: list[bytes] = []
        """Every frame of sound, in order."""
        self.order: list[str] = []
        """Of both: the event's name, or ``sound``."""
        self._mulaw = mulaw
        self._quiet = (
            MULAW_SILENCE.to_bytes() * 160 if mulaw else bytes(rate * 2 * FRAME_MS // 1000)
        )
        self._to_say = b""
        self._sent = 0
        self._code: int | None = None
        self._news = asyncio.Event()

    @property
    def call_id(self) -> str:
        """The call's id, once it has been told."""
        return str(next(f["call_id"] for f in self.seen if "call_id" in f))

    def say(self, number: int, ms: int = 400) -> None:
        """Speak: what, stands under ``number`` in the texts of the server's engines."""
        # In µ-law no mark survives: any sound, as loud as voice.
        self._to_say += b"\x0f\x8f" * (ms * 4) if self._mulaw else utterance(number, ms)

    def rest(self, ms: int) -> None:
        """Be silent for so long between what is said before and after, on the call's clock."""
        self._to_say += self._quiet * (ms // FRAME_MS)

    async def act(self, action: str, **fields: Any) -> None:
        """Send an action."""
        await self.socket.send(json.dumps({"action": action, **fields}))

    async def hang_up(self) -> None:
        """End the call, and wait for its end to be told."""
        await self.act("hangup")
        await self.until("call.ended")

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first frame of that name and those fields, which may have come already."""
        await self.reached(lambda: bool(self.of(event, **fields)))
        return self.of(event, **fields)[0]

    async def hears(self, *, sound: bool) -> None:
        """Wait until the next frame of sound, or of silence, comes."""
        begun = len(self.heard)
        await self.reached(lambda: any(loud(frame) is sound for frame in self.heard[begun:]))

    async def silence(self, seconds: float) -> None:
        """Wait until what was to be said has been sent, and so much of the call after it."""
        frames = len(self._to_say) // len(self._quiet) + round(seconds * 1000 / FRAME_MS)
        until = self._sent + frames
        await self.reached(lambda: self._sent >= until)

    async def closed(self) -> int:
        """Return the code with which the server closes the socket, once all before it has come."""
        await self.reached(lambda: self._code is not None)
        return self._code or 0

    async def reached(self, what: Callable[[], bool]) -> None:
        """Wait until something has come about in what was sent and told."""
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                self._news.clear()
                await self._news.wait()

    def of(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the frames of that name and those fields that have come."""
        return [f for f in self.seen if f["event"] == event and fields.items() <= f.items()]

    def names(self) -> list[str]:
        """Return the names of all frames but words, in order."""
        return [frame["event"] for frame in self.seen if frame["event"] != "bot.word"]

    async def listen(self) -> None:
        """Take what comes until the socket is closed."""
        with suppress(websockets.ConnectionClosedError):  # `closed` tells how
            async for message in self.socket:
                if isinstance(message, str):
                    self.seen.append(json.loads(message))
                    self.order.append(self.seen[-1]["event"])
                else:
                    self.heard.append(message)
                    self.order.append("sound")
                self._news.set()
        self._code = self.socket.close_code
        self._news.set()

    async def speak(self) -> None:
        """Send the microphone's frames, at the pace of the call, from its start on."""
        await self.reached(lambda: bool(self.of("call.started")) or self._code is not None)
        size = len(self._quiet)
        with suppress(websockets.ConnectionClosed):
            while True:
                frame, self._to_say = self._to_say[:size], self._to_say[size:]
                await self.socket.send(frame + self._quiet[len(frame) :])
                self._sent += 1
                self._news.set()
                await asyncio.sleep(FRAME_MS / 1000)


def loud(frame: bytes) -> bool:
    """Tell whether a frame of sound is more than silence, in either encoding."""
    return any(byte not in (0x00, 0x7F, MULAW_SILENCE) for byte in frame)


@asynccontextmanager
async def microphone(
    server: EmbeddedServer,
    first: dict[str, Any],
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Caller]:
    """Open the socket with a first frame, and hold it."""
    url = f"ws{server.url[4:]}/mic/ws{query}"
    async with websockets.connect(url, additional_headers=headers or {}) as socket:
        await socket.send(json.dumps(first))
        mulaw = first.get("encoding") == "mulaw"
        caller = Caller(socket, rate=first.get("sample_rate", 16_000), mulaw=mulaw)
        listening = asyncio.create_task(caller.listen())
        sending = asyncio.create_task(caller.speak())
        try:
            yield caller
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close()
            await listening


@asynccontextmanager
async def calling(
    server: EmbeddedServer,
    agent: str = "desk",
    *,
    key: str = "pk_one",
    to: str | None = None,
    from_: str | None = None,
    sealed: str = "",
    **start: Any,
) -> AsyncIterator[Caller]:
    """Call an agent, or with ``to`` a number; the call has not begun yet.

    ``sealed`` is the token's metadata, ``start`` what else the first frame says.
    """
    minted = await token(server, agent, key=key, **({"metadata": sealed} if sealed else {}))
    phone = to is not None
    first: dict[str, Any] = {"event": "start", "channels": 1}
    first |= {"sample_rate": 8000 if phone else 16_000}
    first |= {"encoding": "mulaw" if phone else "pcm_s16le"}
    first |= {} if to is None else {"to": to}
    first |= {} if from_ is None else {"from": from_}
    async with microphone(server, first | start, query=f"?token={minted}") as caller:
        yield caller


@asynccontextmanager
async def waiting(server: EmbeddedServer, number: str, **start: Any) -> AsyncIterator[Caller]:
    """Wait for calls to a number, with the key."""
    first = {"event": "answer", "number": number, "sample_rate": 8000, "encoding": "mulaw"}
    async with microphone(server, first | start, headers=bearer()) as caller:
        yield caller
