"""WhatsApp without an account: contacts' sessions, and an outbox in Meta's place (sessions.md §8).

What contacts write comes in by the webhook; what agents answer is put into a local outbox,
where whoever runs the server sees it, and never leaves this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.protocol.ids import WHATSAPP_PREFIX, message_id
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.registry import Channel, Refused, RegisteredAgent
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.text.messages import Incoming, Outgoing, Remembered, Status

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer

IDLE_S = 2 * 3600.0
"""Without a message either way, before a session ends."""
WINDOW_S = 24 * 3600.0
"""After a contact's last message, in which WhatsApp lets a business write freely."""
LONGEST_TEXT = 4096
"""Characters of one WhatsApp message; a longer answer goes out as several."""
WAITING = 32


class Exchange:
    """The WhatsApp side of one server: who wrote when, and what waits in the outbox."""

    def __init__(self, server: VoiceServer) -> None:
        self._server = server
        self._remembered: defaultdict[str, Remembered] = defaultdict(Remembered)
        """By organisation."""
        self._live: dict[RegisteredAgent, dict[str, WhatsAppSession]] = {}
        """By agent and contact: the sessions that take messages."""
        self.watchers: list[Callable[[Outgoing], None]] = []
        """Told of every message that goes out."""

    def outbox(self, org: Organisation) -> tuple[Outgoing, ...]:
        """Return the newest messages of an organisation that went out, the last one last."""
        return tuple(self._remembered[org.id].outbox)

    def receive(self, agent: RegisteredAgent, channel: Channel, message: Incoming) -> None:
        """Take a contact's message, once; it opens a session if there is none.

        Raises:
            Refused: If too many wait to be answered, or no session may be opened.
        """
        known = self._remembered[agent.org.id]
        if known.note(agent.slug, message, self._server.wall(), channel.ref or ""):
            self._session_with(agent, channel, message.contact, message.name).take(message)

    def session_of(self, agent: RegisteredAgent, contact: str) -> WhatsAppSession | None:
        """Return the live session of an agent and a contact."""
        return self._live.get(agent, {}).get(contact)

    def _session_with(
        self,
        agent: RegisteredAgent,
        channel: Channel,
        contact: str,
        name: str,
        wrote: float | None = None,
    ) -> WhatsAppSession:
        """Return the live session of an agent and a contact, or a new one.

        Raises:
            Refused: If no session may be opened.
        """
        session = self.session_of(agent, contact)
        if session is None:
            self._make_room(agent)
            session = WhatsAppSession(self._server, agent, channel, contact, name, wrote=wrote)
            session.begin()
            self._live.setdefault(agent, {})[contact] = session
        return session

    def _make_room(self, agent: RegisteredAgent) -> None:
        """See that an agent may have one session more: the one that rested longest ends for it.

        Not the newest contact is turned away: whoever fills an unsigned channel with invented
        senders would keep everybody else out for two hours.

        Raises:
            Refused: If none rests, or the server is stopping.
        """
        if self._server.draining:
            raise Refused("SERVER_STOPPING", "the server is stopping")
        live, most = self._live.get(agent, {}), self._server.limits.whatsapp_sessions
        if len(live) < most:
            return
        resting = [session for session in live.values() if session.resting]
        if not resting:
            raise Refused("TOO_MANY_SESSIONS", f"{most} WhatsApp sessions are busy: none is opened")
        min(resting, key=lambda session: session.active_at).end("idle_timeout")

    def left(self, session: WhatsAppSession) -> None:
        """Note that a session takes no more messages."""
        live = self._live.get(session.agent, {})
        if live.get(session.contact) is session:
            del live[session.contact]
            if not live:
                del self._live[session.agent]

    def reopened(self, agent: RegisteredAgent, contact: str) -> WhatsAppSession | None:
        """Return a session with a contact who wrote in the last 24 h; None for any other.

        Raises:
            Refused: If the 24 h are over: WhatsApp would not deliver. Or no session may be opened.
        """
        digits = "".join(char for char in contact if char.isdigit())
        found = self._remembered[agent.org.id].last.get((agent.slug, digits))
        if found is None:
            return None
        at, name, ref = found
        channel = agent.channel("whatsapp", ref)
        if channel is None:
            return None
        if self._server.wall() - at > WINDOW_S:
            raise Refused("WINDOW_EXPIRED", f"{digits} wrote last more than 24 hours ago")
        return self._session_with(agent, channel, digits, name, wrote=at)

    def status(self, agent: RegisteredAgent, told: Status) -> None:
        """Tell an agent's owner what became of a message that went out."""
        session = self.session_of(agent, told.recipient)
        outlet = None if session is None else self._server.outlet_of(session)
        if outlet is not None:
            event = events.WhatsappStatus(
                status=told.status, recipient=told.recipient, message_id=told.id
            )
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
            self._remembered[sent.org].outbox.append(sent)
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
        self._wrote_at = now - since
        self.active_at = now
        """When a message went either way last, on the loop's clock."""
        self._answering = False
        self._task: asyncio.Task[None] | None = None

    @property
    def resting(self) -> bool:
        """Whether nothing waits for an answer, and no person has taken it over."""
        busy = self._answering or not self._messages.empty()
        return not busy and not self.conversation.paused

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
            self._server.whatsapp.left(self)
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                idle, window = self.active_at + IDLE_S, self._wrote_at + WINDOW_S
                try:
                    async with asyncio.timeout_at(min(idle, window)):
                        message = await self._messages.get()
                except TimeoutError:
                    if loop.time() >= self._wrote_at + WINDOW_S:
                        self._reason = "window_expired"
                        return
                    if loop.time() >= self.active_at + IDLE_S:
                        self._reason = "idle_timeout"
                        return
                else:
                    self._answering = True
                    await self._answer(message)
                    self._answering = False
        finally:
            self._server.whatsapp.left(self)
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
        self._wrote_at = self.active_at = asyncio.get_running_loop().time()
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
        said = said.rstrip("\n")
        self.conversation.confirm(said)
        if said:
            self._send(said)

    def _send(self, text: str, source: str | None = None) -> None:
        self.active_at = asyncio.get_running_loop().time()
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
