"""`logs --follow` beside a server that is killed under load again and again: what it loses.

Chats go through the server while `kill -9` ends it and another is started in its place, on the same
port and with the same call log. Each time it is measured how long after the new one listens the
next entry is printed: the reader comes back after 1 s or more, and its token died with the server.
In the end everything that is stored must have been printed, once each, in order.

    python -m tests.bench.kills [--times N]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import head, row
from tests.commands.killed_server import (
    Follower,
    Server,
    as_stored,
    free_port,
    load,
    newest,
    stored,
)

KEY = "pk_bench"
BETWEEN = 50
"""Entries that are printed between two kills: the reader is back, and has read on."""


async def measure(data: Path, times: int) -> tuple[list[float], Follower]:
    """Kill a server so many times; return how long the reader took to be back, in ms, and it."""
    server = Server(data, free_port(), KEY)
    server.start()
    follower = await Follower.start("--server", server.url, "--api-key", KEY)
    loading = asyncio.get_running_loop().create_task(load(server.url, KEY))
    back: list[float] = []
    try:
        for _ in range(times):
            await follower.count(len(follower.lines) + BETWEEN)
            await asyncio.to_thread(server.kill)
            printed = len(follower.lines)
            await asyncio.to_thread(server.start)
            begun = time.perf_counter()
            await follower.count(printed + 1)
            back.append((time.perf_counter() - begun) * 1000)
        await follower.count(len(follower.lines) + BETWEEN)
        loading.cancel()
        await asyncio.wait({loading})
        server.kill()  # what it had no time to tell, its successor does
        server.start()
        await follower.has(newest(data))
        await follower.stop()
    finally:
        loading.cancel()
        server.kill()
    return back, follower


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and end with exit code 1 if anything was lost, repeated or out of order."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.bench.kills")
    parser.add_argument("--times", type=int, default=100, help="kills (default: 100)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="pinecall-kills-") as folder:
        back, follower = asyncio.run(measure(Path(folder), options.times))
        kept, printed = stored(Path(folder)), as_stored(follower.printed)
    print(head(f"logs --follow through {options.times} kills"))
    print(row("a server that listens → the next entry printed", back, "ms"))
    seqs = [entry["seq"] for entry in printed]
    lost = {entry["seq"] for entry in kept} - set(seqs)
    print(
        f"{len(kept)} entries stored, {len(printed)} printed: {len(lost)} lost, "
        f"{len(seqs) - len(set(seqs))} repeated, "
        f"{'in order' if seqs == sorted(seqs) else 'out of order'}"
    )
    if printed != kept:
        sys.exit(1)


if __name__ == "__main__":
    main()
