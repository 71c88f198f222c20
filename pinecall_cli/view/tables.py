"""Lists: a table for the eye, tab-separated lines for a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pinecall_cli.view.ink import Ink
from pinecall_cli.view.rows import Row

FOLDED = 2
"""So many columns stay side by side on any terminal, their cells folded."""


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    plain: bool = False,
) -> None:
    r"""Print ``rows`` under ``columns``.

    On a terminal as a table, or, where that is wider than the terminal, row under row. Else, and
    when ``plain``, one line a row, cells apart by a tab, with the columns' names first, so that
    ``cut -f`` and ``awk -F'\t'`` read it.
    """
    ink = Ink.of(console)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        for row in (columns, *rows):
            line = "\t".join(ink.safe(cell).replace("\t", " ") for cell in row)
            console.file.write(f"{line}\n")
        console.file.flush()
        return
    safe = [[ink.safe(cell) for cell in row] for row in (columns, *rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", safe_box=True)
    for column in safe[0]:
        table.add_column(Text(column), overflow="fold")
    for row in safe[1:]:
        table.add_row(*map(Text, row))
    if len(columns) > FOLDED and width_of(table, console) > console.width:
        print_stacked(console, *safe)
    else:
        console.print(table)


def width_of(table: Table, console: Console) -> int:
    """Return the columns that a table takes when nothing in it is folded."""
    unbounded = console.options.update(max_width=sys.maxsize)
    return Measurement.get(console, unbounded, table).maximum


def print_stacked(console: Console, columns: Sequence[str], *rows: Sequence[str]) -> None:
    """Print each row as a block: its first cell, and under it the others behind their names."""
    width = max(map(cell_len, columns[1:]))
    for row in rows:
        console.print(Row(Text(), Text(row[0], "bold")))
        for name, cell in zip(columns[1:], row[1:], strict=True):
            console.print(Row(Text(f"  {name:<{width}}  ", "dim"), Text(cell)))
