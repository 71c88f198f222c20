"""Save → applied: from `os.replace` in this process to `dev.reloaded` on the stdout of `dev`.

The clock stands outside the program, and a call is live, so that the time holds the event of the
file system, the load, the frames to the server and every acknowledgement. Beside it stands the
program's own ``applied_ms``. Saves come by rename, as an editor's do, each a different content.

    python -m tests.bench.saving [--saves N] [--no-call]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from pinecall_cli.audio.pcm import FRAME_MS, silence
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret
from tests.bench.figures import head, row

ENTRY = "from pinecall_cli.app import main; main()"
WITHIN_S = 10.0

YAML = """\
name: clerk
voice: elevenlabs/{voice}
llm: openai/gpt-5-chat-latest
prompt: !file clerk.md
tools: [clerk_tools.py]
local: {{llm: script, script: clerk.script.yaml}}
"""
TOOLS = '''\
from pinecall_cli import tool


@tool
def look_up(number: str) -> str:
    """Look up an order.

    Args:
        number: Which one.
    """
    return "version {n}"
'''
PYTHON = """\
from pinecall_cli import Agent

cook = Agent("cook", llm="script", prompt="You are cook number {n}.")
"""

Write = Callable[[int], str]
SAVES: dict[str, tuple[str, Write]] = {
    "a prompt file": ("clerk.md", lambda n: f"You are clerk number {n}.\n"),
    "voice in the YAML": ("clerk.yaml", lambda n: YAML.format(voice=f"voice{n}")),
    "a tool module": ("clerk_tools.py", lambda n: TOOLS.replace("{n}", str(n))),
    "a Python agent": ("cook.py", lambda n: PYTHON.replace("{n}", str(n))),
}
"""What is saved, by the name of its file, and the n-th version of it."""


class Dev:
    """A running `pinecall dev --json` over a folder of agents."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ready: dict[str, Any] = {}

    async def until(self, kind: str) -> tuple[dict[str, Any], float]:
        """Return the next record of that type and when its line had arrived."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while line := await self.process.stdout.readline():
                arrived = time.perf_counter()
                record = json.loads(line)
                if record["type"] == kind:
                    return record, arrived
                if record["type"] in ("dev.reload_failed", "error"):
                    raise RuntimeError(line.decode())
        raise RuntimeError(f"`dev` ended before `{kind}`")


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Dev, Secret]]:
    """Run `dev` over ``folder`` in a home of its own; yields it with its server's key."""
    home = folder / "home"
    (home / "run").mkdir(parents=True)
    agents = folder / "agents"
    agents.mkdir()
    for file, write in SAVES.values():
        (agents / file).write_text(write(0), encoding="utf-8")
    (agents / "clerk.script.yaml").write_text("- say: Yes.\n", encoding="utf-8")
    root = Path(__file__).parents[2]
    environ = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
    environ["PYTHONPATH"] = str(root)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ENTRY, "dev", str(agents), "--json"),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        dev = Dev(process)
        dev.ready, _ = await dev.until("dev.ready")
        (known,) = (home / "run" / "pinecall" / "servers").glob("*.json")
        yield dev, Secret(json.loads(known.read_text())["key"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.communicate()


@contextlib.asynccontextmanager
async def called(url: str, key: Secret, agent: str) -> AsyncIterator[None]:
    """Hold a silent call to ``agent`` meanwhile."""
    async with Rest(url, key) as rest:
        token = await rest.token("webrtc", agent)
    begun = asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        begun.set()
        while True:
            yield silence(FRAME_MS, 16_000)
            await asyncio.sleep(FRAME_MS / 1000)

    async with await MicCall.dial(token.server, token.token) as call:
        holding = asyncio.create_task(
            call.hold(frames, play=lambda _: None, hear=lambda _: None, answer_within_s=60)
        )
        try:
            await asyncio.wait_for(begun.wait(), 60)
            yield
        finally:
            await call.hangup()
            await holding


async def save(dev: Dev, file: Path, text: str) -> tuple[float, int]:
    """Save ``text`` by rename; return ms until it was applied, and the ms the program says."""
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(text, encoding="utf-8")
    begun = time.perf_counter()
    os.replace(draft, file)
    record, arrived = await dev.until("dev.reloaded")
    return 1000 * (arrived - begun), int(record["applied_ms"])


async def measure(saves: int, *, call: bool) -> dict[str, tuple[list[float], list[float]]]:
    """Return for each kind of save the times by our clock, and by the program's."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in SAVES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running(folder) as (dev, key), contextlib.AsyncExitStack() as stack:
            if call:
                await stack.enter_async_context(called(dev.ready["server"], key, "clerk"))
            for number in range(saves + 1):
                for kind, (file, write) in SAVES.items():
                    # People do not save in step with a watcher: each pause is another.
                    await asyncio.sleep(0.15 + 0.037 * (number % 7))
                    ours, its = await save(dev, folder / "agents" / file, write(number + 1))
                    if number:
                        taken[kind][0].append(ours)
                        taken[kind][1].append(its)
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--saves", type=int, default=20, help="of each kind")
    parser.add_argument("--no-call", action="store_true", help="without a live call")
    chosen = parser.parse_args(arguments)
    taken = asyncio.run(measure(chosen.saves, call=not chosen.no_call))
    print(head("save → applied" + ("" if chosen.no_call else ", with a live call")))
    for kind, (ours, its) in taken.items():
        print(row(kind, ours, "ms", "goal p50 120"))
        print(row("  applied_ms", its, "ms"))
    every = [one for ours, _ in taken.values() for one in ours]
    print(row("all", every, "ms"))


if __name__ == "__main__":
    main()
