"""Writing to an agent over an agent socket, one message at a time (protocol: commands.md §8.4).

Any connection of the agent's organisation may do it, so this works with every server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pinecall_cli.errors import CallFailedError, PinecallError, ServerUnreachableError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.protocol.ids import chat_id
from pinecall_cli.sdk.client import Pinecall

SENDERS = (
    events.LlmChatStarted
    | events.LlmChatToken
    | events.LlmChatToolCall
    | events.LlmChatToolResult
    | events.LlmChatDone
    | events.LlmChatError
    | events.ChatResponse
)
"""What whoever writes is told (events.md §10.2); ``chat.response`` is what nobody asked for."""
ANSWER_WITHIN_S = 120.0
"""From one sign of an answer to the next; a model that thinks for long still sends nothing."""
BACK_WITHIN_S = 10.0
"""For a connection that was lost to be there again before a message is given up."""


class Chat:
    """One conversation in writing with one agent. Close it, or leave its ``with``.

    The connection is the caller's. If it is lost the server ends the conversation, and the next
    message begins another.
    """

    def __init__(
        self, client: Pinecall, agent: str, *, answer_within_s: float = ANSWER_WITHIN_S
    ) -> None:
        self.agent = agent
        self.session_id = chat_id()
        self._client = client
        self._patience_s = answer_within_s
        self._arrived: asyncio.Queue[Received | PinecallError] = asyncio.Queue()
        self._stop = client.tap(self._hear)
        client.on("disconnected", self._lost)

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Hear no more."""
        self._stop()
        self._client.off("disconnected", self._lost)

    def reset(self) -> None:
        """Begin another conversation with the next message."""
        self.session_id = chat_id()
        self.unasked()

    def unasked(self) -> list[Received]:
        """Return what came since the last answer, and nobody had asked for."""
        came = []
        while not self._arrived.empty():
            item = self._arrived.get_nowait()
            if isinstance(item, Received):
                came.append(item)
        return came

    async def write(self, text: str) -> AsyncGenerator[Received, None]:
        """Send a message, and yield each frame about it.

        The last is ``llm.chat.done``, or ``llm.chat.error`` for a turn that failed.

        Raises:
            ServerUnreachableError: If the connection is lost, and for good if it is before that.
            CallFailedError: If no answer comes.
        """
        try:
            async with asyncio.timeout(BACK_WITHIN_S):
                await self._client.ready
        except TimeoutError:
            raise ServerUnreachableError(f"no connection to {self._client.api_url}") from None
        self._client.send(
            commands.LlmChat(agent_id=self.agent, session_id=self.session_id, text=text)
        )
        while True:
            received = await self._next()
            yield received
            if isinstance(received.frame, events.LlmChatDone | events.LlmChatError):
                return

    async def _next(self) -> Received:
        try:
            async with asyncio.timeout(self._patience_s):
                item = await self._arrived.get()
        except TimeoutError:
            self.reset()  # a late answer is not to be taken for the next one
            raise CallFailedError(
                f"no answer from `{self.agent}` in {self._patience_s:g} s", code="no_answer"
            ) from None
        if isinstance(item, PinecallError):
            raise item
        return item

    def _hear(self, received: Received) -> None:
        frame: Any = received.frame
        if isinstance(frame, SENDERS) and self.session_id in (frame.session_id, frame.call_id):
            self._arrived.put_nowait(received)

    def _lost(self, reason: str) -> None:
        self.reset()
        self._arrived.put_nowait(
            ServerUnreachableError(
                f"the connection was lost: {reason}",
                fix="the next message begins a new conversation",
            )
        )
