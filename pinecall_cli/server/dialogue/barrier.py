"""The moment before a generation in which the application may still set variables.

``llm.before`` says that a generation is held; ``llm.ready`` or a time limit lets it go
(protocol: config.md §11, events.md §9.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pinecall_cli.protocol import events
from pinecall_cli.protocol.config import preparing_budget
from pinecall_cli.protocol.frames import Event

TEXT_CHANNELS = frozenset({"chat", "whatsapp"})


class Barrier:
    """The barrier of one session; remembers whether anybody answers."""

    def __init__(self, channel: str, emit: Callable[[Event], None]) -> None:
        self._channel = channel
        self._emit = emit
        self._misses = 0
        self._passed = False
        self._waiting: tuple[int, asyncio.Event] | None = None

    async def hold(self, preparing: Any, turn: int) -> None:
        """Hold a generation until it is released or its time is up.

        A text session is held once, at its first generation; a chat only if the agent asks.
        """
        rules = preparing_budget(preparing)
        if not rules.ask or (preparing is None and self._channel == "chat"):
            return
        if self._passed and self._channel in TEXT_CHANNELS:
            return
        self._passed = True
        waiting = self._waiting = turn, asyncio.Event()
        self._emit(events.LlmBefore(turn=turn))
        if rules.patience is not None and self._misses >= rules.patience:
            return
        loop = asyncio.get_running_loop()
        since = loop.time()
        try:
            async with asyncio.timeout(rules.budget_ms / 1000):
                await waiting[1].wait()
            self._misses = 0
        except TimeoutError:
            self._misses += 1
            if rules.tell:
                waited = round((loop.time() - since) * 1000)
                self._emit(
                    events.LlmPreparingTimeout(
                        turn=turn, waited_ms=waited, budget_ms=round(rules.budget_ms)
                    )
                )
        finally:
            if self._waiting is waiting:
                self._waiting = None

    def ready(self, turn: int | None) -> None:
        """Let the held generation go; one of another turn is not meant."""
        if self._waiting is not None and turn in (None, self._waiting[0]):
            self._waiting[1].set()
