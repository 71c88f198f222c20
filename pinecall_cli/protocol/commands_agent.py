"""Commands about a connection: handshake, agents, channels, lines, a session's configuration."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.frames import (
    Command,
    Frame,
    JsonObject,
    MaybeBool,
    MaybeObject,
    MaybeStr,
)
from pinecall_cli.protocol.payload import ConfigPayload


class ClientInfo(Frame):
    """Who connects; a conflict error of our server repeats it as ``holder``."""

    name: MaybeStr = UNSET
    version: MaybeStr = UNSET
    pid: int | UnsetType = UNSET


class Connect(Command, tag="connect"):
    """The first frame of every connection."""

    api_key: str
    """An empty key is refused."""
    client: ClientInfo | UnsetType = UNSET


class Ping(Command, tag="ping"):
    """Sent every 30 s; keeps a registration alive for 45 s."""


class Pong(Command, tag="pong"):
    """The answer to a server's ``ping``."""


class AgentCreate(ConfigPayload, tag="agent.create"):
    """Register an agent, or replace the configuration of one's own."""

    agent_id: str
    """As the user typed it; the server makes the slug."""
    allowed_origins: list[str] | UnsetType = UNSET
    """Browser origins that may mint tokens; in this frame alone."""


class AgentConfigure(ConfigPayload, tag="agent.configure"):
    """Change an agent for the sessions to come; absent keys stay."""

    agent_id: str


class AgentResume(Command, tag="agent.resume"):
    """Take an agent over with the configuration that the server still has of it."""

    agent_id: str


class AgentRemove(Command, tag="agent.remove"):
    """Take an agent out: no new calls, live ones end in their time. Ours."""

    agent_id: str


class ChannelAdd(ConfigPayload, tag="channel.add"):
    """Add a channel, or replace the configuration of one with the same type and ref."""

    agent_id: str
    type: str
    """``phone``, ``webrtc``, ``chat`` or ``whatsapp``."""
    ref: MaybeStr = UNSET
    """Number as typed, ``sip:`` URI, or Meta's phone-number id; none for webrtc and chat."""
    ringing: MaybeBool = UNSET
    """Phone: calls wait for ``call.accept``."""
    access_token: MaybeStr = msgspec.field(default=UNSET, name="accessToken")
    verify_token: MaybeStr = msgspec.field(default=UNSET, name="verifyToken")
    app_secret: MaybeStr = msgspec.field(default=UNSET, name="appSecret")
    phone: MaybeStr = UNSET
    """WhatsApp: the public number, E.164."""


class ChannelConfigure(ConfigPayload, tag="channel.configure"):
    """Change a channel's configuration; absent keys stay."""

    agent_id: str
    ref: MaybeStr = UNSET
    type: MaybeStr = UNSET


class ChannelRemove(Command, tag="channel.remove"):
    """Give a channel up."""

    agent_id: str
    ref: MaybeStr = UNSET
    type: MaybeStr = UNSET


class DevConfig(Command, tag="dev.config"):
    """Route these callers to this connection's agents; replaces the list before it."""

    callers: list[str]
    """E.164."""


class SessionConfigure(ConfigPayload, tag="session.configure"):
    """Change one call from its next utterance or turn on.

    ``call.update`` of an SDK sends whatever its user passed, so the camelCase spellings are here
    too; ``payload.payload_of`` reads them all as one.
    """

    session_id: str
    prompt_vars: MaybeObject = msgspec.field(default=UNSET, name="promptVars")
    raw_prompt_camel: MaybeBool = msgspec.field(default=UNSET, name="rawPrompt")
    session_limits_camel: MaybeObject = msgspec.field(default=UNSET, name="sessionLimits")
    knowledge_base_camel: str | list[str] | UnsetType = msgspec.field(
        default=UNSET, name="knowledgeBase"
    )


class LineConfig(Frame):
    """How a phone line hears and speaks."""

    stt: str | JsonObject | UnsetType = UNSET
    voice: str | JsonObject | UnsetType = UNSET
    language: MaybeStr = UNSET
    turn_detection: str | JsonObject | UnsetType = UNSET
    extension_window_ms: int | float = 2500
    """How long callers may key in an extension; 0 switches it off."""
    llm: Any = UNSET
    """This and what follows is refused: a line has no model."""
    prompt: Any = UNSET
    tools: Any = UNSET
    greeting: Any = UNSET


class LineCreate(Command, tag="line.create"):
    """Take a phone line over."""

    number: str
    """Normalised E.164, or a ``sip:`` URI."""
    config: LineConfig | UnsetType = UNSET


class LineDestroy(Command, tag="line.destroy"):
    """Give a phone line up."""

    number: str
