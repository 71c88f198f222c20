"""A spec's text session: messages sent one by one, each when the last one has been answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeAlias

from pinecall_cli.caller.steps import Say, Wait
from pinecall_cli.errors import InfrastructureError, ServerUnreachableError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.protocol.ids import chat_id
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.result import Failure
from pinecall_cli.trial.spec import SpecStep

TAKEN_AWAY = frozenset({"server_shutdown", "agent_disconnected"})
"""Why a conversation ends for which neither its agent nor its caller can be blamed."""

Answer: TypeAlias = (
    events.LlmChatToken | events.LlmChatDone | events.LlmChatError | events.LlmChatEnded
)
"""What a message is answered with."""


class TextSession:
    """A session between a client and its own agent; what happens goes into ``record``."""

    def __init__(self, client: Pinecall, agent: str, record: Record) -> None:
        self.id = chat_id()
        self._client, self._agent, self._record = client, agent, record
        self._loop = asyncio.get_running_loop()
        self._answers: asyncio.Queue[tuple[float, Answer | ServerUnreachableError]]
        self._answers = asyncio.Queue()
        """When each came, on the loop's clock; an error is the last."""
        self._ended: events.LlmChatEnded | None = None

    async def hold(self, steps: Iterable[SpecStep]) -> Failure | None:
        """Do these steps and end the session; return what ended it before its time, if any.

        Raises:
            InfrastructureError: If the server goes away.
        """
        self._client.on("disconnected", self._lost)
        stop = self._client.tap(self._hear)
        try:
            for index, step in enumerate(steps):
                if self._ended is not None:
                    refuse_taken_away(self._ended.reason)
                    return None  # the steps that are left are judged as not done
                if isinstance(step.step, Wait):
                    await asyncio.sleep(float(step.step.until))
                    continue
                assert isinstance(step.step, Say), "the loader lets nothing else through"
                self._record.begin(index)
                failure = await self._say(step, step.step.text)
                if failure is not None:
                    return failure
            await self._close()
        finally:
            stop()
        return None

    async def _say(self, step: SpecStep, text: str) -> Failure | None:
        """Send a message and wait for its answer; return why none came."""
        while not self._answers.empty():
            self._answers.get_nowait()
        sent, first = self._loop.time(), None
        self._client.send(commands.LlmChat(agent_id=self._agent, session_id=self.id, text=text))
        try:
            async with asyncio.timeout(step.timeout):
                while True:
                    at, answer = await self._answers.get()
                    first = at if first is None else first
                    match answer:
                        case events.LlmChatDone():
                            break
                        case events.LlmChatError(error=error):
                            return Failure(step.where, f"the agent did not answer: {error}")
                        case events.LlmChatEnded(reason=reason):
                            refuse_taken_away(reason)
                            return Failure(step.where, "the agent ended the session unanswered")
                        case ServerUnreachableError():
                            raise answer
        except TimeoutError:
            said = f"the agent did not answer within {step.timeout:g} s"
            return Failure(step.where, said)
        times = {"first_token": (first - sent) * 1000, "reply": (at - sent) * 1000}
        self._record.timed({name: round(ms, 1) for name, ms in times.items()})
        return None

    async def _close(self) -> None:
        """End the session, so that what its end brings is part of the record."""
        call = next((call for call in self._client.calls() if call.id == self.id), None)
        if call is not None:
            await call.hangup()

    def _hear(self, received: Received) -> None:
        fields = received.fields()
        if self.id not in (fields.get("call_id"), fields.get("session_id")):
            return
        self._record.hear(received)
        if isinstance(received.frame, Answer):
            self._answers.put_nowait((self._loop.time(), received.frame))
        if isinstance(received.frame, events.LlmChatEnded):
            self._ended = received.frame

    def _lost(self, reason: str) -> None:
        problem = ServerUnreachableError(f"the connection was lost: {reason}")
        self._answers.put_nowait((self._loop.time(), problem))


def refuse_taken_away(reason: object) -> None:
    """Raise if it was the server that ended a conversation.

    Raises:
        InfrastructureError: If it was.
    """
    if reason in TAKEN_AWAY:
        raise InfrastructureError(f"the conversation ended with `{reason}`")
