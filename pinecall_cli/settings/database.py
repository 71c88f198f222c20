"""SQLite files of ours: their owner's alone, and opened by several programs at once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

PATIENCE_S = 5.0
"""For another program that has the file."""
RETRY_S = 0.01
MAKING = threading.Lock()
"""Nobody here opens a file that another thread has not closed yet after making it."""


def open_database(path: Path | str) -> sqlite3.Connection:
    """Return a file's database (0600, in a folder nobody else reads), or one in ``:memory:``.

    It keeps a write-ahead log, so that whoever reads holds up nobody who writes.

    Raises:
        sqlite3.Error: If it is no database, or another program does not let go of it.
        OSError: If it cannot be made.
    """
    if path != ":memory:":
        file = Path(os.path.realpath(path))
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(file)
    database = sqlite3.connect(path, timeout=PATIENCE_S)
    try:
        _keep_a_log(database)
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


def _make(file: Path) -> None:
    """Make the file, if it is not there: SQLite gives -wal and -shm the rights that it has.

    One that is there is not touched: to close it would take from this process the locks that
    other connections of it hold (POSIX).
    """
    with MAKING:
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return


def _keep_a_log(database: sqlite3.Connection) -> None:
    """Change a new file to a write-ahead log; of two that do so at once SQLite makes one wait not.

    Its own patience does not count here: both may hold the file, and none would get further.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as busy:
            if busy.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        time.sleep(RETRY_S)
