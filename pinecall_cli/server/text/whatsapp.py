"""WhatsApp without an account: contacts' sessions, and an outbox in Meta's place (sessions.md §8).

What contacts write comes in by the webhook; what agents answer is put into a local outbox,
where whoever runs the server sees it, and never leaves this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.protocol.ids import WHATSAPP_PREFIX, message_id
from pinecall_cli.server.agents.registry import Channel, Refused, RegisteredAgent
from pinecall_cli.server.dialogue.conversation import Conversation

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer

IDLE_S = 2 * 3600.0
"""Without a message either way, before a session ends."""
WINDOW_S = 24 * 3600.0
"""After a contact's last message, in which WhatsApp lets a business write freely."""
LONGEST_TEXT = 4096
"""Characters of one WhatsApp message; a longer answer goes out as several."""
WAITING = 32
KEPT = 1_000
"""Messages in the outbox, and contacts whose last message is remembered."""
SEEN = 10_000
"""Ids of messages that came in: Meta sends one again when it was not answered in time."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a contact wrote or sent."""

    id: str
    contact: str
    """Meta's form: digits, no ``+``."""
    name: str
    type: str
    """``text``, ``audio``, ``image``, ``video`` or ``document``."""
    text: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that would have gone to Meta."""

    id: str
    org: str
    agent: str
    """Slug."""
    session_id: str
    to: str
    text: str
    at: float
    """Epoch seconds."""


class Exchange:
    """The WhatsApp side of one server: who wrote when, and what waits in the outbox."""

    def __init__(self, server: VoiceServer) -> None:
        self._server = server
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._last: OrderedDict[tuple[str, str, str], tuple[float, str, str]] = OrderedDict()
        """By organisation, agent and contact: when they wrote last, their name, the channel."""
        self.outbox: deque[Outgoing] = deque(maxlen=KEPT)
        self.watchers: list[Callable[[Outgoing], None]] = []
        """Told of every message that goes out."""

    def receive(self, agent: RegisteredAgent, channel: Channel, message: Incoming) -> None:
        """Take a contact's message, once; it opens a session if there is none.

        Raises:
            Refused: If too many wait to be answered.
        """
        if message.id in self._seen:
            return
        self._seen[message.id] = None
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        key = agent.org.id, agent.slug, message.contact
        self._last[key] = self._server.wall(), message.name, channel.ref or ""
        self._last.move_to_end(key)
        while len(self._last) > KEPT:
            self._last.popitem(last=False)
        session = self.session_of(agent, message.contact)
        if session is None:
            session = WhatsAppSession(self._server, agent, channel, message.contact, message.name)
            session.begin()
        session.take(message)

    def session_of(self, agent: RegisteredAgent, contact: str) -> WhatsAppSession | None:
        """Return the live session of an agent and a contact."""
        for session in agent.sessions.values():
            if isinstance(session, WhatsAppSession) and session.contact == contact:
                return session
        return None

    def reopened(self, agent: RegisteredAgent, contact: str) -> WhatsAppSession | None:
        """Return a new session with a contact who wrote in the last 24 h; None for any other.

        Raises:
            Refused: If the 24 h are over: WhatsApp would not deliver.
        """
        digits = "".join(char for char in contact if char.isdigit())
        found = self._last.get((agent.org.id, agent.slug, digits))
        if found is None:
            return None
        at, name, ref = found
        channel = agent.channel("whatsapp", ref)
        if channel is None:
            return None
        if self._server.wall() - at > WINDOW_S:
            raise Refused("WINDOW_EXPIRED", f"{digits} wrote last more than 24 hours ago")
        session = WhatsAppSession(self._server, agent, channel, digits, name, wrote=at)
        session.begin()
        return session

    def status(self, agent: RegisteredAgent, *, recipient: str, status: str, message: str) -> None:
        """Tell an agent's owner what became of a message that went out."""
        event = events.WhatsappStatus(status=status, recipient=recipient, message_id=message)
        session = self.session_of(agent, recipient)
        outlet = None if session is None else self._server.outlet_of(session)
        if outlet is not None:
            outlet.emit(event)

    def send(self, session: WhatsAppSession, text: str) -> str:
        """Put a message into the outbox, in as many pieces as it takes; return the last's id."""
        id = ""
        for start in range(0, len(text), LONGEST_TEXT):
            id = f"wamid.{secrets.token_hex(16)}"
            sent = Outgoing(
                id=id,
                org=session.agent.org.id,
                agent=session.agent.slug,
                session_id=session.call_id,
                to=session.contact,
                text=text[start : start + LONGEST_TEXT],
                at=self._server.wall(),
            )
            self.outbox.append(sent)
            for watcher in tuple(self.watchers):
                watcher(sent)
        return id


class WhatsAppSession:
    """One contact's conversation with one agent (a `Session`)."""

    def __init__(
        self,
        server: VoiceServer,
        agent: RegisteredAgent,
        channel: Channel,
        contact: str,
        name: str,
        *,
        wrote: float | None = None,
    ) -> None:
        """``wrote`` is when the contact wrote last, in epoch seconds; None for now."""
        self.call_id = WHATSAPP_PREFIX + secrets.token_hex(6)
        self.agent, self.contact, self._name = agent, contact, name
        self._server = server
        self._outlet = server.outlet(agent, self.call_id)
        self._config = agent.config_for("whatsapp", channel.ref)
        self.conversation = Conversation(
            config=self._config,
            channel="whatsapp",
            model=server.choose_model(self._config.get("llm")),
            emit=self._outlet.emit,
            now=lambda: datetime.fromtimestamp(server.wall(), UTC),
            metadata={"phone": contact, "name": name},
            taken_over=lambda: agent.takeover.paused(self.call_id, contact),
        )
        self._messages: asyncio.Queue[Incoming] = asyncio.Queue(WAITING)
        self._reason = "hangup"
        self._turn = 0
        self._count = 0
        self._started_at = server.wall()
        now = asyncio.get_running_loop().time()
        since = 0.0 if wrote is None else max(0.0, server.wall() - wrote)
        self._active_at, self._wrote_at = now, now - since
        self._task: asyncio.Task[None] | None = None

    # --- its life ---

    def begin(self) -> None:
        """Put the session on the books and announce it."""
        self._server.registry.opened(self)
        self.reannounce()
        self._task = self._server.spawn(self._run(), f"whatsapp {self.call_id}")
        self._task.add_done_callback(lambda _: self._over())

    def reannounce(self) -> None:
        """Say to the owner what this session is."""
        self._outlet.emit(
            events.WhatsappSessionStarted(contact_phone=self.contact, contact_name=self._name)
        )

    def end(self, reason: str) -> None:
        """End the session now; what is being answered is given up."""
        if self._task is not None and not self._task.done():
            self._reason = reason
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                idle, window = self._active_at + IDLE_S, self._wrote_at + WINDOW_S
                try:
                    async with asyncio.timeout_at(min(idle, window)):
                        message = await self._messages.get()
                except TimeoutError:
                    if loop.time() >= self._wrote_at + WINDOW_S:
                        self._reason = "window_expired"
                        return
                    if loop.time() >= self._active_at + IDLE_S:
                        self._reason = "idle_timeout"
                        return
                else:
                    await self._answer(message)
        finally:
            await self.conversation.aclose()

    def _over(self) -> None:
        ended_at = self._server.wall()
        spoken = [
            {"role": message["role"], "content": message["content"]}
            for message in self.conversation.history
            if message.get("role") in ("user", "assistant") and message.get("content")
        ]
        self._outlet.emit(
            events.WhatsappSessionEnded(
                contact_phone=self.contact,
                contact_name=self._name,
                transcript=spoken,
                messages=list(self.conversation.history),
                started_at=self._started_at,
                ended_at=ended_at,
                duration=round(ended_at - self._started_at, 3),
                reason=self._reason,
                message_count=self._count,
            )
        )
        self._server.registry.closed(self)

    # --- what arrives ---

    def take(self, message: Incoming) -> None:
        """Take a message of the contact's; it is answered after those before it.

        Raises:
            Refused: If too many wait.
        """
        if self._messages.full():
            raise Refused("TOO_MANY_MESSAGES", "too many messages wait for an answer")
        self._wrote_at = self._active_at = asyncio.get_running_loop().time()
        self._count += 1
        self._outlet.emit(
            events.WhatsappMessage(
                from_=message.contact,
                name=message.name,
                type=message.type,
                text=message.text,
                message_id=message.id,
                paused=self.conversation.paused,
            )
        )
        if self.conversation.model is None or self.conversation.paused:
            self.conversation.add("user", worded(message))  # now: a person may answer at once
        else:
            self._messages.put_nowait(message)

    def inject(self, text: str) -> None:
        """Take text as if the contact had written it."""
        self.take(Incoming(message_id(), self.contact, self._name, "text", text))

    def human(self, text: str) -> None:
        """Send what a person wrote in the agent's place."""
        self.conversation.add("assistant", text)
        self._send(text, source="human")

    def handle(self, command: Command) -> None:
        """Obey a command of the agent's owner."""
        match command:
            case commands.BotReply(text=text):
                self.conversation.add("assistant", text)
                self._send(text)
            case commands.CallHangup():
                self.end("hangup")
            case _:
                if not self.conversation.handle(command):
                    name = str(type(command).__struct_config__.tag)
                    raise Refused("NOT_SUPPORTED", f"`{name}` means nothing on WhatsApp")

    def configure(self, patch: Mapping[str, Any]) -> None:
        """Change this session alone, from the next message on."""
        model = self.conversation.model
        if "llm" in patch:
            model = self._server.choose_model(patch["llm"])
        self._config = merge_payload(self._config, patch)
        self.conversation.configure(patch, model)

    def payload_changed(self, patch: Mapping[str, Any]) -> None:
        """Hear of the agent's new configuration: it is for sessions to come (flows.md §7)."""

    # --- answering ---

    async def _answer(self, message: Incoming) -> None:
        text = worded(message)
        self._turn += 1
        said = ""
        async with contextlib.aclosing(self.conversation.answer(text, turn=self._turn)) as pieces:
            async for piece in pieces:
                said += piece
        self.conversation.confirm(said)
        if said:
            self._send(said)

    def _send(self, text: str, source: str | None = None) -> None:
        self._active_at = asyncio.get_running_loop().time()
        self._count += 1
        sent = self._server.whatsapp.send(self, text)
        response: Event = events.WhatsappResponse(
            to=self.contact, text=text, source=UNSET if source is None else source
        )
        self._outlet.emit(response)
        self._outlet.emit(
            events.WhatsappStatus(status="sent", recipient=self.contact, message_id=sent)
        )


def worded(message: Incoming) -> str:
    """Return what a model is told of a message: its text, and of what kind it is if not text."""
    return message.text if message.type == "text" else f"[{message.type}] {message.text}".strip()
