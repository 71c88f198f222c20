"""How long each command takes as a whole process, from its start to its end.

Every command's help, what each does without a network, and `agents --json` of a server that runs.
Beside them stand a bare interpreter and a Typer app with one command, timed in turn with them, so
that a machine that slows down slows them all; the ratios are taken round by round.

    python -m tests.bench.startup [--runs N] [--only WORD]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pinecall_cli.app import COMMANDS
from tests.bench.figures import head, row

ROOT = Path(__file__).parents[2]
AGENTS = ROOT / "agents"
BARE = "python -c pass"
BARE_TYPER = """
import typer
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def hello(version: bool = False) -> None:
    print("0")
app()
"""
ENTRY = "import sys; from pinecall_cli.app import main; sys.argv[0] = 'pinecall'; main()"
RUNS: Mapping[str, Sequence[str]] = {
    "--version": (),
    "--help": (),
    **{f"{name} --help": () for name in COMMANDS},
    "agents schema": (),
    "agents check": (str(AGENTS),),
    "agents show": (str(AGENTS / "front_desk.yaml"),),
    "agents": (),
    "logs": (),
    "config list": (),
    "test --list": (str(AGENTS),),
    "completion bash": (),
    "call --list-devices": (),
    "logout": (),
}
"""What is run, and the arguments that are too long to be shown."""
LISTING = "agents --json"
YARDSTICKS = {"pinecall --version": "bare Typer app", "pinecall --help": "bare Typer app, --help"}


def once(arguments: Sequence[str], environ: dict[str, str]) -> tuple[float, float]:
    """Return how long a whole process took, in ms, and its most memory, in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        cwd=environ["HOME"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    taken = 1000 * (time.perf_counter() - begun)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments[2:])} ended with {process.returncode}")
    return taken, used.ru_maxrss / 1024


@contextlib.contextmanager
def running(environ: dict[str, str]) -> Iterator[None]:
    """Run a server with an agent, and leave it alone once its engines have loaded."""
    file = AGENTS / "front_desk.yaml"
    process = subprocess.Popen(
        [sys.executable, "-c", ENTRY, "dev", str(file), "--json", "--no-reload"],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        while json.loads(process.stdout.readline())["type"] != "dev.ready":
            pass
        while not process.stderr.readline().startswith((b"speech engines ready", b"text only")):
            pass
        yield
    finally:
        process.terminate()
        process.communicate()


Figures = dict[str, tuple[list[float], list[float]]]
"""By command: ms, and MB."""


def measure(commands: Mapping[str, Sequence[str]], runs: int, environ: dict[str, str]) -> Figures:
    """Return what every command took, round by round, after one round that is not counted."""
    figures: Figures = {name: ([], []) for name in commands}
    for number in range(runs + 1):
        for name, arguments in commands.items():
            ms, mb = once(arguments, environ)
            if number:
                figures[name][0].append(ms)
                figures[name][1].append(mb)
    return figures


def show(title: str, figures: Figures) -> None:
    """Print times, memory, and the ratios to a bare interpreter."""
    print(head(title))
    bare = figures[BARE][0]
    for name, (taken, memory) in figures.items():
        ratio = sorted(a / b for a, b in zip(taken, bare, strict=True))[len(bare) // 2]
        print(row(name, taken, "ms", f"{ratio:4.1f} × bare, {max(memory):.0f} MB"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--only", default="", help="commands with this word in them")
    chosen = parser.parse_args(arguments)
    bare = {BARE: ["-c", "pass"]}
    typers = {
        "bare Typer app": ["-c", BARE_TYPER],
        "bare Typer app, --help": ["-c", BARE_TYPER, "--help"],
    }
    ours = {
        f"pinecall {name}": ["-c", ENTRY, *name.split(), *more]
        for name, more in RUNS.items()
        if chosen.only in name
    }
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "XDG_RUNTIME_DIR": home, "COLUMNS": "100"}
        environ["PYTHONPATH"] = str(ROOT)
        figures = measure({**bare, **typers, **ours}, chosen.runs, environ)
        show("a whole process", figures)
        for name, yardstick in YARDSTICKS.items():
            if name in figures:
                pairs = zip(figures[name][0], figures[yardstick][0], strict=True)
                print(row(f"{name} / {yardstick}", [a / b for a, b in pairs], "×"))
        if chosen.only in LISTING:
            listing = {f"pinecall {LISTING}": ["-c", ENTRY, *LISTING.split()]}
            with running(environ):
                show(
                    "\nbeside a server that runs",
                    measure({**bare, **listing}, chosen.runs, environ),
                )


if __name__ == "__main__":
    main()
