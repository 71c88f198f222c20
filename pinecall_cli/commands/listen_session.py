"""What ``listen`` wires together: a call's sound, its log, a loudspeaker, a file, a view."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

from pinecall_cli.agent.problems import closest
from pinecall_cli.audio.device_errors import LIST
from pinecall_cli.audio.devices import Speaker, parse_device
from pinecall_cli.audio.mix import JitterBuffer
from pinecall_cli.audio.pcm import FRAME_MS, level_dbfs
from pinecall_cli.audio.wav import WavWriter
from pinecall_cli.commands.signals import ended_by_signals
from pinecall_cli.errors import (
    AudioDeviceError,
    NotFoundError,
    PinecallError,
    UsageError,
)
from pinecall_cli.protocol.log import MARKER_TYPES, LogEntry
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.discover import Running
from pinecall_cli.sdk.live import LiveAudio
from pinecall_cli.sdk.log import LoggedCall, LogStream, calls
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Settings, Target
from pinecall_cli.view.listening import ListenView, choose, open_listen_view
from pinecall_cli.view.output import Output

RECENT = 50
"""Newest calls of a server that are looked through for live ones."""
TEXT_CHANNELS = frozenset({"chat", "whatsapp"})
WITHOUT_SOUND = "`--no-audio` reads along, and `--record FILE.wav` keeps the sound"
LAST_WORDS_S = 1.0
"""For the last entries of the log, when the sound is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What the command line of ``listen`` said."""

    call_id: str | None = None
    record: Path | None = None
    raw: bool = False
    audio: bool = True
    device: str | None = None
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0


def run(options: ListenOptions, settings: Settings) -> int:
    """Listen until the call ends; return the exit code.

    Raises:
        PinecallError: If there is no such call, or it cannot be heard.
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(
        level=logging.ERROR if options.quiet else level, format="%(message)s", stream=sys.stderr
    )
    if options.raw and options.json:
        raise UsageError("`--raw` and `--json` both want stdout", fix="leave one of them out")
    if options.raw and sys.stdout.isatty():
        raise UsageError(
            "raw sound is nothing for a terminal",
            fix="pipe it on, such as `| aplay -f S16_LE -r 16000`, or keep it with `--record`",
        )
    return asyncio.run(ListenSession(options, settings.target()).run())


@dataclass(frozen=True, slots=True)
class Found:
    """A live call and the server it is on."""

    server: Running
    call: LoggedCall


async def live_calls(target: Target) -> list[Found]:
    """Return the voice calls that are up, the newest first."""
    found = []
    for server in await discover.servers(target):
        async with Rest(server.url, server.key) as rest:
            listed = await calls(rest, limit=RECENT)
        found += [
            Found(server, call)
            for call in listed.calls
            if call.live and call.channel not in TEXT_CHANNELS
        ]
    return sorted(found, key=lambda one: one.call.started_at or 0.0, reverse=True)


def named(call_id: str, live: list[Found]) -> Found:
    """Return the live call of that id, or whose id begins so.

    Raises:
        NotFoundError: If there is none; its fix lists those there are.
        UsageError: If several ids begin so.
    """
    exact = [one for one in live if one.call.call_id == call_id]
    fitting = exact or [one for one in live if one.call.call_id.startswith(call_id)]
    if len(fitting) > 1:
        ids = ", ".join(one.call.call_id for one in fitting)
        raise UsageError(f"several live calls begin with `{call_id}`: {ids}")
    if not fitting:
        near = closest(call_id, (one.call.call_id for one in live))
        meant = f"did you mean `{near}`? " if near else ""
        raise NotFoundError(f"no live call `{call_id}`", fix=meant + listed(live))
    return fitting[0]


def listed(live: list[Found]) -> str:
    """Return the calls there are, for an error's fix."""
    if not live:
        return "no call is live; `pinecall logs` shows those that are over"
    ids = ", ".join(f"{one.call.call_id} ({one.call.agent})" for one in live)
    return f"live: {ids}"


class ListenSession:
    """One run of ``listen``."""

    def __init__(self, options: ListenOptions, target: Target) -> None:
        self.options, self.target = options, target
        self.view: ListenView
        self._signal: signal.Signals | None = None
        self._over = asyncio.Event()

    async def run(self) -> int:
        """Listen until the call ends; return the exit code."""
        found = await self._chosen()
        async with AsyncExitStack() as stack:
            audio = await stack.enter_async_context(
                await LiveAudio.open(found.server.url, found.server.key, found.call.call_id)
            )
            if not self.options.quiet:
                print(  # noqa: T201 - talk, beside the view on stdout
                    f"listening to {found.call.call_id} ({found.call.agent}) on {found.server.url}",
                    file=sys.stderr,
                )
            self.view = open_listen_view(
                json=self.options.json,
                plain=self.options.plain,
                text=not self.options.raw,
                on_closed=self._over.set,
            )
            stack.callback(self.view.close)
            sinks = await self._sinks(stack, audio.rate)
            with ended_by_signals(self._interrupt, tidy=self.view.close):
                await self._listen(audio, found, sinks)
        return 0 if self._signal is None else 128 + self._signal

    async def _chosen(self) -> Found:
        """Return the call to listen to.

        Raises:
            NotFoundError: If it is not live, or none is.
            UsageError: If several are, and nobody can be asked.
        """
        live = await live_calls(self.target)
        if self.options.call_id is not None:
            return named(self.options.call_id, live)
        if not live:
            raise NotFoundError(
                "no call is live", fix="begin one: `pinecall call AGENT`, or `c` in `pinecall dev`"
            )
        if len(live) == 1:
            return live[0]
        asked = choose([(one.call.call_id, one.call.agent, one.call.from_) for one in live])
        if asked is None:
            raise UsageError(f"{len(live)} calls are live, and none is named", fix=listed(live))
        return live[asked]

    async def _sinks(self, stack: AsyncExitStack, rate: int) -> list[Callable[[bytes], None]]:
        """Open what the sound goes to."""
        sinks: list[Callable[[bytes], None]] = []
        if self.options.record is not None:
            writer = WavWriter(self.options.record, rate)
            stack.callback(writer.close)
            sinks.append(writer.write)
        if self.options.raw:
            sinks.append(Output(sys.stdout.buffer, on_closed=self._over.set).write)
        if self.options.audio:
            choice = parse_device(f":{self.options.device}" if self.options.device else ":")
            try:
                speaker = await stack.enter_async_context(Speaker(choice.output, rate=rate))
            except AudioDeviceError as problem:
                problem.fix = f"{WITHOUT_SOUND}; {LIST}"
                raise
            player = Player(speaker, rate, self._lost_speaker)
            await stack.enter_async_context(player)
            sinks.append(player.buffer.push)
        return sinks

    async def _listen(
        self, audio: LiveAudio, found: Found, sinks: list[Callable[[bytes], None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        hearing = loop.create_task(self._hear(audio, sinks), name="hear")
        reading = loop.create_task(self._read(found), name="read")
        leaving = loop.create_task(self._over.wait(), name="leave")
        try:
            done, _ = await asyncio.wait(
                {hearing, leaving, reading}, return_when=asyncio.FIRST_COMPLETED
            )
            if reading in done:  # the log ends a moment before the sound does, or cannot be read
                self._has_read(reading)
                await asyncio.wait({hearing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                await hearing
                await asyncio.wait({reading, leaving}, timeout=LAST_WORDS_S)
        finally:
            tasks = (hearing, reading, leaving)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _hear(self, audio: LiveAudio, sinks: list[Callable[[bytes], None]]) -> None:
        async for sound in audio:
            for sink in sinks:
                sink(sound)
            self.view.level(level_dbfs(sound))

    async def _read(self, found: Found) -> None:
        """Show the call's log, from its beginning."""
        stream = LogStream(
            found.server.url,
            lambda: found.server.key,
            call=found.call.call_id,
            agent=found.call.agent,
        )
        async with aclosing(entries(stream)) as read:
            async for entry in read:
                self.view.show(entry)

    def _has_read(self, reading: asyncio.Task[None]) -> None:
        """Take the end of the transcript; the sound goes on without it, if there is one.

        Raises:
            PinecallError: If the transcript cannot be had, and is all that was asked for.
        """
        problem = reading.exception()
        if problem is None:
            return
        sound = self.options.audio or self.options.raw or self.options.record is not None
        if not (sound and isinstance(problem, PinecallError)):
            raise problem
        self.view.notice(f"no transcript: {problem.message}")

    def _interrupt(self, number: signal.Signals) -> None:
        self._signal = number
        self._over.set()

    def _lost_speaker(self, problem: AudioDeviceError) -> None:
        """Go on without sound: the transcript and the recording still count."""
        self.view.notice(f"{problem.message}: listening goes on without sound")


async def entries(stream: LogStream) -> AsyncGenerator[LogEntry, None]:
    """Yield the entries that say something."""
    async with aclosing(stream.entries()) as attached:
        async for entry in attached:
            if entry.type not in MARKER_TYPES:
                yield entry


class Player:
    """Plays a jitter buffer on a loudspeaker, at the pace of the loudspeaker's own frames."""

    def __init__(
        self, speaker: Speaker, rate: int, lost: Callable[[AudioDeviceError], None]
    ) -> None:
        self.buffer = JitterBuffer(rate)
        self._speaker, self._lost = speaker, lost
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Player:
        self._task = asyncio.get_running_loop().create_task(self._play(), name="play")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        begun, played = loop.time(), 0
        try:
            while True:
                self._speaker.write(self.buffer.pop())
                played += 1
                await asyncio.sleep(max(0.0, begun + played * FRAME_MS / 1000 - loop.time()))
        except AudioDeviceError as problem:
            self._lost(problem)
