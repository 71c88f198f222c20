"""An office of one agent whose server is a list of steps."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol import events
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.callbook import CallBook
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.reception import Reception
from pinecall_cli.sdk.registrar import Registrar
from pinecall_cli.sdk.registration import Registration
from tests.sdk.jumping import JumpingLoop

ABOUT = {"agent_id": "desk", "call_id": "c1"}
NUMBERS = {"from": "+14155550100", "to": "+14155550199"}
STARTED = {**ABOUT, **NUMBERS, "direction": "inbound", "transport": "phone"}
ENDED = {**ABOUT, **NUMBERS, "direction": "inbound", "reason": "hangup"}


class World:
    """The office, what it sends, and how its connection stands."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[dict[str, Any]] = []
        self.office = Office(self.send)
        self.office.loop = asyncio.get_running_loop()
        callbook = CallBook(self.office, idle=lambda: None)
        self.reception = Reception(self.office, Registrar(self.office), callbook)
        self.agent = Agent("desk", prompt="x", phone_number="+14155550100")
        self.office.agents["desk"] = self.agent
        self.registration = Registration(
            self.agent.config, self.agent.tools, send=self.send, dropped=lambda n: None
        )
        self.office.registrations["desk"] = self.registration

    @property
    def call(self) -> Call | None:
        """The live call, if there is one."""
        return self.office.calls.get("c1")

    def send(self, frame: str) -> bool:
        if self.connected:
            self.sent.append(json.loads(frame))
        return self.connected

    def tell(self, event: str, **fields: Any) -> None:
        """Let the server say something; it says nothing while the connection is lost."""
        if self.connected:
            self.reception.frame(decode_event(json.dumps({"event": event, **fields})))

    def lose(self) -> None:
        if self.connected:
            self.connected = False
            self.reception.down("connection_lost", final=False)

    def come_back(self) -> None:
        if not self.connected:
            self.connected = True
            self.reception.up(events.Connected())


def jumping(scene: Callable[[], Any]) -> None:
    """Run a scene on a loop whose clock jumps; what it logs, as failures do, is not shown."""
    with silence(), asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(scene())


@contextmanager
def silence() -> Iterator[None]:
    """Let failures that nobody awaits, which are many here, stay out of the log."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Model:
    """A source of tokens that is told when to go on, and knows how it ended."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.given = 0
        self.closed = False
        self._more = asyncio.Semaphore(0)

    def go_on(self) -> None:
        """Let it give one more token."""
        self._more.release()

    async def tokens(self) -> AsyncIterator[str]:
        try:
            while True:
                await self._more.acquire()
                self.given += 1
                yield f"{self.mark}.{self.given} "
        finally:
            self.closed = True
