"""An office with agents in this process, and commands that are run beside it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import run_dir
from tests.fakes.engines import Engines

OURS, THEIRS = "+13186330963", "+14155550123"
QUICK = Limits(ring_s=0.05, ring_timeout_s=0.5)
PATIENCE_S = 60.0
PROGRAM = (sys.executable, "-c", "from pinecall_cli.app import main; main()")


@dataclass
class Done:
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def types(self) -> list[str]:
        return [record["type"] for record in self.records]


async def started(
    *arguments: str, stdin: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )


async def pinecall(*arguments: str, stdin: bytes = b"") -> Done:
    """Run the command line to its end."""
    process = await started(*arguments, stdin=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def office(*agents: Agent, engines: Engines | None = None) -> AsyncIterator[EmbeddedServer]:
    """Run a server that commands find, with these agents."""
    server = EmbeddedServer(engines=engines or Engines(), run_dir=run_dir(), limits=QUICK)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        client = await stack.enter_async_context(Pinecall(server.key, server.url))
        for agent in agents:
            client.add(agent)
        await client.registered()
        yield server


def desk(name: str = "desk", *numbers: str, **options: Any) -> Agent:
    return Agent(name, llm="script", phone_numbers=list(numbers), **options)
