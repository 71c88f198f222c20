"""Ctrl-C, SIGTERM, SIGHUP: the first ends a command in order, and whatever hangs, in time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from pinecall_cli.settings.endings import ending_signals

LAST_S = 1.5
"""For the orderly end; then the process ends as it is. The first Ctrl-C promises 2 s in all."""


@contextmanager
def ended_by_signals(
    asked: Callable[[signal.Signals], None], *, tidy: Callable[[], None]
) -> Iterator[None]:
    """Hand the first SIGINT, SIGTERM or SIGHUP to ``asked``; end the process at the second.

    ``asked`` is called on the loop. SIGHUP (the terminal is gone) stays ignored under `nohup`.
    The process ends by itself too if the first has not ended it in `LAST_S`: an agent's tool that
    holds up the loop would hold up Ctrl-C with it. ``tidy`` puts the terminal back before that;
    it may be called from another thread. Must be entered on the main thread, in a running loop.
    """
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []
    over = threading.Event()
    told: SimpleQueue[None] = SimpleQueue()  # unlike an event, a handler may interrupt its own put

    def leave(number: int) -> None:
        try:
            tidy()
        finally:
            os._exit(128 + number)

    def take(number: int, frame: FrameType | None) -> None:
        # Not the loop's own handlers: those wait for the loop.
        if received:
            leave(number)
        received.append(signal.Signals(number))
        told.put(None)
        loop.call_soon_threadsafe(asked, received[0])

    def watch() -> None:
        told.get()
        if not over.wait(LAST_S):
            leave(received[0])

    watching = threading.Thread(target=watch, name="pinecall-signals", daemon=True)
    watching.start()
    before = {number: signal.signal(number, take) for number in ending_signals()}
    try:
        yield
    finally:
        over.set()
        told.put(None)
        watching.join()
        for number, handler in before.items():
            signal.signal(number, handler)
