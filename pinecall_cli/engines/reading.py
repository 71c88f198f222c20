"""How a sentence is read: the phonemes of every written word, digits and abbreviations read out.

The voice's own normaliser turns "$42.50 on Jan. 5th" into other words than were written. Both lists
are laid side by side, so that every phoneme still knows the written word it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from hibari.g2p.normalize import normalize

from pinecall_cli.engines.speakable import Word

LONGEST_SENTENCE = 80
"""Words read at once. Rules look no further, and laying lists side by side takes n² steps."""
PAUSES = frozenset(';:,.!?—…"“”() ')
"""Phonemes that are silence, and where a long reading may be cut."""


@dataclass(frozen=True, slots=True)
class Read:
    """The phonemes of one written word; several of them when it is read as several words."""

    word: int
    """Its place in the list of written words."""
    phonemes: str


def owners(written: Sequence[str], read: Sequence[str]) -> list[int]:
    """Return for each word of ``read`` the place in ``written`` of the one it comes from.

    Equal words belong together; what was replaced in between is shared out in order.
    """
    result: list[int] = []
    matcher = SequenceMatcher(None, written, read, autojunk=False)
    for _, first, last, start, stop in matcher.get_opcodes():
        for at in range(stop - start):
            # A word that was put in ("dollars") goes with the written word before it.
            near = first + at * (last - first) // (stop - start) if last > first else first - 1
            result.append(min(max(near, 0), len(written) - 1))
    return result


def sentences(words: Sequence[Word], split: Callable[[str], list[str]]) -> Iterator[list[int]]:
    """Yield the places of the words that are spoken, sentence by sentence.

    ``split`` is the voice's own rule: it knows that "Dr." ends none.
    """
    spoken = [at for at, word in enumerate(words) if word.spoken]
    parts = [len(part.split()) for part in split(" ".join(words[at].spoken for at in spoken))]
    sentence: list[int] = []
    left = parts.pop(0) if parts else 0
    for at in spoken:
        if len(sentence) == LONGEST_SENTENCE:
            yield sentence
            sentence = []
        sentence.append(at)
        left -= len(words[at].spoken.split())
        while left <= 0 and parts:
            left += parts.pop(0)
            if sentence:
                yield sentence
            sentence = []
    if sentence:
        yield sentence


def read(words: Sequence[Word], places: Sequence[int], g2p: Any) -> list[Read]:
    """Return how the words at ``places`` are read, as one sentence if that is possible.

    A word that the voice cannot make anything of (a number of forty digits) is left out, and
    spoils no other.
    """
    try:
        return _read(words, places, g2p)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        # The rules of the voice are 2,000 lines about English; what they stumble over is one word.
        if len(places) == 1:
            return [Read(places[0], "")]
        half = len(places) // 2
        return [*read(words, places[:half], g2p), *read(words, places[half:], g2p)]


def _read(words: Sequence[Word], places: Sequence[int], g2p: Any) -> list[Read]:
    pieces = [(piece, at) for at in places for piece in words[at].spoken.split()]
    text = normalize(" ".join(piece for piece, _ in pieces))
    phonemes = [""]
    for token in g2p.phonemize_tokens(g2p.tokenize(text)):
        phonemes[-1] += token.phonemes or ""
        if token.whitespace:
            phonemes.append("")
    read_words = text.split()
    if len(phonemes) != len(read_words):  # a token held white space: the order is still right
        read_words = phonemes
    whose = owners([piece for piece, _ in pieces], read_words)
    return [Read(pieces[near][1], sound) for near, sound in zip(whose, phonemes, strict=True)]


def chunks(reading: Sequence[Read], longest: int) -> Iterator[list[Read]]:
    """Yield ``reading`` in parts of at most ``longest`` phonemes, cut at pauses if it can."""
    waiting: list[Read] = []
    for word in reading:
        sound = word.phonemes
        while len(sound) > longest:  # one word alone is too long: no good place, so anywhere
            if waiting:
                yield waiting
                waiting = []
            yield [Read(word.word, sound[:longest])]
            sound = sound[longest:]
        while waiting and _length(waiting) + len(sound) > longest:
            pauses = [at for at, held in enumerate(waiting, 1) if held.phonemes[-1:] in PAUSES]
            at = pauses[-1] if pauses else len(waiting)
            yield waiting[:at]
            waiting = waiting[at:]
        if sound:
            waiting.append(Read(word.word, sound))
    if waiting:
        yield waiting


def _length(reading: Sequence[Read]) -> int:
    return sum(len(word.phonemes) + 1 for word in reading)
