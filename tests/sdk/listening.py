"""Waiting for what a client hears: no test sleeps until something has happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pinecall_cli.protocol import commands, ids
from pinecall_cli.protocol.frames import Received, Unknown, wire_name
from pinecall_cli.sdk.client import Pinecall

PATIENCE_S = 10.0
"""For an answer on a busy machine; a test that runs into it has failed."""


class Log:
    """Everything a handler was called with, and a way to wait for more."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self._more = asyncio.Event()

    def __call__(self, *args: Any) -> None:
        self.entries.append(args)
        self._more.set()

    async def until(self, wanted: Callable[..., object] = lambda *args: True) -> tuple[Any, ...]:
        """Return the first entry, past or to come, that is wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for entry in self.entries:
                    if wanted(*entry):
                        return entry
                self._more.clear()
                await self._more.wait()


class Frames(Log):
    """The frames a client receives."""

    def __init__(self, client: Pinecall) -> None:
        super().__init__()
        client.tap(self)

    @property
    def names(self) -> list[str]:
        """Their events, in order."""
        return [name_of(received) for (received,) in self.entries]

    async def frame(self, name: str) -> dict[str, Any]:
        """Return the fields of the first frame of that name."""
        (received,) = await self.until(lambda received: name_of(received) == name)
        fields: dict[str, Any] = received.fields()
        return fields


def name_of(received: Received) -> str:
    """Return a frame's event."""
    frame = received.frame
    return frame.event if isinstance(frame, Unknown) else wire_name(type(frame))


async def chat(client: Pinecall, agent: str, text: str, *, session: str | None = None) -> str:
    """Say ``text`` to an agent in writing, wait for its answer, and return the session's id."""
    session = session or ids.chat_id()
    done = Log()
    stop = client.tap(done)
    client.send(commands.LlmChat(agent_id=agent, session_id=session, text=text))
    await done.until(
        lambda received: (
            name_of(received) == "llm.chat.done" and received.fields()["session_id"] == session
        )
    )
    stop()
    return session


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handle: Handle) -> AsyncIterator[int]:
    """A TCP server that speaks whatever ``handle`` does; yields its port, leaves nothing open."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await handle(reader, writer)
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
