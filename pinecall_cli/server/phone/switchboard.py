"""The local exchange: who answers a number that an agent dials.

In this order: the terminals that wait for that number, what the numbers file and the test
numbers say, a phone line or an agent that has it, the terminals that take what nobody else
does; and otherwise it rings until nobody has answered. Terminals, lines and agents are those of
the organisation that dials.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import codec, commands, events
from pinecall_cli.protocol.config import ConfigRefused
from pinecall_cli.protocol.ids import phone_call_id
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Refused, RegisteredAgent
from pinecall_cli.server.calls import hold, language_of, nothing, open_session
from pinecall_cli.server.phone.numbers import TEST_NUMBERS, Number, ReachesAgent, Refuses
from pinecall_cli.server.phone.robots import Played, Robot, brain_for
from pinecall_cli.server.phone.waiting import (
    NotConnectedError,
    RejectedError,
    WaitingCall,
    ring_agent,
)
from pinecall_cli.server.voice.details import CallDetails
from pinecall_cli.server.voice.lines import Line, WireEnd
from pinecall_cli.server.voice.session import VoiceSession

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer


class Callee(Protocol):
    """Whoever picked up."""

    @property
    def line(self) -> Line:
        """The line to them."""
        ...

    def joined(self, session: VoiceSession, outlet: Outlet) -> None:
        """Be in this call from now on; what happens in it leaves by ``outlet``."""
        ...

    def over(self) -> None:
        """The call has ended, or did not come about after all. Called once."""
        ...


class Terminal(Callee, Protocol):
    """A terminal that waits for calls to a number."""

    org: Organisation
    number: str
    fallback: bool
    """Whether it takes only what nobody else does."""

    def ring(self, ring: Ring) -> None:
        """Begin to ring."""
        ...

    def silence(self, ring: Ring, reason: str) -> None:
        """Stop ringing: somebody else has the call, or nobody."""
        ...


@dataclass(frozen=True, slots=True)
class Dialled:
    """A number that is being called."""

    org: Organisation
    caller: RegisteredAgent
    """The agent that calls."""
    call_id: str
    from_: str
    to: str
    ring_timeout_s: float


class Ring:
    """One call that rings at any number of terminals; the first to accept has it."""

    def __init__(self, dialled: Dialled) -> None:
        self.dialled = dialled
        self._answer: asyncio.Future[Terminal] = asyncio.get_running_loop().create_future()
        self._ringing: list[Terminal] = []

    def offer(self, terminal: Terminal) -> None:
        """Let it ring at one more terminal."""
        self._ringing.append(terminal)
        terminal.ring(self)

    def accept(self, terminal: Terminal) -> bool:
        """Give the call to ``terminal``; False if it is too late."""
        if self._answer.done() or terminal not in self._ringing:
            return False
        self._ringing.remove(terminal)
        self._answer.set_result(terminal)
        return True

    def reject(self, terminal: Terminal, reason: str) -> None:
        """Take it that ``terminal`` does not want the call; when none wants it, it is over."""
        self.leave(terminal)
        if not self._ringing and not self._answer.done():
            self._answer.set_exception(NotConnectedError(reason))

    def leave(self, terminal: Terminal) -> None:
        """Take it that ``terminal`` is gone; the call rings on for whoever comes."""
        if terminal in self._ringing:
            self._ringing.remove(terminal)

    async def answered(self) -> Terminal:
        """Wait for somebody to take the call.

        Raises:
            NotConnectedError: If nobody does.
        """
        reason = "canceled"
        try:
            async with asyncio.timeout(self.dialled.ring_timeout_s):
                terminal = await self._answer
                reason = "answered_elsewhere"
                return terminal
        except TimeoutError:
            reason = "no-answer"
            raise NotConnectedError(reason) from None
        except asyncio.CancelledError:
            if self._answer.done() and not self._answer.cancelled():
                self._answer.result().over()  # taken and given up in the same moment
            raise
        finally:
            self._answer.cancel()
            for left in tuple(self._ringing):
                left.silence(self, reason)


class Switchboard:
    """Connects the calls of one server. Lives on its loop."""

    def __init__(self, server: VoiceServer, numbers: Mapping[str, Number]) -> None:
        """``numbers`` are those of the numbers file; they go before the test numbers."""
        self._server = server
        self._numbers = {**TEST_NUMBERS, **numbers}
        self._terminals: list[Terminal] = []
        self._rings: list[Ring] = []

    def add(self, terminal: Terminal) -> Callable[[], None]:
        """Let a terminal wait for calls; returns how to stop that. What rings now rings there."""
        self._terminals.append(terminal)
        for ring in self._rings:
            if waits_for(terminal, ring.dialled):
                ring.offer(terminal)

        def remove() -> None:
            if terminal in self._terminals:
                self._terminals.remove(terminal)
            for ring in self._rings:
                ring.leave(terminal)

        return remove

    async def call(self, dialled: Dialled) -> Callee:
        """Ring whoever has the number, and return who picked up.

        Raises:
            NotConnectedError: If nobody did; its reason is that of ``call.ended``.
            EngineError: If the speech engines cannot be had.
        """
        registry = self._server.registry
        waiting = [one for one in self._terminals if waits_for(one, dialled)]
        wanted = [one for one in waiting if not one.fallback]
        known = self._numbers.get(dialled.to)
        if not wanted and known is not None:
            return await self._known(dialled, known)
        owner = registry.answerer(dialled.org, dialled.to, dialled.from_)
        if not wanted and owner is not None:
            return await self._agent(dialled, owner)
        ring = Ring(dialled)
        self._rings.append(ring)
        try:
            await self._server.engines.wait()
            for terminal in wanted or waiting:
                ring.offer(terminal)
            return await ring.answered()
        finally:
            self._rings.remove(ring)

    async def forward(
        self, session: VoiceSession, outlet: Outlet, command: commands.CallForward
    ) -> None:
        """Let a call go on with another number in the agent's place.

        The message is said to the other side first, and so is what the application gave to say
        before: "I connect you", then ``call.forward``, is the usual order. If the number does
        not answer, the call stays with the agent, who is told why.
        """
        try:
            number = normalise_number(command.to)
        except ConfigRefused as refused:
            session.refuse("INVALID_NUMBER", refused.message)
            return
        if command.message:
            await session.say(command.message)
        else:
            await session.say_asked()
        details, agent = session.details, session.agent
        # What an agent dialled is kept as it was typed; it was a number, or nobody had answered.
        inbound = details.direction == "inbound"
        there = details.from_ if inbound else normalise_number(details.to)
        timeout = self._server.limits.ring_timeout_s
        dialled = Dialled(agent.org, agent, session.call_id, there, number, timeout)
        try:
            callee = await self.call(dialled)
        except NotConnectedError as failure:
            session.refuse("FORWARD_FAILED", f"{number}: {failure.reason}")
        except PinecallError as problem:
            session.refuse("FORWARD_FAILED", f"{number}: {problem.message}")
        else:
            if session.agent is not agent:  # a line has handed the call over meanwhile
                callee.over()
                return
            callee.joined(session, outlet)
            session.when_ended(callee.over)
            session.connect(callee.line, number)

    # --- numbers that are known beforehand ---

    async def _known(self, dialled: Dialled, number: Number) -> Callee:
        limits = self._server.limits
        ring_s = limits.ring_s if number.ring_ms is None else number.ring_ms / 1000
        match number.answer:
            case Refuses(reason="no-answer"):
                await asyncio.sleep(dialled.ring_timeout_s)
                raise NotConnectedError("no-answer")
            case Refuses(reason=reason):
                # Busy and failed are known at once; to be rejected it must have rung.
                rings = number.ring_ms is not None or reason == "rejected"
                await asyncio.sleep(ring_s if rings else 0)
                raise NotConnectedError(reason)
            case ReachesAgent(slug=slug):
                agent = self._server.registry.find(dialled.org, slug)
                await asyncio.sleep(ring_s)
                if agent is None:
                    raise NotConnectedError("failed")
                return await self._agent(dialled, agent)
            case answer:
                return await self._robot(dialled, answer, ring_s)

    async def _robot(self, dialled: Dialled, answer: Played, ring_s: float) -> Callee:
        """Ring, and make what is to be said meanwhile."""
        if ring_s >= dialled.ring_timeout_s:
            await asyncio.sleep(dialled.ring_timeout_s)
            raise NotConnectedError("no-answer")
        engines = await self._server.engines.wait()
        loop = asyncio.get_running_loop()
        picks_up = loop.time() + ring_s
        brain = await brain_for(answer, engines.synthesiser)
        await asyncio.sleep(max(0.0, picks_up - loop.time()))
        return Robot(brain)

    # --- to an agent or a line ---

    async def _agent(self, dialled: Dialled, agent: RegisteredAgent) -> Callee:
        """Let an agent or a line take the call, as an inbound one."""
        if agent is dialled.caller:
            raise NotConnectedError("busy")  # as a telephone that calls itself
        try:
            leave = self._server.places.take()
        except Refused:
            raise NotConnectedError("busy") from None  # and so is a server that is full
        try:
            return await self._picked_up(dialled, agent, leave)
        except BaseException:
            leave()
            raise

    async def _picked_up(
        self, dialled: Dialled, agent: RegisteredAgent, leave: Callable[[], None]
    ) -> Callee:
        server = self._server
        await server.engines.wait()
        config = agent.config_for("phone", dialled.to)
        details = CallDetails(
            call_id=phone_call_id(),
            from_=dialled.from_,
            to=dialled.to,
            direction="inbound",
            transport="phone",
            language=language_of(config),
            started_at=server.wall(),
        )
        outlet = server.outlet(agent, details.call_id)
        channel = agent.channel("phone", dialled.to)
        conversation = None
        if channel is not None and channel.ringing:
            waiting = await decide(server, agent, outlet, details, config)
            details, config = waiting.details, waiting.config
            conversation = waiting.conversation
        session = open_session(server, agent, outlet, details, config, conversation=conversation)
        return AgentCallee(server, session, outlet, leave=leave)


async def decide(
    server: VoiceServer,
    agent: RegisteredAgent,
    outlet: Outlet,
    details: CallDetails,
    config: Mapping[str, Any],
    ring: Callable[[WaitingCall], None] = lambda waiting: None,
) -> WaitingCall:
    """Let an agent decide about an inbound call; return what it is to begin with.

    ``ring`` is told what can be given up while it rings.

    Raises:
        NotConnectedError: If it was turned away or given up; the agent knows by then.
    """
    ringing = events.CallRinging(from_=details.from_, to=details.to)
    waiting = WaitingCall(server, agent, outlet, details, config, ringing)
    ring(waiting)
    try:
        await ring_agent(waiting, within_s=server.limits.accept_s)
    except RejectedError as rejected:
        outlet.emit(events.CallRejected(reason=rejected.reason))
        raise
    except NotConnectedError as failure:
        outlet.emit(details.ended(failure.reason, server.wall()))
        raise
    except asyncio.CancelledError:  # the other side has given up
        outlet.emit(details.ended("canceled", server.wall()))
        raise
    return waiting


class AgentCallee:
    """An agent that picked up: a call of its own, joined by a wire."""

    def __init__(
        self,
        server: VoiceServer,
        session: VoiceSession,
        outlet: Outlet,
        *,
        telephone: bool = True,
        leave: Callable[[], None] = nothing,
    ) -> None:
        """``telephone`` says whether the wire sounds like one; ``leave`` gives its place back."""
        self._server, self._session, self._outlet = server, session, outlet
        self._here, self._there = WireEnd.pair(telephone=telephone)
        self._joined, self._leave = False, leave

    @property
    def line(self) -> Line:
        """Our end of the wire."""
        return self._here

    def joined(self, session: VoiceSession, outlet: Outlet) -> None:
        """Begin the agent's own call, and end either with the other."""
        self._joined = True
        ours = self._session
        ours.when_ended(lambda: session.end("hangup"))
        for one in (ours, session):
            one.keypad.audible = False  # keys reach an agent as what they are
        outlet.subscribe(lambda text: press(text, ours))
        self._outlet.subscribe(lambda text: press(text, session))
        held = self._server.spawn(
            hold(self._server, ours, self._outlet, self._there), f"call {ours.call_id}"
        )
        held.add_done_callback(lambda _: self._leave())

    def over(self) -> None:
        """Hang up the agent's own call."""
        if self._joined:
            self._session.end("hangup")
        else:
            self._leave()
            details = self._session.details
            self._outlet.emit(details.ended("canceled", self._server.wall()))


def press(text: str, session: VoiceSession) -> None:
    """Press in ``session`` the keys that an event of the other call says were pressed there."""
    frame = codec.decode_event(text).frame
    if isinstance(frame, events.CallDtmfSent):
        session.pressed(frame.digits)


def waits_for(terminal: Terminal, dialled: Dialled) -> bool:
    """Return whether a call is for a terminal."""
    return terminal.org == dialled.org and terminal.number == dialled.to
