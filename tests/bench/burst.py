"""A burst of events through `dev`: how many it shows in a second, with how much CPU, in how many
bytes.

The events wait in a server that is a process of its own (`flood`); the clock runs from the moment
it is told to send them until `dev` has printed the last. CPU is of the whole process, start and
end included, and beside it of the burst alone. The lines of a view are counted where it prints one
for each event; what a terminal is sent depends on its size: 100 by 30 here.

    python -m tests.bench.burst [--events N] [--runs N]
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import head, row

ENTRY = "import sys; from pinecall_cli.app import main; sys.argv[0] = 'pinecall'; main()"
AGENT = "{name: desk, llm: openai/gpt-5-chat-latest, prompt: You are the front desk.}\n"
WITHIN_S = 60.0
VIEWS = {
    "--json to a pipe": (["--json"], False),
    "plain lines to a pipe": ([], False),
    "--events, plain, to a pipe": (["--events"], False),
    "live view on a terminal": ([], True),
    "--plain on a terminal": (["--plain"], True),
    "--json on a terminal": (["--json"], True),
}
"""What is asked of `dev`, and whether a terminal is under it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How one burst went."""

    seconds: float
    cpu_s: float
    """User and system time of the whole process."""
    burst_cpu_s: float
    """The same of the burst alone; NaN where the system does not tell it of a running process."""
    size: int
    """Bytes that were printed after the server was told to begin."""
    lines: int
    peak_mb: float


def measure(events: int, words: Sequence[str], *, terminal: bool) -> Shown:
    """Send a burst through a `dev` of its own, and return how it went."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "agent.yaml").write_text(AGENT, encoding="utf-8")
        server = stack.enter_context(flood(events))
        assert server.stdout is not None
        assert server.stdin is not None
        url = server.stdout.readline().decode().strip()
        ours, theirs = pty.openpty() if terminal else os.pipe()
        stack.callback(os.close, ours)
        if terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        root = Path(__file__).parents[2]
        place = {"HOME": name, "XDG_RUNTIME_DIR": name, "PYTHONPATH": str(root)}
        where = ["--server", url, "--api-key", "k", "--prod", "--no-reload"]
        dev = subprocess.Popen(
            [sys.executable, "-c", ENTRY, "dev", "agent.yaml", *where, *words],
            cwd=folder,
            env={**os.environ, **place, "TERM": "xterm-256color"},
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs if terminal else subprocess.DEVNULL,
        )
        os.close(theirs)
        until(ours, b"dev.ready" if "--json" in words else b"no phone")
        before = cpu_so_far(dev.pid)
        begun = time.perf_counter()
        server.stdin.write(b"now\n")
        server.stdin.flush()
        printed = until(ours, b"call.ended" if "--json" in words else b"call ended")
        seconds = time.perf_counter() - begun
        burst = cpu_so_far(dev.pid) - before
        dev.send_signal(signal.SIGTERM)
        drained(ours)
        _, _, used = os.wait4(dev.pid, 0)
        dev.returncode = 0
        cpu = used.ru_utime + used.ru_stime
        return Shown(seconds, cpu, burst, len(printed), printed.count(b"\n"), used.ru_maxrss / 1024)


@contextlib.contextmanager
def flood(events: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server; closing its input ends it."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.flood", str(events)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        yield process
        process.kill()


def until(number: int, mark: bytes) -> bytes:
    """Return what comes out of a descriptor, up to and including the chunk that holds ``mark``."""
    tail = b""
    chunks = []
    while mark not in tail:
        ready, _, _ = select.select([number], [], [], WITHIN_S)
        data = os.read(number, 1 << 16) if ready else b""
        if not data:
            raise RuntimeError(f"`{mark.decode()}` did not come: {b''.join(chunks)[-2000:]!r}")
        chunks.append(data)
        tail = tail[-len(mark) :] + data
    return b"".join(chunks)


def drained(number: int) -> None:
    """Read to the end, so that nobody waits to write."""
    with contextlib.suppress(OSError):  # how a terminal says that the other side is closed
        while os.read(number, 1 << 16):
            pass


def cpu_so_far(pid: int) -> float:
    """Return the CPU seconds of a running process; NaN where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args(arguments)
    print(head(f"{chosen.events:,} events through `dev`"))
    for name, (words, terminal) in VIEWS.items():
        runs = [measure(chosen.events, words, terminal=terminal) for _ in range(chosen.runs)]
        print(row(name, [chosen.events / run.seconds for run in runs], "/s"))
        print(row("  CPU of the burst", [run.burst_cpu_s for run in runs], "s"))
        print(row("  CPU, start and end included", [run.cpu_s for run in runs], "s"))
        print(row("  printed", [run.size / 1024 for run in runs], "KiB", f"{runs[0].lines} lines"))
        print(row("  most memory", [run.peak_mb for run in runs], "MB"))


if __name__ == "__main__":
    main()
