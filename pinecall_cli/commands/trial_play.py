"""One spec played: a text session through the SDK, or a call by a virtual caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinecall_cli.caller.player import Player
from pinecall_cli.commands.talk import virtual
from pinecall_cli.commands.trial_text import TextSession, refuse_taken_away
from pinecall_cli.errors import CallFailedError, InfrastructureError, PinecallError
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall, rate_of
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret
from pinecall_cli.trial.plan import Plan, plan
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.result import Failure
from pinecall_cli.trial.spec import Spec

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
    _begun: int = field(default=0, init=False)
    """How many of the caller's steps have been seen to begin."""

    async def hold(self) -> Failure | None:
        """Hold it to its end; return what ended it before its time, if anything did.

        Raises:
            InfrastructureError: If the server or an engine fails.
        """
        if self.spec.mode == "text":
            return await TextSession(self.client, self.agent, self.record).hold(self.spec.steps)
        return await self._voice()

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
                self._mark(course, player)
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
        """Open the windows of the steps that have begun; pressing a key takes no time at all."""
        for index in course.of[self._begun : player.begun]:
            if index is not None and self.spec.steps[index].acts:
                self.record.begin(index)
        self._begun = max(self._begun, player.begun)

    def _broke(self, player: Player, call: MicCall) -> Failure | None:
        failure: PinecallError | None = player.failure
        reason = call.ended.reason if call.ended is not None else "hangup"
        refuse_taken_away(reason)
        if failure is None and reason not in ENDED_WELL:
            failure = CallFailedError(f"the call ended with `{reason}`")
        if failure is None:
            return None
        return Failure(failure.where or self.spec.steps[0].where, failure.message)
