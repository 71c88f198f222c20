"""What agents, tools and libraries print while a view is open: shown, and in nobody's way."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from pinecall_cli.view import chatting
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.ndjson import NdjsonView
from pinecall_cli.view.plain import PlainView
from pinecall_cli.view.twins import View

LONGEST_LINE = 10_000
"""Characters of a line that does not end; what comes then is a line of its own."""


@contextmanager
def kept_apart(view: View | chatting.ChatView) -> Iterator[None]:
    """Keep what others print out of ``view``, and notice when nobody reads it any more.

    To be entered on the loop that feeds it. Under the live view each line becomes one of its own.
    Beside NDJSON it goes to stderr, even what a program prints that a tool has started. Beside
    plain lines it is one of them.
    """
    with ExitStack() as stack:
        match view:
            case LiveView():
                loop = asyncio.get_running_loop()
                before = sys.stderr
                lines = Lines(lambda line: loop.call_soon_threadsafe(view.say, line), before)
                stack.callback(lines.release)
                stack.enter_context(redirect_stdout(lines))
                stack.enter_context(redirect_stderr(lines))
                stack.enter_context(logged_to(lines, instead_of=before))
            case NdjsonView() | chatting.Ndjson():
                stack.enter_context(view.out.alone())
                stack.enter_context(view.out.watched())
                stack.enter_context(redirect_stdout(sys.stderr))
            case PlainView() | chatting.Lines():
                stack.enter_context(view.out.watched())
                if isinstance(sys.stdout, io.TextIOWrapper):
                    sys.stdout.reconfigure(line_buffering=True)
        yield


@contextmanager
def logged_to(stream: TextIO | Lines, *, instead_of: TextIO) -> Iterator[None]:
    """Let the log go to ``stream`` where it went to another."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is instead_of
    ]
    for handler in handlers:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(instead_of)


class Lines(io.TextIOBase):
    """A stream that hands on whole lines, from whatever thread they are printed."""

    encoding = "utf-8"

    def __init__(self, show: Callable[[str], object], real: TextIO) -> None:
        """Hand lines to ``show`` until `release`, and everything to ``real`` from then on."""
        self._show: Callable[[str], object] | None = show
        self._real = real
        self._begun = ""
        self._lock = threading.Lock()

    def release(self) -> None:
        """Pass everything on: somebody may keep this stream for good."""
        with self._lock:
            left, self._begun = self._begun, ""
            show, self._show = self._show, None
        if left and show is not None:
            show(left)

    def write(self, text: str, /) -> int:
        """Take some text; what ends a line is shown."""
        with self._lock:
            show = self._show
            if show is None:
                return self._real.write(text)
            *lines, self._begun = (self._begun + text).split("\n")
            if len(self._begun) > LONGEST_LINE:
                lines, self._begun = [*lines, self._begun], ""
        for line in lines:
            if line.strip():
                show(line)
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True
