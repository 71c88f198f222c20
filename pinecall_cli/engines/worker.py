"""A daemon thread of our own for heavy work, usable from any event loop.

The loop's default executor would do but for Ctrl-C: ``asyncio.run`` waits for its threads, and a
model that is loading may take seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from queue import PriorityQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]

CALLS, INTERIM, OTHERS, LAST = range(4)
"""What a worker takes first; jobs of a kind in the order they came.

Interim words only show that somebody is heard; what else a call asks for, its caller waits for.
"""
GIVES_WAY = 5
"""Nice value added for a thread that computes: it has a third of what others have."""
_KIND: ContextVar[int] = ContextVar("worker_job_kind", default=CALLS)


@contextmanager
def unhurried(kind: int = OTHERS) -> Iterator[None]:
    """Let jobs that are begun in here wait for every job that somebody on a call waits for."""
    before = _KIND.set(kind)
    try:
        yield
    finally:
        _KIND.reset(before)


def rank() -> int:
    """Return what jobs that are begun here are: `CALLS`, `INTERIM` or `OTHERS`."""
    return _KIND.get()


class Worker:
    """One thread that does one job after the other: those of calls first, each in its turn.

    The thread starts with the first job. The queue holds at most what callers wait for: whoever
    awaits `run` has one job in it.
    """

    def __init__(self, name: str, *, gives_way: bool = False) -> None:
        """``gives_way`` is for long computing: threads that keep time have the processor first."""
        self.name = name
        self._gives_way = gives_way
        self._jobs: PriorityQueue[tuple[int, int, _Job | None]] = PriorityQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue ``job`` and return its future; cancelling that drops a job not yet begun.

        Raises:
            RuntimeError: If the worker was closed.
        """
        future: Future[R] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"worker {self.name} is closed")
            self._jobs.put((rank(), next(self._numbers), (future, job, args, kwargs)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
                self._thread.start()
        return future

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``job(*args)`` returns, or raise what it raises.

        Cancelled while it waits, the job is never begun; later it ends unheard.
        """
        return await asyncio.wrap_future(self.submit(job, *args, **kwargs))

    def close(self) -> None:
        """End the thread after the jobs already queued; does not wait for it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put((LAST, 0, None))

    def _work(self) -> None:
        if self._gives_way:
            give_way()
        while (next_job := self._jobs.get()[2]) is not None:
            future, job, args, kwargs = next_job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = job(*args, **kwargs)
            except BaseException as problem:
                # It is the waiter's: even SystemExit must not end everybody's worker.
                future.set_exception(problem)
            else:
                future.set_result(result)
            # An idle worker must not keep the last utterance, nor its result, alive.
            del next_job, future, job, args, kwargs
            result = None


def give_way() -> None:
    """Let other threads of the process have the processor before this one, where that is possible.

    Elsewhere than on Linux a nice value is a whole process's.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        try:
            nice = os.getpriority(os.PRIO_PROCESS, thread) + GIVES_WAY
            os.setpriority(os.PRIO_PROCESS, thread, nice)  # more than 19 counts as 19
        except OSError:
            return  # a sandbox forbids it: the thread runs as every other
