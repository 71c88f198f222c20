"""How loud both sides of a call are: ``audio.metrics`` (events.md §7.7), where it is asked for.

Pure: sound goes in as it stands on the call's audio clock, an event comes out for each interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from pinecall_cli.audio.pcm import FULL_SCALE, level_dbfs, samples
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.voice.speaking import FRAME_MS, RATE

INTERVAL_MS = 100
LEAST_MS, MOST_MS = FRAME_MS, 10_000
FLOOR_DB = -60.0
"""The lowest level that is told; silence has none."""


def interval_ms(config: Mapping[str, Any]) -> int | None:
    """Return how much sound each event of a call tells of, in ms; None if none is asked for."""
    nested = config.get("config")
    analysis = nested.get("analysis") if isinstance(nested, Mapping) else None
    if not isinstance(analysis, Mapping) or analysis.get("send_audio_metrics") is not True:
        return None
    asked = analysis.get("audio_metrics_interval_ms")
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not math.isfinite(asked):
        return INTERVAL_MS
    return round(max(LEAST_MS, min(asked, MOST_MS)))


class Meter:
    """The level of one side of a call."""

    def __init__(self, source: str, *, epoch: float, emit: Callable[[Event], None]) -> None:
        """``source`` is ``user`` or ``bot``; ``epoch`` the wall second of the clock's zero."""
        self._source, self._epoch, self._emit = source, epoch, emit
        self._sound = bytearray()
        self._speech = False

    def take(
        self, pcm: bytes, at: int, every_ms: int, *, speech: bool, voice: float | None = None
    ) -> None:
        """Take sound that ends ``at`` ms; tell of it once ``every_ms`` have come together.

        Args:
            pcm: int16 mono at 16 kHz.
            at: Its end on the call's audio clock.
            every_ms: The interval.
            speech: Whether somebody speaks in it.
            voice: The voice detector's probability, for the side that has one.
        """
        self._sound += pcm
        self._speech = self._speech or speech
        if len(self._sound) < every_ms * RATE * 2 // 1000:
            return
        sound = bytes(self._sound)
        level = level_dbfs(sound)
        peak = max(map(abs, samples(sound))) / FULL_SCALE
        self._emit(
            events.AudioMetrics(
                source=self._source,
                energy_db=round(max(FLOOR_DB, level), 1),
                rms=round(10 ** (level / 20), 4),
                peak=round(peak, 4),
                is_speech=self._speech,
                vad_prob=UNSET if voice is None else round(voice, 3),
                timestamp=round(self._epoch + at / 1000, 3),
            )
        )
        self.clear()

    def clear(self) -> None:
        """Begin a new interval."""
        self._sound.clear()
        self._speech = False


class Meters:
    """Both sides of one call; silent until somebody asks."""

    def __init__(
        self, config: Mapping[str, Any], *, epoch: float, emit: Callable[[Event], None]
    ) -> None:
        """``epoch`` is the wall-clock second of the audio clock's zero."""
        self._caller = Meter("user", epoch=epoch, emit=emit)
        self._agent = Meter("bot", epoch=epoch, emit=emit)
        self._every_ms = interval_ms(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Measure as the configuration says from now on."""
        every_ms = interval_ms(config)
        if every_ms != self._every_ms:
            self._every_ms = every_ms
            self._caller.clear()
            self._agent.clear()

    def caller(self, frame: bytes, at: int, *, speech: bool, voice: float) -> None:
        """Take what the caller said up to ``at`` ms."""
        if self._every_ms is not None:
            self._caller.take(frame, at, self._every_ms, speech=speech, voice=voice)

    def agent(self, frame: bytes, at: int, *, speech: bool) -> None:
        """Take what the caller heard up to ``at`` ms."""
        if self._every_ms is not None:
            self._agent.take(frame, at, self._every_ms, speech=speech)
