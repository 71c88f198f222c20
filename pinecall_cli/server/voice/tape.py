"""Both sides of a call, laid side by side: for listening in and for recordings.

The caller's frame for a position comes after the agent's was sent, so what goes out here runs
200 ms behind the call, and waits longer for a caller whose audio lags more (`Arrivals` bounds
that). 16 kHz, int16 mono, 20 ms a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pinecall_cli.server.voice.arrivals import GAP_MS, LIMIT_MS
from pinecall_cli.server.voice.speaking import FRAME_BYTES, FRAME_MS

LAG_MS = 200
LATEST_MS = LIMIT_MS + 2 * GAP_MS
"""The caller never lags this much; what is not there by now was not said."""

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
        """Take the agent's frame of one step; pass on the pairs that are complete by now."""
        self._agent.append(agent)
        while len(self._agent) > LAG_MS // FRAME_MS:
            caller = self._caller(self._position, self._position + FRAME_MS)
            if len(caller) < FRAME_BYTES and len(self._agent) <= LATEST_MS // FRAME_MS:
                return
            self._pass_on(caller)

    def flush(self) -> None:
        """The call is over: pass on what is left."""
        while self._agent:
            self._pass_on(self._caller(self._position, self._position + FRAME_MS))

    def _pass_on(self, caller: bytes) -> None:
        agent = self._agent.popleft()
        self._position += FRAME_MS
        for listener in tuple(self._listeners):
            listener(caller.ljust(FRAME_BYTES, b"\0"), agent)
