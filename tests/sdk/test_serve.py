"""`Pinecall().run(agent)` as users start it: ``python file.py``, ended by signals and refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import ConflictError, NotAuthorisedError
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.serve import serve
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines

SCRIPT = """
import logging, sys
from pinecall_cli import Agent, Pinecall
agent = Agent("front-desk", llm="script", prompt="x")
@agent.on("agent.created")
async def created(event):
    print("serving", flush=True)
Pinecall(api_url=sys.argv[1]).run(agent)
print("ended", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_gracefully(number: signal.Signals, tmp_path: Path) -> None:
    with EmbeddedServer(engines=Engines()) as server:
        serve_until(number, server, tmp_path)


def serve_until(number: signal.Signals, server: EmbeddedServer, tmp_path: Path) -> None:
    file = tmp_path / "agent_file.py"
    file.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(file), server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PINECALL_API_KEY": server.key},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "serving\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "ended\n", "")


async def test_a_wrong_key_ends_it(server: EmbeddedServer) -> None:
    client = Pinecall("pk_wrong", server.url)
    client.on("error", lambda problem: None)
    with pytest.raises(NotAuthorisedError):
        await serve(client, [Agent("front-desk", llm="script", prompt="x")])


async def test_it_ends_when_every_agent_is_refused(
    server: EmbeddedServer, client: Pinecall
) -> None:
    client.agent("front-desk", llm="script", prompt="x")
    await client.registered()
    other = Pinecall(server.key, server.url)
    other.on("error", lambda problem: None)
    with pytest.raises(ConflictError):
        await serve(other, [Agent("front-desk", llm="script", prompt="x")])
    assert not other.connected
