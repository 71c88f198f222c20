"""An agent called ``desk`` whose model is a script, and ways to read what its owner was told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pinecall_cli.engines.types import ModelRequest, ToolCall
from pinecall_cli.errors import EngineError
from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance import ordering
from tests.conformance.microphone import Caller
from tests.fakes.engines import Engines
from tests.server.peer import Peer, connected, embedded

Frame = dict[str, Any]

OURS, THEIRS = "+13186330963", "+14155550123"
STORY = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
SCRIPT: Frame = {
    "provider": "script",
    "rules": [
        {"on": "story", "say": STORY},
        {"on": "order", "call": {"lookup": {"id": "7"}}, "say": "It is {result.status}."},
        {"say": "You said {text}."},
    ],
}
LOOKUP: Frame = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}},
}


class BrokenModel:
    """A model whose provider is down."""

    name = "broken"

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Fail before the first word."""
        raise EngineError("the provider answered 500")
        yield ""


BROKEN: Mapping[str, Any] = {"models": lambda llm: BrokenModel()}
"""Options of a server that has no other model."""


def hearing(*texts: str, verdict: float = 0.95) -> Engines:
    """Return engines that hear the n-th text in the n-th utterance; ``verdict`` is the judge's."""
    return Engines(dict(enumerate(texts)), verdict)


def hears_always(text: str) -> Engines:
    """Return engines that hear one text in everything: no mark survives a telephone."""
    engines = Engines()

    async def transcribe(pcm: bytes) -> str:
        return text

    engines.recogniser.transcribe = transcribe  # type: ignore[method-assign]
    return engines


@asynccontextmanager
async def desk(
    engines: Engines | None = None,
    *,
    server: Mapping[str, Any] | None = None,
    **payload: Any,
) -> AsyncIterator[tuple[EmbeddedServer, Peer]]:
    """Start a server on which ``desk`` is registered; yields it and the agent's owner.

    A key whose value is None is left out of the configuration.
    """
    payload = {"llm": SCRIPT, "preparing": False} | payload
    async with (
        embedded(**({"engines": engines or Engines()} | dict(server or {}))) as started,
        connected(started) as owner,
    ):
        await registered(owner, **payload)
        yield started, owner


async def registered(owner: Peer, name: str = "desk", **payload: Any) -> None:
    """Register an agent, or take it up again."""
    given = {key: value for key, value in payload.items() if value is not None}
    answer = await owner.agent(name, **given)
    assert answer["event"] in ("agent.created", "agent.resumed"), answer


async def with_number(owner: Peer, ref: str = OURS, agent: str = "desk", **options: Any) -> None:
    """Give an agent a phone number."""
    await owner.send("channel.add", agent_id=agent, type="phone", ref=ref, **options)
    await owner.until("channel.added", ref=ref)


async def whole(caller: Caller, owner: Peer) -> list[Frame]:
    """Hang up and return the owner's frames of the call."""
    await caller.hang_up()
    return await told(owner, caller.call_id)


async def told(owner: Peer, call_id: str) -> list[Frame]:
    """Return the owner's frames of a call that ends; in any order but theirs, it fails."""
    if not of(owner.seen, "call.ended", call_id=call_id):
        await owner.until("call.ended", call_id=call_id)
    await owner.settled()
    frames = of_call(owner.seen, call_id)
    about = [frame for frame in frames if frame.get("agent_id") == frames[-1]["agent_id"]]
    ordering.check(about)
    return frames


def names(frames: list[Frame], *leave_out: str) -> list[str]:
    """Return the names of frames, in order."""
    return [frame["event"] for frame in frames if frame["event"] not in leave_out]


def of(frames: list[Frame], event: str, **fields: Any) -> list[Frame]:
    """Return the frames of one name and those fields."""
    return [f for f in frames if f["event"] == event and fields.items() <= f.items()]


def one(frames: list[Frame], event: str, **fields: Any) -> Frame:
    """Return the only frame of that name and those fields."""
    (frame,) = of(frames, event, **fields)
    return frame


def of_call(frames: list[Frame], call_id: str) -> list[Frame]:
    """Return the frames of one call."""
    return [frame for frame in frames if frame.get("call_id") == call_id]


def place(frames: list[Frame], event: str, **fields: Any) -> int:
    """Return where the first frame of that name and those fields stands."""
    return frames.index(of(frames, event, **fields)[0])
