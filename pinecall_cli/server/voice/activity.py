"""From speech probabilities to voice edges: hysteresis, so that one odd frame changes nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VoiceStarted:
    """Somebody began to speak at ``onset`` (ms of the call's audio clock)."""

    onset: int
    confidence: float


@dataclass(frozen=True, slots=True)
class VoiceStopped:
    """The last frame with voice in it ended at ``last`` (ms of the call's audio clock)."""

    last: int


class Activity:
    """Turn one probability per frame into edges. Pure; frames carry their own position.

    Voice starts with ``start_frames`` frames in a row at or above ``start``, and stops with
    ``stop_frames`` in a row below ``stop``: with Silero's 32 ms frames 64 ms each. The values
    between the two thresholds keep whatever is.
    """

    def __init__(
        self,
        *,
        frame_ms: int = 32,
        start: float = 0.5,
        stop: float = 0.35,
        start_frames: int = 2,
        stop_frames: int = 2,
    ) -> None:
        self.frame_ms = frame_ms
        self.start, self.stop = start, stop
        self.start_frames, self.stop_frames = start_frames, stop_frames
        self.voiced = False
        self._run = 0
        self._peak = 0.0
        self._last = 0

    @property
    def stirring(self) -> bool:
        """Return whether the last frame had voice in it, but not yet enough of them had."""
        return not self.voiced and self._run > 0

    def push(self, end: int, probability: float) -> VoiceStarted | VoiceStopped | None:
        """Take the frame that ends at ``end`` ms; return the edge it completes, if any."""
        if not self.voiced:
            if probability < self.start:
                self._run, self._peak = 0, 0.0
                return None
            self._run += 1
            self._peak = max(self._peak, probability)
            if self._run < self.start_frames:
                return None
            self.voiced, self._last = True, end
            onset = max(0, end - self._run * self.frame_ms)
            edge = VoiceStarted(onset, round(self._peak, 3))
            self._run, self._peak = 0, 0.0
            return edge
        if probability >= self.stop:
            self._run = 0
            if probability >= self.start:
                self._last = end
            return None
        self._run += 1
        if self._run < self.stop_frames:
            return None
        self.voiced, self._run = False, 0
        return VoiceStopped(self._last)
