"""Text that comes in pieces, wrapped while it comes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from rich.cells import cell_len, chop_cells

MOST_BREAKS = 2
"""Line breaks in a row that are kept: one empty line."""


class Flow:
    """Wraps text piece by piece: words stay whole, further lines begin behind an indent.

    What comes is raw, and a word is made harmless when it is whole: however it was cut, the same
    is shown.
    """

    def __init__(self, width: int, indent: int, safe: Callable[[str], str]) -> None:
        """Prepare a flow.

        Args:
            width: Columns of a line.
            indent: Where the cursor stands, and further lines begin.
            safe: Makes a word harmless.
        """
        self._width, self._indent, self._safe = max(width, indent + 8), indent, safe
        self._column = indent
        self._breaks = 0
        self._gap = 0
        self._word = ""

    def feed(self, text: str) -> str:
        """Return what can be written now: a word is held until it is known to be whole."""
        out = []
        for char in text:
            if char == "\n":
                self._word = self._word.removesuffix("\r")
                out.append(self._settle())
                self._breaks, self._gap = self._breaks + 1, 0
            elif char in " \t" or unicodedata.category(char) == "Zs":
                out.append(self._settle())
                self._gap += 1
            elif cell_len(char) > 1:  # a script without spaces: a line may end anywhere
                out.append(self._settle())
                self._word = char
                out.append(self._settle())
            else:
                self._word += char
        return "".join(out)

    def end(self) -> str:
        """Return what was held."""
        return self._settle()

    def _settle(self) -> str:
        """Place the word that is held, on the next line if it does not fit on this one."""
        if not self._word:
            return ""
        word, gap, breaks = self._safe(self._word), self._gap, self._breaks
        self._word, self._gap, self._breaks = "", 0, 0
        cells = cell_len(word)
        placed = ""
        if breaks or (self._column + gap + cells > self._width and self._column > self._indent):
            placed = self._turn(max(1, min(breaks, MOST_BREAKS)))
            gap = gap if breaks else 0
        gap = max(0, min(gap, self._width - self._column - cells))
        placed += " " * gap
        self._column += gap
        first, *others = chop_cells(word, self._width - self._indent) or [""]
        placed += first
        self._column += cell_len(first)
        for line in others:
            placed += self._turn(1) + line
            self._column += cell_len(line)
        return placed

    def _turn(self, breaks: int) -> str:
        self._column = self._indent
        return "\n" * breaks + " " * self._indent
