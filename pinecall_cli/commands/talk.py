"""The ends of a voice call at this machine: devices, or a virtual caller, on a `MicCall`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pinecall_cli.audio.devices import Choice, Microphone, Speaker
from pinecall_cli.audio.echo import Echo, open_echo
from pinecall_cli.audio.pcm import FRAME_MS, level_dbfs
from pinecall_cli.audio.wav import WavWriter
from pinecall_cli.caller.player import Player
from pinecall_cli.caller.render import render
from pinecall_cli.caller.steps import Caller, Hangup, Press, texts
from pinecall_cli.engines import engine
from pinecall_cli.engines.choose import INSTALL
from pinecall_cli.engines.types import Synthesiser
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import EngineError, PinecallError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Received
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.server.log.log_file import RECORDINGS
from pinecall_cli.server.voice.recording import Recorder, remember
from pinecall_cli.settings import data_dir

FRAME_S = FRAME_MS / 1000


@dataclass(slots=True)
class Ends:
    """What a call is held with: where its frames come from, and where the agent's go."""

    frames: Callable[[], AsyncIterator[bytes]]
    play: Callable[[bytes], None]
    heard: Callable[[Received], None]
    badges: tuple[str, ...] = ()


async def devices(
    stack: AsyncExitStack,
    rate: int,
    choice: Choice,
    *,
    cancel_echo: bool,
    level: Callable[[float], None] = lambda dbfs: None,
) -> Ends:
    """Open microphone and loudspeaker for a call; ``level`` takes the microphone's, in dBFS.

    To be done before the call is asked for: a device takes up to 2 s to start, and what the agent
    says meanwhile would be lost. Once this returns both run.

    Raises:
        AudioDeviceError: If there is no PortAudio, no device, or no permission.
    """
    speaker = await stack.enter_async_context(Speaker(choice.output, rate=rate))
    microphone = await stack.enter_async_context(Microphone(choice.input, rate=rate))
    echo: Echo = open_echo(cancel_echo, rate)

    async def frames() -> AsyncIterator[bytes]:
        microphone.forget()
        async for near in microphone:
            frame = echo.process(near, speaker.played(microphone.waiting_ms))
            level(level_dbfs(frame))
            yield frame

    def heard(received: Received) -> None:
        if isinstance(received.frame, events.BotInterrupted):
            speaker.clear()

    badges = () if echo.badge is None else (echo.badge,)
    return Ends(frames, speaker.write, heard, badges)


async def player_for(caller: Caller, rate: int, *, stay: float | None = None) -> Player:
    """Return a virtual caller with all its sounds made, by the offline voice where it speaks.

    Raises:
        EngineError: If there is no voice here.
        UsageError: If a file that it plays is not there.
    """
    voice: Synthesiser | None = None
    if texts(caller.steps):
        worker = Worker("caller's voice")
        try:
            voice = await worker.run(lambda: engine("hibari")())
        except ImportError as missing:
            raise EngineError(
                f"a virtual caller needs the package `{missing.name}`", fix=INSTALL
            ) from None
        finally:
            worker.close()
    sounds = await render(caller.steps, rate, voice)
    return Player(caller.steps, sounds, rate=rate, stay=stay, line=caller.line)


def virtual(call: MicCall, player: Player) -> Ends:
    """Let a virtual caller hold ``call``, in real time."""

    async def frames() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        while True:
            frame = player.next_frame(sent * FRAME_S)
            for action in player.actions():
                match action:
                    case Press(digits=digits):
                        await call.press(digits)
                    case Hangup():
                        return
            yield frame
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent * FRAME_S - loop.time()))

    def heard(received: Received) -> None:
        if isinstance(received.frame, Event):
            player.on_event(received.frame, call.sent * FRAME_S)

    return Ends(frames, lambda frame: None, heard)


@dataclass(slots=True)
class Kept:
    """Keeps what the agent says in a WAV file, beside whatever else hears it."""

    path: Path
    rate: int
    writer: WavWriter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = WavWriter(self.path, self.rate)

    def also(self, play: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return a ``play`` that keeps each frame and then hands it on."""

        def both(frame: bytes) -> None:
            self.writer.write(frame)
            play(frame)

        return both


class Taping:
    """Records a call from this end: ``<call-id>.wav`` (caller left, agent right) and ``.jsonl``.

    Frame n of either side stands at the same moment of the call, so they are laid side by side by
    their numbers.
    """

    def __init__(self, folder: Path, rate: int) -> None:
        self._folder, self._rate = folder, rate
        self._caller: deque[bytes] = deque()
        self._agent: deque[bytes] = deque()
        self._recorder: Recorder | None = None
        self.problem: PinecallError | None = None
        """Why not all of the call is there."""

    def tape(self, ends: Ends) -> Ends:
        """Return ends that are recorded."""

        async def frames() -> AsyncIterator[bytes]:
            async for frame in ends.frames():
                self._caller.append(frame)
                yield frame

        def play(frame: bytes) -> None:
            self._agent.append(frame)
            self._pass_on()
            ends.play(frame)

        def heard(received: Received) -> None:
            if self._recorder is None and isinstance(received.frame, events.CallStarted):
                self._begin(str(received.frame.call_id))
            if self._recorder is not None:
                self._recorder.note(received.raw.decode("utf-8", "replace"))
            ends.heard(received)

        return Ends(frames, play, heard, ends.badges)

    def close(self) -> None:
        """Write what is left; a side that ended first counts as silent."""
        while self._caller or self._agent:
            self._pair()
        if self._recorder is not None:
            self._recorder.close()
            self._recorder.join(1.0)

    def _begin(self, call_id: str) -> None:
        self._recorder = Recorder(self._folder, call_id, self._rate, failed=self._failed)
        remember(self._recorder.wav, data_dir() / RECORDINGS)

    def _failed(self, problem: PinecallError) -> None:
        self.problem = problem

    def _pass_on(self) -> None:
        while self._caller and self._agent:
            self._pair()

    def _pair(self) -> None:
        size = self._rate * 2 * FRAME_MS // 1000
        caller = self._caller.popleft() if self._caller else bytes(size)
        agent = self._agent.popleft() if self._agent else bytes(size)
        if self._recorder is not None:
            self._recorder.hear(caller, agent)
