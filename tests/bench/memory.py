"""Two thousand calls, from the first ring to the last byte: what of them stays in memory.

On the session clock: a server in memory, all its calls real but the engines (`day`). After every
200 calls it prints the process's memory, and how many blocks, tasks, timers, threads, objects of
ours and entries of tables there are. All should be flat, but for what is kept on purpose and
named at the end: the outbox of WhatsApp (1,000 messages), ids that were seen (10,000), and in the
call log (1,000 calls), which is a file here as it is for people.

    python -m tests.bench.memory [--calls N] [--every N] [--trace]

What Python has allocated is counted in blocks; with ``--trace``, in MB too, and it says by which
lines the most was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pinecall_cli.server.log.journal import Journal
from tests.bench.day import Day
from tests.bench.figures import head, row
from tests.bench.held import grown, held
from tests.bench.load import memory
from tests.sdk.jumping import JumpingLoop


async def measure(calls: int, every: int, *, trace: bool) -> None:
    """Hold so many calls, and print what there is after every so many."""
    with tempfile.TemporaryDirectory() as folder:
        async with Day(Journal(Path(folder) / "calls.db")) as day:
            await rounds(day, 2 * day.kinds)
            if trace:
                tracemalloc.start()
            first = now = await settled(day)
            print(f"{'calls':>7} {'RSS':>8} {'traced':>8} {'blocks':>8}", end=" ")
            print(f"{'tasks':>6} {'timers':>6} {'threads':>7} {'objects':>8} {'tables':>8}")
            line(0, first)
            snapshot = tracemalloc.take_snapshot() if trace else None
            took: list[float] = []
            for done in range(every, calls + 1, every):
                took += await rounds(day, every)
                now = await settled(day)
                line(done, now)
            report(grown(first, now, 1))
            print(head("on the clock of this machine"))
            print(row("a voice call, and what is beside it", took, "ms"))
            if snapshot is not None:
                since = tracemalloc.take_snapshot().compare_to(snapshot, "lineno")
                for one in since[:8]:
                    print(f"  {one.size_diff / 1024:+8.0f} KiB {one.traceback[0]}")


async def rounds(day: Day, count: int) -> list[float]:
    """Hold so many calls; return how long each took, in ms."""
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        await day.round()
        took.append(1000 * (time.perf_counter() - begun))
    return took


async def settled(day: Day) -> Counter[str]:
    """Return what is held when nothing is under way."""
    day.server.journal.flush()
    return held(day.server)


def line(calls: int, now: Counter[str]) -> None:
    """Print one line of the table."""
    traced = tracemalloc.get_traced_memory()[0] / 2**20
    objects = sum(count for name, count in now.items() if name.startswith("objects"))
    entries = sum(count for name, count in now.items() if name.startswith("table"))
    print(f"{calls:>7,} {memory(os.getpid()):>5.0f} MB {traced:>5.1f} MB", end=" ")
    print(f"{sys.getallocatedblocks():>8,} {now['tasks']:>6} {now['timers']:>6}", end=" ")
    print(f"{now['threads']:>7} {objects:>8,} {entries:>8,}", flush=True)


def report(more: dict[str, int]) -> None:
    """Print what there is more of than in the beginning."""
    print("more than in the beginning:", "" if more else "nothing")
    for name, by in sorted(more.items(), key=lambda one: -one[1]):
        print(f"  {by:+8,} {name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--trace", action="store_true", help="with tracemalloc: far slower")
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(measure(options.calls, options.every, trace=options.trace))


if __name__ == "__main__":
    main()
