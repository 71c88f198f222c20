"""How a console is made for this terminal, and what the environment says about colours."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from rich.console import Console


def console_for(stream: TextIO | None = None, *, width: int | None = None) -> Console:
    """Return a console that honours ``NO_COLOR``, ``CLICOLOR_FORCE`` and ``TERM=dumb``.

    Args:
        stream: Where it prints; standard output when left out.
        width: Columns, instead of the terminal's.
    """
    forced = colour_forced()
    return Console(
        file=stream or sys.stdout,
        force_terminal=True if forced else None,
        color_system="standard" if forced else "auto",
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
    )


def colour_forced() -> bool:
    """Whether colours are wanted even where there is no terminal; ``NO_COLOR`` wins."""
    return os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0") and not os.environ.get("NO_COLOR")


def can_draw(stream: TextIO | None = None) -> bool:
    """Whether ``stream`` is a terminal that a region can be drawn on, in colours or not."""
    stream = stream or sys.stdout
    console = Console(file=stream)
    return stream.isatty() and not console.is_dumb_terminal and not console.legacy_windows
