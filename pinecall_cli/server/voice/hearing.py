"""What the caller says, as audio: kept by position, watched for voice, cut where it is quiet.

Audio is int16 mono at 16 kHz; positions are whole milliseconds of the call's audio clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pinecall_cli.audio.pcm import AUDIBLE_DBFS, last_above, level_dbfs
from pinecall_cli.engines.types import Vad
from pinecall_cli.server.voice.activity import Activity, VoiceStarted, VoiceStopped

RATE = 16_000
SAMPLES_PER_MS = RATE // 1000
BYTES_PER_MS = 2 * SAMPLES_PER_MS
KEEP_MS = 60_000
"""Audio kept: far more than the longest stretch that is still to be decoded or judged."""
QUIET_SEARCH_MS = 3_000
TAIL_MS = 200
"""More silence than any detector takes for voice."""


@dataclass(frozen=True, slots=True)
class Clear:
    """What a voice must be to count as cutting in: sure enough, and loud enough."""

    confidence: float = 0.0
    dbfs: float = -math.inf

    def __call__(self, probability: float, frame: bytes) -> bool:
        """Say whether a frame with this probability of voice is."""
        if probability < self.confidence:
            return False
        return self.dbfs == -math.inf or level_dbfs(frame) >= self.dbfs


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
        self.probability = 0.0
        """The VAD's, that somebody spoke in the last frame it has seen."""
        self.clear = Clear()
        self.faint_ms = 0
        """How much of the voice that goes on now, or stirs, is not `clear`."""

    @property
    def position(self) -> int:
        """Return how much has been heard, in ms."""
        return (self._start + len(self._audio)) // BYTES_PER_MS

    @property
    def voiced(self) -> bool:
        """Return whether the caller is speaking now."""
        return self._activity.voiced

    @property
    def stirring(self) -> bool:
        """Return whether the caller may have begun to speak just now."""
        return self._activity.stirring

    def push(self, pcm: bytes) -> None:
        """Take the next audio and report the edges in it."""
        self._audio += pcm
        total = self._start + len(self._audio)
        while total - self._watched >= self._frame_bytes:
            at = self._watched - self._start
            frame = bytes(self._audio[at : at + self._frame_bytes])
            self._watched += self._frame_bytes
            end = self._watched // BYTES_PER_MS
            self.probability = self._vad.probability(frame)
            edge = self._activity.push(end, self.probability)
            if not (self._activity.voiced or self._activity.stirring):
                self.faint_ms = 0
            elif not self.clear(self.probability, frame):
                self.faint_ms += self._activity.frame_ms
            if isinstance(edge, VoiceStopped):
                edge = VoiceStopped(self._audible_end(edge.last))
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

    def _audible_end(self, last: int) -> int:
        """Return where the sound of the voice that is said to end at ``last`` really ended.

        The detector remembers: it goes on hearing voice for 20 to 90 ms of plain silence (of 30
        recordings, p50 47 ms). What cannot be heard is not voice, so the frames' end is moved
        back to the last millisecond above −50 dBFS; in a room that hisses louder it stays.
        """
        start = max(last - TAIL_MS, self._start // BYTES_PER_MS)
        end = last_above(self.audio(start, last), AUDIBLE_DBFS)
        return last if end is None else start + -(-end // SAMPLES_PER_MS)

    def quiet_before(self, end: int) -> int:
        """Return the quietest 40 ms before ``end``: the least harmful place to cut speech."""
        best, best_level = end, float("inf")
        for at in range(end - 40, max(0, end - QUIET_SEARCH_MS), -40):
            level = level_dbfs(self.audio(at, at + 40))
            if level < best_level:
                best, best_level = at + 20, level
        return best
