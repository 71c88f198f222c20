"""What user code prints while it is imported, kept apart from what the program prints."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

MAX_CAPTURED = 64 * 1024
"""Characters kept of a file that prints without end."""


class Output:
    """Collects text; only the first `MAX_CAPTURED` characters of it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def add(self, text: str) -> None:
        """Keep some text."""
        room = MAX_CAPTURED - self._size
        if room > 0:
            self._parts.append(text[:room])
            self._size += len(text[:room])

    def lines(self) -> list[str]:
        """Return what was printed, line by line, without empty lines."""
        return [line for line in "".join(self._parts).splitlines() if line.strip()]


class _Routed(io.TextIOBase):
    """A stream that sends the threads known before where they went, and all others to `Output`.

    Replacing ``sys.stdout`` for the whole program would swallow the live view's own lines.
    """

    def __init__(self, name: str, output: Output, known: frozenset[int]) -> None:
        self._name, self._known = name, known
        self._output: Output | None = output
        self._real: TextIO = getattr(sys, name)

    def release(self) -> None:
        """Put the real stream back; from now on this one only passes on.

        A logging handler made by the file keeps this stream for good.
        """
        self._known = frozenset()
        self._output = None
        if getattr(sys, self._name) is self:
            setattr(sys, self._name, self._real)

    @property
    def _passes(self) -> bool:
        return self._output is None or threading.get_ident() in self._known

    def write(self, text: str, /) -> int:
        """Write to where this thread's output goes."""
        if self._output is None or self._passes:
            return self._real.write(text)
        self._output.add(text)
        return len(text)

    def flush(self) -> None:
        """Flush the real stream."""
        if self._passes:
            self._real.flush()

    def isatty(self) -> bool:
        """Tell whether this thread writes to a terminal."""
        return self._passes and self._real.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the real stream's descriptor."""
        return self._real.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The real stream's encoding."""
        return self._real.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What the real stream does about characters it cannot write."""
        return self._real.errors

    def __getattr__(self, name: str) -> Any:
        """Return what else the real stream has, ``buffer`` above all."""
        if name == "buffer" and not self._passes:
            return io.BytesIO()
        return getattr(self._real, name)


@contextlib.contextmanager
def captured_output() -> Iterator[Output]:
    """Collect what threads that start in this block print; others print as before."""
    output = Output()
    known = frozenset(t.ident for t in threading.enumerate() if t.ident is not None)
    streams = [_Routed(name, output, known) for name in ("stdout", "stderr")]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        setattr(sys, name, stream)
    try:
        yield output
    finally:
        for stream in streams:
            stream.release()
