"""Runs what handlers leave to be awaited, keeps it alive, and keeps its faults apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from pinecall_cli.sdk.handlers import Handler, begin


class Crew:
    """The background work of one client.

    Args:
        failed: Told what a handler raised, and which one it was.
    """

    def __init__(self, failed: Callable[[Exception, str], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def call(self, handlers: Iterable[Handler], *args: object) -> list[asyncio.Task[Any]]:
        """Call every handler; one that raises does not keep the others from running.

        Returns:
            A task for each of them that is async.
        """
        tasks = []
        for handler in handlers:
            name = getattr(handler, "__qualname__", repr(handler))
            try:
                rest = begin(handler, *args)
            except Exception as problem:  # user code may raise anything; it is told, not hidden
                self._failed(problem, name)
            else:
                if rest is not None:
                    tasks.append(self.spawn(rest, name))
        return tasks

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` in the background; what it raises is told like a handler's fault."""
        task = asyncio.get_running_loop().create_task(self._watched(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, within: float) -> None:
        """Let what runs come to its end, and cancel what has not after ``within`` seconds."""
        others = self._tasks - {asyncio.current_task()}
        if not others:
            return
        _, late = await asyncio.wait(others, timeout=within)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=within)

    async def _watched(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except Exception as problem:  # as in `call`
            self._failed(problem, name)
