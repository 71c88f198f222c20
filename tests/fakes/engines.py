"""Speech engines for tests: loud is voice, and what was said is written down beforehand.

A caller's speech is a tone whose first sample carries a number; the recogniser looks the number
up. The voice answers with a tone of 60 ms a character, each word where its letters stand.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from functools import cache

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.engines.types import Speech, TimedWord

RATE = 16_000
MS_PER_CHARACTER = 60


@cache
def tone(ms: int, amplitude: int = 8000) -> bytes:
    """Return ``ms`` of a 300 Hz tone: what voice sounds like here."""
    count = RATE * ms // 1000
    step = 2 * math.pi * 300 / RATE
    return array.array("h", (int(amplitude * math.sin(step * n)) for n in range(count))).tobytes()


MARK = 30_000
"""A first sample this loud opens an utterance; the next sample says which one it is."""


def utterance(number: int, ms: int) -> bytes:
    """Return speech that the recogniser knows as ``number``."""
    samples = array.array("h", tone(ms))
    samples[0], samples[1] = MARK, number
    return samples.tobytes()


class LoudVad:
    """Voice is what is louder than −40 dBFS."""

    frame_samples = 512

    def probability(self, frame: bytes) -> float:
        return 0.95 if level_dbfs(frame) > -40 else 0.02


class Recogniser:
    """Finds the marks in the audio and says what they stand for."""

    name = "marks"

    def __init__(self, texts: Mapping[int, str]) -> None:
        self.texts = texts

    async def transcribe(self, pcm: bytes) -> str:
        samples = array.array("h", pcm)
        found = [samples[i + 1] for i in range(len(samples) - 1) if samples[i] == MARK]
        return " ".join(self.texts[number] for number in found)


class Judge:
    """An end-of-turn model that always says the same."""

    def __init__(self, verdict: float = 0.95) -> None:
        self.verdict = verdict

    async def probability(self, pcm: bytes) -> float:
        return self.verdict


class Voice:
    """Sings every text on one note."""

    name = "tone"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.speeds: list[float] = []

    async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
        self.said.append(text)
        self.speeds.append(speed)
        words, at = [], 0
        for word in text.split():
            start = at * MS_PER_CHARACTER / 1000
            at += len(word)
            words.append(TimedWord(word, start, at * MS_PER_CHARACTER / 1000))
            at += 1
        return Speech(tone(max(0, at - 1) * MS_PER_CHARACTER), RATE, tuple(words))


class Engines:
    """Everything a voice session needs, in one."""

    def __init__(self, texts: Mapping[int, str] | None = None, verdict: float = 0.95) -> None:
        self.recogniser = Recogniser(texts or {})
        self.synthesiser = Voice()
        self.end_of_turn: Judge | None = Judge(verdict)

    def vad(self) -> LoudVad:
        return LoudVad()

    async def wait(self) -> Engines:
        return self

    def load(self) -> None:
        pass
