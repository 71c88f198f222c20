"""Who a forwarded call goes on with, in the agent's place."""

from __future__ import annotations

from collections import deque

from pinecall_cli.server.voice.lines import Line
from pinecall_cli.server.voice.speaking import SILENCE

WAITING = 10
"""Frames kept of a party that is ahead of the call: 200 ms; the oldest go first."""


class Leg:
    """The other party of a forwarded call, one frame in and one frame out at each step."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._waiting: deque[bytes] = deque(maxlen=WAITING)

    def step(self, heard: list[bytes]) -> bytes:
        """Play them what the first party said; return what they say."""
        for frame in heard:
            self._line.send(frame)
        self._waiting.extend(self._line.receive())
        return self._waiting.popleft() if self._waiting else SILENCE
