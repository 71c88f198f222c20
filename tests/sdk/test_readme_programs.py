"""README's programs on the SDK alone, run as they stand against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PATIENCE_S = 60.0
"""For a call of some seconds on a busy machine; a test that runs into it has failed."""


def reminded(number: str, folder: Path) -> tuple[int, str, str]:
    """Run README's reminder to a number; return exit code, output and errors."""
    (text,) = re.findall(r"^```python\n(# reminder\.py\n.*?)^```", README, re.M | re.S)
    assert "+15005550006" in text
    (folder / "reminder.py").write_text(text.replace("+15005550006", number), "utf-8")
    with EmbeddedServer(engines=Engines()) as server:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "reminder.py"],
            cwd=folder,
            env={**os.environ, "PINECALL_URL": server.url, "PINECALL_API_KEY": server.key},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("number", "told"),
    [("+15005550006", "hangup"), ("+15005550001", "busy"), ("+15005550003", "rejected")],
)
def test_the_reminder_tells_how_its_call_went(number: str, told: str, tmp_path: Path) -> None:
    assert reminded(number, tmp_path) == (0, f"{told}\n", "")
