"""What `doctor` found: a row for each check, with a mark, and the way out beneath it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from pinecall_cli.view.ink import Ink
from pinecall_cli.view.rows import Row

NAME_CELLS = 9
"""The longest name of a check; with its mark that is a third of 40 columns: text fits in."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    """What was found, without a full stop."""
    hint: str | None = None
    """What to do about it."""
    needed: bool = False
    """Whether the program is of no use without it."""

    def as_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "name": self.name,
            "ok": self.ok,
            "needed": self.needed,
            "message": self.message,
            "hint": self.hint,
        }


def print_check(console: Console, check: Check, *, plain: bool = False) -> None:
    """Print a check: as wide as the terminal, or in whole lines off one and when ``plain``."""
    ink = Ink.of(console)
    glyph, style = mark(check)
    name = f"{check.name:<{NAME_CELLS}}  "
    if plain or not console.is_terminal or console.is_dumb_terminal:
        console.file.write(f"{ink.own(glyph):<2}{name}{ink.safe(check.message)}\n")
        if check.hint:
            console.file.write(f"  {'':<{NAME_CELLS}}  fix: {ink.safe(check.hint)}\n")
        console.file.flush()
        return
    for row in rows(check, glyph, style, name, ink):
        console.print(row)


def mark(check: Check) -> tuple[str, str]:
    """Return a check's mark and its colour; the mark tells it all."""
    if check.ok:
        return "✓", "green"
    return ("✗", "red") if check.needed else ("!", "yellow")


def rows(check: Check, glyph: str, style: str, name: str, ink: Ink) -> Iterator[Row]:
    """Yield the row of a check and that of its hint."""
    lead = Text.assemble((f"{ink.own(glyph):<2}", style), (name, "bold"))
    yield Row(lead, Text(ink.safe(check.message)))
    if check.hint:
        hint = Text.assemble(("fix: ", "dim"), ink.safe(check.hint))
        yield Row(Text(" " * lead.cell_len), hint)
