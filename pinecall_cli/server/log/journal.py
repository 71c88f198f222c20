"""The call log on disk: appended to without waiting, read in order, pruned by age and number.

SQLite in WAL mode, one thread of ours that alone touches it. What was handed over is written at
once, and what comes meanwhile with the next write; a crash loses at most what was being written.
Whoever follows the log hears of an entry when it is on disk and not before, so nobody has seen
what a crash took back.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pinecall_cli.errors import InfrastructureError
from pinecall_cli.server.log.log_file import (
    HIGHEST_SEQ,
    LoggedCall,
    encoded,
    newest_seq,
    open_log,
    prune,
    read_calls,
    read_entries,
    read_pruned,
    write,
)
from pinecall_cli.server.log.translate import Entry

log = logging.getLogger(__name__)
T = TypeVar("T")

KEPT_CALLS = 1_000
KEPT_SECONDS = 30 * 24 * 3600.0
BATCH = 500
"""Entries of one write, at most: some 5 ms."""
BACKLOG = 20_000
"""Entries that may wait for a slow disk; beyond it they are dropped, loudly."""
PRUNE_EVERY = 50
"""Calls between two prunings."""
LOCKED = 3
"""How often a write waits its 5 s for another server's; theirs take milliseconds."""

Watcher = Callable[[Sequence[Entry]], None]
"""Takes entries in order. Called on the log's own thread; must not wait."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of a log, in order."""

    entries: list[Entry]
    complete: bool
    """True when these are the last there are; whoever asked to watch hears of all later ones."""
    pruned: int = 0
    """The highest ``seq`` of the log that was thrown away to keep it small; 0 for none."""


class Stop(Exception):
    """Tells the journal's thread to end."""


class Journal:
    """A call log: `append` from the server's loop, `entries` and `calls` from anywhere else."""

    def __init__(
        self,
        path: Path | str,
        *,
        wall: Callable[[], float] = time.time,
        kept_calls: int = KEPT_CALLS,
        kept_s: float = KEPT_SECONDS,
    ) -> None:
        """Open or create the log.

        Args:
            path: The file (its folder is created), or ``:memory:``.
            wall: Epoch seconds.
            kept_calls: How many calls stay when old ones are pruned.
            kept_s: How long they stay, in seconds.

        Raises:
            InfrastructureError: If it cannot be opened or is no call log.
        """
        self.path = path
        self.lost = 0
        """Entries that could not be written."""
        self._wall, self._kept_calls, self._kept_s = wall, kept_calls, kept_s
        self._queue: queue.SimpleQueue[Entry | Callable[[], None]] = queue.SimpleQueue()
        self._watchers: list[Watcher] = []
        self._since_pruning = 0
        self._closed = False
        self._database: sqlite3.Connection
        opened: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="pinecall-journal", daemon=True
        )
        self._thread.start()
        try:
            self.last_seq: Final = opened.result()
            """The highest ``seq`` in the log when it was opened."""
        except (sqlite3.Error, OSError) as problem:
            raise InfrastructureError(
                f"cannot open the call log `{path}`: {problem}",
                code="call_log",
                fix="name another folder with `--data`, or move the file away",
            ) from None

    # --- writing ---

    def append(self, entry: Entry) -> None:
        """Take an entry for writing, and for those who watch; never waits."""
        if self._closed or (entry.ephemeral and not self._watchers):
            return
        if self._queue.qsize() < BACKLOG:
            self._queue.put(entry)
        elif not entry.ephemeral:
            self._lose(1, "the disk cannot keep up")

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Hand every later entry to ``watcher``, once it is written; returns how to stop.

        Ephemeral entries come too, in their place between the others; those that amend do not.
        """
        self._watchers.append(watcher)
        return lambda: self.unwatch(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Hand nothing more to ``watcher``."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _lose(self, count: int, why: object) -> None:
        if not self.lost:
            log.error("the call log is losing entries: %s", why)
        self.lost += count

    def flush(self) -> None:
        """Wait until everything appended so far is written."""
        self.ask(lambda database: None).result()

    def close(self) -> None:
        """Write what waits and close the file. Once is enough; later entries are dropped."""
        if self._closed:
            return
        self._closed = True

        def stop() -> None:
            raise Stop

        self._queue.put(stop)
        self._thread.join()

    # --- reading ---

    def entries(
        self,
        *,
        call: str | None = None,
        agent: str | None = None,
        org: str | None = None,
        after: int = 0,
        limit: int = 1_000,
    ) -> list[Entry]:
        """Return stored entries in order of ``seq``: those of a call or an agent, or all."""
        return self.ask(
            lambda database: read_entries(
                database, call=call, agent=agent, org=org, after=after, limit=limit
            )
        ).result()

    def page(
        self,
        *,
        call: str | None = None,
        agent: str | None = None,
        org: str | None = None,
        after: int = 0,
        upto: int = HIGHEST_SEQ,
        types: frozenset[str] | None = None,
        limit: int = 1_000,
        watcher: Watcher | None = None,
    ) -> Future[Page]:
        """Read on in a log, and with its last page begin to watch: nothing falls in between.

        ``upto`` keeps out what other servers have written beyond it.
        """

        def read(database: sqlite3.Connection) -> Page:
            entries = read_entries(
                database,
                call=call,
                agent=agent,
                org=org,
                after=after,
                upto=upto,
                types=types,
                limit=limit,
            )
            complete = len(entries) < limit
            if complete and watcher is not None:
                self._watchers.append(watcher)
            return Page(entries, complete, read_pruned(database, agent=agent, org=org))

        return self.ask(read)

    def calls(
        self,
        *,
        call: str | None = None,
        agent: str | None = None,
        org: str | None = None,
        limit: int = 100,
    ) -> list[LoggedCall]:
        """Return the newest calls first: one, those of an agent, or all."""
        return self.ask(
            lambda database: read_calls(database, call=call, agent=agent, org=org, limit=limit)
        ).result()

    def ask(self, read: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``read`` on the log's own thread, after everything appended so far.

        The server's loop awaits the result with `asyncio.wrap_future`.
        """
        answer: Future[T] = Future()

        def run() -> None:
            if not answer.set_running_or_notify_cancel():
                return  # whoever asked has stopped waiting
            try:
                answer.set_result(read(self._database))
            except sqlite3.Error as problem:
                answer.set_exception(
                    InfrastructureError(f"cannot read the call log: {problem}", code="call_log")
                )

        if self._closed:
            answer.set_exception(InfrastructureError("the call log is closed", code="call_log"))
        else:
            self._queue.put(run)
        return answer

    # --- the thread ---

    def _run(self, opened: Future[int]) -> None:
        try:
            self._database = open_log(self.path)
            self._prune()
            opened.set_result(newest_seq(self._database))
        except (sqlite3.Error, OSError) as problem:
            opened.set_exception(problem)
            return
        try:
            while True:
                self._work(self._batch())
        except Stop:
            pass
        finally:
            self._database.close()

    def _batch(self) -> list[Entry | Callable[[], None]]:
        """Wait for work, then take what has come meanwhile; a question ends it."""
        work = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while isinstance(work[-1], Entry) and len(work) < BATCH:
                work.append(self._queue.get_nowait())
        return work

    def _work(self, work: Iterable[Entry | Callable[[], None]]) -> None:
        batch = [item for item in work if isinstance(item, Entry)]
        if batch:
            written = self._write(batch)
            told = [entry for entry in written if not entry.amends]
            for watcher in tuple(self._watchers) if told else ():
                watcher(told)
            self._since_pruning += sum(entry.type == "call.summary" for entry in written)
            if self._since_pruning >= PRUNE_EVERY:
                self._tidy()
        for item in work:
            if not isinstance(item, Entry):
                item()

    def _write(self, batch: list[Entry]) -> list[Entry]:
        """Write what is to be kept of a batch; return what is on disk now, or is not to be."""
        rows: list[tuple[Entry, str]] = []
        told: list[Entry] = []
        for entry in batch:
            if not entry.ephemeral:
                try:
                    rows.append((entry, encoded(entry)))
                except (TypeError, ValueError, RecursionError) as problem:
                    self._lose(1, problem)
                    continue
            told.append(entry)
        for attempt in range(1, LOCKED + 1):
            try:
                with self._database:
                    for entry, data in rows:
                        write(self._database, entry, data)
                return told
            except sqlite3.Error as problem:
                locked = "locked" in str(problem) or "busy" in str(problem)
                if not locked or attempt == LOCKED:
                    self._lose(len(rows), problem)
                    break
        return [entry for entry in told if entry.ephemeral]

    def _tidy(self) -> None:
        try:
            self._prune()
        except sqlite3.Error as problem:
            log.warning("the call log was not pruned: %s", problem)

    def _prune(self) -> None:
        self._since_pruning = 0
        with self._database:
            prune(self._database, since=self._wall() - self._kept_s, calls=self._kept_calls)
