"""What an agent can do once a client has registered it: its channels, its sessions, its calls."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.tokens import Channel, Scope, Token

if TYPE_CHECKING:  # the SDK builds on this layer; only what its names mean is looked up there
    from pinecall_cli.sdk.call import Call
    from pinecall_cli.sdk.streams import EventStream


class Wire(Protocol):
    """How an agent reaches its server; the client implements it."""

    @property
    def embedded(self) -> bool:
        """Whether the server is the embedded one, which reads ``local``."""
        ...

    def configure(self, agent: Any, patch: Mapping[str, Any]) -> None:
        """Send ``agent.configure`` with the payload keys that changed."""
        ...

    def dial(self, to: str, **options: Any) -> Awaitable[Call]:
        """Send ``call.dial``; what it returns is over when somebody has answered."""
        ...

    def bridge(self, target: str, **options: Any) -> Awaitable[Call]:
        """Send ``call.bridge``; what it returns is over when the call has begun."""
        ...

    def add_channel(self, channel: Mapping[str, Any]) -> Awaitable[None]:
        """Send ``channel.add``; ``channel`` has ``type`` and, where there is one, ``ref``."""
        ...

    def remove_channel(self, kind: str, ref: str) -> Awaitable[None]:
        """Send ``channel.remove``."""
        ...

    def configure_session(self, session_id: str, config: Mapping[str, Any]) -> Awaitable[None]:
        """Send ``session.configure``."""
        ...

    def takeover(self, what: str, **about: str | None) -> Awaitable[None]:
        """Send ``session.pause``, ``session.resume`` or ``session.send``."""
        ...

    def route_callers(self, numbers: Iterable[str]) -> None:
        """Send ``dev.config``."""
        ...

    def call(self, call_id: str) -> Call | None:
        """Return a live call of the agent's."""
        ...

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        """Send a frame in the agent's name."""
        ...

    def create_token(self, channel: Channel, **about: Any) -> Awaitable[Token]:
        """Mint a token for the agent."""
        ...

    def stream(self, *, allowed_origins: Iterable[str], tool_results: bool) -> EventStream:
        """Return the agent's events as an endpoint of a web application."""
        ...


class Reach:
    """The half of `Agent` that speaks to its server.

    All of it raises `UsageError` while the agent is not registered with a client. What is
    awaitable is sent at once, and awaited only by who wants to know how it went.
    """

    wire: Wire | None
    name: Any

    @property
    def _wire(self) -> Wire:
        if self.wire is None:
            raise UsageError(
                f"`{self.name}` is not registered",
                fix="give it to a client: `Pinecall().run(agent)` or `client.add(agent)`",
            )
        return self.wire

    # --- calls ---

    def dial(
        self,
        to: str,
        *,
        from_: str | None = None,
        greeting: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        detect_turn_end: bool = False,
    ) -> Awaitable[Call]:
        """Call a number. Awaited, it gives the `Call` once somebody has answered.

        Args:
            to: The number, E.164.
            from_: The number to call from; the agent's only one, if left out.
            greeting: What is said first, once they have answered.
            metadata: Becomes the call's metadata.
            config: Configuration of this call alone.
            detect_turn_end: Let them speak first.

        Raises:
            DialError: If nobody takes the call: busy, no-answer, rejected, failed, timeout…
            UsageError: If the agent is not registered, or ``from_`` is needed.
        """
        return self._wire.dial(
            to,
            from_=from_,
            greeting=greeting,
            metadata=metadata,
            config=config,
            detect_turn_end=detect_turn_end,
        )

    def bridge(
        self,
        target: str,
        *,
        greeting: str | None = None,
        config: Mapping[str, Any] | None = None,
        media: Mapping[str, bool] | None = None,
        metadata: Mapping[str, Any] | None = None,
        detect_turn_end: bool = True,
    ) -> Awaitable[Call]:
        """Call another agent (commands.md §9.3). Awaited, it gives this side's `Call`.

        Args:
            target: The other agent's name; it must be connected, in the same organisation.
            greeting: What this agent says first.
            config: Configuration of this call alone.
            media: ``live`` to let it be heard, ``recording`` to keep it.
            metadata: Becomes the call's metadata.
            detect_turn_end: Let the other one speak first.

        Raises:
            DialError: If the call does not come about.
        """
        return self._wire.bridge(
            target,
            greeting=greeting,
            config=config,
            media=media,
            metadata=metadata,
            detect_turn_end=detect_turn_end,
        )

    def call(self, call_id: str) -> Call | None:
        """Return the agent's live call or chat of that id; None if there is none."""
        return None if self.wire is None else self.wire.call(call_id)

    # --- channels ---

    def add_phone_number(self, number: str, **overrides: Any) -> Awaitable[None]:
        """Answer one more number, with what is different on it: voice, language, ringing…

        Raises:
            ConflictError: If another live agent has the number.
        """
        return self._wire.add_channel({"type": "phone", "ref": number, **overrides})

    def remove_phone(self, number: str) -> Awaitable[None]:
        """Answer a number no more; calls that are going on stay."""
        return self._wire.remove_channel("phone", number)

    def add_whatsapp(
        self,
        phone_number_id: str,
        access_token: str,
        *,
        verify_token: str | None = None,
        app_secret: str | None = None,
        phone: str | None = None,
        **overrides: Any,
    ) -> Awaitable[None]:
        """Answer on a WhatsApp number (config.md §12.2).

        Args:
            phone_number_id: Meta's id of the number.
            access_token: Meta's, to send with.
            verify_token: What the webhook's challenge names.
            app_secret: What notifications are signed with; without it anybody can write.
            phone: The public number, E.164.
            overrides: What is different on this channel.
        """
        optional = {"verifyToken": verify_token, "appSecret": app_secret, "phone": phone}
        given = {key: value for key, value in optional.items() if value is not None}
        channel = {"type": "whatsapp", "ref": phone_number_id, "accessToken": access_token}
        return self._wire.add_channel({**channel, **given, **overrides})

    def remove_whatsapp(self, phone_number_id: str) -> Awaitable[None]:
        """Answer on a WhatsApp number no more."""
        return self._wire.remove_channel("whatsapp", phone_number_id)

    def add_webrtc(self, **overrides: Any) -> Awaitable[None]:
        """Say what is different in calls from browsers, which need no adding (config.md §12.3)."""
        return self._wire.add_channel({"type": "webrtc", **overrides})

    def add_chat(self, **overrides: Any) -> Awaitable[None]:
        """Say what is different in chats, which need no adding."""
        return self._wire.add_channel({"type": "chat", **overrides})

    def route_callers(self, numbers: Iterable[str]) -> None:
        """Let calls and messages from these numbers come to this process's agents.

        It replaces the numbers named before, for all agents of the client.
        """
        self._wire.route_callers(numbers)

    # --- sessions ---

    def configure_session(self, session_id: str, **config: Any) -> Awaitable[None]:
        """Change one live session alone; the keys are those of `Agent`."""
        return self._wire.configure_session(session_id, config)

    def pause(
        self, session_id: str | None = None, *, contact: str | None = None
    ) -> Awaitable[None]:
        """Let a person answer: in a session, for a contact, or (neither named) everywhere.

        What is written and said goes on being told; the model does not answer it.
        """
        return self._wire.takeover("session.pause", session_id=session_id, contact=contact)

    def resume(
        self, session_id: str | None = None, *, contact: str | None = None
    ) -> Awaitable[None]:
        """Let the model answer again; with neither named, everywhere."""
        return self._wire.takeover("session.resume", session_id=session_id, contact=contact)

    def send_message(
        self, text: str, *, session_id: str | None = None, contact: str | None = None
    ) -> Awaitable[None]:
        """Send what a person wrote, as the agent's own words.

        Args:
            text: The message.
            session_id: The session it goes out through.
            contact: Who it is for, where the session is over.
        """
        return self._wire.takeover(
            "session.send", text=text, session_id=session_id, contact=contact
        )

    def send(self, event: str, **fields: Any) -> None:
        """Send a frame in the agent's name, for what has no method of its own."""
        self._wire.send(event, fields)

    # --- the application around it ---

    def create_token(
        self,
        channel: Channel,
        metadata: Mapping[str, Any] | None = None,
        scope: Scope | None = None,
        call_id: str | None = None,
    ) -> Awaitable[Token]:
        """Mint a token for a page that calls the agent, writes to it, or reads its call log.

        It waits until the agent is registered. See `Pinecall.create_token` for arguments and
        errors, and `Pinecall.token_endpoint` for an endpoint that pages ask.
        """
        return self._wire.create_token(channel, metadata=metadata, scope=scope, call_id=call_id)

    def stream(
        self, *, allowed_origins: Iterable[str] = (), tool_results: bool = False
    ) -> EventStream:
        """Return the events of the agent's calls, as an ASGI endpoint and async iterator.

        See `Pinecall.stream`, also for the arguments; it serves before the agent has a client, too.
        """
        return self._wire.stream(allowed_origins=allowed_origins, tool_results=tool_results)
