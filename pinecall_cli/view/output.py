"""The way out: writes that are flushed at once, and a pipe that may be closed under us."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

GONE = {errno.EPIPE, errno.ECONNRESET, errno.EIO} | ({errno.EINVAL} if os.name == "nt" else set())
"""How a system says that nobody reads: a pipe, a socket, a terminal that hung up, Windows."""


class Output:
    """Writes bytes to a stream until its reader has gone.

    A closed pipe is not an error: ``on_closed`` is called once, and what comes later is dropped.
    """

    def __init__(self, stream: BinaryIO, *, on_closed: Callable[[], None] | None = None) -> None:
        self.closed = False
        self._stream = stream
        self._on_closed = on_closed

    def write(self, data: bytes) -> None:
        """Write and flush ``data``."""
        if self.closed:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
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
        self._stream.flush()
        copy = os.dup(number)
        os.dup2(talk, number)
        shared, self._stream = self._stream, os.fdopen(copy, "wb")
        try:
            yield
        finally:
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
