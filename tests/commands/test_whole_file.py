"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from pinecall_cli.commands.whole_file import keep, make_room
from pinecall_cli.errors import InfrastructureError, UsageError


def hello(file: BinaryIO) -> None:
    file.write(b"hello")


def full(file: BinaryIO) -> None:
    file.write(b"half of it")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def mask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def test_a_file_takes_the_place_of_the_one_that_was_there(tmp_path: Path):
    (tmp_path / "a").write_text("before")
    keep(tmp_path / "a", hello)
    assert (tmp_path / "a").read_text() == "hello"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_for_others_gets_the_permissions_that_new_files_get(tmp_path: Path):
    with mask(0o027):
        keep(tmp_path / "a", hello, private=False)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(InfrastructureError, match="no space left") as caught:
        keep(tmp_path / "a", full)
    assert caught.value.code == "disk"
    assert (tmp_path / "a").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match="no such file or directory"):
        keep(tmp_path / "no" / "a", hello)


def test_a_pipe_is_written_to(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    make_room(tmp_path / "pipe")
    keep(tmp_path / "pipe", hello)
    reader.join()
    assert read == ["hello"]
    assert (tmp_path / "pipe").is_fifo()


def test_room_is_made_by_taking_away_what_was_there(tmp_path: Path):
    (tmp_path / "a").write_text("an earlier run's")
    make_room(tmp_path / "a")
    make_room(tmp_path / "new" / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "file/a", "a" * 300])
def test_where_no_file_can_be_it_is_told_at_once(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        make_room(tmp_path / name)
    assert caught.value.message.startswith("cannot write `")
    assert caught.value.fix
