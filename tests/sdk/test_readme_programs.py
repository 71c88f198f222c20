"""README's programs on the SDK alone, run as they stand against a real server."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.sdk.listening import Log, chat

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PATIENCE_S = 60.0
"""For a call of some seconds on a busy machine; a test that runs into it has failed."""


def program(file: str) -> str:
    """Return README's program of that name."""
    (text,) = re.findall(rf"^```python\n(# {re.escape(file)}\n.*?)^```", README, re.M | re.S)
    return str(text)


def reminded(number: str, folder: Path) -> tuple[int, str, str]:
    """Run README's reminder to a number; return exit code, output and errors."""
    text = program("reminder.py")
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


async def test_the_office_tells_how_its_connection_fares_and_dials_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    office: dict[str, Any] = {"__name__": "office"}
    heard = Log()
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as first:
        monkeypatch.setenv("PINECALL_API_KEY", "pk_1")
        monkeypatch.setenv("PINECALL_URL", first.url)
        # Where no event loop runs: nothing connects before it is asked to.
        await asyncio.to_thread(exec, compile(program("office.py"), "office.py", "exec"), office)
        pc: Pinecall = office["pc"]
        assert not pc.connected
        for name in ("disconnected", "connected"):
            pc.on(name, lambda *_, name=name: heard(name))
        await pc.ready
        await pc.registered()
        pc.on("user.message", lambda *_: 1 / 0)
        await chat(pc, "sales", "Hello")
        port = first.port
    await heard.until(lambda name: name == "disconnected")
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], port=port) as server:
        await office["main"]()
        async with Pinecall("pk_1", server.url) as other:
            other.agent("sales", llm="script")
            await other.registered()  # nobody holds that name any more
    up, problem, down, attempt, again, removed = capsys.readouterr().out.splitlines()
    assert (up, again) == ("connected", "connected")
    assert problem == "error: division by zero"
    assert down.startswith("disconnected: ")
    assert attempt == "attempt 1"
    assert removed == "removed: True"


def test_the_office_ends_at_once_where_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "office.py").write_text(program("office.py"), "utf-8")
    with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as server:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "office.py"],
            cwd=tmp_path,
            env={**os.environ, "PINECALL_URL": server.url, "PINECALL_API_KEY": "pk_wrong"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 1
    assert "NotAuthorisedError" in done.stderr.splitlines()[-1]
    assert "pk_wrong" not in done.stdout + done.stderr
