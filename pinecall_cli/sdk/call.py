"""A live call or chat as an agent's code holds it: what is known of it, what it can be told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from msgspec import UNSET, UnsetType

from pinecall_cli.agent.config import WIRE_KEYS
from pinecall_cli.agent.tools import Tool
from pinecall_cli.protocol import commands, ids
from pinecall_cli.protocol.frames import Command
from pinecall_cli.sdk.answers import REQUEST_TIMEOUT, Answer, Key
from pinecall_cli.sdk.handlers import Handler, Handlers
from pinecall_cli.sdk.payloads import attributes, payload_of, tools_in
from pinecall_cli.sdk.prompts import prompt_file
from pinecall_cli.sdk.reply_stream import ReplyStream

if TYPE_CHECKING:
    from pinecall_cli.sdk.call_stream import CallStream

Message = dict[str, Any]
"""One entry of a conversation, in OpenAI's shape."""
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Said:
    """What became of something the agent was to say."""

    message_id: str
    interrupted: bool
    """True when it was cut off, refused, or the call ended first."""
    reason: str | None = None
    """Why it was interrupted: ``user_spoke``, ``continuation``, ``cancelled``, an end reason…"""


class Line(Protocol):
    """What a call needs of the client that it came through."""

    prompts: Path
    """Where `Call.set_prompt_file` finds its files."""

    def post(self, agent_id: str, frame: Command) -> None:
        """Send a frame in the agent's name, now or when it is registered."""
        ...

    def ask(self, agent_id: str, frame: Command, key: Key, *, timeout: float | None) -> Answer[Any]:
        """Send a frame, and return what will come of it."""
        ...

    def over(self, key: Key, reason: str) -> Answer[Any]:
        """Return what comes of a request of a call that has ended."""
        ...


class Call:
    """One call, chat or WhatsApp session of an agent, from its start to its end.

    Commands are sent when they are called; what they return may be awaited or let go. All of
    them may be called from any thread, awaiting is for the client's loop.
    """

    def __init__(
        self,
        line: Line,
        *,
        id: str,
        agent_id: str,
        from_: str,
        to: str,
        direction: str = "inbound",
        transport: str = "unknown",
        metadata: Mapping[str, Any] | None = None,
        language: str | None = None,
        overrides: Iterable[str] = (),
    ) -> None:
        self.id = id
        self.agent_id = agent_id
        """The id of the agent it belongs to."""
        self.from_ = from_
        """The caller: E.164, ``webrtc``, ``chat``…"""
        self.to = to
        self.direction = direction
        """``inbound`` or ``outbound``."""
        self.transport = transport
        """``phone``, ``webrtc``, ``chat``, ``whatsapp``…"""
        self.metadata: Mapping[str, Any] = dict(metadata or {})
        self.language = language
        self.status: Literal["active", "ended"] = "active"
        self.reason: str | None = None
        """Why it ended; None while it is active."""
        self.started_at: float | None = None
        """Epoch seconds, known at the end."""
        self.ended_at: float | None = None
        """Epoch seconds."""
        self.duration: float | None = None
        """Seconds."""
        self.messages: list[Message] = []
        """The conversation so far, tool calls and results included."""
        self.words: list[str] = []
        """What was heard of the reply that plays."""
        self.playing: str | None = None
        """The id of the message whose audio plays."""
        self.last_message_id: str | None = None
        """The id of what the caller last said; `reply` answers it."""
        self.last_turn: tuple[int | UnsetType, Message] | None = None
        """What the caller last said: the turn's number, and its entry of `messages`."""
        self.active_skills: set[str] = set()
        self.streams: dict[str, ReplyStream] = {}
        """The replies that are being written, by message id."""
        self.overrides: set[str] = set(overrides)
        """Wire keys that this call's channel or code has set; a reload leaves them alone."""
        self.own_tools: dict[str, Tool] = {}
        """The functions behind the tools that `update` has given it, by name."""
        self._line = line
        self._handlers = Handlers()

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.transport} {self.from_} → {self.to} {self.status}>"

    @property
    def transcript(self) -> list[Any]:
        """What caller and agent said to each other: `messages` without tools.

        A list that every model's package takes as it is, and that is yours to change.
        """
        return [m for m in self.messages if m.get("role") in SPEAKERS and m.get("content")]

    @property
    def current_bot_text(self) -> str:
        """What was heard so far of the reply that plays."""
        return " ".join(self.words)

    # --- events ---

    def on(self, event: str, handler: H) -> H:
        """Call ``handler(event)`` at every event of that wire name in this call."""
        return self._handlers.on(event, handler)

    def once(self, event: str, handler: H) -> H:
        """Call ``handler(event)`` at the next event of that wire name in this call."""
        return self._handlers.once(event, handler)

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget ``handler``, or every handler of ``event``."""
        self._handlers.off(event, handler)

    def take_handlers(self, event: str) -> tuple[Handler, ...]:
        """Return the handlers to call for one occurrence of an event; the client calls them."""
        return self._handlers.take(event)

    def stream_sse(self) -> CallStream:
        """Return the call as server-sent events, for the page that has asked for it.

        The object is an ASGI endpoint and, where a framework takes any ASGI application for a
        response, a response: ``return call.stream_sse()``. It ends with the call.
        """
        from pinecall_cli.sdk.call_stream import CallStream  # noqa: PLC0415 - it knows of `Call`

        return CallStream(self)

    # --- speaking ---

    def say(self, text: str, *, add_to_history: bool = False) -> Answer[Said]:
        """Speak a text. Awaited, it is over when the text was played or cut off."""
        return self._speak(text, in_reply_to="", add_to_history=add_to_history)

    def reply(self, text: str) -> Answer[Said]:
        """Speak a text in answer to the caller; void if they have said something newer since."""
        return self._speak(text, in_reply_to=self.last_message_id or "", add_to_history=False)

    def _speak(self, text: str, *, in_reply_to: str, add_to_history: bool) -> Answer[Said]:
        message_id = ids.message_id()
        frame = commands.BotReply(
            call_id=self.id,
            message_id=message_id,
            text=text,
            in_reply_to=in_reply_to,
            add_to_history=True if add_to_history else UNSET,
        )
        return self._ask(frame, ("spoken", self.id, message_id), timeout=None)

    def reply_stream(self, turn: Any = None) -> ReplyStream:
        """Return a reply to be written while it is spoken; use it with ``async with``.

        It is aborted when the caller goes on with the turn or cuts in, when it is cancelled, and
        when the call or the connection ends.

        Args:
            turn: What it answers: a ``turn.end``, ``eager.turn`` or ``user.message``, or the id
                of one's message; what the caller said last, if left out.
        """
        answers = turn if isinstance(turn, str) else getattr(turn, "message_id", None)
        in_reply_to = answers if isinstance(answers, str) and answers else self.last_message_id
        stream = ReplyStream(
            self.id, in_reply_to or "", lambda frame: self._line.post(self.agent_id, frame)
        )
        if self.status == "ended":
            stream.abort("call_ended", tell=False)
            return stream
        for id in [id for id, known in self.streams.items() if known.ended]:
            del self.streams[id]
        self.streams[stream.message_id] = stream
        return stream

    def abort_streams(
        self, reason: str, *, message_id: str | None = None, tell: bool = True
    ) -> None:
        """Abort the replies that are being written: the one named, or all."""
        for id in [id for id in self.streams if message_id in (None, id)]:
            self.streams.pop(id).abort(reason, tell=tell)

    def cancel(self, message_id: str | None = None) -> None:
        """Stop and drop a message that plays or waits: the one named, else the one that plays."""
        self.abort_streams("cancelled", message_id=message_id or self.playing)
        self._post(commands.BotCancel(call_id=self.id, message_id=message_id or UNSET))

    def clear(self) -> None:
        """Stop and drop everything that plays or waits to."""
        self.abort_streams("cancelled")
        self._post(commands.BotClear(call_id=self.id))

    # --- the line ---

    def forward(self, to: str, *, message: str = "", announce: bool = False) -> Answer[None]:
        """Let the call go on with another number in the agent's place.

        Awaited, it is over when they are connected, and fails if nobody answers there.

        Args:
            to: The number, E.164.
            message: What is said to the caller first.
            announce: Whether the other side is told who calls.
        """
        frame = commands.CallForward(call_id=self.id, to=to, message=message, announce=announce)
        return self._ask(frame, ("call.forwarded", self.id), timeout=FORWARD_TIMEOUT)

    def send_dtmf(self, digits: str) -> Answer[None]:
        """Press keys on a phone call: ``0-9``, ``*``, ``#``."""
        frame = commands.CallDtmf(call_id=self.id, digits=digits)
        return self._ask(frame, ("call.dtmf_sent", self.id))

    def hold(self) -> Answer[None]:
        """Let the caller wait: they hear music where the agent says nothing, and make no turns."""
        return self._ask(commands.CallHold(call_id=self.id), ("call.held", self.id))

    def unhold(self) -> Answer[None]:
        """End the hold."""
        return self._ask(commands.CallUnhold(call_id=self.id), ("call.unheld", self.id))

    def mute(self) -> Answer[None]:
        """Take the caller's microphone out of the turns."""
        return self._ask(commands.CallMute(call_id=self.id), ("call.muted", self.id))

    def unmute(self) -> Answer[str | None]:
        """Hear the caller again. Awaited, it gives what they said meanwhile; None for nothing."""
        return self._ask(commands.CallUnmute(call_id=self.id), ("call.unmuted", self.id))

    def hangup(self) -> Answer[str]:
        """End the call. Awaited, it is over when the call has ended, and tells the reason."""
        return self._ask(commands.CallHangup(call_id=self.id), ("ended", self.id))

    # --- configuration ---

    def update(self, **config: Any) -> Answer[None]:
        """Change this call alone: voice, language, stt, llm, interruption, prompt, tools…

        The keys are those of `Agent`. What is changed here, a reload leaves alone.

        Raises:
            TypeError: If a key is none of an agent's.
        """
        unknown = sorted(config.keys() - WIRE_KEYS.keys())
        if unknown:
            raise TypeError(f"update() got an unexpected key {unknown[0]!r}")
        patch = payload_of(config)
        self.overrides |= patch.keys()
        for key in ("tools", "skills"):
            self.own_tools |= {tool.name: tool for tool in tools_in(config.get(key, ()))}
        frame = commands.SessionConfigure(session_id=self.id, **attributes(patch))
        return self._ask(frame, ("session.configured", self.id))

    def set_prompt(self, prompt: str) -> Answer[None]:
        """Replace the system prompt of this call, from the next answer on."""
        self.overrides.add("prompt")
        return self._history(commands.HistorySetInstructions, prompt=prompt)

    def set_prompt_file(self, name: str, **variables: str) -> Answer[None]:
        """Replace the system prompt of this call by a file of the client's ``prompts_dir``.

        Args:
            name: Its path below that folder; ``.md`` may be left out.
            variables: Prompt variables to set with it.

        Raises:
            UsageError: If there is no such file below the folder, or it is none to be read.
        """
        prompt = prompt_file(self._line.prompts, name)
        if variables:
            self.set_prompt_vars(variables)
        return self.set_prompt(prompt)

    def set_prompt_vars(
        self, variables: Mapping[str, str] | None = None, **more: str
    ) -> Answer[None]:
        """Set prompt variables of this call, over the agent's; those not named stay."""
        self.overrides.add("vars")
        return self._history(commands.HistorySetVars, vars={**(variables or {}), **more})

    def add_context(self, text: str) -> Answer[None]:
        """Append a text after the system prompt of this call."""
        return self._history(commands.HistoryAddContext, text=text)

    # --- history ---

    def get_history(self) -> Answer[list[Message]]:
        """Ask for the conversation as the server holds it."""
        return self._history(commands.HistoryGet)

    def add_history(self, messages: Iterable[Message]) -> Answer[None]:
        """Append messages to the conversation that the model sees."""
        return self._history(commands.HistoryAdd, messages=list(messages))

    def set_history(self, messages: Iterable[Message]) -> Answer[None]:
        """Replace the conversation that the model sees."""
        return self._history(commands.HistorySet, messages=list(messages))

    def clear_history(self) -> Answer[None]:
        """Empty the conversation that the model sees."""
        return self._history(commands.HistoryClear)

    # --- tools and skills ---

    def load_skill(self, skill: str) -> Answer[None]:
        """Make a skill active from the next answer on."""
        frame = commands.SkillLoad(call_id=self.id, skill=skill)
        return self._ask(frame, ("skill.loaded", self.id, skill))

    def unload_skill(self, skill: str) -> Answer[None]:
        """Make a skill inactive from the next answer on."""
        frame = commands.SkillUnload(call_id=self.id, skill=skill)
        return self._ask(frame, ("skill.unloaded", self.id, skill))

    def tool_result(self, msg_id: str, results: Mapping[str, Any]) -> None:
        """Answer a round of tool calls by hand: results by tool call id.

        Tools of the agent's are answered without this; it is for an agent that has none and
        listens to ``llm.tool_call``.
        """
        self._line.post(
            self.agent_id,
            commands.LlmToolResult(
                call_id=self.id,
                msg_id=msg_id,
                results=tuple(
                    commands.ToolResult(tool_call_id=id, result=result)
                    for id, result in results.items()
                ),
            ),
        )

    def _history(self, frame: Callable[..., Command], **fields: Any) -> Answer[Any]:
        if self.status == "ended":
            return self._line.over(("history", self.id), self.reason or "")
        return ask_history(self._line, self.agent_id, self.id, frame, **fields)

    def _post(self, frame: Command) -> None:
        if self.status == "active":  # else there is nobody to do it
            self._line.post(self.agent_id, frame)

    def _ask(
        self, frame: Command, key: Key, *, timeout: float | None = REQUEST_TIMEOUT
    ) -> Answer[Any]:
        if self.status == "ended":
            return self._line.over(key, self.reason or "")
        return self._line.ask(self.agent_id, frame, key, timeout=timeout)


REQUESTS = itertools.count(1)
FORWARD_TIMEOUT = 90.0
"""Seconds for a message to be said and a telephone to be answered."""
SPEAKERS = frozenset({"user", "assistant"})


def ask_history(
    line: Line, agent_id: str, call_id: str, frame: Callable[..., Command], **fields: Any
) -> Answer[Any]:
    """Send a ``history.*`` request of a call; its answer is recognised by the request's id."""
    request = ids.request_id(next(REQUESTS))
    return line.ask(
        agent_id,
        frame(call_id=call_id, request_id=request, **fields),
        ("history", call_id, request),
        timeout=REQUEST_TIMEOUT,
    )
