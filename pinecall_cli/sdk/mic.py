"""The calling side of the microphone socket: one call to an agent, audio both ways.

Protocol: sessions.md §7.2. Frames are 20 ms of int16 mono at `MicCall.rate`; frame n of either
side stands at n·20 ms of the call's audio clock. A phone call (one with `to`) is 8 kHz µ-law on
the way; nobody here notices but the ear.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

from msgspec import UNSET

from pinecall_cli.audio import mulaw
from pinecall_cli.errors import (
    CallFailedError,
    InfrastructureError,
    NotAuthorisedError,
    ServerUnreachableError,
)
from pinecall_cli.protocol import codec, events
from pinecall_cli.protocol.frames import Received, Unknown
from pinecall_cli.protocol.mic import (
    MULAW,
    PCM,
    Dtmf,
    Hangup,
    InjectText,
    MicStart,
    Mute,
    Unmute,
)
from pinecall_cli.protocol.urls import mic_url
from pinecall_cli.sdk.socket import Socket, SocketClosedError

PING_EVERY_S = 1.0
PHONE_RATE, WIDE_RATE = 8_000, 16_000


def rate_of(to: str | None) -> int:
    """Return the Hz of the frames of a call to this number, or to no number."""
    return WIDE_RATE if to is None else PHONE_RATE


class MicCall:
    """One call over the microphone socket. Use as an async context manager, then `hold`."""

    def __init__(self, socket: Socket, *, phone: bool, answering: bool = False) -> None:
        """``answering``: it was taken, not made; it may turn out to be somebody else's."""
        self.rate = PHONE_RATE if phone else WIDE_RATE
        """Hz of the frames on both sides."""
        self.sent = 0
        """Frames sent since ``call.started``."""
        self.received = 0
        """Frames of the agent received since ``call.started``."""
        self.ended: events.CallEnded | None = None
        self._socket, self._phone, self._answering = socket, phone, answering

    @classmethod
    async def dial(
        cls,
        base: str,
        token: str,
        *,
        from_: str | None = None,
        to: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MicCall:
        """Open the socket and ask for the call; ``base`` is the server's ws(s) base URL.

        Raises:
            NotAuthorisedError: If the token is refused.
            InfrastructureError: If the server has no microphone socket (a hosted one).
        """
        socket = await Socket.open(mic_url(base, token))
        phone = to is not None
        start = MicStart(
            sample_rate=PHONE_RATE if phone else WIDE_RATE,
            encoding=MULAW if phone else PCM,
            from_=from_ or UNSET,
            to=to or UNSET,
            metadata=dict(metadata) if metadata else UNSET,
        )
        call = cls(socket, phone=phone)
        with contextlib.suppress(SocketClosedError):  # `hold` reads what it said before that
            await socket.send(codec.encode(start))
        return call

    async def hold(
        self,
        frames: Callable[[], AsyncIterator[bytes]],
        *,
        play: Callable[[bytes], None],
        hear: Callable[[Received], None],
        answer_within_s: float = 10.0,
    ) -> events.CallEnded:
        """Hold the call to its end and return how it ended.

        ``frames`` is called once the call has started and yields 20 ms at a time, at the pace
        of whatever makes them; when it is over, the call is hung up. ``play`` takes each frame
        of the agent, ``hear`` each text frame of the call, in the order they came.

        Raises:
            CallFailedError: If nobody answers in ``answer_within_s``, or the call is refused.
            ServerUnreachableError: If the connection is lost.
        """
        started = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send(started, frames, answer_within_s))
                await self._read(started, play, hear)
                sender.cancel()
        except ExceptionGroup as group:  # one of both failed, and took the other along
            raise group.exceptions[0] from None
        assert self.ended is not None
        return self.ended

    async def hangup(self) -> None:
        """Ask for the end; `hold` returns when it has come."""
        await self._act(codec.encode(Hangup()))

    async def press(self, digits: str) -> None:
        """Press keys of the telephone; phone calls only."""
        await self._act(codec.encode(Dtmf(digits=digits)))

    async def say_typed(self, text: str) -> None:
        """Say ``text`` without a voice."""
        await self._act(codec.encode(InjectText(text=text)))

    async def mute(self, muted: bool) -> None:
        """Take the microphone out of the turns, or put it back."""
        await self._act(codec.encode(Mute() if muted else Unmute()))

    async def __aenter__(self) -> MicCall:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def _act(self, frame: str) -> None:
        try:
            await self._socket.send(frame)
        except SocketClosedError:
            return  # the call is over: there is nobody left to tell

    async def _send(
        self,
        started: asyncio.Event,
        frames: Callable[[], AsyncIterator[bytes]],
        answer_within_s: float,
    ) -> None:
        try:
            async with asyncio.timeout(answer_within_s):
                await started.wait()
        except TimeoutError:
            raise CallFailedError(
                f"nobody answered within {answer_within_s:g} s", code="no_answer"
            ) from None
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + PING_EVERY_S
        async for frame in frames():
            await self._act_audio(mulaw.encode(frame) if self._phone else frame)
            self.sent += 1
            if loop.time() >= ping_at:
                ping_at = loop.time() + PING_EVERY_S
                await self._act("ping")
        await self.hangup()

    async def _act_audio(self, frame: bytes) -> None:
        try:
            await self._socket.send(frame)
        except SocketClosedError:
            await asyncio.Event().wait()  # the reader tells what happened, and cancels this

    async def _read(
        self,
        started: asyncio.Event,
        play: Callable[[bytes], None],
        hear: Callable[[Received], None],
    ) -> None:
        while True:
            try:
                message = await self._socket.receive()
            except SocketClosedError as closed:
                if self.ended is not None:
                    return
                raise lost(closed) from None
            if isinstance(message, bytes):
                self.received += 1
                play(mulaw.decode(message) if self._phone else message)
                continue
            received = codec.decode_event(message)
            match received.frame:
                case events.CallStarted():
                    started.set()
                case events.CallEnded():
                    self.ended = received.frame
                    if self._answering and not started.is_set():
                        return  # the socket goes on waiting, for another call
                case events.CallRejected(reason=reason):
                    hear(received)
                    raise CallFailedError(f"the call was turned away: {reason}", code=reason)
                case events.Error() | Unknown(event="error") if not started.is_set():
                    raise refused(received)
            hear(received)


def lost(closed: SocketClosedError) -> Exception:
    """Return the error for a socket that closed before the call had ended."""
    if closed.code == 1008 or closed.code == 4401:
        return NotAuthorisedError(f"the server refused the call: {closed.reason}")
    return ServerUnreachableError(
        "the connection was lost during the call",
        fix="see whether the server still runs: `pinecall agents`",
    )


def refused(received: Received) -> Exception:
    """Return the error for a call that the server would not start."""
    fields = received.fields()
    code, text = str(fields.get("code", "")), str(fields.get("error", "the call was refused"))
    if code in {"ENGINE_UNAVAILABLE", "ENGINES_FAILED"}:
        return InfrastructureError(text, fix=fix_of(fields), code="engine")
    return CallFailedError(text, fix=fix_of(fields), code=code.lower() or None)


def fix_of(fields: Mapping[str, Any]) -> str | None:
    """Return what the server says to do about it, if it does."""
    fix = fields.get("fix")
    return fix if isinstance(fix, str) else None
