"""An agent's program in a busy hour: events, updates and registrations over a real socket.

20 calls of 50 exchanges come as fast as the socket takes them, 23,000 frames of which 20,000 are
words and partials; two handlers count those. Meanwhile the agent is updated again and again: how
long a frame takes from `update()` to the server, which is a process of its own.

    python -m tests.bench.sdk [--runs N] [--calls N] [--exchanges N] [--agents N]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinecall_cli import Agent, Pinecall
from pinecall_cli.protocol.frames import Received
from tests.bench.figures import head, row

PER_EXCHANGE, COUNTED = 23, 20
IDLE_UPDATES = 100


@dataclass
class Run:
    """What was measured; ms but for the events."""

    events_per_s: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    registered: list[float] = field(default_factory=list)


@contextlib.contextmanager
def server(calls: int, exchanges: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the busy server; yields its URL, and the process, which begins at a line of input."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.exchanges", str(calls), str(exchanges)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip(), process
        process.kill()


class Updates:
    """Updates an agent and learns when the server got the frame."""

    def __init__(self, client: Pinecall, agent: Agent) -> None:
        self._agent, self._at = agent, asyncio.Queue[int]()
        self._count = 0
        client.tap(self._hear)

    def _hear(self, received: Received) -> None:
        if b'"agent.configured"' in received.raw:
            self._at.put_nowait(received.fields()["at"])

    async def one(self) -> float:
        """Return how long an update took to the server, in ms."""
        self._count += 1
        begun = time.monotonic_ns()
        self._agent.update(prompt=f"Version {self._count}.")
        return (await self._at.get() - begun) / 1e6


async def talk(calls: int, exchanges: int, run: Run) -> None:
    """Take one burst."""
    wanted = calls * exchanges * COUNTED
    with server(calls, exchanges) as (url, process):
        await take(url, process, calls, wanted, run)


async def take(
    url: str, process: subprocess.Popen[bytes], calls: int, wanted: int, run: Run
) -> None:
    """Connect, update while nothing happens, then while everything does."""
    async with Pinecall("pk_1", url) as client:
        agent = Agent("desk", llm="openai/gpt-5", prompt="x")
        counted, started, over = 0, 0, asyncio.Event()
        ready = asyncio.Event()

        @agent.on("call.started")
        def begun(call: Any) -> None:
            nonlocal started
            started += 1
            if started == calls:
                ready.set()

        @agent.on("user.speaking")
        @agent.on("bot.word")
        def count(event: Any, call: Any) -> None:
            nonlocal counted
            counted += 1
            if counted == wanted:
                over.set()

        client.add(agent)
        await client.registered()
        await ready.wait()
        updates = Updates(client, agent)
        run.idle += [await updates.one() for _ in range(IDLE_UPDATES)]

        async def keep_updating() -> None:
            while not over.is_set():
                run.busy.append(await updates.one())

        updating = asyncio.create_task(keep_updating())
        assert process.stdin is not None
        at = time.perf_counter()
        process.stdin.write(b"now\n")
        process.stdin.flush()
        await over.wait()
        took = time.perf_counter() - at
        run.events_per_s.append(wanted / COUNTED * PER_EXCHANGE / took)
        await updating


async def register(agents: int, run: Run) -> None:
    """Register many agents on one socket."""
    with server(1, 1) as (url, _):
        await register_all(url, agents, run)


async def register_all(url: str, agents: int, run: Run) -> None:
    """Connect, and wait until every agent is registered."""
    async with Pinecall("pk_1", url) as client:
        made = [Agent(f"desk-{n}", llm="openai/gpt-5", prompt="x" * 2000) for n in range(agents)]
        at = time.perf_counter()
        for agent in made:
            client.add(agent)
        await client.registered()
        run.registered.append((time.perf_counter() - at) * 1000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--exchanges", type=int, default=50)
    parser.add_argument("--agents", type=int, default=100)
    chosen = parser.parse_args(arguments)
    run = Run()
    for _ in range(chosen.runs):
        asyncio.run(talk(chosen.calls, chosen.exchanges, run))
        asyncio.run(register(chosen.agents, run))
    print(head(f"{chosen.calls} calls of {chosen.exchanges} exchanges through the SDK"))
    print(row("events, two handlers counting", run.events_per_s, "/s"))
    print(row("update() → frame at the server, idle", run.idle, "ms"))
    print(row("  during the burst", run.busy, "ms"))
    print(row(f"{chosen.agents} agents registered", run.registered, "ms"))


if __name__ == "__main__":
    main()
