"""The way out: writes that are flushed at once, and a pipe that may be closed under us."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

GATHER_S = 0.005
"""Least time between two writes of gathered lines; a lone line never waits."""
MOST_GATHERED = 64 * 1024
"""Bytes that are gathered: what a pipe holds on Linux."""

GONE = {errno.EPIPE, errno.ECONNRESET, errno.EIO} | ({errno.EINVAL} if os.name == "nt" else set())
"""How a system says that nobody reads: a pipe, a socket, a terminal that hung up, Windows."""


class Output:
    """Writes bytes to a stream until its reader has gone.

    A closed pipe is not an error: ``on_closed`` is called once, and what comes later is dropped.
    So it is when gathered lines cannot be written, to a full disk say; `finish` raises that.
    """

    def __init__(self, stream: BinaryIO, *, on_closed: Callable[[], None] | None = None) -> None:
        self.closed = False
        self._stream = stream
        self._on_closed = on_closed
        self._gathered: list[bytes] = []
        self._size = 0
        self._written_at = float("-inf")
        self._due = False
        self._failed: OSError | None = None

    def add(self, data: bytes) -> None:
        """Write ``data`` at once, or in a burst together with what else comes in this loop turn.

        A line costs 4 µs and a write as much again, more with a reader that wakes up at each.
        """
        self._gathered.append(data)
        self._size += len(data)
        if self._size < MOST_GATHERED and time.monotonic() - self._written_at < GATHER_S:
            if self._due:
                return
            try:
                asyncio.get_running_loop().call_soon(self._now)
            except RuntimeError:  # no loop, no later
                pass
            else:
                self._due = True
                return
        self._out()

    def finish(self) -> None:
        """Write what has been gathered.

        Raises:
            OSError: If that, or lines before, could not be written. Told once.
        """
        self._out()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def write(self, data: bytes) -> None:
        """Write and flush ``data``, after what has been gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            data, self._size = b"".join((*gathered, data)), 0
        if self.closed:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
            self._written_at = time.monotonic()
        except OSError as error:
            if error.errno not in GONE:
                raise
            self._gone()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the stream to ourselves: its descriptor leads to stderr, and we write to a copy."""
        try:
            number, talk = self._stream.fileno(), sys.stderr.fileno()
        except (io.UnsupportedOperation, AttributeError):  # captured, or no stderr at all
            yield
            return
        self._out()
        self._stream.flush()
        copy = os.dup(number)
        os.dup2(talk, number)
        shared, self._stream = self._stream, os.fdopen(copy, "wb")
        try:
            yield
        finally:
            self._out()
            own, self._stream = self._stream, shared
            os.dup2(copy, number)
            own.close()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice that the reader of a pipe has gone even while there is nothing to write.

        Else `dev | head -1` would go on unseen and hold its agents' names. On Linux alone: a pipe
        whose reader has gone counts as readable there. To be entered on the loop.
        """
        try:
            number = self._stream.fileno()
        except io.UnsupportedOperation:
            number = -1
        if sys.platform != "linux" or number < 0 or not stat.S_ISFIFO(os.fstat(number).st_mode):
            yield
            return
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(number)
            if not self.closed:
                self._gone()

        loop.add_reader(number, gone)
        try:
            yield
        finally:
            loop.remove_reader(number)

    def _now(self) -> None:
        self._due = False
        self._out()

    def _out(self) -> None:
        """Write what has been gathered; whoever added it is not there to hear of a failure."""
        if not self._gathered:
            return
        try:
            self.write(b"")
        except OSError as error:
            self._failed = error
            self._gone()

    def _gone(self) -> None:
        self.closed = True
        try:
            # Else the interpreter flushes the rest into the closed pipe as it exits, and complains.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        except io.UnsupportedOperation:
            pass  # not a file: nothing is flushed at exit
        if self._on_closed is not None:
            self._on_closed()
