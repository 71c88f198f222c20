"""Runs what blocks on a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T]) -> T:
    """Run ``work`` in a daemon thread: opening a device takes long, and may hang for good."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, problem: BaseException | None) -> None:
        if outcome.done():
            return  # nobody waits any more
        if problem is not None:
            outcome.set_exception(problem)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as raised:  # handed to whoever waits
            problem = raised
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name="pinecall-audio", daemon=True).start()
    return await outcome
