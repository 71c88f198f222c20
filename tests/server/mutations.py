"""Frames as a hostile, broken or foreign client sends them; the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "frames"
STRANGE: Sequence[Any] = (
    *(None, True, False, 0, -1, 0.5, 1e308, -1e308, 2**53, 2**63, 2**64, -(2**63), 10**400),
    *("", " ", "\0", "\x1b[2J", "\u202e", "\ud800", "😀", "a" * 5_000, "../../etc/passwd", "*"),
    *("{{x}}", "%s%n", "'; DROP TABLE calls; --", "<script>", "9" * 400, "NaN", "1e999"),
    *([], {}, [[]], [None] * 50, {"": None}, {"a": {"b": {"c": []}}}, [{"id": []}]),
)
BROKEN = ("", "{", "}", "[]", "null", "1", '"x"', '{"event":', '{"event":"x"', "[" * 50_000, "\0")


def samples(kind: str) -> list[dict[str, Any]]:
    """Return a sample of every frame: of ``commands`` or ``events``."""
    files = sorted((SAMPLES / kind).glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


class Mutator:
    """Makes frames that are nearly right, and some that are not at all."""

    def __init__(self, seed: int, frames: Sequence[dict[str, Any]]) -> None:
        self.random = random.Random(seed)
        self._frames = frames

    def text(self) -> str:
        """Return a frame as a text; not always JSON."""
        random = self.random
        if random.random() < 0.05:
            return random.choice(BROKEN)
        frame = self.value()
        text = json.dumps(frame, ensure_ascii=random.random() < 0.5)
        match random.randrange(12):
            case 0:  # cut short
                return text[: random.randrange(len(text) + 1)]
            case 1:  # a character is another
                at = random.randrange(len(text))
                return text[:at] + chr(random.randrange(0x250)) + text[at + 1 :]
            case 2:  # a key twice
                return text[:-1] + "," + text[1:] if len(text) > 2 else text
            case _:
                return text

    def data(self) -> bytes:
        """Return a frame as bytes; half a surrogate pair is no UTF-8, and goes as it is."""
        return self.text().encode("utf-8", "surrogatepass")

    def value(self) -> dict[str, Any]:
        """Return a frame with up to three of its values, at any depth, put wrong."""
        frame: dict[str, Any] = json.loads(json.dumps(self.random.choice(self._frames)))
        for _ in range(self.random.randrange(4)):
            self._put_wrong(frame)
        return frame

    def _put_wrong(self, within: Any) -> None:
        random = self.random
        while True:
            places: list[Any]
            if isinstance(within, dict):
                places = [key for key in within if key != "event" or random.random() < 0.1]
            else:
                places = list(range(len(within)))
            if not places:
                return
            place = random.choice(places)
            inner = within[place]
            if isinstance(inner, dict | list) and inner and random.random() < 0.7:
                within = inner
                continue
            match random.randrange(6):
                case 0 if isinstance(within, dict):
                    del within[place]
                case 1 if isinstance(within, dict):
                    within[str(random.choice(STRANGE))[:50]] = within.pop(place)
                case 2:
                    within[place] = nested(random.randrange(1, 200), inner)
                case _:
                    within[place] = deepcopy(random.choice(STRANGE))
            return


def nested(levels: int, value: Any) -> Any:
    """Return a value within so many arrays and objects."""
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value
