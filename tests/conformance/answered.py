"""A call that `desk` has answered, and what its application does in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.conformance.microphone import Caller, calling, speaking
from tests.server.peer import Peer, connected

OURS, THEIRS = "+13186330963", "+14155550123"
SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [
        {"on": "your prompt", "say": "{prompt}"},
        {"on": "order", "call": {"lookup": {"id": "7"}}, "say": "It is {result.status}."},
        {"say": "You said {text}."},
    ],
}
"""A model that repeats what it was told."""


@asynccontextmanager
async def answered(
    texts: dict[int, str] | None = None, **agent: Any
) -> AsyncIterator[tuple[Peer, Caller]]:
    """Hold a call with the agent `desk`: its owner, and the caller."""
    async with speaking(texts) as server, connected(server) as owner:
        await owner.agent("desk", **agent)
        async with calling(server) as caller:
            await owner.until("call.started")
            await caller.until("call.started")
            yield owner, caller


async def reply(peer: Peer, call: str, id: str, text: str, **fields: Any) -> None:
    """Send `bot.reply` as an application that says something does."""
    said = {"call_id": call, "message_id": id, "text": text, "in_reply_to": ""}
    await peer.send("bot.reply", **(said | fields))


async def history(peer: Peer, call: str) -> list[tuple[str, str]]:
    """Return who said what, as the server has it."""
    await peer.send("history.get", call_id=call, request_id="rq_1_aaaaaa")
    data = await peer.until("history.data", call_id=call)
    return [(message["role"], message["content"]) for message in data["messages"]]
