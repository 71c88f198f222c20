"""Lines from standard input: typed and edited at a terminal, or one after the other from a pipe."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pinecall_cli.errors import UsageError

try:
    import readline
except ImportError:  # Windows edits lines by itself
    readline = None  # type: ignore[assignment]

if sys.platform != "win32":
    import termios

CHUNK = 65_536
LONGEST_LINE = 256 * 1024
"""Bytes; what a prompt may have. A server takes no frame over 1 MiB."""
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
"""Bracketed paste: a terminal tells pasted lines from typed ones."""
DRAWN_S = 0.2
"""After a prompt was drawn anew: an end of input that is told so soon may have come before."""
TAKEN_WITHIN_S = 0.1
"""For a thread that has looked whether we are closed to be in readline."""
ENDS_LINES = getattr(readline, "_READLINE_VERSION", 0) >= 0x801
"""Whether readline itself ends the line at Ctrl-D: GNU's does from 8.1 on, with that paste."""
ERASE_LINE = "\r\x1b[K"


class LineReader:
    """Reads line by line, while the loop goes on. A context manager.

    Where ``edits`` is set, at a terminal, lines are edited with readline, with this session's
    earlier ones behind the up arrow; none is kept on disk, and lines that are pasted together are
    one. Reading blocks, so it is done in a daemon thread, which may still wait for a line when
    the program ends: `close` puts the terminal back. So does Ctrl-Z, until we go on.
    """

    def __init__(self, *, edits: bool, words: Sequence[str] = ()) -> None:
        """Prepare to read.

        Args:
            edits: Whether lines are edited, where somebody types them.
            words: What TAB completes at the beginning of a line.
        """
        self.terminal = sys.stdin.isatty()
        """Whether somebody types."""
        self.edits = edits and self.terminal
        self.asking = False
        """Whether a line is being waited for."""
        self._words = words
        self._prompt = ""
        self._rest = b""
        self._over = False
        self._prompted = threading.Event()
        """Set once readline has drawn the prompt, and waits for keys."""
        self._drawn_at = float("-inf")
        """When the prompt was drawn anew."""
        self._closed = False
        self._before = _modes(0) if self.terminal else None
        self._during: list[Any] | None = None
        """The modes to go on with, while we are stopped."""

    def __enter__(self) -> LineReader:
        atexit.register(self.close)
        if self.edits and readline is not None:
            readline.set_completer(self._complete)
            readline.set_completer_delims(" ")
            readline.parse_and_bind("tab: complete")
            if hasattr(readline, "set_pre_input_hook"):  # libedit may have none
                readline.set_pre_input_hook(self._prompted.set)
            readline.parse_and_bind("set enable-bracketed-paste on")
        if self.edits and sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
            loop.add_signal_handler(signal.SIGCONT, self._continue)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        if self.edits and sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.remove_signal_handler(signal.SIGTSTP)
            loop.remove_signal_handler(signal.SIGCONT)

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice, and from any thread."""
        asking, self.asking, self._closed = self.asking, False, True
        if self.terminal and _ours():
            if asking and self.edits:
                self._wait_until_taken()
            if asking:
                _print_raw((PASTE_OFF if self.edits else "") + "\n", edits=self.edits)
            _set_modes(0, self._before)
        atexit.unregister(self.close)

    def _wait_until_taken(self) -> None:
        """Let readline take the terminal and draw its prompt, if it is about to.

        What it did later would stay, and what we write meanwhile would stand inside a colour.
        """
        late = time.monotonic() + TAKEN_WITHIN_S
        if not self._prompted.wait(TAKEN_WITHIN_S):
            while time.monotonic() < late and _modes(0) == self._before:
                time.sleep(0.001)

    async def line(self, prompt: str = "") -> str | None:
        """Return the next line, without its end; None when there are no more (Ctrl-D).

        Raises:
            UsageError: If it is longer than any message may be.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()

        def settle(line: str | None, problem: BaseException | None) -> None:
            if answer.done():
                return
            self.asking = False
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

        self._prompt, self.asking = prompt, True
        self._prompted.clear()
        threading.Thread(target=read, name="stdin", daemon=True).start()
        return await answer

    # --- while a line is waited for, or is not ---

    def above(self, show: Callable[[], None]) -> bool:
        """Show whole lines above the prompt; False, and nothing is shown, if a line is begun."""
        if not (self.asking and self.edits) or _typed():
            return False
        _print_raw(ERASE_LINE, edits=True)
        show()
        _print_raw(bare(self._prompt), edits=True)
        self._drawn_at = time.monotonic()
        if not self.asking:  # the input ended meanwhile
            _print_raw("\n", edits=True)
        return True

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Do not show what is typed meanwhile: it is kept, and stands in the next line."""
        modes = _modes(0) if self.edits and _ours() else None
        if modes is not None and sys.platform != "win32":
            silent = [*modes]
            silent[3] &= ~termios.ECHO
            _set_modes(0, silent)
        try:
            yield
        finally:
            if modes is not None and _ours():
                _set_modes(0, modes)

    def _suspend(self) -> None:
        """Put the terminal back and stop, as Ctrl-Z asks."""
        self._during = _modes(0)
        if self.asking:
            _print_raw(PASTE_OFF, edits=True)
        _set_modes(0, self._before)
        if sys.platform != "win32":
            os.kill(os.getpid(), signal.SIGSTOP)  # here we stand still until SIGCONT

    def _continue(self) -> None:
        """Take the terminal again, and show what was typed before."""
        if self._during is None or not _ours():
            return
        _set_modes(0, self._during)
        self._during = None
        if self.asking:
            _print_raw(PASTE_ON + ERASE_LINE + bare(self._prompt) + _typed(), edits=True)

    # --- in the thread ---

    def _read(self, prompt: str) -> str | None:
        if self.edits:
            if self._closed:
                return None
            try:
                return input(prompt)
            except EOFError:
                self.asking = False  # from here on nothing is shown above a prompt
                drawn = time.monotonic() - self._drawn_at < DRAWN_S
                if not ENDS_LINES or drawn:  # it may have been drawn behind readline's own end
                    _print_raw("\n", edits=True)
                return None
        if self.terminal and prompt:
            _print_raw(bare(prompt), edits=False)
        line = self._next()
        if line is None and self.terminal:
            _print_raw("\n", edits=False)
        return line

    def _next(self) -> str | None:
        """Return the next line of the pipe.

        It is read past `sys.stdin`, whose lock a thread that waits would still hold when the
        interpreter goes down, which then aborts.
        """
        while b"\n" not in self._rest and not self._over:
            if len(self._rest) > LONGEST_LINE:
                raise UsageError(
                    f"a line of standard input is longer than {LONGEST_LINE // 1024} KiB",
                    fix="each line is one message",
                )
            data = os.read(0, CHUNK)
            self._over = not data
            self._rest += data
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").removesuffix("\r")

    def _complete(self, begun: str, which: int) -> str | None:
        """Return the n-th word for TAB; nothing in the middle of a line."""
        assert readline is not None
        if readline.get_begidx() > 0:
            return None
        fitting = [word for word in self._words if begun and word.startswith(begun)]
        return fitting[which] if which < len(fitting) else None


def bare(prompt: str) -> str:
    """Return a prompt without the marks that tell readline where colours are."""
    return prompt.replace("\001", "").replace("\002", "")


def _typed() -> str:
    """Return what stands in the line that is being edited."""
    return "" if readline is None else readline.get_line_buffer()


def _print_raw(text: str, *, edits: bool) -> None:
    """Write to the terminal: where lines are edited that is stdout, else stderr."""
    with contextlib.suppress(OSError):  # it is gone: nobody is there to read it
        stream = sys.__stdout__ if edits else sys.__stderr__
        if stream is not None:
            stream.write(text)
            stream.flush()


if sys.platform == "win32":

    def _ours() -> bool:
        return True

    def _modes(descriptor: int) -> list[Any] | None:
        return None

    def _set_modes(descriptor: int, modes: list[Any] | None) -> None:
        """Do nothing: the console's modes were not touched."""

else:

    def _ours() -> bool:
        """Tell whether the terminal is ours: in the background its modes are the shell's."""
        try:
            return os.tcgetpgrp(0) == os.getpgrp()
        except OSError:
            return False

    def _modes(descriptor: int) -> list[Any] | None:
        """Return the modes that a terminal has now; None if it is gone."""
        try:
            return termios.tcgetattr(descriptor)
        except termios.error:
            return None

    def _set_modes(descriptor: int, modes: list[Any] | None) -> None:
        if modes is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone: nothing to restore
                termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)
