"""The call log's file: its tables, how entries and calls are written there and read again.

SQLite in WAL mode, so that it is read while servers write to it, and is whole after any crash.
Nothing here waits for anything but the disk; the server does it on a thread of its own
(`journal.py`), and `pinecall logs` reads the file itself when no server runs.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.errors import InfrastructureError
from pinecall_cli.server.log.translate import Entry
from pinecall_cli.settings.database import open_database

HIGHEST_SEQ = 2**63 - 1
"""A database counts no further."""
FILE = "calls.db"
"""Its name in the data folder."""
RECORDINGS = "recordings"
"""The folder beside it with calls as they sounded, or links to where they are kept."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER NOT NULL, ts REAL NOT NULL, call TEXT NOT NULL, agent TEXT NOT NULL,
    org TEXT NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_call ON entries (call, seq);
CREATE INDEX IF NOT EXISTS entries_by_agent ON entries (agent, seq);
CREATE INDEX IF NOT EXISTS entries_by_seq ON entries (seq);
CREATE TABLE IF NOT EXISTS calls (
    call TEXT NOT NULL, agent TEXT NOT NULL, org TEXT NOT NULL, direction TEXT,
    caller TEXT, callee TEXT, channel TEXT, started_at REAL NOT NULL, ended_at REAL,
    duration REAL, reason TEXT, PRIMARY KEY (org, call));
CREATE INDEX IF NOT EXISTS calls_by_start ON calls (started_at);
CREATE TABLE IF NOT EXISTS pruned (
    org TEXT NOT NULL, agent TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (org, agent));
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
    first_seq: int | None
    """Of its entries; None when it has none (left)."""
    last_seq: int | None


def open_log(path: Path | str) -> sqlite3.Connection:
    """Open the file (0600, in a folder of ours that nobody else reads), or memory."""
    if path != ":memory:":
        with suppress(FileNotFoundError):
            Path(path).chmod(0o600)  # before SQLite makes others with the same rights
    database = open_database(path)
    try:
        database.executescript(SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a log that servers may be writing to; nothing of it can be changed.

    Raises:
        InfrastructureError: If it is no call log.
    """
    try:
        # An address, so that it may say `mode`; a name may hold what means something there.
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        database.execute("SELECT 1 FROM entries, calls LIMIT 1")
    except sqlite3.Error as problem:
        raise InfrastructureError(
            f"cannot read the call log `{path}`: {problem}", code="call_log"
        ) from None
    return database


def prune(database: sqlite3.Connection, *, since: float, calls: int) -> None:
    """Throw away what began before ``since`` and all but the newest ``calls``, and note it."""
    database.execute(
        "DELETE FROM calls WHERE started_at < ? OR (org, call) NOT IN "
        "(SELECT org, call FROM calls ORDER BY started_at DESC, rowid DESC LIMIT ?)",
        (since, calls),
    )
    database.execute(
        "INSERT INTO pruned SELECT org, agent, max(seq) FROM entries "
        "WHERE (org, call) NOT IN (SELECT org, call FROM calls) GROUP BY org, agent "
        "ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
    )
    database.execute("DELETE FROM entries WHERE (org, call) NOT IN (SELECT org, call FROM calls)")


def newest_seq(database: sqlite3.Connection) -> int:
    """Return the highest ``seq`` that was ever written and is known of; 0 for none."""
    return max(highest_seq(database), read_pruned(database))


def highest_seq(database: sqlite3.Connection, *, agent: str | None = None) -> int:
    """Return the highest ``seq`` there is of an agent, or of all; 0 for none."""
    where, values = conditions(agent=agent)
    row = database.execute(f"SELECT max(seq) FROM entries WHERE {where}", values).fetchone()
    return row[0] or 0


def encoded(entry: Entry) -> str:
    """Return an entry's data as it is kept; ASCII, so that half a surrogate pair survives."""
    return json.dumps(entry.data, separators=(",", ":"))


def write(database: sqlite3.Connection, entry: Entry, data: str) -> None:
    """Write one entry, and what it says about its call."""
    row = (entry.seq, entry.ts, entry.call, entry.agent, entry.org, entry.type)
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
    if entry.type == "call.routed":
        of_call = (entry.agent, entry.org, entry.call)
        database.execute("UPDATE calls SET agent = ? WHERE org = ? AND call = ?", of_call)
    if entry.type == "call.ended":
        database.execute(
            "UPDATE calls SET ended_at = ?, duration = ?, reason = ? WHERE org = ? AND call = ?",
            (entry.ts, facts.get("duration"), facts.get("reason"), entry.org, entry.call),
        )


def read_entries(
    database: sqlite3.Connection,
    *,
    call: str | None,
    agent: str | None,
    org: str | None,
    after: int,
    limit: int,
    upto: int = HIGHEST_SEQ,
    types: frozenset[str] | None = None,
) -> list[Entry]:
    """Return entries after a ``seq`` and up to another, in order.

    More than ``limit`` only where two servers gave out its last ``seq`` in the same microsecond:
    whoever reads on behind it must not miss the other's.
    """
    where, values = conditions(call=call, agent=agent, org=org)
    if types is not None:
        where += f" AND type IN ({', '.join('?' * len(types))})"
        values += sorted(types)
    asked = f"FROM entries WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq"
    last = database.execute(
        f"SELECT seq {asked} LIMIT 1 OFFSET ?", (*values, after, upto, limit - 1)
    ).fetchone()
    rows = database.execute(
        f"SELECT seq, ts, call, agent, org, type, data {asked}, rowid",
        (*values, after, upto if last is None else last[0]),
    )
    return [
        Entry(seq, ts, of_call, of_agent, of_org, type_, json.loads(data))
        for seq, ts, of_call, of_agent, of_org, type_, data in rows
    ]


def read_pruned(
    database: sqlite3.Connection, *, agent: str | None = None, org: str | None = None
) -> int:
    """Return the highest ``seq`` that was thrown away of an agent's log, or of all."""
    where, values = conditions(agent=agent, org=org)
    row = database.execute(f"SELECT max(seq) FROM pruned WHERE {where}", values).fetchone()
    return row[0] or 0


def read_calls(
    database: sqlite3.Connection,
    *,
    call: str | None = None,
    agent: str | None = None,
    org: str | None = None,
    limit: int,
) -> list[LoggedCall]:
    """Return calls, the newest first."""
    where, values = conditions(call=call, agent=agent, org=org)
    rows = database.execute(
        "SELECT call, agent, org, direction, caller, callee, channel, started_at, ended_at, "
        f"duration, reason, (SELECT min(seq) {OF_CALL}), (SELECT max(seq) {OF_CALL}) "
        f"FROM calls WHERE {where} ORDER BY started_at DESC, rowid DESC LIMIT ?",
        (*values, limit),
    )
    return [LoggedCall(*row) for row in rows]


OF_CALL = "FROM entries WHERE entries.call = calls.call AND entries.org = calls.org"


def conditions(**equal: Any) -> tuple[str, list[Any]]:
    """Return an SQL condition on the columns that are asked for, and its values."""
    asked = {column: value for column, value in equal.items() if value is not None}
    return " AND ".join(["1", *(f"{column} = ?" for column in asked)]), list(asked.values())
