"""Events of a connection: handshake, heartbeat, registration of agents, channels and lines."""

from __future__ import annotations

from msgspec import UNSET

from pinecall_cli.protocol.frames import (
    Event,
    JsonObject,
    MaybeBool,
    MaybeFloat,
    MaybeNumber,
    MaybeStr,
)


class Connected(Event, tag="connected"):
    """The key was accepted; agents may be created now."""

    org_id: MaybeStr = UNSET
    connection_id: MaybeStr = UNSET
    protocol_version: MaybeStr = UNSET
    embedded: MaybeBool = UNSET
    """True from the embedded server: ``local:`` is folded in, ``/mic/ws`` is there."""


class Authenticated(Event, tag="authenticated"):
    """A courtesy of older servers; means nothing."""


class Ping(Event, tag="ping"):
    """The server asks whether the client is there; the answer is ``pong``, at once."""


class Pong(Event, tag="pong"):
    """The answer to a client's ``ping``."""

    timestamp: MaybeFloat = UNSET
    """Epoch seconds."""


class Error(Event, tag="error"):
    """Something was refused or failed; ``code`` decides what a client does about it."""

    error: str
    """Text for people; ``message`` is taken for it on arrival."""
    code: MaybeStr = UNSET
    phone: MaybeStr = UNSET
    """PHONE_IN_USE: the number exactly as it was sent."""
    holder_alive: MaybeBool = UNSET
    """AGENT_CONFLICT: whether the holder of the name answered a probe, or was heard just now."""
    retry_after_s: MaybeNumber = UNSET
    """AGENT_CONFLICT: seconds to wait before the next try."""
    holder: JsonObject | MaybeStr | None = UNSET
    """AGENT_CONFLICT_FATAL of our server: the ``client`` object of who holds the name."""
    used: MaybeNumber = UNSET
    """SERVER_AT_CAPACITY: registrations there are."""
    limit: MaybeNumber = UNSET
    """SERVER_AT_CAPACITY: registrations there may be."""


class AgentCreated(Event, tag="agent.created"):
    """An agent is registered: calls may come."""

    agent_id: str


class AgentResumed(Event, tag="agent.resumed"):
    """As ``agent.created``, for a name whose earlier socket is gone."""

    agent_id: str


class AgentConfigured(Event, tag="agent.configured"):
    """An ``agent.configure`` was applied."""

    agent_id: str


class AgentDisplaced(Event, tag="agent.displaced"):
    """The agent was kicked, or another connection took its name."""

    agent_id: str
    reason: str = ""


class AgentRemoved(Event, tag="agent.removed"):
    """An ``agent.remove`` was applied: no new calls; live ones end in their time. Ours."""

    agent_id: str


class ChannelAdded(Event, tag="channel.added"):
    """A channel was added, or its configuration replaced."""

    agent_id: str
    type: str
    """``phone``, ``webrtc``, ``chat`` or ``whatsapp``."""
    ref: MaybeStr = UNSET
    """The number or WhatsApp id, exactly as it was sent."""


class ChannelConfigured(Event, tag="channel.configured"):
    """A ``channel.configure`` was applied."""

    agent_id: str
    ref: str


class ChannelRemoved(Event, tag="channel.removed"):
    """A channel is gone, on request or by the server's decision."""

    agent_id: str
    ref: MaybeStr = UNSET
    type: MaybeStr = UNSET
    reason: MaybeStr = UNSET


class LineCreated(Event, tag="line.created"):
    """A phone line is ours."""

    number: MaybeStr = UNSET
    """E.164; some servers send ``agent_id: "line:<number>"`` alone."""


class LineError(Event, tag="line.error"):
    """A phone line was refused or lost."""

    number: MaybeStr = UNSET
    code: str = "LINE_CONFIG_ERROR"
    """LINE_CONFLICT, LINE_CONFIG_ERROR, PHONE_NOT_IN_ORG or UNAUTHORIZED."""
    error: str = ""


class LineDestroyed(Event, tag="line.destroyed"):
    """A phone line was given up."""

    number: MaybeStr = UNSET
