"""Puts a page's audio packets in order, and does not wait for one that is lost.

aiortc's own buffer holds back four packets (80 ms) of every call, and after one that is lost a
third of a second: nothing arrives until sixteen wait. Here a packet goes on at once; while one is
missing, two are held for it, and then it is given up. Where packets come unevenly, the call's clock
mends it (`arrivals.py`). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

HELD = 2
"""Packets that wait for a missing one: 40 ms at 20 ms each."""
STALE = 100
"""Packets behind; one that is further back is no late one, but the sender has begun anew."""
WRAP = 1 << 16


class Packet(Protocol):
    """What is read of an RTP packet."""

    sequence_number: int
    timestamp: int
    payload: bytes


@dataclass(slots=True)
class Encoded:
    """A packet's sound, and its place on RTP's clock."""

    data: bytes
    timestamp: int


class Reorder:
    """Stands where aiortc has a jitter buffer: a packet in, at most one out."""

    def __init__(self) -> None:
        self._next: int | None = None
        """The sequence number that is due."""
        self._held: dict[int, Packet] = {}

    def add(self, packet: Packet) -> tuple[bool, Encoded | None]:
        """Return what goes to the decoder now; the first value asks for a key frame, never here."""
        number = packet.sequence_number
        if self._next is None or STALE < self._behind(number) < WRAP - STALE:
            self._next = number
            self._held.clear()
        if self._behind(number) == 0 or self._behind(number) >= WRAP - STALE:
            self._held[number] = packet
        return False, self._take()

    def _behind(self, number: int) -> int:
        """Return by how much a number is behind the one that is due; ahead wraps around."""
        assert self._next is not None
        return (self._next - number) % WRAP

    def _take(self) -> Encoded | None:
        assert self._next is not None
        if self._next not in self._held:
            if len(self._held) <= HELD:
                return None
            self._next = max(self._held, key=self._behind)
        packet = self._held.pop(self._next)
        self._next = (self._next + 1) % WRAP
        return Encoded(packet.payload, packet.timestamp)
