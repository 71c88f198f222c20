"""``call.dial``: an agent calls a number (commands.md §9.2, flows.md §5).

Any connection of the organisation may have a registered agent call. The agent's owner gets the
call; whoever dialled gets copies of how it begins and ends, or of everything if it says
``follow``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import codec, commands, events
from pinecall_cli.protocol.config import ConfigRefused, canonical, merge_payload, refusals
from pinecall_cli.protocol.ids import phone_call_id
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Connection, Refused, RegisteredAgent
from pinecall_cli.server.calls import hold, language_of, open_session
from pinecall_cli.server.phone.switchboard import Callee, Dialled
from pinecall_cli.server.phone.waiting import NotConnectedError, WaitingCall
from pinecall_cli.server.voice.details import CallDetails
from pinecall_cli.server.voice.opening import Opening

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer

log = logging.getLogger("pinecall.server")

COPIED = (events.CallDialing, events.CallStarted, events.CallEnded, events.CallError)
"""What somebody who dials for another's agent is told."""
LONGEST_RING_S = 120.0


def dial(server: VoiceServer, connection: Connection, frame: commands.CallDial) -> None:
    """Begin to call a number; returns at once, events tell the rest.

    Raises:
        Refused: If nothing is dialled; for ``call.error``.
    """
    refuse_calls(server)
    registry, org = server.registry, connection.org
    agent = connection.agent(frame.agent_id) or registry.find(org, frame.agent_id)
    if agent is None:
        raise Refused("AGENT_NOT_FOUND", f"Agent '{frame.agent_id}' is not online")
    to, from_ = number_of(frame.to), number_of(frame.from_)
    owner = registry.owner_of(org, from_)
    if owner is not None and owner is not agent:
        raise Refused("NUMBER_NOT_OWNED", f"{from_} is the number of '{owner.slug}'")
    own = patch_of({} if frame.config is UNSET else frame.config)
    config = merge_payload(agent.config_for("phone", from_), own)
    details = CallDetails(
        call_id=phone_call_id(),
        from_=from_,
        to=frame.to,  # a client finds its own call by this text
        direction="outbound",
        transport="phone",
        metadata={} if frame.metadata is UNSET else frame.metadata,
        language=language_of(config),
        started_at=server.wall(),
    )
    outgoing = Outgoing(server, connection, agent, to, details, config, frame)
    leave = server.places.take(connection)
    call = server.spawn(outgoing.run(), f"call {details.call_id}")
    call.add_done_callback(lambda _: leave())


def number_of(text: str) -> str:
    """Return a number in its normal form.

    Raises:
        Refused: If it is none.
    """
    try:
        return normalise_number(text)
    except ConfigRefused as refused:
        raise Refused("INVALID_NUMBER", f"{refused.message}; {refused.fix}") from None


def refuse_calls(server: VoiceServer) -> None:
    """Let no call be made any more by a server that is about to stop.

    Raises:
        Refused: If it is.
    """
    if server.draining:
        raise Refused("SERVER_DRAINING", "the server is shutting down")


def patch_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one call alone is configured with, in the wire's spelling.

    Raises:
        Refused: If the grammars refuse it.
    """
    patch = canonical(own)
    wrong = [refusal for _, refusal in refusals(patch)]
    if wrong:
        raise Refused(wrong[0].code.upper(), ". ".join(one.message for one in wrong))
    return dict(patch)


class Outgoing:
    """One call that an agent makes, from the dialling to its end."""

    def __init__(
        self,
        server: VoiceServer,
        opener: Connection,
        agent: RegisteredAgent,
        number: str,
        details: CallDetails,
        config: Mapping[str, Any],
        frame: commands.CallDial,
    ) -> None:
        """``number`` is in its normal form; the details have it as it was typed."""
        self._server, self._opener, self._agent, self._number = server, opener, agent, number
        self._details, self._frame = details, frame
        self._outlet: Outlet = server.outlet(agent, details.call_id)
        self._copy()
        dialing = events.CallDialing(from_=details.from_, to=details.to, direction="outbound")
        self._waiting = WaitingCall(
            server, agent, self._outlet, details, config, dialing, opener=opener
        )

    async def run(self) -> None:
        """Ring, and hold the call if somebody answers."""
        try:
            callee = await self._answered()
        except NotConnectedError as failure:
            self._failed(failure.reason)
        except PinecallError as problem:
            code = "ENGINE_UNAVAILABLE" if problem.exit_code == 3 else problem.code.upper()
            self._outlet.emit(events.CallError(error=problem.message, code=code))
            self._failed("failed")
        except Exception:
            # A fault of ours: it is logged whole, and whoever waits for the call hears its end.
            log.exception("call %s failed", self._details.call_id)
            self._failed("failed")
        else:
            await self._hold(callee)

    async def _answered(self) -> Callee:
        """Return who picked up, unless the call is given up before."""
        frame, limits = self._frame, self._server.limits
        asked = frame.ring_timeout if isinstance(frame.ring_timeout, int | float) else None
        timeout = limits.ring_timeout_s if asked is None else asked
        dialled = Dialled(
            self._agent.org,
            self._agent,
            self._details.call_id,
            self._details.from_,
            self._number,
            max(0.0, min(timeout, LONGEST_RING_S)),
        )
        with self._waiting.on_the_books():
            ringing = asyncio.get_running_loop().create_task(
                self._server.switchboard.call(dialled), name=f"ring {dialled.to}"
            )
            ends: set[asyncio.Future[Any]] = {ringing, self._waiting.decided}
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ringing.cancel()  # does nothing to one that is done
            if not self._waiting.decided.done():
                return ringing.result()
            with suppress(asyncio.CancelledError, NotConnectedError, PinecallError):
                (await ringing).over()  # it was picked up in the very same moment
            self._waiting.decided.result()
            raise NotConnectedError("canceled")

    async def _hold(self, callee: Callee) -> None:
        frame = self._frame
        greeting = frame.greeting if isinstance(frame.greeting, str) else ""
        try:
            session = open_session(
                self._server,
                self._agent,
                self._outlet,
                replace(self._waiting.details, started_at=self._server.wall()),
                self._waiting.config,
                conversation=self._waiting.conversation,
                opening=Opening(greeting, after_turn=frame.detect_turn_end is True),
                opener=self._opener,
            )
            callee.joined(session, self._outlet)
            await hold(self._server, session, self._outlet, callee.line)
        finally:
            callee.over()

    def _failed(self, reason: str) -> None:
        self._outlet.emit(self._details.ended(reason, self._server.wall()))

    def _copy(self) -> None:
        """Let whoever dialled hear of the call, unless they do as the agent's owner."""
        if self._agent.connection is self._opener:
            return
        whole = self._frame.follow is True

        def copy(text: str) -> None:
            if whole or isinstance(codec.decode_event(text).frame, COPIED):
                self._opener.post(text)

        self._outlet.subscribe(copy)
