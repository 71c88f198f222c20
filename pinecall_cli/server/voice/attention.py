"""Whether the caller is heard, and what they hear meanwhile: hold and mute (commands.md §9).

Hold: the caller makes no turns and hears music where the agent says nothing. Mute: the caller
makes no turns, and what they say is put into words apart, for ``call.unmuted``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from pinecall_cli.audio.tones import hold_music
from pinecall_cli.engines.types import Recogniser, Vad
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.server.voice.activity import VoiceStarted, VoiceStopped
from pinecall_cli.server.voice.hearing import RATE, Hearing
from pinecall_cli.server.voice.speaking import FRAME_MS, SILENCE
from pinecall_cli.server.voice.turn import LONG_SEGMENT_MS, PREROLL_MS

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Ears(Protocol):
    """The engines that listening needs."""

    recogniser: Recogniser

    def vad(self) -> Vad:
        """Return a fresh voice detector."""
        ...


class Attention:
    """Holds and mutes of one call; the call asks it what to hear and what to play."""

    def __init__(
        self,
        engines: Ears,
        *,
        emit: Callable[[Event], None],
        spawn: Spawn,
        failed: Callable[[EngineError], None],
    ) -> None:
        """``failed`` is told of a recogniser that fails; what it should have heard is missing."""
        self._engines, self._emit, self._spawn, self._failed = engines, emit, spawn, failed
        self.silenced = False
        """Whether the caller has switched their own microphone off."""
        self.held = False
        self._aside: Aside | None = None
        self._played_ms = 0

    @property
    def deaf(self) -> bool:
        """Return whether what the caller says makes no turns."""
        return self.silenced or self.held or self._aside is not None

    def hear(self, frame: bytes) -> bytes:
        """Return what turn-taking hears of 20 ms of the caller."""
        if self._aside is not None and not self.silenced and not self.held:
            self._aside.push(frame)
        return SILENCE if self.deaf else frame

    def music(self) -> bytes | None:
        """Return the next 20 ms of music; None while the call is not on hold."""
        if not self.held:
            return None
        frame = hold_music(self._played_ms, FRAME_MS, RATE)
        self._played_ms += FRAME_MS
        return frame

    def obey(self, command: Command) -> None:
        """Hold, mute, or end either; each is acknowledged, also when it changes nothing."""
        match command:
            case commands.CallHold():
                if not self.held:
                    self.held, self._played_ms = True, 0
                self._emit(events.CallHeld())
            case commands.CallUnhold():
                self.held = False
                self._emit(events.CallUnheld())
            case commands.CallMute():
                if self._aside is None:
                    self._aside = Aside(self._engines, self._spawn, self._failed)
                self._emit(events.CallMuted())
            case commands.CallUnmute():
                aside, self._aside = self._aside, None
                if aside is None:
                    self._emit(events.CallUnmuted(muted_transcript=None))
                else:
                    self._spawn(self._tell(aside))

    def release(self) -> None:
        """End hold and mute, and what was said meanwhile with them: somebody else has the call."""
        self.held, self._aside = False, None

    async def _tell(self, aside: Aside) -> None:
        words = await aside.words()
        self._emit(events.CallUnmuted(muted_transcript=words or None))


class Aside:
    """What a muted caller says: cut at its pauses, and put into words piece by piece."""

    def __init__(self, engines: Ears, spawn: Spawn, failed: Callable[[EngineError], None]) -> None:
        self._recogniser, self._spawn, self._failed = engines.recogniser, spawn, failed
        self._hearing = Hearing(engines.vad(), edge=self._edge)
        self._since: int | None = None
        """Where the piece that is being spoken begins, in ms of what was heard."""
        self._texts: list[str] = []
        self._decoding: list[asyncio.Task[None]] = []

    def push(self, frame: bytes) -> None:
        """Take the next 20 ms."""
        self._hearing.push(frame)
        now = self._hearing.position
        if self._since is not None and now - self._since >= LONG_SEGMENT_MS:
            cut = self._hearing.quiet_before(now)
            self._decode(self._since, cut)
            self._since = cut

    async def words(self) -> str:
        """Return all that was said, once it has been put into words."""
        if self._since is not None:
            self._decode(self._since, self._hearing.position)
            self._since = None
        await asyncio.gather(*self._decoding)
        return " ".join(text for text in self._texts if text)

    def _edge(self, edge: VoiceStarted | VoiceStopped, now: int) -> None:
        match edge:
            case VoiceStarted(onset=onset):
                self._since = max(0, onset - PREROLL_MS)
            case VoiceStopped(last=last) if self._since is not None:
                self._decode(self._since, last)
                self._since = None
            case _:
                pass

    def _decode(self, start: int, end: int) -> None:
        number, pcm = len(self._texts), self._hearing.audio(start, end)
        self._texts.append("")
        self._decoding.append(self._spawn(self._transcribe(number, pcm)))

    async def _transcribe(self, number: int, pcm: bytes) -> None:
        try:
            text = await self._recogniser.transcribe(pcm)
        except EngineError as error:
            self._failed(error)
            return
        self._texts[number] = " ".join(text.split())
