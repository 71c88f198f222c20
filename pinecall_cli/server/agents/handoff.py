"""``session.pause``, ``.resume`` and ``.send``: a person answers in an agent's place.

What is paused still comes in and is told to the agent's owner, but no model answers it; what the
person writes goes out as the agent's own words and enters the history (commands.md §10).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, structs

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.agents.registry import Refused, RegisteredAgent
from pinecall_cli.server.agents.takeover import LONGEST_CONTACT, same_contact

if TYPE_CHECKING:
    from pinecall_cli.server.agents.sessions import Session
    from pinecall_cli.server.app import VoiceServer

LONGEST_MESSAGE = 16_000
"""Characters of what a person sends."""


def pause(server: VoiceServer, agent: RegisteredAgent, frame: commands.SessionPause) -> None:
    """Carry out ``session.pause``.

    Raises:
        Refused: If the session is none of the agent's, or the contact nobody's.
    """
    session = named(agent, frame.session_id)
    contact = contact_of(frame.contact)
    agent.takeover.pause(session_id=text_of(frame.session_id), contact=contact)
    tell(server, agent, session, events.SessionPaused(contact=frame.contact))


def resume(server: VoiceServer, agent: RegisteredAgent, frame: commands.SessionResume) -> None:
    """Carry out ``session.resume``.

    Raises:
        Refused: If the session is none of the agent's, or the contact nobody's.
    """
    session = named(agent, frame.session_id)
    contact = contact_of(frame.contact)
    agent.takeover.resume(session_id=text_of(frame.session_id), contact=contact)
    tell(server, agent, session, events.SessionResumed(contact=frame.contact))


def send(server: VoiceServer, agent: RegisteredAgent, frame: commands.SessionSend) -> None:
    """Carry out ``session.send``: through the session named, else the contact's newest.

    Raises:
        Refused: If there is neither, or nothing to send.
    """
    text = frame.text.strip()
    if not text or len(text) > LONGEST_MESSAGE:
        raise Refused("INVALID_FRAME", f"a message has 1 to {LONGEST_MESSAGE} characters")
    session = next(wanted(agent, text_of(frame.session_id), text_of(frame.contact)), None)
    if session is None and frame.contact:
        session = server.whatsapp.reopened(agent, text_of(frame.contact))
    if session is None:
        raise Refused("CALL_NOT_FOUND", f"agent '{agent.slug}' has no such session or contact")
    session.human(text)
    tell(server, agent, session, events.SessionSent(contact=frame.contact))


def wanted(agent: RegisteredAgent, session_id: str, contact: str) -> Iterator[Session]:
    """Yield the sessions that a message may go out through, the best one first."""
    if session_id in agent.sessions:
        yield agent.sessions[session_id]
    for session in reversed(agent.sessions.values()):
        if same_contact(contact, session.contact):
            yield session


def named(agent: RegisteredAgent, session_id: Any) -> Session | None:
    """Return the session that is named, None if none is.

    Raises:
        Refused: If it is none of the agent's.
    """
    name = text_of(session_id)
    if name and name not in agent.sessions:
        raise Refused("CALL_NOT_FOUND", f"agent '{agent.slug}' has no session `{name}`")
    return agent.sessions.get(name)


def contact_of(value: Any) -> str:
    """Return the contact that is named, "" if none is.

    Raises:
        Refused: If nobody is called so.
    """
    contact = text_of(value)
    if len(contact) > LONGEST_CONTACT:
        raise Refused("INVALID_FRAME", f"a contact has at most {LONGEST_CONTACT} characters")
    return contact


def tell(
    server: VoiceServer, agent: RegisteredAgent, session: Session | None, event: Event
) -> None:
    """Acknowledge a command: in the session's own log, if it is about one."""
    outlet = None if session is None else server.outlet_of(session)
    if outlet is not None:
        outlet.emit(event)
    elif agent.connection is not None:
        agent.connection.send(structs.replace(event, agent_id=agent.slug))


def text_of(value: Any) -> str:
    """Return a field that may be absent."""
    return "" if value is UNSET or value is None else str(value)
