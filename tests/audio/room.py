"""Runs a program with a virtual microphone and loudspeaker, where the machine can have them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "tests" / "virtual_audio.sh"
REQUIRED = os.environ.get("PINECALL_AUDIO_TESTS") == "required"
"""Set where apt works, as in CI: there a missing sound server is a failure, not a skip."""


def missing() -> str | None:
    """Return what this machine lacks for a virtual room."""
    if not sys.platform.startswith("linux"):
        return "virtual sound devices need Linux"
    absent = [name for name in ("bash", "pulseaudio", "pactl", "parec") if not shutil.which(name)]
    if find_library("portaudio") is None:
        absent.append("libportaudio2")
    return f"not installed: {', '.join(absent)} (see tests/virtual_audio.sh)" if absent else None


needs_a_room = pytest.mark.skipif(missing() is not None and not REQUIRED, reason=str(missing()))


def in_a_room(
    program: str, *options: str, arguments: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run Python text in a room of its own; ``--echo`` and ``--no-devices`` are the runner's."""
    python = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(
        [str(RUNNER), *options, *python],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
