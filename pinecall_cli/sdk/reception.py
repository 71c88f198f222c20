"""Hears the link for a client: tells who waits for a connection, and hands on the rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from pinecall_cli.errors import ConflictError, PinecallError, ServerUnreachableError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Received, Unknown
from pinecall_cli.sdk.callbook import CallBook
from pinecall_cli.sdk.dials import Dials
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.registrar import Registrar

Waiter = asyncio.Future[None]


class Reception:
    """The `Ears` of a client's link; lives on the client's loop."""

    def __init__(self, office: Office, registrar: Registrar, callbook: CallBook) -> None:
        self._office, self._registrar, self._callbook = office, registrar, callbook
        self._dials = Dials(office)
        self._takers = takers(registrar, callbook)
        self._loop = asyncio.get_running_loop()
        self.ready: Waiter = self._waiter()
        """Done while connected; fails when there will be no connection."""
        self.attempt: Waiter = self._waiter()
        """How the attempt to connect that is under way ends."""
        self.over: Waiter = self._waiter()
        """Fails when the connection is gone for good and nobody asked for that."""

    def _waiter(self) -> Waiter:
        waiter: Waiter = self._loop.create_future()
        # Often nobody waits; a failure is then told as an `error` event.
        waiter.add_done_callback(lambda f: None if f.cancelled() else f.exception())
        return waiter

    def reopen(self) -> None:
        """Forget how the last connection ended: another is about to be tried."""
        if self.over.done():
            self.ready, self.attempt, self.over = (self._waiter() for _ in range(3))

    # --- Ears ---

    def attempted(self, problem: PinecallError | None) -> None:
        """Tell who waits how an attempt ended."""
        attempt, self.attempt = self.attempt, self._waiter()
        if problem is None:
            settle(attempt, None)
        else:
            settle(attempt, problem)
            self._office.tell_error(problem)

    def up(self, connected: events.Connected) -> None:
        """Register every agent, and tell that we are connected."""
        self._office.embedded = connected.embedded is True
        self._registrar.register_all()
        settle(self.ready, None)
        self._office.tell("connected")

    def frame(self, received: Received) -> None:
        """Hand a frame to whoever knows about its kind."""
        for tap in tuple(self._office.taps):
            self._office.crew.call((tap,), received)
        frame = received.frame
        if isinstance(frame, Unknown):
            self._callbook.unknown(frame)
        elif isinstance(frame, Event):
            self._takers.get(type(frame), self._callbook.happened)(frame)
            self._dials.heard(frame)

    def down(self, reason: str, *, final: bool) -> None:
        """End what hung on the connection, and tell that it is gone."""
        self._callbook.lost(reason)
        lost = ServerUnreachableError(f"the connection was lost: {reason}")
        self._office.answers.refuse_all(lost)
        self._dials.lost()
        for registration in self._office.registrations.values():
            registration.lost()
        if self.ready.done():
            self.ready = self._waiter()
        self._office.tell("disconnected", reason)
        if final:
            self._finish(self._displaced(reason) if "isplaced" in reason else lost)

    def _displaced(self, reason: str) -> PinecallError:
        """Return why the server sent us away: what it said of an agent, else of the connection."""
        for registration in self._office.registrations.values():
            if registration.state == "displaced" and registration.problem is not None:
                return registration.problem
        return ConflictError(
            reason, fix="`pinecall agents` shows who has the agents", code="displaced"
        )

    def reconnecting(self, attempt: int, delay: float) -> None:
        """Tell that an attempt begins."""
        self._office.tell("reconnecting", attempt, delay)

    def gave_up(self, problem: PinecallError) -> None:
        """Tell who waits that there will be no connection."""
        settle(self.attempt, problem)
        self._finish(problem)

    def dropped(self, frames: int) -> None:
        """Tell that frames were thrown away."""
        self._office.tell_error(
            ServerUnreachableError(
                f"{frames} frame for the server was dropped: too many wait to be sent",
                code="frames_dropped",
            )
        )

    def closed(self, problem: PinecallError) -> None:
        """Note that we closed the connection ourselves."""
        settle(self.attempt, problem)
        self._finish(problem)

    def _finish(self, problem: PinecallError) -> None:
        settle(self.ready, problem)
        for registration in self._office.registrations.values():
            registration.give_up(problem)
        settle(self.over, problem)


def takers(registrar: Registrar, callbook: CallBook) -> dict[type[Event], Callable[[Any], None]]:
    """Return who takes which events; all others are of a call, of an agent, or of neither."""
    return {
        events.Error: registrar.error,
        events.AgentCreated: registrar.created,
        events.AgentResumed: registrar.created,
        events.AgentDisplaced: registrar.displaced,
        events.AgentConfigured: registrar.acknowledged,
        events.AgentRemoved: registrar.acknowledged,
        events.ChannelAdded: registrar.acknowledged,
        events.ChannelConfigured: registrar.acknowledged,
        events.ChannelRemoved: registrar.acknowledged,
        events.SessionConfigured: registrar.acknowledged,
        events.HistoryData: registrar.acknowledged,
        events.HistoryUpdated: registrar.acknowledged,
        events.CallStarted: callbook.started,
        events.LlmChatStarted: callbook.chat_started,
        events.WhatsappSessionStarted: callbook.whatsapp_started,
        events.CallEnded: callbook.ended,
        events.LlmChatEnded: callbook.ended,
        events.LlmChatError: callbook.ended,
        events.WhatsappSessionEnded: callbook.ended,
        events.LlmBefore: callbook.before_answer,
        events.LlmToolCall: callbook.tools_wanted,
        events.Connected: nobody,
        events.Authenticated: nobody,
        events.Ping: nobody,
        events.Pong: nobody,
    }


def nobody(event: Event) -> None:
    """Take what was dealt with before it came here: the connection's own."""


def settle(waiter: Waiter, problem: PinecallError | None) -> None:
    """Settle a waiter that is not settled yet: well, or with a problem."""
    with contextlib.suppress(asyncio.InvalidStateError):
        if problem is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(problem)
