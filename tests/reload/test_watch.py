"""Files seen changing, however they are saved."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pinecall_cli.reload.watch import folders, watch


class Watched:
    """A watch under way: what it has reported, and what to wait for."""

    def __init__(self, files: set[Path], *, poll: bool) -> None:
        self.files, self.poll = files, poll
        self.batches: asyncio.Queue[frozenset[Path]] = asyncio.Queue()

    async def run(self) -> None:
        async for changed in watch(lambda: frozenset(self.files), poll=self.poll):
            self.batches.put_nowait(changed)

    async def next(self) -> frozenset[Path]:
        async with asyncio.timeout(20):
            return await self.batches.get()


@asynccontextmanager
async def watching(*files: Path, poll: bool = False) -> AsyncIterator[Watched]:
    watched = Watched(set(files), poll=poll)
    task = asyncio.create_task(watched.run())
    await asyncio.sleep(0)
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("poll", [False, True])
async def test_a_written_file_is_seen(tmp_path: Path, poll: bool):
    file = tmp_path / "agent.yaml"
    file.write_text("a")
    async with watching(file, poll=poll) as watched:
        file.write_text("ab")
        assert await watched.next() == {file}


async def test_a_save_by_rename_is_seen_every_time(tmp_path: Path):
    file = tmp_path / "prompt.md"
    file.write_text("one")
    async with watching(file) as watched:
        for text in ("two!", "three", "four."):
            new = tmp_path / ".prompt.md.swp"
            new.write_text(text)
            os.replace(new, file)
            assert await watched.next() == {file}


async def test_a_removed_file_is_seen_and_its_return_too(tmp_path: Path):
    file = tmp_path / "tools.py"
    file.write_text("one")
    async with watching(file) as watched:
        file.unlink()
        assert await watched.next() == {file}
        file.write_text("two")
        assert await watched.next() == {file}


async def test_neighbours_are_nobodys_business(tmp_path: Path):
    file, other = tmp_path / "agent.yaml", tmp_path / "notes.txt"
    file.write_text("one")
    async with watching(file) as watched:
        other.write_text("x")
        file.write_text("two")
        assert await watched.next() == {file}
        assert watched.batches.empty()


async def test_a_file_that_a_reload_brought_in_is_watched_from_then_on(tmp_path: Path):
    first, later = tmp_path / "a" / "agent.yaml", tmp_path / "b" / "prompt.md"
    for file in (first, later):
        file.parent.mkdir()
        file.write_text("one")
    async with watching(first) as watched:
        first.write_text("uses b now")
        assert await watched.next() == {first}
        watched.files.add(later)
        first.write_text("and again")
        assert await watched.next() == {first}
        later.write_text("changed")
        assert await watched.next() == {later}


def test_the_nearest_folder_stands_in_for_one_that_is_gone(tmp_path: Path):
    gone = tmp_path / "gone" / "deeper" / "file.md"
    assert folders([gone]) == {tmp_path}


def test_a_link_is_watched_at_both_ends(tmp_path: Path):
    real, link = tmp_path / "real" / "file.md", tmp_path / "link.md"
    real.parent.mkdir()
    real.write_text("x")
    link.symlink_to(real)
    assert folders([link]) == {tmp_path, real.parent}
