"""`pinecall` on a terminal: what is typed, what is drawn, and how the terminal is left behind."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.end_to_end.program import COMMAND, PATIENCE_S

LAUNCH = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal the controlling one, as a shell's is: only then is Ctrl-C a signal.

Forking in this process instead would be a warning from Python 3.12 on, for it has threads.
"""
OURS = re.compile(
    rb"\x1b\[(?:\?2026[hl]|\?25[hl]|\?2004[hl]|[0-9]*A|J|K|[0-9;]*m)",
)
"""What the live view is made of (colours, synchronised output, cursor, erasing), and pasting."""
CLOCK = re.compile(r"\b\d+:\d\d\b")
SEEN_LINES = 60
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


def unsized() -> dict[str, str]:
    """Return our environment without the size that it may name (pytest-xdist's does)."""
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}


class Terminal:
    """A pseudo-terminal with `pinecall`, or another command, in its foreground."""

    def __init__(
        self,
        *argv: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] = (24, 100),
        command: str | Path = COMMAND,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.master, slave = os.openpty()
        self._slave: int | None = slave
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = self.after = self.modes()
        self.drawn = b""
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(command), *self.argv],
            cwd=cwd,
            env={**unsized(), "TERM": "xterm-256color", **(env or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    def modes(self) -> list[object]:
        """Return the terminal's modes, as `stty -g` would."""
        assert self._slave is not None
        return termios.tcgetattr(self._slave)

    @property
    def raw(self) -> bool:
        """Whether keys are delivered one by one, unechoed."""
        local = self.modes()[3]
        assert isinstance(local, int)
        return not local & (termios.ICANON | termios.ECHO)

    @property
    def text(self) -> str:
        """What was drawn, without our own escape sequences."""
        return OURS.sub(b"", self.drawn).decode(errors="backslashreplace")

    def seen(self) -> str:
        """Return the newest different lines that were drawn, for a failure that has to be read."""
        lines: dict[str, str] = {}
        for line in self.text.splitlines():
            same = CLOCK.sub("", line)
            lines.pop(same, None)
            lines[same] = line
        return "\n".join(list(lines.values())[-SEEN_LINES:])

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def shows(self, text: str, *, patience: float = PATIENCE_S) -> str:
        """Return what was drawn, once ``text`` is in it."""
        with self._news:
            self._news.wait_for(lambda: text in self.text or self.over, patience)
        if self.over:
            self._let_go()
        assert text in self.text, f"`{text}` was not drawn:\n{self.seen()}"
        return self.text

    def shows_times(self, text: str, times: int, *, patience: float = PATIENCE_S) -> None:
        """Wait until ``text`` has been drawn so many times."""
        with self._news:
            self._news.wait_for(lambda: self.text.count(text) >= times or self.over, patience)
        found = self.text.count(text)
        assert found >= times, f"`{text}` was drawn {found} times:\n{self.seen()}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        self.process.send_signal(number)

    def end(self, *, within: float = PATIENCE_S) -> int:
        """Return the exit code, once it has ended and all that it drew is here."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {within:g} s:\n{self.seen()}") from None
        self._let_go()
        return code

    @property
    def over(self) -> bool:
        """Whether the program has ended."""
        return self.process.poll() is not None

    @property
    def cursor_shown(self) -> bool:
        """Whether the cursor was left visible."""
        return self.drawn.rfind(SHOW) >= self.drawn.rfind(HIDE)

    def close(self) -> None:
        """End the program, if it still runs."""
        self.process.kill()
        self.process.wait()
        self._let_go()

    def _let_go(self) -> None:
        if self._slave is None:
            return
        self.after = self.modes()
        os.close(self._slave)
        self._slave = None
        self._reader.join()
        os.close(self.master)

    def _wait(self) -> None:
        self.process.wait()
        with self._news:
            self._news.notify_all()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the last who had the other side open has closed it
                return
            with self._news:
                self.drawn += data
                self._news.notify_all()
