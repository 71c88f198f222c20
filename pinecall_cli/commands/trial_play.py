"""One spec played: a text session through the SDK, or a call by a virtual caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.caller.player import Player
from pinecall_cli.caller.steps import Say, Wait
from pinecall_cli.commands.talk import virtual
from pinecall_cli.errors import CallFailedError, InfrastructureError, PinecallError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.protocol.ids import chat_id
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall, rate_of
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret
from pinecall_cli.trial.plan import Plan, plan
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.result import Failure
from pinecall_cli.trial.spec import Spec, SpecStep

ANSWER_WITHIN_S = 60.0
"""For a server that is still loading its speech engines to answer the call."""
END_WITHIN_S = 10.0
"""For a conversation to end once it has been hung up."""
ENDED_WELL = frozenset({"hangup", "client_hangup", "disconnected", "max_duration", "idle_timeout"})


@dataclass(slots=True)
class Conversation:
    """A spec's conversation with one agent on one server; what happens goes into ``record``."""

    spec: Spec
    client: Pinecall
    agent: str
    """The name that the agent is registered under."""
    url: str
    key: Secret
    record: Record
    sounds: Mapping[str | Path, bytes]
    """What the virtual caller says; empty for text."""

    async def hold(self) -> Failure | None:
        """Hold it to its end; return what ended it before its time, if anything did.

        Raises:
            InfrastructureError: If the server or an engine fails.
        """
        return await (self._text() if self.spec.mode == "text" else self._voice())

    # -- text ------------------------------------------------------------------------------

    async def _text(self) -> Failure | None:
        session = chat_id()
        answers: asyncio.Queue[tuple[float, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def hear(received: Received) -> None:
            fields = received.fields()
            if session not in (fields.get("call_id"), fields.get("session_id")):
                return
            self.record.hear(received)
            if isinstance(
                received.frame,
                events.LlmChatToken | events.LlmChatDone | events.LlmChatError,
            ):
                answers.put_nowait((loop.time(), received.frame))

        stop = self.client.tap(hear)
        try:
            for index, one in enumerate(self.spec.steps):
                if isinstance(one.step, Wait):
                    await asyncio.sleep(float(one.step.until))
                    continue
                assert isinstance(one.step, Say)
                self.record.begin(index)
                failure = await self._write(session, one, one.step.text, answers)
                if failure is not None:
                    return failure
            await self._close(session)
        finally:
            stop()
        return None

    async def _write(
        self,
        session: str,
        step: SpecStep,
        text: str,
        answers: asyncio.Queue[tuple[float, Any]],
    ) -> Failure | None:
        """Send a message and wait for its answer; return why none came."""
        while not answers.empty():
            answers.get_nowait()
        sent = asyncio.get_running_loop().time()
        self.client.send(commands.LlmChat(agent_id=self.agent, session_id=session, text=text))
        first: float | None = None
        try:
            async with asyncio.timeout(step.timeout):
                while True:
                    at, frame = await answers.get()
                    first = at if first is None else first
                    if isinstance(frame, events.LlmChatError):
                        return Failure(step.where, f"the agent did not answer: {frame.error}")
                    if isinstance(frame, events.LlmChatDone):
                        break
        except TimeoutError:
            said = f"the agent did not answer within {step.timeout:g} s"
            return Failure(step.where, said)
        times = {"first_token": (first - sent) * 1000, "reply": (at - sent) * 1000}
        self.record.timed({name: round(ms, 1) for name, ms in times.items()})
        return None

    async def _close(self, session: str) -> None:
        """End the session, so that what its end brings is part of the record."""
        call = next((call for call in self.client.calls() if call.id == session), None)
        if call is not None:
            await call.hangup()

    # -- voice -----------------------------------------------------------------------------

    async def _voice(self) -> Failure | None:
        spec, course = self.spec, plan(self.spec)
        player = Player(
            course.steps, self.sounds, rate=rate_of(spec.to_number), stay=0, line=spec.line
        )
        async with Rest(self.url, self.key) as rest:
            token = await rest.token("webrtc", self.agent)
        call = await MicCall.dial(
            token.server, token.token, from_=spec.from_number, to=spec.to_number
        )
        async with call:
            ends = virtual(call, player)
            ending = asyncio.timeout(None)

            async def frames() -> AsyncIterator[bytes]:
                async for frame in ends.frames():
                    self._mark(course, player)
                    yield frame
                self._mark(course, player)
                ending.reschedule(asyncio.get_running_loop().time() + END_WITHIN_S)

            def hear(received: Received) -> None:
                ends.heard(received)
                self.record.hear(received)

            try:
                async with ending:
                    await call.hold(
                        frames, play=ends.play, hear=hear, answer_within_s=ANSWER_WITHIN_S
                    )
            except TimeoutError:
                raise InfrastructureError("the server did not end the call") from None
        return self._broke(player, call)

    def _mark(self, course: Plan, player: Player) -> None:
        """Open the window of the step that has just begun."""
        index = course.of[player.begun - 1] if player.begun else None
        if index is not None and self.spec.steps[index].acts:
            self.record.begin(index)

    def _broke(self, player: Player, call: MicCall) -> Failure | None:
        failure: PinecallError | None = player.failure
        reason = call.ended.reason if call.ended is not None else "hangup"
        if failure is None and reason not in ENDED_WELL:
            failure = CallFailedError(f"the call ended with `{reason}`")
        if failure is None:
            return None
        return Failure(failure.where or self.spec.steps[0].where, failure.message)
