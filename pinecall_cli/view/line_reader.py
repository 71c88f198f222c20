"""Lines from standard input: typed and edited at a terminal, or one after the other from a pipe."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable

try:
    import readline
except ImportError:  # Windows edits lines by itself
    readline = None  # type: ignore[assignment]

if sys.platform != "win32":
    import termios

CHUNK = 65_536


class LineReader:
    """Reads line by line, while the loop goes on. A context manager.

    At a terminal (stdin and stdout) lines are edited with readline, with this session's earlier
    ones behind the up arrow; none is kept on disk. Reading blocks, so it is done in a daemon
    thread, which may still wait for a line when the program ends: `close` puts the terminal back.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty()
        """Whether somebody types."""
        self._edits = self.terminal and sys.stdout.isatty()
        self._rest = b""
        self._over = False
        self._restore = _modes_of(0) if self.terminal else _nothing

    def __enter__(self) -> LineReader:
        atexit.register(self.close)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice, and from any thread."""
        self._restore()
        atexit.unregister(self.close)

    async def line(self, prompt: str = "") -> str | None:
        """Return the next line, without its end; None when there are no more (Ctrl-D)."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()

        def settle(line: str | None, problem: BaseException | None) -> None:
            if answer.done():
                return
            if problem is not None:
                answer.set_exception(problem)
            else:
                answer.set_result(line)

        def read() -> None:
            line, problem = None, None
            try:
                line = self._read(prompt)
            except BaseException as failed:
                # Whoever waits for the line gets it; a thread's own traceback would reach nobody.
                problem = failed
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(settle, line, problem)

        threading.Thread(target=read, name="stdin", daemon=True).start()
        return await answer

    def _read(self, prompt: str) -> str | None:
        if self._edits:
            try:
                return input(prompt)
            except EOFError:
                return None
        if self.terminal and prompt:
            sys.stderr.write(prompt)
            sys.stderr.flush()
        return self._next()

    def _next(self) -> str | None:
        """Return the next line of the pipe.

        It is read past `sys.stdin`, whose lock a thread that waits would still hold when the
        interpreter goes down, which then aborts.
        """
        while b"\n" not in self._rest and not self._over:
            data = os.read(0, CHUNK)
            self._over = not data
            self._rest += data
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").removesuffix("\r")


def _nothing() -> None:
    """Do nothing."""


def _modes_of(descriptor: int) -> Callable[[], None]:
    """Return what puts a terminal back into the modes that it has now."""
    if sys.platform == "win32":
        return _nothing
    modes = termios.tcgetattr(descriptor)

    def restore() -> None:
        with contextlib.suppress(
            termios.error, OSError
        ):  # the terminal is gone: nothing to restore
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)

    return restore
