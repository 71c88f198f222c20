"""Which of the three twins shows a session, and how a console is made for this terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TextIO

from rich.console import Console

from pinecall_cli.call.records import Record
from pinecall_cli.call.session import SessionState
from pinecall_cli.protocol.frames import Received
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.ndjson import NdjsonView
from pinecall_cli.view.output import Output
from pinecall_cli.view.plain import PlainView
from pinecall_cli.view.region import Ui


class View(Protocol):
    """What the live view and its twins have in common."""

    def show(
        self, session: SessionState, happened: Received | Record | None = None, *, at: float
    ) -> None:
        """Take the session as it stands, and what made it so, at ``at`` (epoch seconds)."""
        ...

    def close(self) -> None:
        """Print what is owed and leave the terminal as it was."""
        ...


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


def open_view(
    *,
    json: bool = False,
    plain: bool = False,
    events: bool = False,
    ui: Ui | None = None,
    on_closed: Callable[[], None] | None = None,
) -> View:
    """Return the view for standard output: NDJSON if asked for, live on a terminal, else plain.

    Args:
        json: ``--json``.
        plain: ``--plain``.
        events: ``--events``: every frame is shown, not only the conversation.
        ui: The live view's keys and first choices.
        on_closed: Called once when nobody reads our output any more; it is no error.
    """
    out = Output(sys.stdout.buffer, on_closed=on_closed)
    if json:
        return NdjsonView(out)
    if plain or not can_draw():
        encoding = sys.stdout.encoding or "utf-8"
        return PlainView(out, encoding=encoding, events=events, colour=colour_forced())
    return LiveView(console_for(), out, ui=replace(ui or Ui(), events=events))
