"""An event loop without waiting: when nothing can run, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class JumpingSelector(selectors.DefaultSelector):
    """Returns at once, and moves the clock by what it was to wait for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is scheduled and nothing will arrive: this test is stuck")
        self.now += 0 if ready else (timeout or 0)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """In memory only: sockets and threads would be overtaken by the clock."""

    def __init__(self) -> None:
        self.clock = JumpingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


BACKEND = ("asyncio", {"loop_factory": JumpingLoop})
