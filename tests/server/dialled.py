"""A whole server in memory, on a loop whose clock jumps: agents, whoever dials, and telephones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from pinecall_cli.engines.script import ScriptModel
from pinecall_cli.protocol import codec
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Connection
from pinecall_cli.server.app import Limits, VoiceServer
from pinecall_cli.server.dispatch import Dispatch
from pinecall_cli.server.log.journal import Journal
from pinecall_cli.server.phone.numbers import Number
from pinecall_cli.server.phone.switchboard import Ring
from pinecall_cli.server.voice.session import VoiceSession
from pinecall_cli.server.voice.speaking import SILENCE
from tests.fakes.engines import Engines

PATIENCE_S = 1_000.0
"""On the jumping clock."""
OURS, THEIRS = "+13186330963", "+14155550123"


class Peer:
    """One agent socket without the socket."""

    def __init__(self, office: Office, org: Organisation) -> None:
        self.frames: list[dict[str, Any]] = []
        self.at: list[float] = []
        self._came = asyncio.Event()
        server = office.server
        self.connection = Connection(
            id=f"conn_{id(self)}",
            org=org,
            client=None,
            stamps=server.stamps,
            post=self._take,
            close=lambda code, reason: None,
        )
        self.dispatch = Dispatch(server, self.connection)
        self._server = server

    def _take(self, text: str) -> None:
        self.frames.append(json.loads(text))
        self.at.append(asyncio.get_running_loop().time())
        self._came.set()

    def send(self, event: str, **fields: Any) -> None:
        """Carry out a command."""
        self.dispatch.handle(codec.decode_command(json.dumps({"event": event, **fields})))

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first frame of that name with those fields."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for frame in self.frames:
                    if frame["event"] == event and fields.items() <= frame.items():
                        return frame
                self._came.clear()
                await self._came.wait()

    async def ended(self, call_id: str | None = None) -> dict[str, Any]:
        """Return how a call ended."""
        return await self.until("call.ended", **({} if call_id is None else {"call_id": call_id}))

    def names(self, *, leave_out: tuple[str, ...] = ("bot.word",)) -> list[str]:
        """Return the names of the frames of calls, in order."""
        named = [frame for frame in self.frames if "call_id" in frame]
        return [frame["event"] for frame in named if frame["event"] not in leave_out]

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return all frames of that name."""
        return [frame for frame in self.frames if frame["event"] == event]

    def leave(self) -> None:
        """Lose the connection."""
        self.dispatch.close()
        self._server.connection_lost(self.connection)


class Office:
    """The server, and who is connected to it."""

    def __init__(
        self,
        *,
        numbers: Mapping[str, Number] | None = None,
        engines: Engines | None = None,
        journal: Journal | None = None,
        **limits: float,
    ) -> None:
        self.engines = engines or Engines()
        self.server = VoiceServer(
            keys=["pk_one", "pk_two"],
            journal=journal or Journal(":memory:"),
            engines=self.engines,
            choose_model=lambda llm: ScriptModel(llm["rules"]) if llm else None,
            limits=Limits(**limits),
            numbers=numbers or {},
        )
        self.orgs = tuple(self.server.organisations)

    async def __aenter__(self) -> Office:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.server.drain(5.0)
        await self.server.close()
        self.server.journal.close()

    def peer(self, org: int = 0) -> Peer:
        """Return a new connection of the first organisation, or of another."""
        return Peer(self, self.orgs[org])

    def owner(
        self,
        name: str = "desk",
        number: str | None = OURS,
        *,
        ringing: bool = False,
        org: int = 0,
        **payload: Any,
    ) -> Peer:
        """Return a connection that has registered an agent."""
        peer = self.peer(org)
        peer.send("agent.create", agent_id=name, **({"preparing": False} | payload))
        if number is not None:
            peer.send("channel.add", agent_id=name, type="phone", ref=number, ringing=ringing)
        return peer

    def phone(self, number: str = THEIRS, **options: Any) -> Phone:
        """Return a telephone that waits for calls to a number."""
        phone = Phone(self.orgs[0], number, **options)
        phone.unplug = self.server.switchboard.add(phone)
        return phone


class Phone:
    """A telephone: an exchange's terminal that is told what to do."""

    def __init__(
        self,
        org: Organisation,
        number: str,
        *,
        fallback: bool = False,
        answer: str | None = "accept",
        after_s: float = 1.0,
        says: bytes = b"",
    ) -> None:
        """``answer`` is accept, busy, rejected, or None to let it ring."""
        self.org, self.number, self.fallback = org, number, fallback
        self.answer, self.after_s, self.says = answer, after_s, bytearray(says)
        self.rung: list[str] = []
        self.silenced: list[str] = []
        self.heard: list[bytes] = []
        self.events: list[dict[str, Any]] = []
        self.session: VoiceSession | None = None
        self.hung_up = 0
        self.unplug: Callable[[], None]

    @property
    def line(self) -> Phone:
        return self

    def ring(self, ring: Ring) -> None:
        self.rung.append(ring.dialled.call_id)
        loop = asyncio.get_running_loop()
        if self.answer == "accept":
            loop.call_later(self.after_s, ring.accept, self)
        elif self.answer is not None:
            loop.call_later(self.after_s, ring.reject, self, self.answer)

    def silence(self, ring: Ring, reason: str) -> None:
        self.silenced.append(reason)

    def joined(self, session: VoiceSession, outlet: Outlet) -> None:
        self.session = session
        outlet.subscribe(lambda text: self.events.append(json.loads(text)))

    def over(self) -> None:
        self.hung_up += 1

    def receive(self) -> list[bytes]:
        frame = bytes(self.says[: len(SILENCE)]).ljust(len(SILENCE), b"\0")
        del self.says[: len(SILENCE)]
        return [frame]

    def send(self, frame: bytes) -> None:
        self.heard.append(frame)


def said(text: str) -> Any:
    """Return a recogniser that always hears the same."""

    async def transcribe(pcm: bytes) -> str:
        return text

    return transcribe
