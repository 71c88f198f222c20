"""Help on a narrow terminal: lines instead of boxes, which would cut the names of options."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from typer._click.core import Context
from typer._click.formatting import HelpFormatter

NARROWEST = 60
"""Columns from which on boxes have room for every name."""
FURTHER = " " * 6
"""In front of what goes on in another line."""
EXAMPLES = "\nExamples:\n"


class NarrowFormatter(HelpFormatter):
    """Writes a command's help within any width, its examples a line each."""

    def write_text(self, text: str) -> None:
        """Write the help's text; an example that is too long goes on indented."""
        told, head, examples = text.partition(EXAMPLES)
        super().write_text(told)
        if not head:
            return
        self.write("\n" + " " * self.current_indent + EXAMPLES.lstrip())
        for line in examples.split("\n"):
            indent = " " * self.current_indent
            for part in textwrap.wrap(
                line, self.width, initial_indent=indent, subsequent_indent=indent + FURTHER
            ):
                self.write(part + "\n")

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write names and what they mean; a name that takes half the width has a line alone."""
        room = self.width - self.current_indent
        folded = [
            (textwrap.fill(name, room, subsequent_indent=FURTHER, break_long_words=False), said)
            for name, said in rows
        ]
        super().write_dl(folded, min(col_max, self.width // 2), col_spacing)


def write_narrow_help() -> None:
    """Let all help that is not drawn in boxes be written so."""
    Context.formatter_class = NarrowFormatter
