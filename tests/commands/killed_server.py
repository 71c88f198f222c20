"""A server that is killed again and again while calls go through it, and `logs -f` beside it."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from json import dumps, loads
from pathlib import Path
from typing import Any

import websockets

from pinecall_cli.server.log.log_file import FILE

SERVER = """
import sys, threading
from pathlib import Path
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import run_dir
from tests.server.peer import Deaf
port, data, *keys = sys.argv[1:]
EmbeddedServer(port=int(port), data=data, keys=keys, engines=Deaf(), run_dir=run_dir()).start()
print("up", flush=True)
threading.Event().wait()
"""
ROOT = Path(__file__).parents[2]
CHATS = 8
"""At once."""
MESSAGES = 40
"""In each: the log keeps 1,000 calls, and none is to be pruned here."""
PAUSE_S = 0.005
"""Between two messages: some thousand entries a second are load enough for two processors."""
PATIENCE_S = 30.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A server process, started as often as it is killed."""

    def __init__(self, data: Path, port: int, *keys: str) -> None:
        self.data, self.port, self.keys = data, port, keys
        self.process: subprocess.Popen[str] | None = None

    @property
    def agent(self) -> str:
        """A name for an agent that is only on this server."""
        return f"desk-{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.port), str(self.data), *self.keys]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


async def load(url: str, key: str, name: str = "desk") -> None:
    """Register an agent and let people chat with it, again and again, whatever happens."""
    ids = (f"chat-{name}-{number:06}" for number in itertools.count())
    while True:
        with suppress(OSError, websockets.WebSocketException, TimeoutError):
            async with websockets.connect(
                f"ws{url[4:]}/client", open_timeout=2, close_timeout=0.1
            ) as peer:
                await peer.send(dumps({"event": "connect", "api_key": key}))
                await peer.recv()
                agent = {"event": "agent.create", "agent_id": name, "llm": "script"}
                await peer.send(dumps(agent))
                for _ in range(CHATS):
                    await write(peer, name, next(ids))
                said: Counter[str] = Counter()
                async for message in peer:
                    frame = loads(message)
                    if frame["event"] == "llm.chat.done":
                        id = frame["session_id"]
                        said[id] += 1
                        await asyncio.sleep(PAUSE_S)
                        if said[id] < MESSAGES:
                            await write(peer, name, id)
                        else:
                            await peer.send(dumps({"event": "call.hangup", "call_id": id}))
                    elif frame["event"] == "llm.chat.ended":
                        await write(peer, name, next(ids))
        await asyncio.sleep(0.05)


async def write(peer: websockets.ClientConnection, agent: str, id: str) -> None:
    chat = {"event": "llm.chat", "agent_id": agent, "session_id": id, "text": "hello"}
    await peer.send(dumps(chat))


def stored(data: Path) -> list[dict[str, Any]]:
    """Return the stored log, in order."""
    database = sqlite3.connect(f"file:{data / FILE}?mode=ro", uri=True)
    rows = database.execute("SELECT seq, call, agent, type, data FROM entries ORDER BY seq")
    names = ("seq", "call", "agent", "type", "data")
    found = [dict(zip(names, (*row[:4], loads(row[4])), strict=True)) for row in rows]
    database.close()
    return found


def newest(data: Path) -> int:
    database = sqlite3.connect(f"file:{data / FILE}?mode=ro", uri=True)
    seq = database.execute("SELECT max(seq) FROM entries").fetchone()[0]
    database.close()
    return int(seq or 0)


class Follower:
    """`logs --follow` in a process of its own, read as it prints."""

    def __init__(
        self, process: asyncio.subprocess.Process, first: str, *, json: bool, reading: bool
    ) -> None:
        self.process = process
        self.first = first
        """The first line of what it said on stderr."""
        self.printed: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self._json = json
        self._came = asyncio.Condition()
        loop = asyncio.get_running_loop()
        assert process.stderr is not None
        self.talk = loop.create_task(process.stderr.read())
        if reading:
            self.reading = loop.create_task(self._read())

    @classmethod
    async def start(cls, *options: str, json: bool = True, reading: bool = True) -> Follower:
        """Start it, and return when it follows."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from pinecall_cli.app import main; main()"),
            *("logs", "--follow", *options, *(["--json"] if json else [])),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
            cwd=ROOT,
        )
        assert process.stderr is not None
        first = await process.stderr.readline()
        assert first, "it ended at once"
        return cls(process, first.decode(), json=json, reading=reading)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._came:
                self.lines.append(line.decode())
                if self._json:
                    self.printed.append(loads(line))
                self._came.notify_all()

    async def has(self, seq: int) -> None:
        """Wait until an entry of ``seq`` or later was printed."""
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: any(one["seq"] >= seq for one in self.printed[-50:]))

    async def count(self, lines: int) -> None:
        """Wait until so many lines were printed."""
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: len(self.lines) >= lines)

    async def stop(self) -> int:
        """End it by SIGTERM; return its exit code."""
        self.process.terminate()
        await self.reading
        await self.talk
        return await self.process.wait()


async def through_kills(server: Server, follower: Follower, key: str, times: int) -> None:
    """Kill and restart the server under load; return when all that is stored was printed."""
    loading = asyncio.get_running_loop().create_task(load(server.url, key))
    try:
        for _ in range(times):
            await follower.count(len(follower.lines) + 50)  # it is back
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await follower.count(len(follower.lines) + 50)
    finally:
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
    server.kill()  # the last one counts too: what it wrote, its successor tells
    server.start()
    await follower.has(newest(server.data))


def as_stored(printed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was printed without its times, which are spelled for people."""
    return [{name: value for name, value in one.items() if name != "ts"} for one in printed]
