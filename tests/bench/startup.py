"""How long `pinecall --version` and `--help` take as whole processes, and what they are made of.

Beside them stand a bare interpreter and a Typer app with one command, timed in turn with them,
so that a machine that slows down slows them all; the ratios are taken round by round.

    python -m tests.bench.startup [--runs N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import head, row

BARE_TYPER = """
import typer
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def hello(version: bool = False) -> None:
    print("0")
app()
"""
ENTRY = "import sys; from pinecall_cli.app import main; sys.argv[0] = 'pinecall'; main()"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "bare Typer app": ["-c", BARE_TYPER],
    "bare Typer app, --help": ["-c", BARE_TYPER, "--help"],
    "pinecall --version": ["-c", ENTRY, "--version"],
    "pinecall --help": ["-c", ENTRY, "--help"],
    "pinecall call --help": ["-c", ENTRY, "call", "--help"],
    "pinecall agents schema": ["-c", ENTRY, "agents", "schema"],
}
"""Arguments of the interpreter; all of them with the same environment."""
YARDSTICKS = {
    "pinecall --version": "bare Typer app",
    "pinecall --help": "bare Typer app, --help",
}


def once(arguments: Sequence[str], environ: dict[str, str]) -> float:
    """Return how long a whole process took, in ms."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environ, check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begun)


def measure(runs: int) -> dict[str, list[float]]:
    """Return the times of every command, round by round, after one round that is not counted."""
    root = Path(__file__).parents[2]
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "PYTHONPATH": str(root), "COLUMNS": "100"}
        for number in range(runs + 1):
            for name, arguments in COMMANDS.items():
                ms = once(arguments, environ)
                if number:
                    taken[name].append(ms)
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    taken = measure(parser.parse_args(arguments).runs)
    print(head("a whole process"))
    for name, values in taken.items():
        print(row(name, values, "ms"))
    for name, yardstick in YARDSTICKS.items():
        ratios = [a / b for a, b in zip(taken[name], taken[yardstick], strict=True)]
        print(row(f"{name} / {yardstick}", ratios, "×"))
    for name in YARDSTICKS:
        ratios = [a / b for a, b in zip(taken[name], taken["python -c pass"], strict=True)]
        print(row(f"{name} / python -c pass", ratios, "×"))


if __name__ == "__main__":
    main()
