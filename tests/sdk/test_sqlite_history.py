"""Conversations in a file: what comes back of them, who may read it, and when it is broken."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pinecall_cli import SqliteHistory
from pinecall_cli.errors import InfrastructureError
from tests.sdk.records import record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


async def test_a_record_comes_back_as_it_was(path: Path) -> None:
    full = record(
        "c1",
        "Hello?",
        "Yes \ud83d \u2028 ñ",
        ended_at=113.2,
        duration=13.2,
        reason="hangup",
        metadata={"userId": "ana", "deep": [1, {"a": None}]},
    )
    async with SqliteHistory(path) as store:
        assert await store.get("c1") is None
        await store.save(full)
        assert await store.get("c1") == full
        await store.save(replace(full, reason="timeout"))
        assert (await store.latest()) == [replace(full, reason="timeout")]
    assert [mode(path), mode(path.parent)] == [0o600, 0o700]
    async with SqliteHistory(path) as again:
        assert (await again.latest(limit=1))[0].call_id == "c1"
        assert await again.forget("+14155550100") == 1
        assert await again.forget("+14155550100") == 0
        assert await again.latest() == []
    assert repr(again) == f"SqliteHistory({str(path)!r})"
    await again.close()
    await SqliteHistory(path).close()


async def test_the_latest_of_a_contact_come_first(path: Path) -> None:
    async with SqliteHistory(path) as store:
        for number in range(5):
            await store.save(record(f"c{number}", started_at=float(number % 3)))
        await store.save(record("x", from_="+1", started_at=9.0))
        found = await store.recent("front-desk", "+14155550100", limit=3)
        assert [one.call_id for one in found] == ["c2", "c4", "c1"]


async def test_several_processes_use_one_file(path: Path) -> None:
    async with SqliteHistory(path) as one, SqliteHistory(path) as other:
        saves = [one.save(record(f"a{n}")) for n in range(30)]
        saves += [other.save(record(f"b{n}")) for n in range(30)]
        await asyncio.gather(*saves)
        assert len(await one.latest(limit=100)) == 60


def mode(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def unusable(path: Path, kind: str) -> None:
    """Put something in the place of a store's file."""
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is no database, and long enough to be told so " * 20)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("kind", ["folder", "text", "newer"])
async def test_a_file_that_cannot_be_used_is_an_error(path: Path, kind: str) -> None:
    unusable(path, kind)
    store = SqliteHistory(path)
    with pytest.raises(InfrastructureError, match="cannot be used") as found:
        await store.save(record())
    assert found.value.code == "history_store"


async def test_what_json_has_no_form_for_is_refused_before_it_is_written(path: Path) -> None:
    async with SqliteHistory(path) as store:
        with pytest.raises(TypeError):
            await store.save(record(metadata={"a": {1}}))
        assert await store.latest() == []


async def test_memory_is_a_file_too() -> None:
    async with SqliteHistory(":memory:") as store:
        await store.save(record("c1"))
        assert (await store.get("c1")) is not None


async def test_a_store_that_nobody_has_any_more_leaves_no_thread_and_no_file(path: Path) -> None:
    store, before = SqliteHistory(path), {*threading.enumerate()}
    await store.save(record())
    (thread,) = {one for one in threading.enumerate() if one.name == "pinecall-history"} - before
    assert thread.daemon
    unused = SqliteHistory(path)
    del store, unused
    gc.collect()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
