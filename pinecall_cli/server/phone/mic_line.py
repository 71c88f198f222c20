"""The microphone socket as one end of a call (protocol: sessions.md §7.2): audio and actions."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.audio import mulaw
from pinecall_cli.protocol import codec, events, mic
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.actions import obey
from pinecall_cli.server.agents.registry import Refused
from pinecall_cli.server.agents.sessions import Session
from pinecall_cli.server.voice.speaking import RATE

log = logging.getLogger("pinecall.server")

LONGEST_TYPED = 256 * 1024
"""Characters of a typed text: this socket is a developer's own terminal, not a page."""

OUTBOX = 1_000
"""Messages that may wait for a caller who reads too slowly: ten seconds and more of audio."""
ARRIVED = 100
"""Frames of the caller kept between two steps; more is a burst nobody can have spoken."""


class MicLine:
    """The socket as a `Line`: 16 kHz inside, whatever the caller asked for outside."""

    def __init__(
        self, socket: WebSocket, first: mic.MicStart | mic.MicAnswer, *, phone: bool
    ) -> None:
        """``first`` says the format of the audio; only on a phone are there keys to press."""
        # numpy, which only a server that speaks has
        from pinecall_cli.audio.resample import SteadyResampler  # noqa: PLC0415

        self._socket, self._mulaw, self._phone = socket, first.encoding == mic.MULAW, phone
        self._frame_bytes = first.sample_rate * 2 * mic.FRAME_MS // 1000
        self._in = SteadyResampler(first.sample_rate, RATE)
        self._out = SteadyResampler(RATE, first.sample_rate)
        self._call: Session | None = None
        self._emit: Callable[[Event], None] = lambda event: None
        self._arrived: deque[bytes] = deque(maxlen=ARRIVED)
        self._outbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._cut_off = False
        self._complained = False

    def attach(self, call: Session, emit: Callable[[Event], None]) -> None:
        """Let what is done here be done to ``call``, which may still be ringing."""
        self._call, self._emit = call, emit

    def receive(self) -> list[bytes]:
        """Return what the caller sent since the last step."""
        frames = list(self._arrived)
        self._arrived.clear()
        return frames

    def send(self, frame: bytes) -> None:
        """Queue one frame for the caller, in their format."""
        audio = self._out.process(frame)
        self._queue(mulaw.encode(audio) if self._mulaw else audio)

    def tell(self, text: str | None) -> None:
        """Queue one text frame; None ends the writing when all before it is sent."""
        self._queue(text)

    def _queue(self, message: str | bytes | None) -> None:
        """Queue a message; a caller who reads too slowly is cut off, which ends the call."""
        if self._cut_off:
            return
        self._outbox.put_nowait(message)
        if self._outbox.qsize() > OUTBOX:
            log.warning("a caller reads too slowly, and was cut off")
            self._cut_off = True
            # Here, since whoever writes is waiting for them to read.
            self._socket.scope["state"]["abort"]()

    async def write(self) -> None:
        """Send what is queued, in order, until the caller is gone."""
        try:
            while (message := await self._outbox.get()) is not None:
                if isinstance(message, str):
                    await self._socket.send_text(message)
                else:
                    await self._socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError):
            self._end("disconnected")

    async def read(self) -> None:
        """Take audio and actions until the caller is gone."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._end("disconnected")
                return
            audio, text = message.get("bytes"), message.get("text")
            if audio is not None:
                self._hear(audio)
            elif text is not None:
                self._act(text)

    def _end(self, reason: str) -> None:
        if self._call is not None:
            self._call.end(reason)

    def _hear(self, audio: bytes) -> None:
        pcm = mulaw.decode(audio) if self._mulaw else audio
        if len(pcm) == self._frame_bytes:
            self._arrived.append(self._in.process(pcm))
        elif not self._complained:
            self._complained = True
            wanted = self._frame_bytes // 2 if self._mulaw else self._frame_bytes
            self._refuse("BAD_FRAME", f"a frame is 20 ms, {wanted} bytes, not {len(audio)}")

    def _act(self, text: str) -> None:
        try:
            obey(text, self._call, self._emit, phone=self._phone, longest=LONGEST_TYPED)
        except Refused as refused:
            self._refuse(refused.code, refused.message)

    def _refuse(self, code: str, message: str) -> None:
        self.tell(codec.encode(events.Error(code=code, error=message)))
