"""A server that is a process of its own: held until a signal comes, then stopped in order."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
from collections.abc import Callable
from types import FrameType

from pinecall_cli.engines.collector import passed_over
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings.endings import ending_signals

GRACE_S, LONG_GRACE_S = 1.0, 9.0
"""For calls to end: Ctrl-C promises 2 s in all, SIGTERM 10."""


def hold(server: EmbeddedServer, *, ready: Callable[[], None]) -> int:
    """Start a server, say that it is ready, hold it until a signal ends it, and stop it.

    A second signal ends the process at once. Must be called on the main thread.

    Returns:
        The exit code: 128 and the signal's number.

    Raises:
        InfrastructureError: If it cannot be started.
    """
    # What a handler may use wherever it interrupts: an event would wait for its own lock.
    told: queue.SimpleQueue[None] = queue.SimpleQueue()
    received: list[signal.Signals] = []

    def take(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(signal.Signals(number))
        told.put(None)

    before = {number: signal.signal(number, take) for number in ending_signals()}
    try:
        server.start()
        try:
            ready()
            with passed_over(server.engines.ready):
                while not received:
                    with contextlib.suppress(queue.Empty):
                        told.get(timeout=0.5)  # in slices: on Windows a wait hears no Ctrl-C
        finally:
            patient = LONG_GRACE_S if received == [signal.SIGTERM] else GRACE_S
            server.stop(patient if received else 0.0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = 128 + received[0]
    if not server.engines.ready.done():
        leave(code)
    return code


def leave(code: int) -> None:
    """End the process here and now.

    A thread that is still loading engines when the interpreter winds up is stopped in the middle
    of onnxruntime, which ends the process by SIGABRT or SIGSEGV (seen 3 times in 3).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
