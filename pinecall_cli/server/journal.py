"""The call log on disk: appended to without waiting, read in order, pruned by age and number.

SQLite in WAL mode, one thread of ours that alone touches it. What was handed over is written
in batches within some 50 ms; a crash loses at most the batch that was being written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pinecall_cli.errors import InfrastructureError
from pinecall_cli.server.translate import Entry

log = logging.getLogger(__name__)
T = TypeVar("T")

KEPT_CALLS = 1_000
KEPT_SECONDS = 30 * 24 * 3600.0
BATCH_S = 0.02
"""How long a batch is gathered: far below what a reader notices, and few commits."""
BACKLOG = 20_000
"""Entries that may wait for a slow disk; beyond it they are dropped, loudly."""
PRUNE_EVERY = 50
"""Calls between two prunings."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER NOT NULL, ts REAL NOT NULL, call TEXT NOT NULL, agent TEXT NOT NULL,
    org TEXT NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_call ON entries (call, seq);
CREATE INDEX IF NOT EXISTS entries_by_agent ON entries (agent, seq);
CREATE TABLE IF NOT EXISTS calls (
    call TEXT PRIMARY KEY, agent TEXT NOT NULL, org TEXT NOT NULL, direction TEXT,
    caller TEXT, callee TEXT, channel TEXT, started_at REAL NOT NULL, ended_at REAL,
    duration REAL, reason TEXT);
CREATE INDEX IF NOT EXISTS calls_by_start ON calls (started_at);
"""


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One row per call: what it was and how it ended; None where that is not known (yet)."""

    call_id: str
    agent: str
    org: str
    direction: str | None
    from_: str | None
    to: str | None
    channel: str | None
    started_at: float
    """Epoch seconds."""
    ended_at: float | None
    duration_s: float | None
    reason: str | None


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
        self._queue: queue.Queue[Entry | Callable[[], None]] = queue.Queue(BACKLOG)
        self._watchers: list[Callable[[Entry], None]] = []
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
        """Take an entry for writing, and hand it to those who watch; never waits."""
        if not entry.amends:
            for watcher in tuple(self._watchers):
                watcher(entry)
        if entry.ephemeral or self._closed:
            return
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._lose(1, "the disk cannot keep up")

    def watch(self, callback: Callable[[Entry], None]) -> Callable[[], None]:
        """Hand every later entry to ``callback``, ephemeral ones too; returns how to stop.

        It runs where the entry was appended and must not wait.
        """
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback) if callback in self._watchers else None

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

    def calls(
        self, *, agent: str | None = None, org: str | None = None, limit: int = 100
    ) -> list[LoggedCall]:
        """Return the newest calls first: those of an agent, or all."""
        return self.ask(
            lambda database: read_calls(database, agent=agent, org=org, limit=limit)
        ).result()

    def ask(self, read: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``read`` on the log's own thread, after everything appended so far.

        The server's loop awaits the result with `asyncio.wrap_future`.
        """
        answer: Future[T] = Future()

        def run() -> None:
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
            self._database = open_database(self.path)
            self._prune()
            newest = self._database.execute("SELECT max(seq) FROM entries").fetchone()[0]
            opened.set_result(newest or 0)
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
        """Wait for work, then gather what comes in the next moment; a question ends it."""
        work = [self._queue.get()]
        deadline = time.monotonic() + BATCH_S
        while isinstance(work[-1], Entry):
            with contextlib.suppress(queue.Empty):
                work.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
                continue
            break
        return work

    def _work(self, work: Iterable[Entry | Callable[[], None]]) -> None:
        batch = [item for item in work if isinstance(item, Entry)]
        if batch:
            try:
                with self._database:
                    for entry in batch:
                        write(self._database, entry)
                self._since_pruning += sum(entry.type == "call.summary" for entry in batch)
                if self._since_pruning >= PRUNE_EVERY:
                    self._prune()
            except (sqlite3.Error, TypeError, ValueError) as problem:
                self._lose(len(batch), problem)
        for item in work:
            if not isinstance(item, Entry):
                item()

    def _prune(self) -> None:
        self._since_pruning = 0
        with self._database:
            self._database.execute(
                "DELETE FROM calls WHERE started_at < ? OR call NOT IN "
                "(SELECT call FROM calls ORDER BY started_at DESC, rowid DESC LIMIT ?)",
                (self._wall() - self._kept_s, self._kept_calls),
            )
            self._database.execute("DELETE FROM entries WHERE call NOT IN (SELECT call FROM calls)")


def open_database(path: Path | str) -> sqlite3.Connection:
    """Open the file (0600, in a folder of ours that nobody else reads), or memory."""
    if path != ":memory:":
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives -wal and -shm the rights of the database, so it must be there first.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
    database = sqlite3.connect(path, timeout=5.0)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def write(database: sqlite3.Connection, entry: Entry) -> None:
    """Write one entry, and what it says about its call."""
    row = (entry.seq, entry.ts, entry.call, entry.agent, entry.org, entry.type)
    data = json.dumps(entry.data, separators=(",", ":"))  # ASCII: half a surrogate pair survives
    database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, data))
    facts = entry.data
    if entry.type in ("call.ringing", "call.started", "call.ended"):
        # A call that was turned away never started, and one that was never told of may end.
        parties = (facts.get("direction"), facts.get("from"), facts.get("to"))
        how = "REPLACE" if entry.type == "call.started" else "IGNORE"
        database.execute(
            f"INSERT OR {how} INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
            (entry.call, entry.agent, entry.org, *parties, facts.get("channel"), entry.ts),
        )
    if entry.type == "call.ended":
        database.execute(
            "UPDATE calls SET ended_at = ?, duration = ?, reason = ? WHERE call = ?",
            (entry.ts, facts.get("duration"), facts.get("reason"), entry.call),
        )


def read_entries(
    database: sqlite3.Connection,
    *,
    call: str | None,
    agent: str | None,
    org: str | None,
    after: int,
    limit: int,
) -> list[Entry]:
    """Return entries after a ``seq``, in order."""
    where, values = conditions(call=call, agent=agent, org=org)
    rows = database.execute(
        f"SELECT seq, ts, call, agent, org, type, data FROM entries WHERE {where} AND seq > ? "
        "ORDER BY seq LIMIT ?",
        (*values, after, limit),
    )
    return [
        Entry(seq, ts, of_call, of_agent, of_org, type_, json.loads(data))
        for seq, ts, of_call, of_agent, of_org, type_, data in rows
    ]


def read_calls(
    database: sqlite3.Connection, *, agent: str | None, org: str | None, limit: int
) -> list[LoggedCall]:
    """Return calls, the newest first."""
    where, values = conditions(agent=agent, org=org)
    rows = database.execute(
        "SELECT call, agent, org, direction, caller, callee, channel, started_at, ended_at, "
        f"duration, reason FROM calls WHERE {where} ORDER BY started_at DESC, rowid DESC LIMIT ?",
        (*values, limit),
    )
    return [LoggedCall(*row) for row in rows]


def conditions(**equal: Any) -> tuple[str, list[Any]]:
    """Return an SQL condition on the columns that are asked for, and its values."""
    asked = {column: value for column, value in equal.items() if value is not None}
    return " AND ".join(["1", *(f"{column} = ?" for column in asked)]), list(asked.values())
