"""What these tests share: `pinecall` in rooms with sound, and an ear that understands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinecall_cli.engines.moonshine import Moonshine
from tests.audio_clips.wer import Clip, clips
from tests.end_to_end.program import Program
from tests.end_to_end.terminal import Terminal
from tests.end_to_end_audio.rooms import Room

Start = Callable[..., Program]
Open = Callable[..., Terminal]
Enter = Callable[..., Room]


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Make a room; it is closed last, when nobody is in it any more."""
    rooms: list[Room] = []

    def begin(*options: str) -> Room:
        rooms.append(Room(*options))
        return rooms[-1]

    yield begin
    for room in rooms:
        room.__exit__(None, None, None)


@pytest.fixture
def start(enter: Enter, tmp_path: Path) -> Iterator[Start]:
    """Start `pinecall` with these words, in a room or outside."""
    running: list[Program] = []

    def begin(*argv: str | Path, room: Room | None = None, **env: str) -> Program:
        inside = {} if room is None else room.env
        program = Program(*argv, cwd=tmp_path, env={**inside, **env})
        running.append(program)
        return program

    yield begin
    for program in running:
        program.kill()


@pytest.fixture
def open_terminal(enter: Enter, tmp_path: Path) -> Iterator[Open]:
    """Run `pinecall` on a terminal of its own, in a room or outside."""
    running: list[Terminal] = []

    def begin(*argv: str | Path, room: Room | None = None, **env: str) -> Terminal:
        inside = {} if room is None else room.env
        terminal = Terminal(*argv, cwd=tmp_path, env={**inside, **env}, size=(30, 110))
        running.append(terminal)
        return terminal

    yield begin
    for terminal in running:
        terminal.close()


@pytest.fixture(scope="module")
def recogniser() -> Moonshine:
    return Moonshine()


@pytest.fixture(scope="session")
def clip() -> Callable[[str], Clip]:
    """Find a recording by its file's name."""
    found = {clip.path.stem: clip for clip in clips()}
    return found.__getitem__


@pytest.fixture
def without(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Make an environment in which a package raises on import what it does where it is missing."""

    def hide(package: str, raises: str) -> dict[str, str]:
        folder = tmp_path / f"without_{package}"
        folder.mkdir()
        (folder / f"{package}.py").write_text(f"raise {raises}\n", encoding="utf-8")
        path = [str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {"PYTHONPATH": os.pathsep.join(filter(None, path))}

    return hide
