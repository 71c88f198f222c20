"""Both sides of a call, laid side by side: for listening in and for recordings.

The caller's frame for a position may come up to 200 ms after the agent's was sent (by then it
counts as silence), so what goes out here runs that much behind the call. 16 kHz, int16 mono,
20 ms a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pinecall_cli.server.speaking import FRAME_BYTES, FRAME_MS

LAG_MS = 200

Listener = Callable[[bytes, bytes], None]
"""Takes the caller's and the agent's frame of one position. Must not wait."""


class Tape:
    """The aligned frames of one call, handed to whoever listens."""

    def __init__(self, caller: Callable[[int, int], bytes]) -> None:
        """``caller(start, end)`` returns the caller's audio between two positions in ms."""
        self._caller = caller
        self._agent: deque[bytes] = deque()
        self._listeners: list[Listener] = []
        self._position = 0

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hand every later pair of frames to ``listener``; returns how to stop that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def step(self, agent: bytes) -> None:
        """Take the agent's frame of one step; pass on the pair that is complete by now."""
        self._agent.append(agent)
        if len(self._agent) > LAG_MS // FRAME_MS:
            self._pass_on()

    def flush(self) -> None:
        """The call is over: pass on what is left."""
        while self._agent:
            self._pass_on()

    def _pass_on(self) -> None:
        agent = self._agent.popleft()
        start, self._position = self._position, self._position + FRAME_MS
        if self._listeners:
            caller = self._caller(start, self._position).ljust(FRAME_BYTES, b"\0")
            for listener in tuple(self._listeners):
                listener(caller, agent)
