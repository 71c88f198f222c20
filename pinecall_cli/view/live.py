"""The live view: final lines become real scrollback, and under them a region is drawn in place.

A shell: what is drawn is decided in ``conversation`` and ``region``. It draws at most twelve
times a second, whatever comes in, and leaves the terminal as it found it.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from pinecall_cli.call.records import Record
from pinecall_cli.call.session import SessionState
from pinecall_cli.protocol.frames import Received
from pinecall_cli.view.conversation import entry_rows, event_row
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.output import Output
from pinecall_cli.view.region import Ui, render
from pinecall_cli.view.rows import Row

FRAME_S = 1 / 12
"""Least time between two drawings: as fast as words come, far below what flickers."""
TICK_S = 1.0
"""How often the running time is drawn anew while a call lives."""

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: the terminal shows all between them at once; others ignore it."""
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class LiveView:
    """Draws a session on a terminal. Use it as a context manager, on the loop that feeds it."""

    def __init__(
        self,
        console: Console,
        out: Output,
        *,
        ui: Ui | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to draw; nothing is written before the first ``show``.

        Args:
            console: Its width, height, colours and encoding are drawn for.
            out: Where the bytes go.
            ui: The first choices; ``update`` changes them.
            clock: Seconds that pass evenly, for the running time.
        """
        self.ui = ui or Ui()
        self._console = console
        self._out = out
        self._clock = clock
        self._session = SessionState()
        self._newest = 0.0
        """The server's time at its newest event of a live call, and ours when that came."""
        self._heard_at = clock()
        self._waiting: list[Row] = []
        self._shown = 0
        self._drawn: tuple[int, ...] = ()
        self._paused = False
        self._closed = False
        self._drawn_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._resized: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> LiveView:
        """Follow the terminal's size from now on."""
        if hasattr(signal, "SIGWINCH") and threading.current_thread() is threading.main_thread():
            self._resized = asyncio.get_running_loop()
            self._resized.add_signal_handler(signal.SIGWINCH, self.draw)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def show(
        self, session: SessionState, happened: Received | Record | None = None, *, at: float = 0.0
    ) -> None:
        """Take the session as it stands now, and what made it so; it is drawn within 1/12 s."""
        if self.ui.events and isinstance(happened, Received):
            self._waiting.append(event_row(happened, Ink.of(self._console)))
        self._collect(session)
        self._session = session
        newest = max((call.last_at or 0.0 for call in session.live), default=0.0)
        if newest > self._newest:  # what other calls and files do says nothing of this one's time
            self._newest, self._heard_at = newest, self._clock()
        self._soon()

    def say(self, text: str) -> None:
        """Print a line that is not the session's: what an agent's own code has printed."""
        ink = Ink.of(self._console)
        self._waiting.append(Row(Text("  "), Text(ink.safe(text), "dim")))
        self._soon()

    def update(self, **choices: Any) -> None:
        """Change fields of ``ui``: what is typed, chosen, how loud the microphone is."""
        self.ui = replace(self.ui, **choices)
        self._soon()

    def pause(self) -> None:
        """Leave the screen to another (a suspended program's shell); ``resume`` takes it back."""
        if self._closed or self._paused:
            return
        self._flush_waiting()
        self._paused = True

    def resume(self) -> None:
        """Draw again, from the line that the cursor is on."""
        self._paused = False
        self._drawn = ()
        self._soon()

    def close(self) -> None:
        """Print what is still owed, clear the region, show the cursor. May be called twice.

        From another thread too, when ours is stuck and the process is about to end.
        """
        if self._closed:
            return
        if not self._paused:
            self._flush_waiting()
        self._closed = True
        for timer in (self._timer, self._ticker):
            if timer is not None:
                timer.cancel()
        if threading.current_thread() is not threading.main_thread():
            return  # signals are the main thread's
        if self._resized is not None and not self._resized.is_closed():
            self._resized.remove_signal_handler(signal.SIGWINCH)

    def draw(self) -> None:
        """Draw now: new lines above, then the region."""
        self._timer = None
        if self._paused or self._closed:
            return
        self._drawn_at = self._clock()
        region, drawn = self._region()
        cursor = HIDE if self.ui.prompt is None else SHOW
        self._write(BEGIN + HIDE + self._erased() + self._scrolled() + region + cursor + END)
        self._drawn = drawn
        self._tick()

    def _collect(self, session: SessionState) -> None:
        ink = Ink.of(self._console)
        for entry in session.since(self._shown):
            self._waiting += entry_rows(entry, session, ink, latency=self.ui.latency)
        self._shown = session.fed

    def _soon(self) -> None:
        if self._timer is not None or self._closed:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.draw()
            return
        due = max(0.0, self._drawn_at + FRAME_S - self._clock())
        self._timer = loop.call_later(due, self.draw)

    def _tick(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if not self._session.live:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._ticker = loop.call_later(TICK_S, self.draw)

    def _flush_waiting(self) -> None:
        self._write(self._erased() + self._scrolled() + SHOW)
        self._drawn = ()

    def _region(self) -> tuple[str, tuple[int, ...]]:
        """Return the region as it is written, and how many cells each of its lines takes."""
        now = self._newest + self._clock() - self._heard_at if self._newest else None
        ui = replace(self.ui, now=now)
        options = self._console.options
        lines = render(self._session, ui).lines(
            Ink.of(self._console), options.max_width - 1, options.size.height
        )
        return self._ansi(*lines).removesuffix("\n"), tuple(line.cell_len for line in lines)

    def _scrolled(self) -> str:
        rows, self._waiting = self._waiting, []
        return self._ansi(*rows)

    def _erased(self) -> str:
        """Return what clears the region, wherever a resize has put it.

        A terminal made narrower breaks the lines that no longer fit, so the region may take more
        rows than it has lines.
        """
        if not self._drawn:
            return ""
        width = max(1, self._console.width)
        rows = sum(max(1, -(-cells // width)) for cells in self._drawn)
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"

    def _ansi(self, *things: Row | Text) -> str:
        with self._console.capture() as captured:
            for thing in things:
                self._console.print(thing, highlight=False, soft_wrap=False)
        return captured.get()

    def _write(self, text: str) -> None:
        self._out.write(text.encode(self._console.encoding, "backslashreplace"))
