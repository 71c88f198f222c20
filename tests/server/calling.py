"""A caller who says nothing: for whoever listens to a call, reads it or ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret


class Caller:
    """A silent caller on a call that is held in the background."""

    def __init__(self, call: MicCall) -> None:
        self.call = call
        self.started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.events: list[str] = []
        self.more = asyncio.Event()

    async def until(self, event: str) -> None:
        async with asyncio.timeout(10):
            while event not in self.events:
                self.more.clear()
                await self.more.wait()

    def hear(self, received: Received) -> None:
        fields = received.fields()
        self.events.append(fields["event"])
        self.more.set()
        if fields["event"] == "call.started" and not self.started.done():
            self.started.set_result(fields["call_id"])

    async def silence(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(self.call.rate // 25)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def calling(server: EmbeddedServer, **numbers: str) -> AsyncIterator[tuple[Caller, str]]:
    """Call `desk` with the server's first key; yields the caller and the call's id."""
    async with Rest(server.url, Secret(server.key)) as rest:
        token = await rest.token("webrtc", "desk")
    async with await MicCall.dial(token.server, token.token, **numbers) as call:
        caller = Caller(call)
        held = asyncio.create_task(
            call.hold(caller.silence, play=lambda frame: None, hear=caller.hear)
        )
        async with asyncio.timeout(10):
            call_id = await caller.started
        yield caller, call_id
        await call.hangup()
        async with asyncio.timeout(10):
            await held
