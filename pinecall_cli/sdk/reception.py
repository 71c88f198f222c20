"""Hears the link for a client: tells who waits for a connection, and hands on the rest."""

from __future__ import annotations

import asyncio
import contextlib

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
        match received.frame:
            case Unknown() as unknown:
                self._callbook.unknown(unknown)
            case events.Error() as error:
                self._registrar.error(error)
            case events.AgentCreated() | events.AgentResumed() as created:
                self._registrar.created(created)
            case events.AgentDisplaced() as displaced:
                self._registrar.displaced(displaced)
            case events.CallStarted() as started:
                self._callbook.started(started)
            case events.LlmChatStarted() as started_chat:
                self._callbook.chat_started(started_chat)
            case events.WhatsappSessionStarted() as started_session:
                self._callbook.whatsapp_started(started_session)
            case (
                events.CallEnded()
                | events.LlmChatEnded()
                | events.LlmChatError()
                | events.WhatsappSessionEnded()
            ) as ended:
                self._callbook.ended(ended)
            case events.LlmBefore() as before:
                self._callbook.before_answer(before)
            case events.LlmToolCall() as wanted:
                self._callbook.tools_wanted(wanted)
            case events.Connected() | events.Ping() | events.Pong() | events.Authenticated():
                pass
            case Event() as event if isinstance(event, ACKNOWLEDGEMENTS):
                self._registrar.acknowledged(event)
            case Event() as event:
                self._callbook.happened(event)
        if isinstance(received.frame, Event):
            self._dials.heard(received.frame)

    def down(self, reason: str, *, final: bool) -> None:
        """End what hung on the connection, and tell that it is gone."""
        self._callbook.lost(reason)
        lost = ServerUnreachableError(f"the connection was lost: {reason}")
        self._office.answers.refuse_all(lost)
        for registration in self._office.registrations.values():
            registration.lost()
        if self.ready.done():
            self.ready = self._waiter()
        self._office.tell("disconnected", reason)
        if final:
            displaced = "isplaced" in reason
            self._finish(ConflictError(reason, code="displaced") if displaced else lost)

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


ACKNOWLEDGEMENTS = (
    events.AgentConfigured,
    events.AgentRemoved,
    events.ChannelAdded,
    events.ChannelConfigured,
    events.ChannelRemoved,
    events.SessionConfigured,
    events.HistoryData,
    events.HistoryUpdated,
)


def settle(waiter: Waiter, problem: PinecallError | None) -> None:
    """Settle a waiter that is not settled yet: well, or with a problem."""
    with contextlib.suppress(asyncio.InvalidStateError):
        if problem is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(problem)
