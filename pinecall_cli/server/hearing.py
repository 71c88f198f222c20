"""What the caller says, as audio: kept by position, watched for voice, cut where it is quiet.

Audio is int16 mono at 16 kHz; positions are whole milliseconds of the call's audio clock.
"""

from __future__ import annotations

from collections.abc import Callable

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.engines.types import Vad
from pinecall_cli.server.activity import Activity, VoiceStarted, VoiceStopped

RATE = 16_000
BYTES_PER_MS = RATE * 2 // 1000
KEEP_MS = 60_000
"""Audio kept: far more than the longest stretch that is still to be decoded or judged."""
QUIET_SEARCH_MS = 3_000


class Hearing:
    """The caller's audio of one call: a window over the last minute, and voice edges."""

    def __init__(self, vad: Vad, *, edge: Callable[[VoiceStarted | VoiceStopped, int], None]):
        """``edge`` is called with each voice edge and the position it was noticed at."""
        self._vad, self._edge = vad, edge
        self._frame_bytes = vad.frame_samples * 2
        self._activity = Activity(frame_ms=vad.frame_samples * 1000 // RATE)
        self._audio = bytearray()
        self._start = 0
        """Bytes dropped from the front so far."""
        self._watched = 0
        """Bytes the VAD has seen."""

    @property
    def position(self) -> int:
        """Return how much has been heard, in ms."""
        return (self._start + len(self._audio)) // BYTES_PER_MS

    @property
    def voiced(self) -> bool:
        """Return whether the caller is speaking now."""
        return self._activity.voiced

    def push(self, pcm: bytes) -> None:
        """Take the next audio and report the edges in it."""
        self._audio += pcm
        total = self._start + len(self._audio)
        while total - self._watched >= self._frame_bytes:
            at = self._watched - self._start
            frame = bytes(self._audio[at : at + self._frame_bytes])
            self._watched += self._frame_bytes
            end = self._watched // BYTES_PER_MS
            edge = self._activity.push(end, self._vad.probability(frame))
            if edge is not None:
                self._edge(edge, end)
        surplus = len(self._audio) - KEEP_MS * BYTES_PER_MS
        if surplus > RATE * 2:  # a second at a time, not a memmove per frame
            del self._audio[:surplus]
            self._start += surplus

    def audio(self, start: int, end: int) -> bytes:
        """Return the audio from ``start`` to ``end``, as much of it as is still kept."""
        first = max(0, start * BYTES_PER_MS - self._start)
        last = max(first, end * BYTES_PER_MS - self._start)
        return bytes(self._audio[first:last])

    def quiet_before(self, end: int) -> int:
        """Return the quietest 40 ms before ``end``: the least harmful place to cut speech."""
        best, best_level = end, float("inf")
        for at in range(end - 40, max(0, end - QUIET_SEARCH_MS), -40):
            level = level_dbfs(self.audio(at, at + 40))
            if level < best_level:
                best, best_level = at + 20, level
        return best
