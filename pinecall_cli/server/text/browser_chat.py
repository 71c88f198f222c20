"""A text session whose writer is a page: one browser's socket, in the words of `protocol/chat`.

The agent's owner hears of it as of any text session (protocol: sessions.md §1).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.protocol import chat, events
from pinecall_cli.protocol.frames import Event, Unknown
from pinecall_cli.protocol.ids import chat_id
from pinecall_cli.server.actions import LONGEST_KEY, LONGEST_MESSAGE
from pinecall_cli.server.agents.registry import Refused, RegisteredAgent
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.outbox import Close, Outbox
from pinecall_cli.server.text.chat import ChatSession
from pinecall_cli.server.text.threads import Thread, told

CLOSING_S = 1.0
"""For a page to take what is written last."""


class BrowserChat:
    """One browser's chat socket, from `chat.connected` to its close."""

    def __init__(
        self,
        server: VoiceServer,
        socket: WebSocket,
        agent: RegisteredAgent,
        metadata: Mapping[str, Any],
        thread: Thread | None,
    ) -> None:
        """Prepare the session; ``metadata`` is what the token sealed.

        Raises:
            EngineError: If there is no such model as the agent's.
        """
        self._server, self._socket, self._thread = server, socket, thread
        limits = server.limits
        self._outbox = Outbox(frames=limits.outbox_frames, size=limits.outbox_bytes)
        self._history = () if thread is None else server.threads.history(thread)
        self._kept: Sequence[Mapping[str, Any]] = self._history
        """What of the thread this session knows to be put down."""
        self.session = ChatSession(server, agent, chat_id(), self, metadata, history=self._history)
        self.gone = asyncio.Event()
        """Set when the browser has left, or was let go."""

    async def serve(self) -> None:
        """Hold the session until either side ends it."""
        loop = asyncio.get_running_loop()
        self._server.observers.add(self)
        self.session.begin()
        reading = loop.create_task(self._listen(), name="chat, in")
        sending = loop.create_task(self._outbox.run(self._socket.send_text), name="chat, out")
        full = loop.create_task(self._outbox.overflow.wait(), name="chat, overflow")
        over = loop.create_task(self.session.ended.wait(), name="chat, over")
        tasks: set[asyncio.Task[Any]] = {reading, sending, full, over}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._end(sending)
        finally:
            self.session.end("chat_completed")
            self.gone.set()
            self._server.observers.discard(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self, sending: asyncio.Task[Close]) -> None:
        """Let the browser have what waits for it, and close; one that takes nothing is cut off."""
        stopping = self.session.reason == "server_shutdown"
        self._outbox.close(1001 if stopping else 1000, self.session.reason)
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._socket.close(*await sending)
        except TimeoutError:
            self._socket.scope["state"]["abort"]()
        except (WebSocketDisconnect, RuntimeError):
            pass  # it has left in this very moment

    def close(self, code: int, reason: str) -> None:
        """Close the socket behind what waits to be sent."""
        self._outbox.close(code, reason)

    # --- what goes out ---

    def send(self, event: Event) -> None:
        """Tell the browser of an event, if it is one for browsers."""
        frame = frame_of(event)
        if frame is not None:
            self._say(frame)
        if isinstance(frame, chat.ChatConnected) and (lines := told(self._history)):
            messages = tuple(chat.ChatLine(role=role, text=text) for role, text in lines)
            self._say(chat.ChatHistory(messages=messages))
        if isinstance(frame, chat.ChatDone) and self._thread is not None:
            history = tuple(self.session.conversation.history)
            self._server.threads.keep(self._thread, history, self._kept)
            self._kept = history

    def _say(self, frame: chat.ChatFrame) -> None:
        self._outbox.put(chat.encode(frame))

    # --- what comes in ---

    async def _listen(self) -> None:
        """Take what the page sends until it is gone."""
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if isinstance(text := message.get("text"), str):
                    self._take(text)

    def _take(self, frame: str) -> None:
        try:
            match chat.decode_browser(frame):
                case chat.Message(text=text) if len(text) > LONGEST_MESSAGE:
                    raise Refused("TOO_LONG", f"a message has at most {LONGEST_MESSAGE} characters")
                case chat.Message(text=text):
                    self.session.write(text, self)
                case chat.SetContext(key=key) if not 0 < len(key) <= LONGEST_KEY:
                    raise Refused("BAD_KEY", f"a `key` has 1 to {LONGEST_KEY} characters")
                case chat.SetContext(key=key, value=value):
                    self.session.conversation.set_context(key, value)
                case Unknown(event=name, problem=problem):
                    raise Refused("BAD_FRAME", problem or f"this socket knows no `{name[:80]}`")
        except Refused as refused:
            self._say(chat.ChatError(error=refused.message))


def frame_of(event: Event) -> chat.ChatFrame | None:
    """Return what a browser is told of an event of the sender's vocabulary; often nothing."""
    match event:
        case events.LlmChatStarted():
            return chat.ChatConnected(session_id=text_of(event.session_id))
        case events.LlmChatToken():
            return chat.ChatToken(
                message_id=text_of(event.message_id), text=text_of(event.text), token=event.token
            )
        case events.LlmChatDone() | events.ChatResponse():
            return chat.ChatDone(message_id=text_of(event.message_id), text=event.text)
        case events.LlmChatToolCall():
            return chat.ChatToolCall(tool_calls=event.tool_calls)
        case events.LlmChatToolResult():
            return chat.ChatToolResult(
                tool_call_id=text_of(event.tool_call_id), name=event.name, result=event.result
            )
        case events.LlmChatError(code=str()):
            return chat.ChatError(error=chat.UNANSWERED)
        case events.LlmChatError(error=error):
            return chat.ChatError(error=error)
        case _:
            return None


def text_of(value: str | UnsetType | None) -> str:
    """Return a text that may be absent."""
    return "" if value is UNSET or value is None else str(value)
