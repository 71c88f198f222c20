"""`CallStream`: one call for the page that has asked for it (sessions.md §5.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.asgi import Scope
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.reader import Reader
from pinecall_cli.sdk.sse import EventSource
from pinecall_cli.sdk.streamed import StreamEvent

GREETING = "greeting"
"""The id of what the agent says first, before the caller has said anything."""


class CallStream(EventSource):
    """The course of one call, as server-sent events, from its start to its end.

    It may be opened at any time: it begins with ``call.started`` and the greeting, if that was
    said, and goes on with what happens.
    """

    ping_s = 25.0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._readers: dict[Reader, Telling] = {}

    def __repr__(self) -> str:
        return f"<CallStream of {self._call.id}>"

    def open(self, asked: Scope | None = None) -> tuple[Reader, list[StreamEvent]]:
        """Return a new reader, and how the call began."""
        reader = Reader()
        telling = Telling(self._call, reader)
        self._readers[reader] = telling
        return reader, telling.begin()

    def close(self, reader: Reader) -> None:
        """Forget a reader."""
        telling = self._readers.pop(reader, None)
        if telling is not None:
            telling.stop()


class Telling:
    """Tells one reader of a call."""

    def __init__(self, call: Call, reader: Reader) -> None:
        self._call, self._reader = call, reader
        self._greets = True
        """Whether what the agent says next is its greeting."""
        self._greeting: str | None = None
        """The id that the greeting has on the wire."""
        self._handlers: Mapping[str, Any] = {
            "bot.speaking": self._speaking,
            "bot.word": self._word,
            "message.confirmed": self._confirmed,
            "chat.response": self._answered,
            "user.speaking": self._heard,
            "user.message": self._heard,
            "llm.tool_call": self._tools,
            "call.ended": self._ended,
        }

    def begin(self) -> list[StreamEvent]:
        """Begin to listen, and return what has happened already."""
        call = self._call
        first = [event("call.started", callId=call.id)]
        said = next(iter(call.transcript), None)
        if said is not None:
            self._greets = False
            if said.get("role") == "assistant":
                text = str(said["content"])
                first.append(event("bot.confirmed", text=text, messageId=GREETING))
        elif call.playing is not None:
            self._speaks(call.playing)
        for name, handler in self._handlers.items():
            call.on(name, handler)
        if call.status == "ended":
            self._ended(None)
        return first

    def stop(self) -> None:
        """Listen no more."""
        for name, handler in self._handlers.items():
            self._call.off(name, handler)

    def _tell(self, name: str, /, **data: Any) -> None:
        self._reader.put(event(name, **data))

    def _speaks(self, message_id: str) -> str:
        """Return the id under which the page knows a message of the agent's."""
        if self._greets:
            self._greets, self._greeting = False, message_id
        return GREETING if message_id == self._greeting else message_id

    def _speaking(self, happened: events.BotSpeaking) -> None:
        if happened.message_id:
            self._speaks(happened.message_id)

    def _word(self, happened: events.BotWord) -> None:
        id, call = happened.message_id, self._call
        if id == call.playing:
            self._tell("bot.word", text=call.current_bot_text, messageId=self._speaks(id))

    def _confirmed(self, happened: events.MessageConfirmed) -> None:
        if happened.text:
            id = self._speaks(happened.message_id)
            self._tell("bot.confirmed", text=happened.text, messageId=id)

    def _answered(self, happened: events.ChatResponse) -> None:
        if happened.text:
            self._greets = False
            self._tell("bot.confirmed", text=happened.text, messageId="")

    def _heard(self, happened: events.UserSpeaking | events.UserMessage) -> None:
        id = happened.message_id
        self._greets = False
        name = "user.message" if isinstance(happened, events.UserMessage) else "user.speaking"
        self._tell(name, text=happened.text, messageId=id if isinstance(id, str) else "")

    def _tools(self, happened: events.LlmToolCall) -> None:
        for wanted in happened.tool_calls:
            self._tell("tool.call", name=wanted.name, args=arguments(wanted.arguments))

    def _ended(self, happened: Event | None) -> None:
        call = self._call
        self._tell("call.ended", reason=call.reason, duration=round(call.duration or 0))
        self._reader.end()


def event(name: str, /, **data: Any) -> StreamEvent:
    """Return an event of a call's stream."""
    return StreamEvent(name, data)


def arguments(text: str) -> Any:
    """Return a tool's arguments, as the model wrote them if they are no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
