"""Ctrl-C while the program is still being loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.program import COMMAND

PRESSED = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(7)
"""
"""A module that stands in for one of those loaded first: Ctrl-C is pressed just then."""
STARTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.{})
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program that heeds Ctrl-C, or ignores it, however these tests were started."""


def interrupted(
    folder: Path, *argv: str | Path, starts: str = "SIG_DFL"
) -> subprocess.CompletedProcess[str]:
    (folder / "typer.py").write_text(PRESSED, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", STARTED.format(starts), *map(str, argv)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command", [(COMMAND,), (sys.executable, "-m", "pinecall_cli")], ids=["script", "module"]
)
def test_ctrl_c_while_it_loads_just_ends_it(command: tuple[str | Path, ...], tmp_path: Path):
    ended = interrupted(tmp_path, *command, "agents")
    assert ended.returncode == -signal.SIGINT
    assert (ended.stdout, ended.stderr) == ("", "")


def test_ctrl_c_that_is_ignored_on_purpose_stays_ignored(tmp_path: Path):
    ended = interrupted(tmp_path, COMMAND, "agents", starts="SIG_IGN")
    assert ended.returncode == 7
    assert (ended.stdout, ended.stderr) == ("", "")
