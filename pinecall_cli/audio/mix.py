"""Mixes sides of a call or channels into one, and smooths what comes in uneven frames.

Pure, and without numpy: int16 mono PCM.
"""

from __future__ import annotations

from array import array

from pinecall_cli.audio.pcm import FRAME_MS, SAMPLE_BYTES, from_samples, sample_count, samples

LOUDEST, QUIETEST = 32767, -32768
FADE_MS = 5
"""A step in the sound shorter than this is a click."""


def mix(one: bytes, other: bytes) -> bytes:
    """Return both sounds at once, as long as the longer; what is too loud is clipped."""
    if not any(one):
        return other.ljust(len(one), b"\0")
    if not any(other):
        return one.ljust(len(other), b"\0")
    size = max(len(one), len(other))
    pairs = zip(samples(one.ljust(size, b"\0")), samples(other.ljust(size, b"\0")), strict=True)
    return from_samples(
        array("h", (max(QUIETEST, min(LOUDEST, left + right)) for left, right in pairs))
    )


def downmix(pcm: bytes, channels: int) -> bytes:
    """Return interleaved sound as mono: the mean of its channels.

    Raises:
        AudioFormatError: If ``pcm`` is not a whole number of samples.
    """
    values = samples(pcm)
    sides = [values[side::channels] for side in range(channels)]
    if all(side == sides[0] for side in sides):
        return from_samples(sides[0])
    return from_samples(array("h", (sum(at) // channels for at in zip(*sides, strict=True))))


class JitterBuffer:
    """Turns sound that comes in lumps into 20 ms frames without clicks.

    Playing begins when ``target_ms`` wait; a gap fades out and the sound after it fades in; more
    than ``limit_ms`` waiting means that the sender's clock runs faster than ours, and the surplus
    is skipped over a fade.
    """

    def __init__(self, rate: int, *, target_ms: int = 120, limit_ms: int = 400) -> None:
        self.rate = rate
        self.gaps = 0
        """How often the sound broke off."""
        self.skipped_ms = 0
        """Sound that was skipped to catch up."""
        self._target = SAMPLE_BYTES * sample_count(target_ms, rate)
        self._limit = SAMPLE_BYTES * sample_count(limit_ms, rate)
        self._frame = SAMPLE_BYTES * sample_count(FRAME_MS, rate)
        self._waiting = bytearray()
        self._playing = False
        self._last = 0

    def push(self, pcm: bytes) -> None:
        """Take what has come."""
        self._waiting += pcm
        surplus = len(self._waiting) - self._limit
        if surplus > 0:
            self._skip(len(self._waiting) - self._target)

    def pop(self) -> bytes:
        """Return the next 20 ms to play: sound, or silence while there is too little."""
        if not self._playing:
            if len(self._waiting) < self._target:
                return bytes(self._frame)
            self._playing = True
            return self._faded_in(self._take())
        if len(self._waiting) >= self._frame:
            return self._take()
        rest = self._take().ljust(self._frame, b"\0")
        self._playing = False
        self.gaps += 1
        return self._faded_out(rest)

    def drain(self) -> bytes:
        """Return everything that still waits: the call is over."""
        rest = bytes(self._waiting)
        self._waiting.clear()
        return rest

    def _take(self) -> bytes:
        frame = bytes(self._waiting[: self._frame])
        del self._waiting[: self._frame]
        if frame:
            self._last = samples(frame)[-1]
        return frame

    def _skip(self, surplus: int) -> None:
        surplus -= surplus % SAMPLE_BYTES
        count = sample_count(FADE_MS, self.rate)
        width = SAMPLE_BYTES * count
        before = samples(bytes(self._waiting[:width]))
        after = samples(bytes(self._waiting[surplus : surplus + width]))
        joined = array(
            "h",
            (
                (left * (count - at) + right * at) // count
                for at, (left, right) in enumerate(zip(before, after, strict=True))
            ),
        )
        self._waiting[: surplus + width] = from_samples(joined)
        self.skipped_ms += 1000 * surplus // (SAMPLE_BYTES * self.rate)

    def _faded_in(self, frame: bytes) -> bytes:
        values = samples(frame)
        count = min(len(values), sample_count(FADE_MS, self.rate))
        for at in range(count):
            values[at] = values[at] * at // count
        return from_samples(values)

    def _faded_out(self, frame: bytes) -> bytes:
        """Let the last sample that was played sink to nothing where the sound ends."""
        values = samples(frame)
        end = len(values)
        while end and values[end - 1] == 0:
            end -= 1
        start = values[end - 1] if end else self._last
        count = min(len(values) - end, sample_count(FADE_MS, self.rate))
        for at in range(count):
            values[end + at] = start * (count - at) // (count + 1)
        return from_samples(values)
