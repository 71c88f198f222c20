"""What the commands of one agent socket do: to the registry, to sessions, to text chats.

Every refusal is an answer; nothing a client sends ends its connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload, payload_of, refusals
from pinecall_cli.protocol.frames import Command, Received, Unknown
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.server.agents import handoff
from pinecall_cli.server.agents.claims import Claims
from pinecall_cli.server.agents.registry import (
    Channel,
    Connection,
    Refused,
    RegisteredAgent,
    Registration,
)
from pinecall_cli.server.agents.sessions import Session
from pinecall_cli.server.answers import Answers, refused
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.phone import bridging, dialling, phone_lines, routing
from pinecall_cli.server.text import llm_chat
from pinecall_cli.server.text.chat import ChatSession

log = logging.getLogger("pinecall.server")

CHANNELS = frozenset({"phone", "webrtc", "chat", "whatsapp"})


class Dispatch:
    """Carries out the commands of one connection, in the order they came."""

    def __init__(self, server: VoiceServer, connection: Connection) -> None:
        self._server, self._connection = server, connection
        self._claims = Claims(server, connection)
        self._answers = Answers(server, connection)

    def handle(self, received: Received) -> None:
        """Carry out one frame; what goes wrong is answered, never raised."""
        frame = received.frame
        if isinstance(frame, Unknown):
            self._answers.unknown(frame)
            return
        try:
            handler = HANDLERS.get(type(frame))
            if handler is not None:
                handler(self, frame)
            elif isinstance(frame, Command):
                self._to_session(frame)
        except Refused as refusal:
            self._answers.refuse(frame, refusal)
        except ConfigRefused as refusal:
            self._answers.refuse(frame, refused([refusal]))
        except Exception:
            log.exception("a %s command failed", type(frame).__name__)
            self._answers.refuse(
                frame, Refused("INTERNAL_ERROR", "the server failed at this command")
            )

    def close(self) -> None:
        """Give up what waits, and end what this connection opened on agents of others."""
        self._claims.close()
        for session in self._server.registry.sessions():
            if getattr(session, "opener", None) is not self._connection:
                continue
            if isinstance(session, ChatSession):
                session.end("chat_completed")
            elif session.agent.connection is not self._connection:
                session.end("hangup")

    # --- agents ---

    def _create(self, frame: commands.AgentCreate) -> None:
        payload = payload_of(frame)
        origins = () if frame.allowed_origins is UNSET else tuple(frame.allowed_origins)
        check({**payload, "allowed_origins": origins})
        self._register(Registration(frame.agent_id, payload, origins))

    def _resume_agent(self, frame: commands.AgentResume) -> None:
        self._register(Registration(frame.agent_id, {}, resumes=True))

    def _register(self, wish: Registration) -> None:
        if self._server.faults.refuse:
            raise Refused(self._server.faults.refuse, "refused on purpose: `--fault refuse`")
        self._claims.claim(wish)

    def _agent(self, agent_id: str) -> RegisteredAgent:
        agent = self._connection.agent(agent_id)
        if agent is None:
            raise Refused("AGENT_NOT_FOUND", f"this connection has no agent `{agent_id}`")
        return agent

    def _configure(self, frame: commands.AgentConfigure) -> None:
        agent = self._agent(frame.agent_id)
        patch = payload_of(frame)
        check(patch)
        agent.payload = merge_payload(agent.payload, patch)
        self._server.configured(agent, patch)
        self._connection.send(events.AgentConfigured(agent_id=agent.slug))

    def _remove(self, frame: commands.AgentRemove) -> None:
        agent = self._agent(frame.agent_id)
        self._server.registry.remove(agent)
        self._connection.send(events.AgentRemoved(agent_id=agent.slug))

    # --- channels ---

    def _add_channel(self, frame: commands.ChannelAdd) -> None:
        agent = self._agent(frame.agent_id)
        if frame.type not in CHANNELS:
            raise Refused(
                "CHANNEL_NOT_SUPPORTED",
                f"no `{frame.type}` channels here, only phone, webrtc, chat and whatsapp",
            )
        ref = None
        if frame.type == "phone":
            if frame.ref is UNSET:
                raise Refused("INVALID_FRAME", "a phone channel needs a `ref`: its number")
            ref = normalise_number(frame.ref)
            owner = self._server.registry.owner_of(agent.org, ref)
            if owner is not None and owner is not agent and not agent.dev:
                message = f"PHONE_IN_USE: {ref} is claimed by '{owner.slug}'"
                raise Refused("PHONE_IN_USE", message, phone=frame.ref)
        elif frame.type == "whatsapp":
            ref = self._whatsapp_ref(agent, frame)
        payload = payload_of(frame)
        check(payload)
        agent.channels[frame.type, ref] = Channel(
            frame.type,
            ref,
            payload,
            ringing=frame.ringing is True,
            verify_token=frame.verify_token or None,
            app_secret=frame.app_secret or None,
            phone=frame.phone or None,
        )
        answer = events.ChannelAdded(agent_id=agent.slug, type=frame.type, ref=frame.ref)
        self._connection.send(answer)

    def _whatsapp_ref(self, agent: RegisteredAgent, frame: commands.ChannelAdd) -> str:
        """Return the id of a WhatsApp number, if the agent may have it.

        A number is one organisation's: a notification names the number alone, so of two that had
        it one would read what is written to the other. Within it, a developer's twin may share.

        Raises:
            Refused: If something is missing, or another agent has the number.
        """
        if not frame.ref or not frame.access_token:
            raise Refused(
                "INVALID_FRAME",
                "a whatsapp channel needs a `ref` (Meta's phone-number id) and an `accessToken`",
            )
        for other in self._server.registry.online():
            if other is agent or other.channel("whatsapp", frame.ref) is None:
                continue
            if other.org != agent.org:  # which agent it is, is theirs to know
                message = f"PHONE_IN_USE: {frame.ref} is claimed with another API key"
                raise Refused("PHONE_IN_USE", message, phone=frame.ref)
            if not agent.dev and not other.dev:
                message = f"PHONE_IN_USE: {frame.ref} is claimed by '{other.slug}'"
                raise Refused("PHONE_IN_USE", message, phone=frame.ref)
        return frame.ref

    def _channel(self, agent: RegisteredAgent, type: Any, ref: Any) -> Channel:
        """Return the channel a frame names: by its ref, else by its type."""
        # As it is, too: the id of a WhatsApp number may look like a number without its +.
        wanted = () if ref is UNSET else (ref, channel_ref(ref))
        if type is not UNSET or ref is not UNSET:
            for channel in agent.channels.values():
                if type in (UNSET, channel.type) and (not wanted or channel.ref in wanted):
                    return channel
        raise Refused("CHANNEL_NOT_FOUND", f"agent '{agent.slug}' has no such channel")

    def _configure_channel(self, frame: commands.ChannelConfigure) -> None:
        agent = self._agent(frame.agent_id)
        channel = self._channel(agent, frame.type, frame.ref)
        patch = payload_of(frame)
        check(patch)
        merged = merge_payload(channel.payload, patch)
        agent.channels[channel.type, channel.ref] = replace(channel, payload=merged)
        ref = channel.type if frame.ref is UNSET else frame.ref
        self._connection.send(events.ChannelConfigured(agent_id=agent.slug, ref=ref))

    def _remove_channel(self, frame: commands.ChannelRemove) -> None:
        agent = self._agent(frame.agent_id)
        channel = self._channel(agent, frame.type, frame.ref)
        del agent.channels[channel.type, channel.ref]
        answer = events.ChannelRemoved(agent_id=agent.slug, ref=frame.ref, type=channel.type)
        self._connection.send(answer)

    def _dev_config(self, frame: commands.DevConfig) -> None:
        self._connection.dev_callers = tuple(normalise_number(n) for n in frame.callers)

    # --- sessions ---

    def _to_session(self, frame: Command) -> None:
        """Hand a call-scoped command to its call."""
        try:
            session = self._session(frame)
        except Refused:
            if isinstance(frame, LATE):
                return  # its call ended while it was being made: nobody did anything wrong
            raise
        session.handle(frame)

    def _session(self, frame: Command) -> Session:
        """Return the call of a command, if it is a call of this connection's agents or lines.

        Raises:
            Refused: If it is not.
        """
        call_id = getattr(frame, "call_id", None)
        session = None
        if isinstance(call_id, str):
            session = self._server.registry.session(self._connection.org, call_id)
        if session is None or not self._may(session, frame):
            raise Refused("CALL_NOT_FOUND", f"this connection has no call `{call_id}`")
        return session

    def _may(self, session: Session, frame: Command) -> bool:
        """Return whether a command to a call may come from here: it is ours, or we made it ring."""
        if session.agent.connection is self._connection:
            return True
        hangs_up = isinstance(frame, commands.CallHangup)
        return hangs_up and getattr(session, "opener", None) is self._connection

    def _configure_session(self, frame: commands.SessionConfigure) -> None:
        session = self._server.registry.session(self._connection.org, frame.session_id)
        if session is None or session.agent.connection is not self._connection:
            message = f"this connection has no call `{frame.session_id}`"
            raise Refused("CALL_NOT_FOUND", message, call_id=frame.session_id)
        patch = payload_of(frame)
        if session.agent.line is not None:
            phone_lines.refuse_model(patch)
        check(patch)
        session.configure(patch)
        id = session.call_id
        answer = events.SessionConfigured(agent_id=session.agent.slug, call_id=id, session_id=id)
        self._connection.send(answer)

    def _dial(self, frame: commands.CallDial) -> None:
        dialling.dial(self._server, self._connection, frame)

    def _pause(self, frame: commands.SessionPause) -> None:
        handoff.pause(self._server, self._agent(frame.agent_id), frame)

    def _resume(self, frame: commands.SessionResume) -> None:
        handoff.resume(self._server, self._agent(frame.agent_id), frame)

    def _human(self, frame: commands.SessionSend) -> None:
        handoff.send(self._server, self._agent(frame.agent_id), frame)

    def _bridge(self, frame: commands.CallBridge) -> None:
        bridging.bridge(self._server, self._connection, frame)

    def _chat(self, frame: commands.LlmChat) -> None:
        llm_chat.receive(self._server, self._connection, frame)

    # --- the rest ---

    def _ping(self, frame: commands.Ping) -> None:
        self._connection.send(events.Pong(timestamp=self._server.wall()))

    def _nothing(self, frame: Command) -> None:
        """Take note alone: that something was heard has been noted already."""

    def _connect(self, frame: commands.Connect) -> None:
        raise Refused("ALREADY_CONNECTED", "this connection has said `connect` before")

    # --- phone lines ---

    def _create_line(self, frame: commands.LineCreate) -> None:
        self._claims.claim(phone_lines.wish_of(frame))

    def _destroy_line(self, frame: commands.LineDestroy) -> None:
        line = phone_lines.line_of(self._connection, frame.number)
        if line is not None:
            self._server.registry.remove(line)
        self._connection.send(events.LineDestroyed(number=frame.number))

    def _route(self, frame: commands.CallRoute) -> None:
        routing.route(self._server, self._session(frame), frame)


Handler = Callable[[Dispatch, Any], None]

HANDLERS: Mapping[type[Any], Handler] = {
    commands.AgentCreate: Dispatch._create,
    commands.AgentConfigure: Dispatch._configure,
    commands.AgentRemove: Dispatch._remove,
    commands.AgentResume: Dispatch._resume_agent,
    commands.ChannelAdd: Dispatch._add_channel,
    commands.ChannelConfigure: Dispatch._configure_channel,
    commands.ChannelRemove: Dispatch._remove_channel,
    commands.DevConfig: Dispatch._dev_config,
    commands.SessionConfigure: Dispatch._configure_session,
    commands.CallDial: Dispatch._dial,
    commands.CallBridge: Dispatch._bridge,
    commands.SessionPause: Dispatch._pause,
    commands.SessionResume: Dispatch._resume,
    commands.SessionSend: Dispatch._human,
    commands.LlmChat: Dispatch._chat,
    commands.Ping: Dispatch._ping,
    commands.Pong: Dispatch._nothing,
    commands.Connect: Dispatch._connect,
    commands.LineCreate: Dispatch._create_line,
    commands.LineDestroy: Dispatch._destroy_line,
    commands.CallRoute: Dispatch._route,
}
"""Commands that are not of one call; those that are go to the call."""


LATE = commands.BotReplyStream | commands.LlmToolResult | commands.LlmReady
"""What applications send of calls that may have ended meanwhile, and cannot know of."""


def check(payload: Mapping[str, Any]) -> None:
    """Let a configuration pass, or refuse it with everything that is wrong with it."""
    wrong = [refusal for _, refusal in refusals(payload)]
    if wrong:
        raise refused(wrong)


def channel_ref(ref: str) -> str:
    """Return a channel's ref in its normal form; what is no number is taken as it is."""
    try:
        return normalise_number(ref)
    except ConfigRefused:
        return ref
