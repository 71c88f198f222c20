"""`SqliteHistory`: conversations in a file of SQLite's, written by a thread of its own."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pinecall_cli.agent.history import ConversationRecord
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import InfrastructureError
from pinecall_cli.settings.database import open_database

T = TypeVar("T")

FORMAT = 1
"""Of the tables; a newer program raises it."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    call_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, channel TEXT NOT NULL,
    direction TEXT NOT NULL, contact TEXT NOT NULL, callee TEXT NOT NULL,
    started_at REAL NOT NULL, ended_at REAL, duration REAL, reason TEXT, status TEXT NOT NULL,
    transcript TEXT NOT NULL, messages TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS conversations_by_contact
    ON conversations (agent_id, contact, started_at);
"""
COLUMNS = (
    "call_id, agent_id, channel, direction, contact, callee, started_at, ended_at, duration, "
    "reason, status, transcript, messages, metadata"
)
NEWEST_FIRST = "ORDER BY started_at DESC, rowid DESC LIMIT ?"


class SqliteHistory:
    """A `HistoryStore` in one file (0600), made when it is first used.

    All work is done on a daemon thread, so that no disk holds up a call. Several processes may use
    one file. It is safe to be killed at any moment: a record is there as it was, or as it is.

    Args:
        path: The file; ``":memory:"`` for none.

    Example:
        ``Agent("front-desk", history=SqliteHistory("history.db"))``
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._worker = Worker("pinecall-history")
        self._open = Open()
        # A reload makes another one in this one's place: neither thread nor file may stay behind.
        weakref.finalize(self, let_go, self._worker, self._open).atexit = False

    def __repr__(self) -> str:
        return f"SqliteHistory({self.path!r})"

    async def save(self, record: ConversationRecord) -> None:
        """Keep a record, in place of an older one of the same call.

        Raises:
            InfrastructureError: If the file cannot be written.
            TypeError: If a message or the metadata hold what JSON has no form for.
        """
        row = row_of(record)  # here: the lists may change while the thread is busy

        def work(database: sqlite3.Connection) -> None:
            marks = ", ".join("?" * len(row))
            with database:
                database.execute(f"REPLACE INTO conversations ({COLUMNS}) VALUES ({marks})", row)

        await self._do(work)

    async def get(self, call_id: str) -> ConversationRecord | None:
        """Return the record of a call; None if there is none.

        Raises:
            InfrastructureError: If the file cannot be read.
        """
        found = await self._select("WHERE call_id = ?", (call_id,))
        return found[0] if found else None

    async def recent(
        self, agent_id: str, contact: str, *, limit: int
    ) -> Sequence[ConversationRecord]:
        """Return an agent's latest conversations with a contact, the newest first.

        Raises:
            InfrastructureError: If the file cannot be read.
        """
        where = f"WHERE agent_id = ? AND contact = ? {NEWEST_FIRST}"
        return await self._select(where, (agent_id, contact, limit))

    async def latest(self, *, limit: int = 50) -> Sequence[ConversationRecord]:
        """Return the latest conversations of all agents, the newest first.

        Raises:
            InfrastructureError: If the file cannot be read.
        """
        return await self._select(NEWEST_FIRST, (limit,))

    async def forget(self, contact: str) -> int:
        """Delete every conversation with a contact; returns how many there were.

        Raises:
            InfrastructureError: If the file cannot be written.
        """

        def work(database: sqlite3.Connection) -> int:
            with database:
                query = "DELETE FROM conversations WHERE contact = ?"
                return database.execute(query, (contact,)).rowcount

        return await self._do(work)

    async def close(self) -> None:
        """Close the file; what was saved before is written first. Using it opens it again."""
        if self._open.database is not None:
            await self._worker.run(self._open.close)

    async def __aenter__(self) -> SqliteHistory:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _select(self, where: str, given: tuple[Any, ...]) -> list[ConversationRecord]:
        query = f"SELECT {COLUMNS} FROM conversations {where}"

        def work(database: sqlite3.Connection) -> list[ConversationRecord]:
            with closing(database.execute(query, given)) as rows:
                return [record_of(row) for row in rows]

        return await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` does to the database, on its thread."""
        file = self._open

        def job() -> T:
            try:
                if file.database is None:
                    file.database = opened(self.path)
                return work(file.database)
            except (sqlite3.Error, OSError, ValueError) as problem:
                raise InfrastructureError(
                    f"the conversations in `{self.path}` cannot be used: {problem}",
                    fix="see whether the file can be written, and is one of ours",
                    code="history_store",
                ) from None

        return await self._worker.run(job)


class Open:
    """The database that a store's thread holds open."""

    database: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close it, if it is open."""
        if self.database is not None:
            self.database.close()
            self.database = None


def let_go(worker: Worker, file: Open) -> None:
    """End a store that nobody has any more."""
    if file.database is not None:
        worker.submit(file.close)
    worker.close()


def opened(path: str) -> sqlite3.Connection:
    """Return a file's database, with its tables.

    Raises:
        sqlite3.Error: If it cannot be used.
        OSError: If it cannot be made.
        ValueError: If a newer program has written it.
    """
    database = open_database(path)
    try:
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found > FORMAT:
            raise ValueError(f"it has format {found}, and this program knows {FORMAT}")
        database.executescript(SCHEMA)
        database.execute(f"PRAGMA user_version = {FORMAT}")
    except BaseException:
        database.close()
        raise
    return database


def row_of(record: ConversationRecord) -> tuple[Any, ...]:
    """Return a record as a row."""
    return (
        record.call_id,
        record.agent_id,
        record.channel,
        record.direction,
        record.from_,
        record.to,
        record.started_at,
        record.ended_at,
        record.duration,
        record.reason,
        record.status,
        json.dumps(list(record.transcript)),
        json.dumps(list(record.messages)),
        json.dumps(dict(record.metadata)),
    )


def record_of(row: tuple[Any, ...]) -> ConversationRecord:
    """Return a row as a record."""
    return ConversationRecord(
        call_id=row[0],
        agent_id=row[1],
        channel=row[2],
        direction=row[3],
        from_=row[4],
        to=row[5],
        started_at=row[6],
        ended_at=row[7],
        duration=row[8],
        reason=row[9],
        status=row[10],
        transcript=json.loads(row[11]),
        messages=json.loads(row[12]),
        metadata=json.loads(row[13]),
    )
