"""A text session: one side writes, the agent's owner runs it.

Two audiences hear of it in words of their own: the owner of the agent through the session's
outlet (`chat.message`, `llm.tool_call`, `chat.response`), and whoever wrote, on the socket they
wrote on (`llm.chat.token`, `llm.chat.done`). One connection may be both. How sessions are opened
is in `llm_chat` (agent sockets) and `browser_chat`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import UNSET, UnsetType, structs

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import greeting_for, merge_payload
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.protocol.ids import message_id
from pinecall_cli.server.agents.registry import Connection, Refused, RegisteredAgent
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.dialogue.history import copied

WAITING = 32
"""Messages of one session that may wait for their turn."""


class Writer(Protocol):
    """Whoever writes into a text session, and is told what comes of it."""

    def send(self, event: Event) -> None:
        """Take an event of the sender's vocabulary (events.md §10.2); never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and who is to get the answer."""

    id: str
    text: str
    sender: Writer


class ChatSession:
    """One text session, from `llm.chat.started` to `llm.chat.ended` (a `Session`)."""

    def __init__(
        self,
        server: VoiceServer,
        agent: RegisteredAgent,
        call_id: str,
        opener: Writer,
        metadata: Mapping[str, Any],
        *,
        history: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Prepare a session; ``history`` is what was said before in its thread."""
        self.call_id, self.agent, self.opener = call_id, agent, opener
        self._server = server
        self._outlet = server.outlet(agent, call_id)
        self._config = agent.config_for("chat")
        self._metadata = dict(metadata)
        user = self._metadata.get("userId")
        self.contact = user if isinstance(user, str) else ""
        self.conversation = Conversation(
            config=self._config,
            channel="chat",
            model=server.choose_model(self._config.get("llm")),
            emit=self._emit,
            now=lambda: datetime.fromtimestamp(server.wall(), UTC),
            metadata=self._metadata,
            taken_over=lambda: agent.takeover.paused(call_id, self.contact),
        )
        self.conversation.history.extend(map(copied, history))
        self.reason = "chat_completed"
        """Why it ended, once it has."""
        self.ended = asyncio.Event()
        self._messages: asyncio.Queue[Message] = asyncio.Queue(WAITING)
        self._current: Message | None = None
        """The message that is being answered, or was answered last."""
        self._answering = False
        self._sender = opener
        self._turn = 0
        self._unanswered = False
        """Whether a message waits for a person to answer it."""
        self._failure: events.LlmError | None = None
        self._announced = False
        self._streams: dict[str, tuple[str, str]] = {}
        """By message id: what a reply stream answers, and its text so far."""
        self._reply: asyncio.Future[str] | None = None
        """The application's answer, while it is awaited."""
        self._started_at = server.wall()
        self._task: asyncio.Task[None] | None = None

    # --- its life ---

    def begin(self) -> None:
        """Put the session on the books, announce it, greet, and wait for messages."""
        self._server.registry.opened(self)
        self.reannounce()
        if self.opener is not self.agent.connection:
            self._tell(self._started())
        if not self.conversation.history:
            self._greet()
        self._task = self._server.spawn(self._run(), f"chat {self.call_id}")
        self._task.add_done_callback(lambda _: self._over())

    def reannounce(self) -> None:
        """Say to the owner what this session is."""
        self._announced = True
        self._outlet.emit(self._started())

    def end(self, reason: str) -> None:
        """End the session now; what is being answered is given up."""
        if self._task is not None and not self._task.done():
            self.reason = reason
            self._task.cancel()

    def _started(self) -> events.LlmChatStarted:
        return events.LlmChatStarted(
            metadata=self._metadata, language=self._language or UNSET, model=self._model or UNSET
        )

    @property
    def _language(self) -> str:
        spoken = self._metadata.get("lang") or self._config.get("language") or ""
        return str(spoken)

    @property
    def _model(self) -> str:
        return "" if self.conversation.model is None else self.conversation.model.name

    async def _run(self) -> None:
        try:
            while True:
                async with asyncio.timeout(self._server.limits.chat_idle_s):
                    self._current = await self._messages.get()
                self._sender, self._answering = self._current.sender, True
                await self._answer(self._current)
                self._answering = False
        except TimeoutError:
            self.reason = "idle_timeout"
        finally:
            await self.conversation.aclose()

    def _over(self) -> None:
        self._dismiss()
        ended_at = self._server.wall()
        self._outlet.emit(
            events.LlmChatEnded(
                messages=list(self.conversation.history),
                duration_seconds=round(ended_at - self._started_at, 3),
                reason=self.reason,
                started_at=self._started_at,
                ended_at=ended_at,
                metadata=self._metadata,
            )
        )
        self._server.registry.closed(self)
        self.ended.set()

    def _dismiss(self) -> None:
        """Tell everyone who waits for an answer that none will come; the owner knows why."""
        waiting = [self._sender] if self._answering else []
        while not self._messages.empty():
            waiting.append(self._messages.get_nowait().sender)
        code = "SERVER_STOPPING" if self.reason == "server_shutdown" else UNSET
        over = events.LlmChatError(error=f"the conversation has ended: {self.reason}", code=code)
        for self._sender in waiting:
            if self._sender is not self.agent.connection:
                self._tell(over)

    # --- what arrives ---

    def write(self, text: str, sender: Writer) -> None:
        """Take a message; it is answered after those before it.

        Raises:
            Refused: If it is empty, or too many wait.
        """
        text = text.strip()
        if not text:
            raise Refused("EMPTY_MESSAGE", "the message is empty")
        try:
            self._messages.put_nowait(Message(message_id(), text, sender))
        except asyncio.QueueFull:
            raise Refused("TOO_MANY_MESSAGES", "too many messages wait for an answer") from None

    def inject(self, text: str) -> None:
        """Take text as if whoever opened the session had written it.

        Raises:
            Refused: If it is empty, or too many messages wait.
        """
        self.write(text, self.opener)

    def human(self, text: str) -> None:
        """Send what a person wrote in the agent's place: it answers the messages that wait."""
        said = events.ChatResponse(text=text, message_id=message_id())
        self.conversation.add("assistant", text)
        self._outlet.emit(said)
        if self._unanswered:
            self._unanswered = False
            self._done(text, str(said.message_id))
        elif self._sender is not self.agent.connection:
            self._tell(said)

    def configure(self, patch: Mapping[str, Any]) -> None:
        """Change this session alone, from the next message on."""
        model = self.conversation.model
        if "llm" in patch:
            model = self._server.choose_model(patch["llm"])
        self._config = merge_payload(self._config, patch)
        self.conversation.configure(patch, model)

    def payload_changed(self, patch: Mapping[str, Any]) -> None:
        """Hear of the agent's new configuration: it is for sessions to come (flows.md §7)."""

    def handle(self, command: Command) -> None:
        """Obey a command of the agent's owner."""
        match command:
            case commands.BotReply(in_reply_to=answers):
                if self._fresh(command.message_id, answers):
                    remembered = bool(answers) or command.add_to_history is True
                    self._said(command.message_id, command.text, remembered=remembered)
            case commands.BotReplyStream():
                self._stream(command)
            case commands.BotCancel(message_id=message):
                for id in [id for id in self._streams if message in (UNSET, id)]:
                    self._drop(id)
            case commands.BotClear():
                for id in tuple(self._streams):
                    self._drop(id)
            case commands.CallHangup():
                self.end("hangup")
            case _:
                if not self.conversation.handle(command):
                    name = str(type(command).__struct_config__.tag)
                    raise Refused("NOT_SUPPORTED", f"`{name}` means nothing in a text session")

    # --- answering ---

    async def _answer(self, message: Message) -> None:
        self._turn += 1
        self._failure = None
        if not self._announced:
            self.reannounce()
        self._outlet.emit(events.ChatMessage(text=message.text, message_id=message.id))
        if self.conversation.paused:
            self.conversation.add("user", message.text)
            self._unanswered = True
            return
        if self.conversation.model is None:
            await self._wait_for_application(message)
            return
        id, said = message_id(), ""
        async with contextlib.aclosing(
            self.conversation.answer(message.text, turn=self._turn)
        ) as pieces:
            async for piece in pieces:
                said += piece
                self._tell(events.LlmChatToken(token=piece, text=said, message_id=id))
        said = said.rstrip("\n")
        self.conversation.confirm(said)
        if said:
            self._outlet.emit(events.ChatResponse(text=said, message_id=id))
        if self._failure is not None:
            self._fail(self._failure.error, self._failure.code)
        else:
            self._done(said, id)

    async def _wait_for_application(self, message: Message) -> None:
        """Have the application answer, as it would a caller: it has `reply_s` for it."""
        self.conversation.add("user", message.text)
        self._reply = asyncio.get_running_loop().create_future()
        self._outlet.emit(
            events.TurnEnd(
                turn_id=self._turn,
                message_id=message.id,
                text=message.text,
                probability=1.0,
                latency_ms=0,
            )
        )
        seconds = self._server.limits.reply_s
        try:
            async with asyncio.timeout(seconds):
                await self._reply
        except TimeoutError:
            self._fail(f"the agent has no llm, and its application did not answer in {seconds:g} s")
        finally:
            self._reply = None

    def _fresh(self, message: str, in_reply_to: str) -> bool:
        """Tell whether a reply answers the current message; if not, its sender is told."""
        current = "" if self._current is None else self._current.id
        if not in_reply_to or in_reply_to == current:
            return True
        self._outlet.emit(
            events.ReplyRejected(
                message_id=message,
                in_reply_to=in_reply_to,
                expected_reply_to=current,
                reason="message_obsolete",
            )
        )
        return False

    def _stream(self, command: commands.BotReplyStream) -> None:
        id = command.message_id
        if command.action == "start":
            answers = "" if command.in_reply_to is UNSET else command.in_reply_to
            if self._fresh(id, answers) and len(self._streams) < WAITING:
                self._streams[id] = answers, ""
            return
        if id not in self._streams:
            return  # dropped, or refused: late chunks are not said
        answers, text = self._streams[id]
        if command.action == "chunk":
            token = "" if command.token is UNSET else command.token
            self._streams[id] = answers, text + token
            self._tell(events.LlmChatToken(token=token, text=text + token, message_id=id))
        else:
            del self._streams[id]
            self._said(id, text, remembered=True, streamed=True)

    def _drop(self, id: str) -> None:
        del self._streams[id]
        self._outlet.emit(
            events.BotInterrupted(message_id=id, played_ms=0, words_spoken=0, reason="cancelled")
        )

    def _said(self, id: str, text: str, *, remembered: bool, streamed: bool = False) -> None:
        """Pass on what the application says; it is "played" the moment it is said."""
        self._outlet.emit(events.BotSpeaking(message_id=id, text=text))
        self._outlet.emit(events.MessageConfirmed(message_id=id, text=text))
        self._outlet.emit(events.BotFinished(message_id=id, duration_ms=0))
        self._unanswered = False
        if remembered and text:
            self.conversation.add("assistant", text)
        awaited = self._reply is not None and not self._reply.done()
        if self._answering and not awaited:
            # The model answers at this moment: its `llm.chat.done` is what the sender waits for.
            self._tell(events.ChatResponse(text=text, message_id=id))
            return
        if not streamed and text:
            self._tell(events.LlmChatToken(token=text, text=text, message_id=id))
        self._done(text, id)
        if self._reply is not None and awaited:
            self._reply.set_result(text)

    def _greet(self) -> None:
        spoken, own = self._language or None, self.agent.language
        greeting = greeting_for(self._config.get("greeting"), spoken, own)
        if self._config.get("greetingInChat") is not True or not greeting:
            return
        text = self.conversation.expand(greeting)
        self.conversation.add("assistant", text)
        said = events.ChatResponse(text=text, message_id=message_id())
        self._outlet.emit(said)
        if self.opener is not self.agent.connection:
            self._tell(said)

    # --- what leaves ---

    def _emit(self, event: Event) -> None:
        """Send what the conversation emits to the owner; the sender is told of its tools."""
        self._outlet.emit(event)
        match event:
            case events.LlmToolCall(tool_calls=calls, msg_id=id):
                self._tell(events.LlmChatToolCall(tool_calls=calls, msg_id=id))
            case events.LlmToolResult(tool_call_id=id, name=name, result=result):
                if isinstance(self._sender, Connection):
                    result = as_text(result)  # as arguments are; pages are told the value
                told = events.LlmChatToolResult(tool_call_id=id, name=name, result=result)
                self._tell(told)
            case events.LlmError(code=str()):
                self._failure = event

    def _done(self, text: str, id: str) -> None:
        model = self._model or UNSET
        self._tell(events.LlmChatDone(text=text, model=model, message_id=id))

    def _fail(self, error: str, code: str | UnsetType = UNSET) -> None:
        """Tell both that there is no answer. To the owner's client the session is over then."""
        failed = events.LlmChatError(error=error, code=code)
        self._announced = False
        self._outlet.emit(failed)
        if self._sender is not self.agent.connection:
            self._tell(failed)

    def _tell(self, event: Event) -> None:
        """Send an event of the sender's own vocabulary to whoever wrote."""
        stamps = {"agent_id": self.agent.slug, "call_id": self.call_id, "session_id": self.call_id}
        self._sender.send(structs.replace(event, **stamps))


def as_text(result: Any) -> str:
    """Return what a tool returned as the JSON text that a client takes apart; a text as it is."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
