"""Keys by name, and the one-line editor behind ``t``. Pure; ``keyboard`` does the reading."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from typing import Literal

SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "OA": "up",
    "OB": "down",
    "OC": "right",
    "OD": "left",
}
"""What follows ESC, in normal and in application cursor mode."""
CONTROLS = {
    "\r": "enter",
    "\n": "enter",
    "\x1b": "escape",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x03": "ctrl-c",
    "\x04": "ctrl-d",
    "\x15": "ctrl-u",
    "\x17": "ctrl-w",
}

_KEY = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O[ -~])|.", re.DOTALL)


class KeyDecoder:
    """Turns what a terminal sends into keys: characters, ``enter``, ``up``, ``ctrl-u``…"""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[str]:
        """Return the keys in ``data``; sequences we have no name for are dropped.

        A lone ESC is the key of that name: terminals send a sequence in one piece.
        """
        keys = []
        for found in _KEY.finditer(self._text.decode(data)):
            sequence, char = found.group(1), found.group()
            if sequence is not None:
                named = SEQUENCES.get(sequence)
            else:
                named = CONTROLS.get(char, char if char.isprintable() else None)
            if named is not None:
                keys.append(named)
        return keys


@dataclass(frozen=True, slots=True)
class LineEditor:
    """A line being typed. ``done`` says how it ended, once it has."""

    text: str = ""
    done: Literal["sent", "closed"] | None = None

    def press(self, key: str) -> LineEditor:
        """Return the line after ``key``. Enter sends; Esc, or Enter on nothing, closes."""
        match key:
            case "enter":
                return replace(self, done="sent" if self.text.strip() else "closed")
            case "escape" | "ctrl-c" | "ctrl-d":
                return replace(self, done="closed")
            case "backspace":
                return replace(self, text=self.text[:-1])
            case "ctrl-u":
                return replace(self, text="")
            case "ctrl-w":
                return replace(self, text=re.sub(r"\S+\s*$", "", self.text))
            case _ if len(key) == 1:
                return replace(self, text=self.text + key)
            case _:
                return self
