"""Somebody who calls a number over the microphone socket, without the socket."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from functools import cache
from typing import Any, cast

from starlette.websockets import WebSocket

from pinecall_cli.audio import mulaw
from pinecall_cli.server.routes.mic import serve
from pinecall_cli.server.tokens import Grant
from pinecall_cli.server.voice.session import VoiceSession
from tests.fakes.engines import tone
from tests.server.dialled import OURS, PATIENCE_S, THEIRS, Office

FRAME_S = 0.02
QUIET = mulaw.encode(bytes(320))


class Incoming:
    """One caller on a phone call: what they do, and all that they are told."""

    def __init__(self, office: Office, number: str = OURS, from_: str = THEIRS) -> None:
        """Call a number; any agent's token will do."""
        start = {"event": "start", "encoding": "mulaw", "sample_rate": 8000, "channels": 1}
        self.frames: list[dict[str, Any]] = []
        self.sounds: list[bytes] = []
        self.closed: int | None = None
        self._office = office
        self._actions = deque([json.dumps(start | {"to": number, "from": from_})])
        self._speech = b""
        self._came = asyncio.Event()
        grant = Grant("webrtc", office.orgs[0], "desk")
        self.call = office.server.spawn(
            serve(office.server, cast(WebSocket, self), grant), "incoming call"
        )

    # -- what the caller does --------------------------------------------------------------

    def press(self, digits: str) -> None:
        """Press keys."""
        self._act("dtmf", digits=digits)

    def know(self, key: str, value: Any) -> None:
        """Set context, as a page would."""
        self._act("set_context", key=key, value=value)

    def hang_up(self) -> None:
        """End the call."""
        self._act("hangup")

    def speak(self, ms: int) -> None:
        """Say something for so long; what it is, the recogniser knows."""
        self._speech += spoken(ms)

    def _act(self, action: str, **fields: Any) -> None:
        self._actions.append(json.dumps({"action": action, **fields}))

    # -- what they are told ----------------------------------------------------------------

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first frame of that name with those fields."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for frame in self.frames:
                    if frame["event"] == event and fields.items() <= frame.items():
                        return frame
                self._came.clear()
                await self._came.wait()

    def names(self) -> list[str]:
        """Return the names of all frames, in order."""
        return [frame["event"] for frame in self.frames if frame["event"] != "bot.word"]

    @property
    def session(self) -> VoiceSession:
        """The call as the server holds it."""
        (session,) = [
            one
            for one in self._office.server.registry.sessions()
            if one.call_id == self.frames[0]["call_id"]
        ]
        assert isinstance(session, VoiceSession)
        return session

    # -- the socket, as the server sees it ---------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        if self._actions:
            return {"type": "websocket.receive", "text": self._actions.popleft()}
        await asyncio.sleep(FRAME_S)
        frame, self._speech = self._speech[: len(QUIET)], self._speech[len(QUIET) :]
        return {"type": "websocket.receive", "bytes": frame.ljust(len(QUIET), QUIET[:1])}

    async def send_text(self, text: str) -> None:
        self.frames.append(json.loads(text))
        self._came.set()

    async def send_json(self, value: dict[str, Any]) -> None:
        await self.send_text(json.dumps(value))

    async def send_bytes(self, audio: bytes) -> None:
        self.sounds.append(audio)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = code


@cache
def spoken(ms: int) -> bytes:
    """Return so much speech, as a telephone sends it."""
    return mulaw.encode(halved(tone(ms)))


def halved(pcm: bytes) -> bytes:
    """Return 16 kHz sound at 8 kHz."""
    samples = memoryview(pcm).cast("h")
    return b"".join(samples[i : i + 1].tobytes() for i in range(0, len(samples), 2))
