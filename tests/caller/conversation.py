"""A player and an agent on one clock: events at their times, frames and actions collected."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pinecall_cli.caller.player import Player
from pinecall_cli.caller.steps import Hangup, Press, Step, files, texts
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event

RATE = 8000
FRAME = 320


def sound(seconds: float, loudness: int = 9000) -> bytes:
    """Return something to hear."""
    return array("h", [loudness, -loudness] * int(seconds * RATE / 2)).tobytes()


def said(message: str, began: float, ended: float, words: int = 4) -> list[tuple[float, Event]]:
    """Return the events of a message that plays to its end, its words evenly spread."""
    step = (ended - began) / max(1, words)
    return [
        (began, events.BotSpeaking(message_id=message)),
        *(
            (began + n * step, events.BotWord(message_id=message, word=f"w{n}", word_index=n))
            for n in range(words)
        ),
        (ended, events.BotFinished(message_id=message)),
    ]


class Run:
    """What became of a call that was played to its end, or for ``seconds``."""

    def __init__(
        self,
        steps: Sequence[Step],
        script: Iterable[tuple[float, Event]] = (),
        *,
        seconds: float = 60.0,
        lengths: dict[str | Path, float] | None = None,
        **options: Any,
    ) -> None:
        lengths = lengths or {}
        keys = [*texts(steps), *files(steps)]
        sounds = {key: sound(lengths.get(key, 1.0)) for key in keys}
        self.player = Player(steps, sounds, rate=RATE, **options)
        self.frames: list[bytes] = []
        self.actions: list[tuple[float, Press | Hangup]] = []
        waiting = sorted(script, key=lambda item: item[0])
        for number in range(round(seconds * 50)):
            now = number / 50
            while waiting and waiting[0][0] <= now:
                self.player.on_event(waiting.pop(0)[1], now)
            self.frames.append(self.player.next_frame(now))
            self.actions += [(now, action) for action in self.player.actions()]
            if self.player.done:
                break
        self.ended = len(self.frames) / 50 - 0.02

    @property
    def outcome(self) -> str | None:
        return self.player.outcome

    @property
    def spoken(self) -> list[tuple[float, float]]:
        """When the caller was heard, from and to, in seconds."""
        spans: list[tuple[float, float]] = []
        for number, frame in enumerate(self.frames):
            if not any(frame):
                continue
            begin, end = number / 50, (number + 1) / 50
            if spans and abs(spans[-1][1] - begin) < 1e-9:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((begin, end))
        return spans
