"""A long fuzz: mutated frames through the decoder, on every socket, and bodies on every route.

Anything that surprises the server (an error in its log, an answer that its description does not
know, a socket after which it serves nobody) is printed with the seed that does it again, and ends
the run with 1.

    python -m tests.bench.fuzz [--decoded N] [--frames N] [--rounds N] [--seed N] [--only PATH]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import tracemalloc
from collections.abc import Sequence

from pinecall_cli.protocol import codec
from tests.bench.figures import head, row
from tests.server import fuzzing
from tests.server.mutations import Mutator, samples
from tests.server.peer import embedded


class Surprises(logging.Handler):
    """Keeps what the server logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def decode(count: int, seed: int) -> list[float]:
    """Decode so many mutated frames of either direction; returns µs per frame, by batches."""
    costs = []
    mutators = [
        (codec.decode_command, Mutator(seed, samples("commands"))),
        (codec.decode_event, Mutator(seed + 1, samples("events"))),
    ]
    done = 0
    while done < count:
        for read, mutator in mutators:
            batch = [mutator.data() for _ in range(min(1_000, count))]
            begun = time.perf_counter()
            for raw in batch:
                codec.encode(read(raw).frame)
            costs.append(1e6 * (time.perf_counter() - begun) / len(batch))
            done += len(batch)
    return costs


async def sockets(frames: int, rounds: int, seed: int, only: str | None) -> dict[str, list[float]]:
    """Fuzz the sockets and routes; returns µs per frame by path and round.

    Raises:
        AssertionError: If the server does not serve any more, or answers what it does not describe.
    """
    costs: dict[str, list[float]] = {}
    for number in range(seed, seed + rounds):
        for path, fuzz in fuzzing.SOCKETS.items():
            if only not in (None, path):
                continue
            async with embedded(engines=fuzzing.engines()) as server:
                begun = time.perf_counter()
                await fuzz(server, Mutator(number, fuzzing.COMMANDS), frames)
                took = time.perf_counter() - begun
                assert await fuzzing.alive(server), f"{path} --seed {number}"
            costs.setdefault(path, []).append(1e6 * took / frames)
        if only in (None, "routes"):
            async with embedded(engines=fuzzing.engines()) as server:
                begun = time.perf_counter()
                wrong = await fuzzing.routes(
                    server, Mutator(number, fuzzing.COMMANDS), max(1, frames // 100)
                )
                assert not wrong, f"--seed {number}: {wrong}"
                took = time.perf_counter() - begun
            costs.setdefault("routes", []).append(1e6 * took / frames)
    return costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--decoded", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=5_000, help="on each socket, each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a socket's path, or `routes`")
    chosen = parser.parse_args(arguments)
    surprises = Surprises()
    logging.getLogger().addHandler(surprises)
    try:
        costs = asyncio.run(sockets(chosen.frames, chosen.rounds, chosen.seed, chosen.only))
        decoded = decode(chosen.decoded, chosen.seed)
        tracemalloc.start()  # decoding takes ten times as long while memory is watched
        decode(chosen.decoded // 50, chosen.seed + 2)
        left, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        logging.getLogger().removeHandler(surprises)
    print(head(f"a mutated frame, {chosen.frames} on each socket, {chosen.decoded} decoded"))
    print(row("decode and encode", decoded, "µs"))
    for path, values in costs.items():
        print(row(path, values, "µs"))
    kept = f"{left / 1024:.0f} KiB kept, {peak / 1024:.0f} at most"
    print(f"{kept}, by decoding {chosen.decoded // 50} more")
    if surprises.found:
        print(*surprises.found, sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
