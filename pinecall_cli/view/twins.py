"""Which of the three twins shows a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from pinecall_cli.call.records import Record
from pinecall_cli.call.session import SessionState
from pinecall_cli.protocol.frames import Received
from pinecall_cli.view.console import can_draw as can_draw
from pinecall_cli.view.console import colour_forced as colour_forced
from pinecall_cli.view.console import console_for as console_for
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
