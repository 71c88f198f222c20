"""Numbers that the exchange plays itself: somebody who listens, a voicemail, an echo, a caller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pinecall_cli.audio.tones import beep
from pinecall_cli.caller.echo import Echo
from pinecall_cli.caller.player import Player
from pinecall_cli.caller.render import at_rate, render
from pinecall_cli.caller.steps import Hangup, Play, Press, Say
from pinecall_cli.engines.types import Synthesiser
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.phone.numbers import Echoes, Listens, Plays, Voicemail
from pinecall_cli.server.voice.lines import Telephone
from pinecall_cli.server.voice.session import VoiceSession
from pinecall_cli.server.voice.speaking import FRAME_MS, RATE

LISTENS_S = 4.0
"""How long whoever only listens stays on once the agent has nothing more to say."""
LONGEST_S = 300.0
"""After which a robot hangs up: two machines that answer each other would go on for ever."""
BEEP = Path("beep")
"""Stands for the beep among a player's sounds; no file is read."""

Played = Listens | Voicemail | Echoes | Plays


class Brain(Protocol):
    """Decides what a robot says and does; seconds on the call's audio clock."""

    def on_event(self, event: Event, now: float) -> None:
        """Take in one event of the call."""
        ...

    def next_frame(self, now: float) -> bytes:
        """Return the 20 ms that it says at ``now``."""
        ...

    def actions(self) -> list[Press | Hangup]:
        """Return the keys to press and whether to hang up, since this was last asked."""
        ...


async def brain_for(answer: Played, voice: Synthesiser) -> Brain:
    """Return who picks up, with all that they will say made.

    Raises:
        EngineError: If the voice fails.
        UsageError: If a file that is to be played is no longer there.
    """
    match answer:
        case Echoes():
            return Echo(rate=RATE)
        case Voicemail(greeting=text):
            speech = await voice.synthesise(text)
            sounds: dict[str | Path, bytes] = {
                text: at_rate(speech.pcm, speech.rate, RATE),
                BEEP: beep(RATE),
            }
            return Player((Say(text), Play(BEEP)), sounds, rate=RATE, stay=LISTENS_S)
        case Plays(caller=caller):
            spoken = await render(caller.steps, RATE, voice)
            return Player(caller.steps, spoken, rate=RATE, line=caller.line)
        case _:
            return Player((), {}, rate=RATE, stay=LISTENS_S)


class Robot:
    """A played number in one call: the `Callee`, and the `Line` to it."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self._there, self._back = Telephone(), Telephone()
        self._waiting: list[bytes] = []
        self._steps = 0
        self._session: VoiceSession | None = None
        self._leave: Callable[[], None] = lambda: None

    @property
    def line(self) -> Robot:
        """The line to it is itself."""
        return self

    @property
    def _now(self) -> float:
        return self._steps * FRAME_MS / 1000

    def joined(self, session: VoiceSession, outlet: Outlet) -> None:
        """Be in a call from now on."""
        self._session = session
        self._leave = outlet.subscribe(self._told)

    def over(self) -> None:
        """The call has ended."""
        self._leave()

    def receive(self) -> list[bytes]:
        """Return what it has said since the last time."""
        said, self._waiting = self._waiting, []
        return said

    def send(self, frame: bytes) -> None:
        """Let it hear 20 ms, and say as much: its clock is that of the call."""
        if isinstance(self._brain, Echo):
            self._brain.hear(self._there.carry(frame))
        self._waiting.append(self._back.carry(self._brain.next_frame(self._now)))
        self._steps += 1
        for action in self._brain.actions():
            self._do(action)
        if self._now >= LONGEST_S:
            self._do(Hangup())

    def _do(self, action: Press | Hangup) -> None:
        if self._session is None:
            return
        match action:
            case Press(digits=digits):
                self._session.pressed(digits)
            case Hangup():
                self._session.end("hangup")

    def _told(self, text: str) -> None:
        frame = decode_event(text).frame
        if isinstance(frame, Event):
            self._brain.on_event(frame, self._now)
