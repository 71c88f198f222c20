"""A terminal that waits for calls to a number and takes one (protocol: sessions.md §7.2, 5)."""

from __future__ import annotations

import asyncio
import logging

from msgspec import structs
from starlette.websockets import WebSocket

from pinecall_cli.protocol import codec, events, mic
from pinecall_cli.protocol.frames import Event, Unknown
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Outlet, Stamps
from pinecall_cli.server.phone.mic_line import MicLine
from pinecall_cli.server.phone.switchboard import Ring, Switchboard
from pinecall_cli.server.voice.session import VoiceSession

log = logging.getLogger("pinecall.server")


class Handset:
    """One such terminal: it rings, and the call it takes is held over the same socket.

    It is the exchange's `Terminal`, and its `Callee` once it has a call.
    """

    def __init__(
        self,
        socket: WebSocket,
        first: mic.MicAnswer,
        org: Organisation,
        number: str,
        stamps: Stamps,
    ) -> None:
        """``first`` is the frame it came with, ``number`` the one it named, in normal form."""
        self.org, self.number, self.fallback = org, number, first.fallback
        self.line = MicLine(socket, first, phone=True)
        self._socket, self._stamps = socket, stamps
        self._rings: list[Ring] = []
        self._gone = False
        """Whether the terminal left in a call, perhaps before that had begun."""
        self._session: VoiceSession | None = None
        self._over = asyncio.Event()

    async def serve(self, switchboard: Switchboard) -> None:
        """Wait for calls, take one, and return when it is over or the terminal is gone."""
        remove = switchboard.add(self)
        self._tell(events.AnswerReady(number=self.number))
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self.line.write())
                try:
                    if await self._wait():
                        await self._hold(tasks)
                finally:
                    remove()
                    self.line.tell(None)
                await writer
        except ExceptionGroup as problems:
            log.error("a terminal at %s broke off", self.number, exc_info=problems)

    # --- Terminal ---

    def ring(self, ring: Ring) -> None:
        """Begin to ring."""
        self._rings.append(ring)
        call = ring.dialled
        self._tell(
            events.CallRinging(
                agent_id=call.caller.slug, call_id=call.call_id, from_=call.from_, to=call.to
            )
        )

    def silence(self, ring: Ring, reason: str) -> None:
        """Stop ringing: somebody else has the call, or nobody."""
        if ring in self._rings:
            self._rings.remove(ring)
        call = ring.dialled
        self._tell(
            events.CallEnded(
                call_id=call.call_id,
                reason=reason,
                direction="outbound",
                from_=call.from_,
                to=call.to,
                duration_seconds=0,
            )
        )

    # --- Callee ---

    def joined(self, session: VoiceSession, outlet: Outlet) -> None:
        """Be in a call from now on."""
        self._session = session
        if self._gone:
            session.end("disconnected")
        outlet.subscribe(self.line.tell)
        self.line.attach(session, outlet.emit)
        if session.clock_ms:  # a call that was forwarded here began long ago
            call = session.call_id
            stamps = {"agent_id": session.agent.slug, "call_id": call, "session_id": call}
            self._tell(structs.replace(session.details.started(), **stamps))

    def over(self) -> None:
        """The call has ended, or did not come about."""
        if self._session is None:
            self._tell(events.CallEnded(reason="canceled", direction="outbound"))
        self._over.set()

    # --- the socket ---

    async def _wait(self) -> bool:
        """Return when a call is taken; False when the terminal is gone."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return False
            text = message.get("text")
            if text is not None and self._decided(text):
                return True

    def _decided(self, text: str) -> bool:
        """Do what somebody at the terminal has said; True if a call was taken by it."""
        match mic.decode_mic(text):
            case mic.Accept():
                if self._rings and self._rings[0].accept(self):
                    first, *others = self._rings
                    for other in others:
                        other.reject(self, "busy")
                    self._rings = [first]
                    return True
                self._refuse("NOT_RINGING", "no call rings here")
            case mic.Reject(reason=reason):
                if not self._rings:
                    self._refuse("NOT_RINGING", "no call rings here")
                else:
                    self._rings.pop(0).reject(self, reason)
            case mic.Hangup():
                for ring in self._rings:
                    ring.reject(self, "rejected")
                self._rings.clear()
            case mic.MicPing():
                pass
            case Unknown(event=name, problem=problem):
                self._refuse("UNKNOWN_ACTION", f"{name or 'a message'}: {problem or 'unknown'}")
            case other:
                self._refuse("NOT_ANSWERED", f"{type(other).__name__} has to wait for a call")
        return False

    async def _hold(self, tasks: asyncio.TaskGroup) -> None:
        """Take audio and actions until the call is over."""
        reader = tasks.create_task(self.line.read())
        over = tasks.create_task(self._over.wait())
        await asyncio.wait({reader, over}, return_when=asyncio.FIRST_COMPLETED)
        self._gone = reader.done()
        await self._over.wait()
        reader.cancel()

    def _tell(self, event: Event) -> None:
        seq, ts = self._stamps.next()
        self.line.tell(codec.encode(structs.replace(event, seq=seq, ts=ts)))

    def _refuse(self, code: str, message: str) -> None:
        self._tell(events.Error(code=code, error=message))
