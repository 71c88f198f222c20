"""A server under load: idle agents, chats that are answered, and voice calls with real speech.

The server is a process of its own; everything else is this one. A voice call plays a recording
over and over and counts how late the agent's frames come: they are sent every 20 ms, silence too,
so a frame that is later than a telephone's buffer is a gap that a caller would hear.

    python -m tests.bench.load --minutes 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret
from tests.bench.figures import head, row
from tests.bench.recordings import RATE, recordings

PINECALL = Path(sys.executable).parent / "pinecall"
BUFFER_MS = 100
"""What a listener's jitter buffer bridges; a frame later than that is a gap."""
FRAME_S = 0.02
AGENTS_A_SOCKET = 20
THINK_S = 1.0
"""From an answer to the next message of a chat."""
ANSWER = "Thank you, I have noted that, and I will tell somebody who knows what to do."
SAYS: dict[str, Any] = {"provider": "script", "rules": [{"say": ANSWER}]}
SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [{"tokens_per_s": 20, "say": ANSWER}],
}


class Listening:
    """What one voice call heard, and when."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.waits_ms: list[float] = []
        self._begun: float | None = None
        self._frames = 0

    def play(self, frame: bytes) -> None:
        """Take a frame: how late it is against the first, at 20 ms each."""
        now = time.perf_counter()
        if self._begun is None:
            self._begun = now
        self.late_ms.append((now - self._begun - self._frames * FRAME_S) * 1000)
        self._frames += 1

    def hear(self, received: Received) -> None:
        """Take an event: what a turn cost."""
        if isinstance(received.frame, events.TurnLatency):
            self.waits_ms.append(float(received.frame.e2e))

    @property
    def gaps(self) -> int:
        """How often the sound stopped: frames that came later than the buffer holds."""
        late = [ms > BUFFER_MS for ms in self.late_ms]
        return sum(now and not before for before, now in zip([False, *late], late, strict=False))


async def talk(url: str, key: str, agent: str, pcm: bytes, until: float) -> Listening:
    """Hold a voice call until the time is over, saying one recording again and again."""
    heard = Listening()
    size = int(RATE * FRAME_S) * 2

    async def frames() -> AsyncIterator[bytes]:
        begun, sent = time.perf_counter(), 0
        while time.perf_counter() < until:
            at = sent * size % len(pcm)
            yield pcm[at : at + size].ljust(size, b"\0")
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent * FRAME_S - time.perf_counter()))

    async with Rest(url, Secret(key)) as rest:
        token = await rest.token("webrtc", agent)
    async with await MicCall.dial(url, token.token) as call:
        await call.hold(frames, play=heard.play, hear=heard.hear, answer_within_s=60)
    return heard


async def chat(client: Pinecall, agent: str, name: str, until: float) -> list[float]:
    """Write to an agent until the time is over; return how long each answer took, in ms."""
    done: asyncio.Queue[float] = asyncio.Queue()

    def hear(received: Received) -> None:
        frame = received.frame
        if isinstance(frame, events.LlmChatDone) and frame.session_id == name:
            done.put_nowait(time.perf_counter())

    waits, stop = [], client.tap(hear)
    try:
        while time.perf_counter() < until:
            sent = time.perf_counter()
            client.send(commands.LlmChat(agent_id=agent, session_id=name, text="hello"))
            waits.append((await asyncio.wait_for(done.get(), 60) - sent) * 1000)
            await asyncio.sleep(THINK_S)
    finally:
        stop()
    return waits


async def run(url: str, key: str, options: argparse.Namespace) -> None:
    """Put the load on, and print what it did."""
    clients = []
    for start in range(0, options.agents, AGENTS_A_SOCKET):
        client = Pinecall(key, url)
        for number in range(start, min(start + AGENTS_A_SOCKET, options.agents)):
            client.add(Agent(f"idle-{number}", llm="script", prompt="x"))
        await client.connect()
        await client.registered()
        clients.append(client)
    desk = Pinecall(key, url)
    desk.add(Agent("desk", llm=SCRIPT, prompt="x", preparing=False))
    desk.add(Agent("phone", llm=SAYS, prompt="x", preparing=False))
    await desk.connect()
    await desk.registered()
    pcm = b"".join(one.pcm + bytes(RATE * 2 * 6) for one in recordings()[:3])
    try:
        await voices(url, key, pcm, 1, options.alone, "one call, nothing else")
        until = time.perf_counter() + options.minutes * 60
        chats = [chat(desk, "desk", f"chat-{n}", until) for n in range(options.chats)]
        waiting = asyncio.gather(*chats)
        title = f"{options.calls} calls beside {options.chats} chats, {options.agents} agents"
        await voices(url, key, pcm, options.calls, options.minutes * 60, title)
        waits = [ms for each in await waiting for ms in each]
        print(row("  answer to a chat message, 17 words", waits, "ms"))
    finally:
        for client in (*clients, desk):
            await client.disconnect()


async def voices(url: str, key: str, pcm: bytes, calls: int, seconds: float, title: str) -> None:
    """Hold so many calls for so long, and print how they sounded."""
    until = time.perf_counter() + seconds
    step = len(pcm) // max(1, calls) // 640 * 640
    shifted = [pcm[n * step :] + pcm[: n * step] for n in range(calls)]
    heard = await asyncio.gather(*(talk(url, key, "phone", one, until) for one in shifted))
    late = [ms for one in heard for ms in one.late_ms]
    waits = [ms for one in heard for ms in one.waits_ms]
    print(head(title))
    print(row("  end of speech to the agent's first sound", waits, "ms"))
    note = f"most {max(late):.0f}, gaps over {BUFFER_MS} ms: {sum(one.gaps for one in heard)}"
    print(row("  a frame of the agent late by", late, "ms", note), flush=True)


def memory(pid: int) -> float:
    """Return a process's memory in MB, where the system tells; else 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--alone", type=float, default=30.0, help="seconds of one call alone first")
    options = parser.parse_args(arguments)
    command = [str(PINECALL), "server", "--port", "0", "--data", ":memory:", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            ready = json.loads(server.stdout.readline())
            asyncio.run(run(ready["url"], ready["api_key"], options))
            print(f"  the server's memory: {memory(server.pid):.0f} MB")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
