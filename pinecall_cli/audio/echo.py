"""Keeps the agent from hearing itself: takes the loudspeaker's sound out of the microphone's."""

from __future__ import annotations

from typing import Any, Protocol

from pinecall_cli.audio.pcm import SAMPLE_BYTES, AudioFormatError, duration_ms, level_dbfs

AUDIBLE_DBFS = -50.0
"""Louder than this the loudspeaker counts as playing."""
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

    It finds the delay between both sides by itself (40 to 250 ms tried). Blocks of 10 ms.

    Raises:
        ImportError: If the extra `voice` is not installed.
    """

    badge = None

    def __init__(self, rate: int = 16_000) -> None:
        # Here and not above: base installs have neither, and fall back to half-duplex.
        import numpy  # noqa: PLC0415
        import pywebrtc_audio  # noqa: PLC0415

        self._numpy: Any = numpy
        self._canceller: Any = pywebrtc_audio.EchoCanceller(sample_rate=rate, num_channels=1)
        self._block = SAMPLE_BYTES * rate // 100

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
        sides = (self._numpy.frombuffer(side, "<i2") for side in (near, far))
        return bytes(self._canceller.process(*sides).astype("<i2").tobytes())


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
