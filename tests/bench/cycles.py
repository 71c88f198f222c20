"""Connecting and disconnecting, ten thousand times: how long each takes, and what is left.

    python -m tests.bench.cycles [--times N]

What is left must be nothing: tasks, live timers, objects of the SDK's, and memory that grows.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence

from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.bench.figures import head, row
from tests.fakes.engines import Engines
from tests.sdk.reconnecting import left_by, lost_client, new_client, same_client


async def measure(times: int) -> None:
    """Go round, three ways, and print what each took and left."""
    async with EmbeddedServer(engines=Engines()) as server:
        client = Pinecall(server.key, server.url)
        client.agent("front-desk", llm="script", prompt="x")
        await around("connect, register, disconnect", lambda: same_client(client), times)
        await around("a new client each time", new_client(server.url, server.key), times)
        await around("lost and made again", lost_client(client), times)
        await client.disconnect()


async def around(name: str, cycle: Callable[[], Awaitable[None]], times: int) -> None:
    """Print one line."""
    took: list[float] = []

    async def timed() -> None:
        begun = time.perf_counter()
        await cycle()
        took.append((time.perf_counter() - begun) * 1000)

    await left_by(timed, 5)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    left = await left_by(timed, times)
    grown = tracemalloc.take_snapshot().compare_to(before, "filename")
    tracemalloc.stop()
    ours = sum(one.size_diff for one in grown if "pinecall_cli/sdk" in one.traceback[0].filename)
    kept = {what: count for what, count in left.items() if count > 3}
    print(row(name, took, "ms", f"left: {kept or 'nothing'}, {ours / 1024:+.0f} KiB of ours"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=3334)
    chosen = parser.parse_args(arguments)
    print(head(f"3 × {chosen.times:,} connections"))
    asyncio.run(measure(chosen.times))


if __name__ == "__main__":
    main()
