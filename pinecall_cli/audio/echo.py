"""Keeps the agent from hearing itself: takes the loudspeaker's sound out of the microphone's."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from pinecall_cli.audio.pcm import SAMPLE_BYTES, AudioFormatError, duration_ms, level_dbfs

AUDIBLE_DBFS = -50.0
"""Louder than this the loudspeaker counts as playing."""
LOWEST_RATE = 16_000
"""What the canceller refuses to go below, in Hz."""
LEARNING_MS = 2000
"""How much of the loudspeaker's sound the canceller needs to learn the room. Until then it lets
bits of echo through that a voice detector takes for words."""
RESIDUE_DB = 10.0
"""While it learns, what it leaves this far below the microphone's level is echo, and not a voice:
of 216 greetings in simulated rooms this kept all from being interrupted by themselves."""
RECENT = 5
"""Frames of the microphone that are compared: what it lets through comes a little later."""
TAIL_MS = 400
"""How long half-duplex stays deaf afterwards: 120 ms both devices and 250 ms of a live room."""


class Echo(Protocol):
    """What stands between the microphone and the call."""

    @property
    def badge(self) -> str | None:
        """What the view says about it all the time, or None when there is nothing to say."""
        ...

    def process(self, near: bytes, far: bytes) -> bytes:
        """Return the microphone's ``near`` without what the loudspeaker played, ``far``.

        Both are as long; so is what is returned.
        """
        ...


class EchoCanceller:
    """WebRTC's AEC3: both sides may speak at once.

    It finds the delay between both sides by itself (40 to 250 ms tried), and is stricter while it
    learns. Blocks of 10 ms. It works at 16 kHz or more; the 8 kHz of a telephone are raised for
    it and lowered again.

    Raises:
        ImportError: If the extra `voice` is not installed.
    """

    badge = None

    def __init__(self, rate: int = 16_000) -> None:
        # Here and not above: base installs have none of them, and fall back to half-duplex.
        import numpy  # noqa: PLC0415
        import pywebrtc_audio  # noqa: PLC0415

        from pinecall_cli.audio.resample import SteadyResampler  # noqa: PLC0415

        inside = max(rate, LOWEST_RATE)
        self._numpy: Any = numpy
        self._canceller: Any = pywebrtc_audio.EchoCanceller(sample_rate=inside, num_channels=1)
        self._block = SAMPLE_BYTES * rate // 100
        self._near, self._far = (SteadyResampler(rate, inside) for _ in range(2))
        self._out = SteadyResampler(inside, rate)
        self._rate = rate
        self._learned_ms = self._audible_ms = 0.0
        self._levels: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def process(self, near: bytes, far: bytes) -> bytes:
        """Return ``near`` without the echo of ``far``.

        Raises:
            AudioFormatError: If they differ in length, or are not whole blocks of 10 ms.
        """
        if len(near) != len(far) or len(near) % self._block:
            raise AudioFormatError(
                f"echo cancelling takes equal blocks of {self._block} bytes,"
                f" not {len(near)} and {len(far)}"
            )
        if not near:
            return b""
        self._listen(far)
        raised = (self._near.process(near), self._far.process(far))
        sides = (self._numpy.frombuffer(side, "<i2") for side in raised)
        clean = self._out.process(self._canceller.process(*sides).astype("<i2").tobytes())
        self._levels.append((level_dbfs(near), level_dbfs(clean)))
        heard, left = (max(levels) for levels in zip(*self._levels, strict=True))
        learning = self._learned_ms < LEARNING_MS and self._audible_ms > 0
        return bytes(len(clean)) if learning and left < heard - RESIDUE_DB else clean

    def _listen(self, far: bytes) -> None:
        """Count how much the loudspeaker has played, and how long its echo may still be heard."""
        if self._learned_ms >= LEARNING_MS:
            return
        if level_dbfs(far) > AUDIBLE_DBFS:
            self._learned_ms += duration_ms(far, self._rate)
            self._audible_ms = TAIL_MS
        else:
            self._audible_ms -= duration_ms(far, self._rate)


class HalfDuplex:
    """Mutes the microphone while the loudspeaker plays and a little longer; nobody can cut in."""

    badge = "half-duplex: you are not heard while the agent speaks (no echo cancellation)"

    def __init__(self, rate: int = 16_000) -> None:
        self._rate = rate
        self._deaf_ms = 0.0

    def process(self, near: bytes, far: bytes) -> bytes:
        """Return ``near``, or as much silence while ``far`` is, or just was, to be heard."""
        if level_dbfs(far) > AUDIBLE_DBFS:
            self._deaf_ms = TAIL_MS
            return bytes(len(near))
        if self._deaf_ms > 0:
            self._deaf_ms -= duration_ms(near, self._rate)
            return bytes(len(near))
        return near


class NoEcho:
    """Changes nothing: for headphones, and for sound that comes from files."""

    badge = None

    def process(self, near: bytes, far: bytes) -> bytes:
        """Return ``near``."""
        return near


def open_echo(enabled: bool, rate: int = 16_000) -> EchoCanceller | HalfDuplex | NoEcho:
    """Return what keeps the echo out: cancellation if its package is there, else half-duplex."""
    if not enabled:
        return NoEcho()
    try:
        return EchoCanceller(rate)
    except ImportError:
        return HalfDuplex(rate)
