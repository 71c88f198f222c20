"""Word errors between what was said and what was understood, however numbers are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SAME = {"mister": "mr", "doctor": "dr", "ok": "okay", "metres": "meters", "goodbye": "good bye"}


@dataclass(frozen=True)
class Clip:
    """A recording of `clips.json`."""

    path: Path
    text: str
    speaker: str
    people: bool
    """Whether a person speaks, not a program."""


def clips() -> list[Clip]:
    """Return every recording: mono, 16 kHz, 16 bits, 1 to 8 s."""
    entries = json.loads((FOLDER / "clips.json").read_text(encoding="utf-8"))
    return [Clip(FOLDER / e["file"], e["text"], e["speaker"], e["people"]) for e in entries]


def words(text: str) -> list[str]:
    """Return the words of ``text``, lower case, without punctuation, numbers digit by digit."""
    plain = text.lower().replace("’", "'")
    plain = re.sub(r"(?<=\d)[.,:](?=\d)|(?<=\b[a-z])\.(?=[a-z]\b)", "", plain)
    tens = rf"\b({'|'.join(TENS)})[ -]({'|'.join(UNITS[1:])})\b"
    plain = re.sub(tens, lambda m: f"{TENS.index(m[1]) + 2}{UNITS.index(m[2])}", plain)
    found: list[str] = []
    for word in re.findall(r"[a-z]+(?:'[a-z]+)*|\d", plain):
        if word in TENS:
            found += [str(TENS.index(word) + 2), "0"]
        elif word in TEENS:
            found += ["1", str(TEENS.index(word))]
        elif word in UNITS:
            found.append(str(UNITS.index(word)))
        else:
            found += SAME.get(word, word).split()
    return found


def errors(said: str, heard: str) -> tuple[int, int]:
    """Return how many words are wrong, missing or too many, and how many were said."""
    reference, hypothesis = words(said), words(heard)
    row = list(range(len(hypothesis) + 1))
    for at, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], at
        for column, other in enumerate(hypothesis, 1):
            cheapest = min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
            diagonal, row[column] = row[column], cheapest
    return row[-1], len(reference)


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the share of wrong words over all pairs of what was said and what was heard."""
    counts = [errors(said, heard) for said, heard in pairs]
    return sum(wrong for wrong, _ in counts) / max(sum(total for _, total in counts), 1)
