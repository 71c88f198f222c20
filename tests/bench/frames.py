"""Typed decoding of frames against `json.loads` to a dict, and what else a frame costs.

Every sample of tests/frames is a frame of the bench; the ratio is per sample, and each figure the
best of several rounds over many decodings, since a slower round is the machine's doing.

    python -m tests.bench.frames [--rounds N] [--loops N]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from pinecall_cli.call.session import SessionState, advance
from pinecall_cli.protocol import codec
from tests.bench.figures import head, row

SAMPLES = Path(__file__).parents[1] / "frames"


def cost(work: Callable[[], object], *, rounds: int, loops: int) -> float:
    """Return what one call of ``work`` costs, in µs."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(loops):
            work()
        best = min(best, time.perf_counter() - begun)
    return 1e6 * best / loops


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", type=int, default=2000)
    chosen = parser.parse_args(arguments)
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for file in sorted((SAMPLES / "events").glob("*.json")):
        text = json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":"))
        raw = text.encode()
        received = codec.decode_event(raw)
        frame = received.frame

        def timed(work: Callable[[], object]) -> float:
            return cost(work, rounds=chosen.rounds, loops=chosen.loops)

        typed = timed(lambda raw=raw: codec.decode_event(raw))
        plain = timed(lambda raw=raw: json.loads(raw))
        note("codec.decode_event", typed)
        note("json.loads", plain)
        note("msgspec.json.decode to a dict", timed(lambda raw=raw: msgspec.json.decode(raw)))
        note("codec.encode", timed(lambda frame=frame: codec.encode(frame)))
        note("json.loads / decode_event", plain / typed)
        state = SessionState()
        note("fold into the state (advance)", timed(lambda f=frame, s=state: advance(s, f, at=0.0)))
    print(head("a frame of tests/frames/events"))
    for name, values in figures.items():
        print(row(name, values, "×" if "/" in name else "µs"))


if __name__ == "__main__":
    main()
