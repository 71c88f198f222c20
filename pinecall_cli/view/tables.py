"""Lists: a table for the eye, tab-separated lines for a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pinecall_cli.view.ink import Ink


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    plain: bool = False,
) -> None:
    r"""Print ``rows`` under ``columns``.

    On a terminal as a table that fits its width; else, and when ``plain``, one line a row, cells
    apart by a tab, with the columns' names first, so that ``cut -f`` and ``awk -F'\t'`` read it.
    """
    ink = Ink.of(console)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        for row in (columns, *rows):
            line = "\t".join(ink.safe(cell).replace("\t", " ") for cell in row)
            console.file.write(f"{line}\n")
        console.file.flush()
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", safe_box=True)
    for column in columns:
        table.add_column(Text(ink.safe(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(ink.safe(cell)) for cell in row))
    console.print(table)
