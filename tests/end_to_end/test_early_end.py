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
AS_NOHUP_DOES = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


def interrupted(folder: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    (folder / "typer.py").write_text(PRESSED, encoding="utf-8")
    return subprocess.run(
        [str(word) for word in argv],
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
    ended = interrupted(tmp_path, sys.executable, "-c", AS_NOHUP_DOES, COMMAND, "agents")
    assert ended.returncode == 7
    assert (ended.stdout, ended.stderr) == ("", "")
