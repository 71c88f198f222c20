"""Single keys from the terminal, on the asyncio loop, and the terminal put back afterwards.

Keys are read only while we are the terminal's foreground process group: a background job that
touches the terminal's modes is stopped by it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from pinecall_cli.view.keys import KeyDecoder

RECHECK_S = 1.0
"""How often we look whether the shell has brought us to the foreground: nothing tells us."""
POLL_S = 0.03
"""How often Windows is asked for a key, as its console cannot be waited for by a loop."""


def _nothing() -> None:
    """Do nothing."""


if sys.platform == "win32":
    import msvcrt

    ARROWS = {"H": "up", "P": "down", "K": "left", "M": "right"}

    class Keyboard:
        """Calls ``on_key`` for each key that is pressed. A context manager."""

        def __init__(
            self,
            on_key: Callable[[str], None],
            *,
            on_suspend: Callable[[], None] = _nothing,
            on_resume: Callable[[], None] = _nothing,
            fd: int | None = None,
        ) -> None:
            self._on_key = on_key
            self._decoder = KeyDecoder()
            self._timer: asyncio.TimerHandle | None = None
            self.reading = False

        def __enter__(self) -> Keyboard:
            self.reading = sys.stdin is not None and sys.stdin.isatty()
            if self.reading:
                self._poll()
            return self

        def __exit__(self, *exc: object) -> None:
            self.close()

        def put_back(self) -> None:
            """Do nothing: the console's modes were not touched."""

        def close(self) -> None:
            """Stop reading. May be called twice."""
            self.reading = False
            if self._timer is not None:
                self._timer.cancel()

        def _poll(self) -> None:
            while msvcrt.kbhit():
                char = msvcrt.getwch()
                if char in ("\x00", "\xe0"):
                    arrow = ARROWS.get(msvcrt.getwch())
                    keys = [arrow] if arrow else []
                else:
                    keys = self._decoder.feed(char.encode("utf-8", "replace"))
                for key in keys:
                    self._on_key(key)
            if self.reading:
                self._timer = asyncio.get_running_loop().call_later(POLL_S, self._poll)

else:
    import termios

    class Keyboard:
        """Calls ``on_key`` for each key that is pressed. A context manager.

        Ctrl-C goes on being a signal. Ctrl-Z puts the terminal back before we stop, and takes it
        again when we go on.
        """

        def __init__(
            self,
            on_key: Callable[[str], None],
            *,
            on_suspend: Callable[[], None] = _nothing,
            on_resume: Callable[[], None] = _nothing,
            fd: int | None = None,
        ) -> None:
            """Prepare to read; nothing is touched before ``with``.

            Args:
                on_key: Called on the loop with the key's name, see ``keys``.
                on_suspend: Called before we stop: leave the screen tidy.
                on_resume: Called when we go on: draw again.
                fd: The terminal; standard input when left out.
            """
            self._fd = fd
            self._on_key = on_key
            self._on_suspend = on_suspend
            self._on_resume = on_resume
            self._decoder = KeyDecoder()
            self._loop: asyncio.AbstractEventLoop | None = None
            self._saved: list[Any] | None = None
            self._timer: asyncio.TimerHandle | None = None
            self._woken = False

        @property
        def reading(self) -> bool:
            """Whether keys are being read right now."""
            return self._saved is not None

        def __enter__(self) -> Keyboard:
            """Begin to read, if there is a terminal and it is ours."""
            if self._fd is None:
                self._fd = _standard_input()
            if self._fd is None or not os.isatty(self._fd):
                return self
            self._loop = asyncio.get_running_loop()
            atexit.register(self.put_back)
            self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)
            self._loop.add_signal_handler(signal.SIGCONT, self._continued)
            self._check()
            return self

        def __exit__(self, *exc: object) -> None:
            self.close()

        def close(self) -> None:
            """Put the terminal back and stop reading. May be called twice."""
            if self._loop is None:
                return
            self._release()
            if self._timer is not None:
                self._timer.cancel()
            for number in (signal.SIGTSTP, signal.SIGCONT):
                self._loop.remove_signal_handler(number)
            atexit.unregister(self.put_back)
            self._loop = None

        def _check(self) -> None:
            assert self._loop is not None
            if self.reading != self._foreground():
                if self.reading:
                    self._release()
                else:
                    self._take()
            self._timer = self._loop.call_later(RECHECK_S, self._check)

        def _foreground(self) -> bool:
            assert self._fd is not None
            try:
                return os.tcgetpgrp(self._fd) == os.getpgrp()
            except OSError:  # not our controlling terminal, or gone
                return False

        def _take(self) -> None:
            assert self._fd is not None
            assert self._loop is not None
            if not self._foreground():
                return
            self._saved = termios.tcgetattr(self._fd)
            self._set_raw(self._saved)
            self._loop.add_reader(self._fd, self._read)

        def _set_raw(self, saved: list[Any]) -> None:
            """Deliver keys one by one, unechoed; signals and output stay as they are."""
            assert self._fd is not None
            modes = [*saved[:6], list(saved[6])]
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, modes)

        def _release(self) -> None:
            if not self.reading:
                return
            assert self._loop is not None
            assert self._fd is not None
            self._loop.remove_reader(self._fd)
            self.put_back()

        def put_back(self) -> None:
            """Give the terminal its modes back, and no more; from any thread."""
            saved, self._saved = self._saved, None
            if saved is None or self._fd is None or not self._foreground():
                return  # in the background the modes are the shell's business
            with contextlib.suppress(termios.error):  # the terminal is gone: nothing to restore
                termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)

        def _read(self) -> None:
            assert self._fd is not None
            try:
                data = os.read(self._fd, 4096)
            except OSError:  # hung up, or we are in the background by now
                data = b""
            if not data:
                self._release()
                return
            for key in self._decoder.feed(data):
                self._on_key(key)

        def _suspend(self) -> None:
            assert self._loop is not None
            self._on_suspend()
            self._release()
            self._loop.remove_signal_handler(signal.SIGTSTP)
            self._woken = True
            os.kill(os.getpid(), signal.SIGTSTP)  # here we stand still until SIGCONT
            self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)
            self._take()
            self._on_resume()

        def _continued(self) -> None:
            """Take the terminal anew after a SIGSTOP, which nobody is told of beforehand."""
            if self._woken:
                self._woken = False
                return
            if self._saved is not None and self._foreground():
                self._set_raw(self._saved)
            self._on_resume()


def _standard_input() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # none, captured, or closed
        return None
