"""A ``dev`` or ``call`` session as a value: agents, server, calls, and one feed of what happened.

``feed`` is what a terminal's scrollback shows, in order, whichever call it belongs to. It is
bounded, so a view remembers the number of the last entry it drew, not a position.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from pinecall_cli.call.fold_chat import end
from pinecall_cli.call.optional import given
from pinecall_cli.call.records import (
    DevReady,
    DevReconnected,
    DevReconnecting,
    DevReloaded,
    DevReloadFailed,
    EngineNotice,
    Record,
)
from pinecall_cli.call.reduce import reduce
from pinecall_cli.call.state import CONNECTION_LOST, CallState, Line, Notice, Value
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Command, Event, Unknown
from pinecall_cli.protocol.ids import match_agent_id

ENDED_KEPT = 50
"""Calls that are over and still kept."""
FEED_KEPT = 1000
"""Entries of the feed that are kept; a view that draws at 12 Hz is never this far behind."""

Registration = Literal["starting", "registered", "conflict", "error", "removed"]

STAYS_OUT = frozenset(
    (
        events.Ping,
        events.Pong,
        events.SessionConfigured,
        events.SessionSent,
        events.HistoryData,
        events.HistoryUpdated,
        events.CallRecording,
        events.AudioMetrics,
        events.LlmStart,
        events.LlmToken,
        events.LlmDone,
        events.LlmResponse,
        events.LlmThinking,
    )
)
"""Events that name a call and say nothing about it that is shown."""


class AgentState(Value):
    """One agent of the session and how it stands with the server."""

    slug: str
    file: str = ""
    phones: tuple[str, ...] = ()
    state: Registration = "starting"
    detail: str = ""
    """Why, in the server's words, when it is neither starting nor registered."""


class Entry(Value):
    """One entry of the feed: a final line of a call, or a record of ours."""

    number: int
    """Counts from 1 and never repeats."""
    what: Line | Record
    call_id: str | None = None


class SessionState(Value):
    """All that a view shows."""

    agents: tuple[AgentState, ...] = ()
    server: str = ""
    local: bool = False
    joined: bool = False
    """Whether a local server ran before, in a process of its own."""
    ready: bool = False
    connected: bool = True
    reconnecting: DevReconnecting | None = None
    engines: EngineNotice | None = None
    """The newest word of the engines while they load."""
    broken: tuple[DevReloadFailed, ...] = ()
    """Files that do not load as they stand; each stays until it is fixed."""
    calls: tuple[CallState, ...] = ()
    """Oldest first; of those that are over, the newest 50."""
    feed: tuple[Entry, ...] = ()
    fed: int = 0
    """The number of the newest entry."""
    started_at: float | None = None
    """When the first thing happened: where ``t+`` counts from."""

    @property
    def live(self) -> tuple[CallState, ...]:
        """The calls that are not over, oldest first."""
        return tuple(call for call in self.calls if not call.ended)

    def call(self, call_id: str) -> CallState | None:
        """Return the call of that id, or None."""
        return next((call for call in reversed(self.calls) if call.call_id == call_id), None)

    def since(self, number: int) -> tuple[Entry, ...]:
        """Return the feed's entries after the one with ``number``."""
        new = self.fed - number
        return self.feed[-new:] if new > 0 else ()


def advance(
    session: SessionState, happened: Event | Command | Unknown | Record, *, at: float | None = None
) -> SessionState:
    """Return the session after a frame or a record of ours. Pure; never raises.

    Args:
        session: The session before.
        happened: What happened.
        at: When, in seconds since the epoch, for a frame without ``ts``.
    """
    if isinstance(happened, Record):
        return _recorded(_begun(session, happened.at), happened)
    if isinstance(happened, Event):
        session = _begun(session, given(happened.ts, at))
        session = _registered(session, happened, at)
    if type(happened) in STAYS_OUT:
        return session
    call_id = call_of(happened)
    if call_id is None:
        return session
    return _called(session, call_id, happened, at)


def call_of(frame: Event | Command | Unknown) -> str | None:
    """Return the id of the call or chat that ``frame`` belongs to; None when it names none."""
    if isinstance(frame, Unknown):
        return None
    for name in ("call_id", "session_id"):
        found = getattr(frame, name, None)
        if isinstance(found, str) and found:
            return found
    return None


def _begun(session: SessionState, at: float | None) -> SessionState:
    if session.started_at is not None or at is None:
        return session
    return replace(session, started_at=at)


def _feed(session: SessionState, *new: Line | Record, call_id: str | None = None) -> SessionState:
    entries = tuple(
        Entry(number=session.fed + count, what=what, call_id=call_id)
        for count, what in enumerate(new, start=1)
    )
    return replace(
        session,
        feed=(*session.feed, *entries)[-FEED_KEPT:],
        fed=session.fed + len(entries),
    )


def _called(
    session: SessionState, call_id: str, frame: Event | Command | Unknown, at: float | None
) -> SessionState:
    before = session.call(call_id)
    known = before is not None
    if before is None:
        if isinstance(frame, (Command, events.Error)):
            return session
        before = CallState(call_id=call_id)
    agent = getattr(frame, "agent_id", None)
    if isinstance(agent, str) and agent and not before.agent:
        slugs = [one.slug for one in session.agents]
        before = replace(before, agent=match_agent_id(agent, slugs) or agent)
    after = reduce(before, frame, at=at)
    if known:
        calls = tuple([after if call.call_id == call_id else call for call in session.calls])
    else:
        calls = (*session.calls, after)
    if after.ended:
        calls = _pruned(calls)
    session = replace(session, calls=calls)
    new = after.lines[len(before.lines) :]
    return _feed(session, *new, call_id=call_id) if new else session


def _pruned(calls: tuple[CallState, ...]) -> tuple[CallState, ...]:
    surplus = sum(call.ended for call in calls) - ENDED_KEPT
    if surplus <= 0:
        return calls
    kept = []
    for call in calls:
        if call.ended and surplus > 0:
            surplus -= 1
        else:
            kept.append(call)
    return tuple(kept)


def _registered(session: SessionState, event: Event, at: float | None) -> SessionState:
    """Return the session after what ``event`` says about an agent's registration."""
    match event:
        case events.AgentCreated(agent_id=id) | events.AgentResumed(agent_id=id):
            return _agent(session, id, "registered")
        case events.AgentDisplaced(agent_id=id, reason=reason):
            session = _agent(session, id, "removed", reason)
            gone = f"{id} was taken off the server" + (f": {reason}" if reason else "")
            return _feed(session, Notice(at=given(event.ts, at), text=gone, level="warning"))
        case events.AgentRemoved(agent_id=id):
            return _agent(session, id, "removed")
        case events.Error(error=error):
            return _error(session, event, error, at)
        case _:
            return session


def _error(
    session: SessionState, event: events.Error, error: str, at: float | None
) -> SessionState:
    code = given(event.code, "")
    if isinstance(event.call_id, str) and session.call(event.call_id) is not None:
        return session  # told as a line of that call
    if isinstance(event.agent_id, str):
        if code.startswith("AGENT_"):
            session = _agent(session, event.agent_id, "conflict", error)
        elif code in ("REGISTRATION_ERROR", "SERVER_AT_CAPACITY"):
            session = _agent(session, event.agent_id, "error", error)
    text = error if not code or error.startswith(code) else f"{code}: {error}"
    return _feed(session, Notice(at=given(event.ts, at), text=text or "error", level="error"))


def _agent(
    session: SessionState, incoming: str, state: Registration, detail: str = ""
) -> SessionState:
    slug = match_agent_id(incoming, [agent.slug for agent in session.agents])
    agents = tuple(
        replace(agent, state=state, detail=detail) if agent.slug == slug else agent
        for agent in session.agents
    )
    return replace(session, agents=agents)


def _recorded(session: SessionState, record: Record) -> SessionState:
    match record:
        case DevReady():
            return _feed(_ready(session, record), record)
        case DevReloaded():
            whole = tuple(bad for bad in session.broken if not _mends(record, bad))
            return _feed(replace(session, broken=whole), record)
        case DevReloadFailed(file=file):
            others = tuple(bad for bad in session.broken if bad.file != file)
            return _feed(replace(session, broken=(*others, record)), record)
        case DevReconnecting():
            lost = session.connected
            session = replace(session, connected=False, reconnecting=record)
            return _lost(_feed(session, record), record.at) if lost else session
        case DevReconnected():
            return _feed(replace(session, connected=True, reconnecting=None), record)
        case EngineNotice(loading=loading):
            session = replace(session, engines=record if loading else None)
            return session if loading else _feed(session, record)
        case _:
            return _feed(session, record)


def _lost(session: SessionState, at: float) -> SessionState:
    """Return the session with its live calls over; a server that still has one names it again."""
    for call in session.live:
        after = end(call, CONNECTION_LOST, None, at)
        calls = tuple(after if one is call else one for one in session.calls)
        session = replace(session, calls=_pruned(calls))
        session = _feed(session, *after.lines[len(call.lines) :], call_id=call.call_id)
    return session


def _mends(record: DevReloaded, bad: DevReloadFailed) -> bool:
    """Whether ``record`` shows that the file of ``bad`` loads again."""
    return bad.agent == record.agent if bad.agent and record.agent else bad.file in record.files


def _ready(session: SessionState, record: DevReady) -> SessionState:
    known = {agent.slug: agent for agent in session.agents}
    agents = tuple(
        replace(
            known.get(entry.agent, AgentState(slug=entry.agent)),
            file=entry.file,
            phones=entry.phones,
            state="registered",
            detail="",
        )
        for entry in record.agents
    )
    return replace(
        session,
        agents=agents,
        server=record.server,
        local=record.local,
        joined=record.joined,
        ready=True,
        connected=True,
        reconnecting=None,
    )
