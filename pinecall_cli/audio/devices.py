"""The machine's microphones and loudspeakers, through PortAudio; the only home of sounddevice.

Two streams, never one duplex, which fails on ALSA's PulseAudio plugin. PortAudio calls back on a
thread of its own, where nothing is done but copying into a ring; all else happens on the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pinecall_cli.audio.choice import Choice as Choice
from pinecall_cli.audio.choice import Device as Device
from pinecall_cli.audio.choice import choose
from pinecall_cli.audio.device_errors import (
    Side,
    lost,
    no_device,
    open_failed,
    portaudio_missing,
)
from pinecall_cli.audio.off_loop import off_loop
from pinecall_cli.audio.pcm import FRAME_MS, SAMPLE_BYTES, sample_count
from pinecall_cli.audio.played import Converts, Played
from pinecall_cli.audio.quiet import Quiet
from pinecall_cli.audio.ring import Ring
from pinecall_cli.audio.stall import Stall

DEVICE_RATE = 48_000
"""What devices are opened at if we can resample: the rate at which PulseAudio never under-ran."""
MICROPHONE_BUFFER_MS = 1000
"""What the microphone keeps for a loop that is held up; older sound is dropped."""
RUNNING_EVERY_S = 0.02
"""How often an opened device is asked whether it runs: about once a block."""
SPEAKER_BUFFER_MS = 60
"""The most that waits to be played: the protocol's limit (sessions.md §7.2)."""
CUSHION_MS = 40
"""What has to wait before playing starts, so that one late frame is not heard."""
PLAYED_BUFFER_MS = MICROPHONE_BUFFER_MS + 200
"""What was played is kept as long as what was heard meanwhile: both wait for the same loop."""
CLOSE_S = 1.0
"""How long closing is waited for; a device that hangs is left to its thread."""


def _portaudio() -> Any:
    """Return sounddevice, which starts PortAudio when it is first imported.

    It points descriptor 2 to /dev/null meanwhile, since ALSA and JACK write a page when they are
    probed; later noise is `Quiet`'s.

    Raises:
        AudioDeviceError: If there is no PortAudio on this machine.
    """
    try:
        # Here and not above: importing fails with OSError where PortAudio is missing.
        import sounddevice  # noqa: PLC0415
    except (ImportError, OSError) as problem:
        raise portaudio_missing() from problem
    return sounddevice


def list_devices() -> list[Device]:
    """Return every sound device; the ids are those that `--device` takes.

    Raises:
        AudioDeviceError: If there is no PortAudio on this machine.
    """
    sd = _portaudio()
    defaults = set(sd.default.device)
    return [
        Device(
            id=index,
            name=str(found["name"]),
            input=found["max_input_channels"] > 0,
            output=found["max_output_channels"] > 0,
            default=index in defaults,
        )
        for index, found in enumerate(sd.query_devices())
    ]


def parse_device(text: str, devices: Sequence[Device] | None = None) -> Choice:
    """Return the devices that ``IN[:OUT]`` names, each by id or by part of its name.

    An empty side is the default. ``devices`` are those to choose from; None asks the machine.

    Raises:
        UsageError: If a name fits several devices.
        AudioDeviceError: If nothing fits, or the device does not record or play.
    """
    return choose(text, list_devices() if devices is None else devices)


def _converter(rate_in: int, rate_out: int, *, steady: bool = False) -> Converts | None:
    """Return a resampler, or None when both rates are the same or numpy is not installed.

    A ``steady`` one returns each frame whole.
    """
    if rate_in == rate_out:
        return None
    try:
        # Here and not above: the base install has no numpy, and does without.
        from pinecall_cli.audio.resample import Resampler, SteadyResampler  # noqa: PLC0415
    except ImportError:
        return None
    return SteadyResampler(rate_in, rate_out) if steady else Resampler(rate_in, rate_out)


class _Line:
    """What both directions share: opening, closing, and noticing that the device has gone."""

    side: Side

    def __init__(self, device: int | None = None, *, rate: int = 16_000) -> None:
        self.rate = rate
        """Hz of the frames on our side."""
        self.device_rate = rate
        """Hz at which the device runs, known once it is open."""
        self.name = "default"
        self._device = device
        self._stream: Any = None
        self._closed = False
        self._calls = 0
        self._ended = False
        self._stall = Stall()
        self._quiet = Quiet()
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            await off_loop(self._open)
            await self._running()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def latency_s(self) -> float:
        """Seconds between the device and us, as PortAudio reckons."""
        return float(self._stream.latency) if self._stream is not None else 0.0

    def _prepare(self) -> None:
        """Make what depends on the device's rate, before the first callback."""
        raise NotImplementedError

    def _callback(self, data: Any, frames: int, moment: Any, status: Any) -> None:
        raise NotImplementedError

    def _open(self) -> None:
        sd = _portaudio()
        index = self._device
        if index is None:
            index = int(sd.default.device[self.side])
            if index < 0:
                raise no_device(self.side)
        self._quiet.__enter__()
        try:
            self.name = str(sd.query_devices(index)["name"])
            stream = self._started(sd, index)
        except sd.PortAudioError as problem:
            code = problem.args[1] if len(problem.args) > 1 else None
            raise open_failed(self.side, self.name, code, str(problem)) from problem
        with self._guard:
            self._stream = stream
        if self._closed:  # given up while it was being opened
            self._shut()

    def _started(self, sd: Any, index: int) -> Any:
        """Return a running stream at the first rate that the device takes.

        48 kHz with latency `high`: no under-run in any test. 16 and 24 kHz with `high` under-ran
        some thousand times a second on PulseAudio when another program listened with low latency;
        with 0.1 s they did not, at the price of blocks that come in pairs.
        """
        settings = {"input": sd.check_input_settings, "output": sd.check_output_settings}
        plans: list[tuple[int, str | float]] = [(self.rate, 0.1)]
        if _converter(DEVICE_RATE, self.rate) is not None or self.rate == DEVICE_RATE:
            plans.insert(0, (DEVICE_RATE, "high"))
        own = round(sd.query_devices(index)["default_samplerate"])
        if own not in (DEVICE_RATE, self.rate) and _converter(own, self.rate) is not None:
            plans.append((own, "high"))
        for number, (rate, latency) in enumerate(plans, 1):
            try:
                settings[self.side](device=index, channels=1, dtype="int16", samplerate=rate)
            except sd.PortAudioError:
                if number == len(plans):
                    raise
                continue
            self.device_rate = rate
            self._prepare()
            kind = sd.RawInputStream if self.side == "input" else sd.RawOutputStream
            stream = kind(
                samplerate=rate,
                blocksize=sample_count(FRAME_MS, rate),
                device=index,
                channels=1,
                dtype="int16",
                latency=latency,
                callback=self._callback,
                finished_callback=self._finished,
            )
            try:
                stream.start()
            except sd.PortAudioError:
                stream.close(ignore_errors=True)
                raise
            return stream
        raise AssertionError("there is always a plan")

    async def _running(self) -> None:
        """Return when the device has called back: a stream may take 2 s to start.

        Sound that is played into one that does not run yet is lost, and a call whose microphone
        begins late lags behind its own clock.
        """
        while not self._calls:
            self._check()
            await asyncio.sleep(RUNNING_EVERY_S)

    def _finished(self) -> None:
        self._ended = True

    def _check(self) -> None:
        """Raise if the device has stopped, or has not called back for a second."""
        if self._ended or self._stall.gone(self._calls, time.monotonic()):
            raise lost(self.side, self.name)

    async def _close(self) -> None:
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await off_loop(self._shut)

    def _shut(self) -> None:
        with self._guard:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)
        self._quiet.__exit__()


class Microphone(_Line):
    """A microphone: `read` it, or iterate over it, in 20 ms frames at ``rate`` Hz.

    ``device`` is an id of `list_devices`; None is the default. An async context manager.

    Raises:
        AudioDeviceError: On entering, if there is no such device or it may not be used; on
            reading, if it has gone.
    """

    side = "input"

    def _prepare(self) -> None:
        self._ring = Ring(SAMPLE_BYTES * sample_count(MICROPHONE_BUFFER_MS, self.device_rate))
        self._converter = _converter(self.device_rate, self.rate)
        self._pending = bytearray()
        self._arrived = asyncio.Event()

    def _callback(self, data: Any, frames: int, moment: Any, status: Any) -> None:
        self._ring.write(bytes(data))
        self._calls += 1
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has closed; so will the stream
                self._loop.call_soon_threadsafe(self._arrived.set)

    @property
    def dropped_ms(self) -> float:
        """Sound that was lost because nobody read it in time."""
        return 1000 * self._ring.dropped / (SAMPLE_BYTES * self.device_rate)

    @property
    def waiting_ms(self) -> float:
        """Sound that has come and was not read yet."""
        return 1000 * len(self._ring) / (SAMPLE_BYTES * self.device_rate) + 1000 * len(
            self._pending
        ) / (SAMPLE_BYTES * self.rate)

    def forget(self) -> None:
        """Drop what has come and was not read: what was said before the call is not part of it."""
        self._ring.clear()
        self._pending.clear()

    async def read(self) -> bytes:
        """Return the next 20 ms of sound.

        Raises:
            AudioDeviceError: If the device has stopped, or not called back for a second.
        """
        size = SAMPLE_BYTES * sample_count(FRAME_MS, self.rate)
        while len(self._pending) < size:
            heard = self._ring.read(self._ring.capacity)
            if heard:
                self._pending += self._converter.process(heard) if self._converter else heard
                continue
            self._check()
            self._arrived.clear()
            if not len(self._ring):  # nothing came between the look and the clearing
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self._arrived.wait()
        frame = bytes(self._pending[:size])
        del self._pending[:size]
        return frame

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.read()


class Speaker(_Line):
    """A loudspeaker: `write` it 20 ms frames at ``rate`` Hz, at the pace of the call.

    At most 60 ms wait to be played: what comes too early pushes out the oldest. When there is
    nothing to play it plays silence. An async context manager.

    Raises:
        AudioDeviceError: On entering, if there is no such device or it may not be used; on
            writing, if it has gone.
    """

    side = "output"

    def _prepare(self) -> None:
        rate = self.device_rate
        self._block = SAMPLE_BYTES * sample_count(FRAME_MS, rate)
        self._ring = Ring(SAMPLE_BYTES * sample_count(SPEAKER_BUFFER_MS, rate))
        self._converter = _converter(self.rate, rate)
        self._played = Played(
            rate,
            keep_ms=PLAYED_BUFFER_MS,
            converter=_converter(rate, self.rate, steady=True),
        )
        self._playing = self._waited = False
        self.underruns = 0
        """How often the sound broke off because the next frame came late."""

    def _callback(self, data: Any, frames: int, moment: Any, status: Any) -> None:
        waiting = len(self._ring)
        if not self._playing:
            # A tail shorter than the cushion is not held back for ever.
            self._playing = waiting >= self._block * CUSHION_MS // FRAME_MS or self._waited
            self._waited = bool(waiting) and not self._playing
        sound = self._ring.read(len(data)) if self._playing else b""
        if len(sound) < len(data):
            self.underruns += self._playing and bool(sound)
            self._playing = False
            sound = sound.ljust(len(data), b"\0")
        data[:] = sound
        self._played.write(sound)
        self._calls += 1

    def write(self, frame: bytes) -> None:
        """Queue ``frame`` to be played.

        Raises:
            AudioDeviceError: If the device has stopped, or not called back for a second.
        """
        self._check()
        self._ring.write(self._converter.process(frame) if self._converter else frame)

    def clear(self) -> None:
        """Drop what waits to be played: the agent was interrupted."""
        self._ring.clear()

    @property
    def buffered_ms(self) -> float:
        """What waits to be played."""
        return 1000 * len(self._ring) / (SAMPLE_BYTES * self.device_rate)

    @property
    def dropped_ms(self) -> float:
        """Sound that was pushed out because it came faster than it could be played."""
        return 1000 * self._ring.dropped / (SAMPLE_BYTES * self.device_rate)

    def played(self, behind_ms: float = 0.0) -> bytes:
        """Return the next 20 ms of what was really played, silence included, for echo cancelling.

        To be called once for each frame of the microphone, with its `Microphone.waiting_ms`.
        """
        return self._played.read(behind_ms)
