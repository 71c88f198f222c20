"""The offline voice: hibari-tts, English, `heart`; a sentence takes 20 to 80 ms (Apache-2.0).

The same text always sounds the same. Word times come from the durations inside the model: frames
of 25 ms per phoneme, an inner value that is made an output. It is named after this very file, so
with another one the words are spread evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import hibari
import numpy as np
from hibari import dsp
from numpy.typing import NDArray

from pinecall_cli.engines.onnx_graph import with_output
from pinecall_cli.engines.reading import PAUSES, Read, chunks, read, sentences
from pinecall_cli.engines.speakable import Word, speakable
from pinecall_cli.engines.types import Speech, TimedWord
from pinecall_cli.engines.worker import Worker

RATE = 24000
MODEL = Path(hibari.__file__).parent / "assets" / "hibari.onnx"
SHA256 = "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8"
DURATIONS = "/Cast_32_output_0"
FRAME = 600
"""Samples of one unit of a duration."""
LONGEST = 400
"""Phonemes the model speaks in one breath; the vendor's limit."""
EDGE = RATE // 50
"""20 ms left before and after the sound: the model itself leaves 300 and 500."""
AUDIBLE = 1 / 128
"""Share of the loudest sample below which the edges are silence (-42 dB)."""
PAUSE = RATE // 4
"""Between two sentences of one text."""
SEED = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of speech, and the start and end sample of the written words in it."""

    audio: NDArray[np.float32]
    spans: dict[int, tuple[int, int]]


class Hibari:
    """The loaded voice with its worker thread."""

    name = "hibari/heart"

    def __init__(self, model: Path = MODEL) -> None:
        graph = model.read_bytes()
        self.exact = sha256(graph).hexdigest() == SHA256
        """Whether word times are measured; else they are guessed."""
        if self.exact:
            graph = with_output(graph, DURATIONS)
        # What is a path to the vendor goes to onnxruntime unread, so the bytes may stand for it.
        self._voice = hibari.Hibari(model=graph, threads=1)
        self._worker = Worker("hibari", gives_way=True)

    async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
        """Return ``text`` spoken, silence at both edges trimmed; any text can be.

        ``speed`` goes from 0.5, slow, to 2. Sentences are jobs of their own, so a long text does
        not keep others waiting. Text in which there is nothing to say gives no sound, its words
        all at 0 s.
        """
        words, plan = await self._worker.run(self._plan, text)
        parts: list[_Part] = []
        for sentence in plan:
            parts += await self._worker.run(self._utter, words, sentence, speed)
        return await self._worker.run(_joined, words, parts)

    def speak(self, text: str) -> Speech:
        """Do the work of `synthesise` in this thread, at one go."""
        words, plan = self._plan(text)
        return _joined(words, [part for sentence in plan for part in self._utter(words, sentence)])

    def warm_up(self) -> None:
        """Speak once, an unknown word and a number too, so that the first reply is not slow."""
        self.speak("Pinecallish, 42!")

    def close(self) -> None:
        """End the thread once what was asked for is done; the model goes with the last user."""
        self._worker.close()

    def _plan(self, text: str) -> tuple[list[Word], list[list[int]]]:
        """Return the words of ``text``, and which of them make a sentence."""
        words = speakable(text)
        return words, list(sentences(words, self._voice.split_sentences))

    def _utter(
        self, words: Sequence[Word], sentence: Sequence[int], speed: float = 1.0
    ) -> list[_Part]:
        reading = read(words, sentence, self._voice.g2p)
        return [self._say(chunk, speed) for chunk in chunks(reading, LONGEST)]

    def _say(self, reading: Sequence[Read], speed: float) -> _Part:
        """Speak up to `LONGEST` phonemes."""
        ids, whose, sounding = [0], [-1], [False]
        for word in reading:
            for sound in word.phonemes if len(ids) == 1 else " " + word.phonemes:
                if sound in self._voice.vocab:
                    ids.append(self._voice.vocab[sound])
                    whose.append(-1 if sound == " " else word.word)
                    sounding.append(sound not in PAUSES)
        if not any(sounding):
            return _Part(np.zeros(0, np.float32), {})
        feeds = {"ids": np.array([[*ids, 0]], np.int64), "speed": np.array([speed], np.float32)}
        *spectrum, last_output = self._voice.sess.run(None, feeds)
        if not self.exact:
            spectrum.append(last_output)
        audio = dsp.synth(*(band[0] for band in spectrum), np.random.default_rng(SEED))
        first, last = _edges(audio)
        if self.exact:
            steps = np.cumsum(np.ravel(last_output)) * FRAME
        else:
            steps = np.linspace(first, last, len(ids))
        # The sound begins a little before the durations say, and fades within the last phoneme.
        steps = np.clip(steps, first, last)
        spans: dict[int, tuple[int, int]] = {}
        for at in range(1, len(ids)):
            if sounding[at]:
                begin, end = int(steps[at - 1]), int(steps[at])
                spans[whose[at]] = (spans.get(whose[at], (begin if spans else first, 0))[0], end)
        head = max(first - EDGE, 0)
        return _Part(
            _faded(audio[head : last + EDGE]),
            {word: (begin - head, end - head) for word, (begin, end) in spans.items()},
        )


def _edges(audio: NDArray[np.float32]) -> tuple[int, int]:
    """Return where the sound begins and ends in ``audio``."""
    loud = np.abs(audio)
    heard = np.flatnonzero(loud > loud.max(initial=0) * AUDIBLE)
    return (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, 0)


def _faded(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``audio`` with 5 ms of fade at both ends, so that no cut clicks."""
    length = min(RATE // 200, len(audio) // 2)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    audio = audio.copy()
    audio[:length] *= ramp
    audio[len(audio) - length :] *= ramp[::-1]
    return audio


def _joined(words: Sequence[Word], parts: Sequence[_Part]) -> Speech:
    """Return the parts one after the other, and every written word's place in them."""
    sound: list[NDArray[np.float32]] = []
    spans: dict[int, tuple[int, int]] = {}
    at = 0
    for part in parts:
        if not len(part.audio):
            continue
        if sound:
            sound.append(np.zeros(PAUSE, np.float32))
            at += PAUSE
        for place, (begin, end) in part.spans.items():
            spans[place] = (spans.get(place, (at + begin, 0))[0], at + end)
        sound.append(part.audio)
        at += len(part.audio)
    timed, now = [], 0
    for place, word in enumerate(words):
        begin, end = spans.get(place, (now, now))
        begin, now = max(begin, now), max(end, now)
        timed.append(TimedWord(word.written, begin / RATE, now / RATE))
    audio = np.concatenate(sound) if sound else np.zeros(0, np.float32)
    pcm: bytes = np.clip(np.rint(audio * 32767), -32767, 32767).astype("<i2").tobytes()
    return Speech(pcm, RATE, tuple(timed))
