from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from pinecall_cli.settings.database import open_database


def opened_at_once(file: Path, count: int) -> list[Exception]:
    """Open a file from several threads at the same moment; return what went wrong."""
    together, problems = threading.Barrier(count), list[Exception]()

    def open_it() -> None:
        together.wait()
        try:
            with closing(open_database(file)) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS things (name TEXT)")
                database.execute("INSERT INTO things VALUES ('one')")
        except sqlite3.Error as problem:
            problems.append(problem)

    threads = [threading.Thread(target=open_it) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


def test_a_new_file_may_be_opened_by_several_at_the_same_moment(tmp_path: Path):
    for number in range(20):
        file = tmp_path / f"{number}.db"
        assert opened_at_once(file, 4) == []
        with closing(open_database(file)) as database:
            assert database.execute("SELECT count(*) FROM things").fetchone() == (4,)
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_file_and_its_log_are_their_owners_alone(tmp_path: Path):
    file = tmp_path / "new" / "a.db"
    with closing(open_database(file)) as database, database:
        database.execute("CREATE TABLE things (name TEXT)")
        rights = {one.name: stat.S_IMODE(one.stat().st_mode) for one in file.parent.iterdir()}
    assert rights == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}


def test_opening_it_again_takes_no_lock_from_who_has_it_open(tmp_path: Path):
    file = tmp_path / "a.db"
    with closing(open_database(file)) as database, database:
        database.execute("CREATE TABLE things (name TEXT)")
        open_database(file).close()
        # Whoever leaves last takes the log along: another program sees that it is not the last.
        program = (
            "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM things')"
        )
        subprocess.run([sys.executable, "-c", program, file], check=True, timeout=60)
        assert Path(f"{file}-wal").exists()


def test_the_target_of_a_link_is_made_as_the_file_itself_would_be(tmp_path: Path):
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    with closing(open_database(tmp_path / "link.db")) as database, database:
        database.execute("CREATE TABLE things (name TEXT)")
    assert stat.S_IMODE((tmp_path / "real.db").stat().st_mode) == 0o600


def test_what_is_no_database_is_not_waited_for(tmp_path: Path):
    file = tmp_path / "a.db"
    file.write_text("this is no database, and long enough to be told so " * 20)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_database(file)
