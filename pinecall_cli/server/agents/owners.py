"""Who owns calls: an agent, or a phone line; and the channels by which it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pinecall_cli.protocol.config import effective
from pinecall_cli.protocol.ids import line_owner, slugify
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.takeover import Takeover

if TYPE_CHECKING:
    from pinecall_cli.server.agents.registry import Connection
    from pinecall_cli.server.agents.sessions import Session


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach an agent, with what its configuration says differently."""

    type: str
    ref: str | None
    """The number in its normal form, or the provider's id; None for webrtc and chat."""
    payload: Mapping[str, Any]
    ringing: bool = False
    verify_token: str | None = field(default=None, repr=False)
    """WhatsApp: what the webhook's challenge must name; None for the usual one."""
    app_secret: str | None = field(default=None, repr=False)
    """WhatsApp: what notifications are signed with; None to take them unsigned."""
    phone: str | None = None
    """WhatsApp: the public number."""


@dataclass(frozen=True, slots=True)
class PhoneLine:
    """What makes an owner of calls a phone line: it has a number, and code instead of a model."""

    number: str
    """In its normal form."""
    extension_window_ms: float
    """How long callers may key in an extension before the line hears of the call."""


@dataclass(eq=False)
class RegisteredAgent:
    """An agent someone registered, until its socket is gone (and its sessions have ended).

    A phone line is one too, with a `line`: it owns its calls as an agent does.
    """

    org: Organisation
    slug: str
    """What its events are stamped with: ``line:<number>`` for a line."""
    agent_id: str
    """The id, or the line's number, as the owner typed it."""
    connection: Connection | None
    """None while the socket is lost and sessions live on."""
    payload: dict[str, Any]
    allowed_origins: tuple[str, ...]
    since: float
    """Epoch seconds of the registration."""
    channels: dict[tuple[str, str | None], Channel] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    takeover: Takeover = field(default_factory=Takeover)
    """Which of its sessions a person answers."""
    losses: int = 0
    """How often its socket was lost: tells one loss from the next."""
    removed: bool = False
    """True once it takes no new calls: removed, kicked or displaced."""
    line: PhoneLine | None = None
    """None for an agent."""

    @property
    def online(self) -> bool:
        """Whether new sessions may be opened on it."""
        return self.connection is not None and not self.removed

    @property
    def dev(self) -> bool:
        """Whether it is a developer's twin: reached by dev callers, never instead of production."""
        routed = self.connection is not None and bool(self.connection.dev_callers)
        return routed or self.slug.startswith("dev-")

    @property
    def language(self) -> str | None:
        """The language of its own, whatever channels and calls say."""
        language = self.payload.get("language")
        return language if isinstance(language, str) else None

    @property
    def numbers(self) -> tuple[str, ...]:
        """The phone numbers it answers."""
        return tuple(ref for kind, ref in self.channels if kind == "phone" and ref is not None)

    def channel(self, type: str, ref: str | None = None) -> Channel | None:
        """Return its channel of that kind and number, if it was added."""
        return self.channels.get((type, ref))

    def config_for(self, type: str, ref: str | None = None) -> dict[str, Any]:
        """Return the configuration of a session on a channel: its own over the agent's."""
        channel = self.channel(type, ref)
        return effective(self.payload, {} if channel is None else channel.payload)


class Registration(NamedTuple):
    """What `agent.create`, `agent.resume` or `line.create` asks for."""

    agent_id: str
    """As the user typed it; the number of a line."""
    payload: Mapping[str, Any]
    allowed_origins: tuple[str, ...] = ()
    line: PhoneLine | None = None
    resumes: bool = False
    """Whether the agent is wanted with the configuration that it has."""

    @property
    def slug(self) -> str:
        """Return the name that is to be registered; empty if it is none."""
        return slugify(self.agent_id) if self.line is None else line_owner(self.line.number)
