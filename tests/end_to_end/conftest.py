"""What these tests share: processes that are gone when a test is, and ends of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.program import Program
from tests.end_to_end.terminal import Terminal

Start = Callable[..., Program]
Open = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `pinecall` with these words; whatever still runs at the end is killed."""
    running: list[Program] = []

    def begin(*argv: str | Path, cwd: Path = tmp_path, **more: object) -> Program:
        program = Program(*argv, cwd=cwd, **more)  # type: ignore[arg-type]
        running.append(program)
        return program

    yield begin
    for program in running:
        program.kill()


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Open]:
    """Run `pinecall` on a terminal of its own."""
    running: list[Terminal] = []

    def begin(*argv: str | Path, cwd: Path = tmp_path, **more: object) -> Terminal:
        terminal = Terminal(*argv, cwd=cwd, **more)  # type: ignore[arg-type]
        running.append(terminal)
        return terminal

    yield begin
    for terminal in running:
        terminal.close()
