"""A small terminal: enough of one to see what the live view leaves on it."""

from __future__ import annotations

import re

from rich.cells import cell_len

_PIECE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """Rows of text, a cursor, and the few sequences that the live view uses.

    It keeps what scrolled off (``rows`` is everything) and, as most terminals do, breaks lines
    anew when it is made narrower.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[str] = [""]
        self.row = 0
        self.cursor_shown = True
        self.synchronized = 0

    def feed(self, text: str) -> None:
        """Obey ``text``; an unknown sequence is an error."""
        at = 0
        while at < len(text):
            found = _PIECE.match(text, at)
            assert found is not None, text[at : at + 20]
            at = found.end()
            numbers, letter, back, down, written = found.groups()
            if letter is not None:
                self._obey(numbers, letter)
            elif back:
                self.column = 0
            elif down:
                self.row += 1
                self.column = 0
                if self.row == len(self.rows):
                    self.rows.append("")
            else:
                self._write(written)

    column = 0

    def resize(self, width: int) -> None:
        """Break the lines for another width, the cursor at the end of the last."""
        broken: list[str] = []
        for row in self.rows:
            broken += [row[at : at + width] for at in range(0, len(row), width)] or [""]
        self.rows, self.width = broken, width
        self.row = len(broken) - 1
        self.column = len(broken[-1])

    def _write(self, text: str) -> None:
        assert cell_len(text) + self.column <= self.width, f"too wide: {text!r}"
        row = self.rows[self.row]
        assert len(row) <= self.column, f"{text!r} written over {row!r}"
        self.rows[self.row] = row.ljust(self.column) + text
        self.column += cell_len(text)

    def _obey(self, numbers: str, letter: str) -> None:
        match letter, numbers:
            case "A", count:
                self.row = max(0, self.row - int(count or 1))
            case "J", _:
                self.rows = self.rows[: self.row + 1]
                self.rows[-1] = self.rows[-1][: self.column]
            case "K", "":
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "h" | "l", "?2026":
                self.synchronized += 1 if letter == "h" else -1
            case "h" | "l", "?25":
                self.cursor_shown = letter == "h"
            case "m", _:
                pass
            case other:
                raise AssertionError(f"unknown sequence {other}")

    @property
    def text(self) -> list[str]:
        """What stands on the terminal, without what is blank at the end of a row."""
        return [row.rstrip() for row in self.rows]
