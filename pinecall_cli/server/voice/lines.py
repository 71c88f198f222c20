"""A line: the two ends of a call's audio. And two of them joined, for a call between agents."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from pinecall_cli.audio import mulaw

WAITING = 100
"""Frames on their way from one end to the other: 2 s; an end that reads nothing loses them."""


class Line(Protocol):
    """The two ends of a call's audio: int16 mono at 16 kHz, 20 ms a frame."""

    def receive(self) -> list[bytes]:
        """Return the frames that have arrived since the last time, without waiting."""
        ...

    def send(self, frame: bytes) -> None:
        """Play one frame to the caller."""
        ...


class Telephone:
    """What a telephone line leaves of a sound: 8 kHz µ-law, one direction, frame by frame."""

    def __init__(self) -> None:
        # numpy, which only a server that speaks has
        from pinecall_cli.audio.resample import Resampler  # noqa: PLC0415

        self._down, self._up = Resampler(16_000, 8_000), Resampler(8_000, 16_000)
        self._ready = bytearray()

    def carry(self, frame: bytes) -> bytes:
        """Return ``frame`` as it arrives, as long as it was, a few ms late."""
        narrow = mulaw.decode(mulaw.encode(self._down.process(frame)))
        self._ready += self._up.process(narrow)
        short = len(frame) - len(self._ready)
        if short > 0:  # the resamplers' delay, once
            self._ready[:0] = bytes(short)
        carried = bytes(self._ready[: len(frame)])
        del self._ready[: len(frame)]
        return carried


def whole(frame: bytes) -> bytes:
    """Return ``frame`` as it arrives over a wire that takes nothing away."""
    return frame


class WireEnd:
    """One end of a wire between two calls."""

    def __init__(self, *, telephone: bool) -> None:
        self._arrived: deque[bytes] = deque(maxlen=WAITING)
        self._carry = Telephone().carry if telephone else whole
        self._other = self

    @classmethod
    def pair(cls, *, telephone: bool = True) -> tuple[WireEnd, WireEnd]:
        """Return both ends of a new wire, which may sound like a telephone's."""
        here, there = cls(telephone=telephone), cls(telephone=telephone)
        here._other, there._other = there, here
        return here, there

    def receive(self) -> list[bytes]:
        """Return what the other end has sent since the last time."""
        frames = list(self._arrived)
        self._arrived.clear()
        return frames

    def send(self, frame: bytes) -> None:
        """Hand one frame to the other end."""
        self._other._arrived.append(self._carry(frame))
