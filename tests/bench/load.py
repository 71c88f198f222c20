"""A server under load: idle agents, chats that are answered, and voice calls with real speech.

The server is a process of its own; everything else is this one. What is asked of the server is
timed twice, before the load and under it, and stands side by side. A caller plays recordings over
and over, and hears the agent as a telephone does (`playout`): frames come every 20 ms, silence
too, so each one that comes later than the telephone's buffer holds is an underrun.

    python -m tests.bench.load --minutes 5

This process shares the machine with the server, so how late it is itself is printed too: what is
late in here has been added to every other figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret
from tests.bench.figures import percentile
from tests.bench.playout import BUFFER_MS, Playout
from tests.bench.recordings import RATE, recordings

PINECALL = Path(sys.executable).parent / "pinecall"
FRAME_S = 0.02
AGENTS_A_SOCKET = 20
THINK_S = 1.0
"""From an answer to the next message of a chat, on average; people do not write in step."""
COMMAND_EVERY_S = 0.1
QUIET_S = 6
"""After each recording: for the answer to it."""
ANSWER = "Thank you, I have noted that, and I will tell somebody who knows what to do."
SAYS: dict[str, Any] = {"provider": "script", "rules": [{"say": ANSWER}]}
STREAMS: dict[str, Any] = {
    "provider": "script",
    "rules": [{"tokens_per_s": 20, "say": ANSWER}],
}
ANSWERS = (events.LlmChatToken, events.LlmChatDone, events.LlmChatError)
ROWS = {
    "first_token": "chat: message → first token",
    "answer": "chat: message → whole answer, 17 words",
    "ack": "agent socket: command → acknowledged",
    "wait": "voice: last word → the agent's first sound",
    "e2e": "  the same, as turn.latency says",
    "late": "voice: a frame late by",
    "lag": "this process late by",
}


@dataclass
class Measured:
    """What one phase took, in ms, by the names of `ROWS`; and how it sounded."""

    ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ROWS})
    calls: list[Playout] = field(default_factory=list)
    cpu: float = 0.0
    """Cores that the server used."""

    @property
    def underruns_ms(self) -> list[float]:
        """How long the sound of any call stopped, each time."""
        return [ms for call in self.calls for ms in call.underruns_ms]


class Load:
    """A server's clients: those who measure, and those who are there."""

    def __init__(self, url: str, key: str, pid: int) -> None:
        self._url, self._key, self._pid = url, key, pid
        self._stack = AsyncExitStack()
        self._chats = 0

    async def __aenter__(self) -> Load:
        self._settings = Agent("settings", llm="script", prompt="x")
        self._desk = await self._connected(
            Agent("desk", llm=STREAMS, prompt="x", preparing=False),
            Agent("phone", llm=SAYS, prompt="x", preparing=False),
            self._settings,
        )
        self._pcm = b"".join(
            one.pcm + bytes(RATE * 2 * QUIET_S) for one in recordings() if one.quiet and one.people
        )
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._stack.aclose()

    async def _connected(self, *agents: Agent) -> Pinecall:
        client = Pinecall(self._key, self._url)
        for agent in agents:
            client.add(agent)
        await client.connect()
        self._stack.push_async_callback(client.disconnect)
        await client.registered()
        return client

    async def idle(self, agents: int) -> None:
        """Register so many agents that do nothing."""
        for start in range(0, agents, AGENTS_A_SOCKET):
            some = range(start, min(start + AGENTS_A_SOCKET, agents))
            await self._connected(*(Agent(f"idle-{n}", llm="script", prompt="x") for n in some))

    async def measure(self, seconds: float, *, calls: int, chats: int) -> Measured:
        """Hold so many calls and chats for so long, and return what everything took."""
        found = Measured()
        cpu, begun = cpu_s(self._pid), time.perf_counter()
        until = begun + seconds
        step = len(self._pcm) // max(1, calls) // 640 * 640
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._command(found, until))
            tasks.create_task(lag(found, until))
            for _ in range(chats):
                self._chats += 1
                tasks.create_task(self._chat(f"chat-{self._chats}", found, until))
            for n in range(calls):
                pcm = self._pcm[n * step :] + self._pcm[: n * step]
                tasks.create_task(self._talk(pcm, found, until))
        found.cpu = (cpu_s(self._pid) - cpu) / (time.perf_counter() - begun)
        for call in found.calls:
            found.ms["late"] += call.late_ms
            found.ms["wait"] += call.waits_ms
        return found

    async def _command(self, found: Measured, until: float) -> None:
        """Change an agent again and again, on the socket on which the others are busy."""
        acknowledged: asyncio.Queue[float] = asyncio.Queue()

        def hear(received: Received) -> None:
            if isinstance(received.frame, events.AgentConfigured):
                acknowledged.put_nowait(time.perf_counter())

        stop = self._desk.tap(hear)
        try:
            while (sent := time.perf_counter()) < until:
                self._settings.update(prompt=f"It is {sent}.")
                found.ms["ack"].append(1000 * (await acknowledged.get() - sent))
                await asyncio.sleep(COMMAND_EVERY_S)
        finally:
            stop()

    async def _chat(self, name: str, found: Measured, until: float) -> None:
        """Write to an agent until the time is over."""
        came: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

        def hear(received: Received) -> None:
            frame = received.frame
            if isinstance(frame, ANSWERS) and frame.session_id == name:
                came.put_nowait((type(frame).__name__, time.perf_counter()))

        stop, chance = self._desk.tap(hear), Random(name)
        try:
            await asyncio.sleep(chance.uniform(0, 2 * THINK_S))
            while (sent := time.perf_counter()) < until:
                self._desk.send(commands.LlmChat(agent_id="desk", session_id=name, text="hello"))
                kind, at = await came.get()
                found.ms["first_token"].append(1000 * (at - sent))
                while kind == "LlmChatToken":
                    kind, at = await came.get()
                if kind == "LlmChatError":
                    raise RuntimeError(f"{name} was refused an answer")
                found.ms["answer"].append(1000 * (at - sent))
                await asyncio.sleep(chance.uniform(THINK_S / 2, 3 * THINK_S / 2))
        finally:
            stop()

    async def _talk(self, pcm: bytes, found: Measured, until: float) -> None:
        """Hold a voice call until the time is over, saying one thing after the other."""
        heard = Playout()
        found.calls.append(heard)
        size = int(RATE * FRAME_S) * 2

        async def frames() -> AsyncIterator[bytes]:
            begun, sent = time.perf_counter(), 0
            while time.perf_counter() < until:
                at = sent * size % len(pcm)
                frame = pcm[at : at + size].ljust(size, b"\0")
                heard.spoke(frame, time.perf_counter())
                yield frame
                sent += 1
                await asyncio.sleep(max(0.0, begun + sent * FRAME_S - time.perf_counter()))

        def hear(received: Received) -> None:
            match received.frame:
                case events.TurnEnd():
                    heard.turn_ended()
                case events.TurnLatency(e2e=e2e):
                    found.ms["e2e"].append(float(e2e))

        async with Rest(self._url, Secret(self._key)) as rest:
            token = await rest.token("webrtc", "phone")
        async with await MicCall.dial(self._url, token.token) as call:
            await call.hold(
                frames,
                play=lambda frame: heard.arrived(frame, time.perf_counter()),
                hear=hear,
                answer_within_s=60,
            )


async def lag(found: Measured, until: float) -> None:
    """Note how much later than asked this process wakes up."""
    while (at := time.perf_counter()) < until:
        await asyncio.sleep(FRAME_S)
        found.ms["lag"].append(1000 * (time.perf_counter() - at - FRAME_S))


def table(before: Measured, under: Measured, title: str) -> str:
    """Return both phases side by side: percentiles, and how many times they are."""
    lines = [f"{'ms':<44} {'before':>23}   {title}", f"{'':<44}" + "     p50     p95     p99" * 2]
    for name, what in ROWS.items():
        cells = [figure(phase.ms[name], share) for phase in (before, under) for share in SHARES]
        ratio = times(before.ms[name], under.ms[name])
        lines.append(f"{what:<44}" + "".join(f"{cell:>8}" for cell in cells) + ratio)
    for label, phase in (("before", before), (title, under)):
        stopped = phase.underruns_ms
        most = f", {max(stopped):.0f} ms at most" if stopped else ""
        lines.append(
            f"{label}: {len(phase.calls)} calls, {len(phase.ms['late']):,} frames, "
            f"{len(stopped)} underruns of a buffer of {BUFFER_MS:.0f} ms{most}; "
            f"{len(phase.ms['answer'])} chat answers, {len(phase.ms['wait'])} turns, "
            f"{phase.cpu:.2f} cores"
        )
    return "\n".join(lines)


SHARES = (50, 95, 99)


def figure(values: Sequence[float], share: int) -> str:
    """Return a percentile as it is printed."""
    if not values:
        return "-"
    found = percentile(values, share)
    return f"{found:.0f}" if found >= 100 else f"{found:.1f}"


def times(before: Sequence[float], under: Sequence[float]) -> str:
    """Return how many times the percentiles of before those under load are."""
    if not before or not under or percentile(before, 50) <= 0:
        return ""
    ratios = (percentile(under, share) / percentile(before, share) for share in SHARES)
    return "   ×" + " ×".join(f"{ratio:.1f}" for ratio in ratios)


def memory(pid: int) -> float:
    """Return a process's memory in MB, where the system tells; else 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a running process, where the system tells; else 0."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run(url: str, key: str, pid: int, options: argparse.Namespace) -> None:
    """Measure before the load, put it on, measure under it, and print both."""
    async with Load(url, key, pid) as load:
        await load.measure(min(5.0, options.alone), calls=1, chats=1)  # engines, warm
        small = memory(pid)
        before = await load.measure(options.alone, calls=1, chats=1)
        await load.idle(options.agents)
        gc.collect()
        gc.freeze()  # else our own collector, and not the server, is late by 50 ms at times
        seconds = options.minutes * 60
        under = await load.measure(seconds, calls=options.calls, chats=options.chats)
        title = f"{options.calls} calls, {options.chats} chats, {options.agents} agents"
        print(table(before, under, title))
        print(f"the server's memory: {small:.0f} MB before, {memory(pid):.0f} MB after")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--alone", type=float, default=60.0, help="seconds of quiet before")
    options = parser.parse_args(arguments)
    command = [str(PINECALL), "server", "--port", "0", "--data", ":memory:", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            ready = json.loads(server.stdout.readline())
            asyncio.run(run(ready["url"], ready["api_key"], server.pid, options))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
