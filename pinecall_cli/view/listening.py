"""What ``listen`` shows: the call's transcript, and on a terminal how loud it is right now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.ndjson import entry_line
from pinecall_cli.view.output import Output
from pinecall_cli.view.region import meter
from pinecall_cli.view.text import printable
from pinecall_cli.view.transcript import LogView
from pinecall_cli.view.twins import can_draw, console_for

LEVEL_EVERY = 2
"""Levels (of 50 ms) per drawing: ten drawings a second are enough for an eye."""


class ListenView:
    """Prints what a call's log adds; NDJSON, lines, or nothing at all."""

    def __init__(self, out: Output | None, *, json: bool = False, live: bool = False) -> None:
        """``out`` is None to print nothing; ``live`` draws a level under the lines."""
        self._out, self._json, self._live = out, json, live
        console = console_for()
        self._ink = Ink.of(console)
        self._log = LogView(
            encoding=console.encoding,
            colour=console.color_system is not None,
            width=console.width if live else None,
            one_call=True,
        )
        self._levels = 0
        self._drawn = False

    def show(self, entry: LogEntry) -> None:
        """Take an entry of the call's log."""
        if self._out is None:
            return
        if self._json:
            self._out.write(entry_line(entry))
            return
        self._print(self._log.lines(entry))

    def level(self, dbfs: float) -> None:
        """Take how loud the call is, some twenty times a second."""
        if not self._live or self._out is None:
            return
        self._levels += 1
        if self._levels % LEVEL_EVERY == 0:
            line = f"\r\x1b[K● live {meter(dbfs, self._ink)} Ctrl-C leaves"
            self._out.write(line.encode(self._ink.encoding, "replace"))
            self._drawn = True

    def notice(self, text: str) -> None:
        """Say something beside the transcript."""
        self._erase()
        print(printable(text), file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._erase()
        self._live = False

    def _print(self, lines: bytes) -> None:
        if lines and self._out is not None:
            self._erase()
            self._out.write(lines)

    def _erase(self) -> None:
        if self._drawn and self._out is not None:
            self._out.write(b"\r\x1b[K")
            self._drawn = False


def open_listen_view(
    *, json: bool, plain: bool, text: bool, on_closed: Callable[[], None]
) -> ListenView:
    """Return the view for standard output; without ``text`` stdout is somebody else's."""
    if not text:
        return ListenView(None)
    out = Output(sys.stdout.buffer, on_closed=on_closed)
    return ListenView(out, json=json, live=not json and not plain and can_draw())


def choose(rows: Sequence[tuple[str, str, str | None]]) -> int | None:
    """Let the person at the terminal choose one of several calls; None if nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    for number, (call_id, agent, caller) in enumerate(rows, 1):
        said = f"{number:>3}  {agent}  {call_id}" + (f"  from {caller}" if caller else "")
        print(printable(said), file=sys.stderr)
    while True:
        print(f"which one? [1-{len(rows)}, 1] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            return None
        said = answer.strip() or "1"
        if said.isdecimal() and 1 <= int(said) <= len(rows):
            return int(said) - 1
