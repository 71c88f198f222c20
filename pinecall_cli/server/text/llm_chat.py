"""The command `llm.chat`: any agent socket of the organisation writes to an agent."""

from __future__ import annotations

from msgspec import UNSET

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import commands, events
from pinecall_cli.server.agents.registry import Connection, Refused
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.text.chat import ChatSession

RESERVED = ("wa-", "wrt_", "line:")
"""Prefixes of ids that clients take for another kind of session."""


def receive(server: VoiceServer, sender: Connection, frame: commands.LlmChat) -> None:
    """Take a message: into its session, or into a new one. What is wrong, the sender is told."""
    try:
        session = server.registry.session(sender.org, frame.session_id)
        if session is None:
            session = open_session(server, sender, frame)
        if not isinstance(session, ChatSession):
            raise Refused("SESSION_IN_USE", f"`{frame.session_id}` is no text session")
        if server.registry.find(sender.org, frame.agent_id) not in (None, session.agent):
            owner = session.agent.slug
            raise Refused("SESSION_IN_USE", f"`{frame.session_id}` is a session of '{owner}'")
        session.write(frame.text, sender)
    except (Refused, PinecallError) as refusal:
        sender.send(
            events.LlmChatError(
                error=refusal.message,
                code=refusal.code,
                agent_id=frame.agent_id,
                session_id=frame.session_id,
            )
        )


def open_session(server: VoiceServer, opener: Connection, frame: commands.LlmChat) -> ChatSession:
    """Open a text session, announce it and greet.

    Raises:
        Refused: If the agent is not there, the id will not do, or there are too many.
        EngineError: If there is no such model as the agent's.
    """
    id = frame.session_id
    if not id or len(id) > 200 or not id.isprintable() or id.startswith(RESERVED):
        raise Refused("INVALID_SESSION", f"`{id[:80]}` cannot be the id of a text session")
    if not frame.text.strip():
        raise Refused("EMPTY_MESSAGE", "the message is empty")
    agent = server.registry.find(opener.org, frame.agent_id)
    if agent is None:
        raise Refused("AGENT_NOT_FOUND", f"Agent '{frame.agent_id}' is not online")
    chats = [s for s in server.registry.sessions() if isinstance(s, ChatSession)]
    if sum(chat.opener is opener for chat in chats) >= server.limits.chats_per_connection:
        raise Refused("TOO_MANY_SESSIONS", "this connection has too many text sessions open")
    if server.draining:
        raise Refused("SERVER_STOPPING", "the server is stopping")
    metadata = {} if frame.metadata is UNSET else frame.metadata
    session = ChatSession(server, agent, id, opener, metadata)
    session.begin()
    return session
