"""What the agent says: a queue of messages, played frame by frame, words as they are heard.

Pure: audio is pushed in as it is synthesised, `Speaker.step` gives one 20 ms frame, and the
``bot.*`` and ``message.*`` events of that frame come out with it (events.md §7). Nothing here
knows a clock: time is the number of frames taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET

from pinecall_cli.engines.types import TimedWord
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event

RATE = 16_000
FRAME_MS = 20
FRAME_BYTES = RATE * 2 * FRAME_MS // 1000
SILENCE = bytes(FRAME_BYTES)
SENTENCE_GAP_MS = 200
"""Pause between two sentences of one message: the synthesiser's own edges are trimmed off."""

Reason = Literal["continuation", "user_spoke", "cancelled"]


@dataclass(slots=True)
class Utterance:
    """One message on its way to the caller's ear. Audio is int16 mono at 16 kHz."""

    message_id: str
    turn_id: int | None = None
    """The user turn it answers; None for a greeting or anything said unasked."""
    text: str = ""
    """Its full text when that is known before it is spoken, else empty."""
    remembered: bool = True
    """Whether what is heard of it enters the model's history."""
    owned: bool = False
    """Whether the application named it and awaits its end, heard or not."""
    closed: bool = False
    audio: bytearray = field(default_factory=bytearray)
    played: int = 0
    """Bytes given to the line."""
    words: list[TimedWord] = field(default_factory=list)
    told: int = 0
    """Words whose ``bot.word`` has been sent."""
    sentences: list[str] = field(default_factory=list)
    started: bool = False

    @property
    def played_ms(self) -> int:
        """Milliseconds of this message given to the line."""
        return self.played * 1000 // (RATE * 2)

    @property
    def waiting_ms(self) -> int:
        """Milliseconds synthesised and not yet played."""
        return (len(self.audio) - self.played) * 1000 // (RATE * 2)

    @property
    def over(self) -> bool:
        """Whether all of it has been given to the line."""
        return self.closed and self.played >= len(self.audio)

    def push(self, text: str, pcm: bytes, words: Sequence[TimedWord]) -> None:
        """Append a synthesised sentence; ``words`` are timed from the start of ``pcm``."""
        if self.audio and pcm:
            self.audio += bytes(RATE * 2 * SENTENCE_GAP_MS // 1000)
        offset = len(self.audio) / (RATE * 2)
        self.audio += pcm
        self.sentences.append(text)
        self.words += [TimedWord(w.text, w.start + offset, w.end + offset) for w in words]

    def close(self) -> None:
        """Say that no more audio will come."""
        self.closed = True

    def heard(self) -> str:
        """Return the words the caller has heard, joined by one space."""
        return " ".join(word.text for word in self.words[: self.told])


@dataclass(frozen=True, slots=True)
class Said:
    """The end of a message: ``heard`` is what enters the conversation."""

    utterance: Utterance
    heard: str
    interrupted: bool


class Speaker:
    """The agent's mouth: plays utterances in order and can be silenced at any frame."""

    def __init__(self) -> None:
        self._queue: deque[Utterance] = deque()
        self._events: list[Event] = []
        self._said: list[Said] = []
        self.last: Utterance | None = None
        """The utterance the last frame was taken from; None when it was silence."""

    @property
    def current(self) -> Utterance | None:
        """Return the utterance that plays or is next."""
        return self._queue[0] if self._queue else None

    @property
    def idle(self) -> bool:
        """Return whether nothing is playing and nothing is waiting."""
        return not self._queue

    @property
    def asked(self) -> Utterance | None:
        """Return the last whole text that the application gave and that is not said yet."""
        whole = (waiting for waiting in reversed(self._queue) if waiting.owned and waiting.text)
        return next(whole, None)

    def holds(self, utterance: Utterance) -> bool:
        """Return whether ``utterance`` plays or waits to."""
        return any(waiting is utterance for waiting in self._queue)

    def enqueue(self, utterance: Utterance) -> None:
        """Play ``utterance`` after everything already waiting."""
        self._queue.append(utterance)

    def step(self) -> bytes:
        """Return the next 20 ms of audio: the current message, or silence."""
        self.last = None
        while self._queue:
            current = self._queue[0]
            if current.closed and current.played >= len(current.audio):
                self._finish(current)
                continue
            frame = bytes(current.audio[current.played : current.played + FRAME_BYTES])
            if not frame or (len(frame) < FRAME_BYTES and not current.closed):
                return SILENCE  # the synthesiser is still at it
            self._begin(current)
            self.last = current
            current.played += len(frame)
            self._tell(current)
            if current.closed and current.played >= len(current.audio):
                self._finish(current)
            return frame.ljust(FRAME_BYTES, b"\0")
        return SILENCE

    def rest(self) -> None:
        """Play nothing in this step: the caller hears something else."""
        self.last = None

    def interrupt(self, reason: Reason) -> None:
        """Silence the agent: the current message ends here, and nothing that waits is said."""
        waiting = list(self._queue)
        self._queue.clear()
        for utterance in waiting:
            self._drop(utterance, reason)

    def cancel(self, message_id: str | None, reason: Reason = "cancelled") -> bool:
        """Drop one message, or the current one; return whether there was one to drop."""
        for utterance in self._queue:
            if message_id is None or utterance.message_id == message_id:
                self._queue.remove(utterance)
                self._drop(utterance, reason)
                return True
        return False

    def take(self) -> tuple[list[Event], list[Said]]:
        """Return the events and the finished messages since the last call, in order."""
        happened, self._events = self._events, []
        said, self._said = self._said, []
        return happened, said

    def _begin(self, current: Utterance) -> None:
        if not current.started:
            current.started = True
            self._events.append(
                events.BotSpeaking(message_id=current.message_id, text=current.text)
            )

    def _tell(self, current: Utterance) -> None:
        position = current.played / (RATE * 2)
        while current.told < len(current.words) and current.words[current.told].start < position:
            word = current.words[current.told]
            self._events.append(
                events.BotWord(
                    message_id=current.message_id,
                    word=word.text,
                    word_index=current.told,
                    start_time=round(word.start, 3),
                    end_time=round(word.end, 3),
                )
            )
            current.told += 1

    def _finish(self, current: Utterance) -> None:
        self._queue.popleft()
        self._begin(current)
        while current.told < len(current.words):  # zero-length words at the very end
            current.played = max(current.played, int(current.words[-1].start * RATE * 2) + 2)
            self._tell(current)
        text = current.text or " ".join(current.sentences)
        if text:
            self._events.append(events.MessageConfirmed(message_id=current.message_id, text=text))
        self._events.append(
            events.BotFinished(message_id=current.message_id, duration_ms=current.played_ms)
        )
        self._said.append(Said(current, text, interrupted=False))

    def _drop(self, utterance: Utterance, reason: Reason) -> None:
        if not utterance.started and not utterance.owned:
            self._events.append(
                events.MessageAborted(message_id=utterance.message_id, reason=reason)
            )
            self._said.append(Said(utterance, "", interrupted=True))
            return
        heard = utterance.heard()
        told = utterance.told
        self._events.append(
            events.BotInterrupted(
                message_id=utterance.message_id,
                played_ms=utterance.played_ms,
                words_spoken=told,
                last_word=utterance.words[told - 1].text if told else UNSET,
                reason=reason,
            )
        )
        if reason == "continuation":
            heard = ""
        elif heard:
            self._events.append(
                events.MessageConfirmed(message_id=utterance.message_id, text=heard)
            )
        self._said.append(Said(utterance, heard, interrupted=True))
