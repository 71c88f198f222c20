"""Frames about agents: registrations, refusals, and the acknowledgements of requests."""

from __future__ import annotations

from typing import Any

from pinecall_cli.errors import ConflictError, PinecallError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.frames import Event, wire_name
from pinecall_cli.protocol.refusal import Outcome, outcome_of
from pinecall_cli.sdk.answers import Key, RequestRejectedError
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.registration import problem_of, same_number
from pinecall_cli.settings.logger import logger


class Registrar:
    """Keeps an office's registrations as the server has them."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._said: dict[str, str] = {}
        """The last error about each agent: a refusal comes twice, specific and general."""

    def register_all(self) -> None:
        """Send ``agent.create`` for every agent, those excepted that were taken from us."""
        for registration in tuple(self._office.registrations.values()):
            if registration.state != "displaced" and not registration.leaving:
                registration.create(embedded=self._office.embedded)

    def created(self, event: events.AgentCreated | events.AgentResumed) -> None:
        """Note that an agent is registered: what waited for it is sent."""
        agent_id = self._office.local_id(event.agent_id)
        if agent_id is None:
            return
        callers = self._office.dev_callers
        dev = [encode(commands.DevConfig(callers=callers))] if callers else []
        self._said.pop(agent_id, None)
        logger.info("agent `%s` is registered", agent_id)
        self._office.registrations[agent_id].created(dev)
        self._office.answers.settle(("agent.created", agent_id), None)
        self._office.tell(wire_name(type(event)), event, agent_id=agent_id)

    def displaced(self, event: events.AgentDisplaced) -> None:
        """Note that somebody took an agent from us."""
        agent_id = self._office.local_id(event.agent_id)
        if agent_id is None:
            return
        why = event.reason or "no reason given"
        problem = ConflictError(
            f"agent `{agent_id}` was taken from us: {why}",
            fix="`pinecall agents` shows who has it; start again to claim it",
            code="displaced",
        )
        self._office.registrations[agent_id].displaced(problem)
        self._office.unheard(problem)
        self._office.tell("agent.displaced", event, agent_id=agent_id)

    def acknowledged(self, event: Event) -> None:
        """Settle the request that an acknowledgement answers, and tell of it."""
        agent_id = self._office.local_id(event.agent_id)
        key = self._key_of(event, agent_id)
        refusal = getattr(event, "error", None)
        if key is not None and isinstance(refusal, str):
            self._office.answers.refuse(key, RequestRejectedError(refusal))
        elif key is not None:
            messages = event.messages if isinstance(event, events.HistoryData) else None
            self._office.answers.settle(key, messages)
        if not isinstance(event, events.HistoryData | events.HistoryUpdated):
            self._office.tell(wire_name(type(event)), event, agent_id=agent_id)

    def _key_of(self, event: Event, agent_id: str | None) -> Key | None:
        """Return what the request is known by that an acknowledgement answers."""
        name, agent = wire_name(type(event)), agent_id or ""
        match event:
            case events.AgentConfigured() | events.AgentRemoved():
                return (name, agent)
            case events.ChannelAdded(type=kind, ref=ref):
                return (name, agent, kind, channel_ref(ref))
            case events.ChannelConfigured(ref=ref) | events.ChannelRemoved(ref=ref):
                return (name, agent, channel_ref(ref))
            case events.SessionConfigured():
                session = event.call_id if isinstance(event.call_id, str) else event.session_id
                return (name, str(session))
            case events.HistoryData(request_id=request) | events.HistoryUpdated(request_id=request):
                if isinstance(request, str):
                    return ("history", str(event.call_id), request)
                # An older server echoes no id: then the latest request of the call is meant.
                waiting = self._office.answers.waiting(kind="history", about=str(event.call_id))
                return waiting[-1] if waiting else None
        return None

    def error(self, event: events.Error) -> None:
        """Take an ``error`` frame: to whoever waits for what it refuses, else to ``error``."""
        outcome, agent_id = outcome_of(event), self._office.local_id(event.agent_id)
        if agent_id is None:
            problem = problem_of(outcome, event)
            if not self._refuse_oldest(call_of(event), problem):
                self._office.tell_error(problem)
            return
        registration = self._office.registrations[agent_id]
        problem = registration.refused(outcome, event)
        again = outcome is Outcome.REFUSED and self._said.get(agent_id) == event.error
        self._said[agent_id] = event.error
        match outcome:
            case Outcome.PHONE_IN_USE:
                number = event.phone if isinstance(event.phone, str) else ""
                registration.forget_channel(number, "phone")
                logger.warning("agent `%s`: %s", agent_id, problem)
                key = ("channel.added", agent_id, "phone", channel_ref(number))
                self._office.answers.refuse(key, problem)
            case Outcome.OTHER:
                about = call_of(event) or agent_id
                if not self._refuse_oldest(about, problem):
                    self._office.tell_error(problem)
            case Outcome.CONFLICT:
                self._office.tell_error(problem)
            case _:
                taken = self._office.answers.refuse(("agent.created", agent_id), problem)
                if not (taken or again or self._refuse_oldest(agent_id, problem)):
                    self._office.tell_error(problem)

    def _refuse_oldest(self, about: str | None, problem: PinecallError) -> bool:
        """Fail the oldest request about an agent or call: a server answers in order."""
        waiting = self._office.answers.waiting(about=about) if about else []
        waiting = [key for key in waiting if key[0] not in UNREFUSABLE]
        return bool(waiting) and self._office.answers.refuse(waiting[0], problem)


UNREFUSABLE = frozenset({"spoken", "history", "call.dial"})
"""Requests whose refusals come in frames of their own."""


def call_of(event: events.Error) -> str | None:
    """Return the call that an error is about, if it names one."""
    ids: tuple[Any, ...] = (event.call_id, event.session_id)
    return next((id for id in ids if isinstance(id, str)), None)


def channel_ref(ref: object) -> str:
    """Return a channel's reference in a form in which equal ones are equal texts."""
    return same_number(ref) if isinstance(ref, str) else ""
