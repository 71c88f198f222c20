"""What a listener hears of an agent's sound that comes over a network: when it stops, for how long.

A telephone plays a frame every 20 ms, each so much after the moment it should have come as its
buffer holds; the moment is known from those that came soonest. A frame that comes later than its
turn is an underrun: the telephone is silent until it comes, and goes on from there; frames that
were held up and now come at once take it back to where it was. Pure: times are arguments, in
seconds.
"""

from __future__ import annotations

from pinecall_cli.audio.pcm import FRAME_MS, level_dbfs

BUFFER_MS = 100.0
"""What a common jitter buffer holds."""
AUDIBLE_DBFS = -50.0


class Playout:
    """One call's sound at the caller's ear."""

    def __init__(self, buffer_ms: float = BUFFER_MS) -> None:
        self.late_ms: list[float] = []
        """Of each frame: how much later it came than those that came soonest."""
        self.underruns_ms: list[float] = []
        """How long the sound stopped each time."""
        self.waits_ms: list[float] = []
        """From the caller's last audible frame before a turn ended to the agent's first."""
        self._buffer_ms = buffer_ms
        self._frames = 0
        self._origin = float("inf")
        """When the first frame would have come, had it come as soon as any since; in ms."""
        self._spoke_at: float | None = None
        self._turn_from: float | None = None

    def arrived(self, frame: bytes, now: float) -> None:
        """Take a frame of the agent."""
        origin = now * 1000 - self._frames * FRAME_MS
        self._origin = min(self._origin, origin)
        self._frames += 1
        late = origin - self._origin
        self.late_ms.append(late)
        if late > self._buffer_ms:
            self.underruns_ms.append(late - self._buffer_ms)
            self._origin = origin
        if self._turn_from is not None and level_dbfs(frame) > AUDIBLE_DBFS:
            self.waits_ms.append((now - self._turn_from) * 1000)
            self._turn_from = None

    def spoke(self, frame: bytes, now: float) -> None:
        """Take a frame of the caller, as it is sent."""
        if level_dbfs(frame) > AUDIBLE_DBFS:
            self._spoke_at = now

    def turn_ended(self) -> None:
        """Note that the server took the caller's turn for over: its answer is waited for."""
        self._turn_from = self._spoke_at
