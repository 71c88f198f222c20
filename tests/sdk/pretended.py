"""A client without a server, and the frames that one would send it."""

from __future__ import annotations

from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.reception import takers

ABOUT: dict[str, Any] = {"agent_id": "front-desk", "call_id": "c1"}
CALL = {
    "callId": "c1",
    "from": "+14155550100",
    "to": "+13186330963",
    "direction": "inbound",
    "transport": "phone",
}


def started(agent: str = "front-desk", call: str = "c1") -> Event:
    return events.CallStarted(
        agent_id=agent,
        call_id=call,
        from_=CALL["from"],
        to=CALL["to"],
        direction="inbound",
        transport="phone",
        metadata={"userId": "u1"},
    )


def word(number: int, text: str = "hi", **about: Any) -> Event:
    about = ABOUT | about
    return events.BotWord(message_id="m1", word=text, word_index=number, **about)


class Office:
    """A client without a server, which takes the frames that one would send."""

    def __init__(self, *agents: Agent) -> None:
        self.client = Pinecall("")
        for agent in agents or (Agent("front-desk"),):
            self.client.add(agent)
        self._takers = takers(self.client._registrar, self.client._callbook)

    def happen(self, *frames: Event) -> None:
        """Take some frames."""
        for frame in frames:
            take = self._takers.get(type(frame), self.client._callbook.happened)
            take(frame)  # type: ignore[arg-type]
