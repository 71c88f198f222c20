"""Writing to an agent over an agent socket, one message at a time (protocol: commands.md §8.4).

Any connection of the agent's organisation may do it, so this works with every server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pinecall_cli.errors import CallFailedError, PinecallError, ServerUnreachableError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received, Unknown
from pinecall_cli.protocol.ids import chat_id
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.settings import Secret
from pinecall_cli.settings.logger import logger

ANSWER_WITHIN_S = 120.0
"""From one sign of an answer to the next; a model that thinks for long sends none."""

Answer = events.LlmChatDone | events.LlmChatError
"""What ends the wait for an answer."""


class Chat:
    """One conversation in writing with one agent, on a connection of its own.

    The server ends the conversation with the connection. An async context manager.
    """

    def __init__(
        self,
        client: Pinecall,
        agent: str,
        *,
        hear: Callable[[Received], None],
        lost: Callable[[PinecallError], None],
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        """Prepare a conversation; `open` also connects the client."""
        self.agent = agent
        self.session_id = chat_id()
        self._client = client
        self._hear, self._tell_lost = hear, lost
        self._patience_s = answer_within_s
        self._answer: asyncio.Future[Answer] | None = None
        """What a message waits for."""
        self._waiting: asyncio.Timeout | None = None
        self._over: PinecallError | None = None
        self._closed = False
        client.tap(self._take)
        client.on("disconnected", self._disconnected)
        client.on("error", self._refused)

    @classmethod
    async def open(
        cls,
        url: str,
        key: Secret,
        agent: str,
        *,
        hear: Callable[[Received], None],
        lost: Callable[[PinecallError], None],
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> Chat:
        """Return a conversation with an agent of that server; its first message begins it.

        Args:
            url: The server.
            key: Its API key.
            agent: The agent's slug.
            hear: Called on the loop with every frame about the conversation, asked for or not.
            lost: Called on the loop when the connection is lost while nothing is being answered.
            answer_within_s: Seconds that `write` waits for the next sign of an answer.

        Raises:
            NotAuthorisedError: If the server refuses the key.
            ServerUnreachableError: If it does not answer.
        """
        client = Pinecall(key, url, auto_reconnect=False)
        chat = cls(client, agent, hear=hear, lost=lost, answer_within_s=answer_within_s)
        try:
            await client.connect()
        except BaseException:
            await chat.close()
            raise
        return chat

    async def __aenter__(self) -> Chat:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the conversation. May be called twice."""
        self._closed = True
        await self._client.disconnect()

    async def write(self, text: str) -> Answer:
        """Send a message, and return what ended its answer, which ``hear`` was told as well.

        One message at a time. ``llm.chat.error`` is a turn that failed, and the conversation goes
        on; after an exception it does not: a late answer would be taken for the next one.

        Raises:
            ServerUnreachableError: If the connection is lost, now or before.
            CallFailedError: If no answer comes.
            PinecallError: If the server refuses the message with an error of its own.
        """
        if self._over is not None:
            raise self._over
        self._client.send(
            commands.LlmChat(agent_id=self.agent, session_id=self.session_id, text=text)
        )
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._patience_s) as self._waiting:
                return await self._answer
        except TimeoutError:
            self._over = CallFailedError(
                f"no answer from `{self.agent}` in {self._patience_s:g} s", code="no_answer"
            )
            raise self._over from None
        finally:
            self._answer = self._waiting = None

    # --- what comes in ---

    def _take(self, received: Received) -> None:
        if self._closed or not self._mine(received.frame):
            return
        answer, frame = self._answer, received.frame
        try:
            self._hear(received)
        except Exception as problem:
            if answer is None or answer.done():
                raise
            answer.set_exception(problem)  # whoever waits for the answer is to hear of it
            return
        if answer is None or answer.done():
            return
        if isinstance(frame, Answer):
            answer.set_result(frame)
        elif self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time() + self._patience_s)

    def _mine(self, frame: Any) -> bool:
        if isinstance(frame, Unknown):
            return self.session_id in (frame.fields.get("session_id"), frame.fields.get("call_id"))
        return self.session_id in (
            getattr(frame, "session_id", None),
            getattr(frame, "call_id", None),
        )

    def _disconnected(self, reason: str) -> None:
        if self._closed:
            return
        self._fail(
            ServerUnreachableError(
                f"the connection was lost: {reason}",
                code="connection_lost",
                fix="see whether the server still runs: `pinecall agents`",
            )
        )

    def _refused(self, problem: Exception) -> None:
        """Take an ``error`` frame; a failed attempt to connect is raised where it is awaited."""
        if self._client.connected and isinstance(problem, PinecallError):
            if self._answer is None:
                logger.warning("%s", problem)
            else:
                self._fail(problem)

    def _fail(self, problem: PinecallError) -> None:
        self._over = problem
        if self._answer is None:
            self._tell_lost(problem)
        elif not self._answer.done():
            self._answer.set_exception(problem)
