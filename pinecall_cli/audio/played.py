"""What the loudspeaker played, in step with what the microphone heard: the echo's reference."""

from __future__ import annotations

from typing import Protocol

from pinecall_cli.audio.pcm import FRAME_MS, SAMPLE_BYTES, sample_count
from pinecall_cli.audio.ring import Ring

CUSHION_MS = 40
"""How far it runs behind the loudspeaker, so that a late callback leaves no hole. Less than the
way through the air and both devices: 60 to 90 ms measured."""
DRIFT_MS = 60
"""What may pile up on top, by two clocks that drift apart, before it is skipped."""


class Converts(Protocol):
    """What the resamplers of `audio.resample` are to us."""

    def process(self, pcm: bytes, /) -> bytes:
        """Return the next sound at the other rate."""
        ...


class Played:
    """Written by the loudspeaker's thread, read on the loop; bounded."""

    def __init__(self, rate: int, *, keep_ms: int, converter: Converts | None = None) -> None:
        """Keep ``keep_ms`` at ``rate`` Hz; a ``converter`` turns each frame that is read."""
        self._block = SAMPLE_BYTES * sample_count(FRAME_MS, rate)
        self._ring = Ring(SAMPLE_BYTES * sample_count(keep_ms, rate))
        self._converter = converter
        self._runs = False

    def write(self, sound: bytes) -> None:
        """Take what is played now, silence included."""
        self._ring.write(sound)

    def read(self, behind_ms: float = 0.0) -> bytes:
        """Return the next 20 ms, to go with one frame of the microphone.

        ``behind_ms`` is what of the microphone still waits to be read after that frame: a loop
        that was held up is behind with both alike, and has to catch up with both in step.
        """
        behind = round(behind_ms / FRAME_MS)
        cushion = self._block * (CUSHION_MS // FRAME_MS + behind)
        waiting = len(self._ring)
        if waiting > cushion + (self._block * DRIFT_MS // FRAME_MS if self._runs else 0):
            self._ring.skip(waiting - cushion)
        self._runs = self._runs or waiting >= cushion
        sound = self._ring.read(self._block) if self._runs else b""
        if len(sound) < self._block:
            self._runs = False
            sound = sound.ljust(self._block, b"\0")
        return self._converter.process(sound) if self._converter else sound
