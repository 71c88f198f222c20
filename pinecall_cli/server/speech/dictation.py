"""Speech on its way to text: cut into stretches where nobody speaks, each recognised by itself.

One per file or stream. Audio is int16 mono at 16 kHz, times are ms from its start. The detector
and all that cuts run on a worker's thread; a call's recognition goes before ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pinecall_cli.audio import mulaw
from pinecall_cli.engines.types import Recogniser, Vad
from pinecall_cli.engines.worker import unhurried
from pinecall_cli.server.voice.activity import VoiceStarted, VoiceStopped
from pinecall_cli.server.voice.hearing import BYTES_PER_MS, RATE, Hearing

PAUSE_MS = 500
"""Of silence end a stretch."""
LONGEST_MS = 8_000
"""After so much of it a stretch is cut where it is quietest: some 200 ms of recognition, which
is as long as a call may have to wait for it."""
MARGIN_MS = 150
"""Left around a stretch: a recogniser likes to hear a word begin."""
SLICE_BYTES = 100 * BYTES_PER_MS


@dataclass(frozen=True, slots=True)
class Stretch:
    """Somebody speaking, from ``start`` to ``end``."""

    start: int
    end: int
    pcm: bytes
    """With `MARGIN_MS` around it where there is so much."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said in a stretch; times in seconds."""

    text: str
    start: float
    end: float

    def words(self) -> list[dict[str, Any]]:
        """Return its words with times.

        The recogniser has none: its words are laid over the stretch by their letters.
        """
        words = self.text.split()
        letters = sum(map(len, words)) or 1
        found, at = [], self.start
        for word in words:
            end = at + (self.end - self.start) * len(word) / letters
            found.append({"word": word, "start": round(at, 3), "end": round(end, 3)})
            at = end
        return found


class Stretches:
    """Cuts what is heard; not to be used from two threads at once."""

    def __init__(self, vad: Vad) -> None:
        self._hearing = Hearing(vad, edge=self._edge)
        self._start: int | None = None
        self._stopped: int | None = None
        """Where the voice was last heard, once it is not heard any more."""
        self._before = 0
        """Where the last stretch ended."""

    @property
    def position(self) -> int:
        """How much has been heard."""
        return self._hearing.position

    def push(self, pcm: bytes) -> list[Stretch]:
        """Take more sound and return the stretches that it completes."""
        done = []
        for at in range(0, len(pcm), SLICE_BYTES):
            self._hearing.push(pcm[at : at + SLICE_BYTES])
            if (stretch := self._due()) is not None:
                done.append(stretch)
        return done

    def flush(self) -> list[Stretch]:
        """Return what is being said, as if it were over; what follows begins anew."""
        stretch = self.so_far()
        if stretch is None:
            return []
        self._finish(self.position)
        return [stretch]

    def so_far(self) -> Stretch | None:
        """Return what is being said, or None."""
        if self._start is None:
            return None
        return self._stretch(self._start, self.position if self._stopped is None else self._stopped)

    def _edge(self, edge: VoiceStarted | VoiceStopped, at: int) -> None:
        if isinstance(edge, VoiceStopped):
            self._stopped = edge.last
        elif self._start is None:
            self._start, self._stopped = max(edge.onset, self._before), None
        else:
            self._stopped = None

    def _due(self) -> Stretch | None:
        """Return the stretch that is over by now, if one is."""
        start, here = self._start, self.position
        if start is None:
            return None
        if self._stopped is not None and here - self._stopped >= PAUSE_MS:
            stretch = self._stretch(start, self._stopped)
            self._finish(self._stopped)
            return stretch
        if here - start >= LONGEST_MS and self._stopped is None:
            cut = max(start + LONGEST_MS // 2, self._hearing.quiet_before(here))
            stretch = self._stretch(start, cut)
            self._before, self._start = cut, cut
            return stretch
        return None

    def _stretch(self, start: int, end: int) -> Stretch:
        first, end = max(self._before, start - MARGIN_MS, 0), max(start, end)
        return Stretch(start, end, self._hearing.audio(first, end + MARGIN_MS))

    def _finish(self, end: int) -> None:
        self._before = end
        self._start = self._stopped = None
        if self._hearing.voiced:  # they go on speaking: no edge will say so again
            self._start = end


async def recognised(recogniser: Recogniser, stretch: Stretch) -> Segment | None:
    """Return what was said in a stretch; None when it was nothing after all.

    Raises:
        EngineError: If the recogniser breaks.
    """
    with unhurried():
        text = await recogniser.transcribe(stretch.pcm)
    return Segment(text, stretch.start / 1000, stretch.end / 1000) if text else None


def to_16k(rate: int, encoding: str = "linear16") -> Callable[[bytes], bytes]:
    """Return what turns a stream of that format into int16 at 16 kHz, however it is cut up."""
    rest = bytearray()
    convert: Callable[[bytes], bytes] = bytes
    if rate != RATE:
        # numpy, which only a server that speaks has
        from pinecall_cli.audio.resample import Resampler  # noqa: PLC0415

        convert = Resampler(rate, RATE).process

    def take(data: bytes) -> bytes:
        if encoding == "mulaw":
            return convert(mulaw.decode(data))
        rest.extend(data)
        whole = bytes(rest[: len(rest) // 2 * 2])
        del rest[: len(whole)]
        return convert(whole)

    return take
